//! Cohorts: people by the period of their first order, and how many ordered again in each period after it.

use super::result::{CellView, ResultView, Stat, TableView, about, money};
use crate::attribution::CohortReport;
use crate::platform::http::ApiResult;
use crate::web::chart::{self, Kind, Series, Spec, Unit};
use crate::web::format;
use crate::web::page::Shell;

/// Columns of ages shown; files hold all.
const AGES: usize = 13;

#[allow(clippy::cast_precision_loss, reason = "shares")]
pub(super) fn view(shell: &Shell, r: &CohortReport) -> ApiResult<ResultView> {
    let mut view = ResultView { empty: r.cohorts.is_empty(), ..ResultView::default() };
    if view.empty {
        return Ok(view);
    }
    let people: i64 = r.cohorts.iter().map(|c| c.people).sum();
    let unit = shell.say(&format!("reports.by.{}", r.unit.name()));
    let kept = |age: usize| r.retention.get(age).map_or_else(|| "–".into(), |share| format::percent(*share));
    view.stats = vec![
        Stat { label: shell.say("reports.new_buyers"), value: format::count(people), note: String::new() },
        Stat {
            label: shell.say("reports.again_next"),
            value: kept(1),
            note: shell.say_with("reports.after", &[("n", "1".into()), ("unit", unit.clone())]),
        },
        Stat {
            label: shell.say("reports.again_third"),
            value: kept(3),
            note: shell.say_with("reports.after", &[("n", "3".into()), ("unit", unit.clone())]),
        },
    ];
    let ages = r.cohorts.iter().map(|c| c.cells.len()).max().unwrap_or(0).min(AGES);
    let mut table =
        TableView::new("retention", shell.say("reports.retention")).text(shell.say("reports.first_order")).num(shell.say("reports.people"));
    table.dense = true;
    for age in 0..ages {
        table = table.num(if age == 0 { shell.say("reports.same") } else { format!("+{age}") });
    }
    // Everybody ordered in the first period: what tells cohorts apart comes after it.
    let top = r.cohorts.iter().flat_map(|c| c.cells.iter().skip(1)).map(|c| c.share).fold(0.0_f64, f64::max);
    for cohort in &r.cohorts {
        let mut cells = vec![CellView::head(cohort.period.clone()), CellView::count(cohort.people)];
        for age in 0..ages {
            cells.push(match cohort.cells.get(age) {
                None => CellView::num(""),
                Some(cell) => {
                    let shade = if age == 0 || top == 0.0 { 0.0 } else { cell.share / top };
                    let shown = CellView::num(format::percent(cell.share)).sub(format::count(cell.people)).heat(shade);
                    CellView { soft: !cell.complete, ..shown }
                }
            });
        }
        table.rows.push(cells);
    }
    table.note = shell.say("reports.retention_note");
    let (title, description) = about(shell, "reports.chart_retention");
    if r.retention.len() > 2 {
        view.charts.push(chart::draw(&Spec {
            id: "retention".into(),
            title,
            description,
            kind: Kind::Line,
            unit: Unit::Share,
            axis: unit,
            labels: (1..r.retention.len().max(2)).map(|age| format!("+{age}")).collect(),
            series: vec![Series {
                name: shell.say("reports.ordered_again"),
                values: (1..r.retention.len().max(2)).map(|age| r.retention.get(age).copied()).collect(),
            }],
        })?);
    }
    view.tables.push(table);
    let mut worth = TableView::new("worth", shell.say_with("reports.worth", &[("currency", r.currency.clone())]))
        .text(shell.say("reports.first_order"))
        .num(shell.say("reports.people"));
    worth.dense = true;
    for age in 0..ages {
        worth = worth.num(if age == 0 { shell.say("reports.same") } else { format!("+{age}") });
    }
    for cohort in &r.cohorts {
        let mut cells = vec![CellView::head(cohort.period.clone()), CellView::count(cohort.people)];
        for age in 0..ages {
            cells.push(cohort.cells.get(age).map_or_else(
                || CellView::num(""),
                |c| CellView { soft: !c.complete, ..CellView::num(money(c.revenue_so_far_minor / cohort.people.max(1), &r.currency)) },
            ));
        }
        worth.rows.push(cells);
    }
    worth.note = shell.say("reports.worth_note");
    view.tables.push(worth);
    Ok(view)
}
