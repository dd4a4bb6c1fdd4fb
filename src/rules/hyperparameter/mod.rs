//! Settings of training that cannot work, or not as they seem to.

mod adam_betas;
mod bias_before_norm;
mod dropout_before_batch_norm;
mod dropout_out_of_range;
mod epsilon_of_optimizer;
mod foreign_setting;
mod learning_rate_out_of_range;
mod minimum_above_peak;
mod momentum_out_of_range;
mod schedule_does_not_fit_run;
mod warmup_beyond_total;
mod weight_decay_with_plain_adam;
mod zero_clipping;
mod zero_learning_rate;

use super::Rule;

/// The rules of this group, sorted by name.
pub static RULES: &[&Rule] = &[
    &adam_betas::RULE,
    &bias_before_norm::RULE,
    &dropout_before_batch_norm::RULE,
    &dropout_out_of_range::RULE,
    &epsilon_of_optimizer::RULE,
    &foreign_setting::RULE,
    &learning_rate_out_of_range::RULE,
    &minimum_above_peak::RULE,
    &momentum_out_of_range::RULE,
    &schedule_does_not_fit_run::RULE,
    &warmup_beyond_total::RULE,
    &weight_decay_with_plain_adam::RULE,
    &zero_clipping::RULE,
    &zero_learning_rate::RULE,
];
