//! How a copy looks: the mail in a frame that may do nothing, the banner at its true size.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Data, Path, Query};
use serde::Deserialize;

use super::one::find;
use crate::catalog::{self, Product};
use crate::copywriter::{CopyChannel, StoredCopy};
use crate::creative::{self, BrandKit, EmailKind, Format, Light};
use crate::platform::Platform;
use crate::platform::http::{ApiError, ApiResult};

/// A document for a sandboxed frame of ours: no script, no form, no link that leads anywhere; pictures only.
pub(super) const FRAME_POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data: https: http:; \
     font-src 'none'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'";

/// HTML that came out of a template, as such a document.
pub(super) fn framed(html: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, FRAME_POLICY))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .body(html)
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct LightQuery {
    light: String,
}

impl LightQuery {
    pub fn light(&self) -> Light {
        if self.light == "dark" { Light::Dark } else { Light::Light }
    }
}

async fn product(platform: &Platform, copy: &StoredCopy) -> ApiResult<Product> {
    catalog::get(&platform.db, copy.product_id).await?.ok_or_else(|| ApiError::not_found("product"))
}

/// The variant's template where it names one of ours.
async fn kind(platform: &Platform, copy: &StoredCopy) -> ApiResult<EmailKind> {
    let campaigns = crate::campaign::get_many(&platform.db, &[copy.campaign_id]).await?;
    let named = campaigns
        .get(&copy.campaign_id)
        .and_then(|c| c.variants.iter().find(|v| v.id == copy.variant_id))
        .and_then(|v| v.variant.template.clone());
    Ok(match named.as_deref() {
        Some("letter") => EmailKind::Letter,
        Some("hero_more") => EmailKind::HeroMore,
        _ => EmailKind::Hero,
    })
}

pub(super) async fn mail(platform: Data<Platform>, path: Path<String>, query: Query<LightQuery>) -> ApiResult {
    let copy = find(&platform, &path).await?;
    if copy.channel != CopyChannel::Email {
        return Err(ApiError::not_found("mail"));
    }
    let first = product(&platform, &copy).await?;
    let kind = kind(&platform, &copy).await?;
    let mut products = vec![first];
    if kind == EmailKind::HeroMore {
        products.extend(catalog::page(&platform.db, copy.product_id, 3).await?);
    }
    let brand = BrandKit::load(&platform).await?;
    let context = creative::preview_context(&platform.config, &copy.copy, copy.locale, None, &products);
    let context = context.ok_or_else(|| ApiError::not_found("product"))?;
    let mail = creative::preview_mail(&brand, kind, &context).map_err(ApiError::internal)?;
    Ok(framed(creative::lit(&mail.html, query.light())))
}

pub(super) async fn banner(platform: Data<Platform>, path: Path<(String, String)>) -> ApiResult {
    let (id, format) = path.into_inner();
    let copy = find(&platform, &id).await?;
    let format: Format = format.trim_end_matches(".png").parse().map_err(|_| ApiError::not_found("banner"))?;
    if copy.channel != CopyChannel::Banner {
        return Err(ApiError::not_found("banner"));
    }
    let product = product(&platform, &copy).await?;
    let brand = BrandKit::load(&platform).await?;
    let drawn = creative::preview_banner(&platform, &brand, &copy, &product, format).await?;
    Ok(png(drawn.png))
}

pub(super) fn png(bytes: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("image/png")
        // Words, brand and prices change; a minute spares the gallery drawing it again while somebody pages.
        .insert_header((header::CACHE_CONTROL, "private, max-age=60"))
        .insert_header(header::ContentEncoding::Identity)
        .body(bytes)
}
