//! Overlays, variants and assignments.

use proptest::prelude::*;

use super::differential::{document, shown, table_to_toml};
use super::support::{show, show_error_list};
use super::*;

/// The tree of `base` with `overlays` laid over it in turn, and all errors.
fn merged(base: &str, overlays: &[&str]) -> String {
    let texts: Vec<Arc<str>> = std::iter::once(&base)
        .chain(overlays)
        .map(|&text| Arc::from(text))
        .collect();
    let (mut document, mut errors) = Document::parse(&texts[0], FileId(0));
    for (number, text) in texts.iter().enumerate().skip(1) {
        let file = FileId(number as u32);
        let (overlay, broken) = match text.contains('\n') {
            true => Document::parse(text, file),
            false => parse_assignment(text, file),
        };
        errors.extend(broken);
        errors.extend(document.merge(overlay));
    }
    let errors = show_error_list(&errors, |span| texts[span.file.0 as usize].to_string());
    format!("{}---\n{errors}", show(&document))
}

#[test]
fn tables_merge_and_the_rest_is_replaced() {
    insta::assert_snapshot!(
        merged(
            "a = 1\n[t]\nx = \"base\"\ny = [1, 2]\n[t.u]\nz = 1\n",
            &["b = \"\\u0041\"\n[t]\nx = \"o\\u0076er\"\ny = [3]\nu.w = { k = [4] }\n"],
        ),
        @r#"
        a: integer `1`
        t: table `[t]`
        t.x: "over" `"o\u0076er"`
        t.y: array `[3]`
        t.y[0]: integer `3`
        t.u: table `[t.u]`
        t.u.z: integer `1`
        t.u.w: table `{ k = [4] }`
        t.u.w.k: array `[4]`
        t.u.w.k[0]: integer `4`
        b: "A" `"\u0041"`
        ---
        "#
    );
    insta::assert_snapshot!(merged("t = \"adamw\"\n", &["t = { name = \"sgd\" }\n"]), @r#"
        t: table `{ name = "sgd" }`
        t.name: "sgd" `"sgd"`
        ---
        "#);
}

#[test]
fn what_does_not_fit_names_both_places() {
    insta::assert_snapshot!(
        merged("t = \"adamw\"\n[u]\nx = 1\n", &["[t]\nname = \"sgd\"\n[u]\nx.y = 2\nz = 3\n"]),
        @r#"
        t: "adamw" `"adamw"`
        u: table `[u]`
        u.x: integer `1`
        u.z: integer `3`
        ---
        file 1 line 1 `t`: `t` is a string, so no key can be set in it
          line 1 `t`: a string here
          help: to replace it by a table, write `t = { … }`
        file 1 line 4 `x`: `x` is an integer, so no key can be set in it
          line 3 `x`: an integer here
          help: to replace it by a table, write `x = { … }`
        "#
    );
}

#[test]
fn assignments_reach_into_arrays_of_tables() {
    let base = "[[layers]]\nname = \"fc\"\n[[layers]]\nname = [\"q\", \"k\"]\n[[layers]]\nname = \"fc2\"\n\
                op = \"linear\"\n[train]\nbetas = [0.9, 0.95]\n";
    insta::assert_snapshot!(
        merged(
            base,
            &[
                "layers.fc.bias=false",
                "layers.k.out_features=3 * width",
                "layers.2.op=conv2d",
                "train.betas.1=0.99",
                "train.lr = 1e-4",
                "train.checkpoint=[\"decoder\"]",
                "budget.\"peak memory\"=72 GiB",
            ],
        ),
        @r#"
        layers: array `[[layers]]`
        layers[0]: table `[[layers]]`
        layers[0].name: "fc" `"fc"`
        layers[0].bias: boolean `false`
        layers[1]: table `[[layers]]`
        layers[1].name: array `["q", "k"]`
        layers[1].name[0]: "q" `"q"`
        layers[1].name[1]: "k" `"k"`
        layers[1].out_features: "3 * width" `3 * width`
        layers[2]: table `[[layers]]`
        layers[2].name: "fc2" `"fc2"`
        layers[2].op: "conv2d" `conv2d`
        train: table `[train]`
        train.betas: array `[0.9, 0.95]`
        train.betas[0]: float `0.9`
        train.betas[1]: float `0.99`
        train.lr: float `1e-4`
        train.checkpoint: array `["decoder"]`
        train.checkpoint[0]: "decoder" `"decoder"`
        budget: table `budget`
        budget.peak memory: "72 GiB" `72 GiB`
        ---
        "#
    );
    insta::assert_snapshot!(
        merged(
            base,
            &[
                "layers.fcc.bias=false",
                "layers.3.bias=false",
                "train.betas.x=1",
                "train.betas.1.y=1",
                "train.lr=",
                "train.lr",
                "train.x=[1, 2",
                "train.x=\"a\" b",
                "=1",
                "lr:3",
            ],
        )
        .split_once("---\n").unwrap().1,
        @r#"
        file 1 line 1 `fcc`: `layers` has no entry named `fcc`
          help: did you mean `fc`?
        file 2 line 1 `3`: `layers` has 3 entries, numbered from 0; there is no 3
        file 3 line 1 `x`: `betas` has no entry named `x`
        file 4 line 1 `1`: `1` is a float, so no key can be set in it
          line 9 `0.95`: a float here
        file 5 line 1 `train.lr`: the assignment has no value
          help: an empty string is written `""`
        file 6 line 1 `lr`: the key `lr` has no value
          help: write `lr = …`
        file 7 line 1 `[`: this array is never closed
          help: end it with `]`
        file 8 line 1 `b`: expected the end of the line, found `b`
          help: write each `key = value` on a line of its own
        file 9 line 1 `=`: expected a key, found `=`
        file 10 line 1 `lr:3`: `lr:3` is not a key
          help: a key without quotes holds only letters a to z, digits, `_` and `-`; put others into quotes
        "#
    );
    insta::assert_snapshot!(
        merged("l = [{ name = \"a\" }, { name = \"a\" }]\n", &["l.a.x=1", "l.1.x=2"]),
        @r#"
        l: array `[{ name = "a" }, { name = "a" }]`
        l[0]: table `{ name = "a" }`
        l[0].name: "a" `"a"`
        l[1]: table `{ name = "a" }`
        l[1].name: "a" `"a"`
        l[1].x: integer `2`
        ---
        file 1 line 1 `a`: `l` has several entries named `a`
          line 1 `{ name = "a" }`: the first
          line 1 `{ name = "a" }`: the second
          help: address it by its number: `l.0`
        "#
    );
}

#[test]
fn variants_are_laid_over_the_root() {
    let text: Arc<str> = Arc::from(
        "[dims]\nseq = 1024\n[[layers]]\nname = \"fc\"\n[variants.long]\ndims.seq = 8192\n\
         layers.fc.bias = false\n[variants.odd.variants]\nx = 1\n",
    );
    let (mut document, errors) = Document::parse(&text, FileId(0));
    assert_eq!(errors, []);
    assert_eq!(document.variants().collect::<Vec<_>>(), ["long", "odd"]);
    assert_eq!(document.apply_variant("long"), []);
    assert_eq!(document.apply_variant("long"), []);
    insta::assert_snapshot!(show(&document), @r#"
        dims: table `[dims]`
        dims.seq: integer `8192`
        layers: array `[[layers]]`
        layers[0]: table `[[layers]]`
        layers[0].name: "fc" `"fc"`
        layers[0].bias: boolean `false`
        variants: table `variants`
        variants.long: table `[variants.long]`
        variants.long.dims: table `dims`
        variants.long.dims.seq: integer `8192`
        variants.long.layers: table `layers`
        variants.long.layers.fc: table `fc`
        variants.long.layers.fc.bias: boolean `false`
        variants.odd: table `odd`
        variants.odd.variants: table `[variants.odd.variants]`
        variants.odd.variants.x: integer `1`
        "#);
    let mut errors = document.apply_variant("lnog");
    errors.extend(document.apply_variant("odd"));
    errors.extend(
        Document::parse(&Arc::from(""), FileId(0))
            .0
            .apply_variant("x"),
    );
    insta::assert_snapshot!(show_error_list(&errors, |_| text.to_string()), @"
        line 5 `variants`: there is no variant `lnog`
          help: did you mean `long`?
        line 8 `variants`: a variant cannot change the variants
          help: move it out of the variant
        line 1 ``: there is no variant `x`
        ");
}

/// A string that was decoded in one file is found in its source after any number of merges.
#[test]
fn positions_survive_merges() {
    let mut document = Document::empty(Arc::from(""), FileId(9));
    for number in 0..3 {
        let text: Arc<str> = Arc::from(format!("k{number} = \"\\tx @ \\u0077\"\n# {number}\n"));
        let (overlay, errors) = Document::parse(&text, FileId(number));
        assert_eq!(errors, []);
        assert_eq!(document.merge(overlay), []);
    }
    for number in 0..3 {
        let node = document.root().get(&format!("k{number}")).unwrap();
        assert_eq!(node.as_str(), Some("\tx @ w"));
        let span = node.string_position(5..6);
        assert_eq!(
            (span.file, document.source_text(span)),
            (FileId(number), "\\u0077")
        );
        let comment = document.comments()[number as usize];
        assert_eq!(document.source_text(comment), format!("# {number}"));
    }
}

/// The rule on `toml::Table`s; `None` where an array is addressed or a value has no keys.
fn reference(lower: &mut toml::Table, upper: &toml::Table) -> Option<()> {
    for (key, over) in upper {
        match (lower.get_mut(key), over) {
            (Some(toml::Value::Table(lower)), toml::Value::Table(upper)) => {
                reference(lower, upper)?;
            }
            (Some(_), toml::Value::Table(_)) => return None,
            _ => {
                lower.insert(key.clone(), over.clone());
            }
        }
    }
    Some(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn merging_agrees_with_the_rule(lower in document(0..4), upper in document(0..4)) {
        let (mut document, _) = Document::parse(&Arc::from(lower), FileId(0));
        let (overlay, _) = Document::parse(&Arc::from(upper), FileId(1));
        let mut expected = table_to_toml(document.root());
        let known = reference(&mut expected, &table_to_toml(overlay.root()));
        let errors = document.merge(overlay);
        let actual = table_to_toml(document.root());
        if known.is_some() {
            prop_assert_eq!(errors, []);
            prop_assert_eq!(shown(&actual), shown(&expected));
        }
    }

    #[test]
    fn any_assignment_is_read(text in "[a-c.=\\[\\]{}\"' 0-9,]{0,16}|\\PC*", base in document(0..4)) {
        let text: Arc<str> = Arc::from(text);
        let (overlay, errors) = parse_assignment(&text, FileId(1));
        for error in errors {
            prop_assert!(text.get(error.span.range()).is_some());
        }
        let (mut document, _) = Document::parse(&Arc::from(base), FileId(0));
        document.merge(overlay);
        table_to_toml(document.root());
    }
}
