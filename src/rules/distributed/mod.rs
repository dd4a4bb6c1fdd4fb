//! Faults that come of running on several devices, most of them invisible on one.

mod batch_differs_from_baseline;
mod batch_norm_batch_changed;
mod batch_norm_over_few_samples;
mod batch_norm_with_one_sample;
mod batch_product;
mod bucket_larger_than_model;
mod device_product;
mod half_precision_reduction;
mod identical_worker_seeds;
mod indivisible_heads;
mod indivisible_layers;
mod learning_rate_not_scaled;
mod no_warmup;
mod pipeline_bubble;
mod stage_imbalance;
mod steps_not_rescaled;
mod sum_reduced_loss;
mod summed_gradients;
mod tensor_parallel_across_nodes;
mod too_few_steps;
mod uneven_last_batch;
mod unsharded_data;
mod warmup_not_rescaled;
mod zero_with_pipeline;

use super::Rule;

/// The rules of this group, sorted by name.
pub static RULES: &[&Rule] = &[
    &batch_differs_from_baseline::RULE,
    &batch_norm_batch_changed::RULE,
    &batch_norm_over_few_samples::RULE,
    &batch_norm_with_one_sample::RULE,
    &batch_product::RULE,
    &bucket_larger_than_model::RULE,
    &device_product::RULE,
    &half_precision_reduction::RULE,
    &identical_worker_seeds::RULE,
    &indivisible_heads::RULE,
    &indivisible_layers::RULE,
    &learning_rate_not_scaled::RULE,
    &no_warmup::RULE,
    &pipeline_bubble::RULE,
    &stage_imbalance::RULE,
    &steps_not_rescaled::RULE,
    &sum_reduced_loss::RULE,
    &summed_gradients::RULE,
    &tensor_parallel_across_nodes::RULE,
    &too_few_steps::RULE,
    &uneven_last_batch::RULE,
    &unsharded_data::RULE,
    &warmup_not_rescaled::RULE,
    &zero_with_pipeline::RULE,
];
