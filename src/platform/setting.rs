//! Settings that a running shop changes: one JSON document per key. Also the signing secret.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::types::Json;

use super::clock::Timestamp;
use super::db::{Db, Tx};
use crate::{on, read};

const GET: &str = "SELECT value FROM setting WHERE key = $1";
const PUT: &str = "INSERT INTO setting (key, value, updated_at) VALUES ($1, $2, $3)
     ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";
const PUT_NEW: &str = "INSERT INTO setting (key, value, updated_at) VALUES ($1, $2, $3) ON CONFLICT (key) DO NOTHING";

/// The document under a key, or `None` where it was never set.
pub async fn get<T: DeserializeOwned + Send + Unpin + 'static>(db: &Db, key: &str) -> sqlx::Result<Option<T>> {
    read!(*db, |c| sqlx::query_scalar::<_, Json<T>>(GET).bind(key).fetch_optional(c).await).map(|v| v.map(|Json(v)| v))
}

pub async fn get_or_default<T: DeserializeOwned + Default + Send + Unpin + 'static>(db: &Db, key: &str) -> sqlx::Result<T> {
    Ok(get(db, key).await?.unwrap_or_default())
}

pub async fn put<T: Serialize + Sync>(tx: &mut Tx, key: &str, value: &T, now: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(PUT).bind(key).bind(Json(value)).bind(now).execute(&mut *c).await.map(|_| ()))
}

const SECRET_KEY: &str = "platform.secret";

/// The shop's signing secret: made once, shared by all copies over the database.
pub(super) async fn load_or_create_secret(db: &Db, now: Timestamp) -> anyhow::Result<[u8; 32]> {
    if let Some(hex) = get::<String>(db, SECRET_KEY).await? {
        return decode_secret(&hex);
    }
    let fresh: [u8; 32] = rand::random();
    let mut tx = db.begin().await?;
    on!(&mut tx, |c| sqlx::query(PUT_NEW).bind(SECRET_KEY).bind(Json(hex::encode(fresh))).bind(now).execute(&mut *c).await.map(|_| ()))?;
    tx.commit().await?;
    // Two copies may have started at once: what is stored now is what both use.
    let stored = get::<String>(db, SECRET_KEY).await?.ok_or_else(|| anyhow::anyhow!("the signing secret vanished while it was written"))?;
    decode_secret(&stored)
}

fn decode_secret(text: &str) -> anyhow::Result<[u8; 32]> {
    let bytes = hex::decode(text)?;
    <[u8; 32]>::try_from(bytes).map_err(|_| anyhow::anyhow!("setting {SECRET_KEY} does not hold 32 bytes of hex"))
}
