//! Home: is it working, and what did it earn?

use actix_web::web::Data;
use serde::Serialize;

use super::page::Shell;
use super::route::{Need, Route};
use crate::account::Permission;
use crate::platform::Platform;
use crate::platform::http::ApiResult;

pub(super) fn routes() -> Vec<Route> {
    vec![Route::get("/", Need::May(Permission::See), home)]
}

#[derive(Serialize)]
struct HomeView {
    people: i64,
}

async fn home(shell: Shell, platform: Data<Platform>) -> ApiResult {
    let people = crate::people::count(&platform.db).await?;
    shell.render("home.html", shell.say("home.title"), &HomeView { people })
}
