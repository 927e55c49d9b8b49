//! What changed on touches, as signed differences that triggers write down (migration 0040); whoever adds touches up takes them from here.

use sqlx::AssertSqlSafe;

use super::model::TouchChannel;
use crate::on;
use crate::platform::db::{Dialect, Tx};
use crate::platform::ids::{CampaignId, ProductId, VariantId};

/// A difference: what one or more touches of a group came to count more (or less) than before.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Delta {
    /// When they were due, in quarters of an hour since 1970.
    pub quarter: i64,
    pub campaign_id: CampaignId,
    pub variant_id: Option<VariantId>,
    #[sqlx(try_from = "String")]
    pub channel: TouchChannel,
    /// Only of what went out.
    pub product_id: Option<ProductId>,
    #[sqlx(flatten)]
    pub counts: Counts,
}

/// Counts of touches. Everything but `held` is about people who were really addressed; signals are those of humans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow, serde::Serialize)]
pub struct Counts {
    /// All that were meant to go out.
    pub planned: i64,
    /// Of the holdout: would have gone out.
    pub held: i64,
    /// Left out at their time, expired or cancelled.
    pub skipped: i64,
    pub failed: i64,
    /// Went out or were shown, also where the mail server's answer was lost.
    pub sent: i64,
    pub opened: i64,
    pub viewable: i64,
    /// Opened, viewable or clicked.
    pub seen: i64,
    pub clicked: i64,
    pub bounced: i64,
    pub unsubscribed: i64,
    pub complained: i64,
    /// Sent, and came back (mails that the server refused at once bounced, and were never sent).
    pub returned: i64,
}

impl Counts {
    /// All counts, in the order of the tables' columns.
    pub fn array(self) -> [i64; 13] {
        [
            self.planned,
            self.held,
            self.skipped,
            self.failed,
            self.sent,
            self.opened,
            self.viewable,
            self.seen,
            self.clicked,
            self.bounced,
            self.unsubscribed,
            self.complained,
            self.returned,
        ]
    }
    pub fn add(&mut self, other: Counts) {
        let o = other.array();
        for (sum, n) in [
            &mut self.planned,
            &mut self.held,
            &mut self.skipped,
            &mut self.failed,
            &mut self.sent,
            &mut self.opened,
            &mut self.viewable,
            &mut self.seen,
            &mut self.clicked,
            &mut self.bounced,
            &mut self.unsubscribed,
            &mut self.complained,
            &mut self.returned,
        ]
        .into_iter()
        .zip(o)
        {
            *sum += n;
        }
    }
    /// Sent and not come back.
    pub fn delivered(self) -> i64 {
        (self.sent - self.returned).max(0)
    }
    pub fn is_zero(self) -> bool {
        self.array() == [0; 13]
    }
}

// The rows that this transaction deletes are the rows that it gets, so that each difference is taken once.
const TAKE: &str = "DELETE FROM touch_delta WHERE id IN (SELECT id FROM touch_delta ORDER BY id LIMIT $1)
     RETURNING quarter, campaign_id, variant_id, channel, product_id, planned, held, skipped, failed, sent, opened, viewable, seen, clicked,
        bounced, unsubscribed, complained, returned";
const DROP: &str = "DELETE FROM touch_delta WHERE campaign_id = $1";

/// Takes up to `limit` differences, the oldest first; they are gone once the transaction commits.
pub async fn take(tx: &mut Tx, limit: i64) -> sqlx::Result<Vec<Delta>> {
    on!(tx, |c| sqlx::query_as::<_, Delta>(TAKE).bind(limit).fetch_all(&mut *c).await)
}

/// Drops what waits of a campaign: whoever calls this adds all its touches up in the same transaction.
pub async fn forget(tx: &mut Tx, campaign: CampaignId) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(DROP).bind(campaign).execute(&mut *c).await.map(|_| ()))
}

const NEWEST: &str = "SELECT seq FROM sqlite_sequence WHERE name = 'touch_delta'";

/// SQLite: the number of the newest difference that this transaction sees; later ones have higher numbers. On Postgres numbers do not follow
/// commits: 0.
pub async fn newest(tx: &mut Tx) -> sqlx::Result<i64> {
    match tx.dialect() {
        Dialect::Sqlite => Ok(on!(tx, |c| sqlx::query_scalar(NEWEST).fetch_optional(&mut *c).await)?.unwrap_or(0)),
        Dialect::Postgres => Ok(0),
    }
}

const PAGE: &str = "SELECT id, campaign_id FROM touch_delta WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3";

/// Numbers of differences between two, and of which campaign they are.
pub async fn page(tx: &mut Tx, after: i64, through: i64, limit: i64) -> sqlx::Result<Vec<(i64, i64)>> {
    on!(tx, |c| sqlx::query_as(PAGE).bind(after).bind(through).bind(limit).fetch_all(&mut *c).await)
}

/// Drops differences by their numbers: whoever calls this has what they say in their sums already.
pub async fn remove(tx: &mut Tx, ids: &[i64]) -> sqlx::Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let list = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let sql = format!("DELETE FROM touch_delta WHERE id IN ({list})");
    on!(tx, |c| sqlx::query(AssertSqlSafe(sql)).persistent(false).execute(&mut *c).await.map(|_| ()))
}
