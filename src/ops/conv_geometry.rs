//! The sizes of a convolution, checked: channels, groups, windows, and the positions that come out.

use super::window::{Window, spatial_axes};
use super::{Call, OpError};
use crate::tensor::Shape;

/// The sizes of one convolution.
#[derive(Debug)]
pub(super) struct Geometry {
    pub(super) batch: u64,
    pub(super) in_channels: u64,
    pub(super) out_channels: u64,
    pub(super) groups: u64,
    /// Spatial sizes of the input.
    pub(super) inputs: Vec<u64>,
    /// Spatial sizes of the output.
    pub(super) outputs: Vec<u64>,
    pub(super) windows: Vec<Window>,
    pub(super) transposed: bool,
    pub(super) zero_padded: bool,
    /// Whether the input is `[channels, …]`, without a batch.
    pub(super) unbatched: bool,
}

pub(super) fn is_transposed(call: &Call) -> bool {
    call.op.attribute_position("output_padding").is_some()
}

/// Batch, channels and spatial sizes of the input.
pub(super) fn split_input(call: &Call) -> Result<(u64, u64, Vec<u64>, bool), OpError> {
    let axes = spatial_axes(call);
    let input = call.shape(0)?;
    let sizes = input.sizes();
    let unbatched = match sizes.len() {
        rank if rank == axes + 2 => false,
        rank if rank == axes + 1 => true,
        rank => {
            let names = &["depth", "height", "width"][3 - axes..];
            let names = if axes == 1 {
                "length".to_owned()
            } else {
                names.join(", ")
            };
            let message = format!(
                "`{}` takes [batch, channels, {names}], but its input {input} has {rank} axes",
                call.op.name
            );
            return Err(OpError::new(message).operands([0]));
        }
    };
    let (batch, rest) = if unbatched {
        (1, sizes)
    } else {
        (sizes[0], &sizes[1..])
    };
    if let Some(given) = call.integer("in_channels")
        && given != rest[0] as i64
    {
        let message = format!(
            "`in_channels` is {given}, but the input {input} has {} channels",
            rest[0]
        );
        return Err(OpError::new(message).operands([0]).attribute("in_channels"));
    }
    Ok((batch, rest[0], rest[1..].to_vec(), unbatched))
}

pub(super) fn groups(call: &Call) -> Result<u64, OpError> {
    match call.size("groups")? {
        0 => Err(OpError::new("`groups` must be at least 1").attribute("groups")),
        groups => Ok(groups),
    }
}

pub(super) fn indivisible(what: &str, channels: u64, groups: u64) -> OpError {
    OpError::new(format!(
        "{channels} {what} channels do not divide into {groups} groups"
    ))
    .attribute("groups")
}

impl Geometry {
    pub(super) fn of(call: &Call) -> Result<Geometry, OpError> {
        let (batch, in_channels, inputs, unbatched) = split_input(call)?;
        let (axes, groups, transposed) = (inputs.len(), groups(call)?, is_transposed(call));
        let weight = call.shape(1)?;
        let [first, second, ref kernel @ ..] = *weight.sizes() else {
            return Err(wrong_weight(call, weight, axes));
        };
        if kernel.len() != axes {
            return Err(wrong_weight(call, weight, axes));
        }
        if call.is_given("kernel_size") && call.sizes("kernel_size", axes)? != kernel {
            let given = Shape::from(&call.sizes("kernel_size", axes)?[..]);
            let message = format!("`kernel_size` is {given}, but the weight is {weight}");
            return Err(OpError::new(message).operands([1]).attribute("kernel_size"));
        }
        let takes = if transposed {
            first
        } else {
            second.saturating_mul(groups)
        };
        if in_channels != takes {
            let grouped = match (transposed, groups) {
                (true, _) | (_, 1) => String::new(),
                _ => format!(" = {second} · {groups} groups"),
            };
            let message = format!(
                "the input {} has {in_channels} channels, but the weight {weight} takes \
                 {takes}{grouped}",
                call.shape(0)?
            );
            return Err(OpError::new(message).operands([0, 1]));
        }
        for (what, channels) in [("input", in_channels), ("output", first)] {
            if channels % groups != 0 {
                return Err(indivisible(what, channels, groups));
            }
        }
        let windows = windows(call, kernel, &inputs)?;
        let mut outputs = Vec::with_capacity(axes);
        let extra = match transposed {
            true => call.sizes("output_padding", axes)?,
            false => vec![0; axes],
        };
        for ((window, &size), &extra) in windows.iter().zip(&inputs).zip(&extra) {
            outputs.push(match transposed {
                true => window.unplaced(size, extra)?,
                false => window.places(size, false)?,
            });
        }
        Ok(Geometry {
            batch,
            in_channels,
            out_channels: if transposed {
                second.saturating_mul(groups)
            } else {
                first
            },
            groups,
            inputs,
            outputs,
            windows,
            transposed,
            zero_padded: call.text("padding_mode").is_none_or(|mode| mode == "zeros"),
            unbatched,
        })
    }

    pub(super) fn is_padded(&self) -> bool {
        self.windows.iter().any(Window::is_padded)
    }

    /// The most products that sum to one element of the output.
    pub(super) fn most_terms(&self) -> u64 {
        let taps = self.windows.iter().map(|window| match self.transposed {
            false => window.kernel,
            // Of the taps, whose distance is the dilation, those fall on an input element that
            // lie a multiple of the stride apart.
            true => window
                .kernel
                .div_ceil(window.stride / gcd(window.stride, window.dilation)),
        });
        taps.fold(self.in_channels / self.groups, u64::saturating_mul)
    }

    /// The mean number of products that sum to one element of the output.
    pub(super) fn mean_terms(&self) -> f64 {
        let channels = (self.in_channels / self.groups) as f64;
        let sizes = self.inputs.iter().zip(&self.outputs);
        let taps = self
            .windows
            .iter()
            .zip(sizes)
            .map(|(window, (&input, &output))| {
                let kernel = window.kernel as f64;
                match (self.transposed, self.zero_padded) {
                    // Every input element goes to `kernel` places, spread over the output.
                    (true, _) => kernel * input as f64 / output.max(1) as f64,
                    (false, true) => kernel * window.inside(input, output),
                    (false, false) => kernel,
                }
            });
        channels * taps.product::<f64>()
    }
}

pub(super) fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

pub(super) fn wrong_weight(call: &Call, weight: &Shape, axes: usize) -> OpError {
    let name = call.op.name;
    let message = format!(
        "the weight of `{name}` must have {} axes, but it is {weight}",
        axes + 2
    );
    OpError::new(message).operands([1])
}

pub(super) fn windows(call: &Call, kernel: &[u64], inputs: &[u64]) -> Result<Vec<Window>, OpError> {
    let axes = kernel.len();
    let (stride, dilation) = (call.sizes("stride", axes)?, call.sizes("dilation", axes)?);
    let word = call.text("padding");
    let padding = match word.as_deref() {
        Some(_) => vec![0; axes],
        None => call.sizes("padding", axes)?,
    };
    let same = word.as_deref() == Some("same");
    if same && stride.iter().any(|&stride| stride != 1) {
        let message = "`padding = \"same\"` needs a stride of 1";
        return Err(OpError::new(message)
            .attribute("padding")
            .help("give the padding as numbers"));
    }
    let mode = call.text("padding_mode");
    let mut windows = Vec::with_capacity(axes);
    for axis in 0..axes {
        let mut window = Window {
            kernel: kernel[axis],
            stride: stride[axis],
            dilation: dilation[axis],
            padding: (padding[axis], padding[axis]),
        };
        if same {
            let total = window.span() - 1;
            window.padding = (total / 2, total - total / 2);
        }
        let (size, widest) = (inputs[axis], window.padding.0.max(window.padding.1));
        let (limit, rule) = match mode.as_deref() {
            Some("reflect") => (size.saturating_sub(1), "less than"),
            Some("circular") => (size, "at most"),
            _ => (u64::MAX, ""),
        };
        if widest > limit {
            let message = format!(
                "`padding_mode = \"{}\"` pads by {rule} the size {size} of the axis, not by \
                 {widest}",
                mode.as_deref().unwrap_or_default()
            );
            return Err(OpError::new(message).attribute("padding").operands([0]));
        }
        windows.push(window);
    }
    Ok(windows)
}
