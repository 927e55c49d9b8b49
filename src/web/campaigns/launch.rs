//! Scheduling and sending now: asked on a page that says how many people get it.

use actix_web::web::{Data, Path};

use super::summary::{self, ReachView};
use super::{find, when, wizard};
use crate::campaign::{self, Action, Campaign};
use crate::platform::Platform;
use crate::platform::http::ApiResult;
use crate::touches::TouchChannel;
use crate::web::format;
use crate::web::page::{Confirm, Shell};

/// Who gets it, who is held out, who is left out and why, in sentences.
fn sentences(shell: &Shell, campaign: &Campaign, reach: &ReachView) -> (String, String) {
    let n = |n: i64| format::count(n);
    let about = if reach.exact { "" } else { "_about" };
    let channel = campaign.plan.channel.as_str();
    let mut text = shell.say_with(&format!("launch.people_{channel}{about}"), &[("n", n(reach.treated))]);
    if reach.held_out > 0 {
        text.push(' ');
        text.push_str(&shell.say_with("launch.held", &[("n", n(reach.held_out))]));
    }
    let left: i64 = reach.left_out.iter().map(|l| l.n).sum();
    let mut more = String::new();
    if left > 0 {
        let why = reach.left_out.iter().take(3).map(|l| format!("{} {}", n(l.n), l.text.to_lowercase())).collect::<Vec<_>>().join("; ");
        more = shell.say_with("launch.left_out", &[("n", n(left)), ("why", why)]);
    }
    if reach.treated == 0 {
        more = shell.say_with("launch.nobody", &[("more", more)]);
    }
    (text, more)
}

async fn ask(shell: &Shell, platform: &Platform, campaign: &Campaign, now: bool) -> ApiResult {
    let reach = match campaign::reach(platform, campaign).await {
        Ok(reach) => summary::reach_view(shell, &reach),
        Err(error) => return wizard::launch_refused(shell, campaign, error),
    };
    let (people, mut consequence) = sentences(shell, campaign, &reach);
    let when = if now { shell.say("launch.now") } else { when::schedule(shell, &campaign.plan.schedule) };
    if now && campaign.plan.channel == TouchChannel::Email {
        consequence = format!("{consequence} {}", shell.say("launch.no_way_back")).trim().to_owned();
    }
    let name = [("name", campaign.name.clone())];
    let verb = if now { "send" } else { "schedule" };
    shell.confirm(
        shell.say_with(if now { "launch.title_send" } else { "launch.title_schedule" }, &name),
        &Confirm {
            text: format!("{people} {}", shell.say_with("launch.when", &[("when", when)])),
            consequence,
            button: shell.say(if now { "launch.send" } else { "launch.schedule" }),
            action: format!("/campaigns/{}/{verb}", campaign.id),
            back: format!("/campaigns/{}", campaign.id),
            danger: false,
        },
    )
}

pub async fn ask_schedule(shell: Shell, platform: Data<Platform>, id: Path<String>) -> ApiResult {
    let campaign = find(&platform.db, &id).await?;
    ask(&shell, &platform, &campaign, false).await
}

pub async fn ask_send(shell: Shell, platform: Data<Platform>, id: Path<String>) -> ApiResult {
    let campaign = find(&platform.db, &id).await?;
    ask(&shell, &platform, &campaign, true).await
}

pub async fn schedule(shell: Shell, platform: Data<Platform>, id: Path<String>) -> ApiResult {
    let campaign = find(&platform.db, &id).await?;
    match campaign::transition(&platform, campaign.id, Action::Schedule).await {
        Ok(now) => {
            shell.note(campaign.id.to_string(), format!("{} → {}", campaign.status, now.status));
            let next = now.next_run_at.map(|at| format::time(at, shell.reader())).unwrap_or_default();
            let said = shell.say_with("launch.scheduled", &[("name", campaign.name), ("at", next)]);
            Ok(shell.redirect_saying(&format!("/campaigns/{}", campaign.id), "good", said))
        }
        Err(error) => wizard::launch_refused(&shell, &campaign, error),
    }
}

pub async fn send(shell: Shell, platform: Data<Platform>, id: Path<String>) -> ApiResult {
    let campaign = find(&platform.db, &id).await?;
    match campaign::send_now(&platform, campaign.id).await {
        Ok(now) => {
            shell.note(campaign.id.to_string(), format!("{} → {}", campaign.status, now.status));
            let said = shell.say_with("launch.going", &[("name", campaign.name)]);
            Ok(shell.redirect_saying(&format!("/campaigns/{}", campaign.id), "good", said))
        }
        Err(error) => wizard::launch_refused(&shell, &campaign, error),
    }
}
