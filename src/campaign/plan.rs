//! A campaign's plan as one typed document: who × what × where × when × how measured, and what makes it valid.

use chrono::{NaiveDate, NaiveTime, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::error::CampaignError;
use super::model::check_key;
use crate::copywriter::{Locale, Occasion, Tone};
use crate::fault;
use crate::platform::ids::SegmentId;
use crate::platform::{Fault, Timestamp};
use crate::touches::TouchChannel;
use crate::touches::holdout::ALL_BP;
use crate::touches::word_enum;

/// A campaign's plan: everything but its name and state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub channel: TouchChannel,
    /// Whom: a segment, taken afresh at each run.
    #[schema(value_type = String, example = "seg_3")]
    pub segment: SegmentId,
    /// Banners: keys of the placements it runs on; empty = all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placements: Vec<String>,
    #[serde(default)]
    pub choice: Choice,
    /// One to eight ways of saying it, drawn per person by weight and then kept.
    #[serde(default = "one_variant")]
    pub variants: Vec<Variant>,
    pub schedule: Schedule,
    #[serde(default)]
    pub goal: Goal,
    /// Share of the audience that is left alone so that lift can be measured, in basis points (1,000 = 10 %).
    #[serde(default)]
    pub holdout_bp: i64,
    /// In place of the shop's caps. Consent and suppression always hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caps: Option<Caps>,
    /// In place of the shop's quiet hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<Hours>,
    /// Only within these hours and days, each person's own time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_window: Option<SendWindow>,
    /// A touch that could not go out this long after its due time never does. Default 48.
    #[serde(default = "default_expiry")]
    pub expire_after_hours: i64,
    /// In place of the shop's sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Sender>,
    #[serde(default)]
    pub utm: Utm,
}

fn one_variant() -> Vec<Variant> {
    vec![Variant::default()]
}
fn default_expiry() -> i64 {
    48
}

/// Which products, before each person's own taste decides among them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Choice {
    /// Products in one mail, 1 to 6. Banners show the first.
    pub products: usize,
    /// Only products in one of these categories (`Garden > Chairs` holds what lies below it).
    pub categories: Vec<String>,
    pub brands: Vec<String>,
    pub skus: Vec<String>,
    /// Only products with a sale price.
    pub on_sale: bool,
    pub min_price_minor: Option<i64>,
    pub max_price_minor: Option<i64>,
    /// Nothing that the person bought in the last days; 0 allows what was bought.
    pub exclude_bought_days: i64,
    /// Nothing that the person was contacted about in the last days.
    pub exclude_shown_days: i64,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            products: 1,
            categories: Vec::new(),
            brands: Vec::new(),
            skus: Vec::new(),
            on_sale: false,
            min_price_minor: None,
            max_price_minor: None,
            exclude_bought_days: 90,
            exclude_shown_days: 14,
        }
    }
}

/// One way of saying it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Variant {
    pub name: String,
    /// Relative weight, 1 to 1,000.
    pub weight: i64,
    pub tone: Tone,
    pub occasion: Occasion,
    /// Template of the mail; the shop's default where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    pub locale: LocaleMode,
}

impl Default for Variant {
    fn default() -> Self {
        Self {
            name: "A".into(),
            weight: 1,
            tone: Tone::Friendly,
            occasion: Occasion::Recommendation,
            template: None,
            locale: LocaleMode::Person,
        }
    }
}

/// In which language a person is addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LocaleMode {
    /// The person's own where the copywriter speaks it, else the shop's.
    Person,
    Fixed(Locale),
}

/// When.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// At one instant.
    Once {
        #[schema(value_type = String, format = DateTime)]
        at: Timestamp,
    },
    /// Again and again, by a five-field cron pattern in a named time zone. A local time that a clock change skips fires right after the
    /// gap; one that occurs twice fires once.
    Recurring {
        #[schema(example = "30 9 * * mon")]
        cron: String,
        #[serde(deserialize_with = "zone")]
        #[schema(value_type = String, example = "Europe/Berlin")]
        time_zone: Tz,
        #[serde(default)]
        #[schema(value_type = Option<String>, format = DateTime)]
        start: Option<Timestamp>,
        #[serde(default)]
        #[schema(value_type = Option<String>, format = DateTime)]
        end: Option<Timestamp>,
        #[serde(default)]
        max_runs: Option<i64>,
    },
    /// At an hour of each person's own clock (the shop's, for people without a time zone), on one date or on every day (or the named
    /// weekdays) from it on. A run is planned when the hour strikes at the earliest place on Earth.
    PersonLocal {
        /// `HH:MM`.
        #[serde(with = "hour_minute")]
        #[schema(value_type = String, example = "09:30")]
        time: NaiveTime,
        /// The (first) local date; for a recurring one the first on which the hour is still ahead everywhere.
        #[serde(default)]
        #[schema(value_type = Option<String>, format = Date)]
        date: Option<NaiveDate>,
        /// Absent: once, on `date`.
        #[serde(default)]
        repeat: Option<Repeat>,
        /// For whom the hour of that date has passed already when the run is planned (once only; recurring: skipped).
        #[serde(default)]
        if_past: IfPast,
    },
}

/// Every day or some weekdays, until an end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Repeat {
    /// `mon`, `tue` …; empty = every day.
    #[schema(value_type = Vec<String>)]
    pub weekdays: Vec<Weekday>,
    /// Last local date.
    #[schema(value_type = Option<String>, format = Date)]
    pub until: Option<NaiveDate>,
    pub max_runs: Option<i64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfPast {
    /// The same hour on the next day.
    #[default]
    NextDay,
    /// Left out, with the reason `hour_passed`.
    Skip,
}

word_enum!(
    /// What counts as success.
    GoalKind {
        Orders = "orders",
        Visit = "visit",
        Share = "share",
        DaysActive = "days_active",
    }
);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Goal {
    pub kind: GoalKind,
    /// Conversion window from the due time, in hours; 1 to 2,160 (90 days). Default 168 (a week).
    pub window_hours: i64,
}
impl Default for Goal {
    fn default() -> Self {
        Self { kind: GoalKind::Orders, window_hours: 168 }
    }
}

/// Most contacts per person on a channel, over all campaigns. 0 = no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Caps {
    /// In any 24 hours.
    pub per_day: i64,
    /// In any 7 days.
    pub per_week: i64,
}
impl Default for Caps {
    fn default() -> Self {
        Self { per_day: 2, per_week: 4 }
    }
}

/// A span of the day, `HH:MM` to `HH:MM`, each person's own time; may run over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    #[serde(with = "hour_minute")]
    #[schema(value_type = String, example = "21:00")]
    pub from: NaiveTime,
    #[serde(with = "hour_minute")]
    #[schema(value_type = String, example = "08:00")]
    pub to: NaiveTime,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendWindow {
    pub hours: Hours,
    /// Empty = every day. A window over midnight belongs to the day on which it begins.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub weekdays: Vec<Weekday>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Sender {
    pub name: String,
    pub address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
}

/// What is added to product links. Empty fields get sensible words (`marquee`, the channel, the campaign's key, the variant).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Utm {
    pub source: Option<String>,
    pub medium: Option<String>,
    pub campaign: Option<String>,
    pub content: Option<String>,
    pub term: Option<String>,
}

/// Reads a zone with an error that says what to write.
fn zone<'de, D: Deserializer<'de>>(d: D) -> Result<Tz, D::Error> {
    let text = String::deserialize(d)?;
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(60).collect();
        serde::de::Error::custom(format!("“{shown}” is no time zone; write a name such as Europe/Berlin or UTC"))
    })
}

mod hour_minute {
    //! `HH:MM`.
    use chrono::NaiveTime;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(time: &NaiveTime, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&time.format("%H:%M"))
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<NaiveTime, D::Error> {
        let text = String::deserialize(d)?;
        NaiveTime::parse_from_str(&text, "%H:%M").map_err(|_| {
            let shown: String = text.chars().take(20).collect();
            serde::de::Error::custom(format!("“{shown}” is no time of day; write it as 09:30"))
        })
    }
}

impl Plan {
    /// Checks everything that the types do not say. The first broken rule is named with its field.
    pub fn check(&self) -> Result<(), CampaignError> {
        let wrong = |field: &'static str, detail: Fault| Err(CampaignError::Invalid { field, detail });
        let range = |field: &'static str, value: i64, from: i64, to: i64| {
            if (from..=to).contains(&value) {
                Ok(())
            } else {
                wrong(field, fault!("campaign.range", "{field} is {value}; it must lie between {from} and {to}", field, value, from, to))
            }
        };
        if self.placements.len() > 100 || self.placements.iter().any(|key| check_key(key).is_err()) {
            return wrong("placements", fault!("campaign.placements", "at most 100 keys of placements"));
        }
        if !self.placements.is_empty() && self.channel != TouchChannel::Banner {
            return wrong("placements", fault!("campaign.only_banners", "only banners have placements"));
        }
        range("choice.products", i64::try_from(self.choice.products).unwrap_or(i64::MAX), 1, 6)?;
        range("choice.exclude_bought_days", self.choice.exclude_bought_days, 0, 3_650)?;
        range("choice.exclude_shown_days", self.choice.exclude_shown_days, 0, 365)?;
        for list in [&self.choice.categories, &self.choice.brands, &self.choice.skus] {
            if list.len() > 200 || list.iter().any(|t| t.is_empty() || t.chars().count() > 750) {
                return wrong("choice", fault!("campaign.lists", "at most 200 categories, brands or skus, each of 1 to 750 characters"));
            }
        }
        if let (Some(low), Some(high)) = (self.choice.min_price_minor, self.choice.max_price_minor)
            && low > high
        {
            return wrong("choice.min_price_minor", fault!("campaign.prices", "the lowest price lies above the highest"));
        }
        range("variants", i64::try_from(self.variants.len()).unwrap_or(i64::MAX), 1, 8)?;
        for (n, variant) in self.variants.iter().enumerate() {
            range("variants.weight", variant.weight, 1, 1_000)?;
            if variant.name.is_empty() || variant.name.chars().count() > 60 {
                return wrong("variants.name", fault!("campaign.variant_name", "a variant's name has 1 to 60 characters"));
            }
            if self.variants[..n].iter().any(|other| other.name == variant.name) {
                return wrong("variants.name", fault!("campaign.variant_twice", "two variants are called “{name}”", name = variant.name));
            }
            if variant.template.as_ref().is_some_and(|t| t.is_empty() || t.chars().count() > 60) {
                return wrong("variants.template", fault!("campaign.template_name", "a template's name has 1 to 60 characters"));
            }
        }
        range("goal.window_hours", self.goal.window_hours, 1, 2_160)?;
        range("holdout_bp", self.holdout_bp, 0, ALL_BP - 1)?;
        range("expire_after_hours", self.expire_after_hours, 1, 720)?;
        if let Some(caps) = self.caps {
            caps.check()?;
        }
        if let Some(hours) = self.quiet_hours {
            hours.check("quiet_hours")?;
        }
        if let Some(window) = &self.send_window {
            window.hours.check("send_window.hours")?;
        }
        if let Some(sender) = &self.sender {
            let plain = |t: &str| !t.chars().any(char::is_control) && t.chars().count() <= 254;
            let address =
                |t: &str| plain(t) && t.split_once('@').is_some_and(|(l, d)| !l.is_empty() && d.contains('.')) && !t.contains(' ');
            if !plain(&sender.name) || !address(&sender.address) || sender.reply_to.as_deref().is_some_and(|r| !address(r)) {
                return wrong("sender", fault!("campaign.sender", "the sender needs a name and addresses such as shop@example.com"));
            }
        }
        for text in [&self.utm.source, &self.utm.medium, &self.utm.campaign, &self.utm.content, &self.utm.term].into_iter().flatten() {
            if text.chars().count() > 200 || text.chars().any(char::is_control) {
                return wrong("utm", fault!("campaign.utm", "a UTM value has at most 200 characters, none of them a control character"));
            }
        }
        self.schedule.check()
    }
}

impl Caps {
    pub fn check(self) -> Result<(), CampaignError> {
        if (0..=100).contains(&self.per_day) && (0..=700).contains(&self.per_week) {
            return Ok(());
        }
        Err(CampaignError::Invalid {
            field: "caps",
            detail: fault!("campaign.caps", "per_day is 0 to 100 and per_week 0 to 700 (0 = no limit)"),
        })
    }
}

impl Hours {
    pub fn check(self, field: &'static str) -> Result<(), CampaignError> {
        if self.from == self.to {
            return Err(CampaignError::Invalid { field, detail: fault!("campaign.hours", "the span begins and ends at the same minute") });
        }
        Ok(())
    }
    /// Whether a time of day lies in it.
    pub fn contain(self, time: NaiveTime) -> bool {
        if self.from < self.to { (self.from..self.to).contains(&time) } else { time >= self.from || time < self.to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(schedule: &str) -> Result<Plan, serde_json::Error> {
        serde_json::from_str(&format!(r#"{{"channel": "email", "segment": "seg_1", "schedule": {schedule}}}"#))
    }

    #[test]
    fn a_short_document_is_a_whole_plan() {
        let plan = plan(r#"{"kind": "once", "at": "2026-02-01T09:00:00Z"}"#).expect("reads");
        plan.check().expect("valid");
        assert_eq!((plan.variants.len(), plan.choice.products, plan.goal.window_hours), (1, 1, 168));
        let text = serde_json::to_string(&plan).expect("writes");
        assert_eq!(serde_json::from_str::<Plan>(&text).expect("reads again"), plan);
    }

    #[test]
    fn mistakes_are_named() {
        let zone = plan(r#"{"kind": "recurring", "cron": "0 9 * * *", "time_zone": "Mars/Base"}"#).expect_err("zone").to_string();
        assert!(zone.contains("“Mars/Base” is no time zone"), "{zone}");
        assert!(plan(r#"{"kind": "once", "at": "2026-02-01T09:00:00Z", "oops": 1}"#).is_err());
        assert!(plan(r#"{"kind": "person_local", "time": "25:00"}"#).expect_err("time").to_string().contains("09:30"));
        let cron = plan(r#"{"kind": "recurring", "cron": "'; DROP TABLE campaign; --", "time_zone": "UTC"}"#).expect("text").check();
        assert!(matches!(cron, Err(CampaignError::Invalid { field: "schedule.cron", .. })), "{cron:?}");
        let mut twice = plan(r#"{"kind": "once", "at": "2026-02-01T09:00:00Z"}"#).expect("reads");
        twice.variants = vec![Variant::default(), Variant::default()];
        assert!(twice.check().expect_err("names").to_string().contains("two variants"));
    }

    #[test]
    fn hours_may_run_over_midnight() {
        let at = |t: &str| NaiveTime::parse_from_str(t, "%H:%M").expect("time");
        let night = Hours { from: at("21:00"), to: at("08:00") };
        assert!(night.contain(at("23:59")) && night.contain(at("00:00")) && night.contain(at("07:59")));
        assert!(!night.contain(at("08:00")) && !night.contain(at("20:59")));
    }
}
