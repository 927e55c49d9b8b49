//! Tables of pages: order by a column, keyset paging, filters kept in the address.

use serde::{Deserialize, Serialize};

use crate::fault;
use crate::platform::http::{ApiError, ApiResult};

/// Rows on a page of a table.
pub const PAGE_ROWS: i64 = 50;

/// The order asked for: `?sort=name` or `?sort=-name`. Only names that the page lists are taken.
#[derive(Clone, Debug, Serialize)]
pub struct Sort {
    pub by: &'static str,
    pub down: bool,
    /// The other parameters of the address, urlencoded and ending in `&`, for the column links.
    pub query: String,
}

impl Sort {
    /// `columns`: what may be sorted by; the first is the default (write `-name` there to begin downwards).
    pub fn read(asked: Option<&str>, columns: &[&'static str], query: String) -> Self {
        let name = |c: &'static str| c.trim_start_matches('-');
        let found = asked.and_then(|a| Some((columns.iter().find(|c| name(c) == a.trim_start_matches('-'))?, a.starts_with('-'))));
        let (by, down) = match found {
            Some((column, down)) => (name(column), down),
            None => columns.first().map_or(("", false), |c| (name(c), c.starts_with('-'))),
        };
        Self { by, down, query }
    }
}

/// What stands under a table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pager {
    pub shown: i64,
    /// This is the first page.
    pub first: bool,
    /// The keyset of the next page; `None` on the last.
    pub next: Option<String>,
    /// Filters and order, urlencoded and ending in `&`.
    pub query: String,
}

impl Pager {
    /// Takes `PAGE_ROWS + 1` rows, keeps `PAGE_ROWS`, and names the last one kept where there are more.
    pub fn cut<T>(rows: &mut Vec<T>, after: Option<&str>, query: String, key: impl Fn(&T) -> String) -> Self {
        let most = PAGE_ROWS as usize;
        let more = rows.len() > most;
        rows.truncate(most);
        let next = if more { rows.last().map(|row| encode(&key(row))) } else { None };
        Self { shown: rows.len() as i64, first: after.is_none_or(str::is_empty), next, query }
    }
}

impl Pager {
    /// A page of rows that are all there already, in order: those behind the one named; where it is gone, the list begins anew.
    pub fn within<T>(all: Vec<T>, after: Option<&str>, query: String, key: impl Fn(&T) -> String) -> (Vec<T>, Self) {
        let after = after.filter(|a| !a.is_empty());
        let from = after.and_then(|a| all.iter().position(|row| key(row) == a)).map_or(0, |at| at + 1);
        let mut rows: Vec<T> = all.into_iter().skip(from).take(PAGE_ROWS as usize + 1).collect();
        let pager = Self::cut(&mut rows, if from > 0 { after } else { None }, query, key);
        (rows, pager)
    }
}

fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The parameters that are not empty, urlencoded, each followed by `&`: what links of this page keep.
pub fn kept(parameters: &[(&str, &str)]) -> String {
    parameters.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!("{}={}&", encode(k), encode(v))).collect()
}

/// A keyset that no page of ours named.
pub fn odd_after() -> ApiError {
    ApiError::bad_request("bad_query", fault!("page.after", "“after” is not one of ours."))
}

/// `after` of a page whose keyset is a number.
pub fn after_number(after: Option<&str>) -> ApiResult<Option<i64>> {
    match after.filter(|a| !a.is_empty()) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| odd_after()),
    }
}

/// A cell of a CSV file that a spreadsheet would run as a formula begins with an apostrophe.
pub fn formula_safe(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell.to_owned() }
}

/// The parameters that every table takes. Flatten it into the page's own query struct, or take it beside.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TableQuery {
    pub sort: Option<String>,
    pub after: Option<String>,
}

/// A choice of a `select` component.
#[derive(Clone, Debug, Serialize)]
pub struct Choice {
    pub value: String,
    pub label: String,
}

impl Choice {
    pub fn new(value: impl Into<String>, label: impl Into<String>) -> Self {
        Self { value: value.into(), label: label.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_columns_sort_and_pages_end() {
        let sort = Sort::read(Some("-size"), &["-name", "size"], String::new());
        assert_eq!((sort.by, sort.down), ("size", true));
        let sort = Sort::read(Some("id; DROP TABLE x"), &["-name", "size"], String::new());
        assert_eq!((sort.by, sort.down), ("name", true));
        let mut rows: Vec<i64> = (0..51).collect();
        let pager = Pager::cut(&mut rows, None, kept(&[("q", "a&b"), ("x", "")]), i64::to_string);
        assert_eq!((pager.shown, pager.next.as_deref(), pager.query.as_str(), pager.first), (50, Some("49"), "q=a%26b&", true));
        let mut rows: Vec<i64> = (0..50).collect();
        assert_eq!(Pager::cut(&mut rows, Some("9"), String::new(), i64::to_string).next, None);
    }
}
