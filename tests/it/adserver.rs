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
async fn running_campaign(shop: &TestShop, server: &TestServer, holdout_bp: i64) -> (String, String) {
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

async fn ask(server: &TestServer, key: &str, query: &str) -> Value {
    let answer = server.client.get(server.at(&format!("/v1/creatives?{query}"))).bearer_auth(key).send().await.expect("answer");
    assert_eq!(answer.status(), 200);
    answer.json().await.expect("JSON")
}

fn local(server: &TestServer, url: &Value) -> String {
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
