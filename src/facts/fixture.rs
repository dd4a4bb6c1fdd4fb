//! Specs lowered for the tests of facts.

use crate::diag::Sink;
use crate::engine::{Overlay, load, read};
use crate::lower::Model;
use crate::source::{SourceFile, Sources};
use crate::spec::Spec;

/// The spec and model of a text that must be free of faults.
pub fn lowered(text: &str) -> (Spec, Model) {
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new("test.model.toml", text));
    let loaded = load(file, &mut sources, &Overlay::default(), &mut |path| {
        Err(format!("there is no file `{path}`"))
    });
    let mut sink = Sink::new();
    let read = read(loaded, &mut sink);
    assert!(sink.is_empty(), "{text}\n{:#?}", sink.findings());
    read
}
