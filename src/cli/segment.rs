//! `marquee segment`: make, look at, snapshot and delete segments.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::audience::{self, NewSegment, Rule};
use crate::platform::ids::SegmentId;
use crate::platform::{Platform, progress};

#[derive(Debug, clap::Subcommand)]
pub enum SegmentCommand {
    /// All segments, with their rules in words and the size of the latest snapshot.
    List,
    /// One segment: its rule, how many people match, and some of them.
    Show {
        /// Key or id.
        segment: String,
    },
    /// Makes a segment (or changes the one with that key).
    Put {
        key: String,
        /// The rule, as JSON.
        #[arg(long, conflicts_with = "file", required_unless_present = "file")]
        rule: Option<String>,
        /// A file that holds the rule; `-` reads standard input.
        #[arg(long)]
        file: Option<PathBuf>,
        #[arg(long)]
        name: Option<String>,
    },
    /// How many people a rule holds for, without making a segment.
    Count {
        /// The rule, as JSON.
        rule: String,
    },
    /// Takes a snapshot of one segment, or of all.
    Snapshot { segment: Option<String> },
    /// Deletes a segment that nothing uses.
    Delete { segment: String },
}

pub async fn run(command: SegmentCommand, platform: &Platform) -> anyhow::Result<()> {
    let db = &platform.db;
    let now = platform.now();
    match command {
        SegmentCommand::List => list(platform).await,
        SegmentCommand::Show { segment } => {
            let found = audience::find(db, &segment).await?;
            let count = audience::count(db, &found.rule, now).await?;
            println!("{} ({}, {})\n{}\n{count} people", found.name, found.key, found.id, found.rule.describe());
            for person in audience::sample(db, &found.rule, now, 10).await? {
                let known_as = person.external_id.or(person.email).unwrap_or_default();
                println!("  {:<10} {:<30} {}", person.id.to_string(), known_as, person.name.unwrap_or_default());
            }
            println!("{}", serde_json::to_string_pretty(&found.rule)?);
            Ok(())
        }
        SegmentCommand::Put { key, rule, file, name } => {
            let text = match (rule, file) {
                (Some(text), _) => text,
                (None, Some(path)) if path.as_os_str() == "-" => std::io::read_to_string(std::io::stdin())?,
                (None, Some(path)) => std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?,
                (None, None) => anyhow::bail!("give the rule with --rule or --file"),
            };
            let rule = parse(&text)?;
            let segment = match audience::find(db, &key).await {
                Ok(old) => audience::update(db, old.id, name.as_deref().unwrap_or(&old.name), rule, now).await?,
                Err(audience::AudienceError::Unknown(_)) => {
                    let name = name.unwrap_or_else(|| key.clone());
                    audience::create(db, NewSegment { key, name, rule }, now).await?
                }
                Err(other) => return Err(other.into()),
            };
            println!("{} {}: {}", segment.id, segment.key, segment.rule.describe());
            Ok(())
        }
        SegmentCommand::Count { rule } => {
            let rule = parse(&rule)?;
            println!("{} people: {}", audience::count(db, &rule, now).await?, rule.describe());
            Ok(())
        }
        SegmentCommand::Snapshot { segment } => {
            let segments = match segment {
                Some(one) => vec![audience::find(db, &one).await?],
                None => all(platform).await?,
            };
            let bar = progress::bar(segments.len() as u64, "snapshots");
            for segment in segments {
                let done = audience::snapshot(platform, segment.id, now).await?;
                bar.println(format!("{}: {} people ({})", segment.key, done.size, done.id));
                if bar.is_hidden() {
                    println!("{}: {} people ({})", segment.key, done.size, done.id);
                }
                bar.inc(1);
            }
            bar.finish_and_clear();
            Ok(())
        }
        SegmentCommand::Delete { segment } => {
            let found = audience::find(db, &segment).await?;
            audience::delete(db, found.id).await?;
            println!("deleted {}", found.key);
            Ok(())
        }
    }
}

fn parse(text: &str) -> anyhow::Result<Rule> {
    let value = serde_json::from_str(text).context("the rule is not JSON")?;
    Ok(Rule::parse(value)?)
}

async fn all(platform: &Platform) -> anyhow::Result<Vec<audience::Segment>> {
    let (mut out, mut after) = (Vec::new(), SegmentId(0));
    loop {
        let page = audience::list(&platform.db, after, 200).await?;
        let Some(last) = page.last() else { return Ok(out) };
        after = last.id;
        out.extend(page);
    }
}

async fn list(platform: &Platform) -> anyhow::Result<()> {
    for segment in all(platform).await? {
        let size =
            audience::latest_snapshot(&platform.db, segment.id).await?.map_or("no snapshot".to_owned(), |s| format!("{} people", s.size));
        println!("{:<8} {:<24} {:>14}  {}", segment.id.to_string(), segment.key, size, segment.rule.describe());
    }
    Ok(())
}
