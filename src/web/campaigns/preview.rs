//! A mail as one person would get it, in a frame that may do nothing: at any width, in light and in dark.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Data, Path, Query};
use serde::{Deserialize, Serialize};

use super::{find, words};
use crate::campaign::Campaign;
use crate::catalog::Product;
use crate::copywriter;
use crate::creative::email::MAX_MORE;
use crate::creative::{self, BrandKit, EmailKind, Light, RenderedEmail, own};
use crate::people::Person;
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::VariantId;
use crate::platform::{Config, Platform};
use crate::touches::TouchChannel;
use crate::web::page::Shell;

/// No script, no form, no frame, no link that leads anywhere. Pictures only from us and from where the catalogue says they lie: a picture
/// from anywhere else could carry a name away.
fn policy(pictures: &str) -> String {
    format!(
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:{pictures}; font-src 'none'; frame-ancestors 'self'; \
         base-uri 'none'; form-action 'none'"
    )
}

/// Origins of the pictures that a mail may show, each with a space before it.
fn origins(config: &Config, brand: &BrandKit, products: &[Product]) -> String {
    let pictures = products.iter().filter_map(|p| p.image_url.as_deref());
    let mut all: Vec<String> = [config.server.public_url.as_str(), brand.logo_url.as_str()]
        .into_iter()
        .chain(pictures)
        .filter_map(|text| url::Url::parse(text).ok())
        .filter(|u| matches!(u.scheme(), "http" | "https"))
        .map(|u| u.origin().ascii_serialization())
        .collect();
    all.sort();
    all.dedup();
    all.iter().take(20).map(|o| format!(" {o}")).collect()
}

/// The template that the dispatch would take.
fn kind(named: Option<&str>, products: usize) -> EmailKind {
    match named {
        Some("letter") => EmailKind::Letter,
        Some("hero") => EmailKind::Hero,
        Some("hero_more") => EmailKind::HeroMore,
        _ if products > 1 => EmailKind::HeroMore,
        _ => EmailKind::Hero,
    }
}

/// A mail for one person in one variant, and the policy that its frame needs. `None` where its text is not written or may not be shown.
pub async fn mail(
    platform: &Platform,
    campaign: &Campaign,
    person: &Person,
    variant: VariantId,
) -> ApiResult<Option<(RenderedEmail, String)>> {
    let products: Vec<Product> =
        words::chosen(platform, campaign, person.id).await?.into_iter().map(|(p, _)| p).take(MAX_MORE + 1).collect();
    let Some(main) = products.first() else { return Ok(None) };
    let wanted = words::requests(platform, campaign, Some(person), main.id);
    let Some((_, request)) = wanted.into_iter().find(|(v, _)| *v == variant) else { return Ok(None) };
    let stored = copywriter::stored(&platform.db, std::slice::from_ref(&request)).await?;
    let Some(copy) = stored.get(&request.key()).filter(|c| c.status.usable()) else { return Ok(None) };
    let brand = BrandKit::load(platform).await?;
    let allowed = policy(&origins(&platform.config, &brand, &products));
    let name = person.first_name.as_deref();
    let Some(context) = creative::preview_context(&platform.config, &copy.copy, copy.locale, name, &products) else { return Ok(None) };
    let named = campaign.variant(variant).and_then(|v| v.variant.template.as_deref());
    let own = own::own_templates(&platform.db).await?.into_iter().find(|t| Some(t.key.as_str()) == named);
    let rendered = match own {
        // Somebody else's words: rendered in a process that can be killed.
        Some(template) => own::try_template(platform, &template, &brand, context).await?,
        None => creative::preview_mail(&brand, kind(named, products.len()), &context).map_err(ApiError::internal)?,
    };
    Ok(Some((rendered, allowed)))
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct PreviewQuery {
    person: String,
    variant: String,
    dark: Option<String>,
}

#[derive(Serialize)]
struct Nothing {
    banner: bool,
}

/// The document of the preview's frame.
pub async fn document(shell: Shell, platform: Data<Platform>, id: Path<String>, query: Query<PreviewQuery>) -> ApiResult {
    let campaign = find(&platform.db, &id).await?;
    let person = words::person(&platform, &query.person).await?;
    let variant = query.variant.parse::<VariantId>().map_err(|_| ApiError::not_found("variant"))?;
    if campaign.plan.channel != TouchChannel::Email {
        return Err(ApiError::not_found("mail"));
    }
    let (html, allowed) = match mail(&platform, &campaign, &person, variant).await? {
        Some((mail, allowed)) => (creative::lit(&mail.html, if query.dark.is_some() { Light::Dark } else { Light::Light }), allowed),
        None => (shell.html("campaigns/no_preview.html", "", &Nothing { banner: false })?, policy("")),
    };
    Ok(HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, allowed))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .body(html))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_come_only_from_known_places() {
        let config = Config::default();
        let brand = BrandKit { logo_url: "https://cdn.example.test/logo.png".into(), ..BrandKit::default() };
        let found = origins(&config, &brand, &[]);
        assert!(found.contains(" https://cdn.example.test") && !found.contains("logo.png"), "{found}");
        let hostile = BrandKit { logo_url: "javascript:alert(1)".into(), ..BrandKit::default() };
        assert!(!origins(&config, &hostile, &[]).contains("javascript"));
        let policy = policy(&found);
        assert!(policy.starts_with("sandbox;") && !policy.contains("script-src") && policy.contains("default-src 'none'"));
    }
}
