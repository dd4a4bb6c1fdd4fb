//! The arithmetic of two and three operands held to PyTorch.

use crate::ops::cases::{check, check_intervals, check_saved};

#[test]
fn types_follow_pytorch() {
    check(&[
        ("add([2, 3], [3])", "float32 [2, 3]"),
        ("add([2, 1], [1, 3])", "float32 [2, 3]"),
        ("add(bfloat16 [2], float16 [2])", "float32 [2]"),
        ("add(bfloat16 [2], float32 [])", "bfloat16 [2]"),
        ("add(int64 [2], float16 [])", "float16 [2]"),
        ("add(int64 [2], 2.5)", "float32 [2]"),
        ("add(int32 [2], 2)", "int32 [2]"),
        ("add(bool [2], 2)", "int64 [2]"),
        ("add(float16 [2], 2.5)", "float16 [2]"),
        (
            "add([2, 3], [4])",
            "error: [2, 3] and [4] do not broadcast: at axis -1, 3 ≠ 4 and neither is 1",
        ),
        (
            "sub(bool [2], [2])",
            "error: `sub` does not take bool tensors, but `input` is bool [2]",
        ),
        ("mul(uint8 [2], int8 [2])", "int16 [2]"),
        ("div(int64 [4], int64 [4])", "float32 [4]"),
        ("div(int64 [4], 2, rounding_mode=floor)", "int64 [4]"),
        ("floor_divide(int64 [4], 2)", "int64 [4]"),
        ("remainder([4], int64 [4])", "float32 [4]"),
        ("pow(int64 [4], 2)", "int64 [4]"),
        ("pow(int64 [4], 0.5)", "float32 [4]"),
        ("pow(2, [4])", "float32 [4]"),
        (
            "pow(int64 [4], -1)",
            "error: integers have no integer power -1: cast the input to a float first",
        ),
        ("hypot(int64 [2], int64 [2])", "float32 [2]"),
        ("atan2(float64 [2], [2])", "float64 [2]"),
        ("lerp([2, 3], [3], 0.5)", "float32 [2, 3]"),
        ("addcdiv([2], [2], [2], value=0.5)", "float32 [2]"),
    ]);
}

/// From the derivatives of PyTorch: a factor is kept for the other one's gradient.
#[test]
fn only_what_a_gradient_needs_is_kept() {
    check_saved(&[
        ("add([2], [2])", ""),
        ("mul([2], [2])", "other, input"),
        ("mul([2], 2.0)", ""),
        ("mul([2], [2]!)", "other"),
        ("mul([2], bool [2])", "other"),
        ("div([2], [2])", "other, input"),
        ("div([2], [2]!)", "other"),
        ("div([2], 2.0)", ""),
        ("div([2], [2], rounding_mode=floor)", ""),
        ("div([2]!, [2])", "other, input"),
        ("pow([2], 2)", "input"),
        ("pow([2], [2]!)", "input, exponent, output"),
        ("pow(2.0, [2])", "exponent, output"),
        ("maximum([2], [2])", "input, other"),
        ("hypot([2], [2])", "input, other, output"),
        ("lerp([2], [2], 0.1)", ""),
        ("lerp([2], [2], [2])", "weight, input, end"),
        ("addcmul([2], [2], [2])", "tensor2, tensor1"),
        ("addcdiv([2], [2], [2]!)", "tensor2"),
        ("remainder([2], 2)", ""),
    ]);
}

#[test]
fn ranges() {
    check_intervals(&[
        ("add([2], [2])", &[(-1.0, 2.0), (3.0, 4.0)], "[2, 6]"),
        (
            "sub([2], [2], alpha=2)",
            &[(0.0, 1.0), (0.0, 1.0)],
            "[-2, 1]",
        ),
        ("div([2], [2])", &[(1.0, 2.0), (0.0, 4.0)], "[0.25, ∞]?"),
        ("div([2], [2])", &[(1.0, 2.0), (-4.0, 0.0)], "[-∞, -0.25]?"),
        ("div([2], [2])", &[(1.0, 2.0), (-4.0, 4.0)], "[-∞, ∞]?"),
        ("div([2], [2])", &[(-1.0, 2.0), (2.0, 4.0)], "[-0.5, 1]"),
        ("pow([2], 2)", &[(-3.0, 2.0), (2.0, 2.0)], "[0, 9]"),
        ("pow([2], 3)", &[(-3.0, 2.0), (3.0, 3.0)], "[-27, 8]"),
        ("pow([2], -1)", &[(0.0, 2.0), (-1.0, -1.0)], "[0.5, ∞]?"),
        ("pow([2], 0.5)", &[(0.0, 4.0), (0.5, 0.5)], "[0, 2]"),
        ("pow([2], 0.5)", &[(-1.0, 4.0), (0.5, 0.5)], "[-∞, ∞]?"),
        ("pow(2.0, [2])", &[(2.0, 2.0), (-1.0, 3.0)], "[0.5, 8]"),
        ("remainder([2], 3)", &[(-9.0, 9.0), (3.0, 3.0)], "[0, 3]"),
        ("remainder([2], 3)", &[(0.0, 1.0), (3.0, 3.0)], "[0, 1]"),
        ("fmod([2], 3)", &[(-9.0, 1.0), (3.0, 3.0)], "[-3, 3]"),
        (
            "lerp([2], [2], 0.5)",
            &[(0.0, 1.0), (4.0, 5.0), (0.5, 0.5)],
            "[0, 5]",
        ),
    ]);
}
