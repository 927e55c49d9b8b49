//! The `marquee` binary; everything is in the library.

use clap::Parser as _;

/// Many small, short-lived allocations on many threads (rows, JSON, templates) are what this process does all day.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // One ring-based TLS provider for the whole process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    marquee::cli::main(marquee::cli::Cli::parse())
}
