//! The tree against the `toml` crate: the same documents are valid and mean the same; and no text
//! makes the parser panic, hang or point outside the text.

use proptest::prelude::*;

use super::support::parse;
use super::*;

fn to_toml(node: NodeRef<'_>) -> toml::Value {
    match node.value() {
        ValueRef::String(string) => toml::Value::String(string.to_owned()),
        ValueRef::Integer(integer) => toml::Value::Integer(integer),
        ValueRef::Float(float) => toml::Value::Float(float),
        ValueRef::Boolean(boolean) => toml::Value::Boolean(boolean),
        ValueRef::Datetime(text) => toml::Value::Datetime(text.parse().unwrap()),
        ValueRef::Array(array) => toml::Value::Array(array.iter().map(to_toml).collect()),
        ValueRef::Table(table) => toml::Value::Table(table_to_toml(table)),
    }
}

pub(super) fn table_to_toml(table: TableRef<'_>) -> toml::Table {
    let entries = table.entries();
    let converted: toml::Table = entries
        .map(|entry| (entry.key().to_owned(), to_toml(entry.value())))
        .collect();
    assert_eq!(converted.len(), table.len(), "a key is in a table twice");
    for entry in table.entries() {
        let found = table.get(entry.key()).unwrap();
        assert_eq!(
            found.span(),
            entry.value().span(),
            "the look-up finds another value"
        );
    }
    converted
}

/// Debug text, so that NaN equals NaN.
pub(super) fn shown(table: &toml::Table) -> String {
    format!("{table:?}")
}

#[track_caller]
fn check(text: &str) {
    let (document, errors) = parse(text);
    match toml::from_str::<toml::Table>(text) {
        Ok(expected) => {
            assert_eq!(errors, [], "refused, but it is valid:\n{text}");
            let actual = table_to_toml(document.root());
            assert_eq!(shown(&actual), shown(&expected), "{text}");
        }
        Err(error) => {
            assert!(!errors.is_empty(), "accepted, but {error}:\n{text}");
            // What was saved from a broken document is a tree, too.
            table_to_toml(document.root());
        }
    }
    let spans = errors.iter().flat_map(|error| {
        let related = error.related.iter().map(|label| label.span);
        std::iter::once(error.span).chain(related)
    });
    for span in spans.chain(document.comments().iter().copied()) {
        assert!(
            text.get(span.range()).is_some(),
            "{span:?} is no range of the text:\n{text}"
        );
    }
}

fn key() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        8 => Just("a"),
        6 => Just("b"),
        3 => Just("c"),
        1 => Just("\"a\""),
        1 => Just("'b'"),
        1 => Just("\"\\u0061\""),
        1 => Just("\"\""),
        1 => Just("1"),
    ];
    let dot = prop_oneof![4 => Just("."), 1 => Just(" . "), 1 => Just(".\t")];
    (part.clone(), prop::collection::vec((dot, part), 0..3)).prop_map(|(first, rest)| {
        rest.iter()
            .fold(first.to_owned(), |key, (dot, part)| key + dot + part)
    })
}

fn scalar() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "0",
        "-0",
        "+1",
        "1_000",
        "00",
        "1__0",
        "_1",
        "0x1F",
        "0xfg",
        "-0x1",
        "0o17",
        "0b101",
        "0d1",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "123456789012345678",
        "1234567890123456789",
        "-123456789012345678",
        "1.5",
        "-1e5",
        "1E+3",
        "1.",
        ".5",
        "1e",
        "1_0.0_1",
        "6.62e-3_4",
        "1e999",
        "-1e999",
        "inf",
        "-inf",
        "+nan",
        "nan",
        "infinity",
        "True",
        "true",
        "false",
        "truefalse",
        "t",
        "None",
        "1979-05-27",
        "1979-05-27T07:32:00Z",
        "1979-05-27 07:32:00.5-01:00",
        "07:32:00",
        "07:32",
        "1979-05-27  07:32:00",
        "1979-05-27\t07:32:00",
        "2021-02-29",
        "1 2",
        "1\t2",
        "x",
        "--1",
        "\"\"",
        "''",
        "\"x\"",
        "'x'",
        "\"\\n\\t\\\\\\\"\"",
        "\"\\u00e9\\U0001F600\"",
        "\"\\x41\\e\"",
        "\"\\ud800\"",
        "\"\\u12\"",
        "\"\\q\"",
        "\"x",
        "'x",
        "\"é\"",
        "'a\"b'",
        "\"a'b\"",
        "\"\t\"",
        "\"\u{1}\"",
        "'\u{7f}'",
        "\"\"\"\"\"\"",
        "''''''",
        "\"\"\"\nx\"\"\"",
        "'''\r\nx\r\ny'''",
        "\"\"\"a\\\n   b\"\"\"",
        "\"\"\"a\\  \r\n \n b\\t\\\n\"\"\"",
        "\"\"\"a\"\"b\"\"\"\"\"",
        "'''a''b'''''",
        "\"\"\"\\\"\"\"\"",
        "\"\"\"a\rb\"\"\"",
        "'''a\rb'''",
        "\"\"\"x",
        "'''x",
        "\"\"\"a\\ b\"\"\"",
        "\"\"\"\r\n\r\n\\u0041\r\n\"\"\"",
        "\"\\",
        "\"\\\"",
    ]);
    prop_oneof![3 => fixed.prop_map(str::to_owned), 2 => any::<i64>().prop_map(|n| n.to_string()),
        2 => any::<f64>().prop_map(|x| format!("{x:?}"))]
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        12 => Just(""),
        6 => Just(" "),
        1 => Just("\t"),
        1 => Just("\n"),
        1 => Just("\r\n"),
        1 => Just(" # c\n"),
    ]
}

fn value() -> impl Strategy<Value = String> {
    let plain = prop_oneof![5 => Just("1".to_owned()), 1 => Just("'s'".to_owned()), 1 => scalar()];
    plain.prop_recursive(3, 12, 4, |inner| {
        let comma = prop_oneof![10 => Just(","), 1 => Just(""), 1 => Just(",,")];
        let element = (space(), inner.clone(), space(), comma.clone())
            .prop_map(|(before, value, after, comma)| format!("{before}{value}{after}{comma}"));
        let entry = (space(), key(), space(), space(), inner, space(), comma).prop_map(
            |(a, key, b, c, value, d, comma)| format!("{a}{key}{b}={c}{value}{d}{comma}"),
        );
        let trimmed = |items: Vec<String>, trim: bool| {
            let all = items.concat();
            match all.strip_suffix(',') {
                Some(rest) if trim => rest.to_owned(),
                _ => all,
            }
        };
        prop_oneof![
            (prop::collection::vec(element, 0..4), space(), any::<bool>())
                .prop_map(move |(items, end, trim)| format!("[{}{end}]", trimmed(items, trim))),
            (prop::collection::vec(entry, 0..4), space(), any::<bool>())
                .prop_map(move |(items, end, trim)| format!("{{{}{end}}}", trimmed(items, trim))),
        ]
    })
}

fn statement() -> impl Strategy<Value = String> {
    let end =
        prop_oneof![8 => Just("\n"), 1 => Just("\r\n"), 1 => Just(" # é\n"), 1 => Just("\n\n")];
    let body = prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| format!("{key} = {value}")),
        4 => key().prop_map(|key| format!("[{key}]")),
        3 => key().prop_map(|key| format!("[[{key}]]")),
    ];
    (body, end).prop_map(|(body, end)| body + end)
}

pub(super) fn document(statements: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    prop::collection::vec(statement(), statements).prop_map(|all| all.concat())
}

/// A character that means something to the parser.
fn symbol() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "b",
        "1",
        "0",
        "-",
        "_",
        ".",
        "=",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        ",",
        "\n",
        "\r\n",
        "\r",
        " ",
        "\t",
        "\"",
        "'",
        "\"\"\"",
        "'''",
        "\\",
        "#",
        "é",
        "\u{0}",
        "true",
        "\u{feff}",
        "[a]\n",
        "a = 1\n",
        "[[a.b]]\n",
    ])
}

/// A piece of a basic string as it is written, and what it means.
fn string_piece() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop::sample::select(vec![
        ("x", "x"),
        (" @ ", " @ "),
        ("é𝛼", "é𝛼"),
        ("\\n", "\n"),
        ("\\u0041", "A"),
        ("\\U0001F600", "😀"),
        ("\\\\", "\\"),
        ("\\\"", "\""),
        ("\\x41", "A"),
        ("\\\n   z", "z"),
        ("y\n", "y\n"),
        ("y\r\n", "y\r\n"),
        ("\\t\\\n \n z", "\tz"),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Headers and keys over three letters: what may be defined where.
    #[test]
    fn definitions_agree_with_toml(text in document(0..7)) {
        check(&text);
    }

    #[test]
    fn scalars_agree_with_toml(value in scalar()) {
        check(&format!("a = {value}\n"));
        check(&format!("a = {value}"));
        check(&format!("a = [{value}, {value}]\n"));
        check(&format!("{value} = 1\n"));
    }

    #[test]
    fn broken_documents_agree_with_toml(
        text in document(1..6),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..3, symbol()), 1..4),
    ) {
        let mut text: Vec<String> = text.chars().map(String::from).collect();
        for (at, remove, insert) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + remove).min(text.len());
            text.splice(at..end, [insert.to_owned()]);
        }
        check(&text.concat());
    }

    #[test]
    fn symbols_agree_with_toml(symbols in prop::collection::vec(symbol(), 0..24)) {
        check(&symbols.concat());
    }

    /// Every decoded character leads back to what it was written as.
    #[test]
    fn positions_lead_back(pieces in prop::collection::vec(string_piece(), 0..12), multi in any::<bool>()) {
        let quotes = if multi { "\"\"\"" } else { "\"" };
        let pieces = pieces.into_iter().filter(|(source, _)| multi || !source.contains('\n'));
        let (source, expected): (Vec<&str>, Vec<&str>) = pieces.unzip();
        let text = format!("'' = 0\na = {quotes}{}{quotes}\nb = \"\\n\"\n", source.concat());
        let document = super::support::parse_valid(&text);
        let node = document.root().get("a").unwrap();
        let string = node.as_str().unwrap();
        prop_assert_eq!(string, expected.concat());
        let mut end_of_last = 0;
        for (at, c) in string.char_indices() {
            let span = node.string_position(at..at + c.len_utf8());
            let written = document.source_text(span);
            let escape = format!("a = \"{written}\"");
            prop_assert!(
                written.chars().eq([c]) || toml::from_str::<toml::Table>(&escape).unwrap()["a"]
                    .as_str().unwrap().chars().eq([c]),
                "{:?} was written {:?}", c, written
            );
            prop_assert!(end_of_last <= span.range().start);
            end_of_last = span.range().end;
        }
        let whole = node.string_position(0..string.len());
        prop_assert!(string.is_empty() || whole.range().end == end_of_last);
    }

    #[test]
    fn any_text_is_read(text in any::<String>()) {
        check(&text);
    }
}

/// Rules that chance finds too seldom.
#[test]
fn chosen_definitions_agree_with_toml() {
    for text in [
        "[[a.b]]\n[a]\nb.c = 1\n",
        "[[a.b]]\n[a.b.x.y]\n[a]\nb.x.z = 1\n",
        "[[a.b]]\n[a.b.x]\n[a]\nb.x.z = 1\n",
        "[[a]]\n[[a.b]]\n[a.b.c]\n[[a]]\n[[a.b]]\n[a.b.c]\n",
        "[a.b.c]\n[a]\nb.d = 1\n",
        "[a.b.c]\n[a]\nb.c.d = 1\n",
        "[a]\nb.c = 1\n[a.b]\n",
        "[a]\nb.c = 1\n[a.b.d]\n",
        "a.b = 1\n[a]\n",
        "a.b = 1\n[a.c]\n",
        "a = { b.c = 1, b.d = 2, b = 3 }\n",
        "a = { b = { c = 1 }, b.d = 2 }\n",
        "a = { b.c = [{}] }\n[[a.b.c]]\n",
        "a = [{}]\n[a.b]\n",
        "a = []\n[[a]]\n",
        "[a.b]\n[a]\n[a]\n",
        "[a]\n[a.b]\n[a.c]\n[a.b]\n",
        "\u{feff}a = 1\n",
        "\u{feff}\u{feff}a = 1\n",
        "a = {\n b\n =\n 1\n ,\n }\n",
        "a = { b # c\n . c = 1 }\n",
        "[ a . \"b\" ]\n[[ a.c ]] # x\n",
        "[ [a] ]\n",
        "[[a] ]\n",
        "\"\"\"a\"\"\" = 1\n",
        "'' = 1\n\"\" = 2\n",
        "a = 1 # no line feed",
        "a = 1\r",
        "# x\ry = 1\n",
    ] {
        check(text);
    }
}

/// Tables with many keys are looked up by a hash index.
#[test]
fn large_tables_agree_with_toml() {
    for keys in [15, 16, 17, 18, 40, 3000] {
        let mut text = String::new();
        for key in 0..keys {
            writeln!(text, "k{key} = {key}").unwrap();
        }
        check(&text);
        check(&format!("{text}k{} = 0\n", keys - 1));
        check(&format!("[t]\n{text}[t.s]\nx = 1\n[t.k3]\n"));
        check(&format!(
            "t = {{ {} }}",
            text.trim_end().replace('\n', ", ")
        ));
    }
}

#[test]
fn deep_nesting_is_refused_and_costs_no_stack() {
    let deep = |open: &str, inner: &str, close: &str, depth: usize| {
        format!(
            "a = {}{inner}{}\nb = 1\n",
            open.repeat(depth),
            close.repeat(depth)
        )
    };
    for (open, close) in [("[", "]"), ("{ x = ", " }"), ("[{ x = ", "}]")] {
        let text = deep(open, "1", close, 20_000);
        let (document, errors) = parse(&text);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].message, "this is nested deeper than 128 levels");
        assert!(document.root().get("b").is_some());
        // Unclosed, too.
        let (_, errors) = parse(&deep(open, "1", "", 20_000));
        assert_eq!(errors.len(), 1, "{errors:?}");
    }
    let (_, errors) = parse(&deep("[", "1", "]", 127));
    assert_eq!(errors, []);
    let dotted = vec!["a"; 129].join(".");
    for text in [
        format!("{dotted} = 1"),
        format!("[{dotted}]"),
        format!("x = {{ {dotted} = 1 }}"),
    ] {
        let (_, errors) = parse(&text);
        assert_eq!(errors[0].message, "this is nested deeper than 128 levels");
    }
}

/// Each of these was, or could be, quadratic.
#[test]
fn hostile_texts_take_linear_time() {
    let many = 100_000;
    for text in [
        "a = [\n".repeat(many),
        format!("a = [{}", "= ".repeat(many)),
        format!("a = [{}", "] ".repeat(many)),
        format!("a = {{{}", "{ ".repeat(many)),
        format!("a = [{}", "\n[b".repeat(many)),
        format!("a = {{{}", "\nb".repeat(many)),
        "a = \"\"\"\n[b]\n".repeat(many),
        "a = '''\n[b]\nc = \"\"\"\\\n[d]\n".repeat(many),
        "[a]\n".repeat(many),
        "[[a]]\n".repeat(many),
        format!("a = {}1", "-".repeat(many)),
        format!("a = {}", "1.".repeat(many)),
        format!("a = \"{}\"", "\\n".repeat(many)),
        "\"".repeat(many),
        "\r".repeat(many),
        ".".repeat(many),
    ] {
        let (_, errors) = parse(&text);
        assert!(errors.len() <= 100);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// The lexer gives the tokens of `toml_parser`.
    #[test]
    fn tokens_agree_with_toml_parser(symbols in prop::collection::vec(symbol(), 0..40)) {
        let text = symbols.concat();
        let mut lexer = lexer::Lexer::new(&text);
        for expected in toml_parser::Source::new(&text).lex() {
            let token = lexer.next();
            let span = toml_parser::Span::new_unchecked(token.start, token.end);
            prop_assert_eq!((token.kind, span), (expected.kind(), expected.span()), "{:?}", text);
        }
    }
}
