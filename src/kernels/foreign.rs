//! What another program does: constants and overwritten parts are run, calls of which no more is
//! known than their types are not.

use super::Array;
use super::registry::{Kernel, kernel, one, refused};

const UNKNOWN: &str = "what it computes is not known";

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    refused("opaque", UNKNOWN),
    refused("elementwise", UNKNOWN),
    refused("summarised", UNKNOWN),
    refused("rearranged", UNKNOWN),
    refused("overwritten", "which part is overwritten is not known"),
    kernel("tensor", |tape, call, _| {
        // Any values within its bounds; whole ones for integers.
        let sizes = call.integers("size").unwrap_or_default();
        let sizes: Vec<usize> = sizes.into_iter().map(|size| size.max(0) as usize).collect();
        let low = call.float("low").unwrap_or(0.0);
        let high = call.float("high").unwrap_or(low.max(1.0));
        let whole = call.output().is_some_and(|ty| !ty.dtype.is_float());
        let array = Array::from_shape_simple_fn(sizes, || {
            let value = low + (high - low) * tape.uniform();
            if whole { value.round() } else { value }
        });
        one(tape.constant(array))
    }),
];

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("tensor(size=[4], dtype=int64, low=0, high=3)", &[]),
            ("tensor(size=[4, 2], low=-1, high=1)", &[]),
        ]);
    }
}
