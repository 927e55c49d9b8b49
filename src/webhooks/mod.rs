//! Webhooks: the shop's own servers are told what happens, as signed POSTs.
//!
//! Triggers (migration 0039) write what happened into `webhook_outbox`, one row per webhook that asked for it, in the transaction that
//! makes it happen; the job `webhooks.deliver` posts them in batches of up to 100 and deletes what was acknowledged. So nothing is lost, and the
//! paths that record opens and orders know nothing of webhooks. Delivery is at least once: every event carries an id by which a receiver
//! recognises one that it has. Only public hosts are asked ([`crate::platform::outbound`]), and no body holds an address.

mod deliver;
mod model;
mod payload;
mod service;
mod store;

use crate::job;
use crate::platform::queue::JobSpec;

pub use deliver::{deliver_due, ping};
pub use model::{Attempt, EventKind, NewWebhook, Webhook, WebhookError, signature, verify};
pub use service::{attempts, create, get, list, remove, secret, set_active, update, waiting};
pub use store::forget_people;

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    vec![job!("webhooks.deliver", deliver::job)]
}
