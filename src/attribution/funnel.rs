//! The funnel: of the touches due in a span, how many went out, arrived, were seen, were clicked and are on the path of an order.

use serde::Serialize;
use sqlx::AssertSqlSafe;
use utoipa::ToSchema;

use super::by::{By, Within};
use super::funnel_kept;
use super::question::{Question, ReportError};
use super::report::decimal;
use super::sheet::{Cell, Kind, Sheet};
use crate::platform::clock::Timestamp;
use crate::platform::db::Db;
use crate::read;

/// Counts of touches. Seen and clicked are by humans: what bots and mail proxies fetch does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FunnelRow {
    pub key: String,
    pub name: String,
    /// All that were meant to go out, those of the holdout left aside.
    pub planned: i64,
    /// Of the holdout: would have gone out.
    pub held: i64,
    /// Checked at their time and left out: no consent, over a cap, nothing to show.
    pub skipped: i64,
    /// Refused by the mail server for good.
    pub failed: i64,
    /// Went out or were shown, also where the answer of the mail server was lost.
    pub sent: i64,
    /// Sent and not come back. Nobody tells whether a mail that did not bounce reached its reader.
    pub delivered: i64,
    /// Opened or viewable, or clicked.
    pub seen: i64,
    pub clicked: i64,
    /// On the path of an order.
    pub ordered: i64,
    pub bounced: i64,
    pub unsubscribed: i64,
    pub complained: i64,
    /// Credit of these touches under the linear model, in the report's currency, whenever the orders came.
    pub revenue_minor: i64,
    pub revenue: String,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FunnelReport {
    pub by: By,
    pub view_through: bool,
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    pub time_zone: String,
    pub currency: String,
    /// Most sent first (by time: in order).
    pub rows: Vec<FunnelRow>,
    /// Everything in one row.
    pub total: FunnelRow,
}

#[derive(Clone, Debug, Default, sqlx::FromRow)]
pub(super) struct Counts {
    pub key: String,
    pub planned: i64,
    pub held: i64,
    pub skipped: i64,
    pub failed: i64,
    pub sent: i64,
    pub delivered: i64,
    pub seen: i64,
    pub clicked: i64,
    pub ordered: i64,
    pub bounced: i64,
    pub unsubscribed: i64,
    pub complained: i64,
    pub revenue_minor: i64,
}

impl Counts {
    pub fn is_zero(&self) -> bool {
        [self.planned, self.held, self.skipped, self.failed, self.sent, self.seen, self.bounced, self.unsubscribed, self.complained]
            == [0; 9]
    }
    fn add(&mut self, other: &Counts) {
        for (sum, n) in [
            (&mut self.planned, other.planned),
            (&mut self.held, other.held),
            (&mut self.skipped, other.skipped),
            (&mut self.failed, other.failed),
            (&mut self.sent, other.sent),
            (&mut self.delivered, other.delivered),
            (&mut self.seen, other.seen),
            (&mut self.clicked, other.clicked),
            (&mut self.ordered, other.ordered),
            (&mut self.bounced, other.bounced),
            (&mut self.unsubscribed, other.unsubscribed),
            (&mut self.complained, other.complained),
            (&mut self.revenue_minor, other.revenue_minor),
        ] {
            *sum += n;
        }
    }
    fn row(self, key: String, name: String, currency: &str) -> FunnelRow {
        FunnelRow {
            key,
            name,
            planned: self.planned,
            held: self.held,
            skipped: self.skipped,
            failed: self.failed,
            sent: self.sent,
            delivered: self.delivered,
            seen: self.seen,
            clicked: self.clicked,
            ordered: self.ordered,
            bounced: self.bounced,
            unsubscribed: self.unsubscribed,
            complained: self.complained,
            revenue: decimal(self.revenue_minor, currency),
            revenue_minor: self.revenue_minor,
        }
    }
}

const TREATED: &str = "c.arm = 'treated'";
const SENT: &str = "c.arm = 'treated' AND c.state IN ('sent', 'served', 'uncertain')";
const SEEN: &str = "c.arm = 'treated' AND (c.open_at IS NOT NULL OR c.viewable_at IS NOT NULL OR c.click_at IS NOT NULL)";

async fn counts(db: &Db, question: &Question) -> sqlx::Result<Vec<Counts>> {
    let n = |what: &str, name: &str| format!("CAST(SUM(CASE WHEN {what} THEN 1 ELSE 0 END) AS BIGINT) AS {name}");
    let columns = [
        n(TREATED, "planned"),
        n("c.arm = 'ghost' AND c.state = 'held'", "held"),
        n(&format!("{TREATED} AND c.state IN ('skipped', 'expired', 'cancelled')"), "skipped"),
        n(&format!("{TREATED} AND c.state = 'failed'"), "failed"),
        n(SENT, "sent"),
        n(&format!("{SENT} AND s.bounced IS NULL"), "delivered"),
        n(SEEN, "seen"),
        n(&format!("{TREATED} AND c.click_at IS NOT NULL"), "clicked"),
        n("x.orders IS NOT NULL", "ordered"),
        n("s.bounced IS NOT NULL", "bounced"),
        n("s.unsubscribed IS NOT NULL", "unsubscribed"),
        n("s.complained IS NOT NULL", "complained"),
        "CAST(COALESCE(SUM(x.net), 0) AS BIGINT) AS revenue_minor".to_owned(),
    ]
    .join(", ");
    let group = Within::default().key(question.by, "c.due_at");
    let inside = question.within.condition().map_or(String::new(), |condition| format!(" AND {condition}"));
    let sql = format!(
        "SELECT {group} AS key, {columns} FROM touch c
         LEFT JOIN (SELECT touch_id, MAX(CASE WHEN kind = 'bounce' THEN 1 END) AS bounced, MAX(CASE WHEN kind = 'complaint' THEN 1 END) AS complained,
                MAX(CASE WHEN kind = 'unsubscribe' THEN 1 END) AS unsubscribed FROM touch_signal
             WHERE at >= $1 AND kind IN ('bounce', 'complaint', 'unsubscribe') GROUP BY touch_id) s ON s.touch_id = c.id
         LEFT JOIN (SELECT x.touch_id, COUNT(*) AS orders, SUM(CASE WHEN o.currency = $4 THEN x.linear_minor END) AS net
             FROM credit x JOIN shop_order o ON o.id = x.order_id WHERE x.view_through = $3 AND o.placed_at >= $1 GROUP BY x.touch_id) x
           ON x.touch_id = c.id
         WHERE c.due_at >= $1 AND c.due_at < $2{inside} GROUP BY 1"
    );
    read!(*db, |c| {
        sqlx::query_as::<_, Counts>(AssertSqlSafe(sql))
            .bind(question.from)
            .bind(question.to)
            .bind(question.view_through)
            .bind(question.currency.code())
            .fetch_all(c)
            .await
    })
}

/// The report. Touches count at their due time.
pub async fn funnel(db: &Db, question: &Question) -> Result<FunnelReport, ReportError> {
    let currency = question.currency.code();
    let mut by_label: std::collections::BTreeMap<String, Counts> = std::collections::BTreeMap::new();
    let mut all = Counts::default();
    // What was added up ahead answers where it can; else touches are counted.
    let found = match funnel_kept::counts(db, question).await? {
        Some(kept) => kept,
        None => counts(db, question).await?,
    };
    for found in found {
        all.add(&found);
        by_label.entry(question.by.label(&found.key, question.time_zone)).or_default().add(&found);
    }
    let names = question.by.names_of(db, by_label.keys()).await?;
    let mut rows: Vec<FunnelRow> = by_label
        .into_iter()
        .map(|(label, counts)| {
            let name = names.get(&label).unwrap_or(&label).clone();
            counts.row(label, name, currency)
        })
        .collect();
    if !question.by.is_time() {
        rows.sort_by(|a, b| b.sent.cmp(&a.sent).then_with(|| a.key.cmp(&b.key)));
    }
    Ok(FunnelReport {
        by: question.by,
        view_through: question.view_through,
        from: question.from,
        to: question.to,
        time_zone: question.time_zone.name().to_owned(),
        rows,
        total: all.row("total".into(), "All touches".into(), currency),
        currency: currency.to_owned(),
    })
}

impl FunnelReport {
    pub fn sheet(&self) -> Sheet {
        let mut sheet = Sheet::new("funnel");
        sheet.column(self.by.name(), Kind::Text).column("name", Kind::Text);
        for name in ["planned", "held", "skipped", "failed", "sent", "delivered", "seen", "clicked", "ordered", "bounced"] {
            sheet.column(name, Kind::Whole);
        }
        sheet.column("unsubscribed", Kind::Whole).column("complained", Kind::Whole).column("currency", Kind::Text);
        sheet.column("revenue", Kind::Decimal).column("revenue_minor", Kind::Whole);
        for r in &self.rows {
            let counts = [
                r.planned,
                r.held,
                r.skipped,
                r.failed,
                r.sent,
                r.delivered,
                r.seen,
                r.clicked,
                r.ordered,
                r.bounced,
                r.unsubscribed,
                r.complained,
            ];
            let mut cells = vec![Cell::text(&r.key), Cell::text(&r.name)];
            cells.extend(counts.map(Cell::Whole));
            cells.extend([Cell::text(&self.currency), Cell::Decimal(r.revenue.clone()), Cell::Whole(r.revenue_minor)]);
            sheet.row(cells);
        }
        sheet
    }
}
