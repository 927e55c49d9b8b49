//! Person tokens: what a shop's server hands to a page so that the page's tag may ask for the person's own choice, for a while.

use crate::platform::Timestamp;
use crate::platform::clock::SECOND_US;
use crate::platform::ids::PersonId;
use crate::platform::token::Signer;

const PURPOSE: &str = "ad.person";
/// Of what hides the person's number: a token can be read by whoever sees the page.
const MASK: &str = "ad.person.mask";
const VERSION: u8 = 2;
/// Version, eight random bytes, the end, the person.
const BYTES: usize = 25;
/// Shortest and longest life of a token.
pub const TTL_S: std::ops::RangeInclusive<i64> = 60..=86_400;
pub const DEFAULT_TTL_S: i64 = 3_600;

/// Writes the person's number into a token's bytes, or takes it out: another number in each token.
fn mask(signer: &Signer, bytes: &mut [u8; BYTES]) {
    let digest = signer.digest(MASK, &bytes[..17]);
    bytes[17..].iter_mut().zip(digest).for_each(|(b, m)| *b ^= m);
}

/// A token for a person, and when it ends.
pub fn mint(signer: &Signer, person: PersonId, ttl_s: i64, now: Timestamp) -> (String, Timestamp) {
    let expires = now.plus_secs(ttl_s);
    let mut bytes = [0; BYTES];
    bytes[0] = VERSION;
    bytes[1..9].copy_from_slice(&rand::random::<[u8; 8]>());
    bytes[9..17].copy_from_slice(&(expires.micros() / SECOND_US).to_be_bytes());
    bytes[17..].copy_from_slice(&person.0.to_be_bytes());
    mask(signer, &mut bytes);
    (signer.sign(PURPOSE, &bytes), expires)
}

/// Whom a token names; `None` for one that is forged or over.
pub fn open(signer: &Signer, token: &str, now: Timestamp) -> Option<PersonId> {
    let mut bytes: [u8; BYTES] = signer.open(PURPOSE, token)?.try_into().ok()?;
    mask(signer, &mut bytes);
    let number = |at: usize| i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
    (bytes[0] == VERSION && now < Timestamp::from_secs(number(9))).then_some(PersonId(number(17)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_person_until_it_ends() {
        let (signer, now) = (Signer::new(&[4; 32]), Timestamp::from_secs(1_768_478_400));
        let (token, expires) = mint(&signer, PersonId(9), 60, now);
        assert_eq!(open(&signer, &token, now), Some(PersonId(9)));
        assert_eq!(open(&signer, &token, expires), None);
        assert_eq!(open(&Signer::new(&[5; 32]), &token, now), None);
        assert_eq!(open(&signer, &signer.sign("ad", &[0; BYTES]), now), None);
        assert_eq!(open(&signer, &signer.sign(PURPOSE, &[0; BYTES]), now), None);
    }

    #[test]
    fn it_names_nobody_to_who_reads_it() {
        let (signer, now) = (Signer::new(&[4; 32]), Timestamp::from_secs(1_768_478_400));
        let person = |token: &str| signer.open(PURPOSE, token).expect("ours")[17..].to_vec();
        let (one, two) = (mint(&signer, PersonId(9), 60, now).0, mint(&signer, PersonId(9), 60, now).0);
        assert_ne!(person(&one), person(&two));
        assert_ne!(person(&one), 9_i64.to_be_bytes());
    }
}
