//! What a device holds besides tensors: the context, workspaces of libraries, and buffers of the
//! communication library. All of it is estimated, with bounds and where they come from.

use super::Facts;
use crate::device::{Device, DeviceKind, Vendor};
use crate::graph::Graph;
use crate::quantity::Bytes;

const MIB: u64 = 1 << 20;

/// An amount that is estimated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estimate {
    /// What for: `CUDA context`.
    pub name: &'static str,
    /// The least that is known of.
    pub low: Bytes,
    /// What is usual.
    pub bytes: Bytes,
    /// The most that is known of.
    pub high: Bytes,
    /// How it comes about.
    pub how: String,
    /// Where the figures come from.
    pub source: &'static str,
    /// Whether PyTorch's caching allocator holds it, so that it is among what is reserved.
    pub allocated: bool,
}

/// The overheads on the device, or on an NVIDIA GPU of any kind where none is named.
/// `O(nodes)`.
pub fn overheads(facts: &Facts<'_>, device: Option<&Device>) -> Vec<Estimate> {
    let kind = device.map_or(DeviceKind::Gpu, |device| device.kind);
    let vendor = device.map_or(Vendor::Nvidia, |device| device.vendor);
    let capability = device.and_then(Device::compute_capability);
    if kind != DeviceKind::Gpu || !matches!(vendor, Vendor::Nvidia | Vendor::Amd) {
        return Vec::new();
    }
    let mut found = vec![context(vendor, capability)];
    found.extend(blas(facts, device, vendor, capability));
    found.extend(convolutions(facts.graph()));
    found.extend(communicators(facts));
    found
}

/// With modules loaded as they are needed, the default since CUDA 11.7.
fn context(vendor: Vendor, capability: Option<(u32, u32)>) -> Estimate {
    let (low, usual, high) = match (vendor, capability) {
        (Vendor::Amd, _) => (300, 600, 1200),
        (_, Some((major, _))) if major >= 9 => (450, 730, 1400),
        (_, Some(_)) => (300, 430, 900),
        (_, None) => (300, 450, 1400),
    };
    Estimate {
        name: match vendor {
            Vendor::Amd => "HIP context",
            _ => "CUDA context",
        },
        low: Bytes(low * MIB),
        bytes: Bytes(usual * MIB),
        high: Bytes(high * MIB),
        how: "driver, modules as they are loaded, handles".to_owned(),
        source: "measurements in PyTorch issues 107667, 109888 and 28394, unsloth-zoo 1053, \
                 stas00/ml-engineering",
        allocated: false,
    }
}

/// The workspace that PyTorch gives cuBLAS, one for each thread that multiplies: the backward pass
/// runs in a thread of its own.
fn blas(
    facts: &Facts<'_>,
    device: Option<&Device>,
    vendor: Vendor,
    capability: Option<(u32, u32)>,
) -> Option<Estimate> {
    if facts.cost().forward.get() == 0 {
        return None;
    }
    let arch = device.map_or("", |device| device.arch.as_str());
    let one = match (vendor, capability) {
        (Vendor::Amd, _) if arch.starts_with("gfx94") || arch.starts_with("gfx95") => 128 * MIB,
        (Vendor::Amd, _) => 32 * MIB,
        (_, Some((9 | 10 | 12, _))) => 32 * MIB,
        _ => 8_519_680,
    };
    let count = if facts.graph().training { 2 } else { 1 };
    let unknown = vendor == Vendor::Nvidia && capability.is_none();
    Some(Estimate {
        name: "workspace of products",
        low: Bytes(one),
        bytes: Bytes(one * count),
        high: Bytes(count * if unknown { 32 * MIB } else { one }),
        how: match count {
            1 => "one workspace".to_owned(),
            count => format!("{count} workspaces, forward and backward"),
        },
        source: "PyTorch, ATen/cuda/CublasHandlePool.cpp",
        allocated: true,
    })
}

/// Convolutions take anything from no workspace to all patches of a sample laid side by side.
fn convolutions(graph: &Graph) -> Option<Estimate> {
    let patches = |node: &crate::graph::Node| -> Option<u64> {
        if !matches!(node.op.name, "conv1d" | "conv2d" | "conv3d") || !graph.is_known(node) {
            return None;
        }
        let weight = graph.ty(*node.arguments.get(1)?);
        let output = graph.ty(node.first_output);
        let kernel: u64 = weight.shape.sizes().iter().skip(1).product();
        let positions: u64 = output.shape.sizes().iter().skip(2).product();
        Some(output.dtype.bytes_for(kernel.saturating_mul(positions)))
    };
    let most = graph.nodes().filter_map(|(_, node)| patches(node)).max()?;
    Some(Estimate {
        name: "workspace of convolutions",
        low: Bytes::ZERO,
        bytes: Bytes::ZERO,
        high: Bytes(most),
        how: "up to all patches of a sample, by the algorithm that is chosen".to_owned(),
        source: "no workspace to im2col; PyTorch issues 49207 and 13412 know of more",
        allocated: true,
    })
}

/// Bytes of the buffers of one connection on one channel: 512 KiB, 4.7 MiB and 4 MiB for the three
/// protocols, as NCCL allocates them.
const CONNECTION: u64 = 10 * MIB;

/// One communicator for each axis of the plan along which something is reduced or sent.
fn communicators(facts: &Facts<'_>) -> Option<Estimate> {
    let parallel = &facts.run().parallel;
    let degree = |given: Option<u64>| given.unwrap_or(1).max(1);
    let rings = [
        facts.batch().data_ranks,
        degree(parallel.tensor.get()),
        degree(parallel.pipeline.get()),
        degree(parallel.context.get()),
    ];
    let rings = rings.iter().filter(|&&ranks| ranks > 1).count() as u64;
    let experts = degree(parallel.expert.get());
    if rings == 0 && experts == 1 {
        return None;
    }
    // Two neighbours on a ring, all others in an exchange of all with all.
    let peers = 2 * rings + (experts - 1);
    let of = |channels: u64| Bytes(peers.saturating_mul(channels).saturating_mul(CONNECTION));
    Some(Estimate {
        name: "buffers of NCCL",
        low: of(2),
        bytes: of(16),
        high: of(32),
        how: format!("{peers} connections of 10 MiB on 2 to 32 channels, 16 being usual"),
        source: "NCCL, src/include/device.h; issues 864 and 1685",
        allocated: false,
    })
}
