//! Who likes a product: counted over people for whom it was picked, by segment and by what is known of them. No person is named.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::platform::Db;
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::ProductId;
use crate::{audience, people, recommend};

/// People looked at; spread evenly over all of them.
const SAMPLE: i64 = 1_000;
const MAX_SEGMENTS: i64 = 60;
const SHOWN: usize = 6;

/// A share of the people looked at.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ShareRow {
    pub name: String,
    /// Where the name leads; empty where it leads nowhere.
    pub href: String,
    pub n: i64,
    /// Of the sample.
    pub share: f64,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Likers {
    /// For how many people it is among the picks; 50,000 stands for that many or more.
    pub picked: i64,
    pub sample: i64,
    pub segments: Vec<ShareRow>,
    /// `never`, `once`, `twice`, `often`: how many orders they placed.
    pub buyers: Vec<ShareRow>,
    /// What they are most interested in.
    pub categories: Vec<ShareRow>,
}

pub(super) async fn of(db: &Db, product: ProductId, segments_mounted: bool) -> ApiResult<Likers> {
    let picked = recommend::picked_count(db, product).await?;
    let people = recommend::picked_by(db, product, SAMPLE).await?;
    if people.is_empty() {
        return Ok(Likers::default());
    }
    let sample = people.len() as i64;
    let share = |n: i64| n as f64 / sample as f64;
    let in_segments = audience::members_among(db, &people, MAX_SEGMENTS).await.map_err(ApiError::from)?;
    let segments = in_segments
        .into_iter()
        .take(SHOWN)
        .map(|(s, n)| ShareRow {
            name: s.name,
            href: if segments_mounted { format!("/segments/{}", s.id) } else { String::new() },
            n,
            share: share(n),
        })
        .collect();
    let (mut orders, mut categories): (BTreeMap<usize, i64>, BTreeMap<String, i64>) = Default::default();
    for traits in people::traits_many(db, &people).await?.into_values() {
        *orders.entry(usize::try_from(traits.order_count).unwrap_or(0).min(3)).or_default() += 1;
        if let Some(category) = traits.top_category {
            *categories.entry(category).or_default() += 1;
        }
    }
    let buyers = ["never", "once", "twice", "often"].into_iter().enumerate().filter_map(|(i, name)| {
        let n = *orders.get(&i)?;
        Some(ShareRow { name: name.to_owned(), href: String::new(), n, share: share(n) })
    });
    let mut categories: Vec<ShareRow> =
        categories.into_iter().map(|(name, n)| ShareRow { href: super::category_href(&name), name, n, share: share(n) }).collect();
    categories.sort_by(|a, b| b.n.cmp(&a.n).then(a.name.cmp(&b.name)));
    categories.truncate(SHOWN);
    Ok(Likers { picked, sample, segments, buyers: buyers.collect(), categories })
}
