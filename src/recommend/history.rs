//! Who did what with which product, when: the facts as the learner sees them, densely indexed.

use std::collections::HashMap;

use super::als::Csr;

pub const DAY_US: i64 = 86_400_000_000;

/// What an interaction was. Stronger signs of liking come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    View,
    Cart,
    Purchase,
}

/// One person did one thing with one product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interaction {
    /// Dense index into [`Dataset::items`].
    pub item: u32,
    pub kind: Kind,
    /// Microseconds since the epoch.
    pub at_us: i64,
}

/// Interactions of many people, grouped by person and sorted by time.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// Ids of people, ascending.
    pub people: Vec<i64>,
    /// Ids of products, ascending; an item is an index into this.
    pub items: Vec<i64>,
    /// One list per person.
    pub rows: Vec<Vec<Interaction>>,
}

impl Dataset {
    /// Builds from `(person, product, kind, time)` in any order. `products` adds products that nobody has touched.
    pub fn build(facts: &[(i64, i64, Kind, i64)], products: &[i64]) -> Self {
        let mut people: Vec<i64> = facts.iter().map(|f| f.0).collect();
        people.sort_unstable();
        people.dedup();
        let mut items: Vec<i64> = facts.iter().map(|f| f.1).chain(products.iter().copied()).collect();
        items.sort_unstable();
        items.dedup();
        let person_at: HashMap<i64, usize> = people.iter().enumerate().map(|(i, p)| (*p, i)).collect();
        let item_at: HashMap<i64, u32> = items.iter().enumerate().map(|(i, p)| (*p, i as u32)).collect();
        let mut rows = vec![Vec::new(); people.len()];
        for (person, product, kind, at_us) in facts {
            rows[person_at[person]].push(Interaction { item: item_at[product], kind: *kind, at_us: *at_us });
        }
        rows.iter_mut().for_each(|row| row.sort_by_key(|i| (i.at_us, i.item, i.kind)));
        Self { people, items, rows }
    }

    /// What happened before an instant, with the same indices.
    pub fn before(&self, at_us: i64) -> Self {
        let rows = self.rows.iter().map(|row| row[..row.partition_point(|i| i.at_us < at_us)].to_vec()).collect();
        Self { people: self.people.clone(), items: self.items.clone(), rows }
    }

    /// Distinct items bought by each person in `[from, to)`, ascending.
    pub fn bought_between(&self, from_us: i64, to_us: i64) -> Vec<Vec<u32>> {
        let one = |row: &Vec<Interaction>| {
            let bought = row.iter().filter(|i| i.kind == Kind::Purchase && i.at_us >= from_us && i.at_us < to_us);
            let mut items: Vec<u32> = bought.map(|i| i.item).collect();
            items.sort_unstable();
            items.dedup();
            items
        };
        self.rows.iter().map(one).collect()
    }

    /// First and last instant, `None` where nothing happened.
    pub fn span(&self) -> Option<(i64, i64)> {
        let all = || self.rows.iter().flatten().map(|i| i.at_us);
        Some((all().min()?, all().max()?))
    }

    pub fn len(&self) -> usize {
        self.rows.iter().map(Vec::len).sum()
    }
    pub fn is_empty(&self) -> bool {
        self.rows.iter().all(Vec::is_empty)
    }
}

/// How much an interaction says about liking, and how that fades.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Confidence {
    pub view: f32,
    pub cart: f32,
    pub purchase: f32,
    /// Days after which an interaction counts half; 0 = never fades.
    pub half_life_days: f32,
}
impl Default for Confidence {
    fn default() -> Self {
        Self { view: 0.3, cart: 0.7, purchase: 1.0, half_life_days: 120.0 }
    }
}

impl Confidence {
    pub fn of(&self, kind: Kind) -> f32 {
        match kind {
            Kind::View => self.view,
            Kind::Cart => self.cart,
            Kind::Purchase => self.purchase,
        }
    }
    /// 2^(−age / half-life); 1 for the future.
    pub fn decay(&self, at_us: i64, as_of_us: i64) -> f32 {
        if self.half_life_days <= 0.0 {
            return 1.0;
        }
        let age_days = (as_of_us - at_us).max(0) as f32 / DAY_US as f32;
        (-age_days / self.half_life_days).exp2()
    }
    /// A person's items with their confidence: the sum per item, dampened by 1 + log2 above 1, so that one bulk buyer weighs little.
    pub fn row(&self, history: &[Interaction], as_of_us: i64) -> Vec<(u32, f32)> {
        let mut row: Vec<(u32, f32)> = history.iter().map(|i| (i.item, self.of(i.kind) * self.decay(i.at_us, as_of_us))).collect();
        row.sort_unstable_by_key(|(item, _)| *item);
        row.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        row.iter_mut().for_each(|(_, c)| {
            if *c > 1.0 {
                *c = 1.0 + c.log2();
            }
        });
        row.retain(|(_, c)| *c > 1e-4 && c.is_finite());
        row
    }
    /// The person × item matrix.
    pub fn matrix(&self, data: &Dataset, as_of_us: i64) -> Csr {
        Csr::from_rows(data.rows.iter().map(|row| self.row(row, as_of_us)), data.items.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_grouped_summed_and_faded() {
        let day = |d: i64| d * DAY_US;
        let facts =
            [(9, 70, Kind::Purchase, day(10)), (5, 71, Kind::View, day(1)), (9, 70, Kind::Purchase, day(10)), (9, 71, Kind::Cart, day(0))];
        let data = Dataset::build(&facts, &[99]);
        assert_eq!((data.people.as_slice(), data.items.as_slice()), ([5, 9].as_slice(), [70, 71, 99].as_slice()));
        let confidence = Confidence { half_life_days: 10.0, ..Confidence::default() };
        let row = confidence.row(&data.rows[1], day(10));
        // Two purchases today: 1 + log2(2) = 2; a cart ten days ago: half of 0.7.
        assert_eq!(row.len(), 2);
        assert!((row[0].1 - 2.0).abs() < 1e-6 && (row[1].1 - 0.35).abs() < 1e-6, "{row:?}");
        assert_eq!(data.before(day(10)).len(), 2);
        assert_eq!(data.bought_between(day(0), day(11)), vec![vec![], vec![0]]);
        assert_eq!(data.span(), Some((0, day(10))));
    }
}
