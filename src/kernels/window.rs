//! Windows that slide over the last axes of a tensor: what convolutions, pools and `unfold` share.

use super::tape::places::places_of;
use super::{Array, KernelError};
use crate::ops::Call;

/// How a window slides along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slide {
    /// Elements of the window.
    pub kernel: usize,
    /// From one window to the next.
    pub stride: usize,
    /// Zeros before the first element and behind the last.
    pub padding: (usize, usize),
    /// From one element of the window to the next.
    pub dilation: usize,
}

impl Slide {
    /// How many windows there are over `size` elements; with `ceil`, one more may reach beyond the
    /// end, as long as it begins within the elements or the padding before them.
    pub fn windows(&self, size: usize, ceil: bool) -> usize {
        let padded = size + self.padding.0 + self.padding.1;
        let reach = self.dilation * (self.kernel.max(1) - 1) + 1;
        let Some(room) = padded.checked_sub(reach) else {
            return 0;
        };
        let stride = self.stride.max(1);
        let mut count = room / stride + 1;
        if ceil && !room.is_multiple_of(stride) && count * stride < size + self.padding.0 {
            count += 1;
        }
        count
    }

    /// The element at an offset of a window; `None` outside.
    pub fn element(&self, window: usize, offset: usize, size: usize) -> Option<usize> {
        let at = window * self.stride + offset * self.dilation;
        at.checked_sub(self.padding.0).filter(|&at| at < size)
    }
}

/// The slides of a call, one for each of `axes` axes, with the kernel sizes of `kernel` or of the
/// attribute.
///
/// # Errors
/// Where an attribute has no such sizes.
pub fn slides(
    call: &Call,
    axes: usize,
    kernel: Option<&[usize]>,
) -> Result<Vec<Slide>, KernelError> {
    let sizes = |name: &'static str, default: usize| -> Result<Vec<usize>, KernelError> {
        match call.attribute(name) {
            Some(_) => {
                let sizes = call.sizes(name, axes)?;
                Ok(sizes.into_iter().map(|size| size as usize).collect())
            }
            None => Ok(vec![default; axes]),
        }
    };
    let kernel = match kernel {
        Some(kernel) => kernel.to_vec(),
        None => sizes("kernel_size", 1)?,
    };
    // A pool steps by its own size.
    let stride = match call.attribute("stride") {
        Some(_) => sizes("stride", 1)?,
        None => kernel.clone(),
    };
    let dilation = sizes("dilation", 1)?;
    let word = call.text("padding");
    let padding = match word {
        None => sizes("padding", 0)?
            .into_iter()
            .map(|size| (size, size))
            .collect(),
        Some(word) => (0..axes)
            .map(|axis| {
                let total = match word.as_str() {
                    "same" => dilation[axis] * (kernel[axis] - 1),
                    _ => 0,
                };
                (total / 2, total - total / 2)
            })
            .collect::<Vec<_>>(),
    };
    Ok((0..axes)
        .map(|axis| Slide {
            kernel: kernel[axis],
            stride: stride[axis],
            padding: padding[axis],
            dilation: dilation[axis],
        })
        .collect())
}

/// The places of the elements of all windows over the last axes: leading axes, then the window's
/// own, then one axis of windows for each; -1 outside.
pub fn window_places(sizes: &[usize], slides: &[Slide], windows: &[usize]) -> Array {
    let axes = slides.len();
    let leading = &sizes[..sizes.len() - axes];
    let spatial = &sizes[sizes.len() - axes..];
    let inner: Vec<usize> = slides
        .iter()
        .map(|slide| slide.kernel)
        .chain(windows.iter().copied())
        .collect();
    let all = places_of(spatial);
    // One plane serves all leading indices, each of which begins a plane further on.
    let plane: Vec<f64> = Array::from_shape_fn(inner.clone(), |at| {
        let mut index = [0; 3];
        for (axis, slide) in slides.iter().enumerate() {
            match slide.element(at[axes + axis], at[axis], spatial[axis]) {
                Some(element) => index[axis] = element,
                None => return -1.0,
            }
        }
        all[&index[..axes]]
    })
    .into_iter()
    .collect();
    let size: usize = spatial.iter().product();
    let count: usize = leading.iter().product();
    let mut places = Vec::with_capacity(count * plane.len());
    for number in 0..count {
        let start = (number * size) as f64;
        let further = |&place: &f64| if place < 0.0 { place } else { place + start };
        places.extend(plane.iter().map(further));
    }
    let made: Vec<usize> = leading.iter().chain(&inner).copied().collect();
    Array::from_shape_vec(made.clone(), places).unwrap_or_else(|_| Array::from_elem(made, f64::NAN))
}
