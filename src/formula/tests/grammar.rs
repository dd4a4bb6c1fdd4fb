//! Precedence, associativity and forms, against Python's own parser; spans; rendering.

use super::super::{BinaryOperator, NodeKind, UnaryOperator, parse};
use super::{dump, parsed, read};
use crate::source::{FileId, Span};

/// How `a P b Q c` groups: `L` for `(a P b) Q c`, `R` for `a P (b Q c)`, `x` where comparisons
/// are chained. A row for each P, a column for each Q, both in the order of
/// `BinaryOperator::ALL`. Made with Python 3's `ast` module.
const GROUPING: [(&str, &str); 19] = [
    ("or", "LRRRRRRRRRRRRRRRRRR"),
    ("and", "LLRRRRRRRRRRRRRRRRR"),
    ("<", "LLxxxxxxRRRRRRRRRRR"),
    ("<=", "LLxxxxxxRRRRRRRRRRR"),
    (">", "LLxxxxxxRRRRRRRRRRR"),
    (">=", "LLxxxxxxRRRRRRRRRRR"),
    ("==", "LLxxxxxxRRRRRRRRRRR"),
    ("!=", "LLxxxxxxRRRRRRRRRRR"),
    ("|", "LLLLLLLLLRRRRRRRRRR"),
    ("^", "LLLLLLLLLLRRRRRRRRR"),
    ("&", "LLLLLLLLLLLRRRRRRRR"),
    ("+", "LLLLLLLLLLLLLRRRRRR"),
    ("-", "LLLLLLLLLLLLLRRRRRR"),
    ("*", "LLLLLLLLLLLLLLLLLLR"),
    ("/", "LLLLLLLLLLLLLLLLLLR"),
    ("//", "LLLLLLLLLLLLLLLLLLR"),
    ("%", "LLLLLLLLLLLLLLLLLLR"),
    ("@", "LLLLLLLLLLLLLLLLLLR"),
    ("**", "LLLLLLLLLLLLLLLLLLR"),
];

/// For each prefix operator U: how `U a Q b` groups, `L` for `(U a) Q b`; and whether `a Q U b`
/// is allowed (`L`) or an error (`x`).
const PREFIXES: [(&str, &str, &str); 4] = [
    ("-", "LLLLLLLLLLLLLLLLLLR", "LLLLLLLLLLLLLLLLLLL"),
    ("+", "LLLLLLLLLLLLLLLLLLR", "LLLLLLLLLLLLLLLLLLL"),
    ("~", "LLLLLLLLLLLLLLLLLLR", "LLLLLLLLLLLLLLLLLLL"),
    ("not", "LLRRRRRRRRRRRRRRRRR", "LLxxxxxxxxxxxxxxxxx"),
];

#[test]
fn operators_group_as_in_python() {
    let symbols = BinaryOperator::ALL.map(BinaryOperator::symbol);
    assert_eq!(GROUPING.map(|(symbol, _)| symbol), symbols);
    for (p, row) in GROUPING {
        for (q, expected) in symbols.into_iter().zip(row.chars()) {
            let text = format!("a {p} b {q} c");
            let expected = match expected {
                'L' => Some(format!("({q} ({p} a b) c)")),
                'R' => Some(format!("({p} a ({q} b c))")),
                _ => None,
            };
            let tree = read(&text).ok();
            assert_eq!(
                tree.map(|tree| dump(&tree, tree.root())),
                expected,
                "{text}"
            );
        }
    }
    for (u, before, behind) in PREFIXES {
        for (q, expected) in symbols.into_iter().zip(before.chars()) {
            let text = format!("{u} a {q} b");
            let expected = match expected {
                'L' => format!("({q} ({u} a) b)"),
                _ => format!("({u} ({q} a b))"),
            };
            let tree = parsed(&text);
            assert_eq!(dump(&tree, tree.root()), expected, "{text}");
        }
        for (q, expected) in symbols.into_iter().zip(behind.chars()) {
            let text = format!("a {q} {u} b");
            let tree = read(&text).ok().map(|tree| dump(&tree, tree.root()));
            let expected = (expected == 'L').then(|| format!("({q} a ({u} b))"));
            assert_eq!(tree, expected, "{text}");
        }
    }
}

/// Texts and their trees by Python 3's `ast` module, comparisons and strings written alike.
const FORMS: &[(&str, &str)] = &[
    ("a + b * c - d", "(- (+ a (* b c)) d)"),
    ("(a + b) * (c - d)", "(* (+ a b) (- c d))"),
    ("a @ b @ c", "(@ (@ a b) c)"),
    ("a @ (b @ c)", "(@ a (@ b c))"),
    ("-a ** -b ** c", "(- (** a (- (** b c))))"),
    ("(-a) ** b", "(** (- a) b)"),
    ("2 ** 3 ** 2", "(** 2 (** 3 2))"),
    ("-x.T @ y", "(@ (- (. x T)) y)"),
    ("not a and not b or c", "(or (and (not a) (not b)) c)"),
    ("not a == b", "(not (== a b))"),
    ("a if b else c if d else e", "(if b a (if d c e))"),
    ("(a if b else c) if d else e", "(if d (if b a c) e)"),
    (
        "a or b if c and d else not e",
        "(if (and c d) (or a b) (not e))",
    ),
    ("~a & b | c ^ d", "(| (& (~ a) b) (^ c d))"),
    ("a < b + 1", "(< a (+ b 1))"),
    ("a == -1", "(== a (- 1))"),
    ("- - + ~a", "(- (- (+ (~ a))))"),
    (
        "x.mean(axis=-1, keepdims=True)",
        "(call (. x mean) axis=(- 1) keepdims=True)",
    ),
    ("np.linalg.norm(x, 2)", "(call (. (. np linalg) norm) x 2)"),
    ("f(a)(b)[c].d", "(. (index (call (call f a) b) c) d)"),
    ("f()", "(call f)"),
    ("f(a,)", "(call f a)"),
    ("x[0]", "(index x 0)"),
    ("x[:, 0]", "(index x : 0)"),
    ("x[..., 1:]", "(index x ... 1:)"),
    ("x[:, None]", "(index x : None)"),
    ("x[1:-1:2]", "(index x 1:(- 1):2)"),
    ("x[::2]", "(index x ::2)"),
    ("x[a:b + 1, :n]", "(index x a:(+ b 1) :n)"),
    ("x[(1, 2)]", "(index x (tuple 1 2))"),
    ("x[[1, 2]]", "(index x (list 1 2))"),
    ("x[1,]", "(index x 1)"),
    ("(1, 2)", "(tuple 1 2)"),
    ("(1,)", "(tuple 1)"),
    ("()", "(tuple)"),
    ("[]", "(list)"),
    ("[1, [2, 3], (4,)]", "(list 1 (list 2 3) (tuple 4))"),
    ("((a))", "a"),
    (
        "einsum('ij,jk->ik', a, b)",
        "(call einsum \"ij,jk->ik\" a b)",
    ),
    ("\"it's\"", "\"it's\""),
    (r"'\\ \' \n'", r#""\\ ' \n""#),
    ("1_000 + 0xff + 0b11 + 0o17", "(+ (+ (+ 1000 255) 3) 15)"),
    (
        ".5 + 1. + 1e-5 + 1_0.5e1_0",
        "(+ (+ (+ 0.5 1.0) 1e-5) 105000000000.0)",
    ),
    ("True if None else False", "(if None True False)"),
    ("x if a else -y ** 2", "(if a x (- (** y 2)))"),
    ("a ** not_b", "(** a not_b)"),
    ("not(a)", "(not a)"),
    ("x[a if b else c:d]", "(index x (if b a c):d)"),
    (
        "f(x if y else z, k=a or b)",
        "(call f (if y x z) k=(or a b))",
    ),
    ("0.1 .real", "(. 0.1 real)"),
    ("-1 .real", "(- (. 1 real))"),
    ("x [0] . T (y)", "(call (. (index x 0) T) y)"),
    ("a ** b.T", "(** a (. b T))"),
    ("a % b // c / d * e", "(* (/ (// (% a b) c) d) e)"),
    ("a - (b - c)", "(- a (- b c))"),
    ("a < (b < c)", "(< a (< b c))"),
    ("a<-b", "(< a (- b))"),
    ("a**-b*c", "(* (** a (- b)) c)"),
    ("lambda_ + iff + nota", "(+ (+ lambda_ iff) nota)"),
];

/// What Python does not read, or reads otherwise.
const OWN_FORMS: &[(&str, &str)] = &[
    (
        "h.0.attn.c_attn.weight",
        "(. (. (. (. h 0) attn) c_attn) weight)",
    ),
    ("h.0.1 + .5", "(+ (. (. h 0) 1) 0.5)"),
    ("f(x).0[1].2", "(. (index (. (call f x) 0) 1) 2)"),
    ("conv.3x3.weight", "(. (. conv 3x3) weight)"),
    ("x.if", "(. x if)"),
    ("true and false", "(and True False)"),
    ("a\n  + b  # the bias\n", "(+ a b)"),
    ("a \\\n + b", "(+ a b)"),
    ("µ\u{a0}* σ_1", "(* µ σ_1)"),
    ("'a' + \"\"", "(+ \"a\" \"\")"),
];

#[test]
fn forms_read_as_in_python() {
    for (text, expected) in FORMS.iter().chain(OWN_FORMS) {
        let tree = parsed(text);
        assert_eq!(dump(&tree, tree.root()), *expected, "{text}");
    }
}

#[test]
fn rendering_uses_the_fewest_parentheses() {
    let cases = [
        ("((a)+(b))*(c*(d))", "(a + b) * (c * d)"),
        ("(a@b)@c", "a @ b @ c"),
        ("(A @ (B @ C))", "A @ (B @ C)"),
        ("(-a)**(-b)", "(-a) ** -b"),
        ("(a**b)**(c**d)", "(a ** b) ** c ** d"),
        ("-(a**b)", "-a ** b"),
        ("(-a)*(-(b*c))", "-a * -(b * c)"),
        ("(not a)==b", "(not a) == b"),
        ("not (a==b)", "not a == b"),
        ("(a<b)==(c<d)", "(a < b) == (c < d)"),
        ("(a if b else c)+d", "(a if b else c) + d"),
        ("a if b else (c if d else e)", "a if b else c if d else e"),
        ("(a if b else c) if d else e", "(a if b else c) if d else e"),
        (
            "f((a,b),(c),k=(d if e else f))",
            "f((a, b), c, k=d if e else f)",
        ),
        ("x[(a):(b)+1,...,::2,]", "x[a:b + 1, ..., ::2]"),
        ("(1).real+(x).T+(a+b).T", "(1).real + x.T + (a + b).T"),
        ("(x)[0](y)", "x[0](y)"),
        (r#"f("a'b",'c"d','\'"\n')"#, r#"f("a'b", 'c"d', '\'"\n')"#),
        ("(a,)", "(a,)"),
        ("600_000 * 1e-05", "600000 * 1e-5"),
    ];
    for (text, expected) in cases {
        assert_eq!(parsed(text).to_string(), expected, "{text}");
    }
}

#[test]
fn a_better_order_is_built_and_written() {
    let mut tree = parsed("A @ B @ C + bias");
    let named = |name: &str| {
        let is = |kind: &NodeKind| matches!(kind, NodeKind::Name(it) if it == name);
        tree.iter().find(|(_, node)| is(&node.kind)).unwrap().0
    };
    let (a, b, c) = (named("A"), named("B"), named("C"));
    let operator = BinaryOperator::MatrixMultiply;
    let nowhere = Span::default();
    let binary = |left, right| NodeKind::Binary {
        operator,
        left,
        right,
    };
    let right = tree.push(binary(b, c), nowhere);
    let whole = tree.push(binary(a, right), nowhere);
    assert_eq!(tree.display(whole).to_string(), "A @ (B @ C)");
    assert_eq!(tree.root(), whole);

    // Values that no text has.
    let negative = tree.push(NodeKind::Integer(-2), nowhere);
    let infinite = tree.push(NodeKind::Real(f64::NEG_INFINITY), nowhere);
    let power = tree.push(
        NodeKind::Binary {
            operator: BinaryOperator::Power,
            left: negative,
            right: infinite,
        },
        nowhere,
    );
    let sign = tree.push(
        NodeKind::Unary {
            operator: UnaryOperator::Not,
            operand: power,
        },
        nowhere,
    );
    assert_eq!(tree.display(sign).to_string(), "not (-2) ** -inf");
}

#[test]
fn spans_cover_what_was_written() {
    let text = "f(((a + b)) * -c.T, k=[1, (2,)])[i:, 0] if (p) else q";
    let tree = parsed(text);
    let mut lines = Vec::new();
    for node in tree.nodes() {
        let [span, outer, token] = [node.span, node.outer, node.token].map(|it| &text[it.range()]);
        let mut line = span.to_owned();
        if outer != span {
            line += &format!("   outer {outer}");
        }
        if token != span {
            line += &format!("   token {token}");
        }
        lines.push(line);
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    f
    a
    b
    a + b   outer ((a + b))   token +
    c
    c.T   token T
    -c.T   token -
    ((a + b)) * -c.T   token *
    1
    2
    (2,)
    [1, (2,)]
    f(((a + b)) * -c.T, k=[1, (2,)])   token (
    i
    i:   token :
    0
    f(((a + b)) * -c.T, k=[1, (2,)])[i:, 0]   token [
    p   outer (p)
    q
    f(((a + b)) * -c.T, k=[1, (2,)])[i:, 0] if (p) else q   token if
    "#);
}

#[test]
fn spans_go_through_the_callers_map() {
    // A TOML string "a \"\u0040\" b" and the like: each byte of the text stands at twice its
    // offset, in another file.
    let file = FileId(7);
    let map = |range: std::ops::Range<usize>| Span::new(file, 2 * range.start, 2 * range.end);
    let tree = parse("x + (y)", &map).unwrap();
    let node = tree.node(tree.root());
    assert_eq!((node.span, node.token), (map(0..7), map(2..3)));
    let errors = parse("x +", &map).unwrap_err();
    assert_eq!(errors[0].span, map(2..3));
}

#[test]
fn names_are_dotted_only_where_nothing_else_is_in_them() {
    let dotted = |text: &str| {
        let tree = parsed(text);
        tree.dotted_name(tree.root()).map(String::from)
    };
    assert_eq!(dotted("h.0.attn").as_deref(), Some("h.0.attn"));
    assert_eq!(dotted("x").as_deref(), Some("x"));
    assert_eq!(dotted("f(x).T"), None);
    assert_eq!(dotted("x[0].T"), None);
    assert_eq!(dotted("1"), None);
}
