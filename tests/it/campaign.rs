//! Campaigns: life cycle, planning that survives crashes and rivals, holdouts, caps, time zones, the checks at the claim, the dry run.

use std::collections::{BTreeMap, HashMap, HashSet};

use marquee::account::Scope;
use marquee::audience::{self, NewSegment, Rule};
use marquee::campaign::{
    self, Action, Campaign, CampaignError, Caps, ContactPolicy, Hours, NewCampaign, Plan, RunStatus, Schedule, Status, Verdict,
};
use marquee::catalog::{self, NewProduct};
use marquee::events::orders;
use marquee::people::{self, Channel, Consent, NewPerson};
use marquee::platform::clock::{DAY_US, HOUR_US, MINUTE_US};
use marquee::platform::ids::{CampaignId, PersonId, ProductId, RunId, SegmentId};
use marquee::platform::queue::JobContext;
use marquee::platform::{Currency, Money, Platform, Timestamp};
use marquee::touches::{self, Arm, Finish, Outcome, Touch, TouchChannel, TouchState};
use serde_json::{Value, json};

use crate::both_engines;
use crate::support::START;
use crate::support::server::TestServer;

const LEASE: i64 = 10 * MINUTE_US;
const TITLES: [&str; 6] = ["Oak table", "Pine chair", "Garden lamp", "Soup bowl", "Tea pot", "Bread knife"];

struct World {
    people: Vec<PersonId>,
    segment: SegmentId,
    products: Vec<ProductId>,
}

/// A shop with people (all subscribed, in UTC unless `change` says otherwise), six products and a segment of everybody.
async fn world(p: &Platform, n: usize, change: impl Fn(usize, &mut NewPerson)) -> World {
    let list: Vec<NewPerson> = (0..n)
        .map(|i| {
            let mut person = NewPerson {
                external_id: Some(format!("u{i}")),
                email: Some(format!("u{i}@example.test")),
                email_consent: Some(Consent::Subscribed),
                ..NewPerson::default()
            };
            change(i, &mut person);
            person
        })
        .collect();
    let mut ids = Vec::new();
    for chunk in list.chunks(500) {
        let mut tx = p.db.begin().await.expect("begin");
        ids.extend(people::bulk_upsert(&mut tx, chunk, START).await.expect("people"));
        tx.commit().await.expect("commit");
    }
    let goods: Vec<NewProduct> = (0..6)
        .map(|i| NewProduct {
            category_path: if i < 3 { "Garden" } else { "Kitchen" }.into(),
            stock: Some(10),
            ..NewProduct::new(format!("sku-{i}"), TITLES[i as usize], Money::new(1_000 + i * 100, Currency::EUR))
        })
        .collect();
    let mut tx = p.db.begin().await.expect("begin");
    catalog::bulk_upsert(&mut tx, &goods, START).await.expect("products");
    tx.commit().await.expect("commit");
    let mut products: Vec<ProductId> = catalog::all(&p.db).await.expect("products").into_iter().map(|p| p.id).collect();
    products.sort();
    let everybody = NewSegment { key: "all".into(), name: "Everybody".into(), rule: Rule::Everyone {} };
    let segment = audience::create(&p.db, everybody, START).await.expect("segment").id;
    World { people: ids, segment, products }
}

fn plan(segment: SegmentId, schedule: Value, more: Value) -> Plan {
    let mut plan = json!({ "channel": "email", "segment": segment, "schedule": schedule });
    for (key, value) in more.as_object().expect("an object") {
        plan[key] = value.clone();
    }
    serde_json::from_value(plan).expect("a plan")
}

fn once() -> Value {
    json!({ "kind": "once", "at": START })
}

async fn create(p: &Platform, name: &str, plan: Plan) -> Campaign {
    campaign::create(&p.db, NewCampaign { key: None, name: name.into(), plan }, p.now()).await.expect("created")
}

async fn act(p: &Platform, id: CampaignId, action: Action) -> Result<Campaign, CampaignError> {
    campaign::transition(p, id, action).await
}

fn context() -> JobContext {
    JobContext {
        run_id: marquee::platform::ids::JobRunId(1),
        args: Value::Null,
        scheduled_at: START,
        attempt: 1,
        progress: Default::default(),
        stop: Default::default(),
    }
}

/// Schedules a draft, lets the tick begin its run, and returns the run.
async fn start(p: &Platform, id: CampaignId) -> RunId {
    act(p, id, Action::Schedule).await.expect("scheduled");
    campaign::tick(p, p.now()).await.expect("tick");
    campaign::runs(&p.db, id, RunId(0), 10).await.expect("runs").last().expect("a run").id
}

async fn plan_all(p: &Platform, id: CampaignId) -> RunId {
    let run = start(p, id).await;
    campaign::plan_run(p, run, &context()).await.expect("planned");
    run
}

async fn touches_of(p: &Platform, id: CampaignId) -> Vec<Touch> {
    let mut all = Vec::new();
    loop {
        let page = touches::page_of_campaign(&p.db, id, None, all.last().map(|t: &Touch| t.id), 1_000).await.expect("page");
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// Claims everything due, checks it, and ends it as the checks say (a treated touch is "sent"). Returns the verdicts by person.
async fn deliver(p: &Platform) -> HashMap<PersonId, (Arm, Verdict)> {
    let mut verdicts = HashMap::new();
    loop {
        let batch = touches::claim(p, TouchChannel::Email, "w", 500, LEASE).await.expect("claimed");
        if batch.is_empty() {
            return verdicts;
        }
        let now = p.now();
        for (touch, checked) in batch.iter().zip(campaign::recheck(p, &batch, now).await.expect("checked")) {
            assert_eq!(touch.id, checked.id);
            let mut tx = p.db.begin().await.expect("begin");
            if let Some(content) = &checked.content {
                assert_eq!(touches::set_content(&mut tx, "w", std::slice::from_ref(content), now).await.expect("content"), 1);
            }
            let outcome = match checked.outcome(touch.arm) {
                Some(end) => end,
                None => {
                    assert_eq!(touches::begin_sending(&mut tx, "w", &[touch.id], LEASE, now).await.expect("begun"), [touch.id]);
                    Outcome::Sent
                }
            };
            assert_ne!(outcome, Outcome::GivenBack, "a paused campaign is not claimed");
            let ended = touches::finish(&mut tx, "w", &[Finish { id: touch.id, outcome }], now).await.expect("finished");
            assert_eq!(ended, [touch.id]);
            tx.commit().await.expect("commit");
            verdicts.insert(touch.person_id.expect("person"), (touch.arm, checked.verdict));
        }
    }
}

async fn set_policy(p: &Platform, policy: ContactPolicy) {
    let mut tx = p.db.begin().await.expect("begin");
    campaign::set_policy(&mut tx, &policy, p.now()).await.expect("policy");
    tx.commit().await.expect("commit");
}

both_engines!(a_campaign_lives_by_its_table, |shop| {
    let p = &shop.platform;
    let w = world(p, 3, |_, _| {}).await;
    let made = create(p, "Spring sale", plan(w.segment, once(), json!({}))).await;
    assert_eq!((made.key.as_str(), made.status, made.variants.len()), ("spring-sale", Status::Draft, 1));
    let twin = NewCampaign { key: Some("spring-sale".into()), name: "x".into(), plan: made.plan.clone() };
    assert!(matches!(campaign::create(&p.db, twin, p.now()).await, Err(CampaignError::KeyTaken(_))));
    for wrong in [Action::Pause, Action::Resume, Action::Unschedule, Action::Start, Action::Finish] {
        let error = act(p, made.id, wrong).await.expect_err("refused");
        assert!(matches!(error, CampaignError::WrongState { .. }), "{error}");
        assert!(error.to_string().contains("draft") && error.to_string().contains("schedule"), "{error}");
    }
    assert_eq!(act(p, made.id, Action::Schedule).await.expect("ok").next_run_at, Some(START));
    assert_eq!(act(p, made.id, Action::Unschedule).await.expect("ok").status, Status::Draft);
    plan_all(p, made.id).await;
    assert_eq!(campaign::get(&p.db, made.id).await.expect("there").status, Status::Running);
    assert_eq!(act(p, made.id, Action::Pause).await.expect("ok").status, Status::Paused);
    assert!(touches::claim(p, TouchChannel::Email, "w", 10, LEASE).await.expect("claim").is_empty(), "paused at once");
    assert!(campaign::sendable(&p.db, &[made.id]).await.expect("asked").is_empty());
    assert_eq!(act(p, made.id, Action::Resume).await.expect("ok").status, Status::Running);
    assert_eq!(deliver(p).await.len(), 3);
    assert_eq!(campaign::tick(p, p.now()).await.expect("tick").finished, 1);
    let done = campaign::get(&p.db, made.id).await.expect("there");
    assert!(done.status == Status::Done && done.ended_at.is_some());
    assert!(act(p, made.id, Action::Cancel).await.is_err());
});

both_engines!(a_pause_between_claim_and_sending_stops_the_touch, |shop| {
    let p = &shop.platform;
    let w = world(p, 2, |_, _| {}).await;
    let made = create(p, "A", plan(w.segment, once(), json!({}))).await;
    plan_all(p, made.id).await;
    let batch = touches::claim(p, TouchChannel::Email, "w", 10, LEASE).await.expect("claim");
    act(p, made.id, Action::Pause).await.expect("paused");
    let verdicts = campaign::recheck(p, &batch, p.now()).await.expect("checked");
    assert!(batch.len() == 2 && verdicts.iter().all(|c| c.verdict == Verdict::GiveBack));
    act(p, made.id, Action::Cancel).await.expect("cancelled");
    assert!(touches_of(p, made.id).await.iter().all(|t| t.state == TouchState::Cancelled));
    assert!(touches::held_campaigns(&p.db).await.expect("held").is_empty());
    let gone = campaign::recheck(p, &batch, p.now()).await.expect("checked");
    assert!(gone.iter().all(|c| matches!(c.verdict, Verdict::Cancel(_))));
});

both_engines!(what_measurement_rests_on_cannot_change_once_it_runs, |shop| {
    let p = &shop.platform;
    let w = world(p, 2, |_, _| {}).await;
    let daily = json!({ "kind": "recurring", "cron": "0 12 * * *", "time_zone": "UTC", "start": START });
    let made = create(p, "A", plan(w.segment, daily, json!({ "holdout_bp": 1000 }))).await;
    let variants = json!([{ "name": "A" }, { "name": "B", "weight": 3 }]);
    let draft = plan(w.segment, json!(made.plan.schedule), json!({ "holdout_bp": 2000, "variants": variants }));
    let edited = campaign::update(&p.db, made.id, "B", draft, p.now()).await.expect("a draft may change");
    assert_eq!(edited.variants[0].id, made.variants[0].id, "a variant keeps its id");
    start(p, made.id).await;
    let mut other = edited.plan.clone();
    other.holdout_bp = 500;
    assert!(matches!(campaign::update(&p.db, made.id, "B", other, p.now()).await, Err(CampaignError::Frozen(_))));
    let mut later = edited.plan.clone();
    later.caps = Some(Caps { per_day: 1, per_week: 1 });
    later.schedule = serde_json::from_value(json!({ "kind": "recurring", "cron": "0 6 * * *", "time_zone": "UTC" })).expect("schedule");
    let changed = campaign::update(&p.db, made.id, "C", later, p.now()).await.expect("allowed");
    assert_eq!(changed.next_run_at, Timestamp::parse("2026-01-16T06:00:00Z"));
});

both_engines!(two_planners_plan_each_person_once, |shop| {
    let p = &shop.platform;
    let w = world(p, 2_300, |_, _| {}).await;
    let made = create(p, "A", plan(w.segment, once(), json!({ "holdout_bp": 3000 }))).await;
    let run = start(p, made.id).await;
    let rivals = (0..3).map(|_| {
        let p = p.clone();
        tokio::spawn(async move { campaign::plan_run(&p, run, &context()).await.expect("planned").people })
    });
    let mut people = 0;
    for rival in rivals {
        people += rival.await.expect("joined");
    }
    assert_eq!(people, 2_300, "each page was won once");
    let all = touches_of(p, made.id).await;
    assert_eq!(all.iter().filter_map(|t| t.person_id).collect::<HashSet<_>>(), w.people.iter().copied().collect());
    assert_eq!(all.len(), 2_300);
    let stored = campaign::get_run(&p.db, run).await.expect("read").expect("there");
    assert_eq!((stored.status, stored.planned), (RunStatus::Planned, 2_300));
});

both_engines!(planning_that_is_killed_goes_on_where_it_was, |shop| {
    let p = &shop.platform;
    let w = world(p, 2_100, |_, _| {}).await;
    let made = create(p, "A", plan(w.segment, once(), json!({ "holdout_bp": 2000 }))).await;
    let run = start(p, made.id).await;
    let mut killed = 0;
    for n in 0..12_u64 {
        let task = {
            let p = p.clone();
            tokio::spawn(async move { campaign::plan_run(&p, run, &context()).await })
        };
        tokio::time::sleep(std::time::Duration::from_millis(5 + n * 7)).await;
        killed += i32::from(!task.is_finished());
        task.abort();
        let _ = task.await;
        // A commit that SQLite's thread had begun still ends; the two reads below must not lie on either side of it.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let stored = campaign::get_run(&p.db, run).await.expect("read").expect("there");
        let written = touches_of(p, made.id).await;
        assert_eq!(written.len() as i64, stored.planned, "touches and cursor move together");
    }
    assert!(killed > 0, "nothing was ever killed");
    campaign::plan_run(p, run, &context()).await.expect("planned");
    let all = touches_of(p, made.id).await;
    assert_eq!(all.len(), 2_100);
    assert_eq!(all.iter().filter_map(|t| t.person_id).collect::<HashSet<_>>().len(), 2_100);
});

both_engines!(a_cancelled_campaign_stops_being_planned, |shop| {
    let p = &shop.platform;
    let w = world(p, 700, |_, _| {}).await;
    let made = create(p, "A", plan(w.segment, once(), json!({}))).await;
    let run = start(p, made.id).await;
    act(p, made.id, Action::Cancel).await.expect("cancelled");
    assert!(campaign::plan_run(p, run, &context()).await.expect("ends").ended_early);
    assert!(touches_of(p, made.id).await.is_empty());
});

both_engines!(holdouts_keep_their_share_and_their_people, |shop| {
    let p = &shop.platform;
    let w = world(p, 2_000, |_, _| {}).await;
    set_policy(p, ContactPolicy { global_holdout_bp: 1_000, caps: Caps { per_day: 0, per_week: 0 }, ..ContactPolicy::default() }).await;
    let daily = json!({ "kind": "recurring", "cron": "0 12 * * *", "time_zone": "UTC", "start": START, "max_runs": 2 });
    let more = json!({ "holdout_bp": 3000, "choice": { "exclude_shown_days": 0 }, "variants": [{ "name": "A", "weight": 1 }, { "name": "B", "weight": 3 }] });
    let made = create(p, "A", plan(w.segment, daily, more)).await;
    let first = plan_all(p, made.id).await;
    deliver(p).await;
    p.clock.advance_to(START.plus_days(1));
    campaign::tick(p, p.now()).await.expect("tick");
    let second = campaign::runs(&p.db, made.id, first, 10).await.expect("runs")[0].id;
    campaign::plan_run(p, second, &context()).await.expect("planned");
    let all = touches_of(p, made.id).await;
    let arms = |run: RunId| -> BTreeMap<PersonId, (Arm, _)> {
        all.iter().filter(|t| t.run_id == Some(run)).map(|t| (t.person_id.expect("person"), (t.arm, t.variant_id))).collect()
    };
    assert_eq!(arms(first), arms(second), "the same people, the same variants");
    // Held out by either: 1 − 0.9 · 0.7 = 37 %; four standard deviations.
    let ghosts = arms(first).values().filter(|(arm, _)| *arm == Arm::Ghost).count() as f64;
    assert!((ghosts - 740.0).abs() < 4.0 * (2_000.0_f64 * 0.37 * 0.63).sqrt(), "{ghosts}");
    let b = arms(first).values().filter(|(_, v)| *v == Some(made.variants[1].id)).count() as f64;
    assert!((b - 1_500.0).abs() < 4.0 * (2_000.0_f64 * 0.75 * 0.25).sqrt(), "{b}");
    // Ghosts are planned like the others: product, copy, due time.
    let ghost = all.iter().find(|t| t.arm == Arm::Ghost && t.run_id == Some(first)).expect("a ghost");
    assert!(ghost.product_id.is_some() && ghost.copy_id.is_some() && ghost.due_at == START && ghost.state == TouchState::Held);
    assert_eq!(ghost.sent_at, None);
    // A second campaign draws its own, and keeps the global one.
    let other = create(p, "B", plan(w.segment, json!({ "kind": "once", "at": p.now() }), json!({ "holdout_bp": 3000 }))).await;
    plan_all(p, other.id).await;
    let others: HashSet<PersonId> =
        touches_of(p, other.id).await.iter().filter(|t| t.arm == Arm::Ghost).filter_map(|t| t.person_id).collect();
    let both = arms(first).iter().filter(|(person, (arm, _))| *arm == Arm::Ghost && others.contains(person)).count() as f64;
    // Global 10 %, else 30 % by each: 0.1 + 0.9 · 0.09 = 18.1 %.
    assert!((both - 362.0).abs() < 4.0 * (2_000.0_f64 * 0.181 * 0.819).sqrt(), "{both}");
});

both_engines!(who_is_left_out_says_why, |shop| {
    let p = &shop.platform;
    let w = world(p, 8, |i, person| match i {
        0 => person.email = None,
        1 => person.email_consent = Some(Consent::Unsubscribed),
        2 => person.email_consent = None,
        _ => {}
    })
    .await;
    let mut tx = p.db.begin().await.expect("begin");
    people::suppress(&mut tx, "U3@example.test", "bounce", None, START).await.expect("suppressed");
    tx.commit().await.expect("commit");
    let made = create(p, "A", plan(w.segment, once(), json!({ "choice": { "categories": ["Kitchen"], "products": 2 } }))).await;
    plan_all(p, made.id).await;
    let by_person: HashMap<PersonId, Touch> = touches_of(p, made.id).await.into_iter().map(|t| (t.person_id.expect("person"), t)).collect();
    for (i, reason) in [(0, "no_address"), (1, "no_consent"), (2, "no_consent"), (3, "suppressed")] {
        let touch = &by_person[&w.people[i]];
        assert_eq!((touch.state, touch.reason.as_deref()), (TouchState::Skipped, Some(reason)), "person {i}");
    }
    for person in &w.people[4..] {
        let touch = &by_person[person];
        assert_eq!(touch.state, TouchState::Planned);
        assert!(touch.product_ids.len() == 2 && touch.product_ids.iter().all(|id| w.products[3..].contains(&ProductId(*id))));
    }
    let progress = campaign::progress(&p.db, made.id).await.expect("progress");
    assert_eq!(progress.left_out, BTreeMap::from([("no_address".into(), 1), ("no_consent".into(), 2), ("suppressed".into(), 1)]));
});

both_engines!(caps_hold_across_campaigns_for_treated_and_ghost, |shop| {
    let p = &shop.platform;
    let w = world(p, 40, |_, _| {}).await;
    set_policy(p, ContactPolicy { caps: Caps { per_day: 1, per_week: 2 }, global_holdout_bp: 4_000, ..ContactPolicy::default() }).await;
    let wide = |more: Value| plan(w.segment, json!({ "kind": "once", "at": p.now() }), more);
    // Both planned before either is sent: the check at the claim decides.
    let a = create(p, "A", wide(json!({}))).await;
    let b = create(p, "B", wide(json!({}))).await;
    plan_all(p, a.id).await;
    plan_all(p, b.id).await;
    let verdicts = deliver(p).await;
    assert_eq!(verdicts.len(), 40);
    let states = |list: Vec<Touch>| list.into_iter().map(|t| (t.person_id, t.state)).collect::<HashMap<_, _>>();
    let (of_a, of_b) = (states(touches_of(p, a.id).await), states(touches_of(p, b.id).await));
    for (person, state) in &of_a {
        let pair = HashSet::from([*state, of_b[person]]);
        let went = if pair.contains(&TouchState::Held) { TouchState::Held } else { TouchState::Sent };
        assert_eq!(pair, HashSet::from([went, TouchState::Skipped]), "one went, one was capped, in either arm");
    }
    // Planned after: the plan itself says so.
    let c = create(p, "C", wide(json!({}))).await;
    plan_all(p, c.id).await;
    assert!(touches_of(p, c.id).await.iter().all(|t| t.reason.as_deref() == Some("cap_day")));
    // Its own caps stand in place of the shop's.
    let d = create(p, "D", wide(json!({ "caps": { "per_day": 2, "per_week": 9 } }))).await;
    plan_all(p, d.id).await;
    deliver(p).await;
    assert!(touches_of(p, d.id).await.iter().all(|t| matches!(t.state, TouchState::Sent | TouchState::Held)));
    // Two days later the day is free again, the week is not.
    p.clock.advance_to(START.plus_days(2));
    let e = create(p, "E", plan(w.segment, json!({ "kind": "once", "at": p.now() }), json!({}))).await;
    plan_all(p, e.id).await;
    assert!(touches_of(p, e.id).await.iter().all(|t| t.reason.as_deref() == Some("cap_week")));
});

both_engines!(the_claim_checks_again_and_alike_for_both_arms, |shop| {
    let p = &shop.platform;
    let w = world(p, 30, |_, _| {}).await;
    let made = create(p, "A", plan(w.segment, once(), json!({ "holdout_bp": 5000, "choice": { "products": 2 } }))).await;
    plan_all(p, made.id).await;
    let planned = touches_of(p, made.id).await;
    let by_arm = |arm| planned.iter().filter(move |t| t.arm == arm).map(|t| t.person_id.expect("person")).collect::<Vec<_>>();
    let (treated, ghosts) = (by_arm(Arm::Treated), by_arm(Arm::Ghost));
    assert!(treated.len() >= 4 && ghosts.len() >= 4);
    let first = ProductId(planned[0].product_ids[0]);
    let mut tx = p.db.begin().await.expect("begin");
    for group in [&treated, &ghosts] {
        people::set_consent(&mut tx, group[0], Channel::Email, Consent::Unsubscribed, "test", START).await.expect("consent");
    }
    catalog::set_stock(&mut tx, first, Some(0), START).await.expect("sold out");
    tx.commit().await.expect("commit");
    for group in [&treated, &ghosts] {
        let person = people::get_many(&p.db, &[group[1]]).await.expect("read").remove(&group[1]).expect("there");
        let mut tx = p.db.begin().await.expect("begin");
        people::suppress(&mut tx, person.email.as_deref().expect("address"), "complaint", None, START).await.expect("suppressed");
        tx.commit().await.expect("commit");
    }
    let verdicts = deliver(p).await;
    for group in [&treated, &ghosts] {
        assert_eq!(verdicts[&group[0]].1, Verdict::Skip("no_consent"));
        assert_eq!(verdicts[&group[1]].1, Verdict::Skip("suppressed"));
        assert!(group[2..].iter().all(|person| verdicts[person].1 == Verdict::Go));
    }
    for touch in touches_of(p, made.id).await.iter().filter(|t| matches!(t.state, TouchState::Sent | TouchState::Held)) {
        assert!(!touch.product_ids.contains(&first.0), "another product was chosen");
        assert!(touch.copy_id.is_some() && touch.product_id.map(|p| p.0) == touch.product_ids.first().copied());
        let copy = marquee::copywriter::get_many(&p.db, &[touch.copy_id.expect("copy")]).await.expect("copies");
        assert_eq!(copy.into_values().next().map(|c| c.product_id), touch.product_id, "and its copy");
        assert_eq!(touch.state == TouchState::Held, touch.arm == Arm::Ghost);
    }
    // Nothing is left to sell: both arms are left out.
    let late = create(p, "B", plan(w.segment, once(), json!({ "holdout_bp": 5000, "caps": { "per_day": 9, "per_week": 9 } }))).await;
    plan_all(p, late.id).await;
    let mut tx = p.db.begin().await.expect("begin");
    for product in &w.products {
        catalog::retire(&mut tx, *product, START).await.expect("retired");
    }
    tx.commit().await.expect("commit");
    let verdicts = deliver(p).await;
    assert!(!verdicts.is_empty() && verdicts.values().all(|(_, v)| *v == Verdict::Skip("no_product")), "{verdicts:?}");
});

both_engines!(quiet_hours_put_off_and_time_runs_out, |shop| {
    let p = &shop.platform;
    let w = world(p, 4, |i, person| person.time_zone = Some(["UTC", "Asia/Tokyo"][i % 2].into())).await;
    let made = create(p, "A", plan(w.segment, once(), json!({ "expire_after_hours": 6 }))).await;
    plan_all(p, made.id).await;
    // The policy changes after planning: 12:00 UTC is 21:00 in Tokyo.
    let at = |t: &str| t.parse().expect("time");
    let quiet = Some(Hours { from: at("21:00:00"), to: at("02:00:00") });
    set_policy(p, ContactPolicy { quiet_hours: quiet, ..ContactPolicy::default() }).await;
    let verdicts = deliver(p).await;
    let until = START.plus_us(5 * HOUR_US);
    assert_eq!(verdicts[&w.people[0]].1, Verdict::Go);
    assert_eq!(verdicts[&w.people[1]].1, Verdict::Defer { until, reason: "quiet_hours" });
    p.clock.advance_to(until);
    let again = deliver(p).await;
    assert!(again.len() == 2 && again.values().all(|(_, v)| *v == Verdict::Go));
    // Planned in quiet hours: due when they end.
    p.clock.advance_to(START.plus_days(3));
    let next = create(p, "B", plan(w.segment, json!({ "kind": "once", "at": p.now() }), json!({ "expire_after_hours": 1 }))).await;
    plan_all(p, next.id).await;
    let due: HashMap<_, _> = touches_of(p, next.id).await.into_iter().map(|t| (t.person_id.expect("person"), t.due_at)).collect();
    assert_eq!((due[&w.people[0]], due[&w.people[1]]), (p.now(), p.now().plus_us(5 * HOUR_US)));
    // Nobody worked for a day: what is planned expires.
    p.clock.advance_to(START.plus_days(4));
    assert_eq!(campaign::tick(p, p.now()).await.expect("tick").expired, 4);
    assert!(touches_of(p, next.id).await.iter().all(|t| t.state == TouchState::Expired));
});

both_engines!(a_local_hour_meets_everybody_at_their_own, |shop| {
    let p = &shop.platform;
    let zones = ["UTC", "Asia/Kolkata", "America/St_Johns", "Pacific/Kiritimati", "Australia/Adelaide", "Europe/Berlin"];
    let w = world(p, zones.len(), |i, person| person.time_zone = Some(zones[i].into())).await;
    let schedule = json!({ "kind": "person_local", "time": "09:30", "date": "2026-03-29" });
    let made = create(p, "A", plan(w.segment, schedule, json!({}))).await;
    let scheduled = act(p, made.id, Action::Schedule).await.expect("scheduled");
    let run_at = scheduled.next_run_at.expect("a run");
    assert_eq!(run_at, Timestamp::parse("2026-03-28T19:30:00Z").expect("time"));
    assert_eq!(campaign::tick(p, p.now()).await.expect("tick").runs, 0);
    p.clock.advance_to(run_at);
    assert_eq!(campaign::tick(p, p.now()).await.expect("tick").runs, 1);
    let run = campaign::runs(&p.db, made.id, RunId(0), 1).await.expect("runs")[0].id;
    campaign::plan_run(p, run, &context()).await.expect("planned");
    for touch in touches_of(p, made.id).await {
        let i = w.people.iter().position(|id| Some(*id) == touch.person_id).expect("known");
        let local = touch.due_at.in_zone(zones[i].parse().expect("zone"));
        assert_eq!(local.format("%Y-%m-%d %H:%M").to_string(), "2026-03-29 09:30", "{}", zones[i]);
    }
});

both_engines!(ticks_that_race_begin_a_run_once_and_missed_runs_are_left_out, |shop| {
    let p = &shop.platform;
    let w = world(p, 2, |_, _| {}).await;
    let hourly = json!({ "kind": "recurring", "cron": "0 * * * *", "time_zone": "Europe/Berlin", "start": START });
    let made = create(p, "A", plan(w.segment, hourly, json!({}))).await;
    act(p, made.id, Action::Schedule).await.expect("scheduled");
    let ticks = (0..4).map(|_| {
        let p = p.clone();
        tokio::spawn(async move { campaign::tick(&p, START).await.expect("tick").runs })
    });
    let mut runs = 0;
    for tick in ticks {
        runs += tick.await.expect("joined");
    }
    assert_eq!(runs, 1);
    p.clock.advance_to(START.plus_us(5 * HOUR_US + MINUTE_US));
    assert_eq!(campaign::tick(p, p.now()).await.expect("tick").runs, 1);
    assert_eq!(campaign::tick(p, p.now()).await.expect("tick").runs, 0, "one for the hours that were missed");
    let next = campaign::get(&p.db, made.id).await.expect("there").next_run_at;
    assert_eq!(next, Some(START.plus_us(6 * HOUR_US)));
});

both_engines!(the_dry_run_is_the_run, |shop| {
    let p = &shop.platform;
    let w = world(p, 600, |i, person| {
        person.time_zone = Some(["UTC", "America/New_York", "Asia/Kathmandu"][i % 3].into());
        if i % 7 == 0 {
            person.email_consent = None;
        }
    })
    .await;
    let at = |t: &str| t.parse().expect("time");
    set_policy(p, ContactPolicy { quiet_hours: Some(Hours { from: at("17:00:00"), to: at("09:00:00") }), ..ContactPolicy::default() })
        .await;
    let more = json!({ "holdout_bp": 2500, "variants": [{ "name": "A" }, { "name": "B", "tone": "playful" }] });
    let made = create(p, "A", plan(w.segment, once(), more)).await;
    // Orders that count in no figure (not plausible, or only claimed by a page) tell nothing about how much people buy.
    let order = |n: usize, flag: Option<&str>, source| orders::NewOrder {
        order_ref: format!("no-{n}"),
        person_id: Some(w.people[n]),
        placed_at: p.now().plus_us(-DAY_US),
        currency: Currency::EUR,
        total_minor: 7_700_000,
        lines: Vec::new(),
        flag: flag.map(Into::into),
        source,
    };
    let claims = [order(1, Some("outlier"), orders::Source::Import), order(2, None, orders::Source::Page)];
    let mut tx = p.db.begin().await.expect("begin");
    orders::bulk_record(&mut tx, &claims, START).await.expect("orders");
    tx.commit().await.expect("commit");
    let dry = campaign::dry_run(p, made.id, 500).await.expect("dry run");
    assert!(touches_of(p, made.id).await.is_empty(), "nothing is written");
    let stored = touches::holdout::assigned(&p.db, touches::holdout::Scope::Campaign(made.id), &w.people).await.expect("arms");
    assert!(stored.is_empty());
    plan_all(p, made.id).await;
    let real: HashMap<PersonId, Touch> = touches_of(p, made.id).await.into_iter().map(|t| (t.person_id.expect("person"), t)).collect();
    let products = catalog::get_many(&p.db, &w.products).await.expect("products");
    assert_eq!(dry.people.len(), 500);
    for said in &dry.people {
        let touch = &real[&said.person_id];
        let skus: Vec<String> = touch.product_ids.iter().map(|id| products[&ProductId(*id)].sku.clone()).collect();
        let variant = &made.variants.iter().find(|v| Some(v.id) == touch.variant_id).expect("variant").variant.name;
        assert_eq!((said.arm, said.due_at, said.skipped, &said.variant), (touch.arm, touch.due_at, touch.reason.as_deref(), variant));
        assert_eq!(said.products, skus);
    }
    let count = |arm, state| real.values().filter(|t| t.arm == arm && t.state == state).count() as i64;
    assert_eq!(dry.audience, 600);
    assert_eq!(dry.treated, count(Arm::Treated, TouchState::Planned));
    assert_eq!(dry.held_out, count(Arm::Ghost, TouchState::Planned));
    assert_eq!(dry.skipped["no_consent"], 600 - dry.treated - dry.held_out);
    let detectable = dry.detectable.expect("two groups");
    assert!(detectable.effect_sd > 0.0 && detectable.effect_minor_per_person.is_none());
});

both_engines!(a_campaign_over_http_takes_hostile_text_and_names_mistakes, |shop| {
    let w = world(&shop.platform, 3, |_, _| {}).await;
    let server = TestServer::start(&shop).await;
    let key = server.key(&[Scope::Manage]).await;
    let call = |method: reqwest::Method, path: &str, body: Option<Value>| {
        let mut request = server.client.request(method, server.at(path)).bearer_auth(&key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        async move {
            let answer = request.send().await.expect("answer");
            let status = answer.status().as_u16();
            (status, answer.json::<Value>().await.expect("json"))
        }
    };
    let post = reqwest::Method::POST;
    let evil = "'); DROP TABLE campaign; -- \" {{ 7*7 }} <script>";
    let schedule = json!({ "kind": "once", "at": "2026-02-01T09:00:00Z" });
    let text = json!({ "name": evil, "plan": { "channel": "email", "segment": w.segment, "schedule": schedule,
        "choice": { "categories": [evil], "brands": [evil] }, "utm": { "campaign": evil }, "variants": [{ "name": evil, "template": evil }] } });
    let (status, made) = call(post.clone(), "/v1/campaigns", Some(text.clone())).await;
    assert_eq!((status, made["name"].as_str(), made["variants"][0]["name"].as_str()), (201, Some(evil), Some(evil)), "{made}");
    let id = made["id"].as_str().expect("id").to_owned();
    let (status, dry) = call(reqwest::Method::GET, &format!("/v1/campaigns/{id}/dry-run"), None).await;
    assert_eq!((status, dry["skipped"]["no_product"].as_i64()), (200, Some(3)), "{dry}");
    let (status, same) = call(post.clone(), "/v1/campaigns", Some(text.clone())).await;
    assert_eq!((status, same["code"].as_str()), (409, Some("key_taken")));
    for (change, field) in [
        (json!({ "kind": "recurring", "cron": "0 9 * * *", "time_zone": "Mars/Olympus" }), "Mars/Olympus"),
        (json!({ "kind": "recurring", "cron": "0 99 * * *", "time_zone": "UTC" }), "cron"),
        (json!({ "kind": "person_local", "time": "9 o'clock" }), "time of day"),
        (json!({ "kind": "never" }), "never"),
    ] {
        let mut wrong = text.clone();
        wrong["plan"]["schedule"] = change;
        let (status, problem) = call(post.clone(), "/v1/campaigns", Some(wrong)).await;
        assert!((400..=422).contains(&status) && problem["detail"].as_str().is_some_and(|d| d.contains(field)), "{status} {problem}");
    }
    let mut wrong = text.clone();
    wrong["plan"]["segment"] = json!("seg_999");
    wrong["key"] = json!("other");
    let (status, problem) = call(post.clone(), "/v1/campaigns", Some(wrong)).await;
    assert_eq!((status, problem["field"].as_str()), (422, Some("segment")), "{problem}");
    let (status, problem) = call(post.clone(), &format!("/v1/campaigns/{id}/pause"), None).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("wrong_state")));
    for (path, expected) in [("schedule", 200), ("cancel", 200), ("cancel", 409), ("start", 404), ("finish", 404), ("nonsense", 404)] {
        assert_eq!(call(post.clone(), &format!("/v1/campaigns/{id}/{path}"), None).await.0, expected, "{path}");
    }
    assert_eq!(call(reqwest::Method::GET, "/v1/campaigns/cmp_12345", None).await.0, 404);
    let (status, list) = call(reqwest::Method::GET, "/v1/campaigns?limit=1", None).await;
    assert_eq!((status, list["items"].as_array().map(Vec::len)), (200, Some(1)));
    let (status, problem) = call(reqwest::Method::PUT, "/v1/contact-policy", Some(json!({ "caps": { "per_day": -1 } }))).await;
    assert_eq!((status, problem["field"].as_str()), (422, Some("caps")));
    let bare = server.client.get(server.at("/v1/campaigns")).send().await.expect("answer");
    assert_eq!(bare.status().as_u16(), 401);
});

both_engines!(send_now_runs_a_draft_at_once, |shop| {
    let p = &shop.platform;
    let w = world(p, 5, |_, _| {}).await;
    let far = json!({ "kind": "once", "at": START.plus_us(30 * DAY_US) });
    let made = create(p, "A", plan(w.segment, far, json!({}))).await;
    let running = campaign::send_now(p, made.id).await.expect("runs");
    assert_eq!((running.status, running.plan.schedule), (Status::Running, Schedule::Once { at: START }));
    let run = campaign::runs(&p.db, made.id, RunId(0), 1).await.expect("runs")[0].id;
    campaign::plan_run(p, run, &context()).await.expect("planned");
    assert_eq!(deliver(p).await.len(), 5);
    assert!(matches!(campaign::send_now(p, made.id).await, Err(CampaignError::WrongState { .. })));
});

both_engines!(a_filtered_campaign_is_still_personal, |shop| {
    let p = &shop.platform;
    let w = world(p, 42, |_, _| {}).await;
    // Tables and chairs are bought together, bowls and pots are; the garden lamp is what everybody buys. (sku-0 … sku-5.)
    let mut tx = p.db.begin().await.expect("begin");
    let bought: Vec<orders::NewOrder> = (0..40_usize)
        .flat_map(|i| {
            let pair: &[usize] = match i % 8 {
                0 => &[0, 1],
                1 => &[3, 4],
                _ => &[2],
            };
            pair.iter().map(move |k| (i, *k))
        })
        .chain([(40, 0), (41, 3)])
        .map(|(i, k)| orders::NewOrder {
            order_ref: format!("o{i}-{k}"),
            person_id: Some(w.people[i]),
            placed_at: START.plus_us(-200 * DAY_US),
            currency: Currency::EUR,
            total_minor: 1_000,
            lines: vec![orders::OrderLine {
                product_id: Some(w.products[k]),
                sku: format!("sku-{k}"),
                title: String::new(),
                quantity: 1,
                unit_price_minor: 1_000,
                flag: None,
            }],
            flag: None,
            source: orders::Source::Server,
        })
        .collect();
    orders::bulk_record(&mut tx, &bought, START).await.expect("orders");
    tx.commit().await.expect("commit");
    // No picks are stored, and the filter leaves out what is popular: who bought a table gets the chair, who bought a bowl the pot.
    let filter = json!({ "choice": { "skus": ["sku-1", "sku-4", "sku-5"], "products": 1, "min_price_minor": 1 } });
    let made = create(p, "Filtered", plan(w.segment, once(), filter)).await;
    plan_all(p, made.id).await;
    let touches = touches_of(p, made.id).await;
    let shown = |person: PersonId| touches.iter().find(|t| t.person_id == Some(person)).expect("planned").product_ids.clone();
    assert_eq!((shown(w.people[40]), shown(w.people[41])), (vec![w.products[1].0], vec![w.products[4].0]));
    assert!(touches.iter().all(|t| [1, 4, 5].iter().any(|k| t.product_ids == [w.products[*k].0])), "within the filter");
});
