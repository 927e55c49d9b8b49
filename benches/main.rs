//! Every hot path beside a raw baseline, in one run on one machine: `make bench` for all, `make bench ARGS=render` for one.
//!
//! Machines differ and are noisy: what is worth quoting are the ratios. Each round measures the baseline and then Marquee; the ratio is the
//! median over the rounds, with the lowest and highest beside it.

mod als;
mod attribution;
mod decision;
mod embed;
mod ingest;
mod pages;
mod render;
mod segment;
mod send;
mod support;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BENCHES: [(&str, fn()); 9] = [
    ("als", als::run),
    ("attribution", attribution::run),
    ("decision", decision::run),
    ("embed", embed::run),
    ("ingest", ingest::run),
    ("pages", pages::run),
    ("render", render::run),
    ("segment", segment::run),
    ("send", send::run),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` starts this too: only `cargo bench` measures.
    if !arguments.iter().any(|a| a == "--bench") {
        return;
    }
    let wanted: Vec<String> = arguments.into_iter().filter(|a| !a.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|w| BENCHES.iter().all(|(name, _)| name != w)) {
        let names: Vec<&str> = BENCHES.iter().map(|b| b.0).collect();
        eprintln!("no bench {unknown}; there are {}", names.join(", "));
        std::process::exit(2);
    }
    support::heading();
    for (name, run) in BENCHES {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            run();
        }
    }
}
