//! `distributed/pipeline-bubble`: see its page.

use crate::diag::Level;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/pipeline-bubble",
    summary: "Pipeline stages wait for each other for much of the step.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/pipeline-bubble.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let parallel = &context.run.parallel;
    let Some(stages) = parallel.pipeline.get().filter(|&stages| stages > 1) else {
        return;
    };
    let passes = context.facts.batch().accumulation;
    let idle = (stages - 1) as f64 / passes as f64;
    if idle <= 0.25 {
        return;
    }
    let share = (stages - 1) as f64 / (passes + stages - 1) as f64;
    let message = format!(
        "{stages} stages and {passes} micro-batches: each device waits for ({stages} − 1) / ({passes} + {stages} − 1) = {:.0} % of the step",
        100.0 * share
    );
    reporter
        .setting("parallel.pipeline", parallel.pipeline.span, message)
        .also(
            context.run.train.grad_accumulation.span,
            "the micro-batches",
        )
        .help(format!(
            "use {} micro-batches or more (grad_accumulation), or fewer stages",
            4 * (stages - 1)
        ));
}
