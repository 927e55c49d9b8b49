//! Users: made by invitation or on the command line, signed in by password and, where they chose so, a code.

use chrono_tz::Tz;
use serde::Serialize;

use super::links::{self, LinkPurpose};
use super::password::{self, Hasher, PasswordError};
use super::role::{Permission, Role};
use super::throttle::Throttle;
use super::user_store::{self as store, UserRow};
use super::{sessions, totp};
use crate::platform::Platform;
use crate::platform::clock::Timestamp;
use crate::platform::db::Db;
use crate::platform::http::ApiError;
use crate::platform::ids::UserId;

/// A user as pages may show them: no hash, no secret.
#[derive(Clone, Debug, Serialize)]
pub struct User {
    pub id: UserId,
    pub email: String,
    pub name: String,
    pub role: Role,
    /// False: invited, not here yet.
    pub has_password: bool,
    pub has_totp: bool,
    pub locale: Option<String>,
    #[serde(serialize_with = "zone_name")]
    pub time_zone: Option<Tz>,
    /// `auto`, `light` or `dark`.
    pub theme: String,
    pub created_at: Timestamp,
    pub disabled: bool,
    pub last_seen_at: Option<Timestamp>,
}

fn zone_name<S: serde::Serializer>(zone: &Option<Tz>, s: S) -> Result<S::Ok, S::Error> {
    zone.map(|z| z.name()).serialize(s)
}

impl User {
    pub fn may(&self, permission: Permission) -> bool {
        !self.disabled && self.role.may(permission)
    }
}

#[derive(Clone, Debug)]
pub struct NewUser {
    pub email: String,
    pub name: String,
    pub role: Role,
}

#[derive(Debug, thiserror::Error)]
pub enum UserError {
    #[error("“{0}” is not an e-mail address")]
    Email(String),
    #[error("a name has 1 to 100 characters")]
    Name,
    #[error("there is a user with this address already")]
    Taken,
    #[error("there is no such user")]
    Unknown,
    #[error("the last admin stays: make somebody else an admin first")]
    LastAdmin,
    #[error("this link was used, has expired, or was replaced by a newer one")]
    Link,
    #[error("address or password are not right")]
    Credentials,
    #[error("the code is not right, or was used before")]
    Code,
    #[error("too many tries: wait {wait_s} seconds")]
    Throttled { wait_s: i64 },
    #[error("this is not a choice")]
    Choice,
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl UserError {
    /// The translation key of its sentence (`error.user.…`).
    pub fn key(&self) -> &'static str {
        match self {
            Self::Email(_) => "error.user.email",
            Self::Name => "error.user.name",
            Self::Taken => "error.user.taken",
            Self::Unknown => "error.user.unknown",
            Self::LastAdmin => "error.user.last_admin",
            Self::Link => "error.user.link",
            Self::Credentials => "error.user.credentials",
            Self::Code => "error.user.code",
            Self::Throttled { .. } => "error.user.throttled",
            Self::Choice => "error.user.choice",
            Self::Password(PasswordError::Short) => "error.user.password_short",
            Self::Password(PasswordError::Long) => "error.user.password_long",
            Self::Password(PasswordError::Common) => "error.user.password_common",
            Self::Password(_) => "error.user.busy",
            Self::Database(_) => "error.internal",
        }
    }
    /// The form field that is meant.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Email(_) | Self::Taken => "email",
            Self::Name => "name",
            Self::Code => "code",
            Self::Password(_) | Self::Credentials => "password",
            Self::LastAdmin => "role",
            _ => "",
        }
    }
}

impl From<UserError> for ApiError {
    fn from(e: UserError) -> Self {
        match e {
            UserError::Database(e) => e.into(),
            UserError::Password(PasswordError::Hash(why)) => ApiError::internal(anyhow::anyhow!(why)),
            UserError::Password(PasswordError::Busy) | UserError::Throttled { .. } => ApiError::busy(e.to_string()),
            UserError::Unknown => ApiError::not_found("user"),
            UserError::LastAdmin => ApiError::conflict("last_admin", e.to_string()),
            other => ApiError::invalid(other.field(), other.to_string()),
        }
    }
}

/// How the first step of a sign-in ended.
#[derive(Debug)]
pub enum SignIn {
    /// The session's cookie.
    Done { token: String, user: User },
    /// The password was right; a code is wanted. `proof` stands for the first step, for a few minutes.
    CodeWanted { proof: String },
}

/// The accounts of a shop: hasher and throttle live here, the rest in the database.
#[derive(Clone)]
pub struct Accounts {
    pub(super) platform: Platform,
    pub(super) hasher: Hasher,
    pub(super) throttle: Throttle,
}

/// Lower case, one @, a dot in the domain, nothing that a header or a page could mistake.
pub fn clean_email(text: &str) -> Result<String, UserError> {
    let email = text.trim().to_lowercase();
    let bad = || UserError::Email(text.chars().take(80).collect());
    let (local, domain) = email.split_once('@').ok_or_else(bad)?;
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !"<>()[],;:\\\"@".contains(c);
    let fits = !local.is_empty() && domain.len() > 2 && domain.contains('.') && email.len() <= 254;
    (fits && local.chars().all(plain) && domain.chars().all(plain)).then(|| email.clone()).ok_or_else(bad)
}

fn clean_name(text: &str) -> Result<String, UserError> {
    let name = text.trim().to_owned();
    let chars = name.chars().count();
    if chars == 0 || chars > 100 || name.chars().any(char::is_control) { Err(UserError::Name) } else { Ok(name) }
}

impl Accounts {
    pub fn new(platform: Platform) -> Result<Self, PasswordError> {
        Ok(Self { platform, hasher: Hasher::new()?, throttle: Throttle::default() })
    }

    fn now(&self) -> Timestamp {
        self.platform.now()
    }
    fn db(&self) -> &Db {
        &self.platform.db
    }

    /// Is there anybody yet?
    pub async fn any(&self) -> sqlx::Result<bool> {
        Ok(store::count(self.db()).await? > 0)
    }

    pub async fn list(&self) -> sqlx::Result<Vec<User>> {
        Ok(store::all(self.db()).await?.iter().map(UserRow::user).collect())
    }

    pub async fn get(&self, id: UserId) -> Result<User, UserError> {
        Ok(self.row(id).await?.user())
    }

    pub(super) async fn row(&self, id: UserId) -> Result<UserRow, UserError> {
        store::by_id(self.db(), id).await?.ok_or(UserError::Unknown)
    }

    pub async fn by_email(&self, email: &str) -> Result<User, UserError> {
        Ok(store::by_email(self.db(), &clean_email(email)?).await?.ok_or(UserError::Unknown)?.user())
    }

    /// Makes a user; without a password they are invited and cannot sign in yet.
    pub async fn create(&self, new: NewUser, password: Option<&str>) -> Result<UserId, UserError> {
        let new = NewUser { email: clean_email(&new.email)?, name: clean_name(&new.name)?, role: new.role };
        let hash = match password {
            Some(text) => {
                password::check(text, &new.email)?;
                Some(self.hasher.hash(text).await?)
            }
            None => None,
        };
        let mut tx = self.db().begin().await?;
        let id = store::insert(&mut tx, &new, hash.as_deref(), self.now()).await?.ok_or(UserError::Taken)?;
        tx.commit().await?;
        Ok(id)
    }

    /// The link that makes the first admin, while there is nobody.
    pub async fn set_up_link(&self) -> Result<Option<String>, UserError> {
        if self.any().await? {
            return Ok(None);
        }
        let mut tx = self.db().begin().await?;
        let token = links::make(&mut tx, LinkPurpose::SetUp, None, self.now()).await?;
        tx.commit().await?;
        Ok(Some(self.platform.config.public(&LinkPurpose::SetUp.path(&token))))
    }

    /// A link for an existing user; returns its full address.
    pub async fn link(&self, user: UserId, purpose: LinkPurpose) -> Result<String, UserError> {
        let mut tx = self.db().begin().await?;
        let token = links::make(&mut tx, purpose, Some(user), self.now()).await?;
        tx.commit().await?;
        Ok(self.platform.config.public(&purpose.path(&token)))
    }

    /// Whose link it is (`None`: the set-up link's future admin), without using it up.
    pub async fn look(&self, purpose: LinkPurpose, token: &str) -> Result<Option<User>, UserError> {
        match links::look(self.db(), purpose, token, self.now()).await?.ok_or(UserError::Link)? {
            None => Ok(None),
            Some(id) => {
                let user = self.get(id).await?;
                if user.disabled { Err(UserError::Link) } else { Ok(Some(user)) }
            }
        }
    }

    /// Makes the first admin and signs them in; the link is used up in the same transaction.
    pub async fn set_up(&self, token: &str, email: &str, name: &str, password: &str, from: &Visitor) -> Result<(String, User), UserError> {
        self.look(LinkPurpose::SetUp, token).await?;
        let new = NewUser { email: clean_email(email)?, name: clean_name(name)?, role: Role::Admin };
        password::check(password, &new.email)?;
        let hash = self.hasher.hash(password).await?;
        let now = self.now();
        let mut tx = self.db().begin().await?;
        if store::count_in(&mut tx).await? > 0 || !links::take(&mut tx, LinkPurpose::SetUp, token, now).await? {
            return Err(UserError::Link);
        }
        let id = store::insert(&mut tx, &new, Some(&hash), now).await?.ok_or(UserError::Taken)?;
        let cookie = sessions::begin(&mut tx, id, &from.address, &from.agent, now).await?;
        tx.commit().await?;
        Ok((cookie, self.get(id).await?))
    }

    /// Sets a password through an invitation or reset link. All sessions and links of the user end, a new session begins, unless a code
    /// is wanted too.
    pub async fn set_password_by_link(
        &self,
        purpose: LinkPurpose,
        token: &str,
        password: &str,
        from: &Visitor,
    ) -> Result<SignIn, UserError> {
        let user = self.look(purpose, token).await?.ok_or(UserError::Link)?;
        password::check(password, &user.email)?;
        let hash = self.hasher.hash(password).await?;
        let now = self.now();
        let mut tx = self.db().begin().await?;
        if !links::take(&mut tx, purpose, token, now).await? {
            return Err(UserError::Link);
        }
        store::set_password(&mut tx, user.id, &hash).await?;
        sessions::end_all(&mut tx, user.id).await?;
        links::end_all(&mut tx, user.id).await?;
        if user.has_totp {
            tx.commit().await?;
            return Ok(SignIn::CodeWanted { proof: self.proof(&self.row(user.id).await?) });
        }
        let cookie = sessions::begin(&mut tx, user.id, &from.address, &from.agent, now).await?;
        tx.commit().await?;
        self.throttle.succeeded(&user.email);
        Ok(SignIn::Done { token: cookie, user: self.get(user.id).await? })
    }

    /// Changes a password from the command line: ends every session.
    pub async fn set_password(&self, id: UserId, password: &str) -> Result<(), UserError> {
        let user = self.get(id).await?;
        password::check(password, &user.email)?;
        let hash = self.hasher.hash(password).await?;
        let mut tx = self.db().begin().await?;
        store::set_password(&mut tx, id, &hash).await?;
        sessions::end_all(&mut tx, id).await?;
        links::end_all(&mut tx, id).await?;
        Ok(tx.commit().await?)
    }

    pub async fn set_role(&self, id: UserId, role: Role) -> Result<(), UserError> {
        self.get(id).await?;
        let mut tx = self.db().begin().await?;
        if role != Role::Admin && store::lock_admins(&mut tx).await? == [id] {
            return Err(UserError::LastAdmin);
        }
        store::set_role(&mut tx, id, role).await?;
        Ok(tx.commit().await?)
    }

    /// A disabled user keeps their name in the log and loses every session at once.
    pub async fn set_disabled(&self, id: UserId, disabled: bool) -> Result<(), UserError> {
        self.get(id).await?;
        let mut tx = self.db().begin().await?;
        if disabled && store::lock_admins(&mut tx).await? == [id] {
            return Err(UserError::LastAdmin);
        }
        store::set_disabled(&mut tx, id, disabled.then(|| self.now())).await?;
        if disabled {
            sessions::end_all(&mut tx, id).await?;
            links::end_all(&mut tx, id).await?;
        }
        Ok(tx.commit().await?)
    }

    pub async fn set_profile(&self, id: UserId, name: &str, locale: Option<&str>, zone: Option<&str>) -> Result<(), UserError> {
        let name = clean_name(name)?;
        if zone.is_some_and(|z| z.parse::<Tz>().is_err()) || locale.is_some_and(|l| l.len() > 10) {
            return Err(UserError::Choice);
        }
        let mut tx = self.db().begin().await?;
        store::set_profile(&mut tx, id, &name, locale, zone).await?;
        Ok(tx.commit().await?)
    }

    pub async fn set_theme(&self, id: UserId, theme: &str) -> Result<(), UserError> {
        if !["auto", "light", "dark"].contains(&theme) {
            return Err(UserError::Choice);
        }
        let mut tx = self.db().begin().await?;
        store::set_theme(&mut tx, id, theme).await?;
        Ok(tx.commit().await?)
    }

    /// Recovery codes that are still good.
    pub async fn codes_left(&self, id: UserId) -> sqlx::Result<i64> {
        store::codes_left(self.db(), id).await
    }

    /// Takes the authenticator away (own profile, or an admin for somebody who lost it).
    pub async fn drop_totp(&self, id: UserId) -> Result<(), UserError> {
        let mut tx = self.db().begin().await?;
        store::set_totp(&mut tx, id, None, 0).await?;
        store::replace_codes(&mut tx, id, &[]).await?;
        Ok(tx.commit().await?)
    }

    /// Turns the second step on, once the authenticator has shown that it works. Returns the recovery codes, this once.
    pub async fn confirm_totp(&self, id: UserId, secret: &[u8], code: &str) -> Result<Vec<String>, UserError> {
        let step = totp::matching_step(secret, code, self.now(), 0).ok_or(UserError::Code)?;
        let codes = totp::new_recovery_codes();
        let hashes: Vec<Vec<u8>> = codes.iter().map(|c| totp::recovery_hash(c)).collect();
        let mut tx = self.db().begin().await?;
        // Sealed: a copy of the database is no second step.
        let sealed = self.platform.signer.seal("totp", &id.to_string(), secret);
        store::set_totp(&mut tx, id, Some(&sealed), step).await?;
        store::replace_codes(&mut tx, id, &hashes).await?;
        tx.commit().await?;
        Ok(codes)
    }
}

/// Where a request came from.
#[derive(Clone, Debug, Default)]
pub struct Visitor {
    pub address: String,
    pub agent: String,
}
