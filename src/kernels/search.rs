//! Where elements go among others: `searchsorted`, `bucketize`, `bincount`.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
