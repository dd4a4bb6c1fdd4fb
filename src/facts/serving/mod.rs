//! What a device holds while the model answers requests: weights in their format, cached keys and
//! values, and what lives at once while prompts are read and while tokens are generated.
//!
//! Weights and cache are exact for the formats as they are published. The peaks are estimates: what
//! lives at once in the model's forward pass, in proportion to the tokens of a pass, without the
//! product that gives logits, of which each sequence needs one row. Not counted: what a server keeps
//! for itself, memory of CUDA graphs, and sharing of prefixes.

mod cache;
#[cfg(test)]
mod tests;
mod weights;

pub use cache::{Kind, Layer};
pub use weights::{Weights, head, quantised_bytes};

use super::Facts;
use super::memory::{Split, forward_peak};
use crate::quantity::Bytes;
use crate::spec::run::{CacheDtype, Serve, WeightFormat};
use crate::tensor::Dtype;

/// Tokens of a block of the cache, as in vLLM.
const BLOCK: u64 = 16;

/// What a device holds while it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    /// Sequences at once.
    pub concurrency: u64,
    /// Tokens of each, prompt and answer.
    pub tokens: u64,
    /// How weights are stored, if not in their own type.
    pub format: Option<WeightFormat>,
    /// What they take.
    pub weights: Weights,
    /// What is cached.
    pub cache: Cache,
    /// What lives at once while prompts are read, an estimate.
    pub prefill: Bytes,
    /// Tokens of such a pass.
    pub prefill_tokens: u64,
    /// What lives at once while tokens are generated, an estimate.
    pub decode: Bytes,
    /// Devices over which matrices and heads are split.
    pub tensor: u64,
    /// Weights, cache, and the larger of the peaks.
    pub total: Bytes,
}

/// What is cached on one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// The layers that cache something.
    pub layers: Vec<Layer>,
    /// In what keys and values are cached.
    pub dtype: CacheDtype,
    /// What each further token adds, while no window is full.
    pub token: Bytes,
    /// What one sequence takes.
    pub sequence: Bytes,
    /// What all of them take.
    pub bytes: Bytes,
}

impl Serving {
    /// Works it out; `None` where the spec says nothing of serving. `O(nodes + operands)`.
    pub fn of(facts: &Facts<'_>) -> Option<Serving> {
        let serve = &facts.run().serve;
        serve.span?;
        let graph = facts.graph();
        let tensor = serve.tensor.or(1).max(1);
        let split = Split::of(graph, tensor);
        let format = serve.weights.get();
        let weights = weights::weights(graph, format, |number| split.parameter(number), tensor);
        let first = graph
            .inputs
            .first()
            .map(|&(_, id)| graph.ty(id).shape.sizes());
        let (batch, positions) = match first {
            Some([batch, positions, ..]) => ((*batch).max(1), (*positions).max(1)),
            Some([batch]) => ((*batch).max(1), 1),
            _ => (1, 1),
        };
        let concurrency = serve.concurrency.or(1);
        let prompt = serve.prompt.or(positions);
        let tokens = prompt.saturating_add(serve.max_tokens.or(0));
        let live = |node| facts.liveness().is_live(node);
        let layers = cache::layers(graph, live);
        let cache = Cache::of(facts, serve, layers, tokens, concurrency, tensor);
        let generates = !cache.layers.is_empty();

        let head = weights::head(graph).filter(|_| generates);
        let liveness = match head {
            Some(head) => facts.liveness().before(head),
            None => facts.liveness().clone(),
        };
        let peak = forward_peak(graph, &liveness, facts.dtypes(), facts.storages()).bytes;
        let of_graph = match generates {
            true => batch.saturating_mul(positions),
            false => batch,
        };
        let logits = head.map_or(0, |head| {
            let shape = &graph.ty(graph.node(head).first_output).shape;
            let classes = shape.sizes().last().copied().unwrap_or(0);
            Dtype::Float32.bytes_for(classes.saturating_mul(concurrency))
        });
        let at = |tokens: u64| {
            let scaled = u128::from(peak) * u128::from(tokens) / u128::from(of_graph);
            let scaled = u64::try_from(scaled).unwrap_or(u64::MAX);
            Bytes(scaled.saturating_add(logits))
        };
        let all = match generates {
            true => prompt.saturating_mul(concurrency),
            false => concurrency,
        };
        let prefill_tokens = all.min(serve.chunk.or(u64::MAX)).max(1);
        let (prefill, decode) = match generates {
            true => (at(prefill_tokens), at(concurrency)),
            false => (at(prefill_tokens), Bytes::ZERO),
        };
        Some(Serving {
            concurrency,
            tokens,
            format,
            total: Bytes(weights.bytes) + cache.bytes + prefill.max(decode),
            weights,
            cache,
            prefill,
            prefill_tokens,
            decode,
            tensor,
        })
    }

    /// How many sequences fit into that much memory, one peak aside; `None` where a sequence takes
    /// nothing.
    pub fn sequences_in(&self, usable: Bytes) -> Option<u64> {
        let rest = usable - Bytes(self.weights.bytes) - self.prefill.max(self.decode);
        (self.cache.sequence > Bytes::ZERO).then(|| rest.0 / self.cache.sequence.0)
    }
}

impl Cache {
    fn of(
        facts: &Facts<'_>,
        serve: &Serve,
        layers: Vec<Layer>,
        tokens: u64,
        concurrency: u64,
        tensor: u64,
    ) -> Cache {
        let own = CacheDtype::of(facts.model.dtype).unwrap_or(CacheDtype::Float16);
        let dtype = serve.kv_dtype.or(own);
        let block = serve.block_size.or(BLOCK).max(1);
        let window = serve.window.get().unwrap_or(u64::MAX);
        let full = serve.full_layers.or(0);
        let beams = serve.beams.or(1).max(1);
        let (mut token, mut sequence, mut growing) = (0u64, 0u64, 0u64);
        for layer in &layers {
            let bytes = layer_bytes(layer, dtype, tensor);
            let add = match layer.kind {
                Kind::Growing | Kind::Latent => {
                    growing += 1;
                    token = token.saturating_add(bytes);
                    let seen = match growing <= full {
                        true => tokens,
                        false => tokens.min(window),
                    };
                    let blocks = seen.div_ceil(block).saturating_mul(block);
                    bytes.saturating_mul(blocks).saturating_mul(beams)
                }
                // Beams share what they were all asked with.
                Kind::Fixed(tokens) => bytes.saturating_mul(tokens),
                Kind::State(_) => bytes.saturating_mul(beams),
            };
            sequence = sequence.saturating_add(add);
        }
        Cache {
            layers,
            dtype,
            token: Bytes(token),
            sequence: Bytes(sequence),
            bytes: Bytes(sequence.saturating_mul(concurrency)),
        }
    }
}

/// Bytes for each token that a layer caches, or of its state, on one of `tensor` devices. Heads are
/// not cut: where there are fewer of them than devices, devices hold the same ones.
fn layer_bytes(layer: &Layer, dtype: CacheDtype, tensor: u64) -> u64 {
    let heads = layer.heads.max(1);
    let (own, elements) = match layer.kind {
        Kind::State(dtype) => return dtype.bytes_for(layer.elements.div_ceil(tensor)),
        Kind::Latent => (1, layer.elements),
        Kind::Growing | Kind::Fixed(_) => {
            let own = heads.div_ceil(tensor);
            (own, (layer.elements / heads).saturating_mul(own))
        }
    };
    let bits = match dtype {
        CacheDtype::Float32 => elements.saturating_mul(32),
        CacheDtype::Float16 | CacheDtype::Bfloat16 => elements.saturating_mul(16),
        CacheDtype::Fp8 => elements.saturating_mul(8),
        // Keys and values have a scale each.
        CacheDtype::Int8 => elements.saturating_mul(8).saturating_add(2 * 16 * own),
        CacheDtype::Int4 => elements
            .saturating_mul(4)
            .saturating_add(elements.div_ceil(32).saturating_mul(32)),
    };
    bits.div_ceil(8)
}
