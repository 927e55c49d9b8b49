//! People on both engines: who is who, what they agreed to, and what is left of them once they ask to be forgotten.

use std::collections::HashSet;

use marquee::account::Scope;
use marquee::events;
use marquee::people::{self, Channel, Consent, Identity, Ids, NewPerson, PeopleError, Trust};
use marquee::platform::ids::PersonId;
use marquee::platform::{Db, Timestamp};
use marquee::read;
use serde_json::{Value, json};

use crate::both_engines;
use crate::support::START;
use crate::support::server::TestServer;

async fn resolve(db: &Db, ids: Ids, trust: Trust) -> PersonId {
    let mut tx = db.begin().await.expect("begin");
    let id = events::resolve(&mut tx, &ids, trust, START).await.expect("resolves");
    tx.commit().await.expect("commit");
    id
}

async fn upsert(db: &Db, people: &[NewPerson]) -> Vec<PersonId> {
    let mut tx = db.begin().await.expect("begin");
    let ids = people::bulk_upsert(&mut tx, people, START).await.expect("upsert");
    tx.commit().await.expect("commit");
    ids
}

fn all(external: &str, anonymous: &str, email: &str) -> Ids {
    let some = |t: &str| (!t.is_empty()).then(|| t.to_owned());
    Ids { external_id: some(external), anonymous_id: some(anonymous), email: some(email) }
}

both_engines!(an_anonymous_visitor_becomes_the_customer, |shop| {
    let db = &shop.platform.db;
    let visitor = resolve(db, Ids::anonymous("device-1"), Trust::Public).await;
    // They sign in: the profile takes the customer's name on.
    let customer = resolve(db, all("c1", "device-1", "Ann@Example.test"), Trust::Server).await;
    assert_eq!(visitor, customer);
    // A second device, used before signing in there, is folded in.
    let tablet = resolve(db, Ids::anonymous("device-2"), Trust::Public).await;
    assert_ne!(tablet, customer);
    assert_eq!(resolve(db, all("c1", "device-2", ""), Trust::Server).await, customer);
    for name in
        [Identity::Anonymous("device-2".into()), Identity::External("c1".into()), Identity::email(" ANN@example.test").expect("address")]
    {
        assert_eq!(people::find(db, &name).await.expect("read").expect("found").id, customer, "{name:?}");
    }
    let gone = people::get(db, tablet).await.expect("read").expect("the row stays");
    assert_eq!((gone.merged_into, gone.erased_at), (Some(customer), Some(START)));
    assert_eq!(people::count(db).await.expect("count"), 1);
    // Somebody else signs in on the tablet: the device follows, the customers stay apart.
    let other = resolve(db, all("c2", "device-2", ""), Trust::Server).await;
    assert_ne!(other, customer);
    assert_eq!(people::find(db, &Identity::Anonymous("device-2".into())).await.expect("read").expect("found").id, other);
    assert!(people::get(db, customer).await.expect("read").expect("there").erased_at.is_none());
});

both_engines!(a_claimed_address_unlocks_nothing, |shop| {
    let db = &shop.platform.db;
    let ann = resolve(db, all("ann", "", "ann@example.test"), Trust::Server).await;
    let bob = resolve(db, all("bob", "", ""), Trust::Server).await;
    for claim in [all("bob", "thief", "ann@example.test"), all("ann", "thief", ""), all("", "thief", "ann@example.test")] {
        let who = resolve(db, claim, Trust::Public).await;
        assert!(who != ann && who != bob, "the claim stays with the visitor's own profile");
    }
    // Even a server does not make two customers one by an address.
    assert_eq!(resolve(db, all("bob", "", "ann@example.test"), Trust::Server).await, bob);
    let (ann, bob) = (people::get(db, ann).await.expect("read").expect("ann"), people::get(db, bob).await.expect("read").expect("bob"));
    assert_eq!((ann.email.as_deref(), bob.email), (Some("ann@example.test"), None));
    assert!(matches!(
        people::resolve(&mut db.begin().await.expect("begin"), &Ids::default(), Trust::Server, START).await,
        Err(PeopleError::NoIdentity)
    ));
});

both_engines!(a_new_address_replaces_the_old_one, |shop| {
    let db = &shop.platform.db;
    let ann = resolve(db, all("ann", "", "old@example.test"), Trust::Server).await;
    let letters_only = resolve(db, Ids::of_email("new@example.test"), Trust::Server).await;
    assert_ne!(ann, letters_only);
    assert_eq!(resolve(db, all("ann", "", "New@example.test"), Trust::Server).await, ann);
    let now = people::get(db, ann).await.expect("read").expect("ann");
    assert_eq!(now.email.as_deref(), Some("New@example.test"));
    assert_eq!(people::find(db, &Identity::email("old@example.test").expect("address")).await.expect("read"), None);
    assert_eq!(people::get(db, letters_only).await.expect("read").expect("row").merged_into, Some(ann));
});

both_engines!(thousands_are_upserted_at_once_and_again_changes_nothing, |shop| {
    let db = &shop.platform.db;
    let people: Vec<NewPerson> = (0..1500)
        .map(|i| NewPerson {
            external_id: Some(format!("c{}", i % 1200)),
            email: (i % 2 == 0).then(|| format!("c{}@example.test", i % 1200)),
            city: Some(format!("Town {}", i % 1200)),
            email_consent: Some(if i % 3 == 0 { Consent::Subscribed } else { Consent::Never }),
            consent_source: "import:test".into(),
            ..NewPerson::default()
        })
        .collect();
    let ids = upsert(db, &people).await;
    assert_eq!(ids[..300], ids[1200..], "the same customer twice is one person");
    assert_eq!(people::count(db).await.expect("count"), 1200);
    let before = people::list(db, "", PersonId(0), 500).await.expect("list");
    assert_eq!(upsert(db, &people).await, ids);
    assert_eq!(people::list(db, "", PersonId(0), 500).await.expect("list"), before);
    let buckets: HashSet<i64> = before.iter().map(|p| p.bucket).collect();
    assert!(buckets.len() > 450 && buckets.iter().all(|b| (0..10_000).contains(b)));
    let lines = read!(*db, |c| sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM consent_log").fetch_one(c).await).expect("count");
    assert_eq!(lines, 400, "one line for each consent given; again adds none");
});

both_engines!(attributes_are_merged_within_bounds, |shop| {
    let db = &shop.platform.db;
    let person = |attributes: Value| NewPerson {
        external_id: Some("c".into()),
        attributes: attributes.as_object().cloned().expect("object"),
        ..NewPerson::default()
    };
    let id = upsert(db, &[person(json!({"a": 1, "b": {"x": [1]}})), person(json!({"a": null, "c": "it's"}))]).await[1];
    let stored = people::get(db, id).await.expect("read").expect("there").attributes.0;
    assert_eq!(Value::Object(stored), json!({"b": {"x": [1]}, "c": "it's"}));
    // 150 more and again 150 others: each fits, both together do not.
    let many = |from: usize| Value::Object((from..from + 150).map(|i| (format!("k{i}"), json!(i))).collect());
    upsert(db, &[person(many(0))]).await;
    let mut tx = db.begin().await.expect("begin");
    let refused = people::bulk_upsert(&mut tx, &[person(many(150))], START).await;
    assert!(matches!(refused, Err(PeopleError::Invalid { field: "attributes", .. })), "{refused:?}");
    drop(tx);
    assert_eq!(people::get(db, id).await.expect("read").expect("there").attributes.0.len(), 152);
});

both_engines!(consent_has_a_history_and_the_newest_answer_holds, |shop| {
    let db = &shop.platform.db;
    let id = resolve(db, Ids::external("c"), Trust::Server).await;
    let set = async |state: Consent, at: Timestamp| {
        let mut tx = db.begin().await.expect("begin");
        let changed = people::set_consent(&mut tx, id, Channel::Email, state, "test", at).await.expect("set");
        tx.commit().await.expect("commit");
        changed
    };
    assert!(set(Consent::Subscribed, START).await);
    assert!(!set(Consent::Subscribed, START.plus_secs(1)).await);
    assert!(set(Consent::Unsubscribed, START.plus_secs(20)).await);
    // A message that was under way for long does not subscribe them again.
    assert!(!set(Consent::Subscribed, START.plus_secs(10)).await);
    let file = people::export(db, id).await.expect("export");
    assert_eq!((file.person.email_consent, file.person.ads_consent), (Consent::Unsubscribed, Consent::Never));
    let lines: Vec<_> = file.consent_history.iter().map(|l| (l.state.as_str(), l.at, l.confirmed_at)).collect();
    let subscribed = ("subscribed", START, START.plus_secs(10));
    assert_eq!(lines, [subscribed, ("unsubscribed", START.plus_secs(20), START.plus_secs(20))], "changes only; a repetition confirms");
    // A "no" said again is as new as its last time: a yes from in between does not come after it.
    assert!(!set(Consent::Unsubscribed, START.plus_secs(40)).await);
    assert!(!set(Consent::Subscribed, START.plus_secs(30)).await);
    assert_eq!(people::get(db, id).await.expect("read").expect("there").email_consent, Consent::Unsubscribed);
    assert!(set(Consent::Subscribed, START.plus_secs(41)).await);
    let mut tx = db.begin().await.expect("begin");
    let nobody = people::set_consent(&mut tx, PersonId(999), Channel::Ads, Consent::Subscribed, "test", START).await;
    assert!(matches!(nobody, Err(PeopleError::NotFound)));
});

both_engines!(an_older_answer_in_bulk_undoes_nothing, |shop| {
    let db = &shop.platform.db;
    let answer = |state, days: i64| NewPerson {
        external_id: Some("c".into()),
        email: Some("c@example.test".into()),
        email_consent: Some(state),
        consent_at: Some(START.plus_days(days)),
        consent_source: "import:test".into(),
        ..NewPerson::default()
    };
    let id = upsert(db, &[answer(Consent::Subscribed, -10)]).await[0];
    let mut tx = db.begin().await.expect("begin");
    assert!(people::set_consent(&mut tx, id, Channel::Email, Consent::Unsubscribed, "link", START.plus_days(-5)).await.expect("set"));
    tx.commit().await.expect("commit");
    let state = async || people::get(db, id).await.expect("read").expect("there").email_consent;
    // The same old file again, and one from in between, in one batch: neither is newer than the click.
    upsert(db, &[answer(Consent::Subscribed, -10), answer(Consent::Subscribed, -6)]).await;
    assert_eq!(state().await, Consent::Unsubscribed);
    let lines = people::export(db, id).await.expect("export").consent_history;
    assert_eq!(lines.len(), 2, "nothing changed, so nothing is added: {lines:?}");
    // Within a batch too the dates decide, not the order of rows.
    upsert(db, &[answer(Consent::Unsubscribed, -1), answer(Consent::Subscribed, -2)]).await;
    assert_eq!(state().await, Consent::Unsubscribed);
    upsert(db, &[answer(Consent::Subscribed, 0)]).await;
    assert_eq!(state().await, Consent::Subscribed, "a newer answer holds");
});

both_engines!(a_suppressed_address_stays_so_in_any_spelling, |shop| {
    let db = &shop.platform.db;
    let mut tx = db.begin().await.expect("begin");
    assert!(people::suppress(&mut tx, "Ann@Example.test", "bounce", Some("550 no such user\0"), START).await.expect("suppress"));
    assert!(!people::suppress(&mut tx, "ann@example.test", "complaint", None, START).await.expect("suppress"));
    assert!(!people::suppress(&mut tx, "nonsense", "complaint", None, START).await.expect("ignored"));
    tx.commit().await.expect("commit");
    let asked = ["ANN@example.test", "bob@example.test", "'; DROP TABLE person; --"];
    assert_eq!(people::suppressed(db, &asked).await.expect("read"), HashSet::from(["ANN@example.test".to_owned()]));
    assert_eq!(people::suppression(db, "ann@example.test").await.expect("read").expect("there").reason, "bounce");
    let mut tx = db.begin().await.expect("begin");
    assert!(people::release(&mut tx, "ann@EXAMPLE.test").await.expect("release"));
    tx.commit().await.expect("commit");
    assert!(people::suppressed(db, &asked).await.expect("read").is_empty());
});

/// Every text in every column of the tables of this slice and its neighbour.
async fn everything_stored(db: &Db) -> String {
    let mut texts = String::new();
    for sql in [
        "SELECT CAST(id AS TEXT) || COALESCE(external_id, '') || COALESCE(email, '') || COALESCE(email_key, '') || COALESCE(first_name, '')
            || COALESCE(last_name, '') || COALESCE(phone, '') || COALESCE(city, '') || CAST(attributes AS TEXT) FROM person",
        "SELECT kind || value FROM person_identity",
        "SELECT state || source FROM consent_log",
        "SELECT email_key || reason || COALESCE(detail, '') FROM suppression",
        "SELECT COALESCE(top_category, '') || CAST(interest_tags AS TEXT) FROM person_traits",
        "SELECT name || CAST(properties AS TEXT) FROM event",
        "SELECT order_ref || COALESCE(flag, '') FROM shop_order",
        "SELECT sku || title FROM order_line",
        "SELECT ref || CAST(lines AS TEXT) FROM order_adjustment",
    ] {
        let rows = read!(*db, |c| sqlx::query_scalar::<_, String>(sql).fetch_all(c).await).expect("read");
        texts.extend(rows);
    }
    texts.to_lowercase()
}

both_engines!(nothing_personal_survives_erasure_but_the_money_does, |shop| {
    let db = &shop.platform.db;
    let server = TestServer::start(&shop).await;
    let key = server.key(&[Scope::Ingest, Scope::Manage]).await;
    let send = async |path: &str, body: Value| {
        let answer = server.client.post(server.at(path)).bearer_auth(&key).json(&body).send().await.expect("answer");
        assert_eq!(answer.status(), 200, "{path}");
    };
    let traits = json!({"email": "Vera.Secret@example.test", "firstName": "Vera", "phone": "555-0199", "aunt": "vera.secret@example.test",
        "email_consent": "unsubscribed"});
    send("/v1/identify", json!({"userId": "vera-1", "anonymousId": "dev-vera", "traits": traits})).await;
    send("/v1/track", json!({"userId": "vera-1", "event": "Signed Up", "properties": {"mail": "vera.secret@example.test"}})).await;
    send(
        "/v1/track",
        json!({"userId": "vera-1", "event": "Order Completed", "properties": {"order_id": "1001", "total": 20,
        "email": "vera.secret@example.test", "products": [{"sku": "a", "price": 10, "quantity": 2}]}}),
    )
    .await;
    let mut tx = db.begin().await.expect("begin");
    people::suppress(&mut tx, "vera.secret@example.test", "bounce", Some("vera.secret@example.test: unknown"), START)
        .await
        .expect("suppress");
    tx.commit().await.expect("commit");
    let id = people::find(db, &Identity::External("vera-1".into())).await.expect("read").expect("vera").id;
    assert!(everything_stored(db).await.contains("vera"), "the test looks where it is");

    let path = server.at(&format!("/v1/people/{id}"));
    let file: Value =
        server.client.get(format!("{path}/export")).bearer_auth(&key).send().await.expect("answer").json().await.expect("JSON");
    assert_eq!((file["events"].as_array().map(Vec::len), file["orders"].as_array().map(Vec::len)), (Some(2), Some(1)));
    assert_eq!(file["person"]["email"], "Vera.Secret@example.test");
    assert_eq!(server.client.delete(&path).bearer_auth(&key).send().await.expect("answer").status(), 204);
    assert_eq!(server.client.delete(&path).bearer_auth(&key).send().await.expect("answer").status(), 204, "again is fine");
    assert_eq!(server.client.delete(server.at("/v1/people/per_999")).bearer_auth(&key).send().await.expect("answer").status(), 404);

    let left = everything_stored(db).await;
    for word in ["vera", "secret", "555", "@"] {
        assert!(!left.contains(word), "{word} is left: {left}");
    }
    let totals = events::orders::totals(db, Timestamp::MIN, START.plus_days(1)).await.expect("totals");
    assert_eq!((totals[0].orders, totals[0].net_minor()), (1, 2000));
    assert!(events::orders::of_person(db, id, 10).await.expect("read").is_empty());
    assert_eq!(people::count(db).await.expect("count"), 0);
    // They are never written to again, though nobody can read from the list who they were.
    assert_eq!(people::suppressed(db, &["vera.secret@example.test"]).await.expect("read").len(), 1);
});

both_engines!(people_over_http, |shop| {
    let server = TestServer::start(&shop).await;
    let key = server.key(&[Scope::Manage]).await;
    let post = |body: Value| server.client.post(server.at("/v1/people")).bearer_auth(&key).json(&body).send();
    for i in 0..7 {
        let answer = post(
            json!({"external_id": format!("c{i}"), "email": format!("c{i}@example.test"), "first_name": "Robert'); DROP TABLE person;--"}),
        );
        assert_eq!(answer.await.expect("answer").status(), 200);
    }
    let changed: Value = post(json!({"email": "C3@example.test", "city": "Bern", "email_consent": "subscribed"}))
        .await
        .expect("answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(
        (&changed["external_id"], &changed["city"], &changed["email_consent"]),
        (&json!("c3"), &json!("Bern"), &json!("subscribed"))
    );
    assert_eq!(changed["first_name"], "Robert'); DROP TABLE person;--");

    let get = async |path: String| -> Value {
        server.client.get(server.at(&path)).bearer_auth(&key).send().await.expect("answer").json().await.expect("JSON")
    };
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(format!("/v1/people?limit=3{after}")).await;
        seen.extend(page["items"].as_array().expect("items").iter().map(|p| p["external_id"].as_str().expect("id").to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, ["c0", "c1", "c2", "c3", "c4", "c5", "c6"]);
    assert_eq!(get("/v1/people?q=C3%40".into()).await["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(get("/v1/people?q=%25".into()).await["items"].as_array().map(Vec::len), Some(0), "a percent sign is just text");
    let one = get(format!("/v1/people/{}", changed["id"].as_str().expect("id"))).await;
    assert_eq!(one["city"], "Bern");

    for (body, status, field) in [
        (json!({"city": "Bern"}), 422, "external_id"),
        (json!({"external_id": "x", "email": "nope"}), 422, "email"),
        (json!({"external_id": "x", "time_zone": "Mars/Olympus"}), 422, "time_zone"),
        (json!({"external_id": "x", "surprise": 1}), 400, ""),
        (json!({"external_id": "x".repeat(300)}), 422, "external_id"),
    ] {
        let answer = post(body.clone()).await.expect("answer");
        assert_eq!(answer.status(), status, "{body}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: Value = answer.json().await.expect("JSON");
        assert!(field.is_empty() || problem["field"] == field, "{body}: {problem}");
    }
    assert_eq!(server.client.get(server.at("/v1/people/cmp_1")).bearer_auth(&key).send().await.expect("answer").status(), 400);
});
