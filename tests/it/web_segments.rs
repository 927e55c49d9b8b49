//! The segments' pages: the builder without scripts, the live count, refused deletes, what each role sees.

use marquee::account::Role;
use marquee::audience::{self, NewSegment, Rule};
use marquee::people::{self, Consent, NewPerson};
use serde_json::json;

use crate::both_engines;
use crate::support::TestShop;
use crate::support::browser::Browser;
use crate::support::server::TestServer;

const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";

/// Six people, four of them from Germany, three of these with a consent to e-mail.
async fn fill(shop: &TestShop) {
    let now = shop.platform.now();
    let person = |i: usize| NewPerson {
        external_id: Some(format!("c-{i}")),
        email: Some(format!("person{i}@example.test")),
        first_name: Some(if i == 0 { HOSTILE.to_owned() } else { format!("First{i}") }),
        country: Some(if i < 4 { "DE" } else { "FR" }.to_owned()),
        attributes: json!({ "tier": if i.is_multiple_of(2) { "gold" } else { "tin" } }).as_object().cloned().unwrap_or_default(),
        email_consent: (i < 3).then_some(Consent::Subscribed),
        ..NewPerson::default()
    };
    let new: Vec<NewPerson> = (0..6).map(person).collect();
    let mut tx = shop.platform.db.begin().await.expect("transaction");
    people::bulk_upsert(&mut tx, &new, now).await.expect("people");
    tx.commit().await.expect("commit");
}

async fn segment(shop: &TestShop, key: &str, rule: serde_json::Value) -> audience::Segment {
    let rule = Rule::parse(rule).expect("rule");
    let new = NewSegment { key: key.into(), name: format!("The {key}"), rule };
    audience::create(&shop.platform.db, new, shop.platform.now()).await.expect("segment")
}

fn german() -> serde_json::Value {
    json!({"type": "attribute", "field": "country", "test": {"op": "eq", "value": "DE"}})
}

const GERMAN: [(&str, &str); 5] =
    [("r:kind", "all"), ("r.0:kind", "attribute"), ("r.0:field", "country"), ("r.0:op", "eq"), ("r.0:value", "DE")];

both_engines!(a_marketer_builds_a_segment_without_scripts, |shop| {
    fill(&shop).await;
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let empty = marketer.get("/segments").await;
    assert!(empty.text.contains("No segments yet") && empty.text.contains("/segments/new?start=drifting"));
    let page = marketer.get("/segments/new").await;
    assert!(page.text.contains("Finish the conditions") && page.text.contains("attributes.tier"), "{}", page.text);
    // A button adds a group with a condition, and keeps what was typed.
    let mut fields = GERMAN.to_vec();
    fields.push(("do", "group:r"));
    let more = marketer.submit("/segments/new", "/segments/build", &fields).await;
    assert_eq!(more.status, 200);
    assert!(
        more.text.contains("name=\"r.0:value\" type=\"text\" value=\"DE\"") && more.text.contains("name=\"r.1.0:kind\""),
        "{}",
        more.text
    );
    assert!(more.text.contains("Finish the conditions"), "the new condition is empty");
    // The live count, as a fragment.
    let live = marketer.submit("/segments/new", "/segments/count", &GERMAN).await;
    assert!(live.text.contains("4 <small>people") && live.text.contains("66.7 % of everybody"), "{}", live.text);
    assert!(live.text.contains("3 of them agreed to e-mail") && live.text.contains("country is “DE”"), "{}", live.text);
    assert!(!live.text.contains("<html") && live.text.contains("&lt;script&gt;alert(1)"), "{}", live.text);
    // Saving without a name is refused with what was typed.
    let refused = marketer.submit("/segments/new", "/segments/save", &GERMAN).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text.contains("A name has 1 to 200 characters") && refused.text.contains("value=\"DE\""));
    let mut unfinished = GERMAN.to_vec();
    unfinished[4] = ("r.0:value", "");
    unfinished.push(("name", "X"));
    let refused = marketer.submit("/segments/new", "/segments/save", &unfinished).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text.contains("One field needs another look") && refused.text.contains("aria-describedby=\"w-r.0:value\""));
    let mut named = GERMAN.to_vec();
    named.push(("name", "Germans!"));
    let saved = marketer.submit("/segments/new", "/segments/save", &named).await;
    assert_eq!(saved.status, 303, "{}", saved.text);
    let again = marketer.submit("/segments/new", "/segments/save", &named).await;
    assert_eq!(again.status, 303, "a key that is taken gets a number");
    let segment = audience::find(&shop.platform.db, "germans").await.expect("segment");
    assert_eq!(segment.rule, Rule::parse(json!({"type": "all", "of": [german()]})).expect("rule"));
    assert!(audience::find(&shop.platform.db, "germans-2").await.is_ok());
    // Changing it.
    let path = format!("/segments/{}", segment.id);
    let edit = marketer.get(&format!("{path}/edit")).await;
    assert!(edit.text.contains("value=\"DE\"") && edit.text.contains("Germans!"));
    let id = segment.id.to_string();
    let mut changed = named.clone();
    changed[4] = ("r.0:value", "FR");
    changed.extend([("id", id.as_str()), ("r.0:not", "on")]);
    assert_eq!(marketer.submit(&format!("{path}/edit"), "/segments/save", &changed).await.status, 303);
    let rule = audience::find(&shop.platform.db, "germans").await.expect("segment").rule;
    assert_eq!(rule.describe(), "not (country is “FR”)");
    let page = marketer.get(&path).await;
    assert!(page.text.contains("not (country is “FR”)") && page.text.contains(&format!("/campaigns/new?segment={id}")), "{}", page.text);
    // Every change is in the audit log.
    let admin = Browser::signed_in(&server, Role::Admin).await;
    assert!(admin.get("/settings/audit").await.text.contains("segment.save"));
});

both_engines!(overlap_sizes_and_members_are_what_they_say, |shop| {
    fill(&shop).await;
    let a = segment(&shop, "german", german()).await;
    let gold = json!({"type": "attribute", "field": "attributes.tier", "test": {"op": "eq", "value": "gold"}});
    let b = segment(&shop, "gold", gold).await;
    audience::snapshot(&shop.platform, a.id, shop.platform.now().plus_days(-3)).await.expect("snapshot");
    audience::snapshot(&shop.platform, a.id, shop.platform.now()).await.expect("snapshot");
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let list = marketer.get("/segments?sort=-size").await.text;
    assert!(list.find("The german").expect("there") < list.find("The gold").expect("there"), "the counted one first");
    assert!(!marketer.get("/segments?q=GOL").await.text.contains("The german"));
    assert!(marketer.get("/segments?q=nobody").await.text.contains("No segment is called"));
    // 4 Germans, 3 gold, 2 both.
    let page = marketer.get(&format!("/segments/{}?with={}", a.id, b.id)).await.text;
    assert!(page.contains("class=\"venn\""), "{page}");
    assert!(page.contains("50.0 %") && page.contains("66.7 %") && page.contains("40.0 %"), "of the first, of the second, Jaccard: {page}");
    assert!(page.contains("person3@example.test") && page.contains("Size over time"));
    let file = marketer.get(&format!("/segments/{}/members.csv", a.id)).await;
    assert_eq!(file.text.lines().count(), 5, "{}", file.text);
    assert!(file.headers["content-disposition"].to_str().expect("text").contains("german.csv"));
    assert_eq!(marketer.submit(&format!("/segments/{}", a.id), &format!("/segments/{}/refresh", a.id), &[]).await.status, 303);
    let csv = marketer.get("/segments.csv").await.text;
    assert!(csv.starts_with("id,key,name,size") && csv.contains("The german,4,") && csv.contains("country is “DE”"), "{csv}");
    // Figures and names for everybody; addresses for nobody who may not see people.
    let analyst = Browser::signed_in(&server, Role::Analyst).await;
    for path in [format!("/segments/{}?with={}", a.id, b.id), "/segments".into(), "/segments.csv".into()] {
        let seen = analyst.get(&path).await;
        assert_eq!(seen.status, 200, "{path}");
        assert!(!seen.text.contains("@example.test") && !seen.text.contains("First1"), "{path}");
    }
    assert_eq!(analyst.get(&format!("/segments/{}/members.csv", a.id)).await.status, 403);
    assert_eq!(analyst.get("/segments/new").await.status, 403);
});

both_engines!(a_segment_in_use_stays_and_says_who_uses_it, |shop| {
    let a = segment(&shop, "base", json!({"type": "everyone"})).await;
    let b = segment(&shop, "above", json!({"type": "in_segment", "segment": "base"})).await;
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let ask = marketer.get(&format!("/segments/{}/delete", a.id)).await;
    assert_eq!(ask.status, 303);
    assert!(marketer.get(ask.location()).await.text.contains("cannot be deleted, because it is used: segment “The above”"));
    let path = format!("/segments/{}/delete", b.id);
    assert!(marketer.get(&path).await.text.contains("This cannot be undone"));
    assert_eq!(marketer.submit(&path, &path, &[]).await.location(), "/segments");
    assert_eq!(marketer.get(&format!("/segments/{}", b.id)).await.status, 404);
});

both_engines!(hostile_names_and_rules_are_shown_as_text, |shop| {
    let hostile = json!({"type": "attribute", "field": format!("attributes.{HOSTILE}"), "test": {"op": "eq", "value": HOSTILE}});
    let rule = Rule::parse(hostile).expect("rule");
    let new = NewSegment { key: "evil".into(), name: HOSTILE.into(), rule };
    let evil = audience::create(&shop.platform.db, new, shop.platform.now()).await.expect("segment");
    let server = TestServer::start(&shop).await;
    let admin = Browser::signed_in(&server, Role::Admin).await;
    for path in ["/segments".to_owned(), format!("/segments/{}", evil.id), format!("/segments/{}/edit", evil.id), "/segments/new".into()] {
        let seen = admin.get(&path).await;
        assert_eq!(seen.status, 200, "{path}");
        assert!(!seen.text.contains("<script>alert") && !seen.text.contains("<img src=x"), "{path}");
    }
    // What a form sends is text too, also where it is no rule of ours.
    let fields = [("name", HOSTILE), ("r:kind", "all"), ("r.0:kind", "json"), ("r.0:json", "</textarea><script>alert(1)</script>")];
    let seen = admin.submit("/segments/new", "/segments/save", &fields).await;
    assert_eq!(seen.status, 422);
    assert!(!seen.text.contains("<script>alert"), "{}", seen.text);
});

both_engines!(a_count_that_takes_too_long_stops, |shop| {
    fill(&shop).await;
    let (db, now) = (&shop.platform.db, shop.platform.now());
    let all = Rule::parse(json!({"type": "everyone"})).expect("rule");
    let minute = std::time::Duration::from_secs(60);
    assert_eq!(audience::count_within(db, &all, now, minute).await.expect("count"), audience::Counted::Exactly(6));
    assert_eq!(
        audience::overlap_within(db, &all, &Rule::parse(german()).expect("rule"), now, minute).await.expect("overlap").map(|o| o.both),
        Some(4)
    );
    // No time at all: whatever comes, it is no wrong figure, and the connection can be used again.
    for _ in 0..6 {
        let found = audience::count_within(db, &all, now, std::time::Duration::ZERO).await.expect("an answer");
        assert!(matches!(found, audience::Counted::TooLong | audience::Counted::About(_) | audience::Counted::Exactly(6)), "{found:?}");
    }
    assert_eq!(audience::count(db, &all, now).await.expect("count"), 6);
});
