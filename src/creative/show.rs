//! Creatives as a page shows them, without storing anything: a banner drawn now, a mail as it would look in light or dark.

use super::banner::{Drawn, Format};
use super::brand::BrandKit;
use super::email::{EmailError, EmailKind, EmailTemplates, MailContext, MailLinks, ProductView, RenderedEmail};
use super::service::{BannerRequest, Creative, CreativeError, Inputs, Row};
use crate::catalog::{self, Product};
use crate::copywriter::{Copy, Locale, StoredCopy};
use crate::platform::{Config, Db, Platform};
use crate::read;

/// How the reader's mail program is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Light {
    Light,
    Dark,
}

const OF_COPY: &str = "SELECT id, campaign_id, variant_id, product_id, copy_id, locale, format, width, height, asset_hash, findings
     FROM creative WHERE campaign_id = $1 AND variant_id = $2 AND product_id = $3 AND locale = $4 AND copy_id = $5 ORDER BY format";

/// The banners that were drawn from a copy.
pub async fn banners_of_copy(db: &Db, copy: &StoredCopy) -> sqlx::Result<Vec<Creative>> {
    let rows: Vec<Row> = read!(*db, |c| sqlx::query_as(OF_COPY)
        .bind(copy.campaign_id)
        .bind(copy.variant_id)
        .bind(copy.product_id)
        .bind(copy.locale.as_str())
        .bind(copy.id)
        .fetch_all(c)
        .await)?;
    Ok(rows.into_iter().map(Creative::from).collect())
}

/// Draws a banner with this brand, from a copy and its product as they are now.
///
/// # Errors
/// [`CreativeError::Banner`] where no font can draw the words.
pub async fn preview_banner(
    platform: &Platform,
    brand: &BrandKit,
    copy: &StoredCopy,
    product: &Product,
    format: Format,
) -> Result<Drawn, CreativeError> {
    let request = BannerRequest {
        campaign_id: copy.campaign_id,
        variant_id: copy.variant_id,
        product_id: copy.product_id,
        copy_id: copy.id,
        locale: copy.locale,
        format,
    };
    let inputs = Inputs::of(copy, product, brand.clone(), &request);
    let picture = match &product.image_hash {
        Some(hash) => catalog::asset(&platform.db, hash).await?.map(|a| a.bytes),
        None => None,
    };
    let drawn = tokio::task::spawn_blocking(move || inputs.draw(picture.as_deref())).await.map_err(|_| CreativeError::Interrupted)?;
    Ok(drawn?)
}

/// A pixel that counts nothing.
const NO_PIXEL: &str = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=";

/// A product as a preview shows it: no link leads anywhere, and pictures of our own come from the server that shows the page.
fn harmless(product: &Product, config: &Config) -> ProductView {
    let own = product.image_hash.as_deref().map(|hash| format!("/assets/{hash}"));
    let view = ProductView::of(product, config, "#".into());
    ProductView { image_url: own.or(view.image_url), ..view }
}

/// What a preview of a mail is rendered from: the words filled for somebody of that name.
pub fn preview_context(
    config: &Config,
    words: &Copy,
    locale: Locale,
    first_name: Option<&str>,
    products: &[Product],
) -> Option<MailContext> {
    let (first, more) = products.split_first()?;
    Some(MailContext {
        copy: words.fill(first_name, first.price_now(), locale),
        product: harmless(first, config),
        more: more.iter().take(super::email::MAX_MORE).map(|p| harmless(p, config)).collect(),
        links: MailLinks { open: NO_PIXEL.into(), unsubscribe: "#".into(), preferences: "#".into() },
        locale,
    })
}

/// Renders a mail with one of our own templates.
///
/// # Errors
/// [`EmailError`] where the template and the brand do not go together.
pub fn preview_mail(brand: &BrandKit, kind: EmailKind, context: &MailContext) -> Result<RenderedEmail, EmailError> {
    EmailTemplates::new(brand.clone()).render(kind, context)
}

/// The mail's HTML as a reader with that setting sees it, whatever the browser's own is.
pub fn lit(html: &str, light: Light) -> String {
    let condition = match light {
        Light::Light => "(max-width: 0px)",
        Light::Dark => "(min-width: 0px)",
    };
    html.replace("(prefers-color-scheme: dark)", condition).replace("(prefers-color-scheme:dark)", condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_is_dark_where_it_is_asked_to_be() {
        let context = super::super::email::tests::sample(Locale::En, 0, false, false, "Blue mug");
        let mail = preview_mail(&BrandKit::default(), EmailKind::Hero, &context).expect("renders");
        assert!(mail.html.contains("prefers-color-scheme"), "the template knows the dark");
        let (light, dark) = (lit(&mail.html, Light::Light), lit(&mail.html, Light::Dark));
        assert!(!light.contains("prefers-color-scheme: dark") && light.contains("@media (max-width: 0px)"));
        assert!(dark.contains("@media (min-width: 0px)"));
    }
}
