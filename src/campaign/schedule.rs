//! When: the next run of a schedule, and when a run reaches each person. All of it DST-safe, in named zones.

use chrono::{Datelike as _, Days, NaiveDate, NaiveTime, Weekday};
use chrono_tz::Tz;

use super::error::CampaignError;
use super::plan::{Hours, IfPast, Repeat, Schedule, SendWindow};
use crate::fault;
use crate::platform::clock::{HOUR_US, MINUTE_US};
use crate::platform::queue::schedule::next_fire;
use crate::platform::{Fault, Timestamp};

/// The zones furthest ahead of and behind UTC: a local hour strikes first 14 hours before UTC's and last 12 hours after it.
const EARLIEST_US: i64 = -14 * HOUR_US;
const LATEST_US: i64 = 12 * HOUR_US;
/// An hour that passed less than this ago has not passed: planning takes a moment.
const GRACE_US: i64 = 15 * MINUTE_US;

fn invalid<T>(field: &'static str, detail: impl Into<Fault>) -> Result<T, CampaignError> {
    Err(CampaignError::Invalid { field, detail: detail.into() })
}

/// When a local time of a date strikes in the zone furthest ahead (UTC+14): the run's instant.
fn first_strike(date: NaiveDate, time: NaiveTime) -> Timestamp {
    Timestamp::from_local(date.and_time(time), Tz::UTC).plus_us(EARLIEST_US)
}

/// The local date that a person-local run is about.
fn date_of(run_at: Timestamp) -> NaiveDate {
    run_at.plus_us(-EARLIEST_US).to_utc().date_naive()
}

impl Schedule {
    pub(super) fn check(&self) -> Result<(), CampaignError> {
        let positive = |runs: &Option<i64>| match runs {
            Some(n) if *n < 1 => invalid("schedule.max_runs", fault!("campaign.max_runs", "max_runs is at least 1")),
            _ => Ok(()),
        };
        match self {
            Self::Once { .. } => Ok(()),
            Self::Recurring { cron, time_zone, start, end, max_runs } => {
                positive(max_runs)?;
                if cron.chars().count() > 120 || cron.split_whitespace().count() != 5 {
                    return invalid(
                        "schedule.cron",
                        fault!("cron.fields", "the pattern has five fields: minute, hour, day of month, month, day of week"),
                    );
                }
                if let Err(why) = next_fire(cron, *time_zone, start.unwrap_or(Timestamp::MIN)) {
                    return invalid("schedule.cron", why);
                }
                match (start, end) {
                    (Some(start), Some(end)) if end < start => {
                        invalid("schedule.end", fault!("campaign.end", "the end lies before the start"))
                    }
                    _ => Ok(()),
                }
            }
            Self::PersonLocal { date, repeat, .. } => match (date, repeat) {
                (None, None) => invalid("schedule.date", fault!("campaign.date", "name a date, or how it repeats")),
                (Some(date), Some(Repeat { until: Some(until), .. })) if until < date => {
                    invalid("schedule.repeat.until", fault!("campaign.last_date", "the last date lies before the first"))
                }
                (_, Some(repeat)) => positive(&repeat.max_runs),
                (Some(_), None) => Ok(()),
            },
        }
    }

    /// The next run after `after` when `done` runs have been; `None` where there is none. The first run of a `once` may lie in the past:
    /// it is due at once.
    pub fn next_run(&self, after: Timestamp, done: i64) -> Result<Option<Timestamp>, CampaignError> {
        match self {
            Self::Once { at } => Ok((done == 0).then_some(*at)),
            Self::Recurring { cron, time_zone, start, end, max_runs } => {
                if max_runs.is_some_and(|max| done >= max) {
                    return Ok(None);
                }
                let after = start.map_or(after, |s| after.max(s.plus_secs(-1)));
                match next_fire(cron, *time_zone, after) {
                    Ok(at) => Ok(Some(at).filter(|at| end.is_none_or(|end| *at <= end))),
                    Err(why) => invalid("schedule.cron", why),
                }
            }
            Self::PersonLocal { time, date: Some(date), repeat: None, .. } => Ok((done == 0).then(|| first_strike(*date, *time))),
            Self::PersonLocal { time, date, repeat: Some(repeat), .. } => {
                if repeat.max_runs.is_some_and(|max| done >= max) {
                    return Ok(None);
                }
                let mut day = date_of(after).max(date.unwrap_or(NaiveDate::MIN));
                for _ in 0..15 {
                    if repeat.until.is_some_and(|until| day > until) {
                        return Ok(None);
                    }
                    let at = first_strike(day, *time);
                    if at > after && on_day(&repeat.weekdays, day.weekday()) {
                        return Ok(Some(at));
                    }
                    day = day.checked_add_days(Days::new(1)).unwrap_or(NaiveDate::MAX);
                }
                Ok(None)
            }
            Self::PersonLocal { date: None, repeat: None, .. } => Ok(None),
        }
    }

    /// The first run from `now` on, this very moment included.
    pub fn first_run(&self, now: Timestamp) -> Result<Option<Timestamp>, CampaignError> {
        self.next_run(now.plus_secs(-1), 0)
    }

    /// Whether a schedule that begins now can still reach anybody.
    pub fn check_start(&self, now: Timestamp) -> Result<(), CampaignError> {
        match self {
            Self::PersonLocal { time, date: Some(date), repeat: None, if_past: IfPast::Skip } => {
                let last = Timestamp::from_local(date.and_time(*time), Tz::UTC).plus_us(LATEST_US + GRACE_US);
                if last < now {
                    invalid("schedule.date", fault!("campaign.passed", "that hour of that date has passed everywhere"))
                } else {
                    Ok(())
                }
            }
            _ => match self.first_run(now)? {
                Some(_) => Ok(()),
                None => invalid("schedule", fault!("campaign.never", "this schedule never runs again: its end has passed")),
            },
        }
    }

    /// When a run meets a person, before quiet hours; `None`: the hour has passed for them, and they are left out.
    pub fn due(&self, run_at: Timestamp, zone: Tz, now: Timestamp) -> Option<Timestamp> {
        let Self::PersonLocal { time, repeat, if_past, .. } = self else { return Some(run_at.max(now)) };
        let date = date_of(run_at);
        let due = Timestamp::from_local(date.and_time(*time), zone);
        if due.plus_us(GRACE_US) >= now {
            return Some(due);
        }
        if repeat.is_some() || *if_past == IfPast::Skip {
            return None;
        }
        // The next day on which the hour is still ahead.
        let today = now.in_zone(zone).date_naive();
        [today, today.checked_add_days(Days::new(1))?]
            .into_iter()
            .map(|d| Timestamp::from_local(d.and_time(*time), zone))
            .find(|t| *t >= now)
    }

    /// The next run times from now on, for people to look at.
    pub fn preview(&self, now: Timestamp, n: usize) -> Result<Vec<Timestamp>, CampaignError> {
        let mut times = Vec::new();
        let mut after = now;
        while times.len() < n {
            let Some(at) = self.next_run(after, i64::try_from(times.len()).unwrap_or(i64::MAX))? else { break };
            times.push(at);
            after = at.max(after);
        }
        Ok(times)
    }
}

fn on_day(days: &[Weekday], day: Weekday) -> bool {
    days.is_empty() || days.contains(&day)
}

/// The first instant from `at` on that lies outside the quiet hours and inside the send window of a zone. `None` where there is none
/// within two weeks (the two exclude each other).
pub fn next_allowed(at: Timestamp, zone: Tz, quiet: Option<Hours>, window: Option<&SendWindow>) -> Option<Timestamp> {
    let limit = at.plus_days(15);
    let mut at = at;
    while at < limit {
        let local = at.in_zone(zone).naive_local();
        if let Some(quiet) = quiet.filter(|q| q.contain(local.time())) {
            at = next_time(at, quiet.to, zone)?;
            continue;
        }
        match window {
            Some(window) if !open(window, local) => at = next_time(at, window.hours.from, zone)?,
            _ => return Some(at),
        }
    }
    None
}

fn open(window: &SendWindow, local: chrono::NaiveDateTime) -> bool {
    let time = local.time();
    if !window.hours.contain(time) {
        return false;
    }
    let over_midnight = window.hours.from > window.hours.to && time < window.hours.to;
    let day = if over_midnight { local.weekday().pred() } else { local.weekday() };
    on_day(&window.weekdays, day)
}

/// The next instant after `at` at which a zone's clock shows `time`.
fn next_time(at: Timestamp, time: NaiveTime, zone: Tz) -> Option<Timestamp> {
    let today = at.in_zone(zone).date_naive();
    (0..3).filter_map(|n| today.checked_add_days(Days::new(n))).map(|day| Timestamp::from_local(day.and_time(time), zone)).find(|t| *t > at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::{America, Asia, Australia, Europe, Pacific};

    fn t(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("time")
    }
    fn hm(text: &str) -> NaiveTime {
        NaiveTime::parse_from_str(text, "%H:%M").expect("time")
    }
    fn day(text: &str) -> NaiveDate {
        text.parse().expect("date")
    }
    fn daily(cron: &str, time_zone: Tz) -> Schedule {
        Schedule::Recurring { cron: cron.into(), time_zone, start: None, end: None, max_runs: None }
    }

    #[test]
    fn half_past_two_in_berlin_runs_once_in_both_change_nights() {
        let schedule = daily("30 2 * * *", Europe::Berlin);
        let spring = schedule.preview(t("2026-03-27T12:00:00Z"), 4).expect("times");
        assert_eq!(spring[0], t("2026-03-28T01:30:00Z"));
        assert!((t("2026-03-29T01:00:00Z")..=t("2026-03-29T01:30:00Z")).contains(&spring[1]), "{}", spring[1]);
        assert_eq!(spring[2..], [t("2026-03-30T00:30:00Z"), t("2026-03-31T00:30:00Z")]);
        let autumn = schedule.preview(t("2026-10-23T12:00:00Z"), 4).expect("times");
        assert_eq!(autumn[0], t("2026-10-24T00:30:00Z"));
        assert!([t("2026-10-25T00:30:00Z"), t("2026-10-25T01:30:00Z")].contains(&autumn[1]), "{}", autumn[1]);
        assert_eq!(autumn[2..], [t("2026-10-26T01:30:00Z"), t("2026-10-27T01:30:00Z")]);
    }

    #[test]
    fn starts_ends_and_counts_are_kept() {
        let schedule = Schedule::Recurring {
            cron: "0 9 * * *".into(),
            time_zone: Tz::UTC,
            start: Some(t("2026-01-02T09:00:00Z")),
            end: Some(t("2026-01-04T09:00:00Z")),
            max_runs: None,
        };
        let all = schedule.preview(t("2026-01-01T00:00:00Z"), 10).expect("times");
        assert_eq!(all, ["2026-01-02T09:00:00Z", "2026-01-03T09:00:00Z", "2026-01-04T09:00:00Z"].map(t));
        assert!(schedule.check_start(t("2026-01-05T00:00:00Z")).is_err());
        let Schedule::Recurring { cron, time_zone, start, end, .. } = schedule else { unreachable!() };
        let twice = Schedule::Recurring { cron, time_zone, start, end, max_runs: Some(2) };
        assert_eq!(twice.preview(t("2026-01-01T00:00:00Z"), 10).expect("times").len(), 2);
    }

    #[test]
    fn a_local_hour_comes_at_each_persons_own_time() {
        let schedule = Schedule::PersonLocal { time: hm("09:30"), date: Some(day("2026-03-10")), repeat: None, if_past: IfPast::NextDay };
        let now = t("2026-03-01T00:00:00Z");
        let run = schedule.next_run(now, 0).expect("valid").expect("runs");
        assert_eq!(run, t("2026-03-09T19:30:00Z"));
        for (zone, due) in [
            (Tz::UTC, "2026-03-10T09:30:00Z"),
            (Asia::Kolkata, "2026-03-10T04:00:00Z"),
            (Asia::Kathmandu, "2026-03-10T03:45:00Z"),
            (Australia::Adelaide, "2026-03-09T23:00:00Z"),
            (America::St_Johns, "2026-03-10T12:00:00Z"),
            (Pacific::Kiritimati, "2026-03-09T19:30:00Z"),
            (Pacific::Pago_Pago, "2026-03-10T20:30:00Z"),
        ] {
            assert_eq!(schedule.due(run, zone, run), Some(t(due)), "{zone}");
            assert!(t(due) >= run, "planned before it strikes anywhere");
        }
        assert_eq!(schedule.next_run(run, 1).expect("valid"), None);
    }

    #[test]
    fn whose_hour_has_passed_waits_a_day_or_is_left_out() {
        let at = |if_past| Schedule::PersonLocal { time: hm("09:00"), date: Some(day("2026-03-10")), repeat: None, if_past };
        let run = t("2026-03-09T19:00:00Z");
        let late = t("2026-03-10T12:00:00Z");
        assert_eq!(at(IfPast::NextDay).due(run, Tz::UTC, late), Some(t("2026-03-11T09:00:00Z")));
        assert_eq!(at(IfPast::Skip).due(run, Tz::UTC, late), None);
        assert_eq!(at(IfPast::Skip).due(run, America::New_York, late), Some(t("2026-03-10T13:00:00Z")));
        // A moment late is not late.
        assert_eq!(at(IfPast::Skip).due(run, Tz::UTC, t("2026-03-10T09:10:00Z")), Some(t("2026-03-10T09:00:00Z")));
        assert!(at(IfPast::Skip).check_start(t("2026-03-12T00:00:00Z")).is_err());
        assert!(at(IfPast::NextDay).check_start(t("2026-03-12T00:00:00Z")).is_ok());
    }

    #[test]
    fn a_weekly_local_hour_keeps_its_weekday_and_crosses_clock_changes() {
        let repeat = Repeat { weekdays: vec![Weekday::Sun], until: Some(day("2026-04-05")), max_runs: None };
        let schedule = Schedule::PersonLocal { time: hm("02:30"), date: None, repeat: Some(repeat), if_past: IfPast::NextDay };
        let runs = schedule.preview(t("2026-03-16T00:00:00Z"), 9).expect("times");
        assert_eq!(runs, ["2026-03-21T12:30:00Z", "2026-03-28T12:30:00Z", "2026-04-04T12:30:00Z"].map(t));
        let due: Vec<_> = runs.iter().filter_map(|run| schedule.due(*run, Europe::Berlin, *run)).collect();
        // 02:30 does not exist in Berlin on 29 March 2026: right after the gap.
        assert_eq!(due, ["2026-03-22T01:30:00Z", "2026-03-29T01:00:00Z", "2026-04-05T00:30:00Z"].map(t));
    }

    #[test]
    fn quiet_hours_and_windows_put_off_to_the_first_allowed_minute() {
        let quiet = Some(Hours { from: hm("21:00"), to: hm("08:00") });
        let berlin = Europe::Berlin;
        assert_eq!(next_allowed(t("2026-01-15T21:30:00Z"), berlin, quiet, None), Some(t("2026-01-16T07:00:00Z")));
        assert_eq!(next_allowed(t("2026-01-15T12:00:00Z"), berlin, quiet, None), Some(t("2026-01-15T12:00:00Z")));
        let office = SendWindow { hours: Hours { from: hm("10:00"), to: hm("16:00") }, weekdays: vec![Weekday::Mon, Weekday::Tue] };
        // 2026-01-15 is a Thursday.
        assert_eq!(next_allowed(t("2026-01-15T12:00:00Z"), Tz::UTC, quiet, Some(&office)), Some(t("2026-01-19T10:00:00Z")));
        let never = SendWindow { hours: Hours { from: hm("22:00"), to: hm("23:00") }, weekdays: vec![] };
        assert_eq!(next_allowed(t("2026-01-15T12:00:00Z"), Tz::UTC, quiet, Some(&never)), None);
        // Quiet until 02:30 in the night in which 02:30 does not exist.
        let night = Some(Hours { from: hm("00:00"), to: hm("02:30") });
        assert_eq!(next_allowed(t("2026-03-28T23:30:00Z"), berlin, night, None), Some(t("2026-03-29T01:00:00Z")));
    }
}
