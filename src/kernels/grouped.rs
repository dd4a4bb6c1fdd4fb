//! Products in groups: `grouped_mm`, each row by the matrix of its group.

use super::Array;
use super::registry::{Kernel, kernel, one};
use super::tape::places::places_of;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[kernel("grouped_mm", |tape, _, given| {
    let (x, matrices, ends) = (given.need(0)?, given.need(1)?, given.need(2)?);
    let (rows, inner) = (tape.sizes(x)[0], tape.sizes(x)[1]);
    let columns = tape.sizes(matrices)[2];
    let all = places_of(&tape.sizes(matrices));
    // The matrix of each row; the products are no products to PyTorch's counter of FLOPs.
    let places = tape.derive(&[ends], |values| {
        let ends: Vec<f64> = values[0].iter().copied().collect();
        Array::from_shape_fn(vec![rows, inner, columns], |at| {
            let group = ends.iter().position(|&end| (at[0] as f64) < end);
            group.map_or(-1.0, |group| all[[group, at[1], at[2]].as_slice()])
        })
    });
    let chosen = tape.gather(matrices, places, 0.0);
    let x = tape.reshape(x, &[rows, inner, 1])?;
    let products = tape.multiply(x, chosen)?;
    one(tape.sum(products, &[1], false)?)
})];

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[(
            "grouped_mm([6, 4], [3, 4, 5], int32 [3])",
            &[(-2.0, 2.0), (-2.0, 2.0), (6.0, 6.0)],
        )]);
    }
}
