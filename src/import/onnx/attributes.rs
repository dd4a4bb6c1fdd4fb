//! The attributes of a call, with those of the function around it put in.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::schema::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// The attributes that a function was called with, by name.
pub(super) type Environment<'p> = Rc<FxHashMap<&'p str, &'p AttributeProto>>;

/// The attributes of a call.
#[derive(Debug, Clone, Default)]
pub(super) struct Attributes<'p>(FxHashMap<&'p str, &'p AttributeProto>);

impl<'p> Attributes<'p> {
    /// Those of a node in a function that was called with `environment`.
    pub(super) fn of(node: &'p NodeProto, environment: &Environment<'p>) -> Attributes<'p> {
        let mut all = FxHashMap::default();
        for attribute in &node.attribute {
            let value = match attribute.ref_attr_name.as_str() {
                "" => Some(attribute),
                reference => environment.get(reference).copied(),
            };
            if let Some(value) = value {
                all.insert(attribute.name.as_str(), value);
            }
        }
        Attributes(all)
    }

    /// What a function is called with: these, and its defaults for the rest.
    pub(super) fn environment(&self, defaults: &'p [AttributeProto]) -> Environment<'p> {
        let mut all = self.0.clone();
        for attribute in defaults {
            all.entry(attribute.name.as_str()).or_insert(attribute);
        }
        Rc::new(all)
    }

    /// An integer.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.0.get(name).map(|attribute| attribute.i)
    }

    /// A truth value, which is written as an integer; false where it is not given.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.integer(name).is_some_and(|value| value != 0)
    }

    /// A list of integers.
    pub(super) fn integers(&self, name: &str) -> Option<&'p [i64]> {
        self.0.get(name).map(|attribute| attribute.ints.as_slice())
    }

    /// A real number.
    pub(super) fn float(&self, name: &str) -> Option<f64> {
        // As it was written: 1e-5 and not 9.999999747378752e-6.
        self.0.get(name).map(|attribute| {
            attribute
                .f
                .to_string()
                .parse()
                .unwrap_or(attribute.f.into())
        })
    }

    /// A list of real numbers.
    pub(super) fn floats(&self, name: &str) -> Option<&'p [f32]> {
        self.0
            .get(name)
            .map(|attribute| attribute.floats.as_slice())
    }

    /// A word.
    pub(super) fn text(&self, name: &str) -> Option<&'p str> {
        std::str::from_utf8(&self.0.get(name)?.s).ok()
    }

    /// Words.
    pub(super) fn texts(&self, name: &str) -> Vec<&'p str> {
        let texts = self.0.get(name).map(|attribute| &attribute.strings);
        texts
            .into_iter()
            .flatten()
            .filter_map(|text| std::str::from_utf8(text).ok())
            .collect()
    }

    /// A tensor.
    pub(super) fn tensor(&self, name: &str) -> Option<&'p TensorProto> {
        self.0.get(name)?.t.as_ref()
    }

    /// A graph.
    pub(super) fn graph(&self, name: &str) -> Option<&'p GraphProto> {
        self.0.get(name)?.g.as_deref()
    }

    /// The attribute as it stands in the file.
    pub(super) fn raw(&self, name: &str) -> Option<&'p AttributeProto> {
        self.0.get(name).copied()
    }
}
