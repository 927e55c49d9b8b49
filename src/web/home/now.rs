//! What runs now: campaigns with their progress, what goes out next, jobs at work. Fetched again every few seconds.

use actix_web::web::Data;
use serde::Serialize;

use super::linked;
use crate::attribution::rollup::{self, Days};
use crate::campaign::{self, Campaign, Status};
use crate::platform::http::ApiResult;
use crate::platform::{Platform, Timestamp};
use crate::touches::TouchChannel;
use crate::web::jobs::{self, RunRow};
use crate::web::page::Shell;

/// Most campaigns listed.
const MOST: usize = 6;

#[derive(Serialize)]
pub(super) struct NowView {
    running: Vec<Running>,
    next: Vec<Next>,
    jobs: Vec<RunRow>,
    more: usize,
}

#[derive(Serialize)]
struct Running {
    name: String,
    href: Option<String>,
    channel: &'static str,
    /// Of mails: out of all that were planned, how many have ended, sent or not.
    done: i64,
    planned: i64,
    sent: i64,
    clicked: i64,
    next_run_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct Next {
    name: String,
    href: Option<String>,
    at: Timestamp,
}

async fn with_status(platform: &Platform, status: Status) -> sqlx::Result<Vec<Campaign>> {
    let mut all = campaign::by_status(&platform.db, status, TouchChannel::Email.as_str()).await?;
    all.extend(campaign::by_status(&platform.db, status, TouchChannel::Banner.as_str()).await?);
    Ok(all)
}

pub(super) async fn paused(platform: &Platform) -> sqlx::Result<Vec<Campaign>> {
    with_status(platform, Status::Paused).await
}

pub(super) async fn view(shell: &Shell, platform: &Platform) -> ApiResult<NowView> {
    let link = |c: &Campaign| linked(shell, "/campaigns/{id}", format!("/campaigns/{}", c.id));
    let mut campaigns = with_status(platform, Status::Running).await?;
    campaigns.sort_by_key(|c| std::cmp::Reverse(c.started_at));
    let more = campaigns.len().saturating_sub(MOST);
    campaigns.truncate(MOST);
    let ids: Vec<_> = campaigns.iter().map(|c| c.id).collect();
    let mut figures = rollup::by_campaign(&platform.db, &ids, Days::ALL).await?;
    let running = campaigns
        .iter()
        .map(|c| {
            let n = figures.remove(&c.id).unwrap_or_default().counts;
            let mail = c.plan.channel == TouchChannel::Email;
            Running {
                name: c.name.clone(),
                href: link(c),
                channel: c.plan.channel.as_str(),
                done: if mail { n.sent + n.failed + n.skipped } else { 0 },
                planned: if mail { n.planned } else { 0 },
                sent: n.sent,
                clicked: n.clicked,
                next_run_at: c.next_run_at.filter(|at| *at > shell.reader().now),
            }
        })
        .collect();
    let mut next: Vec<Next> = with_status(platform, Status::Scheduled)
        .await?
        .iter()
        .filter_map(|c| Some(Next { name: c.name.clone(), href: link(c), at: c.next_run_at? }))
        .collect();
    next.sort_by_key(|n| n.at);
    next.truncate(MOST);
    Ok(NowView { running, next, jobs: jobs::running_now(shell, &platform.db).await?, more })
}

pub(super) async fn part(shell: Shell, platform: Data<Platform>) -> ApiResult {
    #[derive(Serialize)]
    struct Part {
        now: NowView,
    }
    let now = view(&shell, &platform).await?;
    shell.fragment("home/now.html", &Part { now }, false)
}
