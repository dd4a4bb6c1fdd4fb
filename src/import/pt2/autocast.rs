//! Parts of a program that stand under `torch.autocast`: the conversions that it makes, as calls.
//!
//! An exported program keeps `with torch.autocast(…):` as a wrapper around a graph, and says
//! nothing of the copies that the ops in it are handed (`at::autocast::cached_cast`). They are
//! tensors like others, that autograd keeps.

use rustc_hash::FxHashMap;

use super::arguments::{Arguments, Value};
use super::aten::{Mapping, Target};
use super::schema::{Argument, Node};
use crate::graph::{Builder, TensorId, TensorKind};
use crate::ops::{Autocast, find};
use crate::tensor::{Dtype, TensorType};

/// What `torch.autocast` is set to where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting {
    /// The lower type; `None` where it is disabled.
    lower: Option<Dtype>,
    /// The graph under the outermost `torch.autocast`: copies of weights are kept until its end.
    outermost: u32,
}

impl Setting {
    /// The setting of a wrapper, whose graph is about to get that scope; the outer setting where
    /// the node is another wrapper.
    pub(super) fn of(node: &Node, outer: Option<Setting>, inside: u32) -> Option<Setting> {
        if !node.target.ends_with(".wrap_with_autocast") {
            return outer;
        }
        let arguments = || node.inputs.iter().map(|input| &input.arg);
        let stated = arguments().find_map(|argument| match argument {
            Argument::Dtype(dtype) => Some(*dtype),
            _ => None,
        });
        // What `torch.get_autocast_dtype` gives where nothing is said.
        let usual = || match arguments().next() {
            Some(Argument::Text(device)) if device == "cuda" => Dtype::Float16,
            _ => Dtype::Bfloat16,
        };
        // `cache_enabled` stands behind it.
        let enabled = arguments().find_map(|argument| match argument {
            Argument::Boolean(enabled) => Some(*enabled),
            _ => None,
        });
        let lower = enabled
            .unwrap_or(true)
            .then(|| stated.flatten().unwrap_or_else(usual));
        Some(Setting {
            lower,
            outermost: outer.map_or(inside, |outer| outer.outermost),
        })
    }
}

/// The conversions of one program.
#[derive(Debug, Default)]
pub(super) struct Casts {
    /// Where the call that is being lowered stands.
    pub(super) setting: Option<Setting>,
    /// Copies of weights, by the outermost `torch.autocast`.
    cached: FxHashMap<(TensorId, u32), TensorId>,
    /// Whether the program states types as if there were no `torch.autocast`, as programs do that
    /// were traced by `torch.export.export(…, strict=True)`.
    understated: bool,
}

impl Casts {
    /// The arguments as the op is handed them; `None` where they are what they were.
    pub(super) fn arguments<'a>(
        &mut self,
        target: Target<'_>,
        arguments: &Arguments<'a>,
        stated: &[TensorType],
        builder: &mut Builder,
    ) -> Option<Arguments<'a>> {
        let setting = self.setting?;
        let lower = setting.lower?;
        let to = match policy(target)? {
            Autocast::Lower => lower,
            // The lists of devices differ: that of CPUs leaves norms and softmax as they are.
            Autocast::Float32 if stated.first()?.dtype == Dtype::Float32 => Dtype::Float32,
            _ => return None,
        };
        if target.in_place {
            return None;
        }
        let mut changed = false;
        let mut cast = |id: &mut TensorId| {
            let made = self.cast(*id, to, setting, builder);
            changed |= made != *id;
            *id = made;
        };
        let mut arguments = arguments.clone();
        for (_, value) in &mut arguments.0 {
            match value {
                Value::Tensor(id) => cast(id),
                Value::Tensors(ids) => ids.iter_mut().for_each(&mut cast),
                _ => {}
            }
        }
        changed.then_some(arguments)
    }

    /// A copy of a tensor in that type, or the tensor where it needs none.
    fn cast(
        &mut self,
        id: TensorId,
        to: Dtype,
        setting: Setting,
        builder: &mut Builder,
    ) -> TensorId {
        if !id.is_present() {
            return id;
        }
        let graph = builder.graph();
        let (from, kind) = (graph.ty(id).dtype, graph.tensor(id).kind);
        let eligible = from.is_float() && !from.is_complex() && from != Dtype::Float64;
        if !eligible || from == to || matches!(kind, TensorKind::Constant(_)) {
            return id;
        }
        // Exporting turns `cache_enabled` off while it traces, so what the program says of it is
        // not what the model does.
        let leaf = matches!(kind, TensorKind::Parameter(_))
            && from == Dtype::Float32
            && graph.tensor(id).requires_grad;
        let key = (id, setting.outermost);
        if let Some(&copy) = self.cached.get(&key).filter(|_| leaf) {
            return copy;
        }
        let made = find("to").and_then(|op| {
            let attributes = op.attribute_list(&[("dtype", to.into())]);
            builder.apply(op, &[id], attributes, None, 1).ok()
        });
        let made = made.map_or(id, |made| made[0]);
        if leaf && made != id {
            self.cached.insert(key, made);
        }
        made
    }

    /// The type of a result: the one that is stated, unless that leaves `torch.autocast` out.
    pub(super) fn result(&mut self, inferred: Dtype, stated: Dtype) -> Dtype {
        let lowers = self.setting.and_then(|setting| setting.lower) == Some(inferred);
        let left_out = stated == Dtype::Float32 && inferred.is_half();
        self.understated |= left_out && lowers;
        match left_out && self.understated {
            true => inferred,
            false => stated,
        }
    }
}

/// What `torch.autocast` does with the operands of a target.
fn policy(target: Target<'_>) -> Option<Autocast> {
    let op = match target.mapping()? {
        Mapping::Named(entry) => find(entry.op)?,
        Mapping::Special(_) if target.name.ends_with("convolution") => find("conv2d")?,
        Mapping::Special(_) => find(target.name)?,
    };
    Some(op.autocast)
}
