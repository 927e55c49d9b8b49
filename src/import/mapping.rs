//! Which column is which field: presets for well-known exports, `field=Column` by hand, and a helpful word where neither fits.

use std::str::FromStr;

use serde::Serialize;

use super::error::Misfit;
use super::{ImportError, Kind};
use crate::fault;
use crate::platform::Fault;

/// A well-known file layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    Generic,
    Shopify,
    OnlineRetail,
    Mailchimp,
    Klaviyo,
    Google,
}

impl Preset {
    pub fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::Shopify => "shopify",
            Self::OnlineRetail => "online_retail",
            Self::Mailchimp => "mailchimp",
            Self::Klaviyo => "klaviyo",
            Self::Google => "google",
        }
    }
}

impl FromStr for Preset {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Generic, Self::Shopify, Self::OnlineRetail, Self::Mailchimp, Self::Klaviyo, Self::Google];
        all.into_iter()
            .find(|p| p.name() == text)
            .ok_or_else(|| format!("“{text}” is no preset: use generic, shopify, online_retail, mailchimp, klaviyo or google"))
    }
}

/// A field that an importer understands, and the column names under which the generic preset finds it.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub required: bool,
    pub also: &'static [&'static str],
}

/// A preset for one kind of file: which column holds which field, and which columns give the layout away.
#[derive(Debug)]
pub struct Layout {
    pub preset: Preset,
    pub signature: &'static [&'static str],
    /// Field and the column names it may have, best first.
    pub columns: &'static [(&'static str, &'static [&'static str])],
}

macro_rules! fields {
    ($($name:literal $required:literal [$($also:literal),*]),* $(,)?) => {
        &[$(Field { name: $name, required: $required, also: &[$($also),*] }),*]
    };
}

const ORDER_FIELDS: &[Field] = fields![
    "order" true ["order_id", "order number", "order ref", "invoice", "invoice number", "invoiceno"],
    "sku" true ["product", "product id", "item", "stockcode", "article"],
    "title" false ["product name", "product title", "item name", "name", "description"],
    "quantity" true ["qty", "pieces", "units"],
    "unit_price" true ["price", "item price", "unit price"],
    "date" true ["created at", "order date", "placed at", "time", "timestamp", "invoice date"],
    "person" false ["customer", "customer id", "user id", "person id", "external id"],
    "email" false ["e-mail", "email address", "customer email"],
    "country" false ["country code", "shipping country", "billing country"],
    "currency" false ["currency code"],
    "cancelled_at" false ["canceled at", "cancellation date"],
    "refunded" false ["refunded amount", "refund"],
    "discount" false ["order discount", "discount amount"],
    "line_discount" false ["item discount"],
];

const PEOPLE_FIELDS: &[Field] = fields![
    "external_id" false ["id", "person", "person id", "customer", "customer id", "user id"],
    "email" false ["e-mail", "email address", "mail"],
    "first_name" false ["firstname", "given name", "forename"],
    "last_name" false ["lastname", "surname", "family name"],
    "phone" false ["phone number", "telephone", "mobile"],
    "locale" false ["language", "lang"],
    "time_zone" false ["timezone", "tz"],
    "country" false ["country code", "cc"],
    "city" false ["town"],
    "consent" false ["email consent", "email marketing consent", "subscribed", "opt in", "status"],
    "consent_at" false ["consent timestamp", "consent date", "opt in time", "subscribed at"],
    "unsubscribed_at" false ["unsub time", "unsubscribe time", "unsubscribed"],
    "ads_consent" false [],
    "suppressed" false ["suppression", "suppressions"],
    "first_seen_at" false ["created at", "created", "profile created on", "signed up at"],
    "tags" false [],
];

const PRODUCT_FIELDS: &[Field] = fields![
    "sku" true ["id", "product id", "item", "code"],
    "title" true ["name", "product name"],
    "description" false ["body", "text"],
    "brand" false ["vendor", "manufacturer"],
    "category_path" false ["category", "product type", "product_type", "google_product_category"],
    "price" true ["unit price", "regular price"],
    "sale_price" false ["special price", "discounted price"],
    "compare_at" false ["compare at price", "compare-at price"],
    "stock" false ["quantity", "inventory", "inventory quantity"],
    "availability" false ["available", "in stock"],
    "url" false ["link", "product url"],
    "image_url" false ["image", "image link", "picture"],
    "currency" false ["currency code"],
    "handle" false [],
    "status" false [],
];

const ORDER_LAYOUTS: &[Layout] = &[
    Layout {
        preset: Preset::OnlineRetail,
        signature: &["InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"],
        columns: &[
            ("order", &["InvoiceNo"]),
            ("sku", &["StockCode"]),
            ("title", &["Description"]),
            ("quantity", &["Quantity"]),
            ("date", &["InvoiceDate"]),
            ("unit_price", &["UnitPrice"]),
            ("person", &["CustomerID"]),
            ("country", &["Country"]),
        ],
    },
    Layout {
        preset: Preset::Shopify,
        signature: &["Name", "Lineitem quantity", "Lineitem price"],
        columns: &[
            ("order", &["Name"]),
            ("sku", &["Lineitem sku"]),
            ("title", &["Lineitem name"]),
            ("quantity", &["Lineitem quantity"]),
            ("unit_price", &["Lineitem price"]),
            ("date", &["Created at", "Paid at"]),
            ("email", &["Email"]),
            ("country", &["Shipping Country", "Billing Country"]),
            ("currency", &["Currency"]),
            ("cancelled_at", &["Cancelled at"]),
            ("refunded", &["Refunded Amount"]),
            ("discount", &["Discount Amount"]),
            ("line_discount", &["Lineitem discount"]),
        ],
    },
];

const PEOPLE_LAYOUTS: &[Layout] = &[
    Layout {
        preset: Preset::Mailchimp,
        signature: &["Email Address", "LEID", "EUID"],
        columns: &[
            ("email", &["Email Address"]),
            ("first_name", &["First Name"]),
            ("last_name", &["Last Name"]),
            ("phone", &["Phone Number", "Phone"]),
            ("time_zone", &["TIMEZONE"]),
            ("country", &["CC"]),
            ("consent_at", &["CONFIRM_TIME", "OPTIN_TIME"]),
            ("unsubscribed_at", &["UNSUB_TIME"]),
            ("first_seen_at", &["OPTIN_TIME"]),
            ("tags", &["TAGS"]),
        ],
    },
    Layout {
        preset: Preset::Klaviyo,
        signature: &["Email", "Email Marketing Consent"],
        columns: &[
            ("email", &["Email"]),
            ("first_name", &["First Name"]),
            ("last_name", &["Last Name"]),
            ("phone", &["Phone Number"]),
            ("city", &["City"]),
            ("country", &["Country"]),
            ("consent", &["Email Marketing Consent"]),
            ("consent_at", &["Email Marketing Consent Timestamp"]),
            ("first_seen_at", &["Profile Created On"]),
            ("suppressed", &["Email Suppressions"]),
            ("tags", &["Tags"]),
        ],
    },
];

const PRODUCT_LAYOUTS: &[Layout] = &[
    Layout {
        preset: Preset::Google,
        signature: &["id", "title", "link", "price", "availability"],
        columns: &[
            ("sku", &["id"]),
            ("title", &["title"]),
            ("description", &["description"]),
            ("url", &["link"]),
            ("image_url", &["image_link", "image link"]),
            ("availability", &["availability"]),
            ("price", &["price"]),
            ("sale_price", &["sale_price", "sale price"]),
            ("brand", &["brand"]),
            ("category_path", &["product_type", "product type", "google_product_category", "google product category"]),
            ("stock", &["quantity"]),
        ],
    },
    Layout {
        preset: Preset::Shopify,
        signature: &["Title", "Vendor"],
        columns: &[
            ("handle", &["Handle", "URL handle"]),
            ("sku", &["Variant SKU", "SKU"]),
            ("title", &["Title"]),
            ("description", &["Body (HTML)", "Description"]),
            ("brand", &["Vendor"]),
            ("category_path", &["Product Category", "Product category", "Type"]),
            ("price", &["Variant Price", "Price"]),
            ("compare_at", &["Variant Compare At Price", "Compare-at price"]),
            ("stock", &["Variant Inventory Qty", "Inventory quantity"]),
            ("image_url", &["Image Src", "Product image URL"]),
            ("status", &["Status"]),
        ],
    },
];

fn fields_of(kind: Kind) -> &'static [Field] {
    match kind {
        Kind::Orders => ORDER_FIELDS,
        Kind::People => PEOPLE_FIELDS,
        Kind::Products => PRODUCT_FIELDS,
    }
}

fn layouts_of(kind: Kind) -> &'static [Layout] {
    match kind {
        Kind::Orders => ORDER_LAYOUTS,
        Kind::People => PEOPLE_LAYOUTS,
        Kind::Products => PRODUCT_LAYOUTS,
    }
}

/// Field names to columns of one file.
#[derive(Clone, Debug)]
pub struct Mapping {
    pub preset: Preset,
    columns: Vec<(&'static str, usize)>,
    pub width: usize,
}

impl Mapping {
    /// Decides the preset and finds the columns.
    ///
    /// # Errors
    /// [`ImportError::Mapping`] says all that is wrong at once: fields without a column, columns and fields that do not exist, and what the
    /// file has instead.
    pub fn resolve(kind: Kind, header: &[String], preset: Option<Preset>, map: &[(String, String)]) -> Result<Self, ImportError> {
        let layouts = layouts_of(kind);
        let fields = fields_of(kind);
        let find = |name: &str| header.iter().position(|h| plain(h) == plain(name));
        let preset = preset.unwrap_or_else(|| {
            layouts.iter().find(|l| l.signature.iter().all(|s| find(s).is_some())).map_or(Preset::Generic, |l| l.preset)
        });
        let layout = layouts.iter().find(|l| l.preset == preset);
        if layout.is_none() && preset != Preset::Generic {
            let wrong = vec![fault!("import.preset", "the preset {preset} is not one for this kind of file", preset = preset.name())];
            return Err(ImportError::Mapping(misfit(preset, wrong, fields, header)));
        }
        let mut wrong = Vec::new();
        let mut columns: Vec<(&'static str, usize)> = Vec::new();
        for field in fields {
            let given = map.iter().rev().find(|(name, _)| plain(name) == plain(field.name));
            if let Some((_, column)) = given {
                // An empty column: this file does not have the field, whatever the preset thinks.
                if column.is_empty() {
                    if field.required {
                        wrong.push(missing(field, layout, header));
                    }
                    continue;
                }
                match header.iter().position(|h| h == column).or_else(|| find(column)) {
                    Some(at) => columns.push((field.name, at)),
                    None => wrong.push(fault!(
                        "import.no_column",
                        "there is no column “{column}” (for {field}){hint}",
                        column,
                        field = field.name,
                        hint = did_you_mean(column, header)
                    )),
                }
                continue;
            }
            let found = match layout {
                Some(layout) => {
                    layout.columns.iter().filter(|(name, _)| *name == field.name).flat_map(|(_, names)| *names).find_map(|n| find(n))
                }
                None => find(field.name).or_else(|| field.also.iter().find_map(|n| find(n))),
            };
            match found {
                Some(at) => columns.push((field.name, at)),
                None if field.required => wrong.push(missing(field, layout, header)),
                None => {}
            }
        }
        for (name, _) in map {
            if !fields.iter().any(|f| plain(f.name) == plain(name)) {
                let names: Vec<String> = fields.iter().map(|f| f.name.to_owned()).collect();
                wrong.push(fault!(
                    "import.no_field",
                    "there is no field “{name}”{hint}; the fields are {names}",
                    name,
                    hint = did_you_mean(name, &names),
                    names = names.join(", ")
                ));
            }
        }
        if kind == Kind::People && wrong.is_empty() && !columns.iter().any(|(n, _)| *n == "email" || *n == "external_id") {
            wrong.push(fault!("import.nobody", "neither email nor external_id has a column: without one of them nobody is recognised"));
        }
        if !wrong.is_empty() {
            return Err(ImportError::Mapping(misfit(preset, wrong, fields, header)));
        }
        Ok(Self { preset, columns, width: header.len() })
    }

    pub fn column(&self, field: &str) -> Option<usize> {
        self.columns.iter().find(|(name, _)| *name == field).map(|(_, at)| *at)
    }

    /// Whether a column is used by some field.
    pub fn uses(&self, column: usize) -> bool {
        self.columns.iter().any(|(_, at)| *at == column)
    }

    /// As the user could write it: `order=InvoiceNo`, …
    pub fn shown(&self, header: &[String]) -> Vec<String> {
        self.columns.iter().map(|(field, at)| format!("{field}={}", header.get(*at).map_or("", String::as_str))).collect()
    }
}

/// Every field of a kind: its name, whether it is required, and the column that is (or would be) taken for it; empty where there is none.
/// Unlike [`Mapping::resolve`] it answers also where required columns are missing, for a form to be filled in.
pub fn guess(kind: Kind, header: &[String], preset: Option<Preset>, map: &[(String, String)]) -> Vec<(&'static str, bool, String)> {
    let find = |name: &str| header.iter().find(|h| plain(h) == plain(name)).cloned();
    let layouts = layouts_of(kind);
    let layout = match preset {
        Some(preset) => layouts.iter().find(|l| l.preset == preset),
        None => layouts.iter().find(|l| l.signature.iter().all(|s| find(s).is_some())),
    };
    let column = |field: &Field| {
        if let Some((_, column)) = map.iter().rev().find(|(name, _)| plain(name) == plain(field.name)) {
            return Some(column.clone());
        }
        match layout {
            Some(l) => l.columns.iter().filter(|(name, _)| *name == field.name).flat_map(|(_, names)| *names).find_map(|n| find(n)),
            None => find(field.name).or_else(|| field.also.iter().find_map(|n| find(n))),
        }
    };
    fields_of(kind).iter().map(|f| (f.name, f.required, column(f).unwrap_or_default())).collect()
}

/// The presets of a kind of file.
pub fn presets_of(kind: Kind) -> Vec<Preset> {
    layouts_of(kind).iter().map(|l| l.preset).chain([Preset::Generic]).collect()
}

fn misfit(preset: Preset, wrong: Vec<Fault>, fields: &[Field], header: &[String]) -> Misfit {
    let first = header.first().map_or("…", String::as_str);
    Misfit {
        preset: preset.name(),
        wrong,
        found: if header.is_empty() { "nothing".to_owned() } else { shown(header) },
        example: format!("{}=\"{first}\"", fields[0].name),
    }
}

fn missing(field: &Field, layout: Option<&Layout>, header: &[String]) -> Fault {
    let expected: Vec<&str> = match layout {
        Some(layout) => {
            layout.columns.iter().filter(|(name, _)| *name == field.name).flat_map(|(_, names)| names.iter().copied()).collect()
        }
        None => std::iter::once(field.name).chain(field.also.iter().copied()).collect(),
    };
    let nearest = expected.iter().find_map(|name| nearest(name, header));
    let hint = nearest.map_or_else(String::new, |column| format!("; is it “{column}”? (--map {}=\"{column}\")", field.name));
    fault!("import.missing", "{field} has no column (expected {expected}){hint}", field = field.name, expected = expected.join(", "), hint)
}

fn did_you_mean(name: &str, among: &[String]) -> String {
    nearest(name, among).map_or_else(String::new, |found| format!("; did you mean “{found}”?"))
}

fn shown(header: &[String]) -> String {
    let mut names: Vec<String> = header.iter().take(60).map(|h| h.chars().take(60).collect()).collect();
    if header.len() > 60 {
        names.push(format!("… and {} more", header.len() - 60));
    }
    names.join(", ")
}

/// Letters and digits, lower case: `Invoice No` = `invoice_no`.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The name that is nearest, if near enough: at most a third of its letters differ, or one contains the other.
fn nearest<'a>(name: &str, among: &'a [String]) -> Option<&'a str> {
    let wanted = plain(name);
    among
        .iter()
        .filter(|other| !other.is_empty() && other.len() <= 60)
        .map(|other| {
            let candidate = plain(other);
            let inside = wanted.len() >= 3 && candidate.len() >= 3 && (candidate.contains(&wanted) || wanted.contains(&candidate));
            (if inside { 1 } else { edits(&wanted, &candidate) }, other)
        })
        .filter(|(distance, _)| *distance * 3 <= wanted.chars().count().max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other.as_str())
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let next = (diagonal + usize::from(ca != *cb)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn layouts_are_recognised() {
        let retail = header(&["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]);
        let m = Mapping::resolve(Kind::Orders, &retail, None, &[]).expect("maps");
        assert_eq!((m.preset, m.column("person")), (Preset::OnlineRetail, Some(6)));
        let generic = header(&["Order ID", "SKU", "qty", "price", "order_date"]);
        let m = Mapping::resolve(Kind::Orders, &generic, None, &[]).expect("maps");
        assert_eq!((m.preset, m.column("order"), m.column("date"), m.column("email")), (Preset::Generic, Some(0), Some(4), None));
        let mailchimp = header(&["Email Address", "First Name", "LEID", "EUID", "TIMEZONE"]);
        assert_eq!(Mapping::resolve(Kind::People, &mailchimp, None, &[]).expect("maps").preset, Preset::Mailchimp);
    }

    #[test]
    fn a_wrong_mapping_says_everything_at_once() {
        let names = header(&["InvoiceNo", "StockCod", "Quantity", "When", "Price"]);
        let map = vec![("date".to_owned(), "Wen".to_owned()), ("custommer".to_owned(), "X".to_owned())];
        let text = Mapping::resolve(Kind::Orders, &names, None, &map).expect_err("wrong").to_string();
        assert!(text.contains("no column “Wen” (for date); did you mean “When”?"), "{text}");
        assert!(text.contains("sku has no column") && text.contains("--map sku=\"StockCod\""), "{text}");
        assert!(text.contains("no field “custommer”") && text.contains("found: InvoiceNo, StockCod, Quantity, When, Price"), "{text}");
        let text = Mapping::resolve(Kind::People, &header(&["First Name"]), None, &[]).expect_err("wrong").to_string();
        assert!(text.contains("neither email nor external_id"), "{text}");
        assert!(Mapping::resolve(Kind::Orders, &names, Some(Preset::Klaviyo), &[]).is_err());
    }

    #[test]
    fn distances() {
        assert_eq!((edits("kitten", "sitting"), edits("", "ab"), edits("a", "a")), (3, 2, 0));
    }
}
