//! Pythons that misbehave.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::torch::ask;

/// A program that does what the lines of a shell say.
fn python(folder: &tempfile::TempDir, lines: &str) -> PathBuf {
    let path = folder.path().join("python");
    std::fs::write(&path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Guards that no Python, however it ends, is taken for one that answered, or waited for.
#[test]
fn a_python_that_fails_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let limit = Duration::from_secs(20);
    let asked = |lines, limit| ask(&python(&folder, lines), "{}".to_owned(), limit, &mut || ());
    assert_eq!(asked("cat", limit), Ok("{}".to_owned()));
    let wrong = asked("echo no room >&2; exit 3", limit).unwrap_err();
    assert!(wrong.message.contains("3"), "{wrong}");
    assert!(wrong.message.contains("no room"), "{wrong}");
    let wrong = asked("printf '\\377'", limit).unwrap_err();
    assert!(wrong.message.contains("UTF-8"), "{wrong}");
    let started = Instant::now();
    let wrong = asked("exec sleep 60", Duration::from_secs(1)).unwrap_err();
    assert!(wrong.message.contains("more than 1 s"), "{wrong}");
    assert!(started.elapsed() < Duration::from_secs(30));
    // One that ends others first is given the time for it, and one that will not end is not.
    let ended = folder.path().join("ended");
    let lines = format!(
        "trap 'echo > {}; exit 1' TERM\nsleep 60 & wait",
        ended.display()
    );
    asked(&lines, Duration::from_secs(1)).unwrap_err();
    assert!(ended.exists());
    let started = Instant::now();
    asked(
        "trap '' TERM\nwhile :; do sleep 1; done",
        Duration::from_secs(1),
    )
    .unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(30));
    let wrong = ask(
        &folder.path().join("none"),
        String::new(),
        limit,
        &mut || (),
    )
    .unwrap_err();
    assert!(wrong.message.contains("cannot be started"), "{wrong}");
    assert!(wrong.help.is_some());
}

/// Guards that whoever waits hears of it while a Python works.
#[test]
fn waiting_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let mut times = 0;
    let slow = python(&folder, "sleep 1");
    let limit = Duration::from_secs(20);
    ask(&slow, String::new(), limit, &mut || times += 1).unwrap();
    assert!(times > 3, "{times}");
}
