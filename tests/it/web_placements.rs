//! The pages of placements, line items and the decision tester, over the real server.

use marquee::account::{Role, Scope};
use serde_json::{Value, json};

use crate::adserver::{ask, running_campaign};
use crate::both_engines;
use crate::support::browser::Browser;
use crate::support::server::TestServer;

const EVIL: &str = "Top <script>alert(1)</script> & \"quotes\"";

fn escaped(text: &str) -> bool {
    !text.contains("<script>alert(1)") && text.contains("&lt;script&gt;alert(1)")
}

both_engines!(an_empty_shop_is_told_what_to_do_and_a_placement_is_made_and_paused, |shop| {
    let server = TestServer::start(&shop).await;
    let admin = Browser::signed_in(&server, Role::Admin).await;
    let empty = admin.get("/placements").await;
    assert_eq!(empty.status, 200);
    assert!(empty.text.contains("No placement yet") && empty.text.contains("/placements/new"), "{}", empty.text);
    let fields = [
        ("name", EVIL),
        ("key", "home-top"),
        ("size", "300x250"),
        ("format", "336x280"),
        ("site", "shop.example.com"),
        ("floor", "1.50"),
        ("keywords", "garden, chairs"),
        ("countries", "de"),
        ("hours", "8-20"),
        ("device", "mobile"),
    ];
    let wrong: Vec<(&str, &str)> = fields.iter().map(|(n, v)| if *n == "countries" { (*n, "Germany") } else { (*n, *v) }).collect();
    let refused = admin.submit("/placements/new", "/placements/new", &wrong).await;
    assert_eq!(refused.status, 422);
    assert!(
        refused.text.contains("no country code") && refused.text.contains("value=\"home-top\"") && escaped(&refused.text),
        "{}",
        refused.text
    );
    let made = admin.submit("/placements/new", "/placements/new", &fields).await;
    assert_eq!((made.status, made.location()), (303, "/placements/at/home-top"), "{}", made.text);
    let again = admin.submit("/placements/new", "/placements/new", &fields).await;
    assert_eq!(again.status, 422, "making one must not change another");
    let page = admin.get("/placements/at/home-top").await;
    assert_eq!(page.status, 200);
    assert!(escaped(&page.text) && page.text.contains("/ads/tag.js") && page.text.contains("€1.50"), "{}", page.text);
    assert!(page.text.contains("data-marquee=&quot;home-top&quot;"), "the snippet is text");
    assert!(page.text.contains("garden, chairs") && page.text.contains("8-20") && page.text.contains("DE"));
    assert!(escaped(&admin.get("/placements").await.text));
    assert_eq!(admin.submit("/placements/at/home-top", "/placements/at/home-top/pause", &[]).await.status, 303);
    let key = server.key(&[Scope::Serve]).await;
    assert_eq!(ask(&server, &key, "placement=home-top").await["reason"], "placement_paused");
    assert!(admin.get("/placements/at/home-top").await.text.contains("is paused"));
    assert_eq!(admin.submit("/placements/at/home-top", "/placements/at/home-top/resume", &[]).await.status, 303);
    assert_eq!(ask(&server, &key, "placement=home-top").await["reason"], "not_targeted");
    // Changing it keeps its key and fills the form with what is.
    let form = admin.get("/placements/at/home-top/edit").await;
    assert!(form.text.contains("value=\"1.50\"") && form.text.contains("value=\"8-20\""), "{}", form.text);
    let changed =
        admin.submit("/placements/at/home-top/edit", "/placements/at/home-top/edit", &[("name", "Plain"), ("size", "728x90")]).await;
    assert_eq!(changed.status, 303, "{}", changed.text);
    assert!(admin.get("/placements/at/home-top").await.text.contains("728×90"));
    assert_eq!(admin.get("/placements/at/nowhere").await.status, 404);
});

both_engines!(line_items_are_made_run_paused_and_archived, |shop| {
    let server = TestServer::start(&shop).await;
    let (key, campaign) = running_campaign(&shop, &server, 0).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    assert!(marketer.get("/placements/items").await.text.contains("No line item yet"));
    let by_itself = marketer.get("/placements/at/home").await;
    assert!(by_itself.text.contains("Serving here without a line item") && by_itself.text.contains("Trays"), "{}", by_itself.text);
    let fields = |name: &'static str, budget: &'static str| {
        vec![
            ("name", name),
            ("campaign", campaign.as_str()),
            ("placement", "home"),
            ("tier", "sponsored"),
            ("budget_kind", "money"),
            ("budget", budget),
            ("price_kind", "cpm"),
            ("price", "2.50"),
            ("pacing", "even"),
            ("starts_at", "2026-01-15T12:00"),
            ("ends_at", "2026-01-20T12:00"),
            ("choice", "thompson"),
            ("categories", "iab22-2, IAB18"),
            ("domain", "Shop.Example.com"),
            ("attributes", "9"),
        ]
    };
    let mut odd = fields("Odd", "100.00");
    odd.extend([("categories", EVIL), ("deal", "d 1")]);
    odd.retain(|(name, value)| *name != "categories" || *value == EVIL);
    let refused = marketer.submit("/placements/items/new", "/placements/items/new", &odd).await;
    assert!(refused.status == 422 && escaped(&refused.text), "{}", refused.text);
    let refused = marketer.submit("/placements/items/new", "/placements/items/new", &fields(EVIL, "12,x")).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text.contains("whole number above 0") && escaped(&refused.text), "{}", refused.text);
    let made = marketer.submit("/placements/items/new?placement=home", "/placements/items/new", &fields(EVIL, "100.00")).await;
    assert_eq!((made.status, made.location()), (303, "/placements/items/lin_1"), "{}", made.text);
    server.services.ads.snapshot().items[0].meter.written(0, 0);
    for n in 0..200 {
        let shown = ask(&server, &key, &format!("placement=home&anonymous_id=b{n}")).await;
        assert!(shown["filled"] == true || shown["reason"] == "paced", "{shown}");
    }
    server.services.ads.flush().await;
    shop.platform.clock.advance_to(shop.platform.now().plus_secs(7_200));
    let page = marketer.get("/placements/items/lin_1").await;
    assert_eq!(page.status, 200, "{}", page.text);
    for text in [
        "€100.00",
        "€2.50",
        "Planned",
        "Delivered",
        "<svg",
        "Sponsored",
        "Even, along the expected traffic",
        "IAB18, IAB22-2",
        "shop.example.com",
    ] {
        assert!(page.text.contains(text), "{text}: {}", page.text);
    }
    assert!(escaped(&page.text));
    let list = marketer.get("/placements/items").await;
    assert!(list.text.contains("Active") && escaped(&list.text), "{}", list.text);
    let place = marketer.get("/placements/at/home").await;
    assert!(place.text.contains("lin_1") && place.text.contains("Fill rate"), "{}", place.text);
    let edit = marketer.get("/placements/items/lin_1/edit").await;
    assert!(
        edit.text.contains("value=\"IAB18, IAB22-2\"")
            && edit.text.contains("value=\"2.50\"")
            && edit.text.contains("value=\"100.00\"")
            && edit.text.contains("2026-01-20T12:00"),
        "{}",
        edit.text
    );
    assert_eq!(marketer.submit("/placements/items/lin_1", "/placements/items/lin_1/pause", &[]).await.status, 303);
    assert_eq!(ask(&server, &key, "placement=home").await["reason"], "no_campaign");
    assert!(marketer.get("/placements/items/lin_1").await.text.contains("Paused"));
    let confirm = marketer.get("/placements/items/lin_1/archive").await;
    assert!(confirm.status == 200 && escaped(&confirm.text));
    assert_eq!(marketer.submit("/placements/items/lin_1/archive", "/placements/items/lin_1/archive", &[]).await.status, 303);
    assert_eq!(ask(&server, &key, "placement=home").await["filled"], true, "by itself again");
    assert!(marketer.get("/placements/items").await.text.contains("No line item yet"));
    assert_eq!(marketer.get("/placements/items/lin_99").await.status, 404);
    assert_eq!(marketer.get("/placements/items/rubbish").await.status, 404);
});

both_engines!(tables_are_searched_ordered_and_downloaded, |shop| {
    let server = TestServer::start(&shop).await;
    let (_, campaign) = running_campaign(&shop, &server, 0).await;
    let admin = Browser::signed_in(&server, Role::Admin).await;
    for n in 0..52 {
        let (key, name) = (format!("p-{n:02}"), format!("Place {:02}", 99 - n));
        let made = admin.submit("/placements/new", "/placements/new", &[("name", &name), ("key", &key), ("size", "300x250")]).await;
        assert_eq!(made.status, 303, "{}", made.text);
    }
    for (name, price) in [("=1+1", "2.50"), ("Second", "1.50")] {
        let fields = [
            ("name", name),
            ("campaign", campaign.as_str()),
            ("placement", "home"),
            ("tier", "standard"),
            ("budget_kind", "none"),
            ("price_kind", "cpm"),
            ("price", price),
            ("pacing", "fast"),
            ("choice", "thompson"),
        ];
        let made = admin.submit("/placements/items/new", "/placements/items/new", &fields).await;
        assert_eq!(made.status, 303, "{}", made.text);
    }
    assert_eq!(admin.submit("/placements/at/p-05", "/placements/at/p-05/pause", &[]).await.status, 303);
    let rows = regex::Regex::new(r#"<a class="name" href="/placements/at/([^"]+)""#).expect("pattern");
    let keys = |html: &str| rows.captures_iter(html).map(|c| c[1].to_owned()).collect::<Vec<_>>();
    let first = admin.get("/placements?sort=name").await.text;
    let listed = keys(&first);
    assert_eq!((listed.len(), listed[1].as_str()), (50, "p-51"), "by name, not by key");
    let next = regex::Regex::new(r#"rel="next" href="([^"]+)""#).expect("pattern").captures(&first).expect("more")[1].replace("&amp;", "&");
    assert_eq!(keys(&admin.get(&format!("/placements{next}")).await.text), ["p-02", "p-01", "p-00"]);
    assert_eq!(keys(&admin.get("/placements?state=paused").await.text), ["p-05"]);
    assert_eq!(keys(&admin.get("/placements?q=PLACE%2099").await.text), ["p-00"]);
    assert!(admin.get("/placements?q=nothing+like+it").await.text.contains("Nothing matches"));
    let csv = admin.get("/placements/download?state=paused").await.text;
    assert!(csv.lines().count() == 2 && csv.contains("p-05,Place 94,"), "{csv}");
    let items = admin.get("/placements/items?q=second").await.text;
    assert!(items.contains("Second") && !items.contains("=1+1"), "{items}");
    let csv = admin.get("/placements/items/download?sort=name").await.text;
    assert!(csv.lines().count() == 3 && csv.contains("'=1+1") && csv.contains("cpm,2.50,EUR"), "{csv}");
});

both_engines!(the_tester_shows_and_explains_and_counts_nothing, |shop| {
    let server = TestServer::start(&shop).await;
    let (key, campaign) = running_campaign(&shop, &server, 0).await;
    let manage = server.key(&[Scope::Manage]).await;
    for (name, extra) in [("Spent", json!({ "tier": "sponsored", "targeting": { "keywords": ["garden"] } })), ("Open", json!({}))] {
        let mut item = json!({ "campaign": campaign, "placement": "home", "name": name });
        item.as_object_mut().expect("object").extend(extra.as_object().expect("object").clone());
        let made = server.client.post(server.at("/v1/line-items")).bearer_auth(&manage).json(&item).send().await.expect("answer");
        assert_eq!(made.status(), 200);
    }
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    for _ in 0..5 {
        let page = marketer.get("/placements/tester?placement=home&person=u1").await;
        assert_eq!(page.status, 200);
        assert!(
            page.text.contains("Page or viewer not targeted") && page.text.contains("class=\"shown\"") && page.text.contains("Open"),
            "{}",
            page.text
        );
    }
    let targeted = marketer.get("/placements/tester?placement=home&person=u1&keywords=Garden").await;
    assert!(!targeted.text.contains("Page or viewer not targeted"), "{}", targeted.text);
    let stranger = marketer.get("/placements/tester?placement=home&person=%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;
    assert!(stranger.text.contains("does not know this person") && escaped(&stranger.text), "{}", stranger.text);
    // Three a day, and the tester took none of them.
    for _ in 0..3 {
        let shown: Value = ask(&server, &key, "placement=home&person=u1").await;
        assert_eq!(shown["filled"], true);
    }
    assert!(marketer.get("/placements/tester?placement=home&person=u1").await.text.contains("Seen often enough today"));
    // It tells what somebody likes: not for analysts. Nor may they change anything.
    let analyst = Browser::signed_in(&server, Role::Analyst).await;
    assert_eq!(analyst.get("/placements/tester?placement=home").await.status, 403);
    assert_eq!(analyst.get("/placements").await.status, 200);
    assert!(!analyst.get("/placements").await.text.contains("/placements/tester"));
    let token = analyst.get("/profile").await.token();
    assert_eq!(analyst.post("/placements/items/lin_1/pause", &token, &[]).await.status, 403);
    assert_eq!(marketer.get("/placements/new").await.status, 403, "placements are wiring");
    assert_eq!(marketer.post("/placements/items/lin_1/pause", "wrong", &[]).await.status, 403, "no token, no change");
});
