//! What a touch is: its states and which may follow which, its arms, and the signals that come back on it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::platform::Timestamp;
use crate::platform::ids::{CampaignId, CopyId, CreativeId, PersonId, PlacementId, ProductId, RunId, TouchId, VariantId};

/// An enum that is stored as one word of text.
macro_rules! word_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl $name {
            pub const ALL: &'static [$name] = &[$(Self::$variant),*];
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl std::str::FromStr for $name {
            type Err = $crate::touches::UnknownWord;
            fn from_str(text: &str) -> Result<Self, $crate::touches::UnknownWord> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err($crate::touches::UnknownWord { kind: stringify!($name), word: text.chars().take(40).collect() }),
                }
            }
        }
        impl TryFrom<String> for $name {
            type Error = $crate::touches::UnknownWord;
            fn try_from(text: String) -> Result<Self, $crate::touches::UnknownWord> {
                text.parse()
            }
        }
    };
}
pub(crate) use word_enum;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("“{word}” is no {kind}")]
pub struct UnknownWord {
    pub kind: &'static str,
    pub word: String,
}

word_enum!(
    /// Where a touch meets its person.
    TouchChannel {
        Email = "email",
        Banner = "banner",
    }
);

word_enum!(
    /// Whether the person is really addressed, or only recorded as somebody who would have been (the holdout).
    Arm {
        Treated = "treated",
        Ghost = "ghost",
    }
);

word_enum!(
    /// Where a touch stands; see [`TouchState::may_follow`] for what may follow what.
    TouchState {
        /// Waits for its due time.
        Planned = "planned",
        /// A worker has it, until the lease ends.
        Claimed = "claimed",
        /// Handed to the mail server; nobody knows yet how that ends.
        Sending = "sending",
        /// The mail server took it.
        Sent = "sent",
        /// It will not go out; `reason` says why.
        Failed = "failed",
        /// A worker vanished while sending: perhaps it went out. Never sent again by itself.
        Uncertain = "uncertain",
        /// Put off until `next_attempt_at`.
        Deferred = "deferred",
        /// A rule kept it back; `reason` says which.
        Skipped = "skipped",
        Cancelled = "cancelled",
        /// Its time passed before it could go out.
        Expired = "expired",
        /// A ghost that passed every check at its due time: it would have been sent.
        Held = "held",
        /// A banner that was shown.
        Served = "served",
    }
);

use TouchState as S;

/// Every step a touch may take. Whatever is not listed is refused by the UPDATE that would do it.
///
/// | from | to | by |
/// |---|---|---|
/// | planned, deferred | claimed | `claim` |
/// | planned, deferred | cancelled, expired | cancelling a campaign, passing time |
/// | claimed | sending | `begin_sending` (treated touches only) |
/// | claimed | deferred, skipped, failed, expired, cancelled | the checks at the claim, rendering |
/// | claimed | held | a ghost that passed all checks |
/// | claimed | planned | the lease ended, or the worker gave it back |
/// | sending | sent, failed, deferred, uncertain | the mail server's answer, or its absence |
/// | uncertain | sent, failed | the worker came back with the answer after all |
/// | uncertain, failed | planned | a person asked for it (`resend`) |
pub const TRANSITIONS: &[(TouchState, &[TouchState])] = &[
    (S::Planned, &[S::Claimed, S::Cancelled, S::Expired]),
    (S::Deferred, &[S::Claimed, S::Cancelled, S::Expired]),
    (S::Claimed, &[S::Sending, S::Deferred, S::Skipped, S::Failed, S::Expired, S::Cancelled, S::Held, S::Planned]),
    (S::Sending, &[S::Sent, S::Failed, S::Deferred, S::Uncertain]),
    (S::Uncertain, &[S::Sent, S::Failed, S::Planned]),
    (S::Failed, &[S::Planned]),
    (S::Sent, &[]),
    (S::Skipped, &[]),
    (S::Cancelled, &[]),
    (S::Expired, &[]),
    (S::Held, &[]),
    (S::Served, &[]),
];

impl TouchState {
    /// Whether a touch may go from `from` to `self`.
    pub fn may_follow(self, from: TouchState) -> bool {
        TRANSITIONS.iter().any(|(f, to)| *f == from && to.contains(&self))
    }
    /// The states from which a touch may come to `self`.
    pub fn sources(self) -> Vec<TouchState> {
        TRANSITIONS.iter().filter(|(_, to)| to.contains(&self)).map(|(from, _)| *from).collect()
    }
    /// Still waiting for something to happen by itself.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Planned | Self::Deferred | Self::Claimed | Self::Sending)
    }
}

/// One row of the record.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow, Serialize, ToSchema)]
pub struct Touch {
    #[schema(value_type = String, example = "tch_01932b6c8e7a7c3e9f0a1b2c3d4e5f60")]
    pub id: TouchId,
    #[sqlx(try_from = "String")]
    pub channel: TouchChannel,
    #[sqlx(try_from = "String")]
    pub arm: Arm,
    #[sqlx(try_from = "String")]
    pub state: TouchState,
    /// Why it was skipped, deferred, failed …: a short stable code, then perhaps a colon and words.
    pub reason: Option<String>,
    #[schema(value_type = Option<String>)]
    pub person_id: Option<PersonId>,
    #[serde(skip)]
    pub anonymous_id: Option<String>,
    #[schema(value_type = String)]
    pub campaign_id: CampaignId,
    #[schema(value_type = Option<String>)]
    pub run_id: Option<RunId>,
    #[schema(value_type = Option<String>)]
    pub variant_id: Option<VariantId>,
    #[schema(value_type = Option<String>)]
    pub product_id: Option<ProductId>,
    /// All products it shows, in order; the first is `product_id`.
    #[sqlx(json)]
    #[schema(value_type = Vec<i64>)]
    pub product_ids: Vec<i64>,
    #[schema(value_type = Option<String>)]
    pub copy_id: Option<CopyId>,
    #[schema(value_type = Option<String>)]
    pub creative_id: Option<CreativeId>,
    #[schema(value_type = Option<String>)]
    pub placement_id: Option<PlacementId>,
    #[schema(value_type = String)]
    pub planned_at: Timestamp,
    /// When it was meant to go out. Lift counts outcomes from here, for treated and ghost alike.
    #[schema(value_type = String)]
    pub due_at: Timestamp,
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Timestamp>,
    #[schema(value_type = String)]
    pub next_attempt_at: Timestamp,
    pub attempts: i64,
    #[serde(skip)]
    pub lease_until: Option<Timestamp>,
    #[serde(skip)]
    pub lease_owner: Option<String>,
    /// When it really went out (or was shown). `None` for ghosts.
    #[schema(value_type = Option<String>)]
    pub sent_at: Option<Timestamp>,
    /// When it went out or, a ghost, would have.
    #[schema(value_type = Option<String>)]
    pub contact_at: Option<Timestamp>,
    #[schema(value_type = String)]
    pub updated_at: Timestamp,
    /// First open by a human.
    #[schema(value_type = Option<String>)]
    pub open_at: Option<Timestamp>,
    /// First click by a human.
    #[schema(value_type = Option<String>)]
    pub click_at: Option<Timestamp>,
    #[schema(value_type = Option<String>)]
    pub viewable_at: Option<Timestamp>,
}

impl Touch {
    /// The product at a link's place in the list; place 0 is the main one.
    pub fn product_at(&self, slot: u8) -> Option<ProductId> {
        match self.product_ids.get(usize::from(slot)) {
            Some(id) => Some(ProductId(*id)),
            None if slot == 0 => self.product_id,
            None => None,
        }
    }
}

/// A touch to be planned.
#[derive(Clone, Debug)]
pub struct NewTouch {
    pub id: TouchId,
    pub channel: TouchChannel,
    pub arm: Arm,
    /// `Planned`, `Skipped` (with a reason), or `Served` (a banner already shown).
    pub state: TouchState,
    pub reason: Option<String>,
    pub person_id: Option<PersonId>,
    pub anonymous_id: Option<String>,
    pub campaign_id: CampaignId,
    pub run_id: Option<RunId>,
    pub variant_id: Option<VariantId>,
    /// All products it shows; the first is the main one.
    pub product_ids: Vec<ProductId>,
    pub copy_id: Option<CopyId>,
    pub creative_id: Option<CreativeId>,
    pub placement_id: Option<PlacementId>,
    pub due_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

impl NewTouch {
    /// A planned, treated touch without content; set the rest with struct update syntax.
    pub fn planned(campaign_id: CampaignId, person_id: PersonId, channel: TouchChannel, due_at: Timestamp, now: Timestamp) -> Self {
        Self {
            id: TouchId::new(now),
            channel,
            arm: Arm::Treated,
            state: TouchState::Planned,
            reason: None,
            person_id: Some(person_id),
            anonymous_id: None,
            campaign_id,
            run_id: None,
            variant_id: None,
            product_ids: Vec::new(),
            copy_id: None,
            creative_id: None,
            placement_id: None,
            due_at,
            expires_at: None,
        }
    }
}

/// How a worker's hold on a touch ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Sent,
    Failed(String),
    Uncertain(String),
    Deferred {
        until: Timestamp,
        reason: String,
    },
    Skipped(String),
    Expired,
    Cancelled(String),
    /// A ghost that passed every check.
    Held,
    /// Given back untouched.
    GivenBack,
}

impl Outcome {
    pub fn state(&self) -> TouchState {
        match self {
            Self::Sent => S::Sent,
            Self::Failed(_) => S::Failed,
            Self::Uncertain(_) => S::Uncertain,
            Self::Deferred { .. } => S::Deferred,
            Self::Skipped(_) => S::Skipped,
            Self::Expired => S::Expired,
            Self::Cancelled(_) => S::Cancelled,
            Self::Held => S::Held,
            Self::GivenBack => S::Planned,
        }
    }
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Failed(r) | Self::Uncertain(r) | Self::Skipped(r) | Self::Cancelled(r) | Self::Deferred { reason: r, .. } => Some(r),
            Self::Sent | Self::Expired | Self::Held | Self::GivenBack => None,
        }
    }
}

/// The end of one claimed or sending touch.
#[derive(Clone, Debug)]
pub struct Finish {
    pub id: TouchId,
    pub outcome: Outcome,
}

/// New content of a claimed touch: the checks at the claim may choose another product.
#[derive(Clone, Debug)]
pub struct Content {
    pub id: TouchId,
    pub product_ids: Vec<ProductId>,
    pub copy_id: Option<CopyId>,
    pub creative_id: Option<CreativeId>,
}

word_enum!(
    /// What came back.
    SignalKind {
        Open = "open",
        Click = "click",
        Viewable = "viewable",
        Unsubscribe = "unsubscribe",
        Bounce = "bounce",
        Complaint = "complaint",
    }
);

word_enum!(
    /// Who caused it: a person, a scanner or crawler, or a mail proxy that fetches for everybody.
    Actor {
        Human = "human",
        Bot = "bot",
        Proxy = "proxy",
    }
);

/// A signal to be recorded.
#[derive(Clone, Debug)]
pub struct NewSignal {
    pub touch_id: TouchId,
    pub kind: SignalKind,
    pub actor: Actor,
    pub at: Timestamp,
    /// What is worth keeping: a bounce's status code, a click's place. No address.
    pub detail: Option<String>,
    /// Two signals of one touch and kind with the same key are one. `None`: every call is its own.
    pub key: Option<String>,
}

/// What recording a signal did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// It was not there before.
    pub new: bool,
    /// It is the first of its kind by a human on this touch.
    pub first: bool,
    /// There is no such touch; nothing was written.
    pub unknown_touch: bool,
}

/// A recorded signal.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow, Serialize, ToSchema)]
pub struct Signal {
    #[schema(value_type = String)]
    pub touch_id: TouchId,
    #[sqlx(try_from = "String")]
    pub kind: SignalKind,
    #[sqlx(try_from = "String")]
    pub actor: Actor,
    #[schema(value_type = String)]
    pub at: Timestamp,
    pub detail: Option<String>,
}

/// How often somebody was contacted in a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contacts {
    /// Really contacted (sent, perhaps sent, or shown).
    pub real: i64,
    /// Ghosts that would have been contacts.
    pub ghost: i64,
}

impl Contacts {
    /// What a cap compares. A ghost counts ghosts too: it must be held back exactly when its treated twin would be.
    pub fn for_arm(self, arm: Arm) -> i64 {
        match arm {
            Arm::Treated => self.real,
            Arm::Ghost => self.real + self.ghost,
        }
    }
}

/// One contact, or a ghost's would-be contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact {
    pub at: Timestamp,
    pub arm: Arm,
}

/// What a variant came to, by arm.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow, Serialize, ToSchema)]
pub struct VariantCount {
    #[schema(value_type = Option<String>)]
    pub variant_id: Option<VariantId>,
    /// Treated touches that went out (or perhaps did).
    pub sent: i64,
    /// Ghosts that would have gone out.
    pub held: i64,
    /// Opened by a human.
    pub opened: i64,
    /// Clicked by a human.
    pub clicked: i64,
}

/// Touches of a campaign or run by arm, state and reason.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow, Serialize, ToSchema)]
pub struct StateCount {
    #[sqlx(try_from = "String")]
    pub arm: Arm,
    #[sqlx(try_from = "String")]
    pub state: TouchState,
    /// The stable code that `reason` starts with.
    pub reason: Option<String>,
    pub touches: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_row_and_words_round_trip() {
        for state in TouchState::ALL {
            assert_eq!(TRANSITIONS.iter().filter(|(from, _)| from == state).count(), 1, "{state}");
            assert_eq!(state.as_str().parse(), Ok(*state));
            assert_eq!(serde_json::to_value(state).expect("json"), state.as_str());
        }
        assert!("SENT".parse::<TouchState>().is_err());
    }

    #[test]
    fn what_went_out_never_goes_back_by_itself() {
        for last in [S::Sent, S::Served, S::Held, S::Skipped, S::Cancelled, S::Expired] {
            assert!(TouchState::ALL.iter().all(|to| !to.may_follow(last)), "{last} is final");
        }
        assert!(!S::Planned.may_follow(S::Sending), "a crash while sending must not send again");
        assert!(!S::Claimed.may_follow(S::Uncertain));
        assert_eq!(S::Sending.sources(), vec![S::Claimed]);
    }
}
