//! What the rows of a report are about, and how far it looks: the pieces of SQL that all reports over credit and touches share.
//!
//! In this SQL `c` is a row of `credit` or of `touch` (both carry campaign, variant, product and channel) and `o` an order. No text from
//! outside gets into it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Datelike as _;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::report_store::{self, QUARTER_US};
use crate::platform::clock::Timestamp;
use crate::platform::db::Db;
use crate::platform::ids::{CampaignId, SegmentId};
use crate::touches::TouchChannel;

/// Key of what touches carry nothing for.
pub const NONE: &str = "none";
/// Key of rows that are put together because there are too many.
pub const OTHER: &str = "other";
/// Key of what lies outside the campaign or channel that is looked into.
pub const ELSEWHERE: &str = "elsewhere";
/// Key of what no touch earned.
pub const UNATTRIBUTED: &str = "unattributed";

/// What rows are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    Campaign,
    Channel,
    /// The product that the touch was about (not necessarily the one bought).
    Product,
    Variant,
    /// The segment that the touch's campaign speaks to.
    Segment,
    /// The day of the order (of a funnel: of the touch), in the report's time zone.
    Day,
    /// Weeks begin on Monday; a row is named by its first day.
    Week,
    /// Named by its first day.
    Month,
}

impl By {
    pub const ALL: [By; 8] =
        [Self::Campaign, Self::Channel, Self::Product, Self::Variant, Self::Segment, Self::Day, Self::Week, Self::Month];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Campaign => "campaign",
            Self::Channel => "channel",
            Self::Product => "product",
            Self::Variant => "variant",
            Self::Segment => "segment",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
    pub const fn is_time(self) -> bool {
        matches!(self, Self::Day | Self::Week | Self::Month)
    }
    /// The SQL of the key, given that of the time. Time is in quarters of an hour, of which every zone's midnight is a boundary.
    fn key(self, at: &str) -> String {
        match self {
            Self::Campaign => "c.campaign_id".into(),
            Self::Channel => "c.channel".into(),
            Self::Product => "c.product_id".into(),
            Self::Variant => "c.variant_id".into(),
            Self::Segment => "(SELECT s.segment_id FROM campaign s WHERE s.id = c.campaign_id)".into(),
            Self::Day | Self::Week | Self::Month => format!("{at} / {QUARTER_US}"),
        }
    }
    /// SQL for names, open at its end, and the prefix of ids.
    const fn names(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Campaign => Some(("SELECT id, name FROM campaign WHERE id IN", "cmp")),
            Self::Product => Some(("SELECT id, title || ' (' || sku || ')' FROM product WHERE id IN", "prd")),
            Self::Variant => Some((
                "SELECT v.id, c.name || ': ' || v.name FROM campaign_variant v JOIN campaign c ON c.id = v.campaign_id WHERE v.id IN",
                "var",
            )),
            Self::Segment => Some(("SELECT id, name FROM segment WHERE id IN", "seg")),
            Self::Channel | Self::Day | Self::Week | Self::Month => None,
        }
    }
    /// What a key of the SQL is called outside.
    pub(super) fn label(self, key: &str, zone: Tz) -> String {
        if [NONE, OTHER, ELSEWHERE].contains(&key) {
            return key.to_owned();
        }
        match (self, self.names()) {
            (_, Some((_, prefix))) => format!("{prefix}_{key}"),
            (Self::Day | Self::Week | Self::Month, _) => {
                let Ok(quarter) = key.parse::<i64>() else { return key.to_owned() };
                let day = Timestamp(quarter * QUARTER_US).in_zone(zone).date_naive();
                match self {
                    Self::Week => (day - chrono::Duration::days(i64::from(day.weekday().num_days_from_monday()))).to_string(),
                    Self::Month => day.with_day(1).unwrap_or(day).to_string(),
                    _ => day.to_string(),
                }
            }
            _ => key.to_owned(),
        }
    }
    /// Names of labels; a label without one is its own name.
    pub(super) async fn names_of(self, db: &Db, labels: impl Iterator<Item = &String>) -> sqlx::Result<BTreeMap<String, String>> {
        let Some((sql, prefix)) = self.names() else { return Ok(BTreeMap::new()) };
        let ids: BTreeSet<i64> =
            labels.filter_map(|l| l.strip_prefix(prefix)?.strip_prefix('_')).filter_map(|id| id.parse().ok()).collect();
        let found = report_store::names(db, sql, &ids.into_iter().collect::<Vec<_>>()).await?;
        let mut names: BTreeMap<String, String> = found.into_iter().map(|(id, name)| (format!("{prefix}_{id}"), name)).collect();
        names.insert(NONE.into(), "None named".into());
        names.insert(OTHER.into(), "Smaller rows".into());
        names.insert(ELSEWHERE.into(), "Everything else".into());
        Ok(names)
    }
}
impl std::str::FromStr for By {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|b| b.name() == text).ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.iter().map(|b| b.name()).collect();
            format!("“{}” is no grouping: use {}", text.chars().take(40).collect::<String>(), all.join(", "))
        })
    }
}

/// Looks into one campaign, one channel, the campaigns to one segment: everything else becomes the row `elsewhere`, so that sums still equal
/// the orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Within {
    pub campaign: Option<CampaignId>,
    pub channel: Option<TouchChannel>,
    /// The segment that campaigns speak to.
    pub segment: Option<SegmentId>,
}

impl Within {
    /// The condition on `c`, if there is one.
    pub(super) fn condition(self) -> Option<String> {
        let campaign = self.campaign.map(|id| format!("c.campaign_id = {}", id.0));
        let channel = self.channel.map(|channel| format!("c.channel = '{}'", channel.as_str()));
        let segment = self.segment.map(|id| format!("c.campaign_id IN (SELECT s.id FROM campaign s WHERE s.segment_id = {})", id.0));
        let parts: Vec<String> = campaign.into_iter().chain(channel).chain(segment).collect();
        (!parts.is_empty()).then(|| parts.join(" AND "))
    }
    /// The SQL of a grouping's key, as text and never NULL. `at`: the column of the time that counts.
    pub(super) fn key(self, by: By, at: &str) -> String {
        let key = format!("COALESCE(CAST({} AS TEXT), '{NONE}')", by.key(at));
        match self.condition() {
            Some(inside) => format!("CASE WHEN {inside} THEN {key} ELSE '{ELSEWHERE}' END"),
            None => key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_named_by_their_first_day_in_the_zone() {
        let at = Timestamp::parse("2026-02-28T23:30:00Z").expect("time");
        let quarter = (at.0 / QUARTER_US).to_string();
        let berlin = chrono_tz::Europe::Berlin;
        assert_eq!(By::Day.label(&quarter, Tz::UTC), "2026-02-28");
        assert_eq!(By::Day.label(&quarter, berlin), "2026-03-01");
        assert_eq!(By::Week.label(&quarter, berlin), "2026-02-23", "a Sunday belongs to the week before");
        assert_eq!((By::Month.label(&quarter, Tz::UTC), By::Month.label(&quarter, berlin)), ("2026-02-01".into(), "2026-03-01".into()));
        assert_eq!(By::Campaign.label("7", berlin), "cmp_7");
        assert_eq!(By::Campaign.label(NONE, berlin), NONE);
    }

    #[test]
    fn what_lies_outside_has_a_key_of_its_own() {
        let within = Within { campaign: Some(CampaignId(3)), channel: Some(TouchChannel::Email), segment: None };
        assert_eq!(
            within.key(By::Variant, "o.placed_at"),
            "CASE WHEN c.campaign_id = 3 AND c.channel = 'email' THEN COALESCE(CAST(c.variant_id AS TEXT), 'none') ELSE 'elsewhere' END"
        );
        assert_eq!(Within::default().key(By::Channel, ""), "COALESCE(CAST(c.channel AS TEXT), 'none')");
    }
}
