//! The form behind new and changed line items.

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, Path, Query};
use serde::{Deserialize, Serialize};

use super::items::{id_of, listed};
use super::places::segments;
use super::{TargetingForm, Typed, major, minor};
use crate::adserver::{self, AdServer, BudgetKind, Chooser, Declared, ItemError, NewLineItem, Pacing, PriceKind, Targeting, Tier};
use crate::campaign::{self, Campaign};
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::{CampaignId, LineItemId};
use crate::platform::{Db, Platform, Timestamp};
use crate::touches::TouchChannel;
use crate::web::page::Shell;
use crate::web::table::Choice;

/// Campaigns that a form offers.
const CAMPAIGNS: i64 = 200;

#[derive(Serialize, Default)]
struct FormView {
    action: String,
    back: String,
    fresh: bool,
    name: String,
    campaign: String,
    campaigns: Vec<Choice>,
    placement: String,
    placements: Vec<Choice>,
    tier: String,
    tiers: Vec<Choice>,
    budget_kind: String,
    budget_kinds: Vec<Choice>,
    budget: String,
    price_kind: String,
    price_kinds: Vec<Choice>,
    price: String,
    starts_at: String,
    ends_at: String,
    pacing: String,
    pacings: Vec<Choice>,
    cap_per_day: String,
    choice: String,
    choosers: Vec<Choice>,
    target: TargetingForm,
    deal: String,
    categories: String,
    domain: String,
    attributes: String,
    zone: &'static str,
    error: String,
    field: String,
}

fn local(shell: &Shell, at: Option<Timestamp>) -> String {
    at.map(|at| at.in_zone(shell.reader().zone).format("%Y-%m-%dT%H:%M").to_string()).unwrap_or_default()
}

async fn form(shell: &Shell, db: &Db, new: &NewLineItem, id: Option<LineItemId>) -> ApiResult<FormView> {
    let campaigns = campaign::list(db, CampaignId(0), CAMPAIGNS).await?;
    let over = |c: &Campaign| matches!(c.status, campaign::Status::Done | campaign::Status::Cancelled) && c.id != new.campaign;
    let words = |kind: &str, all: &[&'static str]| -> Vec<Choice> {
        all.iter().map(|w| Choice::new(*w, shell.say(&format!("item_{kind}.{w}")))).collect()
    };
    let blank_zero = |n: i64| if n == 0 { String::new() } else { n.to_string() };
    Ok(FormView {
        action: id.map_or_else(|| "/placements/items/new".into(), |id| format!("/placements/items/{id}/edit")),
        back: id.map_or_else(|| "/placements/items".into(), |id| format!("/placements/items/{id}")),
        fresh: id.is_none(),
        name: new.name.clone(),
        campaign: new.campaign.to_string(),
        campaigns: campaigns
            .iter()
            .filter(|c| c.plan.channel == TouchChannel::Banner && !over(c))
            .map(|c| Choice::new(c.id.to_string(), c.name.clone()))
            .collect(),
        placement: new.placement.clone(),
        placements: adserver::placements(db)
            .await?
            .into_iter()
            .map(|p| Choice::new(p.key.clone(), format!("{} · {}×{}", p.name, p.width, p.height)))
            .collect(),
        tier: new.tier.as_str().into(),
        tiers: words("tier", &["sponsored", "standard", "house"]),
        budget_kind: new.budget_kind.as_str().into(),
        budget_kinds: words("budget", &["none", "impressions", "clicks", "money"]),
        budget: match new.budget_kind {
            BudgetKind::Money if new.budget > 0 => major(shell, new.budget),
            _ => blank_zero(new.budget),
        },
        price_kind: new.price_kind.as_str().into(),
        price_kinds: words("price", &["free", "cpm", "cpc"]),
        price: if new.price_minor > 0 { major(shell, new.price_minor) } else { String::new() },
        starts_at: local(shell, new.starts_at),
        ends_at: local(shell, new.ends_at),
        pacing: new.pacing.as_str().into(),
        pacings: words("pacing", &["even", "fast"]),
        cap_per_day: blank_zero(new.cap_per_day),
        choice: new.choice.as_str().into(),
        choosers: words("choice", &["thompson", "weights"]),
        target: TargetingForm::of(shell, &new.targeting, &segments(db).await?),
        deal: new.exchange.deal.clone(),
        categories: new.exchange.categories.join(", "),
        domain: new.exchange.domain.clone(),
        attributes: listed(&new.exchange.attributes),
        zone: shell.reader().zone.name(),
        error: String::new(),
        field: String::new(),
    })
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct NewQuery {
    placement: String,
    campaign: String,
}

fn blank(placement: &str, campaign: CampaignId) -> NewLineItem {
    NewLineItem {
        campaign,
        placement: placement.to_owned(),
        name: String::new(),
        tier: Tier::Standard,
        budget_kind: BudgetKind::None,
        budget: 0,
        price_kind: PriceKind::Free,
        price_minor: 0,
        starts_at: None,
        ends_at: None,
        pacing: Pacing::Even,
        cap_per_day: 0,
        choice: Chooser::Thompson,
        targeting: Targeting::default(),
        exchange: Declared::default(),
    }
}

pub(super) async fn new(shell: Shell, platform: Data<Platform>, query: Query<NewQuery>) -> ApiResult {
    let new = blank(&query.placement, query.campaign.parse().unwrap_or(CampaignId(0)));
    let view = form(&shell, &platform.db, &new, None).await?;
    shell.render("placements/item_form.html", shell.say("items.new"), &view)
}

pub(super) async fn edit(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let db = &platform.db;
    let item = adserver::line_item(db, id_of(&path)?).await?;
    let placement = adserver::placement_by_id(db, item.placement_id).await?.key;
    let new = NewLineItem {
        campaign: item.campaign_id,
        placement,
        name: item.name.clone(),
        tier: item.tier,
        budget_kind: item.budget_kind,
        budget: item.budget,
        price_kind: item.price_kind,
        price_minor: item.price_minor,
        starts_at: item.starts_at,
        ends_at: item.ends_at,
        pacing: item.pacing,
        cap_per_day: item.cap_per_day,
        choice: item.choice,
        targeting: item.targeting.clone(),
        exchange: item.exchange.clone(),
    };
    let view = form(&shell, db, &new, Some(item.id)).await?;
    shell.render("placements/item_form.html", shell.say_with("placements.edit_title", &[("name", item.name)]), &view)
}

/// What exchanges are told, as it was typed. What is no number becomes -1, which is refused.
fn declared(typed: &Typed) -> Declared {
    let words = |name: &str| -> Vec<String> {
        typed.text(name).split(',').map(str::trim).filter(|w| !w.is_empty()).map(ToOwned::to_owned).collect()
    };
    Declared {
        deal: typed.text("deal").to_owned(),
        categories: words("categories"),
        domain: typed.text("domain").to_owned(),
        attributes: words("attributes").iter().map(|a| a.parse().unwrap_or(-1)).collect(),
    }
}

fn typed(shell: &Shell, typed: &Typed) -> NewLineItem {
    let word = |name: &str| typed.text(name);
    let time = |name: &str| Timestamp::parse_in(word(name), shell.reader().zone);
    let budget_kind = word("budget_kind").parse().unwrap_or(BudgetKind::None);
    NewLineItem {
        campaign: word("campaign").parse().unwrap_or(CampaignId(0)),
        placement: word("placement").to_owned(),
        name: word("name").to_owned(),
        tier: word("tier").parse().unwrap_or(Tier::Standard),
        budget_kind,
        budget: if budget_kind == BudgetKind::Money { minor(shell, word("budget")) } else { typed.number("budget") },
        price_kind: word("price_kind").parse().unwrap_or(PriceKind::Free),
        price_minor: minor(shell, word("price")),
        starts_at: time("starts_at"),
        ends_at: time("ends_at"),
        pacing: word("pacing").parse().unwrap_or(Pacing::Even),
        cap_per_day: typed.number("cap_per_day"),
        choice: word("choice").parse().unwrap_or(Chooser::Thompson),
        targeting: TargetingForm::read(typed),
        exchange: declared(typed),
    }
}

async fn save(shell: Shell, platform: Data<Platform>, server: Data<AdServer>, new: NewLineItem, id: Option<LineItemId>) -> ApiResult {
    let saved = match id {
        None => adserver::create_line_item(&platform, new.clone()).await,
        Some(id) => adserver::update_line_item(&platform, id, new.clone()).await,
    };
    match saved {
        Ok(item) => {
            server.refresh(true).await.map_err(ApiError::internal)?;
            shell.note(item.id.to_string(), item.name.clone());
            Ok(shell.redirect_saying(
                &format!("/placements/items/{}", item.id),
                "good",
                shell.say_with("placements.saved", &[("name", item.name)]),
            ))
        }
        Err(ItemError::Invalid { field, detail }) => {
            let mut view = form(&shell, &platform.db, &new, id).await?;
            view.field = field.to_owned();
            view.error = shell.fault(&detail);
            let title = if id.is_none() { shell.say("items.new") } else { shell.say_with("placements.edit_title", &[("name", new.name)]) };
            shell.render_as(StatusCode::UNPROCESSABLE_ENTITY, "placements/item_form.html", title, &view)
        }
        Err(other) => Err(other.into()),
    }
}

pub(super) async fn create(shell: Shell, platform: Data<Platform>, server: Data<AdServer>, body: Bytes) -> ApiResult {
    let new = typed(&shell, &Typed::read(&body));
    save(shell, platform, server, new, None).await
}

pub(super) async fn update(shell: Shell, platform: Data<Platform>, server: Data<AdServer>, path: Path<String>, body: Bytes) -> ApiResult {
    let id = id_of(&path)?;
    let new = typed(&shell, &Typed::read(&body));
    save(shell, platform, server, new, Some(id)).await
}
