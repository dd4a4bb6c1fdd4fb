//! What loss functions share: `reduction`, and the shapes and ranges that follow from it.

use super::definition::{Default, attribute};
use super::{Attribute, AttributeKind, Call, OpError};
use crate::tensor::{Interval, Shape};

/// `none`, `mean` or `sum`.
pub const REDUCTION: Attribute = attribute(
    "reduction",
    AttributeKind::Choice(&["none", "mean", "sum"]),
    Default::Text("mean"),
    "whether the losses of the elements are kept, averaged or summed",
);

/// What becomes of the losses of the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// All are kept.
    None,
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
    /// Their sum over the size of the first axis.
    BatchMean,
}

impl Reduction {
    /// The call's reduction.
    pub fn of(call: &Call) -> Reduction {
        match call.text("reduction").as_deref() {
            Some("none") => Reduction::None,
            Some("sum") => Reduction::Sum,
            Some("batchmean") => Reduction::BatchMean,
            _ => Reduction::Mean,
        }
    }

    /// The shape of the result, from that of the losses of the elements.
    pub fn shape(self, elements: Shape) -> Shape {
        match self {
            Reduction::None => elements,
            _ => Shape::scalar(),
        }
    }

    /// By what the loss of one element is multiplied in the result, for `count` elements, of which
    /// `batch` in the first axis.
    pub fn factor(self, count: u64, batch: u64) -> f64 {
        match self {
            Reduction::None | Reduction::Sum => 1.0,
            Reduction::Mean => 1.0 / count.max(1) as f64,
            Reduction::BatchMean => 1.0 / batch.max(1) as f64,
        }
    }

    /// The range of the result, from that of the loss of an element. The mean of nothing is NaN.
    pub fn interval(self, element: Interval, count: u64, batch: u64) -> Interval {
        match self {
            Reduction::None => element,
            Reduction::Mean => element.or_non_finite(count == 0),
            Reduction::Sum => element * Interval::point(count as f64),
            Reduction::BatchMean => {
                let each = count as f64 / batch.max(1) as f64;
                (element * Interval::point(each)).or_non_finite(batch == 0)
            }
        }
    }
}

/// Fails where the operands at `a` and `b` have different shapes.
///
/// # Errors
/// The message shows both.
pub fn same_shape(call: &Call, a: usize, b: usize) -> Result<(), OpError> {
    let (first, second) = (call.shape(a)?, call.shape(b)?);
    if first != second {
        let message = format!(
            "`{}` of `{}` is {first}, but `{}` is {second}",
            call.op.operand_name(a),
            call.op.name,
            call.op.operand_name(b)
        );
        return Err(OpError::new(message).operands([a, b]));
    }
    Ok(())
}
