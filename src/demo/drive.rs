//! Moves the world and Marquee through the campaign days together: jobs, mails, clicks, visits, banners, orders, each at its time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use futures::StreamExt as _;
use serde_json::{Value, json};

use super::door::{Door, Sent};
use super::mailbox::{Letter, Reader};
use super::marketer::{PLACEMENTS, SetUp};
use super::messages::{self, Outbound};
use super::world::noise::Purpose;
use super::world::{Happening, Medium, Profile, Simulation, Touch, Voice, What, World};
use crate::delivery::sink::Sink;
use crate::platform::Platform;
use crate::platform::clock::{MINUTE_US, Timestamp};
use crate::platform::queue::Runner;

/// From the beginning of a visit to its end, at most.
const SESSION_US: i64 = 15 * MINUTE_US;
/// What shoppers do within this time of each other is done at one moment: short, for a person is told from a machine by haste too.
const TOGETHER_US: i64 = 2 * MINUTE_US;
/// Requests of shoppers at once.
const AT_ONCE: usize = 8;

const BROWSERS: [&str; 3] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1",
];
const MAIL_PROXY: &str = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)";
const LINK_SCANNER: &str = "Mozilla/5.0 (compatible; BarracudaSentinel/1.0; +http://www.barracuda.com)";

/// What the shoppers did, as they know it themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub letters: u64,
    pub unreadable: u64,
    pub human_opens: u64,
    pub human_clicks: u64,
    pub proxy_opens: u64,
    pub scanner_clicks: u64,
    pub unsubscribes: u64,
    pub banners_asked: u64,
    pub banners_seen: u64,
    pub banner_clicks: u64,
    pub orders: u64,
    pub failed_links: u64,
    pub ingested: u64,
    pub duplicates: u64,
    pub refused: u64,
}

/// One thing to be done at its time.
struct Deed {
    at: Timestamp,
    serial: u64,
    what: Act,
}
enum Act {
    /// Fetch a link; counts towards a figure of the tally.
    Follow {
        url: String,
        agent: &'static str,
        as_what: Follow,
    },
    Unsubscribe {
        url: String,
    },
    /// A page with a place for a banner is shown.
    Page {
        person: u32,
        anonymous: Option<String>,
        placement: &'static str,
        position: u8,
    },
}
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follow {
    Open,
    Click,
    Proxy,
    Scanner,
    BannerClick,
    Viewable,
}
impl PartialEq for Deed {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.serial) == (other.at, other.serial)
    }
}
impl Eq for Deed {}
impl PartialOrd for Deed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Deed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

/// A message on its way through the network.
type Waiting = Reverse<(Timestamp, u64, String)>;

pub struct Drive<'w> {
    pub platform: Platform,
    pub world: &'w World,
    pub simulation: Simulation<'w>,
    pub profiles: Vec<Profile>,
    pub tally: Tally,
    door: Door,
    sink: Sink,
    currency: String,
    reader: Option<Reader>,
    campaigns: Option<SetUp>,
    /// Product by Marquee's id (`prd_7`).
    products: HashMap<String, u32>,
    deeds: BinaryHeap<Reverse<Deed>>,
    waiting: BinaryHeap<Waiting>,
    serial: u64,
}

impl<'w> Drive<'w> {
    pub fn new(platform: Platform, world: &'w World, door: Door, sink: Sink) -> Self {
        let simulation = Simulation::new(world);
        let profiles = simulation.natures.iter().map(|n| world.profile(n)).collect();
        let currency = platform.config.shop.currency.code().to_owned();
        Self {
            platform,
            world,
            simulation,
            profiles,
            tally: Tally::default(),
            door,
            sink,
            currency,
            reader: None,
            campaigns: None,
            products: HashMap::new(),
            deeds: BinaryHeap::new(),
            waiting: BinaryHeap::new(),
            serial: 0,
        }
    }

    fn count(&mut self, sent: Sent) {
        self.tally.ingested += sent.accepted;
        self.tally.duplicates += sent.duplicates;
        self.tally.refused += sent.refused;
    }

    /// The shop's past up to `until` in bulk, with the times at which it happened. `tick` hears of messages sent.
    pub async fn load_history(&mut self, until: i32, tick: impl Fn(u64)) -> anyhow::Result<()> {
        const CHUNK_DAYS: i32 = 6;
        let mut day = 0;
        while day < until {
            let next = (day + CHUNK_DAYS).min(until);
            let mut sign_ups = self.sign_ups(day, next);
            let happened = self.simulation.advance(self.world.instant(f64::from(next)));
            let (mut first, mut then) = (Vec::new(), Vec::new());
            for out in self.outbound(&happened) {
                let list = if out.follows_up { &mut then } else { &mut first };
                if out.twice {
                    list.push(out.message.clone());
                }
                list.push(out.message);
            }
            sign_ups.append(&mut first);
            for messages in [sign_ups, then] {
                let sent = self.door.ingest(messages, &tick).await?;
                self.count(sent);
            }
            day = next;
        }
        Ok(())
    }

    /// Who signs up, or signs in a second device, in [from, to).
    fn sign_ups(&self, from: i32, to: i32) -> Vec<Value> {
        let mut messages = Vec::new();
        for (profile, nature) in self.profiles.iter().zip(&self.simulation.natures) {
            let joins = nature.joined_day.max(0);
            if (from..to).contains(&joins) {
                messages.push(messages::identify(self.world, profile, joins));
            }
            let second = profile.second_device_day.max(joins);
            if profile.second_device_day > 0 && (from..to).contains(&second) {
                messages.push(messages::sign_in(self.world, profile));
            }
        }
        messages
    }

    fn outbound(&mut self, happened: &[Happening]) -> Vec<Outbound> {
        let mut messages = Vec::with_capacity(happened.len());
        for h in happened {
            self.tally.orders += u64::from(matches!(h.what, What::Order(_)));
            messages.push(messages::outbound(self.world, &self.profiles[h.person as usize], h, &self.currency, messages.len()));
        }
        messages
    }

    /// Tells the shoppers which campaigns run and how the catalogue's products are known, so that they can read what they get.
    pub async fn meet(&mut self, campaigns: SetUp) -> anyhow::Result<()> {
        let by_sku: HashMap<&str, u32> = (0..).zip(&self.world.catalogue.products).map(|(i, p)| (p.sku.as_str(), i)).collect();
        let mut pictures = HashMap::new();
        let mut after = String::new();
        loop {
            let page = self.door.get(&format!("/v1/products?limit=200{after}")).await?;
            for item in page["items"].as_array().into_iter().flatten() {
                let Some(index) = item["sku"].as_str().and_then(|sku| by_sku.get(sku)).copied() else { continue };
                if let Some(id) = item["id"].as_str() {
                    self.products.insert(id.to_owned(), index);
                }
                if let Some(hash) = item["image_hash"].as_str() {
                    pictures.insert(hash.to_owned(), index);
                }
            }
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        let addresses: Vec<String> = self.profiles.iter().map(|p| p.email.clone()).collect();
        self.reader = Some(Reader::new(self.world, &addresses, pictures)?);
        self.campaigns = Some(campaigns);
        Ok(())
    }

    /// Mails that the sink has taken.
    pub fn received(&self) -> u64 {
        self.sink.count()
    }

    pub fn campaigns(&self) -> Option<&SetUp> {
        self.campaigns.as_ref()
    }

    /// Puts a day's new prices and stocks into the catalogue.
    pub async fn update_shelves(&self, day: i32, shop_url: &str) -> anyhow::Result<usize> {
        let changed = self.world.shelf_changes(day);
        for some in changed.chunks(400) {
            let products: Vec<Value> = some.iter().map(|p| messages::product(self.world, *p, day, shop_url, &self.currency)).collect();
            self.door.post("/v1/products", &json!({"products": products})).await?;
        }
        Ok(changed.len())
    }

    /// From `from` (jobs run, mails are read) to `to` (shoppers act). Both are Marquee's and the world's time.
    pub async fn step(&mut self, runner: &Runner, from: Timestamp, to: Timestamp) -> anyhow::Result<()> {
        self.platform.clock.advance_to(from);
        self.deliver_messages(from).await?;
        runner.run_until_idle().await?;
        for mail in self.sink.drain() {
            self.open_letter(&mail, from);
        }
        let (a, b) = (self.world.day_of(from) as i32, self.world.day_of(to) as i32);
        for message in
            self.sign_ups(a + i32::from(self.world.day_of(from).fract() > 0.0), b + i32::from(self.world.day_of(to).fract() > 0.0))
        {
            self.wait(from, message);
        }
        let happened = self.simulation.advance(to);
        self.show_pages(&happened);
        for out in self.outbound(&happened) {
            if out.twice {
                self.wait(out.arrives_at, out.message.clone());
            }
            self.wait(out.arrives_at, out.message);
        }
        self.act_until(from, to).await?;
        self.deliver_messages(to).await
    }

    /// What is still on its way arrives.
    pub async fn settle(&mut self, until: Timestamp) -> anyhow::Result<()> {
        self.deliver_messages(until).await
    }

    fn wait(&mut self, at: Timestamp, message: Value) {
        self.serial += 1;
        self.waiting.push(Reverse((at, self.serial, message.to_string())));
    }

    async fn deliver_messages(&mut self, until: Timestamp) -> anyhow::Result<()> {
        let mut due: Vec<Value> = Vec::new();
        while self.waiting.peek().is_some_and(|Reverse((at, _, _))| *at <= until) {
            if let Some(Reverse((_, _, message))) = self.waiting.pop() {
                due.push(serde_json::from_str(&message)?);
            }
        }
        let sent = self.door.ingest(due, |_| {}).await?;
        self.count(sent);
        Ok(())
    }

    fn plan_deed(&mut self, at: Timestamp, what: Act) {
        self.serial += 1;
        self.deeds.push(Reverse(Deed { at, serial: self.serial, what }));
    }

    /// A mail has arrived: machines fetch it at once, the person reacts when they react.
    fn open_letter(&mut self, mail: &crate::delivery::sink::ReceivedMail, now: Timestamp) {
        let letter = self.reader.as_ref().and_then(|r| r.read(mail));
        let Some((letter, (number, voice))) = letter.and_then(|l| self.recognise(&l).map(|c| (l, c))) else {
            self.tally.unreadable += 1;
            return;
        };
        self.tally.letters += 1;
        let touch = Touch {
            person: letter.person,
            campaign: number,
            medium: Medium::Email,
            at: now,
            product: letter.products.first().copied(),
            voice,
            subject_chars: u16::try_from(letter.subject.chars().count()).unwrap_or(u16::MAX),
            position: 0,
        };
        let reaction = self.simulation.receive(touch);
        let profile = &self.profiles[letter.person as usize];
        let (proxy, scanner) = (profile.mail_proxy, profile.link_scanner);
        let browser = BROWSERS[letter.person as usize % BROWSERS.len()];
        if scanner {
            for url in letter.clicks.clone() {
                self.plan_deed(now, Act::Follow { url, agent: LINK_SCANNER, as_what: Follow::Scanner });
            }
        }
        match (&letter.pixel, proxy) {
            (Some(url), true) => self.plan_deed(now, Act::Follow { url: url.clone(), agent: MAIL_PROXY, as_what: Follow::Proxy }),
            (Some(url), false) => {
                if let Some(at) = reaction.opened_at {
                    self.plan_deed(at, Act::Follow { url: url.clone(), agent: browser, as_what: Follow::Open });
                }
            }
            (None, _) => {}
        }
        if let (Some(at), Some(url)) = (reaction.clicked_at, letter.click(0)) {
            self.plan_deed(at, Act::Follow { url: url.to_owned(), agent: browser, as_what: Follow::Click });
            self.note_landing(letter.person, letter.products.first().copied(), at);
        }
        if let (Some(at), Some(url)) = (reaction.unsubscribed_at, letter.unsubscribe) {
            self.plan_deed(at, Act::Unsubscribe { url });
        }
    }

    fn recognise(&self, letter: &Letter) -> Option<(u32, Voice)> {
        let campaign = self.campaigns.as_ref()?.campaign(&letter.campaign)?;
        Some((campaign.number, campaign.voices.get(&letter.variant).copied().unwrap_or(Voice::Plain)))
    }

    /// A click lands on the product's page, which the shop reports as any other view.
    fn note_landing(&mut self, person: u32, product: Option<u32>, at: Timestamp) {
        let Some(product) = product else { return };
        let happening = Happening { person, at, device: 0, signed_in: true, what: What::View { product } };
        let out = messages::outbound(self.world, &self.profiles[person as usize], &happening, &self.currency, 9_999);
        self.wait(out.arrives_at, out.message);
    }

    /// Visits show places for banners: one in two does, on the device at hand.
    fn show_pages(&mut self, happened: &[Happening]) {
        for h in happened.iter().filter(|h| h.what == What::Visit) {
            let mut draw = self.world.noise().at(Purpose::Machine, u64::from(h.person), h.at.micros().unsigned_abs());
            if !draw.chance(0.5) {
                continue;
            }
            let profile = &self.profiles[h.person as usize];
            let known = messages::known(h, profile, self.world.day_of(h.at) as i32);
            let place = if h.device == 1 { 2 } else { usize::from(draw.chance(0.5)) };
            let what = Act::Page {
                person: h.person,
                anonymous: (!known).then(|| profile.devices[usize::from(h.device)].clone()),
                placement: PLACEMENTS[place].0,
                position: u8::from(place != 0),
            };
            // The banner is noticed when the session ends (so that it cannot have led to what was decided in it), on the same day.
            let midnight = self.world.instant(self.world.day_of(h.at).floor() + 1.0);
            self.plan_deed(h.at.plus_us(SESSION_US).min(midnight.plus_us(-1)), what);
        }
    }

    /// Everything that shoppers do before `end`, with the clock at `now`.
    async fn act_until(&mut self, now: Timestamp, end: Timestamp) -> anyhow::Result<()> {
        self.platform.clock.advance_to(now);
        // What is done may lead to more within the same span (a banner is clicked a minute later).
        while let Some(due) = self.next_deeds(end) {
            if let Some(first) = due.first() {
                self.platform.clock.advance_to(first.at);
            }
            let (door, profiles) = (self.door.clone(), &self.profiles);
            let mut answers: Vec<(Timestamp, u64, anyhow::Result<Done>)> = futures::stream::iter(due)
                .map(|deed| {
                    let door = &door;
                    async move { (deed.at, deed.serial, act(door, profiles, deed.what).await) }
                })
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            answers.sort_by_key(|(at, serial, _)| (*at, *serial));
            for (at, _, done) in answers {
                self.conclude(at, done?);
            }
        }
        Ok(())
    }

    /// The next few deeds before `end` that lie close together: done at once, at the time of the first.
    fn next_deeds(&mut self, end: Timestamp) -> Option<Vec<Deed>> {
        let limit = self.deeds.peek().map(|Reverse(d)| d.at).filter(|at| *at < end)?.plus_us(TOGETHER_US).min(end);
        let mut due = Vec::new();
        while due.len() < 4 * AT_ONCE && self.deeds.peek().is_some_and(|Reverse(d)| d.at < limit) {
            due.extend(self.deeds.pop().map(|Reverse(d)| d));
        }
        Some(due)
    }

    fn conclude(&mut self, at: Timestamp, done: Done) {
        let t = &mut self.tally;
        match done {
            Done::Followed { as_what, good } => {
                t.failed_links += u64::from(!good);
                match as_what {
                    Follow::Open => t.human_opens += 1,
                    Follow::Click => t.human_clicks += 1,
                    Follow::Proxy => t.proxy_opens += 1,
                    Follow::Scanner => t.scanner_clicks += 1,
                    Follow::BannerClick => t.banner_clicks += 1,
                    Follow::Viewable => {}
                }
            }
            Done::Unsubscribed { good } => {
                t.failed_links += u64::from(!good);
                t.unsubscribes += 1;
            }
            Done::Asked { person, position, banner } => {
                t.banners_asked += 1;
                if let Some(banner) = banner {
                    t.banners_seen += 1;
                    self.see_banner(person, position, at, &banner);
                }
            }
        }
    }

    fn see_banner(&mut self, person: u32, position: u8, at: Timestamp, banner: &Value) {
        let link = |field: &str| banner[field].as_str().map(ToOwned::to_owned);
        let browser = BROWSERS[person as usize % BROWSERS.len()];
        let campaign = banner["campaign_id"].as_str().and_then(|id| self.campaigns.as_ref()?.campaign(id));
        let Some((number, voice)) = campaign.map(|c| (c.number, c.voices.values().next().copied().unwrap_or(Voice::Plain))) else { return };
        let product = banner["product_id"].as_str().and_then(|id| self.products.get(id)).copied();
        let touch = Touch { person, campaign: number, medium: Medium::Banner, at, product, voice, subject_chars: 0, position };
        let reaction = self.simulation.receive(touch);
        if let Some(url) = link("viewable_url") {
            self.plan_deed(at, Act::Follow { url, agent: browser, as_what: Follow::Viewable });
        }
        if let (Some(clicked), Some(url)) = (reaction.clicked_at, link("click_url")) {
            self.plan_deed(clicked, Act::Follow { url, agent: browser, as_what: Follow::BannerClick });
            self.note_landing(person, product, clicked);
        }
    }
}

enum Done {
    Followed { as_what: Follow, good: bool },
    Unsubscribed { good: bool },
    Asked { person: u32, position: u8, banner: Option<Value> },
}

async fn act(door: &Door, profiles: &[Profile], what: Act) -> anyhow::Result<Done> {
    Ok(match what {
        Act::Follow { url, agent, as_what } => {
            let (status, target) = door.follow(&url, agent).await?;
            let clicked = matches!(as_what, Follow::Click | Follow::BannerClick);
            // A shopper's click must lead somewhere; everything else must at least not fail.
            let good = if clicked { status.is_redirection() && target.is_some() } else { status.is_success() || status.is_redirection() };
            Done::Followed { as_what, good }
        }
        Act::Unsubscribe { url } => Done::Unsubscribed { good: door.unsubscribe(&url).await?.is_success() },
        Act::Page { person, anonymous, placement, position } => {
            let who = match &anonymous {
                Some(device) => format!("anonymous_id={device}"),
                None => format!("person={}", profiles[person as usize].external_id),
            };
            let answer = door.get(&format!("/v1/creatives?placement={placement}&{who}")).await?;
            let banner = (answer["filled"] == true).then_some(answer);
            Done::Asked { person, position, banner }
        }
    })
}
