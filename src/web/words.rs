//! Schedules in words: `30 2 * * 1-5` → “At 02:30 on Monday to Friday”. What has no simple words keeps its pattern.

use chrono_tz::Tz;

use super::i18n::{self, Locale};

/// A cron pattern (five fields) in words, with its zone named. Patterns beyond the common shapes come back as they are.
pub fn cron(pattern: &str, zone: Tz, locale: Locale) -> String {
    let fields: Vec<&str> = pattern.split_whitespace().collect();
    let say = |key: &str, args: &[(&str, String)]| i18n::format(locale, key, args);
    let [minute, hour, day, month, weekday] = fields.as_slice() else { return pattern.to_owned() };
    if *month != "*" {
        return with_zone(pattern.to_owned(), zone, locale);
    }
    let when = match (*minute, *hour) {
        ("*", "*") => return say("cron.every_minute", &[]),
        (m, "*") if m.starts_with("*/") => return say("cron.every_minutes", &[("n", m[2..].to_owned())]),
        (m, "*") => match m.parse::<u32>() {
            Ok(m) => return say("cron.hourly", &[("m", format!("{m:02}"))]),
            Err(_) => return with_zone(pattern.to_owned(), zone, locale),
        },
        (m, h) => match (m.parse::<u32>(), list(h)) {
            (Ok(m), Some(hours)) => hours.iter().map(|h| format!("{h:02}:{m:02}")).collect::<Vec<_>>().join(&say("cron.and", &[])),
            _ => return with_zone(pattern.to_owned(), zone, locale),
        },
    };
    let text = match (*day, *weekday) {
        ("*", "*") => say("cron.daily", &[("at", when)]),
        ("*", days) => match weekdays(days, locale) {
            Some(days) => say("cron.weekly", &[("at", when), ("days", days)]),
            None => pattern.to_owned(),
        },
        (days, "*") => match list(days) {
            Some(days) => {
                let days = days.iter().map(u32::to_string).collect::<Vec<_>>().join(&say("cron.and", &[]));
                say("cron.monthly", &[("at", when), ("days", days)])
            }
            None => pattern.to_owned(),
        },
        _ => pattern.to_owned(),
    };
    with_zone(text, zone, locale)
}

fn with_zone(text: String, zone: Tz, locale: Locale) -> String {
    i18n::format(locale, "cron.zone", &[("text", text), ("zone", zone.name().to_owned())])
}

/// `6,10,14` as numbers.
fn list(field: &str) -> Option<Vec<u32>> {
    field.split(',').map(|f| f.parse().ok()).collect::<Option<Vec<u32>>>().filter(|l| l.len() <= 8)
}

/// `1-5`, `0`, `MON,WED` as words.
fn weekdays(field: &str, locale: Locale) -> Option<String> {
    const NAMES: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    let day = |text: &str| -> Option<usize> {
        let lower = text.to_lowercase();
        match lower.parse::<usize>() {
            Ok(n) if n <= 7 => Some(n % 7),
            _ => NAMES.iter().position(|n| *n == lower),
        }
    };
    let name = |d: usize| i18n::text(locale, &format!("weekday.{}", NAMES[d])).to_owned();
    if let Some((a, b)) = field.split_once('-') {
        let (a, b) = (day(a)?, day(b)?);
        return Some(i18n::format(locale, "cron.span", &[("a", name(a)), ("b", name(b))]));
    }
    let days = field.split(',').map(day).collect::<Option<Vec<_>>>()?;
    Some(days.into_iter().map(name).collect::<Vec<_>>().join(i18n::text(locale, "cron.and")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_schedules_have_words() {
        let en = |p: &str| cron(p, Tz::UTC, Locale::En);
        assert_eq!(en("* * * * *"), "Every minute");
        assert_eq!(en("*/15 * * * *"), "Every 15 minutes");
        assert_eq!(en("15 * * * *"), "Every hour at :15");
        assert_eq!(en("30 2 * * *"), "Every day at 02:30 (UTC)");
        assert_eq!(en("45 6,10,14,18,22 * * *"), "Every day at 06:45, 10:45, 14:45, 18:45, 22:45 (UTC)");
        assert_eq!(en("40 2 * * 0"), "At 02:40 on Sunday (UTC)");
        assert_eq!(en("0 9 * * 1-5"), "At 09:00 on Monday to Friday (UTC)");
        assert_eq!(en("0 9 1,15 * *"), "At 09:00 on day 1, 15 of the month (UTC)");
        assert_eq!(en("0 9 * 3 *"), "0 9 * 3 * (UTC)");
        assert_eq!(cron("30 2 * * *", chrono_tz::Asia::Shanghai, Locale::Zh), "每天 02:30（Asia/Shanghai）");
        for (name, plan) in crate::platform::queue::plans() {
            if let Some(pattern) = &plan.cron {
                let words = en(pattern);
                assert!(!words.starts_with(pattern.as_str()), "{name}: {words}");
            }
        }
    }
}
