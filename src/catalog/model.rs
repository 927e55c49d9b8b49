//! What a product is, which values it may hold, and what follows from them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::asset::PictureError;
use crate::platform::clock::Timestamp;
use crate::platform::http::ApiError;
use crate::platform::ids::ProductId;
use crate::platform::money::Money;

pub const MAX_SKU: usize = 100;
pub const MAX_TITLE: usize = 500;
pub const MAX_DESCRIPTION: usize = 20_000;
pub const MAX_CATEGORY: usize = 500;
pub const MAX_URL: usize = 2_000;
pub const MAX_ATTRIBUTES: usize = 32 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// `index` counts from 0 within the batch; `field` is the name as in the HTTP interface.
    #[error("product {index} (“{sku}”), {field}: {why}")]
    Invalid { index: usize, sku: String, field: &'static str, why: String },
    #[error("{0} products in one batch; at most {1} are taken")]
    TooMany(usize, usize),
    #[error(transparent)]
    Picture(#[from] PictureError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<CatalogError> for ApiError {
    fn from(e: CatalogError) -> Self {
        match e {
            CatalogError::Invalid { index, field, .. } => ApiError::invalid(format!("products[{index}].{field}"), e.to_string()),
            CatalogError::TooMany(..) => ApiError::invalid("products", e.to_string()),
            CatalogError::Picture(e) => ApiError::invalid("picture", e.to_string()),
            CatalogError::Database(e) => e.into(),
        }
    }
}

/// A product of the catalogue.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Product {
    #[schema(value_type = String, example = "prd_42")]
    pub id: ProductId,
    pub sku: String,
    pub title: String,
    /// Plain text.
    pub description: String,
    pub brand: Option<String>,
    /// From broad to narrow, joined by `" > "`; empty where there is none.
    pub category_path: String,
    #[schema(value_type = Object, example = json!({"minor": 1250, "currency": "GBP"}))]
    pub price: Money,
    /// Below `price`, in the same currency.
    #[schema(value_type = Option<Object>)]
    pub sale_price: Option<Money>,
    /// Pieces in stock; absent where the shop does not count.
    pub stock: Option<i64>,
    pub available: bool,
    pub url: Option<String>,
    pub image_url: Option<String>,
    /// The picture in our own keeping: `/assets/{image_hash}`.
    pub image_hash: Option<String>,
    #[schema(value_type = Object)]
    pub attributes: Map<String, Value>,
    /// SHA-256 (hex) over the texts: equal means that nothing needs to be embedded or written anew.
    pub content_hash: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// Since when the product is no longer offered to anybody.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub retired_at: Option<Timestamp>,
}

impl Product {
    /// What a buyer pays today.
    pub fn price_now(&self) -> Money {
        self.sale_price.unwrap_or(self.price)
    }
    /// Whether it may be shown to anybody: not retired, available, in stock (or not counted), and it costs something.
    pub fn sellable(&self) -> bool {
        self.retired_at.is_none() && self.available && self.stock.is_none_or(|n| n > 0) && self.price_now().minor > 0
    }
    /// `A`, `A > B`, `A > B > C`.
    pub fn categories(&self) -> Vec<&str> {
        ancestors(&self.category_path)
    }
}

/// A product on its way in. Everything that is not given is emptied by an upsert, except `image_hash` (see there).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProduct {
    pub sku: String,
    pub title: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub brand: Option<String>,
    #[serde(default)]
    pub category_path: String,
    #[schema(value_type = Object, example = json!({"minor": 1250, "currency": "GBP"}))]
    pub price: Money,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub sale_price: Option<Money>,
    #[serde(default)]
    pub stock: Option<i64>,
    #[serde(default = "yes")]
    pub available: bool,
    #[serde(default)]
    pub url: Option<String>,
    #[serde(default)]
    pub image_url: Option<String>,
    /// Absent keeps the stored picture for as long as `image_url` stays the same.
    #[serde(default)]
    pub image_hash: Option<String>,
    #[serde(default)]
    #[schema(value_type = Object)]
    pub attributes: Map<String, Value>,
}

fn yes() -> bool {
    true
}

impl NewProduct {
    /// An available product with nothing but a name and a price.
    pub fn new(sku: impl Into<String>, title: impl Into<String>, price: Money) -> Self {
        Self {
            sku: sku.into(),
            title: title.into(),
            description: String::new(),
            brand: None,
            category_path: String::new(),
            price,
            sale_price: None,
            stock: None,
            available: true,
            url: None,
            image_url: None,
            image_hash: None,
            attributes: Map::new(),
        }
    }

    /// Trims and tidies the texts and says which field breaks which rule.
    pub fn checked(mut self) -> Result<Self, (&'static str, String)> {
        self.sku = line(&self.sku);
        self.title = line(&self.title);
        self.description = paragraph(&self.description);
        self.category_path = normal_category_path(&self.category_path);
        for text in [&mut self.brand, &mut self.url, &mut self.image_url, &mut self.image_hash] {
            *text = text.as_deref().map(line).filter(|t| !t.is_empty());
        }
        length("sku", &self.sku, 1, MAX_SKU)?;
        length("title", &self.title, 1, MAX_TITLE)?;
        length("description", &self.description, 0, MAX_DESCRIPTION)?;
        length("category_path", &self.category_path, 0, MAX_CATEGORY)?;
        length("brand", self.brand.as_deref().unwrap_or(""), 0, 200)?;
        web_address("url", self.url.as_deref())?;
        web_address("image_url", self.image_url.as_deref())?;
        if self.image_hash.as_deref().is_some_and(|h| !is_asset_hash(h)) {
            return Err(("image_hash", "it is 64 lower-case hexadecimal digits".into()));
        }
        if self.price.minor < 0 {
            return Err(("price", "it must not be negative".into()));
        }
        if let Some(sale) = self.sale_price {
            if sale.currency != self.price.currency {
                return Err(("sale_price", format!("it is in {}, the price in {}", sale.currency, self.price.currency)));
            }
            if sale.minor < 0 || sale.minor >= self.price.minor {
                return Err(("sale_price", "it must be below the price and not negative".into()));
            }
        }
        if self.stock.is_some_and(|n| !(0..=1_000_000_000).contains(&n)) {
            return Err(("stock", "it must be between 0 and 1,000,000,000".into()));
        }
        without_nul(&mut self.attributes);
        if serde_json::to_string(&self.attributes).map_or(usize::MAX, |t| t.len()) > MAX_ATTRIBUTES {
            return Err(("attributes", format!("they hold more than {MAX_ATTRIBUTES} bytes")));
        }
        Ok(self)
    }

    pub(super) fn words(&self) -> std::collections::BTreeSet<String> {
        super::words::of_product(&self.sku, &self.title, &self.description, self.brand.as_deref(), &self.category_path)
    }
    pub fn content_hash(&self) -> String {
        content_hash(&self.title, &self.description, self.brand.as_deref(), &self.category_path)
    }
}

/// SHA-256 (hex) over the texts of a product, each with its length before it.
pub fn content_hash(title: &str, description: &str, brand: Option<&str>, category_path: &str) -> String {
    let mut hash = Sha256::new();
    for text in [title, description, brand.unwrap_or(""), category_path] {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hex::encode(hash.finalize())
}

/// `"A > B > C"` → `["A", "A > B", "A > B > C"]`.
pub fn ancestors(category_path: &str) -> Vec<&str> {
    if category_path.is_empty() {
        return Vec::new();
    }
    category_path.match_indices(" > ").map(|(at, _)| &category_path[..at]).chain(std::iter::once(category_path)).collect()
}

/// `" A>B >  C "` → `"A > B > C"`.
pub fn normal_category_path(path: &str) -> String {
    path.split('>').map(line).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" > ")
}

pub(super) fn is_asset_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// One line: control characters and runs of white space become one space.
fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Several lines: control characters other than line breaks vanish.
fn paragraph(text: &str) -> String {
    text.replace("\r\n", "\n").chars().filter(|c| *c == '\n' || *c == '\t' || !c.is_control()).collect::<String>().trim().to_owned()
}

fn length(field: &'static str, text: &str, least: usize, most: usize) -> Result<(), (&'static str, String)> {
    let n = text.chars().count();
    if n < least {
        return Err((field, "it is empty".into()));
    }
    if n > most {
        return Err((field, format!("it has {n} characters; at most {most} are taken")));
    }
    Ok(())
}

/// Only http and https: a product's link ends up in pages and mails.
fn web_address(field: &'static str, text: Option<&str>) -> Result<(), (&'static str, String)> {
    let Some(text) = text else { return Ok(()) };
    length(field, text, 1, MAX_URL)?;
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(()),
        _ => Err((field, "it is not an http or https address".into())),
    }
}

/// NUL cannot be stored in Postgres, neither in text nor in JSON.
fn without_nul(map: &mut Map<String, Value>) {
    fn clean(value: &mut Value) {
        match value {
            Value::String(s) if s.contains('\0') => *s = s.replace('\0', ""),
            Value::Array(items) => items.iter_mut().for_each(clean),
            Value::Object(inner) => without_nul(inner),
            _ => {}
        }
    }
    if map.keys().any(|k| k.contains('\0')) {
        *map = std::mem::take(map).into_iter().map(|(k, v)| (k.replace('\0', ""), v)).collect();
    }
    map.values_mut().for_each(clean);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::money::Currency;

    fn mug() -> NewProduct {
        NewProduct::new(" MUG-1 ", "A\u{0} mug\n of  tin", Money::new(1250, Currency::GBP))
    }

    #[test]
    fn texts_are_tidied() {
        let p = NewProduct { category_path: "Home>  Kitchen >Mugs>".into(), description: "a\r\nb\u{0}c ".into(), ..mug() };
        let p = p.checked().expect("fine");
        assert_eq!((p.sku.as_str(), p.title.as_str()), ("MUG-1", "A mug of tin"));
        assert_eq!((p.description.as_str(), p.category_path.as_str()), ("a\nbc", "Home > Kitchen > Mugs"));
        assert_eq!(ancestors(&p.category_path), ["Home", "Home > Kitchen", "Home > Kitchen > Mugs"]);
        assert!(ancestors("").is_empty());
    }

    #[test]
    fn rules_name_the_field() {
        let field = |p: NewProduct| p.checked().expect_err("refused").0;
        assert_eq!(field(NewProduct { sku: " ".into(), ..mug() }), "sku");
        assert_eq!(field(NewProduct { title: "x".repeat(501), ..mug() }), "title");
        assert_eq!(field(NewProduct { url: Some("javascript:alert(1)".into()), ..mug() }), "url");
        assert_eq!(field(NewProduct { image_url: Some("file:///etc/passwd".into()), ..mug() }), "image_url");
        assert_eq!(field(NewProduct { sale_price: Some(Money::new(1250, Currency::GBP)), ..mug() }), "sale_price");
        assert_eq!(field(NewProduct { sale_price: Some(Money::new(1, Currency::EUR)), ..mug() }), "sale_price");
        assert_eq!(field(NewProduct { price: Money::new(-1, Currency::GBP), ..mug() }), "price");
        assert_eq!(field(NewProduct { stock: Some(-1), ..mug() }), "stock");
        let mut fat = mug();
        fat.attributes.insert("x".into(), Value::String("y".repeat(MAX_ATTRIBUTES)));
        assert_eq!(field(fat), "attributes");
    }

    #[test]
    fn the_hash_follows_the_texts_alone() {
        let a = mug().content_hash();
        assert_eq!(a, NewProduct { price: Money::new(1, Currency::GBP), stock: Some(3), ..mug() }.content_hash());
        assert_ne!(a, NewProduct { brand: Some("Tin & Co".into()), ..mug() }.content_hash());
        // A boundary that moves between two fields is a change.
        assert_ne!(content_hash("ab", "c", None, ""), content_hash("a", "bc", None, ""));
    }

    #[test]
    fn nul_is_gone_from_nested_attributes() {
        let mut p = mug();
        p.attributes = serde_json::from_str(r#"{"a\u0000": ["x\u0000", {"b": "\u0000"}]}"#).expect("json");
        let text = serde_json::to_string(&p.checked().expect("fine").attributes).expect("json");
        assert_eq!(text, r#"{"a":["x",{"b":""}]}"#);
    }
}
