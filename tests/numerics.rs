//! What the rules about numbers must say and must not say, each formula with its verdict.
//!
//! The silent ones are sound code that analysers without relations or element types complain of:
//! stable forms, guards that hold, infinities that end in a 0.

#![allow(clippy::unwrap_used)]

use plimsoll::engine::{Levels, Overlay, check, load};
use plimsoll::source::{SourceFile, Sources};

/// The rules about numbers that speak on a formula of `x` (any), `p` in [0, 1], `s` in [-50, 50],
/// `h` (float16, any), `w` (a parameter), `mask` (bool) and `target` (10 classes).
fn verdict(formula: &str, mode: &str) -> String {
    let text = format!(
        "spec = 1\n[model]\nmode = \"{mode}\"\n[inputs]\nx = [8, 16]\n\
         p = {{ shape = [8, 16], range = [0, 1] }}\ns = {{ shape = [8, 16], range = [-50, 50] }}\n\
         h = {{ shape = [8, 16], dtype = \"float16\" }}\n\
         mask = {{ shape = [8, 16], dtype = \"bool\" }}\n\
         target = {{ shape = [8], dtype = \"int64\", range = [0, 9] }}\n[params]\nw = [16, 10]\n\
         [[layers]]\nname = \"z\"\nformula = \"x @ w\"\n\
         [[layers]]\nformula = \"{formula}\"\n"
    );
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new("test.model.toml", text.clone()));
    let loaded = load(file, &mut sources, &Overlay::default(), &mut |path| {
        Err(format!("there is no file `{path}`"))
    });
    let findings = check(loaded, &sources, &Levels::default()).findings;
    let broken = findings
        .iter()
        .find(|f| f.rule.starts_with("spec/") && !f.rule.contains("unused"));
    assert!(broken.is_none(), "{formula}: {broken:?}");
    let mut rules: Vec<&str> = findings
        .iter()
        .map(|finding| finding.rule)
        .filter(|rule| {
            ["epsilon/", "range/", "conditioning/"]
                .iter()
                .any(|group| rule.starts_with(group))
        })
        .collect();
    rules.dedup();
    rules.join(" ")
}

#[test]
fn sound_formulas_stay_silent() {
    let mut wrong = String::new();
    for formula in [
        // Stable forms on any finite range.
        "log_softmax(z, dim=-1)",
        "cross_entropy(z, target)",
        "softmax(x * 1000, dim=-1)",
        "exp(x - max(x, dim=-1, keepdim=True))",
        "x - max(x) - log(sum(exp(x - max(x))))",
        "logsumexp(s * 10, dim=-1)",
        "softplus(s * 10)",
        "binary_cross_entropy_with_logits(s * 10, p)",
        // Guards that survive.
        "sqrt(mean(z ** 2) + 1e-12)",
        "log(p + 1e-8)",
        "log(clamp(p, min=1e-30))",
        "log(mean(x ** 2, dim=-1) + 1e-5)",
        "h / (norm(h, dim=-1, keepdim=True) + 1e-4)",
        "p / (sum(p, dim=-1, keepdim=True) + 1e-8)",
        "x / clamp(norm(x, dim=-1, keepdim=True), min=1e-6)",
        "where(p > 1e-3, 1 / maximum(p, 1e-3), 0)",
        "1 / (1 + p)",
        "log1p(p)",
        "log(1 + exp(-abs(s)))",
        "sum(x * mask) / clamp(sum(mask), min=1)",
        "sqrt(1 - p)",
        "rsqrt(var(x, dim=-1, correction=0) + 1e-5)",
        "acos(clamp(x, min=-0.999, max=0.999))",
        "(p + 1) ** 0.5",
        "x ** 2",
        "(1 - x) ** 3",
        // Primitives whose gradient at 0 is defined.
        "norm(z, dim=-1)",
        "std(z, dim=-1)",
        "normalize(z, dim=-1)",
        // Of what is unknown nothing is said.
        "exp(x)",
        "1 / x",
        "log(x)",
        "sqrt(x)",
        "x / w[0, 0]",
        "x @ (w / norm(w, dim=0, keepdim=True))",
        // Integers and truth values.
        "target * target",
        "mask & mask",
        // A softmax along the other axis is another function.
        "softmax(softmax(x, dim=0), dim=1)",
        // Infinity is meant.
        "softmax(masked_fill(h, mask, -inf), dim=-1)",
        "masked_fill(x, mask, -1e9)",
        // The kernels of normalisation layers compute in float32.
        "layer_norm(h, normalized_shape=[16], eps=1e-12, elementwise_affine=False)",
        // What people write: a reparametrised normal, its divergence, focal loss, SimCLR, GELU.
        "x * exp(0.5 * z[:, :1]) + z[:, 1:2]",
        "-0.5 * sum(1 + z - z ** 2 - exp(z))",
        "mean((1 - exp(-cross_entropy(z, target))) ** 2 * cross_entropy(z, target))",
        "cross_entropy(normalize(x, dim=-1) @ normalize(x, dim=-1).T / 0.07, target)",
        "0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x ** 3)))",
        "x * sigmoid(1.702 * x)",
        "relu(x) ** 2",
        "1 / (1 + abs(x))",
        "x / (1 + abs(x))",
        "mean(abs(x - p) / (abs(x) + 1e-3))",
        "sqrt(x.var(dim=-1) + 1e-6)",
        "1 - 2 * sum(p * x) / (sum(p) + sum(x ** 2) + 1e-6)",
        "max(x, dim=-1, keepdim=True) - x",
        "tanh(x / 30) * 30",
        "x ** -2 * 0",
        "logsumexp(x, dim=-1) - max(x)",
        "exp(-abs(x))",
        "exp(-(x ** 2) / 2)",
        "sum(x.softmax(dim=-1) * x.log_softmax(dim=-1))",
        "log(x.softmax(dim=-1) + 1e-9)",
        "cumsum(p, dim=-1)",
        "p / sum(p, dim=-1, keepdim=True).clamp(min=1e-6)",
        "(x - mean(x, dim=-1, keepdim=True)) / sqrt(var(x, dim=-1, correction=0, keepdim=True) + 1e-5)",
        // A scaled attention, on q or on the scores, and similarities that weigh nothing.
        "softmax((x / 4) @ z.repeat(1, 2)[:, :16].T, dim=-1) @ z",
        "softmax(0.25 * (x @ x.T), dim=-1) @ x",
        "softmax(x @ x.T, dim=-1)",
        "softmax(x @ w, dim=-1)",
    ] {
        for mode in ["train", "inference"] {
            let said = verdict(formula, mode);
            if !said.is_empty() {
                wrong.push_str(&format!("{formula} in {mode}: {said}\n"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn unsound_formulas_are_found() {
    let mut wrong = String::new();
    for (formula, expected) in [
        ("exp(s * 2)", "range/exp-overflow"),
        ("log(softmax(z, dim=-1))", "range/log-of-softmax"),
        (
            "mean(-log(softmax(z, dim=-1)[:, 0]))",
            "range/log-of-softmax",
        ),
        (
            "exp(z) / sum(exp(z), dim=-1, keepdim=True)",
            "range/unshifted-softmax",
        ),
        // The maximum is not that of the row, but of the column.
        (
            "exp(s - max(s, dim=0, keepdim=True)) / sum(exp(s - max(s, dim=0, keepdim=True)), dim=-1, keepdim=True)",
            "",
        ),
        ("log(sum(exp(s * 2), dim=-1))", "range/log-of-sum-of-exp"),
        ("log(1 + exp(s * 2))", "range/naive-softplus"),
        (
            "log(1 - sigmoid(z))",
            "range/sigmoid-then-binary-cross-entropy",
        ),
        ("log(1 - p)", "epsilon/missing-in-log"),
        ("log(p + 1e-60)", "epsilon/missing-in-log epsilon/vanishing"),
        ("1 / (1 - p)", "epsilon/missing-in-division"),
        (
            "x / std(x, dim=-1, keepdim=True)",
            "epsilon/missing-in-division",
        ),
        (
            "x / sqrt(sum(x * x, dim=-1, keepdim=True))",
            "epsilon/missing-in-norm",
        ),
        (
            "h / (norm(h, dim=-1, keepdim=True) + 1e-8)",
            "epsilon/vanishing",
        ),
        (
            "z / (sqrt(var(z, dim=-1, keepdim=True)) + 1e-5)",
            "epsilon/outside-square-root",
        ),
        ("sqrt(sum(z ** 2, dim=-1))", "epsilon/missing-in-sqrt"),
        (
            "sqrt(mean(x ** 2, dim=-1) - mean(x, dim=-1) ** 2)",
            "range/one-pass-variance",
        ),
        ("s.half() ** 3", "range/square-overflow"),
        ("sum((s * 200).half())", "range/sum-overflow"),
        ("s ** 0.3", "range/power-of-negative-base"),
        ("log(s)", "range/outside-domain"),
        ("acos(p * 2)", "range/inverse-trigonometric-domain"),
        ("softmax(x @ x.T, dim=-1) @ x", "range/unscaled-attention"),
        ("masked_fill(h, mask, -1e9)", "range/mask-beyond-dtype"),
        ("h + (1 - mask.half()) * -1e9", "range/mask-beyond-dtype"),
        (
            "cross_entropy(relu(z), target)",
            "range/logits-through-relu",
        ),
        (
            "cross_entropy(softmax(z, dim=-1), target)",
            "range/softmax-twice",
        ),
    ] {
        let said = verdict(formula, "train");
        if said != expected {
            wrong.push_str(&format!("{formula}: `{said}`, not `{expected}`\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// `1 / (1 + exp(-x))` ends in 0 where the exponential is infinite; its gradient does not.
#[test]
fn infinities_that_end_well_matter_only_where_they_are_trained() {
    let sigmoid = "1 / (1 + exp(s * 2 + z[0, 0] * 0))";
    assert_eq!(verdict("1 / (1 + exp(s * 2))", "inference"), "");
    assert_eq!(
        verdict("1 / (1 + exp(s * 2))", "train"),
        "",
        "no weight takes part"
    );
    assert_eq!(verdict(sigmoid, "inference"), "");
    assert_eq!(verdict("where(s > 0, sqrt(s), 0)", "train"), "");
    assert_eq!(verdict("where(s > 0, log(s), 0)", "inference"), "");
}
