//! Quantities that are counted: [`Bytes`], [`Flops`], [`Elements`].

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub};

use serde::{Deserialize, Serialize};

use super::display;

macro_rules! whole {
    ($(#[$meta:meta])* $name:ident($number:ty)) => {
        $(#[$meta])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize,
            Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $number);

        impl $name {
            /// Nothing.
            pub const ZERO: $name = $name(0);
            /// More than can be counted.
            pub const MAX: $name = $name(<$number>::MAX);

            /// The number.
            pub fn get(self) -> $number {
                self.0
            }

            /// The number, rounded to the nearest `f64`.
            pub fn as_f64(self) -> f64 {
                self.0 as f64
            }

            /// Whether the value is an exact count, and not 'more than can be counted'.
            pub fn is_exact(self) -> bool {
                self != $name::MAX
            }

            /// The sum, `None` where it cannot be counted.
            pub fn checked_add(self, other: $name) -> Option<$name> {
                Some(self + other).filter(|sum| sum.is_exact())
            }

            /// The difference, `None` where it would be negative or is not known.
            pub fn checked_sub(self, other: $name) -> Option<$name> {
                if self.is_exact() && other.is_exact() {
                    self.0.checked_sub(other.0).map($name)
                } else {
                    None
                }
            }

            /// The product, `None` where it cannot be counted.
            pub fn checked_mul(self, times: $number) -> Option<$name> {
                Some(self * times).filter(|product| product.is_exact())
            }

            /// The quotient, rounded up; `MAX` for a division by zero.
            pub fn div_ceil(self, by: $number) -> $name {
                match by {
                    0 => $name::MAX,
                    _ if !self.is_exact() => $name::MAX,
                    by => $name(self.0.div_ceil(by)),
                }
            }
        }

        impl From<$number> for $name {
            fn from(number: $number) -> $name {
                $name(number)
            }
        }

        impl Add for $name {
            type Output = $name;

            fn add(self, other: $name) -> $name {
                $name(self.0.saturating_add(other.0))
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: $name) {
                *self = *self + other;
            }
        }

        /// Zero where the difference would be negative.
        impl Sub for $name {
            type Output = $name;

            fn sub(self, other: $name) -> $name {
                match self.is_exact() {
                    true => $name(self.0.saturating_sub(other.0)),
                    false => self,
                }
            }
        }

        /// Nothing of what cannot be counted is nothing.
        impl Mul<$number> for $name {
            type Output = $name;

            fn mul(self, times: $number) -> $name {
                $name(self.0.saturating_mul(times))
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = $name>>(items: I) -> $name {
                items.fold($name::ZERO, Add::add)
            }
        }

        impl<'a> Sum<&'a $name> for $name {
            fn sum<I: Iterator<Item = &'a $name>>(items: I) -> $name {
                items.copied().sum()
            }
        }
    };
}

whole! {
    /// An amount of memory or traffic. Printed in binary units: `12.3 GiB`.
    Bytes(u64)
}

whole! {
    /// A number of floating-point operations; a multiply-add is two. Printed as `1.17 TFLOP`.
    Flops(u128)
}

whole! {
    /// A number of elements of a tensor. Printed in full: `124,439,808`.
    Elements(u64)
}

impl Bytes {
    /// So many times 2^10 bytes.
    pub const fn kib(number: u64) -> Bytes {
        Bytes(number.saturating_mul(1 << 10))
    }

    /// So many times 2^20 bytes.
    pub const fn mib(number: u64) -> Bytes {
        Bytes(number.saturating_mul(1 << 20))
    }

    /// So many times 2^30 bytes.
    pub const fn gib(number: u64) -> Bytes {
        Bytes(number.saturating_mul(1 << 30))
    }
}

impl Elements {
    /// The bytes that the elements take at `size` bytes each.
    pub fn bytes(self, size: u64) -> Bytes {
        Bytes(self.0) * size
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_exact() {
            true => f.pad(&display::binary(self.0)),
            false => f.pad("more than 16 EiB"),
        }
    }
}

impl fmt::Display for Flops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_exact() {
            true => f.pad(&display::si(self.as_f64(), "FLOP")),
            false => f.pad("more than 3e38 FLOP"),
        }
    }
}

impl fmt::Display for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_exact() {
            true => f.pad(&display::group(self.0.into())),
            false => f.pad("more than 18e18"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_read_three_digits() {
        for (bytes, text) in [
            (Bytes(0), "0 B"),
            (Bytes(1023), "1023 B"),
            (Bytes(1024), "1 KiB"),
            (Bytes(1_048_575), "1 MiB"),
            (Bytes::gib(72), "72 GiB"),
            (Bytes(13_206_000_000), "12.3 GiB"),
            (Bytes(1_610_612_736), "1.5 GiB"),
            (Bytes(u64::MAX - 1), "16 EiB"),
            (Bytes::MAX, "more than 16 EiB"),
        ] {
            assert_eq!(bytes.to_string(), text);
        }
        for (flops, text) in [
            (Flops(0), "0 FLOP"),
            (Flops(999), "999 FLOP"),
            (Flops(60_000), "60 kFLOP"),
            (Flops(999_999), "1 MFLOP"),
            (Flops(1_170_000_000_000), "1.17 TFLOP"),
            (Flops(5_000_000_000_000_000_000_000), "5 ZFLOP"),
            (Flops(u128::MAX / 2), "1.7e38 FLOP"),
            (Flops::MAX, "more than 3e38 FLOP"),
        ] {
            assert_eq!(flops.to_string(), text);
        }
        assert_eq!(Elements(124_439_808).to_string(), "124,439,808");
        assert_eq!(Elements(999).to_string(), "999");
        assert_eq!(format!("{:>10}", Bytes(1024)), "     1 KiB");
    }

    #[test]
    fn quantities_serialize_as_plain_numbers() {
        assert_eq!(serde_json::to_string(&Bytes(7)).unwrap(), "7");
        let flops = Flops(u128::from(u64::MAX) + 1);
        assert_eq!(
            serde_json::to_string(&flops).unwrap(),
            "18446744073709551616"
        );
    }

    proptest! {
        #[test]
        fn arithmetic_is_exact_or_says_so(a: u64, b: u64) {
            let max = u128::from(u64::MAX);
            let sum = u128::from(a) + u128::from(b);
            let product = u128::from(a) * u128::from(b);
            prop_assert_eq!(u128::from((Bytes(a) + Bytes(b)).0), sum.min(max));
            prop_assert_eq!(u128::from((Bytes(a) * b).0), product.min(max));
            prop_assert_eq!(Bytes(a).checked_add(Bytes(b)).is_some(), sum < max);
            prop_assert_eq!(Bytes(a).checked_mul(b).is_some(), product < max);
            prop_assert_eq!([Bytes(a), Bytes(b)].iter().sum::<Bytes>(), Bytes(a) + Bytes(b));
            prop_assert_eq!((Bytes(a) + Bytes(b)) - Bytes(b) >= Bytes(a), true);
        }

        #[test]
        fn what_cannot_be_counted_stays_so(a: u64, b in 1..u64::MAX) {
            let lost = Bytes::MAX + Bytes(a);
            prop_assert_eq!(lost - Bytes(b), Bytes::MAX);
            prop_assert_eq!(lost * b, Bytes::MAX);
            prop_assert_eq!(lost.div_ceil(b), Bytes::MAX);
            prop_assert_eq!(lost.checked_sub(Bytes(b)), None);
        }
    }
}
