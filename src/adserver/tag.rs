//! What pages embed: the tag (an ES module), and a frame for pages that take no scripts.

use std::io::Write as _;
use std::sync::LazyLock;

use actix_web::http::header;
use actix_web::web::{self, Bytes, Data, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

use super::api::{checked, crawls, from_browser, on_its_site, says_gpc};
use super::decide::NoFill;
use super::person_token;
use super::render;
use super::service::{AdServer, AskedBy, Served};
use super::snapshot::AdPlacement;
use super::targeting::Context;
use crate::platform::http::{ApiError, ApiResult, Problem};

/// The tag as it is delivered; at most 5 kB.
pub const TAG: &str = include_str!("../../templates/ads/tag.js");

static GZIPPED: LazyLock<Bytes> = LazyLock::new(|| {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let _ = gzip.write_all(TAG.as_bytes());
    gzip.finish().unwrap_or_default().into()
});

pub fn routes(config: &mut ServiceConfig) {
    config.route("/ads/tag.js", web::get().to(tag)).route("/ads/frame", web::get().to(frame));
}

#[derive(OpenApi)]
#[openapi(paths(tag, frame))]
struct Doc;

pub fn openapi() -> utoipa::openapi::OpenApi {
    Doc::openapi()
}

/// The tag for pages: `<script async type="module" src="…/ads/tag.js">` (docs/SERVING.md).
#[utoipa::path(get, path = "/ads/tag.js", tag = "serving", responses((status = 200, content_type = "text/javascript", description = "An ES module of less than 5 kB")))]
async fn tag(req: HttpRequest) -> HttpResponse {
    let takes_gzip = req.headers().get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("gzip"));
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/javascript; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "public, max-age=3600"))
        .insert_header((header::VARY, "Accept-Encoding"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header(("Cross-Origin-Resource-Policy", "cross-origin"));
    if takes_gzip {
        response.insert_header((header::CONTENT_ENCODING, "gzip")).body(GZIPPED.clone())
    } else {
        response.insert_header(header::ContentEncoding::Identity).body(TAG)
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FrameQuery {
    /// Key of the placement.
    placement: String,
    /// From `POST /v1/person-tokens`.
    person_token: Option<String>,
    /// The browser's id.
    anonymous_id: Option<String>,
    /// What the page is about, separated by commas.
    keywords: Option<String>,
}

/// A banner as a page of its own, for an `<iframe>`: for pages that take no scripts of others.
#[utoipa::path(get, path = "/ads/frame", tag = "serving", params(FrameQuery),
    responses((status = 200, content_type = "text/html", description = "The banner, or an empty page"), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn frame(req: HttpRequest, query: Query<FrameQuery>, server: Data<AdServer>) -> ApiResult {
    on_its_site(&req, &server, std::slice::from_ref(&query.placement))?;
    let asked = match (&query.person_token, &query.anonymous_id) {
        _ if says_gpc(&req) => AskedBy::Nobody,
        (Some(_), Some(_)) => return Err(ApiError::invalid("anonymous_id", "Name one of person_token and anonymous_id.")),
        (Some(token), None) => {
            person_token::open(&server.platform.signer, token, server.platform.now()).map_or(AskedBy::Nobody, AskedBy::Known)
        }
        (None, Some(id)) => AskedBy::Anonymous(checked("anonymous_id", id)?),
        (None, None) => AskedBy::Nobody,
    };
    let mut context = Context::default().with_keywords(query.keywords.as_deref().unwrap_or_default().split(','));
    from_browser(&req, &server.platform, &mut context);
    let config = &server.platform.config;
    let mut banner = String::new();
    let write = |_: &AdPlacement, served: Result<&Served<'_>, NoFill>| {
        if let Ok(served) = served {
            let token = String::from_utf8_lossy(served.token);
            let creative = served.shown.creative;
            let link = render::html(
                &config.public(&format!("/a/c/{token}")),
                &creative.image_url,
                creative.width,
                creative.height,
                &creative.title,
            );
            let view = config.public(&format!("/a/v/{token}"));
            banner = format!("<div data-marquee-view=\"{}\">{link}</div>", html_escape::encode_double_quoted_attribute(&view));
        }
    };
    let places = [query.placement.as_str()];
    let found =
        if crawls(&req) { server.refuse(&places, NoFill::Crawler, write) } else { server.serve(&places, asked, &context, &[], write) };
    if !found {
        return Err(ApiError::not_found("placement"));
    }
    let site = server.snapshot().placements.get(&query.placement).map(|p| p.site.clone()).unwrap_or_default();
    let ancestors = if site.is_empty() { "*".to_owned() } else { format!("https://{site} https://*.{site} http://{site} http://*.{site}") };
    let ours = config.server.public_url.split('/').take(3).collect::<Vec<_>>().join("/");
    let policy = format!(
        "default-src 'none'; img-src 'self' {ours}; script-src 'self'; connect-src 'self' {ours}; style-src 'unsafe-inline'; base-uri 'none'; \
         form-action 'none'; frame-ancestors {ancestors}"
    );
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"robots\" content=\"noindex\"><title>Ad</title>\
         <style>body{{margin:0}}img{{display:block;max-width:100%;height:auto}}</style>{banner}\
         <script async type=\"module\" src=\"/ads/tag.js\"></script></html>"
    );
    Ok(HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::CONTENT_SECURITY_POLICY, policy))
        .insert_header((header::REFERRER_POLICY, "no-referrer-when-downgrade"))
        .insert_header(("X-Robots-Tag", "noindex, nofollow"))
        .body(html))
}

/// What to paste into a page for a placement: the tag, and the frame for pages without scripts. Escaped for use as text.
pub fn snippets(public_url: &str, placement: &str, width: i64, height: i64) -> (String, String) {
    let base = public_url.trim_end_matches('/');
    let tag = format!(
        "<div data-marquee=\"{placement}\" data-size=\"{width}x{height}\" style=\"max-width:100%;width:{width}px;aspect-ratio:{width}/{height}\"></div>\n\
         <script async type=\"module\" src=\"{base}/ads/tag.js\"></script>"
    );
    let frame = format!(
        "<iframe src=\"{base}/ads/frame?placement={placement}\" width=\"{width}\" height=\"{height}\" loading=\"lazy\" title=\"Ad\" \
         style=\"border:0\" sandbox=\"allow-scripts allow-same-origin allow-popups allow-popups-to-escape-sandbox\"></iframe>"
    );
    (tag, frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_small_and_needs_nothing_from_elsewhere() {
        assert!(TAG.len() <= 5 * 1024, "{}", TAG.len());
        assert!(!TAG.contains("innerHTML") && !TAG.contains("document.write") && !TAG.contains("eval("));
        assert!(!TAG.contains("https://"), "no address but its own");
    }
}
