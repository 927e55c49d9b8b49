//! Journeys that led to nothing, told ahead per person by the pass that writes credit, so that no report goes through the touches.
//!
//! A journey is a person's contacts that follow each other while the window of an earlier one is open; it ends when the last window does. A contact
//! that is on the path of an order belongs to that order's journey. Windows still open may yet convert: who reads says what "now" is.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use sqlx::QueryBuilder;

use super::by::{By, ELSEWHERE, NONE, Within};
use super::report_store::{QUARTER_US, Scope};
use super::rollup;
use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Tx};
use crate::platform::ids::{CampaignId, PersonId, ProductId, TouchId, VariantId};
use crate::{on, read};

const ROWS: usize = 500;
/// People told in one transaction.
const PEOPLE: usize = 100;

/// A touch that a human reacted to.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Met {
    id: TouchId,
    person_id: PersonId,
    campaign_id: CampaignId,
    variant_id: Option<VariantId>,
    product_id: Option<ProductId>,
    channel: String,
    at: Timestamp,
    window_us: i64,
    click_at: Option<Timestamp>,
    seen_at: Option<Timestamp>,
    /// It is on the path of an order, by clicks alone …
    credited: bool,
    /// … or also by views.
    credited_view: bool,
}

/// One journey of a person, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::FromRow)]
struct Journey {
    person_id: PersonId,
    view_through: bool,
    ended: Timestamp,
    begun: Timestamp,
    /// The first contact.
    touch_id: TouchId,
    path: String,
}

impl Met {
    fn ends(&self) -> Timestamp {
        self.at.plus_us(self.window_us)
    }
    /// When it earned its place on a path that led to nothing, if it did.
    fn earned(&self, view_through: bool) -> Option<Timestamp> {
        let inside = |at: &Timestamp| *at >= self.at && *at < self.ends();
        match view_through {
            false => self.click_at.filter(|_| !self.credited).filter(inside),
            true => {
                let click = self.click_at.filter(|at| *at < self.ends());
                click.or(self.seen_at).filter(|_| !self.credited_view).filter(inside)
            }
        }
    }
    fn text(&self) -> String {
        let quarter = self.at.0 / QUARTER_US;
        let (variant, product) = (self.variant_id.map_or(0, |v| v.0), self.product_id.map_or(0, |p| p.0));
        format!("{}.{variant}.{product}.{}.{quarter}", self.campaign_id.0, self.channel)
    }
}

/// The journeys of one person, of whom these are all answered touches in order of contact.
fn journeys(met: &[Met], view_through: bool) -> Vec<Journey> {
    /// A contact and when it earned its place.
    type Contact<'a> = (Timestamp, &'a Met);
    // The first contact, when the last window ends, and all contacts.
    let mut found: Vec<(&Met, Timestamp, Vec<Contact<'_>>)> = Vec::new();
    for touch in met {
        let Some(earned) = touch.earned(view_through) else { continue };
        match found.last_mut() {
            Some((_, ended, contacts)) if touch.at < *ended => {
                *ended = touch.ends().max(*ended);
                contacts.push((earned, touch));
            }
            _ => found.push((touch, touch.ends(), vec![(earned, touch)])),
        }
    }
    found
        .into_iter()
        .map(|(first, ended, mut contacts)| {
            contacts.sort_by_key(|(earned, touch)| (*earned, touch.id));
            let path = contacts.iter().map(|(_, touch)| touch.text()).collect::<Vec<_>>().join(">");
            Journey { person_id: first.person_id, view_through, ended, begun: first.at, touch_id: first.id, path }
        })
        .collect()
}

const MET: &str = "SELECT t.id, t.person_id, t.campaign_id, t.variant_id, t.product_id, t.channel, t.contact_at AS at, c.window_us, t.click_at, \
     COALESCE(t.open_at, t.viewable_at) AS seen_at, \
     EXISTS (SELECT 1 FROM credit x WHERE x.touch_id = t.id AND x.view_through = FALSE) AS credited, \
     EXISTS (SELECT 1 FROM credit x WHERE x.touch_id = t.id AND x.view_through = TRUE) AS credited_view \
     FROM touch t JOIN campaign c ON c.id = t.campaign_id WHERE t.arm = 'treated' AND t.contact_at IS NOT NULL \
     AND (t.click_at IS NOT NULL OR t.open_at IS NOT NULL OR t.viewable_at IS NOT NULL) AND t.person_id IN (";
const STORED: &str = "SELECT person_id, view_through, ended, begun, touch_id, path FROM rollup_journey WHERE person_id IN (";
const STORED_TOUCHES: &str = "SELECT person_id, view_through, ended, begun, touch_id, path FROM rollup_journey WHERE touch_id IN (";

macro_rules! among {
    ($tx:expr, $sql:expr, $ids:expr, $row:ty) => {
        on!(&mut *$tx, |c| {
            let mut q = QueryBuilder::new($sql);
            let mut list = q.separated(", ");
            for id in $ids {
                list.push_bind(*id);
            }
            q.push(")");
            q.build_query_as::<$row>().persistent(false).fetch_all(&mut *c).await
        })
    };
}

/// What must go and what must come so that the journeys of these people are right.
#[derive(Default)]
struct Differences {
    gone: Vec<Journey>,
    new: Vec<Journey>,
    /// Rows that were read for it.
    read: u64,
}

async fn differences(tx: &mut Tx, people: &[PersonId]) -> sqlx::Result<Differences> {
    let mut met = among!(tx, MET, people, Met)?;
    let mut stored = among!(tx, STORED, people, Journey)?;
    for some in met.chunks(ROWS) {
        stored.extend(among!(tx, STORED_TOUCHES, some.iter().map(|t| &t.id), Journey)?);
    }
    stored.sort();
    stored.dedup();
    let read = (met.len() + stored.len()) as u64;
    met.sort_by_key(|t| (t.person_id, t.at, t.id));
    let mut told: Vec<Journey> = Vec::new();
    for of_one in met.chunk_by(|a, b| a.person_id == b.person_id) {
        for view_through in [false, true] {
            told.extend(journeys(of_one, view_through));
        }
    }
    told.sort();
    Ok(Differences {
        gone: stored.iter().filter(|j| told.binary_search(j).is_err()).cloned().collect(),
        new: told.into_iter().filter(|j| stored.binary_search(j).is_err()).collect(),
        read,
    })
}

const REMOVE: &str = "DELETE FROM rollup_journey WHERE view_through = $1 AND ended = $2 AND person_id = $3 AND begun = $4";

/// Tells the journeys of these people anew, and writes what changed. How many rows were read.
pub(super) async fn tell(db: &Db, people: &[PersonId]) -> sqlx::Result<u64> {
    let mut read = 0;
    for some in people.chunks(PEOPLE) {
        // Mostly nothing has changed: the writer is not asked for.
        let mut seen = db.snapshot().await?;
        let found = differences(&mut seen, some).await?;
        seen.rollback().await?;
        read += found.read;
        if found.gone.is_empty() && found.new.is_empty() {
            continue;
        }
        let mut tx = db.begin().await?;
        rollup::lock(&mut tx).await?;
        let found = differences(&mut tx, some).await?;
        for j in &found.gone {
            on!(&mut tx, |c| {
                let sql = sqlx::query(REMOVE).bind(j.view_through).bind(j.ended);
                sql.bind(j.person_id).bind(j.begun).execute(&mut *c).await.map(|_| ())
            })?;
        }
        for rows in found.new.chunks(ROWS) {
            on!(&mut tx, |c| {
                let mut q = QueryBuilder::new("INSERT INTO rollup_journey (view_through, ended, person_id, begun, touch_id, path) ");
                q.push_values(rows, |mut row, j| {
                    row.push_bind(j.view_through).push_bind(j.ended).push_bind(j.person_id).push_bind(j.begun);
                    row.push_bind(j.touch_id).push_bind(j.path.as_str());
                });
                q.build().persistent(false).execute(&mut *c).await.map(|_| ())
            })?;
        }
        tx.commit().await?;
    }
    Ok(read)
}

const PEOPLE_OF: &str = "SELECT DISTINCT person_id FROM touch WHERE person_id IS NOT NULL AND id IN (";
/// Whose touches these are.
pub(super) async fn people_of(db: &Db, touches: &[TouchId]) -> sqlx::Result<Vec<PersonId>> {
    let mut found = Vec::new();
    for some in touches.chunks(ROWS) {
        let rows: Vec<PersonId> = read!(*db, |c| {
            let mut q = QueryBuilder::new(PEOPLE_OF);
            let mut list = q.separated(", ");
            for id in some {
                list.push_bind(*id);
            }
            q.push(")");
            q.build_query_scalar().persistent(false).fetch_all(c).await
        })?;
        found.extend(rows);
    }
    Ok(found)
}

const ELSEWHERE_NOW: &str = "SELECT DISTINCT j.person_id FROM touch t JOIN rollup_journey j ON j.touch_id = t.id \
     WHERE t.stamped_at >= $1 AND (t.person_id IS NULL OR t.person_id <> j.person_id)";
/// Who is still told a journey that begins with a touch which, since then, became somebody else's or nobody's (a merged profile).
pub(super) async fn bereft(db: &Db, since: Timestamp) -> sqlx::Result<Vec<PersonId>> {
    read!(*db, |c| sqlx::query_scalar(ELSEWHERE_NOW).bind(since).fetch_all(c).await)
}

const ENDED: &str = "SELECT path FROM rollup_journey WHERE view_through = $1 AND ended >= $2 AND ended < $3 AND ended <= $4";
const SEGMENTS: &str = "SELECT id, segment_id FROM campaign WHERE segment_id IS NOT NULL";

/// Distinct paths of the journeys that ended in a span without an order, and how many there were. Windows still open at `now` may yet convert and
/// are left out.
pub(super) async fn misses(db: &Db, by: By, scope: Scope, now: Timestamp) -> sqlx::Result<Vec<(String, i64)>> {
    let segments: HashMap<i64, i64> = read!(*db, |c| sqlx::query_as::<_, (i64, i64)>(SEGMENTS).fetch_all(c).await)?.into_iter().collect();
    let paths: Vec<String> = read!(*db, |c| {
        sqlx::query_scalar(ENDED).bind(scope.view_through).bind(scope.from).bind(scope.to).bind(now).fetch_all(c).await
    })?;
    let mut found: HashMap<String, i64> = HashMap::new();
    let mut keys = String::new();
    for path in &paths {
        keys.clear();
        for contact in path.split('>') {
            if !keys.is_empty() {
                keys.push('>');
            }
            keys.push_str(&key(contact, by, scope.within, &segments));
        }
        match found.get_mut(&keys) {
            Some(n) => *n += 1,
            None => drop(found.insert(keys.clone(), 1)),
        }
    }
    Ok(found.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect())
}

/// A contact's key in a grouping; [`Within::key`] says the same in SQL.
fn key<'a>(contact: &'a str, by: By, within: Within, segments: &HashMap<i64, i64>) -> Cow<'a, str> {
    let mut parts = contact.split('.');
    let mut part = || parts.next().unwrap_or_default();
    let (campaign, variant, product, channel, quarter) = (part(), part(), part(), part(), part());
    let id: i64 = campaign.parse().unwrap_or_default();
    let outside = within.campaign.is_some_and(|c| c.0 != id)
        || within.channel.is_some_and(|c| c.as_str() != channel)
        || within.segment.is_some_and(|s| segments.get(&id) != Some(&s.0));
    if outside {
        return ELSEWHERE.into();
    }
    let known = |id: &'a str| if id == "0" { NONE.into() } else { id.into() };
    match by {
        By::Campaign => campaign.into(),
        By::Variant => known(variant),
        By::Product => known(product),
        By::Channel => channel.into(),
        By::Segment => segments.get(&id).map_or(NONE.into(), |s| s.to_string().into()),
        By::Day | By::Week | By::Month => quarter.into(),
    }
}
