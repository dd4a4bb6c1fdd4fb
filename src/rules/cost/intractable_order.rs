//! `cost/intractable-order`: see its page.

use crate::diag::Level;
use crate::facts::order::einsum::EXACT_OPERANDS;
use crate::quantity::Flops;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "cost/intractable-order",
    summary: "The best order of the product is not known for certain.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/cost/intractable-order.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let chains = context.facts.chains();
    let mut report = |node, what: String, costs: [Flops; 2]| {
        let [written, best] = costs;
        let place = context.model.node_place(context.spec, node);
        let found = match written.0 <= best.0 {
            true => format!("none was found that is better than the {written} as written"),
            false => format!("the best one found takes {best}, as written it takes {written}"),
        };
        reporter
            .at(place, format!("{what}: {found}"))
            .help("fewer operands at a time, grouped by hand where sizes shrink, can be told");
    };
    for chain in chains.products.iter().filter(|chain| !chain.proved) {
        let what = format!(
            "the best order of {} factors with different batches takes n³ steps to prove",
            chain.operands.len()
        );
        let costs = [chain.written.flops(), chain.best.flops()];
        report(chain.root(), what, costs);
    }
    for einsum in chains.einsums.iter().filter(|einsum| !einsum.best.proved) {
        let operands = einsum.operands.len();
        let what = match operands > EXACT_OPERANDS {
            true => {
                let orders = (3..=operands).map(|n| 2.0 * n as f64 - 3.0);
                let orders = orders.product::<f64>();
                format!("{operands} operands have {orders:.0e} orders, too many to weigh")
            }
            false => format!("the best order of {operands} operands takes 3ⁿ steps to prove"),
        };
        let costs = [einsum.flops(&einsum.written), einsum.flops(&einsum.best)];
        report(einsum.node, what, costs);
    }
}
