//! SQL of the table `ad_copy`.

use sqlx::types::Json;

use super::model::{Copy, CopyKey, CopyStatus, Finding, StoredCopy};
use crate::platform::clock::Timestamp;
use crate::platform::ids::{CampaignId, CopyId, ProductId, VariantId};
use crate::platform::{Db, Tx};
use crate::{on, read};

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    id: CopyId,
    campaign_id: CampaignId,
    variant_id: VariantId,
    product_id: ProductId,
    locale: String,
    channel: String,
    tone: String,
    occasion: String,
    generator: String,
    status: String,
    stale: bool,
    subject: String,
    preheader: String,
    headline: String,
    body: String,
    cta: String,
    findings: Json<Vec<Finding>>,
    facts_hash: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

fn decode<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(text: &str) -> sqlx::Result<T> {
    text.parse().map_err(|e: T::Err| sqlx::Error::Decode(Box::new(e)))
}

impl TryFrom<Row> for StoredCopy {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id,
            campaign_id: row.campaign_id,
            variant_id: row.variant_id,
            product_id: row.product_id,
            locale: decode(&row.locale)?,
            channel: decode(&row.channel)?,
            tone: decode(&row.tone)?,
            occasion: decode(&row.occasion)?,
            generator: row.generator,
            status: decode(&row.status)?,
            stale: row.stale,
            copy: Copy { subject: row.subject, preheader: row.preheader, headline: row.headline, body: row.body, cta: row.cta },
            findings: row.findings.0,
            created_at: row.created_at,
            updated_at: row.updated_at,
            facts_hash: row.facts_hash,
        })
    }
}

pub(super) fn stored(rows: Vec<Row>) -> sqlx::Result<Vec<StoredCopy>> {
    rows.into_iter().map(StoredCopy::try_from).collect()
}

const OF_VARIANT_SQLITE: &str = "SELECT * FROM ad_copy WHERE campaign_id = $1 AND variant_id = $2
     AND product_id IN (SELECT value FROM json_each($3))";
const OF_VARIANT_POSTGRES: &str = "SELECT * FROM ad_copy WHERE campaign_id = $1 AND variant_id = $2 AND product_id = ANY($3)";

/// Everything stored for a variant and these products.
pub async fn of_variant(db: &Db, campaign: CampaignId, variant: VariantId, products: &[ProductId]) -> sqlx::Result<Vec<StoredCopy>> {
    let mut found = Vec::new();
    for some in products.chunks(10_000) {
        let ids: Vec<i64> = some.iter().map(|p| p.0).collect();
        let rows: Vec<Row> = match db {
            Db::Sqlite(s) => sqlx::query_as(OF_VARIANT_SQLITE).bind(campaign).bind(variant).bind(Json(ids)).fetch_all(&s.readers).await?,
            Db::Postgres(p) => sqlx::query_as(OF_VARIANT_POSTGRES).bind(campaign).bind(variant).bind(ids).fetch_all(p).await?,
        };
        found.extend(stored(rows)?);
    }
    Ok(found)
}

const BY_IDS_SQLITE: &str = "SELECT * FROM ad_copy WHERE id IN (SELECT value FROM json_each($1))";
const BY_IDS_POSTGRES: &str = "SELECT * FROM ad_copy WHERE id = ANY($1)";

pub async fn get_many(db: &Db, ids: &[CopyId]) -> sqlx::Result<Vec<StoredCopy>> {
    let mut found = Vec::with_capacity(ids.len());
    for some in ids.chunks(10_000) {
        let ids: Vec<i64> = some.iter().map(|c| c.0).collect();
        let rows: Vec<Row> = match db {
            Db::Sqlite(s) => sqlx::query_as(BY_IDS_SQLITE).bind(Json(ids)).fetch_all(&s.readers).await?,
            Db::Postgres(p) => sqlx::query_as(BY_IDS_POSTGRES).bind(ids).fetch_all(p).await?,
        };
        found.extend(stored(rows)?);
    }
    Ok(found)
}

const PAGE: &str = "SELECT * FROM ad_copy WHERE id > $1 AND ($2 < 0 OR campaign_id = $2) AND ($3 = '' OR status = $3) ORDER BY id LIMIT $4";

/// The next copies after an id; all campaigns and states where none is given.
pub async fn page(
    db: &Db,
    after: CopyId,
    campaign: Option<CampaignId>,
    status: Option<CopyStatus>,
    limit: i64,
) -> sqlx::Result<Vec<StoredCopy>> {
    let campaign = campaign.map_or(-1, |c| c.0);
    let status = status.map_or("", CopyStatus::as_str);
    stored(read!(*db, |c| sqlx::query_as::<_, Row>(PAGE).bind(after).bind(campaign).bind(status).bind(limit).fetch_all(c).await)?)
}

const OF_PRODUCT: &str = "SELECT * FROM ad_copy WHERE product_id = $1 ORDER BY id DESC LIMIT $2";

/// The newest copies about a product.
pub async fn of_product(db: &Db, product: ProductId, limit: i64) -> sqlx::Result<Vec<StoredCopy>> {
    stored(read!(*db, |c| sqlx::query_as::<_, Row>(OF_PRODUCT).bind(product).bind(limit).fetch_all(c).await)?)
}

/// A row to be written.
pub struct NewRow {
    pub key: CopyKey,
    pub tone: &'static str,
    pub occasion: &'static str,
    pub generator: String,
    pub status: CopyStatus,
    pub copy: Copy,
    pub findings: Vec<Finding>,
    pub facts_hash: String,
}

const INSERT: &str =
    "INSERT INTO ad_copy (campaign_id, variant_id, product_id, locale, channel, tone, occasion, generator, status, stale, subject,
     preheader, headline, body, cta, findings, facts_hash, created_at, updated_at) ";
// What a person approved, edited or rejected since it was read is theirs: it is not overwritten.
const REPLACE: &str = " ON CONFLICT (campaign_id, variant_id, product_id, locale, channel) DO UPDATE SET tone = excluded.tone,
     occasion = excluded.occasion, generator = excluded.generator, status = excluded.status, stale = excluded.stale,
     subject = excluded.subject, preheader = excluded.preheader, headline = excluded.headline, body = excluded.body, cta = excluded.cta,
     findings = excluded.findings, facts_hash = excluded.facts_hash, updated_at = excluded.updated_at
     WHERE ad_copy.status IN ('written', 'dropped')";

/// Writes rows (at most 500 a call), replacing what the machine wrote before.
pub async fn write(tx: &mut Tx, rows: &[NewRow], now: Timestamp) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    on!(tx, |c| {
        let mut query = sqlx::QueryBuilder::new(INSERT);
        query.push_values(rows, |mut row, new| {
            row.push_bind(new.key.campaign_id)
                .push_bind(new.key.variant_id)
                .push_bind(new.key.product_id)
                .push_bind(new.key.locale.as_str())
                .push_bind(new.key.channel.as_str())
                .push_bind(new.tone)
                .push_bind(new.occasion)
                .push_bind(new.generator.as_str())
                .push_bind(new.status.as_str())
                .push_bind(false)
                .push_bind(new.copy.subject.as_str())
                .push_bind(new.copy.preheader.as_str())
                .push_bind(new.copy.headline.as_str())
                .push_bind(new.copy.body.as_str())
                .push_bind(new.copy.cta.as_str())
                .push_bind(Json(&new.findings))
                .push_bind(new.facts_hash.as_str())
                .push_bind(now)
                .push_bind(now);
        });
        query.push(REPLACE);
        query.build().execute(&mut *c).await.map(|_| ())
    })
}

const MARK_STALE_SQLITE: &str = "UPDATE ad_copy SET stale = TRUE, updated_at = $2 WHERE id IN (SELECT value FROM json_each($1))";
const MARK_STALE_POSTGRES: &str = "UPDATE ad_copy SET stale = TRUE, updated_at = $2 WHERE id = ANY($1)";

pub async fn mark_stale(tx: &mut Tx, ids: &[CopyId], now: Timestamp) -> sqlx::Result<()> {
    let ids: Vec<i64> = ids.iter().map(|c| c.0).collect();
    match tx {
        Tx::Sqlite { tx, .. } => sqlx::query(MARK_STALE_SQLITE).bind(Json(ids)).bind(now).execute(&mut **tx).await.map(|_| ()),
        Tx::Postgres(tx) => sqlx::query(MARK_STALE_POSTGRES).bind(ids).bind(now).execute(&mut **tx).await.map(|_| ()),
    }
}

const SET_STATUS: &str = "UPDATE ad_copy SET status = $2, stale = $3, facts_hash = $4, updated_at = $5 WHERE id = $1";

pub async fn set_status(tx: &mut Tx, id: CopyId, status: CopyStatus, stale: bool, facts_hash: &str, now: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(SET_STATUS)
        .bind(id)
        .bind(status.as_str())
        .bind(stale)
        .bind(facts_hash)
        .bind(now)
        .execute(&mut *c)
        .await
        .map(|_| ()))
}

const EDIT: &str = "UPDATE ad_copy SET status = 'edited', stale = FALSE, subject = $2, preheader = $3, headline = $4, body = $5, cta = $6,
     findings = $7, facts_hash = $8, updated_at = $9 WHERE id = $1";

pub async fn edit(tx: &mut Tx, id: CopyId, copy: &Copy, findings: &[Finding], facts_hash: &str, now: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(EDIT)
        .bind(id)
        .bind(copy.subject.as_str())
        .bind(copy.preheader.as_str())
        .bind(copy.headline.as_str())
        .bind(copy.body.as_str())
        .bind(copy.cta.as_str())
        .bind(Json(findings))
        .bind(facts_hash)
        .bind(now)
        .execute(&mut *c)
        .await
        .map(|_| ()))
}
