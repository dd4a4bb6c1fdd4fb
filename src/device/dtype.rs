//! From the name of a dtype to the units that multiply it.

use serde::Serialize;

use super::{Device, Fp8Format, Unit};

/// What hardware a device has for a dtype.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Support {
    /// A unit of its own.
    Native,
    /// It works, several times slower.
    Emulated,
    /// It does not work.
    Missing,
}

/// What a dtype's name means to the hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dtype {
    /// Multiplied by these units, whichever is there.
    Matrix(&'static [Unit]),
    /// Eight-bit floats in this encoding; in either where none is named.
    Fp8(Option<Fp8Format>),
    /// Integers that index and count; every device has an adder for them.
    Index,
}

impl Dtype {
    /// The dtype of that name, `None` if it is unknown. `O(1)` allocations.
    pub(super) fn of(name: &str) -> Option<Dtype> {
        let name = name.trim().to_ascii_lowercase();
        let name = name.strip_prefix("torch.").unwrap_or(&name);
        Some(match name {
            "float64" | "double" | "fp64" | "f64" | "complex128" => {
                Dtype::Matrix(&[Unit::Fp64, Unit::Fp64Tensor])
            }
            "float32" | "float" | "fp32" | "f32" | "complex64" => {
                Dtype::Matrix(&[Unit::Fp32, Unit::Fp32Tensor])
            }
            "tf32" => Dtype::Matrix(&[Unit::Tf32]),
            "bfloat16" | "bf16" => Dtype::Matrix(&[Unit::Bf16]),
            "float16" | "half" | "fp16" | "f16" | "complex32" => Dtype::Matrix(&[Unit::Fp16]),
            "float8" | "fp8" | "f8" => Dtype::Fp8(None),
            "float8_e4m3fn" | "float8_e5m2" => Dtype::Fp8(Some(Fp8Format::Ocp)),
            "float8_e4m3fnuz" | "float8_e5m2fnuz" => Dtype::Fp8(Some(Fp8Format::Fnuz)),
            "float4_e2m1fn_x2" | "fp4" | "f4" => Dtype::Matrix(&[Unit::Fp4]),
            "int8" | "uint8" | "i8" | "u8" | "qint8" | "quint8" => Dtype::Matrix(&[Unit::Int8]),
            "int4" | "uint4" | "i4" | "u4" => Dtype::Matrix(&[Unit::Int4]),
            "bool" | "int16" | "short" | "int32" | "int" | "int64" | "long" | "uint16"
            | "uint32" | "uint64" | "i16" | "i32" | "i64" | "u16" | "u32" | "u64" => Dtype::Index,
            _ => return None,
        })
    }

    pub(super) fn units(self) -> &'static [Unit] {
        match self {
            Dtype::Matrix(units) => units,
            Dtype::Fp8(_) => &[Unit::Fp8],
            Dtype::Index => &[],
        }
    }

    /// Whether the encoding is the one that the device reads.
    pub(super) fn readable_by(self, device: &Device) -> bool {
        match self {
            Dtype::Fp8(Some(format)) => format == device.fp8_format,
            _ => true,
        }
    }
}

pub(super) fn support(device: &Device, dtype: &str) -> Support {
    let Some(dtype) = Dtype::of(dtype) else {
        return Support::Missing;
    };
    let listed = |unit: &Unit| device.peak.contains_key(unit) || device.unpublished.contains(unit);
    if dtype == Dtype::Index {
        Support::Native
    } else if !dtype.readable_by(device) {
        Support::Missing
    } else if dtype.units().iter().any(listed) {
        Support::Native
    } else if dtype
        .units()
        .iter()
        .any(|unit| device.emulated.contains(unit))
    {
        Support::Emulated
    } else {
        Support::Missing
    }
}
