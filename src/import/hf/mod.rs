//! `config.json` of Hugging Face: from the configuration to the text of a spec.
//!
//! A configuration says which class of Transformers the model is and how large; the class itself is
//! known here. What comes out is a spec to be read and edited, which goes the way of all specs. It
//! computes what the class computes in training, its loss included: same parameters, tied ones
//! once, same buffers, same products, step by step where the class goes step by step.
//!
//! A family is one file with its entries of [`ModelType`]. Weights are never read.

mod albert;
mod bart;
mod bert;
mod bloom;
mod config;
mod decoder;
mod distilbert;
mod falcon;
mod gemma;
mod gpt2;
mod gpt_neo;
mod gpt_neox;
mod gptj;
mod heads;
mod json;

mod llama;
mod mamba;
mod mixtral;
mod moe;
mod opt;
mod parts;
mod phi;
mod rope;
mod seq2seq;
mod stored;
mod t5;
mod task;
mod text;
mod vit;
mod whisper;

pub use task::Task;

use config::Config;
use text::SpecText;

use std::io::Read;

use super::{Format, ImportError, Input, Opened};
use crate::source::suggest;

/// What `save_pretrained` writes beside the weights.
pub static FORMAT: Format = Format {
    name: "config.json",
    files: "config.json",
    is_named: |name| name == "config.json" || name.ends_with(".config.json"),
    // An object of JSON; no line of TOML begins so.
    begins: |bytes| bytes.trim_ascii_start().first() == Some(&b'{'),
    holds_model: Some(|input| {
        let config = text_of(input).and_then(|text| Config::parse(&text));
        config.is_ok_and(|config| config.has(&["model_type"]))
    }),
    open: |input| open(input, &Options::default()),
};

/// Reads a configuration as the text of a spec.
///
/// # Errors
/// As [`spec`], and where the file cannot be read.
pub(super) fn open(input: &mut dyn Input, options: &Options) -> Result<Opened, ImportError> {
    let text = text_of(input)?;
    Ok(Opened::Text(spec(&text, options)?.into()))
}

/// The text of a configuration.
fn text_of(input: &mut dyn Input) -> Result<String, ImportError> {
    let mut bytes = Vec::new();
    let limit = json::MAX_BYTES as u64 + 1;
    if let Err(error) = input.take(limit).read_to_end(&mut bytes) {
        return Err(ImportError::new(error.to_string()));
    }
    String::from_utf8(bytes).map_err(|_| ImportError::new("the configuration is no UTF-8"))
}

/// What a configuration does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Sequences or images of one step on one device; 1 where nothing is said.
    pub batch: Option<u64>,
    /// Tokens of a sequence. Where nothing is said the most positions that the model has, up to
    /// [`DEFAULT_SEQ`].
    pub seq: Option<u64>,
    /// What the model is for; where nothing is said what the class named by `architectures` is for,
    /// else what the type is used for most.
    pub task: Option<Task>,
}

/// The length of a sequence where neither options nor positions say less.
pub const DEFAULT_SEQ: u64 = 1024;

/// The largest batch or sequence.
const MAX_OPTION: u64 = 1 << 31;

/// One `model_type`.
struct ModelType {
    /// The name.
    name: &'static str,
    /// What it is written for; the usual one first.
    tasks: &'static [Task],
    /// Writes the spec. What is wrong with the configuration is noted in it.
    write: fn(&mut Config, &Choice) -> SpecText,
}

/// What was chosen for a model.
#[derive(Debug, Clone)]
struct Choice {
    model_type: &'static str,
    task: Task,
    batch: u64,
    seq: Option<u64>,
}

/// The comment at the top of a spec.
fn head_comment(choice: &Choice) -> String {
    format!(
        "A model of the type `{}` for {}, as Hugging Face Transformers builds and trains it.\n\
         Written from its configuration: edit it, and add [train], [cluster] and [parallel].",
        choice.model_type,
        choice.task.name()
    )
}

/// All families. Each file of a family has one line here.
const FAMILIES: &[&[ModelType]] = &[
    albert::TYPES,
    bart::TYPES,
    bert::TYPES,
    bloom::TYPES,
    distilbert::TYPES,
    falcon::TYPES,
    gemma::TYPES,
    gpt2::TYPES,
    gpt_neo::TYPES,
    gpt_neox::TYPES,
    gptj::TYPES,
    llama::TYPES,
    mamba::TYPES,
    mixtral::TYPES,
    opt::TYPES,
    phi::TYPES,
    t5::TYPES,
    vit::TYPES,
    whisper::TYPES,
];

/// The names of all types that are known, sorted.
pub fn model_types() -> Vec<&'static str> {
    let mut names: Vec<&str> = types().map(|known| known.name).collect();
    names.sort_unstable();
    names
}

fn types() -> impl Iterator<Item = &'static ModelType> {
    FAMILIES.iter().copied().flatten()
}

/// The text of a spec of the model that a configuration describes.
///
/// # Errors
/// Where the text is no configuration, its type or task is not known, or values in it are wrong: of
/// the latter all are told.
pub fn spec(text: &str, options: &Options) -> Result<String, ImportError> {
    let mut config = Config::parse(text)?;
    let known = model_type(&mut config)?;
    let task = task(&mut config, known, options)?;
    for (name, given) in [("batch", options.batch), ("seq", options.seq)] {
        if given.is_some_and(|size| !(1..=MAX_OPTION).contains(&size)) {
            config.fault(format!("{name} must be from 1 to {MAX_OPTION}"));
        }
    }
    let choice = Choice {
        model_type: known.name,
        task,
        batch: options.batch.unwrap_or(1),
        seq: options.seq,
    };
    let preset = stored::preset(&mut config);
    let mut written = (known.write)(&mut config, &choice);
    if let Some(preset) = preset {
        written.precision(preset);
    }
    written.notes(&stored::notes(&mut config));
    match config.faults() {
        [] => Ok(written.finish()),
        faults => Err(refusal(faults)),
    }
}

fn refusal(faults: &[String]) -> ImportError {
    let message = match faults {
        [one] => format!("the configuration is wrong: {one}"),
        several => format!(
            "the configuration is wrong in {} places: {}",
            several.len(),
            several.join("; ")
        ),
    };
    ImportError::new(message)
}

fn model_type(config: &mut Config) -> Result<&'static ModelType, ImportError> {
    let Some(name) = config.optional_text(&["model_type"]) else {
        let message = match config.faults() {
            [] => {
                "the configuration has no `model_type`, which says what model it is of".to_owned()
            }
            faults => faults.join("; "),
        };
        return Err(ImportError::new(message).help(known_types()));
    };
    types().find(|known| known.name == name).ok_or_else(|| {
        let guess = suggest::did_you_mean(&name, &model_types());
        let help = [guess, Some(known_types())];
        let shown: String = name.chars().take(60).collect();
        ImportError::new(format!(
            "`model_type` \"{}\" is not known",
            shown.escape_debug()
        ))
        .help(help.into_iter().flatten().collect::<Vec<_>>().join("; "))
    })
}

fn known_types() -> String {
    format!("the types that are known: {}", model_types().join(", "))
}

/// The task that was asked for, the class's, or the usual one.
fn task(config: &mut Config, known: &ModelType, options: &Options) -> Result<Task, ImportError> {
    let help = || {
        let names: Vec<&str> = known.tasks.iter().map(|task| task.name()).collect();
        format!(
            "`{}` is known for these tasks: {}",
            known.name,
            names.join(", ")
        )
    };
    if let Some(task) = options.task {
        if known.tasks.contains(&task) {
            return Ok(task);
        }
        let message = format!("`{}` is not known for the task {}", known.name, task.name());
        return Err(ImportError::new(message).help(help()));
    }
    let Some(class) = config.texts(&["architectures"]).into_iter().next() else {
        return Ok(known.tasks[0]);
    };
    match Task::of_class(&class).filter(|task| known.tasks.contains(task)) {
        Some(task) => Ok(task),
        None => {
            let shown: String = class.chars().take(60).collect();
            let message = format!(
                "`architectures` names the class \"{}\", which is not known",
                shown.escape_debug()
            );
            Err(ImportError::new(message).help(help()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the registry: a family that is not in it would compile, and never be found.
    #[test]
    fn every_family_is_in_the_registry() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/import/hf");
        let registry = std::fs::read_to_string(folder.join("mod.rs")).expect("this file");
        let mut families = 0;
        for entry in std::fs::read_dir(folder).expect("the folder") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a file");
            let is_family = text
                .lines()
                .any(|line| line.starts_with("pub(super) const TYPES"));
            if !is_family {
                continue;
            }
            families += 1;
            let name = path.file_stem().expect("a name").to_string_lossy();
            let wanted = format!("{name}::TYPES");
            assert!(registry.contains(&wanted), "add `{wanted}` to FAMILIES");
        }
        assert_eq!(families, FAMILIES.len());
    }

    #[test]
    fn types_are_named_once_and_have_tasks() {
        let names = model_types();
        let mut once = names.clone();
        once.dedup();
        assert_eq!(once, names);
        assert!(types().all(|known| !known.tasks.is_empty()));
    }
}
