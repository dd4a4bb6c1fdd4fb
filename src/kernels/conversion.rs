//! Choosing, bounding and converting elements: `where`, `masked_fill`, `clamp`, `to`, `detach`.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
