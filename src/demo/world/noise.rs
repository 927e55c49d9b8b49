//! Randomness as a pure function: every draw is named by (seed, purpose, who, when). Two runs of one world in which only some touches differ
//! therefore draw the same numbers everywhere else (common random numbers), and any person can be simulated alone, in any order.
//!
//! The mixer is the finaliser of SplitMix64 (Steele, Lea & Flood 2014): a few integer operations, quick even in an unoptimised build.

/// What a draw is for. Two purposes never share numbers.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Purpose {
    Catalogue = 1,
    Price,
    Stock,
    Person,
    Profile,
    Hour,
    Decide,
    Session,
    Basket,
    Aftermath,
    Promote,
    Open,
    Weather,
    Transport,
    Machine,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The source of all draws of one world.
#[derive(Clone, Copy, Debug)]
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(GOLDEN)))
    }
    /// The stream of draws of one purpose for one subject (a person, a product) at one moment (a day, a touch).
    pub fn at(self, purpose: Purpose, who: u64, when: u64) -> Stream {
        let a = mix(self.0 ^ (purpose as u64).wrapping_mul(0xd605_1b7c_9fd4_3e55) ^ who.wrapping_mul(GOLDEN));
        Stream(mix(a ^ when.wrapping_mul(0xa24b_aed4_963e_e407)))
    }
}

/// A short sequence of draws.
#[derive(Clone, Debug)]
pub struct Stream(u64);

impl Stream {
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }
    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }
    /// Two independent uniforms of 32 bits each from one draw.
    pub fn pair(&mut self) -> (f64, f64) {
        let z = self.next_u64();
        ((z >> 32) as f64 / 4_294_967_296.0, (z & 0xffff_ffff) as f64 / 4_294_967_296.0)
    }
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }
    /// Uniform in 0..n (0 where n is 0).
    pub fn below(&mut self, n: usize) -> usize {
        ((self.uniform() * n as f64) as usize).min(n.saturating_sub(1))
    }
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }
    /// Standard normal (Box & Muller).
    pub fn normal(&mut self) -> f64 {
        let u = 1.0 - self.uniform();
        let v = self.uniform();
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }
    /// Number of successes before the first failure: mean `mean`, at most `most`.
    pub fn geometric(&mut self, mean: f64, most: u32) -> u32 {
        let go_on = mean / (1.0 + mean);
        let mut n = 0;
        while n < most && self.uniform() < go_on {
            n += 1;
        }
        n
    }
    /// One of a non-empty list.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
    /// Index drawn in proportion to the steps of a cumulative sum.
    pub fn by_cumulative(&mut self, cumulative: &[f32]) -> usize {
        let Some(total) = cumulative.last() else { return 0 };
        let at = (self.uniform() * f64::from(*total)) as f32;
        cumulative.partition_point(|c| *c <= at).min(cumulative.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_every_part_of_their_name_and_nothing_else() {
        let noise = Noise::new(7);
        let first = noise.at(Purpose::Decide, 3, 9).next_u64();
        assert_eq!(Noise::new(7).at(Purpose::Decide, 3, 9).next_u64(), first);
        for other in [
            Noise::new(8).at(Purpose::Decide, 3, 9),
            noise.at(Purpose::Hour, 3, 9),
            noise.at(Purpose::Decide, 4, 9),
            noise.at(Purpose::Decide, 3, 10),
        ] {
            assert_ne!(other.clone().next_u64(), first);
        }
    }

    #[test]
    fn moments_are_right() {
        let noise = Noise::new(1);
        let n = 20_000_u64;
        let (mut uniform, mut normal, mut square, mut geometric) = (0.0, 0.0, 0.0, 0.0);
        for i in 0..n {
            uniform += noise.at(Purpose::Person, i, 0).uniform();
            let z = noise.at(Purpose::Person, 0, i).normal();
            normal += z;
            square += z * z;
            geometric += f64::from(noise.at(Purpose::Session, i, i).geometric(2.0, 100));
        }
        let n = n as f64;
        assert!((uniform / n - 0.5).abs() < 0.01, "{}", uniform / n);
        assert!((normal / n).abs() < 0.03 && (square / n - 1.0).abs() < 0.04, "{} {}", normal / n, square / n);
        assert!((geometric / n - 2.0).abs() < 0.1, "{}", geometric / n);
    }
}
