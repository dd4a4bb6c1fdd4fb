//! How strong the signal and its gradient are at initialisation, layer by layer.
//!
//! Forward, mean and variance of every tensor follow from those of its operands
//! ([`crate::ops::Op::moments`]): inputs are standard normal, or even over the range that the spec
//! declares, and parameters are as their initialisation draws them; one of the spec's own without
//! an `init` is unknown. Backward, the mean square of
//! every gradient follows from those of the results ([`crate::ops::Op::gradient_gain`]), and where
//! a tensor has several users, theirs add. This is the mean-field theory of Glorot & Bengio (2010),
//! He et al. (2015) and Schoenholz et al. (2017).
//!
//! What it leaves out: correlations. Elements count as independent, so that a sum of a tensor with
//! itself, or the part of a batch norm's gradient that goes through its statistics (a factor of
//! `π/(π − 1) = 1.47` a layer in variance, Yang et al. 2019), are not seen. A figure is an estimate
//! for wide layers before the first step, and says nothing of what training makes of it.
//!
//! Where an op has nothing to say, what depends on it is unknown; of a gradient that reaches a
//! tensor on several paths, the known ones remain as a lower bound. `O(nodes)`.

mod propagation;
#[cfg(test)]
mod tests;

use rustc_hash::FxHashSet;

use crate::graph::{Graph, NodeId, TensorId};
use crate::ops::Init;
use crate::spec::Spec;
use crate::tensor::Moments;

/// The mean square of a gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gradient {
    /// Its logarithm to base 2, which neither underflows nor overflows over thousands of layers;
    /// `-∞` where the gradient is 0.
    pub log2: f64,
    /// Whether all paths are known. If not, this is a lower bound.
    pub complete: bool,
}

impl Gradient {
    /// No gradient at all.
    pub const ZERO: Gradient = Gradient {
        log2: f64::NEG_INFINITY,
        complete: true,
    };
    /// Nothing known.
    pub const UNKNOWN: Gradient = Gradient {
        complete: false,
        ..Gradient::ZERO
    };

    /// The root mean square's logarithm to base 10.
    pub fn log10_deviation(self) -> f64 {
        self.log2 / 2.0 * std::f64::consts::LOG10_2
    }

    /// The gradient scaled by a factor of its mean square; unknown where that is.
    pub fn scaled(self, factor: Option<f64>) -> Gradient {
        match factor {
            Some(factor) if factor >= 0.0 => Gradient {
                log2: self.log2 + factor.log2(),
                complete: self.complete,
            },
            _ => Gradient::UNKNOWN,
        }
    }

    /// The sum of two independent gradients.
    pub fn plus(self, other: Gradient) -> Gradient {
        let (low, high) = match self.log2 < other.log2 {
            true => (self.log2, other.log2),
            false => (other.log2, self.log2),
        };
        let log2 = match low == f64::NEG_INFINITY {
            true => high,
            false => high + (low - high).exp2().ln_1p() / std::f64::consts::LN_2,
        };
        Gradient {
            log2,
            complete: self.complete && other.complete,
        }
    }
}

/// The signal at one weight: a trained matrix or kernel that an op multiplies its input with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightSignal {
    /// The call.
    pub node: NodeId,
    /// The weight.
    pub weight: TensorId,
    /// The mean square of the gradient of the weight's elements, in units of the gradient with
    /// which the backward pass begins.
    pub gradient: Gradient,
    /// The norm of the whole gradient of what the call gives: its logarithm to base 10. Unlike the
    /// mean square it does not change where a mean or a pool spreads the gradient over more
    /// elements.
    pub norm: f64,
    /// Moments of what the call gives; `None` where unknown.
    pub output: Option<Moments>,
    /// How many weights stand on the longest way from the inputs to here, this one included.
    pub depth: u32,
}

/// Rounds in which weights of zeros may set each other free. Residual blocks within each other take
/// one for each level.
const MOST_ROUNDS: usize = 8;

/// Moments of every tensor and gradient of every tensor, and the weights along the way.
#[derive(Debug, Default)]
pub struct Signal {
    moments: Vec<Option<Moments>>,
    gradients: Vec<Gradient>,
    weights: Vec<WeightSignal>,
    norms: Vec<Norm>,
}

/// The largest gradient at one depth of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// The logarithm to base 10 of its norm.
    pub log10: f64,
    /// Whether all gradients at that depth are known.
    pub complete: bool,
}

impl Signal {
    /// Propagates forward and backward.
    pub fn of(spec: &Spec, graph: &Graph) -> Signal {
        propagation::propagate(spec, graph, &FxHashSet::default())
    }

    /// Mean and variance of a tensor's elements; `None` where unknown.
    pub fn moments(&self, tensor: TensorId) -> Option<Moments> {
        *self.moments.get(tensor.0 as usize)?
    }

    /// The mean square of a tensor's gradient, in units of that with which the backward pass
    /// begins: 1 for the loss, or for each element of each output of a model without one. Of
    /// parameters it is unknown; see [`Signal::weights`].
    pub fn gradient(&self, tensor: TensorId) -> Gradient {
        self.gradients
            .get(tensor.0 as usize)
            .copied()
            .unwrap_or(Gradient::UNKNOWN)
    }

    /// The weights that start at 0 and never leave it.
    ///
    /// A weight of zeros as such does no harm: after one step it is none. But where its gradient is
    /// 0, and still is once all others that can have moved have moved, it stays: two of them in a
    /// row, of which the first makes the second's input 0 and the second the first's gradient, or
    /// one in front of a ReLU, whose slope at 0 is 0. At most a few propagations.
    pub fn stuck_weights(&self, spec: &Spec, graph: &Graph) -> Vec<WeightSignal> {
        let is_zero = |tensor: TensorId| {
            graph
                .parameter(tensor)
                .is_some_and(|parameter| parameter.init == Init::Constant(0.0))
        };
        let still = |signal: &Signal| -> Vec<WeightSignal> {
            let weights = signal.weights.iter().copied();
            weights
                .filter(|weight| is_zero(weight.weight) && weight.gradient == Gradient::ZERO)
                .collect()
        };
        let mut stuck = still(self);
        for _ in 0..MOST_ROUNDS {
            if stuck.is_empty() {
                break;
            }
            // All that is 0 has moved after a step, but for those.
            let held: FxHashSet<TensorId> = stuck.iter().map(|weight| weight.weight).collect();
            let moved = (0..graph.tensors.len() as u32)
                .map(TensorId)
                .filter(|tensor| is_zero(*tensor) && !held.contains(tensor))
                .collect();
            let next = still(&propagation::propagate(spec, graph, &moved));
            if next.len() == stuck.len() {
                return stuck;
            }
            stuck = next;
        }
        Vec::new()
    }

    /// For each number of weights on the longest way from the inputs, from 0 on, the largest norm of
    /// the gradients of all tensors there: of the weights' products, but also of the residual stream
    /// that passes them by.
    pub fn norms(&self) -> &[Norm] {
        &self.norms
    }

    /// The trained weights, in the order of the graph.
    pub fn weights(&self) -> &[WeightSignal] {
        &self.weights
    }
}
