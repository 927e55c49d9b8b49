//! The audit log: who did what, when, in which role, from where. Pages and API writes share it.

use serde::Serialize;

use crate::platform::batch::{BatchLimits, Batcher};
use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Tx};
use crate::platform::http::ApiError;
use crate::{on, read};

/// One line of the log, before it is written.
#[derive(Clone, Debug, Default)]
pub struct NewAudit {
    /// A user's address, `key:PREFIX (name)` or `command line`.
    pub actor: String,
    /// The user's role, a key's scopes, or empty.
    pub actor_role: String,
    /// What was done, as `segment.delete`.
    pub action: String,
    /// To what: an id or a path.
    pub subject: String,
    /// What changed, in words. Never a secret.
    pub detail: String,
    pub address: String,
}

#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct AuditEntry {
    pub id: i64,
    pub at: Timestamp,
    pub actor: String,
    pub actor_role: String,
    pub action: String,
    pub subject: String,
    pub detail: String,
    pub address: String,
}

/// What to show.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub actor: Option<String>,
    pub action: Option<String>,
    /// At this time or later.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Entries older than this id.
    pub before: Option<i64>,
}

const INSERT: &str =
    "INSERT INTO audit_entry (at, actor, actor_role, action, subject, detail, address) VALUES ($1, $2, $3, $4, $5, $6, $7)";

fn cut(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

/// Writes a line inside the caller's transaction: it stands exactly if the deed does.
pub async fn write(tx: &mut Tx, entry: &NewAudit, now: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| {
        sqlx::query(INSERT)
            .bind(now)
            .bind(cut(&entry.actor, 300))
            .bind(cut(&entry.actor_role, 100))
            .bind(cut(&entry.action, 100))
            .bind(cut(&entry.subject, 300))
            .bind(cut(&entry.detail, 2000))
            .bind(cut(&entry.address, 100))
            .execute(&mut *c)
            .await
            .map(|_| ())
    })
}

/// Lines are numbered as they are written, within moments of the time that they carry: so many numbers lie at most between the two orders.
const ASTRAY: i64 = 1_000;

/// The first line of a time or later.
async fn first_since(db: &Db, at: Timestamp) -> sqlx::Result<Option<i64>> {
    const SQL: &str = "SELECT id FROM audit_entry WHERE at >= $1 ORDER BY at, id LIMIT 1";
    read!(*db, |c| sqlx::query_scalar(SQL).bind(at).fetch_optional(c).await)
}

/// Newest first; `limit` rows.
pub async fn list(db: &Db, filter: &AuditFilter, limit: i64) -> sqlx::Result<Vec<AuditEntry>> {
    // A span of time is a range of the numbers by which the log is walked.
    let lowest = match filter.from {
        None => None,
        Some(from) => match first_since(db, from).await? {
            Some(id) => Some(id.saturating_sub(ASTRAY)),
            None => return Ok(Vec::new()),
        },
    };
    let beyond = match filter.until {
        None => None,
        Some(until) => first_since(db, until).await?.map(|id| id.saturating_add(ASTRAY)),
    };
    let before = filter.before.unwrap_or(i64::MAX).min(beyond.unwrap_or(i64::MAX));
    read!(*db, |c| {
        let mut q =
            sqlx::QueryBuilder::new("SELECT id, at, actor, actor_role, action, subject, detail, address FROM audit_entry WHERE id < ");
        q.push_bind(before);
        for (id, at, sign) in [(lowest, filter.from, " >= "), (None, filter.until, " < ")] {
            if let Some(id) = id {
                q.push(" AND id").push(sign).push_bind(id);
            }
            if let Some(at) = at {
                q.push(" AND at").push(sign).push_bind(at);
            }
        }
        for (column, text) in [("actor", &filter.actor), ("action", &filter.action)] {
            if let Some(text) = text {
                q.push(" AND ").push(column).push(" = ").push_bind(text.clone());
            }
        }
        q.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
        q.build_query_as::<AuditEntry>().persistent(false).fetch_all(c).await
    })
}

/// The distinct actions that were ever written, for the filter (a loose index scan: one step per distinct action).
pub async fn actions(db: &Db) -> sqlx::Result<Vec<String>> {
    const SQL: &str = "WITH RECURSIVE a(action) AS (
             SELECT (SELECT MIN(action) FROM audit_entry)
             UNION ALL SELECT (SELECT MIN(e.action) FROM audit_entry e WHERE e.action > a.action) FROM a WHERE a.action IS NOT NULL)
         SELECT action FROM a WHERE action IS NOT NULL LIMIT 300";
    read!(*db, |c| sqlx::query_scalar::<_, String>(SQL).fetch_all(c).await)
}

/// Group-commits lines that do not ride in somebody's transaction (page actions and API writes).
#[derive(Clone)]
pub struct AuditLog {
    queue: Batcher<(NewAudit, Timestamp), ()>,
}

impl AuditLog {
    pub fn start(db: Db) -> Self {
        let limits = BatchLimits { items: 200, linger: std::time::Duration::from_millis(2), waiting: 5_000 };
        let queue = Batcher::spawn(limits, move |lines: Vec<(NewAudit, Timestamp)>| {
            let db = db.clone();
            async move { commit(&db, &lines).await.map(|()| vec![(); lines.len()]).map_err(|e| e.to_string()) }
        });
        Self { queue }
    }

    /// Writes the line and waits until it is durable.
    pub async fn write(&self, entry: NewAudit, now: Timestamp) -> Result<(), ApiError> {
        Ok(self.queue.submit((entry, now)).await?)
    }
}

async fn commit(db: &Db, lines: &[(NewAudit, Timestamp)]) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    for (entry, at) in lines {
        write(&mut tx, entry, *at).await?;
    }
    tx.commit().await
}
