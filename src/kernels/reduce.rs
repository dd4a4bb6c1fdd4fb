//! Reductions along axes: sums, means, variances, products, norms.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
