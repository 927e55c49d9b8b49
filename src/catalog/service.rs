//! Order of work in the catalogue: fetching the pictures that products name.

use futures::StreamExt as _;

use super::fetch::Fetcher;
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
