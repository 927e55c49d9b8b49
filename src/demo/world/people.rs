//! Who shops: the profile that the shop can see, and the hidden nature that it can only guess.

use super::catalogue::{Catalogue, THEMES, Theme, around, dot, unit};
use super::noise::{Noise, Purpose};
use super::words::{FIRST_NAMES, FIRST_NAMES_ZH, LAST_NAMES, LAST_NAMES_ZH, LEAVES, ZONES};

/// Ways of writing that people like more or less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Voice {
    Friendly,
    Plain,
    Playful,
    Elegant,
    Urgent,
}
pub const VOICES: [Voice; 5] = [Voice::Friendly, Voice::Plain, Voice::Playful, Voice::Elegant, Voice::Urgent];

impl Voice {
    /// The copywriter's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Friendly => "friendly",
            Self::Plain => "plain",
            Self::Playful => "playful",
            Self::Elegant => "elegant",
            Self::Urgent => "urgent",
        }
    }
}

/// Hidden. What a person is like, drawn from (seed, index) alone.
#[derive(Clone, Debug)]
pub struct Nature {
    pub index: u32,
    /// Unit vector in theme space.
    pub taste: Theme,
    /// Cumulative weights over leaf categories: where this person looks.
    pub leaves: [f32; LEAVES.len()],
    /// Hazard of ordering on an average day when left alone.
    pub orders_per_day: f64,
    /// Chance to come by on an average day without ordering.
    pub visits_per_day: f64,
    /// Mean lines beyond the first.
    pub extra_lines: f64,
    /// How much a price above the usual puts off, from 0 to 1.
    pub price_sensitivity: f64,
    /// Multiplies what a touch adds to the hazard; below zero for sleeping dogs.
    pub response: f64,
    /// Logit of opening a mail at the best hour, unfatigued.
    pub openness: f64,
    /// Liking of each voice, about -1 to 1.
    pub voices: [f64; VOICES.len()],
    /// Prefers short (-1) or long (+1) subjects.
    pub length: f64,
    /// Local hour around which this person shops and reads.
    pub hour: f64,
    pub zone: usize,
    /// Interest grows or fades: relative change per day.
    pub slope_per_day: f64,
    /// First day on which this person shops; negative for old customers.
    pub joined_day: i32,
}

/// What the shop may know: names, addresses, devices, consent.
#[derive(Clone, Debug)]
pub struct Profile {
    pub index: u32,
    pub external_id: String,
    pub first_name: String,
    pub last_name: String,
    pub email: String,
    pub locale: &'static str,
    pub time_zone: chrono_tz::Tz,
    pub country: &'static str,
    pub email_consent: bool,
    pub ads_consent: bool,
    /// Two devices, each with its own anonymous id.
    pub devices: [String; 2],
    /// From this day on the second device is signed in; before, its events are anonymous.
    pub second_device_day: i32,
    /// Mail to this address is refused by its server.
    pub bounces: bool,
    /// The mail client fetches every picture through a proxy, read or not.
    pub mail_proxy: bool,
    /// A security scanner opens every link before the person sees the mail.
    pub link_scanner: bool,
}

impl Nature {
    pub fn draw(noise: Noise, catalogue: &Catalogue, orders_per_week: f64, days: i32, index: u32) -> Self {
        let mut draw = noise.at(Purpose::Person, u64::from(index), 0);
        let mut centre = [0.0; THEMES];
        let first = draw.pick(&catalogue.department_theme);
        let second = draw.pick(&catalogue.department_theme);
        for (x, (a, b)) in centre.iter_mut().zip(first.iter().zip(second)) {
            *x = a + 0.5 * b;
        }
        let taste = around(&unit(centre), 0.8, &mut draw);
        let mut leaves = [0.0; LEAVES.len()];
        let mut sum = 0.0;
        for (i, slot) in leaves.iter_mut().enumerate() {
            if !catalogue.is_empty_leaf(i) {
                sum += catalogue.leaf_weight[i] * (2.0 * dot(&taste, &catalogue.leaf_theme[i])).exp();
            }
            *slot = sum;
        }
        // A heavy tail of regulars: log-normal with a mean of `orders_per_week`, cut where somebody would order every other day.
        let sigma = 0.85;
        let rate = orders_per_week / 7.0 * (sigma * draw.normal() - sigma * sigma / 2.0).exp();
        let response = if draw.chance(0.08) { -draw.between(0.4, 1.0) } else { (0.4 * draw.normal()).exp() };
        let visits_per_day = 0.06 * (0.5 * draw.normal()).exp() + 0.5 * rate;
        let leaning = [0.15, 0.0, 0.0, 0.0, -0.15];
        let voices = leaning.map(|lean| lean + 0.5 * draw.normal());
        Self {
            index,
            taste,
            leaves,
            orders_per_day: rate.min(0.4),
            visits_per_day: visits_per_day.min(0.6),
            extra_lines: 0.7 * (0.35 * draw.normal()).exp(),
            price_sensitivity: draw.uniform(),
            response,
            openness: -0.1 + 0.8 * draw.normal(),
            voices,
            length: (0.5 * draw.normal()).clamp(-1.0, 1.0),
            hour: if draw.chance(0.3) { draw.between(7.0, 12.0) } else { draw.between(16.0, 22.0) },
            zone: zone(draw.uniform()),
            slope_per_day: 0.004 * draw.normal(),
            joined_day: if draw.chance(0.82) { -1 - draw.below(300) as i32 } else { draw.below(days.max(1) as usize * 4 / 5) as i32 },
        }
    }

    /// How well a product suits: cosine of taste and theme.
    pub fn liking(&self, theme: &Theme) -> f64 {
        f64::from(dot(&self.taste, theme))
    }
    pub fn voice_fit(&self, voice: Voice) -> f64 {
        self.voices[voice as usize]
    }
}

fn zone(u: f64) -> usize {
    let mut left = u * f64::from(ZONES.iter().map(|z| z.2).sum::<u32>());
    for (i, zone) in ZONES.iter().enumerate() {
        left -= f64::from(zone.2);
        if left < 0.0 {
            return i;
        }
    }
    0
}

impl Profile {
    pub fn draw(noise: Noise, nature: &Nature, days: i32) -> Self {
        let index = nature.index;
        let mut draw = noise.at(Purpose::Profile, u64::from(index), 0);
        let (time_zone, country, _) = ZONES[nature.zone];
        let chinese = country == "CN" && draw.chance(0.8);
        let (first_name, last_name) = if chinese {
            (*draw.pick(FIRST_NAMES_ZH), *draw.pick(LAST_NAMES_ZH))
        } else {
            (*draw.pick(FIRST_NAMES), *draw.pick(LAST_NAMES))
        };
        let bounces = draw.chance(0.015);
        let local = if chinese { "reader".to_owned() } else { format!("{}.{}", first_name, last_name).to_lowercase() };
        let domain =
            if bounces { "bounce.example.test" } else { ["example.test", "mail.example.test", "post.example.test"][draw.below(3)] };
        let device = |n: u64| {
            let mut d = noise.at(Purpose::Profile, u64::from(index), 10 + n);
            format!("dev-{:016x}", d.next_u64())
        };
        Self {
            index,
            external_id: format!("c{index:07}"),
            first_name: first_name.to_owned(),
            last_name: last_name.to_owned(),
            email: format!("{local}.{index}@{domain}"),
            locale: if chinese { "zh" } else { "en" },
            time_zone,
            country,
            email_consent: draw.chance(0.88),
            ads_consent: draw.chance(0.8),
            devices: [device(0), device(1)],
            second_device_day: if draw.chance(0.5) { draw.below(days.max(1) as usize) as i32 } else { 0 },
            bounces,
            mail_proxy: draw.chance(0.35),
            link_scanner: draw.chance(0.05),
        }
    }
}
