//! Segments on both engines: equal to a naive reading in Rust, bounded, safe from hostile text, resumable.

use actix_web::http::Method;
use actix_web::{App, test as actix_test, web};
use marquee::account::{KeyRing, Scope};
use marquee::audience::rule::*;
use marquee::audience::{self, AudienceError, NewSegment, Rule};
use marquee::platform::Timestamp;
use marquee::platform::ids::{JobRunId, PersonId, SegmentId};
use marquee::platform::queue::{JobContext, Progress};
use marquee::read;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand::SeedableRng as _;
use serde_json::{Value, json};

use crate::audience_world::{self as world, CATEGORIES, EVENTS, KEYS, Naive, SKUS, TEXTS, TIMES};
use crate::both_engines;
use crate::support::{START, TestShop};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => proptest::sample::select(&TEXTS[..]).prop_filter("not empty", |t| !t.is_empty()).prop_map(str::to_owned),
        1 => "[a-zA-ZäÖßΩж'\"%_\\\\$;-]{1,6}",
    ]
}

fn instant() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        (0_i64..40).prop_map(Scalar::DaysAgo),
        (0_i64..40).prop_map(|d| Scalar::Time(START.plus_days(-d))),
        proptest::sample::select(&TIMES[..]).prop_filter_map("a time", |t| Timestamp::parse(t).map(Scalar::Time)),
    ]
}

fn number() -> impl Strategy<Value = Scalar> {
    prop_oneof![8 => (-4_i32..12).prop_map(|n| Scalar::Number(f64::from(n) / 2.0)), 1 => Just(Scalar::Number(9_007_199_254_740_992.0))]
}

fn scalar(kind: Kind) -> BoxedStrategy<Scalar> {
    match kind {
        Kind::Text => prop_oneof![9 => text(), 1 => Just(String::new())].prop_map(Scalar::Text).boxed(),
        Kind::Number => number().boxed(),
        Kind::Time => instant().boxed(),
        Kind::Open => prop_oneof![text().prop_map(Scalar::Text), number(), instant(), any::<bool>().prop_map(Scalar::Bool)].boxed(),
    }
}

fn test(kind: Kind) -> BoxedStrategy<Test> {
    let list = proptest::collection::vec(scalar(kind), 1..5).prop_map(|values| Test::In { values });
    let equal = (any::<bool>(), scalar(kind)).prop_map(|(eq, value)| if eq { Test::Eq { value } } else { Test::Ne { value } });
    let plain = prop_oneof![3 => equal, 2 => list, 1 => Just(Test::Exists {})];
    let ordered = |one: BoxedStrategy<Scalar>| {
        (0..5_u8, one.clone(), one).prop_map(|(op, value, to)| match op {
            0 => Test::Lt { value },
            1 => Test::Le { value },
            2 => Test::Gt { value },
            3 => Test::Ge { value },
            _ => Test::Between { from: value, to },
        })
    };
    let texts = (any::<bool>(), text()).prop_map(|(c, value)| if c { Test::Contains { value } } else { Test::StartsWith { value } });
    match kind {
        Kind::Text => prop_oneof![plain, texts].boxed(),
        Kind::Number => prop_oneof![plain, ordered(number().boxed())].boxed(),
        Kind::Time => prop_oneof![plain, ordered(instant().boxed())].boxed(),
        Kind::Open => prop_oneof![2 => plain, 1 => texts, 1 => ordered(number().boxed()), 1 => ordered(instant().boxed())].boxed(),
    }
}

fn days() -> impl Strategy<Value = Option<i64>> {
    proptest::option::of(0_i64..40)
}

fn category() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(&CATEGORIES[..]).prop_map(str::to_owned),
        Just("home".to_owned()),
        Just("MÖBEL".to_owned()),
        text()
    ]
}

fn leaf() -> BoxedStrategy<Rule> {
    let open = (proptest::sample::select(&KEYS[..]), test(Kind::Open))
        .prop_map(|(key, test)| Rule::Attribute(Attribute { field: Field::Open(key.into()), test }));
    let column = proptest::sample::select(Column::ALL)
        .prop_flat_map(|c| test(c.kind()).prop_map(move |test| Rule::Attribute(Attribute { field: Field::Column(c), test })));
    let property =
        (proptest::sample::select(&KEYS[..]), test(Kind::Open)).prop_map(|(key, test)| PropertyTest { property: key.into(), test });
    let times = (0..3_u8, 0_i64..4).prop_map(|(op, n)| [Times::AtLeast(n), Times::AtMost(n), Times::Exactly(n)][usize::from(op)]);
    let did = (
        proptest::sample::select(&EVENTS[..]),
        times,
        days(),
        proptest::option::weighted(0.3, category()),
        proptest::collection::vec(property, 0..2),
        any::<bool>(),
    )
        .prop_map(|(event, times, within_days, category, conditions, did)| {
            let event = event.to_owned();
            if did {
                Rule::Did(Did { event, times, within_days, category, conditions })
            } else {
                Rule::DidNot(DidNot { event, within_days, category, conditions })
            }
        });
    let bought = (proptest::option::of(category()), proptest::option::weighted(0.3, proptest::sample::select(&SKUS[..])), days())
        .prop_map(|(category, product, within_days)| Rule::Bought(Bought { category, product: product.map(str::to_owned), within_days }));
    let range = || (1_i64..=5, 1_i64..=5).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let rfm = (range(), proptest::option::of(range()), proptest::option::of(range()))
        .prop_map(|(r, frequency, monetary)| Rule::Rfm(Rfm { recency: Some(r), frequency, monetary }));
    let computed = proptest::sample::select(TraitName::ALL)
        .prop_flat_map(|name| test(name.kind()).prop_map(move |test| Rule::Trait(TraitTest { name, test })));
    let engagement = (0..3_usize, 0..5_u8).prop_map(|(t, th)| {
        Rule::Engagement(Engagement { trend: [Trend::Rising, Trend::Falling, Trend::Steady][t], threshold: f64::from(th) / 10.0 })
    });
    let seen = (any::<bool>(), 0..4_u8, 0_i64..40).prop_map(|(first, when, d)| {
        let t = START.plus_days(-d);
        let when = [When::Before(t), When::After(t), When::WithinDays(d), When::NotWithinDays(d)][usize::from(when)];
        Rule::Seen(Seen { which: if first { Which::First } else { Which::Last }, when })
    });
    let consent = (any::<bool>(), 0..3_usize).prop_map(|(email, s)| {
        let is = [ConsentState::Subscribed, ConsentState::Unsubscribed, ConsentState::Never][s];
        Rule::Consent(ConsentIs { channel: if email { ConsentChannel::Email } else { ConsentChannel::Ads }, is })
    });
    let bucket = (0_i64..9_999, 1_i64..10_000).prop_map(|(from, n)| Rule::Bucket(Bucket { from, to: (from + n).min(10_000) }));
    let segment = proptest::sample::select(&["germans", "not-germans"][..]).prop_map(|s| Rule::InSegment(InSegment { segment: s.into() }));
    prop_oneof![
        4 => open, 4 => column, 4 => did, 3 => bought, 1 => rfm, 3 => computed, 1 => engagement, 1 => seen, 1 => consent, 1 => bucket, 1 => segment,
        1 => Just(Rule::Everyone {})
    ]
    .boxed()
}

fn rule() -> impl Strategy<Value = Rule> {
    leaf().prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|of| Rule::All { of }),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|of| Rule::Any { of }),
            inner.prop_map(|r| Rule::Not { rule: Box::new(r) }),
        ]
    })
}

async fn put(shop: &TestShop, key: &str, rule: Value) -> Result<audience::Segment, AudienceError> {
    let rule = Rule::parse(rule)?;
    audience::create(&shop.platform.db, NewSegment { key: key.into(), name: key.into(), rule }, START).await
}

async fn everyone_in(shop: &TestShop, snapshot: &audience::Snapshot) -> Vec<i64> {
    let mut all = Vec::new();
    loop {
        let after = PersonId(all.last().copied().unwrap_or(0));
        let page = audience::members(&shop.platform.db, snapshot.id, after, 7).await.expect("members");
        if page.is_empty() {
            return all;
        }
        all.extend(page.iter().map(|p| p.0));
    }
}

both_engines!(a_rule_gives_who_a_naive_reading_gives, |shop| {
    let db = &shop.platform.db;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let people = world::people(&mut rng, 60);
    world::store(db, &people).await;
    let germans = json!({"type": "attribute", "field": "country", "test": {"op": "eq", "value": "de"}});
    let not = json!({"type": "not", "rule": {"type": "in_segment", "segment": "germans"}});
    put(&shop, "germans", germans.clone()).await.expect("segment");
    put(&shop, "not-germans", not).await.expect("segment");
    let germans = Rule::parse(germans).expect("rule");
    let segments = [("germans", germans.clone()), ("not-germans", Rule::Not { rule: Box::new(germans) })];
    let naive = Naive { as_of: START.0, segments: &segments };
    let config = Config { cases: 500, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let (mut some, mut all) = (0, 0);
    let handle = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        let seen = std::cell::Cell::new((0, 0));
        runner
            .run(&rule(), |rule| {
                let round = Rule::parse(serde_json::to_value(&rule).expect("json")).map_err(|e| TestCaseError::fail(e.to_string()))?;
                prop_assert_eq!(&round, &rule, "JSON there and back");
                prop_assert!(!rule.describe().is_empty());
                let expected: Vec<i64> = people.iter().filter(|p| naive.holds(&rule, p)).map(|p| p.id.0).collect();
                let found = handle.block_on(async {
                    let resolved = audience::resolve(db, &rule).await.map_err(|e| TestCaseError::fail(e.to_string()))?;
                    let compiled = resolved.compile(db.dialect(), START);
                    ids(db, &compiled).await.map_err(|e| TestCaseError::fail(e.to_string()))
                })?;
                prop_assert_eq!(found, expected.clone(), "{}", rule.describe());
                let (s, a) = seen.get();
                seen.set((s + usize::from(!expected.is_empty() && expected.len() < people.len()), a + 1));
                Ok(())
            })
            .unwrap_or_else(|e| panic!("{e}"));
        (some, all) = seen.get();
    });
    assert!(some * 2 > all, "most rules divide the people: {some} of {all}");
});

async fn ids(db: &marquee::platform::Db, rule: &audience::Compiled) -> sqlx::Result<Vec<i64>> {
    let sql = format!("SELECT p.id FROM person p WHERE {} ORDER BY p.id", rule.condition);
    read!(*db, |c| {
        let mut query = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql));
        for bind in &rule.binds {
            query = match bind {
                audience::Bind::Int(v) => query.bind(*v),
                audience::Bind::Real(v) => query.bind(*v),
                audience::Bind::Text(v) => query.bind(v.as_str()),
            };
        }
        query.fetch_all(c).await
    })
}

both_engines!(hostile_text_stays_text, |shop| {
    let db = &shop.platform.db;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(8);
    let people = world::people(&mut rng, 20);
    world::store(db, &people).await;
    let living = people.iter().filter(|p| !p.erased).count() as i64;
    for evil in [
        "' OR '1'='1",
        "x'); DELETE FROM person; --",
        "$1",
        "\\",
        "\"",
        "%",
        "_",
        "{\"a\":1}",
        "a' || (SELECT email FROM person) || '",
        "\u{feff}",
    ] {
        let rules = json!([
            {"type": "attribute", "field": "country", "test": {"op": "eq", "value": evil}},
            {"type": "attribute", "field": "city", "test": {"op": "contains", "value": evil}},
            {"type": "attribute", "field": "city", "test": {"op": "starts_with", "value": evil}},
            {"type": "attribute", "field": "city", "test": {"op": "in", "values": [evil, "x"]}},
            {"type": "attribute", "field": format!("attributes.{evil}"), "test": {"op": "eq", "value": evil}},
            {"type": "did", "event": evil},
            {"type": "did", "event": "Product Viewed", "category": evil, "where": [{"property": evil, "test": {"op": "contains", "value": evil}}]},
            {"type": "bought", "category": evil},
            {"type": "bought", "product": evil},
            {"type": "trait", "trait": "top_category", "test": {"op": "eq", "value": evil}},
        ]);
        for rule in rules.as_array().expect("list") {
            let rule = Rule::parse(rule.clone()).expect("a rule");
            let n = audience::count(db, &rule, START).await.unwrap_or_else(|e| panic!("{evil:?}: {e}"));
            // `\`, `%` … do occur as plain text in this world.
            let naive = Naive { as_of: START.0, segments: &[] };
            assert_eq!(n, people.iter().filter(|p| naive.holds(&rule, p)).count() as i64, "{evil:?} {}", rule.describe());
            audience::sample(db, &rule, START, 5).await.expect("sample");
        }
    }
    assert_eq!(audience::count(db, &Rule::Everyone {}, START).await.expect("count"), living);
});

#[test]
fn limits_name_the_place() {
    let deep = (0..8).fold(json!({"type": "everyone"}), |inner, _| json!({"type": "not", "rule": inner}));
    let many: Vec<Value> = (0..201).map(|_| json!({"type": "everyone"})).collect();
    let country =
        |test: Value| json!({"type": "all", "of": [{"type": "everyone"}, {"type": "attribute", "field": "country", "test": test}]});
    let cases = [
        (deep, "rule.rule.rule.rule.rule.rule.rule.rule.rule", "nested"),
        (json!({"type": "any", "of": many}), "rule", "1 to 200"),
        (json!({"type": "any", "of": []}), "rule", "1 to 200"),
        (country(json!({"op": "in", "values": vec!["a"; 1001]})), "rule.of[1].test.values", "1001"),
        (country(json!({"op": "in", "values": []})), "rule.of[1].test.values", "1 to 1000"),
        (country(json!({"op": "eq", "value": "a".repeat(501)})), "rule.of[1].test.value", "500"),
        (country(json!({"op": "eq", "value": "a\u{0}b"})), "rule.of[1].test.value", "U+0000"),
        (country(json!({"op": "eq", "value": 3})), "rule.of[1].test.value", "a text"),
        (country(json!({"op": "lt", "value": "b"})), "rule.of[1].test.value", "order"),
        (country(json!({"op": "like", "value": "b"})), "rule.of[1]", "like"),
        (country(json!({"op": "eq", "value": "b", "extra": 1})), "rule.of[1]", "extra"),
        (json!({"type": "everyone", "sql": "1=1"}), "rule", "sql"),
        (json!({"type": "attribute", "field": "password", "test": {"op": "exists"}}), "rule", "password"),
        (json!({"type": "attribute", "field": "attributes.", "test": {"op": "exists"}}), "rule", "name"),
        (json!({"type": "sql"}), "rule", "sql"),
        (json!([1]), "rule", "object"),
        (json!({"type": "did", "event": ""}), "rule.event", "empty"),
        (json!({"type": "did", "event": "x", "within_days": -1}), "rule.within_days", "-1"),
        (json!({"type": "did", "event": "x", "times": {"at_least": -1}}), "rule.times", "-1"),
        (
            json!({"type": "did", "event": "x", "where": [{"property": "p", "test": {"op": "between", "from": 1, "to": {"days_ago": 3}}}]}),
            "rule.where[0].test",
            "one type",
        ),
        (json!({"type": "rfm", "recency": [0, 9]}), "rule.recency", "1 to 5"),
        (json!({"type": "rfm"}), "rule", "needs a range"),
        (json!({"type": "bucket", "from": 5, "to": 5}), "rule", "below"),
        (json!({"type": "engagement", "trend": "rising", "threshold": 7}), "rule.threshold", "between 0 and 1"),
        (json!({"type": "trait", "trait": "order_count", "test": {"op": "contains", "value": "1"}}), "rule.test", "texts only"),
    ];
    for (rule, path, why) in cases {
        let error = Rule::parse(rule.clone()).expect_err(&rule.to_string());
        assert!(error.path == path && error.why.to_string().contains(why), "{rule}: {error}");
    }
}

both_engines!(segments_cannot_name_each_other_in_a_circle, |shop| {
    let db = &shop.platform.db;
    let names = |s: &str| json!({"type": "in_segment", "segment": s});
    assert!(matches!(put(&shop, "a", names("nobody")).await, Err(AudienceError::Rule(e)) if e.why.to_string().contains("nobody")));
    let a = put(&shop, "a", json!({"type": "everyone"})).await.expect("a");
    put(&shop, "b", names("a")).await.expect("b");
    let c = put(&shop, "c", names("b")).await.expect("c");
    for circle in [names("a"), names(&a.id.to_string()), names("c"), json!({"type": "not", "rule": {"type": "any", "of": [names("b")]}})] {
        let error = audience::update(db, a.id, "a", Rule::parse(circle).expect("rule"), START).await.expect_err("a circle");
        assert!(error.to_string().contains("circle"), "{error}");
    }
    assert_eq!(audience::get(db, a.id).await.expect("a").version, 1, "nothing was changed");
    // A chain may be five long, not more.
    put(&shop, "d", names("c")).await.expect("d");
    put(&shop, "e", names("d")).await.expect("e");
    let error = put(&shop, "f", json!({"type": "any", "of": [names("e"), names("d")]})).await.map(|_| ());
    assert!(error.is_ok(), "{error:?}");
    let error = put(&shop, "g", names("f")).await.expect_err("too deep");
    assert!(error.to_string().contains("deep"), "{error}");
    // Wide trees multiply.
    put(&shop, "wide", json!({"type": "all", "of": vec![json!({"type": "everyone"}); 150]})).await.expect("wide");
    let error = put(&shop, "wider", json!({"type": "all", "of": vec![names("wide"); 5]})).await.expect_err("too large");
    assert!(error.to_string().contains("600"), "{error}");
    // Used segments stay.
    assert!(matches!(audience::delete(db, a.id).await, Err(AudienceError::Used(by)) if by.contains("“b”")));
    assert!(matches!(audience::delete(db, c.id).await, Err(AudienceError::Used(_))));
    let wide = audience::find(db, "wide").await.expect("wide").id;
    audience::delete(db, wide).await.expect("unused");
    assert!(matches!(audience::get(db, wide).await, Err(AudienceError::Unknown(_))));
    assert!(matches!(put(&shop, "a", names("b")).await, Err(AudienceError::Taken(_))));
    for key in ["", "A", "ä", "seg_1", "a b"] {
        assert!(matches!(put(&shop, key, names("b")).await, Err(AudienceError::Key)), "{key}");
    }
});

both_engines!(snapshots_are_whole_resumable_and_kept_three_deep, |shop| {
    let db = &shop.platform.db;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(9);
    let people = world::people(&mut rng, 40);
    world::store(db, &people).await;
    let segment = put(&shop, "some", json!({"type": "bucket", "from": 0, "to": 6000})).await.expect("segment");
    let expected: Vec<i64> = people.iter().filter(|p| !p.erased && p.bucket < 6000).map(|p| p.id.0).collect();
    assert!(expected.len() > 10);
    assert_eq!(audience::latest_snapshot(db, segment.id).await.expect("latest"), None);

    // A snapshot that was left half done is not the latest; going on completes it without writing anybody twice.
    let half = expected[expected.len() / 2];
    let before = expected.iter().filter(|id| **id <= half).count() as i64;
    world::insert(
        db,
        "segment_snapshot",
        vec![
            ("id", world::Cell::Int(Some(900))),
            ("segment_id", world::Cell::Int(Some(segment.id.0))),
            ("rule_version", world::Cell::Int(Some(1))),
            ("taken_at", world::Cell::Int(Some(START.0))),
            ("status", world::Cell::Text(Some("building".into()))),
            ("size", world::Cell::Int(Some(before))),
            ("cursor_person_id", world::Cell::Int(Some(half))),
            ("created_at", world::Cell::Int(Some(START.0))),
        ],
    )
    .await;
    for id in expected.iter().filter(|id| **id <= half) {
        world::insert(db, "segment_member", vec![("snapshot_id", world::Cell::Int(Some(900))), ("person_id", world::Cell::Int(Some(*id)))])
            .await;
    }
    assert_eq!(audience::latest_snapshot(db, segment.id).await.expect("latest"), None);
    let done = audience::snapshot(&shop.platform, segment.id, START).await.expect("snapshot");
    assert_eq!((done.id.0, done.complete, done.size), (900, true, expected.len() as i64));
    assert_eq!(everyone_in(&shop, &done).await, expected);
    assert_eq!(audience::latest_snapshot(db, segment.id).await.expect("latest"), Some(done.clone()));

    // Old ones lose their members, not their size.
    for day in 1..=6 {
        audience::snapshot(&shop.platform, segment.id, START.plus_days(day)).await.expect("snapshot");
    }
    let sizes = audience::sizes(db, segment.id, 100).await.expect("sizes");
    assert_eq!(sizes.iter().map(|p| p.size).collect::<Vec<_>>(), vec![expected.len() as i64; 7]);
    assert!(everyone_in(&shop, &done).await.is_empty());
    let latest = audience::latest_snapshot(db, segment.id).await.expect("latest").expect("one");
    assert_eq!(latest.taken_at, START.plus_days(6));
    assert_eq!(everyone_in(&shop, &latest).await, expected);
    let kept = read!(*db, |c| sqlx::query_scalar::<_, i64>("SELECT COUNT(DISTINCT snapshot_id) FROM segment_member").fetch_one(c).await)
        .expect("count");
    assert_eq!(kept, 3);

    // Two workers at once give one whole snapshot each or share one; nobody is lost.
    let (a, b) = tokio::join!(
        audience::snapshot(&shop.platform, segment.id, START.plus_days(7)),
        audience::snapshot(&shop.platform, segment.id, START.plus_days(7))
    );
    for one in [a.expect("first"), b.expect("second")] {
        assert!(one.complete);
        assert_eq!(everyone_in(&shop, &one).await, expected);
    }
    audience::delete(db, segment.id).await.expect("delete with its snapshots");
    assert!(audience::list(db, SegmentId(0), 10).await.expect("list").is_empty());
});

both_engines!(overlap_counts_both_sides, |shop| {
    let db = &shop.platform.db;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(10);
    let people = world::people(&mut rng, 50);
    world::store(db, &people).await;
    let a = json!({"type": "attribute", "field": "attributes.when", "test": {"op": "lt", "value": {"days_ago": 0}}});
    let b = json!({"type": "any", "of": [{"type": "bucket", "from": 2000, "to": 9000}, {"type": "attribute", "field": "attributes.when", "test": {"op": "exists"}}]});
    let (a, b) = (Rule::parse(a).expect("a"), Rule::parse(b).expect("b"));
    let naive = Naive { as_of: START.0, segments: &[] };
    let count = |want: (bool, bool)| people.iter().filter(|p| !p.erased && (naive.holds(&a, p), naive.holds(&b, p)) == want).count() as i64;
    let found = audience::overlap(db, &a, &b, START).await.expect("overlap");
    assert_eq!((found.first_only, found.second_only, found.both), (count((true, false)), count((false, true)), count((true, true))));
    assert!(found.both > 0 && found.second_only > 0);
});

both_engines!(segments_over_http, |shop| {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(12);
    let people = world::people(&mut rng, 30);
    world::store(&shop.platform.db, &people).await;
    let ring = KeyRing::load(shop.platform.db.clone()).await.expect("ring");
    let key = ring.create("shop", &[Scope::Manage], START).await.expect("key").key;
    let other = ring.create("analyst", &[Scope::Reports], START).await.expect("key").key;
    let app = actix_test::init_service(
        App::new().app_data(web::Data::new(shop.platform.clone())).app_data(web::Data::new(ring)).configure(audience::routes),
    )
    .await;
    let ask = |method: &str, path: &str, body: Option<Value>| {
        let request = actix_test::TestRequest::default()
            .method(Method::from_bytes(method.as_bytes()).expect("method"))
            .uri(path)
            .insert_header(("Authorization", format!("Bearer {key}")));
        match body {
            Some(body) => request.set_json(body).to_request(),
            None => request.to_request(),
        }
    };
    let rule = json!({"type": "bucket", "from": 0, "to": 5000});
    let expected: Vec<i64> = people.iter().filter(|p| !p.erased && p.bucket < 5000).map(|p| p.id.0).collect();

    let preview: Value =
        actix_test::call_and_read_body_json(&app, ask("POST", "/v1/segments/preview", Some(json!({ "rule": rule })))).await;
    assert_eq!(preview["count"].as_u64(), Some(expected.len() as u64));
    assert!(
        preview["sample"].as_array().is_some_and(|s| !s.is_empty())
            && preview["description"].as_str().is_some_and(|d| d.contains("50.00 %"))
    );

    let body = json!({"key": "half", "name": "Half of all", "rule": rule});
    let made: Value = actix_test::call_and_read_body_json(&app, ask("POST", "/v1/segments", Some(body.clone()))).await;
    assert_eq!((made["key"].as_str(), made["version"].as_i64(), made["latest"].is_null()), (Some("half"), Some(1), true));
    for (path, body, status) in [
        ("/v1/segments", body.clone(), 409),
        ("/v1/segments", json!({"key": "Half!", "name": "x", "rule": rule}), 422),
        ("/v1/segments", json!({"key": "x", "name": "", "rule": rule}), 422),
        ("/v1/segments/preview", json!({"rule": {"type": "all", "of": [{"type": "sql"}]}}), 422),
        ("/v1/segments/nobody/snapshot", json!({}), 404),
    ] {
        let response = actix_test::call_service(&app, ask("POST", path, Some(body.clone()))).await;
        assert_eq!(response.status().as_u16(), status, "{path} {body}");
        let problem: Value = actix_test::read_body_json(response).await;
        assert!(status != 422 || problem["field"].is_string(), "{problem}");
    }
    let bad = ask("POST", "/v1/segments/preview", Some(json!({"rule": {"type": "all", "of": [{"type": "sql"}]}})));
    let problem: Value = actix_test::call_and_read_body_json(&app, bad).await;
    assert_eq!(problem["field"], "rule.of[0]", "the place in the tree");

    // No snapshot yet; the job that the API enqueues takes it.
    assert_eq!(actix_test::call_service(&app, ask("GET", "/v1/segments/half/members", None)).await.status(), 409);
    assert_eq!(actix_test::call_service(&app, ask("POST", "/v1/segments/half/snapshot", Some(json!({})))).await.status(), 202);
    let args = read!(shop.platform.db, |c| sqlx::query_scalar::<_, sqlx::types::Json<Value>>(
        "SELECT args FROM job_run WHERE job = 'audience.snapshot'"
    )
    .fetch_one(c)
    .await)
    .expect("the enqueued run");
    for args in [args.0, json!({})] {
        let context = JobContext {
            run_id: JobRunId(1),
            args,
            scheduled_at: START,
            attempt: 1,
            progress: Progress::default(),
            stop: tokio_util::sync::CancellationToken::new(),
        };
        (audience::jobs()[0].run)(shop.platform.clone(), context).await.expect("the job");
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page: Value =
            actix_test::call_and_read_body_json(&app, ask("GET", &format!("/v1/segments/half/members?limit=4{after}"), None)).await;
        seen.extend(
            page["items"].as_array().expect("items").iter().map(|v| v.as_str().expect("an id")[4..].parse::<i64>().expect("number")),
        );
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, expected);
    let sizes: Value = actix_test::call_and_read_body_json(&app, ask("GET", "/v1/segments/half/sizes", None)).await;
    assert_eq!(sizes.as_array().map(Vec::len), Some(2), "one by name, one with all");

    let changed = json!({"name": "Everybody", "rule": {"type": "everyone"}});
    let changed: Value = actix_test::call_and_read_body_json(&app, ask("PUT", "/v1/segments/half", Some(changed))).await;
    assert_eq!((changed["version"].as_i64(), changed["description"].as_str()), (Some(2), Some("everyone")));
    let overlap: Value = actix_test::call_and_read_body_json(&app, ask("GET", "/v1/segments/half/overlap/half", None)).await;
    assert_eq!(overlap["both"].as_u64(), Some(people.iter().filter(|p| !p.erased).count() as u64));
    let page: Value = actix_test::call_and_read_body_json(&app, ask("GET", "/v1/segments?limit=1", None)).await;
    assert_eq!((page["items"].as_array().map(Vec::len), page["next"].is_null()), (Some(1), true));

    let forbidden =
        actix_test::TestRequest::get().uri("/v1/segments").insert_header(("Authorization", format!("Bearer {other}"))).to_request();
    assert_eq!(actix_test::call_service(&app, forbidden).await.status(), 403, "a report key reads no people");
    assert_eq!(actix_test::call_service(&app, ask("DELETE", "/v1/segments/half", None)).await.status(), 204);
    assert_eq!(actix_test::call_service(&app, ask("GET", "/v1/segments/half", None)).await.status(), 404);
});
