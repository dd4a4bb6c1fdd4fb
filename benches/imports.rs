//! How long the whole report of a PyTorch program takes, next to a bare parse of its JSON.
//!
//! `cargo bench --bench imports` prints the ratio for a program of the tests; `PT2=file.pt2` names
//! another one. It asserts nothing, since machines differ.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::io::{Cursor, Read};

use plimsoll::diag::Sink;
use plimsoll::engine::{self, Overlay};
use plimsoll::facts::Facts;
use plimsoll::import::hf::Options;
use plimsoll::report::CapacityReport;
use plimsoll::source::Sources;

fn main() {
    let path = std::env::var("PT2").unwrap_or_else(|_| "tests/data/pt2/pythia_1b.pt2".to_owned());
    let bytes = std::fs::read(&path).unwrap();
    let ours = support::shortest(15, || report(&path, &bytes));
    let text = program(&bytes);
    let bare = support::shortest(15, || {
        serde_json::from_slice::<serde_json::Value>(&text).unwrap()
    });
    println!(
        "{path}, {:.1} MB of JSON: report {:.1} ms, serde_json to a Value {:.1} ms, ratio {:.2}",
        text.len() as f64 / 1e6,
        ours.as_secs_f64() * 1e3,
        bare.as_secs_f64() * 1e3,
        ours.as_secs_f64() / bare.as_secs_f64(),
    );
}

fn report(path: &str, bytes: &[u8]) -> CapacityReport {
    let (options, overlay) = (Options::default(), Overlay::default());
    let mut sources = Sources::default();
    let loaded = engine::load_bytes(path, bytes, &options, &overlay, &mut sources);
    let (spec, model) = engine::read(loaded, &mut Sink::new());
    CapacityReport::of(&Facts::new(&spec, &model))
}

fn program(bytes: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let names: Vec<String> = zip
        .file_names()
        .map(|name| name.unwrap().into_owned())
        .collect();
    let entry = names
        .iter()
        .find(|name| name.ends_with("models/model.json"))
        .unwrap();
    let mut text = Vec::new();
    zip.by_name(entry).unwrap().read_to_end(&mut text).unwrap();
    text
}
