//! `data/unshuffled`: see its page.

use crate::diag::{Confidence, Level, Safety};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "data/unshuffled",
    summary: "Training data is read in the same order each epoch.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/data/unshuffled.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let shuffle = &context.run.data.shuffle;
    if shuffle.get() != Some(false) || !context.run.trains() {
        return;
    }
    // A sequence that is carried over from batch to batch must keep its order.
    let index = context.facts.index();
    if index.calls_of(&["rnn", "lstm", "gru"]).next().is_some() {
        return;
    }
    let norms = !index.calls("batch_norm").is_empty();
    let more = match norms {
        true => "; and batch norms see batches of one kind",
        false => "",
    };
    let message = format!(
        "samples come in the same order each epoch: sorted by class or by source, each batch's \
         gradient is of one kind{more}"
    );
    reporter
        .setting("data.shuffle", shuffle.span, message)
        .confidence(Confidence::Likely)
        .help("shuffle = true; only a stream, or data shuffled on disk, can do without")
        .fix("shuffle", Safety::Unsafe, shuffle.span, "true");
}
