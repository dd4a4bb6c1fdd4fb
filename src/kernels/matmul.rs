//! Matrix products as functions of their own: `matmul`, `bmm`, `addmm`, `outer`.

use super::complex::Complex;
use super::registry::{Kernel, kernel, one};
use super::tape::contraction::Labels;
use super::tape::pointwise::broadcast_sizes;
use super::{Kept, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("matmul", |tape, _, given| {
        let (a, b) = (given.need(0)?, given.need(1)?);
        one(matmul(tape, a, b)?)
    })
    .on_complex(Complex::Multiplied),
    kernel("mm", |tape, _, given| {
        let (a, b) = (given.need(0)?, given.need(1)?);
        one(tape.contract(a, b, Labels::letters("ij", "jk", "ik"))?)
    })
    .on_complex(Complex::Multiplied),
    kernel("bmm", |tape, _, given| {
        let (a, b) = (given.need(0)?, given.need(1)?);
        one(tape.contract(a, b, Labels::letters("bij", "bjk", "bik"))?)
    })
    .on_complex(Complex::Multiplied),
    kernel("addmm", |tape, call, given| {
        let (a, b) = (given.need(1)?, given.need(2)?);
        let product = tape.contract(a, b, Labels::letters("ij", "jk", "ik"))?;
        one(added(tape, call, given.need(0)?, product)?)
    }),
    kernel("baddbmm", |tape, call, given| {
        let (a, b) = (given.need(1)?, given.need(2)?);
        let product = tape.contract(a, b, Labels::letters("bij", "bjk", "bik"))?;
        one(added(tape, call, given.need(0)?, product)?)
    }),
    kernel("mv", |tape, _, given| {
        let (a, b) = (given.need(0)?, given.need(1)?);
        one(by_elements(tape, a, b)?)
    })
    .on_complex(Complex::Multiplied),
    kernel("dot", |tape, _, given| {
        let (a, b) = (given.need(0)?, given.need(1)?);
        one(by_elements(tape, a, b)?)
    })
    .on_complex(Complex::Multiplied),
    kernel("outer", |tape, _, given| {
        let (a, b) = (given.need(0)?, given.need(1)?);
        let (rows, columns) = (tape.value(a).len(), tape.value(b).len());
        let a = tape.reshape(a, &[rows, 1])?;
        let b = tape.reshape(b, &[1, columns])?;
        one(tape.multiply(a, b)?)
    })
    .on_complex(Complex::Multiplied),
];

/// `beta · input + alpha · product`.
fn added(tape: &mut Tape, call: &Call, input: Var, product: Var) -> Result<Var, KernelError> {
    let beta = call.float("beta").unwrap_or(1.0);
    let alpha = call.float("alpha").unwrap_or(1.0);
    let input = tape.scale(input, beta);
    let product = tape.scale(product, alpha);
    tape.add(input, product)
}

/// A product with a vector, as the sum of products of elements: PyTorch runs it by `mv` or `dot`,
/// which its counter of FLOPs does not take for a product.
fn by_elements(tape: &mut Tape, matrix: Var, vector: Var) -> Result<Var, KernelError> {
    let products = tape.multiply(matrix, vector)?;
    let last = tape.sizes(products).len() - 1;
    tape.sum(products, &[last], false)
}

/// `torch.matmul`: vectors are rows on the left and columns on the right; leading axes broadcast.
pub(super) fn matmul(tape: &mut Tape, a: Var, b: Var) -> Result<Var, KernelError> {
    let (of_a, of_b) = (tape.sizes(a), tape.sizes(b));
    // The copies that PyTorch makes of an operand keep its shape or have the batch written out.
    let batch = |sizes: &[usize]| sizes[..sizes.len().saturating_sub(2)].to_vec();
    let wide = broadcast_sizes(&batch(&of_a), &batch(&of_b))?;
    let mut spread = |var: Var, sizes: &[usize], name: &'static str| {
        let batched = of_a.len() > 2 && of_b.len() > 2;
        let var = match batched {
            true => {
                let last = &sizes[sizes.len() - 2..];
                let full: Vec<usize> = wide.iter().chain(last).copied().collect();
                tape.broadcast(var, &full)?
            }
            false => var,
        };
        Ok::<Var, KernelError>(tape.keep(Kept::Extra(name), var))
    };
    let mut a = spread(a, &of_a, "first factor")?;
    let b = spread(b, &of_b, "second factor")?;
    if of_b.len() == 1 {
        return by_elements(tape, a, b);
    }
    if of_a.len() == 1 && of_b.len() > 2 {
        let columns = tape.transpose(b, of_b.len() - 2, of_b.len() - 1);
        return by_elements(tape, columns, a);
    }
    if of_a.len() == 1 {
        a = tape.reshape(a, &[1, of_a[0]])?;
    }
    let product = tape.matmul(a, b)?;
    let mut sizes = tape.sizes(product);
    if of_a.len() == 1 {
        sizes.remove(sizes.len() - 2);
    }
    tape.reshape(product, &sizes)
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("matmul([3, 4], [4, 5])", &[]),
            ("matmul([2, 3, 4], [4, 5])", &[]),
            ("matmul([3, 4], [2, 4, 5])", &[]),
            ("matmul([2, 1, 3, 4], [3, 4, 5])", &[]),
            ("matmul([2, 3, 4], [2, 4, 5])", &[]),
            ("matmul([4], [4, 5])", &[]),
            ("matmul([3, 4], [4])", &[]),
            ("matmul([4], [4])", &[]),
            ("matmul([2, 3, 4], [4])", &[]),
            ("matmul([4], [2, 4, 5])", &[]),
            ("matmul([2, 3, 4]!, [2, 4, 5])", &[]),
            ("mm([3, 4], [4, 5])", &[]),
            ("mm([3, 4], [4, 5]!)", &[]),
            ("bmm([2, 3, 4], [2, 4, 5])", &[]),
            ("addmm([5], [3, 4], [4, 5], beta=0.5, alpha=2.0)", &[]),
            ("addmm([3, 5], [3, 4], [4, 5])", &[]),
            ("baddbmm([2, 3, 5], [2, 3, 4], [2, 4, 5])", &[]),
            ("mv([3, 4], [4])", &[]),
            ("dot([4], [4])", &[]),
            ("outer([3], [4])", &[]),
        ]);
    }
}
