//! One product: picture, facts, what to mend, what is like it, who likes it, what is said about it and where.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::likers::{self, Likers};
use super::{FindingView, Tile, product_id};
use crate::attribution::rollup::{self, Days, Figures};
use crate::catalog::{self, Product, ProductFinding};
use crate::copywriter::StoredCopy;
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::{CampaignId, ProductId};
use crate::platform::{Money, Platform, Timestamp};
use crate::web::chart::{self, Chart, Kind, Series, Spec, Unit};
use crate::web::page::Shell;
use crate::{campaign, copywriter, recommend};

/// Similar products shown.
const SIMILAR: usize = 8;
const COPIES: i64 = 30;
/// Days of the results by day.
const SHOWN_DAYS: u64 = 60;

#[derive(Serialize)]
struct Step {
    name: String,
    href: String,
}

#[derive(Serialize)]
struct SimilarView {
    tile: Tile,
    cosine: f64,
}

#[derive(Serialize)]
pub(super) struct CopyRow {
    id: String,
    campaign: String,
    campaign_href: String,
    channel: &'static str,
    locale: &'static str,
    status: &'static str,
    tone: &'static str,
    /// Subject, or headline where there is none.
    words: String,
    body: String,
    findings: usize,
}

#[derive(Serialize)]
struct CampaignRow {
    id: String,
    name: String,
    status: String,
    href: String,
    channel: &'static str,
    copies: usize,
    result: Option<super::Results>,
}

/// The stock form with its error.
#[derive(Clone, Default, Serialize)]
pub(super) struct StockForm {
    pub stock: String,
    pub available: bool,
    pub error: Option<String>,
}

#[derive(Serialize)]
struct ProductView {
    id: ProductId,
    sku: String,
    title: String,
    description: String,
    brand: Option<String>,
    brand_href: String,
    steps: Vec<Step>,
    price: Money,
    was: Option<Money>,
    stock: Option<i64>,
    available: bool,
    url: Option<String>,
    image_hash: Option<String>,
    image_url: Option<String>,
    attributes: Vec<(String, String)>,
    created_at: Timestamp,
    updated_at: Timestamp,
    retired_at: Option<Timestamp>,
    sellable: bool,
    findings: Vec<FindingView>,
    title_width: usize,
    form: StockForm,
    picture_error: Option<String>,
    similar: Vec<SimilarView>,
    likers: Likers,
    copies: Vec<CopyRow>,
    campaigns: Vec<CampaignRow>,
    creatives: bool,
    result: Option<super::Results>,
    chart: Option<Chart>,
    by_day: bool,
}

pub(super) async fn find(platform: &Platform, text: &str) -> ApiResult<Product> {
    catalog::get(&platform.db, product_id(text)?).await?.ok_or_else(|| ApiError::not_found("product"))
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct OneQuery {
    /// `day`: results by day.
    by: String,
}

pub(super) async fn page(shell: Shell, platform: Data<Platform>, path: Path<String>, query: Query<OneQuery>) -> ApiResult {
    let product = find(&platform, &path).await?;
    let form = StockForm { stock: product.stock.map(|n| n.to_string()).unwrap_or_default(), available: product.available, error: None };
    let by_day = query.by == "day";
    show(&shell, &platform, product, form, None, by_day, StatusCode::OK).await
}

/// The page, also after a form of it was refused.
pub(super) async fn show(
    shell: &Shell,
    platform: &Platform,
    product: Product,
    form: StockForm,
    picture_error: Option<String>,
    by_day: bool,
    status: StatusCode,
) -> ApiResult {
    let db = &platform.db;
    let similar = similar(platform, product.id).await?;
    let likers = likers::of(db, product.id, shell.ui().has("/segments/{id}")).await?;
    let copies = copywriter::of_product(db, product.id, COPIES).await?;
    let figures = rollup::product_campaigns(db, product.id).await?;
    let (copies, campaigns) = campaigns_of(shell, platform, copies, &figures).await?;
    let total = rollup::by_product(db, &[product.id], Days::ALL).await?.remove(&product.id);
    let mut findings = findings(&product);
    if likers.picked == 0 && product.sellable() {
        findings.push(ProductFinding::NeverPicked);
    }
    let mut before = String::new();
    let steps = product
        .category_path
        .split(" > ")
        .filter(|s| !s.is_empty())
        .map(|name| {
            before = if before.is_empty() { name.to_owned() } else { format!("{before} > {name}") };
            Step { name: name.to_owned(), href: super::category_href(&before) }
        })
        .collect();
    let view = ProductView {
        id: product.id,
        sellable: product.sellable(),
        title_width: catalog::width(&product.title),
        findings: findings.into_iter().map(FindingView::of).collect(),
        price: product.price_now(),
        was: product.sale_price.map(|_| product.price),
        brand_href: product.brand.as_deref().map(|b| format!("/catalogue?brand={}", super::encoded(b))).unwrap_or_default(),
        brand: product.brand,
        steps,
        attributes: product.attributes.iter().map(|(k, v)| (k.clone(), value(v))).collect(),
        sku: product.sku,
        title: product.title.clone(),
        description: product.description,
        stock: product.stock,
        available: product.available,
        url: product.url,
        image_hash: product.image_hash,
        image_url: product.image_url,
        created_at: product.created_at,
        updated_at: product.updated_at,
        retired_at: product.retired_at,
        form,
        picture_error,
        similar,
        likers,
        copies,
        campaigns,
        creatives: shell.ui().has("/creatives"),
        result: total.as_ref().map(|f| super::Results::of(f, platform.config.shop.currency)),
        chart: if by_day {
            let days = Days::ending(shell.reader().now.in_zone(platform.config.shop.time_zone).date_naive(), SHOWN_DAYS);
            day_chart(shell, days, &rollup::product_days(db, product.id, days).await?)?
        } else {
            month_chart(shell, &rollup::product_months(db, product.id).await?)?
        },
        by_day,
    };
    shell.render_as(status, "catalogue/product.html", product.title, &view)
}

fn findings(product: &Product) -> Vec<ProductFinding> {
    let mut found = Vec::new();
    let mut add = |is: bool, what| {
        if is {
            found.push(what);
        }
    };
    add(!product.available || product.stock.is_some_and(|n| n <= 0), ProductFinding::SoldOut);
    add(product.image_hash.is_none(), ProductFinding::NoPicture);
    add(product.description.trim().is_empty(), ProductFinding::NoText);
    add(catalog::width(&product.title) > catalog::BANNER_TITLE_WIDTH, ProductFinding::LongTitle);
    found
}

/// An attribute in a line.
fn value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

async fn similar(platform: &Platform, product: ProductId) -> ApiResult<Vec<SimilarView>> {
    let found = recommend::similar(platform, product, SIMILAR * 2).await.map_err(ApiError::internal)?;
    let mut tiles = catalog::tiles(&platform.db, &found.iter().map(|s| s.product_id).collect::<Vec<_>>()).await?;
    let on_offer = found.into_iter().filter_map(|s| {
        let row = tiles.remove(&s.product_id).filter(|r| r.retired_at.is_none())?;
        Some(SimilarView { tile: row.into(), cosine: s.cosine })
    });
    Ok(on_offer.take(SIMILAR).collect())
}

/// Shown and clicked by month; nothing where it was shown in one month only.
fn month_chart(shell: &Shell, months: &[(NaiveDate, Figures)]) -> ApiResult<Option<Chart>> {
    let (Some((first, _)), Some((last, _))) = (months.first(), months.last()) else { return Ok(None) };
    let mut all = Vec::new();
    let mut at = *first;
    while at <= *last && all.len() < 36 {
        all.push(at);
        at = at.checked_add_months(chrono::Months::new(1)).unwrap_or(*last + chrono::Duration::days(1));
    }
    if all.len() < 2 {
        return Ok(None);
    }
    let labels = all.iter().map(|m| m.format("%Y-%m").to_string()).collect();
    draw(shell, "month", labels, &all, months)
}

/// Shown and clicked on each of these days; nothing where it was shown on none.
fn day_chart(shell: &Shell, days: Days, found: &[(NaiveDate, Figures)]) -> ApiResult<Option<Chart>> {
    if found.is_empty() {
        return Ok(None);
    }
    let all: Vec<NaiveDate> = days.iter().collect();
    draw(shell, "day", all.iter().map(ToString::to_string).collect(), &all, found)
}

/// `by`: `month` or `day`.
fn draw(shell: &Shell, by: &str, labels: Vec<String>, spans: &[NaiveDate], found: &[(NaiveDate, Figures)]) -> ApiResult<Option<Chart>> {
    let found: BTreeMap<NaiveDate, &Figures> = found.iter().map(|(m, f)| (*m, f)).collect();
    let line = |of: fn(&Figures) -> i64| spans.iter().map(|m| Some(found.get(m).map_or(0.0, |f| of(f) as f64))).collect();
    let spec = Spec {
        id: format!("product-{by}"),
        title: shell.say("catalogue.over_time"),
        description: shell.say(&format!("catalogue.over_time_by_{by}")),
        kind: Kind::Line,
        unit: Unit::Count,
        axis: shell.say(&format!("catalogue.{by}")),
        labels,
        series: vec![
            Series { name: shell.say("catalogue.shown"), values: line(|f| f.counts.sent) },
            Series { name: shell.say("catalogue.clicked"), values: line(|f| f.counts.clicked) },
        ],
    };
    Ok(Some(chart::draw(&spec)?))
}

async fn campaigns_of(
    shell: &Shell,
    platform: &Platform,
    copies: Vec<StoredCopy>,
    figures: &BTreeMap<CampaignId, Figures>,
) -> ApiResult<(Vec<CopyRow>, Vec<CampaignRow>)> {
    let mut by_campaign: BTreeMap<CampaignId, Vec<&StoredCopy>> = figures.keys().map(|id| (*id, Vec::new())).collect();
    for copy in &copies {
        by_campaign.entry(copy.campaign_id).or_default().push(copy);
    }
    let known = campaign::get_many(&platform.db, &by_campaign.keys().copied().collect::<Vec<_>>()).await?;
    let href = |id: &CampaignId| {
        if shell.ui().has("/campaigns/{id}") { format!("/campaigns/{id}") } else { String::new() }
    };
    let name = |id: &CampaignId| known.get(id).map_or_else(|| id.to_string(), |c| c.name.clone());
    let mut campaigns: Vec<CampaignRow> = by_campaign
        .iter()
        .map(|(id, copies)| {
            let channel = known.get(id).map(|c| c.plan.channel.as_str());
            CampaignRow {
                id: id.to_string(),
                name: name(id),
                status: known.get(id).map(|c| c.status.as_str().to_owned()).unwrap_or_default(),
                href: href(id),
                channel: channel.unwrap_or_default(),
                copies: copies.len(),
                result: figures.get(id).map(|f| super::Results::of(f, platform.config.shop.currency)),
            }
        })
        .collect();
    campaigns.reverse();
    let rows = copies
        .iter()
        .map(|c| CopyRow {
            id: c.id.to_string(),
            campaign: name(&c.campaign_id),
            campaign_href: href(&c.campaign_id),
            channel: c.channel.as_str(),
            locale: c.locale.as_str(),
            status: c.status.as_str(),
            tone: c.tone.as_str(),
            words: if c.copy.subject.is_empty() { c.copy.headline.clone() } else { c.copy.subject.clone() },
            body: c.copy.body.clone(),
            findings: c.findings.len(),
        })
        .collect();
    Ok((rows, campaigns))
}
