//! Reports that come by themselves: the setting `attribution.deliveries` says which, when, in what format and where to; the job
//! `attribution.deliver` makes each as of the moment that it was due.
//!
//! Into a folder a file appears once and whole. A mail is sent again where the process died before it noted that it had been sent; its
//! Message-ID is the same then. Where several due times were missed, only the last is delivered.

use std::path::Path;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::answer::{self, Format, ReportKind};
use super::period::{Periods, Unit};
use super::question::{ReportError, ReportQuery};
use crate::delivery::{Attachment, Notice, send_notice};
use crate::platform::clock::{Clock, Timestamp};
use crate::platform::db::{Db, Tx};
use crate::platform::queue::{JobContext, schedule};
use crate::platform::{Platform, setting};
use crate::{on, read};

/// Most deliveries, and recipients of one.
const MAX: usize = 100;

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Destination {
    /// Addresses of people of the shop.
    Mail(Vec<String>),
    /// An existing folder on the machine of the worker (a mount, a synchronised folder).
    Folder(String),
}

/// One report that comes by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// Small letters, digits, `-` and `_`: part of the file's name.
    pub name: String,
    pub report: ReportKind,
    /// The question. Without `from` and `to` it is about the 30 days before the due time, or the last whole `about`.
    #[serde(default)]
    pub query: ReportQuery,
    /// About the last whole day, week or month before the due time.
    #[serde(default)]
    pub about: Option<Unit>,
    pub format: Format,
    /// Five-field cron pattern.
    pub cron: String,
    /// Default: the shop's.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub time_zone: Option<Tz>,
    pub to: Destination,
    /// Nothing is due before. Set when it is saved.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub starts_at: Option<Timestamp>,
    /// Nothing is due while it rests. What was missed is not made up for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// Setting `attribution.deliveries`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Deliveries(pub Vec<Delivery>);

const KEY: &str = "attribution.deliveries";
const LAST: &str = "SELECT MAX(due_at) FROM report_delivery WHERE name = $1";
const NOTE: &str =
    "INSERT INTO report_delivery (name, due_at, delivered_at, detail) VALUES ($1, $2, $3, $4) ON CONFLICT (name, due_at) DO NOTHING";

impl Deliveries {
    pub async fn load(db: &Db) -> sqlx::Result<Self> {
        setting::get_or_default(db, KEY).await
    }

    /// Checks and saves. A delivery that was there keeps its start; a new one starts now.
    pub async fn save(mut self, platform: &Platform) -> Result<Self, ReportError> {
        if self.0.len() > MAX {
            return Err(ReportError::invalid("deliveries", format!("at most {MAX} reports can come by themselves")));
        }
        let old = Self::load(&platform.db).await?;
        let now = platform.now();
        for at in 0..self.0.len() {
            if self.0[..at].iter().any(|d| d.name == self.0[at].name) {
                return Err(ReportError::invalid("name", format!("two deliveries are called “{}”", self.0[at].name)));
            }
            let delivery = &mut self.0[at];
            let before = old.0.iter().find(|d| d.name == delivery.name);
            // What was found well is not asked again: a report may take its time.
            if before.is_none_or(|old| !old.asks_the_same(delivery)) {
                delivery.check(platform).await?;
            }
            let resumed = before.is_some_and(|old| old.paused && !delivery.paused);
            delivery.starts_at = Some(before.and_then(|d| d.starts_at).filter(|_| !resumed).unwrap_or(now));
        }
        let mut tx = platform.db.begin().await?;
        setting::put(&mut tx, KEY, &self, now).await?;
        tx.commit().await?;
        Ok(self)
    }
}

impl Delivery {
    fn asks_the_same(&self, other: &Delivery) -> bool {
        let bare = |d: &Delivery| Delivery { starts_at: None, paused: false, ..d.clone() };
        bare(self) == bare(other)
    }

    async fn check(&self, platform: &Platform) -> Result<(), ReportError> {
        let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if self.name.is_empty() || self.name.len() > 60 || !self.name.chars().all(named) {
            return Err(ReportError::invalid("name", "a delivery's name has 1 to 60 small letters, digits, - and _"));
        }
        if let Err(why) = schedule::next_fire(&self.cron, self.zone(platform), platform.now()) {
            return Err(ReportError::invalid("cron", why.to_string()));
        }
        match &self.to {
            Destination::Folder(path) if !Path::new(path).is_absolute() => {
                Err(ReportError::invalid("to", "a folder is named from the root: /…"))
            }
            Destination::Mail(list) if list.is_empty() || list.len() > MAX => {
                Err(ReportError::invalid("to", format!("a mail has 1 to {MAX} recipients")))
            }
            Destination::Mail(list) => match list.iter().find(|a| a.parse::<lettre::Address>().is_err()) {
                Some(wrong) => {
                    Err(ReportError::invalid("to", format!("“{}” is not an address", wrong.chars().take(80).collect::<String>())))
                }
                None => Ok(()),
            },
            Destination::Folder(_) => Ok(()),
        }?;
        // Asked once now: what is wrong with the question is said here, not at night.
        answer::report(platform, self.report, &self.query).await?.sheet(self.query.table.as_deref()).map(|_| ())
    }

    fn zone(&self, platform: &Platform) -> Tz {
        self.time_zone.unwrap_or(platform.config.shop.time_zone)
    }

    /// The last time at or before now at which it was due, where that lies after what was delivered.
    fn due(&self, platform: &Platform, delivered: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        if self.paused {
            return None;
        }
        let mut after = delivered.max(self.starts_at)?;
        let mut due = None;
        // A pattern that fires each minute over a year of silence still ends.
        for _ in 0..1_000_000 {
            match schedule::next_fire(&self.cron, self.zone(platform), after) {
                Ok(next) if next <= now && next > after => (due, after) = (Some(next), next),
                _ => break,
            }
        }
        due
    }

    /// The question as of the due time.
    fn question(&self, platform: &Platform, due: Timestamp) -> ReportQuery {
        let mut query = self.query.clone();
        let zone = self.zone(platform);
        query.time_zone.get_or_insert_with(|| zone.name().to_owned());
        if let Some(unit) = self.about {
            // The whole period before the one that the due time lies in.
            let current = Periods::over(due, due.plus_us(1), unit, zone);
            let last = Periods::over(current.from().plus_us(-1), current.from(), unit, zone);
            query.from = Some(last.from().to_string());
            query.to = Some(last.to().to_string());
        }
        query
    }
}

/// What became of the deliveries that were due.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Delivered {
    pub delivered: Vec<String>,
    pub failed: Vec<String>,
}

/// Delivers what is due now. One that fails stays due, and keeps no other.
pub async fn deliver_due(platform: &Platform) -> anyhow::Result<Delivered> {
    let now = platform.now();
    let mut done = Delivered::default();
    for delivery in Deliveries::load(&platform.db).await?.0 {
        let name = delivery.name.as_str();
        let last = read!(platform.db, |c| sqlx::query_scalar::<_, Option<Timestamp>>(LAST).bind(name).fetch_one(c).await)?;
        let Some(due) = delivery.due(platform, last, now) else { continue };
        match deliver(platform, &delivery, due).await {
            Ok(detail) => {
                let mut tx = platform.db.begin().await?;
                note(&mut tx, name, due, now, &detail).await?;
                tx.commit().await?;
                done.delivered.push(format!("{name}: {detail}"));
            }
            Err(error) => done.failed.push(format!("{name}: {error:#}")),
        }
    }
    Ok(done)
}

/// Delivers one now, whether it is due or rests; its schedule goes on as before. `None`: there is none of that name.
pub async fn deliver_now(platform: &Platform, name: &str) -> anyhow::Result<Option<String>> {
    let found = Deliveries::load(&platform.db).await?.0.into_iter().find(|d| d.name == name);
    let Some(delivery) = found else { return Ok(None) };
    let now = platform.now();
    let detail = deliver(platform, &delivery, now).await?;
    let mut tx = platform.db.begin().await?;
    note(&mut tx, name, now, now, &detail).await?;
    tx.commit().await?;
    Ok(Some(detail))
}

const LAST_OF_ALL: &str = "SELECT name, MAX(delivered_at) FROM report_delivery GROUP BY name";
/// When each was last delivered.
pub async fn last_delivered(db: &Db) -> sqlx::Result<std::collections::HashMap<String, Timestamp>> {
    let rows: Vec<(String, Timestamp)> = read!(*db, |c| sqlx::query_as(LAST_OF_ALL).fetch_all(c).await)?;
    Ok(rows.into_iter().collect())
}

async fn note(tx: &mut Tx, name: &str, due: Timestamp, now: Timestamp, detail: &str) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(NOTE).bind(name).bind(due).bind(now).bind(detail).execute(&mut *c).await.map(|_| ()))
}

async fn deliver(platform: &Platform, delivery: &Delivery, due: Timestamp) -> anyhow::Result<String> {
    // "Now" is when it was due: made late, the report is the same.
    let then = Platform { clock: Clock::manual(due), ..platform.clone() };
    let query = delivery.question(platform, due);
    let answer = answer::report(&then, delivery.report, &query).await?;
    let bytes = answer.bytes(delivery.format, query.table.as_deref())?;
    let stamp = due.in_zone(delivery.zone(platform)).format("%Y-%m-%d_%H%M");
    let file = format!("{}_{stamp}.{}", delivery.name, delivery.format.extension());
    match &delivery.to {
        Destination::Folder(folder) => {
            write_whole(Path::new(folder), &file, &bytes).await?;
            Ok(format!("{file}, {} bytes", bytes.len()))
        }
        Destination::Mail(list) => {
            let title = delivery.report.name();
            let text =
                format!("The report “{}” ({title}) as of {due} is attached.\n\nIt holds no addresses and no names.\n", delivery.name);
            for to in list {
                let attachment = Attachment { name: &file, media_type: delivery.format.media_type(), bytes: &bytes };
                let id = format!("report-{}-{}", delivery.name, due.micros() / 1_000_000);
                let notice =
                    Notice { id: &id, to, subject: &format!("Report: {}", delivery.name), text: &text, attachment: Some(attachment) };
                send_notice(platform, notice).await?;
            }
            Ok(format!("{file} to {} recipients", list.len()))
        }
    }
}

/// A file that appears whole or not at all.
async fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let part = folder.join(format!(".{name}.part"));
    tokio::fs::write(&part, bytes).await.with_context(|| format!("the report cannot be written into {}", folder.display()))?;
    tokio::fs::rename(&part, folder.join(name)).await.with_context(|| format!("the report cannot be moved in {}", folder.display()))
}

/// The job `attribution.deliver`.
pub(super) async fn job(platform: Platform, _: JobContext) -> anyhow::Result<Value> {
    let done = deliver_due(&platform).await?;
    anyhow::ensure!(done.failed.is_empty(), "{} delivered; failed: {}", done.delivered.len(), done.failed.join("; "));
    Ok(json!(done))
}
