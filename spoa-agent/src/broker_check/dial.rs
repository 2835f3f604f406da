//! Resolves an address, connects, and greets whoever is there.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};

use super::address::Address;
use super::greeting::{Login, Stranger, greet};
use super::tls::{Certificate, Tls, TlsError};

/// What came of dialling an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialed {
    /// What was dialled.
    pub address: Address,
    /// What it resolved to.
    pub resolved: Result<Vec<IpAddr>, String>,
    /// Addresses that did not take the connection, and why.
    pub refused: Vec<(IpAddr, Refusal)>,
    /// The first that did.
    pub reached: Option<Reached>,
}

/// Why a connection did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody listens.
    Refused,
    /// No answer in time.
    TimedOut,
    /// In the system's words.
    Other(String),
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// To where.
    pub ip: IpAddr,
    /// How long it took to connect.
    pub took: Duration,
    /// What the broker's certificate is, where the client speaks TLS.
    pub certificate: Option<Certificate>,
    /// Who is there.
    pub speaks: Speaks,
}

/// Who answers on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// A broker, in the way that the client expects.
    Kafka(Login),
    /// TLS, to a client that does not.
    Tls,
    /// A broker without TLS, to a client that speaks TLS.
    Plaintext(Login),
    /// A broker that does not take the client's certificate, or wants one.
    WantsCertificate(String),
    /// TLS is not set up on our side.
    OurTls(String),
    /// TLS fails.
    BrokenTls(String),
    /// Somebody else.
    Stranger(Stranger),
}

/// How the client dials.
#[derive(Clone, Debug)]
pub struct Dialer {
    /// TLS, where the client speaks it.
    pub tls: Option<Arc<Tls>>,
    /// The mechanism of its login.
    pub mechanism: Option<String>,
    /// For each step.
    pub patience: Duration,
}

impl Dialer {
    /// Dials, and never takes much longer than some steps' patience.
    pub async fn dial(self, address: Address) -> Dialed {
        let resolved = resolve(&address, self.patience).await;
        let ips = resolved.clone().unwrap_or_default();
        let alone = Dialed {
            address: address.clone(),
            resolved,
            refused: Vec::new(),
            reached: None,
        };
        let mut dialed = alone.clone();
        let work = tokio::task::spawn_blocking(move || {
            self.connect(&ips, &mut dialed);
            dialed
        });
        // It can only panic, or be cancelled at the end of the program.
        work.await.unwrap_or(alone)
    }

    fn connect(&self, ips: &[IpAddr], dialed: &mut Dialed) {
        for &ip in ips {
            let began = Instant::now();
            match self.open(ip, dialed.address.port) {
                Err(refusal) => dialed.refused.push((ip, refusal)),
                Ok(stream) => {
                    let took = began.elapsed();
                    let (certificate, speaks) = self.greeted(stream, ip, &dialed.address);
                    dialed.reached = Some(Reached {
                        ip,
                        took,
                        certificate,
                        speaks,
                    });
                    return;
                }
            }
        }
    }

    fn open(&self, ip: IpAddr, port: u16) -> Result<TcpStream, Refusal> {
        let open = || {
            let stream = TcpStream::connect_timeout(&SocketAddr::new(ip, port), self.patience)?;
            stream.set_read_timeout(Some(self.patience))?;
            stream.set_write_timeout(Some(self.patience))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        open().map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::ConnectionRefused => Refusal::Refused,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Refusal::TimedOut,
            _other => Refusal::Other(plain(&error)),
        })
    }

    fn greeted(
        &self,
        stream: TcpStream,
        ip: IpAddr,
        address: &Address,
    ) -> (Option<Certificate>, Speaks) {
        match &self.tls {
            None => (None, self.greeted_in_clear(stream, ip, address)),
            Some(tls) => self.greeted_in_tls(tls, stream, ip, address),
        }
    }

    fn greeted_in_clear(&self, mut stream: TcpStream, ip: IpAddr, address: &Address) -> Speaks {
        match greet(&mut stream, self.mechanism()) {
            Ok(login) => Speaks::Kafka(login),
            Err(Stranger::Tls) => Speaks::Tls,
            // Some end the connection without a word when they expect TLS.
            Err(Stranger::Closed) if self.speaks_tls(ip, address) => Speaks::Tls,
            Err(stranger) => Speaks::Stranger(stranger),
        }
    }

    fn greeted_in_tls(
        &self,
        tls: &Tls,
        stream: TcpStream,
        ip: IpAddr,
        address: &Address,
    ) -> (Option<Certificate>, Speaks) {
        let (mut stream, certificate) = match tls.connect(&address.host, stream) {
            Ok(connected) => connected,
            Err(error) => return (None, self.without_tls(error, ip, address)),
        };
        let speaks = match greet(&mut stream, self.mechanism()) {
            Ok(login) => Speaks::Kafka(login),
            Err(Stranger::WantsCertificate(said)) => Speaks::WantsCertificate(said),
            Err(stranger) => Speaks::Stranger(stranger),
        };
        (Some(certificate), speaks)
    }

    fn without_tls(&self, error: TlsError, ip: IpAddr, address: &Address) -> Speaks {
        let broken = match error {
            TlsError::Ours(why) => return Speaks::OurTls(why),
            TlsError::WantsCertificate(said) => return Speaks::WantsCertificate(said),
            TlsError::NotTls => "it does not answer in TLS".to_owned(),
            TlsError::Handshake(said) => said,
        };
        // A broker without TLS takes our first bytes for a huge request, and hangs up.
        let greeted = self
            .open(ip, address.port)
            .map(|mut stream| greet(&mut stream, self.mechanism()));
        match greeted {
            Ok(Ok(login)) => Speaks::Plaintext(login),
            Ok(Err(stranger @ Stranger::Http)) => Speaks::Stranger(stranger),
            _other => Speaks::BrokenTls(broken),
        }
    }

    fn speaks_tls(&self, ip: IpAddr, address: &Address) -> bool {
        let Ok(stream) = self.open(ip, address.port) else {
            return false;
        };
        let Ok(mut builder) = SslConnector::builder(SslMethod::tls_client()) else {
            return false;
        };
        // Only whether it is TLS: nothing is said on this connection.
        builder.set_verify(SslVerifyMode::NONE);
        let connector = builder.build();
        let Ok(mut ssl) = connector.configure() else {
            return false;
        };
        ssl.set_verify_hostname(false);
        ssl.connect(&address.host, stream).is_ok()
    }

    fn mechanism(&self) -> &str {
        self.mechanism.as_deref().unwrap_or_default()
    }
}

/// The system's resolver has no time limit of its own, so it is left behind when it takes too long.
async fn resolve(address: &Address, patience: Duration) -> Result<Vec<IpAddr>, String> {
    let (host, port) = (address.host.clone(), address.port);
    let work = tokio::task::spawn_blocking(move || (host.as_str(), port).to_socket_addrs());
    let found = tokio::time::timeout(patience, work).await;
    let found = found.map_err(|_elapsed| format!("no answer within {patience:?}"))?;
    let found = found.map_err(|error| error.to_string())?;
    let found = found.map_err(|error| plain(&error))?;
    let mut ips = Vec::new();
    for address in found {
        if !ips.contains(&address.ip()) {
            ips.push(address.ip());
        }
    }
    if ips.is_empty() {
        return Err("it has no address".to_owned());
    }
    Ok(ips)
}

/// Without the number, and without what only says that a lookup failed.
fn plain(error: &io::Error) -> String {
    let said = error.to_string();
    let said = said.split(" (os error").next().unwrap_or_default();
    let said = said
        .strip_prefix("failed to lookup address information: ")
        .unwrap_or(said);
    said.to_owned()
}
