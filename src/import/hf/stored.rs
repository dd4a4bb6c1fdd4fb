//! How weights are stored, and what of a configuration changes figures but is not part of the model.
//!
//! Transformers loads weights in the type in which the configuration says that they are stored, and
//! builds the class in it. What is stored in fewer bits than any float has is unpacked by modules of
//! other libraries, of which nothing is known here: a note says so.

use super::config::Config;

/// What a type may be called, and the preset of a run whose parameters have it.
const TYPES: [(&str, Option<&str>); 6] = [
    ("float32", None),
    ("float", None),
    ("auto", None),
    ("bfloat16", Some("bf16")),
    ("float16", Some("f16")),
    ("half", Some("f16")),
];

/// The preset of a run in the type of the weights; `None` for float32.
pub(super) fn preset(config: &mut Config) -> Option<&'static str> {
    let keys = ["dtype", "torch_dtype"];
    let name = config.optional_text(&keys)?;
    let plain = name.strip_prefix("torch.").unwrap_or(&name);
    if let Some(&(_, preset)) = TYPES.iter().find(|(known, _)| *known == plain) {
        return preset;
    }
    let shown: String = plain.chars().take(40).collect();
    config.unsupported(config.first_of(&keys), &format!("{shown:?}"));
    None
}

/// What the figures leave out, of keys that no class of a model reads.
pub(super) fn notes(config: &mut Config) -> Vec<String> {
    let mut notes = Vec::new();
    if config.has(&["quantization_config"]) {
        notes.push(quantized(config));
    }
    if config.count(&["chunk_size_feed_forward"], 0) > 0 {
        notes.push(
            "feed-forward layers are taken in one piece, although `chunk_size_feed_forward` says \
             that they are computed in chunks: they keep as much, and a step's peak is lower"
                .into(),
        );
    }
    if config
        .entries("pruned_heads")
        .is_some_and(|layers| layers > 0)
    {
        notes.push("no heads are left out, although `pruned_heads` names some".into());
    }
    let keys = ["layerdrop", "encoder_layerdrop", "decoder_layerdrop"];
    if keys.iter().any(|key| config.dropout(&[key], 0.0) > 0.0) {
        notes.push("all layers are counted; `layerdrop` leaves some out of each step".into());
    }
    notes
}

/// The note on weights that are stored in fewer bits, and how to count them.
fn quantized(config: &mut Config) -> String {
    let mut part = config.part("quantization_config");
    let method = part.text(&["quant_method"], "");
    let bits = part.count(&["bits"], 4);
    let format = match (method.as_str(), bits) {
        ("gptq" | "awq", 4) => match part.optional_real(&["group_size", "q_group_size"]) {
            Some(32.0) => Some("int4-g32"),
            Some(64.0) => Some("int4-g64"),
            _ => Some("int4-g128"),
        },
        ("gptq" | "awq", 8) => Some("int8"),
        ("bitsandbytes", _) if part.flag(&["load_in_8bit"], false) => Some("int8"),
        ("bitsandbytes", _) if part.flag(&["bnb_4bit_use_double_quant"], false) => {
            Some("nf4-double")
        }
        ("bitsandbytes", _) => Some("nf4"),
        ("fp8", _) => Some("fp8-block"),
        ("fbgemm_fp8" | "compressed-tensors", _) => Some("fp8"),
        ("mxfp4", _) => Some("mxfp4"),
        _ => None,
    };
    config.absorb(part);
    let by = match method.is_empty() {
        true => String::new(),
        false => format!(" by {}", method.chars().take(40).collect::<String>()),
    };
    let how = match format {
        Some(format) => {
            format!("; `[serve] weights = \"{format}\"` counts them as a server holds them")
        }
        None => String::new(),
    };
    format!("weights are counted as they were before they were quantized{by}{how}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Config {
        Config::parse(text).expect("a configuration")
    }

    #[test]
    fn types_have_either_name_and_either_key() {
        for (text, preset) in [
            (r#"{"dtype": "bfloat16"}"#, Some("bf16")),
            (r#"{"torch_dtype": "torch.float16"}"#, Some("f16")),
            (
                r#"{"dtype": null, "torch_dtype": "bfloat16"}"#,
                Some("bf16"),
            ),
            (r#"{"torch_dtype": "float32"}"#, None),
            ("{}", None),
        ] {
            let mut config = read(text);
            assert_eq!(super::preset(&mut config), preset, "{text}");
            assert!(config.faults().is_empty(), "{text}");
        }
        let mut config = read(r#"{"torch_dtype": "int7"}"#);
        assert_eq!(super::preset(&mut config), None);
        assert_eq!(
            config.faults(),
            ["`torch_dtype` = \"int7\" is not supported"]
        );
    }

    #[test]
    fn quantized_weights_are_told_with_a_way_to_count_them() {
        for (part, wanted) in [
            (
                r#"{"quant_method": "gptq", "bits": 4, "group_size": 64}"#,
                "int4-g64",
            ),
            (
                r#"{"quant_method": "awq", "bits": 4, "group_size": 128}"#,
                "int4-g128",
            ),
            (
                r#"{"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_use_double_quant": true}"#,
                "nf4-double",
            ),
            (
                r#"{"quant_method": "fp8", "weight_block_size": [128, 128]}"#,
                "fp8-block",
            ),
        ] {
            let mut config = read(&format!(r#"{{"quantization_config": {part}}}"#));
            let notes = notes(&mut config);
            assert_eq!(notes.len(), 1, "{part}");
            assert!(notes[0].contains(&format!("\"{wanted}\"")), "{notes:?}");
        }
        assert!(notes(&mut read("{}")).is_empty());
    }
}
