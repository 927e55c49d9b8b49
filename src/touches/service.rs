//! The outbox's order of work: plan, claim, begin, finish; leases; merges.

use std::collections::BTreeMap;

use super::model::{Content, Finish, NewTouch, Outcome, Touch, TouchChannel, TouchState};
use super::{holdout, store};
use crate::on;
use crate::platform::db::Tx;
use crate::platform::ids::{CampaignId, PersonId, TouchId};
use crate::platform::{Db, Platform, Timestamp};

/// Most touches that one claim or sweep takes: keeps SQLite's one writer free for others.
pub const MAX_BATCH: i64 = 1_000;

/// Writes touches that are not there yet (unique by id, and by run and person); returns how many are new. Planning twice plans once.
pub async fn plan_many(tx: &mut Tx, touches: &[NewTouch], now: Timestamp) -> sqlx::Result<u64> {
    store::insert(tx, touches, now).await
}

/// Takes up to `limit` (at most 1,000) due touches of a channel, treated and ghost, for one worker and a time. At most one per person, and
/// none for people of whom another touch is in flight. Touches of held (paused) campaigns are passed over.
pub async fn claim(platform: &Platform, channel: TouchChannel, owner: &str, limit: i64, lease_us: i64) -> sqlx::Result<Vec<Touch>> {
    let limit = limit.clamp(1, MAX_BATCH);
    // Two workers on Postgres may choose two touches of one person in the same instant: the unique index refuses the later; it tries again.
    let mut tries = 0;
    loop {
        let now = platform.now();
        let mut tx = platform.db.begin().await?;
        match store::claim(&mut tx, channel, owner, limit, now.plus_us(lease_us), now).await {
            Ok(claimed) => {
                tx.commit().await?;
                return Ok(claimed);
            }
            Err(e) if tries < 5 && e.as_database_error().is_some_and(|d| d.is_unique_violation()) => {
                tx.rollback().await?;
                tries += 1;
            }
            Err(e) => return Err(e),
        }
    }
}

/// Marks claimed touches as being sent, just before the mail server gets them; returns those that may be sent. A touch that is not
/// returned (its lease ended, its campaign was paused or cancelled, it is a ghost) must not be sent.
pub async fn begin_sending(tx: &mut Tx, owner: &str, ids: &[TouchId], lease_us: i64, now: Timestamp) -> sqlx::Result<Vec<TouchId>> {
    let rows: Vec<_> = ids.iter().map(|id| store::Step { id: *id, reason: None, next_attempt_at: None }).collect();
    let step = store::Move {
        from: &[TouchState::Claimed],
        to: TouchState::Sending,
        owner: Some(owner),
        lease_until: Some(now.plus_us(lease_us)),
        now,
    };
    store::advance(tx, step, &rows).await
}

/// Ends what a worker holds. Returns the touches whose state changed; the others were no longer this worker's, or could not take that step.
pub async fn finish(tx: &mut Tx, owner: &str, ends: &[Finish], now: Timestamp) -> sqlx::Result<Vec<TouchId>> {
    let mut by_state: BTreeMap<TouchState, Vec<store::Step<'_>>> = BTreeMap::new();
    for end in ends {
        let until = match &end.outcome {
            Outcome::Deferred { until, .. } => Some(*until),
            _ => None,
        };
        by_state.entry(end.outcome.state()).or_default().push(store::Step {
            id: end.id,
            reason: end.outcome.reason(),
            next_attempt_at: until,
        });
    }
    let mut moved = Vec::with_capacity(ends.len());
    for (to, rows) in by_state {
        let from: Vec<TouchState> = match to {
            // Nobody puts an uncertain or failed touch back without being asked: see `resend`.
            TouchState::Planned => vec![TouchState::Claimed],
            _ => to.sources(),
        };
        moved.extend(store::advance(tx, store::Move { from: &from, to, owner: Some(owner), lease_until: None, now }, &rows).await?);
    }
    Ok(moved)
}

/// Another product, copy or creative for touches that this worker has claimed.
pub async fn set_content(tx: &mut Tx, owner: &str, contents: &[Content], now: Timestamp) -> sqlx::Result<u64> {
    store::set_content(tx, owner, contents, now).await
}

/// Lengthens the lease of everything that a worker holds.
pub async fn extend_leases(tx: &mut Tx, owner: &str, lease_us: i64, now: Timestamp) -> sqlx::Result<u64> {
    store::extend(tx, owner, now, now.plus_us(lease_us)).await
}

/// What [`release_expired`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Claimed, and now planned again.
    pub planned: u64,
    /// Found in the middle of sending: perhaps sent, never sent again by themselves.
    pub uncertain: u64,
    /// Their time had passed.
    pub expired: u64,
}

/// Ends leases that ran out, and touches whose time passed. Cheap where there is nothing to do; call it before claiming.
pub async fn release_expired(platform: &Platform) -> sqlx::Result<Released> {
    let now = platform.now();
    let mut all = Released::default();
    loop {
        let mut tx = platform.db.begin().await?;
        let planned = store::leases_back(&mut tx, now, MAX_BATCH).await?;
        let uncertain = store::leases_uncertain(&mut tx, now, MAX_BATCH).await?;
        let expired = store::expire(&mut tx, now, MAX_BATCH).await?;
        tx.commit().await?;
        all = Released { planned: all.planned + planned, uncertain: all.uncertain + uncertain, expired: all.expired + expired };
        if [planned, uncertain, expired].iter().all(|n| *n < MAX_BATCH.unsigned_abs()) {
            return Ok(all);
        }
    }
}

/// Plans uncertain or failed touches again, because a person asked for it. Returns those that were.
pub async fn resend(tx: &mut Tx, ids: &[TouchId], now: Timestamp) -> sqlx::Result<Vec<TouchId>> {
    let rows: Vec<_> = ids.iter().map(|id| store::Step { id: *id, reason: Some("resend"), next_attempt_at: Some(now) }).collect();
    let from = [TouchState::Uncertain, TouchState::Failed];
    store::advance(tx, store::Move { from: &from, to: TouchState::Planned, owner: None, lease_until: None, now }, &rows).await
}

/// Stops the claims of a campaign's touches at once (a pause), and what was claimed but not begun.
pub async fn hold_campaign(tx: &mut Tx, campaign: CampaignId, now: Timestamp) -> sqlx::Result<()> {
    store::hold(tx, campaign, now).await
}

/// Ends a hold.
pub async fn release_campaign(tx: &mut Tx, campaign: CampaignId) -> sqlx::Result<()> {
    store::unhold(tx, campaign).await
}

/// Cancels what of a campaign has not gone out, 1,000 touches a transaction; returns how many.
pub async fn cancel_campaign(db: &Db, campaign: CampaignId, reason: &str, now: Timestamp) -> sqlx::Result<u64> {
    let mut all = 0;
    loop {
        let mut tx = db.begin().await?;
        let n = store::cancel(&mut tx, campaign, reason, MAX_BATCH, now).await?;
        tx.commit().await?;
        all += n;
        if n < MAX_BATCH.unsigned_abs() {
            return Ok(all);
        }
    }
}

const CLASH_OPEN: &str =
    "UPDATE touch SET state = 'cancelled', reason = 'merged', person_id = NULL, lease_owner = NULL, lease_until = NULL, updated_at = $3,
       stamped_at = CASE WHEN stamped_at IS NULL THEN NULL ELSE CAST($3 AS BIGINT) END
     WHERE person_id = $1 AND state IN ('planned', 'deferred', 'claimed')
       AND EXISTS (SELECT 1 FROM touch o WHERE o.person_id = $2 AND o.run_id = touch.run_id)";
// Both got one: both happened, so both stay on the timeline; the run's uniqueness belongs to the survivor's own.
const CLASH_DONE: &str = "UPDATE touch SET run_id = NULL, updated_at = $3
     WHERE person_id = $1 AND EXISTS (SELECT 1 FROM touch o WHERE o.person_id = $2 AND o.run_id = touch.run_id)";
// Not begun: let it wait for the other, so that one touch at a time is in flight.
const UNCLAIM: &str = "UPDATE touch SET state = 'planned', lease_owner = NULL, lease_until = NULL, updated_at = $3
     WHERE person_id IN ($1, $2) AND state = 'claimed'";
const BOTH_SENDING: &str = "UPDATE touch SET state = 'uncertain', reason = 'merged', lease_until = NULL, sent_at = updated_at,
       contact_at = updated_at, updated_at = $3
     WHERE person_id = $1 AND state = 'sending'
       AND EXISTS (SELECT 1 FROM touch o WHERE o.person_id = $2 AND o.channel = touch.channel AND o.state = 'sending')";
const MOVE: &str = "UPDATE touch SET person_id = $2, updated_at = $3,
       stamped_at = CASE WHEN stamped_at IS NULL THEN NULL ELSE CAST($3 AS BIGINT) END WHERE person_id = $1";

/// Two profiles became one: `from`'s touches and holdout assignments move to `to`. A touch that both were planned for is cancelled once.
pub async fn reassign_person(tx: &mut Tx, from: PersonId, to: PersonId, now: Timestamp) -> sqlx::Result<()> {
    if from == to {
        return Ok(());
    }
    for sql in [CLASH_OPEN, CLASH_DONE, UNCLAIM, BOTH_SENDING, MOVE] {
        on!(&mut *tx, |c| sqlx::query(sql).bind(from).bind(to).bind(now).execute(&mut *c).await.map(|_| ()))?;
    }
    holdout::reassign(tx, from, to).await
}

const FORGET_SIGNALS: &str = "UPDATE touch_signal SET detail = NULL WHERE touch_id IN (SELECT id FROM touch WHERE person_id = $1)";
const FORGET_CANCEL: &str =
    "UPDATE touch SET state = 'cancelled', reason = 'erased', lease_owner = NULL, lease_until = NULL, updated_at = $2
     WHERE person_id = $1 AND state IN ('planned', 'deferred', 'claimed')";
const FORGET_TOUCHES: &str = "UPDATE touch SET anonymous_id = NULL, updated_at = $2 WHERE person_id = $1";

/// An erased person: what has not gone out is cancelled, and nothing that could name them stays. The counts stay.
pub async fn forget_person(tx: &mut Tx, person: PersonId, now: Timestamp) -> sqlx::Result<()> {
    on!(&mut *tx, |c| {
        sqlx::query(FORGET_SIGNALS).bind(person).execute(&mut *c).await?;
        sqlx::query(FORGET_CANCEL).bind(person).bind(now).execute(&mut *c).await?;
        sqlx::query(FORGET_TOUCHES).bind(person).bind(now).execute(&mut *c).await.map(|_| ())
    })
}
