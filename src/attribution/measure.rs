//! Lift measured on the database: treated against held out, of one campaign or of everything.
//!
//! Intention to treat: everybody who passed the same checks at the claim, whether the mail arrived or not. A person counts once, from their first
//! due time in the campaign; the past that CUPED uses lies before it.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::campaign::{self, CampaignError, GoalKind};
use crate::platform::Platform;
use crate::platform::clock::{DAY_US, Timestamp};
use crate::platform::ids::{CampaignId, PersonId};
use crate::platform::money::{Currency, Money};

use super::lift::{Lift, Outcome, estimate};
use super::store::{self, Measure, Span, SubjectRow};

/// The past is at least this long, whatever the window: a longer one tells more of a person's habits.
const PAST_US: i64 = 90 * DAY_US;

#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    #[error(transparent)]
    Campaign(#[from] CampaignError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Lift in one unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiftIn {
    /// A currency (amounts are in its minor units), `people` (who visited), `days` (active) or `shares`.
    pub unit: String,
    #[serde(flatten)]
    pub lift: Lift,
    /// The finding in a sentence.
    pub words: String,
}

/// A measured lift, and the question that it answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MeasuredLift {
    #[schema(value_type = Option<String>)]
    pub campaign: Option<CampaignId>,
    /// What this answers, and what not.
    pub question: String,
    #[schema(value_type = String, format = DateTime)]
    pub as_of: Timestamp,
    /// Length of each person's window in microseconds; of the whole experiment where it ran more than once.
    pub window_us: i64,
    /// Share of people whose window is over.
    pub complete_share: f64,
    /// People left out because two profiles of both arms turned out to be one person.
    pub mixed: usize,
    /// The shop's currency (or the goal) first, then other currencies in which something was bought. They are not added up.
    pub results: Vec<LiftIn>,
}

impl MeasuredLift {
    /// The result in the shop's currency, or in the campaign's goal.
    pub fn main(&self) -> &Lift {
        &self.results[0].lift
    }
}

/// What a campaign (`None`: all marketing) added. `outcome`: revenue or engagement; `None`: the campaign's own goal, of all marketing revenue.
pub async fn lift(
    platform: &Platform,
    campaign: Option<CampaignId>,
    outcome: Option<GoalKind>,
    as_of: Timestamp,
) -> Result<MeasuredLift, MeasureError> {
    let Some(id) = campaign else {
        let question = "What did all campaigns together add, against leaving people alone?".to_owned();
        return measure(platform, None, outcome.unwrap_or(GoalKind::Orders), None, as_of, question).await;
    };
    let campaign = campaign::get(&platform.db, id).await?;
    let goal = outcome.unwrap_or(campaign.plan.goal.kind);
    let question =
        format!("What did the campaign “{}” add, given everything else the shop did? Lifts of campaigns do not add up.", campaign.name);
    measure(platform, Some(id), goal, Some(campaign.window_us()), as_of, question).await
}

/// What a campaign added to its own goal, given everything else that the shop does.
pub async fn campaign_lift(platform: &Platform, id: CampaignId, as_of: Timestamp) -> Result<MeasuredLift, MeasureError> {
    lift(platform, Some(id), None, as_of).await
}

/// What all marketing added: people of the global holdout against everybody else, from the day each was assigned.
pub async fn global_lift(platform: &Platform, as_of: Timestamp) -> Result<MeasuredLift, MeasureError> {
    lift(platform, None, None, as_of).await
}

async fn measure(
    platform: &Platform,
    campaign: Option<CampaignId>,
    goal: GoalKind,
    window: Option<i64>,
    as_of: Timestamp,
    question: String,
) -> Result<MeasuredLift, MeasureError> {
    let db = &platform.db;
    let mut subjects = store::subjects(db, campaign, as_of).await?;
    let all = subjects.len();
    subjects.retain(|s| s.lowest == s.highest);
    let mixed = all - subjects.len();
    let first = subjects.iter().map(|s| s.first_due).min().unwrap_or(as_of);
    let last = subjects.iter().map(|s| s.last_due).max().unwrap_or(as_of);
    // One end for all where people were contacted several times: how often is itself an effect of the campaign, so it may not move the window.
    let repeated = subjects.iter().any(|s| s.runs > 1);
    let end = match window {
        Some(length) if !repeated => Err(length),
        Some(length) => Ok(last.plus_us(length)),
        None => Ok(as_of.plus_us(1)),
    };
    let window_us = end.map_or_else(|length| length, |end| end.since(first));
    let span = Span { as_of, end, past_us: window_us.max(PAST_US) };
    let ends = |s: &SubjectRow| end.unwrap_or_else(|length| s.first_due.plus_us(length));
    let done = subjects.iter().filter(|s| ends(s) <= as_of.plus_us(1)).count();

    let kind = match goal {
        GoalKind::Orders => Measure::Revenue,
        GoalKind::Visit | GoalKind::DaysActive => Measure::Days,
        GoalKind::Share => Measure::Shares,
    };
    let mut by_unit: BTreeMap<String, HashMap<PersonId, (i64, i64)>> = BTreeMap::new();
    for sum in store::sums(db, campaign, kind, span).await? {
        by_unit.entry(sum.unit).or_default().insert(sum.person_id, (sum.y, sum.x));
    }
    let home = match goal {
        GoalKind::Orders => platform.config.shop.currency.code(),
        GoalKind::Share => "shares",
        GoalKind::Visit | GoalKind::DaysActive => "days",
    };
    let home_sums = by_unit.remove(home).unwrap_or_default();
    // A currency in which people only bought before is no outcome.
    by_unit.retain(|_, sums| sums.values().any(|(y, _)| *y != 0));
    let mut results = Vec::new();
    for (unit, sums) in std::iter::once((home.to_owned(), home_sums)).chain(by_unit) {
        let (treated, held) = outcomes(&subjects, &sums, goal);
        let lift = estimate(&treated, &held);
        let unit = if goal == GoalKind::Visit { "people".to_owned() } else { unit };
        let words = words(&lift, &unit);
        results.push(LiftIn { unit, lift, words });
    }
    #[allow(clippy::cast_precision_loss, reason = "a share")]
    let complete_share = if subjects.is_empty() { 0.0 } else { done as f64 / subjects.len() as f64 };
    Ok(MeasuredLift { campaign, question, as_of, window_us, complete_share, mixed, results })
}

#[allow(clippy::cast_precision_loss, reason = "money and counts per person stay far below 2^53")]
fn outcomes(subjects: &[SubjectRow], sums: &HashMap<PersonId, (i64, i64)>, goal: GoalKind) -> (Vec<Outcome>, Vec<Outcome>) {
    let (mut treated, mut held) = (Vec::new(), Vec::new());
    for subject in subjects {
        let (y, x) = sums.get(&subject.person_id).copied().unwrap_or_default();
        // A visit happens or not; how often somebody came before still tells something.
        let y = if goal == GoalKind::Visit { y.min(1) } else { y };
        let arm = if subject.lowest == "ghost" { &mut held } else { &mut treated };
        arm.push(Outcome { y: y as f64, x: x as f64 });
    }
    (treated, held)
}

/// An amount of a unit in words.
fn amount(value: f64, unit: &str) -> String {
    #[allow(clippy::cast_possible_truncation, reason = "saturates, and is for reading only")]
    let whole = value.round() as i64;
    match unit.parse::<Currency>() {
        Ok(currency) if unit.len() == 3 => Money::new(whole, currency).to_string(),
        _ => format!("{whole} {unit}"),
    }
}

/// The finding in a sentence; below power, how many people are missing, instead of a number.
fn words(lift: &Lift, unit: &str) -> String {
    let people = format!("{} people treated, {} held out", lift.n_treated, lift.n_held);
    if lift.n_held == 0 {
        return format!("Nobody was held out ({people}), so nothing can be said about what would have happened anyway.");
    }
    if !lift.ci95_low.is_finite() {
        return format!("Too little has happened to say anything ({people}).");
    }
    let range = format!("{} to {}", amount(lift.ci95_low, unit), amount(lift.ci95_high, unit));
    if lift.found() {
        let direction = if lift.incremental_total >= 0.0 { "added" } else { "took away" };
        let watched =
            if lift.found_at_any_look() { "" } else { " If you watch this daily, wait: the always-valid interval still includes zero." };
        return format!("It {direction} {} (95 %: {range}; {people}).{watched}", amount(lift.incremental_total.abs(), unit));
    }
    match lift.more_people_needed {
        Some(more) if more > 0 => format!(
            "Not enough people to tell: about {more} more (at this split) would show a change of 10 %. The effect lies between {range} ({people})."
        ),
        _ => format!("No effect was found: it lies between {range} ({people})."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_said_in_words() {
        let arm = |y: f64, n: usize| (0..n).map(|i| Outcome { y: if i % 3 == 0 { y } else { 0.0 }, x: 0.0 }).collect::<Vec<_>>();
        let say = |t: &[Outcome], h: &[Outcome]| words(&estimate(t, h), "EUR");
        assert!(say(&arm(1000.0, 900), &arm(500.0, 900)).starts_with("It added €1500.00 (95 %: €"));
        assert!(say(&arm(500.0, 900), &arm(1000.0, 900)).starts_with("It took away €1500.00"));
        assert!(say(&arm(500.0, 60), &arm(500.0, 60)).starts_with("Not enough people to tell: about "));
        assert!(say(&arm(500.0, 60), &[]).starts_with("Nobody was held out"));
        assert!(say(&arm(0.0, 60), &arm(0.0, 60)).starts_with("Too little has happened"));
        assert!(say(&arm(500.0, 60_000), &arm(500.0, 60_000)).starts_with("No effect was found"));
    }
}
