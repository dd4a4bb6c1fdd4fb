//! The backward pass.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::step::setting_of;
use super::{Left, Level, Pass, Returned, Stopped};
use crate::graph::{NodeId, TensorId, TensorKind};
use crate::kernels::{self, Array, Count, Gradients, Supplied};
use crate::ops::Call;
use crate::verify::ledger::{Purpose, Storage};

/// Gradients of zeros.
fn nothing(call: &Call) -> Gradients {
    let operands = call.arguments.iter().map(|argument| {
        let argument = argument.as_ref()?;
        let wanted = argument.requires_grad && argument.ty.dtype.is_float();
        wanted.then(|| Array::zeros(kernels::held_sizes(argument.ty)))
    });
    Gradients {
        operands: operands.collect(),
        count: Count::default(),
    }
}

impl Pass<'_> {
    /// Runs the model backward from gradients of its outputs; `watch` sees the gradients of each
    /// call's operands. Those of calls that could not be run are zeros.
    pub fn backward(
        mut self,
        seeds: Vec<(TensorId, Array)>,
        watch: &mut dyn FnMut(NodeId, &[Option<Array>]),
    ) -> Returned {
        let graph = self.plan.graph;
        let mut on_their_way: FxHashMap<TensorId, Array> = seeds.into_iter().collect();
        // Gradients of parameters that are not complete, and uses that are yet to run backward.
        let mut incoming_storages: FxHashMap<TensorId, Rc<Storage>> = FxHashMap::default();
        let mut uses = self.uses();
        let mut returned = Returned {
            gradients: FxHashMap::default(),
            count: Count::default(),
            levels: Vec::new(),
            left: Left::default(),
            stopped: Vec::new(),
        };
        for at in (0..graph.dag.node_count() as u32).rev() {
            let id = NodeId(at);
            let Some(history) = self.histories[at as usize].upgrade() else {
                continue;
            };
            let node = graph.node(id);
            let incoming: Vec<Option<Array>> = node
                .outputs()
                .map(|output| on_their_way.remove(&output))
                .collect();
            let layer = history.layer.take();
            if let Some(layer) = &layer
                && !layer.again.replace(true)
            {
                self.recompute(layer);
            }
            let kept = history.kept.take();
            if incoming.iter().any(Option::is_some) && node.op.differentiable {
                let mut operands = vec![None; node.arguments.len()];
                for (position, elements) in &kept.operands {
                    operands[*position] = Some(Rc::clone(elements));
                }
                let supplied = Supplied {
                    operands,
                    kept: kept.others.clone(),
                };
                let setting = setting_of(self.setting, id);
                let run = |call: &Call| kernels::backward(call, &supplied, &incoming, setting);
                let mut stops = |call: &Call| {
                    run(call).unwrap_or_else(|error| {
                        returned.stopped.push(Stopped {
                            node: id,
                            message: error.message,
                            outside: error.outside,
                        });
                        nothing(call)
                    })
                };
                let found = self.plan.call(node, |call| stops(call));
                returned.count = returned.count.plus(found.count);
                watch(id, &found.operands);
                for (&argument, gradient) in node.arguments.iter().zip(found.operands) {
                    let Some(gradient) = gradient else { continue };
                    let parameter = matches!(graph.tensor(argument).kind, TensorKind::Parameter(_));
                    let sums = match parameter {
                        true => &mut returned.gradients,
                        false => &mut on_their_way,
                    };
                    match sums.get_mut(&argument) {
                        Some(sum) => *sum += &gradient,
                        None => {
                            sums.insert(argument, gradient);
                        }
                    }
                    if parameter {
                        let bytes = graph.ty(argument).bytes();
                        let storage =
                            || Storage::new(&self.ledger, Purpose::Gradient, Some(argument), bytes);
                        incoming_storages.entry(argument).or_insert_with(storage);
                    }
                }
            }
            for argument in &node.arguments {
                let Some(left) = uses.get_mut(argument) else {
                    continue;
                };
                *left -= 1;
                // A complete gradient becomes the parameter's, or is added to the one that is there.
                if *left == 0
                    && let Some(storage) = incoming_storages.remove(argument)
                {
                    self.gradients.entry(*argument).or_insert(storage);
                }
            }
            drop((kept, layer, history));
            let (activations, gradients) = self.ledger.borrow().bytes();
            returned.levels.push(Level {
                node: id,
                backward: true,
                activations,
                gradients,
            });
        }
        returned.left = Left {
            ledger: self.ledger,
            gradients: self.gradients,
            outputs: self.outputs,
        };
        returned
    }

    /// How often calls that may run backward use each parameter.
    fn uses(&self) -> FxHashMap<TensorId, u32> {
        let graph = self.plan.graph;
        let mut uses = FxHashMap::default();
        for (at, history) in self.histories.iter().enumerate() {
            if history.strong_count() == 0 {
                continue;
            }
            for &argument in &graph.node(NodeId(at as u32)).arguments {
                if argument.is_present()
                    && matches!(graph.tensor(argument).kind, TensorKind::Parameter(_))
                {
                    *uses.entry(argument).or_default() += 1;
                }
            }
        }
        uses
    }
}
