//! Ops of torchvision: convolutions with offsets, pools over boxes, suppression of boxes.

use smallvec::smallvec;

use super::conv_geometry::windows;
use super::definition::{BASE, Default, any_value, attribute, operand, optional};
use super::pointwise::{keep, range};
use super::{Attribute, AttributeKind, Autocast, Call, Op, OpError, Outputs, Work};
use crate::tensor::{Dtype, Interval, Shape, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "deform_conv2d",
        summary: "convolution whose window reads at an offset of its own at each position",
        operands: &[
            operand("input"),
            operand("offset"),
            operand("weight"),
            optional("bias"),
            optional("mask"),
        ],
        attributes: &[
            sizes("stride", Default::Integer(1), "step of the window"),
            sizes("padding", Default::Integer(0), "zeros added on both sides"),
            sizes(
                "dilation",
                Default::Integer(1),
                "distance of the elements under the window",
            ),
        ],
        infer: deformed,
        autocast: Autocast::Float32,
        // Two per multiply-add, and for each element read four neighbours, each with its weight.
        work: |call| Work {
            products: products(call),
            other: 8 * read(call),
        },
        backward: |call| 2 * products(call),
        saved: |call, saved| {
            for position in [0, 1, 2, 4] {
                saved.argument(call, position);
            }
        },
        interval: any_value,
        ..BASE
    },
    Op {
        name: "roi_align",
        summary: "values of the input, interpolated at a grid of points in each box, and their means",
        operands: &[
            operand("input"),
            operand("boxes"),
            optional("batch_indices"),
        ],
        attributes: &[
            OUTPUT_SIZE,
            SPATIAL_SCALE,
            attribute(
                "sampling_ratio",
                AttributeKind::Size,
                Default::Integer(0),
                "points along each side of a bin; 0 takes as many as the bin has positions",
            ),
            attribute(
                "aligned",
                AttributeKind::Boolean,
                Default::Boolean(false),
                "whether the centre of an element lies half an element behind its position",
            ),
            attribute(
                "mode",
                AttributeKind::Choice(&["avg", "max"]),
                Default::Text("avg"),
                "whether a bin is the mean of its points or, as ONNX has it, their greatest",
            ),
        ],
        saved: |call, saved| {
            keep(call, saved, 1);
            saved.argument(call, 2);
        },
        work: |call| {
            let points = u128::from(call.size("sampling_ratio").unwrap_or(0).max(1));
            let points = points.saturating_mul(points).saturating_mul(8);
            Work::other(u128::from(call.output_elements()).saturating_mul(points))
        },
        ..BOXES
    },
    Op {
        name: "roi_pool",
        summary: "greatest elements of a number of bins of each box",
        attributes: &[OUTPUT_SIZE, SPATIAL_SCALE],
        // Which element was the greatest is kept, too.
        saved: |call, saved| {
            keep(call, saved, 1);
            saved.extra("argmax", call.output_elements(), Dtype::Int32);
        },
        ..BOXES
    },
    Op {
        name: "nms",
        summary: "the boxes that no better one overlaps; all of them are counted, for the number \
                  is not known before the run",
        operands: &[operand("boxes"), operand("scores")],
        attributes: &[
            attribute(
                "iou_threshold",
                AttributeKind::Float,
                Default::None,
                "the share of its union with a better box that a box may overlap it by",
            ),
            attribute(
                "score_threshold",
                AttributeKind::Float,
                Default::None,
                "boxes of no better score are left out",
            ),
            attribute(
                "max_output_boxes_per_class",
                AttributeKind::Size,
                Default::None,
                "how many boxes of a class are kept at most",
            ),
            attribute(
                "center_point_box",
                AttributeKind::Boolean,
                Default::Boolean(false),
                "whether a box is its centre and its sizes, not two corners",
            ),
        ],
        infer: |call| {
            let scores = call.shape(1)?.elements();
            // Of lists for images and classes, which of them comes with each box.
            let shape = match call.shape(0)?.rank() {
                3 => Shape::from([scores, 3]),
                _ => Shape::from([scores]),
            };
            Ok(smallvec![TensorType::new(shape, Dtype::Int64)])
        },
        differentiable: false,
        // Every box of a list may be held to every other one: intersection, union, quotient.
        work: |call| {
            let boxes = call
                .shape(1)
                .ok()
                .and_then(|shape| shape.size(-1))
                .unwrap_or(0);
            let pairs = u128::from(call.elements(1)).saturating_mul(boxes.into()) / 2;
            Work::other(pairs.saturating_mul(12))
        },
        interval: |call, _| {
            let most = call.elements(1).saturating_sub(1) as f64;
            Interval::new(0.0, most)
        },
        ..BASE
    },
];

const fn sizes(name: &'static str, default: Default, summary: &'static str) -> Attribute {
    attribute(name, AttributeKind::Sizes, default, summary)
}

const OUTPUT_SIZE: Attribute = attribute(
    "output_size",
    AttributeKind::Sizes,
    Default::Required,
    "number of bins",
);

const SPATIAL_SCALE: Attribute = attribute(
    "spatial_scale",
    AttributeKind::Float,
    Default::Float(1.0),
    "elements of the input for each unit of a box",
);

/// A pool over boxes.
const BOXES: Op = Op {
    operands: &[operand("input"), operand("boxes")],
    infer: boxed,
    autocast: Autocast::Float32,
    saved: |call, saved| keep(call, saved, 1),
    // A box may lie outside, where zeros are.
    interval: |_, ranges| range(ranges, 0).union(Interval::point(0.0)),
    ..BASE
};

fn boxed(call: &Call) -> Result<Outputs, OpError> {
    let (input, boxes) = (call.ty(0)?, call.shape(1)?);
    let (&[_, channels, _, _], &[count, _]) = (input.shape.sizes(), boxes.sizes()) else {
        let message = format!(
            "`{}` takes an input of 4 axes and boxes of 2, not {} and {boxes}",
            call.op.name, input.shape
        );
        return Err(OpError::new(message).operands([0, 1]));
    };
    let bins = call.sizes("output_size", 2)?;
    let shape = Shape::from([count, channels, bins[0], bins[1]]);
    Ok(smallvec![TensorType::new(shape, input.dtype)])
}

fn deformed(call: &Call) -> Result<Outputs, OpError> {
    let (input, weight) = (call.ty(0)?, call.shape(2)?);
    let (&[batch, _, height, width], &[out, _, rows, columns]) =
        (input.shape.sizes(), weight.sizes())
    else {
        let message = format!(
            "`deform_conv2d` takes an input and a weight of 4 axes, not {} and {weight}",
            input.shape
        );
        return Err(OpError::new(message).operands([0, 2]));
    };
    let mut shape = Shape::from([batch, out]);
    for (window, size) in windows(call, &[rows, columns], &[height, width])?
        .iter()
        .zip([height, width])
    {
        shape.push(window.places(size, false)?);
    }
    Ok(smallvec![TensorType::new(shape, input.dtype)])
}

/// Elements that the windows read, each at a place between four.
fn read(call: &Call) -> u128 {
    let (Ok(input), Ok(weight), Some(output)) = (call.shape(0), call.shape(2), call.output())
    else {
        return 0;
    };
    let taps: u128 = weight.sizes()[2..]
        .iter()
        .map(|&n| u128::from(n))
        .fold(1, u128::saturating_mul);
    let places = output.shape.sizes()[2..]
        .iter()
        .map(|&n| u128::from(n))
        .fold(1, u128::saturating_mul);
    let maps = u128::from(input.sizes()[0]).saturating_mul(input.sizes()[1].into());
    maps.saturating_mul(taps).saturating_mul(places)
}

fn products(call: &Call) -> u128 {
    let Ok(weight) = call.shape(2) else { return 0 };
    let taps = weight.sizes()[1..]
        .iter()
        .map(|&n| u128::from(n))
        .fold(1, u128::saturating_mul);
    u128::from(call.output_elements())
        .saturating_mul(taps)
        .saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, check_intervals, check_products};

    #[test]
    fn shapes_follow_torchvision() {
        check(&[
            (
                "deform_conv2d([1, 2, 8, 8], [1, 18, 4, 4], [6, 2, 3, 3], stride=2, padding=1)",
                "float32 [1, 6, 4, 4]",
            ),
            (
                "roi_align([2, 3, 8, 8], [5, 5], output_size=4)",
                "float32 [5, 3, 4, 4]",
            ),
            (
                "roi_pool([2, 3, 8, 8], [5, 5], output_size=[2, 1])",
                "float32 [5, 3, 2, 1]",
            ),
            (
                "roi_pool([3, 8, 8], [5, 5], output_size=[2, 1])",
                "error: `roi_pool` takes an input of 4 axes and boxes of 2, not [3, 8, 8] and [5, 5]",
            ),
            ("nms([9, 4], [9])", "int64 [9]"),
            ("nms([2, 9, 4], [2, 3, 9])", "int64 [54, 3]"),
        ]);
    }

    /// A deformable convolution multiplies as often as the plain one of its weight.
    #[test]
    fn products_are_those_of_a_convolution() {
        check_products(&[(
            "deform_conv2d([1, 2, 8, 8], [1, 18, 8, 8], [6, 2, 3, 3], padding=1)",
            (2 * 64 * 6 * 2 * 9, 4 * 64 * 6 * 2 * 9),
        )]);
    }

    #[test]
    fn boxes_may_lie_outside() {
        check_intervals(&[(
            "roi_align([2, 3, 8, 8], [5, 5], output_size=4)",
            &[(1.0, 2.0), (0.0, 8.0)],
            "[0, 2]",
        )]);
    }
}
