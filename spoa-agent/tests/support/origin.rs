//! A node, primary or shadow: keeps the requests as they came, and answers as the test tells it.

use std::io::{BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::http::{self, Message};
use super::{own_host, wait_for};

/// What an origin does with a request.
pub(crate) enum Reply {
    Bytes(Vec<u8>),
    After(Duration, Vec<u8>),
    /// Pieces, each when the test lets it go with [`Origin::let_go`].
    Piece(Vec<Vec<u8>>),
    /// Nothing, until the peer goes.
    Silence,
}

pub(crate) fn ok() -> Reply {
    status(200)
}

pub(crate) fn status(code: u16) -> Reply {
    Reply::Bytes(answer(code, &[("content-type", "application/json")], b"{}"))
}

/// A response with `content-length`.
pub(crate) fn answer(code: u16, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {code} x\r\n");
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

type Script = dyn Fn(&Message) -> Reply + Send + Sync;

/// The running origin. Ends, with all its connections, when it is dropped.
pub(crate) struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    script: Box<Script>,
    heard: Option<Mutex<Vec<Message>>>,
    streams: Mutex<Vec<TcpStream>>,
    stopping: AtomicBool,
    pieces: Mutex<usize>,
}

impl Origin {
    /// Keeps what it hears.
    pub(crate) fn start(script: impl Fn(&Message) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_on(SocketAddr::from((own_host(), 0)), true, script)
    }

    /// Keeps nothing: for loads.
    pub(crate) fn start_busy(script: impl Fn(&Message) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_on(SocketAddr::from((own_host(), 0)), false, script)
    }

    pub(crate) fn start_on(
        address: SocketAddr,
        keeps: bool,
        script: impl Fn(&Message) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = wait_for("the address is free", || TcpListener::bind(address).ok());
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            heard: keeps.then(Mutex::default),
            streams: Mutex::default(),
            stopping: AtomicBool::new(false),
            pieces: Mutex::new(0),
        });
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self {
            address,
            shared,
            accepting: Some(accepting),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, probes left out.
    pub(crate) fn heard(&self) -> Vec<Message> {
        let heard = self.shared.heard.as_ref().unwrap().lock().unwrap();
        heard.clone()
    }

    pub(crate) fn heard_count(&self) -> usize {
        self.shared.heard.as_ref().unwrap().lock().unwrap().len()
    }

    /// Lets every [`Reply::Piece`] that waits, or will wait, have `count` pieces in all.
    pub(crate) fn let_go(&self, count: usize) {
        *self.shared.pieces.lock().unwrap() = count;
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().unwrap();
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        stream.set_nodelay(true).unwrap();
        shared
            .streams
            .lock()
            .unwrap()
            .push(stream.try_clone().unwrap());
        let shared = Arc::clone(shared);
        std::thread::spawn(move || serve(stream, &shared));
    }
}

/// Until the peer goes: that is its right.
fn serve(stream: TcpStream, shared: &Shared) {
    let mut stream = BufReader::new(stream);
    while let Ok(Some(request)) = http::read_request(&mut stream) {
        let is_probe = request.first_line() == b"HEAD / HTTP/1.1";
        let is_last = request
            .fields()
            .contains(&("connection".to_owned(), b"close".to_vec()));
        let reply = (shared.script)(&request);
        if let Some(heard) = &shared.heard
            && !is_probe
        {
            heard.lock().unwrap().push(request);
        }
        let out = stream.get_mut();
        let written = match reply {
            Reply::Bytes(bytes) => out.write_all(&bytes),
            Reply::After(delay, bytes) => {
                std::thread::sleep(delay);
                out.write_all(&bytes)
            }
            Reply::Piece(pieces) => pieces.iter().enumerate().try_for_each(|(index, piece)| {
                wait_for("the piece is let go", || {
                    let go = *shared.pieces.lock().unwrap() > index;
                    (go || shared.stopping.load(Ordering::SeqCst)).then_some(())
                });
                out.write_all(piece)
            }),
            Reply::Silence => continue,
        };
        if written.is_err() {
            return;
        }
        if is_last {
            drop(out.shutdown(Shutdown::Both));
            return;
        }
    }
}
