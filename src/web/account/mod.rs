//! Pages of one's own account: sign-in, set-up, invitation, reset, profile.

mod enter;

use super::route::{Need, Route};

pub(super) fn routes() -> Vec<Route> {
    enter::routes()
}
