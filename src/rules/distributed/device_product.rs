//! `distributed/device-product`: see its page.

use crate::diag::{Level, Safety};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/device-product",
    summary: "The parallel degrees do not tile the cluster.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/device-product.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (cluster, parallel) = (&context.run.cluster, &context.run.parallel);
    if cluster.span.is_none() || parallel.span.is_none() {
        return;
    }
    let (devices, product) = (cluster.devices(), parallel.product());
    if devices == product {
        return;
    }
    let degrees = [
        ("data", parallel.data.get()),
        ("fsdp", parallel.fsdp.get()),
        ("tensor", parallel.tensor.get()),
        ("pipeline", parallel.pipeline.get()),
        ("context", parallel.context.get()),
    ];
    let shown: Vec<String> = degrees
        .iter()
        .filter_map(|(name, degree)| degree.map(|degree| format!("{name} {degree}")))
        .collect();
    let message = format!(
        "the degrees multiply to {product} ({}), but the cluster has {} × {} = {devices} devices",
        shown.join(" × "),
        cluster.nodes.or(1),
        cluster.devices_per_node.or(1),
    );
    let rest = product / parallel.data.or(1).max(1);
    let finding = reporter.setting("parallel", parallel.data.span.or(parallel.span), message);
    if rest > 0 && devices.is_multiple_of(rest) {
        let data = devices / rest;
        let help = format!(
            "data = {data} makes {data} × {rest} = {devices}; the global batch changes with it"
        );
        finding.help(help).fix(
            format!("set data to {data}"),
            Safety::Unsafe,
            parallel.data.span,
            data.to_string(),
        );
    } else {
        finding.help(format!("choose degrees whose product is {devices}; expert ranks lie over the data ranks and do not count"));
    }
}
