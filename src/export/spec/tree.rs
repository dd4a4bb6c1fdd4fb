//! The layers of a graph as regions: what may become blocks, and what stands in each.

use rustc_hash::FxHashMap;

use super::owned::Ownership;
use crate::graph::{Graph, LayerId, LayerKind, NodeId};

/// How deep regions may stand in regions; what is deeper belongs to the one around it.
const MAX_DEPTH: usize = 24;

/// What stands in a region.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item {
    /// A call, and what to call it.
    Call(NodeId, String),
    /// Another region.
    Region(usize),
}

/// A part of the graph that may become a block. The first one is the model.
#[derive(Debug, Clone, Default)]
pub(super) struct Region {
    /// The region around it.
    pub parent: Option<usize>,
    /// What it is called in there: `layer1.0`.
    pub name: String,
    /// What it is: the class of the module.
    pub class: String,
    /// What stands in it, in order.
    pub items: Vec<Item>,
    /// The calls.
    pub nodes: std::ops::Range<u32>,
    /// How many regions deep it is inside.
    pub height: usize,
    /// The parameters and buffers that are its own, not those of one layer in it.
    pub parameters: Vec<(u32, String)>,
}

/// The regions of a graph, each behind the one around it.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub regions: Vec<Region>,
    /// The region of each parameter that no layer owns, by number.
    pub homes: FxHashMap<u32, usize>,
}

impl Tree {
    /// Finds the regions; none but the model where it is to be `flat`. `O(nodes + layers)`.
    pub fn of(graph: &Graph, ownership: &Ownership, flat: bool) -> Tree {
        let mut tree = Tree::default();
        let end = graph.dag.node_count() as u32;
        tree.regions.push(Region {
            nodes: 0..end,
            ..Region::default()
        });
        // By layer: its region, its depth, and how many calls are its own.
        let mut regions: Vec<usize> = Vec::with_capacity(graph.layers.len());
        let mut depths: Vec<usize> = Vec::with_capacity(graph.layers.len());
        let mut own: Vec<u32> = vec![0; graph.layers.len()];
        for (id, node) in graph.nodes() {
            if !ownership.dropped.contains(&id)
                && let Some(count) = own.get_mut(node.layer.0 as usize)
            {
                *count += 1;
            }
        }
        for layer in &graph.layers {
            let parent = layer.parent.map_or(0, |parent| regions[parent.0 as usize]);
            let depth = layer.parent.map_or(0, |parent| depths[parent.0 as usize]);
            let is_region = matches!(layer.kind, LayerKind::Block(_))
                && layer.first_node < layer.end_node
                && depth < MAX_DEPTH
                && !flat;
            depths.push(depth + usize::from(is_region));
            regions.push(match is_region {
                false => parent,
                true => {
                    tree.regions.push(Region {
                        parent: Some(parent),
                        name: match layer.index {
                            Some(index) => format!("{}.{index}", layer.name),
                            None => layer.name.to_string(),
                        },
                        class: layer.kind.name().to_owned(),
                        nodes: layer.first_node..layer.end_node,
                        ..Region::default()
                    });
                    tree.regions.len() - 1
                }
            });
        }
        tree.fill(graph, ownership, &regions, &own, flat);
        tree.parameters(graph, ownership, &regions);
        for at in (1..tree.regions.len()).rev() {
            if let Some(parent) = tree.regions[at].parent {
                let height = tree.regions[at].height + 1;
                let outer = &mut tree.regions[parent].height;
                *outer = (*outer).max(height);
            }
        }
        tree
    }

    /// Puts calls and regions in their places, in order.
    fn fill(
        &mut self,
        graph: &Graph,
        ownership: &Ownership,
        regions: &[usize],
        own: &[u32],
        flat: bool,
    ) {
        let mut next = 1;
        for (id, node) in graph.nodes() {
            // A region stands where its first call does; outer ones come first.
            while let Some(region) = self.regions.get(next).filter(|one| one.nodes.start <= id.0) {
                let parent = region.parent.unwrap_or(0);
                self.regions[parent].items.push(Item::Region(next));
                next += 1;
            }
            if ownership.dropped.contains(&id) {
                continue;
            }
            let at = node.layer.0 as usize;
            let region = regions.get(at).copied().unwrap_or(0);
            let hint =
                match (graph.layers.get(at), flat) {
                    (None, _) => node.op.name.to_owned(),
                    (Some(layer), true) => {
                        let path = graph.layer_path(node.layer);
                        match own[at] == 1 || layer.end_node == id.0 + 1 {
                            true => path,
                            false => format!("{path}.{}", node.op.name),
                        }
                    }
                    (Some(layer), false) => self
                        .hint(graph, region, node.layer, id)
                        .unwrap_or_else(|| match own[at] == 1 || layer.end_node == id.0 + 1 {
                            true => layer.name.to_string(),
                            false => node.op.name.to_owned(),
                        }),
                };
            let hint = match hint.as_str() {
                "scaled_dot_product_attention" => "attn".to_owned(),
                "cross_entropy_loss" | "nll_loss_nd" => "loss".to_owned(),
                _ => hint,
            };
            let hint = match hint.bytes().all(|byte| byte.is_ascii_digit()) {
                true => format!("{}_{hint}", node.op.name),
                false => hint,
            };
            self.regions[region].items.push(Item::Call(id, hint));
        }
    }

    /// What to call a call of a module that is a region itself.
    fn hint(&self, graph: &Graph, region: usize, layer: LayerId, id: NodeId) -> Option<String> {
        let layer = graph.layer(layer);
        let is_region = matches!(layer.kind, LayerKind::Block(_))
            && self.regions[region].nodes == (layer.first_node..layer.end_node);
        is_region.then(|| graph.node(id).op.name.to_owned())
    }

    /// Gives the parameters that no layer owns to regions: that of the layer that the graph says,
    /// or else the one whose path theirs goes on from, but one in which they are read first.
    fn parameters(&mut self, graph: &Graph, ownership: &Ownership, regions: &[usize]) {
        let mut first: FxHashMap<u32, u32> = FxHashMap::default();
        for (id, node) in graph.nodes() {
            for &argument in &node.arguments {
                if let Some(number) = super::owned::parameter(graph, argument) {
                    first.entry(number).or_insert(id.0);
                }
            }
        }
        let mut paths: FxHashMap<String, usize> = FxHashMap::default();
        for (at, &region) in regions.iter().enumerate() {
            if region > 0 {
                let path = graph.layer_path(LayerId(at as u32));
                paths.entry(path).or_insert(region);
            }
        }
        for (number, parameter) in graph.parameters.iter().enumerate() {
            let number = number as u32;
            if ownership.owners.contains_key(&number) {
                continue;
            }
            let path = graph.parameter_path(parameter);
            let by_path = path
                .match_indices('.')
                .rev()
                .find_map(|(dot, _)| paths.get(&path[..dot]).copied());
            let mut home = by_path
                .or_else(|| Some(regions[parameter.layer?.0 as usize]))
                .unwrap_or(0);
            while let (Some(parent), Some(reader)) = (self.regions[home].parent, first.get(&number))
                && !self.regions[home].nodes.contains(reader)
            {
                home = parent;
            }
            let hint = match (home, by_path) {
                (0, _) => path,
                _ => parameter.name.rsplit('.').next().unwrap_or("").to_owned(),
            };
            self.regions[home].parameters.push((number, hint));
            self.homes.insert(number, home);
        }
    }

    /// Whether a region is another one or stands in it.
    pub fn is_inside(&self, region: usize, outer: usize) -> bool {
        let mut at = Some(region);
        while let Some(region) = at {
            if region == outer {
                return true;
            }
            at = self.regions[region].parent;
        }
        false
    }
}
