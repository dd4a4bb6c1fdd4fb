//! Makes a model small enough to be run here: along its dims, so that its structure stays.

use smol_str::SmolStr;

use crate::diag::Sink;
use crate::facts::Facts;
use crate::formula::arithmetic::Number;
use crate::lower::Model;
use crate::spec::Spec;

/// A dim that was made smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaled {
    /// The dim.
    pub dim: SmolStr,
    /// Its size in the spec.
    pub from: i64,
    /// Its size here.
    pub to: i64,
}

/// What running a model takes: arithmetic of the forward pass, and elements that lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    /// FLOPs of all kinds.
    pub flops: u128,
    /// Elements of parameters, and of all that calls make.
    pub elements: u128,
}

/// How many calls have no type, because something before them does not come out.
fn unknown(spec: &Spec, model: &Model) -> usize {
    Facts::new(spec, model).cost().unknown
}

impl Size {
    /// The size of a model.
    pub fn of(spec: &Spec, model: &Model) -> Size {
        let cost = Facts::new(spec, model);
        let cost = cost.cost();
        let elements = model.graph.types.iter();
        Size {
            flops: cost.forward.0 + cost.other_forward.0,
            elements: elements.map(|ty| u128::from(ty.shape.elements())).sum(),
        }
    }

    fn fits(&self, limit: Size) -> bool {
        self.flops <= limit.flops && self.elements <= limit.elements
    }

    /// How far above the limit, as a factor.
    fn excess(&self, limit: Size) -> f64 {
        let ratio = |size: u128, limit: u128| size as f64 / limit.max(1) as f64;
        ratio(self.flops, limit.flops).max(ratio(self.elements, limit.elements))
    }
}

/// The smallest divisor above 1.
fn divisor(size: i64) -> i64 {
    (2..=size)
        .take_while(|d| d * d <= size)
        .find(|d| size % d == 0)
        .unwrap_or(size)
}

/// The dims that can be set, with their sizes.
pub(super) fn free_dims(spec: &Spec, model: &Model) -> Vec<(SmolStr, i64)> {
    let names: Vec<SmolStr> = match &model.blueprint {
        Some(blueprint) => blueprint.dims().into_iter().collect(),
        None => {
            let free = spec.dims.entries.iter().filter(|dim| dim.is_free());
            free.map(|dim| dim.name.clone()).collect()
        }
    };
    let sizes = names.into_iter();
    let sizes = sizes.filter_map(|name| match model.dims.get(&name) {
        Some(Number::Integer(value)) => Some((name, value)),
        _ => None,
    });
    sizes.collect()
}

/// The model made smaller until it fits the limit, or cannot be made smaller.
///
/// The largest dim that brings something is divided by its smallest divisor, as long as the spec
/// comes out without a fault: what is left should be neither flat nor thin, for statistics over two
/// elements say nothing. `O(dims · log size)` lowerings.
pub fn scaled(spec: &Spec, model: Model, limit: Size) -> (Model, Vec<Scaled>, Size) {
    let mut size = Size::of(spec, &model);
    let calls = model.graph.dag.node_count();
    let without_type = unknown(spec, &model);
    let mut best = model;
    let dims = free_dims(spec, &best);
    let mut chosen = dims.clone();
    while !size.fits(limit) {
        let mut found: Option<(usize, i64, Model, Size)> = None;
        for at in 0..chosen.len() {
            let to = chosen[at].1 / divisor(chosen[at].1.max(1)).max(1);
            // One of anything hides what goes wrong among several.
            if to < 2 || to == chosen[at].1 {
                continue;
            }
            let mut overrides = chosen.clone();
            overrides[at].1 = to;
            // What does not come out is told where the spec is read, and only there.
            let mut comes_out = true;
            spec.dims.evaluate(&overrides, |_, _| comes_out = false);
            if !comes_out && best.blueprint.is_none() {
                continue;
            }
            let mut sink = Sink::new();
            let smaller = best.resized(spec, &overrides, &mut sink);
            let broken = smaller.graph.dag.node_count() == 0 && calls > 0;
            if sink.has_errors() || broken || unknown(spec, &smaller) > without_type {
                continue;
            }
            let its = Size::of(spec, &smaller);
            let larger = found
                .as_ref()
                .is_none_or(|(other, ..)| chosen[at].1 > chosen[*other].1);
            if its.excess(limit) < 0.95 * size.excess(limit) && larger {
                found = Some((at, to, smaller, its));
            }
        }
        let Some((at, to, smaller, its)) = found else {
            break;
        };
        chosen[at].1 = to;
        (best, size) = (smaller, its);
    }
    let scaled = dims
        .into_iter()
        .zip(&chosen)
        .filter(|((_, from), (_, to))| from != to)
        .map(|((dim, from), &(_, to))| Scaled { dim, from, to })
        .collect();
    (best, scaled, size)
}
