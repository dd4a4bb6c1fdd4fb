//! Cases and laws of chains in graphs.

use insta::assert_snapshot;

use super::{Chains, listing};
use crate::facts::fixture::lowered;
use crate::lower::Model;
use crate::spec::Spec;

/// The model of a spec that has only these tables and layers.
fn model(text: &str) -> (Spec, Model) {
    lowered(&format!("spec = 1\n{text}"))
}

/// Lists the chains of a spec, a line for each.
fn check(text: &str) -> String {
    let (spec, model) = model(text);
    let chains = Chains::of(&model.graph);
    let lines = listing(&spec, &model, &chains).into_iter().map(|row| {
        format!(
            "{} ×{}: {} [{} FLOPs, {}] → {} [{} FLOPs, {}]{}\n",
            row.path,
            row.instances,
            row.written.text,
            row.written.flops.0,
            row.written.largest_intermediate,
            row.best.text,
            row.best.flops.0,
            row.best.largest_intermediate,
            if row.proved { "" } else { " unproved" },
        )
    });
    lines.collect()
}

/// Formulas over `A` to `F`, which are inputs of these shapes.
fn formulas(shapes: &str, layers: &[&str]) -> String {
    let mut text = String::new();
    for (name, shape) in ["A", "B", "C", "D", "E", "F"]
        .iter()
        .zip(shapes.split("; "))
    {
        text.push_str(&format!("inputs.{name} = {shape}\n"));
    }
    for (at, layer) in layers.iter().enumerate() {
        text.push_str(&format!(
            "[[layers]]\nname = \"y{at}\"\nformula = \"{layer}\"\n"
        ));
    }
    check(&text)
}

#[test]
fn orders_are_those_of_the_formulas() {
    const THREE: &str = "[100, 5]; [5, 200]; [200, 20]";
    let many = [
        (THREE, vec!["A @ B @ C"]),
        (THREE, vec!["A @ (B @ C)"]),
        (THREE, vec!["matmul(matmul(A, B), C)"]),
        (THREE, vec!["A @ B", "y0 @ C"]),
        (THREE, vec!["(A @ B @ C).T"]),
        ("[100, 5]; [200, 5]; [20, 200]", vec!["(C @ (A @ B.T).T).T"]),
        (THREE, vec!["(A @ B) * 0.5 @ C"]),
        (THREE, vec!["-(A @ B / 3.0) @ C"]),
        (THREE, vec!["relu(A) @ B @ (C + 1)"]),
        ("[8, 100, 5]; [5, 200]; [200, 20]", vec!["A @ B @ C"]),
        ("[8, 100, 5]; [8, 5, 200]; [8, 200, 20]", vec!["A @ B @ C"]),
        ("[8, 1, 100, 5]; [3, 5, 200]; [200, 20]", vec!["A @ B @ C"]),
        ("[5]; [5, 200]; [200, 20]", vec!["A @ B @ C"]),
        ("[100, 5]; [5, 200]; [200]", vec!["A @ B @ C"]),
        ("[7, 100, 5]; [5, 200]; [200]", vec!["A @ (B @ C)"]),
    ];
    let shown: String = many
        .iter()
        .map(|(shapes, layers)| formulas(shapes, layers))
        .collect();
    assert_snapshot!(shown, @r"
    layers.y0 ×1: A @ B @ C [1000000 FLOPs, 78.1 KiB] → A @ (B @ C) [60000 FLOPs, 400 B]
    layers.y0 ×1: A @ (B @ C) [60000 FLOPs, 400 B] → A @ (B @ C) [60000 FLOPs, 400 B]
    layers.y0 ×1: A @ B @ C [1000000 FLOPs, 78.1 KiB] → A @ (B @ C) [60000 FLOPs, 400 B]
    layers.y1 ×1: A @ B @ C [1000000 FLOPs, 78.1 KiB] → A @ (B @ C) [60000 FLOPs, 400 B]
    layers.y0 ×1: A @ B @ C [1000000 FLOPs, 78.1 KiB] → A @ (B @ C) [60000 FLOPs, 400 B]
    layers.y0 ×1: C @ (B @ A.T) [1000000 FLOPs, 78.1 KiB] → C @ B @ A.T [60000 FLOPs, 400 B]
    layers.y0 ×1: A @ B @ C [1000000 FLOPs, 78.1 KiB] → A @ (B @ C) [60000 FLOPs, 400 B]
    layers.y0 ×1: A @ B @ C [1000000 FLOPs, 78.1 KiB] → A @ (B @ C) [60000 FLOPs, 400 B]
    layers.y0 ×1: relu(A) @ B @ (C + 1) [1000000 FLOPs, 78.1 KiB] → relu(A) @ (B @ (C + 1)) [60000 FLOPs, 400 B]
    layers.y0 ×1: A @ B @ C [8000000 FLOPs, 625 KiB] → A @ (B @ C) [200000 FLOPs, 400 B]
    layers.y0 ×1: A @ B @ C [8000000 FLOPs, 625 KiB] → A @ (B @ C) [480000 FLOPs, 3.12 KiB]
    layers.y0 ×1: A @ B @ C [24000000 FLOPs, 1.83 MiB] → A @ (B @ C) [600000 FLOPs, 1.17 KiB]
    layers.y0 ×1: A @ B @ C [10000 FLOPs, 800 B] → A @ B @ C [10000 FLOPs, 800 B]
    layers.y0 ×1: A @ B @ C [240000 FLOPs, 78.1 KiB] → A @ (B @ C) [3000 FLOPs, 20 B]
    layers.y0 ×1: A @ (B @ C) [9000 FLOPs, 20 B] → A @ (B @ C) [9000 FLOPs, 20 B]
    ");
}

/// Guards against regrouping what is used elsewhere, handed out, masked, cast or reshaped.
#[test]
fn what_stands_between_products_ends_a_chain() {
    const THREE: &str = "[100, 5]; [5, 200]; [200, 20]; [100, 200]";
    for layers in [
        vec!["A @ B", "y0 @ C", "sum(y0) + sum(y1)"],
        vec!["(A @ B) * D @ C"],
        vec!["softmax(A @ B, -1) @ C"],
        vec!["relu(A @ B) @ C"],
        vec!["(A @ B).reshape(100, 200) @ C"],
        vec!["(A @ B).double() @ C.double()"],
    ] {
        assert_eq!(formulas(THREE, &layers), "", "{layers:?}");
    }
    // A column turned into a row is transposed: (A @ x) @ B is no chain of A, x and B.
    assert_eq!(formulas("[3, 4]; [4]; [3, 5]", &["A @ B @ C"]), "");
    // A stack of rows is taken for a matrix.
    assert_eq!(formulas("[5, 3, 4]; [4]; [3, 6]", &["A @ B @ C"]), "");
    let handed_out = "[model]\noutputs = [\"p\", \"q\"]\n[inputs]\nA = [100, 5]\nB = [5, 200]\n\
                      C = [200, 20]\n[[layers]]\nname = \"p\"\nformula = \"A @ B\"\n[[layers]]\n\
                      name = \"q\"\nformula = \"p @ C\"\n";
    assert_eq!(check(handed_out), "");
}

#[test]
fn linear_layers_are_chains_of_their_weights() {
    let stack = "[inputs]\nx = [4, 16, 64]\n[[layers]]\nname = \"up\"\nop = \"linear\"\n\
                 out_features = 256\n[[layers]]\nname = \"down\"\nop = \"linear\"\n\
                 out_features = 32\n";
    let repeated = "[inputs]\nx = [4, 64]\n[blocks.pair]\ninputs = [\"x\"]\nlayers = [\n\
                    { name = \"up\", op = \"linear\", out_features = 256, bias = false },\n\
                    { name = \"down\", op = \"linear\", out_features = 64, bias = false },\n\
                    { op = \"relu\" },\n]\n[[layers]]\nname = \"h\"\nop = \"pair\"\nrepeat = 3\n";
    assert_snapshot!(check(stack) + &check(repeated), @r"
    layers.down ×1: x @ up.weight.T @ down.weight.T [3145728 FLOPs, 64 KiB] → x @ (up.weight.T @ down.weight.T) [1310720 FLOPs, 8 KiB]
    blocks.pair.down ×3: x @ up.weight.T @ down.weight.T [262144 FLOPs, 4 KiB] → x @ up.weight.T @ down.weight.T [262144 FLOPs, 4 KiB]
    ");
}

#[test]
fn einsums_are_ordered() {
    let shapes = "[100, 5]; [5, 200]; [200, 20]";
    let shown = formulas(shapes, &["einsum('ij,jk,kl->il', A, B, C)"])
        + &formulas(shapes, &["einsum('ij,jk,kl', relu(A), B + 1, C)"])
        + &formulas(
            "[2, 8, 3]; [2, 9, 3]; [2, 9, 4]",
            &["einsum('...qd,...kd,...kv->...qv', A, B, C)"],
        );
    assert_snapshot!(shown, @r#"
    layers.y0 ×1: einsum("ij,jk,kl->il", A, B, C) [1000000 FLOPs, 78.1 KiB] → einsum("ij,jl->il", A, einsum("jk,kl->jl", B, C)) [60000 FLOPs, 7.81 KiB]
    layers.y0 ×1: einsum("ij,jk,kl->il", relu(A), B + 1, C) [1000000 FLOPs, 78.1 KiB] → einsum("ij,jl->il", relu(A), einsum("jk,kl->jl", B + 1, C)) [60000 FLOPs, 7.81 KiB]
    layers.y0 ×1: einsum("...qd,...kd,...kv->...qv", A, B, C) [2016 FLOPs, 576 B] → einsum("...qd,...dv->...qv", A, einsum("...kd,...kv->...dv", B, C)) [816 FLOPs, 256 B]
    "#);
}

#[test]
fn weights_are_multiplied_once_in_inference() {
    let text = |mode: &str| {
        format!(
            "[model]\nmode = \"{mode}\"\n[inputs]\nx = [2, 64]\n[params]\nA = [64, 256]\n\
             B = [256, 64]\n[[layers]]\nformula = \"x @ A @ B\"\n"
        )
    };
    let least = |mode| {
        let (_, model) = model(&text(mode));
        Chains::of(&model.graph).products[0].with_weights_multiplied
    };
    assert_eq!(least("train"), None);
    assert_eq!(least("inference"), Some(2 * 64 * 64));
}

#[test]
fn scores_are_those_of_attention_without_softmax() {
    let scores = |shapes: &str, formula: &str| {
        let mut text = String::new();
        for (name, shape) in ["q", "k", "v"].iter().zip(shapes.split("; ")) {
            text.push_str(&format!("inputs.{name} = {shape}\n"));
        }
        text.push_str(&format!("[[layers]]\nformula = \"{formula}\"\n"));
        let (_, model) = model(&text);
        let scores = Chains::of(&model.graph).products[0].scores();
        scores.map(|scores| (scores.rows, scores.columns))
    };
    const LONG: &str = "[8, 1000, 64]; [8, 2000, 64]; [8, 2000, 32]";
    const SHORT: &str = "[8, 16, 64]; [8, 16, 64]; [8, 16, 64]";
    assert_eq!(scores(LONG, "q @ k.mT @ v"), Some((1000, 2000)));
    assert_eq!(scores(LONG, "(q @ k.mT) / 8.0 @ v"), Some((1000, 2000)));
    assert_eq!(scores(LONG, "q @ (k.mT @ v)"), None);
    assert_eq!(scores(LONG, "(v.mT @ (k @ q.mT)).mT"), Some((2000, 1000)));
    assert_eq!(scores(SHORT, "q @ k.mT @ v"), None);
}

/// Guards linear time and the absence of recursion, and a chain whose batches differ and that is
/// too long for the programme over intervals.
#[test]
fn long_products_are_ordered() {
    let chain = |name: &dyn Fn(usize) -> &'static str| {
        let factors: Vec<&str> = (0..10_000).map(name).collect();
        let formula = factors.join(" @ ");
        let (_, long) = model(&format!(
            "[inputs]\nA = [7, 3]\nB = [3, 7]\nbatch = [2, 7, 3]\n[[layers]]\n\
             formula = \"{formula}\"\n"
        ));
        Chains::of(&long.graph).products.remove(0)
    };
    let long = chain(&|at| ["A", "B"][at % 2]);
    assert_eq!(long.operands.len(), 10_000);
    assert!(long.proved);
    assert!(long.best.multiplications < long.written.multiplications);

    let batched = chain(&|at| ["A", "B", "batch"][if at == 5_000 { 2 } else { at % 2 }]);
    assert!(!batched.proved);
    assert!(batched.best.multiplications < batched.written.multiplications);
}
