//! Element types: their names, sizes, number formats and promotion.
//!
//! The format constants are exact; they follow from exponent and mantissa widths (IEEE 754, and the
//! OCP 8-bit floating point specification for the float8 formats) and are held to brute force.

use std::fmt;

/// An element type, by PyTorch's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[allow(missing_docs)]
pub enum Dtype {
    Float64,
    #[default]
    Float32,
    Float16,
    Bfloat16,
    Float8E4m3fn,
    Float8E5m2,
    Float8E4m3fnuz,
    Float8E5m2fnuz,
    Float4E2m1fn,
    Complex64,
    Complex128,
    Int64,
    Int32,
    Int16,
    Int8,
    Uint64,
    Uint32,
    Uint16,
    Uint8,
    Int4,
    Uint4,
    Bool,
}

/// The constants of a binary floating point format.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FloatFormat {
    /// Significand bits, the hidden one included (24 for float32).
    pub precision: u32,
    /// Largest finite value.
    pub max: f64,
    /// The least magnitude that rounds (to nearest, ties to even) past `max`.
    pub overflow: f64,
    /// Smallest positive normal value.
    pub min_normal: f64,
    /// Smallest positive subnormal value.
    pub min_subnormal: f64,
    /// Whether the format has infinities; where not, overflow gives NaN.
    pub has_infinity: bool,
}

impl FloatFormat {
    /// Unit roundoff `2^-precision`: the largest relative error of one rounding.
    pub fn unit_roundoff(&self) -> f64 {
        (0.5f64).powi(self.precision as i32)
    }

    /// `value` rounded to nearest, ties to even, on this format's grid, subnormals included.
    pub fn round(&self, value: f64) -> f64 {
        if value == 0.0 || !value.is_finite() {
            return value;
        }
        let magnitude = value.abs();
        if magnitude >= self.overflow {
            let past = if self.has_infinity {
                f64::INFINITY
            } else {
                f64::NAN
            };
            return past.copysign(value);
        }
        if self.precision == 53 {
            return value;
        }
        // The spacing of the grid at `magnitude`, a power of two by its exponent's bits: the one of
        // the subnormals at the least. Both it and the quotient are exact in float64.
        let exponent = magnitude.max(self.min_normal).to_bits() >> 52;
        let spacing = f64::from_bits((exponent + 1 - u64::from(self.precision)) << 52);
        ((magnitude / spacing).round_ties_even() * spacing).copysign(value)
    }
}

const fn format(
    precision: u32,
    max: f64,
    overflow: f64,
    min_normal: f64,
    min_subnormal: f64,
    has_infinity: bool,
) -> FloatFormat {
    FloatFormat {
        precision,
        max,
        overflow,
        min_normal,
        min_subnormal,
        has_infinity,
    }
}

static FLOAT64: FloatFormat = format(53, f64::MAX, f64::INFINITY, f64::MIN_POSITIVE, 5e-324, true);
static FLOAT32: FloatFormat = format(
    24,
    340282346638528859811704183484516925440.0,
    340282356779733661637539395458142568448.0,
    1.1754943508222875e-38,
    1.401298464324817e-45,
    true,
);
static FLOAT16: FloatFormat = format(
    11,
    65504.0,
    65520.0,
    6.103515625e-05,
    5.960464477539063e-08,
    true,
);
static BFLOAT16: FloatFormat = format(
    8,
    338953138925153547590470800371487866880.0,
    339617752923046005526922703901628039168.0,
    1.1754943508222875e-38,
    9.183549615799121e-41,
    true,
);
static FLOAT8_E4M3FN: FloatFormat = format(4, 448.0, 464.0, 0.015625, 0.001953125, false);
static FLOAT8_E4M3FNUZ: FloatFormat = format(4, 240.0, 248.0, 0.0078125, 0.0009765625, false);
static FLOAT8_E5M2FNUZ: FloatFormat = format(
    3,
    57344.0,
    61440.0,
    3.0517578125e-05,
    7.62939453125e-06,
    false,
);
static FLOAT4_E2M1FN: FloatFormat = format(2, 6.0, 7.0, 1.0, 0.5, false);
static FLOAT8_E5M2: FloatFormat = format(
    3,
    57344.0,
    61440.0,
    6.103515625e-05,
    1.52587890625e-05,
    true,
);

impl Dtype {
    /// Every element type.
    pub const ALL: [Dtype; 22] = [
        Dtype::Float64,
        Dtype::Float32,
        Dtype::Float16,
        Dtype::Bfloat16,
        Dtype::Float8E4m3fn,
        Dtype::Float8E5m2,
        Dtype::Float8E4m3fnuz,
        Dtype::Float8E5m2fnuz,
        Dtype::Float4E2m1fn,
        Dtype::Complex64,
        Dtype::Complex128,
        Dtype::Int64,
        Dtype::Int32,
        Dtype::Int16,
        Dtype::Int8,
        Dtype::Uint64,
        Dtype::Uint32,
        Dtype::Uint16,
        Dtype::Uint8,
        Dtype::Int4,
        Dtype::Uint4,
        Dtype::Bool,
    ];

    /// PyTorch's name.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::Float64 => "float64",
            Dtype::Float32 => "float32",
            Dtype::Float16 => "float16",
            Dtype::Bfloat16 => "bfloat16",
            Dtype::Float8E4m3fn => "float8_e4m3fn",
            Dtype::Float8E5m2 => "float8_e5m2",
            Dtype::Float8E4m3fnuz => "float8_e4m3fnuz",
            Dtype::Float8E5m2fnuz => "float8_e5m2fnuz",
            Dtype::Float4E2m1fn => "float4_e2m1fn",
            Dtype::Complex64 => "complex64",
            Dtype::Complex128 => "complex128",
            Dtype::Int64 => "int64",
            Dtype::Int32 => "int32",
            Dtype::Int16 => "int16",
            Dtype::Int8 => "int8",
            Dtype::Uint64 => "uint64",
            Dtype::Uint32 => "uint32",
            Dtype::Uint16 => "uint16",
            Dtype::Uint8 => "uint8",
            Dtype::Int4 => "int4",
            Dtype::Uint4 => "uint4",
            Dtype::Bool => "bool",
        }
    }

    /// The type of that name or alias (`f32`, `fp16`, `half`, `bf16`, `torch.float32` …).
    pub fn parse(name: &str) -> Option<Dtype> {
        let name = name.strip_prefix("torch.").unwrap_or(name);
        Some(match name {
            "float64" | "f64" | "fp64" | "double" => Dtype::Float64,
            "float32" | "f32" | "fp32" | "float" | "single" => Dtype::Float32,
            "float16" | "f16" | "fp16" | "half" => Dtype::Float16,
            "bfloat16" | "bf16" => Dtype::Bfloat16,
            "float8_e4m3fn" | "float8_e4m3" | "e4m3" | "e4m3fn" | "fp8_e4m3" | "f8e4m3" => {
                Dtype::Float8E4m3fn
            }
            "float8_e5m2" | "e5m2" | "fp8_e5m2" | "f8e5m2" => Dtype::Float8E5m2,
            "float8_e4m3fnuz" | "e4m3fnuz" => Dtype::Float8E4m3fnuz,
            "float8_e5m2fnuz" | "e5m2fnuz" => Dtype::Float8E5m2fnuz,
            "float4_e2m1fn" | "float4_e2m1" | "e2m1" | "fp4" | "f4" => Dtype::Float4E2m1fn,
            "complex64" | "cfloat" => Dtype::Complex64,
            "complex128" | "cdouble" => Dtype::Complex128,
            "int64" | "i64" | "long" => Dtype::Int64,
            "int32" | "i32" | "int" => Dtype::Int32,
            "int16" | "i16" | "short" => Dtype::Int16,
            "int8" | "i8" => Dtype::Int8,
            "uint8" | "u8" | "byte" => Dtype::Uint8,
            "uint64" | "u64" => Dtype::Uint64,
            "uint32" | "u32" => Dtype::Uint32,
            "uint16" | "u16" => Dtype::Uint16,
            "int4" | "i4" => Dtype::Int4,
            "uint4" | "u4" => Dtype::Uint4,
            "bool" | "boolean" => Dtype::Bool,
            _ => return None,
        })
    }

    /// Bits of one element in memory.
    pub fn bits(self) -> u64 {
        match self {
            Dtype::Complex128 => 128,
            Dtype::Float64 | Dtype::Int64 | Dtype::Uint64 | Dtype::Complex64 => 64,
            Dtype::Float32 | Dtype::Int32 | Dtype::Uint32 => 32,
            Dtype::Float16 | Dtype::Bfloat16 | Dtype::Int16 | Dtype::Uint16 => 16,
            Dtype::Float8E4m3fn
            | Dtype::Float8E5m2
            | Dtype::Float8E4m3fnuz
            | Dtype::Float8E5m2fnuz
            | Dtype::Int8
            | Dtype::Uint8
            | Dtype::Bool => 8,
            Dtype::Float4E2m1fn | Dtype::Int4 | Dtype::Uint4 => 4,
        }
    }

    /// Bytes that `elements` take, rounded up to whole bytes; saturates.
    pub fn bytes_for(self, elements: u64) -> u64 {
        let bits = u128::from(elements) * u128::from(self.bits());
        u64::try_from(bits.div_ceil(8)).unwrap_or(u64::MAX)
    }

    /// The constants of the format; `None` for integers and booleans. A complex type has its part's.
    pub fn float_format(self) -> Option<&'static FloatFormat> {
        Some(match self {
            Dtype::Float64 | Dtype::Complex128 => &FLOAT64,
            Dtype::Float32 | Dtype::Complex64 => &FLOAT32,
            Dtype::Float16 => &FLOAT16,
            Dtype::Bfloat16 => &BFLOAT16,
            Dtype::Float8E4m3fn => &FLOAT8_E4M3FN,
            Dtype::Float8E5m2 => &FLOAT8_E5M2,
            Dtype::Float8E4m3fnuz => &FLOAT8_E4M3FNUZ,
            Dtype::Float8E5m2fnuz => &FLOAT8_E5M2FNUZ,
            Dtype::Float4E2m1fn => &FLOAT4_E2M1FN,
            _ => return None,
        })
    }

    /// Whether values are floating point (complex included): only such tensors have gradients.
    pub fn is_float(self) -> bool {
        self.float_format().is_some()
    }

    /// Whether the type is float16 or bfloat16.
    pub fn is_half(self) -> bool {
        matches!(self, Dtype::Float16 | Dtype::Bfloat16)
    }

    /// Whether values are complex.
    pub fn is_complex(self) -> bool {
        matches!(self, Dtype::Complex64 | Dtype::Complex128)
    }

    /// Smallest and largest value of an integer type or bool; `None` for floats.
    pub fn integer_range(self) -> Option<(i128, i128)> {
        Some(match self {
            Dtype::Int64 => (i64::MIN.into(), i64::MAX.into()),
            Dtype::Int32 => (i32::MIN.into(), i32::MAX.into()),
            Dtype::Int16 => (i16::MIN.into(), i16::MAX.into()),
            Dtype::Int8 => (-128, 127),
            Dtype::Uint64 => (0, u64::MAX.into()),
            Dtype::Uint32 => (0, u32::MAX.into()),
            Dtype::Uint16 => (0, 65535),
            Dtype::Uint8 => (0, 255),
            Dtype::Int4 => (-8, 7),
            Dtype::Uint4 => (0, 15),
            Dtype::Bool => (0, 1),
            _ => return None,
        })
    }

    /// The type that arithmetic between two tensors of at least one dimension gives
    /// (`torch.promote_types`). Two different halves meet in float32, as do float8 and a half in
    /// the half.
    pub fn promote(self, other: Dtype) -> Dtype {
        use Dtype::*;
        if self == other {
            return self;
        }
        let rank = |dtype: Dtype| match dtype {
            Bool => 0,
            Uint4 => 1,
            Uint8 => 2,
            Uint16 => 3,
            Uint32 => 4,
            Uint64 => 5,
            Int4 => 6,
            Int8 => 7,
            Int16 => 8,
            Int32 => 9,
            Int64 => 10,
            Float4E2m1fn => 11,
            Float8E4m3fn | Float8E5m2 | Float8E4m3fnuz | Float8E5m2fnuz => 12,
            Float16 | Bfloat16 => 13,
            Float32 => 14,
            Float64 => 15,
            Complex64 => 16,
            Complex128 => 17,
        };
        match (self, other) {
            (Float16, Bfloat16) | (Bfloat16, Float16) => Float32,
            _ if rank(self) == 12 && rank(other) == 12 => Float32,
            (Uint4, Int4) | (Int4, Uint4) => Int8,
            (Uint8, Int8 | Int4) | (Int8 | Int4, Uint8) => Int16,
            // The narrowest signed type that holds both; nothing signed holds 64 bits without one.
            (Uint16, Int4 | Int8 | Int16) | (Int4 | Int8 | Int16, Uint16) => Int32,
            (Uint32 | Uint64, Int4 | Int8 | Int16 | Int32)
            | (Int4 | Int8 | Int16 | Int32, Uint32 | Uint64) => Int64,
            (Complex64, Float64) | (Float64, Complex64) => Complex128,
            _ if rank(self) >= rank(other) => self,
            _ => other,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All finite non-negative values of a format, from its definition by bits.
    fn grid(format: &FloatFormat) -> Vec<f64> {
        let significands = 1u32 << (format.precision - 1);
        let mut values: Vec<f64> = (0..significands)
            .map(|m| f64::from(m) * format.min_subnormal)
            .collect();
        let mut scale = format.min_subnormal;
        'binades: loop {
            for significand in significands..2 * significands {
                let value = f64::from(significand) * scale;
                if value > format.max {
                    break 'binades;
                }
                values.push(value);
            }
            scale *= 2.0;
        }
        values
    }

    #[test]
    fn constants_and_rounding_agree_with_the_enumerated_grid() {
        for dtype in [
            Dtype::Float16,
            Dtype::Float8E4m3fn,
            Dtype::Float8E5m2,
            Dtype::Float8E4m3fnuz,
            Dtype::Float8E5m2fnuz,
            Dtype::Float4E2m1fn,
        ] {
            let format = dtype.float_format().unwrap();
            let values = grid(format);
            assert_eq!(*values.last().unwrap(), format.max, "{dtype}");
            assert!(values.contains(&format.min_normal), "{dtype}");
            for pair in values.windows(2) {
                let (low, high) = (pair[0], pair[1]);
                assert_eq!(format.round(low), low, "{dtype}");
                assert_eq!(format.round(-low), -low, "{dtype}");
                let third = low + (high - low) / 3.0;
                assert_eq!(format.round(third), low, "{dtype} {third}");
                assert_eq!(format.round(high - (high - low) / 3.0), high, "{dtype}");
                let even = format.round((low + high) / 2.0);
                let significand = even / format.min_subnormal;
                assert!(even == low || even == high, "{dtype} {low} {high} {even}");
                assert!(
                    significand % 2.0 == 0.0 || even > format.min_normal,
                    "{dtype}"
                );
            }
            assert!(!format.round(format.overflow).is_finite(), "{dtype}");
            let below = format.overflow - format.overflow * 1e-12;
            assert_eq!(format.round(below), format.max, "{dtype}");
        }
    }

    #[test]
    fn float32_rounding_agrees_with_the_processor() {
        let format = Dtype::Float32.float_format().unwrap();
        let mut bits = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(0xd129_0d3d_3d2b_8b4d).rotate_left(23) ^ 0xabcd;
            let value =
                f64::from(f32::from_bits(bits as u32)) * (1.0 + (bits >> 40) as f64 * 1e-12);
            if value.is_nan() {
                continue;
            }
            assert_eq!(format.round(value), f64::from(value as f32), "{value:e}");
        }
    }

    #[test]
    fn names_parse_back_and_promotion_is_symmetric() {
        for dtype in Dtype::ALL {
            assert_eq!(Dtype::parse(dtype.name()), Some(dtype));
            for other in Dtype::ALL {
                assert_eq!(dtype.promote(other), other.promote(dtype));
            }
        }
        assert_eq!(Dtype::Float16.promote(Dtype::Bfloat16), Dtype::Float32);
        assert_eq!(Dtype::Uint8.promote(Dtype::Int8), Dtype::Int16);
        assert_eq!(Dtype::Int64.promote(Dtype::Float16), Dtype::Float16);
    }
}
