//! Look-ups in a table of vectors: `embedding` and `embedding_bag`.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
