//! Reading a multipart form as it comes in, so that a large file never lies in memory.

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, BytesMut, Payload};
use futures::StreamExt as _;

use crate::platform::http::{ApiError, ApiResult};

/// Longest head of a part.
const MAX_HEAD: usize = 8 << 10;
/// Longest boundary that a browser may choose.
const MAX_BOUNDARY: usize = 200;

/// What comes next in the form.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    /// A part begins.
    Part {
        name: String,
        filename: Option<String>,
    },
    Bytes(Bytes),
}

#[derive(PartialEq)]
enum State {
    /// Before a boundary.
    Outside,
    Inside,
    Done,
}

pub(super) struct Multipart {
    payload: Payload,
    buffer: BytesMut,
    /// `CR LF -- boundary`
    delimiter: Vec<u8>,
    state: State,
    ended: bool,
}

fn unreadable() -> ApiError {
    ApiError::bad_request("bad_form", "The upload broke off or cannot be read. Nothing was kept; send it again.")
}

/// The boundary out of a content type.
fn boundary(content_type: &str) -> Option<String> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let found = rest.split(';').find_map(|p| p.trim().strip_prefix("boundary="))?.trim_matches('"').to_owned();
    (!found.is_empty() && found.len() <= MAX_BOUNDARY).then_some(found)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = haystack.get(from..)?.iter().position(|b| *b == first) {
        let at = from + at;
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// A quoted parameter of a head line: `name="file"`. Browsers write `"` as `%22`.
fn parameter(head: &str, name: &str) -> Option<String> {
    let start = head.find(&format!("; {name}=\""))? + name.len() + 4;
    let text: String = head[start..].chars().take_while(|c| *c != '"').collect();
    Some(text.replace("%22", "\""))
}

impl Multipart {
    pub fn new(content_type: &str, payload: Payload) -> ApiResult<Self> {
        let Some(boundary) = boundary(content_type) else {
            return Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "no_file",
                "No file came with this form: choose one and send it again.",
            ));
        };
        // The first boundary has no line break before it.
        let buffer = BytesMut::from(&b"\r\n"[..]);
        Ok(Self { payload, buffer, delimiter: format!("\r\n--{boundary}").into_bytes(), state: State::Outside, ended: false })
    }

    async fn more(&mut self) -> ApiResult<()> {
        match self.payload.next().await {
            Some(Ok(bytes)) => {
                self.buffer.extend_from_slice(&bytes);
                Ok(())
            }
            Some(Err(_)) => Err(unreadable()),
            None if self.ended => Err(unreadable()),
            None => {
                self.ended = true;
                Ok(())
            }
        }
    }

    /// The next piece; `None` behind the last part. A form that breaks off is an error.
    pub async fn next(&mut self) -> ApiResult<Option<Piece>> {
        loop {
            match self.state {
                State::Done => return Ok(None),
                State::Outside => {
                    if let Some(at) = find(&self.buffer, &self.delimiter) {
                        let rest = at + self.delimiter.len();
                        if self.buffer[rest..].starts_with(b"--") {
                            self.state = State::Done;
                            continue;
                        }
                        if let Some(end) = find(&self.buffer[rest..], b"\r\n\r\n") {
                            let head = String::from_utf8_lossy(&self.buffer[rest..rest + end]).into_owned();
                            let _ = self.buffer.split_to(rest + end + 4);
                            self.state = State::Inside;
                            let name = parameter(&head, "name").unwrap_or_default();
                            return Ok(Some(Piece::Part { name, filename: parameter(&head, "filename") }));
                        }
                    }
                    if self.buffer.len() > MAX_HEAD + self.delimiter.len() {
                        return Err(unreadable());
                    }
                }
                State::Inside => {
                    if let Some(at) = find(&self.buffer, &self.delimiter) {
                        self.state = State::Outside;
                        if at > 0 {
                            return Ok(Some(Piece::Bytes(self.buffer.split_to(at).freeze())));
                        }
                        continue;
                    }
                    // What cannot be the beginning of a boundary goes on.
                    let safe = self.buffer.len().saturating_sub(self.delimiter.len());
                    if safe > 0 {
                        return Ok(Some(Piece::Bytes(self.buffer.split_to(safe).freeze())));
                    }
                }
            }
            self.more().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_boundaries_are_read() {
        assert_eq!(boundary("multipart/form-data; boundary=----WebKit7").as_deref(), Some("----WebKit7"));
        assert_eq!(boundary("multipart/form-data; charset=utf-8; boundary=\"a b\"").as_deref(), Some("a b"));
        assert_eq!(boundary("application/x-www-form-urlencoded"), None);
        let head = "Content-Disposition: form-data; name=\"file\"; filename=\"a %22b%22.csv\"\r\nContent-Type: text/csv";
        assert_eq!(parameter(head, "name").as_deref(), Some("file"));
        assert_eq!(parameter(head, "filename").as_deref(), Some("a \"b\".csv"));
        assert_eq!(parameter("Content-Disposition: form-data; filename=\"x\"", "name"), None);
        assert_eq!(find(b"aab\r\n\r\r\n--b", b"\r\n--b"), Some(6));
    }
}
