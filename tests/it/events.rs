//! Events on both engines: the Segment interface over a real server, orders and refunds, and hostile input.

use std::io::Write as _;

use actix_web::ResponseError as _;
use futures::StreamExt as _;
use marquee::account::Scope;
use marquee::events::ingest::{self, Envelope, Outcome};
use marquee::events::orders::{self, Adjusted, AdjustmentKind, NewAdjustment, NewOrder, OrderLine, Source};
use marquee::events::{self, name};
use marquee::people::{self, Identity, Ids, Person, Trust};
use marquee::platform::batch::{BatchError, BatchLimits};
use marquee::platform::ids::PersonId;
use marquee::platform::{Currency, Db, Money, Timestamp};
use serde_json::{Value, json};

use crate::both_engines;
use crate::support::server::TestServer;
use crate::support::{START, TestShop};

struct Way<'a> {
    server: &'a TestServer,
    key: String,
}

impl Way<'_> {
    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.server.client.post(self.server.at(path)).bearer_auth(&self.key).json(body).send().await.expect("answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }
    async fn ok(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.post(path, &body).await;
        assert_eq!(status, 200, "{body}: {answer}");
        answer
    }
}

async fn server_way(server: &TestServer) -> Way<'_> {
    Way { key: server.key(&[Scope::Ingest, Scope::Manage]).await, server }
}

async fn person(db: &Db, external: &str) -> Person {
    people::find(db, &Identity::External(external.into())).await.expect("read").expect("there")
}

async fn event_count(db: &Db) -> i64 {
    events::count(db).await.expect("count")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).expect("memory");
    out.finish().expect("memory")
}

both_engines!(every_call_of_the_spec_arrives, |shop| {
    let db = &shop.platform.db;
    let server = TestServer::start(&shop).await;
    let way = server_way(&server).await;
    let mut tx = db.begin().await.expect("begin");
    let mug = marquee::catalog::NewProduct::new("G-32", "Mug", Money::new(1250, Currency::EUR));
    let product = marquee::catalog::bulk_upsert(&mut tx, &[mug], START).await.expect("product").ids[0];
    tx.commit().await.expect("commit");

    way.ok("/v1/identify", json!({"userId": "u", "traits": {"email": "u@example.test", "plan": "gold"}, "context": {"timezone": "Europe/Berlin", "locale": "de-DE"}})).await;
    way.ok("/v1/track", json!({"userId": "u", "event": name::PRODUCT_VIEWED, "properties": {"sku": "G-32"}, "context": {"ip": "203.0.113.9", "campaign": {"source": "news"}}})).await;
    way.ok("/v1/page", json!({"userId": "u", "name": "Home", "properties": {"path": "/"}})).await;
    way.ok("/v1/screen", json!({"userId": "u", "name": "Basket"})).await;
    way.ok("/v1/group", json!({"userId": "u", "groupId": "g7", "traits": {"seats": 3}})).await;
    way.ok("/v1/track", json!({"anonymousId": "before", "event": "Searched"})).await;
    way.ok("/v1/alias", json!({"userId": "u", "previousId": "before"})).await;
    way.ok("/v1/t", json!({"userId": "u", "event": "Short Path"})).await;

    let who = person(db, "u").await;
    assert_eq!(
        (who.email.as_deref(), who.time_zone.as_deref(), who.locale.as_deref()),
        (Some("u@example.test"), Some("Europe/Berlin"), Some("de-DE"))
    );
    assert_eq!(Value::Object(who.attributes.0.clone()), json!({"plan": "gold", "group_id": "g7"}));
    let timeline = events::timeline(db, who.id, None, 100).await.expect("timeline");
    let mut names: Vec<&str> = timeline.iter().map(|e| e.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["Group Joined", "Page Viewed", "Product Viewed", "Screen Viewed", "Searched", "Short Path"]);
    let viewed = timeline.iter().find(|e| e.name == name::PRODUCT_VIEWED).expect("viewed");
    assert_eq!(viewed.product_id, Some(product));
    assert_eq!(
        Value::Object(viewed.properties.0.clone()),
        json!({"sku": "G-32", "context": {"campaign": {"source": "news"}}}),
        "no address of a machine is kept"
    );
    let page = timeline.iter().find(|e| e.name == name::PAGE_VIEWED).expect("page");
    assert_eq!(page.properties.0["name"], "Home");
    assert_eq!(people::count(db).await.expect("count"), 1, "the anonymous profile became the customer");
});

both_engines!(keys_come_in_four_ways_and_need_the_scope, |shop| {
    let server = TestServer::start(&shop).await;
    let key = server.key(&[Scope::Ingest]).await;
    let url = server.at("/v1/track");
    let body = json!({"anonymousId": "a", "event": "e"});
    let with_key = json!({"anonymousId": "a", "event": "e", "writeKey": key});
    let post = || server.client.post(&url);
    assert_eq!(post().basic_auth(&key, Some("")).json(&body).send().await.expect("answer").status(), 200);
    assert_eq!(post().bearer_auth(&key).json(&body).send().await.expect("answer").status(), 200);
    assert_eq!(post().json(&with_key).send().await.expect("answer").status(), 200);
    assert_eq!(post().body(with_key.to_string()).send().await.expect("answer").status(), 200, "pages send text/plain");
    assert_eq!(post().json(&body).send().await.expect("answer").status(), 401);
    assert_eq!(post().json(&json!({"anonymousId": "a", "event": "e", "writeKey": 7})).send().await.expect("answer").status(), 401);
    assert_eq!(post().bearer_auth("mqk_wrong").json(&with_key).send().await.expect("answer").status(), 401);
    let reports = server.key(&[Scope::Reports]).await;
    let answer = post().bearer_auth(&reports).json(&body).send().await.expect("answer");
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let stored = events::timeline(&shop.platform.db, PersonId(1), None, 10).await.expect("timeline");
    assert!(stored.len() == 4 && stored.iter().all(|e| !format!("{:?}", e.properties).contains("mqk_")), "the key is not kept");
});

both_engines!(a_message_sent_eight_times_at_once_counts_once, |shop| {
    let db = &shop.platform.db;
    let server = TestServer::start(&shop).await;
    let way = server_way(&server).await;
    // Two copies of the server over one database, as on Postgres; on SQLite both share the process.
    let twin = TestServer::start(&shop).await;
    let other = Way { key: way.key.clone(), server: &twin };
    let order = json!({"userId": "u", "event": name::ORDER_COMPLETED, "messageId": "m-1", "properties": {"order_id": "77", "total": 12.5}});
    let answers = futures::future::join_all(
        (0..8).map(|i| if i % 2 == 0 { way.ok("/v1/track", order.clone()) } else { other.ok("/v1/track", order.clone()) }),
    )
    .await;
    let accepted: u64 = answers.iter().map(|a| a["accepted"].as_u64().expect("count")).sum();
    let duplicates: u64 = answers.iter().map(|a| a["duplicates"].as_u64().expect("count")).sum();
    assert_eq!((accepted, duplicates), (1, 7));
    assert_eq!(event_count(db).await, 1);
    assert_eq!(people::count(db).await.expect("count"), 1);
    // Also within one batch.
    let twice = way.ok("/v1/batch", json!({"batch": [
        {"type": "track", "userId": "u", "event": "e", "messageId": "m-2"}, {"type": "track", "userId": "u", "event": "e", "messageId": "m-2"}]})).await;
    assert_eq!((&twice["accepted"], &twice["duplicates"]), (&json!(1), &json!(1)));
    assert_eq!(event_count(db).await, 2);
});

both_engines!(new_people_at_once_on_two_servers_are_each_created_once, |shop| {
    let db = &shop.platform.db;
    let server = TestServer::start(&shop).await;
    let way = server_way(&server).await;
    let twin = TestServer::start(&shop).await;
    let other = Way { key: way.key.clone(), server: &twin };
    let batch = |n: usize| {
        let messages: Vec<Value> =
            (0..60).map(|i| json!({"type": "identify", "userId": format!("u{}", (i * 7 + n) % 60), "traits": {"n": n}})).collect();
        json!({ "batch": messages })
    };
    let answers =
        futures::future::join_all((0..8).map(|n| if n % 2 == 0 { way.ok("/v1/batch", batch(n)) } else { other.ok("/v1/batch", batch(n)) }))
            .await;
    assert!(answers.iter().all(|a| a["accepted"] == 60), "{answers:?}");
    assert_eq!(people::count(db).await.expect("count"), 60);
});

both_engines!(a_batch_keeps_the_good_and_names_the_bad, |shop| {
    let db = &shop.platform.db;
    let server = TestServer::start(&shop).await;
    let way = server_way(&server).await;
    let answer = way
        .ok(
            "/v1/batch",
            json!({"batch": [
            {"type": "track", "userId": "u", "event": "good"},
            {"type": "track", "userId": "u"},
            "nonsense",
            {"type": "identify", "userId": "u", "traits": {"timezone": "Mars/Olympus", "k": "v"}},
            {"type": "track", "userId": "u", "event": "big", "properties": {"text": "x".repeat(40_000)}},
            {"type": "identify", "userId": "u", "traits": {"a": "x".repeat(20_000)}},
            {"type": "identify", "userId": "u", "traits": {"b": "x".repeat(20_000)}},
            {"type": "track", "userId": "u", "event": "also good"}]}),
        )
        .await;
    assert_eq!((&answer["success"], &answer["accepted"], &answer["duplicates"]), (&json!(true), &json!(4), &json!(0)));
    let refused: Vec<u64> = answer["refused"].as_array().expect("list").iter().map(|r| r["index"].as_u64().expect("index")).collect();
    assert_eq!(refused, [1, 2, 4, 6], "{answer}");
    assert_eq!(answer["notes"][0]["index"], 3);
    assert!(answer["notes"][0]["detail"].as_str().expect("text").contains("time zone"));
    assert_eq!(event_count(db).await, 2);
    let who = person(db, "u").await;
    assert_eq!((who.time_zone, who.attributes.0.len()), (None, 2));
});

both_engines!(what_cannot_be_read_is_refused_with_a_reason, |shop| {
    let server = TestServer::start(&shop).await;
    let way = server_way(&server).await;
    let url = server.at("/v1/batch");
    let good = json!({"batch": [{"type": "track", "userId": "u", "event": "e"}]}).to_string();
    let send = |body: Vec<u8>, encoding: Option<&'static str>| {
        let request = server.client.post(&url).bearer_auth(&way.key).body(body);
        match encoding {
            Some(e) => request.header("content-encoding", e).send(),
            None => request.send(),
        }
    };
    let mut cut = gzip(good.as_bytes());
    cut.truncate(cut.len() - 6);
    for (body, encoding, status, code) in [
        (b"{".to_vec(), None, 400, "bad_json"),
        (b"".to_vec(), None, 400, "bad_json"),
        (b"[1]".to_vec(), None, 400, "bad_json"),
        (b"{\"batch\": {}}".to_vec(), None, 400, "bad_batch"),
        (b"{\"batch\": [\"\\ud800\"]}".to_vec(), None, 400, "bad_json"),
        ("[".repeat(100_000).into_bytes(), None, 400, "bad_json"),
        (good.clone().into_bytes(), Some("gzip"), 400, "bad_gzip"),
        (cut, Some("gzip"), 400, "bad_gzip"),
        (good.clone().into_bytes(), Some("br"), 415, "unsupported_encoding"),
        (gzip(&vec![b' '; 50_000_000]), Some("gzip"), 413, "too_large"),
        (vec![b' '; 600_000], None, 413, "too_large"),
        (format!("{{\"batch\": [], \"context\": {{\"page\": {{\"x\": \"{}\"}}}}}}", "y".repeat(5000)).into_bytes(), None, 413, "too_large"),
        (vec![b' '; 10_000_000], None, 413, "too_large"),
    ] {
        let size = body.len();
        let answer = send(body, encoding).await.unwrap_or_else(|e| panic!("{code}, {size} bytes: {e}"));
        assert_eq!(answer.status(), status, "{code}, {size} bytes");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: Value = answer.json().await.expect("JSON");
        assert_eq!(problem["code"], code, "{problem}");
    }
    assert_eq!(send(gzip(good.as_bytes()), Some("gzip")).await.expect("answer").status(), 200);
    let (status, _) = way.post("/v1/track", &json!({"userId": "u", "event": "e", "properties": {"x": "y".repeat(33_000)}})).await;
    assert_eq!(status, 413, "32 kB a call");
    let (status, problem) = way.post("/v1/track", &json!({"userId": "u"})).await;
    assert_eq!((status, &problem["code"]), (400, &json!("bad_message")));
    assert_eq!(event_count(&shop.platform.db).await, 1);
});

both_engines!(when_too_much_waits_the_caller_is_told_and_nothing_is_half_done, |shop| {
    let limits = BatchLimits { items: 1, linger: std::time::Duration::ZERO, waiting: 2 };
    let ingest = events::Ingest::start_with(shop.platform.clone(), limits);
    let envelope =
        Envelope { received_at: START, sent_at: None, trust: Trust::Server, shop_currency: Currency::EUR, context: serde_json::Map::new() };
    let message =
        |i: i32| ingest::read(json!({"type": "track", "userId": "u", "event": "e", "messageId": i}), None, &envelope).expect("reads");
    let answers = futures::future::join_all((0..40).map(|i| ingest.submit(vec![message(i)], 100))).await;
    let stored = answers.iter().filter(|a| a.as_ref().is_ok_and(|o| matches!(o[0], Outcome::Accepted(_)))).count();
    let busy = answers.iter().filter(|a| matches!(a, Err(BatchError::Busy))).count();
    assert!(busy > 0 && stored + busy == 40, "{stored} stored, {busy} busy");
    assert_eq!(usize::try_from(event_count(&shop.platform.db).await).expect("count"), stored);
    assert!(matches!(ingest.submit(vec![message(99)], 1 << 30).await, Err(BatchError::Busy)), "no room for so many bytes");
    let answer = marquee::platform::http::ApiError::from(BatchError::Busy).error_response();
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (429, true));
    // What did not fit is taken a moment later.
    let again = futures::future::join_all((0..2).map(|i| ingest.submit(vec![message(100 + i)], 100))).await;
    assert!(again.iter().all(Result::is_ok));
});

both_engines!(hostile_text_is_just_text, |shop| {
    let db = &shop.platform.db;
    let server = TestServer::start(&shop).await;
    let way = server_way(&server).await;
    let evil = "Robert'); DROP TABLE person;-- \" $1 \\ {{ 7*7 }} <b>\u{202e}\u{0}é";
    let clean = evil.replace('\0', "");
    let everything = json!({"email": evil, "firstName": evil, "lastName": evil, "phone": evil, "locale": evil, "timezone": evil, "country": evil, "city": evil, evil: evil});
    way.ok("/v1/identify", json!({"userId": evil, "messageId": evil, "traits": everything})).await;
    way.ok("/v1/track", json!({"userId": evil, "event": evil, "properties": {evil: [evil], "sku": evil, "currency": evil}})).await;
    way.ok(
        "/v1/track",
        json!({"userId": evil, "event": name::ORDER_COMPLETED, "properties": {"order_id": evil, "total": evil, "currency": evil,
        "products": [{"sku": evil, "name": evil, "price": evil, "quantity": evil}]}}),
    )
    .await;
    way.ok("/v1/track", json!({"userId": evil, "event": name::ORDER_CANCELLED, "properties": {"order_id": evil}})).await;
    let who = person(db, &clean).await;
    assert_eq!(
        (who.first_name.as_deref(), who.city.as_deref(), who.email, who.time_zone),
        (Some(clean.as_str()), Some(clean.as_str()), None, None)
    );
    let timeline = events::timeline(db, who.id, None, 10).await.expect("timeline");
    let plain = timeline.iter().find(|e| e.name == clean).expect("the event");
    assert_eq!(plain.properties.0[&clean], json!([clean]));
    let order = orders::of_person(db, who.id, 10).await.expect("orders").remove(0);
    assert_eq!(
        (order.order_ref.as_str(), order.flag.as_deref(), order.status.as_str()),
        (clean.as_str(), Some("unknown currency"), "cancelled")
    );
});

both_engines!(a_public_key_adds_events_and_no_more, |shop| {
    let db = &shop.platform.db;
    let server = TestServer::start(&shop).await;
    let way = server_way(&server).await;
    let page = Way { key: server.key(&[Scope::Ingest]).await, server: &server };
    way.ok("/v1/identify", json!({"userId": "ann", "traits": {"email": "ann@example.test", "city": "Bern"}})).await;
    way.ok(
        "/v1/track",
        json!({"userId": "ann", "event": name::ORDER_COMPLETED, "messageId": "m", "properties": {"order_id": "1", "total": 10}}),
    )
    .await;

    let claim = page.ok("/v1/identify", json!({"userId": "ann", "anonymousId": "thief", "traits": {"email": "thief@example.test", "city": "Rome", "email_consent": "subscribed"}})).await;
    assert!(
        claim["notes"].as_array().expect("notes").iter().any(|n| n["detail"].as_str().is_some_and(|d| d.contains("public"))),
        "{claim}"
    );
    page.ok("/v1/identify", json!({"userId": "ann", "traits": {"email": "thief@example.test", "city": "Rome", "phone": "1"}})).await;
    let ann = person(db, "ann").await;
    let thief = people::find(db, &Identity::Anonymous("thief".into())).await.expect("read").expect("thief");
    assert_ne!(ann.id, thief.id);
    assert_eq!((ann.email.as_deref(), ann.city.as_deref()), (Some("ann@example.test"), Some("Bern")));
    assert_eq!((thief.email, thief.email_consent), (None, people::Consent::Never));
    assert_eq!(page.post("/v1/alias", &json!({"userId": "ann", "previousId": "thief"})).await.0, 400);

    // It can neither give money back nor take an order's name before the server does, nor use up the server's message ids.
    page.ok("/v1/track", json!({"userId": "ann", "event": name::ORDER_CANCELLED, "properties": {"order_id": "1"}})).await;
    page.ok("/v1/track", json!({"anonymousId": "thief", "event": name::ORDER_COMPLETED, "messageId": "m2", "properties": {"order_id": "2", "total": 99_999}})).await;
    way.ok("/v1/track", json!({"userId": "ann", "event": name::ORDER_COMPLETED, "messageId": "m2", "properties": {"order_id": "2", "total": 20, "products": [{"sku": "a", "price": 20}]}})).await;
    let sums = orders::totals(db, Timestamp::MIN, START.plus_days(1)).await.expect("totals");
    assert_eq!((sums[0].orders, sums[0].net_minor()), (2, 3000));
    assert_eq!(orders::of_person(db, ann.id, 10).await.expect("orders").len(), 2);
});

fn order(order_ref: &str, total: i64, person: Option<PersonId>) -> NewOrder {
    let line = |sku: &str, quantity, unit_price_minor| OrderLine {
        product_id: None,
        sku: sku.into(),
        title: sku.to_uppercase(),
        quantity,
        unit_price_minor,
        flag: None,
    };
    NewOrder {
        order_ref: order_ref.into(),
        person_id: person,
        placed_at: START,
        currency: Currency::GBP,
        total_minor: total,
        lines: vec![line("a", 3, 100), line("b", 1, 50), line("a", 2, 90)],
        flag: None,
        source: Source::Import,
    }
}

fn refund(reference: &str, order_ref: &str, amount: Option<i64>) -> NewAdjustment {
    NewAdjustment {
        reference: reference.into(),
        order_ref: order_ref.into(),
        kind: AdjustmentKind::Refund,
        at: START,
        amount_minor: amount,
        currency: None,
        lines: Vec::new(),
        source: Source::Server,
    }
}

async fn adjust(db: &Db, new: NewAdjustment) -> Adjusted {
    let mut tx = db.begin().await.expect("begin");
    let done = orders::adjust(&mut tx, &new, START).await.expect("adjust");
    tx.commit().await.expect("commit");
    done
}

async fn record(db: &Db, new: &[NewOrder]) -> Vec<orders::Recorded> {
    let mut tx = db.begin().await.expect("begin");
    let done = orders::bulk_record(&mut tx, new, START).await.expect("record");
    tx.commit().await.expect("commit");
    done
}

async fn customer(shop: &TestShop) -> PersonId {
    let mut tx = shop.platform.db.begin().await.expect("begin");
    let id = events::resolve(&mut tx, &Ids::external("c"), Trust::Server, START).await.expect("person");
    tx.commit().await.expect("commit");
    id
}

both_engines!(refunds_count_once_and_never_exceed_the_total, |shop| {
    let db = &shop.platform.db;
    let who = customer(&shop).await;
    let stored = record(db, &[order("1", 530, Some(who)), order("1", 999, Some(who)), order("2", -5, Some(who))]).await;
    assert_eq!((stored[0].id, stored[0].new, stored[1].new), (stored[1].id, true, false));
    assert!(!record(db, &[order("1", 999, None)]).await[0].new);

    let applied = |amount| Adjusted::Applied { order: stored[0].id, amount_minor: amount };
    assert_eq!(adjust(db, refund("r1", "1", Some(100))).await, applied(100));
    assert_eq!(adjust(db, refund("r1", "1", Some(100))).await, Adjusted::Duplicate);
    let pieces = NewAdjustment { lines: vec![("a".into(), 4)], ..refund("r2", "1", Some(380)) };
    assert_eq!(adjust(db, pieces).await, applied(380));
    assert!(matches!(adjust(db, refund("r3", "1", Some(0))).await, Adjusted::Refused(_)));
    assert!(matches!(
        adjust(db, NewAdjustment { currency: Some(Currency::USD), ..refund("r3", "1", Some(5)) }).await,
        Adjusted::Refused(_)
    ));
    assert_eq!(adjust(db, refund("r3", "1", Some(5000))).await, applied(50));
    assert_eq!(adjust(db, refund("r4", "1", None)).await, applied(0));
    let all = orders::of_person(db, who, 10).await.expect("orders");
    let first = all.iter().find(|o| o.order_ref == "1").expect("order");
    assert_eq!((first.total_minor, first.refunded_minor, first.net_minor(), first.status.as_str()), (530, 530, 0, "refunded"));
    let cancelled = marquee::read!(*db, |c| sqlx::query_scalar::<_, i64>(
        "SELECT cancelled_quantity FROM order_line WHERE order_id = $1 ORDER BY line_no"
    )
    .bind(stored[0].id)
    .fetch_all(c)
    .await)
    .expect("lines");
    assert_eq!(cancelled, [3, 1, 2], "four of a by the second refund, the rest by the one that asked for all that was left");
    let flagged = all.iter().find(|o| o.order_ref == "2").expect("order");
    assert_eq!(flagged.flag.as_deref(), Some("negative total"));
    assert_eq!(
        orders::totals(db, Timestamp::MIN, START.plus_secs(1)).await.expect("totals").iter().map(|t| t.orders).sum::<i64>(),
        1,
        "flagged ones are left out of figures"
    );
});

both_engines!(a_cancellation_that_comes_before_its_order_waits_for_it, |shop| {
    let db = &shop.platform.db;
    let early = NewAdjustment { kind: AdjustmentKind::Cancel, ..refund("cancel:9", "9", None) };
    assert_eq!(adjust(db, refund("r", "9", Some(30))).await, Adjusted::Waiting);
    assert_eq!(adjust(db, early.clone()).await, Adjusted::Waiting);
    assert_eq!(adjust(db, early).await, Adjusted::Duplicate);
    record(db, &[order("9", 530, None)]).await;
    let totals = orders::totals(db, Timestamp::MIN, START.plus_secs(1)).await.expect("totals");
    assert_eq!((totals[0].total_minor, totals[0].refunded_minor), (530, 530));
});

both_engines!(orders_over_http_are_exact_and_updated, |shop| {
    let db = &shop.platform.db;
    let server = TestServer::start(&shop).await;
    let way = server_way(&server).await;
    let track =
        async |event: &str, properties: Value| way.ok("/v1/track", json!({"userId": "u", "event": event, "properties": properties})).await;
    track(
        name::ORDER_COMPLETED,
        json!({"order_id": "1", "total": 19.99, "currency": "GBP", "products": [{"sku": "a", "price": 9.995, "quantity": 2}]}),
    )
    .await;
    track(name::ORDER_COMPLETED, json!({"order_id": "2", "total": 0.1, "currency": "GBP"})).await;
    track(name::ORDER_COMPLETED, json!({"order_id": "3", "total": 1500, "currency": "JPY"})).await;
    track(name::ORDER_UPDATED, json!({"order_id": "1", "total": 29.99, "currency": "GBP", "products": [{"sku": "b", "price": 29.99}]}))
        .await;
    track(name::ORDER_REFUNDED, json!({"order_id": "1", "refund_id": "x", "total": 10.01, "currency": "GBP"})).await;
    track(name::ORDER_REFUNDED, json!({"order_id": "1", "refund_id": "x", "total": 10.01, "currency": "GBP"})).await;
    track(name::ORDER_CANCELLED, json!({"order_id": "2"})).await;
    let totals = orders::totals(db, Timestamp::MIN, START.plus_days(1)).await.expect("totals");
    let net: Vec<_> = totals.iter().map(|t| (t.currency.code().to_owned(), t.orders, t.total_minor, t.net_minor())).collect();
    assert_eq!(net, [("GBP".to_owned(), 2, 3009, 1998), ("JPY".to_owned(), 1, 1500, 1500)]);
});

both_engines!(merging_people_keeps_every_sum, |shop| {
    let db = &shop.platform.db;
    let server = TestServer::start(&shop).await;
    let way = server_way(&server).await;
    for (who, n) in [("a1", 3), ("a2", 4), ("a3", 5)] {
        for i in 0..n {
            way.ok("/v1/track", json!({"anonymousId": who, "event": name::ORDER_COMPLETED, "properties": {"order_id": format!("{who}-{i}"), "total": i + 1}})).await;
        }
    }
    let before = orders::totals(db, Timestamp::MIN, START.plus_days(1)).await.expect("totals");
    // One commit in which the same customer signs in on three devices.
    way.ok(
        "/v1/batch",
        json!({"batch": [
        {"type": "identify", "userId": "c", "anonymousId": "a1", "traits": {"city": "Bern"}},
        {"type": "track", "anonymousId": "a2", "event": "e"},
        {"type": "identify", "userId": "c", "anonymousId": "a2", "traits": {"email": "c@example.test"}},
        {"type": "track", "anonymousId": "a2", "event": "e"},
        {"type": "identify", "userId": "c", "anonymousId": "a3"}]}),
    )
    .await;
    let who = person(db, "c").await;
    assert_eq!((who.city.as_deref(), who.email.as_deref()), (Some("Bern"), Some("c@example.test")));
    assert_eq!(people::count(db).await.expect("count"), 1);
    assert_eq!(orders::of_person(db, who.id, 100).await.expect("orders").len(), 12);
    assert_eq!(events::timeline(db, who.id, None, 100).await.expect("events").len(), 14);
    assert_eq!(orders::totals(db, Timestamp::MIN, START.plus_days(1)).await.expect("totals"), before);
});

/// `cargo test --test it events::large -- --ignored --nocapture --test-threads 1`: how quickly calls are taken and orders loaded.
mod large {
    use super::*;
    use crate::support::Engine;

    async fn measure(engine: Engine) {
        let Some(shop) = TestShop::open(engine).await else { return };
        let new: Vec<NewOrder> = (0..20_000)
            .map(|i| NewOrder {
                lines: order("", 0, None).lines.into_iter().cycle().take(20).collect(),
                ..order(&i.to_string(), 5000, None)
            })
            .collect();
        let started = std::time::Instant::now();
        for part in new.chunks(200) {
            record(&shop.platform.db, part).await;
        }
        eprintln!("{engine:?}: 20,000 orders with 400,000 lines in {:.1?}", started.elapsed());

        let server = TestServer::start(&shop).await;
        let way = server_way(&server).await;
        let track = |i: usize| {
            json!({"type": "track", "userId": format!("u{}", i % 2000), "event": name::PRODUCT_VIEWED, "messageId": format!("m{i}"),
            "properties": {"sku": format!("s{}", i % 800), "price": 12.5, "category": "Home"}})
        };
        let started = std::time::Instant::now();
        let batches: Vec<Value> = (0..100).map(|b| json!({"batch": (0..200).map(|i| track(b * 200 + i)).collect::<Vec<_>>()})).collect();
        futures::stream::iter(batches).map(|b| way.ok("/v1/batch", b)).buffer_unordered(8).count().await;
        let seconds = started.elapsed().as_secs_f64();
        eprintln!("{engine:?}: 20,000 events in batches of 200, 8 at a time: {:.0}/s", 20_000.0 / seconds);
        let started = std::time::Instant::now();
        futures::stream::iter(100_000..102_000).map(|i| way.ok("/v1/track", track(i))).buffer_unordered(64).count().await;
        eprintln!("{engine:?}: 2,000 single calls, 64 at a time: {:.0}/s", 2000.0 / started.elapsed().as_secs_f64());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "a measurement"]
    async fn sqlite() {
        measure(Engine::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "a measurement"]
    async fn postgres() {
        measure(Engine::Postgres).await;
    }
}
