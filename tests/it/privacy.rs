//! The right to be forgotten on both engines: every table that holds something of a person, and old files that would bring them back.

use marquee::account::Scope;
use marquee::events::orders;
use marquee::import::{self, Kind, Options, Report};
use marquee::people::{self, Identity};
use marquee::platform::ids::PersonId;
use marquee::platform::{Db, Timestamp};
use marquee::{on, privacy, read};
use serde_json::{Value, json};

use crate::both_engines;
use crate::support::server::TestServer;
use crate::support::{START, TestShop};

async fn post(server: &TestServer, key: &str, path: &str, body: Value) -> (u16, Value) {
    let answer = server.client.post(server.at(path)).bearer_auth(key).json(&body).send().await.expect("answer");
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

async fn found(db: &Db, external: &str) -> Option<PersonId> {
    people::find(db, &Identity::External(external.into())).await.expect("read").map(|p| p.id)
}

async fn execute(db: &Db, sql: String) {
    let mut tx = db.begin().await.expect("begin");
    on!(&mut tx, |c| sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *c).await.map(|_| ())).expect("writes");
    tx.commit().await.expect("commit");
}

async fn number(db: &Db, sql: &'static str) -> i64 {
    read!(*db, |c| sqlx::query_scalar::<_, i64>(sql).fetch_one(c).await).expect("a number")
}

/// Picks with a telling reason, a place in a segment, and a bounce, for each of these people.
async fn furnish(db: &Db, people: &[PersonId]) {
    execute(
        db,
        "INSERT INTO product (id, sku, title, description, category_path, price_minor, currency, available, attributes, content_hash, \
         created_at, updated_at) VALUES (900, 's', 't', 'd', '', 100, 'EUR', TRUE, '{}', 'h', 0, 0)"
            .into(),
    )
    .await;
    execute(
        db,
        "INSERT INTO model (id, kind, status, as_of, params, metrics, created_at) VALUES (900, 'choice', 'ready', 0, '{}', '{}', 0)".into(),
    )
    .await;
    execute(db, "INSERT INTO segment (id, key, name, rule, version, created_at, updated_at) VALUES (900, 'k', 'n', '{}', 1, 0, 0)".into())
        .await;
    execute(
        db,
        "INSERT INTO segment_snapshot (id, segment_id, rule_version, taken_at, status, size, created_at) \
         VALUES (900, 900, 1, 0, 'complete', 2, 0)"
            .into(),
    )
    .await;
    for person in people {
        execute(
            db,
            format!(
                "INSERT INTO pick (person_id, rank, product_id, score, reason, model_id, as_of) \
             VALUES ({}, 1, 900, 1, 'Because you bought Truss', 900, 0)",
                person.0
            ),
        )
        .await;
        execute(db, format!("INSERT INTO segment_member (snapshot_id, person_id) VALUES (900, {})", person.0)).await;
    }
}

both_engines!(an_erase_reaches_every_table_in_one_step, |shop| {
    let db = &shop.platform.db;
    let server = TestServer::start(&shop).await;
    let key = server.key(&[Scope::Ingest, Scope::Manage]).await;
    post(&server, &key, "/v1/identify", json!({"userId": "vera", "traits": {"email": "vera@example.test"}})).await;
    post(&server, &key, "/v1/track", json!({"anonymousId": "tablet", "event": "Seen"})).await;
    let tablet = people::find(db, &Identity::Anonymous("tablet".into())).await.expect("read").expect("there").id;
    post(&server, &key, "/v1/identify", json!({"userId": "other", "traits": {"email": "other@example.test"}})).await;
    let (vera, other) = (found(db, "vera").await.expect("vera"), found(db, "other").await.expect("other"));
    // The tablet's profile became part of Vera, and its own picks are still there.
    furnish(db, &[vera, tablet, other]).await;
    post(&server, &key, "/v1/track", json!({"userId": "vera", "anonymousId": "tablet", "event": "Seen"})).await;
    let bounce = marquee::delivery::bounces::NewBounce {
        touch: None,
        email: "vera@example.test".into(),
        class: marquee::delivery::verdict::BounceClass::Soft,
        status: Some("4.2.2".into()),
        diagnostic: Some("mailbox full".into()),
        source_key: "k1".into(),
        at: START,
    };
    marquee::delivery::take_bounces(&shop.platform, &[bounce]).await.expect("takes");

    let file = privacy::export(db, vera).await.expect("export");
    assert_eq!(file.picks.iter().map(|p| p.reason.as_str()).collect::<Vec<_>>(), ["Because you bought Truss"]);
    // Asked by the id that was merged away, it is the same person.
    privacy::erase(&shop.platform, tablet).await.expect("erases");
    assert!(found(db, "vera").await.is_none() && found(db, "other").await.is_some());
    assert_eq!(number(db, "SELECT COUNT(*) FROM pick").await, 1, "the other's");
    assert_eq!(number(db, "SELECT COUNT(*) FROM segment_member").await, 1, "the other's");
    assert_eq!(number(db, "SELECT COUNT(*) FROM bounce WHERE email_key <> '' OR diagnostic IS NOT NULL").await, 0);
    assert_eq!(number(db, "SELECT COUNT(*) FROM bounce").await, 1);
    assert_eq!(number(db, "SELECT COUNT(*) FROM person_tombstone").await, 2);
    let hashes: Vec<String> =
        read!(*db, |c| sqlx::query_scalar::<_, String>("SELECT name_hash FROM person_tombstone").fetch_all(c).await).expect("read");
    assert!(hashes.iter().all(|h| h.len() == 64 && h.bytes().all(|b| b.is_ascii_hexdigit())), "{hashes:?}");

    // A mail that was under way bounces late: it is counted and the address kept from ever being written to, but nowhere in plain.
    let late = marquee::delivery::bounces::NewBounce {
        touch: None,
        email: "Vera@example.test".into(),
        class: marquee::delivery::verdict::BounceClass::Hard,
        status: Some("5.1.1".into()),
        diagnostic: Some("no such user vera".into()),
        source_key: "k2".into(),
        at: START,
    };
    let taken = marquee::delivery::take_bounces(&shop.platform, &[late]).await.expect("takes");
    assert_eq!((taken.new, taken.suppressed), (1, 1));
    assert_eq!(number(db, "SELECT COUNT(*) FROM bounce WHERE email_key <> '' OR diagnostic IS NOT NULL").await, 0);
    assert_eq!(number(db, "SELECT COUNT(*) FROM suppression WHERE email_key LIKE '%@%' OR detail IS NOT NULL").await, 0);
    assert_eq!(people::suppressed(db, &["vera@example.test"]).await.expect("read").len(), 1);

    // A job that chose before the erase and writes after it brings no picks back.
    assert!(privacy::erase(&shop.platform, other).await.is_ok() && privacy::erase(&shop.platform, other).await.is_ok(), "idempotent");
    assert_eq!(number(db, "SELECT COUNT(*) FROM pick").await, 0);
});

/// Every table with a person in it is either erased, or is known to hold nothing but the number of a blank row.
#[tokio::test]
async fn no_table_with_a_person_is_forgotten() {
    const BLANKED_OR_EMPTIED: &[&str] = &[
        "person_identity",
        "consent_log",
        "person_traits",
        "event",
        "shop_order",
        "touch",
        "segment_member",
        "pick",
        "holdout_assignment",
        "webhook_outbox",
        // Sums over the events and touches that stay: numbers of people, days and campaigns.
        "event_delta",
        "rollup_visit",
        "rollup_journey",
    ];
    let shop = TestShop::open(crate::support::Engine::Sqlite).await.expect("SQLite");
    let sql =
        "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND c.name = 'person_id' ORDER BY 1";
    let tables: Vec<String> = read!(shop.platform.db, |c| sqlx::query_scalar::<_, String>(sql).fetch_all(c).await).expect("tables");
    assert!(tables.len() >= 9, "{tables:?}");
    for table in tables {
        assert!(BLANKED_OR_EMPTIED.contains(&table.as_str()), "{table} holds people: privacy::erase must know it, and this list");
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    async fn load(&self, shop: &TestShop, kind: Kind, text: &str) -> (Report, String) {
        let (file, rejects) = (self.0.path().join("in.csv"), self.0.path().join("rejects.csv"));
        std::fs::write(&file, text).expect("write");
        let options = Options { rejects: Some(rejects.clone()), ..Options::new(&shop.platform) };
        let report = import::run(&shop.platform, kind, &file, &options).await.expect("imports");
        (report, std::fs::read_to_string(rejects).expect("rejects"))
    }
}

const PEOPLE: &str = "external_id,email,first_name\nvera,vera@example.test,Vera\nbob,bob@example.test,Bob\n,vera@example.test,Vera again\n";
const ORDERS: &str = "Order ID,SKU,Title,Qty,Price,Order Date,Customer ID,Email\n7001,A,Mug,1,10,2026-01-02,vera,vera@example.test\n\
     7002,A,Mug,2,10,2026-01-02,bob,bob@example.test\n";

both_engines!(an_old_file_brings_nobody_back, |shop| {
    let (db, folder) = (&shop.platform.db, Folder(tempfile::tempdir().expect("folder")));
    folder.load(&shop, Kind::People, PEOPLE).await;
    privacy::erase(&shop.platform, found(db, "vera").await.expect("vera")).await.expect("erases");

    let (report, rejects) = folder.load(&shop, Kind::People, PEOPLE).await;
    assert_eq!((report.refused_rows(), report.accepted), (2, 1), "{report}");
    assert_eq!(rejects.matches(",erased,").count(), 2, "each with its code and reason: {rejects}");
    let dry = Options { dry_run: true, ..Options::new(&shop.platform) };
    let dry = import::run(&shop.platform, Kind::People, &folder.0.path().join("in.csv"), &dry).await.expect("runs");
    assert_eq!(dry.refused_rows(), 2, "a dry run says so too");
    assert!(found(db, "vera").await.is_none());

    // The money counts, without the person.
    let (report, _) = folder.load(&shop, Kind::Orders, ORDERS).await;
    assert_eq!(report.refused_rows(), 0, "{report}");
    assert!(found(db, "vera").await.is_none() && found(db, "bob").await.is_some());
    let totals = orders::totals(db, Timestamp::MIN, START).await.expect("totals");
    assert_eq!((totals[0].orders, totals[0].net_minor()), (2, 3000));
    assert_eq!(number(db, "SELECT COUNT(*) FROM shop_order WHERE person_id IS NULL").await, 1);
    assert_eq!(number(db, "SELECT COUNT(*) FROM person WHERE email IS NOT NULL").await, 1);
});

both_engines!(only_a_new_sign_up_begins_again, |shop| {
    let db = &shop.platform.db;
    let server = TestServer::start(&shop).await;
    let key = server.key(&[Scope::Ingest, Scope::Manage]).await;
    let public = server.key(&[Scope::Ingest]).await;
    let sign_up = |city: &str, at: Timestamp| json!({"userId": "vera", "timestamp": at.to_string(), "traits": {"email": "vera@example.test", "city": city}});
    post(&server, &key, "/v1/identify", sign_up("Bern", START.plus_days(-9))).await;
    let first = found(db, "vera").await.expect("vera");
    privacy::erase(&shop.platform, first).await.expect("erases");

    // What was under way, what a page claims, what a script pushes: none of it brings her back.
    let (status, body) = post(&server, &key, "/v1/people", json!({"external_id": "vera", "city": "Bern"})).await;
    assert_eq!((status, &body["code"]), (409, &json!("person_erased")), "{body}");
    assert_eq!(post(&server, &key, "/v1/people", json!({"external_id": "new", "email": "VERA@example.test"})).await.0, 409);
    let late = json!({"userId": "vera", "event": "Product Viewed", "properties": {"sku": "A", "mail": "vera@example.test"}});
    let (status, body) = post(&server, &key, "/v1/track", late).await;
    assert!(status == 200 && body["notes"][0]["detail"].as_str().is_some_and(|d| d.contains("erased")), "{body}");
    for (key, body) in [
        (&key, sign_up("Bern", START.plus_days(-5))),
        (&public, sign_up("Bern", START.plus_secs(60))),
        (&key, json!({"userId": "vera", "groupId": "club", "traits": {"name": "vera"}})),
    ] {
        let path = if body["groupId"].is_null() { "/v1/identify" } else { "/v1/group" };
        assert_eq!(post(&server, key, path, body).await.0, 200);
    }
    let (status, _) = post(&server, &key, "/v1/alias", json!({"userId": "someone", "previousId": "vera"})).await;
    assert_eq!(status, 200);
    let order = json!({"userId": "vera", "event": "Order Completed", "properties": {"order_id": "1", "total": 12}});
    post(&server, &key, "/v1/track", order).await;
    assert!(found(db, "vera").await.is_none() && found(db, "someone").await.is_none());
    assert_eq!(number(db, "SELECT COUNT(*) FROM event").await, 0);
    assert_eq!(number(db, "SELECT COUNT(*) FROM person_identity").await, 0);
    assert_eq!(orders::totals(db, Timestamp::MIN, START.plus_days(1)).await.expect("totals")[0].net_minor(), 1200, "the money is not lost");

    // She signs up again: a new, empty profile. What comes after in the same batch counts for it; the old one stays erased.
    let batch = json!({"batch": [
        {"type": "track", "userId": "vera", "event": "Too Early"},
        {"type": "identify", "userId": "vera", "timestamp": START.plus_secs(60).to_string(), "traits": {"email": "vera@example.test", "city": "Rome"}},
        {"type": "track", "userId": "vera", "event": "Signed Up"},
    ]});
    assert_eq!(post(&server, &key, "/v1/batch", batch).await.0, 200);
    let again = found(db, "vera").await.expect("back");
    assert_ne!(again, first);
    let person = people::get(db, again).await.expect("read").expect("there");
    assert_eq!((person.city.as_deref(), person.email_consent), (Some("Rome"), people::Consent::Never));
    assert_eq!(number(db, "SELECT COUNT(*) FROM event").await, 1);
    assert!(orders::of_person(db, again, 10).await.expect("orders").is_empty());
    assert_eq!(post(&server, &key, "/v1/people", json!({"external_id": "vera", "city": "Oslo"})).await.0, 200);
});
