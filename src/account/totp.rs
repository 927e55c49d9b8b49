//! One-time codes from an authenticator (TOTP, RFC 6238: HMAC-SHA-1, 6 digits, 30 seconds) and the recovery codes beside them.

use hmac::{Hmac, Mac as _};
use rand::Rng as _;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::platform::Timestamp;
use crate::platform::ids::UserId;
use crate::platform::token::Signer;

const STEP_S: i64 = 30;
/// RFC 4226 asks for at least 128 bits and recommends 160.
const SECRET_BYTES: usize = 20;
/// Steps before and after the current one that are taken: clocks drift, people type slowly.
const DRIFT_STEPS: i64 = 1;
pub const RECOVERY_CODES: usize = 10;

pub fn new_secret() -> Vec<u8> {
    rand::random::<[u8; SECRET_BYTES]>().to_vec()
}

/// A stored secret, opened. Rows from before secrets were sealed hold the bare 20 bytes.
pub(super) fn opened(signer: &Signer, user: UserId, stored: &[u8]) -> Option<Vec<u8>> {
    if stored.len() == SECRET_BYTES { Some(stored.to_vec()) } else { signer.unseal("totp", &user.to_string(), stored) }
}

/// The six digits of a step (RFC 4226 §5.3).
fn code(secret: &[u8], step: i64) -> u32 {
    let mut mac = <Hmac<Sha1> as hmac::Mac>::new_from_slice(secret).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(&step.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let at = usize::from(digest[19] & 0x0f);
    let word = u32::from_be_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]]) & 0x7fff_ffff;
    word % 1_000_000
}

/// The step whose code this is, if it is one of now ± drift and later than `last_step`: a code works once.
pub fn matching_step(secret: &[u8], typed: &str, now: Timestamp, last_step: i64) -> Option<i64> {
    let digits: String = typed.chars().filter(|c| !c.is_whitespace()).collect();
    if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let current = now.micros() / 1_000_000 / STEP_S;
    let mut found = None;
    for step in current - DRIFT_STEPS..=current + DRIFT_STEPS {
        let right = format!("{:06}", code(secret, step));
        if bool::from(right.as_bytes().ct_eq(digits.as_bytes())) && step > last_step {
            found = Some(step);
        }
    }
    found
}

/// The code of this moment; for tests and for whoever scripts a sign-in.
pub fn current_code(secret: &[u8], now: Timestamp) -> String {
    format!("{:06}", code(secret, now.micros() / 1_000_000 / STEP_S))
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Base32 without padding (RFC 4648), as authenticators take it.
pub fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut buffer, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        buffer = (buffer << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(BASE32[(buffer >> bits) as usize & 31]));
        }
    }
    if bits > 0 {
        text.push(char::from(BASE32[(buffer << (5 - bits)) as usize & 31]));
    }
    text
}

/// What the QR code says (Key URI format).
pub fn uri(secret: &[u8], issuer: &str, account: &str) -> String {
    let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    format!("otpauth://totp/{0}:{1}?secret={2}&issuer={0}", encode(issuer), encode(account), base32(secret))
}

/// Fresh recovery codes, `xxxx-xxxx-xxxx` in an alphabet without look-alikes: 58 bits each.
pub fn new_recovery_codes() -> Vec<String> {
    const ALPHABET: &[u8; 29] = b"abcdefghjkmnpqrstuvwxyz234567";
    let mut rng = rand::rng();
    let mut part = || (0..4).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect::<String>();
    (0..RECOVERY_CODES).map(|_| format!("{}-{}-{}", part(), part(), part())).collect()
}

/// How a recovery code is stored and found. Random enough that a plain hash will do.
pub fn recovery_hash(typed: &str) -> Vec<u8> {
    let plain: String = typed.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect();
    Sha256::digest(plain.as_bytes()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_6238() {
        let secret = b"12345678901234567890";
        for (seconds, right) in
            [(59, 287_082), (1_111_111_109, 81_804), (1_111_111_111, 50_471), (1_234_567_890, 5_924), (2_000_000_000, 279_037)]
        {
            assert_eq!(code(secret, seconds / STEP_S), right, "at {seconds}");
        }
        assert_eq!(base32(secret), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    }

    #[test]
    fn a_code_works_once_and_only_near_its_time() {
        let secret = b"12345678901234567890";
        let now = Timestamp::from_secs(1_111_111_111);
        let step = matching_step(secret, "050 471", now, 0).expect("the code of now");
        assert_eq!(matching_step(secret, "050471", now, step), None, "used");
        assert!(matching_step(secret, "050471", now.plus_secs(30), 0).is_some(), "a step late");
        assert_eq!(matching_step(secret, "050471", now.plus_secs(90), 0), None, "too late");
        assert_eq!(matching_step(secret, "50471", now, 0), None);
        assert_eq!(recovery_hash("ABCD efgh-2345"), recovery_hash("abcd-efgh-2345"));
    }
}
