//! What a campaign is: who × what × where × when × how measured, as one typed document, and the states it goes through.

use chrono::{NaiveDate, NaiveTime, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::error::CampaignError;
use crate::copywriter::{Locale, Occasion, Tone};
use crate::platform::Timestamp;
use crate::platform::clock::HOUR_US;
use crate::platform::ids::{CampaignId, RunId, SegmentId, SnapshotId, VariantId};
use crate::touches::TouchChannel;
use crate::touches::holdout::ALL_BP;
use crate::touches::word_enum;

word_enum!(
    /// Where a campaign stands.
    Status {
        Draft = "draft",
        /// Waits for its first run.
        Scheduled = "scheduled",
        Running = "running",
        /// Nothing goes out; what is planned waits.
        Paused = "paused",
        /// Every run was planned and every touch has ended.
        Done = "done",
        Cancelled = "cancelled",
    }
);

word_enum!(
    /// What somebody (or the passing of time) may do to a campaign.
    Action {
        Schedule = "schedule",
        /// Back to draft, before the first run.
        Unschedule = "unschedule",
        /// Its first run is due.
        Start = "start",
        Pause = "pause",
        Resume = "resume",
        Cancel = "cancel",
        /// Nothing is left to do.
        Finish = "finish",
    }
);

impl Status {
    /// Where an action leads, or `None` where it is not allowed. `started`: the first run was due already.
    pub fn after(self, action: Action, started: bool) -> Option<Status> {
        match (self, action) {
            (Self::Draft, Action::Schedule) => Some(Self::Scheduled),
            (Self::Scheduled, Action::Unschedule) => Some(Self::Draft),
            (Self::Scheduled | Self::Running, Action::Start) => Some(Self::Running),
            (Self::Scheduled | Self::Running, Action::Pause) => Some(Self::Paused),
            (Self::Paused, Action::Resume) => Some(if started { Self::Running } else { Self::Scheduled }),
            (Self::Draft | Self::Scheduled | Self::Running | Self::Paused, Action::Cancel) => Some(Self::Cancelled),
            (Self::Running, Action::Finish) => Some(Self::Done),
            _ => None,
        }
    }
    /// What may be done now, for people.
    pub fn actions(self, started: bool) -> Vec<Action> {
        let by_time = [Action::Start, Action::Finish];
        Action::ALL.iter().copied().filter(|a| !by_time.contains(a) && self.after(*a, started).is_some()).collect()
    }
}

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

/// A campaign to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCampaign {
    /// Short and unique: `a-z 0-9 - _`; goes into UTM tags. Made from the name where absent.
    #[serde(default)]
    pub key: Option<String>,
    pub name: String,
    pub plan: Plan,
}

/// A variant as stored: with its id.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct StoredVariant {
    #[schema(value_type = String)]
    pub id: VariantId,
    #[serde(flatten)]
    pub variant: Variant,
}

/// A campaign as stored.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Campaign {
    #[schema(value_type = String, example = "cmp_7")]
    pub id: CampaignId,
    pub key: String,
    pub name: String,
    pub status: Status,
    pub plan: Plan,
    /// In the order of the plan.
    pub variants: Vec<StoredVariant>,
    /// When its next run is due.
    #[schema(value_type = Option<String>)]
    pub next_run_at: Option<Timestamp>,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    #[schema(value_type = String)]
    pub updated_at: Timestamp,
    #[schema(value_type = Option<String>)]
    pub started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>)]
    pub ended_at: Option<Timestamp>,
}

impl Campaign {
    /// The conversion window.
    pub fn window_us(&self) -> i64 {
        self.plan.goal.window_hours * HOUR_US
    }
    pub fn variant(&self, id: VariantId) -> Option<&StoredVariant> {
        self.variants.iter().find(|v| v.id == id)
    }
}

word_enum!(
    /// Where a run stands.
    RunStatus {
        /// Due; its audience is being planned.
        Planning = "planning",
        /// Every person of the audience has a touch.
        Planned = "planned",
        Cancelled = "cancelled",
    }
);

/// One firing of a schedule.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow, Serialize, ToSchema)]
pub struct Run {
    #[schema(value_type = String)]
    pub id: RunId,
    #[schema(value_type = String)]
    pub campaign_id: CampaignId,
    #[schema(value_type = String)]
    pub scheduled_at: Timestamp,
    #[schema(value_type = Option<String>)]
    pub snapshot_id: Option<SnapshotId>,
    #[sqlx(try_from = "String")]
    pub status: RunStatus,
    #[serde(skip)]
    pub cursor_person_id: crate::platform::ids::PersonId,
    /// People planned so far, those left out included.
    pub planned: i64,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>)]
    pub finished_at: Option<Timestamp>,
}

impl Plan {
    /// Checks everything that the types do not say. The first broken rule is named with its field.
    pub fn check(&self) -> Result<(), CampaignError> {
        let wrong = |field: &'static str, detail: String| Err(CampaignError::Invalid { field, detail });
        let range = |field: &'static str, value: i64, from: i64, to: i64| {
            if (from..=to).contains(&value) {
                Ok(())
            } else {
                wrong(field, format!("{field} is {value}; it must lie between {from} and {to}"))
            }
        };
        if self.placements.len() > 100 || self.placements.iter().any(|key| check_key(key).is_err()) {
            return wrong("placements", "at most 100 keys of placements".into());
        }
        if !self.placements.is_empty() && self.channel != TouchChannel::Banner {
            return wrong("placements", "only banners have placements".into());
        }
        range("choice.products", i64::try_from(self.choice.products).unwrap_or(i64::MAX), 1, 6)?;
        range("choice.exclude_bought_days", self.choice.exclude_bought_days, 0, 3_650)?;
        range("choice.exclude_shown_days", self.choice.exclude_shown_days, 0, 365)?;
        for list in [&self.choice.categories, &self.choice.brands, &self.choice.skus] {
            if list.len() > 200 || list.iter().any(|t| t.is_empty() || t.chars().count() > 750) {
                return wrong("choice", "at most 200 categories, brands or skus, each of 1 to 750 characters".into());
            }
        }
        if let (Some(low), Some(high)) = (self.choice.min_price_minor, self.choice.max_price_minor)
            && low > high
        {
            return wrong("choice.min_price_minor", "the lowest price lies above the highest".into());
        }
        range("variants", i64::try_from(self.variants.len()).unwrap_or(i64::MAX), 1, 8)?;
        for (n, variant) in self.variants.iter().enumerate() {
            range("variants.weight", variant.weight, 1, 1_000)?;
            if variant.name.is_empty() || variant.name.chars().count() > 60 {
                return wrong("variants.name", "a variant's name has 1 to 60 characters".into());
            }
            if self.variants[..n].iter().any(|other| other.name == variant.name) {
                return wrong("variants.name", format!("two variants are called “{}”", variant.name));
            }
            if variant.template.as_ref().is_some_and(|t| t.is_empty() || t.chars().count() > 60) {
                return wrong("variants.template", "a template's name has 1 to 60 characters".into());
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
                return wrong("sender", "the sender needs a name and addresses such as shop@example.com".into());
            }
        }
        for text in [&self.utm.source, &self.utm.medium, &self.utm.campaign, &self.utm.content, &self.utm.term].into_iter().flatten() {
            if text.chars().count() > 200 || text.chars().any(char::is_control) {
                return wrong("utm", "a UTM value has at most 200 characters, none of them a control character".into());
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
        Err(CampaignError::Invalid { field: "caps", detail: "per_day is 0 to 100 and per_week 0 to 700 (0 = no limit)".into() })
    }
}

impl Hours {
    pub fn check(self, field: &'static str) -> Result<(), CampaignError> {
        if self.from == self.to {
            return Err(CampaignError::Invalid { field, detail: "the span begins and ends at the same minute".into() });
        }
        Ok(())
    }
    /// Whether a time of day lies in it.
    pub fn contain(self, time: NaiveTime) -> bool {
        if self.from < self.to { (self.from..self.to).contains(&time) } else { time >= self.from || time < self.to }
    }
}

/// The key that a name makes: `Spring sale!` → `spring-sale`.
pub fn key_from(name: &str) -> String {
    let mut key = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            key.push(c);
        } else if !key.is_empty() && !key.ends_with('-') {
            key.push('-');
        }
        if key.len() >= 50 {
            break;
        }
    }
    let key = key.trim_end_matches('-');
    if key.is_empty() { "campaign".into() } else { key.into() }
}

pub fn check_key(key: &str) -> Result<(), CampaignError> {
    let fits = (1..=60).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if fits { Ok(()) } else { Err(CampaignError::Invalid { field: "key", detail: "a key has 1 to 60 of a-z, 0-9, - and _".into() }) }
}

pub fn check_name(name: &str) -> Result<(), CampaignError> {
    let n = name.chars().count();
    if (1..=200).contains(&n) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(CampaignError::Invalid { field: "name", detail: "a name has 1 to 200 characters".into() })
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
    fn the_life_cycle_is_this_table() {
        use Action as A;
        use Status as S;
        let allowed: &[(S, A, bool, S)] = &[
            (S::Draft, A::Schedule, false, S::Scheduled),
            (S::Draft, A::Cancel, false, S::Cancelled),
            (S::Scheduled, A::Unschedule, false, S::Draft),
            (S::Scheduled, A::Start, false, S::Running),
            (S::Scheduled, A::Pause, false, S::Paused),
            (S::Scheduled, A::Cancel, false, S::Cancelled),
            (S::Running, A::Start, true, S::Running),
            (S::Running, A::Pause, true, S::Paused),
            (S::Running, A::Cancel, true, S::Cancelled),
            (S::Running, A::Finish, true, S::Done),
            (S::Paused, A::Resume, false, S::Scheduled),
            (S::Paused, A::Resume, true, S::Running),
            (S::Paused, A::Cancel, true, S::Cancelled),
        ];
        for (from, action, started, to) in allowed {
            assert_eq!(from.after(*action, *started), Some(*to), "{from} {action}");
        }
        for from in S::ALL {
            for action in A::ALL {
                if from.after(*action, true).is_some() {
                    assert!(allowed.iter().any(|(f, a, ..)| f == from && a == action), "{from} {action} is not in the table");
                }
            }
        }
        assert!(S::Done.actions(true).is_empty() && S::Cancelled.actions(true).is_empty());
    }

    #[test]
    fn keys_are_made_from_names() {
        assert_eq!(key_from("Spring sale! 50 %"), "spring-sale-50");
        assert_eq!(key_from("春"), "campaign");
        assert!(check_key("a'b").is_err() && check_key("").is_err() && check_key("a-1_b").is_ok());
    }

    #[test]
    fn hours_may_run_over_midnight() {
        let at = |t: &str| NaiveTime::parse_from_str(t, "%H:%M").expect("time");
        let night = Hours { from: at("21:00"), to: at("08:00") };
        assert!(night.contain(at("23:59")) && night.contain(at("00:00")) && night.contain(at("07:59")));
        assert!(!night.contain(at("08:00")) && !night.contain(at("20:59")));
    }
}
