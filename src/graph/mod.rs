//! The op graph: tensors, the calls that make them, and the layers that the calls belong to.
//!
//! The graph is a petgraph DAG whose nodes are calls of ops and whose edges are uses of tensors.
//! It is built in order ([`Builder`]), so node numbers are a topological order: a pass is a plain
//! loop. Nothing here judges or costs anything.

mod builder;
mod dims;
mod followed;
mod layer;
mod node;

pub use builder::{Builder, Limits, Made, Mark};
pub use dims::{Dim, Dims};
pub use followed::followed;
pub use layer::{DefinitionId, Layer, LayerId, LayerKind};
pub use node::{Graph, Node, NodeId, Parameter, Region, Runs, Tensor, TensorId, TensorKind, Use};
