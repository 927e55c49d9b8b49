//! Group commit: many callers, one transaction. What is acknowledged is durable, and waiting a few milliseconds for company makes
//! durability cheap.

use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// A handle to a task that collects items and commits them together.
pub struct Batcher<T, R> {
    queue: mpsc::Sender<(T, oneshot::Sender<Result<R, BatchError>>)>,
}

impl<T, R> Clone for Batcher<T, R> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum BatchError {
    /// The queue is full: the caller should answer 429/503 and be asked to retry.
    #[error("too much is waiting to be written; try again in a moment")]
    Busy,
    #[error("writing failed: {0}")]
    Failed(String),
    #[error("the writer has stopped")]
    Stopped,
}

#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Most items in one commit.
    pub items: usize,
    /// Longest time the first item of a commit waits for company.
    pub linger: Duration,
    /// Most items that may wait.
    pub waiting: usize,
}

impl<T: Send + 'static, R: Send + 'static> Batcher<T, R> {
    /// Spawns the collecting task. `commit` gets the items of one batch and returns one result for each, in order; an error fails all.
    pub fn spawn<F, Fut>(limits: BatchLimits, mut commit: F) -> Self
    where
        F: FnMut(Vec<T>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Vec<R>, String>> + Send,
    {
        let (queue, mut inbox) = mpsc::channel::<(T, oneshot::Sender<Result<R, BatchError>>)>(limits.waiting.max(1));
        tokio::spawn(async move {
            while let Some(first) = inbox.recv().await {
                let mut batch = vec![first];
                let deadline = tokio::time::Instant::now() + limits.linger;
                while batch.len() < limits.items {
                    match tokio::time::timeout_at(deadline, inbox.recv()).await {
                        Ok(Some(next)) => batch.push(next),
                        Ok(None) | Err(_) => break,
                    }
                }
                let (items, replies): (Vec<T>, Vec<_>) = batch.into_iter().unzip();
                let expected = replies.len();
                match commit(items).await {
                    Ok(results) if results.len() == expected => {
                        for (reply, result) in replies.into_iter().zip(results) {
                            let _ = reply.send(Ok(result));
                        }
                    }
                    Ok(results) => {
                        let why = format!("{} results for {expected} items", results.len());
                        for reply in replies {
                            let _ = reply.send(Err(BatchError::Failed(why.clone())));
                        }
                    }
                    Err(why) => {
                        for reply in replies {
                            let _ = reply.send(Err(BatchError::Failed(why.clone())));
                        }
                    }
                }
            }
        });
        Self { queue }
    }

    /// Hands an item in and waits until its batch is committed.
    pub async fn submit(&self, item: T) -> Result<R, BatchError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send((item, reply)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => BatchError::Busy,
            mpsc::error::TrySendError::Closed(_) => BatchError::Stopped,
        })?;
        answer.await.map_err(|_| BatchError::Stopped)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const LIMITS: BatchLimits = BatchLimits { items: 8, linger: Duration::from_millis(20), waiting: 100 };

    #[tokio::test]
    async fn many_callers_share_few_commits() {
        let commits = Arc::new(AtomicUsize::new(0));
        let seen = commits.clone();
        let batcher = Batcher::spawn(LIMITS, move |items: Vec<u32>| {
            seen.fetch_add(1, Ordering::SeqCst);
            async move { Ok(items.into_iter().map(|n| n * 2).collect()) }
        });
        let answers = futures::future::join_all((0..32).map(|n| batcher.submit(n))).await;
        for (n, answer) in (0..32).zip(answers) {
            assert_eq!(answer.expect("committed"), n * 2);
        }
        assert!(commits.load(Ordering::SeqCst) <= 8);
    }

    #[tokio::test]
    async fn a_failed_commit_reaches_every_caller() {
        let batcher = Batcher::spawn(LIMITS, |_: Vec<u32>| async { Err::<Vec<u32>, _>("disk full".to_owned()) });
        let answers = futures::future::join_all((0..3).map(|n| batcher.submit(n))).await;
        assert!(answers.iter().all(|a| matches!(a, Err(BatchError::Failed(why)) if why == "disk full")));
    }
}
