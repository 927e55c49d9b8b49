//! `POST /v1/batch` over HTTP, acknowledged = durable, beside raw batch inserts of as many rows into a table of the same shape.

use futures::StreamExt as _;
use marquee::account::Scope;
use marquee::app::{self, Services};
use marquee::on;
use marquee::platform::Db;
use marquee::platform::config::MailConfig;
use marquee::platform::ids::uuid_v4;
use serde_json::{Value, json};

use crate::support::{self, NOW, Shop};

const PEOPLE: usize = 2_000;
const PER_BATCH: usize = 500;
const BATCHES: usize = 40;
const AT_ONCE: usize = 8;

pub fn run() {
    let runtime = support::runtime();
    for shop in runtime.block_on(support::shops(&MailConfig::default())) {
        let (services, key) = runtime.block_on(async {
            let services = Services::start(shop.platform.clone()).await.expect("services");
            let key = services.keys.create("bench", &[Scope::Ingest], NOW).await.expect("key").key;
            (services, key)
        });
        let server = runtime.block_on(async { app::serve(&services).await.expect("server") });
        runtime.block_on(raw_table(&shop));
        let client = reqwest::Client::builder().no_proxy().build().expect("client");
        support::compare(
            &format!("ingest, {}", shop.engine),
            "events/s",
            "raw inserts, 1,000 rows a commit",
            5,
            || support::rate(PER_BATCH * BATCHES, || runtime.block_on(raw(&shop))),
            || {
                let bodies: Vec<String> = (0..BATCHES).map(batch).collect();
                support::rate(PER_BATCH * BATCHES, || runtime.block_on(post(&client, &server.url, &key, bodies)))
            },
        );
        runtime.block_on(server.handle.stop(true));
    }
}

fn message(n: usize) -> Value {
    json!({"type": "track", "userId": format!("u{}", n * 7_919 % PEOPLE), "event": "Product Viewed", "messageId": uuid_v4().to_string(),
        "timestamp": "2026-01-15T11:00:00Z", "properties": {"sku": format!("s{}", n % 500), "category": "Garden", "price": 12.5}})
}

fn batch(n: usize) -> String {
    json!({"batch": (0..PER_BATCH).map(|i| message(n * PER_BATCH + i)).collect::<Vec<_>>()}).to_string()
}

async fn post(client: &reqwest::Client, url: &str, key: &str, bodies: Vec<String>) {
    futures::stream::iter(bodies)
        .map(|body| async move {
            let sent = client.post(format!("{url}/v1/batch")).bearer_auth(key).header("content-type", "application/json").body(body);
            assert!(sent.send().await.expect("an answer").status().is_success());
        })
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
}

const RAW: [&str; 2] = [
    "CREATE TABLE raw_event (id TEXT PRIMARY KEY, person_id BIGINT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
     occurred_at BIGINT NOT NULL, received_at BIGINT NOT NULL, properties TEXT NOT NULL)",
    "CREATE INDEX raw_event_person ON raw_event (person_id, name, occurred_at)",
];
const INSERT_SQLITE: &str =
    "INSERT INTO raw_event SELECT value ->> 0, value ->> 1, 'track', 'Product Viewed', value ->> 2, value ->> 2, value ->> 3
     FROM json_each($1)";
const INSERT_POSTGRES: &str =
    "INSERT INTO raw_event SELECT value ->> 0, (value ->> 1)::bigint, 'track', 'Product Viewed', (value ->> 2)::bigint,
     (value ->> 2)::bigint, value ->> 3 FROM json_array_elements($1::json)";

async fn raw_table(shop: &Shop) {
    let mut tx = shop.platform.db.begin().await.expect("begin");
    for sql in RAW {
        on!(&mut tx, |c| sqlx::query(sql).execute(&mut *c).await.map(|_| ())).expect("a table");
    }
    tx.commit().await.expect("commit");
}

async fn raw(shop: &Shop) {
    let properties = json!({"sku": "s1", "category": "Garden", "price": 12.5}).to_string();
    for commit in 0..PER_BATCH * BATCHES / 1_000 {
        let rows: Vec<Value> =
            (0..1_000).map(|i| json!([uuid_v4().to_string(), (commit * 1_000 + i) * 7_919 % PEOPLE, NOW.micros(), properties])).collect();
        let rows = Value::from(rows).to_string();
        let sql = if matches!(shop.platform.db, Db::Sqlite(_)) { INSERT_SQLITE } else { INSERT_POSTGRES };
        let mut tx = shop.platform.db.begin().await.expect("begin");
        on!(&mut tx, |c| sqlx::query(sql).bind(rows.as_str()).execute(&mut *c).await.map(|_| ())).expect("inserted");
        tx.commit().await.expect("commit");
    }
}
