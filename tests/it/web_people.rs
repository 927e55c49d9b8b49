//! The people's pages: search by what a name begins with, one person's timeline, consent, export, erase; and who may see any of it.

use std::collections::BTreeSet;

use marquee::account::Role;
use marquee::events::orders::{NewOrder, OrderLine, Source};
use marquee::events::{self, NewEvent, orders};
use marquee::people::{self, Channel, Consent, NewPerson};
use marquee::platform::ids::{EventId, PersonId};
use marquee::platform::{Currency, Timestamp};
use serde_json::json;

use crate::both_engines;
use crate::support::TestShop;
use crate::support::browser::Browser;
use crate::support::server::TestServer;

const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";

async fn add(shop: &TestShop, new: &[NewPerson]) -> Vec<PersonId> {
    let mut tx = shop.platform.db.begin().await.expect("transaction");
    let ids = people::bulk_upsert(&mut tx, new, shop.platform.now()).await.expect("people");
    tx.commit().await.expect("commit");
    ids
}

fn named(external_id: &str, email: &str, first: &str, last: &str) -> NewPerson {
    let text = |t: &str| Some(t.to_owned()).filter(|t| !t.is_empty());
    NewPerson { external_id: text(external_id), email: text(email), first_name: text(first), last_name: text(last), ..NewPerson::default() }
}

async fn found(shop: &TestShop, q: &str) -> Vec<PersonId> {
    let found = people::search(&shop.platform.db, q, None, 50).await.expect("search");
    found.into_iter().map(|f| f.person.id).collect()
}

both_engines!(people_are_found_by_how_a_name_begins, |shop| {
    let ids = add(
        &shop,
        &[
            named("K-100", "Anna.Berg@example.test", "Anna", "Berg"),
            named("k-200", "zoe@example.test", "Zoë", "Ärmel"),
            named("X_1", "annabel@example.test", "Bo", "Annan"),
            named("", "bo@example.test", "anna", "Zander"),
        ],
    )
    .await;
    let set = |at: &[usize]| at.iter().map(|i| ids[*i]).collect::<BTreeSet<_>>();
    for (q, wanted) in [
        ("anna", set(&[0, 2, 3])),
        ("ANNA", set(&[0, 2, 3])),
        ("anna.b", set(&[0])),
        ("k-", set(&[0, 1])),
        ("K-100", set(&[0])),
        ("anna z", set(&[3])),
        ("berg anna", set(&[0])),
        ("ärm", set(&[1])),
        ("Zo", set(&[1])),
        ("x_", set(&[2])),
        ("x%", set(&[])),
        ("nobody", set(&[])),
        ("", set(&[])),
    ] {
        let found = found(&shop, q).await;
        assert_eq!(found.len(), found.iter().collect::<BTreeSet<_>>().len(), "{q}: everybody once");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted, "{q}");
    }
});

both_engines!(pages_of_a_search_meet_everybody_once, |shop| {
    // Each is found by address, first and last name.
    let new: Vec<NewPerson> =
        (0..130).map(|i| named("", &format!("anna{i:03}@example.test"), if i % 2 == 0 { "Anna" } else { "annabel" }, "Annason")).collect();
    add(&shop, &new).await;
    let (mut after, mut seen) = (None::<(String, PersonId)>, Vec::new());
    loop {
        let from = after.as_ref().map(|(key, id)| (key.as_str(), *id));
        let page = people::search(&shop.platform.db, "anna", from, 40).await.expect("search");
        let Some(last) = page.last() else { break };
        after = Some((last.key.clone(), last.person.id));
        seen.extend(page.iter().map(|f| f.person.id));
    }
    assert_eq!(seen.len(), 130);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 130);
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let first = marketer.get("/people?q=anna").await.text;
    let next =
        regex::Regex::new(r#"rel="next" href="([^"]+)""#).expect("pattern").captures(&first).expect("a next page")[1].replace("&amp;", "&");
    let second = marketer.get(&format!("/people{next}")).await;
    assert_eq!(second.status, 200, "{next}");
    assert!(second.text.contains("annabel") || second.text.contains("anna05"), "{}", second.text);
    // Without a search: the newest first, page by page.
    let newest = marketer.get("/people").await.text;
    assert!(newest.contains("130 people are known") && newest.contains("anna129@example.test") && !newest.contains("anna000@example.test"));
});

fn event(person: PersonId, name: &str, at: Timestamp, properties: serde_json::Value) -> NewEvent {
    NewEvent {
        id: EventId::new(at),
        person_id: person,
        kind: "track",
        name: name.into(),
        product_id: None,
        occurred_at: at,
        received_at: at,
        properties: properties.as_object().cloned().unwrap_or_default(),
    }
}

async fn order(shop: &TestShop, person: PersonId, reference: &str, at: Timestamp) {
    let line =
        OrderLine { product_id: None, sku: "t1".into(), title: "Oak table".into(), quantity: 2, unit_price_minor: 5_000, flag: None };
    let order = NewOrder {
        order_ref: reference.into(),
        person_id: Some(person),
        placed_at: at,
        currency: Currency::EUR,
        total_minor: 10_000,
        lines: vec![line],
        flag: None,
        source: Source::Server,
    };
    let mut tx = shop.platform.db.begin().await.expect("transaction");
    orders::record(&mut tx, &order, at).await.expect("order");
    tx.commit().await.expect("commit");
}

/// Ids of a list, over all its pages.
async fn listed(browser: &Browser<'_>, query: &str) -> Vec<String> {
    let rows = regex::Regex::new(r#"<a class="name" href="/people/(per_\d+)""#).expect("pattern");
    let next = regex::Regex::new(r#"rel="next" href="([^"]+)""#).expect("pattern");
    let (mut ids, mut path) = (Vec::new(), format!("/people?{query}"));
    loop {
        let page = browser.get(&path).await;
        assert_eq!(page.status, 200, "{path}");
        ids.extend(rows.captures_iter(&page.text).map(|c| c[1].to_owned()));
        match next.captures(&page.text) {
            Some(found) => path = format!("/people{}", found[1].replace("&amp;", "&")),
            None => return ids,
        }
    }
}

both_engines!(people_stand_in_every_order_and_go_into_a_file, |shop| {
    let p = &shop.platform;
    let now = p.now();
    let new: Vec<NewPerson> = (0..60)
        .map(|i| NewPerson {
            first_seen_at: Some(now.plus_days(-((i * 7) % 60) - 1)),
            ..named("", &format!("u{i:02}@example.test"), &format!("{}{i:02}", if i % 2 == 0 { "Zoe" } else { "anna" }), "")
        })
        .chain([named("c-1", "", "=cmd()", "Berg")])
        .collect();
    let ids: Vec<String> = add(&shop, &new).await.iter().map(ToString::to_string).collect();
    let buyers: Vec<PersonId> = [3, 5].iter().map(|i| ids[*i].parse().expect("id")).collect();
    order(&shop, buyers[0], "A-1", now.plus_secs(-60)).await;
    order(&shop, buyers[1], "A-2", now.plus_secs(-60)).await;
    order(&shop, buyers[1], "A-3", now.plus_secs(-30)).await;
    events::refresh_traits(p, now).await.expect("traits");
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let all: BTreeSet<&String> = ids.iter().collect();
    for query in ["", "sort=name", "sort=-name", "sort=first_seen", "sort=-first_seen", "sort=last_seen", "sort=-orders", "sort=revenue"] {
        let found = listed(&marketer, query).await;
        assert_eq!((found.len(), found.iter().collect::<BTreeSet<_>>()), (61, all.clone()), "{query}: everybody once");
    }
    let names = listed(&marketer, "sort=name").await;
    assert_eq!((&names[0], &names[1], &names[60]), (&ids[60], &ids[1], &ids[58]), "as the list names them, large and small letters alike");
    let seen = listed(&marketer, "sort=first_seen").await;
    assert_eq!(seen[0], ids[17], "17 × 7 is 59 modulo 60: seen first");
    assert_eq!(listed(&marketer, "sort=-orders").await[..2], [buyers[1].to_string(), buyers[0].to_string()]);
    assert_eq!(listed(&marketer, "sort=-revenue").await[..2], [buyers[1].to_string(), buyers[0].to_string()]);
    // The file has the list's order, and no formula.
    let file = marketer.get("/people/download?sort=-orders").await;
    assert!(file.headers["content-type"].to_str().expect("text").starts_with("text/csv"));
    let mut reader = csv::Reader::from_reader(file.text.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(|r| r.expect("a row")).collect();
    assert_eq!((rows.len(), &rows[0][0], &rows[0][12], &rows[0][13]), (61, buyers[1].to_string().as_str(), "2", "200.00"));
    assert!(file.text.contains("'=cmd()") && !file.text.contains(",=cmd"), "{}", file.text);
    let some = marketer.get("/people/download?q=anna0").await.text;
    assert_eq!(some.lines().count(), 6, "anna01, 03, 05, 07, 09 and the head: {some}");
    // Who took it is written down, without what was looked for; who may not see people gets no file.
    let admin = Browser::signed_in(&server, Role::Admin).await;
    let log = admin.get("/settings/audit?action=people.download").await.text;
    assert!(log.contains("marketer@example.test") && !log.contains("anna0"), "{log}");
    let analyst = Browser::signed_in(&server, Role::Analyst).await;
    assert_eq!(analyst.get("/people/download").await.status, 403);
});

both_engines!(a_timeline_is_one_stream_in_order_page_by_page, |shop| {
    let now = shop.platform.now();
    let id = add(&shop, &[named("c-1", "ann@example.test", "Ann", "")]).await[0];
    // 120 events, an order at the very moment of one of them.
    let mut tx = shop.platform.db.begin().await.expect("transaction");
    let rows: Vec<NewEvent> =
        (0..120).map(|i| event(id, &format!("Step {i:03}"), now.plus_secs(-60 * i), json!({ "color": HOSTILE }))).collect();
    events::insert_many(&mut tx, &rows).await.expect("events");
    tx.commit().await.expect("commit");
    order(&shop, id, "A-77", now.plus_secs(-60 * 60)).await;
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let next = regex::Regex::new(r#"rel="next" href="([^"]+)""#).expect("pattern");
    let steps = regex::Regex::new(r"Step (\d{3})|Order (A-77)").expect("pattern");
    let (mut path, mut seen) = (format!("/people/{id}"), Vec::new());
    for _ in 0..5 {
        let page = marketer.get(&path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(!page.text.contains("<script>alert") && !page.text.contains("<img src=x"));
        seen.extend(steps.captures_iter(&page.text).map(|c| c[0].to_owned()));
        match next.captures(&page.text) {
            Some(found) => path = format!("/people/{id}{}", found[1].replace("&amp;", "&")),
            None => break,
        }
    }
    let mut wanted: Vec<String> = (0..120).map(|i| format!("Step {i:03}")).collect();
    wanted.insert(60, "Order A-77".into());
    assert_eq!(seen, wanted, "an order stands before the events of its moment");
    let orders = marketer.get(&format!("/people/{id}?kind=orders")).await.text;
    assert!(orders.contains("2 × Oak table") && orders.contains("€100.00") && !orders.contains("Step 001"), "{orders}");
    assert!(marketer.get(&format!("/people/{id}?after=nonsense")).await.status == 400);
});

both_engines!(consent_export_and_erase_do_what_they_say, |shop| {
    let id = add(&shop, &[named("c-1", "ann@example.test", "Ann", "Berg")]).await[0];
    let mut tx = shop.platform.db.begin().await.expect("transaction");
    people::suppress(&mut tx, "ann@example.test", "bounce", None, shop.platform.now()).await.expect("suppressed");
    tx.commit().await.expect("commit");
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let path = format!("/people/{id}");
    let page = marketer.get(&path).await.text;
    assert!(page.contains("This address is never written to: mail to it came back"), "{page}");
    assert_eq!(marketer.submit(&path, &format!("{path}/release"), &[]).await.status, 303);
    assert!(people::suppression(&shop.platform.db, "ann@example.test").await.expect("read").is_none());
    let set = marketer.submit(&path, &format!("{path}/consent"), &[("channel", "email"), ("state", "subscribed")]).await;
    assert_eq!(set.status, 303);
    let person = people::get(&shop.platform.db, id).await.expect("read").expect("there");
    assert_eq!(person.consent(Channel::Email), Consent::Subscribed);
    assert!(marketer.get(&path).await.text.contains("marketer"), "the history says who set it");
    let odd = marketer.submit(&path, &format!("{path}/consent"), &[("channel", "email"), ("state", "maybe")]).await;
    assert_eq!(odd.status, 422);
    let file = marketer.get(&format!("{path}/export.json")).await;
    let json: serde_json::Value = serde_json::from_str(&file.text).expect("JSON");
    assert_eq!(json["person"]["email"], "ann@example.test");
    // Erasing asks for the id to be typed.
    let erase = format!("{path}/erase");
    let refused = marketer.submit(&erase, &erase, &[("typed", "Ann Berg")]).await;
    assert_eq!(refused.status, 422);
    assert!(people::get(&shop.platform.db, id).await.expect("read").expect("there").erased_at.is_none());
    assert_eq!(marketer.submit(&erase, &erase, &[("typed", &id.to_string())]).await.location(), "/people");
    let gone = marketer.get(&path).await;
    assert!(gone.status == 200 && gone.text.contains("This person was erased") && !gone.text.contains("Ann"), "{}", gone.text);
    assert_eq!(marketer.get(&format!("{path}/export.json")).await.status, 404);
    assert!(found(&shop, "ann").await.is_empty());
    // The audit log names the id, and nothing of who it was.
    let admin = Browser::signed_in(&server, Role::Admin).await;
    let log = admin.get("/settings/audit").await.text;
    assert!(log.contains("person.erase") && log.contains(&id.to_string()) && !log.contains("ann@example.test"), "{log}");
});

both_engines!(who_may_not_see_people_sees_none, |shop| {
    let id = add(&shop, &[named("c-1", "ann@example.test", "Ann", "Berg")]).await[0];
    let server = TestServer::start(&shop).await;
    let analyst = Browser::signed_in(&server, Role::Analyst).await;
    for path in ["/people".to_owned(), format!("/people/{id}"), format!("/people/{id}/export.json"), format!("/people/{id}/part/choice")] {
        let seen = analyst.get(&path).await;
        assert_eq!(seen.status, 403, "{path}");
        assert!(!seen.text.contains("ann@example.test"));
    }
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let choice = marketer.get(&format!("/people/{id}/part/choice")).await;
    assert_eq!(choice.status, 200);
    assert!(choice.text.contains("there are no products that may be shown") && choice.headers["x-live"] == "done", "{}", choice.text);
    for odd in ["/people/per_99999", "/people/1", "/people/seg_1"] {
        assert_eq!(marketer.get(odd).await.status, 404, "{odd}");
    }
});
