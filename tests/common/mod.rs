//! What several tests need: the facts of a spec with something laid over it.

use std::path::Path;

use plimsoll::diag::Sink;
use plimsoll::engine::{Overlay, load_bytes, read};
use plimsoll::facts::Facts;
use plimsoll::import::hf::Options;
use plimsoll::source::Sources;

/// Reads a spec that must be free of errors, with what is laid over it, and shows its facts to `f`.
pub fn with_facts<T>(path: &Path, overlay: &Overlay, f: impl FnOnce(&Facts) -> T) -> T {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut sources = Sources::default();
    let loaded = load_bytes(&name, &bytes, &Options::default(), overlay, &mut sources);
    let mut sink = Sink::new();
    let (spec, model) = read(loaded, &mut sink);
    let set = &overlay.assignments;
    assert!(!sink.has_errors(), "{name} {set:?}: {:?}", sink.findings());
    f(&Facts::new(&spec, &model))
}
