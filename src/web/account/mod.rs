//! Pages of one's own account: sign-in, set-up, invitation, reset, profile.

mod enter;
mod forgot;
mod profile;
mod second;

pub(super) use enter::{form_status, ours};
pub(super) use forgot::send_link;

use super::route::{Need, Route};

pub(super) fn routes() -> Vec<Route> {
    [enter::routes(), forgot::routes(), profile::routes(), second::routes()].concat()
}
