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
            person,
            subject,
            personal,
            context: &self.context,
            now: self.now,
            hour: 12,
            dry: notes.is_some(),
            bid_floor_micro: None,
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
