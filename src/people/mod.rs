//! People: who the shop knows, how they are recognised, what they agreed to, and their computed traits.
//!
//! What a key may do to a profile depends on its [`Trust`]: a key that stands in a public page claims, a server's key vouches.

mod api;
mod consent;
mod export;
mod hints;
mod listing;
mod model;
mod profile;
mod resolve;
mod search;
mod store;
mod tombstone;
mod traits;

use actix_web::web::ServiceConfig;

use crate::platform::queue::JobSpec;

pub use api::openapi;
pub use consent::{
    Answer, Answered, Suppression, answer, release, set_consent, set_consents, suppress, suppress_hidden, suppressed, suppression,
};
pub use export::{Erased, Export, erase, export};
pub use hints::attribute_names;
pub use listing::{PeopleOrder, ordered};
pub use model::{
    Channel, Consent, Identity, Ids, MAX_ATTRIBUTES, MAX_ATTRIBUTES_BYTES, NewPerson, PeopleError, Person, Trust, bucket_of, email_key,
    strip_nul,
};
pub use profile::{bulk_upsert, seen, update_profiles};
pub use resolve::{Request, Resolved, merge, resolve, resolve_many};
pub use search::{Found, merged_from, search};
pub use store::{
    anonymous_of, anonymous_page, changed_after, count, find, find_in, find_many, get, get_many, ids_after, last_change, link_name, list,
    locales,
};
pub use tombstone::{erased_among, erased_among_in, welcome_back};
pub use traits::{Traits, put_traits, traits_many};

/// HTTP routes of this slice. Erasing and exporting a person, which touch every slice, are routes of `privacy`.
pub fn routes(config: &mut ServiceConfig) {
    api::routes(config);
}

/// Jobs of this slice. (`people.traits` reads events and so lives there.)
pub fn jobs() -> Vec<JobSpec> {
    Vec::new()
}
