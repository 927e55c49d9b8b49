//! One-time links: set-up of the first admin, invitation, password reset. Random, stored as a hash, short-lived, used once.

use super::sessions::{random_token, token_hash};
use crate::platform::clock::{DAY_US, HOUR_US, Timestamp};
use crate::platform::db::{Db, Tx};
use crate::platform::ids::UserId;
use crate::{on, read};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPurpose {
    /// Makes the first admin.
    SetUp,
    /// Sets the first password of an invited user.
    Invite,
    /// Sets a new password.
    Reset,
}

impl LinkPurpose {
    pub fn name(self) -> &'static str {
        match self {
            Self::SetUp => "set_up",
            Self::Invite => "invite",
            Self::Reset => "reset",
        }
    }
    pub fn lifetime_us(self) -> i64 {
        match self {
            Self::SetUp => DAY_US,
            Self::Invite => 7 * DAY_US,
            Self::Reset => HOUR_US,
        }
    }
    /// The page that takes the link's token.
    pub fn path(self, token: &str) -> String {
        match self {
            Self::SetUp => format!("/set-up?token={token}"),
            Self::Invite => format!("/welcome?token={token}"),
            Self::Reset => format!("/reset?token={token}"),
        }
    }
}

const END_OLD: &str = "DELETE FROM user_link WHERE expires_at <= $1 OR (user_id = $2 AND purpose = $3)";
const END_EXPIRED: &str = "DELETE FROM user_link WHERE expires_at <= $1";
const INSERT: &str = "INSERT INTO user_link (token_hash, purpose, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)";
const FIND: &str = "SELECT user_id FROM user_link WHERE token_hash = $1 AND purpose = $2 AND expires_at > $3 AND used_at IS NULL";
const USE: &str = "UPDATE user_link SET used_at = $3 WHERE token_hash = $1 AND purpose = $2 AND expires_at > $3 AND used_at IS NULL";
const END_OF_USER: &str = "DELETE FROM user_link WHERE user_id = $1";

/// Makes a link; older ones of the same user and purpose end. Returns the token.
pub(super) async fn make(tx: &mut Tx, purpose: LinkPurpose, user: Option<UserId>, now: Timestamp) -> sqlx::Result<String> {
    let token = random_token();
    match user {
        Some(user) => on!(tx, |c| sqlx::query(END_OLD).bind(now).bind(user).bind(purpose.name()).execute(&mut *c).await.map(|_| ()))?,
        None => on!(tx, |c| sqlx::query(END_EXPIRED).bind(now).execute(&mut *c).await.map(|_| ()))?,
    }
    on!(tx, |c| {
        sqlx::query(INSERT)
            .bind(token_hash(&token))
            .bind(purpose.name())
            .bind(user)
            .bind(now)
            .bind(now.plus_us(purpose.lifetime_us()))
            .execute(&mut *c)
            .await
            .map(|_| ())
    })?;
    Ok(token)
}

/// Whose link it is, while it is good: `Some(None)` for a set-up link. Looking does not use it up (mail scanners look).
pub(super) async fn look(db: &Db, purpose: LinkPurpose, token: &str, now: Timestamp) -> sqlx::Result<Option<Option<UserId>>> {
    if token.len() > 100 {
        return Ok(None);
    }
    let hash = token_hash(token);
    read!(*db, |c| sqlx::query_scalar::<_, Option<UserId>>(FIND)
        .bind(hash.as_slice())
        .bind(purpose.name())
        .bind(now)
        .fetch_optional(c)
        .await)
}

/// Uses the link up. False where it is no longer good.
pub(super) async fn take(tx: &mut Tx, purpose: LinkPurpose, token: &str, now: Timestamp) -> sqlx::Result<bool> {
    let hash = token_hash(token);
    on!(tx, |c| {
        sqlx::query(USE).bind(hash.as_slice()).bind(purpose.name()).bind(now).execute(&mut *c).await.map(|r| r.rows_affected() == 1)
    })
}

/// Ends all links of a user.
pub(super) async fn end_all(tx: &mut Tx, user: UserId) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(END_OF_USER).bind(user).execute(&mut *c).await.map(|_| ()))
}
