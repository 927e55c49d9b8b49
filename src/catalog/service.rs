//! Order of work in the catalogue: fetching the pictures that products name.

use futures::StreamExt as _;

use super::asset::Picture;
use super::fetch::Fetcher;
use super::model::CatalogError;
use super::store;
use crate::platform::Platform;
use crate::platform::ids::ProductId;

/// What fetching pictures came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    pub stored: usize,
    /// Sku and reason.
    pub failed: Vec<(String, String)>,
}

/// Fetches the picture of every product that names one and of which we hold none, four at a time. Bytes are fetched and inspected first;
/// the transaction only stores them.
pub async fn fetch_missing_pictures(platform: &Platform, fetcher: &Fetcher, mut tick: impl FnMut()) -> anyhow::Result<Fetched> {
    let mut done = Fetched::default();
    let mut after = ProductId(0);
    loop {
        let some = store::without_picture(&platform.db, after, 200).await?;
        let Some(last) = some.last() else { return Ok(done) };
        after = last.id;
        let mut work = futures::stream::iter(some)
            .map(|product| async move {
                let picture = fetcher.picture(product.image_url.as_deref().unwrap_or_default()).await;
                (product, picture)
            })
            .buffer_unordered(4);
        while let Some((product, picture)) = work.next().await {
            tick();
            match picture {
                Ok(picture) => {
                    let now = platform.now();
                    let mut tx = platform.db.begin().await?;
                    let hash = store::put_picture(&mut tx, &picture, now).await?;
                    store::set_image(&mut tx, product.id, Some(&hash), now).await?;
                    tx.commit().await?;
                    done.stored += 1;
                }
                Err(why) => done.failed.push((product.sku, why.to_string())),
            }
        }
    }
}

/// How much there is of a product, and whether it may be bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// `None`: nobody counts.
    pub stock: Option<i64>,
    pub available: bool,
}

/// Sets stock and availability by hand. `false` where nothing changed.
///
/// # Errors
/// [`CatalogError::Invalid`] where the stock is below 0 or beyond a milliard.
pub async fn set_level(platform: &Platform, id: ProductId, level: Level) -> Result<bool, CatalogError> {
    if level.stock.is_some_and(|n| !(0..=1_000_000_000).contains(&n)) {
        let why = "it must be between 0 and 1,000,000,000".into();
        return Err(CatalogError::Invalid { index: 0, sku: id.to_string(), field: "stock", why });
    }
    let now = platform.now();
    let mut tx = platform.db.begin().await?;
    let stock = store::set_stock(&mut tx, id, level.stock, now).await?;
    let available = store::set_available(&mut tx, id, level.available, now).await?;
    tx.commit().await?;
    Ok(stock || available)
}

/// Puts an uploaded picture in the place of a product's own; returns its hash. Bytes are inspected off the async threads, before the
/// transaction. The next import keeps it for as long as the feed names the same address.
///
/// # Errors
/// [`CatalogError::Picture`] where the bytes are no picture that we take.
pub async fn replace_picture(platform: &Platform, id: ProductId, bytes: Vec<u8>) -> Result<String, CatalogError> {
    let inspected = tokio::task::spawn_blocking(move || Picture::inspect(bytes)).await;
    let picture = inspected.map_err(|e| sqlx::Error::Io(std::io::Error::other(e.to_string())))??;
    let now = platform.now();
    let mut tx = platform.db.begin().await?;
    let hash = store::put_picture(&mut tx, &picture, now).await?;
    store::set_image(&mut tx, id, Some(&hash), now).await?;
    tx.commit().await?;
    Ok(hash)
}
