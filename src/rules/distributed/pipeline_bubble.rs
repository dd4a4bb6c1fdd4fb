//! `distributed/pipeline-bubble`: see its page.

use crate::diag::Level;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::run::PipelineSchedule;

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
    use PipelineSchedule as P;
    let passes = context.facts.batch().accumulation;
    let degrees = context.facts.memory().degrees;
    // Of one chunk after the other the first is through sooner.
    let chunks = match degrees.schedule {
        P::GPipe | P::OneForwardOneBackward => 1,
        P::Interleaved => degrees.virtual_stages,
        P::ZbH1 | P::ZbH2 | P::ZbV | P::DualPipe | P::DualPipeV => return,
    };
    let work = passes.saturating_mul(chunks);
    let idle = (stages - 1) as f64 / work as f64;
    if idle <= 0.25 {
        return;
    }
    let share = (stages - 1) as f64 / (work as f64 + (stages - 1) as f64);
    let shown = match chunks {
        1 => passes.to_string(),
        chunks => format!("{chunks} · {passes}"),
    };
    let message = format!(
        "{stages} stages and {passes} micro-batches: each device waits for ({stages} − 1) / ({shown} + {stages} − 1) = {:.0} % of the step",
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
