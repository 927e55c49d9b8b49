//! Persons, identities, consent: pure types and rules.

use std::fmt;
use std::str::FromStr;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::types::Json;

use crate::platform::clock::Timestamp;
use crate::platform::http::ApiError;
use crate::platform::ids::PersonId;

/// Most keys among a person's attributes.
pub const MAX_ATTRIBUTES: usize = 200;
/// Most bytes of a person's attributes, as JSON.
pub const MAX_ATTRIBUTES_BYTES: usize = 32 * 1024;
/// Most characters in a name, id, locale, …
pub(super) const MAX_FIELD_CHARS: usize = 255;

#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    #[error("{detail}")]
    Invalid { field: &'static str, detail: String },
    #[error("a person needs an external id, an anonymous id or an e-mail address")]
    NoIdentity,
    #[error("there is no such person")]
    NotFound,
    #[error("this id or address belonged to a person who was erased; only a new sign-up of their own (POST /v1/identify) begins again")]
    Erased,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl PeopleError {
    pub(super) fn invalid(field: &'static str, detail: impl Into<String>) -> Self {
        Self::Invalid { field, detail: detail.into() }
    }
    /// Whether another transaction was in the way (unique violation, deadlock, serialisation) and trying again makes sense.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(e)) => {
                e.is_unique_violation() || matches!(e.code().as_deref(), Some("40001" | "40P01" | "5" | "517"))
            }
            _ => false,
        }
    }
}

impl From<PeopleError> for ApiError {
    fn from(e: PeopleError) -> Self {
        match e {
            PeopleError::Invalid { field, detail } => ApiError::invalid(field, detail),
            PeopleError::NoIdentity => ApiError::invalid("external_id", e.to_string()),
            PeopleError::NotFound => ApiError::not_found("person"),
            PeopleError::Erased => ApiError::conflict("person_erased", e.to_string()),
            PeopleError::Database(e) => e.into(),
        }
    }
}

/// What somebody agreed to, per channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    Subscribed,
    Unsubscribed,
    /// Never asked, never answered.
    #[default]
    Never,
}

impl Consent {
    pub fn name(self) -> &'static str {
        match self {
            Self::Subscribed => "subscribed",
            Self::Unsubscribed => "unsubscribed",
            Self::Never => "never",
        }
    }
}
impl fmt::Display for Consent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
impl FromStr for Consent {
    type Err = PeopleError;
    fn from_str(s: &str) -> Result<Self, PeopleError> {
        match s {
            "subscribed" => Ok(Self::Subscribed),
            "unsubscribed" => Ok(Self::Unsubscribed),
            "never" => Ok(Self::Never),
            _ => Err(PeopleError::invalid("consent", "consent is subscribed, unsubscribed or never")),
        }
    }
}
impl TryFrom<String> for Consent {
    type Error = PeopleError;
    fn try_from(s: String) -> Result<Self, PeopleError> {
        s.parse()
    }
}

/// What a consent is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Email,
    Ads,
}

impl Channel {
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Ads => "ads",
        }
    }
}

/// Who vouches for an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A key that stands in a page for everybody to read. It may add events, and fields that are still empty. It links no identities: an
    /// anonymous id tied to a customer by a mere claim would see that customer's personal choice.
    Public,
    /// The shop's own server, an import or a marketer.
    Server,
}

/// One name that a person goes by. E-mail addresses are held as their key ([`email_key`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    External(String),
    Anonymous(String),
    Email(String),
}

impl Identity {
    /// The identity of an address; `None` where it is not one.
    pub fn email(address: &str) -> Option<Self> {
        email_key(address).map(Self::Email)
    }
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::External(_) => "external",
            Self::Anonymous(_) => "anonymous",
            Self::Email(_) => "email",
        }
    }
    pub(super) fn value(&self) -> &str {
        match self {
            Self::External(v) | Self::Anonymous(v) | Self::Email(v) => v,
        }
    }
    pub(super) fn from_parts(kind: &str, value: String) -> Option<Self> {
        match kind {
            "external" => Some(Self::External(value)),
            "anonymous" => Some(Self::Anonymous(value)),
            "email" => Some(Self::Email(value)),
            _ => None,
        }
    }
}

/// The names under which a call or an import row speaks of somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    pub external_id: Option<String>,
    pub anonymous_id: Option<String>,
    /// As written; compared by its key.
    pub email: Option<String>,
}

impl Ids {
    pub fn external(id: impl Into<String>) -> Self {
        Self { external_id: Some(id.into()), ..Self::default() }
    }
    pub fn anonymous(id: impl Into<String>) -> Self {
        Self { anonymous_id: Some(id.into()), ..Self::default() }
    }
    pub fn of_email(address: impl Into<String>) -> Self {
        Self { email: Some(address.into()), ..Self::default() }
    }
    pub(super) fn email_key(&self) -> Option<String> {
        self.email.as_deref().and_then(email_key)
    }
}

/// A profile as stored. Times are UTC; `bucket` is a stable hash of the id, 0..9999.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Person {
    #[schema(value_type = String, example = "per_42")]
    pub id: PersonId,
    pub external_id: Option<String>,
    pub email: Option<String>,
    /// The address lower-cased: what addresses are compared by.
    #[serde(skip)]
    pub email_key: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub phone: Option<String>,
    /// BCP 47, as given (`en`, `zh-CN`).
    pub locale: Option<String>,
    /// IANA name; always one that is known.
    pub time_zone: Option<String>,
    pub country: Option<String>,
    pub city: Option<String>,
    #[schema(value_type = Object)]
    pub attributes: Json<Map<String, Value>>,
    #[sqlx(try_from = "String")]
    pub email_consent: Consent,
    #[sqlx(try_from = "String")]
    pub ads_consent: Consent,
    pub bucket: i64,
    #[schema(value_type = String, format = DateTime)]
    pub first_seen_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub last_seen_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// Set when erased, or merged into somebody else.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub erased_at: Option<Timestamp>,
    #[schema(value_type = Option<String>)]
    pub merged_into: Option<PersonId>,
}

impl Person {
    /// The person's own zone, or the shop's.
    pub fn zone(&self, shop: Tz) -> Tz {
        self.time_zone.as_deref().and_then(|z| z.parse().ok()).unwrap_or(shop)
    }
    pub fn consent(&self, channel: Channel) -> Consent {
        match channel {
            Channel::Email => self.email_consent,
            Channel::Ads => self.ads_consent,
        }
    }
    /// First name, or what the address or id begins with; for lists, never for mails.
    pub fn label(&self) -> String {
        let name = [self.first_name.as_deref(), self.last_name.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ");
        if !name.is_empty() {
            return name;
        }
        self.email.clone().or_else(|| self.external_id.clone()).unwrap_or_else(|| self.id.to_string())
    }
}

/// A profile on its way in: what is `None` stays as it was. An attribute that is JSON null is removed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewPerson {
    pub external_id: Option<String>,
    pub anonymous_id: Option<String>,
    pub email: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub phone: Option<String>,
    pub locale: Option<String>,
    pub time_zone: Option<String>,
    pub country: Option<String>,
    pub city: Option<String>,
    pub attributes: Map<String, Value>,
    pub email_consent: Option<Consent>,
    pub ads_consent: Option<Consent>,
    /// Where a consent comes from: `import:mailchimp`, `identify`, `preferences`. Empty means `api`.
    pub consent_source: String,
    /// When consent was given; now where absent.
    pub consent_at: Option<Timestamp>,
    /// When the person was first met; now where absent.
    pub first_seen_at: Option<Timestamp>,
}

impl NewPerson {
    pub fn ids(&self) -> Ids {
        Ids { external_id: self.external_id.clone(), anonymous_id: self.anonymous_id.clone(), email: self.email.clone() }
    }

    /// Whether anything but identities is in it.
    pub fn has_profile(&self) -> bool {
        let texts = [&self.first_name, &self.last_name, &self.phone, &self.locale, &self.time_zone, &self.country, &self.city];
        texts.iter().any(|t| t.is_some())
            || !self.attributes.is_empty()
            || self.email_consent.is_some()
            || self.ads_consent.is_some()
            || self.first_seen_at.is_some()
    }

    /// Trims texts, removes NUL characters and blanks, and checks lengths, address and time zone. What had to be left out is said in the
    /// notes; what cannot be stored at all is an error.
    pub fn clean(mut self) -> Result<(Self, Vec<String>), PeopleError> {
        let mut notes = Vec::new();
        for (field, text) in [
            ("external_id", &mut self.external_id),
            ("anonymous_id", &mut self.anonymous_id),
            ("email", &mut self.email),
            ("first_name", &mut self.first_name),
            ("last_name", &mut self.last_name),
            ("phone", &mut self.phone),
            ("locale", &mut self.locale),
            ("time_zone", &mut self.time_zone),
            ("country", &mut self.country),
            ("city", &mut self.city),
        ] {
            if let Some(value) = text.take() {
                let value = value.replace('\0', "").trim().to_owned();
                if value.chars().count() > MAX_FIELD_CHARS {
                    return Err(PeopleError::invalid(field, format!("{field} is longer than {MAX_FIELD_CHARS} characters")));
                }
                *text = (!value.is_empty()).then_some(value);
            }
        }
        if self.email.as_deref().is_some_and(|e| email_key(e).is_none()) {
            self.email = None;
            notes.push("the e-mail address is not one and was left out".to_owned());
        }
        if self.time_zone.as_deref().is_some_and(|z| z.parse::<Tz>().is_err()) {
            self.time_zone = None;
            notes.push("the time zone is unknown and was left out: use an IANA name such as Europe/Berlin".to_owned());
        }
        strip_nul(&mut self.attributes);
        check_attributes(&self.attributes)?;
        Ok((self, notes))
    }
}

/// Removes NUL characters from every key and text: Postgres stores none, and no name has one.
pub fn strip_nul(map: &mut Map<String, Value>) {
    fn value(v: &mut Value) {
        match v {
            Value::String(s) if s.contains('\0') => *s = s.replace('\0', ""),
            Value::Array(items) => items.iter_mut().for_each(value),
            Value::Object(map) => strip_nul(map),
            _ => {}
        }
    }
    if map.keys().any(|k| k.contains('\0')) {
        *map = std::mem::take(map).into_iter().map(|(k, v)| (k.replace('\0', ""), v)).collect();
    }
    map.values_mut().for_each(value);
}

pub(super) fn check_attributes(attributes: &Map<String, Value>) -> Result<(), PeopleError> {
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(PeopleError::invalid("attributes", format!("a person holds at most {MAX_ATTRIBUTES} attributes")));
    }
    let bytes = serde_json::to_vec(attributes).map_or(usize::MAX, |v| v.len());
    if bytes > MAX_ATTRIBUTES_BYTES {
        return Err(PeopleError::invalid("attributes", format!("a person's attributes take at most {MAX_ATTRIBUTES_BYTES} bytes as JSON")));
    }
    Ok(())
}

/// What an address is compared by: trimmed and lower-cased. `None` where the text cannot be an address.
pub fn email_key(address: &str) -> Option<String> {
    let key = address.trim().to_lowercase();
    let (local, domain) = key.rsplit_once('@')?;
    let fits = key.len() <= 254 && !local.is_empty() && local.len() <= 64 && !domain.starts_with('.') && !domain.ends_with('.');
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '<' | '>' | '(' | ')' | ',' | ';' | ':' | '"' | '\\' | '@');
    (fits && domain.contains('.') && !domain.contains("..") && local.chars().all(plain) && domain.chars().all(plain)).then_some(key)
}

/// Stable and even over 0..9999: SplitMix64's finaliser (Steele, Lea, Flood 2014) of the id.
pub fn bucket_of(id: PersonId) -> i64 {
    let mut z = id.0.unsigned_abs().wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    i64::try_from((z ^ (z >> 31)) % 10_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_without_case() {
        assert_eq!(email_key(" Ann@Example.TEST "), Some("ann@example.test".into()));
        for bad in
            ["", "ann", "@example.test", "ann@", "ann@localhost", "a b@example.test", "a@b@example.test", "a@.test", "a\n@example.test"]
        {
            assert_eq!(email_key(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn buckets_are_even() {
        let mut counts = [0_u32; 10];
        for id in 1..=100_000 {
            counts[usize::try_from(bucket_of(PersonId(id)) / 1000).expect("small")] += 1;
        }
        assert!(counts.iter().all(|n| (9_500..10_500).contains(n)), "{counts:?}");
        assert_eq!(bucket_of(PersonId(42)), bucket_of(PersonId(42)));
    }

    #[test]
    fn cleaning_says_what_it_left_out() {
        let dirty = NewPerson {
            external_id: Some(" a\0b ".into()),
            email: Some("not one".into()),
            time_zone: Some("Mars/Olympus".into()),
            city: Some("  ".into()),
            attributes: serde_json::from_str(r#"{"k\u0000":["x\u0000"]}"#).expect("json"),
            ..NewPerson::default()
        };
        let (clean, notes) = dirty.clean().expect("can be stored");
        assert_eq!(clean.external_id.as_deref(), Some("ab"));
        assert_eq!((clean.email, clean.time_zone, clean.city), (None, None, None));
        assert_eq!(Value::Object(clean.attributes), serde_json::json!({"k": ["x"]}));
        assert_eq!(notes.len(), 2);
        let long = NewPerson { first_name: Some("x".repeat(300)), ..NewPerson::default() };
        assert!(matches!(long.clean(), Err(PeopleError::Invalid { field: "first_name", .. })));
        let many = NewPerson { attributes: (0..201).map(|i| (i.to_string(), Value::Null)).collect(), ..NewPerson::default() };
        assert!(many.clean().is_err());
    }
}
