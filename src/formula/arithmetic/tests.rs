//! Arithmetic against Python's results and against exact arithmetic in 128 bits.

use proptest::prelude::*;

use super::{Number, evaluate};
use crate::formula::{FormulaError, parse_at};
use crate::source::FileId;

/// Computes a text with a few known sizes.
fn value(text: &str) -> Result<Number, FormulaError> {
    let tree = parse_at(text, FileId(0), 0).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    evaluate(&tree, &mut |name, _| match name {
        "width" => Some(Number::Integer(768)),
        "heads" => Some(Number::Integer(7)),
        "cluster.nodes" => Some(Number::Integer(4)),
        "largest" => Some(Number::Integer(i64::MAX)),
        "least" => Some(Number::Integer(i64::MIN)),
        "inf" => Some(Number::Real(f64::INFINITY)),
        "nan" => Some(Number::Real(f64::NAN)),
        _ => None,
    })
}

/// Texts and what Python 3 prints for them, truth written as 1 and 0.
const PYTHON: &[(&str, &str)] = &[
    ("7 // 2", "3"),
    ("-7 // 2", "-4"),
    ("7 // -2", "-4"),
    ("-7 // -2", "3"),
    ("7 % 3", "1"),
    ("-7 % 3", "2"),
    ("7 % -3", "-2"),
    ("-7 % -3", "-1"),
    ("7.5 // 2", "3.0"),
    ("-7.5 // 2", "-4.0"),
    ("7.5 % -2", "-0.5"),
    ("-7.5 % 2", "0.5"),
    ("1e300 // 3.0", "3.3333333333333335e299"),
    ("0.1 % 0.3", "0.1"),
    ("-0.1 % 0.3", "0.19999999999999998"),
    ("1 // 0.3", "3.0"),
    ("5 % 0.1", "0.09999999999999973"),
    ("-5 // 0.1", "-50.0"),
    ("2 ** 10", "1024"),
    ("2 ** -1", "0.5"),
    ("(-2) ** 3", "-8"),
    ("-2 ** 2", "-4"),
    ("2 ** 0.5", "1.4142135623730951"),
    ("(-1) ** 9223372036854775807", "-1"),
    ("0 ** 0", "1"),
    ("3 + 4 * 5 - 6", "17"),
    ("7 / 2.0", "3.5"),
    ("1e-3 * 2", "0.002"),
    ("not 3", "0"),
    ("not 0", "1"),
    ("3 and 5", "5"),
    ("0 and 5", "0"),
    ("0 or 7", "7"),
    ("4 or 7", "4"),
    ("1 < 2", "1"),
    ("2 == 2.0", "1"),
    ("9007199254740993 == 9007199254740992.0", "0"),
    ("9007199254740993 > 9007199254740992.0", "1"),
    ("3 if 0 else 4", "4"),
    ("6 & 3 | 8", "10"),
    ("~5", "-6"),
    ("(1 < 2) ^ True", "0"),
    ("min(3, 1.5, 2)", "1.5"),
    ("max([3, 9, 2])", "9"),
    ("sum((1, 2, 3.5))", "6.5"),
    ("round(2.5)", "2"),
    ("round(3.5)", "4"),
    ("round(-2.5)", "-2"),
    ("int(-3.7)", "-3"),
    ("float(3)", "3.0"),
    ("abs(-4)", "4"),
    ("True + True", "2"),
    ("math.ceil(2.1)", "3"),
    ("math.floor(-2.1)", "-3"),
    ("math.log(10)", "2.302585092994046"),
    ("math.exp(1)", "2.718281828459045"),
    ("math.prod([2, 3, 4])", "24"),
];

/// Where sizes want more than Python gives, and names.
const OWN: &[(&str, &str)] = &[
    ("width / 12", "64"),
    ("-768 / 12", "-64"),
    ("4 * width * cluster.nodes", "12288"),
    ("sqrt(1024)", "32"),
    ("sqrt(9223372036854775807)", "3037000499.97605"),
    ("np.sqrt(2)", "1.4142135623730951"),
    ("log2(1024)", "10"),
    ("log2(3)", "1.584962500721156"),
    ("ceil_div(50257, 64) * 64", "50304"),
    ("ceil_div(-7, 2)", "-3"),
    ("ceil_div(7, -2)", "-3"),
    ("ceil_div(7.5, 2)", "4"),
    ("prod()", "1"),
    ("least // 1", "-9223372036854775808"),
    ("least % -1", "0"),
    ("inf - 1", "inf"),
    ("nan == nan", "0"),
    ("nan != 1", "1"),
    ("largest < inf", "1"),
    ("largest < 9223372036854775808.0", "1"),
    ("-3 < -2.5", "1"),
    // What is not needed is not computed.
    ("1 if width else 1 / 0", "1"),
    ("0 and nobody", "0"),
    ("1 or nobody", "1"),
];

#[test]
fn values() {
    for (text, expected) in PYTHON.iter().chain(OWN) {
        let value = value(text).map(|value| value.to_string());
        assert_eq!(value.as_deref(), Ok(*expected), "{text}");
    }
}

#[test]
fn what_has_no_value_says_why() {
    let texts = [
        "width / heads",
        "768 / 7",
        "-1 / 3000",
        "7 / 2",
        "1001 / 1000",
        "width / 0",
        "width // (heads - 7)",
        "width % 0.0",
        "ceil_div(1, 0)",
        "0 ** -1",
        "largest + 1",
        "-least",
        "abs(least)",
        "least / -1",
        "least // -1",
        "2 ** 63",
        "10 ** 400",
        "1e300 * 1e300",
        "exp(1000)",
        "int(1e30)",
        "ceil(inf)",
        "(-8) ** 0.5",
        "sqrt(-1)",
        "log2(0)",
        "width ^ 2.0",
        "2 ^ 10",
        "~1.5",
        "width @ heads",
        "widht + 1",
        "'12' + 1",
        "[1, 2]",
        "max([1, [2]])",
        "max(x[0])",
        "x.T.shape[0]",
        "f(1).real",
        "None",
        "cel(1)",
        "softmax(width)",
        "(1 + 2).f(3)",
        "min()",
        "sqrt(1, 2)",
        "ceil_div(1)",
        "round(1.5, ndigits=1)",
    ];
    let lines: Vec<String> = texts
        .iter()
        .map(|text| {
            let error = value(text).expect_err(text);
            format!("{text} [{}] {error}", &text[error.span.range()])
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    width / heads [width / heads] `width / heads`: 768 / 7 = 109.71…, which is not whole; use `//` to round down, or `/ 7.0` for a fraction
    768 / 7 [768 / 7] 768 / 7 = 109.71…, which is not whole; use `//` to round down, or `/ 7.0` for a fraction
    -1 / 3000 [-1 / 3000] -1 / 3000 = -0.00033…, which is not whole; use `//` to round down, or `/ 3000.0` for a fraction
    7 / 2 [7 / 2] 7 / 2 = 3.5, which is not whole; use `//` to round down, or `/ 2.0` for a fraction
    1001 / 1000 [1001 / 1000] 1001 / 1000 = 1.001, which is not whole; use `//` to round down, or `/ 1000.0` for a fraction
    width / 0 [width / 0] `width / 0`: 768 / 0 divides by zero
    width // (heads - 7) [width // (heads - 7)] `width // (heads - 7)`: 768 // 0 divides by zero
    width % 0.0 [width % 0.0] `width % 0.0`: 768 % 0.0 divides by zero
    ceil_div(1, 0) [ceil_div(1, 0)] ceil_div(1, 0) divides by zero
    0 ** -1 [0 ** -1] 0 ** -1 divides by zero
    largest + 1 [largest + 1] `largest + 1`: 9223372036854775807 + 1 does not fit into 64 bits
    -least [-least] `-least`: -(-9223372036854775808) does not fit into 64 bits
    abs(least) [abs(least)] `abs(least)`: abs(-9223372036854775808) does not fit into 64 bits
    least / -1 [least / -1] `least / -1`: -9223372036854775808 / -1 does not fit into 64 bits
    least // -1 [least // -1] `least // -1`: -9223372036854775808 // -1 does not fit into 64 bits
    2 ** 63 [2 ** 63] 2 ** 63 does not fit into 64 bits; for a real, write a decimal point
    10 ** 400 [10 ** 400] 10 ** 400 does not fit into 64 bits; for a real, write a decimal point
    1e300 * 1e300 [1e300 * 1e300] 1e300 * 1e300 does not fit into a float64
    exp(1000) [exp(1000)] exp(1000) does not fit into a float64
    int(1e30) [int(1e30)] int(1e30) does not fit into 64 bits
    ceil(inf) [ceil(inf)] ceil(inf) does not fit into 64 bits
    (-8) ** 0.5 [(-8) ** 0.5] (-8) ** 0.5 is not a real number
    sqrt(-1) [sqrt(-1)] sqrt(-1) is not a real number
    log2(0) [log2(0)] log2(0) is not a real number
    width ^ 2.0 [width ^ 2.0] `width ^ 2.0`: 768 ^ 2.0 combines the bits of a real; write `**` for a power
    2 ^ 10 [2 ^ 10] 2 ^ 10 is an exclusive or, not a power; write `**` for a power
    ~1.5 [~1.5] ~1.5 inverts the bits of a real
    width @ heads [width @ heads] `width @ heads`: 768 @ 7: `@` is not for numbers; write `*` to multiply numbers
    widht + 1 [widht] `widht` has no value
    '12' + 1 ['12'] a string is not a number, and this is plain arithmetic
    [1, 2] [[1, 2]] a list is not a number, and this is plain arithmetic
    max([1, [2]]) [[2]] a list is not a number, and this is plain arithmetic
    max(x[0]) [x[0]] an index is not a number, and this is plain arithmetic
    x.T.shape[0] [x.T.shape[0]] an index is not a number, and this is plain arithmetic
    f(1).real [f(1).real] an attribute is not a number, and this is plain arithmetic
    None [None] `None` is not a number, and this is plain arithmetic
    cel(1) [cel] `cel` is not a function of plain numbers; did you mean `ceil`?
    softmax(width) [softmax] `softmax` is not a function of plain numbers; there is: min, max, sum, prod, ceil, floor, round, int, float, abs, sqrt, log, log2, exp, ceil_div
    (1 + 2).f(3) [(1 + 2).f] only functions can be called here
    min() [min()] `min` takes at least one number, and is given 0
    sqrt(1, 2) [sqrt(1, 2)] `sqrt` takes one number, and is given 2
    ceil_div(1) [ceil_div(1)] `ceil_div` takes 2 numbers, and is given 1
    round(1.5, ndigits=1) [ndigits] plain arithmetic has no argument named `ndigits`
    "#);
}

#[test]
fn long_formulas_need_no_stack() {
    let sum = "1 + ".repeat(16_000) + "1";
    assert_eq!(value(&sum), Ok(Number::Integer(16_001)));
}

#[test]
fn whole_numbers_are_those_that_an_integer_can_be() {
    let whole = |value: f64| Number::Real(value).whole();
    assert_eq!(whole(3.0), Some(3));
    assert_eq!(whole(-9_223_372_036_854_775_808.0), Some(i64::MIN));
    assert_eq!(whole(9_223_372_036_854_775_808.0), None);
    assert_eq!([3.5, f64::NAN, f64::INFINITY].map(whole), [None; 3]);
}

/// An expression over integers, with its value in 128 bits; `None` where it has none.
fn exact() -> impl Strategy<Value = (String, Option<i128>)> {
    let edge = prop::sample::select(vec![0, 1, 2, 3, 7, 64, 1 << 31, 1 << 32, i64::MAX]);
    let leaf = prop_oneof![0..20i64, edge, 0..i64::MAX]
        .prop_map(|value| (value.to_string(), Some(i128::from(value))));
    leaf.prop_recursive(5, 24, 2, |inner| {
        let operator = prop::sample::select(vec!["+", "-", "*", "/", "//", "%", "neg", "ceil_div"]);
        (operator, inner.clone(), inner).prop_map(|(operator, (a_text, a), (b_text, b))| {
            let text = match operator {
                "neg" => format!("-({a_text})"),
                "ceil_div" => format!("ceil_div({a_text}, {b_text})"),
                _ => format!("({a_text}) {operator} ({b_text})"),
            };
            (text, a.and_then(|a| combine(operator, a, b)))
        })
    })
}

fn combine(operator: &str, a: i128, b: Option<i128>) -> Option<i128> {
    if operator == "neg" {
        return i64::try_from(-a).ok().map(i128::from);
    }
    let b = b?;
    // Euclidean division leaves a remainder that is not negative; Python's has b's sign.
    let floor = |a: i128, b: i128| match b > 0 {
        true => a.div_euclid(b),
        false => (-a).div_euclid(-b),
    };
    let result = match operator {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        _ if b == 0 => return None,
        "/" if a % b != 0 => return None,
        "/" | "//" => floor(a, b),
        "%" => a - b * floor(a, b),
        _ => -floor(-a, b),
    };
    i64::try_from(result).ok().map(i128::from)
}

proptest! {
    #[test]
    fn integers_are_exact_or_refused((text, expected) in exact()) {
        let got = value(&text).ok();
        let expected = expected.map(|value| Number::Integer(value as i64));
        prop_assert_eq!(got, expected, "{}", text);
    }

    #[test]
    fn comparison_is_exact(a in any::<i64>(), b in -1e19f64..1e19, near in -2i64..3) {
        // Reals that are near an integer are where rounding would show.
        for b in [b, b.round(), a.saturating_add(near) as f64, a as f64 / 1024.0] {
            let order = Number::Integer(a).compare(Number::Real(b));
            // Both as multiples of 2^-60, which |b| < 2^64 makes exact for all that is not tiny.
            let exact = (b.abs() >= 1e-2 || b == 0.0).then(|| {
                let whole = b.trunc() as i128;
                let part = (b.fract() * (1u64 << 60) as f64) as i128;
                (i128::from(a) << 60).cmp(&((whole << 60) + part))
            });
            if let Some(exact) = exact {
                prop_assert_eq!(order, Some(exact), "{} {:?}", a, b);
            }
            let reversed = Number::Real(b).compare(Number::Integer(a));
            prop_assert_eq!(reversed.map(std::cmp::Ordering::reverse), order);
        }
    }
}
