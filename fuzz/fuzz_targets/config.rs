//! Any bytes are a model or an error.
#![no_main]

use std::io::Cursor;

use plimsoll::engine::{self, Levels, Overlay};
use plimsoll::import::Format;
use plimsoll::import::hf::Options;
use plimsoll::source::Sources;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let name = "config.json";
    let Some(format) = Format::of(name) else { return };
    let opened = format.read(&mut Cursor::new(bytes), &Options::default());
    let mut sources = Sources::default();
    let file = engine::add_import(name, opened.as_ref(), &mut sources);
    let mut fetch = |path: &str| Err(format!("there is no file `{path}`"));
    let overlay = Overlay::default();
    let loaded = engine::load_import(file, opened.as_ref(), &mut sources, &overlay, &mut fetch);
    engine::check(loaded, &sources, &Levels::default());
});
