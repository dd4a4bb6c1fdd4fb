//! Calls written as text, for the tests of the families: `matmul([2, 3], bfloat16 [3, 4])`.
//!
//! An operand is a type (`float32` where only a shape is given), a number, or `-` where it is left
//! out. Strides may follow a type: `[2, 3] / [1, 2]`. Float tensors require a gradient unless `!`
//! follows. Attributes follow as `name=value`.
//! What a layer of the op owns is filled in where no operand is given for it. Behind the call may
//! stand `eval` (instead of training), `fused` (attention as one kernel) and `autocast`.

use smallvec::SmallVec;

use super::layout::{Placement, Strides};
use super::{
    Argument, AttributeKind, AttributeValue, Attributes, Call, Expander, Op, OpError,
    ParameterDefinition, Saved, TensorHandle, find,
};
use crate::tensor::{Dtype, Interval, Shape, TensorType};

struct Operand {
    ty: TensorType,
    constant: Option<f64>,
    requires_grad: bool,
    is_parameter: bool,
    strides: Option<Strides>,
}

/// Splits at commas outside brackets and quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    let mut quoted = false;
    for (index, letter) in text.char_indices() {
        match letter {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            '\'' => quoted = !quoted,
            ',' if depth == 0 && !quoted => {
                parts.push(text[start..index].trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

fn list<T: std::str::FromStr>(text: &str) -> Vec<T> {
    let inner = text.trim_start_matches('[').trim_end_matches(']');
    split(inner)
        .into_iter()
        .map(|item| {
            item.parse()
                .unwrap_or_else(|_| panic!("`{item}` in `{text}`"))
        })
        .collect()
}

fn operand(text: &str) -> Option<Operand> {
    if text == "-" {
        return None;
    }
    if let Ok(value) = text.parse::<f64>() {
        let dtype = if text.contains(['.', 'e', 'n']) {
            Dtype::Float32
        } else {
            Dtype::Int64
        };
        return Some(Operand {
            ty: TensorType::new(Shape::scalar(), dtype),
            constant: Some(value),
            requires_grad: false,
            is_parameter: false,
            strides: None,
        });
    }
    let (ty, frozen) = match text.strip_suffix('!') {
        Some(ty) => (ty, true),
        None => (text, false),
    };
    let (ty, strides) = match ty.split_once('/') {
        Some((ty, strides)) => (ty.trim(), Some(list(strides.trim()).into())),
        None => (ty, None),
    };
    let (dtype, shape) = ty.split_at(ty.find('[').unwrap_or(ty.len()));
    let dtype = match dtype.trim() {
        "" => Dtype::Float32,
        name => Dtype::parse(name).unwrap_or_else(|| panic!("`{name}` is no dtype")),
    };
    Some(Operand {
        ty: TensorType::new(&list::<u64>(shape)[..], dtype),
        constant: None,
        requires_grad: dtype.is_float() && !frozen,
        is_parameter: false,
        strides,
    })
}

fn value(kind: AttributeKind, text: &str) -> AttributeValue {
    match kind {
        AttributeKind::Boolean | AttributeKind::Parameter if text.parse::<bool>().is_ok() => {
            AttributeValue::Boolean(text == "true")
        }
        AttributeKind::Dtype => AttributeValue::Dtype(Dtype::parse(text).expect(text)),
        _ if text.starts_with('[') => AttributeValue::Integers(list(text).into()),
        AttributeKind::Float => AttributeValue::Float(text.parse().expect(text)),
        _ => match text.parse() {
            Ok(integer) => AttributeValue::Integer(integer),
            Err(_) => AttributeValue::Text(text.trim_matches('\'').into()),
        },
    }
}

struct Parsed {
    op: &'static Op,
    attributes: Attributes,
    operands: Vec<Option<Operand>>,
    training: bool,
    fused_attention: bool,
    autocast: bool,
}

fn parse(text: &str) -> Parsed {
    let (name, rest) = text.split_once('(').unwrap_or_else(|| panic!("`{text}`"));
    let (inside, flags) = rest.rsplit_once(')').unwrap_or_else(|| panic!("`{text}`"));
    let flags: Vec<&str> = flags.split_whitespace().collect();
    assert!(
        flags
            .iter()
            .all(|flag| ["eval", "fused", "autocast"].contains(flag)),
        "`{text}`"
    );
    let op: &'static Op = find(name).unwrap_or_else(|| panic!("no op `{name}`"));
    let mut attributes = Attributes::new();
    let mut operands = Vec::new();
    for part in split(inside) {
        match part.split_once('=') {
            Some((name, given)) => {
                let position = op
                    .attribute_position(name)
                    .unwrap_or_else(|| panic!("no attribute `{name}`"));
                attributes.set(position, value(op.attributes[position].kind, given));
            }
            None => operands.push(operand(part)),
        }
    }
    Parsed {
        op,
        attributes,
        operands,
        training: !flags.contains(&"eval"),
        fused_attention: flags.contains(&"fused"),
        autocast: flags.contains(&"autocast"),
    }
}

impl Parsed {
    fn show<R>(&self, outputs: &[TensorType], f: impl FnOnce(&Call) -> R) -> R {
        let arguments: Vec<Option<Argument>> = self
            .operands
            .iter()
            .map(|operand| {
                operand.as_ref().map(|operand| Argument {
                    ty: &operand.ty,
                    constant: operand.constant,
                    requires_grad: operand.requires_grad,
                    is_parameter: operand.is_parameter,
                    strides: operand.strides.as_deref(),
                })
            })
            .collect();
        f(&Call {
            op: self.op,
            attributes: &self.attributes,
            arguments: &arguments,
            outputs,
            training: self.training,
            fused_attention: self.fused_attention,
            autocast: self.autocast,
        })
    }

    fn parameters(&self) -> Result<Vec<ParameterDefinition>, String> {
        let Some(parameters) = self.op.parameters else {
            return Ok(Vec::new());
        };
        let declined = |parameter: &ParameterDefinition| {
            let name = self.op.operand_name(parameter.position);
            let position = self.op.attribute_position(name);
            let given = position.and_then(|position| self.attributes.get(position));
            given == Some(&AttributeValue::Boolean(false))
        };
        let list = self.show(&[], parameters).map_err(|error| error.message)?;
        Ok(list
            .into_iter()
            .filter(|parameter| !declined(parameter))
            .collect())
    }

    fn fill(&mut self) -> Result<(), String> {
        for parameter in self.parameters()? {
            let position = parameter.position;
            while self.operands.len() <= position {
                self.operands.push(None);
            }
            if self.operands[position].is_none() {
                self.operands[position] = Some(Operand {
                    ty: TensorType {
                        shape: parameter.shape,
                        dtype: parameter.dtype.unwrap_or(Dtype::Float32),
                    },
                    constant: None,
                    requires_grad: !parameter.buffer,
                    is_parameter: true,
                    strides: None,
                });
            }
        }
        Ok(())
    }
}

/// Infers the call and shows it to `f`; in the `Err` case what inference said.
pub fn with<R>(text: &str, f: impl FnOnce(&Call) -> R) -> Result<R, String> {
    let mut parsed = parse(text);
    parsed.fill()?;
    let outputs = parsed
        .show(&[], parsed.op.infer)
        .map_err(|error| error.message)?;
    Ok(parsed.show(&outputs, f))
}

/// What a layer of the op owns: `weight [4, 3], bias [4]`; buffers in parentheses.
pub fn parameters(text: &str) -> String {
    let line = |parameter: ParameterDefinition| match parameter.buffer {
        true => format!("({} {})", parameter.name, parameter.shape),
        false => format!("{} {}", parameter.name, parameter.shape),
    };
    match parse(text).parameters() {
        Ok(list) => list.into_iter().map(line).collect::<Vec<_>>().join(", "),
        Err(error) => format!("error: {error}"),
    }
}

/// Holds what a layer of the op owns to expectations.
#[track_caller]
pub fn check_parameters(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(parameters(text), *expected, "{text}");
    }
}

/// Product FLOPs of the forward and of the backward pass.
#[track_caller]
pub fn products(text: &str) -> (u128, u128) {
    let flops = |call: &Call| ((call.op.work)(call).products, (call.op.backward)(call));
    with(text, flops).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Holds product FLOPs, forward and backward, to expectations.
#[track_caller]
pub fn check_products(cases: &[(&str, (u128, u128))]) {
    for (text, expected) in cases {
        assert_eq!(products(text), *expected, "{text}");
    }
}

/// The output types of the call, or `error: ` and what inference said.
pub fn outputs(text: &str) -> String {
    let types = |call: &Call| {
        let types: Vec<_> = call.outputs.iter().map(ToString::to_string).collect();
        types.join("; ")
    };
    with(text, types).unwrap_or_else(|error| format!("error: {error}"))
}

/// Holds calls to their output types or errors.
#[track_caller]
pub fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(outputs(text), *expected, "{text}");
    }
}

/// What autograd keeps: operand names, `output` (`output1` …), and `name: elements dtype`.
pub fn saved(text: &str) -> String {
    let keep = |call: &Call| {
        let mut saved = Saved::default();
        (call.op.saved)(call, &mut saved);
        let operands = saved.arguments.iter().map(|&position| {
            if call.op.operands[position.min(call.op.operands.len() - 1)].variadic {
                format!("{}{position}", call.op.operand_name(position))
            } else {
                call.op.operand_name(position).to_owned()
            }
        });
        let outputs = saved.outputs.iter().map(|&position| match position {
            0 => "output".to_owned(),
            position => format!("output{position}"),
        });
        let extra = saved
            .extra
            .iter()
            .map(|(name, elements, dtype)| format!("{name}: {elements} {dtype}"));
        let all: Vec<String> = operands.chain(outputs).chain(extra).collect();
        all.join(", ")
    };
    with(text, keep).unwrap_or_else(|error| format!("error: {error}"))
}

/// Holds what autograd keeps of calls to expectations.
#[track_caller]
pub fn check_saved(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(saved(text), *expected, "{text}");
    }
}

/// A call, the ranges of its operands, the range expected of its output.
pub type IntervalCase<'a> = (&'a str, &'a [(f64, f64)], &'a str);

/// Holds the output ranges of calls to expectations; ranges of operands are given as pairs. A `?`
/// follows a range that allows infinity or NaN.
#[track_caller]
pub fn check_intervals(cases: &[IntervalCase]) {
    for (text, ranges, expected) in cases {
        let ranges: Vec<Interval> = ranges
            .iter()
            .map(|&(low, high)| Interval::new(low, high))
            .collect();
        let range = with(text, |call| (call.op.interval)(call, &ranges)).expect(text);
        let mark = if range.non_finite { "?" } else { "" };
        assert_eq!(format!("{range}{mark}"), *expected, "{text} {ranges:?}");
    }
}

/// The elements of the output of a view, each as its offset in the input's storage.
pub fn shown(text: &str, strides: &[u64]) -> Vec<u64> {
    with(text, |call| {
        let given = [Strides::from_slice(strides)];
        let Placement::Shared(strides) = (call.op.layout)(call, &given) else {
            panic!("{text} makes a copy");
        };
        let mut offsets = vec![0];
        for (&size, &stride) in call.outputs[0].shape.sizes().iter().zip(&strides) {
            offsets = offsets
                .into_iter()
                .flat_map(|offset| (0..size).map(move |i| offset + i * stride))
                .collect();
        }
        offsets
    })
    .unwrap()
}

/// Applies ops and writes down what it did.
#[derive(Default)]
struct Record {
    types: Vec<TensorType>,
    arguments: Vec<Option<TensorHandle>>,
    lines: Vec<String>,
}

impl Expander for Record {
    fn apply(
        &mut self,
        op: &str,
        arguments: &[Option<TensorHandle>],
        attributes: &[(&'static str, AttributeValue)],
    ) -> Result<SmallVec<[TensorHandle; 1]>, OpError> {
        let op = find(op).unwrap();
        let list: Attributes = op.attribute_list(attributes);
        let shown: Vec<Option<Argument>> = arguments
            .iter()
            .map(|handle| {
                handle.map(|handle| Argument {
                    ty: &self.types[handle.0 as usize],
                    constant: None,
                    requires_grad: true,
                    is_parameter: false,
                    strides: None,
                })
            })
            .collect();
        let call = Call {
            op,
            attributes: &list,
            arguments: &shown,
            outputs: &[],
            training: true,
            fused_attention: false,
            autocast: false,
        };
        let outputs = (op.infer)(&call)?;
        let shapes: Vec<String> = outputs.iter().map(|ty| ty.shape.to_string()).collect();
        self.lines
            .push(format!("{} → {}", op.name, shapes.join(", ")));
        let first = self.types.len() as u32;
        self.types.extend(outputs);
        Ok((first..self.types.len() as u32).map(TensorHandle).collect())
    }

    fn arguments(&self) -> &[Option<TensorHandle>] {
        &self.arguments
    }

    fn constant(&mut self, _: f64) -> TensorHandle {
        let ty = TensorType::new(Shape::scalar(), Dtype::Float32);
        self.types.push(ty);
        TensorHandle(self.types.len() as u32 - 1)
    }

    fn ty(&self, tensor: TensorHandle) -> TensorType {
        self.types[tensor.0 as usize].clone()
    }
}

/// What a composite op applies, line by line: `reshape → [2, 5, 4, 3]`.
pub fn expansion(text: &str) -> String {
    with(text, |call| {
        let mut record = Record::default();
        for argument in call.arguments {
            let handle = argument.map(|argument| {
                record.types.push(argument.ty.clone());
                TensorHandle(record.types.len() as u32 - 1)
            });
            record.arguments.push(handle);
        }
        match (call.op.expand.unwrap())(call, &mut record) {
            Ok(_) => record.lines.join("\n"),
            Err(error) => format!("error: {error}"),
        }
    })
    .unwrap_or_else(|error| format!("error: {error}"))
}

/// A small generator of pseudo-random numbers (SplitMix64), so that tests repeat.
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Whether one of so many equally likely cases comes true.
    pub fn chance(&mut self, cases: u64) -> bool {
        self.bits().is_multiple_of(cases)
    }

    /// Evenly spread over `low..high`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform(0.0, 1.0)).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform(0.0, 1.0)).cos()
    }
}
