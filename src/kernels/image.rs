//! Rearranging images: channels to pixels and back, patches to columns and back.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
