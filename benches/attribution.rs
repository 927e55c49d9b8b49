//! Credit over a million journeys of twelve channels: PyPI ChannelAttribution (where `MARQUEE_BENCH_PYTHON` names a Python that has it)
//! over the same paths in the same run, else a plain count of contacts by channel.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use marquee::attribution::journeys::{Heuristic, Journeys};
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
    match std::env::var("MARQUEE_BENCH_PYTHON") {
        Ok(python) => beside_python(&made, Path::new(&python), &|| rate(&markov)),
        Err(_) => eprintln!("not measured beside ChannelAttribution: MARQUEE_BENCH_PYTHON names no Python that has it"),
    }
}

/// Prints journeys per second of the Markov model alone (reading not counted), at its default and at a setting within about 1 %.
const SCRIPT: &str = r#"
import contextlib, io, sys, time
with contextlib.redirect_stdout(io.StringIO()):
    import pandas as pd, ChannelAttribution as ca
    d = pd.read_csv(sys.argv[1])
    setting = dict(conv_par=float(sys.argv[2]), nsim_start=float(sys.argv[3]))
    begun = time.perf_counter()
    ca.markov_model(d, "path", "c", var_value="v", var_null="n", order=1, seed=1, verbose=False, flg_pro=False, **setting)
    took = time.perf_counter() - begun
print(len(d) / took)
"#;

fn beside_python(made: &Made, python: &Path, ours: &dyn Fn() -> f64) {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("paths.csv");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&file).expect("file"));
    writeln!(out, "path,c,v,n").expect("written");
    for (i, path) in made.paths.iter().enumerate() {
        let names: Vec<String> = path.iter().map(|c| format!("c{c}")).collect();
        let converted = u8::from(made.converted[i]);
        writeln!(out, "{},{converted},{},{}", names.join(" > "), made.worth[i], 1 - converted).expect("written");
    }
    out.into_inner().expect("flushed");
    for (name, tolerance, draws) in [("its default (5 %)", "0.05", "1e5"), ("drawn to 1 %", "0.01", "1e6")] {
        let theirs = || {
            let run = Command::new(python).args(["-c", SCRIPT]).arg(&file).args([tolerance, draws]).output().expect("python runs");
            assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
            String::from_utf8_lossy(&run.stdout).trim().parse().expect("a number")
        };
        support::compare("Markov, 1M journeys", "journeys/s", &format!("ChannelAttribution, {name}"), 1, theirs, ours);
    }
}
