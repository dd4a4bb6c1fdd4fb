//! `[train]`: batch, optimizer, schedule, precision, checkpointing and clipping.

use smol_str::SmolStr;

use super::Precision;
use crate::spec::setting::{Field, Positive, choice, settings};

settings! {
    /// `[train]`
    pub struct Train {
        /// Samples per device and forward pass; usually the name of a dim.
        micro_batch: Field<u64>,
        /// Samples per optimizer step over all devices, to be checked against the product.
        global_batch: Field<u64>,
        /// Forward and backward passes per optimizer step.
        grad_accumulation: Field<u64>,
        /// The optimizer, by `torch.optim`'s name, or a table of its settings.
        optimizer: Optimizer,
        /// The learning rate schedule.
        schedule: Schedule,
        /// Element types: a preset's name, or a table.
        precision: Precision,
        /// Blocks and layers whose activations are recomputed in the backward pass.
        checkpoint: Field<Vec<SmolStr>>,
        /// What lies in the memory of the host instead of the device's.
        offload: Field<Vec<Offload>>,
        /// Largest norm of all gradients together (`clip_grad_norm_`).
        clip_grad_norm: Field<f64>,
        /// Largest magnitude of a gradient element (`clip_grad_value_`).
        clip_grad_value: Field<f64>,
        /// Optimizer steps of the run.
        steps: Field<u64>,
        /// Seconds that an optimizer step was seen to take.
        step_seconds: Field<Positive>,
        /// Tokens that the run trains on: elements of the first input.
        tokens: Field<Positive>,
        /// Passes over the data set.
        epochs: Field<f64>,
        /// How gradients of the devices are joined.
        gradient_reduction: Field<Reduction>,
        /// Decay of an exponential moving average of the weights, per step.
        ema_decay: Field<f64>,
        /// Whether BatchNorm statistics are synchronised over all devices
        /// (`SyncBatchNorm.convert_sync_batchnorm`).
        sync_batch_norm: Field<bool>,
        /// Whether the process is deterministic (`torch.use_deterministic_algorithms`).
        deterministic: Field<bool>,
        /// Random seed.
        seed: Field<i64>,
    }
}

impl Train {
    /// Whether that lies in the memory of the host. Gradients and parameters only do with the
    /// optimizer that reads the ones and updates the others there.
    pub fn offloads(&self, what: Offload) -> bool {
        let named = |what| {
            self.offload
                .get()
                .is_some_and(|offload| offload.contains(&what))
        };
        let follows = matches!(what, Offload::Gradients | Offload::Parameters);
        named(what) && (!follows || named(Offload::Optimizer))
    }
}

choice! {
    /// What can lie in the memory of the host.
    pub enum Offload ("offload") {
        /// The optimizer's state and master weights, and with them its step (ZeRO-Offload).
        Optimizer = "optimizer",
        /// Gradients, from when they are complete on. Only with `optimizer`.
        Gradients = "gradients",
        /// What autograd keeps of the forward pass (`torch.autograd.graph.save_on_cpu`).
        Activations = "activations",
        /// Parameters, but for the layers that run. Only with `optimizer`, and where they are
        /// sharded (FSDP, ZeRO-3).
        Parameters = "parameters",
    }
}

settings! {
    /// `[train.optimizer]`
    pub struct Optimizer {
        /// The name in `torch.optim`, in lower case.
        name: Field<OptimizerKind>,
        /// Learning rate.
        lr: Field<f64>,
        /// Decay rates of the first and second moment.
        betas: Field<Vec<f64>>,
        /// Term added to the denominator.
        eps: Field<f64>,
        /// Weight decay.
        weight_decay: Field<f64>,
        /// Momentum of SGD and RMSprop.
        momentum: Field<f64>,
        /// Nesterov momentum.
        nesterov: Field<bool>,
        /// Smoothing constant of RMSprop.
        alpha: Field<f64>,
        /// Normalises by the centred second moment (RMSprop).
        centered: Field<bool>,
        /// Keeps the largest second moment (AMSGrad).
        amsgrad: Field<bool>,
        /// Whether the update runs over lists of tensors.
        foreach: Field<bool>,
        /// Whether the update is one fused kernel.
        fused: Field<bool>,
        /// Whether step counters lie on the device, for CUDA graphs.
        capturable: Field<bool>,
    }
    shorthand name;
}

choice! {
    /// An optimizer.
    pub enum OptimizerKind ("optimizer") {
        /// Stochastic gradient descent, with or without momentum.
        Sgd = "sgd",
        /// Adam.
        Adam = "adam",
        /// Adam with decoupled weight decay.
        AdamW = "adamw",
        /// Adam with the infinity norm.
        Adamax = "adamax",
        /// Adam with Nesterov momentum.
        NAdam = "nadam",
        /// Rectified Adam.
        RAdam = "radam",
        /// Adagrad.
        Adagrad = "adagrad",
        /// Adadelta.
        Adadelta = "adadelta",
        /// RMSprop.
        RmsProp = "rmsprop",
        /// Adafactor: factored second moments.
        Adafactor = "adafactor",
        /// Lion: sign of an interpolated momentum.
        Lion = "lion",
        /// LAMB: layer-wise scaled Adam.
        Lamb = "lamb",
        /// LARS: layer-wise scaled SGD.
        Lars = "lars",
        /// Muon: orthogonalised momentum.
        Muon = "muon",
        /// Adam with 8-bit states.
        Adam8bit = "adam8bit" | "adamw8bit",
        /// L-BFGS.
        Lbfgs = "lbfgs",
        /// Rprop.
        Rprop = "rprop",
        /// Averaged SGD.
        Asgd = "asgd",
        /// Shampoo: a preconditioner for each axis.
        Shampoo = "shampoo",
        /// SOAP: Adam in the eigenbasis of Shampoo's preconditioners.
        Soap = "soap",
    }
}

impl OptimizerKind {
    /// Whether the step is normalised by a second moment or a sign, so that the learning rate is
    /// roughly the size of an update.
    pub fn is_adaptive(self) -> bool {
        !matches!(
            self,
            OptimizerKind::Sgd | OptimizerKind::Lars | OptimizerKind::Lbfgs | OptimizerKind::Asgd
        )
    }
}

settings! {
    /// `[train.schedule]`
    pub struct Schedule {
        /// The shape of the curve.
        name: Field<ScheduleKind>,
        /// Optimizer steps over which the learning rate rises to its peak.
        warmup_steps: Field<u64>,
        /// Optimizer steps until the schedule ends.
        total_steps: Field<u64>,
        /// Learning rate at the end.
        min_lr: Field<f64>,
        /// Steps at which a step schedule lowers the rate.
        milestones: Field<Vec<u64>>,
        /// Factor of a step or exponential schedule.
        gamma: Field<f64>,
    }
    shorthand name;
}

choice! {
    /// The shape of a learning rate schedule.
    pub enum ScheduleKind ("schedule") {
        /// The same rate throughout.
        Constant = "constant",
        /// Half a cosine.
        Cosine = "cosine",
        /// A straight line.
        Linear = "linear",
        /// A factor at each milestone.
        Step = "step" | "multistep",
        /// A factor at each step.
        Exponential = "exponential",
        /// Up and down once.
        OneCycle = "one_cycle" | "onecycle",
        /// The inverse square root of the step.
        InverseSqrt = "inverse_sqrt" | "noam",
        /// Warm-up, constant, decay.
        WarmupStableDecay = "warmup_stable_decay" | "wsd",
        /// A power of the remaining share.
        Polynomial = "polynomial",
    }
}

choice! {
    /// How values of several devices are joined.
    pub enum Reduction ("reduction") {
        /// Their mean.
        Mean = "mean" | "average",
        /// Their sum.
        Sum = "sum",
    }
}
