//! Amounts of memory as people write them: `72 GiB`, `80GB`, `1.5e9`.

use std::fmt;
use std::str::FromStr;

use super::Bytes;

/// Why a text is not an amount of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseBytesError {
    /// There is no number.
    NoNumber,
    /// The number is below zero.
    Negative,
    /// The number has more digits than are looked at, or the amount exceeds 16 EiB.
    TooLarge,
    /// The unit is not one.
    UnknownUnit(String),
    /// The unit has two readings.
    AmbiguousUnit(String),
    /// The unit counts bits.
    Bits(String),
}

impl FromStr for Bytes {
    type Err = ParseBytesError;

    /// Reads a number and a unit: none or `B`; `kB MB GB TB PB EB` (powers of 1000);
    /// `KiB MiB GiB TiB PiB EiB` (powers of 1024). Case does not count, but for `b`, which is bits
    /// after a capital. `_` and `,` may group digits. What is not whole is rounded to the nearest
    /// byte.
    fn from_str(text: &str) -> Result<Bytes, ParseBytesError> {
        let text = text.trim();
        if text.starts_with('-') {
            return Err(ParseBytesError::Negative);
        }
        let text = text.strip_prefix('+').unwrap_or(text);
        let (number, rest) = Decimal::read(text)?;
        number.times(unit(rest.trim_start())?)
    }
}

/// `digits * 10^exponent`, exactly.
struct Decimal {
    digits: u128,
    exponent: i32,
}

impl Decimal {
    /// The number at the start of a text, and what follows it.
    fn read(text: &str) -> Result<(Decimal, &str), ParseBytesError> {
        let end = text
            .find(|c: char| !matches!(c, '0'..='9' | '.' | '_' | ','))
            .unwrap_or(text.len());
        let (mantissa, mut rest) = text.split_at(end);
        let (mut digits, mut fraction, mut seen) = (0_u128, None, false);
        for character in mantissa.chars() {
            match character {
                '.' if fraction.is_some() => return Err(ParseBytesError::NoNumber),
                '.' => fraction = Some(0),
                _ => {
                    if let Some(value) = character.to_digit(10) {
                        seen = true;
                        digits = digits
                            .checked_mul(10)
                            .and_then(|digits| digits.checked_add(value.into()))
                            .ok_or(ParseBytesError::TooLarge)?;
                        fraction = fraction.map(|places: i32| places + 1);
                    }
                }
            }
        }
        if !seen {
            return Err(ParseBytesError::NoNumber);
        }
        let mut exponent = -fraction.unwrap_or(0);
        // `1e9` has an exponent, `1 EB` a unit: an `e` counts where digits follow.
        if let Some(after) = rest.strip_prefix(['e', 'E']) {
            let sign = after.len() - after.trim_start_matches(['+', '-']).len();
            let count = after[sign..].bytes().take_while(u8::is_ascii_digit).count();
            if sign <= 1 && count > 0 {
                let written: i32 = after[..sign + count]
                    .parse()
                    .map_err(|_| ParseBytesError::TooLarge)?;
                exponent = exponent.saturating_add(written);
                rest = &after[sign + count..];
            }
        }
        Ok((Decimal { digits, exponent }, rest))
    }

    fn times(&self, unit: u64) -> Result<Bytes, ParseBytesError> {
        if self.digits == 0 {
            return Ok(Bytes::ZERO);
        }
        let product = self
            .digits
            .checked_mul(unit.into())
            .ok_or(ParseBytesError::TooLarge)?;
        let power = 10_u128.checked_pow(self.exponent.unsigned_abs());
        let bytes = match (self.exponent >= 0, power) {
            (true, power) => power.and_then(|power| product.checked_mul(power)),
            (false, Some(power)) => {
                Some(product / power + u128::from(product % power >= power / 2 + power % 2))
            }
            (false, None) => Some(0),
        };
        bytes
            .and_then(|bytes| u64::try_from(bytes).ok())
            .map(Bytes)
            .filter(|bytes| bytes.is_exact())
            .ok_or(ParseBytesError::TooLarge)
    }
}

fn unit(text: &str) -> Result<u64, ParseBytesError> {
    let lower = text.to_ascii_lowercase();
    let prefix = match lower.as_bytes().first() {
        None => return Ok(1),
        Some(b'k') => 1,
        Some(b'm') => 2,
        Some(b'g') => 3,
        Some(b't') => 4,
        Some(b'p') => 5,
        Some(b'e') => 6,
        Some(_) if matches!(lower.as_str(), "b" | "byte" | "bytes") => return Ok(1),
        Some(_) => return Err(ParseBytesError::UnknownUnit(text.to_owned())),
    };
    let capital = text.starts_with(|first: char| first.is_ascii_uppercase());
    match &lower[1..] {
        "b" if capital && text.ends_with('b') => Err(ParseBytesError::Bits(text.to_owned())),
        "bit" | "bits" | "ibit" | "ibits" => Err(ParseBytesError::Bits(text.to_owned())),
        "b" => Ok(1000_u64.pow(prefix)),
        "ib" => Ok(1024_u64.pow(prefix)),
        "" | "i" => Err(ParseBytesError::AmbiguousUnit(text.to_owned())),
        _ => Err(ParseBytesError::UnknownUnit(text.to_owned())),
    }
}

impl fmt::Display for ParseBytesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseBytesError::NoNumber => {
                f.write_str("an amount of memory begins with a number, as in `72 GiB`")
            }
            ParseBytesError::Negative => f.write_str("an amount of memory is not negative"),
            ParseBytesError::TooLarge => f.write_str("the amount of memory exceeds 16 EiB"),
            ParseBytesError::UnknownUnit(unit) => write!(
                f,
                "`{unit}` is not a unit of memory; write B, kB, MB, GB, TB (powers of 1000) or \
                 KiB, MiB, GiB, TiB (powers of 1024)"
            ),
            ParseBytesError::AmbiguousUnit(unit) => {
                let first = unit.chars().take(1).collect::<String>().to_uppercase();
                write!(
                    f,
                    "`{unit}` has two readings; write `{first}B` (powers of 1000) or `{first}iB` \
                     (powers of 1024)"
                )
            }
            ParseBytesError::Bits(unit) => {
                write!(
                    f,
                    "`{unit}` counts bits; write the amount in bytes, with a capital B"
                )
            }
        }
    }
}

impl std::error::Error for ParseBytesError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_read_exactly() {
        for (text, bytes) in [
            ("72 GiB", 77_309_411_328),
            ("80GB", 80_000_000_000),
            ("80gb", 80_000_000_000),
            ("1.5e9", 1_500_000_000),
            ("1.5e+9 B", 1_500_000_000),
            ("0.1 GB", 100_000_000),
            (".5KiB", 512),
            ("1_000,000", 1_000_000),
            ("2.5", 3),
            ("2.4", 2),
            ("1e-99", 0),
            ("0e99999999", 0),
            ("1 EB", 1_000_000_000_000_000_000),
            ("1EiB", 1 << 60),
            ("1e3 kB", 1_000_000),
            ("7 bytes", 7),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_explained() {
        let message = |text: &str| text.parse::<Bytes>().unwrap_err().to_string();
        for text in ["", "GiB", ".", "1.2.3", "ten", "_"] {
            assert_eq!(
                text.parse::<Bytes>(),
                Err(ParseBytesError::NoNumber),
                "{text}"
            );
        }
        for text in ["16 EiB", "1e20", "1e99999999999", "9".repeat(60).as_str()] {
            assert_eq!(
                text.parse::<Bytes>(),
                Err(ParseBytesError::TooLarge),
                "{text}"
            );
        }
        insta::assert_snapshot!(message("-1 GB"), @"an amount of memory is not negative");
        insta::assert_snapshot!(message("80 G"), @"`G` has two readings; write `GB` (powers of 1000) or `GiB` (powers of 1024)");
        insta::assert_snapshot!(message("400 Gbit"), @"`Gbit` counts bits; write the amount in bytes, with a capital B");
        insta::assert_snapshot!(message("400 Gb"), @"`Gb` counts bits; write the amount in bytes, with a capital B");
        insta::assert_snapshot!(message("3 µB"), @"`µB` is not a unit of memory; write B, kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (powers of 1024)");
    }

    proptest! {
        #[test]
        fn plain_numbers_are_read_back(bytes in 0..u64::MAX) {
            prop_assert_eq!(bytes.to_string().parse(), Ok(Bytes(bytes)));
        }

        #[test]
        fn what_is_printed_is_read_back_to_three_digits(bytes in 0..u64::MAX / 2) {
            let printed = Bytes(bytes).to_string();
            let Bytes(read) = printed.parse().unwrap();
            prop_assert!(read.abs_diff(bytes) as f64 <= bytes as f64 * 0.0051, "{}", printed);
        }

        #[test]
        fn no_text_panics(text in "\\PC*", soup in "[0-9eE.,_+ -]{0,12}[kKmMgGiIbB]{0,3}") {
            let _ = text.parse::<Bytes>();
            let _ = soup.parse::<Bytes>();
        }
    }
}
