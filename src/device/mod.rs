//! The accelerators that are known by name: memory, bandwidth, peak rates, links.
//!
//! The data is TOML in `catalogue/`, one entry a device, each with its source. This module gives
//! the figures and never estimates with them; prices are not in it, because they differ by
//! contract and by week.

mod catalogue;
mod dtype;
mod entry;

pub use catalogue::{Catalogue, CatalogueError, UnknownDevice};
pub use dtype::Support;
pub use entry::{
    Device, DeviceKind, Fp8Format, Link, Matmul, Memory, MemoryStatus, Pcie, Unit, Vendor,
};
