//! Pools: the greatest, the mean or a norm of the elements under a sliding window, or in a given

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
