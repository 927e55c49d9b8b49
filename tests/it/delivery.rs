//! Delivery over a real mail sink: what is due goes out once, what fails is told apart, limits hold, and a crash leaves little in doubt.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use marquee::delivery::compose::{Compose, Mail, Ready, Verdict};
use marquee::delivery::dispatch::{Dispatch, Report};
use marquee::delivery::message::{Outgoing, Sender, find_touch};
use marquee::delivery::sink::{Action, ReceivedMail, Script, Sink, SinkOptions, Stage};
use marquee::people::{self, NewPerson};
use marquee::platform::clock::{MINUTE_US, SECOND_US};
use marquee::platform::ids::{CampaignId, PersonId, RunId, TouchId};
use marquee::platform::queue::Progress;
use marquee::platform::{Clock, Platform};
use marquee::touches::{self, Arm, NewTouch, Outcome, SignalKind, Touch, TouchChannel, TouchState};
use tokio_util::sync::CancellationToken;

use crate::both_engines;

const CAMPAIGN: CampaignId = CampaignId(1);

/// Content without templates: the sending is what is tested here.
struct Plain {
    platform: Platform,
    sender: Sender,
    /// Touches whose content cannot be written.
    unwritable: HashSet<TouchId>,
}

#[async_trait]
impl Compose for Plain {
    type Draft = String;

    async fn check(&self, touches: Vec<Touch>) -> anyhow::Result<Vec<(TouchId, Verdict<Ready<String>>)>> {
        let ids: Vec<PersonId> = touches.iter().filter_map(|t| t.person_id).collect();
        let people = people::get_many(&self.platform.db, &ids).await?;
        let emails: Vec<&str> = people.values().filter_map(|p| p.email.as_deref()).collect();
        let suppressed = people::suppressed(&self.platform.db, &emails).await?;
        Ok(touches
            .into_iter()
            .map(|t| {
                let email = t.person_id.and_then(|p| people.get(&p)).and_then(|p| p.email.clone()).unwrap_or_default();
                let verdict = if suppressed.contains(&email) {
                    Verdict::End(Outcome::Skipped("suppressed".into()))
                } else if t.arm == Arm::Ghost {
                    Verdict::End(Outcome::Held)
                } else {
                    let domain = email.split('@').nth(1).unwrap_or_default().to_owned();
                    Verdict::Write(Ready { touch: t.id, attempts: t.attempts, domain, draft: email })
                };
                (t.id, verdict)
            })
            .collect())
    }

    async fn write(&self, ready: Vec<Ready<String>>) -> anyhow::Result<Vec<(TouchId, Result<Mail, String>)>> {
        Ok(ready
            .into_iter()
            .map(|one| {
                if self.unwritable.contains(&one.touch) {
                    return (one.touch, Err("template: no such field".to_owned()));
                }
                let mail = Outgoing {
                    touch: one.touch,
                    campaign: CAMPAIGN,
                    variant: None,
                    from: None,
                    to: &one.draft,
                    to_name: None,
                    subject: "Hello",
                    html: "<p>Hello</p>",
                    text: "Hello",
                    unsubscribe_url: "https://shop.example.test/u/x",
                    at: self.platform.now(),
                };
                let built = self.sender.build(&mail).map_err(|e| e.to_string());
                (one.touch, built.map(|b| Mail { touch: one.touch, attempts: one.attempts, to: b.to, bytes: b.bytes }))
            })
            .collect())
    }
}

/// The same shop with mail set up; `change` sees the configuration.
fn with_mail(shop: &Platform, sinks: &[&Sink], change: impl FnOnce(&mut marquee::platform::Config)) -> Platform {
    let mut config = (*shop.config).clone();
    config.mail.servers = sinks.iter().map(|s| s.url()).collect();
    config.mail.from_address = "shop@example.test".into();
    config.mail.connections = 4;
    config.mail.timeout_s = 2;
    change(&mut config);
    Platform { config: Arc::new(config), ..shop.clone() }
}

/// `n` people and one due touch each; every tenth is a ghost where `ghosts` is set. The address of person i is `p{i}@{domain(i)}`.
async fn plan(platform: &Platform, n: usize, run: i64, ghosts: bool, domain: impl Fn(usize) -> String) -> Vec<TouchId> {
    let now = platform.now();
    let mut ids = Vec::new();
    for chunk in (0..n).collect::<Vec<_>>().chunks(500) {
        let people: Vec<NewPerson> =
            chunk.iter().map(|i| NewPerson { email: Some(format!("p{i}@{}", domain(*i))), ..NewPerson::default() }).collect();
        let mut tx = platform.db.begin().await.expect("begin");
        let people = people::bulk_upsert(&mut tx, &people, now).await.expect("people");
        let touches: Vec<NewTouch> = people
            .iter()
            .zip(chunk)
            .map(|(person, i)| NewTouch {
                run_id: Some(RunId(run)),
                arm: if ghosts && i % 10 == 9 { Arm::Ghost } else { Arm::Treated },
                ..NewTouch::planned(CAMPAIGN, *person, TouchChannel::Email, now, now)
            })
            .collect();
        assert_eq!(touches::plan_many(&mut tx, &touches, now).await.expect("planned"), touches.len() as u64);
        tx.commit().await.expect("commit");
        ids.extend(touches.iter().map(|t| t.id));
    }
    ids
}

fn dispatch(platform: &Platform, stop: &CancellationToken) -> Dispatch<Plain> {
    let sender = Sender::new(&platform.config, Vec::new()).expect("sender");
    let from = sender.address().clone();
    let compose = Arc::new(Plain { platform: platform.clone(), sender, unwritable: HashSet::new() });
    Dispatch { platform: platform.clone(), compose, from, progress: Progress::default(), stop: stop.clone() }
}

async fn send_due(platform: &Platform) -> anyhow::Result<Report> {
    dispatch(platform, &CancellationToken::new()).run().await
}

async fn states(platform: &Platform) -> BTreeMap<TouchState, i64> {
    let mut states = BTreeMap::new();
    for count in touches::counts_of_campaign(&platform.db, CAMPAIGN).await.expect("counts") {
        *states.entry(count.state).or_default() += count.touches;
    }
    states
}

fn touch_of(mail: &ReceivedMail) -> TouchId {
    mail.header("Message-ID").and_then(|h| find_touch(&h)).expect("every mail names its touch")
}

async fn scripted(script: impl Fn(Stage, u64, &str) -> Action + Send + Sync + 'static) -> Sink {
    let script: Script = Arc::new(move |at| script(at.stage, at.mail, at.to.unwrap_or_default()));
    Sink::start_with(SinkOptions { script: Some(script), keep: 100_000, ..SinkOptions::default() }).await.expect("sink")
}

both_engines!(what_is_due_goes_out_once_and_ghosts_are_held, |shop| {
    let sink = Sink::start(0).await.expect("sink");
    let platform = with_mail(&shop.platform, &[&sink], |_| {});
    let ids = plan(&platform, 1_230, 1, true, |_| "example.test".into()).await;
    let report = send_due(&platform).await.expect("dispatched");
    assert_eq!((report.claimed, report.sent, report.held), (1_230, 1_107, 123));
    assert_eq!(states(&platform).await, BTreeMap::from([(TouchState::Sent, 1_107), (TouchState::Held, 123)]));
    let mails = sink.drain();
    let received: HashSet<TouchId> = mails.iter().map(touch_of).collect();
    assert_eq!((mails.len(), received.len()), (1_107, 1_107));
    assert!(received.iter().all(|id| ids.contains(id)));
    assert!(sink.connections() <= 4 + 1_107 / 100 + 1, "{} connections", sink.connections());
    let again = send_due(&platform).await.expect("dispatched");
    assert_eq!((again.claimed, sink.count()), (0, 1_107));
});

both_engines!(refusals_suppress_defer_or_fail, |shop| {
    let sink = scripted(|stage, _, to| match (stage, to) {
        (Stage::Rcpt, "p0@example.test") => Action::Reply("550 5.1.1 <p0@example.test>: no such user".into()),
        (Stage::Rcpt, "p1@example.test") => Action::Reply("450 4.2.0 greylisted".into()),
        (Stage::Dot, "p2@example.test") => Action::Reply("554 5.7.1 looks like spam".into()),
        (Stage::Dot, "p3@example.test") => Action::TakeAndDrop,
        _ => Action::Proceed,
    })
    .await;
    let platform = with_mail(&shop.platform, &[&sink], |_| {});
    let ids = plan(&platform, 10, 1, false, |_| "example.test".into()).await;
    let report = send_due(&platform).await.expect("dispatched");
    assert_eq!((report.sent, report.failed, report.deferred, report.uncertain), (6, 2, 1, 1));
    let touches = touches::get_many(&platform.db, &ids).await.expect("read");
    let reason = |i: usize| (touches[&ids[i]].state, touches[&ids[i]].reason.clone().unwrap_or_default());
    let hard = reason(0);
    assert!(hard.0 == TouchState::Failed && hard.1.starts_with("refused_hard: 550"), "{hard:?}");
    assert!(!hard.1.contains("p0@"), "no address in a reason: {}", hard.1);
    assert_eq!(people::suppression(&platform.db, "p0@example.test").await.expect("read").expect("suppressed").reason, "bounce");
    let signals = touches::signals_of(&platform.db, ids[0]).await.expect("signals");
    assert_eq!(signals.iter().map(|s| (s.kind, s.detail.as_deref())).collect::<Vec<_>>(), [(SignalKind::Bounce, Some("hard 5.1.1"))]);
    let spam = reason(2);
    assert!(spam.0 == TouchState::Failed && spam.1.starts_with("refused_soft: 554"), "{spam:?}");
    assert!(people::suppression(&platform.db, "p2@example.test").await.expect("read").is_none());
    assert_eq!(reason(3).0, TouchState::Uncertain);
    // Put off, and tried again after the back-off; the uncertain one is not.
    assert_eq!(reason(1).0, TouchState::Deferred);
    let due = touches[&ids[1]].next_attempt_at.since(platform.now());
    assert!((4 * MINUTE_US..=6 * MINUTE_US).contains(&due), "{due}");
    assert_eq!(send_due(&platform).await.expect("dispatched").claimed, 0);
    platform.clock.advance_to(platform.now().plus_us(10 * MINUTE_US));
    let report = send_due(&platform).await.expect("dispatched");
    assert_eq!((report.claimed, report.deferred), (1, 1));
    assert_eq!(touches::get(&platform.db, ids[1]).await.expect("read").expect("there").attempts, 2);
    // A new run skips who bounced.
    plan(&platform, 1, 2, false, |_| "example.test".into()).await;
    assert_eq!(send_due(&platform).await.expect("dispatched").skipped, 1);
});

both_engines!(a_dead_server_burns_nothing_and_another_takes_over, |shop| {
    let dead = Sink::start(0).await.expect("sink");
    let gone = with_mail(&shop.platform, &[&dead], |_| {});
    drop(dead);
    tokio::time::sleep(Duration::from_millis(50)).await;
    plan(&gone, 200, 1, false, |_| "example.test".into()).await;
    let started = std::time::Instant::now();
    let error = send_due(&gone).await.expect_err("no server");
    let rests = started.elapsed().as_secs() as i64;
    assert!(error.to_string().contains("no mail server takes mail"), "{error}");
    let found = states(&gone).await;
    assert_eq!(found.values().sum::<i64>(), 200);
    // At most one try per connection before the server rests (a second at first); all others wait as they did.
    let tries = 4 * (1 + rests);
    assert!(tries < 100, "{rests} s for 200 mails that nobody takes");
    assert!(found.get(&TouchState::Deferred).copied().unwrap_or(0) <= tries && found[&TouchState::Planned] >= 200 - tries, "{found:?}");

    let alive = Sink::start(0).await.expect("sink");
    let mut config = (*gone.config).clone();
    config.mail.servers.push(alive.url());
    let both = Platform { config: Arc::new(config), ..gone.clone() };
    both.clock.advance_to(both.now().plus_us(5 * MINUTE_US));
    send_due(&both).await.expect("dispatched");
    both.clock.advance_to(both.now().plus_us(5 * MINUTE_US));
    send_due(&both).await.expect("dispatched");
    assert_eq!(states(&both).await, BTreeMap::from([(TouchState::Sent, 200)]));
    assert_eq!(alive.drain().iter().map(touch_of).collect::<HashSet<_>>().len(), 200);
});

both_engines!(a_server_that_closes_at_will_gets_nothing_twice, |shop| {
    // Every seventh mail meets a closed connection somewhere.
    let sink = scripted(|stage, mail, _| match (stage, mail % 28) {
        (Stage::Mail, 0) | (Stage::Rcpt, 7) | (Stage::Data, 14) => Action::Drop,
        (Stage::Dot, 21) => Action::TakeAndDrop,
        _ => Action::Proceed,
    })
    .await;
    let platform = with_mail(&shop.platform, &[&sink], |_| {});
    plan(&platform, 500, 1, false, |_| "example.test".into()).await;
    for _ in 0..12 {
        send_due(&platform).await.expect("dispatched");
        platform.clock.advance_to(platform.now().plus_us(5 * MINUTE_US));
    }
    let found = states(&platform).await;
    let (sent, uncertain) = (found[&TouchState::Sent], found[&TouchState::Uncertain]);
    assert_eq!(sent + uncertain, 500, "{found:?}");
    let mails = sink.drain();
    let unique: HashSet<TouchId> = mails.iter().map(touch_of).collect();
    assert_eq!(unique.len(), mails.len(), "somebody got two");
    assert_eq!(mails.len() as i64, sent + uncertain, "here every uncertain one was in fact taken");
});

both_engines!(what_cannot_be_written_fails_alone, |shop| {
    let sink = Sink::start(0).await.expect("sink");
    let platform = with_mail(&shop.platform, &[&sink], |_| {});
    let ids = plan(&platform, 20, 1, false, |_| "example.test".into()).await;
    let mut dispatch = dispatch(&platform, &CancellationToken::new());
    let sender = Sender::new(&platform.config, Vec::new()).expect("sender");
    dispatch.compose = Arc::new(Plain { platform: platform.clone(), sender, unwritable: HashSet::from([ids[3]]) });
    let report = dispatch.run().await.expect("dispatched");
    assert_eq!((report.sent, report.failed), (19, 1));
    let failed = touches::get(&platform.db, ids[3]).await.expect("read").expect("there");
    assert_eq!(failed.reason.as_deref(), Some("not_written: template: no such field"));
});

both_engines!(a_stop_gives_back_what_was_not_begun, |shop| {
    let stop = CancellationToken::new();
    let pull = stop.clone();
    let sink = scripted(move |stage, mail, _| {
        if stage == Stage::Dot && mail == 40 {
            pull.cancel();
        }
        Action::Proceed
    })
    .await;
    let platform = with_mail(&shop.platform, &[&sink], |_| {});
    plan(&platform, 1_000, 1, false, |_| "example.test".into()).await;
    let report = dispatch(&platform, &stop).run().await.expect("stopped");
    assert!(report.sent >= 36 && report.sent <= 60, "{report:?}");
    let found = states(&platform).await;
    assert_eq!(found.get(&TouchState::Claimed), None, "{found:?}");
    assert_eq!(found[&TouchState::Sent] + found[&TouchState::Planned], 1_000, "{found:?}");
    send_due(&platform).await.expect("dispatched");
    assert_eq!(sink.drain().iter().map(touch_of).collect::<HashSet<_>>().len(), 1_000);
    assert_eq!(sink.count(), 1_000);
});

both_engines!(rates_hold_per_server_and_per_domain, |shop| {
    let sink = Sink::start(0).await.expect("sink");
    let real = Platform { clock: Clock::system(), ..shop.platform.clone() };
    let platform = with_mail(&real, &[&sink], |c| c.mail.rate_per_domain = 20.0);
    plan(&platform, 90, 1, false, |i| if i % 3 == 0 { "slow.example.test".into() } else { format!("d{i}.example.test") }).await;
    let started = std::time::Instant::now();
    let report = send_due(&platform).await.expect("dispatched");
    assert_eq!(report.sent, 90);
    // 30 mails to one domain at 20 a second: the first 20 at once, the other 10 take half a second.
    assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());

    let platform = with_mail(&real, &[&sink], |c| c.mail.rate_per_server = 40.0);
    plan(&platform, 80, 2, false, |_| "example.test".into()).await;
    let started = std::time::Instant::now();
    let report = send_due(&platform).await.expect("dispatched");
    assert_eq!(report.sent, 80);
    assert!(started.elapsed() >= Duration::from_millis(900), "80 at 40 a second, 40 at once: {:?}", started.elapsed());
});

both_engines!(two_workers_share_the_work_and_a_lost_one_leaves_little_in_doubt, |shop| {
    let sink =
        scripted(
            |stage, _, _| {
                if stage == Stage::Dot { Action::Slow(Duration::from_millis(2), Box::new(Action::Proceed)) } else { Action::Proceed }
            },
        )
        .await;
    // A slow machine is not a lost server: only the torn-away worker may leave doubt here.
    let platform = with_mail(&shop.platform, &[&sink], |c| (c.work.lease_s, c.mail.timeout_s) = (30, 60));
    plan(&platform, 1_200, 1, false, |_| "example.test".into()).await;
    // One worker is torn away in the middle of its work.
    let lost = tokio::spawn({
        let platform = platform.clone();
        async move { send_due(&platform).await }
    });
    assert!(sink.wait_for(150, Duration::from_secs(120)).await);
    lost.abort();
    let (a, b) = tokio::join!(send_due(&platform), send_due(&platform));
    a.and(b).expect("dispatched");
    platform.clock.advance_to(platform.now().plus_us(31 * SECOND_US));
    tokio::time::sleep(Duration::from_millis(100)).await;
    send_due(&platform).await.expect("dispatched");
    platform.clock.advance_to(platform.now().plus_us(31 * SECOND_US));
    send_due(&platform).await.expect("dispatched");
    let found = states(&platform).await;
    let uncertain = found.get(&TouchState::Uncertain).copied().unwrap_or(0);
    assert!(uncertain <= 4, "{found:?}");
    assert_eq!(found[&TouchState::Sent] + uncertain, 1_200, "{found:?}");
    let mails = sink.drain();
    assert_eq!(mails.iter().map(touch_of).collect::<HashSet<_>>().len(), mails.len(), "somebody got two");
});

both_engines!(bounces_and_complaints_come_in_once_by_http, |shop| {
    let sink = Sink::start(0).await.expect("sink");
    let platform = with_mail(&shop.platform, &[&sink], |_| {});
    let ids = plan(&platform, 2, 1, false, |_| "example.test".into()).await;
    send_due(&platform).await.expect("dispatched");
    let server = crate::support::server::TestServer::start(&shop).await;
    let key = server.key(&[marquee::account::Scope::Manage]).await;
    let post = async |body: String, key: &str| {
        server.client.post(server.at("/v1/bounces")).bearer_auth(key).body(body).send().await.expect("an answer")
    };
    let original = |i: usize| {
        let mail = sink.mails().into_iter().find(|m| touch_of(m) == ids[i]).expect("arrived");
        String::from_utf8(mail.data.to_vec()).expect("ascii")
    };
    let report = |kind: &str, part: &str, fields: &str, i: usize| {
        format!(
            "From: MAILER-DAEMON@mx.example.test\r\nMessage-ID: <r{i}@mx.example.test>\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type={kind}; boundary=bb\r\n\r\n--bb\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n\
             --bb\r\nContent-Type: message/{part}\r\n\r\n{fields}\r\n--bb\r\nContent-Type: message/rfc822\r\n\r\n{}\r\n--bb--\r\n",
            original(i)
        )
    };
    let fields =
        "Reporting-MTA: dns; mx.example.test\r\n\r\nFinal-Recipient: rfc822; p0@example.test\r\nAction: failed\r\nStatus: 5.1.1\r\n";
    let bounce = report("delivery-status", "delivery-status", fields, 0);
    for (new, known) in [(1, 0), (0, 1)] {
        let answer = post(bounce.clone(), &key).await;
        assert_eq!(answer.status(), 200);
        let taken: serde_json::Value = answer.json().await.expect("json");
        assert_eq!((taken["new"].as_i64(), taken["known"].as_i64()), (Some(new), Some(known)));
    }
    let signals = touches::signals_of(&platform.db, ids[0]).await.expect("signals");
    assert_eq!(signals.iter().map(|s| (s.kind, s.detail.as_deref())).collect::<Vec<_>>(), [(SignalKind::Bounce, Some("hard 5.1.1"))]);
    assert_eq!(people::suppression(&platform.db, "p0@example.test").await.expect("read").expect("suppressed").reason, "bounce");

    let complaint = report("feedback-report", "feedback-report", "Feedback-Type: abuse\r\nUser-Agent: X/1\r\nVersion: 1\r\n", 1);
    assert_eq!(post(complaint, &key).await.status(), 200);
    assert_eq!(people::suppression(&platform.db, "p1@example.test").await.expect("read").expect("suppressed").reason, "complaint");
    let person = touches::get(&platform.db, ids[1]).await.expect("read").expect("there").person_id.expect("a person");
    let person = people::get(&platform.db, person).await.expect("read").expect("there");
    assert_eq!(person.email_consent, people::Consent::Unsubscribed);

    assert_eq!(post("Subject: out of office\r\n\r\nBye\r\n".into(), &key).await.status(), 422);
    assert_eq!(post("x".repeat(2 << 20), &key).await.status(), 413);
    assert_eq!(post(bounce.clone(), &server.key(&[marquee::account::Scope::Ingest]).await).await.status(), 403);
    assert_eq!(post(bounce, "mqk_nothing").await.status(), 401);
});

/// Both kinds of signature, read by an independent verifier (PyPI dkimpy). Skipped, with a message, where it cannot be installed; in CI
/// that is an error.
#[test]
fn an_independent_verifier_accepts_both_signatures() {
    use marquee::delivery::dkim::{DkimKey, KeyKind, generate};
    let Some(python) = dkimpy() else {
        assert!(std::env::var("CI").is_err(), "dkimpy could not be installed");
        eprintln!("skipped: Python with dkimpy is not here and could not be installed");
        return;
    };
    let mut config = marquee::platform::Config::default();
    config.mail.from_address = "shop@example.test".into();
    config.mail.reply_to = Some("help@example.test".into());
    let key = |kind, selector: &str| DkimKey::from_pem(selector, "example.test", &generate(kind).expect("made"), "x").expect("read");
    let keys = vec![key(KeyKind::Ed25519, "ed"), key(KeyKind::Rsa, "rsa")];
    let records: Vec<(String, String)> = keys.iter().map(|k| (k.record_name(), k.record_value())).collect();
    let sender = Sender::new(&config, keys).expect("sender");
    let html = format!("<p>Grüße  \t aus dem Laden</p>\r\n\r\n<p>{}</p>\n.\n..two\n \n\n\n", "long ".repeat(400));
    let built = sender
        .build(&Outgoing {
            touch: TouchId::new(crate::support::START),
            campaign: CAMPAIGN,
            variant: None,
            from: None,
            to: "ann@example.com",
            to_name: Some("Änn  O'Neil"),
            subject: "Neu: 红茶 ☕ and a subject that is long enough to be folded over several lines of the header, twice over",
            html: &html,
            text: "Grüße\n\n.\n",
            unsubscribe_url: "https://shop.example.test/u/abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
            at: crate::support::START,
        })
        .expect("built");
    let folder = tempfile::tempdir().expect("folder");
    let script = folder.path().join("verify.py");
    std::fs::write(
        &script,
        "import sys, json, dkim\nrecords = json.load(open(sys.argv[1]))\nmail = open(sys.argv[2], 'rb').read()\n\
         dns = lambda name, timeout=5: records[name.decode().rstrip('.')].encode()\n\
         d = dkim.DKIM(mail)\nprint([d.verify(idx=i, dnsfunc=dns) for i in range(2)])\nfields = [bytes(x) for x in d.signed_headers and [h[0] for h in d.signed_headers] or []]\nprint(sorted(set(f.decode() for f in fields)))\n",
    )
    .expect("script");
    let table: BTreeMap<String, String> = records.into_iter().collect();
    std::fs::write(folder.path().join("records.json"), serde_json::to_vec(&table).expect("json")).expect("records");
    let verify = |mail: &[u8]| {
        std::fs::write(folder.path().join("mail.eml"), mail).expect("mail");
        let run = std::process::Command::new(&python)
            .arg(&script)
            .args([folder.path().join("records.json"), folder.path().join("mail.eml")])
            .output()
            .expect("python runs");
        (String::from_utf8_lossy(&run.stdout).into_owned(), String::from_utf8_lossy(&run.stderr).into_owned())
    };
    let (out, err) = verify(&built.bytes);
    assert!(out.starts_with("[True, True]"), "{out}{err}");
    for header in
        ["from", "to", "subject", "date", "message-id", "list-unsubscribe", "list-unsubscribe-post", "mime-version", "content-type"]
    {
        assert!(out.contains(&format!("'{header}'")), "{header} is not covered: {out}");
    }
    // A changed body, subject or unsubscribe address, or a second From, breaks both.
    let text = String::from_utf8(built.bytes).expect("ascii");
    for (from, to) in [
        ("X-Marquee-Touch:", "From: evil@example.test\r\nX-Marquee-Touch:"),
        ("https://shop.example.test/u/a", "https://evil.example.test/u/a"),
        ("To: ", "To: x "),
        ("\r\n--mq_", "\r\nextra\r\n--mq_"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        let (out, err) = verify(changed.as_bytes());
        assert!(out.starts_with("[False, False]") || err.contains("Error"), "{from}: {out}{err}");
    }
}

/// A Python that has dkimpy: the system's, or a private environment beside the build.
fn dkimpy() -> Option<std::path::PathBuf> {
    let has = |python: &std::path::Path| {
        std::process::Command::new(python).args(["-c", "import dkim, nacl"]).output().is_ok_and(|o| o.status.success())
    };
    let system = std::path::PathBuf::from("python3");
    if has(&system) {
        return Some(system);
    }
    let home = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("dkimpy");
    let python = home.join("bin/python3");
    if has(&python) {
        return Some(python);
    }
    std::process::Command::new("python3").args(["-m", "venv"]).arg(&home).output().ok().filter(|o| o.status.success())?;
    let install = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "--timeout", "10", "dkimpy", "PyNaCl"];
    std::process::Command::new(&python).args(install).output().ok()?;
    has(&python).then_some(python)
}
