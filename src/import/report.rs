//! What an import did and what it refused: counted for people and machines, and row by row in the rejects file.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use super::source::{Next, Record, Source};
use super::{ImportError, Kind, feed};

macro_rules! codes {
    ($($variant:ident $name:literal $meaning:literal),* $(,)?) => {
        /// Why a row was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($variant),* }
        impl Code {
            /// Stable, for machines.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),* }
            }
        }
    };
}
codes! {
    BrokenRow "broken_row" "the row is no valid CSV",
    WrongColumns "wrong_columns" "the row has not as many columns as the header",
    Nul "nul" "the row holds a NUL character",
    TooLong "too_long" "a value is longer than is taken",
    MissingValue "missing_value" "a required value is empty",
    BadQuantity "bad_quantity" "the quantity is not a whole number",
    BadPrice "bad_price" "the price is not an amount of money",
    BadDate "bad_date" "the date cannot be read",
    FutureDate "future_date" "the date lies in the future",
    BadCurrency "bad_currency" "the currency is not a three-letter code",
    BadDebt "bad_debt" "an adjustment of bad debt is no sale",
    NotAProduct "not_a_product" "postage, fees, discounts and manual entries are no products",
    StockNote "stock_note" "the description is a note on stock, not a sale",
    NegativeQuantity "negative_quantity" "pieces taken out of stock are no sale",
    ZeroQuantity "zero_quantity" "a line without pieces",
    ZeroPrice "zero_price" "a line without a price is no sale",
    NegativePrice "negative_price" "the price is negative",
    TooLarge "too_large" "the amount is too large to be counted",
    Duplicate "duplicate" "the same row stands in the file before",
    CancelUnmatched "cancel_unmatched" "nothing earlier that this customer bought can be cancelled by it",
    OrderIncomplete "order_incomplete" "another row of this order cannot be read, and half an order is not imported",
    OrderConflict "order_conflict" "customer or currency differ within the order",
    TornFile "torn_file" "the file ends in the middle of this order",
    BadEmail "bad_email" "it is not an e-mail address",
    NoIdentity "no_identity" "neither an address nor an id",
    BadValue "bad_value" "a value breaks a rule",
    Erased "erased" "this person was erased, and a file does not bring them back",
}

/// One refused row.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The physical line on which the row begins.
    pub line: u64,
    pub code: Code,
    /// More than the code says, where there is more.
    pub detail: Option<Box<str>>,
}

/// All refused rows of a file.
#[derive(Debug, Default)]
pub struct Refusals {
    pub rows: Vec<Refused>,
}

/// What a file is made of: rows of a table, or items of an XML feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    #[default]
    Table,
    Xml,
}

impl Refusals {
    pub fn add(&mut self, line: u64, code: Code) {
        self.rows.push(Refused { line, code, detail: None });
    }
    pub fn explain(&mut self, line: u64, code: Code, detail: impl Into<String>) {
        let detail: String = detail.into().chars().take(300).collect();
        self.rows.push(Refused { line, code, detail: Some(detail.into_boxed_str()) });
    }

    /// Reads the file again and writes every refused row as it was, after its line, code and reason. A cell that a spreadsheet would take
    /// for a formula gets an apostrophe before it.
    pub(super) fn write(&self, source: &Source, path: &Path, kind: Kind, format: Format) -> Result<(), ImportError> {
        let failed = |e: std::io::Error| ImportError::Write { path: path.to_owned(), source: e };
        let mut out = BufWriter::new(std::fs::File::create(path).map_err(failed)?);
        let by_line: HashMap<u64, &Refused> = self.rows.iter().map(|r| (r.line, r)).collect();
        match format {
            Format::Table => self.write_table(source, &by_line, &mut out, failed)?,
            Format::Xml => {
                debug_assert_eq!(kind, Kind::Products);
                write_row(&mut out, ["line", "code", "reason", "item"].into_iter()).map_err(failed)?;
                feed::each_item(source, |item| {
                    if let Some(refused) = by_line.get(&item.line) {
                        let text = serde_json::to_string(&item.fields).unwrap_or_default();
                        let head = [item.line.to_string(), refused.code.name().to_owned(), refused.reason(), text];
                        write_row(&mut out, head.iter().map(String::as_str)).map_err(failed)?;
                    }
                    Ok(())
                })?;
            }
        }
        out.flush().map_err(failed)
    }

    fn write_table(
        &self,
        source: &Source,
        by_line: &HashMap<u64, &Refused>,
        out: &mut impl Write,
        failed: impl Fn(std::io::Error) -> ImportError,
    ) -> Result<(), ImportError> {
        let mut rows = source.rows()?;
        let header = rows.header.clone();
        write_row(out, ["line", "code", "reason"].into_iter().chain(header.iter().map(String::as_str))).map_err(&failed)?;
        let mut left = self.rows.len();
        let mut record = Record::default();
        while left > 0 {
            match rows.next(&mut record) {
                Next::Record | Next::Broken(_) => {}
                Next::End | Next::Torn(_) => break,
            }
            let Some(refused) = by_line.get(&record.line) else { continue };
            left -= 1;
            let reason = refused.reason();
            let line = record.line.to_string();
            write_row(out, [line.as_str(), refused.code.name(), reason.as_str()].into_iter().chain(record.cells())).map_err(&failed)?;
        }
        Ok(())
    }
}

impl Refused {
    pub fn reason(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{}: {detail}", self.code.meaning()),
            None => self.code.meaning().to_owned(),
        }
    }
}

fn write_row<'a>(out: &mut impl Write, cells: impl Iterator<Item = &'a str>) -> std::io::Result<()> {
    for (n, cell) in cells.enumerate() {
        if n > 0 {
            out.write_all(b",")?;
        }
        let formula = cell.starts_with(['=', '+', '@', '\t', '\r']) || (cell.starts_with('-') && cell.parse::<f64>().is_err());
        if formula || cell.contains([',', '"', '\n', '\r']) {
            write!(out, "\"{}{}\"", if formula { "'" } else { "" }, cell.replace('"', "\"\""))?;
        } else {
            out.write_all(cell.as_bytes())?;
        }
    }
    out.write_all(b"\n")
}

/// Refused rows of one code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedCount {
    pub rows: u64,
    pub meaning: &'static str,
    /// The first few lines.
    pub lines: Vec<u64>,
}

/// What an import came to. Amounts are in minor units.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub kind: &'static str,
    pub file: String,
    pub format: Format,
    pub preset: &'static str,
    /// Which column was taken for which field.
    pub mapping: Vec<String>,
    pub dry_run: bool,
    /// Rows of the file, without its header and blank lines. Each was accepted, used as a cancellation, passed over, or refused.
    pub rows: u64,
    pub accepted: u64,
    /// Rows that cancelled earlier ones.
    pub cancellations: u64,
    /// Rows that carry nothing of their own, such as a second picture of the product above.
    pub passed_over: u64,
    pub refused: BTreeMap<&'static str, RefusedCount>,
    /// What is worth knowing: values left out, flags set.
    pub notes: BTreeMap<&'static str, u64>,
    /// Sums over accepted rows and cancellations, by currency.
    pub amounts: BTreeMap<String, BTreeMap<&'static str, i64>>,
    /// What was written, by table.
    pub written: BTreeMap<&'static str, u64>,
    /// Nothing in the database was changed: all of it was there.
    pub unchanged: bool,
    /// Where the file could not be read any further, and why.
    pub torn: Option<String>,
    pub rejects_file: Option<String>,
    pub seconds: f64,
}

impl Report {
    pub fn new(kind: &'static str, source: &Source) -> Self {
        Self { kind, file: source.path.display().to_string(), ..Self::default() }
    }
    pub fn note(&mut self, what: &'static str, times: u64) {
        if times > 0 {
            *self.notes.entry(what).or_default() += times;
        }
    }
    pub fn wrote(&mut self, what: &'static str, rows: u64) {
        *self.written.entry(what).or_default() += rows;
    }
    pub fn amount(&mut self, currency: &str, what: &'static str, minor: i64) {
        *self.amounts.entry(currency.to_owned()).or_default().entry(what).or_default() += minor;
    }
    pub fn refused_rows(&self) -> u64 {
        self.refused.values().map(|c| c.rows).sum()
    }
    pub(super) fn count_refusals(&mut self, refusals: &Refusals) {
        for refused in &refusals.rows {
            let count = self.refused.entry(refused.code.name()).or_insert_with(|| RefusedCount {
                rows: 0,
                meaning: refused.code.meaning(),
                lines: Vec::new(),
            });
            count.rows += 1;
            if count.lines.len() < 5 {
                count.lines.push(refused.line);
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({}, preset {})", self.file, self.kind, self.preset)?;
        writeln!(f, "  columns      {}", self.mapping.join(", "))?;
        writeln!(f, "  rows         {:>10}", grouped(self.rows))?;
        writeln!(f, "  accepted     {:>10}", grouped(self.accepted))?;
        if self.cancellations > 0 {
            writeln!(f, "  cancellations{:>10}", grouped(self.cancellations))?;
        }
        if self.passed_over > 0 {
            writeln!(f, "  passed over  {:>10}", grouped(self.passed_over))?;
        }
        writeln!(f, "  refused      {:>10}", grouped(self.refused_rows()))?;
        for (code, count) in &self.refused {
            let mut lines = count.lines.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            if count.rows > count.lines.len() as u64 {
                let _ = write!(lines, ", …");
            }
            writeln!(f, "    {:>9}  {code:<18} {} (lines {lines})", grouped(count.rows), count.meaning)?;
        }
        for (currency, sums) in &self.amounts {
            for (what, minor) in sums {
                let shown = currency.parse().map_or_else(|_| minor.to_string(), |c| crate::platform::Money::new(*minor, c).to_string());
                writeln!(f, "  {what:<12} {shown:>16}")?;
            }
        }
        for (note, times) in &self.notes {
            writeln!(f, "  note         {:>10}  {note}", grouped(*times))?;
        }
        if let Some(torn) = &self.torn {
            writeln!(f, "  THE FILE COULD NOT BE READ TO ITS END: {torn}. What came before stands; import the whole file again later.")?;
        }
        if self.dry_run {
            writeln!(f, "  dry run: nothing was written")?;
        } else if self.unchanged {
            writeln!(f, "  nothing changed: all of it was imported before")?;
        } else {
            for (what, rows) in &self.written {
                writeln!(f, "  written      {:>10}  {what}", grouped(*rows))?;
            }
        }
        if let Some(path) = &self.rejects_file {
            writeln!(f, "  refused rows are in {path}")?;
        }
        #[allow(clippy::cast_precision_loss, reason = "shown to one digit")]
        let per_second = self.rows as f64 / self.seconds.max(0.001);
        write!(f, "  {:.1} s, {} rows/s", self.seconds, grouped(per_second.round().abs() as u64))
    }
}

/// `541,909`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_disarmed_and_numbers_are_not() {
        let mut out = Vec::new();
        write_row(&mut out, ["=1+1", "-5", "-cmd", "a,b", "q\"q", "@x", "plain"].into_iter()).expect("write");
        assert_eq!(String::from_utf8(out).expect("utf-8"), "\"'=1+1\",-5,\"'-cmd\",\"a,b\",\"q\"\"q\",\"'@x\",plain\n");
    }

    #[test]
    fn thousands() {
        assert_eq!((grouped(7), grouped(1000), grouped(541_909)), ("7".into(), "1,000".into(), "541,909".into()));
    }
}
