//! `marquee train`: embeds the catalogue, trains the choice and picks for everybody, now and in this process.

use tokio_util::sync::CancellationToken;

use crate::platform::Platform;
use crate::platform::ids::JobRunId;
use crate::platform::progress;
use crate::platform::queue::{JobContext, Progress};
use crate::recommend::train;

#[derive(Debug, clap::Args)]
pub struct TrainArgs {
    /// Print what was learned as JSON.
    #[arg(long)]
    json: bool,
}

pub async fn run(args: TrainArgs, platform: &Platform) -> anyhow::Result<()> {
    let context = JobContext {
        run_id: JobRunId(0),
        args: serde_json::json!({ "force": true }),
        scheduled_at: platform.now(),
        attempt: 1,
        progress: Progress::default(),
        stop: CancellationToken::new(),
    };
    let spinner = progress::spinner("learning");
    let learned = train::train(platform.clone(), context.clone()).await;
    spinner.finish_and_clear();
    let learned = learned?;
    if learned["trained"] != serde_json::json!(true) {
        anyhow::bail!("nothing was learned: {}", learned["why"].as_str().unwrap_or("no reason given"));
    }
    let spinner = progress::spinner("picking");
    let picked = train::pick(platform.clone(), context).await;
    spinner.finish_and_clear();
    let picked = picked?;
    if args.json {
        println!("{}", serde_json::json!({ "train": learned, "pick": picked }));
        return Ok(());
    }
    let m = &learned["metrics"];
    println!(
        "learned from {} interactions of {} people with {} products in {:.1} s",
        m["interactions"],
        m["people"],
        m["products"],
        m["seconds"].as_f64().unwrap_or(0.0)
    );
    println!("picked for {} people", picked["picked"]);
    println!("`marquee evaluate` shows how good it is.");
    Ok(())
}
