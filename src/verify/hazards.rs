//! What findings warn of, held against runs at the ends of the inputs' ranges.

use std::rc::Rc;

use rustc_hash::FxHashSet;

use super::run::{Plan, Sources, sources};
use super::{Claim, Outcome, Verdict};
use crate::diag::Finding;
use crate::facts::ranges::Ranges;
use crate::graph::{Graph, NodeId, TensorKind};
use crate::kernels::{Array, Setting};
use crate::lower::Model;
use crate::spec::Spec;

/// The groups of rules that warn of infinities and NaN.
const GROUPS: [&str; 2] = ["epsilon/", "range/"];

/// The values of all inputs with a declared range at one point of it, parameters drawn as ever; and
/// what the point is called.
fn corners(graph: &Graph, ranges: &Ranges, seed: u64) -> Vec<(&'static str, Sources)> {
    let drawn = sources(graph, ranges, seed);
    let at = |point: &dyn Fn(f64, f64) -> f64| {
        let mut sources = drawn.clone();
        for &(_, id) in &graph.inputs {
            let (known, ty) = (ranges.known(id), graph.ty(id));
            if !ty.dtype.is_float() {
                continue;
            }
            let range = known.interval();
            let value = match known.declared && range.is_bounded() {
                true => point(range.low, range.high),
                // Nothing is said of it: a constant image or sequence is common enough.
                false => point(-1.0, 1.0),
            };
            if let Some(elements) = sources.get(&id) {
                let constant = Array::from_elem(elements.raw_dim(), value);
                sources.insert(id, Rc::new(constant));
            }
        }
        sources
    };
    vec![
        ("drawn at random", drawn.clone()),
        ("at the top of their ranges", at(&|_, high| high)),
        ("at the bottom of their ranges", at(&|low, _| low)),
        ("all zero", at(&|low, high| 0.0f64.clamp(low, high))),
    ]
}

/// The calls at which an infinity or NaN comes up out of finite operands, forward or backward.
fn failures(plan: Plan<'_>, sources: &Sources, setting: Setting) -> FxHashSet<NodeId> {
    let graph = plan.graph;
    let finite = |array: &Array| array.iter().all(|value| value.is_finite());
    let mut failed = FxHashSet::default();
    let mut watch = |seen: &super::run::Seen| {
        let was_finite = seen.operands.iter().flatten().all(|array| finite(array));
        if was_finite && !seen.outputs.iter().all(|array| finite(array)) {
            failed.insert(seen.node);
        }
    };
    let pass = plan.forward(sources, setting, &mut watch);
    let seeds = super::model::loss_seeds(graph, &pass, &mut fastrand::Rng::with_seed(setting.seed));
    let mut backward = FxHashSet::default();
    pass.backward(seeds, &mut |node, gradients| {
        // Only where it first comes up: what is behind it is infinite, too.
        if backward.is_empty() && !gradients.iter().flatten().all(finite) {
            backward.insert(node);
        }
    });
    failed.extend(backward);
    failed
}

/// Runs the model in that setting at several points, and says of each finding that warns of an
/// infinity or NaN whether one came up where it says.
pub fn hazards(
    spec: &Spec,
    model: &Model,
    plan: Plan<'_>,
    ranges: &Ranges,
    findings: &[Finding],
    setting: Setting,
) -> Vec<(String, Verdict)> {
    let warned: Vec<&Finding> = findings
        .iter()
        .filter(|finding| GROUPS.iter().any(|group| finding.rule.starts_with(group)))
        .filter(|finding| finding.suppressed.is_none())
        .collect();
    if warned.is_empty() {
        return Vec::new();
    }
    let graph = plan.graph;
    let runs: Vec<(&str, FxHashSet<NodeId>)> = corners(graph, ranges, setting.seed)
        .into_iter()
        .map(|(name, sources)| (name, failures(plan, &sources, setting)))
        .collect();
    let inputs = graph.tensors.iter();
    let any_input = inputs
        .clone()
        .any(|tensor| matches!(tensor.kind, TensorKind::Input(_)));
    let places: Vec<(NodeId, String)> = graph
        .node_ids()
        .map(|id| (id, model.node_place(spec, id).path))
        .collect();
    warned
        .into_iter()
        .map(|finding| {
            let here = |path: &str| {
                finding.path == *path || finding.path.starts_with(&format!("{path}."))
            };
            let shown = runs.iter().find(|(_, failed)| {
                places
                    .iter()
                    .any(|(id, path)| failed.contains(id) && here(path))
            });
            let outcome = match shown {
                Some(_) => Outcome::Confirmed,
                None if !any_input => {
                    Outcome::Unchecked("the model has no input that could be set".to_owned())
                }
                None => Outcome::Unchecked(format!(
                    "not reproduced on inputs drawn at random, constant at 0 and at both ends of their ranges ({})",
                    finding.rule
                )),
            };
            let verdict = Verdict {
                claim: Claim::Hazard,
                outcome,
            };
            (finding.path.clone(), verdict)
        })
        .collect()
}
