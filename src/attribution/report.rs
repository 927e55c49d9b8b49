//! The attribution report: who earned what, under one model or under all side by side. Every sum equals the orders to the minor unit, per
//! currency: what no touch earned is a row of its own.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use utoipa::ToSchema;

use super::by::{By, OTHER, UNATTRIBUTED};
use super::credit;
use super::learned::{self, Learned, Share};
use super::model::Model;
use super::question::{Question, ReportError};
use super::report_store::{self, TotalRow};
use super::sheet::{Cell, Kind, Sheet};
use crate::platform::clock::Timestamp;
use crate::platform::db::Db;
use crate::platform::money::Currency;

/// More rows than this are put together as `other`, the smallest first.
const MAX_ROWS: usize = 5_000;

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Row {
    /// An id, a channel, a date; `none` where touches carry none; `unattributed` for what no touch earned; `other` for the smallest rows;
    /// `elsewhere` for what lies outside the campaign or channel looked into.
    pub key: String,
    pub name: String,
    pub currency: String,
    /// Orders that gave it something. With models that share, one order counts in several rows.
    pub orders: i64,
    pub revenue_minor: i64,
    /// The same as a decimal number.
    pub revenue: String,
    /// Standard error of `revenue_minor`, where the model was estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standard_error_minor: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Total {
    pub currency: String,
    pub orders: i64,
    /// Net: after refunds and cancellations.
    pub revenue_minor: i64,
    pub attributed_minor: i64,
    pub unattributed_minor: i64,
    pub revenue: String,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Report {
    pub model: Model,
    pub by: By,
    pub view_through: bool,
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    pub time_zone: String,
    /// Up to when changes of orders and clicks are included in the shares (not in the totals, which are always current).
    #[schema(value_type = Option<String>, format = DateTime)]
    pub computed_through: Option<Timestamp>,
    /// Largest first within a currency (by time: in order), `unattributed` last.
    pub rows: Vec<Row>,
    pub totals: Vec<Total>,
    /// What the model learned, where it is one that learns.
    pub learned: Vec<Learned>,
}

/// One key under every model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelsRow {
    pub key: String,
    pub name: String,
    pub currency: String,
    /// Orders on whose path it is.
    pub orders: i64,
    /// By model, in the order of the report's `models`.
    pub revenue_minor: Vec<i64>,
}

/// All models side by side.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ModelsReport {
    pub models: Vec<Model>,
    pub by: By,
    pub view_through: bool,
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    pub time_zone: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub computed_through: Option<Timestamp>,
    /// Largest under the linear model first within a currency (by time: in order), `unattributed` last.
    pub rows: Vec<ModelsRow>,
    pub totals: Vec<Total>,
    pub learned: Vec<Learned>,
}

/// A number with the currency's decimals and no symbol: `-12.50`.
pub fn decimal(minor: i64, currency: &str) -> String {
    let digits = currency.parse::<Currency>().map_or(2, Currency::exponent);
    let unit = 10_u64.pow(digits);
    let (sign, abs) = (if minor < 0 { "-" } else { "" }, minor.unsigned_abs());
    if digits == 0 { format!("{sign}{abs}") } else { format!("{sign}{}.{:0w$}", abs / unit, abs % unit, w = digits as usize) }
}

/// Credit per (currency, label), one share per model asked for.
struct Credit {
    shares: BTreeMap<(String, String), Vec<Share>>,
    learned: Vec<Learned>,
}

async fn credit_by(db: &Db, question: &Question, models: &[Model]) -> Result<Credit, ReportError> {
    // Whatever a model gives to whom, it gives all of an order's value to that order's time.
    let stored: Vec<Model> = models.iter().copied().filter(|m| !m.learns() || question.by.is_time()).collect();
    let learning: Vec<Model> = models.iter().copied().filter(|m| m.learns() && !question.by.is_time()).collect();
    let mut credit = Credit { shares: BTreeMap::new(), learned: Vec::new() };
    let place = |model: &Model| models.iter().position(|m| m == model).unwrap_or(0);
    let mut add = |currency: String, key: &str, model: &Model, share: Share| {
        let label = question.by.label(key, question.time_zone);
        let sums = credit.shares.entry((currency, label)).or_insert_with(|| vec![Share::default(); models.len()]);
        let sum = &mut sums[place(model)];
        sum.orders += share.orders;
        sum.amount_minor += share.amount_minor;
        sum.standard_error_minor = share.standard_error_minor;
    };
    if !stored.is_empty() {
        for row in report_store::grouped(db, question.by, &stored, question.scope()).await? {
            for (model, amount_minor) in stored.iter().zip(&row.amounts_minor) {
                let share = Share { orders: row.orders, amount_minor: *amount_minor, standard_error_minor: None };
                add(row.currency.clone(), &row.key, model, share);
            }
        }
    }
    if !learning.is_empty() {
        let told = learned::tell(db, question, question.by).await?;
        for model in &learning {
            let (shares, notes) = told.credit(*model)?;
            credit.learned.extend(notes);
            for ((currency, key), share) in shares {
                add(currency, &key, model, share);
            }
        }
    }
    if let Some(only) = question.only {
        credit.shares.retain(|(currency, _), _| currency == only.code());
        credit.learned.retain(|l| l.currency == only.code());
    }
    Ok(credit)
}

/// Everything that both reports share, per currency: labels with their shares, largest first, cut, and what is left.
struct Part {
    total: Total,
    rows: Vec<(String, Vec<Share>)>,
    without_path: i64,
}

async fn parts(db: &Db, question: &Question, credit: Credit, rank: usize) -> Result<Vec<Part>, ReportError> {
    let with_path: HashMap<String, i64> = report_store::credited_orders(db, question.scope()).await?;
    let mut of_currency: BTreeMap<String, Vec<(String, Vec<Share>)>> = BTreeMap::new();
    for ((currency, label), shares) in credit.shares {
        of_currency.entry(currency).or_default().push((label, shares));
    }
    let mut parts = Vec::new();
    for TotalRow { currency, orders, net_minor } in report_store::totals(db, question.from, question.to).await? {
        if question.only.is_some_and(|only| only.code() != currency) {
            continue;
        }
        let mut rows = of_currency.remove(&currency).unwrap_or_default();
        let attributed: i64 = rows.iter().map(|(_, shares)| shares[rank].amount_minor).sum();
        if !question.by.is_time() {
            rows.sort_by(|a, b| b.1[rank].amount_minor.cmp(&a.1[rank].amount_minor).then_with(|| a.0.cmp(&b.0)));
        }
        if rows.len() > MAX_ROWS {
            let rest = rows.split_off(MAX_ROWS);
            fold(&mut rows, rest);
        }
        let total = Total {
            revenue: decimal(net_minor, &currency),
            orders,
            revenue_minor: net_minor,
            attributed_minor: attributed,
            unattributed_minor: net_minor - attributed,
            currency,
        };
        let without_path = orders - with_path.get(&total.currency).copied().unwrap_or(0);
        parts.push(Part { total, rows, without_path });
    }
    Ok(parts)
}

/// Puts rows together as `other`, with those that a model has already put together.
fn fold(rows: &mut Vec<(String, Vec<Share>)>, rest: Vec<(String, Vec<Share>)>) {
    let Some(width) = rest.first().map(|(_, shares)| shares.len()) else { return };
    let at = rows.iter().position(|(label, _)| label == OTHER).unwrap_or_else(|| {
        rows.push((OTHER.to_owned(), vec![Share::default(); width]));
        rows.len() - 1
    });
    for (_, shares) in rest {
        for (sum, share) in rows[at].1.iter_mut().zip(shares) {
            sum.orders += share.orders;
            sum.amount_minor += share.amount_minor;
        }
    }
}

/// The report. Totals are read from the orders, shares from the credit computed so far; what is between them is unattributed.
pub async fn attribution(db: &Db, question: &Question) -> Result<Report, ReportError> {
    let mark = credit::mark(db).await?;
    let credit = credit_by(db, question, &[question.model]).await?;
    let learned = credit.learned.clone();
    let names = question.by.names_of(db, credit.shares.keys().map(|(_, label)| label)).await?;
    let (mut rows, mut totals) = (Vec::new(), Vec::new());
    for part in parts(db, question, credit, 0).await? {
        let currency = &part.total.currency;
        let line = |key: &str, name: &str, share: Share| Row {
            key: key.to_owned(),
            name: name.to_owned(),
            currency: currency.clone(),
            orders: share.orders,
            revenue_minor: share.amount_minor,
            revenue: decimal(share.amount_minor, currency),
            standard_error_minor: share.standard_error_minor,
        };
        rows.extend(part.rows.iter().map(|(label, shares)| line(label, names.get(label).unwrap_or(label), shares[0])));
        let left = Share { orders: part.without_path, amount_minor: part.total.unattributed_minor, standard_error_minor: None };
        rows.push(line(UNATTRIBUTED, "No touch earned it", left));
        totals.push(part.total);
    }
    Ok(Report {
        model: question.model,
        by: question.by,
        view_through: question.view_through,
        from: question.from,
        to: question.to,
        time_zone: question.time_zone.name().to_owned(),
        computed_through: mark.through,
        rows,
        totals,
        learned,
    })
}

/// All models side by side.
pub async fn models(db: &Db, question: &Question) -> Result<ModelsReport, ReportError> {
    let mark = credit::mark(db).await?;
    let credit = credit_by(db, question, &Model::ALL).await?;
    let learned = credit.learned.clone();
    let names = question.by.names_of(db, credit.shares.keys().map(|(_, label)| label)).await?;
    let linear = Model::ALL.iter().position(|m| *m == Model::Linear).unwrap_or(0);
    let (mut rows, mut totals) = (Vec::new(), Vec::new());
    for part in parts(db, question, credit, linear).await? {
        let currency = &part.total.currency;
        let line = |key: &str, name: &str, orders, revenue_minor| ModelsRow {
            key: key.to_owned(),
            name: name.to_owned(),
            currency: currency.clone(),
            orders,
            revenue_minor,
        };
        for (label, shares) in &part.rows {
            let amounts = shares.iter().map(|s| s.amount_minor).collect();
            rows.push(line(label, names.get(label).unwrap_or(label), shares[linear].orders, amounts));
        }
        rows.push(line(UNATTRIBUTED, "No touch earned it", part.without_path, vec![part.total.unattributed_minor; Model::ALL.len()]));
        totals.push(part.total);
    }
    Ok(ModelsReport {
        models: Model::ALL.to_vec(),
        by: question.by,
        view_through: question.view_through,
        from: question.from,
        to: question.to,
        time_zone: question.time_zone.name().to_owned(),
        computed_through: mark.through,
        rows,
        totals,
        learned,
    })
}

impl Report {
    pub fn sheet(&self) -> Sheet {
        let mut sheet = Sheet::new("attribution");
        sheet.column(self.by.name(), Kind::Text).column("name", Kind::Text).column("currency", Kind::Text).column("orders", Kind::Whole);
        sheet.column("revenue", Kind::Decimal).column("revenue_minor", Kind::Whole).column("model", Kind::Text);
        sheet.column("standard_error_minor", Kind::Whole);
        for r in &self.rows {
            sheet.row(vec![
                Cell::text(&r.key),
                Cell::text(&r.name),
                Cell::text(&r.currency),
                Cell::Whole(r.orders),
                Cell::Decimal(r.revenue.clone()),
                Cell::Whole(r.revenue_minor),
                Cell::text(self.model.name()),
                r.standard_error_minor.into(),
            ]);
        }
        sheet
    }
}

impl ModelsReport {
    pub fn sheet(&self) -> Sheet {
        let mut sheet = Sheet::new("models");
        sheet.column(self.by.name(), Kind::Text).column("name", Kind::Text).column("currency", Kind::Text).column("orders", Kind::Whole);
        for model in &self.models {
            sheet.column(&format!("{}_minor", model.name()), Kind::Whole);
        }
        for r in &self.rows {
            let mut cells = vec![Cell::text(&r.key), Cell::text(&r.name), Cell::text(&r.currency), Cell::Whole(r.orders)];
            cells.extend(r.revenue_minor.iter().map(|m| Cell::Whole(*m)));
            sheet.row(cells);
        }
        sheet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_follow_the_currency() {
        assert_eq!(decimal(-1205, "GBP"), "-12.05");
        assert_eq!(decimal(1205, "JPY"), "1205");
        assert_eq!(decimal(-5, "KWD"), "-0.005");
    }

    #[test]
    fn small_rows_join_those_put_together_already() {
        let share = |amount_minor| vec![Share { orders: 1, amount_minor, standard_error_minor: None }];
        let mut rows = vec![("a".to_owned(), share(9)), (OTHER.to_owned(), share(5))];
        fold(&mut rows, vec![("b".into(), share(2)), ("c".into(), share(1))]);
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[1].1[0].amount_minor, rows[1].1[0].orders), (8, 3));
        let mut rows = vec![("a".to_owned(), share(9))];
        fold(&mut rows, vec![("b".into(), share(2))]);
        assert_eq!(rows[1].0, OTHER);
    }
}
