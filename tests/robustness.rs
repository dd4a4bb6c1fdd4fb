//! Whatever is written, the program answers: no panic, no hang, no place outside of the text.
//!
//! The inputs are the project's own specs and pages, mutated, and random bytes and tokens. The
//! generator is seeded, so a failure comes again; its text is printed.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::Path;
use std::sync::Arc;

use plimsoll::engine::{Levels, Overlay, check, load};
use plimsoll::source::{FileId, SourceFile, Sources};

/// A xorshift generator: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        if limit == 0 {
            0
        } else {
            (self.next() % limit as u64) as usize
        }
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Every spec of at most 6 kB and every example of the rules' pages.
fn corpus() -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir("specs").unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            texts.push(std::fs::read_to_string(path).unwrap());
        }
    }
    texts.retain(|text| text.len() < 6_000);
    for rule in plimsoll::rules::all() {
        for block in rule.page.split("```toml ").skip(1) {
            let body = block.split_once('\n').map_or("", |(_, rest)| rest);
            texts.push(body.split("```").next().unwrap_or("").to_owned());
        }
    }
    texts.sort();
    texts
}

/// Tokens that sit near the edges of what the languages allow.
const TOKENS: [&str; 64] = [
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "=",
    ",",
    ".",
    "#",
    "\n",
    "\\",
    "\u{0}",
    "\u{feff}",
    "é",
    "𝛼",
    "-",
    "+",
    "*",
    "**",
    "/",
    "//",
    "%",
    "@",
    "(",
    ")",
    ":",
    "::",
    "...",
    "0",
    "1",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "1e308",
    "1e-320",
    "inf",
    "nan",
    "true",
    "false",
    "None",
    "x",
    "x.T",
    "layers",
    "op",
    "formula",
    "repeat",
    "in",
    "name",
    "linear",
    "conv2d",
    "attention",
    "softmax",
    "einsum",
    "relu",
    "width",
    "0x",
    "1_000",
    "[[layers]]\n",
    "spec = 1\n",
];

fn mutate(text: &str, random: &mut Random) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(24)).min(bytes.len());
        match random.below(6) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let piece: Vec<u8> = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            2 => {
                let token = random.pick(&TOKENS).as_bytes().to_vec();
                bytes.splice(at..at, token);
            }
            3 => {
                let token = random.pick(&TOKENS).as_bytes().to_vec();
                bytes.splice(at..end, token);
            }
            4 if at < bytes.len() => bytes[at] ^= 1 << random.below(7),
            _ => {
                // A number somewhere becomes another one.
                if let Some(digit) = bytes.iter().skip(at).position(u8::is_ascii_digit) {
                    let number = format!("{}", random.next() >> random.below(63));
                    bytes.splice(at + digit..at + digit + 1, number.into_bytes());
                }
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Checks a text; every place of every finding must lie in it, on character boundaries.
fn survive(text: &str) {
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new("x.model.toml", text));
    let fetch = &mut |path: &str| Err(path.to_owned());
    let loaded = load(file, &mut sources, &Overlay::default(), fetch);
    let checked = check(loaded, &sources, &Levels::default());
    for finding in &checked.findings {
        let spans = finding
            .span
            .into_iter()
            .chain(finding.labels.iter().map(|label| label.span));
        for span in spans {
            let text = sources.get(span.file).unwrap().text();
            assert!(
                text.get(span.range()).is_some(),
                "{}: {span:?} in {text:?}",
                finding.rule
            );
        }
    }
}

/// Runs `run` on a text and names the text where that panics.
fn guarded(text: &str, run: impl FnOnce(&str) + std::panic::UnwindSafe) {
    if let Err(panic) = std::panic::catch_unwind(|| run(text)) {
        eprintln!("the input was:\n{text}");
        std::panic::resume_unwind(panic);
    }
}

/// How many inputs of each kind: few in a debug build, 25,000 in a release build, or as many as
/// `ROBUSTNESS` says.
fn rounds() -> usize {
    let default = if cfg!(debug_assertions) {
        2_500
    } else {
        25_000
    };
    let asked = std::env::var("ROBUSTNESS").ok();
    asked
        .and_then(|count| count.parse().ok())
        .unwrap_or(default)
}

#[test]
fn mutated_specs_are_answered() {
    let corpus = corpus();
    assert!(corpus.len() > 20, "the corpus is gone");
    let mut random = Random(0x5eed_0001);
    for _ in 0..rounds() {
        let text = random.pick(&corpus).clone();
        let text = mutate(&text, &mut random);
        guarded(&text, survive);
    }
}

#[test]
fn random_tokens_are_answered() {
    let mut random = Random(0x5eed_0002);
    for _ in 0..rounds() {
        let mut text = String::new();
        for _ in 0..random.below(60) {
            let token: &str = random.pick::<&str>(&TOKENS);
            text.push_str(token);
            if random.below(3) == 0 {
                text.push(' ');
            }
        }
        guarded(&text, survive);
        guarded(&text, |text| {
            let _ = plimsoll::formula::parse_at(text, FileId(0), 0);
            let _ = plimsoll::facts::order::expression::parse_expression(text);
        });
    }
}

#[test]
fn random_bytes_are_answered() {
    let mut random = Random(0x5eed_0003);
    for _ in 0..rounds() {
        let bytes: Vec<u8> = (0..random.below(200))
            .map(|_| random.next() as u8)
            .collect();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        guarded(&text, |text| {
            let text: Arc<str> = text.into();
            let (_, errors) = plimsoll::spec::document::Document::parse(&text, FileId(0));
            for error in errors {
                assert!(text.get(error.span.range()).is_some(), "{error:?}");
            }
        });
        guarded(&text, survive);
    }
}

/// Formulas of random tokens in an otherwise sound spec, where lowering sees them.
#[test]
fn random_formulas_are_answered() {
    let words = [
        "x",
        "y",
        "w",
        "2",
        "0",
        "-1",
        "1e-5",
        "(",
        ")",
        ",",
        "+",
        "-",
        "*",
        "/",
        "@",
        "**",
        ".T",
        "[",
        "]",
        ":",
        "softmax",
        "sum",
        "mean",
        "reshape",
        "exp",
        "log",
        "sqrt",
        "cat",
        "where",
        "axis=",
        "dim=",
        "(x)",
        "(x, 1)",
        "x.mean(axis=0)",
        "x[:, 0]",
        "x[None]",
        "...",
        "linear",
        "einsum",
        "'ij,jk->ik'",
        "matmul(x, w)",
        "n",
        "if",
        "else",
        "<",
        "==",
        "not",
        "None",
        "[1, 2]",
    ];
    let mut random = Random(0x5eed_0004);
    for _ in 0..rounds() {
        let formula: Vec<&str> = (0..1 + random.below(9))
            .map(|_| *random.pick(&words))
            .collect();
        let text = format!(
            "spec = 1\n[dims]\nn = 4\n[inputs]\nx = [\"n\", 3]\ny = {{ shape = [3], range = [0, 1] }}\n\
             [params]\nw = [3, 5]\n[[layers]]\nformula = \"\"\"{}\"\"\"\n",
            formula.join(" ")
        );
        guarded(&text, survive);
    }
}

/// Specs that ask for more than there is: deep, long, huge, endless.
#[test]
fn extreme_specs_are_answered_in_bounded_time() {
    let chain = |n: usize| {
        let body: String = (0..n)
            .map(|i| format!("[[layers]]\nname=\"a{i}\"\nop=\"relu\"\n"))
            .collect();
        format!("spec = 1\n[inputs]\nx = [2]\n{body}")
    };
    let nested = |n: usize| {
        let blocks: String = (0..n)
            .map(|i| {
                let inner = if i == 0 {
                    "relu".to_owned()
                } else {
                    format!("b{}", i - 1)
                };
                format!("[blocks.b{i}]\nlayers = [{{op=\"{inner}\"}}, {{op=\"{inner}\"}}]\n")
            })
            .collect();
        format!(
            "spec = 1\n[inputs]\nx = [2]\n{blocks}[[layers]]\nop=\"b{}\"\n",
            n - 1
        )
    };
    let dims: String = (1..20_000)
        .map(|i| format!("d{i} = \"d{} + 1\"\n", i - 1))
        .collect();
    let cases = [
        chain(20_000),
        nested(12),
        nested(70),
        format!("spec = 1\n[dims]\nd0 = 1\n{dims}[inputs]\nx = [\"d19999\"]\n[[layers]]\nop=\"relu\"\n"),
        "spec = 1\n[inputs]\nx = [2]\n[[layers]]\nop=\"relu\"\nrepeat = 100000\n".to_owned(),
        "spec = 1\n[inputs]\nx = [9223372036854775807, 2]\n[[layers]]\nop=\"relu\"\n".to_owned(),
        "spec = 1\n[inputs]\nx = [2]\n[[layers]]\nop=\"linear\"\nout_features = 9223372036854775807\n".to_owned(),
        format!("spec = 1\nx = {}", "[".repeat(100_000)),
        format!("spec = 1\n[inputs]\nx=[2]\n[[layers]]\nformula = \"{}x\"\n", "-(".repeat(30_000)),
        format!("spec = 1\n[inputs]\nx=[2]\n[[layers]]\nformula = \"x{}\"\n", " + x".repeat(10_000)),
        format!("spec = 1\n[inputs]\nx=[2,2]\n[[layers]]\nformula = \"x{}\"\n", " @ x".repeat(5_000)),
    ];
    for text in &cases {
        let start = std::time::Instant::now();
        survive(text);
        let head: String = text.chars().take(80).collect();
        assert!(
            start.elapsed().as_secs() < 20,
            "{head} took {:?}",
            start.elapsed()
        );
    }
}

/// The corpus itself is sound; were it not, mutations would test the parser alone.
#[test]
fn the_corpus_has_specs_of_every_kind() {
    assert!(Path::new("specs/rules").is_dir());
    let joined = corpus().join("\n");
    for part in ["[blocks.", "formula", "[train", "[dims]", "repeat"] {
        assert!(joined.contains(part), "no spec has {part}");
    }
}
