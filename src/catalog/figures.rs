//! SQL of `product_figures`: a row for each product, filled by who counts.

use sqlx::types::Json;

use crate::platform::db::Tx;
use crate::platform::ids::ProductId;

/// What a product came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductFigures {
    pub product_id: ProductId,
    /// For how many people it is among the picks; `None`: nothing was picked for anybody yet.
    pub picked: Option<i64>,
    pub shown: i64,
    pub clicked: i64,
    /// By last touch, in minor units of the shop's currency.
    pub earned_minor: i64,
}

const MAKE_SQLITE: &str =
    "INSERT INTO product_figures (product_id) SELECT value FROM json_each($1) WHERE true ON CONFLICT (product_id) DO NOTHING";
const MAKE_POSTGRES: &str =
    "INSERT INTO product_figures (product_id) SELECT * FROM UNNEST($1::BIGINT[]) ON CONFLICT (product_id) DO NOTHING";

/// The rows of new products.
pub(super) async fn make(tx: &mut Tx, products: &[i64]) -> sqlx::Result<()> {
    if products.is_empty() {
        return Ok(());
    }
    match tx {
        Tx::Sqlite { tx, .. } => sqlx::query(MAKE_SQLITE).bind(Json(products)).execute(&mut **tx).await.map(|_| ()),
        Tx::Postgres(tx) => sqlx::query(MAKE_POSTGRES).bind(products).execute(&mut **tx).await.map(|_| ()),
    }
}

const PUT_SQLITE: &str = "UPDATE product_figures SET picked = n.picked, shown = n.shown, clicked = n.clicked, earned_minor = n.earned
     FROM (SELECT value ->> 0 AS id, value ->> 1 AS picked, value ->> 2 AS shown, value ->> 3 AS clicked, value ->> 4 AS earned FROM json_each($1)) n
     WHERE product_id = n.id AND (product_figures.picked IS DISTINCT FROM n.picked OR product_figures.shown <> n.shown
         OR product_figures.clicked <> n.clicked OR earned_minor <> n.earned)";
const PUT_POSTGRES: &str = "UPDATE product_figures f SET picked = n.picked, shown = n.shown, clicked = n.clicked, earned_minor = n.earned
     FROM (SELECT (value ->> 0)::BIGINT AS id, (value ->> 1)::BIGINT AS picked, (value ->> 2)::BIGINT AS shown, (value ->> 3)::BIGINT AS clicked,
         (value ->> 4)::BIGINT AS earned FROM jsonb_array_elements($1) AS value) n
     WHERE f.product_id = n.id AND (f.picked IS DISTINCT FROM n.picked OR f.shown <> n.shown OR f.clicked <> n.clicked
         OR f.earned_minor <> n.earned)";

/// Writes figures; rows that would not change are not touched. At most some thousand at a time.
pub async fn put_figures(tx: &mut Tx, figures: &[ProductFigures]) -> sqlx::Result<u64> {
    let rows: Vec<(i64, Option<i64>, i64, i64, i64)> =
        figures.iter().map(|f| (f.product_id.0, f.picked, f.shown, f.clicked, f.earned_minor)).collect();
    match tx {
        Tx::Sqlite { tx, .. } => sqlx::query(PUT_SQLITE).bind(Json(rows)).execute(&mut **tx).await.map(|r| r.rows_affected()),
        Tx::Postgres(tx) => sqlx::query(PUT_POSTGRES).bind(Json(rows)).execute(&mut **tx).await.map(|r| r.rows_affected()),
    }
}
