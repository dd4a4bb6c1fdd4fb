//! Tensors whose values are known: the small integers that shapes depend on, and single numbers.

use super::schema::{Elements, TensorProto};
use crate::tensor::{Dtype, Shape, TensorType};

/// Most elements that are computed with one by one.
pub(super) const MAX_ELEMENTS: u64 = 4096;

/// A tensor with its values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Constant {
    /// Shape and element type.
    pub ty: TensorType,
    /// The values in row-major order; one value stands for all elements where they are the same.
    values: Values,
}

/// Values: those of floats apart from those of integers, which may not fit a float.
#[derive(Debug, Clone, PartialEq)]
enum Values {
    Integers(Vec<i64>),
    Floats(Vec<f64>),
}

/// The element type of that number in `TensorProto.DataType`; `None` for strings and unknown ones.
pub(super) fn dtype(number: i32) -> Option<Dtype> {
    Some(match number {
        1 => Dtype::Float32,
        2 => Dtype::Uint8,
        3 => Dtype::Int8,
        4 => Dtype::Uint16,
        5 => Dtype::Int16,
        6 => Dtype::Int32,
        7 => Dtype::Int64,
        9 => Dtype::Bool,
        10 => Dtype::Float16,
        11 => Dtype::Float64,
        12 => Dtype::Uint32,
        13 => Dtype::Uint64,
        14 => Dtype::Complex64,
        15 => Dtype::Complex128,
        16 => Dtype::Bfloat16,
        17 => Dtype::Float8E4m3fn,
        18 => Dtype::Float8E4m3fnuz,
        19 => Dtype::Float8E5m2,
        20 => Dtype::Float8E5m2fnuz,
        21 => Dtype::Uint4,
        22 => Dtype::Int4,
        23 => Dtype::Float4E2m1fn,
        _ => return None,
    })
}

/// The shape that sizes are; `None` where one is negative or there are more elements than 63 bits
/// count.
pub(super) fn shape(sizes: &[i64]) -> Option<Shape> {
    let shape: Option<Shape> = sizes.iter().map(|&size| u64::try_from(size).ok()).collect();
    shape.filter(|shape| {
        let elements = shape.checked_elements();
        elements.is_some_and(|count| count.checked_mul(128).is_some())
    })
}

impl Constant {
    /// A constant of those integers, or truth values.
    pub(super) fn integers(shape: impl Into<Shape>, dtype: Dtype, values: Vec<i64>) -> Constant {
        let ty = TensorType::new(shape, dtype);
        match dtype.is_float() {
            true => Constant {
                ty,
                values: Values::Floats(values.into_iter().map(|value| value as f64).collect()),
            },
            false => Constant {
                ty,
                values: Values::Integers(values),
            },
        }
    }

    /// A constant of those numbers, on the grid of the element type.
    pub(super) fn floats(shape: impl Into<Shape>, dtype: Dtype, values: Vec<f64>) -> Constant {
        let ty = TensorType::new(shape, dtype);
        let values = match dtype.float_format() {
            Some(format) => Values::Floats(values.into_iter().map(|v| format.round(v)).collect()),
            None => Values::Integers(values.into_iter().map(|value| value as i64).collect()),
        };
        Constant { ty, values }
    }

    /// A list of integers.
    pub(super) fn list(values: Vec<i64>) -> Constant {
        Constant::integers([values.len() as u64], Dtype::Int64, values)
    }

    /// The same value everywhere, as that of this constant's first element.
    pub(super) fn spread(&self, shape: Shape) -> Constant {
        let values = match &self.values {
            Values::Integers(all) => Values::Integers(all.iter().copied().take(1).collect()),
            Values::Floats(all) => Values::Floats(all.iter().copied().take(1).collect()),
        };
        let ty = TensorType::new(shape, self.ty.dtype);
        Constant { ty, values }
    }

    /// The constant of a tensor in a file, where its values are kept.
    pub(super) fn of(tensor: &TensorProto) -> Option<Constant> {
        let dtype = dtype(tensor.data_type)?;
        let shape = shape(&tensor.dims)?;
        let count = usize::try_from(shape.elements()).ok()?;
        let values = match &tensor.elements {
            Elements::Raw(bytes) => raw(dtype, bytes, count)?,
            Elements::Floats(all) => {
                Values::Floats(all.iter().map(|&value| f64::from(value)).collect())
            }
            Elements::Doubles(all) => Values::Floats(all.clone()),
            Elements::Integers(all) if dtype.is_float() => Values::Floats(
                all.iter()
                    .map(|&bits| float(dtype, bits as u64))
                    .collect::<Option<_>>()?,
            ),
            Elements::Integers(all) => Values::Integers(all.clone()),
            Elements::Absent if count == 0 => Values::Integers(Vec::new()),
            Elements::Absent | Elements::Skipped => return None,
        };
        let kept = match &values {
            Values::Integers(all) => all.len(),
            Values::Floats(all) => all.len(),
        };
        if kept != count || dtype.is_complex() {
            return None;
        }
        let ty = TensorType::new(shape, dtype);
        let values = match (values, dtype.is_float()) {
            (Values::Integers(all), true) => {
                Values::Floats(all.iter().map(|&v| v as f64).collect())
            }
            (values, _) => values,
        };
        Some(Constant { ty, values }.compact())
    }

    /// With one value for all elements, where they are the same.
    fn compact(mut self) -> Constant {
        match &mut self.values {
            Values::Integers(all) if all.windows(2).all(|pair| pair[0] == pair[1]) => {
                all.truncate(1);
            }
            Values::Floats(all) if all.windows(2).all(|pair| pair[0] == pair[1]) => all.truncate(1),
            _ => {}
        }
        self
    }

    /// The number of elements.
    pub(super) fn len(&self) -> u64 {
        self.ty.shape.elements()
    }

    /// Whether it is few enough to compute with its elements one by one.
    pub(super) fn is_small(&self) -> bool {
        self.len() <= MAX_ELEMENTS
    }

    /// The value of all elements, where it is one.
    pub(super) fn uniform(&self) -> Option<f64> {
        match &self.values {
            Values::Integers(all) if all.len() == 1 => Some(all[0] as f64),
            Values::Floats(all) if all.len() == 1 => Some(all[0]),
            _ => None,
        }
    }

    /// The least and the greatest value; `None` where there is none.
    pub(super) fn range(&self) -> Option<(f64, f64)> {
        let numbers: Vec<f64> = match &self.values {
            Values::Integers(all) => all.iter().map(|&value| value as f64).collect(),
            Values::Floats(all) => all.clone(),
        };
        let least = numbers.iter().copied().reduce(f64::min)?;
        let greatest = numbers.iter().copied().reduce(f64::max)?;
        numbers
            .iter()
            .all(|value| !value.is_nan())
            .then_some((least, greatest))
    }

    /// The value of an element as a real number. The index must lie inside.
    pub(super) fn real(&self, at: usize) -> f64 {
        match &self.values {
            Values::Integers(all) => pick(all, at).unwrap_or(0) as f64,
            Values::Floats(all) => pick(all, at).unwrap_or(f64::NAN),
        }
    }

    /// The value of an element as an integer, cut to one.
    pub(super) fn integer(&self, at: usize) -> i64 {
        match &self.values {
            Values::Integers(all) => pick(all, at).unwrap_or(0),
            Values::Floats(all) => pick(all, at).unwrap_or(0.0) as i64,
        }
    }

    /// All values as integers; `None` where there are too many.
    pub(super) fn all_integers(&self) -> Option<Vec<i64>> {
        self.is_small().then(|| {
            (0..self.len() as usize)
                .map(|at| self.integer(at))
                .collect()
        })
    }

    /// All values as real numbers; `None` where there are too many.
    pub(super) fn all_reals(&self) -> Option<Vec<f64>> {
        self.is_small()
            .then(|| (0..self.len() as usize).map(|at| self.real(at)).collect())
    }

    /// The same values in another shape of as many elements.
    pub(super) fn reshaped(&self, shape: Shape) -> Option<Constant> {
        (shape.checked_elements()? == self.len()).then(|| Constant {
            ty: TensorType::new(shape, self.ty.dtype),
            values: self.values.clone(),
        })
    }

    /// The values at these places, in that shape; `None` where there are too many.
    pub(super) fn picked(
        &self,
        shape: Shape,
        mut place: impl FnMut(&[u64]) -> Option<usize>,
    ) -> Option<Constant> {
        if self.uniform().is_some() && self.len() > 0 {
            return Some(self.spread(shape));
        }
        if shape.elements() > MAX_ELEMENTS {
            return None;
        }
        let mut places = Vec::with_capacity(shape.elements() as usize);
        for index in Indices::of(&shape) {
            places.push(place(&index).filter(|&at| at < self.len() as usize)?);
        }
        let values = match &self.values {
            Values::Integers(all) => Values::Integers(places.iter().map(|&at| all[at]).collect()),
            Values::Floats(all) => Values::Floats(places.iter().map(|&at| all[at]).collect()),
        };
        let ty = TensorType::new(shape, self.ty.dtype);
        Some(Constant { ty, values }.compact())
    }

    /// The values in another element type, as `Cast` converts them.
    pub(super) fn cast(&self, dtype: Dtype) -> Constant {
        let ty = TensorType::new(self.ty.shape.clone(), dtype);
        let values = match (&self.values, dtype.float_format()) {
            (Values::Integers(all), Some(format)) => {
                Values::Floats(all.iter().map(|&v| format.round(v as f64)).collect())
            }
            (Values::Floats(all), Some(format)) => {
                Values::Floats(all.iter().map(|&v| format.round(v)).collect())
            }
            (Values::Floats(all), None) if dtype == Dtype::Bool => {
                Values::Integers(all.iter().map(|&v| i64::from(v != 0.0)).collect())
            }
            (Values::Integers(all), None) if dtype == Dtype::Bool => {
                Values::Integers(all.iter().map(|&v| i64::from(v != 0)).collect())
            }
            (Values::Floats(all), None) => {
                Values::Integers(all.iter().map(|&v| v as i64).collect())
            }
            (Values::Integers(all), None) => Values::Integers(all.clone()),
        };
        Constant { ty, values }
    }
}

fn pick<T: Copy>(all: &[T], at: usize) -> Option<T> {
    match all {
        [one] => Some(*one),
        all => all.get(at).copied(),
    }
}

/// Elements as they lie in memory.
fn raw(dtype: Dtype, bytes: &[u8], count: usize) -> Option<Values> {
    if dtype.bits() == 4 {
        let nibbles = bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]);
        let nibbles: Vec<u64> = nibbles.take(count).map(u64::from).collect();
        return Some(match dtype.is_float() {
            true => Values::Floats(
                nibbles
                    .iter()
                    .map(|&bits| float(dtype, bits))
                    .collect::<Option<_>>()?,
            ),
            false => Values::Integers(
                nibbles
                    .iter()
                    .map(|&bits| match dtype {
                        Dtype::Int4 if bits > 7 => bits as i64 - 16,
                        _ => bits as i64,
                    })
                    .collect(),
            ),
        });
    }
    let size = (dtype.bits() / 8) as usize;
    let elements = bytes.chunks_exact(size).map(|chunk| {
        let mut wide = [0; 8];
        let kept = size.min(8);
        wide[..kept].copy_from_slice(&chunk[..kept]);
        u64::from_le_bytes(wide)
    });
    if dtype.is_float() {
        let reals: Option<Vec<f64>> = elements.map(|bits| float(dtype, bits)).collect();
        return reals.map(Values::Floats);
    }
    let signed = matches!(
        dtype,
        Dtype::Int8 | Dtype::Int16 | Dtype::Int32 | Dtype::Int64
    );
    let unused = 64 - 8 * size as u32;
    let extend = |bits: u64| match signed {
        true => ((bits << unused) as i64) >> unused,
        false => bits as i64,
    };
    Some(Values::Integers(elements.map(extend).collect()))
}

/// The number that bits stand for in a binary format; `None` for complex ones.
fn float(dtype: Dtype, bits: u64) -> Option<f64> {
    let (exponent_bits, mantissa_bits) = match dtype {
        Dtype::Float64 => return Some(f64::from_bits(bits)),
        Dtype::Float32 => return Some(f64::from(f32::from_bits(bits as u32))),
        Dtype::Bfloat16 => return Some(f64::from(f32::from_bits((bits as u32) << 16))),
        Dtype::Float16 => (5u32, 10u32),
        Dtype::Float8E4m3fn | Dtype::Float8E4m3fnuz => (4, 3),
        Dtype::Float8E5m2 | Dtype::Float8E5m2fnuz => (5, 2),
        Dtype::Float4E2m1fn => (2, 1),
        _ => return None,
    };
    let format = dtype.float_format()?;
    let width = exponent_bits + mantissa_bits;
    let sign = if bits >> width & 1 == 1 { -1.0 } else { 1.0 };
    let exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
    let mantissa = (bits & ((1 << mantissa_bits) - 1)) as f64;
    let magnitude = match exponent {
        0 => mantissa * format.min_subnormal,
        _ => {
            let significand = mantissa + f64::from(1u32 << mantissa_bits);
            significand * format.min_subnormal * (exponent as f64 - 1.0).exp2()
        }
    };
    Some(match magnitude > format.max {
        true if format.has_infinity && mantissa == 0.0 => sign * f64::INFINITY,
        true => f64::NAN,
        false => sign * magnitude,
    })
}

/// All indices of a shape in row-major order.
pub(super) struct Indices {
    sizes: Vec<u64>,
    next: Option<Vec<u64>>,
}

impl Indices {
    /// The indices of that shape.
    pub(super) fn of(shape: &Shape) -> Indices {
        let sizes = shape.sizes().to_vec();
        let next = (!sizes.contains(&0)).then(|| vec![0; sizes.len()]);
        Indices { sizes, next }
    }
}

impl Iterator for Indices {
    type Item = Vec<u64>;

    fn next(&mut self) -> Option<Vec<u64>> {
        let current = self.next.clone()?;
        let next = self.next.as_mut()?;
        for axis in (0..self.sizes.len()).rev() {
            next[axis] += 1;
            if next[axis] < self.sizes[axis] {
                return Some(current);
            }
            next[axis] = 0;
        }
        self.next = None;
        Some(current)
    }
}

/// The place of an index in row-major order, where broadcasting repeats axes of size 1.
pub(super) fn place(index: &[u64], shape: &Shape) -> usize {
    let sizes = shape.sizes();
    let skipped = index.len().saturating_sub(sizes.len());
    let mut at = 0;
    for (&size, &i) in sizes.iter().zip(&index[skipped..]) {
        at = at * size as usize + if size == 1 { 0 } else { i as usize };
    }
    at
}
