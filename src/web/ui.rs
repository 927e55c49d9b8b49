//! What all pages share: compiled templates, assets, the table of routes, accounts and the audit log. One per process.

use std::collections::BTreeSet;
use std::sync::Arc;

use rust_embed::RustEmbed;
use tera::{Context, Tera};

use super::assets::Assets;
use super::format::{self, Reader};
use super::reports::desk::Desk;
use super::stream::Streams;
use crate::account::{Accounts, AuditLog};
use crate::platform::Platform;
use crate::platform::http::ApiError;

#[derive(RustEmbed)]
#[folder = "templates/web/"]
struct Templates;

#[derive(Clone)]
pub struct Ui {
    pub accounts: Accounts,
    pub audit: AuditLog,
    /// Pages that are followed now.
    pub streams: Streams,
    pub(super) assets: Arc<Assets>,
    tera: Arc<Tera>,
    /// Paths that can be asked for, so that navigation shows nothing that is not there.
    pub(super) paths: Arc<BTreeSet<&'static str>>,
    /// Reports that are being computed.
    pub(super) reports: Desk,
}

impl Ui {
    pub fn start(platform: &Platform) -> anyhow::Result<Self> {
        let routes = super::table();
        Ok(Self {
            accounts: Accounts::new(platform.clone())?,
            audit: AuditLog::start(platform.db.clone()),
            streams: Streams::default(),
            assets: Arc::new(Assets::load()?),
            tera: Arc::new(templates()?),
            reports: Desk::default(),
            paths: Arc::new(routes.iter().filter(|r| r.method == actix_web::http::Method::GET).map(|r| r.path).collect()),
        })
    }

    /// Whether a page is mounted under this pattern: links to pages that are not there are not shown.
    pub(super) fn has(&self, pattern: &str) -> bool {
        self.paths.contains(pattern)
    }

    /// Renders a template for a reader.
    pub(super) fn render(&self, template: &str, context: &Context, reader: Reader) -> Result<String, ApiError> {
        format::reading(reader, || self.tera.render(template, context))
            .map_err(|e| ApiError::internal(anyhow::anyhow!("page {template}: {e}")))
    }
}

/// All templates of `templates/web`, compiled. Names ending in `.html` are escaped.
pub(super) fn templates() -> anyhow::Result<Tera> {
    let mut tera = Tera::new();
    tera.autoescape_on([".html"]);
    format::register(&mut tera);
    let mut sources = Vec::new();
    for name in Templates::iter() {
        let Some(file) = Templates::get(&name) else { continue };
        sources.push((name.into_owned(), std::str::from_utf8(&file.data)?.to_owned()));
    }
    tera.add_raw_templates(sources).map_err(|e| anyhow::anyhow!("templates/web: {e}"))?;
    Ok(tera)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_template_compiles() {
        let tera = super::templates().expect("templates");
        assert!(tera.get_template_names().count() > 3);
    }

    #[test]
    fn no_template_switches_escaping_off_or_carries_script_or_style() {
        for name in super::Templates::iter() {
            let file = super::Templates::get(&name).expect("file");
            let text = String::from_utf8_lossy(&file.data).into_owned();
            assert!(name.ends_with(".html"), "{name}: only .html is escaped");
            let forbidden = [" style=\"", "<style", " onclick=", " onchange=", " onsubmit=", "javascript:", "http://", "https://"];
            for word in forbidden {
                assert!(!text.contains(word), "{name} contains {word}");
            }
            for (at, _) in text.match_indices("| safe") {
                // Markup made by our own code only: charts and QR codes, in one place.
                assert!(name.starts_with("parts/"), "{name} at {at}: `safe` belongs in parts/");
            }
        }
    }
}
