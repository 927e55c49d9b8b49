//! A report as a page shows it: figures, charts, tables. Every number is the answer's own; nothing is computed anew here but shares.

use serde::Serialize;

use super::asked::Asked;
use super::{cohorts, credit, engagement, funnel, paths};
use crate::attribution::Answer;
use crate::platform::http::ApiResult;
use crate::platform::{Currency, Money};
use crate::web::chart::Chart;
use crate::web::format;
use crate::web::page::Shell;

#[derive(Serialize)]
pub(super) struct Stat {
    pub label: String,
    pub value: String,
    pub note: String,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct CellView {
    pub text: String,
    pub sub: String,
    pub href: Option<String>,
    /// A number: to the right.
    pub num: bool,
    /// Names its row.
    pub head: bool,
    /// Of the longest in its column, 0 to 100: a bar below the number.
    pub bar: Option<i64>,
    /// `heat heat-0` to `heat heat-9`: how dark the cell is. The number stands in it.
    pub heat: String,
    pub soft: bool,
}

impl CellView {
    pub fn head(text: impl Into<String>) -> Self {
        Self { text: text.into(), head: true, ..Self::default() }
    }
    pub fn num(text: impl Into<String>) -> Self {
        Self { text: text.into(), num: true, ..Self::default() }
    }
    pub fn count(n: i64) -> Self {
        Self::num(format::count(n))
    }
    pub fn link(mut self, href: Option<String>) -> Self {
        self.href = href;
        self
    }
    pub fn sub(mut self, text: impl Into<String>) -> Self {
        self.sub = text.into();
        self
    }
    /// With a bar of this length against the longest.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "0 to 100")]
    pub fn bar(mut self, value: i64, longest: i64) -> Self {
        if longest > 0 && value >= 0 {
            self.bar = Some((value as f64 / longest as f64 * 100.0).round() as i64);
        }
        self
    }
    #[allow(clippy::cast_possible_truncation, reason = "0 to 9")]
    pub fn heat(mut self, share: f64) -> Self {
        self.heat = format!(" heat heat-{}", (share.clamp(0.0, 1.0) * 9.0).round() as i64);
        self
    }
}

#[derive(Serialize)]
pub(super) struct Column {
    pub label: String,
    pub num: bool,
}

#[derive(Serialize)]
pub(super) struct TableView {
    pub id: &'static str,
    pub title: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<CellView>>,
    /// What stands below it.
    pub note: String,
    /// Of a report with several tables, the one that a file holds.
    pub file: Option<&'static str>,
    /// Narrow cells, for heat.
    pub dense: bool,
}

impl TableView {
    pub fn new(id: &'static str, title: String) -> Self {
        Self { id, title, columns: Vec::new(), rows: Vec::new(), note: String::new(), file: None, dense: false }
    }
    pub fn text(mut self, label: String) -> Self {
        self.columns.push(Column { label, num: false });
        self
    }
    pub fn num(mut self, label: String) -> Self {
        self.columns.push(Column { label, num: true });
        self
    }
}

/// A report, ready to be read.
#[derive(Default, Serialize)]
pub(super) struct ResultView {
    pub stats: Vec<Stat>,
    /// What a reader must know to read it right.
    pub notes: Vec<String>,
    pub charts: Vec<Chart>,
    pub tables: Vec<TableView>,
    /// There is nothing in it.
    pub empty: bool,
}

/// Most rows of a table on a page; the files hold all.
pub(super) const SHOWN: usize = 100;

/// Money of a minor amount in a currency named by its code.
pub(super) fn money(minor: i64, code: &str) -> String {
    match code.parse::<Currency>() {
        Ok(currency) => format::money(Money::new(minor, currency)),
        Err(_) => format!("{minor} {code}"),
    }
}

pub(super) fn view(shell: &Shell, asked: &Asked, answer: &Answer) -> ApiResult<ResultView> {
    match answer {
        Answer::Attribution(r) => credit::attribution(shell, asked, r),
        Answer::Models(r) => credit::models(shell, asked, r),
        Answer::Paths(r) => paths::view(shell, r),
        Answer::Cohorts(r) => cohorts::view(shell, r),
        Answer::Engagement(r) => engagement::view(shell, r),
        Answer::Funnel(r) => funnel::view(shell, asked, r),
    }
}

/// What a key of a grouping is called on a page: names of things as they are, what has no name in the viewer's language.
pub(super) fn name_of(shell: &Shell, key: &str, name: &str) -> String {
    match key {
        "none" | "other" | "elsewhere" | "unattributed" => shell.say(&format!("reports.key.{key}")),
        "email" | "banner" => shell.say(&format!("home.channel.{key}")),
        _ => name.to_owned(),
    }
}

/// Where a row leads: one step further in.
pub(super) fn into(asked: &Asked, key: &str) -> Option<String> {
    let by = asked.query.by.as_deref().unwrap_or("campaign");
    let id = || Some(key.to_owned());
    let next = match (by, key) {
        (_, "none" | "other" | "elsewhere" | "unattributed") => return None,
        ("campaign", _) => asked.with(|q| (q.campaign, q.by) = (id(), Some("variant".into()))),
        ("channel", _) => asked.with(|q| (q.channel, q.by) = (id(), Some("campaign".into()))),
        ("segment", _) => asked.with(|q| (q.segment, q.by) = (id(), Some("campaign".into()))),
        ("day" | "week" | "month", _) => return None,
        _ => return None,
    };
    Some(next.path())
}

/// A chart's title and description.
pub(super) fn about(shell: &Shell, key: &str) -> (String, String) {
    (shell.say(key), shell.say("reports.chart_about"))
}
