//! `marquee report`: the same reports as over HTTP, for people and scripts.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::attribution::{self, Answer, Cell, Deliveries, MeasuredLift, ReportKind, ReportQuery, Sheet};
use crate::campaign::{self, GoalKind};
use crate::platform::Platform;

#[derive(Debug, clap::Subcommand)]
pub enum ReportCommand {
    /// Who earned what: orders shared among the touches before them.
    Attribution(ReportArgs),
    /// All credit models side by side.
    Models(ReportArgs),
    /// By which sequences of contacts orders came, and how long they took.
    Paths(ReportArgs),
    /// People by their first order, and how many ordered again.
    Cohorts(ReportArgs),
    /// How often people come, how much they do, whether they return.
    Engagement(ReportArgs),
    /// Planned, sent, arrived, seen, clicked, ordered.
    Funnel(ReportArgs),
    /// What a campaign (or, without one, all marketing) added to what would have happened anyway.
    Lift {
        /// Key or id.
        #[arg(long)]
        campaign: Option<String>,
        /// orders (their revenue), visit, days_active or share; default: the campaign's goal.
        #[arg(long)]
        outcome: Option<GoalKind>,
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// All models over a file of paths counted elsewhere (CSV: path, total_conversions, total_conversion_value, total_null).
    Journeys {
        file: PathBuf,
        /// Memory of the Markov chain, 1 to 3.
        #[arg(long, default_value_t = 1)]
        order: usize,
        #[command(flatten)]
        out: Out,
    },
    /// Show (or, with --set, replace) the reports that come by themselves.
    Deliveries {
        /// A JSON file: a list of deliveries.
        #[arg(long, value_name = "FILE")]
        set: Option<PathBuf>,
    },
    /// Deliver the reports that are due, now.
    Deliver,
}

#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// first, last, linear, time_decay, position, markov, shapley or shapley_rate.
    #[arg(long)]
    model: Option<String>,
    /// campaign, channel, product, variant, segment, day, week or month.
    #[arg(long)]
    by: Option<String>,
    /// day, week or month: the periods of cohorts and engagement.
    #[arg(long)]
    unit: Option<String>,
    /// A date or RFC 3339 time (default: 30 days before --to; of cohorts and engagement twelve periods).
    #[arg(long)]
    from: Option<String>,
    /// A date (the whole day counts) or RFC 3339 time (default: now).
    #[arg(long)]
    to: Option<String>,
    #[arg(long)]
    time_zone: Option<String>,
    /// Only this currency.
    #[arg(long)]
    currency: Option<String>,
    /// Also count human opens and viewable banners without a click.
    #[arg(long)]
    view_through: bool,
    /// Look into one campaign (key or id).
    #[arg(long)]
    campaign: Option<String>,
    /// Look into one channel.
    #[arg(long)]
    channel: Option<String>,
    /// Look into the campaigns that speak to one segment (key or id).
    #[arg(long)]
    segment: Option<String>,
    /// Paths shown at most.
    #[arg(long)]
    limit: Option<u32>,
    /// Which table of the report.
    #[arg(long)]
    table: Option<String>,
    /// Compute credit that is not yet computed before reporting.
    #[arg(long)]
    update: bool,
    #[command(flatten)]
    out: Out,
}

#[derive(Debug, clap::Args)]
pub struct Out {
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Write into this file (parquet needs it).
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Table,
    Json,
    Csv,
    Parquet,
}

pub async fn run(command: ReportCommand, platform: &Platform) -> anyhow::Result<()> {
    match command {
        ReportCommand::Attribution(args) => report(platform, ReportKind::Attribution, args).await,
        ReportCommand::Models(args) => report(platform, ReportKind::Models, args).await,
        ReportCommand::Paths(args) => report(platform, ReportKind::Paths, args).await,
        ReportCommand::Cohorts(args) => report(platform, ReportKind::Cohorts, args).await,
        ReportCommand::Engagement(args) => report(platform, ReportKind::Engagement, args).await,
        ReportCommand::Funnel(args) => report(platform, ReportKind::Funnel, args).await,
        ReportCommand::Lift { campaign, outcome, format } => lift(platform, campaign, outcome, format).await,
        ReportCommand::Journeys { file, order, out } => {
            let report = attribution::of_file(&file, order)?;
            write(
                &out,
                || Ok(serde_json::to_vec_pretty(&report)?),
                &report.sheet(),
                |to| {
                    writeln!(
                        to,
                        "{} journeys of {} keys, {} of them converted",
                        report.conversions + report.misses,
                        report.keys,
                        report.conversions
                    )
                },
            )
        }
        ReportCommand::Deliveries { set } => {
            let deliveries = match set {
                Some(file) => serde_json::from_slice::<Deliveries>(&std::fs::read(file)?)?.save(platform).await?,
                None => Deliveries::load(&platform.db).await?,
            };
            println!("{}", serde_json::to_string_pretty(&deliveries)?);
            Ok(())
        }
        ReportCommand::Deliver => {
            let done = attribution::deliver_due(platform).await?;
            println!("{}", serde_json::to_string_pretty(&done)?);
            anyhow::ensure!(done.failed.is_empty(), "{} deliveries failed", done.failed.len());
            Ok(())
        }
    }
}

async fn report(platform: &Platform, kind: ReportKind, args: ReportArgs) -> anyhow::Result<()> {
    if args.update {
        attribution::update(platform).await?;
    }
    let query = ReportQuery {
        model: args.model,
        by: args.by,
        unit: args.unit,
        from: args.from,
        to: args.to,
        time_zone: args.time_zone,
        currency: args.currency,
        view_through: args.view_through.then_some(true),
        campaign: args.campaign,
        channel: args.channel,
        segment: args.segment,
        limit: args.limit,
        format: None,
        table: args.table,
    };
    let answer = attribution::answer(platform, kind, &query).await?;
    let sheet = answer.sheet(query.table.as_deref())?;
    write(&args.out, || Ok(serde_json::to_vec_pretty(&answer)?), &sheet, |to| totals(&answer, to))
}

/// What a table cannot say in its rows.
fn totals(answer: &Answer, to: &mut dyn std::io::Write) -> std::io::Result<()> {
    let totals = match answer {
        Answer::Attribution(r) => &r.totals,
        Answer::Models(r) => &r.totals,
        _ => return Ok(()),
    };
    for t in totals {
        writeln!(to, "all orders: {} worth {} {}", t.orders, t.revenue, t.currency)?;
    }
    Ok(())
}

fn write(
    out: &Out,
    json: impl FnOnce() -> anyhow::Result<Vec<u8>>,
    sheet: &Sheet,
    below: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let bytes = match out.format {
        Format::Json => {
            let mut bytes = json()?;
            bytes.push(b'\n');
            bytes
        }
        Format::Csv => sheet.to_csv().into_bytes(),
        Format::Parquet => {
            anyhow::ensure!(out.out.is_some(), "--format parquet needs --out FILE");
            sheet.to_parquet()?
        }
        Format::Table => {
            let mut bytes = table(sheet).into_bytes();
            below(&mut bytes)?;
            bytes
        }
    };
    match out.out.as_deref() {
        Some(file) => Ok(std::fs::write(file as &Path, bytes)?),
        None => Ok(std::io::stdout().lock().write_all(&bytes)?),
    }
}

/// Columns as wide as they need (at most 40), numbers to the right.
fn table(sheet: &Sheet) -> String {
    let show = |cell: &Cell| match cell {
        Cell::Text(t) | Cell::Decimal(t) => t.chars().map(|c| if c.is_control() { ' ' } else { c }).take(40).collect(),
        Cell::Whole(n) => n.to_string(),
        Cell::Number(n) => format!("{n:.4}"),
        Cell::Time(at) => at.to_string(),
        Cell::Empty => String::new(),
    };
    let head: Vec<String> = sheet.columns.iter().map(|(name, _)| name.clone()).collect();
    let rows: Vec<Vec<String>> = sheet.rows.iter().map(|row| row.iter().map(show).collect()).collect();
    let wide = |i: usize| rows.iter().chain([&head]).map(|r| r[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(wide).collect();
    let mut out = String::new();
    for row in std::iter::once(&head).chain(&rows) {
        let cells = row.iter().enumerate().map(|(i, text)| match sheet.columns[i].1 {
            attribution::Kind::Text => format!("{text:<w$}", w = widths[i]),
            _ => format!("{text:>w$}", w = widths[i]),
        });
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

async fn lift(platform: &Platform, campaign: Option<String>, outcome: Option<GoalKind>, format: Format) -> anyhow::Result<()> {
    anyhow::ensure!(matches!(format, Format::Table | Format::Json), "lift is shown as a table or as JSON");
    let campaign = match campaign {
        Some(name) => Some(campaign::find(&platform.db, &name).await?.id),
        None => None,
    };
    let measured = attribution::measured_lift(platform, campaign, outcome, platform.now()).await?;
    if format == Format::Json {
        println!("{}", serde_json::to_string_pretty(&measured)?);
    } else {
        findings(&measured);
    }
    Ok(())
}

fn findings(measured: &MeasuredLift) {
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
