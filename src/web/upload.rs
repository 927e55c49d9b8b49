//! Files that a form uploads (multipart/form-data, RFC 7578), read whole under a limit. The form's token stands in its address, where the
//! gate looks for it: `action="/x?csrf={{ page.csrf }}"`.

use actix_web::HttpRequest;
use actix_web::http::header;
use actix_web::web::{BytesMut, Payload};
use futures::StreamExt as _;

use crate::platform::http::{ApiError, ApiResult};

/// A part of the form.
pub struct Part {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Bytes around the file itself: boundaries, headers, the form's other fields.
const OVERHEAD: usize = 16 * 1024;
const MAX_PARTS: usize = 32;

/// Reads a form of at most `most` bytes of content.
///
/// # Errors
/// 413 where it is larger, 400 where it is no multipart form.
pub async fn read(request: &HttpRequest, mut payload: Payload, most: usize) -> ApiResult<Vec<Part>> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let boundary = boundary(kind).ok_or_else(|| ApiError::bad_request("bad_form", "This form uploads a file; none came with it."))?;
    let mut body = BytesMut::new();
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(|e| ApiError::bad_request("bad_form", format!("The file could not be read to its end: {e}.")))?;
        if body.len() + piece.len() > most + OVERHEAD {
            return Err(ApiError::too_large(format!("The file is larger than {} MB.", most / (1024 * 1024))));
        }
        body.extend_from_slice(&piece);
    }
    parts(&body, &boundary).ok_or_else(|| ApiError::bad_request("bad_form", "The uploaded form cannot be read."))
}

/// The file of a form under this name; `None` where none was chosen.
pub fn file(parts: &mut Vec<Part>, name: &str) -> Option<Part> {
    let at = parts.iter().position(|p| p.name == name && !p.bytes.is_empty())?;
    Some(parts.swap_remove(at))
}

fn boundary(content_type: &str) -> Option<String> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = rest.split(';').find_map(|p| {
        let (key, value) = p.split_once('=')?;
        key.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    })?;
    (1..=70).contains(&value.len()).then_some(value)
}

fn find(text: &[u8], what: &[u8], from: usize) -> Option<usize> {
    text.get(from..)?.windows(what.len()).position(|w| w == what).map(|at| from + at)
}

fn parts(body: &[u8], boundary: &str) -> Option<Vec<Part>> {
    let opening = format!("--{boundary}");
    let between = format!("\r\n--{boundary}");
    let mut at = find(body, opening.as_bytes(), 0)? + opening.len();
    let mut found = Vec::new();
    while body.get(at..at + 2) != Some(b"--") {
        let head_end = find(body, b"\r\n\r\n", at)?;
        let head = String::from_utf8_lossy(&body[at..head_end]).into_owned();
        let end = find(body, between.as_bytes(), head_end + 2)?;
        let value = |key: &str| {
            let line = head.lines().find(|l| l.to_ascii_lowercase().starts_with("content-disposition:"))?;
            let from = line.find(&format!(" {key}=\""))? + key.len() + 3;
            Some(line[from..].split('"').next()?.to_owned())
        };
        found.push(Part { name: value("name")?, bytes: body.get(head_end + 4..end).unwrap_or_default().to_vec() });
        if found.len() > MAX_PARTS {
            return None;
        }
        at = end + between.len();
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &[u8] = b"--xYz\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--xYz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n--x\r\n\r\n--xYz--\r\n";

    #[test]
    fn files_come_out_as_they_went_in() {
        let mut read = parts(FORM, "xYz").expect("a form");
        assert_eq!(read.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["note", "file"]);
        let file = file(&mut read, "file").expect("the file");
        assert_eq!(file.bytes, b"\x89PNG\r\n--x\r\n");
        assert_eq!(read[0].bytes, b"hello");
    }

    #[test]
    fn what_is_no_form_is_refused_and_does_not_panic() {
        for end in 0..FORM.len() - 4 {
            assert!(parts(&FORM[..end], "xYz").is_none(), "cut at {end}");
        }
        assert!(parts(b"", "x").is_none() && parts(b"--x", "x").is_none());
        assert_eq!(boundary("multipart/form-data; boundary=\"a b\"").as_deref(), Some("a b"));
        assert_eq!(boundary("text/plain; boundary=x"), None);
        assert_eq!(boundary("multipart/form-data"), None);
    }
}
