//! Reading what comes back by mail: delivery status notifications (RFC 3464) and feedback reports (ARF, RFC 5965).
//!
//! Our touch is found in the returned headers (`X-Marquee-Touch`, else the Message-ID), never in the address, so no VERP is needed.

use mail_parser::{Message, MessageParser, MimeHeaders as _, PartType};
use sha2::{Digest as _, Sha256};

use super::bounces::NewBounce;
use super::message::{TOUCH_HEADER, find_touch};
use super::verdict::{BounceClass, classify_permanent};
use crate::platform::Timestamp;
use crate::platform::ids::TouchId;

/// Largest message that is read.
pub const MAX_BYTES: usize = 1 << 20;
/// Most recipients taken from one report.
const MAX_RECIPIENTS: usize = 50;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DsnError {
    #[error("this is {0} bytes; a bounce of at most {MAX_BYTES} is read")]
    TooLarge(usize),
    #[error("this is not a mail")]
    NotMail,
    #[error("this mail is neither a delivery status notification (RFC 3464) nor a feedback report (RFC 5965)")]
    NotReport,
    #[error("the report names no recipient")]
    NoRecipient,
}

/// A part that mail-parser hands out, as text.
struct Part<'a> {
    kind: String,
    text: std::borrow::Cow<'a, str>,
}

fn parts<'a>(message: &'a Message<'a>, depth: usize, found: &mut Vec<Part<'a>>) {
    for part in &message.parts {
        let kind = part
            .content_type()
            .map_or(String::new(), |c| format!("{}/{}", c.ctype(), c.subtype().unwrap_or_default()).to_ascii_lowercase());
        match &part.body {
            PartType::Text(text) | PartType::Html(text) => found.push(Part { kind, text: text.as_ref().into() }),
            PartType::Binary(bytes) | PartType::InlineBinary(bytes) => found.push(Part { kind, text: String::from_utf8_lossy(bytes) }),
            PartType::Message(inner) => {
                let raw = inner.raw_message.as_ref();
                let start = inner.root_part().offset_header as usize;
                let end = inner.root_part().offset_end as usize;
                let text = String::from_utf8_lossy(raw.get(start..end.min(raw.len())).unwrap_or(raw));
                found.push(Part { kind, text });
                if depth < 3 {
                    parts(inner, depth + 1, found);
                }
            }
            PartType::Multipart(_) => {}
        }
    }
}

/// Groups of `Name: value` fields, folded lines joined, groups parted by empty lines.
fn groups(text: &str) -> Vec<Vec<(String, String)>> {
    let mut groups: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for line in text.lines() {
        let Some(group) = groups.last_mut() else { break };
        if line.trim().is_empty() {
            if !group.is_empty() {
                groups.push(Vec::new());
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = group.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            group.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    groups.retain(|g| !g.is_empty());
    groups
}

fn field<'a>(group: &'a [(String, String)], name: &str) -> Option<&'a str> {
    group.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

/// `rfc822; ann@example.test` → `ann@example.test`.
fn address(value: &str) -> Option<String> {
    let text = value.split_once(';').map_or(value, |(_, rest)| rest).trim().trim_matches(['<', '>']).trim();
    (text.contains('@') && !text.contains(char::is_whitespace)).then(|| text.to_owned())
}

/// The touch that the returned mail carries.
fn touch_in(parts: &[Part<'_>]) -> Option<TouchId> {
    let returned = |p: &&Part<'_>| p.kind == "message/rfc822" || p.kind == "text/rfc822-headers" || p.kind == "message/rfc822-headers";
    let of = |name: &str| {
        parts.iter().filter(returned).find_map(|p| {
            let headers = groups(&p.text).into_iter().next()?;
            field(&headers, name).and_then(find_touch)
        })
    };
    of(&TOUCH_HEADER.to_ascii_lowercase())
        .or_else(|| of("message-id"))
        // Some servers return the mail as plain text below their own words.
        .or_else(|| parts.iter().find_map(|p| find_touch(&p.text)))
}

/// Reads a raw mail. One entry per recipient that failed or complained; delayed and delivered ones are none. `at`: when it came.
pub fn parse(raw: &[u8], at: Timestamp) -> Result<Vec<NewBounce>, DsnError> {
    if raw.len() > MAX_BYTES {
        return Err(DsnError::TooLarge(raw.len()));
    }
    let message = MessageParser::default().parse(raw).filter(|m| !m.headers().is_empty()).ok_or(DsnError::NotMail)?;
    let mut found = Vec::new();
    parts(&message, 0, &mut found);
    let touch = touch_in(&found);
    // The same report again, however often it is handed in, is the same.
    let report = message.message_id().map_or_else(|| hex::encode(Sha256::digest(raw)), ToOwned::to_owned);
    if let Some(part) = found.iter().find(|p| p.kind == "message/feedback-report") {
        return complaint(part, &found, touch, &report, at);
    }
    let status = found.iter().find(|p| p.kind == "message/delivery-status" || p.kind == "message/global-delivery-status");
    let status = status.ok_or(DsnError::NotReport)?;
    let mut bounces = Vec::new();
    let mut recipients = 0;
    for group in groups(&status.text) {
        let recipient = ["original-recipient", "final-recipient"].iter().find_map(|name| field(&group, name).and_then(address));
        let Some(email) = recipient else { continue };
        recipients += 1;
        if recipients > MAX_RECIPIENTS {
            break;
        }
        if !field(&group, "action").is_none_or(|a| a.eq_ignore_ascii_case("failed")) {
            continue;
        }
        let diagnostic = field(&group, "diagnostic-code").map(|d| d.split_once(';').map_or(d, |(_, rest)| rest).trim().to_owned());
        let status = field(&group, "status").and_then(|s| s.split_whitespace().next()).map(ToOwned::to_owned);
        if status.as_deref().is_some_and(|s| s.starts_with('2')) {
            continue;
        }
        let class = match status.as_deref() {
            Some(s) if s.starts_with('4') => BounceClass::Soft,
            s => classify_permanent(s, diagnostic.as_deref().unwrap_or_default()),
        };
        bounces.push(NewBounce {
            touch,
            source_key: format!("dsn:{report}:{}", email.to_lowercase()),
            email,
            class,
            status,
            diagnostic,
            at,
        });
    }
    if recipients == 0 { Err(DsnError::NoRecipient) } else { Ok(bounces) }
}

/// ARF: who complained. Mail services often blank the recipient; then the returned mail's To is what there is.
fn complaint(part: &Part<'_>, found: &[Part<'_>], touch: Option<TouchId>, report: &str, at: Timestamp) -> Result<Vec<NewBounce>, DsnError> {
    let fields: Vec<(String, String)> = groups(&part.text).into_iter().flatten().collect();
    let kind = field(&fields, "feedback-type").unwrap_or("abuse").to_ascii_lowercase();
    if kind == "not-spam" {
        return Ok(Vec::new());
    }
    let returned_to = || {
        let headers = found.iter().find(|p| p.kind == "message/rfc822" || p.kind == "text/rfc822-headers")?;
        let headers = groups(&headers.text).into_iter().next()?;
        let to = field(&headers, "to")?;
        let inner = to.rsplit_once('<').map_or(to, |(_, rest)| rest).trim_end_matches('>');
        address(inner)
    };
    let email = field(&fields, "original-rcpt-to").and_then(address).or_else(returned_to).ok_or(DsnError::NoRecipient)?;
    Ok(vec![NewBounce {
        touch,
        source_key: format!("arf:{report}:{}", email.to_lowercase()),
        email,
        class: BounceClass::Complaint,
        status: None,
        diagnostic: Some(kind),
        at,
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_secs(1_768_478_400);
    const TOUCH: &str = "tch_0190aaaabbbb7ccc8dddeeeeffff0001";

    fn dsn(recipients: &str, returned: &str) -> String {
        format!(
            "From: MAILER-DAEMON@mx.example.test\r\nTo: shop@example.test\r\nSubject: Undelivered Mail Returned to Sender\r\nMessage-ID: <x1@mx.example.test>\r\n\
             MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n\
             --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.test\r\nArrival-Date: Thu, 15 Jan 2026 12:00:00 +0000\r\n\r\n{recipients}\r\n\
             --b\r\n{returned}\r\n--b--\r\n"
        )
    }
    fn returned(kind: &str) -> String {
        format!(
            "Content-Type: {kind}\r\n\r\nReceived: from x\r\nMessage-ID: <{TOUCH}@example.test>\r\nTo: Ann <ann@example.com>\r\nSubject: Tea\r\n\r\nBody\r\n"
        )
    }
    const FAILED: &str = "Final-Recipient: rfc822; Ann@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 <Ann@example.com>:\r\n  user unknown\r\n";

    #[test]
    fn a_failed_recipient_and_its_touch_are_found() {
        for kind in ["message/rfc822", "text/rfc822-headers"] {
            let bounces = parse(dsn(FAILED, &returned(kind)).as_bytes(), AT).expect("a report");
            assert_eq!(bounces.len(), 1);
            let b = &bounces[0];
            assert_eq!((b.email.as_str(), b.class, b.status.as_deref()), ("Ann@example.com", BounceClass::Hard, Some("5.1.1")));
            assert_eq!(b.touch.map(|t| t.to_string()).as_deref(), Some(TOUCH), "{kind}");
            assert_eq!(b.diagnostic.as_deref(), Some("550 5.1.1 <Ann@example.com>: user unknown"));
            assert_eq!(b.source_key, "dsn:x1@mx.example.test:ann@example.com");
        }
    }

    #[test]
    fn delays_deliveries_and_full_mailboxes_condemn_nobody() {
        let three = "Final-Recipient: rfc822; a@example.com\r\nAction: delayed\r\nStatus: 4.4.1\r\n\r\n\
                     Final-Recipient: rfc822; b@example.com\r\nAction: delivered\r\nStatus: 2.1.5\r\n\r\n\
                     Final-Recipient: rfc822; c@example.com\r\nAction: failed\r\nStatus: 5.2.2\r\nDiagnostic-Code: smtp; 552 mailbox full\r\n\r\n\
                     Final-Recipient: rfc822; d@example.com\r\nAction: failed\r\nStatus: 4.4.7\r\n";
        let bounces = parse(dsn(three, &returned("message/rfc822")).as_bytes(), AT).expect("a report");
        let got: Vec<(&str, BounceClass)> = bounces.iter().map(|b| (b.email.as_str(), b.class)).collect();
        assert_eq!(got, [("c@example.com", BounceClass::Soft), ("d@example.com", BounceClass::Soft)]);
    }

    #[test]
    fn a_complaint_is_found_with_and_without_its_recipient() {
        let arf = |recipient: &str| {
            format!(
                "From: fbl@example.net\r\nMessage-ID: <f1@example.net>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n\
                 --b\r\nContent-Type: text/plain\r\n\r\nAbuse.\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: X/1\r\nVersion: 1\r\n{recipient}\r\n\
                 --b\r\n{}\r\n--b--\r\n",
                returned("message/rfc822")
            )
        };
        for recipient in ["Original-Rcpt-To: <ann@example.com>\r\n", ""] {
            let bounces = parse(arf(recipient).as_bytes(), AT).expect("a report");
            assert_eq!((bounces[0].email.as_str(), bounces[0].class), ("ann@example.com", BounceClass::Complaint));
            assert_eq!(bounces[0].touch.map(|t| t.to_string()).as_deref(), Some(TOUCH));
        }
        assert_eq!(parse(arf("").replace("Feedback-Type: abuse", "Feedback-Type: not-spam").as_bytes(), AT), Ok(vec![]));
    }

    #[test]
    fn other_mails_and_rubbish_are_told_apart() {
        assert_eq!(parse(b"", AT), Err(DsnError::NotMail));
        assert_eq!(parse(b"Subject: out of office\r\n\r\nBack on Monday.\r\n", AT), Err(DsnError::NotReport));
        assert_eq!(parse(dsn("X: y\r\n", &returned("message/rfc822")).as_bytes(), AT), Err(DsnError::NoRecipient));
        assert_eq!(parse(&vec![b'x'; MAX_BYTES + 1], AT), Err(DsnError::TooLarge(MAX_BYTES + 1)));
        for n in 0..400 {
            let whole = dsn(FAILED, &returned("message/rfc822"));
            let _ = parse(&whole.as_bytes()[..whole.len().min(n * 4)], AT);
        }
    }

    #[test]
    fn a_report_without_returned_headers_still_counts() {
        let bounces = parse(dsn(FAILED, "Content-Type: text/plain\r\n\r\nnothing\r\n").as_bytes(), AT).expect("a report");
        assert_eq!((bounces.len(), bounces[0].touch), (1, None));
    }
}
