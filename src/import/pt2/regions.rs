//! Loops, branches and recomputed parts of a program: how often their calls are made.

use std::ops::Range;

use super::flatten::{Region, Scoped, Step};
use super::lower::Lowering;
use crate::graph::{Made, NodeId, Runs, TensorId};
use crate::import::ImportError;
use crate::ops::{AttributeValue, find};

/// A region that was entered.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenRegion<'a> {
    region: Region<'a>,
    /// The number of its first node.
    start: u32,
    /// How often it runs.
    times: u64,
}

impl<'a> Lowering<'a, '_> {
    /// Lowers a step that is neither a call nor another name.
    pub(super) fn region_step(&mut self, step: Step<'a>) -> Result<(), ImportError> {
        match step {
            Step::Element(from, to) => {
                let id = self.tensor(from)?;
                let made = self.apply_named("select", &[id], &[("dim", 0), ("index", 0)]);
                self.name(to, made);
            }
            Step::Stack(from, to) => {
                let id = self.tensor(from)?;
                let graph = self.flat.graphs[to.0 as usize];
                let made = match self.stated(graph, to.1) {
                    Some(ty) => {
                        let made = self.foreign("rearranged", "stack", &[id], &[ty])?;
                        made[0]
                    }
                    None => self.builder.unknown(),
                };
                self.name(to, made);
            }
            Step::Either(first, second, to) => {
                let operands = [self.tensor(first)?, self.tensor(second)?];
                let made = self.apply_named("overwritten", &operands, &[]);
                self.name(to, made);
            }
            Step::Enter(region) => {
                let times = match region {
                    Region::Each(over, fewer) => self.length(over)?.saturating_sub(fewer),
                    _ => 1,
                };
                self.open_regions.push(OpenRegion {
                    region,
                    start: self.nodes(),
                    times,
                });
            }
            Step::Leave => self.leave(),
            Step::Call(_) | Step::Bind(..) => {}
        }
        Ok(())
    }

    /// Whether what is lowered now is run again in the backward pass.
    pub(super) fn is_checkpointed(&self) -> bool {
        let mut open = self.open_regions.iter();
        open.any(|open| matches!(open.region, Region::Checkpoint))
    }

    fn leave(&mut self) {
        let Some(open) = self.open_regions.pop() else {
            return;
        };
        let nodes = open.start..self.nodes();
        match open.region {
            Region::Each(..) => self.builder.region(nodes, Runs::Times(open.times)),
            Region::Loop => self.builder.region(nodes, Runs::Loop),
            Region::First => self.branch = Some(nodes),
            Region::Second => {
                let first = self.branch.take().unwrap_or(nodes.start..nodes.start);
                let dearer = self.work(&first) >= self.work(&nodes);
                let (counted, other) = match dearer {
                    true => (first, nodes),
                    false => (nodes, first),
                };
                self.builder.region(counted, Runs::Branch);
                self.builder.region(other, Runs::OtherBranch);
            }
            Region::Checkpoint => {}
        }
    }

    fn nodes(&self) -> u32 {
        self.builder.graph().node_ids().len() as u32
    }

    /// The arithmetic of some calls, to tell which of two branches is dearer.
    fn work(&self, nodes: &Range<u32>) -> u128 {
        let graph = self.builder.graph();
        nodes.clone().fold(0, |sum: u128, at| {
            let node = graph.node(NodeId(at));
            let work = graph.with_call(node, |call| (node.op.work)(call));
            sum.saturating_add(work.products).saturating_add(work.other)
        })
    }

    fn length(&mut self, over: Scoped<'a>) -> Result<u64, ImportError> {
        let id = self.tensor(over)?;
        let shape = &self.builder.graph().ty(id).shape;
        Ok(shape.sizes().first().copied().unwrap_or(1))
    }

    fn apply_named(
        &mut self,
        op: &str,
        operands: &[TensorId],
        attributes: &[(&'static str, i64)],
    ) -> TensorId {
        let made: Option<Made> = find(op).and_then(|op| {
            let attributes: Vec<(&'static str, AttributeValue)> = attributes
                .iter()
                .map(|&(name, value)| (name, value.into()))
                .collect();
            let attributes = op.attribute_list(&attributes);
            self.builder.apply(op, operands, attributes, None, 1).ok()
        });
        made.map_or_else(|| self.builder.unknown(), |made| made[0])
    }
}
