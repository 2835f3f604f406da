//! Whether both programs do their work, asked from outside: what a container's health check runs.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::time::Duration;

use super::haproxy::{addresses_in, near};

/// What was asked, and what is wrong with it; nothing when all is well.
///
/// `admin` is the agent's address for operators, when it has one.
#[must_use]
pub fn faults(haproxy_config: &Path, admin: Option<&str>, patience: Duration) -> Vec<String> {
    let addresses = addresses_in(haproxy_config);
    let mut faults = Vec::new();
    if addresses.is_empty() {
        faults.push(format!(
            "{} has no bind line with an address in numbers",
            haproxy_config.display()
        ));
    }
    for address in addresses {
        if let Err(error) = TcpStream::connect_timeout(&address, patience) {
            faults.push(format!("haproxy does not answer on {address}: {error}"));
        }
    }
    if let Some(admin) = admin
        && let Err(error) = alive(admin, patience)
    {
        faults.push(format!("the agent does not answer on {admin}: {error}"));
    }
    faults
}

fn alive(admin: &str, patience: Duration) -> io::Result<()> {
    let address = reachable(admin)?;
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    write!(
        stream,
        "GET /healthz HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n"
    )?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    if head.ends_with(b" 200") {
        return Ok(());
    }
    Err(io::Error::other("/healthz does not say 200"))
}

/// An agent that listens everywhere is asked on this machine.
fn reachable(admin: &str) -> io::Result<SocketAddr> {
    let address = admin
        .to_socket_addrs()?
        .next()
        .ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(near(address))
}
