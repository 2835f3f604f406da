//! What the agent tells of itself: the messages of `sd_notify(3)`, heard on an abstract socket, which needs
//! no file. The agent says when it is ready, and then, again and again, that it is alive.
//!
//! Whoever shares the network namespace could speak there too. All that such a message can do is to make a
//! hung agent look alive.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::UnixDatagram;

/// An agent that says nothing for as long has hung. It speaks twice as often.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// The ear.
#[derive(Debug)]
pub(super) struct Words {
    socket: UnixDatagram,
    name: String,
}

/// What the agent said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    Ready,
    Alive,
}

impl Words {
    pub(super) fn listen() -> io::Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let name = format!(
            "spoa-agent-{}-{}",
            std::process::id(),
            since.unwrap_or_default().subsec_nanos()
        );
        let socket = StdDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: UnixDatagram::from_std(socket)?,
            name,
        })
    }

    /// Tells an agent where to speak.
    pub(super) fn tell(&self, command: &mut Command) {
        command
            .env("NOTIFY_SOCKET", format!("@{}", self.name))
            .env("WATCHDOG_USEC", SILENCE.as_micros().to_string())
            .env_remove("WATCHDOG_PID");
    }

    /// The next word.
    pub(super) async fn next(&self) -> Word {
        let mut message = [0; 512];
        loop {
            // An error would be one of a sender.
            let length = self.socket.recv(&mut message).await.unwrap_or_default();
            let heard = message.get(..length).and_then(word);
            if let Some(word) = heard {
                return word;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Whoever is not to speak to systemd in our name.
pub(super) fn mute(command: &mut Command) {
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        command.env_remove(name);
    }
}

fn word(message: &[u8]) -> Option<Word> {
    message
        .split(|byte| *byte == b'\n')
        .find_map(|line| match line {
            b"READY=1" => Some(Word::Ready),
            b"WATCHDOG=1" => Some(Word::Alive),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_words_are_heard() {
        assert_eq!(word(b"READY=1\nSTATUS=capturing"), Some(Word::Ready));
        assert_eq!(word(b"WATCHDOG=1"), Some(Word::Alive));
        assert_eq!(word(b"STATUS=READY=1"), None);
        assert_eq!(word(b""), None);
    }
}
