//! Hostile input, class by class: what has broken other programs of this kind (listmonk, Mautic, Parcelvoy), and the bad input that every
//! shop sends one day. Each class has a test here, or a line that says where it is tested; every one asks that the answer is clear (a stable
//! code), that nothing is lost, and that nothing is half done: the rows of every table are counted before and after.
//!
//! | class | tested by |
//! |---|---|
//! | template injection (CVE-2025-49136) | here; `creative::custom` (language, entities, addresses); `creative::a_preview_…` (in a process of its own) |
//! | SQL in segment filters and texts (CVE-2025-46011, CVE-2026-4776, CVE-2026-3105) | here (every text field over HTTP); `audience::hostile_text_stays_text`; `catalog::texts_that_look_like_sql_stay_texts` |
//! | XSS in mail, banner, preview, pages, bounces (CVE-2026-21483, CVE-2020-35124, CVE-2024-47050, CVE-2021-27917) | here; `tracking::pages_speak_…`; `delivery::bounces_and_complaints_…` |
//! | CSRF (CVE-2025-58430), sessions that outlive a password (CVE-2026-34828) | here: there is no cookie, and a revoked key stops |
//! | SSRF (CVE-2022-25777) | here (style sheets, generator); `catalog::pictures_are_fetched_from_public_hosts_alone`, `catalog::fetch` |
//! | open redirect (CVE-2025-5256) | here |
//! | sequential or guessable tracking ids (CVE-2018-10189) | here; `tracking::what_is_no_link_of_ours_…`, `touches::links`, `platform::token` |
//! | unpublished previews (CVE-2025-5257) | here: nothing of a draft has an address |
//! | path traversal (CVE-2021-27916) | here |
//! | GET unsubscribes (RFC 8058) | here; `tracking::only_a_post_unsubscribes_…` |
//! | formulas in CSV | here; `attribution::report::csv_fields_start_no_formula`, `import::report` |
//! | forged orders by a public key | here; `events::a_public_key_adds_events_and_no_more` |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use marquee::account::Scope;
use marquee::adserver::Ticket;
use marquee::catalog::{self, NewProduct};
use marquee::copywriter::openai::OpenAi;
use marquee::copywriter::{Copy, Locale};
use marquee::creative::{BrandKit, email};
use marquee::events::orders;
use marquee::import::{self, Kind, Options};
use marquee::inference::{Generator as _, Prompt};
use marquee::people::{self, Identity, NewPerson};
use marquee::platform::config::{GeneratorBackend, GeneratorConfig};
use marquee::platform::ids::{CampaignId, CreativeId, PlacementId, ProductId, TouchId, VariantId};
use marquee::platform::token::Signer;
use marquee::platform::{Currency, Db, Money, Platform, Timestamp};
use marquee::recommend::{self, ChoiceRules};
use marquee::touches::links::{self, Link, LinkKind};
use marquee::touches::{self, NewTouch, TouchChannel};
use marquee::{on, read};
use reqwest::Method;
use serde_json::{Value, json};

use crate::both_engines;
use crate::support::START;
use crate::support::server::TestServer;

const EVERY_SCOPE: &[Scope] = &[Scope::Ingest, Scope::Serve, Scope::Reports, Scope::Manage, Scope::Admin];

/// Texts that mean something to SQL, to templates, to HTML, to spreadsheets, to shells and to nobody.
const EVIL: &[&str] = &[
    "'); DROP TABLE person; --",
    "\" OR \"1\"=\"1",
    "a' || (SELECT secret FROM setting) || '",
    "$1",
    "{{ 7*7 }}{% for i in range(end=1000000000) %}x{% endfor %}",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)>",
    "=HYPERLINK(\"http://evil.example\")",
    "../../../../etc/passwd",
    "\u{202e}\u{feff}gnp.exe",
    "line\r\nBcc: everybody@example.test",
    "\\",
    "%",
    "$.a[0].\"b\"",
];

/// Rows of every table but the platform's own.
async fn rows(db: &Db) -> BTreeMap<String, i64> {
    const SQLITE: &str =
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '\\_%' ESCAPE '\\'";
    const POSTGRES: &str =
        "SELECT CAST(table_name AS TEXT) FROM information_schema.tables WHERE table_schema = 'public' AND table_name NOT LIKE '\\_%'";
    let sql = if matches!(db, Db::Sqlite(_)) { SQLITE } else { POSTGRES };
    let tables: Vec<String> = read!(*db, |c| sqlx::query_scalar::<_, String>(sql).fetch_all(c).await).expect("tables");
    assert!(tables.len() > 20, "{tables:?}");
    let mut counts = BTreeMap::new();
    for table in tables.into_iter().filter(|t| !matches!(t.as_str(), "setting" | "api_key" | "job_run")) {
        let sql = format!("SELECT COUNT(*) FROM {table}");
        let n = read!(*db, |c| sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql.as_str())).fetch_one(c).await).expect("count");
        counts.insert(table, n);
    }
    counts
}

struct Caller<'a> {
    server: &'a TestServer,
    key: String,
}

impl Caller<'_> {
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.server.client.request(method, self.server.at(path)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("answer");
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }
    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, Some(body)).await
    }
    async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }
}

async fn caller(server: &TestServer) -> Caller<'_> {
    Caller { key: server.key(EVERY_SCOPE).await, server }
}

/// Percent-encodes everything that is not a letter or digit.
fn encoded(text: &str) -> String {
    text.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

both_engines!(sql_and_worse_in_every_text_field_stays_text, |shop| {
    let server = TestServer::start(&shop).await;
    let api = caller(&server).await;
    for (n, evil) in EVIL.iter().enumerate() {
        let clear = |what: &str, (status, body): &(u16, Value)| {
            assert!(*status < 500, "{what} {evil:?}: {status} {body}");
            assert!(*status < 400 || body["code"].as_str().is_some_and(|c| !c.is_empty()), "{what} {evil:?}: {status} {body}");
        };
        let person = json!({"external_id": format!("{evil}{n}"), "first_name": evil, "last_name": evil, "phone": evil, "country": evil,
            "city": evil, "locale": evil, "attributes": {*evil: evil}, "consent_source": evil, "email_consent": "subscribed"});
        let made = api.post("/v1/people", person).await;
        clear("person", &made);
        if made.0 == 200 {
            assert_eq!(made.1["first_name"].as_str().map(str::len), Some(evil.trim().len()), "stored as it is: {}", made.1);
        }
        for body in
            [json!({"external_id": "x", "email": evil}), json!({"external_id": "x", "time_zone": evil}), json!({evil.to_owned(): 1})]
        {
            let refused = api.post("/v1/people", body).await;
            assert!((400..=422).contains(&refused.0), "{evil:?}: {refused:?}");
            clear("person", &refused);
        }
        let product = json!({"products": [{"sku": format!("{evil}{n}"), "title": evil, "description": evil, "brand": evil,
            "category_path": evil, "price": {"minor": 100, "currency": "EUR"}, "attributes": {*evil: evil}}]});
        clear("product", &api.post("/v1/products", product).await);
        clear("placement", &api.post("/v1/placements", json!({"key": evil, "name": evil, "width": 300, "height": 250})).await);
        clear("brand", &api.call(Method::PUT, "/v1/brand", Some(json!({"name": evil, "postal_address": evil, "font": evil}))).await);
        for rule in [
            json!({"type": "attribute", "field": format!("attributes.{evil}"), "test": {"op": "eq", "value": evil}}),
            json!({"type": "attribute", "field": evil, "test": {"op": "contains", "value": evil}}),
            json!({"type": "attribute", "field": "city", "test": {"op": evil, "value": evil}}),
            json!({"type": "did", "event": evil, "where": [{"property": evil, "test": {"op": "in", "values": [evil, "x"]}}]}),
            json!({"type": "trait", "trait": evil, "test": {"op": "gt", "value": evil}}),
            json!({"type": "segment", "segment": evil}),
            json!({"type": evil}),
        ] {
            clear("preview", &api.post("/v1/segments/preview", json!({"rule": rule})).await);
            clear("segment", &api.post("/v1/segments", json!({"key": format!("s{n}"), "name": evil, "rule": rule})).await);
        }
        let traits = json!({"firstName": evil, "email": evil, *evil: evil, "email_consent": evil});
        let message = |kind: &str, rest: Value| {
            let mut body = json!({"type": kind, "userId": format!("{evil}{n}"), "anonymousId": evil, "messageId": format!("{evil}{kind}")});
            body.as_object_mut().expect("object").extend(rest.as_object().expect("object").clone());
            body
        };
        let batch = json!({"batch": [
            message("identify", json!({"traits": traits})),
            message("track", json!({"event": evil, "properties": {*evil: evil, "sku": evil}})),
            message("track", json!({"event": "Order Completed", "messageId": "", "properties": {"order_id": evil, "total": "1", "currency": evil, "products": [{"sku": evil, "name": evil, "price": evil}]}})),
            message("group", json!({"groupId": evil})),
            message("page", json!({"name": evil})),
            message("alias", json!({"previousId": format!("{evil} before")})),
        ], "context": {"locale": evil, "timezone": evil, "campaign": {"name": evil}}});
        let sent = api.post("/v1/batch", batch).await;
        assert_eq!(sent.0, 200, "{evil:?}: {sent:?}");
        let e = encoded(evil);
        for path in [
            format!("/v1/people?q={e}"),
            format!("/v1/people?after={e}"),
            format!("/v1/people?limit={e}"),
            format!("/v1/people/{e}"),
            format!("/v1/products?after={e}"),
            format!("/v1/products/{e}"),
            format!("/v1/segments/{e}"),
            format!("/v1/segments/{e}/members?after={e}"),
            format!("/v1/campaigns/{e}"),
            format!("/v1/copies?campaign={e}"),
            format!("/v1/banners?campaign={e}&after={e}"),
            format!("/v1/creatives?placement={e}&person={e}"),
            format!("/v1/reports/attribution?model={e}&from={e}&to={e}&by={e}"),
            format!("/v1/reports/attribution?from=2026-01-01&to=2026-02-01&time_zone={e}"),
            format!("/v1/reports/lift?campaign={e}"),
        ] {
            clear(&path, &api.get(&path).await);
        }
    }
    // Everything still stands, and the texts are texts.
    let counts = rows(&shop.platform.db).await;
    assert!(
        counts["person"] >= EVIL.len() as i64 && counts["event"] > 0 && counts["product"] > 0 && counts["shop_order"] > 0,
        "{counts:?}"
    );
    let found = people::find(&shop.platform.db, &Identity::External(format!("{}0", EVIL[0]))).await.expect("read").expect("there");
    assert_eq!(found.first_name.as_deref(), Some(EVIL[0]));
    assert_eq!(found.attributes.0.get(EVIL[0]).and_then(Value::as_str), Some(EVIL[0]));
});

both_engines!(broken_bodies_are_named_and_nothing_is_half_done, |shop| {
    let server = TestServer::start(&shop).await;
    let api = caller(&server).await;
    api.post("/v1/people", json!({"external_id": "bob", "email": "bob@example.test"})).await;
    let before = rows(&shop.platform.db).await;
    let document: Value = server.client.get(server.at("/openapi.json")).send().await.expect("answer").json().await.expect("JSON");
    let deep = format!("{{\"rule\":{}{}}}", "{\"type\":\"not\",\"rule\":".repeat(5_000), "}".repeat(5_000));
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(10 * 1024 * 1024));
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in ["post", "put"].iter().filter(|m| methods.get(**m).is_some()) {
            let takes_body = methods[*method]["requestBody"].is_object();
            let path = path.replace("{id}", "1").replace("{action}", "schedule").replace(['{', '}'], "");
            for (what, body) in [
                ("cut", "{\"name\": \"x".to_owned()),
                ("no JSON", "DROP TABLE person".into()),
                ("wrong type", "[1, \"two\", null]".into()),
                ("deep", deep.clone()),
                ("10 MB", large.clone()),
                ("nothing", String::new()),
            ] {
                let request = server.client.request(method.to_uppercase().parse().expect("method"), server.at(&path));
                let sent = request.bearer_auth(&api.key).header("content-type", "application/json").body(body).send().await;
                // A server that answers before it has read 10 MB may close the connection under the sender.
                let Ok(answer) = sent else {
                    assert_eq!(what, "10 MB", "{method} {path}: {sent:?}");
                    continue;
                };
                asked += 1;
                let status = answer.status().as_u16();
                assert!(status < 500, "{method} {path} {what}: {status}");
                if takes_body && !path.starts_with("/u/") && !path.starts_with("/p/") {
                    assert!((400..=422).contains(&status), "{method} {path} {what}: {status}");
                    assert_eq!(answer.headers()["content-type"], "application/problem+json", "{method} {path} {what}");
                    let problem: Value = answer.json().await.expect("JSON");
                    assert!(
                        problem["code"].as_str().is_some_and(|c| !c.is_empty() && c != "internal"),
                        "{method} {path} {what}: {problem}"
                    );
                    assert!(
                        problem["detail"].as_str().is_some_and(|d| d.len() > 10 && d.len() < 2_000),
                        "{method} {path} {what}: {problem}"
                    );
                }
            }
        }
    }
    assert!(asked > 100, "{asked}");
    assert_eq!(rows(&shop.platform.db).await, before);
    // A batch with one bad message keeps the good ones and names the bad one; one bad product keeps none, and says so.
    let (status, answer) =
        api.post("/v1/batch", json!({"batch": [{"type": "track", "userId": "bob", "event": "A"}, {"type": "track"}, 7]})).await;
    assert_eq!((status, &answer["accepted"], answer["refused"].as_array().map(Vec::len)), (200, &json!(1), Some(2)), "{answer}");
    let products = json!({"products": [{"sku": "good", "title": "Good", "price": {"minor": 100, "currency": "EUR"}},
        {"sku": "bad", "title": "Bad", "price": {"minor": -100, "currency": "EUR"}}]});
    let (status, answer) = api.post("/v1/products", products).await;
    assert!((400..=422).contains(&status) && answer["code"].is_string(), "{status} {answer}");
    let after = rows(&shop.platform.db).await;
    assert_eq!((after["product"], after["event"]), (before["product"], before["event"] + 1));
});

both_engines!(unknown_zones_are_named_everywhere, |shop| {
    let server = TestServer::start(&shop).await;
    let api = caller(&server).await;
    let (_, segment) = api.post("/v1/segments", json!({"key": "all", "name": "All", "rule": {"type": "everyone"}})).await;
    let before = rows(&shop.platform.db).await;
    let plan = |schedule: Value| json!({"name": "x", "plan": {"channel": "email", "segment": segment["id"], "schedule": schedule}});
    let refused = [
        api.post("/v1/people", json!({"external_id": "x", "time_zone": "Mars/Olympus"})).await,
        api.post("/v1/campaigns", plan(json!({"kind": "recurring", "cron": "0 9 * * *", "time_zone": "Mars/Olympus"}))).await,
        api.get("/v1/reports/attribution?from=2026-01-01&to=2026-02-01&time_zone=Mars/Olympus").await,
        api.call(
            Method::PUT,
            "/v1/contact-policy",
            Some(json!({"quiet_hours": {"from": "22:00", "to": "08:00", "time_zone": "Mars/Olympus"}})),
        )
        .await,
    ];
    for (status, problem) in refused {
        assert!((400..=422).contains(&status) && problem["code"].is_string(), "{status} {problem}");
    }
    assert_eq!(rows(&shop.platform.db).await, before);
    // An event with a strange zone is kept, without the zone.
    let (status, _) = api.post("/v1/track", json!({"userId": "u", "event": "A", "context": {"timezone": "Mars/Olympus"}})).await;
    assert_eq!(status, 200);
    let person = people::find(&shop.platform.db, &Identity::External("u".into())).await.expect("read").expect("there");
    assert_eq!(person.time_zone, None);
});

both_engines!(files_that_are_wrong_change_nothing, |shop| {
    let folder = tempfile::tempdir().expect("folder");
    let before = rows(&shop.platform.db).await;
    let orders = "Order ID,SKU,Title,Qty,Price,Order Date,Customer ID\n";
    for (name, kind, text, map) in [
        ("no columns we know", Kind::Orders, "a,b,c\n1,2,3\n".to_owned(), vec![]),
        ("a mapping to a column that is not there", Kind::Orders, format!("{orders}1,A,Mug,1,10,2026-01-02,c\n"), vec![("sku", "Artikel")]),
        ("a mapping of a field that is not there", Kind::Orders, format!("{orders}1,A,Mug,1,10,2026-01-02,c\n"), vec![("colour", "SKU")]),
        ("people without names", Kind::People, "first_name\nAnn\n".into(), vec![]),
        (
            "an external entity",
            Kind::Products,
            "<!DOCTYPE r [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><rss><item><id>&x;</id></item></rss>".into(),
            vec![],
        ),
        ("nothing", Kind::Products, String::new(), vec![]),
    ] {
        let file = folder.path().join("in.csv");
        std::fs::write(&file, text).expect("write");
        let map = map.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        let error = import::run(&shop.platform, kind, &file, &Options { map, ..Options::new(&shop.platform) }).await.expect_err(name);
        assert!(error.to_string().len() > 10 && !error.to_string().contains("root:"), "{name}: {error}");
        assert_eq!(rows(&shop.platform.db).await, before, "{name}");
    }
    // Rows that are wrong are refused by line with a code, and the good one beside them is kept.
    let file = folder.path().join("in.csv");
    let text = format!(
        "{orders}1,A,Mug,1,10,2026-01-02,c\n2,A,Mug,many,10,2026-01-02,c\n3,A,Mug,1,ten,2026-01-02,c\n4,A,Mug,1,10,yesterday,c\n5,A,Mug\n6,A,\"Mug,1,10,2026-01-02,c\n"
    );
    std::fs::write(&file, text).expect("write");
    let rejects = folder.path().join("rejects.csv");
    let options = Options { rejects: Some(rejects.clone()), ..Options::new(&shop.platform) };
    let report = import::run(&shop.platform, Kind::Orders, &file, &options).await.expect("imports");
    let refused: Vec<&str> = report.refused.keys().copied().collect();
    for code in ["bad_quantity", "bad_price", "bad_date", "wrong_columns"] {
        assert!(refused.contains(&code), "{code}: {report}");
    }
    let rejected = std::fs::read_to_string(rejects).expect("rejects");
    assert!(rejected.lines().any(|l| l.starts_with("3,bad_quantity,")), "{rejected}");
    assert_eq!(rows(&shop.platform.db).await["shop_order"], before["shop_order"] + 1);
});

/// One touch for one person about one product, and its signed tokens.
struct Sent {
    touch: TouchId,
    product: ProductId,
}

async fn sent(platform: &Platform, url: &str) -> Sent {
    let mut tx = platform.db.begin().await.expect("begin");
    let ann = NewPerson { external_id: Some("ann".into()), email: Some("ann@example.test".into()), ..NewPerson::default() };
    let person = people::bulk_upsert(&mut tx, &[ann], START).await.expect("person")[0];
    let product = NewProduct { stock: Some(5), ..NewProduct::new("TEA", "Tea", Money::new(500, Currency::EUR)) };
    catalog::bulk_upsert(&mut tx, &[product], START).await.expect("product");
    // Written past the checks, as an older version or another program may have left it.
    on!(&mut tx, |c| sqlx::query("UPDATE product SET url = $1 WHERE sku = 'TEA'").bind(url).execute(&mut *c).await.map(|_| ()))
        .expect("url");
    let product = catalog::by_sku_in(&mut tx, &["TEA"]).await.expect("ids")["TEA"];
    let new = NewTouch { product_ids: vec![product], ..NewTouch::planned(CampaignId(1), person, TouchChannel::Email, START, START) };
    touches::plan_many(&mut tx, std::slice::from_ref(&new), START).await.expect("planned");
    tx.commit().await.expect("commit");
    Sent { touch: new.id, product }
}

both_engines!(a_click_leads_to_the_shop_and_nowhere_else, |shop| {
    let server = TestServer::start(&shop).await;
    let platform = server.services.platform.clone();
    let home = platform.config.shop.url.clone();
    for url in [
        "javascript:alert(document.cookie)",
        "data:text/html,<script>x</script>",
        "//evil.example/",
        "https://shop.example@evil.example/",
        "\\\\evil.example",
        "/relative",
    ] {
        let sent = sent(&platform, url).await;
        let token = links::token(&platform.signer, Link { kind: LinkKind::Click, touch: sent.touch, slot: 0 });
        for query in ["", "?url=https://evil.example", "?u=//evil.example&redirect=https://evil.example&next=https://evil.example"] {
            let answer =
                server.client.get(server.at(&format!("/c/{token}{query}"))).header("Host", "evil.example").send().await.expect("answer");
            assert_eq!(answer.status(), 302);
            let target = answer.headers()["location"].to_str().expect("text").to_owned();
            assert!(target.starts_with(home.trim_end_matches('/')) && !target.contains("evil"), "{url}{query} leads to {target}");
        }
    }
    let refused = caller(&server)
        .await
        .post(
            "/v1/products",
            json!({"products": [{"sku": "B", "title": "B", "url": "javascript:alert(1)", "price": {"minor": 1, "currency": "EUR"}}]}),
        )
        .await;
    let stored = catalog::get_by_sku(&platform.db, "B").await.expect("read");
    assert!(refused.0 >= 400 || stored.is_some_and(|p| p.url.is_none()), "{refused:?}");
});

both_engines!(no_token_can_be_made_up, |shop| {
    let server = TestServer::start(&shop).await;
    let platform = server.services.platform.clone();
    let sent = sent(&platform, "https://shop.example.test/tea").await;
    let foreign = Signer::new(&[9; 32]);
    let ticket = Ticket {
        touch: TouchId::new(START),
        campaign: CampaignId(1),
        variant: VariantId(1),
        product: sent.product,
        creative: CreativeId(1),
        placement: PlacementId(1),
        item: 0,
        person: None,
        propensity: 0.5,
        item_chance: 0.0,
        click_micro: 0,
        bid: false,
    };
    let before = rows(&platform.db).await;
    let mut tokens: Vec<(String, String)> = Vec::new();
    for kind in LinkKind::ALL {
        let link = Link { kind, touch: sent.touch, slot: 0 };
        let own = links::token(&platform.signer, link);
        tokens.push((format!("/{}/", kind.path()), own));
        let stolen = links::token(&foreign, link);
        assert_eq!(
            server.client.get(server.at(&format!("/{}/{stolen}", kind.path()))).send().await.expect("answer").status(),
            404,
            "{kind:?}"
        );
    }
    for path in ["/a/c/", "/a/v/"] {
        tokens.push((path.to_owned(), ticket.sign(&platform.signer)));
        let stolen = ticket.sign(&foreign);
        assert_eq!(server.client.get(server.at(&format!("{path}{stolen}"))).send().await.expect("answer").status(), 404, "{path}");
    }
    for (n, (path, token)) in tokens.iter().enumerate() {
        let mut wrong: Vec<String> = [1, token.len() / 2, token.len() - 1].iter().map(|cut| token[..*cut].to_owned()).collect();
        wrong.push(format!("{token}A"));
        for at in [0, 5, token.len() / 2, token.len() - 4] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            wrong.push(String::from_utf8(bytes).expect("ascii"));
        }
        // A token of one kind opens no other kind; a banner's one token serves its click and its view.
        wrong.extend(tokens.iter().enumerate().filter(|(m, (_, other))| *m != n && other != token).map(|(_, (_, other))| other.clone()));
        for token in wrong {
            for method in [Method::GET, Method::POST] {
                let answer =
                    server.client.request(method.clone(), server.at(&format!("{path}{token}"))).body("List-Unsubscribe=One-Click").send();
                let status = answer.await.expect("answer").status().as_u16();
                assert!((400..500).contains(&status), "{method} {path}{token}: {status}");
            }
        }
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(rows(&platform.db).await, before, "nothing was recorded");
    // Ids in links are not to be counted up: two touches of one instant share no run of random bits, and no link holds a person.
    let ids: std::collections::HashSet<Vec<u8>> = (0..500).map(|_| TouchId::new(START).0.as_bytes()[8..].to_vec()).collect();
    assert_eq!(ids.len(), 500);
    // The real ones do work: this test can fail.
    for (path, token) in tokens.iter().filter(|(path, _)| !path.starts_with("/a/")) {
        let status = server.client.get(server.at(&format!("{path}{token}"))).send().await.expect("answer").status().as_u16();
        assert!(status == 200 || status == 302, "{path}: {status}");
    }
});

both_engines!(reading_changes_no_consent_and_nothing_sets_a_cookie, |shop| {
    let server = TestServer::start(&shop).await;
    let platform = server.services.platform.clone();
    let sent = sent(&platform, "https://shop.example.test/tea").await;
    let api = caller(&server).await;
    api.post("/v1/people", json!({"external_id": "ann", "email_consent": "subscribed", "ads_consent": "subscribed"})).await;
    let consent = async || {
        let ann = people::find(&platform.db, &Identity::External("ann".into())).await.expect("read").expect("ann");
        (ann.email_consent, ann.ads_consent)
    };
    for kind in [LinkKind::Unsubscribe, LinkKind::Preferences] {
        let token = links::token(&platform.signer, Link { kind, touch: sent.touch, slot: 0 });
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE] {
            let url = server.at(&format!("/{}/{token}?List-Unsubscribe=One-Click&email=off", kind.path()));
            let answer = server
                .client
                .request(method.clone(), url)
                .header("Origin", "https://evil.example")
                .body("List-Unsubscribe=One-Click")
                .send();
            let answer = answer.await.expect("answer");
            assert!(answer.headers().get("set-cookie").is_none(), "{method} {kind:?}");
            assert_ne!(answer.headers().get("access-control-allow-origin").map(|v| v.as_bytes()), Some(&b"https://evil.example"[..]));
        }
    }
    assert_eq!(consent().await, (people::Consent::Subscribed, people::Consent::Subscribed));
    // The POST does act.
    let token = links::token(&platform.signer, Link { kind: LinkKind::Unsubscribe, touch: sent.touch, slot: 0 });
    let answer = server.client.post(server.at(&format!("/u/{token}"))).body("List-Unsubscribe=One-Click").send().await.expect("answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(consent().await.0, people::Consent::Unsubscribed);

    // No cookie, so no request of another site's page carries anything; and pages of other sites may not read what needs a key.
    let answer = server
        .client
        .get(server.at("/v1/people"))
        .bearer_auth(&api.key)
        .header("Origin", "https://evil.example")
        .send()
        .await
        .expect("answer");
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().get("set-cookie").is_none() && answer.headers().get("access-control-allow-origin").is_none());
    assert_eq!(
        server.client.get(server.at(&format!("/v1/people?key={0}&api_key={0}", api.key))).send().await.expect("answer").status(),
        401
    );
});

both_engines!(no_path_leads_out_of_its_folder, |shop| {
    let server = TestServer::start(&shop).await;
    let api = caller(&server).await;
    for path in [
        "/assets/../../../../etc/passwd",
        "/assets/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/assets/%2e%2e/%2e%2e/etc/passwd",
        "/assets/....//....//etc/passwd",
        "/assets//etc/passwd",
        "/assets/C:%5cWindows%5cwin.ini",
        "/docs/..%2f..%2f..%2fetc%2fpasswd",
        "/docs/%2e%2e/%2e%2e/Cargo.toml",
        "/v1/products/..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
    ] {
        // By hand: a client would tidy the path up first.
        let address = server.url.trim_start_matches("http://").to_owned();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n", api.key);
        let answer = tokio::task::spawn_blocking(move || {
            use std::io::{Read as _, Write as _};
            let mut stream = std::net::TcpStream::connect(address).expect("connects");
            stream.write_all(request.as_bytes()).expect("writes");
            let mut text = Vec::new();
            stream.read_to_end(&mut text).expect("reads");
            String::from_utf8_lossy(&text).into_owned()
        })
        .await
        .expect("asks");
        let status: u16 = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        assert!((300..500).contains(&status), "{path}: {answer}");
        assert!(!answer.contains("root:") && !answer.contains("[package]") && !answer.contains("[fonts]"), "{path}: {answer}");
    }
});

/// A mail about a product with these words.
fn context(evil: &str) -> email::MailContext {
    let view = || email::ProductView {
        title: evil.to_owned(),
        price: evil.to_owned(),
        was: Some(evil.to_owned()),
        image_url: Some("https://shop.example/x.png".into()),
        url: "https://m.example/c/1".into(),
    };
    email::MailContext {
        copy: Copy { subject: evil.into(), preheader: evil.into(), headline: evil.into(), body: evil.into(), cta: evil.into() },
        product: view(),
        more: vec![view(), view()],
        links: email::MailLinks {
            open: "https://m.example/o/1".into(),
            unsubscribe: "https://m.example/u/1".into(),
            preferences: "https://m.example/p/1".into(),
        },
        locale: Locale::En,
    }
}

#[test]
fn words_of_others_are_words_in_a_mail() {
    for evil in EVIL {
        let brand = BrandKit { name: (*evil).to_owned(), postal_address: (*evil).to_owned(), ..BrandKit::default() };
        let templates = email::EmailTemplates::new(brand);
        for kind in email::EmailKind::ALL {
            let mail = templates.render(kind, &context(evil)).expect("renders");
            let honest = email::EmailTemplates::new(BrandKit { name: "Shop".into(), ..BrandKit::default() })
                .render(kind, &context("words"))
                .expect("renders");
            for tag in ["<script", "<svg", "<img src=x"] {
                assert_eq!(mail.html.matches(tag).count(), honest.html.matches(tag).count(), "{evil}: {tag}");
            }
            assert!(!mail.html.contains("49") || honest.html.contains("49"), "{evil} was computed");
            if evil.contains("{{") {
                assert!(mail.html.contains("{{ 7*7 }}") && mail.text.contains("{{ 7*7 }}"), "shown as it is: {}", mail.text);
            }
            assert!(!mail.subject.contains(['\r', '\n']), "{:?}", mail.subject);
        }
    }
}

/// A listener that counts who knocks.
async fn trap() -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let address = listener.local_addr().expect("address");
    let knocks = Arc::new(AtomicUsize::new(0));
    let count = knocks.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (format!("http://{address}"), knocks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_inside_is_asked_on_somebodys_behalf() {
    let (inside, knocks) = trap().await;
    // A template's style sheets, imports, pictures and fonts.
    let mjml = format!(
        "<mjml><mj-head><mj-font name=\"x\" href=\"{inside}/font.css\" /><mj-style>@import url({inside}/a.css);</mj-style></mj-head><mj-body>\
         <mj-raw><link rel=\"stylesheet\" href=\"{inside}/b.css\"><style>@import \"{inside}/c.css\";</style></mj-raw>\
         <mj-section><mj-column><mj-image src=\"{inside}/d.png\" /><mj-text><img src=\"{inside}/e.png\"></mj-text></mj-column></mj-section></mj-body></mjml>"
    );
    let compiled =
        tokio::task::spawn_blocking(move || email::EmailTemplate::compile(&mjml, "x", &BrandKit::default()).is_ok()).await.expect("runs");
    assert!(compiled, "it is compiled, or this shows nothing");
    // A generator that sends its caller elsewhere.
    let target = inside.clone();
    let redirecting = actix_web::HttpServer::new(move || {
        let target = target.clone();
        actix_web::App::new().default_service(actix_web::web::to(move || {
            let target = target.clone();
            async move { actix_web::HttpResponse::TemporaryRedirect().insert_header(("location", target)).finish() }
        }))
    })
    .workers(1)
    .bind("127.0.0.1:0")
    .expect("binds");
    let url = format!("http://{}/v1", redirecting.addrs()[0]);
    let server = redirecting.disable_signals().run();
    let handle = server.handle();
    tokio::spawn(server);
    let config = GeneratorConfig { backend: GeneratorBackend::OpenAi, url, model: "m".into(), ..GeneratorConfig::default() };
    let backend = OpenAi::new(&config).expect("made").with_first_wait(Duration::from_millis(1));
    assert!(backend.generate(Prompt { system: "s".into(), user: "u".into(), ..Prompt::default() }).await.is_err());
    handle.stop(false).await;
    for url in ["file:///etc/passwd", "gopher://127.0.0.1:70/x", "unix:/var/run/docker.sock", "nothing"] {
        assert!(OpenAi::new(&GeneratorConfig { url: url.into(), ..config.clone() }).is_err(), "{url}");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(knocks.load(Ordering::SeqCst), 0);
    let address = inside.trim_start_matches("http://").to_owned();
    drop(tokio::net::TcpStream::connect(address).await.expect("connects"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(knocks.load(Ordering::SeqCst), 1, "the trap does count");
}

both_engines!(a_page_cannot_make_up_sales, |shop| {
    let (db, platform) = (&shop.platform.db, &shop.platform);
    let server = TestServer::start(&shop).await;
    let api = caller(&server).await;
    let page = Caller { key: server.key(&[Scope::Ingest]).await, server: &server };
    let product = |sku: &str| json!({"sku": sku, "title": format!("Tray {sku}"), "price": {"minor": 1000, "currency": "EUR"}, "stock": 9});
    api.post("/v1/products", json!({"products": [product("REAL"), product("FAKE")]})).await;
    let order = |id: String, sku: &str| json!({"event": "Order Completed", "properties": {"order_id": id, "total": 10, "currency": "EUR", "products": [{"sku": sku, "price": 10, "quantity": 1}]}});
    let from = |mut body: Value, key: &str, who: String| {
        body[key] = json!(who);
        body
    };
    for n in 0..2 {
        assert_eq!(api.post("/v1/track", from(order(format!("r{n}"), "REAL"), "userId", format!("c{n}"))).await.0, 200);
    }
    for n in 0..9 {
        assert_eq!(page.post("/v1/track", from(order(format!("f{n}"), "FAKE"), "anonymousId", format!("a{n}"))).await.0, 200);
    }
    api.post("/v1/people", json!({"external_id": "new"})).await;
    let new = people::find(db, &Identity::External("new".into())).await.expect("read").expect("there").id;
    let best = async || {
        let picks = recommend::choose(platform, &ChoiceRules::default(), &[new], START.plus_days(1)).await.expect("chooses");
        let first = picks[&new].first().expect("a pick").product_id;
        catalog::get(db, first).await.expect("read").expect("there").sku
    };
    let figures = async || {
        let totals = orders::totals(db, Timestamp::MIN, START.plus_days(1)).await.expect("totals");
        let (_, report) = api.get("/v1/reports/attribution?model=last&from=2026-01-01&to=2026-02-01&by=campaign").await;
        (totals[0].orders, report["totals"][0]["orders"].as_i64().unwrap_or(-1))
    };
    assert_eq!(best().await, "REAL", "nine claims teach nothing");
    assert_eq!(figures().await, (2, 2));
    assert_eq!(rows(db).await["shop_order"], 11, "kept, and shown as claims");
    // The server confirms them: now they count.
    for n in 0..9 {
        assert_eq!(api.post("/v1/track", from(order(format!("f{n}"), "FAKE"), "userId", format!("b{n}"))).await.0, 200);
    }
    assert_eq!(best().await, "FAKE");
    assert_eq!(figures().await, (11, 11));
});

both_engines!(a_report_opened_as_a_sheet_runs_nothing, |shop| {
    let server = TestServer::start(&shop).await;
    let api = caller(&server).await;
    let platform = &shop.platform;
    let sent = sent(platform, "https://shop.example.test/tea").await;
    let (_, segment) = api.post("/v1/segments", json!({"key": "all", "name": "All", "rule": {"type": "everyone"}})).await;
    let evil = "=cmd|'/C calc'!A0";
    let plan = json!({"channel": "email", "segment": segment["id"], "schedule": {"kind": "once", "at": "2026-02-01T09:00:00Z"}});
    let (status, made) = api.post("/v1/campaigns", json!({"name": evil, "plan": plan})).await;
    assert_eq!((status, made["id"].as_str()), (201, Some("cmp_1")), "the touch is this campaign's: {made}");
    let click = "INSERT INTO touch_signal (id, touch_id, kind, actor, at) VALUES ($1, $2, 'click', 'human', $3)";
    let mut tx = platform.db.begin().await.expect("begin");
    let id = uuid::Uuid::from_u128(1);
    on!(&mut tx, |c| sqlx::query(click).bind(id).bind(sent.touch).bind(START).execute(&mut *c).await.map(|_| ())).expect("a click");
    let went = "UPDATE touch SET click_at = $1, sent_at = $1, contact_at = $1, state = 'sent'";
    on!(&mut tx, |c| sqlx::query(went).bind(START).execute(&mut *c).await.map(|_| ())).expect("sent");
    tx.commit().await.expect("commit");
    let order = json!({"userId": "ann", "event": "Order Completed", "timestamp": START.plus_secs(60).to_string(), "properties": {"order_id": "1", "total": 12}});
    assert_eq!(api.post("/v1/track", order).await.0, 200);
    marquee::attribution::rebuild(platform).await.expect("credit");
    let path = "/v1/reports/attribution?model=last&from=2026-01-01&to=2026-02-01&by=campaign&format=csv";
    let csv = server.client.get(server.at(path)).bearer_auth(&api.key).send().await.expect("answer").text().await.expect("text");
    assert!(csv.contains(evil), "the campaign is in it: {csv}");
    for cell in csv.lines().flat_map(|l| l.split(',')) {
        assert!(!cell.trim_start_matches('"').starts_with(['=', '@', '+', '\t']), "{cell}");
    }
});

both_engines!(a_revoked_key_stops_and_a_draft_has_no_address, |shop| {
    let server = TestServer::start(&shop).await;
    let api = caller(&server).await;
    let made = server.services.keys.create("short", &[Scope::Manage], START).await.expect("key");
    let short = Caller { key: made.key.clone(), server: &server };
    assert_eq!(short.get("/v1/people").await.0, 200);
    let prefix = made.key.get(..12).unwrap_or(&made.key).to_owned();
    assert_eq!(Caller { key: prefix, server: &server }.get("/v1/people").await.0, 401, "a part of a key is none");
    // A draft campaign is served to nobody, and its banners (none is drawn before it runs) have unguessable names: a hash of their bytes.
    let (_, segment) = api.post("/v1/segments", json!({"key": "all", "name": "All", "rule": {"type": "everyone"}})).await;
    api.post("/v1/placements", json!({"key": "home", "name": "Home", "width": 300, "height": 250})).await;
    let plan = json!({"channel": "banner", "segment": segment["id"], "schedule": {"kind": "once", "at": "2026-02-01T09:00:00Z"}, "placements": ["home"]});
    let (status, draft) = api.post("/v1/campaigns", json!({"name": "=Draft", "plan": plan})).await;
    assert_eq!(status, 201, "{draft}");
    server.services.ads.refresh(true).await.expect("refresh");
    let (status, answer) = api.get("/v1/creatives?placement=home").await;
    assert!(status == 404 || answer["creatives"][0]["filled"] == json!(false) || answer["filled"] == json!(false), "{status} {answer}");
    let bare = server.client.get(server.at(&format!("/v1/campaigns/{}", draft["id"].as_str().expect("id")))).send().await.expect("answer");
    assert_eq!(bare.status(), 401);
});
