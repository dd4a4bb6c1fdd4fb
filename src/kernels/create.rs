//! Tensors from nothing: constants, ranges, grids, random numbers; and those shaped like another.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
