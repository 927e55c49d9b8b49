//! Reading uploads (multipart/form-data, RFC 7578): piece by piece ([`Multipart`]), or a small form whole ([`read`]). The form's token stands
//! in its address, where the gate looks for it: `action="/x?csrf={{ page.csrf }}"`.

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Bytes, BytesMut, Payload};
use futures::{Stream, StreamExt as _};

use crate::fault;
use crate::platform::http::{ApiError, ApiResult};

/// Longest head of a part.
const MAX_HEAD: usize = 8 << 10;
/// Longest boundary that a browser may choose.
const MAX_BOUNDARY: usize = 200;

/// What comes next in the form.
#[derive(Debug, PartialEq)]
pub enum Piece {
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

/// A form as it comes in: piece by piece, so that a large file never lies in memory.
pub struct Multipart<S> {
    payload: S,
    buffer: BytesMut,
    /// `CR LF -- boundary`
    delimiter: Vec<u8>,
    state: State,
    ended: bool,
}

fn unreadable() -> ApiError {
    ApiError::bad_request("bad_form", fault!("upload.broken", "The upload broke off or cannot be read. Nothing was kept; send it again."))
}

/// The boundary out of a content type.
fn boundary(content_type: &str) -> Option<String> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let found = rest.split(';').find_map(|p| {
        let (key, value) = p.split_once('=')?;
        key.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    })?;
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

impl<S, E> Multipart<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    /// # Errors
    /// 422 where it is no multipart form.
    pub fn new(content_type: &str, payload: S) -> ApiResult<Self> {
        let Some(boundary) = boundary(content_type) else {
            let none = fault!("upload.none", "No file came with this form: choose one and send it again.");
            return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "no_file", none));
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

/// The form's type, for [`Multipart::new`].
pub fn content_type(request: &HttpRequest) -> &str {
    request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// A part of a small form, whole.
pub struct Part {
    pub name: String,
    pub bytes: Vec<u8>,
}

const MAX_PARTS: usize = 32;

/// Reads a form of at most `most` bytes of content.
///
/// # Errors
/// 413 where it is larger, 422 where it is no multipart form, 400 where it breaks off.
pub async fn read(request: &HttpRequest, payload: Payload, most: usize) -> ApiResult<Vec<Part>> {
    whole(Multipart::new(content_type(request), payload)?, most).await
}

async fn whole<S, E>(mut form: Multipart<S>, most: usize) -> ApiResult<Vec<Part>>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let (mut parts, mut size) = (Vec::<Part>::new(), 0);
    while let Some(piece) = form.next().await? {
        match piece {
            Piece::Part { .. } if parts.len() == MAX_PARTS => return Err(unreadable()),
            Piece::Part { name, .. } => parts.push(Part { name, bytes: Vec::new() }),
            Piece::Bytes(bytes) => {
                size += bytes.len();
                if size > most {
                    let mb = most / (1024 * 1024);
                    return Err(ApiError::too_large(fault!("upload.large", "The file is larger than {mb} MB.", mb)));
                }
                if let Some(part) = parts.last_mut() {
                    part.bytes.extend_from_slice(&bytes);
                }
            }
        }
    }
    Ok(parts)
}

/// The file of a form under this name; `None` where none was chosen.
pub fn file(parts: &mut Vec<Part>, name: &str) -> Option<Part> {
    let at = parts.iter().position(|p| p.name == name && !p.bytes.is_empty())?;
    Some(parts.swap_remove(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &[u8] = b"--xYz\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--xYz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n--x\r\n\r\n--xYz--\r\n";

    /// The form, coming in pieces of so many bytes.
    async fn parts(form: &'static [u8], at_once: usize, most: usize) -> ApiResult<Vec<Part>> {
        let pieces = form.chunks(at_once).map(|c| Ok::<_, ()>(Bytes::from_static(c)));
        whole(Multipart::new("multipart/form-data; boundary=xYz", futures::stream::iter(pieces))?, most).await
    }

    #[actix_web::test]
    async fn files_come_out_as_they_went_in_however_they_come() {
        for at_once in [1, 2, 3, 7, 50, 1_000] {
            let mut read = parts(FORM, at_once, 1_000).await.expect("a form");
            assert_eq!(read.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["note", "file"], "{at_once}");
            let file = file(&mut read, "file").expect("the file");
            assert_eq!(file.bytes, b"\x89PNG\r\n--x\r\n", "{at_once}");
            assert_eq!(read[0].bytes, b"hello", "{at_once}");
        }
    }

    #[actix_web::test]
    async fn what_is_no_form_breaks_off_or_is_too_large_is_refused() {
        for end in 0..FORM.len() - 4 {
            assert!(parts(&FORM[..end], 16, 1_000).await.is_err(), "cut at {end}");
        }
        assert_eq!(parts(FORM, 16, 10).await.err().expect("too large").status(), StatusCode::PAYLOAD_TOO_LARGE);
        let none = Multipart::new("text/plain; boundary=x", futures::stream::iter(Vec::<Result<Bytes, ()>>::new()));
        assert_eq!(none.err().expect("no form").status(), StatusCode::UNPROCESSABLE_ENTITY);
    }

    #[test]
    fn heads_and_boundaries_are_read() {
        assert_eq!(boundary("multipart/form-data; boundary=----WebKit7").as_deref(), Some("----WebKit7"));
        assert_eq!(boundary("multipart/form-data; charset=utf-8; Boundary=\"a b\"").as_deref(), Some("a b"));
        assert_eq!(boundary("application/x-www-form-urlencoded"), None);
        assert_eq!(boundary("multipart/form-data"), None);
        let head = "Content-Disposition: form-data; name=\"file\"; filename=\"a %22b%22.csv\"\r\nContent-Type: text/csv";
        assert_eq!(parameter(head, "name").as_deref(), Some("file"));
        assert_eq!(parameter(head, "filename").as_deref(), Some("a \"b\".csv"));
        assert_eq!(parameter("Content-Disposition: form-data; filename=\"x\"", "name"), None);
        assert_eq!(find(b"aab\r\n\r\r\n--b", b"\r\n--b"), Some(6));
    }
}
