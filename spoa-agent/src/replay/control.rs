//! Pause, resume, another speed, the end: from the keyboard, a socket, or a signal.

use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use serde_json::json;
use shadow::{Pace, Speed};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::feed::Watched;
use super::report;

/// How much faster or slower one key makes it.
const STEP: f64 = 2.0;
/// The longest command.
const MAX_COMMAND: u64 = 1024;
/// Who has a socket open and says nothing for so long is hung up on.
const SILENCE: Duration = Duration::from_secs(600);

/// What can be done to a running replay.
#[derive(Clone, Debug)]
pub struct Control {
    /// Its clock is that of all targets.
    pub pace: Arc<Pace>,
    /// Cancelled to end in order.
    pub stop: CancellationToken,
    /// The figures of every target.
    pub watched: Vec<Watched>,
}

impl Control {
    /// Does what a line says, and answers with a line of JSON.
    #[must_use]
    pub fn command(&self, line: &str) -> String {
        let mut words = line.split_ascii_whitespace();
        let said = (words.next(), words.next(), words.next());
        match said {
            (Some("pause"), None, _) => self.pace.pause(),
            (Some("resume"), None, _) => self.pace.resume(),
            (Some("toggle"), None, _) => self.toggle(),
            (Some("stop"), None, _) => self.stop.cancel(),
            (Some("status"), None, _) => {}
            (Some("speed"), Some(speed), None) => match speed.parse::<Speed>() {
                Ok(speed) => self.pace.set_speed(speed),
                Err(error) => return refusal(&error.to_string()),
            },
            _ => {
                return refusal(
                    "write pause, resume, toggle, speed NUMBER, speed max, status or stop",
                );
            }
        }
        self.status()
    }

    /// Pauses, or goes on.
    pub fn toggle(&self) {
        if self.pace.clock().is_paused() {
            self.pace.resume();
        } else {
            self.pace.pause();
        }
    }

    fn status(&self) -> String {
        let targets: Vec<_> = self.watched.iter().map(report::target).collect();
        json!({
            "paused": self.pace.clock().is_paused(),
            "speed": self.pace.clock().speed().to_string(),
            "stopping": self.stop.is_cancelled(),
            "targets": targets,
        })
        .to_string()
    }

    /// Does what a key says. Others do nothing.
    pub fn key(&self, key: u8) {
        let clock = self.pace.clock();
        match key {
            b' ' => self.toggle(),
            b'+' | b'=' => self.pace.set_speed(clock.speed().faster(STEP)),
            b'-' | b'_' => self.pace.set_speed(clock.speed().faster(1.0 / STEP)),
            b'1' => self.pace.set_speed(Speed::ORIGINAL),
            b'm' => self.pace.set_speed(Speed::Unlimited),
            b'q' => self.stop.cancel(),
            _ => {}
        }
    }
}

fn refusal(why: &str) -> String {
    json!({ "error": why }).to_string()
}

/// A socket in the file system that takes lines. The file goes when this is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    /// Listens. Only the user of this process may connect.
    pub(super) fn bind(path: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot listen on {}", path.display());
        if let Ok(found) = std::fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                bail!(
                    "{} is there and no socket; name another file with --control",
                    path.display()
                );
            }
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                bail!(
                    "another process listens on {}; name another file with --control",
                    path.display()
                );
            }
            // Left by a process that was killed.
            std::fs::remove_file(path).with_context(cannot)?;
        }
        let listener = UnixListener::bind(path).with_context(cannot)?;
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, mode).with_context(cannot)?;
        Ok(Self {
            path: path.to_owned(),
            listener,
        })
    }

    /// Serves until it is dropped.
    pub(super) async fn serve(self, control: Control) {
        let mut talks = tokio::task::JoinSet::new();
        loop {
            if let Ok((stream, _)) = self.listener.accept().await {
                let control = control.clone();
                talks.spawn(async move {
                    // Who hangs up in the middle of an answer does not want it.
                    tokio::time::timeout(SILENCE, talk(stream, control))
                        .await
                        .ok()
                });
            }
            while talks.try_join_next().is_some() {}
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Somebody else may have removed it.
        std::fs::remove_file(&self.path).unwrap_or_default();
    }
}

async fn talk(stream: UnixStream, control: Control) -> std::io::Result<()> {
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    loop {
        let mut line = String::new();
        let read = (&mut input).take(MAX_COMMAND).read_line(&mut line).await?;
        if read == 0 {
            return Ok(());
        }
        let mut answer = control.command(&line);
        answer.push('\n');
        output.write_all(answer.as_bytes()).await?;
    }
}

/// Single keys from the terminal. Without it the terminal gives whole lines only, and shows what is typed. Everything
/// is put back when this is dropped; keys that make signals keep doing so.
#[derive(Debug)]
pub(super) struct Keyboard {
    before: Termios,
}

impl Keyboard {
    /// `None` when the standard input is no terminal.
    pub(super) fn take() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut keys = before.clone();
        keys.local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO);
        // A read comes back after a tenth of a second, with or without a key.
        keys.special_codes[SpecialCodeIndex::VMIN] = 0;
        keys.special_codes[SpecialCodeIndex::VTIME] = 1;
        tcsetattr(std::io::stdin(), OptionalActions::Now, &keys).ok()?;
        Some(Self { before })
    }

    /// Reads keys until the token is cancelled. Blocks its thread.
    pub(super) fn read(control: &Control, off: &CancellationToken) {
        while !off.is_cancelled() {
            let mut key = [0];
            match rustix::io::read(std::io::stdin(), &mut key) {
                Ok(0) => {}
                Ok(_) => control.key(key[0]),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // A terminal that went away needs no repair.
        tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before).unwrap_or_default();
        std::io::stderr().flush().unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use shadow::Spacing;

    use super::*;

    fn control() -> Control {
        let pace = Pace::new(Spacing::Captured { max_gap: None }, Speed::ORIGINAL);
        Control {
            pace: Arc::new(pace),
            stop: CancellationToken::new(),
            watched: Vec::new(),
        }
    }

    fn said(control: &Control, line: &str) -> serde_json::Value {
        serde_json::from_str(&control.command(line)).unwrap()
    }

    #[test]
    fn a_line_does_what_it_says_and_answers_with_the_state() {
        let control = control();
        assert_eq!(said(&control, "pause\n")["paused"], true);
        assert_eq!(said(&control, " speed  4 ")["speed"], "4x");
        assert_eq!(said(&control, "resume")["paused"], false);
        assert_eq!(said(&control, "speed max")["speed"], "max");
        assert_eq!(said(&control, "status")["stopping"], false);
        assert_eq!(said(&control, "stop")["stopping"], true);
        assert!(control.stop.is_cancelled());
    }

    #[test]
    fn a_line_that_is_not_understood_changes_nothing_and_says_what_would_be() {
        let control = control();
        for line in ["", "paws", "speed", "speed 0", "speed 1 2", "pause now"] {
            assert!(said(&control, line)["error"].is_string(), "{line}");
        }
        assert!(!control.pace.clock().is_paused());
    }

    #[test]
    fn keys_pause_turn_the_clock_and_end() {
        let control = control();
        control.key(b' ');
        assert!(control.pace.clock().is_paused());
        control.key(b' ');
        assert!(!control.pace.clock().is_paused());
        control.key(b'+');
        control.key(b'+');
        control.key(b'-');
        assert_eq!(control.pace.clock().speed(), Speed::times(2.0).unwrap());
        control.key(b'm');
        control.key(b'+');
        assert_eq!(control.pace.clock().speed(), Speed::Unlimited);
        control.key(b'x');
        assert!(!control.stop.is_cancelled());
        control.key(b'q');
        assert!(control.stop.is_cancelled());
    }
}
