//! The HAProxy binaries to test with.
//!
//! `HAPROXY_BINARIES` names them, separated by `:`. Without it, `haproxy` and `haproxy-3.0` are
//! looked for in `PATH`. One that is missing is named on stderr, and fails the test where
//! `CI=true`, so that a machine without HAProxy cannot pass for one that tested it.

#![expect(clippy::print_stderr, reason = "what is not tested must be seen")]
#![allow(dead_code, reason = "not every test asks for everything")]

use std::path::PathBuf;
use std::process::Command;

pub(crate) struct Haproxy {
    pub(crate) path: PathBuf,
    pub(crate) branch: (u16, u16),
}

pub(crate) fn binaries() -> Vec<Haproxy> {
    let named = std::env::var("HAPROXY_BINARIES").ok();
    let names: Vec<&str> = match &named {
        Some(named) => named.split(':').filter(|name| !name.is_empty()).collect(),
        None => vec!["haproxy", "haproxy-3.0"],
    };
    let (found, missing): (Vec<_>, Vec<_>) = names
        .into_iter()
        .map(|name| (name, probe(name)))
        .partition(|(_, branch)| branch.is_some());
    for (name, _) in &missing {
        eprintln!("NOT TESTED with {name}: it is not installed, or does not tell its version");
    }
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(
        !ci || missing.is_empty(),
        "in CI every HAProxy must be there: see scripts/setup"
    );
    found
        .into_iter()
        .filter_map(|(name, branch)| {
            Some(Haproxy {
                path: name.into(),
                branch: branch?,
            })
        })
        .collect()
}

/// The branch that a binary says it is, from `HAProxy version 3.0.11-1+deb13u3 2026/05/20`.
fn probe(name: &str) -> Option<(u16, u16)> {
    let output = Command::new(name).arg("-v").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split("version ").nth(1)?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
