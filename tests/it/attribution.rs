//! Credit and lift on both engines: sums that equal the orders to the minor unit, the past corrected, lift as agreed with the planner.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::{App, test, web};
use marquee::account::{KeyRing, Scope};
use marquee::attribution::lift::{self, Outcome};
use marquee::attribution::model::{Model, shares};
use marquee::attribution::report::{Report, attribution};
use marquee::attribution::{self, By, Question, ReportKind, ReportQuery};
use marquee::platform::ids::{CampaignId, uuid_v7};
use marquee::platform::{Db, Timestamp};
use marquee::{on, read};
use rand::prelude::*;
use serde_json::{Value, json};

use crate::audience_world::{Cell, DAY, insert};
use crate::both_engines;
use crate::support::{START, TestShop};

const HOUR: i64 = DAY / 24;

fn t(text: &str) -> Cell {
    Cell::Text(Some(text.to_owned()))
}
fn i(n: i64) -> Cell {
    Cell::Int(Some(n))
}
fn maybe(n: Option<i64>) -> Cell {
    Cell::Int(n)
}

pub async fn person(db: &Db, id: i64) {
    insert(
        db,
        "person",
        vec![
            ("id", i(id)),
            ("attributes", Cell::Json(json!({}))),
            ("email_consent", t("subscribed")),
            ("ads_consent", t("subscribed")),
            ("bucket", i(0)),
            ("first_seen_at", i(0)),
            ("last_seen_at", i(0)),
            ("created_at", i(0)),
            ("updated_at", i(0)),
        ],
    )
    .await;
}

pub async fn product(db: &Db, id: i64, title: &str) {
    insert(
        db,
        "product",
        vec![
            ("id", i(id)),
            ("sku", t(&format!("S{id}"))),
            ("title", t(title)),
            ("description", t("")),
            ("category_path", t("A")),
            ("price_minor", i(100)),
            ("currency", t("EUR")),
            ("available", Cell::Bool(true)),
            ("attributes", Cell::Json(json!({}))),
            ("content_hash", t("")),
            ("created_at", i(0)),
            ("updated_at", i(0)),
        ],
    )
    .await;
}

/// A campaign with its plan, so that it can also be read as one.
pub async fn campaign(db: &Db, id: i64, name: &str, window_hours: i64, goal: &str) {
    if id == 1 {
        insert(
            db,
            "segment",
            vec![
                ("id", i(1)),
                ("key", t("all")),
                ("name", t("All")),
                ("rule", Cell::Json(json!({"type": "everyone"}))),
                ("version", i(1)),
                ("created_at", i(0)),
                ("updated_at", i(0)),
            ],
        )
        .await;
    }
    let plan = json!({"channel": "email", "segment": "seg_1", "schedule": {"kind": "once", "at": START},
        "goal": {"kind": goal, "window_hours": window_hours}, "holdout_bp": 3000});
    insert(
        db,
        "campaign",
        vec![
            ("id", i(id)),
            ("key", t(&format!("c{id}"))),
            ("name", t(name)),
            ("status", t("running")),
            ("channel", t("email")),
            ("segment_id", i(1)),
            ("plan", Cell::Json(plan)),
            ("holdout_bp", i(3000)),
            ("window_us", i(window_hours * HOUR)),
            ("created_at", i(0)),
            ("updated_at", i(0)),
        ],
    )
    .await;
    insert(
        db,
        "campaign_variant",
        vec![("id", i(id)), ("campaign_id", i(id)), ("name", t("=A")), ("weight", i(1)), ("settings", Cell::Json(json!({"name": "=A"})))],
    )
    .await;
}

#[derive(Clone, Debug)]
pub struct Order {
    pub id: i64,
    pub person: Option<i64>,
    pub at: i64,
    pub currency: &'static str,
    pub total: i64,
    pub refunded: i64,
    pub flag: Option<&'static str>,
}

pub async fn order(db: &Db, o: &Order) {
    insert(
        db,
        "shop_order",
        vec![
            ("id", i(o.id)),
            ("order_ref", t(&format!("o{}", o.id))),
            ("person_id", maybe(o.person)),
            ("placed_at", i(o.at)),
            ("currency", t(o.currency)),
            ("total_minor", i(o.total)),
            ("refunded_minor", i(o.refunded)),
            ("status", t("placed")),
            ("flag", Cell::Text(o.flag.map(str::to_owned))),
            ("source", t("test")),
            ("updated_at", i(o.at)),
        ],
    )
    .await;
}

#[derive(Clone, Debug)]
pub struct Touch {
    pub id: uuid::Uuid,
    pub person: i64,
    pub campaign: i64,
    pub product: Option<i64>,
    pub arm: &'static str,
    pub state: &'static str,
    pub at: i64,
    pub click: Option<i64>,
    pub open: Option<i64>,
    pub run: Option<i64>,
    pub attempts: i64,
}

impl Touch {
    pub fn new(person: i64, campaign: i64, at: i64) -> Self {
        let id = uuid_v7(Timestamp(at));
        Self { id, person, campaign, product: Some(1), arm: "treated", state: "sent", at, click: None, open: None, run: None, attempts: 1 }
    }
    pub fn ghost(person: i64, campaign: i64, at: i64) -> Self {
        Self { arm: "ghost", state: "held", attempts: 0, ..Self::new(person, campaign, at) }
    }
}

pub async fn touch(db: &Db, x: &Touch) {
    insert(
        db,
        "touch",
        vec![
            ("id", Cell::Uuid(x.id)),
            ("channel", t("email")),
            ("arm", t(x.arm)),
            ("state", t(x.state)),
            ("person_id", i(x.person)),
            ("campaign_id", i(x.campaign)),
            ("run_id", maybe(x.run)),
            ("variant_id", i(x.campaign)),
            ("product_id", maybe(x.product)),
            ("product_ids", Cell::Json(json!([]))),
            ("planned_at", i(x.at - HOUR)),
            ("due_at", i(x.at)),
            ("next_attempt_at", i(x.at)),
            ("attempts", i(x.attempts)),
            ("contact_at", i(x.at)),
            ("updated_at", i(x.at)),
            ("click_at", maybe(x.click)),
            ("open_at", maybe(x.open)),
            ("stamped_at", maybe(x.click.or(x.open).map(|_| x.at))),
        ],
    )
    .await;
    for (kind, at) in [("click", x.click), ("open", x.open)] {
        if let Some(at) = at {
            signal(db, x.id, kind, "human", at).await;
        }
    }
}

pub async fn signal(db: &Db, touch: uuid::Uuid, kind: &str, actor: &str, at: i64) {
    insert(
        db,
        "touch_signal",
        vec![
            ("id", Cell::Uuid(uuid_v7(Timestamp(at)))),
            ("touch_id", Cell::Uuid(touch)),
            ("kind", t(kind)),
            ("actor", t(actor)),
            ("at", i(at)),
        ],
    )
    .await;
}

pub async fn sql(db: &Db, text: String) {
    let mut tx = db.begin().await.expect("begin");
    on!(&mut tx, |c| sqlx::query(sqlx::AssertSqlSafe(text)).execute(&mut *c).await.map(|_| ())).expect("statement");
    tx.commit().await.expect("commit");
}

async fn report(db: &Db, model: Model, by: By, view_through: bool, from: i64, to: i64) -> Report {
    let time_zone = chrono_tz::Europe::London;
    let question = Question { model, by, view_through, time_zone, ..Question::about(Timestamp(from), Timestamp(to)) };
    attribution(db, &question).await.expect("report")
}

/// Every sum of every model and grouping equals the orders; returns the reports' rows for comparison.
async fn check_sums(db: &Db, orders: &[Order], from: i64, to: i64, seed: u64) -> Vec<Value> {
    let mut net: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for o in orders.iter().filter(|o| o.flag.is_none()) {
        let (n, sum) = net.entry(o.currency).or_default();
        *n += 1;
        *sum += o.total - o.refunded;
    }
    let mut all = Vec::new();
    for view_through in [false, true] {
        let mut attributed = None;
        for model in Model::ALL {
            for by in By::ALL {
                let report = report(db, model, by, view_through, from, to).await;
                let what = format!("seed {seed} {model} {by:?} {view_through}");
                let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
                for row in &report.rows {
                    *sums.entry(row.currency.as_str()).or_default() += row.revenue_minor;
                    assert!(row.key == "unattributed" || row.revenue_minor > 0, "{what}: {row:?}");
                    assert!(row.key != "unattributed" || (row.revenue_minor >= 0 && row.orders >= 0), "{what}: {row:?}");
                }
                let wanted: BTreeMap<&str, i64> = net.iter().map(|(c, (_, sum))| (*c, *sum)).collect();
                assert_eq!(sums, wanted, "{what}");
                let totals: BTreeMap<&str, (i64, i64)> =
                    report.totals.iter().map(|t| (t.currency.as_str(), (t.orders, t.revenue_minor))).collect();
                assert_eq!(totals, net, "{what}");
                // No model gives more or less away than another.
                let given: Vec<i64> = report.totals.iter().map(|t| t.attributed_minor).collect();
                assert_eq!(*attributed.get_or_insert(given.clone()), given, "{what}");
                all.push(serde_json::to_value(&report.rows).expect("json"));
            }
        }
    }
    all
}

pub fn world(rng: &mut impl Rng, first_id: i64, from: i64, span_days: i64) -> (Vec<i64>, Vec<Order>, Vec<Touch>) {
    let people: Vec<i64> = (first_id..first_id + 6).collect();
    let at = |rng: &mut dyn RngCore| from + rng.random_range(0..span_days) * DAY + rng.random_range(0..4) * HOUR;
    let orders = (0..14)
        .map(|n| {
            let total = *[0, 1, 2, 7, 999, 100_001, rng.random_range(0..1_000_000)].choose(rng).expect("one");
            Order {
                id: first_id + n,
                person: rng.random_bool(0.9).then(|| *people.choose(rng).expect("one")),
                at: at(rng),
                currency: ["EUR", "GBP", "JPY"][rng.random_range(0..3)],
                total,
                refunded: if rng.random_bool(0.3) { rng.random_range(0..=total) } else { 0 },
                flag: rng.random_bool(0.1).then_some("outlier"),
            }
        })
        .collect();
    let touches = (0..16)
        .map(|_| {
            let sent = at(rng);
            let later = |rng: &mut dyn RngCore| rng.random_bool(0.6).then(|| sent + rng.random_range(0..60) * HOUR);
            let mut x = Touch::new(*people.choose(rng).expect("one"), rng.random_range(1..=3), sent);
            if rng.random_bool(0.15) {
                x = Touch { arm: "ghost", state: "held", ..x };
            }
            x.product = rng.random_bool(0.8).then(|| rng.random_range(1..=2));
            x.click = later(rng);
            x.open = later(rng);
            x
        })
        .collect();
    (people, orders, touches)
}

both_engines!(every_sum_equals_the_orders, |shop| {
    let db = &shop.platform.db;
    for id in 1..=2 {
        product(db, id, "Mug").await;
    }
    campaign(db, 1, "Spring", 7 * 24, "orders").await;
    campaign(db, 2, "Summer", 24, "orders").await;
    campaign(db, 3, "Autumn", 90 * 24, "orders").await;
    const WORLDS: i64 = 8;
    const SPAN: i64 = 12;
    let mut worlds = Vec::new();
    for n in 0..WORLDS {
        let seed = u64::try_from(n).expect("small");
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let from = START.0 - (n + 2) * 120 * DAY;
        let (people, orders, touches) = world(&mut rng, 1000 * (n + 1), from, SPAN);
        for id in people {
            person(db, id).await;
        }
        for o in &orders {
            order(db, o).await;
        }
        for x in &touches {
            touch(db, x).await;
        }
        worlds.push((seed, from, orders, touches, rng));
    }
    let first = attribution::update(&shop.platform).await.expect("update");
    assert!(first.changed > 20 && first.orders >= 14 * WORLDS as u64, "{first:?}");
    let again = attribution::update(&shop.platform).await.expect("update");
    assert_eq!(again.changed, 0, "nothing changed, nothing is written");

    for (seed, from, orders, touches, rng) in &mut worlds {
        let to = *from + SPAN * DAY;
        check_sums(db, orders, *from, to, *seed).await;
        naive(db, orders, touches, *seed).await;
        // Late: a refund, an order that came in only now, a click that is reported only now.
        let now = START.0 + i64::try_from(*seed).expect("small") * HOUR;
        shop.platform.clock.advance_to(Timestamp(now));
        let refunded = orders.choose_mut(rng).expect("one");
        refunded.refunded = refunded.total;
        sql(
            db,
            format!(
                "UPDATE shop_order SET refunded_minor = total_minor, status = 'refunded', updated_at = {now} WHERE id = {}",
                refunded.id
            ),
        )
        .await;
        let mut late = orders[0].clone();
        late.id += 500;
        order(db, &late).await;
        sql(db, format!("UPDATE shop_order SET updated_at = {now} WHERE id = {}", late.id)).await;
        orders.push(late);
        if let Some(x) = touches.iter_mut().find(|x| x.click.is_none() && x.arm == "treated") {
            x.click = Some(x.at);
            let id = x.id.simple();
            let id = match db.dialect() {
                marquee::platform::db::Dialect::Sqlite => format!("x'{id}'"),
                marquee::platform::db::Dialect::Postgres => format!("'{id}'"),
            };
            sql(db, format!("UPDATE touch SET click_at = {}, stamped_at = {now} WHERE id = {id}", x.at)).await;
            signal(db, x.id, "click", "human", now).await;
        }
        attribution::update(&shop.platform).await.expect("update");
        check_sums(db, orders, *from, to, *seed).await;
    }
    // What was corrected step by step is what a rebuild gives; orders of 1,000 days ago included.
    let (seed, from, orders, touches, _) = &worlds[0];
    let steps = check_sums(db, orders, *from, from + SPAN * DAY, *seed).await;
    attribution::rebuild(&shop.platform).await.expect("rebuild");
    assert_eq!(steps, check_sums(db, orders, *from, from + SPAN * DAY, *seed).await);
    for (seed, _, orders, touches, _) in &worlds {
        naive(db, orders, touches, *seed).await;
    }
    assert!(!touches.is_empty());
});

/// The stored credit of every order against a plain reading of the definition.
async fn naive(db: &Db, orders: &[Order], touches: &[Touch], seed: u64) {
    let windows = [7 * DAY, DAY, 90 * DAY];
    for o in orders {
        for view_through in [false, true] {
            let mut path: Vec<(i64, uuid::Uuid)> = touches
                .iter()
                .filter(|x| Some(x.person) == o.person && x.arm == "treated" && o.flag.is_none())
                .filter(|x| x.at <= o.at && o.at < x.at + windows[usize::try_from(x.campaign - 1).expect("small")])
                .filter_map(|x| {
                    let click = x.click.filter(|c| *c <= o.at);
                    let open = x.open.filter(|c| *c <= o.at && view_through);
                    click.or(open).map(|at| (at, x.id))
                })
                .collect();
            path.sort_unstable();
            let ago: Vec<i64> = path.iter().map(|(at, _)| o.at - at).collect();
            let expected = shares(o.total - o.refunded, &ago, 7 * DAY);
            const STORED: &str = "SELECT touch_id, first_minor, last_minor, linear_minor, time_decay_minor, position_minor FROM credit
                 WHERE order_id = $1 AND view_through = $2 ORDER BY position";
            let stored: Vec<(uuid::Uuid, i64, i64, i64, i64, i64)> =
                read!(*db, |c| sqlx::query_as(STORED).bind(o.id).bind(view_through).fetch_all(c).await).expect("credit");
            let wanted: Vec<_> = path
                .iter()
                .enumerate()
                .map(|(n, (_, id))| (*id, expected[0][n], expected[1][n], expected[2][n], expected[3][n], expected[4][n]))
                .collect();
            assert_eq!(stored, wanted, "seed {seed} order {o:?} view_through {view_through}");
        }
    }
}

both_engines!(bots_proxies_ghosts_and_flagged_orders_earn_nothing, |shop| {
    let db = &shop.platform.db;
    product(db, 1, "Mug").await;
    campaign(db, 1, "Spring", 48, "orders").await;
    for id in 1..=4 {
        person(db, id).await;
    }
    let at = START.0 - 5 * DAY;
    // Person 1: only a bot clicked and a proxy opened; touches stamp human signals alone, so nothing is stamped.
    let fetched = Touch::new(1, 1, at);
    touch(db, &fetched).await;
    signal(db, fetched.id, "click", "bot", at + 1).await;
    signal(db, fetched.id, "open", "proxy", at + 1).await;
    touch(db, &Touch { click: Some(at + 1), open: Some(at + 1), ..Touch::ghost(2, 1, at) }).await;
    touch(db, &Touch { click: Some(at + 1), ..Touch::new(3, 1, at) }).await;
    touch(db, &Touch { open: Some(at + 1), ..Touch::new(4, 1, at) }).await;
    for id in 1..=4 {
        let flag = (id == 3).then_some("outlier");
        order(db, &Order { id, person: Some(id), at: at + HOUR, currency: "EUR", total: 1000, refunded: 0, flag }).await;
    }
    attribution::update(&shop.platform).await.expect("update");
    for (view_through, attributed) in [(false, 0), (true, 1000)] {
        let report = report(db, Model::Last, By::Campaign, view_through, at, at + DAY).await;
        assert_eq!((report.totals[0].orders, report.totals[0].revenue_minor), (3, 3000), "the flagged order is in no figure");
        assert_eq!(report.totals[0].attributed_minor, attributed);
        let unattributed = report.rows.last().expect("a row");
        assert_eq!((unattributed.key.as_str(), unattributed.revenue_minor), ("unattributed", 3000 - attributed));
        assert_eq!(unattributed.orders, 3 - attributed / 1000);
    }
});

both_engines!(days_are_those_of_the_zone, |shop| {
    let db = &shop.platform.db;
    product(db, 1, "Mug").await;
    campaign(db, 1, "Spring", 24 * 7, "orders").await;
    person(db, 1).await;
    // Clocks in London go forward on 2026-03-29.
    let day = |text: &str| Timestamp::parse(text).expect("time").0;
    touch(db, &Touch { click: Some(day("2026-03-27T00:00:00Z")), ..Touch::new(1, 1, day("2026-03-27T00:00:00Z")) }).await;
    for (n, text) in ["2026-03-28T23:59:59Z", "2026-03-29T00:00:00Z", "2026-03-29T22:59:00Z", "2026-03-29T23:00:00Z"].iter().enumerate() {
        let id = n as i64 + 1;
        order(db, &Order { id, person: Some(1), at: day(text), currency: "EUR", total: 10 * id, refunded: 0, flag: None }).await;
    }
    attribution::update(&shop.platform).await.expect("update");
    let report = report(db, Model::Linear, By::Day, false, day("2026-03-01"), day("2026-04-01")).await;
    let rows: Vec<(&str, i64, i64)> = report.rows.iter().map(|r| (r.key.as_str(), r.orders, r.revenue_minor)).collect();
    assert_eq!(rows, [("2026-03-28", 1, 10), ("2026-03-29", 2, 50), ("2026-03-30", 1, 40), ("unattributed", 0, 0)]);
});

async fn assignment(db: &Db, person: i64, scope: (&str, i64), arm: &str, at: i64) {
    insert(
        db,
        "holdout_assignment",
        vec![("scope", t(scope.0)), ("scope_id", i(scope.1)), ("person_id", i(person)), ("arm", t(arm)), ("assigned_at", i(at))],
    )
    .await;
}

both_engines!(lift_compares_who_passed_the_same_checks, |shop| {
    let db = &shop.platform.db;
    product(db, 1, "Mug").await;
    campaign(db, 1, "Spring", 48, "orders").await;
    campaign(db, 2, "Other", 48, "orders").await;
    let due = START.0 - 20 * DAY;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let (mut treated, mut held) = (Vec::new(), Vec::new());
    let mut orders = 0;
    for id in 1..=60 {
        person(db, id).await;
        let ghost = id % 3 == 0;
        // Each hour of its own: windows are each person's.
        let start = due + (id % 5) * HOUR;
        let mut x = if ghost { Touch::ghost(id, 1, start) } else { Touch::new(id, 1, start) };
        x.state = match id {
            1 => "uncertain",
            2 => "failed",
            _ => x.state,
        };
        touch(db, &x).await;
        let (mut y, mut x) = (0, 0);
        for (offset, counts) in [(-91 * DAY, 0), (-3 * DAY, 2), (-1, 2), (0, 1), (48 * HOUR - 1, 1), (48 * HOUR, 0)] {
            if rng.random_bool(0.6) {
                orders += 1;
                let total = rng.random_range(100..5000) + if ghost { 0 } else { 300 };
                let refunded = if rng.random_bool(0.2) { total / 2 } else { 0 };
                order(db, &Order { id: orders, person: Some(id), at: start + offset, currency: "EUR", total, refunded, flag: None }).await;
                match counts {
                    1 => y += total - refunded,
                    2 => x += total - refunded,
                    _ => {}
                }
            }
        }
        #[allow(clippy::cast_precision_loss)]
        if ghost { &mut held } else { &mut treated }.push(Outcome { y: y as f64, x: x as f64 });
    }
    // Who is not in it: skipped, still planned, another campaign, globally left alone; a person of both arms; a flagged order.
    for (id, state) in [(101, "skipped"), (102, "planned"), (103, "cancelled")] {
        person(db, id).await;
        touch(db, &Touch { state, attempts: 0, ..Touch::new(id, 1, due) }).await;
        touch(db, &Touch { state, ..Touch::ghost(id, 2, due) }).await;
    }
    person(db, 104).await;
    touch(db, &Touch::ghost(104, 1, due)).await;
    assignment(db, 104, ("global", 0), "ghost", due).await;
    person(db, 105).await;
    touch(db, &Touch::new(105, 2, due)).await;
    for id in 101..=105 {
        orders += 1;
        order(db, &Order { id: orders, person: Some(id), at: due + 1, currency: "EUR", total: 1_000_000, refunded: 0, flag: None }).await;
    }
    order(
        db,
        &Order { id: 999, person: Some(4), at: due + 5 * HOUR, currency: "EUR", total: 9_999_999, refunded: 0, flag: Some("outlier") },
    )
    .await;

    let measured = attribution::campaign_lift(&shop.platform, CampaignId(1), START).await.expect("lift");
    let expected = lift::estimate(&treated, &held);
    let main = measured.main();
    assert_eq!((main.n_treated, main.n_held), (40, 20));
    for (a, b) in [
        (main.effect_per_person, expected.effect_per_person),
        (main.ci95_low, expected.ci95_low),
        (main.mean_held, expected.mean_held),
        (main.theta, expected.theta),
    ] {
        assert!((a - b).abs() < 1e-6 * (1.0 + b.abs()), "{a} {b}");
    }
    assert!(main.theta != 0.0 && main.effect_per_person != 0.0);
    assert_eq!((measured.mixed, measured.results.len(), measured.complete_share), (0, 1, 1.0));
    assert!(measured.question.contains("“Spring”") && !measured.results[0].words.is_empty());

    // Looked at in the past, later orders do not count.
    let early = attribution::campaign_lift(&shop.platform, CampaignId(1), Timestamp(due - 1)).await.expect("lift");
    assert_eq!((early.main().n_treated, early.main().n_held), (0, 0));
    assert_eq!(early.main().ci95_low, f64::NEG_INFINITY);
    let half = attribution::campaign_lift(&shop.platform, CampaignId(1), Timestamp(due + 5 * HOUR)).await.expect("lift");
    assert!(half.complete_share < 0.01 && half.main().mean_held < main.mean_held);

    // A second run of the same people: one window for all, and nobody counts twice. A person of both arms is left out.
    touch(db, &Touch { run: Some(7), ..Touch::new(1, 1, due + DAY) }).await;
    touch(db, &Touch { run: Some(8), ..Touch::ghost(2, 1, due + DAY) }).await;
    let twice = attribution::campaign_lift(&shop.platform, CampaignId(1), START).await.expect("lift");
    assert_eq!((twice.main().n_treated, twice.main().n_held, twice.mixed), (39, 20, 1));
    assert_eq!(twice.window_us, 3 * DAY);

    // Other currencies stand beside, never summed.
    order(db, &Order { id: 1000, person: Some(3), at: due + 4 * HOUR, currency: "JPY", total: 77, refunded: 0, flag: None }).await;
    let yen = attribution::campaign_lift(&shop.platform, CampaignId(1), START).await.expect("lift");
    assert_eq!(yen.results.iter().map(|r| r.unit.as_str()).collect::<Vec<_>>(), ["EUR", "JPY"]);
    assert!((yen.results[1].lift.mean_held - 77.0 / 20.0).abs() < 1e-9);
});

both_engines!(the_global_holdout_measures_everything, |shop| {
    let db = &shop.platform.db;
    let at = START.0 - 30 * DAY;
    for id in 1..=40 {
        person(db, id).await;
        let ghost = id <= 15;
        assignment(db, id, ("global", 0), if ghost { "ghost" } else { "treated" }, at).await;
        assignment(db, id, ("campaign", 1), "treated", at).await;
        for (n, (offset, total)) in [(-5 * DAY, 500 + id), (2 * DAY, if ghost { 1000 } else { 1500 } + id % 4)].into_iter().enumerate() {
            let id = id * 10 + n as i64;
            order(db, &Order { id, person: Some(id / 10), at: at + offset, currency: "EUR", total, refunded: 0, flag: None }).await;
        }
    }
    let lift = attribution::global_lift(&shop.platform, START).await.expect("lift");
    assert_eq!((lift.main().n_treated, lift.main().n_held), (25, 15));
    assert!((lift.main().effect_per_person - 500.0).abs() < 5.0, "{:?}", lift.main());
    assert!(lift.main().found() && lift.campaign.is_none() && lift.question.contains("all campaigns"));
});

both_engines!(engagement_goals_are_outcomes_too, |shop| {
    let db = &shop.platform.db;
    product(db, 1, "Mug").await;
    for (id, goal) in [(1, "visit"), (2, "days_active"), (3, "share")] {
        campaign(db, id, goal, 24 * 7, goal).await;
    }
    let due = START.0 - 20 * DAY;
    for id in 1..=24 {
        person(db, id).await;
        let ghost = id % 2 == 0;
        for c in 1..=3 {
            touch(db, &if ghost { Touch::ghost(id, c, due) } else { Touch::new(id, c, due) }).await;
        }
        let mut events: Vec<(i64, &str)> = vec![(due - DAY, "Home")];
        if !ghost {
            events.extend([
                (due + HOUR, "Home"),
                (due + 2 * HOUR, "Product Shared"),
                (due + 2 * DAY, "Cart Shared"),
                (due + 8 * DAY, "Home"),
            ]);
        } else if id % 4 == 0 {
            events.push((due + DAY, "Home"));
        }
        for (at, name) in events {
            insert(
                db,
                "event",
                vec![
                    ("id", Cell::Uuid(uuid_v7(Timestamp(at)))),
                    ("person_id", i(id)),
                    ("kind", t("page")),
                    ("name", t(name)),
                    ("occurred_at", i(at)),
                    ("received_at", i(at)),
                    ("properties", Cell::Json(json!({}))),
                ],
            )
            .await;
        }
    }
    for (id, unit, treated, held) in [(1, "people", 1.0, 0.5), (2, "days", 2.0, 0.5), (3, "shares", 2.0, 0.0)] {
        let measured = attribution::campaign_lift(&shop.platform, CampaignId(id), START).await.expect("lift");
        assert_eq!(measured.results[0].unit, unit);
        assert_eq!((measured.main().mean_treated, measured.main().mean_held), (treated, held), "{unit}");
    }
});

async fn some_credit(shop: &TestShop) {
    let db = &shop.platform.db;
    product(db, 1, "=cmd|' /C calc'!A0").await;
    campaign(db, 1, "@SUM(1,2)", 48, "orders").await;
    person(db, 1).await;
    let at = START.0 - DAY;
    touch(db, &Touch { click: Some(at), ..Touch::new(1, 1, at) }).await;
    order(db, &Order { id: 1, person: Some(1), at: at + HOUR, currency: "EUR", total: 1234, refunded: 34, flag: None }).await;
    order(db, &Order { id: 2, person: None, at: at + HOUR, currency: "EUR", total: 500, refunded: 0, flag: None }).await;
    attribution::update(&shop.platform).await.expect("update");
}

both_engines!(reports_over_http, |shop| {
    some_credit(&shop).await;
    let ring = KeyRing::load(shop.platform.db.clone()).await.expect("ring");
    let key = ring.create("analyst", &[Scope::Reports], START).await.expect("key").key;
    let other = ring.create("page", &[Scope::Ingest], START).await.expect("key").key;
    let app = test::init_service(
        App::new().app_data(web::Data::new(shop.platform.clone())).app_data(web::Data::new(ring)).configure(attribution::routes),
    )
    .await;
    let get =
        |path: &str, key: &str| test::TestRequest::get().uri(path).insert_header(("Authorization", format!("Bearer {key}"))).to_request();
    let report: Value = test::call_and_read_body_json(&app, get("/v1/reports/attribution?model=linear&by=campaign", &key)).await;
    assert_eq!(report["rows"][0]["key"], "cmp_1");
    assert_eq!((report["rows"][0]["revenue_minor"].as_i64(), report["rows"][1]["revenue"].as_str()), (Some(1200), Some("5.00")));
    assert_eq!(report["totals"][0]["revenue_minor"], 1700);
    assert!(report["computed_through"].is_string());

    // The command line asks the same function.
    let query = ReportQuery { model: Some("linear".into()), ..ReportQuery::default() };
    let same = attribution::answer(&shop.platform, ReportKind::Attribution, &query).await.expect("report");
    assert_eq!(serde_json::to_value(&same).expect("json")["rows"], report["rows"]);

    for by in ["campaign", "product", "variant"] {
        let response = test::call_service(&app, get(&format!("/v1/reports/attribution?by={by}&format=csv"), &key)).await;
        assert_eq!(response.headers().get("content-type").expect("type"), "text/csv; charset=utf-8");
        let csv = String::from_utf8(test::read_body(response).await.to_vec()).expect("text");
        assert_eq!(csv.lines().count(), 3, "{csv}");
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        for record in reader.records() {
            for field in record.expect("a record").iter() {
                assert!(!field.starts_with(['=', '@', '+', '-', '\t']), "{by}: {field}");
            }
        }
    }
    for (path, status) in [
        ("/v1/reports/attribution?model=best", 422),
        ("/v1/reports/attribution?by=moon", 422),
        ("/v1/reports/attribution?time_zone=Mars", 422),
        ("/v1/reports/attribution?from=2026-02-01&to=2026-01-01", 422),
        ("/v1/reports/attribution?by=day&from=1970-01-01", 422),
        ("/v1/reports/attribution?format=xls", 422),
        ("/v1/reports/lift?campaign=nobody", 404),
        ("/v1/reports/lift?as_of=soon", 422),
        ("/v1/reports/lift?campaign=c1", 200),
        ("/v1/reports/lift", 200),
    ] {
        let response = test::call_service(&app, get(path, &key)).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
    let response = test::call_service(&app, get("/v1/reports/lift", &other)).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
});
