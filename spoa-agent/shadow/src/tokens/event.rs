//! What changes the sessions, as records: whoever keeps them can rebuild the sessions after a kill.
//!
//! `tag u8`, then the fields; numbers are little endian, bytes are `length u32 | bytes`.

use bytes::Bytes;

use super::api::Origin;

/// A change of [`super::Sessions`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event(pub(crate) What);

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A session is new, or more is known of it.
    Learnt {
        session: u64,
        origin: Origin,
        /// More tokens of the primary for it.
        primary: Vec<Bytes>,
        /// The shadow's side, where that changed.
        shadow: Option<Held>,
        until_us: u64,
        keep_us: u64,
    },
    /// A page of it ended here on the primary, and there on the shadow.
    Placed {
        session: u64,
        position: Bytes,
        values: Bytes,
    },
    /// It is closed on both sides.
    Closed { session: u64 },
    /// The primary has done with it, and the shadow's is still open.
    Abandoned { session: u64 },
    /// The shadow opened something that the primary has no use for.
    Orphan { origin: Origin, token: Bytes },
}

/// What the shadow has for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Its latest token.
    Token(Bytes),
    /// Nothing: it answered with this status, or, when 0, not at all.
    Without(u16),
}

/// A record that is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the record is no event of a token session; it was written by another version, or by something else"
)]
pub struct BadEvent;

const LEARNT: u8 = 1;
const PLACED: u8 = 2;
const CLOSED: u8 = 3;
const ABANDONED: u8 = 4;
const ORPHAN: u8 = 5;

const UNCHANGED: u8 = 0;
const TOKEN: u8 = 1;
const WITHOUT: u8 = 2;

impl Event {
    /// The event as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match &self.0 {
            What::Learnt {
                session,
                origin,
                primary,
                shadow,
                until_us,
                keep_us,
            } => {
                out.push(LEARNT);
                put_number(&mut out, *session);
                put_origin(&mut out, *origin);
                put_number(&mut out, *until_us);
                put_number(&mut out, *keep_us);
                match shadow {
                    None => out.push(UNCHANGED),
                    Some(Held::Token(token)) => {
                        out.push(TOKEN);
                        put_bytes(&mut out, token);
                    }
                    Some(Held::Without(status)) => {
                        out.push(WITHOUT);
                        out.extend_from_slice(&status.to_le_bytes());
                    }
                }
                for token in primary {
                    put_bytes(&mut out, token);
                }
            }
            What::Placed {
                session,
                position,
                values,
            } => {
                out.push(PLACED);
                put_number(&mut out, *session);
                put_bytes(&mut out, position);
                put_bytes(&mut out, values);
            }
            What::Closed { session } => {
                out.push(CLOSED);
                put_number(&mut out, *session);
            }
            What::Abandoned { session } => {
                out.push(ABANDONED);
                put_number(&mut out, *session);
            }
            What::Orphan { origin, token } => {
                out.push(ORPHAN);
                put_origin(&mut out, *origin);
                put_bytes(&mut out, token);
            }
        }
        out
    }

    /// The event that `bytes` are.
    ///
    /// # Errors
    /// When they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadEvent> {
        let mut rest = bytes;
        let what = what(&mut rest).ok_or(BadEvent)?;
        if rest.is_empty() {
            Ok(Self(what))
        } else {
            Err(BadEvent)
        }
    }
}

fn what(rest: &mut &[u8]) -> Option<What> {
    match byte(rest)? {
        LEARNT => {
            let session = number(rest)?;
            let origin = origin(rest)?;
            let until_us = number(rest)?;
            let keep_us = number(rest)?;
            let shadow = match byte(rest)? {
                UNCHANGED => None,
                TOKEN => Some(Held::Token(bytes(rest)?)),
                WITHOUT => Some(Held::Without(u16::from_le_bytes(fixed(rest)?))),
                _ => return None,
            };
            let mut primary = Vec::new();
            while !rest.is_empty() {
                primary.push(bytes(rest)?);
            }
            Some(What::Learnt {
                session,
                origin,
                primary,
                shadow,
                until_us,
                keep_us,
            })
        }
        PLACED => Some(What::Placed {
            session: number(rest)?,
            position: bytes(rest)?,
            values: bytes(rest)?,
        }),
        CLOSED => Some(What::Closed {
            session: number(rest)?,
        }),
        ABANDONED => Some(What::Abandoned {
            session: number(rest)?,
        }),
        ORPHAN => Some(What::Orphan {
            origin: origin(rest)?,
            token: bytes(rest)?,
        }),
        _ => None,
    }
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &Bytes) {
    // Tokens have at most a megabyte each.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_origin(out: &mut Vec<u8>, origin: Origin) {
    let place = Origin::ALL.iter().position(|one| *one == origin);
    out.push(
        place
            .and_then(|at| u8::try_from(at).ok())
            .unwrap_or(u8::MAX),
    );
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    fixed::<1>(rest).map(|[byte]| byte)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    fixed(rest).map(u64::from_le_bytes)
}

fn bytes(rest: &mut &[u8]) -> Option<Bytes> {
    let length = usize::try_from(u32::from_le_bytes(fixed(rest)?)).ok()?;
    let (bytes, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(Bytes::copy_from_slice(bytes))
}

fn origin(rest: &mut &[u8]) -> Option<Origin> {
    Origin::ALL.get(usize::from(byte(rest)?)).copied()
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event() -> impl Strategy<Value = Event> {
        let some = || prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
        let held = prop_oneof![
            Just(None),
            some().prop_map(|token| Some(Held::Token(token))),
            any::<u16>().prop_map(|status| Some(Held::Without(status))),
        ];
        let origin = || prop::sample::select(&Origin::ALL[..]);
        prop_oneof![
            (
                any::<(u64, u64, u64)>(),
                origin(),
                prop::collection::vec(some(), 0..4),
                held
            )
                .prop_map(|(numbers, origin, primary, shadow)| What::Learnt {
                    session: numbers.0,
                    origin,
                    primary,
                    shadow,
                    until_us: numbers.1,
                    keep_us: numbers.2,
                }),
            (any::<u64>(), some(), some()).prop_map(|(session, position, values)| What::Placed {
                session,
                position,
                values
            }),
            any::<u64>().prop_map(|session| What::Closed { session }),
            any::<u64>().prop_map(|session| What::Abandoned { session }),
            (origin(), some()).prop_map(|(origin, token)| What::Orphan { origin, token }),
        ]
        .prop_map(Event)
    }

    #[test]
    fn every_origin_has_a_number_of_its_own() {
        for (at, origin) in Origin::ALL.into_iter().enumerate() {
            let mut out = Vec::new();
            put_origin(&mut out, origin);
            assert_eq!(usize::from(out[0]), at);
        }
    }

    proptest! {
        #[test]
        fn an_event_reads_back_as_it_was(event in event(), cut in any::<prop::sample::Index>()) {
            let bytes = event.encode();
            prop_assert_eq!(Event::decode(&bytes), Ok(event));
            let cut = cut.index(bytes.len());
            if let Ok(shorter) = Event::decode(&bytes[..cut]) {
                // Only the list of tokens, the last field, may end early.
                prop_assert_eq!(shorter.encode(), &bytes[..cut]);
            }
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 1..80), tag in 0u8..7) {
            bytes[0] = tag;
            if let Ok(event) = Event::decode(&bytes) {
                prop_assert_eq!(event.encode(), bytes);
            }
        }
    }
}
