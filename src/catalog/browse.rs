//! The catalogue as a page shows it: found by words and filters, in an order, by keyset. Rows carry no long texts.

use std::collections::HashMap;

use sqlx::types::Json;
use sqlx::{AssertSqlSafe, QueryBuilder};

use super::words::{self, Span};
use crate::platform::clock::Timestamp;
use crate::platform::db::Db;
use crate::platform::ids::ProductId;
use crate::platform::money::{Currency, Money};
use crate::read;

/// How much there is of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StockLevel {
    /// Available, and more than 0 pieces or not counted.
    In,
    /// Counted, 1 to 5 pieces.
    Low,
    /// None left, or said to be unavailable.
    Out,
    /// Nobody counts.
    Uncounted,
}

/// What keeps a product from being shown well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProductFinding {
    NoPicture,
    NoText,
    LongTitle,
    SoldOut,
    NeverPicked,
}

impl ProductFinding {
    pub const ALL: [ProductFinding; 5] = [Self::NoPicture, Self::NoText, Self::LongTitle, Self::SoldOut, Self::NeverPicked];
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoPicture => "no_picture",
            Self::NoText => "no_text",
            Self::LongTitle => "long_title",
            Self::SoldOut => "sold_out",
            Self::NeverPicked => "never_picked",
        }
    }
}

/// Which products.
#[derive(Clone, Debug, Default)]
pub struct ProductFilter {
    /// What was typed: every word must begin a word of title, sku, brand or category.
    pub search: String,
    /// A whole path, with everything below it.
    pub category: String,
    pub brand: String,
    pub stock: Option<StockLevel>,
    pub finding: Option<ProductFinding>,
    /// Retired products instead of those on offer.
    pub retired: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProductOrder {
    Title,
    /// What a buyer pays now.
    Price,
    /// Uncounted stock is the largest.
    Stock,
    Updated,
    /// How often touches were about it; what they earned. As of the last count.
    Shown,
    Clicked,
    Earned,
}

/// A product as a list shows it.
#[derive(Clone, Debug)]
pub struct ProductRow {
    pub id: ProductId,
    pub sku: String,
    pub title: String,
    pub brand: Option<String>,
    pub category_path: String,
    pub price: Money,
    pub sale_price: Option<Money>,
    pub stock: Option<i64>,
    pub available: bool,
    pub url: Option<String>,
    pub image_hash: Option<String>,
    pub has_text: bool,
    pub updated_at: Timestamp,
    pub retired_at: Option<Timestamp>,
    /// For how many people it was picked, as of the last count; `None` where nothing was picked for anybody.
    pub picked: Option<i64>,
}

impl ProductRow {
    pub fn sold_out(&self) -> bool {
        !self.available || self.stock.is_some_and(|n| n <= 0)
    }
    /// What keeps it from being shown well.
    pub fn findings(&self) -> Vec<ProductFinding> {
        let mut found = Vec::new();
        let mut add = |is: bool, what| {
            if is {
                found.push(what);
            }
        };
        add(self.image_hash.is_none(), ProductFinding::NoPicture);
        add(!self.has_text, ProductFinding::NoText);
        add(words::width(&self.title) > words::BANNER_TITLE_WIDTH, ProductFinding::LongTitle);
        add(self.sold_out(), ProductFinding::SoldOut);
        // What cannot be sold is picked for nobody: that is said already.
        add(self.picked == Some(0) && !self.sold_out() && self.retired_at.is_none(), ProductFinding::NeverPicked);
        found
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: ProductId,
    sku: String,
    title: String,
    brand: Option<String>,
    category_path: String,
    price_minor: i64,
    sale_price_minor: Option<i64>,
    currency: String,
    stock: Option<i64>,
    available: bool,
    url: Option<String>,
    image_hash: Option<String>,
    has_text: bool,
    updated_at: Timestamp,
    retired_at: Option<Timestamp>,
    picked: Option<i64>,
}

impl TryFrom<Row> for ProductRow {
    type Error = sqlx::Error;
    fn try_from(r: Row) -> sqlx::Result<Self> {
        let currency: Currency = r.currency.parse().map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
        Ok(Self {
            id: r.id,
            sku: r.sku,
            title: r.title,
            brand: r.brand,
            category_path: r.category_path,
            price: Money::new(r.price_minor, currency),
            sale_price: r.sale_price_minor.map(|m| Money::new(m, currency)),
            stock: r.stock,
            available: r.available,
            url: r.url,
            image_hash: r.image_hash,
            has_text: r.has_text,
            updated_at: r.updated_at,
            retired_at: r.retired_at,
            picked: r.picked,
        })
    }
}

const COLUMNS: &str = "p.id, p.sku, p.title, p.brand, p.category_path, p.price_minor, p.sale_price_minor, p.currency, p.stock, p.available,
     p.url, p.image_hash, p.description <> '' AS has_text, p.updated_at, p.retired_at, f.picked";

impl ProductOrder {
    /// The expression that an index of migration 0037 holds.
    const fn sql(self) -> &'static str {
        match self {
            Self::Title => "lower(p.title)",
            Self::Price => "COALESCE(p.sale_price_minor, p.price_minor)",
            Self::Stock => "COALESCE(p.stock, 2000000000)",
            Self::Updated => "p.updated_at",
            Self::Shown => "f.shown",
            Self::Clicked => "f.clicked",
            Self::Earned => "f.earned_minor",
        }
    }
    /// The table whose index gives the order, and so is read first; and its name of the product.
    const fn first(self) -> (&'static str, &'static str) {
        match self {
            Self::Shown | Self::Clicked | Self::Earned => {
                ("product_figures f CROSS JOIN product p WHERE p.id = f.product_id AND ", "f.product_id")
            }
            _ => ("product p CROSS JOIN product_figures f WHERE f.product_id = p.id AND ", "p.id"),
        }
    }
}

impl ProductFilter {
    /// Conditions that the index of words answers.
    fn spans(&self) -> Vec<Span> {
        let mut spans = words::of_search(&self.search);
        let category = Some(&self.category).filter(|c| !c.is_empty()).map(|c| words::category_word(c));
        let brand = Some(&self.brand).filter(|b| !b.is_empty()).map(|b| words::brand_word(b));
        let finding = self.finding.and_then(|f| match f {
            ProductFinding::NoText => Some(words::NO_TEXT.to_owned()),
            ProductFinding::LongTitle => Some(words::LONG_TITLE.to_owned()),
            _ => None,
        });
        spans.extend(category.into_iter().chain(brand).chain(finding).map(Span::exact));
        spans
    }
    /// Nothing that was typed is a word: nothing is found.
    fn is_vain(&self) -> bool {
        !self.search.trim().is_empty() && words::of_search(&self.search).is_empty()
    }
    /// `figures`: with those on the counted figures.
    fn conditions(&self, figures: bool) -> Vec<&'static str> {
        let mut all = vec![if self.retired { "p.retired_at IS NOT NULL" } else { "p.retired_at IS NULL" }];
        all.extend(self.stock.map(|s| match s {
            StockLevel::In => "p.available AND (p.stock IS NULL OR p.stock > 0)",
            StockLevel::Low => "p.available AND COALESCE(p.stock, 2000000000) BETWEEN 1 AND 5",
            StockLevel::Out => "(p.stock <= 0 OR NOT p.available)",
            StockLevel::Uncounted => "COALESCE(p.stock, 2000000000) = 2000000000",
        }));
        all.extend(self.finding.and_then(|f| match f {
            ProductFinding::NoPicture => Some("p.image_hash IS NULL"),
            ProductFinding::SoldOut => Some("(p.stock <= 0 OR NOT p.available)"),
            ProductFinding::NeverPicked if figures => Some("f.picked = 0 AND p.available AND (p.stock IS NULL OR p.stock > 0)"),
            _ => None,
        }));
        all
    }
}

/// Where a page begins: the order's value of the last row before it.
enum Key {
    Text(String),
    Number(i64),
}

async fn key_of(db: &Db, order: ProductOrder, id: ProductId) -> sqlx::Result<Option<Key>> {
    let sql = match order {
        ProductOrder::Title => {
            const TITLE: &str = "SELECT lower(title) FROM product WHERE id = $1";
            let text = read!(*db, |c| sqlx::query_scalar::<_, String>(TITLE).bind(id).fetch_optional(c).await)?;
            return Ok(text.map(Key::Text));
        }
        ProductOrder::Price => "SELECT COALESCE(sale_price_minor, price_minor) FROM product WHERE id = $1",
        ProductOrder::Stock => "SELECT COALESCE(stock, 2000000000) FROM product WHERE id = $1",
        ProductOrder::Updated => "SELECT updated_at FROM product WHERE id = $1",
        ProductOrder::Shown => "SELECT shown FROM product_figures WHERE product_id = $1",
        ProductOrder::Clicked => "SELECT clicked FROM product_figures WHERE product_id = $1",
        ProductOrder::Earned => "SELECT earned_minor FROM product_figures WHERE product_id = $1",
    };
    let number = read!(*db, |c| sqlx::query_scalar::<_, i64>(sql).bind(id).fetch_optional(c).await)?;
    Ok(number.map(Key::Number))
}

/// Up to so many rows that fulfil a condition are sorted; where there are more, the order's index is walked.
const SPARSE: i64 = 2_000;

/// Whether few products fulfil the conditions: then they are looked up by an index of just those and sorted, for the order's index would be
/// walked to its end in search of a page of them.
async fn is_sparse(db: &Db, filter: &ProductFilter, order: ProductOrder) -> sqlx::Result<bool> {
    let indexed = matches!(filter.finding, Some(ProductFinding::NoPicture | ProductFinding::SoldOut));
    let narrow = filter.retired || indexed || matches!(filter.stock, Some(StockLevel::Low | StockLevel::Out | StockLevel::Uncounted));
    // The indexes of findings are in the order of titles already.
    let served = order == ProductOrder::Title && filter.stock.is_none();
    if !narrow || served {
        return Ok(false);
    }
    let sql = format!("SELECT COUNT(*) FROM (SELECT 1 FROM product p WHERE {} LIMIT {SPARSE}) few", filter.conditions(false).join(" AND "));
    let found: i64 = read!(*db, |c| sqlx::query_scalar(AssertSqlSafe(sql.clone())).fetch_one(c).await)?;
    Ok(found < SPARSE)
}

/// The next `limit` products after `after`, in this order.
pub async fn browse(
    db: &Db,
    filter: &ProductFilter,
    order: ProductOrder,
    down: bool,
    after: Option<ProductId>,
    limit: i64,
) -> sqlx::Result<Vec<ProductRow>> {
    if filter.is_vain() {
        return Ok(Vec::new());
    }
    let key = match after {
        Some(id) => key_of(db, order, id).await?.map(|key| (key, id)),
        None => None,
    };
    let spans = filter.spans();
    let sparse = spans.is_empty() && is_sparse(db, filter, order).await?;
    let rows: Vec<Row> = read!(*db, |c| {
        let mut sql = QueryBuilder::new(format!("SELECT {COLUMNS} FROM "));
        let (from, mut id) = if sparse { ProductOrder::Title.first() } else { order.first() };
        if spans.is_empty() && filter.finding != Some(ProductFinding::NeverPicked) {
            sql.push(from);
        } else if spans.is_empty() {
            sql.push("product_figures f CROSS JOIN product p WHERE p.id = f.product_id AND ");
        } else {
            id = "p.id";
            // The words come first, whatever the planner thinks: they are few, products are many.
            sql.push("(");
            for (i, span) in spans.iter().enumerate() {
                sql.push(if i == 0 { "" } else { " INTERSECT " }).push("SELECT DISTINCT product_id FROM product_word WHERE word >= ");
                sql.push_bind(span.from.as_str()).push(" AND word < ").push_bind(span.to.as_str());
            }
            sql.push(") h CROSS JOIN product p CROSS JOIN product_figures f WHERE p.id = h.product_id AND f.product_id = p.id AND ");
        }
        sql.push(filter.conditions(true).join(" AND "));
        // A sign before (or nothing after) an expression keeps the planner from walking the index of the order.
        let by = match (sparse, order) {
            (false, _) => order.sql().to_owned(),
            (true, ProductOrder::Title) => format!("{} || ''", order.sql()),
            (true, _) => format!("+{}", order.sql()),
        };
        let (beyond, way) = if down { ("<", "DESC") } else { (">", "ASC") };
        if let Some((key, last)) = &key {
            for operator in [format!("{beyond}= "), format!("{beyond} ")] {
                let strict = !operator.contains('=');
                sql.push(if strict { " AND (" } else { " AND " }).push(by.as_str()).push(" ").push(operator);
                match key {
                    Key::Text(text) => sql.push_bind(text.as_str()),
                    Key::Number(n) => sql.push_bind(*n),
                };
            }
            sql.push(format!(" OR {id} {beyond} ")).push_bind(*last).push(")");
        }
        sql.push(format!(" ORDER BY {by} {way}, {id} {way} LIMIT ")).push_bind(limit);
        sql.build_query_as().fetch_all(c).await
    })?;
    rows.into_iter().map(ProductRow::try_from).collect()
}

/// Those of the ids that exist, also retired ones, as a list shows them.
pub async fn tiles(db: &Db, ids: &[ProductId]) -> sqlx::Result<HashMap<ProductId, ProductRow>> {
    let plain: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let rows: Vec<Row> = match db {
        Db::Sqlite(s) => {
            let sql = format!(
                "SELECT {COLUMNS} FROM product p LEFT JOIN product_figures f ON f.product_id = p.id WHERE p.id IN (SELECT value FROM json_each($1))"
            );
            sqlx::query_as(AssertSqlSafe(sql)).bind(Json(plain)).fetch_all(&s.readers).await?
        }
        Db::Postgres(p) => {
            let sql = format!("SELECT {COLUMNS} FROM product p LEFT JOIN product_figures f ON f.product_id = p.id WHERE p.id = ANY($1)");
            sqlx::query_as(AssertSqlSafe(sql)).bind(plain).fetch_all(p).await?
        }
    };
    rows.into_iter().map(|r| ProductRow::try_from(r).map(|r| (r.id, r))).collect()
}

const IDS_AFTER: &str = "SELECT id FROM product WHERE id > $1 ORDER BY id LIMIT $2";

/// The next ids after one, also of retired products.
pub async fn ids_after(db: &Db, after: ProductId, limit: i64) -> sqlx::Result<Vec<ProductId>> {
    read!(*db, |c| sqlx::query_scalar(IDS_AFTER).bind(after).bind(limit).fetch_all(c).await)
}

const TOTAL: &str = "SELECT COUNT(*) FROM product";
const PICTURELESS: &str = "SELECT COUNT(*) FROM product WHERE image_hash IS NULL AND retired_at IS NULL";
const SOLD_OUT: &str = "SELECT COUNT(*) FROM product WHERE (stock <= 0 OR NOT available) AND retired_at IS NULL";
const RETIRED: &str = "SELECT COUNT(*) FROM product WHERE retired_at IS NOT NULL";
const NEVER: &str =
    "SELECT COUNT(*) FROM product_figures f CROSS JOIN product p WHERE p.id = f.product_id AND f.picked = 0 AND p.retired_at IS NULL
     AND p.available AND (p.stock IS NULL OR p.stock > 0)";
const MARKED: &str = "SELECT COUNT(*) FROM product_word WHERE word = $1";

/// How many products need a hand; each figure is read from an index of just those. Figures of texts count retired products too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatalogueCounts {
    /// On offer.
    pub live: i64,
    pub no_picture: i64,
    pub no_text: i64,
    pub long_title: i64,
    pub sold_out: i64,
    /// On offer, and picked for nobody though picks were made.
    pub never_picked: i64,
    pub retired: i64,
}

pub async fn counts(db: &Db) -> sqlx::Result<CatalogueCounts> {
    let plain = async |sql: &'static str| read!(*db, |c| sqlx::query_scalar::<_, i64>(sql).fetch_one(c).await);
    let marked = async |word: &'static str| read!(*db, |c| sqlx::query_scalar::<_, i64>(MARKED).bind(word).fetch_one(c).await);
    let retired = plain(RETIRED).await?;
    Ok(CatalogueCounts {
        // Not counted by a condition on all rows: the total is read from the smallest index.
        live: plain(TOTAL).await? - retired,
        no_picture: plain(PICTURELESS).await?,
        no_text: marked(words::NO_TEXT).await?,
        long_title: marked(words::LONG_TITLE).await?,
        sold_out: plain(SOLD_OUT).await?,
        never_picked: plain(NEVER).await?,
        retired,
    })
}
