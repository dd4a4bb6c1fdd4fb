//! Cases of the `slicing` family.

use crate::ops::cases::{check, outputs, with};
use crate::ops::layout::{Placement, Strides};
use proptest::prelude::*;

#[test]
fn shapes_follow_pytorch() {
    check(&[
        ("slice([10, 3], start=2, end=-1)", "float32 [7, 3]"),
        ("slice([10, 3], dim=1, step=2)", "float32 [10, 2]"),
        ("slice([10], start=-3)", "float32 [3]"),
        ("slice([10], start=8, end=3)", "float32 [0]"),
        ("slice([10], end=9223372036854775807)", "float32 [10]"),
        (
            "slice([10], step=-1)",
            "error: `step` is -1, but it must be at least 1",
        ),
        (
            "slice([])",
            "error: `dim = 0` lies outside [], which has 0 axes",
        ),
        ("select([2, 3], dim=1, index=-1)", "float32 [2]"),
        (
            "select([2, 3], dim=1, index=3)",
            "error: index 3 lies outside axis 1 of [2, 3], which has size 3",
        ),
        ("narrow([10], start=-4, length=3)", "float32 [3]"),
        (
            "narrow([10], start=8, length=3)",
            "error: 3 indices from 8 do not fit axis 0 of [10], which has size 10",
        ),
        (
            "split([7, 2], split_size=3)",
            "float32 [3, 2]; float32 [3, 2]; float32 [1, 2]",
        ),
        (
            "split([2, 7], split_size=[3, 4], dim=-1)",
            "float32 [2, 3]; float32 [2, 4]",
        ),
        (
            "split([7], split_size=[3, 3])",
            "error: the parts 3 + 3 = 6 do not make up axis 0 of [7], which has size 7",
        ),
        (
            "split([7], split_size=0)",
            "error: axis 0 of [7] cannot be cut into parts of 0",
        ),
        (
            "split([1000000], split_size=1)",
            "error: axis 0 of [1000000] would be cut into 1000000 parts, more than 65536",
        ),
        // Fewer parts than asked for, as in PyTorch.
        (
            "chunk([6], chunks=4)",
            "float32 [2]; float32 [2]; float32 [2]",
        ),
        (
            "chunk([2, 7], chunks=3, dim=1)",
            "float32 [2, 3]; float32 [2, 3]; float32 [2, 1]",
        ),
        ("chunk([0], chunks=2)", "float32 [0]; float32 [0]"),
        ("chunk([6], chunks=0)", "error: `chunks` must be at least 1"),
        ("unbind([2, 3])", "float32 [3]; float32 [3]"),
        (
            "unbind([0, 3])",
            "error: there is nothing to cut axis 0 of [0, 3] into: no parts are asked for",
        ),
        ("diagonal([3, 4])", "float32 [3]"),
        (
            "diagonal([2, 3, 4], offset=2, dim1=-2, dim2=-1)",
            "float32 [2, 2]",
        ),
        ("diagonal([3, 4], offset=-5)", "float32 [0]"),
        (
            "diagonal([3, 4], dim1=1)",
            "error: `dim1` and `dim2` are the same axis 1",
        ),
        (
            "tensor_unfold([10], dimension=0, size=4, step=2)",
            "float32 [4, 4]",
        ),
        (
            "tensor_unfold([3], dimension=0, size=4, step=2)",
            "error: a window of 4 does not fit axis 0 of [3], which has size 3",
        ),
    ]);
}

#[test]
fn strides_of_parts() {
    for (text, strides, expected) in [
        ("slice([10, 4], step=3)", &[4, 1][..], &[12, 1][..]),
        ("select([10, 4], dim=1, index=2)", &[4, 1], &[4]),
        ("narrow([10, 4], start=1, length=2)", &[4, 1], &[4, 1]),
        ("diagonal([3, 4])", &[4, 1], &[5]),
        ("unbind([10, 4], dim=1)", &[4, 1], &[4]),
        (
            "tensor_unfold([10], dimension=0, size=4, step=2)",
            &[1],
            &[2, 1],
        ),
    ] {
        let placed = with(text, |call| {
            (call.op.layout)(call, &[Strides::from_slice(strides)])
        });
        assert_eq!(placed, Ok(Placement::Shared(expected.into())), "{text}");
    }
}

proptest! {
    /// The length of a slice is held to walking over Python's indices.
    #[test]
    fn slices_agree_with_walking(
        size in 0i64..8, start in -10i64..10, end in -10i64..10, step in 1i64..5,
    ) {
        let clip = |at: i64| if at < 0 { (at + size).max(0) } else { at.min(size) };
        let mut length = 0;
        let mut at = clip(start);
        while at < clip(end) {
            length += 1;
            at += step;
        }
        prop_assert_eq!(
            outputs(&format!("slice([{size}], start={start}, end={end}, step={step})")),
            format!("float32 [{length}]")
        );
    }

    /// Parts make up the axis, are equal but for the last, and are as many as PyTorch's.
    #[test]
    fn parts_make_up_the_axis(size in 1u64..40, chunks in 1u64..12) {
        let parts = with(&format!("chunk([{size}], chunks={chunks})"), |call| {
            call.outputs.iter().map(|ty| ty.shape.elements()).collect::<Vec<_>>()
        })
        .unwrap();
        prop_assert_eq!(parts.iter().sum::<u64>(), size);
        prop_assert!(parts.len() as u64 <= chunks);
        prop_assert!(parts.windows(2).all(|pair| pair[0] >= pair[1]));
        prop_assert!(parts[..parts.len() - 1].iter().all(|&part| part == parts[0]));
    }
}
