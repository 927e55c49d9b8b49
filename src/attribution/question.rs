//! How every report is asked for, over HTTP, on the command line, by a page and by a delivery alike: texts in, a checked [`Question`] out.

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::by::{By, Within};
use super::credit::AttributionSetting;
use super::model::Model;
use super::period::Unit;
use super::report_store::Scope;
use crate::audience;
use crate::campaign;
use crate::platform::clock::{DAY_US, Timestamp};
use crate::platform::http::ApiError;
use crate::platform::{Currency, Platform, setting};

/// Most periods that one report holds.
pub const MAX_PERIODS: i64 = 1_200;
/// Most rows of a list that is cut.
const MAX_LIMIT: u32 = 1_000;

/// A report, asked for. What a report has no use for is left aside by it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct ReportQuery {
    /// first, last, linear, time_decay, position, markov, shapley or shapley_rate; default: the shop's (setting `attribution`), else last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// campaign (default; of paths: channel), channel, product, variant, segment, day, week or month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// day, week or month (default): the periods of cohorts and engagement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// A date or RFC 3339 time; default: 30 days before `to`, of cohorts and engagement twelve periods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// A date (the whole day counts) or RFC 3339 time; default: now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Zone of dates and periods; default: the shop's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Only this currency (there are no exchange rates in here); default: of attribution and models all, of others the shop's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Also count human opens and viewable banners without a click; default: the shop's (setting `attribution`), else not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view_through: Option<bool>,
    /// Look into one campaign (key or id); what lies outside is one row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    /// Look into one channel: email or banner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Look into the campaigns that speak to one segment (key or id).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// Paths shown at most (default 50, at most 1,000).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// json (default), csv or parquet; `Accept: text/csv` works too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Of a report with several tables, the one that csv or parquet is to hold; default: its first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("{detail}")]
    Invalid { field: &'static str, detail: String },
    #[error(transparent)]
    Campaign(#[from] campaign::CampaignError),
    #[error(transparent)]
    Segment(#[from] audience::AudienceError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("the report could not be written: {0}")]
    Written(String),
}

impl ReportError {
    pub(super) fn invalid(field: &'static str, detail: impl Into<String>) -> Self {
        Self::Invalid { field, detail: detail.into() }
    }
}
impl From<ReportError> for ApiError {
    fn from(e: ReportError) -> Self {
        match e {
            ReportError::Invalid { field, detail } => Self::invalid(field, detail),
            ReportError::Campaign(e) => e.into(),
            ReportError::Segment(e) => e.into(),
            ReportError::Database(e) => e.into(),
            ReportError::Written(why) => Self::internal(anyhow::anyhow!(why)),
        }
    }
}

/// A checked question.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub model: Model,
    pub by: By,
    pub unit: Unit,
    /// From here …
    pub from: Timestamp,
    /// … to before here.
    pub to: Timestamp,
    /// What is known by then.
    pub now: Timestamp,
    pub time_zone: Tz,
    /// The one asked for.
    pub only: Option<Currency>,
    /// The shop's, or the one asked for.
    pub currency: Currency,
    pub view_through: bool,
    pub within: Within,
    pub limit: usize,
}

impl Question {
    /// The usual question about a span: last touch, by campaign, in UTC and EUR.
    pub fn about(from: Timestamp, to: Timestamp) -> Self {
        Self {
            model: Model::Last,
            by: By::Campaign,
            unit: Unit::Month,
            from,
            to,
            now: to,
            time_zone: Tz::UTC,
            only: None,
            currency: Currency::EUR,
            view_through: false,
            within: Within::default(),
            limit: 50,
        }
    }

    pub(super) fn scope(&self) -> Scope {
        Scope { from: self.from, to: self.to, view_through: self.view_through, within: self.within }
    }

    /// Checks what was asked. `by` and the length of the span depend on the report.
    pub(super) async fn read(platform: &Platform, query: &ReportQuery, default_by: By, in_units: bool) -> Result<Self, ReportError> {
        let word = |field: &'static str| move |e: String| ReportError::invalid(field, e);
        let usual: AttributionSetting = setting::get_or_default(&platform.db, AttributionSetting::KEY).await?;
        let model = query.model.as_deref().map_or(Ok(usual.model), str::parse).map_err(word("model"))?;
        let by = query.by.as_deref().map_or(Ok(default_by), str::parse).map_err(word("by"))?;
        let unit = query.unit.as_deref().map_or(Ok(Unit::Month), str::parse).map_err(word("unit"))?;
        let time_zone = match &query.time_zone {
            Some(name) => name.parse::<Tz>().map_err(|_| {
                ReportError::invalid("time_zone", format!("“{}” is no time zone: write a name such as Europe/Berlin or UTC", cut(name)))
            })?,
            None => platform.config.shop.time_zone,
        };
        let only = match &query.currency {
            Some(code) => Some(code.parse::<Currency>().map_err(|_| {
                ReportError::invalid("currency", format!("“{}” is no currency: write three letters, such as EUR", cut(code)))
            })?),
            None => None,
        };
        let channel = match &query.channel {
            Some(name) => Some(name.parse().map_err(|_| ReportError::invalid("channel", "channel is email or banner"))?),
            None => None,
        };
        let campaign = match &query.campaign {
            Some(name) => Some(campaign::find(&platform.db, name).await?.id),
            None => None,
        };
        let now = platform.now();
        let days = if in_units { 12 * unit.days() } else { 30 };
        let (from, to) = span(query.from.as_deref(), query.to.as_deref(), time_zone, now, days)?;
        let periods = if in_units { Some(unit.days()) } else { by.is_time().then_some(1) };
        if periods.is_some_and(|days| to.since(from) / (days * DAY_US) > MAX_PERIODS) {
            return Err(ReportError::invalid(
                "from",
                format!("such a report holds at most {MAX_PERIODS} periods: take a shorter span or a longer unit"),
            ));
        }
        let limit = query.limit.unwrap_or(50).clamp(1, MAX_LIMIT) as usize;
        let currency = only.unwrap_or(platform.config.shop.currency);
        let view_through = query.view_through.unwrap_or(usual.view_through);
        let segment = match &query.segment {
            Some(name) => Some(audience::find(&platform.db, name).await?.id),
            None => None,
        };
        let within = Within { campaign, channel, segment };
        Ok(Self { model, by, unit, from, to, now, time_zone, only, currency, view_through, within, limit })
    }
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Reads a span. Bare dates are days of the zone, and the last day counts. Default: up to now, and `days` long.
pub fn span(from: Option<&str>, to: Option<&str>, zone: Tz, now: Timestamp, days: i64) -> Result<(Timestamp, Timestamp), ReportError> {
    let read = |field: &'static str, text: &str, day_end: bool| {
        let at = Timestamp::parse_in(text, zone).ok_or_else(|| {
            ReportError::invalid(field, format!("“{}” is not a time: write 2026-01-31 or 2026-01-31T12:00:00Z", cut(text)))
        })?;
        let date = chrono::NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d").ok();
        Ok::<_, ReportError>(match date.and_then(|d| d.succ_opt()) {
            Some(next) if day_end => Timestamp::from_date(next, zone),
            _ => at,
        })
    };
    let to = to.map_or(Ok(now.plus_us(1)), |t| read("to", t, true))?;
    let from = from.map_or(Ok(to.plus_days(-days)), |t| read("from", t, false))?;
    if from < to { Ok((from, to)) } else { Err(ReportError::invalid("from", "“from” must lie before “to”")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_days_of_the_zone() {
        let now = Timestamp::parse("2026-03-31T12:00:00Z").expect("time");
        let berlin = chrono_tz::Europe::Berlin;
        let (from, to) = span(Some("2026-03-29"), Some("2026-03-29"), berlin, now, 30).expect("a span");
        assert_eq!(
            (from.to_string().as_str(), to.to_string().as_str()),
            ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            "a day of 23 hours"
        );
        let (from, to) = span(None, None, berlin, now, 30).expect("a span");
        assert_eq!((to.since(now), to.since(from)), (1, 30 * DAY_US));
        assert!(matches!(span(Some("2026-04-02"), None, berlin, now, 30), Err(ReportError::Invalid { field: "from", .. })));
        assert!(matches!(span(None, Some("yesterday"), berlin, now, 30), Err(ReportError::Invalid { field: "to", .. })));
    }
}
