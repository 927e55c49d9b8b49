//! Placements: the places on pages that banners are shown in.

use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use utoipa::ToSchema;

use super::targeting::Targeting;
use crate::creative::Format;
use crate::fault;
use crate::platform::Fault;
use crate::platform::db::Db;
use crate::platform::http::ApiError;
use crate::platform::ids::PlacementId;
use crate::platform::{Platform, Timestamp};
use crate::{on, read};

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Placement {
    #[schema(value_type = String, example = "plc_1")]
    pub id: PlacementId,
    /// Stable name in requests (`home-top`).
    pub key: String,
    pub name: String,
    pub width: i64,
    pub height: i64,
    /// Further sizes that fit (`336x280`).
    #[schema(value_type = Vec<String>)]
    pub formats: Vec<Format>,
    /// Host of the pages it stands on; empty: any. Browsers on other sites get nothing.
    pub site: String,
    /// Least price of a priced line item, in minor units per thousand impressions; 0 = none. What is free is not asked.
    pub floor_minor: i64,
    /// Conditions for the whole placement.
    pub rules: Targeting,
    /// Whether it may be bid for over OpenRTB.
    pub exchange: bool,
    pub paused: bool,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl Placement {
    /// Its own size and the further ones that fit.
    pub fn sizes(&self) -> Vec<Format> {
        let size = (u32::try_from(self.width).unwrap_or(0), u32::try_from(self.height).unwrap_or(0));
        let mut all: Vec<Format> = Format::of_size(size.0, size.1).into_iter().collect();
        all.extend(self.formats.iter().filter(|f| f.size() != size));
        all
    }
}

#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPlacement {
    pub key: String,
    pub name: String,
    /// A size that banners are drawn in: 300×250, 336×280, 728×90, 970×250, 320×50, 320×100, 160×600 or 300×600.
    pub width: i64,
    pub height: i64,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub formats: Vec<Format>,
    #[serde(default)]
    pub site: String,
    #[serde(default)]
    pub floor_minor: i64,
    #[serde(default)]
    pub rules: Targeting,
    #[serde(default)]
    pub exchange: bool,
    #[serde(default)]
    pub paused: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    #[error("a placement's key has 1 to 60 of a–z, 0–9, “-” and “_”")]
    Key,
    #[error("a placement's name has 1 to 200 characters")]
    Name,
    #[error("{0} is no banner size: use 300x250, 336x280, 728x90, 970x250, 320x50, 320x100, 160x600 or 300x600")]
    Size(String),
    #[error("a site is a host, such as shop.example.com, without https:// and path")]
    Site,
    #[error("a floor is between 0 and 1,000,000 minor units")]
    Floor,
    #[error("{1}")]
    Rules(&'static str, Fault),
    #[error("there is no such placement")]
    NotFound,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl PlacementError {
    /// What is wrong, in a form that a page can say in the reader's language.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Key => fault!("placement.key", "a placement's key has 1 to 60 of a–z, 0–9, “-” and “_”"),
            Self::Name => fault!("placement.name", "a placement's name has 1 to 200 characters"),
            Self::Size(size) => fault!(
                "placement.size",
                "{size} is no banner size: use 300x250, 336x280, 728x90, 970x250, 320x50, 320x100, 160x600 or 300x600",
                size
            ),
            Self::Site => fault!("placement.site", "a site is a host, such as shop.example.com, without https:// and path"),
            Self::Floor => fault!("placement.floor", "a floor is between 0 and 1,000,000 minor units"),
            Self::Rules(_, why) => why.clone(),
            Self::NotFound => fault!("placement.not_found", "there is no such placement"),
            Self::Database(_) => fault!("internal", "Something went wrong on our side; it has been logged."),
        }
    }
    /// Which field is meant.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Name => "name",
            Self::Size(_) => "width",
            Self::Site => "site",
            Self::Floor => "floor_minor",
            Self::Rules(field, _) => field,
            Self::NotFound | Self::Database(_) => "",
        }
    }
}

impl From<PlacementError> for ApiError {
    fn from(e: PlacementError) -> Self {
        match e {
            PlacementError::Database(e) => e.into(),
            PlacementError::NotFound => Self::not_found("placement"),
            other => Self::invalid(other.field(), other.fault()),
        }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: PlacementId,
    key: String,
    name: String,
    width: i64,
    height: i64,
    formats: Json<Vec<Format>>,
    site: String,
    floor_minor: i64,
    rules: Json<Targeting>,
    exchange: bool,
    paused: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Row> for Placement {
    fn from(r: Row) -> Self {
        Self {
            id: r.id,
            key: r.key,
            name: r.name,
            width: r.width,
            height: r.height,
            formats: r.formats.0,
            site: r.site,
            floor_minor: r.floor_minor,
            rules: r.rules.0,
            exchange: r.exchange,
            paused: r.paused,
            created_at: r.created_at,
            updated_at: r.updated_at.max(r.created_at),
        }
    }
}

macro_rules! columns {
    () => {
        "id, key, name, width, height, formats, site, floor_minor, rules, exchange, paused, created_at, updated_at"
    };
}
const LIST: &str = concat!("SELECT ", columns!(), " FROM placement ORDER BY key LIMIT 10000");
const PAGE: &str = concat!("SELECT ", columns!(), " FROM placement WHERE key > $1 ORDER BY key LIMIT $2");
const BY_KEY: &str = concat!("SELECT ", columns!(), " FROM placement WHERE key = $1");
const BY_ID: &str = concat!("SELECT ", columns!(), " FROM placement WHERE id = $1");
// Where the clock stands still a second change must still look like one.
const PUT: &str = concat!(
    "INSERT INTO placement (key, name, width, height, formats, site, floor_minor, rules, exchange, paused, created_at, updated_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
     ON CONFLICT (key) DO UPDATE SET name = excluded.name, width = excluded.width, height = excluded.height, formats = excluded.formats,
       site = excluded.site, floor_minor = excluded.floor_minor, rules = excluded.rules, exchange = excluded.exchange,
       paused = excluded.paused,
       updated_at = CASE WHEN placement.updated_at >= excluded.updated_at THEN placement.updated_at + 1 ELSE excluded.updated_at END
     RETURNING ",
    columns!()
);

/// All placements by key.
pub async fn list(db: &Db) -> sqlx::Result<Vec<Placement>> {
    let rows: Vec<Row> = read!(*db, |c| sqlx::query_as(LIST).fetch_all(c).await)?;
    Ok(rows.into_iter().map(Placement::from).collect())
}
/// The placements after a key, in order of their keys.
pub async fn page(db: &Db, after: &str, limit: i64) -> sqlx::Result<Vec<Placement>> {
    let rows: Vec<Row> = read!(*db, |c| sqlx::query_as(PAGE).bind(after).bind(limit).fetch_all(c).await)?;
    Ok(rows.into_iter().map(Placement::from).collect())
}
pub async fn find(db: &Db, key: &str) -> Result<Placement, PlacementError> {
    let row: Option<Row> = read!(*db, |c| sqlx::query_as(BY_KEY).bind(key).fetch_optional(c).await)?;
    row.map(Placement::from).ok_or(PlacementError::NotFound)
}
pub async fn get(db: &Db, id: PlacementId) -> Result<Placement, PlacementError> {
    let row: Option<Row> = read!(*db, |c| sqlx::query_as(BY_ID).bind(id).fetch_optional(c).await)?;
    row.map(Placement::from).ok_or(PlacementError::NotFound)
}

fn is_host(text: &str) -> bool {
    let label = |l: &str| !l.is_empty() && l.len() <= 63 && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let (host, port) = text.split_once(':').map_or((text, None), |(h, p)| (h, Some(p)));
    text.len() <= 253 && host.split('.').all(label) && port.is_none_or(|p| p.parse::<u16>().is_ok())
}

impl NewPlacement {
    pub fn checked(mut self) -> Result<Self, PlacementError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if self.key.is_empty() || self.key.len() > 60 || !self.key.bytes().all(plain) {
            return Err(PlacementError::Key);
        }
        self.name = self.name.trim().to_owned();
        if self.name.is_empty() || self.name.chars().count() > 200 {
            return Err(PlacementError::Name);
        }
        let drawn = |n: i64| u32::try_from(n).unwrap_or(0);
        let own = Format::of_size(drawn(self.width), drawn(self.height));
        let own = own.ok_or_else(|| PlacementError::Size(format!("{}x{}", self.width, self.height)))?;
        self.formats.retain(|f| *f != own);
        self.formats.sort_unstable();
        self.formats.dedup();
        self.site = self.site.trim().to_ascii_lowercase();
        if !self.site.is_empty() && !is_host(&self.site) {
            return Err(PlacementError::Site);
        }
        if !(0..=1_000_000).contains(&self.floor_minor) {
            return Err(PlacementError::Floor);
        }
        self.rules = self.rules.checked().map_err(|e| PlacementError::Rules(e.0, e.1))?;
        Ok(self)
    }
}

/// Makes a placement, or changes the one with this key.
pub async fn put(platform: &Platform, new: NewPlacement) -> Result<Placement, PlacementError> {
    let new = new.checked()?;
    let mut tx = platform.db.begin().await?;
    let row: Row = on!(&mut tx, |c| {
        sqlx::query_as(PUT)
            .bind(&new.key)
            .bind(&new.name)
            .bind(new.width)
            .bind(new.height)
            .bind(Json(&new.formats))
            .bind(&new.site)
            .bind(new.floor_minor)
            .bind(Json(&new.rules))
            .bind(new.exchange)
            .bind(new.paused)
            .bind(platform.now())
            .fetch_one(&mut *c)
            .await
    })?;
    tx.commit().await?;
    Ok(row.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let ok = || NewPlacement { key: "home-top".into(), name: "Home".into(), width: 300, height: 250, ..NewPlacement::default() };
        let put = NewPlacement {
            formats: vec![Format::HalfPage, Format::MediumRectangle, Format::HalfPage],
            site: " Shop.Example.com ".into(),
            ..ok()
        };
        let put = put.checked().expect("fine");
        assert_eq!((put.formats, put.site.as_str()), (vec![Format::HalfPage], "shop.example.com"));
        assert!(NewPlacement { site: "127.0.0.1:8080".into(), ..ok() }.checked().is_ok());
        for (bad, field) in [
            (NewPlacement { key: "Home".into(), ..ok() }, "key"),
            (NewPlacement { name: " ".into(), ..ok() }, "name"),
            (NewPlacement { width: 301, ..ok() }, "width"),
            (NewPlacement { site: "https://x/".into(), ..ok() }, "site"),
            (NewPlacement { floor_minor: -1, ..ok() }, "floor_minor"),
            (NewPlacement { rules: Targeting { countries: vec!["Deutschland".into()], ..Targeting::default() }, ..ok() }, "countries"),
        ] {
            assert_eq!(bad.checked().expect_err("refused").field(), field);
        }
    }
}
