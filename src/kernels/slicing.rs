//! Views of parts of a tensor: `slice`, `select`, `split`, `diagonal`, sliding windows.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
