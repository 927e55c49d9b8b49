//! Sessions: a random token in a cookie, its hash in the database, an end for the idle and an end for all.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::user_store;
use super::users::{User, UserError};
use crate::platform::Platform;
use crate::platform::clock::{DAY_US, HOUR_US, Timestamp};
use crate::platform::db::{Db, Tx};
use crate::platform::ids::UserId;
use crate::{on, read};

/// A session that nobody used for this long is over.
pub const IDLE_US: i64 = 12 * HOUR_US;
/// A session is over after this long, used or not.
pub const LIFETIME_US: i64 = 14 * DAY_US;
/// "Last seen" is written at most this often: a page is not a write.
const SEEN_EVERY_US: i64 = 5 * 60 * 1_000_000;
const TOKEN_BYTES: usize = 32;

/// Who is signed in, by which session.
#[derive(Clone, Debug)]
pub struct Session {
    pub user: User,
    pub token_hash: Vec<u8>,
}

/// A session as its owner sees it.
#[derive(Clone, Debug, Serialize)]
pub struct SessionInfo {
    /// Hash of the token's hash: names the session in a form without giving anything away.
    pub handle: String,
    pub created_at: Timestamp,
    pub last_seen_at: Timestamp,
    pub address: String,
    pub agent: String,
    pub current: bool,
}

#[derive(sqlx::FromRow)]
struct SessionRow {
    token_hash: Vec<u8>,
    user_id: UserId,
    created_at: Timestamp,
    last_seen_at: Timestamp,
    address: String,
    agent: String,
}

const INSERT: &str = "INSERT INTO user_session (token_hash, user_id, created_at, last_seen_at, expires_at, address, agent)
     VALUES ($1, $2, $3, $3, $4, $5, $6)";
const GET: &str = "SELECT token_hash, user_id, created_at, last_seen_at, address, agent FROM user_session
     WHERE token_hash = $1 AND expires_at > $2 AND last_seen_at > $3";
const OF_USER: &str = "SELECT token_hash, user_id, created_at, last_seen_at, address, agent FROM user_session
     WHERE user_id = $1 AND expires_at > $2 AND last_seen_at > $3 ORDER BY last_seen_at DESC LIMIT 100";
const SEEN: &str = "UPDATE user_session SET last_seen_at = $2 WHERE token_hash = $1 AND last_seen_at < $2";
const END: &str = "DELETE FROM user_session WHERE token_hash = $1";
const END_ALL: &str = "DELETE FROM user_session WHERE user_id = $1";
const END_OTHERS: &str = "DELETE FROM user_session WHERE user_id = $1 AND token_hash <> $2";
const FORGET: &str = "DELETE FROM user_session WHERE expires_at <= $1 OR last_seen_at <= $2";

/// 256 random bits, base64url.
pub(super) fn random_token() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN_BYTES]>())
}

/// The token is random, so a plain hash is enough.
pub(super) fn token_hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

fn handle(token_hash: &[u8]) -> String {
    hex::encode(&Sha256::digest(token_hash)[..12])
}

/// Begins a session; returns the cookie's token. Sessions that are over are swept on the way.
pub(super) async fn begin(tx: &mut Tx, user: UserId, address: &str, agent: &str, now: Timestamp) -> sqlx::Result<String> {
    let token = random_token();
    let agent: String = agent.chars().take(200).collect();
    on!(tx, |c| sqlx::query(FORGET).bind(now).bind(now.plus_us(-IDLE_US)).execute(&mut *c).await.map(|_| ()))?;
    on!(tx, |c| {
        sqlx::query(INSERT)
            .bind(token_hash(&token))
            .bind(user)
            .bind(now)
            .bind(now.plus_us(LIFETIME_US))
            .bind(address)
            .bind(agent)
            .execute(&mut *c)
            .await
            .map(|_| ())
    })?;
    user_store::seen(tx, user, now).await?;
    Ok(token)
}

/// The session behind a cookie, if it lives and its user may sign in.
pub async fn find(platform: &Platform, token: &str) -> sqlx::Result<Option<Session>> {
    if token.is_empty() || token.len() > 100 {
        return Ok(None);
    }
    let (hash, now) = (token_hash(token), platform.now());
    let idle = now.plus_us(-IDLE_US);
    let row =
        read!(platform.db, |c| sqlx::query_as::<_, SessionRow>(GET).bind(hash.as_slice()).bind(now).bind(idle).fetch_optional(c).await)?;
    let Some(row) = row else { return Ok(None) };
    let Some(user) = user_store::by_id(&platform.db, row.user_id).await?.filter(|u| u.disabled_at.is_none()) else { return Ok(None) };
    if now.since(row.last_seen_at) > SEEN_EVERY_US {
        let mut tx = platform.db.begin().await?;
        on!(&mut tx, |c| sqlx::query(SEEN).bind(hash.as_slice()).bind(now).execute(&mut *c).await.map(|_| ()))?;
        user_store::seen(&mut tx, row.user_id, now).await?;
        tx.commit().await?;
    }
    Ok(Some(Session { user: user.user(), token_hash: row.token_hash }))
}

/// The user's own sessions, the latest used first.
pub async fn list(platform: &Platform, session: &Session) -> sqlx::Result<Vec<SessionInfo>> {
    let now = platform.now();
    let rows = read!(platform.db, |c| sqlx::query_as::<_, SessionRow>(OF_USER)
        .bind(session.user.id)
        .bind(now)
        .bind(now.plus_us(-IDLE_US))
        .fetch_all(c)
        .await)?;
    let info = |r: SessionRow| SessionInfo {
        handle: handle(&r.token_hash),
        current: r.token_hash == session.token_hash,
        created_at: r.created_at,
        last_seen_at: r.last_seen_at,
        address: r.address,
        agent: r.agent,
    };
    Ok(rows.into_iter().map(info).collect())
}

pub(super) async fn end(tx: &mut Tx, token_hash: &[u8]) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(END).bind(token_hash).execute(&mut *c).await.map(|_| ()))
}

pub(super) async fn end_all(tx: &mut Tx, user: UserId) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(END_ALL).bind(user).execute(&mut *c).await.map(|_| ()))
}

/// Signs out.
pub async fn sign_out(platform: &Platform, session: &Session) -> Result<(), UserError> {
    let mut tx = platform.db.begin().await?;
    end(&mut tx, &session.token_hash).await?;
    Ok(tx.commit().await?)
}

/// Ends one of the user's own sessions by its handle. False where there is none.
pub async fn end_by_handle(platform: &Platform, session: &Session, which: &str) -> Result<bool, UserError> {
    let found = hashes(&platform.db, session.user.id).await?.into_iter().find(|h| handle(h) == which);
    let Some(hash) = found else { return Ok(false) };
    let mut tx = platform.db.begin().await?;
    end(&mut tx, &hash).await?;
    tx.commit().await?;
    Ok(true)
}

/// Ends all of the user's sessions but this one.
pub async fn end_others(platform: &Platform, session: &Session) -> Result<(), UserError> {
    let mut tx = platform.db.begin().await?;
    on!(&mut tx, |c| {
        sqlx::query(END_OTHERS).bind(session.user.id).bind(session.token_hash.as_slice()).execute(&mut *c).await.map(|_| ())
    })?;
    Ok(tx.commit().await?)
}

async fn hashes(db: &Db, user: UserId) -> sqlx::Result<Vec<Vec<u8>>> {
    const SQL: &str = "SELECT token_hash FROM user_session WHERE user_id = $1";
    read!(*db, |c| sqlx::query_scalar::<_, Vec<u8>>(SQL).bind(user).fetch_all(c).await)
}
