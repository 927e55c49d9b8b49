//! Engagement: how often people come, how much they do, how long ago they were here, whether they return.

use super::result::{CellView, ResultView, SHOWN, Stat, TableView, about, money};
use crate::attribution::{EngagementReport, PeopleIn};
use crate::platform::http::ApiResult;
use crate::web::chart::{self, Kind, Series, Spec, Unit};
use crate::web::format;
use crate::web::page::Shell;

#[allow(clippy::cast_precision_loss, reason = "for drawing")]
pub(super) fn view(shell: &Shell, r: &EngagementReport) -> ApiResult<ResultView> {
    let mut view = ResultView { empty: r.rows.iter().all(|row| row.people == 0 && row.orders == 0), ..ResultView::default() };
    if view.empty {
        return Ok(view);
    }
    let everybody: i64 = r.frequency.iter().map(|f| f.people).sum();
    let days: f64 = r.rows.iter().map(|row| row.active_days as f64).sum();
    let events: f64 = r.rows.iter().map(|row| row.events as f64).sum();
    let shares: Vec<f64> = r.rows.iter().filter_map(|row| row.return_share).collect();
    let back = if shares.is_empty() { "–".into() } else { format::percent(shares.iter().sum::<f64>() / shares.len() as f64) };
    let stat = |key: &str, value: String| Stat { label: shell.say(key), value, note: String::new() };
    view.stats = vec![
        stat("reports.people_here", format::count(everybody)),
        stat("reports.days_each", format!("{:.1}", days / everybody.max(1) as f64)),
        stat("reports.events_each", format!("{:.1}", events / days.max(1.0))),
        stat("reports.came_back", back),
    ];
    let (title, description) = about(shell, "reports.chart_people");
    let series = |key: &str, value: &dyn Fn(usize) -> i64| Series {
        name: shell.say(key),
        values: (0..r.rows.len()).map(|i| Some(value(i) as f64)).collect(),
    };
    view.charts.push(chart::draw_half(&Spec {
        id: "people".into(),
        title,
        description,
        kind: Kind::Line,
        unit: Unit::Count,
        axis: shell.say(&format!("reports.by.{}", r.unit.name())),
        labels: r.rows.iter().map(|row| row.period.clone()).collect(),
        series: vec![
            series("reports.people", &|i| r.rows[i].people),
            series("reports.returning", &|i| r.rows[i].returning_people),
            series("reports.new_people", &|i| r.rows[i].new_people),
        ],
    })?);
    for (id, title, list) in [("frequency", "reports.chart_frequency", &r.frequency), ("recency", "reports.chart_recency", &r.recency)] {
        let (title, description) = about(shell, title);
        view.charts.push(chart::draw_half(&Spec {
            id: id.into(),
            title,
            description,
            kind: Kind::Bars,
            unit: Unit::Count,
            axis: shell.say("reports.days"),
            labels: list.iter().map(bounds).collect(),
            series: vec![Series { name: shell.say("reports.people"), values: list.iter().map(|p| Some(p.people as f64)).collect() }],
        })?);
    }
    let mut table = TableView::new("periods", shell.say("reports.periods")).text(shell.say(&format!("reports.by.{}", r.unit.name())));
    for key in ["people", "new_people", "returning", "return_share", "days_each", "events_each", "orders", "revenue"] {
        table = table.num(shell.say(&format!("reports.{key}")));
    }
    table.file = Some("engagement");
    for row in r.rows.iter().rev().take(SHOWN) {
        table.rows.push(vec![
            CellView::head(row.period.clone()),
            CellView::count(row.people),
            CellView::count(row.new_people),
            CellView::count(row.returning_people),
            CellView::num(row.return_share.map_or_else(|| "–".into(), format::percent)),
            CellView::num(format!("{:.1}", row.days_per_person)),
            CellView::num(format!("{:.1}", row.events_per_day)),
            CellView::count(row.orders),
            CellView::num(money(row.revenue_minor, &r.currency)),
        ]);
    }
    view.tables.push(table);
    view.notes.push(shell.say("reports.engagement_about"));
    Ok(view)
}

fn bounds(p: &PeopleIn) -> String {
    match p.to {
        Some(to) if to == p.from + 1 => p.from.to_string(),
        Some(to) => format!("{}–{}", p.from, to - 1),
        None => format!("{}+", p.from),
    }
}
