//! The placements: one with its reasons, its curve, its line items and its tag, and the form behind both.

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, Path};
use serde::Serialize;

use super::items::{self, ItemLine};
use super::{Rates, TargetingForm, Typed, currency, major, minor, rates};
use crate::adserver::{self, AdServer, Hours, NewPlacement, Placement, PlacementError};
use crate::audience;
use crate::creative::Format;
use crate::platform::Platform;
use crate::platform::clock::HOUR_US;
use crate::platform::http::ApiResult;
use crate::platform::ids::{LineItemId, SegmentId};
use crate::platform::{Db, Timestamp};
use crate::web::chart::{self, Chart, Kind, Series, Spec, Unit};
use crate::web::format;
use crate::web::page::Shell;
use crate::web::table::{Choice, PAGE_ROWS};

/// Days that the figures are about.
const DAYS: i64 = 7;

fn share(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[derive(Serialize)]
struct Reason {
    key: String,
    requests: i64,
    share: f64,
}

#[derive(Serialize)]
struct OneView {
    place: Placement,
    size: String,
    formats: String,
    floor: Option<crate::platform::Money>,
    requests: i64,
    fill: Option<f64>,
    rates: Rates,
    reasons: Vec<Reason>,
    chart: Option<Chart>,
    items: Vec<ItemLine>,
    by_itself: Vec<String>,
    tag: String,
    frame: String,
    days: i64,
    rules: Vec<(&'static str, String)>,
}

pub(super) async fn one(shell: Shell, platform: Data<Platform>, server: Data<AdServer>, path: Path<String>) -> ApiResult {
    let db = &platform.db;
    let place = adserver::placement(db, &path).await?;
    let hours = Hours::last_days(shell.reader().now, DAYS);
    let figures = adserver::of_placements(db, &[place.id], hours).await?.remove(&place.id).unwrap_or_default();
    let empty: i64 = figures.reasons.iter().map(|(_, n)| n).sum();
    let listed = adserver::line_items_of_placement(db, place.id, LineItemId(0), PAGE_ROWS).await?;
    let (tag, frame) = adserver::snippets(&platform.config.server.public_url, &place.key, place.width, place.height);
    let view = OneView {
        size: format!("{}×{}", place.width, place.height),
        formats: place.formats.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        floor: (place.floor_minor > 0).then(|| crate::platform::Money::new(place.floor_minor, currency(&shell))),
        requests: figures.requests,
        fill: share(figures.filled, figures.requests),
        rates: rates(&shell, &figures.figures),
        reasons: figures
            .reasons
            .iter()
            .map(|(key, n)| Reason { key: key.clone(), requests: *n, share: *n as f64 / empty.max(1) as f64 })
            .collect(),
        chart: requests_chart(&shell, db, &place, hours).await?,
        items: items::lines(&shell, db, listed).await?,
        by_itself: by_itself(&server, &place.key),
        tag,
        frame,
        days: DAYS,
        rules: super::items::rules(&shell, db, &place.rules).await?,
        place,
    };
    shell.render("placements/one.html", view.place.name.clone(), &view)
}

/// Running campaigns that serve here without a line item.
fn by_itself(server: &AdServer, key: &str) -> Vec<String> {
    let snapshot = server.snapshot();
    let turns = snapshot.placements.get(key).map_or(&[][..], |p| p.turns.as_slice());
    let own = turns.iter().map(|t| &snapshot.items[t.item as usize]).filter(|i| i.id == 0);
    own.map(|i| snapshot.campaigns[i.campaign as usize].name.clone()).collect()
}

async fn requests_chart(shell: &Shell, db: &Db, place: &Placement, hours: Hours) -> ApiResult<Option<Chart>> {
    let rows = adserver::placement_hours(db, place.id, hours).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let zone = shell.reader().zone;
    let day = |hour: i64| Timestamp::from_micros(hour * HOUR_US).day_in(zone);
    let days: Vec<i64> = (day(hours.from)..=day(hours.to - 1)).collect();
    let sums = |pick: fn(&(i64, i64, i64)) -> i64| -> Vec<Option<f64>> {
        days.iter().map(|d| Some(rows.iter().filter(|r| day(r.0) == *d).map(pick).sum::<i64>() as f64)).collect()
    };
    let label = |d: &i64| format::date(Timestamp::from_micros(d * 24 * HOUR_US + 12 * HOUR_US), shell.reader());
    let spec = Spec {
        id: "requests".into(),
        title: shell.say("placements.chart_title"),
        description: shell.say_with("placements.chart_about", &[("n", DAYS.to_string())]),
        kind: Kind::Bars,
        unit: Unit::Count,
        axis: shell.say("placements.day"),
        labels: days.iter().map(label).collect(),
        series: vec![
            Series { name: shell.say("placements.requests"), values: sums(|r| r.1) },
            Series { name: shell.say("placements.filled"), values: sums(|r| r.2) },
        ],
    };
    chart::draw(&spec).map(Some)
}

#[derive(Serialize, Default)]
struct FormView {
    action: String,
    back: String,
    fresh: bool,
    key: String,
    name: String,
    size: String,
    sizes: Vec<Choice>,
    formats: Vec<super::Checked>,
    site: String,
    floor: String,
    exchange: bool,
    target: TargetingForm,
    currency: String,
    error: String,
    field: String,
}

pub(super) async fn segments(db: &Db) -> ApiResult<Vec<(String, String)>> {
    Ok(audience::list(db, SegmentId(0), 200).await?.into_iter().map(|s| (s.id.to_string(), s.name)).collect())
}

async fn form(shell: &Shell, db: &Db, new: &NewPlacement, fresh: bool) -> ApiResult<FormView> {
    let own = format!("{}x{}", new.width, new.height);
    Ok(FormView {
        action: if fresh { "/placements/new".into() } else { format!("/placements/at/{}/edit", new.key) },
        back: if fresh { "/placements".into() } else { format!("/placements/at/{}", new.key) },
        fresh,
        key: new.key.clone(),
        name: new.name.clone(),
        sizes: Format::ALL.iter().map(|f| Choice::new(f.to_string(), f.to_string().replace('x', "×"))).collect(),
        formats: Format::ALL
            .iter()
            .map(|f| super::Checked { value: f.to_string(), label: f.to_string().replace('x', "×"), checked: new.formats.contains(f) })
            .collect(),
        size: own,
        site: new.site.clone(),
        floor: if new.floor_minor > 0 { major(shell, new.floor_minor) } else { String::new() },
        exchange: new.exchange,
        target: TargetingForm::of(shell, &new.rules, &segments(db).await?),
        currency: currency(shell).code().to_owned(),
        error: String::new(),
        field: String::new(),
    })
}

pub(super) async fn new(shell: Shell, platform: Data<Platform>) -> ApiResult {
    let blank = NewPlacement { width: 300, height: 250, ..NewPlacement::default() };
    let view = form(&shell, &platform.db, &blank, true).await?;
    shell.render("placements/form.html", shell.say("placements.new"), &view)
}

fn as_new(place: &Placement) -> NewPlacement {
    NewPlacement {
        key: place.key.clone(),
        name: place.name.clone(),
        width: place.width,
        height: place.height,
        formats: place.formats.clone(),
        site: place.site.clone(),
        floor_minor: place.floor_minor,
        rules: place.rules.clone(),
        exchange: place.exchange,
        paused: place.paused,
    }
}

pub(super) async fn edit(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let place = adserver::placement(&platform.db, &path).await?;
    let view = form(&shell, &platform.db, &as_new(&place), false).await?;
    shell.render("placements/form.html", shell.say_with("placements.edit_title", &[("name", place.name)]), &view)
}

fn typed(shell: &Shell, typed: &Typed, key: &str, paused: bool) -> NewPlacement {
    let size: Format = typed.text("size").parse().unwrap_or(Format::MediumRectangle);
    NewPlacement {
        key: key.to_owned(),
        name: typed.text("name").to_owned(),
        width: i64::from(size.size().0),
        height: i64::from(size.size().1),
        formats: typed.all("format").iter().filter_map(|f| f.parse().ok()).collect(),
        site: typed.text("site").to_owned(),
        floor_minor: minor(shell, typed.text("floor")),
        rules: TargetingForm::read(typed),
        exchange: typed.on("exchange"),
        paused,
    }
}

async fn save(shell: Shell, platform: Data<Platform>, server: Data<AdServer>, new: NewPlacement, fresh: bool) -> ApiResult {
    match adserver::put_placement(&platform, new.clone()).await {
        Ok(place) => {
            server.refresh(true).await.map_err(crate::platform::http::ApiError::internal)?;
            shell.note(place.key.clone(), place.name.clone());
            let text = shell.say_with("placements.saved", &[("name", place.name)]);
            Ok(shell.redirect_saying(&format!("/placements/at/{}", place.key), "good", text))
        }
        Err(PlacementError::Database(error)) => Err(error.into()),
        Err(error) => {
            let mut view = form(&shell, &platform.db, &new, fresh).await?;
            view.field = TargetingForm::field(error.field()).to_owned();
            view.error = shell.fault(&error.fault());
            let title = if fresh { shell.say("placements.new") } else { shell.say_with("placements.edit_title", &[("name", new.name)]) };
            shell.render_as(StatusCode::UNPROCESSABLE_ENTITY, "placements/form.html", title, &view)
        }
    }
}

pub(super) async fn create(shell: Shell, platform: Data<Platform>, server: Data<AdServer>, body: Bytes) -> ApiResult {
    let fields = Typed::read(&body);
    let key = fields.text("key").to_owned();
    let new = typed(&shell, &fields, &key, false);
    // Making one must not change another.
    if adserver::placement(&platform.db, &key).await.is_ok() {
        let mut view = form(&shell, &platform.db, &new, true).await?;
        view.field = "key".into();
        view.error = shell.say("placements.key_taken");
        return shell.render_as(StatusCode::UNPROCESSABLE_ENTITY, "placements/form.html", shell.say("placements.new"), &view);
    }
    save(shell, platform, server, new, true).await
}

pub(super) async fn update(shell: Shell, platform: Data<Platform>, server: Data<AdServer>, path: Path<String>, body: Bytes) -> ApiResult {
    let place = adserver::placement(&platform.db, &path).await?;
    let new = typed(&shell, &Typed::read(&body), &place.key, place.paused);
    save(shell, platform, server, new, false).await
}

async fn set_paused(shell: Shell, platform: Data<Platform>, server: Data<AdServer>, key: &str, paused: bool) -> ApiResult {
    let place = adserver::placement(&platform.db, key).await?;
    let place = adserver::put_placement(&platform, NewPlacement { paused, ..as_new(&place) }).await?;
    server.refresh(true).await.map_err(crate::platform::http::ApiError::internal)?;
    shell.note(place.key.clone(), place.name.clone());
    let text = shell.say_with(if paused { "placements.paused_done" } else { "placements.resumed_done" }, &[("name", place.name)]);
    Ok(shell.redirect_saying(&format!("/placements/at/{}", place.key), "good", text))
}

pub(super) async fn pause(shell: Shell, platform: Data<Platform>, server: Data<AdServer>, path: Path<String>) -> ApiResult {
    set_paused(shell, platform, server, &path, true).await
}
pub(super) async fn resume(shell: Shell, platform: Data<Platform>, server: Data<AdServer>, path: Path<String>) -> ApiResult {
    set_paused(shell, platform, server, &path, false).await
}
