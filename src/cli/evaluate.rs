//! `marquee evaluate`: how good is the choice, beside what a simpler one would have done.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use flate2::read::GzDecoder;

use crate::platform::{Clock, Config, Platform, Timestamp};
use crate::recommend::base::Params;
use crate::recommend::evaluate::{self, PLACES, Row};
use crate::recommend::train;

#[derive(Debug, clap::Args)]
pub struct EvaluateArgs {
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
    /// Train on everything before this moment, test on what came after (default: the last 30 days are the test).
    #[arg(long, value_name = "TIME")]
    split: Option<String>,
    /// Instead of the shop's own facts: two files of pairs, one person per line: a number, then the numbers of their items. May be gzipped.
    #[arg(long, num_args = 2, value_names = ["TRAIN", "TEST"])]
    pairs: Option<Vec<PathBuf>>,
    /// Dimensions of the factors (default: as the shop trains).
    #[arg(long)]
    rank: Option<usize>,
    /// Weight of what was not seen.
    #[arg(long)]
    alpha: Option<f32>,
    /// Regularisation.
    #[arg(long)]
    lambda: Option<f32>,
    #[arg(long)]
    epochs: Option<usize>,
}

pub async fn run(args: EvaluateArgs, config: Config, clock: Clock) -> anyhow::Result<()> {
    if let Some([train, test]) = args.pairs.as_deref() {
        return pairs(&args, train, test).await;
    }
    let platform = Platform::open(config, clock).await?;
    let params = args.over(train::params(&platform).await?);
    let split =
        args.split.as_deref().map(|text| Timestamp::parse(text).with_context(|| format!("--split {text}: write a date or RFC 3339 time")));
    let report = train::evaluate_shop(&platform, split.transpose()?, platform.now(), params).await?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    println!(
        "trained before {}; {} people measured, {} more were new; {:.0} % of purchases come again\n",
        Timestamp(report.split_us),
        report.people,
        report.unknown_people,
        100.0 * report.repeat_rate
    );
    println!("Repeats allowed: everything that was bought counts");
    table(&report.repeats_allowed);
    println!("\nNew items only: what the person had not bought before");
    table(&report.new_items_only);
    Ok(())
}

impl EvaluateArgs {
    /// Parameters, with what the command line says over them.
    fn over(&self, mut params: Params) -> Params {
        let als = &mut params.als;
        als.rank = self.rank.unwrap_or(als.rank).clamp(1, 1024);
        als.alpha0 = self.alpha.unwrap_or(als.alpha0);
        als.lambda = self.lambda.unwrap_or(als.lambda);
        als.epochs = self.epochs.unwrap_or(als.epochs);
        params
    }
}

async fn pairs(args: &EvaluateArgs, train: &Path, test: &Path) -> anyhow::Result<()> {
    let (train, test, params) = (read_pairs(train)?, read_pairs(test)?, args.over(Params::default()));
    let started = Instant::now();
    let work = move || evaluate::evaluate_pairs(&train, &test, &params, || started.elapsed().as_secs_f64());
    let report = tokio::task::spawn_blocking(work).await?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{} people, {} products; an epoch took {:.2} s\n", report.people, report.products, report.epoch_seconds);
        table(&report.rows);
    }
    Ok(())
}

fn table(rows: &[Row]) {
    println!("{:<16} {:>9} {:>9} {:>9}", "", format!("Recall@{PLACES}"), format!("NDCG@{PLACES}"), "coverage");
    for row in rows {
        let m = &row.metrics;
        println!("{:<16} {:>9.4} {:>9.4} {:>8.1}%", row.method, m.recall, m.ndcg, 100.0 * m.coverage);
    }
}

/// Items of each person, ascending; a person's number is the place in the list.
fn read_pairs(path: &Path) -> anyhow::Result<Vec<Vec<u32>>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = if bytes.starts_with(&[0x1f, 0x8b]) {
        std::io::read_to_string(GzDecoder::new(bytes.as_slice()))?
    } else {
        String::from_utf8(bytes)?
    };
    let mut people: Vec<Vec<u32>> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let numbers: Result<Vec<u32>, _> = line.split_whitespace().map(str::parse).collect();
        let numbers = numbers.map_err(|e| anyhow::anyhow!("{}:{}: {e}", path.display(), at + 1))?;
        let Some((person, items)) = numbers.split_first() else { continue };
        let largest = items.iter().copied().max().unwrap_or(0).max(*person);
        anyhow::ensure!(largest < 50_000_000, "{}:{}: {largest} is too large: number people and items from 0", path.display(), at + 1);
        let place = *person as usize;
        if people.len() <= place {
            people.resize(place + 1, Vec::new());
        }
        people[place].extend(items);
    }
    for items in &mut people {
        items.sort_unstable();
        items.dedup();
    }
    Ok(people)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn pairs_are_read_plain_and_gzipped_and_nonsense_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("pairs");
        std::fs::write(&path, "0 3 1 1\n\n2 5\n").expect("write");
        assert_eq!(read_pairs(&path).expect("reads"), vec![vec![1, 3], vec![], vec![5]]);
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zip.write_all(b"1 7\n").expect("zip");
        std::fs::write(&path, zip.finish().expect("zip")).expect("write");
        assert_eq!(read_pairs(&path).expect("reads"), vec![vec![], vec![7]]);
        for bad in ["0 x\n", "0 4000000000\n"] {
            std::fs::write(&path, bad).expect("write");
            assert!(read_pairs(&path).expect_err("refused").to_string().contains(":1:"));
        }
    }
}
