//! From what was typed in the wizard to a plan: reads every field, and notes each mistake beside the field that it is in.

use chrono::{NaiveDate, NaiveTime, Weekday};
use chrono_tz::Tz;

use super::super::page::Shell;
use super::form::{Errors, WizardForm, trimmed};
use crate::campaign::{CampaignError, Caps, Choice, Goal, Hours, LocaleMode, Plan, SendWindow, Sender, Utm, Variant};
use crate::copywriter::Locale;
use crate::platform::ids::SegmentId;
use crate::platform::{Currency, Money};
use crate::touches::TouchChannel;

/// Lines (or parts between commas, where there is one line) as a list.
fn lines(text: &str) -> Vec<String> {
    let one = !text.trim().contains('\n');
    let parts: Vec<&str> = if one { text.split(',').collect() } else { text.lines().collect() };
    parts.into_iter().map(str::trim).filter(|p| !p.is_empty()).map(ToOwned::to_owned).collect()
}

/// Reads typed texts and notes what is wrong.
pub struct Reading<'a> {
    pub shell: &'a Shell,
    pub errors: Errors,
}

impl Reading<'_> {
    pub fn wrong(&mut self, field: &'static str, key: &str) {
        let text = self.shell.say(key);
        self.errors.entry(field).or_insert(text);
    }
    pub fn number(&mut self, field: &'static str, text: &str, low: i64, high: i64) -> i64 {
        match text.trim().parse::<i64>() {
            Ok(n) if (low..=high).contains(&n) => n,
            _ => {
                let said = self.shell.say_with("wizard.error.number", &[("low", low.to_string()), ("high", high.to_string())]);
                self.errors.entry(field).or_insert(said);
                low
            }
        }
    }
    fn decimal(&mut self, field: &'static str, text: &str, low: f64, high: f64) -> f64 {
        match text.trim().trim_end_matches('%').trim().replace(',', ".").parse::<f64>() {
            Ok(n) if n.is_finite() && (low..=high).contains(&n) => n,
            _ => {
                let said = self.shell.say_with("wizard.error.number", &[("low", trimmed(low)), ("high", trimmed(high))]);
                self.errors.entry(field).or_insert(said);
                low
            }
        }
    }
    pub fn time(&mut self, field: &'static str, text: &str) -> NaiveTime {
        NaiveTime::parse_from_str(text.trim(), "%H:%M").or_else(|_| NaiveTime::parse_from_str(text.trim(), "%H:%M:%S")).unwrap_or_else(
            |_| {
                self.wrong(field, "wizard.error.time");
                NaiveTime::MIN
            },
        )
    }
    pub fn date(&mut self, field: &'static str, text: &str) -> NaiveDate {
        text.trim().parse().unwrap_or_else(|_| {
            self.wrong(field, "wizard.error.date");
            NaiveDate::default()
        })
    }
    pub fn zone(&mut self, text: &str) -> Tz {
        text.trim().parse().unwrap_or_else(|_| {
            self.wrong("zone", "wizard.error.zone");
            Tz::UTC
        })
    }
    fn price(&mut self, field: &'static str, text: &str, currency: Currency) -> Option<i64> {
        if text.trim().is_empty() {
            return None;
        }
        match Money::parse(text.trim(), currency) {
            Ok(m) if m.minor >= 0 => Some(m.minor),
            _ => {
                self.wrong(field, "wizard.error.price");
                None
            }
        }
    }
}

fn optional(text: &str) -> Option<String> {
    Some(text.trim().to_owned()).filter(|t| !t.is_empty())
}

impl WizardForm {
    /// The plan that was typed, or what is wrong with it.
    pub fn plan(&self, shell: &Shell) -> Result<(String, Plan), Errors> {
        let mut r = Reading { shell, errors: Errors::new() };
        let name = self.name.trim().to_owned();
        if name.is_empty() || name.chars().count() > 200 || name.chars().any(char::is_control) {
            r.wrong("name", "wizard.error.name");
        }
        let segment = self.segment.parse::<SegmentId>().unwrap_or_else(|_| {
            r.wrong("segment", "wizard.error.segment");
            SegmentId(0)
        });
        let channel = self.channel.parse::<TouchChannel>().unwrap_or_else(|_| {
            r.wrong("channel", "wizard.error.choice");
            TouchChannel::Email
        });
        let plan = Plan {
            channel,
            segment,
            placements: if channel == TouchChannel::Banner { self.placements.clone() } else { Vec::new() },
            choice: self.choice(&mut r),
            variants: self.variants(&mut r),
            schedule: self.schedule.read(&mut r),
            goal: Goal {
                kind: self.goal.parse().unwrap_or_else(|_| {
                    r.wrong("goal", "wizard.error.choice");
                    crate::campaign::GoalKind::Orders
                }),
                window_hours: (r.decimal("window", &self.window, 0.04, 90.0) * 24.0).round() as i64,
            },
            holdout_bp: (r.decimal("holdout", &self.holdout, 0.0, 99.99) * 100.0).round() as i64,
            caps: self.own_caps.then(|| Caps {
                per_day: r.number("per_day", &self.per_day, 0, 100),
                per_week: r.number("per_week", &self.per_week, 0, 700),
            }),
            quiet_hours: self
                .own_quiet
                .then(|| Hours { from: r.time("quiet_from", &self.quiet_from), to: r.time("quiet_from", &self.quiet_to) }),
            send_window: self.own_window.then(|| SendWindow {
                hours: Hours { from: r.time("window_from", &self.window_from), to: r.time("window_from", &self.window_to) },
                weekdays: self.window_days.iter().filter_map(|d| d.parse::<Weekday>().ok()).collect(),
            }),
            expire_after_hours: r.number("expire", &self.expire, 1, 720),
            sender: self.sender(&mut r),
            utm: Utm {
                source: optional(&self.utm_source),
                medium: optional(&self.utm_medium),
                campaign: optional(&self.utm_campaign),
                ..Utm::default()
            },
        };
        if !r.errors.is_empty() {
            return Err(r.errors);
        }
        match plan.check() {
            Ok(()) => Ok((name, plan)),
            Err(error) => Err(Errors::from([said(r.shell, &error)])),
        }
    }

    fn choice(&self, r: &mut Reading<'_>) -> Choice {
        let currency = r.shell.inner.platform.config.shop.currency;
        Choice {
            products: usize::try_from(r.number("products", &self.products, 1, 6)).unwrap_or(1),
            categories: lines(&self.categories),
            brands: lines(&self.brands),
            skus: lines(&self.skus),
            on_sale: self.on_sale,
            min_price_minor: r.price("min_price", &self.min_price, currency),
            max_price_minor: r.price("max_price", &self.max_price, currency),
            exclude_bought_days: r.number("not_bought", &self.not_bought, 0, 3_650),
            exclude_shown_days: r.number("not_shown", &self.not_shown, 0, 365),
        }
    }

    fn variants(&self, r: &mut Reading<'_>) -> Vec<Variant> {
        let mut list = Vec::new();
        for v in &self.variants {
            let (Ok(tone), Ok(occasion)) = (v.tone.parse(), v.occasion.parse()) else {
                r.wrong("variants", "wizard.error.choice");
                continue;
            };
            let locale = match v.language.as_str() {
                "person" | "" => LocaleMode::Person,
                word => match word.parse::<Locale>() {
                    Ok(locale) => LocaleMode::Fixed(locale),
                    Err(_) => {
                        r.wrong("variants", "wizard.error.choice");
                        LocaleMode::Person
                    }
                },
            };
            let weight = r.number("variants", if v.weight.trim().is_empty() { "1" } else { &v.weight }, 1, 1_000);
            list.push(Variant { name: v.name.trim().to_owned(), weight, tone, occasion, template: optional(&v.template), locale });
        }
        if list.is_empty() {
            r.wrong("variants", "wizard.error.variants");
        }
        list
    }

    fn sender(&self, r: &mut Reading<'_>) -> Option<Sender> {
        let address = optional(&self.sender_address);
        if address.is_none() && (optional(&self.sender_name).is_some() || optional(&self.sender_reply).is_some()) {
            r.wrong("sender_address", "wizard.error.sender");
        }
        Some(Sender { name: self.sender_name.trim().to_owned(), address: address?, reply_to: optional(&self.sender_reply) })
    }
}

/// A refusal of the campaign slice, beside the field that it means.
pub fn said(shell: &Shell, error: &CampaignError) -> (&'static str, String) {
    let field = match error {
        CampaignError::Invalid { field, .. } => match *field {
            "name" => "name",
            "segment" => "segment",
            "placements" => "placements",
            f if f.starts_with("choice.min") => "min_price",
            f if f.starts_with("choice.products") => "products",
            f if f.starts_with("choice.exclude_bought") => "not_bought",
            f if f.starts_with("choice.exclude_shown") => "not_shown",
            f if f.starts_with("choice") => "categories",
            f if f.starts_with("variants") => "variants",
            f if f.starts_with("goal") => "window",
            "holdout_bp" => "holdout",
            "caps" => "per_day",
            f if f.starts_with("quiet_hours") => "quiet_from",
            f if f.starts_with("send_window") => "window_from",
            "expire_after_hours" => "expire",
            "sender" => "sender_address",
            "utm" => "utm_campaign",
            "schedule.cron" => "cron",
            "schedule.end" | "schedule.repeat.until" => "until",
            "schedule.max_runs" => "max_runs",
            "schedule.date" => "date",
            f if f.starts_with("schedule") => "when",
            _ => "form",
        },
        _ => "form",
    };
    (field, shell.fault(&error.fault()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_lines_or_parts_between_commas() {
        assert_eq!(lines("a, b ,,c"), ["a", "b", "c"]);
        assert_eq!(lines("Garden > Chairs, wooden\n\n Kitchen "), ["Garden > Chairs, wooden", "Kitchen"]);
        assert!(lines("  ").is_empty());
    }
}
