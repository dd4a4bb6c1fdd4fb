//! Tests of the chain algorithms against each other and against all orders there are.

use proptest::prelude::*;

use super::chain::{
    OrderError, count_orders, dynamic_programme, left_to_right, optimal_order, right_to_left,
    worst_order,
};
use super::hu_shing;
use super::{Orders, Parenthesisation};

const NAMES: [&str; 8] = ["A", "B", "C", "D", "E", "F", "G", "H"];

/// Holds every algorithm against the others on one chain.
fn check(dims: &[u64]) {
    let oracle = dynamic_programme(dims).unwrap();
    assert_eq!(
        oracle.tree.cost(dims),
        Ok(oracle.cost),
        "the oracle's own tree, {dims:?}"
    );
    let best = optimal_order(dims).unwrap();
    assert_eq!((best.cost, best.proved), (oracle.cost, true), "{dims:?}");
    assert_eq!(best.tree.cost(dims), Ok(best.cost), "{dims:?}");
    if dims.iter().all(|&size| size > 0) {
        let (cost, tree) = hu_shing::solve(dims).unwrap();
        assert_eq!(cost, oracle.cost, "Hu-Shing's account, {dims:?}");
        assert_eq!(tree.cost(dims), Ok(cost), "Hu-Shing's tree, {dims:?}");
    }
    if dims.len() <= 9 {
        let costs: Vec<u128> = Orders::of(dims.len() - 1)
            .map(|tree| tree.cost(dims).unwrap())
            .collect();
        assert_eq!(costs.len() as u128, count_orders(dims.len() - 1));
        assert_eq!(costs.iter().min(), Some(&best.cost), "{dims:?}");
        assert_eq!(
            costs.iter().max(),
            Some(&worst_order(dims).unwrap().cost),
            "{dims:?}"
        );
        assert_eq!(costs[0], right_to_left(dims).unwrap().cost);
        assert_eq!(costs.last(), Some(&left_to_right(dims).unwrap().cost));
    }
}

/// Chains of the shapes that trouble the algorithm: ties, ones, waves, slopes and valleys.
fn chains(length: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<u64>> {
    let sizes = prop_oneof![
        Just(2u64),
        Just(3),
        Just(10),
        Just(1000),
        Just(1 << 20),
        Just(1 << 31),
        Just(1 << 35)
    ];
    let free = (sizes, length.clone())
        .prop_flat_map(|(most, length)| prop::collection::vec(1..=most, length));
    let with_zero = prop::collection::vec(0..4u64, length);
    prop_oneof![
        6 => (free, 0..5u8).prop_map(|(mut dims, shape)| {
            let (length, most) = (dims.len(), dims.iter().copied().max().unwrap_or(1));
            let rising = |place: usize| 1 + most * place as u64 / length as u64;
            match shape {
                0 => dims.sort_unstable(),
                1 => dims.sort_unstable_by(|a, b| b.cmp(a)),
                2 => dims = (0..length).map(|i| rising(i.abs_diff(length / 2))).collect(),
                3 => {
                    for (place, size) in dims.iter_mut().enumerate() {
                        *size += most * (place as u64 % 2);
                    }
                }
                _ => {}
            }
            dims
        }),
        1 => with_zero,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn short_chains_agree_with_all_orders(dims in chains(2..=9)) {
        check(&dims);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn long_chains_agree_with_the_dynamic_programme(dims in chains(10..=120)) {
        check(&dims);
    }

    /// Above 2⁶⁴ the algorithm counts in 256 bits; scaling a chain shows both in one.
    #[test]
    fn a_chain_scaled_up_keeps_its_order(dims in prop::collection::vec(1..=1u64 << 20, 4..=80)) {
        let scaled: Vec<u64> = dims.iter().map(|size| size << 20).collect();
        let (cost, tree) = hu_shing::solve(&dims).unwrap();
        let (scaled_cost, scaled_tree) = hu_shing::solve(&scaled).unwrap();
        prop_assert_eq!(cost << 60, scaled_cost);
        prop_assert_eq!(tree, scaled_tree);
    }
}

#[test]
fn known_chains() {
    let shown = |dims: &[u64]| {
        let best = optimal_order(dims).unwrap();
        let naive = left_to_right(dims).unwrap();
        format!(
            "{} = {} instead of {}",
            best.tree.render(&NAMES),
            best.cost,
            naive.cost
        )
    };
    insta::assert_snapshot!(shown(&[100, 5, 200, 20]), @"A @ (B @ C) = 30000 instead of 500000");
    // Cormen et al., section 15.2.
    insta::assert_snapshot!(shown(&[30, 35, 15, 5, 10, 20, 25]), @"A @ (B @ C) @ (D @ E @ F) = 15125 instead of 40500");
    insta::assert_snapshot!(shown(&[10, 20, 50, 1, 100]), @"A @ (B @ C) @ D = 2200 instead of 11500");
    insta::assert_snapshot!(shown(&[7, 7, 7, 7, 7]), @"A @ B @ C @ D = 1029 instead of 1029");
    insta::assert_snapshot!(shown(&[4, 6]), @"A = 0 instead of 0");
    insta::assert_snapshot!(shown(&[4, 0, 6, 5, 3]), @"A @ (B @ C @ D) = 0 instead of 180");
}

/// A chain of a million matrices must neither recurse nor take quadratic time, in any step.
#[test]
fn a_million_matrices() {
    let mut state = 1u64;
    let dims: Vec<u64> = (0..1_000_001)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            1 + (state >> 33) % 10_000
        })
        .collect();
    let best = optimal_order(&dims).unwrap();
    assert!(best.proved);
    assert!(best.cost < left_to_right(&dims).unwrap().cost);
    let names = vec!["M"; 1_000_000];
    let text = best.tree.render(&names);
    assert_eq!(text.matches('(').count(), text.matches(')').count());
    assert_eq!(text.matches('M').count(), 1_000_000);
}

#[test]
fn rendering_gives_back_the_tree() {
    // Every order of five operands has its own text, and only left-to-right has no parentheses.
    let texts: Vec<String> = Orders::of(5).map(|tree| tree.render(&NAMES)).collect();
    let distinct: std::collections::BTreeSet<&String> = texts.iter().collect();
    assert_eq!(distinct.len(), 14);
    assert_eq!(texts[0], "A @ (B @ (C @ (D @ E)))");
    assert_eq!(texts[13], "A @ B @ C @ D @ E");
    assert_eq!(texts.iter().filter(|text| !text.contains('(')).count(), 1);
}

#[test]
fn counts_of_orders() {
    let counts: Vec<u128> = (0..10).map(count_orders).collect();
    assert_eq!(counts, [1, 1, 1, 2, 5, 14, 42, 132, 429, 1430]);
    // C(66) is the last that fits.
    assert_eq!(
        count_orders(67),
        5_632_681_584_560_312_734_993_915_705_849_145_100
    );
    assert_eq!(count_orders(100), u128::MAX);
}

#[test]
fn what_cannot_be_answered_is_said() {
    assert_eq!(optimal_order(&[]), Err(OrderError::TooFewDims(0)));
    assert_eq!(optimal_order(&[3]), Err(OrderError::TooFewDims(1)));
    assert_eq!(optimal_order(&[1 << 63; 4]), Err(OrderError::Overflow));
    assert_eq!(optimal_order(&[u64::MAX; 100]), Err(OrderError::Overflow));
    assert_eq!(left_to_right(&[1 << 63; 4]), Err(OrderError::Overflow));
    // Huge sizes do no harm where the right order avoids them.
    let tall: Vec<u64> = (0..101)
        .map(|i| if i % 2 == 0 { 1 } else { 1 << 62 })
        .collect();
    let best = optimal_order(&tall).unwrap();
    assert_eq!((best.cost, best.proved), (49 + (50 << 62), true));
    assert_eq!(
        Parenthesisation::left_to_right(3).cost(&[1, 2]),
        Err(OrderError::OperandCount {
            dims: 2,
            operands: 3
        })
    );
    assert_eq!(Parenthesisation::from_closes(vec![0, 2, 0]), None);
    assert_eq!(Parenthesisation::from_closes(vec![0, 0, 1]), None);
    assert_eq!(Parenthesisation::from_closes(Vec::new()), None);
    insta::assert_snapshot!(OrderError::TooLong { operands: 900, limit: 300 }, @"900 operands are more than the 300 that this is computed for");
}
