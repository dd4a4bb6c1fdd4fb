//! All devices, and the way from a name to one.

use std::fmt;
use std::sync::OnceLock;

use rustc_hash::FxHashMap;
use serde::Deserialize;

use super::{Device, Vendor};
use crate::source::suggest;

/// The catalogue of devices. `find` is `O(1)` for a known name.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    devices: Vec<Device>,
    by_name: FxHashMap<String, usize>,
}

/// A catalogue text that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogueError {
    /// The text is not TOML, or not of the catalogue's form.
    Form(String),
    /// Two devices go by one name.
    Ambiguous {
        /// The name, in small letters.
        name: String,
        /// The ids of the two devices.
        devices: [String; 2],
    },
}

/// A name that no device has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownDevice {
    /// The name as it was given.
    pub given: String,
    /// What may have been meant, or where to look.
    pub help: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    vendor: Vendor,
    #[serde(default)]
    device: Vec<Device>,
}

const EMBEDDED: [&str; 5] = [
    include_str!("catalogue/nvidia.toml"),
    include_str!("catalogue/amd.toml"),
    include_str!("catalogue/google.toml"),
    include_str!("catalogue/intel.toml"),
    include_str!("catalogue/apple.toml"),
];

impl Catalogue {
    /// The catalogue that the program carries; parsed on first use.
    #[allow(clippy::expect_used)] // The text is a constant, and a test parses it.
    pub fn embedded() -> &'static Catalogue {
        static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
        CATALOGUE.get_or_init(|| {
            Catalogue::parse(EMBEDDED).expect("the embedded catalogue is well-formed")
        })
    }

    /// The devices of several TOML texts, each `vendor = "…"` and `[[device]]` entries.
    pub fn parse<'a>(
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Catalogue, CatalogueError> {
        let mut catalogue = Catalogue::default();
        for text in texts {
            let text: Text =
                toml::from_str(text).map_err(|error| CatalogueError::Form(error.to_string()))?;
            for mut device in text.device {
                device.vendor = text.vendor;
                catalogue.add(device)?;
            }
        }
        Ok(catalogue)
    }

    /// Adds a device. The error names the device that already has one of its names.
    pub fn add(&mut self, device: Device) -> Result<(), CatalogueError> {
        let index = self.devices.len();
        for name in device.names().map(plain) {
            let taken = *self.by_name.entry(name.clone()).or_insert(index);
            if let Some(other) = self.devices.get(taken) {
                let devices = [other.id.clone(), device.id.clone()];
                return Err(CatalogueError::Ambiguous { name, devices });
            }
        }
        self.devices.push(device);
        Ok(())
    }

    /// All devices: by vendor, then by year of release, then by id.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The device of that id or alias, or as a runtime prints it. Case does not count, and blanks,
    /// `-` and `_` are the same.
    pub fn find(&self, name: &str) -> Result<&Device, UnknownDevice> {
        self.by_name
            .get(&plain(name))
            .and_then(|&index| self.devices.get(index))
            .ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> UnknownDevice {
        let names = self.devices.iter().flat_map(Device::names);
        let help = match suggest::nearest(name, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "`plimsoll devices` lists all {} known devices",
                self.devices.len()
            ),
        };
        let given = name.to_owned();
        UnknownDevice { given, help }
    }
}

/// A name without what does not count in it.
fn plain(name: &str) -> String {
    name.trim()
        .chars()
        .map(|letter| match letter {
            '_' | ' ' => '-',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

impl fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CatalogueError::Form(text) => write!(f, "the device catalogue cannot be read: {text}"),
            CatalogueError::Ambiguous { name, devices } => write!(
                f,
                "the name `{name}` stands for two devices, `{}` and `{}`",
                devices[0], devices[1]
            ),
        }
    }
}

impl std::error::Error for CatalogueError {}

impl fmt::Display for UnknownDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no device `{}`", self.given)
    }
}

impl std::error::Error for UnknownDevice {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Support, Unit};

    #[test]
    fn every_entry_is_sound() {
        let catalogue = Catalogue::parse(EMBEDDED).unwrap();
        assert_eq!(catalogue.devices().len(), 33);
        for device in catalogue.devices() {
            let id = &device.id;
            let memory = &device.memory;
            assert!(
                id.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{id}: an id is written in small letters, digits and hyphens"
            );
            assert!(!device.source.trim().is_empty(), "{id} has no source");
            assert!(
                memory.usable <= memory.nominal && memory.usable.0 > memory.nominal.0 / 2,
                "{id}: {} usable of {}",
                memory.usable,
                memory.nominal
            );
            assert!((1e11..1e14).contains(&memory.bandwidth), "{id}");
            assert!(!device.peak.is_empty(), "{id}");
            assert!((1..=2).contains(&device.logical_devices), "{id}");
            for (unit, &rate) in &device.peak {
                assert!((1e11..1e17).contains(&rate), "{id} {unit:?}");
                assert!(
                    !device.emulated.contains(unit) && !device.unpublished.contains(unit),
                    "{id}: {unit:?} has a peak and is said to have none"
                );
            }
            for (unit, &rate) in &device.sustained {
                assert!(
                    rate < device.peak[unit] && rate > 0.4 * device.peak[unit],
                    "{id}: {unit:?} sustains {rate:e}"
                );
            }
            if let Some(link) = &device.link {
                let sum = f64::from(link.links) * link.per_link_per_direction;
                assert!((sum / link.per_direction - 1.0).abs() < 0.001, "{id}: link");
                assert!(link.domain >= 2, "{id}: a link to nobody");
            }
            if let Some(pcie) = &device.pcie {
                // 128b/130b coding at 8 GT/s a lane in generation 3, doubling with each.
                let lane = 8e9 * 128.0 / 130.0 / 8.0 * f64::from(1 << (pcie.generation - 3));
                let whole = lane * f64::from(pcie.lanes);
                assert!(
                    (pcie.per_direction / whole - 1.0).abs() < 0.001,
                    "{id}: PCIe"
                );
            }
        }
    }

    /// A peak taken from the sparse column of a data sheet, or for the whole board, fails here.
    #[test]
    fn units_times_clock_is_the_peak() {
        let mut checked = 0;
        for device in Catalogue::embedded().devices() {
            let matmul = &device.matmul;
            let (Some(units), Some(flops), Some(clock)) =
                (matmul.units, matmul.flops_per_clock, matmul.clock_ghz)
            else {
                continue;
            };
            let peak = [Unit::Bf16, Unit::Fp16, Unit::Fp32]
                .iter()
                .find_map(|unit| device.peak.get(unit))
                .unwrap();
            let product = f64::from(units) * f64::from(flops) * clock * 1e9;
            assert!(
                (product / peak - 1.0).abs() < 0.02,
                "{}: {product:e} against {peak:e}",
                device.id
            );
            checked += 1;
        }
        assert_eq!(checked, 31, "only TPU v6e and v7 publish no such figures");
    }

    #[test]
    fn entries_are_sorted() {
        let keys: Vec<_> = Catalogue::embedded()
            .devices()
            .iter()
            .map(|device| (device.vendor, device.released, device.id.as_str()))
            .collect();
        assert!(keys.is_sorted(), "{keys:?}");
    }

    #[test]
    fn devices_are_found_by_any_name_and_case() {
        for (name, id) in [
            ("H100", "h100-sxm"),
            ("h100_sxm", "h100-sxm"),
            (" NVIDIA H100 80GB HBM3 ", "h100-sxm"),
            ("Tesla T4", "t4"),
            ("trillium", "tpu-v6e"),
            ("TPU v5 lite", "tpu-v5e"),
        ] {
            assert_eq!(Catalogue::embedded().find(name).unwrap().id, id, "{name}");
        }
        for device in Catalogue::embedded().devices() {
            for name in device.names() {
                assert_eq!(Catalogue::embedded().find(name).unwrap().id, device.id);
            }
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_a_near_one() {
        let unknown = |name| {
            let error = Catalogue::embedded().find(name).unwrap_err();
            format!("{error}; {}", error.help)
        };
        insta::assert_snapshot!(unknown("h100-smx"), @"there is no device `h100-smx`; did you mean `h100-sxm`?");
        insta::assert_snapshot!(unknown("abacus"), @"there is no device `abacus`; `plimsoll devices` lists all 33 known devices");
    }

    #[test]
    fn a_name_for_two_devices_is_an_error() {
        let twice = [EMBEDDED[4], EMBEDDED[4]];
        let error = Catalogue::parse(twice).unwrap_err();
        insta::assert_snapshot!(error, @"the name `m2-ultra` stands for two devices, `m2-ultra` and `m2-ultra`");
    }

    #[test]
    fn support_is_told_by_torch_names_and_short_ones() {
        use Support::{Emulated, Missing, Native};
        for (device, dtype, support) in [
            ("v100", "bfloat16", Emulated),
            ("v100", "tf32", Missing),
            ("a100", "torch.bfloat16", Native),
            ("a100", "fp8", Missing),
            ("h100", "float8_e4m3fn", Native),
            ("h100", "float8_e4m3fnuz", Missing),
            ("mi300x", "float8_e4m3fnuz", Native),
            ("mi300x", "float8_e4m3fn", Missing),
            ("mi300x", "fp8", Native),
            ("tpu-v4", "half", Emulated),
            ("tpu-v4", "float32", Emulated),
            ("tpu-v4", "int64", Native),
            ("a10", "float64", Native),
            ("m2-ultra", "float64", Missing),
            ("h100", "float7", Missing),
        ] {
            let device = Catalogue::embedded().find(device).unwrap();
            assert_eq!(device.supports(dtype), support, "{} {dtype}", device.id);
        }
    }

    #[test]
    fn rates_are_those_of_one_rank() {
        let find = |name| Catalogue::embedded().find(name).unwrap();
        assert_eq!(find("h100").peak_flops("bf16"), Some(9.894e14));
        assert_eq!(find("h100").peak_flops("float64"), Some(6.69e13));
        assert_eq!(find("h100").sustained_flops("bfloat16"), Some(7.945e14));
        assert_eq!(find("v100").peak_flops("bf16"), None);
        assert_eq!(find("a10").peak_flops("float64"), None);
        let mi250x = find("mi250x");
        assert_eq!(mi250x.peak_flops("float16"), Some(1.915e14));
        assert_eq!(mi250x.memory_usable().to_string(), "63.6 GiB");
        assert_eq!(mi250x.memory_bandwidth(), 1.6384e12);
        assert_eq!(find("t4").link_bandwidth(), Some(1.575e10));
    }
}
