//! The report's part about growth: how cost follows the sizes of the inputs.

use serde::Serialize;

use crate::facts::Facts;
use crate::facts::growth::{Curve, DimGrowth};

/// Layers that are named for growing faster than the size.
const LAYERS: usize = 10;

/// How cost grows with one dim.
#[derive(Debug, Clone, Serialize)]
pub struct GrowthPart {
    /// The dim.
    pub dim: String,
    /// Its size in the spec.
    pub size: i64,
    /// All arithmetic of the forward pass, in operations.
    pub arithmetic: CurvePart,
    /// Bytes that live until the backward pass, or, where nothing is trained, that are written.
    pub memory: CurvePart,
    /// The layers that grow faster than the size.
    pub layers: Vec<LayerGrowthPart>,
}

/// A cost as a polynomial in how many times the spec's size a size is.
#[derive(Debug, Clone, Serialize)]
pub struct CurvePart {
    /// The highest degree with a share in the cost.
    pub degree: usize,
    /// Per cent by which the cost grows for each per cent of the size.
    pub exponent: f64,
    /// The terms at the spec's size, by degree.
    pub terms: [f64; 4],
}

/// How a layer grows.
#[derive(Debug, Clone, Serialize)]
pub struct LayerGrowthPart {
    /// The path of its first instance.
    pub path: String,
    /// Arithmetic of all instances.
    pub arithmetic: CurvePart,
    /// Bytes of all instances.
    pub memory: CurvePart,
}

impl From<Curve> for CurvePart {
    fn from(curve: Curve) -> CurvePart {
        CurvePart {
            degree: curve.degree(),
            exponent: curve.exponent(),
            terms: curve.terms,
        }
    }
}

pub(super) fn rows(facts: &Facts<'_>) -> Vec<GrowthPart> {
    let graph = facts.graph();
    let row = |growth: &DimGrowth| GrowthPart {
        dim: growth.dim.to_string(),
        size: growth.size,
        arithmetic: growth.arithmetic.into(),
        memory: growth.memory.into(),
        layers: growth
            .layers
            .iter()
            .take(LAYERS)
            .map(|layer| LayerGrowthPart {
                path: graph.layer_path(layer.layer),
                arithmetic: layer.arithmetic.into(),
                memory: layer.memory.into(),
            })
            .collect(),
    };
    facts.growth().dims.iter().map(row).collect()
}
