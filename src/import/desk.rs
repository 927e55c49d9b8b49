//! Files that are uploaded to be imported: taken in pieces, looked into, mapped, and imported by a job that any copy of Marquee may run.
//!
//! The bytes lie in the database until the import is done. An import that is broken off begins anew; running it again changes nothing.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::types::Json;

use super::desk_store as store;
use super::mapping::{self, Mapping, Preset};
use super::scratch::Scratch;
use super::source::{Next, Record};
use super::{ImportError, Kind, Options, Report, Source};
use crate::events;
use crate::people::Consent;
use crate::platform::clock::{DAY_US, Timestamp};
use crate::platform::db::Db;
use crate::platform::ids::{ImportId, JobRunId};
use crate::platform::queue::{JobContext, NewRun, enqueue};
use crate::platform::{Currency, Fault, Platform};

/// Largest file that is taken, as it comes (a gzipped one counts packed).
pub const MAX_UPLOAD_BYTES: i64 = 512 << 20;
/// Bytes of one piece: a transaction that writes one stays well under 50 ms.
pub const PIECE_BYTES: usize = 256 << 10;
/// So much of a file is looked into before it is imported.
const HEAD_PIECES: i64 = 4;
/// Rows of the preview.
const SHOWN_ROWS: usize = 6;
/// Refused rows of the preview.
const SHOWN_REJECTS: usize = 8;
/// Uploads that nobody went on with, and files of refused rows, are kept so long.
const KEEP_UPLOAD_US: i64 = 7 * DAY_US;
const KEEP_DONE_US: i64 = 90 * DAY_US;
const FILE: &str = "file";
const REJECTS: &str = "rejects";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Uploading,
    /// Waits for somebody to say how it is read.
    Uploaded,
    Queued,
    Running,
    Done,
    Failed,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Uploading => "uploading",
            Self::Uploaded => "uploaded",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl TryFrom<String> for Status {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        [Self::Uploading, Self::Uploaded, Self::Queued, Self::Running, Self::Done, Self::Failed]
            .into_iter()
            .find(|s| s.name() == text)
            .ok_or_else(|| format!("“{text}” is no state of an import"))
    }
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::People, Kind::Products, Kind::Orders];

    pub fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::People => "people",
            Self::Products => "products",
        }
    }
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == name)
    }
}

impl TryFrom<String> for Kind {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::named(&text).ok_or_else(|| format!("“{text}” is no kind of import"))
    }
}

/// An uploaded file and how far it is.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct ImportFile {
    pub id: ImportId,
    #[sqlx(try_from = "String")]
    #[serde(skip)]
    pub kind: Kind,
    pub name: String,
    pub bytes: i64,
    #[sqlx(try_from = "String")]
    pub status: Status,
    #[serde(skip)]
    pub options: Json<Value>,
    pub report: Option<Json<Value>>,
    pub error: Option<String>,
    #[serde(skip)]
    pub run_id: Option<JobRunId>,
    pub created_by: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// How a file is read, as chosen on the page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reading {
    pub preset: Option<String>,
    /// Field and column; an empty column: none.
    pub map: Vec<(String, String)>,
    pub zone: Option<Tz>,
    pub currency: Option<Currency>,
    pub date_format: Option<String>,
    /// The people of this file agreed to e-mail, though it has no column that says so.
    pub agreed: bool,
}

impl Reading {
    fn options(&self, platform: &Platform) -> Options {
        let defaults = Options::new(platform);
        Options {
            preset: self.preset.as_deref().and_then(|p| p.parse().ok()),
            map: self.map.clone(),
            zone: self.zone.unwrap_or(defaults.zone),
            currency: self.currency.unwrap_or(defaults.currency),
            date_format: self.date_format.clone(),
            consent: self.agreed.then_some(Consent::Subscribed),
            ..defaults
        }
    }
}

/// A field, and the column that holds it.
#[derive(Clone, Debug, Serialize)]
pub struct FieldColumn {
    pub field: &'static str,
    pub required: bool,
    /// Empty: none.
    pub column: String,
}

/// A refused row.
#[derive(Clone, Debug, Serialize)]
pub struct Reject {
    pub line: String,
    pub code: String,
    /// More than the code says; may be empty.
    pub detail: String,
    pub row: String,
}

/// What was seen in the first part of a file.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Looked {
    pub preset: String,
    /// XML feeds have their own fields.
    pub xml: bool,
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
    pub fields: Vec<FieldColumn>,
    /// What the first part would come to.
    pub report: Option<Report>,
    /// The first refused rows.
    pub rejects: Vec<Reject>,
    /// The first part is the whole file.
    pub whole: bool,
    /// Why it cannot be imported like this.
    #[serde(skip)]
    pub problems: Vec<Fault>,
}

/// Begins an upload.
pub async fn begin(db: &Db, kind: Kind, name: &str, by: &str, now: Timestamp) -> sqlx::Result<ImportId> {
    let name: String = name.chars().filter(|c| !c.is_control()).take(200).collect();
    let mut tx = db.begin().await?;
    let id = store::insert(&mut tx, kind.name(), &name, by, now).await?;
    tx.commit().await?;
    Ok(id)
}

/// Takes the next piece ([`PIECE_BYTES`] at most) of an upload.
pub async fn append(db: &Db, id: ImportId, seq: i64, bytes: &[u8]) -> sqlx::Result<()> {
    put(db, id, FILE, seq, bytes).await
}

async fn put(db: &Db, id: ImportId, part: &str, seq: i64, bytes: &[u8]) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    store::append(&mut tx, id, part, seq, bytes).await?;
    tx.commit().await
}

/// The upload is complete.
pub async fn uploaded(db: &Db, id: ImportId, bytes: i64, now: Timestamp) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    store::uploaded(&mut tx, id, bytes, now).await?;
    tx.commit().await
}

pub async fn get(db: &Db, id: ImportId) -> sqlx::Result<Option<ImportFile>> {
    store::get(db, id).await
}

/// Imports with ids below `before`, the newest first.
pub async fn list(db: &Db, before: Option<ImportId>, limit: i64) -> sqlx::Result<Vec<ImportFile>> {
    store::page(db, before.unwrap_or(ImportId(i64::MAX)), limit).await
}

/// A piece of the file of refused rows; `None` behind the last.
pub async fn rejects(db: &Db, id: ImportId, seq: i64) -> sqlx::Result<Option<Vec<u8>>> {
    store::chunk(db, id, REJECTS, seq).await
}

pub async fn has_rejects(db: &Db, id: ImportId) -> sqlx::Result<bool> {
    Ok(store::pieces(db, id, REJECTS).await? > 0)
}

async fn drop_part(db: &Db, id: ImportId, part: &str) -> sqlx::Result<()> {
    let pieces = store::pieces(db, id, part).await?;
    for from in (0..pieces).step_by(16) {
        let mut tx = db.begin().await?;
        store::drop_pieces(&mut tx, id, part, from, from + 16).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Forgets an import and its bytes. What it imported stays.
pub async fn remove(db: &Db, id: ImportId) -> sqlx::Result<()> {
    drop_part(db, id, FILE).await?;
    drop_part(db, id, REJECTS).await?;
    let mut tx = db.begin().await?;
    store::delete(&mut tx, id).await?;
    tx.commit().await
}

/// Sends an uploaded (or failed) file on its way. False where it is on its way already.
pub async fn start(platform: &Platform, id: ImportId, reading: &Reading) -> anyhow::Result<bool> {
    let now = platform.now();
    let mut tx = platform.db.begin().await?;
    if !store::start(&mut tx, id, &serde_json::to_value(reading)?, now).await? {
        return Ok(false);
    }
    let run = NewRun { job: "import.run", unique_key: format!("{id}:{now}"), args: json!({ "import": id }), at: now };
    enqueue(&mut tx, run, now).await?;
    tx.commit().await?;
    Ok(true)
}

/// Writes the pieces of a file to disk, at most so many.
async fn to_disk(db: &Db, id: ImportId, path: &Path, most: i64) -> anyhow::Result<()> {
    let mut out = std::fs::File::create(path)?;
    for seq in 0..most {
        let Some(piece) = store::chunk(db, id, FILE, seq).await? else { break };
        out.write_all(&piece)?;
    }
    Ok(out.flush()?)
}

/// Looks into the first part of a file: its columns, its first rows, and what would be refused. Writes nothing.
pub async fn look(platform: &Platform, file: &ImportFile, reading: &Reading) -> anyhow::Result<Looked> {
    let folder = Scratch::new()?;
    let path = folder.file("head");
    to_disk(&platform.db, file.id, &path, HEAD_PIECES).await?;
    let whole = file.bytes <= HEAD_PIECES * PIECE_BYTES as i64;
    let mut looked = Looked { whole, ..Looked::default() };
    if let Err(error) = look_at(&path, file.kind, reading, &mut looked) {
        looked.problems = error.faults();
        return Ok(looked);
    }
    if !looked.problems.is_empty() {
        return Ok(looked);
    }
    let rejects = folder.file("rejects.csv");
    let options = Options { dry_run: true, rejects: Some(rejects.clone()), ..reading.options(platform) };
    match super::run(platform, file.kind, &path, &options).await {
        Ok(mut report) => {
            if !whole {
                // The first part ends where it was cut, not where the file does.
                report.torn = None;
            }
            looked.rejects = read_rejects(&rejects)?;
            looked.report = Some(report);
        }
        Err(error) => looked.problems = error.faults(),
    }
    Ok(looked)
}

fn look_at(path: &Path, kind: Kind, reading: &Reading, looked: &mut Looked) -> Result<(), ImportError> {
    let source = Source::open(path, None)?;
    if kind == Kind::Products && super::feed::is_xml(&source)? {
        looked.xml = true;
        looked.preset = Preset::Google.name().to_owned();
        return Ok(());
    }
    let mut rows = source.rows()?;
    looked.header.clone_from(&rows.header);
    let mut record = Record::default();
    while looked.rows.len() < SHOWN_ROWS {
        match rows.next(&mut record) {
            Next::Record => looked.rows.push(record.cells().map(|c| c.chars().take(80).collect()).collect()),
            Next::Broken(_) => {}
            Next::End | Next::Torn(_) => break,
        }
    }
    let preset = reading.preset.as_deref().and_then(|p| p.parse().ok());
    let found = Mapping::resolve(kind, &looked.header, preset, &reading.map);
    if let Ok(mapping) = &found {
        looked.preset = mapping.preset.name().to_owned();
    }
    looked.fields = mapping::guess(kind, &looked.header, preset, &reading.map)
        .into_iter()
        .map(|(field, required, column)| FieldColumn { field, required, column })
        .collect();
    found.map(|_| ())
}

/// The first refused rows out of a rejects file.
fn read_rejects(path: &Path) -> anyhow::Result<Vec<Reject>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_path(path)?;
    let mut found = Vec::new();
    for record in reader.records().take(SHOWN_REJECTS) {
        let record = record?;
        let cell = |at: usize| record.get(at).unwrap_or_default().to_owned();
        let row: String = record.iter().skip(3).collect::<Vec<_>>().join(" · ").chars().take(160).collect();
        let detail = cell(2).split_once(": ").map(|(_, d)| d.to_owned()).unwrap_or_default();
        found.push(Reject { line: cell(0), code: cell(1), detail, row });
    }
    Ok(found)
}

#[derive(Deserialize)]
struct Args {
    import: ImportId,
}

/// The job: imports one file, keeps its refused rows, and asks for what follows from it.
pub(super) async fn job(platform: Platform, context: JobContext) -> anyhow::Result<Value> {
    let args: Args = serde_json::from_value(context.args.clone())?;
    let db = &platform.db;
    let Some(file) = store::get(db, args.import).await? else { return Ok(json!({ "gone": true })) };
    let mut tx = db.begin().await?;
    let mine = store::running(&mut tx, file.id, context.run_id, platform.now()).await?;
    tx.commit().await?;
    if !mine {
        return Ok(json!({ "already": file.status }));
    }
    match import(&platform, &context, &file).await {
        Ok(report) => {
            let value = serde_json::to_value(&report)?;
            let mut tx = db.begin().await?;
            store::finish(&mut tx, file.id, Status::Done, Some(&value), None, platform.now()).await?;
            follow(&mut tx, file.kind, platform.now()).await?;
            tx.commit().await?;
            drop_part(db, file.id, FILE).await?;
            sweep(db, platform.now()).await?;
            Ok(json!({ "rows": report.rows, "accepted": report.accepted, "refused": report.refused_rows() }))
        }
        Err(error) => {
            // A file that cannot be read is not tried again by itself; whoever uploaded it can choose other columns.
            let lasting = error.downcast_ref::<ImportError>().is_some_and(|e| !matches!(e, ImportError::Database(_)));
            let mut tx = db.begin().await?;
            let status = if lasting { Status::Failed } else { Status::Queued };
            store::finish(&mut tx, file.id, status, None, Some(&error.to_string()), platform.now()).await?;
            tx.commit().await?;
            if lasting { Ok(json!({ "failed": 1 })) } else { Err(error) }
        }
    }
}

/// What is worth computing anew after an import.
async fn follow(tx: &mut crate::platform::db::Tx, kind: Kind, now: Timestamp) -> anyhow::Result<()> {
    let jobs: &[&str] = match kind {
        Kind::People => &["audience.snapshot"],
        Kind::Products => &["recommend.embed"],
        Kind::Orders => &["recommend.embed", "recommend.train"],
    };
    if kind != Kind::Products {
        events::enqueue_traits(tx, now, now).await?;
    }
    for job in jobs {
        let run = NewRun { job, unique_key: format!("import:{now}"), args: json!({}), at: now };
        enqueue(tx, run, now).await?;
    }
    Ok(())
}

async fn import(platform: &Platform, context: &JobContext, file: &ImportFile) -> anyhow::Result<Report> {
    let reading: Reading = serde_json::from_value(file.options.0.clone()).unwrap_or_default();
    let folder = Scratch::new()?;
    // The report names the file as it was called by whoever uploaded it.
    let (path, rejects) = (folder.file("upload"), folder.file("rejects.csv"));
    to_disk(&platform.db, file.id, &path, i64::MAX).await?;
    let total = std::fs::metadata(&path)?.len();
    anyhow::ensure!(i64::try_from(total) == Ok(file.bytes), "the file is not there any more: upload it again");
    let options = Options { rejects: Some(rejects.clone()), ..reading.options(platform) };
    let done = Arc::new(AtomicU64::new(0));
    context.progress.total(i64::try_from(total).unwrap_or(i64::MAX));
    let watch = tokio::spawn({
        let (done, progress) = (done.clone(), context.progress.clone());
        async move {
            let mut shown = 0;
            loop {
                tokio::time::sleep(Duration::from_millis(300)).await;
                let now = i64::try_from(done.load(Ordering::Relaxed).min(total)).unwrap_or(0);
                progress.add((now - shown).max(0));
                shown = shown.max(now);
            }
        }
    });
    let result = tokio::select! {
        report = super::run_watched(platform, file.kind, &path, &options, done) => report.map_err(anyhow::Error::from),
        () = context.stop.cancelled() => Err(anyhow::anyhow!("stopped; the next attempt begins anew, and changes nothing twice")),
    };
    watch.abort();
    let mut report = result?;
    report.file.clone_from(&file.name);
    report.rejects_file = None;
    keep_rejects(&platform.db, file.id, &rejects, report.refused_rows() > 0).await?;
    Ok(report)
}

async fn keep_rejects(db: &Db, id: ImportId, path: &Path, any: bool) -> anyhow::Result<()> {
    drop_part(db, id, REJECTS).await?;
    if !any {
        return Ok(());
    }
    let mut file = std::fs::File::open(path)?;
    for seq in 0.. {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            break;
        }
        put(db, id, REJECTS, seq, &piece).await?;
    }
    Ok(())
}

/// Forgets uploads that nobody went on with, and the refused rows of long ago.
async fn sweep(db: &Db, now: Timestamp) -> sqlx::Result<()> {
    for status in [Status::Uploading, Status::Uploaded] {
        for id in store::stale(db, status, now.plus_us(-KEEP_UPLOAD_US)).await? {
            remove(db, id).await?;
        }
    }
    for status in [Status::Done, Status::Failed] {
        for id in store::stale(db, status, now.plus_us(-KEEP_DONE_US)).await? {
            remove(db, id).await?;
        }
    }
    Ok(())
}
