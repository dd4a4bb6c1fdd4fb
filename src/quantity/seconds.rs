//! Time.

use std::cmp::Ordering;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

use serde::{Deserialize, Serialize};

use super::display::significant;

/// A duration in seconds. Printed in the unit that suits it: `3.2 ms`, `5.1 h`.
///
/// Ordered by `f64::total_cmp`, so that estimates can be sorted; an unknown time is not a number
/// and comes last.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub f64);

impl Seconds {
    /// No time.
    pub const ZERO: Seconds = Seconds(0.0);

    /// The number of seconds.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The time that `amount` takes at `rate` per second; infinite where the rate is zero.
    pub fn at_rate(amount: f64, rate: f64) -> Seconds {
        match amount == 0.0 {
            true => Seconds::ZERO,
            false => Seconds(amount / rate),
        }
    }

    /// The longer of two times.
    pub fn max(self, other: Seconds) -> Seconds {
        Ord::max(self, other)
    }
}

impl PartialEq for Seconds {
    fn eq(&self, other: &Seconds) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Seconds {}

impl PartialOrd for Seconds {
    fn partial_cmp(&self, other: &Seconds) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Seconds {
    fn cmp(&self, other: &Seconds) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Add for Seconds {
    type Output = Seconds;

    fn add(self, other: Seconds) -> Seconds {
        Seconds(self.0 + other.0)
    }
}

impl AddAssign for Seconds {
    fn add_assign(&mut self, other: Seconds) {
        self.0 += other.0;
    }
}

impl Sub for Seconds {
    type Output = Seconds;

    fn sub(self, other: Seconds) -> Seconds {
        Seconds(self.0 - other.0)
    }
}

impl Mul<f64> for Seconds {
    type Output = Seconds;

    fn mul(self, times: f64) -> Seconds {
        Seconds(self.0 * times)
    }
}

/// The ratio of two times.
impl Div for Seconds {
    type Output = f64;

    fn div(self, other: Seconds) -> f64 {
        self.0 / other.0
    }
}

impl Sum for Seconds {
    fn sum<I: Iterator<Item = Seconds>>(items: I) -> Seconds {
        items.fold(Seconds::ZERO, Add::add)
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A unit is kept until twice the next one is reached: 90 s reads better than 1.5 min.
        const UNITS: [(f64, f64, &str); 6] = [
            (1e-6, 1e-9, "ns"),
            (1e-3, 1e-6, "µs"),
            (1.0, 1e-3, "ms"),
            (120.0, 1.0, "s"),
            (7200.0, 60.0, "min"),
            (172_800.0, 3600.0, "h"),
        ];
        let size = self.0.abs();
        if size == 0.0 || !size.is_finite() {
            return f.pad(&format!("{} s", significant(self.0)));
        }
        // The limit is met by what is printed, not by what is meant: 999.9 µs are 1 ms.
        let (scale, unit) = UNITS
            .iter()
            .find(|&&(limit, scale, _)| size < limit && (size / scale).round() * scale < limit)
            .map_or((86_400.0, "d"), |&(_, scale, unit)| (scale, unit));
        f.pad(&format!("{} {unit}", significant(self.0 / scale)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_printed_in_a_fitting_unit() {
        for (seconds, text) in [
            (0.0, "0 s"),
            (2e-9, "2 ns"),
            (4.25e-5, "42.5 µs"),
            (0.0032, "3.2 ms"),
            (0.000_999_9, "1 ms"),
            (0.9999, "1 s"),
            (90.0, "90 s"),
            (150.0, "2.5 min"),
            (18_360.0, "5.1 h"),
            (1e6, "11.6 d"),
            (f64::INFINITY, "inf s"),
        ] {
            assert_eq!(Seconds(seconds).to_string(), text);
        }
    }

    #[test]
    fn an_unknown_time_comes_last() {
        let mut times = [Seconds(f64::NAN), Seconds(1.0), Seconds(f64::INFINITY)];
        times.sort();
        assert_eq!(times[0], Seconds(1.0));
        assert_eq!(Seconds::at_rate(0.0, 0.0), Seconds::ZERO);
        assert_eq!(Seconds::at_rate(1.0, 0.0), Seconds(f64::INFINITY));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_within_half_a_percent(seconds in 1e-9..1e9f64) {
            let text = Seconds(seconds).to_string();
            let (number, unit) = text.split_once(' ').unwrap();
            let scale = match unit {
                "ns" => 1e-9,
                "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "min" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => panic!("{unit}"),
            };
            let printed = number.parse::<f64>().unwrap() * scale;
            prop_assert!((printed / seconds - 1.0).abs() <= 0.005_000_1, "{}", text);
        }
    }
}
