//! Resampling over positions: `interpolate`, `grid_sample`, `affine_grid`.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
