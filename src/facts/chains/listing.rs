//! All orders of a model, as a table for people and programs.

use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::{Chain, Chains, Contraction};
use crate::lower::{Model, Place};
use crate::quantity::{Bytes, Flops};
use crate::source::Span;
use crate::spec::Spec;

/// Most factors that are written out; longer products are described.
const WRITTEN_OUT: usize = 12;

/// One product or einsum of a model: its order as written beside the best.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListedOrder {
    /// The symbolic place of its last product: `blocks.decoder.attn`.
    pub path: String,
    /// Where that is written.
    #[serde(skip)]
    pub span: Option<Span>,
    /// How often the model computes it: a block that repeats says it once.
    pub instances: usize,
    /// Number of factors.
    pub operands: usize,
    /// The order as written.
    pub written: ListedCost,
    /// The best order.
    pub best: ListedCost,
    /// Whether no order is better than `best`.
    pub proved: bool,
    /// How many times more the order as written takes; `None` where the best takes nothing.
    pub ratio: Option<f64>,
    /// In inference: what is left for each call once products of parameters alone have been taken
    /// before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_weights_multiplied: Option<Flops>,
}

/// An order, and what one computation of it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedCost {
    /// The expression.
    pub text: String,
    /// Multiplications and additions of the forward pass.
    pub flops: Flops,
    /// The largest intermediate result; for an einsum the output counts too.
    pub largest_intermediate: Bytes,
}

/// Lists every chain and long einsum of a model, in the order of the model, those of repeated
/// blocks once. `O(size of the chains and of their formulas)`.
pub fn listing(spec: &Spec, model: &Model, chains: &Chains) -> Vec<ListedOrder> {
    let mut rows: Vec<(u32, ListedOrder)> = Vec::new();
    let mut seen: FxHashMap<(Option<Span>, String, Flops, Flops), usize> = FxHashMap::default();
    let products = chains.products.iter().map(|chain| {
        let node = chain.root();
        (node.0, product(spec, model, chain))
    });
    let einsums = chains
        .einsums
        .iter()
        .map(|einsum| (einsum.node.0, contraction(spec, model, einsum)));
    for (node, row) in products.chain(einsums) {
        let costs = (row.written.flops, row.best.flops);
        match seen.entry((row.span, row.path.clone(), costs.0, costs.1)) {
            Entry::Occupied(first) => rows[*first.get()].1.instances += 1,
            Entry::Vacant(place) => {
                place.insert(rows.len());
                rows.push((node, row));
            }
        }
    }
    rows.sort_by_key(|(node, _)| *node);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn product(spec: &Spec, model: &Model, chain: &Chain) -> ListedOrder {
    let graph = &model.graph;
    let [written, best] = chain.texts(spec, graph);
    let cost = |order, text: Option<String>| ListedCost {
        text: text.unwrap_or_else(|| format!("a product of {} factors", chain.operands.len())),
        flops: super::ProductOrder::flops(order),
        largest_intermediate: chain.largest_intermediate(order),
    };
    let Place { path, span } = model.node_place(spec, chain.root());
    ListedOrder {
        path,
        span,
        instances: 1,
        operands: chain.operands.len(),
        written: cost(&chain.written, written),
        best: cost(&chain.best, best),
        proved: chain.proved,
        ratio: Some(chain.ratio()).filter(|ratio| ratio.is_finite()),
        with_weights_multiplied: chain
            .with_weights_multiplied
            .map(|least| Flops(least.saturating_mul(2))),
    }
}

fn contraction(spec: &Spec, model: &Model, einsum: &Contraction) -> ListedOrder {
    let names = einsum.names(spec, &model.graph);
    let cost = |path, text| ListedCost {
        text,
        flops: einsum.flops(path),
        largest_intermediate: einsum.largest(path),
    };
    let Place { path, span } = model.node_place(spec, einsum.node);
    let written = format!("einsum(\"{}\", {})", einsum.equation, names.join(", "));
    let best = match einsum.is_best() {
        true => written.clone(),
        false => einsum.nested("einsum", &names, "\""),
    };
    ListedOrder {
        path,
        span,
        instances: 1,
        operands: names.len(),
        written: cost(&einsum.written, written),
        best: cost(&einsum.best, best),
        proved: einsum.best.proved,
        ratio: Some(einsum.ratio()).filter(|ratio| ratio.is_finite()),
        with_weights_multiplied: None,
    }
}

impl Chain {
    /// The order as written and the best one, as expressions; `None` for products too long to
    /// read.
    pub fn texts(&self, spec: &Spec, graph: &crate::graph::Graph) -> [Option<String>; 2] {
        if self.operands.len() > WRITTEN_OUT {
            return [None, None];
        }
        let names = self.names(spec, graph);
        [&self.written, &self.best].map(|order| Some(order.tree.render(&names)))
    }
}
