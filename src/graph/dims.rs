//! Which sizes of a graph's inputs may be other ones, and which numbers of its calls follow from them.
//!
//! A graph has numbers only. A size of an input may be named if the model still fits together when
//! it is another one: the graph is walked with the size doubled, and each call's shapes are
//! inferred anew. Numbers that must follow, as in a reshape that keeps the batch, are found by
//! matching axes of the same product. Numbers that nothing in front of them decides, as those of
//! `arange`, are guessed; if a call then does not fit, the next guess is tried, and where none is
//! left, the size stays a number.

use petgraph::graph::NodeIndex;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::{Graph, Node, NodeId, TensorId};
use crate::ops::foreign::OPAQUE;
use crate::ops::{AttributeValue, Attributes};
use crate::tensor::{Shape, TensorType};

/// Most elements of a tensor of a graph whose sizes get names.
const MOST_ELEMENTS: u64 = 1 << 50;

/// A number of a call: node, position of the attribute, place in its list.
type Place = (NodeId, usize, usize);

/// A size with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dim {
    /// The name.
    pub name: SmolStr,
    /// The size.
    pub value: u64,
    /// Its axes: number of the input, axis.
    axes: Vec<(usize, usize)>,
}

/// The dims of a graph, and the numbers that follow from them.
#[derive(Debug, Default)]
pub struct Dims {
    /// The dims that hold.
    pub dims: Vec<Dim>,
    /// By place, the dims whose product a number is a multiple of.
    follows: FxHashMap<Place, SmallVec<[usize; 2]>>,
    /// By tensor and axis, the same for stated sizes.
    sizes: FxHashMap<(TensorId, usize), SmallVec<[usize; 2]>>,
}

/// How numbers that nothing decides are guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guess {
    /// Every number of that size follows from the dim.
    All,
    /// Only the first of each call does.
    First,
    /// None does.
    None,
}

impl Dims {
    /// Finds the dims. `open` are those that the model's file leaves open, and their sizes.
    /// `O(nodes)` for each dim.
    pub fn of(graph: &Graph, open: &[(SmolStr, u64)]) -> Dims {
        let mut dims = Dims::default();
        // Doubled axes must not take a tensor past what can be counted.
        if graph
            .types
            .iter()
            .any(|ty| ty.shape.elements() > MOST_ELEMENTS)
        {
            return dims;
        }
        for dim in candidates(graph, open) {
            // Axes of size one are put in and taken out everywhere.
            let guesses = match dim.value {
                1 => [Guess::None, Guess::First, Guess::All],
                _ => [Guess::All, Guess::First, Guess::None],
            };
            let found = guesses
                .into_iter()
                .find_map(|guess| Walk::new(graph, &dim, guess).run());
            let Some((places, sizes)) = found else {
                continue;
            };
            let number = dims.dims.len();
            for place in places {
                dims.follows.entry(place).or_default().push(number);
            }
            for place in sizes {
                dims.sizes.entry(place).or_default().push(number);
            }
            dims.dims.push(dim);
        }
        dims
    }

    /// How a number of a call is written.
    pub fn number(&self, place: Place, value: i64) -> String {
        let size = u64::try_from(value).ok();
        self.product(self.follows.get(&place), size)
            .unwrap_or_else(|| value.to_string())
    }

    /// How a size of a tensor's stated type is written.
    pub fn size(&self, id: TensorId, axis: usize, value: u64) -> String {
        self.product(self.sizes.get(&(id, axis)), Some(value))
            .unwrap_or_else(|| value.to_string())
    }

    /// The graph at other sizes of its dims, in their order; `None` where a call does not fit there.
    /// `O(nodes)`.
    pub fn resized(&self, graph: &Graph, sizes: &[u64]) -> Option<Graph> {
        let mut made = graph.clone();
        for (dim, &size) in self.dims.iter().zip(sizes) {
            for &(input, axis) in &dim.axes {
                let (_, id) = graph.inputs.get(input)?;
                made.types[id.0 as usize].shape.set(axis, size);
            }
        }
        let mut places: FxHashMap<NodeId, Vec<Place>> = FxHashMap::default();
        let mut all: Vec<Place> = self.follows.keys().copied().collect();
        all.sort_unstable();
        for place in all {
            places.entry(place.0).or_default().push(place);
        }
        for (id, node) in graph.nodes() {
            let mut attributes = node.attributes.clone();
            for place in places.remove(&id).unwrap_or_default() {
                let (_, position, at) = place;
                let value = attributes.get(position)?;
                let mut numbers = list(value);
                let number = numbers.get_mut(at)?;
                *number = i64::try_from(self.at_sizes(
                    self.follows.get(&place),
                    u64::try_from(*number).ok()?,
                    sizes,
                )?)
                .ok()?;
                let value = like(value, numbers);
                attributes.set(position, value);
            }
            let given = node.arguments.iter().filter(|id| id.is_present());
            let moved = |&id: &TensorId| made.ty(id).shape != graph.ty(id).shape;
            let states = node.outputs().any(|id| self.states(graph, id));
            let changes = attributes != node.attributes || given.clone().any(moved);
            if !graph.is_known(node) || !changes && !states {
                continue;
            }
            let stated: Vec<Shape> = node
                .outputs()
                .map(|id| graph.ty(id).shape.clone())
                .collect();
            let before = graph.inferred(node, &node.attributes, &graph.types);
            let infers =
                before.is_some_and(|outputs| outputs.iter().map(|ty| &ty.shape).eq(stated.iter()));
            let shapes: Vec<Shape> = match infers && node.op.name != OPAQUE {
                true => {
                    let outputs = graph.inferred(node, &attributes, &made.types)?;
                    outputs.into_iter().map(|ty| ty.shape).collect()
                }
                // What another program states is not what the op infers.
                false => node
                    .outputs()
                    .map(|id| self.stated(graph, id, sizes))
                    .collect::<Option<_>>()?,
            };
            let ranks = shapes.iter().map(Shape::rank);
            if !ranks.eq(stated.iter().map(Shape::rank)) {
                return None;
            }
            for (output, shape) in node.outputs().zip(shapes) {
                made.types[output.0 as usize].shape = shape;
            }
            let index = NodeIndex::new(id.0 as usize);
            made.dag.node_weight_mut(index)?.attributes = attributes;
        }
        Some(made)
    }

    /// The part of a number of a call that follows from dims: place of the attribute, place in its
    /// list. 1 where it does not.
    pub fn part(&self, place: (NodeId, usize, usize), value: u64) -> u64 {
        self.part_of(self.follows.get(&place), value)
    }

    /// The part of a size of a tensor that follows from dims.
    pub fn part_of_size(&self, id: TensorId, axis: usize, value: u64) -> u64 {
        self.part_of(self.sizes.get(&(id, axis)), value)
    }

    fn part_of(&self, dims: Option<&SmallVec<[usize; 2]>>, value: u64) -> u64 {
        let mut rest = value;
        for dim in dims
            .into_iter()
            .flatten()
            .filter_map(|&at| self.dims.get(at))
        {
            if dim.value > 0 && rest.is_multiple_of(dim.value) {
                rest /= dim.value;
            }
        }
        value.checked_div(rest).unwrap_or(1)
    }

    /// Whether sizes of a tensor follow from dims.
    fn states(&self, graph: &Graph, id: TensorId) -> bool {
        let mut axes = 0..graph.ty(id).shape.rank();
        axes.any(|axis| self.sizes.contains_key(&(id, axis)))
    }

    /// The shape of a tensor, at other sizes of the dims.
    fn stated(&self, graph: &Graph, id: TensorId, sizes: &[u64]) -> Option<Shape> {
        let axes = graph.ty(id).shape.sizes().iter().enumerate();
        axes.map(|(axis, &size)| self.at_sizes(self.sizes.get(&(id, axis)), size, sizes))
            .collect()
    }

    /// A number that follows from dims, at other sizes of them.
    fn at_sizes(
        &self,
        dims: Option<&SmallVec<[usize; 2]>>,
        value: u64,
        sizes: &[u64],
    ) -> Option<u64> {
        let mut rest = value;
        let mut factor = 1u64;
        for &number in dims.into_iter().flatten() {
            let (dim, &size) = (self.dims.get(number)?, sizes.get(number)?);
            if rest.is_multiple_of(dim.value) {
                rest /= dim.value;
                factor = factor.checked_mul(size)?;
            }
        }
        rest.checked_mul(factor)
    }

    fn product(&self, dims: Option<&SmallVec<[usize; 2]>>, value: Option<u64>) -> Option<String> {
        let (dims, mut rest) = (dims?, value?);
        let mut factors: Vec<&str> = Vec::new();
        for &number in dims {
            let dim = self.dims.get(number)?;
            if rest % dim.value == 0 {
                rest /= dim.value;
                factors.push(&dim.name);
            }
        }
        match (rest, factors.is_empty()) {
            (_, true) => None,
            (1, false) => Some(factors.join(" * ")),
            (rest, false) => Some(format!("{rest} * {}", factors.join(" * "))),
        }
    }
}

/// The sizes that may become dims: what the file leaves open, then batch and sequence.
fn candidates(graph: &Graph, open: &[(SmolStr, u64)]) -> Vec<Dim> {
    let shapes: Vec<&Shape> = graph
        .inputs
        .iter()
        .map(|(_, id)| &graph.ty(*id).shape)
        .collect();
    let mut taken: FxHashSet<(usize, usize)> = FxHashSet::default();
    let mut found: Vec<Dim> = Vec::new();
    let mut add = |name: SmolStr, value: u64, axes: Vec<(usize, usize)>| {
        let axes: Vec<_> = axes
            .into_iter()
            .filter(|axis| taken.insert(*axis))
            .collect();
        // But for the batch, a size of one is nearly always one for good.
        if (value > 1 || name == "batch" && value > 0)
            && !axes.is_empty()
            && found.iter().all(|dim| dim.name != name)
        {
            found.push(Dim { name, value, axes });
        }
    };
    let all = |value: u64, wanted: &dyn Fn(usize, usize) -> bool| -> Vec<(usize, usize)> {
        let mut axes = Vec::new();
        for (input, shape) in shapes.iter().enumerate() {
            for (axis, &size) in shape.sizes().iter().enumerate() {
                if size == value && wanted(input, axis) {
                    axes.push((input, axis));
                }
            }
        }
        axes
    };
    for (name, value) in open {
        add(name.clone(), *value, all(*value, &|_, _| true));
    }
    if let Some(batch) = shapes.iter().find_map(|shape| shape.size(0)) {
        add("batch".into(), batch, all(batch, &|_, axis| axis == 0));
    }
    // Whole numbers of two axes are tokens; three axes are steps of vectors.
    let sequence = graph.inputs.iter().find_map(|(_, id)| {
        let ty = graph.ty(*id);
        let rank = ty.shape.rank();
        let tokens = rank == 2 && !ty.dtype.is_float();
        (tokens || rank == 3 && ty.dtype.is_float())
            .then(|| ty.shape.size(1))
            .flatten()
    });
    if let Some(sequence) = sequence {
        let spatial = |input: usize| shapes[input].rank() > 3;
        add(
            "seq".into(),
            sequence,
            all(sequence, &|input, axis| axis > 0 && !spatial(input)),
        );
    }
    found
}

/// One walk with one dim doubled.
struct Walk<'a> {
    graph: &'a Graph,
    dim: &'a Dim,
    guess: Guess,
    /// The types with the dim doubled.
    types: Vec<TensorType>,
    places: Vec<Place>,
    sizes: Vec<(TensorId, usize)>,
}

type Found = (Vec<Place>, Vec<(TensorId, usize)>);

impl<'a> Walk<'a> {
    fn new(graph: &'a Graph, dim: &'a Dim, guess: Guess) -> Walk<'a> {
        Walk {
            graph,
            dim,
            guess,
            types: graph.types.clone(),
            places: Vec::new(),
            sizes: Vec::new(),
        }
    }

    /// Walks; `None` where a call does not fit.
    fn run(mut self) -> Option<Found> {
        for &(input, axis) in &self.dim.axes {
            let (_, id) = self.graph.inputs.get(input)?;
            let mut shape = self.shape(*id);
            shape.set(axis, shape.size(axis as i64)?.checked_mul(2)?);
            self.sizes.push((*id, axis));
            self.set(*id, shape);
        }
        for (id, node) in self.graph.nodes() {
            self.node(id, node)?;
        }
        Some((self.places, self.sizes))
    }

    fn shape(&self, id: TensorId) -> Shape {
        self.types[id.0 as usize].shape.clone()
    }

    fn set(&mut self, id: TensorId, shape: Shape) {
        self.types[id.0 as usize].shape = shape;
    }

    fn changes(&self, id: TensorId) -> bool {
        self.types[id.0 as usize].shape != self.graph.ty(id).shape
    }

    fn node(&mut self, id: NodeId, node: &Node) -> Option<()> {
        let given = node.arguments.iter().filter(|id| id.is_present());
        let touched = given.clone().any(|&id| self.changes(id));
        if node.op.name == OPAQUE {
            self.guess_outputs(node, touched);
            return Some(());
        }
        let attributes = match node.op.name {
            "reshape" if touched => self.reshaped(id, node)?,
            "expand" => self.expanded(id, node)?,
            "unflatten" | "repeat" | "tile" | "slice" | "narrow" | "split" => {
                self.guessed(id, node, touched)
            }
            _ if node.arguments.is_empty() => self.guessed(id, node, true),
            _ => node.attributes.clone(),
        };
        if !touched && attributes == node.attributes {
            return Some(());
        }
        let graph = self.graph;
        let before = graph.inferred(node, &node.attributes, &graph.types);
        let Some(before) = before else {
            self.guess_outputs(node, touched);
            return Some(());
        };
        let after = graph.inferred(node, &attributes, &self.types)?;
        if before.len() != after.len() {
            return None;
        }
        for (output, ty) in node.outputs().zip(&after) {
            let shape = &self.graph.ty(output).shape;
            if ty.shape.rank() != shape.rank() {
                return None;
            }
            if ty.shape != *shape {
                for (axis, (a, b)) in shape.sizes().iter().zip(ty.shape.sizes()).enumerate() {
                    if a != b {
                        self.sizes.push((output, axis));
                    }
                }
                self.set(output, ty.shape.clone());
            }
        }
        Some(())
    }

    /// A reshape: of each group of axes that have the same product before and after, the number
    /// follows that the changed axis became a part of.
    fn reshaped(&mut self, id: NodeId, node: &Node) -> Option<Attributes> {
        let position = node.op.attribute_position("shape")?;
        let operand = *node.arguments.first()?;
        let mut target = list(node.attributes.get(position)?);
        let old = self.graph.ty(operand).shape.clone();
        let new = self.shape(operand);
        let result = self.graph.ty(node.first_output).shape.clone();
        let (from, to) = (old.sizes(), result.sizes());
        if target.len() != to.len() {
            return None;
        }
        let (mut i, mut j) = (0, 0);
        while i < from.len() || j < to.len() {
            let (first_i, first_j) = (i, j);
            let (mut left, mut right) = (1u64, 1u64);
            loop {
                match (i < from.len(), j < to.len()) {
                    (true, _) if left <= right && (left < right || i == first_i) => {
                        left = left.checked_mul(from[i])?;
                        i += 1;
                    }
                    (_, true) if left > right || j == first_j => {
                        right = right.checked_mul(to[j])?;
                        j += 1;
                    }
                    (true, false) => {
                        left = left.checked_mul(from[i])?;
                        i += 1;
                    }
                    (false, true) => {
                        right = right.checked_mul(to[j])?;
                        j += 1;
                    }
                    _ => break,
                }
                if left == right && i > first_i && j > first_j {
                    break;
                }
            }
            let times = (first_i..i)
                .filter(|&axis| from[axis] != new.sizes()[axis])
                .count();
            if times == 0 {
                continue;
            }
            // What doubles once for each changed axis of the group.
            for _ in 0..times {
                let whole = (first_j..j).find(|&axis| target[axis] == self.dim.value as i64);
                let part = (first_j..j).find(|&axis| {
                    target[axis] > 0 && (target[axis] as u64).is_multiple_of(self.dim.value)
                });
                let open = (first_j..j).any(|axis| target[axis] == -1);
                match (whole, part, open) {
                    (Some(axis), ..) | (None, Some(axis), false) => {
                        self.places.push((id, position, axis));
                        target[axis] = target[axis].checked_mul(2)?;
                    }
                    (None, _, true) => {}
                    (None, None, false) => return None,
                }
            }
        }
        let mut attributes = node.attributes.clone();
        attributes.set(position, target.into());
        Some(attributes)
    }

    /// An expansion: a number follows where the axis that it keeps has changed, or by a guess where
    /// the axis is new.
    fn expanded(&mut self, id: NodeId, node: &Node) -> Option<Attributes> {
        let position = node.op.attribute_position("size")?;
        let operand = *node.arguments.first()?;
        let mut target = list(node.attributes.get(position)?);
        let old = self.graph.ty(operand).shape.clone();
        let new = self.shape(operand);
        let front = target.len().checked_sub(old.rank())?;
        let mut guessed = false;
        for (axis, size) in target.iter_mut().enumerate() {
            let kept = axis
                .checked_sub(front)
                .map(|at| (old.sizes()[at], new.sizes()[at]));
            let follows = match kept {
                Some((before, after)) if before != after => *size > 0,
                Some((before, _)) if before != 1 => false,
                _ => *size == self.dim.value as i64 && self.guesses(guessed),
            };
            if follows {
                guessed = true;
                self.places.push((id, position, axis));
                *size = size.checked_mul(2)?;
            }
        }
        let mut attributes = node.attributes.clone();
        attributes.set(position, target.into());
        Some(attributes)
    }

    fn guesses(&self, again: bool) -> bool {
        match self.guess {
            Guess::All => true,
            Guess::First => !again,
            Guess::None => false,
        }
    }

    /// Numbers of the dim's size, by the guess.
    fn guessed(&mut self, id: NodeId, node: &Node, touched: bool) -> Attributes {
        let mut attributes = node.attributes.clone();
        let mut again = false;
        for (position, value) in node.attributes.iter() {
            let name = node.op.attributes[position].name;
            let counts = matches!(
                name,
                "size" | "end" | "n" | "m" | "steps" | "split_size" | "unflattened_size" | "length"
            );
            if !counts || !touched && name != "end" {
                continue;
            }
            let mut numbers = list(value);
            let mut changed = false;
            for (at, number) in numbers.iter_mut().enumerate() {
                if *number == self.dim.value as i64 && self.guesses(again) {
                    again = true;
                    changed = true;
                    self.places.push((id, position, at));
                    *number = number.saturating_mul(2);
                }
            }
            if changed {
                attributes.set(position, like(value, numbers));
            }
        }
        attributes
    }

    /// The outputs of a call of which nothing is known: the first axis follows.
    fn guess_outputs(&mut self, node: &Node, touched: bool) {
        for output in node.outputs().filter(|_| touched) {
            let mut shape = self.shape(output);
            if shape.size(0) == Some(self.dim.value) {
                shape.set(0, self.dim.value.saturating_mul(2));
                self.sizes.push((output, 0));
                self.set(output, shape);
            }
        }
    }
}

/// Those numbers as a value of the same kind.
fn like(value: &AttributeValue, numbers: Vec<i64>) -> AttributeValue {
    let first = || numbers.first().copied().unwrap_or_default();
    match value {
        AttributeValue::Integers(_) => numbers.into(),
        AttributeValue::Float(_) => (first() as f64).into(),
        _ => first().into(),
    }
}

fn list(value: &AttributeValue) -> Vec<i64> {
    match value {
        AttributeValue::Integer(value) => vec![*value],
        AttributeValue::Integers(values) => values.to_vec(),
        AttributeValue::Float(value) if value.fract() == 0.0 && value.abs() < 9.0e15 => {
            vec![*value as i64]
        }
        _ => Vec::new(),
    }
}
