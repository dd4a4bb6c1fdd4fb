//! `conditioning/half-precision-solve`: see its page.

use crate::diag::{Confidence, Level};
use crate::facts::idiom::Idioms;
use crate::graph::TensorId;
use crate::rules::shared_numeric::number;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::tensor::Dtype;

/// The rule.
pub static RULE: Rule = Rule {
    name: "conditioning/half-precision-solve",
    summary: "A system is solved of a matrix that was rounded to a half, or made in TensorFloat-32.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/conditioning/half-precision-solve.md"),
};

pub(super) const SOLVERS: [&str; 13] = [
    "inverse",
    "pinverse",
    "solve",
    "cholesky",
    "cholesky_solve",
    "triangular_solve",
    "lstsq",
    "det",
    "slogdet",
    "logdet",
    "eigh",
    "eigvalsh",
    "svd",
];

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for id in context.facts.index().calls_of(&SOLVERS) {
        let (graph, dtypes) = (context.graph, context.facts.dtypes());
        let node = graph.node(id);
        let position = usize::from(node.op.name == "cholesky_solve");
        let matrix = node.arguments[position];
        let place = context.model.node_place(context.spec, id);
        let seen = dtypes.operand(graph, node, position);
        if seen.is_half() {
            let message = format!(
                "under autocast `{}` is handed a {seen} matrix, and PyTorch has no kernel for it: \
                 the call is an error",
                node.op.name
            );
            reporter
                .at(place, message)
                .level(Level::Error)
                .help("cast the matrix to float32, and compute it in float32 too")
                .label(format!("its operand is {seen}"));
            continue;
        }
        let idioms = context.facts.idioms();
        let Some((what, unit)) = rounding(context, &idioms, matrix) else {
            continue;
        };
        let message = format!(
            "the matrix was {what}, to 1 part in {}: `{}` multiplies that by its condition, so \
             that from a condition of {} on no digit of the result is right",
            number(1.0 / unit),
            node.op.name,
            number(1.0 / unit)
        );
        reporter
            .at(place, message)
            .help("compute the matrix in float32 (or float64) as well as the solution")
            .label("rounded before it is solved")
            .confidence(Confidence::Likely);
    }
}

/// How a matrix was rounded more coarsely than its type, and the unit roundoff of that.
fn rounding(context: &Context<'_>, idioms: &Idioms<'_>, matrix: TensorId) -> Option<(String, f64)> {
    let (graph, dtypes) = (context.graph, context.facts.dtypes());
    let mut at = matrix;
    for _ in 0..8 {
        let (_, node) = idioms.producer(at)?;
        let first = *node.arguments.first()?;
        let dtype = dtypes.tensor(graph, first);
        match node.op.name {
            "to" if dtype.is_half() => {
                let unit = dtype.float_format()?.unit_roundoff();
                return Some((format!("rounded to {dtype}"), unit));
            }
            "matmul" | "mm" | "bmm" | "einsum"
                if context.facts.policy().tf32.value && dtype == Dtype::Float32 =>
            {
                // Ten bits of fraction and the hidden one.
                return Some(("made in TensorFloat-32".to_owned(), 0.5f64.powi(11)));
            }
            "to" | "transpose" | "add" | "sub" | "mul" | "div" | "reshape" => at = first,
            _ => return None,
        }
    }
    None
}
