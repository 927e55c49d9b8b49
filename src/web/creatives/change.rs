//! A person decides: approve, edit, reject, one by one or many at once.

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, Form, Path};
use serde::Deserialize;

use super::one::{checked, find, show};
use crate::copywriter::{self, Copy, CopyError};
use crate::platform::Platform;
use crate::platform::http::ApiResult;
use crate::platform::ids::CopyId;
use crate::web::page::{Shell, local_path};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Words {
    subject: String,
    preheader: String,
    headline: String,
    body: String,
    cta: String,
}

impl From<Words> for Copy {
    fn from(w: Words) -> Self {
        let line = |text: &str| copywriter::title::one_line(text);
        Self {
            subject: line(&w.subject),
            preheader: line(&w.preheader),
            headline: line(&w.headline),
            body: w.body.replace("\r\n", "\n").trim().to_owned(),
            cta: line(&w.cta),
        }
    }
}

pub(super) async fn check(shell: Shell, platform: Data<Platform>, path: Path<String>, form: Form<Words>) -> ApiResult {
    checked(&shell, &platform, &path, &form.into_inner().into()).await
}

pub(super) async fn edit(shell: Shell, platform: Data<Platform>, path: Path<String>, form: Form<Words>) -> ApiResult {
    let copy = find(&platform, &path).await?;
    let text: Copy = form.into_inner().into();
    match copywriter::edit(&platform, copy.id, &text).await {
        Ok(done) => {
            shell.note(copy.id.to_string(), format!("{} → {}", first_words(&copy.copy), first_words(&done.copy)));
            Ok(shell.redirect_saying(&format!("/creatives/{}", copy.id), "good", shell.say("creatives.saved")))
        }
        Err(CopyError::Refused(findings)) => show(&shell, &platform, copy, &text, &findings, StatusCode::UNPROCESSABLE_ENTITY).await,
        Err(other) => Err(other.into()),
    }
}

fn first_words(copy: &Copy) -> String {
    let text = if copy.subject.is_empty() { &copy.headline } else { &copy.subject };
    text.chars().take(80).collect()
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct BackForm {
    back: Option<String>,
}

fn back_to(form: &BackForm, id: CopyId) -> String {
    match &form.back {
        Some(path) if path.starts_with("/creatives") => local_path(Some(path)),
        _ => format!("/creatives/{id}"),
    }
}

pub(super) async fn approve(shell: Shell, platform: Data<Platform>, path: Path<String>, form: Form<BackForm>) -> ApiResult {
    let copy = find(&platform, &path).await?;
    let back = back_to(&form, copy.id);
    shell.note(copy.id.to_string(), first_words(&copy.copy));
    Ok(match copywriter::approve(&platform, copy.id).await {
        Ok(_) => shell.redirect_saying(&back, "good", shell.say_with("creatives.approved", &[("words", first_words(&copy.copy))])),
        Err(CopyError::Refused(_)) => shell.redirect_saying(&format!("/creatives/{}", copy.id), "bad", shell.say("creatives.untrue")),
        Err(CopyError::Dropped) => shell.redirect_saying(&format!("/creatives/{}", copy.id), "bad", shell.say("creatives.no_text")),
        Err(other) => return Err(other.into()),
    })
}

pub(super) async fn reject(shell: Shell, platform: Data<Platform>, path: Path<String>, form: Form<BackForm>) -> ApiResult {
    let copy = find(&platform, &path).await?;
    copywriter::reject(&platform, copy.id).await?;
    shell.note(copy.id.to_string(), first_words(&copy.copy));
    let said = shell.say_with("creatives.rejected", &[("words", first_words(&copy.copy))]);
    Ok(shell.redirect_saying(&back_to(&form, copy.id), "good", said))
}

/// Most copies decided at once: two pages of the gallery.
const MAX_AT_ONCE: usize = 100;

/// Many at once: `id` repeated, and `do` = `approve` or `reject`.
pub(super) async fn decide(shell: Shell, platform: Data<Platform>, body: Bytes) -> ApiResult {
    let fields: Vec<(String, String)> = url::form_urlencoded::parse(&body).into_owned().collect();
    let value = |name: &str| fields.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    let back = BackForm { back: value("back") };
    let back = if back.back.is_some() { back_to(&back, CopyId(0)) } else { "/creatives".to_owned() };
    let ids: Vec<CopyId> = fields.iter().filter(|(k, _)| k == "id").filter_map(|(_, v)| v.parse().ok()).take(MAX_AT_ONCE).collect();
    let approve = match value("do").as_deref() {
        Some("approve") => true,
        Some("reject") => false,
        _ => return Err(crate::platform::http::ApiError::invalid("do", "Say approve or reject.")),
    };
    if ids.is_empty() {
        return Ok(shell.redirect_saying(&back, "bad", shell.say("creatives.none_chosen")));
    }
    let (mut done, mut refused) = (0, 0);
    for id in &ids {
        let result = if approve { copywriter::approve(&platform, *id).await } else { copywriter::reject(&platform, *id).await };
        match result {
            Ok(_) => done += 1,
            Err(CopyError::Refused(_) | CopyError::Dropped | CopyError::NotFound) => refused += 1,
            Err(other) => return Err(other.into()),
        }
    }
    let list = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    shell.note(list.chars().take(200).collect::<String>(), if approve { "approve" } else { "reject" });
    let key = match (approve, refused) {
        (true, 0) => "creatives.many_approved",
        (true, _) => "creatives.many_approved_but",
        (false, _) => "creatives.many_rejected",
    };
    let said = shell.say_with(key, &[("n", done.to_string()), ("refused", refused.to_string())]);
    Ok(shell.redirect_saying(&back, if refused > 0 { "info" } else { "good" }, said))
}
