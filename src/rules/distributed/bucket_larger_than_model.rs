//! `distributed/bucket-larger-than-model`: see its page.

use crate::diag::Level;
use crate::facts::memory::REDUCE_BUCKET;
use crate::quantity::{Bytes, group};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/bucket-larger-than-model",
    summary: "A bucket for gradients is larger than all gradients together.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/bucket-larger-than-model.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (parallel, facts) = (&context.run.parallel, context.facts);
    if !context.graph.training || facts.batch().data_ranks < 2 {
        return;
    }
    let trained = facts.cost().trainable.get();
    if trained == 0 {
        return;
    }
    let size = parallel.reduce_bucket_size.or(REDUCE_BUCKET);
    if parallel.zero.or(0) > 0 && parallel.fsdp.or(1) == 1 && size > trained {
        let never = facts.policy().reduce.value.bytes_for(size - trained);
        let which = match parallel.reduce_bucket_size.is_given() {
            true => "the bucket",
            false => "DeepSpeed's bucket, which is not set here,",
        };
        let message = format!(
            "{which} takes {} gradients and the model has {}: {} of it are never filled, and \
             nothing is reduced before the backward pass is over",
            group(size.into()),
            group(trained.into()),
            Bytes(never)
        );
        reporter
            .setting(
                "parallel.reduce_bucket_size",
                parallel.reduce_bucket_size.span.or(parallel.zero.span),
                message,
            )
            .help(format!(
                "a tenth of the gradients is usual: `reduce_bucket_size = {}`",
                (trained / 10).max(1)
            ));
    }
    let gradients = facts.policy().accumulate.value.bytes_for(trained);
    if let Some(cap) = parallel.bucket_cap_mb.get()
        && facts.memory().degrees.has_buckets()
        && cap.saturating_mul(1 << 20) > gradients
    {
        let message = format!(
            "a bucket takes {} and all gradients take {}: nothing but the first MiB is reduced \
             before the backward pass is over",
            Bytes(cap.saturating_mul(1 << 20)),
            Bytes(gradients)
        );
        reporter
            .setting(
                "parallel.bucket_cap_mb",
                parallel.bucket_cap_mb.span,
                message,
            )
            .help("25 MiB, the default, lets reduction and backward pass overlap");
    }
}
