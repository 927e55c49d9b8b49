//! The funnel: of the touches due in a span, how many went out, arrived, were seen, clicked, and led to an order.

use super::asked::Asked;
use super::credit::more;
use super::result::{CellView, ResultView, SHOWN, Stat, TableView, into, money, name_of};
use crate::attribution::{FunnelReport, FunnelRow};
use crate::platform::http::ApiResult;
use crate::web::format;
use crate::web::page::Shell;

#[allow(clippy::cast_precision_loss, reason = "a share")]
fn share(part: i64, of: i64) -> String {
    if of > 0 { format::percent(part as f64 / of as f64) } else { "–".into() }
}

pub(super) fn view(shell: &Shell, asked: &Asked, r: &FunnelReport) -> ApiResult<ResultView> {
    let t = &r.total;
    let mut view = ResultView { empty: t.planned == 0 && t.held == 0, ..ResultView::default() };
    if view.empty {
        return Ok(view);
    }
    view.stats = vec![
        Stat { label: shell.say("reports.click_rate"), value: share(t.clicked, t.delivered), note: shell.say("reports.of_delivered") },
        Stat { label: shell.say("reports.order_rate"), value: share(t.ordered, t.delivered), note: shell.say("reports.of_delivered") },
        Stat { label: shell.say("reports.bounced"), value: share(t.bounced, t.sent), note: format::count(t.bounced) },
        Stat { label: shell.say("reports.unsubscribed"), value: share(t.unsubscribed, t.delivered), note: format::count(t.unsubscribed) },
        Stat { label: shell.say("reports.complained"), value: share(t.complained, t.delivered), note: format::count(t.complained) },
        Stat { label: shell.say("reports.credited_linear"), value: money(t.revenue_minor, &r.currency), note: String::new() },
    ];
    let steps: [(&str, i64); 6] = [
        ("planned", t.planned),
        ("sent", t.sent),
        ("delivered", t.delivered),
        ("seen", t.seen),
        ("clicked", t.clicked),
        ("ordered", t.ordered),
    ];
    let mut funnel = TableView::new("steps", shell.say("reports.steps"))
        .text(shell.say("reports.step"))
        .num(shell.say("reports.touches"))
        .num(shell.say("reports.of_planned"))
        .num(shell.say("reports.of_before"));
    for (i, (name, n)) in steps.iter().enumerate() {
        let before = if i == 0 { t.planned } else { steps[i - 1].1 };
        funnel.rows.push(vec![
            CellView::head(shell.say(&format!("reports.{name}"))),
            CellView::count(*n).bar(*n, t.planned),
            CellView::num(share(*n, t.planned)),
            CellView::num(share(*n, before)),
        ]);
    }
    funnel.note = shell.say_with(
        "reports.funnel_note",
        &[("held", format::count(t.held)), ("skipped", format::count(t.skipped)), ("failed", format::count(t.failed))],
    );
    let mut table = TableView::new("rows", shell.say_with("reports.rows_by", &[("by", shell.say(&format!("reports.by.{}", r.by.name())))]))
        .text(shell.say(&format!("reports.by.{}", r.by.name())));
    for key in ["sent", "delivered", "seen", "clicked", "click_rate", "ordered", "bounced", "unsubscribed", "credited_linear"] {
        table = table.num(shell.say(&format!("reports.{key}")));
    }
    let longest = r.rows.iter().map(|row| row.sent).max().unwrap_or(0);
    for row in r.rows.iter().take(SHOWN) {
        table.rows.push(cells(shell, asked, row, longest, &r.currency));
    }
    table.note = more(shell, r.rows.len());
    view.tables = vec![funnel, table];
    Ok(view)
}

fn cells(shell: &Shell, asked: &Asked, row: &FunnelRow, longest: i64, currency: &str) -> Vec<CellView> {
    vec![
        CellView::head(name_of(shell, &row.key, &row.name)).link(into(asked, &row.key)),
        CellView::count(row.sent).bar(row.sent, longest),
        CellView::count(row.delivered),
        CellView::count(row.seen),
        CellView::count(row.clicked),
        CellView::num(share(row.clicked, row.delivered)),
        CellView::count(row.ordered),
        CellView::count(row.bounced),
        CellView::count(row.unsubscribed),
        CellView::num(money(row.revenue_minor, currency)),
    ]
}
