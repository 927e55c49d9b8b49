//! One database face over two engines: SQLite (embedded) and Postgres.
//!
//! Reads go through `read!`, writes through a [`Tx`] and `on!`. The body of both macros is compiled once per engine, so that one SQL
//! text with `$1` placeholders and one `#[derive(FromRow)]` struct serve both, with native types in each.
//!
//! SQLite has one writer. Its transactions are handed out one at a time, [`Urgency::Tracking`] first; keep each under 50 ms.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

use super::config::DatabaseConfig;

static SQLITE_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");

#[derive(Clone, Debug)]
pub enum Db {
    Sqlite(SqliteDb),
    Postgres(PgPool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// Who waits first for SQLite's one writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    Normal,
    /// Opens, clicks, orders: somebody is waiting for the acknowledgement.
    Tracking,
}

#[derive(Clone, Debug)]
pub struct SqliteDb {
    pub readers: SqlitePool,
    writer: SqlitePool,
    gate: Arc<WriteGate>,
    /// Where the file lies; `None` for a database in memory.
    pub path: Option<std::path::PathBuf>,
}

/// Hands SQLite's one writer out, tracking first.
#[derive(Debug, Default)]
struct WriteGate {
    lock: Arc<Mutex<()>>,
    urgent_waiting: AtomicUsize,
    urgent_done: Notify,
}

impl WriteGate {
    async fn enter(&self, urgency: Urgency) -> OwnedMutexGuard<()> {
        if urgency == Urgency::Tracking {
            self.urgent_waiting.fetch_add(1, Ordering::SeqCst);
            let guard = self.lock.clone().lock_owned().await;
            self.urgent_waiting.fetch_sub(1, Ordering::SeqCst);
            self.urgent_done.notify_waiters();
            return guard;
        }
        loop {
            let notified = self.urgent_done.notified();
            let guard = self.lock.clone().lock_owned().await;
            if self.urgent_waiting.load(Ordering::SeqCst) == 0 {
                return guard;
            }
            drop(guard);
            // A cancelled urgent waiter never notifies, so do not wait for ever.
            let _ = tokio::time::timeout(Duration::from_millis(20), notified).await;
        }
    }
}

/// An open transaction on either engine. Rolled back when dropped without [`Tx::commit`].
pub enum Tx {
    /// `gate`: the writer's turn; a snapshot holds none.
    Sqlite {
        tx: sqlx::Transaction<'static, sqlx::Sqlite>,
        gate: Option<OwnedMutexGuard<()>>,
    },
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

impl Tx {
    pub async fn commit(self) -> sqlx::Result<()> {
        match self {
            Self::Sqlite { tx, gate } => {
                let done = tx.commit().await;
                drop(gate);
                done
            }
            Self::Postgres(tx) => tx.commit().await,
        }
    }
    pub async fn rollback(self) -> sqlx::Result<()> {
        match self {
            Self::Sqlite { tx, .. } => tx.rollback().await,
            Self::Postgres(tx) => tx.rollback().await,
        }
    }
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite { .. } => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }
}

/// Runs a body on the database outside a transaction, for reading: `read!(db, |c| sqlx::query_as::<_, Row>(SQL).fetch_all(c).await)`.
/// `c` is a pool reference and may be used several times.
#[macro_export]
macro_rules! read {
    ($db:expr, |$c:ident| $body:expr) => {
        match &$db {
            $crate::platform::db::Db::Sqlite(sqlite) => {
                let $c = &sqlite.readers;
                $body
            }
            $crate::platform::db::Db::Postgres(pool) => {
                let $c = pool;
                $body
            }
        }
    };
}

/// Runs a body on an open [`Tx`]: `on!(tx, |c| sqlx::query(SQL).bind(x).execute(&mut *c).await)`. `c` is `&mut` the connection.
#[macro_export]
macro_rules! on {
    ($tx:expr, |$c:ident| $body:expr) => {
        match $tx {
            $crate::platform::db::Tx::Sqlite { tx, .. } => {
                let $c = &mut **tx;
                $body
            }
            $crate::platform::db::Tx::Postgres(tx) => {
                let $c = &mut **tx;
                $body
            }
        }
    };
}

/// Jobs read whole tables now and then: only what takes longer is worth a warning.
const SLOW_STATEMENT: Duration = Duration::from_secs(10);

impl Db {
    pub async fn open(config: &DatabaseConfig) -> anyhow::Result<Self> {
        let url = config.url.as_str();
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let options =
                PgConnectOptions::from_str(url)?.application_name("marquee").log_slow_statements(log::LevelFilter::Warn, SLOW_STATEMENT);
            let pool = PgPoolOptions::new()
                .max_connections(config.max_connections)
                .acquire_timeout(Duration::from_secs(config.acquire_timeout_s))
                .connect_with(options)
                .await
                .map_err(|e| anyhow::anyhow!("cannot reach Postgres: {e}. Check database.url and that the server is up."))?;
            return Ok(Self::Postgres(pool));
        }
        if !url.starts_with("sqlite:") {
            anyhow::bail!("database.url must start with sqlite: or postgres://, for instance sqlite://shop.db");
        }
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: an acknowledged event survives a power cut. Group commits make it cheap.
            .synchronous(if config.durable { SqliteSynchronous::Full } else { SqliteSynchronous::Off })
            .busy_timeout(Duration::from_secs(10))
            .foreign_keys(true)
            // Rows come from the connection's thread through a channel; a short one makes the two threads wait for each other.
            .row_buffer_size(1_024)
            .log_slow_statements(log::LevelFilter::Warn, SLOW_STATEMENT)
            .pragma("cache_size", "-65536")
            .pragma("temp_store", "memory")
            .pragma("mmap_size", "268435456")
            .optimize_on_close(true, None);
        let path = Some(options.get_filename().to_path_buf());
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(config.acquire_timeout_s))
            .connect_with(options.clone())
            .await
            .map_err(|e| anyhow::anyhow!("cannot open {url}: {e}. Check that the folder exists and may be written to."))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(Duration::from_secs(config.acquire_timeout_s))
            .connect_with(options.pragma("query_only", "on"))
            .await?;
        Ok(Self::Sqlite(SqliteDb { readers, writer, gate: Arc::default(), path }))
    }

    pub async fn migrate(&self) -> anyhow::Result<()> {
        match self {
            Self::Sqlite(s) => SQLITE_MIGRATIONS.run(&s.writer).await?,
            Self::Postgres(p) => POSTGRES_MIGRATIONS.run(p).await?,
        }
        Ok(())
    }

    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    pub async fn begin(&self) -> sqlx::Result<Tx> {
        self.begin_as(Urgency::Normal).await
    }

    pub async fn begin_as(&self, urgency: Urgency) -> sqlx::Result<Tx> {
        match self {
            Self::Sqlite(s) => {
                let gate = s.gate.enter(urgency).await;
                let tx = s.writer.begin_with("BEGIN IMMEDIATE").await?;
                Ok(Tx::Sqlite { tx, gate: Some(gate) })
            }
            Self::Postgres(p) => Ok(Tx::Postgres(p.begin().await?)),
        }
    }

    /// For reading only: all its questions see the database as it was at the first of them. SQLite's writer is not held.
    pub async fn snapshot(&self) -> sqlx::Result<Tx> {
        match self {
            Self::Sqlite(s) => Ok(Tx::Sqlite { tx: s.readers.begin().await?, gate: None }),
            Self::Postgres(p) => {
                let mut tx = p.begin().await?;
                sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut *tx).await?;
                Ok(Tx::Postgres(tx))
            }
        }
    }

    /// A cheap question that only a working database answers.
    pub async fn ping(&self) -> sqlx::Result<()> {
        read!(*self, |c| sqlx::query("SELECT 1").execute(c).await.map(|_| ()))
    }

    pub async fn close(&self) {
        match self {
            Self::Sqlite(s) => {
                s.readers.close().await;
                s.writer.close().await;
            }
            Self::Postgres(p) => p.close().await,
        }
    }
}

/// Chunks a list so that no statement carries more than `rows` of them.
pub fn chunks<T>(items: &[T], rows: usize) -> std::slice::Chunks<'_, T> {
    items.chunks(rows.max(1))
}
