//! The ways to mark a ball in a volume: equal masks, time, and bytes that live at most.

use super::{Clock, Experiment, Picture, short};
use crate::kernels::fast::ball::Ball;
use crate::lower::Model;
use crate::quantity::Bytes;

type Way = (&'static str, fn(&Ball) -> (Vec<bool>, u64));

/// Three loops and a comparison.
fn loops(ball: &Ball) -> (Vec<bool>, u64) {
    let [depth, height, width] = ball.sizes();
    let mut mask = Vec::with_capacity(depth * height * width);
    for z in 0..depth {
        for y in 0..height {
            for x in 0..width {
                let square = ball.square(0, z) + ball.square(1, y) + ball.square(2, x);
                mask.push(square <= ball.limit());
            }
        }
    }
    let bytes = mask.len() as u64;
    (mask, bytes)
}

/// `np.indices`: the index of every element along every axis, then the distance of each.
fn full_grid(ball: &Ball) -> (Vec<bool>, u64) {
    let [depth, height, width] = ball.sizes();
    let count = depth * height * width;
    let mut indices: Vec<Vec<i64>> = (0..3).map(|_| Vec::with_capacity(count)).collect();
    for z in 0..depth {
        for y in 0..height {
            for x in 0..width {
                for (axis, at) in [z, y, x].into_iter().enumerate() {
                    indices[axis].push(at as i64);
                }
            }
        }
    }
    // The squares replace the indices, but their sum and its root are tensors of their own.
    let mut sum = vec![0i64; count];
    for (axis, index) in indices.iter().enumerate() {
        for (sum, at) in sum.iter_mut().zip(index) {
            *sum += ball.square(axis, *at as usize);
        }
    }
    let distance: Vec<f64> = sum.iter().map(|&square| (square as f64).sqrt()).collect();
    let radius = (ball.limit() as f64).sqrt();
    let mask = distance.iter().map(|&d| d <= radius).collect();
    (mask, (3 * 8 + 8 + 8 + 1) * count as u64)
}

/// `np.ogrid`: one vector for each axis, which broadcast to the sum of squares.
fn open_grids(ball: &Ball) -> (Vec<bool>, u64) {
    let along = |axis: usize| (0..ball.sizes()[axis]).map(move |at| ball.square(axis, at));
    let row: Vec<i64> = along(2).collect();
    let mut sums: Vec<i64> = Vec::with_capacity(ball.elements());
    for z in along(0) {
        for y in along(1) {
            sums.extend(row.iter().map(|&x| z + y + x));
        }
    }
    let mask: Vec<bool> = sums.iter().map(|&sum| sum <= ball.limit()).collect();
    let bytes = 9 * mask.len() as u64;
    (mask, bytes)
}

/// The same, compared as it is added up.
fn at_once(ball: &Ball) -> (Vec<bool>, u64) {
    (ball.open_grids(), ball.elements() as u64)
}

/// Only rows that meet the ball are written, each where it does.
fn bounding_box(ball: &Ball) -> (Vec<bool>, u64) {
    (ball.bounding_box(), ball.elements() as u64)
}

const WAYS: [Way; 5] = [
    ("three loops", loops),
    ("full index grid", full_grid),
    ("open grids, broadcast", open_grids),
    ("open grids, at once", at_once),
    ("rows of the bounding box", bounding_box),
];

pub(super) fn run(model: &Model, clock: &Clock<'_>) -> Result<Experiment, String> {
    let number = |name: &str| match model.dims.get(name) {
        Some(crate::formula::arithmetic::Number::Integer(value)) if value > 0 => Ok(value),
        _ => Err(format!("the spec has no dim `{name}`")),
    };
    let size = |name: &str| number(name).map(|size| size as usize);
    let sizes = [size("depth")?, size("height")?, size("width")?];
    let centre = [number("z")?, number("y")?, number("x")?];
    let ball = Ball::new(sizes, centre, number("radius")?)
        .filter(|ball| ball.elements() <= 1 << 28)
        .ok_or("the volume has more than 2²⁸ elements, or a dim exceeds 2²⁹")?;
    let mut experiment = Experiment::new(
        "How to mark a ball in a volume?",
        &[
            "way",
            "milliseconds",
            "bytes at most",
            "bytes per element",
            "elements marked",
        ],
    );
    let mut first: Option<Vec<bool>> = None;
    let (mut equal, mut peaks) = (true, Vec::new());
    for (name, way) in WAYS {
        let begun = clock();
        let (mask, bytes) = way(&ball);
        let seconds = clock() - begun;
        let marked = mask.iter().filter(|&&inside| inside).count();
        experiment.rows.push(vec![
            name.to_owned(),
            short(seconds * 1e3),
            Bytes(bytes).to_string(),
            short(bytes as f64 / mask.len() as f64),
            crate::quantity::group(marked as u128),
        ]);
        peaks.push(bytes as f64);
        match &first {
            Some(first) => equal &= *first == mask,
            None => first = Some(mask),
        }
    }
    experiment.expect(equal, "all masks are equal, element by element");
    experiment.expect(
        peaks[1] > 10.0 * peaks[4],
        "a full index grid takes 40 bytes for each element besides the mask; the box takes none",
    );
    experiment.picture = Some(Picture {
        title: "bytes at most".to_owned(),
        values: peaks,
    });
    Ok(experiment)
}
