//! Markov credit against a slow reading of its definition: walks enumerated step by step, with and without each key.

use proptest::prelude::*;

use super::*;

/// Chance (and value) that walks end converted when everybody who would meet `without` goes instead, by stepping the chain until nobody is left.
fn stepped(journeys: &Journeys, order: usize, without: Option<Key>) -> (f64, f64) {
    type Window = Vec<Key>;
    let mut next: HashMap<Window, HashMap<Option<Window>, f64>> = HashMap::new();
    let mut value: HashMap<Window, (f64, f64)> = HashMap::new();
    for way in journeys.ways() {
        let mut at: Window = Vec::new();
        for key in &way.path {
            let mut to = at.clone();
            to.push(*key);
            if to.len() > order {
                to.remove(0);
            }
            *next.entry(at).or_default().entry(Some(to.clone())).or_default() += way.conversions + way.misses;
            at = to;
        }
        *next.entry(at.clone()).or_default().entry(None).or_default() += way.conversions + way.misses;
        let (conversions, worth) = value.entry(at).or_default();
        *conversions += way.conversions;
        *worth += way.value;
    }
    let mut here: HashMap<Window, f64> = HashMap::from([(Vec::new(), 1.0)]);
    let (mut p, mut v) = (0.0, 0.0);
    for _ in 0..20_000 {
        let mut there: HashMap<Window, f64> = HashMap::new();
        for (window, mass) in &here {
            let steps = &next[window];
            let out: f64 = steps.values().sum();
            for (to, weight) in steps {
                match to {
                    Some(to) if without.is_some_and(|k| to.last() == Some(&k)) => {}
                    Some(to) => *there.entry(to.clone()).or_default() += mass * weight / out,
                    None => {
                        p += mass * value[window].0 / out;
                        v += mass * value[window].1 / out;
                    }
                }
            }
        }
        here = there;
        if here.values().sum::<f64>() < 1e-14 {
            break;
        }
    }
    (p, v)
}

fn journeys(list: &[(Vec<Key>, u8, u8)]) -> Journeys {
    let mut j = Journeys::new();
    for name in ["a", "b", "c", "d", "e"] {
        j.key(name);
    }
    for (i, (path, conversions, misses)) in list.iter().enumerate() {
        let value = f64::from(*conversions) * (1.0 + i as f64);
        j.add(path, f64::from(*conversions), value, f64::from(*misses));
    }
    j
}

#[test]
fn a_chain_small_enough_for_paper() {
    // a > b converts once, a goes once, b converts once and goes once.
    let j = journeys(&[(vec![0, 1], 1, 0), (vec![0], 0, 1), (vec![1], 1, 1)]);
    let m = solve(&j, 1).expect("solves");
    // Start: a 1/2, b 1/2; a: b 1/2, gone 1/2; b: converted 2/3, gone 1/3. p = 1/2·1/2·2/3 + 1/2·2/3 = 1/2.
    assert!((m.conversion_probability - 0.5).abs() < 1e-12);
    assert!((m.removal_effects[0] - (1.0 - (1.0 / 3.0) / 0.5)).abs() < 1e-12);
    assert!((m.removal_effects[1] - 1.0).abs() < 1e-12);
    assert_eq!(&m.removal_effects[2..], [0.0; 3], "keys of no path earn nothing");
    let earned = m.earned(&j);
    assert!((earned[0].conversions - 0.5).abs() < 1e-12 && (earned[1].conversions - 1.5).abs() < 1e-12);
}

#[test]
fn nothing_and_no_end() {
    assert_eq!(solve(&Journeys::new(), 1).expect("empty").removal_effects, Vec::<f64>::new());
    let j = journeys(&[(vec![0, 1], 0, 3)]);
    assert_eq!(solve(&j, 1).expect("no conversions").removal_effects, [0.0; 5]);
    assert_eq!(solve(&j, 0), Err(MarkovError::Order));
    assert_eq!(solve(&j, 4), Err(MarkovError::Order));
    let mut many = Journeys::new();
    for i in 0..=MAX_STATES {
        many.add_text(&format!("k{i}"), 1.0, 1.0, 0.0);
    }
    assert_eq!(solve(&many, 1), Err(MarkovError::States(MAX_STATES + 1)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn removal_effects_are_what_stepping_the_chain_gives(
        list in proptest::collection::vec((proptest::collection::vec(0_u32..4, 1..6), 0_u8..4, 0_u8..4), 1..12),
        order in 1_usize..=3,
    ) {
        let j = journeys(&list);
        let m = solve(&j, order).expect("solves");
        if j.conversions() > 0.0 {
            let (p, v) = stepped(&j, order, None);
            prop_assert!((m.conversion_probability - p).abs() < 1e-9);
            // Every journey is a walk and every walk a mixture of journeys: nothing is lost on the way.
            let rate = j.conversions() / (j.conversions() + j.misses());
            prop_assert!((p - rate).abs() < 1e-9, "{p} {rate}");
            for key in 0..j.len() {
                let (without, value_without) = stepped(&j, order, Some(key as Key));
                prop_assert!((m.removal_effects[key] - (1.0 - without / p)).abs() < 1e-7, "{key}: {:?} {}", m, 1.0 - without / p);
                prop_assert!((m.value_removal_effects[key] - (1.0 - value_without / v)).abs() < 1e-7);
            }
            let earned = m.earned(&j);
            prop_assert!((earned.iter().map(|e| e.conversions).sum::<f64>() - j.conversions()).abs() < 1e-6);
            prop_assert!((earned.iter().map(|e| e.value).sum::<f64>() - j.value()).abs() < 1e-6);
        }
    }

    /// Staying on a key changes nothing in a chain of order 1.
    #[test]
    fn repetitions_change_nothing_at_order_one(list in proptest::collection::vec((proptest::collection::vec(0_u32..4, 1..5), 1_u8..4, 0_u8..4), 1..8)) {
        let twice: Vec<_> = list.iter().map(|(p, c, m)| (p.iter().flat_map(|k| [*k, *k]).collect::<Vec<_>>(), *c, *m)).collect();
        let (a, b) = (solve(&journeys(&list), 1).expect("solves"), solve(&journeys(&twice), 1).expect("solves"));
        // Paths that differ only in repetitions stay different ways, but the chain sees the same transitions apart from stays.
        for (x, y) in a.removal_effects.iter().zip(&b.removal_effects) {
            prop_assert!((x - y).abs() < 1e-9);
        }
    }
}
