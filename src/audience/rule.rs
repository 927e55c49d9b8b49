//! The rule tree: what a segment says of a person. Typed, bounded, and readable as a sentence.
//!
//! JSON: every node is an object with a `type`; see the variants. Parsing, and the limits, name the place in the tree (`rule.of[2].test`).
//!
//! Meaning, everywhere two-valued: a test of something that is missing, null or of another type is **false**, and `not` (also `ne`) turns
//! that into true. Time-bound facts (events, orders, first and last seen) are looked at as of a given moment; attributes, consent and
//! computed traits as they are now, because no history of them is kept.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::platform::clock::Timestamp;

/// Deepest nesting of `all`, `any` and `not`.
pub const MAX_DEPTH: usize = 8;
/// Most nodes in one rule.
pub const MAX_NODES: usize = 200;
/// Longest list in an `in` test.
pub const MAX_LIST: usize = 1_000;
/// Longest text, in characters.
pub const MAX_TEXT_CHARS: usize = 500;
/// Longest window of days.
pub const MAX_DAYS: i64 = 36_500;
/// Buckets that `bucket` speaks of; equal to the range of `person.bucket`.
pub const BUCKETS: i64 = 10_000;

/// A rule breaks a limit or cannot be read. `path` says where in the tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct RuleError {
    pub path: String,
    pub why: String,
}

pub(super) fn wrong<T>(path: &str, why: impl Into<String>) -> Result<T, RuleError> {
    Err(RuleError { path: path.to_owned(), why: why.into() })
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Rule {
    /// `{"type":"everyone"}`
    Everyone {},
    /// `{"type":"all","of":[…]}`
    All { of: Vec<Rule> },
    /// `{"type":"any","of":[…]}`
    Any { of: Vec<Rule> },
    /// `{"type":"not","rule":{…}}`
    Not { rule: Box<Rule> },
    /// `{"type":"attribute","field":"country","test":{"op":"eq","value":"DE"}}`
    Attribute(Attribute),
    /// `{"type":"did","event":"Product Viewed","times":{"at_least":3},"within_days":30,"where":[{"property":"color","test":{…}}]}`
    Did(Did),
    /// As `did`, never: `{"type":"did_not","event":"Order Completed","within_days":90}`
    DidNot(DidNot),
    /// `{"type":"bought","category":"Home > Kitchen","within_days":180}`; neither category nor product: anything.
    Bought(Bought),
    /// `{"type":"rfm","recency":[4,5],"monetary":[5,5]}`: quantiles 1 (worst) to 5 (best), both ends included.
    Rfm(Rfm),
    /// `{"type":"trait","trait":"order_count","test":{"op":"ge","value":2}}`
    Trait(TraitTest),
    /// `{"type":"engagement","trend":"rising"}`
    Engagement(Engagement),
    /// `{"type":"seen","which":"last","when":{"within_days":30}}`
    Seen(Seen),
    /// `{"type":"consent","channel":"email","is":"subscribed"}`
    Consent(ConsentIs),
    /// `{"type":"in_segment","segment":"vip"}`: key or id. Its rule is inlined, so that no result depends on when a snapshot was taken.
    InSegment(InSegment),
    /// `{"type":"bucket","from":0,"to":5000}`: a stable random share of all people; 10,000 buckets, `to` excluded.
    Bucket(Bucket),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attribute {
    /// A column of the person (`email`, `country`, …) or `attributes.NAME`.
    pub field: Field,
    pub test: Test,
}

/// What an attribute test looks at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Field {
    Column(Column),
    /// One key of the person's open attributes.
    Open(String),
}

macro_rules! columns {
    ($($name:ident $text:literal $kind:ident $words:literal),* $(,)?) => {
        /// The person's own columns that a rule may name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Column { $($name),* }
        impl Column {
            pub const ALL: &'static [Column] = &[$(Column::$name),*];
            /// Also its name in the table `person`.
            pub const fn name(self) -> &'static str { match self { $(Self::$name => $text),* } }
            pub const fn kind(self) -> Kind { match self { $(Self::$name => Kind::$kind),* } }
            pub(super) const fn words(self) -> &'static str { match self { $(Self::$name => $words),* } }
        }
    };
}
columns! {
    ExternalId "external_id" Text "the shop's own id",
    Email "email" Text "e-mail",
    FirstName "first_name" Text "first name",
    LastName "last_name" Text "last name",
    Phone "phone" Text "phone",
    Locale "locale" Text "language",
    TimeZone "time_zone" Text "time zone",
    Country "country" Text "country",
    City "city" Text "city",
    FirstSeenAt "first_seen_at" Time "first seen",
    LastSeenAt "last_seen_at" Time "last seen",
    CreatedAt "created_at" Time "known since",
}

/// What kind of values something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Number,
    Time,
    /// Open JSON: whatever the value in the rule is.
    Open,
}

impl TryFrom<String> for Field {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if let Some(key) = text.strip_prefix("attributes.") {
            return if key.is_empty() { Err("attributes. needs a name behind the dot".into()) } else { Ok(Self::Open(key.to_owned())) };
        }
        Column::ALL.iter().copied().find(|c| c.name() == text).map(Self::Column).ok_or_else(|| {
            let names: Vec<_> = Column::ALL.iter().map(|c| c.name()).collect();
            format!("“{}” is not a field: use {} or attributes.NAME", shorten(&text), names.join(", "))
        })
    }
}
impl From<Field> for String {
    fn from(f: Field) -> String {
        match f {
            Field::Column(c) => c.name().to_owned(),
            Field::Open(key) => format!("attributes.{key}"),
        }
    }
}

/// A comparison. Text is compared without regard to case; numbers as 64-bit floats; times to the second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Test {
    Eq {
        value: Scalar,
    },
    /// Everything that `eq` is not, so also what is missing.
    Ne {
        value: Scalar,
    },
    Lt {
        value: Scalar,
    },
    Le {
        value: Scalar,
    },
    Gt {
        value: Scalar,
    },
    Ge {
        value: Scalar,
    },
    Contains {
        value: String,
    },
    StartsWith {
        value: String,
    },
    In {
        values: Vec<Scalar>,
    },
    /// There, not null and not an empty text.
    Exists {},
    /// Both ends included.
    Between {
        from: Scalar,
        to: Scalar,
    },
}

/// A value in a rule. Its type says which values it is compared with: a number never equals a text.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    Text(String),
    Number(f64),
    Bool(bool),
    /// `{"time":"2026-01-01T00:00:00Z"}`
    Time(Timestamp),
    /// `{"days_ago":30}`: before the moment the rule is looked at.
    DaysAgo(i64),
}

impl Serialize for Scalar {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(t) => s.serialize_str(t),
            #[allow(clippy::cast_possible_truncation, reason = "whole and far below 2^53")]
            Self::Number(n) if n.fract() == 0.0 && n.abs() < 9e15 => s.serialize_i64(*n as i64),
            Self::Number(n) => s.serialize_f64(*n),
            Self::Bool(b) => s.serialize_bool(*b),
            Self::Time(t) => serde_json::json!({ "time": t }).serialize(s),
            Self::DaysAgo(d) => serde_json::json!({ "days_ago": d }).serialize(s),
        }
    }
}
impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let bad = || D::Error::custom("a value is a text, a number, true, false, {\"time\":\"2026-01-01T00:00:00Z\"} or {\"days_ago\":30}");
        match Value::deserialize(d)? {
            Value::String(t) => Ok(Self::Text(t)),
            Value::Bool(b) => Ok(Self::Bool(b)),
            Value::Number(n) => n.as_f64().map(Self::Number).ok_or_else(bad),
            Value::Object(map) if map.len() == 1 => match map.iter().next() {
                Some((k, Value::String(t))) if k == "time" => {
                    Timestamp::parse(t).map(Self::Time).ok_or_else(|| D::Error::custom(format!("“{}” is not an RFC 3339 time", shorten(t))))
                }
                Some((k, Value::Number(n))) if k == "days_ago" => n.as_i64().map(Self::DaysAgo).ok_or_else(bad),
                _ => Err(bad()),
            },
            _ => Err(bad()),
        }
    }
}

/// How often. Exactly one of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Times {
    AtLeast(i64),
    AtMost(i64),
    Exactly(i64),
}
impl Default for Times {
    fn default() -> Self {
        Self::AtLeast(1)
    }
}
impl Times {
    pub fn n(self) -> i64 {
        match self {
            Self::AtLeast(n) | Self::AtMost(n) | Self::Exactly(n) => n,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Did {
    /// The event's name, exactly as it was sent.
    pub event: String,
    #[serde(default)]
    pub times: Times,
    /// Within so many days; absent: ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_days: Option<i64>,
    /// Only events about products in this category or below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Conditions on the event's properties; all must hold.
    #[serde(default, rename = "where", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<PropertyTest>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DidNot {
    pub event: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_days: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    #[serde(default, rename = "where", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<PropertyTest>,
}
impl DidNot {
    /// The same as a `did` that must not hold.
    pub fn as_did(&self) -> Did {
        Did {
            event: self.event.clone(),
            times: Times::AtLeast(1),
            within_days: self.within_days,
            category: self.category.clone(),
            conditions: self.conditions.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PropertyTest {
    /// One key of the event's properties.
    pub property: String,
    pub test: Test,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bought {
    /// A category path, `Home > Kitchen`: that category and everything below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// A product by its sku, exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_days: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rfm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recency: Option<(i64, i64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency: Option<(i64, i64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monetary: Option<(i64, i64)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraitTest {
    #[serde(rename = "trait")]
    pub name: TraitName,
    pub test: Test,
}

macro_rules! traits {
    ($($name:ident $text:literal $kind:ident $words:literal),* $(,)?) => {
        /// Computed traits that a rule may name. Money is in minor units of the shop's currency.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum TraitName { $(#[serde(rename = $text)] $name),* }
        impl TraitName {
            pub const ALL: &'static [TraitName] = &[$(TraitName::$name),*];
            /// Also its name in the table `person_traits`.
            pub const fn column(self) -> &'static str { match self { $(Self::$name => $text),* } }
            pub const fn kind(self) -> Kind { match self { $(Self::$name => Kind::$kind),* } }
            pub(super) const fn words(self) -> &'static str { match self { $(Self::$name => $words),* } }
        }
    };
}
traits! {
    OrderCount "order_count" Number "orders placed",
    RevenueMinor "revenue_minor" Number "revenue (minor units)",
    RecencyDays "recency_days" Number "days since the last order",
    ActiveDays28 "active_days_28" Number "days active of the last 28",
    Visits28 "visits_28" Number "visits in the last 28 days",
    Depth28 "depth_28" Number "pages per visit in the last 28 days",
    EngagementScore "engagement" Number "engagement",
    EngagementTrend "engagement_trend" Number "engagement trend",
    PriceP25 "price_p25_minor" Number "lower end of the usual price (minor units)",
    PriceP50 "price_p50_minor" Number "usual price (minor units)",
    PriceP75 "price_p75_minor" Number "upper end of the usual price (minor units)",
    BestHour "best_hour" Number "most active hour",
    TopCategory "top_category" Text "favourite category",
}

/// Which way engagement moves: the last 28 days against the 28 before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trend {
    Rising,
    Falling,
    Steady,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engagement {
    pub trend: Trend,
    /// A trend counts from here on (0 to 1, default 0.1); between, engagement is steady.
    #[serde(default = "default_threshold")]
    pub threshold: f64,
}
fn default_threshold() -> f64 {
    0.1
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    First,
    Last,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    Before(Timestamp),
    After(Timestamp),
    WithinDays(i64),
    /// Longer ago than so many days.
    NotWithinDays(i64),
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    pub which: Which,
    pub when: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentChannel {
    Email,
    Ads,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentState {
    Subscribed,
    Unsubscribed,
    /// Never asked, or never answered.
    Never,
}
impl ConsentState {
    /// As it stands in `person.*_consent`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subscribed => "subscribed",
            Self::Unsubscribed => "unsubscribed",
            Self::Never => "never",
        }
    }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentIs {
    pub channel: ConsentChannel,
    pub is: ConsentState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InSegment {
    pub segment: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    pub from: i64,
    pub to: i64,
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::parse(Value::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

impl Rule {
    /// Reads a rule from JSON and checks every limit.
    pub fn parse(value: Value) -> Result<Self, RuleError> {
        let rule = parse_node(value, "rule", 1)?;
        rule.check()?;
        Ok(rule)
    }

    /// How many nodes the tree has.
    pub fn nodes(&self) -> usize {
        1 + match self {
            Self::All { of } | Self::Any { of } => of.iter().map(Rule::nodes).sum(),
            Self::Not { rule } => rule.nodes(),
            Self::Did(Did { conditions, .. }) | Self::DidNot(DidNot { conditions, .. }) => conditions.len(),
            _ => 0,
        }
    }
}

fn parse_node(value: Value, path: &str, depth: usize) -> Result<Rule, RuleError> {
    if depth > MAX_DEPTH {
        return wrong(path, format!("rules are nested at most {MAX_DEPTH} deep"));
    }
    let Value::Object(mut map) = value else {
        return wrong(path, "a rule is an object with a “type”");
    };
    let kind = match map.remove("type") {
        Some(Value::String(kind)) => kind,
        _ => {
            return wrong(
                path,
                "“type” is missing: all, any, not, attribute, did, did_not, bought, rfm, trait, engagement, seen, consent, in_segment, bucket or everyone",
            );
        }
    };
    match kind.as_str() {
        "all" | "any" => {
            let list = match map.remove("of") {
                Some(Value::Array(list)) => list,
                _ => return wrong(path, "“of” must be a list of rules"),
            };
            no_more(&map, path)?;
            if list.is_empty() || list.len() > MAX_NODES {
                return wrong(path, format!("“of” needs 1 to {MAX_NODES} rules"));
            }
            let of: Result<Vec<_>, _> =
                list.into_iter().enumerate().map(|(i, v)| parse_node(v, &format!("{path}.of[{i}]"), depth + 1)).collect();
            Ok(if kind == "all" { Rule::All { of: of? } } else { Rule::Any { of: of? } })
        }
        "not" => {
            let Some(inner) = map.remove("rule") else { return wrong(path, "“not” needs a “rule”") };
            no_more(&map, path)?;
            Ok(Rule::Not { rule: Box::new(parse_node(inner, &format!("{path}.rule"), depth + 1)?) })
        }
        "everyone" => no_more(&map, path).map(|()| Rule::Everyone {}),
        "attribute" => leaf(map, path).map(Rule::Attribute),
        "did" => leaf(map, path).map(Rule::Did),
        "did_not" => leaf(map, path).map(Rule::DidNot),
        "bought" => leaf(map, path).map(Rule::Bought),
        "rfm" => leaf(map, path).map(Rule::Rfm),
        "trait" => leaf(map, path).map(Rule::Trait),
        "engagement" => leaf(map, path).map(Rule::Engagement),
        "seen" => leaf(map, path).map(Rule::Seen),
        "consent" => leaf(map, path).map(Rule::Consent),
        "in_segment" => leaf(map, path).map(Rule::InSegment),
        "bucket" => leaf(map, path).map(Rule::Bucket),
        other => wrong(path, format!("“{}” is not a type of rule", shorten(other))),
    }
}

fn leaf<T: serde::de::DeserializeOwned>(map: Map<String, Value>, path: &str) -> Result<T, RuleError> {
    serde_json::from_value(Value::Object(map)).map_err(|e| RuleError { path: path.to_owned(), why: e.to_string() })
}

fn no_more(map: &Map<String, Value>, path: &str) -> Result<(), RuleError> {
    match map.keys().next() {
        Some(key) => wrong(path, format!("unknown field “{}”", shorten(key))),
        None => Ok(()),
    }
}

pub(super) fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}
