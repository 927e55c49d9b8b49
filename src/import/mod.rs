//! Importers: files of people, products and orders, mapped, cleaned, and refused by line number.
//!
//! Every importer reads its file once, keeps what is good, notes for each other line a code and a reason, and at the end reads the file
//! again to write the refused rows as they were into a rejects file. Running it again changes nothing.

mod clean;
pub mod desk;
mod desk_store;
mod error;
mod feed;
mod mapping;
mod orders;
mod people;
mod products;
mod report;
mod scratch;
mod source;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use chrono_tz::Tz;

pub use error::ImportError;
pub use mapping::{Preset, presets_of};
pub use report::{Refused, Report};
pub use source::Source;

use crate::job;
use crate::people::Consent;
use crate::platform::progress;
use crate::platform::queue::JobSpec;
use crate::platform::{Currency, Platform};

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Orders,
    People,
    Products,
}

/// How to read it. `Options::new` takes zone and currency from the shop's configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Recognised from the header where absent.
    pub preset: Option<Preset>,
    /// `field=Column`, over the preset.
    pub map: Vec<(String, String)>,
    pub delimiter: Option<u8>,
    /// Zone of times that carry no offset.
    pub zone: Tz,
    /// Format of dates (strftime), where they are not ISO 8601.
    pub date_format: Option<String>,
    /// Currency of amounts that carry none.
    pub currency: Currency,
    /// Clean and count, write nothing to the database.
    pub dry_run: bool,
    /// Where refused rows go.
    pub rejects: Option<PathBuf>,
    /// Rules for orders, over those of the preset.
    pub rules: orders::RuleOptions,
    /// What people are taken to have answered about e-mail where the file says nothing of it: somebody vouches for that.
    pub consent: Option<Consent>,
    /// Show a progress bar.
    pub progress: bool,
}

impl Options {
    pub fn new(platform: &Platform) -> Self {
        Self {
            preset: None,
            map: Vec::new(),
            delimiter: None,
            zone: platform.config.shop.time_zone,
            date_format: None,
            currency: platform.config.shop.currency,
            dry_run: false,
            rejects: None,
            rules: orders::RuleOptions::default(),
            consent: None,
            progress: false,
        }
    }
}

pub use orders::RuleOptions;

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    vec![job!("import.run", desk::job)]
}

/// Imports one file.
pub async fn run(platform: &Platform, kind: Kind, file: &Path, options: &Options) -> Result<Report, ImportError> {
    run_watched(platform, kind, file, options, Arc::default()).await
}

/// As [`run`]; `done` counts the bytes read so far.
pub async fn run_watched(
    platform: &Platform,
    kind: Kind,
    file: &Path,
    options: &Options,
    done: Arc<AtomicU64>,
) -> Result<Report, ImportError> {
    let mut source = Source::open(file, options.delimiter)?;
    source.done = done;
    let bar = if options.progress { progress::bar(source.bytes, "Reading") } else { indicatif::ProgressBar::hidden() };
    let ticker = tokio::spawn({
        let (bar, done) = (bar.clone(), source.done.clone());
        async move {
            loop {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                bar.set_position(done.load(std::sync::atomic::Ordering::Relaxed));
            }
        }
    });
    let started = std::time::Instant::now();
    let result = match kind {
        Kind::Orders => orders::import(platform, &source, options).await,
        Kind::People => people::import(platform, &source, options).await,
        Kind::Products => products::import(platform, &source, options).await,
    };
    ticker.abort();
    bar.finish_and_clear();
    let (mut report, refusals) = result?;
    if let Some(path) = &options.rejects {
        refusals.write(&source, path, kind, report.format)?;
        report.rejects_file = Some(path.display().to_string());
    }
    report.count_refusals(&refusals);
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}
