//! Convolutions, and the padding that they share with pools.

use super::call::{Call, Results, all, one, sizes_of};
use super::registry::{Entry, Mapping::*};
use crate::graph::TensorId;
use crate::tensor::Shape;

/// The entries of this family.
pub(super) const OPS: &[Entry] = &[
    ("Conv", Special(convolution)),
    ("ConvTranspose", Special(transposed)),
    ("DeformConv", Special(deformable)),
];

/// How a window slides over the axes behind batch and channels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window {
    pub kernel: Vec<i64>,
    pub stride: Vec<i64>,
    pub dilation: Vec<i64>,
    /// What is added before each axis.
    pub before: Vec<i64>,
    /// What is added behind each axis.
    pub behind: Vec<i64>,
}

/// A list with one entry for each axis; `None` where it has another length.
fn each(call: &Call<'_, '_>, name: &str, axes: usize, default: i64) -> Option<Vec<i64>> {
    match call.attributes.integers(name) {
        Some(values) if !values.is_empty() => (values.len() == axes).then(|| values.to_vec()),
        _ => Some(vec![default; axes]),
    }
}

impl Window {
    /// The window of a call on positions of those sizes.
    pub(super) fn of(
        call: &Call<'_, '_>,
        kernel: Vec<i64>,
        positions: &[u64],
        transposed: bool,
    ) -> Option<Window> {
        let axes = positions.len();
        if kernel.len() != axes || kernel.iter().any(|&size| size < 1) {
            return None;
        }
        let stride = each(call, "strides", axes, 1)?;
        let dilation = each(call, "dilations", axes, 1)?;
        if stride.iter().chain(&dilation).any(|&step| step < 1) {
            return None;
        }
        let pads = each(call, "pads", 2 * axes, 0)?;
        let mut window = Window {
            kernel,
            stride,
            dilation,
            before: pads[..axes].to_vec(),
            behind: pads[axes..].to_vec(),
        };
        match call.attributes.text("auto_pad") {
            Some("SAME_UPPER" | "SAME_LOWER") if !transposed => {
                let lower = call.attributes.text("auto_pad") == Some("SAME_LOWER");
                for (axis, &size) in positions.iter().enumerate() {
                    let size = i64::try_from(size).ok()?;
                    let out = size.div_euclid(window.stride[axis])
                        + i64::from(size % window.stride[axis] != 0);
                    let needed = (out - 1)
                        .checked_mul(window.stride[axis])?
                        .checked_add(window.reach(axis)?)?;
                    window.share(axis, (needed - size).max(0), lower);
                }
            }
            Some("VALID") => {
                window.before = vec![0; axes];
                window.behind = vec![0; axes];
            }
            _ => {}
        }
        Some(window)
    }

    /// How many positions the window spans on an axis.
    pub(super) fn reach(&self, axis: usize) -> Option<i64> {
        (self.kernel[axis] - 1)
            .checked_mul(self.dilation[axis])?
            .checked_add(1)
    }

    /// Adds `total` elements on both sides of an axis; an odd one before it where `lower`.
    pub(super) fn share(&mut self, axis: usize, total: i64, lower: bool) {
        let half = total.div_euclid(2);
        let (before, behind) = match lower {
            true => (total - half, half),
            false => (half, total - half),
        };
        self.before[axis] = before;
        self.behind[axis] = behind;
    }

    /// Whether as much is added before as behind.
    pub(super) fn is_even(&self) -> bool {
        self.before == self.behind && self.before.iter().all(|&pad| pad >= 0)
    }
}

/// A tensor with its last axes padded, or cut where a number is negative.
pub(super) fn padded(
    call: &mut Call<'_, '_>,
    input: TensorId,
    before: &[i64],
    behind: &[i64],
    value: f64,
) -> Option<TensorId> {
    if before.iter().chain(behind).all(|&pad| pad == 0) {
        return Some(input);
    }
    // The last axis comes first.
    let pads: Vec<i64> = before
        .iter()
        .zip(behind)
        .rev()
        .flat_map(|(&before, &behind)| [before, behind])
        .collect();
    call.first(
        "pad",
        &[input],
        &[("pad", pads.into()), ("value", value.into())],
    )
}

/// The shape of the window of a convolution, which the weight has, too.
fn kernel(call: &Call<'_, '_>, weight: &Shape) -> Option<Vec<i64>> {
    match call.attributes.integers("kernel_shape") {
        Some(kernel) => Some(kernel.to_vec()),
        None => Some(sizes_of(weight).get(2..)?.to_vec()),
    }
}

fn convolution(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let operands = [input, call.weight(1)?, call.optional_weight(2)?];
    convolved(call, operands).map(one)
}

/// The convolution of input, weight and bias as the call describes it.
pub(super) fn convolved(call: &mut Call<'_, '_>, operands: [TensorId; 3]) -> Option<TensorId> {
    let [mut input, weight, bias] = operands;
    let shape = call.shape_of(input);
    let positions = shape.sizes().get(2..)?;
    let kernel = kernel(call, &call.shape_of(weight))?;
    let window = Window::of(call, kernel, positions, false)?;
    let name = match positions.len() {
        1 => "conv1d",
        2 => "conv2d",
        3 => "conv3d",
        _ => return None,
    };
    let padding = match window.is_even() {
        true => window.before,
        false => {
            input = padded(call, input, &window.before, &window.behind, 0.0)?;
            vec![0; positions.len()]
        }
    };
    let groups = call.attributes.integer("group").unwrap_or(1);
    let given = [
        ("stride", window.stride.into()),
        ("padding", padding.into()),
        ("dilation", window.dilation.into()),
        ("groups", groups.into()),
    ];
    call.first(name, &[input, weight, bias], &given)
}

/// Computed without padding, and cut or padded to what is asked for: a transposed convolution's
/// padding takes away from its result.
fn transposed(call: &mut Call<'_, '_>) -> Option<Results> {
    let (input, weight, bias) = (call.tensor(0)?, call.weight(1)?, call.optional_weight(2)?);
    let shape = call.shape_of(input);
    let positions = shape.sizes().get(2..)?;
    let axes = positions.len();
    let name = match axes {
        1 => "conv_transpose1d",
        2 => "conv_transpose2d",
        3 => "conv_transpose3d",
        _ => return None,
    };
    let kernel = kernel(call, &call.shape_of(weight))?;
    let mut window = Window::of(call, kernel, positions, true)?;
    let more = each(call, "output_padding", axes, 0)?;
    let auto = call.attributes.text("auto_pad").unwrap_or("NOTSET");
    let same = matches!(auto, "SAME_UPPER" | "SAME_LOWER");
    let wanted = call.attributes.integers("output_shape").map(|sizes| {
        let spatial = sizes.len().saturating_sub(axes);
        sizes[spatial..].to_vec()
    });
    let mut full = Vec::with_capacity(axes);
    for axis in 0..axes {
        let size = i64::try_from(positions[axis]).ok()?;
        let stride = window.stride[axis];
        let whole = (size - 1)
            .checked_mul(stride)?
            .checked_add(window.reach(axis)?)?;
        full.push(whole);
        let target = match &wanted {
            Some(sizes) => Some(*sizes.get(axis)?),
            None if same => Some(size.checked_mul(stride)?),
            None => None,
        };
        if let Some(target) = target {
            let total = whole + more[axis] - target;
            window.share(axis, total, auto != "SAME_UPPER");
        }
    }
    let groups = call.attributes.integer("group").unwrap_or(1);
    let mut given = vec![
        ("stride", window.stride.clone().into()),
        ("dilation", window.dilation.clone().into()),
        ("groups", groups.into()),
    ];
    let operands = [input, weight, bias];
    if window.is_even() {
        given.push(("padding", window.before.clone().into()));
        given.push(("output_padding", more.clone().into()));
        if let Some(made) = call.apply(name, &operands, &given) {
            return Some(all(made));
        }
        given.truncate(3);
    }
    let result = call.first(name, &operands, &given)?;
    let before: Vec<i64> = window.before.iter().map(|&pad| -pad).collect();
    let behind: Vec<i64> = window
        .behind
        .iter()
        .zip(&more)
        .map(|(&pad, &more)| more - pad)
        .collect();
    padded(call, result, &before, &behind, 0.0).map(one)
}

/// A convolution whose window has another offset at each position.
fn deformable(call: &mut Call<'_, '_>) -> Option<Results> {
    let mut input = call.tensor(0)?;
    let (weight, offset) = (call.weight(1)?, call.tensor(2)?);
    let (bias, mask) = (call.optional_weight(3)?, call.optional(4)?);
    let shape = call.shape_of(input);
    let positions = shape.sizes().get(2..)?;
    let kernel = kernel(call, &call.shape_of(weight))?;
    let window = Window::of(call, kernel, positions, false)?;
    let padding = match window.is_even() {
        true => window.before,
        false => {
            input = padded(call, input, &window.before, &window.behind, 0.0)?;
            vec![0; positions.len()]
        }
    };
    let given = [
        ("stride", window.stride.into()),
        ("padding", padding.into()),
        ("dilation", window.dilation.into()),
    ];
    let operands = [input, offset, weight, bias, mask];
    call.apply("deform_conv2d", &operands, &given).map(all)
}
