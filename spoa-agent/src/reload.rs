//! What is read again on SIGHUP: the shadow's rules and its credentials.
//!
//! What is under way keeps what it began with. A file that cannot be used changes nothing: what was in force
//! stays in force, the log says everything that is wrong with the file, and a counter counts it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use shadow::rules::{self, Rules};
use shadow::{Authorization, Cell, Identity};
use tokio::signal::unix::Signal;

use crate::identity::{self, CredentialsFile};
use crate::rules_file;
use crate::telemetry::metrics::{ReloadMetrics, ReloadResult};

/// The files, and what their readers load from.
#[derive(Debug)]
pub struct Reload {
    rules_file: Option<PathBuf>,
    rules: Arc<rules::Cell>,
    credentials_file: Option<CredentialsFile>,
    identity: Identity,
    metrics: ReloadMetrics,
}

impl Reload {
    /// Reads what the configuration names, for the first time.
    ///
    /// # Errors
    /// When a file cannot be used: the agent does not start with less than was asked for.
    pub fn open(shadow: &crate::config::Shadow, metrics: ReloadMetrics) -> anyhow::Result<Self> {
        let is_on = shadow.url.is_some();
        let rules_file = shadow.rules_file.clone().filter(|_| is_on);
        let credentials_file = CredentialsFile::of(shadow).filter(|_| is_on);
        let rules = match &rules_file {
            None => Rules::default(),
            Some(path) => rules_file::read(path)
                .with_context(|| format!("cannot use shadow.rules_file {}", path.display()))?,
        };
        warn(&rules);
        let authorization = match &credentials_file {
            None => Authorization::None,
            Some(file) => read_credentials(file)
                .with_context(|| format!("cannot use {} {}", file.key, file.path.display()))?,
        };
        let certificate = identity::certificate(shadow).filter(|_| is_on);
        if let Some(certificate) = &certificate {
            warn_when_open("shadow.client_key_file", &certificate.key);
        }
        Ok(Self {
            rules_file,
            rules: Arc::new(Cell::new(rules)),
            credentials_file,
            identity: Identity {
                certificate,
                ..Identity::new(authorization)
            },
            metrics,
        })
    }

    /// The rules, for an engine to load from.
    #[must_use]
    pub fn rules(&self) -> Arc<rules::Cell> {
        Arc::clone(&self.rules)
    }

    /// Who the follower is, for an engine to load from.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity.clone()
    }

    /// Reads the files again and replaces what can be used.
    pub fn again(&self) {
        if self.rules_file.is_none() && self.credentials_file.is_none() {
            tracing::info!(
                "SIGHUP: there is nothing to read again; shadow.rules_file and shadow.credentials_file are not in use"
            );
        }
        if let Some(path) = &self.rules_file {
            let result = self.rules_again(path);
            self.metrics.rules.inc(result);
        }
        if let Some(file) = &self.credentials_file {
            let result = self.credentials_again(file);
            self.metrics.credentials.inc(result);
        }
    }

    fn rules_again(&self, path: &std::path::Path) -> ReloadResult {
        match rules_file::read(path) {
            Ok(rules) => {
                warn(&rules);
                let (count, new) = (rules.len(), rules.clone());
                let is_changed = *self.rules.replace(rules) != new;
                tracing::info!(
                    file = %path.display(),
                    rules = count,
                    changed = is_changed,
                    "rules read again"
                );
                ReloadResult::Replaced
            }
            Err(error) => {
                tracing::error!(
                    file = %path.display(),
                    mistakes = error.mistakes().join(" | "),
                    "rules not replaced, the old ones stay in force"
                );
                ReloadResult::Refused
            }
        }
    }

    fn credentials_again(&self, file: &CredentialsFile) -> ReloadResult {
        match read_credentials(file) {
            Ok(authorization) => {
                let new = authorization.clone();
                let is_changed = *self.identity.authorization.replace(authorization) != new;
                tracing::info!(file = %file.path.display(), changed = is_changed, "credentials read again");
                ReloadResult::Replaced
            }
            Err(error) => {
                tracing::error!(
                    file = %file.path.display(),
                    %error,
                    "credentials not replaced, the old ones stay in force"
                );
                ReloadResult::Refused
            }
        }
    }
}

/// Reads the files again at each SIGHUP, one after the other.
pub async fn on_hangup(mut hangup: Signal, reload: Arc<Reload>) {
    while hangup.recv().await.is_some() {
        let reload = Arc::clone(&reload);
        // A file system may hang; frames must not.
        let read = tokio::task::spawn_blocking(move || reload.again()).await;
        if let Err(error) = read {
            tracing::error!(%error, "reading the files again ended early");
        }
    }
}

/// Reads the file that a key of the configuration names, whose first line is an `Authorization` header.
pub(crate) fn read_authorization(
    key: &'static str,
    path: &std::path::Path,
) -> anyhow::Result<Authorization> {
    read_credentials(&CredentialsFile::of_value(key, path))
        .with_context(|| format!("cannot use {key} {}", path.display()))
}

fn read_credentials(file: &CredentialsFile) -> Result<Authorization, identity::Unusable> {
    warn_when_open(file.key, &file.path);
    file.read()
}

fn warn_when_open(key: &str, path: &std::path::Path) {
    if identity::is_open_to_others(path) {
        tracing::warn!(key, file = %path.display(), "the file can be read by others; chmod 0600 it");
    }
}

fn warn(rules: &Rules) {
    for warning in rules.warnings() {
        tracing::warn!("rules: {warning}");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bytes::Bytes;
    use prometheus_client::registry::Registry;
    use tempfile::TempDir;
    use tokio::signal::unix::{SignalKind, signal};

    use super::*;
    use crate::config::{CredentialsKind, Written};
    use crate::telemetry::metrics::Metrics;

    struct Stage {
        folder: TempDir,
        config: crate::config::Config,
        metrics: ReloadMetrics,
    }

    impl Stage {
        fn new() -> Self {
            let folder = TempDir::new().unwrap();
            let mut config = Written::default().build().unwrap();
            config.shadow.url = Some("http://shadow:9200".parse().unwrap());
            config.shadow.rules_file = Some(folder.path().join("rules.toml"));
            config.shadow.credentials = CredentialsKind::Bearer;
            config.shadow.credentials_file = Some(folder.path().join("token"));
            let metrics = Metrics::register(&mut Registry::default()).reloads;
            let stage = Self {
                folder,
                config,
                metrics,
            };
            stage.write("rules.toml", "rename = { a = 'old' }");
            stage.write("token", "one");
            stage
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.folder.path().join(name), text).unwrap();
        }

        fn open(&self) -> anyhow::Result<Reload> {
            Reload::open(&self.config.shadow, self.metrics.clone())
        }

        fn counts(&self) -> [u64; 4] {
            let ReloadMetrics { rules, credentials } = &self.metrics;
            [
                rules.get(ReloadResult::Replaced),
                rules.get(ReloadResult::Refused),
                credentials.get(ReloadResult::Replaced),
                credentials.get(ReloadResult::Refused),
            ]
        }
    }

    /// What the rules in force call the index `a`.
    fn name(reload: &Reload) -> Bytes {
        Bytes::copy_from_slice(&reload.rules().load().renamed(b"a"))
    }

    #[test]
    fn a_right_file_replaces_the_rules_and_a_wrong_one_does_not() {
        let stage = Stage::new();
        let reload = stage.open().unwrap();
        // Under way: judged by the rules that it began with.
        let begun = reload.rules().load();
        stage.write("rules.toml", "rename = { a = 'new' }");
        assert_eq!(name(&reload), "old", "nobody asked for it");
        reload.again();
        assert_eq!(name(&reload), "new");
        assert_eq!(begun.renamed(b"a").as_ref(), b"old");
        for wrong in ["rename = { a = 'NEW' }", "not toml", "\u{0}"] {
            stage.write("rules.toml", wrong);
            reload.again();
            assert_eq!(name(&reload), "new", "{wrong}");
        }
        fs::remove_file(stage.folder.path().join("rules.toml")).unwrap();
        reload.again();
        assert_eq!(name(&reload), "new", "the file is gone");
        assert_eq!(stage.counts(), [1, 4, 5, 0]);
    }

    #[test]
    fn credentials_are_replaced_and_wrong_ones_are_not() {
        let stage = Stage::new();
        let reload = stage.open().unwrap();
        let identity = reload.identity();
        let first = identity.authorization.load();
        stage.write("token", "two");
        reload.again();
        let second = identity.authorization.load();
        assert_ne!(first, second);
        stage.write("token", "two words");
        reload.again();
        assert_eq!(identity.authorization.load(), second);
        assert_eq!(stage.counts(), [2, 0, 1, 1]);
    }

    #[test]
    fn the_agent_does_not_start_with_a_file_that_it_cannot_use() {
        let stage = Stage::new();
        stage.write(
            "rules.toml",
            "[[rule]]\nthen = 'alow'\n[[rule]]\nthen = 'dney'",
        );
        let message = format!("{:#}", stage.open().unwrap_err());
        assert!(
            message.contains("line 2") && message.contains("line 4"),
            "{message}"
        );
        stage.write("rules.toml", "");
        stage.write("token", "hush hush");
        let message = format!("{:#}", stage.open().unwrap_err());
        assert!(message.contains("shadow.credentials_file"), "{message}");
        assert!(!message.contains("hush"), "{message}");
    }

    #[tokio::test]
    async fn the_signal_reads_the_files_again() {
        let stage = Stage::new();
        let reload = Arc::new(stage.open().unwrap());
        let hangup = signal(SignalKind::hangup()).unwrap();
        let watching = tokio::spawn(on_hangup(hangup, Arc::clone(&reload)));
        stage.write("rules.toml", "rename = { a = 'new' }");
        let sent = std::process::Command::new("sh")
            .args(["-c", &format!("kill -HUP {}", std::process::id())])
            .status();
        assert!(sent.unwrap().success());
        while name(&reload) != "new" {
            tokio::task::yield_now().await;
        }
        watching.abort();
    }
}
