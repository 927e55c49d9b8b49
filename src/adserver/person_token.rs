//! Person tokens: what a shop's server hands to a page so that the page's tag may ask for the person's own choice, for a while.

use crate::platform::Timestamp;
use crate::platform::clock::SECOND_US;
use crate::platform::ids::PersonId;
use crate::platform::token::Signer;

const PURPOSE: &str = "ad.person";
const VERSION: u8 = 1;
/// Shortest and longest life of a token.
pub const TTL_S: std::ops::RangeInclusive<i64> = 60..=86_400;
pub const DEFAULT_TTL_S: i64 = 3_600;

/// A token for a person, and when it ends.
pub fn mint(signer: &Signer, person: PersonId, ttl_s: i64, now: Timestamp) -> (String, Timestamp) {
    let expires = now.plus_secs(ttl_s);
    let mut bytes = [0; 17];
    bytes[0] = VERSION;
    bytes[1..9].copy_from_slice(&person.0.to_be_bytes());
    bytes[9..].copy_from_slice(&(expires.micros() / SECOND_US).to_be_bytes());
    (signer.sign(PURPOSE, &bytes), expires)
}

/// Whom a token names; `None` for one that is forged or over.
pub fn open(signer: &Signer, token: &str, now: Timestamp) -> Option<PersonId> {
    let bytes: [u8; 17] = signer.open(PURPOSE, token)?.try_into().ok()?;
    let number = |at: usize| i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
    (bytes[0] == VERSION && now < Timestamp::from_secs(number(9))).then_some(PersonId(number(1)))
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
        assert_eq!(open(&signer, &signer.sign("ad", &[0; 17]), now), None);
    }
}
