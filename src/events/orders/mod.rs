//! Orders: what was sold, taken back, and is left. Money is in minor units of each order's own currency.
//!
//! net = total − refunded. An adjustment never takes off more than is left, and counts once, by its reference.

mod adjust;
mod store;

use serde::{Deserialize, Serialize};
use sqlx::types::Json;

pub use adjust::{Adjusted, adjust};
pub use store::{Recorded, bulk_record, by_ids, lines_of, of_person, page_of_person, record, totals, update, worth_of};
pub(super) use store::{forget_person, move_person};

use crate::platform::clock::Timestamp;
use crate::platform::ids::{OrderId, PersonId, ProductId};
use crate::platform::money::Currency;

/// More pieces than this in one line are a slip or a joke: the line is flagged.
pub const MAX_QUANTITY: i64 = 1_000_000;
/// More than this (minor units) is no order: it is flagged.
pub const MAX_TOTAL_MINOR: i64 = 100_000_000_000;

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Import,
    /// The shop's own server.
    Server,
    /// A public key in a page, which anybody can read: kept and shown as a claim, and left out of credit, lift, totals and what the
    /// recommender learns, until the server speaks of the same order.
    Page,
}

impl Source {
    pub fn name(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Server => "server",
            Self::Page => "page",
        }
    }
}

/// An order about to be stored, known by its reference (the shop's order number).
#[derive(Clone, Debug, PartialEq)]
pub struct NewOrder {
    pub order_ref: String,
    pub person_id: Option<PersonId>,
    pub placed_at: Timestamp,
    pub currency: Currency,
    /// What the customer paid, with tax and shipping, after discounts.
    pub total_minor: i64,
    pub lines: Vec<OrderLine>,
    /// Why it is not plausible; impossible values are flagged in any case.
    pub flag: Option<String>,
    pub source: Source,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderLine {
    pub product_id: Option<ProductId>,
    pub sku: String,
    pub title: String,
    pub quantity: i64,
    pub unit_price_minor: i64,
    pub flag: Option<String>,
}

impl NewOrder {
    /// Why this total cannot be. (A line that cannot be is flagged itself: the total stands.)
    fn impossible(&self) -> Option<&'static str> {
        if self.total_minor < 0 {
            Some("negative total")
        } else if self.total_minor > MAX_TOTAL_MINOR {
            Some("total too large")
        } else {
            None
        }
    }
}

impl OrderLine {
    fn impossible(&self) -> Option<&'static str> {
        match (self.quantity, self.unit_price_minor) {
            (i64::MIN..=0, _) => Some("quantity below one"),
            (q, _) if q > MAX_QUANTITY => Some("quantity too large"),
            (_, p) if p < 0 => Some("negative price"),
            (_, p) if p > MAX_TOTAL_MINOR => Some("price too large"),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdjustmentKind {
    Refund,
    /// Everything that is left goes back.
    Cancel,
}

impl AdjustmentKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Refund => "refund",
            Self::Cancel => "cancel",
        }
    }
}

/// Money given back.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAdjustment {
    /// Its own name (refund id): the same one again changes nothing.
    pub reference: String,
    pub order_ref: String,
    pub kind: AdjustmentKind,
    pub at: Timestamp,
    /// `None`: all that is left.
    pub amount_minor: Option<i64>,
    /// Of the amount, where it was said.
    pub currency: Option<Currency>,
    /// Pieces taken back: sku and quantity.
    pub lines: Vec<(String, i64)>,
    pub source: Source,
}

/// An order as stored, without its lines.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Order {
    #[schema(value_type = String)]
    pub id: OrderId,
    pub order_ref: String,
    #[schema(value_type = Option<String>)]
    pub person_id: Option<PersonId>,
    #[schema(value_type = String, format = DateTime)]
    pub placed_at: Timestamp,
    #[schema(value_type = String)]
    #[sqlx(try_from = "String")]
    pub currency: Currency,
    pub total_minor: i64,
    pub refunded_minor: i64,
    pub status: String,
    pub flag: Option<String>,
    pub source: String,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl Order {
    pub fn net_minor(&self) -> i64 {
        self.total_minor - self.refunded_minor
    }
}

/// Sums over the plausible, vouched-for orders of one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Totals {
    #[schema(value_type = String)]
    #[sqlx(try_from = "String")]
    pub currency: Currency,
    pub orders: i64,
    pub total_minor: i64,
    pub refunded_minor: i64,
}

impl Totals {
    pub fn net_minor(&self) -> i64 {
        self.total_minor - self.refunded_minor
    }
}

/// Pieces as kept with an adjustment.
pub(super) type Pieces = Json<Vec<(String, i64)>>;
