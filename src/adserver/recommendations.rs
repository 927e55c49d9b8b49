//! Products for the shop's own pages and search results: the same picks as banners, without an ad's frame, from memory.

use std::collections::HashSet;
use std::fmt::Write as _;

use actix_web::http::header;
use actix_web::web::{self, Data, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::api::{checked, open_to_pages, says_gpc, serving_key};
use super::person_token;
use super::service::{AdServer, AskedBy};
use super::snapshot::{AdProduct, Snapshot};
use super::targeting::fold;
use crate::platform::Money;
use crate::platform::http::{ApiError, ApiResult, Problem};

const MOST: usize = 48;
const DEFAULT: usize = 8;
const MAX_SEARCH_CHARS: usize = 200;
/// Words of a search that are looked for.
const MAX_SEARCH_WORDS: usize = 8;
const MAX_EXCLUDED: usize = 100;

pub fn routes(config: &mut ServiceConfig) {
    config.route("/v1/recommendations", web::get().to(recommendations));
}

#[derive(OpenApi)]
#[openapi(paths(recommendations), components(schemas(Recommendations, Recommended)))]
struct Doc;

pub fn openapi() -> utoipa::openapi::OpenApi {
    Doc::openapi()
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RecommendationQuery {
    /// Products wanted, 1 to 48 (default 8).
    n: Option<usize>,
    /// The person, by the shop's own id or ours. Needs a server's key.
    person: Option<String>,
    anonymous_id: Option<String>,
    /// From `POST /v1/person-tokens`.
    person_token: Option<String>,
    /// A search: only products whose title, brand or category has all of its words (the first eight).
    q: Option<String>,
    /// Only products of this category or below it.
    category: Option<String>,
    /// SKUs that the page shows already, separated by commas.
    exclude: Option<String>,
    /// `json` (default), or `html`: a list ready for the page, with classes for its style sheet.
    format: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Recommended {
    pub sku: String,
    pub title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brand: Option<String>,
    pub category: String,
    #[schema(value_type = Object)]
    pub price: Money,
    /// The price before a reduction.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub was: Option<Money>,
    pub url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_url: Option<String>,
    /// Picked for this person.
    pub personal: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Recommendations {
    pub products: Vec<Recommended>,
}

/// Products for a page of the shop: personal picks first, then what suits anybody. No impression is counted, no cap asked.
#[utoipa::path(get, path = "/v1/recommendations", tag = "serving", params(RecommendationQuery), security((), ("bearer" = [])),
    responses((status = 200, body = Recommendations), (status = 403, body = Problem), (status = 422, body = Problem)))]
async fn recommendations(req: HttpRequest, query: Query<RecommendationQuery>, server: Data<AdServer>) -> ApiResult {
    let keyed = serving_key(&req)?.is_some();
    let n = query.n.unwrap_or(DEFAULT);
    if !(1..=MOST).contains(&n) {
        return Err(ApiError::invalid("n", format!("n is between 1 and {MOST}.")));
    }
    if query.q.as_ref().is_some_and(|q| q.chars().count() > MAX_SEARCH_CHARS) {
        return Err(ApiError::invalid("q", format!("A search has at most {MAX_SEARCH_CHARS} characters.")));
    }
    let asked = match (&query.person, &query.person_token, &query.anonymous_id) {
        (Some(_), None, None) if !keyed => {
            return Err(ApiError::forbidden("Only a server's key may name a person. A page names one by a person token."));
        }
        _ if says_gpc(&req) => AskedBy::Nobody,
        (Some(id), None, None) => AskedBy::Person(checked("person", id)?),
        (None, Some(token), None) => {
            person_token::open(&server.platform.signer, token, server.platform.now()).map_or(AskedBy::Nobody, AskedBy::Known)
        }
        (None, None, Some(id)) => AskedBy::Anonymous(checked("anonymous_id", id)?),
        (None, None, None) => AskedBy::Nobody,
        _ => return Err(ApiError::invalid("person", "Name one of person, anonymous_id and person_token.")),
    };
    server.want_people();
    let snapshot = server.snapshot();
    let (person, _, _) = server.viewer(&snapshot, asked);
    let picks = person.filter(|p| snapshot.people.may_personalise(*p)).map_or(&[][..], |p| snapshot.people.picks(p)).to_vec();
    let query = query.into_inner();
    let format = query.format.clone();
    // A search looks through the whole catalogue: not on the thread that decides about banners meanwhile.
    let chosen = web::block(move || choose(&snapshot, &picks, &query, n)).await.map_err(ApiError::internal)?;
    match format.as_deref() {
        None | Some("json") => {
            let response = HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Recommendations { products: chosen });
            Ok(open_to_pages(response))
        }
        Some("html") => Ok(open_to_pages(
            HttpResponse::Ok()
                .content_type("text/html; charset=utf-8")
                .insert_header((header::CACHE_CONTROL, "no-store"))
                .insert_header((header::CONTENT_SECURITY_POLICY, "default-src 'none'; img-src *; frame-ancestors 'none'"))
                .body(as_html(&chosen)),
        )),
        Some(_) => Err(ApiError::invalid("format", "format is json or html.")),
    }
}

fn choose(snapshot: &Snapshot, picks: &[u32], query: &RecommendationQuery, n: usize) -> Vec<Recommended> {
    let words: Vec<String> =
        query.q.as_deref().map(fold).unwrap_or_default().split_whitespace().take(MAX_SEARCH_WORDS).map(ToOwned::to_owned).collect();
    let category = query.category.as_deref().map(str::trim).filter(|c| !c.is_empty());
    let excluded: HashSet<&str> = query.exclude.as_deref().unwrap_or_default().split(',').map(str::trim).take(MAX_EXCLUDED).collect();
    let fits = |p: &AdProduct| {
        !excluded.contains(p.sku.as_str())
            && words.iter().all(|w| p.words.contains(w.as_str()))
            && category.is_none_or(|c| p.category == c || p.category.strip_prefix(c).is_some_and(|rest| rest.starts_with(" > ")))
    };
    let mut taken: HashSet<u32> = HashSet::new();
    let mut chosen = Vec::with_capacity(n);
    let popular = snapshot.popular.iter().filter_map(|p| u32::try_from(p.0).ok());
    let listed = picks.iter().copied().map(|p| (p, true)).chain(popular.map(|p| (p, false)));
    for (id, personal) in listed {
        let Some(product) = snapshot.products.get(&id).filter(|p| fits(p)) else { continue };
        if chosen.len() < n && taken.insert(id) {
            chosen.push(recommended(product, personal));
        }
    }
    // A search or a category asks beyond the lists, and so does a shop where nothing was picked yet.
    if chosen.len() < n {
        let mut rest: Vec<u32> = snapshot.products.iter().filter(|(id, p)| !taken.contains(id) && fits(p)).map(|(id, _)| *id).collect();
        rest.sort_unstable();
        chosen.extend(rest.into_iter().take(n - chosen.len()).filter_map(|id| Some(recommended(snapshot.products.get(&id)?, false))));
    }
    chosen
}

fn recommended(p: &AdProduct, personal: bool) -> Recommended {
    Recommended {
        sku: p.sku.clone(),
        title: p.title.clone(),
        brand: p.brand.clone(),
        category: p.category.clone(),
        price: p.price,
        was: p.was,
        url: p.url.clone(),
        image_url: p.image_url.clone(),
        personal,
    }
}

fn as_html(products: &[Recommended]) -> String {
    let text = html_escape::encode_text::<str>;
    let value = html_escape::encode_double_quoted_attribute::<str>;
    let mut out = String::from("<ul class=\"marquee-products\">");
    for p in products {
        let _ = write!(out, "<li class=\"marquee-product\"><a href=\"{}\">", value(&p.url));
        if let Some(image) = &p.image_url {
            let _ = write!(out, "<img src=\"{}\" alt=\"\" loading=\"lazy\">", value(image));
        }
        let _ = write!(
            out,
            "<span class=\"marquee-title\">{}</span><span class=\"marquee-price\">{}</span>",
            text(&p.title),
            text(&p.price.to_string())
        );
        if let Some(was) = &p.was {
            let _ = write!(out, "<s class=\"marquee-was\">{}</s>", text(&was.to_string()));
        }
        out.push_str("</a></li>");
    }
    out.push_str("</ul>");
    out
}
