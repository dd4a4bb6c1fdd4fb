//! One device as the catalogue writes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::dtype::{self, Support};
use crate::quantity::Bytes;

/// Who makes the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Vendor {
    Nvidia,
    Amd,
    Google,
    Intel,
    Apple,
    /// Of a catalogue that the user brings.
    Other,
}

/// What programs drive the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// CUDA, ROCm or Metal.
    Gpu,
    /// XLA.
    Tpu,
    /// Gaudi.
    Hpu,
}

/// Where the figure for usable memory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryStatus {
    /// A runtime printed it.
    Measured,
    /// Derived from the nominal capacity.
    Estimate,
}

/// Which encodings of eight-bit floats the hardware reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fp8Format {
    /// `float8_e4m3fn` and `float8_e5m2`, as the Open Compute Project defines them.
    #[default]
    Ocp,
    /// `float8_e4m3fnuz` and `float8_e5m2fnuz`: another exponent bias, one NaN, no negative zero.
    Fnuz,
}

/// An arithmetic unit: the format it reads and, where there are several, which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// float64, vector.
    Fp64,
    /// float64, matrix.
    Fp64Tensor,
    /// float32, vector.
    Fp32,
    /// float32 with full mantissa, matrix.
    Fp32Tensor,
    /// float32 whose factors are rounded to ten bits of mantissa, matrix.
    Tf32,
    /// bfloat16, matrix.
    Bf16,
    /// float16 with float32 accumulation, matrix.
    Fp16,
    /// float16 with float16 accumulation, matrix. Twice as fast on GeForce; no training uses it.
    Fp16Acc16,
    /// Eight-bit floats with float32 accumulation, matrix.
    Fp8,
    /// Eight-bit floats with float16 accumulation, matrix.
    Fp8Acc16,
    /// Four-bit floats, matrix.
    Fp4,
    /// Eight-bit integers, matrix.
    Int8,
    /// Four-bit integers, matrix.
    Int4,
}

/// The device's memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Technology, `hbm3` or the like.
    pub kind: String,
    /// Bytes on the label, read as GiB: every vendor's accelerator 'GB' turned out to be binary
    /// when compared with what runtimes report.
    pub nominal: Bytes,
    /// Bytes that a framework sees. Where drivers differ, the lowest value observed. The CUDA
    /// context (0.5 to 0.9 GiB) and communication buffers (1 to 2 GiB) come out of it.
    pub usable: Bytes,
    /// Whether `usable` was measured.
    pub usable_status: MemoryStatus,
    /// Bytes per second.
    pub bandwidth: f64,
    /// Bytes of level-2 cache.
    pub l2: Option<Bytes>,
    /// Bytes of cache behind level 2.
    pub last_level_cache: Option<Bytes>,
    /// Bytes of memory on the chip that programs manage.
    pub scratchpad: Option<Bytes>,
}

/// The connection to the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pcie {
    /// PCI Express generation.
    pub generation: u8,
    /// Lanes.
    pub lanes: u8,
    /// Bytes per second in one direction.
    pub per_direction: f64,
}

/// The matrix units and what shapes they like.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Matmul {
    /// Number of multiprocessors, compute units or matrix units.
    pub units: Option<u32>,
    /// Operations per clock and unit in bfloat16 (float16 where there is none; float32 where there
    /// is neither).
    pub flops_per_clock: Option<u32>,
    /// The clock in GHz at which `units * flops_per_clock` gives the published peak.
    pub clock_ghz: Option<f64>,
    /// Inner dimensions must be a multiple of this many bytes to reach the matrix units.
    pub align_bytes_minimum: Option<u32>,
    /// Inner dimensions should be a multiple of this many bytes to run at full rate.
    pub align_bytes_preferred: Option<u32>,
    /// Rows and columns of the output that one multiprocessor works on at a time.
    pub tile: Option<[u32; 2]>,
    /// Rows and columns of a systolic array.
    pub systolic_array: Option<[u32; 2]>,
    /// The last dimension is padded to this many elements.
    pub lanes: Option<u32>,
    /// The last dimension but one is padded to this many elements, by format.
    pub sublanes: BTreeMap<Unit, u32>,
}

/// The link to neighbouring devices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Name of the link, `nvlink4` or the like.
    pub kind: String,
    /// Links per device.
    pub links: u32,
    /// Bytes per second of one link in one direction.
    pub per_link_per_direction: f64,
    /// Bytes per second of all links in one direction.
    pub per_direction: f64,
    /// Number of devices that the links reach.
    pub domain: u32,
    /// How they are wired.
    pub topology: String,
}

/// One accelerator.
///
/// Fields hold what the vendor sells as one device. Where that is several logical devices (an
/// MI250X has two, each of which is a rank), the methods give the share of one logical device,
/// because that is what a program sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The name to write in a spec.
    pub id: String,
    /// Other names.
    pub aliases: Vec<String>,
    /// What `torch.cuda.get_device_name()` or `jax.Device.device_kind` prints.
    #[serde(default)]
    pub runtime_names: Vec<String>,
    /// Who makes it; the catalogue file says it once for all its entries.
    #[serde(default = "Vendor::other")]
    pub vendor: Vendor,
    /// What drives it.
    pub kind: DeviceKind,
    /// The architecture's name in the vendor's compiler.
    pub arch: String,
    /// Year of release.
    pub released: u16,
    /// Number of devices that a runtime sees.
    pub logical_devices: u32,
    /// Thermal design power in watts, where it is published.
    pub tdp_watts: Option<u32>,
    /// Formats that work without a unit for them, several times slower.
    pub emulated: Vec<Unit>,
    /// Formats that have a unit whose peak is not published.
    #[serde(default)]
    pub unpublished: Vec<Unit>,
    /// The encoding of eight-bit floats.
    #[serde(default)]
    pub fp8_format: Fp8Format,
    /// Where the figures come from.
    pub source: String,
    /// What the figures do not say.
    pub note: String,
    /// The memory.
    pub memory: Memory,
    /// The connection to the host, where it is PCI Express.
    pub pcie: Option<Pcie>,
    /// The matrix units.
    #[serde(default)]
    pub matmul: Matmul,
    /// Dense peak in operations per second at the published clock. A missing unit does not exist:
    /// another format's number must not stand in for it.
    pub peak: BTreeMap<Unit, f64>,
    /// The best rate that was measured for a matrix product, in operations per second: the ceiling
    /// for a realistic roofline. From stas00/ml-engineering, 'maximum achievable matmul FLOPS'.
    #[serde(default)]
    pub sustained: BTreeMap<Unit, f64>,
    /// The link to neighbours; none where they talk through the host.
    pub link: Option<Link>,
}

impl Vendor {
    pub(super) fn other() -> Vendor {
        Vendor::Other
    }

    /// The vendor's name as it is written in tables.
    pub fn name(self) -> &'static str {
        match self {
            Vendor::Nvidia => "NVIDIA",
            Vendor::Amd => "AMD",
            Vendor::Google => "Google",
            Vendor::Intel => "Intel",
            Vendor::Apple => "Apple",
            Vendor::Other => "other",
        }
    }
}

impl Device {
    fn share(&self) -> f64 {
        1.0 / f64::from(self.logical_devices.max(1))
    }

    /// All names: the id, the aliases, and what runtimes print.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.id.as_str())
            .chain(self.aliases.iter().map(String::as_str))
            .chain(self.runtime_names.iter().map(String::as_str))
    }

    /// Bytes that a framework sees on one logical device.
    pub fn memory_usable(&self) -> Bytes {
        Bytes(self.memory.usable.0 / u64::from(self.logical_devices.max(1)))
    }

    /// Bytes per second between one logical device and its memory.
    pub fn memory_bandwidth(&self) -> f64 {
        self.memory.bandwidth * self.share()
    }

    /// Bytes per second from one logical device to its neighbours, in one direction; over PCI
    /// Express where there is no link. `None` where neither is known.
    pub fn link_bandwidth(&self) -> Option<f64> {
        let whole = self
            .link
            .as_ref()
            .map(|link| link.per_direction)
            .or(self.pcie.as_ref().map(|pcie| pcie.per_direction))?;
        Some(whole * self.share())
    }

    /// Whether matrix products in `dtype` have hardware. Names are PyTorch's (`bfloat16`,
    /// `float8_e4m3fn`), the catalogue's (`bf16`, `tf32`, `fp8`) or the usual short ones; a name
    /// that is none of these is `Missing`.
    ///
    /// Integers that only index and count (`int64`, `bool`) are native everywhere.
    pub fn supports(&self, dtype: &str) -> Support {
        dtype::support(self, dtype)
    }

    /// The compute capability of an NVIDIA GPU, major and minor: 9.0 for `sm_90`.
    pub fn compute_capability(&self) -> Option<(u32, u32)> {
        let digits = self.arch.strip_prefix("sm_")?;
        let digits = digits.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let (major, minor) = digits.split_at_checked(digits.len().checked_sub(1)?)?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }

    /// Dense peak of one logical device for a matrix product in `dtype`, in operations per second.
    /// `None` where there is no unit or no published figure.
    pub fn peak_flops(&self, dtype: &str) -> Option<f64> {
        self.rate(&self.peak, dtype)
    }

    /// The best rate measured for a matrix product in `dtype` on one logical device, in operations
    /// per second.
    pub fn sustained_flops(&self, dtype: &str) -> Option<f64> {
        self.rate(&self.sustained, dtype)
    }

    fn rate(&self, rates: &BTreeMap<Unit, f64>, dtype: &str) -> Option<f64> {
        let wanted = dtype::Dtype::of(dtype)?;
        if !wanted.readable_by(self) {
            return None;
        }
        let best = wanted
            .units()
            .iter()
            .filter_map(|unit| rates.get(unit))
            .copied()
            .reduce(f64::max)?;
        Some(best * self.share())
    }
}
