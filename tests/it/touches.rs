//! The outbox and the record: planning once, claiming with leases, never twice, signals, merges.

use std::collections::HashSet;

use marquee::platform::clock::{DAY_US, MINUTE_US};
use marquee::platform::ids::{CampaignId, PersonId, RunId, TouchId};
use marquee::platform::{Db, Platform, Timestamp};
use marquee::touches::{self, Actor, Arm, Finish, NewSignal, NewTouch, Outcome, SignalKind, Touch, TouchChannel, TouchState, holdout};
use marquee::{on, read};

use crate::both_engines;
use crate::support::START;

const LEASE: i64 = 5 * MINUTE_US;
const CAMPAIGN: CampaignId = CampaignId(1);

const PERSON: &str =
    "INSERT INTO person (id, attributes, email_consent, ads_consent, bucket, first_seen_at, last_seen_at, created_at, updated_at)
    VALUES ($1, '{}', 'subscribed', 'subscribed', 0, 0, 0, 0, 0)";
const PERSON_PG: &str =
    "INSERT INTO person (id, attributes, email_consent, ads_consent, bucket, first_seen_at, last_seen_at, created_at, updated_at)
    VALUES ($1, '{}'::jsonb, 'subscribed', 'subscribed', 0, 0, 0, 0, 0)";

async fn people(db: &Db, n: i64) {
    let mut tx = db.begin().await.expect("begin");
    let sql = if matches!(db, Db::Sqlite(_)) { PERSON } else { PERSON_PG };
    for id in 1..=n {
        on!(&mut tx, |c| sqlx::query(sql).bind(id).execute(&mut *c).await.map(|_| ())).expect("person");
    }
    tx.commit().await.expect("commit");
}

fn touch(person: i64, run: i64, due: Timestamp) -> NewTouch {
    NewTouch { run_id: Some(RunId(run)), ..NewTouch::planned(CAMPAIGN, PersonId(person), TouchChannel::Email, due, START) }
}

async fn plan(db: &Db, list: &[NewTouch]) -> u64 {
    let mut tx = db.begin().await.expect("begin");
    let n = touches::plan_many(&mut tx, list, START).await.expect("planned");
    tx.commit().await.expect("commit");
    n
}

async fn claim(p: &Platform, owner: &str, limit: i64) -> Vec<Touch> {
    touches::claim(p, TouchChannel::Email, owner, limit, LEASE).await.expect("claimed")
}

async fn begin(p: &Platform, owner: &str, ids: &[TouchId]) -> Vec<TouchId> {
    let mut tx = p.db.begin().await.expect("begin");
    let ids = touches::begin_sending(&mut tx, owner, ids, LEASE, p.now()).await.expect("begun");
    tx.commit().await.expect("commit");
    ids
}

async fn finish(p: &Platform, owner: &str, id: TouchId, outcome: Outcome) -> bool {
    let mut tx = p.db.begin().await.expect("begin");
    let moved = touches::finish(&mut tx, owner, &[Finish { id, outcome }], p.now()).await.expect("finished");
    tx.commit().await.expect("commit");
    moved == [id]
}

async fn state(p: &Platform, id: TouchId) -> TouchState {
    touches::get(&p.db, id).await.expect("read").expect("there").state
}

both_engines!(planning_twice_plans_once, |shop| {
    let db = &shop.platform.db;
    people(db, 1_200).await;
    let list: Vec<_> = (1..=1_200).map(|p| touch(p, 1, START)).collect();
    assert_eq!(plan(db, &list).await, 1_200);
    let again: Vec<_> = (1..=1_200).map(|p| touch(p, 1, START)).collect();
    assert_eq!(plan(db, &again).await, 0);
    assert_eq!(plan(db, &[touch(1, 2, START)]).await, 1);
    let counts = touches::counts_of_run(db, RunId(1)).await.expect("counts");
    assert_eq!(counts.iter().map(|c| (c.state, c.touches)).collect::<Vec<_>>(), [(TouchState::Planned, 1_200)]);
});

both_engines!(concurrent_workers_never_share_a_touch, |shop| {
    let p = &shop.platform;
    people(&p.db, 600).await;
    // Two runs: every person is due twice.
    let list: Vec<_> = (1..=1_200).map(|n| touch(1 + n % 600, 1 + n / 600 % 2, START)).collect();
    plan(&p.db, &list).await;
    let workers = (0..6).map(|w| {
        let p = p.clone();
        tokio::spawn(async move {
            let owner = format!("w{w}");
            let mut sent = Vec::new();
            loop {
                let got = claim(&p, &owner, 50).await;
                if got.is_empty() {
                    return sent;
                }
                let ids: Vec<_> = got.iter().map(|t| t.id).collect();
                assert_eq!(got.iter().filter_map(|t| t.person_id).collect::<HashSet<_>>().len(), got.len(), "one per person at a time");
                let begun = begin(&p, &owner, &ids).await;
                assert_eq!(begun.len(), ids.len());
                for id in &begun {
                    assert!(finish(&p, &owner, *id, Outcome::Sent).await);
                }
                sent.extend(begun);
            }
        })
    });
    let mut all = Vec::new();
    for worker in workers {
        all.extend(worker.await.expect("worker"));
    }
    let unique: HashSet<_> = all.iter().collect();
    assert_eq!(unique.len(), all.len(), "nothing was sent twice");
    // A worker may leave while another still holds somebody's first touch: one more round finds the rest.
    let rest = claim(p, "last", 1_000).await;
    assert_eq!(all.len() + rest.len(), list.iter().map(|t| (t.run_id, t.person_id)).collect::<HashSet<_>>().len());
});

both_engines!(a_claim_takes_what_is_due_in_order_and_ghosts_too, |shop| {
    let p = &shop.platform;
    people(&p.db, 4).await;
    let later = NewTouch { arm: Arm::Ghost, ..touch(1, 1, START.plus_us(-1)) };
    let list = [later, touch(2, 1, START.plus_us(-2)), touch(3, 1, START.plus_us(1))];
    plan(&p.db, &list).await;
    let got = claim(p, "w", 10).await;
    assert_eq!(got.iter().map(|t| t.person_id.expect("person").0).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(got[1].arm, Arm::Ghost);
    // A ghost cannot be sent, and a treated touch cannot be held.
    assert_eq!(begin(p, "w", &[got[0].id, got[1].id]).await, [got[0].id]);
    assert!(!finish(p, "w", got[0].id, Outcome::Held).await);
    assert!(finish(p, "w", got[1].id, Outcome::Held).await);
    let held = touches::get(&p.db, got[1].id).await.expect("read").expect("there");
    assert_eq!((held.state, held.sent_at, held.contact_at), (TouchState::Held, None, Some(START)));
});

both_engines!(leases_end_as_planned_or_uncertain_and_never_send_again, |shop| {
    let p = &shop.platform;
    people(&p.db, 3).await;
    plan(&p.db, &[touch(1, 1, START), touch(2, 1, START)]).await;
    let got = claim(p, "w", 10).await;
    let (a, b) = (got[0].id, got[1].id);
    begin(p, "w", &[a]).await;
    assert!(claim(p, "x", 10).await.is_empty());
    assert_eq!(touches::release_expired(p).await.expect("sweep"), touches::Released::default());
    p.clock.advance_to(START.plus_us(LEASE + 1));
    let released = touches::release_expired(p).await.expect("sweep");
    assert_eq!((released.planned, released.uncertain), (1, 1));
    assert_eq!((state(p, a).await, state(p, b).await), (TouchState::Uncertain, TouchState::Planned));
    // The lost worker may not begin what it no longer holds.
    assert!(begin(p, "w", &[b]).await.is_empty());
    assert_eq!(claim(p, "x", 10).await.iter().map(|t| t.id).collect::<Vec<_>>(), [b]);
    assert!(!finish(p, "w", b, Outcome::Sent).await);
    // It may still say how the uncertain one ended; a stranger may not.
    assert!(!finish(p, "x", a, Outcome::Sent).await);
    assert!(!finish(p, "w", a, Outcome::GivenBack).await, "never again by itself");
    assert!(finish(p, "w", a, Outcome::Sent).await);
    assert_eq!(state(p, a).await, TouchState::Sent);
});

both_engines!(an_uncertain_touch_is_sent_again_only_when_asked, |shop| {
    let p = &shop.platform;
    people(&p.db, 1).await;
    plan(&p.db, &[touch(1, 1, START)]).await;
    let id = claim(p, "w", 1).await[0].id;
    begin(p, "w", &[id]).await;
    p.clock.advance_to(START.plus_us(LEASE));
    touches::release_expired(p).await.expect("sweep");
    p.clock.advance_to(START.plus_us(30 * DAY_US));
    touches::release_expired(p).await.expect("sweep");
    assert!(claim(p, "w", 10).await.is_empty());
    let mut tx = p.db.begin().await.expect("begin");
    assert_eq!(touches::resend(&mut tx, &[id], p.now()).await.expect("resend"), [id]);
    assert!(touches::resend(&mut tx, &[id], p.now()).await.expect("resend").is_empty());
    tx.commit().await.expect("commit");
    assert_eq!(claim(p, "w", 10).await.len(), 1);
});

both_engines!(every_listed_step_works_and_no_other, |shop| {
    let p = &shop.platform;
    people(&p.db, 1).await;
    let ends: Vec<(Outcome, TouchState)> = [
        Outcome::Sent,
        Outcome::Failed("x".into()),
        Outcome::Uncertain("x".into()),
        Outcome::Deferred { until: START, reason: "x".into() },
        Outcome::Skipped("x".into()),
        Outcome::Expired,
        Outcome::Cancelled("x".into()),
        Outcome::GivenBack,
    ]
    .map(|o| (o.clone(), o.state()))
    .into();
    let set = |id: TouchId, to: TouchState| async move {
        let mut tx = p.db.begin().await.expect("begin");
        let sql = "UPDATE touch SET state = $1, lease_owner = 'w' WHERE id = $2";
        on!(&mut tx, |c| sqlx::query(sql).bind(to.as_str()).bind(id).execute(&mut *c).await.map(|_| ())).expect("set");
        tx.commit().await.expect("commit");
    };
    let t = touch(1, 1, START);
    plan(&p.db, std::slice::from_ref(&t)).await;
    for from in TouchState::ALL {
        for (outcome, to) in &ends {
            set(t.id, *from).await;
            let expected = to.may_follow(*from) && !(*to == TouchState::Planned && *from != TouchState::Claimed);
            assert_eq!(finish(p, "w", t.id, outcome.clone()).await, expected, "{from} → {to}");
            assert_eq!(state(p, t.id).await, if expected { *to } else { *from });
        }
    }
});

both_engines!(a_held_campaign_is_passed_over_and_stops_what_was_claimed, |shop| {
    let p = &shop.platform;
    people(&p.db, 2).await;
    plan(&p.db, &[touch(1, 1, START), touch(2, 1, START)]).await;
    let first = claim(p, "w", 1).await[0].id;
    let mut tx = p.db.begin().await.expect("begin");
    touches::hold_campaign(&mut tx, CAMPAIGN, START).await.expect("hold");
    tx.commit().await.expect("commit");
    assert!(claim(p, "w", 10).await.is_empty());
    assert!(begin(p, "w", &[first]).await.is_empty());
    assert!(finish(p, "w", first, Outcome::GivenBack).await);
    let mut tx = p.db.begin().await.expect("begin");
    touches::release_campaign(&mut tx, CAMPAIGN).await.expect("release");
    tx.commit().await.expect("commit");
    assert_eq!(claim(p, "w", 10).await.len(), 2);
    assert_eq!(touches::cancel_campaign(&p.db, CAMPAIGN, "campaign_cancelled", p.now()).await.expect("cancel"), 2);
    assert!(begin(p, "w", &[first]).await.is_empty());
});

both_engines!(a_deferred_touch_waits_and_an_expired_one_goes, |shop| {
    let p = &shop.platform;
    people(&p.db, 2).await;
    let short = NewTouch { expires_at: Some(START.plus_us(MINUTE_US)), ..touch(2, 1, START.plus_us(2 * MINUTE_US)) };
    plan(&p.db, &[touch(1, 1, START), short.clone()]).await;
    let id = claim(p, "w", 10).await[0].id;
    let until = START.plus_us(10 * MINUTE_US);
    assert!(finish(p, "w", id, Outcome::Deferred { until, reason: "quiet_hours".into() }).await);
    p.clock.advance_to(START.plus_us(9 * MINUTE_US));
    assert_eq!(touches::release_expired(p).await.expect("sweep").expired, 1);
    assert_eq!(state(p, short.id).await, TouchState::Expired);
    assert!(claim(p, "w", 10).await.is_empty());
    p.clock.advance_to(until);
    assert_eq!(claim(p, "w", 10).await.len(), 1);
});

both_engines!(contacts_count_what_went_out_and_ghosts_apart, |shop| {
    let p = &shop.platform;
    people(&p.db, 3).await;
    let ghost = NewTouch { arm: Arm::Ghost, ..touch(1, 2, START) };
    plan(&p.db, &[touch(1, 1, START), touch(2, 1, START)]).await;
    for t in claim(p, "w", 10).await {
        begin(p, "w", &[t.id]).await;
        let end = if t.person_id == Some(PersonId(1)) { Outcome::Sent } else { Outcome::Failed("refused".into()) };
        finish(p, "w", t.id, end).await;
    }
    plan(&p.db, &[ghost]).await;
    let id = claim(p, "w", 10).await[0].id;
    finish(p, "w", id, Outcome::Held).await;
    let everybody = [PersonId(1), PersonId(2), PersonId(3)];
    let counts = touches::contact_counts(&p.db, &everybody, TouchChannel::Email, START).await.expect("counts");
    let one = counts[&PersonId(1)];
    assert_eq!((one.for_arm(Arm::Treated), one.for_arm(Arm::Ghost)), (1, 2));
    assert_eq!(counts.len(), 1);
    let none = touches::contact_counts(&p.db, &everybody, TouchChannel::Email, START.plus_us(1)).await.expect("counts");
    assert!(none.is_empty());
});

both_engines!(signals_are_recorded_once_and_the_first_human_is_stamped, |shop| {
    let p = &shop.platform;
    people(&p.db, 1).await;
    let t = touch(1, 1, START);
    plan(&p.db, std::slice::from_ref(&t)).await;
    let signal = |kind, actor, at: i64, key: Option<&str>| NewSignal {
        touch_id: t.id,
        kind,
        actor,
        at: START.plus_us(at),
        detail: Some("'; DROP TABLE touch; --".into()),
        key: key.map(ToOwned::to_owned),
    };
    let list = [
        signal(SignalKind::Open, Actor::Proxy, 1, Some("proxy")),
        signal(SignalKind::Open, Actor::Human, 5, Some("a")),
        signal(SignalKind::Open, Actor::Human, 5, Some("a")),
        signal(SignalKind::Click, Actor::Bot, 6, None),
        NewSignal { touch_id: TouchId::new(START), ..signal(SignalKind::Open, Actor::Human, 7, None) },
    ];
    let mut tx = p.db.begin().await.expect("begin");
    let answers = touches::record_signals(&mut tx, &list, START).await.expect("recorded");
    let told: Vec<_> = answers.iter().map(|a| (a.new, a.first, a.unknown_touch)).collect();
    assert_eq!(told, [(true, false, false), (true, true, false), (false, false, false), (true, false, false), (false, false, true)]);
    // The same again, and an older one that arrives late.
    assert!(!touches::record_signal(&mut tx, list[1].clone(), START).await.expect("recorded").new);
    let late = touches::record_signal(&mut tx, signal(SignalKind::Open, Actor::Human, 3, Some("late")), START).await.expect("recorded");
    assert_eq!((late.new, late.first), (true, false));
    tx.commit().await.expect("commit");
    let stamped = touches::get(&p.db, t.id).await.expect("read").expect("there");
    assert_eq!((stamped.open_at, stamped.click_at), (Some(START.plus_us(3)), None));
    let all = touches::signals_of(&p.db, t.id).await.expect("signals");
    assert_eq!(all.len(), 4);
    assert_eq!(all[0].detail.as_deref(), Some("'; DROP TABLE touch; --"));
});

both_engines!(a_merge_keeps_one_touch_per_run_and_one_in_flight, |shop| {
    let p = &shop.platform;
    people(&p.db, 2).await;
    let mut tx = p.db.begin().await.expect("begin");
    let campaign = holdout::Scope::Campaign(CAMPAIGN);
    holdout::assign(&mut tx, &p.signer, campaign, 0, &[PersonId(2)], START).await.expect("assigned");
    holdout::assign(&mut tx, &p.signer, campaign, 10_000, &[PersonId(1)], START).await.expect("assigned");
    holdout::assign(&mut tx, &p.signer, holdout::Scope::Global, 10_000, &[PersonId(1)], START).await.expect("assigned");
    tx.commit().await.expect("commit");
    let (a, b, c) = (touch(1, 1, START), touch(2, 1, START), touch(1, 2, START));
    plan(&p.db, &[a.clone(), b.clone(), c.clone()]).await;
    assert_eq!(claim(p, "w", 10).await.len(), 2, "both have one in flight");
    let mut tx = p.db.begin().await.expect("begin");
    touches::reassign_person(&mut tx, PersonId(1), PersonId(2), START).await.expect("merged");
    tx.commit().await.expect("commit");
    assert_eq!(state(p, a.id).await, TouchState::Cancelled);
    let moved = touches::page_of_person(&p.db, PersonId(2), None, 10).await.expect("page");
    assert_eq!(moved.iter().map(|t| t.id).collect::<HashSet<_>>(), HashSet::from([b.id, c.id]));
    assert_eq!(claim(p, "x", 10).await.len(), 1, "one at a time");
    let arms = holdout::assigned(&p.db, campaign, &[PersonId(1), PersonId(2)]).await.expect("arms");
    assert_eq!(arms.into_iter().collect::<Vec<_>>(), [(PersonId(2), Arm::Treated)], "the survivor's own arm stays");
    let global = holdout::assigned(&p.db, holdout::Scope::Global, &[PersonId(2)]).await.expect("arms");
    assert_eq!(global[&PersonId(2)], Arm::Ghost);
});

both_engines!(an_arm_once_stored_stays_when_the_share_changes, |shop| {
    let p = &shop.platform;
    people(&p.db, 300).await;
    let everybody: Vec<_> = (1..=300).map(PersonId).collect();
    let scope = holdout::Scope::Campaign(CAMPAIGN);
    let mut tx = p.db.begin().await.expect("begin");
    let before = holdout::assign(&mut tx, &p.signer, scope, 2_000, &everybody[..200], START).await.expect("assigned");
    let after = holdout::assign(&mut tx, &p.signer, scope, 10_000, &everybody, START).await.expect("assigned");
    tx.commit().await.expect("commit");
    assert!(before.iter().all(|(person, arm)| after[person] == *arm));
    assert!(everybody[200..].iter().all(|person| after[person] == Arm::Ghost));
});

both_engines!(listings_page_by_key, |shop| {
    let p = &shop.platform;
    people(&p.db, 25).await;
    let list: Vec<_> = (1..=25).map(|n| touch(n, 1, START)).collect();
    plan(&p.db, &list).await;
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = touches::page_of_campaign(&p.db, CAMPAIGN, Some(TouchState::Planned), after, 10).await.expect("page");
        after = page.last().map(|t| t.id);
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|t| t.id));
    }
    let mut all: Vec<_> = list.iter().map(|t| t.id).collect();
    all.sort();
    assert_eq!(seen, all);
    assert!(touches::page_of_campaign(&p.db, CAMPAIGN, Some(TouchState::Sent), None, 10).await.expect("page").is_empty());
});

both_engines!(the_claim_uses_its_index, |shop| {
    // The partial index serves only while the query spells its condition alike.
    let Db::Sqlite(_) = &shop.platform.db else { return };
    let sql = "EXPLAIN QUERY PLAN SELECT t.id FROM touch t WHERE t.state IN ('planned', 'deferred') AND t.channel = 'email'
               AND t.next_attempt_at <= 5 ORDER BY t.next_attempt_at, t.id LIMIT 10";
    let plan: Vec<(i64, i64, i64, String)> = read!(shop.platform.db, |c| sqlx::query_as(sql).fetch_all(c).await).expect("plan");
    let text = plan.iter().map(|p| p.3.clone()).collect::<Vec<_>>().join("; ");
    assert!(text.contains("touch_due") && !text.contains("TEMP B-TREE"), "{text}");
});
