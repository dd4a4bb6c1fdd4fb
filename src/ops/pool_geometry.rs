//! The sizes of a pool, checked: windows or bins, and how many elements they take.

use smallvec::smallvec;

use super::window::{Window, spatial_axes};
use super::{Call, OpError, Outputs};
use crate::tensor::{Shape, TensorType};

pub(super) fn divisor(call: &Call) -> Option<f64> {
    call.op.attribute_position("divisor_override")?;
    let divisor = call.integer("divisor_override")?;
    (divisor > 0).then_some(divisor as f64)
}

/// The sizes of the pooled axes: the last ones, behind the channels.
pub(super) fn pooled_sizes(call: &Call) -> Result<Vec<u64>, OpError> {
    let (input, axes) = (call.shape(0)?, axes(call));
    let sizes = input.sizes();
    let fits = match call.op.name.starts_with("global") {
        true => sizes.len() >= 3,
        false => sizes.len() == axes + 1 || sizes.len() == axes + 2,
    };
    if !fits {
        let names = match axes {
            _ if call.op.name.starts_with("global") => "positions …",
            1 => "length",
            2 => "height, width",
            _ => "depth, height, width",
        };
        let message = format!(
            "`{}` takes [batch, channels, {names}], but its input {input} has {} axes",
            call.op.name,
            sizes.len()
        );
        return Err(OpError::new(message).operands([0]));
    }
    Ok(sizes[sizes.len() - axes..].to_vec())
}

/// How many axes are pooled.
pub(super) fn axes(call: &Call) -> usize {
    match call.op.name.starts_with("global") {
        true => call
            .shape(0)
            .map_or(0, |shape| shape.rank().saturating_sub(2)),
        false => spatial_axes(call),
    }
}

/// The sizes of the pooled axes and their windows; no windows where there are bins.
pub(super) fn geometry(call: &Call) -> Result<(Vec<u64>, Vec<Window>), OpError> {
    let sizes = pooled_sizes(call)?;
    if call.op.attribute_position("kernel_size").is_none() {
        return Ok((sizes, Vec::new()));
    }
    let axes = sizes.len();
    let kernel = call.sizes("kernel_size", axes)?;
    let stride = match call.is_given("stride") {
        true => call.sizes("stride", axes)?,
        false => kernel.clone(),
    };
    let optional = |name, default| match call.op.attribute_position(name) {
        Some(_) => call.sizes(name, axes),
        None => Ok(vec![default; axes]),
    };
    let (padding, dilation) = (optional("padding", 0)?, optional("dilation", 1)?);
    let mut windows = Vec::with_capacity(axes);
    for axis in 0..axes {
        let window = Window {
            kernel: kernel[axis],
            stride: stride[axis],
            dilation: dilation[axis],
            padding: (padding[axis], padding[axis]),
        };
        if padding[axis] > window.span() / 2 {
            let message = format!(
                "`padding` is {}, but at most half of what the kernel spans, {}, is allowed",
                padding[axis],
                window.span()
            );
            return Err(OpError::new(message).attribute("padding"));
        }
        windows.push(window);
    }
    Ok((sizes, windows))
}

pub(super) fn with_pooled(call: &Call, pooled: &[u64]) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let leading = &input.shape.sizes()[..input.shape.rank() - pooled.len()];
    let shape: Shape = leading.iter().chain(pooled).copied().collect();
    Ok(smallvec![TensorType {
        shape,
        dtype: input.dtype
    }])
}

pub(super) fn slide(call: &Call) -> Result<Outputs, OpError> {
    let (sizes, windows) = geometry(call)?;
    if call.op.attribute_position("divisor_override").is_some()
        && call.integer("divisor_override") == Some(0)
    {
        let message = "`divisor_override` must not be 0";
        return Err(OpError::new(message).attribute("divisor_override"));
    }
    let ceil = call.boolean("ceil_mode");
    let places = windows
        .iter()
        .zip(&sizes)
        .map(|(window, &size)| window.places(size, ceil))
        .collect::<Result<Vec<u64>, OpError>>()?;
    with_pooled(call, &places)
}

pub(super) fn bins(call: &Call) -> Result<Outputs, OpError> {
    let sizes = pooled_sizes(call)?;
    let bins = match call.op.attribute_position("output_size") {
        Some(_) => call.sizes("output_size", sizes.len())?,
        None => vec![1; sizes.len()],
    };
    if sizes.contains(&0) {
        let message = format!("`{}` of an empty axis: {}", call.op.name, call.shape(0)?);
        return Err(OpError::new(message).operands([0]));
    }
    with_pooled(call, &bins)
}

/// How many elements all windows or bins take together.
pub(super) fn taken(call: &Call) -> u128 {
    let (Ok((sizes, windows)), Some(output)) = (geometry(call), call.output()) else {
        return 0;
    };
    let outputs = output.shape.sizes();
    let leading: u128 = outputs[..outputs.len() - sizes.len()]
        .iter()
        .map(|&size| u128::from(size))
        .product();
    let pooled = &outputs[outputs.len() - sizes.len()..];
    let along = |axis: usize| match windows.get(axis) {
        Some(window) => u128::from(pooled[axis]) * u128::from(window.kernel),
        // Bins `⌊i·n/m⌋ .. ⌈(i+1)·n/m⌉` overlap in one element at each of the inner bounds that
        // is not whole.
        None => {
            let (size, bins) = (sizes[axis], pooled[axis]);
            u128::from(size) + u128::from(bins) - u128::from(gcd(size, bins))
        }
    };
    (0..sizes.len())
        .map(along)
        .fold(leading, u128::saturating_mul)
}

pub(super) fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// How many elements a window or bin takes, in the mean.
pub(super) fn mean_taken(call: &Call) -> f64 {
    (taken(call) as f64 / call.output_elements().max(1) as f64).max(1.0)
}

/// Elements of the output for each of the input.
pub(super) fn per_input(call: &Call) -> f64 {
    call.output_elements() as f64 / call.elements(0).max(1) as f64
}
