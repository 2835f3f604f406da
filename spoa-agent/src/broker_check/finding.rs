//! A judgement: what is well, what is wrong, why, and what to change.

use serde::Serialize;

/// One judgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub verdict: Verdict,
    /// Where on the way it was found.
    pub step: Step,
    /// The address, broker or topic that it is about.
    pub about: String,
    /// A word for programs, which stays the same from version to version.
    pub code: &'static str,
    /// What was found, in a line.
    pub says: String,
    /// Why that is, and what to do, in sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<String>,
    /// Lines of settings that would put it right.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remedies: Vec<Remedy>,
}

/// Settings for one way of running brokers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// When these lines are the right ones, and where they go.
    pub case: String,
    /// The lines.
    pub lines: Vec<String>,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is well.
    Ok,
    /// Something to know.
    Note,
    /// It works, and may not for long, or not everywhere.
    Warning,
    /// The agent could not deliver.
    Error,
}

/// The steps, in the order in which a client takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// To the addresses of the configuration.
    Bootstrap,
    /// The broker's certificate, and ours.
    Tls,
    /// The login.
    Login,
    /// What the brokers tell of their cluster.
    Cluster,
    /// To the addresses that the brokers advertise.
    Listener,
    /// The topic, and the rights in it.
    Topic,
    /// Messages sent and read.
    Probe,
}

/// What hinders the agent, in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hindrance {
    /// No broker is reached, or something else.
    Unreachable,
    /// A broker is not where it says it is.
    Listener,
    /// TLS or the login is refused.
    Authentication,
    /// The topic, or the rights in it.
    Topic,
}

/// What hinders the agent first; `None` when nothing does.
#[must_use]
pub fn hindrance(findings: &[Finding]) -> Option<Hindrance> {
    let errors = findings.iter().filter(|one| one.verdict == Verdict::Error);
    let first = errors.min_by_key(|one| one.step)?;
    Some(match first.step {
        Step::Bootstrap | Step::Cluster => Hindrance::Unreachable,
        Step::Tls | Step::Login => Hindrance::Authentication,
        Step::Listener => Hindrance::Listener,
        Step::Topic | Step::Probe => Hindrance::Topic,
    })
}

impl Verdict {
    /// In a table.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "ERROR",
        }
    }
}

impl Step {
    /// In a table.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::Tls => "tls",
            Self::Login => "login",
            Self::Cluster => "cluster",
            Self::Listener => "listener",
            Self::Topic => "topic",
            Self::Probe => "probe",
        }
    }
}

impl Finding {
    pub(super) fn new(
        verdict: Verdict,
        step: Step,
        about: impl ToString,
        code: &'static str,
        says: impl Into<String>,
    ) -> Self {
        Self {
            verdict,
            step,
            about: about.to_string(),
            code,
            says: says.into(),
            advice: Vec::new(),
            remedies: Vec::new(),
        }
    }

    pub(super) fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice.push(advice.into());
        self
    }

    pub(super) fn remedy(mut self, remedy: Remedy) -> Self {
        self.remedies.push(remedy);
        self
    }

    pub(super) fn remedies(mut self, remedies: Vec<Remedy>) -> Self {
        self.remedies.extend(remedies);
        self
    }
}
