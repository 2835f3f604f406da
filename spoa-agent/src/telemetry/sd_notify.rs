//! Tells systemd how the agent is doing: the datagrams of `sd_notify(3)`, which are lines of
//! `NAME=value` sent to the Unix socket that `NOTIFY_SOCKET` names.
//!
//! Without that variable nothing is sent and nothing fails. A datagram that cannot be sent is not an
//! error for the agent either: systemd then learns of it by its own timeouts.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to systemd, when there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    ///
    /// # Errors
    ///
    /// Fails when the socket is named and cannot be used.
    pub fn from_env() -> io::Result<Self> {
        let Some(socket) = env::var_os("NOTIFY_SOCKET") else {
            return Ok(Self::default());
        };
        let text = |name| env::var(name).ok();
        let is_for_us =
            text("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let watchdog = text("WATCHDOG_USEC").filter(|_| is_for_us);
        Self::new(&socket, watchdog.as_deref())
    }

    fn new(socket: &OsStr, watchdog_usec: Option<&str>) -> io::Result<Self> {
        let address = match socket.as_bytes().split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
            _path => SocketAddr::from_pathname(socket)?,
        };
        let datagram = UnixDatagram::unbound()?;
        // A full socket must not stop the agent.
        datagram.set_nonblocking(true)?;
        let watchdog = watchdog_usec
            .and_then(|usec| usec.parse().ok())
            .filter(|usec| *usec > 0);
        Ok(Self {
            socket: Some((datagram, address)),
            watchdog: watchdog.map(Duration::from_micros),
        })
    }

    /// Says that the agent is up: its listeners are bound and its journal is open.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// Says that the agent is ending.
    pub fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={}", one_line(status)));
    }

    /// Shows a line in `systemctl status`.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", one_line(status)));
    }

    /// Says that the agent is alive; to be sent every [`Notifier::watchdog_interval`].
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// How often to say that the agent is alive: half of what systemd waits, as `sd_watchdog_enabled(3)`
    /// advises. `None` when systemd does not wait for it.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    fn send(&self, message: &str) {
        let Some((datagram, address)) = &self.socket else {
            return;
        };
        if let Err(error) = datagram.send_to_addr(message.as_bytes(), address) {
            tracing::debug!(%error, "systemd was not told");
        }
    }
}

/// A line break would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn systemd_hears_of_a_start_a_status_a_life_and_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(path.as_os_str(), Some("4000000")).unwrap();
        notifier.ready("listening on\n127.0.0.1:1");
        notifier.status("busy");
        notifier.alive();
        notifier.stopping("draining");
        assert_eq!(
            received(&systemd),
            "READY=1\nSTATUS=listening on 127.0.0.1:1"
        );
        assert_eq!(received(&systemd), "STATUS=busy");
        assert_eq!(received(&systemd), "WATCHDOG=1");
        assert_eq!(received(&systemd), "STOPPING=1\nSTATUS=draining");
        assert_eq!(notifier.watchdog_interval(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn an_abstract_socket_is_reached_by_its_at_sign() {
        let name = format!("spoa-agent-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::new(OsStr::new(&format!("@{name}")), None).unwrap();
        notifier.alive();
        assert_eq!(received(&systemd), "WATCHDOG=1");
        assert_eq!(notifier.watchdog_interval(), None);
    }

    #[test]
    fn without_systemd_nothing_is_sent_and_nothing_fails() {
        let notifier = Notifier::default();
        notifier.ready("up");
        assert_eq!(notifier.watchdog_interval(), None);
    }

    #[test]
    fn a_systemd_that_is_gone_does_not_stop_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let notifier = Notifier::new(dir.path().join("gone").as_os_str(), Some("0")).unwrap();
        notifier.alive();
        assert_eq!(notifier.watchdog_interval(), None);
    }
}
