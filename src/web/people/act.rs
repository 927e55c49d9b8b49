//! What can be done for a person: change consent, take an address off the list, hand everything out, erase.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Form, Path};
use serde::{Deserialize, Serialize};

use crate::people::{self, Channel, Consent, Person};
use crate::platform::Platform;
use crate::platform::http::{ApiError, ApiResult};
use crate::privacy;
use crate::web::page::{Confirm, Shell};

#[derive(Deserialize)]
pub(super) struct ConsentForm {
    #[serde(default)]
    channel: String,
    #[serde(default)]
    state: String,
}

pub(super) async fn consent(shell: Shell, platform: Data<Platform>, path: Path<String>, form: Form<ConsentForm>) -> ApiResult {
    let person = super::living(&platform.db, &path).await?;
    let channel = [Channel::Email, Channel::Ads].into_iter().find(|c| c.name() == form.channel);
    let (Some(channel), Ok(state)) = (channel, form.state.parse::<Consent>()) else {
        return Err(ApiError::invalid("state", shell.say("error.user.choice")));
    };
    let now = platform.now();
    let mut tx = platform.db.begin().await?;
    people::set_consent(&mut tx, person.id, channel, state, "marketer", now).await?;
    tx.commit().await?;
    shell.note(person.id.to_string(), format!("{} → {}", channel.name(), state.name()));
    let said = shell.say_with("people.consent_set", &[("state", super::said(&shell, state))]);
    Ok(shell.redirect_saying(&format!("/people/{}", person.id), "good", said))
}

fn address(person: &Person) -> ApiResult<String> {
    person.email.clone().ok_or_else(|| ApiError::not_found("address"))
}

pub(super) async fn ask_release(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let person = super::living(&platform.db, &path).await?;
    let email = address(&person)?;
    let confirm = Confirm {
        text: shell.say_with("people.release_text", &[("email", email)]),
        consequence: shell.say("people.release_consequence"),
        button: shell.say("people.release"),
        action: format!("/people/{}/release", person.id),
        back: format!("/people/{}", person.id),
        danger: false,
    };
    shell.confirm(shell.say("people.release_title"), &confirm)
}

pub(super) async fn release(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let person = super::living(&platform.db, &path).await?;
    let email = address(&person)?;
    let mut tx = platform.db.begin().await?;
    let was_on = people::release(&mut tx, &email).await?;
    tx.commit().await?;
    shell.note(person.id.to_string(), "");
    let key = if was_on { "people.released" } else { "people.not_suppressed" };
    Ok(shell.redirect_saying(&format!("/people/{}", person.id), "good", shell.say(key)))
}

/// Everything that is kept about them.
pub(super) async fn export(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let person = super::living(&platform.db, &path).await?;
    let file = privacy::export(&platform.db, person.id).await?;
    shell.note(person.id.to_string(), "");
    let body = serde_json::to_vec_pretty(&file).map_err(ApiError::internal)?;
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .insert_header(("Content-Disposition", format!("attachment; filename=\"{}.json\"", person.id)))
        .body(body))
}

#[derive(Serialize)]
struct EraseView {
    id: String,
    label: String,
    typed: String,
    error: Option<String>,
}

pub(super) async fn ask_erase(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let person = super::living(&platform.db, &path).await?;
    let view = EraseView { id: person.id.to_string(), label: person.label(), typed: String::new(), error: None };
    shell.render("people/erase.html", shell.say("people.erase_title"), &view)
}

#[derive(Deserialize)]
pub(super) struct EraseForm {
    #[serde(default)]
    typed: String,
}

pub(super) async fn erase(shell: Shell, platform: Data<Platform>, path: Path<String>, form: Form<EraseForm>) -> ApiResult {
    let person = super::living(&platform.db, &path).await?;
    if form.typed.trim() != person.id.to_string() {
        let error = Some(shell.say_with("people.erase_wrong", &[("id", person.id.to_string())]));
        let view = EraseView { id: person.id.to_string(), label: person.label(), typed: form.typed.clone(), error };
        return shell.render_as(StatusCode::UNPROCESSABLE_ENTITY, "people/erase.html", shell.say("people.erase_title"), &view);
    }
    privacy::erase(&platform, person.id).await?;
    // The log names the row that stays, and nothing of who they were.
    shell.note(person.id.to_string(), "");
    Ok(shell.redirect_saying("/people", "good", shell.say_with("people.erased", &[("id", person.id.to_string())])))
}
