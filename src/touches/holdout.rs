//! Who is left alone: stored assignments, by stable hash. Written once; every later question reads what was written.

use std::collections::HashMap;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use sqlx::QueryBuilder;

use super::model::Arm;
use crate::platform::Timestamp;
use crate::platform::db::{Db, Tx};
use crate::platform::ids::{CampaignId, PersonId};
use crate::platform::token::Signer;
use crate::{on, read};

const ROWS: usize = 1_000;
/// Shares are given in basis points: 10,000 is everybody.
pub const ALL_BP: i64 = 10_000;

/// What a holdout is about: all marketing, or one campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Global,
    Campaign(CampaignId),
}

impl Scope {
    fn key(self) -> (&'static str, i64) {
        match self {
            Self::Global => ("global", 0),
            Self::Campaign(id) => ("campaign", id.0),
        }
    }
}

/// The arm that the stable hash gives: a share of `holdout_bp` / 10,000 becomes ghosts. Independent between scopes.
pub fn draw(signer: &Signer, scope: Scope, person: PersonId, holdout_bp: i64) -> Arm {
    let (name, id) = scope.key();
    if stable_u64(signer, name, id, person) % ALL_BP.unsigned_abs() < holdout_bp.clamp(0, ALL_BP).unsigned_abs() {
        Arm::Ghost
    } else {
        Arm::Treated
    }
}

/// A uniform number that is always the same for this purpose, thing and person, and that nobody outside can compute.
pub fn stable_u64(signer: &Signer, purpose: &str, thing: i64, person: PersonId) -> u64 {
    let key = signer.derive("assignment");
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(purpose.as_bytes());
    mac.update(&[0]);
    mac.update(&thing.to_be_bytes());
    mac.update(&person.0.to_be_bytes());
    let bytes = mac.finalize().into_bytes();
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    u64::from_be_bytes(first)
}

/// [`draw`] with its key at hand, for who draws thousands of times a second.
#[derive(Clone, Debug)]
pub struct Lots {
    sealer: crate::platform::token::Sealer,
}

impl Lots {
    pub fn new(signer: &Signer) -> Self {
        Self { sealer: signer.sealer("assignment") }
    }
    /// A person's place among the basis points of a scope: held out where it is below the share.
    pub fn place(&self, scope: Scope, person: PersonId) -> i64 {
        let (name, id) = scope.key();
        let mut bytes = [0_u8; 32];
        let n = name.len();
        bytes[..n].copy_from_slice(name.as_bytes());
        bytes[n + 1..n + 9].copy_from_slice(&id.to_be_bytes());
        bytes[n + 9..n + 17].copy_from_slice(&person.0.to_be_bytes());
        let digest = self.sealer.digest(&bytes[..n + 17]);
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        (u64::from_be_bytes(first) % ALL_BP.unsigned_abs()) as i64
    }
    pub fn draw(&self, scope: Scope, person: PersonId, holdout_bp: i64) -> Arm {
        if holdout_bp > 0 && self.place(scope, person) < holdout_bp { Arm::Ghost } else { Arm::Treated }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    person_id: PersonId,
    #[sqlx(try_from = "String")]
    arm: Arm,
}

macro_rules! stored {
    ($c:expr, $scope:expr, $people:expr) => {{
        let (name, id) = $scope.key();
        let mut q = QueryBuilder::new("SELECT person_id, arm FROM holdout_assignment WHERE scope = ");
        q.push_bind(name).push(" AND scope_id = ").push_bind(id).push(" AND person_id IN (");
        let mut list = q.separated(", ");
        for person in $people {
            list.push_bind(*person);
        }
        q.push(")");
        q.build_query_as::<Row>().persistent(false).fetch_all($c).await
    }};
}

/// The stored arms of these people in a scope. Those never assigned are absent.
pub async fn assigned(db: &Db, scope: Scope, people: &[PersonId]) -> sqlx::Result<HashMap<PersonId, Arm>> {
    let mut found = HashMap::with_capacity(people.len());
    for chunk in people.chunks(ROWS) {
        let rows = read!(*db, |c| stored!(c, scope, chunk))?;
        found.extend(rows.into_iter().map(|r| (r.person_id, r.arm)));
    }
    Ok(found)
}

/// The arms of these people, assigning those who have none yet. An arm once stored stays, whatever the share is now.
pub async fn assign(
    tx: &mut Tx,
    signer: &Signer,
    scope: Scope,
    holdout_bp: i64,
    people: &[PersonId],
    now: Timestamp,
) -> sqlx::Result<HashMap<PersonId, Arm>> {
    let (name, id) = scope.key();
    let mut found = HashMap::with_capacity(people.len());
    for chunk in people.chunks(ROWS) {
        on!(tx, |c| {
            let mut q = QueryBuilder::new("INSERT INTO holdout_assignment (scope, scope_id, person_id, arm, assigned_at) ");
            q.push_values(chunk, |mut row, person| {
                row.push_bind(name)
                    .push_bind(id)
                    .push_bind(*person)
                    .push_bind(draw(signer, scope, *person, holdout_bp).as_str())
                    .push_bind(now);
            });
            q.push(" ON CONFLICT DO NOTHING");
            q.build().persistent(false).execute(&mut *c).await.map(|_| ())
        })?;
        let rows = on!(tx, |c| stored!(&mut *c, scope, chunk))?;
        found.extend(rows.into_iter().map(|r| (r.person_id, r.arm)));
    }
    Ok(found)
}

const MOVE: &str = "INSERT INTO holdout_assignment (scope, scope_id, person_id, arm, assigned_at)
     SELECT scope, scope_id, $2, arm, assigned_at FROM holdout_assignment WHERE person_id = $1 ON CONFLICT DO NOTHING";
const DROP: &str = "DELETE FROM holdout_assignment WHERE person_id = $1";

/// A merge: what `to` has stays; what only `from` had moves.
pub(super) async fn reassign(tx: &mut Tx, from: PersonId, to: PersonId) -> sqlx::Result<()> {
    on!(tx, |c| {
        sqlx::query(MOVE).bind(from).bind(to).execute(&mut *c).await?;
        sqlx::query(DROP).bind(from).execute(&mut *c).await.map(|_| ())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lots_are_the_same_draw() {
        let signer = Signer::new(&[5; 32]);
        let lots = Lots::new(&signer);
        for person in (1..200).map(PersonId) {
            for scope in [Scope::Global, Scope::Campaign(CampaignId(7))] {
                assert_eq!(lots.draw(scope, person, 3_000), draw(&signer, scope, person, 3_000));
            }
        }
    }

    #[test]
    fn the_share_holds_within_binomial_bounds_and_scopes_are_independent() {
        let signer = Signer::new(&[5; 32]);
        let n = 20_000_i64;
        let ghost = |scope, p| draw(&signer, scope, PersonId(p), 3_000) == Arm::Ghost;
        let (a, b) = (Scope::Campaign(CampaignId(1)), Scope::Campaign(CampaignId(2)));
        let held = (0..n).filter(|p| ghost(a, *p)).count() as f64;
        let both = (0..n).filter(|p| ghost(a, *p) && ghost(b, *p)).count() as f64;
        // Four standard deviations.
        assert!((held - 6_000.0).abs() < 4.0 * (20_000.0_f64 * 0.3 * 0.7).sqrt(), "{held}");
        assert!((both - 1_800.0).abs() < 4.0 * (20_000.0_f64 * 0.09 * 0.91).sqrt(), "{both}");
        assert_eq!(draw(&signer, a, PersonId(1), 0), Arm::Treated);
        assert_eq!(draw(&signer, a, PersonId(1), ALL_BP), Arm::Ghost);
    }
}
