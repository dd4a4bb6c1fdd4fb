//! Shapes and the broadcasting of shapes.

use std::fmt;

use smallvec::SmallVec;

use super::Dtype;

/// The sizes of a tensor's axes; four fit without allocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(SmallVec<[u64; 4]>);

impl Shape {
    /// The shape of a scalar.
    pub fn scalar() -> Shape {
        Shape::default()
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Number of elements; 1 for a scalar. Saturates; the builder refuses shapes whose count
    /// does not fit 63 bits.
    pub fn elements(&self) -> u64 {
        self.checked_elements().unwrap_or(u64::MAX)
    }

    /// Number of elements, or `None` where it does not fit 63 bits. Nor may the product of any of
    /// the sizes but 0, so that strides and partial products of a shape with elements counted
    /// never overflow.
    pub fn checked_elements(&self) -> Option<u64> {
        let mut product = 1u64;
        for &size in self.0.iter().filter(|&&size| size != 0) {
            product = product.checked_mul(size)?;
        }
        if product > i64::MAX as u64 {
            return None;
        }
        Some(if self.0.contains(&0) { 0 } else { product })
    }

    /// The sizes.
    pub fn sizes(&self) -> &[u64] {
        &self.0
    }

    /// The size of axis `axis`, which may count from the end (-1 is the last); `None` outside.
    pub fn size(&self, axis: i64) -> Option<u64> {
        self.axis(axis).map(|index| self.0[index])
    }

    /// The index of `axis`, which may count from the end; `None` outside.
    pub fn axis(&self, axis: i64) -> Option<usize> {
        let rank = self.rank() as i64;
        let index = if axis < 0 { axis + rank } else { axis };
        (0..rank).contains(&index).then_some(index as usize)
    }

    /// Adds an axis at the end.
    pub fn push(&mut self, size: u64) {
        self.0.push(size);
    }

    /// Adds an axis before `index`.
    pub fn insert(&mut self, index: usize, size: u64) {
        self.0.insert(index.min(self.0.len()), size);
    }

    /// Removes the axis `index` and returns its size.
    pub fn remove(&mut self, index: usize) -> u64 {
        self.0.remove(index)
    }

    /// Sets the size of the axis `index`.
    pub fn set(&mut self, index: usize, size: u64) {
        self.0[index] = size;
    }

    /// The shape that NumPy's rules give for an operation on both, or `None` where two sizes
    /// differ and neither is 1. `O(rank)`.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let (long, short) = if self.rank() >= other.rank() {
            (self, other)
        } else {
            (other, self)
        };
        let offset = long.rank() - short.rank();
        let mut result = long.clone();
        for (index, &size) in short.0.iter().enumerate() {
            let slot = &mut result.0[index + offset];
            *slot = match (*slot, size) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return None,
            };
        }
        Some(result)
    }
}

impl FromIterator<u64> for Shape {
    fn from_iter<I: IntoIterator<Item = u64>>(sizes: I) -> Shape {
        Shape(sizes.into_iter().collect())
    }
}

impl From<&[u64]> for Shape {
    fn from(sizes: &[u64]) -> Shape {
        Shape(SmallVec::from_slice(sizes))
    }
}

impl<const N: usize> From<[u64; N]> for Shape {
    fn from(sizes: [u64; N]) -> Shape {
        Shape(SmallVec::from_slice(&sizes))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, size) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{size}")?;
        }
        f.write_str("]")
    }
}

/// Shape and element type of a tensor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// The sizes.
    pub shape: Shape,
    /// The element type.
    pub dtype: Dtype,
}

impl TensorType {
    /// A type of that shape and element type.
    pub fn new(shape: impl Into<Shape>, dtype: Dtype) -> TensorType {
        TensorType {
            shape: shape.into(),
            dtype,
        }
    }

    /// Bytes of a contiguous tensor of this type; saturates.
    pub fn bytes(&self) -> u64 {
        self.dtype.bytes_for(self.shape.elements())
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.dtype, self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Broadcasting is held to ndarray's, which is an independent implementation.
        #[test]
        fn broadcast_agrees_with_ndarray(
            a in prop::collection::vec(0u64..4, 0..4),
            b in prop::collection::vec(0u64..4, 0..4),
        ) {
            let ours = Shape::from(&a[..]).broadcast(&Shape::from(&b[..]));
            let sizes = |v: &[u64]| v.iter().map(|&n| n as usize).collect::<Vec<_>>();
            let left = ndarray::ArrayD::<u8>::zeros(sizes(&a));
            let right = ndarray::ArrayD::<u8>::zeros(sizes(&b));
            match ours {
                Some(shape) => {
                    let target = sizes(shape.sizes());
                    prop_assert!(left.broadcast(target.clone()).is_some());
                    prop_assert!(right.broadcast(target).is_some());
                }
                None => {
                    let longest = a.len().max(b.len());
                    let at = |v: &[u64], i: usize| {
                        (i + v.len()).checked_sub(longest).map_or(1, |k| v[k])
                    };
                    let clash = (0..longest)
                        .any(|i| at(&a, i) != at(&b, i) && at(&a, i) != 1 && at(&b, i) != 1);
                    prop_assert!(clash);
                }
            }
        }
    }

    #[test]
    fn element_counts_do_not_wrap() {
        assert_eq!(Shape::from([1 << 32, 1 << 32]).checked_elements(), None);
        assert_eq!(Shape::from([0, 1 << 32, 1 << 32]).checked_elements(), None);
        assert_eq!(Shape::from([0, 1 << 32]).checked_elements(), Some(0));
        assert_eq!(Shape::scalar().elements(), 1);
        assert_eq!(Dtype::Int4.bytes_for(3), 2);
    }
}
