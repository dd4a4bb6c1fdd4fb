//! The names of the rules whose findings are made while a spec is read or lowered.
//!
//! They stand here, and not with the rules, because reading lies below the rules.

/// The text is no TOML.
pub const SYNTAX: &str = "spec/syntax";
/// A key that means nothing there.
pub const UNKNOWN_KEY: &str = "spec/unknown-key";
/// A key that must be there.
pub const MISSING_KEY: &str = "spec/missing-key";
/// A value of the wrong type or outside its range.
pub const INVALID_VALUE: &str = "spec/invalid-value";
/// An op or block that there is not.
pub const UNKNOWN_OP: &str = "spec/unknown-op";
/// A dim that there is not.
pub const UNKNOWN_DIM: &str = "spec/unknown-dim";
/// Dims that do not come out: a division that leaves a rest, a cycle.
pub const INCONSISTENT_DIM: &str = "spec/inconsistent-dim";
/// A tensor, layer, input or parameter that there is not.
pub const UNKNOWN_NAME: &str = "spec/unknown-name";
/// A name that stands for two things.
pub const DUPLICATE_NAME: &str = "spec/duplicate-name";
/// A formula that cannot be read.
pub const FORMULA: &str = "spec/formula";
/// Operands whose shapes or types do not fit.
pub const SHAPE_MISMATCH: &str = "spec/shape-mismatch";
/// A block that contains itself, or a model larger than can be examined.
pub const UNBOUNDED_MODEL: &str = "spec/unbounded-model";
/// A device that is not in the catalogue.
pub const UNKNOWN_DEVICE: &str = "spec/unknown-device";
/// A rule that there is not.
pub const UNKNOWN_RULE: &str = "spec/unknown-rule";
/// A file that `extends` names and that cannot be laid under this one.
pub const EXTENDS: &str = "spec/extends";
/// A file of another program that cannot be imported.
pub const IMPORT: &str = "spec/import";
