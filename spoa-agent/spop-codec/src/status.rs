//! The status codes of SPOE.txt 3.5, as they travel in DISCONNECT frames.

use std::fmt;

/// Why a connection ends. The numbers are HAProxy's; the agent's own go in [`Status::Other`].
///
/// HAProxy hands an agent's status on as 256 + code in the variable that `option set-on-error`
/// names (measured: 13 arrives as 269 on 2.6.12 and 3.5-dev).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// 0: no error. HAProxy sends it on idle connections that it no longer needs.
    Normal,
    /// 1: I/O error. Everyday life on HAProxy 2.6, which sends it on old connections.
    Io,
    /// 2: a timeout occurred.
    Timeout,
    /// 3: frame is too big.
    TooBig,
    /// 4: invalid frame received.
    Invalid,
    /// 5: version value not found.
    NoVersion,
    /// 6: max-frame-size value not found.
    NoMaxFrameSize,
    /// 7: capabilities value not found.
    NoCapabilities,
    /// 8: unsupported version.
    BadVersion,
    /// 9: max-frame-size too big or too small.
    BadMaxFrameSize,
    /// 10: payload fragmentation is not supported.
    FragmentationUnsupported,
    /// 11: invalid interlaced frames.
    InterlacedFrames,
    /// 12: frame-id not found.
    FrameIdNotFound,
    /// 13: resource allocation error.
    Resources,
    /// 99: an unknown error occurred.
    Unknown,
    /// Any other code. Made by [`Status::from`], it is never one of the above.
    Other(u32),
}

impl Status {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Normal => 0,
            Self::Io => 1,
            Self::Timeout => 2,
            Self::TooBig => 3,
            Self::Invalid => 4,
            Self::NoVersion => 5,
            Self::NoMaxFrameSize => 6,
            Self::NoCapabilities => 7,
            Self::BadVersion => 8,
            Self::BadMaxFrameSize => 9,
            Self::FragmentationUnsupported => 10,
            Self::InterlacedFrames => 11,
            Self::FrameIdNotFound => 12,
            Self::Resources => 13,
            Self::Unknown => 99,
            Self::Other(code) => code,
        }
    }
}

impl From<u32> for Status {
    fn from(code: u32) -> Self {
        match code {
            0 => Self::Normal,
            1 => Self::Io,
            2 => Self::Timeout,
            3 => Self::TooBig,
            4 => Self::Invalid,
            5 => Self::NoVersion,
            6 => Self::NoMaxFrameSize,
            7 => Self::NoCapabilities,
            8 => Self::BadVersion,
            9 => Self::BadMaxFrameSize,
            10 => Self::FragmentationUnsupported,
            11 => Self::InterlacedFrames,
            12 => Self::FrameIdNotFound,
            13 => Self::Resources,
            99 => Self::Unknown,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self {
            Self::Normal => "normal",
            Self::Io => "I/O error",
            Self::Timeout => "a timeout occurred",
            Self::TooBig => "frame is too big",
            Self::Invalid => "invalid frame received",
            Self::NoVersion => "version value not found",
            Self::NoMaxFrameSize => "max-frame-size value not found",
            Self::NoCapabilities => "capabilities value not found",
            Self::BadVersion => "unsupported version",
            Self::BadMaxFrameSize => "max-frame-size too big or too small",
            Self::FragmentationUnsupported => "payload fragmentation is not supported",
            Self::InterlacedFrames => "invalid interlaced frames",
            Self::FrameIdNotFound => "frame-id not found",
            Self::Resources => "resource allocation error",
            Self::Unknown => "an unknown error occurred",
            Self::Other(_) => "a status of the agent's own",
        };
        write!(f, "{} ({meaning})", self.code())
    }
}
