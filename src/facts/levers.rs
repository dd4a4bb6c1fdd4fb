//! What would bring the memory of a training run down, by how much, and what it costs: each change
//! alone, found by working the memory out again for the changed spec.
//!
//! Left out: changes of the model itself, and several changes together.

use rustc_hash::FxHashSet;
use smol_str::SmolStr;

use super::Facts;
use super::fit::{first_dim, needed};
use super::memory::{KeptKind, REDUCE_BUCKET};
use super::throughput::recomputed;
use super::traffic::Traffic;
use crate::diag::Sink;
use crate::graph::{Graph, LayerId, LayerKind};
use crate::lower::{Model, lower};
use crate::quantity::Bytes;
use crate::spec::run::{Offload, OptimizerKind, PrecisionPreset};
use crate::spec::{Attention, Spec};
use crate::tensor::Dtype;

/// Changes that bring less than this share are not told.
const LEAST: f64 = 0.01;
/// Blocks that are tried one by one.
const MOST_BLOCKS: usize = 16;
/// Ranks among which matrices are split at most: the devices of a node, most often.
const MOST_TENSOR: u64 = 8;
/// Parts into which a loss is cut.
const CHUNKS: u64 = 8;

/// A change that brings the memory down.
#[derive(Debug, Clone, PartialEq)]
pub struct Lever {
    /// The change, as it is written: `` `[parallel] zero = 1` ``.
    pub change: String,
    /// What a device holds less.
    pub saves: Bytes,
    /// The least that it holds less.
    pub least: Bytes,
    /// The most.
    pub most: Bytes,
    /// What it holds then.
    pub after: Bytes,
    /// Arithmetic that a step has more, as a share of what it has now.
    pub arithmetic: f64,
    /// What a device sends more over a step, to other devices and to the host.
    pub sends: Traffic,
    /// What else it costs.
    pub costs: &'static str,
}

/// A changed spec.
struct Candidate {
    change: String,
    spec: Spec,
    dims: Vec<(SmolStr, i64)>,
    /// Blocks to be recomputed.
    block: Option<SmolStr>,
    costs: &'static str,
}

impl Candidate {
    fn new(spec: &Spec, change: &str, costs: &'static str, edit: &dyn Fn(&mut Spec)) -> Candidate {
        let mut spec = spec.clone();
        edit(&mut spec);
        Candidate {
            change: change.to_owned(),
            spec,
            dims: Vec::new(),
            block: None,
            costs,
        }
    }
}

/// The changes that are worth it, the one that saves most first. Works the memory out anew for each:
/// `O(changes · size of the unfolded model)`.
pub fn levers(facts: &Facts<'_>) -> Vec<Lever> {
    if !facts.graph().training || facts.graph().dag.node_count() == 0 {
        return Vec::new();
    }
    let (base, before) = (needed(facts), Traffic::of(facts));
    let work = arithmetic(facts);
    let mut found: Vec<Lever> = candidates(facts)
        .into_iter()
        .filter_map(|candidate| {
            let model = remade(facts, &candidate)?;
            let changed = Facts::new(&candidate.spec, &model);
            let after = needed(&changed);
            let shrunk = size(facts.graph()) as f64 / size(&model.graph).max(1) as f64;
            let more = arithmetic(&changed) * shrunk / work.max(1.0) - 1.0;
            let (saves, then) = (base - after, Traffic::of(&changed));
            // Buffers of communication that are there before as after are kept in the same way.
            let (doubt, other) = (facts.doubt(), changed.doubt());
            let doubt = doubt.max(other) - doubt.min(other);
            Some(Lever {
                saves,
                least: saves - doubt,
                most: (saves + doubt).min(base),
                after,
                sends: Traffic {
                    devices: then.devices - before.devices,
                    host: then.host - before.host,
                },
                // Half the micro-batch twice is the same arithmetic.
                arithmetic: if more.abs() < 0.005 { 0.0 } else { more },
                change: candidate.change,
                costs: candidate.costs,
            })
        })
        .chain(chunked_loss(facts, base))
        .filter(|lever| lever.saves.as_f64() >= LEAST * base.as_f64())
        .collect();
    found.sort_by(|a, b| b.saves.cmp(&a.saves).then(a.change.cmp(&b.change)));
    found
}

/// Elements of the inputs, to which the arithmetic of a step is taken in proportion.
fn size(graph: &Graph) -> u64 {
    let inputs = graph.inputs.iter();
    inputs
        .map(|&(_, id)| graph.ty(id).shape.elements())
        .fold(0, u64::saturating_add)
}

/// FLOPs of a step, with what is recomputed.
fn arithmetic(facts: &Facts<'_>) -> f64 {
    let cost = facts.cost();
    (cost.forward + cost.backward + recomputed(facts)).as_f64()
}

/// The model of a changed spec; of an imported one the same, with the block recomputed.
fn remade(facts: &Facts<'_>, candidate: &Candidate) -> Option<Model> {
    if !facts.spec.layers.is_empty() {
        let mut sink = Sink::new();
        let model = lower(&candidate.spec, &candidate.dims, &mut sink);
        return (!sink.has_errors()).then_some(model);
    }
    if !candidate.dims.is_empty() {
        return None;
    }
    let mut model = facts.model.clone();
    if let Some(block) = &candidate.block {
        for layer in &mut model.graph.layers {
            if matches!(&layer.kind, LayerKind::Block(name) if name == block) {
                layer.checkpointed = true;
            }
        }
    }
    Some(model)
}

fn candidates(facts: &Facts<'_>) -> Vec<Candidate> {
    let (spec, run, policy) = (facts.spec, facts.run(), facts.policy());
    let degrees = facts.memory().degrees;
    let imported = spec.layers.is_empty();
    let mut found = Vec::new();
    let mut add = |change: &str, costs: &'static str, edit: &dyn Fn(&mut Spec)| {
        found.push(Candidate::new(spec, change, costs, edit));
    };
    if degrees.data > 1 && degrees.fsdp == 1 {
        let bucket = small_bucket(facts);
        for (stage, costs) in [
            (1, ""),
            (2, "gradients are reduced in each micro-batch"),
            (3, "half as much communication again"),
        ] {
            if stage > degrees.zero && (stage != 3 || degrees.pipeline == 1) {
                let mut change = format!("`[parallel] zero = {stage}`");
                if let Some(bucket) = bucket {
                    change += &format!(" with `reduce_bucket_size = {bucket}`");
                }
                add(&change, costs, &|spec| {
                    spec.run.parallel.zero.value = Some(stage);
                    if bucket.is_some() {
                        spec.run.parallel.reduce_bucket_size.value = bucket;
                    }
                });
            }
        }
    }
    if degrees.has_buckets() && degrees.data == facts.batch().data_ranks {
        let change = format!("`[parallel] fsdp = {}` instead of `data`", degrees.data);
        add(&change, "", &|spec| {
            spec.run.parallel.fsdp.value = Some(degrees.data);
            spec.run.parallel.data.value = Some(1);
        });
    }
    if degrees.fsdp > 1 && !run.parallel.reshard_after_forward.or(true) {
        let change = "`[parallel] reshard_after_forward = true`";
        add(change, "", &|spec| {
            spec.run.parallel.reshard_after_forward.value = Some(true);
        });
    }
    if degrees.data > 1 && degrees.data.is_multiple_of(2) && degrees.tensor < MOST_TENSOR {
        let (tensor, data) = (2 * degrees.tensor, degrees.data / 2);
        let change = format!("`[parallel] tensor = {tensor}` and `data = {data}`");
        add(&change, "half as many samples in a step", &|spec| {
            spec.run.parallel.tensor.value = Some(tensor);
            spec.run.parallel.data.value = Some(data);
        });
    }
    if degrees.has_buckets() && !run.parallel.gradient_as_bucket_view.or(false) {
        let change = "`[parallel] gradient_as_bucket_view = true`";
        add(change, "", &|spec| {
            spec.run.parallel.gradient_as_bucket_view.value = Some(true);
        });
    }
    if degrees.tensor > 1 && !degrees.sequence {
        add("`[parallel] sequence = true`", "", &|spec| {
            spec.run.parallel.sequence.value = Some(true);
        });
    }
    let optimizer = run.train.optimizer.name.get();
    if matches!(optimizer, Some(OptimizerKind::Adam | OptimizerKind::AdamW)) {
        let change = "`optimizer = \"adam8bit\"`";
        add(change, "states are rounded", &|spec| {
            spec.run.train.optimizer.name.value = Some(OptimizerKind::Adam8bit);
        });
        if !run.train.optimizer.fused.or(false) {
            add("`optimizer.fused = true`", "", &|spec| {
                spec.run.train.optimizer.fused.value = Some(true);
            });
        }
    }
    for (what, name, costs) in [
        (
            Offload::Optimizer,
            "optimizer",
            "the host makes the step; gradients and weights cross the bus",
        ),
        (
            Offload::Activations,
            "activations",
            "what is kept crosses the bus twice",
        ),
    ] {
        if !run.train.offloads(what) {
            add(
                &format!("`[train] offload = [\"{name}\"]`"),
                costs,
                &|spec| {
                    let offload = &mut spec.run.train.offload.value;
                    offload.get_or_insert_default().push(what);
                },
            );
        }
    }
    if run.parallel.gathers() && !run.train.offloads(Offload::Parameters) {
        let change = "`[train] offload = [\"optimizer\", \"gradients\", \"parameters\"]`";
        let costs = "the host makes the step; all of the state crosses the bus";
        add(change, costs, &|spec| {
            let all = [Offload::Optimizer, Offload::Gradients, Offload::Parameters];
            spec.run
                .train
                .offload
                .value
                .get_or_insert_default()
                .extend(all);
        });
    }
    let plain = policy.params.value == Dtype::Float32 && policy.autocast.is_none();
    if plain
        && run
            .train
            .precision
            .span
            .is_none_or(|_| policy.preset.is_some())
    {
        add("`precision = \"amp-bf16\"`", "", &|spec| {
            spec.run.train.precision.preset.value = Some(PrecisionPreset::AmpBfloat16);
        });
    }
    let settled = run.train.precision.params.is_given();
    if !imported && policy.params.value == Dtype::Float32 && !settled {
        let change = "`precision = { preset = \"bf16\", optimizer = \"float32\" }`";
        add(
            change,
            "small updates are lost without master weights",
            &|spec| {
                let precision = &mut spec.run.train.precision;
                precision.preset.value = Some(PrecisionPreset::Bfloat16);
                precision.optimizer.value = Some(Dtype::Float32);
            },
        );
    }
    if !imported && !facts.graph().fused_attention {
        add("`[model] attention = \"fused\"`", "", &|spec| {
            spec.model.attention.value = Some(Attention::Fused);
        });
    }
    for block in blocks(facts.graph()) {
        let change = format!("`[train] checkpoint = [\"{block}\"]`");
        let mut candidate = Candidate::new(spec, &change, "", &|spec| {
            let names = &mut spec.run.train.checkpoint;
            let mut list = names.get().unwrap_or_default();
            list.push(block.clone());
            names.value = Some(list);
        });
        candidate.block = Some(block);
        found.push(candidate);
    }
    if let Some((dim, size)) = first_dim(facts)
        && size >= 2
    {
        let change = format!("`{dim} = {}` and twice the accumulation", size / 2);
        let mut candidate = Candidate::new(spec, &change, "", &|_| {});
        candidate.dims = vec![(dim, size / 2)];
        found.push(candidate);
    }
    found
}

/// Elements of a bucket that suits a model whose gradients do not fill the one that DeepSpeed makes by
/// default: an eighth of them, and no less than the largest.
fn small_bucket(facts: &Facts<'_>) -> Option<u64> {
    if facts.run().parallel.reduce_bucket_size.is_given() {
        return None;
    }
    let graph = facts.graph();
    let trained = graph
        .parameters
        .iter()
        .filter(|parameter| parameter.trainable);
    let sizes = trained.map(|parameter| graph.ty(parameter.tensor).shape.elements());
    let (all, largest) = sizes.fold((0u64, 0u64), |(all, largest), elements| {
        (all.saturating_add(elements), largest.max(elements))
    });
    (all < 4 * REDUCE_BUCKET)
        .then(|| largest.max(all / 8))
        .filter(|&bucket| bucket < REDUCE_BUCKET)
}

/// The kinds of blocks that are there more than once and are not recomputed yet, in order.
fn blocks(graph: &Graph) -> Vec<SmolStr> {
    let mut names: Vec<(SmolStr, usize)> = Vec::new();
    let mut recomputed: FxHashSet<LayerId> = FxHashSet::default();
    for (number, layer) in graph.layers.iter().enumerate() {
        let inside = layer
            .parent
            .is_some_and(|parent| recomputed.contains(&parent));
        if layer.checkpointed || inside {
            recomputed.insert(LayerId(number as u32));
            continue;
        }
        let LayerKind::Block(name) = &layer.kind else {
            continue;
        };
        match names.iter_mut().find(|(known, _)| known == name) {
            Some((_, count)) => *count += 1,
            None => names.push((name.clone(), 1)),
        }
    }
    let repeated = names.into_iter().filter(|(_, count)| *count > 1);
    repeated.map(|(name, _)| name).take(MOST_BLOCKS).collect()
}

/// A loss that is worked out for some of the tokens at a time, with the product before it.
fn chunked_loss(facts: &Facts<'_>, base: Bytes) -> Option<Lever> {
    let graph = facts.graph();
    let loss = *facts.index().calls("cross_entropy").last()?;
    let head = super::serving::head(graph).filter(|head| *head < loss)?;
    let kept: u64 = facts
        .saved()
        .kept
        .iter()
        .filter(|kept| kept.node > head && kept.kind == KeptKind::Activation)
        .map(|kept| kept.bytes)
        .fold(0, u64::saturating_add);
    let saves = Bytes(kept - kept / CHUNKS);
    let again = facts.cost().node(head).forward as f64;
    Some(Lever {
        change: format!("the loss in {CHUNKS} parts, each worked out again backwards"),
        saves,
        // Nothing, where the most lives elsewhere.
        least: match facts.peak().moment.and_then(|moment| moment.node) {
            Some(node) if node >= head => saves,
            _ => Bytes::ZERO,
        },
        most: saves,
        sends: Traffic::default(),
        after: base - saves,
        arithmetic: again / arithmetic(facts).max(1.0),
        costs: "",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::lowered;

    const GPT: &str = r#"
spec = 1
[dims]
batch = 8
seq = 256
[inputs]
tokens = { shape = ["batch", "seq"], dtype = "int64" }
targets = { shape = ["batch", "seq"], dtype = "int64" }
[blocks.decoder]
inputs = ["x"]
layers = [
  { name = "norm", op = "layer_norm" },
  { name = ["q", "k", "v"], op = "linear", out_features = 384, split = 3 },
  { name = "attn", op = "attention", in = ["q", "k", "v"], heads = 8, is_causal = true },
  { name = "h", formula = "x + attn" },
  { name = "up", op = "linear", out_features = 512 },
  { name = "act", op = "gelu" },
  { name = "down", op = "linear", out_features = 128 },
  { formula = "h + down" },
]
[[layers]]
name = "wte"
op = "embedding"
num_embeddings = 5000
embedding_dim = 128
in = "tokens"
[[layers]]
name = "h"
op = "decoder"
repeat = 8
[[layers]]
name = "logits"
op = "linear"
weight = "wte.weight"
bias = false
[[layers]]
name = "loss"
op = "cross_entropy"
in = ["logits", "targets"]
[cluster]
devices_per_node = 8
[train]
micro_batch = "batch"
optimizer = "adamw"
[parallel]
data = 8
"#;

    fn of(text: &str) -> Vec<Lever> {
        let (spec, model) = lowered(text);
        levers(&Facts::new(&spec, &model))
    }

    /// Guards that each lever saves what the spec saves when the change is written into it.
    #[test]
    fn levers_save_what_the_written_change_saves() {
        let found = of(GPT);
        let before = {
            let (spec, model) = lowered(GPT);
            needed(&Facts::new(&spec, &model))
        };
        let written = |from: &str, to: &str| {
            let (spec, model) = lowered(&GPT.replace(from, to));
            needed(&Facts::new(&spec, &model))
        };
        for (change, from, to) in [
            (
                "zero = 1",
                "data = 8",
                "data = 8\nzero = 1\nreduce_bucket_size = 640000",
            ),
            (
                "zero = 3",
                "data = 8",
                "data = 8\nzero = 3\nreduce_bucket_size = 640000",
            ),
            ("fsdp = 8", "data = 8", "data = 1\nfsdp = 8"),
            ("tensor = 2", "data = 8", "data = 4\ntensor = 2"),
            ("checkpoint", "[cluster]", "[train.x]"),
            ("adam8bit", "\"adamw\"", "\"adam8bit\""),
            (
                "amp-bf16",
                "\"adamw\"",
                "\"adamw\"\nprecision = \"amp-bf16\"",
            ),
            ("batch = 4", "batch = 8", "batch = 4"),
        ] {
            let lever = found.iter().find(|lever| lever.change.contains(change));
            let Some(lever) = lever else {
                panic!("no lever {change}: {found:#?}");
            };
            let after = match change {
                "checkpoint" => written("\"adamw\"", "\"adamw\"\ncheckpoint = [\"decoder\"]"),
                _ => written(from, to),
            };
            assert_eq!(lever.after, after, "{change}");
            assert_eq!(lever.saves, before - after, "{change}");
        }
        assert!(found.windows(2).all(|pair| pair[0].saves >= pair[1].saves));
    }

    /// Guards what the plan offers where state is most of it: views of the buckets save the gradients,
    /// what is sharded can be offloaded, and each says what crosses to others and to the host.
    #[test]
    fn plans_offer_what_they_can() {
        let wide = GPT.replace("batch = 8\nseq = 256", "batch = 1\nseq = 8");
        let found = of(&wide);
        let lever = |found: &[Lever], word: &str| {
            let lever = found.iter().find(|lever| lever.change.contains(word));
            lever
                .cloned()
                .unwrap_or_else(|| panic!("no {word}: {found:#?}"))
        };
        let views = lever(&found, "bucket_view");
        assert_eq!((views.least, views.most), (views.saves, views.saves));
        assert_eq!(views.sends, Traffic::default());
        let sharded = lever(&found, "fsdp = 8");
        assert!(sharded.saves > views.saves && sharded.sends.devices > Bytes::ZERO);
        let partitioned = lever(&found, "zero = 1");
        assert!(partitioned.least <= partitioned.saves && partitioned.saves <= partitioned.most);
        let found = of(&wide.replace("data = 8", "fsdp = 8\nreshard_after_forward = false"));
        let offloaded = lever(&found, "parameters");
        assert!(offloaded.sends.host > Bytes::ZERO);
        assert!(lever(&found, "reshard_after_forward").sends.devices > Bytes::ZERO);
        assert!(!found.iter().any(|lever| lever.change.contains("zero")));
    }

    /// Guards the price of recomputation: the forward pass of the blocks again, which is a third of
    /// their arithmetic or less.
    #[test]
    fn recomputation_costs_a_forward_pass() {
        let found = of(GPT);
        let lever = |word: &str| found.iter().find(|l| l.change.contains(word)).unwrap();
        let recomputed = lever("checkpoint").arithmetic;
        assert!((0.15..0.34).contains(&recomputed), "{recomputed}");
        assert_eq!(lever("batch = 4").arithmetic, 0.0);
        assert_eq!(lever("zero = 1").arithmetic, 0.0);
        let loss = lever("the loss in 8 parts");
        assert!(loss.saves > Bytes::ZERO && loss.arithmetic > 0.0);
    }

    /// Guards against advice on what is done already, and outside of training.
    #[test]
    fn what_is_done_is_no_lever() {
        let done = GPT.replace("data = 8", "data = 8\nzero = 3").replace(
            "\"adamw\"",
            "\"adam8bit\"\nprecision = \"amp-bf16\"\ncheckpoint = [\"decoder\"]",
        );
        let found = of(&done);
        for word in ["zero", "bucket_view", "adam8bit", "amp-bf16", "checkpoint"] {
            assert!(
                !found.iter().any(|l| l.change.contains(word)),
                "{word}: {found:#?}"
            );
        }
        let serving = GPT.replace("[dims]", "[model]\nmode = \"inference\"\n[dims]");
        assert_eq!(of(&serving), []);
    }
}
