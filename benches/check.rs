//! How long a whole `check` takes, every pass and rule included, next to `toml::de::DeTable` on
//! the same bytes.
//!
//! `cargo bench --bench check` prints times and ratios; it asserts nothing, since machines differ.
//! `LAYERS=1000000` sets the number of layers.
#![allow(clippy::print_stdout)]

mod support;

use plimsoll::engine::{Levels, Overlay, check, load};
use plimsoll::source::{SourceFile, Sources};

fn main() {
    let layers = std::env::var("LAYERS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(50_000);
    for (name, text) in [
        ("many keys", support::generated_spec(layers)),
        ("few keys", support::generated_short_spec(layers)),
    ] {
        let ours = support::shortest(7, || {
            let mut sources = Sources::default();
            let file = sources.add(SourceFile::new("generated.model.toml", text.as_str()));
            let overlay = Overlay::default();
            let loaded = load(file, &mut sources, &overlay, &mut |path| {
                Err(path.to_owned())
            });
            let checked = check(loaded, &sources, &Levels::default());
            let broken = checked
                .findings
                .iter()
                .find(|f| f.rule.starts_with("spec/"));
            assert!(broken.is_none(), "the generated spec is sound: {broken:?}");
            checked.findings.len()
        });
        let theirs = support::shortest(7, || toml::de::DeTable::parse(&text));
        let per_layer = ours.as_secs_f64() * 1e9 / layers as f64;
        println!(
            "{layers} layers, {name}, {:.1} MB: check {:.1} ms ({per_layer:.0} ns a layer), \
             DeTable::parse {:.1} ms, ratio {:.2}",
            text.len() as f64 / 1e6,
            ours.as_secs_f64() * 1e3,
            theirs.as_secs_f64() * 1e3,
            ours.as_secs_f64() / theirs.as_secs_f64(),
        );
    }
}
