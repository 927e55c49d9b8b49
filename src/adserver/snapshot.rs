//! What decisions are made from: placements, line items, running banner campaigns with their banners, and people's picks, all in memory and
//! never changed; a new one takes the old one's place whole, and shares with it what stayed the same.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::auction::Declared;
use super::line_items::{Chooser, LineItem, Tier};
use super::meter::{Budget, Meter};
use super::pacing::{Flight, Forecast};
use super::people::{AdPeople, Numbers};
use super::render::Template;
use super::targeting::{Members, Target};
use crate::platform::ids::{CampaignId, CreativeId, PlacementId, ProductId, VariantId};
use crate::platform::{Money, Timestamp};

/// Widths and heights.
pub type Sizes = SmallVec<[(u32, u32); 2]>;

/// A place on a page that banners are shown in.
#[derive(Clone, Debug)]
pub struct AdPlacement {
    pub id: PlacementId,
    pub key: String,
    /// The first is its own; the others fit as well.
    pub sizes: Sizes,
    /// Host of the pages it stands on; empty: any.
    pub site: String,
    pub paused: bool,
    pub exchange: bool,
    /// Least price per thousand impressions of a priced line item, in millionths of a minor unit per impression.
    pub floor_micro: i64,
    pub target: Target,
    /// Who may show something here, tiers in order.
    pub turns: Vec<Turn>,
    pub forecast: Arc<Forecast>,
    /// What requests ended in, counted.
    pub outcomes: Arc<super::outcomes::Outcomes>,
}

/// What is looked at of every line item of a placement on every request, close together in memory.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Index into [`Snapshot::items`].
    pub item: u32,
    pub tier: Tier,
    pub campaign: CampaignId,
}

/// A line item that may show something, or (`id` 0) a campaign's own right to the placements of its plan.
#[derive(Clone, Debug)]
pub struct AdItem {
    /// 0: none, the campaign's own.
    pub id: i64,
    pub name: String,
    /// Index into [`Snapshot::campaigns`].
    pub campaign: u32,
    pub tier: Tier,
    pub chooser: Chooser,
    pub starts_at: Option<Timestamp>,
    pub ends_at: Option<Timestamp>,
    pub target: Target,
    pub declared: Declared,
    /// 0: the campaign's.
    pub cap_per_day: u32,
    pub budget: Budget,
    pub flight: Option<Flight>,
    /// Millionths of a minor unit.
    pub impression_micro: i64,
    pub click_micro: i64,
    pub meter: Arc<Meter>,
}

impl AdItem {
    /// The campaign's own.
    pub fn own(campaign: u32, meter: Arc<Meter>) -> Self {
        Self {
            id: 0,
            name: String::new(),
            campaign,
            tier: Tier::Standard,
            chooser: Chooser::Thompson,
            starts_at: None,
            ends_at: None,
            target: Target::default(),
            declared: Declared::default(),
            cap_per_day: 0,
            budget: Budget::Unlimited,
            flight: None,
            impression_micro: 0,
            click_micro: 0,
            meter,
        }
    }
    pub fn of(item: &LineItem, campaign: u32, target: Target, meter: Arc<Meter>) -> Self {
        Self {
            id: item.id.0,
            name: item.name.clone(),
            campaign,
            tier: item.tier,
            chooser: item.choice,
            starts_at: item.starts_at,
            ends_at: item.ends_at,
            target,
            declared: item.exchange.clone(),
            cap_per_day: u32::try_from(item.cap_per_day).unwrap_or(0),
            budget: Budget::of(item),
            flight: super::meter::flight(item),
            impression_micro: item.impression_micro(),
            click_micro: item.click_micro(),
            meter,
        }
    }
}

/// A banner that is drawn and ready.
#[derive(Clone, Debug)]
pub struct AdCreative {
    pub id: CreativeId,
    pub variant: VariantId,
    pub product: ProductId,
    /// Index into [`AdCampaign::locales`].
    pub locale: u8,
    pub width: u32,
    pub height: u32,
    /// The answer's JSON but for what differs from request to request.
    pub template: Template,
    pub image_url: String,
    pub title: String,
}

/// A banner on a shelf, with what the choice asks of it: the banner itself, far away in memory, is looked at only when it was chosen.
#[derive(Clone, Copy, Debug)]
pub struct Shelved {
    /// Index into [`AdCampaign::creatives`].
    pub at: u32,
    pub creative: u32,
    pub variant: u32,
    pub locale: u8,
}

/// Banners of one size by product.
pub type Shelf = HashMap<u32, SmallVec<[Shelved; 2]>, Numbers>;

/// A banner campaign that runs now.
#[derive(Clone, Debug)]
pub struct AdCampaign {
    pub id: CampaignId,
    pub name: String,
    pub holdout_bp: i64,
    /// `None`: the segment is everyone, also browsers without a person.
    pub members: Option<Arc<Members>>,
    /// With their weights; never empty.
    pub variants: Vec<(VariantId, u32)>,
    pub locales: Vec<String>,
    pub creatives: Vec<AdCreative>,
    pub shelves: HashMap<(u32, u32), Shelf>,
    /// What suits anybody, best first.
    pub popular: Vec<ProductId>,
    /// Impressions per person and day.
    pub cap_per_day: u32,
}

impl AdCampaign {
    /// Without banners yet: see [`AdCampaign::stock`].
    pub fn new(id: CampaignId, name: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
            holdout_bp: 0,
            members: None,
            variants: Vec::new(),
            locales: Vec::new(),
            creatives: Vec::new(),
            shelves: HashMap::new(),
            popular: Vec::new(),
            cap_per_day: u32::MAX,
        }
    }
    pub fn addresses(&self, person: Option<crate::platform::ids::PersonId>) -> bool {
        match (&self.members, person) {
            (None, _) => true,
            (Some(members), Some(person)) => members.contains(person.0),
            (Some(_), None) => false,
        }
    }
    /// Puts banners on their shelves.
    pub fn stock(&mut self, creatives: Vec<(AdCreative, &str)>) {
        for (mut creative, locale) in creatives {
            let at = self.locales.iter().position(|l| l == locale).unwrap_or_else(|| {
                self.locales.push(locale.to_owned());
                self.locales.len() - 1
            });
            creative.locale = u8::try_from(at).unwrap_or(0);
            let Ok(product) = u32::try_from(creative.product.0) else { continue };
            let shelved = Shelved {
                at: self.creatives.len() as u32,
                creative: creative.id.0 as u32,
                variant: creative.variant.0 as u32,
                locale: creative.locale,
            };
            self.shelves.entry((creative.width, creative.height)).or_default().entry(product).or_default().push(shelved);
            self.creatives.push(creative);
        }
    }
}

/// A product as recommendations show it.
#[derive(Clone, Debug)]
pub struct AdProduct {
    pub sku: String,
    pub title: String,
    pub brand: Option<String>,
    pub category: String,
    pub price: Money,
    pub was: Option<Money>,
    /// Where it is bought, tagged.
    pub url: String,
    pub image_url: Option<String>,
    /// Title, brand and category, folded, for a search.
    pub words: String,
}

pub type Products = HashMap<u32, AdProduct, Numbers>;

#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub taken_at: Timestamp,
    pub placements: Arc<HashMap<String, AdPlacement>>,
    pub campaigns: Arc<Vec<AdCampaign>>,
    pub items: Arc<Vec<AdItem>>,
    /// Kept from snapshot to snapshot while only other things change.
    pub people: Arc<AdPeople>,
    pub products: Arc<Products>,
    /// What suits anybody, best first.
    pub popular: Vec<ProductId>,
    /// Share of people whom no campaign reaches, in basis points.
    pub global_holdout_bp: i64,
    /// Language of copy for somebody whose own is unknown or has no copy.
    pub default_locale: String,
}
