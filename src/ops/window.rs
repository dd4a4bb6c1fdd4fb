//! Windows that slide over the axes of a tensor: what convolutions and pools have in common.

use super::{Call, OpError};

/// The number of spatial axes that an op works on, which its name says: 2 for `max_pool2d`.
pub fn spatial_axes(call: &Call) -> usize {
    let digit = |letter: char| letter.to_digit(10).filter(|digit| (1..=3).contains(digit));
    call.op
        .name
        .chars()
        .rev()
        .find_map(digit)
        .map_or(1, |digit| digit as usize)
}

/// A window along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How many elements it takes.
    pub kernel: u64,
    /// How far it moves.
    pub stride: u64,
    /// The distance of the elements that it takes.
    pub dilation: u64,
    /// How many elements stand before and behind the axis.
    pub padding: (u64, u64),
}

impl Window {
    /// From the first to the last element that it takes.
    pub fn span(&self) -> u64 {
        self.dilation
            .saturating_mul(self.kernel.saturating_sub(1))
            .saturating_add(1)
    }

    /// The size of the padded axis.
    pub fn padded(&self, size: u64) -> u64 {
        size.saturating_add(self.padding.0)
            .saturating_add(self.padding.1)
    }

    /// Whether anything is padded.
    pub fn is_padded(&self) -> bool {
        self.padding != (0, 0)
    }

    /// How many places the window has on an axis of that size: `⌊(padded − span)/stride⌋ + 1`. With
    /// `ceil`, a last window may hang over the end, if it starts inside the axis or the padding
    /// before it, as in PyTorch.
    ///
    /// # Errors
    /// Where not even one window fits; the message shows the arithmetic.
    pub fn places(&self, size: u64, ceil: bool) -> Result<u64, OpError> {
        for (name, value) in [
            ("kernel_size", self.kernel),
            ("stride", self.stride),
            ("dilation", self.dilation),
        ] {
            if value == 0 {
                return Err(OpError::new(format!("`{name}` must be at least 1")).attribute(name));
            }
        }
        let (span, padded) = (self.span(), self.padded(size));
        if span > padded {
            return Err(OpError::new(self.too_small(size))
                .operands([0])
                .attribute("kernel_size"));
        }
        let free = padded - span;
        let mut places = free / self.stride + 1;
        if ceil && free % self.stride != 0 {
            let start = places.saturating_mul(self.stride);
            if start < size.saturating_add(self.padding.0) {
                places += 1;
            }
        }
        Ok(places)
    }

    fn too_small(&self, size: u64) -> String {
        let kernel = match self.dilation {
            1 => format!("kernel {}", self.kernel),
            dilation => {
                format!(
                    "kernel {} spans {} with dilation {dilation}",
                    self.kernel,
                    self.span()
                )
            }
        };
        let verb = if self.dilation == 1 {
            " does not fit"
        } else {
            ""
        };
        match self.padding {
            (0, 0) => format!("{kernel}{verb}, but the input has {size}"),
            (before, after) => format!(
                "{kernel}{verb}, but the padded input has {} ({before} + {size} + {after})",
                self.padded(size)
            ),
        }
        .replace(" does not fit, but the", " does not fit: the")
    }

    /// The size of the axis on which this window has `places` places, which a transposed
    /// convolution makes: `(places − 1)·stride − padding + span + extra`.
    ///
    /// # Errors
    /// Where that is below 1.
    pub fn unplaced(&self, places: u64, extra: u64) -> Result<u64, OpError> {
        for (name, value) in [
            ("kernel_size", self.kernel),
            ("stride", self.stride),
            ("dilation", self.dilation),
        ] {
            if value == 0 {
                return Err(OpError::new(format!("`{name}` must be at least 1")).attribute(name));
            }
        }
        if extra >= self.stride.max(self.dilation) {
            let message = format!(
                "`output_padding` is {extra}, but must be below the stride {} or the dilation {}",
                self.stride, self.dilation
            );
            return Err(OpError::new(message).attribute("output_padding"));
        }
        let steps = i128::from(places.saturating_sub(1)) * i128::from(self.stride);
        let (before, after) = (i128::from(self.padding.0), i128::from(self.padding.1));
        let size = steps - before - after + i128::from(self.span()) + i128::from(extra);
        u64::try_from(size).ok().filter(|&size| size > 0).ok_or_else(|| {
            let message = format!(
                "the output would have {size} = {steps} − {} + {} + {extra} elements: ({places} − \
                 1)·stride − padding on both sides + span of the kernel + output_padding",
                before + after,
                self.span()
            );
            OpError::new(message).operands([0]).attribute("padding")
        })
    }

    /// The share of the elements under all windows that lies on the axis and not on its padding.
    /// `O(kernel)`; kernels past 4096 are taken to lie inside.
    pub fn inside(&self, size: u64, places: u64) -> f64 {
        if !self.is_padded() || self.kernel > 4096 || places == 0 {
            return 1.0;
        }
        let (size, places, stride) = (
            i128::from(size),
            i128::from(places),
            i128::from(self.stride),
        );
        let inside: i128 = (0..i128::from(self.kernel))
            .map(|tap| {
                // The places at which this tap lies in 0..size.
                let offset = tap * i128::from(self.dilation) - i128::from(self.padding.0);
                let first = (-offset).max(0).div_euclid(stride)
                    + i128::from((-offset).max(0).rem_euclid(stride) != 0);
                let last = (size - 1 - offset).div_euclid(stride).min(places - 1);
                (last - first + 1).max(0)
            })
            .sum();
        inside as f64 / (i128::from(self.kernel) * places) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Starts of the windows that lie in the padded axis, by trying every place.
    fn brute_force(window: &Window, size: u64) -> Vec<u64> {
        (0..=window.padded(size))
            .step_by(window.stride as usize)
            .filter(|start| start + window.span() <= window.padded(size))
            .collect()
    }

    fn windows() -> impl Strategy<Value = Window> {
        (1u64..6, 1u64..4, 1u64..4, 0u64..4, 0u64..4).prop_map(
            |(kernel, stride, dilation, before, after)| Window {
                kernel,
                stride,
                dilation,
                padding: (before, after),
            },
        )
    }

    proptest! {
        #[test]
        fn places_are_those_that_counting_finds(window in windows(), size in 1u64..20) {
            let starts = brute_force(&window, size);
            prop_assert_eq!(window.places(size, false).unwrap_or(0), starts.len() as u64);
            if let Ok(places) = window.places(size, false) {
                let taps = starts.iter().flat_map(|start| {
                    (0..window.kernel).map(move |tap| start + tap * window.dilation)
                });
                let on_axis = |at: &u64| {
                    (window.padding.0..window.padding.0 + size).contains(at)
                };
                let inside = taps.filter(on_axis).count() as f64;
                let all = (window.kernel * places) as f64;
                prop_assert!((window.inside(size, places) - inside / all).abs() < 1e-12);
            }
        }

        /// With `ceil`, windows may hang over the end, but none starts in the padding behind.
        #[test]
        fn with_ceil_the_last_window_hangs_over(window in windows(), size in 1u64..20) {
            let Ok(floor) = window.places(size, false) else { return Ok(()) };
            let ceil = window.places(size, true).unwrap();
            let covered = |places: u64| (places - 1) * window.stride + window.span();
            prop_assert!(ceil == floor || ceil == floor + 1);
            let next = floor * window.stride;
            let hangs = covered(floor) < window.padded(size) && next < size + window.padding.0;
            prop_assert_eq!(ceil == floor + 1, hangs);
        }

        /// A transposed convolution undoes the size of a convolution, with the rest of the
        /// division as output padding.
        #[test]
        fn unplaced_inverts_places(window in windows(), size in 1u64..20) {
            let Ok(places) = window.places(size, false) else { return Ok(()) };
            let rest = (window.padded(size) - window.span()) % window.stride;
            prop_assert_eq!(window.unplaced(places, rest), Ok(size));
        }
    }
}
