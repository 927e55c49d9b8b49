//! Which banner of a line item: those of the first products on the viewer's list that have one here compete, by what was clicked so far
//! ([`super::bandit`]) or by their variants' weights.

use smallvec::SmallVec;

use super::bandit::Rng;
use super::caps::Seen;
use super::decide::{Ask, NoFill, Shown};
use super::line_items::Chooser;
use super::snapshot::{AdCampaign, AdItem, Snapshot};
use crate::platform::ids::{ProductId, VariantId};

/// Products that compete for one viewer: the top of the list, not its tail.
const TURNS: usize = 5;
/// What each further place on a person's list costs: a click on the first pick is that much likelier.
const PLACE_FIT: [f32; TURNS] = [1.0, 0.93, 0.88, 0.84, 0.81];
/// What was shown just now is less likely to be clicked now.
const JUST_SHOWN_FIT: f32 = 0.5;

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

impl<'s> Offer<'s> {
    fn new(snapshot: &Snapshot, campaign: &'s AdCampaign, ask: &Ask<'s>, variant: Option<VariantId>, on_page: &'s [ProductId]) -> Self {
        let own = ask.person.and_then(|p| snapshot.people.locale(p));
        let locale = |name: &str| campaign.locales.iter().position(|l| l == name).map(|at| at as u8);
        Self {
            campaign,
            sizes: ask.sizes,
            locales: [own.and_then(locale), locale(&snapshot.default_locale)],
            variant,
            last: None,
            on_page,
            arms: SmallVec::new(),
            at: SmallVec::new(),
            already: false,
        }
    }

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

/// A creative of a line item for this viewer and place, by its policy, and the chance that it had.
pub fn choose<'a>(
    snapshot: &'a Snapshot,
    campaign: &'a AdCampaign,
    item: &'a AdItem,
    ask: &Ask<'_>,
    seen: &Seen,
    on_page: &[ProductId],
    rng: &mut Rng,
) -> Result<Shown<'a>, NoFill> {
    let variant = match item.chooser {
        Chooser::Weights => Some(by_weight(campaign, rng).ok_or(NoFill::NoCreative)?),
        Chooser::Thompson => None,
    };
    let mut offer = Offer::new(snapshot, campaign, ask, variant.map(|(v, _)| v), on_page);
    offer.last = seen.last;
    offer.add(picks(snapshot, ask).iter().copied(), true);
    let personal = !offer.arms.is_empty();
    if !personal {
        offer.add(popular(campaign), false);
    }
    let Some((k, chance)) = item.meter.policy.load().choose(&offer.arms, rng) else {
        return Err(if offer.already { NoFill::AlreadyOnPage } else { NoFill::NoCreative });
    };
    let propensity = chance * variant.map_or(1.0, |(_, share)| share);
    Ok(Shown { campaign, item, creative: &campaign.creatives[offer.at[k] as usize], propensity, item_chance: 0.0, personal })
}

fn picks<'s>(snapshot: &'s Snapshot, ask: &Ask<'_>) -> &'s [u32] {
    ask.person.filter(|_| ask.personal).map_or(&[][..], |p| snapshot.people.picks(p))
}

fn popular(campaign: &AdCampaign) -> impl Iterator<Item = u32> + '_ {
    campaign.popular.iter().filter_map(|p| u32::try_from(p.0).ok())
}

/// The chance that a campaign has a banner for this viewer and place: certain or none, but where the variant is drawn first.
pub fn stocked(snapshot: &Snapshot, campaign: &AdCampaign, chooser: Chooser, ask: &Ask<'_>, on_page: &[ProductId]) -> f64 {
    let any = |variant: Option<VariantId>| {
        let mut offer = Offer::new(snapshot, campaign, ask, variant, on_page);
        picks(snapshot, ask).iter().copied().chain(popular(campaign)).any(|product| offer.product(product, 1.0))
    };
    match chooser {
        Chooser::Thompson => f64::from(u8::from(any(None))),
        Chooser::Weights => {
            let total: f64 = campaign.variants.iter().map(|(_, w)| f64::from(*w)).sum();
            let with: f64 = campaign.variants.iter().filter(|(v, _)| any(Some(*v))).map(|(_, w)| f64::from(*w)).sum();
            if total > 0.0 { with / total } else { 0.0 }
        }
    }
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
