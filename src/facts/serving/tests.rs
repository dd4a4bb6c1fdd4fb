//! What is cached and how weights are stored, against the figures of models in use.

use super::*;
use crate::facts::fixture::lowered;
use crate::tensor::Shape;

/// A decoder of so many layers, heads, heads of keys and widths, with its `[serve]` table.
fn decoder(layers: u64, heads: u64, kv_heads: u64, head: u64, serve: &str) -> Serving {
    let text = format!(
        r#"
spec = 1
[model]
dtype = "bfloat16"
[inputs]
tokens = {{ shape = [1, 64], dtype = "int64" }}
[blocks.decoder]
inputs = ["x"]
layers = [
  {{ name = "norm", op = "rms_norm" }},
  {{ name = "q", op = "linear", in = "norm", out_features = {queries} }},
  {{ name = "k", op = "linear", in = "norm", out_features = {keys} }},
  {{ name = "v", op = "linear", in = "norm", out_features = {keys} }},
  {{ name = "attn", op = "attention", in = ["q", "k", "v"], heads = {heads}, kv_heads = {kv_heads}, is_causal = true }},
  {{ name = "o", op = "linear", out_features = 64 }},
  {{ formula = "x + o" }},
]
[[layers]]
name = "wte"
op = "embedding"
num_embeddings = 1000
embedding_dim = 64
[[layers]]
name = "h"
op = "decoder"
repeat = {layers}
[[layers]]
name = "logits"
op = "linear"
out_features = 1000
bias = false
[serve]
{serve}
"#,
        queries = heads * head,
        keys = kv_heads * head,
    );
    serving(&text)
}

fn serving(text: &str) -> Serving {
    let (spec, model) = lowered(text);
    Serving::of(&Facts::new(&spec, &model)).unwrap()
}

/// Guards the bytes of a token against those of models in use, in 16 bits: Llama-2-7B and 70B,
/// Llama-3-8B and 3.1-405B, GPT-2 XL, and a model with one head of keys.
#[test]
fn tokens_take_what_they_take_in_models_in_use() {
    for (layers, heads, kv_heads, head, expected) in [
        (32, 32, 32, 128, 524_288),
        (80, 64, 8, 128, 327_680),
        (32, 32, 8, 128, 131_072),
        (126, 128, 8, 128, 516_096),
        (48, 25, 25, 64, 307_200),
        (32, 71, 1, 64, 8_192),
    ] {
        let serving = decoder(layers, heads, kv_heads, head, "prompt = 100");
        assert_eq!(
            serving.cache.token.0, expected,
            "{layers} {heads} {kv_heads}"
        );
        assert_eq!(serving.cache.layers.len() as u64, layers);
        // Blocks of sixteen tokens.
        assert_eq!(serving.cache.sequence.0, expected * 112);
    }
}

/// Guards the settings of the cache: type, blocks, windows, beams and ranks.
#[test]
fn caches_follow_their_settings() {
    let cache = |serve: &str| decoder(4, 8, 2, 32, serve).cache;
    let token = 4 * 2 * 2 * 32;
    for (serve, expected) in [
        ("prompt = 64", token * 2 * 64),
        ("prompt = 60\nmax_tokens = 4", token * 2 * 64),
        ("prompt = 64\nblock_size = 100", token * 2 * 100),
        ("prompt = 64\nkv_dtype = \"fp8\"", token * 64),
        // A scale of two bytes for each head of keys and of values.
        (
            "prompt = 64\nkv_dtype = \"int8\"",
            (token + 4 * 2 * 2 * 2) * 64,
        ),
        ("prompt = 64\nkv_dtype = \"int4\"", token * 5 / 8 * 64),
        ("prompt = 64\nwindow = 16", token * 2 * 16),
        (
            "prompt = 64\nwindow = 16\nfull_layers = 1",
            token / 2 * (64 + 3 * 16),
        ),
        ("prompt = 64\nbeams = 4", token * 2 * 64 * 4),
        ("prompt = 64\ntensor = 2", token * 64),
        // Two heads over eight ranks: each holds one.
        ("prompt = 64\ntensor = 8", token * 64),
        ("prompt = 64\nconcurrency = 3", token * 2 * 64),
    ] {
        assert_eq!(cache(serve).sequence.0, expected, "{serve}");
    }
    assert_eq!(
        cache("prompt = 64\nconcurrency = 3").bytes.0,
        3 * token * 2 * 64
    );
}

/// Multi-head latent attention as DeepSeek-V3 has it: a latent of 512 numbers and a rotated key of 64
/// that all heads share.
#[test]
fn a_latent_is_cached_instead_of_keys_and_values() {
    let text = r#"
spec = 1
[model]
dtype = "bfloat16"
[dims]
batch = 1
seq = 16
heads = 128
[inputs]
hidden = ["batch", "seq", 512]
[blocks.decoder]
inputs = ["x"]
layers = [
  { name = "norm", op = "rms_norm" },
  { name = "q_a", op = "linear", in = "norm", out_features = 1536 },
  { name = "q_norm", op = "rms_norm" },
  { name = "q_b", op = "linear", out_features = "heads * 192" },
  { name = "q", formula = "q_b.reshape(batch, seq, heads, 192).transpose(1, 2)" },
  { name = "kv_a", op = "linear", in = "norm", out_features = 576 },
  { name = "latent", formula = "kv_a[..., :512]" },
  { name = "kv_norm", op = "rms_norm" },
  { name = "kv_b", op = "linear", out_features = "heads * 256" },
  { name = "kv", formula = "kv_b.reshape(batch, seq, heads, 256).transpose(1, 2)" },
  { name = "rotated", formula = "kv_a[..., 512:].reshape(batch, 1, seq, 64).expand(batch, heads, seq, 64)" },
  { name = "k", formula = "cat([kv[..., :128], rotated], dim=-1)" },
  { name = "attn", formula = "scaled_dot_product_attention(q, k, kv[..., 128:], is_causal=True)" },
  { name = "joined", formula = "attn.transpose(1, 2).reshape(batch, seq, heads * 128)" },
  { name = "o", op = "linear", out_features = 512 },
  { formula = "x + o" },
]
[[layers]]
name = "h"
op = "decoder"
repeat = 61
[serve]
prompt = 16
"#;
    let serving = serving(text);
    assert!(
        serving
            .cache
            .layers
            .iter()
            .all(|layer| layer.kind == Kind::Latent)
    );
    assert_eq!(serving.cache.token.0, 70_272);
    // The latent is the same on all ranks.
    let text = text.replace("prompt = 16", "prompt = 16\ntensor = 8");
    let (spec, model) = lowered(&text);
    let split = Serving::of(&Facts::new(&spec, &model)).unwrap();
    assert_eq!(split.cache.token.0, 70_272);
}

/// Guards encoders, which cache nothing, what decoders attend to of them, which is cached once, and
/// the state of recurrent layers.
#[test]
fn what_is_no_decoder_caches_nothing() {
    let attention = |mask: &str, decoder: &str| {
        format!(
            r#"
spec = 1
[dims]
batch = 2
seq = 8
[inputs]
x = ["batch", "seq", 32]
y = ["batch", 6, 32]
[blocks.layer]
inputs = ["x", "memory"]
layers = [
  {{ name = "q", op = "linear", in = "x", out_features = 32 }},
  {{ name = ["k", "v"], op = "linear", in = "memory", out_features = 64, split = 2 }},
  {{ name = "attn", op = "attention", in = ["q", "k", "v"], heads = 4{mask} }},
  {{ formula = "x + attn" }},
]
[[layers]]
name = "encoder"
op = "layer"
in = ["x", "x"]
repeat = 2
{decoder}
[serve]
prompt = 8
"#
        )
    };
    let text = attention("", "").replace("repeat = 2\n", "");
    assert_eq!(serving(&text).cache.layers, []);
    let decoder = "[[layers]]\nname = \"a\"\nop = \"layer\"\nin = [\"y\", \"encoder\"]";
    let text = attention(", is_causal = true", decoder).replace("repeat = 2\n", "");
    let serving_of = serving(&text);
    let kinds: Vec<Kind> = serving_of
        .cache
        .layers
        .iter()
        .map(|layer| layer.kind)
        .collect();
    assert_eq!(
        kinds,
        [Kind::Fixed(8)],
        "the encoder's own attention is no cache"
    );
    assert_eq!(serving_of.cache.sequence.0, 4 * 2 * 32 * 8);
    let lstm = "spec = 1\n[inputs]\nx = [2, 8, 16]\n[[layers]]\nop = \"lstm\"\nhidden_size = 32\n\
         num_layers = 2\nbatch_first = true\n[serve]\nprompt = 8\n";
    assert_eq!(serving(lstm).cache.sequence.0, 4 * 2 * 2 * 32);
}

/// An attention that is written out is found too, with the heads that it repeats.
#[test]
fn products_around_a_softmax_are_attention() {
    let text = r#"
spec = 1
[dims]
batch = 2
seq = 8
[inputs]
x = ["batch", "seq", 32]
mask = ["seq", "seq"]
[[layers]]
name = "q"
op = "linear"
out_features = 64
in = "x"
[[layers]]
name = ["k", "v"]
op = "linear"
out_features = 32
split = 2
in = "x"
[[layers]]
name = "keys"
formula = "k.reshape(batch, seq, 2, 8).transpose(1, 2).repeat_interleave(4, dim=1)"
[[layers]]
name = "values"
formula = "v.reshape(batch, seq, 2, 8).transpose(1, 2).repeat_interleave(4, dim=1)"
[[layers]]
name = "attn"
formula = "softmax(q.reshape(batch, seq, 8, 8).transpose(1, 2) @ keys.mT * 0.35 + mask, dim=-1) @ values"
[serve]
prompt = 8
"#;
    let cache = serving(text).cache;
    assert_eq!(cache.token.0, 4 * 2 * 2 * 8);
    assert_eq!(cache.layers[0].heads, 2);
}

/// Bits for each weight of a matrix of 4096 × 4096.
#[test]
fn formats_take_so_many_bits_for_each_weight() {
    use WeightFormat as W;
    let shape = Shape::from([4096, 4096]);
    let count = 4096.0 * 4096.0;
    for (format, expected) in [
        (W::Int8, 8.0 + 32.0 / 4096.0),
        (W::Int4G128, 4.156_25),
        (W::Int4G64, 4.0 + 20.0 / 64.0),
        (W::Int4G32, 4.0 + 20.0 / 32.0),
        (W::Nf4, 4.5),
        (W::Nf4Double, 4.0 + 8.0 / 64.0 + 32.0 / (64.0 * 256.0)),
        (W::Fp8, 8.0 + 32.0 / count),
        (W::Fp8Block, 8.0 + 32.0 / 16_384.0),
        (W::MxFp8, 8.25),
        (W::MxFp6, 6.25),
        (W::MxFp4, 4.25),
        (W::NvFp4, 4.5 + 32.0 / count),
        (W::Q2K, 2.625),
        (W::Q3K, 3.4375),
        (W::Q40, 4.5),
        (W::Q41, 5.0),
        (W::Q4K, 4.5),
        (W::Q50, 5.5),
        (W::Q5K, 5.5),
        (W::Q6K, 6.5625),
        (W::Q80, 8.5),
    ] {
        let bits = 8.0 * quantised_bytes(format, &shape) as f64 / count;
        assert!(
            (bits - expected).abs() < 1e-6,
            "{format}: {bits} of {expected}"
        );
    }
    // Groups do not reach over rows, and blocks are not cut.
    let narrow = Shape::from([100, 130]);
    assert_eq!(
        quantised_bytes(W::Int4G128, &narrow),
        (100 * 130 * 4 + 200 * 20) / 8
    );
    assert_eq!(quantised_bytes(W::Fp8Block, &narrow), 100 * 130 + 4 * 2);
}

/// Guards which weights are quantised: the products' factors, but not the embedding, the output's
/// matrix, norms and biases. GGUF takes all matrices.
#[test]
fn embeddings_and_the_output_keep_their_type() {
    let (embedding, head) = (1000 * 64, 1000 * 64);
    let norms_and_biases = 4 * (64 + 256 + 64 + 64 + 64);
    let factors = 4 * (256 + 64 + 64) * 64 + 4 * 64 * 256;
    let weights = |serve: &str| decoder(4, 8, 2, 32, serve).weights;
    let own = weights("prompt = 8");
    assert_eq!(own.quantised, 0);
    assert_eq!(
        own.bytes,
        2 * (embedding + head + norms_and_biases + factors)
    );
    let mx = weights("weights = \"mxfp8\"");
    assert_eq!(mx.quantised, factors);
    assert_eq!(mx.bytes, 2 * (own.kept - factors) + factors + factors / 32);
    let gguf = weights("weights = \"q8_0\"");
    assert_eq!(gguf.quantised, factors + embedding + head);
}

/// Guards the peaks: in proportion to the tokens of a pass, with one row of logits a sequence.
#[test]
fn peaks_are_those_of_a_pass() {
    let one = decoder(2, 8, 2, 32, "prompt = 64");
    let many = decoder(2, 8, 2, 32, "prompt = 64\nconcurrency = 4");
    let logits = 4 * 1000;
    assert_eq!((many.prefill.0 - 4 * logits), 4 * (one.prefill.0 - logits));
    assert_eq!((one.prefill.0 - logits), 64 * (one.decode.0 - logits));
    let chunked = decoder(2, 8, 2, 32, "prompt = 64\nconcurrency = 4\nchunk = 64");
    assert_eq!(chunked.prefill.0 - 4 * logits, one.prefill.0 - logits);
    assert_eq!(
        one.total.0,
        one.weights.bytes + one.cache.bytes.0 + one.prefill.0
    );
    let room = Bytes(one.total.0 + 10 * one.cache.sequence.0);
    assert_eq!(one.sequences_in(room), Some(11));
}
