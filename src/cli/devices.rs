//! `devices`: the accelerators that are known by name.

use serde::Serialize;

use super::Form;
use super::console::{Console, Style, paint};
use super::status::{Complaint, Status, Stop};
use super::table::{Align, table};
use crate::device::{Catalogue, Device, Fp8Format, MemoryStatus, Unit};
use crate::quantity::{group, si};
use crate::render::Layout;

/// List the devices that specs may name, or show one
#[derive(Debug, clap::Args)]
pub(super) struct Devices {
    /// The device to show
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// How to write them
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Form,
}

#[derive(Serialize)]
struct List<'a> {
    version: u32,
    devices: &'a [Device],
}

impl Devices {
    pub fn run(self, console: &mut Console<'_>) -> Result<Status, Stop> {
        let catalogue = Catalogue::embedded();
        let found = match &self.name {
            None => None,
            Some(name) => match catalogue.find(name) {
                Ok(device) => Some(device),
                Err(error) => {
                    let message = error.to_string();
                    return Err(Complaint::new(message).help(error.help).into());
                }
            },
        };
        let layout = console.layout;
        let text = match (self.output, found) {
            (Form::Text, None) => overview(catalogue.devices(), layout),
            (Form::Text, Some(device)) => page(device, layout),
            (Form::Json, found) => super::json(&List {
                version: 1,
                devices: found.map_or(catalogue.devices(), std::slice::from_ref),
            }),
        };
        console.print(&text)?;
        Ok(Status::Success)
    }
}

/// One line a device, with figures of one logical device. Units stand in the head, so that a line
/// fits into 80 columns.
fn overview(devices: &[Device], layout: Layout) -> String {
    let dtypes = ["fp32", "tf32", "bf16", "fp16", "fp8"];
    let titles = ["GiB", "GB/s"].into_iter().chain(dtypes).chain(["link"]);
    let mut head = vec![("device", Align::Left)];
    head.extend(titles.map(|title| (title, Align::Right)));
    let figure = |rate: Option<f64>, unit: f64| match rate {
        None => "-".to_owned(),
        Some(rate) if rate < 99.95 * unit => format!("{:.1}", rate / unit),
        Some(rate) => group((rate / unit).round() as u128),
    };
    let rows: Vec<Vec<String>> = devices
        .iter()
        .map(|device| {
            let memory = device.memory_usable().0 as f64;
            let mut row = vec![
                device.id.clone(),
                figure(Some(memory), 1024.0 * 1024.0 * 1024.0),
                figure(Some(device.memory_bandwidth()), 1e9),
            ];
            row.extend(dtypes.map(|dtype| figure(device.peak_flops(dtype), 1e12)));
            row.push(figure(device.link_bandwidth(), 1e9));
            row
        })
        .collect();
    let note = "Memory is what a framework sees, and GB/s its bandwidth. Peaks are those of dense \
        matrix products, in TFLOP/s. The link counts one way, in GB/s. `plimsoll devices NAME` has \
        the rest, with sources.";
    let note = super::markdown::render(note, layout);
    format!("{}\n{note}", table(&head, &rows, layout))
}

/// All that is known of a device.
fn page(device: &Device, layout: Layout) -> String {
    let memory = &device.memory;
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, text: String| rows.push(vec![name.to_owned(), text]);
    let names: Vec<&str> = device.names().skip(1).collect();
    if !names.is_empty() {
        row("also", names.join(", "));
    }
    let watts = device.tdp_watts.map(|watts| format!(", {watts} W"));
    row(
        "made by",
        format!(
            "{}, {}, {}{}",
            device.vendor.name(),
            device.released,
            device.arch,
            watts.unwrap_or_default()
        ),
    );
    if device.logical_devices > 1 {
        let number = device.logical_devices;
        row(
            "ranks",
            format!(
                "{number}: programs see {number} devices, and each has its share of what follows"
            ),
        );
    }
    let status = match memory.usable_status {
        MemoryStatus::Measured => "measured",
        MemoryStatus::Estimate => "estimated",
    };
    row(
        "memory",
        format!(
            "{} of {}, {} usable ({status})",
            memory.nominal, memory.kind, memory.usable
        ),
    );
    row("bandwidth", si(memory.bandwidth, "B/s"));
    for (name, bytes) in [
        ("level-2 cache", memory.l2),
        ("last-level cache", memory.last_level_cache),
        ("scratchpad", memory.scratchpad),
    ] {
        if let Some(bytes) = bytes {
            row(name, bytes.to_string());
        }
    }
    if let Some(link) = &device.link {
        row(
            "link",
            format!(
                "{}, {} × {} = {} one way, among {} devices: {}",
                link.kind,
                link.links,
                si(link.per_link_per_direction, "B/s"),
                si(link.per_direction, "B/s"),
                link.domain,
                link.topology
            ),
        );
    }
    if let Some(pcie) = &device.pcie {
        let rate = si(pcie.per_direction, "B/s");
        row(
            "host",
            format!(
                "PCI Express {} ×{}, {rate} one way",
                pcie.generation, pcie.lanes
            ),
        );
    }
    let list = |units: &[Unit]| {
        let names: Vec<String> = units.iter().map(|&unit| unit_name(unit)).collect();
        names.join(", ")
    };
    if !device.emulated.is_empty() {
        row("emulated", list(&device.emulated));
    }
    if !device.unpublished.is_empty() {
        row("peak unpublished", list(&device.unpublished));
    }
    if device.fp8_format == Fp8Format::Fnuz {
        row(
            "fp8 encoding",
            "float8_e4m3fnuz and float8_e5m2fnuz".to_owned(),
        );
    }
    row("source", device.source.clone());
    if !device.note.is_empty() {
        row("note", device.note.clone());
    }
    let peaks: Vec<Vec<String>> = device
        .peak
        .iter()
        .map(|(unit, &peak)| {
            let sustained = device.sustained.get(unit);
            vec![
                unit_name(*unit),
                si(peak, "FLOP/s"),
                sustained.map_or("-".to_owned(), |&rate| si(rate, "FLOP/s")),
            ]
        })
        .collect();
    let head = [
        ("matrix products in", Align::Left),
        ("peak", Align::Right),
        ("measured", Align::Right),
    ];
    let title = paint(layout, Style::Heading, &device.id);
    let facts = table(&[("", Align::Left), ("", Align::Left)], &rows, layout);
    let peaks = table(&head, &peaks, layout);
    format!("{title}\n\n{facts}\n{peaks}")
}

/// The name that the catalogue writes.
fn unit_name(unit: Unit) -> String {
    match serde_json::to_value(unit) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{unit:?}"),
    }
}
