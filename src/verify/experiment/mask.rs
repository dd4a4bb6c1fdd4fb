//! The ways to mark a ball in a volume: equal masks, time, and bytes that live at most.

use super::{Clock, Experiment, Picture, short};
use crate::lower::Model;
use crate::quantity::Bytes;

/// A volume, and a ball in it.
struct Ball {
    sizes: [usize; 3],
    centre: [i64; 3],
    radius: i64,
}

impl Ball {
    fn holds(&self, at: [usize; 3]) -> bool {
        let square = |axis: usize| (at[axis] as i64 - self.centre[axis]).pow(2);
        square(0) + square(1) + square(2) <= self.radius * self.radius
    }
}

type Way = (&'static str, fn(&Ball) -> (Vec<bool>, u64));

/// Three loops and a comparison.
fn loops(ball: &Ball) -> (Vec<bool>, u64) {
    let [depth, height, width] = ball.sizes;
    let mut mask = Vec::with_capacity(depth * height * width);
    for z in 0..depth {
        for y in 0..height {
            for x in 0..width {
                mask.push(ball.holds([z, y, x]));
            }
        }
    }
    let bytes = mask.len() as u64;
    (mask, bytes)
}

/// `np.indices`: the index of every element along every axis, then the distance of each.
fn full_grid(ball: &Ball) -> (Vec<bool>, u64) {
    let [depth, height, width] = ball.sizes;
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
            *sum += (at - ball.centre[axis]).pow(2);
        }
    }
    let distance: Vec<f64> = sum.iter().map(|&square| (square as f64).sqrt()).collect();
    let mask = distance.iter().map(|&d| d <= ball.radius as f64).collect();
    (mask, (3 * 8 + 8 + 8 + 1) * count as u64)
}

/// `np.ogrid`: one vector for each axis, which broadcast.
fn open_grids(ball: &Ball) -> (Vec<bool>, u64) {
    let squares: Vec<Vec<i32>> = (0..3)
        .map(|axis| {
            let centre = ball.centre[axis];
            (0..ball.sizes[axis])
                .map(|at| (at as i64 - centre).pow(2) as i32)
                .collect()
        })
        .collect();
    let limit = (ball.radius * ball.radius) as i32;
    let mut sums: Vec<i32> = Vec::with_capacity(ball.sizes.iter().product());
    for &z in &squares[0] {
        for &y in &squares[1] {
            let outer = z + y;
            sums.extend(squares[2].iter().map(|&x| outer + x));
        }
    }
    let mask: Vec<bool> = sums.iter().map(|&sum| sum <= limit).collect();
    let bytes = 5 * mask.len() as u64;
    (mask, bytes)
}

/// Only rows that meet the ball are written, each where it does.
fn bounding_box(ball: &Ball) -> (Vec<bool>, u64) {
    let [depth, height, width] = ball.sizes;
    let mut mask = vec![false; depth * height * width];
    let within = |axis: usize| {
        let (centre, size) = (ball.centre[axis], ball.sizes[axis] as i64);
        let low = (centre - ball.radius).clamp(0, size);
        let high = (centre + ball.radius + 1).clamp(low, size);
        low..high
    };
    for z in within(0) {
        for y in within(1) {
            let left =
                ball.radius.pow(2) - (z - ball.centre[0]).pow(2) - (y - ball.centre[1]).pow(2);
            if left < 0 {
                continue;
            }
            let reach = (left as u64).isqrt() as i64;
            let low = (ball.centre[2] - reach).clamp(0, width as i64) as usize;
            let high = (ball.centre[2] + reach + 1).clamp(low as i64, width as i64) as usize;
            let row = (z as usize * height + y as usize) * width;
            mask[row + low..row + high].fill(true);
        }
    }
    let bytes = mask.len() as u64;
    (mask, bytes)
}

const WAYS: [Way; 4] = [
    ("three loops", loops),
    ("full index grid", full_grid),
    ("open grids, broadcast", open_grids),
    ("rows of the bounding box", bounding_box),
];

pub(super) fn run(model: &Model, clock: &Clock<'_>) -> Result<Experiment, String> {
    let number = |name: &str| match model.dims.get(name) {
        Some(crate::formula::arithmetic::Number::Integer(value)) if value > 0 => Ok(value),
        _ => Err(format!("the spec has no dim `{name}`")),
    };
    let ball = Ball {
        sizes: [
            number("depth")? as usize,
            number("height")? as usize,
            number("width")? as usize,
        ],
        centre: [number("z")?, number("y")?, number("x")?],
        radius: number("radius")?,
    };
    if ball.sizes.iter().product::<usize>() > 1 << 28 {
        return Err("the volume has more than 2²⁸ elements".to_owned());
    }
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
        peaks[1] > 10.0 * peaks[3],
        "a full index grid takes 40 bytes for each element besides the mask; the box takes none",
    );
    experiment.picture = Some(Picture {
        title: "bytes at most".to_owned(),
        values: peaks,
    });
    Ok(experiment)
}
