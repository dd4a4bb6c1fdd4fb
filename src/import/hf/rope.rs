//! Rotary positions: how a configuration says them, and the layers that compute them.
//!
//! Scaled variants differ in the frequencies alone, which are a buffer; so they cost the same.

use super::config::Config;
use super::text::{Block, SpecText, Tensor, formula, real};

/// The variants whose frequencies come out of a configuration.
const TYPES: [&str; 7] = [
    "default",
    "linear",
    "dynamic",
    "yarn",
    "longrope",
    "llama3",
    "proportional",
];

/// Rotary positions of one kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rope {
    /// The greatest wavelength over 2π.
    pub theta: f64,
    /// The share of a head's elements that is turned.
    pub partial: Option<f64>,
    /// What cosine and sine are multiplied by.
    pub scaling: f64,
    /// What positions are stretched by at most.
    factor: f64,
}

impl Rope {
    /// Reads `rope_parameters`, or `rope_theta` and `rope_scaling` as older configurations have
    /// them.
    pub fn read(config: &mut Config, theta: f64, positions: u64) -> Rope {
        let theta = config.positive(&["rope_theta", "rotary_emb_base"], theta);
        let partial = config.share(&["partial_rotary_factor", "rotary_pct"]);
        let key = match config.has(&["rope_parameters"]) {
            true => "rope_parameters",
            false => "rope_scaling",
        };
        let mut part = config.part(key);
        let rope = Rope::of(&mut part, theta, partial, positions);
        config.absorb(part);
        rope
    }

    /// Reads one set of parameters.
    pub fn of(part: &mut Config, theta: f64, partial: Option<f64>, positions: u64) -> Rope {
        let kind = part.choice(&["rope_type", "type"], &TYPES, "default");
        let original = part.positive(&["original_max_position_embeddings"], positions as f64);
        let stretch = part
            .optional_real(&["factor"])
            .filter(|&factor| factor > 0.0);
        let factor = stretch.unwrap_or(positions as f64 / original).max(1e-6);
        let told = part.optional_real(&["attention_factor"]);
        let mscale = part
            .optional_real(&["mscale"])
            .filter(|&scale| scale != 0.0);
        let all = part
            .optional_real(&["mscale_all_dim"])
            .filter(|&scale| scale != 0.0);
        let grown = |scale: f64| match factor <= 1.0 {
            true => 1.0,
            false => 0.1 * scale * factor.ln() + 1.0,
        };
        let usual = match (kind, mscale, all) {
            ("yarn", Some(some), Some(all)) => grown(some) / grown(all),
            ("yarn", _, _) => grown(1.0),
            ("longrope", _, _) if factor > 1.0 => (1.0 + factor.ln() / original.ln()).sqrt(),
            _ => 1.0,
        };
        Rope {
            theta: part.positive(&["rope_theta"], theta),
            partial: part.share(&["partial_rotary_factor"]).or(partial),
            scaling: match kind {
                "yarn" | "longrope" => told.unwrap_or(usual),
                _ => 1.0,
            },
            factor,
        }
    }

    /// Positions as they were first described.
    pub fn plain(theta: f64) -> Rope {
        Rope {
            theta,
            partial: None,
            scaling: 1.0,
            factor: 1.0,
        }
    }

    /// The elements of a head that are turned, of its `head`.
    pub fn width(&self, head: u64) -> u64 {
        // Of an odd number Transformers turns one more.
        let share = self.partial.unwrap_or(1.0).clamp(0.0, 1.0);
        ((head as f64 * share) as u64).next_multiple_of(2)
    }

    /// The elements of a head that are turned; noted where they are no pairs.
    pub fn turned(&self, config: &mut Config, head: u64) -> u64 {
        let turned = self.width(head);
        if turned == 0 || !turned.is_multiple_of(2) || turned > head {
            config.fault(format!(
                "rotary positions turn pairs of a head's elements, but of its {head} elements \
                 {turned} would be turned"
            ));
        }
        turned
    }

    /// Declares the frequencies as buffers, named with that prefix. `turned` is the dim of a head's
    /// turned elements, and how many they are.
    pub fn buffers(&self, spec: &mut SpecText, prefix: &str, (turned, width): (&str, u64)) {
        let half = format!("{turned} / 2");
        let slowest = self
            .theta
            .powf(-(width.saturating_sub(2) as f64) / width.max(1) as f64);
        let least = slowest / self.factor.max(1.0);
        let range = [least.min(1.0), 1.0f64.max(1.0 / self.factor)];
        for name in ["inv_freq", "original_inv_freq"] {
            let name = format!("{prefix}{name}");
            let tensor = Tensor::new(&name, &[&half]).set("dtype", "float32");
            spec.buffer(tensor.set("range", range));
        }
    }

    /// Declares the frequencies, and computes cosine and sine for all positions: `cosine` and
    /// `sine`, so prefixed. Angles are float32 whatever the model is; what comes of them has the
    /// type of the layer `like`.
    pub fn tables(&self, spec: &mut SpecText, prefix: &str, turned: (&str, u64), like: &str) {
        self.buffers(spec, prefix, turned);
        let angles = format!("{prefix}angles");
        let frequencies = format!("arange(seq)[:, None] * {prefix}inv_freq.float()");
        spec.layer(formula(&format!("{prefix}frequencies"), frequencies));
        let joined = format!("cat([{prefix}frequencies, {prefix}frequencies], dim=-1)");
        spec.layer(formula(&angles, joined));
        for (name, function) in [("cosine", "cos"), ("sine", "sin")] {
            let text = match self.scaling == 1.0 {
                true => format!("{function}({angles}).to({like}.dtype)"),
                false => format!(
                    "({function}({angles}) * {}).to({like}.dtype)",
                    real(self.scaling)
                ),
            };
            spec.layer(formula(&format!("{prefix}{name}"), text));
        }
    }
}

/// The block that turns each pair of elements `(i, i + half)` of a head by its angle. `turned` names
/// the dim of its elements.
pub(super) fn rotate(turned: &str) -> Block {
    let text =
        format!("x * cos + cat([-x[..., {turned} // 2:], x[..., :{turned} // 2]], dim=-1) * sin");
    Block::new("rotate", &["x", "cos", "sin"])
        .note("Turns each pair of elements, half a head apart, by its angle.")
        .layer(formula("", text))
}

/// The block that turns the first elements of a head, and leaves the rest.
pub(super) fn rotate_part(turned: &str) -> Block {
    let text = format!("cat([rotate(x[..., :{turned}], cos, sin), x[..., {turned}:]], dim=-1)");
    Block::new("rotate_part", &["x", "cos", "sin"])
        .note("Turns the first elements of each head, and leaves the others.")
        .layer(formula("", text))
}
