//! Documents, errors and the way back to the source.

mod differential;
mod merging;

use std::fmt::Write;

use super::*;

mod support {
    use super::*;

    pub(super) fn parse(text: &str) -> (Document, Vec<SyntaxError>) {
        Document::parse(&Arc::from(text), FileId(0))
    }

    pub(super) fn parse_valid(text: &str) -> Document {
        let (document, errors) = parse(text);
        assert_eq!(errors, [], "{text}");
        document
    }

    /// The tree in one line per value, with the text under its span.
    pub(super) fn show(document: &Document) -> String {
        fn walk(node: NodeRef<'_>, path: &str, out: &mut String) {
            let text = node.document().source_text(node.span()).replace('\n', "⏎");
            match node.value() {
                ValueRef::Table(table) => {
                    writeln!(out, "{path}: table `{text}`").unwrap();
                    for entry in table.entries() {
                        walk(entry.value(), &format!("{path}.{}", entry.key()), out);
                    }
                }
                ValueRef::Array(array) => {
                    writeln!(out, "{path}: array `{text}`").unwrap();
                    for (index, element) in array.iter().enumerate() {
                        walk(element, &format!("{path}[{index}]"), out);
                    }
                }
                ValueRef::String(string) => {
                    writeln!(out, "{path}: {string:?} `{text}`").unwrap();
                }
                _ => writeln!(out, "{path}: {} `{text}`", node.kind_name()).unwrap(),
            }
        }
        let mut out = String::new();
        for entry in document.root().entries() {
            walk(entry.value(), entry.key(), &mut out);
        }
        out
    }

    /// The errors of a text, each with what stands at its places.
    pub(super) fn show_errors(text: &str) -> String {
        show_error_list(&parse(text).1, |_| text.to_owned())
    }

    /// The errors, each with what stands at its places; `text_of` gives the text of a span's file.
    pub(super) fn show_error_list(
        errors: &[SyntaxError],
        text_of: impl Fn(Span) -> String,
    ) -> String {
        let at = |span: Span| {
            let text = text_of(span);
            let line = text[..span.range().start].matches('\n').count() + 1;
            let shown = text[span.range()].replace('\n', "⏎").replace('\u{7f}', "␡");
            let file = match span.file.0 {
                0 => String::new(),
                file => format!("file {file} "),
            };
            format!("{file}line {line} `{shown}`")
        };
        let mut out = String::new();
        for error in errors {
            writeln!(out, "{}: {}", at(error.span), error.message).unwrap();
            for label in &error.related {
                writeln!(out, "  {}: {}", at(label.span), label.text).unwrap();
            }
            if let Some(help) = &error.help {
                writeln!(out, "  help: {help}").unwrap();
            }
        }
        out
    }
}

use support::*;

#[test]
fn tables_keep_their_order_and_spans() {
    let document = parse_valid(
        "z = 1 # last\na.b = 'x'\n[t.u]\nk = [1, { p = true }]\n[t]\nl = 1979-05-27 07:32:00\n\
         [[q]]\n[[q.r]]\ns = -1.5\n[[q]]\n",
    );
    insta::assert_snapshot!(show(&document), @r#"
        z: integer `1`
        a: table `a`
        a.b: "x" `'x'`
        t: table `[t]`
        t.u: table `[t.u]`
        t.u.k: array `[1, { p = true }]`
        t.u.k[0]: integer `1`
        t.u.k[1]: table `{ p = true }`
        t.u.k[1].p: boolean `true`
        t.l: datetime `1979-05-27 07:32:00`
        q: array `[[q]]`
        q[0]: table `[[q]]`
        q[0].r: array `[[q.r]]`
        q[0].r[0]: table `[[q.r]]`
        q[0].r[0].s: float `-1.5`
        q[1]: table `[[q]]`
        "#);
    let root = document.root();
    assert_eq!(root.get("z").and_then(NodeRef::as_integer), Some(1));
    assert_eq!(document.comments().len(), 1);
    assert_eq!(document.source_text(document.comments()[0]), "# last");
    let key = root.get("t").unwrap().as_table().unwrap().key_span("u");
    assert_eq!(document.source_text(key.unwrap()), "u");
}

#[test]
fn decoded_strings_lead_back_to_their_source() {
    let text = "a = \"x @ \\u0057\\t + b\"\nb = \"\"\"\nx \\\n   @ w\"\"\"\nc = '''\nraw\\'''\n";
    let document = parse_valid(text);
    let place = |key: &str, part: &str| {
        let node = document.root().get(key).unwrap();
        let start = node.as_str().unwrap().find(part).unwrap();
        let span = node.string_position(start..start + part.len());
        document.source_text(span)
    };
    assert_eq!(place("a", "@"), "@");
    assert_eq!(place("a", "W"), "\\u0057");
    assert_eq!(place("a", "\t +"), "\\t +");
    assert_eq!(place("a", "@ W"), "@ \\u0057");
    assert_eq!(place("a", " + b"), " + b");
    assert_eq!(place("b", "@ w"), "@ w");
    assert_eq!(place("b", "x @"), "x \\\n   @");
    assert_eq!(place("c", "raw\\"), "raw\\");
    let node = document.root().get("a").unwrap();
    let end = node.as_str().unwrap().len();
    let span = node.string_position(end..end);
    assert_eq!(&text[span.range().start..][..2], "\"\n");
}

#[test]
fn values_that_are_wrong() {
    let check = show_errors;
    insta::assert_snapshot!(check("a = float32\nb = True\nc = None\nd = 0x1G\ne = 1__0\n"), @r#"
        line 1 `float32`: `float32` is not a value
          help: a string goes into quotes: `"float32"`
        line 2 `True`: `True` is not a value
          help: write it in lower case: `true`
        line 3 `None`: `None` is not a value
          help: TOML has no null: leave the key out
        line 4 `0x1G`: `0x1G` is not a value: invalid hexadecimal number
        line 5 `_`: `1__0` is not a value: `_` may only go between digits
        "#);
    insta::assert_snapshot!(check("a = 9223372036854775808\nb = 1e999\nc = 2026-02-31\n"), @"
        line 1 `9223372036854775808`: the integer 9223372036854775808 is out of range
          help: integers lie between -2^63 and 2^63 - 1; write a float such as 1e20
        line 2 `1e999`: the float 1e999 is out of range
          help: floats have 64 bits and reach 1.8e308; infinity is `inf`
        line 3 `2026-02-31`: `2026-02-31` is not a date or time: invalid date, expected day between 01 and 28
          help: a date is written 2026-01-31, a string goes into quotes
        ");
    insta::assert_snapshot!(check("a = \"x\nb = 'y\nc = \"\\w\"\nd = \"\\uD800\"\n"), @r#"
        line 1 `"x`: this string is never closed
          help: end it with `"`
        line 2 `'y`: this string is never closed
          help: end it with `'`
        line 3 `\w`: `\w` is not an escape sequence
          help: write `\\` for a backslash, or put the string into single quotes
        line 4 `\uD800`: `\uD800` is not a Unicode character
          help: write `\u` and 4 or `\U` and 8 hexadecimal digits
        "#);
    insta::assert_snapshot!(check("a =\nb = = 1\nc\nd 1\nlr: 3\nµ = 1\n= 2\n.a = 1\n"), @"
        line 1 ``: expected a value, found the end of the line
        line 2 `=`: there is one `=` too many
          help: remove it
        line 3 `c`: the key `c` has no value
          help: write `c = …`
        line 4 `1`: expected `=` after the key `d`, found `1`
          help: write `d = …`
        line 5 `:`: TOML writes `=` between a key and its value, not `:`
          help: write `lr = …`
        line 6 `µ`: `µ` is not a key
          help: a key without quotes holds only letters a to z, digits, `_` and `-`; put others into quotes
        line 7 `=`: expected a key, found `=`
        line 8 `.`: expected a key, found `.`
        ");
    insta::assert_snapshot!(check("a = 1 b = 2\nc = ]\nd = [1 2, 3]\ne = [1,,2]\nf = \"a\"b\"\n"), @r#"
        line 1 `1 b`: `1 b` is not a value: it is no number and no date
          help: a string goes into quotes, and a comma between two values
        line 2 `]`: expected a value, found `]`
        line 3 `1 2`: `1 2` is not a value: it is no number and no date
          help: a string goes into quotes, and a comma between two values
        line 4 `,`: expected an element of the array, found `,`
        line 5 `b"`: expected the end of the line, found `b"`
          help: the string ends before it; to have a quote in a string, write `\"`
        "#);
    insta::assert_snapshot!(check("[a\nx = 1\n[[b]\ny = 1\n[]\n[c] d = 1\n[d.]\n"), @"
        line 1 `[a`: this table header is never closed
          help: end it with `]`
        line 3 `[[b]`: this table header is never closed
          help: end it with `]]`
        line 5 `]`: expected a key, found `]`
        line 6 `d`: expected the end of the line, found `d`
          help: write each `key = value` on a line of its own
        line 7 `]`: expected a key, found `]`
        ");
    insta::assert_snapshot!(check("a = { x = 1 y = 2 }\nb = { x }\nc = { , }\nd = { x = }\n"), @"
        line 1 `1 y`: `1 y` is not a value: it is no number and no date
          help: a string goes into quotes, and a comma between two values
        line 2 `}`: the last key has no value
          help: write `key = value`
        line 3 `,`: expected a key, found `,`
        line 4 `}`: the last key has no value
          help: write `key = value`
        ");
    insta::assert_snapshot!(check("a = 1\rb = 2 # \u{7f}\n"), @"
        line 1 ``: a carriage return stands alone
          help: end lines with a line feed, or a carriage return and a line feed
        line 1 `␡`: a control character stands in a comment
          help: remove it
        ");
}

#[test]
fn what_is_defined_twice() {
    let check = show_errors;
    insta::assert_snapshot!(check("a = 1\na = 2\n[b]\n[b]\nc = { x = 1, x = 2 }\n"), @"
        line 2 `a`: `a` is set twice
          line 1 `a`: first set here
          help: keep one of the two
        line 4 `b`: the table `b` is defined twice
          line 3 `b`: first defined here
          help: write all its keys in one place
        line 5 `x`: `x` is set twice
          line 5 `x`: first set here
          help: keep one of the two
        ");
    insta::assert_snapshot!(check("a = 1\na.b = 2\nc = { d = 1 }\nc.e = 2\n[c.f]\n[a.g]\n"), @"
        line 2 `a`: `a` is an integer, so no key can be set in it
          line 1 `a`: an integer here
        line 4 `c`: `c` is an inline table, and nothing can be added to one
          line 3 `c`: the inline table
          help: write the key inside its braces
        line 5 `c`: `c` is an inline table, and nothing can be added to one
          line 3 `c`: the inline table
          help: write the key inside its braces
        line 6 `a`: `a` is an integer, so no key can be set in it
          line 1 `a`: an integer here
        ");
    insta::assert_snapshot!(check("[[a]]\n[a]\n[b]\n[[b]]\nc = [1]\n[[b.c]]\n"), @"
        line 2 `a`: `a` is an array of tables, and `[a]` defines a table
          line 1 `a`: an array of tables here
          help: write `[[a]]` in both places
        line 4 `b`: `[[b]]` adds to an array of tables, but `b` is a table
          line 3 `b`: a table here
          help: write `[[b]]` in both places
        ");
    insta::assert_snapshot!(check("[a.b]\nx = 1\n[a]\nb.y = 2\n"), @"
        line 4 `b`: `b` is defined elsewhere, and a dotted key cannot add to it
          line 1 `[a.b]`: defined here
          help: write the key where the table is defined
        ");
}

/// One bracket or quote without its partner used to drown the file in errors.
#[test]
fn what_is_never_closed_costs_one_error() {
    let check = |text: &str| {
        let (document, _) = parse(text);
        format!("{}---\n{}", show_errors(text), show(&document))
    };
    insta::assert_snapshot!(check("a = [1, 2\nb = 3\n[t]\nc = 4\n"), @"
        line 1 `[`: this array is never closed
          line 2 `b = 3`: something new begins here
          help: end it with `]`
        ---
        a: array `[1, 2⏎`
        a[0]: integer `1`
        a[1]: integer `2`
        b: integer `3`
        t: table `[t]`
        t.c: integer `4`
        ");
    insta::assert_snapshot!(check("a = [1, 2,\n[t]\nc = 4\n[[t.u]]\n"), @"
        line 1 `[`: this array is never closed
          line 2 `[t]`: something new begins here
          help: end it with `]`
        ---
        a: array `[1, 2,⏎`
        a[0]: integer `1`
        a[1]: integer `2`
        t: table `[t]`
        t.c: integer `4`
        t.u: array `[[t.u]]`
        t.u[0]: table `[[t.u]]`
        ");
    insta::assert_snapshot!(check("a = { x = 1, y = \"z\"\nb = 3\n[t]\nc = 4\n"), @r#"
        line 1 `{`: this inline table is never closed
          line 2 `b = 3`: something new begins here
          help: end it with `}`
        ---
        a: table `{ x = 1, y = "z"⏎`
        a.x: integer `1`
        a.y: "z" `"z"`
        b: integer `3`
        t: table `[t]`
        t.c: integer `4`
        "#);
    insta::assert_snapshot!(
        check("layers = [\n  { name = \"up\", bias = true,\n  { name = \"act\" },\n]\n[t]\nc = 4\n"),
        @r#"
        line 2 `{`: this inline table is never closed
          line 3 `{`: another table begins here
          help: end it with `}`
        ---
        layers: array `[⏎  { name = "up", bias = true,⏎  { name = "act" },⏎]`
        layers[0]: table `{ name = "up", bias = true,⏎  `
        layers[0].name: "up" `"up"`
        layers[0].bias: boolean `true`
        layers[1]: table `{ name = "act" }`
        layers[1].name: "act" `"act"`
        t: table `[t]`
        t.c: integer `4`
        "#
    );
    insta::assert_snapshot!(check("a = { name = \"x, op = \"y\" }\nb = 3\n[t]\nc = 4\n"), @r#"
        line 1 `y"`: expected a comma, found `y"`
          help: the string ends before it; is one of its quotes missing?
        ---
        a: table `{ name = "x, op = "y" }`
        a.name: "x, op = " `"x, op = "`
        b: integer `3`
        t: table `[t]`
        t.c: integer `4`
        "#);
    insta::assert_snapshot!(check("a = \"\"\"x\nb = 3\n[t]\nc = 4\n"), @r#"
        line 1 `"""`: this multi-line string is never closed
          help: end it with `"""`
        ---
        a: "x\nb = 3\n[t]\nc = 4\n" `"""x⏎b = 3⏎[t]⏎c = 4⏎`
        t: table `[t]`
        t.c: integer `4`
        "#);
    insta::assert_snapshot!(check("a = [1, { b = [2 } ]\nc = 4\n"), @"
        line 1 `[`: this array is never closed
          line 1 `}`: `}` closes what is around it
          help: end it with `]`
        ---
        a: array `[1, { b = [2 } ]`
        a[0]: integer `1`
        a[1]: table `{ b = [2 }`
        a[1].b: array `[2 `
        a[1].b[0]: integer `2`
        c: integer `4`
        ");
    insta::assert_snapshot!(check("a = [[1, 2]"), @"
        line 1 `[`: this array is never closed
          help: end it with `]`
        ---
        a: array `[[1, 2]`
        a[0]: array `[1, 2]`
        a[0][0]: integer `1`
        a[0][1]: integer `2`
        ");
}
