//! How a campaign's mail fared at which hosts: looks at its newest touches only, so that its cost does not grow with the campaign.

use sqlx::AssertSqlSafe;

use crate::platform::db::{Db, Dialect};
use crate::platform::ids::CampaignId;
use crate::read;

/// Touches looked at, newest first.
pub const NEWEST: i64 = 5_000;
/// A mail host with fewer people than this is not named: it might be somebody's own.
const FEW: i64 = 5;

/// How mail fared at one host.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct DomainFigures {
    /// Lower case; empty: hosts with fewer than five people, put together.
    pub domain: String,
    pub mails: i64,
    pub sent: i64,
    pub failed: i64,
    pub deferred: i64,
    /// Taken, and come back later.
    pub bounced: i64,
    pub complained: i64,
    pub opened: i64,
}

/// Deliverability by mail host among the newest [`NEWEST`] touches of a campaign, largest first. Hosts of fewer than five people are one row.
pub async fn by_domain(db: &Db, campaign: CampaignId) -> sqlx::Result<Vec<DomainFigures>> {
    let host = match db.dialect() {
        Dialect::Sqlite => "LOWER(SUBSTR(p.email, INSTR(p.email, '@') + 1))",
        Dialect::Postgres => "LOWER(SPLIT_PART(p.email, '@', 2))",
    };
    let n = |what: &str, name: &str| format!("CAST(SUM(CASE WHEN {what} THEN 1 ELSE 0 END) AS BIGINT) AS {name}");
    let columns = [
        "COUNT(*) AS mails".to_owned(),
        n("t.state IN ('sent', 'uncertain')", "sent"),
        n("t.state = 'failed'", "failed"),
        n("t.state = 'deferred'", "deferred"),
        // What the host refused at once is no bounce of something that it had taken.
        n(
            "t.state IN ('sent', 'uncertain') AND EXISTS (SELECT 1 FROM touch_signal s WHERE s.touch_id = t.id AND s.kind = 'bounce')",
            "bounced",
        ),
        n("EXISTS (SELECT 1 FROM touch_signal s WHERE s.touch_id = t.id AND s.kind = 'complaint')", "complained"),
        n("t.open_at IS NOT NULL OR t.click_at IS NOT NULL", "opened"),
    ]
    .join(", ");
    let sql = format!(
        "SELECT {host} AS domain, {columns}
         FROM (SELECT id, person_id, state, arm, channel, open_at, click_at FROM touch WHERE campaign_id = $1 ORDER BY id DESC LIMIT $2) t
         JOIN person p ON p.id = t.person_id
         WHERE t.arm = 'treated' AND t.channel = 'email' AND t.state IN ('sent', 'uncertain', 'failed', 'deferred') AND p.email IS NOT NULL
         GROUP BY 1 ORDER BY 2 DESC, 1"
    );
    let rows: Vec<DomainFigures> = read!(*db, |c| sqlx::query_as(AssertSqlSafe(sql)).bind(campaign).bind(NEWEST).fetch_all(c).await)?;
    let (mut named, few): (Vec<_>, Vec<_>) = rows.into_iter().partition(|r| r.mails >= FEW);
    let beyond = named.split_off(named.len().min(12));
    let mut rest = DomainFigures::default();
    for row in few.into_iter().chain(beyond) {
        rest.mails += row.mails;
        rest.sent += row.sent;
        rest.failed += row.failed;
        rest.deferred += row.deferred;
        rest.bounced += row.bounced;
        rest.complained += row.complained;
        rest.opened += row.opened;
    }
    if rest.mails > 0 {
        named.push(rest);
    }
    Ok(named)
}
