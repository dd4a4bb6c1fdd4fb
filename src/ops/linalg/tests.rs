//! Cases of the `linalg` family.

use crate::ops::cases::{check, check_intervals, check_products, check_saved, with};

#[test]
fn types_follow_pytorch() {
    check(&[
        ("inverse([5, 3, 3])", "float32 [5, 3, 3]"),
        (
            "inv([3, 4])",
            "error: `inverse` takes square matrices, but those of [3, 4] are 3×4",
        ),
        (
            "inv(float16 [3, 3])",
            "error: `inverse` does not take low precision, but `A` is float16 [3, 3]",
        ),
        (
            "inv([3])",
            "error: `inverse` takes matrices, but an operand is [3]",
        ),
        ("pinverse([5, 3, 4])", "float32 [5, 4, 3]"),
        ("solve([3, 3], [3])", "float32 [3]"),
        ("solve([5, 3, 3], [5, 3])", "float32 [5, 3]"),
        ("solve([5, 3, 3], [3, 2])", "float32 [5, 3, 2]"),
        ("solve([3, 3], [7, 3, 2])", "float32 [7, 3, 2]"),
        (
            "solve([3, 3], [4, 2])",
            "error: the matrices of [3, 3] have 3 rows, but [4, 2] has 4 rows",
        ),
        ("cholesky(float64 [3, 3])", "float64 [3, 3]"),
        ("cholesky_solve([3, 2], [3, 3])", "float32 [3, 2]"),
        (
            "triangular_solve([3, 3], [3, 2], upper=true)",
            "float32 [3, 2]",
        ),
        (
            "triangular_solve([3, 3], [2, 3], left=false)",
            "float32 [2, 3]",
        ),
        ("lstsq([5, 3], [5, 2])", "float32 [3, 2]"),
        ("det([5, 3, 3])", "float32 [5]"),
        ("slogdet(complex64 [3, 3])", "complex64 []; float32 []"),
        ("logdet([3, 3])", "float32 []"),
        ("matrix_exp([3, 3])", "float32 [3, 3]"),
        ("trace(int32 [3, 4])", "int64 []"),
        (
            "trace([2, 3, 3])",
            "error: `trace` takes a matrix, but its input is [2, 3, 3]",
        ),
    ]);
}

/// From the derivatives of PyTorch.
#[test]
fn what_autograd_keeps() {
    check_saved(&[
        ("inverse([3, 3])", "output"),
        ("pinverse([3, 4])", "A, output"),
        (
            "solve([3, 3], [3])",
            "A, output, LU: 9 float32, pivots: 3 int32",
        ),
        ("cholesky([3, 3])", "output"),
        ("cholesky_solve([3, 2], [3, 3])", "B, L, output"),
        ("triangular_solve([3, 3], [3, 2])", "A, output"),
        (
            "det([2, 3, 3])",
            "A, output, LU: 18 float32, pivots: 6 int32",
        ),
        (
            "logdet([3, 3])",
            "A, LU: 9 float32, pivots: 3 int32, sign: 1 float32, negative: 1 bool",
        ),
        ("matrix_exp([3, 3])", "A"),
        ("trace([3, 3])", ""),
    ]);
}

#[test]
fn work_is_cubic() {
    for (text, flops) in [
        ("inverse([5, 10, 10])", 5 * 2000),
        ("solve([10, 10], [10, 3])", 667 + 600),
        ("solve([7, 10, 10], [7, 10])", 7 * (667 + 200)),
        ("solve([10, 10], [7, 10, 3])", 7 * (667 + 600)),
        ("cholesky([10, 10])", 333),
        ("triangular_solve([10, 10], [3, 10], left=false)", 300),
        ("trace([10, 10])", 10),
    ] {
        let work = with(text, |call| (call.op.work)(call)).unwrap();
        assert!(
            work.products == 0 && work.other.abs_diff(flops) <= 7,
            "{text}: {work:?}"
        );
    }
    check_products(&[
        ("inverse([5, 10, 10])", (0, 5 * 4000)),
        ("solve([10, 10], [10, 3])", (0, 2 * 10 * 10 * 3)),
        ("solve([10, 10]!, [10, 3])", (0, 0)),
    ]);
}

#[test]
fn ranges() {
    check_intervals(&[
        ("det([2, 2])", &[(-1.0, 1.0)], "[-2, 2]"),
        ("trace([2, 2])", &[(1.0, 3.0)], "[2, 6]"),
        ("cholesky([2, 2])", &[(-1.0, 4.0)], "[-2, 2]?"),
        ("inverse([3, 3])", &[(1.0, 2.0)], "[-∞, ∞]?"),
    ]);
}
