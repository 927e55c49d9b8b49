//! Whom a plan would reach: exact for small audiences, else told from a sample that is spread over all people. Quick enough to be asked while
//! somebody plans: products and words are looked for for some of them only (see the dry run for all).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::choice::Shelf;
use super::draft::{self, Draft};
use super::dry_run::{Detectable, Moments, detectable, next_run, revenue};
use super::error::CampaignError;
use super::facts::reason;
use super::model::Campaign;
use super::policy::policy;
use crate::audience::{self, AudienceError, Counted};
use crate::fault;
use crate::platform::ids::PersonId;
use crate::platform::{Platform, Timestamp};
use crate::touches::Arm;

/// Up to so many people everybody is looked at.
const EXACT: i64 = 10_000;
/// Else this many pieces of the sample, each of at most so many people.
const PIECES: i64 = 10;
const PIECE: i64 = 800;
const PAGE: usize = 1_000;
/// Of so many of those reached it is found out whether there is a product for them, and words about it; and how long that may take.
const FORESEEN: usize = 150;
const FORESIGHT: Duration = Duration::from_millis(1_500);
/// How long the audience may be counted.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many people a run would reach. Where the audience is large, shares of a sample are taken for those of all.
#[derive(Clone, Debug, PartialEq)]
pub struct Reach {
    /// People of the segment now.
    pub audience: i64,
    /// People looked at; equal to `audience` where the figures are exact.
    pub looked_at: i64,
    /// Would get something.
    pub treated: i64,
    /// Would be left alone to measure lift.
    pub held_out: i64,
    /// Would get nothing, by reason.
    pub skipped: BTreeMap<&'static str, i64>,
    /// Of so many people reached it was found out whether there is a product and words for them; 0: it would have taken too long.
    pub foreseen: i64,
    /// Somebody of them lacks one or the other, and there are more people than were looked at.
    pub estimated: bool,
    pub run_at: Timestamp,
    pub first_due: Option<Timestamp>,
    pub last_due: Option<Timestamp>,
    pub detectable: Option<Detectable>,
}

impl Reach {
    pub fn exact(&self) -> bool {
        self.looked_at == self.audience && !self.estimated
    }
}

fn failed(e: AudienceError) -> CampaignError {
    match e {
        AudienceError::Unknown(_) => {
            CampaignError::Invalid { field: "segment", detail: fault!("campaign.no_segment", "There is no such segment.") }
        }
        AudienceError::Database(e) => e.into(),
        other => CampaignError::Other(other.into()),
    }
}

async fn people(platform: &Platform, campaign: &Campaign, audience: i64, now: Timestamp) -> Result<Vec<PersonId>, CampaignError> {
    let (db, segment) = (&platform.db, campaign.plan.segment);
    if audience > EXACT {
        return audience::spread(db, segment, now, PIECES, PIECE).await.map_err(failed);
    }
    let mut walk = audience::walk(db, segment, now).await.map_err(failed)?;
    let mut all: Vec<PersonId> = Vec::new();
    loop {
        let some = walk.next(PAGE as i64).await.map_err(failed)?;
        if some.is_empty() {
            return Ok(all);
        }
        all.extend(some);
    }
}

/// Asks for the next run of a campaign, stored or not (see [`Campaign::sketch`]).
pub async fn reach(platform: &Platform, campaign: &Campaign) -> Result<Reach, CampaignError> {
    let (db, now) = (&platform.db, platform.now());
    let segment = audience::get(db, campaign.plan.segment).await.map_err(failed)?;
    let audience = match audience::count_within(db, &segment.rule, now, PATIENCE).await.map_err(failed)? {
        Counted::Exactly(n) => n,
        Counted::About(n) => n.max(EXACT + 1),
        // What the newest snapshot knows is better than nothing.
        Counted::TooLong => audience::latest_snapshot(db, segment.id).await.map_err(failed)?.map_or(EXACT + 1, |s| s.size.max(EXACT + 1)),
    };
    let people = people(platform, campaign, audience, now).await?;
    let policy = policy(db).await?;
    let run_at = next_run(db, campaign, now).await?.unwrap_or(now);
    let at = now.max(run_at);
    let mut found = Reach {
        audience,
        looked_at: i64::try_from(people.len()).unwrap_or(i64::MAX),
        treated: 0,
        held_out: 0,
        skipped: BTreeMap::new(),
        foreseen: 0,
        estimated: false,
        run_at,
        first_due: None,
        last_due: None,
        detectable: None,
    };
    let mut money = Moments::default();
    let mut going: Vec<Draft> = Vec::new();
    for page in people.chunks(PAGE) {
        let drafts = draft::who(platform, campaign, &policy, page, run_at, at).await?;
        let reached: Vec<PersonId> = drafts.iter().filter(|d| d.skip.is_none()).map(|d| d.person).collect();
        let spent = revenue(platform, &reached, now.plus_us(-campaign.window_us()), now).await?;
        money.add(spent.into_iter().map(|minor| minor as f64), reached.len());
        for d in drafts {
            match (d.skip, d.arm) {
                (Some(reason), _) => *found.skipped.entry(reason).or_default() += 1,
                (None, Arm::Ghost) => found.held_out += 1,
                (None, Arm::Treated) => found.treated += 1,
            }
            if d.skip.is_none() {
                found.first_due = Some(found.first_due.map_or(d.due_at, |t| t.min(d.due_at)));
                found.last_due = Some(found.last_due.map_or(d.due_at, |t| t.max(d.due_at)));
                going.push(d);
            }
        }
    }
    // A small audience may have changed between the count and the look: what was looked at is what there is.
    if audience <= EXACT {
        found.audience = found.looked_at;
    }
    foresee(platform, campaign, going, &mut found, now).await?;
    scale(&mut found);
    let (mean, sd) = money.mean_sd();
    found.detectable = detectable(found.treated, found.held_out, mean, sd);
    Ok(found)
}

/// Takes out those for whom there is no product or no words: told from some, spread over all who would be reached.
async fn foresee(
    platform: &Platform,
    campaign: &Campaign,
    going: Vec<Draft>,
    found: &mut Reach,
    now: Timestamp,
) -> Result<(), CampaignError> {
    let all = going.len();
    let step = all.div_ceil(FORESEEN).max(1);
    let mut some: Vec<Draft> = going.into_iter().step_by(step).collect();
    let look = async {
        let shelf = Shelf::load(platform, &campaign.plan.choice, now).await?;
        draft::products(platform, &shelf, &mut some, now).await?;
        draft::foresee_copy(platform, campaign, &mut some, &mut HashMap::new()).await.map_err(anyhow::Error::from)?;
        Ok::<(), CampaignError>(())
    };
    let Ok(looked) = tokio::time::timeout(FORESIGHT, look).await else { return Ok(()) };
    looked?;
    found.foreseen = i64::try_from(some.len()).unwrap_or(i64::MAX);
    for arm in [Arm::Treated, Arm::Ghost] {
        let group = if arm == Arm::Treated { &mut found.treated } else { &mut found.held_out };
        let of_arm: Vec<&Draft> = some.iter().filter(|d| d.arm == arm).collect();
        let before = *group;
        for reason in [reason::NO_PRODUCT, reason::NO_COPY] {
            let lacking = i64::try_from(of_arm.iter().filter(|d| d.skip == Some(reason)).count()).unwrap_or(0);
            let n = part(lacking, i64::try_from(of_arm.len()).unwrap_or(1), before).min(*group);
            if n > 0 {
                *group -= n;
                found.estimated = step > 1;
                *found.skipped.entry(reason).or_default() += n;
            }
        }
    }
    Ok(())
}

/// As many of all as `n` are of `some`, to the nearest.
fn part(n: i64, some: i64, all: i64) -> i64 {
    if some == 0 {
        return 0;
    }
    i64::try_from((i128::from(n) * i128::from(all) + i128::from(some) / 2) / i128::from(some)).unwrap_or(i64::MAX)
}

/// From the sample to all.
fn scale(found: &mut Reach) {
    if found.looked_at == 0 || found.looked_at == found.audience {
        return;
    }
    let (all, some) = (found.audience, found.looked_at);
    let up = |n: &mut i64| *n = part(*n, some, all);
    up(&mut found.treated);
    up(&mut found.held_out);
    found.skipped.values_mut().for_each(up);
}
