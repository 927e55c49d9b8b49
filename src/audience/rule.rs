//! The rule tree: what a segment says of a person. Typed, bounded, and readable as a sentence.
//!
//! JSON: every node is an object with a `type`; see the variants. Parsing, and the limits, name the place in the tree (`rule.of[2].test`).
//!
//! Meaning, everywhere two-valued: a test of something that is missing, null or of another type is **false**, and `not` (also `ne`) turns
//! that into true. Time-bound facts (events, orders, first and last seen) are looked at as of a given moment; attributes, consent and
//! computed traits as they are now, because no history of them is kept.

mod parse;
mod value;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::platform::Fault;
use crate::platform::clock::Timestamp;

pub use value::{Column, Field, Kind, Scalar, Test, TraitName};

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
    pub why: Fault,
}

pub(super) fn wrong<T>(path: &str, why: impl Into<Fault>) -> Result<T, RuleError> {
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
        let rule = parse::node(value, "rule", 1)?;
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

pub(super) fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}
