//! Home: is it working, and what did it earn? What is credited and what was added, what runs now, what needs somebody.

mod figures;
mod needs;
mod now;

pub(super) use figures::reading;

use actix_web::web::{Data, Query};
use serde::{Deserialize, Serialize};

use super::chart::Chart;
use super::page::Shell;
use super::route::{Need, Route};
use crate::account::Permission;
use crate::attribution::rollup::{self, Days};
use crate::campaign;
use crate::platform::http::ApiResult;
use crate::platform::{Platform, Timestamp};

pub(super) fn routes() -> Vec<Route> {
    let see = Need::May(Permission::See);
    vec![Route::get("/", see, home), Route::get("/home/part/now", see, now::part)]
}

/// Lengths of the period that may be chosen, in days.
const LENGTHS: [u64; 3] = [7, 28, 90];

#[derive(Deserialize)]
#[serde(default)]
struct HomeQuery {
    days: u64,
}
impl Default for HomeQuery {
    fn default() -> Self {
        Self { days: 28 }
    }
}

#[derive(Serialize)]
struct Length {
    days: u64,
    current: bool,
}

#[derive(Serialize)]
struct HomeView {
    /// Nothing has been sent or shown yet: the page says how to begin.
    fresh: bool,
    /// The guided start, until it is done.
    start: Option<crate::web::start::Checklist>,
    people: i64,
    products: i64,
    lengths: Vec<Length>,
    from: String,
    to: String,
    /// The period lies in the past: since its end nothing has happened.
    past: bool,
    figures: figures::FiguresView,
    charts: Vec<Chart>,
    now: now::NowView,
    needs: Vec<needs::NeedView>,
    best: Vec<figures::Best>,
    activity: Vec<Activity>,
    as_of: Option<Timestamp>,
}

async fn home(shell: Shell, platform: Data<Platform>, query: Query<HomeQuery>) -> ApiResult {
    let db = &platform.db;
    let length = LENGTHS.into_iter().find(|n| *n == query.days).unwrap_or(28);
    let now = shell.reader().now;
    let today = now.in_zone(platform.config.shop.time_zone).date_naive();
    let state = rollup::state(db).await?;
    let counted = rollup::counted(db).await?;
    // A shop that rests still shows its last weeks, and says that they are past.
    let last = rollup::last_day(db, today).await?;
    let end = last.filter(|day| day.checked_add_days(chrono::Days::new(length)).is_some_and(|d| d <= today)).unwrap_or(today);
    let days = Days::ending(end, length);
    let figures = figures::view(&shell, &platform, days).await?;
    let view = HomeView {
        fresh: last.is_none(),
        start: crate::web::start::checklist(&shell, &platform).await?,
        people: counted.people,
        products: counted.products,
        lengths: LENGTHS.into_iter().map(|days| Length { days, current: days == length }).collect(),
        from: figures::short_date(&shell, days.from),
        to: figures::short_date(&shell, days.to),
        past: end != today,
        charts: figures::charts(&shell, &platform, days).await?,
        figures,
        now: now::view(&shell, &platform).await?,
        needs: needs::view(&shell, &platform, &state, days).await?,
        best: figures::best(&shell, &platform).await?,
        activity: activity(&shell, &platform).await?,
        as_of: state.as_of,
    };
    shell.render("home/home.html", shell.say("home.title"), &view)
}

/// Something that happened.
#[derive(Serialize)]
struct Activity {
    text: String,
    href: Option<String>,
    at: Timestamp,
}

/// The last runs of campaigns; for admins also the last deeds in the audit log.
async fn activity(shell: &Shell, platform: &Platform) -> ApiResult<Vec<Activity>> {
    let db = &platform.db;
    let runs = campaign::recent_runs(db, 6).await?;
    let ids: Vec<_> = runs.iter().map(|r| r.campaign_id).collect();
    let campaigns = campaign::get_many(db, &ids).await?;
    let mut list: Vec<Activity> = runs
        .iter()
        .filter_map(|run| {
            let campaign = campaigns.get(&run.campaign_id)?;
            let key = match run.status {
                campaign::RunStatus::Planning => "home.run_planning",
                campaign::RunStatus::Planned => "home.run_planned",
                campaign::RunStatus::Cancelled => "home.run_cancelled",
            };
            let args = [("name", campaign.name.clone()), ("n", super::format::count(run.planned))];
            let href = linked(shell, "/campaigns/{id}", format!("/campaigns/{}", campaign.id));
            Some(Activity { text: shell.say_with(key, &args), href, at: run.finished_at.unwrap_or(run.created_at) })
        })
        .collect();
    if shell.may(Permission::Administer) {
        let deeds = crate::account::audit::list(db, &crate::account::AuditFilter::default(), 30).await?;
        // What programs did stands in the log; here it would drown what people did.
        let of_people = deeds.into_iter().filter(|deed| !deed.action.starts_with("api ") && deed.action != "account.sign_in");
        list.extend(of_people.map(|deed| Activity {
            text: format!("{} · {}{}{}", deed.actor, deed.action, if deed.subject.is_empty() { "" } else { " · " }, deed.subject),
            href: linked(shell, "/settings/audit", "/settings/audit".to_owned()),
            at: deed.at,
        }));
    }
    list.sort_by_key(|a| std::cmp::Reverse(a.at));
    list.truncate(7);
    Ok(list)
}

/// A link, where such a page is mounted.
pub(super) fn linked(shell: &Shell, pattern: &str, href: String) -> Option<String> {
    shell.ui().paths.contains(pattern).then_some(href)
}
