//! Which module does what: the model and its block instances as containers, what stands in each,
//! what it reads from outside and what it hands on.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::graph::{Graph, LayerId, LayerKind, NodeId, TensorId, TensorKind, followed};
use crate::spec::Spec;
use crate::spec::operand::Source;

/// The composite op that PyTorch has a module for.
pub const ATTENTION: &str = "multi_head_attention";

/// Something that a container does, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A call of an op.
    Node(NodeId),
    /// A call of a block instance, by its number among the containers.
    Child(usize),
    /// A layer of `multi_head_attention`, instead of the calls that it is made of.
    Attention(LayerId),
}

/// The model or a block instance.
#[derive(Debug, Clone, Default)]
pub struct Container {
    /// The layer of the instance; `None` for the model.
    pub layer: Option<LayerId>,
    /// The container around it.
    pub parent: Option<usize>,
    /// How many containers stand in it at most.
    pub height: u32,
    /// What it does.
    pub events: Vec<Event>,
    /// The tensors that it reads and neither makes nor owns, each once; for a block of a spec in
    /// the order of its inputs.
    pub reads: Vec<TensorId>,
    /// The names of those of the inputs among `reads`, as far as they are known.
    pub names: Vec<Option<String>>,
    /// The tensors that it hands on.
    pub outputs: Vec<TensorId>,
}

/// All containers, each before those that stand in it.
#[derive(Debug)]
pub struct Plan<'g> {
    /// The graph.
    pub graph: &'g Graph,
    /// The containers; the first is the model.
    pub containers: Vec<Container>,
    /// For each layer, the container that it is or stands in.
    home: Vec<usize>,
    /// The tensors whose element type is that of another, and that other.
    pub followed: FxHashMap<TensorId, TensorId>,
    /// The layers of `multi_head_attention`, with query, key and value, and a mask.
    pub attentions: FxHashMap<LayerId, [Option<TensorId>; 4]>,
}

impl<'g> Plan<'g> {
    /// Plans a graph. `O(nodes + edges · depth)`.
    pub fn of(graph: &'g Graph, spec: &Spec) -> Plan<'g> {
        let mut plan = Plan {
            graph,
            containers: vec![Container::default()],
            home: Vec::with_capacity(graph.layers.len()),
            followed: followed(graph),
            attentions: FxHashMap::default(),
        };
        for (number, layer) in graph.layers.iter().enumerate() {
            let outer = layer
                .parent
                .map_or(0, |parent| plan.home[parent.0 as usize]);
            let home = match layer.kind {
                LayerKind::Block(_) => {
                    plan.containers.push(Container {
                        layer: Some(LayerId(number as u32)),
                        parent: Some(outer),
                        ..Container::default()
                    });
                    plan.containers.len() - 1
                }
                _ => outer,
            };
            plan.home.push(home);
        }
        plan.find_attentions(spec);
        plan.events();
        plan.outputs();
        plan.reads();
        plan.name_inputs(spec);
        plan
    }

    /// The container that a layer is or stands in.
    pub fn home(&self, layer: LayerId) -> usize {
        self.home.get(layer.0 as usize).copied().unwrap_or(0)
    }

    /// Whether a node belongs to the container or to one that stands in it.
    fn contains(&self, container: usize, node: NodeId) -> bool {
        self.containers[container]
            .layer
            .is_none_or(|layer| self.graph.layer_nodes(layer).contains(&node.0))
    }

    /// The container that a node stands in. What belongs to no layer has the number of the first
    /// one, so the range of nodes decides.
    fn container_of(&self, node: NodeId) -> usize {
        let mut at = self.home(self.graph.node(node).layer);
        while !self.contains(at, node) {
            at = self.containers[at].parent.unwrap_or(0);
        }
        at
    }

    /// Whether `inner` is `outer` or stands in it.
    pub fn within(&self, inner: usize, outer: usize) -> bool {
        let mut at = Some(inner);
        while let Some(here) = at {
            if here == outer {
                return true;
            }
            at = self.containers[here].parent;
        }
        false
    }

    /// Whether the container makes or owns a tensor, itself or what stands in it.
    fn has(&self, container: usize, tensor: TensorId) -> bool {
        match self.graph.tensor(tensor).kind {
            TensorKind::Constant(_) => true,
            TensorKind::Output(node) => self.contains(container, node),
            TensorKind::Parameter(number) => {
                let owner = self.graph.parameters[number as usize].layer;
                let home = owner.map_or(0, |layer| self.home(layer));
                self.within(home, container)
            }
            TensorKind::Input(_) => false,
        }
    }

    /// Layers of `multi_head_attention` that own their weights and whose inputs are told apart by
    /// how many the spec names.
    fn find_attentions(&mut self, spec: &Spec) {
        for (number, layer) in self.graph.layers.iter().enumerate() {
            if layer.kind != LayerKind::Op(ATTENTION) || layer.first_node == layer.end_node {
                continue;
            }
            let id = LayerId(number as u32);
            let mut read: Vec<TensorId> = Vec::new();
            let mut owned = false;
            let mut mask = None;
            for node in (layer.first_node..layer.end_node).map(NodeId) {
                let node = self.graph.node(node);
                for (position, &tensor) in node.arguments.iter().enumerate() {
                    if !tensor.is_present() {
                        continue;
                    }
                    let inside = self
                        .graph
                        .producer(tensor)
                        .is_some_and(|made| self.graph.layer_nodes(id).contains(&made.0));
                    let weight = self.graph.parameter(tensor);
                    if weight.is_some_and(|weight| weight.layer == Some(id)) {
                        owned = true;
                    } else if node.op.name == "scaled_dot_product_attention" && position == 3 {
                        mask = Some(tensor);
                    } else if !inside && !read.contains(&tensor) {
                        read.push(tensor);
                    }
                }
            }
            let definition = spec.definitions.get(layer.definition.0 as usize);
            let named = definition.and_then(|definition| definition.inputs.as_ref());
            let named: Vec<&str> = named
                .map(|inputs| {
                    inputs
                        .iter()
                        .map(|(source, _)| named_source(source))
                        .collect()
                })
                .unwrap_or_default();
            let inputs = match (named.as_slice(), read.as_slice()) {
                (_, &[one]) => [one; 3],
                ([_, _], &[query, key]) => [query, key, key],
                ([query, key, value, ..], &[first, second]) => match () {
                    () if key == value => [first, second, second],
                    () if query == key => [first, first, second],
                    () if query == value => [first, second, first],
                    () => continue,
                },
                (_, &[query, key, value]) => [query, key, value],
                _ => continue,
            };
            // A mask for each head or sample has another form in PyTorch's module.
            let flat = mask.is_none_or(|mask| self.graph.ty(mask).shape.rank() == 2);
            if owned && flat && definition.is_some() {
                let [query, key, value] = inputs.map(Some);
                self.attentions.insert(id, [query, key, value, mask]);
            }
        }
    }

    fn events(&mut self) {
        // By the first node: a container comes before the node that it begins with.
        let mut timed: Vec<Vec<(u32, Event)>> = vec![Vec::new(); self.containers.len()];
        for (number, container) in self.containers.iter().enumerate() {
            if let (Some(parent), Some(layer)) = (container.parent, container.layer) {
                let first = self.graph.layer(layer).first_node;
                timed[parent].push((first, Event::Child(number)));
            }
        }
        for node in self.graph.node_ids() {
            let layer = self.graph.node(node).layer;
            let container = self.container_of(node);
            let event = match self.attentions.contains_key(&layer) {
                true if self.graph.layer(layer).first_node == node.0 => Event::Attention(layer),
                true => continue,
                false => Event::Node(node),
            };
            timed[container].push((node.0, event));
        }
        for (container, mut events) in self.containers.iter_mut().zip(timed) {
            let rank = |event: &Event| match event {
                Event::Child(number) => (0, *number),
                _ => (1, 0),
            };
            events.sort_by_key(|(at, event)| (*at, rank(event)));
            container.events = events.into_iter().map(|(_, event)| event).collect();
        }
        for number in (1..self.containers.len()).rev() {
            let height = self.containers[number].height + 1;
            if let Some(parent) = self.containers[number].parent {
                let parent = &mut self.containers[parent];
                parent.height = parent.height.max(height);
            }
        }
    }

    /// What each container hands on: what its layer says, and whatever else is read outside.
    fn outputs(&mut self) {
        let graph = self.graph;
        let mut escaping: Vec<Vec<TensorId>> = vec![Vec::new(); self.containers.len()];
        let mut seen: FxHashSet<(usize, TensorId)> = FxHashSet::default();
        for (number, container) in self.containers.iter().enumerate() {
            if let Some(layer) = container.layer {
                let declared = graph.layer(layer).outputs.iter().copied();
                escaping[number] = declared
                    .filter(|&tensor| {
                        let producer = graph.producer(tensor);
                        producer.is_some_and(|node| self.contains(number, node))
                            && seen.insert((number, tensor))
                    })
                    .collect();
            }
        }
        let mut note = |tensor: TensorId, reader: Option<NodeId>, outer: Option<usize>| {
            let Some(producer) = graph.producer(tensor) else {
                return;
            };
            let mut at = self.container_of(producer);
            while let Some(parent) = self.containers[at].parent {
                let inside = match (reader, outer) {
                    (Some(reader), _) => self.contains(at, reader),
                    (None, Some(outer)) => at == outer,
                    (None, None) => false,
                };
                if inside {
                    break;
                }
                if seen.insert((at, tensor)) {
                    escaping[at].push(tensor);
                }
                at = parent;
            }
        };
        for (id, node) in graph.nodes() {
            for &tensor in node.arguments.iter().filter(|id| id.is_present()) {
                note(tensor, Some(id), None);
            }
        }
        for &output in &graph.outputs {
            note(output, None, None);
        }
        for (number, container) in self.containers.iter().enumerate() {
            if let Some(layer) = container.layer {
                for &tensor in &graph.layer(layer).outputs {
                    let inside = graph
                        .producer(tensor)
                        .is_some_and(|n| self.contains(number, n));
                    if inside {
                        note(tensor, None, Some(number));
                    }
                }
            }
        }
        for (container, outputs) in self.containers.iter_mut().zip(escaping) {
            container.outputs = outputs;
        }
        self.containers[0].outputs = graph.outputs.clone();
    }

    /// What each container reads from outside, children first.
    fn reads(&mut self) {
        for number in (0..self.containers.len()).rev() {
            let mut seen: FxHashSet<TensorId> = FxHashSet::default();
            let mut reads = Vec::new();
            for event in &self.containers[number].events {
                for tensor in self.read_by(*event) {
                    if !self.has(number, tensor) && seen.insert(tensor) {
                        reads.push(tensor);
                    }
                }
            }
            if number == 0 {
                reads = self
                    .graph
                    .inputs
                    .iter()
                    .map(|&(_, tensor)| tensor)
                    .collect();
            }
            self.containers[number].reads = reads;
        }
    }

    /// The tensors that an event reads, once for each time.
    pub fn read_by(&self, event: Event) -> Vec<TensorId> {
        match event {
            Event::Node(node) => {
                let arguments = self.graph.node(node).arguments.iter().copied();
                arguments.filter(|id| id.is_present()).collect()
            }
            Event::Child(number) => self.containers[number].reads.clone(),
            Event::Attention(layer) => {
                let inputs = self.attentions.get(&layer).into_iter().flatten();
                inputs.copied().flatten().collect()
            }
        }
    }

    /// Puts what a block reads in the order of its inputs, under their names: what a layer names
    /// is looked up among the layers and inputs around it. Instances that repeat follow the first.
    fn name_inputs(&mut self, spec: &Spec) {
        let mut orders: FxHashMap<u32, Vec<usize>> = FxHashMap::default();
        let mut scopes: Vec<FxHashMap<String, TensorId>> =
            vec![FxHashMap::default(); self.containers.len()];
        for (name, tensor) in &self.graph.inputs {
            scopes[0].insert(name.to_string(), *tensor);
        }
        for (number, layer) in self.graph.layers.iter().enumerate() {
            let outer = layer.parent.map_or(0, |parent| self.home(parent));
            let Some(definition) = spec.definitions.get(layer.definition.0 as usize) else {
                continue;
            };
            let called = layer
                .parent
                .is_some_and(|parent| self.graph.layer(parent).kind == LayerKind::Formula);
            if !called {
                for (name, &tensor) in definition.names.iter().zip(&layer.outputs) {
                    scopes[outer].insert(name.to_string(), tensor);
                }
            }
            let LayerKind::Block(block) = &layer.kind else {
                continue;
            };
            let home = self.home[number];
            let block = spec.blocks.iter().find(|known| known.name == *block);
            let inputs: Vec<&str> = block
                .map(|block| block.inputs.iter().map(|(name, _)| name.as_str()).collect())
                .unwrap_or_default();
            let reads = &self.containers[home].reads;
            let data: Vec<TensorId> = reads
                .iter()
                .copied()
                .filter(|&tensor| self.graph.parameter(tensor).is_none())
                .collect();
            let order = match (
                orders.get(&layer.definition.0),
                data.len(),
                &definition.inputs,
            ) {
                (Some(order), count, _) if order.len() == count => Some(order.clone()),
                (_, 1, _) if inputs.len() == 1 => Some(vec![0]),
                (None, count, Some(wanted)) if !called && wanted.len() == inputs.len() => {
                    let places = wanted
                        .iter()
                        .map(|(source, _)| scopes[outer].get(named_source(source)));
                    let places: Vec<Option<&TensorId>> = places.collect();
                    let order: Vec<usize> = data
                        .iter()
                        .filter_map(|tensor| places.iter().position(|at| *at == Some(tensor)))
                        .collect();
                    (order.len() == count).then_some(order)
                }
                _ => None,
            };
            let Some(order) = order else {
                self.containers[home].names = vec![None; reads.len()];
                continue;
            };
            orders.insert(layer.definition.0, order.clone());
            let mut sorted: Vec<(usize, TensorId)> = order.into_iter().zip(data).collect();
            sorted.sort_unstable();
            let others = reads.iter().filter(|&&t| self.graph.parameter(t).is_some());
            let others: Vec<TensorId> = others.copied().collect();
            let mut names = Vec::new();
            let mut ordered = Vec::new();
            for (input, tensor) in sorted {
                names.push(inputs.get(input).map(|name| (*name).to_owned()));
                if let Some(name) = inputs.get(input) {
                    scopes[home].insert((*name).to_owned(), tensor);
                }
                ordered.push(tensor);
            }
            names.extend(others.iter().map(|_| None));
            ordered.extend(others);
            self.containers[home].reads = ordered;
            self.containers[home].names = names;
        }
    }
}

/// The name of something that a layer reads; none for a number.
fn named_source(source: &Source) -> &str {
    match source {
        Source::Name(name) => name,
        _ => "",
    }
}
