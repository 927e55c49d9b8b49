//! One client of the mail sink: the conversation, command by command.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::sink::{Action, Occasion, ReceivedMail, Shared, Stage};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// Longest command line that is read; RFC 5321 asks for 512, AUTH for more.
const MAX_LINE_BYTES: usize = 12_288;
/// Largest mail that is taken.
const MAX_MAIL_BYTES: usize = 25 << 20;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(super) struct Session {
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
    pub(super) async fn run(stream: TcpStream, shared: Arc<Shared>, connection: u64) -> std::io::Result<()> {
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
