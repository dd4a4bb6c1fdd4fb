//! What PyTorch's allocator makes of a step: the timeline of its blocks, run through the simulated
//! allocator.
//!
//! Parameters come first, then the buckets of `DistributedDataParallel`, and then a first step in which
//! the optimizer makes its state, then a second one. Order and size of the blocks are the
//! timeline's; what kernels take besides for a moment is not among them.
//!
//! With it stands what a device must have in all, between bounds.

use super::Facts;
use super::allocator::{Config, Event, Fault, replay};
use super::fit::needed;
use super::memory::MemoryKind;
use super::overhead::{Estimate, overheads};
use super::timeline::{Allocation, Inputs, Moment, Phase, Recorder, run};
use crate::device::Catalogue;
use crate::quantity::Bytes;

/// What a device must have for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint {
    /// The tensors when they are most, as they are asked for.
    pub tensors: Bytes,
    /// What the allocator makes of them.
    pub reserved: Reserved,
    /// What is estimated beside the tensors.
    pub estimates: Vec<Estimate>,
    /// All together, to be expected.
    pub total: Bytes,
    /// The least.
    pub low: Bytes,
    /// The most.
    pub high: Bytes,
}

impl Footprint {
    /// Works it out for the device of the cluster. `O(blocks · log blocks)`.
    pub fn of(facts: &Facts<'_>) -> Footprint {
        let name = facts.run().cluster.device.value.as_ref();
        let device = name.and_then(|name| Catalogue::embedded().find(name).ok());
        let estimates = overheads(facts, device);
        let sum = |of: &dyn Fn(&Estimate) -> Bytes| estimates.iter().map(of).sum::<Bytes>();
        let outside = |bytes: fn(&Estimate) -> Bytes| {
            sum(&|estimate| {
                if estimate.allocated {
                    Bytes::ZERO
                } else {
                    bytes(estimate)
                }
            })
        };
        let tensors = needed(facts);
        let usable = device.map_or(Bytes(u64::MAX), |device| device.memory_usable());
        let reserved = Reserved::of(
            facts.timeline(),
            Config::of(&facts.run().allocator),
            usable - outside(|estimate| estimate.bytes),
            &estimates,
        );
        let held = match reserved.enough {
            true => reserved.reserved + outside(|estimate| estimate.bytes),
            false => tensors + sum(&|estimate| estimate.bytes),
        };
        let doubt = facts.doubt();
        let room = sum(&|estimate| estimate.high - estimate.bytes) + doubt;
        Footprint {
            tensors,
            reserved,
            total: held,
            low: (tensors - doubt + sum(&|estimate| estimate.low)).min(held),
            high: held + room,
            estimates,
        }
    }
}

/// What is reserved of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserved {
    /// What is asked for at most: the peak of the timeline, with workspaces and buckets.
    pub requested: Bytes,
    /// The blocks that serve it, rounded: `torch.cuda.max_memory_allocated`.
    pub allocated: Bytes,
    /// What the allocator takes of the device for them: `torch.cuda.max_memory_reserved`.
    pub reserved: Bytes,
    /// The most that lies idle in segments that are in use elsewhere.
    pub split: Bytes,
    /// Times that everything cached had to be given back.
    pub retries: u64,
    /// Whether the device has enough.
    pub enough: bool,
}

impl Reserved {
    /// Replays two steps on a device with `capacity` bytes for the allocator, where `workspaces`
    /// live throughout. `O(blocks · log blocks)`.
    pub fn of(
        inputs: Inputs<'_>,
        config: Config,
        capacity: Bytes,
        workspaces: &[Estimate],
    ) -> Reserved {
        let mut script = run(inputs, Script::default());
        script.lasting(workspaces);
        let Script { events, lasts, .. } = script;
        let is_lasting = |id: u32| lasts.get(id as usize).copied().unwrap_or(false);
        let outcome = replay(config, capacity.0, &events, is_lasting, 2);
        let peaks = outcome.statistics;
        Reserved {
            requested: Bytes(peaks.requested.peak),
            allocated: Bytes(peaks.allocated.peak),
            reserved: Bytes(peaks.reserved.peak),
            split: Bytes(peaks.inactive_split.peak),
            retries: peaks.retries,
            enough: !matches!(outcome.fault, Some(Fault::OutOfMemory { .. })),
        }
    }

    /// What is reserved beyond what is allocated when most is.
    pub fn fragmentation(&self) -> Bytes {
        self.reserved - self.allocated
    }
}

/// The events of a step; what the optimizer keeps is allocated when it first runs.
#[derive(Debug, Default)]
struct Script {
    events: Vec<Event>,
    /// By number, whether the block lasts over steps.
    lasts: Vec<bool>,
    /// The state that the optimizer has yet to make.
    state: Vec<Event>,
    /// How many events come before the step.
    start: usize,
}

impl Script {
    /// Puts what lives throughout, and is no tensor of the model, before the step.
    fn lasting(&mut self, workspaces: &[Estimate]) {
        let sizes: Vec<u64> = workspaces
            .iter()
            .filter(|estimate| estimate.allocated)
            .map(|estimate| estimate.bytes.0)
            .collect();
        let before: Vec<Event> = sizes
            .into_iter()
            .filter(|&bytes| bytes > 0)
            .map(|bytes| {
                let id = self.lasts.len() as u32;
                self.lasts.push(true);
                Event::Alloc { id, bytes }
            })
            .collect();
        self.events.splice(self.start..self.start, before);
    }

    fn id(number: u64) -> u32 {
        u32::try_from(number).unwrap_or(u32::MAX)
    }
}

impl Recorder for Script {
    fn allocated(&mut self, block: &Allocation) {
        let id = Script::id(block.number);
        let starts = block.moment.phase == Phase::Start;
        if self.lasts.len() <= id as usize {
            self.lasts.resize(id as usize + 1, false);
        }
        self.lasts[id as usize] = starts;
        let event = Event::Alloc {
            id,
            bytes: block.bytes,
        };
        match (starts, block.kind) {
            (true, MemoryKind::Optimizer) => self.state.push(event),
            (true, _) => {
                self.events.push(event);
                self.start = self.events.len();
            }
            (false, _) => {
                if block.moment.phase == Phase::Optimizer {
                    self.events.append(&mut self.state);
                }
                self.events.push(event);
            }
        }
    }

    fn freed(&mut self, block: &Allocation, now: Moment) {
        let id = Script::id(block.number);
        if self.lasts.get(id as usize).copied().unwrap_or(false) {
            return;
        }
        // `zero_grad` is the last thing of a step, and the optimizer has run then.
        if now.phase == Phase::Optimizer {
            self.events.append(&mut self.state);
        }
        self.events.push(Event::Free { id });
    }

    fn became(&mut self, _: &Allocation, _: MemoryKind, _: Moment) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::lowered;
    use crate::spec::run::Divisions;

    const CNN: &str = r#"
spec = 1
[dims]
batch = 8
[inputs]
x = ["batch", 3, 64, 64]
labels = { shape = ["batch"], dtype = "int64", range = [0, 9] }
[blocks.layer]
inputs = ["x"]
layers = [
  { name = "conv", op = "conv2d", out_channels = 64, kernel_size = 3, padding = 1 },
  { name = "norm", op = "batch_norm" },
  { name = "act", op = "relu" },
]
[[layers]]
name = "stem"
op = "layer"
in = "x"
[[layers]]
name = "h"
op = "layer"
repeat = 6
[[layers]]
name = "pool"
formula = "mean(h, dim=[2, 3])"
[[layers]]
name = "logits"
op = "linear"
out_features = 10
[[layers]]
name = "loss"
op = "cross_entropy"
in = ["logits", "labels"]
[train]
optimizer = "adamw"
"#;

    fn footprint(text: &str) -> Footprint {
        let (spec, model) = lowered(text);
        Facts::new(&spec, &model).footprint().clone()
    }

    fn reserved(text: &str) -> Reserved {
        footprint(text).reserved
    }

    /// Guards the chain from what is asked for to what is taken: the peak of the timeline and two
    /// workspaces are asked for, blocks are no smaller, segments are whole and hold the blocks.
    #[test]
    fn what_is_reserved_holds_what_is_asked_for() {
        let (spec, model) = lowered(CNN);
        let facts = Facts::new(&spec, &model);
        let (peak, reserved) = (facts.peak().bytes, facts.footprint().reserved);
        assert_eq!(reserved.requested, peak + Bytes(2 * 8_519_680));
        assert!(reserved.allocated >= reserved.requested);
        assert!(reserved.reserved >= reserved.allocated);
        assert_eq!(reserved.reserved.0 % (2 << 20), 0);
        assert!(reserved.enough);
        // No more than a few segments of 20 MiB, and a share of blocks that do not fit others.
        assert!(reserved.reserved.as_f64() < 1.35 * reserved.allocated.as_f64());
    }

    /// Guards the settings: pages of an expandable segment leave no holes between steps, and sizes
    /// that are rounded up take more.
    #[test]
    fn settings_of_the_allocator_count() {
        let plain = reserved(CNN);
        let growing = reserved(&format!("{CNN}[allocator]\nexpandable_segments = true\n"));
        assert!(growing.reserved <= plain.reserved);
        assert_eq!(growing.split, Bytes::ZERO);
        let rounded = format!("{CNN}[allocator]\nroundup_power2_divisions = 2\n");
        assert!(reserved(&rounded).allocated > plain.allocated);
        assert_eq!(Divisions([2; 16]).at(Bytes(1 << 30)), 2);
    }

    /// Guards the bounds, of a plan that cuts the model as well.
    #[test]
    fn the_total_lies_between_its_bounds() {
        let whole = footprint(&format!("{CNN}[cluster]\ndevice = \"a100-80gb-sxm\"\n"));
        assert!(whole.low <= whole.total && whole.total <= whole.high);
        let context = whole
            .estimates
            .iter()
            .find(|e| e.name == "CUDA context")
            .unwrap();
        assert_eq!(whole.total, whole.reserved.reserved + context.bytes);
        let cut = format!("{CNN}[cluster]\ndevices_per_node = 2\n[parallel]\ntensor = 2\n");
        let cut = footprint(&cut);
        assert!(cut.reserved.enough);
        assert!(cut.low <= cut.total && cut.total <= cut.high);
    }

    /// Guards a device that is too small: what is cached is given back, and then it is said.
    #[test]
    fn a_small_device_has_too_little() {
        let (spec, model) = lowered(CNN);
        let facts = Facts::new(&spec, &model);
        let of = |capacity: u64| {
            let config = Config::default();
            Reserved::of(facts.timeline(), config, Bytes(capacity), &[])
        };
        assert!(of(u64::MAX).enough);
        assert!(!of(of(u64::MAX).allocated.0 / 2).enough);
    }
}
