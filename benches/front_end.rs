//! How long the reading of TOML takes, next to `toml::de::DeTable` on the same bytes.
//!
//! `cargo bench --bench front_end` prints the ratio; it asserts nothing, since machines differ.
#![allow(clippy::print_stdout)]

mod support;

use std::sync::Arc;

use plimsoll::source::FileId;
use plimsoll::spec::document::Document;

fn main() {
    for (name, text) in [
        ("many keys", support::generated_spec(50_000)),
        ("few keys", support::generated_short_spec(50_000)),
    ] {
        let text: Arc<str> = Arc::from(text);
        let ours = support::shortest(15, || {
            let (document, errors) = Document::parse(&text, FileId(0));
            assert!(errors.is_empty(), "the generated spec is valid TOML");
            document
        });
        let theirs = support::shortest(15, || toml::de::DeTable::parse(&text));
        let megabytes = text.len() as f64 / 1e6;
        println!(
            "50,000 layers, {name}, {megabytes:.1} MB: Document::parse {:.1} ms ({:.0} MB/s), \
             DeTable::parse {:.1} ms ({:.0} MB/s), ratio {:.2}",
            ours.as_secs_f64() * 1e3,
            megabytes / ours.as_secs_f64(),
            theirs.as_secs_f64() * 1e3,
            megabytes / theirs.as_secs_f64(),
            ours.as_secs_f64() / theirs.as_secs_f64(),
        );
    }
}
