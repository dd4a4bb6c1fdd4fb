//! The model becomes a graph: inputs, initializers, calls, outputs.

use std::collections::BTreeSet;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::MIN_OPSET;
use super::attributes::{Attributes, Environment};
use super::call::{Call, Output, Results};
use super::constant::{self, Constant};
use super::dims::Dims;
use super::layers::Layers;
use super::order::{described, order};
use super::registry::{self, Mapping};
use super::schema::{FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto};
use super::schema::{TensorProto, TensorTypeProto, TypeProto, TypeValue, ValueInfoProto};
use super::slot::{Origin, Slot, SlotId, TensorSlot};
use super::stated::{self, Stated};
use crate::graph::{Builder, Limits, Mark, TensorId};
use crate::import::{Agreement, ImportError, Imported};
use crate::lower::Model;
use crate::ops::{Init, find};
use crate::spec::{Attention, Mode, Spec};
use crate::tensor::{Dtype, Shape, TensorType};

/// How deep graphs and functions may stand in each other.
const MAX_DEPTH: usize = 64;

/// Lowers a model.
pub(super) fn lower(model: &ModelProto, spec: &Spec, dims: Dims) -> Result<Imported, ImportError> {
    let Some(graph) = &model.graph else {
        return Err(ImportError::new("the file holds no graph").help("is it an ONNX model?"));
    };
    let training = match spec.model.mode.get() {
        Some(mode) => mode == Mode::Train,
        None => trains(&graph.node),
    };
    let fused = spec.model.attention.or(Attention::Fused) == Attention::Fused;
    let functions = model
        .functions
        .iter()
        .map(|function| ((domain(&function.domain), function.name.as_str()), function))
        .collect();
    let mut lowering = Lowering {
        builder: Builder::new(Limits::default(), training, fused),
        slots: Vec::new(),
        frames: Vec::new(),
        functions,
        dims,
        agreement: Agreement::default(),
        notes: BTreeSet::new(),
        layers: Layers::default(),
        materialized: Vec::new(),
        dtype: None,
    };
    let opset = opset(&model.opset_import);
    let broadcasts = |node: &NodeProto| {
        let mapping = registry::find(domain(&node.domain), &node.op_type);
        matches!(mapping, Some(Mapping::Binary(_)))
    };
    if opset < MIN_OPSET && graph.node.iter().any(broadcasts) {
        let message = format!(
            "the model is written for opset {opset}, which broadcasts in another way; opset \
             {MIN_OPSET} and later are read"
        );
        return Err(
            ImportError::new(message).help("`onnx.version_converter.convert_version` lifts it")
        );
    }
    lowering.builder.reserve(graph.node.len());
    let names = lowering.inputs(graph)?;
    let stated = stated::all(graph, &lowering.dims);
    let hints = stated::hints(&graph.node, &stated);
    lowering.frames.push(Frame {
        names,
        stated,
        hints,
        isolated: true,
        environment: Environment::default(),
        opset,
    });
    lowering.graph(&graph.node)?;
    lowering.layers.close(&mut lowering.builder, 0);
    let outputs = lowering.outputs(graph)?;
    let mut notes = lowering.dims.notes();
    notes.extend(lowering.notes);
    let model = Model {
        graph: lowering.builder.finish(outputs),
        dtype: lowering.dtype.unwrap_or_default(),
        places: lowering.layers.places,
        ..Model::default()
    };
    Ok(Imported {
        model,
        agreement: lowering.agreement,
        notes,
    })
}

/// Whether the model is one in training mode: its layers with two modes say so.
fn trains(nodes: &[NodeProto]) -> bool {
    nodes.iter().any(|node| {
        node.op_type == "BatchNormalization"
            && node
                .attribute
                .iter()
                .any(|attribute| attribute.name == "training_mode" && attribute.i != 0)
    })
}

/// A domain, of whose names the standard's has two.
pub(super) fn domain(name: &str) -> &str {
    match name {
        "ai.onnx" => "",
        name => name,
    }
}

fn opset(imports: &[OperatorSetIdProto]) -> i64 {
    imports
        .iter()
        .filter(|import| domain(&import.domain).is_empty())
        .map(|import| import.version)
        .max()
        .unwrap_or(i64::MAX)
}

/// The names of one graph or function.
pub(super) struct Frame<'p> {
    pub names: FxHashMap<&'p str, SlotId>,
    pub stated: FxHashMap<&'p str, Stated>,
    /// Sizes of what nothing is stated of, guessed from what is stated behind it.
    pub hints: FxHashMap<&'p str, Stated>,
    /// Whether names of the frames around it are not seen: those of a function's caller.
    pub isolated: bool,
    pub environment: Environment<'p>,
    pub opset: i64,
}

/// The state of one walk over a model.
pub(super) struct Lowering<'p> {
    pub builder: Builder,
    pub slots: Vec<Slot>,
    pub frames: Vec<Frame<'p>>,
    functions: FxHashMap<(&'p str, &'p str), &'p FunctionProto>,
    pub dims: Dims,
    pub agreement: Agreement,
    /// What there is to tell about the import, each once.
    pub notes: BTreeSet<String>,
    pub layers: Layers,
    /// Slots in the order in which they became tensors.
    materialized: Vec<SlotId>,
    /// The element type of the first weight.
    dtype: Option<Dtype>,
}

/// How far a lowering got, to go back to.
pub(super) struct Checkpoint {
    mark: Mark,
    agreement: Agreement,
    materialized: usize,
    layers: usize,
}

impl<'p> Lowering<'p> {
    /// Makes the inputs and notes the initializers.
    fn inputs(&mut self, graph: &'p GraphProto) -> Result<FxHashMap<&'p str, SlotId>, ImportError> {
        let mut names = FxHashMap::default();
        self.initializers(graph, &mut names)?;
        for info in &graph.input {
            if names.contains_key(info.name.as_str()) {
                // Before IR version 4, initializers were listed among the inputs.
                continue;
            }
            let slot = self.input(info)?;
            names.insert(info.name.as_str(), slot);
        }
        Ok(names)
    }

    /// Notes the initializers of a graph.
    pub(super) fn initializers(
        &mut self,
        graph: &'p GraphProto,
        names: &mut FxHashMap<&'p str, SlotId>,
    ) -> Result<(), ImportError> {
        for tensor in &graph.initializer {
            let slot = self.initializer(tensor)?;
            if names.insert(tensor.name.as_str(), slot).is_some() {
                let message = format!("two initializers are called `{}`", tensor.name);
                return Err(ImportError::new(message));
            }
        }
        for sparse in &graph.sparse_initializer {
            let Some(values) = &sparse.values else {
                continue;
            };
            let slot = match (
                constant::dtype(values.data_type),
                constant::shape(&sparse.dims),
            ) {
                (Some(dtype), Some(shape)) => Slot::Tensor(TensorSlot {
                    ty: TensorType::new(shape, dtype),
                    id: None,
                    known: None,
                    origin: Origin::Initializer,
                    name: values.name.clone(),
                }),
                _ => Slot::Foreign,
            };
            let slot = self.slot(slot);
            names.insert(values.name.as_str(), slot);
        }
        Ok(())
    }

    fn initializer(&mut self, tensor: &TensorProto) -> Result<SlotId, ImportError> {
        let Some(dtype) = constant::dtype(tensor.data_type) else {
            return Ok(self.slot(Slot::Foreign));
        };
        let shape = constant::shape(&tensor.dims).ok_or_else(|| {
            ImportError::new(format!(
                "the initializer `{}` has the sizes {:?}, which are none: one is below 0, or \
                 there are more elements than 63 bits count",
                tensor.name, tensor.dims
            ))
        })?;
        Ok(self.slot(Slot::Tensor(TensorSlot {
            ty: TensorType::new(shape, dtype),
            id: None,
            known: Constant::of(tensor).map(Rc::new),
            origin: Origin::Initializer,
            name: tensor.name.clone(),
        })))
    }

    fn input(&mut self, info: &ValueInfoProto) -> Result<SlotId, ImportError> {
        let ty = info.r#type.as_ref().and_then(|ty| ty.value.as_ref());
        let tensor = match ty {
            Some(TypeValue::Tensor(tensor)) => tensor,
            Some(TypeValue::Sequence(element)) => {
                return self.sequence(&info.name, element.elem_type.as_deref());
            }
            // An optional that a model is given is taken to hold something.
            Some(TypeValue::Optional(element)) => {
                match element.elem_type.as_ref().and_then(|ty| ty.value.as_ref()) {
                    Some(TypeValue::Tensor(tensor)) => tensor,
                    Some(TypeValue::Sequence(element)) => {
                        return self.sequence(&info.name, element.elem_type.as_deref());
                    }
                    _ => return Ok(self.slot(Slot::Foreign)),
                }
            }
            _ => return Ok(self.slot(Slot::Foreign)),
        };
        self.tensor_input(&info.name, tensor)
    }

    /// A sequence that a model is given: one tensor of the stated type stands for its items.
    fn sequence(&mut self, name: &str, element: Option<&TypeProto>) -> Result<SlotId, ImportError> {
        let Some(TypeValue::Tensor(tensor)) = element.and_then(|ty| ty.value.as_ref()) else {
            return Ok(self.slot(Slot::Sequence(None)));
        };
        let message = "a sequence that the model is given is taken to hold one tensor";
        self.notes.insert(message.to_owned());
        let item = self.tensor_input(name, tensor)?;
        Ok(self.slot(Slot::Sequence(Some(vec![item]))))
    }

    fn tensor_input(
        &mut self,
        name: &str,
        tensor: &TensorTypeProto,
    ) -> Result<SlotId, ImportError> {
        let Some(dtype) = constant::dtype(tensor.elem_type) else {
            return Ok(self.slot(Slot::Foreign));
        };
        let Some(shape) = &tensor.shape else {
            let message = format!(
                "the file states no shape for the input `{}`: what is computed from it is unknown",
                name
            );
            self.notes.insert(message);
            let id = self.builder.unknown();
            return Ok(self.computed(id));
        };
        let mut sizes = Shape::scalar();
        for dim in &shape.dim {
            sizes.push(self.dims.declare(dim, name)?);
        }
        let fits = sizes
            .checked_elements()
            .is_some_and(|count| count.checked_mul(128).is_some());
        if !fits {
            let message = format!(
                "the input `{}` is {sizes}, which are more elements than 63 bits count",
                name
            );
            return Err(ImportError::new(message));
        }
        let ty = TensorType::new(sizes, dtype);
        let id = self.builder.input(name, ty);
        Ok(self.computed(id))
    }

    /// Adds a slot.
    pub(super) fn slot(&mut self, slot: Slot) -> SlotId {
        self.slots.push(slot);
        SlotId(self.slots.len() as u32 - 1)
    }

    /// A slot for a tensor of the graph.
    pub(super) fn computed(&mut self, id: TensorId) -> SlotId {
        let ty = self.builder.graph().ty(id).clone();
        self.slot(Slot::Tensor(TensorSlot {
            ty,
            id: Some(id),
            known: None,
            origin: Origin::Computed,
            name: String::new(),
        }))
    }

    /// A slot for what was computed before the model runs.
    pub(super) fn constant(&mut self, constant: Constant, origin: Origin) -> SlotId {
        self.slot(Slot::Tensor(TensorSlot {
            ty: constant.ty.clone(),
            id: None,
            known: Some(Rc::new(constant)),
            origin,
            name: String::new(),
        }))
    }

    /// The tensor in a slot, if it is one.
    pub(super) fn tensor_slot(&self, slot: SlotId) -> Option<&TensorSlot> {
        match self.slots.get(slot.0 as usize)? {
            Slot::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The slot's tensor in the graph, which is made where it is not there yet. A `weight` is a
    /// parameter, whatever its element type and wherever it stands in the file.
    pub(super) fn materialize(
        &mut self,
        slot: SlotId,
        weight: bool,
        buffer: bool,
    ) -> Option<TensorId> {
        let tensor = self.tensor_slot(slot)?.clone();
        if let Some(id) = tensor.id {
            return Some(id);
        }
        let floats = tensor.ty.dtype.is_float();
        let id = match (weight, tensor.origin, floats) {
            (true, _, _) | (_, Origin::Initializer, true) => {
                if floats && !buffer {
                    self.dtype.get_or_insert(tensor.ty.dtype);
                }
                let (layer, name) = self.layers.owner(&tensor.name);
                let name = match name {
                    "" => "constant",
                    name => name,
                };
                let init = Init::Normal(0.0, 1.0);
                self.builder
                    .parameter(name, layer, tensor.ty, init, buffer, true)
            }
            _ => self.literal(&tensor)?,
        };
        if let Some(Slot::Tensor(tensor)) = self.slots.get_mut(slot.0 as usize) {
            tensor.id = Some(id);
        }
        self.materialized.push(slot);
        Some(id)
    }

    /// A constant as a tensor of the graph.
    fn literal(&mut self, tensor: &TensorSlot) -> Option<TensorId> {
        let sizes: Vec<i64> = tensor
            .ty
            .shape
            .sizes()
            .iter()
            .map(|&size| i64::try_from(size).ok())
            .collect::<Option<_>>()?;
        let mut attributes = vec![("size", sizes.into()), ("dtype", tensor.ty.dtype.into())];
        let known = tensor.known.as_deref();
        let name = match known.and_then(Constant::uniform) {
            Some(value) => {
                attributes.push(("fill_value", value.into()));
                "full"
            }
            None => {
                if let Some((low, high)) = known.and_then(Constant::range) {
                    attributes.push(("low", low.into()));
                    attributes.push(("high", high.into()));
                }
                "tensor"
            }
        };
        let op = find(name)?;
        let attributes = op.attribute_list(&attributes);
        let made = self.builder.apply(op, &[], attributes, None, 1).ok()?;
        made.first().copied()
    }

    /// How far the lowering got.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            mark: self.builder.mark(),
            agreement: self.agreement,
            materialized: self.materialized.len(),
            layers: self.layers.depth(),
        }
    }

    /// Takes back what was lowered since.
    pub(super) fn roll_back(&mut self, checkpoint: &Checkpoint) {
        self.builder.roll_back(&checkpoint.mark);
        self.agreement = checkpoint.agreement;
        self.layers.truncate(checkpoint.layers);
        for slot in self.materialized.drain(checkpoint.materialized..) {
            if let Some(Slot::Tensor(tensor)) = self.slots.get_mut(slot.0 as usize) {
                tensor.id = None;
            }
        }
    }

    /// What a name stands for, if anything makes it.
    pub(super) fn lookup(&self, name: &str) -> Option<SlotId> {
        for frame in self.frames.iter().rev() {
            if let Some(&slot) = frame.names.get(name) {
                return Some(slot);
            }
            if frame.isolated {
                break;
            }
        }
        None
    }

    /// Lets a name of the innermost frame stand for a slot.
    pub(super) fn bind(&mut self, name: &'p str, slot: SlotId) {
        if let (Some(frame), false) = (self.frames.last_mut(), name.is_empty()) {
            frame.names.insert(name, slot);
        }
    }

    /// Lowers the nodes of the innermost frame.
    pub(super) fn graph(&mut self, nodes: &'p [NodeProto]) -> Result<(), ImportError> {
        if self.frames.len() > MAX_DEPTH {
            let message = format!("graphs and functions stand more than {MAX_DEPTH} deep");
            return Err(ImportError::new(message));
        }
        let outer = self.layers.enter(nodes);
        for at in order(nodes)? {
            self.node(&nodes[at])?;
        }
        self.layers.leave(&mut self.builder, outer);
        Ok(())
    }

    fn node(&mut self, node: &'p NodeProto) -> Result<(), ImportError> {
        if !self.builder.has_room() {
            let message = format!("the model has more than {} calls", Limits::default().nodes);
            return Err(ImportError::new(message));
        }
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(match name.as_str() {
                "" => None,
                name => Some(self.lookup(name).ok_or_else(|| {
                    let reader = described(node);
                    ImportError::new(format!("{reader} reads `{name}`, which nothing makes"))
                })?),
            });
        }
        let Some(frame) = self.frames.last() else {
            return Ok(());
        };
        let stated: Vec<Option<Stated>> = node
            .output
            .iter()
            .map(|name| frame.stated.get(name.as_str()).cloned())
            .collect();
        let hints: Vec<Option<Stated>> = node
            .output
            .iter()
            .map(|name| frame.hints.get(name.as_str()).cloned())
            .collect();
        let mut call = Call {
            hints,
            attributes: Attributes::of(node, &frame.environment),
            version: frame.opset,
            node,
            inputs,
            stated,
            lowering: self,
        };
        let results = call.lower()?;
        self.name_results(node, results);
        Ok(())
    }

    fn name_results(&mut self, node: &'p NodeProto, results: Results) {
        let mut results = results.into_iter();
        for name in &node.output {
            let slot = match results.next() {
                Some(Output::Tensor(id)) => self.computed(id),
                Some(Output::Slot(slot)) => slot,
                None => {
                    let id = self.builder.unknown();
                    self.computed(id)
                }
            };
            self.bind(name, slot);
        }
    }

    /// The function that a call is of, if the file defines it.
    pub(super) fn function(&self, node: &NodeProto) -> Option<&'p FunctionProto> {
        self.functions
            .get(&(domain(&node.domain), node.op_type.as_str()))
            .copied()
    }

    /// The tensors that the model gives its user.
    fn outputs(&mut self, graph: &'p GraphProto) -> Result<Vec<TensorId>, ImportError> {
        let mut outputs = Vec::new();
        for info in &graph.output {
            let slot = self.lookup(&info.name).ok_or_else(|| {
                let message = format!("nothing makes the output `{}`", info.name);
                ImportError::new(message)
            })?;
            // What is known before the model runs is made in a layer of its own.
            let fresh = self
                .tensor_slot(slot)
                .is_some_and(|tensor| tensor.id.is_none());
            if fresh {
                self.layers.open_output(&mut self.builder, &info.name);
            }
            outputs.extend(self.materialize(slot, false, false));
            if fresh {
                self.layers.close(&mut self.builder, 0);
            }
        }
        Ok(outputs)
    }
}
