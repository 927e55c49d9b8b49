//! Lift: what each campaign, and all marketing together, added to what people would have bought anyway; as it was last measured.

use actix_web::web::{Data, Query};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Tab, attachment, tabs};
use crate::account::Permission;
use crate::attribution::{self, Cell, Format, KeptLift, Kind, LiftIn, Sheet};
use crate::campaign;
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::CampaignId;
use crate::platform::queue::{self, NewRun};
use crate::platform::{Currency, Money, Platform, Timestamp, ids};
use crate::web::chart;
use crate::web::format;
use crate::web::page::Shell;
use crate::web::route::{Need, Route};

/// Most campaigns on the page, the youngest first; the file holds as many.
const MOST: i64 = 200;
const JOB: &str = "attribution.lift";

pub(super) fn routes() -> Vec<Route> {
    let see = Need::May(Permission::See);
    vec![
        Route::get("/reports/lift", see, page),
        Route::get("/reports/lift/file", see, file),
        Route::post("/reports/lift/measure", Need::May(Permission::Plan), "lift.measure", measure),
    ]
}

/// One measurement.
#[derive(Serialize)]
struct LiftView {
    name: String,
    href: Option<String>,
    goal: String,
    value: String,
    interval: String,
    watched: String,
    per_person: String,
    found: bool,
    found_any: bool,
    /// Nothing can be said yet.
    early: bool,
    treated: i64,
    held: i64,
    complete: f64,
    power: String,
    powered: bool,
    removed: f64,
    detectable: String,
    /// The interval, drawn.
    plot: String,
    as_of: Timestamp,
    others: Vec<String>,
}

#[derive(Serialize)]
struct LiftPage {
    tabs: Vec<Tab>,
    all: Option<LiftView>,
    campaigns: Vec<LiftView>,
    as_of: Option<Timestamp>,
    /// A measurement is on its way.
    running: bool,
}

/// An amount of a unit: money, or people, days, shares.
#[allow(clippy::cast_possible_truncation, reason = "saturates; for reading")]
fn amount(shell: &Shell, value: f64, unit: &str) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let whole = value.round() as i64;
    match unit.parse::<Currency>() {
        Ok(currency) if unit.len() == 3 => format::money(Money::new(whole, currency)),
        _ => shell.say_with(&format!("reports.unit.{unit}"), &[("n", format::count(whole))]),
    }
}

/// Per person: with decimals, where it is no money.
fn each(shell: &Shell, value: f64, unit: &str) -> String {
    match unit.parse::<Currency>() {
        Ok(_) if unit.len() == 3 => amount(shell, value, unit),
        _ if value.is_finite() => format!("{value:.3}").replace('-', "−"),
        _ => "–".into(),
    }
}

fn view(shell: &Shell, kept: &KeptLift, name: String, span: f64) -> Option<LiftView> {
    let LiftIn { unit, lift, .. } = kept.measured.results.first()?;
    let span_of = |low: f64, high: f64| {
        if low.is_finite() && high.is_finite() {
            format!("{} … {}", amount(shell, low, unit), amount(shell, high, unit))
        } else {
            String::new()
        }
    };
    let early = !lift.ci95_low.is_finite();
    let power = match lift.more_people_needed {
        Some(n) if n > 0 => shell.say_with("reports.more_people", &[("n", format::count(i64::try_from(n).unwrap_or(i64::MAX)))]),
        Some(_) => shell.say("reports.enough_people"),
        None => shell.say("reports.power_unknown"),
    };
    let others = kept
        .measured
        .results
        .iter()
        .skip(1)
        .map(|r| format!("{}: {} ({})", r.unit, amount(shell, r.lift.incremental_total, &r.unit), amount_span(shell, r)))
        .collect();
    Some(LiftView {
        name,
        href: kept.campaign.and_then(|id| crate::web::home::linked(shell, "/campaigns/{id}", format!("/campaigns/{id}"))),
        goal: unit.clone(),
        value: match () {
            () if early => shell.say("home.too_early"),
            // Below power a number would mostly be noise.
            () if !lift.found() && !lift.powered => shell.say("home.not_enough"),
            () => amount(shell, lift.incremental_total, unit),
        },
        interval: span_of(lift.ci95_low, lift.ci95_high),
        watched: span_of(lift.always_valid_low, lift.always_valid_high),
        per_person: if early { "–".into() } else { each(shell, lift.effect_per_person, unit) },
        found: lift.found(),
        found_any: lift.found_at_any_look(),
        early,
        treated: i64::try_from(lift.n_treated).unwrap_or(i64::MAX),
        held: i64::try_from(lift.n_held).unwrap_or(i64::MAX),
        complete: kept.measured.complete_share,
        power,
        powered: lift.powered,
        removed: lift.variance_removed,
        detectable: each(shell, lift.detectable_effect, unit),
        plot: chart::interval(lift.ci95_low, lift.incremental_total, lift.ci95_high, span),
        as_of: kept.as_of,
        others,
    })
}

fn amount_span(shell: &Shell, r: &LiftIn) -> String {
    if r.lift.ci95_low.is_finite() {
        format!("{} … {}", amount(shell, r.lift.ci95_low, &r.unit), amount(shell, r.lift.ci95_high, &r.unit))
    } else {
        shell.say("home.too_early")
    }
}

/// The widest interval in a unit: all plots of it are drawn to one scale.
fn widest(kept: &[KeptLift], unit: &str) -> f64 {
    kept.iter()
        .filter_map(|k| k.measured.results.first())
        .filter(|r| r.unit == unit)
        .flat_map(|r| [r.lift.ci95_low, r.lift.ci95_high])
        .filter(|v| v.is_finite())
        .fold(0.0, |most: f64, v| most.max(v.abs()))
}

async fn page(shell: Shell, platform: Data<Platform>) -> ApiResult {
    let db = &platform.db;
    let all = attribution::kept_lift(db, None).await?;
    let kept = attribution::kept_lifts(db, MOST).await?;
    let names = names(&platform, &kept).await?;
    let scale = |k: &KeptLift| k.measured.results.first().map_or(0.0, |r| widest(&kept, &r.unit));
    let campaigns = kept.iter().filter_map(|k| view(&shell, k, name(&names, k), scale(k))).collect();
    let open = |status| queue::RunFilter { job: Some(JOB), status: Some(status), ..queue::RunFilter::default() };
    let now = platform.now();
    let mut running = !queue::runs(db, &open("running"), 1).await?.is_empty();
    running |= queue::runs(db, &open("queued"), 5).await?.iter().any(|r| r.scheduled_at <= now);
    let view = LiftPage {
        tabs: tabs(&shell, "lift", None),
        as_of: all.as_ref().map(|k| k.as_of),
        all: all.as_ref().and_then(|k| {
            view(
                &shell,
                k,
                shell.say("reports.all_marketing"),
                widest(std::slice::from_ref(k), k.measured.results.first().map_or("", |r| r.unit.as_str())),
            )
        }),
        campaigns,
        running,
    };
    shell.render("reports/lift.html", shell.say("reports.kind.lift"), &view)
}

type Names = std::collections::HashMap<CampaignId, campaign::Campaign>;

async fn names(platform: &Platform, kept: &[KeptLift]) -> ApiResult<Names> {
    let ids: Vec<CampaignId> = kept.iter().filter_map(|k| k.campaign).collect();
    Ok(campaign::get_many(&platform.db, &ids).await?)
}
fn name(names: &Names, kept: &KeptLift) -> String {
    kept.campaign.and_then(|id| names.get(&id)).map(|c| c.name.clone()).unwrap_or_default()
}

async fn measure(shell: Shell, platform: Data<Platform>) -> ApiResult {
    let now = platform.now();
    let run = NewRun { job: JOB, unique_key: format!("now:{}", ids::uuid_v7(now)), args: json!({}), at: now };
    let mut tx = platform.db.begin().await?;
    queue::enqueue(&mut tx, run, now).await.map_err(ApiError::internal)?;
    tx.commit().await?;
    Ok(shell.redirect_saying("/reports/lift", "good", shell.say("reports.measuring")))
}

#[derive(Deserialize)]
struct FileQuery {
    format: Option<String>,
}

/// All kept measurements as a table, all marketing first.
async fn file(platform: Data<Platform>, query: Query<FileQuery>) -> ApiResult {
    let format: Format = query.format.as_deref().unwrap_or("csv").parse().map_err(ApiError::from)?;
    let mut kept: Vec<KeptLift> = attribution::kept_lift(&platform.db, None).await?.into_iter().collect();
    kept.extend(attribution::kept_lifts(&platform.db, MOST).await?);
    let names = names(&platform, &kept).await?;
    let bytes = match format {
        Format::Json => serde_json::to_vec_pretty(&kept).map_err(ApiError::internal)?,
        Format::Csv => sheet(&kept, &names).to_csv().into_bytes(),
        Format::Parquet => sheet(&kept, &names).to_parquet().map_err(ApiError::from)?,
    };
    Ok(attachment("marquee-lift", format, bytes))
}

fn sheet(kept: &[KeptLift], names: &Names) -> Sheet {
    let mut sheet = Sheet::new("lift");
    sheet.column("campaign", Kind::Text).column("name", Kind::Text).column("unit", Kind::Text);
    for column in ["people_treated", "people_held"] {
        sheet.column(column, Kind::Whole);
    }
    for column in ["incremental", "ci95_low", "ci95_high", "always_valid_low", "always_valid_high", "effect_per_person", "p_value"] {
        sheet.column(column, Kind::Number);
    }
    sheet.column("more_people_needed", Kind::Whole).column("complete_share", Kind::Number).column("as_of", Kind::Time);
    for k in kept {
        for LiftIn { unit, lift, .. } in &k.measured.results {
            let number = |v: f64| if v.is_finite() { Cell::Number(v) } else { Cell::Empty };
            let count = |n: usize| Cell::Whole(i64::try_from(n).unwrap_or(i64::MAX));
            sheet.row(vec![
                k.campaign.map_or_else(|| Cell::text("all"), |id| Cell::Text(id.to_string())),
                Cell::Text(name(names, k)),
                Cell::text(unit),
                count(lift.n_treated),
                count(lift.n_held),
                number(lift.incremental_total),
                number(lift.ci95_low),
                number(lift.ci95_high),
                number(lift.always_valid_low),
                number(lift.always_valid_high),
                number(lift.effect_per_person),
                number(lift.p_value),
                lift.more_people_needed.and_then(|n| i64::try_from(n).ok()).into(),
                number(k.measured.complete_share),
                Cell::Time(k.as_of),
            ]);
        }
    }
    sheet
}
