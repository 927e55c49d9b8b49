//! Copies as a page shows them: newest first, by state, campaign, product, channel, language and finding.

use sqlx::QueryBuilder;

use super::model::{CopyChannel, CopyStatus, FindingKind, Locale, StoredCopy};
use super::store::{Row, stored};
use crate::platform::Db;
use crate::platform::db::Dialect;
use crate::platform::ids::{CampaignId, CopyId, ProductId};
use crate::read;

/// Where a copy stands, as marketers say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// Written, and nobody has looked at it. It is used unless somebody says no.
    Waiting,
    /// A person approved or edited it.
    Approved,
    Rejected,
    /// No text passed the guardrails.
    Dropped,
}

impl CopyState {
    pub const ALL: [CopyState; 4] = [Self::Waiting, Self::Approved, Self::Rejected, Self::Dropped];
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Dropped => "dropped",
        }
    }
    pub const fn of(status: CopyStatus) -> Self {
        match status {
            CopyStatus::Written => Self::Waiting,
            CopyStatus::Approved | CopyStatus::Edited => Self::Approved,
            CopyStatus::Rejected => Self::Rejected,
            CopyStatus::Dropped => Self::Dropped,
        }
    }
    const fn condition(self) -> &'static str {
        match self {
            Self::Waiting => "status = 'written'",
            Self::Approved => "status IN ('approved', 'edited')",
            Self::Rejected => "status = 'rejected'",
            Self::Dropped => "status = 'dropped'",
        }
    }
}

/// Which copies; what is `None` does not matter.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyFilter {
    pub campaign: Option<CampaignId>,
    pub product: Option<ProductId>,
    pub channel: Option<CopyChannel>,
    pub locale: Option<Locale>,
    pub state: Option<CopyState>,
    /// A guardrail found this in the text.
    pub finding: Option<FindingKind>,
}

/// The order of the gallery, always downwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyOrder {
    /// When they were written.
    #[default]
    Newest,
    /// Only copies that were sent or shown.
    Sent,
    /// Only copies that were sent or shown.
    Clicked,
}

impl CopyOrder {
    /// The column of `copy_figures`, where it is ordered by one.
    const fn figure(self) -> Option<&'static str> {
        match self {
            Self::Newest => None,
            Self::Sent => Some("sent"),
            Self::Clicked => Some("clicked"),
        }
    }
}

/// The next `limit` copies behind `after`.
pub async fn browse(db: &Db, filter: &CopyFilter, order: CopyOrder, after: Option<CopyId>, limit: i64) -> sqlx::Result<Vec<StoredCopy>> {
    let dialect = db.dialect();
    let rows: Vec<Row> = read!(*db, |c| {
        let mut sql = QueryBuilder::new("SELECT ad_copy.* FROM ");
        match (order.figure(), after) {
            (None, after) => {
                sql.push("ad_copy WHERE id < ").push_bind(after.map_or(i64::MAX, |id| id.0));
            }
            // The order's index is walked, and each copy looked up by its id.
            (Some(column), after) => {
                sql.push("copy_figures CROSS JOIN ad_copy WHERE id = copy_id");
                if let Some(id) = after {
                    sql.push(" AND (").push(column).push(", copy_id) < ((SELECT l.").push(column);
                    sql.push(" FROM copy_figures l WHERE l.copy_id = ").push_bind(id).push("), ").push_bind(id).push(")");
                }
            }
        }
        if let Some(campaign) = filter.campaign {
            sql.push(" AND campaign_id = ").push_bind(campaign);
        }
        if let Some(product) = filter.product {
            sql.push(" AND product_id = ").push_bind(product);
        }
        if let Some(channel) = filter.channel {
            sql.push(" AND channel = ").push_bind(channel.as_str());
        }
        if let Some(locale) = filter.locale {
            sql.push(" AND locale = ").push_bind(locale.as_str());
        }
        if let Some(state) = filter.state {
            sql.push(" AND ").push(state.condition());
        }
        if let Some(kind) = filter.finding {
            // The first half is what the partial index holds.
            sql.push(" AND findings <> '[]' AND ");
            match dialect {
                Dialect::Sqlite => sql.push("instr(findings, ").push_bind(format!("\"kind\":\"{kind}\"")).push(") > 0"),
                Dialect::Postgres => sql.push("findings @> CAST(").push_bind(format!(r#"[{{"kind":"{kind}"}}]"#)).push(" AS JSONB)"),
            };
        }
        match order.figure() {
            None => sql.push(" ORDER BY id DESC"),
            Some(column) => sql.push(" ORDER BY ").push(column).push(" DESC, copy_id DESC"),
        };
        sql.push(" LIMIT ").push_bind(limit);
        sql.build_query_as().fetch_all(c).await
    })?;
    stored(rows)
}

/// Counting stops here.
pub const MOST_COUNTED: i64 = 10_000;
const WAITING: &str = "SELECT COUNT(*) FROM (SELECT 1 FROM ad_copy WHERE status = 'written' LIMIT 10000) few";
const APPROVED: &str = "SELECT COUNT(*) FROM (SELECT 1 FROM ad_copy WHERE status IN ('approved', 'edited') LIMIT 10000) few";
const REJECTED: &str = "SELECT COUNT(*) FROM (SELECT 1 FROM ad_copy WHERE status = 'rejected' LIMIT 10000) few";
const DROPPED: &str = "SELECT COUNT(*) FROM (SELECT 1 FROM ad_copy WHERE status = 'dropped' LIMIT 10000) few";

/// How many copies stand where; [`MOST_COUNTED`] stands for that many or more.
pub async fn counts(db: &Db) -> sqlx::Result<Vec<(CopyState, i64)>> {
    let mut found = Vec::with_capacity(4);
    for state in CopyState::ALL {
        let sql = match state {
            CopyState::Waiting => WAITING,
            CopyState::Approved => APPROVED,
            CopyState::Rejected => REJECTED,
            CopyState::Dropped => DROPPED,
        };
        found.push((state, read!(*db, |c| sqlx::query_scalar(sql).fetch_one(c).await)?));
    }
    Ok(found)
}
