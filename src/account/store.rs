//! SQL of `api_key`.

use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Tx};
use crate::platform::ids::ApiKeyId;
use crate::{on, read};

#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct KeyRow {
    pub id: ApiKeyId,
    pub prefix: String,
    pub secret_hash: Vec<u8>,
    pub name: String,
    pub scopes: String,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

const COLUMNS: &str = "SELECT id, prefix, secret_hash, name, scopes, created_at, last_used_at, revoked_at FROM api_key ORDER BY id";
const INSERT: &str = "INSERT INTO api_key (prefix, secret_hash, name, scopes, created_at) VALUES ($1, $2, $3, $4, $5) RETURNING id";
const REVOKE: &str = "UPDATE api_key SET revoked_at = $2 WHERE prefix = $1 AND revoked_at IS NULL";
const TOUCH: &str = "UPDATE api_key SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";

pub(super) async fn all(db: &Db) -> sqlx::Result<Vec<KeyRow>> {
    read!(*db, |c| sqlx::query_as::<_, KeyRow>(COLUMNS).fetch_all(c).await)
}

pub(super) async fn insert(tx: &mut Tx, prefix: &str, hash: &[u8], name: &str, scopes: &str, now: Timestamp) -> sqlx::Result<ApiKeyId> {
    on!(tx, |c| {
        sqlx::query_scalar::<_, ApiKeyId>(INSERT).bind(prefix).bind(hash).bind(name).bind(scopes).bind(now).fetch_one(&mut *c).await
    })
}

pub(super) async fn revoke(tx: &mut Tx, prefix: &str, now: Timestamp) -> sqlx::Result<bool> {
    on!(tx, |c| sqlx::query(REVOKE).bind(prefix).bind(now).execute(&mut *c).await.map(|r| r.rows_affected() == 1))
}

pub(super) async fn touch(tx: &mut Tx, id: ApiKeyId, now: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(TOUCH).bind(id).bind(now).execute(&mut *c).await.map(|_| ()))
}
