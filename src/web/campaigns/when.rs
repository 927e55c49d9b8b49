//! When, which products, what counts: a plan in words.

use chrono::Weekday;

use super::super::page::Shell;
use super::super::{format, words};
use crate::campaign::{Choice, Goal, Schedule};
use crate::platform::{Money, Timestamp};

fn weekday(shell: &Shell, day: Weekday) -> String {
    shell.say(&format!("weekday.{}", day.to_string().to_lowercase()))
}

/// A list of days: `Mon, Wed`.
fn weekdays(shell: &Shell, days: &[Weekday]) -> String {
    days.iter().map(|d| weekday(shell, *d)).collect::<Vec<_>>().join(", ")
}

/// A schedule in a sentence, its zone named.
pub fn schedule(shell: &Shell, schedule: &Schedule) -> String {
    let reader = shell.reader();
    match schedule {
        Schedule::Once { at } => shell.say_with("campaigns.when.once", &[("at", format::time(*at, reader))]),
        Schedule::Recurring { cron, time_zone, end, max_runs, .. } => {
            let mut text = words::cron(cron, *time_zone, shell.locale());
            if let Some(end) = end {
                text.push_str(&shell.say_with("campaigns.when.until", &[("at", format::date(*end, reader))]));
            }
            if let Some(n) = max_runs {
                text.push_str(&shell.say_with("campaigns.when.at_most", &[("n", n.to_string())]));
            }
            text
        }
        Schedule::PersonLocal { time, date, repeat, .. } => {
            let at = time.format("%H:%M").to_string();
            let mut text = match repeat {
                None => {
                    let date = date.map(|d| day(shell, d)).unwrap_or_default();
                    shell.say_with("campaigns.when.local_once", &[("at", at), ("date", date)])
                }
                Some(repeat) if repeat.weekdays.is_empty() => shell.say_with("campaigns.when.local_daily", &[("at", at)]),
                Some(repeat) => shell.say_with("campaigns.when.local_weekly", &[("at", at), ("days", weekdays(shell, &repeat.weekdays))]),
            };
            if let Some(until) = repeat.as_ref().and_then(|r| r.until) {
                text.push_str(&shell.say_with("campaigns.when.until", &[("at", day(shell, until))]));
            }
            if let Some(n) = repeat.as_ref().and_then(|r| r.max_runs) {
                text.push_str(&shell.say_with("campaigns.when.at_most", &[("n", n.to_string())]));
            }
            text
        }
    }
}

/// A calendar day as dates are written elsewhere.
pub fn day(shell: &Shell, date: chrono::NaiveDate) -> String {
    let reader = shell.reader();
    format::date(Timestamp::from_date(date, reader.zone).plus_us(crate::platform::clock::HOUR_US), reader)
}

/// Which products, in a sentence.
pub fn choice(shell: &Shell, choice: &Choice) -> String {
    let currency = shell.inner.platform.config.shop.currency;
    let money = |minor: i64| format::money(Money::new(minor, currency));
    let mut parts = vec![shell.say_with("campaigns.choice.products", &[("n", choice.products.to_string())])];
    let few = |list: &[String]| {
        let shown = list.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        if list.len() > 3 { format!("{shown} +{}", list.len() - 3) } else { shown }
    };
    for (list, key) in [
        (&choice.categories, "campaigns.choice.categories"),
        (&choice.brands, "campaigns.choice.brands"),
        (&choice.skus, "campaigns.choice.skus"),
    ] {
        if !list.is_empty() {
            parts.push(shell.say_with(key, &[("list", few(list))]));
        }
    }
    if choice.on_sale {
        parts.push(shell.say("campaigns.choice.on_sale"));
    }
    if let Some(low) = choice.min_price_minor {
        parts.push(shell.say_with("campaigns.choice.from", &[("price", money(low))]));
    }
    if let Some(high) = choice.max_price_minor {
        parts.push(shell.say_with("campaigns.choice.to", &[("price", money(high))]));
    }
    parts.join(" · ")
}

/// What counts as success, in a sentence.
pub fn goal(shell: &Shell, goal: &Goal) -> String {
    let what = shell.say(&format!("campaign.goal.{}", goal.kind));
    let (n, unit) =
        if goal.window_hours % 24 == 0 { (goal.window_hours / 24, "campaigns.days") } else { (goal.window_hours, "campaigns.hours") };
    shell.say_with("campaigns.goal_within", &[("goal", what), ("span", shell.say_with(unit, &[("n", n.to_string())]))])
}

/// `12.5 %` of basis points.
pub fn basis_points(bp: i64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "at most 10,000")]
    format::percent(bp as f64 / 10_000.0)
}
