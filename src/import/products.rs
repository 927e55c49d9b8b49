//! Products: tables and XML feeds, row by row into the catalogue.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::clean::{self, html_to_text};
use super::mapping::{Mapping, Preset};
use super::report::{Code, Format, Refusals, Report};
use super::source::{Next, Record};
use super::{ImportError, Kind, Options, Source, feed};
use crate::catalog::{self, NewProduct};
use crate::platform::{Currency, Platform};

const BATCH: usize = 500;

/// Where a feed in XML holds each field.
const FEED_NAMES: &[(&str, &[&str])] = &[
    ("sku", &["id"]),
    ("title", &["title"]),
    ("description", &["description", "summary", "content"]),
    ("url", &["link"]),
    ("image_url", &["image_link"]),
    ("availability", &["availability"]),
    ("price", &["price"]),
    ("sale_price", &["sale_price"]),
    ("brand", &["brand"]),
    ("category_path", &["product_type", "google_product_category"]),
    ("stock", &["quantity"]),
];

type Refusal = (Code, Option<String>);

/// Reads rows into products, remembering what later rows of the same product leave out.
struct Rows {
    preset: Preset,
    currency: Currency,
    /// Shopify: what the first row of a handle said.
    parents: HashMap<String, NewProduct>,
    seen: HashSet<String>,
    refusals: Refusals,
    batch: Vec<(u64, NewProduct)>,
}

pub(super) async fn import(platform: &Platform, source: &Source, options: &Options) -> Result<(Report, Refusals), ImportError> {
    let mut report = Report::new("products", source);
    report.dry_run = options.dry_run;
    for what in ["products added", "products changed"] {
        report.wrote(what, 0);
    }
    let mut rows = Rows {
        preset: Preset::Google,
        currency: options.currency,
        parents: HashMap::new(),
        seen: HashSet::new(),
        refusals: Refusals::default(),
        batch: Vec::new(),
    };
    if feed::is_xml(source)? {
        if !matches!(options.preset, None | Some(Preset::Google)) {
            return Err(ImportError::Option("an XML feed is read with the preset google".into()));
        }
        from_feed(platform, source, &mut rows, &mut report).await?;
    } else {
        from_table(platform, source, options, &mut rows, &mut report).await?;
    }
    rows.write(platform, &mut report).await?;
    report.unchanged = report.written.values().all(|n| *n == 0);
    Ok((report, rows.refusals))
}

async fn from_table(
    platform: &Platform,
    source: &Source,
    options: &Options,
    rows: &mut Rows,
    report: &mut Report,
) -> Result<(), ImportError> {
    let mut table = source.rows()?;
    let mapping = Mapping::resolve(Kind::Products, &table.header, options.preset, &options.map)?;
    rows.preset = mapping.preset;
    report.preset = mapping.preset.name();
    report.mapping = mapping.shown(&table.header);
    let named: Vec<(usize, String)> = table.header.iter().cloned().enumerate().collect();
    let option_columns: Vec<usize> =
        named.iter().filter(|(_, n)| n.starts_with("Option") && n.ends_with("Value")).map(|(at, _)| *at).collect();
    let mut record = Record::default();
    loop {
        match table.next(&mut record) {
            Next::End => break,
            Next::Torn(why) => {
                report.torn = Some(why);
                break;
            }
            Next::Broken(why) => {
                report.rows += 1;
                rows.refusals.explain(record.line, Code::BrokenRow, why);
            }
            Next::Record => {
                report.rows += 1;
                if record.len() < mapping.width || record.cells().skip(mapping.width).any(|c| !c.trim().is_empty()) {
                    rows.refusals.explain(record.line, Code::WrongColumns, format!("{} instead of {}", record.len(), mapping.width));
                } else if record.has_nul() {
                    rows.refusals.add(record.line, Code::Nul);
                } else {
                    let variant: Vec<&str> = option_columns.iter().map(|c| record.get(*c).trim()).collect();
                    let extra = if mapping.preset == Preset::Generic { extras(&record, &named, &mapping) } else { Map::new() };
                    let cell = |field: &str| mapping.column(field).map_or("", |c| record.get(c).trim());
                    rows.take(record.line, cell, &variant, extra, report);
                }
                if rows.batch.len() >= BATCH {
                    rows.write(platform, report).await?;
                }
            }
        }
    }
    report.note("lines were read as Windows-1252", table.windows_1252);
    Ok(())
}

/// Columns without a field of their own become attributes.
fn extras(record: &Record, named: &[(usize, String)], mapping: &Mapping) -> Map<String, Value> {
    named
        .iter()
        .filter(|(at, name)| !name.is_empty() && !mapping.uses(*at))
        .filter_map(|(at, name)| {
            let text = record.get(*at).trim();
            (!text.is_empty() && text.len() <= 2_000).then(|| (name.chars().take(60).collect(), clean::attribute(text)))
        })
        .take(50)
        .collect()
}

async fn from_feed(platform: &Platform, source: &Source, rows: &mut Rows, report: &mut Report) -> Result<(), ImportError> {
    report.preset = Preset::Google.name();
    report.format = Format::Xml;
    report.mapping = FEED_NAMES.iter().map(|(field, names)| format!("{field}={}", names.join("|"))).collect();
    let (items_in, mut items) = tokio::sync::mpsc::channel::<feed::Item>(64);
    let source = source.clone();
    let reading = tokio::task::spawn_blocking(move || {
        feed::each_item(&source, |item| items_in.blocking_send(item.clone()).map_err(|_| ImportError::Internal("the import ended".into())))
    });
    while let Some(item) = items.recv().await {
        report.rows += 1;
        let cell = |field: &str| FEED_NAMES.iter().find(|(name, _)| *name == field).map_or("", |(_, names)| item.get(names));
        rows.take(item.line, cell, &[], Map::new(), report);
        if rows.batch.len() >= BATCH {
            rows.write(platform, report).await?;
        }
    }
    report.torn = reading.await.map_err(|e| ImportError::Internal(format!("reading the feed: {e}")))??;
    Ok(())
}

impl Rows {
    fn take<'a>(&mut self, line: u64, cell: impl Fn(&str) -> &'a str, variant: &[&str], extra: Map<String, Value>, report: &mut Report) {
        match self.product(cell, variant, extra, report) {
            Ok(None) => report.passed_over += 1,
            Ok(Some(product)) => {
                if self.seen.insert(product.sku.clone()) {
                    report.accepted += 1;
                    self.batch.push((line, product));
                } else {
                    self.refusals.explain(line, Code::Duplicate, format!("the code {}", clean::shortened(&product.sku)));
                }
            }
            Err((code, Some(detail))) => self.refusals.explain(line, code, detail),
            Err((code, None)) => self.refusals.add(line, code),
        }
    }

    fn product<'a>(
        &mut self,
        cell: impl Fn(&str) -> &'a str,
        variant: &[&str],
        extra: Map<String, Value>,
        report: &mut Report,
    ) -> Result<Option<NewProduct>, Refusal> {
        let handle = cell("handle");
        if self.preset == Preset::Shopify && cell("price").is_empty() && cell("sku").is_empty() {
            return Ok(None);
        }
        let parent = self.parents.get(handle).filter(|_| !handle.is_empty() && cell("title").is_empty()).cloned();
        let currency = match cell("currency") {
            "" => self.currency,
            text => text.parse().map_err(|_| (Code::BadCurrency, Some(clean::shortened(text))))?,
        };
        let money = |text: &str| clean::price(text, currency).map_err(|why| (Code::BadPrice, Some(why)));
        let mut price = money(cell("price"))?;
        let mut sale_price = match cell("sale_price") {
            "" => None,
            text => Some(money(text)?),
        };
        if let text @ ("0" | "0.00" | "") = cell("compare_at") {
            let _ = text;
        } else {
            let regular = money(cell("compare_at"))?;
            if regular.minor > price.minor {
                sale_price = Some(price);
                price = regular;
            }
        }
        if sale_price.is_some_and(|s| s.minor >= price.minor || s.currency != price.currency) {
            report.note("sale prices left out because they are not below the price", 1);
            sale_price = None;
        }
        let sku = self.sku(cell("sku"), handle, variant);
        let mut product = NewProduct { sale_price, ..NewProduct::new(sku, html_to_text(cell("title")), price) };
        product.description = html_to_text(cell("description"));
        product.brand = Some(html_to_text(cell("brand"))).filter(|b| !b.is_empty());
        product.category_path = html_to_text(cell("category_path"));
        product.attributes = extra;
        product.url = Some(cell("url").to_owned()).filter(|u| !u.is_empty());
        product.image_url = Some(cell("image_url").to_owned()).filter(|u| !u.is_empty());
        product.stock = match cell("stock") {
            "" => None,
            text => Some(clean::whole_number(text).ok_or_else(|| (Code::BadQuantity, Some(clean::shortened(text))))?.max(0)),
        };
        product.available = self.available(cell("availability"), cell("status"), report);
        if self.preset == Preset::Shopify {
            product = self.variant(product, parent, handle, variant);
        }
        product.checked().map(Some).map_err(|(field, why)| (Code::BadValue, Some(format!("{field}: {why}"))))
    }

    fn sku(&self, sku: &str, handle: &str, variant: &[&str]) -> String {
        // Shopify marks codes with an apostrophe, so that spreadsheets keep their zeros.
        let sku = if self.preset == Preset::Shopify { sku.trim_start_matches('\'') } else { sku };
        if !sku.is_empty() || self.preset != Preset::Shopify {
            return sku.to_owned();
        }
        let options = variant.iter().filter(|v| !v.is_empty() && **v != "Default Title").map(|v| format!("-{}", v.to_lowercase()));
        std::iter::once(handle.to_owned()).chain(options).collect()
    }

    /// Fills what the row leaves to the first one of its handle, and tells variants apart by their options.
    fn variant(&mut self, mut product: NewProduct, parent: Option<NewProduct>, handle: &str, variant: &[&str]) -> NewProduct {
        if let Some(parent) = parent {
            product.title = parent.title;
            product.description = parent.description;
            product.brand = parent.brand;
            product.category_path = parent.category_path;
            product.image_url = product.image_url.or(parent.image_url);
            product.available = parent.available;
        } else if !handle.is_empty() {
            self.parents.insert(handle.to_owned(), product.clone());
        }
        let options: Vec<&str> = variant.iter().copied().filter(|v| !v.is_empty() && *v != "Default Title").collect();
        if !options.is_empty() {
            product.title = format!("{} – {}", product.title, options.join(" / "));
        }
        if !handle.is_empty() {
            product.attributes.insert("handle".into(), Value::String(handle.to_owned()));
        }
        product
    }

    fn available(&self, availability: &str, status: &str, report: &mut Report) -> bool {
        if self.preset == Preset::Shopify {
            return matches!(status.to_ascii_lowercase().as_str(), "" | "active");
        }
        let word: String = availability.rsplit('/').next().unwrap_or_default().chars().filter(char::is_ascii_alphanumeric).collect();
        match word.to_ascii_lowercase().as_str() {
            "" | "instock" | "preorder" | "backorder" | "limitedavailability" | "yes" | "true" | "1" | "available" => true,
            "outofstock" | "soldout" | "discontinued" | "no" | "false" | "0" | "unavailable" => false,
            _ => {
                report.note("availability not understood: taken as not available", 1);
                false
            }
        }
    }

    async fn write(&mut self, platform: &Platform, report: &mut Report) -> Result<(), ImportError> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() || report.dry_run {
            return Ok(());
        }
        let products: Vec<NewProduct> = batch.into_iter().map(|(_, p)| p).collect();
        let mut tx = platform.db.begin().await?;
        let done = catalog::bulk_upsert(&mut tx, &products, platform.now()).await?;
        tx.commit().await?;
        report.wrote("products added", done.inserted as u64);
        report.wrote("products changed", done.updated as u64);
        report.note("products that were there as they are", done.unchanged as u64);
        Ok(())
    }
}
