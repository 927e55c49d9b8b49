//! SQL of `campaign_figures`: a row for each campaign, filled by who adds up, so that lists are ordered by it.

use sqlx::QueryBuilder;

use crate::on;
use crate::platform::db::Tx;
use crate::platform::ids::CampaignId;

/// What a campaign came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CampaignFigures {
    pub campaign_id: CampaignId,
    pub sent: i64,
    pub clicked: i64,
    /// As the shop reads credit, in minor units of its currency.
    pub earned_minor: i64,
}

const MAKE: &str = "INSERT INTO campaign_figures (campaign_id) VALUES ($1) ON CONFLICT (campaign_id) DO NOTHING";

/// The row of a new campaign.
pub(super) async fn make(tx: &mut Tx, id: CampaignId) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(MAKE).bind(id).execute(&mut *c).await.map(|_| ()))
}

/// Writes figures. At most some thousand at a time.
pub async fn put_figures(tx: &mut Tx, figures: &[CampaignFigures]) -> sqlx::Result<()> {
    if figures.is_empty() {
        return Ok(());
    }
    on!(tx, |c| {
        let mut q = QueryBuilder::new("INSERT INTO campaign_figures (campaign_id, sent, clicked, earned_minor) ");
        q.push_values(figures, |mut row, f| {
            row.push_bind(f.campaign_id).push_bind(f.sent).push_bind(f.clicked).push_bind(f.earned_minor);
        });
        q.push(" ON CONFLICT (campaign_id) DO UPDATE SET sent = excluded.sent, clicked = excluded.clicked, earned_minor = excluded.earned_minor");
        q.build().persistent(false).execute(&mut *c).await.map(|_| ())
    })
}
