//! `kill -9` at twenty moments of a campaign of 5,000 mails, restarted each time: nobody gets two, nothing planned is lost, and at most as
//! many touches are in doubt as there were open SMTP connections.
#![cfg(unix)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use marquee::audience::{self, NewSegment, Rule};
use marquee::campaign::{self, NewCampaign};
use marquee::catalog::{self, NewProduct};
use marquee::delivery::message::find_touch;
use marquee::delivery::sink::{Action, Script, Sink, SinkOptions, Stage};
use marquee::people::{self, Channel, Consent, NewPerson};
use marquee::platform::config::DatabaseConfig;
use marquee::platform::ids::{CampaignId, PersonId, TouchId};
use marquee::platform::queue::{self, NewRun};
use marquee::platform::{Clock, Config, Currency, Money, Platform};
use marquee::touches::{self, Arm, Touch, TouchState};
use rand::{Rng as _, SeedableRng as _};

use crate::support::fresh_postgres;

const PEOPLE: usize = 5_000;
const KILLS: usize = 20;
const CONNECTIONS: usize = 8;

/// A shop of 5,000 subscribers, three products, and a campaign that is to go to everybody now; a tenth is held out.
async fn shop(platform: &Platform) -> CampaignId {
    let now = platform.now();
    for chunk in (0..PEOPLE).collect::<Vec<_>>().chunks(1_000) {
        let new: Vec<NewPerson> = chunk
            .iter()
            .map(|i| NewPerson {
                email: Some(format!("p{i}@d{}.example.test", i % 7)),
                first_name: Some("Ann".into()),
                locale: Some("en".into()),
                ..NewPerson::default()
            })
            .collect();
        let mut tx = platform.db.begin().await.expect("begin");
        let ids = people::bulk_upsert(&mut tx, &new, now).await.expect("people");
        people::set_consents(&mut tx, &ids, Channel::Email, Consent::Subscribed, "test", now).await.expect("consent");
        tx.commit().await.expect("commit");
    }
    let mut tx = platform.db.begin().await.expect("begin");
    let products: Vec<NewProduct> = ["Green tea", "Oak table", "Wool blanket"]
        .iter()
        .enumerate()
        .map(|(i, title)| {
            let mut product = NewProduct::new(format!("SKU{i}"), *title, Money { minor: 2_490, currency: Currency::EUR });
            product.url = Some(format!("https://shop.example.test/p/{i}"));
            product
        })
        .collect();
    catalog::bulk_upsert(&mut tx, &products, now).await.expect("products");
    tx.commit().await.expect("commit");
    let everyone = NewSegment { key: "everyone".into(), name: "Everyone".into(), rule: Rule::Everyone {} };
    let segment = audience::create(&platform.db, everyone, now).await.expect("segment");
    let plan = serde_json::json!({
        "channel": "email", "segment": segment.id, "holdout_bp": 1000,
        "schedule": { "kind": "once", "at": now }
    });
    let new = NewCampaign { key: Some("spring".into()), name: "Spring".into(), plan: serde_json::from_value(plan).expect("plan") };
    let campaign = campaign::create(&platform.db, new, now).await.expect("campaign");
    campaign::send_now(platform, campaign.id).await.expect("under way").id
}

fn work(url: &str, sink: &Sink, folder: &std::path::Path) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("work.log")).expect("log");
    Command::new(env!("CARGO_BIN_EXE_marquee"))
        .args(["--database", url, "work"])
        .current_dir(folder)
        .env("MARQUEE_MAIL__SERVERS", format!("[\"{}\"]", sink.url()))
        .env("MARQUEE_MAIL__FROM_ADDRESS", "shop@example.test")
        .env("MARQUEE_MAIL__CONNECTIONS", CONNECTIONS.to_string())
        .env("MARQUEE_WORK__LEASE_S", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the worker starts")
}

/// A new occasion to dispatch: what the minutely schedule would do, without waiting for the minute.
async fn nudge(platform: &Platform) {
    let now = platform.now();
    let mut tx = platform.db.begin().await.expect("begin");
    let run = NewRun { job: "delivery.dispatch", unique_key: format!("test:{}", now.micros()), args: serde_json::json!({}), at: now };
    queue::enqueue(&mut tx, run, now).await.expect("enqueued");
    tx.commit().await.expect("commit");
}

async fn all_touches(platform: &Platform, campaign: CampaignId) -> Vec<Touch> {
    let mut all: Vec<Touch> = Vec::new();
    loop {
        let page = touches::page_of_campaign(&platform.db, campaign, None, all.last().map(|t| t.id), 1_000).await.expect("page");
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

async fn run(url: String, folder: tempfile::TempDir) {
    let started = Instant::now();
    let config = Config { database: DatabaseConfig { url: url.clone(), ..DatabaseConfig::default() }, ..Config::default() };
    let platform = Platform::open(config, Clock::system()).await.expect("opens");
    // 8 connections and 8 ms a mail: at most 1,000 a second, so that there is a middle to be killed in.
    let script: Script = std::sync::Arc::new(|at| match at.stage {
        Stage::Dot => Action::Slow(Duration::from_millis(8), Box::new(Action::Proceed)),
        _ => Action::Proceed,
    });
    let options = SinkOptions { script: Some(script), keep: 20_000, ..SinkOptions::default() };
    let sink = Sink::start_with(options).await.expect("sink");
    let campaign = shop(&platform).await;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(20);
    let mut in_the_middle = 0;
    for kill in 0..KILLS {
        nudge(&platform).await;
        let mut child = work(&url, &sink, folder.path());
        let before = sink.count();
        // The first two while it plans, at any moment; the others while it sends.
        if kill < 2 {
            tokio::time::sleep(Duration::from_millis(rng.random_range(200..1_500))).await;
        } else {
            let sends = sink.wait_for(before + rng.random_range(1..60), Duration::from_secs(15)).await;
            in_the_middle += usize::from(sends);
            tokio::time::sleep(Duration::from_micros(rng.random_range(0..150_000))).await;
        }
        assert!(child.try_wait().expect("asked").is_none(), "the worker ended by itself: {}", log_tail(&folder));
        child.kill().expect("killed");
        child.wait().expect("gone");
    }
    let mut child = work(&url, &sink, folder.path());
    let mut states = BTreeMap::new();
    for _ in 0..400 {
        nudge(&platform).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
        states.clear();
        for count in touches::counts_of_campaign(&platform.db, campaign).await.expect("counts") {
            *states.entry(count.state).or_insert(0) += count.touches;
        }
        if states.values().sum::<i64>() == PEOPLE as i64 && states.keys().all(|s: &TouchState| !s.is_open()) {
            break;
        }
    }
    child.kill().expect("killed");
    child.wait().expect("gone");

    let touches = all_touches(&platform, campaign).await;
    let log = log_tail(&folder);
    assert_eq!(touches.iter().filter_map(|t| t.person_id).collect::<HashSet<PersonId>>().len(), PEOPLE, "one touch a person; {log}");
    assert_eq!(touches.len(), PEOPLE);
    let open: Vec<_> = touches.iter().filter(|t| t.state.is_open()).collect();
    assert!(open.is_empty(), "{} never ended: {states:?}; {log}", open.len());
    for touch in &touches {
        let fits = match touch.state {
            TouchState::Sent | TouchState::Uncertain => touch.arm == Arm::Treated,
            TouchState::Held => touch.arm == Arm::Ghost,
            TouchState::Skipped => touch.reason.is_some(),
            _ => false,
        };
        assert!(fits, "{touch:?}");
    }
    // What the sink has, against what the outbox says.
    let mails = sink.drain();
    let mut by_person: HashMap<String, usize> = HashMap::new();
    for mail in &mails {
        *by_person.entry(mail.to[0].clone()).or_default() += 1;
    }
    let twice: Vec<_> = by_person.iter().filter(|(_, n)| **n > 1).collect();
    assert!(twice.is_empty(), "got more than one: {twice:?}");
    let received: HashSet<TouchId> = mails.iter().filter_map(|m| find_touch(&m.header("Message-ID")?)).collect();
    assert_eq!(received.len(), mails.len());
    let of = |state: TouchState| touches.iter().filter(move |t| t.state == state).map(|t| t.id).collect::<HashSet<_>>();
    let (sent, uncertain) = (of(TouchState::Sent), of(TouchState::Uncertain));
    assert!(sent.is_subset(&received), "{} said to be sent never arrived", sent.difference(&received).count());
    assert!(received.is_subset(&sent.union(&uncertain).copied().collect()), "something arrived that nobody knows of");
    assert!(uncertain.len() <= CONNECTIONS * KILLS, "{} uncertain", uncertain.len());
    assert!(in_the_middle >= KILLS * 3 / 4, "only {in_the_middle} kills fell into the sending; {states:?}; {log}");
    println!(
        "{KILLS} kills ({in_the_middle} while sending): {states:?}; the sink has {} mails, {} of the uncertain ones among them; {:.1} s",
        mails.len(),
        uncertain.intersection(&received).count(),
        started.elapsed().as_secs_f64()
    );
}

fn log_tail(folder: &tempfile::TempDir) -> String {
    let log = std::fs::read_to_string(folder.path().join("work.log")).unwrap_or_default();
    let start = log.len().saturating_sub(3_000);
    log.get(start..).unwrap_or(&log).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    let folder = tempfile::tempdir().expect("folder");
    run(format!("sqlite://{}", folder.path().join("shop.db").display()), folder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    if let Some(url) = fresh_postgres().await {
        run(url, tempfile::tempdir().expect("folder")).await;
    }
}

/// Figures, not a check: `cargo test --test it kill::throughput -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints mails per second"]
async fn throughput() {
    use marquee::platform::queue::{JobContext, Progress};
    for (name, url) in [("SQLite", None), ("Postgres", fresh_postgres().await)] {
        let folder = tempfile::tempdir().expect("folder");
        let url = match (name, url) {
            ("SQLite", _) => format!("sqlite://{}", folder.path().join("shop.db").display()),
            (_, Some(url)) => url,
            _ => continue,
        };
        let sink = Sink::start(0).await.expect("sink");
        let mut config = Config { database: DatabaseConfig { url, ..DatabaseConfig::default() }, ..Config::default() };
        config.mail.servers = vec![sink.url()];
        config.mail.from_address = "shop@example.test".into();
        config.mail.connections = 32;
        let platform = Platform::open(config, Clock::system()).await.expect("opens");
        let campaign = shop(&platform).await;
        let context = |args| JobContext {
            run_id: marquee::platform::ids::JobRunId(1),
            args,
            scheduled_at: platform.now(),
            attempt: 1,
            progress: Progress::default(),
            stop: tokio_util::sync::CancellationToken::new(),
        };
        let ids = touches::counts_of_campaign(&platform.db, campaign).await.expect("counts");
        assert!(ids.is_empty());
        campaign::plan_run(&platform, marquee::platform::ids::RunId(1), &context(serde_json::json!({}))).await.expect("planned");
        let report = marquee::delivery::dispatch::dispatch_job(platform.clone(), context(serde_json::json!({}))).await.expect("dispatched");
        let bytes = sink.mails().first().map_or(0, |m| m.data.len());
        println!("{name}, 32 connections, mails of {bytes} bytes: {report}");
    }
}
