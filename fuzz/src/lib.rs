//! What the fuzz targets share: any bytes are a model or an error, whatever is done with them.

use plimsoll::diag::Sink;
use plimsoll::engine::{self, Levels, Overlay};
use plimsoll::export::spec::{self, Options};
use plimsoll::facts::Facts;
use plimsoll::import::hf;
use plimsoll::report::CapacityReport;
use plimsoll::source::Sources;

/// Checks a file of that name, and reports on it and writes it down as a spec if it is sound.
pub fn run(name: &str, bytes: &[u8]) {
    let mut sources = Sources::default();
    let mut load = || {
        let (options, overlay) = (hf::Options::default(), Overlay::default());
        engine::load_bytes(name, bytes, &options, &overlay, &mut sources)
    };
    let (first, second) = (load(), load());
    engine::check(first, &sources, &Levels::default());
    let mut sink = Sink::new();
    let (spec, model) = engine::read(second, &mut sink);
    if !sink.has_errors() {
        let facts = Facts::new(&spec, &model);
        let _ = CapacityReport::of(&facts).with_timeline(&facts);
        for flat in [false, true] {
            let name = String::new();
            let _ = spec::write(&model, &spec, &Options { name, flat });
        }
    }
}
