//! What the tape counts.

use super::*;

/// Guards the count of arithmetic and bytes, forward and backward, against counts by hand.
#[test]
fn what_is_done_is_counted() {
    for (dtype, width) in [
        (Dtype::Float32, 4),
        (Dtype::Bfloat16, 4),
        (Dtype::Float64, 8),
    ] {
        let mut tape = Tape::new(Arithmetic::of(dtype), 1, Vec::new());
        let a = tape.leaf(Rc::new(Array::ones(vec![2, 3])), true);
        let b = tape.leaf(Rc::new(Array::ones(vec![3, 5])), true);
        let c = tape.leaf(Rc::new(Array::ones(vec![5])), false);
        // Reads 6 and 15 and writes 10; reads 10 and 5 and writes 10; reads 10 and writes 1.
        let labels = contraction::Labels::letters("ij", "jk", "ik");
        let product = tape.contract(a, b, labels).unwrap();
        let scaled = tape.multiply(product, c).unwrap();
        let sum = tape.sum(scaled, &[0, 1], false).unwrap();
        let count = tape.count();
        assert_eq!(count.products, 30);
        assert_eq!(count.multiplications, 10);
        assert_eq!(count.additions, 10);
        assert_eq!(count.functions, 0);
        let sums = 10 + tape.value(sum).len() as u128;
        let reshaped = if tape.sizes(sum).is_empty() { 2 } else { 0 };
        assert_eq!(count.bytes, width * (31 + 25 + sums + reshaped));
        let seed = Array::ones(tape.value(sum).raw_dim());
        let (found, count) = tape.backward(&[(sum, seed)], &[Some(a), Some(b)]);
        assert!(found.iter().all(Option::is_some));
        assert_eq!(count.products, 60);
        assert_eq!(count.multiplications, 10);
        // The seed, what `sum` hands on, what `multiply` does, and both gradients.
        assert_eq!(
            count.bytes,
            width * (sums - 10 + reshaped / 2 + 10 + 10 + 6 + 15)
        );
    }
}
