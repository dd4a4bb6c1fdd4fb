//! How long the reading of TOML takes, next to `toml::de::DeTable` on the same bytes.
//!
//! `cargo bench --bench front_end` prints the ratio; it asserts nothing, since machines differ.
#![allow(clippy::print_stdout)]

mod support;

use std::sync::Arc;

use plimsoll::source::FileId;
use plimsoll::spec::document::Document;

fn main() {
    let text: Arc<str> = Arc::from(support::generated_spec(50_000));
    let ours = support::shortest(15, || {
        let (document, errors) = Document::parse(&text, FileId(0));
        assert!(errors.is_empty(), "the generated spec is valid TOML");
        document
    });
    let theirs = support::shortest(15, || toml::de::DeTable::parse(&text));
    let megabytes = text.len() as f64 / 1e6;
    let line = |name: &str, time: std::time::Duration| {
        println!(
            "{name:<20} {:8.1} ms {:8.0} MB/s",
            time.as_secs_f64() * 1e3,
            megabytes / time.as_secs_f64()
        );
    };
    println!("50,000 layers, {megabytes:.1} MB");
    line("Document::parse", ours);
    line("DeTable::parse", theirs);
    println!("ratio {:.3}", ours.as_secs_f64() / theirs.as_secs_f64());
}
