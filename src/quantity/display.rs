//! Numbers as people read them: three significant digits and a prefix.

/// A whole number with a comma between groups of three digits: `124,439,808`.
pub fn group(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with a decimal prefix to its unit: `si(9.894e14, "FLOP/s")` is `989 TFLOP/s`.
///
/// Below one there is no prefix, and past the prefixes stands an exponent.
pub fn si(value: f64, unit: &str) -> String {
    const PREFIXES: [&str; 9] = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
    scaled(value, 1000.0, &PREFIXES)
        .map(|(number, prefix)| format!("{number} {prefix}{unit}"))
        .unwrap_or_else(|| format!("{} {unit}", exponent(value)))
}

/// Bytes with a binary unit.
pub(super) fn binary(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    scaled(bytes as f64, 1024.0, &UNITS)
        .map(|(number, unit)| format!("{number} {unit}"))
        .unwrap_or_else(|| format!("{bytes} B"))
}

/// Scales a number to the greatest unit in which it is at least one; `None` past the last unit.
fn scaled<'a>(value: f64, base: f64, units: &[&'a str]) -> Option<(String, &'a str)> {
    let mut number = value;
    for unit in units {
        // What rounds up to the base belongs to the next unit: 1,048,575 B are 1 MiB.
        if number.abs().round() < base {
            return Some((significant(number), unit));
        }
        number /= base;
    }
    None
}

/// Three significant digits, and all digits before the point, without trailing zeros.
pub(super) fn significant(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    if number.abs() < 1e-3 || !number.is_finite() {
        return exponent(number);
    }
    let magnitude = number.abs().log10().floor();
    let decimals = (2.0 - magnitude).clamp(0.0, 6.0) as usize;
    trim(format!("{number:.decimals$}"))
}

fn exponent(number: f64) -> String {
    if !number.is_finite() {
        return number.to_string();
    }
    let text = format!("{number:.1e}");
    match text.split_once('e') {
        Some((digits, exponent)) => format!("{}e{exponent}", trim(digits.to_owned())),
        None => text,
    }
}

fn trim(text: String) -> String {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_prefixes() {
        for (value, text) in [
            (9.894e14, "989 TFLOP/s"),
            (1.9789e15, "1.98 PFLOP/s"),
            (999.6, "1 kFLOP/s"),
            (9.996, "10 FLOP/s"),
            (0.5, "0.5 FLOP/s"),
            (1e-9, "1e-9 FLOP/s"),
            (-2500.0, "-2.5 kFLOP/s"),
            (3e30, "3e30 FLOP/s"),
            (f64::INFINITY, "inf FLOP/s"),
            (f64::NAN, "NaN FLOP/s"),
        ] {
            assert_eq!(si(value, "FLOP/s"), text);
        }
    }

    #[test]
    fn groups_have_three_digits() {
        assert_eq!(group(0), "0");
        assert_eq!(group(1_000), "1,000");
        assert_eq!(group(123_456), "123,456");
        assert_eq!(group(u128::MAX).len(), 39 + 12);
    }
}

/// A number with at most four significant digits, as a person would write it: `0.8`, `1.41`,
/// `3e-4`, `256`. Powers of ten are used below a thousandth and from a million on.
pub fn figure(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let magnitude = value.abs();
    if (1e-3..1e6).contains(&magnitude) {
        let decimals = (3.0 - magnitude.log10().floor()).max(0.0) as usize;
        let text = format!("{value:.decimals$}");
        return if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        };
    }
    let text = format!("{value:.3e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let digits = digits.trim_end_matches('0').trim_end_matches('.');
            format!("{digits}e{exponent}")
        }
        None => text,
    }
}

#[cfg(test)]
mod figure_tests {
    use super::figure;

    #[test]
    fn figures_are_short_and_parse_back_to_four_digits() {
        let cases = [
            (0.8, "0.8"),
            (0.1, "0.1"),
            (8.0, "8"),
            (1.23456, "1.235"),
            (3e-4, "3e-4"),
        ];
        for (value, text) in cases {
            assert_eq!(figure(value), text);
        }
        let more = [
            (256.0, "256"),
            (1e6, "1e6"),
            (99_999.6, "100000"),
            (0.0, "0"),
            (-2.5, "-2.5"),
        ];
        for (value, text) in more {
            assert_eq!(figure(value), text);
        }
    }
}
