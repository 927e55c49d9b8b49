//! The live summary beside the wizard: whom it reaches, what the holdout can show, when it runs; also where the form has mistakes.

use actix_web::web::{Data, Form, Query};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::form::{Errors, Fields, WizardForm};
use super::read::said;
use super::when;
use crate::campaign::{self, Campaign, Plan, Reach, Schedule};
use crate::platform::http::ApiResult;
use crate::platform::{Money, Platform, Timestamp};
use crate::web::page::Shell;
use crate::web::{format, i18n};

#[derive(Clone, Debug, Serialize)]
pub struct LeftOut {
    pub text: String,
    pub n: i64,
}

#[derive(Clone, Debug, Serialize)]
pub struct ReachView {
    pub audience: i64,
    pub exact: bool,
    pub looked_at: i64,
    pub treated: i64,
    pub held_out: i64,
    pub left_out: Vec<LeftOut>,
    pub share: f64,
    /// The smallest lift that it can find, in words; `None` without a holdout or sales.
    pub detectable: Option<Detect>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Detect {
    pub each: String,
    pub share: Option<f64>,
    pub baseline: String,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    pub reach: Option<ReachView>,
    /// The next five, in words, the zone named.
    pub runs: Vec<String>,
    pub when: String,
    pub choice: String,
    pub goal: String,
    /// What keeps it from being saved.
    pub mistakes: Vec<String>,
}

/// A campaign as it would be with this plan.
fn with_plan(shell: &Shell, stored: Option<&Campaign>, name: &str, plan: Plan) -> Campaign {
    match stored {
        Some(c) if c.plan.variants == plan.variants => Campaign { plan, next_run_at: None, ..c.clone() },
        Some(c) => Campaign { id: c.id, ..Campaign::sketch(name, plan, shell.reader().now) },
        None => Campaign::sketch(name, plan, shell.reader().now),
    }
}

/// The zone that a schedule is spoken of in.
fn zone_of(shell: &Shell, schedule: &Schedule) -> Tz {
    match schedule {
        Schedule::Recurring { time_zone, .. } => *time_zone,
        _ => shell.reader().zone,
    }
}

/// The next runs in words: weekday, date, time, zone. A run at people's own hour is named by its date.
pub fn runs(shell: &Shell, schedule: &Schedule, n: usize) -> Vec<String> {
    let reader = format::Reader { zone: zone_of(shell, schedule), ..shell.reader() };
    let Ok(times) = schedule.preview(reader.now, n) else { return Vec::new() };
    let weekday = |at: Timestamp, zone: Tz| {
        use chrono::Datelike as _;
        let day = at.in_zone(zone).date_naive().weekday();
        i18n::text(reader.locale, &format!("weekday.{}", day.to_string().to_lowercase())).to_owned()
    };
    times
        .into_iter()
        .map(|at| match schedule {
            Schedule::PersonLocal { time, .. } => {
                // It strikes first fourteen hours ahead of UTC: the date there is the date that is meant.
                let there = at.plus_us(14 * crate::platform::clock::HOUR_US);
                let date = format::date(there, format::Reader { zone: Tz::UTC, ..reader });
                let clock = shell.say_with("wizard.own_clock", &[("at", time.format("%H:%M").to_string())]);
                format!("{} {date}, {clock}", weekday(there, Tz::UTC))
            }
            _ => format!("{} {}", weekday(at, reader.zone), format::time(at, reader)),
        })
        .collect()
}

pub fn reach_view(shell: &Shell, reach: &Reach) -> ReachView {
    let currency = shell.inner.platform.config.shop.currency;
    let money = |minor: f64| format::money(Money::new(minor.round() as i64, currency));
    let mut left_out: Vec<LeftOut> = reach
        .skipped
        .iter()
        .map(|(code, n)| {
            let key = format!("campaign.reason.{code}");
            LeftOut { text: if i18n::has(&key) { shell.say(&key) } else { (*code).to_owned() }, n: *n }
        })
        .collect();
    left_out.sort_by_key(|l| -l.n);
    ReachView {
        audience: reach.audience,
        exact: reach.exact(),
        looked_at: if reach.looked_at < reach.audience { reach.looked_at } else { reach.foreseen },
        treated: reach.treated,
        held_out: reach.held_out,
        left_out,
        share: if reach.audience > 0 { reach.treated as f64 / reach.audience as f64 } else { 0.0 },
        detectable: reach.detectable.and_then(|d| {
            Some(Detect { each: money(d.effect_minor_per_person?), share: d.effect_relative, baseline: money(d.baseline_minor_per_person) })
        }),
    }
}

/// Looks at a form, also at one that cannot be saved yet.
pub async fn look(shell: &Shell, platform: &Platform, form: &WizardForm, stored: Option<&Campaign>) -> ApiResult<Summary> {
    let mut named = form.clone();
    if named.name.trim().is_empty() {
        // Without a name it can be looked at all the same.
        named.name = "–".into();
    }
    let (name, plan) = match named.plan(shell) {
        Ok(read) => read,
        Err(errors) => return Ok(Summary { mistakes: errors.into_values().collect(), ..Summary::default() }),
    };
    let mut summary = Summary {
        runs: runs(shell, &plan.schedule, 5),
        when: when::schedule(shell, &plan.schedule),
        choice: when::choice(shell, &plan.choice),
        goal: when::goal(shell, &plan.goal),
        ..Summary::default()
    };
    match campaign::reach(platform, &with_plan(shell, stored, &name, plan)).await {
        Ok(reach) => summary.reach = Some(reach_view(shell, &reach)),
        Err(error @ (campaign::CampaignError::Database(_) | campaign::CampaignError::Other(_))) => return Err(error.into()),
        Err(error) => summary.mistakes.push(said(shell, &error).1),
    }
    Ok(summary)
}

#[derive(Serialize)]
struct PartView {
    s: Summary,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Which {
    id: String,
}

/// The summary of a form as it is typed; nothing is kept.
pub async fn part(shell: Shell, platform: Data<Platform>, which: Query<Which>, body: Form<Vec<(String, String)>>) -> ApiResult {
    let stored = if which.id.is_empty() { None } else { Some(super::find(&platform.db, &which.id).await?) };
    let form = WizardForm::posted(&Fields(&body));
    let s = look(&shell, &platform, &form, stored.as_ref()).await?;
    shell.fragment("campaigns/summary.html", &PartView { s }, true)
}

/// Mistakes of a form, for who only wants those.
pub fn mistakes(errors: &Errors) -> Vec<String> {
    errors.values().cloned().collect()
}
