//! Regions become lines: of blocks where they are worth one, of the region around them where not.
//!
//! Work goes from the inside out. Regions of one height are written down and compared as text:
//! those that say the same are one block, and those that differ in a few numbers are one block with
//! arguments. What stands around them reads the result like calls of an op.

use rustc_hash::FxHashMap;

use super::call::Calls;
use super::names::Taken;
use super::owned::parameter;
use super::text::{Body, Line, Names, Number, Operand, Piece, TensorText, Value};
use super::tree::{Item, Tree};
use super::{block, formula, sequence};
use crate::graph::{Graph, NodeId, TensorId, TensorKind};

/// Most lines of a region that is not written as a block when it stands in one place only.
const SHORT: usize = 3;

/// A region as it is written.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    /// Its layers.
    pub lines: Vec<Line>,
    /// The tensors that it reads from outside.
    pub inputs: Vec<TensorId>,
    /// What the calls in it call the inputs.
    pub roles: Vec<&'static str>,
    /// The tensors that others read.
    pub outputs: Vec<TensorId>,
    /// Parameters and buffers of its own, with hints for their names.
    pub parameters: Vec<(u32, String, TensorText)>,
    /// What its tensors are called in it.
    pub names: Names,
    /// The names that are taken in it.
    pub taken: Taken,
    /// The calls.
    pub nodes: std::ops::Range<u32>,
    /// The block that it is an instance of, and the arguments; `None` where its lines belong to the
    /// region around it.
    pub block: Option<(String, Vec<(String, Number)>)>,
}

/// Folds a graph.
pub(super) struct Fold<'a> {
    pub calls: &'a Calls<'a>,
    pub tree: &'a Tree,
    /// By tensor: the last call that reads it; the largest number for an output of the model.
    pub last_use: Vec<u32>,
    /// By tensor: how often it is read.
    pub uses: Vec<u32>,
    /// The regions of the tree, and behind them the repetitions of groups of lines.
    pub regions: Vec<Written>,
    /// The blocks of groups of lines, by their text without a name.
    pub sequences: FxHashMap<String, String>,
    /// The blocks, inner ones first.
    pub blocks: Vec<String>,
    pub block_names: Taken,
    /// Names that stand for sizes.
    pub reserved: Taken,
    pub flat: bool,
}

impl<'a> Fold<'a> {
    pub fn new(calls: &'a Calls<'a>, tree: &'a Tree, flat: bool) -> Fold<'a> {
        let graph = calls.graph;
        let mut last_use = vec![0; graph.types.len()];
        let mut uses = vec![0; graph.types.len()];
        for (id, node) in graph.nodes() {
            if calls.ownership.dropped.contains(&id) {
                continue;
            }
            for argument in node.arguments.iter().filter(|id| id.is_present()) {
                last_use[argument.0 as usize] = id.0;
                uses[argument.0 as usize] += 1;
            }
        }
        for output in &graph.outputs {
            last_use[output.0 as usize] = u32::MAX;
            uses[output.0 as usize] += 1;
        }
        let mut reserved = Taken::default();
        for dim in &calls.dims.dims {
            reserved.unique(&dim.name);
        }
        Fold {
            calls,
            tree,
            last_use,
            uses,
            regions: vec![Written::default(); tree.regions.len()],
            sequences: FxHashMap::default(),
            blocks: Vec::new(),
            block_names: Taken::default(),
            reserved,
            flat,
        }
    }

    pub fn graph(&self) -> &'a Graph {
        self.calls.graph
    }

    /// Writes all regions, the innermost first; the model itself is the last.
    pub fn run(&mut self) {
        let heights = self.tree.regions.iter().map(|region| region.height);
        let highest = heights.max().unwrap_or(0);
        let mut by_height: Vec<Vec<usize>> = vec![Vec::new(); highest + 1];
        for (at, region) in self.tree.regions.iter().enumerate() {
            by_height[region.height].push(at);
        }
        for level in by_height {
            for &region in &level {
                let mut written = self.write(region);
                if !self.flat {
                    sequence::fold(self, &mut written.lines);
                }
                self.boundary(region, &mut written);
                self.name(region == 0, &mut written);
                self.regions[region] = written;
            }
            block::decide(self, &level);
        }
    }

    fn write(&self, region: usize) -> Written {
        let mut written = Written {
            nodes: self.tree.regions[region].nodes.clone(),
            ..Written::default()
        };
        for (number, hint) in &self.tree.regions[region].parameters {
            written
                .parameters
                .push((*number, hint.clone(), self.parameter_text(*number)));
        }
        self.lines(region, &mut written);
        if !self.flat {
            self.by_reader(&mut written.lines);
            repeat(&mut written.lines, &self.last_use);
        }
        written
    }

    fn parameter_text(&self, number: u32) -> TensorText {
        let graph = self.graph();
        let parameter = &graph.parameters[number as usize];
        let ty = graph.ty(parameter.tensor);
        let mut text = TensorText::new(ty, self.calls.dtype);
        text.frozen = !parameter.buffer && !parameter.trainable && ty.dtype.is_float();
        text
    }

    /// The lines of a region, those of inner ones that are no blocks among them.
    fn lines(&self, region: usize, written: &mut Written) {
        let items = &self.tree.regions[region].items;
        let calls = items.iter().filter_map(|item| match item {
            Item::Call(id, _) if !self.flat => Some(*id),
            _ => None,
        });
        let mut formulas = formula::Formulas::new(self, calls);
        for item in items {
            match item {
                Item::Call(id, hint) => {
                    if !formulas.take(*id, hint, &mut written.lines) {
                        formulas.flush(&mut written.lines);
                        written.lines.push(self.calls.line(*id, hint));
                    }
                }
                Item::Region(inner) => {
                    formulas.flush(&mut written.lines);
                    self.inner(*inner, written);
                }
            }
        }
        formulas.flush(&mut written.lines);
    }

    fn inner(&self, inner: usize, written: &mut Written) {
        let region = &self.tree.regions[inner];
        let one = &self.regions[inner];
        let Some((block, arguments)) = &one.block else {
            let alone = one.lines.len() == 1;
            // What wraps nearly everything says nothing of its parts.
            let wraps = self.is_large(inner);
            for line in &one.lines {
                let mut line = line.clone();
                match alone {
                    true => line.hint = named(&region.name, &line),
                    false if wraps => {}
                    false => line.longer = format!("{}.{}", region.name, line.longer),
                }
                written.lines.push(line);
            }
            for (number, hint, text) in &one.parameters {
                let hint = match wraps {
                    true => hint.clone(),
                    false => format!("{}.{hint}", region.name),
                };
                written.parameters.push((*number, hint, text.clone()));
            }
            return;
        };
        let mut line = Line {
            hint: region.name.clone(),
            longer: String::new(),
            outputs: one.outputs.clone(),
            body: Body::Block(block.clone()),
            inputs: one.inputs.iter().map(|&id| Operand::Tensor(id)).collect(),
            reads: true,
            attributes: arguments
                .iter()
                .map(|(name, number)| (name.into(), Value::Number(number.clone())))
                .collect(),
            repeat: 1,
            nodes: region.nodes.clone(),
            instances: vec![inner],
        };
        line.hint = named(&region.name, &line);
        line.longer = line.hint.clone();
        written.lines.push(line);
    }

    /// Whether a tensor is there before the region begins.
    fn is_outside(&self, region: usize, id: TensorId) -> bool {
        let graph = self.graph();
        match graph.tensor(id).kind {
            TensorKind::Input(_) => true,
            TensorKind::Constant(_) => false,
            TensorKind::Output(node) => !self.tree.regions[region].nodes.contains(&node.0),
            TensorKind::Parameter(number) => match self.calls.ownership.owners.get(&number) {
                Some(owner) => !self.tree.regions[region].nodes.contains(&owner.0),
                None => {
                    let home = self.tree.homes.get(&number).copied().unwrap_or(0);
                    !self.tree.is_inside(home, region)
                }
            },
        }
    }

    /// What a region reads from outside, and what of it is read outside.
    fn boundary(&self, region: usize, written: &mut Written) {
        let graph = self.graph();
        let mut seen: FxHashMap<TensorId, ()> = FxHashMap::default();
        for line in &written.lines {
            for (position, id) in line.tensors().into_iter().enumerate() {
                if self.is_outside(region, id) && seen.insert(id, ()).is_none() {
                    written.inputs.push(id);
                    written.roles.push(self.role(line, position, id));
                }
            }
        }
        let end = self.tree.regions[region].nodes.end;
        for line in &written.lines {
            for &id in &line.outputs {
                let made_here = graph.producer(id).is_some();
                if made_here && self.last_use[id.0 as usize] >= end {
                    written.outputs.push(id);
                }
            }
        }
    }

    /// What the reader of a tensor calls it.
    pub fn role(&self, line: &Line, position: usize, id: TensorId) -> &'static str {
        let graph = self.graph();
        if let Some(&inner) = line.instances.first() {
            return self.regions[inner]
                .roles
                .get(position)
                .copied()
                .unwrap_or("x");
        }
        for node in line.nodes.clone() {
            let node = graph.node(NodeId(node));
            if let Some(at) = node.arguments.iter().position(|&one| one == id) {
                return match node.op.operand_name(at) {
                    "input" => "x",
                    "other" => "y",
                    name => name,
                };
            }
        }
        "x"
    }

    /// Gives names to the tensors of a region.
    pub fn name(&self, is_model: bool, written: &mut Written) {
        let graph = self.graph();
        let mut taken = self.reserved.clone();
        let mut names = Names::default();
        if is_model {
            for (name, id) in &graph.inputs {
                names.tensors.insert(*id, taken.unique(name));
            }
        } else {
            for (number, &id) in written.inputs.iter().enumerate() {
                let role = if number == 0 {
                    "x"
                } else {
                    written.roles[number]
                };
                names.tensors.insert(id, taken.unique(role));
            }
        }
        for (number, hint, _) in &written.parameters {
            let tensor = graph.parameters[*number as usize].tensor;
            names.tensors.insert(tensor, taken.unique(hint));
        }
        let last = written.lines.len().saturating_sub(1);
        for (at, line) in written.lines.iter().enumerate() {
            let nameless = !is_model
                && at == last
                && matches!(line.body, Body::Formula(_))
                && written.outputs == line.outputs;
            if nameless {
                names.lines.push(None);
                continue;
            }
            let name = match taken.is_free(&line.hint) || line.longer.is_empty() {
                true => taken.unique(&line.hint),
                false => taken.unique(&line.longer),
            };
            let read = |id: &TensorId| self.last_use[id.0 as usize] > 0;
            let count = line.outputs.iter().rposition(read).map_or(1, |at| at + 1);
            let mut given = vec![name];
            for number in 1..count {
                given.push(taken.unique(&format!("{}_{number}", given[0])));
            }
            for (&id, name) in line.outputs.iter().zip(&given) {
                names.tensors.insert(id, name.clone());
            }
            names.lines.push(Some(given));
        }
        written.taken = taken;
        // Parameters of layers are called by their paths.
        let mut paths = Vec::new();
        for line in &written.lines {
            for id in line.tensors() {
                if !names.tensors.contains_key(&id) {
                    paths.push(id);
                }
            }
        }
        for id in paths {
            if let Some(number) = parameter(graph, id)
                && let Some(path) = self.path(&written.lines, &names, number)
            {
                names.tensors.insert(id, path);
            }
        }
        written.names = names;
    }

    /// The path of a parameter from where these lines stand: `h.3.attn.weight`.
    fn path(&self, lines: &[Line], names: &Names, number: u32) -> Option<String> {
        let owner = self.calls.ownership.owners.get(&number);
        let home = self.tree.homes.get(&number);
        let tensor = self.graph().parameters[number as usize].tensor;
        let (mut lines, mut names) = (lines, names);
        let mut path = String::new();
        loop {
            let at = lines.iter().position(|line| match owner {
                Some(owner) => line.nodes.contains(&owner.0),
                None => line
                    .instances
                    .iter()
                    .any(|&one| self.holds(one, *home.unwrap_or(&0))),
            })?;
            let line = &lines[at];
            path.push_str(names.lines.get(at)?.as_ref()?.first()?);
            path.push('.');
            if line.instances.is_empty() {
                let layer = self.calls.ownership.layers.get(owner?.0 as usize)?;
                let owned = layer.as_ref()?.parameters.iter();
                let (_, name) = owned.clone().find(|(one, _)| *one == number)?;
                path.push_str(name);
                return Some(path);
            }
            let repetition = line.instances.iter().position(|&one| match owner {
                Some(owner) => self.regions[one].nodes.contains(&owner.0),
                None => self.holds(one, *home.unwrap_or(&0)),
            })?;
            if line.repeat > 1 {
                path.push_str(&format!("{repetition}."));
            }
            let inner = &self.regions[line.instances[repetition]];
            if inner.parameters.iter().any(|(one, ..)| *one == number) {
                path.push_str(inner.names.tensor(tensor));
                return Some(path);
            }
            (lines, names) = (&inner.lines, &inner.names);
        }
    }

    /// Whether a region of the tree stands in a written one.
    fn holds(&self, written: usize, region: usize) -> bool {
        match written < self.tree.regions.len() {
            true => self.tree.is_inside(region, written),
            false => self.regions[written]
                .lines
                .iter()
                .any(|line| line.instances.iter().any(|&one| self.holds(one, region))),
        }
    }

    /// Whether a region is written into the one around it where nothing else is like it.
    pub fn is_wrapper(&self, region: usize) -> bool {
        self.is_large(region) || self.regions[region].lines.len() <= SHORT
    }
}

impl Fold<'_> {
    /// Whether a region is most of the model.
    fn is_large(&self, region: usize) -> bool {
        let nodes = &self.tree.regions[region].nodes;
        let all = self.graph().dag.node_count();
        2 * (nodes.end - nodes.start) as usize > all
    }

    /// Calls lines of views after what their only reader calls them: `query`, `key`, `value`.
    fn by_reader(&self, lines: &mut [Line]) {
        let graph = self.graph();
        for line in lines {
            let [output] = line.outputs[..] else { continue };
            let views = line
                .nodes
                .clone()
                .all(|node| graph.node(NodeId(node)).op.view);
            let at = output.0 as usize;
            if !views || self.uses[at] != 1 || self.last_use[at] == u32::MAX {
                continue;
            }
            let reader = graph.node(NodeId(self.last_use[at]));
            let position = reader.arguments.iter().position(|&id| id == output);
            let role = position.map_or("", |position| reader.op.operand_name(position));
            if matches!(role, "query" | "key" | "value") {
                role.clone_into(&mut line.hint);
                line.longer.clear();
            }
        }
    }
}

/// What to call a line that stands for a region of that name. A number alone says nothing.
fn named(name: &str, line: &Line) -> String {
    if !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return name.to_owned();
    }
    match &line.body {
        Body::Op(op) => format!("{op}_{name}"),
        Body::Block(block) => format!("{block}_{name}"),
        Body::Formula(_) => format!("{}_{name}", line.hint),
    }
}

/// Joins lines that stand behind themselves.
fn repeat(lines: &mut Vec<Line>, last_use: &[u32]) {
    let mut joined: Vec<Line> = Vec::with_capacity(lines.len());
    // What the last repetition so far reads.
    let mut reads: Vec<Operand> = Vec::new();
    for line in lines.drain(..) {
        let inputs = line.inputs.clone();
        match joined.last_mut() {
            Some(before) if follows(before, &reads, &line, last_use) => {
                if before.repeat == 1 {
                    before.hint = without_number(&before.hint);
                    before.longer = without_number(&before.longer);
                }
                before.repeat += 1;
                before.nodes.end = line.nodes.end;
                before.outputs = line.outputs;
                before.instances.extend(line.instances);
            }
            _ => joined.push(line),
        }
        reads = inputs;
    }
    *lines = joined;
}

fn follows(before: &Line, reads: &[Operand], line: &Line, last_use: &[u32]) -> bool {
    if !matches!(line.body, Body::Block(_))
        || before.body != line.body
        || before.attributes != line.attributes
        || reads.len() != line.inputs.len()
        || before.outputs.len() != line.outputs.len()
        || line.repeat > 1
        || line.inputs.is_empty()
        || line.outputs.is_empty()
    {
        return false;
    }
    // Each output goes to the input of its number, and nowhere else.
    let only_here = |id: TensorId| last_use[id.0 as usize] < line.nodes.end;
    let carried = before.outputs.len().min(line.inputs.len());
    let chained = before
        .outputs
        .iter()
        .zip(&line.inputs)
        .all(|(&output, input)| *input == Operand::Tensor(output));
    let elsewhere = line.inputs[carried..]
        .iter()
        .chain(&reads[carried..])
        .any(|input| {
            before
                .outputs
                .iter()
                .any(|&id| *input == Operand::Tensor(id))
        });
    chained
        && !elsewhere
        && before.outputs.iter().all(|&id| only_here(id))
        && carried == before.outputs.len()
        && reads[carried..] == line.inputs[carried..]
}

fn without_number(hint: &str) -> String {
    let trimmed = hint.trim_end_matches(|c: char| c.is_ascii_digit());
    match trimmed.trim_end_matches(['.', '_']) {
        "" => hint.to_owned(),
        short if trimmed.len() < hint.len() && short.len() < trimmed.len() => short.to_owned(),
        _ => hint.to_owned(),
    }
}

impl Line {
    /// The tensors that it reads, in order.
    pub fn tensors(&self) -> Vec<TensorId> {
        let mut tensors: Vec<TensorId> = Vec::new();
        for input in &self.inputs {
            if let Operand::Tensor(id) = input {
                tensors.push(*id);
            }
        }
        if let Body::Formula(pieces) = &self.body {
            for piece in pieces {
                if let Piece::Tensor(id) = piece {
                    tensors.push(*id);
                }
            }
        }
        for (_, value) in &self.attributes {
            if let Value::Parameter(id) = value {
                tensors.push(*id);
            }
        }
        tensors
    }
}
