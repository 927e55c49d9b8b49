//! What one person does in a day, and what a touch does to a person.
//!
//! Once a day, at a moment drawn for that person and day, a person may come by, and may order. The hazard of ordering is the person's own
//! rate × demand of the day × interest × (less for some days after an order) × (1 + what touches add). A touch adds an impulse when it
//! arrives (a subject line or a banner that was merely seen), another when it is opened and another when it is clicked; impulses decay
//! over days. For sleeping dogs impulses are negative. Because the same uniform is held against the hazard with and without a touch, a
//! person's orders in two worlds differ only where the touch decided.

use super::World;
use super::noise::{Purpose, Stream};
use super::people::{Nature, Voice};
use super::words::LEAVES;
use crate::platform::clock::{MINUTE_US, Timestamp};

/// Mean life of an impulse, in days.
const IMPULSE_LIFE_DAYS: f64 = 5.0;
/// Impulses older than this are forgotten (e⁻⁵ is left).
const IMPULSE_END_DAYS: f64 = 25.0;
const FATIGUE_HALF_LIFE_DAYS: f64 = 5.0;
/// Bounds of what all touches together do to a hazard.
const LEAST: f64 = 0.2;
const MOST: f64 = 4.0;
/// Nobody orders with more than this chance on one day.
const HAZARD_CAP: f64 = 0.6;

/// Impulse of a mail that arrives, is opened, is clicked; of a banner that is seen, is clicked.
const MAIL_ARRIVES: f64 = 0.14;
const MAIL_OPENED: f64 = 0.42;
const MAIL_CLICKED: f64 = 1.0;
const BANNER_SEEN: f64 = 0.05;
const BANNER_CLICKED: f64 = 0.5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    Email,
    Banner,
}

/// Something that reached a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    pub person: u32,
    /// Any number that tells campaigns apart.
    pub campaign: u32,
    pub medium: Medium,
    pub at: Timestamp,
    pub product: Option<u32>,
    pub voice: Voice,
    pub subject_chars: u16,
    /// Place of the product inside the mail, or of the banner on the page; 0 is the best.
    pub position: u8,
}

/// What a person does with a touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaction {
    pub opened_at: Option<Timestamp>,
    pub clicked_at: Option<Timestamp>,
    pub unsubscribed_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub product: u32,
    pub quantity: u32,
    pub unit_price_minor: i64,
}

/// A cancellation (all of it) or a refund (some of it) that follows an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aftermath {
    pub at: Timestamp,
    pub cancels: bool,
    pub amount_minor: i64,
    /// The line that comes back, for a refund.
    pub line: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Unique in a world: at most one per person and day.
    pub reference: String,
    pub lines: Vec<Line>,
    pub discount_minor: i64,
    /// Lines less discount.
    pub total_minor: i64,
    pub aftermath: Option<Aftermath>,
}

impl Order {
    /// What is left of the order at an instant.
    pub fn net_minor(&self, as_of: Timestamp) -> i64 {
        self.total_minor - self.aftermath.filter(|a| a.at <= as_of).map_or(0, |a| a.amount_minor)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Visit,
    Search { leaf: usize },
    View { product: u32 },
    AddToCart { product: u32, quantity: u32 },
    Order(Order),
    Cancel { reference: String, amount_minor: i64 },
    Refund { reference: String, amount_minor: i64, line: Line },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    pub person: u32,
    pub at: Timestamp,
    /// 0 or 1.
    pub device: u8,
    /// Whether the shop knows who it is; otherwise it sees the device's anonymous id alone.
    pub signed_in: bool,
    pub what: What,
}

#[derive(Clone, Copy, Debug)]
struct Impulse {
    at: f64,
    size: f64,
    product: Option<u32>,
}

/// What a person carries from day to day.
#[derive(Clone, Debug)]
pub struct State {
    fatigue: f64,
    fatigue_day: f64,
    last_order_day: f64,
    impulses: Vec<Impulse>,
}

impl Default for State {
    fn default() -> Self {
        Self { fatigue: 0.0, fatigue_day: 0.0, last_order_day: -1e3, impulses: Vec::new() }
    }
}

impl State {
    pub fn fatigue(&self, day: f64) -> f64 {
        self.fatigue * (-(day - self.fatigue_day) * std::f64::consts::LN_2 / FATIGUE_HALF_LIFE_DAYS).exp()
    }

    /// What all touches so far do to the hazard at an instant: a factor.
    fn factor(&self, day: f64) -> f64 {
        if self.impulses.is_empty() {
            return 1.0;
        }
        let mut sum = 0.0;
        for i in &self.impulses {
            if i.at < day {
                sum += i.size * (-(day - i.at) / IMPULSE_LIFE_DAYS).exp();
            }
        }
        (1.0 + sum).clamp(LEAST, MOST)
    }
}

/// How much of an action is told: everything, or only what moves money (much quicker).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    Everything,
    OrdersOnly,
}

/// A person's decision of one day: when, and whether to order or merely to look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    pub day: f64,
    pub orders: bool,
}

/// Expected sum of the impulses of a mail with the given chances.
pub(crate) fn expected_impulse(open: f64, click: f64) -> f64 {
    MAIL_ARRIVES + open * (MAIL_OPENED + click * MAIL_CLICKED)
}

/// Chance that an opened mail is clicked, at the best place in it.
pub(crate) fn p_click(liking: f64, voice: f64, fatigue: f64) -> f64 {
    logistic(-2.6 + 1.6 * liking + 0.6 * voice - 0.15 * fatigue)
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl World {
    /// A touch reaches a person: what they will do with it, and what it leaves in them. Touches must come in order of time.
    pub fn receive(&self, nature: &Nature, state: &mut State, touch: &Touch) -> Reaction {
        let day = self.day_of(touch.at);
        let fatigue = state.fatigue(day);
        let key = (u64::from(touch.campaign) << 40) ^ (touch.at.micros() / MINUTE_US) as u64;
        let mut draw = self.noise.at(Purpose::Open, u64::from(nature.index), key);
        let liking = touch.product.map_or(0.0, |p| nature.liking(&self.catalogue.products[p as usize].theme));
        let voice = nature.voice_fit(touch.voice);
        let place = 1.0 / (1.0 + 0.4 * f64::from(touch.position));
        // Drawn whether needed or not, so that one answer never shifts the next.
        let (u_open, u_click, u_leave) = (draw.uniform(), draw.uniform(), draw.uniform());
        let (open_delay, click_delay) = (0.01 + draw.exponential(0.2), 0.0005 + draw.exponential(0.004));
        let (open, click) = match touch.medium {
            Medium::Email => (self.p_open(nature, touch, fatigue, liking), p_click(liking, voice, fatigue) * place),
            Medium::Banner => (1.0, 0.008 * (1.4 * liking + 0.4 * voice).exp() * place),
        };
        let opened = match touch.medium {
            Medium::Email => (u_open < open).then_some(day + open_delay),
            Medium::Banner => Some(day),
        };
        let clicked = opened.filter(|_| u_click < click).map(|at| at + click_delay);
        let leaves =
            opened.filter(|_| touch.medium == Medium::Email && u_leave < 0.002 * (0.55 * fatigue).exp()).map(|at| at + click_delay * 2.0);
        self.leave_impulses(nature, state, touch, (fatigue, liking, voice), (day, opened, clicked));
        state.fatigue = fatigue + if touch.medium == Medium::Email { 1.0 } else { 0.08 };
        state.fatigue_day = day;
        Reaction {
            opened_at: opened.map(|d| self.instant(d)),
            clicked_at: clicked.map(|d| self.instant(d)),
            unsubscribed_at: leaves.map(|d| self.instant(d)),
        }
    }

    /// Chance that a mail is opened: by nature, voice, length of the subject, product, hour, fatigue.
    pub(crate) fn p_open(&self, nature: &Nature, touch: &Touch, fatigue: f64, liking: f64) -> f64 {
        let day = self.day_of(touch.at);
        let local = (day.fract() * 24.0 + self.offset_hours(nature.zone, day as i32)).rem_euclid(24.0);
        let hour = (std::f64::consts::TAU * (local - nature.hour) / 24.0).cos();
        let length = nature.length * ((f64::from(touch.subject_chars) - 42.0) / 20.0).clamp(-1.0, 1.0);
        logistic(nature.openness + 0.6 * nature.voice_fit(touch.voice) + 0.4 * length + 0.5 * liking + 0.5 * hour - 0.4 * fatigue)
    }

    /// What a touch with a product in a voice is worth to a person: multiplies its impulses.
    pub(crate) fn pull(&self, nature: &Nature, liking: f64, voice: f64, fatigue: f64) -> f64 {
        if self.config.null {
            0.0
        } else if nature.response < 0.0 {
            nature.response
        } else {
            nature.response * (0.8 * liking).exp() * (1.0 + 0.25 * voice).max(0.2) / (1.0 + 0.12 * fatigue)
        }
    }

    fn leave_impulses(
        &self,
        nature: &Nature,
        state: &mut State,
        touch: &Touch,
        (fatigue, liking, voice): (f64, f64, f64),
        (day, opened, clicked): (f64, Option<f64>, Option<f64>),
    ) {
        let pull = self.pull(nature, liking, voice, fatigue);
        if pull == 0.0 {
            return;
        }
        state.impulses.retain(|i| day - i.at < IMPULSE_END_DAYS);
        let mut add = |at: Option<f64>, size: f64| {
            if let Some(at) = at {
                state.impulses.push(Impulse { at, size: size * pull, product: touch.product });
            }
        };
        match touch.medium {
            Medium::Email => {
                add(Some(day), MAIL_ARRIVES);
                add(opened, MAIL_OPENED);
                add(clicked, MAIL_CLICKED);
            }
            Medium::Banner => {
                add(Some(day), BANNER_SEEN);
                add(clicked, BANNER_CLICKED);
            }
        }
    }

    /// The moment of a day (UTC, in days since the start) at which a person would come by.
    pub fn moment(&self, nature: &Nature, day: i32) -> f64 {
        let mut draw = self.noise.at(Purpose::Hour, u64::from(nature.index), day as u64);
        let local = nature.hour + 2.2 * draw.normal();
        f64::from(day) + (local - self.offset_hours(nature.zone, day)).rem_euclid(24.0) / 24.0
    }

    /// Whether a person comes by on a day, and whether to order. All touches up to that moment must have been received.
    pub fn decide(&self, nature: &Nature, state: &State, day: i32) -> Option<Decision> {
        if day < nature.joined_day {
            return None;
        }
        let (u_order, u_visit) = self.noise.at(Purpose::Decide, u64::from(nature.index), day as u64).pair();
        let interest = (1.0 + nature.slope_per_day * f64::from(day - self.config.days / 2)).clamp(0.3, 2.5);
        let demand = self.demand(day) * interest;
        let (order, visit) = (nature.orders_per_day * demand, nature.visits_per_day * demand);
        // Most days end here, with one draw.
        if u_order >= order * MOST && u_visit >= visit * MOST {
            return None;
        }
        let moment = self.moment(nature, day);
        let factor = state.factor(moment);
        let rested = 1.0 - 0.5 * (-(moment - state.last_order_day) / 4.0).exp();
        if u_order < (order * rested * factor).min(HAZARD_CAP) {
            return Some(Decision { day: moment, orders: true });
        }
        (u_visit < (visit * (1.0 + 0.5 * (factor - 1.0))).min(0.9)).then_some(Decision { day: moment, orders: false })
    }

    /// Acts on a decision and tells what happened.
    pub fn act(&self, nature: &Nature, state: &mut State, decision: Decision, detail: Detail, mut tell: impl FnMut(Happening)) {
        let day = decision.day.floor() as i32;
        if detail == Detail::OrdersOnly {
            if decision.orders {
                let order = self.order(nature, state, decision.day);
                state.last_order_day = decision.day;
                tell(Happening {
                    person: nature.index,
                    at: self.instant(decision.day),
                    device: 0,
                    signed_in: true,
                    what: What::Order(order),
                });
            }
            return;
        }
        let mut draw = self.noise.at(Purpose::Session, u64::from(nature.index), day as u64);
        let device = u8::from(draw.chance(0.35));
        // Before the second device is signed in, the driver decides what the shop sees; an order always signs in.
        let signed_in = device == 0 || decision.orders;
        let order = decision.orders.then(|| self.order(nature, state, decision.day));
        // The order is placed at the moment of the decision; what led to it lies before.
        let looks = 1 + draw.geometric(1.6, 9);
        let mut clock = decision.day - f64::from(looks + 4) * 55.0 / 86_400.0;
        let mut step = |what: What, draw: &mut Stream| {
            clock += draw.between(20.0, 50.0) / 86_400.0;
            tell(Happening { person: nature.index, at: self.instant(clock), device, signed_in, what });
        };
        step(What::Visit, &mut draw);
        if draw.chance(0.22) {
            step(What::Search { leaf: draw.by_cumulative(&nature.leaves) }, &mut draw);
        }
        for _ in 0..looks {
            if let Some(product) = self.taken(nature, day, &mut draw) {
                step(What::View { product }, &mut draw);
                if draw.chance(0.06) {
                    step(What::AddToCart { product, quantity: 1 }, &mut draw);
                }
            }
        }
        if let Some(order) = order {
            for line in &order.lines {
                step(What::View { product: line.product }, &mut draw);
                step(What::AddToCart { product: line.product, quantity: line.quantity }, &mut draw);
            }
            state.last_order_day = decision.day;
            tell(Happening { person: nature.index, at: self.instant(decision.day), device, signed_in, what: What::Order(order) });
        }
    }

    /// A product that this person takes an interest in: a category by taste and season, then the best liked of three popular ones.
    fn taken(&self, nature: &Nature, day: i32, draw: &mut Stream) -> Option<u32> {
        let mut leaf = draw.by_cumulative(&nature.leaves);
        if !draw.chance(0.7 + 0.3 * LEAVES[leaf].season * self.season(day)) {
            leaf = draw.by_cumulative(&nature.leaves);
        }
        let mut best = None;
        for _ in 0..3 {
            let product = self.catalogue.popular_in(leaf, draw)?;
            let shelf = self.catalogue.shelf(product, day);
            let item = &self.catalogue.products[product as usize];
            let dear = (shelf.pays_minor() as f64 / (LEAVES[leaf].median * 100.0)).ln();
            let score =
                2.5 * nature.liking(&item.theme) - 1.2 * nature.price_sensitivity * dear - 0.4 * (-draw.uniform().max(1e-12).ln()).ln();
            if shelf.stock > 0 && best.is_none_or(|(s, _)| score > s) {
                best = Some((score, product));
            }
        }
        best.map(|(_, product)| product)
    }

    fn order(&self, nature: &Nature, state: &State, at: f64) -> Order {
        let day = at.floor() as i32;
        let who = u64::from(nature.index);
        let mut draw = self.noise.at(Purpose::Basket, who, day as u64);
        let count = 1 + draw.geometric(nature.extra_lines, 6);
        let mut lines: Vec<Line> = Vec::with_capacity(count as usize);
        let mut add = |product: u32, quantity: u32| match lines.iter_mut().find(|l| l.product == product) {
            Some(line) => line.quantity += quantity,
            None => lines.push(Line { product, quantity, unit_price_minor: self.catalogue.price_minor(product, day) }),
        };
        let promoted = self.promoted(nature, state, at);
        for n in 0..count {
            let quantity = 1 + u32::from(draw.chance(0.12)) + u32::from(draw.chance(0.03));
            let own = self.taken(nature, day, &mut draw);
            match (n, promoted) {
                (0, Some(product)) => add(product, 1),
                _ => add(own.unwrap_or_else(|| self.any_in_stock(day, who)), quantity),
            }
        }
        let sum: i64 = lines.iter().map(|l| l.unit_price_minor * i64::from(l.quantity)).sum();
        let discount_minor = if draw.chance(0.06) { sum / 10 } else { 0 };
        let total_minor = sum - discount_minor;
        let aftermath = self.aftermath(who, day, at, &lines, total_minor);
        Order { reference: format!("w{}-{}-{day}", self.config.seed, nature.index), lines, discount_minor, total_minor, aftermath }
    }

    /// Where nothing a person looked at is in stock, they take what there is.
    fn any_in_stock(&self, day: i32, who: u64) -> u32 {
        let products = self.config.products.max(1);
        let first = (who % u64::from(products)) as u32;
        (0..products).map(|n| (first + n) % products).find(|p| self.catalogue.in_stock(*p, day)).unwrap_or(first)
    }

    /// The product of a touch that this order takes up, if any: the fresher and stronger the impulse, the likelier.
    fn promoted(&self, nature: &Nature, state: &State, at: f64) -> Option<u32> {
        let (mut best, mut weight) = (None, 0.0);
        for i in &state.impulses {
            let size = i.size * (-(at - i.at) / IMPULSE_LIFE_DAYS).exp();
            if i.at < at && size > weight && i.product.is_some_and(|p| self.catalogue.in_stock(p, at as i32)) {
                (best, weight) = (i.product, size);
            }
        }
        let u = self.noise.at(Purpose::Promote, u64::from(nature.index), at.floor() as u64).uniform();
        best.filter(|_| u < 0.6 * weight / (1.0 + weight))
    }

    fn aftermath(&self, who: u64, day: i32, at: f64, lines: &[Line], total_minor: i64) -> Option<Aftermath> {
        let mut draw = self.noise.at(Purpose::Aftermath, who, day as u64);
        let (u, wait, line) = (draw.uniform(), draw.uniform(), draw.below(lines.len()));
        if u < 0.02 {
            return Some(Aftermath { at: self.instant(at + 0.05 + wait), cancels: true, amount_minor: total_minor, line });
        }
        let amount = (lines[line].unit_price_minor * i64::from(lines[line].quantity)).min(total_minor);
        (u < 0.05).then(|| Aftermath { at: self.instant(at + 2.0 + 5.0 * wait), cancels: false, amount_minor: amount, line })
    }
}
