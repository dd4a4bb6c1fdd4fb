//! What the benchmarks share: a generated spec of any size, and a clock that takes the minimum.

use std::fmt::Write;
use std::time::{Duration, Instant};

/// A spec of `layers` layers of 4 to 9 keys each, as people write them: linear layers,
/// convolutions, norms, activations and formulas, with comments between.
pub fn generated_spec(layers: usize) -> String {
    let mut spec = String::with_capacity(layers * 200 + 500);
    spec.push_str(
        "spec = 1\n\n[model]\nname = \"generated\"\n\n[dims]\nbatch = 8\nwidth = 64\n\n\
         [inputs]\nx = { shape = [\"batch\", \"width\"], dtype = \"float32\", range = [-1.0, 1.0] }\n\n",
    );
    let mut last = "x".to_owned();
    for index in 0..layers {
        let name = format!("layer_{index}");
        let _ = match index % 5 {
            0 => write!(
                spec,
                "[[layers]]\nname = \"{name}\"\nop = \"linear\"\nin = \"{last}\"\n\
                 out_features = \"width\"\nbias = true\ndtype = \"float32\"\nfrozen = false\n\n"
            ),
            1 => write!(
                spec,
                "[[layers]]             # normalised after the product\nname = \"{name}\"\n\
                 op = \"layer_norm\"\nin = \"{last}\"\neps = 1e-5\nelementwise_affine = true\n\n"
            ),
            2 => write!(
                spec,
                "[[layers]]\nname = \"{name}\"\nop = \"gelu\"\nin = \"{last}\"\napproximate = \"tanh\"\n\n"
            ),
            4 => write!(
                spec,
                "[[layers]]\nname = \"{name}\"\nop = \"dropout\"\nin = [\"{last}\"]\np = 0.1\n\n"
            ),
            _ => write!(
                spec,
                "[[layers]]\nname = \"{name}\"\nop = \"linear\"\nin = \"{last}\"\n\
                 in_features = 64\nout_features = \"width\"\nbias = false\ndtype = \"float32\"\n\
                 init = \"kaiming_uniform\"\nfrozen = false\n\n"
            ),
        };
        last = name;
    }
    spec
}

/// The shortest of `repeats` runs; what other programs do to the machine only adds to a run.
pub fn shortest<T>(repeats: usize, mut run: impl FnMut() -> T) -> Duration {
    (0..repeats)
        .map(|_| {
            let start = Instant::now();
            let result = run();
            let elapsed = start.elapsed();
            drop(std::hint::black_box(result));
            elapsed
        })
        .min()
        .unwrap_or_default()
}

/// A spec of that many layers with as few keys as a layer can have.
pub fn generated_short_spec(layers: usize) -> String {
    let mut text = String::from("spec = 1\n\n[inputs]\nx = [8, 256]\n");
    for number in 0..layers {
        let body = if number % 2 == 0 {
            "op = \"linear\"\nout_features = 256"
        } else {
            "op = \"relu\""
        };
        // Writing to a string does not fail.
        let _ = write!(text, "\n[[layers]]\nname = \"layer_{number}\"\n{body}\n");
    }
    text
}
