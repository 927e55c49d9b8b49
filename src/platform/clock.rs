//! Time, always passed in: UTC microseconds behind one type, and a clock that a test or the demo can move.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Datelike, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant: microseconds since the Unix epoch, UTC. Stored as BIGINT, shown as RFC 3339.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct Timestamp(pub i64);

pub const SECOND_US: i64 = 1_000_000;
pub const MINUTE_US: i64 = 60 * SECOND_US;
pub const HOUR_US: i64 = 60 * MINUTE_US;
pub const DAY_US: i64 = 24 * HOUR_US;

impl Timestamp {
    pub const MIN: Timestamp = Timestamp(0);

    pub const fn from_micros(us: i64) -> Self {
        Self(us)
    }
    pub const fn from_secs(s: i64) -> Self {
        Self(s * SECOND_US)
    }
    pub const fn micros(self) -> i64 {
        self.0
    }
    pub const fn plus_us(self, us: i64) -> Self {
        Self(self.0.saturating_add(us))
    }
    pub const fn plus_secs(self, s: i64) -> Self {
        self.plus_us(s.saturating_mul(SECOND_US))
    }
    pub const fn plus_days(self, days: i64) -> Self {
        self.plus_us(days.saturating_mul(DAY_US))
    }
    /// Microseconds from `earlier` to `self`.
    pub const fn since(self, earlier: Timestamp) -> i64 {
        self.0 - earlier.0
    }
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }
    pub fn in_zone(self, zone: Tz) -> DateTime<Tz> {
        self.to_utc().with_timezone(&zone)
    }
    /// Hour of day (0–23) in a zone.
    pub fn hour_in(self, zone: Tz) -> u32 {
        self.in_zone(zone).hour()
    }
    /// Days since 1970-01-01 of the local date in a zone.
    pub fn day_in(self, zone: Tz) -> i64 {
        i64::from(self.in_zone(zone).date_naive().num_days_from_ce() - 719_163)
    }
    /// The instant at which a zone's clock shows `local`. A time skipped by a DST change becomes the first instant after the gap; of a
    /// time that occurs twice the first is taken.
    pub fn from_local(local: NaiveDateTime, zone: Tz) -> Self {
        let mut probe = local;
        for _ in 0..=24 * 4 {
            match zone.from_local_datetime(&probe) {
                LocalResult::Single(t) | LocalResult::Ambiguous(t, _) => return t.into(),
                LocalResult::None => probe += chrono::Duration::minutes(15),
            }
        }
        Utc.from_utc_datetime(&local).into()
    }
    /// Midnight at the start of a local date.
    pub fn from_date(date: NaiveDate, zone: Tz) -> Self {
        Self::from_local(date.and_time(NaiveTime::MIN), zone)
    }
    /// RFC 3339, or a bare date (midnight UTC), or a bare `YYYY-MM-DD HH:MM[:SS]` (UTC).
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_in(text, Tz::UTC)
    }
    /// As [`Timestamp::parse`], with texts that carry no offset read in `zone`.
    pub fn parse_in(text: &str, zone: Tz) -> Option<Self> {
        let text = text.trim();
        if let Ok(t) = DateTime::parse_from_rfc3339(text) {
            return Some(t.with_timezone(&Utc).into());
        }
        for format in ["%Y-%m-%d %H:%M:%S %z", "%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f%:z"] {
            if let Ok(t) = DateTime::parse_from_str(text, format) {
                return Some(t.with_timezone(&Utc).into());
            }
        }
        for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"] {
            if let Ok(t) = NaiveDateTime::parse_from_str(text, format) {
                return Some(Self::from_local(t, zone));
            }
        }
        NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|d| Self::from_date(d, zone))
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(t: DateTime<Utc>) -> Self {
        Self(t.timestamp_micros())
    }
}
impl From<DateTime<Tz>> for Timestamp {
    fn from(t: DateTime<Tz>) -> Self {
        Self(t.timestamp_micros())
    }
}
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_utc().to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
    }
}
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("“{text}” is not an RFC 3339 time")))
    }
}

/// Where "now" comes from. `Manual` is shared by everybody who holds a clone, so that a simulation moves all of them.
#[derive(Clone, Debug)]
pub enum Clock {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    pub fn system() -> Self {
        Self::System
    }
    pub fn manual(start: Timestamp) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(start.0)))
    }
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Utc::now().into(),
            Self::Manual(us) => Timestamp(us.load(Ordering::SeqCst)),
        }
    }
    /// Moves a manual clock forward (never back); a system clock ignores it.
    pub fn advance_to(&self, to: Timestamp) {
        if let Self::Manual(us) = self {
            us.fetch_max(to.0, Ordering::SeqCst);
        }
    }
    pub fn is_manual(&self) -> bool {
        matches!(self, Self::Manual(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let t = Timestamp::parse("2011-12-09T12:50:00Z").expect("rfc 3339");
        assert_eq!(Timestamp::parse("2011-12-09 12:50"), Some(t));
        assert_eq!(Timestamp::parse("2011-12-09 13:50:00 +0100"), Some(t));
        assert_eq!(Timestamp::parse_in("2011-12-09 12:50:00", chrono_tz::Europe::London), Some(t));
        assert_eq!(t.to_string(), "2011-12-09T12:50:00Z");
        assert_eq!(Timestamp::parse("tomorrow"), None);
    }

    #[test]
    fn a_skipped_hour_becomes_the_first_instant_after_it() {
        let berlin = chrono_tz::Europe::Berlin;
        let gap = NaiveDate::from_ymd_opt(2026, 3, 29).and_then(|d| d.and_hms_opt(2, 30, 0)).expect("date");
        assert_eq!(Timestamp::from_local(gap, berlin).to_string(), "2026-03-29T01:00:00Z");
    }

    #[test]
    fn a_manual_clock_only_goes_forward() {
        let clock = Clock::manual(Timestamp(10));
        let twin = clock.clone();
        clock.advance_to(Timestamp(30));
        twin.advance_to(Timestamp(20));
        assert_eq!(twin.now(), Timestamp(30));
    }
}
