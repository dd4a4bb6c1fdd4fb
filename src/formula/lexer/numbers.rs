//! Numbers, as Python writes them.

use std::borrow::Cow;

use super::{Lexer, TokenKind, continues_name, short};

impl Lexer<'_> {
    /// Reads a number as Python does: `1_000`, `0xff`, `.5`, `1.`, `1e-5`.
    pub(super) fn number(&mut self, start: usize) {
        let radix = match self.rest().as_bytes() {
            [b'0', b'x' | b'X', ..] => 16,
            [b'0', b'o' | b'O', ..] => 8,
            [b'0', b'b' | b'B', ..] => 2,
            _ => 10,
        };
        let digit = |c: char| c.is_ascii_digit() || c == '_';
        let mut is_real = false;
        if radix == 10 {
            self.skip_while(digit);
            if self.rest().starts_with('.') && !self.rest().starts_with("...") {
                is_real = true;
                self.at += 1;
                self.skip_while(digit);
            }
            let after = self.rest().as_bytes();
            let exponent = match after {
                [b'e' | b'E', b'+' | b'-', b'0'..=b'9', ..] => 2,
                [b'e' | b'E', b'0'..=b'9', ..] => 1,
                _ => 0,
            };
            if exponent > 0 {
                is_real = true;
                self.at += exponent;
                self.skip_while(digit);
            }
        } else {
            self.at += 2;
            self.skip_while(|c| c.is_digit(radix) || c == '_');
        }
        let written = &self.text[start..self.at];
        let digits = if radix == 10 { written } else { &written[2..] };
        if self.peek().is_some_and(continues_name) {
            return self.number_before_name(start, radix);
        }
        if self.rest().starts_with('.') && !self.rest().starts_with("...") {
            self.skip_while(|c| c == '.' || continues_name(c));
            let message = format!("`{}` is not a number", short(&self.text[start..self.at]));
            return self.fault(start, message, None);
        }
        // Underscores stand between digits only; behind a prefix they may come first.
        let misplaced = digits.ends_with('_')
            || digits.contains("__")
            || ["_.", "._", "_e", "_E"]
                .iter()
                .any(|it| digits.contains(it))
            || digits.is_empty();
        if misplaced {
            let message = format!("`{}` is not a number", short(written));
            let help = if digits.is_empty() {
                "digits must follow the prefix"
            } else {
                "an underscore must stand between two digits"
            };
            return self.fault(start, message, Some(help.to_owned()));
        }
        if radix == 10 && !is_real && written.len() > 1 && written.starts_with('0') {
            let zeros = written.trim_start_matches(['0', '_']);
            if !zeros.is_empty() {
                let message = format!("`{}` has leading zeros", short(written));
                return self.fault(start, message, Some(format!("write `{}`", short(zeros))));
            }
        }
        let plain: Cow<'_, str> = if digits.contains('_') {
            digits.replace('_', "").into()
        } else {
            digits.into()
        };
        if is_real {
            match plain.parse::<f64>() {
                Ok(value) if value.is_finite() => self.push(TokenKind::Real(value), start),
                _ => {
                    let message = format!("{} is too large for a float64", short(written));
                    self.fault(start, message, Some("write `inf` for infinity".to_owned()));
                }
            }
            return;
        }
        match i64::from_str_radix(&plain, radix) {
            Ok(value) => self.push(TokenKind::Integer(value), start),
            Err(_) => {
                let message = format!("{} is too large for a 64-bit integer", short(written));
                let help = "the largest is 9223372036854775807; with a decimal point it is a real";
                self.fault(start, message, Some(help.to_owned()));
            }
        }
    }

    /// Reports `2x`: the number is read up to here and a name follows at once.
    fn number_before_name(&mut self, start: usize, radix: u32) {
        let middle = self.at;
        self.skip_while(continues_name);
        let number = short(&self.text[start..middle]);
        let name = &self.text[middle..self.at];
        let (message, help) = if radix != 10 || name.starts_with(|c: char| c.is_ascii_digit()) {
            let message = format!("`{}` is not a number", short(&self.text[start..self.at]));
            (message, format!("`{}` is not a digit of it", short(name)))
        } else if matches!(name, "e" | "E") {
            let message = format!("the exponent of `{number}{name}` has no digits");
            (
                message,
                format!("write `{number}e-3`, or `{number} * {name}`"),
            )
        } else if matches!(name, "if" | "else" | "and" | "or" | "not") {
            let message = format!("`{number}` and `{name}` run into each other");
            (message, format!("write `{number} {name}`"))
        } else if matches!(name, "j" | "J") {
            let message =
                format!("`{number}{name}` is a complex number, which formulas do not have");
            return self.fault(start, message, None);
        } else {
            let name = short(name);
            let message = format!("an operator is missing between `{number}` and `{name}`");
            (message, format!("write `{number} * {name}` to multiply"))
        };
        self.fault(start, message, Some(help));
    }
}
