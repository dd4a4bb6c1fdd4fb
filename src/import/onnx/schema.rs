//! The messages of `onnx.proto3`, as far as they are read here. Fields that are not named are
//! skipped.
//!
//! Written after the message definitions of the ONNX standard, IR version 11. Field numbers never
//! change there, so older files are read by the same structs.

use prost::DecodeError;
use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_varint, skip_field};

/// A file.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ModelProto {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "25")]
    pub functions: Vec<FunctionProto>,
}

/// Which version of a set of ops a file is written for.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OperatorSetIdProto {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// A graph: a model's, or one in an attribute.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "15")]
    pub sparse_initializer: Vec<SparseTensorProto>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "13")]
    pub value_info: Vec<ValueInfoProto>,
}

/// A call.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(string, tag = "7")]
    pub domain: String,
    #[prost(string, tag = "8")]
    pub overload: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
    #[prost(message, repeated, tag = "9")]
    pub metadata_props: Vec<StringStringEntryProto>,
}

/// A key and its value.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StringStringEntryProto {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// An attribute of a call.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AttributeProto {
    #[prost(string, tag = "1")]
    pub name: String,
    /// In a function: the attribute of the call of the function whose value this one has.
    #[prost(string, tag = "21")]
    pub ref_attr_name: String,
    #[prost(float, tag = "2")]
    pub f: f32,
    #[prost(int64, tag = "3")]
    pub i: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub s: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    pub t: Option<TensorProto>,
    #[prost(message, optional, boxed, tag = "6")]
    pub g: Option<Box<GraphProto>>,
    #[prost(float, repeated, tag = "7")]
    pub floats: Vec<f32>,
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub strings: Vec<Vec<u8>>,
    #[prost(message, optional, tag = "22")]
    pub sparse_tensor: Option<SparseTensorProto>,
    /// What the attribute holds, by number; 0 in files of before IR version 2.
    #[prost(int32, tag = "20")]
    pub r#type: i32,
    #[prost(message, optional, tag = "14")]
    pub tp: Option<TypeProto>,
}

/// A function that the file defines.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FunctionProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, repeated, tag = "4")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    pub output: Vec<String>,
    #[prost(message, repeated, tag = "11")]
    pub attribute_proto: Vec<AttributeProto>,
    #[prost(message, repeated, tag = "7")]
    pub node: Vec<NodeProto>,
    #[prost(message, repeated, tag = "9")]
    pub opset_import: Vec<OperatorSetIdProto>,
    #[prost(string, tag = "10")]
    pub domain: String,
    #[prost(string, tag = "13")]
    pub overload: String,
    #[prost(message, repeated, tag = "12")]
    pub value_info: Vec<ValueInfoProto>,
}

/// The name and type of a tensor.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ValueInfoProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
}

/// A type. Maps and opaque types are none of these.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TypeProto {
    #[prost(oneof = "TypeValue", tags = "1, 4, 9, 8")]
    pub value: Option<TypeValue>,
}

/// What kind of type.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum TypeValue {
    #[prost(message, tag = "1")]
    Tensor(TensorTypeProto),
    #[prost(message, tag = "4")]
    Sequence(Box<ElementTypeProto>),
    #[prost(message, tag = "9")]
    Optional(Box<ElementTypeProto>),
    #[prost(message, tag = "8")]
    SparseTensor(TensorTypeProto),
}

/// The type of what a sequence or an optional holds.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ElementTypeProto {
    #[prost(message, optional, boxed, tag = "1")]
    pub elem_type: Option<Box<TypeProto>>,
}

/// Element type and shape.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

/// A shape.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<DimensionProto>,
}

/// A size: a number, a name, or neither.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DimensionProto {
    #[prost(oneof = "DimensionValue", tags = "1, 2")]
    pub value: Option<DimensionValue>,
}

/// A size that is known or named.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum DimensionValue {
    #[prost(int64, tag = "1")]
    Value(i64),
    #[prost(string, tag = "2")]
    Parameter(String),
}

/// A tensor most of whose elements are 0.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SparseTensorProto {
    #[prost(message, optional, tag = "1")]
    pub values: Option<TensorProto>,
    #[prost(int64, repeated, tag = "3")]
    pub dims: Vec<i64>,
}

/// Elements of more bytes than this are passed over. A mask over a thousand positions still fits,
/// and so does whatever a shape is computed from.
const MAX_ELEMENT_BYTES: usize = 16 * 1024;

/// Elements that stand in the file, as far as they are kept.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) enum Elements {
    /// None: they stand elsewhere, or nowhere.
    #[default]
    Absent,
    /// Too many to be kept.
    Skipped,
    /// As they lie in memory, little-endian.
    Raw(Vec<u8>),
    /// Of `float_data`.
    Floats(Vec<f32>),
    /// Of `double_data`.
    Doubles(Vec<f64>),
    /// Of `int32_data`, `int64_data`, `uint64_data`, which hold narrower types, too.
    Integers(Vec<i64>),
}

/// A tensor with its elements. Decoded by hand, so that weights are passed over.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct TensorProto {
    pub dims: Vec<i64>,
    pub data_type: i32,
    pub name: String,
    pub elements: Elements,
}

/// The error of a list of elements that ends early.
fn cut_short() -> DecodeError {
    // `prost` offers no other way to make one.
    #[allow(deprecated)]
    DecodeError::new("the elements of a tensor are cut short")
}

impl TensorProto {
    fn elements(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
    ) -> Result<(), DecodeError> {
        let payload = match wire_type {
            WireType::LengthDelimited => {
                let length = decode_varint(buf)?;
                if length > buf.remaining() as u64 {
                    return Err(cut_short());
                }
                let length = length as usize;
                if length > MAX_ELEMENT_BYTES {
                    buf.advance(length);
                    self.elements = Elements::Skipped;
                    return Ok(());
                }
                let mut payload = vec![0; length];
                buf.copy_to_slice(&mut payload);
                payload
            }
            // One element of a list that is not packed.
            WireType::Varint => {
                let mut payload = Vec::new();
                prost::encoding::encode_varint(decode_varint(buf)?, &mut payload);
                payload
            }
            WireType::ThirtyTwoBit | WireType::SixtyFourBit => {
                let length = if wire_type == WireType::ThirtyTwoBit {
                    4
                } else {
                    8
                };
                if buf.remaining() < length {
                    return Err(cut_short());
                }
                let mut payload = vec![0; length];
                buf.copy_to_slice(&mut payload);
                payload
            }
            _ => return Err(cut_short()),
        };
        self.add(tag, payload)
    }

    fn add(&mut self, tag: u32, payload: Vec<u8>) -> Result<(), DecodeError> {
        if self.elements == Elements::Skipped {
            return Ok(());
        }
        let kept = match &mut self.elements {
            Elements::Floats(all) => all.len(),
            Elements::Doubles(all) => all.len(),
            Elements::Integers(all) => all.len(),
            _ => 0,
        };
        if kept > MAX_ELEMENT_BYTES {
            self.elements = Elements::Skipped;
            return Ok(());
        }
        match tag {
            4 => {
                let more = payload
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|&b| f32::from_le_bytes(b));
                match &mut self.elements {
                    Elements::Floats(all) => all.extend(more),
                    other => *other = Elements::Floats(more.collect()),
                }
            }
            10 => {
                let more = payload
                    .as_chunks::<8>()
                    .0
                    .iter()
                    .map(|&b| f64::from_le_bytes(b));
                match &mut self.elements {
                    Elements::Doubles(all) => all.extend(more),
                    other => *other = Elements::Doubles(more.collect()),
                }
            }
            9 => self.elements = Elements::Raw(payload),
            _ => {
                let mut rest = payload.as_slice();
                let mut more = Vec::new();
                while !rest.is_empty() {
                    let value = decode_varint(&mut rest)?;
                    more.push(match tag {
                        // `int32_data` is written as 64 bits where it is below 0, and may be cut.
                        5 => i64::from(value as i32),
                        _ => value as i64,
                    });
                }
                match &mut self.elements {
                    Elements::Integers(all) => all.extend(more),
                    other => *other = Elements::Integers(more),
                }
            }
        }
        Ok(())
    }
}

impl prost::Message for TensorProto {
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        use prost::encoding::{int32, int64, string};
        match tag {
            1 => int64::merge_repeated(wire_type, &mut self.dims, buf, ctx),
            2 => int32::merge(wire_type, &mut self.data_type, buf, ctx),
            8 => string::merge(wire_type, &mut self.name, buf, ctx),
            4 | 5 | 7 | 9 | 10 | 11 => self.elements(tag, wire_type, buf),
            _ => skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn clear(&mut self) {
        *self = TensorProto::default();
    }

    // Nothing here writes models.
    fn encode_raw(&self, _: &mut impl prost::bytes::BufMut) {}

    fn encoded_len(&self) -> usize {
        0
    }
}
