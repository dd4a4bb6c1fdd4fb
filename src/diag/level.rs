//! How bad a finding is, and how sure.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// How bad a finding is, from least to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing; nothing breaks.
    Info,
    /// Probably costs time, memory or accuracy.
    Warning,
    /// The run fails, diverges or cannot be what was meant.
    Error,
}

impl Level {
    /// All levels, from least to worst.
    pub const ALL: [Level; 3] = [Level::Info, Level::Warning, Level::Error];

    /// The level's name in every output format.
    pub fn name(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Level, ()> {
        match text {
            "info" | "note" => Ok(Level::Info),
            "warn" | "warning" => Ok(Level::Warning),
            "error" | "deny" => Ok(Level::Error),
            _ => Err(()),
        }
    }
}

/// How sure a finding is, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Statistical, or under an assumption that the message names.
    Likely,
    /// Follows from the spec.
    Certain,
    /// A concrete witness was run and failed.
    Proved,
}

impl Confidence {
    /// The confidence's name in every output format.
    pub fn name(self) -> &'static str {
        match self {
            Confidence::Likely => "likely",
            Confidence::Certain => "certain",
            Confidence::Proved => "proved",
        }
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
