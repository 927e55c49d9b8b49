//! How a run goes, live: what went out, what waits, how fast, how long still.

use std::collections::{HashMap, VecDeque};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use actix_web::web::{Data, Path};
use serde::Serialize;

use super::find;
use crate::attribution::rollup;
use crate::campaign::{self, Campaign, RunStatus, Status};
use crate::platform::clock::SECOND_US;
use crate::platform::http::ApiResult;
use crate::platform::ids::CampaignId;
use crate::platform::{Db, Platform, Timestamp};
use crate::touches::{self, TouchChannel, TouchState};
use crate::web::page::Shell;
use crate::web::stream::{self, Part};

/// What the part shows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Progress {
    pub id: String,
    pub status: &'static str,
    pub banner: bool,
    /// Everything that was planned; of the holdout what waits, and what would have gone out.
    pub all: i64,
    /// Of it, what has come to its end.
    pub ended: i64,
    pub waiting: i64,
    /// Put off: quiet hours, a busy server.
    pub deferred: i64,
    pub sending: i64,
    /// Sent, or shown.
    pub sent: i64,
    pub failed: i64,
    pub uncertain: i64,
    /// Skipped, expired, cancelled.
    pub left_out: i64,
    /// Of the holdout: would have gone out.
    pub held: i64,
    /// People planned so far, while a run is being planned.
    pub planning: Option<i64>,
    /// What went out per second over the last half minute.
    pub per_second: Option<f64>,
    pub left_us: Option<i64>,
    pub next_run_at: Option<Timestamp>,
    /// Nothing will change by itself before the next run.
    pub done: bool,
}

#[derive(Serialize)]
struct PartView {
    p: Progress,
}

/// How many had gone out when, per shop and campaign: from it comes the speed. Small: old campaigns leave.
type Paces = HashMap<(String, CampaignId), VecDeque<(Timestamp, i64)>>;
static PACES: LazyLock<Mutex<Paces>> = LazyLock::new(Mutex::default);
const WINDOW_US: i64 = 30 * SECOND_US;
const MAX_PACES: usize = 200;

/// Notes how many have gone out by now; the speed over the last half minute, where two looks lie apart.
fn pace(platform: &Platform, campaign: CampaignId, now: Timestamp, out: i64) -> Option<f64> {
    let mut paces = PACES.lock().unwrap_or_else(PoisonError::into_inner);
    if paces.len() >= MAX_PACES {
        paces.retain(|_, looks| looks.back().is_some_and(|(at, _)| now.since(*at) < WINDOW_US));
    }
    let looks = paces.entry((platform.config.database.url.clone(), campaign)).or_default();
    speed(looks, now, out)
}

fn speed(looks: &mut VecDeque<(Timestamp, i64)>, now: Timestamp, out: i64) -> Option<f64> {
    while looks.front().is_some_and(|(at, n)| now.since(*at) > WINDOW_US || *n > out) {
        looks.pop_front();
    }
    if looks.back().is_none_or(|(at, _)| now.since(*at) >= SECOND_US / 2) {
        looks.push_back((now, out));
    }
    let (since, then) = looks.front().copied()?;
    let seconds = now.since(since) as f64 / SECOND_US as f64;
    (seconds >= 0.9).then(|| (out - then) as f64 / seconds)
}

/// Touches by state: what has ended from the sums, what is open from an index of it, so that a long history costs nothing. While sums are added
/// up anew, all are counted.
async fn states(db: &Db, campaign: CampaignId) -> ApiResult<Vec<(TouchState, i64)>> {
    let Some(n) = rollup::campaign_so_far(db, campaign).await? else { return Ok(touches::states_of_campaign(db, campaign).await?) };
    let mut states = touches::open_of_campaign(db, campaign).await?;
    let uncertain = states.iter().find(|(s, _)| *s == TouchState::Uncertain).map_or(0, |(_, n)| *n);
    // A moment lies between the two questions.
    let ended = [
        (TouchState::Sent, n.sent - uncertain),
        (TouchState::Failed, n.failed),
        (TouchState::Skipped, n.skipped),
        (TouchState::Held, n.held),
    ];
    states.extend(ended.into_iter().filter(|(_, n)| *n > 0));
    Ok(states)
}

/// Cheap enough to be asked every second.
pub async fn look(platform: &Platform, campaign: &Campaign) -> ApiResult<Progress> {
    let db = &platform.db;
    let now = platform.now();
    let states = states(db, campaign.id).await?;
    let n = |wanted: &[TouchState]| -> i64 { states.iter().filter(|(s, _)| wanted.contains(s)).map(|(_, n)| n).sum() };
    use TouchState as S;
    let planning =
        campaign::latest_runs(db, campaign.id, None, 1).await?.pop().filter(|r| r.status == RunStatus::Planning).map(|r| r.planned);
    let waiting = n(&[S::Planned, S::Deferred]);
    let sending = n(&[S::Claimed, S::Sending]);
    let sent = n(&[S::Sent, S::Served]);
    let (failed, uncertain) = (n(&[S::Failed]), n(&[S::Uncertain]));
    let open = waiting + sending;
    let going = campaign.status == Status::Running && (open > 0 || planning.is_some() || campaign.plan.channel == TouchChannel::Banner);
    let per_second = if going { pace(platform, campaign.id, now, sent + failed + uncertain) } else { None };
    let all: i64 = states.iter().map(|(_, n)| n).sum();
    Ok(Progress {
        id: campaign.id.to_string(),
        status: campaign.status.as_str(),
        banner: campaign.plan.channel == TouchChannel::Banner,
        all,
        ended: all - open,
        waiting,
        deferred: n(&[S::Deferred]),
        sending,
        sent,
        failed,
        uncertain,
        left_out: n(&[S::Skipped, S::Expired, S::Cancelled]),
        held: n(&[S::Held]),
        planning,
        per_second,
        left_us: per_second.filter(|r| *r > 0.0 && open > 0).map(|r| (open as f64 / r * SECOND_US as f64) as i64),
        next_run_at: campaign.next_run_at,
        done: !going,
    })
}

/// The part, for who asks again and again.
pub async fn part(shell: Shell, platform: Data<Platform>, id: Path<String>) -> ApiResult {
    let progress = look(&platform, &find(&platform.db, &id).await?).await?;
    let done = progress.done;
    shell.fragment("campaigns/progress.html", &PartView { p: progress }, done)
}

/// The same as a stream.
pub async fn stream(shell: Shell, platform: Data<Platform>, id: Path<String>) -> ApiResult {
    let campaign = find(&platform.db, &id).await?.id;
    let reader = shell.clone();
    stream::follow(&shell, Duration::from_secs(1), move || {
        let (shell, platform) = (reader.clone(), platform.clone());
        async move {
            let progress = look(&platform, &campaign::get(&platform.db, campaign).await?).await?;
            let done = progress.done;
            Ok(Part { html: shell.part("campaigns/progress.html", &PartView { p: progress })?, done })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_taken_over_half_a_minute() {
        let at = Timestamp::from_secs;
        let mut looks = VecDeque::new();
        assert_eq!(speed(&mut looks, at(0), 0), None, "one look tells nothing");
        assert_eq!(speed(&mut looks, at(10), 100), Some(10.0));
        assert_eq!(speed(&mut looks, at(30), 700), Some(700.0 / 30.0));
        assert_eq!(speed(&mut looks, at(39), 700), Some(600.0 / 29.0), "the first look is too old");
        assert_eq!(speed(&mut looks, at(60), 700), Some(0.0));
        assert_eq!(speed(&mut looks, at(61), 5), None, "what was resent went back: begin anew");
    }
}
