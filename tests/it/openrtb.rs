//! Bidding over OpenRTB 2.6 on both engines: who gets a bid, with which fields, and what counts.

use marquee::account::Scope;
use marquee::read;
use serde_json::{Value, json};

use crate::adserver::{local, running_campaign};
use crate::both_engines;
use crate::support::TestShop;
use crate::support::server::TestServer;

struct Exchange<'a> {
    server: &'a TestServer,
    key: String,
    manage: String,
}

impl Exchange<'_> {
    async fn ask(&self, request: &Value) -> (u16, Value) {
        self.raw(request.to_string()).await
    }
    async fn raw(&self, body: String) -> (u16, Value) {
        let answer =
            self.server.client.post(self.server.at("/openrtb2/bid")).bearer_auth(&self.key).body(body).send().await.expect("answer");
        let status = answer.status().as_u16();
        if status < 300 {
            assert_eq!(answer.headers()["x-openrtb-version"], "2.6");
        }
        (status, serde_json::from_str(&answer.text().await.expect("text")).unwrap_or(Value::Null))
    }
    async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.server.client.post(self.server.at(path)).bearer_auth(&self.manage).json(body).send().await.expect("answer");
        let status = answer.status();
        let text = answer.text().await.expect("text");
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }
}

/// A shop whose placement is open to exchanges, and a line item that pays €2.50 a thousand, at most four.
async fn exchange<'a>(shop: &TestShop, server: &'a TestServer) -> Exchange<'a> {
    let (key, campaign) = running_campaign(shop, server, 0).await;
    let exchange = Exchange { server, key, manage: server.key(&[Scope::Manage]).await };
    let place = json!({ "key": "home", "name": "Home", "width": 300, "height": 250, "exchange": true, "floor_minor": 100 });
    exchange.post("/v1/placements", &place).await;
    let item = json!({ "campaign": campaign, "placement": "home", "name": "Priced", "budget_kind": "money", "budget": 1, "pacing": "fast",
                       "price_kind": "cpm", "price_minor": 250 });
    exchange.post("/v1/line-items", &item).await;
    exchange
}

fn request() -> Value {
    json!({ "id": "req-1", "at": 2, "tmax": 120, "cur": ["EUR"],
            "imp": [{ "id": "1", "banner": { "format": [{ "w": 970, "h": 90 }, { "w": 300, "h": 250 }] }, "bidfloor": 1.0, "bidfloorcur": "EUR" }],
            "site": { "domain": "news.example.org", "page": "https://news.example.org/a", "keywords": "home,garden" },
            "device": { "ua": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "geo": { "country": "DEU" } },
            "regs": { "gdpr": 0 } })
}

/// The request with some of it changed.
fn with(changes: Value) -> Value {
    fn merge(into: &mut Value, from: Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                from.into_iter().for_each(|(k, v)| merge(into.entry(k).or_insert(Value::Null), v))
            }
            (into, from) => *into = from,
        }
    }
    let mut all = request();
    merge(&mut all, changes);
    all
}

fn imp(changes: Value) -> Value {
    let mut imp = request()["imp"][0].clone();
    imp.as_object_mut().expect("object").extend(changes.as_object().expect("object").clone());
    with(json!({ "imp": [imp] }))
}

both_engines!(a_bid_has_the_specifications_fields_and_counts_when_it_is_billed, |shop| {
    let server = TestServer::start(&shop).await;
    let exchange = exchange(&shop, &server).await;
    let (status, answer) = exchange.ask(&request()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["id"], &answer["cur"]), (&json!("req-1"), &json!("EUR")));
    let bid = &answer["seatbid"][0]["bid"][0];
    for (field, value) in [("impid", json!("1")), ("price", json!(2.5)), ("w", json!(300)), ("h", json!(250)), ("mtype", json!(1))] {
        assert_eq!(bid[field], value, "{field}: {bid}");
    }
    for field in ["id", "nurl", "burl", "lurl", "adm", "adid", "cid", "crid"] {
        assert!(bid[field].as_str().is_some_and(|t| !t.is_empty()), "{field}: {bid}");
    }
    assert!(bid["adomain"].as_array().is_some_and(|d| d.len() == 1));
    assert!(bid["burl"].as_str().expect("text").ends_with("?price=${AUCTION_PRICE}"));
    let adm = bid["adm"].as_str().expect("adm");
    assert!(adm.starts_with("<a href=") && adm.contains("<img src="), "{adm}");
    const SHOWN: &str = "SELECT COUNT(*) FROM touch WHERE state = 'served'";
    let shown = async || read!(shop.platform.db, |c| sqlx::query_scalar::<_, i64>(SHOWN).fetch_one(c).await).expect("count");
    server.services.ads.flush().await;
    assert_eq!(shown().await, 0, "a bid is no impression");
    // The exchange fills the macro in. Eight notices at once bill once, and never more than was bid.
    let url = |name: &str| bid[name].as_str().expect("url").replace("${AUCTION_PRICE}", "1.80").replace("${AUCTION_LOSS}", "102");
    let at = |text: &str| server.at(&text[text.find("/openrtb2").expect("a path")..]);
    for name in ["nurl", "lurl"] {
        assert_eq!(server.client.get(at(&url(name))).send().await.expect("answer").status(), 204);
    }
    assert_eq!(shown().await, 0);
    let calls = (0..8).map(|_| server.client.get(at(&url("burl"))).send());
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer.expect("answer").status(), 204);
    }
    assert_eq!(shown().await, 1);
    const COST: &str = "SELECT shown, cost_micro FROM ad_total WHERE line_item_id = 1";
    let cost: (i64, i64) = read!(shop.platform.db, |c| sqlx::query_as(COST).fetch_one(c).await).expect("cost");
    assert_eq!(cost, (1, 180_000), "€1.80 a thousand");
    let click = adm.split('"').nth(1).expect("href");
    let answer = server.client.get(local(&server, &json!(click))).send().await.expect("answer");
    assert_eq!(answer.status(), 302);
    // One cent buys four thousandths of a thousand: after four bills nothing is bid.
    for _ in 0..4 {
        let (_, answer) = exchange.ask(&request()).await;
        let burl = answer["seatbid"][0]["bid"][0]["burl"].as_str().map(|b| b.replace("${AUCTION_PRICE}", "2.5"));
        if let Some(burl) = burl {
            server.client.post(at(&burl)).send().await.expect("answer");
        }
    }
    assert_eq!(exchange.ask(&request()).await.0, 204, "the budget is used up");
});

both_engines!(no_bid_where_the_exchange_or_the_rules_say_so, |shop| {
    let server = TestServer::start(&shop).await;
    let exchange = exchange(&shop, &server).await;
    assert_eq!(exchange.ask(&request()).await.0, 200, "this test can fail");
    assert_eq!(exchange.ask(&imp(json!({ "tagid": "home" }))).await.0, 200);
    for (why, request) in [
        ("another placement", imp(json!({ "tagid": "nowhere", "banner": { "w": 1, "h": 1 } }))),
        ("no banner", imp(json!({ "banner": null, "video": { "mimes": ["video/mp4"] } }))),
        ("size", imp(json!({ "banner": { "w": 728, "h": 90 } }))),
        ("floor", imp(json!({ "bidfloor": 2.51 }))),
        ("a floor in other money", imp(json!({ "bidfloorcur": "USD" }))),
        ("currency", with(json!({ "cur": ["USD"] }))),
        ("https only", imp(json!({ "secure": 1 }))),
        ("a private auction", imp(json!({ "pmp": { "private_auction": 1 } }))),
        ("no pictures", imp(json!({ "banner": { "w": 300, "h": 250, "btype": [2] } }))),
        ("mime types", imp(json!({ "banner": { "w": 300, "h": 250, "mimes": ["image/gif"] } }))),
        ("seats", with(json!({ "wseat": ["somebody"] }))),
        ("blocked seats", with(json!({ "bseat": ["marquee"] }))),
        ("language", with(json!({ "wlang": ["fr"] }))),
        ("advertiser", with(json!({ "badv": ["127.0.0.1"] }))),
    ] {
        let (status, answer) = exchange.ask(&request).await;
        assert_eq!((status, answer), (204, Value::Null), "{why}");
    }
    for (nbr, request) in [
        (2, with(json!({ "imp": [] }))),
        (2, with(json!({ "app": { "bundle": "x" } }))),
        (2, with(json!({ "site": null }))),
        (3, with(json!({ "device": { "ua": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)" } }))),
    ] {
        let (status, answer) = exchange.ask(&request).await;
        assert_eq!((status, &answer["nbr"], answer.get("seatbid")), (200, &json!(nbr), None), "{answer}");
    }
    for (status, body) in [(400, "{".to_owned()), (400, "{\"id\":1}".to_owned()), (413, format!("{{\"id\":\"{}\"}}", "x".repeat(200_000)))]
    {
        assert_eq!(exchange.raw(body).await.0, status);
    }
    let bare = server.client.post(server.at("/openrtb2/bid")).json(&request()).send().await.expect("answer");
    assert_eq!(bare.status(), 401);
    let in_address =
        server.client.post(server.at(&format!("/openrtb2/bid?key={}", exchange.key))).json(&request()).send().await.expect("answer");
    assert_eq!(in_address.status(), 200);
    for path in ["/openrtb2/bill/forged", "/openrtb2/win/AAAA", "/openrtb2/loss/x"] {
        assert_eq!(server.client.get(server.at(path)).send().await.expect("answer").status(), 404, "{path}");
    }
});

both_engines!(without_consent_nobody_is_recognised, |shop| {
    let server = TestServer::start(&shop).await;
    let exchange = exchange(&shop, &server).await;
    // The browser b7 is u1, who has seen enough today.
    let manage = server.key(&[Scope::Ingest]).await;
    let event = json!({ "userId": "u1", "anonymousId": "b7", "messageId": "m1" });
    let sent = server.client.post(server.at("/v1/identify")).bearer_auth(&manage).json(&event).send().await.expect("answer");
    assert!(sent.status().is_success(), "{}", sent.status());
    let serve = server.key(&[Scope::Serve, Scope::Ingest, Scope::Manage]).await;
    let alias = server
        .client
        .post(server.at("/v1/identify"))
        .bearer_auth(&serve)
        .json(&json!({ "userId": "u1", "anonymousId": "b8", "messageId": "m2" }));
    assert!(alias.send().await.expect("answer").status().is_success());
    shop.platform.clock.advance_to(shop.platform.now().plus_secs(1));
    server.services.ads.refresh(true).await.expect("refresh");
    let cheap =
        json!({ "campaign": "cmp_1", "placement": "home", "name": "Plenty", "price_kind": "cpm", "price_minor": 300, "cap_per_day": 1 });
    exchange.post("/v1/line-items", &cheap).await;
    let shown =
        server.client.get(server.at("/v1/creatives?placement=home&person=u1")).bearer_auth(&exchange.key).send().await.expect("answer");
    assert_eq!(shown.json::<Value>().await.expect("JSON")["filled"], true);
    for _ in 0..3 {
        server.client.get(server.at("/v1/creatives?placement=home&person=u1")).bearer_auth(&exchange.key).send().await.expect("answer");
    }
    let known = json!({ "user": { "buyeruid": "b8" } });
    let (status, answer) = exchange.ask(&with(known.clone())).await;
    assert_eq!((status, &answer["nbr"]), (200, &json!(9)), "recognised, and has seen enough: {answer}");
    for signal in [
        json!({ "regs": { "gdpr": 1 } }),
        json!({ "regs": { "coppa": 1 } }),
        json!({ "regs": { "us_privacy": "1YYN" } }),
        json!({ "regs": { "gpp": "DBABLA~BAAAAAAAAAAA", "gpp_sid": [8] } }),
        json!({ "device": { "lmt": 1 } }),
        json!({ "user": { "ext": { "consent": "garbage" } }, "regs": { "gdpr": null } }),
    ] {
        let mut request = with(known.clone());
        let changed = with(signal.clone());
        for part in ["regs", "device"] {
            request[part] = changed[part].clone();
        }
        if let Some(ext) = signal["user"].get("ext") {
            request["user"]["ext"] = ext.clone();
        }
        let (status, answer) = exchange.ask(&request).await;
        assert!(status == 200 && answer["seatbid"].is_array(), "{signal}: only the page decides: {status} {answer}");
    }
});

/// A line item that pays €3 a thousand and goes first, with what it tells exchanges.
async fn telling(exchange: &Exchange<'_>, told: Value) -> String {
    let item = json!({ "campaign": "cmp_1", "placement": "home", "name": "Told", "tier": "sponsored", "price_kind": "cpm", "price_minor": 300,
                       "exchange": told });
    exchange.post("/v1/line-items", &item).await["id"].as_str().expect("id").to_owned()
}

both_engines!(refused_categories_advertisers_and_attributes_get_no_bid, |shop| {
    let server = TestServer::start(&shop).await;
    let exchange = exchange(&shop, &server).await;
    // The other line item has declared nothing: where categories are refused only the one that has may bid.
    let told = json!({ "categories": ["iab22-2"], "domain": "Brand.example.org", "attributes": [9] });
    telling(&exchange, told).await;
    let price = async |request: Value| {
        let (status, answer) = exchange.ask(&request).await;
        if status == 204 { Value::Null } else { answer["seatbid"][0]["bid"][0]["price"].clone() }
    };
    let (_, answer) = exchange.ask(&with(json!({ "bcat": ["IAB25", "IAB7-39", "BSW1"] }))).await;
    let bid = &answer["seatbid"][0]["bid"][0];
    assert_eq!((&bid["price"], &bid["cat"], &bid["cattax"]), (&json!(3.0), &json!(["IAB22-2"]), &json!(1)), "{answer}");
    assert_eq!((&bid["adomain"], &bid["attr"]), (&json!(["brand.example.org"]), &json!([9])));
    assert!(bid.get("dealid").is_none());
    for (why, request, wanted) in [
        ("its category", with(json!({ "bcat": ["IAB22"] })), Value::Null),
        ("just its category", with(json!({ "bcat": ["IAB22-2"] })), Value::Null),
        ("the one beside it", with(json!({ "bcat": ["IAB22-1"] })), json!(3.0)),
        ("another taxonomy", with(json!({ "bcat": ["IAB25"], "cattax": 7 })), Value::Null),
        ("listed", with(json!({ "acat": ["IAB22"] })), json!(3.0)),
        ("not listed", with(json!({ "acat": ["IAB1"] })), Value::Null),
        ("its advertiser: the other bids", with(json!({ "badv": ["example.org"] })), json!(2.5)),
        ("its attribute: the other bids", imp(json!({ "banner": { "w": 300, "h": 250, "battr": [13, 9] } })), json!(2.5)),
        ("any static picture", imp(json!({ "banner": { "w": 300, "h": 250, "battr": [21] } })), Value::Null),
    ] {
        assert_eq!(price(request).await, wanted, "{why}");
    }
    // What a hostile exchange may name: thousands of each.
    let many: Vec<String> = (0..4_000).map(|n| format!("IAB{}-{n}", n % 21 + 1)).collect();
    let domains: Vec<String> = (0..3_000).map(|n| format!("x{n}.test")).collect();
    assert_eq!(price(with(json!({ "bcat": many, "badv": domains }))).await, json!(3.0));
});

both_engines!(deals_are_bid_for_by_their_own_line_items, |shop| {
    let server = TestServer::start(&shop).await;
    let exchange = exchange(&shop, &server).await;
    telling(&exchange, json!({ "deal": "deal-7" })).await;
    let pmp = |private: i64, deals: Value| imp(json!({ "pmp": { "private_auction": private, "deals": deals } }));
    let bid = async |request: &Value| {
        let (status, answer) = exchange.ask(request).await;
        if status == 204 {
            return (Value::Null, Value::Null);
        }
        let bid = &answer["seatbid"][0]["bid"][0];
        (bid["price"].clone(), bid["dealid"].clone())
    };
    let (deal, open, none) = ((json!(3.0), json!("deal-7")), (json!(2.5), Value::Null), (Value::Null, Value::Null));
    assert_eq!(bid(&request()).await, open, "without the deal it stays away");
    let ours = json!({ "id": "deal-7", "bidfloor": 2.9, "bidfloorcur": "EUR" });
    assert_eq!(bid(&pmp(0, json!([{ "id": "other" }, ours]))).await, deal, "a deal goes before the open auction");
    assert_eq!(bid(&pmp(1, json!([ours]))).await, deal);
    assert_eq!(bid(&pmp(1, json!([{ "id": "other" }]))).await, none, "a private auction");
    assert_eq!(bid(&pmp(1, json!([{ "id": "deal-7", "bidfloor": 3.1, "bidfloorcur": "EUR" }]))).await, none, "its floor");
    assert_eq!(
        bid(&pmp(0, json!([{ "id": "deal-7", "bidfloor": 3.1, "bidfloorcur": "EUR" }]))).await,
        open,
        "its floor, but an open auction"
    );
    assert_eq!(bid(&pmp(1, json!([{ "id": "deal-7", "bidfloor": 0.1 }]))).await, none, "a floor in other money");
    assert_eq!(bid(&pmp(1, json!([{ "id": "deal-7", "wseat": ["somebody"] }]))).await, none, "another seat");
    assert_eq!(
        bid(&pmp(1, json!([{ "id": "deal-7", "wseat": ["marquee"], "wadomain": ["elsewhere.test"] }]))).await,
        none,
        "another advertiser"
    );
    assert_eq!(bid(&pmp(1, json!([{ "id": "deal-7", "wadomain": ["127.0.0.1"] }]))).await, deal);
    // The imp's own floor is the open auction's.
    let mut request = pmp(0, json!([ours]));
    request["imp"][0]["bidfloor"] = json!(99.0);
    assert_eq!(bid(&request).await, deal);
    let (status, answer) = exchange.ask(&pmp(1, json!([{ "id": "deal-7", "bidfloor": -1.0 }]))).await;
    assert_eq!((status, &answer["nbr"]), (200, &json!(2)));
    // On a page of one's own it never shows.
    for n in 0..12 {
        let page = format!("/v1/creatives?placement=home&anonymous_id=b{n}");
        let shown = server.client.get(server.at(&page)).bearer_auth(&exchange.key).send().await.expect("answer");
        assert_ne!(shown.json::<Value>().await.expect("JSON")["line_item_id"], "lin_2");
    }
    let free = json!({ "campaign": "cmp_1", "placement": "home", "name": "Free", "exchange": { "deal": "d" } });
    let refused = server.client.post(server.at("/v1/line-items")).bearer_auth(&exchange.manage).json(&free).send().await.expect("answer");
    assert_eq!(refused.status(), 422);
    assert_eq!(refused.json::<Value>().await.expect("JSON")["field"], "deal");
});

both_engines!(only_the_exchange_bills_and_only_while_the_bid_stands, |shop| {
    let server = TestServer::start(&shop).await;
    let exchange = exchange(&shop, &server).await;
    let bid = exchange.ask(&request()).await.1["seatbid"][0]["bid"][0].clone();
    let token = |name: &str, between: [&str; 2]| {
        let text = bid[name].as_str().expect("text");
        let from = text.find(between[0]).expect("there") + between[0].len();
        text[from..from + text[from..].find(between[1]).expect("ends")].to_owned()
    };
    // The click's token stands in the banner, for everybody to see: it bills nothing, nor does a notice's token click.
    let (click, notice) = (token("adm", ["/a/c/", "\""]), token("burl", ["/bill/", "?"]));
    let status = async |path: String| server.client.get(server.at(&path)).send().await.expect("answer").status().as_u16();
    assert_eq!(status(format!("/openrtb2/bill/{click}?price=0")).await, 404);
    assert_eq!(status(format!("/openrtb2/win/{click}")).await, 404);
    assert_eq!(status(format!("/a/c/{notice}")).await, 404);
    assert_eq!(status(format!("/openrtb2/bill/{notice}%00?price=0")).await, 404);
    shop.platform.clock.advance_to(shop.platform.now().plus_secs(901));
    assert_eq!(status(format!("/openrtb2/bill/{notice}?price=1")).await, 410, "it was bid a quarter of an hour ago");
    server.services.ads.flush().await;
    const SHOWN: &str = "SELECT COUNT(*) FROM impression";
    assert_eq!(read!(shop.platform.db, |c| sqlx::query_scalar::<_, i64>(SHOWN).fetch_one(c).await).expect("count"), 0);
    let fresh = exchange.ask(&request()).await.1["seatbid"][0]["bid"][0]["burl"].as_str().expect("burl").replace("${AUCTION_PRICE}", "2");
    assert_eq!(status(fresh[fresh.find("/openrtb2").expect("a path")..].to_owned()).await, 204);
    const CHANCE: &str = "SELECT item_chance FROM impression";
    let chance = read!(shop.platform.db, |c| sqlx::query_scalar::<_, Option<f64>>(CHANCE).fetch_one(c).await).expect("one");
    assert_eq!(chance, Some(1.0), "it had no rival");
});

/// Strings of real consent platforms and of the specification, decoded by the IAB's own library (npm @iabtechlabtcf/core) and, with the same
/// result, by PyPI iab-tcf.
#[derive(serde::Deserialize)]
struct Consent {
    string: String,
    purposes: Vec<usize>,
    vendors: Vec<usize>,
}

#[test]
fn real_consent_strings_are_read_as_others_read_them() {
    use marquee::adserver::openrtb::{Signals, may_personalise};
    let all: Vec<Consent> = serde_json::from_str(include_str!("fixtures/tcf.json")).expect("fixture");
    let (mut yes, mut no) = (0, 0);
    for consent in &all {
        let personal = [1, 3, 4].iter().all(|p| consent.purposes.contains(p));
        for vendor in 0..=1_200 {
            let expected = personal && consent.vendors.contains(&vendor);
            let signals = Signals { gdpr: Some(1), tcf: Some(&consent.string), ..Signals::default() };
            assert_eq!(may_personalise(&signals, vendor), expected, "{} for {vendor}", consent.string);
            if expected { yes += 1 } else { no += 1 }
        }
        // Cut anywhere, it never says yes to somebody it did not say yes to.
        for end in (1..consent.string.len()).filter(|e| consent.string.is_char_boundary(*e)) {
            let signals = Signals { gdpr: Some(1), tcf: Some(&consent.string[..end]), ..Signals::default() };
            assert!(!may_personalise(&signals, 755) || (personal && consent.vendors.contains(&755)), "{end} of {}", consent.string);
        }
    }
    assert!(all.len() >= 15 && yes > 1_000 && no > 10_000, "{yes} {no}");
}
