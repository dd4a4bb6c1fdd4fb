//! The types that a program states of its tensors.

use rustc_hash::FxHashMap;

use super::schema::{Name, TensorMeta, dtype};
use super::symbols::Symbols;
use crate::import::ImportError;
use crate::tensor::{Shape, TensorType};

/// Whether each type, repeated along axes of size 1, is the one that is stated.
pub(super) fn repeats(types: &[TensorType], stated: &[TensorType]) -> bool {
    types.len() == stated.len()
        && types
            .iter()
            .zip(stated)
            .all(|(a, b)| a.shape.broadcast(&b.shape).as_ref() == Some(&b.shape))
}

/// The type that the program states; `None` where a size or the element type is not known.
pub(super) fn type_of(meta: &TensorMeta, symbols: &Symbols) -> Option<TensorType> {
    let sizes: Option<Shape> = meta
        .sizes
        .iter()
        .map(|size| u64::try_from(symbols.value(size)?).ok())
        .collect();
    let ty = TensorType::new(sizes?, dtype(meta.dtype)?);
    let bits = ty.shape.checked_elements()?.checked_mul(ty.dtype.bits());
    bits.map(|_| ty)
}

/// The type of an input or parameter, which must be known.
pub(super) fn declared<'t>(
    values: &'t FxHashMap<String, TensorMeta>,
    name: &Name,
    symbols: &Symbols,
) -> Result<(TensorType, &'t TensorMeta), ImportError> {
    let name = &name.name;
    let meta = values
        .get(name)
        .ok_or_else(|| ImportError::new(format!("the program states no type for `{name}`")))?;
    type_of(meta, symbols).map(|ty| (ty, meta)).ok_or_else(|| {
        let sizes: Vec<String> = meta.sizes.iter().map(super::schema::Size::text).collect();
        let message = format!(
            "`{name}` is [{}] of element type number {}, and not all of that is known or small enough",
            sizes.join(", "),
            meta.dtype
        );
        ImportError::new(message)
    })
}
