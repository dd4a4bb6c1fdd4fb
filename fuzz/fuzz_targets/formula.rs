//! Any text is a formula or an error.
#![no_main]

use plimsoll::source::FileId;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = plimsoll::formula::parse_at(text, FileId(0), 0);
});
