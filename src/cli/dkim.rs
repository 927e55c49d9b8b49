//! `marquee dkim`: makes a key, and prints the DNS record to publish.

use std::path::PathBuf;

use clap::Subcommand;

use crate::delivery::dkim::{self, DkimKey, KeyKind};
use crate::platform::Config;

#[derive(Debug, Subcommand)]
pub enum DkimCommand {
    /// Make a private key in a new file, and print its record.
    Generate {
        /// RSA is understood everywhere; ed25519 is small and quick. Sign with both.
        #[arg(long, value_enum, default_value = "rsa")]
        kind: KeyKind,
        /// Name of the key in DNS.
        #[arg(long)]
        selector: String,
        /// Domain of the sender's address.
        #[arg(long)]
        domain: String,
        /// Where the private key goes; never over a file that is there.
        #[arg(long)]
        file: PathBuf,
    },
    /// Print the records of all keys in mail.dkim.
    Record,
}

pub fn run(command: DkimCommand, config: &Config) -> anyhow::Result<()> {
    match command {
        DkimCommand::Generate { kind, selector, domain, file } => {
            let pem = dkim::generate(kind)?;
            let key = DkimKey::from_pem(&selector, &domain, &pem, &file.display().to_string())?;
            dkim::write_key(&file, &pem).map_err(|e| anyhow::anyhow!("{} cannot be written: {e}", file.display()))?;
            println!("{}", key.zone_line());
            eprintln!("Publish this TXT record, and add to marquee.toml:\n");
            eprintln!("[[mail.dkim]]\nselector = {selector:?}\ndomain = {domain:?}\nkey_file = {:?}", file.display().to_string());
        }
        DkimCommand::Record => {
            anyhow::ensure!(!config.mail.dkim.is_empty(), "mail.dkim is empty: make a key with `marquee dkim generate`");
            for entry in &config.mail.dkim {
                println!("{}", DkimKey::load(entry)?.zone_line());
            }
        }
    }
    Ok(())
}
