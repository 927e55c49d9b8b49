//! A report as a table, for files: CSV that no spreadsheet runs, and Parquet.

use std::fmt::Write as _;

use super::parquet_file;
use super::question::ReportError;
use crate::platform::clock::Timestamp;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Whole,
    /// A decimal number as text, exact: `-12.50`. Text in Parquet.
    Decimal,
    Number,
    /// RFC 3339 in CSV, a UTC timestamp in microseconds in Parquet.
    Time,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Text(String),
    Whole(i64),
    Decimal(String),
    Number(f64),
    Time(Timestamp),
    Empty,
}

impl Cell {
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
    fn is(&self, kind: Kind) -> bool {
        matches!(
            (self, kind),
            (Self::Text(_), Kind::Text)
                | (Self::Whole(_), Kind::Whole)
                | (Self::Decimal(_), Kind::Decimal)
                | (Self::Number(_), Kind::Number)
                | (Self::Time(_), Kind::Time)
                | (Self::Empty, _)
        )
    }
}
impl From<Option<i64>> for Cell {
    fn from(n: Option<i64>) -> Self {
        n.map_or(Self::Empty, Self::Whole)
    }
}
impl From<Option<f64>> for Cell {
    fn from(n: Option<f64>) -> Self {
        n.map_or(Self::Empty, Self::Number)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sheet {
    pub name: String,
    pub columns: Vec<(String, Kind)>,
    pub rows: Vec<Vec<Cell>>,
}

impl Sheet {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), columns: Vec::new(), rows: Vec::new() }
    }
    pub fn column(&mut self, name: &str, kind: Kind) -> &mut Self {
        self.columns.push((name.to_owned(), kind));
        self
    }
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert!(cells.len() == self.columns.len() && cells.iter().zip(&self.columns).all(|(c, (_, kind))| c.is(*kind)));
        self.rows.push(cells);
    }

    /// RFC 4180, one header line, `\r\n`. Safe to open in a spreadsheet: a text that would start a formula gets an apostrophe before it.
    pub fn to_csv(&self) -> String {
        let mut out = self.columns.iter().map(|(name, _)| csv_text(name)).collect::<Vec<_>>().join(",");
        out.push_str("\r\n");
        for row in &self.rows {
            for (i, cell) in row.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                match cell {
                    Cell::Text(text) => out.push_str(&csv_text(text)),
                    Cell::Whole(n) => _ = write!(out, "{n}"),
                    Cell::Decimal(text) => out.push_str(text),
                    Cell::Number(n) if n.is_finite() => _ = write!(out, "{n}"),
                    Cell::Time(at) => _ = write!(out, "{at}"),
                    Cell::Number(_) | Cell::Empty => {}
                }
            }
            out.push_str("\r\n");
        }
        out
    }

    /// An Apache Parquet file of one row group.
    pub fn to_parquet(&self) -> Result<Vec<u8>, ReportError> {
        parquet_file::write(self).map_err(|e| ReportError::Written(e.to_string()))
    }
}

/// A text as a CSV field that no spreadsheet takes for a formula.
pub(super) fn csv_text(text: &str) -> String {
    let risky = text.trim_start().starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}', '|', '%'])
        || text.starts_with(['\t', '\r', '\n']);
    let guarded = if risky { format!("'{text}") } else { text.to_owned() };
    if guarded.contains([',', '"', '\r', '\n']) { format!("\"{}\"", guarded.replace('"', "\"\"")) } else { guarded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_fields_start_no_formula() {
        assert_eq!(csv_text("Spring, sale"), "\"Spring, sale\"");
        assert_eq!(csv_text("=HYPERLINK(\"x\")"), "\"'=HYPERLINK(\"\"x\"\")\"");
        for evil in ["+1", "-1", "@a", "\t=1", " =1", "\r=1", "＝1"] {
            assert!(csv_text(evil).trim_start_matches('"').starts_with('\''), "{evil:?}");
        }
    }

    #[test]
    fn numbers_stay_numbers() {
        let mut sheet = Sheet::new("t");
        sheet.column("a", Kind::Text).column("b", Kind::Whole).column("c", Kind::Decimal).column("d", Kind::Number).column("e", Kind::Time);
        sheet.row(vec![Cell::text("x,y"), Cell::Whole(-3), Cell::Decimal("-1.50".into()), Cell::Number(0.25), Cell::Time(Timestamp(0))]);
        sheet.row(vec![Cell::text("-"), Cell::Empty, Cell::Empty, Cell::Number(f64::INFINITY), Cell::Empty]);
        assert_eq!(sheet.to_csv(), "a,b,c,d,e\r\n\"x,y\",-3,-1.50,0.25,1970-01-01T00:00:00Z\r\n'-,,,,\r\n");
    }
}
