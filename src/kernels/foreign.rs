//! Ops that stand for what another program does and the table has no entry for.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
