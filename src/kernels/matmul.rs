//! Products of matrices and vectors: `matmul` and what it comes down to.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
