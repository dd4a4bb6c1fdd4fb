//! From paths on the command line to the specs that they stand for.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ignore::{DirEntry, WalkBuilder};

use super::open;
use super::status::Complaint;
use crate::import::{FORMATS, Format};

/// How the name of a spec ends that is looked for in folders.
const SUFFIX: &str = ".model.toml";

/// What is looked for in folders, in words: ``*.model.toml` or `*.pt2``.
pub(super) fn looked_for() -> String {
    let spec = format!("*{SUFFIX}");
    let mut kinds: Vec<&str> = vec![&spec];
    kinds.extend(FORMATS.iter().map(|format| format.files));
    let quoted: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// One spec to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

/// What the paths stand for.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The models: in the order of the paths and, within a folder, of their names; none of them
    /// twice.
    pub inputs: Vec<Input>,
    /// What could not be looked at.
    pub complaints: Vec<Complaint>,
    /// Folders without any spec.
    pub empty: Vec<PathBuf>,
}

/// Finds the specs that paths stand for. `-` is standard input, a file stands for itself whatever
/// its name, and a folder for each `*.model.toml` and each model to import below it.
///
/// Hidden files and those that `.gitignore` or `.ignore` exclude are not looked for. Links to
/// files are followed, links to folders are not, so that the search ends.
pub(super) fn collect(paths: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for path in paths {
        if path.as_os_str() == "-" {
            found.inputs.push(Input::Stdin);
            continue;
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => walk(path, &mut found),
            Ok(_) => found.inputs.push(Input::File(path.clone())),
            Err(error) => found.complaints.push(Complaint::new(format!(
                "`{}` cannot be read: {error}",
                path.display()
            ))),
        }
    }
    if paths.len() > 1 {
        remove_repeated(&mut found.inputs);
    }
    found
}

fn walk(folder: &Path, found: &mut Found) {
    let before = found.inputs.len() + found.complaints.len();
    let walk = WalkBuilder::new(folder)
        .sort_by_file_name(|a, b| a.cmp(b))
        .build();
    for entry in walk {
        match entry {
            Ok(entry) if is_model(&entry) => {
                let path = entry.into_path();
                let short = path.strip_prefix(".").map(Path::to_path_buf);
                found.inputs.push(Input::File(short.unwrap_or(path)));
            }
            Ok(_) => {}
            Err(error) => {
                let message = format!("a folder cannot be searched: {error}");
                found.complaints.push(Complaint::new(message));
            }
        }
    }
    if found.inputs.len() + found.complaints.len() == before {
        found.empty.push(folder.to_path_buf());
    }
}

fn is_model(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    let is_file = || match entry.file_type() {
        // A link that leads nowhere is taken, so that reading it tells why.
        Some(kind) if kind.is_symlink() => {
            !fs::metadata(entry.path()).is_ok_and(|target| target.is_dir())
        }
        kind => kind.is_some_and(|kind| !kind.is_dir()),
    };
    match Format::of(&name) {
        Some(_) => is_file() && open::is_import(entry.path()),
        None => name.ends_with(SUFFIX) && is_file(),
    }
}

/// Keeps the first of several names of one file.
fn remove_repeated(inputs: &mut Vec<Input>) {
    let mut seen = BTreeSet::new();
    let mut stdin = false;
    inputs.retain(|input| match input {
        Input::Stdin => !std::mem::replace(&mut stdin, true),
        Input::File(path) => seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.clone())),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lays out a folder, collects paths in it, and lists what was found.
    fn check(files: &[&str], paths: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match file.ends_with('/') {
                true => fs::create_dir_all(path).unwrap(),
                false => fs::write(path, "ignored.model.toml\n").unwrap(),
            }
        }
        let paths: Vec<PathBuf> = paths
            .iter()
            .map(|path| match *path {
                "-" => PathBuf::from("-"),
                path => root.join(path),
            })
            .collect();
        let found = collect(&paths);
        let mut lines = Vec::new();
        for input in &found.inputs {
            lines.push(match input {
                Input::Stdin => "-".to_owned(),
                Input::File(path) => path.display().to_string(),
            });
        }
        lines.extend(found.complaints.iter().map(|it| format!("error: {it}")));
        lines.extend(
            found
                .empty
                .iter()
                .map(|it| format!("empty: {}", it.display())),
        );
        let root = root.display().to_string();
        lines.join("\n").replace(&root, "ROOT")
    }

    #[test]
    fn folders_are_searched_and_files_taken_as_they_are() {
        let files = [
            "b.model.toml",
            "a.model.toml",
            "other.toml",
            "deep/er/c.model.toml",
            ".hidden/d.model.toml",
            ".git/HEAD",
            ".gitignore",
            "ignored.model.toml",
            "folder.model.toml/e.model.toml",
        ];
        insta::assert_snapshot!(check(&files, &[""]), @r"
        ROOT/a.model.toml
        ROOT/b.model.toml
        ROOT/deep/er/c.model.toml
        ROOT/folder.model.toml/e.model.toml
        ");
        insta::assert_snapshot!(check(&files, &["other.toml", "ignored.model.toml", ".hidden"]), @r"
        ROOT/other.toml
        ROOT/ignored.model.toml
        ROOT/.hidden/d.model.toml
        ");
    }

    #[test]
    fn a_spec_is_taken_once() {
        let files = ["a.model.toml", "b.model.toml", "d/"];
        insta::assert_snapshot!(check(&files, &["b.model.toml", "-", "d/..", "-", "b.model.toml"]), @r"
        ROOT/b.model.toml
        -
        ROOT/d/../a.model.toml
        ");
    }

    #[test]
    fn what_is_not_there_is_said() {
        insta::assert_snapshot!(check(&["d/x.toml"], &["d", "nowhere"]), @r"
        error: `ROOT/nowhere` cannot be read: No such file or directory (os error 2)
        empty: ROOT/d
        ");
    }

    /// Links to files are specs too; a link to a folder above would have no end.
    #[cfg(unix)]
    #[test]
    fn links_are_followed_to_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::write(root.join("x"), "").unwrap();
        for (target, link) in [
            ("x", "link.model.toml"),
            ("nowhere", "broken.model.toml"),
            (".", "loop.model.toml"),
        ] {
            std::os::unix::fs::symlink(target, root.join(link)).unwrap();
        }
        let names: Vec<String> = collect(&[root.to_path_buf()])
            .inputs
            .iter()
            .filter_map(|input| match input {
                Input::File(path) => path.file_name(),
                Input::Stdin => None,
            })
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["broken.model.toml", "link.model.toml"]);
    }
}
