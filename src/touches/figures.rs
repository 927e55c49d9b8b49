//! Counts of touches that pages look at again and again: each from an index, so that they stay quick with millions.

use super::model::TouchState;
use crate::platform::Db;
use crate::platform::ids::{CampaignId, TouchId};
use crate::read;

#[derive(sqlx::FromRow)]
struct StateRow {
    #[sqlx(try_from = "String")]
    state: TouchState,
    touches: i64,
}

// Nothing but the index `touch_campaign` is read.
const STATES: &str = "SELECT state, COUNT(*) AS touches FROM touch WHERE campaign_id = $1 GROUP BY state";

/// How many touches of a campaign are in each state, both arms.
pub async fn states_of_campaign(db: &Db, campaign: CampaignId) -> sqlx::Result<Vec<(TouchState, i64)>> {
    let rows: Vec<StateRow> = read!(*db, |c| sqlx::query_as(STATES).bind(campaign).fetch_all(c).await)?;
    Ok(rows.into_iter().map(|r| (r.state, r.touches)).collect())
}

// The same index, of what is not over yet: a long history costs nothing.
const OPEN: &str = "SELECT state, COUNT(*) AS touches FROM touch WHERE campaign_id = $1
     AND state IN ('planned', 'deferred', 'claimed', 'sending', 'uncertain') GROUP BY state";

/// How many touches of a campaign have not come to their end, or to one that nobody knows, by state, both arms.
pub async fn open_of_campaign(db: &Db, campaign: CampaignId) -> sqlx::Result<Vec<(TouchState, i64)>> {
    let rows: Vec<StateRow> = read!(*db, |c| sqlx::query_as(OPEN).bind(campaign).fetch_all(c).await)?;
    Ok(rows.into_iter().map(|r| (r.state, r.touches)).collect())
}

// Read from the index `touch_left_out` alone.
const REASONS: &str = "SELECT state, COALESCE(reason, '') AS reason, COUNT(*) AS touches FROM touch
     WHERE campaign_id = $1 AND state IN ('skipped', 'failed', 'cancelled', 'expired', 'deferred') GROUP BY state, reason";

#[derive(sqlx::FromRow)]
struct ReasonRow {
    #[sqlx(try_from = "String")]
    state: TouchState,
    reason: String,
    touches: i64,
}

/// Touches that did not go out, by state and the code that their reason begins with; most first.
pub async fn left_out(db: &Db, campaign: CampaignId) -> sqlx::Result<Vec<(TouchState, String, i64)>> {
    let rows: Vec<ReasonRow> = read!(*db, |c| sqlx::query_as(REASONS).bind(campaign).fetch_all(c).await)?;
    let mut by_code: std::collections::BTreeMap<(TouchState, String), i64> = std::collections::BTreeMap::new();
    for row in rows {
        let code = row.reason.split(':').next().unwrap_or_default().trim().to_owned();
        *by_code.entry((row.state, code)).or_default() += row.touches;
    }
    let mut list: Vec<_> = by_code.into_iter().map(|((state, code), n)| (state, code, n)).collect();
    list.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.1.cmp(&b.1)));
    Ok(list)
}

const UNCERTAIN: &str = "SELECT id FROM touch WHERE campaign_id = $1 AND state = 'uncertain' ORDER BY id LIMIT $2";

/// Touches of which nobody knows whether they went out, oldest first.
pub async fn uncertain_of_campaign(db: &Db, campaign: CampaignId, limit: i64) -> sqlx::Result<Vec<TouchId>> {
    read!(*db, |c| sqlx::query_scalar(UNCERTAIN).bind(campaign).bind(limit).fetch_all(c).await)
}
