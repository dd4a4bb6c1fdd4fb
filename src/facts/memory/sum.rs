//! The parts of what one rank holds, each added up from the graph.

use super::plan::{Degrees, Experts, Split};
use super::saved::{Kept, KeptKind, Saved};
use super::shards::{bucket_cap, ddp_buckets};
use super::stages::{Held, Stages};
use super::{ForwardPeak, Memory, MemoryKind, Owner, scaler_bytes, state_bytes, state_name};
use crate::facts::precision::Policy;
use crate::graph::{Graph, LayerId, NodeId, Parameter, TensorKind};
use crate::quantity::Bytes;
use crate::spec::run::{Offload, Run};
use crate::tensor::Dtype;
use rustc_hash::FxHashMap;

/// What the parts of all ranks are added up from.
pub(super) struct Sum<'a> {
    pub graph: &'a Graph,
    pub run: &'a Run,
    pub policy: &'a Policy,
    pub degrees: Degrees,
    pub experts: Experts,
    split: Split,
    stages: Stages,
    saved: &'a Saved,
    /// By chunk, numbers of what is kept.
    kept: Vec<Vec<u32>>,
}

impl<'a> Sum<'a> {
    /// Finds out how the graph is divided.
    pub fn new(
        graph: &'a Graph,
        run: &'a Run,
        policy: &'a Policy,
        degrees: Degrees,
        saved: &'a Saved,
    ) -> Sum<'a> {
        let chunks = degrees.chunks();
        let stages = Stages::of(graph, chunks);
        let mut kept: Vec<Vec<u32>> = vec![Vec::new(); chunks as usize];
        for (number, one) in saved.kept.iter().enumerate() {
            kept[stages.of_node(one.node) as usize].push(number as u32);
        }
        Sum {
            graph,
            run,
            policy,
            degrees,
            experts: Experts::of(graph, degrees.expert),
            split: Split::of(graph, degrees.tensor),
            stages,
            saved,
            kept,
        }
    }

    /// Adds the parts of a rank of the pipeline.
    pub fn rank(&self, rank: u64, forward: Option<ForwardPeak>, memory: &mut Memory) {
        let held = self.degrees.held(rank);
        let parameters = self.stages.parameters(&held);
        self.states(&parameters, memory);
        self.inputs(memory);
        match forward {
            Some(peak) => self.forward(peak, memory),
            None => self.activations(&held, memory),
        }
    }

    /// The sum over parameters, on one device of those that split each into `shards`.
    fn over_parameters(
        &self,
        numbers: &[u32],
        shards: u64,
        bytes: impl Fn(&Parameter) -> u64,
    ) -> u64 {
        let degrees = &self.degrees;
        let (mut whole, mut divided, mut experts, mut rows) = (0u64, 0u64, 0u64, 0u64);
        for &number in numbers {
            let parameter = &self.graph.parameters[number as usize];
            let bytes = bytes(parameter);
            let expert = self.experts.parameter(number as usize);
            if degrees.shards_rows() && shards > 1 && !expert {
                let split = self.split.parameter(number as usize);
                rows = rows.saturating_add(self.rows(parameter, bytes, split, shards));
                continue;
            }
            let sum = match (expert, self.split.parameter(number as usize)) {
                (true, _) => &mut experts,
                (false, true) => &mut divided,
                (false, false) => &mut whole,
            };
            *sum = sum.saturating_add(bytes);
        }
        let spread = degrees.expert.saturating_mul(degrees.expert_tensor);
        // Experts lie over the ranks that would shard the rest of the model.
        let expert_shards = (shards / degrees.expert).max(1);
        whole
            .saturating_add(divided.div_ceil(degrees.tensor))
            .div_ceil(shards)
            .saturating_add(rows)
            .saturating_add(experts.div_ceil(spread).div_ceil(expert_shards))
    }

    /// The largest shard of a parameter whose rows are dealt to `shards` ranks.
    fn rows(&self, parameter: &Parameter, bytes: u64, split: bool, shards: u64) -> u64 {
        let ways = if split { self.degrees.tensor } else { 1 };
        match self.graph.ty(parameter.tensor).shape.size(0) {
            Some(rows) if rows > 0 && bytes.is_multiple_of(rows) => rows
                .div_ceil(ways)
                .div_ceil(shards)
                .saturating_mul(bytes / rows),
            _ => bytes.div_ceil(ways).div_ceil(shards),
        }
    }

    fn elements(&self, parameter: &Parameter) -> u64 {
        self.graph.ty(parameter.tensor).shape.elements()
    }

    fn own_dtype(&self, parameter: &Parameter) -> Dtype {
        self.graph.ty(parameter.tensor).dtype
    }

    /// Bytes of a parameter as the forward pass sees it.
    pub fn own_bytes(&self, parameter: &Parameter) -> u64 {
        let dtype = self.own_dtype(parameter);
        dtype.bytes_for(self.elements(parameter))
    }

    /// A type of the policy for a parameter: its own, where the policy has none but that of the
    /// parameters in general.
    fn dtype(&self, parameter: &Parameter, chosen: Dtype) -> Dtype {
        match chosen == self.policy.params.value {
            true => self.own_dtype(parameter),
            false => chosen,
        }
    }

    /// The type of the master copy, where it is kept in place of the parameters.
    fn master_in_place(&self) -> Option<Dtype> {
        let master = self.policy.master.value;
        master.filter(|_| self.degrees.shards_rows() && self.graph.training)
    }

    /// Bytes of the gradient of a parameter; nothing of one that is not trained.
    pub fn gradient_bytes(&self, parameter: &Parameter) -> u64 {
        let accumulated = self.policy.accumulate.value;
        match parameter.trainable {
            true => self
                .dtype(parameter, self.master_in_place().unwrap_or(accumulated))
                .bytes_for(self.elements(parameter)),
            false => 0,
        }
    }

    /// Bytes of the gradient of a parameter in the type in which it is reduced.
    pub fn reduced_bytes(&self, parameter: &Parameter) -> u64 {
        self.dtype(parameter, self.policy.reduce.value)
            .bytes_for(self.elements(parameter))
    }

    fn divided(&self, shards: u64, what: &str) -> String {
        let mut text = what.to_owned();
        for (degree, name) in [
            (shards, "shards"),
            (self.degrees.tensor, "tensor-parallel ranks"),
            (self.degrees.pipeline, "pipeline stages"),
        ] {
            if degree > 1 {
                text += &format!(", over {degree} {name}");
            }
        }
        text
    }

    /// Parameters and everything that is kept of each.
    fn states(&self, numbers: &[u32], memory: &mut Memory) {
        let (policy, degrees) = (self.policy, &self.degrees);
        let shards = degrees.shards(3);
        // FSDP2 keeps the master copy in place of the parameters.
        let kept = self.master_in_place().unwrap_or(policy.params.value);
        memory.place(
            shards > 1 && self.run.train.offloads(Offload::Parameters),
            MemoryKind::Parameters,
            self.over_parameters(numbers, shards, |p| match (p.buffer, p.trainable) {
                (true, _) => 0,
                (false, true) => self.dtype(p, kept).bytes_for(self.elements(p)),
                (false, false) => self.own_bytes(p),
            }),
            self.divided(shards, kept.name()),
        );
        let buffers =
            self.over_parameters(numbers, 1, |p| if p.buffer { self.own_bytes(p) } else { 0 });
        if self.graph.training {
            self.trained(numbers, memory);
        }
        if shards > 1 {
            let gathered = self.gathered(numbers);
            memory.add(MemoryKind::Gathered, gathered.bytes, gathered.how);
        }
        for (bytes, how) in self.communication() {
            memory.add(MemoryKind::Communication, bytes, how);
        }
        memory.add(MemoryKind::Buffers, buffers, "as they are declared");
    }

    fn trained(&self, numbers: &[u32], memory: &mut Memory) {
        let (policy, degrees) = (self.policy, &self.degrees);
        let trained = |dtype: Dtype| {
            move |p: &Parameter| match p.trainable {
                true => dtype.bytes_for(self.elements(p)),
                false => 0,
            }
        };
        let state = degrees.shards(1);
        let train = &self.run.train;
        let on_host = train.offloads(Offload::Optimizer);
        if let Some(master) = policy.master.value.filter(|_| !degrees.shards_rows()) {
            memory.place(
                on_host,
                MemoryKind::Master,
                self.over_parameters(numbers, state, trained(master)),
                self.divided(state, master.name()),
            );
        }
        let shards = degrees.shards(2);
        let name = self
            .master_in_place()
            .unwrap_or(policy.accumulate.value)
            .name();
        let gradients = self.over_parameters(numbers, shards, |p| self.gradient_bytes(p));
        let offloaded = train.offloads(Offload::Gradients);
        let how = self.divided(shards, name);
        memory.place(offloaded, MemoryKind::Gradients, gradients, how);
        if offloaded {
            let each = numbers
                .iter()
                .map(|&number| self.gradient_bytes(&self.graph.parameters[number as usize]));
            let largest = each.max().unwrap_or(0);
            memory.add(
                MemoryKind::Gradients,
                largest,
                "the largest, before it goes to the host",
            );
        }
        let views = self.run.parallel.gradient_as_bucket_view.or(false);
        if degrees.has_buckets() && !views {
            let sizes: Vec<u64> = numbers
                .iter()
                .map(|&number| self.gradient_bytes(&self.graph.parameters[number as usize]))
                .collect();
            let how = match ddp_buckets(&sizes, bucket_cap(self.run)).len() {
                1 => format!("{name}, in 1 bucket; none with gradient_as_bucket_view=True"),
                n => format!("{name}, in {n} buckets; none with gradient_as_bucket_view=True"),
            };
            memory.add(MemoryKind::Buckets, gradients, how);
        }
        let optimizer = &self.run.train.optimizer;
        let bytes = |p: &Parameter| match p.trainable {
            true => {
                let dtype = self.dtype(p, policy.optimizer.value);
                state_bytes(optimizer, &self.graph.ty(p.tensor).shape, dtype)
            }
            false => 0,
        };
        let how = format!("{}, {}", state_name(optimizer), policy.optimizer.value);
        memory.place(
            on_host,
            MemoryKind::Optimizer,
            self.over_parameters(numbers, state, bytes)
                .saturating_add(scaler_bytes(policy.loss_scale.value)),
            self.divided(state, &how),
        );
        if let Some(average) = policy.ema.value {
            memory.add(
                MemoryKind::Average,
                self.over_parameters(numbers, 1, trained(average)),
                self.divided(1, average.name()),
            );
        }
    }

    fn inputs(&self, memory: &mut Memory) {
        let bytes = self.graph.inputs.iter().fold(0u64, |sum, (_, id)| {
            sum.saturating_add(self.graph.ty(*id).bytes())
        });
        let bytes = bytes.div_ceil(self.degrees.context);
        memory.add(MemoryKind::Inputs, bytes, "one micro-batch");
    }

    /// What of a kept storage lies on one device.
    fn share(&self, kept: &Kept) -> u64 {
        let degrees = &self.degrees;
        let split = match (kept.kind, kept.tensor) {
            (KeptKind::WeightCast, Some(tensor)) => match self.graph.tensor(tensor).kind {
                TensorKind::Parameter(number) => self.split.parameter(number as usize),
                _ => false,
            },
            (_, Some(tensor)) => degrees.sequence || self.split.tensor(tensor),
            (_, None) => degrees.sequence || self.split.node(self.graph, kept.node),
        };
        let whole = match split {
            true => kept.bytes.div_ceil(degrees.tensor),
            false => kept.bytes,
        };
        match kept.kind {
            KeptKind::WeightCast => whole,
            KeptKind::Activation | KeptKind::Input => whole.div_ceil(degrees.context),
        }
    }

    /// What a forward pass without gradients holds, on one of the devices that split the sequence.
    fn forward(&self, peak: ForwardPeak, memory: &mut Memory) {
        let Some(node) = peak.node else { return };
        let bytes = peak.bytes.div_ceil(self.degrees.context);
        let path = self.graph.layer_path(self.graph.node(node).layer);
        let how = format!("tensors alive at once, in `{path}`");
        memory.add(MemoryKind::Forward, bytes, how);
    }

    /// What is kept for the backward pass of the chunks that a rank holds, for as many
    /// micro-batches as are in flight.
    fn activations(&self, held: &[Held], memory: &mut Memory) {
        let degrees = &self.degrees;
        let (mut activations, mut casts) = (0u64, 0u64);
        let mut by_layer: FxHashMap<LayerId, u64> = FxHashMap::default();
        for held in held {
            for &number in self.kept.get(held.chunk as usize).into_iter().flatten() {
                let kept = &self.saved.kept[number as usize];
                let share = self.share(kept);
                let all = share.saturating_mul(held.in_flight);
                match kept.kind {
                    KeptKind::Activation => activations = activations.saturating_add(all),
                    // Each forward pass under autocast makes its own copies.
                    KeptKind::WeightCast => casts = casts.saturating_add(all),
                    // Inputs are counted whether they are kept or not.
                    KeptKind::Input => continue,
                }
                let sum = by_layer
                    .entry(self.graph.node(kept.node).layer)
                    .or_default();
                *sum = sum.saturating_add(share);
            }
        }
        let recomputed = || {
            self.saved.recomputed.iter().filter(|layer| {
                let first = crate::graph::NodeId(self.graph.layer(layer.layer).first_node);
                let chunk = self.stages.of_node(first);
                held.iter().any(|held| held.chunk == chunk)
            })
        };
        let mut how = match recomputed().count() {
            0 => "kept for the backward pass".to_owned(),
            1 => "kept for the backward pass, 1 layer recomputed".to_owned(),
            n => format!("kept for the backward pass, {n} layers recomputed"),
        };
        if degrees.pipeline > 1 {
            let in_flight: Vec<String> = held.iter().map(|h| h.in_flight.to_string()).collect();
            how += &format!(
                ", {} micro-batches on one of {} stages",
                in_flight.join(" and "),
                degrees.pipeline
            );
        }
        let offloaded = self.run.train.offloads(Offload::Activations);
        memory.place(offloaded, MemoryKind::Activations, activations, how);
        if offloaded {
            let mut by_node: FxHashMap<NodeId, u64> = FxHashMap::default();
            for kept in &self.saved.kept {
                let sum = by_node.entry(kept.node).or_default();
                *sum = sum.saturating_add(self.share(kept));
            }
            let most = by_node.into_values().max().unwrap_or(0);
            memory.add(
                MemoryKind::Activations,
                most,
                "those of one call, back from the host",
            );
        }
        let lower = self.policy.autocast.map_or("", Dtype::name);
        let how = format!("{lower} copies of the weights of products, until the backward pass");
        memory.place(offloaded, MemoryKind::WeightCasts, casts, how);
        let shares = |kept: &[Kept]| {
            kept.iter()
                .fold(0u64, |sum, kept| sum.saturating_add(self.share(kept)))
        };
        if let Some(largest) = recomputed().max_by_key(|layer| layer.bytes()) {
            let path = self.graph.layer_path(largest.layer);
            memory.add(
                MemoryKind::Recomputed,
                shares(&largest.kept),
                format!("while `{path}` runs backwards"),
            );
        }
        memory.owners = by_layer
            .into_iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(layer, bytes)| Owner {
                layer,
                bytes: Bytes(bytes),
            })
            .collect();
        memory
            .owners
            .sort_by_key(|owner| (std::cmp::Reverse(owner.bytes), owner.layer));
    }
}
