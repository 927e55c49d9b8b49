//! Settings: how is it wired? Sender, caps and quiet hours, users, keys, the audit log.

mod audit;
mod keys;
mod policy;
mod sender;
mod users;
mod webhooks;

use serde::Serialize;

use super::page::Shell;
use super::route::{Need, Route};
use crate::account::Permission;
use crate::platform::http::ApiResult;

pub(super) fn routes() -> Vec<Route> {
    let start = vec![Route::get("/settings", Need::May(Permission::Configure), start)];
    [start, sender::routes(), policy::routes(), users::routes(), keys::routes(), webhooks::routes(), audit::routes()].concat()
}

async fn start(shell: Shell) -> ApiResult {
    Ok(shell.redirect("/settings/sender"))
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Tab {
    path: &'static str,
    label: String,
    current: bool,
}

/// The tabs of all settings that the viewer may open.
fn tabs(shell: &Shell, current: &str) -> Vec<Tab> {
    use Permission::{Administer, Configure};
    [
        ("/settings/sender", "settings.sender", Configure),
        ("/settings/contact", "settings.contact", Configure),
        ("/settings/users", "settings.users", Administer),
        ("/settings/keys", "settings.keys", Administer),
        ("/settings/webhooks", "settings.webhooks", Administer),
        ("/settings/audit", "settings.audit", Administer),
    ]
    .into_iter()
    .filter(|(_, _, need)| shell.may(*need))
    .map(|(path, key, _)| Tab { path, label: shell.say(key), current: path == current })
    .collect()
}
