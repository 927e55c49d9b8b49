//! The tables of placements and of line items: searched, ordered, paged, and as files. The ad server keeps all of them in memory anyway, so
//! they are ordered here.

use std::cmp::Ordering;

use actix_web::web::{Data, Query};
use serde::{Deserialize, Serialize};

use super::items::{self, ItemLine};
use super::{Rates, Tab, rates, tabs};
use crate::adserver::{self, Hours};
use crate::audience::fold;
use crate::platform::http::ApiResult;
use crate::platform::ids::LineItemId;
use crate::platform::{Db, Platform};
use crate::web::download;
use crate::web::page::Shell;
use crate::web::table::{Choice, Pager, Sort, kept};

/// Days that the figures of placements are about.
const DAYS: i64 = 7;
/// Most line items of the table; what is beyond is found through its placement or campaign.
const MOST_ITEMS: usize = 10_000;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    q: String,
    state: String,
    sort: Option<String>,
    after: Option<String>,
}

impl ListQuery {
    fn filters(&self) -> String {
        kept(&[("q", &self.q), ("state", &self.state)])
    }
    fn sort(&self, columns: &[&'static str]) -> Sort {
        Sort::read(self.sort.as_deref(), columns, self.filters())
    }
    fn kept(&self, sort: &Sort) -> String {
        format!("{}{}", self.filters(), kept(&[("sort", &self.sorted(sort))]))
    }
    /// The order as it was asked for; empty where it was not.
    fn sorted(&self, sort: &Sort) -> String {
        let asked = self.sort.as_deref().is_some_and(|s| !s.is_empty());
        if asked { format!("{}{}", if sort.down { "-" } else { "" }, sort.by) } else { String::new() }
    }
    fn finds(&self, texts: &[&str]) -> bool {
        let wanted = fold(self.q.trim());
        wanted.is_empty() || texts.iter().any(|t| fold(t).contains(&wanted))
    }
}

fn by_share(a: Option<f64>, b: Option<f64>) -> Ordering {
    a.unwrap_or(-1.0).total_cmp(&b.unwrap_or(-1.0))
}

fn states(shell: &Shell, names: &[&'static str]) -> Vec<Choice> {
    let rest = names.iter().map(|n| Choice::new(*n, shell.say(&format!("item_state.{n}"))));
    std::iter::once(Choice::new("", shell.say("placements.any_state"))).chain(rest).collect()
}

#[derive(Serialize)]
struct PlaceRow {
    key: String,
    name: String,
    size: String,
    site: String,
    paused: bool,
    exchange: bool,
    requests: i64,
    filled: i64,
    fill: Option<f64>,
    reason: Option<String>,
    rates: Rates,
}

#[derive(Serialize)]
struct PlacesView {
    tabs: Vec<Tab>,
    rows: Vec<PlaceRow>,
    pager: Pager,
    sort: Sort,
    sorted: String,
    q: String,
    state: String,
    states: Vec<Choice>,
    download: String,
    filtered: bool,
    /// There is none at all.
    nothing: bool,
    requests: i64,
    fill: Option<f64>,
    rates: Rates,
    days: i64,
}

fn share(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

const PLACE_COLUMNS: [&str; 6] = ["name", "requests", "fill", "view_rate", "click_rate", "revenue"];

/// All placements that are asked for, in order; and what all of them came to.
async fn places(shell: &Shell, db: &Db, query: &ListQuery, sort: &Sort) -> ApiResult<(Vec<PlaceRow>, (i64, i64, adserver::Figures))> {
    let mut places = adserver::placements(db).await?;
    places.retain(|p| {
        let state = match query.state.as_str() {
            "paused" => p.paused,
            "active" => !p.paused,
            _ => true,
        };
        state && query.finds(&[&p.key, &p.name, &p.site])
    });
    let ids: Vec<_> = places.iter().map(|p| p.id).collect();
    let mut figures = adserver::of_placements(db, &ids, Hours::last_days(shell.reader().now, DAYS)).await?;
    let (mut requests, mut filled, mut all) = (0, 0, adserver::Figures::default());
    let mut rows: Vec<PlaceRow> = places
        .into_iter()
        .map(|p| {
            let f = figures.remove(&p.id).unwrap_or_default();
            requests += f.requests;
            filled += f.filled;
            all.shown += f.figures.shown;
            all.viewable += f.figures.viewable;
            all.clicks += f.figures.clicks;
            all.cost_micro += f.figures.cost_micro;
            PlaceRow {
                size: format!("{}×{}", p.width, p.height),
                key: p.key,
                name: p.name,
                site: p.site,
                paused: p.paused,
                exchange: p.exchange,
                requests: f.requests,
                filled: f.filled,
                fill: share(f.filled, f.requests),
                reason: f.reasons.first().map(|(reason, _)| reason.clone()),
                rates: rates(shell, &f.figures),
            }
        })
        .collect();
    rows.sort_by(|a, b| {
        let first = match sort.by {
            "requests" => a.requests.cmp(&b.requests),
            "fill" => by_share(a.fill, b.fill),
            "view_rate" => by_share(a.rates.view_rate, b.rates.view_rate),
            "click_rate" => by_share(a.rates.click_rate, b.rates.click_rate),
            "revenue" => a.rates.revenue.map(|m| m.minor).cmp(&b.rates.revenue.map(|m| m.minor)),
            _ => fold(&a.name).cmp(&fold(&b.name)),
        };
        let order = first.then_with(|| a.key.cmp(&b.key));
        if sort.down { order.reverse() } else { order }
    });
    Ok((rows, (requests, filled, all)))
}

pub(super) async fn places_page(shell: Shell, platform: Data<Platform>, query: Query<ListQuery>) -> ApiResult {
    let query = query.into_inner();
    let sort = query.sort(&PLACE_COLUMNS);
    let (all, (requests, filled, figures)) = places(&shell, &platform.db, &query, &sort).await?;
    let keep = query.kept(&sort);
    let (filtered, nothing) = (!query.filters().is_empty(), all.is_empty() && query.filters().is_empty());
    let download = format!("/placements/download?{keep}");
    let (rows, pager) = Pager::within(all, query.after.as_deref(), keep, |p| p.key.clone());
    let view = PlacesView {
        tabs: tabs(&shell, "/placements"),
        rows,
        pager,
        sorted: query.sorted(&sort),
        sort,
        states: states(&shell, &["active", "paused"]),
        download,
        filtered,
        nothing,
        requests,
        fill: share(filled, requests),
        rates: rates(&shell, &figures),
        days: DAYS,
        q: query.q,
        state: query.state,
    };
    shell.render("placements/list.html", shell.say("placements.title"), &view)
}

static PLACE_HEAD: [&str; 14] = [
    "key",
    "name",
    "site",
    "size",
    "paused",
    "exchange",
    "days",
    "requests",
    "filled",
    "mostly_unfilled_because",
    "shown",
    "clicks",
    "revenue",
    "currency",
];

pub(super) async fn places_file(shell: Shell, platform: Data<Platform>, query: Query<ListQuery>) -> ApiResult {
    let sort = query.sort(&PLACE_COLUMNS);
    let (all, _) = places(&shell, &platform.db, &query, &sort).await?;
    let row = |p: PlaceRow| {
        vec![
            p.key,
            p.name,
            p.site,
            p.size.replace('×', "x"),
            p.paused.to_string(),
            p.exchange.to_string(),
            DAYS.to_string(),
            p.requests.to_string(),
            p.filled.to_string(),
            p.reason.unwrap_or_default(),
            p.rates.shown.to_string(),
            p.rates.clicks.to_string(),
            p.rates.revenue.map(|m| m.decimal()).unwrap_or_default(),
            super::currency(&shell).code().to_owned(),
        ]
    };
    download::whole("placements.csv", &PLACE_HEAD, &all.into_iter().map(row).collect::<Vec<_>>())
}

#[derive(Serialize)]
struct ItemsView {
    tabs: Vec<Tab>,
    rows: Vec<ItemLine>,
    pager: Pager,
    sort: Sort,
    sorted: String,
    q: String,
    state: String,
    states: Vec<Choice>,
    download: String,
    filtered: bool,
    nothing: bool,
    /// There is somewhere to put one.
    ready: bool,
}

const ITEM_COLUMNS: [&str; 6] = ["-made", "name", "budget", "shown", "click_rate", "ends"];
const ITEM_STATES: [&str; 6] = ["active", "waits", "scheduled", "paused", "ended", "spent"];

/// All line items that are asked for, in order.
async fn found_items(shell: &Shell, db: &Db, query: &ListQuery, sort: &Sort) -> ApiResult<Vec<ItemLine>> {
    let (mut all, mut after) = (Vec::new(), LineItemId(0));
    while all.len() < MOST_ITEMS {
        let some = adserver::line_items(db, after, 500).await?;
        let Some(last) = some.last() else { break };
        after = last.id;
        all.extend(some);
    }
    let mut rows = items::lines(shell, db, all).await?;
    rows.retain(|i| (query.state.is_empty() || i.state == query.state) && query.finds(&[&i.name, &i.campaign, &i.placement]));
    rows.sort_by(|a, b| {
        let first = match sort.by {
            "name" => fold(&a.name).cmp(&fold(&b.name)),
            "budget" => by_share(a.used(), b.used()),
            "shown" => a.rates.shown.cmp(&b.rates.shown),
            "click_rate" => by_share(a.rates.click_rate, b.rates.click_rate),
            // Those without an end come last.
            "ends" => a.ends_at.map_or(i64::MAX, |t| t.micros()).cmp(&b.ends_at.map_or(i64::MAX, |t| t.micros())),
            _ => Ordering::Equal,
        };
        let order = first.then_with(|| a.number.cmp(&b.number));
        if sort.down { order.reverse() } else { order }
    });
    Ok(rows)
}

pub(super) async fn items_page(shell: Shell, platform: Data<Platform>, query: Query<ListQuery>) -> ApiResult {
    let (db, query) = (&platform.db, query.into_inner());
    let sort = query.sort(&ITEM_COLUMNS);
    let all = found_items(&shell, db, &query, &sort).await?;
    let keep = query.kept(&sort);
    let (filtered, nothing) = (!query.filters().is_empty(), all.is_empty() && query.filters().is_empty());
    let download = format!("/placements/items/download?{keep}");
    let (rows, pager) = Pager::within(all, query.after.as_deref(), keep, |i| i.number.to_string());
    let view = ItemsView {
        tabs: tabs(&shell, "/placements/items"),
        rows,
        pager,
        sorted: query.sorted(&sort),
        sort,
        states: states(&shell, &ITEM_STATES),
        download,
        filtered,
        nothing,
        ready: !adserver::placements_page(db, "", 1).await?.is_empty(),
        q: query.q,
        state: query.state,
    };
    shell.render("placements/items.html", shell.say("placements.tab_items"), &view)
}

static ITEM_HEAD: [&str; 15] = [
    "id",
    "name",
    "campaign",
    "placement",
    "tier",
    "state",
    "budget_kind",
    "budget_used",
    "budget",
    "price_kind",
    "price",
    "currency",
    "shown",
    "clicks",
    "ends_at",
];

pub(super) async fn items_file(shell: Shell, platform: Data<Platform>, query: Query<ListQuery>) -> ApiResult {
    let sort = query.sort(&ITEM_COLUMNS);
    let all = found_items(&shell, &platform.db, &query, &sort).await?;
    let rows: Vec<Vec<String>> = all.iter().map(|i| i.record(super::currency(&shell))).collect();
    download::whole("line-items.csv", &ITEM_HEAD, &rows)
}
