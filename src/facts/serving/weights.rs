//! How many bytes weights take in the formats in which they are served.
//!
//! Which weights are quantised follows from how they are used: the factors of `linear` and of the
//! batched products of experts. What gives the model's output and what is looked up as an embedding
//! keep their type, as bitsandbytes, GPTQ and AWQ leave them; GGUF quantises these too.

use crate::graph::{Graph, TensorId, TensorKind};
use crate::spec::run::WeightFormat;
use crate::tensor::Shape;

/// How a format stores a matrix.
#[derive(Debug, Clone, Copy)]
struct Format {
    /// Bits of each weight, in thirty-seconds: GGUF has fractions.
    bits: u64,
    /// What is stored besides.
    scales: Scales,
    /// Whether embeddings and the output's matrix are quantised too.
    everything: bool,
}

/// What a format stores beside the numbers.
#[derive(Debug, Clone, Copy)]
enum Scales {
    /// Bits for each group of so many weights of a row.
    Group { weights: u64, bits: u64 },
    /// Bits for each group, and float32 for each 256 of those, of the whole tensor.
    Double { weights: u64, bits: u64 },
    /// Bits for each group of a row, and float32 for the tensor.
    GroupAndTensor { weights: u64, bits: u64 },
    /// Float32 for each row.
    Row,
    /// Float32 for the tensor.
    Tensor,
    /// Float32 for each square of so many rows and columns.
    Block(u64),
    /// They are among the bits.
    Inside,
}

fn format(format: WeightFormat) -> Format {
    use WeightFormat as W;
    let plain = |bits: u64, scales: Scales| Format {
        bits: 32 * bits,
        scales,
        everything: false,
    };
    let group = |weights: u64, bits: u64| Scales::Group { weights, bits };
    // Super-blocks of 256 weights, or blocks of 32: thirty-seconds of a bit for each weight.
    let gguf = |bits: u64| Format {
        bits,
        scales: Scales::Inside,
        everything: true,
    };
    match format {
        W::Int8 => plain(8, Scales::Row),
        W::Int4G128 => plain(4, group(128, 16 + 4)),
        W::Int4G64 => plain(4, group(64, 16 + 4)),
        W::Int4G32 => plain(4, group(32, 16 + 4)),
        W::Nf4 => plain(4, group(64, 32)),
        W::Nf4Double => plain(
            4,
            Scales::Double {
                weights: 64,
                bits: 8,
            },
        ),
        W::Fp8 => plain(8, Scales::Tensor),
        W::Fp8Block => plain(8, Scales::Block(128)),
        W::MxFp8 => plain(8, group(32, 8)),
        W::MxFp6 => plain(6, group(32, 8)),
        W::MxFp4 => plain(4, group(32, 8)),
        W::NvFp4 => plain(
            4,
            Scales::GroupAndTensor {
                weights: 16,
                bits: 8,
            },
        ),
        W::Q2K => gguf(84),
        W::Q3K => gguf(110),
        W::Q40 | W::Q4K => gguf(144),
        W::Q41 => gguf(160),
        W::Q50 | W::Q5K => gguf(176),
        W::Q6K => gguf(210),
        W::Q80 => gguf(272),
    }
}

/// Bytes of a matrix, or of a stack of them, in a format. Saturates.
pub fn quantised_bytes(weights: WeightFormat, shape: &Shape) -> u64 {
    let elements = u128::from(shape.elements());
    let Format { bits, scales, .. } = format(weights);
    let columns = u128::from(shape.sizes().last().copied().unwrap_or(1)).max(1);
    let rows = elements / columns;
    let in_row = |weights: u64| rows * columns.div_ceil(u128::from(weights));
    let (stack, last_rows) = match shape.sizes() {
        [stack @ .., rows, _] => (stack.iter().map(|&n| u128::from(n)).product(), *rows),
        _ => (1u128, 1),
    };
    let scales = match scales {
        Scales::Group { weights, bits } => in_row(weights) * u128::from(bits),
        Scales::Double { weights, bits } => {
            let groups = elements.div_ceil(u128::from(weights));
            groups * u128::from(bits) + groups.div_ceil(256) * 32
        }
        Scales::GroupAndTensor { weights, bits } => in_row(weights) * u128::from(bits) + 32 * stack,
        Scales::Row => rows * 32,
        Scales::Tensor => 32 * stack,
        Scales::Block(side) => {
            let side = u128::from(side);
            stack * u128::from(last_rows).div_ceil(side) * columns.div_ceil(side) * 32
        }
        Scales::Inside => 0,
    };
    let bits = (elements * u128::from(bits)).div_ceil(32) + scales;
    u64::try_from(bits.div_ceil(8)).unwrap_or(u64::MAX)
}

/// What the weights take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weights {
    /// Bytes of all of them, on one of the devices that split them.
    pub bytes: u64,
    /// Elements that are quantised.
    pub quantised: u64,
    /// Elements that keep their type.
    pub kept: u64,
}

/// The weights of a model in a format, or in their own types, on one of `tensor` devices.
/// `O(operands)`.
pub fn weights(
    graph: &Graph,
    chosen: Option<WeightFormat>,
    split: impl Fn(usize) -> bool,
    tensor: u64,
) -> Weights {
    let roles = Roles::of(graph);
    let mut sum = Weights::default();
    let (mut whole, mut divided) = (0u64, 0u64);
    for (number, parameter) in graph.parameters.iter().enumerate() {
        let ty = graph.ty(parameter.tensor);
        let elements = ty.shape.elements();
        let format = chosen.filter(|&chosen| {
            !parameter.buffer && roles.is_quantised(number, format(chosen).everything)
        });
        let bytes = match format {
            Some(format) => {
                sum.quantised = sum.quantised.saturating_add(elements);
                quantised_bytes(format, &ty.shape)
            }
            None => {
                if !parameter.buffer {
                    sum.kept = sum.kept.saturating_add(elements);
                }
                ty.bytes()
            }
        };
        let part = match split(number) {
            true => &mut divided,
            false => &mut whole,
        };
        *part = part.saturating_add(bytes);
    }
    sum.bytes = whole.saturating_add(divided.div_ceil(tensor.max(1)));
    sum
}

/// What parameters are used for.
struct Roles {
    factor: Vec<bool>,
    ends: Vec<bool>,
}

impl Roles {
    fn of(graph: &Graph) -> Roles {
        let count = graph.parameters.len();
        let mut roles = Roles {
            factor: vec![false; count],
            ends: vec![false; count],
        };
        let head = head(graph);
        for (id, node) in graph.nodes() {
            let parameter = |position: usize| {
                let id = node.arguments.get(position).filter(|id| id.is_present())?;
                let id = through_views(graph, *id);
                match graph.tensor(id).kind {
                    TensorKind::Parameter(number) => Some(number as usize),
                    _ => None,
                }
            };
            match node.op.name {
                "linear" | "addmm" | "mm" | "matmul" | "bmm" | "baddbmm" | "einsum" => {
                    for position in 0..node.arguments.len() {
                        let Some(number) = parameter(position) else {
                            continue;
                        };
                        if graph.ty(graph.parameters[number].tensor).shape.rank() >= 2 {
                            roles.factor[number] = true;
                            roles.ends[number] |= head == Some(id);
                        }
                    }
                }
                "embedding" | "embedding_bag" => {
                    for position in 0..node.arguments.len() {
                        if let Some(number) = parameter(position) {
                            roles.ends[number] = true;
                        }
                    }
                }
                _ => {}
            }
        }
        roles
    }

    fn is_quantised(&self, number: usize, everything: bool) -> bool {
        match everything {
            true => self.factor[number] || self.ends[number],
            false => self.factor[number] && !self.ends[number],
        }
    }
}

/// The tensor behind views that only turn it round.
fn through_views(graph: &Graph, mut id: TensorId) -> TensorId {
    for _ in 0..8 {
        let Some(node) = graph.producer(id) else {
            break;
        };
        let node = graph.node(node);
        if !matches!(node.op.name, "t" | "transpose" | "permute" | "to") {
            break;
        }
        id = node.arguments[0];
    }
    id
}

/// The last product with a matrix of the model, behind which no other one follows: what gives its
/// output or its logits.
pub fn head(graph: &Graph) -> Option<crate::graph::NodeId> {
    let is_product = |name: &str| matches!(name, "linear" | "addmm" | "matmul" | "mm");
    graph
        .nodes()
        .filter(|(_, node)| {
            is_product(node.op.name)
                && node.arguments.iter().any(|&id| {
                    id.is_present()
                        && matches!(
                            graph.tensor(through_views(graph, id)).kind,
                            TensorKind::Parameter(_)
                        )
                })
        })
        .map(|(id, _)| id)
        .last()
}
