//! Tests of einsum orders against all orders, and of the rendered replacement against the einsum.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use proptest::prelude::*;

use super::search::{as_chain, exact, search, total};
use super::tree::Tree;
use super::*;
use crate::facts::order::chain;

const NAMES: [&str; 6] = ["A", "B", "C", "D", "E", "F"];

fn network(text: &str, shapes: &[Vec<u64>]) -> Network {
    Network::new(&parse_equation(text).unwrap(), shapes).unwrap()
}

/// Equations over the letters a-f with up to `most` operands, and shapes for them.
fn einsums(most: usize) -> impl Strategy<Value = (String, Vec<Vec<u64>>)> {
    let size = prop_oneof![Just(0u64), Just(1), 1..4u64, 1..50u64, Just(1 << 20)];
    let sizes = prop::collection::vec(size, 6);
    let term = prop::collection::vec(0..6usize, 0..4);
    let terms = prop::collection::vec(term, 1..=most);
    (sizes, terms, any::<u8>()).prop_map(|(sizes, terms, kept)| {
        let letter = |index: usize| char::from(b'a' + index as u8);
        let inputs: Vec<String> = terms
            .iter()
            .map(|term| term.iter().map(|&index| letter(index)).collect())
            .collect();
        let output: String = (0..6)
            .filter(|index| kept >> index & 1 == 1 && terms.iter().flatten().any(|it| it == index))
            .map(letter)
            .collect();
        let shapes = terms
            .iter()
            .map(|term| term.iter().map(|&index| sizes[index]).collect());
        (format!("{}->{output}", inputs.join(",")), shapes.collect())
    })
}

/// The least cost over all trees, counted with sets of letters straight from the definition.
fn brute_force(text: &str, shapes: &[Vec<u64>]) -> Cost {
    let (inputs, output) = text.split_once("->").unwrap();
    let output: BTreeSet<char> = output.chars().collect();
    let terms: Vec<Vec<char>> = inputs
        .split(',')
        .map(|term| term.chars().collect())
        .collect();
    let sizes: BTreeMap<char, u128> = terms
        .iter()
        .zip(shapes)
        .flat_map(|(term, shape)| {
            term.iter()
                .copied()
                .zip(shape.iter().map(|&size| size.into()))
        })
        .collect();
    let product = |set: &BTreeSet<char>| set.iter().map(|letter| sizes[letter]).product::<u128>();
    let union = |list: &[BTreeSet<char>]| -> BTreeSet<char> {
        list.iter().flatten().chain(&output).copied().collect()
    };
    let full: Vec<BTreeSet<char>> = terms
        .iter()
        .map(|term| term.iter().copied().collect())
        .collect();
    let mut flops_before = 0;
    let start: Vec<BTreeSet<char>> = (0..full.len())
        .map(|place| {
            let mut others = full.clone();
            let term = others.remove(place);
            let kept: BTreeSet<char> = &term & &union(&others);
            if kept != term {
                flops_before += product(&term);
            }
            kept
        })
        .collect();
    let mut least = None;
    let mut pending = vec![(start, 0u128, flops_before)];
    while let Some((list, multiplications, flops)) = pending.pop() {
        if list.len() == 1 {
            let cost = (multiplications, flops);
            least = Some(least.map_or(cost, |other: (u128, u128)| other.min(cost)));
        }
        for a in 0..list.len() {
            for b in 0..a {
                let mut rest = list.clone();
                let joint = &rest.remove(a) | &rest.remove(b);
                let result: BTreeSet<char> = &joint & &union(&rest);
                let here = product(&joint);
                let times = if result == joint { 1 } else { 2 };
                rest.push(result);
                pending.push((rest, multiplications + here, flops + times * here));
            }
        }
    }
    let (multiplications, flops) = least.unwrap();
    Cost {
        multiplications,
        flops,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn optimal_paths_agree_with_all_orders((text, shapes) in einsums(5)) {
        let network = network(&text, &shapes);
        let expected = brute_force(&text, &shapes);
        let best = network.optimal().unwrap();
        prop_assert!(best.proved);
        prop_assert_eq!((best.multiplications, best.flops), (expected.multiplications, expected.flops));
        let every = network.every_path().unwrap();
        let trees = [1, 1, 3, 15, 105][shapes.len() - 1];
        prop_assert_eq!(every.len(), trees);
        prop_assert_eq!(every[0].multiplications, best.multiplications);
        let again = network.path(&best.steps).unwrap();
        prop_assert_eq!(again.flops, best.flops);
        prop_assert_eq!(again.largest_intermediate, best.largest_intermediate);
    }

    /// Six operands are one part of a larger tree, so refining the searched tree must end at the
    /// optimum, whatever the greedy search began with.
    #[test]
    fn searched_trees_are_sound((text, shapes) in einsums(6)) {
        let network = network(&text, &shapes);
        let (inputs, _) = network.summed_inputs();
        let cost = |tree: &Tree| total(tree, &inputs, network.output, &network.sizes);
        let exact = cost(&exact(&inputs, network.output, &network.sizes));
        let found = cost(&search(&inputs, network.output, &network.sizes));
        prop_assert_eq!(found, exact);
    }

    /// Outer products do not help a chain, so ordering it as one is as good as all orders. Also
    /// the trees must agree when a batch dimension is shared by all and operands are shuffled.
    #[test]
    fn chains_agree_with_all_orders(
        dims in prop::collection::vec(prop_oneof![Just(1u64), 1..5u64, 1..200u64], 4..=10),
        batch in 1..4u64,
        seed in any::<u64>(),
    ) {
        let count = dims.len() - 1;
        let letter = |index: usize| char::from(b'a' + index as u8);
        let mut operands: Vec<(String, Vec<u64>)> = (0..count)
            .map(|i| (format!("z{}{}", letter(i), letter(i + 1)), vec![batch, dims[i], dims[i + 1]]))
            .collect();
        operands.rotate_left(seed as usize % count);
        operands.swap(0, seed as usize / 7 % count);
        let (terms, shapes): (Vec<String>, Vec<Vec<u64>>) = operands.into_iter().unzip();
        let network = network(&format!("{}->z{}a", terms.join(","), letter(count)), &shapes);
        let tree = as_chain(&network.inputs, network.output, &network.sizes).unwrap();
        let all = exact(&network.inputs, network.output, &network.sizes);
        let cost = |tree| total(tree, &network.inputs, network.output, &network.sizes);
        prop_assert_eq!(cost(&tree).multiplications, cost(&all).multiplications);
        let expected = chain::optimal_order(&dims).unwrap().cost * u128::from(batch);
        prop_assert_eq!(cost(&tree).multiplications, expected);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[a-cA-C.,> \\-é]{0,24}") {
        match parse_equation(&text) {
            Ok(equation) => {
                let normal = equation.to_string();
                prop_assert_eq!(parse_equation(&normal).unwrap().to_string(), normal);
            }
            Err(error) => prop_assert!(text.get(error.span.clone()).is_some(), "{error:?}"),
        }
    }
}

/// A tensor of integers, row-major: enough of einsum to check a rewriting of one.
#[derive(Debug, Clone, PartialEq)]
struct Tensor {
    shape: Vec<u64>,
    data: Vec<i64>,
}

fn evaluate(text: &str, operands: &[Tensor]) -> Tensor {
    let equation = parse_equation(text).unwrap();
    let deepest = operands.iter().zip(&equation.inputs);
    let hidden = deepest
        .map(|(it, term)| it.shape.len() - term.letters().count())
        .max()
        .unwrap();
    // An ellipsis becomes letters that no equation here uses, aligned on the right.
    let spell = |term: &Term, rank: Option<usize>| -> Vec<char> {
        let spelled = term
            .subscripts
            .iter()
            .flat_map(|subscript| match subscript {
                Subscript::Letter(letter) => vec![*letter],
                Subscript::Ellipsis => {
                    let count = rank.map_or(hidden, |rank| rank - term.letters().count());
                    (0..count)
                        .rev()
                        .map(|place| char::from(b'0' + place as u8))
                        .collect()
                }
            });
        spelled.collect()
    };
    let terms: Vec<Vec<char>> = operands
        .iter()
        .zip(&equation.inputs)
        .map(|(it, term)| spell(term, Some(it.shape.len())))
        .collect();
    let output = spell(&equation.output, None);
    let mut sizes: BTreeMap<char, u64> = BTreeMap::new();
    for (term, operand) in terms.iter().zip(operands) {
        for (&letter, &size) in term.iter().zip(&operand.shape) {
            let known = sizes.entry(letter).or_insert(size);
            *known = if *known == 1 { size } else { *known };
        }
    }
    let shape: Vec<u64> = output.iter().map(|letter| sizes[letter]).collect();
    let mut data = vec![0i64; shape.iter().product::<u64>() as usize];
    let letters: Vec<char> = sizes.keys().copied().collect();
    for mut flat in 0..sizes.values().product::<u64>() {
        let mut place: BTreeMap<char, u64> = BTreeMap::new();
        for letter in &letters {
            place.insert(*letter, flat % sizes[letter]);
            flat /= sizes[letter];
        }
        let at = |term: &[char], shape: &[u64]| -> usize {
            let dims = term.iter().zip(shape);
            dims.fold(0, |sum, (letter, &size)| {
                sum * size + if size == 1 { 0 } else { place[letter] }
            }) as usize
        };
        let value = terms
            .iter()
            .zip(operands)
            .map(|(term, operand)| operand.data[at(term, &operand.shape)])
            .fold(1i64, i64::wrapping_mul);
        let here = at(&output, &shape);
        data[here] = data[here].wrapping_add(value);
    }
    Tensor { shape, data }
}

/// Evaluates what [`Network::render`] writes.
fn run(text: &str, operands: &[Tensor]) -> Tensor {
    let Some(inner) = text
        .strip_prefix("einsum(\"")
        .and_then(|text| text.strip_suffix(')'))
    else {
        return operands[NAMES.iter().position(|&name| name == text).unwrap()].clone();
    };
    let (equation, arguments) = inner.split_once("\", ").unwrap();
    // Split at the commas outside parentheses and quotes.
    let (mut depth, mut quoted, mut start, mut values) = (0, false, 0, Vec::new());
    for (place, character) in arguments.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 && !quoted => {
                values.push(run(arguments[start..place].trim(), operands));
                start = place + 1;
            }
            _ => {}
        }
    }
    values.push(run(arguments[start..].trim(), operands));
    evaluate(equation, &values)
}

/// The rendered replacement of every order has the value of the einsum as written.
fn check_rendering(text: &str, shapes: &[Vec<u64>]) {
    let operands: Vec<Tensor> = shapes
        .iter()
        .enumerate()
        .map(|(salt, shape)| Tensor {
            shape: shape.clone(),
            data: (0..shape.iter().product::<u64>() as i64)
                .map(|i| (i * 7 + salt as i64 * 5 + 3) % 11 - 4)
                .collect(),
        })
        .collect();
    let expected = evaluate(text, &operands);
    let network = network(text, shapes);
    for path in network.every_path().unwrap() {
        let rendered = network.render(&path, &NAMES);
        assert_eq!(run(&rendered, &operands), expected, "{text} as {rendered}");
    }
}

#[test]
fn replacements_compute_the_same() {
    let cases: [(&str, &[&[u64]]); 14] = [
        ("ij,jk,kl->il", &[&[2, 3], &[3, 4], &[4, 2]]),
        ("ij,jk,kl,lm->im", &[&[2, 3], &[3, 1], &[1, 2], &[2, 2]]),
        ("ij,jk,kl->li", &[&[2, 3], &[3, 4], &[4, 2]]),
        ("ii,ij,j", &[&[3, 3], &[3, 2], &[2]]),
        (
            "bhqd,bhkd,bhkv->bhqv",
            &[&[2, 2, 3, 2], &[2, 2, 3, 2], &[2, 2, 3, 2]],
        ),
        (
            "...ij,...jk,...kl->...il",
            &[&[2, 1, 2, 3], &[3, 3, 2], &[2, 2]],
        ),
        ("...ij,...jk,kl->il", &[&[2, 3, 2, 3], &[3, 3, 2], &[2, 2]]),
        ("...i,...i,i->...", &[&[2, 3, 2], &[3, 2], &[2]]),
        ("ij,jk,ik->", &[&[2, 3], &[3, 4], &[2, 4]]),
        ("a,b,c->abc", &[&[2], &[3], &[2]]),
        ("ab,cd,ef->ace", &[&[2, 2], &[2, 3], &[2, 1]]),
        ("ij,jk,jl->ikl", &[&[2, 1], &[4, 2], &[4, 3]]),
        ("ij->ji", &[&[2, 3]]),
        (",i,->i", &[&[], &[3], &[]]),
    ];
    for (text, shapes) in cases {
        let shapes: Vec<Vec<u64>> = shapes.iter().map(|shape| shape.to_vec()).collect();
        check_rendering(text, &shapes);
    }
}

/// One line for each case: cost as listed, the best order and its cost.
fn shown(text: &str, shapes: &[&[u64]]) -> String {
    let shapes: Vec<Vec<u64>> = shapes.iter().map(|shape| shape.to_vec()).collect();
    let network = network(text, &shapes);
    let best = network.optimal().unwrap();
    let mut out = String::new();
    for (name, cost) in [
        ("at once", network.at_once().unwrap()),
        ("listed", {
            let path = network.left_to_right().unwrap();
            Cost {
                multiplications: path.multiplications,
                flops: path.flops,
            }
        }),
    ] {
        writeln!(
            out,
            "{name}: {} multiplications, {} FLOPs",
            cost.multiplications, cost.flops
        )
        .unwrap();
    }
    writeln!(
        out,
        "best: {} multiplications, {} FLOPs, at most {} elements, steps {:?}\n{}",
        best.multiplications,
        best.flops,
        best.largest_intermediate,
        best.steps,
        network.render(&best, &NAMES)
    )
    .unwrap();
    out
}

#[test]
fn known_einsums() {
    insta::assert_snapshot!(shown("ij,jk,kl->il", &[&[100, 5], &[5, 200], &[200, 20]]), @r#"
    at once: 4000000 multiplications, 6000000 FLOPs
    listed: 500000 multiplications, 1000000 FLOPs
    best: 30000 multiplications, 60000 FLOPs, at most 2000 elements, steps [(1, 2), (0, 1)]
    einsum("ij,jl->il", A, einsum("jk,kl->jl", B, C))
    "#);
    // Attention without its softmax: keys and values first, where the sequence is long.
    insta::assert_snapshot!(
        shown("bhqd,bhkd,bhkv->bhqv", &[&[2, 4, 512, 64], &[2, 4, 512, 64], &[2, 4, 512, 64]]),
        @r#"
    at once: 17179869184 multiplications, 25769803776 FLOPs
    listed: 268435456 multiplications, 536870912 FLOPs
    best: 33554432 multiplications, 67108864 FLOPs, at most 262144 elements, steps [(1, 2), (0, 1)]
    einsum("bhqd,bhdv->bhqv", A, einsum("bhkd,bhkv->bhdv", B, C))
    "#
    );
    // An outer product of two small vectors beats contracting them with the tensor in turn.
    insta::assert_snapshot!(shown("a,b,abcd,cde->e", &[&[2], &[2], &[2, 2, 9, 9], &[9, 9, 9]]), @r#"
    at once: 8748 multiplications, 11664 FLOPs
    listed: 1057 multiplications, 2110 FLOPs
    best: 1057 multiplications, 2110 FLOPs, at most 81 elements, steps [(0, 1), (0, 2), (0, 1)]
    einsum("cd,cde->e", einsum("ab,abcd->cd", einsum("a,b->ab", A, B), C), D)
    "#);
    // The lone index is summed before anything is multiplied.
    insta::assert_snapshot!(shown("ij,k->k", &[&[1000, 1000], &[1000]]), @r#"
    at once: 1000000000 multiplications, 2000000000 FLOPs
    listed: 1000 multiplications, 1001000 FLOPs
    best: 1000 multiplications, 1001000 FLOPs, at most 1000 elements, steps [(0, 1)]
    einsum("ij,k->k", A, B)
    "#);
}

#[test]
fn equations_are_understood() {
    let normal = |text: &str| match parse_equation(text) {
        Ok(equation) => equation.to_string(),
        Err(error) => format!("{:?}: {error}", error.span),
    };
    let lines: Vec<String> = [
        "bhqd,bhkd->bhqk",
        " i j , j k ",
        "ba",
        "aB,Bc",
        "...ij,...jk",
        "ii",
        "",
        ",",
        "ij,jk->",
        "i->ii",
        "ij->ik",
        "i1->i",
        "i..j->i",
        "...i...->i",
        "i->j->k",
        "i-j",
        "ij->i,j",
        "é->",
    ]
    .iter()
    .map(|text| format!("{text:?} => {}", normal(text)))
    .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    "bhqd,bhkd->bhqk" => bhqd,bhkd->bhqk
    " i j , j k " => ij,jk->ik
    "ba" => ba->ab
    "aB,Bc" => aB,Bc->ac
    "...ij,...jk" => ...ij,...jk->...ik
    "ii" => ii->
    "" => ->
    "," => ,->
    "ij,jk->" => ij,jk->
    "i->ii" => 4..5: `i` stands twice in the output
    "ij->ik" => 5..6: `k` is in the output and in no operand
    "i1->i" => 1..2: `1` is no subscript: those are the letters a-z and A-Z
    "i..j->i" => 1..2: `.` is only part of `...`
    "...i...->i" => 4..7: a second `...`: each operand has at most one
    "i->j->k" => 4..5: `-` is only part of the one `->`
    "i-j" => 1..2: `-` is only part of the one `->`
    "ij->i,j" => 5..6: an einsum has one output, so no `,` in it
    "é->" => 0..2: `é` is no subscript: those are the letters a-z and A-Z
    "#);
}

#[test]
fn shapes_are_checked() {
    let refused = |text: &str, shapes: &[&[u64]]| {
        let equation = parse_equation(text).unwrap();
        let error = Network::new(&equation, shapes).unwrap_err();
        format!("{:?}: {error}", &text[error.span.clone()])
    };
    insta::assert_snapshot!(refused("ij,jk->ik", &[&[2, 3], &[4, 5]]), @r#""jk": `j` is 3 in operand 1 and 4 in operand 2"#);
    insta::assert_snapshot!(refused("ij,jk->ik", &[&[2, 3]]), @r#""ij,jk->ik": the equation is of 2 operands; 1 given"#);
    insta::assert_snapshot!(refused("ij,jk->ik", &[&[2, 3], &[3]]), @r#""jk": `jk` names 2 dimensions; operand 2 has 1: [3]"#);
    insta::assert_snapshot!(refused("ii->i", &[&[2, 3]]), @r#""ii": `i` is both 2 and 3 in operand 1: a diagonal needs equal sizes"#);
    insta::assert_snapshot!(refused("ii->i", &[&[2, 1]]), @r#""ii": `i` is both 2 and 1 in operand 1: a diagonal needs equal sizes"#);
    insta::assert_snapshot!(refused("...i,...i->...", &[&[4, 2, 3], &[5, 3]]), @r#""...i": dimension 1 from the right under `...` is 2 in operand 1 and 5 in operand 2"#);
}

/// A chain too long for the programme over subsets is solved as a chain, and proved; anything else
/// that long is searched, in bounded time.
#[test]
fn large_einsums() {
    let letters: Vec<char> = ('a'..='z').chain('A'..='Z').collect();
    let size = |index: usize| 1 + (index as u64 * 37) % 23;
    let mut terms: Vec<String> = letters
        .windows(2)
        .map(|pair| pair.iter().collect())
        .collect();
    let mut shapes: Vec<Vec<u64>> = (0..51).map(|i| vec![size(i), size(i + 1)]).collect();
    let long_chain = network(&format!("{}->aZ", terms.join(",")), &shapes)
        .optimal()
        .unwrap();
    let dims: Vec<u64> = (0..52).map(size).collect();
    assert!(long_chain.proved);
    assert_eq!(
        long_chain.multiplications,
        chain::optimal_order(&dims).unwrap().cost
    );

    // A ring is no chain: closing it takes a trace.
    terms.push("Za".to_owned());
    shapes.push(vec![size(51), size(0)]);
    let ring = network(&format!("{}->", terms.join(",")), &shapes);
    let found = ring.optimal().unwrap();
    assert!(!found.proved);
    assert!(found.multiplications < ring.left_to_right().unwrap().multiplications);

    let many = vec!["abcdefgh"; MAX_OPERANDS].join(",");
    let dense = network(&many, &vec![vec![2; 8]; MAX_OPERANDS])
        .optimal()
        .unwrap();
    assert_eq!(dense.multiplications, 256 * (MAX_OPERANDS as u128 - 1));
    let more = vec!["a"; MAX_OPERANDS + 1].join(",");
    assert!(
        Network::new(
            &parse_equation(&more).unwrap(),
            &vec![[2]; MAX_OPERANDS + 1]
        )
        .is_err()
    );
}
