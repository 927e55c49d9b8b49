//! The ad token: all that is known of an impression, signed, so that any replica can take its view or click before the replica that decided
//! has written it down.

use uuid::Uuid;

use crate::platform::Timestamp;
use crate::platform::ids::{CampaignId, CreativeId, PersonId, PlacementId, ProductId, TouchId, VariantId};
use crate::platform::token::Signer;

const VERSION: u8 = 1;
const BYTES: usize = 1 + 16 + 7 * 8;

/// What an ad token does. Each is signed with a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketKind {
    Click,
    Viewable,
}

impl TicketKind {
    fn purpose(self) -> &'static str {
        match self {
            Self::Click => "ad.click",
            Self::Viewable => "ad.viewable",
        }
    }
}

/// One impression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub touch: TouchId,
    pub campaign: CampaignId,
    pub variant: VariantId,
    pub product: ProductId,
    pub creative: CreativeId,
    pub placement: PlacementId,
    /// `None` for a browser that nobody has signed in to.
    pub person: Option<PersonId>,
    pub served_at: Timestamp,
}

impl Ticket {
    pub fn sign(&self, signer: &Signer, kind: TicketKind) -> String {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(self.touch.0.as_bytes());
        let numbers = [
            self.campaign.0,
            self.variant.0,
            self.product.0,
            self.creative.0,
            self.placement.0,
            self.person.map_or(0, |p| p.0),
            self.served_at.micros(),
        ];
        for n in numbers {
            bytes.extend_from_slice(&n.to_be_bytes());
        }
        signer.sign(kind.purpose(), &bytes)
    }

    /// `None` for anything forged, cut, of another kind or another version.
    pub fn open(signer: &Signer, kind: TicketKind, token: &str) -> Option<Self> {
        let bytes: [u8; BYTES] = signer.open(kind.purpose(), token)?.try_into().ok()?;
        if bytes[0] != VERSION {
            return None;
        }
        let number = |i: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[17 + 8 * i..25 + 8 * i]);
            i64::from_be_bytes(word)
        };
        Some(Self {
            touch: TouchId(Uuid::from_slice(&bytes[1..17]).ok()?),
            campaign: CampaignId(number(0)),
            variant: VariantId(number(1)),
            product: ProductId(number(2)),
            creative: CreativeId(number(3)),
            placement: PlacementId(number(4)),
            person: Some(PersonId(number(5))).filter(|p| p.0 != 0),
            served_at: Timestamp(number(6)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_says_what_was_signed_and_only_for_its_kind() {
        let signer = Signer::new(&[3; 32]);
        let ticket = Ticket {
            touch: TouchId::new(Timestamp::from_secs(1_768_478_400)),
            campaign: CampaignId(7),
            variant: VariantId(2),
            product: ProductId(30),
            creative: CreativeId(9),
            placement: PlacementId(1),
            person: None,
            served_at: Timestamp::from_secs(1_768_478_400),
        };
        let token = ticket.sign(&signer, TicketKind::Click);
        assert!(token.len() < 130, "{}", token.len());
        assert_eq!(Ticket::open(&signer, TicketKind::Click, &token), Some(ticket));
        assert_eq!(Ticket::open(&signer, TicketKind::Viewable, &token), None);
        assert_eq!(Ticket::open(&signer, TicketKind::Click, &token[1..]), None);
    }
}
