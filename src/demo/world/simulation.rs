//! All people of a world moving through time together: the demo's shoppers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::World;
use super::dynamics::{Detail, Happening, Reaction, State, Touch, What};
use super::people::Nature;
use crate::platform::clock::Timestamp;

/// The people of a world with what they carry, up to an instant.
pub struct Simulation<'w> {
    pub world: &'w World,
    pub natures: Vec<Nature>,
    states: Vec<State>,
    /// Everything that reached somebody, in the order in which it did: what [`super::truth`] replays.
    pub touches: Vec<Touch>,
    now: f64,
    later: BinaryHeap<Reverse<Later>>,
    serial: u64,
}

/// Cancellations and refunds that are still to come, in order of time.
struct Later {
    at: Timestamp,
    serial: u64,
    happening: Happening,
}
impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.serial) == (other.at, other.serial)
    }
}
impl Eq for Later {}
impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Later {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

impl<'w> Simulation<'w> {
    pub fn new(world: &'w World) -> Self {
        let natures: Vec<Nature> = (0..world.config.people).map(|i| world.nature(i)).collect();
        let states = vec![State::default(); natures.len()];
        Self { world, natures, states, touches: Vec::new(), now: 0.0, later: BinaryHeap::new(), serial: 0 }
    }

    /// A touch reaches its person now (touches of one person must come in order of time).
    pub fn receive(&mut self, touch: Touch) -> Reaction {
        let person = touch.person as usize;
        self.touches.push(touch);
        self.world.receive(&self.natures[person], &mut self.states[person], &touch)
    }

    /// Lets time pass until `to` and returns what people did, in order of time. What they received before `to` must have been told.
    /// A session begins a few minutes before its decision, so single happenings may lie shortly before the last instant.
    pub fn advance(&mut self, to: Timestamp) -> Vec<Happening> {
        let until = self.world.day_of(to);
        let mut happened = Vec::new();
        for (nature, state) in self.natures.iter().zip(&mut self.states) {
            for day in self.now.floor() as i32..=until.floor() as i32 {
                // The moment is drawn first only where the step cuts a day.
                let whole = self.now <= f64::from(day) && until >= f64::from(day + 1);
                if !whole {
                    let moment = self.world.moment(nature, day);
                    if moment < self.now || moment >= until {
                        continue;
                    }
                }
                if let Some(decision) = self.world.decide(nature, state, day) {
                    self.world.act(nature, state, decision, Detail::Everything, |h| happened.push(h));
                }
            }
        }
        self.now = until;
        self.follow_up(&mut happened, to);
        happened.sort_by_key(|h| h.at);
        happened
    }

    fn follow_up(&mut self, happened: &mut Vec<Happening>, to: Timestamp) {
        for h in happened.iter() {
            let What::Order(order) = &h.what else { continue };
            let Some(after) = order.aftermath else { continue };
            let reference = order.reference.clone();
            let what = if after.cancels {
                What::Cancel { reference, amount_minor: after.amount_minor }
            } else {
                What::Refund { reference, amount_minor: after.amount_minor, line: order.lines[after.line].clone() }
            };
            self.serial += 1;
            let happening = Happening { person: h.person, at: after.at, device: 0, signed_in: true, what };
            self.later.push(Reverse(Later { at: after.at, serial: self.serial, happening }));
        }
        while self.later.peek().is_some_and(|Reverse(l)| l.at < to) {
            if let Some(Reverse(l)) = self.later.pop() {
                happened.push(l.happening);
            }
        }
    }
}
