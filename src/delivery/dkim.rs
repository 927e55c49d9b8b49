//! DKIM (RFC 6376, ed25519 by RFC 8463): signs the finished bytes of a message, relaxed/relaxed, and prints the record to publish.
//!
//! Our own signer rather than the mail library's, because that one takes its time from the system clock, hashes the body once per key,
//! and reads neither PKCS#8 keys nor signs a header list that forbids additions.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, spki::der::pem::LineEnding};
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::EncodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use sha2::{Digest as _, Sha256};

use crate::platform::Timestamp;
use crate::platform::config::DkimConfig;

/// The headers that are covered, each where it is present. From and Subject are named twice: a second one added on the way breaks the
/// signature (RFC 6376, 8.15).
const SIGNED: [&str; 14] = [
    "from",
    "from",
    "reply-to",
    "to",
    "subject",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "feedback-id",
];

#[derive(Debug, thiserror::Error)]
pub enum DkimError {
    #[error("{file} cannot be read: {source}")]
    Unreadable { file: String, source: std::io::Error },
    #[error("{file} holds no private key that can sign: PEM with PKCS#8 (ed25519, RSA) or PKCS#1 (RSA) is wanted")]
    Key { file: String },
    #[error("{file} holds an RSA key of {bits} bits; receivers reject fewer than 1024 and 2048 is the usual size")]
    Short { file: String, bits: usize },
    #[error("mail.dkim: “{0}” is not a name that fits a DNS label or domain")]
    Name(String),
    #[error("making a key failed: {0}")]
    Generate(String),
}

enum Key {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    Rsa(Box<RsaPrivateKey>),
}

impl Key {
    fn parse(pem: &str) -> Option<Self> {
        if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_pem(pem) {
            return Some(Self::Ed25519(Box::new(key)));
        }
        RsaPrivateKey::from_pkcs8_pem(pem)
            .or_else(|_| RsaPrivateKey::from_pkcs1_pem(pem).map_err(|_| ()))
            .ok()
            .map(|k| Self::Rsa(Box::new(k)))
    }
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "ed25519",
            Self::Rsa(_) => "rsa",
        }
    }
    fn sign(&self, hash: &[u8]) -> Result<Vec<u8>, rsa::Error> {
        match self {
            Self::Ed25519(key) => Ok(key.sign(hash).to_bytes().to_vec()),
            Self::Rsa(key) => key.sign(Pkcs1v15Sign::new::<Sha256>(), hash),
        }
    }
    fn public(&self) -> Option<String> {
        match self {
            Self::Ed25519(key) => Some(STANDARD.encode(key.verifying_key().to_bytes())),
            Self::Rsa(key) => key.to_public_key().to_public_key_der().ok().map(|der| STANDARD.encode(der.as_bytes())),
        }
    }
}

/// One signature: a key, and where its record is published.
pub struct DkimKey {
    selector: String,
    domain: String,
    key: Key,
}

impl std::fmt::Debug for DkimKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DkimKey({}, {})", self.record_name(), self.key.algorithm())
    }
}

fn dns_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|l| !l.is_empty() && l.len() <= 63 && l.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)))
}

impl DkimKey {
    pub fn load(config: &DkimConfig) -> Result<Self, DkimError> {
        let file = config.key_file.display().to_string();
        let pem = std::fs::read_to_string(&config.key_file).map_err(|source| DkimError::Unreadable { file: file.clone(), source })?;
        Self::from_pem(&config.selector, &config.domain, &pem, &file)
    }

    /// `file` is only for messages.
    pub fn from_pem(selector: &str, domain: &str, pem: &str, file: &str) -> Result<Self, DkimError> {
        for name in [selector, domain] {
            if !dns_name(name) {
                return Err(DkimError::Name(name.to_owned()));
            }
        }
        let key = Key::parse(pem).ok_or_else(|| DkimError::Key { file: file.to_owned() })?;
        if let Key::Rsa(rsa) = &key
            && rsa.size() < 128
        {
            return Err(DkimError::Short { file: file.to_owned(), bits: rsa.size() * 8 });
        }
        Ok(Self { selector: selector.to_owned(), domain: domain.to_owned(), key })
    }

    /// Where the TXT record goes.
    pub fn record_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }
    /// What the TXT record says.
    pub fn record_value(&self) -> String {
        format!("v=DKIM1; k={}; p={}", self.key.algorithm(), self.key.public().unwrap_or_default())
    }
    /// The record as a zone file wants it: strings of at most 255 characters.
    pub fn zone_line(&self) -> String {
        let value = self.record_value();
        let strings: Vec<String> = value.as_bytes().chunks(250).map(|c| format!("\"{}\"", String::from_utf8_lossy(c))).collect();
        format!("{}. IN TXT ( {} )", self.record_name(), strings.join(" "))
    }
}

/// Which key to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum KeyKind {
    Ed25519,
    Rsa,
}

/// A new private key as PKCS#8 PEM.
pub fn generate(kind: KeyKind) -> Result<String, DkimError> {
    let why = |e: &dyn std::fmt::Display| DkimError::Generate(e.to_string());
    let mut rng = rand_core::OsRng;
    let pem = match kind {
        KeyKind::Ed25519 => ed25519_dalek::SigningKey::generate(&mut rng).to_pkcs8_pem(LineEnding::LF).map_err(|e| why(&e))?,
        KeyKind::Rsa => RsaPrivateKey::new(&mut rng, 2048).map_err(|e| why(&e))?.to_pkcs8_pem(LineEnding::LF).map_err(|e| why(&e))?,
    };
    Ok(pem.to_string())
}

/// Writes a private key where only its owner may read it; never over a file that is there.
pub fn write_key(path: &Path, pem: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(pem.as_bytes())
}

/// Puts one `DKIM-Signature` per key before a message (CRLF lines, headers, empty line, body).
pub fn sign(keys: &[DkimKey], message: Vec<u8>, at: Timestamp) -> Result<Vec<u8>, DkimError> {
    if keys.is_empty() {
        return Ok(message);
    }
    let split = find(&message, b"\r\n\r\n").map_or(message.len(), |i| i + 2);
    let body = message.get(split + 2..).unwrap_or_default();
    let body_hash = STANDARD.encode(Sha256::digest(relaxed_body(body)));
    let headers = fields(&message[..split]);
    let (names, canonical) = covered(&headers);
    let mut out = Vec::with_capacity(message.len() + keys.len() * 900);
    for key in keys {
        let mut field = format!(
            "DKIM-Signature: v=1; a={}-sha256; c=relaxed/relaxed; d={}; s={};\r\n\tt={}; h={};\r\n\tbh={body_hash};\r\n\tb=",
            key.key.algorithm(),
            key.domain,
            key.selector,
            at.micros() / 1_000_000,
            names.join(":\r\n\t "),
        );
        let mut hash = Sha256::new();
        hash.update(canonical.as_bytes());
        hash.update(relaxed_field(&field).as_bytes());
        let signature = key.key.sign(&hash.finalize()).map_err(|e| DkimError::Generate(e.to_string()))?;
        let signature = STANDARD.encode(signature);
        for (i, line) in signature.as_bytes().chunks(72).enumerate() {
            if i > 0 {
                field.push_str("\r\n\t ");
            }
            field.push_str(&String::from_utf8_lossy(line));
        }
        out.extend_from_slice(field.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(&message);
    Ok(out)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

/// The header fields, folded lines kept together, without their last CRLF.
fn fields(block: &[u8]) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for line in String::from_utf8_lossy(block).split("\r\n").filter(|l| !l.is_empty()) {
        match fields.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => {
                last.push_str("\r\n");
                last.push_str(line);
            }
            _ => fields.push(line.to_owned()),
        }
    }
    fields
}

/// The names for `h=` and the canonical fields, in that order. Of a repeated name the last field is taken first (RFC 6376, 5.4.2); a name
/// without a field left stands for "and no more of these".
fn covered(headers: &[String]) -> (Vec<&'static str>, String) {
    let mut names = Vec::new();
    let mut canonical = String::new();
    for (i, name) in SIGNED.iter().enumerate() {
        let nth = SIGNED[..i].iter().filter(|n| *n == name).count();
        let mut same = headers.iter().rev().filter(|f| f.split_once(':').is_some_and(|(n, _)| n.trim().eq_ignore_ascii_case(name)));
        match same.nth(nth) {
            Some(field) => {
                names.push(*name);
                canonical.push_str(&relaxed_field(field));
                canonical.push_str("\r\n");
            }
            None if names.contains(name) => names.push(*name),
            None => {}
        }
    }
    (names, canonical)
}

/// RFC 6376, 3.4.2: lower-case name, unfolded, runs of blanks as one space, none at the ends.
fn relaxed_field(field: &str) -> String {
    let (name, value) = field.split_once(':').unwrap_or((field, ""));
    let mut out = name.trim().to_ascii_lowercase();
    out.push(':');
    let words = value.split([' ', '\t', '\r', '\n']).filter(|w| !w.is_empty());
    for (i, word) in words.enumerate() {
        if i > 0 {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// RFC 6376, 3.4.4: blanks at line ends gone, runs of blanks as one space, no empty lines at the end.
fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for line in body.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut blank = false;
        for &b in line {
            if b == b' ' || b == b'\t' {
                blank = true;
                continue;
            }
            if blank {
                out.push(b' ');
                blank = false;
            }
            out.push(b);
        }
        out.extend_from_slice(b"\r\n");
    }
    while out.ends_with(b"\r\n\r\n") {
        out.truncate(out.len() - 2);
    }
    if out == b"\r\n" {
        out.clear();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 6376, 3.4.5.
    #[test]
    fn canonical_forms_are_those_of_the_standard() {
        assert_eq!(relaxed_field("A: X"), "a:X");
        assert_eq!(relaxed_field("B : Y\t\r\n\tZ  "), "b:Y Z");
        assert_eq!(relaxed_body(b" C \r\nD \t E\r\n\r\n\r\n"), b" C\r\nD E\r\n");
        assert_eq!(relaxed_body(b"\r\n\r\n"), b"");
        assert_eq!(relaxed_body(b"no end"), b"no end\r\n");
    }

    #[test]
    fn both_kinds_of_key_come_back_and_print_their_record() {
        for (kind, k, chars) in [(KeyKind::Ed25519, "ed25519", 44), (KeyKind::Rsa, "rsa", 392)] {
            let pem = generate(kind).expect("made");
            let key = DkimKey::from_pem("mq1", "example.test", &pem, "x").expect("read");
            assert_eq!(key.record_name(), "mq1._domainkey.example.test");
            let value = key.record_value();
            let public = value.strip_prefix(&format!("v=DKIM1; k={k}; p=")).expect("form");
            assert_eq!(public.len(), chars);
            assert!(!format!("{key:?}").contains(&pem[40..60]));
            assert!(key.zone_line().split('"').all(|s| s.len() <= 255));
        }
        assert!(matches!(DkimKey::from_pem("mq1", "example.test", "nonsense", "x"), Err(DkimError::Key { .. })));
        assert!(matches!(DkimKey::from_pem("a b", "example.test", "", "x"), Err(DkimError::Name(_))));
    }

    #[test]
    fn a_second_from_header_is_forbidden_and_absent_ones_are_not_named() {
        let message = b"From: a@example.test\r\nTo: b@example.test\r\n\r\nhi\r\n".to_vec();
        let key = DkimKey::from_pem("s", "example.test", &generate(KeyKind::Ed25519).expect("made"), "x").expect("read");
        let signed = String::from_utf8(sign(&[key], message.clone(), Timestamp::from_secs(1_768_478_400)).expect("signed")).expect("text");
        assert!(signed.ends_with(std::str::from_utf8(&message).expect("text")));
        let h: String = signed.split("h=").nth(1).expect("h").split(';').next().expect("end").split_whitespace().collect();
        assert_eq!(h, "from:from:to");
        assert!(signed.contains("t=1768478400;"));
        assert!(signed.lines().all(|l| l.len() <= 120));
    }
}
