//! Who earned what: by one model, and all models side by side.

use super::asked::Asked;
use super::result::{CellView, ResultView, SHOWN, Stat, TableView, about, into, money, name_of};
use crate::attribution::report::{ModelsReport, ModelsRow, Report, Row, Total};
use crate::attribution::{By, Learned, Model};
use crate::platform::http::ApiResult;
use crate::web::chart::{self, Kind, Series, Spec, Unit};
use crate::web::format;
use crate::web::page::Shell;

/// Rows drawn: more names cannot be read.
const DRAWN: usize = 8;

#[allow(clippy::cast_precision_loss, reason = "a share")]
fn stats(shell: &Shell, totals: &[Total]) -> Vec<Stat> {
    let mut stats = Vec::new();
    for t in totals {
        let share = t.attributed_minor as f64 / t.revenue_minor.max(1) as f64;
        stats.push(Stat {
            label: shell.say_with("reports.credited_in", &[("currency", t.currency.clone())]),
            value: money(t.attributed_minor, &t.currency),
            note: shell.say_with("reports.of_all", &[("all", money(t.revenue_minor, &t.currency)), ("p", format::percent(share))]),
        });
        stats.push(Stat {
            label: shell.say_with("reports.orders_in", &[("currency", t.currency.clone())]),
            value: format::count(t.orders),
            note: shell.say("reports.all_orders"),
        });
    }
    stats
}

fn learned(shell: &Shell, learned: &[Learned]) -> Vec<String> {
    learned
        .iter()
        .map(|l| {
            let args = [
                ("model", shell.say(&format!("model.{}", l.model.name()))),
                ("currency", l.currency.clone()),
                ("orders", format::count(l.conversions)),
                ("misses", format!("{:.0}", l.misses)),
            ];
            let text = shell.say_with("reports.learned", &args);
            match l.pairs_drawn {
                Some(_) => format!("{text} {}", shell.say("reports.estimated")),
                None => text,
            }
        })
        .collect()
}

/// Names short enough that all of so many stand at an axis.
fn cut(text: &str, names: usize) -> String {
    let most = (780 / names.max(1)).saturating_sub(20) / 8;
    let mut cut: String = text.chars().take(most.clamp(6, 30)).collect();
    if cut.len() < text.len() {
        cut.pop();
        cut.push('…');
    }
    cut
}

/// Rows of the currency that has most of them, for drawing.
fn first_currency(totals: &[Total]) -> Option<&str> {
    totals.iter().max_by_key(|t| t.attributed_minor).map(|t| t.currency.as_str())
}

#[allow(clippy::cast_precision_loss, reason = "for drawing")]
pub(super) fn attribution(shell: &Shell, asked: &Asked, r: &Report) -> ApiResult<ResultView> {
    let mut view = ResultView {
        stats: stats(shell, &r.totals),
        notes: learned(shell, &r.learned),
        empty: r.totals.is_empty(),
        ..ResultView::default()
    };
    if view.empty {
        return Ok(view);
    }
    if let Some(currency) = first_currency(&r.totals).and_then(|c| c.parse().ok().map(|parsed| (c, parsed))) {
        let rows: Vec<&Row> = r.rows.iter().filter(|row| row.currency == currency.0 && row.key != "unattributed").collect();
        let rows = if r.by.is_time() { rows } else { rows.into_iter().take(DRAWN).collect() };
        if !rows.is_empty() {
            let (title, description) = about(shell, "reports.chart_credited");
            view.charts.push(chart::draw(&Spec {
                id: "credited".into(),
                title,
                description,
                kind: if r.by.is_time() { Kind::Line } else { Kind::Bars },
                unit: Unit::Money(currency.1),
                axis: shell.say(&format!("reports.by.{}", r.by.name())),
                labels: rows.iter().map(|row| cut(&name_of(shell, &row.key, &row.name), rows.len())).collect(),
                series: vec![Series {
                    name: shell.say("reports.credited"),
                    values: rows.iter().map(|row| Some(row.revenue_minor as f64)).collect(),
                }],
            })?);
        }
    }
    let estimated = r.rows.iter().any(|row| row.standard_error_minor.is_some());
    let mut table = TableView::new("rows", shell.say_with("reports.rows_by", &[("by", shell.say(&format!("reports.by.{}", r.by.name())))]))
        .text(shell.say(&format!("reports.by.{}", r.by.name())))
        .num(shell.say("reports.orders"))
        .num(shell.say("reports.credited"))
        .num(shell.say("reports.share_of"));
    if estimated {
        table = table.num(shell.say("reports.error"));
    }
    for row in r.rows.iter().take(SHOWN) {
        let total = r.totals.iter().find(|t| t.currency == row.currency);
        let all = total.map_or(0, |t| t.revenue_minor);
        let outside = row.key == "unattributed";
        let inside = r.rows.iter().filter(|o| o.currency == row.currency && o.key != "unattributed");
        let longest = if outside { 0 } else { inside.map(|o| o.revenue_minor).max().unwrap_or(0) };
        let mut cells = vec![
            CellView::head(name_of(shell, &row.key, &row.name)).link(into(asked, &row.key)),
            CellView::count(row.orders),
            CellView::num(money(row.revenue_minor, &row.currency)).bar(row.revenue_minor, longest),
            CellView::num(format::percent(row.revenue_minor as f64 / all.max(1) as f64)),
        ];
        if estimated {
            cells.push(CellView::num(row.standard_error_minor.map_or_else(String::new, |e| format!("± {}", money(e, &row.currency)))));
        }
        table.rows.push(cells);
    }
    table.note = more(shell, r.rows.len());
    if !r.model.learns() || r.by.is_time() {
        view.notes.push(shell.say(&format!("reports.model_about.{}", r.model.name())));
    }
    view.tables.push(table);
    Ok(view)
}

pub(super) fn more(shell: &Shell, rows: usize) -> String {
    if rows > SHOWN {
        shell.say_with("reports.more", &[("n", format::count(rows as i64)), ("shown", SHOWN.to_string())])
    } else {
        String::new()
    }
}

/// Models whose chart can be told apart.
const DRAWN_MODELS: [Model; 6] = [Model::First, Model::Last, Model::Linear, Model::Position, Model::Markov, Model::Shapley];

#[allow(clippy::cast_precision_loss, reason = "for drawing")]
pub(super) fn models(shell: &Shell, asked: &Asked, r: &ModelsReport) -> ApiResult<ResultView> {
    let mut view = ResultView {
        stats: stats(shell, &r.totals),
        notes: learned(shell, &r.learned),
        empty: r.totals.is_empty(),
        ..ResultView::default()
    };
    if view.empty {
        return Ok(view);
    }
    view.notes.insert(0, shell.say("reports.models_about"));
    if let Some((code, currency)) = first_currency(&r.totals).and_then(|c| Some((c, c.parse().ok()?))) {
        let rows: Vec<&ModelsRow> = r.rows.iter().filter(|row| row.currency == code && row.key != "unattributed").take(DRAWN).collect();
        let (title, description) = about(shell, "reports.chart_models");
        let place = |m: Model| r.models.iter().position(|other| *other == m);
        if !rows.is_empty() && r.by != By::Day {
            view.charts.push(chart::draw(&Spec {
                id: "models".into(),
                title,
                description,
                kind: Kind::Bars,
                unit: Unit::Money(currency),
                axis: shell.say(&format!("reports.by.{}", r.by.name())),
                labels: rows.iter().map(|row| cut(&name_of(shell, &row.key, &row.name), rows.len())).collect(),
                series: DRAWN_MODELS
                    .into_iter()
                    .filter_map(|m| Some((m, place(m)?)))
                    .map(|(m, at)| Series {
                        name: shell.say(&format!("model.{}", m.name())),
                        values: rows.iter().map(|row| row.revenue_minor.get(at).map(|v| *v as f64)).collect(),
                    })
                    .collect(),
            })?);
        }
    }
    let mut table = TableView::new("models", shell.say("reports.models_table"))
        .text(shell.say(&format!("reports.by.{}", r.by.name())))
        .num(shell.say("reports.orders"));
    for model in &r.models {
        table = table.num(shell.say(&format!("model.{}", model.name())));
    }
    for row in r.rows.iter().take(SHOWN) {
        let total = r.totals.iter().find(|t| t.currency == row.currency).map_or(0, |t| t.attributed_minor);
        let outside = row.key == "unattributed";
        let mut cells = vec![CellView::head(name_of(shell, &row.key, &row.name)).link(into(asked, &row.key)), CellView::count(row.orders)];
        for minor in &row.revenue_minor {
            let cell = CellView::num(money(*minor, &row.currency));
            cells.push(if outside { cell } else { cell.heat(*minor as f64 / total.max(1) as f64) });
        }
        table.rows.push(cells);
    }
    table.note = more(shell, r.rows.len());
    view.tables.push(table);
    Ok(view)
}
