//! What is kept of the tokens that a sequence has seen, found in the graph: keys and values of each
//! attention before their heads are repeated, the latent of multi-head latent attention, and the
//! state of recurrent layers.
//!
//! A self-attention caches what grows with its sequence. What attends to another sequence, an
//! encoder's, caches that once. A self-attention without mask, and everything on which another
//! sequence rests, is an encoder and caches nothing.

use crate::graph::{Graph, NodeId, TensorId, TensorKind};
use crate::tensor::Dtype;

/// Steps that a walk back from a key goes at most.
const MOST_STEPS: u32 = 64;

/// What one layer caches of a sequence, in numbers, not bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// The call of the attention or of the recurrent layer.
    pub node: NodeId,
    /// What it caches.
    pub kind: Kind,
    /// Numbers for each token, or for a state in all.
    pub elements: u64,
    /// Heads of keys, over which ranks divide them; 1 for what is not divided.
    pub heads: u64,
}

/// What a layer caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Keys and values of the tokens so far.
    Growing,
    /// A latent from which keys and values are made anew, and what is shared by all heads.
    Latent,
    /// Keys and values of another sequence of that many tokens.
    Fixed(u64),
    /// A state of one size.
    State(Dtype),
}

/// The layers that cache something, in order. `O(nodes + attention calls)`.
pub fn layers(graph: &Graph, live: impl Fn(NodeId) -> bool) -> Vec<Layer> {
    let batch = graph
        .inputs
        .first()
        .and_then(|&(_, id)| graph.ty(id).shape.size(0))
        .unwrap_or(1)
        .max(1);
    let mut found = Vec::new();
    let mut foreign: Vec<TensorId> = Vec::new();
    for (id, node) in graph.nodes() {
        if !live(id) || !graph.is_known(node) {
            continue;
        }
        if let Some(state) = recurrent(graph, id, batch) {
            found.push(state);
        }
        let Some(call) = Attention::of(graph, id) else {
            continue;
        };
        let Some((layer, stream)) = attention(graph, &call, batch) else {
            continue;
        };
        match layer.kind {
            Kind::Fixed(_) => foreign.extend(stream),
            _ if !call.masked => continue,
            _ => {}
        }
        found.push(layer);
    }
    let encoder = ancestors(graph, &foreign);
    found.retain(|layer| {
        let grows = matches!(layer.kind, Kind::Growing | Kind::Latent);
        !(grows && encoder.get(layer.node.0 as usize).copied().unwrap_or(false))
    });
    found
}

/// An attention as its three factors.
struct Attention {
    node: NodeId,
    query: TensorId,
    /// [.., heads, tokens, width]
    key: TensorId,
    value: TensorId,
    /// Tokens of the keys.
    tokens: u64,
    /// Heads of the keys as they are attended to.
    heads: u64,
    masked: bool,
}

impl Attention {
    /// One op, or a product, a softmax and a product.
    fn of(graph: &Graph, id: NodeId) -> Option<Attention> {
        let node = graph.node(id);
        let at = |position: usize| {
            node.arguments
                .get(position)
                .copied()
                .filter(|id| id.is_present())
        };
        let sizes = |id: TensorId| graph.ty(id).shape.sizes();
        match node.op.name {
            "scaled_dot_product_attention" => {
                let (query, key, value) = (at(0)?, at(1)?, at(2)?);
                let causal = graph.with_call(node, |call| call.boolean("is_causal"));
                let [.., tokens, _] = sizes(key)[..] else {
                    return None;
                };
                Some(Attention {
                    node: id,
                    query,
                    key,
                    value,
                    tokens,
                    heads: heads(sizes(key)),
                    masked: causal || at(3).is_some(),
                })
            }
            "matmul" | "bmm" => {
                let (weights, value) = (at(0)?, at(1)?);
                let mut masked = false;
                let softmax = walk(graph, weights, |name| {
                    matches!(name, "dropout" | "to" | "reshape" | "expand")
                });
                let softmax = graph.node(graph.producer(softmax)?);
                if softmax.op.name != "softmax" {
                    return None;
                }
                let mut scores = softmax.arguments[0];
                for _ in 0..MOST_STEPS {
                    let node = graph.node(graph.producer(scores)?);
                    match node.op.name {
                        "matmul" | "bmm" | "baddbmm" => break,
                        "masked_fill" => masked = true,
                        "where" => {
                            masked = true;
                            let same = |&&id: &&TensorId| graph.producer(id).is_some();
                            scores = *node.arguments.iter().skip(1).find(same)?;
                            continue;
                        }
                        // A mask or a bias is added; a number is not.
                        "add" => {
                            let other = *node.arguments.get(1)?;
                            masked |= graph.constant(other).is_none();
                        }
                        "mul" | "div" | "to" | "reshape" => {}
                        _ => return None,
                    }
                    scores = node.arguments[0];
                }
                let product = graph.node(graph.producer(scores)?);
                let skip = usize::from(product.op.name == "baddbmm");
                let query = *product.arguments.get(skip)?;
                let key = *product.arguments.get(skip + 1)?;
                // Keys stand the other way round.
                let [.., _, tokens] = sizes(key)[..] else {
                    return None;
                };
                Some(Attention {
                    node: id,
                    query,
                    key,
                    value,
                    tokens,
                    heads: heads(sizes(key)),
                    masked,
                })
            }
            _ => None,
        }
    }
}

fn heads(sizes: &[u64]) -> u64 {
    match sizes {
        [_, .., heads, _, _] => *heads,
        _ => 1,
    }
}

/// What an attention caches, and the stream that its keys come from if that is not the query's.
fn attention(graph: &Graph, call: &Attention, batch: u64) -> Option<(Layer, Option<TensorId>)> {
    let tokens = batch.saturating_mul(call.tokens).max(1);
    let mut keys = Vec::new();
    parts(graph, call.key, &mut keys, MOST_STEPS);
    let mut values = Vec::new();
    parts(graph, call.value, &mut values, MOST_STEPS);
    let sum = |parts: &[Part]| parts.iter().map(|part| part.elements).sum::<u64>();
    let whole = graph.ty(call.key).shape.elements().max(1);
    let shared = (sum(&keys) * call.heads).div_ceil(whole).max(1);
    let layer = |kind: Kind, elements: u64, heads: u64| Layer {
        node: call.node,
        kind,
        elements: elements / tokens,
        heads,
    };
    let made_by = |id: TensorId| maker(graph, id);
    let (query, value) = (made_by(call.query), made_by(call.value));
    let stream_of = |maker: Option<NodeId>| {
        let node = graph.node(maker?);
        Some(stream(graph, *node.arguments.first()?))
    };
    let key_maker = keys.first().and_then(|part| part.maker);
    if let (Some(queried), Some(keyed)) = (stream_of(query), stream_of(key_maker))
        && queried != keyed
    {
        let fixed = Kind::Fixed(call.tokens);
        return Some((layer(fixed, sum(&keys) + sum(&values), shared), Some(keyed)));
    }
    // Keys and values of one product of something narrow, from which the query does not come.
    if let Some(maker) = value.filter(|_| key_maker == value && query != value) {
        let latent = graph.node(maker).arguments.first().copied()?;
        let narrow = graph.ty(latent).shape.elements();
        let behind = walk(graph, latent, |name| name.contains("norm") || is_part(name));
        let projected = graph.producer(through_norm(graph, behind));
        let is_latent = projected.is_some_and(|node| graph.node(node).op.name == "linear")
            && narrow < sum(&keys) + sum(&values);
        if is_latent {
            let beside: u64 = keys
                .iter()
                .filter(|part| part.maker != Some(maker))
                .map(|part| part.elements)
                .sum();
            return Some((layer(Kind::Latent, narrow + beside, 1), None));
        }
    }
    Some((
        layer(Kind::Growing, sum(&keys) + sum(&values), shared),
        None,
    ))
}

/// A piece of a key or value, without its repetitions.
struct Part {
    elements: u64,
    maker: Option<NodeId>,
}

/// The pieces that a key or value is put together from.
fn parts(graph: &Graph, id: TensorId, found: &mut Vec<Part>, steps: u32) {
    let elements = graph.ty(id).shape.elements();
    let plain = |id: TensorId| Part {
        elements: graph.ty(id).shape.elements(),
        maker: maker(graph, id),
    };
    let Some(node) = graph
        .producer(id)
        .map(|node| graph.node(node))
        .filter(|_| steps > 0)
    else {
        found.push(plain(id));
        return;
    };
    match node.op.name {
        "cat" => {
            for &argument in node.arguments.iter().filter(|id| id.is_present()) {
                parts(graph, argument, found, steps - 1);
            }
        }
        name if is_part(name) => found.push(plain(id)),
        name => match passed(graph, id, name) {
            Some(before) => {
                let larger = graph.ty(before).shape.elements() > elements;
                match larger {
                    true => found.push(plain(id)),
                    false => parts(graph, before, found, steps - 1),
                }
            }
            None => found.push(plain(id)),
        },
    }
}

/// Whether an op takes a part of its operand.
fn is_part(name: &str) -> bool {
    matches!(
        name,
        "slice" | "split" | "chunk" | "select" | "narrow" | "unbind" | "index_select"
    )
}

/// The operand whose values an op hands on, changed one by one at most: repeated, turned, rotated,
/// scaled, normalised.
fn passed(graph: &Graph, id: TensorId, name: &str) -> Option<TensorId> {
    let node = graph.node(graph.producer(id)?);
    let first = || node.arguments.first().copied().filter(|id| id.is_present());
    match name {
        "expand" | "expand_as" | "repeat" | "repeat_interleave" | "reshape" | "flatten"
        | "unflatten" | "squeeze" | "unsqueeze" | "transpose" | "t" | "permute" | "movedim"
        | "contiguous" | "clone" | "to" | "dropout" | "rotary_embedding" | "layer_norm"
        | "rms_norm" | "detach" | "neg" => first(),
        "mul" | "add" | "sub" | "div" => {
            let elements = graph.ty(id).shape.elements();
            let same = |&id: &TensorId| {
                id.is_present()
                    && graph.ty(id).shape.elements() == elements
                    && matches!(graph.tensor(id).kind, TensorKind::Output(_))
            };
            node.arguments.iter().copied().find(same)
        }
        _ => None,
    }
}

/// The call of a product that makes a tensor, past what only moves or changes its values.
fn maker(graph: &Graph, mut id: TensorId) -> Option<NodeId> {
    for _ in 0..MOST_STEPS {
        let made = graph.producer(id)?;
        let node = graph.node(made);
        let name = node.op.name;
        if matches!(
            name,
            "linear" | "addmm" | "matmul" | "mm" | "einsum" | "conv1d" | "conv2d"
        ) {
            return Some(made);
        }
        id = match name {
            "cat" => *node.arguments.first()?,
            name if is_part(name) => *node.arguments.first()?,
            name => passed(graph, id, name)?,
        };
    }
    None
}

/// The tensor behind calls of some ops, by their first operand.
fn walk(graph: &Graph, mut id: TensorId, through: impl Fn(&str) -> bool) -> TensorId {
    for _ in 0..MOST_STEPS {
        let Some(node) = graph.producer(id).map(|node| graph.node(node)) else {
            break;
        };
        if !through(node.op.name) {
            break;
        }
        id = node.arguments[0];
    }
    id
}

/// The tensor behind a norm that is written out: products and quotients by what is smaller.
fn through_norm(graph: &Graph, mut id: TensorId) -> TensorId {
    for _ in 0..MOST_STEPS {
        let Some(node) = graph.producer(id).map(|node| graph.node(node)) else {
            break;
        };
        let name = node.op.name;
        let passes =
            matches!(name, "mul" | "div" | "to" | "layer_norm" | "rms_norm") || is_part(name);
        let next = match passes {
            true if is_part(name) => node.arguments.first().copied(),
            true => passed(graph, id, name),
            false => None,
        };
        match next {
            Some(next) => id = next,
            None => break,
        }
    }
    id
}

/// Where what a product takes comes from: past products, norms and movements, up to a sum of two
/// branches, a lookup or an input.
fn stream(graph: &Graph, mut id: TensorId) -> TensorId {
    for _ in 0..MOST_STEPS {
        let Some(made) = graph.producer(id) else {
            break;
        };
        let node = graph.node(made);
        let name = node.op.name;
        let next = match name {
            "linear" | "addmm" => node.arguments.get(usize::from(name == "addmm")).copied(),
            "add" | "sub" => {
                let elements = graph.ty(id).shape.elements();
                let branches = node.arguments.iter().filter(|id| {
                    id.is_present()
                        && graph.ty(**id).shape.elements() == elements
                        && matches!(graph.tensor(**id).kind, TensorKind::Output(_))
                });
                match branches.count() {
                    1 => passed(graph, id, name),
                    _ => None,
                }
            }
            name if is_part(name) => node.arguments.first().copied(),
            name => passed(graph, id, name),
        };
        match next {
            Some(next) => id = next,
            None => break,
        }
    }
    id
}

/// The calls on which some tensors depend.
fn ancestors(graph: &Graph, tensors: &[TensorId]) -> Vec<bool> {
    let mut needed = vec![false; graph.dag.node_count()];
    if tensors.is_empty() {
        return needed;
    }
    for node in tensors.iter().filter_map(|&id| graph.producer(id)) {
        needed[node.0 as usize] = true;
    }
    // Nodes are numbered in topological order.
    for index in (0..needed.len()).rev() {
        if needed[index] {
            let node = graph.node(NodeId(index as u32));
            for before in node.arguments.iter().filter_map(|&id| graph.producer(id)) {
                needed[before.0 as usize] = true;
            }
        }
    }
    needed
}

/// The state of a recurrent layer for one sequence: its last outputs but the first one.
fn recurrent(graph: &Graph, id: NodeId, batch: u64) -> Option<Layer> {
    let node = graph.node(id);
    if !matches!(node.op.name, "rnn" | "gru" | "lstm") {
        return None;
    }
    let states = node.outputs().skip(1);
    let elements: u64 = states.map(|id| graph.ty(id).shape.elements()).sum();
    let dtype = graph.ty(node.first_output).dtype;
    (elements > 0).then_some(Layer {
        node: id,
        kind: Kind::State(dtype),
        elements: elements / batch,
        heads: 1,
    })
}
