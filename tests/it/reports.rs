//! The analyst's reports on both engines, each against a plain reading of its definition over small random worlds; the same numbers over
//! HTTP, on the command line and in every file format; deliveries; what a pass costs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use actix_web::{App, test, web};
use chrono_tz::Tz;
use marquee::account::{KeyRing, Scope};
use marquee::attribution::{
    self, Answer, By, Model, Question, ReportKind, ReportQuery, Unit, Within, cohorts, engagement, funnel, paths, report,
};
use marquee::platform::ids::{CampaignId, uuid_v7};
use marquee::platform::{Db, Timestamp};
use rand::prelude::*;
use serde_json::json;

use crate::attribution::{Order, Touch, campaign, order, person, product, signal, sql, touch, world};
use crate::audience_world::{Cell, DAY, insert};
use crate::both_engines;
use crate::support::{START, TestShop};

const HOUR: i64 = DAY / 24;
const SPAN: i64 = 12;
const WINDOWS: [i64; 3] = [7 * DAY, DAY, 90 * DAY];
const BERLIN: Tz = chrono_tz::Europe::Berlin;

struct World {
    from: i64,
    orders: Vec<Order>,
    touches: Vec<Touch>,
}

/// Three campaigns and a few random people, orders and touches, with credit computed.
async fn worlds(shop: &TestShop, n: i64) -> Vec<World> {
    let db = &shop.platform.db;
    for id in 1..=2 {
        product(db, id, "Mug").await;
    }
    for (id, name, days) in [(1, "Spring", 7), (2, "Summer", 1), (3, "Autumn", 90)] {
        campaign(db, id, name, days * 24, "orders").await;
    }
    let mut worlds = Vec::new();
    for n in 0..n {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(100 + n as u64);
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
        worlds.push(World { from, orders, touches });
    }
    attribution::rebuild(&shop.platform).await.expect("credit");
    worlds
}

fn about(from: i64, to: i64) -> Question {
    Question { time_zone: BERLIN, now: START, ..Question::about(Timestamp(from), Timestamp(to)) }
}

/// The contacts of an order's path: (earned, touch).
fn path_of<'a>(o: &Order, touches: &'a [Touch], view_through: bool) -> Vec<(i64, &'a Touch)> {
    let mut path: Vec<(i64, &Touch)> = touches
        .iter()
        .filter(|x| Some(x.person) == o.person && x.arm == "treated" && o.flag.is_none())
        .filter(|x| x.at <= o.at && o.at < x.at + WINDOWS[x.campaign as usize - 1])
        .filter_map(|x| {
            let click = x.click.filter(|c| *c <= o.at);
            click.or(x.open.filter(|c| *c <= o.at && view_through)).map(|at| (at, x))
        })
        .collect();
    path.sort_by_key(|(at, x)| (*at, x.id));
    path
}

/// Journeys that ended in the span without an order: their campaigns in order.
fn missed(w: &World, view_through: bool, from: i64, to: i64, now: i64) -> BTreeMap<String, i64> {
    let credited: BTreeSet<uuid::Uuid> = w.orders.iter().flat_map(|o| path_of(o, &w.touches, view_through)).map(|(_, x)| x.id).collect();
    let mut by_person: BTreeMap<i64, Vec<(i64, i64, i64, &Touch)>> = BTreeMap::new();
    for x in w.touches.iter().filter(|x| x.arm == "treated" && !credited.contains(&x.id)) {
        let ends = x.at + WINDOWS[x.campaign as usize - 1];
        let inside = |at: &i64| *at < ends;
        let earned = x.click.filter(inside).or(x.open.filter(|at| view_through && inside(at)));
        if let Some(earned) = earned {
            by_person.entry(x.person).or_default().push((x.at, earned, ends, x));
        }
    }
    let mut found = BTreeMap::new();
    for mut contacts in by_person.into_values() {
        contacts.sort_by_key(|(at, _, _, x)| (*at, x.id));
        let mut journeys: Vec<(i64, Vec<(i64, &Touch)>)> = Vec::new();
        for (at, earned, ends, x) in contacts {
            match journeys.last_mut() {
                Some((end, list)) if at < *end => {
                    *end = ends.max(*end);
                    list.push((earned, x));
                }
                _ => journeys.push((ends, vec![(earned, x)])),
            }
        }
        for (end, mut list) in journeys {
            if (from..to).contains(&end) && end <= now {
                list.sort_by_key(|(earned, x)| (*earned, x.id));
                let path: Vec<String> = list.iter().map(|(_, x)| format!("cmp_{}", x.campaign)).collect();
                *found.entry(path.join(" > ")).or_default() += 1;
            }
        }
    }
    found
}

both_engines!(paths_and_lost_journeys_are_what_the_definition_says, |shop| {
    let worlds = worlds(&shop, 6).await;
    let mut seen_misses = 0;
    for w in &worlds {
        // A span that holds the ends of the long windows too.
        for (from, to) in [(w.from, w.from + SPAN * DAY), (w.from - DAY, w.from + 110 * DAY)] {
            for view_through in [false, true] {
                let question = Question { by: By::Campaign, view_through, limit: 1000, ..about(from, to) };
                let report = paths(&shop.platform.db, &question).await.expect("paths");
                let mut wanted: BTreeMap<String, (i64, i64)> = BTreeMap::new();
                let mut lengths: BTreeMap<usize, i64> = BTreeMap::new();
                for o in w.orders.iter().filter(|o| o.currency == "EUR" && (from..to).contains(&o.at)) {
                    let path = path_of(o, &w.touches, view_through);
                    if !path.is_empty() {
                        let key: Vec<String> = path.iter().map(|(_, x)| format!("cmp_{}", x.campaign)).collect();
                        let (n, sum) = wanted.entry(key.join(" > ")).or_default();
                        *n += 1;
                        *sum += o.total - o.refunded;
                        *lengths.entry(path.len()).or_default() += 1;
                    }
                }
                let found: BTreeMap<String, (i64, i64)> =
                    report.paths.iter().filter(|p| p.orders > 0).map(|p| (p.keys.join(" > "), (p.orders, p.revenue_minor))).collect();
                assert_eq!(found, wanted);
                let misses: BTreeMap<String, i64> =
                    report.paths.iter().filter(|p| p.misses > 0).map(|p| (p.keys.join(" > "), p.misses)).collect();
                assert_eq!(misses, missed(w, view_through, from, to, START.0), "{from} {to} {view_through}");
                seen_misses += misses.len();
                let long: BTreeMap<usize, i64> = report.lengths.iter().filter(|l| l.orders > 0).map(|l| (l.contacts, l.orders)).collect();
                assert_eq!(long, lengths);
                assert_eq!(report.delays.iter().map(|d| d.orders).sum::<i64>(), report.orders);
                let hours: Vec<i64> = {
                    let mut list: Vec<i64> = w
                        .orders
                        .iter()
                        .filter(|o| o.currency == "EUR" && (from..to).contains(&o.at))
                        .filter_map(|o| path_of(o, &w.touches, view_through).first().map(|(at, _)| (o.at - at) / HOUR))
                        .collect();
                    list.sort_unstable();
                    list
                };
                assert_eq!(report.from_first_contact.median_hours, hours.get(hours.len().saturating_sub(1) / 2).copied());
                assert!(report.paths.iter().all(|p| p.names.len() == p.keys.len()));
            }
        }
        // Seen earlier, windows are still open.
        let (from, to) = (w.from, w.from + 110 * DAY);
        let early = Question { now: Timestamp(w.from + 3 * DAY), by: By::Campaign, limit: 1000, ..about(from, to) };
        let open = paths(&shop.platform.db, &early).await.expect("paths");
        assert_eq!(open.misses, missed(w, false, from, to, w.from + 3 * DAY).values().sum::<i64>());
    }
    assert!(seen_misses > 20, "{seen_misses}");
});

both_engines!(models_side_by_side_say_what_each_says_alone, |shop| {
    let worlds = worlds(&shop, 3).await;
    let db = &shop.platform.db;
    let mut differ = 0;
    for w in &worlds {
        for view_through in [false, true] {
            for by in By::ALL {
                for within in [Within::default(), Within { campaign: Some(CampaignId(2)), channel: None, ..Within::default() }] {
                    let question = Question { by, view_through, within, ..about(w.from, w.from + SPAN * DAY) };
                    let beside = report::models(db, &question).await.expect("models");
                    assert_eq!(beside.models, Model::ALL);
                    for (column, model) in Model::ALL.into_iter().enumerate() {
                        let alone = report::attribution(db, &Question { model, ..question }).await.expect("report");
                        assert_eq!(alone.totals, beside.totals, "{model} {by:?}");
                        let rows = |list: Vec<(&str, &str, i64)>| {
                            list.into_iter()
                                .filter(|r| r.2 != 0)
                                .map(|(c, k, n)| ((c.to_owned(), k.to_owned()), n))
                                .collect::<BTreeMap<_, _>>()
                        };
                        let one = rows(alone.rows.iter().map(|r| (r.currency.as_str(), r.key.as_str(), r.revenue_minor)).collect());
                        let all =
                            rows(beside.rows.iter().map(|r| (r.currency.as_str(), r.key.as_str(), r.revenue_minor[column])).collect());
                        assert_eq!(one, all, "{model} {by:?} {view_through}");
                        for total in &alone.totals {
                            let sum: i64 = alone.rows.iter().filter(|r| r.currency == total.currency).map(|r| r.revenue_minor).sum();
                            assert_eq!(sum, total.revenue_minor);
                        }
                    }
                    differ += beside.rows.iter().filter(|r| r.revenue_minor.iter().collect::<BTreeSet<_>>().len() > 2).count();
                    if within.campaign.is_some() && by == By::Campaign {
                        let keys: BTreeSet<&str> = beside.rows.iter().map(|r| r.key.as_str()).collect();
                        assert!(keys.is_subset(&["cmp_2", "elsewhere", "unattributed"].into()), "{keys:?}");
                    }
                    let only = Question { only: Some(marquee::platform::Currency::GBP), ..question };
                    let pounds = report::models(db, &only).await.expect("models");
                    assert!(pounds.rows.iter().all(|r| r.currency == "GBP") && pounds.totals.len() <= 1);
                }
            }
        }
    }
    assert!(differ > 10, "models differ in what they say: {differ}");
});

pub async fn event(db: &Db, who: i64, at: i64) {
    insert(
        db,
        "event",
        vec![
            ("id", Cell::Uuid(uuid_v7(Timestamp(at)))),
            ("person_id", Cell::Int(Some(who))),
            ("kind", Cell::Text(Some("page".into()))),
            ("name", Cell::Text(Some("Home".into()))),
            ("occurred_at", Cell::Int(Some(at))),
            ("received_at", Cell::Int(Some(at))),
            ("properties", Cell::Json(json!({}))),
        ],
    )
    .await;
}

fn month(at: i64) -> String {
    Timestamp(at).in_zone(BERLIN).format("%Y-%m-01").to_string()
}

both_engines!(cohorts_are_people_by_their_first_order, |shop| {
    let db = &shop.platform.db;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
    let from = START.0 - 200 * DAY;
    let mut orders: Vec<Order> = Vec::new();
    for id in 1..=30 {
        person(db, id).await;
        let first = from - 40 * DAY + rng.random_range(0..200 * DAY);
        for _ in 0..rng.random_range(0..6) {
            let at = first + rng.random_range(0..90 * DAY);
            let currency = if rng.random_bool(0.8) { "EUR" } else { "GBP" };
            let n = orders.len() as i64 + 1;
            orders.push(Order {
                id: n,
                person: Some(id),
                at,
                currency,
                total: 100 + n,
                refunded: n % 3,
                flag: (n % 17 == 0).then_some("odd"),
            });
        }
    }
    for o in &orders {
        order(db, o).await;
    }
    sql(db, "UPDATE shop_order SET status = 'cancelled' WHERE id = 5".into()).await;
    let kept: Vec<&Order> = orders.iter().filter(|o| o.flag.is_none() && o.id != 5).collect();
    let mut firsts: HashMap<i64, i64> = HashMap::new();
    for o in &kept {
        firsts.entry(o.person.expect("one")).and_modify(|at| *at = o.at.min(*at)).or_insert(o.at);
    }
    let question = Question { unit: Unit::Month, ..about(from, START.0) };
    let report = cohorts(db, &question).await.expect("cohorts");
    let mut wanted: BTreeMap<(String, String), (BTreeSet<i64>, i64, i64)> = BTreeMap::new();
    for o in kept.iter().filter(|o| o.at < START.0) {
        let first = firsts[&o.person.expect("one")];
        if first >= report.from.0 {
            let (people, n, sum) = wanted.entry((month(first), month(o.at))).or_default();
            people.insert(o.person.expect("one"));
            *n += 1;
            *sum += if o.currency == "EUR" { o.total - o.refunded } else { 0 };
        }
    }
    let mut found = BTreeMap::new();
    for cohort in &report.cohorts {
        assert_eq!(cohort.people, cohort.cells[0].people);
        assert!((cohort.cells[0].share - 1.0).abs() < 1e-12);
        let start = chrono::NaiveDate::parse_from_str(&cohort.period, "%Y-%m-%d").expect("a date");
        let mut so_far = 0;
        for cell in &cohort.cells {
            so_far += cell.revenue_minor;
            assert_eq!(cell.revenue_so_far_minor, so_far);
            let period = (start + chrono::Months::new(cell.age as u32)).to_string();
            assert_eq!(cell.complete, period < month(START.0), "{period}");
            if cell.orders > 0 {
                found.insert((cohort.period.clone(), period), (cell.people, cell.orders, cell.revenue_minor));
            }
        }
    }
    let wanted: BTreeMap<_, _> = wanted.into_iter().map(|(k, (people, n, sum))| (k, (people.len() as i64, n, sum))).collect();
    assert_eq!(found, wanted);
    assert!(found.len() > 10 && report.retention.len() > 2 && (report.retention[0] - 1.0).abs() < 1e-12);
    let weeks = cohorts(db, &Question { unit: Unit::Week, ..question }).await.expect("cohorts");
    let people = |r: &attribution::CohortReport| r.cohorts.iter().map(|c| c.people).sum::<i64>();
    assert!(people(&weeks) >= firsts.values().filter(|at| **at >= from && **at < START.0).count() as i64);
});

both_engines!(engagement_counts_days_depth_recency_and_return, |shop| {
    let db = &shop.platform.db;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let from = START.0 - 60 * DAY;
    let mut events: Vec<(i64, i64)> = Vec::new();
    for id in 1..=20 {
        person(db, id).await;
        for _ in 0..rng.random_range(0..25) {
            events.push((id, from - 10 * DAY + rng.random_range(0..70 * DAY)));
        }
    }
    for (who, at) in &events {
        event(db, *who, *at).await;
    }
    order(db, &Order { id: 1, person: Some(1), at: from + DAY, currency: "EUR", total: 900, refunded: 100, flag: None }).await;
    order(db, &Order { id: 2, person: Some(1), at: from + DAY, currency: "GBP", total: 77, refunded: 0, flag: None }).await;
    for unit in Unit::ALL {
        let report = engagement(db, &Question { unit, ..about(from, START.0) }).await.expect("engagement");
        let day = |at: i64| Timestamp(at).in_zone(BERLIN).date_naive();
        let begin = |date: chrono::NaiveDate| match unit {
            Unit::Day => date,
            Unit::Week => date.week(chrono::Weekday::Mon).first_day(),
            Unit::Month => chrono::Datelike::with_day(&date, 1).expect("a first day"),
        };
        let inside: Vec<(i64, i64)> = events.iter().copied().filter(|(_, at)| (report.from.0..START.0).contains(at)).collect();
        let mut active: BTreeMap<String, BTreeMap<i64, BTreeSet<chrono::NaiveDate>>> = BTreeMap::new();
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        for (who, at) in &inside {
            let period = begin(day(*at)).to_string();
            active.entry(period.clone()).or_default().entry(*who).or_default().insert(day(*at));
            *counts.entry(period).or_default() += 1;
        }
        let nobody = BTreeMap::new();
        let mut before: Option<&BTreeMap<i64, BTreeSet<chrono::NaiveDate>>> = None;
        for row in &report.rows {
            let here = active.get(&row.period).unwrap_or(&nobody);
            assert_eq!(row.people, here.len() as i64, "{unit:?} {row:?}");
            assert_eq!(row.active_days, here.values().map(|d| d.len() as i64).sum::<i64>());
            assert_eq!(row.events, counts.get(&row.period).copied().unwrap_or(0));
            let back = before.map_or(0, |b| here.keys().filter(|p| b.contains_key(p)).count() as i64);
            assert_eq!(row.returning_people, back, "{unit:?} {row:?}");
            assert_eq!(row.return_share.is_none(), before.is_none());
            before = Some(here);
        }
        assert_eq!(report.rows.iter().map(|r| (r.orders, r.revenue_minor)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)), (1, 800));
        let mut of_person: BTreeMap<i64, BTreeSet<chrono::NaiveDate>> = BTreeMap::new();
        for (who, at) in &inside {
            of_person.entry(*who).or_default().insert(day(*at));
        }
        for bucket in &report.frequency {
            let n = of_person.values().filter(|d| d.len() as i64 >= bucket.from && bucket.to.is_none_or(|t| (d.len() as i64) < t)).count();
            assert_eq!(bucket.people, n as i64, "{bucket:?}");
        }
        for bucket in &report.recency {
            let since = |days: &BTreeSet<chrono::NaiveDate>| days.last().map_or(0, |last| (day(START.0 - 1) - *last).num_days());
            let n = of_person.values().filter(|d| since(d) >= bucket.from && bucket.to.is_none_or(|t| since(d) < t)).count();
            assert_eq!(bucket.people, n as i64, "{bucket:?}");
        }
    }
});

both_engines!(the_funnel_counts_touches_step_by_step, |shop| {
    let worlds = worlds(&shop, 2).await;
    let db = &shop.platform.db;
    let w = &worlds[0];
    // One bounced, one unsubscribed, one failed, one skipped.
    let sent: Vec<&Touch> = w.touches.iter().filter(|x| x.arm == "treated").collect();
    signal(db, sent[0].id, "bounce", "bot", sent[0].at).await;
    signal(db, sent[0].id, "bounce", "bot", sent[0].at + 1).await;
    signal(db, sent[1].id, "unsubscribe", "human", sent[1].at).await;
    for (campaign, state) in [(1, "failed"), (1, "skipped"), (2, "planned")] {
        touch(db, &Touch { state, ..Touch::new(1000, campaign, w.from + DAY) }).await;
    }
    let credited: BTreeSet<uuid::Uuid> = w.orders.iter().flat_map(|o| path_of(o, &w.touches, false)).map(|(_, x)| x.id).collect();
    let report = funnel(db, &about(w.from, w.from + SPAN * DAY)).await.expect("funnel");
    for id in 1..=3 {
        let row = report.rows.iter().find(|r| r.key == format!("cmp_{id}")).expect("a row");
        let of = |what: &dyn Fn(&Touch) -> bool| w.touches.iter().filter(|x| x.campaign == id && what(x)).count() as i64;
        let extra = [2, 1, 0][id as usize - 1];
        assert_eq!(row.planned, of(&|x| x.arm == "treated") + extra, "{row:?}");
        assert_eq!(row.held, of(&|x| x.arm == "ghost"));
        assert_eq!(row.sent, of(&|x| x.arm == "treated"));
        assert_eq!(row.delivered, row.sent - i64::from(sent[0].campaign == id));
        assert_eq!(row.seen, of(&|x| x.arm == "treated" && (x.open.is_some() || x.click.is_some())));
        assert_eq!(row.clicked, of(&|x| x.arm == "treated" && x.click.is_some()));
        assert_eq!(row.ordered, of(&|x| credited.contains(&x.id)));
        assert_eq!((row.failed, row.skipped), if id == 1 { (1, 1) } else { (0, 0) });
        assert_eq!(row.unsubscribed, i64::from(sent[1].campaign == id));
    }
    assert_eq!(report.total.planned, report.rows.iter().map(|r| r.planned).sum::<i64>());
    // Revenue of the touches is the linear credit of the same orders.
    let linear = Question { model: Model::Linear, ..about(w.from, w.from + 200 * DAY) };
    let credit = report::attribution(db, &linear).await.expect("report");
    let euros = credit.totals.iter().find(|t| t.currency == "EUR").map_or(0, |t| t.attributed_minor);
    assert_eq!(report.total.revenue_minor, euros);
    for by in By::ALL {
        let parts = funnel(db, &Question { by, ..about(w.from, w.from + SPAN * DAY) }).await.expect("funnel");
        assert_eq!((parts.total.sent, parts.total.ordered), (report.total.sent, report.total.ordered), "{by:?}");
    }
    let within = Within { campaign: Some(CampaignId(1)), channel: None, ..Within::default() };
    let one = funnel(db, &Question { within, by: By::Variant, ..about(w.from, w.from + SPAN * DAY) }).await.expect("funnel");
    assert_eq!(one.total.sent, report.rows.iter().find(|r| r.key == "cmp_1").expect("a row").sent);
});

both_engines!(the_same_numbers_in_every_format_and_nobody_named, |shop| {
    let worlds = worlds(&shop, 1).await;
    let db = &shop.platform.db;
    sql(db, "UPDATE person SET email = 'secret' || id || '@example.test', first_name = 'Secretname'".into()).await;
    for (who, at) in [(1000, worlds[0].from + HOUR), (1001, worlds[0].from + 3 * DAY)] {
        event(db, who, at).await;
    }
    let ring = KeyRing::load(db.clone()).await.expect("ring");
    let key = ring.create("analyst", &[Scope::Reports], START).await.expect("key").key;
    let admin = ring.create("admin", &[Scope::Admin], START).await.expect("key").key;
    let app = test::init_service(
        App::new().app_data(web::Data::new(shop.platform.clone())).app_data(web::Data::new(ring)).configure(attribution::routes),
    )
    .await;
    let get = |path: String| test::TestRequest::get().uri(&path).insert_header(("Authorization", format!("Bearer {key}"))).to_request();
    let span = format!("from={}&to={}", Timestamp(worlds[0].from), Timestamp(worlds[0].from + SPAN * DAY));
    for kind in ReportKind::ALL {
        let path = format!("/v1/reports/{}?{span}&model=markov&view_through=true", kind.name());
        let response = test::call_service(&app, get(path.clone())).await;
        assert_eq!(response.status().as_u16(), 200, "{kind:?}");
        let body = String::from_utf8(test::read_body(response).await.to_vec()).expect("text");
        let query = ReportQuery {
            from: Some(Timestamp(worlds[0].from).to_string()),
            to: Some(Timestamp(worlds[0].from + SPAN * DAY).to_string()),
            model: Some("markov".into()),
            view_through: Some(true),
            ..ReportQuery::default()
        };
        let answer: Answer = attribution::answer(&shop.platform, kind, &query).await.expect("answer");
        assert_eq!(serde_json::to_string(&answer).expect("json"), body, "{kind:?}");
        for sheet in answer.sheets() {
            assert!(!sheet.rows.is_empty(), "{kind:?} {}", sheet.name);
            let csv = test::call_and_read_body(&app, get(format!("{path}&format=csv&table={}", sheet.name))).await;
            assert_eq!(csv, sheet.to_csv().into_bytes());
            let response = test::call_service(&app, get(format!("{path}&format=parquet&table={}", sheet.name))).await;
            let disposition = response.headers().get("content-disposition").expect("named").to_str().expect("ascii").to_owned();
            assert!(disposition.contains(&format!("{}.parquet", sheet.name)), "{disposition}");
            let bytes = test::read_body(response).await;
            same_in_parquet(&sheet, &bytes);
            let all = format!("{body} {}", sheet.to_csv());
            assert!(!all.contains("secret") && !all.contains("Secretname") && !all.contains('@'), "{kind:?} names somebody");
        }
        let wrong = test::call_service(&app, get(format!("{path}&format=csv&table=nothing"))).await;
        assert_eq!(wrong.status().as_u16(), 422);
    }
    for (path, status) in [
        ("models?by=moon", 422),
        ("paths?channel=pigeon", 422),
        ("cohorts?unit=year", 422),
        ("funnel?currency=EURO", 422),
        ("funnel?campaign=nobody", 404),
        ("engagement?from=1970-01-01", 422),
        ("engagement?from=1980-01-01&unit=month", 422),
        ("attribution?model=shapley_rate&by=product", 200),
        ("lift?outcome=joy", 422),
        ("lift?campaign=c1&outcome=days_active", 200),
        // Recipients are addresses.
        ("deliveries", 403),
    ] {
        let response = test::call_service(&app, get(format!("/v1/reports/{path}"))).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
    let set = |list: serde_json::Value| {
        test::TestRequest::put()
            .uri("/v1/reports/deliveries")
            .insert_header(("Authorization", format!("Bearer {admin}")))
            .set_json(list)
            .to_request()
    };
    let daily = json!([{"name": "daily", "report": "paths", "format": "csv", "cron": "0 6 * * *", "to": {"mail": ["ann@example.test"]}}]);
    let saved: serde_json::Value = test::call_and_read_body_json(&app, set(daily)).await;
    assert_eq!(saved[0]["starts_at"], json!(START.to_string()));
    let wrong = json!([{"name": "daily", "report": "paths", "format": "csv", "cron": "never", "to": {"folder": "/tmp"}}]);
    assert_eq!(test::call_service(&app, set(wrong)).await.status().as_u16(), 422);
});

/// A Parquet file holds what the sheet holds: by the crate, and by pyarrow where it can be had.
fn same_in_parquet(sheet: &attribution::Sheet, bytes: &[u8]) {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::Field;
    let reader = SerializedFileReader::new(bytes::Bytes::copy_from_slice(bytes)).expect("a parquet file");
    let rows: Vec<_> = reader.get_row_iter(None).expect("rows").map(|r| r.expect("a row")).collect();
    assert_eq!(rows.len(), sheet.rows.len());
    for (row, cells) in rows.iter().zip(&sheet.rows) {
        for ((name, field), (cell, (wanted, _))) in row.get_column_iter().zip(cells.iter().zip(&sheet.columns)) {
            assert_eq!(name, wanted);
            let same = match (field, cell) {
                (Field::Str(a), attribution::Cell::Text(b) | attribution::Cell::Decimal(b)) => a == b,
                (Field::Long(a), attribution::Cell::Whole(b)) => a == b,
                (Field::Double(a), attribution::Cell::Number(b)) => a == b,
                (Field::TimestampMicros(a), attribution::Cell::Time(b)) => *a == b.0,
                (Field::Null, attribution::Cell::Empty) => true,
                _ => false,
            };
            assert!(same, "{name}: {field:?} {cell:?}");
        }
    }
}
