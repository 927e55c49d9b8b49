//! One segment: its rule in words, size over time, a sample, overlap with another, its members as a file.

use std::time::Duration;

use actix_web::web::{Data, Path, Query};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{venn, words_of};
use crate::account::Permission;
use crate::attribution::rollup;
use crate::audience::{self, SamplePerson, Segment, SizePoint, Walk};
use crate::campaign::{self, Use};
use crate::people::{self, Person};
use crate::platform::clock::Timestamp;
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::{PersonId, SegmentId};
use crate::platform::queue::{NewRun, enqueue};
use crate::platform::{Db, Platform};
use crate::web::chart::{self, Chart, Kind, Series, Spec, Unit};
use crate::web::download;
use crate::web::page::Shell;
use crate::web::table::Choice;

const CURVE_POINTS: i64 = 400;
const SAMPLE_ROWS: usize = 10;
/// They are spread over so many members.
const SAMPLE_FROM: i64 = 400;
const OVERLAP_LIMIT: Duration = Duration::from_secs(8);
/// People in one piece of the file of members.
const MEMBERS_AT_ONCE: i64 = 1_000;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct OneQuery {
    /// Id or key of another segment.
    with: String,
    /// Follow the snapshot that was asked for at this moment (µs).
    since: Option<i64>,
}

#[derive(Serialize)]
struct SegmentView {
    id: SegmentId,
    key: String,
    name: String,
    words: String,
    updated_at: Timestamp,
    size: SizeView,
    chart: Option<Chart>,
    sample: Vec<SamplePerson>,
    uses: Vec<Use>,
    others: Vec<Choice>,
    with: String,
    overlap: Option<OverlapView>,
    slow_overlap: bool,
}

/// The figures at the top, which are fetched again while a snapshot is taken.
#[derive(Serialize)]
struct SizeView {
    size: Option<i64>,
    taken_at: Option<Timestamp>,
    share: Option<f64>,
    change: Option<i64>,
    grown: bool,
    /// Its rule changed since.
    stale: bool,
    /// Where to ask again, while a snapshot is awaited.
    follow: Option<String>,
}

#[derive(Serialize)]
struct OverlapView {
    other: String,
    first: i64,
    second: i64,
    first_only: i64,
    second_only: i64,
    both: i64,
    /// Share of those in either who are in both.
    jaccard: Option<f64>,
    /// Share of this segment, and of the other, that is in both.
    of_first: Option<f64>,
    of_second: Option<f64>,
    svg: Option<String>,
}

fn share(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

async fn size_view(shell: &Shell, db: &Db, segment: &Segment, since: Option<i64>) -> ApiResult<SizeView> {
    let latest = audience::latest_snapshot(db, segment.id).await?;
    let now = shell.reader().now;
    let curve = audience::curves(db, &[segment.id], now.plus_days(-28)).await?.remove(&segment.id).unwrap_or_default();
    let everybody = rollup::people(db).await?;
    let waiting = since.filter(|since| latest.as_ref().is_none_or(|l| l.taken_at < Timestamp(*since)));
    let change = latest.as_ref().zip(curve.first().filter(|_| curve.len() > 1)).map(|(l, first)| l.size - first.size);
    Ok(SizeView {
        size: latest.as_ref().map(|l| l.size),
        taken_at: latest.as_ref().map(|l| l.taken_at),
        share: latest.as_ref().and_then(|l| share(l.size, everybody)),
        change,
        grown: change.is_some_and(|c| c > 0),
        stale: latest.as_ref().is_some_and(|l| l.rule_version != segment.version),
        follow: waiting.map(|since| format!("/segments/{}/part/size?since={since}", segment.id)),
    })
}

/// Size by day, the last of each day.
fn curve_chart(shell: &Shell, points: &[SizePoint]) -> ApiResult<Option<Chart>> {
    let zone = shell.reader().zone;
    let mut days: Vec<(String, f64)> = Vec::new();
    for point in points {
        let day = point.taken_at.in_zone(zone).format("%Y-%m-%d").to_string();
        match days.last_mut() {
            Some(last) if last.0 == day => last.1 = point.size as f64,
            _ => days.push((day, point.size as f64)),
        }
    }
    if days.len() < 2 {
        return Ok(None);
    }
    let spec = Spec {
        id: "segment-size".into(),
        title: shell.say("segments.curve"),
        description: shell.say("segments.curve_lead"),
        kind: Kind::Line,
        unit: Unit::Count,
        axis: shell.say("segments.day"),
        labels: days.iter().map(|d| d.0.clone()).collect(),
        series: vec![Series { name: shell.say("segments.people"), values: days.iter().map(|d| Some(d.1)).collect() }],
    };
    chart::draw(&spec).map(Some)
}

async fn overlap(shell: &Shell, db: &Db, segment: &Segment, with: &str) -> ApiResult<(Option<OverlapView>, bool)> {
    if with.is_empty() {
        return Ok((None, false));
    }
    let other = audience::find(db, with).await?;
    let now = shell.reader().now;
    let Some(found) = audience::overlap_within(db, &segment.rule, &other.rule, now, OVERLAP_LIMIT).await? else {
        return Ok((None, true));
    };
    let (first, second) = (found.first_only + found.both, found.second_only + found.both);
    let view = OverlapView {
        other: other.name,
        first,
        second,
        first_only: found.first_only,
        second_only: found.second_only,
        both: found.both,
        jaccard: share(found.both, found.first_only + found.second_only + found.both),
        of_first: share(found.both, first),
        of_second: share(found.both, second),
        svg: venn::draw(first, second, found.both),
    };
    Ok((Some(view), false))
}

/// Some of the people: out of the newest snapshot, which costs nothing however slow the rule is; asked anew only where there is none of it.
async fn sample(shell: &Shell, db: &Db, segment: &Segment) -> ApiResult<Vec<SamplePerson>> {
    if !shell.may(Permission::SeePeople) {
        return Ok(Vec::new());
    }
    let fresh = audience::latest_snapshot(db, segment.id).await?.filter(|s| s.rule_version == segment.version);
    let Some(snapshot) = fresh else {
        return Ok(audience::sample(db, &segment.rule, shell.reader().now, SAMPLE_ROWS as i64).await?);
    };
    let ids = audience::members(db, snapshot.id, PersonId(0), SAMPLE_FROM).await?;
    let step = ids.len().div_ceil(SAMPLE_ROWS).max(1);
    let picked: Vec<PersonId> = ids.into_iter().step_by(step).collect();
    let found = people::get_many(db, &picked).await?;
    let living = picked.iter().filter_map(|id| found.get(id)).filter(|p| p.erased_at.is_none());
    Ok(living
        .map(|p| {
            let name = [p.first_name.as_deref(), p.last_name.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ");
            SamplePerson {
                id: p.id,
                external_id: p.external_id.clone(),
                email: p.email.clone(),
                name: Some(name).filter(|n| !n.is_empty()),
                country: p.country.clone(),
                last_seen_at: p.last_seen_at,
            }
        })
        .collect())
}

pub(super) async fn page(shell: Shell, platform: Data<Platform>, path: Path<String>, query: Query<OneQuery>) -> ApiResult {
    let db = &platform.db;
    let segment = audience::find(db, &path).await?;
    let (overlap, slow_overlap) = overlap(&shell, db, &segment, &query.with).await?;
    let sample = sample(&shell, db, &segment).await?;
    let mut others = vec![Choice::new("", shell.say("segments.field.choose"))];
    let all = audience::overview(db).await?.into_iter().filter(|s| s.id != segment.id);
    others.extend(all.take(500).map(|s| Choice::new(s.id.to_string(), s.name)));
    let view = SegmentView {
        id: segment.id,
        words: words_of(&shell, db, &segment.rule).await?,
        size: size_view(&shell, db, &segment, query.since).await?,
        chart: curve_chart(&shell, &audience::sizes(db, segment.id, CURVE_POINTS).await?)?,
        sample,
        uses: campaign::using(db, &[segment.id]).await?.remove(&segment.id).unwrap_or_default(),
        others,
        with: query.with.clone(),
        overlap,
        slow_overlap,
        key: segment.key,
        name: segment.name.clone(),
        updated_at: segment.updated_at,
    };
    shell.render("segments/one.html", segment.name, &view)
}

/// The figures alone, while a snapshot is taken.
pub(super) async fn size(shell: Shell, platform: Data<Platform>, path: Path<String>, query: Query<OneQuery>) -> ApiResult {
    let segment = audience::find(&platform.db, &path).await?;
    let size = size_view(&shell, &platform.db, &segment, query.since).await?;
    let done = size.follow.is_none();
    shell.fragment("segments/size.html", &json!({ "size": size }), done)
}

/// Enqueues a snapshot of a segment; returns the moment it will be of.
pub(super) async fn enqueue_snapshot(platform: &Platform, id: SegmentId) -> ApiResult<Timestamp> {
    let now = platform.now();
    let run = NewRun { job: "audience.snapshot", unique_key: format!("{id}:{now}"), args: json!({ "segment": id }), at: now };
    let mut tx = platform.db.begin().await?;
    enqueue(&mut tx, run, now).await.map_err(ApiError::internal)?;
    tx.commit().await?;
    Ok(now)
}

pub(super) async fn refresh(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let segment = audience::find(&platform.db, &path).await?;
    let since = enqueue_snapshot(&platform, segment.id).await?;
    shell.note(segment.id.to_string(), segment.name);
    let to = format!("/segments/{}?since={}", segment.id, since.micros());
    Ok(shell.redirect_saying(&to, "info", shell.say("segments.refreshing")))
}

static MEMBER_COLUMNS: [&str; 9] =
    ["id", "external_id", "email", "first_name", "last_name", "country", "locale", "email_consent", "last_seen_at"];

fn member(person: &Person) -> Vec<String> {
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    vec![
        person.id.to_string(),
        text(&person.external_id),
        text(&person.email),
        text(&person.first_name),
        text(&person.last_name),
        text(&person.country),
        text(&person.locale),
        person.email_consent.name().to_owned(),
        person.last_seen_at.to_string(),
    ]
}

/// Everybody who is in it now, as a file that is written while it is read.
pub(super) async fn members(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let segment = audience::find(&platform.db, &path).await?;
    let walk = audience::walk(&platform.db, segment.id, shell.reader().now).await?;
    shell.note(segment.id.to_string(), segment.name.clone());
    let start = (platform.db.clone(), walk);
    Ok(download::pieces(&format!("{}.csv", segment.key), &MEMBER_COLUMNS, start, |(db, mut walk): (Db, Walk)| async move {
        let ids = walk.next(MEMBERS_AT_ONCE).await?;
        let found = people::get_many(&db, &ids).await?;
        let rows = ids.iter().filter_map(|id| found.get(id)).map(member).collect();
        Ok((rows, (!ids.is_empty()).then_some((db, walk))))
    }))
}
