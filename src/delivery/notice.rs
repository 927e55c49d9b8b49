//! Mails of the shop to its own people (a report, an invitation): signed like all others, but no campaign, no touch and no tracking.

use std::time::{Duration, UNIX_EPOCH};

use lettre::Address;
use lettre::message::header::ContentType;
use lettre::message::{Attachment as Part, Mailbox, Message, MultiPart, SinglePart};

use super::dkim;
use super::message::{Built, MessageError, Sender, plain};
use super::smtp::{Outcome, Pool};
use crate::platform::{Platform, Timestamp};

/// A file that goes with a mail.
#[derive(Clone, Copy, Debug)]
pub struct Attachment<'a> {
    pub name: &'a str,
    pub media_type: &'a str,
    pub bytes: &'a [u8],
}

/// A mail to one person of the shop.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// The left part of the Message-ID: the same mail sent again has the same.
    pub id: &'a str,
    pub to: &'a str,
    pub subject: &'a str,
    pub text: &'a str,
    pub attachment: Option<Attachment<'a>>,
}

impl Sender {
    /// Builds and signs a notice.
    pub fn build_notice(&self, notice: &Notice<'_>, at: Timestamp) -> Result<Built, MessageError> {
        let to: Address = notice.to.parse().map_err(|_| MessageError::Recipient)?;
        let seconds = u64::try_from(at.micros() / 1_000_000).unwrap_or(0);
        let builder = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to.clone()))
            .subject(plain(notice.subject, 200))
            .date(UNIX_EPOCH + Duration::from_secs(seconds))
            .message_id(Some(format!("<{}@{}>", notice.id, self.from.email.domain())));
        let text = SinglePart::builder().header(ContentType::TEXT_PLAIN).body(notice.text.to_owned());
        let message = match notice.attachment {
            None => builder.singlepart(text)?,
            Some(file) => {
                let media = ContentType::parse(file.media_type).unwrap_or(ContentType::TEXT_PLAIN);
                let part = Part::new(file.name.to_owned()).body(file.bytes.to_vec(), media);
                builder.multipart(MultiPart::mixed().singlepart(text).singlepart(part))?
            }
        };
        Ok(Built { to, bytes: dkim::sign(&self.keys, message.formatted(), at)? })
    }
}

/// Sends a notice through the first mail server that takes it. An error says why none did.
pub async fn send_notice(platform: &Platform, notice: Notice<'_>) -> anyhow::Result<()> {
    let sender = Sender::load(&*super::mail_config(platform).await?)?;
    let built = sender.build_notice(&notice, platform.now())?;
    let pool = Pool::new(&platform.config.mail)?;
    anyhow::ensure!(!pool.servers().is_empty(), "mail.servers is empty: there is no mail server to send through");
    let mut why = String::new();
    for server in 0..pool.servers().len() {
        let outcome = pool.send(server, sender.address(), &built.to, &built.bytes).await;
        match outcome {
            Outcome::Sent { .. } => {
                pool.close().await;
                return Ok(());
            }
            // Nobody knows whether it arrived; the Message-ID is the same if it is sent again.
            Outcome::Uncertain { why: reason } | Outcome::NotSent { why: reason, .. } => why = reason,
            Outcome::Deferred { reply, .. } | Outcome::Failed { reply, .. } => why = reply,
        }
    }
    pool.close().await;
    anyhow::bail!("the mail was not sent: {}", super::bounces::without_addresses(&why))
}
