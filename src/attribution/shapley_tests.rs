//! Shapley values against brute force: every order of joining, and v(S) read off the journeys each time.

use proptest::prelude::*;

use super::*;
use crate::attribution::journeys::Key;

fn journeys(names: usize, list: &[(Vec<Key>, u8, u8)]) -> Journeys {
    let mut j = Journeys::new();
    for i in 0..names {
        j.key(&format!("k{i}"));
    }
    for (i, (path, conversions, misses)) in list.iter().enumerate() {
        j.add(path, f64::from(*conversions), f64::from(*conversions) * (1.0 + i as f64), f64::from(*misses));
    }
    j
}

fn worth(j: &Journeys, game: Game, set: &[usize]) -> [f64; 2] {
    let inside = j.ways().iter().filter(|w| w.path.iter().all(|k| set.contains(&(*k as usize))));
    let (c, v, n) = inside.fold((0.0, 0.0, 0.0), |(c, v, n), w| (c + w.conversions, v + w.value, n + w.conversions + w.misses));
    match game {
        Game::Sum => [c, v],
        Game::Rate if n > 0.0 => [c / n, v / n],
        Game::Rate => [0.0, 0.0],
    }
}

fn brute(j: &Journeys, game: Game) -> (Vec<f64>, Vec<f64>) {
    fn orders(rest: &mut Vec<usize>, done: &mut Vec<usize>, each: &mut dyn FnMut(&[usize])) {
        if rest.is_empty() {
            return each(done);
        }
        for at in 0..rest.len() {
            let i = rest.remove(at);
            done.push(i);
            orders(rest, done, each);
            done.pop();
            rest.insert(at, i);
        }
    }
    let n = j.len();
    let (mut values, mut money, mut count) = (vec![0.0; n], vec![0.0; n], 0.0);
    orders(&mut (0..n).collect(), &mut Vec::new(), &mut |order| {
        count += 1.0;
        for (at, i) in order.iter().enumerate() {
            let (before, after) = (worth(j, game, &order[..at]), worth(j, game, &order[..=at]));
            values[*i] += after[0] - before[0];
            money[*i] += after[1] - before[1];
        }
    });
    let mean = |list: Vec<f64>| list.into_iter().map(|v| v / count).collect();
    (mean(values), mean(money))
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn both_games_equal_brute_force(
        list in proptest::collection::vec((proptest::collection::vec(0_u32..5, 1..6), 0_u8..5, 0_u8..5), 1..14),
    ) {
        let j = journeys(5, &list);
        for game in [Game::Sum, Game::Rate] {
            let solved = solve(&j, game, 0, 0);
            let (values, money) = brute(&j, game);
            prop_assert!(close(&solved.values, &values), "{game:?} {:?} {values:?}", solved.values);
            prop_assert!(close(&solved.money, &money), "{game:?}");
            prop_assert!(solved.pairs.is_none() && solved.standard_errors.iter().all(|e| *e == 0.0));
            let all: Vec<usize> = (0..5).collect();
            prop_assert!((solved.values.iter().sum::<f64>() - worth(&j, game, &all)[0]).abs() < 1e-9, "nothing is lost");
            let earned = solved.earned(&j);
            if solved.values.iter().any(|v| *v > 0.0) {
                prop_assert!((earned.iter().map(|e| e.conversions).sum::<f64>() - j.conversions()).abs() < 1e-6);
            }
            prop_assert!(earned.iter().all(|e| e.conversions >= 0.0));
        }
    }

    /// The general solver against the closed form that only the sum game has.
    #[test]
    fn the_exact_solver_knows_the_sum_game(
        list in proptest::collection::vec((proptest::collection::vec(0_u32..10, 1..6), 0_u8..5, 0_u8..5), 1..14),
    ) {
        let j = journeys(10, &list);
        let by_formula = solve(&j, Game::Sum, 0, 0).values;
        let general = exact(10, |set| worth(&j, Game::Sum, &(0..10).filter(|i| set >> i & 1 == 1).collect::<Vec<_>>())[0]);
        prop_assert!(close(&by_formula, &general));
    }
}

/// Beyond twelve keys: the estimate lies within its own stated error of the exact value, as often as it should.
#[test]
fn estimates_state_their_error() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    use rand::Rng as _;
    let list: Vec<(Vec<Key>, u8, u8)> = (0..60)
        .map(|_| ((0..rng.random_range(1..5)).map(|_| rng.random_range(0..14)).collect(), rng.random_range(0..4), rng.random_range(0..9)))
        .collect();
    let j = journeys(14, &list);
    let sets = coalitions(&j);
    let truth = rate_exact(&sets, 14);
    let (mut inside, mut all) = (0, 0);
    for seed in 0..20 {
        let estimate = solve(&j, Game::Rate, 100, seed);
        assert_eq!(estimate.pairs, Some(100));
        for i in 0..14 {
            assert!(estimate.standard_errors[i] > 0.0 || truth.values[i] == 0.0);
            all += 1;
            inside += u32::from((estimate.values[i] - truth.values[i]).abs() <= 2.0 * estimate.standard_errors[i]);
        }
        assert!((estimate.values.iter().sum::<f64>() - truth.values.iter().sum::<f64>()).abs() < 1e-9, "each order gives everything away");
    }
    let share = f64::from(inside) / f64::from(all);
    assert!((0.90..0.99).contains(&share), "{share} of estimates lie within two standard errors");
    let finer = solve(&j, Game::Rate, 1_600, 1);
    assert!(finer.standard_errors[0] < solve(&j, Game::Rate, 100, 1).standard_errors[0] / 3.0);
    assert_eq!(solve(&j, Game::Rate, 100, 7), solve(&j, Game::Rate, 100, 7), "the same seed draws the same orders");
}
