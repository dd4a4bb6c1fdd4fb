//! `distributed/tensor-parallel-across-nodes`: see its page.

use crate::diag::Level;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/tensor-parallel-across-nodes",
    summary: "Tensor parallelism leaves the fast link.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/tensor-parallel-across-nodes.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (cluster, parallel) = (&context.run.cluster, &context.run.parallel);
    let (Some(tensor), Some(per_node)) = (parallel.tensor.get(), cluster.devices_per_node.get())
    else {
        return;
    };
    if tensor <= per_node || per_node == 0 {
        return;
    }
    let domain = context
        .device
        .and_then(|device| device.link.as_ref())
        .map_or(per_node, |link| u64::from(link.domain).max(per_node));
    if tensor <= domain {
        return;
    }
    let message = format!(
        "{tensor} tensor-parallel ranks span {} nodes of {per_node} devices: each layer's all-reduces cross the network, several times a layer",
        tensor.div_ceil(per_node)
    );
    reporter
        .setting("parallel.tensor", parallel.tensor.span, message)
        .help(format!(
            "keep tensor at {domain} or below, and give the rest to pipeline, context or fsdp"
        ));
}
