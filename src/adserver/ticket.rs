//! The ad token: all that is known of an impression, signed, so that any replica can take its view, click or bill before the replica that
//! decided has written it down. One token serves all three; each address says what it is about.

use smallvec::SmallVec;
use uuid::Uuid;

use crate::platform::Timestamp;
use crate::platform::ids::{CampaignId, CreativeId, PersonId, PlacementId, ProductId, TouchId, VariantId};
use crate::platform::token::{Sealer, Signer};
use crate::touches::{Arm, NewTouch, TouchChannel, TouchState};

const VERSION: u8 = 3;
/// The person's number in the open: tokens of before.
const OPEN: u8 = 2;
const PURPOSE: &str = "ad";
/// Of a bid's notices.
const NOTICE: &str = "ad.notice";
/// Of what hides the person's number.
const MASK: &str = "ad.mask";
/// Shown by an exchange: it counts from its bill on, not from the bid.
const BID: u8 = 1;

/// A token on its way; what a sealer takes.
type Bytes = SmallVec<[u8; 112]>;

/// One impression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ticket {
    /// A UUIDv7: its time is when the banner was served, to the millisecond.
    pub touch: TouchId,
    pub campaign: CampaignId,
    /// 0: none, the campaign's own.
    pub item: i64,
    pub variant: VariantId,
    pub product: ProductId,
    pub creative: CreativeId,
    pub placement: PlacementId,
    /// `None` for a browser that nobody has signed in to.
    pub person: Option<PersonId>,
    /// The chance that this creative had, given its line item.
    pub propensity: f32,
    /// The chance that its line item had; only a bid's token carries it, else 0: who decided has written it down.
    pub item_chance: f32,
    /// What a click costs, in millionths of a minor unit; of a bid what was bid for the impression.
    pub click_micro: i64,
    /// It is a bid's: shown only if the exchange says so.
    pub bid: bool,
}

/// The keys that ad tokens are written with.
#[derive(Clone, Debug)]
pub struct Seals {
    token: Sealer,
    mask: Sealer,
}

impl Seals {
    pub fn new(signer: &Signer) -> Self {
        Self { token: signer.sealer(PURPOSE), mask: signer.sealer(MASK) }
    }
}

/// A person's number as it stands in a token: another one in each, for a token can be read by whoever sees it.
fn masked(number: i64, mask: [u8; 32]) -> i64 {
    let mut first = [0; 8];
    first.copy_from_slice(&mask[..8]);
    number ^ (i64::from_be_bytes(first) & i64::MAX)
}

fn put(out: &mut Bytes, n: i64) {
    let mut n = n.max(0).unsigned_abs();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn take(bytes: &mut &[u8]) -> Option<i64> {
    let mut n = 0_u64;
    for shift in (0..63).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        n |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return i64::try_from(n).ok();
        }
    }
    None
}

impl Ticket {
    /// Appends the token.
    pub fn sign_into(&self, seals: &Seals, out: &mut Vec<u8>) {
        seals.token.sign_into(&self.bytes(seals), out);
    }

    fn bytes(&self, seals: &Seals) -> Bytes {
        // 2 + 16 + 4 + 4 bytes and eight numbers of at most nine: below what a sealer takes.
        let mut bytes = Bytes::new();
        bytes.push(VERSION);
        bytes.push(if self.bid { BID } else { 0 });
        bytes.extend_from_slice(self.touch.0.as_bytes());
        bytes.extend_from_slice(&self.propensity.to_be_bytes());
        let person = self.person.map_or(0, |p| masked(p.0, seals.mask.digest(self.touch.0.as_bytes())));
        for n in [self.campaign.0, self.item, self.variant.0, self.product.0, self.creative.0, self.placement.0, person, self.click_micro] {
            put(&mut bytes, n);
        }
        if self.bid {
            bytes.extend_from_slice(&self.item_chance.to_be_bytes());
        }
        bytes
    }
    pub fn sign(&self, signer: &Signer) -> String {
        signer.sign(PURPOSE, &self.bytes(&Seals::new(signer)))
    }
    /// The token of a bid's notices: another than that of its click, which stands in the page.
    pub fn sign_notice(&self, signer: &Signer) -> String {
        signer.sign(NOTICE, &self.bytes(&Seals::new(signer)))
    }

    /// `None` for anything forged, cut, of another kind or another version.
    pub fn open(signer: &Signer, token: &str) -> Option<Self> {
        Self::read(signer, &signer.open(PURPOSE, token)?)
    }
    pub fn open_notice(signer: &Signer, token: &str) -> Option<Self> {
        Self::read(signer, &signer.open(NOTICE, token)?)
    }

    fn read(signer: &Signer, bytes: &[u8]) -> Option<Self> {
        let (head, mut rest) = bytes.split_at_checked(22)?;
        if head[0] != VERSION && head[0] != OPEN {
            return None;
        }
        let masks = head[0] == VERSION;
        let propensity = f32::from_be_bytes(head[18..22].try_into().ok()?);
        let mut next = || take(&mut rest);
        let mut ticket = Self {
            touch: TouchId(Uuid::from_slice(&head[2..18]).ok()?),
            propensity,
            item_chance: 0.0,
            bid: head[1] & BID != 0,
            campaign: CampaignId(next()?),
            item: next()?,
            variant: VariantId(next()?),
            product: ProductId(next()?),
            creative: CreativeId(next()?),
            placement: PlacementId(next()?),
            person: Some(PersonId(next()?)).filter(|p| p.0 != 0),
            click_micro: next()?,
        };
        if masks {
            ticket.person = ticket.person.map(|p| PersonId(masked(p.0, signer.digest(MASK, ticket.touch.0.as_bytes()))));
        }
        if let Ok(chance) = <[u8; 4]>::try_from(rest) {
            ticket.item_chance = f32::from_be_bytes(chance);
        }
        Some(ticket)
    }

    /// When the banner was served.
    pub fn served_at(&self) -> Timestamp {
        let bytes = self.touch.0.as_bytes();
        let ms = bytes[..6].iter().fold(0_i64, |n, b| n << 8 | i64::from(*b));
        Timestamp::from_micros(ms * 1_000)
    }

    /// The touch that this ticket is about, as the replica that decided writes it (but for the browser's id).
    pub fn touch(&self) -> NewTouch {
        NewTouch {
            id: self.touch,
            channel: TouchChannel::Banner,
            arm: Arm::Treated,
            state: TouchState::Served,
            reason: None,
            person_id: self.person,
            anonymous_id: None,
            campaign_id: self.campaign,
            run_id: None,
            variant_id: Some(self.variant),
            product_ids: vec![self.product],
            copy_id: None,
            creative_id: Some(self.creative),
            placement_id: Some(self.placement),
            due_at: self.served_at(),
            expires_at: None,
        }
    }
}

/// A new touch's id: time-ordered to the millisecond, unguessable in its last 74 bits, without a call into the system.
pub fn new_touch(at: Timestamp) -> TouchId {
    use rand::RngCore as _;
    let mut random = [0; 10];
    rand::rng().fill_bytes(&mut random);
    let ms = at.micros().max(0).unsigned_abs() / 1_000;
    TouchId(uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid())
}

/// The one id that a held-out person's would-be impressions of a campaign have on a day, on whichever replica: written once over all.
pub fn ghost_touch(signer: &Signer, campaign: CampaignId, person: PersonId, day: i64) -> TouchId {
    let mut name = [0; 24];
    name[..8].copy_from_slice(&campaign.0.to_be_bytes());
    name[8..16].copy_from_slice(&person.0.to_be_bytes());
    name[16..].copy_from_slice(&day.to_be_bytes());
    let digest = signer.digest("ad.ghost", &name);
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    // The day's beginning: both replicas name the same instant.
    let ms = day.max(0).unsigned_abs() * 86_400_000;
    TouchId(uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_secs(1_768_478_400);

    fn ticket() -> Ticket {
        Ticket {
            touch: new_touch(AT),
            campaign: CampaignId(7),
            item: 0,
            variant: VariantId(2),
            product: ProductId(30_000),
            creative: CreativeId(9),
            placement: PlacementId(1),
            person: None,
            propensity: 0.25,
            item_chance: 0.0,
            click_micro: 0,
            bid: false,
        }
    }

    #[test]
    fn a_ticket_says_what_was_signed() {
        let signer = Signer::new(&[3; 32]);
        let ticket = ticket();
        let token = ticket.sign(&signer);
        assert!(token.len() < 90, "{}", token.len());
        assert_eq!(Ticket::open(&signer, &token), Some(ticket));
        assert_eq!(ticket.served_at(), AT);
        assert_eq!(Ticket::open(&signer, &token[1..]), None);
        assert_eq!(Ticket::open(&signer, &signer.sign("touch.click", b"x")), None);
        assert_eq!(Ticket::open(&signer, &signer.sign(PURPOSE, b"x")), None);
        let person = Ticket { person: Some(PersonId(77)), ..ticket };
        let again = Ticket { touch: new_touch(AT), ..person };
        let payload = |t: Ticket| t.bytes(&Seals::new(&signer))[22..].to_vec();
        assert_ne!(payload(person), payload(again), "nobody recognises the person by two tokens");
        assert_eq!(Ticket::open(&signer, &person.sign(&signer)), Some(person));
        assert_eq!(Ticket::open(&signer, &person.sign_notice(&signer)), None, "who may bill may not click, nor the other way round");
        assert_eq!(Ticket::open_notice(&signer, &person.sign(&signer)), None);
        assert_eq!(Ticket::open_notice(&signer, &person.sign_notice(&signer)), Some(person));
        let mut before = Ticket { person: None, ..ticket }.bytes(&Seals::new(&signer));
        before[0] = OPEN;
        assert_eq!(Ticket::open(&signer, &signer.sign(PURPOSE, &before)), Some(ticket), "a token of before");
        let most = Ticket {
            campaign: CampaignId(i64::MAX),
            item: i64::MAX,
            variant: VariantId(i64::MAX),
            product: ProductId(i64::MAX),
            creative: CreativeId(i64::MAX),
            placement: PlacementId(i64::MAX),
            person: Some(PersonId(i64::MAX)),
            click_micro: i64::MAX,
            bid: true,
            item_chance: 0.125,
            ..ticket
        };
        assert_eq!(Ticket::open(&signer, &most.sign(&signer)), Some(most));
    }

    #[test]
    fn a_ghost_has_one_id_a_day_and_its_own() {
        let signer = Signer::new(&[3; 32]);
        let id = |campaign, person, day| ghost_touch(&signer, CampaignId(campaign), PersonId(person), day);
        assert_eq!(id(1, 2, 20_468), id(1, 2, 20_468));
        assert_ne!(id(1, 2, 20_468), id(1, 3, 20_468));
        assert_ne!(id(1, 2, 20_468), id(1, 2, 20_469));
    }
}
