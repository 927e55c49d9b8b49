//! What integration tests share: a fresh shop on either engine, and where the real data lies.

pub mod browser;
pub mod chrome;
pub mod server;

use std::path::PathBuf;

use marquee::platform::config::{Config, DatabaseConfig};
use marquee::platform::{Clock, Db, Platform, Timestamp};
use sqlx::Executor as _;
use tokio::sync::OnceCell;

/// A platform over a fresh, migrated database that is removed afterwards.
pub struct TestShop {
    pub platform: Platform,
    /// Holds the SQLite file; dropped (and deleted) with the shop.
    _folder: tempfile::TempDir,
}

/// Which engine a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// The instant at which test clocks start: 2026-01-15T12:00:00Z.
pub const START: Timestamp = Timestamp::from_secs(1_768_478_400);

impl TestShop {
    /// `None` (with a message) where the engine is Postgres and no server was named in `MARQUEE_TEST_POSTGRES`.
    pub async fn open(engine: Engine) -> Option<Self> {
        Self::open_with(engine, |_| {}).await
    }

    /// As [`TestShop::open`], with changes to the configuration.
    pub async fn open_with(engine: Engine, change: impl FnOnce(&mut Config)) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = match engine {
            Engine::Sqlite => format!("sqlite://{}", folder.path().join("shop.db").display()),
            Engine::Postgres => fresh_postgres().await?,
        };
        let mut config = Config { database: DatabaseConfig { url, max_connections: 4, ..DatabaseConfig::default() }, ..Config::default() };
        change(&mut config);
        let platform = Platform::open(config, Clock::manual(START)).await.expect("a fresh database opens");
        Some(Self { platform, _folder: folder })
    }
}

static TEMPLATE: OnceCell<()> = OnceCell::const_new();

/// Makes a database of its own for one test, copied from a template that was migrated once.
pub async fn fresh_postgres() -> Option<String> {
    let Ok(server) = std::env::var("MARQUEE_TEST_POSTGRES") else {
        eprintln!("skipped on Postgres: MARQUEE_TEST_POSTGRES is not set (scripts/with-postgres sets it)");
        return None;
    };
    let admin = sqlx::postgres::PgPoolOptions::new()
        .max_connections(1)
        .connect(&format!("{server}/postgres"))
        .await
        .expect("Postgres is reachable");
    let template = format!("marquee_template_{}", std::process::id());
    TEMPLATE
        .get_or_init(|| async {
            admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {template}"))).await.expect("template database");
            let url = format!("{server}/{template}");
            let db = Db::open(&DatabaseConfig { url, ..DatabaseConfig::default() }).await.expect("template opens");
            db.migrate().await.expect("migrations run");
            db.close().await;
        })
        .await;
    let name = format!("marquee_{}", marquee::platform::ids::uuid_v4().simple());
    admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {template}"))).await.expect("a database for this test");
    admin.close().await;
    Some(format!("{server}/{name}"))
}

/// Defines one test per engine from one body: `both_engines!(name, |shop| { … });`. `shop` is a [`TestShop`].
#[macro_export]
macro_rules! both_engines {
    ($name:ident, |$shop:ident| $body:block) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn run($shop: $crate::support::TestShop) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                run($crate::support::TestShop::open($crate::support::Engine::Sqlite).await.expect("SQLite is always there")).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                if let Some(shop) = $crate::support::TestShop::open($crate::support::Engine::Postgres).await {
                    run(shop).await;
                }
            }
        }
    };
}

/// A file of the real data sets; `None` (with a message) where they are not there. `MARQUEE_DATA` names their folder (default
/// `../shared/data`).
#[allow(dead_code, reason = "not every slice has real data")]
pub fn real_data(path: &str) -> Option<PathBuf> {
    let root =
        std::env::var_os("MARQUEE_DATA").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let file = root.join(path);
    if file.exists() {
        return Some(file);
    }
    eprintln!("skipped: {path} is not there (set MARQUEE_DATA to the folder of the data sets)");
    None
}
