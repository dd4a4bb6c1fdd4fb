//! Expressions over sizes as SymPy writes them down: `Add(Mul(Integer(2), Symbol('s0')), Integer(1))`.

/// How deep an expression may be.
const MAX_DEPTH: usize = 64;

/// The symbol that an expression is, if it is no more than one: `Symbol('s0', integer=True)`, or in
/// older programs its bare name.
pub(super) fn symbol(expression: &str) -> Option<&str> {
    let name = match expression.strip_prefix("Symbol('") {
        Some(rest) => {
            let (name, rest) = rest.split_once('\'')?;
            let inner = rest.strip_suffix(')')?;
            (!inner.contains(['(', ')'])).then_some(name)?
        }
        None => expression,
    };
    let first = name.bytes().next()?;
    let is_name = first.is_ascii_alphabetic()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some(name)
}

/// The value of an expression; `None` where it has none, or is not understood. Integers have 64
/// bits. `O(length)`.
pub(super) fn evaluate(text: &str, lookup: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
    let mut reader = Reader { rest: text, lookup };
    let value = reader.value(0)?;
    reader.rest.trim().is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
    lookup: &'a dyn Fn(&str) -> Option<i64>,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<i64> {
        if depth > MAX_DEPTH {
            return None;
        }
        let name = self.word();
        self.take('(').then_some(())?;
        match name {
            "Integer" => {
                let value = self.until(')')?.trim().parse().ok()?;
                Some(value)
            }
            "Symbol" => {
                let inner = self.until(')')?;
                let name = inner.split('\'').nth(1)?;
                (self.lookup)(name)
            }
            _ => {
                let mut operands = Vec::new();
                loop {
                    operands.push(self.value(depth + 1)?);
                    if !self.take(',') {
                        break;
                    }
                }
                self.take(')').then_some(())?;
                apply(name, &operands)
            }
        }
    }

    fn word(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn take(&mut self, wanted: char) -> bool {
        let rest = self.rest.trim_start();
        let found = rest.strip_prefix(wanted);
        self.rest = found.unwrap_or(rest);
        found.is_some()
    }

    fn until(&mut self, end: char) -> Option<&'a str> {
        let (text, rest) = self.rest.split_once(end)?;
        self.rest = rest;
        Some(text)
    }
}

fn apply(name: &str, operands: &[i64]) -> Option<i64> {
    match (name, operands) {
        ("Add", _) => operands.iter().try_fold(0i64, |sum, &x| sum.checked_add(x)),
        ("Mul", _) => operands.iter().try_fold(1i64, |all, &x| all.checked_mul(x)),
        ("Max", _) => operands.iter().copied().max(),
        ("Min", _) => operands.iter().copied().min(),
        ("FloorDiv" | "PythonFloorDiv", &[a, b]) => floor_div(a, b),
        ("CleanDiv", &[a, b]) => floor_div(a, b).filter(|q| q.checked_mul(b) == Some(a)),
        ("CeilDiv", &[a, b]) => floor_div(a.checked_neg()?, b)?.checked_neg(),
        ("Mod" | "PythonMod", &[a, b]) => remainder(a, b),
        ("ModularIndexing", &[a, b, c]) => remainder(floor_div(a, b)?, c),
        ("Pow" | "PowByNatural", &[a, b]) => a.checked_pow(u32::try_from(b).ok()?),
        _ => None,
    }
}

/// Rounded towards -∞, as in Python.
fn floor_div(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    let exact = a.checked_rem(b)? == 0;
    match !exact && (a < 0) != (b < 0) {
        true => quotient.checked_sub(1),
        false => Some(quotient),
    }
}

fn remainder(a: i64, b: i64) -> Option<i64> {
    a.checked_sub(floor_div(a, b)?.checked_mul(b)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Option<i64> {
        evaluate(text, &|name| (name == "s63").then_some(9))
    }

    #[test]
    fn expressions_are_worth_what_sympy_says() {
        let half = "Add(FloorDiv(Add(Symbol('s63', positive=True, integer=True), Integer(-1)), \
                    Integer(2)), Integer(1))";
        assert_eq!(check(half), Some(5));
        assert_eq!(check("Mul(Integer(4), Symbol('s63'))"), Some(36));
        assert_eq!(check("Max(Integer(1), Symbol('s63'))"), Some(9));
        assert_eq!(check("Mod(Integer(-7), Integer(4))"), Some(1));
        assert_eq!(check("FloorDiv(Integer(-7), Integer(2))"), Some(-4));
        assert_eq!(check("CeilDiv(Symbol('s63'), Integer(2))"), Some(5));
        assert_eq!(check("Pow(Symbol('s63'), Integer(2))"), Some(81));
    }

    /// Guards against panics and endless nesting in what a file says.
    #[test]
    fn what_has_no_value_has_none() {
        let deep = "Add(".repeat(100_000);
        for text in [
            "",
            "Integer(",
            "Integer(x)",
            "Symbol('t')",
            "Symbol(",
            "FloorDiv(Integer(1), Integer(0))",
            "FloorDiv(Integer(-9223372036854775808), Integer(-1))",
            "Mul(Integer(9223372036854775807), Integer(2))",
            "Add(Integer(1)) Integer(2)",
            "Sin(Integer(1))",
            "Add(Integer(1),",
            &deep,
        ] {
            assert_eq!(check(text), None, "{text:.40}");
        }
    }

    #[test]
    fn a_symbol_is_told_from_an_expression() {
        assert_eq!(
            symbol("Symbol('s10', positive=True, integer=True)"),
            Some("s10")
        );
        assert_eq!(symbol("s0"), Some("s0"));
        assert_eq!(symbol("Mul(Integer(4), Symbol('s10'))"), None);
        assert_eq!(symbol("2*s0"), None);
        assert_eq!(symbol("Symbol('s10') + Symbol('s2')"), None);
    }
}
