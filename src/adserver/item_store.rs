//! SQL of `line_item`.

use sqlx::types::Json;

use super::auction::Declared;
use super::line_items::{ItemError, ItemStatus, LineItem, NewLineItem};
use super::targeting::Targeting;
use crate::fault;
use crate::platform::db::{Db, Tx};
use crate::platform::ids::{CampaignId, LineItemId, PlacementId};
use crate::platform::{Platform, Timestamp};
use crate::{campaign, on, read};

macro_rules! columns {
    () => {
        "id, campaign_id, placement_id, name, tier, budget_kind, budget, price_kind, price_minor, starts_at, ends_at, pacing, cap_per_day, \
         choice, targeting, exchange, status, created_at, updated_at"
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: LineItemId,
    campaign_id: CampaignId,
    placement_id: PlacementId,
    name: String,
    tier: String,
    budget_kind: String,
    budget: i64,
    price_kind: String,
    price_minor: i64,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    pacing: String,
    cap_per_day: i64,
    choice: String,
    targeting: Json<Targeting>,
    exchange: Json<Declared>,
    status: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

fn word<T: std::str::FromStr<Err = crate::touches::UnknownWord>>(text: &str) -> sqlx::Result<T> {
    text.parse().map_err(|e| sqlx::Error::Decode(Box::new(e)))
}

impl TryFrom<Row> for LineItem {
    type Error = sqlx::Error;
    fn try_from(r: Row) -> sqlx::Result<Self> {
        Ok(Self {
            id: r.id,
            campaign_id: r.campaign_id,
            placement_id: r.placement_id,
            name: r.name,
            tier: word(&r.tier)?,
            budget_kind: word(&r.budget_kind)?,
            budget: r.budget,
            price_kind: word(&r.price_kind)?,
            price_minor: r.price_minor,
            starts_at: r.starts_at,
            ends_at: r.ends_at,
            pacing: word(&r.pacing)?,
            cap_per_day: r.cap_per_day,
            choice: word(&r.choice)?,
            targeting: r.targeting.0,
            exchange: r.exchange.0,
            status: word(&r.status)?,
            created_at: r.created_at,
            updated_at: r.updated_at,
        })
    }
}

const BY_ID: &str = concat!("SELECT ", columns!(), " FROM line_item WHERE id = $1");
const OF_PLACEMENT: &str =
    concat!("SELECT ", columns!(), " FROM line_item WHERE placement_id = $1 AND id > $2 AND status <> 'archived' ORDER BY id LIMIT $3");
const OF_CAMPAIGN: &str =
    concat!("SELECT ", columns!(), " FROM line_item WHERE campaign_id = $1 AND id > $2 AND status <> 'archived' ORDER BY id LIMIT $3");
const PAGE: &str = concat!("SELECT ", columns!(), " FROM line_item WHERE id > $1 AND status <> 'archived' ORDER BY id LIMIT $2");

fn items(rows: Vec<Row>) -> sqlx::Result<Vec<LineItem>> {
    rows.into_iter().map(LineItem::try_from).collect()
}

/// One line item, archived or not.
pub async fn get(db: &Db, id: LineItemId) -> Result<LineItem, ItemError> {
    let row: Option<Row> = read!(*db, |c| sqlx::query_as(BY_ID).bind(id).fetch_optional(c).await)?;
    Ok(row.ok_or(ItemError::NotFound)?.try_into()?)
}
/// The line items after an id, in order of their ids.
pub async fn page(db: &Db, after: LineItemId, limit: i64) -> sqlx::Result<Vec<LineItem>> {
    items(read!(*db, |c| sqlx::query_as(PAGE).bind(after).bind(limit).fetch_all(c).await)?)
}
/// The line items of a placement, in order of their ids.
pub async fn of_placement(db: &Db, placement: PlacementId, after: LineItemId, limit: i64) -> sqlx::Result<Vec<LineItem>> {
    items(read!(*db, |c| sqlx::query_as(OF_PLACEMENT).bind(placement).bind(after).bind(limit).fetch_all(c).await)?)
}
/// The line items of a campaign, in order of their ids.
pub async fn of_campaign(db: &Db, campaign: CampaignId, after: LineItemId, limit: i64) -> sqlx::Result<Vec<LineItem>> {
    items(read!(*db, |c| sqlx::query_as(OF_CAMPAIGN).bind(campaign).bind(after).bind(limit).fetch_all(c).await)?)
}

const INSERT: &str = concat!(
    "INSERT INTO line_item (campaign_id, placement_id, name, tier, budget_kind, budget, price_kind, price_minor, starts_at, ends_at, pacing,
     cap_per_day, choice, targeting, exchange, status, created_at, updated_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $16, 'active', $15, $15) RETURNING ",
    columns!()
);
const UPDATE: &str = concat!(
    "UPDATE line_item SET campaign_id = $1, placement_id = $2, name = $3, tier = $4, budget_kind = $5, budget = $6, price_kind = $7,
       price_minor = $8, starts_at = $9, ends_at = $10, pacing = $11, cap_per_day = $12, choice = $13, targeting = $14,
       exchange = $16,
       updated_at = CASE WHEN updated_at >= $15 THEN updated_at + 1 ELSE $15 END
     WHERE id = $17 RETURNING ",
    columns!()
);
const PLACEMENT: &str = "SELECT id FROM placement WHERE key = $1";
// Where the clock stands still a second change must still look like one.
const STATUS: &str = concat!(
    "UPDATE line_item SET status = $2, updated_at = CASE WHEN updated_at >= $3 THEN updated_at + 1 ELSE $3 END WHERE id = $1 RETURNING ",
    columns!()
);

async fn write(tx: &mut Tx, sql: &'static str, new: &NewLineItem, id: Option<LineItemId>, now: Timestamp) -> Result<LineItem, ItemError> {
    let row: sqlx::Result<Option<Row>> = on!(&mut *tx, |c| {
        let placement: Option<PlacementId> = sqlx::query_scalar(PLACEMENT).bind(&new.placement).fetch_optional(&mut *c).await?;
        let Some(placement) = placement else {
            let key: String = new.placement.chars().take(60).collect();
            let detail = fault!("item.placement", "There is no placement “{key}”.", key);
            return Err(ItemError::Invalid { field: "placement", detail });
        };
        let mut query = sqlx::query_as::<_, Row>(sql)
            .bind(new.campaign)
            .bind(placement)
            .bind(&new.name)
            .bind(new.tier.as_str())
            .bind(new.budget_kind.as_str())
            .bind(new.budget)
            .bind(new.price_kind.as_str())
            .bind(new.price_minor)
            .bind(new.starts_at)
            .bind(new.ends_at)
            .bind(new.pacing.as_str())
            .bind(new.cap_per_day)
            .bind(new.choice.as_str())
            .bind(Json(&new.targeting))
            .bind(now)
            .bind(Json(&new.exchange));
        if let Some(id) = id {
            query = query.bind(id);
        }
        query.fetch_optional(&mut *c).await
    });
    Ok(row?.ok_or(ItemError::NotFound)?.try_into()?)
}

async fn check_campaign(db: &Db, new: &NewLineItem) -> Result<(), ItemError> {
    let found = campaign::get_many(db, &[new.campaign]).await?;
    match found.get(&new.campaign) {
        None => {
            Err(ItemError::Invalid { field: "campaign", detail: fault!("item.campaign", "There is no campaign {id}.", id = new.campaign) })
        }
        Some(c) if c.plan.channel != crate::touches::TouchChannel::Banner => {
            Err(ItemError::Invalid { field: "campaign", detail: fault!("item.banner", "Only banner campaigns have line items.") })
        }
        Some(_) => Ok(()),
    }
}

/// Makes a line item, active at once; it shows nothing before its campaign runs.
pub async fn create(platform: &Platform, new: NewLineItem) -> Result<LineItem, ItemError> {
    let new = new.checked()?;
    check_campaign(&platform.db, &new).await?;
    let mut tx = platform.db.begin().await?;
    let item = write(&mut tx, INSERT, &new, None, platform.now()).await?;
    tx.commit().await?;
    Ok(item)
}

/// Replaces everything but status and figures.
pub async fn update(platform: &Platform, id: LineItemId, new: NewLineItem) -> Result<LineItem, ItemError> {
    let new = new.checked()?;
    check_campaign(&platform.db, &new).await?;
    let mut tx = platform.db.begin().await?;
    let item = write(&mut tx, UPDATE, &new, Some(id), platform.now()).await?;
    tx.commit().await?;
    Ok(item)
}

pub async fn set_status(platform: &Platform, id: LineItemId, status: ItemStatus) -> Result<LineItem, ItemError> {
    let mut tx = platform.db.begin().await?;
    let row: Option<Row> =
        on!(&mut tx, |c| sqlx::query_as(STATUS).bind(id).bind(status.as_str()).bind(platform.now()).fetch_optional(&mut *c).await)?;
    let item = row.ok_or(ItemError::NotFound)?.try_into()?;
    tx.commit().await?;
    Ok(item)
}
