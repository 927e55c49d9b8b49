//! Signed tokens: short, self-contained, bound to a purpose. What a link or a tag carries instead of an address.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Bytes of HMAC-SHA256 kept in a token: 128 bits, beyond any online guessing.
const TAG_BYTES: usize = 16;
/// No token of ours is longer; anything longer is refused before it is decoded.
pub const MAX_TOKEN_CHARS: usize = 1024;

/// Signs and opens tokens. Keys are derived per purpose, so that a click token never passes as an unsubscribe token.
#[derive(Clone)]
pub struct Signer {
    secret: [u8; 32],
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    for part in parts {
        mac.update(part);
    }
    mac
}

impl Signer {
    pub fn new(secret: &[u8; 32]) -> Self {
        Self { secret: *secret }
    }
    fn key(&self, purpose: &str) -> [u8; 32] {
        hmac(&self.secret, &[b"marquee/", purpose.as_bytes()]).finalize().into_bytes().into()
    }
    /// 32 bytes that only this shop can derive, for a named use (a stable hash, an HMAC of another format).
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        self.key(purpose)
    }
    /// A keyed hash of a text, for a named use: recognises it again, and tells nobody who lacks the secret what it was.
    pub fn digest(&self, purpose: &str, text: &[u8]) -> [u8; 32] {
        hmac(&self.key(purpose), &[text]).finalize().into_bytes().into()
    }
    /// base64url(payload ‖ tag), no padding.
    pub fn sign(&self, purpose: &str, payload: &[u8]) -> String {
        let tag = hmac(&self.key(purpose), &[payload]).finalize().into_bytes();
        let mut bytes = Vec::with_capacity(payload.len() + TAG_BYTES);
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(&tag[..TAG_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }
    /// A key of one purpose, ready to use: signs without deriving it anew each time.
    pub fn sealer(&self, purpose: &str) -> Sealer {
        Sealer { mac: hmac(&self.key(purpose), &[]) }
    }
    /// The payload of a token signed for this purpose; `None` for anything forged, cut, re-purposed or overlong.
    pub fn open(&self, purpose: &str, token: &str) -> Option<Vec<u8>> {
        if token.len() > MAX_TOKEN_CHARS {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let at = bytes.len().checked_sub(TAG_BYTES)?;
        let tag = bytes.split_off(at);
        hmac(&self.key(purpose), &[&bytes]).verify_truncated_left(&tag).ok()?;
        Some(bytes)
    }
}

/// The state of a keyed HMAC, for paths that sign or hash thousands of times a second. Tokens are those of [`Signer::sign`].
#[derive(Clone)]
pub struct Sealer {
    mac: Hmac<Sha256>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(…)")
    }
}

impl Sealer {
    /// The keyed hash of these bytes.
    pub fn digest(&self, payload: &[u8]) -> [u8; 32] {
        let mut mac = self.mac.clone();
        mac.update(payload);
        mac.finalize().into_bytes().into()
    }
    /// Appends base64url(payload ‖ tag). A payload has at most 112 bytes.
    pub fn sign_into(&self, payload: &[u8], out: &mut Vec<u8>) {
        let mut bytes = [0_u8; 128];
        let n = payload.len().min(128 - TAG_BYTES);
        bytes[..n].copy_from_slice(&payload[..n]);
        bytes[n..n + TAG_BYTES].copy_from_slice(&self.digest(&payload[..n])[..TAG_BYTES]);
        let mut text = [0_u8; 172];
        let written = URL_SAFE_NO_PAD.encode_slice(&bytes[..n + TAG_BYTES], &mut text).unwrap_or(0);
        out.extend_from_slice(&text[..written]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealer_signs_what_the_signer_opens() {
        let signer = Signer::new(&[7; 32]);
        let mut token = Vec::new();
        signer.sealer("click").sign_into(b"touch 1", &mut token);
        assert_eq!(String::from_utf8(token).expect("ascii"), signer.sign("click", b"touch 1"));
    }

    #[test]
    fn only_the_whole_token_for_the_same_purpose_opens() {
        let signer = Signer::new(&[7; 32]);
        let token = signer.sign("click", b"touch 1");
        assert_eq!(signer.open("click", &token).as_deref(), Some(&b"touch 1"[..]));
        assert_eq!(signer.open("open", &token), None);
        assert_eq!(Signer::new(&[8; 32]).open("click", &token), None);
        for cut in 0..token.len() {
            assert_eq!(signer.open("click", &token[..cut]), None, "cut at {cut}");
        }
        for i in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[i] = if forged[i] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("ascii");
            assert_ne!(signer.open("click", &forged).as_deref(), Some(&b"touch 1"[..]), "changed at {i}");
        }
        assert_eq!(signer.open("click", &"A".repeat(5000)), None);
    }
}
