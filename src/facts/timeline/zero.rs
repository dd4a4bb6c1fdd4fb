//! ZeRO as DeepSpeed does it: optimizer state in flat partitions from stage 1 on, gradients from
//! stage 2 on, parameters in stage 3.
//!
//! After `stage_1_and_2.py`, `stage3.py` and `partitioned_param_coordinator.py`. Gradients go
//! through a flat bucket, whose size is set and does not follow the model's: during the backward
//! pass in stages 1 and 2, for good in stage 3. In stage 3 parameters are gathered call by call, the
//! next ones ahead, and stay where they are soon used again.

use super::heap::{Handle, Recorder};
use super::rank::Rank;
use super::step::Step;
use crate::facts::memory::{MemoryKind, reduce_bucket};
use crate::facts::precision::Policy;
use crate::graph::{Graph, NodeId, TensorKind};
use crate::spec::run::Run;

/// Defaults of DeepSpeed, in elements.
const PREFETCH: u64 = 50_000_000;
const MAX_LIVE: u64 = 1_000_000_000;
const MAX_REUSE: u64 = 1_000_000_000;
const PERSISTENT: u64 = 100_000;

/// How a plan partitions the model.
#[derive(Debug, Clone)]
pub(super) struct Zero {
    pub stage: u64,
    /// Bytes of a bucket of gradients.
    bucket: u64,
    /// How many there are.
    buckets: u64,
    /// What is gathered when, in stage 3.
    trace: Option<Trace>,
}

/// The parameters in the order in which the calls of a step use them: forwards and backwards.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    /// By visit, the parameters.
    visits: Vec<Vec<u32>>,
    /// By visit, elements of the parameters of all visits before it.
    before: Vec<u64>,
    /// By call, the number of its visit forwards; backwards they come in reverse order.
    visit_of: Vec<Option<u32>>,
    /// By visit and parameter, the next visit that uses it.
    next: Vec<Vec<Option<u32>>>,
    /// By parameter: elements, and bytes of the whole.
    elements: Vec<u64>,
    bytes: Vec<u64>,
    prefetch: u64,
    max_live: u64,
    max_reuse: u64,
    persistent: u64,
}

impl Zero {
    /// The partition of a plan. `O(operands)`.
    pub fn of(graph: &Graph, run: &Run, policy: &Policy, rank: &Rank) -> Zero {
        let stage = rank.degrees.zero;
        let (bucket, buckets) = reduce_bucket(run, policy, stage);
        Zero {
            stage,
            bucket,
            buckets,
            trace: (stage >= 3).then(|| Trace::of(graph, run, rank)),
        }
    }
}

impl Trace {
    fn of(graph: &Graph, run: &Run, rank: &Rank) -> Trace {
        let parallel = &run.parallel;
        let mut visits: Vec<Vec<u32>> = Vec::new();
        let mut visit_of = vec![None; graph.dag.node_count()];
        for (id, node) in graph.nodes() {
            let mut used: Vec<u32> = Vec::new();
            for &argument in node.arguments.iter().filter(|id| id.is_present()) {
                match graph.tensor(argument).kind {
                    TensorKind::Parameter(number)
                        if !graph.parameters[number as usize].buffer
                            && rank.holds(number as usize)
                            && !used.contains(&number) =>
                    {
                        used.push(number);
                    }
                    _ => {}
                }
            }
            if !used.is_empty() {
                visit_of[id.0 as usize] = Some(visits.len() as u32);
                visits.push(used);
            }
        }
        visits.extend(visits.clone().into_iter().rev());
        let local = |number: usize| rank.local(graph, number).elements();
        let elements: Vec<u64> = (0..graph.parameters.len()).map(local).collect();
        let bytes = graph.parameters.iter().zip(&elements);
        let bytes = bytes.map(|(parameter, &all)| graph.ty(parameter.tensor).dtype.bytes_for(all));
        let sum = |visit: &Vec<u32>| {
            let sizes = visit.iter().map(|&number| elements[number as usize]);
            sizes.fold(0, u64::saturating_add)
        };
        let before = visits.iter().scan(0u64, |all, visit| {
            let before = *all;
            *all = all.saturating_add(sum(visit));
            Some(before)
        });
        let before = before.collect();
        let mut next_of: Vec<Option<u32>> = vec![None; graph.parameters.len()];
        let mut next: Vec<Vec<Option<u32>>> = vec![Vec::new(); visits.len()];
        for (at, visit) in visits.iter().enumerate().rev() {
            next[at] = visit
                .iter()
                .map(|&number| next_of[number as usize])
                .collect();
            for &number in visit {
                next_of[number as usize] = Some(at as u32);
            }
        }
        Trace {
            before,
            next,
            visit_of,
            bytes: bytes.collect(),
            elements,
            visits,
            prefetch: parallel.stage3_prefetch_bucket_size.or(PREFETCH),
            max_live: parallel.stage3_max_live_parameters.or(MAX_LIVE),
            max_reuse: parallel.stage3_max_reuse_distance.or(MAX_REUSE),
            persistent: parallel.stage3_param_persistence_threshold.or(PERSISTENT),
        }
    }

    /// Whether a parameter is so small that it is never partitioned.
    fn persists(&self, number: u32) -> bool {
        self.elements[number as usize] <= self.persistent
    }

    /// The visit of a call, in the one or the other direction.
    fn visit(&self, id: NodeId, backward: bool) -> Option<usize> {
        let visit = self.visit_of[id.0 as usize]? as usize;
        match backward {
            true => Some(self.visits.len() - 1 - visit),
            false => Some(visit),
        }
    }

    /// Whether a parameter of a visit is used again so soon that it stays.
    fn stays(&self, visit: usize, place: usize) -> bool {
        let next = self.next[visit][place].map(|next| next as usize);
        next.is_some_and(|next| {
            self.before[next].saturating_sub(self.before[visit + 1]) < self.max_reuse
        })
    }
}

/// What is gathered at a moment, and the buckets.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    whole: Vec<Option<Handle>>,
    /// Elements that are whole.
    live: u64,
    buckets: Vec<Handle>,
}

impl<'a, R: Recorder> Step<'a, R> {
    pub(super) fn zero(&self) -> Option<&'a Zero> {
        self.of.rank.and_then(|rank| rank.zero.as_ref())
    }

    pub(super) fn trace(&self) -> Option<&'a Trace> {
        self.zero().and_then(|zero| zero.trace.as_ref())
    }

    /// What stage 3 has from the start: its bucket, and parameters that persist.
    pub(super) fn start_zero(&mut self) {
        self.fetched
            .whole
            .resize(self.of.graph.parameters.len(), None);
        let Some(trace) = self.trace() else { return };
        let mut used = vec![false; trace.bytes.len()];
        for &number in trace.visits.iter().flatten() {
            used[number as usize] = true;
        }
        for (number, &bytes) in trace.bytes.iter().enumerate() {
            if used[number] && trace.persists(number as u32) {
                self.heap.now.parameter = Some(number as u32);
                let handle = self.heap.allocate(bytes, MemoryKind::Gathered);
                self.buckets.push(handle);
            }
        }
        self.heap.now.parameter = None;
        if self.of.graph.training {
            let buckets = self.make_zero_buckets();
            self.buckets.extend(buckets);
        }
    }

    fn make_zero_buckets(&mut self) -> Vec<Handle> {
        let Some(zero) = self.zero() else {
            return Vec::new();
        };
        (0..zero.buckets)
            .map(|_| self.heap.allocate(zero.bucket, MemoryKind::Communication))
            .collect()
    }

    /// The backward pass begins: stages 1 and 2 make their buckets.
    pub(super) fn start_zero_backward(&mut self) {
        if self.zero().is_some_and(|zero| zero.stage < 3) {
            self.fetched.buckets = self.make_zero_buckets();
        }
    }

    /// The backward pass ends, and what is gathered goes.
    pub(super) fn end_zero_backward(&mut self) {
        for handle in std::mem::take(&mut self.fetched.buckets) {
            self.heap.release(handle);
        }
        self.release_all();
    }

    /// Gives up all that is gathered.
    pub(super) fn release_all(&mut self) {
        for number in 0..self.fetched.whole.len() {
            if let Some(handle) = self.fetched.whole[number].take() {
                self.heap.release(handle);
            }
        }
        self.fetched.live = 0;
    }

    fn fetch_one(&mut self, trace: &Trace, number: u32) {
        if trace.persists(number) || self.fetched.whole[number as usize].is_some() {
            return;
        }
        let moment = self.heap.now;
        self.heap.now.parameter = Some(number);
        let bytes = trace.bytes[number as usize];
        let handle = self.heap.allocate(bytes, MemoryKind::Gathered);
        self.heap.now = moment;
        self.fetched.whole[number as usize] = Some(handle);
        self.fetched.live += trace.elements[number as usize];
    }

    /// Before a call runs, its parameters are gathered, and those of the next ones ahead.
    pub(super) fn fetch(&mut self, id: NodeId, backward: bool) {
        let Some(trace) = self.trace() else { return };
        let Some(visit) = trace.visit(id, backward) else {
            return;
        };
        for &number in &trace.visits[visit] {
            self.fetch_one(trace, number);
        }
        let mut ahead = 0u64;
        let end = match self.of.graph.training {
            true => trace.visits.len(),
            false => trace.visits.len() / 2,
        };
        for visit in &trace.visits[visit + 1..end.max(visit + 1)] {
            for &number in visit {
                if ahead >= trace.prefetch || self.fetched.live >= trace.max_live {
                    return;
                }
                if self.fetched.whole[number as usize].is_none() && !trace.persists(number) {
                    self.fetch_one(trace, number);
                    ahead += trace.elements[number as usize];
                }
            }
        }
    }

    /// Gathers the parameters of a call that is recomputed.
    pub(super) fn fetch_again(&mut self, id: NodeId) {
        let Some(trace) = self.trace() else { return };
        let Some(visit) = trace.visit(id, true) else {
            return;
        };
        for &number in &trace.visits[visit] {
            self.fetch_one(trace, number);
        }
    }

    /// After a call has run, its parameters go, if they are not used again soon.
    pub(super) fn let_fetched_go(&mut self, id: NodeId, backward: bool) {
        let Some(trace) = self.trace() else { return };
        let Some(visit) = trace.visit(id, backward) else {
            return;
        };
        for (place, &number) in trace.visits[visit].iter().enumerate() {
            if !trace.stays(visit, place)
                && let Some(handle) = self.fetched.whole[number as usize].take()
            {
                self.heap.release(handle);
                let live = &mut self.fetched.live;
                *live = live.saturating_sub(trace.elements[number as usize]);
            }
        }
    }

    /// A complete gradient goes through the bucket, and what is left of it is its partition.
    pub(super) fn partitioned(&mut self, number: usize, handle: Handle) -> Option<Handle> {
        if self.zero().is_none_or(|zero| zero.stage < 2) {
            return Some(handle);
        }
        self.heap.release(handle);
        if self.gradients[number].is_some() {
            return None;
        }
        let bytes = self.gradient_partition(number);
        Some(self.heap.allocate(bytes, MemoryKind::Gradients))
    }

    /// Bytes of the partition of a gradient.
    fn gradient_partition(&self, number: usize) -> u64 {
        let (graph, policy) = (self.of.graph, self.of.policy);
        let Some(rank) = self.of.rank else { return 0 };
        let dtype = super::rank::dtype_of(graph, policy, number, policy.accumulate.value);
        dtype.bytes_for(rank.shard(graph, number, 2).elements())
    }

    /// The gradients of the partition in the type of the master weights, for the time of the
    /// optimizer's step.
    pub(super) fn master_gradients(&mut self) -> Option<Handle> {
        let (graph, policy) = (self.of.graph, self.of.policy);
        let (rank, master) = (self.of.rank?, policy.master.value?);
        if rank.zero.is_none() || policy.accumulate.value == master {
            return None;
        }
        let elements = (0..graph.parameters.len())
            .filter(|&number| self.gradients[number].is_some())
            .map(|number| rank.shard(graph, number, 1).elements())
            .fold(0, u64::saturating_add);
        let bytes = master.bytes_for(elements);
        Some(self.heap.allocate(bytes, MemoryKind::Gradients))
    }
}
