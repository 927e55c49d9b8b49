//! A file of paths, for shops whose journeys were counted elsewhere: one line per path with its conversions, value and journeys that led to
//! nothing, as the R and Python packages of the field write it. CSV, plain or gzip.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde::Serialize;

use super::journeys::{Earned, Heuristic, Journeys};
use super::markov::{self, MarkovError};
use super::shapley::{self, Game};
use super::sheet::{Cell, Kind, Sheet};

#[derive(Debug, thiserror::Error)]
pub enum PathFileError {
    #[error("the file cannot be read: {0}")]
    Read(#[from] std::io::Error),
    #[error("the file is no CSV: {0}")]
    Csv(#[from] csv::Error),
    #[error("the file needs a column “path”, and one of conversions (conversions or total_conversions)")]
    Columns,
    #[error("line {line}: “{text}” is not a number of 0 or more")]
    Number { line: u64, text: String },
    #[error("the file holds no journey")]
    Empty,
    #[error(transparent)]
    Markov(#[from] MarkovError),
}

/// One key under one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileRow {
    pub model: &'static str,
    pub key: String,
    pub conversions: f64,
    pub value: f64,
    /// Of the model's own measure: the removal effect (Markov), φ (Shapley).
    pub effect: Option<f64>,
    /// Of `effect`, where it was estimated.
    pub standard_error: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileReport {
    pub keys: usize,
    pub distinct_paths: usize,
    pub conversions: f64,
    pub value: f64,
    pub misses: f64,
    pub order: usize,
    /// Chance that a journey converts.
    pub conversion_probability: f64,
    /// Pairs of orders drawn for the conversion-rate game; `None`: exact.
    pub pairs_drawn: Option<usize>,
    pub rows: Vec<FileRow>,
}

/// Reads a file of paths.
pub fn read(path: &Path) -> Result<Journeys, PathFileError> {
    let mut file = BufReader::new(std::fs::File::open(path)?);
    let packed = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    if packed { from_csv(MultiGzDecoder::new(file)) } else { from_csv(file) }
}

fn from_csv(input: impl Read) -> Result<Journeys, PathFileError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(input);
    let headers: Vec<String> = reader.headers()?.iter().map(|h| h.trim_start_matches('\u{feff}').to_ascii_lowercase()).collect();
    let place = |names: &[&str]| names.iter().find_map(|n| headers.iter().position(|h| h == n));
    let (Some(path), Some(conversions)) = (place(&["path"]), place(&["total_conversions", "conversions"])) else {
        return Err(PathFileError::Columns);
    };
    let value = place(&["total_conversion_value", "conversion_value", "value", "revenue"]);
    let misses = place(&["total_null", "nulls", "misses"]);
    let mut journeys = Journeys::new();
    for record in reader.records() {
        let record = record?;
        let number = |at: Option<usize>| match at.and_then(|at| record.get(at)).unwrap_or("") {
            "" => Ok(0.0),
            text => text.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0).ok_or_else(|| PathFileError::Number {
                line: record.position().map_or(0, csv::Position::line),
                text: text.chars().take(40).collect(),
            }),
        };
        journeys.add_text(record.get(path).unwrap_or(""), number(Some(conversions))?, number(value)?, number(misses)?);
    }
    if journeys.is_empty() { Err(PathFileError::Empty) } else { Ok(journeys) }
}

/// All models over a file of paths. `order`: the chain's memory, 1 to 3.
pub fn of_file(path: &Path, order: usize) -> Result<FileReport, PathFileError> {
    let journeys = read(path)?;
    let chain = markov::solve(&journeys, order)?;
    let sum = shapley::solve(&journeys, Game::Sum, shapley::PAIRS, 1);
    let rate = shapley::solve(&journeys, Game::Rate, shapley::PAIRS, 1);
    let mut report = FileReport {
        keys: journeys.len(),
        distinct_paths: journeys.ways().len(),
        conversions: journeys.conversions(),
        value: journeys.value(),
        misses: journeys.misses(),
        order,
        conversion_probability: chain.conversion_probability,
        pairs_drawn: rate.pairs,
        rows: Vec::new(),
    };
    let mut add = |model: &'static str, earned: Vec<Earned>, effects: Option<&[f64]>, errors: Option<&[f64]>| {
        for (key, Earned { conversions, value }) in earned.into_iter().enumerate() {
            report.rows.push(FileRow {
                model,
                key: journeys.names()[key].clone(),
                conversions,
                value,
                effect: effects.map(|e| e[key]),
                standard_error: errors.map(|e| e[key]),
            });
        }
    };
    add("first", journeys.heuristic(Heuristic::First), None, None);
    add("last", journeys.heuristic(Heuristic::Last), None, None);
    add("linear", journeys.heuristic(Heuristic::Linear), None, None);
    add("markov", chain.earned(&journeys), Some(&chain.removal_effects), None);
    add("shapley", sum.earned(&journeys), Some(&sum.values), None);
    add("shapley_rate", rate.earned(&journeys), Some(&rate.values), rate.pairs.map(|_| &*rate.standard_errors));
    Ok(report)
}

impl FileReport {
    pub fn sheet(&self) -> Sheet {
        let mut sheet = Sheet::new("journeys");
        sheet.column("model", Kind::Text).column("key", Kind::Text).column("conversions", Kind::Number).column("value", Kind::Number);
        sheet.column("effect", Kind::Number).column("standard_error", Kind::Number);
        for r in &self.rows {
            sheet.row(vec![
                Cell::text(r.model),
                Cell::text(&r.key),
                Cell::Number(r.conversions),
                Cell::Number(r.value),
                r.effect.into(),
                r.standard_error.into(),
            ]);
        }
        sheet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_by_the_names_of_their_columns() {
        let j = from_csv("total_null,path,total_conversions\n3,a > b,2\n0,b,1\n,a,\n".as_bytes()).expect("reads");
        assert_eq!((j.conversions(), j.misses(), j.value(), j.len()), (3.0, 3.0, 0.0, 2));
        let wrong = |text: &str| from_csv(text.as_bytes()).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(wrong("a,b\n1,2\n").contains("“path”"));
        assert!(wrong("path,conversions\na,-1\n").starts_with("line 2: “-1”"));
        assert!(wrong("path,conversions\na,many\n").contains("many"));
        assert!(wrong("path,conversions\n").contains("no journey"));
    }
}
