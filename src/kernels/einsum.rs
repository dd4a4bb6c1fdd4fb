//! Sums of products over named axes.

use super::complex::Complex;
use super::registry::{Kernel, kernel, one};
use super::shape::axis;
use super::slicing::diagonal;
use super::tape::contraction::Labels;
use super::{Kept, KernelError, Tape, Var};

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("einsum", |tape, call, given| {
        let operands = given.from(0);
        let text = call.text("equation").unwrap_or_default();
        one(einsum(tape, &operands, &text)?)
    })
    .on_complex(Complex::Multiplied),
    kernel("tensordot", |tape, call, given| {
        let (a, b) = (given.need(0)?, given.need(1)?);
        let (rank_a, rank_b) = (tape.sizes(a).len(), tape.sizes(b).len());
        let list = |name, rank: usize| -> Result<Option<Vec<usize>>, KernelError> {
            let dims = call.integers(name);
            dims.map(|dims| dims.iter().map(|&dim| axis(dim, rank)).collect())
                .transpose()
        };
        let count = call.size("dims")? as usize;
        let of_a = list("dims_self", rank_a)?.unwrap_or_else(|| (rank_a - count..rank_a).collect());
        let of_b = list("dims_other", rank_b)?.unwrap_or_else(|| (0..count).collect());
        let first: Vec<u32> = (0..rank_a as u32).collect();
        let second: Vec<u32> = (0..rank_b)
            .map(|at| match of_b.iter().position(|&other| other == at) {
                Some(pair) => of_a[pair] as u32,
                None => 100 + at as u32,
            })
            .collect();
        let shared = |label: &u32| first.contains(label) && second.contains(label);
        let result = first
            .iter()
            .chain(&second)
            .copied()
            .filter(|label| !shared(label))
            .collect();
        let a = tape.keep(Kept::Part("factor", 1), a);
        let b = tape.keep(Kept::Part("factor", 2), b);
        one(tape.contract(
            a,
            b,
            Labels {
                first: first.clone(),
                second: second.clone(),
                result,
            },
        )?)
    })
    .on_complex(Complex::Multiplied),
    kernel("kron", |tape, _, given| {
        let (a, b) = (given.need(0)?, given.need(1)?);
        let (mut of_a, mut of_b) = (tape.sizes(a), tape.sizes(b));
        while of_a.len() < of_b.len() {
            of_a.insert(0, 1);
        }
        while of_b.len() < of_a.len() {
            of_b.insert(0, 1);
        }
        let wide: Vec<usize> = of_a.iter().flat_map(|&size| [size, 1]).collect();
        let a = tape.reshape(a, &wide)?;
        let wide: Vec<usize> = of_b.iter().flat_map(|&size| [1, size]).collect();
        let b = tape.reshape(b, &wide)?;
        let products = tape.multiply(a, b)?;
        let made: Vec<usize> = of_a.iter().zip(&of_b).map(|(a, b)| a * b).collect();
        one(tape.reshape(products, &made)?)
    })
    .on_complex(Complex::Multiplied),
    kernel("bilinear", |tape, _, given| {
        let (x, y, weight) = (given.need(0)?, given.need(1)?, given.need(2)?);
        let sizes = tape.sizes(x);
        let rows: usize = sizes[..sizes.len() - 1].iter().product();
        let x = tape.reshape(x, &[rows, sizes[sizes.len() - 1]])?;
        let width = tape.sizes(y).last().copied().unwrap_or(1);
        let y = tape.reshape(y, &[rows, width])?;
        // `torch.bilinear` multiplies elements, which its counter of FLOPs does not see.
        let (outs, left, right) = (tape.sizes(weight)[0], tape.sizes(weight)[1], width);
        let x = tape.reshape(x, &[rows, 1, left, 1])?;
        let y = tape.reshape(y, &[rows, 1, 1, right])?;
        let pairs = tape.multiply(x, y)?;
        let weight_wide = tape.reshape(weight, &[1, outs, left, right])?;
        let products = tape.multiply(pairs, weight_wide)?;
        let whole = tape.sum(products, &[2, 3], false)?;
        let whole = super::norm::affine(tape, whole, None, given.get(3))?;
        let mut made = sizes;
        if let Some(last) = made.last_mut() {
            *last = tape.sizes(weight)[0];
        }
        one(tape.reshape(whole, &made)?)
    }),
];

/// Labels of operands and result; an ellipsis stands for labels of its own, counted from the back.
fn labels(text: &str, ranks: &[usize]) -> (Vec<Vec<u32>>, Vec<u32>) {
    let text: String = text
        .chars()
        .filter(|letter| !letter.is_whitespace())
        .collect();
    let (left, right) = match text.split_once("->") {
        Some((left, right)) => (left.to_owned(), Some(right.to_owned())),
        None => (text, None),
    };
    let mut widest = 0;
    let mut operands = Vec::new();
    for (term, &rank) in left.split(',').zip(ranks) {
        let letters = term.replace("...", "");
        let open = rank - letters.chars().count().min(rank);
        let mut list = Vec::new();
        let (before, behind) = term.split_once("...").unwrap_or((term, ""));
        list.extend(before.chars().map(u32::from));
        if term.contains("...") {
            widest = widest.max(open);
            list.extend((0..open).map(|at| (open - 1 - at) as u32));
        }
        list.extend(behind.chars().map(u32::from));
        operands.push(list);
    }
    let ellipsis: Vec<u32> = (0..widest).map(|at| (widest - 1 - at) as u32).collect();
    let result = match right {
        Some(term) => {
            let (before, behind) = term.split_once("...").unwrap_or((&term, ""));
            let mut list: Vec<u32> = before.chars().map(u32::from).collect();
            if term.contains("...") {
                list.extend(&ellipsis);
            }
            list.extend(behind.chars().map(u32::from));
            list
        }
        None => {
            // Letters that stand once, in the order of the alphabet, behind what an ellipsis shows.
            let all: Vec<u32> = operands.iter().flatten().copied().collect();
            let mut once: Vec<u32> = all
                .iter()
                .copied()
                .filter(|label| {
                    *label >= 32 && all.iter().filter(|other| *other == label).count() == 1
                })
                .collect();
            once.sort_unstable();
            ellipsis.into_iter().chain(once).collect()
        }
    };
    (operands, result)
}

fn einsum(tape: &mut Tape, operands: &[Var], text: &str) -> Result<Var, KernelError> {
    let ranks: Vec<usize> = operands.iter().map(|&var| tape.sizes(var).len()).collect();
    let (lists, result) = labels(text, &ranks);
    let mut left: Vec<(Var, Vec<u32>)> = Vec::new();
    for (&operand, list) in operands.iter().zip(&lists) {
        left.push(without_repeats(tape, operand, list.clone())?);
    }
    // Axes of size 1 broadcast; they take part with the label only where all have that size.
    let mut rest = left.into_iter();
    let Some((mut x, mut have)) = rest.next() else {
        return Err(KernelError::new("`einsum` needs an operand"));
    };
    let mut ahead: Vec<(Var, Vec<u32>)> = rest.collect();
    let mut step = 0;
    while !ahead.is_empty() {
        let (y, other) = ahead.remove(0);
        // What is kept of each step is its factors, or copies of them in another order.
        let mut kept = |tape: &mut Tape, factor: Var| {
            step += 1;
            tape.keep(Kept::Part("factor", step), factor)
        };
        let later: Vec<u32> = ahead
            .iter()
            .flat_map(|(_, list)| list.iter().copied())
            .collect();
        let mut wanted: Vec<u32> = have.clone();
        wanted.extend(other.iter().filter(|label| !have.contains(label)));
        wanted.retain(|label| result.contains(label) || later.contains(label));
        let sums = have
            .iter()
            .chain(&other)
            .any(|label| !wanted.contains(label));
        if !sums {
            // Nothing is summed: a product of elements, which is no product to PyTorch's counter.
            let x_wide = spread_out(tape, x, &have, &wanted)?;
            let y_wide = spread_out(tape, y, &other, &wanted)?;
            let (x_wide, y_wide) = (kept(tape, x_wide), kept(tape, y_wide));
            x = tape.multiply(x_wide, y_wide)?;
            have = wanted;
            continue;
        }
        let ((x_narrow, first), (y_narrow, second)) = matched(tape, (x, have), (y, other))?;
        let (x_narrow, y_narrow) = (kept(tape, x_narrow), kept(tape, y_narrow));
        x = tape.contract(
            x_narrow,
            y_narrow,
            Labels {
                first,
                second,
                result: wanted.clone(),
            },
        )?;
        have = wanted;
    }
    let sums: Vec<usize> = (0..have.len())
        .filter(|&at| !result.contains(&have[at]))
        .collect();
    if !sums.is_empty() {
        x = tape.sum(x, &sums, false)?;
        have.retain(|label| result.contains(label));
    }
    let order: Option<Vec<usize>> = result
        .iter()
        .map(|label| have.iter().position(|other| other == label))
        .collect();
    match order {
        Some(order) => Ok(tape.permute(x, &order)),
        None => Err(KernelError::new(
            "a label of the result stands in no operand",
        )),
    }
}

/// The axes in the order of `wanted`, with size 1 for those that it lacks.
fn spread_out(tape: &mut Tape, x: Var, labels: &[u32], wanted: &[u32]) -> Result<Var, KernelError> {
    let order: Vec<usize> = wanted
        .iter()
        .filter_map(|label| labels.iter().position(|other| other == label))
        .collect();
    let x = tape.permute(x, &order);
    let mut own = tape.sizes(x).into_iter();
    let sizes: Vec<usize> = wanted
        .iter()
        .map(|label| match labels.contains(label) {
            true => own.next().unwrap_or(1),
            false => 1,
        })
        .collect();
    tape.reshape(x, &sizes)
}

type Labelled = (Var, Vec<u32>);

/// Both operands without axes of size 1 that the other has longer.
fn matched(
    tape: &mut Tape,
    (x, first): Labelled,
    (y, second): Labelled,
) -> Result<(Labelled, Labelled), KernelError> {
    let (of_x, of_y) = (tape.sizes(x), tape.sizes(y));
    let longer = |label: &u32, sizes: &[usize], labels: &[u32]| {
        labels
            .iter()
            .position(|other| other == label)
            .is_some_and(|at| sizes[at] > 1)
    };
    let mut narrow = |var: Var, labels: Vec<u32>, sizes: &[usize], other: (&[usize], &[u32])| {
        let goes: Vec<usize> = (0..labels.len())
            .filter(|&at| sizes[at] == 1 && longer(&labels[at], other.0, other.1))
            .collect();
        let left = (0..labels.len())
            .filter(|at| !goes.contains(at))
            .map(|at| labels[at])
            .collect();
        tape.dropped(var, &goes, false).map(|var| (var, left))
    };
    let a = narrow(x, first.clone(), &of_x, (&of_y, &second))?;
    let b = narrow(y, second, &of_y, (&of_x, &first))?;
    Ok((a, b))
}

/// An operand whose labels stand once each: repeated ones are its diagonal.
fn without_repeats(
    tape: &mut Tape,
    mut x: Var,
    mut labels: Vec<u32>,
) -> Result<Labelled, KernelError> {
    loop {
        let pair = (0..labels.len()).find_map(|at| {
            let again = labels[at + 1..]
                .iter()
                .position(|other| *other == labels[at])?;
            Some((at, at + 1 + again))
        });
        let Some((first, second)) = pair else {
            return Ok((x, labels));
        };
        let label = labels[first];
        x = diagonal(tape, x, first, second, 0);
        labels.remove(second);
        labels.remove(first);
        labels.push(label);
    }
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("einsum([3, 4], [4, 5], equation='ij,jk->ik')", &[]),
            ("einsum([2, 3, 4], [2, 4, 5], equation='bij,bjk->bik')", &[]),
            (
                "einsum([2, 5, 3, 4], [2, 6, 3, 4], equation='bqhd,bkhd->bhqk')",
                &[],
            ),
            (
                "einsum([5, 2, 3, 4], [6, 2, 3, 4], equation='qbhd,kbhd->bhqk')",
                &[],
            ),
            (
                "einsum([3, 4], [4, 5], [5, 6], equation='ij,jk,kl->il')",
                &[],
            ),
            (
                "einsum([3, 4], [2, 4], [5, 2], equation='ij,kj,lk->il')",
                &[],
            ),
            ("einsum([3, 4], equation='ij->ji')", &[]),
            ("einsum([3, 4], equation='ij->i')", &[]),
            ("einsum([3, 3], equation='ii->i')", &[]),
            ("einsum([3, 3], equation='ii')", &[]),
            ("einsum([3], [4], equation='i,j->ij')", &[]),
            ("einsum([2, 3, 4], [4, 5], equation='...j,jk->...k')", &[]),
            ("tensordot([2, 3, 4], [3, 4, 5])", &[]),
            ("tensordot([2, 3, 4], [4, 5], dims=1)", &[]),
            (
                "tensordot([2, 3, 4], [4, 2, 5], dims_self=[0, 2], dims_other=[1, 0])",
                &[],
            ),
            ("kron([2, 3], [4, 5])", &[]),
            ("bilinear([2, 3], [2, 4], out_features=5)", &[]),
        ]);
    }
}
