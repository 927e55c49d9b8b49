//! A shop of any size, made by set-based SQL: what a page costs depends on how much there is, not on what happened. Every part follows from
//! its number, so that two runs make the same shop.

use marquee::attribution::{self, rollup};
use marquee::on;
use marquee::platform::db::Dialect;
use marquee::platform::{Db, Platform};
use serde_json::json;

use super::NOW;

/// How much there is.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub people: i64,
    pub products: i64,
    pub touches: i64,
    pub orders: i64,
    pub events: i64,
    pub campaigns: i64,
}

impl Scale {
    /// A shop with so many people: a tenth as many products (at most 100,000), ten touches and five events each, every other an order.
    pub fn of(people: i64) -> Self {
        Self {
            people,
            products: (people / 10).clamp(100, 100_000),
            touches: people * 10,
            orders: people / 2,
            events: people * 5,
            campaigns: 40,
        }
    }
}

/// Rows of one statement.
const CHUNK: i64 = 100_000;
/// Days over which everything is spread.
const DAYS: i64 = 180;

/// Numbers `$1` to `$2`, as `n(i)`.
const NUMBERS: &str = "WITH RECURSIVE n(i) AS (SELECT CAST($1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < $2)";

async fn rows(db: &Db, count: i64, sql: String) {
    let mut from = 1;
    while from <= count {
        let to = (from + CHUNK - 1).min(count);
        let mut tx = db.begin().await.expect("begin");
        let sql = sql.clone();
        on!(&mut tx, |c| sqlx::query(sqlx::AssertSqlSafe(sql)).bind(from).bind(to).execute(&mut *c).await.map(|_| ())).expect("rows");
        tx.commit().await.expect("commit");
        from = to + 1;
    }
}

async fn run(db: &Db, sql: String) {
    let mut tx = db.begin().await.expect("begin");
    on!(&mut tx, |c| sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *c).await.map(|_| ())).expect("statement");
    tx.commit().await.expect("commit");
}

/// Fills an empty, migrated database, adds it up, and lets the engine look at it.
pub async fn fill(platform: &Platform, scale: Scale) {
    let db = &platform.db;
    let now = NOW.0;
    let begin = NOW.plus_days(-DAYS).0;
    let span = DAYS * 86_400_000_000;
    let insert = "INSERT INTO";
    // As the application makes them: the milliseconds first.
    let uuid = match db.dialect() {
        Dialect::Sqlite => "unhex(printf('%012x', at / 1000) || hex(randomblob(10)))",
        Dialect::Postgres => "(lpad(to_hex(at / 1000), 12, '0') || substr(replace(CAST(gen_random_uuid() AS TEXT), '-', ''), 1, 20))::uuid",
    };
    // Facts come in order of time, evenly; who and what they are about is scattered by multiples of primes.
    let evenly = |count: i64| format!("({begin} + i * {})", span / count.max(1));
    rows(
        db,
        scale.people,
        format!(
            "{insert} person (id, external_id, email, email_key, first_name, last_name, locale, country, city, attributes, email_consent, ads_consent,
                bucket, first_seen_at, last_seen_at, created_at, updated_at) {NUMBERS}
             SELECT i, 'u' || i, 'u' || i || '@example.test', 'u' || i || '@example.test', 'Ada', 'N' || (i % 5000), 'en', 'DE', 'Berlin', '{{}}',
                CASE WHEN i % 5 < 3 THEN 'subscribed' ELSE 'never' END, 'never', i % 10000, {at}, {at}, {at}, {at} FROM n",
            at = evenly(scale.people)
        ),
    )
    .await;
    rows(
        db,
        scale.products,
        format!(
            "{insert} product (id, sku, title, description, category_path, price_minor, currency, stock, available, attributes, content_hash, created_at,
                updated_at) {NUMBERS}
             SELECT i, 'S' || i, 'Oak table no. ' || i, 'Made to last.', 'Home > Room ' || (i % 40), 500 + i % 20000, 'EUR', i % 90, TRUE, '{{}}', '',
                {begin}, {begin} FROM n"
        ),
    )
    .await;
    plans(db, scale, begin).await;
    rows(
        db,
        scale.touches,
        format!(
            "{insert} touch (id, channel, arm, state, reason, person_id, campaign_id, variant_id, product_id, product_ids, planned_at, due_at, next_attempt_at,
                attempts, sent_at, contact_at, updated_at, open_at, click_at, stamped_at) {NUMBERS}
             SELECT {uuid}, CASE WHEN campaign % 4 = 0 THEN 'banner' ELSE 'email' END, CASE WHEN i % 11 = 0 THEN 'ghost' ELSE 'treated' END,
                CASE WHEN i % 11 = 0 THEN 'held' WHEN i % 50 = 1 THEN 'skipped' WHEN campaign % 4 = 0 THEN 'served' ELSE 'sent' END,
                CASE WHEN i % 50 = 1 THEN 'no_consent' END, 1 + (i * 104729) % {people}, campaign, 2 * campaign - i % 2, 1 + (i * 1299709) % {products}, '[]', at, at, at, 1, at, at, at,
                CASE WHEN i % 11 <> 0 AND i % 3 = 0 THEN at + 3600000000 END, CASE WHEN i % 11 <> 0 AND i % 25 = 2 THEN at + 7200000000 END,
                CASE WHEN i % 11 <> 0 AND (i % 3 = 0 OR i % 25 = 2) THEN at + 7200000000 END
             FROM (SELECT i, 1 + i % {campaigns} AS campaign, {at} AS at FROM n) x",
            people = scale.people,
            products = scale.products,
            campaigns = scale.campaigns,
            at = evenly(scale.touches),
        ),
    )
    .await;
    rows(
        db,
        scale.orders,
        format!(
            "{insert} shop_order (id, order_ref, person_id, placed_at, currency, total_minor, status, source, updated_at) {NUMBERS}
             SELECT i, 'o' || i, 1 + (i * 611953) % {people}, {at}, 'EUR', 900 + (i * 7919) % 15000, 'placed', 'server', {at} FROM n",
            people = scale.people,
            at = evenly(scale.orders),
        ),
    )
    .await;
    rows(
        db,
        scale.orders,
        format!(
            "{insert} order_line (order_id, line_no, product_id, sku, title, quantity, unit_price_minor) {NUMBERS}
             SELECT i, 1, 1 + (i * 1299709) % {products}, 'S' || (1 + (i * 1299709) % {products}), 'Oak table', 1, 900 + (i * 7919) % 15000 FROM n",
            products = scale.products
        ),
    )
    .await;
    rows(
        db,
        scale.events,
        format!(
            "{insert} event (id, person_id, kind, name, product_id, occurred_at, received_at, properties) {NUMBERS}
             SELECT {uuid}, 1 + (i * 49979687) % {people}, 'track', CASE WHEN i % 3 = 0 THEN 'Product Added' ELSE 'Product Viewed' END,
                1 + (i * 1299709) % {products}, at, at, '{{}}' FROM (SELECT i, {at} AS at FROM n) x",
            people = scale.people,
            products = scale.products,
            at = evenly(scale.events),
        ),
    )
    .await;
    for id in 1..=5 {
        run(
            db,
            format!(
                "INSERT INTO segment_snapshot (id, segment_id, rule_version, taken_at, status, size, created_at, finished_at)
                 VALUES ({id}, {id}, 1, {now}, 'complete', {size}, {now}, {now})",
                size = scale.people / (id + 1)
            ),
        )
        .await;
        rows(
            db,
            scale.people / (id + 1),
            format!("{insert} segment_member (snapshot_id, person_id) {NUMBERS} SELECT {id}, i * {} FROM n", id + 1),
        )
        .await;
    }
    // The differences that all this wrote say nothing that the facts do not.
    run(db, "DELETE FROM touch_delta".into()).await;
    run(db, "DELETE FROM event_delta".into()).await;
    attribution::rebuild(platform).await.expect("credit");
    rollup::rebuild(platform).await.expect("added up");
    match db.dialect() {
        Dialect::Sqlite => run(db, "ANALYZE".into()).await,
        Dialect::Postgres => marquee::read!(*db, |c| sqlx::query("ANALYZE").execute(c).await.map(|_| ())).expect("analysed"),
    }
}

/// Segments, campaigns with two variants each, and a run of each.
async fn plans(db: &Db, scale: Scale, begin: i64) {
    for id in 1..=5 {
        let rule = json!({"type": "did", "event": "Product Viewed", "times": {"at_least": id}, "within_days": 30});
        run(
            db,
            format!(
                "INSERT INTO segment (id, key, name, rule, version, created_at, updated_at) VALUES ({id}, 'seg{id}', 'Keen {id}', '{rule}', 1, {begin}, {begin})"
            ),
        )
        .await;
    }
    for id in 1..=scale.campaigns {
        let banner = id % 4 == 0;
        let channel = if banner { "banner" } else { "email" };
        let segment = 1 + id % 5;
        let plan = json!({"channel": channel, "segment": format!("seg_{segment}"), "schedule": {"kind": "once", "at": marquee::platform::Timestamp(begin)},
            "goal": {"kind": "orders", "window_hours": 168}, "holdout_bp": 1000, "placements": if banner { vec!["home"] } else { vec![] },
            "variants": [{"name": "A", "weight": 1}, {"name": "B", "weight": 1}]});
        let status = if id % 5 == 0 { "running" } else { "done" };
        run(
            db,
            format!(
                "INSERT INTO campaign (id, key, name, status, channel, segment_id, plan, holdout_bp, window_us, created_at, updated_at, started_at)
                 VALUES ({id}, 'c{id}', 'Campaign {id}', '{status}', '{channel}', {segment}, '{plan}', 1000, 604800000000, {begin}, {begin}, {begin})"
            ),
        )
        .await;
        for (variant, name) in [(2 * id - 1, "A"), (2 * id, "B")] {
            run(
                db,
                format!(
                    "INSERT INTO campaign_variant (id, campaign_id, name, weight, settings)
                     VALUES ({variant}, {id}, '{name}', 1, '{{\"name\": \"{name}\", \"weight\": 1}}')"
                ),
            )
            .await;
        }
        run(
            db,
            format!(
                "INSERT INTO campaign_run (campaign_id, scheduled_at, status, planned, created_at, finished_at)
                 VALUES ({id}, {begin}, 'planned', {}, {begin}, {begin})",
                scale.touches / scale.campaigns
            ),
        )
        .await;
    }
}
