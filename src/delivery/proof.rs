//! A proof: a campaign's mail to one of the shop's own users, as it would look. No touch, no tracking, and nobody's figures.

use std::time::{Duration, UNIX_EPOCH};

use lettre::Address;
use lettre::message::{Mailbox, Message, MultiPart};

use super::dkim;
use super::message::{Built, MessageError, Sender, plain};
use super::notify::NotifyError;
use super::smtp::{Outcome, Pool};
use crate::creative::RenderedEmail;
use crate::platform::{Platform, Timestamp};

impl Sender {
    /// Builds and signs a proof.
    fn build_proof(&self, id: &str, to: &str, subject: &str, mail: &RenderedEmail, at: Timestamp) -> Result<Built, MessageError> {
        let to: Address = to.parse().map_err(|_| MessageError::Recipient)?;
        let seconds = u64::try_from(at.micros() / 1_000_000).unwrap_or(0);
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to.clone()))
            .subject(plain(subject, 250))
            .date(UNIX_EPOCH + Duration::from_secs(seconds))
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .multipart(MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone()))?;
        Ok(Built { to, bytes: dkim::sign(&self.keys, message.formatted(), at)? })
    }
}

/// Sends a proof now, trying each server once. Returns the server's answer.
pub async fn send_proof(platform: &Platform, to: &str, subject: &str, mail: &RenderedEmail) -> Result<String, NotifyError> {
    let config = super::mail_config(platform).await?;
    if config.mail.servers.is_empty() {
        return Err(NotifyError::NoServer);
    }
    let sender = Sender::load(&config)?;
    let id = format!("proof_{}", crate::platform::ids::uuid_v7(platform.now()).simple());
    let built = sender.build_proof(&id, to, subject, mail, platform.now())?;
    let pool = Pool::new(&config.mail).map_err(|e| NotifyError::Server(e.to_string()))?;
    let mut last = String::new();
    for server in 0..pool.servers().len() {
        match pool.send(server, sender.address(), &built.to, &built.bytes).await {
            Outcome::Sent { reply } => {
                pool.close().await;
                return Ok(reply);
            }
            // It may have arrived: another copy would be worse than none.
            Outcome::Uncertain { why } => return Err(NotifyError::Refused(why)),
            Outcome::Deferred { code, reply } | Outcome::Failed { code, reply, .. } => last = format!("{code} {reply}"),
            Outcome::NotSent { why, .. } => last = why,
        }
    }
    Err(NotifyError::Refused(last))
}
