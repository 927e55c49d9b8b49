//! Line items: a row with its budget bar, and one with its curve.

use std::collections::HashMap;

use actix_web::web::{Data, Path};
use serde::Serialize;

use super::places::segments;
use super::{Rates, TargetingForm, currency, rates};
use crate::adserver::{self, AdServer, BudgetKind, Declared, Figures, ItemStatus, LineItem, PriceKind, Targeting};
use crate::campaign::{self, Campaign};
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::{CampaignId, LineItemId};
use crate::platform::{Db, Money, Platform, Timestamp};
use crate::web::chart::{self, Chart, Kind, Series, Spec, Unit};
use crate::web::page::{Confirm, Shell};

/// A line item as a row shows it.
#[derive(Serialize)]
pub(super) struct ItemLine {
    #[serde(skip)]
    pub number: i64,
    id: String,
    pub name: String,
    pub campaign: String,
    campaign_id: String,
    pub placement: String,
    tier: &'static str,
    pub state: &'static str,
    tone: &'static str,
    budget: Option<Budgeted>,
    price: Option<Price>,
    pub ends_at: Option<Timestamp>,
    pacing: &'static str,
    pub rates: Rates,
}

impl ItemLine {
    /// The share of the budget that is used.
    pub fn used(&self) -> Option<f64> {
        self.budget.as_ref().map(|b| b.share)
    }
    /// A row of the file of line items.
    pub fn record(&self, currency: crate::platform::Currency) -> Vec<String> {
        let (budget, price) = (self.budget.as_ref(), self.price.as_ref());
        let amount = |b: &Budgeted, n: i64| if b.kind == "money" { Money::new(n, currency).decimal() } else { n.to_string() };
        vec![
            self.id.clone(),
            self.name.clone(),
            self.campaign.clone(),
            self.placement.clone(),
            self.tier.to_owned(),
            self.state.to_owned(),
            budget.map(|b| b.kind.to_owned()).unwrap_or_default(),
            budget.map(|b| amount(b, b.amounts.0)).unwrap_or_default(),
            budget.map(|b| amount(b, b.amounts.1)).unwrap_or_default(),
            price.map(|p| p.kind.to_owned()).unwrap_or_default(),
            price.map(|p| p.money.decimal()).unwrap_or_default(),
            currency.code().to_owned(),
            self.rates.shown.to_string(),
            self.rates.clicks.to_string(),
            self.ends_at.map(|t| t.to_string()).unwrap_or_default(),
        ]
    }
}

/// A budget and what is used of it.
#[derive(Serialize)]
struct Budgeted {
    kind: &'static str,
    /// In words: `€12.50`, `3,000`.
    used: String,
    whole: String,
    /// 0 to 1.
    share: f64,
    percent: i64,
    /// Used and whole, as numbers.
    #[serde(skip)]
    amounts: (i64, i64),
}

#[derive(Serialize)]
struct Price {
    kind: &'static str,
    money: Money,
}

fn budgeted(shell: &Shell, item: &LineItem, f: &Figures) -> Option<Budgeted> {
    let used = match item.budget_kind {
        BudgetKind::None => return None,
        BudgetKind::Impressions => f.shown,
        BudgetKind::Clicks => f.clicks,
        BudgetKind::Money => f.cost_micro / 1_000_000,
    };
    let say = |n: i64| match item.budget_kind {
        BudgetKind::Money => crate::web::format::money(Money::new(n, currency(shell))),
        _ => crate::web::format::count(n),
    };
    let share = used as f64 / item.budget.max(1) as f64;
    Some(Budgeted {
        kind: item.budget_kind.as_str(),
        used: say(used),
        whole: say(item.budget),
        share,
        percent: (share * 100.0).clamp(0.0, 100.0) as i64,
        amounts: (used, item.budget),
    })
}

/// Where a line item stands, in a word, and how that is coloured.
fn state(item: &LineItem, campaign: Option<&Campaign>, used: Option<&Budgeted>, now: Timestamp) -> (&'static str, &'static str) {
    match () {
        () if item.status == ItemStatus::Archived => ("archived", ""),
        () if item.status == ItemStatus::Paused => ("paused", "warn"),
        () if item.ends_at.is_some_and(|at| now >= at) => ("ended", ""),
        () if used.is_some_and(|b| b.share >= 1.0) => ("spent", ""),
        () if campaign.is_none_or(|c| c.status != campaign::Status::Running) => ("waits", "info"),
        () if item.starts_at.is_some_and(|at| now < at) => ("scheduled", "info"),
        () => ("active", "good"),
    }
}

pub(super) async fn lines(shell: &Shell, db: &Db, items: Vec<LineItem>) -> ApiResult<Vec<ItemLine>> {
    let ids: Vec<LineItemId> = items.iter().map(|i| i.id).collect();
    let mut campaigns: Vec<CampaignId> = items.iter().map(|i| i.campaign_id).collect();
    campaigns.sort_unstable();
    campaigns.dedup();
    let campaigns = campaign::get_many(db, &campaigns).await?;
    let mut figures = adserver::of_line_items(db, &ids).await?;
    let places: HashMap<_, _> =
        if items.is_empty() { HashMap::new() } else { adserver::placements(db).await?.into_iter().map(|p| (p.id, p.key)).collect() };
    let now = shell.reader().now;
    let line = |item: LineItem| {
        let f = figures.remove(&item.id).unwrap_or_default();
        let campaign = campaigns.get(&item.campaign_id);
        let budget = budgeted(shell, &item, &f);
        let (state, tone) = state(&item, campaign, budget.as_ref(), now);
        ItemLine {
            number: item.id.0,
            id: item.id.to_string(),
            campaign: campaign.map(|c| c.name.clone()).unwrap_or_default(),
            campaign_id: item.campaign_id.to_string(),
            placement: places.get(&item.placement_id).cloned().unwrap_or_default(),
            tier: item.tier.as_str(),
            state,
            tone,
            budget,
            price: price(shell, &item),
            ends_at: item.ends_at,
            pacing: item.pacing.as_str(),
            rates: rates(shell, &f),
            name: item.name,
        }
    };
    Ok(items.into_iter().map(line).collect())
}

fn price(shell: &Shell, item: &LineItem) -> Option<Price> {
    (item.price_kind != PriceKind::Free)
        .then(|| Price { kind: item.price_kind.as_str(), money: Money::new(item.price_minor, currency(shell)) })
}

pub(super) fn listed(numbers: &[i64]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What exchanges are told, in words: (key of the label, value).
fn told(d: &Declared) -> impl Iterator<Item = (&'static str, String)> {
    let all = [
        ("exchange.deal", d.deal.clone()),
        ("exchange.categories", d.categories.join(", ")),
        ("exchange.domain", d.domain.clone()),
        ("exchange.attributes", listed(&d.attributes)),
    ];
    all.into_iter().filter(|(_, text)| !text.is_empty())
}

/// Targeting in words: (key of the label, value).
pub(super) async fn rules(shell: &Shell, db: &Db, t: &Targeting) -> ApiResult<Vec<(&'static str, String)>> {
    let form = TargetingForm::of(shell, t, &segments(db).await?);
    let chosen = |list: &[super::Checked]| list.iter().filter(|c| c.checked).map(|c| c.label.clone()).collect::<Vec<_>>().join(", ");
    let all = [
        ("targeting.segments", chosen(&form.segments)),
        ("targeting.keywords", form.keywords),
        ("targeting.not_keywords", form.not_keywords),
        ("targeting.countries", form.countries),
        ("targeting.devices", chosen(&form.devices)),
        ("targeting.hours", form.hours),
    ];
    Ok(all.into_iter().filter(|(_, text)| !text.is_empty()).collect())
}

#[derive(Serialize)]
struct OneView {
    item: ItemLine,
    starts_at: Option<Timestamp>,
    cap_per_day: i64,
    choice: &'static str,
    rules: Vec<(&'static str, String)>,
    chart: Option<Chart>,
    /// Share of the requests that may pass now, where there is a pace to keep.
    pass: Option<f64>,
    archived: bool,
    paused: bool,
}

pub(super) fn id_of(path: &str) -> ApiResult<LineItemId> {
    path.parse().map_err(|_| ApiError::not_found("line item"))
}

pub(super) async fn one(shell: Shell, platform: Data<Platform>, server: Data<AdServer>, path: Path<String>) -> ApiResult {
    let db = &platform.db;
    let item = adserver::line_item(db, id_of(&path)?).await?;
    let mut rules = rules(&shell, db, &item.targeting).await?;
    rules.extend(told(&item.exchange));
    let chart = curve_chart(&shell, db, &item).await?;
    let snapshot = server.snapshot();
    let live = snapshot.items.iter().find(|i| i.id == item.id.0);
    let (starts_at, cap_per_day, choice, status) = (item.starts_at, item.cap_per_day, item.choice.as_str(), item.status);
    let line = lines(&shell, db, vec![item]).await?.pop().ok_or_else(|| ApiError::not_found("line item"))?;
    let view = OneView {
        starts_at,
        cap_per_day,
        choice,
        rules,
        chart,
        pass: live.filter(|i| i.flight.is_some()).map(|i| i.meter.pass()),
        archived: status == ItemStatus::Archived,
        paused: status == ItemStatus::Paused,
        item: line,
    };
    shell.render("placements/item.html", view.item.name.clone(), &view)
}

async fn curve_chart(shell: &Shell, db: &Db, item: &LineItem) -> ApiResult<Option<Chart>> {
    let points = adserver::curve(db, item, shell.reader().now).await?;
    if points.len() < 2 {
        return Ok(None);
    }
    let unit = match item.budget_kind {
        BudgetKind::Money => Unit::Money(currency(shell)),
        _ => Unit::Count,
    };
    let zone = shell.reader().zone;
    let hourly = points[1].at.since(points[0].at) < 24 * 3_600 * 1_000_000;
    let label = |at: Timestamp| at.in_zone(zone).format(if hourly { "%-d.%-m. %Hh" } else { "%-d.%-m." }).to_string();
    let mut series = Vec::new();
    if points.iter().any(|p| p.planned.is_some()) {
        series.push(Series { name: shell.say("items.planned"), values: points.iter().map(|p| p.planned).collect() });
    }
    series.push(Series { name: shell.say("items.delivered"), values: points.iter().map(|p| p.delivered).collect() });
    let spec = Spec {
        id: "pace".into(),
        title: shell.say("items.chart_title"),
        description: shell.say("items.chart_about"),
        kind: Kind::Line,
        unit,
        axis: shell.say("items.until"),
        labels: points.iter().map(|p| label(p.at)).collect(),
        series,
    };
    chart::draw(&spec).map(Some)
}

async fn set(shell: Shell, platform: Data<Platform>, server: Data<AdServer>, path: &str, to: ItemStatus, key: &str) -> ApiResult {
    let item = adserver::set_line_item_status(&platform, id_of(path)?, to).await?;
    server.refresh(true).await.map_err(ApiError::internal)?;
    shell.note(item.id.to_string(), item.name.clone());
    let to = if to == ItemStatus::Archived { "/placements/items".to_owned() } else { format!("/placements/items/{}", item.id) };
    Ok(shell.redirect_saying(&to, "good", shell.say_with(key, &[("name", item.name)])))
}

pub(super) async fn pause(shell: Shell, platform: Data<Platform>, server: Data<AdServer>, path: Path<String>) -> ApiResult {
    set(shell, platform, server, &path, ItemStatus::Paused, "placements.paused_done").await
}
pub(super) async fn resume(shell: Shell, platform: Data<Platform>, server: Data<AdServer>, path: Path<String>) -> ApiResult {
    set(shell, platform, server, &path, ItemStatus::Active, "placements.resumed_done").await
}
pub(super) async fn archive(shell: Shell, platform: Data<Platform>, server: Data<AdServer>, path: Path<String>) -> ApiResult {
    set(shell, platform, server, &path, ItemStatus::Archived, "items.archived_done").await
}

pub(super) async fn ask_archive(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let item = adserver::line_item(&platform.db, id_of(&path)?).await?;
    let confirm = Confirm {
        text: shell.say("items.archive_text"),
        consequence: shell.say("items.archive_kept"),
        button: shell.say("items.archive"),
        action: format!("/placements/items/{}/archive", item.id),
        back: format!("/placements/items/{}", item.id),
        danger: true,
    };
    shell.confirm(shell.say_with("items.archive_title", &[("name", item.name)]), &confirm)
}
