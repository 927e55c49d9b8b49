//! A small SMTP server that keeps what it is sent: the mail sink of the demo and of the tests.
//!
//! It speaks enough of RFC 5321 for a real client (EHLO, PIPELINING, SIZE, 8BITMIME, AUTH PLAIN, STARTTLS), undoes dot-stuffing, and can
//! be told to misbehave at every step: refuse, defer, hang, or drop the connection before or after it took the mail.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longest command line that is read; RFC 5321 asks for 512, AUTH for more.
const MAX_LINE_BYTES: usize = 12_288;
/// Largest mail that is taken.
const MAX_MAIL_BYTES: usize = 25 << 20;

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

struct Shared {
    options: SinkOptions,
    shelf: Mutex<Shelf>,
    received: AtomicU64,
    begun: AtomicU64,
    connections: AtomicU64,
    arrived: Notify,
}

impl Shared {
    fn take(&self, mail: ReceivedMail) {
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

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

struct Session {
    io: BufReader<Box<dyn Io>>,
    shared: Arc<Shared>,
    connection: u64,
    /// Answers not yet flushed: a pipelining client gets them together.
    out: Vec<u8>,
    from: Option<String>,
    to: Vec<String>,
    mail: u64,
    tls: bool,
    authenticated: bool,
}

enum Next {
    Go,
    Close,
}

impl Session {
    async fn run(stream: TcpStream, shared: Arc<Shared>, connection: u64) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut io: Box<dyn Io> = Box::new(stream);
        let implicit = shared.options.implicit_tls;
        if implicit && let Some(tls) = &shared.options.tls {
            io = Box::new(TlsAcceptor::from(tls.clone()).accept(io).await?);
        }
        let mut session = Self {
            io: BufReader::with_capacity(32_768, io),
            shared,
            connection,
            out: Vec::new(),
            from: None,
            to: Vec::new(),
            mail: 0,
            tls: implicit,
            authenticated: false,
        };
        if let Some(Next::Close) = session.ask(Stage::Connect).await? {
            return session.flush().await;
        }
        session.say("220 sink.example.test ESMTP");
        session.flush().await?;
        session.talk().await
    }

    async fn talk(&mut self) -> std::io::Result<()> {
        let mut line = Vec::with_capacity(512);
        loop {
            // Answers wait only while more commands are already here.
            if self.io.buffer().is_empty() {
                self.flush().await?;
            }
            line.clear();
            if !self.read_line(&mut line, MAX_LINE_BYTES).await? {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if matches!(self.command(&text).await?, Next::Close) {
                return self.flush().await;
            }
        }
    }

    async fn command(&mut self, text: &str) -> std::io::Result<Next> {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => self.ehlo().await,
            "STARTTLS" => self.starttls().await,
            "AUTH" => self.auth(rest).await,
            "MAIL" => self.mail(rest).await,
            "RCPT" => self.rcpt(rest).await,
            "DATA" => self.data().await,
            "RSET" => {
                self.reset();
                self.answer("250 2.0.0 reset")
            }
            "NOOP" => self.answer("250 2.0.0 ok"),
            "QUIT" => {
                self.say("221 2.0.0 bye");
                Ok(Next::Close)
            }
            _ => self.answer("502 5.5.2 unknown command"),
        }
    }

    async fn ehlo(&mut self) -> std::io::Result<Next> {
        self.reset();
        if let Some(next) = self.ask(Stage::Ehlo).await? {
            return Ok(next);
        }
        self.say("250-sink.example.test");
        self.say(&format!("250-SIZE {MAX_MAIL_BYTES}"));
        if self.shared.options.auth.is_some() {
            self.say("250-AUTH PLAIN");
        }
        if self.shared.options.tls.is_some() && !self.tls {
            self.say("250-STARTTLS");
        }
        self.say("250-PIPELINING");
        self.say("250-ENHANCEDSTATUSCODES");
        self.say("250-SMTPUTF8");
        self.answer("250 8BITMIME")
    }

    async fn starttls(&mut self) -> std::io::Result<Next> {
        let Some(tls) = self.shared.options.tls.clone().filter(|_| !self.tls) else {
            return self.answer("502 5.5.1 no STARTTLS here");
        };
        // What a client sent in the clear behind STARTTLS must not be read as if it came through TLS.
        if !self.io.buffer().is_empty() {
            self.say("501 5.5.1 nothing may follow STARTTLS");
            return Ok(Next::Close);
        }
        self.say("220 2.0.0 go ahead");
        self.flush().await?;
        let placeholder: Box<dyn Io> = Box::new(tokio::io::empty());
        let plain = std::mem::replace(&mut self.io, BufReader::new(placeholder)).into_inner();
        let secured: Box<dyn Io> = Box::new(TlsAcceptor::from(tls).accept(plain).await?);
        self.io = BufReader::with_capacity(32_768, secured);
        self.tls = true;
        self.reset();
        Ok(Next::Go)
    }

    async fn auth(&mut self, rest: &str) -> std::io::Result<Next> {
        if let Some(next) = self.ask(Stage::Auth).await? {
            return Ok(next);
        }
        let Some((user, password)) = self.shared.options.auth.clone() else {
            return self.answer("502 5.5.1 no AUTH here");
        };
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        if !mechanism.eq_ignore_ascii_case("PLAIN") {
            return self.answer("504 5.5.4 only PLAIN");
        }
        let mut response = initial.trim().to_owned();
        if response.is_empty() {
            self.say("334 ");
            self.flush().await?;
            let mut line = Vec::new();
            self.read_line(&mut line, MAX_LINE_BYTES).await?;
            response = String::from_utf8_lossy(&line).trim().to_owned();
        }
        let wanted = format!("\0{user}\0{password}");
        let given = STANDARD.decode(response).unwrap_or_default();
        self.authenticated = given.split_first().is_some() && given.ends_with(wanted.as_bytes());
        if self.authenticated { self.answer("235 2.7.0 welcome") } else { self.answer("535 5.7.8 wrong user or password") }
    }

    async fn mail(&mut self, rest: &str) -> std::io::Result<Next> {
        let Some(from) = path(rest, "FROM:") else {
            return self.answer("501 5.5.4 MAIL FROM:<address>");
        };
        if self.shared.options.auth.is_some() && !self.authenticated {
            return self.answer("530 5.7.0 authenticate first");
        }
        self.reset();
        self.mail = self.shared.begun.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(next) = self.ask(Stage::Mail).await? {
            return Ok(next);
        }
        self.from = Some(from);
        self.answer("250 2.1.0 ok")
    }

    async fn rcpt(&mut self, rest: &str) -> std::io::Result<Next> {
        let Some(to) = path(rest, "TO:").filter(|to| !to.is_empty()) else {
            return self.answer("501 5.5.4 RCPT TO:<address>");
        };
        if self.from.is_none() {
            return self.answer("503 5.5.1 MAIL first");
        }
        self.to.push(to);
        let refused = self.ask(Stage::Rcpt).await?;
        if let Some(next) = refused {
            self.to.pop();
            return Ok(next);
        }
        self.answer("250 2.1.5 ok")
    }

    async fn data(&mut self) -> std::io::Result<Next> {
        let (Some(from), false) = (self.from.clone(), self.to.is_empty()) else {
            return self.answer("503 5.5.1 MAIL and RCPT first");
        };
        if let Some(next) = self.ask(Stage::Data).await? {
            return Ok(next);
        }
        self.say("354 end with a dot");
        self.flush().await?;
        let Some(data) = self.read_message().await? else {
            self.say("552 5.3.4 too large");
            return Ok(Next::Close);
        };
        let mail = ReceivedMail { from, to: self.to.clone(), data: Bytes::from(data), tls: self.tls, authenticated: self.authenticated };
        let mut action = self.decide(Stage::Dot);
        while let Action::Slow(wait, then) = action {
            tokio::time::sleep(wait).await;
            action = *then;
        }
        self.from = None;
        self.to.clear();
        match action {
            Action::Reply(text) => self.answer(&text),
            Action::Drop => Ok(Next::Close),
            Action::TakeAndDrop => {
                self.shared.take(mail);
                Ok(Next::Close)
            }
            Action::Proceed | Action::Slow(..) => {
                self.shared.take(mail);
                self.answer("250 2.0.0 taken")
            }
        }
    }

    /// Reads up to the lone dot; `None` where the mail is larger than allowed.
    async fn read_message(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut data = Vec::with_capacity(16_384);
        loop {
            let start = data.len();
            if self.io.read_until(b'\n', &mut data).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if data[start..] == *b".\r\n" {
                data.truncate(start);
                return Ok(Some(data));
            }
            if data[start] == b'.' {
                data.remove(start);
            }
            if data.len() > MAX_MAIL_BYTES {
                return Ok(None);
            }
        }
    }

    fn decide(&self, stage: Stage) -> Action {
        let Some(script) = &self.shared.options.script else { return Action::Proceed };
        script(Occasion { stage, connection: self.connection, mail: self.mail, to: self.to.last().map(String::as_str) })
    }

    /// Asks the script; `None`: go on as usual.
    async fn ask(&mut self, stage: Stage) -> std::io::Result<Option<Next>> {
        let mut action = self.decide(stage);
        loop {
            match action {
                Action::Proceed => return Ok(None),
                Action::Reply(text) => {
                    self.say(&text);
                    return Ok(Some(if stage == Stage::Connect { Next::Close } else { Next::Go }));
                }
                Action::Drop | Action::TakeAndDrop => return Ok(Some(Next::Close)),
                Action::Slow(wait, then) => {
                    self.flush().await?;
                    tokio::time::sleep(wait).await;
                    action = *then;
                }
            }
        }
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }
    fn say(&mut self, line: &str) {
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }
    fn answer(&mut self, line: &str) -> std::io::Result<Next> {
        self.say(line);
        Ok(if line.starts_with("421") { Next::Close } else { Next::Go })
    }
    async fn flush(&mut self) -> std::io::Result<()> {
        if !self.out.is_empty() {
            self.io.get_mut().write_all(&self.out).await?;
            self.io.get_mut().flush().await?;
            self.out.clear();
        }
        Ok(())
    }
    /// False at the end of the stream.
    async fn read_line(&mut self, line: &mut Vec<u8>, limit: usize) -> std::io::Result<bool> {
        use tokio::io::AsyncReadExt as _;
        let read = (&mut self.io).take(limit as u64).read_until(b'\n', line).await?;
        if read == limit && !line.ends_with(b"\n") {
            return Err(std::io::Error::other("a line without an end"));
        }
        Ok(read > 0)
    }
}

/// The address in `FROM:<a@b> SIZE=…`.
fn path(rest: &str, keyword: &str) -> Option<String> {
    let rest = rest.trim_start();
    let head = rest.get(..keyword.len())?;
    if !head.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let inner = rest[keyword.len()..].trim_start().strip_prefix('<')?;
    let (address, _) = inner.split_once('>')?;
    Some(address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

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
