//! The pages: the one place above all slices where they come together. `docs/UI.md` says how to add one.

pub mod account;
mod assets;
mod campaigns;
mod catalogue;
pub mod chart;
mod creatives;
mod download;
mod faults;
pub mod format;
mod gate;
mod home;
pub mod i18n;
mod import;
mod jobs;
mod nav;
mod page;
mod people;
mod placements;
mod reports;
mod route;
mod segments;
mod settings;
mod start;
pub mod stream;
pub mod table;
mod ui;
mod upload;
pub mod words;

use actix_web::http::StatusCode;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};

pub use page::{Confirm, Flash, Shell, local_path};
pub use route::{Need, Route};
pub use ui::Ui;

use crate::platform::http::ApiError;

/// Every page and form of the UI with what it needs. Nothing else mounts pages; a generated test asks each as every role.
pub fn table() -> Vec<Route> {
    [
        home::routes(),
        account::routes(),
        campaigns::routes(),
        catalogue::routes(),
        creatives::routes(),
        import::routes(),
        jobs::routes(),
        people::routes(),
        placements::routes(),
        reports::routes(),
        segments::routes(),
        settings::routes(),
        start::routes(),
    ]
    .concat()
}

/// Mounts assets and pages.
pub fn routes(config: &mut ServiceConfig) {
    config.route("/assets/{hash}/{name}", web::get().to(assets::serve));
    route::mount(config, &table());
}

/// What is nowhere: a page for browsers, problem+json for programs.
pub async fn not_found(req: HttpRequest, ui: Option<Data<Ui>>) -> HttpResponse {
    let error = ApiError::not_found(&format!("page as {}", req.path().chars().take(200).collect::<String>()));
    let accept = req.headers().get("accept").and_then(|v| v.to_str().ok()).unwrap_or_default();
    match ui {
        Some(ui) if accept.contains("text/html") => {
            let mut context = tera::Context::new();
            context.insert("assets", &ui.assets.base());
            let reader = format::Reader {
                locale: req
                    .headers()
                    .get("accept-language")
                    .and_then(|v| i18n::Locale::accepted(v.to_str().ok()?))
                    .unwrap_or(i18n::Locale::En),
                zone: chrono_tz::Tz::UTC,
                now: crate::platform::Timestamp::MIN,
            };
            context.insert("locale", reader.locale.tag());
            match ui.render("not_found.html", &context, reader) {
                Ok(html) => HttpResponse::build(StatusCode::NOT_FOUND)
                    .content_type("text/html; charset=utf-8")
                    .insert_header((
                        "Content-Security-Policy",
                        "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'",
                    ))
                    .body(html),
                Err(error) => error.error_response(),
            }
        }
        _ => error.error_response(),
    }
}
