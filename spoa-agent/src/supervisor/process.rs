//! Child processes: each leads a process group, ends with its parent, and is waited for in one place.
//!
//! A group of their own keeps Ctrl-C in a terminal from them, so that they stop in order, and lets
//! [`Process::kill`] reach what they have started: a HAProxy whose master was killed leaves a worker that
//! still has the port.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, wait,
};

/// A child that has not been waited for.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Exited(u8),
    Killed(i32),
}

impl Process {
    /// Starts a command made by [`command`].
    pub(super) fn start(command: &mut Command) -> io::Result<(Self, Child)> {
        let child = command.stdin(Stdio::null()).process_group(0).spawn()?;
        let pid = Pid::from_child(&child);
        Ok((Self { pid }, child))
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal to the process itself. One that has just ended does not hear it.
    pub(super) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap_or_default();
    }

    /// Ends the process and all of its group at once.
    pub(super) fn kill(&self) {
        kill_group(self.pid);
    }
}

/// Ends what is left of a group whose leader has gone.
pub(super) fn kill_group(leader: Pid) {
    kill_process_group(leader, Signal::KILL).unwrap_or_default();
}

/// Waits for all children that have ended, adopted ones among them.
pub(super) fn reap() -> Vec<(Pid, Ended)> {
    let mut ended = Vec::new();
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        ended.extend(Ended::of(status).map(|how| (pid, how)));
    }
    ended
}

/// A command that runs `program`, and ends when this process does: by way of the subcommand `launch`, which
/// asks the kernel for that and then becomes the program.
pub(super) fn command(program: &OsStr) -> Command {
    let mut command = Command::new(own_program());
    command
        .args(["launch", "--parent"])
        .arg(std::process::id().to_string())
        .arg("--")
        .arg(program);
    command
}

/// The file of this very program, also after an update has replaced it.
pub(super) fn own_program() -> PathBuf {
    std::env::current_exe()
        .ok()
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

impl Ended {
    fn of(status: WaitStatus) -> Option<Self> {
        if let Some(code) = status.exit_status() {
            return Some(Self::Exited(u8::try_from(code).unwrap_or(u8::MAX)));
        }
        status.terminating_signal().map(Self::Killed)
    }

    /// The code with which to end because of it: never 0, for nobody had asked it to end.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Exited(0) => 1,
            Self::Exited(code) => code,
            // As shells do.
            Self::Killed(signal) => u8::try_from(signal).map_or(u8::MAX, |n| n.saturating_add(128)),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(out, "exit code {code}"),
            Self::Killed(signal) => write!(out, "signal {signal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_an_end_that_nobody_asked_for_is_never_0() {
        assert_eq!(Ended::Exited(0).code(), 1);
        assert_eq!(Ended::Exited(2).code(), 2);
        assert_eq!(Ended::Killed(9).code(), 137);
        assert_eq!(Ended::Killed(9).to_string(), "signal 9");
    }
}
