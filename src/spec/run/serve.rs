//! `[serve]`: how the model is to answer requests.

use crate::spec::setting::{Field, choice, settings};
use crate::tensor::Dtype;

settings! {
    /// `[serve]`
    pub struct Serve {
        /// Sequences that are answered at once.
        concurrency: Field<u64>,
        /// Tokens of a prompt.
        prompt: Field<u64>,
        /// Tokens that are generated for each prompt.
        max_tokens: Field<u64>,
        /// Tokens that a forward pass over prompts takes at most (`max_num_batched_tokens`).
        chunk: Field<u64>,
        /// How weights are stored; in their own type where nothing is said.
        weights: Field<WeightFormat>,
        /// Of the cached keys and values; the type of the parameters where nothing is said.
        kv_dtype: Field<CacheDtype>,
        /// Tokens of a block of the cache.
        block_size: Field<u64>,
        /// Tokens that attention looks back on; all where nothing is said.
        window: Field<u64>,
        /// Layers that look back on all tokens although there is a window.
        full_layers: Field<u64>,
        /// Sequences that a beam search keeps for each prompt.
        beams: Field<u64>,
        /// Ways in which matrices and heads are split.
        tensor: Field<u64>,
    }
}

choice! {
    /// How weights are stored.
    pub enum WeightFormat ("weight format") {
        /// Eight-bit integers with a float32 scale for each row (LLM.int8()).
        Int8 = "int8",
        /// Four-bit integers; 128 share a float16 scale and a zero point (GPTQ, AWQ).
        Int4G128 = "int4-g128" | "int4" | "gptq" | "awq",
        /// The same with 64.
        Int4G64 = "int4-g64",
        /// The same with 32.
        Int4G32 = "int4-g32",
        /// Four-bit quantiles of a normal distribution; 64 share a float32 scale (QLoRA).
        Nf4 = "nf4",
        /// The same with eight-bit scales, 256 of which share another one.
        Nf4Double = "nf4-double" | "nf4-dq",
        /// Eight-bit floats with a scale for the tensor.
        Fp8 = "fp8",
        /// Eight-bit floats with a float32 scale for each block of 128 × 128.
        Fp8Block = "fp8-block",
        /// Eight-bit floats; 32 share an eight-bit scale (OCP microscaling).
        MxFp8 = "mxfp8",
        /// Six-bit floats; 32 share an eight-bit scale.
        MxFp6 = "mxfp6",
        /// Four-bit floats; 32 share an eight-bit scale.
        MxFp4 = "mxfp4",
        /// Four-bit floats; 16 share an eight-bit scale, and the tensor a float32 one.
        NvFp4 = "nvfp4",
        /// GGUF: 2.625 bits.
        Q2K = "q2_k",
        /// GGUF: 3.4375 bits.
        Q3K = "q3_k",
        /// GGUF: 4.5 bits.
        Q40 = "q4_0",
        /// GGUF: 5 bits.
        Q41 = "q4_1",
        /// GGUF: 4.5 bits.
        Q4K = "q4_k",
        /// GGUF: 5.5 bits.
        Q50 = "q5_0",
        /// GGUF: 5.5 bits.
        Q5K = "q5_k",
        /// GGUF: 6.5625 bits.
        Q6K = "q6_k",
        /// GGUF: 8.5 bits.
        Q80 = "q8_0",
    }
}

choice! {
    /// In what keys and values are cached.
    pub enum CacheDtype ("type for cached keys and values") {
        /// Four bytes.
        Float32 = "float32" | "fp32" | "f32",
        /// Two bytes.
        Float16 = "float16" | "fp16" | "f16" | "half",
        /// Two bytes.
        Bfloat16 = "bfloat16" | "bf16",
        /// One byte, with a scale for the layer.
        Fp8 = "fp8" | "float8_e4m3fn" | "float8_e5m2",
        /// One byte, with a float16 scale for each token and head.
        Int8 = "int8",
        /// Half a byte, with a float16 scale and zero point for each 32 numbers.
        Int4 = "int4",
    }
}

impl CacheDtype {
    /// The one of that element type; `None` where keys are not cached in it.
    pub fn of(dtype: Dtype) -> Option<CacheDtype> {
        match dtype {
            Dtype::Float32 => Some(CacheDtype::Float32),
            Dtype::Float16 => Some(CacheDtype::Float16),
            Dtype::Bfloat16 => Some(CacheDtype::Bfloat16),
            _ => None,
        }
    }
}
