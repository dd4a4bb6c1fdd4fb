//! Element types that are too narrow for what they hold, or that the device does not have.

mod binary_cross_entropy_under_autocast;
mod emulated_dtype;
mod float16_without_loss_scaling;
mod float8_format;
mod half_gradient_accumulation;
mod half_master_weights;
mod half_moving_average;
mod half_optimizer_state;
mod half_precision_angle;
mod half_precision_loss;
mod integer_beyond_exact;
mod loss_scaling_with_bfloat16;
mod low_precision_positions;
mod per_tensor_quantization;
mod shared_device;
mod shared_integers;
mod shared_policy;
mod subnormal_result;
mod uncalibrated_quantization;
mod unsupported_dtype;
mod weight_decay_underflow;

use super::Rule;

/// The rules of this group, sorted by name.
pub static RULES: &[&Rule] = &[
    &binary_cross_entropy_under_autocast::RULE,
    &emulated_dtype::RULE,
    &float16_without_loss_scaling::RULE,
    &float8_format::RULE,
    &half_gradient_accumulation::RULE,
    &half_master_weights::RULE,
    &half_moving_average::RULE,
    &half_optimizer_state::RULE,
    &half_precision_angle::RULE,
    &half_precision_loss::RULE,
    &integer_beyond_exact::RULE,
    &loss_scaling_with_bfloat16::RULE,
    &low_precision_positions::RULE,
    &per_tensor_quantization::RULE,
    &subnormal_result::RULE,
    &uncalibrated_quantization::RULE,
    &unsupported_dtype::RULE,
    &weight_decay_underflow::RULE,
];
