//! First pass: every row becomes a compact line, or is refused with a code.
//!
//! Texts are kept once and lines refer to them by number, so that a file of half a million lines takes some forty megabytes.

use super::Rules;
use super::texts::{NONE, Texts};
use crate::catalog;
use crate::import::Options;
use crate::import::clean::{self, Dates};
use crate::import::mapping::Mapping;
use crate::import::report::{Code, Refusals};
use crate::import::source::{Next, Record, Rows};
use crate::people::email_key;
use crate::platform::clock::DAY_US;
use crate::platform::{Currency, Timestamp};

const MAX_REFERENCE: usize = 100;
/// Most pieces in one line.
const MAX_QUANTITY: i64 = 10_000_000;

/// A good row.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Where it stands in the file.
    pub number: u64,
    pub order: u32,
    pub sku: u32,
    pub title: u32,
    /// Above zero, also where the line cancels.
    pub quantity: i64,
    /// For one piece, in minor units.
    pub price: i64,
    pub at: Timestamp,
    pub cancels: bool,
}

/// What is known of an order as a whole.
#[derive(Clone, Debug)]
pub struct Head {
    pub at: Timestamp,
    pub currency: Currency,
    pub person: u32,
    pub cancelled_at: Option<Timestamp>,
    pub refunded: i64,
    pub discount: i64,
}

/// Somebody who ordered.
#[derive(Clone, Debug, Default)]
pub struct Buyer {
    pub external_id: Option<String>,
    pub email: Option<String>,
    pub country: Option<String>,
}

/// All good rows of a file.
#[derive(Debug, Default)]
pub struct Read {
    pub rows: u64,
    pub lines: Vec<Line>,
    pub references: Texts,
    /// By order number; `None` until a good row came.
    pub heads: Vec<Option<Head>>,
    pub incomplete: Vec<bool>,
    pub skus: Texts,
    pub titles: Texts,
    people: Texts,
    pub buyers: Vec<Buyer>,
    pub refusals: Refusals,
    pub torn: Option<String>,
    /// The order of the last row before the file tore.
    pub torn_order: Option<u32>,
    pub bad_addresses: u64,
}

struct Columns {
    order: usize,
    sku: usize,
    quantity: usize,
    price: usize,
    date: usize,
    title: Option<usize>,
    person: Option<usize>,
    email: Option<usize>,
    country: Option<usize>,
    currency: Option<usize>,
    cancelled_at: Option<usize>,
    refunded: Option<usize>,
    discount: Option<usize>,
    line_discount: Option<usize>,
}

struct Reader<'a> {
    columns: Columns,
    width: usize,
    delimiter: char,
    rules: &'a Rules,
    currency: Currency,
    dates: Dates,
    latest: Timestamp,
    out: Read,
    upper: String,
}

type Refusal = (Code, Option<String>);

pub fn read(rows: &mut Rows, mapping: &Mapping, rules: &Rules, options: &Options, now: Timestamp) -> Read {
    let column = |field| mapping.column(field);
    let columns = Columns {
        order: column("order").unwrap_or(0),
        sku: column("sku").unwrap_or(0),
        quantity: column("quantity").unwrap_or(0),
        price: column("unit_price").unwrap_or(0),
        date: column("date").unwrap_or(0),
        title: column("title"),
        person: column("person"),
        email: column("email"),
        country: column("country"),
        currency: column("currency"),
        cancelled_at: column("cancelled_at"),
        refunded: column("refunded"),
        discount: column("discount"),
        line_discount: column("line_discount"),
    };
    let mut reader = Reader {
        columns,
        width: mapping.width,
        delimiter: char::from(rows.delimiter),
        rules,
        currency: options.currency,
        dates: Dates::new(options.zone, options.date_format.clone()),
        latest: now.plus_us(DAY_US),
        out: Read::default(),
        upper: String::new(),
    };
    let mut record = Record::default();
    let mut last_order = None;
    loop {
        match rows.next(&mut record) {
            Next::Record => {
                reader.out.rows += 1;
                let before = reader.out.lines.len();
                if let Err((code, detail)) = reader.row(&record) {
                    reader.refuse(&record, code, detail);
                }
                if reader.out.lines.len() > before {
                    last_order = reader.out.lines.last().map(|l| l.order);
                }
            }
            Next::Broken(why) => {
                reader.out.rows += 1;
                reader.broken(&record, why);
            }
            Next::Torn(why) => {
                reader.out.torn = Some(why);
                reader.out.torn_order = last_order;
                return reader.out;
            }
            Next::End => return reader.out,
        }
    }
}

impl Reader<'_> {
    fn row(&mut self, record: &Record) -> Result<(), Refusal> {
        if record.len() != self.width && record.cells().skip(self.width).any(|c| !c.trim().is_empty()) || record.len() < self.width {
            return Err((Code::WrongColumns, Some(format!("{} instead of {}", record.len(), self.width))));
        }
        if record.has_nul() {
            return Err((Code::Nul, None));
        }
        let reference = record.get(self.columns.order).trim();
        if reference.is_empty() {
            return Err((Code::MissingValue, Some("order".into())));
        }
        if reference.len() > MAX_REFERENCE {
            return Err((Code::TooLong, Some("order".into())));
        }
        let title = self.columns.title.map_or("", |c| record.get(c).trim());
        if title.chars().count() > 500 {
            return Err((Code::TooLong, Some("title".into())));
        }
        let quantity_text = record.get(self.columns.quantity);
        let quantity = clean::whole_number(quantity_text).ok_or_else(|| (Code::BadQuantity, Some(clean::shortened(quantity_text))))?;
        let price = clean::price(record.get(self.columns.price), self.row_currency(record)?).map_err(|why| (Code::BadPrice, Some(why)))?;
        if prefixed(reference, self.rules.bad_debt_prefix.as_deref()) {
            return Err((Code::BadDebt, None));
        }
        let sku = self.sku(record, title)?;
        let at = self.date(record, reference)?;
        let cancels = prefixed(reference, self.rules.cancel_prefix.as_deref());
        let price_minor = price.minor - self.line_discount(record, quantity, price.currency)?;
        self.judge(&sku, title, quantity, price_minor, cancels)?;
        let order = self.out.references.number(reference);
        self.head(record, order, at, price.currency)?;
        let line = Line {
            number: record.line,
            order,
            sku: self.out.skus.number(&sku),
            title: if title.is_empty() { NONE } else { self.out.titles.number(title) },
            quantity: quantity.abs(),
            price: price_minor,
            at,
            cancels,
        };
        self.out.lines.push(line);
        Ok(())
    }

    /// Whether a well-formed row is a sale or a cancellation of one.
    fn judge(&self, sku: &str, title: &str, quantity: i64, price: i64, cancels: bool) -> Result<(), Refusal> {
        if (self.rules.codes_need_digit && !sku.bytes().any(|b| b.is_ascii_digit())) || clean::is_charge(title) {
            return Err((Code::NotAProduct, None));
        }
        if self.rules.stock_notes && clean::is_stock_note(title) {
            return Err((Code::StockNote, None));
        }
        if quantity == 0 {
            return Err((Code::ZeroQuantity, None));
        }
        if quantity < 0 && !cancels {
            return Err((Code::NegativeQuantity, None));
        }
        if quantity.abs() > MAX_QUANTITY || price.checked_mul(quantity).is_none_or(|a| a.abs() > 1_000_000_000_000) {
            return Err((Code::TooLarge, None));
        }
        match price {
            p if p < 0 => Err((Code::NegativePrice, None)),
            0 => Err((Code::ZeroPrice, None)),
            _ => Ok(()),
        }
    }

    fn sku(&mut self, record: &Record, title: &str) -> Result<String, Refusal> {
        let mut sku = record.get(self.columns.sku).trim();
        if sku.is_empty() && self.rules.title_for_sku {
            sku = title;
        }
        if sku.is_empty() {
            return Err((Code::MissingValue, Some("sku".into())));
        }
        if sku.chars().count() > 100 {
            return Err((Code::TooLong, Some("sku".into())));
        }
        self.upper.clear();
        self.upper.push_str(sku);
        if self.rules.fold_sku_case {
            self.upper.make_ascii_uppercase();
        }
        Ok(self.upper.clone())
    }

    /// The row's own date, or its order's where continuation rows leave it out.
    fn date(&mut self, record: &Record, reference: &str) -> Result<Timestamp, Refusal> {
        let text = record.get(self.columns.date);
        if text.trim().is_empty() {
            let order = self.out.references.number(reference) as usize;
            let known = self.out.heads.get(order).and_then(Option::as_ref).map(|h| h.at);
            return known.ok_or((Code::MissingValue, Some("date".into())));
        }
        let at = self.dates.read(text).ok_or_else(|| (Code::BadDate, Some(clean::shortened(text))))?;
        if at > self.latest { Err((Code::FutureDate, None)) } else { Ok(at) }
    }

    fn row_currency(&self, record: &Record) -> Result<Currency, Refusal> {
        match self.columns.currency.map(|c| record.get(c).trim()) {
            Some(text) if !text.is_empty() => text.parse().map_err(|_| (Code::BadCurrency, Some(clean::shortened(text)))),
            _ => {
                let reference = record.get(self.columns.order).trim();
                let head = self.out.references.find(reference).and_then(|n| self.out.heads.get(n as usize)).and_then(Option::as_ref);
                Ok(head.map_or(self.currency, |h| h.currency))
            }
        }
    }

    fn amount(&self, record: &Record, column: Option<usize>, currency: Currency) -> Result<i64, Refusal> {
        match column.map(|c| record.get(c).trim()) {
            Some(text) if !text.is_empty() => {
                clean::price(text, currency).map(|m| m.minor.max(0)).map_err(|why| (Code::BadPrice, Some(why)))
            }
            _ => Ok(0),
        }
    }

    /// A line's discount, per piece (rounded down: the rest stays with the shop's price).
    fn line_discount(&self, record: &Record, quantity: i64, currency: Currency) -> Result<i64, Refusal> {
        Ok(self.amount(record, self.columns.line_discount, currency)? / quantity.abs().max(1))
    }

    /// Opens the order, or checks that the row agrees with it.
    fn head(&mut self, record: &Record, order: u32, at: Timestamp, currency: Currency) -> Result<(), Refusal> {
        let at_index = order as usize;
        if self.out.heads.len() <= at_index {
            self.out.heads.resize(at_index + 1, None);
        }
        let person = self.buyer(record);
        if let Some(head) = &mut self.out.heads[at_index] {
            if head.currency != currency {
                return Err((Code::OrderConflict, Some(format!("{currency} after {}", head.currency))));
            }
            if person != NONE && head.person != NONE && person != head.person {
                return Err((Code::OrderConflict, Some("another customer".into())));
            }
            head.at = head.at.min(at);
            if head.person == NONE {
                head.person = person;
            }
            return Ok(());
        }
        let cancelled_at = match self.columns.cancelled_at.map(|c| record.get(c).trim()) {
            Some(text) if !text.is_empty() => Some(self.dates.read(text).ok_or_else(|| (Code::BadDate, Some(clean::shortened(text))))?),
            _ => None,
        };
        let refunded = self.amount(record, self.columns.refunded, currency)?;
        let discount = self.amount(record, self.columns.discount, currency)?;
        self.out.heads[at_index] = Some(Head { at, currency, person, cancelled_at, refunded, discount });
        Ok(())
    }

    fn buyer(&mut self, record: &Record) -> u32 {
        let cell = |column: Option<usize>| column.map(|c| record.get(c).trim()).filter(|t| !t.is_empty());
        let external = cell(self.columns.person).filter(|t| t.chars().count() <= 255);
        let written = cell(self.columns.email);
        let key = written.and_then(email_key);
        if written.is_some() && key.is_none() {
            self.out.bad_addresses += 1;
        }
        let number = match (external, &key) {
            (Some(id), _) => self.out.people.number(id),
            (None, Some(key)) => self.out.people.number(&format!("\u{1}{key}")),
            (None, None) => return NONE,
        };
        let at = number as usize;
        if self.out.buyers.len() <= at {
            self.out.buyers.resize(at + 1, Buyer::default());
        }
        let buyer = &mut self.out.buyers[at];
        if buyer.external_id.is_none() {
            buyer.external_id = external.map(ToOwned::to_owned);
        }
        if buyer.email.is_none() && key.is_some() {
            buyer.email = written.map(ToOwned::to_owned);
        }
        if buyer.country.is_none() {
            buyer.country = cell(self.columns.country).map(|c| c.chars().take(255).collect());
        }
        number
    }

    /// Notes the refusal; where the row cannot be read at all, its order is not imported by halves.
    fn refuse(&mut self, record: &Record, code: Code, detail: Option<String>) {
        let unreadable = matches!(
            code,
            Code::WrongColumns
                | Code::Nul
                | Code::TooLong
                | Code::MissingValue
                | Code::BadQuantity
                | Code::BadPrice
                | Code::BadDate
                | Code::FutureDate
                | Code::BadCurrency
                | Code::OrderConflict
                | Code::TooLarge
        );
        let reference = record.get(self.columns.order).trim();
        if unreadable && !reference.is_empty() && reference.len() <= MAX_REFERENCE {
            self.mark_incomplete(reference);
        }
        match detail {
            Some(detail) => self.out.refusals.explain(record.line, code, detail),
            None => self.out.refusals.add(record.line, code),
        }
    }

    fn broken(&mut self, record: &Record, why: &'static str) {
        let reference = record.get(0).split(self.delimiter).nth(self.columns.order).unwrap_or_default().trim_matches(['"', ' ']).to_owned();
        if !reference.is_empty() && reference.len() <= MAX_REFERENCE {
            self.mark_incomplete(&reference);
        }
        self.out.refusals.explain(record.line, Code::BrokenRow, why);
    }

    fn mark_incomplete(&mut self, reference: &str) {
        let order = self.out.references.number(reference) as usize;
        if self.out.incomplete.len() <= order {
            self.out.incomplete.resize(order + 1, false);
        }
        self.out.incomplete[order] = true;
    }
}

/// `C536379` has the prefix `C`; `CARD-1` has not: a digit must follow.
fn prefixed(reference: &str, prefix: Option<&str>) -> bool {
    prefix.and_then(|p| reference.strip_prefix(p)).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// A title as the catalogue takes it.
pub fn title_of(sku: &str, title: &str) -> String {
    let title = if title.is_empty() { sku } else { title };
    catalog::NewProduct::new(sku, title, crate::platform::Money::new(0, Currency::EUR))
        .checked()
        .map_or_else(|_| sku.to_owned(), |p| p.title)
}
