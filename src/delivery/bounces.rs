//! Bounces and complaints, however they came in: kept once, shown on the touch, and the address suppressed where it deserves it.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::verdict::BounceClass;
use crate::on;
use crate::people::{self, Channel, Consent, Identity};
use crate::platform::clock::DAY_US;
use crate::platform::db::Tx;
use crate::platform::ids::{PersonId, TouchId};
use crate::platform::{Platform, Timestamp};
use crate::touches::{self, Actor, NewSignal, SignalKind};

/// This many soft bounces of one address within [`SOFT_WINDOW_US`] suppress it.
const SOFT_LIMIT: i64 = 5;
const SOFT_WINDOW_US: i64 = 30 * DAY_US;
const MAX_DIAGNOSTIC_CHARS: usize = 300;

/// One address that bounced or complained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBounce {
    pub touch: Option<TouchId>,
    pub email: String,
    pub class: BounceClass,
    /// Enhanced status code.
    pub status: Option<String>,
    pub diagnostic: Option<String>,
    /// The same key twice is the same bounce.
    pub source_key: String,
    pub at: Timestamp,
}

/// What recording bounces did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Taken {
    /// Not seen before.
    pub new: u64,
    /// Seen before; nothing was changed.
    pub known: u64,
    /// Addresses that are suppressed now and were not before.
    pub suppressed: u64,
}

const INSERT: &str = "INSERT INTO bounce (touch_id, email_key, class, status, diagnostic, source_key, at)
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (source_key) DO NOTHING";
const RECENT_SOFT: &str = "SELECT COUNT(*) FROM bounce WHERE email_key = $1 AND class = 'soft' AND at >= $2";

/// Text of a mail server without addresses in it: reasons are shown, logged and kept.
pub fn without_addresses(text: &str) -> String {
    let words = text.split_whitespace().map(|word| if word.contains('@') { "<address>" } else { word });
    words.collect::<Vec<_>>().join(" ").chars().take(MAX_DIAGNOSTIC_CHARS).collect()
}

/// The table counts by address without holding any.
fn hashed(address: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(address.as_bytes())))
}

const FORGET: &str = "UPDATE bounce SET email_key = '', diagnostic = NULL WHERE email_key = $1";

/// An erased person's addresses: a hash without a key could be guessed, so it goes; the counts stay.
pub async fn forget_addresses(tx: &mut Tx, emails: &[String]) -> sqlx::Result<()> {
    for email in emails {
        let key = hashed(email);
        on!(&mut *tx, |c| sqlx::query(FORGET).bind(key.as_str()).execute(&mut *c).await.map(|_| ()))?;
    }
    Ok(())
}

/// What must be known of the people behind bounces.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Who the touches of complaints went to.
    people: HashMap<TouchId, PersonId>,
    /// Addresses, as keys, of people who were erased: their late bounces must not write them down again.
    erased: HashSet<String>,
}

/// Who these bounces are about; asked before the transaction.
pub async fn known(platform: &Platform, bounces: &[NewBounce]) -> sqlx::Result<Known> {
    let db = &platform.db;
    let names: Vec<Identity> = bounces.iter().filter_map(|b| Identity::email(&b.email)).collect();
    let erased = people::erased_among(db, &platform.signer, &names).await?;
    let erased = erased.into_keys().filter_map(|n| if let Identity::Email(key) = n { Some(key) } else { None }).collect();
    let ids: Vec<TouchId> = bounces.iter().filter(|b| b.class == BounceClass::Complaint).filter_map(|b| b.touch).collect();
    let found = touches::get_many(db, &ids).await?;
    Ok(Known { people: found.into_iter().filter_map(|(id, touch)| Some((id, touch.person_id?))).collect(), erased })
}

/// Records bounces; the same again changes nothing.
pub async fn record(tx: &mut Tx, bounces: &[NewBounce], known: &Known) -> sqlx::Result<Taken> {
    let mut taken = Taken::default();
    let mut signals = Vec::new();
    for bounce in bounces {
        let Some(address) = people::email_key(&bounce.email) else { continue };
        let gone = known.erased.contains(&address);
        // Of an erased person only the count is kept.
        let key = if gone { String::new() } else { hashed(&address) };
        let diagnostic = bounce.diagnostic.as_deref().filter(|_| !gone).map(without_addresses);
        let new = on!(&mut *tx, |c| {
            sqlx::query(INSERT)
                .bind(bounce.touch)
                .bind(key.as_str())
                .bind(bounce.class.as_str())
                .bind(bounce.status.as_deref())
                .bind(diagnostic.as_deref())
                .bind(bounce.source_key.as_str())
                .bind(bounce.at)
                .execute(&mut *c)
                .await
                .map(|r| r.rows_affected() == 1)
        })?;
        if !new {
            taken.known += 1;
            continue;
        }
        taken.new += 1;
        let words = [Some(bounce.class.as_str()), bounce.status.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ");
        if condemned(tx, bounce, &key).await? {
            let reason = if bounce.class == BounceClass::Complaint { "complaint" } else { "bounce" };
            let suppressed = if gone {
                people::suppress_hidden(tx, &address, reason, bounce.at).await?
            } else {
                people::suppress(tx, &address, reason, Some(&words), bounce.at).await?
            };
            taken.suppressed += u64::from(suppressed);
        }
        let Some(touch) = bounce.touch else { continue };
        let complaint = bounce.class == BounceClass::Complaint;
        if let (true, Some(person)) = (complaint, known.people.get(&touch)) {
            match people::set_consent(tx, *person, Channel::Email, Consent::Unsubscribed, "complaint", bounce.at).await {
                Ok(_) | Err(people::PeopleError::NotFound) => {}
                Err(people::PeopleError::Database(e)) => return Err(e),
                Err(other) => {
                    tracing::warn!(error = %other, "a complaint could not be turned into an unsubscribe; the address is suppressed")
                }
            }
        }
        signals.push(NewSignal {
            touch_id: touch,
            kind: if complaint { SignalKind::Complaint } else { SignalKind::Bounce },
            actor: if complaint { Actor::Human } else { Actor::Bot },
            at: bounce.at,
            detail: Some(words),
            key: Some(bounce.source_key.clone()),
        });
    }
    // None of these stamps a touch, so when they became known does not matter.
    let at = bounces.iter().map(|b| b.at).max().unwrap_or_default();
    touches::record_signals(tx, &signals, at).await?;
    Ok(taken)
}

async fn condemned(tx: &mut Tx, bounce: &NewBounce, key: &str) -> sqlx::Result<bool> {
    if bounce.class != BounceClass::Soft {
        return Ok(true);
    }
    // Of erased people nothing is counted by address.
    if key.is_empty() {
        return Ok(false);
    }
    let since = bounce.at.plus_us(-SOFT_WINDOW_US);
    let n: i64 = on!(tx, |c| sqlx::query_scalar(RECENT_SOFT).bind(key).bind(since).fetch_one(&mut *c).await)?;
    Ok(n >= SOFT_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_stays_in_a_reason() {
        let text = "550 5.1.1 <ann@example.test>: user unknown (ann@example.test)\r\n in table";
        assert_eq!(without_addresses(text), "550 5.1.1 <address> user unknown <address> in table");
    }
}
