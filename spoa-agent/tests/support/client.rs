//! A client that sends exactly the bytes it is given.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::http::{self, Message};
use super::{PATIENCE, wait_for};

/// A connection that is kept alive.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

/// What came back, and how long it took.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) message: Message,
    pub(crate) took: Duration,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    pub(crate) fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Waits until somebody listens.
    pub(crate) fn connect_when_up(address: SocketAddr) -> Self {
        wait_for("listens", || Self::try_connect(address).ok())
    }

    /// Sends a whole request as it is.
    pub(crate) fn ask(&mut self, method: &str, bytes: &[u8]) -> io::Result<Answer> {
        let began = Instant::now();
        self.send(bytes)?;
        let message = http::read_response(&mut self.stream, method)?;
        Ok(Answer {
            status: http::status(&message),
            message,
            took: began.elapsed(),
        })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub(crate) fn read(&mut self, method: &str) -> io::Result<Message> {
        http::read_response(&mut self.stream, method)
    }

    pub(crate) fn reader(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.stream
    }

    /// Sends a request with a few headers and a body of known length.
    pub(crate) fn request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        self.ask(method, &request(method, target, fields, body))
    }
}

/// A request as bytes; `content-length` only where there is a body.
pub(crate) fn request(method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("{method} {target} HTTP/1.1\r\nhost: cluster\r\n");
    for (name, value) in fields {
        out += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        out += &format!("content-length: {}\r\n", body.len());
    }
    out += "\r\n";
    [out.as_bytes(), body].concat()
}

/// A `GET` on a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut client = Client::try_connect(address)?;
    client.request("GET", path, &[("connection", "close")], b"")
}

/// An HTTP/2 connection with one request (RFC 9113, prior knowledge): header fields as literals without
/// a table (RFC 7541, 6.2.2). Returns the response's body.
pub(crate) fn http2(
    address: SocketAddr,
    method: &str,
    path: &[u8],
    fields: &[(&[u8], &[u8])],
    body: &[u8],
) -> io::Result<Vec<u8>> {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    let mut client = Client::try_connect(address)?;
    let mut block = Vec::new();
    let pseudo: [(&[u8], &[u8]); 4] = [
        (b":method", method.as_bytes()),
        (b":scheme", b"http"),
        (b":authority", b"cluster"),
        (b":path", path),
    ];
    for (name, value) in pseudo.iter().chain(fields) {
        block.push(0);
        for text in [name, value] {
            // Longer ones would need an integer in several bytes (RFC 7541, 5.1).
            assert!(
                text.len() < 127,
                "the text is too long for this small encoder"
            );
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text);
        }
    }
    let end = if body.is_empty() { END_STREAM } else { 0 };
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    out.extend(http2_frame(SETTINGS, 0, 0, b""));
    out.extend(http2_frame(HEADERS, end | END_HEADERS, 1, &block));
    let mut chunks = body.chunks(16_384).peekable();
    while let Some(chunk) = chunks.next() {
        let end = if chunks.peek().is_none() {
            END_STREAM
        } else {
            0
        };
        out.extend(http2_frame(DATA, end, 1, chunk));
    }
    client.send(&out)?;
    let mut received = Vec::new();
    loop {
        let (kind, flags, stream, payload) = read_http2_frame(client.reader())?;
        if stream != 1 {
            continue;
        }
        match kind {
            DATA => received.extend(payload),
            RST_STREAM => return Err(io::ErrorKind::ConnectionReset.into()),
            // Of the response's head, that there is one; and room for more to send.
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            return Ok(received);
        }
    }
}

fn http2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn read_http2_frame(stream: &mut BufReader<TcpStream>) -> io::Result<(u8, u8, u32, Vec<u8>)> {
    use std::io::Read as _;
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload)?;
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Ok((head[3], head[4], id, payload))
}
