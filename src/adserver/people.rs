//! People as the ad server needs them: packed in blocks of a thousand, so that a change renews a few blocks and shares the rest.
//!
//! Names (external ids, anonymous ids) are kept as 64-bit keyed hashes in 256 shards: the texts themselves are nowhere in memory.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;

use crate::platform::ids::{PersonId, ProductId};

const BLOCK: usize = 1_024;
const SHARDS: usize = 256;
/// Picks kept per person.
pub const PICKS: usize = 12;

const KNOWN: u8 = 1;
const PERSONAL: u8 = 2;

/// For keys that are numbers of ours already.
#[derive(Clone, Copy, Debug, Default)]
pub struct NumberHasher(u64);
impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.write_u64(u64::from(*b));
        }
    }
    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }
    fn write_i64(&mut self, n: i64) {
        self.write_u64(n as u64);
    }
    fn write_u64(&mut self, n: u64) {
        let mut x = (self.0 ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x ^= x >> 32;
        self.0 = x;
    }
}
pub type Numbers = BuildHasherDefault<NumberHasher>;

type Names = HashMap<u64, i64, Numbers>;

/// Some people in a row of numbers.
#[derive(Clone, Debug)]
struct Block {
    flags: Vec<u8>,
    locales: Vec<u8>,
    countries: Vec<u16>,
    /// Place among the basis points of the global holdout.
    lots: Vec<u16>,
    ends: Vec<u16>,
    picks: Vec<u32>,
}

impl Default for Block {
    fn default() -> Self {
        Self {
            flags: vec![0; BLOCK],
            locales: vec![0; BLOCK],
            countries: vec![0; BLOCK],
            lots: vec![0; BLOCK],
            ends: vec![0; BLOCK],
            picks: Vec::new(),
        }
    }
}

impl Block {
    fn picks(&self, at: usize) -> &[u32] {
        let start = if at == 0 { 0 } else { usize::from(self.ends[at - 1]) };
        &self.picks[start..usize::from(self.ends[at])]
    }
}

/// One person on the way in.
#[derive(Clone, Debug)]
pub struct AdPerson {
    pub id: PersonId,
    pub external_id: Option<String>,
    pub locale: String,
    /// Whether picks may be used: consent to personal ads was not withdrawn.
    pub personal: bool,
    pub country: Option<u16>,
    /// See [`crate::touches::holdout::Lots::place`].
    pub lot: i64,
    pub picks: Vec<ProductId>,
}

/// Everybody. Cloning shares the blocks.
#[derive(Clone, Debug)]
pub struct AdPeople {
    blocks: Vec<Option<Arc<Block>>>,
    external: Vec<Arc<Names>>,
    anonymous: Vec<Arc<Names>>,
    hasher: RandomState,
    locale_names: Vec<String>,
    len: usize,
}

impl Default for AdPeople {
    fn default() -> Self {
        let empty = || (0..SHARDS).map(|_| Arc::default()).collect();
        Self { blocks: Vec::new(), external: empty(), anonymous: empty(), hasher: RandomState::new(), locale_names: Vec::new(), len: 0 }
    }
}

fn place_of(id: PersonId) -> Option<(usize, usize)> {
    usize::try_from(id.0).ok().map(|n| (n / BLOCK, n % BLOCK))
}

impl AdPeople {
    fn slot(&self, id: PersonId) -> Option<(&Block, usize)> {
        let (block, at) = place_of(id)?;
        let block = self.blocks.get(block)?.as_deref()?;
        (block.flags[at] & KNOWN != 0).then_some((block, at))
    }

    /// Puts people in, in place of what was known of them; `gone` are forgotten. Blocks without a change stay shared.
    pub fn update(&mut self, people: Vec<AdPerson>, gone: &[PersonId]) {
        let mut by_block: HashMap<usize, HashMap<usize, Option<AdPerson>>> = HashMap::new();
        for id in gone {
            if let Some((block, at)) = place_of(*id) {
                by_block.entry(block).or_default().insert(at, None);
            }
        }
        let mut names: HashMap<usize, Vec<(u64, i64)>> = HashMap::new();
        for person in people {
            let Some((block, at)) = place_of(person.id) else { continue };
            if let Some(external) = &person.external_id {
                let hash = self.hasher.hash_one(external.as_str());
                let shard = hash as usize % SHARDS;
                // Ids hardly ever change, and a shard with a new name is copied.
                if self.external[shard].get(&hash) != Some(&person.id.0) {
                    names.entry(shard).or_default().push((hash, person.id.0));
                }
            }
            by_block.entry(block).or_default().insert(at, Some(person));
        }
        for (shard, fresh) in names {
            Arc::make_mut(&mut self.external[shard]).extend(fresh);
        }
        for (block, changes) in by_block {
            if block >= self.blocks.len() {
                self.blocks.resize(block + 1, None);
            }
            let old = self.blocks[block].clone().unwrap_or_default();
            self.blocks[block] = Some(Arc::new(self.renewed(&old, changes)));
        }
        self.len = self.blocks.iter().flatten().map(|b| b.flags.iter().filter(|f| **f & KNOWN != 0).count()).sum();
    }

    fn renewed(&mut self, old: &Block, mut changes: HashMap<usize, Option<AdPerson>>) -> Block {
        let mut block = Block { picks: Vec::with_capacity(old.picks.len()), ..old.clone() };
        block.picks.clear();
        for at in 0..BLOCK {
            match changes.remove(&at) {
                None => block.picks.extend_from_slice(old.picks(at)),
                Some(None) => block.flags[at] = 0,
                Some(Some(person)) => {
                    block.flags[at] = KNOWN | if person.personal { PERSONAL } else { 0 };
                    block.locales[at] = self.locale_index(&person.locale);
                    block.countries[at] = person.country.unwrap_or(0);
                    block.lots[at] = u16::try_from(person.lot).unwrap_or(u16::MAX);
                    if person.personal {
                        block.picks.extend(person.picks.iter().take(PICKS).filter_map(|p| u32::try_from(p.0).ok()));
                    }
                }
            }
            block.ends[at] = u16::try_from(block.picks.len()).unwrap_or(u16::MAX);
        }
        block.picks.shrink_to_fit();
        block
    }

    fn locale_index(&mut self, locale: &str) -> u8 {
        let at = self.locale_names.iter().position(|l| l == locale).unwrap_or_else(|| {
            self.locale_names.push(locale.to_owned());
            self.locale_names.len() - 1
        });
        u8::try_from(at).unwrap_or(0)
    }

    /// Anonymous ids and whom they belong to.
    pub fn name_anonymous(&mut self, ids: Vec<(String, PersonId)>) {
        let mut names: HashMap<usize, Vec<(u64, i64)>> = HashMap::new();
        for (id, person) in ids {
            let hash = self.hasher.hash_one(id.as_str());
            let shard = hash as usize % SHARDS;
            if self.anonymous[shard].get(&hash) != Some(&person.0) {
                names.entry(shard).or_default().push((hash, person.0));
            }
        }
        for (shard, fresh) in names {
            Arc::make_mut(&mut self.anonymous[shard]).extend(fresh);
        }
    }

    fn named(&self, shards: &[Arc<Names>], name: &str) -> Option<PersonId> {
        let hash = self.hasher.hash_one(name);
        let id = PersonId(*shards[hash as usize % SHARDS].get(&hash)?);
        // Names of who was erased or merged may linger; the person does not.
        self.knows(id).then_some(id)
    }
    pub fn by_external(&self, external_id: &str) -> Option<PersonId> {
        self.named(&self.external, external_id)
    }
    pub fn by_anonymous(&self, anonymous_id: &str) -> Option<PersonId> {
        self.named(&self.anonymous, anonymous_id)
    }
    pub fn knows(&self, person: PersonId) -> bool {
        self.slot(person).is_some()
    }
    /// Product numbers, best first; empty where the person does not want personal ads.
    pub fn picks(&self, person: PersonId) -> &[u32] {
        self.slot(person).map_or(&[], |(block, at)| block.picks(at))
    }
    pub fn may_personalise(&self, person: PersonId) -> bool {
        self.slot(person).is_some_and(|(block, at)| block.flags[at] & PERSONAL != 0)
    }
    pub fn locale(&self, person: PersonId) -> Option<&str> {
        let (block, at) = self.slot(person)?;
        self.locale_names.get(usize::from(block.locales[at])).map(String::as_str)
    }
    pub fn country(&self, person: PersonId) -> Option<u16> {
        self.slot(person).map(|(block, at)| block.countries[at]).filter(|c| *c != 0)
    }
    /// Whether a holdout of all marketing of that size leaves the person alone.
    pub fn held_out(&self, person: PersonId, global_holdout_bp: i64) -> bool {
        global_holdout_bp > 0 && self.slot(person).is_some_and(|(block, at)| i64::from(block.lots[at]) < global_holdout_bp)
    }
    pub fn len(&self) -> usize {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Bytes held, about: blocks, picks and names.
    pub fn bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().flatten().map(|b| BLOCK * 8 + b.picks.capacity() * 4).sum();
        let names: usize = self.external.iter().chain(&self.anonymous).map(|n| n.capacity() * 17).sum();
        blocks + names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(id: i64, picks: &[i64]) -> AdPerson {
        AdPerson {
            id: PersonId(id),
            external_id: Some(format!("u{id}")),
            locale: "en".into(),
            personal: true,
            country: None,
            lot: id % 10_000,
            picks: picks.iter().map(|p| ProductId(*p)).collect(),
        }
    }

    #[test]
    fn a_change_renews_its_block_and_shares_the_others() {
        let mut people = AdPeople::default();
        people.update((1..3_000).map(|id| person(id, &[id, id + 1])).collect(), &[]);
        people.name_anonymous(vec![("b7".into(), PersonId(7)), ("b8".into(), PersonId(8))]);
        assert_eq!((people.len(), people.picks(PersonId(2_999))), (2_999, &[2_999, 3_000][..]));
        let mut next = people.clone();
        next.update(vec![person(5, &[9])], &[PersonId(7)]);
        assert_eq!((next.picks(PersonId(5)), next.picks(PersonId(6))), (&[9][..], &[6, 7][..]));
        assert_eq!((next.by_external("u7"), next.by_anonymous("b7"), next.by_anonymous("b8")), (None, None, Some(PersonId(8))));
        assert_eq!(people.by_external("u7"), Some(PersonId(7)), "the old one is as it was");
        assert_eq!(next.len(), 2_998);
        let shared = |i: usize| Arc::ptr_eq(people.blocks[i].as_ref().expect("block"), next.blocks[i].as_ref().expect("block"));
        assert!(!shared(0) && shared(1) && shared(2));
        assert!(next.held_out(PersonId(5), 10) && !next.held_out(PersonId(50), 10) && !next.held_out(PersonId(5), 0));
        assert!(next.bytes() / next.len() < 160, "{}", next.bytes() / next.len());
    }

    #[test]
    fn who_does_not_want_it_has_no_picks() {
        let mut people = AdPeople::default();
        people.update(vec![AdPerson { personal: false, ..person(1, &[1, 2]) }], &[]);
        assert!(people.picks(PersonId(1)).is_empty() && !people.may_personalise(PersonId(1)) && people.knows(PersonId(1)));
    }
}
