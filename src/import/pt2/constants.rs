//! Tensors that a program holds as constants: of their values the file without weights says nothing.

use super::lower::Lowering;
use crate::graph::TensorId;
use crate::import::ImportError;
use crate::ops::{Attributes, Outputs, find};
use crate::tensor::TensorType;

impl Lowering<'_, '_> {
    /// A tensor of that type, of whose elements nothing is known.
    pub(super) fn constant(&mut self, ty: TensorType) -> Result<TensorId, ImportError> {
        let op = find("empty").ok_or_else(|| ImportError::new("there is no op `empty`"))?;
        let sizes: Vec<i64> = ty.shape.sizes().iter().map(|&size| size as i64).collect();
        let mut attributes = Attributes::default();
        for (name, value) in [("size", sizes.into()), ("dtype", ty.dtype.into())] {
            if let Some(position) = op.attribute_position(name) {
                attributes.set(position, value);
            }
        }
        let made = self
            .builder
            .add(op, &[], attributes, None, Outputs::from_elem(ty, 1))
            .map_err(|error| ImportError::new(error.message))?;
        Ok(made[0])
    }
}
