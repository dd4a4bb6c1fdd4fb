//! Lengths and angles of vectors, and distances between rows.

use super::reduce::norm;
use super::registry::{Kernel, kernel, one};
use super::shape::axis;
use super::tape::pointwise::broadcast_sizes;
use super::{KernelError, Tape, Var};

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("normalize", |tape, call, given| {
        let x = given.need(0)?;
        let rank = tape.sizes(x).len();
        let axes = call
            .integers("dim")
            .unwrap_or_default()
            .into_iter()
            .map(|dim| axis(dim, rank))
            .collect::<Result<Vec<_>, _>>()?;
        let eps = call.float("eps").unwrap_or(1e-12);
        let length = norm(tape, x, call.float("p").unwrap_or(2.0), &axes, true)?;
        let divisor = at_least(tape, length, eps);
        one(tape.divide(x, divisor)?)
    }),
    kernel("weight_norm", |tape, call, given| {
        let (v, g) = (given.need(0)?, given.need(1)?);
        let rank = tape.sizes(v).len();
        let at = axis(call.integer("dim").unwrap_or(0), rank)?;
        let others: Vec<usize> = (0..rank).filter(|&axis| axis != at).collect();
        let length = norm(tape, v, 2.0, &others, true)?;
        let factor = tape.divide(g, length)?;
        one(tape.multiply(v, factor)?)
    }),
    kernel("cosine_similarity", |tape, call, given| {
        let (a, b) = (given.need(0)?, given.need(1)?);
        let wide = broadcast_sizes(&tape.sizes(a), &tape.sizes(b))?;
        let at = axis(call.integer("dim").unwrap_or(1), wide.len())?;
        let eps = call.float("eps").unwrap_or(1e-8);
        let mut direction = |x: Var| -> Result<Var, KernelError> {
            let x = tape.broadcast(x, &wide)?;
            let length = norm(tape, x, 2.0, &[at], true)?;
            let length = at_least(tape, length, eps);
            tape.divide(x, length)
        };
        let (a, b) = (direction(a)?, direction(b)?);
        let products = tape.multiply(a, b)?;
        one(tape.sum(products, &[at], false)?)
    }),
    kernel("cdist", |tape, call, given| {
        let (a, b) = (given.need(0)?, given.need(1)?);
        let (of_a, of_b) = (tape.sizes(a), tape.sizes(b));
        let split = |sizes: &[usize]| sizes.len() - 2;
        // Every row against every row: one axis more in each.
        let mut shape = of_a.clone();
        shape.insert(split(&of_a) + 1, 1);
        let a = tape.reshape(a, &shape)?;
        let mut shape = of_b.clone();
        shape.insert(split(&of_b), 1);
        let b = tape.reshape(b, &shape)?;
        let difference = tape.subtract(a, b)?;
        let last = tape.sizes(difference).len() - 1;
        one(norm(
            tape,
            difference,
            call.float("p").unwrap_or(2.0),
            &[last],
            false,
        )?)
    }),
];

/// Bounded from below; below the bound no gradient flows.
fn at_least(tape: &mut Tape, x: Var, least: f64) -> Var {
    tape.map(
        x,
        move |x| x.max(least),
        move |x, _| {
            if x.is_nan() {
                x
            } else {
                f64::from(u8::from(x >= least))
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("normalize([3, 4])", &[]),
            ("normalize([3, 4], p=1.0, dim=0)", &[]),
            ("normalize([3, 4, 2], dim=[-1], eps=5.0)", &[]),
            ("weight_norm([3, 4, 2], [3, 1, 1])", &[]),
            ("weight_norm([3, 4], [1, 4], dim=1)", &[]),
            ("weight_norm([3, 4, 2], [1, 4, 1], dim=1)", &[]),
            ("cosine_similarity([3, 4], [3, 4])", &[]),
            ("cosine_similarity([3, 4], [1, 4], dim=-1)", &[]),
            ("cdist([3, 4], [5, 4])", &[]),
            ("cdist([2, 3, 4], [2, 5, 4], p=1.0)", &[]),
        ]);
    }
}
