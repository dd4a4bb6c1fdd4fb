//! Views of a whole tensor in another shape: `reshape`, `squeeze`, `expand` and their kin.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
