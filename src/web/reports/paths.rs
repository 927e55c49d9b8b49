//! Paths: by which sequences of contacts orders came, how long these were and how long they took.

use super::credit::more;
use super::result::{CellView, ResultView, Stat, TableView, about, money, name_of};
use crate::attribution::PathsReport;
use crate::platform::http::ApiResult;
use crate::web::chart::{self, Kind, Series, Spec, Unit};
use crate::web::format;
use crate::web::page::Shell;

fn hours(shell: &Shell, h: Option<i64>) -> String {
    h.map_or_else(|| "–".into(), |h| format::duration(h.saturating_mul(3_600_000_000).max(60_000_000), shell.locale()))
}

#[allow(clippy::cast_precision_loss, reason = "for drawing")]
pub(super) fn view(shell: &Shell, r: &PathsReport) -> ApiResult<ResultView> {
    let mut view = ResultView { empty: r.paths.is_empty(), ..ResultView::default() };
    if view.empty {
        return Ok(view);
    }
    let all = (r.orders + r.misses).max(1);
    let stat = |key: &str, value: String, note: String| Stat { label: shell.say(key), value, note };
    view.stats = vec![
        stat("reports.orders_with_path", format::count(r.orders), money(r.revenue_minor, &r.currency)),
        stat(
            "reports.misses",
            format::count(r.misses),
            shell.say_with("reports.convert", &[("p", format::percent(r.orders as f64 / all as f64))]),
        ),
        stat(
            "reports.median_first",
            hours(shell, r.from_first_contact.median_hours),
            shell.say_with("reports.p90", &[("t", hours(shell, r.from_first_contact.p90_hours))]),
        ),
        stat(
            "reports.median_last",
            hours(shell, r.from_last_contact.median_hours),
            shell.say_with("reports.p90", &[("t", hours(shell, r.from_last_contact.p90_hours))]),
        ),
    ];
    let mut table = TableView::new("paths", shell.say_with("reports.paths_of", &[("n", format::count(r.distinct_paths as i64))]))
        .text(shell.say("reports.path"))
        .num(shell.say("reports.orders"))
        .num(shell.say("reports.revenue"))
        .num(shell.say("reports.misses"))
        .num(shell.say("reports.conversion"));
    table.file = Some("paths");
    let longest = r.paths.iter().map(|p| p.orders).max().unwrap_or(0);
    for p in &r.paths {
        let names: Vec<String> = p.keys.iter().zip(&p.names).map(|(key, name)| name_of(shell, key, name)).collect();
        table.rows.push(vec![
            CellView::head(names.join(" → ")),
            CellView::count(p.orders).bar(p.orders, longest),
            CellView::num(money(p.revenue_minor, &r.currency)),
            CellView::count(p.misses),
            CellView::num(format::percent(p.conversion_rate)),
        ]);
    }
    table.note = more(shell, 0);
    let lengths = spec(
        shell,
        "lengths",
        "reports.chart_lengths",
        "reports.contacts",
        r.lengths.iter().map(|l| l.contacts.to_string()).collect(),
        vec![
            ("reports.orders", r.lengths.iter().map(|l| Some(l.orders as f64)).collect()),
            ("reports.misses", r.lengths.iter().map(|l| Some(l.misses as f64)).collect()),
        ],
    );
    let delays = spec(
        shell,
        "delays",
        "reports.chart_delays",
        "reports.delay",
        r.delays.iter().map(|d| delay(shell, d.from_hours, d.to_hours)).collect(),
        vec![("reports.orders", r.delays.iter().map(|d| Some(d.orders as f64)).collect())],
    );
    view.charts = vec![chart::draw_half(&lengths)?, chart::draw_half(&delays)?];
    view.tables.push(table);
    Ok(view)
}

/// `1–6 h`, `2–4 d`, `28+ d`.
fn delay(shell: &Shell, from: i64, to: Option<i64>) -> String {
    let days = from >= 24;
    let unit = shell.say(if days { "unit.d" } else { "unit.h" });
    let part = |h: i64| if days { h / 24 } else { h };
    match to {
        Some(to) => format!("{}–{} {unit}", part(from), part(to)),
        None => format!("{}+ {unit}", part(from)),
    }
}

fn spec(shell: &Shell, id: &str, title: &str, axis: &str, labels: Vec<String>, series: Vec<(&str, Vec<Option<f64>>)>) -> Spec {
    let (title, description) = about(shell, title);
    Spec {
        id: id.into(),
        title,
        description,
        kind: Kind::Bars,
        unit: Unit::Count,
        axis: shell.say(axis),
        labels,
        series: series.into_iter().map(|(name, values)| Series { name: shell.say(name), values }).collect(),
    }
}
