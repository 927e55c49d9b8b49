//! The list of segments, and deleting one.

use std::cmp::Ordering;

use actix_web::web::{Data, Path, Query};
use serde::{Deserialize, Serialize};

use crate::audience::{self, AudienceError, Overview, Segment, SizePoint, fold};
use crate::campaign::{self, Use};
use crate::platform::clock::{DAY_US, Timestamp};
use crate::platform::http::ApiResult;
use crate::platform::ids::SegmentId;
use crate::platform::{Db, Platform};
use crate::web::chart;
use crate::web::download;
use crate::web::page::{Confirm, Shell};
use crate::web::table::{Pager, Sort, kept};

/// How far back the change of size looks.
const CURVE_DAYS: i64 = 28;
/// Older than this, a snapshot is worth a mark.
const OLD_US: i64 = 2 * DAY_US;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    q: String,
    sort: Option<String>,
    after: Option<String>,
}

#[derive(Serialize)]
struct Row {
    id: SegmentId,
    key: String,
    name: String,
    size: Option<i64>,
    taken_at: Option<Timestamp>,
    old: bool,
    /// Against the first snapshot of the last four weeks.
    change: Option<i64>,
    grown: bool,
    spark: Option<String>,
    uses: Vec<Use>,
    more_uses: usize,
}

#[derive(Serialize)]
struct ListView {
    rows: Vec<Row>,
    pager: Pager,
    sort: Sort,
    q: String,
    download: String,
    /// There is none at all.
    fresh: bool,
}

fn order(by: &str, a: &Overview, b: &Overview) -> Ordering {
    let first = match by {
        "size" => a.size.cmp(&b.size),
        "age" => a.taken_at.cmp(&b.taken_at),
        "updated" => a.updated_at.cmp(&b.updated_at),
        _ => fold(&a.name).cmp(&fold(&b.name)),
    };
    first.then(a.id.cmp(&b.id))
}

/// Those asked for, in order. Segments are few (a shop has dozens), so this happens here.
async fn found(db: &Db, q: &str, sort: &Sort) -> ApiResult<Vec<Overview>> {
    let mut all = audience::overview(db).await?;
    let wanted = fold(q.trim());
    all.retain(|s| wanted.is_empty() || fold(&s.name).contains(&wanted) || s.key.contains(&wanted) || s.id.to_string() == wanted);
    all.sort_by(|a, b| order(sort.by, a, b));
    if sort.down {
        all.reverse();
    }
    Ok(all)
}

const COLUMNS: [&str; 4] = ["name", "size", "age", "updated"];

pub(super) async fn page(shell: Shell, platform: Data<Platform>, query: Query<ListQuery>) -> ApiResult {
    let query = query.into_inner();
    let keep = kept(&[("q", &query.q), ("sort", query.sort.as_deref().unwrap_or_default())]);
    let sort = Sort::read(query.sort.as_deref(), &COLUMNS, kept(&[("q", &query.q)]));
    let all = found(&platform.db, &query.q, &sort).await?;
    let fresh = all.is_empty() && query.q.trim().is_empty();
    let download = format!("/segments.csv?{keep}");
    let (page, pager) = Pager::within(all, query.after.as_deref(), keep, |s| s.id.to_string());
    let rows = rows(&shell, &platform.db, page).await?;
    let view = ListView { rows, pager, sort, q: query.q, download, fresh };
    shell.render("segments/list.html", shell.say("segments.title"), &view)
}

async fn rows(shell: &Shell, db: &Db, page: Vec<Overview>) -> ApiResult<Vec<Row>> {
    let (now, ids) = (shell.reader().now, page.iter().map(|s| s.id).collect::<Vec<_>>());
    let curves = audience::curves(db, &ids, now.plus_days(-CURVE_DAYS)).await?;
    let mut uses = campaign::using(db, &ids).await?;
    Ok(page
        .into_iter()
        .map(|s| {
            let curve = curves.get(&s.id).map_or(&[] as &[SizePoint], Vec::as_slice);
            let change = s.size.zip(curve.first().filter(|_| curve.len() > 1)).map(|(size, first)| size - first.size);
            let mut uses = uses.remove(&s.id).unwrap_or_default();
            let more_uses = uses.len().saturating_sub(3);
            uses.truncate(3);
            Row {
                id: s.id,
                key: s.key,
                name: s.name,
                size: s.size,
                taken_at: s.taken_at,
                old: s.taken_at.is_some_and(|t| now.since(t) > OLD_US),
                change,
                grown: change.is_some_and(|c| c > 0),
                spark: (curve.len() > 1).then(|| chart::sparkline(&by_day(shell, curve))),
                uses,
                more_uses,
            }
        })
        .collect())
}

/// One value a day, the last of it.
fn by_day(shell: &Shell, curve: &[SizePoint]) -> Vec<f64> {
    let mut days: Vec<(i64, f64)> = Vec::new();
    for point in curve {
        let day = point.taken_at.day_in(shell.reader().zone);
        match days.last_mut() {
            Some(last) if last.0 == day => last.1 = point.size as f64,
            _ => days.push((day, point.size as f64)),
        }
    }
    if days.len() > 1 { days.into_iter().map(|d| d.1).collect() } else { curve.iter().map(|p| p.size as f64).collect() }
}

pub(super) async fn csv(shell: Shell, platform: Data<Platform>, query: Query<ListQuery>) -> ApiResult {
    let sort = Sort::read(query.sort.as_deref(), &COLUMNS, String::new());
    let all = found(&platform.db, &query.q, &sort).await?;
    let ids: Vec<SegmentId> = all.iter().map(|s| s.id).collect();
    let names = super::build::segment_names(&platform.db).await?;
    let teller = super::build::teller(&shell, &names);
    let mut rows = Vec::new();
    for part in ids.chunks(200) {
        let uses = campaign::using(&platform.db, part).await?;
        for id in part {
            let Some(row) = all.iter().find(|s| s.id == *id) else { continue };
            let rule = audience::get(&platform.db, *id).await.map(|s| teller.tell(&s.rule)).unwrap_or_default();
            let used = uses.get(id).map(|u| u.iter().map(|c| c.id.to_string()).collect::<Vec<_>>().join(" ")).unwrap_or_default();
            let size = row.size.map(|n| n.to_string()).unwrap_or_default();
            let taken = row.taken_at.map(|t| t.to_string()).unwrap_or_default();
            rows.push(vec![id.to_string(), row.key.clone(), row.name.clone(), size, taken, rule, used]);
        }
    }
    download::whole("segments.csv", &["id", "key", "name", "size", "taken_at", "rule", "campaigns"], &rows)
}

/// Who uses a segment, in words; empty where nobody does.
async fn users(shell: &Shell, db: &Db, segment: &Segment) -> ApiResult<String> {
    let campaigns = campaign::using(db, &[segment.id]).await?.remove(&segment.id).unwrap_or_default();
    let mut named: Vec<String> =
        campaigns.into_iter().take(5).map(|c| shell.say_with("segments.used_campaign", &[("name", c.name)])).collect();
    let mut after = SegmentId(0);
    loop {
        let page = audience::list(db, after, 200).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        let using = page.iter().filter(|s| s.id != segment.id && audience::names(&s.rule, segment));
        named.extend(using.map(|s| shell.say_with("segments.used_segment", &[("name", s.name.clone())])));
    }
    named.truncate(8);
    Ok(named.join(&shell.say("segments.say.comma")))
}

pub(super) async fn ask_delete(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let segment = audience::find(&platform.db, &path).await?;
    let used = users(&shell, &platform.db, &segment).await?;
    let back = format!("/segments/{}", segment.id);
    if !used.is_empty() {
        let said = shell.say_with("segments.used", &[("name", segment.name), ("who", used)]);
        return Ok(shell.redirect_saying(&back, "bad", said));
    }
    let confirm = Confirm {
        text: shell.say_with("segments.delete_text", &[("name", segment.name.clone())]),
        consequence: shell.say("segments.delete_consequence"),
        button: shell.say("segments.delete"),
        action: format!("/segments/{}/delete", segment.id),
        back,
        danger: true,
    };
    shell.confirm(shell.say_with("segments.delete_title", &[("name", segment.name)]), &confirm)
}

pub(super) async fn delete(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let segment = audience::find(&platform.db, &path).await?;
    match audience::delete(&platform.db, segment.id).await {
        Ok(()) => {
            shell.note(segment.id.to_string(), segment.name.clone());
            Ok(shell.redirect_saying("/segments", "good", shell.say_with("segments.deleted", &[("name", segment.name)])))
        }
        Err(AudienceError::Used(_)) => {
            let who = users(&shell, &platform.db, &segment).await?;
            let said = shell.say_with("segments.used", &[("name", segment.name), ("who", who)]);
            Ok(shell.redirect_saying(&format!("/segments/{}", segment.id), "bad", said))
        }
        Err(other) => Err(other.into()),
    }
}
