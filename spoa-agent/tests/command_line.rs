//! The program as a shell sees it: what it says where, and its exit codes.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails has failed its test"
)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn spoa_agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spoa-agent"));
    let ours =
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SPOA_AGENT_"));
    for (name, _) in ours {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

fn output(arguments: &[&str]) -> Output {
    spoa_agent(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn config(dir: &Path, text: &str) -> String {
    let path = dir.join("config.toml");
    std::fs::write(&path, text).unwrap();
    path.into_os_string().into_string().unwrap()
}

#[test]
fn a_wrong_configuration_is_told_line_by_line_on_the_standard_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(
        dir.path(),
        "[journal]\nsegmnt_size = \"64MiB\"\nack = \"fsync\"\n",
    );
    let mut command = spoa_agent(&["run", "--config", &file, "--shutdown-deadline", "10"]);
    let output = command
        .env("SPOA_AGENT_SHADOW_URI", "http://x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert_eq!(
        stderr(&output),
        format!(
            "{file}:2: journal.segmnt_size: unknown key; did you mean journal.segment_size?\n\
             {file}:3: journal.ack = \"fsync\": is not one of the choices; write append or write or sync\n\
             env SPOA_AGENT_SHADOW_URI: unknown variable; did you mean SPOA_AGENT_SHADOW_URL?\n\
             flag --shutdown-deadline: shutdown.deadline = \"10\": has no unit; write 10s or 10ms\n"
        )
    );
}

#[test]
fn help_and_version_are_no_errors_and_a_wrong_argument_is() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["run", "--help"],
        &["help", "journal"],
    ] {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(
            !output.stdout.is_empty() && output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
    for arguments in [
        &[][..],
        &["fly"],
        &["run", "--fly"],
        &["journal", "cat", "--from", "here"],
    ] {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_journal_that_is_not_there_is_a_failure_that_names_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let output = output(&["journal", "ls", "--journal-dir", missing.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.starts_with("spoa-agent: cannot list"), "{said}");
    assert_eq!(said.matches("No such file").count(), 1, "{said}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = spoa_agent(&["man"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "");
}
