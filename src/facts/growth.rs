//! How arithmetic and memory grow with the sizes of a model's inputs.
//!
//! The model is lowered again with a dim at two, three and four times its size, and a cubic laid
//! through the four points: its terms are exact wherever costs are polynomials up to the third
//! degree, as they are but for rounding and padding. Left out: dims that cannot be multiplied
//! without a fault, such as one that a parameter's shape fixes.

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::Facts;
use super::memory::KeptKind;
use crate::diag::Sink;
use crate::formula::arithmetic::Number;
use crate::graph::{DefinitionId, LayerId};
use crate::lower::Model;
use crate::spec::Spec;

/// Below this share of the whole a term is rounding.
const NEGLIGIBLE: f64 = 1e-3;

/// A cost as a function of a size: `Σ terms[k] · xᵏ`, where `x` is how many times the spec's size.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Curve {
    /// What the terms come to at the spec's size, by degree.
    pub terms: [f64; 4],
}

impl Curve {
    /// The cubic through what it costs at one, two, three and four times the size.
    pub fn through(costs: [u128; 4]) -> Curve {
        let [one, two, three, four] = costs.map(|cost| cost as f64);
        // Newton's forward differences, multiplied out.
        let first = two - one;
        let second = three - 2.0 * two + one;
        let third = four - 3.0 * three + 3.0 * two - one;
        Curve {
            terms: [
                one - first + second - third,
                first - 1.5 * second + third * 11.0 / 6.0,
                second / 2.0 - third,
                third / 6.0,
            ],
        }
    }

    /// The cost at so many times the size.
    pub fn at(&self, times: f64) -> f64 {
        self.terms
            .iter()
            .rev()
            .fold(0.0, |sum, term| sum * times + term)
    }

    /// The share of the terms of that degree and above in the cost at the spec's size.
    pub fn share_from(&self, degree: usize) -> f64 {
        let whole = self.at(1.0);
        if whole > 0.0 {
            self.terms.iter().skip(degree).sum::<f64>() / whole
        } else {
            0.0
        }
    }

    /// The highest degree whose term is not negligible.
    pub fn degree(&self) -> usize {
        let whole = self.at(1.0).abs();
        (1..4)
            .rev()
            .find(|&k| self.terms[k].abs() > NEGLIGIBLE * whole)
            .unwrap_or(0)
    }

    /// By how many per cent the cost grows at the spec's size for each per cent of the size: the
    /// slope of the curve on logarithmic axes.
    pub fn exponent(&self) -> f64 {
        let slope: f64 = (1..4).map(|k| k as f64 * self.terms[k]).sum();
        let whole = self.at(1.0);
        if whole > 0.0 { slope / whole } else { 0.0 }
    }
}

/// How a layer's share grows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerGrowth {
    /// The first instance.
    pub layer: LayerId,
    /// Arithmetic of all instances.
    pub arithmetic: Curve,
    /// Bytes of all instances.
    pub memory: Curve,
}

/// How a model grows with one dim.
#[derive(Debug, Clone, PartialEq)]
pub struct DimGrowth {
    /// The dim.
    pub dim: SmolStr,
    /// Its size in the spec.
    pub size: i64,
    /// All arithmetic of the forward pass.
    pub arithmetic: Curve,
    /// Bytes that live until the backward pass, or outside of training what the forward pass
    /// writes.
    pub memory: Curve,
    /// The layers that grow faster than the size, those that do most arithmetic so first.
    pub layers: Vec<LayerGrowth>,
}

/// How a model grows with each of the free dims in the shapes of its inputs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Growth {
    /// By dim, in the order of the inputs' axes.
    pub dims: Vec<DimGrowth>,
}

impl Growth {
    /// Measures the growth with every free dim. `O(3 · dims · size of the unfolded model)`.
    pub fn of(facts: &Facts<'_>) -> Growth {
        let base = Sample::of(facts);
        let measured = |dim| measure(facts.spec, facts.model, &base, dim);
        Growth {
            dims: dims(facts.spec, facts.model)
                .into_iter()
                .filter_map(measured)
                .collect(),
        }
    }

    /// The growth with that dim alone; `None` where it is not free or cannot be multiplied.
    pub fn with(facts: &Facts<'_>, dim: &str) -> Option<DimGrowth> {
        let entry = facts.spec.dims.entries.iter().find(|d| d.name == dim)?;
        let base = Sample::of(facts);
        measure(facts.spec, facts.model, &base, entry.name.clone())
    }
}

/// The free dims that the shapes of the inputs rest on.
pub(super) fn dims(spec: &Spec, model: &Model) -> Vec<SmolStr> {
    if let Some(blueprint) = &model.blueprint {
        return blueprint.dims();
    }
    let mut dims: Vec<SmolStr> = Vec::new();
    let named = spec.inputs.iter().flat_map(|input| &input.axes).flatten();
    for name in named {
        for dim in spec.dims.free_dims(name) {
            if !dims.contains(dim) {
                dims.push(dim.clone());
            }
        }
    }
    dims
}

/// What a model costs at one size.
struct Sample {
    arithmetic: u128,
    memory: u128,
    /// By definition: the first layer, arithmetic and bytes.
    layers: FxHashMap<DefinitionId, (LayerId, u128, u128)>,
}

impl Sample {
    fn of(facts: &Facts<'_>) -> Sample {
        let (graph, cost) = (facts.graph(), facts.cost());
        let mut layers = FxHashMap::default();
        let mut memory = 0u128;
        let mut add = |layer: LayerId, arithmetic: u128, bytes: u128| {
            let definition = graph.layer(layer).definition;
            let (_, sum, kept) = layers.entry(definition).or_insert((layer, 0u128, 0u128));
            *sum = sum.saturating_add(arithmetic);
            *kept = kept.saturating_add(bytes);
        };
        for (id, node) in graph.nodes() {
            let one = cost.node(id);
            let written = match graph.training {
                true => 0,
                false => u128::from(one.written),
            };
            add(node.layer, one.forward.saturating_add(one.other), written);
            memory = memory.saturating_add(written);
        }
        if graph.training {
            let saved = facts.saved();
            let recomputed = saved.largest_recomputed().map(|layer| &layer.kept[..]);
            for kept in saved.kept.iter().chain(recomputed.unwrap_or_default()) {
                if kept.kind != KeptKind::WeightCast {
                    add(graph.node(kept.node).layer, 0, u128::from(kept.bytes));
                    memory = memory.saturating_add(u128::from(kept.bytes));
                }
            }
        }
        Sample {
            arithmetic: cost.forward.get().saturating_add(cost.other_forward.get()),
            memory,
            layers,
        }
    }
}

fn measure(spec: &Spec, model: &Model, base: &Sample, dim: SmolStr) -> Option<DimGrowth> {
    let Number::Integer(size) = model.dims.get(&dim)? else {
        return None;
    };
    let sample = |times: i64| -> Option<Sample> {
        let larger = size.checked_mul(times)?;
        let mut sink = Sink::new();
        let model = model.resized(spec, &[(dim.clone(), larger)], &mut sink);
        let sound = !sink.has_errors() && size > 0;
        sound.then(|| Sample::of(&Facts::new(spec, &model)))
    };
    let samples = [sample(2)?, sample(3)?, sample(4)?];
    let of = |f: &dyn Fn(&Sample) -> u128| {
        Curve::through([f(base), f(&samples[0]), f(&samples[1]), f(&samples[2])])
    };
    let mut layers: Vec<LayerGrowth> = base
        .layers
        .iter()
        .map(|(definition, &(layer, ..))| {
            let entry = |sample: &Sample| sample.layers.get(definition).copied();
            LayerGrowth {
                layer,
                arithmetic: of(&|sample| entry(sample).map_or(0, |(_, sum, _)| sum)),
                memory: of(&|sample| entry(sample).map_or(0, |(.., bytes)| bytes)),
            }
        })
        .filter(|layer| layer.arithmetic.degree() > 1 || layer.memory.degree() > 1)
        .collect();
    let superlinear = |curve: &Curve| curve.share_from(2) * curve.at(1.0);
    layers.sort_by(|a, b| {
        superlinear(&b.arithmetic)
            .total_cmp(&superlinear(&a.arithmetic))
            .then(superlinear(&b.memory).total_cmp(&superlinear(&a.memory)))
            .then(a.layer.cmp(&b.layer))
    });
    Some(DimGrowth {
        size,
        arithmetic: of(&|sample| sample.arithmetic),
        memory: of(&|sample| sample.memory),
        layers,
        dim,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::facts::fixture::lowered;

    const TRANSFORMER: &str = r#"
spec = 1
[dims]
batch = 2
seq = 256
width = 64
[inputs]
x = ["batch", "seq", "width"]
[[layers]]
name = "projection"
op = "linear"
out_features = 64
[[layers]]
name = "scores"
formula = "projection @ projection.mT"
[[layers]]
name = "out"
formula = "softmax(scores) @ x"
"#;

    fn shown(text: &str) -> String {
        let (spec, model) = lowered(text);
        let facts = Facts::new(&spec, &model);
        let line = |growth: DimGrowth| {
            let layers: Vec<String> = growth
                .layers
                .iter()
                .map(|layer| model.graph.layer_path(layer.layer))
                .collect();
            format!(
                "{} = {}: arithmetic ^{:.2} of degree {}, memory ^{:.2} of degree {}; {}",
                growth.dim,
                growth.size,
                growth.arithmetic.exponent(),
                growth.arithmetic.degree(),
                growth.memory.exponent(),
                growth.memory.degree(),
                layers.join(", ")
            )
        };
        let lines: Vec<String> = Growth::of(&facts).dims.into_iter().map(line).collect();
        lines.join("\n")
    }

    /// Guards the degrees: scores grow with the square of the sequence, everything with the batch.
    /// A width that parameters share is free, too.
    #[test]
    fn scores_grow_with_the_square_of_the_sequence() {
        insta::assert_snapshot!(shown(TRANSFORMER), @r"
        batch = 2: arithmetic ^1.00 of degree 1, memory ^1.00 of degree 1; 
        seq = 256: arithmetic ^1.89 of degree 2, memory ^1.67 of degree 2; out, scores
        width = 64: arithmetic ^0.55 of degree 1, memory ^0.17 of degree 1; 
        ");
    }

    proptest! {
        /// A cubic is found as it is.
        #[test]
        fn terms_are_exact(terms in prop::array::uniform4(0u32..10_000)) {
            let cost = |x: u128| {
                terms.iter().rev().fold(0, |sum, &term| sum * x + u128::from(term))
            };
            let curve = Curve::through([cost(1), cost(2), cost(3), cost(4)]);
            for (found, expected) in curve.terms.iter().zip(terms) {
                prop_assert!((found - f64::from(expected)).abs() < 1e-6);
            }
            prop_assert!((curve.at(5.0) - cost(5) as f64).abs() < 1e-3);
        }
    }
}
