//! Copies that repeat, pad and reorder a tensor: `repeat`, `pad`, `roll`, `tril`.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
