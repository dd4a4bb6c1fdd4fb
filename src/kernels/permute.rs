//! Views with the axes in another order: `transpose`, `permute`, `movedim`.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
