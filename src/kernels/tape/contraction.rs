//! The one primitive that multiplies and adds: a sum of products over shared labels.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, ArrayViewD, Axis, CowArray, Ix3, IxDyn};

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

/// An operand with the labels of its axes.
struct Labelled<'a> {
    array: CowArray<'a, f64, IxDyn>,
    labels: Vec<u32>,
}

impl<'a> Labelled<'a> {
    fn new(array: ArrayViewD<'a, f64>, labels: &[u32]) -> Labelled<'a> {
        Labelled {
            array: CowArray::from(array),
            labels: labels.to_vec(),
        }
    }

    fn has(&self, label: u32) -> bool {
        self.labels.contains(&label)
    }

    /// The size of the axis with that label; `None` if there is none.
    fn size(&self, label: u32) -> Option<usize> {
        let axis = self.labels.iter().position(|&other| other == label)?;
        Some(self.array.shape()[axis])
    }

    /// Without the axes whose labels stand neither in `other` nor in `result`, which are summed.
    fn summed(self, other: &[u32], result: &[u32], dtype: Dtype) -> Labelled<'a> {
        let wanted = |label: &u32| other.contains(label) || result.contains(label);
        let axes: Vec<usize> = (0..self.labels.len())
            .filter(|&axis| !wanted(&self.labels[axis]))
            .collect();
        if axes.is_empty() {
            return self;
        }
        let labels: Vec<u32> = self.labels.iter().copied().filter(wanted).collect();
        let sizes: Vec<usize> = labels
            .iter()
            .filter_map(|&label| self.size(label))
            .collect();
        let sums = lanes(&self.array.into_owned(), &axes, |lane| {
            pairwise(lane, dtype)
        });
        Labelled {
            array: CowArray::from(reshaped(&sums, &sizes)),
            labels,
        }
    }

    /// The axes in the order of three groups of labels, each flattened: a stack of matrices. `None`
    /// if the elements would have to be copied, lying neither row by row nor column by column.
    fn in_place(&self, groups: [&[u32]; 3]) -> Option<ArrayView3<'_, f64>> {
        let [stack, rows, columns] = groups;
        let (straight, sizes) = self.in_order(groups);
        if straight.is_standard_layout() {
            return straight.into_shape_with_order(sizes).ok();
        }
        let (turned, sizes) = self.in_order([stack, columns, rows]);
        if !turned.is_standard_layout() {
            return None;
        }
        let mut matrices = turned.into_shape_with_order(sizes).ok()?;
        matrices.swap_axes(1, 2);
        Some(matrices)
    }

    /// The same stack of matrices, copied if need be.
    fn matrices(&self, groups: [&[u32]; 3]) -> CowArray<'_, f64, Ix3> {
        if let Some(matrices) = self.in_place(groups) {
            return CowArray::from(matrices);
        }
        let (straight, sizes) = self.in_order(groups);
        let copied = Array3::from_shape_vec(sizes, row_major(straight));
        CowArray::from(copied.unwrap_or_else(|_| Array3::from_elem(sizes, f64::NAN)))
    }

    /// The axes in the order of the groups, and the size of each group.
    fn in_order(&self, groups: [&[u32]; 3]) -> (ArrayViewD<'_, f64>, [usize; 3]) {
        let place = |label: &u32| self.labels.iter().position(|other| other == label);
        let order: Vec<usize> = groups.iter().copied().flatten().filter_map(place).collect();
        let size = |label: &u32| self.size(*label);
        let sizes = groups.map(|group| group.iter().filter_map(size).product());
        (self.array.view().permuted_axes(IxDyn(&order)), sizes)
    }
}

/// What becomes of the labels of two operands.
struct Roles {
    /// Of both and of the result: each has products of its own.
    batch: Vec<u32>,
    /// Of both alone: summed.
    inner: Vec<u32>,
    /// Of the first, and of the second.
    left: Vec<u32>,
    right: Vec<u32>,
}

impl Roles {
    fn of(a: &Labelled<'_>, b: &Labelled<'_>, result: &[u32]) -> Roles {
        let pick = |of: &Labelled<'_>, keep: &dyn Fn(u32) -> bool| -> Vec<u32> {
            let labels = of.labels.iter().copied();
            labels.filter(|&label| keep(label)).collect()
        };
        Roles {
            batch: pick(a, &|label| b.has(label) && result.contains(&label)),
            inner: pick(a, &|label| b.has(label) && !result.contains(&label)),
            left: pick(a, &|label| !b.has(label)),
            right: pick(b, &|label| !a.has(label)),
        }
    }
}

/// The contraction, and how many multiply-adds it took.
fn contracted(a: &Array, b: &Array, labels: &Labels, accumulate: Dtype) -> (Array, u128) {
    let result = &labels.result;
    let first = Labelled::new(a.view(), &labels.first).summed(&labels.second, result, accumulate);
    let second = Labelled::new(b.view(), &labels.second).summed(&labels.first, result, accumulate);
    let sizes: Vec<usize> = result
        .iter()
        .map(|&label| first.size(label).or(second.size(label)).unwrap_or(1))
        .collect();
    let mut elements = Vec::with_capacity(sizes.iter().product());
    let products = multiplied(&first, &second, result, accumulate, &mut elements);
    let made = Array::from_shape_vec(IxDyn(&sizes), elements);
    let made = made.unwrap_or_else(|_| Array::from_elem(IxDyn(&sizes), f64::NAN));
    (made, products)
}

/// Appends the elements of the contraction in the order of `result`; gives its multiply-adds.
fn multiplied(
    a: &Labelled<'_>,
    b: &Labelled<'_>,
    result: &[u32],
    accumulate: Dtype,
    elements: &mut Vec<f64>,
) -> u128 {
    let Roles {
        batch,
        inner,
        left,
        right,
    } = Roles::of(a, b, result);
    // The rows of a product are of the operand that the result names first.
    let leading = result.iter().find(|label| !batch.contains(label));
    if leading.is_some_and(|label| right.contains(label)) && !left.is_empty() {
        return multiplied(b, a, result, accumulate, elements);
    }
    // Where one product would need a copy of an operand, as that of the windows of a convolution,
    // and those of each entry of its first axis need none, that axis is walked.
    let outer = a
        .labels
        .first()
        .filter(|&label| result.first() == Some(label));
    if let (Some(&label), None) = (outer, a.in_place([&batch, &left, &inner]))
        && !b.has(label)
    {
        let part = |array| Labelled::new(array, &a.labels[1..]);
        let rest: Vec<u32> = left
            .iter()
            .copied()
            .filter(|&other| other != label)
            .collect();
        let free = |part: Labelled<'_>| part.in_place([&batch, &rest, &inner]).is_some();
        if a.array
            .outer_iter()
            .next()
            .is_some_and(|array| free(part(array)))
        {
            return a
                .array
                .outer_iter()
                .map(|array| multiplied(&part(array), b, &result[1..], accumulate, elements))
                .sum();
        }
    }
    let x = a.matrices([&batch, &left, &inner]);
    let y = b.matrices([&batch, &inner, &right]);
    let multiply_adds = (x.len() as u128) * (y.len_of(Axis(2)) as u128);
    let made: Vec<u32> = [batch, left, right].concat();
    let mut gathered =
        Vec::with_capacity(x.len_of(Axis(0)) * x.len_of(Axis(1)) * y.len_of(Axis(2)));
    for (x, y) in x.outer_iter().zip(y.outer_iter()) {
        let made = product(x, y, accumulate);
        match made.as_slice() {
            Some(made) => gathered.extend_from_slice(made),
            None => gathered.extend(made),
        }
    }
    if made == result {
        elements.append(&mut gathered);
        return multiply_adds;
    }
    let size = |&label: &u32| a.size(label).or(b.size(label)).unwrap_or(1);
    let sizes: Vec<usize> = made.iter().map(size).collect();
    let place = |label: &u32| made.iter().position(|other| other == label);
    let order: Vec<usize> = result.iter().filter_map(place).collect();
    // There are as many elements as the sizes say.
    if let Ok(flat) = Array::from_shape_vec(IxDyn(&sizes), gathered) {
        elements.extend(row_major(flat.view().permuted_axes(IxDyn(&order))));
    }
    multiply_adds
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
        let counts = u128::from(self.is_counting());
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
                back.count_products(counts * products);
                back.give(a, given);
            }
            if back.needs(b) {
                let (other, sizes) = (back.value(a), back.value(b).shape());
                let names = (&result[..], &first[..], &second[..]);
                let (given, products) = way_back(gradient, other, names, sizes, accumulate);
                back.count_products(counts * products);
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
