//! Reading by index: `gather`, `index_select`, `index`, masks.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
