//! Parts of a page that follow what happens: server-sent events. The page's `stream.js` puts each part where it belongs, and asks every few
//! seconds instead where no stream can be had; without scripts the page shows what was true when it was loaded.
//!
//! A stream ends when its part says that it is done, after `LIFE` (browsers come back, and are asked again who they are), and at once when
//! the server stops.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use actix_web::http::header;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::page::Shell;
use crate::platform::http::{ApiError, ApiResult};

/// Most streams of one process, and of one user: each holds a connection.
const MOST: usize = 256;
const MOST_PER_USER: usize = 6;
/// A stream is not kept longer than this: sessions end and roles change.
const LIFE: Duration = Duration::from_secs(10 * 60);
/// A sign of life for proxies, and for us: a client that is gone is noticed when something is written.
const BEAT: Duration = Duration::from_secs(15);
/// What is dear to compute is computed less often: it may take this share of the time.
const REST: u32 = 8;

/// The open streams of a process.
#[derive(Clone, Default)]
pub struct Streams {
    open: Arc<Mutex<HashMap<i64, usize>>>,
    stop: CancellationToken,
}

impl Streams {
    /// Ends all streams, and opens no more: the server is about to stop.
    pub fn close(&self) {
        self.stop.cancel();
    }
    /// How many are open.
    pub fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
    fn enter(&self, user: i64) -> Option<Seat> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = open.values().sum();
        let own = open.entry(user).or_default();
        if all >= MOST || *own >= MOST_PER_USER || self.stop.is_cancelled() {
            return None;
        }
        *own += 1;
        Some(Seat { streams: self.clone(), user })
    }
}

/// A place among the open streams; free again when dropped.
struct Seat {
    streams: Streams,
    user: i64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.user) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.remove(&self.user);
            }
        }
    }
}

/// What a part looks like now.
pub struct Part {
    pub html: String,
    /// It will not change any more: the stream ends.
    pub done: bool,
}

struct Following<F> {
    next: F,
    every: Duration,
    wait: Duration,
    last: Option<String>,
    wrote: Instant,
    born: Instant,
    done: bool,
    seat: Seat,
}

/// Answers with a stream of parts: `next` is asked again and again, and what changed is sent. 429 where too many streams are open.
pub fn follow<F, Fut>(shell: &Shell, every: Duration, next: F) -> ApiResult
where
    F: FnMut() -> Fut + 'static,
    Fut: Future<Output = ApiResult<Part>> + 'static,
{
    let user = shell.session()?.user.id.0;
    let Some(seat) = shell.ui().streams.enter(user) else {
        return Err(ApiError::busy("Too many pages are being followed at once; this one asks every few seconds instead."));
    };
    let born = Instant::now();
    let state = Following { next, every, wait: Duration::ZERO, last: None, wrote: born, born, done: false, seat };
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream; charset=utf-8")
        // Compressed, it would be held back until there is enough of it.
        .insert_header(header::ContentEncoding::Identity)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(futures::stream::unfold(state, step)))
}

/// The next bytes, or the end.
async fn step<F, Fut>(mut state: Following<F>) -> Option<(Result<Bytes, ApiError>, Following<F>)>
where
    F: FnMut() -> Fut + 'static,
    Fut: Future<Output = ApiResult<Part>> + 'static,
{
    loop {
        if state.done || state.born.elapsed() > LIFE {
            return None;
        }
        tokio::select! {
            () = state.seat.streams.stop.cancelled() => return None,
            () = tokio::time::sleep(state.wait) => {}
        }
        let asked = Instant::now();
        let part = match (state.next)().await {
            Ok(part) => part,
            Err(error) => {
                tracing::warn!(code = error.code(), "a followed part could not be made; its stream ends");
                return None;
            }
        };
        state.wait = state.every.max(asked.elapsed() * REST);
        state.done = part.done;
        if state.last.as_deref() != Some(part.html.as_str()) || part.done {
            let bytes = event(&part, state.last.is_none());
            (state.last, state.wrote) = (Some(part.html), Instant::now());
            return Some((Ok(bytes), state));
        }
        if state.wrote.elapsed() > BEAT {
            state.wrote = Instant::now();
            return Some((Ok(Bytes::from_static(b":\n\n")), state));
        }
    }
}

/// In the words of the protocol: a part, and whether it was the last.
fn event(part: &Part, first: bool) -> Bytes {
    let mut text = String::with_capacity(part.html.len() + 64);
    if first {
        text.push_str("retry: 5000\n");
    }
    text.push_str("event: part\n");
    // A carriage return ends a line of the protocol too.
    for line in part.html.split(['\n', '\r']).filter(|l| !l.is_empty()) {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    if part.done {
        text.push_str("event: done\ndata: .\n\n");
    }
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_counted_and_given_back() {
        let streams = Streams::default();
        let own: Vec<_> = (0..MOST_PER_USER).map(|_| streams.enter(1).expect("a seat")).collect();
        assert!(streams.enter(1).is_none(), "one user does not take them all");
        let other = streams.enter(2).expect("others still get one");
        drop(own);
        assert_eq!(streams.open(), 1);
        drop(other);
        streams.close();
        assert!(streams.enter(1).is_none(), "a server that stops opens none");
    }

    #[test]
    fn every_line_of_a_part_is_data() {
        let text = event(&Part { html: "<p>\nevent: evil\r\rid: 7\r\n</p>".into(), done: true }, true);
        assert_eq!(
            &text[..],
            b"retry: 5000\nevent: part\ndata: <p>\ndata: event: evil\ndata: id: 7\ndata: </p>\n\nevent: done\ndata: .\n\n"
        );
    }
}
