//! What a campaign is: who × what × where × when × how measured, as one typed document, and the states it goes through.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::CampaignError;
use super::plan::{Plan, Variant};
use crate::fault;
use crate::platform::Timestamp;
use crate::platform::clock::HOUR_US;
use crate::platform::ids::{CampaignId, RunId, SnapshotId, VariantId};
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
    /// A plan as a campaign that is not stored: to ask what it would do. Its variants have ids that no stored one has.
    pub fn sketch(name: &str, plan: Plan, now: Timestamp) -> Self {
        let variants = plan.variants.iter().zip(1..).map(|(v, n)| StoredVariant { id: VariantId(-n), variant: v.clone() }).collect();
        Self {
            id: CampaignId(0),
            key: String::new(),
            name: name.to_owned(),
            status: Status::Draft,
            plan,
            variants,
            next_run_at: None,
            created_at: now,
            updated_at: now,
            started_at: None,
            ended_at: None,
        }
    }
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
    if fits {
        Ok(())
    } else {
        Err(CampaignError::Invalid { field: "key", detail: fault!("campaign.key", "a key has 1 to 60 of a-z, 0-9, - and _") })
    }
}

pub fn check_name(name: &str) -> Result<(), CampaignError> {
    let n = name.chars().count();
    if (1..=200).contains(&n) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(CampaignError::Invalid { field: "name", detail: fault!("campaign.name", "a name has 1 to 200 characters") })
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
