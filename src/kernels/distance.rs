//! Directions and distances of vectors: `normalize`, `cosine_similarity`, `cdist`.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
