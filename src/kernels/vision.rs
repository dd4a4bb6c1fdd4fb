//! Ops of torchvision: convolutions with offsets, pools over boxes, suppression of boxes.

use super::registry::Kernel;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[];
