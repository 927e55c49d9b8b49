//! The platform: what every slice stands on, and which knows none of them.

pub mod batch;
pub mod clock;
pub mod config;
pub mod db;
pub mod fault;
pub mod http;
pub mod ids;
pub mod money;
pub mod outbound;
pub mod progress;
pub mod queue;
pub mod sealed;
pub mod setting;
pub mod telemetry;
pub mod token;

use std::sync::Arc;

pub use clock::{Clock, Timestamp};
pub use config::Config;
pub use db::{Db, Tx};
pub use fault::Fault;
pub use money::{Currency, Money};

/// Everything a service, handler or job is handed: database, clock, configuration and the signing key. Cheap to clone.
#[derive(Clone)]
pub struct Platform {
    pub db: Db,
    pub clock: Clock,
    pub config: Arc<Config>,
    pub signer: token::Signer,
}

impl Platform {
    /// Opens the database (creating and migrating it where needed) and loads or creates the signing secret.
    pub async fn open(config: Config, clock: Clock) -> anyhow::Result<Self> {
        let db = Db::open(&config.database).await?;
        db.migrate().await?;
        Self::with_db(db, config, clock).await
    }

    /// As [`Platform::open`] over a database that is already open and migrated.
    pub async fn with_db(db: Db, config: Config, clock: Clock) -> anyhow::Result<Self> {
        let secret = setting::load_or_create_secret(&db, clock.now()).await?;
        Ok(Self { db, clock, config: Arc::new(config), signer: token::Signer::new(&secret) })
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
