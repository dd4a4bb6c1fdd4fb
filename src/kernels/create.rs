//! Tensors from nothing, or from the shape of another one.

use super::complex::Complex;
use super::registry::{Kernel, kernel, one};
use super::{Array, KernelError, Tape, Var};
use crate::ops::Call;

/// A tensor of the sizes that the call names, or of its operand's.
macro_rules! filled {
    ($name:literal, $draw:expr) => {
        kernel($name, |tape, call, given| {
            let sizes = sizes(tape, call, given.get(0))?;
            let draw: fn(&mut Tape, &Call) -> f64 = $draw;
            let array = Array::from_shape_simple_fn(sizes, || draw(tape, call));
            one(tape.constant(array))
        })
    };
}

/// What is left as it lies in memory, which a constant of which nothing is known is as well. Whole
/// numbers are 0, an index of anything, but 1 without axes, where they may be what is divided by;
/// others are a half, of which quotients, roots and logarithms are finite and not 0.
fn unset(call: &Call) -> f64 {
    match call.output() {
        Some(ty) if ty.dtype.is_float() => 0.5,
        Some(ty) if ty.shape.rank() == 0 => 1.0,
        _ => 0.0,
    }
}

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    filled!("zeros", |_, _| 0.0).on_complex(Complex::Summed),
    filled!("ones", |_, _| 1.0).on_complex(Complex::Summed),
    filled!("full", |_, call| call.float("fill_value").unwrap_or(0.0)).on_complex(Complex::Summed),
    filled!("zeros_like", |_, _| 0.0).on_complex(Complex::Summed),
    filled!("ones_like", |_, _| 1.0),
    filled!("full_like", |_, call| call
        .float("fill_value")
        .unwrap_or(0.0)),
    filled!("empty", |_, call| unset(call)).on_complex(Complex::Summed),
    filled!("empty_like", |_, call| unset(call)).on_complex(Complex::Summed),
    filled!("rand", |tape, _| tape.uniform()),
    filled!("rand_like", |tape, _| tape.uniform()),
    filled!("randn", |tape, _| tape.normal()),
    filled!("randn_like", |tape, _| tape.normal()),
    filled!("randint", |tape, call| {
        let low = call.integer("low").unwrap_or(0) as f64;
        let high = call.integer("high").unwrap_or(1) as f64;
        (low + (high - low) * tape.uniform()).floor()
    }),
    kernel("randperm", |tape, call, _| {
        let count = call.size("n")? as usize;
        let mut order: Vec<f64> = (0..count).map(|at| at as f64).collect();
        // Fisher and Yates.
        for at in (1..count).rev() {
            let other = (tape.uniform() * (at + 1) as f64) as usize;
            order.swap(at, other.min(at));
        }
        one(tape.constant(Array::from_shape_vec(vec![count], order)?))
    }),
    kernel("bernoulli", |tape, _, given| {
        let x = given.need(0)?;
        let chances = tape.shared(x);
        let drawn = chances.mapv(|p| f64::from(u8::from(tape.uniform() < p)));
        one(tape.constant(drawn))
    }),
    kernel("arange", |tape, call, _| {
        let step = call.float("step").unwrap_or(1.0);
        let (start, end) = match (call.float("start"), call.float("end")) {
            (Some(start), Some(end)) => (start, end),
            // One number is the end.
            (Some(end), None) | (None, Some(end)) => (0.0, end),
            (None, None) => return Err(KernelError::new("`arange` needs its end")),
        };
        let count = ((end - start) / step).ceil().max(0.0) as usize;
        let array = Array::from_shape_fn(vec![count], |at| start + at[0] as f64 * step);
        one(tape.constant(array))
    }),
    kernel("linspace", |tape, call, _| {
        let steps = call.size("steps")? as usize;
        let start = call.float("start").unwrap_or(0.0);
        let end = call.float("end").unwrap_or(0.0);
        let step = (end - start) / (steps.max(2) - 1) as f64;
        // From both ends, so that both are met exactly.
        let array = Array::from_shape_fn(vec![steps], |at| match at[0] < steps.div_ceil(2) {
            true => start + at[0] as f64 * step,
            false => end - (steps - 1 - at[0]) as f64 * step,
        });
        one(tape.constant(array))
    }),
    kernel("eye", |tape, call, _| {
        let rows = call.size("n")? as usize;
        let columns = call.integer("m").map_or(rows, |m| m as usize);
        let array = Array::from_shape_fn(vec![rows, columns], |at| {
            f64::from(u8::from(at[0] == at[1]))
        });
        one(tape.constant(array))
    }),
    kernel("indices", |tape, call, _| {
        let sizes: Vec<usize> = call
            .integers("dimensions")
            .unwrap_or_default()
            .into_iter()
            .map(|size| size as usize)
            .collect();
        let mut made = vec![sizes.len()];
        made.extend(&sizes);
        // NumPy's: for each axis the index along it, at every element.
        let array = Array::from_shape_fn(made, |at| at[at[0] + 1] as f64);
        one(tape.constant(array))
    }),
    kernel("meshgrid", |tape, call, given| {
        let vectors = given.from(0);
        let swapped = call.text("indexing").as_deref() == Some("xy") && vectors.len() > 1;
        // With `xy`, the first two axes change places.
        let place = |at: usize| match (swapped, at) {
            (true, 0) => 1,
            (true, 1) => 0,
            _ => at,
        };
        let mut sizes = vec![1; vectors.len()];
        for (at, &vector) in vectors.iter().enumerate() {
            sizes[place(at)] = tape.value(vector).len();
        }
        vectors
            .iter()
            .enumerate()
            .map(|(at, &vector)| {
                let mut own = vec![1; vectors.len()];
                own[place(at)] = tape.value(vector).len();
                let vector = tape.reshape(vector, &own)?;
                tape.broadcast(vector, &sizes)
            })
            .collect()
    }),
    kernel("one_hot", |tape, call, given| {
        let x = given.need(0)?;
        let classes = call.size("num_classes")? as usize;
        let mut made = tape.sizes(x);
        made.push(classes);
        one(tape.derive(&[x], |values| {
            let index: Vec<f64> = values[0].iter().copied().collect();
            let mut next = 0;
            Array::from_shape_simple_fn(made, || {
                let (at, class) = (next / classes.max(1), next % classes.max(1));
                next += 1;
                f64::from(u8::from(index[at] == class as f64))
            })
        }))
    }),
];

fn sizes(tape: &Tape, call: &Call, like: Option<Var>) -> Result<Vec<usize>, KernelError> {
    if let Some(like) = like {
        return Ok(tape.sizes(like));
    }
    let asked = call.integers("size").unwrap_or_default();
    Ok(asked.into_iter().map(|size| size.max(0) as usize).collect())
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("ones_like([2, 3]!)", &[]),
            ("empty_like([2, 3]!)", &[]),
            ("rand_like([2, 3]!)", &[]),
            ("randn(size=[2, 3])", &[]),
            ("zeros(size=[2, 3])", &[]),
            ("ones(size=[2, 3])", &[]),
            ("full(size=[2, 3], fill_value=0.5)", &[]),
            ("zeros_like([2, 3])", &[]),
            ("full_like([2, 3], fill_value=2.0)", &[]),
            ("empty(size=[2])", &[]),
            ("rand(size=[2, 3])", &[]),
            ("randn_like([2, 3])", &[]),
            ("randint(high=5, size=[7])", &[]),
            ("randperm(n=6)", &[]),
            ("bernoulli([3, 4])", &[(0.0, 1.0)]),
            ("arange(end=5)", &[]),
            ("arange(start=1.0, end=4.0, step=0.5)", &[]),
            ("linspace(start=0.0, end=1.0, steps=5)", &[]),
            ("eye(n=3, m=4)", &[]),
            ("indices(dimensions=[2, 3])", &[]),
            ("meshgrid([2], [3])", &[]),
            ("meshgrid([2], [3], indexing='xy')", &[]),
            ("one_hot(int64 [3, 2], num_classes=4)", &[(0.0, 3.0)]),
        ]);
    }
}
