//! Mistakes on Chinese pages: what is wrong is said in the page's language, whichever slice found it.

use marquee::account::Role;
use marquee::audience::{self, NewSegment, Rule};
use marquee::catalog::{self, NewProduct};
use marquee::people::{self, Consent, NewPerson};
use marquee::platform::{Currency, Money};

use crate::both_engines;
use crate::support::browser::Browser;
use crate::support::server::TestServer;
use crate::support::{START, TestShop};
use crate::web_import::upload;

/// Notices and errors of a page, a sentence each, without markup.
fn mistakes(html: &str) -> Vec<String> {
    let patterns = [
        r#"(?s)<p class="error"[^>]*>(.*?)</p>"#,
        r#"(?s)<p class="notice (?:bad|warn)[^>]*>(.*?)</p>"#,
        r#"(?s)<div class="notice (?:bad|warn)[^>]*>(.*?)</ul>"#,
    ];
    let tags = regex::Regex::new(r"<[^>]+>").expect("pattern");
    let found = patterns.iter().flat_map(|p| {
        let pattern = regex::Regex::new(p).expect("pattern");
        pattern.captures_iter(html).flat_map(|c| c[1].split("</li>").map(ToOwned::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
    });
    found.map(|t| tags.replace_all(&t, " ").trim().to_owned()).filter(|t| !t.is_empty()).collect()
}

/// Every mistake that the page names holds Chinese, and one of them these words.
fn said(html: &str, words: &str) {
    let mistakes = mistakes(html);
    assert!(mistakes.iter().any(|m| m.contains(words)), "{words}: {mistakes:?}\n{html}");
    for m in &mistakes {
        assert!(m.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)), "{m}");
    }
}

async fn chinese<'a>(server: &'a TestServer, role: Role) -> Browser<'a> {
    let browser = Browser::signed_in(server, role).await;
    let done = browser.submit("/profile", "/profile", &[("name", "王"), ("locale", "zh"), ("zone", ""), ("theme", "auto")]).await;
    assert_eq!(done.status, 303, "{}", done.text);
    browser
}

async fn world(shop: &TestShop) -> String {
    let p = &shop.platform;
    let person = NewPerson {
        external_id: Some("u1".into()),
        email: Some("u1@example.test".into()),
        email_consent: Some(Consent::Subscribed),
        ..NewPerson::default()
    };
    let product = NewProduct { stock: Some(10), ..NewProduct::new("sku-1", "Oak table", Money::new(1_000, Currency::EUR)) };
    let mut tx = p.db.begin().await.expect("begin");
    people::bulk_upsert(&mut tx, &[person], START).await.expect("people");
    catalog::bulk_upsert(&mut tx, &[product], START).await.expect("products");
    tx.commit().await.expect("commit");
    let everybody = NewSegment { key: "all".into(), name: "Everybody".into(), rule: Rule::Everyone {} };
    audience::create(&p.db, everybody, START).await.expect("segment").id.to_string()
}

both_engines!(mistakes_in_forms_are_named_in_chinese, |shop| {
    let segment = world(&shop).await;
    let server = TestServer::start(&shop).await;
    let marketer = chinese(&server, Role::Marketer).await;
    // The wizard: what the campaign slice refuses, beside its field.
    let plan = |segment: &str, more: &[(&str, &str)]| -> Vec<(String, String)> {
        let plain = [
            ("name", "春季"),
            ("segment", segment),
            ("products", "1"),
            ("not_bought", "90"),
            ("not_shown", "0"),
            ("channel", "email"),
            ("v0_name", "A"),
            ("v0_tone", "friendly"),
            ("v0_occasion", "recommendation"),
            ("v0_language", "zh"),
            ("v0_weight", "1"),
            ("when", "cron"),
            ("cron", "0 9 * * mon"),
            ("zone", "Asia/Shanghai"),
            ("expire", "48"),
            ("goal", "orders"),
            ("window", "7"),
            ("holdout", "10"),
        ];
        plain
            .into_iter()
            .filter(|(k, _)| more.iter().all(|(m, _)| m != k))
            .chain(more.iter().copied())
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    };
    for (more, words) in [
        (&[("cron", "every monday")][..], "五个字段"),
        (&[("cron", "0 9 31 2 *")], "永远不会触发"),
        (&[("min_price", "20"), ("max_price", "10")], "最低价高于最高价"),
        (
            &[("v1_name", "A"), ("v1_tone", "plain"), ("v1_occasion", "recommendation"), ("v1_language", "zh"), ("v1_weight", "1")],
            "都叫“A”",
        ),
        (&[("sender_address", "nowhere")], "发件人需要名称"),
        (&[("segment", "seg_999")], "没有人群 seg_999"),
        (&[("products", "9")], "1"),
    ] {
        let fields = plan(&segment, more);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let seen = marketer.submit("/campaigns/new", "/campaigns/new", &fields).await;
        assert_eq!(seen.status, 422, "{more:?}: {}", seen.text);
        said(&seen.text, words);
    }
    // A segment's rule.
    let long = "x".repeat(501);
    let rule = [
        ("name", "老客"),
        ("r:kind", "all"),
        ("r.0:kind", "attribute"),
        ("r.0:field", "country"),
        ("r.0:op", "eq"),
        ("r.0:value", long.as_str()),
    ];
    let seen = marketer.submit("/segments/new", "/segments/save", &rule).await;
    assert_eq!(seen.status, 422, "{}", seen.text);
    said(&seen.text, "文本最多 500 个字符");
    // Placements and line items.
    let admin = chinese(&server, Role::Admin).await;
    let place = |more: (&'static str, &'static str)| {
        let plain = [("name", "首页"), ("key", "home"), ("size", "300x250")];
        plain.into_iter().filter(move |(k, _)| *k != more.0).chain([more]).collect::<Vec<_>>()
    };
    for (wrong, words) in [
        (("key", "Home Page"), "代号由"),
        (("name", ""), "广告位名称为"),
        (("site", "https://shop/path"), "主机名"),
        (("countries", "Germany"), "不是国家代码"),
        (("hours", "30"), "不是小时"),
    ] {
        let seen = admin.submit("/placements/new", "/placements/new", &place(wrong)).await;
        assert_eq!(seen.status, 422, "{wrong:?}: {}", seen.text);
        said(&seen.text, words);
    }
    assert_eq!(admin.submit("/placements/new", "/placements/new", &place(("site", ""))).await.status, 303);
    let item = [("name", "首页投放"), ("campaign", "cmp_99"), ("placement", "home"), ("budget_kind", "money"), ("budget", "x")];
    let seen = admin.submit("/placements/items/new", "/placements/items/new", &item).await;
    assert_eq!(seen.status, 422, "{}", seen.text);
    said(&seen.text, "预算是大于 0 的整数");
    // Settings.
    let policy = [("per_day", "1000"), ("per_week", "4"), ("holdout", "0")];
    let seen = admin.submit("/settings/contact", "/settings/contact", &policy).await;
    assert_eq!(seen.status, 422, "{}", seen.text);
    said(&seen.text, "");
    // What is nowhere.
    let gone = marketer.get("/campaigns/cmp_999").await;
    assert!(gone.status == 404 && gone.text.contains("没有这个活动"), "{}", gone.text);
});

both_engines!(an_import_that_does_not_fit_says_so_in_chinese, |shop| {
    let server = TestServer::start(&shop).await;
    let marketer = chinese(&server, Role::Marketer).await;
    let (status, to) = upload(&marketer, "people", "a.csv", b"Vorname,Ort\nAnn,Berlin\n").await;
    assert_eq!(status, 303, "{to}");
    let seen = marketer.get(&to).await;
    said(&seen.text, "缺少两者就无法识别任何人");
    assert!(!seen.text.contains("--map"), "what the command line may be told is no help here");
    let (_, to) = upload(&marketer, "products", "b.csv", b"name,colour\nOak table,brown\n").await;
    let seen = marketer.get(&to).await;
    said(&seen.text, "没有对应的列");
    let (_, to) = upload(&marketer, "people", "c.csv", b"PK\x03\x04rest").await;
    said(&marketer.get(&to).await.text, "电子表格");
    // A refused row: what is wrong with it, and what is in it.
    let (_, to) = upload(&marketer, "people", "d.csv", b"email,first_name\nann@example.test,Ann\nann@example.test\n").await;
    let seen = marketer.get(&to).await;
    assert!(seen.text.contains("实为 1，应为 2"), "{}", seen.text);
});
