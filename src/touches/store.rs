//! SQL of the record: `touch`, `touch_hold`.
//!
//! Multi-row statements are built with one VALUES list for both engines (its columns are called `column1`, `column2` … in both).

use std::collections::{HashMap, HashSet};

use sqlx::QueryBuilder;
use sqlx::types::Json;
use uuid::Uuid;

use super::model::{Arm, Contact, Contacts, Content, NewTouch, StateCount, Touch, TouchChannel, TouchState, VariantCount};
use crate::platform::Timestamp;
use crate::platform::db::{Db, Dialect, Tx};
use crate::platform::ids::{CampaignId, PersonId, ProductId, RunId, TouchId};
use crate::{on, read};

/// Most rows in one statement: SQLite takes at most 32,766 binds.
const INSERT_ROWS: usize = 500;
const UPDATE_ROWS: usize = 1_000;

macro_rules! columns {
    () => {
        "id, channel, arm, state, reason, person_id, anonymous_id, campaign_id, run_id, variant_id, product_id, product_ids, copy_id, \
         creative_id, placement_id, planned_at, due_at, expires_at, next_attempt_at, attempts, lease_until, lease_owner, sent_at, \
         contact_at, updated_at, open_at, click_at, viewable_at"
    };
}

const INSERT: &str = "INSERT INTO touch (id, channel, arm, state, reason, person_id, anonymous_id, campaign_id, run_id, variant_id, \
     product_id, product_ids, copy_id, creative_id, placement_id, planned_at, due_at, expires_at, next_attempt_at, updated_at, sent_at, \
     contact_at) ";

/// Inserts what is not there yet: unique by id, and by (run, person). Returns how many rows are new.
pub async fn insert(tx: &mut Tx, touches: &[NewTouch], now: Timestamp) -> sqlx::Result<u64> {
    let mut inserted = 0;
    for chunk in touches.chunks(INSERT_ROWS) {
        inserted += on!(tx, |c| {
            let mut q = QueryBuilder::new(INSERT);
            q.push_values(chunk, |mut row, t| {
                let shown = (t.state == TouchState::Served).then_some(t.due_at);
                let contact = matches!(t.state, TouchState::Served | TouchState::Held).then_some(t.due_at);
                row.push_bind(t.id)
                    .push_bind(t.channel.as_str())
                    .push_bind(t.arm.as_str())
                    .push_bind(t.state.as_str())
                    .push_bind(t.reason.as_deref())
                    .push_bind(t.person_id)
                    .push_bind(t.anonymous_id.as_deref())
                    .push_bind(t.campaign_id)
                    .push_bind(t.run_id)
                    .push_bind(t.variant_id)
                    .push_bind(t.product_ids.first().copied())
                    .push_bind(Json(t.product_ids.iter().map(|p| p.0).collect::<Vec<i64>>()))
                    .push_bind(t.copy_id)
                    .push_bind(t.creative_id)
                    .push_bind(t.placement_id)
                    .push_bind(now)
                    .push_bind(t.due_at)
                    .push_bind(t.expires_at)
                    .push_bind(t.due_at)
                    .push_bind(now)
                    .push_bind(shown)
                    .push_bind(contact);
            });
            q.push(" ON CONFLICT DO NOTHING");
            q.build().persistent(false).execute(&mut *c).await.map(|r| r.rows_affected())
        })?;
    }
    Ok(inserted)
}

// One touch per person at a time (touch_in_flight): of several that are due, the earliest; the others follow when it is done.
macro_rules! claim_sql {
    ($lock:literal) => {
        concat!(
            "WITH due AS (SELECT t.id, t.person_id, t.next_attempt_at FROM touch t
                WHERE t.state IN ('planned', 'deferred') AND t.channel = $1 AND t.next_attempt_at <= $2
                  AND NOT EXISTS (SELECT 1 FROM touch_hold h WHERE h.campaign_id = t.campaign_id)
                  AND NOT EXISTS (SELECT 1 FROM touch f WHERE f.person_id = t.person_id AND f.channel = t.channel
                                  AND f.state IN ('claimed', 'sending'))
                ORDER BY t.next_attempt_at, t.id LIMIT $3 ",
            $lock,
            "), first AS (SELECT id, ROW_NUMBER() OVER (PARTITION BY person_id ORDER BY next_attempt_at, id) AS place FROM due)
             UPDATE touch SET state = 'claimed', reason = NULL, lease_owner = $4, lease_until = $5, updated_at = $2
             WHERE id IN (SELECT id FROM first WHERE place = 1) RETURNING ",
            columns!()
        )
    };
}
const CLAIM_SQLITE: &str = claim_sql!("");
const CLAIM_POSTGRES: &str = claim_sql!("FOR UPDATE SKIP LOCKED");

pub async fn claim(
    tx: &mut Tx,
    channel: TouchChannel,
    owner: &str,
    limit: i64,
    lease_until: Timestamp,
    now: Timestamp,
) -> sqlx::Result<Vec<Touch>> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => CLAIM_SQLITE,
        Dialect::Postgres => CLAIM_POSTGRES,
    };
    let mut claimed = on!(tx, |c| {
        sqlx::query_as::<_, Touch>(sql).bind(channel.as_str()).bind(now).bind(limit).bind(owner).bind(lease_until).fetch_all(&mut *c).await
    })?;
    claimed.sort_by_key(|t| (t.next_attempt_at, t.id));
    Ok(claimed)
}

/// A touch's new state, as [`advance`] writes it.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    pub id: TouchId,
    pub reason: Option<&'a str>,
    /// For deferred touches.
    pub next_attempt_at: Option<Timestamp>,
}

/// How [`advance`] moves touches.
#[derive(Clone, Copy, Debug)]
pub struct Move<'a> {
    pub from: &'a [TouchState],
    pub to: TouchState,
    /// Only touches that this worker holds; `None` for steps that nobody's lease stands against.
    pub owner: Option<&'a str>,
    /// The lease of the new state, for `sending`.
    pub lease_until: Option<Timestamp>,
    pub now: Timestamp,
}

/// Moves touches on where their state allows it; returns those that moved. The only place that writes `touch.state` row by row.
pub async fn advance(tx: &mut Tx, step: Move<'_>, rows: &[Step<'_>]) -> sqlx::Result<Vec<TouchId>> {
    let mut moved = Vec::with_capacity(rows.len());
    for chunk in rows.chunks(UPDATE_ROWS) {
        moved.extend(on!(tx, |c| {
            let mut q = QueryBuilder::new("UPDATE touch SET state = ");
            q.push_bind(step.to.as_str()).push(", reason = v.column2, updated_at = ").push_bind(step.now);
            q.push(", next_attempt_at = COALESCE(v.column3, touch.next_attempt_at), lease_until = ").push_bind(step.lease_until);
            match step.to {
                TouchState::Sending => {
                    q.push(", attempts = touch.attempts + 1");
                }
                TouchState::Sent => {
                    q.push(", lease_owner = NULL, sent_at = ").push_bind(step.now).push(", contact_at = ").push_bind(step.now);
                }
                // It may have gone out: caps count it from the moment it was handed over. The owner stays, and may still say how it ended.
                TouchState::Uncertain => {
                    q.push(", sent_at = touch.updated_at, contact_at = touch.updated_at");
                }
                TouchState::Held => {
                    q.push(", lease_owner = NULL, contact_at = ").push_bind(step.now);
                }
                _ => {
                    q.push(", lease_owner = NULL, sent_at = NULL, contact_at = NULL");
                }
            }
            // What somebody reacted to already went out again, or did not after all: credit and journeys look at it once more.
            if step.to != TouchState::Sending {
                q.push(", stamped_at = CASE WHEN touch.stamped_at IS NULL THEN NULL ELSE CAST(")
                    .push_bind(step.now)
                    .push(" AS BIGINT) END");
            }
            q.push(" FROM (");
            q.push_values(chunk, |mut row, s| {
                row.push_bind(s.id).push_bind(s.reason).push_bind(s.next_attempt_at);
            });
            q.push(") AS v WHERE touch.id = v.column1 AND touch.state IN (");
            let mut states = q.separated(", ");
            for state in step.from {
                states.push_bind(state.as_str());
            }
            q.push(")");
            if let Some(owner) = step.owner {
                q.push(" AND touch.lease_owner = ").push_bind(owner);
            }
            match step.to {
                // A ghost never reaches the mail server, and a pause stops also what was claimed before it.
                TouchState::Sending => {
                    q.push(
                        " AND touch.arm = 'treated' AND NOT EXISTS (SELECT 1 FROM touch_hold h WHERE h.campaign_id = touch.campaign_id)",
                    );
                }
                TouchState::Held => {
                    q.push(" AND touch.arm = 'ghost'");
                }
                _ => {}
            }
            q.push(" RETURNING touch.id");
            q.build_query_scalar::<TouchId>().persistent(false).fetch_all(&mut *c).await
        })?);
    }
    Ok(moved)
}

// Sweeps over many rows at once meet the senders' row by row commits. On Postgres they pass over what another transaction holds: it is being
// moved on just now, and two that wait for each other's rows would end in a deadlock.
macro_rules! sweep_sql {
    ($set:literal, $which:literal) => {
        (
            concat!("UPDATE touch SET ", $set, " WHERE id IN (SELECT id FROM touch WHERE ", $which, ") AND ", $which),
            concat!("UPDATE touch SET ", $set, " WHERE id IN (SELECT id FROM touch WHERE ", $which, " FOR UPDATE SKIP LOCKED)"),
        )
    };
    ($set:literal, $which:literal, $limit:literal) => {
        (
            concat!("UPDATE touch SET ", $set, " WHERE id IN (SELECT id FROM touch WHERE ", $which, " LIMIT ", $limit, ") AND ", $which),
            concat!(
                "UPDATE touch SET ",
                $set,
                " WHERE id IN (SELECT id FROM touch WHERE ",
                $which,
                " LIMIT ",
                $limit,
                " FOR UPDATE SKIP LOCKED)"
            ),
        )
    };
}
/// One statement's text for SQLite and for Postgres.
type Texts = (&'static str, &'static str);
fn text(tx: &Tx, texts: Texts) -> &'static str {
    match tx.dialect() {
        Dialect::Sqlite => texts.0,
        Dialect::Postgres => texts.1,
    }
}

const LEASES_BACK: Texts = sweep_sql!(
    "state = 'planned', reason = NULL, lease_owner = NULL, lease_until = NULL, updated_at = $1",
    "state IN ('claimed', 'sending') AND lease_until <= $1 AND state = 'claimed'",
    "$2"
);
const LEASES_UNCERTAIN: Texts = sweep_sql!(
    "state = 'uncertain', reason = 'worker_lost', lease_until = NULL, sent_at = updated_at, contact_at = updated_at, updated_at = $1,
     stamped_at = CASE WHEN stamped_at IS NULL THEN NULL ELSE CAST($1 AS BIGINT) END",
    "state IN ('claimed', 'sending') AND lease_until <= $1 AND state = 'sending'",
    "$2"
);
const EXPIRE: Texts =
    sweep_sql!("state = 'expired', reason = NULL, updated_at = $1", "state IN ('planned', 'deferred') AND expires_at <= $1", "$2");

async fn sweep(tx: &mut Tx, texts: Texts, now: Timestamp, limit: i64) -> sqlx::Result<u64> {
    let sql = text(tx, texts);
    on!(tx, |c| sqlx::query(sql).bind(now).bind(limit).execute(&mut *c).await.map(|r| r.rows_affected()))
}
pub async fn leases_back(tx: &mut Tx, now: Timestamp, limit: i64) -> sqlx::Result<u64> {
    sweep(tx, LEASES_BACK, now, limit).await
}
pub async fn leases_uncertain(tx: &mut Tx, now: Timestamp, limit: i64) -> sqlx::Result<u64> {
    sweep(tx, LEASES_UNCERTAIN, now, limit).await
}
pub async fn expire(tx: &mut Tx, now: Timestamp, limit: i64) -> sqlx::Result<u64> {
    sweep(tx, EXPIRE, now, limit).await
}

const EXTEND: Texts = sweep_sql!("lease_until = $3", "lease_owner = $1 AND state IN ('claimed', 'sending') AND lease_until > $2");
pub async fn extend(tx: &mut Tx, owner: &str, now: Timestamp, until: Timestamp) -> sqlx::Result<u64> {
    let sql = text(tx, EXTEND);
    on!(tx, |c| sqlx::query(sql).bind(owner).bind(now).bind(until).execute(&mut *c).await.map(|r| r.rows_affected()))
}

const CANCEL: &str = "UPDATE touch SET state = 'cancelled', reason = $3, lease_owner = NULL, lease_until = NULL, updated_at = $1
     WHERE id IN (SELECT id FROM touch WHERE campaign_id = $2 AND state IN ('planned', 'deferred', 'claimed') LIMIT $4)
       AND state IN ('planned', 'deferred', 'claimed')";
pub async fn cancel(tx: &mut Tx, campaign: CampaignId, reason: &str, limit: i64, now: Timestamp) -> sqlx::Result<u64> {
    on!(tx, |c| sqlx::query(CANCEL).bind(now).bind(campaign).bind(reason).bind(limit).execute(&mut *c).await.map(|r| r.rows_affected()))
}

const HOLD: &str = "INSERT INTO touch_hold (campaign_id, since) VALUES ($1, $2) ON CONFLICT (campaign_id) DO NOTHING";
const UNHOLD: &str = "DELETE FROM touch_hold WHERE campaign_id = $1";
pub async fn hold(tx: &mut Tx, campaign: CampaignId, now: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(HOLD).bind(campaign).bind(now).execute(&mut *c).await.map(|_| ()))
}
pub async fn unhold(tx: &mut Tx, campaign: CampaignId) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(UNHOLD).bind(campaign).execute(&mut *c).await.map(|_| ()))
}

const HELD: &str = "SELECT campaign_id FROM touch_hold ORDER BY campaign_id";
/// Campaigns whose touches are held now.
pub async fn held_campaigns(db: &Db) -> sqlx::Result<Vec<CampaignId>> {
    read!(*db, |c| sqlx::query_scalar(HELD).fetch_all(c).await)
}

const HAS_OPEN: &str =
    "SELECT EXISTS (SELECT 1 FROM touch WHERE campaign_id = $1 AND state IN ('planned', 'deferred', 'claimed', 'sending'))";
/// Whether a campaign has touches that still wait for something.
pub async fn has_open(db: &Db, campaign: CampaignId) -> sqlx::Result<bool> {
    read!(*db, |c| sqlx::query_scalar(HAS_OPEN).bind(campaign).fetch_one(c).await)
}

pub async fn set_content(tx: &mut Tx, owner: &str, contents: &[Content], now: Timestamp) -> sqlx::Result<u64> {
    let mut changed = 0;
    for chunk in contents.chunks(UPDATE_ROWS) {
        changed += on!(tx, |c| {
            let mut q = QueryBuilder::new("UPDATE touch SET product_id = v.column2, product_ids = v.column3, copy_id = v.column4, ");
            q.push("creative_id = v.column5, updated_at = ").push_bind(now).push(" FROM (");
            q.push_values(chunk, |mut row, t| {
                row.push_bind(t.id)
                    .push_bind(t.product_ids.first().copied())
                    .push_bind(Json(t.product_ids.iter().map(|p| p.0).collect::<Vec<i64>>()))
                    .push_bind(t.copy_id)
                    .push_bind(t.creative_id);
            });
            q.push(") AS v WHERE touch.id = v.column1 AND touch.state = 'claimed' AND touch.lease_owner = ").push_bind(owner);
            q.build().persistent(false).execute(&mut *c).await.map(|r| r.rows_affected())
        })?;
    }
    Ok(changed)
}

pub async fn get_many(db: &Db, ids: &[TouchId]) -> sqlx::Result<HashMap<TouchId, Touch>> {
    let mut found = HashMap::with_capacity(ids.len());
    for chunk in ids.chunks(UPDATE_ROWS) {
        let rows = read!(*db, |c| {
            let mut q = QueryBuilder::new(concat!("SELECT ", columns!(), " FROM touch WHERE id IN ("));
            let mut list = q.separated(", ");
            for id in chunk {
                list.push_bind(*id);
            }
            q.push(")");
            q.build_query_as::<Touch>().persistent(false).fetch_all(c).await
        })?;
        found.extend(rows.into_iter().map(|t| (t.id, t)));
    }
    Ok(found)
}

#[derive(sqlx::FromRow)]
struct ContactRow {
    person_id: PersonId,
    real: i64,
    ghost: i64,
}

/// Contacts per person on a channel since an instant. People without any are absent.
pub async fn contact_counts(
    db: &Db,
    people: &[PersonId],
    channel: TouchChannel,
    since: Timestamp,
) -> sqlx::Result<HashMap<PersonId, Contacts>> {
    let mut counts = HashMap::new();
    for chunk in people.chunks(UPDATE_ROWS) {
        let rows = read!(*db, |c| {
            let mut q = QueryBuilder::new(
                "SELECT person_id, CAST(SUM(CASE WHEN arm = 'treated' THEN 1 ELSE 0 END) AS BIGINT) AS real,
                        CAST(SUM(CASE WHEN arm = 'ghost' THEN 1 ELSE 0 END) AS BIGINT) AS ghost FROM touch WHERE contact_at >= ",
            );
            q.push_bind(since).push(" AND channel = ").push_bind(channel.as_str()).push(" AND person_id IN (");
            let mut list = q.separated(", ");
            for id in chunk {
                list.push_bind(*id);
            }
            q.push(") GROUP BY person_id");
            q.build_query_as::<ContactRow>().persistent(false).fetch_all(c).await
        })?;
        counts.extend(rows.into_iter().map(|r| (r.person_id, Contacts { real: r.real, ghost: r.ghost })));
    }
    Ok(counts)
}

#[derive(sqlx::FromRow)]
struct ContactAt {
    person_id: PersonId,
    contact_at: Timestamp,
    #[sqlx(try_from = "String")]
    arm: Arm,
}

/// Every contact per person on a channel since an instant, ghosts' would-be contacts included.
pub async fn contacts_since(
    db: &Db,
    people: &[PersonId],
    channel: TouchChannel,
    since: Timestamp,
) -> sqlx::Result<HashMap<PersonId, Vec<Contact>>> {
    let mut found: HashMap<PersonId, Vec<Contact>> = HashMap::new();
    for chunk in people.chunks(UPDATE_ROWS) {
        let rows = read!(*db, |c| {
            let mut q = QueryBuilder::new("SELECT person_id, contact_at, arm FROM touch WHERE contact_at >= ");
            q.push_bind(since).push(" AND channel = ").push_bind(channel.as_str()).push(" AND person_id IN (");
            let mut list = q.separated(", ");
            for id in chunk {
                list.push_bind(*id);
            }
            q.push(")");
            q.build_query_as::<ContactAt>().persistent(false).fetch_all(c).await
        })?;
        for row in rows {
            found.entry(row.person_id).or_default().push(Contact { at: row.contact_at, arm: row.arm });
        }
    }
    Ok(found)
}

#[derive(sqlx::FromRow)]
struct ProductsRow {
    person_id: PersonId,
    product_ids: Json<Vec<i64>>,
}

/// Which products each person was contacted about since an instant (any channel), ghosts' would-be products included.
pub async fn recent_products(db: &Db, people: &[PersonId], since: Timestamp) -> sqlx::Result<HashMap<PersonId, HashSet<ProductId>>> {
    let mut found: HashMap<PersonId, HashSet<ProductId>> = HashMap::new();
    for chunk in people.chunks(UPDATE_ROWS) {
        let rows = read!(*db, |c| {
            let mut q = QueryBuilder::new("SELECT person_id, product_ids FROM touch WHERE contact_at >= ");
            q.push_bind(since).push(" AND person_id IN (");
            let mut list = q.separated(", ");
            for id in chunk {
                list.push_bind(*id);
            }
            q.push(")");
            q.build_query_as::<ProductsRow>().persistent(false).fetch_all(c).await
        })?;
        for row in rows {
            found.entry(row.person_id).or_default().extend(row.product_ids.0.into_iter().map(ProductId));
        }
    }
    Ok(found)
}

const COUNT_CAMPAIGN: &str = "SELECT arm, state, reason, COUNT(*) AS touches FROM touch WHERE campaign_id = $1 GROUP BY arm, state, reason";
const COUNT_RUN: &str = "SELECT arm, state, reason, COUNT(*) AS touches FROM touch WHERE run_id = $1 GROUP BY arm, state, reason";

pub async fn counts_of_campaign(db: &Db, campaign: CampaignId) -> sqlx::Result<Vec<StateCount>> {
    read!(*db, |c| sqlx::query_as(COUNT_CAMPAIGN).bind(campaign).fetch_all(c).await)
}
pub async fn counts_of_run(db: &Db, run: RunId) -> sqlx::Result<Vec<StateCount>> {
    read!(*db, |c| sqlx::query_as(COUNT_RUN).bind(run).fetch_all(c).await)
}

const UNCERTAIN: &str = "SELECT campaign_id, COUNT(*) FROM touch WHERE state = 'uncertain' GROUP BY campaign_id ORDER BY campaign_id";

/// Touches of which nobody knows whether they went out, per campaign that has any.
pub async fn uncertain(db: &Db) -> sqlx::Result<Vec<(CampaignId, i64)>> {
    read!(*db, |c| sqlx::query_as(UNCERTAIN).fetch_all(c).await)
}

const BY_VARIANT: &str = "SELECT variant_id,
       SUM(CASE WHEN arm = 'treated' AND state IN ('sent', 'uncertain', 'served') THEN 1 ELSE 0 END) AS sent,
       SUM(CASE WHEN state = 'held' THEN 1 ELSE 0 END) AS held,
       COUNT(open_at) AS opened, COUNT(click_at) AS clicked
     FROM touch WHERE campaign_id = $1 GROUP BY variant_id ORDER BY variant_id";

/// What each variant of a campaign came to.
pub async fn counts_by_variant(db: &Db, campaign: CampaignId) -> sqlx::Result<Vec<VariantCount>> {
    read!(*db, |c| sqlx::query_as(BY_VARIANT).bind(campaign).fetch_all(c).await)
}

const PAGE_PERSON: &str = concat!("SELECT ", columns!(), " FROM touch WHERE person_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
pub async fn page_of_person(db: &Db, person: PersonId, before: Option<TouchId>, limit: i64) -> sqlx::Result<Vec<Touch>> {
    let before = before.unwrap_or(TouchId(Uuid::max()));
    read!(*db, |c| sqlx::query_as(PAGE_PERSON).bind(person).bind(before).bind(limit).fetch_all(c).await)
}

// A person has some hundred touches at most: they are found by touch_person and sorted.
const TIMELINE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM touch WHERE person_id = $1 AND (COALESCE(contact_at, planned_at) < $2 OR (COALESCE(contact_at, planned_at) = $2 AND id < $3))
     ORDER BY COALESCE(contact_at, planned_at) DESC, id DESC LIMIT $4"
);

/// A person's touches from before an instant, newest first: by when they went out, those that did not by when they were planned.
pub async fn timeline(db: &Db, person: PersonId, before: (Timestamp, TouchId), limit: i64) -> sqlx::Result<Vec<Touch>> {
    read!(*db, |c| sqlx::query_as(TIMELINE).bind(person).bind(before.0).bind(before.1).bind(limit).fetch_all(c).await)
}

const PAGE_CAMPAIGN: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM touch WHERE campaign_id = $1 AND id > $2 AND (CAST($4 AS TEXT) IS NULL OR state = $4) ORDER BY id LIMIT $3"
);
pub async fn page_of_campaign(
    db: &Db,
    campaign: CampaignId,
    state: Option<TouchState>,
    after: Option<TouchId>,
    limit: i64,
) -> sqlx::Result<Vec<Touch>> {
    let after = after.unwrap_or(TouchId(Uuid::nil()));
    read!(*db, |c| {
        sqlx::query_as(PAGE_CAMPAIGN).bind(campaign).bind(after).bind(limit).bind(state.map(TouchState::as_str)).fetch_all(c).await
    })
}
