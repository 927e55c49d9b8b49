//! A text of which a person wants another: written anew from other seeds until it differs.

use std::collections::HashMap;

use super::model::{CopyKey, CopyRequest, CopyStatus, StoredCopy};
use super::service::{self, CopyError, brief_for};
use super::store;
use super::writer::{Writer, Written};
use crate::catalog;
use crate::platform::ids::CopyId;
use crate::platform::{Db, Platform};

/// Seeds tried before the writer has nothing else to say.
const TRIES: u64 = 16;

/// What is stored for these requests; nothing is written.
pub async fn stored(db: &Db, requests: &[CopyRequest]) -> sqlx::Result<HashMap<CopyKey, StoredCopy>> {
    let mut found = HashMap::new();
    for request in requests {
        for copy in store::of_variant(db, request.campaign_id, request.variant_id, &[request.product_id]).await? {
            let key = CopyKey {
                campaign_id: copy.campaign_id,
                variant_id: copy.variant_id,
                product_id: copy.product_id,
                locale: copy.locale,
                channel: copy.channel,
            };
            if key == request.key() {
                found.insert(key, copy);
            }
        }
    }
    Ok(found)
}

/// Writes a stored text anew, whatever was decided about it before. It comes back as written, or dropped where nothing passed the guardrails.
///
/// # Errors
/// [`CopyError::NotFound`], and what the generator or the database say.
pub async fn rewrite(platform: &Platform, id: CopyId) -> Result<StoredCopy, CopyError> {
    let old = service::get(platform, id).await?;
    let product = catalog::get(&platform.db, old.product_id).await?.ok_or(CopyError::NotFound)?;
    let request = CopyRequest {
        campaign_id: old.campaign_id,
        variant_id: old.variant_id,
        product_id: old.product_id,
        locale: old.locale,
        channel: old.channel,
        tone: old.tone,
        occasion: old.occasion,
    };
    let brief = brief_for(&product, &request, &platform.config.shop.name);
    let writer = Writer::from_config(&platform.config.generator)?;
    // Begins elsewhere each time, so that asking again and again goes through what there is.
    let start = request.seed() ^ old.updated_at.micros().unsigned_abs();
    let mut last: Option<Written> = None;
    for n in 1..=TRIES {
        let written = writer.write(&brief, start.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).await;
        let another = written.copy.as_ref().is_some_and(|c| *c != old.copy);
        if written.copy.is_some() || last.is_none() {
            last = Some(written);
        }
        if another {
            break;
        }
    }
    let Some(written) = last else { return Err(CopyError::NotFound) };
    let facts_hash = brief.facts_hash();
    let row = store::NewRow {
        key: request.key(),
        tone: request.tone.as_str(),
        occasion: request.occasion.as_str(),
        generator: written.generator,
        status: if written.copy.is_some() { CopyStatus::Written } else { CopyStatus::Dropped },
        copy: written.copy.unwrap_or_default(),
        findings: written.findings,
        facts_hash: facts_hash.clone(),
    };
    let now = platform.now().max(old.updated_at.plus_us(1));
    let mut tx = platform.db.begin().await?;
    // What a person decided is not overwritten unless it is taken back first.
    store::set_status(&mut tx, id, CopyStatus::Dropped, false, &facts_hash, now).await?;
    store::write(&mut tx, &[row], now).await?;
    tx.commit().await?;
    service::get(platform, id).await
}
