//! Dropout: random zeros in training, nothing in evaluation.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
