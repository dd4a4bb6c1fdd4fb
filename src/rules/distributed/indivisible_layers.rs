//! `distributed/indivisible-layers`: see its page.

use crate::diag::Level;
use crate::graph::LayerId;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/indivisible-layers",
    summary: "Repeated layers cannot be dealt evenly to the pipeline stages.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/indivisible-layers.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let parallel = &context.run.parallel;
    let Some(stages) = parallel.pipeline.get().filter(|&stages| stages > 1) else {
        return;
    };
    let longest = context
        .graph
        .layers
        .iter()
        .enumerate()
        .filter(|(_, layer)| layer.parent.is_none())
        .filter_map(|(id, layer)| layer.index.map(|index| (u64::from(index) + 1, id)))
        .max();
    let Some((repeats, id)) = longest else { return };
    if repeats.is_multiple_of(stages) {
        return;
    }
    let most = repeats.div_ceil(stages);
    let message = format!(
        "{repeats} layers over {stages} stages: some stages hold {most}, others {}, and the step takes as long as the fullest",
        repeats / stages
    );
    let place = context.model.layer_place(context.spec, LayerId(id as u32));
    reporter
        .at(place, message)
        .also(parallel.pipeline.span, "the stages")
        .help("choose a number of stages that divides the layers; embedding and head may count as one each");
}
