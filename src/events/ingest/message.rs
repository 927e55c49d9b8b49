//! One call of the Segment spec, read from JSON into what has to be done.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::events::commerce::{self, Commerce, Setting};
use crate::events::model::name;
use crate::events::orders::Source;
use crate::people::{Consent, Ids, MAX_ATTRIBUTES, NewPerson, Trust, strip_nul};
use crate::platform::clock::{DAY_US, Timestamp};
use crate::platform::money::Currency;

/// Largest single call and largest message in a batch, bytes of JSON.
pub const MAX_MESSAGE_BYTES: usize = 32 * 1024;
const MAX_ID_CHARS: usize = 255;
const MAX_NAME_CHARS: usize = 200;
/// Before this a timestamp is a slip (a clock that was never set): 1990-01-01.
const EARLIEST: Timestamp = Timestamp::from_secs(631_152_000);

/// The kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Identify,
    Track,
    Page,
    Screen,
    Group,
    Alias,
}

impl Kind {
    pub const ALL: [Kind; 6] = [Kind::Identify, Kind::Track, Kind::Page, Kind::Screen, Kind::Group, Kind::Alias];

    pub fn name(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Track => "track",
            Self::Page => "page",
            Self::Screen => "screen",
            Self::Group => "group",
            Self::Alias => "alias",
        }
    }
    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == text)
    }
}

/// What holds for all messages of one request.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub received_at: Timestamp,
    pub sent_at: Option<Timestamp>,
    pub trust: Trust,
    pub shop_currency: Currency,
    /// `context` of the batch: what its messages do not say themselves.
    pub context: Map<String, Value>,
}

/// A message that can be carried out.
#[derive(Clone, Debug)]
pub struct Message {
    /// 16 bytes of SHA-256 of the message id: what it is deduplicated by.
    pub key: Uuid,
    pub trust: Trust,
    pub ids: Ids,
    pub occurred_at: Timestamp,
    pub received_at: Timestamp,
    /// Traits of an identify or group call, and what the context tells.
    pub profile: NewPerson,
    pub event: Option<EventPart>,
    pub commerce: Option<Commerce>,
    /// An identify call of the shop's server: somebody signs up, or in.
    pub signs_up: bool,
    /// Of an alias call: the id that was used before.
    pub previous_id: Option<String>,
    pub notes: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct EventPart {
    pub kind: &'static str,
    pub name: String,
    pub skus: Vec<String>,
    pub properties: Map<String, Value>,
}

/// Reads one message. The error says in words what is wrong with it.
pub fn read(value: Value, kind: Option<Kind>, envelope: &Envelope) -> Result<Message, String> {
    let Value::Object(mut body) = value else { return Err("a message is a JSON object".into()) };
    let kind = match (kind, body.get("type")) {
        (Some(kind), _) => kind,
        (None, Some(Value::String(text))) => Kind::parse(text).ok_or("type must be identify, track, page, screen, group or alias")?,
        (None, _) => return Err("type is missing".into()),
    };
    strip_nul(&mut body);
    let context = context(&mut body, envelope);
    let (key, message) = message_key(&body, envelope)?;
    let occurred_at = occurred_at(&body, envelope)?;
    let ids = Ids { external_id: id(&body, "userId")?, anonymous_id: id(&body, "anonymousId")?, email: None };
    let mut out = Message {
        key,
        trust: envelope.trust,
        ids,
        occurred_at,
        received_at: envelope.received_at,
        profile: NewPerson::default(),
        event: None,
        commerce: None,
        signs_up: kind == Kind::Identify && envelope.trust == Trust::Server,
        previous_id: None,
        notes: Vec::new(),
    };
    match kind {
        Kind::Alias => out.previous_id = Some(alias(&mut out.ids, &body, envelope.trust)?),
        Kind::Identify => {
            let traits = object(&mut body, "traits")?;
            out.profile = profile(traits, occurred_at)?;
        }
        Kind::Group => {
            let group = id(&body, "groupId")?.ok_or("groupId is missing")?;
            out.profile.attributes.insert("group_id".into(), Value::String(group.clone()));
            let mut properties = object(&mut body, "traits")?;
            properties.insert("group_id".into(), Value::String(group));
            out.event = Some(EventPart { kind: "group", name: name::GROUP_JOINED.into(), skus: Vec::new(), properties });
        }
        Kind::Track | Kind::Page | Kind::Screen => {
            let part = event(kind, &mut body)?;
            let source = if envelope.trust == Trust::Server { Source::Server } else { Source::Page };
            let setting = Setting { shop_currency: envelope.shop_currency, at: occurred_at, message: &message, source };
            out.commerce = if kind == Kind::Track { commerce::read(&part.name, &part.properties, setting).transpose()? } else { None };
            out.event = Some(part);
        }
    }
    if let Some(part) = &mut out.event {
        keep_context(&mut part.properties, &context);
    }
    from_context(&mut out.profile, &context);
    (out.profile, out.notes) = out.profile.clean().map_err(|e| e.to_string())?;
    out.ids.email = out.profile.email.take();
    // A server may speak of somebody by address alone.
    let named = out.ids.external_id.is_some() || out.ids.anonymous_id.is_some();
    let by_address = envelope.trust == Trust::Server && out.ids.email.is_some();
    if !named && !by_address {
        return Err("userId or anonymousId is missing".into());
    }
    if envelope.trust == Trust::Public {
        out.profile.email = out.ids.email.clone();
    }
    Ok(out)
}

fn object(body: &mut Map<String, Value>, field: &str) -> Result<Map<String, Value>, String> {
    match body.remove(field) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(_) => Err(format!("{field} must be a JSON object")),
    }
}

/// The message's own context over the batch's.
fn context(body: &mut Map<String, Value>, envelope: &Envelope) -> Map<String, Value> {
    let mut context = envelope.context.clone();
    if let Some(Value::Object(own)) = body.remove("context") {
        context.extend(own);
    }
    context
}

/// The key, and the same as text. A public key's ids are kept apart, so that it cannot use up those of the server.
fn message_key(body: &Map<String, Value>, envelope: &Envelope) -> Result<(Uuid, String), String> {
    let key = match body.get("messageId") {
        None | Some(Value::Null) => crate::platform::ids::uuid_v4(),
        Some(value) => {
            let id = commerce_text(value, "messageId")?;
            let realm: &[u8] = if envelope.trust == Trust::Server { b"server/" } else { b"public/" };
            let digest = Sha256::new().chain_update(realm).chain_update(id.as_bytes()).finalize();
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&digest[..16]);
            Uuid::from_bytes(bytes)
        }
    };
    Ok((key, key.simple().to_string()))
}

fn commerce_text(value: &Value, field: &str) -> Result<String, String> {
    let text = match value {
        Value::String(s) => s.trim().to_owned(),
        Value::Number(n) => n.to_string(),
        _ => return Err(format!("{field} must be a text")),
    };
    if text.chars().count() > MAX_ID_CHARS {
        return Err(format!("{field} is longer than {MAX_ID_CHARS} characters"));
    }
    Ok(text)
}

/// An id: a text or a number; blank is none.
fn id(body: &Map<String, Value>, field: &str) -> Result<Option<String>, String> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => commerce_text(value, field).map(|t| (!t.is_empty()).then_some(t)),
    }
}

fn time(body: &Map<String, Value>, field: &str) -> Result<Option<Timestamp>, String> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Timestamp::parse(text).map(Some).ok_or_else(|| format!("{field} is not an ISO 8601 time")),
        Some(_) => Err(format!("{field} must be a text in ISO 8601")),
    }
}

/// `sentAt` of a body, where it can be read.
pub fn sent_at(body: &Map<String, Value>) -> Option<Timestamp> {
    time(body, "sentAt").ok().flatten()
}

/// Segment's correction for wrong clocks: received − (sent − said). What would lie more than a day ahead, or before 1990, happened when it
/// was received.
fn occurred_at(body: &Map<String, Value>, envelope: &Envelope) -> Result<Timestamp, String> {
    let said = match time(body, "timestamp")? {
        Some(t) => Some(t),
        None => time(body, "originalTimestamp")?,
    };
    let received = envelope.received_at;
    let sent = sent_at(body).or(envelope.sent_at);
    let at = match (said, sent) {
        (None, _) => received,
        (Some(said), None) => said,
        (Some(said), Some(sent)) => Timestamp(received.0.saturating_sub(sent.0.saturating_sub(said.0))),
    };
    Ok(if at < EARLIEST || at > received.plus_us(DAY_US) { received } else { at })
}

fn event(kind: Kind, body: &mut Map<String, Value>) -> Result<EventPart, String> {
    let mut properties = object(body, "properties")?;
    let (kind_name, event_name) = match kind {
        Kind::Track => {
            let event = match body.get("event") {
                Some(Value::String(text)) => text.trim().to_owned(),
                _ => return Err("event is missing: what happened?".into()),
            };
            ("track", event)
        }
        Kind::Page => ("page", name::PAGE_VIEWED.to_owned()),
        _ => ("screen", name::SCREEN_VIEWED.to_owned()),
    };
    if event_name.is_empty() || event_name.chars().count() > MAX_NAME_CHARS {
        return Err(format!("an event's name has 1 to {MAX_NAME_CHARS} characters"));
    }
    for field in ["name", "category"] {
        if kind != Kind::Track
            && let Some(value @ Value::String(_)) = body.remove(field)
        {
            properties.entry(field).or_insert(value);
        }
    }
    Ok(EventPart { kind: kind_name, name: event_name, skus: commerce::skus(&properties), properties })
}

/// What of the context is worth keeping with an event: where it happened and which campaign led there. No IP address, no device.
fn keep_context(properties: &mut Map<String, Value>, context: &Map<String, Value>) {
    let mut kept = Map::new();
    for field in ["page", "campaign", "referrer"] {
        if let Some(value @ Value::Object(_)) = context.get(field) {
            kept.insert(field.into(), value.clone());
        }
    }
    if !kept.is_empty() {
        properties.insert("context".into(), Value::Object(kept));
    }
}

fn from_context(profile: &mut NewPerson, context: &Map<String, Value>) {
    if profile.time_zone.is_none() {
        profile.time_zone = commerce::text(context.get("timezone"));
    }
    if profile.locale.is_none() {
        profile.locale = commerce::text(context.get("locale"));
    }
}

/// `previousId` becomes a name of `userId`. Only a server may say so.
fn alias(ids: &mut Ids, body: &Map<String, Value>, trust: Trust) -> Result<String, String> {
    if trust == Trust::Public {
        return Err("alias needs a server's key (ingest and manage): this one is public".into());
    }
    if ids.external_id.is_none() {
        return Err("userId is missing".into());
    }
    ids.anonymous_id = None;
    id(body, "previousId")?.ok_or_else(|| "previousId is missing".into())
}

/// Segment's reserved traits as fields; the others as attributes.
fn profile(mut traits: Map<String, Value>, at: Timestamp) -> Result<NewPerson, String> {
    let mut new = NewPerson { consent_source: "identify".into(), consent_at: Some(at), ..NewPerson::default() };
    let mut take = |names: &[&str]| names.iter().find_map(|n| traits.remove(*n)).and_then(|v| commerce::text(Some(&v)));
    new.email = take(&["email"]);
    new.first_name = take(&["firstName", "first_name", "firstname"]);
    new.last_name = take(&["lastName", "last_name", "lastname"]);
    new.phone = take(&["phone"]);
    new.locale = take(&["locale", "language"]);
    new.time_zone = take(&["timezone", "time_zone", "timeZone"]);
    new.country = take(&["country"]);
    new.city = take(&["city"]);
    let consents = (take(&["email_consent", "emailConsent"]), take(&["ads_consent", "adsConsent"]));
    if let Some(Value::Object(address)) = traits.get("address") {
        new.country = new.country.or_else(|| commerce::text(address.get("country")));
        new.city = new.city.or_else(|| commerce::text(address.get("city")));
    }
    if let (None, None, Some(name)) = (&new.first_name, &new.last_name, commerce::text(traits.get("name"))) {
        match name.split_once(' ') {
            Some((first, last)) => (new.first_name, new.last_name) = (Some(first.to_owned()), Some(last.trim().to_owned())),
            None => new.first_name = Some(name),
        }
    }
    let consent = |text: Option<String>| text.map(|t| t.to_lowercase().parse::<Consent>()).transpose().map_err(|e| e.to_string());
    new.email_consent = consent(consents.0)?;
    new.ads_consent = consent(consents.1)?;
    if traits.len() > MAX_ATTRIBUTES {
        return Err(format!("at most {MAX_ATTRIBUTES} traits"));
    }
    new.attributes = traits;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const RECEIVED: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn envelope(trust: Trust) -> Envelope {
        Envelope { received_at: RECEIVED, sent_at: None, trust, shop_currency: Currency::EUR, context: Map::new() }
    }
    fn server(value: Value) -> Result<Message, String> {
        read(value, None, &envelope(Trust::Server))
    }

    #[test]
    fn clocks_are_corrected_as_segment_does() {
        let at = |sent: Option<Timestamp>, said: &str| {
            let envelope = Envelope { sent_at: sent, ..envelope(Trust::Server) };
            read(json!({"type": "track", "userId": "u", "event": "e", "timestamp": said}), None, &envelope).expect("reads").occurred_at
        };
        let said = RECEIVED.plus_secs(3600);
        // The sender's clock is an hour ahead: what it says happened 10 s before it sent happened 10 s before it was received.
        assert_eq!(at(Some(said.plus_secs(10)), &said.to_string()), RECEIVED.plus_secs(-10));
        assert_eq!(at(None, &RECEIVED.plus_days(-300).to_string()), RECEIVED.plus_days(-300));
        assert_eq!(at(None, &RECEIVED.plus_days(2).to_string()), RECEIVED);
        assert_eq!(at(None, "1970-01-01T00:00:00Z"), RECEIVED);
        assert_eq!(at(Some(RECEIVED), "0001-01-01T00:00:00Z"), RECEIVED);
        assert!(server(json!({"type": "track", "userId": "u", "event": "e", "timestamp": "yesterday"})).is_err());
    }

    #[test]
    fn traits_become_fields_and_attributes() {
        let m = server(
            json!({"type": "identify", "userId": 7, "traits": {"email": "Ann@Example.test", "name": "Ann Lee", "timezone": "Nowhere",
            "address": {"city": "Bern"}, "plan": "gold", "email_consent": "Subscribed"}}),
        )
        .expect("reads");
        assert_eq!((m.ids.external_id.as_deref(), m.ids.email.as_deref()), (Some("7"), Some("Ann@Example.test")));
        assert_eq!((m.profile.first_name.as_deref(), m.profile.last_name.as_deref()), (Some("Ann"), Some("Lee")));
        assert_eq!(
            (m.profile.city.as_deref(), m.profile.time_zone, m.profile.email_consent),
            (Some("Bern"), None, Some(Consent::Subscribed))
        );
        assert_eq!(m.profile.attributes["plan"], "gold");
        assert_eq!(m.notes.len(), 1, "the unknown zone is told: {:?}", m.notes);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (value, hint) in [
            (json!([]), "object"),
            (json!({"userId": "u"}), "type"),
            (json!({"type": "buy", "userId": "u"}), "type"),
            (json!({"type": "track", "userId": "u"}), "event"),
            (json!({"type": "track", "event": "e"}), "userId"),
            (json!({"type": "track", "event": "", "userId": "u"}), "name"),
            (json!({"type": "track", "event": "e", "userId": {"$gt": 1}}), "userId"),
            (json!({"type": "track", "event": "e", "userId": "u", "properties": "x"}), "properties"),
            (json!({"type": "track", "event": "e", "userId": "x".repeat(300)}), "userId"),
            (json!({"type": "alias", "userId": "u"}), "previousId"),
            (json!({"type": "group", "userId": "u"}), "groupId"),
            (json!({"type": "track", "event": "Order Refunded", "userId": "u"}), "order_id"),
        ] {
            let error = server(value.clone()).expect_err("refused");
            assert!(error.contains(hint), "{value}: {error}");
        }
        let alias = json!({"type": "alias", "userId": "u", "previousId": "a"});
        assert!(read(alias, None, &envelope(Trust::Public)).is_err());
    }

    #[test]
    fn a_public_message_id_is_another_key_than_the_servers() {
        let message = json!({"type": "track", "event": "e", "userId": "u", "messageId": "m"});
        let a = read(message.clone(), None, &envelope(Trust::Public)).expect("reads").key;
        let b = server(message.clone()).expect("reads").key;
        assert_ne!(a, b);
        assert_eq!(b, server(message).expect("reads").key);
    }
}
