//! Building a graph, call by call.

use petgraph::graph::{EdgeIndex, NodeIndex};
use smallvec::{SmallVec, smallvec};
use smol_str::SmolStr;

use super::{
    DefinitionId, Graph, Layer, LayerId, LayerKind, Node, NodeId, Parameter, Region, Runs, Tensor,
    TensorId, TensorKind, Use,
};
use crate::ops::{
    Argument, AttributeValue, Attributes, Call, Expander, Init, Op, OpError, Outputs, TensorHandle,
    find,
};
use crate::source::Span;
use crate::tensor::{Dtype, Shape, TensorType};

/// How large a graph may become: a spec of a few bytes can ask for billions of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most nodes.
    pub nodes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { nodes: 4_000_000 }
    }
}

/// Builds a [`Graph`] in topological order.
#[derive(Debug)]
pub struct Builder {
    graph: Graph,
    limits: Limits,
    layers: Vec<LayerId>,
}

/// How far a graph is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    types: usize,
    parameters: usize,
    inputs: usize,
    layers: usize,
    nodes: usize,
    edges: usize,
    open: usize,
}

/// The tensors that a call makes.
pub type Made = SmallVec<[TensorId; 1]>;

impl Builder {
    /// An empty graph.
    pub fn new(limits: Limits, training: bool, fused_attention: bool) -> Builder {
        let graph = Graph {
            training,
            fused_attention,
            ..Graph::default()
        };
        Builder {
            graph,
            limits,
            layers: Vec::new(),
        }
    }

    /// Makes room for that many layers of one op and two parameters each. Growing by doubling
    /// would copy everything once more, and touch twice the memory.
    pub fn reserve(&mut self, layers: usize) {
        self.graph.layers.reserve(layers);
        self.graph.dag.reserve_exact_nodes(layers);
        self.graph.dag.reserve_exact_edges(layers);
        self.graph.types.reserve(2 * layers);
        self.graph.tensors.reserve(2 * layers);
        self.graph.parameters.reserve(layers);
    }

    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The finished graph, with these outputs.
    pub fn finish(mut self, outputs: Vec<TensorId>) -> Graph {
        self.graph.outputs = outputs;
        self.graph
    }

    /// Whether another node still fits.
    pub fn has_room(&self) -> bool {
        self.graph.dag.node_count() < self.limits.nodes
            && self.graph.layers.len() < self.limits.nodes
    }

    /// Whether that many layers still fit; never fewer than none.
    pub fn has_room_for(&self, layers: i64) -> bool {
        usize::try_from(layers)
            .is_ok_and(|layers| layers.saturating_add(self.graph.layers.len()) <= self.limits.nodes)
    }

    fn push(&mut self, ty: TensorType, tensor: Tensor) -> TensorId {
        let id = TensorId(self.graph.types.len() as u32);
        self.graph.types.push(ty);
        self.graph.tensors.push(tensor);
        id
    }

    /// Adds an input of the model.
    pub fn input(&mut self, name: impl Into<SmolStr>, ty: TensorType) -> TensorId {
        let kind = TensorKind::Input(self.graph.inputs.len() as u32);
        let id = self.push(
            ty,
            Tensor {
                kind,
                known: true,
                requires_grad: false,
            },
        );
        self.graph.inputs.push((name.into(), id));
        id
    }

    /// Adds a number.
    pub fn constant(&mut self, value: f64) -> TensorId {
        let ty = TensorType::new(Shape::scalar(), Dtype::Float32);
        let kind = TensorKind::Constant(value);
        self.push(
            ty,
            Tensor {
                kind,
                known: true,
                requires_grad: false,
            },
        )
    }

    /// Adds a number of that element type: `2` is an integer, `2.0` is not.
    pub fn typed_constant(&mut self, value: f64, dtype: Dtype) -> TensorId {
        let id = self.constant(value);
        self.graph.types[id.0 as usize].dtype = dtype;
        id
    }

    /// Adds a tensor of which nothing is known, because of an error already reported.
    pub fn unknown(&mut self) -> TensorId {
        let ty = TensorType::new(Shape::scalar(), Dtype::Float32);
        let kind = TensorKind::Constant(f64::NAN);
        self.push(
            ty,
            Tensor {
                kind,
                known: false,
                requires_grad: false,
            },
        )
    }

    /// Adds a parameter or buffer.
    pub fn parameter(
        &mut self,
        name: impl Into<SmolStr>,
        layer: Option<LayerId>,
        ty: TensorType,
        init: Init,
        buffer: bool,
        trainable: bool,
    ) -> TensorId {
        let trainable = trainable && !buffer && ty.dtype.is_float();
        let kind = TensorKind::Parameter(self.graph.parameters.len() as u32);
        let tensor = self.push(
            ty,
            Tensor {
                kind,
                known: true,
                requires_grad: trainable,
            },
        );
        self.graph.parameters.push(Parameter {
            name: name.into(),
            layer,
            tensor,
            init,
            buffer,
            trainable,
            uses: 0,
            place: self.graph.parameters.len() as u32,
        });
        tensor
    }

    /// Says where among the parameters a module lists one that the graph may read in another order.
    pub fn list_parameter(&mut self, tensor: TensorId, place: u32) {
        if let TensorKind::Parameter(number) = self.graph.tensors[tensor.0 as usize].kind {
            self.graph.parameters[number as usize].place = place;
        }
    }

    /// Notes that a call writes its first result into a tensor that was there.
    pub fn write_in_place(&mut self, call: NodeId, written: TensorId) {
        self.graph.written.insert(call, written);
    }

    /// Opens a layer; what is added until [`Builder::end_layer`] belongs to it.
    pub fn begin_layer(
        &mut self,
        name: impl Into<SmolStr>,
        index: Option<u32>,
        kind: LayerKind,
        definition: DefinitionId,
    ) -> LayerId {
        let id = LayerId(self.graph.layers.len() as u32);
        let first_node = self.graph.dag.node_count() as u32;
        self.graph.layers.push(Layer {
            name: name.into(),
            parent: self.layers.last().copied(),
            index,
            kind,
            definition,
            first_node,
            end_node: first_node,
            outputs: SmallVec::new(),
            checkpointed: false,
        });
        self.layers.push(id);
        id
    }

    /// Closes the layer that was opened last; `outputs` is what it hands on.
    pub fn end_layer(&mut self, outputs: &[TensorId]) {
        if let Some(id) = self.layers.pop() {
            let end = self.graph.dag.node_count() as u32;
            let layer = &mut self.graph.layers[id.0 as usize];
            layer.end_node = end;
            layer.outputs = SmallVec::from_slice(outputs);
        }
    }

    /// The layer that is open.
    pub fn current_layer(&self) -> Option<LayerId> {
        self.layers.last().copied()
    }

    /// Counts a use of the parameters among these tensors by a call that could not be added: an
    /// error elsewhere does not make them unused.
    pub fn mark_used(&mut self, arguments: &[TensorId]) {
        for &id in arguments {
            if !id.is_present() {
                continue;
            }
            if let TensorKind::Parameter(index) = self.graph.tensors[id.0 as usize].kind {
                self.graph.parameters[index as usize].uses += 1;
            }
        }
    }

    /// Says how often some calls are made; regions may stand in each other.
    pub fn region(&mut self, nodes: std::ops::Range<u32>, runs: Runs) {
        self.graph.regions.push(Region { nodes, runs });
    }

    /// Marks a layer as recomputed in the backward pass.
    pub fn checkpoint(&mut self, layer: LayerId) {
        self.graph.layers[layer.0 as usize].checkpointed = true;
    }

    /// Shows the call that would result to `f`, without adding it.
    pub fn with_call<R>(
        &self,
        op: &'static Op,
        arguments: &[TensorId],
        attributes: &Attributes,
        f: impl FnOnce(&Call) -> R,
    ) -> R {
        let arguments: SmallVec<[Option<Argument>; 6]> = arguments
            .iter()
            .map(|&id| self.graph.argument(id))
            .collect();
        f(&Call {
            op,
            attributes,
            arguments: &arguments,
            outputs: &[],
            training: self.graph.training,
            fused_attention: self.graph.fused_attention,
            autocast: false,
        })
    }

    /// Applies an op. Where an operand's type is unknown, so are the `expected` outputs.
    ///
    /// # Errors
    /// Where an operand is missing or too many are given, where the op's inference refuses the
    /// operands, or where the graph grows past its limits. Nothing is added then.
    pub fn apply(
        &mut self,
        op: &'static Op,
        arguments: &[TensorId],
        attributes: Attributes,
        span: Option<Span>,
        expected: usize,
    ) -> Result<Made, OpError> {
        self.check_arity(op, arguments)?;
        let known = |id: &TensorId| !id.is_present() || self.graph.tensors[id.0 as usize].known;
        if !arguments.iter().all(known) {
            self.mark_used(arguments);
            return Ok((0..expected.max(1)).map(|_| self.unknown()).collect());
        }
        if let Some(folded) = self.fold(op, arguments, &attributes) {
            return Ok(smallvec![folded]);
        }
        if !self.has_room() {
            let message = format!("the model grows past {} ops", self.limits.nodes);
            return Err(OpError::new(message).help("lower `repeat`, or split the model"));
        }
        if let Some(expand) = op.expand {
            let mut expansion = Expansion {
                builder: self,
                arguments: Vec::new(),
                span,
            };
            return expansion.run(op, expand, arguments, &attributes);
        }
        let outputs = self.with_call(op, arguments, &attributes, |call| (op.infer)(call))?;
        self.add(op, arguments, attributes, span, outputs)
    }

    /// The types that a call of a simple op would give.
    ///
    /// # Errors
    /// Where an operand is missing or too many are given, where the op refuses them, or where the
    /// op stands for several others.
    pub fn infer(
        &self,
        op: &'static Op,
        arguments: &[TensorId],
        attributes: &Attributes,
    ) -> Result<Outputs, OpError> {
        self.check_arity(op, arguments)?;
        if op.expand.is_some() {
            let message = format!("`{}` stands for several ops, whose types follow", op.name);
            return Err(OpError::new(message));
        }
        self.with_call(op, arguments, attributes, |call| (op.infer)(call))
    }

    /// Gives a tensor another element type: that which a file states, where ops are freer in what
    /// they take and give than ours.
    pub fn retype(&mut self, id: TensorId, dtype: Dtype) {
        if let Some(ty) = self.graph.types.get_mut(id.0 as usize) {
            ty.dtype = dtype;
        }
    }

    /// Says what a layer is, once it is known.
    pub fn set_layer_kind(&mut self, layer: LayerId, kind: LayerKind) {
        if let Some(layer) = self.graph.layers.get_mut(layer.0 as usize) {
            layer.kind = kind;
        }
    }

    /// How far the graph is built, to go back to by [`Builder::roll_back`].
    pub fn mark(&self) -> Mark {
        Mark {
            types: self.graph.types.len(),
            parameters: self.graph.parameters.len(),
            inputs: self.graph.inputs.len(),
            layers: self.graph.layers.len(),
            nodes: self.graph.dag.node_count(),
            edges: self.graph.dag.edge_count(),
            open: self.layers.len(),
        }
    }

    /// Takes back everything that was added since the mark. Layers that were open then must not
    /// have been closed since. `O(what is taken back)`.
    pub fn roll_back(&mut self, mark: &Mark) {
        let graph = &mut self.graph;
        for at in (mark.edges..graph.dag.edge_count()).rev() {
            graph.dag.remove_edge(EdgeIndex::new(at));
        }
        for at in (mark.nodes..graph.dag.node_count()).rev() {
            let Some(node) = graph.dag.remove_node(NodeIndex::new(at)) else {
                continue;
            };
            for id in node.arguments.iter().filter(|id| id.is_present()) {
                if let TensorKind::Parameter(index) = graph.tensors[id.0 as usize].kind
                    && let Some(parameter) = graph.parameters.get_mut(index as usize)
                {
                    parameter.uses -= 1;
                }
            }
        }
        graph.types.truncate(mark.types);
        graph.tensors.truncate(mark.types);
        graph.parameters.truncate(mark.parameters);
        graph.inputs.truncate(mark.inputs);
        graph.layers.truncate(mark.layers);
        self.layers.truncate(mark.open);
    }

    fn check_arity(&self, op: &'static Op, arguments: &[TensorId]) -> Result<(), OpError> {
        if arguments.len() > op.operands.len() && !op.is_variadic() {
            let message = format!(
                "`{}` takes {} operands, but {} are given",
                op.name,
                op.operands.len(),
                arguments.len()
            );
            return Err(OpError::new(message).operands([op.operands.len()]));
        }
        for (position, operand) in op.operands.iter().enumerate() {
            let given = arguments.get(position).is_some_and(|id| id.is_present());
            if !given && !operand.optional {
                let message = format!("`{}` needs its operand `{}`", op.name, operand.name);
                return Err(OpError::new(message));
            }
        }
        Ok(())
    }

    fn fold(
        &mut self,
        op: &'static Op,
        arguments: &[TensorId],
        attributes: &Attributes,
    ) -> Option<TensorId> {
        let element = op.element?;
        let mut dtype = Dtype::Int64;
        let mut values: SmallVec<[f64; 3]> = SmallVec::new();
        for &id in arguments {
            values.push(self.graph.constant(id)?);
            dtype = dtype.promote(self.graph.ty(id).dtype);
        }
        let value = self.with_call(op, arguments, attributes, |call| element(call, &values));
        let whole = value.fract() == 0.0 && dtype == Dtype::Int64;
        Some(self.typed_constant(value, if whole { dtype } else { Dtype::Float32 }))
    }

    /// Adds a node whose output types are known.
    ///
    /// # Errors
    /// Where an output has more elements than fit 63 bits.
    pub fn add(
        &mut self,
        op: &'static Op,
        arguments: &[TensorId],
        attributes: Attributes,
        span: Option<Span>,
        outputs: Outputs,
    ) -> Result<Made, OpError> {
        for ty in &outputs {
            let elements = ty.shape.checked_elements();
            if elements.is_none_or(|count| ty.dtype.bits().checked_mul(count).is_none()) {
                let message = format!(
                    "the output {} has more elements than 63 bits count",
                    ty.shape
                );
                return Err(OpError::new(message));
            }
        }
        let node = NodeId(self.graph.dag.node_count() as u32);
        let gradient = op.differentiable
            && arguments
                .iter()
                .any(|id| id.is_present() && self.graph.tensors[id.0 as usize].requires_grad);
        let first_output = TensorId(self.graph.types.len() as u32);
        let output_count = outputs.len() as u32;
        let mut made = Made::new();
        for ty in outputs {
            let requires_grad = gradient && ty.dtype.is_float();
            let kind = TensorKind::Output(node);
            made.push(self.push(
                ty,
                Tensor {
                    kind,
                    known: true,
                    requires_grad,
                },
            ));
        }
        let layer = self.layers.last().copied().unwrap_or(LayerId(0));
        let index = self.graph.dag.add_node(Node {
            op,
            arguments: SmallVec::from_slice(arguments),
            attributes,
            first_output,
            output_count,
            layer,
            span,
        });
        for (position, &tensor) in arguments.iter().enumerate() {
            if !tensor.is_present() {
                continue;
            }
            match self.graph.tensors[tensor.0 as usize].kind {
                TensorKind::Output(producer) => {
                    let producer = NodeIndex::new(producer.0 as usize);
                    let weight = Use {
                        tensor,
                        position: position as u32,
                    };
                    self.graph.dag.add_edge(producer, index, weight);
                }
                TensorKind::Parameter(parameter) => {
                    self.graph.parameters[parameter as usize].uses += 1;
                }
                TensorKind::Input(_) | TensorKind::Constant(_) => {}
            }
        }
        Ok(made)
    }
}

/// A composite op on its way to simpler ones.
struct Expansion<'a> {
    builder: &'a mut Builder,
    arguments: Vec<Option<TensorHandle>>,
    span: Option<Span>,
}

impl Expansion<'_> {
    fn run(
        &mut self,
        op: &'static Op,
        expand: crate::ops::definition::Expand,
        arguments: &[TensorId],
        attributes: &Attributes,
    ) -> Result<Made, OpError> {
        let handle = |id: &TensorId| id.is_present().then_some(TensorHandle(id.0));
        self.arguments = arguments.iter().map(handle).collect();
        // The call is shown with copies of the operand types, for the builder grows meanwhile.
        let types: Vec<TensorType> = arguments
            .iter()
            .filter(|id| id.is_present())
            .map(|&id| self.builder.graph.ty(id).clone())
            .collect();
        let mut next = types.iter();
        let shown: SmallVec<[Option<Argument>; 6]> = arguments
            .iter()
            .map(|&id| {
                let ty = id.is_present().then(|| next.next()).flatten()?;
                let tensor = self.builder.graph.tensor(id);
                Some(Argument {
                    ty,
                    constant: self.builder.graph.constant(id),
                    requires_grad: tensor.requires_grad,
                    is_parameter: matches!(tensor.kind, TensorKind::Parameter(_)),
                    strides: None,
                })
            })
            .collect();
        let call = Call {
            op,
            attributes,
            arguments: &shown,
            outputs: &[],
            training: self.builder.graph.training,
            fused_attention: self.builder.graph.fused_attention,
            autocast: false,
        };
        let made = expand(&call, self)?;
        Ok(made.into_iter().map(|handle| TensorId(handle.0)).collect())
    }
}

impl Expander for Expansion<'_> {
    fn apply(
        &mut self,
        op: &str,
        arguments: &[Option<TensorHandle>],
        attributes: &[(&'static str, AttributeValue)],
    ) -> Result<SmallVec<[TensorHandle; 1]>, OpError> {
        let op = find(op).ok_or_else(|| OpError::new(format!("there is no op `{op}`")))?;
        let ids: SmallVec<[TensorId; 4]> = arguments
            .iter()
            .map(|handle| handle.map_or(TensorId::ABSENT, |handle| TensorId(handle.0)))
            .collect();
        let made = self
            .builder
            .apply(op, &ids, op.attribute_list(attributes), self.span, 1)?;
        Ok(made.into_iter().map(|id| TensorHandle(id.0)).collect())
    }

    fn arguments(&self) -> &[Option<TensorHandle>] {
        &self.arguments
    }

    fn constant(&mut self, value: f64) -> TensorHandle {
        TensorHandle(self.builder.constant(value).0)
    }

    fn ty(&self, tensor: TensorHandle) -> TensorType {
        self.builder.graph.ty(TensorId(tensor.0)).clone()
    }
}
