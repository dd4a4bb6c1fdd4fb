//! What a drawing of a model shows: layers as boxes within the blocks that they stand in, and which
//! reads which. Blocks that repeat are drawn once, with how often they do.
//!
//! How a drawing is written down is for `dot` and `mermaid`.

use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use std::hash::{Hash, Hasher};

use crate::graph::{Graph, Layer, LayerId, LayerKind, NodeId, TensorId, TensorKind};
use crate::quantity::group;

/// A frame around boxes: a block instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What stands at its top.
    pub label: String,
    /// The frame around it.
    pub outer: Option<usize>,
}

/// What a box stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An input of the model.
    Input,
    /// A layer, or a block whose inside is not shown.
    Layer,
    /// An output of the model.
    Output,
}

/// A box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// What it stands for.
    pub kind: Kind,
    /// What stands in it, line by line.
    pub lines: Vec<String>,
    /// The frame around it.
    pub frame: Option<usize>,
}

/// A drawing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drawing {
    /// The frames, each before those that stand in it.
    pub frames: Vec<Frame>,
    /// The boxes, in the order of the model.
    pub boxes: Vec<Shown>,
    /// Which box is read by which, each pair once, in order.
    pub arrows: Vec<(usize, usize)>,
}

/// Something on the way through the frames of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A frame begins.
    Open(usize),
    /// A box.
    Shown(usize),
    /// A frame ends.
    Close(usize),
}

impl Drawing {
    /// Draws a graph, with frames in each other no deeper than `depth`. `O(nodes + edges)`.
    pub fn of(graph: &Graph, depth: Option<usize>) -> Drawing {
        let children = children(graph);
        let stands_for = fold(graph, &children);
        let mut draft = Draft {
            graph,
            children: &children,
            stands_for: &stands_for,
            depth,
            drawing: Drawing::default(),
            place: vec![None; graph.layers.len()],
            weights: weights(graph),
        };
        for (name, tensor) in &graph.inputs {
            let lines = vec![name.to_string(), graph.ty(*tensor).to_string()];
            draft.push(Kind::Input, lines, None);
        }
        draft.layers();
        draft.arrows();
        draft.drawing
    }

    /// The frames and boxes as they stand in each other.
    pub fn steps(&self) -> Vec<Step> {
        let mut frames: Vec<Vec<usize>> = vec![Vec::new(); self.frames.len() + 1];
        let mut boxes: Vec<Vec<usize>> = vec![Vec::new(); self.frames.len() + 1];
        let place = |frame: Option<usize>| frame.map_or(0, |frame| frame + 1);
        for (number, frame) in self.frames.iter().enumerate() {
            frames[place(frame.outer)].push(number);
        }
        for (number, shown) in self.boxes.iter().enumerate() {
            boxes[place(shown.frame)].push(number);
        }
        let mut steps = Vec::new();
        let mut open = vec![Step::Open(0)];
        // The model itself is frame 0 here, and has no border.
        while let Some(step) = open.pop() {
            match step {
                Step::Open(at) => {
                    if let Some(frame) = at.checked_sub(1) {
                        steps.push(Step::Open(frame));
                    }
                    steps.extend(boxes[at].iter().map(|&shown| Step::Shown(shown)));
                    open.push(Step::Close(at));
                    open.extend(frames[at].iter().rev().map(|&frame| Step::Open(frame + 1)));
                }
                Step::Close(at) => steps.extend(at.checked_sub(1).map(Step::Close)),
                Step::Shown(_) => {}
            }
        }
        steps
    }
}

/// The layers that stand directly in each, and in the model itself behind the last.
fn children(graph: &Graph) -> Vec<Vec<LayerId>> {
    let mut children = vec![Vec::new(); graph.layers.len() + 1];
    for (number, layer) in graph.layers.iter().enumerate() {
        let outer = layer
            .parent
            .map_or(graph.layers.len(), |outer| outer.0 as usize);
        children[outer].push(LayerId(number as u32));
    }
    children
}

/// The elements of each layer's parameters, those of the layers in it included.
fn weights(graph: &Graph) -> Vec<u64> {
    let mut weights = vec![0u64; graph.layers.len()];
    for parameter in graph
        .parameters
        .iter()
        .filter(|parameter| !parameter.buffer)
    {
        if let Some(layer) = parameter.layer {
            let elements = graph.ty(parameter.tensor).shape.elements();
            let sum = &mut weights[layer.0 as usize];
            *sum = sum.saturating_add(elements);
        }
    }
    for number in (0..graph.layers.len()).rev() {
        if let Some(outer) = graph.layers[number].parent {
            let own = weights[number];
            let sum = &mut weights[outer.0 as usize];
            *sum = sum.saturating_add(own);
        }
    }
    weights
}

/// A layer's name without the number of its repetition, and whether it has one.
fn base(layer: &Layer) -> (&str, bool) {
    if layer.index.is_some() {
        return (&layer.name, true);
    }
    let (base, last) = layer.name.rsplit_once('.').unwrap_or(("", &layer.name));
    match !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        true => (base, true),
        false => (&layer.name, false),
    }
}

/// The first of a row of alike neighbours that a layer stands for, and how long the row is.
#[derive(Debug, Clone, Copy)]
struct Fold {
    first: LayerId,
    count: u32,
}

/// For each layer, the one that is drawn in its place. Layers are alike where they and what stands
/// in them have the same names and ops, whatever their shapes.
fn fold(graph: &Graph, children: &[Vec<LayerId>]) -> Vec<Fold> {
    let mut alike = vec![0u64; graph.layers.len()];
    for number in (0..graph.layers.len()).rev() {
        let layer = &graph.layers[number];
        let mut hasher = FxHasher::default();
        (base(layer).0, layer.kind.name()).hash(&mut hasher);
        for child in &children[number] {
            let child_layer = graph.layer(*child);
            (
                &child_layer.name,
                child_layer.index,
                alike[child.0 as usize],
            )
                .hash(&mut hasher);
        }
        alike[number] = hasher.finish();
    }
    let own = |number: usize| Fold {
        first: LayerId(number as u32),
        count: 1,
    };
    let mut folds: Vec<Fold> = (0..graph.layers.len()).map(own).collect();
    for row in children {
        let mut start = 0;
        while start < row.len() {
            let first = row[start];
            let same = |other: &LayerId| {
                base(graph.layer(*other)).1 && alike[other.0 as usize] == alike[first.0 as usize]
            };
            let count = match same(&first) {
                true => row[start..].iter().take_while(|other| same(other)).count(),
                false => 1,
            };
            for &other in &row[start..start + count] {
                folds[other.0 as usize] = Fold {
                    first,
                    count: count as u32,
                };
            }
            start += count;
        }
    }
    let mut places = vec![0usize; graph.layers.len()];
    for row in children {
        for (place, layer) in row.iter().enumerate() {
            places[layer.0 as usize] = place;
        }
    }
    // What stands in a folded layer stands for its counterpart in the first of the row. Parents
    // come before their children, so theirs is settled.
    for number in 0..graph.layers.len() {
        let here = LayerId(number as u32);
        let first = folds[number].first;
        let stands_in_first = match graph.layers[number].parent {
            Some(outer) => drawn(&folds, outer) == outer,
            None => true,
        };
        if first != here || !stands_in_first {
            let counterpart = match graph.layers[number].parent {
                Some(outer) if !stands_in_first => {
                    let row = &children[drawn(&folds, outer).0 as usize];
                    row.get(places[first.0 as usize]).copied()
                }
                _ => Some(first),
            };
            if let Some(counterpart) = counterpart {
                folds[number].first = counterpart;
            }
        }
    }
    folds
}

fn drawn(folds: &[Fold], layer: LayerId) -> LayerId {
    folds[layer.0 as usize].first
}

/// A drawing on its way.
struct Draft<'g> {
    graph: &'g Graph,
    children: &'g [Vec<LayerId>],
    stands_for: &'g [Fold],
    depth: Option<usize>,
    drawing: Drawing,
    /// The box or frame of each layer.
    place: Vec<Option<Place>>,
    weights: Vec<u64>,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Box(usize),
    /// A frame, and how many are around it, itself included.
    Frame(usize, usize),
}

impl Draft<'_> {
    fn push(&mut self, kind: Kind, lines: Vec<String>, frame: Option<usize>) -> usize {
        self.drawing.boxes.push(Shown { kind, lines, frame });
        self.drawing.boxes.len() - 1
    }

    fn layers(&mut self) {
        for number in 0..self.graph.layers.len() {
            let id = LayerId(number as u32);
            let layer = self.graph.layer(id);
            if drawn(self.stands_for, id) != id {
                continue;
            }
            let outer = layer.parent.and_then(|outer| self.place[outer.0 as usize]);
            let (frame, deep) = match outer {
                // The inside of a box is not shown.
                Some(Place::Box(shown)) => {
                    self.place[number] = Some(Place::Box(shown));
                    continue;
                }
                Some(Place::Frame(frame, deep)) => (Some(frame), deep),
                None => (None, 0),
            };
            let opens = matches!(layer.kind, LayerKind::Block(_))
                && !self.children[number].is_empty()
                && self.depth.is_none_or(|most| deep < most);
            if layer.first_node == layer.end_node && self.children[number].is_empty() {
                continue;
            }
            let name = self.name(id);
            self.place[number] = Some(match opens {
                true => {
                    let label = match layer.kind.name() {
                        kind if kind == layer.name => name,
                        kind => format!("{name}: {kind}"),
                    };
                    self.drawing.frames.push(Frame {
                        label,
                        outer: frame,
                    });
                    Place::Frame(self.drawing.frames.len() - 1, deep + 1)
                }
                false => {
                    let lines = self.lines(id, name);
                    Place::Box(self.push(Kind::Layer, lines, frame))
                }
            });
        }
    }

    fn name(&self, id: LayerId) -> String {
        let layer = self.graph.layer(id);
        let (name, _) = base(layer);
        let name = match name.is_empty() {
            true => &layer.name,
            false => name,
        };
        match self.stands_for[id.0 as usize].count {
            1 => match layer.index {
                Some(index) => format!("{name}.{index}"),
                None => layer.name.to_string(),
            },
            count => format!("{name} ×{count}"),
        }
    }

    fn lines(&self, id: LayerId, name: String) -> Vec<String> {
        let layer = self.graph.layer(id);
        let kind = layer.kind.name();
        // A layer without a name of its own is known by its op.
        let unnamed = layer.name.bytes().all(|byte| byte.is_ascii_digit()) && layer.index.is_none();
        let mut lines = match (unnamed, kind == layer.name) {
            (true, _) => vec![kind.to_owned()],
            (false, true) => vec![name],
            (false, false) => vec![name, kind.to_owned()],
        };
        let last = layer
            .end_node
            .checked_sub(1)
            .filter(|&last| last >= layer.first_node);
        let made = layer.outputs.first().copied();
        let made = made.or_else(|| Some(self.graph.node(NodeId(last?)).first_output));
        lines.extend(made.map(|made| self.graph.ty(made).to_string()));
        match self.weights[id.0 as usize] {
            0 => {}
            count => lines.push(format!("{} parameters", group(count.into()))),
        }
        lines
    }

    /// The box that a tensor comes from, and the layer that makes it.
    fn source(&self, tensor: TensorId, inputs: &FxHashMap<TensorId, usize>) -> Option<usize> {
        match self.graph.tensor(tensor).kind {
            TensorKind::Input(_) => inputs.get(&tensor).copied(),
            TensorKind::Output(node) => self.box_of(node),
            TensorKind::Parameter(_) | TensorKind::Constant(_) => None,
        }
    }

    fn box_of(&self, node: NodeId) -> Option<usize> {
        let layer = self.graph.node(node).layer;
        // What belongs to no layer has the number of the first one.
        let inside = self.graph.layers.get(layer.0 as usize)?;
        (inside.first_node..inside.end_node)
            .contains(&node.0)
            .then_some(())?;
        match self.place[drawn(self.stands_for, layer).0 as usize]? {
            Place::Box(shown) => Some(shown),
            Place::Frame(..) => None,
        }
    }

    fn arrows(&mut self) {
        let mut inputs: FxHashMap<TensorId, usize> = FxHashMap::default();
        for (number, (_, tensor)) in self.graph.inputs.iter().enumerate() {
            inputs.insert(*tensor, number);
        }
        let mut seen: FxHashSet<(usize, usize)> = FxHashSet::default();
        let mut arrows = Vec::new();
        for (id, node) in self.graph.nodes() {
            let Some(to) = self.box_of(id) else { continue };
            for &tensor in node.arguments.iter().filter(|tensor| tensor.is_present()) {
                // What goes from one repetition to the next would point backwards.
                let from = self.source(tensor, &inputs).filter(|&from| from < to);
                if let Some(from) = from
                    && seen.insert((from, to))
                {
                    arrows.push((from, to));
                }
            }
        }
        for &output in &self.graph.outputs {
            let from = self.source(output, &inputs);
            let name = self.graph.tensor_name(output);
            let lines = vec![name, self.graph.ty(output).to_string()];
            let to = self.push(Kind::Output, lines, None);
            arrows.extend(from.map(|from| (from, to)));
        }
        self.drawing.arrows = arrows;
    }
}
