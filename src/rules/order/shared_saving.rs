//! When a better order is worth a word, and how loud; what the rules of the group say in common.

use rustc_hash::FxHashMap;

use crate::diag::{Level, Safety};
use crate::facts::chains::{Chain, Rewrite};
use crate::graph::NodeId;
use crate::quantity::Flops;
use crate::rules::{Context, Reporter};
use crate::source::Span;

/// Least FLOPs to save at one place: some microseconds of a single CPU core, below which no order
/// can be told from another.
const LEAST_FLOPS: u128 = 10_000;
/// Least ratio of costs, in percent.
const LEAST_PERCENT: u128 = 110;

/// Most other products of a chain that are shown beside the one reported.
const SHOWN: usize = 3;

/// The level of what saves that much at each of `instances` places; `None` where it is not worth
/// a word.
///
/// A warning halves the cost at least and saves a hundredth of the model's forward FLOPs.
pub(super) fn level(
    context: &Context<'_>,
    written: Flops,
    best: Flops,
    instances: usize,
) -> Option<Level> {
    let saved = written.0.checked_sub(best.0)?;
    // An order that takes nothing is one of an empty tensor.
    let small = saved.saturating_mul(instances as u128) < LEAST_FLOPS || best.0 == 0;
    if small || written.0.saturating_mul(100) < best.0.saturating_mul(LEAST_PERCENT) {
        return None;
    }
    let model = context.facts.cost().forward.0;
    let share = saved.saturating_mul(100).saturating_mul(instances as u128);
    match written.0 / 2 >= best.0 && share >= model {
        true => Some(Level::Warning),
        false => Some(Level::Info),
    }
}

/// How many times less, as people say it: `16.7`, `2`.
pub(super) fn times(ratio: f64) -> String {
    let text = match ratio {
        ratio if ratio >= 100.0 => format!("{ratio:.0}"),
        ratio if ratio >= 10.0 => format!("{ratio:.1}"),
        ratio => format!("{ratio:.2}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// What stands at one place of the spec, which a block that repeats computes several times.
pub(super) struct Site<T> {
    /// How often.
    pub instances: usize,
    /// The best order; `None` where the instances have different ones, and no edit suits all.
    pub best: Option<T>,
}

/// Collects the orders at each place.
pub(super) fn sites<T: PartialEq>(
    places: impl IntoIterator<Item = (Option<Span>, T)>,
) -> FxHashMap<Span, Site<T>> {
    let mut sites: FxHashMap<Span, Site<T>> = FxHashMap::default();
    for (span, best) in places {
        let Some(span) = span else { continue };
        match sites.entry(span) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(Site {
                    instances: 1,
                    best: Some(best),
                });
            }
            std::collections::hash_map::Entry::Occupied(mut entry) => {
                let site = entry.get_mut();
                site.instances += 1;
                if site.best.as_ref() != Some(&best) {
                    site.best = None;
                }
            }
        }
    }
    sites
}

/// A chain whose order is worth a word.
pub(super) struct Saving<'a> {
    /// The chain.
    pub chain: &'a Chain,
    /// How loud.
    pub level: Level,
    /// What would be written, where that is certain.
    pub rewrite: Option<Rewrite>,
}

/// The chains that cost less in another order and that are `wanted`, the first of each place.
pub(super) fn savings<'a>(
    context: &Context<'a>,
    wanted: impl Fn(&Chain) -> bool,
) -> Vec<Saving<'a>> {
    let chains = &context.facts.chains().products;
    if chains.iter().all(|chain| chain.written == chain.best) {
        return Vec::new();
    }
    let place = |chain: &Chain| context.model.node_place(context.spec, chain.root()).span;
    let sites = sites(chains.iter().map(|chain| (place(chain), &chain.best.tree)));
    let mut savings = Vec::new();
    for chain in chains {
        if chain.written == chain.best || !wanted(chain) {
            continue;
        }
        let site = place(chain).and_then(|span| sites.get(&span));
        let (written, best) = (chain.written.flops(), chain.best.flops());
        let instances = site.map_or(1, |site| site.instances);
        let Some(level) = level(context, written, best, instances) else {
            continue;
        };
        let agreed = site.is_some_and(|site| site.best.is_some());
        let rewrite = match agreed {
            true => chain.rewrite(context.spec, context.graph),
            false => None,
        };
        savings.push(Saving {
            chain,
            level,
            rewrite,
        });
    }
    savings
}

/// Reports a saving at the product `node`, with the other products and the edit.
pub(super) fn report(
    context: &Context<'_>,
    reporter: &mut Reporter<'_>,
    saving: Saving<'_>,
    node: NodeId,
    message: String,
    help: String,
) {
    let Saving {
        chain,
        level,
        rewrite,
    } = saving;
    let place = context.model.node_place(context.spec, node);
    let here = place.span;
    let (largest, then) = (
        chain.largest_intermediate(&chain.written),
        chain.largest_intermediate(&chain.best),
    );
    let label = format!("largest intermediate {largest}; {then} in the better order");
    let mut builder = reporter.at(place, message).level(level).label(label);
    // Products in other layers or formulas are shown too, unless they are many.
    let mut shown: Vec<Span> = here.into_iter().collect();
    for &node in chain.nodes.iter().rev() {
        let span = context.model.node_place(context.spec, node).span;
        let inside = |outer: &Span, inner: &Span| {
            outer.file == inner.file && outer.start <= inner.start && inner.end <= outer.end
        };
        if let Some(span) = span
            && !shown.iter().any(|seen| inside(seen, &span))
        {
            shown.push(span);
            builder = builder.also(Some(span), "part of the same product");
        }
        if shown.len() > SHOWN {
            break;
        }
    }
    builder = builder.help(help);
    if let Some(Rewrite { span, text }) = rewrite {
        let title = match text.len() <= 60 {
            true => format!("write {text}"),
            false => "put the parentheses of the best order".to_owned(),
        };
        drop(builder.fix(title, Safety::Safe, Some(span), text));
    }
}

/// What is to be said of a chain besides its order.
pub(super) fn remarks(chain: &Chain) -> String {
    let mut text = String::new();
    if let Some(least) = chain.with_weights_multiplied {
        let flops = Flops(least.saturating_mul(2));
        text.push_str(&format!(
            "; with the products of parameters taken once, before, {flops} are left for each call"
        ));
    }
    if chain.biases > 0 {
        text.push_str("; biases go along: (xA + b)B + c = x(AB) + (bB + c)");
    }
    if chain.scaled {
        text.push_str("; scale the result or the smallest factor");
    }
    if !chain.proved {
        text.push_str("; that is the best order found, not proved to be the best");
    }
    text
}
