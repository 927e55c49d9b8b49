//! Campaigns as pages list them: filtered, in an order, by keyset; their runs, and copies of them.

use std::collections::HashMap;

use sqlx::QueryBuilder;

use super::error::CampaignError;
use super::model::{Campaign, NewCampaign, Run, Status, key_from};
use super::plan::Schedule;
use super::store::{self, Row};
use super::{create, service};
use crate::platform::clock::{DAY_US, HOUR_US};
use crate::platform::ids::{CampaignId, RunId, SegmentId};
use crate::platform::{Db, Timestamp};
use crate::touches::TouchChannel;
use crate::{fault, read};

/// The order of a list. Ties are broken by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListOrder {
    /// When it was made.
    #[default]
    Made,
    Name,
    /// When it runs next; those that never run again come last.
    Next,
    /// Mails sent and banners shown, as of the last minutes.
    Sent,
    Clicked,
    /// Credited revenue, as the shop reads credit.
    Earned,
}

/// What a list holds.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    pub status: Option<Status>,
    pub channel: Option<TouchChannel>,
    pub segment: Option<SegmentId>,
    /// Part of a name or key; empty for all.
    pub search: String,
    pub order: ListOrder,
    pub down: bool,
    /// The keyset of the last row seen: [`ListOrder::key`].
    pub after: Option<String>,
}

/// What stands for “never” in the order by next run.
const NEVER: i64 = i64::MAX;

impl ListOrder {
    /// The keyset of a row: goes into `after` of the next page.
    pub fn key(self, campaign: &Campaign) -> String {
        match self {
            // What it came to is looked up: it is no part of the campaign.
            Self::Made | Self::Sent | Self::Clicked | Self::Earned => campaign.id.0.to_string(),
            Self::Name => format!("{}~{}", campaign.name, campaign.id.0),
            Self::Next => format!("{}~{}", campaign.next_run_at.map_or(NEVER, Timestamp::micros), campaign.id.0),
        }
    }
    const fn columns(self) -> &'static str {
        match self {
            Self::Made => "id",
            Self::Name => "name, id",
            Self::Next => "COALESCE(next_run_at, 9223372036854775807), id",
            Self::Sent => "sent, campaign_id",
            Self::Clicked => "clicked, campaign_id",
            Self::Earned => "earned_minor, campaign_id",
        }
    }
    /// The column of `campaign_figures`, where it is ordered by one.
    const fn figure(self) -> Option<&'static str> {
        match self {
            Self::Sent => Some("sent"),
            Self::Clicked => Some("clicked"),
            Self::Earned => Some("earned_minor"),
            Self::Made | Self::Name | Self::Next => None,
        }
    }
}

fn bad_after() -> CampaignError {
    CampaignError::Invalid { field: "after", detail: fault!("bad_after", "“after” is not one of ours") }
}

fn escape_like(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').flat_map(|c| matches!(c, '%' | '_' | '!').then_some('!').into_iter().chain([c])).collect()
}

/// A page of campaigns.
pub async fn filtered(db: &Db, filter: &ListFilter, limit: i64) -> Result<Vec<Campaign>, CampaignError> {
    let (text, id) = match filter.after.as_deref().filter(|a| !a.is_empty()) {
        None => (None, None),
        Some(after) => {
            let (text, id) = after.rsplit_once('~').map_or((None, after), |(t, id)| (Some(t.to_owned()), id));
            (text, Some(id.parse::<i64>().map_err(|_| bad_after())?))
        }
    };
    let next = match (filter.order, &text) {
        (ListOrder::Next, Some(t)) => Some(t.parse::<i64>().map_err(|_| bad_after())?),
        _ => None,
    };
    if id.is_some() && matches!(filter.order, ListOrder::Name | ListOrder::Next) && text.is_none() {
        return Err(bad_after());
    }
    let search = filter.search.trim().to_lowercase();
    let rows: Vec<Row> = read!(*db, |c| {
        let mut q = QueryBuilder::new("SELECT id, key, name, status, plan, next_run_at, created_at, updated_at, started_at, ended_at");
        // The order's index is walked, and each campaign looked up by its id.
        q.push(if filter.order.figure().is_some() {
            " FROM campaign_figures CROSS JOIN campaign WHERE id = campaign_id"
        } else {
            " FROM campaign WHERE 1 = 1"
        });
        if let Some(status) = filter.status {
            q.push(" AND status = ").push_bind(status.as_str());
        }
        if let Some(channel) = filter.channel {
            q.push(" AND channel = ").push_bind(channel.as_str());
        }
        if let Some(segment) = filter.segment {
            q.push(" AND segment_id = ").push_bind(segment);
        }
        if !search.is_empty() {
            let pattern = format!("%{}%", escape_like(&search));
            q.push(" AND (LOWER(name) LIKE ").push_bind(pattern.clone()).push(" ESCAPE '!' OR key LIKE ");
            q.push_bind(pattern).push(" ESCAPE '!')");
        }
        if let Some(id) = id {
            q.push(" AND (").push(filter.order.columns()).push(if filter.down { ") < (" } else { ") > (" });
            match filter.order {
                ListOrder::Made => {}
                ListOrder::Sent | ListOrder::Clicked | ListOrder::Earned => {
                    let column = filter.order.figure().unwrap_or("sent");
                    q.push("(SELECT l.").push(column).push(" FROM campaign_figures l WHERE l.campaign_id = ").push_bind(id).push("), ");
                }
                ListOrder::Name => {
                    q.push_bind(text.clone().unwrap_or_default()).push(", ");
                }
                ListOrder::Next => {
                    q.push_bind(next.unwrap_or(NEVER)).push(", ");
                }
            }
            q.push_bind(id).push(")");
        }
        let way = if filter.down { " DESC" } else { "" };
        let (by, id) = filter.order.columns().rsplit_once(", ").map_or((None, filter.order.columns()), |(by, id)| (Some(by), id));
        q.push(" ORDER BY ");
        if let Some(by) = by {
            q.push(by).push(way).push(", ");
        }
        q.push(id).push(way);
        q.push(" LIMIT ").push_bind(limit);
        q.build_query_as::<Row>().persistent(false).fetch_all(c).await
    })?;
    Ok(store::assemble(db, rows).await?)
}

/// When each of these campaigns last ran; those that never did are absent.
pub async fn last_runs(db: &Db, ids: &[CampaignId]) -> sqlx::Result<HashMap<CampaignId, Timestamp>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(CampaignId, Timestamp)> = read!(*db, |c| {
        let mut q = QueryBuilder::new("SELECT campaign_id, MAX(scheduled_at) FROM campaign_run WHERE campaign_id IN (");
        let mut list = q.separated(", ");
        for id in ids {
            list.push_bind(*id);
        }
        q.push(") GROUP BY campaign_id");
        q.build_query_as::<(CampaignId, Timestamp)>().persistent(false).fetch_all(c).await
    })?;
    Ok(rows.into_iter().collect())
}

const RUN_COLUMNS: &str = "SELECT id, campaign_id, scheduled_at, snapshot_id, status, cursor_person_id, planned, created_at, finished_at";

/// A campaign's runs, newest first, with ids below `before`.
pub async fn latest_runs(db: &Db, campaign: CampaignId, before: Option<RunId>, limit: i64) -> sqlx::Result<Vec<Run>> {
    read!(*db, |c| {
        let mut q = QueryBuilder::new(RUN_COLUMNS);
        q.push(" FROM campaign_run WHERE campaign_id = ").push_bind(campaign);
        if let Some(before) = before {
            q.push(" AND id < ").push_bind(before);
        }
        q.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
        q.build_query_as::<Run>().persistent(false).fetch_all(c).await
    })
}

/// Runs of all campaigns in a span of time, oldest first.
pub async fn runs_between(db: &Db, from: Timestamp, to: Timestamp, limit: i64) -> sqlx::Result<Vec<Run>> {
    read!(*db, |c| {
        let mut q = QueryBuilder::new(RUN_COLUMNS);
        q.push(" FROM campaign_run WHERE scheduled_at >= ").push_bind(from).push(" AND scheduled_at < ").push_bind(to);
        q.push(" ORDER BY scheduled_at, id LIMIT ").push_bind(limit);
        q.build_query_as::<Run>().persistent(false).fetch_all(c).await
    })
}

/// How many runs there have been.
pub async fn run_count(db: &Db, campaign: CampaignId) -> sqlx::Result<i64> {
    store::run_count(db, campaign).await
}

/// Campaigns that will run again, soonest first.
pub async fn coming(db: &Db, until: Timestamp, limit: i64) -> Result<Vec<Campaign>, CampaignError> {
    let rows: Vec<Row> = read!(*db, |c| {
        let mut q = QueryBuilder::new("SELECT id, key, name, status, plan, next_run_at, created_at, updated_at, started_at, ended_at");
        q.push(" FROM campaign WHERE status IN ('scheduled', 'running', 'paused') AND next_run_at < ").push_bind(until);
        q.push(" ORDER BY next_run_at, id LIMIT ").push_bind(limit);
        q.build_query_as::<Row>().persistent(false).fetch_all(c).await
    })?;
    Ok(store::assemble(db, rows).await?)
}

/// Makes a draft with the same plan under a name of its own. A single date that has passed moves to tomorrow, so that scheduling the copy
/// does not send it at once.
pub async fn duplicate(db: &Db, id: CampaignId, name: &str, now: Timestamp) -> Result<Campaign, CampaignError> {
    let mut plan = service::get(db, id).await?.plan;
    match &mut plan.schedule {
        Schedule::Once { at } if *at <= now => {
            *at = Timestamp::from_micros((now.micros() + DAY_US).div_euclid(HOUR_US).saturating_add(1).saturating_mul(HOUR_US));
        }
        Schedule::PersonLocal { date: Some(date), repeat: None, .. } if *date <= now.to_utc().date_naive() => {
            *date = now.plus_days(2).to_utc().date_naive();
        }
        _ => {}
    }
    let name: String = name.chars().take(200).collect();
    let base = key_from(&name);
    for n in 1..=200 {
        let key = if n == 1 { base.clone() } else { format!("{base}-{n}") };
        match create(db, NewCampaign { key: Some(key), name: name.clone(), plan: plan.clone() }, now).await {
            Err(CampaignError::KeyTaken(_)) => {}
            other => return other,
        }
    }
    Err(CampaignError::KeyTaken(base))
}
