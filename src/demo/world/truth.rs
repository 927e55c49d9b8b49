//! What Marquee cannot see: the same world with some touches taken away, person by person; and what an oracle would have chosen.

use std::collections::HashMap;

use super::World;
use super::dynamics::{Detail, Medium, Order, State, Touch, What, expected_impulse, p_click};
use super::people::{Nature, VOICES, Voice};
use crate::platform::clock::Timestamp;

/// The time over which a person's orders count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub person: u32,
    pub from: Timestamp,
    pub until: Timestamp,
}

/// Incremental revenue of a campaign, in minor units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Net revenue in the window with the touches less without, per window.
    pub per_person: Vec<(u32, i64)>,
    pub total_minor: i64,
    /// Net revenue in the windows as it was, and as it would have been.
    pub with_minor: i64,
    pub without_minor: i64,
}

impl World {
    /// Lives one person's life up to `until` with the given touches (in order of time) and tells every order with its instant.
    pub fn live(&self, nature: &Nature, touches: &[Touch], until: Timestamp, mut tell: impl FnMut(Timestamp, &Order)) {
        let mut state = State::default();
        let end = self.day_of(until);
        let mut next = 0;
        let first = nature.joined_day.max(0);
        for day in first..=end.floor() as i32 {
            // Touches later in the day than the decision leave impulses that lie ahead of it, which count for nothing yet.
            while next < touches.len() && self.day_of(touches[next].at) < f64::from(day + 1) {
                self.receive(nature, &mut state, &touches[next]);
                next += 1;
            }
            if let Some(decision) = self.decide(nature, &state, day)
                && decision.day < end
            {
                self.act(nature, &mut state, decision, Detail::OrdersOnly, |h| {
                    if let What::Order(order) = &h.what {
                        tell(h.at, order);
                    }
                });
            }
        }
    }

    /// Net revenue (minor units) of a person in [from, until) with the given touches, as known at `as_of`.
    pub fn revenue(&self, nature: &Nature, touches: &[Touch], window: Window, as_of: Timestamp) -> i64 {
        let mut sum = 0;
        self.live(nature, touches, window.until, |at, order| {
            if at >= window.from && at < window.until {
                sum += order.net_minor(as_of);
            }
        });
        sum
    }

    /// The true incremental revenue of `campaign`: for each window the person's life is lived twice, once with every touch of `log` (in
    /// order of time) and once without those of the campaign; all else is equal. Refunds count that were known at `as_of`.
    pub fn truth(&self, log: &[Touch], campaign: u32, windows: &[Window], as_of: Timestamp) -> Truth {
        let mut by_person: HashMap<u32, Vec<Touch>> = HashMap::new();
        for touch in log {
            by_person.entry(touch.person).or_default().push(*touch);
        }
        let mut truth = Truth::default();
        for window in windows {
            let with = by_person.get(&window.person).map_or(&[][..], Vec::as_slice);
            let without: Vec<Touch> = with.iter().filter(|t| t.campaign != campaign).copied().collect();
            let nature = self.nature(window.person);
            let y1 = self.revenue(&nature, with, *window, as_of);
            // Nobody whom the campaign did not reach can have been changed by it.
            let y0 = if without.len() == with.len() { y1 } else { self.revenue(&nature, &without, *window, as_of) };
            truth.per_person.push((window.person, y1 - y0));
            truth.total_minor += y1 - y0;
            truth.with_minor += y1;
            truth.without_minor += y0;
        }
        truth
    }

    /// What mailing this product in this voice now would be worth to an unfatigued person: expected factor added to the hazard of the
    /// following days, times the person's rate. Comparable between products and voices of one person, and between people.
    pub fn expected_utility(&self, nature: &Nature, product: u32, voice: Voice, at: Timestamp) -> f64 {
        let liking = nature.liking(&self.catalogue.products[product as usize].theme);
        let fit = nature.voice_fit(voice);
        let touch = Touch {
            person: nature.index,
            campaign: 0,
            medium: Medium::Email,
            at,
            product: Some(product),
            voice,
            subject_chars: 42,
            position: 0,
        };
        let open = self.p_open(nature, &touch, 0.0, liking);
        self.pull(nature, liking, fit, 0.0) * expected_impulse(open, p_click(liking, fit, 0.0)) * nature.orders_per_day
    }

    /// The oracle's choice: the product in stock that is worth most to this person, with its expected utility.
    pub fn oracle_choice(&self, nature: &Nature, voice: Voice, at: Timestamp) -> Option<(u32, f64)> {
        let day = self.day_of(at) as i32;
        (0..self.config.products)
            .filter(|p| self.catalogue.in_stock(*p, day))
            .map(|p| (p, self.expected_utility(nature, p, voice, at)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The oracle's voice for a person: what this person likes best.
    pub fn oracle_voice(&self, nature: &Nature) -> Voice {
        VOICES.into_iter().max_by(|a, b| nature.voice_fit(*a).total_cmp(&nature.voice_fit(*b))).unwrap_or(Voice::Plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::world::{Simulation, WorldConfig};

    fn world(null: bool) -> World {
        World::new(WorldConfig { seed: 3, people: 400, products: 120, days: 60, null, ..WorldConfig::default() })
    }

    fn mail(world: &World, person: u32, campaign: u32, day: f64) -> Touch {
        Touch {
            person,
            campaign,
            medium: Medium::Email,
            at: world.instant(day),
            product: Some(person % 120),
            voice: Voice::Friendly,
            subject_chars: 40,
            position: 0,
        }
    }

    /// The demo's shoppers and the counterfactual's replay are the same world.
    #[test]
    fn a_replay_reproduces_what_happened() {
        let world = world(false);
        let mut simulation = Simulation::new(&world);
        let mut seen: HashMap<u32, i64> = HashMap::new();
        let end = world.instant(60.0);
        let mut hour = 0;
        while hour < 60 * 24 {
            if hour == 24 * 30 + 9 || hour == 24 * 40 + 9 {
                for person in 0..200 {
                    simulation.receive(mail(&world, person, 1, f64::from(hour) / 24.0));
                }
            }
            // History in one step, then hour by hour.
            hour = if hour == 0 { 24 * 30 + 9 } else { hour + 1 };
            for h in simulation.advance(world.instant(f64::from(hour) / 24.0)) {
                if let What::Order(order) = h.what {
                    *seen.entry(h.person).or_default() += order.net_minor(end);
                }
            }
        }
        let mut orders = 0;
        for person in 0..400 {
            let touches: Vec<Touch> = simulation.touches.iter().filter(|t| t.person == person).copied().collect();
            let window = Window { person, from: world.config.start, until: end };
            let replayed = world.revenue(&world.nature(person), &touches, window, end);
            assert_eq!(replayed, seen.get(&person).copied().unwrap_or(0), "person {person}");
            orders += i32::from(replayed > 0);
        }
        assert!(orders > 200, "a world in which hardly anybody buys shows nothing: {orders}");
    }

    #[test]
    fn taking_away_a_campaign_changes_only_those_it_reached() {
        let world = world(false);
        let log: Vec<Touch> =
            (0..400).flat_map(|p| [Some(mail(&world, p, 1, 30.4)), (p < 200).then(|| mail(&world, p, 2, 33.4))]).flatten().collect();
        let windows: Vec<Window> =
            (0..400).map(|person| Window { person, from: world.instant(33.4), until: world.instant(47.4) }).collect();
        let truth = world.truth(&log, 2, &windows, world.instant(60.0));
        assert!(truth.per_person[200..].iter().all(|(_, delta)| *delta == 0));
        assert!(truth.total_minor > 0 && truth.with_minor - truth.without_minor == truth.total_minor, "{truth:?}");
        assert_eq!(world.truth(&log, 3, &windows, world.instant(60.0)).total_minor, 0);
    }

    #[test]
    fn in_a_null_world_touches_are_opened_but_change_nothing() {
        let world = world(true);
        let log: Vec<Touch> = (0..400).map(|p| mail(&world, p, 2, 30.4)).collect();
        let windows: Vec<Window> =
            (0..400).map(|person| Window { person, from: world.instant(30.4), until: world.instant(44.4) }).collect();
        assert!(world.truth(&log, 2, &windows, world.instant(60.0)).per_person.iter().all(|(_, delta)| *delta == 0));
        let opened = log.iter().filter(|t| world.receive(&world.nature(t.person), &mut State::default(), t).opened_at.is_some()).count();
        assert!(opened > 80, "{opened}");
    }

    #[test]
    fn the_oracle_knows_better_than_chance() {
        let world = world(false);
        let at = world.instant(30.4);
        for person in 0..40 {
            let nature = world.nature(person);
            if nature.response > 0.0 {
                let (_, best) = world.oracle_choice(&nature, Voice::Plain, at).expect("something is in stock");
                let mean = (0..120).map(|p| world.expected_utility(&nature, p, Voice::Plain, at)).sum::<f64>() / 120.0;
                assert!(best > mean * 1.2, "{best} {mean}");
            }
        }
    }

    #[test]
    fn some_dogs_should_be_left_asleep() {
        let world = world(false);
        let sleeping = (0..400).filter(|p| world.nature(*p).response < 0.0).count();
        assert!((12..60).contains(&sleeping), "{sleeping}");
    }
}
