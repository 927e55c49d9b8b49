//! Credit over a million journeys of twelve channels, beside a plain count of contacts by channel, and beside PyPI's ChannelAttribution in the
//! same run where a Python has it (`python3`, or the one that `MARQUEE_BENCH_PYTHON` names): see peers/channel_attribution/README.md.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use marquee::attribution::journeys::{Earned, Heuristic, Journeys};
use marquee::attribution::markov;
use marquee::attribution::shapley::{self, Game};
use rand::{Rng as _, SeedableRng as _};

use crate::support;

const JOURNEYS: usize = 1_000_000;
const CHANNELS: usize = 12;

struct Made {
    paths: Vec<Vec<u32>>,
    converted: Vec<bool>,
    worth: Vec<f64>,
}

/// Journeys of one to eight contacts; channels are met unequally often, and later contacts convert better.
fn make() -> Made {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(12);
    let mut made = Made { paths: Vec::new(), converted: Vec::new(), worth: Vec::new() };
    for _ in 0..JOURNEYS {
        let contacts = 1 + (rng.random::<f64>().powi(2) * 8.0) as usize;
        let path: Vec<u32> = (0..contacts).map(|_| (rng.random::<f64>().powi(2) * CHANNELS as f64) as u32).collect();
        let last = f64::from(path[path.len() - 1]);
        let converted = rng.random::<f64>() < 0.02 + 0.01 * contacts as f64 + 0.005 * last;
        made.worth.push(if converted { rng.random_range(10.0..200.0) } else { 0.0 });
        made.converted.push(converted);
        made.paths.push(path);
    }
    made
}

fn journeys(made: &Made) -> Journeys {
    let mut journeys = Journeys::new();
    for i in 0..CHANNELS {
        journeys.key(&format!("c{i}"));
    }
    for (i, path) in made.paths.iter().enumerate() {
        let converted = made.converted[i];
        journeys.add(path, f64::from(u8::from(converted)), made.worth[i], f64::from(u8::from(!converted)));
    }
    journeys
}

pub fn run() {
    let made = make();
    let count = || {
        let mut met = [0_u64; CHANNELS];
        made.paths.iter().flatten().for_each(|c| met[*c as usize] += 1);
        assert!(met.iter().all(|n| *n > 0));
    };
    let markov = || {
        let journeys = journeys(&made);
        assert!(markov::solve(&journeys, 1).expect("solves").removal_effects[0] > 0.0);
    };
    let all = || {
        let journeys = journeys(&made);
        let heuristics = [Heuristic::First, Heuristic::Last, Heuristic::Linear].map(|m| journeys.heuristic(m)[0].value);
        assert!(heuristics.iter().all(|v| *v > 0.0));
        for order in 1..=2 {
            assert!(markov::solve(&journeys, order).expect("solves").removal_effects[0] > 0.0);
        }
        for game in [Game::Sum, Game::Rate] {
            assert_eq!(shapley::solve(&journeys, game, 0, 0).pairs, None);
        }
    };
    let rate = |work: &dyn Fn()| support::rate(JOURNEYS, work);
    support::compare("Markov, 1M journeys, 12 channels", "journeys/s", "contacts counted by channel", 5, || rate(&count), || rate(&markov));
    support::compare(
        "3 heuristics, Markov 1–2, Shapley ×2",
        "journeys/s",
        "contacts counted by channel",
        5,
        || rate(&count),
        || rate(&all),
    );
    beside_python(&made);
}

/// What the script prints.
#[derive(serde::Deserialize)]
struct Theirs {
    /// Journeys per second.
    rate: f64,
    /// By column of its answer, by channel.
    shares: HashMap<String, HashMap<String, f64>>,
}

const SCRIPT: &str = include_str!("peers/channel_attribution/measure.py");

/// Only rounding may lie between two counts of the same thing.
const ROUNDING: f64 = 1e-6;

fn beside_python(made: &Made) {
    let python = std::env::var("MARQUEE_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has = Command::new(&python).args(["-c", "import ChannelAttribution, pandas"]).output();
    if !has.is_ok_and(|h| h.status.success()) {
        eprintln!("not measured beside ChannelAttribution: {python} cannot import it (see benches/peers/channel_attribution/README.md)");
        return;
    }
    let texts: Vec<String> = made.paths.iter().map(|path| path.iter().map(|c| format!("c{c}")).collect::<Vec<_>>().join(" > ")).collect();
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("paths.csv");
    write(made, &texts, &file).expect("written");
    let ask = |arguments: &[&str]| -> Theirs {
        let run = Command::new(&python).args(["-c", SCRIPT]).arg(&file).args(arguments).output().expect("python runs");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        serde_json::from_slice(&run.stdout).expect("the script's JSON")
    };
    let read = || {
        let mut journeys = Journeys::new();
        for (i, text) in texts.iter().enumerate() {
            let converted = f64::from(u8::from(made.converted[i]));
            journeys.add_text(text, converted, made.worth[i], 1.0 - converted);
        }
        journeys
    };
    let heuristics = [("first", Heuristic::First), ("last", Heuristic::Last), ("linear", Heuristic::Linear)];
    let mut furthest = 0.0_f64;
    support::compare(
        "3 heuristics, from texts",
        "journeys/s",
        "ChannelAttribution",
        3,
        || {
            let theirs = ask(&["heuristics"]);
            let journeys = read();
            for (name, model) in heuristics {
                furthest = furthest.max(apart(&theirs, name, &journeys, &journeys.heuristic(model)));
            }
            theirs.rate
        },
        || {
            support::rate(JOURNEYS, || {
                let journeys = read();
                heuristics.iter().for_each(|(_, model)| assert!(journeys.heuristic(*model)[0].value > 0.0));
            })
        },
    );
    assert!(furthest <= ROUNDING, "the heuristics' shares differ by {furthest}");
    println!("  heuristics: no share differs by more than {furthest:.1e}");
    for (name, tolerance, draws, rounds) in [("its default (5 %)", "0.05", "1e5", 3), ("drawn to 2 %", "0.02", "1e6", 2)] {
        let mut runs: Vec<Theirs> = Vec::new();
        support::compare(
            "Markov, first order, from texts",
            "journeys/s",
            &format!("ChannelAttribution, {name}"),
            rounds,
            || {
                runs.push(ask(&["markov", tolerance, draws, &(runs.len() + 1).to_string()]));
                runs[runs.len() - 1].rate
            },
            || support::rate(JOURNEYS, || assert!(markov::solve(&read(), 1).expect("solves").removal_effects[0] > 0.0)),
        );
        let journeys = read();
        let exact = markov::solve(&journeys, 1).expect("solves").earned(&journeys);
        let from_ours = runs.iter().map(|r| apart(r, "conversions", &journeys, &exact)).fold(0.0, f64::max);
        println!("  {name}: a share lies up to {:.3} points from the exact one", from_ours * 100.0);
        println!("  {name}: from seed to seed a share moves by up to {:.3} points", between(&runs) * 100.0);
    }
}

fn write(made: &Made, texts: &[String], file: &Path) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
    writeln!(out, "path,c,v,n")?;
    for (i, text) in texts.iter().enumerate() {
        let converted = u8::from(made.converted[i]);
        writeln!(out, "{text},{converted},{},{}", made.worth[i], 1 - converted)?;
    }
    out.flush()
}

/// The column of conversions whose name has a word in it.
fn column<'t>(theirs: &'t Theirs, word: &str) -> &'t HashMap<String, f64> {
    let found = theirs.shares.iter().find(|(name, _)| name.contains(word) && name.contains("conversions"));
    found.map(|(_, shares)| shares).expect("its answer has this column")
}

/// The furthest that a channel's share of conversions lies from ours.
fn apart(theirs: &Theirs, word: &str, journeys: &Journeys, ours: &[Earned]) -> f64 {
    let all: f64 = ours.iter().map(|e| e.conversions).sum();
    let theirs = column(theirs, word);
    assert_eq!(theirs.len(), ours.len(), "the same channels");
    journeys.names().iter().zip(ours).map(|(name, e)| (e.conversions / all - theirs[name.as_str()]).abs()).fold(0.0, f64::max)
}

/// The furthest that a share moves from run to run.
fn between(runs: &[Theirs]) -> f64 {
    let first = column(&runs[0], "conversions");
    let moved = |r: &Theirs| column(r, "conversions").iter().map(|(name, share)| (share - first[name]).abs()).fold(0.0, f64::max);
    runs.iter().map(moved).fold(0.0, f64::max)
}
