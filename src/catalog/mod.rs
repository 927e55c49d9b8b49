//! The catalogue: products, their prices and stock, and their pictures.
//!
//! Products are known by sku outside and by [`ProductId`](crate::platform::ids::ProductId) inside. The table `product_vector` of the same
//! migration belongs to `recommend`.

mod api;
mod asset;
mod fetch;
mod model;
mod service;
mod store;

use actix_web::web::ServiceConfig;

pub use api::openapi;
pub use asset::{Asset, Picture, PictureError};
pub use fetch::{FetchError, FetchOptions, Fetcher};
pub use model::{CatalogError, NewProduct, Product, ancestors, content_hash, normal_category_path};
pub use service::fetch_missing_pictures;
pub use store::{
    BulkUpsert, all, asset, by_sku, by_sku_in, changed_since, count, get, get_by_sku, get_many, page, put_asset, put_picture, set_image,
    without_picture,
};
pub use store::{bulk_upsert, insert_missing, move_stock, restore, retire, set_stock};

use crate::platform::queue::JobSpec;

/// HTTP routes of this slice.
pub fn routes(config: &mut ServiceConfig) {
    api::routes(config);
}

/// Jobs of this slice: none; importers and the HTTP interface bring products in.
pub fn jobs() -> Vec<JobSpec> {
    Vec::new()
}
