//! `range/unscaled-attention`: see its page.

use crate::diag::{Confidence, Level, Safety};
use crate::facts::idiom::Idioms;
use crate::graph::{NodeId, TensorId};
use crate::rules::shared_edit::Part;
use crate::rules::shared_numeric::number;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "range/unscaled-attention",
    summary: "The scores of an attention are not divided by the root of the head's width.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/range/unscaled-attention.md"),
};

/// Products that make scores.
const PRODUCTS: [&str; 4] = ["matmul", "bmm", "baddbmm", "einsum"];

/// Below this many terms the scores are small enough by themselves.
const LEAST_TERMS: f64 = 16.0;

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for &id in context.facts.index().calls("softmax") {
        let idioms = context.facts.idioms();
        let Some(product) = scores(&idioms, id) else {
            continue;
        };
        let terms = terms(context, product);
        if terms < LEAST_TERMS || !weighs_values(context, id) {
            continue;
        }
        let node = context.graph.node(product);
        if node
            .arguments
            .iter()
            .any(|&side| is_tamed(context, &idioms, side))
        {
            continue;
        }
        let deviation = terms.sqrt();
        let message = format!(
            "each score is a sum of {} products: for q and k of unit variance it deviates by \
             √{} = {}, and the softmax of such scores is nearly one-hot, with hardly any gradient",
            number(terms),
            number(terms),
            number(deviation)
        );
        let place = context.model.node_place(context.spec, product);
        let softmax = context.model.node_place(context.spec, id).span;
        let finding = reporter
            .at(place, message)
            .help(format!(
                "multiply q by 1/√{} = {} before the product, which also keeps it small in \
                 float16, or call scaled_dot_product_attention",
                number(terms),
                number(1.0 / deviation)
            ))
            .label("not scaled")
            .also(softmax, "the softmax")
            .confidence(Confidence::Likely);
        let position = usize::from(node.op.name == "einsum");
        let edit = Part::of(context, product)
            .filter(|_| node.op.name != "baddbmm")
            .and_then(|part| {
                let q = part.operand(position)?;
                q.replace(format!("({} * {} ** -0.5)", q.term(), number(terms)))
            });
        if let Some(edit) = edit {
            finding.fix_edits("scale q", Safety::Unsafe, vec![edit]);
        }
    }
}

/// The product that a softmax is taken of, through masks and biases, but through nothing that
/// scales.
fn scores(idioms: &Idioms<'_>, softmax: NodeId) -> Option<NodeId> {
    let mut at = idioms.graph.node(softmax).arguments[0];
    for _ in 0..8 {
        at = idioms.bare(at);
        let (id, node) = idioms.producer(at)?;
        at = match node.op.name {
            name if PRODUCTS.contains(&name) => {
                return (node.arguments.len() == 2).then_some(id);
            }
            "masked_fill" | "dropout" => node.arguments[0],
            "where" => {
                let constant = idioms.constant(node.arguments[1]).is_some();
                node.arguments[if constant { 2 } else { 1 }]
            }
            "add" | "sub" => {
                let of_data = |id: TensorId| idioms.any_call(idioms.bare(id), &PRODUCTS).is_some();
                let [a, b] = node.arguments[..] else {
                    return None;
                };
                match of_data(b) && !of_data(a) {
                    true => b,
                    false => a,
                }
            }
            _ => return None,
        };
    }
    None
}

/// The number of products in each score.
fn terms(context: &Context<'_>, product: NodeId) -> f64 {
    let node = context.graph.node(product);
    context.graph.with_call(node, |call| {
        let work = (call.op.work)(call);
        work.products as f64 / (2.0 * call.output_elements().max(1) as f64)
    })
}

/// Whether the weights go on to average something: it is an attention, and no classifier.
fn weighs_values(context: &Context<'_>, softmax: NodeId) -> bool {
    let mut nodes = vec![softmax];
    for _ in 0..4 {
        let next: Vec<NodeId> = nodes
            .iter()
            .flat_map(|&node| context.graph.uses_of(node))
            .map(|(user, _)| user)
            .take(16)
            .collect();
        let product = |id: &NodeId| PRODUCTS.contains(&context.graph.node(*id).op.name);
        if next.iter().any(product) {
            return true;
        }
        nodes = next;
    }
    false
}

/// Whether a side of the product is kept small: scaled, normalised, bounded, initialised for it, or
/// a weight itself.
fn is_tamed(context: &Context<'_>, idioms: &Idioms<'_>, side: TensorId) -> bool {
    const TAMING: [&str; 14] = [
        "mul",
        "div",
        "normalize",
        "layer_norm",
        "rms_norm",
        "group_norm",
        "batch_norm",
        "instance_norm",
        "softmax",
        "sigmoid",
        "tanh",
        "one_hot",
        "elu",
        "embedding",
    ];
    let content = idioms.content(side);
    let Some((_, node)) = idioms.producer(content) else {
        return context.graph.parameter(content).is_some();
    };
    let definition = context.graph.layer(node.layer).definition;
    let initialised = context
        .spec
        .definitions
        .get(definition.0 as usize)
        .is_some_and(|layer| layer.init.is_some());
    TAMING.contains(&node.op.name) || initialised
}
