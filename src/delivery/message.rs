//! From a rendered e-mail to the bytes that go over the wire: MIME, the headers that bulk senders owe, DKIM.

use std::time::{Duration, UNIX_EPOCH};

use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};

use super::dkim::{self, DkimError, DkimKey};
use crate::platform::Timestamp;
use crate::platform::config::Config;
use crate::platform::ids::{CampaignId, TouchId, VariantId};

/// Carries the touch through servers that rewrite the Message-ID, and back in a bounce.
pub const TOUCH_HEADER: &str = "X-Marquee-Touch";
/// Longest subject that goes out; RFC 5322 lines end at 998.
const MAX_SUBJECT_CHARS: usize = 250;

#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    #[error("“mail.from_address” is not an address: set it before sending")]
    Sender,
    #[error("“mail.reply_to” is not an address")]
    ReplyTo,
    #[error("the recipient's address is not one that mail can be sent to")]
    Recipient,
    #[error("the message cannot be put together: {0}")]
    Build(#[from] lettre::error::Error),
    #[error(transparent)]
    Dkim(#[from] DkimError),
}

/// What is the same in every mail of this shop.
pub struct Sender {
    pub(super) from: Mailbox,
    reply_to: Option<Mailbox>,
    list_id: String,
    pub(super) keys: Vec<DkimKey>,
}

/// One mail to be built.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    pub touch: TouchId,
    pub campaign: CampaignId,
    pub variant: Option<VariantId>,
    /// A campaign's own sender; the shop's where absent. The envelope, and so bounces, stay with the shop's.
    pub from: Option<MailFrom<'a>>,
    pub to: &'a str,
    pub to_name: Option<&'a str>,
    pub subject: &'a str,
    pub html: &'a str,
    pub text: &'a str,
    /// Where a POST unsubscribes (RFC 8058); https in earnest.
    pub unsubscribe_url: &'a str,
    pub at: Timestamp,
}

/// Who a mail says it is from.
#[derive(Clone, Copy, Debug)]
pub struct MailFrom<'a> {
    pub name: &'a str,
    pub address: &'a str,
    pub reply_to: Option<&'a str>,
}

/// A message ready for SMTP.
#[derive(Clone, Debug)]
pub struct Built {
    pub to: Address,
    pub bytes: Vec<u8>,
}

/// Text without line breaks and other control characters: nothing that comes from data can begin a header of its own.
pub(super) fn plain(text: &str, most: usize) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(most).collect()
}

/// The part after the @, for Message-ID and List-Id.
fn domain(mailbox: &Mailbox) -> &str {
    mailbox.email.domain()
}

/// `<tch_…@domain>`: the same for every attempt of a touch, so that a receiver can tell a second copy.
pub fn message_id(touch: TouchId, domain: &str) -> String {
    format!("<{touch}@{domain}>")
}

/// Where `text` names a touch (`tch_` and 32 hex digits), as Message-IDs and the touch header do.
pub fn find_touch(text: &str) -> Option<TouchId> {
    text.match_indices("tch_").find_map(|(at, _)| text.get(at..at + 36)?.parse().ok())
}

impl Sender {
    /// Reads sender and keys from the configuration; an error says what to set.
    pub fn load(config: &Config) -> Result<Self, MessageError> {
        let keys = config.mail.dkim.iter().map(DkimKey::load).collect::<Result<Vec<_>, _>>()?;
        Self::new(config, keys)
    }

    pub fn new(config: &Config, keys: Vec<DkimKey>) -> Result<Self, MessageError> {
        let mail = &config.mail;
        let name = if mail.from_name.is_empty() { &config.shop.name } else { &mail.from_name };
        let email: Address = mail.from_address.parse().map_err(|_| MessageError::Sender)?;
        let from = Mailbox::new(Some(plain(name, 100)).filter(|n| !n.is_empty()), email);
        let reply_to = match &mail.reply_to {
            Some(text) => Some(Mailbox::new(None, text.parse().map_err(|_| MessageError::ReplyTo)?)),
            None => None,
        };
        let list_id = format!("<offers.{}>", domain(&from));
        Ok(Self { from, reply_to, list_id, keys })
    }

    /// The envelope sender: bounces come back to it.
    pub fn address(&self) -> &Address {
        &self.from.email
    }

    /// Builds and signs. The same input gives the same bytes.
    pub fn build(&self, mail: &Outgoing<'_>) -> Result<Built, MessageError> {
        let to: Address = mail.to.parse().map_err(|_| MessageError::Recipient)?;
        let recipient = Mailbox::new(mail.to_name.map(|n| plain(n, 100)).filter(|n| !n.is_empty()), to.clone());
        let (from, reply_to) = match mail.from {
            None => (self.from.clone(), self.reply_to.clone()),
            Some(own) => {
                let email: Address = own.address.parse().map_err(|_| MessageError::Sender)?;
                let reply_to = own.reply_to.map(str::parse).transpose().map_err(|_| MessageError::ReplyTo)?;
                (Mailbox::new(Some(plain(own.name, 100)).filter(|n| !n.is_empty()), email), reply_to.map(|a| Mailbox::new(None, a)))
            }
        };
        let seconds = u64::try_from(mail.at.micros() / 1_000_000).unwrap_or(0);
        let mut builder = Message::builder()
            .from(from)
            .to(recipient)
            .subject(plain(mail.subject, MAX_SUBJECT_CHARS))
            .date(UNIX_EPOCH + Duration::from_secs(seconds))
            .message_id(Some(message_id(mail.touch, domain(&self.from))));
        if let Some(reply_to) = reply_to {
            builder = builder.reply_to(reply_to);
        }
        let alternative = MultiPart::alternative()
            .boundary(format!("mq_{}", mail.touch.0.simple()))
            .singlepart(SinglePart::builder().header(ContentType::TEXT_PLAIN).body(mail.text.to_owned()))
            .singlepart(SinglePart::builder().header(ContentType::TEXT_HTML).body(mail.html.to_owned()));
        let mut message = builder.multipart(alternative)?;
        let variant = mail.variant.map_or_else(|| "-".to_owned(), |v| v.to_string());
        let headers = message.headers_mut();
        for (name, value) in [
            ("List-Id", self.list_id.clone()),
            ("List-Unsubscribe", format!("<{}>", plain(mail.unsubscribe_url, 900))),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()),
            ("Feedback-ID", format!("{}:{variant}:offers:{}", mail.campaign, domain(&self.from))),
            (TOUCH_HEADER, mail.touch.to_string()),
        ] {
            // Our own ASCII, which must not be folded or encoded.
            headers.insert_raw(HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), value.clone(), value));
        }
        let bytes = dkim::sign(&self.keys, message.formatted(), mail.at)?;
        Ok(Built { to, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::MessageParser;

    fn config() -> Config {
        let mut config = Config::default();
        config.mail.from_address = "shop@example.test".into();
        config.mail.from_name = "Müller & Söhne".into();
        config.mail.reply_to = Some("help@example.test".into());
        config
    }
    fn outgoing(touch: TouchId) -> Outgoing<'static> {
        Outgoing {
            touch,
            campaign: CampaignId(3),
            variant: Some(VariantId(2)),
            from: None,
            to: "ann@example.com",
            to_name: Some("Ann"),
            subject: "Neu für dich: 红茶 ☕",
            html: "<p>Tee für dich\u{2009}…</p>\r\n<p>.dot</p>",
            text: "Tee für dich\n.dot",
            unsubscribe_url: "https://shop.example.test/u/abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz-_0123456789",
            at: Timestamp::from_secs(1_768_478_400),
        }
    }

    #[test]
    fn says_what_a_bulk_sender_owes_and_reads_back() {
        let touch = TouchId::new(Timestamp::from_secs(1_768_478_400));
        let sender = Sender::new(&config(), Vec::new()).expect("sender");
        let built = sender.build(&outgoing(touch)).expect("built");
        assert_eq!(built.bytes, sender.build(&outgoing(touch)).expect("built").bytes, "not repeatable");
        let raw = String::from_utf8(built.bytes.clone()).expect("ascii");
        assert!(raw.is_ascii() && raw.lines().all(|l| l.len() <= 998));
        for line in [
            format!("Message-ID: <{touch}@example.test>"),
            format!("List-Unsubscribe: <{}>", outgoing(touch).unsubscribe_url),
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click".into(),
            "List-Id: <offers.example.test>".into(),
            "Feedback-ID: cmp_3:var_2:offers:example.test".into(),
            format!("{TOUCH_HEADER}: {touch}"),
            "Date: Thu, 15 Jan 2026 12:00:00 +0000".into(),
        ] {
            assert!(raw.contains(&format!("{line}\r\n")), "{line} is not in\n{raw}");
        }
        let parsed = MessageParser::default().parse(&built.bytes).expect("parses");
        assert_eq!(parsed.subject(), Some(outgoing(touch).subject));
        assert_eq!(parsed.from().and_then(|f| f.first()).and_then(|a| a.name()), Some("Müller & Söhne"));
        assert_eq!(parsed.body_html(0).expect("html").trim_end(), outgoing(touch).html);
        assert_eq!(parsed.body_text(0).expect("text").trim_end().replace("\r\n", "\n"), outgoing(touch).text);
        assert_eq!(find_touch(parsed.message_id().expect("id")), Some(touch));
    }

    #[test]
    fn nothing_in_the_data_can_begin_a_header() {
        let touch = TouchId::new(Timestamp::from_secs(1_768_478_400));
        let sender = Sender::new(&config(), Vec::new()).expect("sender");
        let mut mail = outgoing(touch);
        mail.subject = "Hi\r\nBcc: x@example.test\r\n\r\n<script>\u{2028}\0";
        mail.to_name = Some("Ann\r\nBcc: y@example.test\n");
        mail.unsubscribe_url = "https://x\r\nBcc: z@example.test";
        let built = sender.build(&mail).expect("built");
        let raw = String::from_utf8(built.bytes.clone()).expect("ascii");
        assert!(!raw.lines().any(|l| l.to_ascii_lowercase().starts_with("bcc:")), "{raw}");
        let parsed = MessageParser::default().parse(&built.bytes).expect("parses");
        assert_eq!(parsed.subject(), Some("Hi Bcc: x@example.test <script>"));
        for bad in [
            "ann@example.com\r\nBcc: x@example.test",
            "a b@example.com",
            "ann",
            "",
            "<ann@example.com>",
            "ann@example.com, bob@example.com",
        ] {
            mail.to = bad;
            assert!(matches!(sender.build(&mail), Err(MessageError::Recipient)), "{bad:?}");
        }
    }

    #[test]
    fn tells_what_to_set() {
        assert!(matches!(Sender::new(&Config::default(), Vec::new()), Err(MessageError::Sender)));
        let mut config = config();
        config.mail.reply_to = Some("nobody".into());
        assert!(matches!(Sender::new(&config, Vec::new()), Err(MessageError::ReplyTo)));
    }

    #[test]
    fn finds_a_touch_in_what_comes_back() {
        let touch = TouchId::new(Timestamp::from_secs(1_768_478_400));
        assert_eq!(find_touch(&format!("Message-ID: <{touch}@example.test>")), Some(touch));
        assert_eq!(find_touch(&format!("tch_short tch_{} {touch}", "z".repeat(32))), Some(touch));
        assert_eq!(find_touch("tch_"), None);
    }
}
