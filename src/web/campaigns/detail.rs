//! A campaign's page: how does it go, and why?

use std::collections::HashMap;

use actix_web::web::{Data, Path, Query};
use serde::{Deserialize, Serialize};

use super::figures::{self, Figures};
use super::lift::{self, LiftView};
use super::progress::{self, Progress};
use super::{Shown, find, when};
use crate::attribution::best::{chance_to_be_best, wilson};
use crate::attribution::hosts::{self, DomainFigures};
use crate::attribution::rollup;
use crate::campaign::{self, Campaign, RunStatus};
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::{RunId, VariantId};
use crate::platform::{Money, Platform, Timestamp};
use crate::touches::{self, TouchChannel, TouchState};
use crate::web::i18n;
use crate::web::page::Shell;
use crate::{attribution, audience, catalog};

/// Up to so many touches lift is measured while the page is made; above, the one that was kept is shown, and where there is none it comes after
/// the page.
const LIFT_AT_ONCE: i64 = 3_000;
const RUNS: i64 = 10;

/// A figure with its interval, and where to draw them on a line of 100.
#[derive(Clone, Debug, Default, Serialize)]
struct Rate {
    share: Option<f64>,
    low: f64,
    high: f64,
    x: f64,
    x_low: f64,
    x_width: f64,
}

#[derive(Serialize)]
struct VariantRow {
    name: String,
    tone: String,
    occasion: String,
    weight_share: f64,
    sent: i64,
    seen: Rate,
    clicked: Rate,
    clicks: i64,
    ordered: i64,
    revenue: Money,
    /// Chance to have the highest click rate of all; `None` with one variant or nothing sent.
    best: Option<f64>,
}

#[derive(Serialize)]
struct Step {
    key: &'static str,
    n: i64,
    /// Of the step before, and of the first.
    of_before: Option<f64>,
    of_sent: Option<f64>,
    width: f64,
}

#[derive(Serialize)]
struct Reason {
    state: &'static str,
    text: String,
    n: i64,
}

#[derive(Serialize)]
struct ProductRow {
    title: String,
    id: String,
    sent: i64,
    clicked: i64,
    click_rate: Option<f64>,
    revenue: Money,
}

#[derive(Serialize)]
struct DomainRow {
    #[serde(flatten)]
    n: Counted,
    domain: String,
    delivered: Option<f64>,
    opened: Option<f64>,
}

#[derive(Serialize)]
struct Counted {
    sent: i64,
    failed: i64,
    deferred: i64,
    bounced: i64,
    complained: i64,
}

#[derive(Serialize)]
struct RunRow {
    id: String,
    scheduled_at: Timestamp,
    status: &'static str,
    tone: &'static str,
    people: i64,
    took_us: Option<i64>,
}

#[derive(Serialize)]
struct PageView {
    c: Shown,
    segment: String,
    segment_id: String,
    when: String,
    choice: String,
    goal: String,
    holdout: Option<String>,
    placements: String,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    progress: Progress,
    sent: i64,
    open_rate: Option<f64>,
    click_rate: Option<f64>,
    clicked: i64,
    unsubscribed: i64,
    unsubscribe_rate: Option<f64>,
    ordered: i64,
    revenue: Money,
    funnel: Vec<Step>,
    variants: Vec<VariantRow>,
    lift: Option<LiftView>,
    lift_later: bool,
    products: Vec<ProductRow>,
    domains: Vec<DomainRow>,
    newest: i64,
    left_out: Vec<Reason>,
    left_out_all: i64,
    uncertain: i64,
    runs: Vec<RunRow>,
    runs_before: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct PageQuery {
    /// Runs before this one.
    runs: Option<String>,
    /// Measure lift now, however long that takes.
    lift: Option<String>,
}

#[allow(clippy::cast_precision_loss, reason = "counts of touches")]
fn share(n: i64, of: i64) -> Option<f64> {
    (of > 0).then(|| n as f64 / of as f64)
}

/// A rate with its interval; `top` is the end of the line that it is drawn on.
fn rate(n: i64, of: i64, top: f64) -> Rate {
    match (share(n, of), wilson(n, of)) {
        (Some(p), Some((low, high))) => {
            let x = |v: f64| (v / top * 100.0).clamp(0.0, 100.0);
            Rate { share: Some(p), low, high, x: x(p), x_low: x(low), x_width: x(high) - x(low) }
        }
        _ => Rate::default(),
    }
}

fn variants(shell: &Shell, campaign: &Campaign, figures: &HashMap<VariantId, Figures>, platform: &Platform) -> Vec<VariantRow> {
    let none = Figures::default();
    let of = |id: VariantId| figures.get(&id).unwrap_or(&none);
    let top = |n: fn(&Figures) -> i64| {
        let highs = campaign.variants.iter().filter_map(|v| wilson(n(of(v.id)), of(v.id).sent)).map(|(_, high)| high);
        highs.fold(0.000_1, f64::max)
    };
    let (top_seen, top_clicked) = (top(|f| f.seen), top(|f| f.clicked));
    let counted: Vec<(i64, i64)> = campaign.variants.iter().map(|v| (of(v.id).clicked, of(v.id).sent)).collect();
    let told = counted.len() > 1 && counted.iter().all(|(_, sent)| *sent > 0);
    let chances = if told { chance_to_be_best(&counted) } else { Vec::new() };
    let weights: i64 = campaign.variants.iter().map(|v| v.variant.weight).sum();
    campaign
        .variants
        .iter()
        .enumerate()
        .map(|(i, v)| {
            let f = of(v.id);
            VariantRow {
                name: v.variant.name.clone(),
                tone: shell.say(&format!("campaign.tone.{}", v.variant.tone)),
                occasion: shell.say(&format!("campaign.occasion.{}", v.variant.occasion)),
                weight_share: share(v.variant.weight, weights).unwrap_or(0.0),
                sent: f.sent,
                seen: rate(f.seen, f.sent, top_seen),
                clicked: rate(f.clicked, f.sent, top_clicked),
                clicks: f.clicked,
                ordered: f.ordered,
                revenue: Money::new(f.revenue_minor, platform.config.shop.currency),
                best: chances.get(i).copied(),
            }
        })
        .collect()
}

fn funnel(all: &Figures) -> Vec<Step> {
    let steps = [("sent", all.sent), ("seen", all.seen), ("clicked", all.clicked), ("ordered", all.ordered)];
    let mut before = None;
    steps
        .into_iter()
        .map(|(key, n)| {
            let of_sent = share(n, all.sent);
            let step = Step {
                key,
                n,
                of_before: before.and_then(|b| share(n, b)),
                of_sent,
                width: of_sent.unwrap_or(0.0).clamp(0.0, 1.0) * 100.0,
            };
            before = Some(n);
            step
        })
        .collect()
}

/// Why something did not go out, in words. A code without words of its own shows as it is.
fn reason(shell: &Shell, state: TouchState, code: &str) -> String {
    let key = if code.is_empty() { format!("campaign.reason.{state}") } else { format!("campaign.reason.{code}") };
    if i18n::has(&key) { shell.say(&key) } else { code.replace('_', " ") }
}

async fn left_out(shell: &Shell, platform: &Platform, campaign: &Campaign) -> ApiResult<Vec<Reason>> {
    let found = touches::left_out(&platform.db, campaign.id).await?;
    Ok(found.into_iter().map(|(state, code, n)| Reason { state: state.as_str(), text: reason(shell, state, &code), n }).collect())
}

async fn runs(platform: &Platform, campaign: &Campaign, before: Option<RunId>) -> ApiResult<(Vec<RunRow>, Option<String>)> {
    let mut found = campaign::latest_runs(&platform.db, campaign.id, before, RUNS + 1).await?;
    let more = found.len() > RUNS as usize;
    found.truncate(RUNS as usize);
    let next = found.last().filter(|_| more).map(|r| r.id.to_string());
    let row = |r: campaign::Run| RunRow {
        id: r.id.to_string(),
        scheduled_at: r.scheduled_at,
        status: r.status.as_str(),
        tone: match r.status {
            RunStatus::Planning => "info",
            RunStatus::Planned => "good",
            RunStatus::Cancelled => "",
        },
        people: r.planned,
        took_us: r.finished_at.map(|end| end.since(r.created_at)),
    };
    Ok((found.into_iter().map(row).collect(), next))
}

fn domain(row: DomainFigures) -> DomainRow {
    DomainRow {
        delivered: share(row.sent - row.bounced, row.sent + row.failed),
        opened: share(row.opened, row.sent),
        n: Counted { sent: row.sent, failed: row.failed, deferred: row.deferred, bounced: row.bounced, complained: row.complained },
        domain: row.domain,
    }
}

/// Measured now where that is quick or asked for, else the one that was kept.
async fn lift_of(shell: &Shell, platform: &Platform, campaign: &Campaign, touches: i64, now: bool) -> ApiResult<Option<LiftView>> {
    if now || touches <= LIFT_AT_ONCE {
        return Ok(Some(lift::measure(shell, platform, campaign, now).await?));
    }
    let kept = attribution::kept_lift(&platform.db, Some(campaign.id)).await?;
    Ok(kept.map(|k| lift::view(shell, campaign, &k.measured)))
}

/// The products that earned most, then those clicked most.
async fn products(platform: &Platform, campaign: &Campaign) -> ApiResult<Vec<ProductRow>> {
    let currency = platform.config.shop.currency;
    let reading = figures::reading(platform).await?;
    let top = rollup::top_products(&platform.db, campaign.id, currency.code(), reading, 10).await?;
    let known = catalog::get_many(&platform.db, &top.iter().map(|(id, _)| *id).collect::<Vec<_>>()).await?;
    let row = |(id, f): (crate::platform::ids::ProductId, rollup::Figures)| {
        Some(ProductRow {
            title: known.get(&id)?.title.clone(),
            id: id.to_string(),
            sent: f.counts.sent,
            clicked: f.counts.clicked,
            click_rate: share(f.counts.clicked, f.counts.sent),
            revenue: Money::new(f.revenue(currency.code(), reading), currency),
        })
    };
    Ok(top.into_iter().filter_map(row).collect())
}

pub async fn page(shell: Shell, platform: Data<Platform>, id: Path<String>, query: Query<PageQuery>) -> ApiResult {
    let db = &platform.db;
    let campaign = find(db, &id).await?;
    let before = match &query.runs {
        Some(text) => Some(text.parse::<RunId>().map_err(|e| ApiError::bad_request("bad_query", e.to_string()))?),
        None => None,
    };
    let currency = platform.config.shop.currency;
    let progress = progress::look(&platform, &campaign).await?;
    let by_variant = figures::by_variant(&platform, &campaign).await?;
    let all = figures::of_one(&platform, &campaign).await?;
    let measured = all.sent > 0 || progress.sent > 0 || progress.held > 0;
    let lift = if measured { lift_of(&shell, &platform, &campaign, progress.all, query.lift.is_some()).await? } else { None };
    let email = campaign.plan.channel == TouchChannel::Email;
    let domains = if email && progress.all > 0 { hosts::by_domain(db, campaign.id).await? } else { Vec::new() };
    let left_out = left_out(&shell, &platform, &campaign).await?;
    let (runs, runs_before) = runs(&platform, &campaign, before).await?;
    let segments = audience::names_of(db, &[campaign.plan.segment]).await?;
    let view = PageView {
        c: Shown::of(&campaign),
        segment: segments.get(&campaign.plan.segment).cloned().unwrap_or_default(),
        segment_id: campaign.plan.segment.to_string(),
        when: when::schedule(&shell, &campaign.plan.schedule),
        choice: when::choice(&shell, &campaign.plan.choice),
        goal: when::goal(&shell, &campaign.plan.goal),
        holdout: (campaign.plan.holdout_bp > 0).then(|| when::basis_points(campaign.plan.holdout_bp)),
        placements: campaign.plan.placements.join(", "),
        started_at: campaign.started_at,
        ended_at: campaign.ended_at,
        uncertain: progress.uncertain,
        progress,
        sent: all.sent,
        open_rate: share(all.seen, all.sent),
        click_rate: share(all.clicked, all.sent),
        clicked: all.clicked,
        unsubscribed: all.unsubscribed,
        unsubscribe_rate: share(all.unsubscribed, all.sent),
        ordered: all.ordered,
        revenue: Money::new(all.revenue_minor, currency),
        funnel: funnel(&all),
        variants: variants(&shell, &campaign, &by_variant, &platform),
        lift_later: measured && lift.is_none(),
        lift,
        products: products(&platform, &campaign).await?,
        domains: domains.into_iter().map(domain).collect(),
        newest: hosts::NEWEST,
        left_out_all: left_out.iter().map(|r| r.n).sum(),
        left_out,
        runs,
        runs_before,
    };
    let title = campaign.name.clone();
    shell.render("campaigns/detail.html", title, &view)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_funnel_tells_each_step_of_the_one_before() {
        let steps = funnel(&Figures { sent: 1_000, seen: 400, clicked: 40, ordered: 8, ..Figures::default() });
        assert_eq!(steps[2].of_before, Some(0.1));
        assert_eq!(steps[3].of_sent, Some(0.008));
        assert!(funnel(&Figures::default()).iter().all(|s| s.of_sent.is_none() && s.width == 0.0));
    }

    #[test]
    fn an_interval_is_drawn_on_its_line() {
        let r = rate(50, 1_000, 0.1);
        assert!(r.x_low < r.x && r.x < r.x_low + r.x_width && (r.x - 50.0).abs() < 1e-9, "{r:?}");
        assert_eq!(rate(0, 0, 0.1).share, None);
    }
}
