//! How values are written on a page: counts, shares, money in its currency, times in the viewer's zone with the zone named.

use std::cell::Cell;

use chrono_tz::{OffsetName as _, Tz};
use tera::{Kwargs, State, Tera, TeraResult, Value};

use super::i18n::{self, Locale};
use crate::platform::{Currency, Money, Timestamp};

/// How the viewer reads.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    pub locale: Locale,
    pub zone: Tz,
    pub now: Timestamp,
}

thread_local! {
    // Components see nothing of the page around them, so the reader travels beside the template engine. Rendering never awaits.
    static READER: Cell<Reader> = const { Cell::new(Reader { locale: Locale::En, zone: Tz::UTC, now: Timestamp::MIN }) };
}

/// Renders with this reader in force.
pub(super) fn reading<T>(reader: Reader, render: impl FnOnce() -> T) -> T {
    let before = READER.replace(reader);
    let out = render();
    READER.set(before);
    out
}

fn reader() -> Reader {
    READER.get()
}

/// `1234567` → `1,234,567`.
pub fn count(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3 + 1);
    if n < 0 {
        out.push('−');
    }
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `€1,234.50`: grouped, in the currency's own decimals.
pub fn money(m: Money) -> String {
    let text = Money::new(m.minor.saturating_abs(), m.currency).to_string();
    let start = text.find(|c: char| c.is_ascii_digit()).unwrap_or(0);
    let (symbol, digits) = text.split_at(start);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let whole = whole.parse::<i64>().map_or_else(|_| whole.to_owned(), count);
    let sign = if m.minor < 0 { "−" } else { "" };
    match fraction {
        Some(f) => format!("{sign}{symbol}{whole}.{f}"),
        None => format!("{sign}{symbol}{whole}"),
    }
}

/// A share as per cent, with as many decimals as it needs to say something: `4.2 %`, `0.03 %`, `63 %`.
pub fn percent(share: f64) -> String {
    let p = share * 100.0;
    let digits = match p.abs() {
        x if !x.is_finite() => return "–".into(),
        x if x == 0.0 || x >= 99.95 => 0,
        x if x >= 10.0 => 1,
        x if x >= 1.0 => 1,
        x if x >= 0.1 => 2,
        _ => 3,
    };
    format!("{p:.digits$} %").replace('-', "−")
}

/// `24 Nov 2026, 14:05 CET`; in Chinese `2026年11月24日 14:05 CET`.
pub fn time(at: Timestamp, reader: Reader) -> String {
    let local = at.in_zone(reader.zone);
    let day = match reader.locale {
        Locale::En => local.format("%-d %b %Y, %H:%M"),
        Locale::Zh => local.format("%Y年%-m月%-d日 %H:%M"),
    };
    format!("{day} {}", zone_word(at, reader.zone))
}

pub fn date(at: Timestamp, reader: Reader) -> String {
    let local = at.in_zone(reader.zone);
    match reader.locale {
        Locale::En => local.format("%-d %b %Y").to_string(),
        Locale::Zh => local.format("%Y年%-m月%-d日").to_string(),
    }
}

/// How a zone is called at that moment: `CET`, `UTC`, `+08`.
pub fn zone_word(at: Timestamp, zone: Tz) -> String {
    let local = at.in_zone(zone);
    match local.offset().abbreviation() {
        Some(word) => word.to_owned(),
        None => zone.name().to_owned(),
    }
}

/// A length of time in its two largest units: `2 h 5 min`, `340 ms`.
pub fn duration(us: i64, locale: Locale) -> String {
    let unit = |key: &str| i18n::text(locale, key).to_owned();
    let ms = us.max(0) / 1000;
    let (s, m, h, d) = (ms / 1000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    let pair = |a: i64, ua: &str, b: i64, ub: &str| {
        if b == 0 { format!("{a} {}", unit(ua)) } else { format!("{a} {} {b} {}", unit(ua), unit(ub)) }
    };
    match () {
        () if ms < 1000 => format!("{ms} {}", unit("unit.ms")),
        () if s < 10 => format!("{}.{} {}", s, ms % 1000 / 100, unit("unit.s")),
        () if s < 60 => format!("{s} {}", unit("unit.s")),
        () if h < 1 => pair(m, "unit.min", s % 60, "unit.s"),
        () if d < 1 => pair(h, "unit.h", m % 60, "unit.min"),
        () => pair(d, "unit.d", h % 24, "unit.h"),
    }
}

/// How long ago, or how long until: `5 min ago`, `in 2 h`.
pub fn ago(at: Timestamp, reader: Reader) -> String {
    let us = reader.now.since(at);
    let coarse = |us: i64| match us / 1_000_000 {
        s if s >= 86_400 => s / 86_400 * 86_400_000_000,
        s if s >= 3600 => s / 3600 * 3_600_000_000,
        s if s >= 60 => s / 60 * 60_000_000,
        s => s * 1_000_000,
    };
    if us.abs() < 10_000_000 {
        return i18n::text(reader.locale, "time.now").to_owned();
    }
    let key = if us > 0 { "time.ago" } else { "time.in" };
    let length = duration(coarse(us.abs()), reader.locale).replace(".0 ", " ");
    i18n::format(reader.locale, key, &[("t", length)])
}

fn at_of(text: &str) -> TeraResult<Timestamp> {
    Timestamp::parse(text).ok_or_else(|| tera::Error::message(format!("“{text}” is not a time")))
}

fn money_of(value: &Value) -> TeraResult<Money> {
    let minor = value.get_from_path("minor").and_then(Value::as_i64);
    let currency = value.get_from_path("currency").and_then(Value::as_str).and_then(|c| c.parse::<Currency>().ok());
    match (minor, currency) {
        (Some(minor), Some(currency)) => Ok(Money::new(minor, currency)),
        _ => Err(tera::Error::message("money wants {minor, currency}")),
    }
}

fn argument(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_string(),
    }
}

/// Times, counts and money may be missing: a dash says so.
fn or_dash(value: &Value, write: impl FnOnce(&Value) -> TeraResult<String>) -> TeraResult<String> {
    if value.is_none() || value.is_undefined() { Ok("–".into()) } else { write(value) }
}

fn number(value: &Value) -> TeraResult<f64> {
    value.as_f64().or_else(|| value.as_i64().map(|n| n as f64)).ok_or_else(|| tera::Error::message("not a number"))
}

/// The filters of all pages.
pub(super) fn register(tera: &mut Tera) {
    tera.register_filter("t", |key: &str, kwargs: Kwargs, _: &State| -> String {
        let owned: Vec<(String, String)> =
            kwargs.iter().map(|(k, v)| (k.to_string(), v)).map(|(k, v)| (k, v.as_i64().map_or_else(|| argument(v), count))).collect();
        let args: Vec<(&str, String)> = owned.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        i18n::format(reader().locale, key, &args)
    });
    tera.register_filter("count", |value: &Value, _: Kwargs, _: &State| {
        or_dash(value, |v| v.as_i64().map(count).ok_or_else(|| tera::Error::message("count wants a whole number")))
    });
    tera.register_filter("money", |value: &Value, _: Kwargs, _: &State| or_dash(value, |v| money_of(v).map(money)));
    tera.register_filter("percent", |value: &Value, _: Kwargs, _: &State| or_dash(value, |v| number(v).map(percent)));
    tera.register_filter("fixed", |value: &Value, kwargs: Kwargs, _: &State| {
        let digits = kwargs.get::<i64>("digits")?.unwrap_or(2).clamp(0, 9) as usize;
        or_dash(value, |v| number(v).map(|n| format!("{n:.digits$}").replace('-', "−")))
    });
    tera.register_filter("time", |value: &Value, _: Kwargs, _: &State| {
        or_dash(value, |v| Ok(time(at_of(v.as_str().unwrap_or_default())?, reader())))
    });
    tera.register_filter("date", |value: &Value, _: Kwargs, _: &State| {
        or_dash(value, |v| Ok(date(at_of(v.as_str().unwrap_or_default())?, reader())))
    });
    tera.register_filter("ago", |value: &Value, _: Kwargs, _: &State| {
        or_dash(value, |v| Ok(ago(at_of(v.as_str().unwrap_or_default())?, reader())))
    });
    tera.register_filter("duration", |value: &Value, _: Kwargs, _: &State| {
        or_dash(value, |v| Ok(duration(v.as_i64().unwrap_or_default(), reader().locale)))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_money_and_times_read_well() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(-1000), "−1,000");
        assert_eq!(money(Money::new(123_450, Currency::EUR)), "€1,234.50");
        assert_eq!(money(Money::new(-5, Currency::USD)), "−$0.05");
        assert_eq!(money(Money::new(1_200_000, "JPY".parse().expect("currency"))), "¥1,200,000");
        assert_eq!(percent(0.0423), "4.2 %");
        assert_eq!(percent(0.00031), "0.031 %");
        assert_eq!(percent(0.0), "0 %");
        let at = Timestamp::parse("2026-11-24T13:05:00Z").expect("time");
        let reader = Reader { locale: Locale::En, zone: chrono_tz::Europe::Berlin, now: at.plus_secs(7500) };
        assert_eq!(time(at, reader), "24 Nov 2026, 14:05 CET");
        assert_eq!(time(at, Reader { locale: Locale::Zh, ..reader }), "2026年11月24日 14:05 CET");
        assert_eq!(ago(at, reader), "2 h ago");
        assert_eq!(duration(7_500_000_000, Locale::En), "2 h 5 min");
        assert_eq!(duration(340_000, Locale::En), "340 ms");
    }
}
