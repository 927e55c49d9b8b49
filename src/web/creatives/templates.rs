//! Own mail templates: MJML that somebody writes here, checked and shown before it is kept.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Form, Path, Query};
use serde::{Deserialize, Serialize};

use super::brand::at_home;
use super::preview::{LightQuery, framed};
use super::sample;
use crate::creative::own::{self, OwnError, OwnTemplate};
use crate::creative::{self, BrandKit, RenderedEmail};
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::{Platform, Timestamp};
use crate::web::page::{Confirm, Shell};

#[derive(Serialize)]
struct ListView {
    rows: Vec<Row>,
    built_in: [&'static str; 3],
    full: bool,
}

#[derive(Serialize)]
struct Row {
    key: String,
    name: String,
    bytes: usize,
    updated_at: Timestamp,
}

pub(super) async fn list(shell: Shell, platform: Data<Platform>) -> ApiResult {
    let all = own::own_templates(&platform.db).await?;
    let full = all.len() >= own::MAX_OWN;
    let rows = all.into_iter().map(|t| Row { key: t.key, name: t.name, bytes: t.mjml.len(), updated_at: t.updated_at }).collect();
    let view = ListView { rows, built_in: ["hero", "hero_more", "letter"], full };
    shell.render("creatives/templates.html", shell.say("templates.title"), &view)
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct TemplateForm {
    key: String,
    name: String,
    mjml: String,
    text: String,
    /// `dark` tries it in a dark mail program.
    #[serde(skip_serializing)]
    light: String,
}

impl TemplateForm {
    fn template(&self, now: Timestamp) -> OwnTemplate {
        OwnTemplate {
            key: self.key.trim().to_owned(),
            name: self.name.trim().to_owned(),
            mjml: self.mjml.replace("\r\n", "\n"),
            text: self.text.replace("\r\n", "\n"),
            updated_at: now,
        }
    }
}

#[derive(Serialize)]
struct EditView {
    form: TemplateForm,
    /// It has its key already.
    known: bool,
    error: Option<String>,
    field: &'static str,
}

fn edit_view(form: TemplateForm, known: bool) -> EditView {
    EditView { form, known, error: None, field: "" }
}

pub(super) async fn new(shell: Shell) -> ApiResult {
    let form = TemplateForm { mjml: own::STARTER.into(), text: own::STARTER_TEXT.into(), ..TemplateForm::default() };
    shell.render("creatives/template.html", shell.say("templates.new"), &edit_view(form, false))
}

async fn find(platform: &Platform, key: &str) -> ApiResult<OwnTemplate> {
    let all = own::own_templates(&platform.db).await?;
    all.into_iter().find(|t| t.key == key).ok_or_else(|| ApiError::not_found("template"))
}

pub(super) async fn edit(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let t = find(&platform, &path).await?;
    let title = t.name.clone();
    let form = TemplateForm { key: t.key, name: t.name, mjml: t.mjml, text: t.text, light: String::new() };
    shell.render("creatives/template.html", title, &edit_view(form, true))
}

async fn render(platform: &Platform, template: &OwnTemplate) -> Result<RenderedEmail, OwnError> {
    let brand = BrandKit::load(platform).await?;
    let sample = sample::load(platform).await.map_err(|_| sqlx::Error::RowNotFound)?;
    let context = creative::preview_context(&platform.config, &sample.mail, sample.locale, None, &sample.products);
    let context = context.ok_or(sqlx::Error::RowNotFound)?;
    own::try_template(platform, template, &brand, context).await
}

#[derive(Serialize)]
struct RefusedView {
    why: String,
}

/// Shows a template as it is typed, in the frame beside it; nothing is kept.
pub(super) async fn try_it(shell: Shell, platform: Data<Platform>, form: Form<TemplateForm>) -> ApiResult {
    let form = form.into_inner();
    match render(&platform, &form.template(platform.now())).await {
        Ok(mail) => {
            let light = if form.light == "dark" { creative::Light::Dark } else { creative::Light::Light };
            Ok(framed(creative::lit(&at_home(&platform, &mail.html), light)))
        }
        Err(OwnError::Invalid { field, why }) => {
            let why = format!("{}: {why}", shell.say(if field == "text" { "templates.text" } else { "templates.mjml" }));
            Ok(framed(shell.html("creatives/template_refused.html", "", &RefusedView { why })?))
        }
        Err(other) => Err(other.into()),
    }
}

/// Checks and keeps a template.
pub(super) async fn save(shell: Shell, platform: Data<Platform>, form: Form<TemplateForm>) -> ApiResult {
    let form = form.into_inner();
    let template = form.template(platform.now());
    let known = own::own_templates(&platform.db).await?.iter().any(|t| t.key == template.key);
    let mut view = edit_view(form, known);
    let done = match render(&platform, &template).await {
        Ok(_) => own::put_template(&platform, template.clone()).await,
        Err(error) => Err(error),
    };
    let Err(refused) = done else {
        shell.note(template.key.clone(), template.name.clone());
        let said = shell.say_with("templates.saved", &[("name", template.name)]);
        return Ok(shell.redirect_saying(&format!("/creatives/templates/{}", template.key), "good", said));
    };
    match refused {
        OwnError::Invalid { field, why } => {
            view.field = field;
            view.error = Some(match field {
                "key" => shell.say("templates.error_key"),
                "name" => shell.say("templates.error_name"),
                // What the checks say names lines and words of the source.
                _ => why,
            });
        }
        OwnError::TooMany => view.error = Some(shell.say("templates.error_many")),
        other => return Err(other.into()),
    }
    shell.render_as(StatusCode::UNPROCESSABLE_ENTITY, "creatives/template.html", shell.say("templates.title"), &view)
}

pub(super) async fn ask_drop(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let template = find(&platform, &path).await?;
    let confirm = Confirm {
        text: shell.say_with("templates.drop_text", &[("name", template.name)]),
        consequence: shell.say("templates.drop_kept"),
        button: shell.say("templates.drop"),
        action: format!("/creatives/templates/{}/delete", template.key),
        back: format!("/creatives/templates/{}", template.key),
        danger: true,
    };
    shell.confirm(shell.say("templates.drop_title"), &confirm)
}

pub(super) async fn drop(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let template = find(&platform, &path).await?;
    own::drop_template(&platform, &template.key).await?;
    shell.note(template.key, template.name.clone());
    let said = shell.say_with("templates.dropped", &[("name", template.name)]);
    Ok(shell.redirect_saying("/creatives/templates", "good", said))
}

/// A kept template (or, as `new`, what a new one begins with) with a product of the shop, for a frame.
pub(super) async fn mail(platform: Data<Platform>, path: Path<String>, light: Query<LightQuery>) -> ApiResult {
    let template = match path.as_str() {
        "new" => {
            TemplateForm { mjml: own::STARTER.into(), text: own::STARTER_TEXT.into(), ..TemplateForm::default() }.template(platform.now())
        }
        key => find(&platform, key).await?,
    };
    let mail = render(&platform, &template).await?;
    Ok(framed(creative::lit(&at_home(&platform, &mail.html), light.light())))
}
