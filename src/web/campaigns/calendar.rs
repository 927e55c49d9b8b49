//! The calendar: what ran and what will run, by month or week, in the viewer's zone. Recurring campaigns are unfolded.

use std::collections::{BTreeMap, HashMap};

use actix_web::web::{Data, Query};
use chrono::{Datelike as _, Days, Months, NaiveDate};
use serde::{Deserialize, Serialize};

use super::{tone, when};
use crate::campaign::{self, Campaign, RunStatus, Schedule, Status};
use crate::platform::clock::HOUR_US;
use crate::platform::http::ApiResult;
use crate::platform::ids::CampaignId;
use crate::platform::{Platform, Timestamp};
use crate::web::page::Shell;

/// Past runs read for one page, and campaigns whose coming runs are unfolded.
const MAX_RUNS: i64 = 2_000;
const MAX_COMING: i64 = 500;
/// Coming runs of one campaign on one page: an hourly one fills a month.
const MAX_UNFOLDED: usize = 800;
/// Entries shown per day before the rest is counted.
const MOST_A_DAY: usize = 6;

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct CalendarQuery {
    view: String,
    /// A day within the week or month.
    at: String,
}

#[derive(Clone, Debug, Serialize)]
struct Entry {
    id: String,
    name: String,
    /// `14:05`; for runs at people's own hour that hour.
    time: String,
    /// The hour is each person's own.
    own_clock: bool,
    channel: &'static str,
    /// `past`, `coming`, `planning`, `cancelled` or `paused`.
    state: &'static str,
    tone: &'static str,
    people: Option<i64>,
    #[serde(skip)]
    at: Timestamp,
}

#[derive(Serialize)]
struct Day {
    date: String,
    /// The day of the month.
    n: u32,
    label: String,
    weekday: String,
    today: bool,
    /// Of the month that is shown.
    inside: bool,
    entries: Vec<Entry>,
    more: i64,
}

#[derive(Serialize)]
struct CalendarView {
    view: &'static str,
    heading: String,
    weeks: Vec<Vec<Day>>,
    names: Vec<String>,
    before: String,
    after: String,
    today: String,
    month_link: String,
    week_link: String,
    empty: bool,
}

/// The days shown, the first of the span that is meant, and what lies before and after it.
struct Span {
    first: NaiveDate,
    days: u64,
    before: NaiveDate,
    after: NaiveDate,
    /// The month shown; `None` for a week.
    month: Option<u32>,
}

fn monday(day: NaiveDate) -> NaiveDate {
    day.checked_sub_days(Days::new(u64::from(day.weekday().num_days_from_monday()))).unwrap_or(day)
}

fn span(view: &str, at: NaiveDate) -> Span {
    if view == "week" {
        let first = monday(at);
        let step = |n: i64| first.checked_add_signed(chrono::Duration::days(n)).unwrap_or(first);
        return Span { first, days: 7, before: step(-7), after: step(7), month: None };
    }
    let start = at.with_day(1).unwrap_or(at);
    let next = start.checked_add_months(Months::new(1)).unwrap_or(start);
    let first = monday(start);
    let length = (next - first).num_days();
    let days = u64::try_from((length + 6) / 7 * 7).unwrap_or(42);
    Span { first, days, before: start.checked_sub_months(Months::new(1)).unwrap_or(start), after: next, month: Some(start.month()) }
}

/// The date and hour under which a run stands. A run at people's own hour stands under the date and hour that are meant.
fn place(schedule: Option<&Schedule>, at: Timestamp, zone: chrono_tz::Tz) -> (NaiveDate, String, bool) {
    match schedule {
        Some(Schedule::PersonLocal { time, .. }) => {
            let there = at.plus_us(14 * HOUR_US).to_utc().date_naive();
            (there, time.format("%H:%M").to_string(), true)
        }
        _ => {
            let local = at.in_zone(zone);
            (local.date_naive(), local.format("%H:%M").to_string(), false)
        }
    }
}

/// The coming runs of a campaign in a span.
fn unfold(c: &Campaign, done: i64, now: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let Some(next) = c.next_run_at else { return Vec::new() };
    let (mut times, mut at) = (Vec::new(), next);
    loop {
        if at >= to || times.len() >= MAX_UNFOLDED {
            return times;
        }
        times.push(at);
        let runs = done + i64::try_from(times.len()).unwrap_or(0);
        match c.plan.schedule.next_run(at.max(now), runs) {
            Ok(Some(after)) if after > at => at = after,
            _ => return times,
        }
    }
}

async fn entries(shell: &Shell, platform: &Platform, from: Timestamp, to: Timestamp) -> ApiResult<BTreeMap<NaiveDate, Vec<Entry>>> {
    let (db, reader) = (&platform.db, shell.reader());
    // A day of air at both ends: runs at people's own hour stand under another date.
    let (wide_from, wide_to) = (from.plus_days(-1), to.plus_days(1));
    let runs = campaign::runs_between(db, wide_from, wide_to, MAX_RUNS).await?;
    let ids: Vec<CampaignId> = runs.iter().map(|r| r.campaign_id).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    let known = campaign::get_many(db, &ids).await?;
    let mut days: BTreeMap<NaiveDate, Vec<Entry>> = BTreeMap::new();
    for run in runs {
        let Some(c) = known.get(&run.campaign_id) else { continue };
        let (date, time, own_clock) = place(Some(&c.plan.schedule), run.scheduled_at, reader.zone);
        let (state, tone) = match run.status {
            RunStatus::Planned => ("past", ""),
            RunStatus::Planning => ("planning", "info"),
            RunStatus::Cancelled => ("cancelled", ""),
        };
        days.entry(date).or_default().push(Entry {
            id: c.id.to_string(),
            name: c.name.clone(),
            time,
            own_clock,
            channel: c.plan.channel.as_str(),
            state,
            tone,
            people: Some(run.planned),
            at: run.scheduled_at,
        });
    }
    let coming = campaign::coming(db, wide_to, MAX_COMING).await?;
    let mut done: HashMap<CampaignId, i64> = HashMap::new();
    for c in &coming {
        done.insert(c.id, campaign::run_count(db, c.id).await?);
    }
    for c in coming {
        for at in unfold(&c, done.get(&c.id).copied().unwrap_or(0), reader.now, wide_to) {
            if at < wide_from {
                continue;
            }
            let (date, time, own_clock) = place(Some(&c.plan.schedule), at, reader.zone);
            let paused = c.status == Status::Paused;
            days.entry(date).or_default().push(Entry {
                id: c.id.to_string(),
                name: c.name.clone(),
                time,
                own_clock,
                channel: c.plan.channel.as_str(),
                state: if paused { "paused" } else { "coming" },
                tone: if paused { "warn" } else { tone(Status::Scheduled) },
                people: None,
                at,
            });
        }
    }
    for list in days.values_mut() {
        list.sort_by(|a, b| (a.at, &a.name).cmp(&(b.at, &b.name)));
    }
    Ok(days)
}

pub async fn page(shell: Shell, platform: Data<Platform>, query: Query<CalendarQuery>) -> ApiResult {
    let reader = shell.reader();
    let today = reader.now.in_zone(reader.zone).date_naive();
    let view = if query.view == "week" { "week" } else { "month" };
    let at = query.at.parse::<NaiveDate>().ok().filter(|d| (1970..=9000).contains(&d.year())).unwrap_or(today);
    let span = span(view, at);
    let day = |n: u64| span.first.checked_add_days(Days::new(n)).unwrap_or(span.first);
    let from = Timestamp::from_date(span.first, reader.zone);
    let to = Timestamp::from_date(day(span.days), reader.zone);
    let mut found = entries(&shell, &platform, from, to).await?;
    let weekday = |d: NaiveDate| shell.say(&format!("weekday.{}", d.weekday().to_string().to_lowercase()));
    let (mut weeks, mut shown) = (Vec::new(), 0);
    for week in 0..span.days / 7 {
        let mut row = Vec::with_capacity(7);
        for n in 0..7 {
            let date = day(week * 7 + n);
            let mut entries = found.remove(&date).unwrap_or_default();
            shown += entries.len();
            let most = if view == "week" { 60 } else { MOST_A_DAY };
            let more = entries.len().saturating_sub(most);
            entries.truncate(most);
            row.push(Day {
                n: date.day(),
                label: when::day(&shell, date),
                weekday: weekday(date),
                today: date == today,
                inside: span.month.is_none_or(|m| m == date.month()),
                date: date.to_string(),
                entries,
                more: i64::try_from(more).unwrap_or(0),
            });
        }
        weeks.push(row);
    }
    let link = |view: &str, at: NaiveDate| format!("/campaigns/calendar?view={view}&at={at}");
    let heading = match span.month {
        Some(month) => shell
            .say_with("calendar.month_of", &[("month", shell.say(&format!("calendar.month.{month}"))), ("year", at.year().to_string())]),
        None => format!("{} – {}", when::day(&shell, span.first), when::day(&shell, day(6))),
    };
    let view = CalendarView {
        names: (0..7).map(|n| weekday(day(n))).collect(),
        before: link(view, span.before),
        after: link(view, span.after),
        today: link(view, today),
        month_link: link("month", at),
        week_link: link("week", at),
        empty: shown == 0,
        heading,
        weeks,
        view,
    };
    shell.render("campaigns/calendar.html", shell.say("calendar.title"), &view)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("date")
    }

    #[test]
    fn months_are_whole_weeks_from_monday() {
        let month = span("month", day("2026-02-17"));
        assert_eq!((month.first, month.days, month.month), (day("2026-01-26"), 35, Some(2)));
        assert_eq!((month.before, month.after), (day("2026-01-01"), day("2026-03-01")));
        // March 2027 begins on a Monday, February 2027 is exactly four weeks.
        assert_eq!(span("month", day("2027-02-10")).days, 28);
        let week = span("week", day("2026-03-01"));
        assert_eq!((week.first, week.days, week.before), (day("2026-02-23"), 7, day("2026-02-16")));
    }

    #[test]
    fn a_run_at_peoples_own_hour_stands_under_the_date_that_is_meant() {
        let schedule: Schedule = serde_json::from_str(r#"{"kind":"person_local","time":"09:30","date":"2026-03-10"}"#).expect("schedule");
        let at = Timestamp::parse("2026-03-09T19:30:00Z").expect("time");
        let (date, time, own) = place(Some(&schedule), at, chrono_tz::America::New_York);
        assert_eq!((date, time.as_str(), own), (day("2026-03-10"), "09:30", true));
        let (date, time, own) = place(None, at, chrono_tz::Asia::Tokyo);
        assert_eq!((date, time.as_str(), own), (day("2026-03-10"), "04:30", false));
    }
}
