//! The decision: which line item, which product, which banner, for whom, now. Pure: memory in, answer out.
//!
//! Tier by tier, whoever has seen a campaign least today sees it next; ties by lot. Of a line item the creative is chosen by what was clicked
//! so far ([`super::bandit`]), among the first picks of the viewer; its chance is known and goes into the log.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use utoipa::ToSchema;

use super::auction::Auction;
use super::bandit::Rng;
use super::caps::{Seen, Subject};
use super::line_items::{Chooser, Tier};
use super::lottery::Lottery;
use super::offer::{choose, stocked};
use super::snapshot::{AdCampaign, AdCreative, AdItem, AdPlacement, Snapshot, Turn};
use super::targeting::Context;
use crate::platform::Timestamp;
use crate::platform::ids::{CampaignId, PersonId, ProductId, VariantId};
use crate::touches::holdout::{Lots, Scope};
use crate::touches::{Arm, word_enum};

/// Who looks at the page, as the caller says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewer<'a> {
    Person(PersonId),
    Anonymous(&'a str),
    Nobody,
}

word_enum!(
    /// Why nothing is shown. The words are part of the API. Of several reasons the one that got furthest is told.
    NoFill {
        /// A known crawler asks, without a key: nothing is decided or counted.
        Crawler = "crawler",
        /// No running banner campaign uses this placement.
        NoCampaign = "no_campaign",
        /// Somebody switched the placement off.
        PlacementPaused = "placement_paused",
        /// A line item's dates lie elsewhere.
        NotNow = "not_now",
        /// Country, device, hour or the page's keywords do not fit.
        NotTargeted = "not_targeted",
        /// It pays less than the placement's floor.
        BelowFloor = "below_floor",
        /// Campaigns run here, but none addresses this viewer.
        NotAddressed = "not_addressed",
        /// The budget is used up.
        BudgetSpent = "budget_spent",
        /// Held back so that the budget lasts.
        Paced = "paced",
        /// No banner of this size is ready yet.
        NoCreative = "no_creative",
        /// Everything that fits is on the page already.
        AlreadyOnPage = "already_on_page",
        /// The viewer has seen enough today.
        Capped = "capped",
        /// The viewer belongs to a holdout.
        HeldOut = "held_out",
    }
);

/// A banner to show.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    pub campaign: &'a AdCampaign,
    pub item: &'a AdItem,
    pub creative: &'a AdCreative,
    /// The chance that this creative had, given its line item.
    pub propensity: f32,
    /// The chance that its line item had of this request: the lot between line items and the throttles. 0 where it was not worked out.
    pub item_chance: f32,
    /// Whether the product was picked for this person, or suits anybody.
    pub personal: bool,
}

/// Somebody in a holdout who would have been shown this.
#[derive(Clone, Copy, Debug)]
pub struct Ghost<'a> {
    pub campaign: &'a AdCampaign,
    pub variant: VariantId,
    pub product: ProductId,
    pub person: PersonId,
    /// By the holdout of all marketing (then no other campaign is asked).
    pub global: bool,
}

#[derive(Clone, Debug)]
pub struct Answer<'a> {
    pub shown: Result<Shown<'a>, NoFill>,
    pub ghosts: SmallVec<[Ghost<'a>; 1]>,
}

/// One line item and what stood against it, for whoever wants to know why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    pub campaign: CampaignId,
    pub item: i64,
    pub tier: Tier,
    /// `None`: it was shown.
    pub reason: Option<NoFill>,
}

/// A question, with all that is known.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub placement: &'a AdPlacement,
    /// Sizes that fit: the placement's, or those of them that an exchange takes.
    pub sizes: &'a [(u32, u32)],
    pub person: Option<PersonId>,
    pub subject: Option<Subject>,
    /// Whether the person's picks may be used.
    pub personal: bool,
    pub context: &'a Context,
    pub now: Timestamp,
    /// Hour of the shop's day.
    pub hour: u32,
    /// Only look: nothing is counted or taken.
    pub dry: bool,
    /// An exchange asks. `None`: a page of our own.
    pub auction: Option<&'a Auction<'a>>,
}

/// The viewer of a request, as far as the snapshot knows them.
pub fn recognise(snapshot: &Snapshot, viewer: Viewer<'_>) -> (Option<PersonId>, Option<Subject>) {
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
    (person, subject)
}

/// Up to so many line items on a placement the chance of the one that shows is always worked out; among more, whose memory would have to be
/// walked, for one request in so many, drawn by lot.
const ALWAYS_TOLD: usize = 8;
const TOLD_ONCE_IN: u32 = 16;

/// Whose turn it is: the lowest key. Tier first, then how often the viewer has seen the campaign today, then a lot.
#[derive(Clone, Copy)]
struct Candidate {
    key: u64,
    item: u32,
}

/// Times seen that a key tells apart.
const MOST_SEEN: u32 = (1 << 28) - 1;

impl Candidate {
    fn new(turn: Turn, seen: u32, lot: u32) -> Self {
        Self { key: (turn.tier as u64) << 60 | u64::from(seen.min(MOST_SEEN)) << 32 | u64::from(lot), item: turn.item }
    }
    fn seen(self) -> u32 {
        (self.key >> 32) as u32 & MOST_SEEN
    }
    /// Tier and times seen: among equals it is a lot.
    fn rank(self) -> u64 {
        self.key >> 32
    }
}

/// Decides for one placement. `on_page`: products that the page shows already; what is shown is added.
pub fn decide<'a>(
    snapshot: &'a Snapshot,
    lots: &Lots,
    ask: &Ask<'_>,
    seen: &mut Seen,
    on_page: &mut SmallVec<[ProductId; 4]>,
    rng: &mut Rng,
    mut notes: Option<&mut Vec<Note>>,
) -> Answer<'a> {
    let mut answer = Answer { shown: Err(NoFill::NoCampaign), ghosts: SmallVec::new() };
    let place = ask.placement;
    if place.paused {
        answer.shown = Err(NoFill::PlacementPaused);
        return answer;
    }
    let own_country = ask.person.and_then(|p| snapshot.people.country(p));
    if !place.target.fits(ask.context, own_country, ask.hour) || !place.target.addresses(ask.person.map(|p| p.0)) {
        answer.shown = Err(NoFill::NotTargeted);
        return answer;
    }
    // Whoever wants to know why hears of all that does not fit; else only what comes to its turn is looked at.
    let explain = notes.is_some();
    let mut candidates: SmallVec<[Candidate; 64]> = SmallVec::new();
    let mut known: Option<(CampaignId, u32)> = None;
    for turn in &place.turns {
        if explain && let Some(reason) = cheap(ask, &snapshot.items[turn.item as usize], own_country) {
            worsen(&mut answer, reason);
            note(snapshot, &mut notes, &snapshot.items[turn.item as usize], Some(reason));
            continue;
        }
        let times = match known {
            Some((campaign, times)) if campaign == turn.campaign => times,
            _ => seen.of_campaign(turn.campaign),
        };
        known = Some((turn.campaign, times));
        candidates.push(Candidate::new(*turn, times, rng.word()));
    }
    // The first usually has something: taking the least again and again beats sorting all. Who was asked goes to the end.
    let mut left = candidates.len();
    while let Some(at) = (0..left).min_by_key(|i| candidates[*i].key) {
        left -= 1;
        candidates.swap(at, left);
        let candidate = candidates[left];
        let item = &snapshot.items[candidate.item as usize];
        if !explain && let Some(reason) = cheap(ask, item, own_country) {
            worsen(&mut answer, reason);
            continue;
        }
        let tells = candidates.len() <= ALWAYS_TOLD || rng.word().is_multiple_of(TOLD_ONCE_IN);
        let taken = consider(snapshot, lots, ask, item, candidate.seen(), seen, on_page, rng, &mut answer).and_then(|mut shown| {
            if tells {
                shown.item_chance = item_chance(snapshot, lots, ask, &candidates, left, own_country, seen, on_page);
            }
            take(ask, &shown, seen).map(|()| shown)
        });
        match taken {
            Ok(shown) => {
                note(snapshot, &mut notes, item, None);
                on_page.push(shown.creative.product);
                answer.shown = Ok(shown);
                if notes.is_none() {
                    return answer;
                }
                break;
            }
            Err((reason, last)) => {
                worsen(&mut answer, reason);
                note(snapshot, &mut notes, item, Some(reason));
                if last {
                    break;
                }
            }
        }
    }
    answer
}

fn note(snapshot: &Snapshot, notes: &mut Option<&mut Vec<Note>>, item: &AdItem, reason: Option<NoFill>) {
    if let Some(notes) = notes {
        notes.push(Note { campaign: snapshot.campaigns[item.campaign as usize].id, item: item.id, tier: item.tier, reason });
    }
}

/// What can be told without looking at the viewer's record.
fn cheap(ask: &Ask<'_>, item: &AdItem, own_country: Option<u16>) -> Option<NoFill> {
    if item.starts_at.is_some_and(|at| ask.now < at) || item.ends_at.is_some_and(|at| ask.now >= at) {
        return Some(NoFill::NotNow);
    }
    if !item.target.fits(ask.context, own_country, ask.hour) {
        return Some(NoFill::NotTargeted);
    }
    let price = item.impression_micro;
    let below = match ask.auction {
        Some(auction) => {
            let Some(floor) = auction.floor_of(&item.declared) else { return Some(NoFill::NotTargeted) };
            // An exchange is paid per impression: who has no such price does not bid.
            price <= 0 || price < floor.max(ask.placement.floor_micro)
        }
        // A deal is an exchange's alone.
        None if !item.declared.deal.is_empty() => return Some(NoFill::NotTargeted),
        None => (price > 0 || item.click_micro > 0) && expected_micro(item) < ask.placement.floor_micro,
    };
    below.then_some(NoFill::BelowFloor)
}

/// What an impression brings, in millionths of a minor unit: a price per click by the clicks so far, one in a hundred to begin with.
fn expected_micro(item: &AdItem) -> i64 {
    if item.click_micro == 0 {
        return item.impression_micro;
    }
    let (clicks, shown) = item.meter.rate();
    (item.click_micro as f64 * (clicks + 1.0) / (shown + 100.0)) as i64
}

#[allow(clippy::too_many_arguments)]
fn consider<'a>(
    snapshot: &'a Snapshot,
    lots: &Lots,
    ask: &Ask<'_>,
    item: &'a AdItem,
    seen_campaign: u32,
    seen: &mut Seen,
    on_page: &[ProductId],
    rng: &mut Rng,
    answer: &mut Answer<'a>,
) -> Result<Shown<'a>, (NoFill, bool)> {
    let go_on = |reason| Err((reason, false));
    let campaign = &snapshot.campaigns[item.campaign as usize];
    if !campaign.addresses(ask.person) || !item.target.addresses(ask.person.map(|p| p.0)) {
        return go_on(NoFill::NotAddressed);
    }
    if !item.meter.has_room(item.budget) {
        return go_on(NoFill::BudgetSpent);
    }
    let capped = item.cap_per_day > 0 && seen.of_item(campaign.id, item.id) >= item.cap_per_day;
    if seen_campaign >= campaign.cap_per_day || capped {
        return go_on(NoFill::Capped);
    }
    if !item.meter.passes(rng.word()) {
        return go_on(NoFill::Paced);
    }
    let shown = match choose(snapshot, campaign, item, ask, seen, on_page, rng) {
        Ok(shown) => shown,
        Err(reason) => return go_on(reason),
    };
    if let (Some(person), (true, global)) = (ask.person, held_out(snapshot, lots, ask, campaign)) {
        if !ask.dry && seen.ghost(campaign.id) {
            answer.ghosts.push(Ghost { campaign, variant: shown.creative.variant, product: shown.creative.product, person, global });
        }
        return Err((NoFill::HeldOut, global));
    }
    Ok(shown)
}

/// Counts what is to be shown, where it is not only asked.
fn take(ask: &Ask<'_>, shown: &Shown<'_>, seen: &mut Seen) -> Result<(), (NoFill, bool)> {
    if ask.dry {
        return Ok(());
    }
    if !shown.item.meter.take(shown.item.budget) {
        return Err((NoFill::BudgetSpent, false));
    }
    seen.add(shown.campaign.id, shown.item.id, 1);
    seen.last = Some(shown.creative.product);
    Ok(())
}

/// The chance that the winner had among all who could have taken this request.
#[allow(clippy::too_many_arguments)]
fn item_chance(
    snapshot: &Snapshot,
    lots: &Lots,
    ask: &Ask<'_>,
    candidates: &[Candidate],
    winner: usize,
    own_country: Option<u16>,
    seen: &Seen,
    on_page: &[ProductId],
) -> f32 {
    let won = candidates[winner];
    let mut lottery = Lottery::default();
    // Line items of one campaign mostly have the same banners: looked for once.
    let mut known: SmallVec<[(u32, f64); 4]> = SmallVec::new();
    for other in candidates.iter().enumerate().filter(|(i, c)| *i != winner && c.rank() <= won.rank()).map(|(_, c)| *c) {
        let item = &snapshot.items[other.item as usize];
        let campaign = &snapshot.campaigns[item.campaign as usize];
        let free = cheap(ask, item, own_country).is_none()
            && item.target.addresses(ask.person.map(|p| p.0))
            && item.meter.has_room(item.budget)
            && (item.cap_per_day == 0 || seen.of_item(campaign.id, item.id) < item.cap_per_day);
        if !free {
            continue;
        }
        let key = item.campaign << 1 | u32::from(item.chooser == Chooser::Weights);
        let stocked = known.iter().find(|(k, _)| *k == key).map(|(_, s)| *s).unwrap_or_else(|| {
            let open = campaign.addresses(ask.person) && other.seen() < campaign.cap_per_day && !held_out(snapshot, lots, ask, campaign).0;
            let share = if open { stocked(snapshot, campaign, item.chooser, ask, on_page) } else { 0.0 };
            known.push((key, share));
            share
        });
        let chance = stocked * item.meter.pass();
        if other.rank() == won.rank() {
            lottery.beside(chance);
        } else {
            lottery.before(chance);
        }
    }
    lottery.chance(snapshot.items[won.item as usize].meter.pass())
}

/// Whether the person is in the campaign's holdout or in that of all marketing, and whether it is the latter.
fn held_out(snapshot: &Snapshot, lots: &Lots, ask: &Ask<'_>, campaign: &AdCampaign) -> (bool, bool) {
    let Some(person) = ask.person else { return (false, false) };
    let global = snapshot.people.held_out(person, snapshot.global_holdout_bp);
    (global || lots.draw(Scope::Campaign(campaign.id), person, campaign.holdout_bp) == Arm::Ghost, global)
}

/// The reason that got furthest is the one to tell.
fn worsen(answer: &mut Answer<'_>, reason: NoFill) {
    if let Err(before) = answer.shown
        && reason > before
    {
        answer.shown = Err(reason);
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
