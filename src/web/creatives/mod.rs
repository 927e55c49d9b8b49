//! Creatives: what do we say, does it stand up, and what did it come to? Approve, edit, reject; the brand kit; own templates.

mod brand;
mod change;
mod list;
mod one;
mod preview;
mod rate;
mod sample;
mod templates;

use serde::Serialize;

use super::page::Shell;
use super::route::{Need, Route};
use crate::account::Permission;
use crate::attribution::CopyResult;
use crate::catalog::ProductRow;
use crate::copywriter::{CopyChannel, CopyState, Finding, Severity, StoredCopy};
use crate::platform::Timestamp;
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::CopyId;
use crate::web::i18n::Locale;
pub(super) use one::{Field, fields};
use rate::Rate;

pub(super) fn routes() -> Vec<Route> {
    let (see, plan, configure) = (Need::May(Permission::See), Need::May(Permission::Plan), Need::May(Permission::Configure));
    vec![
        Route::get("/creatives/brand", configure, brand::page),
        Route::post("/creatives/brand", configure, "brand.change", brand::save),
        Route::ask("/creatives/brand/check", configure, brand::check),
        Route::post("/creatives/brand/logo", configure, "brand.logo", brand::logo),
        Route::post("/creatives/brand/logo/drop", configure, "brand.logo", brand::drop_logo),
        Route::get("/creatives/brand/part/mail", configure, brand::mail),
        Route::get("/creatives/brand/part/banner/{format}", configure, brand::banner),
        Route::get("/creatives/templates", configure, templates::list),
        Route::post("/creatives/templates", configure, "template.save", templates::save),
        Route::ask("/creatives/templates/try", configure, templates::try_it),
        Route::get("/creatives/templates/new", configure, templates::new),
        Route::get("/creatives/templates/{key}", configure, templates::edit),
        Route::get("/creatives/templates/{key}/mail", configure, templates::mail),
        Route::get("/creatives/templates/{key}/delete", configure, templates::ask_drop),
        Route::post("/creatives/templates/{key}/delete", configure, "template.delete", templates::drop),
        Route::get("/creatives", see, list::page),
        Route::get("/creatives.csv", see, list::download),
        Route::post("/creatives/decide", plan, "copy.decide", change::decide),
        Route::get("/creatives/{id}", see, one::page),
        Route::post("/creatives/{id}", plan, "copy.edit", change::edit),
        Route::ask("/creatives/{id}/check", plan, change::check),
        Route::post("/creatives/{id}/approve", plan, "copy.approve", change::approve),
        Route::post("/creatives/{id}/reject", plan, "copy.reject", change::reject),
        Route::get("/creatives/{id}/mail", see, preview::mail),
        Route::get("/creatives/{id}/banner/{format}", see, preview::banner),
    ]
}

fn copy_id(text: &str) -> ApiResult<CopyId> {
    text.parse().map_err(|_| ApiError::not_found("copy"))
}

/// What a guardrail found, beside the text.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FindingRow {
    pub field: String,
    kind: &'static str,
    /// `bad` where the text may not be shown.
    tone: &'static str,
    text: String,
    message: String,
}

pub(super) fn finding_rows(locale: Locale, findings: &[Finding]) -> Vec<FindingRow> {
    let row = |f: &Finding| FindingRow {
        field: f.field.clone(),
        kind: f.kind.as_str(),
        tone: if f.severity == Severity::Error { "bad" } else { "warn" },
        text: f.text.clone(),
        message: crate::web::faults::finding(locale, f),
    };
    findings.iter().map(row).collect()
}

/// A copy as lists show it.
#[derive(Clone, Debug, Serialize)]
struct Card {
    id: CopyId,
    product_id: String,
    product: String,
    image_hash: Option<String>,
    campaign: String,
    campaign_href: String,
    variant: String,
    banner: bool,
    channel: &'static str,
    locale: &'static str,
    tone: &'static str,
    occasion: &'static str,
    state: &'static str,
    state_tone: &'static str,
    edited: bool,
    stale: bool,
    usable: bool,
    subject: String,
    preheader: String,
    headline: String,
    body: String,
    cta: String,
    findings: Vec<FindingRow>,
    generator: String,
    updated_at: Timestamp,
    result: Option<ResultView>,
}

/// What it came to: counts and rates with their 95 % intervals.
#[derive(Clone, Debug, Serialize)]
struct ResultView {
    sent: i64,
    opened: i64,
    viewable: i64,
    clicked: i64,
    /// Of a mail: opened of sent; of a banner: really seen of shown.
    seen: Rate,
    click: Rate,
}

impl ResultView {
    fn of(channel: CopyChannel, r: CopyResult) -> Self {
        let seen = if channel == CopyChannel::Banner { r.viewable } else { r.opened };
        Self {
            sent: r.sent,
            opened: r.opened,
            viewable: r.viewable,
            clicked: r.clicked,
            seen: Rate::of(seen, r.sent),
            click: Rate::of(r.clicked, r.sent),
        }
    }
}

const fn state_tone(state: CopyState) -> &'static str {
    match state {
        CopyState::Waiting => "info",
        CopyState::Approved => "good",
        CopyState::Rejected => "bad",
        CopyState::Dropped => "warn",
    }
}

/// Names that cards need, looked up for many copies at once.
struct Names {
    campaigns: std::collections::HashMap<crate::platform::ids::CampaignId, crate::campaign::Campaign>,
    products: std::collections::HashMap<crate::platform::ids::ProductId, ProductRow>,
    results: std::collections::HashMap<CopyId, CopyResult>,
    linked: bool,
    locale: Locale,
}

impl Names {
    async fn of(shell: &Shell, copies: &[StoredCopy]) -> ApiResult<Self> {
        let db = &shell.inner.platform.db;
        let distinct = |ids: std::collections::BTreeSet<_>| ids.into_iter().collect::<Vec<_>>();
        let campaigns = distinct(copies.iter().map(|c| c.campaign_id).collect());
        let products: Vec<_> = copies.iter().map(|c| c.product_id).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        let ids: Vec<CopyId> = copies.iter().map(|c| c.id).collect();
        Ok(Self {
            campaigns: crate::campaign::get_many(db, &campaigns).await?,
            products: crate::catalog::tiles(db, &products).await?,
            results: crate::attribution::copy_results(db, &ids).await?,
            linked: shell.ui().has("/campaigns/{id}"),
            locale: shell.locale(),
        })
    }

    fn card(&self, copy: StoredCopy) -> Card {
        let campaign = self.campaigns.get(&copy.campaign_id);
        let variant = campaign.and_then(|c| c.variants.iter().find(|v| v.id == copy.variant_id)).map(|v| v.variant.name.clone());
        let product = self.products.get(&copy.product_id);
        let state = CopyState::of(copy.status);
        Card {
            id: copy.id,
            product_id: copy.product_id.to_string(),
            product: product.map_or_else(|| copy.product_id.to_string(), |p| p.title.clone()),
            image_hash: product.and_then(|p| p.image_hash.clone()),
            campaign: campaign.map_or_else(|| copy.campaign_id.to_string(), |c| c.name.clone()),
            campaign_href: if self.linked { format!("/campaigns/{}", copy.campaign_id) } else { String::new() },
            variant: variant.unwrap_or_default(),
            banner: copy.channel == CopyChannel::Banner,
            channel: copy.channel.as_str(),
            locale: copy.locale.as_str(),
            tone: copy.tone.as_str(),
            occasion: copy.occasion.as_str(),
            state: state.name(),
            state_tone: state_tone(state),
            edited: copy.status == crate::copywriter::CopyStatus::Edited,
            stale: copy.stale,
            usable: copy.status.usable(),
            findings: finding_rows(self.locale, &copy.findings),
            generator: copy.generator,
            updated_at: copy.updated_at,
            result: self.results.get(&copy.id).map(|r| ResultView::of(copy.channel, *r)),
            subject: copy.copy.subject,
            preheader: copy.copy.preheader,
            headline: copy.copy.headline,
            body: copy.copy.body,
            cta: copy.copy.cta,
        }
    }
}
