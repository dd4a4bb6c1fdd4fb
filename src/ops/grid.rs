//! The grid that vectors span (`torch.meshgrid`): its types, its layout, its range.

use super::layout::{Placement, Strides};
use super::{Call, OpError, Outputs};
use crate::tensor::{Interval, Shape, TensorType};

fn is_cartesian(call: &Call) -> bool {
    call.text("indexing").as_deref() == Some("xy") && call.arguments.len() >= 2
}

/// One output for each vector, over all of their axes.
pub fn meshgrid(call: &Call) -> Result<Outputs, OpError> {
    let mut shape = Shape::scalar();
    let mut types = Vec::new();
    for position in 0..call.arguments.len() {
        let ty = call.ty(position)?;
        if ty.shape.rank() > 1 {
            let message = format!("`meshgrid` takes vectors, but one is {}", ty.shape);
            return Err(OpError::new(message).operands([position]));
        }
        shape.push(ty.shape.elements());
        types.push(ty.dtype);
    }
    if types.is_empty() {
        return Err(OpError::new("`meshgrid` needs at least one vector"));
    }
    if is_cartesian(call) {
        let (first, second) = (shape.sizes()[0], shape.sizes()[1]);
        shape.set(0, second);
        shape.set(1, first);
    }
    let output = |dtype| TensorType {
        shape: shape.clone(),
        dtype,
    };
    Ok(types.into_iter().map(output).collect())
}

/// Each vector is expanded along the axes of the others.
pub fn grid_layout(call: &Call, strides: &[Strides]) -> Placement {
    let rank = call.output().map_or(0, |ty| ty.shape.rank());
    let mut spread: Strides = smallvec::SmallVec::from_elem(0, rank);
    let axis = usize::from(is_cartesian(call));
    if let (Some(slot), Some(own)) = (spread.get_mut(axis), strides.first()) {
        *slot = own.first().copied().unwrap_or(1);
    }
    Placement::Shared(spread)
}

/// One range stands for all outputs, each of which holds another vector's elements.
pub fn grid_range(_: &Call, ranges: &[Interval]) -> Interval {
    let ranges = ranges.iter().copied();
    ranges.reduce(Interval::union).unwrap_or(Interval::ANYTHING)
}
