//! What a marketer does to a campaign that exists: pause, resume, take back, cancel, duplicate, resend.

use actix_web::web::{Data, Form, Path};
use serde::Deserialize;

use super::{find, refused};
use crate::campaign::{self, Action, Campaign};
use crate::platform::Platform;
use crate::platform::http::ApiResult;
use crate::touches;
use crate::web::format;
use crate::web::page::{Confirm, Shell, local_path};

/// Touches that one click resends at most.
const MAX_RESEND: i64 = 500;

/// Where the button was pressed: the list, or the campaign's page.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Back {
    back: String,
}

impl Back {
    fn path(&self, campaign: &Campaign) -> String {
        if self.back.is_empty() { format!("/campaigns/{}", campaign.id) } else { local_path(Some(&self.back)) }
    }
}

async fn act(shell: Shell, platform: &Platform, id: &str, form: &Back, action: Action, said: &str) -> ApiResult {
    let campaign = find(&platform.db, id).await?;
    let back = form.path(&campaign);
    match campaign::transition(platform, campaign.id, action).await {
        Ok(now) => {
            shell.note(campaign.id.to_string(), format!("{} → {}", campaign.status, now.status));
            Ok(shell.redirect_saying(&back, "good", shell.say_with(said, &[("name", campaign.name)])))
        }
        Err(error) => refused(&shell, &back, error),
    }
}

pub async fn pause(shell: Shell, platform: Data<Platform>, id: Path<String>, form: Form<Back>) -> ApiResult {
    act(shell, &platform, &id, &form, Action::Pause, "campaigns.paused").await
}

pub async fn resume(shell: Shell, platform: Data<Platform>, id: Path<String>, form: Form<Back>) -> ApiResult {
    act(shell, &platform, &id, &form, Action::Resume, "campaigns.resumed").await
}

pub async fn unschedule(shell: Shell, platform: Data<Platform>, id: Path<String>, form: Form<Back>) -> ApiResult {
    act(shell, &platform, &id, &form, Action::Unschedule, "campaigns.unscheduled").await
}

pub async fn cancel(shell: Shell, platform: Data<Platform>, id: Path<String>) -> ApiResult {
    act(shell, &platform, &id, &Back::default(), Action::Cancel, "campaigns.cancelled").await
}

/// How many touches wait for something.
async fn open(platform: &Platform, campaign: &Campaign) -> ApiResult<i64> {
    let states = touches::states_of_campaign(&platform.db, campaign.id).await?;
    Ok(states.iter().filter(|(s, _)| s.is_open()).map(|(_, n)| n).sum())
}

pub async fn ask_cancel(shell: Shell, platform: Data<Platform>, id: Path<String>) -> ApiResult {
    let campaign = find(&platform.db, &id).await?;
    let waiting = format::count(open(&platform, &campaign).await?);
    let name = [("name", campaign.name.clone())];
    shell.confirm(
        shell.say_with("campaigns.cancel.title", &name),
        &Confirm {
            text: shell.say_with("campaigns.cancel.text", &[("n", waiting)]),
            consequence: shell.say("campaigns.cancel.consequence"),
            button: shell.say("campaigns.cancel.button"),
            action: format!("/campaigns/{}/cancel", campaign.id),
            back: format!("/campaigns/{}", campaign.id),
            danger: true,
        },
    )
}

pub async fn duplicate(shell: Shell, platform: Data<Platform>, id: Path<String>) -> ApiResult {
    let old = find(&platform.db, &id).await?;
    let name = shell.say_with("campaigns.copy_of", &[("name", old.name.chars().take(180).collect())]);
    match campaign::duplicate(&platform.db, old.id, &name, platform.now()).await {
        Ok(made) => {
            shell.note(made.id.to_string(), format!("copy of {}", old.id));
            let said = shell.say_with("campaigns.duplicated", &[("name", old.name)]);
            Ok(shell.redirect_saying(&format!("/campaigns/{}", made.id), "good", said))
        }
        Err(error) => refused(&shell, &format!("/campaigns/{}", old.id), error),
    }
}

pub async fn ask_resend(shell: Shell, platform: Data<Platform>, id: Path<String>) -> ApiResult {
    let campaign = find(&platform.db, &id).await?;
    let back = format!("/campaigns/{}", campaign.id);
    let n = touches::uncertain_of_campaign(&platform.db, campaign.id, MAX_RESEND).await?.len();
    if n == 0 {
        return Ok(shell.redirect_saying(&back, "info", shell.say("campaigns.resend.none")));
    }
    shell.confirm(
        shell.say_with("campaigns.resend.title", &[("n", n.to_string())]),
        &Confirm {
            text: shell.say("campaigns.resend.text"),
            consequence: shell.say("campaigns.resend.consequence"),
            button: shell.say_with("campaigns.resend.button", &[("n", n.to_string())]),
            action: format!("/campaigns/{}/resend", campaign.id),
            back,
            danger: true,
        },
    )
}

pub async fn resend(shell: Shell, platform: Data<Platform>, id: Path<String>) -> ApiResult {
    let campaign = find(&platform.db, &id).await?;
    let ids = touches::uncertain_of_campaign(&platform.db, campaign.id, MAX_RESEND).await?;
    let mut tx = platform.db.begin().await?;
    let again = touches::resend(&mut tx, &ids, platform.now()).await?.len();
    tx.commit().await?;
    shell.note(campaign.id.to_string(), format!("{again} touches"));
    let said = shell.say_with("campaigns.resend.done", &[("n", again.to_string())]);
    Ok(shell.redirect_saying(&format!("/campaigns/{}", campaign.id), "good", said))
}
