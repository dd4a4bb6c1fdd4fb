//! The program becomes a graph: parameters, layers, calls.

use rustc_hash::FxHashMap;
use smallvec::smallvec;

use super::arguments::{Arguments, Value};
use super::aten::{Mapping, Target, bind};
use super::autocast::Casts;
use super::flatten::{self, Call, Flat, Scoped, Step, flatten, tensors};
use super::layers;
use super::masks::{Masks, Simplified};
use super::regions::OpenRegion;
use super::schema::{Argument, ExportedProgram, Graph, Name, Node, SymbolicInteger, WeightsConfig};
use super::special::Context;
use super::stated;
use super::structure::Open;
use super::symbols::Symbols;
use super::tied::{Candidate, tied};
use super::tracer::Tracer;
use super::types::{declared, repeats, type_of};
use super::unaliased::unalias;
use crate::graph::{Builder, DefinitionId, Limits, Made, NodeId, TensorId};
use crate::import::{Agreement, ImportError, Imported};
use crate::lower::Model;
use crate::ops::foreign::OPAQUE;
use crate::ops::{Init, Outputs, find};
use crate::spec::{Attention, Mode, Spec};
use crate::tensor::{Dtype, TensorType};

/// Lowers a program.
pub(super) fn lower(
    program: &ExportedProgram,
    weights: &WeightsConfig,
    spec: &Spec,
    symbols: Symbols,
) -> Result<Imported, ImportError> {
    let graph = &program.graph_module.graph;
    let flat = flatten(graph)?;
    let training = match spec.model.mode.get() {
        Some(mode) => mode == Mode::Train,
        None => trains(&flat),
    };
    let fused = spec.model.attention.or(Attention::Fused) == Attention::Fused;
    let mut lowering = Lowering {
        builder: Builder::new(Limits::default(), training, fused),
        last_use: last_uses(&flat),
        flat: &flat,
        symbols,
        open_regions: Vec::new(),
        branch: None,
        tensors: FxHashMap::default(),
        pending: FxHashMap::default(),
        families: FxHashMap::default(),
        roots: FxHashMap::default(),
        definitions: FxHashMap::default(),
        places: Vec::new(),
        tracer: Tracer::default(),
        line: None,
        open: Vec::new(),
        agreement: Agreement::default(),
        masks: Masks::default(),
        casts: Casts::default(),
    };
    let dtype = lowering.inputs(program, weights)?;
    lowering.reserve();
    for run in layers::runs(&flat) {
        lowering.run(&run)?;
    }
    lowering.close(0, &[]);
    lowering.unread_parameters();
    let outputs = lowering.outputs(program);
    let mut finished = lowering.builder.finish(outputs);
    unalias(&mut finished);
    let model = Model {
        graph: finished,
        dtype,
        places: lowering.places,
        traces: lowering.tracer.traces,
        ..Model::default()
    };
    Ok(Imported {
        model,
        agreement: lowering.agreement,
        notes: Vec::new(),
    })
}

/// Whether the program is that of a model in training mode: its layers with two modes say so.
fn trains(flat: &Flat<'_>) -> bool {
    let modes: Vec<bool> = flat
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Call(call) => Some(&call.node.inputs),
            _ => None,
        })
        .flatten()
        .filter(|input| {
            matches!(
                input.name.as_str(),
                "train" | "training" | "use_input_stats"
            )
        })
        .filter_map(|input| match input.arg {
            Argument::Boolean(value) => Some(value),
            _ => None,
        })
        .collect();
    modes.is_empty() || modes.contains(&true)
}

/// At which step each tensor is read last.
fn last_uses<'a>(flat: &Flat<'a>) -> FxHashMap<Scoped<'a>, usize> {
    let mut last = FxHashMap::default();
    for (at, step) in flat.steps.iter().enumerate() {
        last.extend(step.reads().map(|name| (name, at)));
        if let Step::Call(call) = step {
            for name in call
                .node
                .inputs
                .iter()
                .flat_map(|input| flatten::names(&input.arg))
            {
                last.insert((call.scope, name.name.as_str()), at);
            }
        }
    }
    for (scope, graph) in flat.graphs.iter().enumerate() {
        for name in tensors(&graph.outputs) {
            last.insert((scope as u32, name.name.as_str()), usize::MAX);
        }
    }
    last
}

/// A parameter or buffer that no call has read yet.
#[derive(Debug, Clone)]
struct Pending<'a> {
    /// Its path in the module, and other names of it: one layer's weight may be another's, too.
    paths: Vec<&'a str>,
    ty: TensorType,
    buffer: bool,
    trainable: bool,
    /// Its place among all parameters and buffers of the module.
    place: u32,
}

/// The state of one walk over a program.
pub(super) struct Lowering<'a, 'f> {
    pub(super) builder: Builder,
    pub(super) flat: &'f Flat<'a>,
    pub(super) symbols: Symbols,
    pub(super) open_regions: Vec<OpenRegion<'a>>,
    /// The nodes of the first of two branches.
    pub(super) branch: Option<std::ops::Range<u32>>,
    pub(super) last_use: FxHashMap<Scoped<'a>, usize>,
    pub(super) tensors: FxHashMap<Scoped<'a>, TensorId>,
    /// Parameters by the names of the graph's inputs. They become tensors where they are first
    /// read, for only then is the layer open that owns them.
    pending: FxHashMap<&'a str, Pending<'a>>,
    /// The names of the tensors of one storage, by its first tensor.
    pub(super) families: FxHashMap<TensorId, Vec<Scoped<'a>>>,
    /// The storage of each view, by its first tensor.
    pub(super) roots: FxHashMap<TensorId, TensorId>,
    /// The numbers of definitions: layers that differ in nothing but a number share one.
    pub(super) definitions: FxHashMap<String, DefinitionId>,
    pub(super) places: Vec<String>,
    pub(super) tracer: Tracer<'a>,
    /// The number of the line in which the run being lowered begins.
    pub(super) line: Option<u32>,
    pub(super) open: Vec<Open<'a>>,
    agreement: Agreement,
    masks: Masks,
    casts: Casts,
}

impl<'a> Lowering<'a, '_> {
    /// Makes inputs and notes parameters. Gives the element type of the parameters.
    fn inputs(
        &mut self,
        program: &'a ExportedProgram,
        weights: &WeightsConfig,
    ) -> Result<Dtype, ImportError> {
        let graph = &program.graph_module.graph;
        let mut parameters: Vec<(&'a str, Pending<'a>)> = Vec::new();
        for spec in &program.graph_module.signature.input_specs {
            let owned = match (&spec.parameter, &spec.buffer) {
                (Some(parameter), _) => Some((&parameter.arg, &parameter.parameter_name, false)),
                (_, Some(buffer)) => Some((&buffer.arg, &buffer.buffer_name, true)),
                _ => None,
            };
            if let Some((name, path, buffer)) = owned {
                let (ty, meta) = declared(&graph.tensor_values, name, &self.symbols)?;
                let pending = Pending {
                    paths: vec![path],
                    ty,
                    buffer,
                    trainable: meta.requires_grad,
                    place: parameters.len() as u32,
                };
                parameters.push((name.name.as_str(), pending));
            } else if let Some(constant) = &spec.tensor_constant {
                let (ty, _) = declared(&graph.tensor_values, &constant.arg, &self.symbols)?;
                let made = self.constant(ty)?;
                self.tensors.insert((0, &constant.arg.name), made);
            } else if let Some(input) = &spec.user_input {
                for name in flatten::names(&input.arg) {
                    let (ty, _) = declared(&graph.tensor_values, name, &self.symbols)?;
                    let id = self.builder.input(name.name.as_str(), ty);
                    self.tensors.insert((0, &name.name), id);
                }
            }
        }
        let candidates: Vec<Candidate<'_>> = parameters
            .iter()
            .map(|(name, pending)| Candidate {
                name,
                path: pending.paths[0],
                ty: &pending.ty,
            })
            .collect();
        let tied = tied(&candidates, self.flat, weights);
        let dtype = parameters
            .iter()
            .map(|(_, pending)| pending.ty.dtype)
            .find(|dtype| dtype.is_float());
        for (alias, &tied) in tied.iter().enumerate() {
            if let Some(tied) = tied {
                let path = parameters[alias].1.paths[0];
                parameters[tied].1.paths.push(path);
            }
        }
        for ((name, pending), tied) in parameters.into_iter().zip(tied) {
            if tied.is_none() {
                self.pending.insert(name, pending);
            }
        }
        Ok(dtype.unwrap_or_default())
    }

    fn reserve(&mut self) {
        self.builder.reserve(self.flat.steps.len());
    }

    /// The parameters and buffers that no call reads, which a model holds all the same.
    fn unread_parameters(&mut self) {
        let mut left: Vec<Pending<'a>> = self.pending.drain().map(|(_, pending)| pending).collect();
        left.sort_by_key(|pending| pending.paths[0]);
        for pending in left {
            self.parameter(&pending);
        }
    }

    fn parameter(&mut self, pending: &Pending<'a>) -> TensorId {
        // The owner is the innermost open layer whose path one of the parameter's goes on from.
        let owned = self.open.iter().rev().find_map(|open| {
            let rest = |path: &&'a str| path.strip_prefix(open.module.path)?.strip_prefix('.');
            Some((open.layer, pending.paths.iter().find_map(rest)?))
        });
        let (layer, name) = match owned {
            Some((layer, name)) => (Some(layer), name),
            None => (None, pending.paths[0]),
        };
        // The file may hold the weights, but not how they were drawn.
        let init = Init::Unknown;
        let ty = pending.ty.clone();
        let id = self
            .builder
            .parameter(name, layer, ty, init, pending.buffer, pending.trainable);
        self.builder.list_parameter(id, pending.place);
        id
    }

    pub(super) fn tensor(&mut self, name: Scoped<'a>) -> Result<TensorId, ImportError> {
        if let Some(&id) = self.tensors.get(&name) {
            return Ok(id);
        }
        let pending = (name.0 == 0).then(|| self.pending.remove(name.1)).flatten();
        let Some(pending) = pending else {
            let message = format!("the program reads `{}` before anything makes it", name.1);
            return Err(ImportError::new(message));
        };
        let id = self.parameter(&pending);
        self.name(name, id);
        Ok(id)
    }

    /// Lets a name stand for a tensor.
    pub(super) fn name(&mut self, name: Scoped<'a>, id: TensorId) {
        self.tensors.insert(name, id);
        let root = self.roots.get(&id).copied().unwrap_or(id);
        self.families.entry(root).or_default().push(name);
    }

    /// Lowers a call and names its outputs.
    pub(super) fn call(&mut self, call: &Call<'a>, at: usize) -> Result<Made, ImportError> {
        let outputs = tensors(&call.node.outputs);
        if outputs.is_empty() {
            return Ok(Made::new());
        }
        if !self.builder.has_room() {
            let message = format!(
                "the program has more than {} calls",
                Limits::default().nodes
            );
            return Err(ImportError::new(message));
        }
        let graph = self.flat.graphs[call.scope as usize];
        let mut arguments = Arguments::default();
        for input in &call.node.inputs {
            let value = self.value(&input.arg, call)?;
            arguments.0.push((input.name.as_str(), value));
        }
        let stated: Option<Vec<TensorType>> = outputs
            .iter()
            .map(|name| self.stated(graph, &name.name))
            .collect();
        let calls = self.builder.graph().node_ids().len();
        let made = match stated {
            Some(stated) => {
                self.casts.setting = call.autocast;
                self.apply(call.node, &arguments, &stated)?
            }
            // Sizes that only running the program would tell.
            None => {
                self.builder.mark_used(&arguments.all_tensors());
                outputs.iter().map(|_| self.builder.unknown()).collect()
            }
        };
        let line = self.trace(call);
        let nodes = self.builder.graph().node_ids().len();
        self.tracer.traces.nodes.resize(nodes, line);
        let target = Target::parse(&call.node.target);
        if let (Some(target), Some(&first)) = (target, made.first()) {
            let graph = self.builder.graph();
            self.masks.note(call.node, target, &arguments, first, graph);
        }
        for (name, &id) in outputs.iter().zip(&made) {
            self.name((call.scope, name.name.as_str()), id);
        }
        let inputs = &call.node.inputs;
        let written = target.and_then(|target| match target.in_place {
            true => inputs.first(),
            false if target.overload.ends_with("out") => {
                inputs.iter().find(|input| input.name == "out")
            }
            false => None,
        });
        if let Some(Argument::Tensor(written)) = written.map(|input| &input.arg) {
            if let (true, Some(&old)) = (
                calls < nodes,
                self.tensors.get(&(call.scope, &written.name)),
            ) {
                self.builder.write_in_place(NodeId(nodes as u32 - 1), old);
            }
            self.overwrite((call.scope, &written.name), at, made[0]);
        }
        Ok(made)
    }

    /// The type that a graph states for a name.
    pub(super) fn stated(&self, graph: &Graph, name: &str) -> Option<TensorType> {
        type_of(graph.tensor_values.get(name)?, &self.symbols)
    }

    /// The number of the line that the call was written in.
    pub(super) fn trace(&mut self, call: &Call<'a>) -> Option<u32> {
        let nodes = [Some(call.node), call.caller];
        nodes.into_iter().flatten().find_map(|node| {
            let stack = node.metadata.get("stack_trace")?;
            self.tracer.line(stack)
        })
    }

    fn value(&mut self, argument: &'a Argument, call: &Call<'a>) -> Result<Value, ImportError> {
        let scope = call.scope;
        let number = |value: &SymbolicInteger| match value {
            SymbolicInteger::Number(value) => Some(*value),
            SymbolicInteger::Name(name) => {
                let graph = self.flat.graphs[scope as usize];
                let size = graph.sym_int_values.get(name)?;
                self.symbols.value(size)
            }
        };
        Ok(match argument {
            Argument::Absent => Value::Absent,
            Argument::Tensor(name) => Value::Tensor(self.operand(name, call)?),
            Argument::Tensors(names) => {
                let ids: Result<_, _> = names.iter().map(|name| self.operand(name, call)).collect();
                Value::Tensors(ids?)
            }
            Argument::OptionalTensors(names) => {
                let mut ids = Vec::with_capacity(names.len());
                for name in names {
                    ids.push(match name {
                        Some(name) => self.operand(name, call)?,
                        None => TensorId::ABSENT,
                    });
                }
                Value::Tensors(ids)
            }
            Argument::Integer(value) => number(value).map_or(Value::Absent, Value::Integer),
            Argument::Integers(values) => {
                let numbers: Option<Vec<i64>> = values.iter().map(number).collect();
                numbers.map_or(Value::Absent, Value::Integers)
            }
            Argument::Float(value) => Value::Float(*value),
            Argument::Boolean(value) => Value::Boolean(*value),
            Argument::Text(text) => Value::Text(text.clone()),
            Argument::Dtype(dtype) => dtype.map_or(Value::Other, Value::Dtype),
            Argument::Graph(_) | Argument::Other => Value::Other,
        })
    }

    /// A tensor that a call reads. Under `torch.no_grad()` no gradient flows back from it.
    fn operand(&mut self, name: &'a Name, call: &Call<'a>) -> Result<TensorId, ImportError> {
        let id = self.tensor((call.scope, &name.name))?;
        if !call.no_grad || !self.builder.graph().tensor(id).requires_grad {
            return Ok(id);
        }
        let detached = find("detach").and_then(|op| {
            self.builder
                .apply(op, &[id], Default::default(), None, 1)
                .ok()
        });
        Ok(detached.map_or(id, |made| made[0]))
    }

    /// Adds the call, or an opaque one where it is not understood.
    fn apply(
        &mut self,
        node: &Node,
        arguments: &Arguments<'_>,
        stated: &[TensorType],
    ) -> Result<Made, ImportError> {
        let target = node.target.as_str();
        let simplified = Target::parse(target)
            .and_then(|target| self.masks.simplify(target, arguments, &mut self.builder));
        let arguments = match &simplified {
            None => arguments,
            Some(Simplified::Arguments(arguments)) => arguments,
            Some(Simplified::Same(id)) => {
                if self.builder.graph().ty(*id).shape != stated[0].shape {
                    self.masks.note_slim(*id);
                }
                self.agreement.same += 1;
                return Ok(smallvec![*id]);
            }
        };
        let cast = Target::parse(target).and_then(|target| {
            let builder = &mut self.builder;
            self.casts.arguments(target, arguments, stated, builder)
        });
        let arguments = cast.as_ref().unwrap_or(arguments);
        let operands = arguments.all_tensors();
        let known = operands
            .iter()
            .all(|&id| self.builder.graph().tensor(id).known);
        let mapped = Target::parse(target)
            .filter(|_| known)
            .and_then(|target| self.mapped(target, arguments, stated));
        if let Some((made, same)) = mapped {
            match same {
                true => self.agreement.same += 1,
                false => self.agreement.other_dtype += 1,
            }
            return Ok(made);
        }
        let op_name = target.strip_prefix("torch.ops.").unwrap_or(target);
        if let Some(op) = stated::op(op_name) {
            self.agreement.same += 1;
            return self.foreign(op, op_name, &operands, stated);
        }
        self.agreement.opaque += 1;
        self.foreign(OPAQUE, op_name, &operands, stated)
    }

    /// Adds a call of an op whose types are what the program states.
    pub(super) fn foreign(
        &mut self,
        op: &'static str,
        name: &str,
        operands: &[TensorId],
        stated: &[TensorType],
    ) -> Result<Made, ImportError> {
        let op = find(op).ok_or_else(|| ImportError::new(format!("there is no op `{op}`")))?;
        let attributes = op.attribute_list(&[("target", name.into())]);
        // An operand of unknown type would make the outputs unknown, too; theirs is stated.
        self.builder
            .add(
                op,
                operands,
                attributes,
                None,
                stated.iter().cloned().collect(),
            )
            .map_err(|error| ImportError::new(error.message))
    }

    /// The outputs of a call that is understood, and whether their element types are those stated.
    fn mapped(
        &mut self,
        target: Target<'_>,
        arguments: &Arguments<'_>,
        stated: &[TensorType],
    ) -> Option<(Made, bool)> {
        let fits = |types: &[TensorType]| {
            !types.is_empty()
                && types.len() <= stated.len()
                && types.iter().zip(stated).all(|(a, b)| a.shape == b.shape)
        };
        match target.mapping()? {
            Mapping::Named(entry) => {
                let (op, operands, attributes) = bind(
                    entry,
                    target.in_place,
                    arguments,
                    stated.first(),
                    &mut self.builder,
                )?;
                let missing = op.operands.iter().enumerate().any(|(at, operand)| {
                    !operand.optional && !operands.get(at).is_some_and(|id| id.is_present())
                });
                if missing || op.expand.is_some() {
                    return None;
                }
                let types = self
                    .builder
                    .with_call(op, &operands, &attributes, |call| (op.infer)(call))
                    .ok()?;
                let same = types.iter().zip(stated).all(|(a, b)| a.dtype == b.dtype);
                let mut outputs: Outputs = stated.iter().cloned().collect();
                for (output, ty) in outputs.iter_mut().zip(&types) {
                    output.dtype = self.casts.result(ty.dtype, output.dtype);
                }
                let slim = !fits(&types) && self.masks.are_slim(&operands);
                if slim && repeats(&types, stated) {
                    outputs.clone_from(&types);
                } else if !fits(&types) {
                    return None;
                }
                let made = self
                    .builder
                    .add(op, &operands, attributes, None, outputs)
                    .ok()?;
                if slim {
                    made.iter().for_each(|&id| self.masks.note_slim(id));
                }
                if let (true, Some(&first)) = (op.view, operands.first()) {
                    let root = self.roots.get(&first).copied().unwrap_or(first);
                    for &id in &made {
                        self.roots.insert(id, root);
                    }
                }
                Some((made, same))
            }
            Mapping::Special(special) => {
                let mut made = special(&mut Context {
                    builder: &mut self.builder,
                    target,
                    arguments,
                    stated,
                })?;
                let graph = self.builder.graph();
                let types: Vec<TensorType> = made.iter().map(|&id| graph.ty(id).clone()).collect();
                if !fits(&types) {
                    return None;
                }
                let same = types.iter().zip(stated).all(|(a, b)| a.dtype == b.dtype);
                while made.len() < stated.len() {
                    made.push(self.builder.unknown());
                }
                Some((made, same))
            }
        }
    }

    /// The tensors that the program gives its user.
    fn outputs(&mut self, program: &'a ExportedProgram) -> Vec<TensorId> {
        let mut outputs = Vec::new();
        for spec in &program.graph_module.signature.output_specs {
            let user = spec
                .user_output
                .iter()
                .flat_map(|user| flatten::names(&user.arg));
            for name in user.chain(spec.loss_output.iter().map(|loss| &loss.arg)) {
                outputs.extend(self.tensors.get(&(0, name.name.as_str())));
            }
        }
        outputs
    }
}
