//! Names that the spec language takes, each once in its scope.

use rustc_hash::FxHashSet;

use crate::ops;
use crate::spec::operand;
use crate::tensor::Dtype;

/// Words that formulas know as something else than a tensor.
const WORDS: &[&str] = &[
    "and", "or", "not", "if", "else", "in", "is", "for", "lambda", "true", "false", "none", "pi",
    "e", "inf", "infinity", "nan", "newaxis",
];

/// The names that are taken in a scope.
#[derive(Debug, Clone, Default)]
pub(super) struct Taken(FxHashSet<String>);

impl Taken {
    /// Whether nothing has the name that the hint makes.
    pub fn is_free(&self, hint: &str) -> bool {
        !self.0.contains(&valid(hint))
    }

    /// A valid name like the hint that nothing else has; it is taken from now on.
    pub fn unique(&mut self, hint: &str) -> String {
        let wanted = valid(hint);
        let mut name = wanted.clone();
        let mut number = 2;
        while !self.0.insert(name.clone()) {
            name = format!("{wanted}_{number}");
            number += 1;
        }
        name
    }
}

/// The hint with everything replaced that a name may not hold.
pub(super) fn valid(hint: &str) -> String {
    let mut name: String = hint
        .chars()
        .map(|c| match c.is_alphanumeric() {
            true => c,
            false => '_',
        })
        .collect();
    if name.is_empty() || name.starts_with(|c: char| !c.is_alphabetic() && c != '_') {
        name.insert(0, '_');
    }
    let word = WORDS.contains(&name.to_lowercase().as_str())
        || Dtype::parse(&name).is_some()
        || crate::lower::is_module(&name);
    if word || name == operand::ABSENT {
        name.push('_');
    }
    name
}

/// The hint as the name of a block, which no op may have.
pub(super) fn block(taken: &mut Taken, hint: &str) -> String {
    let mut name = valid(&snake(hint));
    // Formulas call functions with an underscore behind them, too.
    if ops::find(name.trim_end_matches('_')).is_some() || crate::lower::is_module(&name) {
        name.push_str("_block");
    }
    taken.unique(&name)
}

/// `BasicBlock` → `basic_block`, `GPT2MLP` → `gpt2_mlp`.
fn snake(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut text = String::with_capacity(name.len() + 4);
    for (at, &c) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| letters.get(at));
        let behind = letters.get(at + 1);
        let starts = c.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_ascii_digit()
                    || before.is_uppercase() && behind.is_some_and(|behind| behind.is_lowercase())
            });
        if starts {
            text.push('_');
        }
        text.extend(c.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cases: &[(&str, &str)]) {
        for (hint, expected) in cases {
            assert_eq!(valid(hint), *expected, "{hint}");
        }
    }

    #[test]
    fn hints_become_names() {
        check(&[
            ("conv1", "conv1"),
            ("layer1.0.conv", "layer1_0_conv"),
            ("0", "_0"),
            ("", "_"),
            ("a \"quoted\"\nname", "a__quoted__name"),
            ("größe", "größe"),
            ("in", "in_"),
            ("None", "None_"),
            ("٣x", "_٣x"),
        ]);
        let mut taken = Taken::default();
        let names = ["a", "a.b", "a_b", "a"].map(|hint| taken.unique(hint));
        assert_eq!(names, ["a", "a_b", "a_b_2", "a_2"]);
    }

    #[test]
    fn classes_become_blocks() {
        let mut taken = Taken::default();
        for (class, expected) in [
            ("BasicBlock", "basic_block"),
            ("GPT2MLP", "gpt2_mlp"),
            ("T5LayerNorm", "t5_layer_norm"),
            ("Conv2d", "conv2d_block"),
            ("BasicBlock", "basic_block_2"),
        ] {
            assert_eq!(block(&mut taken, class), expected);
        }
    }
}
