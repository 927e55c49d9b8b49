//! API keys: made once, shown once, stored as a hash, checked from memory.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::store;
use crate::platform::clock::{Clock, Timestamp};
use crate::platform::db::Db;
use crate::platform::http::ApiError;
use crate::platform::ids::ApiKeyId;

/// What a key may do. A key holds a set of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Send events. Safe to publish in a page: it reads nothing.
    Ingest,
    /// Ask for creatives, naming people.
    Serve,
    /// Read reports (no addresses in them).
    Reports,
    /// Read and change people, products, segments and campaigns.
    Manage,
    /// Everything, also keys and settings.
    Admin,
}

impl Scope {
    pub const ALL: [Scope; 5] = [Scope::Ingest, Scope::Serve, Scope::Reports, Scope::Manage, Scope::Admin];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Serve => "serve",
            Self::Reports => "reports",
            Self::Manage => "manage",
            Self::Admin => "admin",
        }
    }
}
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
impl FromStr for Scope {
    type Err = KeyError;
    fn from_str(s: &str) -> Result<Self, KeyError> {
        Self::ALL.into_iter().find(|k| k.name() == s).ok_or_else(|| KeyError::Scope(s.to_owned()))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("“{0}” is not a scope: use ingest, serve, reports, manage or admin")]
    Scope(String),
    #[error("a key needs at least one scope")]
    NoScope,
    #[error("a key's name has 1 to 100 characters")]
    Name,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}
impl From<KeyError> for ApiError {
    fn from(e: KeyError) -> Self {
        match e {
            KeyError::Database(e) => e.into(),
            KeyError::Name => ApiError::invalid("name", e.to_string()),
            other => ApiError::invalid("scopes", other.to_string()),
        }
    }
}

/// A key as it may be shown: never the secret.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ApiKey {
    /// The first part of the key, by which it is known.
    pub prefix: String,
    pub name: String,
    pub scopes: Vec<Scope>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
    pub revoked: bool,
}

/// A key just made. `key` is shown this once.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct NewKey {
    pub key: String,
    pub prefix: String,
    pub scopes: Vec<Scope>,
}

/// Who is asking.
#[derive(Clone, Debug)]
pub struct Principal {
    pub key_id: ApiKeyId,
    pub name: String,
    pub scopes: Vec<Scope>,
}
impl Principal {
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

struct Entry {
    hash: Vec<u8>,
    principal: Principal,
    /// Used since "last use" was written. Set once and read otherwise, so that cores do not fight over it.
    used: AtomicBool,
}

type Ring = HashMap<String, Entry>;

/// All live keys in memory, refreshed every few seconds: a revoked key stops working on every replica within [`KeyRing::REFRESH`].
#[derive(Clone)]
pub struct KeyRing {
    db: Db,
    ring: Arc<ArcSwap<Ring>>,
}

impl KeyRing {
    pub const REFRESH: Duration = Duration::from_secs(5);

    pub async fn load(db: Db) -> Result<Self, KeyError> {
        let ring = Self { db, ring: Arc::default() };
        ring.refresh().await?;
        Ok(ring)
    }

    pub async fn refresh(&self) -> Result<(), KeyError> {
        let rows = store::all(&self.db).await?;
        let old = self.ring.load();
        let ring = rows
            .into_iter()
            .filter(|r| r.revoked_at.is_none())
            .map(|r| {
                let scopes = parse_scopes(&r.scopes);
                let used = AtomicBool::new(old.get(&r.prefix).is_some_and(|e| e.used.load(Ordering::Relaxed)));
                (r.prefix, Entry { hash: r.secret_hash, principal: Principal { key_id: r.id, name: r.name, scopes }, used })
            })
            .collect();
        self.ring.store(Arc::new(ring));
        Ok(())
    }

    /// Refreshes for ever, and writes about once a minute which keys were used; spawn it beside the server.
    pub async fn keep_fresh(self, clock: Clock) {
        for round in 1_u64.. {
            tokio::time::sleep(Self::REFRESH).await;
            if round.is_multiple_of(12)
                && let Err(error) = self.write_uses(clock.now()).await
            {
                tracing::warn!(%error, "the last use of keys could not be written");
            }
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "API keys could not be refreshed; the old ones still hold");
            }
        }
    }

    /// The principal behind a key text, or `None`.
    pub fn check(&self, key: &str) -> Option<Principal> {
        let prefix = key.get(..PREFIX_CHARS)?;
        let ring = self.ring.load();
        let entry = ring.get(prefix)?;
        if !bool::from(hash(key).as_slice().ct_eq(&entry.hash)) {
            return None;
        }
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(entry.principal.clone())
    }

    /// Whether a key holds a scope, without naming its holder; `None` for no live key. A key that was just checked on this thread is
    /// recognised by its text until the ring changes.
    pub fn allows(&self, key: &str, scope: Scope) -> Option<bool> {
        thread_local! {
            static LAST: std::cell::RefCell<(Option<Arc<Ring>>, String, Vec<Scope>)> = const { std::cell::RefCell::new((None, String::new(), Vec::new())) };
        }
        let ring = self.ring.load();
        let may = |scopes: &[Scope]| scopes.contains(&scope) || scopes.contains(&Scope::Admin);
        let known = LAST.with_borrow(|(of, text, scopes)| {
            let same = of.as_ref().is_some_and(|of| Arc::ptr_eq(of, &ring)) && bool::from(text.as_bytes().ct_eq(key.as_bytes()));
            same.then(|| may(scopes))
        });
        if known.is_some() {
            return known;
        }
        let principal = self.check(key)?;
        let answer = may(&principal.scopes);
        LAST.set((Some(ring.clone()), key.to_owned(), principal.scopes));
        Some(answer)
    }

    pub async fn list(&self) -> Result<Vec<ApiKey>, KeyError> {
        let rows = store::all(&self.db).await?;
        Ok(rows
            .into_iter()
            .map(|r| ApiKey {
                scopes: parse_scopes(&r.scopes),
                prefix: r.prefix,
                name: r.name,
                created_at: r.created_at,
                last_used_at: r.last_used_at,
                revoked: r.revoked_at.is_some(),
            })
            .collect())
    }

    pub async fn create(&self, name: &str, scopes: &[Scope], now: Timestamp) -> Result<NewKey, KeyError> {
        if scopes.is_empty() {
            return Err(KeyError::NoScope);
        }
        let name = name.trim();
        if name.is_empty() || name.chars().count() > 100 {
            return Err(KeyError::Name);
        }
        let mut scopes = scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        let key = random_key();
        let prefix = key[..PREFIX_CHARS].to_owned();
        let text = scopes.iter().map(|s| s.name()).collect::<Vec<_>>().join(" ");
        let mut tx = self.db.begin().await?;
        store::insert(&mut tx, &prefix, &hash(&key), name, &text, now).await?;
        tx.commit().await?;
        self.refresh().await?;
        Ok(NewKey { key, prefix, scopes })
    }

    /// True where a live key of that prefix was revoked.
    pub async fn revoke(&self, prefix: &str, now: Timestamp) -> Result<bool, KeyError> {
        let mut tx = self.db.begin().await?;
        let done = store::revoke(&mut tx, prefix, now).await?;
        tx.commit().await?;
        self.refresh().await?;
        Ok(done)
    }

    /// Writes "last use" of the keys used since the last time.
    pub async fn write_uses(&self, now: Timestamp) -> Result<(), KeyError> {
        let used: Vec<ApiKeyId> =
            self.ring.load().values().filter(|e| e.used.swap(false, Ordering::Relaxed)).map(|e| e.principal.key_id).collect();
        if used.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        for id in used {
            store::touch(&mut tx, id, now).await?;
        }
        Ok(tx.commit().await?)
    }
}

const PREFIX_CHARS: usize = 12;
const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789";

/// `mqk_` and 40 characters: over 230 bits.
fn random_key() -> String {
    let mut rng = rand::rng();
    let mut key = String::from("mqk_");
    for _ in 0..40 {
        key.push(char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]));
    }
    key
}

/// A key is random, so a plain hash is enough: there is nothing to guess from.
fn hash(key: &str) -> Vec<u8> {
    Sha256::digest(key.as_bytes()).to_vec()
}

fn parse_scopes(text: &str) -> Vec<Scope> {
    text.split(' ').filter_map(|s| s.parse().ok()).collect()
}
