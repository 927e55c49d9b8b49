//! The decision, on snapshots made by hand.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::adserver::load::ad_creative;
use crate::adserver::meter::{Budget, Meter};
use crate::adserver::people::{AdPeople, AdPerson};
use crate::adserver::render::Parts;
use crate::adserver::targeting::{Members, Target, Targeting};
use crate::platform::ids::{CreativeId, PlacementId};
use crate::platform::token::Signer;

const NOW: Timestamp = Timestamp::from_secs(1_768_478_400);

fn campaign(id: i64, members: Option<Vec<i64>>, cap_per_day: u32) -> AdCampaign {
    let variant = VariantId(id * 10);
    let banner = |product: i64| {
        ad_creative(&Parts {
            creative: CreativeId(id * 100 + product),
            campaign: CampaignId(id),
            variant,
            product: ProductId(product),
            width: 300,
            height: 250,
            title: "Thing",
            asset_hash: "00",
            base: "https://ads.example.test",
        })
    };
    let mut campaign = AdCampaign {
        members: members.map(|m| Arc::new(m.into_iter().collect::<Members>())),
        variants: vec![(variant, 1)],
        popular: vec![ProductId(1), ProductId(2)],
        cap_per_day,
        ..AdCampaign::new(CampaignId(id), "campaign")
    };
    campaign.stock([1, 2, 3].map(|p| (banner(p), "en")).into());
    campaign
}

fn item(campaign: u32, id: i64) -> AdItem {
    AdItem { id, ..AdItem::own(campaign, Arc::new(Meter::default())) }
}

fn snapshot(campaigns: Vec<AdCampaign>, items: Vec<AdItem>) -> Snapshot {
    let mut people = AdPeople::default();
    let person = |(id, personal)| AdPerson {
        id: PersonId(id),
        external_id: Some(format!("u{id}")),
        locale: "en".into(),
        personal,
        country: None,
        lot: 5_000,
        picks: vec![ProductId(3), ProductId(2), ProductId(9)],
    };
    people.update([(1, true), (2, false)].map(person).into(), &[]);
    people.name_anonymous(vec![("browser".into(), PersonId(1))]);
    let place = AdPlacement {
        id: PlacementId(1),
        key: "home".into(),
        sizes: [(300, 250)].into_iter().collect(),
        site: String::new(),
        paused: false,
        exchange: false,
        floor_micro: 0,
        target: Target::default(),
        turns: (0..).zip(&items).map(|(item, i)| Turn { item, tier: i.tier, campaign: campaigns[i.campaign as usize].id }).collect(),
        forecast: Arc::default(),
        outcomes: Arc::default(),
    };
    Snapshot {
        placements: HashMap::from([("home".to_owned(), place)]).into(),
        campaigns: campaigns.into(),
        items: items.into(),
        people: people.into(),
        default_locale: "en".into(),
        ..Snapshot::default()
    }
}

/// One campaign by itself.
fn single(c: AdCampaign) -> Snapshot {
    snapshot(vec![c], vec![item(0, 0)])
}

struct Page {
    caps: crate::adserver::Caps,
    rng: Rng,
    context: Context,
    now: Timestamp,
}

impl Page {
    fn new() -> Self {
        Self { caps: crate::adserver::Caps::default(), rng: Rng::seeded(7), context: Context::default(), now: NOW }
    }
    fn ask<'s>(&mut self, s: &'s Snapshot, viewer: Viewer<'_>, day: i64) -> Answer<'s> {
        self.page(s, viewer, day, &mut SmallVec::new(), None)
    }
    fn page<'s>(
        &mut self,
        s: &'s Snapshot,
        viewer: Viewer<'_>,
        day: i64,
        on_page: &mut SmallVec<[ProductId; 4]>,
        notes: Option<&mut Vec<Note>>,
    ) -> Answer<'s> {
        let (person, subject) = recognise(s, viewer);
        let personal = person.is_some_and(|p| s.people.may_personalise(p));
        let ask = Ask {
            placement: &s.placements["home"],
            sizes: &s.placements["home"].sizes,
            person,
            subject,
            personal,
            context: &self.context,
            now: self.now,
            hour: 12,
            dry: notes.is_some(),
            auction: None,
        };
        let lots = Lots::new(&Signer::new(&[1; 32]));
        let rng = &mut self.rng;
        self.caps.with(subject, day, |seen| decide(s, &lots, &ask, seen, on_page, rng, notes))
    }
}

fn product(answer: &Answer<'_>) -> Result<(i64, bool), NoFill> {
    answer.shown.map(|s| (s.creative.product.0, s.personal))
}
const ONE: Viewer<'static> = Viewer::Person(PersonId(1));

#[test]
fn a_person_gets_of_their_picks_and_no_more_than_the_cap() {
    let (s, mut page) = (single(campaign(1, None, 3)), Page::new());
    for _ in 0..3 {
        let (shown, personal) = product(&page.ask(&s, ONE, 1)).expect("shown");
        assert!([3, 2].contains(&shown) && personal, "product 9 has no banner");
    }
    assert_eq!(product(&page.ask(&s, ONE, 1)), Err(NoFill::Capped));
    assert!(page.ask(&s, ONE, 2).shown.is_ok(), "a new day");
}

#[test]
fn a_known_browser_shares_its_persons_cap() {
    let (s, mut page) = (single(campaign(1, None, 1)), Page::new());
    assert!(product(&page.ask(&s, Viewer::Anonymous("browser"), 1)).expect("shown").1);
    assert_eq!(product(&page.ask(&s, ONE, 1)), Err(NoFill::Capped));
}

#[test]
fn without_consent_or_a_person_the_choice_is_not_personal() {
    let (s, mut page) = (single(campaign(1, None, 9)), Page::new());
    for viewer in [Viewer::Person(PersonId(2)), Viewer::Anonymous("stranger"), Viewer::Nobody] {
        let (shown, personal) = product(&page.ask(&s, viewer, 1)).expect("shown");
        assert!([1, 2].contains(&shown) && !personal, "{viewer:?}");
    }
}

#[test]
fn only_members_are_addressed_and_campaigns_share_a_place_evenly() {
    let s = snapshot(vec![campaign(1, Some(vec![1]), 9), campaign(2, None, 9)], vec![item(0, 0), item(1, 0)]);
    let mut page = Page::new();
    let mut seen = HashMap::<i64, u32>::new();
    for _ in 0..8 {
        *seen.entry(page.ask(&s, ONE, 1).shown.expect("shown").campaign.id.0).or_default() += 1;
    }
    assert_eq!(seen, HashMap::from([(1, 4), (2, 4)]));
    assert_eq!(page.ask(&s, Viewer::Anonymous("stranger"), 1).shown.expect("shown").campaign.id, CampaignId(2));
}

#[test]
fn tiers_go_in_order_and_house_ads_fill_the_rest() {
    let house = AdItem { tier: Tier::House, ..item(1, 2) };
    let sponsored = AdItem { tier: Tier::Sponsored, budget: Budget::Impressions(3), ..item(0, 1) };
    let s = snapshot(vec![campaign(1, None, 99), campaign(2, None, 99)], vec![house, sponsored]);
    let mut page = Page::new();
    let shown: Vec<i64> = (0..5).map(|_| page.ask(&s, Viewer::Nobody, 1).shown.expect("shown").item.id).collect();
    assert_eq!(shown, [1, 1, 1, 2, 2], "the budget is three");
}

#[test]
fn dates_targets_floors_budgets_and_caps_each_have_their_word() {
    let base = || item(0, 1);
    let with = |i: AdItem| snapshot(vec![campaign(1, None, 9)], vec![i]);
    let garden = Targeting { keywords: vec!["garden".into()], ..Targeting::default() };
    let nobody = Targeting { segments: vec![crate::platform::ids::SegmentId(1)], ..Targeting::default() };
    let compile = |t: &Targeting| Target::compile(t, |_| Arc::new([7].into_iter().collect()));
    let mut below = with(AdItem { impression_micro: 500, ..base() });
    let mut places = (*below.placements).clone();
    places.get_mut("home").expect("there").floor_micro = 501;
    below.placements = places.into();
    let mut paused = with(base());
    let mut places = (*paused.placements).clone();
    places.get_mut("home").expect("there").paused = true;
    paused.placements = places.into();
    for (s, reason) in [
        (with(AdItem { starts_at: Some(NOW.plus_secs(1)), ..base() }), NoFill::NotNow),
        (with(AdItem { ends_at: Some(NOW), ..base() }), NoFill::NotNow),
        (with(AdItem { target: compile(&garden), ..base() }), NoFill::NotTargeted),
        (with(AdItem { target: compile(&nobody), ..base() }), NoFill::NotAddressed),
        (with(AdItem { budget: Budget::Impressions(0), ..base() }), NoFill::BudgetSpent),
        (below, NoFill::BelowFloor),
        (paused, NoFill::PlacementPaused),
        (snapshot(vec![], vec![]), NoFill::NoCampaign),
        (with(AdItem { meter: Arc::new(throttled()), ..base() }), NoFill::Paced),
    ] {
        assert_eq!(product(&Page::new().ask(&s, ONE, 1)), Err(reason));
    }
    let mut page = Page::new();
    page.context = Context::default().with_keywords(["Garden"].into_iter());
    assert!(page.ask(&with(AdItem { target: compile(&garden), ..base() }), ONE, 1).shown.is_ok());
    let (capped, mut page) = (with(AdItem { cap_per_day: 1, ..base() }), Page::new());
    assert!(page.ask(&capped, ONE, 1).shown.is_ok());
    assert_eq!(product(&page.ask(&capped, ONE, 1)), Err(NoFill::Capped));
}

fn throttled() -> Meter {
    let meter = Meter::default();
    let flight = super::super::pacing::Flight { start: NOW, end: NOW.plus_days(1), budget: 10.0 };
    meter.pace(NOW, Budget::Impressions(10), Some(&flight), &super::super::pacing::Forecast::default());
    // Far ahead of its curve: nothing passes.
    meter.read(super::super::meter::Used { shown: 9, ..Default::default() });
    for s in 1..300 {
        meter.pace(NOW.plus_secs(s), Budget::Impressions(10), Some(&flight), &super::super::pacing::Forecast::default());
    }
    assert!(meter.pass() < 0.001);
    meter
}

#[test]
fn no_product_is_shown_twice_on_one_page() {
    let (s, mut page) = (single(campaign(1, None, 9)), Page::new());
    let mut on_page = SmallVec::new();
    let first = product(&page.page(&s, ONE, 1, &mut on_page, None)).expect("shown").0;
    let second = product(&page.page(&s, ONE, 1, &mut on_page, None)).expect("shown").0;
    assert_ne!(first, second);
    // Both picks with a banner are on the page: what suits anybody fills in, then nothing is left.
    assert_eq!(product(&page.page(&s, ONE, 1, &mut on_page, None)), Ok((1, false)));
    assert_eq!(product(&page.page(&s, ONE, 1, &mut on_page, None)), Err(NoFill::AlreadyOnPage));
}

#[test]
fn the_held_out_see_nothing_and_leave_one_ghost_a_day() {
    let held = AdCampaign { holdout_bp: 10_000, ..campaign(1, None, 9) };
    let (s, mut page) = (single(held), Page::new());
    let answer = page.ask(&s, ONE, 1);
    assert_eq!(product(&answer), Err(NoFill::HeldOut));
    assert_eq!((answer.ghosts.len(), answer.ghosts[0].global), (1, false));
    assert!([2, 3].contains(&answer.ghosts[0].product.0));
    assert!(page.ask(&s, ONE, 1).ghosts.is_empty() && page.ask(&s, ONE, 2).ghosts.len() == 1);
    let mut all = single(campaign(1, None, 9));
    all.global_holdout_bp = 5_001;
    let answer = Page::new().ask(&all, ONE, 1);
    assert!(answer.shown.is_err() && answer.ghosts[0].global);
}

#[test]
fn weights_are_kept_and_their_chance_is_told() {
    let mut c = campaign(1, None, u32::MAX);
    let other = VariantId(11);
    c.variants = vec![(VariantId(10), 1), (other, 3)];
    let parts = Parts {
        creative: CreativeId(900),
        campaign: CampaignId(1),
        variant: other,
        product: ProductId(1),
        width: 300,
        height: 250,
        title: "Thing",
        asset_hash: "00",
        base: "",
    };
    c.stock(vec![(ad_creative(&parts), "en")]);
    c.popular = vec![ProductId(1)];
    let s = snapshot(vec![c], vec![AdItem { chooser: Chooser::Weights, ..item(0, 1) }]);
    let mut page = Page::new();
    let mut of_other = 0;
    for _ in 0..4_000 {
        let shown = page.ask(&s, Viewer::Nobody, 1).shown.expect("shown");
        let expected = if shown.creative.variant == other { 0.75 } else { 0.25 };
        assert!((shown.propensity - expected).abs() < 1e-6);
        of_other += i32::from(shown.creative.variant == other);
    }
    // Four standard deviations.
    assert!((of_other - 3_000).abs() < 110, "{of_other}");
}

#[test]
fn looking_counts_nothing_and_says_why_each_did_not_show() {
    let spent = AdItem { tier: Tier::Sponsored, budget: Budget::Impressions(0), ..item(0, 1) };
    let s = snapshot(vec![campaign(1, None, 1), campaign(2, None, 1)], vec![spent, item(1, 2)]);
    let mut page = Page::new();
    for _ in 0..3 {
        let mut notes = Vec::new();
        assert!(page.page(&s, ONE, 1, &mut SmallVec::new(), Some(&mut notes)).shown.is_ok());
        let told: Vec<_> = notes.iter().map(|n| (n.item, n.reason)).collect();
        assert_eq!(told, [(1, Some(NoFill::BudgetSpent)), (2, None)]);
    }
    assert_eq!(s.items[1].meter.shown(), 0);
}

/// A line item that lets about this share of the requests pass.
fn passing(share: f64) -> Arc<Meter> {
    let meter = Meter::default();
    meter.let_pass(share);
    Arc::new(meter)
}

/// How often each line item won, beside the mean of the chance that it was said to have had when it did.
fn lot(s: &Snapshot, requests: u32, viewer: Viewer<'_>) -> HashMap<i64, (f64, f64)> {
    let mut page = Page::new();
    let mut won: HashMap<i64, (f64, f64)> = HashMap::new();
    for _ in 0..requests {
        if let Ok(shown) = page.ask(s, viewer, 1).shown {
            let entry = won.entry(shown.item.id).or_default();
            entry.0 += 1.0;
            entry.1 += f64::from(shown.item_chance);
        }
    }
    won.into_iter().map(|(id, (n, sum))| (id, (n / f64::from(requests), sum / n))).collect()
}

#[test]
fn the_lot_between_line_items_is_told_as_it_falls() {
    // Throttled, free, without a banner, of two campaigns, and a house ad behind all.
    let empty = AdCampaign { popular: vec![ProductId(77)], ..campaign(3, None, u32::MAX) };
    let items = vec![
        AdItem { meter: passing(0.5), ..item(0, 1) },
        AdItem { meter: passing(0.25), ..item(1, 2) },
        AdItem { meter: passing(0.5), ..item(1, 3) },
        item(2, 4),
        AdItem { tier: Tier::House, ..item(0, 5) },
        AdItem { tier: Tier::Sponsored, meter: passing(0.1), ..item(1, 6) },
    ];
    let s = snapshot(vec![campaign(1, None, u32::MAX), campaign(2, None, u32::MAX), empty], items);
    let won = lot(&s, 40_000, Viewer::Nobody);
    let mut all: Vec<i64> = won.keys().copied().collect();
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3, 5, 6], "whoever has no banner never wins");
    for (id, (share, told)) in &won {
        // Four standard deviations.
        assert!((share - told).abs() < 4.0 * (told * (1.0 - told) / 40_000.0).sqrt(), "{id}: {share} was told as {told}");
    }
    let sum: f64 = won.values().map(|(_, told)| told).sum();
    assert!((sum - 1.0).abs() < 1e-3, "somebody always shows: {sum}");
    assert!((won[&6].1 - 0.1).abs() < 1e-3, "who goes first has no rival but the throttle");
}

#[test]
fn a_drawn_variant_without_a_banner_stands_aside() {
    let mut c = campaign(1, None, u32::MAX);
    c.variants = vec![(VariantId(10), 1), (VariantId(11), 3)];
    let items = vec![AdItem { chooser: Chooser::Weights, ..item(0, 1) }, item(0, 2)];
    let s = snapshot(vec![c], items);
    let won = lot(&s, 20_000, Viewer::Nobody);
    // A quarter of its draws has a banner: 1/4 · 1/2 of the requests, and the other takes the rest.
    let (share, told) = won[&1];
    assert!((share - 0.125).abs() < 0.01, "{share}");
    // Its own chance of this draw is part of the creative's propensity.
    assert!((told - 0.5).abs() < 1e-6, "{told}");
    assert!((won[&2].1 - 0.875).abs() < 1e-6, "{}", won[&2].1);
}

#[test]
fn a_deal_is_no_pages_and_an_auction_asks_by_its_own_rules() {
    use crate::adserver::auction::{Auction, Categories, Deal, Declared, Domains, Refused, TAXONOMY};
    let declared = |deal: &str| Declared { deal: deal.into(), categories: vec!["IAB22-2".into()], ..Declared::default() };
    let items = vec![
        AdItem { impression_micro: 300, declared: declared("d1"), ..item(0, 1) },
        AdItem { impression_micro: 200, declared: declared(""), ..item(0, 2) },
    ];
    let s = snapshot(vec![campaign(1, None, u32::MAX)], items);
    for _ in 0..20 {
        assert_eq!(Page::new().ask(&s, Viewer::Nobody, 1).shown.expect("shown").item.id, 2, "the deal's is not for pages");
    }
    let refused = |categories: &[&str]| Refused {
        categories: Categories::of(&categories.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>()),
        only: Categories::default(),
        taxonomy: TAXONOMY,
        domains: Domains::default(),
        shop: "shop.example.com".into(),
    };
    let deals = [Deal { id: "d1", floor_micro: 250, advertisers: Domains::default() }];
    let ask = |refused: &Refused, in_deals: bool, floor_micro: i64| {
        let auction = Auction { deals: in_deals.then_some(&deals[..]), floor_micro, refused, attributes: &[] };
        let page = Page::new();
        let place = &s.placements["home"];
        let ask = Ask {
            placement: place,
            sizes: &place.sizes,
            person: None,
            subject: None,
            personal: false,
            context: &page.context,
            now: NOW,
            hour: 12,
            dry: true,
            auction: Some(&auction),
        };
        let lots = Lots::new(&Signer::new(&[1; 32]));
        let mut rng = page.rng.clone();
        page.caps.with(None, 1, |seen| {
            decide(&s, &lots, &ask, seen, &mut SmallVec::new(), &mut rng, None).shown.map(|shown| (shown.item.id, shown.item_chance))
        })
    };
    assert_eq!(ask(&refused(&["IAB25"]), false, 200), Ok((2, 1.0)));
    assert_eq!(ask(&refused(&["IAB25"]), true, 0), Ok((1, 1.0)));
    assert_eq!(ask(&refused(&[]), false, 201), Err(NoFill::BelowFloor));
    assert_eq!(ask(&refused(&["IAB22"]), false, 0), Err(NoFill::NotTargeted));
}
