//! Touches: one creative shown or sent to one person, from planned to credited. Also the outbox of delivery.
//!
//! A worker's round: [`release_expired`], [`claim`], its checks, [`begin_sending`] just before the mail server, [`finish`].

use actix_web::web::ServiceConfig;

use crate::platform::Timestamp;
use crate::platform::db::{Db, Tx};
use crate::platform::queue::JobSpec;

pub mod deltas;
mod figures;
pub mod holdout;
pub mod links;
mod model;
mod service;
mod signals;
mod store;

pub use figures::{left_out, open_of_campaign, states_of_campaign, uncertain_of_campaign};
pub(crate) use model::word_enum;
pub use model::{
    Actor, Arm, Contact, Contacts, Content, Finish, NewSignal, NewTouch, Outcome, Recorded, Signal, SignalKind, StateCount, TRANSITIONS,
    Touch, TouchChannel, TouchState, UnknownWord, VariantCount,
};
pub use service::{
    MAX_BATCH, Released, begin_sending, cancel_campaign, claim, extend_leases, finish, forget_person, hold_campaign, plan_many,
    reassign_person, release_campaign, release_expired, resend, set_content,
};
pub use signals::{of_touch as signals_of, record_many as record_signals};
pub use store::{
    contact_counts, contacts_since, counts_by_variant, counts_of_campaign, counts_of_run, get_many, has_open, held_campaigns,
    page_of_campaign, page_of_person, recent_products, timeline, uncertain,
};

/// Records one signal; see [`record_signals`].
pub async fn record_signal(tx: &mut Tx, signal: NewSignal, now: Timestamp) -> sqlx::Result<Recorded> {
    Ok(record_signals(tx, &[signal], now).await?.first().copied().unwrap_or_default())
}

/// One touch, or `None`.
pub async fn get(db: &Db, id: crate::platform::ids::TouchId) -> sqlx::Result<Option<Touch>> {
    Ok(get_many(db, &[id]).await?.remove(&id))
}

/// HTTP routes of this slice: none of its own; campaigns and people show their touches.
pub fn routes(_: &mut ServiceConfig) {}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    Vec::new()
}
