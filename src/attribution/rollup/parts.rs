//! Which parts of the sums are added up: the bookkeeping of an adding up anew, so that it can stop and go on, and two at once do no harm.

use std::collections::{HashMap, HashSet};

use chrono_tz::Tz;

use crate::on;
use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Tx};
use crate::platform::ids::CampaignId;
use crate::read;

/// People of one part.
const PEOPLE: i64 = 5_000;

/// What is added up in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Touches and credit of a campaign.
    Campaign(CampaignId),
    /// Visits of some thousand people: those with `id / PEOPLE` of this number.
    People(i64),
}

pub(super) const CAMPAIGN: &str = "campaign";
pub(super) const VISITS: &str = "people";

impl Part {
    const fn kind(self) -> &'static str {
        match self {
            Self::Campaign(_) => CAMPAIGN,
            Self::People(_) => VISITS,
        }
    }
    const fn number(self) -> i64 {
        match self {
            Self::Campaign(id) => id.0,
            Self::People(number) => number,
        }
    }
    /// The ids of its people.
    pub(super) const fn people(number: i64) -> std::ops::Range<i64> {
        number * PEOPLE..(number + 1) * PEOPLE
    }
}

/// The number of the part that a difference of a kind belongs to, by the id that it carries.
pub(super) fn part_of(kind: &str, id: i64) -> i64 {
    if kind == CAMPAIGN { id } else { id.div_euclid(PEOPLE) }
}

const LAST_PERSON: &str = "SELECT COALESCE(MAX(id), 0) FROM person";
/// All there are.
pub(super) async fn all(db: &Db) -> sqlx::Result<Vec<Part>> {
    let campaigns: Vec<CampaignId> = read!(*db, |c| sqlx::query_scalar("SELECT id FROM campaign ORDER BY id").fetch_all(c).await)?;
    let last: i64 = read!(*db, |c| sqlx::query_scalar(LAST_PERSON).fetch_one(c).await)?;
    Ok(campaigns.into_iter().map(Part::Campaign).chain((0..=last / PEOPLE).map(Part::People)).collect())
}

const STANDS: &str = "SELECT zone, ready, build FROM rollup_state WHERE id = 1";
const BEGIN: &str =
    "UPDATE rollup_state SET zone = $1, ready = FALSE, build = build + 1, generation = generation + 1 WHERE id = 1 RETURNING build";
const EMPTY: [&str; 7] = [
    "DELETE FROM rollup_touch",
    "DELETE FROM rollup_credit",
    "DELETE FROM rollup_product",
    "DELETE FROM rollup_product_day",
    "DELETE FROM rollup_product_credit",
    "DELETE FROM rollup_visit",
    "DELETE FROM rollup_engagement",
];
/// The number of the adding up to go on with: the one under way, or (`anew`, or in another zone) a new one, before which everything is emptied.
/// From here on differences are cut in this zone.
pub(super) async fn begin(tx: &mut Tx, zone: Tz, anew: bool) -> sqlx::Result<i64> {
    let (stands, ready, build): (String, bool, i64) = on!(&mut *tx, |c| sqlx::query_as(STANDS).fetch_one(&mut *c).await)?;
    if !anew && !ready && stands == zone.name() {
        return Ok(build);
    }
    let build = on!(&mut *tx, |c| sqlx::query_scalar(BEGIN).bind(zone.name()).fetch_one(&mut *c).await)?;
    for sql in EMPTY {
        on!(&mut *tx, |c| sqlx::query(sql).execute(&mut *c).await.map(|_| ()))?;
    }
    Ok(build)
}

const FINISHED: &str = "SELECT kind, part FROM rollup_part WHERE build = $1 AND through IS NOT NULL";
pub(super) async fn finished(db: &Db, build: i64) -> sqlx::Result<HashSet<(String, i64)>> {
    let rows: Vec<(String, i64)> = read!(*db, |c| sqlx::query_as(FINISHED).bind(build).fetch_all(c).await)?;
    Ok(rows.into_iter().collect())
}
pub(super) fn is_in(part: Part, finished: &HashSet<(String, i64)>) -> bool {
    finished.contains(&(part.kind().to_owned(), part.number()))
}

/// Somebody's work on a part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub part: Part,
    build: i64,
    attempt: i64,
}

const CLAIM: &str =
    "INSERT INTO rollup_part (kind, part, build, attempt) SELECT $1, $2, s.build, 1 FROM rollup_state s WHERE s.id = 1 AND s.build = $3
     ON CONFLICT (kind, part) DO UPDATE SET build = excluded.build, attempt = rollup_part.attempt + 1, through = NULL
        WHERE rollup_part.build <> excluded.build OR rollup_part.through IS NULL RETURNING attempt";
/// Takes a part over; whoever was at it finds out at their next write. `None`: it is finished, or another adding up began.
pub(super) async fn claim(tx: &mut Tx, part: Part, build: i64) -> sqlx::Result<Option<Claim>> {
    let (kind, number) = (part.kind(), part.number());
    let attempt: Option<i64> = on!(tx, |c| sqlx::query_scalar(CLAIM).bind(kind).bind(number).bind(build).fetch_optional(&mut *c).await)?;
    Ok(attempt.map(|attempt| Claim { part, build, attempt }))
}

const MINE: &str = "SELECT COUNT(*) FROM rollup_part p JOIN rollup_state s ON s.build = p.build
     WHERE s.id = 1 AND p.kind = $1 AND p.part = $2 AND p.build = $3 AND p.attempt = $4";
const FINISH: &str = "UPDATE rollup_part SET through = $5 WHERE kind = $1 AND part = $2 AND build = $3 AND attempt = $4";
impl Claim {
    /// Whether nobody took it over.
    pub(super) async fn holds(self, tx: &mut Tx) -> sqlx::Result<bool> {
        let n: i64 = on!(tx, |c| {
            let ask = sqlx::query_scalar(MINE).bind(self.part.kind()).bind(self.part.number());
            ask.bind(self.build).bind(self.attempt).fetch_one(&mut *c).await
        })?;
        Ok(n > 0)
    }
    /// Its sums are written; they hold the differences up to this one.
    pub(super) async fn finish(self, tx: &mut Tx, through: i64) -> sqlx::Result<()> {
        on!(tx, |c| {
            let sql = sqlx::query(FINISH).bind(self.part.kind()).bind(self.part.number());
            sql.bind(self.build).bind(self.attempt).bind(through).execute(&mut *c).await.map(|_| ())
        })
    }
}

const THROUGH: &str = "SELECT part, through FROM rollup_part WHERE kind = $1 AND build = $2 AND through > 0";
/// Up to which difference the sums of each part are told, where the differences still wait.
pub(super) async fn through(db: &Db, kind: &str, build: i64) -> sqlx::Result<HashMap<i64, i64>> {
    let rows: Vec<(i64, i64)> = read!(*db, |c| sqlx::query_as(THROUGH).bind(kind).bind(build).fetch_all(c).await)?;
    Ok(rows.into_iter().collect())
}

const DONE: &str = "UPDATE rollup_state SET ready = TRUE, as_of = $1, generation = generation + 1 WHERE id = 1 AND build = $2
     AND NOT EXISTS (SELECT 1 FROM rollup_part p WHERE p.build = $2 AND p.through IS NULL)";
/// Everything is added up, unless somebody is still at a part, or another adding up began: then their end counts.
pub(super) async fn done(tx: &mut Tx, build: i64, now: Timestamp) -> sqlx::Result<()> {
    on!(tx, |c| sqlx::query(DONE).bind(now).bind(build).execute(&mut *c).await.map(|_| ()))
}

/// Whether this adding up is still the one.
pub(super) async fn goes_on(tx: &mut Tx, build: i64) -> sqlx::Result<bool> {
    let (_, ready, now): (String, bool, i64) = on!(tx, |c| sqlx::query_as(STANDS).fetch_one(&mut *c).await)?;
    Ok(now == build && !ready)
}
