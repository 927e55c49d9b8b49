//! Placements: the places on pages that banners are shown in.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::platform::db::Db;
use crate::platform::ids::PlacementId;
use crate::platform::{Platform, Timestamp};
use crate::{on, read};

/// Sizes that banners are drawn in (IAB).
pub const SIZES: [(i64, i64); 3] = [(300, 250), (728, 90), (320, 50)];

#[derive(Clone, Debug, Serialize, ToSchema, sqlx::FromRow)]
pub struct Placement {
    #[schema(value_type = String, example = "plc_1")]
    pub id: PlacementId,
    /// Stable name in requests (`home-top`).
    pub key: String,
    pub name: String,
    pub width: i64,
    pub height: i64,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPlacement {
    pub key: String,
    pub name: String,
    /// 300×250, 728×90 or 320×50.
    pub width: i64,
    pub height: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    #[error("a placement's key has 1 to 60 of a–z, 0–9, “-” and “_”")]
    Key,
    #[error("a placement's name has 1 to 200 characters")]
    Name,
    #[error("{0} is no banner size: use 300x250, 728x90 or 320x50")]
    Size(String),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

const LIST: &str = "SELECT id, key, name, width, height, created_at FROM placement ORDER BY key";
const PUT: &str = "INSERT INTO placement (key, name, width, height, created_at) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (key) DO UPDATE SET name = excluded.name, width = excluded.width, height = excluded.height
     RETURNING id, key, name, width, height, created_at";

pub async fn list(db: &Db) -> sqlx::Result<Vec<Placement>> {
    read!(*db, |c| sqlx::query_as::<_, Placement>(LIST).fetch_all(c).await)
}

pub async fn put(platform: &Platform, new: NewPlacement) -> Result<Placement, PlacementError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if new.key.is_empty() || new.key.len() > 60 || !new.key.bytes().all(plain) {
        return Err(PlacementError::Key);
    }
    let name = new.name.trim();
    if name.is_empty() || name.chars().count() > 200 {
        return Err(PlacementError::Name);
    }
    if !SIZES.contains(&(new.width, new.height)) {
        return Err(PlacementError::Size(format!("{}x{}", new.width, new.height)));
    }
    let mut tx = platform.db.begin().await?;
    let placement = on!(&mut tx, |c| {
        sqlx::query_as::<_, Placement>(PUT)
            .bind(&new.key)
            .bind(name)
            .bind(new.width)
            .bind(new.height)
            .bind(platform.now())
            .fetch_one(&mut *c)
            .await
    })?;
    tx.commit().await?;
    Ok(placement)
}
