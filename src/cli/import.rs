//! `import FILE`: writes the spec of a model that another program wrote.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use super::console::Console;
use super::open::Contents;
use super::specs::{Read, SpecArguments};
use super::status::{Complaint, Status, Stop};
use crate::export::spec::{self, Options};
use crate::import::{FORMATS, Format, Opened};

/// Write the spec of a model that another program wrote
#[derive(Debug, clap::Args)]
pub(super) struct Import {
    #[command(flatten)]
    spec: SpecArguments,
    /// The file to write; standard output where none is given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    /// Write every call as a layer, without blocks and formulas
    #[arg(long)]
    flat: bool,
}

impl Import {
    pub fn run(self, console: &mut Console<'_>) -> Result<Status, Stop> {
        let name = self.spec.path.display().to_string();
        if name != "-" && Format::of(&name).is_none() {
            return Err(no_import(&name).into());
        }
        // Importing takes a while; what cannot be written is told before.
        if let Some(path) = self
            .output
            .as_ref()
            .filter(|path| path.exists() && !self.force)
        {
            let message = format!("`{}` is there already", path.display());
            let help = "give --force to write over it, or name another file with -o";
            return Err(Complaint::new(message).help(help).into());
        }
        let (name, contents) = self.spec.open(console)?;
        let described = match &contents {
            Contents::Text(_) => return Err(no_import(&name).into()),
            Contents::Import(Ok(Opened::Text(text))) if !self.flat => Some(text),
            Contents::Import(_) => None,
        };
        let Read { spec, model } = match self.spec.read_opened(&name, &contents, console)? {
            Ok(read) => read,
            Err(status) => return Ok(status),
        };
        let options = Options {
            name: spec.model.name.get().unwrap_or_default().to_string(),
            flat: self.flat,
        };
        let text = match described {
            // The importer wrote a spec itself, for people.
            Some(text) if self.spec.overlay.is_empty() => text.to_string(),
            Some(_) => spec::rewrite(&spec),
            None => spec::write(&model, &spec, &options)
                .map_err(|error| Complaint::new(format!("`{name}` has no spec: {error}")))?,
        };
        match &self.output {
            None => console.print(&text)?,
            Some(path) => self.write(path, &text)?,
        }
        Ok(Status::Success)
    }

    fn write(&self, path: &PathBuf, text: &str) -> Result<(), Complaint> {
        // A file that somebody else wrote meanwhile is not overwritten either.
        let opened = match self.force {
            true => File::create(path),
            false => File::create_new(path),
        };
        let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| {
            let complaint =
                Complaint::new(format!("`{}` cannot be written: {error}", path.display()));
            match error.kind() {
                ErrorKind::AlreadyExists => complaint.help("give --force to write over it"),
                _ => complaint,
            }
        })
    }
}

/// Complains of what is a spec already.
fn no_import(name: &str) -> Complaint {
    let message = format!("`{name}` is not a file of another program");
    let known: Vec<&str> = FORMATS.iter().map(|format| format.files).collect();
    let help = format!("a spec needs no import; others are {}", known.join(", "));
    Complaint::new(message).help(help)
}
