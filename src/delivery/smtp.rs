//! Speaking SMTP: a small pool of connections, and what every way a conversation can end means for the touch.
//!
//! The state machine of one mail:
//!
//! ```text
//!  connect ─ EHLO ─ STARTTLS ─ AUTH ─► ready ─ MAIL ─► RCPT ─► DATA ─► body ═► final dot ─► reply
//! ```
//!
//! | what happens | outcome | then |
//! |---|---|---|
//! | connection refused, lost, timed out or garbled before the final dot was begun | [`Outcome::NotSent`] | planned again; the server had nothing it could deliver |
//! | 4xx or 5xx to connect, EHLO, STARTTLS, AUTH or MAIL | [`Outcome::NotSent`] | the same: it speaks of us or the server, not of the recipient |
//! | 4xx to RCPT, DATA or the final dot | [`Outcome::Deferred`] | tried again after a back-off (greylisting, full mailbox) |
//! | 5xx to RCPT | [`Outcome::Failed`] | final; [`BounceClass::Hard`] suppresses the address |
//! | 5xx to DATA or the final dot | [`Outcome::Failed`] | final; the content or the policy, hard only where the status says so |
//! | 2xx to the final dot | [`Outcome::Sent`] | |
//! | connection lost, timed out or garbled once the final dot was begun | [`Outcome::Uncertain`] | never sent again by itself: the server may have it |
//!
//! A connection that sat idle and turns out dead before the final dot is replaced once without telling anybody.

use std::error::Error as _;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lettre::Address;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::Mechanism;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Quit, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;
use tokio::sync::Semaphore;

use super::verdict::{BounceClass, classify_permanent, enhanced_status};
use super::wire::{Server, ServerUrlError};
use crate::platform::config::MailConfig;

/// How sending one mail ended. See the table above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Sent {
        reply: String,
    },
    Deferred {
        code: u16,
        reply: String,
    },
    Failed {
        code: u16,
        status: Option<String>,
        reply: String,
        class: BounceClass,
    },
    /// Nothing was delivered. `server_down`: the server is unreachable or refuses us, so others need not try it now.
    NotSent {
        why: String,
        server_down: bool,
    },
    Uncertain {
        why: String,
    },
}

/// Mails over one connection before it is replaced (many servers close it at 100).
const MAILS_PER_CONNECTION: usize = 100;
/// Connections idle for longer are closed rather than used: servers hang up after a while.
const IDLE_LIMIT: Duration = Duration::from_secs(20);
/// Longest reply text that is kept.
const MAX_REPLY_CHARS: usize = 300;

struct Live {
    smtp: AsyncSmtpConnection,
    mails: usize,
    used: Instant,
}

/// Connections to the configured servers: at most `mail.connections` in all.
pub struct Pool {
    servers: Vec<Server>,
    idle: Vec<Mutex<Vec<Live>>>,
    permits: Semaphore,
    hello: ClientId,
    timeout: Duration,
}

/// Where one step of the conversation failed.
enum Fault {
    /// The peer answered with a negative code.
    Reply { code: u16, text: String },
    /// The connection is gone, silent, or speaks nonsense.
    Broken(String),
    /// The mail cannot be said to this server (an address or body it has no extension for).
    Unspeakable(String),
}

impl From<SmtpError> for Fault {
    fn from(e: SmtpError) -> Self {
        match e.status() {
            Some(code) => {
                let text = e.source().map(ToString::to_string).unwrap_or_default();
                Self::Reply { code: u16::from(code), text: text.chars().take(MAX_REPLY_CHARS).collect() }
            }
            None => Self::Broken(e.to_string().chars().take(MAX_REPLY_CHARS).collect()),
        }
    }
}

impl Pool {
    pub fn new(config: &MailConfig) -> Result<Self, ServerUrlError> {
        let servers = config
            .servers
            .iter()
            .enumerate()
            .map(|(i, url)| Server::parse(i, url, config.accept_invalid_certificates))
            .collect::<Result<Vec<_>, _>>()?;
        let idle = servers.iter().map(|_| Mutex::default()).collect();
        Ok(Self {
            servers,
            idle,
            permits: Semaphore::new(config.connections.clamp(1, 32)),
            hello: ClientId::default(),
            timeout: Duration::from_secs(config.timeout_s.max(1)),
        })
    }

    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Sends one message, in whole and already signed, to one recipient through `servers()[server]`. Never sends it twice.
    pub async fn send(&self, server: usize, from: &Address, to: &Address, message: &[u8]) -> Outcome {
        let Ok(_permit) = self.permits.acquire().await else {
            return Outcome::NotSent { why: "the pool is closed".into(), server_down: false };
        };
        if let Some(live) = self.take_idle(server) {
            match self.converse(server, live, from, to, message).await {
                // The idle connection was dead already: nothing of the mail has reached anybody.
                Outcome::NotSent { .. } => {}
                done => return done,
            }
        }
        match self.connect(&self.servers[server]).await {
            Ok(live) => self.converse(server, live, from, to, message).await,
            Err(why) => Outcome::NotSent { why, server_down: true },
        }
    }

    fn take_idle(&self, server: usize) -> Option<Live> {
        let mut idle = self.idle[server].lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|live| live.used.elapsed() < IDLE_LIMIT);
        idle.pop()
    }

    async fn within<T>(&self, step: impl Future<Output = Result<T, SmtpError>>) -> Result<T, Fault> {
        match tokio::time::timeout(self.timeout, step).await {
            Ok(done) => done.map_err(Fault::from),
            Err(_) => Err(Fault::Broken(format!("no answer within {} s", self.timeout.as_secs()))),
        }
    }

    async fn connect(&self, server: &Server) -> Result<Live, String> {
        let say = |step: &str, fault: Fault| match fault {
            Fault::Reply { code, text } => format!("{server} answered {code} {text} to {step}"),
            Fault::Broken(why) | Fault::Unspeakable(why) => format!("{server}, {step}: {why}"),
        };
        let wire = tokio::time::timeout(self.timeout, server.dial())
            .await
            .map_err(|_| format!("{server} cannot be reached: no answer within {} s", self.timeout.as_secs()))?
            .map_err(|e| format!("{server} cannot be reached: {e}"))?;
        let mut smtp = self
            .within(AsyncSmtpConnection::connect_with_transport(Box::new(wire), &self.hello))
            .await
            .map_err(|fault| say("the greeting", fault))?;
        if let Some(tls) = &server.starttls {
            self.within(smtp.starttls(tls.clone(), &self.hello)).await.map_err(|fault| say("STARTTLS", fault))?;
        }
        if let Some(credentials) = &server.credentials {
            self.within(smtp.auth(&[Mechanism::Plain, Mechanism::Login], credentials)).await.map_err(|fault| say("AUTH", fault))?;
        }
        Ok(Live { smtp, mails: 0, used: Instant::now() })
    }

    /// One mail over one connection, which goes back to the shelf where it is still good.
    async fn converse(&self, server: usize, mut live: Live, from: &Address, to: &Address, message: &[u8]) -> Outcome {
        let mut stage = "MAIL";
        let mut dotted = false;
        let result = self.transact(&mut live.smtp, from, to, message, &mut stage, &mut dotted).await;
        live.mails += 1;
        let at = &self.servers[server];
        let (outcome, usable) = match result {
            Ok(reply) => (Outcome::Sent { reply }, true),
            Err(Fault::Broken(why)) if dotted => (Outcome::Uncertain { why: format!("{at}, after the final dot: {why}") }, false),
            Err(Fault::Broken(why)) => (Outcome::NotSent { why: format!("{at}, {stage}: {why}"), server_down: false }, false),
            Err(Fault::Unspeakable(reply)) => {
                (Outcome::Failed { code: 553, status: Some("5.6.7".into()), reply, class: BounceClass::Soft }, true)
            }
            Err(Fault::Reply { code, text }) => (judge(stage, code, &text, at), code != 421),
        };
        if usable && live.mails < MAILS_PER_CONNECTION && self.clean(&mut live, &outcome).await {
            live.used = Instant::now();
            self.idle[server].lock().unwrap_or_else(PoisonError::into_inner).push(live);
        } else if usable {
            let _ = self.within(live.smtp.command(Quit)).await;
        }
        outcome
    }

    /// After a refusal half a transaction is open on the server: RSET ends it.
    async fn clean(&self, live: &mut Live, outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Sent { .. }) || self.within(live.smtp.command(Rset)).await.is_ok()
    }

    /// MAIL, RCPT, DATA, body, dot. `dotted` is set the moment before the first byte of the final dot is written.
    async fn transact(
        &self,
        smtp: &mut AsyncSmtpConnection,
        from: &Address,
        to: &Address,
        message: &[u8],
        stage: &mut &'static str,
        dotted: &mut bool,
    ) -> Result<String, Fault> {
        let mut parameters = Vec::new();
        let (utf8, eight_bit) =
            (smtp.server_info().supports_feature(Extension::SmtpUtfEight), smtp.server_info().supports_feature(Extension::EightBitMime));
        if !<Address as AsRef<str>>::as_ref(from).is_ascii() || !<Address as AsRef<str>>::as_ref(to).is_ascii() {
            if !utf8 {
                return Err(Fault::Unspeakable("the server does not take addresses outside ASCII (no SMTPUTF8)".into()));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if !message.is_ascii() {
            if !eight_bit {
                return Err(Fault::Unspeakable("the server does not take 8-bit text (no 8BITMIME)".into()));
            }
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        self.within(smtp.command(Mail::new(Some(from.clone()), parameters))).await?;
        *stage = "RCPT";
        self.within(smtp.command(Rcpt::new(to.clone(), Vec::new()))).await?;
        *stage = "DATA";
        self.within(smtp.command(Data)).await?;
        *stage = "the body";
        // The library writes the body, asks for the next piece, hears that there is none, and writes the dot: that question is where the
        // point of no return lies. It waits longer there (RFC 5321, 4.5.3.2.6 asks for 10 minutes): giving up leaves the touch uncertain.
        let mut body = Some(message.strip_suffix(b"\r\n").unwrap_or(message));
        let pieces = std::iter::from_fn(|| {
            let piece = body.take();
            if piece.is_none() {
                *dotted = true;
                *stage = "the final dot";
            }
            piece
        });
        let patience = (self.timeout * 10).min(Duration::from_secs(600)).max(self.timeout);
        let response = match tokio::time::timeout(patience, smtp.message_iter(pieces)).await {
            Ok(done) => done?,
            Err(_) => return Err(Fault::Broken(format!("no answer within {} s", patience.as_secs()))),
        };
        accepted(&response)
    }

    /// Says goodbye on every idle connection.
    pub async fn close(&self) {
        for shelf in &self.idle {
            let idle = std::mem::take(&mut *shelf.lock().unwrap_or_else(PoisonError::into_inner));
            for mut live in idle {
                let _ = tokio::time::timeout(Duration::from_secs(2), live.smtp.command(Quit)).await;
            }
        }
    }
}

/// Only 2xx accepts a mail. A 3xx there is nonsense, and what became of the mail is unknown.
fn accepted(response: &Response) -> Result<String, Fault> {
    let code = u16::from(response.code());
    let text: String = response.message().collect::<Vec<_>>().join(" ").chars().take(MAX_REPLY_CHARS).collect();
    if (200..300).contains(&code) { Ok(text) } else { Err(Fault::Broken(format!("the server answered {code} {text}"))) }
}

/// What a negative reply means, by where it came.
fn judge(stage: &str, code: u16, text: &str, server: &Server) -> Outcome {
    let about_us = matches!(stage, "MAIL");
    if about_us || code == 421 {
        return Outcome::NotSent { why: format!("{server} answered {code} {text} to {stage}"), server_down: true };
    }
    if code < 500 {
        return Outcome::Deferred { code, reply: text.to_owned() };
    }
    let status = enhanced_status(text).filter(|s| s.starts_with('5'));
    let class = match (stage, status) {
        // 550 to RCPT without any further word is how old servers say "no such mailbox"; after DATA it is about the content.
        ("RCPT", _) => classify_permanent(status, text),
        (_, Some(_)) => classify_permanent(status, ""),
        (_, None) => BounceClass::Soft,
    };
    Outcome::Failed { code, status: status.map(ToOwned::to_owned), reply: text.to_owned(), class }
}

#[cfg(test)]
#[path = "smtp_tests.rs"]
mod tests;
