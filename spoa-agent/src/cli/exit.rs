//! Exit codes: all of them, here.

use std::process::ExitCode;

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything went well.
    Ok,
    /// Something failed while running.
    Failure,
    /// The arguments or the configuration are wrong; nothing was done.
    Usage,
    /// Another agent has the journal open.
    Locked,
    /// `journal verify` found damaged or missing records.
    Damaged,
    /// A replay was stopped before its end.
    Stopped,
    /// A replay could not send some exchanges.
    Dropped,
    /// A broker is not where it advertises itself.
    Listener,
    /// A broker refused the login, or TLS did not come about.
    Authentication,
    /// The topic, or the rights in it, do not let the agent deliver.
    Topic,
    /// A second signal ended the agent at once.
    Interrupted,
}

/// Every code with what it means, for help and manual.
pub const CODES: &[(Exit, &str)] = &[
    (Exit::Ok, "everything went well"),
    (
        Exit::Failure,
        "something failed while running; the last line of the log says what",
    ),
    (
        Exit::Usage,
        "the arguments or the configuration are wrong; nothing was done",
    ),
    (Exit::Locked, "another agent has the journal open"),
    (
        Exit::Damaged,
        "`journal verify` found damaged or missing records",
    ),
    (Exit::Stopped, "`replay` was stopped before its end"),
    (Exit::Dropped, "`replay` could not send some exchanges"),
    (
        Exit::Listener,
        "`kafka-check`: a broker is not where it advertises itself",
    ),
    (
        Exit::Authentication,
        "`kafka-check`: TLS or the login is refused",
    ),
    (
        Exit::Topic,
        "`kafka-check`: the topic or the rights in it do not let the agent deliver",
    ),
    (Exit::Interrupted, "a second signal ended the agent at once"),
];

/// The codes as text; a test keeps it equal to [`CODES`].
pub(super) const HELP: &str = "\
Exit codes:
  0  everything went well
  1  something failed while running; the last line of the log says what
  2  the arguments or the configuration are wrong; nothing was done
  3  another agent has the journal open
  4  `journal verify` found damaged or missing records
  5  `replay` was stopped before its end
  6  `replay` could not send some exchanges
  10  `kafka-check`: a broker is not where it advertises itself
  11  `kafka-check`: TLS or the login is refused
  12  `kafka-check`: the topic or the rights in it do not let the agent deliver
  130  a second signal ended the agent at once

Examples:
  spoa-agent haproxy-config --node 10.0.0.1:9200 --out /etc/haproxy
  spoa-agent check --config /etc/spoa-agent/config.toml
  spoa-agent run --journal-dir /srv/journal --shadow-url http://shadow:9200
  spoa-agent journal cat --limit 10";

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Locked => 3,
            Self::Damaged => 4,
            Self::Stopped => 5,
            Self::Dropped => 6,
            Self::Listener => 10,
            Self::Authentication => 11,
            Self::Topic => 12,
            // The shell's code for a program that SIGINT ended.
            Self::Interrupted => 130,
        }
    }

    /// The code for an error that ended a command.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        let is_locked =
            |error: &journal::OpenError| matches!(error, journal::OpenError::Locked { .. });
        if error
            .chain()
            .any(|cause| cause.downcast_ref().is_some_and(is_locked))
        {
            return Self::Locked;
        }
        Self::Failure
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
