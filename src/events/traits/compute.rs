//! From facts to traits: pure arithmetic, the same result for the same facts.
//!
//! - **RFM**: quintile = 1 + ⌊5 · (buyers strictly below) / buyers⌋, so that equal values share a quintile; 5 is the best. Non-buyers: 0.
//! - **Taste**: each product counts w · (1 + ln n) · ½^(weeks ago / 8) per week and kind of event, w = 4 for a bought line, 3 into the
//!   basket, 2 on a wish list, 1 else. Categories, brands and title words inherit the weight; words are weighed by ln(products / products
//!   that have it) and must occur in two products but not in a fifth of a larger catalogue.
//! - **Prices**: weighted nearest-rank quartiles of unit prices bought; of prices looked at where nothing was bought.
//! - **Visits**: split by 30 minutes of silence; the trend is ln((visits of the last 28 days + 1) / (visits of the 28 before + 1)).
//! - **Engagement** = 0.35 (1 − e^(−visits/4)) + 0.25 (1 − e^(−active days/5)) + 0.15 (1 − e^(−events per visit/5))
//!   + 0.25 · ½^(days since the last event / 7); 0 for people without an event in 90 days.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono_tz::Tz;
use sqlx::types::Json;
use unicode_segmentation::UnicodeSegmentation as _;

use super::facts::{Bought, Buyer, Facts, Looked, Quarter};
use crate::catalog::Product;
use crate::events::name;
use crate::people::Traits;
use crate::platform::clock::{DAY_US, Timestamp};
use crate::platform::ids::{PersonId, ProductId};
use crate::platform::money::Currency;

const QUARTER_US: i64 = 900_000_000;
const HALF_LIFE_WEEKS: f64 = 8.0;
const TOP_CATEGORIES: usize = 20;
const TAGS_OF_A_KIND: usize = 5;
const TERM_TAGS: usize = 8;

/// Sorted values of all buyers, by which quintiles are told.
pub(super) struct Cuts {
    last_at: Vec<i64>,
    orders: Vec<i64>,
    net: Vec<i64>,
}

impl Cuts {
    pub(super) fn of<'a>(buyers: impl Iterator<Item = &'a Buyer>) -> Self {
        let mut cuts = Self { last_at: Vec::new(), orders: Vec::new(), net: Vec::new() };
        for b in buyers {
            cuts.last_at.push(b.last_at.0);
            cuts.orders.push(b.orders);
            cuts.net.push(b.net_minor);
        }
        for list in [&mut cuts.last_at, &mut cuts.orders, &mut cuts.net] {
            list.sort_unstable();
        }
        cuts
    }
}

fn quintile(sorted: &[i64], value: i64) -> i64 {
    let below = sorted.partition_point(|v| *v < value);
    let n = sorted.len().max(1);
    i64::try_from((5 * below / n).min(4)).unwrap_or(0) + 1
}

/// What is needed of the catalogue.
pub(super) struct Catalogue {
    products: HashMap<ProductId, Info>,
    /// ln(products / products with the word), of the words that say something.
    terms: HashMap<String, f64>,
}

struct Info {
    category: String,
    brand: Option<String>,
    words: BTreeSet<String>,
    /// In the shop's currency.
    price_minor: Option<i64>,
}

const STOP_WORDS: &[&str] = &["and", "for", "from", "set", "the", "with", "und", "für", "mit", "der", "die", "das", "des", "les", "pour"];

fn words(title: &str) -> BTreeSet<String> {
    let telling = |w: &String| w.chars().count() >= 3 && !w.chars().all(|c| c.is_numeric()) && !STOP_WORDS.contains(&w.as_str());
    title.unicode_words().map(str::to_lowercase).filter(telling).collect()
}

impl Catalogue {
    pub(super) fn of(products: &[Product], currency: Currency) -> Self {
        let mut with_word: HashMap<String, usize> = HashMap::new();
        let mut infos = HashMap::with_capacity(products.len());
        for p in products {
            let words = words(&p.title);
            for word in &words {
                *with_word.entry(word.clone()).or_default() += 1;
            }
            let price = p.sale_price.unwrap_or(p.price);
            let info = Info {
                category: p.category_path.clone(),
                brand: p.brand.clone().filter(|b| !b.is_empty()),
                words,
                price_minor: (price.currency == currency).then_some(price.minor),
            };
            infos.insert(p.id, info);
        }
        let n = products.len();
        let most = if n >= 50 { n / 5 } else { n };
        let weight = |count: usize| (f(n) / f(count)).ln();
        let terms = with_word.into_iter().filter(|(_, c)| (2..=most).contains(c)).map(|(w, c)| (w, weight(c))).collect();
        Self { products: infos, terms }
    }
}

/// Counts here are far below 2⁵².
#[allow(clippy::cast_precision_loss)]
fn f(n: usize) -> f64 {
    n as f64
}
#[allow(clippy::cast_precision_loss)]
fn fi(n: i64) -> f64 {
    n as f64
}

pub(super) fn traits(
    person_id: PersonId,
    as_of: Timestamp,
    zone: Tz,
    buyer: Option<&Buyer>,
    facts: &Facts,
    cuts: &Cuts,
    catalogue: &Catalogue,
) -> Traits {
    let activity = activity(&facts.quarters, as_of, zone);
    let taste = taste(facts, catalogue);
    let prices = prices(facts, catalogue);
    let depth = if facts.visits_28 > 0 { fi(facts.events_28) / fi(facts.visits_28) } else { 0.0 };
    Traits {
        person_id,
        computed_at: as_of,
        order_count: buyer.map_or(0, |b| b.orders),
        revenue_minor: buyer.map_or(0, |b| b.net_minor),
        first_order_at: buyer.map(|b| b.first_at),
        last_order_at: buyer.map(|b| b.last_at),
        recency_days: buyer.map(|b| as_of.since(b.last_at) / DAY_US),
        r_quantile: buyer.map_or(0, |b| quintile(&cuts.last_at, b.last_at.0)),
        f_quantile: buyer.map_or(0, |b| quintile(&cuts.orders, b.orders)),
        m_quantile: buyer.map_or(0, |b| quintile(&cuts.net, b.net_minor)),
        active_days_28: activity.days_28,
        visits_28: facts.visits_28,
        visits_prev_28: facts.visits_prev_28,
        depth_28: round(depth),
        engagement: round(engagement(facts.visits_28, activity.days_28, depth, activity.last_at.map(|t| as_of.since(t)))),
        engagement_trend: round((fi(facts.visits_28 + 1) / fi(facts.visits_prev_28 + 1)).ln()),
        top_category: taste.categories.first().map(|(c, _)| c.clone()),
        category_affinity: Json(taste.categories.iter().take(TOP_CATEGORIES).cloned().collect()),
        price_p25_minor: quantile(&prices, 0.25),
        price_p50_minor: quantile(&prices, 0.5),
        price_p75_minor: quantile(&prices, 0.75),
        interest_tags: Json(taste.tags()),
        best_hour: best_hour(&activity.hours),
        active_hours: Json(activity.hours.to_vec()),
    }
}

/// Six decimals: far more than any of these figures can bear, and equal on both engines.
fn round(x: f64) -> f64 {
    (x * 1e6).round() / 1e6
}

fn engagement(visits: i64, active_days: i64, depth: f64, since_last_us: Option<i64>) -> f64 {
    let Some(since) = since_last_us else { return 0.0 };
    let saturating = |x: f64, scale: f64| 1.0 - (-x / scale).exp();
    let recency = 0.5_f64.powf(fi(since.max(0)) / fi(DAY_US) / 7.0);
    0.35 * saturating(fi(visits), 4.0) + 0.25 * saturating(fi(active_days), 5.0) + 0.15 * saturating(depth, 5.0) + 0.25 * recency
}

struct Activity {
    hours: [i64; 24],
    days_28: i64,
    last_at: Option<Timestamp>,
}

/// Every zone's offset is a multiple of a quarter hour, so a quarter hour lies in one local hour and on one local day.
fn activity(quarters: &[Quarter], as_of: Timestamp, zone: Tz) -> Activity {
    let mut hours = [0; 24];
    let mut days = BTreeSet::new();
    for q in quarters {
        let at = Timestamp(q.quarter.saturating_mul(QUARTER_US));
        if let Some(hour) = hours.get_mut(at.hour_in(zone) as usize) {
            *hour += q.events;
        }
        if q.last_at > as_of.plus_days(-28) {
            days.insert(at.day_in(zone));
        }
    }
    Activity { hours, days_28: i64::try_from(days.len()).unwrap_or(28).min(28), last_at: quarters.iter().map(|q| q.last_at).max() }
}

/// The hour around which most happens: each counts twice, its neighbours once.
fn best_hour(hours: &[i64; 24]) -> Option<i64> {
    let smooth = |h: usize| 2 * hours[h] + hours[(h + 1) % 24] + hours[(h + 23) % 24];
    let best = (0..24).max_by_key(|h| (smooth(*h), std::cmp::Reverse(*h)))?;
    (smooth(best) > 0).then(|| i64::try_from(best).unwrap_or(0))
}

/// Strongest first.
struct Taste {
    categories: Vec<(String, f64)>,
    brands: Vec<(String, f64)>,
    terms: Vec<(String, f64)>,
}

impl Taste {
    fn tags(&self) -> Vec<String> {
        let of = |kind: &str, list: &[(String, f64)], n: usize| -> Vec<String> {
            list.iter().take(n).map(|(name, _)| format!("{kind}:{name}")).collect()
        };
        [of("category", &self.categories, TAGS_OF_A_KIND), of("brand", &self.brands, TAGS_OF_A_KIND), of("term", &self.terms, TERM_TAGS)]
            .concat()
    }
}

fn weight(base: f64, times: i64, weeks_ago: i64) -> f64 {
    base * (1.0 + fi(times.max(1)).ln()) * 0.5_f64.powf(fi(weeks_ago.max(0)) / HALF_LIFE_WEEKS)
}

fn looked_weight(l: &Looked) -> f64 {
    let base = match l.name.as_str() {
        name::PRODUCT_ADDED => 3.0,
        "Product Added to Wishlist" => 2.0,
        "Product Removed" => return 0.0,
        _ => 1.0,
    };
    weight(base, l.times, l.weeks_ago)
}

fn bought_weight(b: &Bought) -> f64 {
    weight(4.0, b.lines, b.weeks_ago)
}

fn taste(facts: &Facts, catalogue: &Catalogue) -> Taste {
    let mut by_product: BTreeMap<ProductId, f64> = BTreeMap::new();
    for l in &facts.looked {
        *by_product.entry(l.product_id).or_default() += looked_weight(l);
    }
    for b in &facts.bought {
        if let Some(product) = b.product_id {
            *by_product.entry(product).or_default() += bought_weight(b);
        }
    }
    let (mut categories, mut brands, mut terms) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (product, w) in by_product {
        let Some(info) = catalogue.products.get(&product) else { continue };
        if !info.category.is_empty() {
            *categories.entry(info.category.as_str()).or_insert(0.0) += w;
        }
        if let Some(brand) = &info.brand {
            *brands.entry(brand.as_str()).or_insert(0.0) += w;
        }
        for word in &info.words {
            if let Some(idf) = catalogue.terms.get(word) {
                *terms.entry(word.as_str()).or_insert(0.0) += w * idf;
            }
        }
    }
    Taste { categories: shares(&categories), brands: shares(&brands), terms: shares(&terms) }
}

/// Shares of the whole, greatest first, equal ones by name.
fn shares(weights: &BTreeMap<&str, f64>) -> Vec<(String, f64)> {
    let sum: f64 = weights.values().sum();
    let mut list: Vec<(String, f64)> =
        weights.iter().filter(|(_, w)| **w > 0.0).map(|(name, w)| ((*name).to_owned(), round(w / sum))).collect();
    list.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    list
}

/// Prices with how often each occurred, lowest first.
fn prices(facts: &Facts, catalogue: &Catalogue) -> BTreeMap<i64, i64> {
    let mut counts = BTreeMap::new();
    for b in &facts.bought {
        if let Some(price) = b.unit_price_minor {
            *counts.entry(price).or_insert(0) += b.lines;
        }
    }
    if counts.is_empty() {
        for l in &facts.looked {
            if let Some(price) = catalogue.products.get(&l.product_id).and_then(|p| p.price_minor) {
                *counts.entry(price).or_insert(0) += l.times;
            }
        }
    }
    counts
}

/// Weighted nearest rank.
fn quantile(counts: &BTreeMap<i64, i64>, q: f64) -> Option<i64> {
    let n: i64 = counts.values().sum();
    let mut seen = 0;
    counts
        .iter()
        .find(|(_, count)| {
            seen += **count;
            fi(seen) >= q * fi(n)
        })
        .map(|(price, _)| *price)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_a_quintile() {
        let sorted = [1, 1, 1, 1, 1, 1, 2, 3, 4, 9];
        assert_eq!([1, 2, 3, 4, 9].map(|v| quintile(&sorted, v)), [1, 4, 4, 5, 5]);
        let even: Vec<i64> = (0..100).collect();
        assert_eq!([0, 19, 20, 59, 60, 99].map(|v| quintile(&even, v)), [1, 1, 2, 3, 4, 5]);
        assert_eq!(quintile(&[7], 7), 1);
    }

    #[test]
    fn hours_are_local_and_the_best_has_company() {
        let zone = chrono_tz::Asia::Kathmandu;
        let as_of = Timestamp::parse("2026-01-15T00:00:00Z").expect("time");
        let at = |text: &str, events| {
            let t = Timestamp::parse(text).expect("time");
            Quarter { person_id: PersonId(1), quarter: t.0 / QUARTER_US, events, last_at: t }
        };
        // 18:10Z is 23:55 of the day, 18:20Z is 00:05 of the next (UTC+5:45).
        let a = activity(&[at("2026-01-10T18:10:00Z", 2), at("2026-01-10T18:20:00Z", 1), at("2025-11-01T12:00:00Z", 5)], as_of, zone);
        assert_eq!((a.hours[23], a.hours[0], a.days_28), (2, 1, 2));
        assert_eq!(a.hours.iter().sum::<i64>(), 8);
        let mut hours = [0; 24];
        (hours[3], hours[9], hours[10], hours[11]) = (4, 3, 3, 3);
        assert_eq!(best_hour(&hours), Some(10));
        assert_eq!(best_hour(&[0; 24]), None);
    }

    #[test]
    fn engagement_lies_between_nothing_and_one_and_rises_with_each_part() {
        assert_eq!(engagement(0, 0, 0.0, None).to_bits(), 0.0_f64.to_bits());
        let base = engagement(2, 2, 2.0, Some(7 * DAY_US));
        for more in [
            engagement(3, 2, 2.0, Some(7 * DAY_US)),
            engagement(2, 3, 2.0, Some(7 * DAY_US)),
            engagement(2, 2, 3.0, Some(7 * DAY_US)),
            engagement(2, 2, 2.0, Some(6 * DAY_US)),
        ] {
            assert!(more > base);
        }
        let most = engagement(1000, 28, 500.0, Some(0));
        assert!((0.99..=1.0).contains(&most), "{most}");
    }

    #[test]
    fn quartiles_are_prices_that_were_paid() {
        let counts = BTreeMap::from([(100, 1), (200, 2), (900, 1)]);
        assert_eq!([0.25, 0.5, 0.75].map(|q| quantile(&counts, q)), [Some(100), Some(200), Some(200)]);
        assert_eq!(quantile(&BTreeMap::new(), 0.5), None);
    }
}
