//! What stands between a claimed touch and a mail: the checks at the claim, and the writing. Behind a trait, so that the sending can be
//! tested with any content.

use async_trait::async_trait;
use lettre::Address;

use crate::platform::ids::TouchId;
use crate::touches::{Outcome, Touch};

/// A message ready to go.
#[derive(Clone, Debug)]
pub struct Mail {
    pub touch: TouchId,
    pub attempts: i64,
    pub to: Address,
    /// Whole and signed.
    pub bytes: Vec<u8>,
}

/// What the checks say about a claimed touch.
pub enum Verdict<T> {
    /// It may go out: here is what is needed to write it.
    Write(T),
    /// It ends here: skipped, held, deferred, expired, failed.
    End(Outcome),
}

/// A touch that passed, and the domain that will get it.
pub struct Ready<D> {
    pub touch: TouchId,
    pub attempts: i64,
    pub domain: String,
    pub draft: D,
}

/// Checks and writes. Both take a batch (at most 500); touches that are missing from an answer are given back.
#[async_trait]
pub trait Compose: Send + Sync + 'static {
    /// What the checks hand to the writing.
    type Draft: Send + 'static;

    /// Told once, before anything else: the name under which the touches are held.
    fn owned_by(&self, _owner: &str) {}

    /// Consent, suppression, caps, stock, holdout: again, now.
    async fn check(&self, touches: Vec<Touch>) -> anyhow::Result<Vec<(TouchId, Verdict<Ready<Self::Draft>>)>>;

    /// Renders and signs. `Err` of one touch is why it fails.
    async fn write(&self, ready: Vec<Ready<Self::Draft>>) -> anyhow::Result<Vec<(TouchId, Result<Mail, String>)>>;
}
