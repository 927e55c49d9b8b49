//! The decision: which line item, which product, which banner, for whom, now. Pure: memory in, answer out.
//!
//! Tier by tier, whoever has seen a campaign least today sees it next; ties by lot. Of a line item the creative is chosen by what was clicked
//! so far ([`super::bandit`]), among the first picks of the viewer; its chance is known and goes into the log.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use utoipa::ToSchema;

use super::bandit::Rng;
use super::caps::{Seen, Subject};
use super::line_items::{Chooser, Tier};
use super::snapshot::{AdCampaign, AdCreative, AdItem, AdPlacement, Snapshot, Turn};
use super::targeting::Context;
use crate::platform::Timestamp;
use crate::platform::ids::{CampaignId, PersonId, ProductId, VariantId};
use crate::touches::holdout::{Lots, Scope};
use crate::touches::{Arm, word_enum};

/// Products that compete for one viewer: the top of the list, not its tail.
const TURNS: usize = 5;
/// What each further place on a person's list costs: a click on the first pick is that much likelier.
const PLACE_FIT: [f32; TURNS] = [1.0, 0.93, 0.88, 0.84, 0.81];
/// What was shown just now is less likely to be clicked now.
const JUST_SHOWN_FIT: f32 = 0.5;

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
    /// Only line items that pay at least so much (millionths of a minor unit per impression): an exchange's floor. `None`: all.
    pub bid_floor_micro: Option<i64>,
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
    // The first usually has something: taking the least again and again beats sorting all.
    while let Some(at) = (0..candidates.len()).min_by_key(|i| candidates[*i].key) {
        let candidate = candidates.swap_remove(at);
        let item = &snapshot.items[candidate.item as usize];
        if !explain && let Some(reason) = cheap(ask, item, own_country) {
            worsen(&mut answer, reason);
            continue;
        }
        match consider(snapshot, lots, ask, item, candidate.seen(), seen, on_page, rng, &mut answer) {
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
    let below = match ask.bid_floor_micro {
        // An exchange is paid per impression: who has no such price does not bid.
        Some(floor) => price <= 0 || price < floor,
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
    if let Some(person) = ask.person {
        let global = snapshot.people.held_out(person, snapshot.global_holdout_bp);
        if global || lots.draw(Scope::Campaign(campaign.id), person, campaign.holdout_bp) == Arm::Ghost {
            if !ask.dry && seen.ghost(campaign.id) {
                answer.ghosts.push(Ghost { campaign, variant: shown.creative.variant, product: shown.creative.product, person, global });
            }
            return Err((NoFill::HeldOut, global));
        }
    }
    if !ask.dry {
        if !item.meter.take(item.budget) {
            return go_on(NoFill::BudgetSpent);
        }
        seen.add(campaign.id, item.id, 1);
        seen.last = Some(shown.creative.product);
    }
    Ok(shown)
}

/// The reason that got furthest is the one to tell.
fn worsen(answer: &mut Answer<'_>, reason: NoFill) {
    if let Err(before) = answer.shown
        && reason > before
    {
        answer.shown = Err(reason);
    }
}

/// Creatives that compete, as the bandit takes them, and where they lie.
struct Offer<'s> {
    campaign: &'s AdCampaign,
    sizes: &'s [(u32, u32)],
    locales: [Option<u8>; 2],
    variant: Option<VariantId>,
    last: Option<ProductId>,
    on_page: &'s [ProductId],
    arms: SmallVec<[(u32, u32, f32); 16]>,
    at: SmallVec<[u32; 16]>,
    /// Something would have fitted, but the page shows it already.
    already: bool,
}

impl Offer<'_> {
    /// Puts in the first products of a list that have a banner here.
    fn add(&mut self, products: impl Iterator<Item = u32>, ranked: bool) {
        let mut turn = 0;
        for product in products {
            if turn == TURNS {
                break;
            }
            let fit = if ranked { PLACE_FIT[turn] } else { 1.0 };
            turn += usize::from(self.product(product, fit));
        }
    }

    fn product(&mut self, product: u32, fit: f32) -> bool {
        let is = |p: &ProductId| p.0 == i64::from(product);
        let fit = if self.last.as_ref().is_some_and(is) { fit * JUST_SHOWN_FIT } else { fit };
        for size in self.sizes {
            let Some(found) = self.campaign.shelves.get(size).and_then(|shelf| shelf.get(&product)) else { continue };
            // In the person's language where there is a banner in it, else in the shop's.
            let Some(locale) = self.locales.iter().flatten().find(|l| found.iter().any(|c| c.locale == **l)) else { continue };
            let mut any = false;
            for banner in found {
                if banner.locale != *locale || self.variant.is_some_and(|v| v.0 != i64::from(banner.variant)) {
                    continue;
                }
                if self.on_page.iter().any(is) {
                    self.already = true;
                    return false;
                }
                any = true;
                self.arms.push((banner.creative, banner.variant, fit));
                self.at.push(banner.at);
            }
            if any {
                return true;
            }
        }
        false
    }
}

fn choose<'a>(
    snapshot: &'a Snapshot,
    campaign: &'a AdCampaign,
    item: &'a AdItem,
    ask: &Ask<'_>,
    seen: &Seen,
    on_page: &[ProductId],
    rng: &mut Rng,
) -> Result<Shown<'a>, NoFill> {
    let own = ask.person.and_then(|p| snapshot.people.locale(p));
    let locale = |name: &str| campaign.locales.iter().position(|l| l == name).map(|at| at as u8);
    let variant = match item.chooser {
        Chooser::Weights => Some(by_weight(campaign, rng).ok_or(NoFill::NoCreative)?),
        Chooser::Thompson => None,
    };
    let mut offer = Offer {
        campaign,
        sizes: &ask.placement.sizes,
        locales: [own.and_then(locale), locale(&snapshot.default_locale)],
        variant: variant.map(|(v, _)| v),
        last: seen.last,
        on_page,
        arms: SmallVec::new(),
        at: SmallVec::new(),
        already: false,
    };
    let picks = ask.person.filter(|_| ask.personal).map_or(&[][..], |p| snapshot.people.picks(p));
    offer.add(picks.iter().copied(), true);
    let personal = !offer.arms.is_empty();
    if !personal {
        offer.add(campaign.popular.iter().filter_map(|p| u32::try_from(p.0).ok()), false);
    }
    let Some((k, chance)) = item.meter.policy.load().choose(&offer.arms, rng) else {
        return Err(if offer.already { NoFill::AlreadyOnPage } else { NoFill::NoCreative });
    };
    let propensity = chance * variant.map_or(1.0, |(_, share)| share);
    Ok(Shown { campaign, item, creative: &campaign.creatives[offer.at[k] as usize], propensity, personal })
}

/// A variant by its weight, and the chance that it had.
fn by_weight(campaign: &AdCampaign, rng: &mut Rng) -> Option<(VariantId, f32)> {
    let total: u64 = campaign.variants.iter().map(|(_, w)| u64::from(*w)).sum();
    let mut at = rng.next_u64().checked_rem(total)?;
    for (variant, weight) in &campaign.variants {
        if at < u64::from(*weight) {
            return Some((*variant, *weight as f32 / total as f32));
        }
        at -= u64::from(*weight);
    }
    None
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
