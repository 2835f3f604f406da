//! The HELLO handshake as state machines without I/O: the agent's side and HAProxy's.
//!
//! Each takes the one frame that the peer opens with and says what to write and whether to go on.
//! An error is what to put into the own DISCONNECT before closing
//! ([`DecodeError::status`], its text as message).

use bytes::BufMut;

use crate::disconnect::Disconnect;
use crate::error::{DecodeError, EncodeError};
use crate::frame::{Frame, FrameKind, MAX_FRAME_SIZE_FLOOR};
use crate::hello::{AgentHello, Capabilities, HaproxyHello, Version};
use crate::status::Status;

/// What an agent is ready to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest frame that the agent reads, in bytes. It must not be below HAProxy's
    /// `tune.bufsize` - 4, or its HELLO is refused with status 9. Announcing less than HAProxy
    /// did is no way out: 3.1.0 sends its long frames all the same, 2.6 and 3.2.0 lose the
    /// messages that no longer fit (measured).
    pub max_frame_size: u32,
}

/// The agent's side: it waits for a HAPROXY-HELLO.
///
/// ```
/// use spop_codec::handshake::{AgentHandshake, Limits, Reply};
/// use spop_codec::hello::HaproxyHello;
/// use spop_codec::Frame;
///
/// let mut wire = Vec::new();
/// HaproxyHello::new(16_380).encode(&mut wire)?;
///
/// let handshake = AgentHandshake::new(Limits { max_frame_size: 1 << 20 });
/// let reply = handshake.on_frame(&Frame::decode(&wire[4..])?)?;
/// let mut out = Vec::new();
/// reply.encode(&mut out); // to be written with one write
/// let Reply::Established { hello, .. } = reply else { panic!("no health check was sent") };
/// assert_eq!(hello.max_frame_size, 16_380);
/// assert!(hello.capabilities.pipelining);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct AgentHandshake {
    limits: Limits,
    accepting: bool,
}

impl AgentHandshake {
    /// An agent that is able to take messages.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            accepting: true,
        }
    }

    /// Says whether the agent is able to take messages now. If not, health checks fail, so that
    /// HAProxy passes the agent by; other connections are opened as ever.
    #[must_use]
    pub const fn accepting(self, accepting: bool) -> Self {
        Self { accepting, ..self }
    }

    /// Takes the first frame of the connection.
    ///
    /// # Errors
    ///
    /// Whatever makes the handshake fail: a frame that is neither HAPROXY-HELLO nor
    /// HAPROXY-DISCONNECT (status 4), a malformed or incomplete HELLO (4 to 7), no common version
    /// (8), a max-frame-size below 256 or above the agent's own limit (9).
    pub fn on_frame<'a>(self, frame: &Frame<'a>) -> Result<Reply<'a>, DecodeError> {
        match frame.kind {
            FrameKind::HaproxyHello => self.on_hello(&HaproxyHello::decode(frame.payload)?),
            FrameKind::HaproxyDisconnect => Ok(Reply::Left(Disconnect::decode(frame.payload)?)),
            got => Err(DecodeError::UnexpectedFrame {
                got,
                expected: FrameKind::HaproxyHello,
            }),
        }
    }

    fn on_hello<'a>(self, theirs: &HaproxyHello<'a>) -> Result<Reply<'a>, DecodeError> {
        if !theirs.supports(Version::V2_0) {
            return Err(DecodeError::BadVersion);
        }
        check_size(theirs.max_frame_size, self.limits.max_frame_size)?;
        if theirs.healthcheck && !self.accepting {
            return Ok(Reply::Unable);
        }
        // `async` would send ACKs astray and `fragmentation` brings fragments: never announced.
        let hello = AgentHello {
            version: Version::V2_0,
            max_frame_size: theirs.max_frame_size,
            capabilities: Capabilities {
                pipelining: theirs.capabilities.pipelining,
                ..Capabilities::NONE
            },
        };
        Ok(if theirs.healthcheck {
            Reply::Able { hello }
        } else {
            Reply::Established {
                hello,
                engine_id: theirs.engine_id,
            }
        })
    }
}

/// What the agent answers to the first frame. [`encode`](Self::encode) writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The connection is open: NOTIFYs follow, of at most `hello.max_frame_size` bytes.
    Established {
        /// What was agreed.
        hello: AgentHello,
        /// The HAProxy engine at the other end.
        engine_id: Option<&'a [u8]>,
    },
    /// It was a health check, and it passes. Close after writing, without a DISCONNECT.
    Able {
        /// The answer.
        hello: AgentHello,
    },
    /// It was a health check, and it fails, by an AGENT-DISCONNECT with status 13. Close after
    /// writing.
    Unable,
    /// HAProxy left before it said HELLO: no error. Answered in kind; close after writing.
    Left(Disconnect<'a>),
}

impl Reply<'_> {
    /// Appends the one frame to answer with, with its length prefix, to `out`.
    pub fn encode(&self, out: &mut impl BufMut) {
        match self {
            Self::Established { hello, .. } | Self::Able { hello } => hello.encode(out),
            Self::Unable => {
                let message = b"the agent cannot take messages now";
                Disconnect {
                    status: Status::Resources,
                    message,
                }
                .encode_agent(out);
            }
            Self::Left(_) => {
                Disconnect {
                    status: Status::Normal,
                    message: b"",
                }
                .encode_agent(out);
            }
        }
    }
}

/// HAProxy's side: it has said HELLO and waits for the agent's.
#[derive(Debug, Clone, Copy)]
pub struct HaproxyHandshake<'a> {
    hello: HaproxyHello<'a>,
}

impl<'a> HaproxyHandshake<'a> {
    /// Appends the HAPROXY-HELLO frame, with its length prefix, to `out`.
    ///
    /// # Errors
    ///
    /// Those of [`HaproxyHello::encode`].
    pub fn start(hello: HaproxyHello<'a>, out: &mut impl BufMut) -> Result<Self, EncodeError> {
        hello.encode(out)?;
        Ok(Self { hello })
    }

    /// Takes the first frame of the agent.
    ///
    /// # Errors
    ///
    /// Whatever makes the handshake fail: a frame that is neither AGENT-HELLO nor
    /// AGENT-DISCONNECT (status 4), a malformed or incomplete HELLO (4 to 6), a version that was
    /// not offered (8), a max-frame-size below 256 or above the one offered (9).
    pub fn on_frame<'f>(self, frame: &Frame<'f>) -> Result<Outcome<'f>, DecodeError> {
        match frame.kind {
            FrameKind::AgentHello => self.on_hello(&AgentHello::decode(frame.payload)?),
            FrameKind::AgentDisconnect => Ok(Outcome::Left(Disconnect::decode(frame.payload)?)),
            got => Err(DecodeError::UnexpectedFrame {
                got,
                expected: FrameKind::AgentHello,
            }),
        }
    }

    fn on_hello<'f>(self, theirs: &AgentHello) -> Result<Outcome<'f>, DecodeError> {
        if !self.hello.supports(theirs.version) {
            return Err(DecodeError::BadVersion);
        }
        check_size(theirs.max_frame_size, self.hello.max_frame_size)?;
        Ok(if self.hello.healthcheck {
            Outcome::Able
        } else {
            Outcome::Established {
                max_frame_size: theirs.max_frame_size,
                pipelining: self.hello.capabilities.pipelining && theirs.capabilities.pipelining,
            }
        })
    }
}

/// What came of HAProxy's HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// The connection is open for NOTIFYs.
    Established {
        /// The longest frame of this connection, in bytes.
        max_frame_size: u32,
        /// Whether more than one NOTIFY may be unanswered at a time.
        pipelining: bool,
    },
    /// The health check passed.
    Able,
    /// The agent refused, and closes.
    Left(Disconnect<'a>),
}

fn check_size(announced: u32, most: u32) -> Result<(), DecodeError> {
    if (MAX_FRAME_SIZE_FLOOR..=most).contains(&announced) {
        return Ok(());
    }
    Err(DecodeError::BadMaxFrameSize {
        announced,
        least: MAX_FRAME_SIZE_FLOOR,
        most,
    })
}
