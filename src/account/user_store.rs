//! SQL of `app_user` and `recovery_code`.

use super::role::Role;
use super::users::{NewUser, User};
use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Tx};
use crate::platform::ids::UserId;
use crate::{on, read};

#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct UserRow {
    pub id: UserId,
    pub email: String,
    pub name: String,
    pub role: String,
    pub password_hash: Option<String>,
    pub totp_secret: Option<Vec<u8>>,
    pub totp_last_step: i64,
    pub locale: Option<String>,
    pub time_zone: Option<String>,
    pub theme: String,
    pub created_at: Timestamp,
    pub disabled_at: Option<Timestamp>,
    pub last_seen_at: Option<Timestamp>,
}

impl UserRow {
    pub fn user(&self) -> User {
        User {
            id: self.id,
            email: self.email.clone(),
            name: self.name.clone(),
            // A role that this version does not know may do the least.
            role: self.role.parse().unwrap_or(Role::Analyst),
            has_password: self.password_hash.is_some(),
            has_totp: self.totp_secret.is_some(),
            locale: self.locale.clone(),
            time_zone: self.time_zone.as_deref().and_then(|z| z.parse().ok()),
            theme: self.theme.clone(),
            created_at: self.created_at,
            disabled: self.disabled_at.is_some(),
            last_seen_at: self.last_seen_at,
        }
    }
}

const COLUMNS: &str = "SELECT id, email, name, role, password_hash, totp_secret, totp_last_step, locale, time_zone, theme, created_at,
         disabled_at, last_seen_at FROM app_user";
const COUNT: &str = "SELECT COUNT(*) FROM app_user";
const INSERT: &str = "INSERT INTO app_user (email, name, role, password_hash, created_at) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (email) DO NOTHING RETURNING id";
const SET_ROLE: &str = "UPDATE app_user SET role = $2 WHERE id = $1";
const SET_DISABLED: &str = "UPDATE app_user SET disabled_at = $2 WHERE id = $1";
const SET_PASSWORD: &str = "UPDATE app_user SET password_hash = $2 WHERE id = $1";
const SET_TOTP: &str = "UPDATE app_user SET totp_secret = $2, totp_last_step = $3 WHERE id = $1";
const USE_STEP: &str = "UPDATE app_user SET totp_last_step = $2 WHERE id = $1 AND totp_last_step < $2";
const SET_PROFILE: &str = "UPDATE app_user SET name = $2, locale = $3, time_zone = $4 WHERE id = $1";
const SET_THEME: &str = "UPDATE app_user SET theme = $2 WHERE id = $1";
const SEEN: &str = "UPDATE app_user SET last_seen_at = $2 WHERE id = $1";
const LOCK_ADMINS_PG: &str = "SELECT id FROM app_user WHERE role = 'admin' AND disabled_at IS NULL ORDER BY id FOR UPDATE";
const ADMINS: &str = "SELECT id FROM app_user WHERE role = 'admin' AND disabled_at IS NULL ORDER BY id";
const FORGET_CODES: &str = "DELETE FROM recovery_code WHERE user_id = $1";
const INSERT_CODE: &str = "INSERT INTO recovery_code (user_id, code_hash) VALUES ($1, $2)";
const USE_CODE: &str = "UPDATE recovery_code SET used_at = $3 WHERE user_id = $1 AND code_hash = $2 AND used_at IS NULL";
const CODES_LEFT: &str = "SELECT COUNT(*) FROM recovery_code WHERE user_id = $1 AND used_at IS NULL";

pub(super) async fn count(db: &Db) -> sqlx::Result<i64> {
    read!(*db, |c| sqlx::query_scalar::<_, i64>(COUNT).fetch_one(c).await)
}

pub(super) async fn all(db: &Db) -> sqlx::Result<Vec<UserRow>> {
    const SQL: &str = "SELECT id, email, name, role, password_hash, totp_secret, totp_last_step, locale, time_zone, theme, created_at,
         disabled_at, last_seen_at FROM app_user ORDER BY email LIMIT 1000";
    read!(*db, |c| sqlx::query_as::<_, UserRow>(SQL).fetch_all(c).await)
}

pub(super) async fn by_email(db: &Db, email: &str) -> sqlx::Result<Option<UserRow>> {
    let sql = || sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE email = $1"));
    read!(*db, |c| sqlx::query_as::<_, UserRow>(sql()).bind(email).fetch_optional(c).await)
}

pub(super) async fn by_id(db: &Db, id: UserId) -> sqlx::Result<Option<UserRow>> {
    let sql = || sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE id = $1"));
    read!(*db, |c| sqlx::query_as::<_, UserRow>(sql()).bind(id).fetch_optional(c).await)
}

pub(super) async fn count_in(tx: &mut Tx) -> sqlx::Result<i64> {
    on!(tx, |c| sqlx::query_scalar::<_, i64>(COUNT).fetch_one(&mut *c).await)
}

/// `None` where the address is taken.
pub(super) async fn insert(tx: &mut Tx, new: &NewUser, hash: Option<&str>, now: Timestamp) -> sqlx::Result<Option<UserId>> {
    on!(tx, |c| {
        sqlx::query_scalar::<_, UserId>(INSERT)
            .bind(&new.email)
            .bind(&new.name)
            .bind(new.role.name())
            .bind(hash)
            .bind(now)
            .fetch_optional(&mut *c)
            .await
    })
}

pub(super) async fn set_role(tx: &mut Tx, id: UserId, role: Role) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(SET_ROLE).bind(id).bind(role.name()).execute(&mut *c).await.map(|_| ()))
}

pub(super) async fn set_disabled(tx: &mut Tx, id: UserId, at: Option<Timestamp>) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(SET_DISABLED).bind(id).bind(at).execute(&mut *c).await.map(|_| ()))
}

pub(super) async fn set_password(tx: &mut Tx, id: UserId, hash: &str) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(SET_PASSWORD).bind(id).bind(hash).execute(&mut *c).await.map(|_| ()))
}

pub(super) async fn set_totp(tx: &mut Tx, id: UserId, secret: Option<&[u8]>, step: i64) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(SET_TOTP).bind(id).bind(secret).bind(step).execute(&mut *c).await.map(|_| ()))
}

/// False where somebody used this code or a later one first.
pub(super) async fn use_step(tx: &mut Tx, id: UserId, step: i64) -> sqlx::Result<bool> {
    on!(tx, |c| sqlx::query(USE_STEP).bind(id).bind(step).execute(&mut *c).await.map(|r| r.rows_affected() == 1))
}

pub(super) async fn set_profile(tx: &mut Tx, id: UserId, name: &str, locale: Option<&str>, zone: Option<&str>) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(SET_PROFILE).bind(id).bind(name).bind(locale).bind(zone).execute(&mut *c).await.map(|_| ()))
}

pub(super) async fn set_theme(tx: &mut Tx, id: UserId, theme: &str) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(SET_THEME).bind(id).bind(theme).execute(&mut *c).await.map(|_| ()))
}

pub(super) async fn seen(tx: &mut Tx, id: UserId, at: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(SEEN).bind(id).bind(at).execute(&mut *c).await.map(|_| ()))
}

/// The admins who can sign in, held until the transaction ends, so that two of them cannot remove each other at once.
pub(super) async fn lock_admins(tx: &mut Tx) -> sqlx::Result<Vec<UserId>> {
    match tx {
        // SQLite: the transaction is the only writer.
        Tx::Sqlite { tx, .. } => sqlx::query_scalar::<_, UserId>(ADMINS).fetch_all(&mut **tx).await,
        Tx::Postgres(tx) => sqlx::query_scalar::<_, UserId>(LOCK_ADMINS_PG).fetch_all(&mut **tx).await,
    }
}

pub(super) async fn replace_codes(tx: &mut Tx, id: UserId, hashes: &[Vec<u8>]) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(FORGET_CODES).bind(id).execute(&mut *c).await.map(|_| ()))?;
    for hash in hashes {
        on!(tx, |c| sqlx::query(INSERT_CODE).bind(id).bind(hash.as_slice()).execute(&mut *c).await.map(|_| ()))?;
    }
    Ok(())
}

pub(super) async fn use_code(tx: &mut Tx, id: UserId, hash: &[u8], now: Timestamp) -> sqlx::Result<bool> {
    on!(tx, |c| sqlx::query(USE_CODE).bind(id).bind(hash).bind(now).execute(&mut *c).await.map(|r| r.rows_affected() == 1))
}

pub(super) async fn codes_left(db: &Db, id: UserId) -> sqlx::Result<i64> {
    read!(*db, |c| sqlx::query_scalar::<_, i64>(CODES_LEFT).bind(id).fetch_one(c).await)
}
