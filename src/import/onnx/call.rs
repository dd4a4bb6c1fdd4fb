//! A call that is being lowered: what it is given, and how its parts are applied.

use std::rc::Rc;

use smallvec::SmallVec;

use super::attributes::Attributes;
use super::constant::Constant;
use super::lower::Lowering;
use super::schema::NodeProto;
use super::slot::{Origin, Slot, SlotId, TensorSlot};
use super::stated::Stated;
use crate::graph::{Made, TensorId};
use crate::ops::{AttributeValue, Op, find};
use crate::tensor::{Dtype, Shape, TensorType};

/// What is said where a size depends on data.
pub(super) const MOST: &str = "sizes that depend on data are taken at their greatest";

/// A result of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// A tensor of the graph.
    Tensor(TensorId),
    /// What a slot stands for.
    Slot(SlotId),
}

/// The results of a call, as many as are known.
pub(super) type Results = SmallVec<[Output; 1]>;

/// Attributes of an op by name.
pub(super) type Given<'g> = &'g [(&'static str, AttributeValue)];

impl Output {
    /// The tensor of the graph, if it is one.
    pub(super) fn tensor(&self) -> Option<TensorId> {
        match self {
            Output::Tensor(id) => Some(*id),
            Output::Slot(_) => None,
        }
    }
}

/// The result that one tensor is.
pub(super) fn one(id: TensorId) -> Results {
    SmallVec::from_slice(&[Output::Tensor(id)])
}

/// Results that tensors are.
pub(super) fn all(made: Made) -> Results {
    made.into_iter().map(Output::Tensor).collect()
}

/// Sizes as the integers of an attribute.
pub(super) fn sizes_of(shape: &Shape) -> Vec<i64> {
    let size = |&size: &u64| i64::try_from(size).unwrap_or(i64::MAX);
    shape.sizes().iter().map(size).collect()
}

/// A call.
pub(super) struct Call<'l, 'p> {
    pub node: &'p NodeProto,
    pub inputs: Vec<Option<SlotId>>,
    pub attributes: Attributes<'p>,
    /// The opset that the call is written for.
    pub version: i64,
    /// The types that the file states for its outputs.
    pub stated: Vec<Option<Stated>>,
    /// What may be guessed of them where the file states nothing.
    pub hints: Vec<Option<Stated>>,
    pub lowering: &'l mut Lowering<'p>,
}

impl Call<'_, '_> {
    /// Whether the input at `position` is given.
    pub(super) fn has(&self, position: usize) -> bool {
        self.slot(position).is_some()
    }

    /// The slot of an input.
    pub(super) fn slot(&self, position: usize) -> Option<SlotId> {
        self.inputs.get(position).copied().flatten()
    }

    /// The slot of an input that is a tensor.
    pub(super) fn tensor_slot(&self, position: usize) -> Option<&TensorSlot> {
        self.lowering.tensor_slot(self.slot(position)?)
    }

    /// The type of an input; `None` where it is not given, no tensor, or unknown.
    pub(super) fn ty(&self, position: usize) -> Option<&TensorType> {
        let slot = self.tensor_slot(position)?;
        let known = slot
            .id
            .is_none_or(|id| self.lowering.builder.graph().tensor(id).known);
        known.then_some(&slot.ty)
    }

    /// Whether an input is a tensor of which nothing is known.
    pub(super) fn is_unknown(&self, position: usize) -> bool {
        self.tensor_slot(position).is_some() && self.ty(position).is_none()
    }

    /// The shape of an input.
    pub(super) fn shape(&self, position: usize) -> Option<&Shape> {
        self.ty(position).map(|ty| &ty.shape)
    }

    /// The number of axes of an input.
    pub(super) fn rank(&self, position: usize) -> Option<usize> {
        self.shape(position).map(Shape::rank)
    }

    /// The element type of an input.
    pub(super) fn dtype(&self, position: usize) -> Option<Dtype> {
        self.ty(position).map(|ty| ty.dtype)
    }

    /// The values of an input, where they are known.
    pub(super) fn known(&self, position: usize) -> Option<Rc<Constant>> {
        self.tensor_slot(position)?.known.clone()
    }

    /// The integers of an input, where they are known.
    pub(super) fn known_integers(&self, position: usize) -> Option<Vec<i64>> {
        self.known(position)?.all_integers()
    }

    /// The one integer of an input, where it is known.
    pub(super) fn known_integer(&self, position: usize) -> Option<i64> {
        let known = self.known(position)?;
        (known.len() == 1).then(|| known.integer(0))
    }

    /// The one number of an input, where it is known.
    pub(super) fn known_number(&self, position: usize) -> Option<f64> {
        let known = self.known(position)?;
        (known.len() == 1).then(|| known.real(0))
    }

    /// Integers that older opsets give as an attribute and newer ones as an input. `None` where
    /// neither is given; `Some(None)` where only running the model would tell.
    pub(super) fn integers_at(&self, name: &str, position: usize) -> Option<Option<Vec<i64>>> {
        if let Some(values) = self.attributes.integers(name) {
            return Some(Some(values.to_vec()));
        }
        self.has(position).then(|| self.known_integers(position))
    }

    /// An axis, counted from the front, of a tensor of that rank.
    pub(super) fn axis(&self, name: &str, default: i64, rank: usize) -> Option<usize> {
        axis(self.attributes.integer(name).unwrap_or(default), rank)
    }

    /// The stated shape of an output, where all of it is known, or what may be guessed of it.
    pub(super) fn stated_shape(&self, position: usize) -> Option<Shape> {
        let of = |all: &[Option<Stated>]| all.get(position)?.as_ref()?.shape();
        of(&self.stated).or_else(|| of(&self.hints))
    }

    /// Whether the output at `position` has a name, so that something may read it.
    pub(super) fn wants(&self, position: usize) -> bool {
        self.node
            .output
            .get(position)
            .is_some_and(|name| !name.is_empty())
    }

    /// An input as a tensor of the graph.
    pub(super) fn tensor(&mut self, position: usize) -> Option<TensorId> {
        let slot = self.slot(position)?;
        self.lowering.materialize(slot, false, false)
    }

    /// An input that is left out where it is not given.
    pub(super) fn optional(&mut self, position: usize) -> Option<TensorId> {
        match self.has(position) {
            true => self.tensor(position),
            false => Some(TensorId::ABSENT),
        }
    }

    /// An input that is a parameter where its values stand in the file.
    pub(super) fn weight(&mut self, position: usize) -> Option<TensorId> {
        let slot = self.slot(position)?;
        self.lowering.materialize(slot, true, false)
    }

    /// A parameter that is left out where it is not given.
    pub(super) fn optional_weight(&mut self, position: usize) -> Option<TensorId> {
        match self.has(position) {
            true => self.weight(position),
            false => Some(TensorId::ABSENT),
        }
    }

    /// An input that is a buffer where its values stand in the file.
    pub(super) fn buffer(&mut self, position: usize) -> Option<TensorId> {
        match self.slot(position) {
            Some(slot) => self.lowering.materialize(slot, true, true),
            None => Some(TensorId::ABSENT),
        }
    }

    /// An input as an operand beside others of that shape: a number where it is one and adds no
    /// axis, so that whoever looks for an epsilon finds it.
    pub(super) fn beside(&mut self, position: usize, others: &Shape) -> Option<TensorId> {
        let slot = self.tensor_slot(position)?;
        if slot.id.is_none()
            && let Some(known) = &slot.known
            && let Some(value) = known.uniform()
            && (known.len() == 1 || slot.origin == Origin::Constant)
            && others.broadcast(&slot.ty.shape).as_ref() == Some(others)
        {
            let dtype = slot.ty.dtype;
            return Some(self.lowering.builder.typed_constant(value, dtype));
        }
        self.tensor(position)
    }

    /// Applies an op.
    pub(super) fn apply(
        &mut self,
        name: &str,
        operands: &[TensorId],
        given: Given,
    ) -> Option<Made> {
        let op = find(name)?;
        let attributes = op.attribute_list(given);
        self.lowering
            .builder
            .apply(op, operands, attributes, None, 1)
            .ok()
    }

    /// Applies an op, and gives its first result.
    pub(super) fn first(
        &mut self,
        name: &str,
        operands: &[TensorId],
        given: Given,
    ) -> Option<TensorId> {
        self.apply(name, operands, given)?.first().copied()
    }

    /// Applies an op whose results have types that the op itself would not infer.
    pub(super) fn apply_as(
        &mut self,
        name: &str,
        operands: &[TensorId],
        given: Given,
        types: &[TensorType],
    ) -> Option<Made> {
        let op: &'static Op = find(name)?;
        let attributes = op.attribute_list(given);
        self.lowering
            .builder
            .add(
                op,
                operands,
                attributes,
                None,
                types.iter().cloned().collect(),
            )
            .ok()
    }

    /// The type of a tensor of the graph.
    pub(super) fn type_of(&self, id: TensorId) -> TensorType {
        self.lowering.builder.graph().ty(id).clone()
    }

    /// The shape of a tensor of the graph.
    pub(super) fn shape_of(&self, id: TensorId) -> Shape {
        self.lowering.builder.graph().ty(id).shape.clone()
    }

    /// A tensor in another element type; the same where it has it.
    pub(super) fn cast(&mut self, id: TensorId, dtype: Dtype) -> Option<TensorId> {
        match self.type_of(id).dtype == dtype {
            true => Some(id),
            false => self.first("to", &[id], &[("dtype", dtype.into())]),
        }
    }

    /// A tensor in another shape of as many elements; the same where it has it.
    pub(super) fn reshape(&mut self, id: TensorId, shape: &Shape) -> Option<TensorId> {
        match self.shape_of(id) == *shape {
            true => Some(id),
            false => self.first("reshape", &[id], &[("shape", sizes_of(shape).into())]),
        }
    }

    /// A tensor with its axes in another order; the same where that is theirs.
    pub(super) fn permute(&mut self, id: TensorId, axes: &[usize]) -> Option<TensorId> {
        if axes.iter().enumerate().all(|(at, &axis)| at == axis) {
            return Some(id);
        }
        let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
        self.first("permute", &[id], &[("dims", axes.into())])
    }

    /// A list of slots as one sequence.
    pub(super) fn sequence(&mut self, items: Option<Vec<SlotId>>) -> Results {
        let slot = self.lowering.slot(Slot::Sequence(items));
        SmallVec::from_slice(&[Output::Slot(slot)])
    }

    /// Tells something about the import.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.lowering.notes.insert(text.into());
    }

    /// What the call does, as text: layers with the same are of one definition.
    pub(super) fn signature(&self) -> String {
        use std::fmt::Write;
        let mut text = self.node.op_type.clone();
        for position in 0..self.inputs.len() {
            if let Some(ty) = self.ty(position) {
                let _ = write!(text, " {ty}");
            }
        }
        text
    }
}

/// An axis counted from the front; `None` where it lies outside.
pub(super) fn axis(axis: i64, rank: usize) -> Option<usize> {
    let rank = rank as i64;
    let from_front = if axis < 0 {
        axis.checked_add(rank)?
    } else {
        axis
    };
    (0..rank)
        .contains(&from_front)
        .then_some(from_front as usize)
}
