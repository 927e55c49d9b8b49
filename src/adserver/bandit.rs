//! Which creative: Thompson sampling (Chapelle & Li 2011) with the chance of each choice known exactly.
//!
//! A posterior is drawn [`DRAWS`] times beside the request path, all arms of a line item together. A decision takes one of these joint draws
//! at random and shows the best arm in it; so the chance that an arm is shown is the share of draws in which it is best: counted, not
//! estimated. The draws are renewed every few seconds, so that over time the choice is Thompson's.
//!
//! Arms learn from each other: a creative's prior has the mean of its variant under this line item (itself uncertain) and the weight of
//! `PRIOR_WEIGHT` impressions. Clicks take time: an impression counts as a trial by the chance that its click would be known by now
//! (Chapelle 2014), an exponential delay with the measured mean.

use std::collections::HashMap;

use rand_distr::{Beta, Distribution as _};

use super::people::Numbers;

/// Joint draws of a posterior.
pub const DRAWS: usize = 64;
/// Draws that arms without data share, each beginning elsewhere.
const POOL: usize = 256;
/// Impressions that the variant's rate is worth for one of its creatives.
const PRIOR_WEIGHT: f64 = 40.0;
/// What is believed of a banner before anything is known: one click in a hundred, worth a hundred impressions.
const FIRST_CLICKS: f64 = 1.0;
const FIRST_MISSES: f64 = 99.0;

/// A cheap generator for choices that nobody must predict for money: xorshift64*, seeded from the system's.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn seeded(seed: u64) -> Self {
        Self(seed | 1)
    }
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// Below `n` (at least 1).
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n.max(1) as u128) >> 64) as usize
    }
    pub fn word(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }
}

/// Trials and clicks of one creative under one line item; trials may be fractions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ArmCount {
    pub creative: i64,
    pub variant: i64,
    pub trials: f64,
    pub clicks: f64,
}

/// How much of a trial an impression of this age is, where clicks come after `mean_delay_us` on average.
pub fn maturity(age_us: i64, mean_delay_us: f64) -> f64 {
    if mean_delay_us <= 0.0 { 1.0 } else { 1.0 - (-(age_us.max(0) as f64) / mean_delay_us).exp() }
}

/// The joint draws of one line item's arms.
#[derive(Debug, Default)]
pub struct Policy {
    /// Of arms that have been tried.
    arms: HashMap<u32, Box<[f32; DRAWS]>, Numbers>,
    /// Of the others, per variant.
    pools: HashMap<u32, Box<[f32; POOL + DRAWS]>, Numbers>,
    /// Of variants that nothing is known of.
    fresh: Option<Box<[f32; POOL + DRAWS]>>,
}

fn draw(clicks: f64, misses: f64, rng: &mut impl rand::Rng) -> f64 {
    Beta::new(clicks.max(1e-3), misses.max(1e-3)).map_or(0.0, |beta| beta.sample(rng))
}

impl Policy {
    /// Draws the posterior given all that was counted.
    pub fn draw(counts: &[ArmCount], rng: &mut impl rand::Rng) -> Self {
        let mut variants: HashMap<i64, (f64, f64)> = HashMap::new();
        for arm in counts {
            let sum = variants.entry(arm.variant).or_default();
            sum.0 += arm.clicks;
            sum.1 += (arm.trials - arm.clicks).max(0.0);
        }
        let all = variants.values().fold((0.0, 0.0), |sum, v| (sum.0 + v.0, sum.1 + v.1));
        // What other variants came to says a little about a new one.
        let share = |n: f64| n.min(200.0) / 200.0;
        let rate = (FIRST_CLICKS + all.0) / (FIRST_CLICKS + FIRST_MISSES + all.0 + all.1);
        let first = (1.0 - share(all.0 + all.1)) * FIRST_CLICKS / (FIRST_CLICKS + FIRST_MISSES) + share(all.0 + all.1) * rate;
        let weight = FIRST_CLICKS + FIRST_MISSES;
        let mut means: HashMap<i64, [f64; DRAWS]> = HashMap::new();
        let mut pools: HashMap<u32, Box<[f32; POOL + DRAWS]>, Numbers> = HashMap::default();
        for (variant, (clicks, misses)) in &variants {
            let mean = std::array::from_fn(|_| draw(first * weight + clicks, (1.0 - first) * weight + misses, rng));
            if let Ok(key) = u32::try_from(*variant) {
                pools.insert(key, pool(&mean, rng));
            }
            means.insert(*variant, mean);
        }
        let unknown: [f64; DRAWS] = std::array::from_fn(|_| draw(first * weight, (1.0 - first) * weight, rng));
        let mut arms: HashMap<u32, Box<[f32; DRAWS]>, Numbers> = HashMap::default();
        for arm in counts.iter().filter(|a| a.trials > 0.0 || a.clicks > 0.0) {
            let Ok(key) = u32::try_from(arm.creative) else { continue };
            let mean = means.get(&arm.variant).unwrap_or(&unknown);
            let misses = (arm.trials - arm.clicks).max(0.0);
            let drawn =
                std::array::from_fn(|j| draw(PRIOR_WEIGHT * mean[j] + arm.clicks, PRIOR_WEIGHT * (1.0 - mean[j]) + misses, rng) as f32);
            arms.insert(key, Box::new(drawn));
        }
        Self { arms, pools, fresh: Some(pool(&unknown, rng)) }
    }

    /// The draws of one arm.
    fn of(&self, creative: u32, variant: u32) -> Option<&[f32]> {
        if let Some(drawn) = self.arms.get(&creative) {
            return Some(drawn.as_slice());
        }
        let pool = self.pools.get(&variant).or(self.fresh.as_ref())?;
        let at = (u64::from(creative).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % POOL;
        Some(&pool[at..at + DRAWS])
    }

    /// One arm of those offered (creative, variant, how well it suits: a factor above 0), and the chance that it had. `None` where none was.
    pub fn choose(&self, offered: &[(u32, u32, f32)], rng: &mut Rng) -> Option<(usize, f32)> {
        match offered.len() {
            0 => return None,
            1 => return Some((0, 1.0)),
            _ => {}
        }
        let mut best = [f32::MIN; DRAWS];
        let mut winner = [0_u32; DRAWS];
        for (k, (creative, variant, fit)) in offered.iter().enumerate() {
            match self.of(*creative, *variant) {
                Some(drawn) => {
                    for ((b, w), d) in best.iter_mut().zip(winner.iter_mut()).zip(drawn) {
                        let score = d * fit;
                        let better = score > *b;
                        *b = if better { score } else { *b };
                        *w = if better { k as u32 } else { *w };
                    }
                }
                // Nothing was drawn yet: every arm has its turn.
                None => (k..DRAWS).step_by(offered.len()).for_each(|j| winner[j] = k as u32),
            }
        }
        let chosen = winner[rng.below(DRAWS)];
        let chance = winner.iter().filter(|w| **w == chosen).count() as f32 / DRAWS as f32;
        Some((chosen as usize, chance))
    }
}

fn pool(mean: &[f64; DRAWS], rng: &mut impl rand::Rng) -> Box<[f32; POOL + DRAWS]> {
    Box::new(std::array::from_fn(|i| draw(PRIOR_WEIGHT * mean[i % DRAWS], PRIOR_WEIGHT * (1.0 - mean[i % DRAWS]), rng) as f32))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn arm(creative: i64, trials: f64, clicks: f64) -> ArmCount {
        ArmCount { creative, variant: 1, trials, clicks }
    }
    const THREE: [(u32, u32, f32); 3] = [(1, 1, 1.0), (2, 1, 1.0), (3, 1, 1.0)];

    #[test]
    fn what_is_logged_is_the_chance_that_it_had() {
        let mut seeded = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let policy = Policy::draw(&[arm(1, 900.0, 9.0), arm(2, 400.0, 6.0)], &mut seeded);
        let mut rng = Rng::seeded(9);
        let (mut times, mut logged) = ([0_f64; 3], [0_f64; 3]);
        for _ in 0..20_000 {
            let (k, chance) = policy.choose(&THREE, &mut rng).expect("an arm");
            times[k] += 1.0;
            logged[k] = f64::from(chance);
        }
        for k in 0..3 {
            let share = times[k] / 20_000.0;
            // Four standard deviations of a share of 20,000.
            assert!((share - logged[k]).abs() < 4.0 * (0.25_f64 / 20_000.0).sqrt(), "arm {k}: shown {share}, logged {}", logged[k]);
        }
        assert!((logged.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_better_creative_wins_and_the_rest_are_still_tried_while_little_is_known() {
        let mut seeded = rand_chacha::ChaCha8Rng::seed_from_u64(6);
        let mut rng = Rng::seeded(3);
        let (truth, mut counts) = ([0.01, 0.03, 0.012], [arm(1, 0.0, 0.0), arm(2, 0.0, 0.0), arm(3, 0.0, 0.0)]);
        let mut late = [0; 3];
        for round in 0..400 {
            let policy = Policy::draw(&counts, &mut seeded);
            for _ in 0..100 {
                let (k, _) = policy.choose(&THREE, &mut rng).expect("an arm");
                counts[k].trials += 1.0;
                if f64::from(rng.word()) / f64::from(u32::MAX) < truth[k] {
                    counts[k].clicks += 1.0;
                }
                if round >= 200 {
                    late[k] += 1;
                }
            }
            if round == 0 {
                assert!(counts.iter().all(|c| c.trials > 5.0), "all are tried at first: {counts:?}");
            }
        }
        assert!(f64::from(late[1]) > 0.8 * 20_000.0, "{late:?}");
    }

    #[test]
    fn off_policy_the_log_tells_what_another_policy_would_have_earned() {
        // Inverse propensity scoring over the log must find the true rate of "always arm 2", which the log only sometimes showed.
        let mut seeded = rand_chacha::ChaCha8Rng::seed_from_u64(8);
        let mut rng = Rng::seeded(11);
        let truth = [0.05, 0.10, 0.02];
        let (mut counts, mut ips, mut n) = ([arm(1, 0.0, 0.0), arm(2, 0.0, 0.0), arm(3, 0.0, 0.0)], 0.0, 0.0);
        for _ in 0..300 {
            let policy = Policy::draw(&counts, &mut seeded);
            for _ in 0..100 {
                let (k, chance) = policy.choose(&THREE, &mut rng).expect("an arm");
                let clicked = f64::from(rng.word()) / f64::from(u32::MAX) < truth[k];
                counts[k].trials += 1.0;
                counts[k].clicks += f64::from(u8::from(clicked));
                n += 1.0;
                if k == 1 && clicked {
                    ips += 1.0 / f64::from(chance);
                }
            }
        }
        assert!((ips / n - 0.10).abs() < 0.02, "{}", ips / n);
    }

    #[test]
    fn young_impressions_are_half_a_trial() {
        assert_eq!(maturity(0, 60e6), 0.0);
        assert!((maturity(60_000_000, 60e6) - 0.632).abs() < 0.001);
        assert!(maturity(600_000_000, 60e6) > 0.9999);
        assert_eq!(maturity(0, 0.0), 1.0);
    }

    #[test]
    fn before_anything_was_drawn_every_arm_has_its_turn() {
        let (k, chance) = Policy::default().choose(&THREE, &mut Rng::seeded(1)).expect("an arm");
        assert!(k < 3 && (0.3..0.4).contains(&chance));
        assert_eq!(Policy::default().choose(&[(1, 1, 0.5)], &mut Rng::seeded(1)), Some((0, 1.0)));
        assert_eq!(Policy::default().choose(&[], &mut Rng::seeded(1)), None);
    }
}
