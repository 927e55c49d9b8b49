//! Catalogue: what do we sell, what gets shown, and what keeps a product from being shown well?

mod change;
mod likers;
mod list;
mod product;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Data, Path};
use serde::Serialize;

use super::route::{Need, Route};
use crate::account::Permission;
use crate::attribution::rollup::{self, Days, Figures, Reading};
use crate::catalog::{self, ProductFinding, ProductRow};
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::ProductId;
use crate::platform::{Currency, Money, Platform, Timestamp};

pub(super) fn routes() -> Vec<Route> {
    let (see, plan) = (Need::May(Permission::See), Need::May(Permission::Plan));
    vec![
        Route::get("/catalogue", see, list::page),
        Route::get("/catalogue.csv", see, list::download),
        Route::get("/catalogue/picture/{hash}/{side}", see, picture),
        Route::get("/catalogue/{id}", see, product::page),
        Route::post("/catalogue/{id}/stock", plan, "product.stock", change::stock),
        Route::get("/catalogue/{id}/retire", plan, change::ask_retire),
        Route::post("/catalogue/{id}/retire", plan, "product.retire", change::retire),
        Route::post("/catalogue/{id}/restore", plan, "product.restore", change::restore),
        Route::post("/catalogue/{id}/picture", plan, "product.picture", change::picture),
    ]
}

/// What something that a product lacks is called, and how bad it is.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FindingView {
    pub name: &'static str,
    /// `bad` where the product cannot be shown at all, else `warn`.
    pub tone: &'static str,
}

impl FindingView {
    fn of(finding: ProductFinding) -> Self {
        let tone = if finding == ProductFinding::SoldOut { "bad" } else { "warn" };
        Self { name: finding.name(), tone }
    }
}

/// A product as lists and tiles show it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Tile {
    pub id: ProductId,
    pub sku: String,
    pub title: String,
    pub brand: Option<String>,
    /// The last step of the path.
    pub category: String,
    pub category_path: String,
    pub price: Money,
    /// The price before the reduction.
    pub was: Option<Money>,
    pub stock: Option<i64>,
    pub available: bool,
    pub image_hash: Option<String>,
    pub findings: Vec<FindingView>,
    pub updated_at: Timestamp,
    pub retired: bool,
    /// What touches about it came to so far.
    pub result: Option<Results>,
}

/// What touches about a product came to, in the shop's currency, by last touch.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Results {
    pub shown: i64,
    pub clicked: i64,
    pub rate: Option<f64>,
    pub earned: Money,
}

impl Results {
    pub fn of(f: &Figures, currency: Currency) -> Self {
        Self {
            shown: f.counts.sent,
            clicked: f.counts.clicked,
            rate: f.click_rate(),
            earned: Money::new(f.revenue(currency.code(), Reading::default()), currency),
        }
    }
}

/// Adds what they came to.
pub(super) async fn with_results(platform: &Platform, tiles: &mut [Tile]) -> ApiResult<()> {
    let ids: Vec<ProductId> = tiles.iter().map(|t| t.id).collect();
    let found = rollup::by_product(&platform.db, &ids, Days::ALL).await?;
    for tile in tiles {
        tile.result = found.get(&tile.id).map(|f| Results::of(f, platform.config.shop.currency));
    }
    Ok(())
}

impl From<ProductRow> for Tile {
    fn from(r: ProductRow) -> Self {
        let findings = r.findings().into_iter().map(FindingView::of).collect();
        Self {
            id: r.id,
            category: r.category_path.rsplit(" > ").next().unwrap_or_default().to_owned(),
            price: r.sale_price.unwrap_or(r.price),
            was: r.sale_price.map(|_| r.price),
            findings,
            sku: r.sku,
            title: r.title,
            brand: r.brand,
            category_path: r.category_path,
            stock: r.stock,
            available: r.available,
            image_hash: r.image_hash,
            updated_at: r.updated_at,
            retired: r.retired_at.is_some(),
            result: None,
        }
    }
}

pub(super) fn product_id(text: &str) -> ApiResult<ProductId> {
    text.parse().map_err(|_| ApiError::not_found("product"))
}

/// A small picture. It never changes under its name.
async fn picture(platform: Data<Platform>, path: Path<(String, String)>) -> ApiResult {
    let (hash, side) = path.into_inner();
    let side = side.parse().map_err(|_| ApiError::not_found("picture"))?;
    let bytes = catalog::thumbnail(&platform.db, &hash, side).await?.ok_or_else(|| ApiError::not_found("picture"))?;
    Ok(HttpResponse::Ok()
        .content_type("image/jpeg")
        .insert_header((header::CACHE_CONTROL, "private, max-age=31536000, immutable"))
        // Compressing a JPEG again only costs time.
        .insert_header(header::ContentEncoding::Identity)
        .body(bytes))
}

/// A title for links and messages: short.
fn short(title: &str) -> String {
    title.chars().take(80).collect()
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The list of a category and what lies below it.
fn category_href(path: &str) -> String {
    format!("/catalogue?category={}", encoded(path))
}
