//! What a name in a graph stands for.

use std::rc::Rc;

use super::constant::Constant;
use crate::graph::TensorId;
use crate::tensor::TensorType;

/// The number of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SlotId(pub u32);

/// What a name stands for. It becomes a tensor of the graph where a call first reads it as one:
/// only then is it known which layer owns a parameter, and whether a constant is a number.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    /// A tensor.
    Tensor(TensorSlot),
    /// A sequence; `None` where only running the model would tell what it holds.
    Sequence(Option<Vec<SlotId>>),
    /// An optional that holds nothing.
    Nothing,
    /// Text, a map, or what nothing is known of.
    Foreign,
}

/// A tensor.
#[derive(Debug, Clone)]
pub(super) struct TensorSlot {
    pub ty: TensorType,
    /// Its tensor in the graph, once a call has read it.
    pub id: Option<TensorId>,
    /// Its values, where they are known before the model runs.
    pub known: Option<Rc<Constant>>,
    pub origin: Origin,
    /// What it is called in the file.
    pub name: String,
}

/// Where a tensor comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// An input of the model, or the result of a call.
    Computed,
    /// An initializer.
    Initializer,
    /// A constant in the graph, or what is computed from such.
    Constant,
}
