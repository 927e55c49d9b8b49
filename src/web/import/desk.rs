//! The import desk: what was imported, and one upload from its columns to its result.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, Path, Query};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::import::desk::{self, FieldColumn, ImportFile, Looked, Reading, Status};
use crate::import::{Kind, presets_of};
use crate::platform::clock::Timestamp;
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::ImportId;
use crate::platform::money::{Currency, Money};
use crate::platform::queue::{self, RunFilter};
use crate::platform::{Db, Fault, Platform};
use crate::web::page::{Confirm, Shell};
use crate::web::table::{Choice, PAGE_ROWS, Pager, kept};

/// Formats of dates that a form offers, beside those that need no word.
const DATE_FORMATS: [&str; 6] = ["%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d.%m.%Y %H:%M", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y"];

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    kind: String,
    after: Option<String>,
}

/// An upload as its row shows it.
#[derive(Serialize)]
struct Row {
    id: ImportId,
    name: String,
    kind: &'static str,
    status: &'static str,
    tone: &'static str,
    rows: Option<i64>,
    accepted: Option<i64>,
    refused: Option<i64>,
    created_by: String,
    created_at: Timestamp,
}

#[derive(Serialize)]
struct ListView {
    kind: &'static str,
    rows: Vec<Row>,
    pager: Pager,
    limit_mb: i64,
}

fn tone(status: Status) -> &'static str {
    match status {
        Status::Done => "good",
        Status::Failed => "bad",
        Status::Queued | Status::Running => "info",
        Status::Uploading | Status::Uploaded => "warn",
    }
}

fn figure(report: Option<&Value>, name: &str) -> Option<i64> {
    report?.get(name)?.as_i64()
}

fn refused(report: Option<&Value>) -> Option<i64> {
    let codes = report?.get("refused")?.as_object()?;
    Some(codes.values().filter_map(|c| c.get("rows")?.as_i64()).sum())
}

fn row(file: ImportFile) -> Row {
    let report = file.report.as_ref().map(|r| &r.0);
    Row {
        rows: figure(report, "rows"),
        accepted: figure(report, "accepted"),
        refused: refused(report),
        id: file.id,
        name: file.name,
        kind: file.kind.name(),
        status: file.status.name(),
        tone: tone(file.status),
        created_by: file.created_by,
        created_at: file.created_at,
    }
}

pub(super) async fn list(shell: Shell, platform: Data<Platform>, query: Query<ListQuery>) -> ApiResult {
    let odd = crate::web::table::odd_after;
    let before = match query.after.as_deref().filter(|a| !a.is_empty()) {
        Some(after) => Some(after.parse::<ImportId>().map_err(|_| odd())?),
        None => None,
    };
    let kind = Kind::named(&query.kind).unwrap_or(Kind::People);
    let mut found = desk::list(&platform.db, before, PAGE_ROWS + 1).await?;
    let pager = Pager::cut(&mut found, query.after.as_deref(), kept(&[("kind", &query.kind)]), |f| f.id.to_string());
    let view = ListView { kind: kind.name(), rows: found.into_iter().map(row).collect(), pager, limit_mb: desk::MAX_UPLOAD_BYTES >> 20 };
    shell.render("import/list.html", shell.say("import.title"), &view)
}

async fn file(db: &Db, id: &str) -> ApiResult<ImportFile> {
    let missing = || ApiError::not_found("import");
    let id: ImportId = id.parse().map_err(|_| missing())?;
    desk::get(db, id).await?.filter(|f| f.status != Status::Uploading).ok_or_else(missing)
}

/// A field with its words, and what its column holds.
#[derive(Serialize)]
struct FieldRow {
    field: &'static str,
    label: String,
    required: bool,
    column: String,
    sample: String,
}

#[derive(Serialize)]
struct LookView {
    file: Row,
    looked: Looked,
    /// Why it cannot be imported like this.
    problems: Vec<String>,
    fields: Vec<FieldRow>,
    columns: Vec<Choice>,
    presets: Vec<Choice>,
    zone: String,
    zones: Vec<&'static str>,
    currency: String,
    formats: Vec<Choice>,
    date_format: String,
    money: bool,
    dated: bool,
    ask_consent: bool,
    agreed: bool,
    refused: i64,
    error: Option<String>,
    wrong: &'static str,
}

fn fields(shell: &Shell, looked: &Looked) -> Vec<FieldRow> {
    let sample = |f: &FieldColumn| {
        let at = looked.header.iter().position(|h| *h == f.column && !f.column.is_empty())?;
        let values: Vec<&str> = looked.rows.iter().filter_map(|r| r.get(at)).map(|v| v.trim()).filter(|v| !v.is_empty()).take(2).collect();
        Some(values.join(" · "))
    };
    looked
        .fields
        .iter()
        .map(|f| FieldRow {
            field: f.field,
            label: shell.say(&format!("import.field.{}", f.field)),
            required: f.required,
            column: f.column.clone(),
            sample: sample(f).unwrap_or_default(),
        })
        .collect()
}

/// Fields by the names that the form gives them.
fn about_field(shell: &Shell, fault: &Fault) -> Fault {
    let field = fault.clone().with("field", |name| shell.say(&format!("import.field.{name}")));
    // What the command line may be told is no help here.
    field.with("hint", |hint| hint.split(" (--map").next().unwrap_or_default().to_owned())
}

/// What a refused row says beyond its code: the field meant, or a few words.
fn detail(shell: &Shell, text: &str) -> String {
    let field = format!("import.field.{text}");
    if crate::web::i18n::has(&field) {
        return shell.say(&field);
    }
    if let Some((is, wanted)) = text.split_once(" instead of ") {
        return shell.say_with("import.detail.instead", &[("is", is.to_owned()), ("wanted", wanted.to_owned())]);
    }
    phrase(shell, text)
}

async fn look_view(
    shell: &Shell,
    platform: &Platform,
    file: ImportFile,
    reading: &Reading,
    wrong: Option<(&'static str, String)>,
) -> ApiResult<LookView> {
    let mut looked = desk::look(platform, &file, reading).await.map_err(ApiError::internal)?;
    for reject in &mut looked.rejects {
        reject.detail = detail(shell, &reject.detail);
    }
    let mut columns = vec![Choice::new("", shell.say("import.no_column"))];
    columns.extend(looked.header.iter().filter(|h| !h.is_empty()).map(|h| Choice::new(h.clone(), h.clone())));
    let shop = &platform.config.shop;
    let mut formats = vec![Choice::new("", shell.say("import.date_auto"))];
    let example = Timestamp::from_secs(1_774_967_400).in_zone(Tz::UTC);
    formats.extend(DATE_FORMATS.map(|f| Choice::new(f, example.format(f).to_string())));
    let has_consent = looked.fields.iter().any(|f| matches!(f.field, "consent" | "consent_at") && !f.column.is_empty());
    let kind = file.kind;
    let (error, wrong) = wrong.map_or((None, ""), |(field, text)| (Some(text), field));
    Ok(LookView {
        problems: looked.problems.iter().map(|fault| shell.fault(&about_field(shell, fault))).collect(),
        fields: fields(shell, &looked),
        columns,
        presets: presets_of(kind).into_iter().map(|p| Choice::new(p.name(), shell.say(&format!("import.preset.{}", p.name())))).collect(),
        zone: reading.zone.unwrap_or(shop.time_zone).name().to_owned(),
        zones: chrono_tz::TZ_VARIANTS.iter().map(|z| z.name()).filter(|z| z.contains('/') && !z.starts_with("Etc/")).collect(),
        currency: reading.currency.unwrap_or(shop.currency).code().to_owned(),
        formats,
        date_format: reading.date_format.clone().unwrap_or_default(),
        money: kind != Kind::People,
        dated: kind != Kind::Products,
        ask_consent: kind == Kind::People && !has_consent,
        agreed: reading.agreed,
        refused: looked.report.as_ref().map_or(0, |r| i64::try_from(r.refused_rows()).unwrap_or(i64::MAX)),
        looked,
        error: error.or_else(|| file.error.clone()),
        wrong,
        file: row(file),
    })
}

/// How the form says that the file is read; what cannot be read names its field.
fn read_form(shell: &Shell, body: &Bytes) -> (Reading, String, Option<(&'static str, String)>) {
    let form: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
    let get = |name: &str| form.iter().find(|(k, _)| k == name).map_or("", |(_, v)| v.trim());
    let mut wrong = None;
    let zone = match get("zone") {
        "" => None,
        text => text.parse::<Tz>().map_err(|_| wrong = Some(("zone", shell.say("import.wrong_zone")))).ok(),
    };
    let currency = match get("currency") {
        "" => None,
        text => text.to_uppercase().parse::<Currency>().map_err(|_| wrong = Some(("currency", shell.say("import.wrong_currency")))).ok(),
    };
    // Another layout means other columns: what was chosen for the one before does not count.
    let same = get("preset") == get("preset_was");
    let map = form.iter().filter_map(|(k, v)| Some((k.strip_prefix("f.")?.to_owned(), v.clone()))).filter(|_| same).take(100).collect();
    let reading = Reading {
        preset: Some(get("preset").to_owned()).filter(|p| !p.is_empty()),
        map,
        zone,
        currency,
        date_format: DATE_FORMATS.iter().find(|f| **f == get("date_format")).map(|f| (*f).to_owned()),
        agreed: get("agreed") == "yes",
    };
    (reading, get("do").to_owned(), wrong)
}

#[derive(Serialize)]
struct ResultView {
    file: Row,
    preset: String,
    mapping: Vec<(String, String)>,
    written: Vec<(String, i64)>,
    codes: Vec<(String, i64, String)>,
    notes: Vec<(String, i64)>,
    amounts: Vec<(String, Money)>,
    torn: Option<String>,
    unchanged: bool,
    seconds: f64,
    has_rejects: bool,
}

fn pairs(report: &Value, name: &str) -> Vec<(String, i64)> {
    let Some(map) = report.get(name).and_then(Value::as_object) else { return Vec::new() };
    map.iter().filter_map(|(k, v)| Some((k.clone(), v.as_i64()?))).collect()
}

/// A stable phrase of the importer in the viewer's language, where there are words for it.
fn phrase(shell: &Shell, text: &str) -> String {
    let slug: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    let key = format!("import.phrase.{slug}");
    if crate::web::i18n::has(&key) { shell.say(&key) } else { text.to_owned() }
}

fn result_view(shell: &Shell, file: ImportFile, has_rejects: bool) -> ResultView {
    let report = file.report.as_ref().map(|r| r.0.clone()).unwrap_or_default();
    let text = |name: &str| report.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let lines = |c: &Value| {
        let list = c.get("lines").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let mut codes: Vec<(String, i64, String)> = report
        .get("refused")
        .and_then(Value::as_object)
        .map(|m| m.iter().filter_map(|(k, c)| Some((k.clone(), c.get("rows")?.as_i64()?, lines(c)))).collect())
        .unwrap_or_default();
    codes.sort_by_key(|c| std::cmp::Reverse(c.1));
    let mut amounts = Vec::new();
    for (currency, sums) in report.get("amounts").and_then(Value::as_object).into_iter().flatten() {
        let Ok(currency) = currency.parse::<Currency>() else { continue };
        amounts
            .extend(pairs(&json!({ "a": sums }), "a").into_iter().map(|(what, minor)| (phrase(shell, &what), Money::new(minor, currency))));
    }
    let mapping = report.get("mapping").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    ResultView {
        preset: text("preset"),
        mapping: mapping
            .iter()
            .filter_map(|m| m.as_str()?.split_once('='))
            .map(|(field, column)| (shell.say(&format!("import.field.{field}")), column.to_owned()))
            .collect(),
        written: pairs(&report, "written").into_iter().map(|(k, n)| (phrase(shell, &k), n)).collect(),
        notes: pairs(&report, "notes").into_iter().map(|(k, n)| (phrase(shell, &k), n)).collect(),
        codes,
        amounts,
        torn: report.get("torn").and_then(Value::as_str).map(ToOwned::to_owned),
        unchanged: report.get("unchanged").and_then(Value::as_bool).unwrap_or_default(),
        seconds: report.get("seconds").and_then(Value::as_f64).unwrap_or_default(),
        has_rejects,
        file: row(file),
    }
}

#[derive(Serialize)]
struct ProgressView {
    file: Row,
    /// Per cent of the file that is read; `None` while it waits.
    percent: Option<i64>,
    /// What went wrong at the last attempt, which will be repeated.
    error: Option<String>,
    late: bool,
}

/// Waiting longer than this, nobody works.
const LATE_US: i64 = 60 * 1_000_000;

async fn progress_view(shell: &Shell, db: &Db, file: ImportFile) -> ApiResult<ProgressView> {
    let run = match file.run_id {
        Some(id) => {
            let filter = RunFilter { job: Some("import.run"), before: Some(id.0 + 1), ..RunFilter::default() };
            queue::runs(db, &filter, 1).await?.pop().filter(|r| r.id == id && r.status == "running")
        }
        None => None,
    };
    let percent = run.filter(|r| r.progress_total > 0).map(|r| r.progress_done.saturating_mul(100) / r.progress_total);
    let late = percent.is_none() && shell.reader().now.since(file.updated_at) > LATE_US;
    Ok(ProgressView { percent, error: file.error.clone(), late, file: row(file) })
}

async fn show_look(
    shell: &Shell,
    platform: &Platform,
    file: ImportFile,
    reading: &Reading,
    wrong: Option<(&'static str, String)>,
) -> ApiResult {
    let title = file.name.clone();
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let view = look_view(shell, platform, file, reading, wrong).await?;
    shell.render_as(status, "import/look.html", title, &view)
}

pub(super) async fn one(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let file = file(&platform.db, &path).await?;
    let title = file.name.clone();
    match file.status {
        Status::Done => {
            let has_rejects = desk::has_rejects(&platform.db, file.id).await?;
            shell.render("import/done.html", title, &result_view(&shell, file, has_rejects))
        }
        Status::Queued | Status::Running => {
            let view = progress_view(&shell, &platform.db, file).await?;
            shell.render("import/running.html", title, &view)
        }
        _ => {
            let reading: Reading = serde_json::from_value(file.options.0.clone()).unwrap_or_default();
            show_look(&shell, &platform, file, &reading, None).await
        }
    }
}

/// The part of the page that follows the job; ends with a link to the result.
pub(super) async fn progress(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let file = file(&platform.db, &path).await?;
    let done = !matches!(file.status, Status::Queued | Status::Running);
    let view = progress_view(&shell, &platform.db, file).await?;
    shell.fragment("import/progress.html", &view, done)
}

fn is_open(file: &ImportFile) -> bool {
    matches!(file.status, Status::Uploaded | Status::Failed)
}

pub(super) async fn look(shell: Shell, platform: Data<Platform>, path: Path<String>, body: Bytes) -> ApiResult {
    let file = file(&platform.db, &path).await?;
    if !is_open(&file) {
        return Ok(shell.redirect(&format!("/import/{}", file.id)));
    }
    let (reading, _, wrong) = read_form(&shell, &body);
    show_look(&shell, &platform, file, &reading, wrong).await
}

pub(super) async fn start(shell: Shell, platform: Data<Platform>, path: Path<String>, body: Bytes) -> ApiResult {
    let file = file(&platform.db, &path).await?;
    let back = format!("/import/{}", file.id);
    if !is_open(&file) {
        return Ok(shell.redirect(&back));
    }
    let (reading, _, wrong) = read_form(&shell, &body);
    if wrong.is_some() {
        return show_look(&shell, &platform, file, &reading, wrong).await;
    }
    let looked = desk::look(&platform, &file, &reading).await.map_err(ApiError::internal)?;
    if !looked.problems.is_empty() {
        return show_look(&shell, &platform, file, &reading, Some(("columns", shell.say("import.wrong_columns")))).await;
    }
    desk::start(&platform, file.id, &reading).await.map_err(ApiError::internal)?;
    shell.note(file.id.to_string(), format!("{}: {}", file.kind.name(), file.name));
    Ok(shell.redirect(&back))
}

/// The refused rows as a file.
pub(super) async fn rejects(platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let file = file(&platform.db, &path).await?;
    if !desk::has_rejects(&platform.db, file.id).await? {
        return Err(ApiError::not_found("file of refused rows"));
    }
    let (db, id) = (platform.db.clone(), file.id);
    let stream = futures::stream::try_unfold((db, 0_i64), move |(db, seq)| async move {
        let piece = desk::rejects(&db, id, seq).await.map_err(actix_web::error::ErrorInternalServerError)?;
        Ok::<_, actix_web::Error>(piece.map(|bytes| (Bytes::from(bytes), (db, seq + 1))))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header(("Content-Disposition", format!("attachment; filename=\"{id}-rejects.csv\"")))
        .streaming(stream))
}

pub(super) async fn ask_remove(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let file = file(&platform.db, &path).await?;
    let confirm = Confirm {
        text: shell.say_with("import.remove_text", &[("name", file.name.clone())]),
        consequence: shell.say("import.remove_consequence"),
        button: shell.say("import.remove"),
        action: format!("/import/{}/remove", file.id),
        back: format!("/import/{}", file.id),
        danger: true,
    };
    shell.confirm(shell.say("import.remove_title"), &confirm)
}

pub(super) async fn remove(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let file = file(&platform.db, &path).await?;
    if matches!(file.status, Status::Queued | Status::Running) {
        return Ok(shell.redirect_saying(&format!("/import/{}", file.id), "bad", shell.say("import.busy")));
    }
    desk::remove(&platform.db, file.id).await?;
    shell.note(file.id.to_string(), file.name.clone());
    Ok(shell.redirect_saying("/import", "good", shell.say_with("import.removed", &[("name", file.name)])))
}
