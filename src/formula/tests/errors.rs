//! The words of errors, and that one mistake gives one error.

use super::super::{LENGTH_LIMIT, NESTING_LIMIT};
use super::{read, underlined};

/// All errors of a text, as the user would see them.
fn check(text: &str) -> String {
    let errors = read(text).expect_err(text);
    let mut out = String::new();
    for error in errors {
        out += &format!("{}\n{}\n", error.message, underlined(text, error.span));
        if let Some((span, words)) = &error.related {
            out += &format!("{} {words}\n", underlined(text, *span));
        }
        if let Some(help) = &error.help {
            out += &format!("  help: {help}\n");
        }
    }
    out
}

fn all(texts: &[&str]) -> String {
    texts.iter().map(|text| check(text)).collect()
}

#[test]
fn characters() {
    let texts = [
        "a × b",
        "a $ b",
        "a − b² ≥ c",
        "einsum(“ij,jk->ik”, a, b)",
        "a && b || !c",
        "a << 2",
        "{1: 2}",
        "a ; b",
        "a\u{200b} + b",
    ];
    insta::assert_snapshot!(all(&texts), @r#"
    `×` (U+00D7) has no meaning in a formula
      a × b
        ^
      help: write `*`
    `$` has no meaning in a formula
      a $ b
        ^
    `−` (U+2212) has no meaning in a formula
      a − b² ≥ c
        ^
      help: write `-`
    `²` (U+00B2) has no meaning in a formula
      a − b² ≥ c
           ^
      help: write `** 2`
    `≥` (U+2265) has no meaning in a formula
      a − b² ≥ c
             ^
      help: write `>=`
    `“` is a typographic quotation mark
      einsum(“ij,jk->ik”, a, b)
             ^^^^^^^^^^^
      help: write strings between plain quotes, ' or "
    `&&` is not an operator of formulas
      a && b || !c
        ^^
      help: write `and`, or `&` to combine tensors of booleans
    `||` is not an operator of formulas
      a && b || !c
             ^^
      help: write `or`, or `|` to combine tensors of booleans
    `!` has no meaning in a formula
      a && b || !c
                ^
      help: write `not`
    `<<` is not an operator of formulas
      a << 2
        ^^
      help: write `* 2 ** n`
    formulas do not have dictionaries and sets
      {1: 2}
      ^
      help: write `[…]` for a list
    `;` has no meaning in a formula
      a ; b
        ^
    `\u{200b}` (U+200B) has no meaning in a formula
      a· + b
       ^
    "#);
}

#[test]
fn numbers_and_strings() {
    let texts = [
        "2x + 1",
        "1if a else 2",
        "3e",
        "1__0 + 2_",
        "0b12 + 0x",
        "007",
        "1.2.3",
        "9223372036854775808 * 1e999",
        "2j",
        "einsum('ij, a)",
        r"'a\d'",
    ];
    insta::assert_snapshot!(all(&texts), @r#"
    an operator is missing between `2` and `x`
      2x + 1
      ^^
      help: write `2 * x` to multiply
    `1` and `if` run into each other
      1if a else 2
      ^^^
      help: write `1 if`
    the exponent of `3e` has no digits
      3e
      ^^
      help: write `3e-3`, or `3 * e`
    `1__0` is not a number
      1__0 + 2_
      ^^^^
      help: an underscore must stand between two digits
    `2_` is not a number
      1__0 + 2_
             ^^
      help: an underscore must stand between two digits
    `0b12` is not a number
      0b12 + 0x
      ^^^^
      help: `2` is not a digit of it
    `0x` is not a number
      0b12 + 0x
             ^^
      help: digits must follow the prefix
    `007` has leading zeros
      007
      ^^^
      help: write `7`
    `1.2.3` is not a number
      1.2.3
      ^^^^^
    9223372036854775808 is too large for a 64-bit integer
      9223372036854775808 * 1e999
      ^^^^^^^^^^^^^^^^^^^
      help: the largest is 9223372036854775807; with a decimal point it is a real
    1e999 is too large for a float64
      9223372036854775808 * 1e999
                            ^^^^^
      help: write `inf` for infinity
    `2j` is a complex number, which formulas do not have
      2j
      ^^
    the string has no closing `'`
      einsum('ij, a)
             ^^^^^^^
      help: add `'` where the string ends
    `\d` is not an escape of strings
      'a\d'
        ^^
      help: there is \\, \', \n, \r and \t, and \ before a double quote
    "#);
}

#[test]
fn brackets() {
    let texts = ["f(g(x)", "f([x)", "(a + b))", "f(x[1, (2", ")(", "(a $ b"];
    insta::assert_snapshot!(all(&texts), @r#"
    `(` is never closed
      f(g(x)
       ^
      f(g(x)
            ^ the formula ends here
      help: add `)`
    `)` does not match `[`
      f([x)
          ^
      f([x)
        ^ opened here
      help: `]` closes it
    `)` closes nothing
      (a + b))
             ^
      help: remove it, or add `(` before it
    3 brackets are never closed; the innermost is `(`
      f(x[1, (2
             ^
      f(x[1, (2
               ^ the formula ends here
      help: add `)])`
    `)` closes nothing
      )(
      ^
      help: remove it, or add `(` before it
    `(` is never closed
      )(
       ^
      )(
        ^ the formula ends here
      help: add `)`
    `(` is never closed
      (a $ b
      ^
      (a $ b
            ^ the formula ends here
      help: add `)`
    `$` has no meaning in a formula
      (a $ b
         ^
    "#);
}

#[test]
fn operands_and_operators() {
    let texts = [
        "",
        "  ",
        "a +",
        "* a",
        "a + * b",
        "(a +) * b",
        "()  + (a *)",
        "a b",
        "f(x) 3",
        "2(x + 1)",
        "2[0]",
        "a not b",
        "a is None",
        "lambda x: x",
        "[x for x in y]",
        "a == not b",
        "a < b < c",
        "a <= b + 1 == c",
        "a = b",
        "= b",
        "a += b",
        "a === b",
        "a if b",
        "a else b",
        "x.",
        ".x",
        "x.(y)",
        "a, b",
        "a : b",
        "{a, b}",
    ];
    insta::assert_snapshot!(all(&texts), @r#"
    the formula is empty
      
      ^
    the formula is empty
        
      ^^
    `+` has no right operand
      a +
        ^
    `*` has no left operand
      * a
      ^
    an operand is missing between `+` and `*`
      a + * b
        ^^^
    `+` has no right operand
      (a +) * b
         ^
    `*` has no right operand
      ()  + (a *)
               ^
    an operator is missing between `a` and `b`
      a b
      ^^^
    an operator is missing between `)` and `3`
      f(x) 3
         ^^^
    an operator is missing between `2` and `(`
      2(x + 1)
      ^^
      help: write `2 * (…)` to multiply
    an operator is missing between `2` and `[`
      2[0]
      ^^
    `not` stands before an operand, not behind it
      a not b
        ^^^
      help: write `and not`, or `!=` to compare
    formulas do not have Python's `is`
      a is None
      ^^^^
    formulas do not have Python's `lambda`
      lambda x: x
      ^^^^^^^^
    formulas do not have Python's `for`
      [x for x in y]
       ^^^^^
    `not` binds looser than the operator before it
      a == not b
           ^^^
      help: write `(not …)`
    comparisons cannot be chained
      a < b < c
            ^
      help: write `a < b and b < …`; for tensors `(a < b) & (b < …)`
    comparisons cannot be chained
      a <= b + 1 == c
                 ^^
      help: write `a <= b + 1 and b + 1 == …`; for tensors `(a <= b + 1) & (b + 1 == …)`
    a formula assigns nothing
      a = b
        ^
      help: write `==` to compare; `name=value` passes an argument, inside of a call only
    a formula assigns nothing
      = b
      ^
      help: write `==` to compare; `name=value` passes an argument, inside of a call only
    an operand is missing between `+` and `=`
      a += b
        ^^
      help: a formula assigns nothing; write the sum or product in full
    an operand is missing between `==` and `=`
      a === b
        ^^^
      help: write `==`
    `if` has no `else`
      a if b
        ^^
      help: write `a if condition else b`
    `else` has no `if` before it
      a else b
        ^^^^
    an attribute's name is missing after `.`
      x.
       ^
    `.` has no left operand
      .x
      ^
    an attribute's name is missing after `.`
      x.(y)
       ^
    a formula is one expression, and a comma ends it
      a, b
       ^
      help: write `(a, b)` for a tuple
    `:` makes a slice, inside of `x[…]` only
      a : b
        ^
    formulas do not have dictionaries and sets
      {a, b}
      ^
      help: write `[…]` for a list
    "#);
}

#[test]
fn calls_and_indices() {
    let texts = [
        "f(a, , b)",
        "f(, a)",
        "f(k=)",
        "f(k=1, 2, 3)",
        "f(k=1, l=2, k=3)",
        "f(x.y=3)",
        "f(*a, **b)",
        "(a = b)",
        "x[]",
        "x[1:2:3:4]",
        "x[a b]",
        "f(1:2)",
        "f(a b, c d)[e f] g",
        "f((a b), (c +), [d,, e])",
    ];
    insta::assert_snapshot!(all(&texts), @r#"
    there is nothing before this comma
      f(a, , b)
           ^
    there is nothing before this comma
      f(, a)
        ^
    a value is missing after `=`
      f(k=)
         ^
    a positional argument stands behind a named one
      f(k=1, 2, 3)
             ^
      f(k=1, 2, 3)
        ^ `k` is named
      help: put it first, or give it its name
    `k` is given twice
      f(k=1, l=2, k=3)
                  ^
      f(k=1, l=2, k=3)
        ^ first given here
    an argument's name must be a plain name
      f(x.y=3)
        ^^^
      help: write `==` to compare
    `*` has no left operand
      f(*a, **b)
        ^
      help: arguments cannot be unpacked; write each of them
    `**` has no left operand
      f(*a, **b)
            ^^
      help: arguments cannot be unpacked; write each of them
    a formula assigns nothing
      (a = b)
         ^
      help: write `==` to compare; `name=value` passes an argument, inside of a call only
    an index is missing here
      x[]
       ^^
      help: write `x[:]` for all of `x`
    a slice has at most two colons
      x[1:2:3:4]
             ^
      help: it is `start:stop:step`
    an operator is missing between `a` and `b`
      x[a b]
        ^^^
    `:` makes a slice, inside of `x[…]` only
      f(1:2)
         ^
    an operator is missing between `a` and `b`
      f(a b, c d)[e f] g
        ^^^
    an operator is missing between `c` and `d`
      f(a b, c d)[e f] g
             ^^^
    an operator is missing between `e` and `f`
      f(a b, c d)[e f] g
                  ^^^
    an operator is missing between `]` and `g`
      f(a b, c d)[e f] g
                     ^^^
    an operator is missing between `a` and `b`
      f((a b), (c +), [d,, e])
         ^^^
    `+` has no right operand
      f((a b), (c +), [d,, e])
                  ^
    there is nothing before this comma
      f((a b), (c +), [d,, e])
                         ^
    "#);
}

#[test]
fn limits() {
    let nested = |open: &str, count: usize, close: &str| {
        format!("{}x{}", open.repeat(count), close.repeat(count))
    };
    // The expression inside of the innermost brackets counts too.
    assert!(read(&nested("(", NESTING_LIMIT - 1, ")")).is_ok());
    for text in [
        nested("(", NESTING_LIMIT, ")"),
        nested("[", 1000, "]"),
        nested("-", 1000, ""),
        nested("not ", 1000, ""),
        nested("x ** ", 1000, ""),
        nested("x if y else ", 1000, ""),
        nested("f(", 1000, ")"),
        nested("x[", 1000, "]"),
    ] {
        let errors = read(&text).expect_err(&text);
        assert_eq!(errors.len(), 1, "{text}");
        assert_eq!(
            errors[0].message,
            "the formula is nested more than 200 deep"
        );
    }
    let longest = "x + ".repeat(LENGTH_LIMIT / 4 - 1) + "xxx";
    let tree = read(&longest).unwrap();
    assert_eq!(tree.to_string(), longest, "a chain is not nested");
    assert!(tree.same(tree.root(), &tree, tree.root()));

    // The cut must not split the character there.
    let errors = read(&"é".repeat(1 << 19)).unwrap_err();
    assert_eq!(
        errors[0].message,
        "the formula is 1048576 bytes long; at most 65536 are read"
    );
    let errors = read(&("x".to_owned() + &"é".repeat(1 << 19))).unwrap_err();
    assert_eq!(errors[0].span.start as usize, LENGTH_LIMIT - 1);
}

#[test]
fn hostile_texts_give_few_errors() {
    for text in [
        "$ ", ") ", "( ", "1x ", "'\n", "a b, ", "f(a b) ", "x[] ", "(,",
    ] {
        let errors = read(&text.repeat(LENGTH_LIMIT / text.len())).unwrap_err();
        assert!(errors.len() <= 16, "{text}: {}", errors.len());
    }
}
