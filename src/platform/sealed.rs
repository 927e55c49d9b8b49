//! Secrets at rest: sealed with a key that only this shop's signing secret leads to (ChaCha20-Poly1305), bound to a purpose and a place, so
//! that a sealed secret copied into another row opens nothing. A copy of the database without the setting `platform.secret` reveals none.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::token::Signer;

/// First byte of what is sealed in this way.
const VERSION: u8 = 1;

impl Signer {
    fn sealing_key(&self, purpose: &str) -> LessSafeKey {
        let bytes = self.derive(&format!("sealed {purpose}"));
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).unwrap_or_else(|_| unreachable!("32 bytes are a key"));
        LessSafeKey::new(key)
    }

    /// Seals a secret for a purpose and a place (the id of its row). 29 bytes longer than the secret; different each time.
    pub fn seal(&self, purpose: &str, place: &str, secret: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut body = secret.to_vec();
        let tag = self
            .sealing_key(purpose)
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place.as_bytes()), &mut body)
            .unwrap_or_else(|_| unreachable!("secrets are short"));
        let mut sealed = vec![VERSION];
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&body);
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// The secret; `None` where it was sealed for another purpose, place or shop, or changed since.
    pub fn unseal(&self, purpose: &str, place: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (version, rest) = sealed.split_first()?;
        if *version != VERSION || rest.len() < NONCE_LEN {
            return None;
        }
        let (nonce, body) = rest.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let plain = self.sealing_key(purpose).open_in_place(nonce, Aad::from(place.as_bytes()), &mut body).ok()?;
        Some(plain.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_shop_purpose_and_place_open_it() {
        let signer = Signer::new(&[7; 32]);
        let sealed = signer.seal("totp", "usr_1", b"twenty bytes of it..");
        assert_eq!(sealed.len(), 20 + 29);
        assert!(!sealed.windows(6).any(|w| w == b"twenty"));
        assert_ne!(sealed, signer.seal("totp", "usr_1", b"twenty bytes of it.."));
        assert_eq!(signer.unseal("totp", "usr_1", &sealed).as_deref(), Some(&b"twenty bytes of it.."[..]));
        assert_eq!(signer.unseal("totp", "usr_2", &sealed), None);
        assert_eq!(signer.unseal("webhook", "usr_1", &sealed), None);
        assert_eq!(Signer::new(&[8; 32]).unseal("totp", "usr_1", &sealed), None);
        for at in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[at] ^= 1;
            assert_eq!(signer.unseal("totp", "usr_1", &forged), None, "changed at {at}");
            assert_eq!(signer.unseal("totp", "usr_1", &sealed[..at]), None, "cut at {at}");
        }
    }
}
