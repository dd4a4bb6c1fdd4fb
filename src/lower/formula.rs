//! Formulas: an expression tree becomes calls of ops.

use smallvec::SmallVec;

use super::Lowering;
use super::bind::Given;
use super::layer::Tensors;
use super::value::{Value, builtin, function};
use crate::formula::arithmetic::{Number, evaluate_node};
use crate::formula::{BinaryOperator, Expression, NodeId, NodeKind, UnaryOperator};
use crate::graph::{LayerKind, TensorId};
use crate::ops::{Attributes, Op, find};
use crate::source::{Span, suggest};
use crate::spec::names;
use crate::tensor::Dtype;

impl<'s> Lowering<'s, '_> {
    /// Lowers a formula; `None` where it could not be told what comes out. `O(nodes)`.
    pub(super) fn formula(&mut self, expression: &Expression, expected: usize) -> Option<Tensors> {
        let nodes = expression.nodes();
        let mut is_function = vec![false; nodes.len()];
        for node in nodes {
            if let NodeKind::Call { function, .. } = node.kind {
                is_function[function.index()] = true;
            }
        }
        let skipped = self.branches_not_taken(expression);
        let mut values: Vec<Value> = Vec::with_capacity(nodes.len());
        for (id, _) in expression.iter() {
            let value = if skipped.get(id.index()).copied().unwrap_or(false) {
                Value::None
            } else {
                self.value(expression, id, &values, is_function[id.index()])
            };
            values.push(value);
        }
        let root = expression.root();
        let span = expression.node(root).span;
        let made: Tensors = match &values[root.index()] {
            Value::List(items) if items.iter().any(|item| matches!(item, Value::Tensor(_))) => {
                items
                    .iter()
                    .map(|item| self.tensor(item, span))
                    .collect::<Option<_>>()?
            }
            value => smallvec::smallvec![self.tensor(value, span)?],
        };
        if made.len() < expected
            && made
                .iter()
                .any(|&id| !self.builder.graph().tensor(id).known)
        {
            return None;
        }
        Some(made)
    }

    /// Which nodes stand in a branch of `a if c else b` that is not taken. The condition must be
    /// known from dims and arguments.
    fn branches_not_taken(&mut self, expression: &Expression) -> Vec<bool> {
        let conditional = |kind: &NodeKind| matches!(kind, NodeKind::Conditional { .. });
        if !expression
            .nodes()
            .iter()
            .any(|node| conditional(&node.kind))
        {
            return Vec::new();
        }
        let mut skipped = vec![false; expression.nodes().len()];
        for (id, node) in expression.iter().rev() {
            if skipped[id.index()] {
                let mut children: SmallVec<[NodeId; 4]> = SmallVec::new();
                expression.for_each_child(id, |child| children.push(child));
                for child in children {
                    skipped[child.index()] = true;
                }
                continue;
            }
            let NodeKind::Conditional {
                value,
                condition,
                otherwise,
            } = node.kind
            else {
                continue;
            };
            match evaluate_node(expression, condition, &mut |name, _| self.number(name)) {
                Ok(number) => {
                    let holds = number != Number::Integer(0);
                    skipped[if holds { otherwise } else { value }.index()] = true;
                    skipped[condition.index()] = true;
                }
                Err(_) => {
                    let span = expression.node(condition).span;
                    let message = "this condition is not known from dims and arguments alone";
                    let help = "write where(condition, a, b) to choose element by element";
                    self.complain(names::FORMULA, span, message, Some(help.into()));
                    skipped[value.index()] = true;
                    skipped[condition.index()] = true;
                }
            }
        }
        skipped
    }

    fn value(
        &mut self,
        expression: &Expression,
        id: NodeId,
        values: &[Value],
        is_function: bool,
    ) -> Value {
        let node = expression.node(id);
        let span = node.span;
        let of = |id: NodeId| &values[id.index()];
        match &node.kind {
            NodeKind::Integer(value) => Value::Integer(*value),
            NodeKind::Real(value) => Value::Real(*value),
            NodeKind::Boolean(value) => Value::Boolean(*value),
            NodeKind::None => Value::None,
            NodeKind::Ellipsis => Value::Ellipsis,
            NodeKind::String(text) => Value::Text(text.clone()),
            NodeKind::Name(name) => self.name(name, is_function),
            NodeKind::Attribute { object, name } => {
                self.attribute(expression, id, of(*object).clone(), name, is_function)
            }
            NodeKind::Unary { operator, operand } => {
                let operand_span = expression.node(*operand).span;
                self.unary(*operator, of(*operand).clone(), span, operand_span)
            }
            NodeKind::Binary {
                operator,
                left,
                right,
            } => {
                let spans = (expression.node(*left).span, expression.node(*right).span);
                self.binary(
                    *operator,
                    of(*left).clone(),
                    of(*right).clone(),
                    span,
                    spans,
                )
            }
            NodeKind::Conditional {
                value, otherwise, ..
            } => match of(*value) {
                Value::None => of(*otherwise).clone(),
                value => value.clone(),
            },
            NodeKind::Call {
                function,
                arguments,
            } => {
                let given = expression
                    .arguments(*arguments)
                    .iter()
                    .map(|argument| Given {
                        name: argument.name.clone(),
                        value: of(argument.value).clone(),
                        span: expression.node(argument.value).span,
                    })
                    .collect();
                let function_span = expression.node(*function).span;
                self.call_value(of(*function).clone(), given, span, function_span)
            }
            NodeKind::Index { object, indices } => {
                let items: Vec<(Value, Span)> = expression
                    .items(*indices)
                    .iter()
                    .map(|&item| (of(item).clone(), expression.node(item).span))
                    .collect();
                let object_span = expression.node(*object).span;
                self.index_value(of(*object).clone(), items, span, object_span)
            }
            NodeKind::Slice { start, stop, step } => {
                let mut end = |id: &Option<NodeId>| -> Option<Option<i64>> {
                    let Some(id) = id else { return Some(None) };
                    match of(*id) {
                        Value::Integer(value) => Some(Some(*value)),
                        Value::None => Some(None),
                        _ => {
                            let span = expression.node(*id).span;
                            let message = "a slice is made of whole numbers";
                            self.complain(names::FORMULA, span, message, None);
                            None
                        }
                    }
                };
                match (end(start), end(stop), end(step)) {
                    (Some(start), Some(stop), Some(step)) => Value::Slice(start, stop, step),
                    _ => Value::Faulty,
                }
            }
            NodeKind::Tuple(items) | NodeKind::List(items) => Value::List(
                expression
                    .items(*items)
                    .iter()
                    .map(|&item| of(item).clone())
                    .collect(),
            ),
        }
    }

    fn name(&mut self, name: &smol_str::SmolStr, is_function: bool) -> Value {
        if is_function {
            if let Some(block) = self
                .spec
                .blocks
                .iter()
                .position(|block| block.name == *name)
            {
                return Value::Block(block as u32);
            }
            if let Some(op) = function(name) {
                return Value::Op(op);
            }
        }
        if let Some(tensor) = self.lookup(name) {
            return Value::Tensor(tensor);
        }
        if let Some(number) = self.number(name) {
            return match number {
                Number::Integer(value) => Value::Integer(value),
                Number::Real(value) => Value::Real(value),
            };
        }
        // A dim without a value has been reported with the dim.
        if self.spec.dims.entries.iter().any(|dim| dim.name == *name) {
            return Value::Faulty;
        }
        builtin(name).unwrap_or_else(|| Value::Path(name.clone()))
    }

    fn attribute(
        &mut self,
        expression: &Expression,
        id: NodeId,
        object: Value,
        name: &smol_str::SmolStr,
        is_function: bool,
    ) -> Value {
        let span = expression.node(id).span;
        match object {
            Value::Module => builtin(name).unwrap_or_else(|| {
                let mut known = crate::ops::names();
                known.sort_unstable();
                let help = suggest::did_you_mean(name, &known);
                let message = format!("there is no function `{name}`");
                self.complain(names::UNKNOWN_OP, span, message, help);
                Value::Faulty
            }),
            Value::Tensor(tensor) => {
                if let Some(path) = expression.dotted_name(id)
                    && let Some(parameter) = self.parameter_path(&path)
                {
                    return Value::Tensor(parameter);
                }
                self.property(tensor, name, is_function, span)
            }
            Value::Path(path) => {
                let path = smol_str::format_smolstr!("{path}.{name}");
                match self.parameter_path(&path) {
                    Some(parameter) => Value::Tensor(parameter),
                    None => Value::Path(path),
                }
            }
            // `topk`, `sort` and the like give a pair whose parts PyTorch names.
            Value::List(mut pair) if pair.len() == 2 && name == "indices" => pair.remove(1),
            Value::List(mut pair) if pair.len() == 2 && name == "values" => pair.remove(0),
            Value::Faulty => Value::Faulty,
            other => {
                let message = format!("{} has no `{name}`", other.describe());
                self.complain(names::FORMULA, span, message, None);
                Value::Faulty
            }
        }
    }

    fn property(&mut self, tensor: TensorId, name: &str, is_function: bool, span: Span) -> Value {
        let graph = self.builder.graph();
        if !graph.tensor(tensor).known {
            return Value::Faulty;
        }
        let ty = graph.ty(tensor).clone();
        if is_function {
            let casts = [
                "float", "half", "double", "bfloat16", "long", "int", "short", "bool",
            ];
            if let (true, Some(dtype)) = (casts.contains(&name), Dtype::parse(name)) {
                return Value::Cast(dtype, tensor);
            }
            if name == "size" {
                return Value::Size(tensor);
            }
            let name = if name == "astype" { "to" } else { name };
            return match function(name) {
                Some(op) => Value::Method(op, tensor),
                None => {
                    let help = suggest::did_you_mean(name, &crate::ops::names());
                    let message = format!("a tensor has no method `{name}`");
                    self.complain(names::UNKNOWN_OP, span, message, help);
                    Value::Faulty
                }
            };
        }
        match name {
            "T" | "mT" | "H" if ty.shape.rank() >= 2 => {
                let mut attributes = Attributes::new();
                let Some(op) = find("transpose") else {
                    return Value::Faulty;
                };
                for (name, axis) in [("dim0", -2), ("dim1", -1)] {
                    if let Some(position) = op.attribute_position(name) {
                        attributes.set(position, axis.into());
                    }
                }
                self.apply(op, SmallVec::from_slice(&[tensor]), attributes, span)
            }
            "T" | "mT" | "H" => Value::Tensor(tensor),
            "shape" => Value::List(
                ty.shape
                    .sizes()
                    .iter()
                    .map(|&size| Value::Integer(size as i64))
                    .collect(),
            ),
            "ndim" => Value::Integer(ty.shape.rank() as i64),
            "dtype" => Value::Dtype(ty.dtype),
            "data" => Value::Tensor(tensor),
            _ => {
                let known = ["T", "mT", "shape", "ndim", "dtype"];
                let help = suggest::did_you_mean(name, &known);
                let message =
                    format!("`.{name}` is neither a property of a tensor nor a parameter");
                self.complain(names::UNKNOWN_NAME, span, message, help);
                Value::Faulty
            }
        }
    }

    fn unary(&mut self, operator: UnaryOperator, operand: Value, span: Span, inner: Span) -> Value {
        let number = operand.as_number();
        match (operator, number, &operand) {
            (_, _, Value::Faulty) => Value::Faulty,
            (UnaryOperator::Negative, Some(value), _) => Value::number_like(-value, &[&operand]),
            (UnaryOperator::Positive, _, _) => operand,
            (UnaryOperator::Not, _, Value::Boolean(value)) => Value::Boolean(!value),
            _ => {
                let op = match operator {
                    UnaryOperator::Negative => "neg",
                    UnaryOperator::Invert => "bitwise_not",
                    UnaryOperator::Not | UnaryOperator::Positive => "logical_not",
                };
                let Some(tensor) = self.tensor(&operand, inner) else {
                    return Value::Faulty;
                };
                match find(op) {
                    Some(op) => {
                        self.apply(op, smallvec::smallvec![tensor], Attributes::new(), span)
                    }
                    None => Value::Faulty,
                }
            }
        }
    }

    fn binary(
        &mut self,
        operator: BinaryOperator,
        left: Value,
        right: Value,
        span: Span,
        (left_span, right_span): (Span, Span),
    ) -> Value {
        let Some(op) = find(op_name(operator)) else {
            return Value::Faulty;
        };
        if let (Value::List(a), Value::List(b), BinaryOperator::Add) = (&left, &right, operator) {
            return Value::List(a.iter().chain(b).cloned().collect());
        }
        let (left, right) = (
            self.tensor(&left, left_span),
            self.tensor(&right, right_span),
        );
        match (left, right) {
            (Some(left), Some(right)) => self.apply(
                op,
                smallvec::smallvec![left, right],
                Attributes::new(),
                span,
            ),
            _ => Value::Faulty,
        }
    }

    fn call_value(
        &mut self,
        function: Value,
        given: Vec<Given>,
        span: Span,
        name_span: Span,
    ) -> Value {
        match function {
            Value::Op(op) => self.op_call(op, None, given, span),
            Value::Method(op, tensor) => self.op_call(op, Some(tensor), given, span),
            Value::Size(tensor) => self.size(tensor, given, span),
            Value::Block(block) => self.block_call(block, given, span),
            Value::Cast(dtype, tensor) => self.cast(dtype, tensor, span),
            // `np.float32(x)` is a cast too.
            Value::Dtype(dtype) => match given.first() {
                // Python's `float("-inf")`.
                Some(Given {
                    value: Value::Text(text),
                    ..
                }) if text.parse::<f64>().is_ok() => {
                    text.parse().map_or(Value::Faulty, Value::Real)
                }
                Some(given) => match self.tensor(&given.value, given.span) {
                    Some(tensor) => self.cast(dtype, tensor, span),
                    None => Value::Faulty,
                },
                None => Value::Faulty,
            },
            Value::Faulty => Value::Faulty,
            Value::Path(name) => {
                let mut known = crate::ops::names();
                known.extend(self.spec.blocks.iter().map(|block| block.name.as_str()));
                let last = name.rsplit('.').next().unwrap_or(&name).to_owned();
                let help = suggest::did_you_mean(&last, &known);
                let message = format!("there is no function `{name}`");
                self.complain(names::UNKNOWN_OP, name_span, message, help);
                Value::Faulty
            }
            other => {
                let message = format!("{} cannot be called", other.describe());
                self.complain(names::FORMULA, name_span, message, None);
                Value::Faulty
            }
        }
    }

    fn op_call(
        &mut self,
        op: &'static crate::ops::Op,
        receiver: Option<TensorId>,
        given: Vec<Given>,
        span: Span,
    ) -> Value {
        let op = permutation(op, &given).unwrap_or(op);
        match self.bind_call(op, receiver, given) {
            Some(bound) => self.apply(op, bound.arguments, bound.attributes, span),
            None => Value::Faulty,
        }
    }

    fn cast(&mut self, dtype: Dtype, tensor: TensorId, span: Span) -> Value {
        let Some(op) = find("to") else {
            return Value::Faulty;
        };
        let attributes = op.attribute_list(&[("dtype", dtype.into())]);
        self.apply(op, smallvec::smallvec![tensor], attributes, span)
    }

    fn block_call(&mut self, block: u32, given: Vec<Given>, span: Span) -> Value {
        let mut inputs = Tensors::new();
        let mut arguments = Vec::new();
        for argument in given {
            match (argument.name, argument.value) {
                (None, value) => match self.tensor(&value, argument.span) {
                    Some(tensor) => inputs.push(tensor),
                    None => return Value::Faulty,
                },
                (Some((name, _)), Value::Integer(value)) => arguments.push((name, value.into())),
                (Some((name, _)), Value::Real(value)) => arguments.push((name, value.into())),
                (Some((name, _)), Value::Boolean(value)) => arguments.push((name, value.into())),
                (Some((name, name_span)), value) => {
                    let message = format!("`{name}` cannot be {}", value.describe());
                    self.complain(names::INVALID_VALUE, name_span, message, None);
                    return Value::Faulty;
                }
            }
        }
        let name = self.spec.blocks[block as usize].name.clone();
        let layer = self.open(name.clone(), None, LayerKind::Block(name), self.here);
        let made = self.block(block, &inputs, arguments, layer, span, false);
        self.builder.end_layer(made.as_deref().unwrap_or(&[]));
        match made {
            Some(made) if made.len() == 1 => Value::Tensor(made[0]),
            Some(made) => Value::List(made.into_iter().map(Value::Tensor).collect()),
            None => Value::Faulty,
        }
    }

    /// Applies an op and gives what comes out as a value.
    pub(super) fn apply(
        &mut self,
        op: &'static crate::ops::Op,
        arguments: SmallVec<[TensorId; 4]>,
        attributes: Attributes,
        span: Span,
    ) -> Value {
        let definition = self.spec.definition(self.here);
        let layer = self.builder.current_layer();
        let made = self.call(op, arguments, attributes, definition, layer, Some(span), 1);
        match made {
            Some(made) if made.len() == 1 => {
                let id = made[0];
                let graph = self.builder.graph();
                match (graph.constant(id), graph.ty(id).dtype) {
                    _ if !graph.tensor(id).known => Value::Tensor(id),
                    (Some(value), Dtype::Bool) => Value::Boolean(value != 0.0),
                    (Some(value), dtype) if !dtype.is_float() => Value::number(value),
                    (Some(value), _) => Value::Real(value),
                    (None, _) => Value::Tensor(id),
                }
            }
            Some(made) => Value::List(made.into_iter().map(Value::Tensor).collect()),
            None => Value::Faulty,
        }
    }

    /// The value as a tensor: numbers become constants. `None` where that has no sense, which has
    /// been reported then; what is unknown stays unknown.
    pub(super) fn tensor(&mut self, value: &Value, span: Span) -> Option<TensorId> {
        match value {
            Value::Tensor(tensor) => Some(*tensor),
            Value::Integer(value) => Some(self.builder.typed_constant(*value as f64, Dtype::Int64)),
            Value::Real(value) => Some(self.builder.constant(*value)),
            Value::Boolean(value) => Some(
                self.builder
                    .typed_constant(f64::from(u8::from(*value)), Dtype::Bool),
            ),
            Value::Faulty => Some(self.builder.unknown()),
            Value::Path(name) => {
                let help = self.suggest(name);
                let message = format!("there is no tensor or dim `{name}`");
                self.complain(names::UNKNOWN_NAME, span, message, help);
                Some(self.builder.unknown())
            }
            other => {
                let message = format!("a tensor is needed here, not {}", other.describe());
                self.complain(names::FORMULA, span, message, None);
                None
            }
        }
    }
}

impl Value {
    /// A result of arithmetic: an integer where all operands were.
    fn number_like(value: f64, operands: &[&Value]) -> Value {
        let whole = operands
            .iter()
            .all(|operand| matches!(operand, Value::Integer(_)));
        if whole {
            Value::number(value)
        } else {
            Value::Real(value)
        }
    }
}

/// What NumPy's `transpose` is where it is given the order of all axes: PyTorch's takes two.
fn permutation(op: &Op, given: &[Given]) -> Option<&'static Op> {
    let axes = given
        .iter()
        .filter(|given| matches!(given.value, Value::Integer(_)));
    let listed = given
        .iter()
        .any(|given| matches!(given.value, Value::List(_)));
    find("permute").filter(|_| op.name == "transpose" && (listed || axes.count() > 2))
}

/// The op that an operator stands for.
fn op_name(operator: BinaryOperator) -> &'static str {
    match operator {
        BinaryOperator::Or => "logical_or",
        BinaryOperator::And => "logical_and",
        BinaryOperator::Less => "lt",
        BinaryOperator::LessEqual => "le",
        BinaryOperator::Greater => "gt",
        BinaryOperator::GreaterEqual => "ge",
        BinaryOperator::Equal => "eq",
        BinaryOperator::NotEqual => "ne",
        BinaryOperator::BitwiseOr => "bitwise_or",
        BinaryOperator::BitwiseXor => "bitwise_xor",
        BinaryOperator::BitwiseAnd => "bitwise_and",
        BinaryOperator::Add => "add",
        BinaryOperator::Subtract => "sub",
        BinaryOperator::Multiply => "mul",
        BinaryOperator::Divide => "div",
        BinaryOperator::FloorDivide => "floor_divide",
        BinaryOperator::Remainder => "remainder",
        BinaryOperator::MatrixMultiply => "matmul",
        BinaryOperator::Power => "pow",
    }
}
