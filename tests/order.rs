//! Findings about orders, held against all orders: the figures are right, what is worth a word is
//! said and nothing else, and the edit gives the best order.

#![allow(clippy::unwrap_used)]

use plimsoll::diag::{Finding, Safety, apply};
use plimsoll::engine::{Checked, Levels, Overlay, check, load};
use plimsoll::facts::chains::{Chain, Chains};
use plimsoll::facts::order::{Orders, Parenthesisation};
use plimsoll::source::{FileId, SourceFile, Sources};
use proptest::prelude::*;

fn checked(text: &str) -> (Sources, FileId, Checked) {
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new("order.model.toml", text));
    let loaded = load(file, &mut sources, &Overlay::default(), &mut |path| {
        Err(format!("there is no file `{path}`"))
    });
    let checked = check(loaded, &sources, &Levels::default());
    let wrong = |finding: &&Finding| finding.rule.starts_with("spec/");
    let faults: Vec<_> = checked.findings.iter().filter(wrong).collect();
    assert!(faults.is_empty(), "{text}\n{faults:#?}");
    (sources, file, checked)
}

fn findings<'a>(checked: &'a Checked, group: &str) -> Vec<&'a Finding> {
    let mut findings = checked.findings.iter();
    let mut found = Vec::new();
    found.extend(
        findings
            .by_ref()
            .filter(|finding| finding.rule.starts_with(group)),
    );
    found
}

/// The text with every fix of the group applied.
fn fixed(text: &str) -> String {
    let (sources, file, checked) = checked(text);
    let applied = apply::apply(&checked.findings, &sources, Safety::Safe, &|_| true);
    applied
        .texts
        .get(&file)
        .cloned()
        .unwrap_or_else(|| text.to_owned())
}

fn only_chain(checked: &Checked) -> Chain {
    let mut chains = Chains::of(&checked.model.graph).products;
    assert_eq!(chains.len(), 1);
    chains.remove(0)
}

/// A product: sizes between the factors, the batch of each and whether it is written transposed,
/// and the order as written.
#[derive(Debug, Clone)]
struct Product {
    dims: Vec<u64>,
    batches: Vec<Vec<u64>>,
    transposed: Vec<bool>,
    written: Parenthesisation,
    /// What stands around the product, `{}` being its place.
    context: &'static str,
    /// Whether each product stands in a layer of its own.
    layers: bool,
}

impl Product {
    fn name(&self, factor: usize) -> String {
        let transposed = if self.transposed[factor] { ".mT" } else { "" };
        format!("x{factor}{transposed}")
    }

    fn spec(&self) -> String {
        let mut text = "spec = 1\n[inputs]\n".to_owned();
        for factor in 0..self.batches.len() {
            let mut shape = self.batches[factor].clone();
            let (rows, columns) = (self.dims[factor], self.dims[factor + 1]);
            shape.extend(if self.transposed[factor] {
                [columns, rows]
            } else {
                [rows, columns]
            });
            text.push_str(&format!("x{factor} = {shape:?}\n"));
        }
        let mut names: Vec<String> = (0..self.batches.len()).map(|at| self.name(at)).collect();
        if self.layers {
            let mut formula = String::new();
            for (at, product) in self.written.products().enumerate() {
                formula = format!("{} @ {}", names[product.start], names[product.middle]);
                if at + 2 < names.len() {
                    text.push_str(&format!(
                        "[[layers]]\nname = \"p{at}\"\nformula = \"{formula}\"\n"
                    ));
                    names[product.start] = format!("p{at}");
                }
            }
            let whole = self.context.replace("{}", &formula);
            return text + &format!("[[layers]]\nname = \"y\"\nformula = \"{whole}\"\n");
        }
        let whole = self.context.replace("{}", &self.written.render(&names));
        text + &format!("[[layers]]\nname = \"y\"\nformula = \"{whole}\"\n")
    }

    /// Multiplications of an order, one product after the other.
    fn cost(&self, tree: &Parenthesisation) -> u128 {
        let batch = |start: usize, end: usize| -> u128 {
            let axis = |axis: usize| {
                let own = self.batches[start..end].iter();
                own.filter_map(|batch| batch.len().checked_sub(axis + 1).map(|at| batch[at]))
                    .max()
                    .unwrap_or(1)
            };
            (0..2).map(|at| u128::from(axis(at))).product()
        };
        let cost = |start: usize, middle: usize, end: usize| {
            let sizes = [start, middle, end].map(|at| u128::from(self.dims[at]));
            sizes.iter().product::<u128>() * batch(start, end)
        };
        tree.products()
            .map(|product| cost(product.start, product.middle, product.end))
            .sum()
    }
}

fn product() -> impl Strategy<Value = Product> {
    let contexts = [
        "{}",
        "relu({})",
        "1 + {}",
        "2 * ({})",
        "({}).mT",
        "-({})",
        "({} / 3) + 1",
    ];
    (3usize..=6).prop_flat_map(move |factors| {
        let orders: Vec<_> = Orders::of(factors).collect();
        // A batch of [2, 3], of which each factor has what it has.
        let batch = prop::sample::select(vec![
            vec![],
            vec![],
            vec![3],
            vec![1],
            vec![2, 3],
            vec![2, 1],
            vec![1, 3],
        ]);
        (
            prop::collection::vec(1u64..=40, factors + 1),
            prop::collection::vec(batch, factors),
            any::<bool>(),
            prop::collection::vec(any::<bool>(), factors),
            prop::sample::select(orders),
            prop::sample::select(contexts.to_vec()),
            any::<bool>(),
        )
            .prop_map(
                |(dims, mut batches, batched, transposed, written, context, layers)| {
                    if !batched {
                        batches.iter_mut().for_each(Vec::clear);
                    }
                    Product {
                        dims,
                        batches,
                        transposed,
                        written,
                        context,
                        layers,
                    }
                },
            )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn products_are_held_against_all_orders(product in product()) {
        let text = product.spec();
        let (_, _, checked) = checked(&text);
        let chain = only_chain(&checked);
        let written = product.cost(&product.written);
        let best = Orders::of(product.batches.len()).map(|tree| product.cost(&tree)).min().unwrap();
        prop_assert_eq!(chain.written.multiplications, written, "{}", text);
        prop_assert_eq!(chain.best.multiplications, best, "{}", text);
        prop_assert!(chain.proved);

        let graph = &checked.model.graph;
        let flops: u128 = chain.nodes.iter().map(|&node| {
            let node = graph.node(node);
            let work = graph.with_call(node, |call| (node.op.work)(call));
            work.products + work.other
        }).sum();
        prop_assert_eq!(2 * written, flops);

        let worth = 2 * (written - best) >= 10_000 && written * 100 >= best * 110;
        let found = findings(&checked, "order/");
        prop_assert_eq!(found.len(), usize::from(worth), "{}", text);
        if !worth {
            return Ok(());
        }
        prop_assert_eq!(found[0].fix.is_some(), !product.layers, "{}", text);
        if product.layers {
            return Ok(());
        }
        let better = fixed(&text);
        let (_, _, checked) = self::checked(&better);
        prop_assert_eq!(findings(&checked, "order/"), Vec::<&Finding>::new(), "{}", better);
        prop_assert_eq!(only_chain(&checked).written.multiplications, best, "{}", better);
    }
}

/// An einsum over up to six indices: which of them each operand has, and which the output keeps.
fn einsum() -> impl Strategy<Value = (String, Vec<Vec<u64>>)> {
    let subscripts = prop::collection::vec(
        prop::sample::subsequence(vec![0usize, 1, 2, 3, 4, 5], 1..=3),
        3..=5,
    );
    let sizes = prop::collection::vec(2u64..=24, 6);
    (subscripts, sizes, prop::collection::vec(any::<bool>(), 6)).prop_map(|(terms, sizes, kept)| {
        let letter = |index: usize| char::from(b'a' + index as u8);
        let inputs: Vec<String> = terms
            .iter()
            .map(|term| term.iter().map(|&index| letter(index)).collect())
            .collect();
        let output: String = (0..6)
            .filter(|&index| kept[index] && terms.iter().any(|term| term.contains(&index)))
            .map(letter)
            .collect();
        let shapes = terms
            .iter()
            .map(|term| term.iter().map(|&index| sizes[index]).collect());
        (format!("{}->{output}", inputs.join(",")), shapes.collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn einsums_are_held_against_what_their_ops_count((equation, shapes) in einsum()) {
        let mut text = "spec = 1\n[inputs]\n".to_owned();
        for (at, shape) in shapes.iter().enumerate() {
            text.push_str(&format!("x{at} = {shape:?}\n"));
        }
        let names: Vec<String> = (0..shapes.len()).map(|at| format!("x{at}")).collect();
        text.push_str(&format!(
            "[[layers]]\nname = \"y\"\nformula = \"einsum('{equation}', {})\"\n",
            names.join(", ")
        ));
        let (_, _, checked) = checked(&text);
        let einsum = &Chains::of(&checked.model.graph).einsums[0];
        prop_assert!(einsum.best.proved);
        let better = fixed(&text);
        let found = findings(&checked, "order/");
        prop_assert_eq!(better != text, !found.is_empty());
        if found.is_empty() {
            return Ok(());
        }
        let (_, _, again) = self::checked(&better);
        prop_assert_eq!(findings(&again, "order/"), Vec::<&Finding>::new(), "{}", better);
        // What the nested calls multiply is what was promised.
        let graph = &again.model.graph;
        let products: u128 = graph.nodes().map(|(_, node)| {
            graph.with_call(node, |call| (node.op.work)(call)).products
        }).sum();
        prop_assert!(products <= einsum.best.flops, "{}: {} > {}", better, products, einsum.best.flops);
    }
}

/// Guards the edit where the text around it matters: calls, methods, escapes, other quotes,
/// literal and multi-line strings, several products of one formula.
#[test]
fn edits_fit_their_place() {
    const INPUTS: &str = "spec = 1\n[inputs]\nA = [100, 5]\nB = [5, 200]\nC = [200, 20]\n";
    let formula = |formula: &str| {
        let text = format!("{INPUTS}[[layers]]\nname = \"y\"\nformula = {formula}\n");
        let better = fixed(&text);
        let (_, _, again) = checked(&better);
        assert_eq!(findings(&again, "order/").len(), 0, "{better}");
        better.lines().skip(7).collect::<Vec<_>>().join("\n")
    };
    let formulas = [
        "\"matmul(matmul(A, B), C)\"",
        "\"matmul(matmul(A, B), C).T\"",
        "\"relu(A @ B @ C) + (A @ B @ C)\"",
        "'relu(A) @ (B + 1) @ C'",
        "\"\"\"\n  A @ B\n  @ C\n\"\"\"",
        "\"(A @ B @ C)[0]\"",
        "\"C.T @ (B.T @ A.T)\"",
        "\"(C.T @ (A @ B).T).T\"",
        "\"einsum('ij,jk,kl->il', A, B, C)\"",
        "'einsum(\"ij,jk,kl->il\", A, relu(B), C + 1)'",
        "\"np.einsum(\\\"ij,jk,kl->il\\\", A, B, C)\"",
    ];
    let shown: Vec<String> = formulas.iter().map(|text| formula(text)).collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    formula = "A @ (B @ C)"
    formula = "(A @ (B @ C)).T"
    formula = "relu(A @ (B @ C)) + (A @ (B @ C))"
    formula = 'relu(A) @ ((B + 1) @ C)'
    formula = """
      A @ (B @ C)
    """
    formula = "(A @ (B @ C))[0]"
    formula = "C.T @ B.T @ A.T"
    formula = "(C.T @ B.T @ A.T).T"
    formula = "einsum('ij,jl->il', A, einsum('jk,kl->jl', B, C))"
    formula = 'einsum("ij,jl->il", A, einsum("jk,kl->jl", relu(B), C + 1))'
    formula = "np.einsum(\"ij,jl->il\", A, np.einsum(\"jk,kl->jl\", B, C))"
    "#);
}

/// Guards against one edit for calls that want different ones: a block whose instances have other
/// sizes is reported, but not rewritten.
#[test]
fn blocks_are_rewritten_only_where_all_instances_agree() {
    let spec = |second: &str| {
        format!(
            "spec = 1\n[inputs]\nA = [100, 5]\nB = [5, 200]\nC = [200, 20]\n\
             D = {second}\n[blocks.chain]\ninputs = [\"x\", \"y\", \"z\"]\nlayers = \
             [{{ formula = \"x @ y @ z\" }}]\n[[layers]]\nop = \"chain\"\nname = \"a\"\n\
             in = [\"A\", \"B\", \"C\"]\n[[layers]]\nname = \"b\"\nop = \"chain\"\n\
             in = [\"D\", \"B\", \"C\"]\n[[layers]]\nformula = \"sum(a) + sum(b)\"\n"
        )
    };
    let instances_and_fix = |text: &str| {
        let (_, _, checked) = checked(text);
        let found = findings(&checked, "order/");
        assert_eq!(found.len(), 1, "{text}");
        (found[0].instances, found[0].fix.is_some())
    };
    assert_eq!(instances_and_fix(&spec("[300, 5]")), (2, true));
    assert_eq!(instances_and_fix(&spec("[1, 5]")), (1, false));
}

/// Guards the levels: a saving that is nothing beside the rest of the model is a note.
#[test]
fn small_shares_are_notes() {
    use plimsoll::diag::Level;
    let level = |rows: u64| {
        let (_, _, checked) = checked(&format!(
            "spec = 1\n[inputs]\nx = [{rows}, 512]\nA = [100, 5]\nB = [5, 200]\nC = [200, 20]\n\
             [[layers]]\nname = \"fc\"\nop = \"linear\"\nout_features = 512\nin = \"x\"\n\
             [[layers]]\nformula = \"sum(fc) + sum(A @ B @ C)\"\n"
        ));
        findings(&checked, "order/")[0].level
    };
    assert_eq!(level(16), Level::Warning);
    assert_eq!(level(1024), Level::Info);
}
