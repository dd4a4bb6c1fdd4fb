//! Reductions that choose an element or count elements: `amax`, `argmax`, `any`, `count_nonzero`.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
