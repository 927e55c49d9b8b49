//! What the rules ask about a batch of people, loaded with a few queries; and the rules themselves. Planning, the dry run and the check at
//! the claim all come through here, for treated and ghost alike.

use std::collections::{HashMap, HashSet};

use super::plan::{Caps, Plan};
use super::policy::ContactPolicy;
use crate::people::{self, Channel, Consent, Person};
use crate::platform::clock::DAY_US;
use crate::platform::ids::PersonId;
use crate::platform::{Db, Timestamp};
use crate::touches::{self, Arm, Contact, TouchChannel};

const WEEK_US: i64 = 7 * DAY_US;

/// Why somebody gets nothing. The codes are stable: reports group by them.
pub mod reason {
    pub const GONE: &str = "person_gone";
    pub const NO_ADDRESS: &str = "no_address";
    pub const NO_CONSENT: &str = "no_consent";
    pub const SUPPRESSED: &str = "suppressed";
    pub const CAP_DAY: &str = "cap_day";
    pub const CAP_WEEK: &str = "cap_week";
    pub const HOUR_PASSED: &str = "hour_passed";
    pub const NO_PRODUCT: &str = "no_product";
    pub const NO_COPY: &str = "no_copy";
    /// Quiet hours and send window leave no minute.
    pub const NO_TIME: &str = "no_allowed_time";
    pub const QUIET: &str = "quiet_hours";
    pub const CANCELLED: &str = "campaign_cancelled";
}

/// What is known of a batch of people.
pub struct Facts {
    pub people: HashMap<PersonId, Person>,
    suppressed: HashSet<String>,
    contacts: HashMap<PersonId, Vec<Contact>>,
}

impl Facts {
    /// Three queries, whatever the size (up to 1,000 people each).
    pub async fn load(db: &Db, ids: &[PersonId], channel: TouchChannel, from: Timestamp) -> sqlx::Result<Self> {
        let people = people::get_many(db, ids).await?;
        let addresses: Vec<&str> = match channel {
            TouchChannel::Email => people.values().filter_map(|p| p.email.as_deref()).collect(),
            TouchChannel::Banner => Vec::new(),
        };
        let suppressed = people::suppressed(db, &addresses).await?;
        let contacts = touches::contacts_since(db, ids, channel, from.plus_us(-WEEK_US)).await?;
        Ok(Self { people, suppressed, contacts })
    }

    /// Why this person may not be reached on the channel at all, or `None`.
    fn unreachable(&self, person: Option<&Person>, channel: TouchChannel) -> Option<&'static str> {
        let Some(person) = person.filter(|p| p.erased_at.is_none()) else { return Some(reason::GONE) };
        match channel {
            TouchChannel::Email => {
                let Some(address) = person.email.as_deref() else { return Some(reason::NO_ADDRESS) };
                if person.consent(Channel::Email) != Consent::Subscribed {
                    return Some(reason::NO_CONSENT);
                }
                self.suppressed.contains(address).then_some(reason::SUPPRESSED)
            }
            // An ad on the shop's own pages needs no opt-in, but an opt-out holds.
            TouchChannel::Banner => (person.consent(Channel::Ads) == Consent::Unsubscribed).then_some(reason::NO_CONSENT),
        }
    }

    /// Which cap is full at an instant, counting what has gone out by now.
    fn capped(&self, id: PersonId, arm: Arm, caps: Caps, at: Timestamp) -> Option<&'static str> {
        let contacts = self.contacts.get(&id)?;
        // A ghost counts ghosts too: it is held back exactly when its treated twin would be.
        let within = |span: i64| {
            let counted = |c: &&Contact| c.at > at.plus_us(-span) && (c.arm == Arm::Treated || arm == Arm::Ghost);
            i64::try_from(contacts.iter().filter(counted).count()).unwrap_or(i64::MAX)
        };
        if caps.per_day > 0 && within(DAY_US) >= caps.per_day {
            return Some(reason::CAP_DAY);
        }
        (caps.per_week > 0 && within(WEEK_US) >= caps.per_week).then_some(reason::CAP_WEEK)
    }

    /// Why this person gets nothing at `at`, or `None` where nothing stands against it.
    pub fn refusal(&self, id: PersonId, arm: Arm, plan: &Plan, policy: &ContactPolicy, at: Timestamp) -> Option<&'static str> {
        self.unreachable(self.people.get(&id), plan.channel).or_else(|| self.capped(id, arm, policy.caps_for(plan), at))
    }
}
