//! Which products a campaign shows each person: the stored picks, within the campaign's filter, without what cannot be sold, was bought or
//! was shown lately; then what is popular; then what else the filter holds.

use std::collections::{HashMap, HashSet};

use sqlx::QueryBuilder;

use super::model::Choice;
use crate::catalog::{self, Product};
use crate::platform::ids::{PersonId, ProductId};
use crate::platform::{Db, Timestamp};
use crate::{read, recommend, touches};

/// Stored picks looked at per person: rules may strike some out.
const PICKS: usize = 40;

impl Choice {
    fn restricts(&self) -> bool {
        !self.categories.is_empty()
            || !self.brands.is_empty()
            || !self.skus.is_empty()
            || self.on_sale
            || self.min_price_minor.is_some()
            || self.max_price_minor.is_some()
    }

    /// Whether a product lies within the filter.
    pub fn admits(&self, product: &Product) -> bool {
        let listed = |list: &[String], value: Option<&str>| list.is_empty() || value.is_some_and(|v| list.iter().any(|l| l == v));
        let price = product.price_now().minor;
        (self.categories.is_empty() || product.categories().iter().any(|path| self.categories.iter().any(|c| c == path)))
            && listed(&self.brands, product.brand.as_deref())
            && listed(&self.skus, Some(&product.sku))
            && (!self.on_sale || product.sale_price.is_some())
            && self.min_price_minor.is_none_or(|low| price >= low)
            && self.max_price_minor.is_none_or(|high| price <= high)
    }
}

/// What may be shown at all: loaded once per batch or run.
pub struct Shelf {
    products: HashMap<ProductId, Product>,
    /// For people without (enough) picks of their own, best first.
    fallback: Vec<ProductId>,
}

impl Shelf {
    pub async fn load(db: &Db, choice: &Choice) -> sqlx::Result<Self> {
        let products: HashMap<ProductId, Product> =
            catalog::all(db).await?.into_iter().filter(|p| p.sellable() && choice.admits(p)).map(|p| (p.id, p)).collect();
        let mut fallback: Vec<ProductId> =
            recommend::popular(db, 500).await?.into_iter().map(|p| p.product_id).filter(|id| products.contains_key(id)).collect();
        // A marketer who names products means them, also those that are not popular yet.
        if choice.restricts() || fallback.is_empty() {
            let known: HashSet<ProductId> = fallback.iter().copied().collect();
            let mut rest: Vec<ProductId> = products.keys().filter(|id| !known.contains(id)).copied().collect();
            rest.sort();
            fallback.extend(rest.into_iter().take(500));
        }
        Ok(Self { products, fallback })
    }
}

#[derive(sqlx::FromRow)]
struct Bought {
    person_id: PersonId,
    product_id: ProductId,
}

/// What each person bought (and kept) since an instant.
async fn bought(db: &Db, people: &[PersonId], since: Timestamp) -> sqlx::Result<HashMap<PersonId, HashSet<ProductId>>> {
    let mut found: HashMap<PersonId, HashSet<ProductId>> = HashMap::new();
    for chunk in people.chunks(1_000) {
        let rows: Vec<Bought> = read!(*db, |c| {
            let mut q = QueryBuilder::new(
                "SELECT DISTINCT o.person_id, l.product_id FROM shop_order o JOIN order_line l ON l.order_id = o.id
                 WHERE l.product_id IS NOT NULL AND l.cancelled_quantity < l.quantity AND o.placed_at >= ",
            );
            q.push_bind(since).push(" AND o.person_id IN (");
            let mut list = q.separated(", ");
            for id in chunk {
                list.push_bind(*id);
            }
            q.push(")");
            q.build_query_as::<Bought>().persistent(false).fetch_all(c).await
        })?;
        for row in rows {
            found.entry(row.person_id).or_default().insert(row.product_id);
        }
    }
    Ok(found)
}

/// The products for each person, best first, at most `choice.products`; nobody for whom there is none.
pub async fn choose(
    db: &Db,
    shelf: &Shelf,
    choice: &Choice,
    people: &[PersonId],
    now: Timestamp,
) -> sqlx::Result<HashMap<PersonId, Vec<ProductId>>> {
    let picks = recommend::picks_for(db, people, PICKS).await?;
    let bought =
        if choice.exclude_bought_days > 0 { bought(db, people, now.plus_days(-choice.exclude_bought_days)).await? } else { HashMap::new() };
    let shown = if choice.exclude_shown_days > 0 {
        touches::recent_products(db, people, now.plus_days(-choice.exclude_shown_days)).await?
    } else {
        HashMap::new()
    };
    let mut chosen = HashMap::with_capacity(people.len());
    for person in people {
        let struck = |id: &ProductId| [&bought, &shown].iter().any(|m| m.get(person).is_some_and(|set| set.contains(id)));
        let own = picks.get(person).into_iter().flatten().map(|p| p.product_id).filter(|id| shelf.products.contains_key(id));
        let mut list: Vec<ProductId> = Vec::with_capacity(choice.products);
        for id in own.chain(shelf.fallback.iter().copied()) {
            if list.len() == choice.products {
                break;
            }
            if !list.contains(&id) && !struck(&id) {
                list.push(id);
            }
        }
        if !list.is_empty() {
            chosen.insert(*person, list);
        }
    }
    Ok(chosen)
}
