//! The list of campaigns, and the same as a file.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Data, Query};
use serde::{Deserialize, Serialize};

use super::figures::{self, Figures};
use super::{Shown, when};
use crate::attribution::{Cell, Kind, Sheet};
use crate::audience;
use crate::campaign::{self, Campaign, ListFilter, ListOrder, Status};
use crate::platform::http::ApiResult;
use crate::platform::ids::{CampaignId, SegmentId};
use crate::platform::{Money, Platform, Timestamp};
use crate::touches::TouchChannel;
use crate::web::chart;
use crate::web::page::Shell;
use crate::web::table::{Choice, PAGE_ROWS, Pager, Sort, kept};

/// Most rows of a file.
const MAX_FILE_ROWS: usize = 20_000;

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ListQuery {
    q: String,
    status: String,
    channel: String,
    segment: String,
    sort: Option<String>,
    after: Option<String>,
}

impl ListQuery {
    fn kept(&self) -> String {
        kept(&[("q", &self.q), ("status", &self.status), ("channel", &self.channel), ("segment", &self.segment)])
    }
    fn sort(&self) -> Sort {
        Sort::read(self.sort.as_deref(), &["-made", "name", "next", "sent", "clicks", "revenue"], self.kept())
    }
    fn filter(&self, sort: &Sort) -> ListFilter {
        ListFilter {
            status: self.status.parse::<Status>().ok(),
            channel: self.channel.parse::<TouchChannel>().ok(),
            segment: self.segment.parse::<SegmentId>().ok(),
            search: self.q.chars().take(200).collect(),
            order: match sort.by {
                "name" => ListOrder::Name,
                "next" => ListOrder::Next,
                "sent" => ListOrder::Sent,
                "clicks" => ListOrder::Clicked,
                "revenue" => ListOrder::Earned,
                _ => ListOrder::Made,
            },
            down: sort.down,
            after: self.after.clone(),
        }
    }
    fn filtered(&self) -> bool {
        !self.kept().is_empty()
    }
}

#[derive(Serialize)]
struct Row {
    c: Shown,
    segment: String,
    segment_id: String,
    when: String,
    last_run_at: Option<Timestamp>,
    variants: usize,
    sent: i64,
    clicked: i64,
    click_rate: Option<f64>,
    revenue: Money,
    spark: Option<String>,
}

#[derive(Serialize)]
struct ListView {
    rows: Vec<Row>,
    sort: Sort,
    pager: Pager,
    download: String,
    filtered: bool,
    /// There is no campaign at all.
    nothing: bool,
    q: String,
    status: String,
    channel: String,
    segment: String,
    sort_word: String,
    statuses: Vec<Choice>,
    channels: Vec<Choice>,
}

#[allow(clippy::cast_precision_loss, reason = "counts of touches")]
fn rate(n: i64, of: i64) -> Option<f64> {
    (of > 0).then(|| n as f64 / of as f64)
}

/// The rows of a page of campaigns: three questions for all of them.
async fn rows(shell: &Shell, platform: &Platform, campaigns: &[Campaign]) -> ApiResult<Vec<Row>> {
    let ids: Vec<CampaignId> = campaigns.iter().map(|c| c.id).collect();
    let segments: Vec<SegmentId> = campaigns.iter().map(|c| c.plan.segment).collect();
    let names = audience::names_of(&platform.db, &segments).await?;
    let last = campaign::last_runs(&platform.db, &ids).await?;
    let figures = if ids.is_empty() { Default::default() } else { figures::of_many(platform, &ids).await? };
    let none = Figures::default();
    Ok(campaigns
        .iter()
        .map(|c| {
            let f = figures.get(&c.id).unwrap_or(&none);
            Row {
                c: Shown::of(c),
                segment: names.get(&c.plan.segment).cloned().unwrap_or_default(),
                segment_id: c.plan.segment.to_string(),
                when: when::schedule(shell, &c.plan.schedule),
                last_run_at: last.get(&c.id).copied(),
                variants: c.variants.len(),
                sent: f.sent,
                clicked: f.clicked,
                click_rate: rate(f.clicked, f.sent),
                revenue: Money::new(f.revenue_minor, platform.config.shop.currency),
                spark: f.weeks.iter().any(|w| *w > 0.0).then(|| chart::sparkline(&f.weeks)),
            }
        })
        .collect())
}

pub async fn list(shell: Shell, platform: Data<Platform>, query: Query<ListQuery>) -> ApiResult {
    let query = query.into_inner();
    let sort = query.sort();
    let filter = query.filter(&sort);
    let mut found = campaign::filtered(&platform.db, &filter, PAGE_ROWS + 1).await?;
    let sort_word = query
        .sort
        .clone()
        .filter(|s| !s.is_empty())
        .map_or_else(String::new, |_| format!("{}{}", if sort.down { "-" } else { "" }, sort.by));
    let keep = format!("{}{}", query.kept(), kept(&[("sort", &sort_word)]));
    let pager = Pager::cut(&mut found, query.after.as_deref(), keep.clone(), |c| filter.order.key(c));
    let any = || Choice::new("", shell.say("campaigns.any"));
    let statuses =
        std::iter::once(any()).chain(Status::ALL.iter().map(|s| Choice::new(s.as_str(), shell.say(&format!("campaign.status.{s}")))));
    let channels = std::iter::once(any())
        .chain(TouchChannel::ALL.iter().map(|c| Choice::new(c.as_str(), shell.say(&format!("campaign.channel.{c}")))));
    let view = ListView {
        nothing: found.is_empty() && !query.filtered() && pager.first,
        rows: rows(&shell, &platform, &found).await?,
        filtered: query.filtered(),
        download: format!("/campaigns/download?{keep}"),
        sort,
        pager,
        statuses: statuses.collect(),
        channels: channels.collect(),
        q: query.q,
        status: query.status,
        channel: query.channel,
        segment: query.segment,
        sort_word,
    };
    shell.render("campaigns/list.html", shell.say("campaigns.title"), &view)
}

/// All rows of the list, in its order and with its filters, as CSV.
pub async fn download(shell: Shell, platform: Data<Platform>, query: Query<ListQuery>) -> ApiResult {
    let query = query.into_inner();
    let mut filter = query.filter(&query.sort());
    filter.after = None;
    let mut sheet = Sheet::new("campaigns");
    for (name, kind) in [
        ("id", Kind::Text),
        ("key", Kind::Text),
        ("name", Kind::Text),
        ("state", Kind::Text),
        ("channel", Kind::Text),
        ("audience", Kind::Text),
        ("last_run_at", Kind::Time),
        ("next_run_at", Kind::Time),
        ("sent", Kind::Whole),
        ("clicks", Kind::Whole),
        ("credited_revenue_minor", Kind::Whole),
        ("currency", Kind::Text),
    ] {
        sheet.column(name, kind);
    }
    let time = |t: Option<Timestamp>| t.map_or(Cell::Empty, Cell::Time);
    while sheet.rows.len() < MAX_FILE_ROWS {
        let found = campaign::filtered(&platform.db, &filter, 500).await?;
        let Some(last) = found.last() else { break };
        filter.after = Some(filter.order.key(last));
        for row in rows(&shell, &platform, &found).await? {
            sheet.row(vec![
                Cell::text(&row.c.id),
                Cell::text(&row.c.key),
                Cell::text(&row.c.name),
                Cell::text(row.c.status),
                Cell::text(row.c.channel),
                Cell::text(&row.segment),
                time(row.last_run_at),
                time(row.c.next_run_at),
                Cell::Whole(row.sent),
                Cell::Whole(row.clicked),
                Cell::Whole(row.revenue.minor),
                Cell::text(row.revenue.currency.code()),
            ]);
        }
    }
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"campaigns.csv\""))
        .body(sheet.to_csv()))
}
