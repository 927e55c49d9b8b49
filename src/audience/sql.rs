//! The renderer's ground: SQL text per dialect, and binds. No text of a user ever becomes part of the SQL.

use crate::platform::clock::Timestamp;
use crate::platform::db::Dialect;

use super::fold;
use super::rule::{Scalar, Test};

/// A value handed to the database beside the text.
#[derive(Clone, Debug, PartialEq)]
pub enum Bind {
    Int(i64),
    Real(f64),
    Text(String),
}

/// SQL text being written, and its binds `$1`, `$2`, …
#[derive(Clone, Debug)]
pub struct Sql {
    pub dialect: Dialect,
    pub binds: Vec<Bind>,
    as_of: Timestamp,
}

/// Where a JSON value is found: a column of objects and one key of them.
pub(super) struct JsonAt<'a> {
    pub column: &'a str,
    pub key: &'a str,
}

impl Sql {
    pub fn new(dialect: Dialect, as_of: Timestamp) -> Self {
        Self { dialect, binds: Vec::new(), as_of }
    }

    pub fn as_of(&self) -> Timestamp {
        self.as_of
    }

    pub fn bind(&mut self, value: Bind) -> String {
        self.binds.push(value);
        format!("${}", self.binds.len())
    }
    pub fn int(&mut self, value: i64) -> String {
        self.bind(Bind::Int(value))
    }
    pub fn text(&mut self, value: impl Into<String>) -> String {
        self.bind(Bind::Text(value.into()))
    }

    /// `expr` folded as [`fold::fold`] does, as far as it matters for a comparison with `sought`.
    pub fn folded<'a>(&self, expr: &str, sought: impl Iterator<Item = &'a str>) -> String {
        let mut sql = match self.dialect {
            Dialect::Sqlite => format!("lower({expr})"),
            // In the C collation, lower knows ASCII only, whatever the database's locale.
            Dialect::Postgres => format!("lower({expr} COLLATE \"C\")"),
        };
        for (upper, lower) in fold::uppers_of(sought) {
            // Letters from our own table, not the user's text.
            sql = format!("replace({sql}, '{upper}', '{lower}')");
        }
        sql
    }

    /// `needle` (already folded and bound) occurs in `hay`.
    fn occurs(&self, hay: &str, needle: &str) -> String {
        match self.dialect {
            Dialect::Sqlite => format!("instr({hay}, {needle}) > 0"),
            Dialect::Postgres => format!("strpos({hay}, {needle}) > 0"),
        }
    }

    /// `expr` is one of the bound texts.
    fn one_of_texts(&mut self, expr: &str, values: &[String]) -> String {
        let list = self.text(serde_json::Value::from(values.to_vec()).to_string());
        match self.dialect {
            Dialect::Sqlite => format!("{expr} IN (SELECT value FROM json_each({list}))"),
            Dialect::Postgres => format!("{expr} IN (SELECT jsonb_array_elements_text(CAST({list} AS jsonb)))"),
        }
    }

    fn one_of_numbers(&mut self, expr: &str, values: &[f64]) -> String {
        let list = self.text(serde_json::Value::from(values.to_vec()).to_string());
        match self.dialect {
            Dialect::Sqlite => format!("{expr} IN (SELECT CAST(value AS REAL) FROM json_each({list}))"),
            Dialect::Postgres => {
                format!("{expr} IN (SELECT CAST(v AS DOUBLE PRECISION) FROM jsonb_array_elements_text(CAST({list} AS jsonb)) AS t (v))")
            }
        }
    }

    fn instant(&self, value: &Scalar) -> Option<Timestamp> {
        match value {
            Scalar::Time(t) => Some(*t),
            Scalar::DaysAgo(d) => Some(self.as_of.plus_days(-d)),
            _ => None,
        }
    }

    /// A test of a text column or expression that may be NULL. The result is never NULL.
    pub fn text_test(&mut self, expr: &str, test: &Test) -> String {
        let sql = match test {
            Test::Eq { value: Scalar::Text(t) } => {
                let folded = self.folded(expr, std::iter::once(t.as_str()));
                let bind = self.text(fold::fold(t));
                format!("{folded} = {bind}")
            }
            Test::Ne { value } => return format!("NOT {}", self.text_test(expr, &Test::Eq { value: value.clone() })),
            Test::Contains { value } => {
                let folded = self.folded(expr, std::iter::once(value.as_str()));
                let bind = self.text(fold::fold(value));
                self.occurs(&folded, &bind)
            }
            Test::StartsWith { value } => self.prefix(expr, value),
            Test::In { values } => {
                let texts: Vec<String> =
                    values.iter().filter_map(|v| if let Scalar::Text(t) = v { Some(fold::fold(t)) } else { None }).collect();
                if texts.is_empty() {
                    return "FALSE".into();
                }
                let folded = self.folded(expr, texts.iter().map(String::as_str));
                self.one_of_texts(&folded, &texts)
            }
            Test::Exists {} => format!("{expr} <> ''"),
            _ => return "FALSE".into(),
        };
        format!("COALESCE({sql}, FALSE)")
    }

    /// `expr` begins with `value`, both folded. May be NULL.
    pub fn prefix(&mut self, expr: &str, value: &str) -> String {
        let folded = self.folded(expr, std::iter::once(value));
        let bind = self.text(fold::fold(value));
        format!("substr({folded}, 1, {}) = {bind}", value.chars().count())
    }

    /// `expr` is the category or lies below it. May be NULL.
    pub fn category(&mut self, expr: &str, category: &str) -> String {
        let folded = self.folded(expr, std::iter::once(category));
        let bind = self.text(fold::fold(category));
        let below = self.prefix(expr, &format!("{category} > "));
        format!("({folded} = {bind} OR {below})")
    }

    /// A test of a number (a double, or NULL). Never NULL.
    pub fn number_test(&mut self, expr: &str, test: &Test) -> String {
        let sql = match test {
            Test::Ne { value } => return format!("NOT {}", self.number_test(expr, &Test::Eq { value: value.clone() })),
            Test::Between { from: Scalar::Number(from), to: Scalar::Number(to) } => {
                let (from, to) = (self.bind(Bind::Real(*from)), self.bind(Bind::Real(*to)));
                format!("{expr} BETWEEN {from} AND {to}")
            }
            Test::In { values } => {
                let numbers: Vec<f64> = values.iter().filter_map(|v| if let Scalar::Number(n) = v { Some(*n) } else { None }).collect();
                if numbers.is_empty() {
                    return "FALSE".into();
                }
                self.one_of_numbers(expr, &numbers)
            }
            Test::Exists {} => return format!("({expr} IS NOT NULL)"),
            other => match comparison(other) {
                Some((op, Scalar::Number(n))) => {
                    let bind = self.bind(Bind::Real(*n));
                    format!("{expr} {op} {bind}")
                }
                _ => return "FALSE".into(),
            },
        };
        format!("COALESCE({sql}, FALSE)")
    }

    /// A test of an instant in microseconds (or NULL), compared in units of `unit_us`. Never NULL.
    pub fn time_test(&mut self, expr: &str, test: &Test, unit_us: i64) -> String {
        let sql = match test {
            Test::Ne { value } => return format!("NOT {}", self.time_test(expr, &Test::Eq { value: value.clone() }, unit_us)),
            Test::Between { from, to } => match (self.instant(from), self.instant(to)) {
                (Some(from), Some(to)) => {
                    let (from, to) = (self.int(from.0.div_euclid(unit_us)), self.int(to.0.div_euclid(unit_us)));
                    format!("{expr} BETWEEN {from} AND {to}")
                }
                _ => return "FALSE".into(),
            },
            Test::In { values } => {
                let instants: Vec<i64> = values.iter().filter_map(|v| self.instant(v)).map(|t| t.0.div_euclid(unit_us)).collect();
                if instants.is_empty() {
                    return "FALSE".into();
                }
                // Bound as numbers one by one would be up to 1,000 binds; whole numbers are safe to write out.
                let list: Vec<String> = instants.iter().map(i64::to_string).collect();
                format!("{expr} IN ({})", list.join(", "))
            }
            Test::Exists {} => return format!("({expr} IS NOT NULL)"),
            other => match comparison(other).and_then(|(op, v)| self.instant(v).map(|t| (op, t))) {
                Some((op, t)) => {
                    let bind = self.int(t.0.div_euclid(unit_us));
                    format!("{expr} {op} {bind}")
                }
                None => return "FALSE".into(),
            },
        };
        format!("COALESCE({sql}, FALSE)")
    }

    /// A test of one key of a JSON object. The value's type in the rule says which JSON type is meant. Never NULL.
    pub(super) fn json_test(&mut self, at: &JsonAt<'_>, test: &Test) -> String {
        match test {
            Test::Ne { value } => format!("NOT {}", self.json_test(at, &Test::Eq { value: value.clone() })),
            Test::Exists {} => self.json(at, Wanted::Present),
            Test::In { values } => {
                let mut parts = Vec::new();
                for wanted in [Wanted::Text, Wanted::Number, Wanted::Bool, Wanted::Time] {
                    let some: Vec<Scalar> = values.iter().filter(|v| wanted_by(v) == wanted).cloned().collect();
                    if !some.is_empty() {
                        parts.push(self.json_typed(at, wanted, &Test::In { values: some }));
                    }
                }
                format!("({})", parts.join(" OR "))
            }
            Test::Contains { .. } | Test::StartsWith { .. } => self.json_typed(at, Wanted::Text, test),
            Test::Between { from: value, .. } => self.json_typed(at, wanted_by(value), test),
            Test::Eq { value } | Test::Lt { value } | Test::Le { value } | Test::Gt { value } | Test::Ge { value } => {
                self.json_typed(at, wanted_by(value), test)
            }
        }
    }

    fn json_typed(&mut self, at: &JsonAt<'_>, wanted: Wanted, test: &Test) -> String {
        let expr = self.json(at, wanted);
        match wanted {
            Wanted::Text => self.text_test(&expr, test),
            Wanted::Number => self.number_test(&expr, test),
            Wanted::Time => {
                let seconds = self.seconds_of(&expr);
                self.time_test(&seconds, test, crate::platform::clock::SECOND_US)
            }
            Wanted::Bool => {
                // 1, 0 or NULL.
                let sought: Vec<&str> = match test {
                    Test::Eq { value: Scalar::Bool(b) } => vec![if *b { "1" } else { "0" }],
                    Test::In { values } => values
                        .iter()
                        .filter_map(|v| if let Scalar::Bool(b) = v { Some(if *b { "1" } else { "0" }) } else { None })
                        .collect(),
                    _ => return "FALSE".into(),
                };
                format!("COALESCE({expr} IN ({}), FALSE)", sought.join(", "))
            }
            Wanted::Present => expr,
        }
    }

    /// The value at a key as the wanted type, or NULL where it has another. (`Present`: a truth value, never NULL.)
    fn json(&mut self, at: &JsonAt<'_>, wanted: Wanted) -> String {
        let column = at.column;
        let key = self.text(at.key);
        match self.dialect {
            // json_each and not a path: a key may hold any character.
            Dialect::Sqlite => {
                let (value, condition) = match wanted {
                    Wanted::Text | Wanted::Time => ("j.value", "j.type = 'text'"),
                    Wanted::Number => ("CAST(j.value AS REAL)", "j.type IN ('integer', 'real')"),
                    Wanted::Bool => ("j.type = 'true'", "j.type IN ('true', 'false')"),
                    Wanted::Present => {
                        return format!(
                            "EXISTS (SELECT 1 FROM json_each({column}) j WHERE j.key = {key} AND j.type <> 'null' AND (j.type <> 'text' OR j.value <> ''))"
                        );
                    }
                };
                format!("(SELECT {value} FROM json_each({column}) j WHERE j.key = {key} AND {condition})")
            }
            Dialect::Postgres => {
                let value = format!("({column} -> {key})");
                match wanted {
                    Wanted::Text | Wanted::Time => {
                        format!("(CASE WHEN jsonb_typeof({value}) = 'string' THEN {column} ->> {key} END)")
                    }
                    Wanted::Number => {
                        format!("(CASE WHEN jsonb_typeof({value}) = 'number' THEN CAST({value} AS DOUBLE PRECISION) END)")
                    }
                    Wanted::Bool => {
                        format!("(CASE jsonb_typeof({value}) WHEN 'boolean' THEN CAST(CAST({value} AS BOOLEAN) AS INTEGER) END)")
                    }
                    Wanted::Present => format!("COALESCE(jsonb_typeof({value}) <> 'null' AND {column} ->> {key} <> '', FALSE)"),
                }
            }
        }
    }

    /// Seconds since the epoch of a text that is a date, or a date and time with `Z`, an offset, or neither (UTC); else NULL.
    fn seconds_of(&self, expr: &str) -> String {
        match self.dialect {
            Dialect::Sqlite => format!(
                "(SELECT CASE WHEN substr(t, 1, 10) GLOB '[12][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]' AND date(substr(t, 1, 10)) = substr(t, 1, 10) \
                 AND (length(t) = 10 OR (substr(t, 11) GLOB '[T ][0-2][0-9]:[0-5][0-9]*' AND substr(t, 12, 2) < '24' \
                 AND t NOT GLOB '*[^-0-9T:.Z+ ]*')) THEN unixepoch(t) END FROM (SELECT {expr} AS t) s)"
            ),
            Dialect::Postgres => format!(
                "(SELECT CASE WHEN t ~ '{ISO_TIME}' THEN CAST(floor(extract(epoch FROM CAST(CASE WHEN t ~ '{HAS_OFFSET}' THEN t ELSE t || ' UTC' END \
                 AS timestamptz))) AS BIGINT) END FROM (SELECT {expr} AS t) s)"
            ),
        }
    }
}

/// ISO 8601 with a date that exists; what the SQLite arm checks by its own functions.
const ISO_TIME: &str = concat!(
    r"^([12]\d{3}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))",
    r"|([12]\d(0[48]|[2468][048]|[13579][26])|(1[26]|2[048])00)-02-29)",
    r"([T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)? ?(Z|[+-](0\d|1[0-4]):[0-5]\d)?)?$"
);
const HAS_OFFSET: &str = r"(Z|[+-]\d\d:\d\d)$";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Text,
    Number,
    Bool,
    Time,
    Present,
}

fn wanted_by(value: &Scalar) -> Wanted {
    match value {
        Scalar::Text(_) => Wanted::Text,
        Scalar::Number(_) => Wanted::Number,
        Scalar::Bool(_) => Wanted::Bool,
        Scalar::Time(_) | Scalar::DaysAgo(_) => Wanted::Time,
    }
}

fn comparison(test: &Test) -> Option<(&'static str, &Scalar)> {
    Some(match test {
        Test::Eq { value } => ("=", value),
        Test::Lt { value } => ("<", value),
        Test::Le { value } => ("<=", value),
        Test::Gt { value } => (">", value),
        Test::Ge { value } => (">=", value),
        _ => return None,
    })
}
