//! Passwords: argon2id, computed off the request threads and a few at a time.
//!
//! Parameters (OWASP Password Storage Cheat Sheet, 2024): 19 MiB of memory, 2 passes, 1 lane. The stored text is a PHC string and carries
//! them, so that a later change of parameters keeps old passwords working; they are hashed anew at the next sign-in.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Hashes at once in a process: bounds the memory that a storm of sign-ins can take (4 × 19 MiB).
const AT_ONCE: usize = 4;
/// Sign-ins that may wait for a turn; the next is asked to come back.
const WAITING: usize = 64;

pub const MIN_CHARS: usize = 10;
pub const MAX_CHARS: usize = 200;

#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("a password has at least {MIN_CHARS} characters")]
    Short,
    #[error("a password has at most {MAX_CHARS} characters")]
    Long,
    #[error("this password is among the first that anybody tries")]
    Common,
    #[error("too many sign-ins at once")]
    Busy,
    #[error("the password could not be hashed: {0}")]
    Hash(String),
}

/// Hashes and checks passwords. One per process.
#[derive(Clone)]
pub struct Hasher {
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// What an unknown account is checked against, so that its answer takes as long as a known one's.
    nobody: Arc<str>,
}

fn argon2() -> Result<Argon2<'static>, PasswordError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|e| PasswordError::Hash(e.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash_now(password: &str) -> Result<String, PasswordError> {
    Ok(argon2()?.hash_password(password.as_bytes()).map_err(|e| PasswordError::Hash(e.to_string()))?.to_string())
}

fn matches(stored: &str, password: &str) -> bool {
    PasswordHash::new(stored).is_ok_and(|hash| argon2().is_ok_and(|a| a.verify_password(password.as_bytes(), &hash).is_ok()))
}

impl Hasher {
    pub fn new() -> Result<Self, PasswordError> {
        let nobody = hash_now(&hex::encode(rand::random::<[u8; 16]>()))?;
        Ok(Self { turns: Arc::new(Semaphore::new(AT_ONCE)), waiting: Arc::new(Semaphore::new(WAITING)), nobody: nobody.into() })
    }

    async fn turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, PasswordError> {
        let _place = self.waiting.try_acquire().map_err(|_| PasswordError::Busy)?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| PasswordError::Busy)?;
        // The turn moves into the thread: a caller that hangs up does not free it early.
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        })
        .await
        .map_err(|e| PasswordError::Hash(e.to_string()))
    }

    /// A PHC string for a password that passed [`check`].
    pub async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        let password = password.to_owned();
        self.turn(move || hash_now(&password)).await?
    }

    /// Does the password belong to the stored hash? `None` (no such account, or no password yet) costs the same and is never true.
    pub async fn verify(&self, stored: Option<String>, password: &str) -> Result<bool, PasswordError> {
        if password.chars().count() > MAX_CHARS {
            return Ok(false);
        }
        let (known, nobody, password) = (stored.is_some(), self.nobody.clone(), password.to_owned());
        self.turn(move || matches(stored.as_deref().unwrap_or(&nobody), &password) && known).await
    }
}

/// Was the hash made with other parameters than today's?
pub fn is_outdated(stored: &str) -> bool {
    !stored.starts_with(&format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$"))
}

/// Is it fit to be a password? Length is what counts; of the rest only what is tried first is refused.
pub fn check(password: &str, email: &str) -> Result<(), PasswordError> {
    let chars = password.chars().count();
    if chars < MIN_CHARS {
        return Err(PasswordError::Short);
    }
    if chars > MAX_CHARS {
        return Err(PasswordError::Long);
    }
    let lower = password.to_lowercase();
    let distinct = lower.chars().collect::<std::collections::BTreeSet<_>>().len();
    let local = email.split('@').next().unwrap_or_default().to_lowercase();
    const COMMON: [&str; 10] =
        ["password", "passwort", "qwertyuiop", "1234567890", "0123456789", "letmein", "iloveyou", "marquee", "changeme", "welcome"];
    let stripped = lower.trim_end_matches(|c: char| c.is_ascii_digit() || c.is_ascii_punctuation());
    if distinct < 5
        || lower == email.to_lowercase()
        || (local.len() > 2 && stripped == local)
        || COMMON.iter().any(|c| stripped == *c || lower == *c)
    {
        return Err(PasswordError::Common);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_opens_its_own_hash_only() {
        let hasher = Hasher::new().expect("hasher");
        let hash = hasher.hash("correct horse battery").await.expect("hash");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(!is_outdated(&hash));
        assert!(hasher.verify(Some(hash.clone()), "correct horse battery").await.expect("verify"));
        assert!(!hasher.verify(Some(hash), "correct horse batterz").await.expect("verify"));
        assert!(!hasher.verify(None, "correct horse battery").await.expect("verify"));
        assert!(is_outdated("$argon2id$v=19$m=4096,t=3,p=1$c2FsdA$aGFzaA"));
    }

    #[test]
    fn what_is_tried_first_is_refused() {
        for bad in ["short", "password123!", "1234567890", "aaaaaaaaaaaa", "jordan12345", "Jordan@example.test"] {
            assert!(check(bad, "jordan@example.test").is_err(), "{bad}");
        }
        assert!(check("correct horse battery", "jordan@example.test").is_ok());
        assert!(check("密码需要十个以上的字符", "jordan@example.test").is_ok());
        assert!(check(&"ab3de".repeat(100), "a@example.test").is_err());
    }
}
