//! Texts from files and standard input: at most so long, and UTF-8.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

use super::status::Complaint;
use crate::quantity::Bytes;
use crate::spec::document::MAX_TEXT_BYTES;

const LIMIT: u64 = MAX_TEXT_BYTES as u64;

/// The text of a file, whatever kind of file it is: a pipe has one too.
pub(super) fn file(path: &Path) -> Result<String, Complaint> {
    let name = path.display().to_string();
    let fail = |error| Complaint::new(format!("`{name}` cannot be read: {error}"));
    let mut opened = File::open(path).map_err(fail)?;
    // The size is a hint for the buffer, and lets a file that is too long fail at once.
    let size = opened.metadata().map_or(0, |metadata| metadata.len());
    if size > LIMIT {
        return Err(too_long(&name, LIMIT, Some(size)));
    }
    read(&mut opened, &name, LIMIT, size)
}

/// A file that is not read as text.
pub(super) fn open(path: &Path) -> Result<BufReader<File>, Complaint> {
    let name = path.display().to_string();
    let fail = |error| Complaint::new(format!("`{name}` cannot be read: {error}"));
    Ok(BufReader::new(File::open(path).map_err(fail)?))
}

/// The bytes of standard input, which goes by that name.
pub(super) fn bytes(input: &mut dyn Read, name: &str) -> Result<Vec<u8>, Complaint> {
    let mut bytes = Vec::new();
    input
        .take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Complaint::new(format!("`{name}` cannot be read: {error}")))?;
    match bytes.len() as u64 > LIMIT {
        true => Err(too_long(name, LIMIT, None)),
        false => Ok(bytes),
    }
}

/// The text of a file that a spec extends: `Err` says why there is none.
///
/// A spec may come from anywhere, so it does not make the program wait for a pipe or a device.
pub(super) fn base(path: &str) -> Result<String, String> {
    match fs::metadata(path) {
        Err(error) => Err(error.to_string()),
        Ok(metadata) if metadata.is_dir() => Err("it is a folder".to_owned()),
        Ok(metadata) if !metadata.is_file() => Err("it is not a regular file".to_owned()),
        Ok(_) => file(Path::new(path)).map_err(|complaint| complaint.message),
    }
}

fn read(input: &mut dyn Read, name: &str, limit: u64, size: u64) -> Result<String, Complaint> {
    let mut bytes = Vec::with_capacity(size as usize + 1);
    input
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Complaint::new(format!("`{name}` cannot be read: {error}")))?;
    if bytes.len() as u64 > limit {
        return Err(too_long(name, limit, None));
    }
    text(bytes, name)
}

/// The text that some bytes are, which go by that name.
pub(super) fn text(bytes: Vec<u8>, name: &str) -> Result<String, Complaint> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let valid = &error.as_bytes()[..at];
        let line = valid.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let byte = error.as_bytes().get(at).copied().unwrap_or_default();
        Complaint::new(format!(
            "`{name}` is not UTF-8: byte {byte:#04x} at offset {at}, in line {line}"
        ))
        .help("save the file as UTF-8")
    })
}

fn too_long(name: &str, limit: u64, size: Option<u64>) -> Complaint {
    let has = size.map_or("more than that".to_owned(), |size| Bytes(size).to_string());
    let limit = Bytes(limit);
    Complaint::new(format!(
        "`{name}` is too long: it has {has}, and at most {limit} are read"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(mut bytes: &[u8]) -> String {
        read(&mut bytes, "x", 16, 0).unwrap_err().message
    }

    #[test]
    fn what_is_no_text_is_explained() {
        insta::assert_snapshot!(message(b"a = 1\nb = \"\xff\"\n"), @"`x` is not UTF-8: byte 0xff at offset 11, in line 2");
        insta::assert_snapshot!(message(b"\xe2\x82"), @"`x` is not UTF-8: byte 0xe2 at offset 0, in line 1");
        insta::assert_snapshot!(message(&[b'#'; 17]), @"`x` is too long: it has more than that, and at most 16 B are read");
        assert_eq!(read(&mut &[b'#'; 16][..], "x", 16, 0).unwrap().len(), 16);
    }

    #[test]
    fn a_spec_extends_only_files() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().to_string_lossy().into_owned();
        assert_eq!(base(&name).unwrap_err(), "it is a folder");
        let file = folder.path().join("long");
        File::create(&file).unwrap().set_len(1 << 40).unwrap();
        let message = base(&file.to_string_lossy()).unwrap_err();
        assert_eq!(
            message.replace(&name, ""),
            "`/long` is too long: it has 1 TiB, and at most 256 MiB are read"
        );
    }
}
