//! Normalisation of rows and groups: `layer_norm`, `group_norm`, `rms_norm`,

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
