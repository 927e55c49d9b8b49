//! A trained choice as bytes for the `model` table: a JSON head, then plain little-endian arrays.

use serde::{Deserialize, Serialize};

use super::als::Factors;
use super::base::{Base, Params, Repeat};
use super::blend::Blend;
use super::neighbours::Neighbours;
use super::ranker::{FEATURES, Ranker};

const MAGIC: &[u8; 8] = b"MQCHOIC1";

#[derive(Debug, thiserror::Error)]
#[error("the stored choice cannot be read: {0}. `marquee train` makes a new one.")]
pub struct ArtifactError(String);

#[derive(Serialize, Deserialize)]
struct Head {
    as_of_us: i64,
    params: Params,
    /// Names of the features in order: a model of another version of the code is refused.
    features: Vec<String>,
    any: Blend,
    new: Blend,
    repeat: f32,
    items: usize,
    pairs: usize,
}

/// `items` are the product ids, ascending, that the model's indices stand for.
pub fn to_bytes(ranker: &Ranker, items: &[i64]) -> Result<Vec<u8>, ArtifactError> {
    let base = &ranker.base;
    let head = Head {
        as_of_us: base.as_of_us,
        params: base.params,
        features: FEATURES.iter().map(|f| (*f).to_owned()).collect(),
        any: ranker.any.clone(),
        new: ranker.new.clone(),
        repeat: base.repeat.shop,
        items: items.len(),
        pairs: base.neighbours.items.len(),
    };
    let head = serde_json::to_vec(&head).map_err(|e| ArtifactError(e.to_string()))?;
    let mut out = Vec::with_capacity(64 + head.len() + items.len() * (24 + 4 * base.factors.rank) + 8 * base.neighbours.items.len());
    out.extend_from_slice(MAGIC);
    out.extend((head.len() as u32).to_le_bytes());
    out.extend(head);
    items.iter().for_each(|v| out.extend(v.to_le_bytes()));
    base.neighbours.starts.iter().chain(&base.neighbours.items).for_each(|v| out.extend(v.to_le_bytes()));
    for floats in [&base.neighbours.cosines, &base.factors.items, &base.popular_now, &base.popular_ever, &base.repeat.items] {
        floats.iter().for_each(|v| out.extend(v.to_le_bytes()));
    }
    Ok(out)
}

/// A ranker over the stored items; [`grow`] adds products that came later.
pub fn from_bytes(bytes: &[u8]) -> Result<(Base, Blend, Blend, Vec<i64>), ArtifactError> {
    let short = || ArtifactError("it is cut short".into());
    let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(|| ArtifactError("it is not one".into()))?;
    let mut take = |n: usize| -> Result<&[u8], ArtifactError> {
        let (head, tail) = rest.split_at_checked(n).ok_or_else(short)?;
        rest = tail;
        Ok(head)
    };
    let words = |bytes: &[u8]| -> Vec<u32> { bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect() };
    let size = words(take(4)?).first().copied().unwrap_or(0) as usize;
    let head: Head = serde_json::from_slice(take(size)?).map_err(|e| ArtifactError(e.to_string()))?;
    if head.features != FEATURES {
        return Err(ArtifactError("it was trained by another version".into()));
    }
    let times = |n: usize, size: usize| n.checked_mul(size).ok_or_else(short);
    let items: Vec<i64> = take(times(head.items, 8)?)?.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
    let starts = words(take(times(head.items + 1, 4)?)?);
    let pairs = words(take(times(head.pairs, 4)?)?);
    let mut floats = |n: usize| -> Result<Vec<f32>, ArtifactError> {
        Ok(take(times(n, 4)?)?.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    };
    let cosines = floats(head.pairs)?;
    let factors = floats(times(head.items, head.params.als.rank)?)?;
    let (popular_now, popular_ever, repeat) = (floats(head.items)?, floats(head.items)?, floats(head.items)?);
    let in_range = starts.windows(2).all(|w| w[0] <= w[1]) && starts.last().is_none_or(|l| *l as usize == pairs.len());
    if !in_range || pairs.iter().any(|i| *i as usize >= head.items) {
        return Err(ArtifactError("its neighbours are out of range".into()));
    }
    let base = Base {
        as_of_us: head.as_of_us,
        params: head.params,
        factors: Factors::new(factors, &head.params.als),
        neighbours: Neighbours { starts, items: pairs, cosines },
        popular_now,
        popular_ever,
        repeat: Repeat { shop: head.repeat, items: repeat },
    };
    Ok((base, head.any, head.new, items))
}

/// Adds products that came after training: unknown to everybody, found by their text alone. Ids only grow, so indices stay.
pub fn grow(base: &mut Base, items: &mut Vec<i64>, catalogue: &[i64]) {
    let last = items.last().copied().unwrap_or(i64::MIN);
    let mut fresh: Vec<i64> = catalogue.iter().copied().filter(|id| *id > last).collect();
    fresh.sort_unstable();
    fresh.dedup();
    let n = items.len() + fresh.len();
    let mut factors = std::mem::take(&mut base.factors.items);
    factors.resize(n * base.params.als.rank, 0.0);
    base.factors = Factors::new(factors, &base.params.als);
    let end = base.neighbours.items.len() as u32;
    base.neighbours.starts.resize(n + 1, end);
    base.popular_now.resize(n, 0.0);
    base.popular_ever.resize(n, 0.0);
    base.repeat.items.resize(n, base.repeat.shop);
    items.extend(fresh);
}

#[cfg(test)]
mod tests {
    use super::super::evaluate::tests::{planted, small};
    use super::super::history::DAY_US;
    use super::*;

    #[test]
    fn a_stored_choice_ranks_as_before_and_new_products_join_it() {
        let (data, side) = planted(30);
        let now = 130 * DAY_US;
        let ranker = Ranker::train(&data, &side, None, now, &small(), |_| {});
        let bytes = to_bytes(&ranker, &data.items).expect("bytes");
        let (mut base, any, new, mut items) = from_bytes(&bytes).expect("reads");
        assert_eq!(items, data.items);
        let again = Ranker::assemble(base.clone(), any.clone(), new.clone(), &side);
        let rank = |r: &Ranker| r.rank(&r.person(&data.rows[3], &side, now), &side, None, false, &[]);
        assert_eq!(rank(&ranker), rank(&again));

        grow(&mut base, &mut items, &[100, 101, 900, 899]);
        assert_eq!(items[36..], [899, 900]);
        let grown = Ranker::assemble(base, any, new, &side);
        let all = grown.rank(&grown.person(&data.rows[3], &side, now), &side, None, false, &[37]);
        assert!(all.iter().any(|s| s.item == 37 && s.score.is_finite()));
        for cut in [0, 9, 40, bytes.len() - 1] {
            assert!(from_bytes(&bytes[..cut]).is_err());
        }
    }
}
