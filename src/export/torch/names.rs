//! Names in Python: what users wrote becomes identifiers, each once in its scope.

use rustc_hash::FxHashSet;

/// Python's keywords and what the written module calls by name.
const RESERVED: [&str; 57] = [
    "False",
    "None",
    "True",
    "and",
    "as",
    "assert",
    "async",
    "await",
    "break",
    "class",
    "continue",
    "def",
    "del",
    "elif",
    "else",
    "except",
    "finally",
    "for",
    "from",
    "global",
    "if",
    "import",
    "in",
    "is",
    "lambda",
    "match",
    "nonlocal",
    "not",
    "or",
    "pass",
    "raise",
    "return",
    "try",
    "while",
    "with",
    "yield",
    "case",
    "type",
    "self",
    "super",
    "torch",
    "nn",
    "F",
    "math",
    "sys",
    "range",
    "tuple",
    "checkpoint",
    "Model",
    "example_inputs",
    "layer",
    "sdpa_kernel",
    "SDPBackend",
    "unwritten",
    "rotary_embedding",
    "linear_recurrence",
    "isinstance",
];

/// What `torch.nn.Module` has by itself.
const OF_MODULES: [&str; 52] = [
    "training",
    "forward",
    "train",
    "eval",
    "half",
    "float",
    "double",
    "bfloat16",
    "type",
    "to",
    "cpu",
    "cuda",
    "ipu",
    "xpu",
    "mtia",
    "apply",
    "children",
    "modules",
    "parameters",
    "buffers",
    "named_children",
    "named_modules",
    "named_parameters",
    "named_buffers",
    "state_dict",
    "load_state_dict",
    "zero_grad",
    "compile",
    "add_module",
    "register_module",
    "register_parameter",
    "register_buffer",
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_full_backward_pre_hook",
    "register_backward_hook",
    "register_state_dict_pre_hook",
    "register_state_dict_post_hook",
    "register_load_state_dict_pre_hook",
    "register_load_state_dict_post_hook",
    "get_buffer",
    "get_extra_state",
    "get_parameter",
    "get_submodule",
    "set_extra_state",
    "set_submodule",
    "requires_grad_",
    "share_memory",
    "to_empty",
    "extra_repr",
    "dump_patches",
];

/// A name as an identifier of ASCII letters: Python takes others too, but holds some of them to be
/// the same.
pub fn identifier(name: &str) -> String {
    let mut result: String = name
        .chars()
        .map(|letter| match letter.is_ascii_alphanumeric() {
            true => letter,
            false => '_',
        })
        .collect();
    if result.is_empty() || result.starts_with(|first: char| first.is_ascii_digit()) {
        result.insert(0, '_');
    }
    if RESERVED.contains(&result.as_str()) {
        result.push('_');
    }
    result
}

/// A name for an attribute of a module.
pub fn member(name: &str) -> String {
    let mut result = identifier(name);
    if result.starts_with('_') {
        result.insert_str(0, "layer");
    }
    if OF_MODULES.contains(&result.as_str()) {
        result.push('_');
    }
    result
}

/// A name for a class: `encoder_layer` → `EncoderLayer`.
pub fn class(name: &str) -> String {
    let mut result = String::new();
    let mut upper = true;
    for letter in name.chars() {
        match letter.is_ascii_alphanumeric() {
            false => upper = true,
            true if upper => {
                result.push(letter.to_ascii_uppercase());
                upper = false;
            }
            true => result.push(letter),
        }
    }
    if result.is_empty() || result.starts_with(|first: char| first.is_ascii_digit()) {
        result.insert_str(0, "Block");
    }
    result
}

/// A name for a function: `split_heads`, and `RotaryEmbedding` → `rotary_embedding`.
pub fn function(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut result = String::new();
    for (at, &letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| letters.get(at));
        let after = letters.get(at + 1);
        let begins = letter.is_ascii_uppercase()
            && before.is_some_and(|c| c.is_ascii_alphanumeric())
            && (before.is_some_and(|c| !c.is_ascii_uppercase())
                || after.is_some_and(|c| c.is_ascii_lowercase()));
        if begins {
            result.push('_');
        }
        result.push(letter.to_ascii_lowercase());
    }
    identifier(&result)
}

/// The names of one scope.
#[derive(Debug, Clone, Default)]
pub struct Names {
    used: FxHashSet<String>,
}

impl Names {
    /// Takes a name out of those that [`Names::fresh`] gives.
    pub fn reserve(&mut self, name: &str) {
        self.used.insert(name.to_owned());
    }

    /// The name, or the name with a number behind it where it is taken. Names with a number are
    /// searched from the count of names on, so that many of one kind cost little.
    pub fn fresh(&mut self, name: &str) -> String {
        if self.used.insert(name.to_owned()) {
            return name.to_owned();
        }
        let start = if self.used.len() < 1000 {
            2
        } else {
            self.used.len()
        };
        let free = (start..)
            .map(|number| format!("{name}_{number}"))
            .find(|candidate| !self.used.contains(candidate))
            .unwrap_or_default();
        self.used.insert(free.clone());
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_an_identifier() {
        for (text, expected) in [
            ("a b", "a_b"),
            ("class", "class_"),
            ("0", "_0"),
            ("", "_"),
            ("größe", "gr__e"),
        ] {
            assert_eq!(identifier(text), expected);
        }
        assert_eq!(member("train"), "train_");
        assert_eq!(member("0"), "layer_0");
        assert_eq!(class("encoder_layer"), "EncoderLayer");
        assert_eq!(class("2d"), "Block2d");
        assert_eq!(function("GPTNeoXRotary"), "gpt_neo_x_rotary");
        assert_eq!(function("split_heads"), "split_heads");
    }

    #[test]
    fn a_name_is_given_once() {
        let mut names = Names::default();
        assert_eq!(names.fresh("x"), "x");
        assert_eq!(names.fresh("x"), "x_2");
        names.reserve("x_3");
        assert_eq!(names.fresh("x"), "x_4");
    }
}
