//! apalis, and only here: carries the ids of due runs to workers. Its table may be lost without harm, since `job_run` is the truth.
//!
//! What it needs: batch size 1 (a larger batch stops heartbeats), worker names unique per process start, an explicit poll interval, named
//! queues, and its migrations kept in a table of their own (they collide with ours).

use std::collections::HashMap;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use apalis::layers::WorkerBuilderExt as _;
use apalis::prelude::*;
use apalis_postgres::PostgresStorage;
use apalis_sqlite::SqliteStorage;
use futures::StreamExt as _;
use futures::channel::mpsc;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use tokio_util::sync::CancellationToken;

use super::runner::Shared;
use crate::platform::db::Db;
use crate::platform::ids::JobRunId;

/// What travels: the id of a `job_run` row.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ticket {
    run: i64,
}

/// Where tickets lie while they wait, and the bells of this process's workers.
#[derive(Clone)]
pub(super) struct Carrier {
    table: Table,
    bells: Bells,
}

#[derive(Clone)]
enum Table {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Calls the workers of this process to the table as soon as something lies there: looking at intervals is only for what others put there.
#[derive(Clone, Default)]
struct Bells(Arc<Mutex<HashMap<String, mpsc::Sender<()>>>>);

impl Bells {
    fn hang(&self, queue: &str) -> mpsc::Receiver<()> {
        let (bell, rung) = mpsc::channel(1);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(queue.to_owned(), bell);
        rung
    }
    fn ring(&self, queue: &str) {
        if let Some(bell) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(queue) {
            // Full: it rings already.
            let _ = bell.try_send(());
        }
    }
}

const MIGRATIONS_TABLE: &str = "_apalis_migrations";
const MISSED_HEARTBEATS: usize = 4;

impl Carrier {
    /// SQLite: a file of its own beside the shop's (`shop.db` → `shop.db.queue`). Postgres: the schema `apalis`.
    pub(super) async fn open(db: &Db) -> anyhow::Result<Self> {
        match db {
            Db::Sqlite(sqlite) => {
                let path = sqlite.path.clone().unwrap_or_else(|| "marquee.db".into());
                let mut file = path.into_os_string();
                file.push(".queue");
                let options = SqliteConnectOptions::from_str("sqlite://queue")?
                    .filename(&file)
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Normal)
                    .busy_timeout(Duration::from_secs(10));
                let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
                let mut migrations = SqliteStorage::migrations();
                migrations.dangerous_set_table_name(MIGRATIONS_TABLE);
                migrations.run(&pool).await?;
                Ok(Self { table: Table::Sqlite(pool), bells: Bells::default() })
            }
            Db::Postgres(pool) => {
                let mut migrations = PostgresStorage::migrations();
                migrations.dangerous_set_table_name(MIGRATIONS_TABLE);
                migrations.run(pool).await.map_err(|e| {
                    anyhow::anyhow!("the job queue's tables cannot be made: {e}. Postgres needs the extension hstore (package postgresql-contrib) and the right to create it.")
                })?;
                Ok(Self { table: Table::Postgres(pool.clone()), bells: Bells::default() })
            }
        }
    }

    pub(super) async fn push(&self, queue: &str, run: JobRunId) -> anyhow::Result<()> {
        let ticket = Ticket { run: run.0 };
        match &self.table {
            Table::Sqlite(pool) => sqlite_storage(pool, queue).push(ticket).await.map_err(|e| anyhow::anyhow!("{e}"))?,
            Table::Postgres(pool) => postgres_storage(pool, queue).push(ticket).await.map_err(|e| anyhow::anyhow!("{e}"))?,
        }
        self.bells.ring(queue);
        Ok(())
    }

    /// Runs one worker of a queue until `stop`; jobs under way are given the chance to end.
    pub(super) async fn work(self, queue: String, concurrency: usize, poll: Duration, shared: Arc<Shared>, stop: CancellationToken) {
        let name = format!("{}-{queue}", shared.owner);
        let signal = async move {
            stop.cancelled().await;
            Ok::<(), std::io::Error>(())
        };
        let beat = Beat::every(poll, self.bells.hang(&queue));
        let crew = Crew { shared, bells: self.bells, queue: queue.clone() };
        let outcome = match self.table {
            Table::Sqlite(pool) => {
                let backend = sqlite_storage(&pool, &queue).poll_with_strategy(beat);
                WorkerBuilder::new(name).backend(backend).data(crew).concurrency(concurrency).build(carry).run_until(signal).await
            }
            Table::Postgres(pool) => {
                let backend = postgres_storage(&pool, &queue).poll_with_strategy(beat);
                WorkerBuilder::new(name).backend(backend).data(crew).concurrency(concurrency).build(carry).run_until(signal).await
            }
        };
        if let Err(error) = outcome {
            tracing::error!(queue, %error, "the queue's worker stopped");
        }
    }

    /// Drops finished tickets: they say nothing that `job_run` doesn't.
    pub(super) async fn sweep(&self) -> anyhow::Result<()> {
        match &self.table {
            Table::Sqlite(pool) => {
                sqlx::query("DELETE FROM Jobs WHERE status IN ('Done', 'Killed', 'Failed')").execute(pool).await?;
            }
            Table::Postgres(pool) => {
                sqlx::query("DELETE FROM apalis.jobs WHERE status IN ('Done', 'Killed', 'Failed')").execute(pool).await?;
            }
        }
        Ok(())
    }
}

/// Looks for work when the bell rings, and at an interval. In the place of apalis 1.0's own strategy, which forgets to be woken again where a
/// look at the table took longer than the interval: its worker then sleeps until the next heartbeat.
struct Beat {
    interval: tokio::time::Interval,
    bell: mpsc::Receiver<()>,
}

impl Beat {
    fn every(period: Duration, bell: mpsc::Receiver<()>) -> Self {
        let mut interval = tokio::time::interval(period.max(Duration::from_millis(1)));
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self { interval, bell }
    }
}

impl PollStrategy for Beat {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut due = false;
        // Until both are pending: only then do they hold our waker.
        while self.interval.poll_tick(cx).is_ready() {
            due = true;
        }
        while let Poll::Ready(Some(())) = self.bell.poll_next_unpin(cx) {
            due = true;
        }
        if due { Poll::Ready(Some(())) } else { Poll::Pending }
    }
}

/// What the handler is given.
#[derive(Clone)]
struct Crew {
    shared: Arc<Shared>,
    bells: Bells,
    queue: String,
}

fn sqlite_storage(pool: &SqlitePool, queue: &str) -> SqliteStorage<Ticket> {
    let config = apalis_sqlite::Config::default()
        .queue(format!("marquee-{queue}"))
        .batch_size(1)
        .heartbeat_interval(Duration::from_secs(10))
        .missed_heartbeats(MISSED_HEARTBEATS)
        .persist_results(true);
    SqliteStorage::new(pool).with_config(config)
}

fn postgres_storage(pool: &PgPool, queue: &str) -> PostgresStorage<Ticket> {
    let config = apalis_postgres::Config::default()
        .queue(format!("marquee-{queue}"))
        .batch_size(1)
        .heartbeat_interval(Duration::from_secs(10))
        .missed_heartbeats(MISSED_HEARTBEATS)
        .persist_results(true);
    PostgresStorage::new(pool).with_config(config)
}

/// The handler that apalis calls. It never fails: retries and back-off are ours.
async fn carry(ticket: Ticket, crew: Data<Crew>) -> Result<(), BoxDynError> {
    // Each look takes one ticket: where one lay, there may be more.
    crew.bells.ring(&crew.queue);
    crew.shared.execute(JobRunId(ticket.run)).await;
    crew.bells.ring(&crew.queue);
    Ok(())
}
