//! What came back on touches: the table `touch_signal`, and the first human open and click stamped on the touch.

use std::collections::{HashMap, HashSet};

use sqlx::QueryBuilder;
use uuid::Uuid;

use super::model::{Actor, NewSignal, Recorded, Signal, SignalKind};
use crate::platform::Timestamp;
use crate::platform::db::{Db, Tx};
use crate::platform::ids::{TouchId, uuid_v7};
use crate::{on, read};

const ROWS: usize = 1_000;
/// Namespace of the ids of signals that carry a key.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d61_7271_7565_652d_7369_676e_616c_0001);

fn id_of(signal: &NewSignal) -> Uuid {
    match &signal.key {
        Some(key) => {
            let mut name = Vec::with_capacity(32 + key.len());
            name.extend_from_slice(signal.touch_id.0.as_bytes());
            name.extend_from_slice(signal.kind.as_str().as_bytes());
            name.push(0);
            name.extend_from_slice(key.as_bytes());
            Uuid::new_v5(&NAMESPACE, &name)
        }
        None => uuid_v7(signal.at),
    }
}

/// The column that keeps the first human signal of a kind.
fn stamp(kind: SignalKind) -> Option<&'static str> {
    match kind {
        SignalKind::Open => Some("open_at"),
        SignalKind::Click => Some("click_at"),
        SignalKind::Viewable => Some("viewable_at"),
        SignalKind::Unsubscribe | SignalKind::Bounce | SignalKind::Complaint => None,
    }
}

/// Records signals (any number; one statement per 1,000). One answer per signal, in order. `now`: when they became known.
pub async fn record_many(tx: &mut Tx, signals: &[NewSignal], now: Timestamp) -> sqlx::Result<Vec<Recorded>> {
    let mut answers = Vec::with_capacity(signals.len());
    for chunk in signals.chunks(ROWS) {
        record_chunk(tx, chunk, now, &mut answers).await?;
    }
    Ok(answers)
}

async fn record_chunk(tx: &mut Tx, signals: &[NewSignal], now: Timestamp, answers: &mut Vec<Recorded>) -> sqlx::Result<()> {
    let touches: HashSet<TouchId> = signals.iter().map(|s| s.touch_id).collect();
    let known: HashSet<TouchId> = on!(tx, |c| {
        let mut q = QueryBuilder::new("SELECT id FROM touch WHERE id IN (");
        let mut list = q.separated(", ");
        for id in &touches {
            list.push_bind(*id);
        }
        q.push(")");
        q.build_query_scalar::<TouchId>().persistent(false).fetch_all(&mut *c).await
    })?
    .into_iter()
    .collect();

    // A key that comes twice in one batch is one row; its first occurrence is the new one.
    let ids: Vec<Uuid> = signals.iter().map(id_of).collect();
    let mut seen = HashSet::new();
    let rows: Vec<(Uuid, &NewSignal)> =
        ids.iter().copied().zip(signals).filter(|(id, s)| known.contains(&s.touch_id) && seen.insert(*id)).collect();
    let mut fresh: HashSet<Uuid> = HashSet::new();
    if !rows.is_empty() {
        fresh = on!(tx, |c| {
            let mut q = QueryBuilder::new("INSERT INTO touch_signal (id, touch_id, kind, actor, at, detail) ");
            q.push_values(&rows, |mut row, (id, s)| {
                row.push_bind(*id)
                    .push_bind(s.touch_id)
                    .push_bind(s.kind.as_str())
                    .push_bind(s.actor.as_str())
                    .push_bind(s.at)
                    .push_bind(s.detail.as_deref());
            });
            q.push(" ON CONFLICT (id) DO NOTHING RETURNING id");
            q.build_query_scalar::<Uuid>().persistent(false).fetch_all(&mut *c).await
        })?
        .into_iter()
        .collect();
    }

    let mut firsts: HashSet<(TouchId, SignalKind)> = HashSet::new();
    for kind in [SignalKind::Open, SignalKind::Click, SignalKind::Viewable] {
        let mut earliest: HashMap<TouchId, Timestamp> = HashMap::new();
        for (id, s) in rows.iter().filter(|(_, s)| s.kind == kind && s.actor == Actor::Human) {
            if fresh.contains(id) {
                earliest.entry(s.touch_id).and_modify(|at| *at = (*at).min(s.at)).or_insert(s.at);
            }
        }
        firsts.extend(stamp_first(tx, kind, &earliest, now).await?.into_iter().map(|id| (id, kind)));
    }
    for (id, signal) in ids.iter().zip(signals) {
        let new = fresh.remove(id);
        let first = new && signal.actor == Actor::Human && firsts.remove(&(signal.touch_id, signal.kind));
        answers.push(Recorded { new, first, unknown_touch: !known.contains(&signal.touch_id) });
    }
    Ok(())
}

/// Stamps the first signal; returns the touches that had none before. A signal that arrives late and is older moves the stamp back.
async fn stamp_first(tx: &mut Tx, kind: SignalKind, earliest: &HashMap<TouchId, Timestamp>, now: Timestamp) -> sqlx::Result<Vec<TouchId>> {
    let Some(column) = stamp(kind).filter(|_| !earliest.is_empty()) else { return Ok(Vec::new()) };
    let mut stamped = Vec::new();
    for only_empty in [true, false] {
        let rows = on!(tx, |c| {
            let mut q = QueryBuilder::new("UPDATE touch SET ");
            q.push("stamped_at = ").push_bind(now).push(", ").push(column).push(" = v.column2 FROM (");
            q.push_values(earliest, |mut row, (id, at)| {
                row.push_bind(*id).push_bind(*at);
            });
            q.push(") AS v WHERE touch.id = v.column1 AND touch.").push(column);
            q.push(if only_empty { " IS NULL" } else { " > v.column2" });
            q.push(" RETURNING touch.id");
            q.build_query_scalar::<TouchId>().persistent(false).fetch_all(&mut *c).await
        })?;
        if only_empty {
            stamped = rows;
        }
    }
    Ok(stamped)
}

const OF_TOUCH: &str = "SELECT touch_id, kind, actor, at, detail FROM touch_signal WHERE touch_id = $1 ORDER BY at, id LIMIT 1000";

/// The signals of one touch, oldest first (at most 1,000).
pub async fn of_touch(db: &Db, touch: TouchId) -> sqlx::Result<Vec<Signal>> {
    read!(*db, |c| sqlx::query_as(OF_TOUCH).bind(touch).fetch_all(c).await)
}
