//! Creatives: e-mails (MJML) and banners (SVG to PNG).
//!
//! E-mails: [`email::EmailTemplates`] compiles a template once per brand and fills it per person. Banners: [`ensure_banner`] draws once for
//! the same inputs and stores the picture as an asset.

mod api;
pub mod banner;
pub mod brand;
pub mod custom;
pub mod email;
pub mod fonts;
mod layout;
mod listing;
pub mod own;
pub mod preview;
mod service;
mod show;
pub mod utm;

use actix_web::web::ServiceConfig;

pub use api::openapi;
pub use banner::Format;
pub use brand::{BrandKit, Colour};
pub use email::{EmailKind, EmailTemplates, MailContext, MailLinks, ProductView, RenderedEmail};
pub use listing::{ReadyBanner, banners_of};
pub use service::{BannerRequest, Banners, Creative, CreativeError, ensure_banner, ensure_banners, page};
pub use show::{Light, banners_of_copy, lit, preview_banner, preview_context, preview_mail};
pub use utm::Utm;

use crate::platform::queue::JobSpec;

/// HTTP routes of this slice.
pub fn routes(config: &mut ServiceConfig) {
    api::routes(config);
}

/// Jobs of this slice: none; banners are drawn where a campaign needs them, by [`ensure_banner`].
pub fn jobs() -> Vec<JobSpec> {
    Vec::new()
}
