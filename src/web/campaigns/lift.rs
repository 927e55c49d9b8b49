//! Lift on a campaign's page: what it added, how sure that is, and how many people are missing where it is not.

use actix_web::web::{Data, Path};
use serde::Serialize;

use super::find;
use crate::attribution::{self, LiftIn, MeasureError, MeasuredLift};
use crate::campaign::Campaign;
use crate::platform::http::ApiResult;
use crate::platform::{Currency, Money, Platform, Timestamp};
use crate::web::format;
use crate::web::page::Shell;

/// One unit's finding in words.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// `found`, `lost`, `unpowered`, `none`, `nobody` (held out) or `early`.
    pub kind: &'static str,
    pub tone: &'static str,
    /// The finding's figure: +€1,234.
    pub amount: String,
    pub per_person: String,
    pub low: String,
    pub high: String,
    /// The interval that may be watched daily; `None` before it exists.
    pub watched: Option<(String, String)>,
    /// The finding would stand at any look.
    pub any_look: bool,
    pub treated: i64,
    pub held: i64,
    pub more_people: Option<i64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct LiftView {
    pub id: String,
    pub as_of: Timestamp,
    /// Of the people, whose window is over.
    pub complete: f64,
    pub findings: Vec<Finding>,
}

fn amount(shell: &Shell, value: f64, unit: &str) -> String {
    let whole = value.round() as i64;
    match unit.parse::<Currency>() {
        Ok(currency) if unit.len() == 3 => format::money(Money::new(whole, currency)),
        _ => shell.say_with(&format!("campaign.lift.unit.{unit}"), &[("n", format::count(whole))]),
    }
}

fn finding(shell: &Shell, found: &LiftIn) -> Finding {
    let lift = &found.lift;
    let say = |v: f64| amount(shell, v, &found.unit);
    let (kind, tone) = if lift.n_held == 0 {
        ("nobody", "")
    } else if !lift.ci95_low.is_finite() {
        ("early", "")
    } else if lift.found() && lift.incremental_total >= 0.0 {
        ("found", "good")
    } else if lift.found() {
        ("lost", "bad")
    } else if lift.more_people_needed.is_some_and(|n| n > 0) {
        ("unpowered", "")
    } else {
        ("none", "")
    };
    let sign = if lift.incremental_total > 0.0 { "+" } else { "" };
    let per = match found.unit.parse::<Currency>() {
        Ok(currency) if found.unit.len() == 3 => format::money(Money::new(lift.effect_per_person.round() as i64, currency)),
        _ => format!("{:.3}", lift.effect_per_person),
    };
    Finding {
        kind,
        tone,
        amount: format!("{sign}{}", say(lift.incremental_total)),
        per_person: per,
        low: if lift.ci95_low.is_finite() { say(lift.ci95_low) } else { String::new() },
        high: if lift.ci95_high.is_finite() { say(lift.ci95_high) } else { String::new() },
        watched: lift.always_valid_low.is_finite().then(|| (say(lift.always_valid_low), say(lift.always_valid_high))),
        any_look: lift.found_at_any_look(),
        treated: i64::try_from(lift.n_treated).unwrap_or(i64::MAX),
        held: i64::try_from(lift.n_held).unwrap_or(i64::MAX),
        more_people: lift.more_people_needed.and_then(|n| i64::try_from(n).ok()).filter(|n| *n > 0),
    }
}

#[derive(Serialize)]
struct PartView {
    lift: LiftView,
}

/// Measures now, and may keep it for whoever looks next. Reads every person that the campaign was planned for.
pub async fn measure(shell: &Shell, platform: &Platform, campaign: &Campaign, keep: bool) -> ApiResult<LiftView> {
    let measured = match keep {
        true => attribution::keep_lift(platform, campaign.id).await,
        false => attribution::campaign_lift(platform, campaign.id, platform.now()).await,
    };
    let measured = measured.map_err(|e| match e {
        MeasureError::Campaign(e) => e.into(),
        MeasureError::Database(e) => crate::platform::http::ApiError::from(e),
    })?;
    Ok(view(shell, campaign, &measured))
}

/// A measured lift in words.
pub fn view(shell: &Shell, campaign: &Campaign, measured: &MeasuredLift) -> LiftView {
    LiftView {
        id: campaign.id.to_string(),
        as_of: measured.as_of,
        complete: measured.complete_share,
        findings: measured.results.iter().map(|r| finding(shell, r)).collect(),
    }
}

/// The card, for campaigns whose lift takes a moment.
pub async fn part(shell: Shell, platform: Data<Platform>, id: Path<String>) -> ApiResult {
    let campaign = find(&platform.db, &id).await?;
    let lift = measure(&shell, &platform, &campaign, true).await?;
    shell.fragment("campaigns/lift.html", &PartView { lift }, true)
}
