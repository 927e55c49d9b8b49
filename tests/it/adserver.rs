//! Serving on both engines: from a running banner campaign to the picture, the click and the figures.

use std::time::Duration;

use marquee::account::Scope;
use marquee::platform::queue::{Runner, RunnerOptions};
use marquee::{app, read};
use serde_json::{Value, json};

use crate::both_engines;
use crate::support::server::TestServer;
use crate::support::{START, TestShop};

/// A shop with three products, two people (one without consent to personal ads) and a running banner campaign.
pub async fn running_campaign(shop: &TestShop, server: &TestServer, holdout_bp: i64) -> (String, String) {
    let manage = server.key(&[Scope::Manage]).await;
    let serve = server.key(&[Scope::Serve]).await;
    let post = async |path: &str, body: Value| {
        let answer = server.client.post(server.at(path)).bearer_auth(&manage).json(&body).send().await.expect("answer");
        let status = answer.status();
        let text = answer.text().await.expect("text");
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str::<Value>(&text).unwrap_or(Value::Null)
    };
    let products: Vec<Value> = (1..=3)
        .map(|n| {
            json!({ "sku": format!("S{n}"), "title": format!("Walnut tray {n}"), "description": "A tray.", "category_path": "Home > Trays",
                    "price": { "minor": 1250, "currency": "EUR" }, "stock": 5, "url": format!("https://shop.example.com/p/{n}") })
        })
        .collect();
    post("/v1/products", json!({ "products": products })).await;
    for n in 1..=2 {
        post("/v1/people", json!({ "external_id": format!("u{n}"), "email": format!("u{n}@example.test"), "email_consent": "subscribed" }))
            .await;
    }
    post("/v1/placements", json!({ "key": "home", "name": "Home", "width": 300, "height": 250 })).await;
    let segment = post("/v1/segments", json!({ "key": "all", "name": "All", "rule": { "type": "everyone" } })).await;
    let plan = json!({ "channel": "banner", "segment": segment["id"], "schedule": { "kind": "once", "at": START.plus_secs(60) },
                       "placements": ["home"], "holdout_bp": holdout_bp, "caps": { "per_day": 3, "per_week": 0 } });
    let campaign = post("/v1/campaigns", json!({ "name": "Trays", "plan": plan })).await;
    let id = campaign["id"].as_str().expect("id").to_owned();
    post(&format!("/v1/campaigns/{id}/schedule"), json!({})).await;
    shop.platform.clock.advance_to(START.plus_secs(1_000));
    let options = RunnerOptions { tick: Duration::from_millis(20), poll: Duration::from_millis(20), ..RunnerOptions::default() };
    let runner = Runner::start(shop.platform.clone(), app::jobs(), options).await.expect("runner");
    runner.run_until_idle().await.expect("idle");
    shop.platform.clock.advance_to(START.plus_secs(2_000));
    runner.run_until_idle().await.expect("idle");
    runner.stop(Duration::from_secs(5)).await;
    assert!(server.services.ads.refresh(true).await.expect("refresh") || server.services.ads.size().1 == 1);
    (serve, id)
}

pub async fn ask(server: &TestServer, key: &str, query: &str) -> Value {
    let answer = server.client.get(server.at(&format!("/v1/creatives?{query}"))).bearer_auth(key).send().await.expect("answer");
    assert_eq!(answer.status(), 200);
    answer.json().await.expect("JSON")
}

pub fn local(server: &TestServer, url: &Value) -> String {
    let url = url.as_str().expect("a URL");
    server.at(&url[url.find("/a").expect("a path")..])
}

both_engines!(a_banner_is_served_seen_and_clicked_once, |shop| {
    let server = TestServer::start(&shop).await;
    let (key, _) = running_campaign(&shop, &server, 0).await;
    let shown = ask(&server, &key, "placement=home&person=u1").await;
    assert_eq!(shown["filled"], true, "{shown}");
    let picture = server.client.get(local(&server, &shown["image_url"])).send().await.expect("picture");
    assert_eq!(picture.headers()["content-type"], "image/png");
    let bytes = picture.bytes().await.expect("bytes");
    let decoded = image::load_from_memory(&bytes).expect("a PNG");
    assert_eq!((decoded.width(), decoded.height()), (300, 250));
    // Eight identical calls at once count once, also before the impression was written.
    for url in ["click_url", "viewable_url"] {
        let target = local(&server, &shown[url]);
        let browser = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
        let calls = (0..8).map(|_| server.client.get(&target).header("user-agent", browser).send());
        for answer in futures::future::join_all(calls).await {
            let answer = answer.expect("answer");
            if url == "click_url" {
                assert_eq!(answer.status(), 302);
                let to = answer.headers()["location"].to_str().expect("text");
                assert!(to.starts_with("https://shop.example.com/p/") && to.contains("utm_medium=banner"), "{to}");
            } else {
                assert_eq!(answer.status(), 200);
            }
        }
    }
    server.services.ads.flush().await;
    let count = "SELECT COUNT(*) FROM touch_signal WHERE actor = 'human'";
    let signals = read!(shop.platform.db, |c| sqlx::query_scalar::<_, i64>(count).fetch_one(c).await).expect("count");
    assert_eq!(signals, 2, "one click and one view");
    let count =
        "SELECT COUNT(*) FROM touch WHERE channel = 'banner' AND state = 'served' AND click_at IS NOT NULL AND viewable_at IS NOT NULL";
    assert_eq!(read!(shop.platform.db, |c| sqlx::query_scalar::<_, i64>(count).fetch_one(c).await).expect("count"), 1);
});

both_engines!(a_placement_can_be_asked_for_as_soon_as_it_is_made, |shop| {
    let server = TestServer::start(&shop).await;
    let (manage, serve) = (server.key(&[Scope::Manage]).await, server.key(&[Scope::Serve]).await);
    let place = json!({ "key": "new", "name": "New", "width": 300, "height": 250 });
    let made = server.client.post(server.at("/v1/placements")).bearer_auth(&manage).json(&place).send().await.expect("answer");
    assert_eq!(made.status(), 200);
    assert_eq!(ask(&server, &serve, "placement=new").await["reason"], "no_campaign");
});

both_engines!(caps_hold_and_strangers_are_served_too, |shop| {
    let server = TestServer::start(&shop).await;
    let (key, _) = running_campaign(&shop, &server, 0).await;
    let answers = futures::future::join_all((0..12).map(|_| ask(&server, &key, "placement=home&person=u1"))).await;
    assert_eq!(answers.iter().filter(|a| a["filled"] == true).count(), 3, "three a day, also for parallel requests");
    assert_eq!(answers.iter().filter(|a| a["reason"] == "capped").count(), 9);
    assert_eq!(ask(&server, &key, "placement=home&anonymous_id=b1").await["filled"], true);
    let nobody = ask(&server, &key, "placement=home").await;
    assert_eq!((&nobody["filled"], &nobody["personal"]), (&json!(true), &json!(false)));
    server.services.ads.flush().await;
    // A restarted replica knows what was shown today.
    let twin = TestServer::start(&shop).await;
    assert_eq!(ask(&twin, &key, "placement=home&person=u1").await["reason"], "capped");
});

both_engines!(the_held_out_leave_ghosts_and_bad_requests_are_named, |shop| {
    let server = TestServer::start(&shop).await;
    let (key, campaign) = running_campaign(&shop, &server, 9_999).await;
    assert_eq!(ask(&server, &key, "placement=home&person=u1").await["reason"], "held_out");
    server.services.ads.flush().await;
    let count = "SELECT COUNT(*) FROM touch WHERE arm = 'ghost' AND state = 'held' AND channel = 'banner'";
    assert_eq!(read!(shop.platform.db, |c| sqlx::query_scalar::<_, i64>(count).fetch_one(c).await).expect("count"), 1, "{campaign}");
    for (query, status) in [
        ("placement=nowhere", 404),
        ("person=u1", 400),
        ("placement=home&person=u1&anonymous_id=b", 422),
        ("placement=home&person=", 422),
        ("placement=home&surprise=1", 400),
    ] {
        let answer = server.client.get(server.at(&format!("/v1/creatives?{query}"))).bearer_auth(&key).send().await.expect("answer");
        assert_eq!(answer.status().as_u16(), status, "{query}");
    }
    for path in ["/a/c/forged", "/a/v/AAAA", "/a/c/"] {
        let answer = server.client.get(server.at(path)).send().await.expect("answer");
        assert_eq!(answer.status().as_u16(), 404, "{path}");
        assert!(!answer.headers().contains_key("location"));
    }
});

/// Figures of one line of `ad_total` for a line item.
async fn totals(shop: &TestShop, item: i64) -> (i64, i64, i64, i64) {
    const SUMS: &str = "SELECT CAST(COALESCE(SUM(shown), 0) AS BIGINT), CAST(COALESCE(SUM(viewable), 0) AS BIGINT),
         CAST(COALESCE(SUM(clicks), 0) AS BIGINT), CAST(COALESCE(SUM(cost_micro), 0) AS BIGINT) FROM ad_total WHERE line_item_id = $1";
    read!(shop.platform.db, |c| sqlx::query_as(SUMS).bind(item).fetch_one(c).await).expect("sums")
}

const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

both_engines!(every_impression_is_written_with_its_chance_and_counted_once, |shop| {
    let server = TestServer::start(&shop).await;
    let (key, _) = running_campaign(&shop, &server, 0).await;
    let mut urls = Vec::new();
    for n in 0..12 {
        let shown = ask(&server, &key, &format!("placement=home&anonymous_id=b{n}")).await;
        assert_eq!(shown["filled"], true, "{shown}");
        urls.push((local(&server, &shown["click_url"]), local(&server, &shown["viewable_url"])));
    }
    server.services.ads.flush().await;
    const LOGGED: &str = "SELECT i.propensity FROM impression i JOIN touch t ON t.id = i.touch_id WHERE t.state = 'served'";
    let chances = read!(shop.platform.db, |c| sqlx::query_scalar::<_, f64>(LOGGED).fetch_all(c).await).expect("read");
    assert_eq!(chances.len(), 12);
    assert!(chances.iter().all(|p| *p > 0.0 && *p <= 1.0), "{chances:?}");
    assert!(chances.iter().any(|p| *p < 0.9), "three products compete: {chances:?}");
    const LOTS: &str = "SELECT item_chance FROM v_ad_impression";
    let lots = read!(shop.platform.db, |c| sqlx::query_scalar::<_, Option<f64>>(LOTS).fetch_all(c).await).expect("read");
    assert_eq!(lots, vec![Some(1.0); 12], "the campaign had no rival");
    for (click, view) in &urls[..2] {
        let calls = (0..8).flat_map(|_| [click, view]).map(|url| server.client.get(url).header("user-agent", BROWSER).send());
        for answer in futures::future::join_all(calls).await {
            assert!(answer.expect("answer").status().as_u16() < 400);
        }
        // A crawler's click is no click.
        server.client.get(click).header("user-agent", "curl/8.5.0").send().await.expect("answer");
    }
    assert_eq!(totals(&shop, 0).await, (12, 2, 2, 0), "shown, seen, clicked; free of charge");
    const ARMS: &str = "SELECT CAST(SUM(shown) AS BIGINT), CAST(SUM(clicks) AS BIGINT) FROM ad_arm";
    let arms: (i64, i64) = read!(shop.platform.db, |c| sqlx::query_as(ARMS).fetch_one(c).await).expect("arms");
    assert_eq!(arms, (12, 2));
    const VIEW: &str = "SELECT COUNT(*), CAST(SUM(clicked) AS BIGINT), CAST(SUM(viewable) AS BIGINT) FROM v_ad_impression";
    let seen: (i64, i64, i64) = read!(shop.platform.db, |c| sqlx::query_as(VIEW).fetch_one(c).await).expect("view");
    assert_eq!(seen, (12, 2, 2), "what analysts read");
    const REQUESTS: &str = "SELECT outcome, CAST(SUM(requests) AS BIGINT) FROM ad_request GROUP BY outcome";
    let requests: Vec<(String, i64)> = read!(shop.platform.db, |c| sqlx::query_as(REQUESTS).fetch_all(c).await).expect("requests");
    assert_eq!(requests, [("filled".to_owned(), 12)]);
});

async fn line_item(server: &TestServer, manage: &str, body: Value) -> (u16, Value) {
    let answer = server.client.post(server.at("/v1/line-items")).bearer_auth(manage).json(&body).send().await.expect("answer");
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.expect("text")).unwrap_or(Value::Null))
}

both_engines!(line_items_hold_their_budget_and_serve_in_the_campaigns_place, |shop| {
    let server = TestServer::start(&shop).await;
    let (key, campaign) = running_campaign(&shop, &server, 0).await;
    let manage = server.key(&[Scope::Manage]).await;
    let item = json!({ "campaign": campaign, "placement": "home", "name": "Five <b>", "budget_kind": "impressions", "budget": 5, "pacing": "fast",
                       "price_kind": "cpm", "price_minor": 250, "targeting": { "keywords": ["Trays"], "devices": ["mobile"] } });
    let (status, made) = line_item(&server, &manage, item.clone()).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(
        ask(&server, &key, "placement=home&anonymous_id=a").await["reason"],
        "not_targeted",
        "the campaign serves by its line items alone"
    );
    let on_target = |n: usize| format!("placement=home&anonymous_id=b{n}&keywords=home,trays&device=mobile");
    let queries: Vec<String> = (0..12).map(on_target).collect();
    let answers = futures::future::join_all(queries.iter().map(|q| ask(&server, &key, q))).await;
    assert_eq!(
        answers.iter().filter(|a| a["filled"] == true && a["line_item_id"] == made["id"]).count(),
        5,
        "five, also for parallel requests"
    );
    assert_eq!(answers.iter().filter(|a| a["reason"] == "budget_spent").count(), 7);
    server.services.ads.flush().await;
    assert_eq!(totals(&shop, 1).await, (5, 0, 0, 5 * 250_000), "€2.50 a thousand");
    // A replica that starts now knows what is spent.
    let twin = TestServer::start(&shop).await;
    assert_eq!(ask(&twin, &key, &on_target(77)).await["reason"], "budget_spent");
    // Paused: nothing; archived: the campaign serves by itself again.
    let id = made["id"].as_str().expect("id");
    for (word, reason) in [("paused", json!("no_campaign")), ("archived", Value::Null)] {
        let answer =
            server.client.put(server.at(&format!("/v1/line-items/{id}/status"))).bearer_auth(&manage).json(&json!({ "status": word }));
        assert_eq!(answer.send().await.expect("answer").status(), 200);
        assert_eq!(ask(&server, &key, "placement=home&anonymous_id=c").await["reason"], reason, "{word}");
    }
    for (field, wrong) in [
        ("budget", json!({ "budget": 0 })),
        ("placement", json!({ "placement": "nowhere" })),
        ("campaign", json!({ "campaign": "cmp_99" })),
        ("countries", json!({ "targeting": { "countries": ["Germany"] } })),
        ("ends_at", json!({ "pacing": "even" })),
    ] {
        let mut body = item.clone();
        body.as_object_mut().expect("object").extend(wrong.as_object().expect("object").clone());
        let (status, answer) = line_item(&server, &manage, body).await;
        assert_eq!((status, &answer["field"]), (422, &json!(field)), "{answer}");
    }
});

async fn decide(server: &TestServer, key: Option<&str>, body: &Value) -> (u16, Value) {
    let mut request = server.client.post(server.at("/v1/decisions")).header("content-type", "text/plain").body(body.to_string());
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    let answer = request.send().await.expect("answer");
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.expect("text")).unwrap_or(Value::Null))
}

both_engines!(a_page_is_decided_as_a_whole_and_only_a_token_names_a_person_in_it, |shop| {
    let server = TestServer::start(&shop).await;
    let (key, _) = running_campaign(&shop, &server, 0).await;
    let two = json!(["home", "home"]);
    let (status, page) = decide(&server, Some(&key), &json!({ "placements": two, "person": "u1" })).await;
    assert_eq!(status, 200, "{page}");
    let products: Vec<&Value> = page["decisions"].as_array().expect("list").iter().map(|d| &d["product_id"]).collect();
    assert!(products.len() == 2 && products[0] != products[1] && products.iter().all(|p| p.is_string()), "{page}");
    // A page has no key: it may not name a person, but its server may give it a token.
    assert_eq!(decide(&server, None, &json!({ "placements": two, "person": "u1" })).await.0, 403);
    let mint = async |body: Value| {
        let answer = server.client.post(server.at("/v1/person-tokens")).bearer_auth(&key).json(&body).send().await.expect("answer");
        (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"))
    };
    assert_eq!(mint(json!({ "person": "nobody" })).await.0, 404);
    assert_eq!(mint(json!({ "person": "u1", "ttl_s": 1 })).await.0, 422);
    let (status, minted) = mint(json!({ "person": "u1", "ttl_s": 60 })).await;
    assert_eq!(status, 200, "{minted}");
    let token = minted["token"].as_str().expect("token");
    let one = json!({ "placements": ["home"], "person_token": token });
    let reason = async |body: &Value| decide(&server, None, body).await.1["decisions"][0]["reason"].clone();
    assert_eq!(reason(&one).await, Value::Null, "the third of three");
    assert_eq!(reason(&one).await, "capped", "the token names the person");
    let mut opted_out = one.clone();
    opted_out["gpc"] = json!(true);
    assert_eq!(reason(&opted_out).await, Value::Null, "Global Privacy Control: nobody in particular");
    let with_header =
        server.client.post(server.at("/v1/decisions")).header("sec-gpc", "1").body(one.to_string()).send().await.expect("answer");
    assert_eq!(with_header.headers()["access-control-allow-origin"], "*");
    assert_eq!(with_header.json::<Value>().await.expect("JSON")["decisions"][0]["filled"], true);
    let mut forged = one.clone();
    let last = if token.ends_with('A') { 'B' } else { 'A' };
    forged["person_token"] = json!(format!("{}{last}", &token[..token.len() - 1]));
    assert_eq!(reason(&forged).await, Value::Null);
    // What the page shows already is not shown again.
    let on_it = decide(&server, None, &json!({ "placements": ["home"] })).await.1["decisions"][0]["product_id"].clone();
    for _ in 0..8 {
        let next = decide(&server, None, &json!({ "placements": ["home"], "exclude": [on_it] })).await.1;
        assert_ne!(next["decisions"][0]["product_id"], on_it);
    }
    shop.platform.clock.advance_to(shop.platform.now().plus_secs(61));
    assert_eq!(reason(&one).await, Value::Null, "it is over");
    for (body, status) in [
        (json!({ "placements": [] }), 422),
        (json!({ "placements": ["nowhere"] }), 404),
        (json!({ "placements": ["home"], "anonymous_id": "a", "person_token": token }), 422),
        (json!({ "placements": ["home"], "surprise": 1 }), 400),
        (json!({ "placements": vec!["home"; 17] }), 422),
        (json!({ "placements": ["home"], "anonymous_id": "x".repeat(17_000) }), 413),
        (json!({ "placements": ["home"], "context": { "country": "Germany" } }), 422),
    ] {
        let (got, answer) = decide(&server, None, &body).await;
        assert_eq!((got, &answer["status"]), (status, &json!(status)), "{answer}");
    }
    let missing = server.client.get(server.at("/v1/decisions")).send().await.expect("answer");
    assert_eq!(missing.status(), 405);
    assert_eq!(missing.headers()["content-type"], "application/problem+json");
});

both_engines!(a_placement_of_one_site_serves_no_other, |shop| {
    let server = TestServer::start(&shop).await;
    let (_, _) = running_campaign(&shop, &server, 0).await;
    let manage = server.key(&[Scope::Manage]).await;
    let place = json!({ "key": "home", "name": "Home", "width": 300, "height": 250, "site": "shop.example.com" });
    assert_eq!(
        server.client.post(server.at("/v1/placements")).bearer_auth(&manage).json(&place).send().await.expect("answer").status(),
        200
    );
    for (origin, status) in [
        ("https://shop.example.com", 200),
        ("https://www.shop.example.com", 200),
        ("https://evilshop.example.com", 403),
        ("https://shop.example.com.evil.test", 403),
        ("", 403),
    ] {
        let body = json!({ "placements": ["home"] }).to_string();
        let answer = server.client.post(server.at("/v1/decisions")).header("origin", origin).body(body).send().await.expect("answer");
        assert_eq!(answer.status().as_u16(), status, "{origin}");
    }
});

both_engines!(two_replicas_share_caps_and_budgets_and_one_ghost, |shop| {
    let one = TestServer::start(&shop).await;
    let (key, campaign) = running_campaign(&shop, &one, 0).await;
    let two = TestServer::start(&shop).await;
    assert_eq!(ask(&one, &key, "placement=home&person=u1").await["filled"], true);
    assert_eq!(ask(&one, &key, "placement=home&person=u1").await["filled"], true);
    one.services.ads.flush().await;
    two.services.ads.flush().await;
    assert_eq!(ask(&two, &key, "placement=home&person=u1").await["filled"], true, "the third of three");
    assert_eq!(ask(&two, &key, "placement=home&person=u1").await["reason"], "capped");
    two.services.ads.flush().await;
    one.services.ads.flush().await;
    assert_eq!(ask(&one, &key, "placement=home&person=u1").await["reason"], "capped", "it followed the other's sequence");
    let manage = one.key(&[Scope::Manage]).await;
    let item =
        json!({ "campaign": campaign, "placement": "home", "name": "Ten", "budget_kind": "impressions", "budget": 10, "pacing": "fast" });
    assert_eq!(line_item(&one, &manage, item).await.0, 200);
    two.services.ads.refresh(true).await.expect("refresh");
    let mut filled = 0;
    for n in 0..30 {
        let server = if n % 2 == 0 { &one } else { &two };
        filled += i32::from(ask(server, &key, &format!("placement=home&anonymous_id=x{n}")).await["filled"] == true);
        server.services.ads.flush().await;
        let other = if n % 2 == 0 { &two } else { &one };
        other.services.ads.flush().await;
    }
    assert_eq!(filled, 10, "what the other wrote is known before the next");
});

both_engines!(a_ghost_is_written_once_over_all_replicas, |shop| {
    let one = TestServer::start(&shop).await;
    let (key, _) = running_campaign(&shop, &one, 9_999).await;
    let two = TestServer::start(&shop).await;
    for server in [&one, &two, &one] {
        assert_eq!(ask(server, &key, "placement=home&person=u1").await["reason"], "held_out");
        server.services.ads.flush().await;
    }
    let count = "SELECT COUNT(*) FROM touch WHERE arm = 'ghost' AND state = 'held' AND channel = 'banner'";
    assert_eq!(read!(shop.platform.db, |c| sqlx::query_scalar::<_, i64>(count).fetch_one(c).await).expect("count"), 1);
});

both_engines!(who_changes_is_read_and_nobody_else, |shop| {
    let server = TestServer::start(&shop).await;
    let (key, _) = running_campaign(&shop, &server, 0).await;
    assert_eq!(server.services.ads.size().0, 2);
    let manage = server.key(&[Scope::Manage]).await;
    let person = json!({ "external_id": "u3", "email": "u3@example.test" });
    let made = server.client.post(server.at("/v1/people")).bearer_auth(&manage).json(&person).send().await.expect("answer");
    let made: Value = made.json().await.expect("JSON");
    assert!(server.services.ads.refresh(true).await.expect("refresh"));
    assert_eq!(server.services.ads.size().0, 3);
    assert!(!server.services.ads.refresh(true).await.expect("refresh"), "nothing changed since");
    for _ in 0..3 {
        assert_eq!(ask(&server, &key, "placement=home&person=u3").await["filled"], true);
    }
    assert_eq!(ask(&server, &key, "placement=home&person=u3").await["reason"], "capped", "known as themselves");
    let id = made["id"].as_str().expect("id");
    shop.platform.clock.advance_to(shop.platform.now().plus_secs(1));
    let gone = server.client.delete(server.at(&format!("/v1/people/{id}"))).bearer_auth(&manage).send().await.expect("answer");
    assert!(gone.status().is_success(), "{}", gone.status());
    server.services.ads.refresh(true).await.expect("refresh");
    assert_eq!(server.services.ads.size().0, 2);
    assert_eq!(ask(&server, &key, "placement=home&person=u3").await["filled"], true, "a name that names nobody");
});

both_engines!(a_frame_shows_the_banner_and_the_tag_is_served, |shop| {
    let server = TestServer::start(&shop).await;
    running_campaign(&shop, &server, 0).await;
    let get = async |path: &str| server.client.get(server.at(path)).header("user-agent", BROWSER).send().await.expect("answer");
    let tag = get("/ads/tag.js").await;
    assert_eq!((tag.status().as_u16(), tag.headers()["cross-origin-resource-policy"].to_str().expect("text")), (200, "cross-origin"));
    assert!(tag.headers()["content-type"].to_str().expect("text").starts_with("text/javascript"));
    assert!(tag.text().await.expect("text").contains("IntersectionObserver"));
    let frame = get("/ads/frame?placement=home&anonymous_id=a").await;
    assert_eq!(frame.status(), 200);
    let policy = frame.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.contains("script-src 'self'") && policy.contains("frame-ancestors *"), "{policy}");
    let html = frame.text().await.expect("text");
    let view = regex::Regex::new(r#"data-marquee-view="[^"]*(/a/v/[^"]+)""#).expect("pattern");
    let view = server.at(&view.captures(&html).expect("a view address")[1]);
    assert!(html.contains("<img src=") && html.contains("/a/c/"), "{html}");
    assert_eq!(server.client.post(&view).header("user-agent", BROWSER).send().await.expect("answer").status(), 200);
    server.services.ads.flush().await;
    assert_eq!(totals(&shop, 0).await.1, 1, "a beacon is a POST");
    assert_eq!(get("/ads/frame?placement=nowhere").await.status(), 404);
    // Nothing of the address gets into the page.
    let evil = get("/ads/frame?placement=home&anonymous_id=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&keywords=%3Cb%3E").await;
    let html = evil.text().await.expect("text");
    assert!(!html.contains("alert(1)") && !html.contains("<b>"), "{html}");
});

both_engines!(recommendations_for_the_shops_own_pages, |shop| {
    let server = TestServer::start(&shop).await;
    let (key, _) = running_campaign(&shop, &server, 0).await;
    let manage = server.key(&[Scope::Manage]).await;
    let evil = json!({ "products": [{ "sku": "X", "title": "Evil <img src=x onerror=alert(1)> \"lamp\"", "category_path": "Home > Lamps",
        "price": { "minor": 900, "currency": "EUR" }, "stock": 5, "url": "https://shop.example.com/x?a=1&b=2" }] });
    assert!(
        server.client.post(server.at("/v1/products")).bearer_auth(&manage).json(&evil).send().await.expect("answer").status().is_success()
    );
    shop.platform.clock.advance_to(shop.platform.now().plus_secs(1));
    server.services.ads.refresh(true).await.expect("refresh");
    let get = async |query: &str, key: Option<&str>| {
        let mut request = server.client.get(server.at(&format!("/v1/recommendations?{query}")));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        let answer = request.send().await.expect("answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    let skus = |text: &str| -> Vec<String> {
        let json: Value = serde_json::from_str(text).expect("JSON");
        json["products"].as_array().expect("list").iter().map(|p| p["sku"].as_str().expect("sku").to_owned()).collect()
    };
    let (status, all) = get("n=10&person=u1", Some(&key)).await;
    assert_eq!(status, 200, "{all}");
    let mut found = skus(&all);
    found.sort();
    assert_eq!(found, ["S1", "S2", "S3", "X"]);
    assert_eq!(skus(&get("q=TRAY+walnut&n=2&exclude=S1", None).await.1).len(), 2);
    assert_eq!(skus(&get("category=Home+%3E+Lamps", None).await.1), ["X"]);
    assert!(skus(&get("category=Home+%3E+Lam", None).await.1).is_empty());
    let (_, html) = get("q=lamp&format=html", None).await;
    assert!(html.contains("&lt;img src=x") && !html.contains("<img src=x"), "{html}");
    assert!(html.contains("utm_source=marquee") && html.contains("a=1&amp;b=2"), "{html}");
    assert_eq!(get("person=u1", None).await.0, 403, "a page may not name people");
    for (query, status) in [("n=0", 422), ("n=99", 422), ("format=xml", 422), ("surprise=1", 400)] {
        assert_eq!(get(query, None).await.0, status, "{query}");
    }
});

both_engines!(one_line_that_the_database_refuses_costs_no_other, |shop| {
    let server = TestServer::start(&shop).await;
    let (key, _) = running_campaign(&shop, &server, 0).await;
    for odd in ["%00", "a%00b", "%1b%5b31m", "%c2%85"] {
        let query = format!("/v1/creatives?placement=home&anonymous_id={odd}");
        let answer = server.client.get(server.at(&query)).bearer_auth(&key).send().await.expect("answer");
        assert_eq!(answer.status(), 422, "{odd}");
    }
    for field in ["anonymous_id", "person"] {
        let (status, answer) = decide(&server, Some(&key), &json!({ "placements": ["home"], field: "a\u{0}b" })).await;
        assert_eq!((status, &answer["field"]), (422, &json!(field)), "{answer}");
    }
    // Ids that are odd and no harm.
    for fine in ["\u{202e}niko", "😀", "ﷺ", "' OR 1=1 --", "<script>", "\u{feff}", "a/../b", "%s%n"] {
        let (status, answer) = decide(&server, None, &json!({ "placements": ["home"], "anonymous_id": fine })).await;
        assert_eq!((status, &answer["decisions"][0]["filled"]), (200, &json!(true)), "{fine}");
    }
    // Somebody whose row is gone meanwhile (as after a merge by hand): the banners of all others are written.
    server.services.ads.flush().await;
    let snapshot = server.services.ads.snapshot();
    let mut people = (*snapshot.people).clone();
    people.update(
        vec![marquee::adserver::AdPerson {
            id: marquee::platform::ids::PersonId(9_999),
            external_id: Some("ghost".into()),
            locale: "en".into(),
            personal: false,
            country: None,
            lot: 5_000,
            picks: Vec::new(),
        }],
        &[],
    );
    server.services.ads.put(marquee::adserver::Snapshot { people: people.into(), ..(*snapshot).clone() });
    let ids = ["person=ghost", "anonymous_id=n1", "anonymous_id=n2", "anonymous_id=n3", "anonymous_id=n4", "anonymous_id=n5"];
    for id in ids {
        assert_eq!(ask(&server, &key, &format!("placement=home&{id}")).await["filled"], true, "{id}");
    }
    server.services.ads.flush().await;
    const WRITTEN: &str = "SELECT COUNT(*) FROM impression i JOIN touch t ON t.id = i.touch_id WHERE t.anonymous_id LIKE 'n_'";
    assert_eq!(read!(shop.platform.db, |c| sqlx::query_scalar::<_, i64>(WRITTEN).fetch_one(c).await).expect("count"), 5);
    const OTHER: &str = "SELECT COUNT(*) FROM touch WHERE person_id = 9999";
    assert_eq!(read!(shop.platform.db, |c| sqlx::query_scalar::<_, i64>(OTHER).fetch_one(c).await).expect("count"), 0);
});

both_engines!(hot_answers_have_an_id_and_are_for_the_page_to_read, |shop| {
    let server = TestServer::start(&shop).await;
    let (key, _) = running_campaign(&shop, &server, 0).await;
    let bid = json!({ "id": "r", "imp": [{ "id": "1", "banner": { "w": 1, "h": 1 } }], "site": {} });
    for (path, body, status) in [
        ("/v1/creatives?placement=home", None, 200),
        ("/v1/creatives?placement=nowhere", None, 404),
        ("/v1/decisions", Some(json!({ "placements": ["home"] })), 200),
        ("/v1/decisions", Some(json!({ "placements": 7 })), 400),
        ("/v1/decisions", None, 405),
        ("/openrtb2/bid", Some(bid), 204),
        ("/openrtb2/bid", Some(json!([])), 400),
    ] {
        let send = |id: Option<&str>| {
            let request = match &body {
                Some(body) => server.client.post(server.at(path)).json(body),
                None => server.client.get(server.at(path)),
            };
            let request = request.bearer_auth(&key);
            id.map_or(request.try_clone().expect("a request"), |id| request.header("x-request-id", id)).send()
        };
        let id = async |given: Option<&str>| {
            let answer = send(given).await.expect("answer");
            assert_eq!(answer.status().as_u16(), status, "{path}");
            if path == "/v1/decisions" {
                let open = if status == 405 { None } else { Some("*") };
                assert_eq!(answer.headers().get("access-control-allow-origin").and_then(|v| v.to_str().ok()), open, "{status}");
            }
            answer.headers()["x-request-id"].to_str().expect("text").to_owned()
        };
        assert_eq!(id(Some("mine-7")).await, "mine-7", "{path}");
        let (one, two) = (id(None).await, id(Some("not this: <b>")).await);
        assert!(one.len() == 32 && two.len() == 32 && one != two, "{one} {two}");
    }
});

both_engines!(hostile_questions_are_answered_in_words, |shop| {
    let server = TestServer::start(&shop).await;
    let (key, _) = running_campaign(&shop, &server, 0).await;
    let raw = async |body: Vec<u8>, headers: &[(&str, &str)]| {
        let mut request = server.client.post(server.at("/v1/decisions")).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("answer");
        let (status, kind) = (answer.status().as_u16(), answer.headers()["content-type"].to_str().expect("text").to_owned());
        assert_eq!(kind, if status == 200 { "application/json" } else { "application/problem+json" }, "{status}");
        status
    };
    for (body, status) in [
        (b"".to_vec(), 400),
        (b"\xff\xfe{}".to_vec(), 400),
        (b"{\"placements\":[\"home\"]".to_vec(), 400),
        (b"{\"placements\":[\"home\"],\"placements\":[\"home\"]}".to_vec(), 400),
        (b"{\"placements\":{\"0\":\"home\"}}".to_vec(), 400),
        (b"{\"placements\":[null]}".to_vec(), 400),
        (b"{\"placements\":[\"home\"],\"exclude\":[\"prd_99999999999999999999\"]}".to_vec(), 400),
        (b"{\"placements\":[\"home\"],\"context\":{\"device\":\"toaster\"}}".to_vec(), 400),
        (b"{\"placements\":[\"home\"],\"gpc\":\"yes\"}".to_vec(), 400),
        (b"{\"placements\":[\"\\ud800\"]}".to_vec(), 400),
        ([b"{\"placements\":".to_vec(), b"[".repeat(8_000)].concat(), 400),
        (b"{\"placements\":[\"HOME\"]}".to_vec(), 404),
        (b"{\"placements\":[\"\\u0000\"]}".to_vec(), 404),
        (b"{\"placements\":[\"home\"],\"person_token\":\"\"}".to_vec(), 200),
        (format!("{{\"placements\":[\"home\"],\"person_token\":\"{}\"}}", "A".repeat(15_000)).into_bytes(), 200),
        (format!("{{\"placements\":[\"home\"],\"context\":{{\"keywords\":[\"{}\"]}}}}", "k".repeat(15_000)).into_bytes(), 200),
    ] {
        assert_eq!(raw(body.clone(), &[]).await, status, "{}", String::from_utf8_lossy(&body[..body.len().min(80)]));
    }
    // A small body that becomes a large one.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut gzip, &vec![b' '; 4 << 20]).expect("gzip");
    assert_eq!(raw(gzip.finish().expect("gzip"), &[("content-encoding", "gzip")]).await, 413);
    // A page on a port of its site is on its site.
    let manage = server.key(&[Scope::Manage]).await;
    let place = json!({ "key": "home", "name": "Home", "width": 300, "height": 250, "site": "shop.example.com" });
    server.client.post(server.at("/v1/placements")).bearer_auth(&manage).json(&place).send().await.expect("answer");
    for (origin, status) in [
        ("https://shop.example.com:8443", 200),
        ("https://shop.example.com@evil.test", 403),
        ("https://evil.test:shop.example.com", 403),
        ("https://evil.test?shop.example.com", 403),
        ("null", 403),
    ] {
        let body = b"{\"placements\":[\"home\"]}".to_vec();
        assert_eq!(raw(body, &[("origin", origin)]).await, status, "{origin}");
    }
    // Queries.
    for (query, status) in [
        ("placement=home&person=%ff%fe", 200),
        ("placement=home&anonymous_id=%F0%9F%98%80", 200),
        ("placement=home&keywords=%00,%0a,,,,", 200),
        ("placement=home&country=%E2%82%AC", 422),
        ("placement=home&device=", 200),
        ("placement=home&placement=nowhere", 404),
        ("placement=%2e%2e%2f", 404),
        ("&&&placement=home&", 200),
        ("=&placement=home", 400),
    ] {
        let answer = server.client.get(server.at(&format!("/v1/creatives?{query}"))).bearer_auth(&key).send().await.expect("answer");
        assert_eq!(answer.status().as_u16(), status, "{query}");
    }
    for path in
        ["/ads/frame?placement=%3Cscript%3E", "/ads/frame?placement=home&anonymous_id=%00", "/v1/recommendations?n=99999999999999999999"]
    {
        let answer = server.client.get(server.at(path)).header("origin", "https://shop.example.com").send().await.expect("answer");
        assert!(answer.status().is_client_error(), "{path}: {}", answer.status());
        assert!(!answer.text().await.expect("text").contains("<script>"), "{path}");
    }
});

both_engines!(crawlers_use_up_nothing_at_the_open_doors, |shop| {
    let server = TestServer::start(&shop).await;
    let (key, _) = running_campaign(&shop, &server, 0).await;
    let googlebot = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
    let body = json!({ "placements": ["home"] }).to_string();
    let asked = async |agent: &str, key: Option<&str>| {
        let mut request = server.client.post(server.at("/v1/decisions")).header("user-agent", agent).body(body.clone());
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        request.send().await.expect("answer").json::<Value>().await.expect("JSON")["decisions"][0].clone()
    };
    assert_eq!(asked(googlebot, None).await, json!({ "placement": "home", "filled": false, "reason": "crawler" }));
    assert_eq!(asked(BROWSER, None).await["filled"], true);
    assert_eq!(asked(googlebot, Some(&key)).await["filled"], true, "a server's own name says nothing of its visitors");
    let frame = async |agent: &str| {
        let answer = server.client.get(server.at("/ads/frame?placement=home")).header("user-agent", agent).send().await.expect("answer");
        answer.text().await.expect("text")
    };
    assert!(!frame(googlebot).await.contains("<img") && frame(BROWSER).await.contains("<img"));
    server.services.ads.flush().await;
    const SHOWN: &str = "SELECT COUNT(*) FROM impression";
    assert_eq!(read!(shop.platform.db, |c| sqlx::query_scalar::<_, i64>(SHOWN).fetch_one(c).await).expect("count"), 3);
});
