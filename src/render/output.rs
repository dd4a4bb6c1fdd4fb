//! `--output FORMAT[=FILE]`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{FORMATS, Renderer};
use crate::source::suggest;

/// One place to write to, and in which format.
#[derive(Debug, Clone)]
pub struct Output {
    /// The format.
    pub format: &'static dyn Renderer,
    /// The file; standard output where there is none.
    pub file: Option<PathBuf>,
}

/// Why an argument of `--output` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputError {
    /// No format has that name.
    UnknownFormat {
        /// The name as it was given.
        given: String,
        /// What may have been meant.
        help: Option<String>,
    },
    /// There is a `=` and no file behind it.
    NoFile(String),
}

impl Default for Output {
    /// For people, on standard output.
    fn default() -> Output {
        Output {
            format: FORMATS[0],
            file: None,
        }
    }
}

impl Output {
    /// The format of that name.
    pub fn format(name: &str) -> Result<&'static dyn Renderer, OutputError> {
        let found = FORMATS.iter().find(|format| format.name() == name);
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = FORMATS.iter().map(|format| format.name()).collect();
            OutputError::UnknownFormat {
                given: name.to_owned(),
                help: suggest::did_you_mean(name, &names),
            }
        })
    }
}

impl FromStr for Output {
    type Err = OutputError;

    /// Everything behind the first `=` is the file's name, further `=` included; `-` is standard
    /// output.
    fn from_str(text: &str) -> Result<Output, OutputError> {
        let (name, file) = match text.split_once('=') {
            Some((name, "")) => return Err(OutputError::NoFile(name.to_owned())),
            Some((name, "-")) => (name, None),
            Some((name, file)) => (name, Some(PathBuf::from(file))),
            None => (text, None),
        };
        let format = Output::format(name)?;
        Ok(Output { format, file })
    }
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutputError::UnknownFormat { given, help } => {
                write!(f, "there is no output format `{given}`")?;
                help.iter().try_for_each(|help| write!(f, "; {help}"))
            }
            OutputError::NoFile(format) => write!(
                f,
                "a file name is missing behind `{format}=`; leave the `=` out for standard output"
            ),
        }
    }
}

impl std::error::Error for OutputError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_may_have_a_file() {
        let read = |text: &str| {
            let output: Output = text.parse().unwrap();
            (output.format.name(), output.file)
        };
        assert_eq!(read("json"), ("json", None));
        assert_eq!(read("json=-"), ("json", None));
        assert_eq!(read("jsonl=a=b"), ("jsonl", Some(PathBuf::from("a=b"))));
    }

    #[test]
    fn what_cannot_be_used_is_explained() {
        let message = |text: &str| text.parse::<Output>().unwrap_err().to_string();
        insta::assert_snapshot!(message("jsno=x"), @"there is no output format `jsno`; did you mean `json`?");
        insta::assert_snapshot!(message("yaml"), @"there is no output format `yaml`; there is: full, concise, json, jsonl");
        insta::assert_snapshot!(message("json="), @"a file name is missing behind `json=`; leave the `=` out for standard output");
    }
}
