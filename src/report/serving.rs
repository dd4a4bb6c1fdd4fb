//! The report's part about serving: weights, cache and peaks on one device.

use serde::Serialize;

use super::memory::find_device;
use crate::facts::Facts;
use crate::facts::serving::{Kind, Serving};
use crate::quantity::{Bytes, Elements};

/// What one device holds while it serves.
#[derive(Debug, Clone, Serialize)]
pub struct ServingPart {
    /// Sequences at once.
    pub concurrency: u64,
    /// Tokens of each, prompt and answer.
    pub tokens: u64,
    /// Devices over which matrices and heads are split.
    pub tensor: u64,
    /// The weights.
    pub weights: WeightPart,
    /// The cache.
    pub cache: CachePart,
    /// What lives at once while prompts are read: an estimate.
    pub prefill: PassPart,
    /// What lives at once while tokens are generated: an estimate.
    pub decode: PassPart,
    /// Weights, cache and the larger of the peaks.
    pub total: Bytes,
    /// The device that is to hold it, if the spec names one that is known.
    pub device: Option<ServingDevice>,
}

/// The weights as they are served.
#[derive(Debug, Clone, Serialize)]
pub struct WeightPart {
    /// The format; `None` where they keep their type.
    pub format: Option<&'static str>,
    /// Bytes on one device.
    pub bytes: Bytes,
    /// Elements that are quantised.
    pub quantised: Elements,
    /// Elements that keep their type.
    pub kept: Elements,
}

/// The cache.
#[derive(Debug, Clone, Serialize)]
pub struct CachePart {
    /// The type of keys and values.
    pub dtype: &'static str,
    /// Layers that cache something.
    pub layers: usize,
    /// What they cache, and how many do: `latents`.
    pub kinds: Vec<CacheKind>,
    /// What each further token of a sequence adds.
    pub token: Bytes,
    /// What a sequence takes.
    pub sequence: Bytes,
    /// What all sequences take.
    pub bytes: Bytes,
}

/// Layers that cache the same.
#[derive(Debug, Clone, Serialize)]
pub struct CacheKind {
    /// What: `keys and values`.
    pub what: &'static str,
    /// How many layers.
    pub layers: usize,
}

/// A kind of forward pass.
#[derive(Debug, Clone, Serialize)]
pub struct PassPart {
    /// Tokens that go through at once.
    pub tokens: u64,
    /// What lives at once.
    pub bytes: Bytes,
}

/// How the device compares.
#[derive(Debug, Clone, Serialize)]
pub struct ServingDevice {
    /// The name in the catalogue.
    pub name: String,
    /// What a framework sees of its memory.
    pub usable: Bytes,
    /// Whether the total is within it.
    pub fits: bool,
    /// How many sequences of that length it holds at once; `None` where they take nothing.
    pub sequences: Option<u64>,
}

impl ServingPart {
    pub(super) fn of(facts: &Facts<'_>) -> Option<ServingPart> {
        let serving = facts.serving()?;
        Some(ServingPart {
            concurrency: serving.concurrency,
            tokens: serving.tokens,
            tensor: serving.tensor,
            weights: WeightPart {
                format: serving.format.map(|format| format.name()),
                bytes: Bytes(serving.weights.bytes),
                quantised: Elements(serving.weights.quantised),
                kept: Elements(serving.weights.kept),
            },
            cache: CachePart {
                dtype: serving.cache.dtype.name(),
                layers: serving.cache.layers.len(),
                kinds: kinds(serving),
                token: serving.cache.token,
                sequence: serving.cache.sequence,
                bytes: serving.cache.bytes,
            },
            prefill: PassPart {
                tokens: serving.prefill_tokens,
                bytes: serving.prefill,
            },
            decode: PassPart {
                tokens: match serving.decode {
                    Bytes::ZERO => 0,
                    _ => serving.concurrency,
                },
                bytes: serving.decode,
            },
            total: serving.total,
            device: find_device(facts).map(|device| {
                let usable = device.memory_usable();
                ServingDevice {
                    name: device.id.clone(),
                    usable,
                    fits: serving.total <= usable,
                    sequences: serving.sequences_in(usable),
                }
            }),
        })
    }
}

fn kinds(serving: &Serving) -> Vec<CacheKind> {
    type Test = fn(&Kind) -> bool;
    let of: [(&'static str, Test); 4] = [
        ("keys and values", |kind| matches!(kind, Kind::Growing)),
        ("latents", |kind| matches!(kind, Kind::Latent)),
        ("keys and values of another sequence", |kind| {
            matches!(kind, Kind::Fixed(_))
        }),
        ("states", |kind| matches!(kind, Kind::State(_))),
    ];
    of.into_iter()
        .map(|(what, test)| CacheKind {
            what,
            layers: serving
                .cache
                .layers
                .iter()
                .filter(|layer| test(&layer.kind))
                .count(),
        })
        .filter(|kind| kind.layers > 0)
        .collect()
}
