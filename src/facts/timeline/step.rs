//! One step of training or serving, as the sequence of what it allocates and frees.

use std::collections::BTreeMap;

use super::fsdp::{Gathering, sharded_dtype};
use super::heap::{Handle, Heap, Moment, Phase, Recorder};
use super::rank::{Rank, dtype_of};
use super::reach::{begins, reached};
use super::update::Update;
use super::zero::Fetched;
use crate::facts::liveness::Liveness;
use crate::facts::memory::{MemoryKind, scaler_bytes, state_bytes};
use crate::facts::precision::{NodeDtypes, Policy};
use crate::facts::storage::Storages;
use crate::graph::{Graph, LayerId, NodeId, TensorId, TensorKind};
use crate::ops::gradient::Kernels;
use crate::ops::layout::Strides;
use crate::spec::run::{Offload, Run};
use crate::tensor::{Dtype, Shape};

/// What a step is made of.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The model.
    pub graph: &'a Graph,
    /// The planned run.
    pub run: &'a Run,
    /// The precision policy.
    pub policy: &'a Policy,
    /// Which calls run at all.
    pub liveness: &'a Liveness,
    /// In which types they run.
    pub dtypes: &'a NodeDtypes,
    /// In whose storage tensors lie.
    pub storages: &'a Storages,
    /// Whose kernels run.
    pub kernels: Kernels,
    /// The rank of a parallel plan whose step it is; one that does everything alone where there is
    /// none.
    pub rank: Option<&'a Rank>,
}

impl Inputs<'_> {
    /// How many micro-batches are followed: of several the first, which finds no gradients, and one
    /// of the others, which all do.
    pub fn micro_batches(&self) -> u64 {
        self.run.train.grad_accumulation.or(1).clamp(1, 2)
    }
}

/// A storage that autograd keeps for a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub handle: Handle,
    /// The name of the operand, or of what is neither operand nor output.
    pub name: &'static str,
}

/// The gradient of a tensor that its producer has not yet been handed.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub handle: Handle,
    pub strides: Strides,
}

/// The state of a step.
pub(super) struct Step<'a, R> {
    pub of: Inputs<'a>,
    pub heap: Heap<R>,
    /// The call of the forward pass after which nothing refers to a storage but autograd, by its
    /// first tensor.
    pub last: Vec<u32>,
    /// The storages of tensors, by their first tensor.
    pub storages: Vec<Option<Handle>>,
    /// What autograd keeps, by node.
    pub held: Vec<Vec<Held>>,
    /// What it keeps on the host, by node: bytes and names.
    pub away: Vec<Vec<(u64, &'static str)>>,
    /// Casts of parameters, which autocast keeps until the forward pass ends.
    pub casts: BTreeMap<u32, Handle>,
    /// Gradients on their way, by tensor.
    pub pending: BTreeMap<TensorId, Pending>,
    /// Sums of gradients of parameters that are not complete, by parameter.
    pub incoming: Vec<Option<Handle>>,
    /// Complete gradients of parameters.
    pub gradients: Vec<Option<Handle>>,
    /// Uses of parameters that are yet to run backwards.
    pub uses: Vec<u32>,
    /// The outermost recomputed layers, in order.
    pub regions: Vec<LayerId>,
    /// The outputs of the model that the backward pass begins with.
    pub begins: Vec<TensorId>,
    /// Which nodes the loss can hand a gradient. The others go with their tensors, and keep
    /// nothing.
    reached: Vec<bool>,
    /// The gradients that the backward pass began with.
    pub seeds: Vec<Handle>,
    /// The buckets of gradients.
    pub buckets: Vec<Handle>,
    /// What is gathered of a sharded model.
    pub gathering: Gathering,
    /// What is gathered of a partitioned model.
    pub fetched: Fetched,
    lasting: Vec<Handle>,
}

/// Runs a step of a model whose optimizer has its state, or a forward pass without gradients where
/// the model is not trained; `recorder` hears what happens.
///
/// The backward pass takes calls in the reverse of their order, as autograd does, whose nodes have
/// priority by their age. Several micro-batches do as two: the first finds no gradients and the
/// others find some. `O(nodes + operands)`.
pub fn run<R: Recorder>(of: Inputs<'_>, recorder: R) -> R {
    let mut step = Step::new(of, recorder);
    step.start();
    let all = 0..of.graph.dag.node_count() as u32;
    if step.run_stage() {
        step.finish();
    } else if of.graph.training {
        for _ in 0..of.micro_batches() {
            // A variable keeps the last outputs until the next ones are there.
            let last = step.take_outputs();
            step.forward_pass(all.clone());
            step.at(Phase::Forward, None);
            last.into_iter()
                .for_each(|handle| step.heap.release(handle));
            step.backward_pass(all.clone());
        }
        step.finish();
    } else {
        step.forward_pass(all);
        step.release_outputs();
    }
    let lasting = step.lasting.len() + step.buckets.len();
    debug_assert_eq!(step.heap.living(), lasting, "something leaks");
    step.heap.recorder
}

impl<'a, R: Recorder> Step<'a, R> {
    fn new(of: Inputs<'a>, recorder: R) -> Step<'a, R> {
        let graph = of.graph;
        let mut last = vec![0u32; graph.types.len()];
        for (id, node) in graph.nodes() {
            if !of.liveness.is_live(id) || !graph.is_known(node) {
                continue;
            }
            let operands = node.arguments.iter().copied().filter(|id| id.is_present());
            for tensor in operands.chain(node.outputs()) {
                last[of.storages.root(tensor).0 as usize] = id.0;
            }
        }
        for &output in graph.outputs.iter().filter(|id| id.is_present()) {
            last[of.storages.root(output).0 as usize] = u32::MAX;
        }
        let begins = begins(graph);
        Step {
            of,
            heap: Heap::new(recorder),
            last,
            storages: vec![None; graph.types.len()],
            held: vec![Vec::new(); graph.dag.node_count()],
            away: vec![Vec::new(); graph.dag.node_count()],
            casts: BTreeMap::new(),
            pending: BTreeMap::new(),
            incoming: vec![None; graph.parameters.len()],
            gradients: vec![None; graph.parameters.len()],
            uses: vec![0; graph.parameters.len()],
            regions: graph.recomputed_layers(),
            reached: reached(graph, &begins),
            begins,
            seeds: Vec::new(),
            buckets: Vec::new(),
            gathering: Gathering::default(),
            fetched: Fetched::default(),
            lasting: Vec::new(),
        }
    }

    pub(super) fn at(&mut self, phase: Phase, node: Option<NodeId>) {
        self.heap.now = Moment {
            phase,
            node,
            waiting: None,
            parameter: None,
        };
    }

    /// The live calls of a range of nodes whose types are known.
    pub(super) fn runs(&self, id: NodeId) -> bool {
        self.of.liveness.is_live(id) && self.of.graph.is_known(self.of.graph.node(id))
    }

    /// Whether the node runs backwards.
    pub(super) fn has_gradient(&self, id: NodeId) -> bool {
        self.reached[id.0 as usize]
    }

    /// The number of the parameter that a tensor is.
    pub(super) fn parameter(&self, tensor: TensorId) -> Option<u32> {
        match self.of.graph.tensor(tensor).kind {
            TensorKind::Parameter(number) => Some(number),
            _ => None,
        }
    }

    /// The optimizer's step, and what follows it.
    fn finish(&mut self) {
        let unscaled = self.unscale();
        self.clip();
        self.optimizer();
        for handle in unscaled {
            self.heap.release(handle);
        }
        self.zero_grad();
        self.release_outputs();
    }

    /// What is there before the step and stays.
    fn start(&mut self) {
        let Inputs {
            graph, run, policy, ..
        } = self.of;
        let with_gradient = self.parameters_with_gradient();
        // By use rather than as modules list them, which a spec that is written of a program does not
        // keep: both are to be laid out alike.
        for number in graph.parameters_by_use() {
            let parameter = &graph.parameters[number];
            if !self.has_parameter(number) {
                continue;
            }
            self.heap.now.parameter = Some(number as u32);
            let kind = match parameter.buffer {
                true => MemoryKind::Buffers,
                false => MemoryKind::Parameters,
            };
            let (kept, state) = self.kept(number);
            let gathered = !parameter.buffer && (self.is_fsdp() || self.trace().is_some());
            let on_host = gathered && run.train.offloads(Offload::Parameters);
            let kept = if on_host { 0 } else { kept };
            let handle = self.heap.allocate(kept, kind);
            self.storages[parameter.tensor.0 as usize] = Some(handle);
            self.lasting.push(handle);
            if !graph.training || !parameter.trainable || run.train.offloads(Offload::Optimizer) {
                continue;
            }
            let elements = state.elements();
            // FSDP2 keeps the master copy in place of the parameter.
            let master = policy.master.value.filter(|_| !self.is_fsdp());
            for (kind, dtype) in [
                (MemoryKind::Master, master),
                (MemoryKind::Average, policy.ema.value),
            ] {
                if let Some(dtype) = dtype {
                    let handle = self.heap.allocate(dtype.bytes_for(elements), kind);
                    self.lasting.push(handle);
                }
            }
            let dtype = dtype_of(graph, policy, number, policy.optimizer.value);
            // What has no gradient has no state, either: both are made by the first update.
            if !with_gradient[number] {
                continue;
            }
            let bytes = state_bytes(&run.train.optimizer, &state, dtype);
            if bytes > 0 {
                let handle = self.heap.allocate(bytes, MemoryKind::Optimizer);
                self.lasting.push(handle);
            }
        }
        self.heap.now.parameter = None;
        let scaler = scaler_bytes(policy.loss_scale.value);
        if graph.training && scaler > 0 && !run.train.offloads(Offload::Optimizer) {
            let handle = self.heap.allocate(scaler, MemoryKind::Optimizer);
            self.lasting.push(handle);
        }
        for &(_, tensor) in &graph.inputs {
            if !self.has_input(tensor) {
                continue;
            }
            let bytes = self.share(tensor, graph.ty(tensor).bytes());
            let handle = self.heap.allocate(bytes, MemoryKind::Inputs);
            self.storages[tensor.0 as usize] = Some(handle);
            self.lasting.push(handle);
        }
        self.make_buckets();
        self.start_zero();
    }

    pub(super) fn is_fsdp(&self) -> bool {
        self.of.rank.is_some_and(|rank| rank.units.is_some())
    }

    /// Bytes that are kept of a parameter or buffer throughout, and the shape of which the optimizer
    /// keeps its state.
    fn kept(&self, number: usize) -> (u64, Shape) {
        let (graph, policy) = (self.of.graph, self.of.policy);
        let parameter = &graph.parameters[number];
        let ty = graph.ty(parameter.tensor);
        match self.of.rank {
            None => (ty.bytes(), ty.shape.clone()),
            Some(rank) if parameter.buffer => {
                let shape = rank.local(graph, number);
                (ty.dtype.bytes_for(shape.elements()), shape)
            }
            Some(rank) => {
                let dtype = match self.is_fsdp() {
                    true => sharded_dtype(graph, policy, parameter),
                    false => ty.dtype,
                };
                let shard = rank.shard(graph, number, 3);
                let bytes = dtype.bytes_for(shard.elements());
                (bytes, rank.shard(graph, number, 1))
            }
        }
    }

    /// What of a tensor of that many bytes lies on the rank.
    pub(super) fn share(&self, tensor: TensorId, bytes: u64) -> u64 {
        self.of
            .rank
            .map_or(bytes, |rank| rank.tensor(tensor, bytes))
    }

    /// What the rank needs of that which a call makes beside its outputs.
    pub(super) fn share_of_node(&self, id: NodeId, bytes: u64) -> u64 {
        self.of.rank.map_or(bytes, |rank| rank.node(id, bytes))
    }

    /// Which parameters a call uses that the loss hands a gradient.
    fn parameters_with_gradient(&self) -> Vec<bool> {
        let graph = self.of.graph;
        let mut found = vec![false; graph.parameters.len()];
        for (id, node) in graph.nodes() {
            if self.runs(id) && self.has_gradient(id) {
                let numbers = node.arguments.iter().filter(|id| id.is_present());
                for number in numbers.filter_map(|&tensor| self.parameter(tensor)) {
                    found[number as usize] = true;
                }
            }
        }
        found
    }

    /// `GradScaler.unscale_`: gradients are multiplied in place by the inverse of the scale, which is
    /// taken in float64; it and the flag of what overflowed are there until the update is made.
    fn unscale(&mut self) -> Vec<Handle> {
        if scaler_bytes(self.of.policy.loss_scale.value) == 0 {
            return Vec::new();
        }
        self.at(Phase::Optimizer, None);
        let [single, double] = [Dtype::Float32, Dtype::Float64].map(|dtype| dtype.bytes_for(1));
        let sizes = [double, double, single, single];
        let mut made: Vec<Handle> = sizes
            .map(|bytes| self.heap.allocate(bytes, MemoryKind::Temporaries))
            .into();
        for handle in made.drain(..2) {
            self.heap.release(handle);
        }
        made
    }

    /// `clip_grad_norm_`: the norm of each gradient, all of them stacked, and the factor by which all
    /// are multiplied in place.
    fn clip(&mut self) {
        if !self.of.run.train.clip_grad_norm.is_given() {
            return;
        }
        self.at(Phase::Optimizer, None);
        let norm = Dtype::Float32.bytes_for(1);
        let count = self.gradients.iter().flatten().count();
        let sizes = std::iter::repeat_n(norm, count)
            .chain([norm.saturating_mul(count as u64)])
            .chain([norm; 3]);
        let made: Vec<Handle> = sizes
            .map(|bytes| self.heap.allocate(bytes, MemoryKind::Temporaries))
            .collect();
        for handle in made {
            self.heap.release(handle);
        }
    }

    /// The update of all parameters, one by one or as one list.
    fn optimizer(&mut self) {
        self.at(Phase::Optimizer, None);
        if self.of.run.train.offloads(Offload::Optimizer) {
            // The host makes the step, and copies the weights over the old ones.
            return;
        }
        let (graph, policy) = (self.of.graph, self.of.policy);
        let update = Update::of(&self.of.run.train.optimizer);
        let copied = self.master_gradients();
        let mut early: Vec<Handle> = Vec::new();
        let mut late: Vec<Handle> = Vec::new();
        for number in graph.listed_parameters() {
            let parameter = &graph.parameters[number];
            if !parameter.trainable || self.gradients[number].is_none() {
                continue;
            }
            self.heap.now.parameter = Some(number as u32);
            let ty = graph.ty(parameter.tensor);
            let dtype: Dtype = policy.master.value.unwrap_or(ty.dtype);
            let bytes = dtype.bytes_for(self.kept(number).1.elements());
            let make = |heap: &mut Heap<R>, count: u64| -> Vec<Handle> {
                (0..count)
                    .map(|_| heap.allocate(bytes, MemoryKind::Temporaries))
                    .collect()
            };
            if update.listwise {
                late.extend(make(&mut self.heap, update.copies));
                continue;
            }
            early.drain(..).for_each(|handle| self.heap.release(handle));
            early = make(&mut self.heap, update.gradient);
            let mut made = make(&mut self.heap, update.copies);
            late.drain(..).for_each(|handle| self.heap.release(handle));
            late = made.split_off(made.len() - (update.left as usize).min(made.len()));
            made.drain(..).for_each(|handle| self.heap.release(handle));
        }
        for handle in early.into_iter().chain(late).chain(copied) {
            self.heap.release(handle);
        }
        self.heap.now.parameter = None;
    }

    /// `zero_grad(set_to_none=True)`.
    fn zero_grad(&mut self) {
        for number in self.of.graph.parameters_by_use() {
            if let Some(handle) = self.gradients[number].take() {
                self.heap.release(handle);
            }
        }
    }
}
