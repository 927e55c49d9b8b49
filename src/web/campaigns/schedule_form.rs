//! When, as it is typed: seven kinds that cover every schedule, from the simplest to a cron pattern.

use chrono::{NaiveTime, Weekday};
use serde::Serialize;

use super::super::page::Shell;
use super::form::{Fields, local};
use super::read::Reading;
use crate::campaign::{IfPast, Repeat, Schedule};
use crate::platform::Timestamp;

/// The kinds, as radio buttons name them.
pub const KINDS: [&str; 6] = ["once", "weekly", "monthly", "cron", "local_once", "local_weekly"];

const WEEK: [Weekday; 7] = [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];

#[derive(Clone, Debug, Default, Serialize)]
pub struct ScheduleForm {
    pub when: String,
    pub date: String,
    pub time: String,
    pub zone: String,
    pub days: Vec<String>,
    pub month_day: String,
    pub cron: String,
    pub until: String,
    pub max_runs: String,
    pub if_past: String,
}

/// A day of the week as a check box.
#[derive(Clone, Debug, Serialize)]
pub struct Days {
    pub value: String,
    pub label: String,
}

/// `mon`.
pub fn word(day: Weekday) -> String {
    day.to_string().to_lowercase()
}

pub fn days(shell: &Shell) -> Vec<Days> {
    WEEK.iter().map(|d| Days { value: word(*d), label: shell.say(&format!("weekday.{}", word(*d))) }).collect()
}

fn weekdays(list: &[String]) -> Vec<Weekday> {
    WEEK.into_iter().filter(|d| list.iter().any(|l| l.eq_ignore_ascii_case(&word(*d)))).collect()
}

/// `30 9 * * 1,3`, `0 10 5 * *` as what the simple kinds mean: time, weekdays, day of the month.
fn simple(cron: &str) -> Option<(NaiveTime, Vec<Weekday>, Option<u32>)> {
    let parts: Vec<&str> = cron.split_whitespace().collect();
    let [minute, hour, day, "*", weekday] = parts.as_slice() else { return None };
    let time = NaiveTime::from_hms_opt(hour.parse().ok()?, minute.parse().ok()?, 0)?;
    match (*day, *weekday) {
        ("*", "*") => Some((time, Vec::new(), None)),
        (day, "*") => Some((time, Vec::new(), Some(day.parse().ok().filter(|d| (1..=31).contains(d))?))),
        ("*", list) => {
            let one = |word: &str| -> Option<Weekday> {
                match word.parse::<usize>() {
                    Ok(n) if n <= 7 => Some(WEEK[(n + 6) % 7]),
                    Ok(_) => None,
                    Err(_) => word.parse().ok(),
                }
            };
            Some((time, list.split(',').map(one).collect::<Option<Vec<_>>>()?, None))
        }
        _ => None,
    }
}

impl ScheduleForm {
    pub fn posted(f: &Fields<'_>) -> Self {
        Self {
            when: f.one("when"),
            date: f.one("date"),
            time: f.one("time"),
            zone: f.one("zone"),
            days: f.all("days"),
            month_day: f.one("month_day"),
            cron: f.one("cron"),
            until: f.one("until"),
            max_runs: f.one("max_runs"),
            if_past: f.one("if_past"),
        }
    }

    /// A stored schedule as it would be typed; what it does not say comes from `fresh`.
    pub fn of(schedule: &Schedule, fresh: Self) -> Self {
        let hm = |t: NaiveTime| t.format("%H:%M").to_string();
        let list = |d: &[Weekday]| d.iter().map(|d| word(*d)).collect();
        match schedule {
            Schedule::Once { at } => {
                let zone = fresh.zone.parse().unwrap_or(chrono_tz::Tz::UTC);
                let (date, time) = local(*at, zone);
                Self { when: "once".into(), date, time, ..fresh }
            }
            Schedule::Recurring { cron, time_zone, start, end, max_runs } => {
                let day = |t: Option<Timestamp>| t.map(|t| local(t, *time_zone).0).unwrap_or_default();
                let rest = Self {
                    zone: time_zone.name().into(),
                    cron: cron.clone(),
                    date: day(*start),
                    // The end is the last instant of its day.
                    until: day(*end),
                    max_runs: max_runs.map(|n| n.to_string()).unwrap_or_default(),
                    ..fresh
                };
                match simple(cron) {
                    Some((time, _, Some(day))) => Self { when: "monthly".into(), time: hm(time), month_day: day.to_string(), ..rest },
                    Some((time, weekdays, None)) => Self { when: "weekly".into(), time: hm(time), days: list(&weekdays), ..rest },
                    None => Self { when: "cron".into(), ..rest },
                }
            }
            Schedule::PersonLocal { time, date, repeat, if_past } => {
                let rest = Self {
                    time: hm(*time),
                    date: date.map(|d| d.to_string()).unwrap_or_default(),
                    if_past: if *if_past == IfPast::Skip { "skip".into() } else { "next_day".into() },
                    ..fresh
                };
                match repeat {
                    None => Self { when: "local_once".into(), ..rest },
                    Some(r) => Self {
                        when: "local_weekly".into(),
                        days: list(&r.weekdays),
                        until: r.until.map(|d| d.to_string()).unwrap_or_default(),
                        max_runs: r.max_runs.map(|n| n.to_string()).unwrap_or_default(),
                        ..rest
                    },
                }
            }
        }
    }

    pub(super) fn read(&self, r: &mut Reading<'_>) -> Schedule {
        let max_runs = if self.max_runs.trim().is_empty() { None } else { Some(r.number("max_runs", &self.max_runs, 1, 100_000)) };
        match self.when.as_str() {
            "weekly" | "monthly" | "cron" => self.recurring(r, max_runs),
            "local_once" => Schedule::PersonLocal {
                time: r.time("time", &self.time),
                date: Some(r.date("date", &self.date)),
                repeat: None,
                if_past: if self.if_past == "skip" { IfPast::Skip } else { IfPast::NextDay },
            },
            "local_weekly" => Schedule::PersonLocal {
                time: r.time("time", &self.time),
                date: if self.date.trim().is_empty() { None } else { Some(r.date("date", &self.date)) },
                repeat: Some(Repeat {
                    weekdays: weekdays(&self.days),
                    until: if self.until.trim().is_empty() { None } else { Some(r.date("until", &self.until)) },
                    max_runs,
                }),
                if_past: IfPast::NextDay,
            },
            "once" => {
                let (date, time, zone) = (r.date("date", &self.date), r.time("time", &self.time), r.zone(&self.zone));
                Schedule::Once { at: Timestamp::from_local(date.and_time(time), zone) }
            }
            _ => {
                r.wrong("when", "wizard.error.choice");
                Schedule::Once { at: Timestamp::MIN }
            }
        }
    }

    fn recurring(&self, r: &mut Reading<'_>, max_runs: Option<i64>) -> Schedule {
        let zone = r.zone(&self.zone);
        let cron = if self.when == "cron" {
            self.cron.trim().to_owned()
        } else {
            use chrono::Timelike as _;
            let time = r.time("time", &self.time);
            let (minute, hour) = (time.minute(), time.hour());
            if self.when == "monthly" {
                format!("{minute} {hour} {} * *", r.number("month_day", &self.month_day, 1, 31))
            } else {
                let days = weekdays(&self.days);
                let list = if days.is_empty() { "*".to_owned() } else { days.iter().map(|d| word(*d)).collect::<Vec<_>>().join(",") };
                format!("{minute} {hour} * * {list}")
            }
        };
        let start = if self.date.trim().is_empty() { None } else { Some(Timestamp::from_date(r.date("date", &self.date), zone)) };
        let end = if self.until.trim().is_empty() {
            None
        } else {
            let day = r.date("until", &self.until);
            Some(Timestamp::from_date(day.succ_opt().unwrap_or(day), zone).plus_us(-1))
        };
        Schedule::Recurring { cron, time_zone: zone, start, end, max_runs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_patterns_become_simple_kinds_and_others_stay() {
        let at = |h, m| NaiveTime::from_hms_opt(h, m, 0).expect("time");
        assert_eq!(simple("30 9 * * 1,3"), Some((at(9, 30), vec![Weekday::Mon, Weekday::Wed], None)));
        assert_eq!(simple("0 10 * * mon,sun"), Some((at(10, 0), vec![Weekday::Mon, Weekday::Sun], None)));
        assert_eq!(simple("0 10 * * 0,7"), Some((at(10, 0), vec![Weekday::Sun, Weekday::Sun], None)));
        assert_eq!(simple("5 8 * * *"), Some((at(8, 5), vec![], None)));
        assert_eq!(simple("5 8 15 * *"), Some((at(8, 5), vec![], Some(15))));
        for other in ["*/5 * * * *", "0 9 1,15 * *", "0 9 * 3 *", "0 9 * * 1-5", "nonsense"] {
            assert_eq!(simple(other), None, "{other}");
        }
    }
}
