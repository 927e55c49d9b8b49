//! The chance that a line item had in the lot between line items, exactly.
//!
//! Within a rank (tier, times seen) the order is a random one, and the first that takes the request shows. A line item takes it with its own
//! chance (its throttle, and whether the variant that it draws has a banner). So the winner is one of those who would take it, each as likely
//! as the other: with `a` one's own chance and `K` how many of the others would take it too, the chance is `a · E[1 ÷ (1 + K)]`. Ranks before
//! it must all have let the request pass: `Π (1 − aⱼ)`.

use smallvec::SmallVec;

/// Line items of one rank whose chance is neither 0 nor 1, beyond which the distribution of `K` is not worked out while somebody waits.
const MOST: usize = 128;

/// Collects the other line items that could have won.
#[derive(Debug)]
pub struct Lottery {
    /// `Π (1 − aⱼ)` over the ranks before.
    passed: f64,
    /// Others of the same rank who take every request.
    certain: usize,
    unsure: SmallVec<[f64; 16]>,
}

impl Default for Lottery {
    fn default() -> Self {
        Self { passed: 1.0, certain: 0, unsure: SmallVec::new() }
    }
}

impl Lottery {
    /// One of a rank before the winner's, and how likely it takes a request.
    pub fn before(&mut self, chance: f64) {
        self.passed *= 1.0 - chance.clamp(0.0, 1.0);
    }
    /// One of the winner's rank.
    pub fn beside(&mut self, chance: f64) {
        if chance >= 1.0 {
            self.certain += 1;
        } else if chance > 0.0 {
            self.unsure.push(chance);
        }
    }

    /// The winner's chance; 0 where it was not worked out (it cannot be 0: it won).
    pub fn chance(&self, own: f64) -> f32 {
        if self.unsure.len() > MOST {
            return 0.0;
        }
        // counts[k]: the chance that k of the unsure would take it.
        let mut counts: SmallVec<[f64; 32]> = SmallVec::from_slice(&[1.0]);
        for a in &self.unsure {
            counts.push(0.0);
            for k in (0..counts.len()).rev() {
                let one_more = if k > 0 { counts[k - 1] * a } else { 0.0 };
                counts[k] = counts[k] * (1.0 - a) + one_more;
            }
        }
        let share: f64 = counts.iter().enumerate().map(|(k, p)| p / (1 + self.certain + k) as f64).sum();
        (self.passed * own * share) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f32, b: f64) {
        assert!((f64::from(a) - b).abs() < 1e-6, "{a} is not {b}");
    }

    #[test]
    fn among_equals_each_has_its_share() {
        let mut lottery = Lottery::default();
        near(lottery.chance(1.0), 1.0);
        lottery.beside(1.0);
        lottery.beside(1.0);
        lottery.beside(0.0);
        near(lottery.chance(1.0), 1.0 / 3.0);
        near(lottery.chance(0.3), 0.1);
    }

    #[test]
    fn the_throttled_stand_aside_by_their_chance() {
        // Of two others one comes with 1/2, one with 1/4.
        let mut lottery = Lottery::default();
        lottery.beside(0.5);
        lottery.beside(0.25);
        near(lottery.chance(1.0), 0.375 + (0.5 * 0.75 + 0.5 * 0.25) / 2.0 + 0.125 / 3.0);
        lottery.before(0.1);
        near(lottery.chance(0.5), 0.9 * 0.5 * (0.375 + 0.25 + 0.125 / 3.0));
    }

    #[test]
    fn all_chances_of_a_request_add_up_to_one() {
        // Somebody shows, or all let it pass.
        let all = [0.9, 0.4, 1.0, 0.15, 0.4];
        let one = |i: usize| {
            let mut lottery = Lottery::default();
            all.iter().enumerate().filter(|(j, _)| *j != i).for_each(|(_, a)| lottery.beside(*a));
            f64::from(lottery.chance(all[i]))
        };
        let sum: f64 = (0..all.len()).map(one).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    }

    #[test]
    fn too_many_to_tell_is_said() {
        let mut lottery = Lottery::default();
        (0..=MOST).for_each(|_| lottery.beside(0.5));
        assert_eq!(lottery.chance(1.0).to_bits(), 0.0_f32.to_bits());
    }
}
