//! The decision: which campaign, which product, which banner, for whom, now. Pure: memory in, answer out.

use super::caps::{Caps, Subject};
use super::snapshot::{AdCampaign, AdCreative, CreativeKey, Snapshot};
use crate::platform::Timestamp;
use crate::platform::ids::{PersonId, PlacementId, ProductId, VariantId};
use crate::platform::token::Signer;
use crate::touches::Arm;
use crate::touches::holdout::{Scope, draw, stable_u64};

/// Products that take turns for one person: the top of the list, not its tail.
const TURNS: usize = 5;

/// Who looks at the page, as the caller says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewer<'a> {
    Person(PersonId),
    Anonymous(&'a str),
    Nobody,
}

/// A banner to show.
#[derive(Clone, Debug)]
pub struct Shown<'a> {
    pub campaign: &'a AdCampaign,
    pub placement: PlacementId,
    pub variant: VariantId,
    pub product: ProductId,
    pub creative: &'a AdCreative,
    pub width: u32,
    pub height: u32,
    pub person: Option<PersonId>,
    /// Whether the product was picked for this person, or suits anybody.
    pub personal: bool,
}

/// Somebody in a holdout who would have been shown this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ghost<'a> {
    pub campaign: &'a str,
    pub campaign_id: crate::platform::ids::CampaignId,
    pub placement: PlacementId,
    pub variant: VariantId,
    pub product: ProductId,
    pub person: PersonId,
    /// By the holdout of all marketing (then no other campaign is asked).
    pub global: bool,
}

/// Why nothing is shown. The words are part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoFill {
    /// No running banner campaign uses this placement.
    NoCampaign,
    /// Campaigns run here, but none addresses this viewer.
    NotAddressed,
    /// The viewer has seen enough today.
    Capped,
    /// The viewer belongs to a holdout.
    HeldOut,
    /// No banner of this size is ready yet.
    NoCreative,
}

#[derive(Clone, Debug)]
pub struct Answer<'a> {
    pub shown: Result<Shown<'a>, NoFill>,
    pub ghosts: Vec<Ghost<'a>>,
}

/// `None` where there is no such placement. `day` is the local day by which caps count; `turn` spreads what is shown to nobody in particular.
pub fn decide<'a>(
    snapshot: &'a Snapshot,
    caps: &Caps,
    signer: &Signer,
    placement: &str,
    viewer: Viewer<'_>,
    day: i64,
    turn: u64,
) -> Option<Answer<'a>> {
    let place = snapshot.placements.get(placement)?;
    let person = match viewer {
        Viewer::Person(person) => Some(person),
        Viewer::Anonymous(id) => snapshot.people.by_anonymous(id),
        Viewer::Nobody => None,
    };
    let subject = match (person, viewer) {
        (Some(person), _) => Some(Subject::person(person)),
        (None, Viewer::Anonymous(id)) => Some(Subject::anonymous(id)),
        (None, _) => None,
    };
    let mut answer = Answer { shown: Err(NoFill::NoCampaign), ghosts: Vec::new() };
    // Whoever has seen a campaign least today sees it next: campaigns share a placement evenly, whatever their age.
    let mut order: Vec<(u32, u64, &AdCampaign)> = place
        .campaigns
        .iter()
        .filter_map(|i| snapshot.campaigns.get(*i))
        .map(|c| (subject.map_or(0, |s| caps.seen(c.id, s, day)), mix(turn ^ c.id.0.unsigned_abs()), c))
        .collect();
    order.sort_by_key(|(seen, tie, _)| (*seen, *tie));
    for (seen, _, campaign) in order {
        if !campaign.addresses(person) {
            worsen(&mut answer, NoFill::NotAddressed);
            continue;
        }
        if seen >= campaign.cap_per_day {
            worsen(&mut answer, NoFill::Capped);
            continue;
        }
        let Some(shown) = choose(snapshot, campaign, place.id, (place.width, place.height), person, signer, seen, turn) else {
            worsen(&mut answer, NoFill::NoCreative);
            continue;
        };
        if let Some(person) = person {
            let global = draw(signer, Scope::Global, person, snapshot.global_holdout_bp) == Arm::Ghost;
            if global || draw(signer, Scope::Campaign(campaign.id), person, campaign.holdout_bp) == Arm::Ghost {
                answer.ghosts.push(Ghost {
                    campaign: &campaign.name,
                    campaign_id: campaign.id,
                    placement: place.id,
                    variant: shown.variant,
                    product: shown.product,
                    person,
                    global,
                });
                worsen(&mut answer, NoFill::HeldOut);
                if global {
                    break;
                }
                continue;
            }
        }
        if let Some(subject) = subject
            && !caps.take(campaign.id, subject, day, campaign.cap_per_day)
        {
            worsen(&mut answer, NoFill::Capped);
            continue;
        }
        answer.shown = Ok(shown);
        break;
    }
    Some(answer)
}

/// The reason that got furthest is the one to tell.
fn worsen(answer: &mut Answer<'_>, reason: NoFill) {
    let rank = |r: NoFill| match r {
        NoFill::NoCampaign => 0,
        NoFill::NotAddressed => 1,
        NoFill::NoCreative => 2,
        NoFill::Capped => 3,
        NoFill::HeldOut => 4,
    };
    if let Err(before) = answer.shown
        && rank(reason) > rank(before)
    {
        answer.shown = Err(reason);
    }
}

#[allow(clippy::too_many_arguments)]
fn choose<'a>(
    snapshot: &'a Snapshot,
    campaign: &'a AdCampaign,
    placement: PlacementId,
    (width, height): (u32, u32),
    person: Option<PersonId>,
    signer: &Signer,
    seen: u32,
    turn: u64,
) -> Option<Shown<'a>> {
    let variant = variant_for(campaign, person, signer, turn)?;
    let own = person.and_then(|p| snapshot.people.locale(p));
    let find = |product: ProductId| {
        own.into_iter().chain([snapshot.default_locale.as_str()]).find_map(|locale| {
            let key = CreativeKey { variant, product, locale: locale.to_owned(), width, height };
            campaign.creatives.get(&key).map(|creative| (product, creative))
        })
    };
    let personal = person.filter(|p| snapshot.people.may_personalise(*p)).map_or(&[][..], |p| snapshot.people.picks(p));
    let ready: Vec<_> = personal.iter().filter_map(|p| find(*p)).take(TURNS).collect();
    let (ready, is_personal) = if ready.is_empty() {
        (campaign.popular.iter().filter_map(|p| find(*p)).take(TURNS).collect::<Vec<_>>(), false)
    } else {
        (ready, true)
    };
    let at = if person.is_some() { u64::from(seen) } else { mix(turn) };
    let (product, creative) = *ready.get(usize::try_from(at % (ready.len().max(1) as u64)).unwrap_or_default())?;
    Some(Shown { campaign, placement, variant, product, creative, width, height, person, personal: is_personal })
}

/// The same person always meets the same variant of a campaign.
fn variant_for(campaign: &AdCampaign, person: Option<PersonId>, signer: &Signer, turn: u64) -> Option<VariantId> {
    let total: u64 = campaign.variants.iter().map(|(_, w)| u64::from(*w)).sum();
    let draw = match person {
        Some(person) => stable_u64(signer, "variant", campaign.id.0, person),
        None => mix(turn ^ 0x9e37),
    };
    let mut at = draw.checked_rem(total)?;
    for (variant, weight) in &campaign.variants {
        if at < u64::from(*weight) {
            return Some(*variant);
        }
        at -= u64::from(*weight);
    }
    None
}

/// A cheap scrambling of bits (splitmix64's finaliser).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The local day by which caps count.
pub fn cap_day(now: Timestamp, zone: chrono_tz::Tz) -> i64 {
    now.day_in(zone)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::snapshot::{AdPeople, AdPerson, AdPlacement};
    use super::*;
    use crate::platform::ids::{CampaignId, CreativeId};

    fn campaign(id: i64, members: Option<Vec<PersonId>>, cap_per_day: u32) -> AdCampaign {
        let variant = VariantId(id * 10);
        let creatives = [1, 2, 3]
            .map(|p| {
                let key = CreativeKey { variant, product: ProductId(p), locale: "en".into(), width: 300, height: 250 };
                (key, AdCreative { id: CreativeId(id * 100 + p), asset_hash: "00".into(), title: "Thing".into() })
            })
            .into();
        AdCampaign {
            id: CampaignId(id),
            name: format!("campaign {id}"),
            holdout_bp: 0,
            members,
            variants: vec![(variant, 1)],
            creatives,
            popular: vec![ProductId(1)],
            cap_per_day,
        }
    }

    fn snapshot(campaigns: Vec<AdCampaign>) -> Snapshot {
        let mut people = AdPeople::default();
        for (id, personal) in [(1, true), (2, false)] {
            let picks = vec![ProductId(3), ProductId(2), ProductId(9)];
            people.push(AdPerson { id: PersonId(id), external_id: Some(format!("u{id}")), locale: "en".into(), personal, picks });
        }
        people.name_anonymous("browser".into(), PersonId(1));
        let place = AdPlacement { id: PlacementId(1), width: 300, height: 250, campaigns: (0..campaigns.len()).collect() };
        Snapshot {
            placements: HashMap::from([("home".to_owned(), place)]),
            campaigns,
            people: people.into(),
            default_locale: "en".into(),
            ..Snapshot::default()
        }
    }

    fn ask<'a>(s: &'a Snapshot, caps: &Caps, viewer: Viewer<'_>, day: i64) -> Answer<'a> {
        decide(s, caps, &Signer::new(&[1; 32]), "home", viewer, day, 7).expect("the placement exists")
    }

    #[test]
    fn a_person_gets_their_picks_in_turn_and_no_more_than_the_cap() {
        let (s, caps) = (snapshot(vec![campaign(1, None, 3)]), Caps::default());
        let products: Vec<_> =
            (0..4).map(|_| ask(&s, &caps, Viewer::Person(PersonId(1)), 1).shown.map(|b| (b.product.0, b.personal))).collect();
        assert_eq!(products[..3], [Ok((3, true)), Ok((2, true)), Ok((3, true))], "product 9 has no banner");
        assert_eq!(products[3].as_ref().err(), Some(&NoFill::Capped));
        assert!(ask(&s, &caps, Viewer::Person(PersonId(1)), 2).shown.is_ok(), "a new day");
    }

    #[test]
    fn a_known_browser_shares_its_persons_cap() {
        let (s, caps) = (snapshot(vec![campaign(1, None, 1)]), Caps::default());
        assert_eq!(ask(&s, &caps, Viewer::Anonymous("browser"), 1).shown.expect("shown").product, ProductId(3));
        assert!(ask(&s, &caps, Viewer::Person(PersonId(1)), 1).shown.is_err());
    }

    #[test]
    fn without_consent_or_a_person_the_choice_is_not_personal() {
        let (s, caps) = (snapshot(vec![campaign(1, None, 9)]), Caps::default());
        for viewer in [Viewer::Person(PersonId(2)), Viewer::Anonymous("stranger"), Viewer::Nobody] {
            let shown = ask(&s, &caps, viewer, 1).shown.expect("shown");
            assert_eq!((shown.product, shown.personal), (ProductId(1), false), "{viewer:?}");
        }
    }

    #[test]
    fn only_members_are_addressed_and_campaigns_share_a_place_evenly() {
        let (s, caps) = (snapshot(vec![campaign(1, Some(vec![PersonId(1)]), 9), campaign(2, None, 9)]), Caps::default());
        let mut seen = HashMap::<i64, u32>::new();
        for _ in 0..8 {
            *seen.entry(ask(&s, &caps, Viewer::Person(PersonId(1)), 1).shown.expect("shown").campaign.id.0).or_default() += 1;
        }
        assert_eq!(seen, HashMap::from([(1, 4), (2, 4)]));
        assert_eq!(ask(&s, &caps, Viewer::Anonymous("stranger"), 1).shown.expect("shown").campaign.id, CampaignId(2));
    }

    #[test]
    fn the_held_out_see_nothing_and_leave_a_ghost() {
        let mut held = campaign(1, None, 9);
        held.holdout_bp = 10_000;
        let (s, caps) = (snapshot(vec![held]), Caps::default());
        let answer = ask(&s, &caps, Viewer::Person(PersonId(1)), 1);
        assert_eq!(answer.shown.err(), Some(NoFill::HeldOut));
        assert_eq!((answer.ghosts.len(), answer.ghosts[0].product), (1, ProductId(3)));
    }

    #[test]
    fn an_unknown_placement_is_no_answer() {
        let (s, caps) = (snapshot(vec![]), Caps::default());
        assert!(decide(&s, &caps, &Signer::new(&[1; 32]), "nowhere", Viewer::Nobody, 1, 7).is_none());
        assert_eq!(ask(&s, &caps, Viewer::Nobody, 1).shown.err(), Some(NoFill::NoCampaign));
    }
}
