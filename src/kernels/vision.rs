//! Ops of torchvision: convolutions with offsets, pools over boxes, suppression of boxes.

use super::KernelError;
use super::registry::{Kernel, kernel};

const WHY: &str = "the kernels of torchvision are not computed here";

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("deform_conv2d", |_, _, _| Err(KernelError::new(WHY))),
    kernel("roi_align", |_, _, _| Err(KernelError::new(WHY))),
    kernel("roi_pool", |_, _, _| Err(KernelError::new(WHY))),
    kernel("nms", |_, _, _| Err(KernelError::new(WHY))),
];
