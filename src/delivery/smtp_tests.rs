//! Every way a conversation can end, against a real server on loopback that is told how to misbehave.

use super::*;
use crate::delivery::sink::{Action, Script, Sink, SinkOptions, Stage};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

const MESSAGE: &[u8] = b"From: a@example.test\r\nTo: b@example.test\r\nSubject: hi\r\n\r\n.one\r\n..two\r\nthree\r\n";
const TLS_PEM: &[u8] = include_bytes!("../../tests/it/fixtures/sink-tls.pem");

fn pool(url: String, change: impl FnOnce(&mut MailConfig)) -> Pool {
    let mut config = MailConfig { servers: vec![url], connections: 4, timeout_s: 5, ..MailConfig::default() };
    change(&mut config);
    Pool::new(&config).expect("a pool")
}

async fn send_to(pool: &Pool, to: &str) -> Outcome {
    pool.send(0, &"a@example.test".parse().expect("address"), &to.parse().expect("address"), MESSAGE).await
}
async fn send(pool: &Pool) -> Outcome {
    send_to(pool, "b@example.test").await
}

async fn scripted(script: impl Fn(Stage, u64) -> Action + Send + Sync + 'static) -> Sink {
    let script: Script = Arc::new(move |at| script(at.stage, at.mail));
    Sink::start_with(SinkOptions { script: Some(script), keep: 1000, ..SinkOptions::default() }).await.expect("sink")
}

async fn outcome_when(stage: Stage, action: Action) -> (Outcome, u64) {
    let sink = scripted(move |at, _| if at == stage { action.clone() } else { Action::Proceed }).await;
    let outcome = send(&pool(sink.url(), |_| {})).await;
    (outcome, sink.count())
}

fn reply(text: &str) -> Action {
    Action::Reply(text.into())
}

/// A server that reads a line per entry of `says` (none for the first), answers with that entry, and then hangs up.
async fn parrot(says: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("smtp://{}", listener.local_addr().expect("address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut io = BufReader::new(stream);
            let mut line = String::new();
            for (i, say) in says.iter().enumerate() {
                if i > 0 && io.read_line(&mut line).await.unwrap_or(0) == 0 {
                    break;
                }
                let _ = io.get_mut().write_all(say.as_bytes()).await;
            }
        }
    });
    url
}

#[tokio::test]
async fn a_plain_mail_arrives_as_it_was() {
    let sink = Sink::start(0).await.expect("sink");
    let pool = pool(sink.url(), |_| {});
    assert!(matches!(send(&pool).await, Outcome::Sent { reply } if reply.contains("taken")));
    let mail = sink.drain().pop().expect("arrived");
    assert_eq!(&mail.data[..], MESSAGE);
    assert_eq!((mail.from.as_str(), mail.to[0].as_str()), ("a@example.test", "b@example.test"));
}

#[tokio::test]
async fn lost_before_the_final_dot_is_not_sent() {
    for stage in [Stage::Connect, Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Data] {
        let (outcome, taken) = outcome_when(stage, Action::Drop).await;
        assert!(matches!(outcome, Outcome::NotSent { .. }), "{stage:?}: {outcome:?}");
        assert_eq!(taken, 0);
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("smtp://{}", nobody.local_addr().expect("address"));
    drop(nobody);
    assert!(matches!(send(&pool(url, |_| {})).await, Outcome::NotSent { server_down: true, .. }));
    // Lost in the middle of a body that does not fit the socket's buffers: the dot was never begun.
    let url = parrot(&["220 hi\r\n", "250 hi\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"]).await;
    let huge = [MESSAGE, &b"x".repeat(70).repeat(300_000)].concat();
    let from: Address = "a@example.test".parse().expect("address");
    let outcome = pool(url, |_| {}).send(0, &from, &from, &huge).await;
    assert!(matches!(&outcome, Outcome::NotSent { why, .. } if why.contains("the body")), "{outcome:?}");
}

#[tokio::test]
async fn lost_after_the_final_dot_was_begun_is_uncertain() {
    let (outcome, taken) = outcome_when(Stage::Dot, Action::TakeAndDrop).await;
    assert!(matches!(outcome, Outcome::Uncertain { .. }), "{outcome:?}");
    assert_eq!(taken, 1);
    let (outcome, taken) = outcome_when(Stage::Dot, Action::Drop).await;
    assert!(matches!(outcome, Outcome::Uncertain { .. }), "{outcome:?}");
    assert_eq!(taken, 0);
    for garbage in ["what\r\n", "354 go on\r\n", "\u{1}\u{2}\r\n", "999 no\r\n"] {
        let (outcome, _) = outcome_when(Stage::Dot, reply(garbage.trim_end())).await;
        assert!(matches!(outcome, Outcome::Uncertain { .. }), "{garbage:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn silence_is_told_apart_by_where_it_falls() {
    let slow = || Action::Slow(Duration::from_secs(3), Box::new(Action::Proceed));
    for (stage, uncertain) in
        [(Stage::Connect, false), (Stage::Mail, false), (Stage::Rcpt, false), (Stage::Data, false), (Stage::Dot, true)]
    {
        let sink = scripted(move |at, _| if at == stage { slow() } else { Action::Proceed }).await;
        let mut pool = pool(sink.url(), |_| {});
        pool.timeout = Duration::from_millis(100);
        let outcome = send(&pool).await;
        assert_eq!(matches!(outcome, Outcome::Uncertain { .. }), uncertain, "{stage:?}: {outcome:?}");
        assert_eq!(matches!(outcome, Outcome::NotSent { .. }), !uncertain, "{stage:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn nonsense_before_the_dot_is_not_sent() {
    static SAYS: [&[&str]; 4] = [
        &["HTTP/1.1 400 Bad Request\r\n"],
        &["220 hi\r\n", "banana\r\n"],
        &["220 hi\r\n", "250 hi\r\n", "banana\r\n"],
        &["220 hi\r\n", "250 hi\r\n", "250 ok\r\n", "banana\r\n"],
    ];
    for says in SAYS {
        let outcome = send(&pool(parrot(says).await, |_| {})).await;
        assert!(matches!(outcome, Outcome::NotSent { .. }), "{says:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn temporary_refusals_of_the_recipient_or_content_are_deferred() {
    for stage in [Stage::Rcpt, Stage::Data, Stage::Dot] {
        let (outcome, taken) = outcome_when(stage, reply("450 4.2.0 greylisted, come back")).await;
        assert!(matches!(&outcome, Outcome::Deferred { code: 450, reply } if reply.contains("greylisted")), "{stage:?}: {outcome:?}");
        assert_eq!(taken, 0);
    }
}

#[tokio::test]
async fn what_speaks_of_us_or_the_server_is_no_verdict_on_the_mail() {
    for (stage, text) in [
        (Stage::Connect, "554 5.7.1 blocked"),
        (Stage::Ehlo, "550 go away"),
        (Stage::Mail, "550 5.7.1 sender refused"),
        (Stage::Mail, "451 4.7.1 slow down"),
        (Stage::Rcpt, "421 4.3.2 shutting down"),
        (Stage::Dot, "421 4.3.2 shutting down"),
    ] {
        let (outcome, taken) = outcome_when(stage, reply(text)).await;
        assert!(matches!(outcome, Outcome::NotSent { server_down: true, .. }), "{stage:?} {text}: {outcome:?}");
        assert_eq!(taken, 0);
    }
}

#[tokio::test]
async fn permanent_refusals_fail_and_only_the_address_is_condemned() {
    for (stage, text, class) in [
        (Stage::Rcpt, "550 5.1.1 no such mailbox", BounceClass::Hard),
        (Stage::Rcpt, "550 user unknown", BounceClass::Hard),
        (Stage::Rcpt, "552 5.2.2 full", BounceClass::Soft),
        (Stage::Rcpt, "550 5.7.1 policy", BounceClass::Soft),
        (Stage::Data, "554 5.6.0 no", BounceClass::Soft),
        (Stage::Dot, "554 5.7.1 spam: user unknown", BounceClass::Soft),
        (Stage::Dot, "550 5.1.1 gone", BounceClass::Hard),
    ] {
        let (outcome, taken) = outcome_when(stage, reply(text)).await;
        assert!(matches!(&outcome, Outcome::Failed { class: c, .. } if *c == class), "{stage:?} {text}: {outcome:?}");
        assert_eq!(taken, 0);
    }
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_usable() {
    let sink = scripted(|at, mail| if at == Stage::Rcpt && mail == 1 { reply("550 5.1.1 no") } else { Action::Proceed }).await;
    let pool = pool(sink.url(), |_| {});
    assert!(matches!(send(&pool).await, Outcome::Failed { .. }));
    assert!(matches!(send(&pool).await, Outcome::Sent { .. }));
    assert_eq!((sink.connections(), sink.count()), (1, 1));
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_replaced_once_and_silently() {
    let sink = scripted(|at, mail| if at == Stage::Mail && mail == 2 { Action::Drop } else { Action::Proceed }).await;
    let pool = pool(sink.url(), |_| {});
    assert!(matches!(send(&pool).await, Outcome::Sent { .. }));
    assert!(matches!(send(&pool).await, Outcome::Sent { .. }));
    assert_eq!((sink.connections(), sink.count()), (2, 2));
}

#[tokio::test]
async fn connections_are_few_reused_and_renewed() {
    let open = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let seen = open.clone();
    let sink = scripted(move |at, _| {
        match at {
            Stage::Mail => {
                let now = seen.0.fetch_add(1, Ordering::SeqCst) + 1;
                seen.1.fetch_max(now, Ordering::SeqCst);
            }
            Stage::Dot => {
                seen.0.fetch_sub(1, Ordering::SeqCst);
            }
            _ => {}
        }
        Action::Proceed
    })
    .await;
    let pool = pool(sink.url(), |c| c.connections = 3);
    let outcomes = futures::future::join_all((0..250).map(|_| send(&pool))).await;
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Sent { .. })));
    assert!(open.1.load(Ordering::SeqCst) <= 3, "{} at once", open.1.load(Ordering::SeqCst));
    assert!((3..=6).contains(&sink.connections()), "{} connections for 250 mails", sink.connections());
    pool.close().await;
}

#[tokio::test]
async fn idle_connections_are_not_used_after_their_time() {
    let sink = Sink::start(0).await.expect("sink");
    let pool = pool(sink.url(), |_| {});
    send(&pool).await;
    pool.idle[0].lock().expect("lock")[0].used = Instant::now().checked_sub(IDLE_LIMIT * 2).expect("long ago");
    assert!(matches!(send(&pool).await, Outcome::Sent { .. }));
    assert_eq!(sink.connections(), 2);
}

fn tls() -> Arc<rustls::ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(TLS_PEM).expect("certificate");
    let key = PrivateKeyDer::from_pem_slice(TLS_PEM).expect("key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    Arc::new(builder.with_no_client_auth().with_single_cert(vec![certificate], key).expect("server config"))
}

#[tokio::test]
async fn tls_both_ways_with_a_password() {
    for implicit_tls in [false, true] {
        let options =
            SinkOptions { tls: Some(tls()), implicit_tls, auth: Some(("me".into(), "p:w@é".into())), keep: 9, ..SinkOptions::default() };
        let sink = Sink::start_with(options).await.expect("sink");
        let scheme = if implicit_tls { "smtps" } else { "smtp+starttls" };
        let url = |password: &str| format!("{scheme}://me:{password}@localhost:{}", sink.address().port());
        let right = pool(url("p%3Aw%40%C3%A9"), |c| c.accept_invalid_certificates = true);
        assert!(matches!(send(&right).await, Outcome::Sent { .. }), "{scheme}");
        let mail = sink.drain().pop().expect("a mail");
        assert!(mail.tls && mail.authenticated);
        assert_eq!(&mail.data[..], MESSAGE);
        // A wrong password or a certificate nobody vouches for is no verdict on the mail.
        let wrong = send(&pool(url("no"), |c| c.accept_invalid_certificates = true)).await;
        assert!(matches!(&wrong, Outcome::NotSent { server_down: true, why } if why.contains("535") && !why.contains("p:w")), "{wrong:?}");
        let strict = send(&pool(url("p%3Aw%40%C3%A9"), |_| {})).await;
        assert!(matches!(strict, Outcome::NotSent { server_down: true, .. }), "{strict:?}");
        assert_eq!(sink.count(), 1);
    }
}

#[tokio::test]
async fn starttls_is_insisted_on_and_nothing_is_smuggled_into_it() {
    let plain = Sink::start(0).await.expect("sink");
    let outcome = send(&pool(plain.url().replace("smtp:", "smtp+starttls:"), |c| c.accept_invalid_certificates = true)).await;
    assert!(matches!(&outcome, Outcome::NotSent { why, .. } if why.contains("STARTTLS")), "{outcome:?}");
    assert_eq!(plain.count(), 0);
    // Answers sent in the clear behind the answer to STARTTLS must not be taken for answers given under TLS.
    let url =
        parrot(&["220 hi\r\n", "250-hi\r\n250 STARTTLS\r\n", "220 go\r\n250 hi\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n"]).await;
    let outcome = send(&pool(url.replace("smtp:", "smtp+starttls:"), |c| c.accept_invalid_certificates = true)).await;
    assert!(matches!(&outcome, Outcome::NotSent { server_down: true, .. }), "{outcome:?}");
}

#[tokio::test]
async fn what_a_server_cannot_carry_fails_without_harm() {
    let url = parrot(&["220 hi\r\n", "250 hi\r\n", "250 reset\r\n"]).await;
    let from: Address = "a@example.test".parse().expect("address");
    let outcome = pool(url, |_| {}).send(0, &from, &from, "Subject: é\r\n\r\nx\r\n".as_bytes()).await;
    assert!(matches!(outcome, Outcome::Failed { class: BounceClass::Soft, .. }), "{outcome:?}");
}
