//! Reports that take longer than a reader waits: computed beside the request, at most a few at once and not for ever, and kept a little
//! while, so that a page, its parts and its downloads show one answer and a reload does not begin again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use crate::attribution::{self, Answer, ReportKind, ReportQuery};
use crate::platform::Platform;
use crate::platform::http::ApiError;

/// Computed at once in this process: a report may keep a core busy.
const AT_ONCE: usize = 2;
/// What takes longer is given up: the page says how to ask for less.
const LONGEST: Duration = Duration::from_secs(120);
/// How long a page waits before it shows that the report is being computed.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(30);
const MOST: usize = 64;

/// What became of a report.
#[derive(Clone)]
pub(in crate::web) enum Outcome {
    Done(Arc<Answer>),
    Refused(Arc<Refused>),
    TooLong,
}

/// Why a report was not made, in words for the reader.
pub(in crate::web) struct Refused {
    pub status: u16,
    pub detail: String,
}

struct Work {
    begun: Instant,
    ended: Option<Instant>,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// One per process.
#[derive(Clone)]
pub(in crate::web) struct Desk {
    works: Arc<Mutex<HashMap<String, Work>>>,
    slots: Arc<Semaphore>,
}

impl Default for Desk {
    fn default() -> Self {
        Self { works: Arc::default(), slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Desk {
    /// The answer, or `None` and how long it has been computed where it takes longer than a reader waits.
    pub async fn ask(&self, platform: &Platform, kind: ReportKind, query: &ReportQuery) -> Result<Outcome, Duration> {
        self.ask_for(platform, kind, query, PATIENCE).await
    }

    /// As [`Desk::ask`], but waits to the end: for downloads.
    pub async fn wait(&self, platform: &Platform, kind: ReportKind, query: &ReportQuery) -> Outcome {
        self.ask_for(platform, kind, query, LONGEST + PATIENCE).await.unwrap_or(Outcome::TooLong)
    }

    async fn ask_for(&self, platform: &Platform, kind: ReportKind, query: &ReportQuery, patience: Duration) -> Result<Outcome, Duration> {
        let key = key(kind, query);
        let (mut receiver, begun) = self.find_or_begin(&key, platform, kind, query);
        let done = tokio::time::timeout(patience, receiver.wait_for(Option::is_some)).await;
        match done {
            Ok(Ok(outcome)) => Ok(outcome.clone().unwrap_or(Outcome::TooLong)),
            // The task is gone without an answer: it panicked, which is logged where it happened.
            Ok(Err(_)) => Ok(Outcome::TooLong),
            Err(_) => Err(begun.elapsed()),
        }
    }

    fn find_or_begin(
        &self,
        key: &str,
        platform: &Platform,
        kind: ReportKind,
        query: &ReportQuery,
    ) -> (watch::Receiver<Option<Outcome>>, Instant) {
        let mut works = self.works.lock().unwrap_or_else(PoisonError::into_inner);
        works.retain(|_, w| w.ended.is_none_or(|at| at.elapsed() < KEPT));
        if let Some(work) = works.get(key) {
            return (work.outcome.clone(), work.begun);
        }
        if works.len() >= MOST
            && let Some(oldest) = works.iter().filter(|(_, w)| w.ended.is_some()).min_by_key(|(_, w)| w.begun).map(|(k, _)| k.clone())
        {
            works.remove(&oldest);
        }
        let (sender, receiver) = watch::channel(None);
        let begun = Instant::now();
        works.insert(key.to_owned(), Work { begun, ended: None, outcome: receiver.clone() });
        let (desk, platform, query, key) = (self.clone(), platform.clone(), query.clone(), key.to_owned());
        tokio::spawn(async move {
            let outcome = compute(&desk.slots, &platform, kind, &query).await;
            let mut works = desk.works.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(work) = works.get_mut(&key) {
                work.ended = Some(Instant::now());
            }
            let _ = sender.send(Some(outcome));
        });
        (receiver, begun)
    }
}

async fn compute(slots: &Semaphore, platform: &Platform, kind: ReportKind, query: &ReportQuery) -> Outcome {
    let work = async {
        let _slot = slots.acquire().await;
        attribution::answer(platform, kind, query).await
    };
    match tokio::time::timeout(LONGEST, work).await {
        Ok(Ok(answer)) => Outcome::Done(Arc::new(answer)),
        Ok(Err(error)) => {
            let error = ApiError::from(error);
            Outcome::Refused(Arc::new(Refused { status: error.status().as_u16(), detail: error.detail().to_string() }))
        }
        Err(_) => Outcome::TooLong,
    }
}

fn key(kind: ReportKind, query: &ReportQuery) -> String {
    // What a file looks like is no part of the question.
    let bare = ReportQuery { format: None, table: None, ..query.clone() };
    format!("{}?{}", kind.name(), serde_json::to_string(&bare).unwrap_or_default())
}
