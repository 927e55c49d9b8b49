//! The creatives' pages over the real server: decided, edited under the guardrails, shown in frames that may do nothing; the brand and own
//! templates.

use marquee::account::Role;
use marquee::attribution::{CopyResult, copy_results, count_copies};
use marquee::catalog::{self, NewProduct};
use marquee::copywriter::{self, CopyChannel, CopyRequest, CopyStatus, Locale, Occasion, Tone};
use marquee::creative::{self, BannerRequest, BrandKit, Format, own};
use marquee::platform::ids::{CampaignId, CopyId, ProductId, TouchId, VariantId};
use marquee::platform::{Currency, Money, Platform, setting};
use marquee::touches::{self, Actor, Arm, NewSignal, NewTouch, SignalKind, TouchChannel, TouchState};

use crate::both_engines;
use crate::support::browser::Browser;
use crate::support::server::TestServer;
use crate::support::{Engine, START, TestShop};

async fn products(platform: &Platform, titles: &[&str]) -> Vec<ProductId> {
    let new: Vec<NewProduct> = titles
        .iter()
        .enumerate()
        .map(|(n, title)| NewProduct {
            stock: Some(25),
            description: "Made of painted metal, 12 cm high.".into(),
            ..NewProduct::new(format!("SKU-{n}"), *title, Money::new(2490, Currency::EUR))
        })
        .collect();
    let mut tx = platform.db.begin().await.expect("begin");
    let ids = catalog::bulk_upsert(&mut tx, &new, START).await.expect("upsert").ids;
    tx.commit().await.expect("commit");
    ids
}

async fn copy(platform: &Platform, product_id: ProductId, channel: CopyChannel) -> CopyId {
    let request = CopyRequest {
        campaign_id: CampaignId(7),
        variant_id: VariantId(1),
        product_id,
        locale: Locale::En,
        channel,
        tone: Tone::Friendly,
        occasion: Occasion::Recommendation,
    };
    copywriter::ensure(platform, std::slice::from_ref(&request)).await.expect("copy").ids[&request.key()]
}

async fn status(platform: &Platform, id: CopyId) -> CopyStatus {
    copywriter::get(platform, id).await.expect("copy").status
}

both_engines!(copies_are_approved_rejected_and_edited_under_the_guardrails, |shop| {
    let server = TestServer::start(&shop).await;
    let platform = &shop.platform;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    assert!(marketer.get("/creatives").await.text.contains("No words yet"));
    let ids = products(platform, &["Blue <b>mug</b>", "Red lamp", "Green vase"]).await;
    let mut copies = Vec::new();
    for id in &ids {
        copies.push(copy(platform, *id, CopyChannel::Email).await);
    }
    let page = marketer.get("/creatives").await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert!(!page.text.contains("<b>mug</b>"), "escaped");
    assert_eq!(page.text.matches("class=\"card creative\"").count(), 3);
    assert_eq!(marketer.get("/creatives?product=SKU-1").await.text.matches("class=\"card creative\"").count(), 1);
    assert_eq!(marketer.get("/creatives?product=NO-SUCH").await.text.matches("class=\"card creative\"").count(), 0);
    assert_eq!(marketer.get("/creatives?state=approved").await.text.matches("class=\"card creative\"").count(), 0);

    // One by one.
    let path = format!("/creatives/{}", copies[0]);
    let done = marketer.submit(&path, &format!("{path}/approve"), &[("back", "/creatives?state=waiting")]).await;
    assert_eq!((done.status, done.location()), (303, "/creatives?state=waiting"));
    assert_eq!(status(platform, copies[0]).await, CopyStatus::Approved);
    let away = marketer.submit(&path, &format!("{path}/reject"), &[("back", "https://evil.example/")]).await;
    assert_eq!(away.location(), path, "only back into the gallery");
    assert_eq!(status(platform, copies[0]).await, CopyStatus::Rejected);

    // Many at once.
    let (a, b) = (copies[1].to_string(), copies[2].to_string());
    let fields = [("id", a.as_str()), ("id", b.as_str()), ("id", "cpy_999999"), ("do", "approve")];
    let many = marketer.submit("/creatives", "/creatives/decide", &fields).await;
    assert_eq!(many.status, 303);
    let said = marketer.get("/creatives").await.text;
    assert!(said.contains("2 texts approved, 1 not"), "{said}");
    assert_eq!(status(platform, copies[2]).await, CopyStatus::Approved);
    marketer.submit("/creatives", "/creatives/decide", &[("do", "approve")]).await;
    assert!(marketer.get("/creatives").await.text.contains("Choose at least one"));
    assert_eq!(marketer.submit("/creatives", "/creatives/decide", &[("id", &a), ("do", "explode")]).await.status, 422);

    // An edit that says what is not so is refused beside its field, and what was typed is kept.
    let path = format!("/creatives/{}", copies[1]);
    let lie = [
        ("subject", "Now 70% off: only 3 left"),
        ("preheader", "x"),
        ("headline", "Red lamp"),
        ("body", "It costs €9.99."),
        ("cta", "Look"),
    ];
    let refused = marketer.submit(&path, &path, &lie).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    assert!(refused.text.contains("value=\"Now 70% off: only 3 left\"") && refused.text.contains("It was not saved"));
    let asked = marketer.submit(&path, &format!("{path}/check"), &lie).await;
    assert!(asked.status == 200 && asked.text.contains("data-for=\"subject\"") && asked.text.contains("cannot go out"), "{}", asked.text);
    let before = copywriter::get(platform, copies[1]).await.expect("copy");
    assert_eq!(before.status, CopyStatus::Approved, "asking and failing change nothing");
    let honest = [
        ("subject", "A red lamp"),
        ("preheader", "For you"),
        ("headline", "Red lamp"),
        ("body", "Made of painted metal."),
        ("cta", "Look"),
    ];
    assert_eq!(marketer.submit(&path, &path, &honest).await.status, 303);
    let after = copywriter::get(platform, copies[1]).await.expect("copy");
    assert_eq!((after.status, after.copy.subject.as_str()), (CopyStatus::Edited, "A red lamp"));

    // Who only sees changes nothing, and sees no form for it.
    let analyst = Browser::signed_in(&server, Role::Analyst).await;
    let seen = analyst.get(&path).await;
    assert!(seen.status == 200 && !seen.text.contains("data-check"), "{}", seen.text);
    assert_eq!(analyst.submit(&path, &format!("{path}/approve"), &[]).await.status, 403);
    let csv = analyst.get("/creatives.csv?state=approved").await.text;
    assert!(csv.lines().count() == 3 && csv.contains("A red lamp"), "{csv}");
    assert_eq!(analyst.get("/creatives/cpy_424242").await.status, 404);
});

both_engines!(previews_do_nothing_and_results_are_counted, |shop| {
    let server = TestServer::start(&shop).await;
    let platform = &shop.platform;
    let id = products(platform, &["Blue mug"]).await[0];
    let (mail, banner) = (copy(platform, id, CopyChannel::Email).await, copy(platform, id, CopyChannel::Banner).await);
    let analyst = Browser::signed_in(&server, Role::Analyst).await;

    let framed = analyst.get(&format!("/creatives/{mail}/mail")).await;
    assert_eq!(framed.status, 200, "{}", framed.text);
    let policy = framed.headers["content-security-policy"].to_str().expect("text").to_owned();
    assert!(
        policy.starts_with("sandbox;") && policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'self'"),
        "{policy}"
    );
    assert!(framed.text.contains("Blue mug") && !framed.text.contains("/t/"), "no tracked link is in a preview");
    assert!(analyst.get(&format!("/creatives/{mail}/mail?light=dark")).await.text.contains("@media (min-width: 0px)"));
    assert_eq!(analyst.get(&format!("/creatives/{banner}/mail")).await.status, 404);
    assert_eq!(analyst.get(&format!("/creatives/{mail}/banner/300x250")).await.status, 404);
    assert_eq!(analyst.get(&format!("/creatives/{banner}/banner/1x1")).await.status, 404);
    let drawn = analyst.client.get(server.at(&format!("/creatives/{banner}/banner/728x90"))).send().await.expect("answer");
    let drawn = image::load_from_memory(&drawn.bytes().await.expect("bytes")).expect("a picture");
    assert_eq!((drawn.width(), drawn.height()), (728, 90));

    // Three people are shown the banner, two really see it, one clicks; the holdout counts nothing.
    let request = BannerRequest {
        campaign_id: CampaignId(7),
        variant_id: VariantId(1),
        product_id: id,
        copy_id: banner,
        locale: Locale::En,
        format: Format::MediumRectangle,
    };
    let creative_id = creative::ensure_banner(platform, request).await.expect("drawn").id;
    let day = |n: i64| START.plus_days(n);
    let shown = |at: marquee::platform::Timestamp, arm: Arm, n: i64| NewTouch {
        id: TouchId::new(at.plus_secs(n)),
        state: TouchState::Served,
        arm,
        person_id: None,
        anonymous_id: Some(format!("a{n}")),
        product_ids: vec![id],
        creative_id: Some(creative_id),
        ..NewTouch::planned(CampaignId(7), marquee::platform::ids::PersonId(0), TouchChannel::Banner, at, at)
    };
    let touches = [shown(day(-30), Arm::Treated, 1), shown(day(-1), Arm::Treated, 2), shown(day(-1), Arm::Treated, 3)];
    let mut tx = platform.db.begin().await.expect("begin");
    touches::plan_many(&mut tx, &touches, START).await.expect("touches");
    for (touch_id, kind) in
        [(touches[0].id, SignalKind::Viewable), (touches[1].id, SignalKind::Viewable), (touches[1].id, SignalKind::Click)]
    {
        let signal = NewSignal { touch_id, kind, actor: Actor::Human, at: START, detail: None, key: None };
        touches::record_signal(&mut tx, signal, START).await.expect("signal");
    }
    tx.commit().await.expect("commit");
    let days = count_copies(platform, || false).await.expect("counted");
    assert_eq!(days, 31, "from the first touch to today");
    let expected = CopyResult { sent: 3, opened: 0, viewable: 2, clicked: 1 };
    assert_eq!(copy_results(&platform.db, &[banner, mail]).await.expect("results").get(&banner), Some(&expected));
    assert_eq!(count_copies(platform, || false).await.expect("again"), 11, "only the open days");
    assert_eq!(copy_results(&platform.db, &[banner]).await.expect("results").get(&banner), Some(&expected), "nothing counts twice");
    let page = analyst.get(&format!("/creatives/{banner}")).await.text;
    assert!(page.contains("66.7 %") && page.contains("33.3 %"), "{page}");
    assert!(analyst.get("/creatives?channel=banner").await.text.contains("banner/300x250"));

    // In the order of what they came to: the counted ones only, page by page.
    let ids = |html: &str| -> Vec<String> {
        let card = regex::Regex::new(r#"<li class="card creative">[\s\S]*?href="/creatives/(cpy_\d+)""#).expect("pattern");
        card.captures_iter(html).map(|c| c[1].to_owned()).collect()
    };
    let counted = ids(&analyst.get("/creatives?order=sent").await.text);
    assert!(counted.contains(&banner.to_string()), "{counted:?}");
    let figures = [(mail, 9, 1), (banner, 3, 2)].map(|(copy_id, sent, clicked)| copywriter::CopyFigures { copy_id, sent, clicked });
    let mut tx = platform.db.begin().await.expect("begin");
    copywriter::put_figures(&mut tx, &figures).await.expect("figures");
    tx.commit().await.expect("commit");
    for (query, wanted) in
        [("order=sent", vec![mail, banner]), ("order=clicked", vec![banner, mail]), ("order=clicked&channel=email", vec![mail])]
    {
        let found = ids(&analyst.get(&format!("/creatives?{query}")).await.text);
        assert_eq!(found, wanted.iter().map(ToString::to_string).collect::<Vec<_>>(), "{query}");
    }
    let rest = ids(&analyst.get(&format!("/creatives?order=clicked&after={banner}")).await.text);
    assert_eq!(rest, [mail.to_string()]);
});

both_engines!(the_brand_is_checked_shown_and_kept, |shop| {
    let server = TestServer::start(&shop).await;
    let platform = &shop.platform;
    let admin = Browser::signed_in(&server, Role::Admin).await;
    let path = "/creatives/brand";
    let page = admin.get(path).await;
    assert!(page.status == 200 && page.text.contains("#1f4d3a"), "{}", page.text);
    let fields = |ink: &'static str| {
        vec![
            ("name", "Shop <i>x</i>"),
            ("primary", "#AA0044"),
            ("accent", "#c2410c"),
            ("background", "#f4f2ee"),
            ("surface", "#ffffff"),
            ("ink", ink),
            ("font", "Georgia, serif"),
            ("radius", "3"),
            ("logo_url", ""),
            ("postal_address", "1 Road\r\nTown"),
        ]
    };
    let faint = admin.submit(path, path, &fields("#cccccc")).await;
    assert!(
        faint.status == 422 && faint.text.contains("cannot be read on the sheet") && faint.text.contains("too faint"),
        "{}",
        faint.text
    );
    let odd = admin.submit(path, path, &fields("red; background: url(x)")).await;
    assert!(odd.status == 422 && odd.text.contains("Write colours as"));
    assert_eq!(admin.submit(path, path, &fields("#222222")).await.status, 303);
    let kit: BrandKit = setting::get(&platform.db, creative::brand::SETTING).await.expect("read").expect("stored");
    assert_eq!((kit.primary.to_string().as_str(), kit.radius, kit.postal_address.as_str()), ("#aa0044", 3, "1 Road\nTown"));
    assert!(!admin.get(path).await.text.contains("<i>x</i>"));

    // What is typed is shown before it is kept; what does not hold is shown as it is kept.
    let typed = admin.get("/creatives/brand/part/mail?primary=%2300ff00&ink=%23000000").await;
    assert!(typed.status == 200 && typed.text.contains("#00ff00"), "{}", typed.text);
    assert!(admin.get("/creatives/brand/part/mail?primary=url(x)").await.text.contains("#aa0044"));
    let kept: BrandKit = setting::get(&platform.db, creative::brand::SETTING).await.expect("read").expect("stored");
    assert_eq!(kept, kit);
    let banner = admin.client.get(server.at("/creatives/brand/part/banner/300x250?primary=%2300ff00")).send().await.expect("answer");
    assert!(banner.status() == 200 && image::load_from_memory(&banner.bytes().await.expect("bytes")).is_ok());
    let checked = admin.submit(path, "/creatives/brand/check", &fields("#777777")).await;
    assert!(checked.status == 200 && checked.text.contains("data-for=\"contrast\""), "{}", checked.text);
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    assert_eq!(marketer.get(path).await.status, 403);
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_templates_are_tried_checked_and_kept() {
    let shop =
        TestShop::open_with(Engine::Sqlite, |c| c.server.preview_program = env!("CARGO_BIN_EXE_marquee").into()).await.expect("SQLite");
    let server = TestServer::start(&shop).await;
    let admin = Browser::signed_in(&server, Role::Admin).await;
    let path = "/creatives/templates";
    assert!(admin.get(path).await.text.contains("None of your own"));
    let new = admin.get("/creatives/templates/new").await;
    assert!(new.status == 200 && new.text.contains("mj-button"), "{}", new.text);
    let fields = |key: &'static str, mjml: &'static str| [("name", "Ours"), ("key", key), ("mjml", mjml), ("text", own::STARTER_TEXT)];

    let tried = admin.submit(path, "/creatives/templates/try", &fields("ours", own::STARTER)).await;
    assert!(tried.status == 200 && tried.text.contains("Stoneware mug"), "a shop without products is shown one: {}", tried.text);
    assert!(tried.headers["content-security-policy"].to_str().expect("text").starts_with("sandbox;"));
    assert!(own::own_templates(&shop.platform.db).await.expect("read").is_empty(), "trying keeps nothing");
    for hostile in [
        "<mjml><mj-body><mj-raw><script>alert(1)</script>{{ links.unsubscribe }}</mj-raw></mj-body></mjml>",
        "{{ config.secret }}{{ links.unsubscribe }}",
        "<mjml></mjml>",
        "",
    ] {
        let refused = admin.submit(path, path, &fields("ours", hostile)).await;
        assert_eq!(refused.status, 422, "{hostile}");
        assert!(!refused.text.contains("<script>alert"), "{}", refused.text);
        let framed = admin.submit(path, "/creatives/templates/try", &fields("ours", hostile)).await;
        assert!(framed.status == 200 && framed.text.contains("This template is refused") && !framed.text.contains("<script>alert"));
    }
    assert_eq!(admin.submit(path, path, &fields("Not A Key", own::STARTER)).await.status, 422);
    assert_eq!(admin.submit(path, path, &fields("hero", own::STARTER)).await.status, 422, "a built-in name");
    let kept = admin.submit(path, path, &fields("ours", own::STARTER)).await;
    assert_eq!((kept.status, kept.location()), (303, "/creatives/templates/ours"));
    let shown = admin.get("/creatives/templates/ours/mail").await;
    assert!(shown.status == 200 && shown.text.contains("Stoneware mug"), "{}", shown.text);
    let brand = BrandKit::load(&shop.platform).await.expect("brand");
    assert!(own::compiled_own(&shop.platform.db, &brand).await.expect("compiled").contains_key("ours"), "mails find it");

    assert!(admin.get("/creatives/templates/ours/delete").await.text.contains("Delete this template?"));
    admin.submit("/creatives/templates/ours", "/creatives/templates/ours/delete", &[]).await;
    assert!(own::own_templates(&shop.platform.db).await.expect("read").is_empty());
    assert_eq!(admin.get("/creatives/templates/ours").await.status, 404);
}
