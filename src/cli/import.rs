//! `marquee import`: files of orders, people and products.

use std::path::PathBuf;

use chrono_tz::Tz;
use clap::{Args, Subcommand};

use crate::catalog::{self, FetchOptions, Fetcher};
use crate::import::{self, Kind, Options, Preset, RuleOptions};
use crate::platform::{Currency, Platform, progress};

#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Orders with their lines; also makes the people and products they name.
    Orders(OrdersArgs),
    /// People and their consents.
    People(FileArgs),
    /// Products: a table, or a Google feed in XML.
    Products(ProductsArgs),
}

#[derive(Debug, Args)]
pub struct FileArgs {
    /// CSV or TSV, also gzipped.
    file: PathBuf,
    /// Layout of the file: generic, shopify, online_retail, mailchimp, klaviyo or google. Recognised from the header where left out.
    #[arg(long)]
    preset: Option<Preset>,
    /// Which column holds which field, for instance --map order="Invoice No" (repeat for several).
    #[arg(long, value_name = "FIELD=COLUMN", value_parser = pair)]
    map: Vec<(String, String)>,
    /// What separates columns: one character, or “tab”. Recognised where left out.
    #[arg(long, value_parser = delimiter)]
    delimiter: Option<u8>,
    /// Zone of times without an offset, such as Europe/London (default: the shop's).
    #[arg(long)]
    timezone: Option<Tz>,
    /// Format of dates that are not ISO 8601, such as "%d/%m/%Y %H:%M".
    #[arg(long, value_name = "FORMAT")]
    date_format: Option<String>,
    /// Currency of amounts without one (default: the shop's).
    #[arg(long)]
    currency: Option<Currency>,
    /// Read, clean and count, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Write refused rows to this CSV file, each with its line, code and reason.
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Print the summary as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct OrdersArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Orders whose number starts so, followed by a digit, cancel earlier lines of the same customer and product.
    #[arg(long, value_name = "PREFIX")]
    cancel_prefix: Option<String>,
    /// Orders whose number starts so, followed by a digit, adjust bad debt and are refused.
    #[arg(long, value_name = "PREFIX")]
    bad_debt_prefix: Option<String>,
    /// Refuse codes without a digit: postage, fees, manual entries.
    #[arg(long)]
    codes_need_digit: Option<bool>,
    /// Take 85123a and 85123A for one product.
    #[arg(long)]
    fold_sku_case: Option<bool>,
    /// Refuse lines whose description is a note on stock, such as “damaged”, “?” or “check”.
    #[arg(long)]
    stock_notes: Option<bool>,
}

#[derive(Debug, Args)]
pub struct ProductsArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Afterwards fetch the pictures that products name and that are not stored yet, from public hosts.
    #[arg(long)]
    fetch_pictures: bool,
    /// Also fetch from hosts in private networks: for pictures that lie in the shop's own.
    #[arg(long, requires = "fetch_pictures")]
    allow_private_hosts: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((field, column)) if !field.trim().is_empty() && !column.is_empty() => Ok((field.trim().to_owned(), column.to_owned())),
        _ => Err("write FIELD=COLUMN, for instance order=InvoiceNo".into()),
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [one] if one.is_ascii() && *one != b'"' && !one.is_ascii_alphanumeric() => Ok(*one),
        b"tab" | b"\\t" => Ok(b'\t'),
        _ => Err("write one character, or tab".into()),
    }
}

pub async fn run(command: ImportCommand, platform: &Platform) -> anyhow::Result<()> {
    match command {
        ImportCommand::Orders(args) => {
            let rules = RuleOptions {
                cancel_prefix: args.cancel_prefix,
                bad_debt_prefix: args.bad_debt_prefix,
                codes_need_digit: args.codes_need_digit,
                fold_sku_case: args.fold_sku_case,
                stock_notes: args.stock_notes,
            };
            one(platform, Kind::Orders, args.file, rules).await
        }
        ImportCommand::People(args) => one(platform, Kind::People, args, RuleOptions::default()).await,
        ImportCommand::Products(args) => {
            let json = args.file.json;
            let dry_run = args.file.dry_run;
            one(platform, Kind::Products, args.file, RuleOptions::default()).await?;
            if args.fetch_pictures && !dry_run {
                fetch_pictures(platform, args.allow_private_hosts, json).await?;
            }
            Ok(())
        }
    }
}

async fn one(platform: &Platform, kind: Kind, args: FileArgs, rules: RuleOptions) -> anyhow::Result<()> {
    let defaults = Options::new(platform);
    let options = Options {
        preset: args.preset,
        map: args.map,
        delimiter: args.delimiter,
        zone: args.timezone.unwrap_or(defaults.zone),
        date_format: args.date_format,
        currency: args.currency.unwrap_or(defaults.currency),
        dry_run: args.dry_run,
        rejects: args.rejects,
        rules,
        consent: None,
        progress: !args.json,
    };
    let report = import::run(platform, kind, &args.file, &options).await?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    anyhow::ensure!(report.torn.is_none(), "the file could not be read to its end; what came before was kept");
    Ok(())
}

async fn fetch_pictures(platform: &Platform, allow_private: bool, json: bool) -> anyhow::Result<()> {
    let fetcher = Fetcher::new(FetchOptions { allow_private, ..FetchOptions::default() });
    let bar = progress::spinner("Fetching pictures");
    let fetched = catalog::fetch_missing_pictures(platform, &fetcher, || bar.inc(1)).await?;
    bar.finish_and_clear();
    if json {
        println!("{}", serde_json::json!({"pictures_stored": fetched.stored, "pictures_failed": fetched.failed.len()}));
        return Ok(());
    }
    println!("{} pictures stored, {} not", fetched.stored, fetched.failed.len());
    for (sku, why) in fetched.failed.iter().take(20) {
        println!("  {sku}: {why}");
    }
    Ok(())
}
