//! Passes that compute what is so, and never judge: order, cost, memory, numbers, communication.
//!
//! Facts return values; whether a value is a fault is decided by the rules. Each pass is computed
//! once, when something first asks for it.

pub mod allocator;
pub mod batch;
pub mod chains;
pub mod cost;
pub mod fit;
#[cfg(test)]
pub(crate) mod fixture;
pub mod functions;
pub mod growth;
pub mod idiom;
pub mod index;
pub mod levers;
pub mod liveness;
pub mod memory;
pub mod order;
pub mod overhead;
pub mod precision;
pub mod ranges;
pub mod reserved;
pub mod serving;
pub mod signal;
pub mod storage;
pub mod throughput;
pub mod timeline;
pub mod traffic;
pub mod values;
pub mod witness;
pub mod zero;

use std::cell::OnceCell;

use crate::graph::Graph;
use crate::lower::Model;
use crate::ops::gradient::Kernels;
use crate::quantity::Bytes;
use crate::spec::Spec;
use crate::spec::run::Run;

/// All facts about a model and its planned run, each computed on first use.
pub struct Facts<'a> {
    /// The spec.
    pub spec: &'a Spec,
    /// The lowered model.
    pub model: &'a Model,
    batch: OnceCell<batch::Batch>,
    chains: OnceCell<chains::Chains>,
    cost: OnceCell<cost::Cost>,
    index: OnceCell<index::Index>,
    liveness: OnceCell<liveness::Liveness>,
    ranges: OnceCell<ranges::Ranges>,
    values: OnceCell<values::Values>,
    signal: OnceCell<signal::Signal>,
    policy: OnceCell<precision::Policy>,
    dtypes: OnceCell<precision::NodeDtypes>,
    storages: OnceCell<storage::Storages>,
    saved: OnceCell<memory::Saved>,
    plain: OnceCell<memory::Saved>,
    memory: OnceCell<memory::Memory>,
    rank: OnceCell<(Option<timeline::Rank>, Vec<Bytes>)>,
    peak: OnceCell<timeline::Peak>,
    growth: OnceCell<growth::Growth>,
    serving: OnceCell<Option<serving::Serving>>,
    footprint: OnceCell<reserved::Footprint>,
    levers: OnceCell<Vec<levers::Lever>>,
    throughput: OnceCell<throughput::Throughput>,
}

impl<'a> Facts<'a> {
    /// Nothing computed yet.
    pub fn new(spec: &'a Spec, model: &'a Model) -> Facts<'a> {
        Facts {
            spec,
            model,
            batch: OnceCell::new(),
            chains: OnceCell::new(),
            cost: OnceCell::new(),
            index: OnceCell::new(),
            liveness: OnceCell::new(),
            ranges: OnceCell::new(),
            values: OnceCell::new(),
            signal: OnceCell::new(),
            policy: OnceCell::new(),
            dtypes: OnceCell::new(),
            storages: OnceCell::new(),
            saved: OnceCell::new(),
            plain: OnceCell::new(),
            memory: OnceCell::new(),
            rank: OnceCell::new(),
            peak: OnceCell::new(),
            growth: OnceCell::new(),
            serving: OnceCell::new(),
            footprint: OnceCell::new(),
            levers: OnceCell::new(),
            throughput: OnceCell::new(),
        }
    }

    /// The model's graph.
    pub fn graph(&self) -> &'a Graph {
        &self.model.graph
    }

    /// The model.
    pub fn model(&self) -> &'a Model {
        self.model
    }

    /// The planned run.
    pub fn run(&self) -> &'a Run {
        &self.spec.run
    }

    /// The batch per device, per step and per BatchNorm.
    pub fn batch(&self) -> &batch::Batch {
        self.batch
            .get_or_init(|| batch::Batch::of(self.spec, self.graph()))
    }

    /// Products of three or more factors and their orders.
    pub fn chains(&self) -> &chains::Chains {
        self.chains.get_or_init(|| chains::Chains::of(self.graph()))
    }

    /// Parameters, FLOPs and bytes moved.
    pub fn cost(&self) -> &cost::Cost {
        self.cost.get_or_init(|| cost::Cost::of(self.graph()))
    }

    /// Which nodes the outputs depend on.
    pub fn liveness(&self) -> &liveness::Liveness {
        self.liveness
            .get_or_init(|| liveness::Liveness::of(self.graph()))
    }

    /// Which nodes call which op.
    pub fn index(&self) -> &index::Index {
        self.index.get_or_init(|| index::Index::of(self.graph()))
    }

    /// Which tensors hold the same values.
    pub fn values(&self) -> &values::Values {
        self.values.get_or_init(|| values::Values::of(self.graph()))
    }

    /// What several calls compute together.
    pub fn idioms(&self) -> idiom::Idioms<'_> {
        idiom::Idioms {
            graph: self.graph(),
            values: self.values(),
        }
    }

    /// Ranges of values.
    pub fn ranges(&self) -> &ranges::Ranges {
        self.ranges
            .get_or_init(|| ranges::Ranges::of(self.spec, self.model, self.values(), self.dtypes()))
    }

    /// Strength of signal and gradient at initialisation.
    pub fn signal(&self) -> &signal::Signal {
        self.signal
            .get_or_init(|| signal::Signal::of(self.spec, self.graph()))
    }

    /// The precision policy, with presets and defaults filled in.
    pub fn policy(&self) -> &precision::Policy {
        self.policy
            .get_or_init(|| precision::Policy::of(self.run(), self.model.dtype))
    }

    /// The types in which ops run and tensors lie under the policy.
    pub fn dtypes(&self) -> &precision::NodeDtypes {
        self.dtypes
            .get_or_init(|| precision::NodeDtypes::of(self.graph(), self.policy()))
    }

    /// In whose storage each tensor lies.
    pub fn storages(&self) -> &storage::Storages {
        self.storages
            .get_or_init(|| storage::Storages::of(self.graph(), self.dtypes()))
    }

    /// What autograd keeps for the backward pass.
    pub fn saved(&self) -> &memory::Saved {
        self.saved.get_or_init(|| {
            let (liveness, dtypes) = (self.liveness(), self.dtypes());
            memory::Saved::of(self.graph(), liveness, dtypes, self.storages())
        })
    }

    /// What autograd would keep without `torch.autocast`, in the graph's own types.
    pub fn saved_without_autocast(&self) -> &memory::Saved {
        self.plain.get_or_init(|| {
            let mut policy = self.policy().clone();
            policy.autocast = None;
            let dtypes = precision::NodeDtypes::of(self.graph(), &policy);
            let storages = storage::Storages::of(self.graph(), &dtypes);
            memory::Saved::of(self.graph(), self.liveness(), &dtypes, &storages)
        })
    }

    /// What one device holds.
    pub fn memory(&self) -> &memory::Memory {
        self.memory.get_or_init(|| {
            let ranks = self.batch().data_ranks;
            let forward = || {
                let (dtypes, storages) = (self.dtypes(), self.storages());
                memory::forward_peak(self.graph(), self.liveness(), dtypes, storages)
            };
            let (graph, run) = (self.graph(), self.run());
            memory::Memory::of(graph, run, self.policy(), self.saved(), forward, ranks)
        })
    }

    /// What one device holds while it serves; `None` where the spec says nothing of that.
    pub fn serving(&self) -> Option<&serving::Serving> {
        self.serving
            .get_or_init(|| serving::Serving::of(self))
            .as_ref()
    }

    /// What would bring the memory down. Works it out anew for each change.
    pub fn levers(&self) -> &[levers::Lever] {
        self.levers.get_or_init(|| levers::levers(self))
    }

    /// The arithmetic of an optimizer step on all devices, and how fast it is done.
    pub fn throughput(&self) -> &throughput::Throughput {
        self.throughput
            .get_or_init(|| throughput::Throughput::of(self))
    }

    /// What the timeline of a step is made from.
    pub fn timeline(&self) -> timeline::Inputs<'_> {
        self.step_of(self.rank())
    }

    fn step_of<'b>(&'b self, rank: Option<&'b timeline::Rank>) -> timeline::Inputs<'b> {
        timeline::Inputs {
            graph: self.graph(),
            run: self.run(),
            policy: self.policy(),
            liveness: self.liveness(),
            dtypes: self.dtypes(),
            storages: self.storages(),
            kernels: match self.run().cluster.device.value {
                Some(_) => Kernels::Device,
                None => Kernels::Traced,
            },
            rank,
        }
    }

    /// The rank of a parallel plan whose step the timeline follows: of the stages of a pipeline the
    /// one that holds most. `None` where one device does everything alone.
    pub fn rank(&self) -> Option<&timeline::Rank> {
        self.ranks().0.as_ref()
    }

    /// The peaks of the stages of a pipeline; none where there is none.
    pub fn stage_peaks(&self) -> &[Bytes] {
        &self.ranks().1
    }

    fn ranks(&self) -> &(Option<timeline::Rank>, Vec<Bytes>) {
        self.rank.get_or_init(|| {
            let degrees = memory::Degrees::of(self.run(), self.batch().data_ranks);
            timeline::Rank::worst(self.step_of(None), degrees)
        })
    }

    /// By how much the peak may be off in each direction, where it depends on how a library handles
    /// its buffers of communication.
    pub fn doubt(&self) -> Bytes {
        match self.rank() {
            Some(rank) if !rank.is_exact() => self.peak().part(memory::MemoryKind::Communication),
            _ => Bytes::ZERO,
        }
    }

    /// When in a step the most memory lives, and what it is.
    pub fn peak(&self) -> &timeline::Peak {
        self.peak
            .get_or_init(|| timeline::Peak::of(self.timeline()))
    }

    /// What a device must have: what the allocator reserves, and what is estimated besides.
    pub fn footprint(&self) -> &reserved::Footprint {
        self.footprint.get_or_init(|| reserved::Footprint::of(self))
    }

    /// How cost grows with the sizes of the inputs. Lowers the model three times for each.
    pub fn growth(&self) -> &growth::Growth {
        self.growth.get_or_init(|| growth::Growth::of(self))
    }
}
