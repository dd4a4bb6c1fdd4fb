//! Scaled dot-product attention as one op, and rotary position embedding.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
