//! `marquee report`: attribution and lift, the same functions as over HTTP.

use std::io::Write as _;

use crate::attribution::{self, AttributionQuery, MeasuredLift};
use crate::campaign;
use crate::platform::Platform;

#[derive(Debug, clap::Subcommand)]
pub enum ReportCommand {
    /// Who earned what: orders shared among the touches before them.
    Attribution {
        /// first, last, linear, time_decay or position.
        #[arg(long, default_value = "last")]
        model: String,
        /// campaign, channel, product, variant or day.
        #[arg(long, default_value = "campaign")]
        by: String,
        /// A date or RFC 3339 time (default: 30 days before --to).
        #[arg(long)]
        from: Option<String>,
        /// A date (the whole day counts) or RFC 3339 time (default: now).
        #[arg(long)]
        to: Option<String>,
        #[arg(long)]
        time_zone: Option<String>,
        /// Also credit human opens and viewable banners without a click.
        #[arg(long)]
        view_through: bool,
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
        /// Compute what is not yet computed before reporting.
        #[arg(long)]
        update: bool,
    },
    /// What a campaign (or, without one, all marketing) added to what would have happened anyway.
    Lift {
        /// Key or id.
        #[arg(long)]
        campaign: Option<String>,
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Table,
    Json,
    Csv,
}

pub async fn run(command: ReportCommand, platform: &Platform) -> anyhow::Result<()> {
    match command {
        ReportCommand::Attribution { model, by, from, to, time_zone, view_through, format, update } => {
            if update {
                attribution::update(platform).await?;
            }
            let query =
                AttributionQuery { model: Some(model), by: Some(by), from, to, time_zone, view_through: Some(view_through), format: None };
            let report = attribution::attribution_report(platform, &query).await.map_err(|e| anyhow::anyhow!("{}", e.detail()))?;
            let mut out = std::io::stdout().lock();
            match format {
                Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
                Format::Csv => write!(out, "{}", report.to_csv())?,
                Format::Table => {
                    writeln!(out, "{:<14} {:<40} {:>8} {:>16}", by_title(&report), "", "orders", "revenue")?;
                    for r in &report.rows {
                        let name: String = if r.name == r.key { String::new() } else { r.name.chars().take(40).collect() };
                        writeln!(out, "{:<14} {name:<40} {:>8} {:>12} {}", r.key, r.orders, r.revenue, r.currency)?;
                    }
                    for t in &report.totals {
                        writeln!(out, "{:<14} {:<40} {:>8} {:>12} {}", "all orders", "", t.orders, t.revenue, t.currency)?;
                    }
                }
            }
            Ok(())
        }
        ReportCommand::Lift { campaign, format } => {
            anyhow::ensure!(format != Format::Csv, "lift is shown as a table or as JSON");
            let measured = match campaign {
                Some(name) => {
                    let found = campaign::find(&platform.db, &name).await?;
                    attribution::campaign_lift(platform, found.id, platform.now()).await?
                }
                None => attribution::global_lift(platform, platform.now()).await?,
            };
            if format == Format::Json {
                println!("{}", serde_json::to_string_pretty(&measured)?);
            } else {
                table(&measured);
            }
            Ok(())
        }
    }
}

fn by_title(report: &attribution::report::Report) -> String {
    format!("by {}", report.by.name())
}

fn table(measured: &MeasuredLift) {
    println!("{}", measured.question);
    for result in &measured.results {
        let lift = &result.lift;
        println!("{}", result.words);
        println!(
            "  in {}: per person {:.2} (standard error {:.2}), p = {:.4}",
            result.unit, lift.effect_per_person, lift.standard_error, lift.p_value
        );
        println!("  95 % at a time fixed beforehand: {:.0} to {:.0}", lift.ci95_low, lift.ci95_high);
        println!("  95 % at any look:                {:.0} to {:.0}", lift.always_valid_low, lift.always_valid_high);
    }
    println!("  {:.0} % of the windows are over", measured.complete_share * 100.0);
}
