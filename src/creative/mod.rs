//! Creatives: e-mails (MJML) and banners (SVG to PNG).

pub mod brand;
pub mod email;
pub mod utm;

use actix_web::web::ServiceConfig;

pub use brand::{BrandKit, Colour};
pub use utm::Utm;

use crate::platform::queue::JobSpec;

/// HTTP routes of this slice.
pub fn routes(_: &mut ServiceConfig) {}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    Vec::new()
}
