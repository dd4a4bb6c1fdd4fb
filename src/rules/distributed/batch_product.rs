//! `distributed/batch-product`: see its page.

use crate::diag::{Level, Safety};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/batch-product",
    summary: "The declared global batch is not what the run makes.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/batch-product.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let train = &context.run.train;
    let batch = context.facts.batch();
    let (Some(declared), Some(made), Some(micro)) =
        (train.global_batch.get(), batch.global, batch.micro)
    else {
        return;
    };
    if declared == made {
        return;
    }
    let (accumulation, ranks) = (batch.accumulation, batch.data_ranks);
    let message = format!(
        "the global batch is declared as {declared}, but {micro} samples × {accumulation} accumulated × {ranks} data ranks make {made}"
    );
    let per_pass = micro.saturating_mul(ranks).max(1);
    let finding = reporter.setting("train.global_batch", train.global_batch.span, message);
    if declared > 0 && declared.is_multiple_of(per_pass) {
        let wanted = declared / per_pass;
        let help = format!("accumulate {wanted} passes: {micro} × {wanted} × {ranks} = {declared}");
        finding.help(help).fix(
            format!("set grad_accumulation to {wanted}"),
            Safety::Unsafe,
            train.grad_accumulation.span,
            wanted.to_string(),
        );
    } else {
        let help = format!(
            "{declared} is no multiple of {micro} × {ranks} = {per_pass}; declare {made}, or choose a micro-batch that divides it"
        );
        finding.help(help).fix(
            format!("declare {made}"),
            Safety::Unsafe,
            train.global_batch.span,
            made.to_string(),
        );
    }
}
