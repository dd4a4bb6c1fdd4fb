//! The zip archive around an exported program: which entries matter, and how large they may be.

use std::io::{Read, Seek};

use zip::ZipArchive;
use zip::read::{ArchiveOffset, Config};
use zip::result::ZipError;

use super::schema::{ExportedProgram, WeightsConfig};
use crate::import::ImportError;
use crate::quantity::Bytes;

/// The longest entry that is unpacked. The program of a model of a trillion parameters is a few
/// megabytes; its weights are never read.
const MAX_ENTRY: u64 = 512 << 20;

/// What the archive holds of the model.
#[derive(Debug)]
pub(super) struct Archive {
    program: Vec<u8>,
    weights: Option<Vec<u8>>,
}

impl Archive {
    /// Unpacks the entries that describe the model.
    pub(super) fn read(file: impl Read + Seek) -> Result<Archive, ImportError> {
        // PyTorch's archives begin where the file does. Left to find that out, the reader looks for
        // the directory right before its end, past the records of 64-bit sizes in between, and
        // takes its second entry for the first where that is as long as those are.
        let config = Config {
            archive_offset: ArchiveOffset::Known(0),
        };
        let mut zip = ZipArchive::with_config(config, file).map_err(|error| match error {
            ZipError::InvalidArchive(_) => {
                damaged_because("the file is no zip archive, or it is cut off")
            }
            error => damaged(&error),
        })?;
        // A name that cannot be decoded is no name of an entry that is looked for.
        let names: Vec<String> = zip
            .file_names()
            .filter_map(|name| Some(name.ok()?.into_owned()))
            .collect();
        let Some(name) = program_name(&names) else {
            let message = "the archive holds no exported program (`models/model.json`)";
            let help = if names.iter().any(|name| name.ends_with("data.pkl")) {
                "this is what `torch.save` writes; export the model with \
                 `torch.export.save(torch.export.export(model, inputs), \"model.pt2\")`"
            } else {
                "write it with `torch.export.save(torch.export.export(model, inputs), \"model.pt2\")`"
            };
            return Err(ImportError::new(message).help(help));
        };
        let program = unpack(&mut zip, name, MAX_ENTRY)?;
        let config = names
            .iter()
            .find(|name| name.ends_with("_weights_config.json") && name.contains("data/weights/"));
        let weights = match config {
            Some(name) => Some(unpack(&mut zip, name, MAX_ENTRY)?),
            None => None,
        };
        Ok(Archive { program, weights })
    }

    /// The program.
    pub(super) fn program(&self) -> Result<ExportedProgram, ImportError> {
        serde_json::from_slice(&self.program).map_err(|error| {
            ImportError::new(format!("the exported program cannot be read: {error}"))
                .help("it may be damaged, or written by a PyTorch whose schema is not known")
        })
    }

    /// Which file of weights each parameter lies in. It only says more about sharing, so one that
    /// cannot be read counts as none.
    pub(super) fn weights(&self) -> WeightsConfig {
        self.weights
            .as_deref()
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or_default()
    }
}

/// The entry with the program: `models/model.json`, or the first other model, or what PyTorch
/// before 2.7 wrote.
fn program_name(names: &[String]) -> Option<&str> {
    let is_model = |name: &&str| {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        name.ends_with(".json") && (folder == "models" || folder.ends_with("/models"))
    };
    let all = || names.iter().map(String::as_str);
    all()
        .filter(is_model)
        .find(|name| name.ends_with("/model.json"))
        .or_else(|| all().filter(is_model).min())
        .or_else(|| all().find(|name| name.ends_with("serialized_exported_program.json")))
}

/// Unpacks one entry. What an archive says of its sizes is not believed: the bytes are counted.
fn unpack<R: Read + Seek>(
    zip: &mut ZipArchive<R>,
    name: &str,
    limit: u64,
) -> Result<Vec<u8>, ImportError> {
    let entry = zip.by_name(name).map_err(|error| damaged(&error))?;
    let mut bytes = Vec::new();
    entry
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| damaged(&ZipError::Io(error)))?;
    if bytes.len() as u64 > limit {
        let message = format!(
            "`{name}` in the archive unpacks to more than {}",
            Bytes(limit)
        );
        return Err(ImportError::new(message));
    }
    Ok(bytes)
}

fn damaged(error: &ZipError) -> ImportError {
    let message = match error {
        ZipError::InvalidArchive(reason) => format!("the archive is damaged: {reason}"),
        ZipError::UnsupportedArchive(reason) => {
            format!("the archive is packed in a way that is not supported: {reason}")
        }
        ZipError::Io(error) => format!("the archive is damaged or cut off: {error}"),
        error => format!("the archive cannot be read: {error}"),
    };
    damaged_because(message)
}

fn damaged_because(message: impl Into<String>) -> ImportError {
    ImportError::new(message).help("a `.pt2` file is a zip archive that `torch.export.save` writes")
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;
    use zip::write::{SimpleFileOptions, ZipWriter};

    fn packed(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            let options = SimpleFileOptions::default();
            zip.start_file(*name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn message(bytes: &[u8]) -> String {
        let result = Archive::read(Cursor::new(bytes)).and_then(|archive| archive.program());
        result.unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_program_is_explained() {
        insta::assert_snapshot!(message(b"no zip"), @"the file is no zip archive, or it is cut off");
        insta::assert_snapshot!(message(&packed(&[("a/data.pkl", b"")])), @"the archive holds no exported program (`models/model.json`)");
        insta::assert_snapshot!(message(&packed(&[("m/models/model.json", b"{")])), @"the exported program cannot be read: EOF while parsing an object at line 1 column 1");
        insta::assert_snapshot!(message(&packed(&[("m/models/model.json", b"{}")])), @"the exported program cannot be read: missing field `graph_module` at line 1 column 2");
    }

    /// Guards archives whose first entry has a name of 30 letters, as `detector/data/weights/weight_0`:
    /// its header is as long as the records of 64-bit sizes that PyTorch puts behind the directory.
    #[test]
    fn the_directory_is_found_before_records_of_64_bit_sizes() {
        let first = "detector/data/weights/weight_0";
        let mut bytes = packed(&[(first, b""), ("detector/models/model.json", b"{")]);
        let end = bytes.len() - 22;
        let mut records = [0; 76];
        records[..4].copy_from_slice(b"PK\x06\x06");
        records[56..60].copy_from_slice(b"PK\x06\x07");
        bytes.splice(end..end, records);
        assert_eq!(46 + first.len(), records.len());
        insta::assert_snapshot!(message(&bytes), @"the exported program cannot be read: EOF while parsing an object at line 1 column 1");
    }

    /// Guards against archives of a few bytes that unpack to any size.
    #[test]
    fn what_unpacks_too_far_is_refused() {
        let bytes = packed(&[("x", &[7; 5000])]);
        let mut zip = ZipArchive::new(Cursor::new(&bytes)).unwrap();
        assert_eq!(unpack(&mut zip, "x", 5000).unwrap().len(), 5000);
        let error = unpack(&mut zip, "x", 4999).unwrap_err();
        insta::assert_snapshot!(error, @"`x` in the archive unpacks to more than 4.88 KiB");
    }

    #[test]
    fn the_program_is_found_in_every_layout() {
        let find = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            program_name(&names).map(str::to_owned)
        };
        let new = find(&["m/models/aux.json", "m/models/model.json", "m/data/x.json"]);
        assert_eq!(new.as_deref(), Some("m/models/model.json"));
        let other = find(&["m/models/b.json", "m/models/a.json"]);
        assert_eq!(other.as_deref(), Some("m/models/a.json"));
        let old = find(&[
            "serialized_state_dict.pt",
            "serialized_exported_program.json",
        ]);
        assert_eq!(old.as_deref(), Some("serialized_exported_program.json"));
        assert_eq!(find(&["m/data/x.json"]), None);
    }
}
