//! Comparisons, logic and bits, element by element. None of them has a gradient.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
