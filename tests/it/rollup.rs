//! The rollup against the facts, on both engines: whatever happens to touches and orders, in whatever order, the sums equal the plain count.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use marquee::attribution::rollup::{self, Counts, Days};
use marquee::attribution::{self, By, EngagementReport, FunnelReport, FunnelRow, Question, Unit, Within, engagement, funnel};
use marquee::platform::ids::{CampaignId, PersonId, ProductId, RunId, TouchId, VariantId};
use marquee::platform::{Db, Platform, Timestamp};
use marquee::read;
use marquee::touches::{self, Actor, Arm, Content, Finish, NewSignal, NewTouch, Outcome, SignalKind, Touch, TouchChannel, TouchState};
use rand::prelude::*;

use crate::attribution::{Order, campaign, order, person, product, sql};
use crate::both_engines;
use crate::reports::event;
use crate::support::{START, TestShop};

const HOUR: i64 = 3_600_000_000;
const PEOPLE: i64 = 40;

/// Per product, campaign and day.
type ByDay = BTreeMap<(i64, i64, i64), [i64; 4]>;
type Sums = BTreeMap<(i64, i64, i64, String), [i64; 13]>;

/// The stored sums, whatever adds up to nothing left out.
async fn stored(db: &Db) -> Sums {
    let sql =
        "SELECT campaign_id, day, variant_id, channel, planned, held, skipped, failed, sent, opened, viewable, seen, clicked, bounced,
        unsubscribed, complained, returned FROM rollup_touch";
    #[derive(sqlx::FromRow)]
    struct Row {
        campaign_id: i64,
        day: i64,
        variant_id: i64,
        channel: String,
        #[sqlx(flatten)]
        counts: Counts,
    }
    let rows: Vec<Row> = read!(*db, |c| sqlx::query_as(sql).fetch_all(c).await).expect("rows");
    rows.into_iter().map(|r| ((r.campaign_id, r.day, r.variant_id, r.channel), r.counts.array())).filter(|(_, n)| *n != [0; 13]).collect()
}

/// The same, counted touch by touch.
async fn counted(db: &Db, zone: Tz, since: i64) -> (Sums, BTreeMap<(i64, i64), [i64; 4]>, ByDay) {
    let ids: Vec<TouchId> = read!(*db, |c| sqlx::query_scalar("SELECT id FROM touch").fetch_all(c).await).expect("ids");
    let (mut sums, mut products, mut days) = (Sums::new(), BTreeMap::new(), BTreeMap::new());
    for (id, t) in touches::get_many(db, &ids).await.expect("touches") {
        let kinds: Vec<SignalKind> = touches::signals_of(db, id).await.expect("signals").iter().map(|s| s.kind).collect();
        let treated = t.arm == Arm::Treated;
        let sent = treated && matches!(t.state, TouchState::Sent | TouchState::Served | TouchState::Uncertain);
        let is = |what: bool| i64::from(what);
        let n = [
            is(treated),
            is(!treated && t.state == TouchState::Held),
            is(treated && matches!(t.state, TouchState::Skipped | TouchState::Expired | TouchState::Cancelled)),
            is(treated && t.state == TouchState::Failed),
            is(sent),
            is(treated && t.open_at.is_some()),
            is(treated && t.viewable_at.is_some()),
            is(treated && (t.open_at.is_some() || t.viewable_at.is_some() || t.click_at.is_some())),
            is(treated && t.click_at.is_some()),
            is(kinds.contains(&SignalKind::Bounce)),
            is(kinds.contains(&SignalKind::Unsubscribe)),
            is(kinds.contains(&SignalKind::Complaint)),
            is(sent && kinds.contains(&SignalKind::Bounce)),
        ];
        let key = (t.campaign_id.0, t.due_at.day_in(zone), t.variant_id.map_or(0, |v| v.0), t.channel.as_str().to_owned());
        let sum = sums.entry(key).or_insert([0; 13]);
        sum.iter_mut().zip(n).for_each(|(s, n)| *s += n);
        if let (true, Some(product)) = (sent, t.product_id) {
            let sum = products.entry((product.0, t.campaign_id.0)).or_insert([0; 4]);
            sum.iter_mut().zip([n[4], n[5], n[6], n[8]]).for_each(|(s, n)| *s += n);
            let day = t.due_at.day_in(zone);
            if day >= since {
                let sum = days.entry((product.0, t.campaign_id.0, day)).or_insert([0; 4]);
                sum.iter_mut().zip([n[4], n[5], n[6], n[8]]).for_each(|(s, n)| *s += n);
            }
        }
    }
    days.retain(|_, n| *n != [0; 4]);
    sums.retain(|_, n| *n != [0; 13]);
    products.retain(|_, n| *n != [0; 4]);
    (sums, products, days)
}

async fn stored_products(db: &Db) -> BTreeMap<(i64, i64), [i64; 4]> {
    let sql = "SELECT product_id, campaign_id, CAST(SUM(sent) AS BIGINT), CAST(SUM(opened) AS BIGINT), CAST(SUM(viewable) AS BIGINT),
        CAST(SUM(clicked) AS BIGINT) FROM rollup_product GROUP BY 1, 2";
    let rows: Vec<(i64, i64, i64, i64, i64, i64)> = read!(*db, |c| sqlx::query_as(sql).fetch_all(c).await).expect("rows");
    rows.into_iter().map(|(p, c, a, b, d, e)| ((p, c), [a, b, d, e])).filter(|(_, n)| *n != [0; 4]).collect()
}

async fn stored_days(db: &Db) -> ByDay {
    let sql = "SELECT product_id, campaign_id, day, sent, opened, viewable, clicked FROM rollup_product_day";
    let rows: Vec<(i64, i64, i64, i64, i64, i64, i64)> = read!(*db, |c| sqlx::query_as(sql).fetch_all(c).await).expect("rows");
    rows.into_iter().map(|(p, c, day, a, b, d, e)| ((p, c, day), [a, b, d, e])).filter(|(_, n)| *n != [0; 4]).collect()
}

/// Per campaign, currency and reading: orders on whose path it is, orders of the last touch, linear and last revenue.
type Credited = BTreeMap<(i64, String, bool), [i64; 4]>;

const FACTS: &str = "SELECT c.campaign_id, o.currency, c.view_through, COUNT(DISTINCT o.id),
        COUNT(DISTINCT CASE WHEN c.last_minor <> 0 THEN o.id END), CAST(SUM(c.linear_minor) AS BIGINT), CAST(SUM(c.last_minor) AS BIGINT)
     FROM credit c JOIN shop_order o ON o.id = c.order_id GROUP BY 1, 2, 3";
const SUMS: &str = "SELECT campaign_id, currency, view_through, CAST(SUM(orders) AS BIGINT), CAST(SUM(last_orders) AS BIGINT),
        CAST(SUM(linear_minor) AS BIGINT), CAST(SUM(last_minor) AS BIGINT) FROM rollup_credit GROUP BY 1, 2, 3";

async fn credited(db: &Db, sql: &'static str) -> Credited {
    let rows: Vec<(i64, String, bool, i64, i64, i64, i64)> = read!(*db, |c| sqlx::query_as(sql).fetch_all(c).await).expect("rows");
    rows.into_iter().map(|(c, cur, v, a, b, d, e)| ((c, cur, v), [a, b, d, e])).filter(|(_, n)| *n != [0; 4]).collect()
}

/// Days on which orders were placed, with their last-touch revenue of both readings.
async fn credited_days(db: &Db, zone: Tz) -> BTreeMap<i64, i64> {
    let sql = "SELECT o.placed_at, c.last_minor FROM credit c JOIN shop_order o ON o.id = c.order_id";
    let rows: Vec<(Timestamp, i64)> = read!(*db, |c| sqlx::query_as(sql).fetch_all(c).await).expect("rows");
    let mut days = BTreeMap::new();
    for (at, minor) in rows {
        *days.entry(at.day_in(zone)).or_insert(0) += minor;
    }
    days.retain(|_, n| *n != 0);
    days
}

/// Sent, clicked, earned per campaign as they stand beside the campaigns, for their list.
async fn beside(db: &Db) -> BTreeMap<i64, [i64; 3]> {
    let sql = "SELECT campaign_id, sent, clicked, earned_minor FROM campaign_figures";
    let rows: Vec<(i64, i64, i64, i64)> = read!(*db, |c| sqlx::query_as(sql).fetch_all(c).await).expect("rows");
    rows.into_iter().map(|(c, a, b, d)| (c, [a, b, d])).filter(|(_, n)| *n != [0; 3]).collect()
}

/// The same out of the facts: by last click, in the shop's currency.
fn summed(sums: &Sums, credited: &Credited, currency: &str) -> BTreeMap<i64, [i64; 3]> {
    let mut found: BTreeMap<i64, [i64; 3]> = BTreeMap::new();
    for ((campaign, ..), n) in sums {
        let sum = found.entry(*campaign).or_default();
        (sum[0], sum[1]) = (sum[0] + n[4], sum[1] + n[8]);
    }
    for ((campaign, _, _), n) in credited.iter().filter(|((_, c, views), _)| c == currency && !views) {
        found.entry(*campaign).or_default()[2] += n[3];
    }
    found.retain(|_, n| *n != [0; 3]);
    found
}

type Visits = BTreeMap<(i64, i64), i64>;

/// Days on which people were here, as they are kept and as their events say.
async fn visits(db: &Db, zone: Tz) -> (Visits, Visits) {
    let kept: Vec<(i64, i64, i64)> =
        read!(*db, |c| sqlx::query_as("SELECT person_id, day, events FROM rollup_visit").fetch_all(c).await).expect("visits");
    let told: Vec<(i64, Timestamp)> =
        read!(*db, |c| sqlx::query_as("SELECT person_id, occurred_at FROM event WHERE kind <> 'group'").fetch_all(c).await)
            .expect("events");
    let mut days = Visits::new();
    for (person, at) in told {
        *days.entry((person, at.day_in(zone))).or_insert(0) += 1;
    }
    (kept.into_iter().map(|(person, day, n)| ((person, day), n)).collect(), days)
}

/// By unit and first day: people, those who came back, active days, events.
type Periods = BTreeMap<(&'static str, i64), [i64; 4]>;

fn periods_of(visits: &Visits) -> Periods {
    let mut people: BTreeMap<(&'static str, i64), BTreeMap<i64, [i64; 2]>> = BTreeMap::new();
    let first = |unit: Unit, day: i64| {
        let date = chrono::NaiveDate::default() + chrono::Duration::days(day);
        let begin = match unit {
            Unit::Day => date,
            Unit::Week => date.week(chrono::Weekday::Mon).first_day(),
            Unit::Month => chrono::Datelike::with_day(&date, 1).expect("a first day"),
        };
        begin.signed_duration_since(chrono::NaiveDate::default()).num_days()
    };
    for ((person, day), n) in visits {
        for unit in Unit::ALL {
            let came = people.entry((unit.name(), first(unit, *day))).or_default().entry(*person).or_default();
            *came = [came[0] + 1, came[1] + n];
        }
    }
    let mut periods = Periods::new();
    for unit in Unit::ALL {
        for ((_, period), here) in people.iter().filter(|((u, _), _)| *u == unit.name()) {
            let before = people.get(&(unit.name(), first(unit, period - 1)));
            let back = here.keys().filter(|p| before.is_some_and(|b| b.contains_key(p))).count();
            let sum = |i: usize| here.values().map(|c| c[i]).sum::<i64>();
            periods.insert((unit.name(), *period), [here.len() as i64, back as i64, sum(0), sum(1)]);
        }
    }
    periods
}

async fn periods_kept(db: &Db) -> Periods {
    let sql = "SELECT unit, period, people, came_back, active_days, events FROM rollup_engagement";
    let rows: Vec<(String, i64, i64, i64, i64, i64)> = read!(*db, |c| sqlx::query_as(sql).fetch_all(c).await).expect("periods");
    let name = |unit: String| Unit::ALL.into_iter().map(Unit::name).find(|n| *n == unit).expect("a unit");
    rows.into_iter().map(|(u, p, a, b, c, d)| ((name(u), p), [a, b, c, d])).filter(|(_, n)| *n != [0; 4]).collect()
}

async fn check(p: &Platform, what: &str) {
    let zone = p.config.shop.time_zone;
    let (kept, told) = visits(&p.db, zone).await;
    assert_eq!(kept, told, "{what}");
    assert_eq!(periods_kept(&p.db).await, periods_of(&told), "{what}");
    let (sums, products, days) = counted(&p.db, zone, p.now().day_in(zone) - rollup::PRODUCT_DAYS).await;
    assert!(!sums.is_empty());
    assert_eq!(stored(&p.db).await, sums, "{what}");
    assert_eq!(stored_products(&p.db).await, products, "{what}");
    assert_eq!(stored_days(&p.db).await, days, "{what}");
    assert_eq!(credited(&p.db, SUMS).await, credited(&p.db, FACTS).await, "{what}");
    assert_eq!(beside(&p.db).await, summed(&sums, &credited(&p.db, FACTS).await, p.config.shop.currency.code()), "{what}");
    let series = rollup::series(&p.db, None, Days::ALL).await.expect("series");
    let by_day: BTreeMap<i64, i64> = series
        .iter()
        .map(|(day, f)| {
            let n = day.signed_duration_since(chrono::NaiveDate::default()).num_days();
            (n, f.earned.iter().map(|e| e.minor[1]).sum::<i64>())
        })
        .filter(|(_, n)| *n != 0)
        .collect();
    assert_eq!(by_day, credited_days(&p.db, zone).await, "{what}");
    assert!(series.windows(2).all(|w| w[0].0.succ_opt() == Some(w[1].0)), "every day is there");
}

struct World {
    rng: rand_chacha::ChaCha8Rng,
    /// Of visits.
    visitors: rand_chacha::ChaCha8Rng,
    touches: Vec<TouchId>,
    held: Vec<Touch>,
    order: i64,
    run: i64,
}

fn new_touch(w: &mut World, now: Timestamp) -> NewTouch {
    let rng = &mut w.rng;
    let banner = rng.random_bool(0.3);
    let arm = if !banner && rng.random_bool(0.2) { Arm::Ghost } else { Arm::Treated };
    let campaign = rng.random_range(1..=3);
    NewTouch {
        arm,
        channel: if banner { TouchChannel::Banner } else { TouchChannel::Email },
        state: if banner {
            TouchState::Served
        } else if rng.random_bool(0.1) {
            TouchState::Skipped
        } else {
            TouchState::Planned
        },
        reason: None,
        run_id: (!banner).then_some(RunId(w.run)),
        variant_id: rng.random_bool(0.8).then_some(VariantId(campaign)),
        product_ids: (0..rng.random_range(0..3)).map(|_| ProductId(rng.random_range(1..=3))).collect(),
        expires_at: rng.random_bool(0.2).then(|| now.plus_us(20 * HOUR)),
        ..NewTouch::planned(
            CampaignId(campaign),
            PersonId(rng.random_range(1..=PEOPLE)),
            TouchChannel::Email,
            now.plus_us(rng.random_range(-3..6) * HOUR),
            now,
        )
    }
}

/// One thing that happens to a shop.
async fn happens(p: &Platform, w: &mut World) {
    let now = p.now();
    let mut tx = p.db.begin().await.expect("begin");
    match w.rng.random_range(0..12) {
        0 | 1 => {
            w.run += 1;
            let list: Vec<NewTouch> = (0..20).map(|_| new_touch(w, now)).collect();
            touches::plan_many(&mut tx, &list, now).await.expect("planned");
            w.touches.extend(list.iter().map(|t| t.id));
        }
        2 | 3 => {
            drop(tx);
            w.held.extend(touches::claim(p, TouchChannel::Email, "w", 15, HOUR).await.expect("claim"));
            return;
        }
        4 | 5 => {
            let ghosts: Vec<Touch> = w.held.iter().filter(|t| t.arm == Arm::Ghost).cloned().collect();
            let treated: Vec<TouchId> = w.held.iter().filter(|t| t.arm == Arm::Treated).map(|t| t.id).collect();
            w.held.clear();
            let mut contents = Vec::new();
            for id in &treated {
                if w.rng.random_bool(0.3) {
                    let product_ids = vec![ProductId(w.rng.random_range(1..=3))];
                    contents.push(Content { id: *id, product_ids, copy_id: None, creative_id: None });
                }
            }
            touches::set_content(&mut tx, "w", &contents, now).await.expect("content");
            touches::begin_sending(&mut tx, "w", &treated, HOUR, now).await.expect("begun");
            let mut ends: Vec<Finish> = ghosts.iter().map(|t| Finish { id: t.id, outcome: Outcome::Held }).collect();
            for id in treated {
                let outcome = match w.rng.random_range(0..8) {
                    0 => Outcome::Failed("550".into()),
                    1 => Outcome::Uncertain("lost".into()),
                    2 => Outcome::Deferred { until: now.plus_us(HOUR), reason: "later".into() },
                    _ => Outcome::Sent,
                };
                ends.push(Finish { id, outcome });
            }
            touches::finish(&mut tx, "w", &ends, now).await.expect("finished");
        }
        6..=8 => {
            let signals: Vec<NewSignal> = (0..12)
                .filter_map(|_| {
                    let touch_id = *w.touches.choose(&mut w.rng)?;
                    let kind = *SignalKind::ALL.choose(&mut w.rng)?;
                    let actor = if w.rng.random_bool(0.8) { Actor::Human } else { Actor::Bot };
                    let at = now.plus_us(-w.rng.random_range(0..30) * HOUR);
                    let key = w.rng.random_bool(0.3).then(|| "once".to_owned());
                    Some(NewSignal { touch_id, kind, actor, at, detail: None, key })
                })
                .collect();
            touches::record_signals(&mut tx, &signals, now).await.expect("signals");
        }
        9 => {
            let (from, to) = (w.rng.random_range(1..=PEOPLE), w.rng.random_range(1..=PEOPLE));
            touches::reassign_person(&mut tx, PersonId(from), PersonId(to), now).await.expect("merged");
        }
        10 => {
            let some: Vec<TouchId> = w.touches.choose_multiple(&mut w.rng, 10).copied().collect();
            touches::resend(&mut tx, &some, now).await.expect("resent");
        }
        _ => {
            drop(tx);
            if w.rng.random_bool(0.2) {
                touches::cancel_campaign(&p.db, CampaignId(3), "stopped", now).await.expect("cancelled");
            }
            touches::release_expired(p).await.expect("released");
            return;
        }
    }
    tx.commit().await.expect("commit");
}

/// People come, now or (as is only learned now) long ago; profiles are merged, a time is corrected, an event is taken back.
async fn comes(p: &Platform, w: &mut World) {
    let (db, now, rng) = (&p.db, p.now().0, &mut w.visitors);
    for _ in 0..rng.random_range(0..9) {
        let ago = if rng.random_bool(0.7) { rng.random_range(0..HOUR) } else { rng.random_range(0..70 * 24 * HOUR) };
        event(db, rng.random_range(1..=PEOPLE), now - ago).await;
    }
    let one = |rng: &mut rand_chacha::ChaCha8Rng| {
        format!("id = (SELECT id FROM event WHERE person_id >= {} ORDER BY person_id, id LIMIT 1)", rng.random_range(1..=PEOPLE))
    };
    match rng.random_range(0..12) {
        0 => {
            let (from, into) = (rng.random_range(1..=PEOPLE), rng.random_range(1..=PEOPLE));
            sql(db, format!("UPDATE event SET person_id = {into} WHERE person_id = {from}")).await;
        }
        1 => sql(db, format!("UPDATE event SET occurred_at = occurred_at - {} WHERE {}", 30 * HOUR, one(rng))).await,
        2 => sql(db, format!("UPDATE event SET kind = 'group' WHERE {}", one(rng))).await,
        3 => sql(db, format!("DELETE FROM event WHERE {}", one(rng))).await,
        _ => {}
    }
}

async fn buys(p: &Platform, w: &mut World) {
    let now = p.now().0;
    w.order += 1;
    let total = w.rng.random_range(0..9_000);
    let currency = ["EUR", "GBP"][w.rng.random_range(0..2)];
    let person = Some(w.rng.random_range(1..=PEOPLE));
    order(&p.db, &Order { id: w.order, person, at: now, currency, total, refunded: 0, flag: None }).await;
    let id = w.rng.random_range(1..=w.order);
    let change = match w.rng.random_range(0..5) {
        0 => "refunded_minor = total_minor / 2".to_owned(),
        1 => "refunded_minor = total_minor".to_owned(),
        2 => format!("placed_at = placed_at - {}", 30 * HOUR),
        3 => "currency = 'EUR'".to_owned(),
        _ => "flag = 'outlier'".to_owned(),
    };
    if w.rng.random_bool(0.5) {
        sql(&p.db, format!("UPDATE shop_order SET {change}, updated_at = {now} WHERE id = {id}")).await;
    }
}

async fn world(p: &Platform, seed: u64) -> World {
    for id in 1..=3 {
        product(&p.db, id, "Mug").await;
        campaign(&p.db, id, "Spring", 7 * 24, "orders").await;
    }
    for id in 1..=PEOPLE {
        person(&p.db, id).await;
    }
    let rng = rand_chacha::ChaCha8Rng::seed_from_u64;
    World { rng: rng(seed), visitors: rng(seed + 1), touches: Vec::new(), held: Vec::new(), order: 0, run: 0 }
}

fn moved(shop: &TestShop, at: Timestamp) {
    shop.platform.clock.advance_to(at);
}

both_engines!(the_sums_equal_the_facts_whatever_happens, |shop| {
    let p = &shop.platform;
    let mut w = world(p, 7).await;
    for hour in 0..150 {
        moved(&shop, START.plus_us(hour * HOUR));
        happens(p, &mut w).await;
        comes(p, &mut w).await;
        if hour % 3 == 0 {
            buys(p, &mut w).await;
        }
        // A pass now and then: late signals, refunds and moved orders meet sums that are there already.
        if hour % 25 == 24 {
            attribution::update(p).await.expect("credit");
            rollup::fold(p).await.expect("folded");
            check(p, &format!("after {hour} hours")).await;
        }
    }
    let facts = credited(&p.db, FACTS).await;
    assert!(facts.values().any(|n| n[0] > 0 && n[2] > 0), "the world earns something: {facts:?}");
    assert!(rollup::totals(&p.db, Days::ALL).await.expect("totals").counts.clicked > 0);
    assert_eq!(rollup::fold(p).await.expect("folded").changes, 0, "nothing new costs nothing");

    // What is by day is kept for a while only.
    moved(&shop, START.plus_us((150 + rollup::PRODUCT_DAYS * 24 - 72) * HOUR));
    rollup::fold(p).await.expect("folded");
    check(p, "three months later").await;
    assert!(!stored_days(&p.db).await.is_empty(), "the last days of it are there still");

    // Added up anew, and in another zone.
    let before = stored(&p.db).await;
    rollup::rebuild(p).await.expect("rebuilt");
    assert_eq!(stored(&p.db).await, before);
    check(p, "rebuilt").await;
    let mut config = (*p.config).clone();
    config.shop.time_zone = chrono_tz::Asia::Kolkata;
    let moved_shop = Platform { config: std::sync::Arc::new(config), ..p.clone() };
    assert_eq!(rollup::fold(&moved_shop).await.expect("rebuilt").campaigns, 3, "another zone has other days");
    check(&moved_shop, "in Kolkata").await;
});

/// The funnel by every grouping: once from the sums, once counted (asked in a zone of the same offset, whose sums nobody keeps).
async fn funnels(p: &Platform, what: &str) {
    let (kept, counted) = (chrono_tz::UTC, chrono_tz::Etc::GMT);
    assert_eq!(p.config.shop.time_zone, kept);
    for by in [By::Campaign, By::Channel, By::Variant, By::Segment, By::Day, By::Week] {
        for within in [Within::default(), Within { campaign: Some(CampaignId(2)), ..Within::default() }] {
            for view_through in [false, true] {
                let from = Timestamp::parse("2026-01-10").expect("date");
                let about = |time_zone| Question { by, within, view_through, time_zone, ..Question::about(from, from.plus_days(20)) };
                let sums = funnel(&p.db, &about(kept)).await.expect("funnel");
                let plain = funnel(&p.db, &about(counted)).await.expect("funnel");
                // A group of which nothing counts (ghosts that wait) is no row of the sums.
                let rows = |r: &FunnelReport| -> Vec<FunnelRow> {
                    let counts = |row: &&FunnelRow| row.planned + row.held + row.bounced + row.unsubscribed + row.complained > 0;
                    r.rows.iter().filter(counts).cloned().collect()
                };
                assert!(!rows(&sums).is_empty());
                assert_eq!(rows(&sums), rows(&plain), "{what}: {by:?} {within:?} {view_through}");
            }
        }
    }
}

both_engines!(the_funnel_needs_no_count_of_touches, |shop| {
    let p = &shop.platform;
    let mut w = world(p, 5).await;
    for hour in 0..90 {
        moved(&shop, START.plus_us(hour * HOUR));
        happens(p, &mut w).await;
        buys(p, &mut w).await;
        if hour == 60 {
            attribution::update(p).await.expect("credit");
            rollup::fold(p).await.expect("folded");
        }
    }
    attribution::update(p).await.expect("credit");
    funnels(p, "with differences that wait").await;
    rollup::fold(p).await.expect("folded");
    funnels(p, "folded").await;
});

/// Engagement by every unit: once from the visits that are kept, once from the events (asked in a zone of the same offset).
async fn engagements(p: &Platform, what: &str) {
    let (kept, counted) = (chrono_tz::UTC, chrono_tz::Etc::GMT);
    assert_eq!(p.config.shop.time_zone, kept);
    let end = p.now().plus_us(1);
    let midnight = Timestamp::parse("2026-01-14").expect("date");
    for (from, to) in [(end.plus_days(-80), end), (end.plus_days(-20), end.plus_days(3)), (midnight.plus_days(-40), midnight)] {
        for unit in Unit::ALL {
            let about = |time_zone| Question { unit, time_zone, ..Question::about(from, to) };
            let sums: EngagementReport = engagement(&p.db, &about(kept)).await.expect("engagement");
            let plain = engagement(&p.db, &about(counted)).await.expect("engagement");
            assert!(plain.rows.iter().any(|r| r.returning_people > 0), "{what}: {unit:?}");
            assert_eq!(sums.rows, plain.rows, "{what}: {unit:?}");
            assert_eq!((sums.frequency, sums.recency), (plain.frequency, plain.recency), "{what}: {unit:?}");
        }
    }
}

both_engines!(engagement_needs_no_pass_over_the_events, |shop| {
    let p = &shop.platform;
    let mut w = world(p, 13).await;
    for hour in 0..120 {
        moved(&shop, START.plus_us(hour * HOUR));
        comes(p, &mut w).await;
        if hour % 40 == 20 {
            rollup::fold(p).await.expect("folded");
        }
    }
    engagements(p, "with differences that wait").await;
    rollup::fold(p).await.expect("folded");
    engagements(p, "folded").await;

    // What is kept is what is read.
    let end = p.now().plus_us(1);
    let about = Question { unit: Unit::Week, ..Question::about(end.plus_days(-20), end) };
    let before = engagement(&p.db, &about).await.expect("engagement");
    sql(&p.db, "UPDATE rollup_engagement SET events = events + 1000".into()).await;
    let after = engagement(&p.db, &about).await.expect("engagement");
    assert!(before.rows.iter().zip(&after.rows).any(|(b, a)| a.events == b.events + 1000));
});

both_engines!(an_adding_up_that_was_stopped_goes_on, |shop| {
    let p = &shop.platform;
    let mut w = world(p, 17).await;
    let mut hour = 0;
    let live = async |w: &mut World, hours: i64, hour: &mut i64| {
        for _ in 0..hours {
            moved(&shop, START.plus_us(*hour * HOUR));
            happens(p, w).await;
            comes(p, w).await;
            buys(p, w).await;
            *hour += 1;
        }
        attribution::update(p).await.expect("credit");
    };
    live(&mut w, 40, &mut hour).await;
    rollup::fold(p).await.expect("folded");
    // Stopped after each number of parts (three campaigns, and the people), while the shop goes on.
    for parts in 1..=4 {
        let mut left = parts;
        let mut go_on = || {
            left -= 1;
            left > 0
        };
        assert!(rollup::rebuild_while(p, &mut go_on).await.is_err(), "stopped after {parts}");
        assert!(!rollup::state(&p.db).await.expect("state").ready);
        live(&mut w, 12, &mut hour).await;
        rollup::fold(p).await.expect("gone on");
        assert!(rollup::state(&p.db).await.expect("state").ready);
        rollup::fold(p).await.expect("folded");
        check(p, &format!("stopped after {parts} parts")).await;
    }
});

both_engines!(facts_that_change_while_all_is_added_up_are_not_lost, |shop| {
    let p = &shop.platform;
    let mut w = world(p, 19).await;
    for hour in 0..60 {
        moved(&shop, START.plus_us(hour * HOUR));
        happens(p, &mut w).await;
        comes(p, &mut w).await;
        buys(p, &mut w).await;
    }
    attribution::update(p).await.expect("credit");
    let shop_goes_on = async {
        for hour in 60..100 {
            moved(&shop, START.plus_us(hour * HOUR));
            happens(p, &mut w).await;
            comes(p, &mut w).await;
            buys(p, &mut w).await;
            attribution::update(p).await.expect("credit");
        }
    };
    // Two at once, again and again.
    let rebuilt = async {
        for _ in 0..6 {
            let (a, b) = tokio::join!(rollup::rebuild(p), rollup::fold(p));
            a.expect("rebuilt");
            b.expect("folded");
        }
    };
    tokio::join!(shop_goes_on, rebuilt);
    for _ in 0..2 {
        rollup::fold(p).await.expect("folded");
    }
    check(p, "after all").await;
});

/// Journeys that led to nothing, told from touches and credit: (by views too, person, begun, ended, campaigns in order of earning).
type Lost = std::collections::BTreeSet<(bool, i64, i64, i64, String)>;

async fn lost(db: &Db) -> Lost {
    const WINDOW: i64 = 7 * 24 * HOUR;
    let ids: Vec<TouchId> = read!(*db, |c| sqlx::query_scalar("SELECT id FROM touch").fetch_all(c).await).expect("ids");
    let credited: Vec<(TouchId, bool)> =
        read!(*db, |c| sqlx::query_as("SELECT DISTINCT touch_id, view_through FROM credit").fetch_all(c).await).expect("credit");
    let touches: Vec<Touch> = touches::get_many(db, &ids).await.expect("touches").into_values().collect();
    let mut found = Lost::new();
    for view_through in [false, true] {
        let mut people: BTreeMap<i64, Vec<(i64, TouchId, i64, i64)>> = BTreeMap::new();
        for t in touches.iter().filter(|t| t.arm == Arm::Treated && !credited.contains(&(t.id, view_through))) {
            let (Some(person), Some(at)) = (t.person_id, t.contact_at) else { continue };
            let inside = |x: &Timestamp| *x >= at && x.0 < at.0 + WINDOW;
            let view = || t.open_at.or(t.viewable_at).filter(|_| view_through && t.click_at.is_none_or(|c| c.0 >= at.0 + WINDOW));
            if let Some(earned) = t.click_at.filter(|c| c.0 < at.0 + WINDOW).or_else(view).filter(inside) {
                people.entry(person.0).or_default().push((at.0, t.id, earned.0, t.campaign_id.0));
            }
        }
        for (person, mut contacts) in people {
            contacts.sort_unstable();
            while !contacts.is_empty() {
                let (begun, mut ended, mut n) = (contacts[0].0, contacts[0].0 + WINDOW, 1);
                while contacts.get(n).is_some_and(|c| c.0 < ended) {
                    (ended, n) = (contacts[n].0 + WINDOW, n + 1);
                }
                let mut path: Vec<(i64, TouchId, i64)> =
                    contacts.drain(..n).map(|(_, id, earned, campaign)| (earned, id, campaign)).collect();
                path.sort_unstable();
                let campaigns: Vec<String> = path.iter().map(|(_, _, c)| c.to_string()).collect();
                found.insert((view_through, person, begun, ended, campaigns.join(">")));
            }
        }
    }
    found
}

async fn lost_kept(db: &Db) -> Lost {
    let sql = "SELECT view_through, person_id, begun, ended, path FROM rollup_journey";
    let rows: Vec<(bool, i64, i64, i64, String)> = read!(*db, |c| sqlx::query_as(sql).fetch_all(c).await).expect("rows");
    let campaigns = |path: String| path.split('>').filter_map(|c| c.split('.').next()).collect::<Vec<_>>().join(">");
    rows.into_iter().map(|(v, p, b, e, path)| (v, p, b, e, campaigns(path))).collect()
}

both_engines!(lost_journeys_follow_what_happens, |shop| {
    let p = &shop.platform;
    let mut w = world(p, 23).await;
    let mut most = 0;
    for hour in 0..240 {
        moved(&shop, START.plus_us(hour * HOUR));
        happens(p, &mut w).await;
        buys(p, &mut w).await;
        if hour % 12 == 11 {
            attribution::update(p).await.expect("credit");
            let told = lost(&p.db).await;
            assert_eq!(lost_kept(&p.db).await, told, "after {hour} hours");
            most = most.max(told.iter().filter(|j| j.4.contains('>')).count());
        }
    }
    assert!(most > 1, "journeys of several contacts: {most}");
    let kept = lost_kept(&p.db).await;
    sql(&p.db, "DELETE FROM rollup_journey".into()).await;
    attribution::rebuild(p).await.expect("rebuilt");
    assert_eq!(lost_kept(&p.db).await, kept);
});

both_engines!(a_journey_goes_where_its_first_contact_went, |shop| {
    let p = &shop.platform;
    let mut w = world(p, 29).await;
    // Two people with an answered mail whose fate is not known, of one run.
    let mails: Vec<NewTouch> = [1, 2]
        .map(|person| NewTouch {
            arm: Arm::Treated,
            run_id: Some(RunId(1)),
            ..NewTouch::planned(CampaignId(1), PersonId(person), TouchChannel::Email, START, START)
        })
        .into();
    moved(&shop, START);
    let ids: Vec<TouchId> = mails.iter().map(|t| t.id).collect();
    let mut tx = p.db.begin().await.expect("begin");
    touches::plan_many(&mut tx, &mails, START).await.expect("planned");
    tx.commit().await.expect("commit");
    w.held = touches::claim(p, TouchChannel::Email, "w", 15, HOUR).await.expect("claim");
    assert_eq!(w.held.len(), 2);
    let step = async |at: i64, signal: bool| {
        let mut tx = p.db.begin().await.expect("begin");
        let now = START.plus_us(at * HOUR);
        if signal {
            touches::begin_sending(&mut tx, "w", &ids, HOUR, now).await.expect("begun");
            let ends: Vec<Finish> = ids.iter().map(|id| Finish { id: *id, outcome: Outcome::Uncertain("lost".into()) }).collect();
            touches::finish(&mut tx, "w", &ends, now).await.expect("finished");
            let clicks: Vec<NewSignal> = ids
                .iter()
                .map(|id| NewSignal {
                    touch_id: *id,
                    kind: SignalKind::Click,
                    actor: Actor::Human,
                    at: now.plus_us(HOUR / 2),
                    detail: None,
                    key: None,
                })
                .collect();
            touches::record_signals(&mut tx, &clicks, now).await.expect("signals");
        } else {
            // Sent again, and then the two are one person: one mail goes to the other person, the other is nobody's any more.
            touches::resend(&mut tx, &ids, now).await.expect("resent");
            touches::reassign_person(&mut tx, PersonId(1), PersonId(2), now).await.expect("merged");
        }
        tx.commit().await.expect("commit");
    };
    step(0, true).await;
    moved(&shop, START.plus_us(HOUR));
    attribution::update(p).await.expect("credit");
    assert_eq!(lost_kept(&p.db).await.len(), 4, "one journey each, by clicks and by views");
    moved(&shop, START.plus_us(30 * HOUR));
    step(30, false).await;
    attribution::update(p).await.expect("credit");
    assert_eq!(lost_kept(&p.db).await, lost(&p.db).await);
    assert!(lost_kept(&p.db).await.is_empty(), "nothing has gone out: {:?}", lost_kept(&p.db).await);
});

both_engines!(questions_add_up, |shop| {
    let p = &shop.platform;
    let mut w = world(p, 11).await;
    for hour in 0..80 {
        moved(&shop, START.plus_us(hour * HOUR));
        happens(p, &mut w).await;
        buys(p, &mut w).await;
    }
    attribution::update(p).await.expect("credit");
    rollup::fold(p).await.expect("folded");
    let all = rollup::totals(&p.db, Days::ALL).await.expect("totals");
    let ids: Vec<CampaignId> = (1..=3).map(CampaignId).collect();
    let campaigns = rollup::by_campaign(&p.db, &ids, Days::ALL).await.expect("campaigns");
    let add = |list: Vec<Counts>| {
        list.into_iter().fold(Counts::default(), |mut sum, n| {
            sum.add(n);
            sum
        })
    };
    assert_eq!(add(campaigns.values().map(|f| f.counts).collect()), all.counts);
    let channels = rollup::by_channel(&p.db, None, Days::ALL).await.expect("channels");
    assert_eq!(add(channels.values().map(|f| f.counts).collect()), all.counts);
    let series = rollup::series(&p.db, Some(ids[0]), Days::ALL).await.expect("series");
    assert_eq!(add(series.iter().map(|(_, f)| f.counts).collect()), campaigns[&ids[0]].counts);
    let variants = rollup::by_variant(&p.db, ids[0], Days::ALL).await.expect("variants");
    assert_eq!(add(variants.values().map(|f| f.counts).collect()), campaigns[&ids[0]].counts);
    let many = rollup::series_of(&p.db, &ids, Days::ALL).await.expect("many");
    assert_eq!(add(many[&ids[0]].values().map(|f| f.counts).collect()), campaigns[&ids[0]].counts);
    let products = rollup::by_product(&p.db, &[ProductId(1), ProductId(2), ProductId(3)], Days::ALL).await.expect("products");
    let top = rollup::top_products(&p.db, ids[0], "EUR", rollup::Reading::default(), 10).await.expect("top");
    assert!(top.iter().all(|(id, f)| f.counts.sent <= products[id].counts.sent));
    assert!(top.windows(2).all(|w| {
        let earned = |f: &rollup::Figures| f.revenue("EUR", rollup::Reading::default());
        earned(&w[0].1) >= earned(&w[1].1)
    }));
    let counted = rollup::counted(&p.db).await.expect("counted");
    assert_eq!((counted.people, counted.products, counted.orders), (PEOPLE, 3, w.order));
    assert!(counted.as_of.is_some());
});
