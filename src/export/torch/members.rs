//! The attributes under which a module keeps the modules and weights of its layers, so that
//! parameters have the paths that the description gives them.

use rustc_hash::FxHashMap;

use super::names::{Names, member};
use crate::graph::{Graph, LayerId, LayerKind};

/// How a layer's module is reached from the one around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// `self.name`
    Attribute(String),
    /// `self.name[3]`: one of a list, of so many.
    Item(String, u32, u32),
    /// `self.name["3"]`: one of a list with gaps.
    Key(String, String),
    /// `self.get_submodule("3")`: its name is a number.
    Numbered(String),
}

impl Access {
    /// The expression behind the module around it.
    pub fn path(&self) -> String {
        match self {
            Access::Attribute(name) => format!(".{name}"),
            Access::Item(name, index, _) => format!(".{name}[{index}]"),
            Access::Key(name, key) => format!(".{name}[\"{key}\"]"),
            Access::Numbered(name) => format!(".get_submodule(\"{name}\")"),
        }
    }
}

/// A layer's name and, where it ends in one, its number.
fn parts(graph: &Graph, id: LayerId) -> (String, Option<u32>) {
    let layer = graph.layer(id);
    let mut name = layer.name.to_string();
    let mut index = layer.index;
    if index.is_none() {
        let (base, last) = name.rsplit_once('.').unwrap_or(("", &name));
        // `00` is another name than `0`.
        let number = last.parse::<u32>().ok();
        if let Some(number) = number.filter(|number| number.to_string() == last) {
            index = Some(number);
            name = base.to_owned();
        }
    }
    // What a formula calls is named for both.
    let outer = layer.parent.map(|parent| graph.layer(parent));
    if let Some(outer) = outer.filter(|outer| outer.kind == LayerKind::Formula) {
        let numbered = outer.name.bytes().all(|byte| byte.is_ascii_digit());
        if !numbered {
            name = format!("{}_{name}", outer.name);
        }
        // Each repetition of the formula calls it once more.
        index = index.filter(|_| outer.index.is_none());
    }
    (name, index)
}

/// The attributes of one container for those of its layers that need one, in order.
pub fn members(graph: &Graph, layers: &[LayerId]) -> FxHashMap<LayerId, Access> {
    let mut groups: FxHashMap<String, Vec<(LayerId, Option<u32>)>> = FxHashMap::default();
    let mut order: Vec<String> = Vec::new();
    for &layer in layers {
        let (name, index) = parts(graph, layer);
        let group = groups.entry(name.clone()).or_insert_with(|| {
            order.push(name);
            Vec::new()
        });
        group.push((layer, index));
    }
    let mut names = Names::default();
    let mut result = FxHashMap::default();
    for name in order {
        let group = groups.remove(&name).unwrap_or_default();
        let indices: Vec<u32> = group.iter().filter_map(|&(_, index)| index).collect();
        let numbered = indices.len() == group.len();
        let mut distinct = indices.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let count = group.len() as u32;
        match (numbered && distinct.len() == group.len(), name.is_empty()) {
            (true, true) => {
                for ((layer, _), index) in group.into_iter().zip(indices) {
                    result.insert(layer, Access::Numbered(index.to_string()));
                }
            }
            (true, false) => {
                let attribute = names.fresh(&member(&name));
                let complete = indices.iter().copied().eq(0..count);
                for ((layer, _), index) in group.into_iter().zip(indices) {
                    let access = match complete {
                        true => Access::Item(attribute.clone(), index, count),
                        false => Access::Key(attribute.clone(), index.to_string()),
                    };
                    result.insert(layer, access);
                }
            }
            (false, _) => {
                for (layer, index) in group {
                    let own = match (name.is_empty(), index) {
                        (_, None) => name.clone(),
                        (true, Some(index)) => index.to_string(),
                        (false, Some(index)) => format!("{name}_{index}"),
                    };
                    result.insert(layer, Access::Attribute(names.fresh(&member(&own))));
                }
            }
        }
    }
    result
}
