//! Ops of torchvision: convolutions with offsets, pools over boxes, suppression of boxes.

use super::registry::{Kernel, refused};

const WHY: &str = "the kernels of torchvision are not computed here";

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    refused("deform_conv2d", WHY),
    refused("roi_align", WHY),
    refused("roi_pool", WHY),
    refused("nms", WHY),
];
