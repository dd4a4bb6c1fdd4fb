//! Losses with a margin: of rankings, distances and cosines.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
