//! The wizard's form: what was typed, from and to a plan. A mistake is told beside its field, and everything typed is kept.

use std::collections::BTreeMap;

use chrono::NaiveTime;
use chrono_tz::Tz;
use serde::Serialize;

use super::super::page::Shell;
use crate::campaign::{Caps, LocaleMode, Plan, Variant};
use crate::platform::{Currency, Timestamp};

use super::schedule_form::{self, ScheduleForm};

/// Most variants that the form shows; a plan holds as many.
pub const MAX_VARIANTS: usize = 8;

/// One row of the variants.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VariantForm {
    pub name: String,
    pub tone: String,
    pub occasion: String,
    /// `person`, `en` or `zh`.
    pub language: String,
    pub template: String,
    pub weight: String,
}

/// Everything as typed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct WizardForm {
    pub name: String,
    pub segment: String,
    pub own_caps: bool,
    pub per_day: String,
    pub per_week: String,
    pub products: String,
    pub categories: String,
    pub brands: String,
    pub skus: String,
    pub on_sale: bool,
    pub min_price: String,
    pub max_price: String,
    pub not_bought: String,
    pub not_shown: String,
    pub variants: Vec<VariantForm>,
    pub channel: String,
    pub placements: Vec<String>,
    pub sender_name: String,
    pub sender_address: String,
    pub sender_reply: String,
    pub utm_source: String,
    pub utm_medium: String,
    pub utm_campaign: String,
    #[serde(flatten)]
    pub schedule: ScheduleForm,
    pub own_quiet: bool,
    pub quiet_from: String,
    pub quiet_to: String,
    pub own_window: bool,
    pub window_from: String,
    pub window_to: String,
    pub window_days: Vec<String>,
    pub expire: String,
    pub goal: String,
    pub window: String,
    pub holdout: String,
}

/// Mistakes by field.
pub type Errors = BTreeMap<&'static str, String>;

/// Fields that a mistake may stand beside.
pub const FIELDS: &[&str] = &[
    "name",
    "segment",
    "per_day",
    "per_week",
    "products",
    "categories",
    "min_price",
    "max_price",
    "not_bought",
    "not_shown",
    "variants",
    "channel",
    "placements",
    "sender_address",
    "sender_reply",
    "utm_campaign",
    "when",
    "date",
    "time",
    "zone",
    "days",
    "month_day",
    "cron",
    "until",
    "max_runs",
    "quiet_from",
    "window_from",
    "expire",
    "goal",
    "window",
    "holdout",
    "form",
];

/// The pairs of a posted form.
pub struct Fields<'a>(pub &'a [(String, String)]);

impl Fields<'_> {
    pub fn one(&self, name: &str) -> String {
        self.0.iter().rev().find(|(k, _)| k == name).map(|(_, v)| v.chars().take(20_000).collect()).unwrap_or_default()
    }
    pub fn on(&self, name: &str) -> bool {
        self.0.iter().any(|(k, _)| k == name)
    }
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(k, _)| k == name).map(|(_, v)| v.clone()).take(100).collect()
    }
}

impl WizardForm {
    pub fn posted(f: &Fields<'_>) -> Self {
        let variant = |i: usize| VariantForm {
            name: f.one(&format!("v{i}_name")),
            tone: f.one(&format!("v{i}_tone")),
            occasion: f.one(&format!("v{i}_occasion")),
            language: f.one(&format!("v{i}_language")),
            template: f.one(&format!("v{i}_template")),
            weight: f.one(&format!("v{i}_weight")),
        };
        Self {
            name: f.one("name"),
            segment: f.one("segment"),
            own_caps: f.on("own_caps"),
            per_day: f.one("per_day"),
            per_week: f.one("per_week"),
            products: f.one("products"),
            categories: f.one("categories"),
            brands: f.one("brands"),
            skus: f.one("skus"),
            on_sale: f.on("on_sale"),
            min_price: f.one("min_price"),
            max_price: f.one("max_price"),
            not_bought: f.one("not_bought"),
            not_shown: f.one("not_shown"),
            variants: (0..MAX_VARIANTS).map(variant).filter(|v| !v.name.trim().is_empty()).collect(),
            channel: f.one("channel"),
            placements: f.all("placements"),
            sender_name: f.one("sender_name"),
            sender_address: f.one("sender_address"),
            sender_reply: f.one("sender_reply"),
            utm_source: f.one("utm_source"),
            utm_medium: f.one("utm_medium"),
            utm_campaign: f.one("utm_campaign"),
            schedule: ScheduleForm::posted(f),
            own_quiet: f.on("own_quiet"),
            quiet_from: f.one("quiet_from"),
            quiet_to: f.one("quiet_to"),
            own_window: f.on("own_window"),
            window_from: f.one("window_from"),
            window_to: f.one("window_to"),
            window_days: f.all("window_days"),
            expire: f.one("expire"),
            goal: f.one("goal"),
            window: f.one("window"),
            holdout: f.one("holdout"),
        }
    }

    /// What a new campaign begins with: tomorrow at ten, in the viewer's zone.
    pub fn fresh(shell: &Shell, caps: Caps, segment: String) -> Self {
        let reader = shell.reader();
        let tomorrow = reader.now.plus_days(1).in_zone(reader.zone).date_naive();
        Self {
            segment,
            per_day: caps.per_day.to_string(),
            per_week: caps.per_week.to_string(),
            products: "1".into(),
            not_bought: "90".into(),
            not_shown: "14".into(),
            variants: vec![VariantForm::of(&Variant::default())],
            channel: "email".into(),
            schedule: ScheduleForm {
                when: "once".into(),
                date: tomorrow.to_string(),
                time: "10:00".into(),
                zone: reader.zone.name().into(),
                month_day: "1".into(),
                if_past: "next_day".into(),
                ..ScheduleForm::default()
            },
            quiet_from: "21:00".into(),
            quiet_to: "08:00".into(),
            window_from: "09:00".into(),
            window_to: "18:00".into(),
            expire: "48".into(),
            goal: "orders".into(),
            window: "7".into(),
            holdout: "10".into(),
            ..Self::default()
        }
    }

    pub fn of(shell: &Shell, name: &str, plan: &Plan, shop_caps: Caps) -> Self {
        let time = |t: NaiveTime| t.format("%H:%M").to_string();
        let caps = plan.caps.unwrap_or(shop_caps);
        let currency = shell.inner.platform.config.shop.currency;
        let price = |minor: Option<i64>| minor.map(|m| plain_price(m, currency)).unwrap_or_default();
        let sender = plan.sender.clone();
        let fresh = Self::fresh(shell, shop_caps, plan.segment.to_string());
        Self {
            name: name.to_owned(),
            own_caps: plan.caps.is_some(),
            per_day: caps.per_day.to_string(),
            per_week: caps.per_week.to_string(),
            products: plan.choice.products.to_string(),
            categories: plan.choice.categories.join("\n"),
            brands: plan.choice.brands.join("\n"),
            skus: plan.choice.skus.join("\n"),
            on_sale: plan.choice.on_sale,
            min_price: price(plan.choice.min_price_minor),
            max_price: price(plan.choice.max_price_minor),
            not_bought: plan.choice.exclude_bought_days.to_string(),
            not_shown: plan.choice.exclude_shown_days.to_string(),
            variants: plan.variants.iter().map(VariantForm::of).collect(),
            channel: plan.channel.as_str().to_owned(),
            placements: plan.placements.clone(),
            sender_name: sender.as_ref().map(|s| s.name.clone()).unwrap_or_default(),
            sender_address: sender.as_ref().map(|s| s.address.clone()).unwrap_or_default(),
            sender_reply: sender.and_then(|s| s.reply_to).unwrap_or_default(),
            utm_source: plan.utm.source.clone().unwrap_or_default(),
            utm_medium: plan.utm.medium.clone().unwrap_or_default(),
            utm_campaign: plan.utm.campaign.clone().unwrap_or_default(),
            schedule: ScheduleForm::of(&plan.schedule, fresh.schedule.clone()),
            own_quiet: plan.quiet_hours.is_some(),
            quiet_from: plan.quiet_hours.map_or(fresh.quiet_from.clone(), |h| time(h.from)),
            quiet_to: plan.quiet_hours.map_or(fresh.quiet_to.clone(), |h| time(h.to)),
            own_window: plan.send_window.is_some(),
            window_from: plan.send_window.as_ref().map_or(fresh.window_from.clone(), |w| time(w.hours.from)),
            window_to: plan.send_window.as_ref().map_or(fresh.window_to.clone(), |w| time(w.hours.to)),
            window_days: plan
                .send_window
                .as_ref()
                .map(|w| w.weekdays.iter().map(|d| schedule_form::word(*d)).collect())
                .unwrap_or_default(),
            expire: plan.expire_after_hours.to_string(),
            goal: plan.goal.kind.as_str().to_owned(),
            window: trimmed(plan.goal.window_hours as f64 / 24.0),
            holdout: trimmed(plan.holdout_bp as f64 / 100.0),
            ..fresh
        }
    }
}

impl VariantForm {
    pub fn of(v: &Variant) -> Self {
        Self {
            name: v.name.clone(),
            tone: v.tone.as_str().to_owned(),
            occasion: v.occasion.as_str().to_owned(),
            language: match v.locale {
                LocaleMode::Person => "person".to_owned(),
                LocaleMode::Fixed(locale) => locale.as_str().to_owned(),
            },
            template: v.template.clone().unwrap_or_default(),
            weight: v.weight.to_string(),
        }
    }
}

/// `12.5`, `7`: without zeros that say nothing.
pub fn trimmed(n: f64) -> String {
    let text = format!("{n:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A price as it is typed: `12.50`.
fn plain_price(minor: i64, currency: Currency) -> String {
    let digits = currency.exponent() as usize;
    if digits == 0 {
        return minor.to_string();
    }
    let scale = 10_i64.pow(currency.exponent());
    format!("{}.{:0digits$}", minor / scale, minor % scale)
}

/// Every field with its mistake or an empty text, as templates want it.
pub fn all_errors(errors: &Errors) -> BTreeMap<&'static str, String> {
    FIELDS.iter().map(|f| (*f, errors.get(f).cloned().unwrap_or_default())).collect()
}

/// A time in a zone as `YYYY-MM-DD` and `HH:MM`.
pub fn local(at: Timestamp, zone: Tz) -> (String, String) {
    let local = at.in_zone(zone);
    (local.format("%Y-%m-%d").to_string(), local.format("%H:%M").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_and_shares_are_typed_as_they_are_read() {
        assert_eq!(plain_price(1_250, Currency::EUR), "12.50");
        assert_eq!(plain_price(5, Currency::EUR), "0.05");
        assert_eq!(plain_price(500, "JPY".parse().expect("currency")), "500");
        assert_eq!((trimmed(12.5).as_str(), trimmed(7.0).as_str(), trimmed(0.0).as_str()), ("12.5", "7", "0"));
    }
}
