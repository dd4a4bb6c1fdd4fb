//! One application of an op, as its functions see it.

use super::layout::{Strides, contiguous_strides};
use super::{AttributeValue, Attributes, Op, OpError};
use crate::tensor::{Dtype, Interval, Shape, TensorType};

/// What is known of one operand of a call.
#[derive(Debug, Clone, Copy)]
pub struct Argument<'a> {
    /// Shape and element type.
    pub ty: &'a TensorType,
    /// The value, where the operand is a number written in the spec. Such a number does not take
    /// part in type promotion among tensors.
    pub constant: Option<f64>,
    /// Whether a gradient flows to the operand.
    pub requires_grad: bool,
    /// Whether the operand is a parameter or a buffer.
    pub is_parameter: bool,
    /// The strides, where they are known; contiguous otherwise.
    pub strides: Option<&'a [u64]>,
}

/// One application of an op: its attributes, its operands and, after inference, its outputs.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The op.
    pub op: &'static Op,
    /// The attributes given; see [`Call::integer`] and its siblings for those with defaults.
    pub attributes: &'a Attributes,
    /// The operands by position; `None` where an optional one is left out.
    pub arguments: &'a [Option<Argument<'a>>],
    /// The types of the outputs; empty until they are inferred.
    pub outputs: &'a [TensorType],
    /// Whether the model is in training mode.
    pub training: bool,
    /// Whether attention runs as one fused kernel (`model.attention = "fused"`).
    pub fused_attention: bool,
    /// Whether the call runs under autocast, which ops made of several kernels cast in between.
    /// The operands are those that autocast hands to the op itself.
    pub autocast: bool,
}

impl<'a> Call<'a> {
    /// The range of the first output from those of the operands, by position; of complex numbers,
    /// the range of their parts.
    pub fn interval(&self, ranges: &[Interval]) -> Interval {
        super::complex::interval(self, ranges)
    }

    /// The operand at `position`, if given.
    pub fn argument(&self, position: usize) -> Option<&Argument<'a>> {
        self.arguments.get(position).and_then(Option::as_ref)
    }

    /// Whether the operand at `position` is given.
    pub fn has(&self, position: usize) -> bool {
        self.argument(position).is_some()
    }

    /// The type of the operand at `position`.
    ///
    /// # Errors
    /// Where the operand is left out.
    pub fn ty(&self, position: usize) -> Result<&'a TensorType, OpError> {
        self.argument(position)
            .map(|argument| argument.ty)
            .ok_or_else(|| {
                let name = self.op.operand_name(position);
                OpError::new(format!("`{}` needs its operand `{name}`", self.op.name))
            })
    }

    /// The shape of the operand at `position`.
    ///
    /// # Errors
    /// Where the operand is left out.
    pub fn shape(&self, position: usize) -> Result<&'a Shape, OpError> {
        self.ty(position).map(|ty| &ty.shape)
    }

    /// The element type of the operand at `position`.
    ///
    /// # Errors
    /// Where the operand is left out.
    pub fn dtype(&self, position: usize) -> Result<Dtype, OpError> {
        self.ty(position).map(|ty| ty.dtype)
    }

    /// The number of elements of the operand at `position`; 0 where it is left out.
    pub fn elements(&self, position: usize) -> u64 {
        self.argument(position)
            .map_or(0, |argument| argument.ty.shape.elements())
    }

    /// The strides of the operand at `position`: contiguous ones where they are not known, none
    /// where it is left out.
    pub fn strides(&self, position: usize) -> Strides {
        self.argument(position)
            .map_or_else(Strides::new, |argument| match argument.strides {
                Some(strides) => Strides::from_slice(strides),
                None => contiguous_strides(argument.ty.shape.sizes()),
            })
    }

    /// The number written for the operand at `position`, if it is one.
    pub fn constant(&self, position: usize) -> Option<f64> {
        self.argument(position)
            .and_then(|argument| argument.constant)
    }

    /// Whether a gradient flows to the operand at `position`.
    pub fn requires_grad(&self, position: usize) -> bool {
        self.argument(position)
            .is_some_and(|argument| argument.requires_grad)
    }

    /// The type of the first output; after inference only.
    pub fn output(&self) -> Option<&'a TensorType> {
        self.outputs.first()
    }

    /// The number of elements of the first output; 0 before inference.
    pub fn output_elements(&self) -> u64 {
        self.output().map_or(0, |ty| ty.shape.elements())
    }

    /// The value given for the attribute, or its default from the op's table.
    pub fn attribute(&self, name: &str) -> Option<AttributeValue> {
        let position = self.op.attribute_position(name)?;
        match self.attributes.get(position) {
            Some(value) => Some(value.clone()),
            None => self.op.attributes[position].default_value(),
        }
    }

    /// Whether the call gives the attribute itself.
    pub fn is_given(&self, name: &str) -> bool {
        self.op
            .attribute_position(name)
            .is_some_and(|position| self.attributes.get(position).is_some())
    }

    /// An integer attribute, if given or defaulted.
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.attribute(name)? {
            AttributeValue::Integer(value) => Some(value),
            AttributeValue::Integers(values) if values.len() == 1 => Some(values[0]),
            AttributeValue::Boolean(value) => Some(i64::from(value)),
            _ => None,
        }
    }

    /// A size attribute that must be there.
    ///
    /// # Errors
    /// Where it is neither given nor defaulted, or negative.
    pub fn size(&self, name: &'static str) -> Result<u64, OpError> {
        let value = self.integer(name).ok_or_else(|| {
            OpError::new(format!("`{}` needs `{name}`", self.op.name)).attribute(name)
        })?;
        u64::try_from(value)
            .map_err(|_| OpError::new(format!("`{name}` is {value}, below 0")).attribute(name))
    }

    /// A list of integers; one number counts as a list of one.
    pub fn integers(&self, name: &str) -> Option<Vec<i64>> {
        match self.attribute(name)? {
            AttributeValue::Integer(value) => Some(vec![value]),
            AttributeValue::Integers(values) => Some(values.into_vec()),
            _ => None,
        }
    }

    /// A size for each of `count` axes: one number stands for all of them.
    ///
    /// # Errors
    /// Where the attribute is missing, has another number of entries, or a negative one.
    pub fn sizes(&self, name: &'static str, count: usize) -> Result<Vec<u64>, OpError> {
        let given = self.integers(name).ok_or_else(|| {
            OpError::new(format!("`{}` needs `{name}`", self.op.name)).attribute(name)
        })?;
        let spread = match given.as_slice() {
            [one] => vec![*one; count],
            many if many.len() == count => many.to_vec(),
            many => {
                let message = format!(
                    "`{name}` has {} entries, but `{}` works on {count} axes here",
                    many.len(),
                    self.op.name
                );
                return Err(OpError::new(message).attribute(name));
            }
        };
        spread
            .into_iter()
            .map(|value| {
                u64::try_from(value).map_err(|_| {
                    OpError::new(format!("`{name}` is {value}, below 0")).attribute(name)
                })
            })
            .collect()
    }

    /// A real attribute, if given or defaulted.
    pub fn float(&self, name: &str) -> Option<f64> {
        match self.attribute(name)? {
            AttributeValue::Float(value) => Some(value),
            AttributeValue::Integer(value) => Some(value as f64),
            _ => None,
        }
    }

    /// A truth value, if given or defaulted; false otherwise.
    pub fn boolean(&self, name: &str) -> bool {
        matches!(self.attribute(name), Some(AttributeValue::Boolean(true)))
    }

    /// A word, if given or defaulted.
    pub fn text(&self, name: &str) -> Option<smol_str::SmolStr> {
        match self.attribute(name)? {
            AttributeValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An element type, if given or defaulted.
    pub fn dtype_attribute(&self, name: &str) -> Option<Dtype> {
        match self.attribute(name)? {
            AttributeValue::Dtype(dtype) => Some(dtype),
            _ => None,
        }
    }

    /// The axis that the attribute names, counted from the front, of a tensor of that shape.
    ///
    /// # Errors
    /// Where it lies outside.
    pub fn axis(&self, name: &'static str, shape: &Shape) -> Result<usize, OpError> {
        let axis = self.integer(name).unwrap_or(-1);
        shape.axis(axis).ok_or_else(|| {
            let rank = shape.rank();
            OpError::new(format!(
                "`{name} = {axis}` lies outside {shape}, which has {rank} axes"
            ))
            .attribute(name)
        })
    }

    /// The axes that the attribute names, counted from the front, sorted and each once; all axes
    /// where it is not given.
    ///
    /// # Errors
    /// Where one lies outside or is named twice.
    pub fn axes(&self, name: &'static str, shape: &Shape) -> Result<Vec<usize>, OpError> {
        let Some(given) = self.integers(name) else {
            return Ok((0..shape.rank()).collect());
        };
        let mut axes = Vec::with_capacity(given.len());
        for axis in given {
            let index = shape.axis(axis).ok_or_else(|| {
                let rank = shape.rank();
                let message = format!("`{name}` names axis {axis}, but {shape} has {rank} axes");
                OpError::new(message).attribute(name)
            })?;
            if axes.contains(&index) {
                let message = format!("`{name}` names axis {axis} twice");
                return Err(OpError::new(message).attribute(name));
            }
            axes.push(index);
        }
        axes.sort_unstable();
        Ok(axes)
    }

    /// The element type that arithmetic among the given operands gives (`torch.result_type`).
    /// Tensors without axes take part only where no tensor with axes is of their kind (boolean,
    /// integer, float), and numbers written in the spec only where no tensor is.
    pub fn promoted_dtype(&self) -> Dtype {
        self.promoted_dtype_of(0..self.arguments.len())
    }

    /// The same among the operands at these positions.
    pub fn promoted_dtype_of(&self, positions: impl IntoIterator<Item = usize>) -> Dtype {
        let mut ranks: [Option<Dtype>; 3] = [None; 3];
        for argument in positions.into_iter().filter_map(|at| self.argument(at)) {
            let rank = match argument {
                argument if argument.constant.is_some() => 2,
                argument if argument.ty.shape.rank() == 0 => 1,
                _ => 0,
            };
            let dtype = argument.ty.dtype;
            ranks[rank] = Some(ranks[rank].map_or(dtype, |so_far| so_far.promote(dtype)));
        }
        ranks
            .into_iter()
            .flatten()
            .reduce(|higher, lower| {
                let kind = |dtype: Dtype| match dtype {
                    Dtype::Bool => 0,
                    dtype if dtype.is_complex() => 3,
                    dtype if dtype.is_float() => 2,
                    _ => 1,
                };
                if kind(lower) > kind(higher) {
                    higher.promote(lower)
                } else {
                    higher
                }
            })
            .unwrap_or(Dtype::Float32)
    }

    /// The shape that broadcasting all given operands together gives.
    ///
    /// # Errors
    /// Where two of them do not fit; the message shows both shapes.
    pub fn broadcast(&self) -> Result<Shape, OpError> {
        let mut result = Shape::scalar();
        for (position, argument) in self.arguments.iter().enumerate() {
            let Some(argument) = argument else { continue };
            let shape = &argument.ty.shape;
            if *shape == result || argument.constant.is_some() {
                continue;
            }
            result = match result.broadcast(shape) {
                Some(wider) => wider,
                None => return Err(self.broadcast_error(position)),
            };
        }
        Ok(result)
    }

    fn broadcast_error(&self, position: usize) -> OpError {
        let shape = |at: usize| self.argument(at).map(|argument| &argument.ty.shape);
        let clash = (0..position)
            .find(|&other| match (shape(other), shape(position)) {
                (Some(a), Some(b)) => a.broadcast(b).is_none(),
                _ => false,
            })
            .unwrap_or(0);
        let (Some(a), Some(b)) = (shape(clash), shape(position)) else {
            return OpError::new("the operands do not broadcast");
        };
        let offset = |s: &Shape| a.rank().max(b.rank()) - s.rank();
        let axis = (0..a.rank().max(b.rank()))
            .rev()
            .find_map(|i| {
                let x = i.checked_sub(offset(a)).map_or(1, |k| a.sizes()[k]);
                let y = i.checked_sub(offset(b)).map_or(1, |k| b.sizes()[k]);
                (x != y && x != 1 && y != 1).then_some((i, x, y))
            })
            .map_or(String::new(), |(i, x, y)| {
                let from_end = a.rank().max(b.rank()) - i;
                format!(": at axis -{from_end}, {x} ≠ {y} and neither is 1")
            });
        OpError::new(format!("{a} and {b} do not broadcast{axis}")).operands([clash, position])
    }
}
