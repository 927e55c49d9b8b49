//! The shop's own rules over all campaigns: caps, quiet hours, the global holdout. One setting, read afresh by every batch.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::CampaignError;
use super::plan::{Caps, Hours, Plan};
use crate::fault;
use crate::platform::db::{Db, Tx};
use crate::platform::{Timestamp, setting};
use crate::touches::holdout::ALL_BP;

const KEY: &str = "contact_policy";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ContactPolicy {
    /// Most contacts per person and channel, over all campaigns. Default: 2 in 24 hours, 4 in 7 days.
    pub caps: Caps,
    /// No mail in these hours of a person's own time; it waits until they end. Default: none.
    pub quiet_hours: Option<Hours>,
    /// Share of all people who get nothing from any campaign, in basis points. What was assigned stays when this changes.
    pub global_holdout_bp: i64,
}

impl ContactPolicy {
    pub fn check(&self) -> Result<(), CampaignError> {
        self.caps.check()?;
        if let Some(hours) = self.quiet_hours {
            hours.check("quiet_hours")?;
        }
        if !(0..ALL_BP).contains(&self.global_holdout_bp) {
            let (value, to) = (self.global_holdout_bp, ALL_BP - 1);
            let detail = fault!("campaign.global_holdout", "global_holdout_bp is {value}; it must lie between 0 and {to}", value, to);
            return Err(CampaignError::Invalid { field: "global_holdout_bp", detail });
        }
        Ok(())
    }
    /// The caps that hold for a campaign: its own, where it has some.
    pub fn caps_for(&self, plan: &Plan) -> Caps {
        plan.caps.unwrap_or(self.caps)
    }
    pub fn quiet_hours_for(&self, plan: &Plan) -> Option<Hours> {
        plan.quiet_hours.or(self.quiet_hours)
    }
}

pub async fn policy(db: &Db) -> sqlx::Result<ContactPolicy> {
    setting::get_or_default(db, KEY).await
}

pub async fn set_policy(tx: &mut Tx, policy: &ContactPolicy, now: Timestamp) -> Result<(), CampaignError> {
    policy.check()?;
    Ok(setting::put(tx, KEY, policy, now).await?)
}
