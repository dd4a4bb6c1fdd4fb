//! Ops along one axis that keep or shorten it: running sums, sorting, the k greatest.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
