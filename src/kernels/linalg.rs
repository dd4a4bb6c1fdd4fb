//! Linear algebra: inverses, systems of equations, determinants.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
