//! The gradient of a whole model, against differences of its loss along random directions.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::model::{Steps, Whole, counted, loss_seeds};
use super::result::Verification;
use super::{Claim, Outcome};
use crate::graph::{NodeId, TensorId};
use crate::kernels::{Array, Setting};

impl Whole<'_> {
    /// The first call through which values pass and gradients do not: `detach`, `no_grad`.
    fn stops(&self) -> Option<NodeId> {
        let graph = self.plan.graph;
        let found = graph.nodes().find(|&(id, node)| {
            let wants = |id: &TensorId| id.is_present() && graph.tensor(*id).requires_grad;
            let mut outputs = node.outputs();
            self.plan.runs(id)
                && node.arguments.iter().any(wants)
                && graph.ty(node.first_output).dtype.is_float()
                && outputs.all(|id| !graph.tensor(id).requires_grad)
        });
        found.map(|(id, _)| id)
    }

    /// A few trained parameters, one by one, and all of them: along these directions are drawn.
    pub(super) fn groups(&self) -> Vec<Vec<TensorId>> {
        let graph = self.plan.graph;
        let trained: Vec<TensorId> = graph
            .parameters
            .iter()
            .filter(|parameter| parameter.trainable && parameter.uses > 0)
            .map(|parameter| parameter.tensor)
            .collect();
        if !graph.training || trained.is_empty() {
            return Vec::new();
        }
        // Each direction runs the model at least twice.
        let elements: usize = self.drawn.values().map(|array| array.len()).sum();
        let few = if elements > 5_000_000 { 1 } else { 4 };
        let step = trained.len().div_ceil(few).max(1);
        let mut groups: Vec<Vec<TensorId>> =
            trained.iter().step_by(step).map(|&id| vec![id]).collect();
        groups.push(trained);
        groups
    }

    /// The gradient of the loss by all parameters and by a few of them, along random directions.
    pub(super) fn directions(&self, result: &mut Verification, steps: &mut Steps<'_>) {
        let graph = self.plan.graph;
        let groups = self.groups();
        if groups.is_empty() {
            return;
        }
        let setting = Setting::exact(self.seed);
        let pass = self
            .plan
            .forward(self.drawn, setting, &mut |_| steps.step());
        if let Some(stopped) = pass.drawn.first() {
            return result.say(
                "",
                Claim::Gradient,
                Outcome::Unchecked(self.stopped(stopped)),
            );
        }
        if let Some(id) = self.stops() {
            let why = format!(
                "the gradient stops at `{}` by intent, and differences do not",
                graph.node(id).op.name
            );
            return result.say("", Claim::Gradient, Outcome::Unchecked(why));
        }
        if let Some(why) = pass.convention {
            return result.say("", Claim::Gradient, Outcome::Unchecked(why.to_owned()));
        }
        let mut random = fastrand::Rng::with_seed(self.seed);
        let seeds = loss_seeds(graph, &pass, &mut random);
        let returned = pass.backward(seeds.clone(), &mut |_, _| steps.step());
        if let Some(stopped) = returned.stopped.first() {
            let outcome = Outcome::Unchecked(self.stopped(stopped));
            return result.say("", Claim::Gradient, outcome);
        }
        result.notes.push(counted("backward", returned.count));
        for group in groups {
            let outcome = self.along(&group, &seeds, &returned.gradients, &mut random, steps);
            let place = match group.as_slice() {
                [one] => graph.tensor_name(*one),
                _ => "all parameters".to_owned(),
            };
            result.say(&place, Claim::Gradient, outcome);
        }
    }

    /// The derivative along one random direction in some parameters, against central differences.
    fn along(
        &self,
        group: &[TensorId],
        seeds: &[(TensorId, Array)],
        gradients: &FxHashMap<TensorId, Array>,
        random: &mut fastrand::Rng,
        steps: &mut Steps<'_>,
    ) -> Outcome {
        let mut directions: Vec<(TensorId, Array)> = Vec::new();
        let mut claimed = 0.0;
        for &id in group {
            let Some(values) = self.drawn.get(&id) else {
                continue;
            };
            let size = 1.0 / (values.len() as f64).sqrt().max(1.0);
            let direction = values.mapv(|_| (random.f64() * 2.0 - 1.0) * size);
            if let Some(gradient) = gradients.get(&id) {
                claimed += (gradient * &direction).sum();
            }
            directions.push((id, direction));
        }
        let mut loss = |by: f64| -> f64 {
            let mut moved = self.drawn.clone();
            for (id, direction) in &directions {
                if let Some(values) = moved.get(id) {
                    let values = &**values + &(direction * by);
                    moved.insert(*id, Rc::new(values));
                }
            }
            let setting = Setting::exact(self.seed);
            let pass = self.plan.forward(&moved, setting, &mut |_| steps.step());
            seeds.iter().fold(0.0, |sum, (id, seed)| {
                sum + pass
                    .output(*id)
                    .map_or(0.0, |output| (&**output * seed).sum())
            })
        };
        let mut differences = |step: f64| (loss(step) - loss(-step)) / (2.0 * step);
        // Differences at smaller and smaller steps come to rest before rounding takes over. Where
        // they do not, there is a kink or a cliff, and nothing can be said.
        let mut last: Option<f64> = None;
        let mut best: Option<(f64, f64)> = None;
        for step in [1e-3, 1e-4, 1e-5, 1e-6, 1e-7] {
            let found = differences(step);
            let scale = claimed.abs().max(found.abs()).max(1e-6);
            if (found - claimed).abs() <= 1e-5 * scale || (found.is_nan() && claimed.is_nan()) {
                return Outcome::Confirmed;
            }
            if let Some(last) = last {
                let change = (found - last).abs() / scale;
                if best.is_none_or(|(least, _)| change < least) {
                    best = Some((change, found));
                }
            }
            last = Some(found);
        }
        match best {
            Some((change, found)) if change < 1e-3 => {
                let scale = claimed.abs().max(found.abs());
                if (found - claimed).abs() <= 10.0 * change.max(1e-5) * scale + 1e-9 {
                    return Outcome::Confirmed;
                }
                Outcome::Contradicted {
                    claimed: format!("{claimed} along a direction"),
                    found: format!("{found} by differences"),
                }
            }
            _ => Outcome::Unchecked(
                "differences of the loss do not come to rest as steps get smaller".to_owned(),
            ),
        }
    }
}
