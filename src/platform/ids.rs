//! Ids: whole numbers inside, prefixed outside (`per_42`, `tch_0190…`), so that a wrong id in a wrong place is seen at once.

use uuid::Uuid;

use super::clock::Timestamp;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("“{text}” is not an id of this kind: it starts with “{prefix}_”")]
pub struct IdError {
    pub text: String,
    pub prefix: &'static str,
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $prefix:literal, $parse:expr, $show:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
        #[sqlx(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            pub const PREFIX: &'static str = $prefix;
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let show: fn(&$inner) -> String = $show;
                write!(f, concat!($prefix, "_{}"), show(&self.0))
            }
        }
        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let parse: fn(&str) -> Option<$inner> = $parse;
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(parse)
                    .map(Self)
                    .ok_or_else(|| IdError { text: text.chars().take(80).collect(), prefix: $prefix })
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! int_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        id_type!($(#[$doc])* $name, i64, $prefix, |t| t.parse().ok().filter(|n| *n >= 0), |n| n.to_string());
    };
}
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        id_type!($(#[$doc])* $name, Uuid, $prefix, |t| Uuid::try_parse(t).ok(), |u| u.simple().to_string());
        impl $name {
            /// A new time-ordered id (UUIDv7) for an instant of our own clock.
            pub fn new(at: Timestamp) -> Self {
                Self(uuid_v7(at))
            }
        }
    };
}

int_id!(PersonId, "per");
int_id!(ProductId, "prd");
int_id!(OrderId, "ord");
int_id!(SegmentId, "seg");
int_id!(SnapshotId, "snp");
int_id!(CampaignId, "cmp");
int_id!(VariantId, "var");
int_id!(RunId, "run");
int_id!(CopyId, "cpy");
int_id!(CreativeId, "crv");
int_id!(PlacementId, "plc");
int_id!(LineItemId, "lin");
int_id!(ModelId, "mdl");
int_id!(JobRunId, "job");
int_id!(ImportId, "imp");
int_id!(ApiKeyId, "key");
int_id!(UserId, "usr");
uuid_id!(EventId, "evt");
uuid_id!(TouchId, "tch");

/// A UUIDv7 at an instant of our own clock: sortable by time, unguessable in its last 62 bits.
pub fn uuid_v7(at: Timestamp) -> Uuid {
    let us = at.micros().max(0).unsigned_abs();
    let nanos = u32::try_from(us % 1_000_000).unwrap_or(0) * 1000;
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, us / 1_000_000, nanos))
}

/// A random UUID (version 4), for names that need no order.
pub fn uuid_v4() -> Uuid {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_their_kind() {
        assert_eq!(PersonId(7).to_string(), "per_7");
        assert_eq!("per_7".parse(), Ok(PersonId(7)));
        assert!("cmp_7".parse::<PersonId>().is_err());
        assert!("per_-7".parse::<PersonId>().is_err());
        let t = TouchId::new(Timestamp::from_secs(1_700_000_000));
        assert_eq!(t.to_string().parse(), Ok(t));
        assert!(TouchId::new(Timestamp::from_secs(1_700_000_001)) > t);
    }
}
