//! What would be shown to somebody, and why not the others: the decision tester. Nothing is counted, taken or written.

use smallvec::SmallVec;

use super::decide::{Ask, NoFill, Note};
use super::line_items::Tier;
use super::service::{AdServer, AskedBy};
use super::targeting::Context;
use crate::platform::ids::{CampaignId, LineItemId, ProductId};

/// One line item that was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub campaign: CampaignId,
    pub campaign_name: String,
    /// `None`: the campaign by itself.
    pub item: Option<LineItemId>,
    pub item_name: String,
    pub tier: Tier,
    /// `None`: it was shown.
    pub reason: Option<NoFill>,
}

#[derive(Clone, Debug)]
pub struct WouldShow {
    pub campaign_name: String,
    pub item_name: String,
    pub title: String,
    pub image_url: String,
    pub width: u32,
    pub height: u32,
    pub product: ProductId,
    pub propensity: f32,
    /// The chance of its line item before that; 0 where it was not worked out.
    pub item_chance: f32,
    pub personal: bool,
}

#[derive(Clone, Debug)]
pub struct Explained {
    /// The viewer is somebody the ad server knows.
    pub known: bool,
    pub shown: Result<WouldShow, NoFill>,
    pub asked: Vec<Asked>,
    /// Line items that nobody needed to ask: another went first.
    pub behind: usize,
}

impl AdServer {
    /// As a request would be decided now; `None` where there is no such placement.
    pub fn explain(&self, placement: &str, asked: AskedBy<'_>, context: &Context) -> Option<Explained> {
        let snapshot = self.snapshot();
        let place = snapshot.placements.get(placement)?;
        let now = self.platform.now();
        let (day, hour) = self.local(now);
        let (person, subject, _) = self.viewer(&snapshot, asked);
        let personal = person.is_some_and(|p| snapshot.people.may_personalise(p));
        let ask = Ask { placement: place, sizes: &place.sizes, person, subject, personal, context, now, hour, dry: true, auction: None };
        let mut notes: Vec<Note> = Vec::new();
        let answer = self.ask(&snapshot, &ask, day, &mut SmallVec::new(), Some(&mut notes));
        let campaign = |id: CampaignId| snapshot.campaigns.iter().find(|c| c.id == id).map(|c| c.name.clone()).unwrap_or_default();
        let item = |id: i64| snapshot.items.iter().find(|i| i.id == id && id > 0).map(|i| i.name.clone()).unwrap_or_default();
        Some(Explained {
            known: person.is_some(),
            shown: answer.shown.map(|s| WouldShow {
                campaign_name: s.campaign.name.clone(),
                item_name: s.item.name.clone(),
                title: s.creative.title.clone(),
                image_url: s.creative.image_url.clone(),
                width: s.creative.width,
                height: s.creative.height,
                product: s.creative.product,
                propensity: s.propensity,
                item_chance: s.item_chance,
                personal: s.personal,
            }),
            behind: place.turns.len().saturating_sub(notes.len()),
            asked: notes
                .into_iter()
                .map(|n| Asked {
                    campaign: n.campaign,
                    campaign_name: campaign(n.campaign),
                    item: (n.item > 0).then_some(LineItemId(n.item)),
                    item_name: item(n.item),
                    tier: n.tier,
                    reason: n.reason,
                })
                .collect(),
        })
    }
}
