//! Values that leave the range of their element type or the domain of a function, and forms that
//! do so although a better one does not.

mod embedding_index_out_of_range;
mod exp_overflow;
mod inverse_trigonometric_domain;
mod log_of_softmax;
mod log_of_sum_of_exp;
mod logits_through_relu;
mod mask_beyond_dtype;
mod naive_softplus;
mod one_pass_variance;
mod outside_domain;
mod power_of_negative_base;
pub mod shared_forms;
mod sigmoid_then_binary_cross_entropy;
mod softmax_twice;
mod square_overflow;
mod sum_overflow;
mod unscaled_attention;
mod unshifted_softmax;

use super::Rule;

/// The rules of the group, sorted by name.
pub static RULES: &[&Rule] = &[
    &embedding_index_out_of_range::RULE,
    &exp_overflow::RULE,
    &inverse_trigonometric_domain::RULE,
    &log_of_softmax::RULE,
    &log_of_sum_of_exp::RULE,
    &logits_through_relu::RULE,
    &mask_beyond_dtype::RULE,
    &naive_softplus::RULE,
    &one_pass_variance::RULE,
    &outside_domain::RULE,
    &power_of_negative_base::RULE,
    &sigmoid_then_binary_cross_entropy::RULE,
    &softmax_twice::RULE,
    &square_overflow::RULE,
    &sum_overflow::RULE,
    &unscaled_attention::RULE,
    &unshifted_softmax::RULE,
];
