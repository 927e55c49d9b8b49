//! A small causal world: people with hidden tastes in a shop of drawn products, whose every outcome with and without a campaign is known.
//!
//! Pure: no database, no network, no clock. Everything is a function of the seed (see [`noise`]), the touches that people received, and the
//! day. Marquee never sees any of it except through its public doors; the demo and the tests hold Marquee's figures against [`truth`].
//!
//! - [`World`]: the shop, the calendar, and how to draw any person;
//! - [`dynamics`]: what one person does in a day, and what a touch does to a person;
//! - [`Simulation`]: all people moving through time together, for the demo;
//! - [`truth`]: the same world with some touches taken away, and the oracle's choices.

pub mod catalogue;
pub mod dynamics;
pub mod noise;
pub mod people;
mod simulation;
pub mod truth;
pub mod words;

use chrono::{Datelike as _, Offset as _};

use crate::platform::clock::{DAY_US, Timestamp};

pub use catalogue::{Catalogue, Product, Shelf};
pub use dynamics::{Aftermath, Happening, Line, Medium, Order, Reaction, Touch, What};
pub use people::{Nature, Profile, VOICES, Voice};
pub use simulation::Simulation;
pub use truth::{Truth, Window};

use noise::{Noise, Purpose};
use words::ZONES;

/// Seeds used while the world and what is measured on it were being built.
pub const DEVELOPMENT_SEEDS: std::ops::Range<u64> = 1..1_000;
/// Seeds kept for acceptance tests: nothing is tuned on them.
pub const ACCEPTANCE_SEEDS: std::ops::RangeFrom<u64> = 10_000..;

/// 2026-03-02T00:00:00Z, a Monday.
const DEFAULT_START: Timestamp = Timestamp::from_secs(1_772_409_600);

/// How large a world is, and which.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    pub seed: u64,
    pub people: u32,
    pub products: u32,
    /// Midnight UTC at the start of day 0.
    pub start: Timestamp,
    /// Days that are simulated in all: history and campaigns.
    pub days: i32,
    /// Mean orders of a person and week when left alone.
    pub orders_per_week: f64,
    /// Touches are opened and clicked but change nothing that anybody buys.
    pub null: bool,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self { seed: 1, people: 5_000, products: 800, start: DEFAULT_START, days: 104, orders_per_week: 0.26, null: false }
    }
}

/// The shop and the rules of the world. Holds no people: they are drawn from the seed when they are needed, so that a world of a million
/// takes no more memory than a world of fifty.
pub struct World {
    pub config: WorldConfig,
    pub catalogue: Catalogue,
    noise: Noise,
    /// Demand of each day relative to an ordinary one.
    demand: Vec<f64>,
    /// -1 deep winter, +1 high summer, by day.
    season: Vec<f64>,
    /// Hours east of UTC by zone and day.
    offset_hours: Vec<Vec<f64>>,
}

impl World {
    pub fn new(config: WorldConfig) -> Self {
        let noise = Noise::new(config.seed);
        let days = config.days.max(1);
        let season: Vec<f64> = (0..days)
            .map(|d| {
                let date = config.start.plus_days(i64::from(d)).to_utc();
                -(std::f64::consts::TAU * (f64::from(date.ordinal()) - 15.0) / 365.25).cos()
            })
            .collect();
        let demand = (0..days).map(|d| demand(noise, config.start, d, season[d as usize])).collect();
        let offset_hours = ZONES
            .iter()
            .map(|(zone, _, _)| {
                (0..days)
                    .map(|d| f64::from(config.start.plus_days(i64::from(d)).in_zone(*zone).offset().fix().local_minus_utc()) / 3600.0)
                    .collect()
            })
            .collect();
        Self { catalogue: Catalogue::new(noise, config.products), noise, demand, season, offset_hours, config }
    }

    /// The hidden nature of a person (index below `config.people`).
    pub fn nature(&self, person: u32) -> Nature {
        Nature::draw(self.noise, &self.catalogue, self.config.orders_per_week, self.config.days, person)
    }
    /// What the shop may know of a person.
    pub fn profile(&self, nature: &Nature) -> Profile {
        Profile::draw(self.noise, nature, self.config.days)
    }
    pub fn noise(&self) -> Noise {
        self.noise
    }
    /// An instant as days (with fraction) since the start.
    pub fn day_of(&self, at: Timestamp) -> f64 {
        at.since(self.config.start) as f64 / DAY_US as f64
    }
    /// The instant of a (fractional) day.
    pub fn instant(&self, day: f64) -> Timestamp {
        self.config.start.plus_us((day * DAY_US as f64) as i64)
    }
    /// Products whose price or stock differs from the day before.
    pub fn shelf_changes(&self, day: i32) -> Vec<u32> {
        (0..self.config.products).filter(|p| self.catalogue.shelf(*p, day) != self.catalogue.shelf(*p, day - 1)).collect()
    }

    /// Hours of a day (UTC) at which somebody's clock strikes `local`; half hours are rounded up.
    pub fn hours_of(&self, day: i32, local: i64) -> Vec<i64> {
        (0..ZONES.len()).map(|zone| (local - self.offset_hours(zone, day).floor() as i64).rem_euclid(24)).collect()
    }

    fn by_day(&self, table: &[f64], day: i32) -> f64 {
        table[(day.max(0) as usize).min(table.len() - 1)]
    }
    pub(crate) fn demand(&self, day: i32) -> f64 {
        self.by_day(&self.demand, day)
    }
    pub(crate) fn season(&self, day: i32) -> f64 {
        self.by_day(&self.season, day)
    }
    pub(crate) fn offset_hours(&self, zone: usize, day: i32) -> f64 {
        self.by_day(&self.offset_hours[zone], day)
    }
}

/// Season, weekday, a slow trend, and a shock that all people of a day share.
fn demand(noise: Noise, start: Timestamp, day: i32, season: f64) -> f64 {
    const WEEK: [f64; 7] = [1.02, 0.94, 0.92, 0.97, 1.02, 1.08, 1.05];
    let weekday = start.plus_days(i64::from(day)).to_utc().weekday().num_days_from_monday() as usize;
    let shock = (0.05 * noise.at(Purpose::Weather, 0, day as u64).normal()).exp();
    WEEK[weekday] * (1.0 - 0.06 * season) * (1.0 + 0.0008 * f64::from(day)) * shock
}
