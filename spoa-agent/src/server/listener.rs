//! Addresses on which HAProxy connects: TCP and Unix sockets.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::Server;
use super::connection;
use crate::config::Listen;

/// HAProxy 2.6 opens hundreds of connections in a burst (measured); the kernel must keep them
/// until they are accepted.
const BACKLOG: i32 = 1024;
/// After a failed accept: long enough not to spin while file descriptors are short, short against a health
/// check.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{}", way_out(.source))]
pub struct BindError {
    address: String,
    source: io::Error,
}

fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process has it: stop that one, or change server.listen"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 and foreign directories need rights: change server.listen"
        }
        _ => "",
    }
}

/// A bound address.
#[derive(Debug)]
pub struct Listener {
    socket: Bound,
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Binds the address. `unix_mode` is the file mode of a Unix socket; a socket file that nobody
    /// listens on any more is replaced.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn bind(address: &Listen, unix_mode: u32) -> Result<Vec<Self>, BindError> {
        let failed = |source| BindError {
            address: address.to_string(),
            source,
        };
        match address {
            Listen::Tcp(host) => host
                .to_socket_addrs()
                .map_err(failed)?
                .map(|address| {
                    bind_tcp(address)
                        .map(|tcp| Self {
                            socket: Bound::Tcp(tcp),
                        })
                        .map_err(failed)
                })
                .collect(),
            Listen::Unix(path) => {
                let unix = bind_unix(path, unix_mode).map_err(failed)?;
                Ok(vec![Self {
                    socket: Bound::Unix(unix, path.clone()),
                }])
            }
        }
    }

    /// The bound address, with the port that the system chose for port 0.
    #[must_use]
    pub fn address(&self) -> String {
        match &self.socket {
            Bound::Tcp(tcp) => tcp.local_addr().map_or_else(
                |error| format!("unknown ({error})"),
                |address| address.to_string(),
            ),
            Bound::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }

    pub(super) async fn accept_all(self, server: Arc<Server>) {
        loop {
            let accepted = tokio::select! {
                () = server.closing.cancelled() => break,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok(stream) => admit(&server, stream),
                Err(error) => {
                    server.accounts.accept_failed(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        if let Bound::Unix(listener, path) = self.socket {
            drop(listener);
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::debug!(path = %path.display(), %error, "the socket file stays behind");
            }
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            Bound::Tcp(tcp) => tcp.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Bound::Unix(unix, _) => unix.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Starts the connection's task, unless there are too many. A refused connection is closed at
/// once: HAProxy then passes the traffic by.
fn admit(server: &Arc<Server>, stream: Stream) {
    let Some(admission) = server.accounts.admit(server.limits.connections) else {
        return;
    };
    let server = Arc::clone(server);
    let tasks = server.tasks.clone();
    match stream {
        Stream::Tcp(stream) => {
            // Frames are written whole; waiting for more to write only delays HAProxy's requests.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
            tasks.spawn(async move {
                connection::serve(stream, &server).await;
                drop(admission);
            });
        }
        Stream::Unix(stream) => {
            tasks.spawn(async move {
                connection::serve(stream, &server).await;
                drop(admission);
            });
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let address = socket2::SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    // Before `listen`: until then nobody can connect.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    UnixListener::from_std(socket.into())
}

/// Removes the socket file of a process that was killed. Never another file, and never a socket that
/// somebody answers on.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of that name which is no socket",
        ));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(_) => std::fs::remove_file(path),
    }
}
