//! `marquee key`: API keys.

use clap::Subcommand;

use crate::account::{KeyRing, Scope};
use crate::platform::Platform;

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key. It is shown once.
    Create {
        name: String,
        /// ingest, serve, reports, manage, admin (repeat for several).
        #[arg(long, required = true)]
        scope: Vec<Scope>,
    },
    List,
    /// Revoke the key that starts with this prefix.
    Revoke {
        prefix: String,
    },
}

pub async fn run(command: KeyCommand, platform: &Platform) -> anyhow::Result<()> {
    let ring = KeyRing::load(platform.db.clone()).await?;
    match command {
        KeyCommand::Create { name, scope } => {
            let made = ring.create(&name, &scope, platform.now()).await?;
            println!("{}", made.key);
        }
        KeyCommand::List => {
            for key in ring.list().await? {
                let scopes = key.scopes.iter().map(|s| s.name()).collect::<Vec<_>>().join(" ");
                println!(
                    "{}…  {:<24} {:<32} {}{}",
                    key.prefix,
                    key.name,
                    scopes,
                    key.created_at,
                    if key.revoked { "  revoked" } else { "" }
                );
            }
        }
        KeyCommand::Revoke { prefix } => {
            anyhow::ensure!(ring.revoke(&prefix, platform.now()).await?, "there is no live key with the prefix {prefix}");
            println!("revoked");
        }
    }
    Ok(())
}
