//! Indexing in formulas: `x[:, 0]`, `x[..., None]`, `shape[1]`.

use smallvec::SmallVec;

use super::Lowering;
use super::bind::Given;
use super::value::Value;
use crate::graph::TensorId;
use crate::ops::{AttributeValue, find};
use crate::source::Span;
use crate::spec::names;
use crate::tensor::Dtype;

impl Lowering<'_, '_> {
    /// The value of `object[items]`, as NumPy has it.
    pub(super) fn index_value(
        &mut self,
        object: Value,
        items: Vec<(Value, Span)>,
        span: Span,
        object_span: Span,
    ) -> Value {
        match object {
            Value::List(list) => self.list_item(&list, &items, span),
            Value::Faulty => Value::Faulty,
            object => match self.tensor(&object, object_span) {
                Some(tensor) if self.builder.graph().tensor(tensor).known => {
                    self.tensor_index(tensor, items, span)
                }
                _ => Value::Faulty,
            },
        }
    }

    /// The value of `x.size()` or `x.size(dim)`, which is what `x.shape` and `x.shape[dim]` are.
    pub(super) fn size(&mut self, tensor: TensorId, given: Vec<Given>, span: Span) -> Value {
        let sizes = self.builder.graph().ty(tensor).shape.sizes();
        let shape: Vec<Value> = sizes
            .iter()
            .map(|&size| Value::Integer(size as i64))
            .collect();
        let items: Vec<_> = given
            .into_iter()
            .map(|given| (given.value, given.span))
            .collect();
        if items.is_empty() {
            return Value::List(shape);
        }
        self.list_item(&shape, &items, span)
    }

    fn list_item(&mut self, list: &[Value], items: &[(Value, Span)], span: Span) -> Value {
        let length = list.len() as i64;
        let place = |at: i64| if at < 0 { at + length } else { at };
        match items {
            [(Value::Integer(at), _)] => {
                if let Some(item) = usize::try_from(place(*at)).ok().and_then(|at| list.get(at)) {
                    return item.clone();
                }
                let message = format!("there is no entry {at} among {length}");
                self.complain(names::FORMULA, span, message, None);
                Value::Faulty
            }
            [(Value::Slice(start, stop, None | Some(1)), _)] => {
                let clamp = |at: i64| place(at).clamp(0, length) as usize;
                let (from, to) = (start.map_or(0, clamp), stop.map_or(list.len(), clamp));
                Value::List(list.get(from..to).unwrap_or(&[]).to_vec())
            }
            _ => {
                self.complain(
                    names::FORMULA,
                    span,
                    "a list takes one index or slice",
                    None,
                );
                Value::Faulty
            }
        }
    }

    fn tensor_index(&mut self, tensor: TensorId, items: Vec<(Value, Span)>, span: Span) -> Value {
        let rank = self.builder.graph().ty(tensor).shape.rank();
        let consumes = |value: &Value| !matches!(value, Value::None | Value::Ellipsis);
        let consumed = items.iter().filter(|(value, _)| consumes(value)).count();
        if consumed > rank {
            let shape = self.builder.graph().ty(tensor).shape.clone();
            let message = format!("{consumed} indices are given, but {shape} has {rank} axes");
            self.complain(names::SHAPE_MISMATCH, span, message, None);
            return Value::Faulty;
        }
        let mut at = Value::Tensor(tensor);
        let mut axis = 0i64;
        for (item, item_span) in items {
            let (name, attributes): (&str, SmallVec<[(&'static str, AttributeValue); 4]>) =
                match item {
                    Value::Ellipsis => {
                        axis += (rank - consumed) as i64;
                        continue;
                    }
                    Value::Slice(None, None, None | Some(1)) => {
                        axis += 1;
                        continue;
                    }
                    Value::Slice(start, stop, step) => {
                        let mut list = smallvec::smallvec![("dim", axis.into())];
                        list.extend(start.map(|value| ("start", value.into())));
                        list.extend(stop.map(|value| ("end", value.into())));
                        list.extend(step.map(|value| ("step", value.into())));
                        axis += 1;
                        ("slice", list)
                    }
                    Value::None => {
                        axis += 1;
                        ("unsqueeze", smallvec::smallvec![("dim", (axis - 1).into())])
                    }
                    Value::Integer(index) => (
                        "select",
                        smallvec::smallvec![("dim", axis.into()), ("index", index.into())],
                    ),
                    Value::Tensor(index) => {
                        let ty = self.builder.graph().ty(index).clone();
                        let Value::Tensor(object) = at else {
                            return Value::Faulty;
                        };
                        let mut arguments = vec![object];
                        let (name, dim) = match (ty.dtype, ty.shape.rank()) {
                            (Dtype::Bool, _) => ("masked_select", None),
                            (_, 1) => ("index_select", Some(("dim", axis.into()))),
                            // Axes in front that are not indexed stand as operands left out.
                            _ => {
                                arguments.resize(1 + axis as usize, TensorId::ABSENT);
                                ("index", None)
                            }
                        };
                        arguments.push(index);
                        at = self.named(name, &arguments, dim, item_span);
                        axis += match (ty.dtype, ty.shape.rank()) {
                            (Dtype::Bool, _) => 1,
                            (_, rank) => rank as i64,
                        };
                        continue;
                    }
                    Value::Faulty => return Value::Faulty,
                    Value::Path(_) => {
                        self.tensor(&item, item_span);
                        return Value::Faulty;
                    }
                    other => {
                        let message = format!("{} is no index", other.describe());
                        self.complain(names::FORMULA, item_span, message, None);
                        return Value::Faulty;
                    }
                };
            let Value::Tensor(object) = at else {
                return Value::Faulty;
            };
            at = self.named(name, &[object], attributes, span);
        }
        at
    }

    /// Applies the op of that name.
    fn named(
        &mut self,
        name: &str,
        arguments: &[TensorId],
        attributes: impl IntoIterator<Item = (&'static str, AttributeValue)>,
        span: Span,
    ) -> Value {
        let Some(op) = find(name) else {
            return Value::Faulty;
        };
        let list: SmallVec<[_; 4]> = attributes.into_iter().collect();
        self.apply(
            op,
            SmallVec::from_slice(arguments),
            op.attribute_list(&list),
            span,
        )
    }
}
