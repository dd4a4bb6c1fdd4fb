//! Properties over generated texts: reading and writing are inverse, and nothing hostile panics.

use proptest::prelude::*;

use super::super::{Expression, NodeKind, UnaryOperator};
use super::{dump, parsed, read};
use crate::formula::BinaryOperator;

/// A random expression with every sub-expression in parentheses, so that every tree comes up.
fn grouped() -> impl Strategy<Value = String> {
    let atom = prop_oneof![
        "[a-z_][a-z0-9_]{0,3}".prop_filter("a keyword", |name| {
            !["if", "else", "and", "or", "not"].contains(&name.as_str())
        }),
        any::<u32>().prop_map(|value| value.to_string()),
        (0.0f64..1e30).prop_map(|value| format!("{value:?}")),
        any::<f64>()
            .prop_filter("finite", |value| value.is_finite())
            .prop_map(|value| format!("{:?}", value.abs())),
        "'[ -&(-Z^-~é]{0,5}'",
        Just("True".to_owned()),
        Just("None".to_owned()),
        Just("...".to_owned()),
    ];
    let binary = prop::sample::select(BinaryOperator::ALL.to_vec());
    let unary = prop::sample::select(vec!["-", "+", "~", "not "]);
    atom.prop_recursive(6, 48, 4, move |inner| {
        let list = prop::collection::vec(inner.clone(), 0..4);
        let part = prop::option::of(inner.clone()).prop_map(Option::unwrap_or_default);
        let index = prop_oneof![
            inner.clone(),
            (part.clone(), part.clone()).prop_map(|(a, b)| format!("{a}:{b}")),
            (part.clone(), part.clone(), part).prop_map(|(a, b, c)| format!("{a}:{b}:{c}")),
        ];
        let indices = prop::collection::vec(index, 1..3);
        prop_oneof![
            4 => (inner.clone(), binary.clone(), inner.clone())
                .prop_map(|(a, operator, b)| format!("(({a}) {} ({b}))", operator.symbol())),
            2 => (unary.clone(), inner.clone()).prop_map(|(u, a)| format!("({u}({a}))")),
            1 => (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("(({a}) if ({b}) else ({c}))")),
            1 => (inner.clone(), "[a-zA-Z_][a-z0-9_]{0,3}|[0-9]{1,2}")
                .prop_map(|(a, name)| format!("({a}).{name}")),
            1 => (grouped_object(), list.clone(), prop::option::of(inner))
                .prop_map(|(function, arguments, named)| {
                    let named = named.map_or(String::new(), |value| format!("key=({value})"));
                    let comma = if arguments.is_empty() { "" } else { ", " };
                    format!("({function})({}{comma}{named})", arguments.join(", "))
                }),
            1 => (grouped_object(), indices)
                .prop_map(|(a, indices)| format!("({a})[{}]", indices.join(", "))),
            1 => list.clone().prop_map(|items| format!("[{}]", items.join(", "))),
            1 => list.prop_map(|items| match items.len() {
                1 => format!("({},)", items[0]),
                _ => format!("({})", items.join(", ")),
            }),
        ]
    })
}

/// What can be called and indexed, which numbers cannot.
fn grouped_object() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "x", "-x", "x + y", "x.T", "x(y)", "x[0]", "[x]", "None",
    ])
    .prop_map(str::to_owned)
}

/// Formulas that are almost right.
fn token_soup() -> impl Strategy<Value = String> {
    let tokens = prop::sample::select(vec![
        "a", "x", "1", "2.5", ".5", "0", "'s'", "\"", "'", "(", ")", "[", "]", "{", "}", ",", ":",
        ".", "...", "=", "==", "<", "+", "-", "*", "**", "/", "//", "@", "%", "&", "|", "^", "~",
        "not", "and", "or", "if", "else", "True", "None", "lambda", "\\", "#", "\n", " ", "é", "“",
        "”", "²", "1e", "0x", "_", "!", "->", "$",
    ]);
    prop::collection::vec((tokens, prop::sample::select(vec!["", " "])), 0..40)
        .prop_map(|parts| parts.into_iter().flat_map(|(a, b)| [a, b]).collect())
}

/// A good formula with a few bytes replaced, removed or doubled.
fn mutated() -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), 0..3, any::<char>());
    (grouped(), prop::collection::vec(change, 1..4)).prop_map(|(text, changes)| {
        let mut characters: Vec<char> = text.chars().collect();
        for (place, kind, c) in changes {
            let place = place.index(characters.len());
            match kind {
                0 => characters[place] = c,
                1 if characters.len() > 1 => drop(characters.remove(place)),
                _ => characters.insert(place, characters[place]),
            }
        }
        characters.into_iter().collect()
    })
}

/// Reads a text and holds what was read, tree or errors, against what is promised of it.
fn survives(text: &str) {
    let inside = |span: crate::source::Span| {
        assert!(text.get(span.range()).is_some(), "{span:?} in {text:?}");
    };
    match read(text) {
        Ok(tree) => {
            for (id, node) in tree.iter() {
                [node.span, node.outer, node.token]
                    .into_iter()
                    .for_each(inside);
                tree.for_each_child(id, |child| {
                    assert!(child < id, "children come first");
                    let outer = tree.node(child).outer;
                    assert!(node.span.start <= outer.start && outer.end <= node.span.end);
                });
            }
            let again = parsed(&tree.to_string());
            assert!(again.same(again.root(), &tree, tree.root()), "{text:?}");
        }
        Err(errors) => {
            assert!((1..=16).contains(&errors.len()));
            let mut last = 0;
            for error in errors {
                inside(error.span);
                error.related.iter().for_each(|(span, _)| inside(*span));
                assert!(
                    last <= error.span.start,
                    "errors come in the order of the text"
                );
                last = error.span.start;
                assert!(!error.message.is_empty() && !error.message.contains('\n'));
            }
        }
    }
}

fn same(a: &Expression, b: &Expression) -> bool {
    a.same(a.root(), b, b.root())
}

proptest! {
    #[test]
    fn rendered_text_reads_as_the_same_tree(text in grouped()) {
        let tree = parsed(&text);
        let rendered = tree.to_string();
        let again = parsed(&rendered);
        prop_assert!(same(&tree, &again), "{} became {}", text, rendered);
        prop_assert_eq!(dump(&tree, tree.root()), dump(&again, again.root()));
        prop_assert_eq!(again.to_string(), rendered);
    }

    /// No pair of parentheses that rendering writes could be left out.
    #[test]
    fn no_rendered_parentheses_are_needless(text in grouped()) {
        let rendered = parsed(&text).to_string();
        let tree = parsed(&rendered);
        for node in tree.nodes().iter().filter(|node| node.outer != node.span) {
            let (outer, inner) = (node.outer.range(), node.span.range());
            let without = [
                &rendered[..outer.start],
                // Blanks, lest two tokens become one.
                " ",
                &rendered[inner],
                " ",
                &rendered[outer.end..],
            ]
            .concat();
            // A number before a dot would read without them, behind a blank that nobody expects;
            // and `..` before `.5`.
            let number = matches!(
                node.kind,
                NodeKind::Integer(_) | NodeKind::Real(_) | NodeKind::Ellipsis
            );
            if !number {
                let differs = read(&without).map_or(true, |other| !same(&tree, &other));
                prop_assert!(differs, "{} needs none of its parentheses", rendered);
            }
        }
    }

    /// Two trees are the same exactly if their dumps are.
    #[test]
    fn sameness_is_that_of_the_dumps(a in grouped(), b in grouped()) {
        let (a, b) = (parsed(&a), parsed(&b));
        let dumps_equal = dump(&a, a.root()) == dump(&b, b.root());
        prop_assert_eq!(same(&a, &b), dumps_equal);
        prop_assert!(same(&a, &a));
    }

    #[test]
    fn almost_formulas_survive(text in token_soup()) {
        survives(&text);
    }

    #[test]
    fn mutated_formulas_survive(text in mutated()) {
        survives(&text);
    }

    #[test]
    fn any_text_survives(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn any_bytes_survive(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn deep_and_long_texts_survive() {
    for piece in [
        "(", "[", ")", "f(", "x[", "- ", "not ", "x.", "x**", "x if ", "(((x)", "x+", "'",
    ] {
        survives(&piece.repeat(30_000));
        survives(&piece.repeat(100_000));
        survives(&(piece.repeat(5_000) + "x" + &")".repeat(5_000)));
    }
    survives(&"é".repeat(500_000));
    survives(&"a".repeat(1_000_000));
}

#[test]
fn a_sign_is_no_part_of_a_number() {
    let tree = parsed("-9223372036854775807 - 1");
    let sign = |kind: &NodeKind| matches!(kind, NodeKind::Unary { operator, .. } if *operator == UnaryOperator::Negative);
    assert!(tree.nodes().iter().any(|node| sign(&node.kind)));
    assert_eq!(tree.to_string(), "-9223372036854775807 - 1");
}
