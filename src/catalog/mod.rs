//! The catalogue: products, their prices and stock, and their pictures.
//!
//! Products are known by sku outside and by [`ProductId`](crate::platform::ids::ProductId) inside. The table `product_vector` of the same
//! migration belongs to `recommend`.

mod api;
mod asset;
mod browse;
mod fetch;
mod figures;
mod index;
mod model;
mod service;
mod store;
mod thumbnail;
mod words;

use actix_web::web::ServiceConfig;

pub use api::openapi;
pub use asset::{Asset, Picture, PictureError};
pub use browse::{CatalogueCounts, ProductFilter, ProductFinding, ProductOrder, ProductRow, StockLevel, browse, counts, ids_after, tiles};
pub use fetch::{FetchError, FetchOptions, Fetcher};
pub use figures::{ProductFigures, put_figures};
pub use index::{brands, categories, forget_words, index_words};
pub use model::{CatalogError, NewProduct, Product, ancestors, content_hash, normal_category_path};
pub use service::{Level, fetch_missing_pictures, replace_picture, set_level};
pub use store::{
    BulkUpsert, all, asset, by_sku, by_sku_in, changed_since, count, get, get_by_sku, get_many, page, put_asset, put_picture, set_image,
    without_picture,
};
pub use store::{bulk_upsert, insert_missing, move_stock, restore, retire, set_stock};

pub use thumbnail::{THUMBNAIL_SIDES, thumbnail};
pub use words::{BANNER_TITLE_WIDTH, width};

use crate::job;
use crate::platform::queue::JobSpec;

/// HTTP routes of this slice.
pub fn routes(config: &mut ServiceConfig) {
    api::routes(config);
}

/// Jobs of this slice.
pub fn jobs() -> Vec<JobSpec> {
    vec![job!("catalog.words", index::job)]
}
