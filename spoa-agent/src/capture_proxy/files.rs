//! What is written into the state directory. All of it is for its owner alone: HAProxy's configuration may have
//! secrets in its headers, and the journal has the traffic.

use std::fs::{self, DirBuilder};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::Path;

use anyhow::Context as _;
use haproxy_config::generate;
use tempfile::NamedTempFile;

use super::Mistakes;
use super::settings::Settings;

pub(super) const HAPROXY_CONFIG: &str = "haproxy.cfg";
pub(super) const SPOE_CONFIG: &str = "spoe.cfg";
pub(super) const AGENT_CONFIG: &str = "config.toml";
/// The clients' side of TLS: HAProxy reads the key beside the certificate.
pub(super) const CERTIFICATE: &str = "front.pem";
pub(super) const CERTIFICATE_KEY: &str = "front.pem.key";

/// Writes everything anew; whoever reads meanwhile sees the old or the new file.
pub(super) fn write(settings: &Settings, state: &Path) -> anyhow::Result<()> {
    let files = generate(&settings.haproxy_options)
        .map_err(|problems| Mistakes(problems.iter().map(ToString::to_string).collect()))?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .with_context(|| {
            format!(
                "cannot make the directory {}; name another with --stateDir",
                state.display()
            )
        })?;
    let agent =
        toml::to_string(&settings.agent).context("cannot write the agent's configuration")?;
    put(state, HAPROXY_CONFIG, &files.haproxy_cfg)?;
    put(state, SPOE_CONFIG, &files.spoe_cfg)?;
    put(state, AGENT_CONFIG, &agent)?;
    for (name, text) in &settings.texts {
        put(state, name, text)?;
    }
    for (name, target) in &settings.links {
        link(state, name, target)?;
    }
    Ok(())
}

fn put(state: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = state.join(name);
    let write = || {
        // Mode 0600.
        let mut file = NamedTempFile::new_in(state)?;
        file.write_all(text.as_bytes())?;
        file.persist(&path)?;
        std::io::Result::Ok(())
    };
    write().with_context(|| {
        format!(
            "cannot write {}; name another directory with --stateDir",
            path.display()
        )
    })
}

fn link(state: &Path, name: &str, target: &Path) -> anyhow::Result<()> {
    let path = state.join(name);
    let link = || {
        if path.symlink_metadata().is_ok() {
            fs::remove_file(&path)?;
        }
        symlink(target, &path)
    };
    link().with_context(|| format!("cannot link {} to {}", path.display(), target.display()))
}
