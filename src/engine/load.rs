//! A document and what is laid over it: `extends`, other files, a variant, assignments.

use std::io::Cursor;
use std::sync::Arc;

use crate::diag::{Finding, Level, Sink};
use crate::import::{Format, ImportError, Opened, Program, hf};
use crate::source::{FileId, SourceFile, Sources, Span, suggest};
use crate::spec::document::{Document, SyntaxError, parse_assignment};
use crate::spec::names;

/// What is laid over a document once it is read, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    /// Files of further tables.
    pub with: Vec<Layer>,
    /// The variant to use.
    pub variant: Option<String>,
    /// Assignments `table.key=value`.
    pub assignments: Vec<String>,
}

/// A file of tables that are laid over a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// What it is called.
    pub name: String,
    /// Its text.
    pub text: Arc<str>,
}

/// A document with everything laid over it.
#[derive(Debug)]
pub struct Loaded {
    /// The tree.
    pub document: Document,
    /// What was wrong with the text.
    pub findings: Vec<Finding>,
    /// Where the model's layers stand.
    pub origin: Origin,
}

/// Where the layers of a model stand.
#[derive(Debug, Clone)]
pub enum Origin {
    /// In the document.
    Text,
    /// In a program of another format; the document stands beside it.
    Program(Arc<dyn Program>),
    /// In a file that could not be read, which is said.
    Nothing,
}

/// Gives the text of a file that a spec extends, by its path: that of the extending file's folder
/// and what `extends` says, joined. The error is what to tell the user.
pub type Fetch<'a> = dyn FnMut(&str) -> Result<String, String> + 'a;

/// The longest chain of files that extend each other.
const MAX_EXTENDS: usize = 16;

/// Parses the file, lays it over what it extends, and lays the overlay over it.
///
/// Whatever is wrong becomes a finding, and what could be read is kept.
pub fn load(
    file: FileId,
    sources: &mut Sources,
    overlay: &Overlay,
    fetch: &mut Fetch<'_>,
) -> Loaded {
    let mut sink = Sink::new();
    let document = with_base(file, sources, fetch, &mut sink);
    finish(document, Origin::Text, sink, sources, overlay, fetch)
}

/// Adds the text that stands for a file of another format: that of the spec which describes the same
/// model or, for a program, a document beside it that says its name and the sizes that it leaves
/// open, so that these can be set as in any spec.
pub fn add_import(
    name: &str,
    opened: Result<&Opened, &ImportError>,
    sources: &mut Sources,
) -> FileId {
    sources.add(match opened {
        Ok(Opened::Text(text)) => SourceFile::new(format!("{name} (as a spec)"), text.clone()),
        Ok(Opened::Program(program)) => SourceFile::new(name, beside(name, program.as_ref())),
        Err(_) => SourceFile::new(name, ""),
    })
}

/// Loads what was opened of a file of another format, whose text was added as `file`, and lays the
/// overlay over it.
pub fn load_import(
    file: FileId,
    opened: Result<&Opened, &ImportError>,
    sources: &mut Sources,
    overlay: &Overlay,
    fetch: &mut Fetch<'_>,
) -> Loaded {
    let mut sink = Sink::new();
    let origin = match opened {
        Ok(Opened::Text(_)) => return load(file, sources, overlay, fetch),
        Ok(Opened::Program(program)) => Origin::Program(Arc::clone(program)),
        Err(error) => {
            error.clone().report(Span::new(file, 0, 0), &mut sink);
            Origin::Nothing
        }
    };
    let document = parse(file, sources, &mut sink);
    // Nothing can be laid over what is not there; to say so as well would say the same twice.
    let nothing = Overlay::default();
    let overlay = match origin {
        Origin::Nothing => &nothing,
        _ => overlay,
    };
    finish(document, origin, sink, sources, overlay, fetch)
}

/// Loads a file that lies in memory, and lays the overlay over it: one of another program, where the
/// name says so, and the text of a spec elsewhere. Opens no file: what a spec extends is not there.
pub fn load_bytes(
    name: &str,
    bytes: &[u8],
    options: &hf::Options,
    overlay: &Overlay,
    sources: &mut Sources,
) -> Loaded {
    let mut fetch = |path: &str| Err(format!("there is no file `{path}`"));
    match Format::of(name) {
        Some(format) => {
            let opened = format.read(&mut Cursor::new(bytes), options);
            let file = add_import(name, opened.as_ref(), sources);
            load_import(file, opened.as_ref(), sources, overlay, &mut fetch)
        }
        None => {
            let file = sources.add(SourceFile::new(name, String::from_utf8_lossy(bytes)));
            load(file, sources, overlay, &mut fetch)
        }
    }
}

/// What a program says of itself, as the text of a spec.
fn beside(name: &str, program: &dyn Program) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let stem = last.rsplit_once('.').map_or(last, |(stem, _)| stem);
    let mut text = "spec = 1\n".to_owned();
    if !stem.is_empty() {
        text.push_str(&format!("model.name = {}\n", quoted(stem)));
    }
    for dim in program.dims() {
        text.push_str(&format!("dims.{} = {}\n", quoted(&dim.name), dim.size));
    }
    text
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(character)));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// Lays the overlay over a document.
fn finish(
    mut document: Document,
    origin: Origin,
    mut sink: Sink,
    sources: &mut Sources,
    overlay: &Overlay,
    fetch: &mut Fetch<'_>,
) -> Loaded {
    for layer in &overlay.with {
        let file = SourceFile::new(layer.name.as_str(), Arc::clone(&layer.text));
        let file = sources.add(file);
        let over = with_base(file, sources, fetch, &mut sink);
        report(names::EXTENDS, &document.merge(over), &mut sink);
    }
    if let Some(variant) = &overlay.variant {
        report(
            names::UNKNOWN_NAME,
            &document.apply_variant(variant),
            &mut sink,
        );
    }
    for assignment in &overlay.assignments {
        let file = sources.add(SourceFile::new("--set", assignment.as_str()));
        let text = Arc::from(assignment.as_str());
        let (set, errors) = parse_assignment(&text, file);
        report(names::SYNTAX, &errors, &mut sink);
        if errors.is_empty() && !sets_unknown_dim(&document, &set, &mut sink) {
            report(names::UNKNOWN_KEY, &document.merge(set), &mut sink);
        }
    }
    Loaded {
        document,
        findings: sink.into_findings(),
        origin,
    }
}

/// Parses a file and lays it over what it extends, and that over what it extends, and so on.
fn with_base(
    file: FileId,
    sources: &mut Sources,
    fetch: &mut Fetch<'_>,
    sink: &mut Sink,
) -> Document {
    let mut document = parse(file, sources, sink);
    let mut chain = vec![
        sources
            .get(file)
            .map_or_else(String::new, |f| f.name().to_owned()),
    ];
    let mut wanted = extended(&document);
    // Each base is laid under the tree so far.
    while let Some((path, span)) = wanted.take() {
        let Some(base) = fetch_base(&path, span, sources, &mut chain, fetch, sink) else {
            break;
        };
        let mut below = parse(base, sources, sink);
        wanted = extended(&below);
        report(names::EXTENDS, &below.merge(document), sink);
        document = below;
    }
    document
}

/// Reports an assignment to a dim that there is not: laid over, it would be a new dim that nothing
/// uses, and the one that was meant would keep its value.
fn sets_unknown_dim(document: &Document, set: &Document, sink: &mut Sink) -> bool {
    let dims = |document: &Document| -> Vec<(String, Span)> {
        let table = document.root().get("dims").and_then(|node| node.as_table());
        table.map_or_else(Vec::new, |table| {
            table
                .entries()
                .map(|entry| (entry.key().to_owned(), entry.key_span()))
                .collect()
        })
    };
    let known = dims(document);
    let known: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    let mut unknown = false;
    for (name, span) in dims(set) {
        if !known.contains(&name.as_str()) {
            unknown = true;
            let message = format!("there is no dim `{name}` to set");
            sink.report(
                names::UNKNOWN_DIM,
                Level::Error,
                Some(span),
                "dims",
                message,
            )
            .maybe_help(suggest::did_you_mean(&name, &known));
        }
    }
    unknown
}

fn parse(file: FileId, sources: &Sources, sink: &mut Sink) -> Document {
    let text = sources
        .get(file)
        .map(|source| source.text().clone())
        .unwrap_or_default();
    let (document, errors) = Document::parse(&text, file);
    report(names::SYNTAX, &errors, sink);
    document
}

/// What the document extends, and where it says so. That it must be a string is checked when the
/// spec is read.
fn extended(document: &Document) -> Option<(String, Span)> {
    let node = document.root().get("extends")?;
    Some((node.as_str()?.to_owned(), node.span()))
}

/// Adds the file that is extended to the sources.
fn fetch_base(
    path: &str,
    span: Span,
    sources: &mut Sources,
    chain: &mut Vec<String>,
    fetch: &mut Fetch<'_>,
    sink: &mut Sink,
) -> Option<FileId> {
    let mut fail = |message: String, help: Option<String>| {
        sink.report(names::EXTENDS, Level::Error, Some(span), "extends", message)
            .maybe_help(help);
        None
    };
    let joined = join(chain.last().map_or("", String::as_str), path);
    if chain.contains(&joined) {
        return fail(
            format!("`{joined}` extends itself, by way of {}", chain.join(", ")),
            None,
        );
    }
    if chain.len() > MAX_EXTENDS {
        return fail(
            format!("more than {MAX_EXTENDS} files extend each other"),
            None,
        );
    }
    match fetch(&joined) {
        Ok(text) => {
            chain.push(joined.clone());
            Some(sources.add(SourceFile::new(joined, text)))
        }
        Err(reason) => {
            let help = "the path counts from the folder of the file that says `extends`";
            fail(
                format!("`{joined}` cannot be read: {reason}"),
                Some(help.into()),
            )
        }
    }
}

/// `path`, counted from the folder of `file`, with `.` and `..` resolved as far as they go.
pub(super) fn join(file: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let folder = file.rsplit_once('/').map(|(folder, _)| folder);
    let mut parts: Vec<&str> = folder
        .into_iter()
        .flat_map(|folder| folder.split('/'))
        .collect();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." if parts
                .last()
                .is_some_and(|last| !matches!(*last, ".." | "" | ".")) =>
            {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn report(rule: &'static str, errors: &[SyntaxError], sink: &mut Sink) {
    for error in errors {
        let mut builder = sink
            .report(
                rule,
                Level::Error,
                Some(error.span),
                "",
                error.message.clone(),
            )
            .maybe_help(error.help.clone());
        for label in &error.related {
            builder = builder.also(Some(label.span), label.text.clone());
        }
        drop(builder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Levels, check};

    /// Loads the first of the files and gives the findings and the width of the input.
    fn run(files: &[(&str, &str)], overlay: &Overlay) -> String {
        let mut sources = Sources::default();
        let file = sources.add(SourceFile::new(files[0].0, files[0].1));
        let mut fetch = |path: &str| {
            let found = files.iter().find(|(name, _)| *name == path);
            found
                .map(|(_, text)| (*text).to_owned())
                .ok_or_else(|| "no such file".to_owned())
        };
        let loaded = load(file, &mut sources, overlay, &mut fetch);
        let checked = check(loaded, &sources, &Levels::default());
        let mut lines: Vec<String> = checked
            .findings
            .iter()
            .map(|f| format!("{}: {}", f.rule, f.message))
            .collect();
        lines.extend(
            checked
                .model
                .graph
                .outputs
                .iter()
                .map(|&id| checked.model.graph.ty(id).to_string()),
        );
        lines.join("\n")
    }

    const BASE: &str = "spec = 1\n[dims]\nn = 4\n[inputs]\nx = [2, \"n\"]\n\
        [variants.wide]\ndims.n = 9\n[[layers]]\nname = \"fc\"\nop = \"linear\"\nout_features = \"2 * n\"\n";

    #[test]
    fn overlays_stack_from_the_base_up() {
        let over = |variant: Option<&str>, sets: &[&str]| Overlay {
            variant: variant.map(str::to_owned),
            assignments: sets.iter().map(|set| (*set).to_owned()).collect(),
            ..Overlay::default()
        };
        let top = "extends = \"../base.model.toml\"\n[dims]\nn = 5\n";
        let files = [("runs/top.model.toml", top), ("base.model.toml", BASE)];
        assert_eq!(run(&files, &over(None, &[])), "float32 [2, 10]");
        assert_eq!(run(&files, &over(Some("wide"), &[])), "float32 [2, 18]");
        assert_eq!(
            run(&files, &over(Some("wide"), &["dims.n=7"])),
            "float32 [2, 14]"
        );
        assert_eq!(
            run(&files, &over(None, &["layers.fc.out_features=3"])),
            "float32 [2, 3]"
        );
    }

    #[test]
    fn what_cannot_be_laid_over_is_said() {
        let plain = Overlay::default();
        let circle = [
            ("a.toml", "extends = \"b.toml\"\n"),
            ("b.toml", "extends = \"a.toml\"\n"),
        ];
        assert!(run(&circle, &plain).contains("`a.toml` extends itself"));
        let lost = [("a.toml", "extends = \"c.toml\"\n")];
        assert!(run(&lost, &plain).contains("`c.toml` cannot be read: no such file"));
        let none = Overlay {
            variant: Some("wied".into()),
            ..Overlay::default()
        };
        assert!(run(&[("a.toml", BASE)], &none).contains("there is no variant `wied`"));
        // A misspelled dim must not become a new one that nothing uses.
        let typo = Overlay {
            assignments: vec!["dims.m=3".into()],
            ..Overlay::default()
        };
        assert!(run(&[("a.toml", BASE)], &typo).contains("there is no dim `m` to set"));
        let bad = Overlay {
            assignments: vec!["dims.n.m=3".into()],
            ..Overlay::default()
        };
        insta::assert_snapshot!(run(&[("a.toml", BASE)], &bad), @r"
        spec/unknown-key: `n` is an integer, so no key can be set in it
        float32 [2, 8]
        ");
    }
}
