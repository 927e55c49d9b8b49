//! Webhooks as people make and change them.

use super::model::{Attempt, MAX_WEBHOOKS, NewWebhook, Webhook, WebhookError};
use super::store;
use crate::platform::{Db, Platform};

const PURPOSE: &str = "webhook";
/// Bytes of a secret; shown as hex.
const SECRET_BYTES: usize = 32;

/// All webhooks, by age.
pub async fn list(db: &Db) -> sqlx::Result<Vec<Webhook>> {
    store::all(db).await
}

/// One webhook.
///
/// # Errors
/// [`WebhookError::NotFound`].
pub async fn get(db: &Db, id: i64) -> Result<Webhook, WebhookError> {
    store::by_id(db, id).await?.ok_or(WebhookError::NotFound)
}

/// How many events wait for it; 10,000 stands for that many or more.
pub async fn waiting(db: &Db, id: i64) -> sqlx::Result<i64> {
    store::waiting(db, id).await
}

/// Its attempts with ids below `before`, newest first.
pub async fn attempts(db: &Db, id: i64, before: Option<i64>, limit: i64) -> sqlx::Result<Vec<Attempt>> {
    store::attempts(db, id, before.unwrap_or(i64::MAX), limit).await
}

/// Makes a webhook with a secret of its own. What happens from now on is told.
///
/// # Errors
/// [`WebhookError::Invalid`] names the field, [`WebhookError::TooMany`].
pub async fn create(platform: &Platform, new: &NewWebhook) -> Result<Webhook, WebhookError> {
    let (name, url, kinds) = new.checked(platform.config.webhooks.allow_private)?;
    let now = platform.now();
    let mut tx = platform.db.begin().await?;
    if store::count(&mut tx).await? >= MAX_WEBHOOKS {
        return Err(WebhookError::TooMany);
    }
    let id = store::insert(&mut tx, &name, url.as_str(), &kinds, now).await?;
    let secret = hex::encode(rand::random::<[u8; SECRET_BYTES]>());
    let sealed = platform.signer.seal(PURPOSE, &id.to_string(), secret.as_bytes());
    store::set_secret(&mut tx, id, &sealed).await?;
    tx.commit().await?;
    get(&platform.db, id).await
}

/// What signs its bodies: the bytes of this text.
///
/// # Errors
/// [`WebhookError::Secret`] where the signing secret of the shop is another one than when it was made.
pub async fn secret(platform: &Platform, id: i64) -> Result<String, WebhookError> {
    let sealed = store::secret(&platform.db, id).await?.ok_or(WebhookError::NotFound)?;
    let plain = platform.signer.unseal(PURPOSE, &id.to_string(), &sealed).ok_or(WebhookError::Secret)?;
    String::from_utf8(plain).map_err(|_| WebhookError::Secret)
}

/// Changes name, address and kinds; what waits stays.
///
/// # Errors
/// As [`create`].
pub async fn update(platform: &Platform, id: i64, new: &NewWebhook) -> Result<Webhook, WebhookError> {
    let (name, url, kinds) = new.checked(platform.config.webhooks.allow_private)?;
    let mut tx = platform.db.begin().await?;
    if !store::update(&mut tx, id, &name, url.as_str(), &kinds).await? {
        return Err(WebhookError::NotFound);
    }
    tx.commit().await?;
    get(&platform.db, id).await
}

/// Switches it on (failures are forgotten, and what waits is told at once) or off (nothing new is written down for it).
///
/// # Errors
/// [`WebhookError::NotFound`].
pub async fn set_active(platform: &Platform, id: i64, active: bool) -> Result<(), WebhookError> {
    let mut tx = platform.db.begin().await?;
    if !store::set_active(&mut tx, id, active, platform.now()).await? {
        return Err(WebhookError::NotFound);
    }
    Ok(tx.commit().await?)
}

/// Forgets a webhook, what waits for it, and its log.
///
/// # Errors
/// [`WebhookError::NotFound`].
pub async fn remove(platform: &Platform, id: i64) -> Result<(), WebhookError> {
    get(&platform.db, id).await?;
    let mut tx = platform.db.begin().await?;
    store::remove(&mut tx, id).await?;
    Ok(tx.commit().await?)
}
