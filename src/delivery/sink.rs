//! A small SMTP server that keeps what it is sent: the mail sink of the demo and of the tests.
//!
//! It speaks enough of RFC 5321 for a real client (EHLO, PIPELINING, SIZE, 8BITMIME, AUTH PLAIN, STARTTLS), undoes dot-stuffing, and can
//! be told to misbehave at every step: refuse, defer, hang, or drop the connection before or after it took the mail.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::sink_session::Session;

/// A mail as it arrived.
#[derive(Clone, Debug)]
pub struct ReceivedMail {
    /// Envelope sender, empty for a bounce.
    pub from: String,
    /// Envelope recipients.
    pub to: Vec<String>,
    /// The message, dot-stuffing undone, lines ending in CRLF.
    pub data: Bytes,
    pub tls: bool,
    pub authenticated: bool,
}

impl ReceivedMail {
    /// The unfolded value of a header, undecoded.
    pub fn header(&self, name: &str) -> Option<String> {
        let mut value: Option<String> = None;
        for line in self.data.split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l)) {
            if line.is_empty() {
                break;
            }
            let text = String::from_utf8_lossy(line);
            match &mut value {
                Some(value) if text.starts_with([' ', '\t']) => {
                    value.push(' ');
                    value.push_str(text.trim());
                }
                Some(_) => break,
                None => {
                    if let Some((key, rest)) = text.split_once(':')
                        && key.eq_ignore_ascii_case(name)
                    {
                        value = Some(rest.trim().to_owned());
                    }
                }
            }
        }
        value
    }
}

/// Where in a conversation the server is when it asks its script what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A client has connected and waits for the greeting.
    Connect,
    Ehlo,
    Auth,
    Mail,
    Rcpt,
    /// The command DATA.
    Data,
    /// The final dot has arrived.
    Dot,
}

/// What a script is told.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    pub stage: Stage,
    /// Connections so far, this one included: 1 for the first.
    pub connection: u64,
    /// Mails begun so far over all connections: 1 for the first, from [`Stage::Mail`] on.
    pub mail: u64,
    /// The envelope recipient from [`Stage::Rcpt`] on.
    pub to: Option<&'a str>,
}

/// What a script answers.
#[derive(Clone, Debug)]
pub enum Action {
    /// Behave.
    Proceed,
    /// Answer this instead, e.g. `450 4.2.0 greylisted`; the mail is not taken.
    Reply(String),
    /// Close the connection without a word; the mail is not taken.
    Drop,
    /// At [`Stage::Dot`]: take the mail, then close the connection without a word. Elsewhere as [`Action::Drop`].
    TakeAndDrop,
    /// Wait, then do the other.
    Slow(Duration, Box<Action>),
}

pub type Script = Arc<dyn Fn(Occasion<'_>) -> Action + Send + Sync>;
pub type OnMail = Arc<dyn Fn(&ReceivedMail) + Send + Sync>;

/// How a sink is started.
#[derive(Clone, Default)]
pub struct SinkOptions {
    /// Port on loopback; 0 takes a free one.
    pub port: u16,
    /// Most mails kept; the oldest are dropped. 0 keeps none (they are counted, and `on_mail` sees them).
    pub keep: usize,
    /// User and password that AUTH PLAIN must bring before MAIL is allowed.
    pub auth: Option<(String, String)>,
    /// Offers STARTTLS, or speaks TLS from the first byte where `implicit_tls` is set.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    pub implicit_tls: bool,
    /// Asked at every step; absent: behave.
    pub script: Option<Script>,
    /// Called for every mail taken.
    pub on_mail: Option<OnMail>,
}

#[derive(Default)]
struct Shelf {
    mails: VecDeque<ReceivedMail>,
}

pub(super) struct Shared {
    pub(super) options: SinkOptions,
    shelf: Mutex<Shelf>,
    received: AtomicU64,
    pub(super) begun: AtomicU64,
    connections: AtomicU64,
    arrived: Notify,
}

impl Shared {
    pub(super) fn take(&self, mail: ReceivedMail) {
        if let Some(f) = &self.options.on_mail {
            f(&mail);
        }
        if self.options.keep > 0 {
            let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
            if shelf.mails.len() >= self.options.keep {
                shelf.mails.pop_front();
            }
            shelf.mails.push_back(mail);
        }
        self.received.fetch_add(1, Ordering::SeqCst);
        self.arrived.notify_waiters();
    }
}

/// A running sink. Stops, with all its connections, when the last clone is dropped.
#[derive(Clone)]
pub struct Sink {
    shared: Arc<Shared>,
    address: SocketAddr,
    _stop: Arc<DropGuard>,
}

impl Sink {
    /// Starts on 127.0.0.1 (`port` 0: a free one), keeping up to 100,000 mails.
    pub async fn start(port: u16) -> std::io::Result<Self> {
        Self::start_with(SinkOptions { port, keep: 100_000, ..SinkOptions::default() }).await
    }

    pub async fn start_with(options: SinkOptions) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", options.port)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            options,
            shelf: Mutex::default(),
            received: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            arrived: Notify::new(),
        });
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, shared.clone(), stop.clone()));
        Ok(Self { shared, address, _stop: Arc::new(stop.drop_guard()) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// As `mail.servers` wants it.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }
    /// Mails taken so far, dropped ones included.
    pub fn count(&self) -> u64 {
        self.shared.received.load(Ordering::SeqCst)
    }
    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }
    /// A copy of what is kept, oldest first.
    pub fn mails(&self) -> Vec<ReceivedMail> {
        self.shared.shelf.lock().unwrap_or_else(PoisonError::into_inner).mails.iter().cloned().collect()
    }
    /// Takes what is kept, oldest first, and leaves the shelf empty.
    pub fn drain(&self) -> Vec<ReceivedMail> {
        self.shared.shelf.lock().unwrap_or_else(PoisonError::into_inner).mails.drain(..).collect()
    }
    /// Waits until `n` mails were taken in all; false when that took longer than `limit`.
    pub async fn wait_for(&self, n: u64, limit: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let notified = self.shared.arrived.notified();
            if self.count() >= n {
                return true;
            }
            if tokio::time::timeout_at(deadline, notified).await.is_err() {
                return self.count() >= n;
            }
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let (shared, stop) = (shared.clone(), stop.clone());
        let connection = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = Session::run(stream, shared, connection) => {
                    if let Err(e) = ended {
                        tracing::debug!(error = %e, "a client of the mail sink went away");
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    /// Sends a whole conversation at once (pipelining included) and returns everything the sink said.
    async fn converse(sink: &Sink, script: &str) -> String {
        let mut stream = TcpStream::connect(sink.address()).await.expect("connects");
        stream.write_all(script.as_bytes()).await.expect("writes");
        let mut said = String::new();
        stream.read_to_string(&mut said).await.expect("reads");
        said
    }

    #[tokio::test]
    async fn takes_a_pipelined_mail_and_undoes_dot_stuffing() {
        let sink = Sink::start(0).await.expect("starts");
        let mut stream = TcpStream::connect(sink.address()).await.expect("connects");
        let mut said = vec![0; 4096];
        stream.write_all(b"EHLO a\r\nMAIL FROM:<a@example.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n").await.expect("writes");
        let mut text = String::new();
        while !text.contains("354") {
            let n = stream.read(&mut said).await.expect("reads");
            text.push_str(&String::from_utf8_lossy(&said[..n]));
        }
        stream.write_all(b"Subject: a\r\n  b\r\nX: y\r\n\r\n..dot\r\n.\r\nQUIT\r\n").await.expect("writes");
        assert!(sink.wait_for(1, Duration::from_secs(5)).await);
        let mail = sink.drain().pop().expect("a mail");
        assert_eq!(mail.header("subject").as_deref(), Some("a b"));
        assert!(mail.data.ends_with(b"\r\n\r\n.dot\r\n"));
        assert_eq!((mail.from.as_str(), mail.to), ("a@example.test", vec!["b@example.test".to_owned()]));
        assert!(sink.mails().is_empty() && sink.count() == 1);
    }

    #[tokio::test]
    async fn refuses_what_is_out_of_order() {
        let sink = Sink::start(0).await.expect("starts");
        let said = converse(&sink, "DATA\r\nRCPT TO:<b@example.test>\r\nMAIL b@example.test\r\nHUH\r\nQUIT\r\n").await;
        for code in ["503", "501", "502", "221"] {
            assert!(said.contains(&format!("\n{code} ")), "{code} in {said}");
        }
        assert_eq!(sink.count(), 0);
    }

    #[tokio::test]
    async fn follows_its_script() {
        let script: Script = Arc::new(|at| match (at.stage, at.to) {
            (Stage::Rcpt, Some("no@example.test")) => Action::Reply("550 5.1.1 nobody".into()),
            _ => Action::Proceed,
        });
        let sink = Sink::start_with(SinkOptions { script: Some(script), keep: 1, ..SinkOptions::default() }).await.expect("starts");
        let said = converse(&sink, "EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<no@example.test>\r\nRCPT TO:<yes@example.test>\r\nQUIT\r\n").await;
        assert!(said.contains("550 5.1.1 nobody") && said.contains("250 2.1.5 ok"));
    }
}
