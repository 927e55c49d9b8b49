//! The job `people.traits`: exact figures of a small shop, equal on both engines, resumable, and quick enough for a large one.

use std::collections::BTreeMap;

use marquee::catalog::{self, NewProduct};
use marquee::events::orders::{self, AdjustmentKind, NewAdjustment, NewOrder, OrderLine, Source};
use marquee::events::{self, NewEvent, name};
use marquee::people::{self, NewPerson, Traits};
use marquee::platform::clock::{DAY_US, HOUR_US, MINUTE_US};
use marquee::platform::ids::{EventId, JobRunId, PersonId, ProductId};
use marquee::platform::queue::{JobContext, Progress};
use marquee::platform::{Currency, Money, Timestamp, setting};
use serde_json::{Map, json};
use tokio_util::sync::CancellationToken;

use crate::both_engines;
use crate::support::{Engine, START, TestShop};

fn event(person: PersonId, product: Option<ProductId>, name: &str, at: Timestamp) -> NewEvent {
    let properties = Map::new();
    NewEvent {
        id: EventId::new(at),
        person_id: person,
        kind: "track",
        name: name.into(),
        product_id: product,
        occurred_at: at,
        received_at: at,
        properties,
    }
}

fn order(order_ref: &str, person: PersonId, at: Timestamp, product: ProductId, price: i64) -> NewOrder {
    let line =
        OrderLine { product_id: Some(product), sku: "s".into(), title: "t".into(), quantity: 1, unit_price_minor: price, flag: None };
    NewOrder {
        order_ref: order_ref.into(),
        person_id: Some(person),
        placed_at: at,
        currency: Currency::EUR,
        total_minor: price,
        lines: vec![line],
        flag: None,
        source: Source::Import,
    }
}

async fn people(shop: &TestShop, n: usize) -> Vec<PersonId> {
    let new: Vec<NewPerson> = (0..n)
        .map(|i| NewPerson {
            external_id: Some(format!("c{i}")),
            time_zone: (i == 0).then(|| "America/New_York".into()),
            ..NewPerson::default()
        })
        .collect();
    let mut tx = shop.platform.db.begin().await.expect("begin");
    let ids = people::bulk_upsert(&mut tx, &new, START.plus_days(-400)).await.expect("people");
    tx.commit().await.expect("commit");
    ids
}

async fn products(shop: &TestShop, n: usize) -> Vec<ProductId> {
    let new: Vec<NewProduct> = (0..n)
        .map(|i| NewProduct {
            category_path: format!("Shop > {}", ["Tea", "Toys", "Garden"][i % 3]),
            brand: Some(format!("Brand {}", i % 4)),
            ..NewProduct::new(
                format!("p{i}"),
                format!("{} thing {i}", ["Green", "Wooden", "Garden"][i % 3]),
                Money::new(500 + i64::try_from(i).expect("small"), Currency::EUR),
            )
        })
        .collect();
    let mut tx = shop.platform.db.begin().await.expect("begin");
    let ids = catalog::bulk_upsert(&mut tx, &new, START.plus_days(-400)).await.expect("products").ids;
    tx.commit().await.expect("commit");
    ids
}

async fn load(shop: &TestShop, new: &[NewEvent], bought: &[NewOrder]) {
    for part in new.chunks(5000) {
        let mut tx = shop.platform.db.begin().await.expect("begin");
        assert_eq!(events::insert_many(&mut tx, part).await.expect("events"), u64::try_from(part.len()).expect("small"));
        tx.commit().await.expect("commit");
    }
    for part in bought.chunks(200) {
        let mut tx = shop.platform.db.begin().await.expect("begin");
        orders::bulk_record(&mut tx, part, START).await.expect("orders");
        tx.commit().await.expect("commit");
    }
}

async fn all_traits(shop: &TestShop, ids: &[PersonId]) -> BTreeMap<PersonId, Traits> {
    people::traits_many(&shop.platform.db, ids).await.expect("traits").into_iter().collect()
}

both_engines!(a_small_shop_by_hand, |shop| {
    let db = &shop.platform.db;
    let ids = people(&shop, 4).await;
    let stock = products(&shop, 6).await;
    let at = |days: i64, minutes: i64| START.plus_days(-days).plus_us(minutes * MINUTE_US);
    // Person 0, on whose clock START (noon UTC) is 07:00: two visits yesterday and three events in the first; one visit 40 days ago.
    let seen = [
        event(ids[0], Some(stock[0]), name::PRODUCT_VIEWED, at(1, 0)),
        event(ids[0], Some(stock[0]), name::PRODUCT_VIEWED, at(1, 29)),
        event(ids[0], Some(stock[1]), name::PRODUCT_VIEWED, at(1, 59)),
        event(ids[0], None, "Searched", at(1, 90)),
        event(ids[0], Some(stock[0]), name::PRODUCT_VIEWED, at(40, 0)),
        // What happens later is not known yet.
        event(ids[0], Some(stock[2]), name::PRODUCT_VIEWED, START.plus_us(1)),
        event(ids[1], Some(stock[2]), name::PRODUCT_VIEWED, at(3, 0)),
    ];
    let bought = [
        order("a", ids[0], at(10, 0), stock[0], 400),
        order("b", ids[0], at(20, 0), stock[3], 800),
        order("c", ids[2], at(5, 0), stock[1], 3000),
        order("given back", ids[1], at(5, 0), stock[1], 900),
        order("later", ids[1], START.plus_days(1), stock[1], 900),
        NewOrder { flag: Some("outlier".into()), ..order("flagged", ids[1], at(5, 0), stock[1], 900) },
        NewOrder { currency: Currency::USD, ..order("dollars", ids[2], at(4, 0), stock[1], 7000) },
    ];
    load(&shop, &seen, &bought).await;
    let mut tx = db.begin().await.expect("begin");
    for (order_ref, kind, amount, when) in [
        ("given back", AdjustmentKind::Cancel, None, at(1, 0)),
        ("a", AdjustmentKind::Refund, Some(100), at(2, 0)),
        ("a", AdjustmentKind::Refund, Some(50), START.plus_days(2)),
    ] {
        let reference = format!("{order_ref}{when}");
        let new = NewAdjustment {
            reference,
            order_ref: order_ref.into(),
            kind,
            at: when,
            amount_minor: amount,
            currency: None,
            lines: vec![],
            source: Source::Import,
        };
        orders::adjust(&mut tx, &new, START).await.expect("adjust");
    }
    tx.commit().await.expect("commit");

    assert_eq!(events::refresh_traits(&shop.platform, START).await.expect("job"), 4);
    let t = all_traits(&shop, &ids).await;
    let first = &t[&ids[0]];
    assert_eq!(
        (first.order_count, first.revenue_minor, first.recency_days),
        (2, 1100, Some(10)),
        "what was given back later is not known yet"
    );
    assert_eq!((first.first_order_at, first.last_order_at), (Some(at(20, 0)), Some(at(10, 0))));
    // Two buyers with two orders each; the other's are more recent and larger.
    assert_eq!((first.r_quantile, first.f_quantile, first.m_quantile), (1, 1, 1));
    let other = &t[&ids[2]];
    assert_eq!((other.order_count, other.revenue_minor), (2, 3000), "orders in dollars count, their money does not");
    assert_eq!((other.r_quantile, other.f_quantile, other.m_quantile), (3, 1, 3));
    assert_eq!((first.visits_28, first.visits_prev_28, first.active_days_28), (2, 1, 1));
    assert!((first.depth_28 - 2.0).abs() < 1e-9 && first.engagement > 0.3 && (first.engagement_trend - 1.5_f64.ln()).abs() < 1e-5);
    assert_eq!(
        (first.active_hours.0[7], first.active_hours.0[8], first.active_hours.0.iter().sum::<i64>()),
        (4, 1, 5),
        "12:00 to 13:30 UTC is 7 to 8:30 there; 40 days ago as well"
    );
    assert_eq!(first.best_hour, Some(7));
    assert_eq!((first.price_p25_minor, first.price_p50_minor, first.price_p75_minor), (Some(400), Some(400), Some(800)));
    assert_eq!(first.top_category.as_deref(), Some("Shop > Tea"));
    assert!((first.category_affinity.0.values().sum::<f64>() - 1.0).abs() < 1e-4);
    assert!(
        first.interest_tags.0.contains(&"category:Shop > Tea".to_owned()) && first.interest_tags.0.contains(&"term:green".to_owned()),
        "{:?}",
        first.interest_tags
    );
    // Somebody who only looked: prices looked at, no quintiles. And somebody of whom nothing is known.
    let looker = &t[&ids[1]];
    assert_eq!((looker.order_count, looker.r_quantile, looker.price_p50_minor), (0, 0, Some(502)));
    let nobody = &t[&ids[3]];
    assert_eq!((nobody.visits_28, nobody.engagement.to_bits(), nobody.best_hour, nobody.price_p50_minor), (0, 0, None, None));
    assert_eq!(nobody.active_hours.0.len(), 24);

    // Again as of the same moment: the same. As of later: what was hidden shows.
    events::refresh_traits(&shop.platform, START).await.expect("job");
    assert_eq!(all_traits(&shop, &ids).await, t);
    events::refresh_traits(&shop.platform, START.plus_days(3)).await.expect("job");
    let later = all_traits(&shop, &ids).await;
    assert_eq!((later[&ids[0]].revenue_minor, later[&ids[1]].order_count), (1050, 1));
});

both_engines!(a_run_that_was_cut_off_goes_on_where_it_stopped, |shop| {
    let db = &shop.platform.db;
    let ids = people(&shop, 6).await;
    let mut tx = db.begin().await.expect("begin");
    setting::put(&mut tx, "people.traits.cursor", &json!({"as_of_us": START.0, "after": ids[3].0, "done": false}), START)
        .await
        .expect("put");
    tx.commit().await.expect("commit");
    assert_eq!(events::refresh_traits(&shop.platform, START).await.expect("job"), 2);
    assert_eq!(events::refresh_traits(&shop.platform, START).await.expect("job"), 6, "a finished one starts anew");
    // Somebody erased meanwhile gets none.
    marquee::privacy::erase(&shop.platform, ids[0]).await.expect("erase");
    assert_eq!(events::refresh_traits(&shop.platform, START.plus_secs(1)).await.expect("job"), 5);
    assert!(!all_traits(&shop, &ids).await.contains_key(&ids[0]));
    let mut tx = db.begin().await.expect("begin");
    assert!(events::enqueue_traits(&mut tx, START, START).await.expect("enqueue"));
    assert!(!events::enqueue_traits(&mut tx, START, START).await.expect("once"), "the same moment is one run");
});

/// A shop with `n` people, about `per` events and a few orders each.
async fn busy(shop: &TestShop, n: usize, per: usize) -> Vec<PersonId> {
    let ids = people(shop, n).await;
    let stock = products(shop, 300).await;
    let mut state = 1_u64;
    let mut roll = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let (mut seen, mut bought) = (Vec::with_capacity(n * per), Vec::new());
    for (i, id) in ids.iter().enumerate() {
        for k in 0..per {
            let back = i64::try_from(roll(100)).expect("small") * DAY_US + i64::try_from(roll(20)).expect("small") * HOUR_US / 3;
            let product = stock[usize::try_from(roll(300)).expect("small")];
            seen.push(event(
                *id,
                (k % 4 > 0).then_some(product),
                if k % 9 == 0 { name::PRODUCT_ADDED } else { name::PRODUCT_VIEWED },
                START.plus_us(-back),
            ));
            if roll(40) == 0 {
                bought.push(order(&format!("{i}-{k}"), *id, START.plus_us(-back), product, i64::try_from(roll(9000)).expect("small") + 1));
            }
        }
    }
    load(shop, &seen, &bought).await;
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_engines_compute_the_same() {
    let Some(postgres) = TestShop::open(Engine::Postgres).await else { return };
    let sqlite = TestShop::open(Engine::Sqlite).await.expect("SQLite");
    let mut all = Vec::new();
    for shop in [&sqlite, &postgres] {
        let ids = busy(shop, 1200, 12).await;
        assert_eq!(events::refresh_traits(&shop.platform, START).await.expect("job"), 1200);
        all.push(all_traits(shop, &ids).await);
    }
    assert_eq!(all[0].len(), 1200);
    let people: Vec<_> = all[0].iter().zip(&all[1]).filter(|(a, b)| a != b).take(3).collect();
    assert!(people.is_empty(), "{people:#?}");
}

both_engines!(the_nightly_run_follows_news_and_comes_round_to_everybody, |shop| {
    let platform = &shop.platform;
    let new: Vec<NewPerson> = (0..14).map(|i| NewPerson { external_id: Some(format!("p{i}")), ..NewPerson::default() }).collect();
    let mut tx = platform.db.begin().await.expect("begin");
    let ids = people::bulk_upsert(&mut tx, &new, START.plus_days(-30)).await.expect("people");
    tx.commit().await.expect("commit");
    let context = |at: Timestamp| JobContext {
        run_id: JobRunId(1),
        args: json!({}),
        scheduled_at: at,
        attempt: 1,
        progress: Progress::default(),
        stop: CancellationToken::new(),
    };
    let job = events::jobs().into_iter().find(|j| j.name == "people.traits").expect("the job");
    let run = async |at: Timestamp| {
        platform.clock.advance_to(at);
        (job.run)(platform.clone(), context(at)).await.expect("runs")["people"].as_i64().expect("a number")
    };
    assert_eq!(run(START.plus_secs(1)).await, 14, "the first is for everybody");
    // A view by somebody whose turn it is not.
    let day = START.plus_days(1).micros() / marquee::platform::clock::DAY_US;
    let somebody = *ids.iter().find(|id| id.0.rem_euclid(7) != day.rem_euclid(7)).expect("one of fourteen");
    let seen = START.plus_secs(3_600);
    let view = NewEvent {
        id: EventId::new(seen),
        person_id: somebody,
        kind: "track",
        name: "Product Viewed".into(),
        product_id: None,
        occurred_at: seen,
        received_at: seen,
        properties: serde_json::Map::new(),
    };
    let mut tx = platform.db.begin().await.expect("begin");
    events::insert_many(&mut tx, &[view]).await.expect("event");
    tx.commit().await.expect("commit");
    assert_eq!(run(START.plus_days(1)).await, 3, "the one with news and the day's seventh");
    assert_eq!(all_traits(&shop, &ids).await[&somebody].visits_28, 1);
    let mut computed = 0;
    for n in 2..=7 {
        computed += run(START.plus_days(n)).await;
    }
    assert_eq!(computed, 12, "six days, a seventh each");
    let oldest = all_traits(&shop, &ids).await.values().map(|t| t.computed_at).min().expect("some");
    assert!(oldest >= START.plus_days(1), "everybody once in seven days: {oldest}");
    assert_eq!(run(START.plus_days(20)).await, 14, "after a gap, everybody");
});

/// `cargo test --test it traits::large -- --ignored --nocapture`: how long a large shop takes.
mod large {
    use super::*;

    async fn measure(engine: Engine) {
        let Some(shop) = TestShop::open(engine).await else { return };
        let started = std::time::Instant::now();
        busy(&shop, 5000, 60).await;
        let loaded = started.elapsed();
        let started = std::time::Instant::now();
        events::refresh_traits(&shop.platform, START).await.expect("job");
        eprintln!("{engine:?}: 5,000 people and 300,000 events loaded in {loaded:.1?}, traits in {:.1?}", started.elapsed());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "a measurement"]
    async fn sqlite() {
        measure(Engine::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "a measurement"]
    async fn postgres() {
        measure(Engine::Postgres).await;
    }
}
