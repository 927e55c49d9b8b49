//! Events: pure types.

use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::types::Json;

use crate::people::PeopleError;
use crate::platform::clock::Timestamp;
use crate::platform::http::ApiError;
use crate::platform::ids::{EventId, PersonId, ProductId};

#[derive(Debug, thiserror::Error)]
pub enum EventError {
    #[error(transparent)]
    People(#[from] PeopleError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl EventError {
    /// Whether another transaction was in the way and trying again makes sense.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::People(e) => e.is_conflict(),
            Self::Database(sqlx::Error::Database(e)) => {
                e.is_unique_violation() || matches!(e.code().as_deref(), Some("40001" | "40P01" | "5" | "517"))
            }
            Self::Database(_) => false,
        }
    }
}

impl From<EventError> for ApiError {
    fn from(e: EventError) -> Self {
        match e {
            EventError::People(e) => e.into(),
            EventError::Database(e) => e.into(),
        }
    }
}

/// Names that the rest of the house relies on (Segment's e-commerce spec).
pub mod name {
    pub const PRODUCT_VIEWED: &str = "Product Viewed";
    pub const PRODUCT_ADDED: &str = "Product Added";
    pub const ORDER_COMPLETED: &str = "Order Completed";
    pub const ORDER_UPDATED: &str = "Order Updated";
    pub const ORDER_REFUNDED: &str = "Order Refunded";
    pub const ORDER_CANCELLED: &str = "Order Cancelled";
    /// The name of every `page` call; the page's own name is the property `name`.
    pub const PAGE_VIEWED: &str = "Page Viewed";
    pub const SCREEN_VIEWED: &str = "Screen Viewed";
    pub const GROUP_JOINED: &str = "Group Joined";
}

/// A fact about to be stored. An id that is there already is the same fact: it is stored once.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    pub id: EventId,
    pub person_id: PersonId,
    /// `track`, `page`, `screen` or `group`.
    pub kind: &'static str,
    pub name: String,
    /// The product it is about, where it is about exactly one that the catalogue knows.
    pub product_id: Option<ProductId>,
    pub occurred_at: Timestamp,
    pub received_at: Timestamp,
    pub properties: Map<String, Value>,
}

/// A fact as stored.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Event {
    #[schema(value_type = String)]
    pub id: EventId,
    #[schema(value_type = String)]
    pub person_id: PersonId,
    pub kind: String,
    pub name: String,
    #[schema(value_type = Option<String>)]
    pub product_id: Option<ProductId>,
    #[schema(value_type = String, format = DateTime)]
    pub occurred_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Timestamp,
    #[schema(value_type = Object)]
    pub properties: Json<Map<String, Value>>,
}
