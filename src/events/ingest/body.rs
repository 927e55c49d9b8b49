//! Bodies from outside: read, inflated and parsed within bounds, and whose key they come with.

use std::io::Read as _;

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_ENCODING;
use actix_web::{HttpRequest, web};
use flate2::read::MultiGzDecoder;
use futures::StreamExt as _;
use serde_json::{Map, Value};

use crate::account::{KeyRing, Principal, Scope, key_in};
use crate::people::Trust;
use crate::platform::http::ApiError;

/// How much of a body that is too large is still read (and thrown away), so that the sender sees the answer instead of a broken connection.
const MAX_DRAIN_BYTES: usize = 16 * 1024 * 1024;

/// The body, at most `limit` bytes, inflated where it is gzip.
pub(super) async fn read(req: &HttpRequest, mut payload: web::Payload, limit: usize) -> Result<Vec<u8>, ApiError> {
    let mut raw = Vec::new();
    let mut total = 0_usize;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|e| ApiError::bad_request("bad_body", format!("The body broke off: {e}.")))?;
        total += chunk.len();
        if total > MAX_DRAIN_BYTES {
            break;
        }
        if total <= limit {
            raw.extend_from_slice(&chunk);
        } else {
            raw = Vec::new();
        }
    }
    if total > limit {
        return Err(too_large(limit));
    }
    let encoding = req.headers().get(CONTENT_ENCODING).map(|v| v.to_str().unwrap_or("?").trim().to_ascii_lowercase());
    match encoding.as_deref() {
        None | Some("" | "identity") => Ok(raw),
        Some("gzip" | "x-gzip") => inflate(&raw, limit),
        Some(other) => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_encoding",
            format!("Content-Encoding “{}” is not understood: send gzip or none.", other.chars().take(40).collect::<String>()),
        )),
    }
}

fn too_large(limit: usize) -> ApiError {
    ApiError::too_large(format!("The body has more than {limit} bytes, the most that is taken here: send smaller batches."))
}

/// Stops at the limit, whatever a few bytes of gzip promise to become.
fn inflate(raw: &[u8], limit: usize) -> Result<Vec<u8>, ApiError> {
    let mut out = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(raw)
        .take(most)
        .read_to_end(&mut out)
        .map_err(|e| ApiError::bad_request("bad_gzip", format!("The body is not whole gzip: {e}.")))?;
    if out.len() > limit { Err(too_large(limit)) } else { Ok(out) }
}

/// The body as a JSON object.
pub(super) fn parse(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(ApiError::bad_request("bad_json", "The body must be a JSON object.")),
        Err(e) => Err(ApiError::bad_request("bad_json", format!("The body is not JSON: {e}."))),
    }
}

/// The key in the headers, if any, already checked: a wrong one is refused before the body is read.
pub(super) fn header_key(req: &HttpRequest) -> Result<Option<Principal>, ApiError> {
    key_in(req).filter(|k| !k.is_empty()).map(|key| check(req, &key)).transpose()
}

/// Who sends this: by the headers, or by `writeKey` in the body.
pub(super) fn sender(req: &HttpRequest, from_header: Option<Principal>, body: &mut Map<String, Value>) -> Result<Principal, ApiError> {
    let written = body.remove("writeKey");
    match (from_header, written) {
        (Some(principal), _) => Ok(principal),
        (None, Some(Value::String(key))) => check(req, &key),
        (None, _) => Err(ApiError::unauthorized(
            "Send a key with the scope ingest: Basic with the key as user name, “Authorization: Bearer …”, or writeKey in the body.",
        )),
    }
}

fn check(req: &HttpRequest, key: &str) -> Result<Principal, ApiError> {
    let ring = req.app_data::<web::Data<KeyRing>>().ok_or_else(|| ApiError::internal(anyhow::anyhow!("no key ring in the app")))?;
    let principal =
        ring.check(key).ok_or_else(|| ApiError::unauthorized("This key is unknown or revoked. `marquee key create` makes a new one."))?;
    if principal.may(Scope::Ingest) { Ok(principal) } else { Err(ApiError::forbidden("This key lacks the scope “ingest”.")) }
}

/// A key that holds only `ingest` may stand in a page for everybody to read; one that holds more is kept on a server.
pub(super) fn trust(principal: &Principal) -> Trust {
    if principal.scopes.iter().any(|s| *s != Scope::Ingest) { Trust::Server } else { Trust::Public }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        out.write_all(bytes).expect("memory");
        out.finish().expect("memory")
    }

    #[test]
    fn a_bomb_is_refused_before_it_goes_off() {
        let bomb = gzip(&vec![b' '; 64 << 20]);
        assert!(bomb.len() < 100_000);
        assert_eq!(inflate(&bomb, 500_000).expect_err("refused").status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(inflate(&gzip(b"{}"), 2).expect("fits"), b"{}");
    }

    #[test]
    fn broken_gzip_is_said_to_be_broken() {
        let mut whole = gzip(b"{\"a\": 1}");
        whole.truncate(whole.len() - 5);
        for broken in [&b"not gzip"[..], &whole, b""] {
            assert_eq!(inflate(broken, 1000).expect_err("refused").code(), "bad_gzip");
        }
    }
}
