//! Signing in: password, then the code where one is wanted; throttled; a new session each time.

use super::links;
use super::password::{self};
use super::sessions::{self, Session};
use super::totp;
use super::user_store::{self as store, UserRow};
use super::users::{Accounts, SignIn, UserError, Visitor, clean_email};
use crate::platform::Timestamp;
use crate::platform::ids::UserId;

const PROOF: &str = "sign-in";
/// How long after the password the code may come.
const PROOF_S: i64 = 5 * 60;

impl Accounts {
    fn held_back(&self, account: &str, from: &Visitor) -> Result<(), UserError> {
        match self.throttle.wait(account, &from.address, self.platform.now()) {
            Some(wait_s) => Err(UserError::Throttled { wait_s }),
            None => Ok(()),
        }
    }

    /// The first step. Unknown, invited and disabled users get the same answer as a wrong password, after the same work.
    pub async fn sign_in(&self, email: &str, password: &str, from: &Visitor) -> Result<SignIn, UserError> {
        let email = clean_email(email).unwrap_or_else(|_| email.trim().to_lowercase().chars().take(254).collect());
        self.held_back(&email, from)?;
        let row = store::by_email(&self.platform.db, &email).await?.filter(|r| r.disabled_at.is_none());
        let stored = row.as_ref().and_then(|r| r.password_hash.clone());
        let good = self.hasher.verify(stored.clone(), password).await?;
        let Some(row) = row.filter(|_| good) else {
            self.throttle.failed(&email, &from.address, self.platform.now());
            return Err(UserError::Credentials);
        };
        if let Some(stored) = stored.filter(|s| password::is_outdated(s)) {
            self.rehash(row.id, &stored, password).await?;
        }
        if row.totp_secret.is_some() {
            return Ok(SignIn::CodeWanted { proof: self.proof(&row) });
        }
        self.throttle.succeeded(&row.email);
        self.begin(&row, from).await
    }

    async fn rehash(&self, id: UserId, old: &str, password: &str) -> Result<(), UserError> {
        let hash = self.hasher.hash(password).await?;
        // Somebody may have changed the password meanwhile: then theirs stands.
        if self.row(id).await?.password_hash.as_deref() == Some(old) {
            let mut tx = self.platform.db.begin().await?;
            store::set_password(&mut tx, id, &hash).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn begin(&self, row: &UserRow, from: &Visitor) -> Result<SignIn, UserError> {
        let now = self.platform.now();
        let mut tx = self.platform.db.begin().await?;
        let token = sessions::begin(&mut tx, row.id, &from.address, &from.agent, now).await?;
        tx.commit().await?;
        Ok(SignIn::Done { token, user: row.user() })
    }

    /// Stands for "the password was right": bound to the user, the password and a few minutes.
    pub(super) fn proof(&self, row: &UserRow) -> String {
        let until = self.platform.now().plus_secs(PROOF_S).micros();
        let seal = self.platform.signer.digest(PROOF, row.password_hash.as_deref().unwrap_or_default().as_bytes());
        self.platform.signer.sign(PROOF, format!("{}.{until}.{}", row.id.0, hex::encode(&seal[..8])).as_bytes())
    }

    async fn open_proof(&self, proof: &str) -> Result<UserRow, UserError> {
        let payload = self.platform.signer.open(PROOF, proof).and_then(|b| String::from_utf8(b).ok()).ok_or(UserError::Link)?;
        let mut parts = payload.split('.');
        let (id, until) = (parts.next().and_then(|p| p.parse().ok()), parts.next().and_then(|p| p.parse().ok()));
        let (Some(id), Some(until), Some(seal)) = (id, until, parts.next()) else { return Err(UserError::Link) };
        if Timestamp::from_micros(until) < self.platform.now() {
            return Err(UserError::Link);
        }
        let row = self.row(UserId(id)).await?;
        let now_seal = self.platform.signer.digest(PROOF, row.password_hash.as_deref().unwrap_or_default().as_bytes());
        if row.disabled_at.is_some() || hex::encode(&now_seal[..8]) != seal {
            return Err(UserError::Link);
        }
        Ok(row)
    }

    /// The second step: a code from the authenticator, or a recovery code.
    pub async fn sign_in_code(&self, proof: &str, code: &str, from: &Visitor) -> Result<SignIn, UserError> {
        let row = self.open_proof(proof).await?;
        self.held_back(&row.email, from)?;
        let Some(stored) = &row.totp_secret else { return self.begin(&row, from).await };
        let now = self.platform.now();
        // A secret that cannot be opened matches no code; recovery codes still work.
        let step = totp::opened(&self.platform.signer, row.id, stored)
            .and_then(|secret| totp::matching_step(&secret, code, now, row.totp_last_step));
        let mut tx = self.platform.db.begin().await?;
        let good = match step {
            Some(step) => store::use_step(&mut tx, row.id, step).await?,
            None => store::use_code(&mut tx, row.id, &totp::recovery_hash(code), now).await?,
        };
        if !good {
            drop(tx);
            self.throttle.failed(&row.email, &from.address, now);
            return Err(UserError::Code);
        }
        let token = sessions::begin(&mut tx, row.id, &from.address, &from.agent, now).await?;
        tx.commit().await?;
        self.throttle.succeeded(&row.email);
        Ok(SignIn::Done { token, user: row.user() })
    }

    /// Is this the user's own password? Throttled like a sign-in; asked before anything that a stolen session must not do.
    pub async fn confirm_password(&self, id: UserId, password: &str, from: &Visitor) -> Result<(), UserError> {
        let row = self.row(id).await?;
        self.held_back(&row.email, from)?;
        if self.hasher.verify(row.password_hash.clone(), password).await? {
            self.throttle.succeeded(&row.email);
            return Ok(());
        }
        self.throttle.failed(&row.email, &from.address, self.platform.now());
        Err(UserError::Credentials)
    }

    /// Changes one's own password. Every session ends; a new one begins for this browser.
    pub async fn change_password(&self, session: &Session, old: &str, new: &str, from: &Visitor) -> Result<String, UserError> {
        let user = &session.user;
        self.confirm_password(user.id, old, from).await?;
        password::check(new, &user.email)?;
        let hash = self.hasher.hash(new).await?;
        let now = self.platform.now();
        let mut tx = self.platform.db.begin().await?;
        store::set_password(&mut tx, user.id, &hash).await?;
        sessions::end_all(&mut tx, user.id).await?;
        links::end_all(&mut tx, user.id).await?;
        let token = sessions::begin(&mut tx, user.id, &from.address, &from.agent, now).await?;
        tx.commit().await?;
        Ok(token)
    }
}

impl Accounts {
    /// May a link be mailed to this user now? A few an hour: nobody's mailbox is flooded by asking.
    pub fn may_send_link(&self, user: &super::User, from: &Visitor) -> bool {
        let (account, now) = (format!("link {}", user.email), self.platform.now());
        if self.throttle.wait(&account, &from.address, now).is_some() {
            return false;
        }
        self.throttle.failed(&account, &format!("link {}", from.address), now);
        true
    }
}
