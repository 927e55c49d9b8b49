//! What comes back through signed links: only real tokens act, only POST changes anything, people are told from machines.

use std::time::Duration;

use marquee::catalog::{self, NewProduct};
use marquee::people::{self, Consent, NewPerson};
use marquee::platform::clock::MINUTE_US;
use marquee::platform::ids::{CampaignId, PersonId, ProductId, RunId, TouchId};
use marquee::platform::{Currency, Money, Platform};
use marquee::touches::links::{self, Link, LinkKind};
use marquee::touches::{self, Actor, Finish, NewTouch, Outcome, Signal, SignalKind, TouchChannel};
use marquee::tracking::{UserAgentClass, classify};
use reqwest::header::{CACHE_CONTROL, LOCATION, SET_COOKIE, USER_AGENT};
use reqwest::{Method, Response, StatusCode};

use crate::both_engines;
use crate::support::server::TestServer;
use crate::support::{TestShop, real_data};

const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";
const GOOGLE_PROXY: &str = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)";

struct Scene {
    server: TestServer,
    platform: Platform,
    person: PersonId,
    touch: TouchId,
}

/// A person who was sent a mail ten minutes ago about two products, the second without a page of its own.
async fn scene(shop: &TestShop) -> Scene {
    let server = TestServer::start(shop).await;
    let platform = server.services.platform.clone();
    let now = platform.now();
    let mut tx = platform.db.begin().await.expect("begin");
    let ann = NewPerson {
        email: Some("ann@example.test".into()),
        first_name: Some("Ann".into()),
        locale: Some("en".into()),
        ..NewPerson::default()
    };
    let person = people::bulk_upsert(&mut tx, &[ann], now).await.expect("person")[0];
    let price = Money { minor: 1_250, currency: Currency::EUR };
    let mut tea = NewProduct::new("TEA", "Tea", price);
    tea.url = Some("https://shop.example.test/tea?size=2#top".into());
    let mut bad = NewProduct::new("BAD", "No page", price);
    bad.url = None;
    catalog::bulk_upsert(&mut tx, &[tea, bad], now).await.expect("products");
    let by_sku = catalog::by_sku_in(&mut tx, &["TEA", "BAD"]).await.expect("ids");
    let product_ids: Vec<ProductId> = vec![by_sku["TEA"], by_sku["BAD"]];
    let new = NewTouch { run_id: Some(RunId(1)), product_ids, ..NewTouch::planned(CampaignId(3), person, TouchChannel::Email, now, now) };
    touches::plan_many(&mut tx, std::slice::from_ref(&new), now).await.expect("planned");
    tx.commit().await.expect("commit");
    touches::claim(&platform, TouchChannel::Email, "w", 10, MINUTE_US).await.expect("claimed");
    let mut tx = platform.db.begin().await.expect("begin");
    touches::begin_sending(&mut tx, "w", &[new.id], MINUTE_US, now).await.expect("begun");
    touches::finish(&mut tx, "w", &[Finish { id: new.id, outcome: Outcome::Sent }], now).await.expect("sent");
    tx.commit().await.expect("commit");
    platform.clock.advance_to(now.plus_us(10 * MINUTE_US));
    Scene { server, platform, person, touch: new.id }
}

impl Scene {
    fn path(&self, kind: LinkKind, slot: u8) -> String {
        format!("/{}/{}", kind.path(), links::token(&self.platform.signer, Link { kind, touch: self.touch, slot }))
    }
    async fn ask(&self, method: Method, path: &str, agent: &str, body: &str) -> Response {
        let form = "application/x-www-form-urlencoded";
        let request = self.server.client.request(method, self.server.at(path)).header(USER_AGENT, agent).header("content-type", form);
        request.body(body.to_owned()).send().await.expect("an answer")
    }
    async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path, BROWSER, "").await
    }
    async fn signals(&self, kind: SignalKind) -> Vec<Signal> {
        let all = touches::signals_of(&self.platform.db, self.touch).await.expect("signals");
        all.into_iter().filter(|s| s.kind == kind).collect()
    }
    /// Opens are flushed within 250 ms.
    async fn opens(&self, n: usize) -> Vec<Signal> {
        for _ in 0..40 {
            let found = self.signals(SignalKind::Open).await;
            if found.len() >= n {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        self.signals(SignalKind::Open).await
    }
    async fn consent(&self) -> (Consent, Consent) {
        let person = people::get(&self.platform.db, self.person).await.expect("read").expect("there");
        (person.email_consent, person.ads_consent)
    }
}

both_engines!(opens_are_recorded_soon_and_apart_for_proxies_and_machines, |shop| {
    let scene = scene(&shop).await;
    for path in [scene.path(LinkKind::Open, 0), format!("{}.gif", scene.path(LinkKind::Open, 0))] {
        let answer = scene.ask(Method::GET, &path, GOOGLE_PROXY, "").await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.headers()[CACHE_CONTROL].to_str().expect("text").contains("no-store"));
        assert_eq!(&answer.bytes().await.expect("body")[..6], b"GIF89a");
    }
    assert_eq!(scene.opens(1).await.iter().map(|s| s.actor).collect::<Vec<_>>(), [Actor::Proxy], "one minute, one open");
    assert_eq!(touches::get(&scene.platform.db, scene.touch).await.expect("read").expect("there").open_at, None);
    scene.get(&scene.path(LinkKind::Open, 0)).await;
    assert_eq!(scene.opens(2).await.len(), 2);
    assert_eq!(touches::get(&scene.platform.db, scene.touch).await.expect("read").expect("there").open_at, Some(scene.platform.now()));
});

both_engines!(a_click_goes_to_the_product_and_is_durable_when_answered, |shop| {
    let scene = scene(&shop).await;
    let answer = scene.get(&format!("{}?url=https://evil.example.test", scene.path(LinkKind::Click, 0))).await;
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(
        answer.headers()[LOCATION],
        "https://shop.example.test/tea?size=2&utm_source=marquee&utm_medium=email&utm_campaign=cmp_3#top"
    );
    assert!(answer.headers().get(SET_COOKIE).is_none());
    // Written by the time it was answered.
    let clicks = scene.signals(SignalKind::Click).await;
    assert_eq!(clicks.iter().map(|s| (s.actor, s.detail.as_deref())).collect::<Vec<_>>(), [(Actor::Human, Some("slot 0"))]);
    assert!(touches::get(&scene.platform.db, scene.touch).await.expect("read").expect("there").click_at.is_some());
    // A product without a page, and a place that is not there: the shop's own page.
    for slot in [1, 9] {
        let answer = scene.get(&scene.path(LinkKind::Click, slot)).await;
        assert!(answer.headers()[LOCATION].to_str().expect("text").starts_with("http://127.0.0.1:8321/?utm_source=marquee"), "{slot}");
    }
});

both_engines!(machines_clicks_are_kept_apart, |shop| {
    let scene = scene(&shop).await;
    let path = scene.path(LinkKind::Click, 0);
    scene.ask(Method::HEAD, &path, BROWSER, "").await;
    scene.ask(Method::GET, &path, "python-requests/2.32", "").await;
    let prefetch = scene.server.client.get(scene.server.at(&path)).header(USER_AGENT, BROWSER).header("Sec-Purpose", "prefetch");
    prefetch.send().await.expect("an answer");
    let mut actors: Vec<Actor> = scene.signals(SignalKind::Click).await.iter().map(|s| s.actor).collect();
    actors.sort();
    assert_eq!(actors, [Actor::Bot, Actor::Proxy], "HEAD and library in one second are one");
    assert_eq!(touches::get(&scene.platform.db, scene.touch).await.expect("read").expect("there").click_at, None);
    // Three different links at once, from a perfect browser: a scanner.
    scene.platform.clock.advance_to(scene.platform.now().plus_us(MINUTE_US));
    for slot in [0, 1, 2, 3] {
        scene.get(&scene.path(LinkKind::Click, slot)).await;
    }
    let late = scene.signals(SignalKind::Click).await.into_iter().filter(|s| s.at == scene.platform.now());
    let actors: Vec<(Option<String>, Actor)> = late.map(|s| (s.detail, s.actor)).collect();
    for (slot, actor) in [(2, Actor::Bot), (3, Actor::Bot)] {
        assert!(actors.contains(&(Some(format!("slot {slot}")), actor)), "{actors:?}");
    }
});

both_engines!(a_click_faster_than_anybody_reads_is_a_scanners, |shop| {
    let scene = scene(&shop).await;
    let now = scene.platform.now();
    let mut tx = scene.platform.db.begin().await.expect("begin");
    let new = NewTouch { run_id: Some(RunId(2)), ..NewTouch::planned(CampaignId(3), scene.person, TouchChannel::Email, now, now) };
    touches::plan_many(&mut tx, std::slice::from_ref(&new), now).await.expect("planned");
    tx.commit().await.expect("commit");
    touches::claim(&scene.platform, TouchChannel::Email, "w", 10, MINUTE_US).await.expect("claimed");
    let mut tx = scene.platform.db.begin().await.expect("begin");
    touches::begin_sending(&mut tx, "w", &[new.id], MINUTE_US, now).await.expect("begun");
    touches::finish(&mut tx, "w", &[Finish { id: new.id, outcome: Outcome::Sent }], now).await.expect("sent");
    tx.commit().await.expect("commit");
    let scene = Scene { touch: new.id, ..scene };
    scene.platform.clock.advance_to(now.plus_us(2_000_000));
    scene.get(&scene.path(LinkKind::Click, 0)).await;
    scene.platform.clock.advance_to(now.plus_us(20_000_000));
    scene.get(&scene.path(LinkKind::Click, 0)).await;
    let actors: Vec<Actor> = scene.signals(SignalKind::Click).await.iter().map(|s| s.actor).collect();
    assert_eq!(actors, [Actor::Bot, Actor::Human]);
});

both_engines!(only_a_post_unsubscribes_and_mail_services_need_one_click, |shop| {
    let scene = scene(&shop).await;
    let path = scene.path(LinkKind::Unsubscribe, 0);
    for agent in [BROWSER, "curl/8.5.0"] {
        let page = scene.ask(Method::GET, &path, agent, "").await;
        assert_eq!(page.status(), StatusCode::OK);
        assert!(page.headers().get(SET_COOKIE).is_none());
        let html = page.text().await.expect("html");
        assert!(html.contains("<form method=\"post\">") && html.contains("Unsubscribe") && html.contains("lang=\"en\""), "{html}");
        assert!(!html.contains("ann@"), "a page behind a link that travels names nobody");
    }
    scene.ask(Method::HEAD, &path, BROWSER, "").await;
    let before = scene.consent().await;
    assert_ne!(before.0, Consent::Unsubscribed);
    let answer = scene.ask(Method::POST, &path, "Mail service", "List-Unsubscribe=One-Click").await;
    assert_eq!((answer.status(), answer.headers().get(SET_COOKIE).is_none()), (StatusCode::OK, true));
    assert_eq!(scene.consent().await, (Consent::Unsubscribed, before.1));
    // By the button too, and again without harm.
    let page = scene.ask(Method::POST, &path, BROWSER, "confirm=yes").await.text().await.expect("html");
    assert!(page.contains("You are unsubscribed"), "{page}");
    assert_eq!(scene.signals(SignalKind::Unsubscribe).await.len(), 1);
});

both_engines!(choices_are_saved_as_ticked, |shop| {
    let scene = scene(&shop).await;
    let path = scene.path(LinkKind::Preferences, 0);
    for (body, email, ads) in [
        ("email=on&ads=on", Consent::Subscribed, Consent::Subscribed),
        ("ads=on", Consent::Unsubscribed, Consent::Subscribed),
        ("email=on", Consent::Subscribed, Consent::Unsubscribed),
        ("", Consent::Unsubscribed, Consent::Unsubscribed),
    ] {
        scene.platform.clock.advance_to(scene.platform.now().plus_us(MINUTE_US));
        let saved = scene.ask(Method::POST, &path, BROWSER, body).await;
        assert_eq!(saved.status(), StatusCode::OK);
        assert_eq!(scene.consent().await, (email, ads), "{body}");
        let html = scene.get(&path).await.text().await.expect("html");
        assert_eq!(html.matches(" checked").count(), [email, ads].iter().filter(|c| **c == Consent::Subscribed).count());
    }
    assert_eq!(scene.ask(Method::POST, &path, BROWSER, &"x".repeat(10_000)).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
});

both_engines!(what_is_no_link_of_ours_gets_one_and_the_same_page, |shop| {
    let scene = scene(&shop).await;
    let token = |kind| links::token(&scene.platform.signer, Link { kind, touch: scene.touch, slot: 0 });
    let stranger = links::token(&scene.platform.signer, Link { kind: LinkKind::Click, touch: TouchId::new(scene.platform.now()), slot: 0 });
    let mut forged = token(LinkKind::Click);
    forged.replace_range(10..11, if &forged[10..11] == "A" { "B" } else { "A" });
    let mut pages = Vec::new();
    for path in [
        format!("/c/{}", token(LinkKind::Open)),
        format!("/c/{forged}"),
        format!("/c/{}", &token(LinkKind::Click)[..20]),
        format!("/c/{stranger}"),
        "/c/x".into(),
        format!("/c/{}", "A".repeat(5_000)),
        "/c/%00%ff".into(),
        format!("/o/{forged}.gif"),
        format!("/v/{forged}"),
        format!("/u/{}", token(LinkKind::Preferences)),
        format!("/p/{}", token(LinkKind::Unsubscribe)),
    ] {
        let answer = scene.get(&path).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        let posted = scene.ask(Method::POST, &path, BROWSER, "List-Unsubscribe=One-Click").await;
        assert!(posted.status().is_client_error(), "{path}");
        if !path.contains('%') {
            pages.push(answer.text().await.expect("html"));
        }
    }
    assert!(pages.windows(2).all(|w| w[0] == w[1]), "an oracle");
    assert!(touches::signals_of(&scene.platform.db, scene.touch).await.expect("signals").is_empty());
    assert_ne!(scene.consent().await.0, Consent::Unsubscribed);
});

both_engines!(pages_speak_the_persons_language_and_escape_the_shops_name, |shop| {
    let mut shop = shop;
    let mut config = (*shop.platform.config).clone();
    config.shop.name = "<script>alert(1)</script>".into();
    shop.platform.config = std::sync::Arc::new(config);
    let scene = scene(&shop).await;
    let gone =
        scene.server.client.get(scene.server.at("/u/x")).header("Accept-Language", "zh-CN,en;q=0.5").send().await.expect("an answer");
    let html = gone.text().await.expect("html");
    assert!(html.contains("lang=\"zh\"") && html.contains("此链接无效"), "{html}");
    assert!(html.contains("&lt;script&gt;") && !html.contains("<script"), "{html}");
    assert!(html.contains("prefers-color-scheme:dark") && html.contains("width=device-width"));
});

#[tokio::test]
async fn crawlers_are_known_and_devices_are_not_taken_for_them() {
    #[derive(serde::Deserialize)]
    struct Crawler {
        #[serde(default)]
        instances: Vec<String>,
    }
    let (Some(crawlers), Some(devices)) =
        (real_data("crawler_user_agents/crawler-user-agents.json"), real_data("device_user_agents/device_user_agents.csv.gz"))
    else {
        return;
    };
    let crawlers: Vec<Crawler> = serde_json::from_reader(std::fs::File::open(crawlers).expect("file")).expect("json");
    let agents: std::collections::BTreeSet<String> = crawlers.into_iter().flat_map(|c| c.instances).collect();
    let missed: Vec<&String> = agents.iter().filter(|a| classify(a) == UserAgentClass::Human).collect();
    let recall = 1.0 - missed.len() as f64 / agents.len() as f64;
    let file = flate2::read::GzDecoder::new(std::fs::File::open(devices).expect("file"));
    let (mut people, mut wrong, mut spiders, mut found) = (0, Vec::new(), 0, 0);
    for row in csv::Reader::from_reader(file).records() {
        let row = row.expect("row");
        let class = classify(&row[0]);
        if &row[4] == "1" {
            spiders += 1;
            found += i32::from(class != UserAgentClass::Human);
        } else {
            people += 1;
            if class != UserAgentClass::Human {
                wrong.push(row[0].to_owned());
            }
        }
    }
    let false_positives = wrong.len() as f64 / f64::from(people);
    println!(
        "crawlers: recall {recall:.4} ({} of {}); devices: false positives {false_positives:.5} ({} of {people}); their spiders: {found} of {spiders}",
        agents.len() - missed.len(),
        agents.len(),
        wrong.len()
    );
    assert!(agents.len() > 2_000 && people > 15_000);
    assert!(recall >= 0.95, "missed: {missed:#?}");
    assert!(false_positives <= 0.005, "wrong: {wrong:#?}");
}
