//! What needs somebody: each with what to do and where. Nothing here is news that can wait for a report.

use serde::Serialize;

use super::{linked, now};
use crate::account::Permission;
use crate::attribution::rollup::{self, Days, State};
use crate::copywriter::{self, CopyState};
use crate::creative::BrandKit;
use crate::delivery::mail_config;
use crate::platform::Platform;
use crate::platform::clock::MINUTE_US;
use crate::platform::http::ApiResult;
use crate::touches;
use crate::web::format;
use crate::web::jobs;
use crate::web::page::Shell;

/// Above these shares of mails, providers begin to refuse a sender.
const BOUNCES: f64 = 0.02;
const COMPLAINTS: f64 = 0.001;
/// Fewer mails than this say nothing about shares.
const ENOUGH: i64 = 200;
/// Sums that are older than this have nobody who keeps them.
const OLD_US: i64 = 30 * MINUTE_US;

#[derive(Serialize)]
pub(super) struct NeedView {
    /// `bad` or `warn`.
    tone: &'static str,
    text: String,
    hint: String,
    href: Option<String>,
    button: String,
}

struct List<'a> {
    shell: &'a Shell,
    needs: Vec<NeedView>,
}

impl List<'_> {
    /// `key` has a text, and `key_do` says what to do.
    fn add(&mut self, tone: &'static str, key: &str, args: &[(&str, String)], pattern: &str, href: String, may: bool) {
        let href = linked(self.shell, pattern, href).filter(|_| may);
        let need = NeedView {
            tone,
            text: self.shell.say_with(&format!("home.need.{key}"), args),
            hint: self.shell.say_with(&format!("home.need.{key}_do"), args),
            href,
            button: self.shell.say("home.need_open"),
        };
        self.needs.push(need);
    }
}

pub(super) async fn view(shell: &Shell, platform: &Platform, state: &State, days: Days) -> ApiResult<Vec<NeedView>> {
    let mut list = List { shell, needs: Vec::new() };
    wiring(&mut list, platform).await?;
    let failed = jobs::failed_lately(shell, &platform.db).await?;
    if !failed.is_empty() {
        let n = ("n", failed.len().to_string());
        list.add("bad", "failed_jobs", &[n], "/jobs/runs", "/jobs/runs?status=failed".into(), true);
    }
    let uncertain = touches::uncertain(&platform.db).await?;
    if let Some((campaign, _)) = uncertain.first() {
        let n = ("n", format::count(uncertain.iter().map(|(_, n)| n).sum()));
        list.add("bad", "uncertain", &[n], "/campaigns/{id}", format!("/campaigns/{campaign}"), true);
    }
    for campaign in now::paused(platform).await?.into_iter().take(4) {
        let args = [("name", campaign.name.clone())];
        list.add("warn", "paused", &args, "/campaigns/{id}", format!("/campaigns/{}", campaign.id), true);
    }
    for (state, n) in copywriter::counts(&platform.db).await? {
        let key = match state {
            CopyState::Waiting => "copies_waiting",
            CopyState::Dropped => "copies_dropped",
            _ => continue,
        };
        if n > 0 {
            let args = [("n", format::count(n))];
            list.add("warn", key, &args, "/creatives", format!("/creatives?state={}", state.name()), true);
        }
    }
    mail_health(&mut list, platform, days).await?;
    if state.ready && state.as_of.is_some_and(|at| shell.reader().now.since(at) > OLD_US) {
        list.add("warn", "no_worker", &[], "/jobs", "/jobs".into(), true);
    }
    list.needs.sort_by_key(|n| n.tone != "bad");
    Ok(list.needs)
}

/// What mail and links need before anything can go out well.
async fn wiring(list: &mut List<'_>, platform: &Platform) -> ApiResult<()> {
    let config = mail_config(platform).await?;
    let brand = BrandKit::load(platform).await?;
    let may = list.shell.may(Permission::Configure);
    let mut add = |tone, key: &str| list.add(tone, key, &[], "/settings/sender", "/settings/sender".into(), may);
    if config.mail.from_address.is_empty() {
        add("bad", "no_sender");
    }
    if config.mail.servers.is_empty() {
        add("bad", "no_server");
    }
    // Without a sender there is nothing yet that could be signed.
    if config.mail.dkim.is_empty() && !config.mail.from_address.is_empty() {
        add("warn", "no_dkim");
    }
    if brand.postal_address.is_empty() {
        add("warn", "no_postal");
    }
    let url = &config.server.public_url;
    if !url.starts_with("https://") && !["//127.0.0.1", "//localhost", "//[::1]"].iter().any(|local| url.contains(local)) {
        add("warn", "no_https");
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "shares")]
async fn mail_health(list: &mut List<'_>, platform: &Platform, days: Days) -> ApiResult<()> {
    let week = Days::ending(days.to, 7);
    let channels = rollup::by_channel(&platform.db, None, week).await?;
    let Some(n) = channels.get("email").map(|f| f.counts).filter(|n| n.sent >= ENOUGH) else { return Ok(()) };
    let bounced = n.bounced as f64 / (n.sent + n.failed) as f64;
    if bounced > BOUNCES {
        list.add("bad", "bounces", &[("p", format::percent(bounced))], "/reports/{kind}", "/reports/funnel".into(), true);
    }
    let complained = n.complained as f64 / n.sent as f64;
    if complained > COMPLAINTS {
        list.add("bad", "complaints", &[("p", format::percent(complained))], "/reports/{kind}", "/reports/funnel".into(), true);
    }
    Ok(())
}
