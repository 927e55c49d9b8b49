//! People: who is this? Search, and one person with traits, consent, timeline, the choice now and why, export and erase.

mod act;
mod choice;
mod list;
mod one;
mod stream;

use super::page::Shell;
use super::route::{Need, Route};
use crate::account::Permission;
use crate::people::{self, Person};
use crate::platform::Db;
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::PersonId;

pub(super) fn routes() -> Vec<Route> {
    let (see, plan) = (Need::May(Permission::SeePeople), Need::May(Permission::Plan));
    vec![
        Route::get("/people", see, list::page),
        Route::file("/people/download", see, "people.download", list::download),
        Route::get("/people/{id}", see, one::page),
        Route::get("/people/{id}/part/choice", see, choice::part),
        Route::file("/people/{id}/export.json", see, "person.export", act::export),
        Route::post("/people/{id}/consent", plan, "person.consent", act::consent),
        Route::get("/people/{id}/release", plan, act::ask_release),
        Route::post("/people/{id}/release", plan, "person.release", act::release),
        Route::get("/people/{id}/erase", plan, act::ask_erase),
        Route::post("/people/{id}/erase", plan, "person.erase", act::erase),
    ]
}

/// The person of an address.
async fn person(db: &Db, id: &str) -> ApiResult<Person> {
    let missing = || ApiError::not_found("person");
    let id: PersonId = id.parse().map_err(|_| missing())?;
    people::get(db, id).await?.ok_or_else(missing)
}

/// One who is still there: neither erased nor merged away.
async fn living(db: &Db, id: &str) -> ApiResult<Person> {
    let person = person(db, id).await?;
    if person.erased_at.is_some() { Err(ApiError::not_found("person")) } else { Ok(person) }
}

/// A consent's state in the viewer's language.
fn said(shell: &Shell, state: people::Consent) -> String {
    shell.say(&format!("people.consent_is.{}", state.name()))
}
