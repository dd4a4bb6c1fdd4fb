//! Any text is answered by a model and findings.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| plimsoll_fuzz_support::check(text));

mod plimsoll_fuzz_support {
    use plimsoll::engine::{self, Levels, Overlay};
    use plimsoll::source::{SourceFile, Sources};

    pub fn check(text: &str) {
        let mut sources = Sources::default();
        let file = sources.add(SourceFile::new("fuzz.model.toml", text));
        let mut fetch = |path: &str| Err(format!("there is no file `{path}`"));
        let loaded = engine::load(file, &mut sources, &Overlay::default(), &mut fetch);
        engine::check(loaded, &sources, &Levels::default());
    }
}
