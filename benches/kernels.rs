//! How fast the kernels are that matter for speed, each as a ratio to a peer in the same run: the
//! compensated sum to what the machine can read, the product to NumPy's BLAS, and the ball in a volume
//! to NumPy's best way.
//!
//! `PLIMSOLL_PYTHON=python3 cargo bench --bench kernels` names a Python that has NumPy; without one
//! there is nothing to compare the last two with. It asserts no time, since machines differ, but that
//! results agree.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::process::Command;

use ndarray::Array2;
use plimsoll::kernels::fast::ball::Ball;
use plimsoll::kernels::fast::product::{Element, product};
use plimsoll::kernels::fast::{read, sum};

/// Programs and machines disturb each other, so every run is repeated, and its shortest time counts.
const REPEATS: usize = 15;

fn main() {
    let python = std::env::var("PLIMSOLL_PYTHON").ok();
    if python.is_none() {
        println!("PLIMSOLL_PYTHON names no Python: NumPy is not measured");
    }
    let python = python.as_deref();
    sums(python);
    products::<f32>(python, "float32");
    products::<f64>(python, "float64");
    for (edge, radius) in [(128, 40), (256, 20), (256, 100), (512, 200)] {
        balls(python, edge, radius);
    }
}

/// Runs a program of NumPy that prints numbers, with `best(f)` for the shortest time of a function in
/// seconds.
fn numpy(python: &str, program: &str, arguments: &[&str]) -> Vec<f64> {
    let prelude = format!(
        "import sys, time\nimport numpy as np\n\
         def best(f):\n    times = []\n    for _ in range({REPEATS}):\n        \
         begun = time.perf_counter()\n        f()\n        \
         times.append(time.perf_counter() - begun)\n    return min(times)\n"
    );
    let output = Command::new(python)
        .args(["-c", &(prelude + program)])
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{python}: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect()
}

fn sums(python: Option<&str>) {
    for count in [1_000_000usize, 100_000_000] {
        let mut random = fastrand::Rng::with_seed(1);
        let numbers: Vec<f32> = (0..count).map(|_| random.f32()).collect();
        let speed = |seconds: f64| 4e-9 * count as f64 / seconds;
        // All ways take turns, so that what disturbs the machine disturbs each of them.
        let mut reading = [f64::INFINITY; read::WAYS.len()];
        let mut ours = f64::INFINITY;
        for _ in 0..REPEATS {
            for ((_, way), best) in read::WAYS.iter().zip(&mut reading) {
                *best = best.min(support::shortest(1, || way(&numbers)).as_secs_f64());
            }
            let seconds = support::shortest(1, || sum::compensated(&numbers)).as_secs_f64();
            ours = ours.min(seconds);
        }
        for ((name, _), seconds) in read::WAYS.iter().zip(reading) {
            println!("{count} float32, read ({name}): {:.1} GB/s", speed(seconds));
        }
        let floor = reading.into_iter().fold(f64::INFINITY, f64::min);
        let exact: f64 = numbers.iter().map(|&number| f64::from(number)).sum();
        let error = (f64::from(sum::compensated(&numbers)) - exact).abs();
        println!(
            "{count} float32, compensated sum {:.2} ms, {:.1} GB/s, {:.0} % of reading; off by {:.1e}, \
             bound {:.1e}",
            ours * 1e3,
            speed(ours),
            100.0 * floor / ours,
            error / exact,
            sum::bound(exact, exact) / exact,
        );
        if let Some(python) = python {
            let program = "x = np.random.default_rng(1).random(int(sys.argv[1]), np.float32)\n\
                           print(best(x.sum))";
            let theirs = numpy(python, program, &[&count.to_string()])[0];
            println!(
                "{count} float32, np.sum {:.2} ms, {:.1} GB/s, ratio {:.2}",
                theirs * 1e3,
                speed(theirs),
                ours / theirs,
            );
        }
    }
}

fn products<T: Element + From<f32>>(python: Option<&str>, dtype: &str) {
    let mut random = fastrand::Rng::with_seed(2);
    for size in [256usize, 1024, 2048] {
        let mut drawn =
            || Array2::from_shape_simple_fn((size, size), || T::from(random.f32() - 0.5));
        let (a, b) = (drawn(), drawn());
        let speed = |seconds: f64| 2e-9 * (size as f64).powi(3) / seconds;
        let seconds = |run: &dyn Fn() -> Array2<T>| support::shortest(REPEATS, run).as_secs_f64();
        let ours = seconds(&|| product(a.view(), b.view()));
        let plain = seconds(&|| a.dot(&b));
        println!(
            "{dtype}, {size}³: product {:.2} ms, {:.0} GFLOP/s; ndarray alone {:.0} GFLOP/s",
            ours * 1e3,
            speed(ours),
            speed(plain),
        );
        if let Some(python) = python {
            let program = "n = int(sys.argv[1])\nr = np.random.default_rng(2)\n\
                           a, b = (r.random((n, n)).astype(sys.argv[2]) for _ in range(2))\n\
                           print(best(lambda: a @ b))";
            let theirs = numpy(python, program, &[&size.to_string(), dtype])[0];
            println!(
                "{dtype}, {size}³: NumPy's BLAS {:.2} ms, {:.0} GFLOP/s, ratio {:.2}",
                theirs * 1e3,
                speed(theirs),
                ours / theirs,
            );
        }
    }
}

/// NumPy's ways to mark a ball: open grids over the volume, and open grids over its bounding box. The
/// faster one's mask is written to a file, to be compared.
const BALL: &str = "
n, radius, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
c = n // 2 - 3

def grids():
    z, y, x = np.ogrid[-c:n - c, -c:n - c, -c:n - c]
    return z * z + y * y + x * x <= radius * radius

def box():
    mask = np.zeros((n, n, n), bool)
    low, high = max(c - radius, 0), min(c + radius + 1, n)
    z, y, x = np.ogrid[low - c:high - c, low - c:high - c, low - c:high - c]
    mask[low:high, low:high, low:high] = z * z + y * y + x * x <= radius * radius
    return mask

def narrow():
    mask = np.zeros((n, n, n), bool)
    low, high = max(c - radius, 0), min(c + radius + 1, n)
    along = np.arange(low - c, high - c, dtype=np.int32) ** 2
    left = radius * radius - (along[:, None] + along[None, :])
    mask[low:high, low:high, low:high] = along[None, None, :] <= left[:, :, None]
    return mask

assert (grids() == box()).all() and (grids() == narrow()).all()
grids().tofile(path)
print(best(grids), best(box), best(narrow))
";

fn balls(python: Option<&str>, edge: usize, radius: i64) {
    let centre = edge as i64 / 2 - 3;
    let ball = Ball::new([edge; 3], [centre; 3], radius).unwrap();
    let mask = ball.bounding_box();
    assert!(mask == ball.open_grids(), "both ways mark the same");
    let boxed = support::shortest(REPEATS, || ball.bounding_box()).as_secs_f64();
    let grids = support::shortest(REPEATS, || ball.open_grids()).as_secs_f64();
    println!(
        "{edge}³, radius {radius}: bounding box {:.2} ms, open grids {:.2} ms",
        boxed * 1e3,
        grids * 1e3,
    );
    let Some(python) = python else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let theirs = numpy(
        python,
        BALL,
        &[&edge.to_string(), &radius.to_string(), path],
    );
    let written = std::fs::read(path).unwrap();
    let equal = written.len() == mask.len()
        && written
            .iter()
            .zip(&mask)
            .all(|(&byte, &inside)| (byte != 0) == inside);
    assert!(equal, "NumPy marks the same");
    let best = theirs.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "{edge}³, radius {radius}: np.ogrid {:.2} ms, in its bounding box {:.2} ms, int32 there {:.2} ms; \
         ratio of boxes {:.2}, of open grids {:.2}; equal masks",
        theirs[0] * 1e3,
        theirs[1] * 1e3,
        theirs[2] * 1e3,
        boxed / best,
        grids / theirs[0],
    );
}
