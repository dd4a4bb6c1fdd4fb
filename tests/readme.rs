//! The README's spec is a sound one, and its commands say what it shows.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use plimsoll::engine::{Levels, Overlay, check, load};
use plimsoll::source::{SourceFile, Sources};

#[test]
fn the_spec_of_the_readme_is_sound() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let spec = readme
        .split("```toml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new("README.md", spec));
    let fetch = &mut |path: &str| Err(path.to_owned());
    let loaded = load(file, &mut sources, &Overlay::default(), fetch);
    let checked = check(loaded, &sources, &Levels::default());
    let said: Vec<_> = checked
        .findings
        .iter()
        .map(|f| format!("{}: {}", f.rule, f.message))
        .collect();
    assert!(said.is_empty(), "{said:#?}");
}

/// Every line that the README shows of a command's output is printed by that command.
#[test]
fn the_commands_of_the_readme_print_what_it_shows() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let shown = readme
        .split("```console\n")
        .nth(2)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let mut commands = shown.split("$ plimsoll ").skip(1).peekable();
    assert!(commands.peek().is_some(), "the README shows no command");
    for command in commands {
        let (line, output) = command.split_once('\n').unwrap();
        let arguments: Vec<String> = match line.split_once('"') {
            Some((name, quoted)) => vec![
                name.trim().to_owned(),
                quoted.trim_end_matches('"').to_owned(),
            ],
            None => line.split_whitespace().map(str::to_owned).collect(),
        };
        let run = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .args(&arguments)
            .env("COLUMNS", "100")
            .env("NO_COLOR", "1")
            .env_remove("CLICOLOR_FORCE")
            .env_remove("FORCE_COLOR")
            .output()
            .unwrap();
        let printed = String::from_utf8(run.stdout).unwrap();
        for wanted in output
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty() && *line != "…")
        {
            let found = printed.lines().any(|line| line.trim_end() == wanted);
            assert!(
                found,
                "`plimsoll {line}` does not print\n{wanted}\nbut\n{printed}"
            );
        }
    }
}
