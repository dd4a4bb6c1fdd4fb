//! `order/einsum-path`: see its page.

use super::shared_saving::{level, sites, times};
use crate::diag::{Level, Safety};
use crate::facts::chains::Rewrite;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// Most operands of an einsum that is written out.
const WRITTEN_OUT: usize = 6;

/// The rule.
pub static RULE: Rule = Rule {
    name: "order/einsum-path",
    summary: "Contracting the operands of an einsum in another order takes fewer FLOPs.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Safe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/order/einsum-path.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let einsums = &context.facts.chains().einsums;
    if einsums.iter().all(|einsum| einsum.is_best()) {
        return;
    }
    let place = |node| context.model.node_place(context.spec, node);
    let sites = sites(
        einsums
            .iter()
            .map(|einsum| (place(einsum.node).span, &einsum.best.steps)),
    );
    for einsum in einsums.iter().filter(|einsum| !einsum.is_best()) {
        let place = place(einsum.node);
        let site = place.span.and_then(|span| sites.get(&span));
        let instances = site.map_or(1, |site| site.instances);
        let (written, best) = (einsum.flops(&einsum.written), einsum.flops(&einsum.best));
        let Some(level) = level(context, written, best, instances) else {
            continue;
        };
        let message = format!(
            "`{}` takes {written} from left to right; its best order takes {best}, {} times less",
            einsum.equation,
            times(einsum.ratio())
        );
        let label = format!(
            "largest result {}; {} in the better order",
            einsum.largest(&einsum.written),
            einsum.largest(&einsum.best)
        );
        let names = einsum.names(context.spec, context.graph);
        let mut help = match names.len() <= WRITTEN_OUT {
            true => format!("write {}", einsum.nested("einsum", &names, "'")),
            false => format!("contract along the path {:?}", einsum.best.steps),
        };
        help.push_str("; PyTorch finds such orders itself only where opt_einsum is installed");
        if !einsum.best.proved {
            help.push_str("; that is the best order found, not proved to be the best");
        }
        let builder = reporter
            .at(place, message)
            .level(level)
            .label(label)
            .help(help);
        let agreed = site.is_some_and(|site| site.best.is_some());
        let rewrite = match agreed {
            true => einsum.rewrite(context.spec, context.graph),
            false => None,
        };
        if let Some(Rewrite { span, text }) = rewrite {
            drop(builder.fix("nest the einsums", Safety::Safe, Some(span), text));
        }
    }
}
