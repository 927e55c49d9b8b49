//! Pacing by throttling (Agarwal et al., “Budget pacing for targeted online advertisements at LinkedIn”, KDD 2014): a line item takes part in
//! a share of the requests that it could win (its pass-through rate), and every few seconds that share is moved by at most a tenth, so that
//! what is spent follows an allocation curve: the budget spread over its time as the traffic is expected.
//!
//! Where the paper lowers and raises by a fixed tenth, the step here is as large as the error asks for, up to that tenth: spending then
//! settles on the curve and does not swing about it.

use crate::platform::Timestamp;
use crate::platform::clock::HOUR_US;

const WEEK_HOURS: usize = 168;
/// An hour of the week by which weeks begin: 1970-01-01 was a Thursday.
const HOUR_S: f64 = HOUR_US as f64;
/// A line item begins carefully.
pub const FIRST_PASS: f64 = 0.1;
const LEAST_PASS: f64 = 0.000_5;
/// Most that the pass-through rate changes in one step.
const STEP: f64 = 0.10;
/// How far ahead the curve is to be met.
const HORIZON_US: i64 = 180 * 1_000_000;
/// Over how long the speed is measured.
const MEMORY_US: f64 = 60e6;

/// How much traffic each hour of a week brings, relative to each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Sums up to each hour of the week.
    before: Vec<f64>,
    weights: Vec<f64>,
    week: f64,
}

impl Default for Forecast {
    fn default() -> Self {
        Self::of_week(&[1.0; WEEK_HOURS])
    }
}

impl Forecast {
    fn of_week(weights: &[f64; WEEK_HOURS]) -> Self {
        let mut before = Vec::with_capacity(WEEK_HOURS);
        let mut sum = 0.0;
        for w in weights {
            before.push(sum);
            sum += w;
        }
        Self { before, weights: weights.to_vec(), week: sum }
    }

    /// From requests per hour (hours since 1970). Hours that were never seen are like the average; no hour is expected to bring nothing.
    pub fn learn(requests: &[(i64, i64)]) -> Self {
        let mut sums = [0.0; WEEK_HOURS];
        let mut times = [0.0; WEEK_HOURS];
        for (hour, n) in requests {
            let at = hour.rem_euclid(WEEK_HOURS as i64) as usize;
            sums[at] += *n as f64;
            times[at] += 1.0;
        }
        let seen: f64 = times.iter().sum();
        let mean = if seen > 0.0 { sums.iter().sum::<f64>() / seen } else { 0.0 };
        if seen < 24.0 || mean <= 0.0 {
            return Self::default();
        }
        // With less than a week, an hour is like the same hour of other days.
        let mut daily = [(0.0, 0.0); 24];
        for (at, (sum, n)) in sums.iter().zip(times).enumerate() {
            daily[at % 24].0 += sum;
            daily[at % 24].1 += n;
        }
        let weight = |at: usize| {
            let (sum, n) = daily[at % 24];
            let of_day = if n > 0.0 { sum / n } else { mean };
            let own = if times[at] > 0.0 { (sums[at] + of_day) / (times[at] + 1.0) } else { of_day };
            own.max(mean * 0.02)
        };
        Self::of_week(&std::array::from_fn(weight))
    }

    /// Traffic from the beginning of time to an instant.
    fn up_to(&self, at: Timestamp) -> f64 {
        let hours = at.micros() as f64 / HOUR_S;
        let week = (hours / WEEK_HOURS as f64).floor();
        let within = hours - week * WEEK_HOURS as f64;
        let hour = (within as usize).min(WEEK_HOURS - 1);
        week * self.week + self.before[hour] + (within - hour as f64) * self.weights[hour]
    }
    /// Traffic between two instants.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> f64 {
        (self.up_to(to) - self.up_to(from)).max(0.0)
    }
}

/// A budget over its time, in any unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flight {
    pub start: Timestamp,
    pub end: Timestamp,
    pub budget: f64,
}

impl Flight {
    /// What ought to be spent by `at`, where `base` was spent at `from`: the rest of the budget along the rest of the traffic.
    pub fn target(&self, forecast: &Forecast, from: Timestamp, base: f64, at: Timestamp) -> f64 {
        let from = from.max(self.start);
        let rest = forecast.between(from, self.end);
        if rest <= 0.0 || at >= self.end {
            return self.budget;
        }
        base + (self.budget - base).max(0.0) * forecast.between(from, at.max(from)) / rest
    }
}

/// The throttle of one line item on one replica.
#[derive(Clone, Debug)]
pub struct Pacer {
    from: Timestamp,
    base: f64,
    last: (Timestamp, f64),
    /// What was spent and what was planned, each forgetting the past.
    spent: f64,
    planned: f64,
    pass: f64,
}

impl Pacer {
    pub fn start(now: Timestamp, spent: f64) -> Self {
        Self { from: now, base: spent, last: (now, spent), spent: 0.0, planned: 0.0, pass: FIRST_PASS }
    }
    pub fn pass(&self) -> f64 {
        self.pass
    }

    /// Moves the pass-through rate, given all that was spent so far.
    pub fn step(&mut self, now: Timestamp, spent: f64, flight: &Flight, forecast: &Forecast) -> f64 {
        let (then, before) = self.last;
        let passed = now.since(then);
        if passed <= 0 || now < flight.start {
            return self.pass;
        }
        // Each day begins from what is left, so that a bad day is not made good in an hour.
        if now.micros() / (24 * HOUR_US) != self.from.micros() / (24 * HOUR_US) {
            (self.from, self.base) = (now, spent);
        }
        let target = |at| flight.target(forecast, self.from, self.base, at);
        let keep = (-(passed as f64) / MEMORY_US).exp();
        let due = (target(now) - target(then)).max(0.0);
        self.spent = self.spent * keep + (spent - before).max(0.0);
        self.planned = self.planned * keep + due;
        self.last = (now, spent);
        let ahead = target(now.plus_us(HORIZON_US)) - target(now);
        if ahead <= 0.0 {
            return self.pass;
        }
        let wanted = ((target(now.plus_us(HORIZON_US)) - spent) / ahead).clamp(0.0, 4.0);
        let speed = if self.planned > 0.0 { self.spent / self.planned } else { 0.0 };
        let factor = if speed > 0.0 { (wanted / speed).clamp(1.0 - STEP, 1.0 + STEP) } else { 1.0 + STEP };
        self.pass = (self.pass * factor).clamp(LEAST_PASS, 1.0);
        self.pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adserver::bandit::Rng;

    const DAY_START: Timestamp = Timestamp::from_secs(1_768_435_200);
    /// Requests per second by hour: night, a morning rise, a burst at lunch, an evening peak.
    const CURVE: [f64; 24] = [
        3.0, 2.0, 2.0, 2.0, 3.0, 5.0, 9.0, 16.0, 22.0, 24.0, 23.0, 26.0, 44.0, 31.0, 22.0, 21.0, 23.0, 28.0, 35.0, 42.0, 46.0, 38.0, 20.0,
        8.0,
    ];

    fn forecast() -> Forecast {
        let past: Vec<(i64, i64)> =
            (0..24 * 14).map(|h| (DAY_START.micros() / HOUR_US - 24 * 14 + h, (CURVE[(h % 24) as usize] * 3_600.0) as i64)).collect();
        Forecast::learn(&past)
    }

    /// One day in virtual time on `replicas` replicas that hear of each other `lag` seconds late. Returns what was spent by the hour.
    fn simulate(replicas: usize, lag: i64, budget: f64, seed: u64) -> Vec<f64> {
        let (forecast, mut rng) = (forecast(), Rng::seeded(seed));
        let flight = Flight { start: DAY_START, end: DAY_START.plus_days(1), budget };
        let mut pacers = vec![Pacer::start(DAY_START, 0.0); replicas];
        let mut own: Vec<Vec<f64>> = vec![vec![0.0; 86_400 + 1]; replicas];
        let mut hours = vec![0.0; 24];
        for second in 0..86_400_usize {
            let now = DAY_START.plus_secs(second as i64);
            let known: Vec<f64> = (0..replicas)
                .map(|r| {
                    let late = second.saturating_sub(lag as usize);
                    (0..replicas).map(|o| if o == r { own[o][second] } else { own[o][late] }).sum()
                })
                .collect();
            for r in 0..replicas {
                // Bursts: for ten minutes of every hour half as much again, for ten minutes half.
                let burst = match second / 600 % 6 {
                    2 => 1.5,
                    4 => 0.5,
                    _ => 1.0,
                };
                let rate = CURVE[second / 3_600] * burst / replicas as f64;
                let requests = rate.floor() as usize + usize::from(f64::from(rng.word()) / f64::from(u32::MAX) < rate.fract());
                let pass = pacers[r].step(now, known[r], &flight, &forecast);
                let mut here = 0.0;
                for _ in 0..requests {
                    if f64::from(rng.word()) / f64::from(u32::MAX) < pass && known[r] + here < budget {
                        here += 1.0;
                    }
                }
                own[r][second + 1] = own[r][second] + here;
                hours[second / 3_600] += here;
            }
        }
        hours
    }

    fn follows(hours: &[f64], budget: f64) {
        let (forecast, end) = (forecast(), DAY_START.plus_days(1));
        let flight = Flight { start: DAY_START, end, budget };
        for (h, spent) in hours.iter().enumerate() {
            let at = |h: usize| flight.target(&forecast, DAY_START, 0.0, DAY_START.plus_secs(3_600 * h as i64));
            let planned = at(h + 1) - at(h);
            // The first hour begins at a tenth, on purpose.
            let allowed = if h == 0 { 0.12 } else { 0.05 };
            assert!((spent - planned).abs() <= allowed * planned, "hour {h}: planned {planned:.0}, spent {spent}");
        }
    }

    #[test]
    fn a_bursty_day_is_followed_within_five_per_cent_an_hour() {
        let budget = 600_000.0;
        let hours = simulate(1, 0, budget, 7);
        follows(&hours, budget);
        let total: f64 = hours.iter().sum();
        assert!(total <= budget && total > 0.98 * budget, "{total}");
    }

    #[test]
    fn two_replicas_hold_the_budget_but_for_what_one_shows_before_it_hears_of_the_other() {
        let budget = 600_000.0;
        let hours = simulate(2, 1, budget, 8);
        follows(&hours, budget);
        let total: f64 = hours.iter().sum();
        // One second of the other half's traffic at its busiest.
        assert!(total <= budget + 46.0 * 1.5 && total > 0.98 * budget, "{total}");
    }

    #[test]
    fn more_budget_than_traffic_passes_everything_and_none_lets_next_to_nothing_through() {
        let hours = simulate(1, 0, 1e9, 9);
        let all: f64 = CURVE.iter().sum::<f64>() * 3_600.0;
        assert!(hours.iter().sum::<f64>() > 0.95 * all);
        let (flight, forecast) = (Flight { start: DAY_START, end: DAY_START.plus_days(1), budget: 100.0 }, forecast());
        let mut pacer = Pacer::start(DAY_START, 0.0);
        (1..600).for_each(|s| {
            pacer.step(DAY_START.plus_secs(s), 100.0, &flight, &forecast);
        });
        assert!(pacer.pass() <= 0.01, "{}", pacer.pass());
    }

    #[test]
    fn a_forecast_needs_a_day_and_an_hour_never_seen_is_like_its_fellows() {
        assert_eq!(Forecast::learn(&[(0, 100)]), Forecast::default());
        let f = forecast();
        let hour = |h: i64| f.between(DAY_START.plus_secs(3_600 * h), DAY_START.plus_secs(3_600 * (h + 1)));
        assert!((hour(12) / hour(1) - 22.0).abs() < 0.5, "{} {}", hour(12), hour(1));
        assert!((f.between(DAY_START, DAY_START.plus_days(7)) / f.week - 1.0).abs() < 1e-9);
    }
}
