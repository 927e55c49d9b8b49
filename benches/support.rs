//! Paired rounds, their table, and throw-away databases.

pub mod world;

use std::time::Instant;

use marquee::platform::config::{Config, DatabaseConfig, MailConfig};
use marquee::platform::{Clock, Platform, Timestamp};
use sqlx::Executor as _;

/// The instant at which the benches' clock stands: 2026-01-15T12:00:00Z.
pub const NOW: Timestamp = Timestamp::from_secs(1_768_478_400);

pub fn heading() {
    println!("{:<34} {:>14} {:>14}  {:<18} {:>7}  baseline", "what", "Marquee", "baseline", "unit", "ratio");
}

/// Items per second of a piece of work that handles `items`.
pub fn rate(items: usize, work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    items as f64 / begun.elapsed().as_secs_f64()
}

/// Measures baseline and Marquee in turn and prints a row. Both closures return items per second.
pub fn compare(what: &str, unit: &str, baseline: &str, rounds: usize, mut base: impl FnMut() -> f64, mut ours: impl FnMut() -> f64) {
    let pairs: Vec<(f64, f64)> = (0..rounds).map(|_| (base(), ours())).collect();
    let ratios = sorted(pairs.iter().map(|(b, o)| o / b));
    println!(
        "{what:<34} {:>14} {:>14}  {unit:<18} {:>7.2}  {baseline} ({:.2}–{:.2})",
        short(middle(&sorted(pairs.iter().map(|p| p.1)))),
        short(middle(&sorted(pairs.iter().map(|p| p.0)))),
        middle(&ratios),
        ratios[0],
        ratios[ratios.len() - 1],
    );
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn middle(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

fn short(value: f64) -> String {
    if value >= 10_000.0 { format!("{:.1}k", value / 1_000.0) } else { format!("{value:.1}") }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// A database that goes away with this.
pub struct Shop {
    pub platform: Platform,
    pub engine: &'static str,
    _folder: tempfile::TempDir,
}

/// SQLite always; Postgres where `MARQUEE_TEST_POSTGRES` names a server (`scripts/with-postgres` sets it).
pub async fn shops(mail: &MailConfig) -> Vec<Shop> {
    let mut urls = vec![("SQLite", None)];
    match std::env::var("MARQUEE_TEST_POSTGRES") {
        Ok(server) => urls.push(("Postgres", Some(fresh(&server).await))),
        Err(_) => eprintln!("not measured on Postgres: MARQUEE_TEST_POSTGRES is not set (scripts/with-postgres sets it)"),
    }
    let mut shops = Vec::new();
    for (engine, url) in urls {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = url.unwrap_or_else(|| format!("sqlite://{}", folder.path().join("bench.db").display()));
        let mut config = Config { database: DatabaseConfig { url, ..DatabaseConfig::default() }, mail: mail.clone(), ..Config::default() };
        config.server.bind = "127.0.0.1:0".into();
        config.models.encoder = "catalogue".into();
        let platform = Platform::open(config, Clock::manual(NOW)).await.expect("a fresh database opens");
        shops.push(Shop { platform, engine, _folder: folder });
    }
    shops
}

async fn fresh(server: &str) -> String {
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(1)
        .connect(&format!("{server}/postgres"))
        .await
        .expect("Postgres is reachable");
    let name = format!("marquee_bench_{}", marquee::platform::ids::uuid_v4().simple());
    pool.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a database");
    pool.close().await;
    format!("{server}/{name}")
}
