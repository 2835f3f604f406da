//! HELLO, of either side: what a connection is opened with (SPOE.txt 3.2.4 and 3.2.5).
//!
//! Here are the payloads only: which of them fit together is the business of
//! [`crate::handshake`]. Item names are matched whole, unknown items are skipped, and of an item
//! that comes twice the last one counts. (HAProxy matches by prefix: who adds items of its own
//! must not let them begin with a known name.)

use std::fmt;

use bytes::BufMut;
use nom::Parser;
use nom::bytes::complete::tag;
use nom::character::complete::u16 as decimal;
use nom::combinator::all_consuming;
use nom::sequence::separated_pair;

use crate::error::{DecodeError, EncodeError, Parsed};
use crate::frame::{FrameKind, Header, encode_list};
use crate::kv;
use crate::value::Value;

const SUPPORTED_VERSIONS: &[u8] = b"supported-versions";
const VERSION: &[u8] = b"version";
const MAX_FRAME_SIZE: &[u8] = b"max-frame-size";
const CAPABILITIES: &[u8] = b"capabilities";
const ENGINE_ID: &[u8] = b"engine-id";
const HEALTHCHECK: &[u8] = b"healthcheck";

/// The payload of HAPROXY-HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HaproxyHello<'a> {
    /// Comma-separated list, as it came. HAProxy 2.6 to 3.5-dev write `2.0`.
    pub supported_versions: &'a [u8],
    /// The longest frame that HAProxy sends or takes, in bytes: `tune.bufsize` - 4.
    pub max_frame_size: u32,
    /// `pipelining,async` on 2.6, `pipelining` from 3.1 on, none in a health check.
    pub capabilities: Capabilities,
    /// A UUID: of a thread on 2.6, of an agent section from 3.1 on. `None` in a health check.
    pub engine_id: Option<&'a [u8]>,
    /// Whether HAProxy only asks how the agent is.
    pub healthcheck: bool,
}

impl<'a> HaproxyHello<'a> {
    /// What HAProxy 3.1 and later say, with that size and without an engine-id.
    #[must_use]
    pub const fn new(max_frame_size: u32) -> Self {
        Self {
            supported_versions: b"2.0",
            max_frame_size,
            capabilities: Capabilities::PIPELINING,
            engine_id: None,
            healthcheck: false,
        }
    }

    /// What HAProxy says in a health check (`option spop-check`).
    #[must_use]
    pub const fn health_check(max_frame_size: u32) -> Self {
        Self {
            capabilities: Capabilities::NONE,
            healthcheck: true,
            ..Self::new(max_frame_size)
        }
    }

    /// Reads the payload of a HAPROXY-HELLO.
    ///
    /// # Errors
    ///
    /// Fails when the list is malformed, when a known item has a wrong type, and with status 5, 6
    /// or 7 when `supported-versions`, `max-frame-size` or `capabilities` is missing.
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut supported_versions = None;
        let mut max_frame_size = None;
        let mut capabilities = None;
        let mut engine_id = None;
        let mut healthcheck = false;
        for item in kv::items(payload) {
            let (name, value) = item?;
            match name {
                SUPPORTED_VERSIONS => {
                    supported_versions = Some(string(value, "supported-versions")?);
                }
                MAX_FRAME_SIZE => max_frame_size = Some(size(value)?),
                CAPABILITIES => {
                    capabilities = Some(Capabilities::parse(string(value, "capabilities")?));
                }
                ENGINE_ID => engine_id = Some(string(value, "engine-id")?),
                HEALTHCHECK => {
                    healthcheck = value
                        .as_bool()
                        .ok_or(DecodeError::WrongType("healthcheck"))?;
                }
                _ => {}
            }
        }
        Ok(Self {
            supported_versions: supported_versions.ok_or(DecodeError::NoVersion)?,
            max_frame_size: max_frame_size.ok_or(DecodeError::NoMaxFrameSize)?,
            capabilities: capabilities.ok_or(DecodeError::NoCapabilities)?,
            engine_id,
            healthcheck,
        })
    }

    /// Whether HAProxy speaks `version`. A version it names stands for all earlier minor versions
    /// of the same major one.
    #[must_use]
    pub fn supports(&self, version: Version) -> bool {
        self.supported_versions
            .split(|byte| *byte == b',')
            .filter_map(Version::parse)
            .any(|own| own.major == version.major && own.minor >= version.minor)
    }

    /// Appends one whole HAPROXY-HELLO frame, with its length prefix, to `out`.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooBig`] when the frame's length does not fit in 32 bits.
    pub fn encode(&self, out: &mut impl BufMut) -> Result<(), EncodeError> {
        let mut payload = Vec::new();
        kv::encode(
            &mut payload,
            SUPPORTED_VERSIONS,
            &Value::Str(self.supported_versions),
        );
        kv::encode(
            &mut payload,
            MAX_FRAME_SIZE,
            &Value::Uint32(self.max_frame_size),
        );
        kv::encode(
            &mut payload,
            CAPABILITIES,
            &Value::Str(self.capabilities.as_bytes()),
        );
        if let Some(engine_id) = self.engine_id {
            kv::encode(&mut payload, ENGINE_ID, &Value::Str(engine_id));
        }
        if self.healthcheck {
            kv::encode(&mut payload, HEALTHCHECK, &Value::Bool(true));
        }
        Header::without_ids(FrameKind::HaproxyHello).encode(out, payload.len())?;
        out.put_slice(&payload);
        Ok(())
    }
}

/// The payload of AGENT-HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentHello {
    /// The version to be spoken.
    pub version: Version,
    /// The longest frame of this connection, in bytes; between 256 and what HAProxy announced.
    pub max_frame_size: u32,
    /// What the agent can do. None of them when the item is missing, as HAProxy reads it.
    pub capabilities: Capabilities,
}

impl AgentHello {
    /// Reads the payload of an AGENT-HELLO.
    ///
    /// # Errors
    ///
    /// Fails when the list is malformed, when a known item has a wrong type, with status 8 when
    /// the version is no version, and with status 5 or 6 when `version` or `max-frame-size` is
    /// missing. (HAProxy 2.6 does the same; 3.5-dev forgives a missing size, measured.)
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut version = None;
        let mut max_frame_size = None;
        let mut capabilities = Capabilities::NONE;
        for item in kv::items(payload) {
            let (name, value) = item?;
            match name {
                VERSION => {
                    let text = string(value, "version")?;
                    version = Some(Version::parse(text).ok_or(DecodeError::BadVersion)?);
                }
                MAX_FRAME_SIZE => max_frame_size = Some(size(value)?),
                CAPABILITIES => {
                    capabilities = Capabilities::parse(string(value, "capabilities")?);
                }
                _ => {}
            }
        }
        Ok(Self {
            version: version.ok_or(DecodeError::NoVersion)?,
            max_frame_size: max_frame_size.ok_or(DecodeError::NoMaxFrameSize)?,
            capabilities,
        })
    }

    /// Appends one whole AGENT-HELLO frame, with its length prefix, to `out`.
    ///
    /// It must reach the socket in one `write`: HAProxy 3.2.0 and later drop the connection when
    /// the frame arrives as prefix, header and payload apart (measured).
    pub fn encode(&self, out: &mut impl BufMut) {
        let version = self.version.to_string();
        let items = [
            (VERSION, Value::Str(version.as_bytes())),
            (MAX_FRAME_SIZE, Value::Uint32(self.max_frame_size)),
            (CAPABILITIES, Value::Str(self.capabilities.as_bytes())),
        ];
        encode_list(out, FrameKind::AgentHello, &items);
    }
}

/// A version of SPOP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// Before the dot.
    pub major: u16,
    /// After the dot.
    pub minor: u16,
}

impl Version {
    /// The only one there is (HAProxy 2.6 to 3.5-dev).
    pub const V2_0: Self = Self { major: 2, minor: 0 };

    /// Reads `Major.Minor`, with or without spaces around it.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (_, (major, minor)) = all_consuming(version).parse(text.trim_ascii()).ok()?;
        Some(Self { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What a peer can do beyond the minimum (SPOE.txt 3.2.1). Unknown names are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Capabilities {
    /// NOTIFYs need not wait for the ACKs of earlier ones, and ACKs come in any order. Without
    /// it HAProxy has one NOTIFY in flight per connection.
    pub pipelining: bool,
    /// ACKs may come over any connection of the engine (`async`; up to HAProxy 3.0).
    pub asynchronous: bool,
    /// The peer takes fragmented payloads (up to HAProxy 3.0).
    pub fragmentation: bool,
}

impl Capabilities {
    /// An empty list.
    pub const NONE: Self = Self {
        pipelining: false,
        asynchronous: false,
        fragmentation: false,
    };
    /// `pipelining` alone.
    pub const PIPELINING: Self = Self {
        pipelining: true,
        ..Self::NONE
    };

    /// Reads a comma-separated list; spaces around a name are ignored.
    #[must_use]
    pub fn parse(list: &[u8]) -> Self {
        let mut capabilities = Self::NONE;
        for name in list.split(|byte| *byte == b',') {
            match name.trim_ascii() {
                b"pipelining" => capabilities.pipelining = true,
                b"async" => capabilities.asynchronous = true,
                b"fragmentation" => capabilities.fragmentation = true,
                _ => {}
            }
        }
        capabilities
    }

    /// The list as it travels.
    #[must_use]
    pub const fn as_bytes(self) -> &'static [u8] {
        match (self.pipelining, self.asynchronous, self.fragmentation) {
            (false, false, false) => b"",
            (true, false, false) => b"pipelining",
            (false, true, false) => b"async",
            (false, false, true) => b"fragmentation",
            (true, true, false) => b"pipelining,async",
            (true, false, true) => b"pipelining,fragmentation",
            (false, true, true) => b"async,fragmentation",
            (true, true, true) => b"pipelining,async,fragmentation",
        }
    }
}

fn version(input: &[u8]) -> Parsed<'_, (u16, u16)> {
    separated_pair(decimal, tag(".".as_bytes()), decimal).parse(input)
}

fn string<'a>(value: Value<'a>, name: &'static str) -> Result<&'a [u8], DecodeError> {
    match value {
        Value::Str(bytes) => Ok(bytes),
        _ => Err(DecodeError::WrongType(name)),
    }
}

// SPOE.txt says UINT32, HAProxy takes any integer (measured); so does this.
fn size(value: Value<'_>) -> Result<u32, DecodeError> {
    let size = value.as_int().and_then(|size| u32::try_from(size).ok());
    size.ok_or(DecodeError::WrongType("max-frame-size"))
}
