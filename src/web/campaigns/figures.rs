//! What campaigns came to: the one place where these pages take their figures from. All of them are added up ahead (the rollup); a click
//! shows within a minute or two.

use std::collections::HashMap;

use chrono::NaiveDate;

use crate::attribution::AttributionSetting;
use crate::attribution::rollup::{self, Days, Reading};
use crate::campaign::Campaign;
use crate::platform::http::ApiResult;
use crate::platform::ids::{CampaignId, VariantId};
use crate::platform::{Currency, Platform, setting};

/// Weeks of a sparkline.
const WEEKS: usize = 12;

/// Counts of treated touches; seen and clicked by humans only.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub sent: i64,
    pub seen: i64,
    pub clicked: i64,
    pub unsubscribed: i64,
    /// Orders on whose path it is.
    pub ordered: i64,
    /// Credited as the shop reads credit, in its currency.
    pub revenue_minor: i64,
    /// Sent per week, oldest first; the last are the seven days up to today.
    pub weeks: Vec<f64>,
}

impl Figures {
    fn of(f: &rollup::Figures, currency: Currency, reading: Reading) -> Self {
        Self {
            sent: f.counts.sent,
            seen: f.counts.seen,
            clicked: f.counts.clicked,
            unsubscribed: f.counts.unsubscribed,
            ordered: f.orders(currency.code(), reading.view_through),
            revenue_minor: f.revenue(currency.code(), reading),
            weeks: Vec::new(),
        }
    }
}

/// How the shop reads credit.
pub async fn reading(platform: &Platform) -> ApiResult<Reading> {
    let setting: AttributionSetting = setting::get_or_default(&platform.db, AttributionSetting::KEY).await?;
    Ok(setting.reading())
}

/// Of many campaigns; those without touches are absent.
pub async fn of_many(platform: &Platform, ids: &[CampaignId]) -> ApiResult<HashMap<CampaignId, Figures>> {
    let (db, shop) = (&platform.db, &platform.config.shop);
    let today = platform.now().in_zone(shop.time_zone).date_naive();
    let reading = reading(platform).await?;
    let found = rollup::by_campaign(db, ids, Days::ALL).await?;
    let days = rollup::series_of(db, ids, Days::ending(today, WEEKS as u64 * 7)).await?;
    Ok(found
        .iter()
        .map(|(id, f)| {
            let mut figures = Figures::of(f, shop.currency, reading);
            let sent = days.get(id).into_iter().flatten().map(|(day, f)| (*day, f.counts.sent));
            figures.weeks = weeks(today, sent);
            (*id, figures)
        })
        .collect())
}

/// Sums of weeks that end today.
fn weeks(today: NaiveDate, days: impl Iterator<Item = (NaiveDate, i64)>) -> Vec<f64> {
    let mut sums = vec![0.0; WEEKS];
    for (day, n) in days {
        let ago = usize::try_from(today.signed_duration_since(day).num_days() / 7).unwrap_or(usize::MAX);
        if let Some(sum) = sums.iter_mut().rev().nth(ago) {
            *sum += n as f64;
        }
    }
    sums
}

/// Of one campaign, altogether.
pub async fn of_one(platform: &Platform, campaign: &Campaign) -> ApiResult<Figures> {
    let reading = reading(platform).await?;
    let found = rollup::by_campaign(&platform.db, &[campaign.id], Days::ALL).await?;
    Ok(found.get(&campaign.id).map(|f| Figures::of(f, platform.config.shop.currency, reading)).unwrap_or_default())
}

/// Of one campaign by variant.
pub async fn by_variant(platform: &Platform, campaign: &Campaign) -> ApiResult<HashMap<VariantId, Figures>> {
    let reading = reading(platform).await?;
    let found = rollup::by_variant(&platform.db, campaign.id, Days::ALL).await?;
    Ok(found.iter().filter_map(|(id, f)| Some(((*id)?, Figures::of(f, platform.config.shop.currency, reading)))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_end_today() {
        let day = |text: &str| text.parse::<NaiveDate>().expect("date");
        let sums = weeks(
            day("2026-03-31"),
            [("2026-03-31", 5), ("2026-03-25", 1), ("2026-03-24", 2), ("2025-01-01", 9)].map(|(d, n)| (day(d), n)).into_iter(),
        );
        assert_eq!(sums.len(), WEEKS);
        assert_eq!(sums[WEEKS - 2..], [2.0, 6.0]);
        assert!((sums.iter().sum::<f64>() - 8.0).abs() < 1e-9, "what is older is left aside");
    }
}
