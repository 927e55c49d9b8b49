//! What a test looks at (columns, attributes, computed traits) and what it is held against.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::shorten;
use crate::platform::clock::Timestamp;

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
            pub(in crate::audience) const fn words(self) -> &'static str { match self { $(Self::$name => $words),* } }
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
            pub(in crate::audience) const fn words(self) -> &'static str { match self { $(Self::$name => $words),* } }
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
