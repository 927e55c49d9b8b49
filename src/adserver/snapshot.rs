//! What decisions are made from: placements, running banner campaigns, and people's picks, all in memory and never changed; a new one takes
//! the old one's place whole.

use std::collections::HashMap;
use std::sync::Arc;

use crate::platform::Timestamp;
use crate::platform::ids::{CampaignId, CreativeId, PersonId, PlacementId, ProductId, VariantId};

/// A place on a page that banners are shown in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdPlacement {
    pub id: PlacementId,
    pub width: u32,
    pub height: u32,
    /// Indexes into [`Snapshot::campaigns`].
    pub campaigns: Vec<usize>,
}

/// A banner that is drawn and ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdCreative {
    pub id: CreativeId,
    pub asset_hash: String,
    /// For the image's alternative text.
    pub title: String,
}

/// Which banner: what differs between those of one campaign.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CreativeKey {
    pub variant: VariantId,
    pub product: ProductId,
    /// Language of the copy (`en`).
    pub locale: String,
    pub width: u32,
    pub height: u32,
}

/// A banner campaign that runs now.
#[derive(Clone, Debug)]
pub struct AdCampaign {
    pub id: CampaignId,
    pub name: String,
    pub holdout_bp: i64,
    /// Sorted. `None`: the segment is everyone, also browsers without a person.
    pub members: Option<Vec<PersonId>>,
    /// With their weights; never empty.
    pub variants: Vec<(VariantId, u32)>,
    pub creatives: HashMap<CreativeKey, AdCreative>,
    /// What suits anybody, best first.
    pub popular: Vec<ProductId>,
    /// Impressions per person and day.
    pub cap_per_day: u32,
}

impl AdCampaign {
    pub fn addresses(&self, person: Option<PersonId>) -> bool {
        match (&self.members, person) {
            (None, _) => true,
            (Some(members), Some(person)) => members.binary_search(&person).is_ok(),
            (Some(_), None) => false,
        }
    }
}

/// People as the ad server needs them: parallel vectors, picks packed one after the other.
#[derive(Clone, Debug, Default)]
pub struct AdPeople {
    index: HashMap<PersonId, u32>,
    external: HashMap<String, PersonId>,
    anonymous: HashMap<String, PersonId>,
    personal: Vec<bool>,
    locales: Vec<u8>,
    pick_ends: Vec<u32>,
    picks: Vec<ProductId>,
    locale_names: Vec<String>,
}

/// One person on the way into [`AdPeople`].
#[derive(Clone, Debug)]
pub struct AdPerson {
    pub id: PersonId,
    pub external_id: Option<String>,
    pub locale: String,
    /// Whether picks may be used: consent to personal ads was not withdrawn.
    pub personal: bool,
    pub picks: Vec<ProductId>,
}

impl AdPeople {
    pub fn push(&mut self, person: AdPerson) {
        let at = u32::try_from(self.personal.len()).unwrap_or(u32::MAX);
        self.index.insert(person.id, at);
        if let Some(external) = person.external_id {
            self.external.insert(external, person.id);
        }
        let locale = self.locale_names.iter().position(|l| *l == person.locale).unwrap_or_else(|| {
            self.locale_names.push(person.locale);
            self.locale_names.len() - 1
        });
        self.locales.push(u8::try_from(locale).unwrap_or(0));
        self.personal.push(person.personal);
        if person.personal {
            self.picks.extend(person.picks);
        }
        self.pick_ends.push(u32::try_from(self.picks.len()).unwrap_or(u32::MAX));
    }
    pub fn name_anonymous(&mut self, anonymous_id: String, person: PersonId) {
        self.anonymous.insert(anonymous_id, person);
    }
    pub fn by_external(&self, external_id: &str) -> Option<PersonId> {
        self.external.get(external_id).copied()
    }
    pub fn by_anonymous(&self, anonymous_id: &str) -> Option<PersonId> {
        self.anonymous.get(anonymous_id).copied()
    }
    pub fn knows(&self, person: PersonId) -> bool {
        self.index.contains_key(&person)
    }
    pub fn picks(&self, person: PersonId) -> &[ProductId] {
        let Some(&at) = self.index.get(&person) else { return &[] };
        let at = at as usize;
        let start = if at == 0 { 0 } else { self.pick_ends[at - 1] as usize };
        &self.picks[start..self.pick_ends[at] as usize]
    }
    pub fn may_personalise(&self, person: PersonId) -> bool {
        self.index.get(&person).is_some_and(|at| self.personal[*at as usize])
    }
    pub fn locale(&self, person: PersonId) -> Option<&str> {
        let at = *self.index.get(&person)?;
        self.locale_names.get(usize::from(self.locales[at as usize])).map(String::as_str)
    }
    pub fn len(&self) -> usize {
        self.personal.len()
    }
    pub fn is_empty(&self) -> bool {
        self.personal.is_empty()
    }
}

#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub taken_at: Timestamp,
    pub placements: HashMap<String, AdPlacement>,
    pub campaigns: Vec<AdCampaign>,
    /// Kept from snapshot to snapshot while only other things change.
    pub people: Arc<AdPeople>,
    /// Share of people whom no campaign reaches, in basis points.
    pub global_holdout_bp: i64,
    /// Language of copy for somebody whose own is unknown or has no copy.
    pub default_locale: String,
}
