//! `/v1/identify|track|page|screen|group|alias|batch`, as the Segment spec has them.

use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::OpenApi as _;

use super::commit::Outcome;
use super::message::{self, Envelope, Kind, MAX_MESSAGE_BYTES, Message};
use super::{Ingest, MAX_BATCH_BYTES, body};
use crate::platform::Platform;
use crate::platform::http::{ApiError, ApiResult, Problem};

/// Most messages in one batch: what fits into its bytes, and no more.
const MAX_BATCH_MESSAGES: usize = 5_000;
const MAX_BATCH_CONTEXT_BYTES: usize = 4 * 1024;

pub(in crate::events) fn routes(config: &mut ServiceConfig) {
    macro_rules! call {
        ($handler:ident, $($path:literal),+) => {
            $(config.service(
                web::resource($path)
                    .route(web::post().to($handler))
                    .route(web::method(actix_web::http::Method::OPTIONS).to(preflight)),
            );)+
        };
    }
    // The one-letter paths are those that Segment's page library uses.
    call!(identify, "/v1/identify", "/v1/i");
    call!(track, "/v1/track", "/v1/t");
    call!(page, "/v1/page", "/v1/p");
    call!(screen, "/v1/screen", "/v1/s");
    call!(group, "/v1/group", "/v1/g");
    call!(alias, "/v1/alias", "/v1/a");
    call!(batch, "/v1/batch", "/v1/b");
}

#[derive(utoipa::OpenApi)]
#[openapi(
    paths(identify, track, page, screen, group, alias, batch),
    components(schemas(IngestAnswer, RefusedMessage, MessageNote, Call, BatchCall, Problem))
)]
struct Doc;

pub fn openapi() -> utoipa::openapi::OpenApi {
    Doc::openapi()
}

/// A call of the Segment spec. Which fields it needs depends on the kind.
#[allow(dead_code, reason = "documents the body; reading is done field by field")]
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "camelCase")]
struct Call {
    /// The shop's id of the customer. This or `anonymousId` is needed.
    user_id: Option<String>,
    anonymous_id: Option<String>,
    /// Deduplicates: the same one again is counted once.
    message_id: Option<String>,
    /// ISO 8601.
    timestamp: Option<String>,
    /// The sender's clock when it sent; corrects `timestamp`.
    sent_at: Option<String>,
    /// `track`: what happened, for instance `Product Viewed`.
    event: Option<String>,
    /// `page`, `screen`: which.
    name: Option<String>,
    group_id: Option<String>,
    /// `alias`: the id used before.
    previous_id: Option<String>,
    #[schema(value_type = Option<Object>)]
    properties: Option<Value>,
    #[schema(value_type = Option<Object>)]
    traits: Option<Value>,
    #[schema(value_type = Option<Object>)]
    context: Option<Value>,
    /// The key, where no header carries it.
    write_key: Option<String>,
}

/// Many calls at once, each with its `type`.
#[allow(dead_code, reason = "documents the body; reading is done field by field")]
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "camelCase")]
struct BatchCall {
    #[schema(value_type = Vec<Object>)]
    batch: Vec<Value>,
    sent_at: Option<String>,
    #[schema(value_type = Option<Object>)]
    context: Option<Value>,
    write_key: Option<String>,
}

/// What became of a call. `success` is true: everything that can be stored is on disk.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct IngestAnswer {
    pub success: bool,
    pub accepted: usize,
    /// Messages whose id had been seen before.
    pub duplicates: usize,
    /// Messages of a batch that cannot be stored, and why.
    pub refused: Vec<RefusedMessage>,
    /// Of accepted messages: what was left out, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<MessageNote>,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct RefusedMessage {
    /// Position in the batch, from 0.
    pub index: usize,
    pub detail: String,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct MessageNote {
    /// Position in the batch, from 0.
    pub index: usize,
    pub detail: String,
}

macro_rules! handler {
    ($name:ident, $path:literal, $kind:expr, $about:literal) => {
        #[doc = $about]
        #[utoipa::path(post, path = $path, tag = "ingest", request_body = Call, security(("bearer" = []), ("basic" = [])),
                            responses((status = 200, body = IngestAnswer), (status = 400, body = Problem), (status = 401, body = Problem),
                                (status = 413, body = Problem), (status = 429, body = Problem)))]
        async fn $name(req: HttpRequest, payload: web::Payload, platform: web::Data<Platform>, ingest: web::Data<Ingest>) -> ApiResult {
            single(req, payload, &platform, &ingest, $kind).await
        }
    };
}
handler!(identify, "/v1/identify", Kind::Identify, "Who somebody is: ids and traits.");
handler!(track, "/v1/track", Kind::Track, "What somebody did.");
handler!(page, "/v1/page", Kind::Page, "A page was seen.");
handler!(screen, "/v1/screen", Kind::Screen, "A screen of an app was seen.");
handler!(group, "/v1/group", Kind::Group, "Somebody belongs to a group.");
handler!(alias, "/v1/alias", Kind::Alias, "Two ids are one person. Needs a server's key.");

/// Answers a page's question whether it may send here: every page may, its key decides.
async fn preflight() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "POST"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, x-api-key"))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "86400"))
        .finish()
}

fn answer(body: &IngestAnswer) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"))).json(body)
}

/// Reads a body and says who sent it.
async fn receive(
    req: &HttpRequest,
    payload: web::Payload,
    platform: &Platform,
    limit: usize,
) -> Result<(Map<String, Value>, Envelope, usize), ApiError> {
    let from_header = body::header_key(req)?;
    let bytes = body::read(req, payload, limit).await?;
    let mut body = body::parse(&bytes)?;
    let principal = body::sender(req, from_header, &mut body)?;
    let envelope = Envelope {
        received_at: platform.now(),
        sent_at: message::sent_at(&body),
        trust: body::trust(&principal),
        shop_currency: platform.config.shop.currency,
        context: Map::new(),
    };
    Ok((body, envelope, bytes.len()))
}

async fn single(req: HttpRequest, payload: web::Payload, platform: &Platform, ingest: &Ingest, kind: Kind) -> ApiResult {
    let (body, envelope, bytes) = receive(&req, payload, platform, MAX_MESSAGE_BYTES).await?;
    let message =
        message::read(Value::Object(body), Some(kind), &envelope).map_err(|detail| ApiError::bad_request("bad_message", detail))?;
    let outcomes = ingest.submit(vec![message], bytes).await?;
    if let [Outcome::Refused(detail)] = outcomes.as_slice() {
        return Err(ApiError::bad_request("bad_message", detail.clone()));
    }
    Ok(answer(&tally(&[0], outcomes, Vec::new())))
}

/// Up to 500 kB of calls. Good ones are stored even where others are refused.
#[utoipa::path(post, path = "/v1/batch", tag = "ingest", request_body = BatchCall, security(("bearer" = []), ("basic" = [])),
    responses((status = 200, body = IngestAnswer), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 413, body = Problem), (status = 429, body = Problem)))]
async fn batch(req: HttpRequest, payload: web::Payload, platform: web::Data<Platform>, ingest: web::Data<Ingest>) -> ApiResult {
    let (mut body, mut envelope, bytes) = receive(&req, payload, &platform, MAX_BATCH_BYTES).await?;
    let Some(Value::Array(items)) = body.remove("batch") else {
        return Err(ApiError::bad_request("bad_batch", "“batch” must be a list of messages."));
    };
    if items.len() > MAX_BATCH_MESSAGES {
        return Err(ApiError::too_large(format!("A batch has at most {MAX_BATCH_MESSAGES} messages.")));
    }
    if let Some(Value::Object(context)) = body.remove("context") {
        // It is copied into every message of the batch.
        if json_bytes(&Value::Object(context.clone())) > MAX_BATCH_CONTEXT_BYTES {
            return Err(ApiError::too_large(format!("The context of a batch has at most {MAX_BATCH_CONTEXT_BYTES} bytes.")));
        }
        envelope.context = context;
    }
    let mut refused = Vec::new();
    let (mut indexes, mut messages) = (Vec::with_capacity(items.len()), Vec::<Message>::with_capacity(items.len()));
    for (index, item) in items.into_iter().enumerate() {
        let read = if json_bytes(&item) > MAX_MESSAGE_BYTES {
            Err(format!("the message has more than {MAX_MESSAGE_BYTES} bytes"))
        } else {
            message::read(item, None, &envelope)
        };
        match read {
            Ok(message) => {
                indexes.push(index);
                messages.push(message);
            }
            Err(detail) => refused.push(RefusedMessage { index, detail }),
        }
    }
    let outcomes = ingest.submit(messages, bytes).await?;
    Ok(answer(&tally(&indexes, outcomes, refused)))
}

fn tally(indexes: &[usize], outcomes: Vec<Outcome>, refused: Vec<RefusedMessage>) -> IngestAnswer {
    let mut body = IngestAnswer { success: true, refused, ..IngestAnswer::default() };
    for (index, outcome) in indexes.iter().copied().zip(outcomes) {
        match outcome {
            Outcome::Accepted(notes) => {
                body.accepted += 1;
                body.notes.extend(notes.into_iter().map(|detail| MessageNote { index, detail }));
            }
            Outcome::Duplicate => body.duplicates += 1,
            Outcome::Refused(detail) => body.refused.push(RefusedMessage { index, detail }),
        }
    }
    body.refused.sort_by_key(|r| r.index);
    body
}

/// The length of a value as JSON, without writing it anywhere.
fn json_bytes(value: &Value) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    match serde_json::to_writer(&mut counter, value) {
        Ok(()) => counter.0,
        Err(_) => usize::MAX,
    }
}
