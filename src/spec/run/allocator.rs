//! `[allocator]`: the settings of PyTorch's caching allocator (`PYTORCH_ALLOC_CONF`).

use super::super::document::NodeRef;
use super::super::names;
use super::super::reader::Reader;
use crate::quantity::Bytes;
use crate::spec::setting::{Field, FromNode, settings};

settings! {
    /// `[allocator]`: the settings of PyTorch's caching allocator, by the names that they have in
    /// `PYTORCH_ALLOC_CONF`.
    pub struct Allocator {
        /// Whether segments grow page by page in a reserved range of addresses.
        expandable_segments: Field<bool>,
        /// Blocks of so many MiB or more are not split.
        max_split_size_mb: Field<SplitLimit>,
        /// By how many MiB a block that is not split may exceed what is asked for.
        max_non_split_rounding_mb: Field<SplitLimit>,
        /// Steps to which sizes are rounded up between two powers of two.
        roundup_power2_divisions: Field<Divisions>,
        /// The share of the limit above which blocks that were long unused are given back.
        garbage_collection_threshold: Field<Share>,
        /// The share of the device's memory that may be reserved
        /// (`torch.cuda.set_per_process_memory_fraction`).
        memory_fraction: Field<Share>,
    }
}

/// MiB, more than the 20 of a segment for blocks below that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitLimit(pub u64);

impl FromNode for SplitLimit {
    fn from_node(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<SplitLimit> {
        let count = u64::from_node(node, reader)?;
        if count > 20 {
            return Some(SplitLimit(count));
        }
        reader
            .report(
                names::INVALID_VALUE,
                node.span(),
                format!("{count} MiB is too small: PyTorch takes more than 20"),
            )
            .help("segments have 20 MiB; leave the key out to split blocks of any size");
        None
    }
}

/// A share above 0 and up to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(pub f64);

impl FromNode for Share {
    fn from_node(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<Share> {
        let share = reader.real(node)?;
        if share > 0.0 && share <= 1.0 {
            return Some(Share(share));
        }
        reader
            .report(
                names::INVALID_VALUE,
                node.span(),
                format!("{share} is no share above 0 and up to 1"),
            )
            .help("write a share such as 0.9, or leave the key out");
        None
    }
}

/// Into how many steps a power of two is divided: one number for each of 1 MiB, 2 MiB, … 32 GiB
/// and above. 0 and 1 divide nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Divisions(pub [u64; 16]);

impl Divisions {
    /// The steps for sizes about `bytes`.
    pub fn at(&self, bytes: Bytes) -> u64 {
        let power = bytes.0.max(1).ilog2() as usize;
        self.0[power.saturating_sub(20).min(15)]
    }

    /// Reads `[256:1,512:2,>:8]`, sizes in MiB; what is wrong with it otherwise. Sizes below the
    /// first are divided as that is, and those between two as they are by default.
    fn parse(text: &str) -> Result<Divisions, String> {
        let inner = text
            .trim()
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .ok_or_else(|| "it has no brackets around it".to_owned())?;
        let mut divisions = [0; 16];
        let mut last = None;
        for entry in inner.split(',') {
            let (size, steps) = entry
                .split_once(':')
                .ok_or_else(|| format!("`{}` is not `MiB:steps`", entry.trim()))?;
            let steps = power_of_two(steps, "steps")?;
            if size.trim() == ">" {
                divisions[last.unwrap_or(0)..].fill(steps);
                continue;
            }
            let size = power_of_two(size, "a size")?;
            if size == 0 {
                return Err("a size must not be 0".to_owned());
            }
            let index = (size.ilog2() as usize).min(15);
            if last.is_none() {
                divisions[..index].fill(steps);
            }
            divisions[index] = steps;
            last = Some(index);
        }
        Ok(Divisions(divisions))
    }
}

fn power_of_two(text: &str, what: &str) -> Result<u64, String> {
    match text.trim().parse::<u64>() {
        Ok(number) if number == 0 || number.is_power_of_two() => Ok(number),
        Ok(number) => Err(format!("{what} must be a power of two, not {number}")),
        Err(_) => Err(format!("`{}` is no whole number", text.trim())),
    }
}

impl FromNode for Divisions {
    fn from_node(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<Divisions> {
        let read = match (node.as_integer(), node.as_str()) {
            (Some(number), _) => power_of_two(&number.to_string(), "the number of steps")
                .map(|steps| Divisions([steps; 16])),
            (None, Some(text)) => Divisions::parse(text),
            (None, None) => {
                return reader.expected(node, "a power of two, or \"[256:1,512:2,>:8]\"");
            }
        };
        match read {
            Ok(divisions) => Some(divisions),
            Err(fault) => {
                reader
                    .report(names::INVALID_VALUE, node.span(), fault)
                    .help("write a power of two, or \"[256:1,512:2,>:8]\" with sizes in MiB");
                None
            }
        }
    }
}
