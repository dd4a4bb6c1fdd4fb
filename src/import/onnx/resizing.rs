//! Resampling over positions.

use super::call::{Call, Results, all, axis, sizes_of};
use super::constant::shape;
use super::registry::{Entry, Mapping::*};
use crate::tensor::{Shape, TensorType};

/// The entries of this family.
pub(super) const OPS: &[Entry] = &[
    ("AffineGrid", Special(affine_grid)),
    ("GridSample", Special(grid_sample)),
    ("Resize", Special(resize)),
    ("Upsample", Special(resize)),
];

/// The axes that scales and sizes are of.
fn axes(call: &Call<'_, '_>, rank: usize) -> Option<Vec<usize>> {
    match call.attributes.integers("axes") {
        Some(axes) => axes.iter().map(|&at| axis(at, rank)).collect(),
        None => Some((0..rank).collect()),
    }
}

/// The sizes that a resize gives.
fn target(call: &Call<'_, '_>, from: &Shape) -> Option<Shape> {
    let axes = axes(call, from.rank())?;
    // Upsample, and Resize before opset 11, have scales only, behind the input.
    let scales_at = match call.node.op_type == "Upsample" || call.version < 11 {
        true => 1,
        false => 2,
    };
    let scales = match call.attributes.floats("scales") {
        Some(scales) => Some(scales.iter().map(|&scale| f64::from(scale)).collect()),
        None => call
            .known(scales_at)
            .and_then(|known| known.all_reals())
            .filter(|scales| !scales.is_empty()),
    };
    let mut result = from.clone();
    if let Some(scales) = scales {
        if scales.len() != axes.len() {
            return None;
        }
        let crops =
            call.attributes.text("coordinate_transformation_mode") == Some("tf_crop_and_resize");
        let region = match crops {
            true => Some(call.known(1)?.all_reals()?),
            false => None,
        };
        for (at, (&axis, scale)) in axes.iter().zip(&scales).enumerate() {
            let mut length = from.sizes()[axis] as f64;
            if let Some(region) = &region {
                length *= region.get(at + axes.len())? - region.get(at)?;
            }
            // The scale is a float32, which 0.6 and 10 elements make less than 6.
            let exact = length * scale;
            let size = match (exact - exact.round()).abs() < exact.abs() * 1e-6 {
                true => exact.round(),
                false => exact.floor(),
            };
            if !(0.0..1e15).contains(&size) {
                return None;
            }
            result.set(axis, size as u64);
        }
        return Some(result);
    }
    let sizes = call.known_integers(3)?;
    if sizes.len() != axes.len() {
        return None;
    }
    let policy = call.attributes.text("keep_aspect_ratio_policy");
    let ratios = axes
        .iter()
        .zip(&sizes)
        .map(|(&axis, &size)| size as f64 / from.sizes()[axis] as f64);
    let common = match policy {
        Some("not_larger") => ratios.reduce(f64::min),
        Some("not_smaller") => ratios.reduce(f64::max),
        _ => None,
    };
    for (&axis, &size) in axes.iter().zip(&sizes) {
        let size = match common {
            Some(ratio) => (from.sizes()[axis] as f64 * ratio).round() as i64,
            None => size,
        };
        result.set(axis, u64::try_from(size).ok()?);
    }
    shape(&sizes_of(&result))
}

fn resize(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let from = call.shape_of(input);
    let to = match target(call, &from) {
        Some(to) => to,
        None => call.stated_shape(0)?,
    };
    if to.rank() != from.rank() {
        return None;
    }
    let positions = from.rank().saturating_sub(2);
    let mode = match (call.attributes.text("mode").unwrap_or("nearest"), positions) {
        ("nearest", _) => "nearest",
        ("linear" | "bilinear", 1) => "linear",
        ("linear" | "bilinear", 3) => "trilinear",
        ("linear" | "bilinear", _) => "bilinear",
        ("cubic", _) => "bicubic",
        _ => return None,
    };
    let aligned = call.attributes.text("coordinate_transformation_mode") == Some("align_corners");
    let smooth = call.attributes.flag("antialias") && matches!(mode, "bilinear" | "bicubic");
    let size = sizes_of(&to).get(2..).unwrap_or_default().to_vec();
    let given = [
        ("size", size.into()),
        ("mode", mode.into()),
        ("align_corners", (aligned && mode != "nearest").into()),
        ("antialias", smooth.into()),
    ];
    let spatial = from.sizes().get(..2) == to.sizes().get(..2);
    if spatial
        && let Some(made) = call.apply("interpolate", &[input], &given)
        && made.first().is_some_and(|&id| call.shape_of(id) == to)
    {
        return Some(all(made));
    }
    // Batch or channels resized, or modes on other axes than PyTorch's.
    let ty = TensorType::new(to, call.type_of(input).dtype);
    call.apply_as("interpolate", &[input], &given, &[ty])
        .map(all)
}

fn grid_sample(call: &mut Call<'_, '_>) -> Option<Results> {
    let operands = [call.tensor(0)?, call.tensor(1)?];
    let mode = match call.attributes.text("mode").unwrap_or("linear") {
        "linear" | "bilinear" => "bilinear",
        "cubic" | "bicubic" => "bicubic",
        _ => "nearest",
    };
    let padding = match call.attributes.text("padding_mode").unwrap_or("zeros") {
        "border" => "border",
        "reflection" => "reflection",
        _ => "zeros",
    };
    let given = [
        ("mode", mode.into()),
        ("padding_mode", padding.into()),
        (
            "align_corners",
            call.attributes.flag("align_corners").into(),
        ),
    ];
    call.apply("grid_sample", &operands, &given).map(all)
}

fn affine_grid(call: &mut Call<'_, '_>) -> Option<Results> {
    let theta = call.tensor(0)?;
    let size = match call.known_integers(1) {
        Some(size) => size,
        // The grid is [batch, positions…, axes], the size [batch, channels, positions…].
        None => {
            let mut size = sizes_of(&call.stated_shape(0)?);
            size.pop()?;
            size.insert(1.min(size.len()), 1);
            size
        }
    };
    let given = [
        ("size", size.into()),
        (
            "align_corners",
            call.attributes.flag("align_corners").into(),
        ),
    ];
    call.apply("affine_grid", &[theta], &given).map(all)
}
