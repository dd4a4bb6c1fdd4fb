//! The one primitive that multiplies and adds: a sum of products over shared labels.

use std::borrow::Cow;

use ndarray::{Array2, ArrayView2, Axis, CowArray, Ix3, IxDyn};

use super::number::round;
use super::places::{reshaped, row_major};
use super::reduction::{lanes, pairwise};
use super::{Array, KernelError, Tape, Var};

use crate::kernels::fast;
use crate::tensor::Dtype;

/// Labels of the axes of two operands and of the result, as in `einsum`: each label once in each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// Of the first operand.
    pub first: Vec<u32>,
    /// Of the second operand.
    pub second: Vec<u32>,
    /// Of the result.
    pub result: Vec<u32>,
}

impl Labels {
    /// Labels from letters: `Labels::letters("bij", "bjk", "bik")`.
    pub fn letters(first: &str, second: &str, result: &str) -> Labels {
        let numbers = |text: &str| text.chars().map(u32::from).collect();
        Labels {
            first: numbers(first),
            second: numbers(second),
            result: numbers(result),
        }
    }
}

/// The product of two matrices, added up in `accumulate`.
fn product(a: ArrayView2<f64>, b: ArrayView2<f64>, accumulate: Dtype) -> Array2<f64> {
    match accumulate {
        Dtype::Float64 => fast::product::product(a, b),
        Dtype::Float32 => {
            let (a, b) = (a.mapv(|x| x as f32), b.mapv(|x| x as f32));
            fast::product::product(a.view(), b.view()).mapv(f64::from)
        }
        narrow => Array2::from_shape_fn((a.nrows(), b.ncols()), |(i, j)| {
            a.row(i)
                .iter()
                .zip(b.column(j))
                .fold(0.0, |sum, (x, y)| round(narrow, sum + x * y))
        }),
    }
}

/// Sums away the axes of `array` whose labels stand neither in `other` nor in `result`.
fn summed<'a>(
    array: &'a Array,
    labels: &[u32],
    wanted: &[&[u32]],
    dtype: Dtype,
) -> (Cow<'a, Array>, Vec<u32>) {
    let is_wanted = |label: &u32| wanted.iter().any(|list| list.contains(label));
    let axes: Vec<usize> = (0..labels.len())
        .filter(|&axis| !is_wanted(&labels[axis]))
        .collect();
    let left: Vec<u32> = labels.iter().copied().filter(is_wanted).collect();
    if axes.is_empty() {
        return (Cow::Borrowed(array), left);
    }
    let sizes: Vec<usize> = (0..labels.len())
        .filter(|axis| !axes.contains(axis))
        .map(|axis| array.shape()[axis])
        .collect();
    let sums = lanes(array, &axes, |lane| pairwise(lane, dtype));
    (Cow::Owned(reshaped(&sums, &sizes)), left)
}

/// A stack of matrices: the axes in the order of three groups of labels, each flattened. Copies
/// elements only where they lie neither row by row nor column by column.
fn grouped<'a>(array: &'a Array, labels: &[u32], groups: [&[u32]; 3]) -> CowArray<'a, f64, Ix3> {
    let in_order = |groups: [&[u32]; 3]| {
        let place = |label: &u32| labels.iter().position(|other| other == label);
        let axes = groups.map(|group| group.iter().filter_map(place).collect::<Vec<usize>>());
        let size = |axes: &Vec<usize>| axes.iter().map(|&axis| array.shape()[axis]).product();
        let sizes: [usize; 3] = [size(&axes[0]), size(&axes[1]), size(&axes[2])];
        (array.view().permuted_axes(IxDyn(&axes.concat())), sizes)
    };
    let [stack, rows, columns] = groups;
    let (turned, sizes) = in_order([stack, columns, rows]);
    if turned.is_standard_layout()
        && let Ok(mut matrices) = turned.into_shape_with_order(sizes)
    {
        matrices.swap_axes(1, 2);
        return CowArray::from(matrices);
    }
    let (straight, sizes) = in_order([stack, rows, columns]);
    if straight.is_standard_layout()
        && let Ok(matrices) = straight.clone().into_shape_with_order(sizes)
    {
        return CowArray::from(matrices);
    }
    let copied = ndarray::Array3::from_shape_vec(sizes, row_major(straight));
    CowArray::from(copied.unwrap_or_else(|_| ndarray::Array3::from_elem(sizes, f64::NAN)))
}

/// The contraction, and how many multiply-adds it took.
fn contracted(a: &Array, b: &Array, labels: &Labels, accumulate: Dtype) -> (Array, u128) {
    let (a, first) = summed(
        a,
        &labels.first,
        &[&labels.second, &labels.result],
        accumulate,
    );
    let (b, second) = summed(
        b,
        &labels.second,
        &[&labels.first, &labels.result],
        accumulate,
    );
    let both = |label: &&u32| first.contains(label) && second.contains(label);
    let in_result = |label: &&u32| labels.result.contains(label);
    let pick = |list: &[u32], keep: &dyn Fn(&&u32) -> bool| -> Vec<u32> {
        list.iter().filter(|label| keep(label)).copied().collect()
    };
    let batch = pick(&first, &|label| both(label) && in_result(label));
    let inner = pick(&first, &|label| both(label) && !in_result(label));
    let left = pick(&first, &|label| !both(label));
    let right = pick(&second, &|label| !both(label));
    let size = |label: &u32| {
        let of = |labels: &[u32], array: &Array| {
            let axis = labels.iter().position(|other| other == label)?;
            Some(array.shape()[axis])
        };
        of(&first, &a).or_else(|| of(&second, &b)).unwrap_or(1)
    };
    let x = grouped(&a, &first, [&batch, &left, &inner]);
    let y = grouped(&b, &second, [&batch, &inner, &right]);
    let mut elements =
        Vec::with_capacity(x.len_of(Axis(0)) * x.len_of(Axis(1)) * y.len_of(Axis(2)));
    for (x, y) in x.outer_iter().zip(y.outer_iter()) {
        let made = product(x, y, accumulate);
        match made.as_slice() {
            Some(made) => elements.extend_from_slice(made),
            None => elements.extend(made),
        }
    }
    let multiply_adds = (x.len() as u128) * (y.len_of(Axis(2)) as u128);
    let made: Vec<u32> = [batch, left, right].concat();
    let sizes: Vec<usize> = made.iter().map(size).collect();
    let flat = Array::from_shape_vec(IxDyn(&sizes), elements)
        .unwrap_or_else(|_| Array::from_elem(IxDyn(&sizes), f64::NAN));
    let order: Vec<usize> = labels
        .result
        .iter()
        .filter_map(|label| made.iter().position(|other| other == label))
        .collect();
    (flat.permuted_axes(IxDyn(&order)), multiply_adds)
}

/// The gradient of an operand: the contraction of the result's gradient with the other operand, and
/// repeated along axes that were summed away.
fn way_back(
    gradient: &Array,
    other: &Array,
    labels: (&[u32], &[u32], &[u32]),
    sizes: &[usize],
    accumulate: Dtype,
) -> (Array, u128) {
    let (result, second, wanted) = labels;
    let found: Vec<u32> = wanted
        .iter()
        .copied()
        .filter(|label| result.contains(label) || second.contains(label))
        .collect();
    let back = Labels {
        first: result.to_vec(),
        second: second.to_vec(),
        result: found.clone(),
    };
    let (made, products) = contracted(gradient, other, &back, accumulate);
    let narrow: Vec<usize> = wanted
        .iter()
        .zip(sizes)
        .map(|(label, &size)| if found.contains(label) { size } else { 1 })
        .collect();
    if narrow == sizes {
        return (made, products);
    }
    let made = reshaped(&made, &narrow);
    let whole = match made.broadcast(IxDyn(sizes)) {
        Some(view) => view.to_owned(),
        None => made,
    };
    (whole, products)
}

impl Tape {
    /// The sum of products of two operands over the labels that the result lacks. Counts one
    /// multiply-add for each product of two elements, forward and for each gradient.
    ///
    /// # Errors
    /// Where labels and shapes do not fit.
    pub fn contract(&mut self, a: Var, b: Var, labels: Labels) -> Result<Var, KernelError> {
        let (of_a, of_b) = (self.sizes(a), self.sizes(b));
        if of_a.len() != labels.first.len() || of_b.len() != labels.second.len() {
            return Err(KernelError::new(
                "a product with as many labels as axes is needed",
            ));
        }
        for (label, size) in labels.first.iter().zip(&of_a) {
            let other = labels.second.iter().position(|other| other == label);
            if other.is_some_and(|axis| of_b[axis] != *size) {
                return Err(KernelError::new(format!(
                    "sizes of a shared axis differ in a product of {of_a:?} and {of_b:?}"
                )));
            }
        }
        let accumulate = self.arithmetic().accumulate;
        let (value, products) = contracted(self.value(a), self.value(b), &labels, accumulate);
        self.count_products(products);
        Ok(self.push(value, &[a, b], move |back, gradient| {
            let accumulate = back.arithmetic().accumulate;
            let Labels {
                first,
                second,
                result,
            } = &labels;
            if back.needs(a) {
                let (other, sizes) = (back.value(b), back.value(a).shape());
                let names = (&result[..], &second[..], &first[..]);
                let (given, products) = way_back(gradient, other, names, sizes, accumulate);
                back.count_products(products);
                back.give(a, given);
            }
            if back.needs(b) {
                let (other, sizes) = (back.value(a), back.value(b).shape());
                let names = (&result[..], &first[..], &second[..]);
                let (given, products) = way_back(gradient, other, names, sizes, accumulate);
                back.count_products(products);
                back.give(b, given);
            }
        }))
    }

    /// Matrix product of the last two axes, the leading ones broadcast, as `torch.matmul` of two
    /// operands of at least two axes.
    ///
    /// # Errors
    /// Where the shapes do not fit.
    pub fn matmul(&mut self, a: Var, b: Var) -> Result<Var, KernelError> {
        let (of_a, of_b) = (self.sizes(a), self.sizes(b));
        let rank = of_a.len().max(of_b.len());
        let batch = |sizes: &[usize]| sizes[..sizes.len().saturating_sub(2)].to_vec();
        let wide = super::pointwise::broadcast_sizes(&batch(&of_a), &batch(&of_b))?;
        // Axes that only one operand has, or that it has with size 1, keep their label out of it.
        let mut name = |var: Var, sizes: &[usize], last: [u32; 2]| {
            let offset = rank - sizes.len();
            let lead = sizes.len() - 2;
            let kept: Vec<usize> = (0..lead)
                .filter(|&axis| sizes[axis] == wide[axis + offset])
                .collect();
            let mut labels: Vec<u32> = kept.iter().map(|&axis| (axis + offset) as u32).collect();
            labels.extend(last);
            let mut narrow: Vec<usize> = kept.iter().map(|&axis| sizes[axis]).collect();
            narrow.extend(&sizes[lead..]);
            self.reshape(var, &narrow).map(|var| (var, labels))
        };
        let (row, inner, column) = (1000, 1001, 1002);
        if of_a.len() < 2 || of_b.len() < 2 {
            return Err(KernelError::new("matmul of matrices is needed"));
        }
        let (a, first) = name(a, &of_a, [row, inner])?;
        let (b, second) = name(b, &of_b, [inner, column])?;
        let mut result: Vec<u32> = (0..wide.len() as u32)
            .filter(|label| first.contains(label) || second.contains(label))
            .collect();
        result.extend([row, column]);
        let product = self.contract(
            a,
            b,
            Labels {
                first,
                second,
                result,
            },
        )?;
        let mut sizes = wide;
        sizes.extend([of_a[of_a.len() - 2], of_b[of_b.len() - 1]]);
        self.reshape(product, &sizes)
    }
}
