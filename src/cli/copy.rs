//! `marquee copy`: the words for a product, tried from the command line; what is stored, approved or rejected.

use clap::Subcommand;

use crate::catalog;
use crate::copywriter::{self, CopyChannel, CopyRequest, Locale, Occasion, Tone, Writer};
use crate::platform::Platform;
use crate::platform::ids::{CampaignId, CopyId, VariantId};

#[derive(Debug, Subcommand)]
pub enum CopyCommand {
    /// Write copy for one product and print it with what the guardrails say. Nothing is stored.
    Try {
        sku: String,
        /// friendly, plain, playful, elegant, urgent.
        #[arg(long, default_value = "friendly")]
        tone: Tone,
        /// new_arrival, back_in_stock, price_drop, recommendation, win_back, seasonal, thank_you, abandoned_cart.
        #[arg(long, default_value = "recommendation")]
        occasion: Occasion,
        /// email or banner.
        #[arg(long, default_value = "email")]
        channel: CopyChannel,
        /// en or zh.
        #[arg(long, default_value = "en")]
        locale: Locale,
        /// Another number, other words.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Approve a stored copy.
    Approve { id: CopyId },
    /// Reject a stored copy: it is neither used nor written again.
    Reject { id: CopyId },
}

pub async fn run(command: CopyCommand, platform: &Platform) -> anyhow::Result<()> {
    match command {
        CopyCommand::Try { sku, tone, occasion, channel, locale, seed } => {
            let product = catalog::get_by_sku(&platform.db, &sku).await?.ok_or_else(|| anyhow::anyhow!("there is no product {sku}"))?;
            let (campaign_id, variant_id) = (CampaignId(0), VariantId(0));
            let request = CopyRequest { campaign_id, variant_id, product_id: product.id, locale, channel, tone, occasion };
            let brief = copywriter::brief_for(&product, &request, &platform.config.shop.name);
            let written = Writer::from_config(&platform.config.generator)?.write(&brief, seed).await;
            if let Some(copy) = &written.copy {
                for (field, text) in copy.fields().into_iter().filter(|(_, text)| !text.is_empty()) {
                    println!("{field:<10} {text}");
                }
            }
            println!("{:<10} {}", "by", written.generator);
            for finding in &written.findings {
                println!("{:<10} {} {}: {}", finding.severity, finding.field, finding.text, finding.message);
            }
        }
        CopyCommand::Approve { id } => println!("{}", copywriter::approve(platform, id).await?.status),
        CopyCommand::Reject { id } => println!("{}", copywriter::reject(platform, id).await?.status),
    }
    Ok(())
}
