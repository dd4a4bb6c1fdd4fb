//! The run that is planned for the model: training, serving, cluster, parallelism, data, budget,
//! and the recipe to compare with.
//!
//! The tables are typed and placed, but nothing is derived here; see `facts`.

mod allocator;
mod cluster;
mod data;
mod precision;
mod serve;
mod train;
mod verify;

pub use allocator::{Allocator, Divisions, Share, SplitLimit};
pub use cluster::{Baseline, Budget, Cluster, Parallel, PipelineSchedule};
pub use data::{Data, Quantization, QuantizationScheme, Sampler};
pub use precision::{LossScale, Precision, PrecisionPreset};
pub use serve::{CacheDtype, Serve, WeightFormat};
pub use train::{Offload, Optimizer, OptimizerKind, Reduction, Schedule, ScheduleKind, Train};
pub use verify::{ExperimentKind, Verify};

/// All tables about the run.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// `[train]`
    pub train: Train,
    /// `[cluster]`
    pub cluster: Cluster,
    /// `[parallel]`
    pub parallel: Parallel,
    /// `[baseline]`
    pub baseline: Baseline,
    /// `[budget]`
    pub budget: Budget,
    /// `[data]`
    pub data: Data,
    /// `[quantization]`
    pub quantization: Quantization,
    /// `[allocator]`
    pub allocator: Allocator,
    /// `[serve]`
    pub serve: Serve,
    /// `[verify]`
    pub verify: Verify,
}

impl Run {
    /// Whether the spec plans a training run at all.
    pub fn trains(&self) -> bool {
        self.train.span.is_some()
    }
}
