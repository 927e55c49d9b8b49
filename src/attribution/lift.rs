//! Lift: what a campaign added to what people would have bought anyway. Pure statistics.
//!
//! **Effect.** Difference of means between people treated and people held out at random, after CUPED (Deng, Xu, Kohavi, Walker 2013): each
//! outcome is replaced by Y − θ(X − X̄), where X is the same person's own past and θ = cov(X, Y)/var(X), pooled within the arms, so that a true
//! effect does not leak into θ.
//!
//! **Fixed horizon.** Welch's t interval (unequal variances, Satterthwaite's degrees of freedom). Right if looked at once, at a time chosen
//! in advance.
//!
//! **Always valid.** The mixture sequential probability ratio test (Johari, Koomen, Pekelis, Walsh, “Always valid inference”, Operations
//! Research 2022): with V the variance of the estimated effect Δ and a N(0, τ²) mixture over the true effect,
//! Λ = √(V/(V+τ²)) · exp(τ²Δ²/(2V(V+τ²))); reject when Λ ≥ 1/α at any look, and the interval holds all effects not rejected:
//! Δ ± √(2V(V+τ²)/τ² · ln(√((V+τ²)/V)/α)). τ = 0.05 standard deviations of the outcome: it must not follow the number of people seen, or
//! the promise would be void. It may be looked at daily; it is wider.
//!
//! **Heavy tails.** Revenue is mostly zeros and a long tail. Nothing is winsorised: cutting the tail would answer another question. The means are
//! close to normal only with enough buyers, so no interval is given (it is infinite) before each arm has [`MIN_PEOPLE`] people, nor the
//! always-valid one before each has [`MIN_ACTIVE`] people with an outcome.

use serde::{Deserialize, Deserializer, Serialize};
use statrs::distribution::{ContinuousCDF as _, Normal, StudentsT};
use utoipa::ToSchema;

/// Fewer people than this in an arm: no interval.
pub const MIN_PEOPLE: usize = 10;
/// Fewer people than this with an outcome other than zero in an arm: no always-valid interval.
pub const MIN_ACTIVE: usize = 20;
/// Two-sided error.
pub const ALPHA: f64 = 0.05;
/// Power that the detectable effect and the people needed speak of.
pub const POWER: f64 = 0.8;
/// Standard deviation of the mixture, in standard deviations of the outcome.
const TAU_SD: f64 = 0.05;
/// The effect that a campaign should at least be able to show: this share of what people held out do.
pub const TARGET_RELATIVE: f64 = 0.10;

/// One person: outcome `y` in the window, and the same thing before it, `x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    pub y: f64,
    pub x: f64,
}

/// What was measured. Amounts are in the unit of the outcome (minor units of money, visits, days). An infinite bound (null in JSON) means that
/// nothing can be said yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Lift {
    pub n_treated: usize,
    pub n_held: usize,
    /// Plain means, before adjustment.
    pub mean_treated: f64,
    pub mean_held: f64,
    /// Adjusted difference per person.
    pub effect_per_person: f64,
    /// Effect per person × people treated.
    pub incremental_total: f64,
    /// 95 % interval of `incremental_total`, for one look at a time fixed beforehand.
    #[serde(deserialize_with = "no_lower")]
    #[schema(value_type = Option<f64>)]
    pub ci95_low: f64,
    #[serde(deserialize_with = "no_upper")]
    #[schema(value_type = Option<f64>)]
    pub ci95_high: f64,
    /// 95 % interval of `incremental_total` that may be watched daily.
    #[serde(deserialize_with = "no_lower")]
    #[schema(value_type = Option<f64>)]
    pub always_valid_low: f64,
    #[serde(deserialize_with = "no_upper")]
    #[schema(value_type = Option<f64>)]
    pub always_valid_high: f64,
    /// Two-sided, of Welch's test.
    pub p_value: f64,
    /// Valid at any look.
    pub always_valid_p: f64,
    /// Standard error of `effect_per_person`.
    pub standard_error: f64,
    /// CUPED's θ, and by which share it made the variance smaller.
    pub theta: f64,
    pub variance_removed: f64,
    /// The effect per person that 80 % of such experiments would find.
    #[serde(deserialize_with = "no_upper")]
    #[schema(value_type = Option<f64>)]
    pub detectable_effect: f64,
    /// The effect per person that it should be able to find: 10 % of what people held out do.
    pub target_effect: f64,
    /// Whether it could find the target effect.
    pub powered: bool,
    /// People (both arms, at the same split) needed for that; `None` where nothing is known of the outcome's spread.
    pub people_needed: Option<u64>,
    /// The same, beyond those already in.
    pub more_people_needed: Option<u64>,
}

/// JSON has no infinity: a missing bound is written as null.
fn no_lower<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(d)?.unwrap_or(f64::NEG_INFINITY))
}
fn no_upper<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(d)?.unwrap_or(f64::INFINITY))
}

impl Lift {
    /// Whether the fixed-horizon interval excludes zero.
    pub fn found(&self) -> bool {
        self.ci95_low > 0.0 || self.ci95_high < 0.0
    }
    /// Whether the always-valid interval excludes zero.
    pub fn found_at_any_look(&self) -> bool {
        self.always_valid_low > 0.0 || self.always_valid_high < 0.0
    }
}

#[allow(clippy::cast_precision_loss, reason = "people are fewer than 2^52")]
fn count(n: usize) -> f64 {
    n as f64
}

fn mean(values: impl Iterator<Item = f64>, n: usize) -> f64 {
    if n == 0 { 0.0 } else { values.sum::<f64>() / count(n) }
}

/// Centred sums of an arm: (Sxx, Sxy).
fn centred(arm: &[Outcome]) -> (f64, f64) {
    let (mx, my) = (mean(arm.iter().map(|o| o.x), arm.len()), mean(arm.iter().map(|o| o.y), arm.len()));
    arm.iter().fold((0.0, 0.0), |(xx, xy), o| (xx + (o.x - mx) * (o.x - mx), xy + (o.x - mx) * (o.y - my)))
}

/// Mean and unbiased variance of the adjusted outcome.
fn adjusted(arm: &[Outcome], theta: f64, x_bar: f64) -> (f64, f64) {
    let value = |o: &Outcome| o.y - theta * (o.x - x_bar);
    let m = mean(arm.iter().map(value), arm.len());
    let ss: f64 = arm.iter().map(|o| (value(o) - m) * (value(o) - m)).sum();
    (m, if arm.len() > 1 { ss / (count(arm.len()) - 1.0) } else { 0.0 })
}

fn normal_quantile(p: f64) -> f64 {
    Normal::standard().inverse_cdf(p)
}

/// Estimates the lift of people treated over people held out.
pub fn estimate(treated: &[Outcome], held: &[Outcome]) -> Lift {
    let (n_t, n_h) = (treated.len(), held.len());
    let ((xx_t, xy_t), (xx_h, xy_h)) = (centred(treated), centred(held));
    let xx = xx_t + xx_h;
    let theta = if xx > 0.0 { (xy_t + xy_h) / xx } else { 0.0 };
    let x_bar = mean(treated.iter().chain(held).map(|o| o.x), n_t + n_h);
    let (mean_t, var_t) = adjusted(treated, theta, x_bar);
    let (mean_h, var_h) = adjusted(held, theta, x_bar);
    let (plain_t, plain_var_t) = adjusted(treated, 0.0, x_bar);
    let (plain_h, plain_var_h) = adjusted(held, 0.0, x_bar);

    let effect = if n_t > 0 && n_h > 0 { mean_t - mean_h } else { 0.0 };
    let (part_t, part_h) = (var_t / count(n_t.max(1)), var_h / count(n_h.max(1)));
    let variance = part_t + part_h;
    let known = n_t >= MIN_PEOPLE && n_h >= MIN_PEOPLE && variance > 0.0;
    let se = variance.sqrt();
    let scale = count(n_t);
    let mut lift = Lift {
        n_treated: n_t,
        n_held: n_h,
        mean_treated: plain_t,
        mean_held: plain_h,
        effect_per_person: effect,
        incremental_total: effect * scale,
        ci95_low: f64::NEG_INFINITY,
        ci95_high: f64::INFINITY,
        always_valid_low: f64::NEG_INFINITY,
        always_valid_high: f64::INFINITY,
        p_value: 1.0,
        always_valid_p: 1.0,
        standard_error: se,
        theta,
        variance_removed: 0.0,
        detectable_effect: f64::INFINITY,
        target_effect: TARGET_RELATIVE * plain_h.abs(),
        powered: false,
        people_needed: None,
        more_people_needed: None,
    };
    if !known {
        return lift;
    }
    let plain = plain_var_t / count(n_t) + plain_var_h / count(n_h);
    if plain > 0.0 {
        lift.variance_removed = (1.0 - variance / plain).max(0.0);
    }
    fixed_horizon(&mut lift, [(part_t, n_t), (part_h, n_h)], se);
    let active = |arm: &[Outcome]| arm.iter().filter(|o| o.y != 0.0).count();
    if active(treated) >= MIN_ACTIVE && active(held) >= MIN_ACTIVE {
        let sd = ((var_t * count(n_t) + var_h * count(n_h)) / count(n_t + n_h)).sqrt();
        always_valid(&mut lift, variance, TAU_SD * sd);
    }
    power(&mut lift, se);
    lift
}

/// Welch's interval and test.
fn fixed_horizon(lift: &mut Lift, arms: [(f64, usize); 2], se: f64) {
    let variance: f64 = arms.iter().map(|(part, _)| part).sum();
    let spread: f64 = arms.iter().map(|(part, n)| part * part / (count(*n) - 1.0)).sum();
    let freedom = (variance * variance / spread).max(1.0);
    let Ok(t) = StudentsT::new(0.0, 1.0, freedom) else { return };
    let half = t.inverse_cdf(1.0 - ALPHA / 2.0) * se;
    let scale = count(lift.n_treated);
    lift.ci95_low = (lift.effect_per_person - half) * scale;
    lift.ci95_high = (lift.effect_per_person + half) * scale;
    lift.p_value = (2.0 * (1.0 - t.cdf((lift.effect_per_person / se).abs()))).clamp(0.0, 1.0);
}

/// The mSPRT's interval and p value; `v` is the variance of the effect, `tau` the mixture's standard deviation.
fn always_valid(lift: &mut Lift, v: f64, tau: f64) {
    let t2 = tau * tau;
    if t2 <= 0.0 {
        return;
    }
    let half = (2.0 * v * (v + t2) / t2 * (((v + t2) / v).sqrt() / ALPHA).ln()).sqrt();
    let scale = count(lift.n_treated);
    lift.always_valid_low = (lift.effect_per_person - half) * scale;
    lift.always_valid_high = (lift.effect_per_person + half) * scale;
    let log_ratio = 0.5 * (v / (v + t2)).ln() + t2 * lift.effect_per_person * lift.effect_per_person / (2.0 * v * (v + t2));
    lift.always_valid_p = (-log_ratio).exp().clamp(0.0, 1.0);
}

fn power(lift: &mut Lift, se: f64) {
    lift.detectable_effect = (normal_quantile(1.0 - ALPHA / 2.0) + normal_quantile(POWER)) * se;
    if lift.target_effect <= 0.0 {
        return;
    }
    let people = count(lift.n_treated + lift.n_held);
    let needed = people * (lift.detectable_effect / lift.target_effect).powi(2);
    lift.powered = needed <= people;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float as large as that saturates, which is what is wanted"
    )]
    let round = |n: f64| n.ceil().max(0.0) as u64;
    lift.people_needed = Some(round(needed));
    lift.more_people_needed = Some(round(needed - people));
}

#[cfg(test)]
#[path = "lift_tests.rs"]
mod tests;
