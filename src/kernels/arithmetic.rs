//! Arithmetic between tensors, element by element: sums, products, quotients, powers, extremes.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
