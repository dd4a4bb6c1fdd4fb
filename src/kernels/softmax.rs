//! Functions of all elements along an axis that give as many: softmax and its kin, and the gated

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
