//! The named sizes of a model: numbers that whoever runs it chooses.

use smol_str::SmolStr;

use super::schema::{DimensionProto, DimensionValue, ModelProto, TypeProto, TypeValue};
use crate::import::{ImportError, OpenDim};
use crate::spec::dims::DimValues;

/// What a size is that has no number, where nothing else is said.
const DEFAULT: u64 = 1;

/// The sizes that a model leaves open: those of its inputs that have a name, in their order.
pub(super) fn open(model: &ModelProto) -> Vec<OpenDim> {
    let mut found: Vec<OpenDim> = Vec::new();
    let inputs = model.graph.iter().flat_map(|graph| &graph.input);
    for dim in inputs
        .filter_map(|input| input.r#type.as_ref())
        .flat_map(sizes)
    {
        let Some(DimensionValue::Parameter(name)) = &dim.value else {
            continue;
        };
        let name = identifier(name);
        if !name.is_empty() && found.iter().all(|known| known.name != name) {
            found.push(OpenDim {
                name,
                size: DEFAULT as i64,
                range: (1, i64::MAX),
            });
        }
    }
    found
}

/// The sizes of a tensor, or of the tensors in a sequence or an optional.
fn sizes(ty: &TypeProto) -> &[DimensionProto] {
    match &ty.value {
        Some(TypeValue::Tensor(tensor) | TypeValue::SparseTensor(tensor)) => {
            tensor.shape.as_ref().map_or(&[], |shape| &shape.dim)
        }
        Some(TypeValue::Sequence(element) | TypeValue::Optional(element)) => {
            element.elem_type.as_deref().map_or(&[], sizes)
        }
        None => &[],
    }
}

/// A name as a spec may write it: `past_sequence + 1` becomes `past_sequence_1`.
fn identifier(name: &str) -> SmolStr {
    let mut words: Vec<String> = name
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    if let Some(first) = words
        .first_mut()
        .filter(|word| word.starts_with(char::is_numeric))
    {
        first.insert(0, '_');
    }
    words.join("_").into()
}

/// The numbers of the named sizes.
#[derive(Debug, Default)]
pub(super) struct Dims {
    chosen: DimValues,
    /// The names of the inputs' sizes with their numbers, in the order of the inputs.
    known: Vec<(SmolStr, u64)>,
    /// How many sizes of inputs have neither number nor name.
    unnamed: usize,
}

impl Dims {
    /// No size yet; numbers are the chosen ones.
    pub(super) fn new(chosen: &DimValues) -> Dims {
        Dims {
            chosen: chosen.clone(),
            ..Dims::default()
        }
    }

    /// The size of an axis of an input.
    ///
    /// # Errors
    /// Where it is negative, or chosen to be no size.
    pub(super) fn declare(
        &mut self,
        dim: &DimensionProto,
        input: &str,
    ) -> Result<u64, ImportError> {
        match &dim.value {
            Some(DimensionValue::Parameter(name)) if !identifier(name).is_empty() => {
                self.named(identifier(name))
            }
            // Some exporters write -1 for what they do not know.
            Some(DimensionValue::Value(-1) | DimensionValue::Parameter(_)) | None => {
                self.unnamed += 1;
                Ok(DEFAULT)
            }
            Some(DimensionValue::Value(value)) => u64::try_from(*value).map_err(|_| {
                ImportError::new(format!("an axis of `{input}` has a size of {value}"))
            }),
        }
    }

    fn named(&mut self, name: SmolStr) -> Result<u64, ImportError> {
        if let Some(value) = self.get(&name) {
            return Ok(value);
        }
        let value = match self.chosen.get(&name) {
            Some(number) => {
                let whole = number.whole().and_then(|value| u64::try_from(value).ok());
                whole.ok_or_else(|| {
                    ImportError::new(format!(
                        "the dim `{name}` is no size: it must be a whole number, 0 or more"
                    ))
                })?
            }
            None => DEFAULT,
        };
        self.known.push((name, value));
        Ok(value)
    }

    /// The number of a named size of an input.
    pub(super) fn get(&self, name: &str) -> Option<u64> {
        let name = identifier(name);
        self.known
            .iter()
            .find(|(known, _)| *known == name)
            .map(|&(_, value)| value)
    }

    /// What to tell about open sizes.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (name, value) in &self.known {
            notes.push(format!(
                "the file leaves `{name}` open: it is {value} here, and `--set dims.{name}=…` sets it"
            ));
        }
        if self.unnamed > 0 {
            notes.push(format!(
                "sizes of inputs that have neither number nor name are taken as {DEFAULT}: {} of them",
                self.unnamed
            ));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::identifier;

    #[test]
    fn names_become_identifiers() {
        for (name, expected) in [
            ("batch", "batch"),
            ("past_sequence + 1", "past_sequence_1"),
            ("unk__12", "unk__12"),
            ("0", "_0"),
            ("?", ""),
        ] {
            assert_eq!(identifier(name), expected);
        }
    }
}
