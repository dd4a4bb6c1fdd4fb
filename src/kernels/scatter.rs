//! Writing by index: `scatter`, `index_add`, `index_copy`.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
