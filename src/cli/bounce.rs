//! `marquee bounce`: reads bounces and complaints from files or standard input (a mail server's pipe).

use std::io::Read as _;
use std::path::PathBuf;

use clap::Args;

use crate::delivery::{bounces::Taken, dsn, take_bounces};
use crate::platform::Platform;

#[derive(Debug, Args)]
pub struct BounceArgs {
    /// Raw mails; `-` reads one from standard input.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub async fn run(args: BounceArgs, platform: &Platform) -> anyhow::Result<()> {
    let mut all = Taken::default();
    let mut wrong = 0;
    for file in &args.files {
        let raw = if file.as_os_str() == "-" {
            let mut raw = Vec::new();
            std::io::stdin().lock().take(dsn::MAX_BYTES as u64 + 1).read_to_end(&mut raw)?;
            raw
        } else {
            std::fs::read(file).map_err(|e| anyhow::anyhow!("{} cannot be read: {e}", file.display()))?
        };
        match dsn::parse(&raw, platform.now()) {
            Ok(found) => {
                let taken = take_bounces(platform, &found).await?;
                all = Taken { new: all.new + taken.new, known: all.known + taken.known, suppressed: all.suppressed + taken.suppressed };
            }
            Err(error) => {
                wrong += 1;
                eprintln!("{}: {error}", file.display());
            }
        }
    }
    println!("{} new, {} known, {} addresses suppressed", all.new, all.known, all.suppressed);
    anyhow::ensure!(wrong == 0, "{wrong} of {} files were no bounces", args.files.len());
    Ok(())
}
