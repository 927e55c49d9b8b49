//! Mails of 12 kB to a server on loopback: Marquee's connections beside lettre's own pool, as many at once.

use futures::StreamExt as _;
use lettre::message::header::ContentType;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor, transport::smtp::PoolConfig};
use marquee::delivery::sink::{Sink, SinkOptions};
use marquee::delivery::smtp::{Outcome, Pool};
use marquee::platform::config::MailConfig;

use crate::support;

const CONNECTIONS: usize = 8;
const LETTRE: usize = 300;
const OURS: usize = 4_000;

pub fn run() {
    let runtime = support::runtime();
    // lettre's pool starts a task of its own when it is made and dropped.
    let _inside = runtime.enter();
    let sink = runtime.block_on(Sink::start_with(SinkOptions::default())).expect("a sink");
    let config = MailConfig { servers: vec![sink.url()], connections: CONNECTIONS, ..MailConfig::default() };
    let pool = Pool::new(&config).expect("a pool");
    let (from, to): (Address, Address) = ("shop@example.test".parse().expect("address"), "ada@example.test".parse().expect("address"));
    let message = lettre::Message::builder()
        .from("Shop <shop@example.test>".parse().expect("mailbox"))
        .to("Ada <ada@example.test>".parse().expect("mailbox"))
        .subject("A table that fits")
        .header(ContentType::TEXT_HTML)
        .body("<p>Oak side table, made to last.</p>\n".repeat(320))
        .expect("a message");
    let bytes = message.formatted();
    let lettre: AsyncSmtpTransport<Tokio1Executor> = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
        .port(sink.address().port())
        .pool_config(PoolConfig::new().max_size(CONNECTIONS as u32))
        .build();
    support::compare(
        "send, 8 connections",
        "mails/s",
        "lettre's pool",
        5,
        || {
            support::rate(LETTRE, || {
                runtime.block_on(all(LETTRE, async || {
                    lettre.send_raw(message.envelope(), &bytes).await.expect("sent");
                }));
            })
        },
        || {
            support::rate(OURS, || {
                runtime.block_on(all(OURS, async || {
                    let outcome = pool.send(0, &from, &to, &bytes).await;
                    assert!(matches!(outcome, Outcome::Sent { .. }), "{outcome:?}");
                }));
            })
        },
    );
    assert!(sink.count() >= OURS as u64);
}

async fn all(mails: usize, send: impl AsyncFn()) {
    futures::stream::iter(0..mails).map(|_| send()).buffer_unordered(CONNECTIONS).collect::<()>().await;
}
