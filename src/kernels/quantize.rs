//! Uniform affine quantisation: `fake_quantize`, `quantize`, `dequantize`.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
