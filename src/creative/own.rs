//! A shop's own mail templates (the setting "templates"): checked and rendered once in a process that can be killed before they are kept,
//! compiled when mails are sent. A variant of a campaign names one by its key.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::brand::BrandKit;
use super::custom::{CustomTemplate, MAX_SOURCE, TemplateError};
use super::email::MailContext;
use super::preview::{PreviewAnswer, PreviewError, PreviewRequest, preview};
use crate::platform::clock::Timestamp;
use crate::platform::{Db, Platform, Tx, setting};

const SETTING: &str = "templates";
/// Most templates of one shop: all are compiled when mails are sent.
pub const MAX_OWN: usize = 20;
/// Rendering a mail takes milliseconds.
const PREVIEW_TIMEOUT: Duration = Duration::from_secs(5);
/// Names of the templates that come with Marquee, and of pages beside them.
const TAKEN: [&str; 5] = ["hero", "hero_more", "letter", "new", "try"];

/// What a new template begins with.
pub const STARTER: &str = include_str!("../../templates/email/starter.mjml");
pub const STARTER_TEXT: &str = include_str!("../../templates/email/starter.txt");

/// A template of the shop's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnTemplate {
    /// What variants name it by: `[a-z0-9-]`, 1 to 40.
    pub key: String,
    pub name: String,
    pub mjml: String,
    pub text: String,
    pub updated_at: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// `field` is `key`, `name`, `mjml` or `text`.
    #[error("{field}: {why}")]
    Invalid { field: &'static str, why: String },
    #[error("a shop has at most {MAX_OWN} templates of its own")]
    TooMany,
    #[error(transparent)]
    Preview(#[from] PreviewError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<OwnError> for crate::platform::http::ApiError {
    fn from(e: OwnError) -> Self {
        match e {
            OwnError::Invalid { field, .. } => Self::invalid(field, e.to_string()),
            OwnError::TooMany => Self::conflict("too_many_templates", e.to_string()),
            OwnError::Preview(e) => Self::internal(e),
            OwnError::Database(e) => e.into(),
        }
    }
}

/// All templates of the shop's own, by name.
pub async fn own_templates(db: &Db) -> sqlx::Result<Vec<OwnTemplate>> {
    setting::get_or_default(db, SETTING).await
}

/// Checks a template and renders it once, in a process that is killed where it runs long.
///
/// # Errors
/// [`OwnError::Invalid`] says what is wrong with it, for who wrote it.
pub async fn try_template(
    platform: &Platform,
    template: &OwnTemplate,
    brand: &BrandKit,
    context: MailContext,
) -> Result<super::RenderedEmail, OwnError> {
    for (field, source) in [("mjml", &template.mjml), ("text", &template.text)] {
        if source.trim().is_empty() {
            return Err(OwnError::Invalid { field, why: "it is empty".into() });
        }
        if source.len() > MAX_SOURCE {
            return Err(OwnError::Invalid { field, why: TemplateError::TooLong(source.len()).to_string() });
        }
        if !source.contains("links.unsubscribe") {
            return Err(OwnError::Invalid { field, why: "every mail carries {{ links.unsubscribe }}".into() });
        }
    }
    let program = match platform.config.server.preview_program.as_str() {
        "" => std::env::current_exe().map_err(|e| PreviewError::Failed(e.to_string()))?,
        named => named.into(),
    };
    let request = PreviewRequest { mjml: template.mjml.clone(), text: template.text.clone(), brand: brand.clone(), context };
    match preview(&program, &request, PREVIEW_TIMEOUT).await {
        Ok(PreviewAnswer::Rendered(mail)) => Ok(mail),
        Ok(PreviewAnswer::Refused(why)) => Err(OwnError::Invalid { field: "mjml", why }),
        Err(stopped @ (PreviewError::Timeout(_) | PreviewError::TooLong)) => {
            Err(OwnError::Invalid { field: "mjml", why: stopped.to_string() })
        }
        Err(other) => Err(other.into()),
    }
}

/// Keeps a template that [`try_template`] has passed, in the place of the one with its key.
///
/// # Errors
/// [`OwnError::Invalid`] for its key or name, [`OwnError::TooMany`].
pub async fn put_template(platform: &Platform, template: OwnTemplate) -> Result<(), OwnError> {
    let invalid = |field, why: &str| Err(OwnError::Invalid { field, why: why.into() });
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !(1..=40).contains(&template.key.len()) || !template.key.chars().all(plain) {
        return invalid("key", "1 to 40 of a to z, 0 to 9 and hyphens");
    }
    if TAKEN.contains(&template.key.as_str()) {
        return invalid("key", "this is the name of a template that comes with Marquee");
    }
    if !(1..=80).contains(&template.name.chars().count()) || template.name.chars().any(char::is_control) {
        return invalid("name", "1 to 80 characters on one line");
    }
    let mut all = own_templates(&platform.db).await?;
    all.retain(|t| t.key != template.key);
    if all.len() >= MAX_OWN {
        return Err(OwnError::TooMany);
    }
    all.push(template);
    all.sort_by(|a, b| a.name.cmp(&b.name).then(a.key.cmp(&b.key)));
    let now = platform.now();
    let mut tx = platform.db.begin().await?;
    store(&mut tx, &all, now).await?;
    tx.commit().await?;
    Ok(())
}

/// Forgets a template. Mails of variants that name it look like the shop's default from then on. `false` where it was not there.
pub async fn drop_template(platform: &Platform, key: &str) -> sqlx::Result<bool> {
    let mut all = own_templates(&platform.db).await?;
    let before = all.len();
    all.retain(|t| t.key != key);
    let mut tx = platform.db.begin().await?;
    store(&mut tx, &all, platform.now()).await?;
    tx.commit().await?;
    Ok(all.len() < before)
}

async fn store(tx: &mut Tx, all: &[OwnTemplate], now: Timestamp) -> sqlx::Result<()> {
    setting::put(tx, SETTING, &all, now).await
}

/// The compiled templates of the shop's own, by key. One that does not compile any more (a stricter version of Marquee) is left out and
/// logged: its mails look like the default.
pub async fn compiled_own(db: &Db, brand: &BrandKit) -> sqlx::Result<HashMap<String, CustomTemplate>> {
    let mut compiled = HashMap::new();
    for template in own_templates(db).await? {
        match CustomTemplate::compile(&template.mjml, &template.text, brand) {
            Ok(done) => {
                compiled.insert(template.key, done);
            }
            Err(error) => tracing::warn!(template = template.key, %error, "a template of the shop's own is left out"),
        }
    }
    Ok(compiled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copywriter::Locale;
    use crate::creative::email::tests::sample;

    #[test]
    fn the_starter_passes_its_own_checks() {
        let template = CustomTemplate::compile(STARTER, STARTER_TEXT, &BrandKit::default()).expect("allowed");
        for (more, picture, sale) in [(0, false, false), (3, true, true)] {
            let mail = template.render(&sample(Locale::En, more, picture, sale, "Blue mug")).expect("renders");
            assert!(mail.html.contains("Blue mug") && mail.html.contains("nsubscribe"));
            assert!(mail.text.contains("Blue mug"));
        }
        assert!(STARTER.contains("links.unsubscribe") && STARTER_TEXT.contains("links.unsubscribe"));
    }
}
