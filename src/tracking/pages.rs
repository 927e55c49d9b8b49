//! The pages behind a mail's links, and the answers that go with them.

use std::sync::LazyLock;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use tera::{Context, Tera};

use super::texts::Texts;
use crate::platform::Platform;
use crate::platform::http::ApiError;

static PAGES: LazyLock<Result<Tera, String>> = LazyLock::new(|| {
    let mut tera = Tera::new();
    tera.add_raw_templates([
        ("links.html", include_str!("../../templates/pages/links.html")),
        ("unsubscribe.html", include_str!("../../templates/pages/unsubscribe.html")),
        ("preferences.html", include_str!("../../templates/pages/preferences.html")),
        ("link_gone.html", include_str!("../../templates/pages/link_gone.html")),
    ])
    .map_err(|e| e.to_string())?;
    Ok(tera)
});

/// What a page shows.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct View<'a> {
    pub done: bool,
    pub busy: bool,
    pub email: bool,
    pub ads: bool,
    pub preferences_url: &'a str,
}

/// The texts in the person's language, else the browser's, else the shop's.
pub fn texts(req: &HttpRequest, platform: &Platform, locale: Option<&str>) -> &'static Texts {
    let accepted = req.headers().get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok());
    match locale {
        Some(locale) => Texts::of(locale),
        None => Texts::accepted(accepted, &platform.config.shop.locale),
    }
}

/// Renders a page. Nothing on it may be cached, framed, indexed, or told to other sites.
pub fn page(status: StatusCode, name: &str, platform: &Platform, t: &Texts, view: View<'_>) -> Result<HttpResponse, ApiError> {
    let tera = PAGES.as_ref().map_err(|e| ApiError::internal(anyhow::anyhow!("page templates: {e}")))?;
    let mut context = Context::new();
    context.insert("t", t);
    context.insert("shop", &platform.config.shop.name);
    context.insert("css", include_str!("../../templates/pages/links.css"));
    for (key, flag) in [("done", view.done), ("busy", view.busy), ("email", view.email), ("ads", view.ads)] {
        context.insert(key, &flag);
    }
    context.insert("preferences_url", view.preferences_url);
    let html = tera.render(name, &context).map_err(|e| ApiError::internal(anyhow::anyhow!("page {name}: {e}")))?;
    Ok(HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header(("X-Robots-Tag", "noindex, nofollow"))
        .insert_header((
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ))
        .body(html))
}

/// What everybody gets whose token does not open, for whatever reason.
pub fn gone(req: &HttpRequest, platform: &Platform) -> Result<HttpResponse, ApiError> {
    page(StatusCode::NOT_FOUND, "link_gone.html", platform, texts(req, platform, None), View::default())
}

/// The write did not go through: nothing is lost but the answer.
pub fn busy(req: &HttpRequest, platform: &Platform) -> Result<HttpResponse, ApiError> {
    let mut page = page(
        StatusCode::SERVICE_UNAVAILABLE,
        "link_gone.html",
        platform,
        texts(req, platform, None),
        View { busy: true, ..View::default() },
    )?;
    page.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("30"));
    Ok(page)
}
