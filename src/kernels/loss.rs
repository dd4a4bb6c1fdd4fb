//! Losses over pairs of elements: regression, binary classification and divergences.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
