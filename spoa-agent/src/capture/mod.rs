//! From a SPOE message to a half in the journal. The only place that knows both the protocol and
//! the exchange.
//!
//! [`contract`] reads a message; [`Capture`] masks credentials, appends the half, and tells the
//! connection what the ACK has to wait for. Whatever happens, the answer is an ACK: HAProxy must not
//! wait because the configuration is wrong or the disk is full. What could not be kept is counted
//! here, and told in the journal itself as a gap ([`losses`]) as soon as it takes records again.
//!
//! A second source of halves would stand beside [`contract`] and use [`Capture::keep`].

use std::time::Duration;

use exchange::{Credentials, Half};
use journal::{AppendError, Journal, Position};
use spop_codec::notify::Message;

use self::accounts::Accounts;
use self::contract::{ContractError, Kind};
use self::losses::Losses;
use crate::telemetry::metrics::{CaptureMetrics, HalfKind, HalfRefusal, HoldOutcome};

mod accounts;
pub mod contract;
pub mod holds;
pub mod losses;

/// What became of a message, and what its ACK has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The half is in the journal's memory, and ends at this position.
    Kept {
        /// Wait until the journal has come this far.
        end: Position,
        /// The request is held: the ACK waits until the half is durable.
        held: bool,
    },
    /// It could not be kept, and is counted. The ACK waits for nothing.
    Lost,
}

/// Takes messages from connections, any number at a time.
#[derive(Debug)]
pub struct Capture {
    journal: Journal,
    mask: Option<Credentials>,
    accounts: Accounts,
    losses: Losses,
}

impl Capture {
    /// `mask` names the headers whose values do not reach the journal; `None` keeps them all.
    #[must_use]
    pub fn new(journal: Journal, mask: Option<Credentials>, metrics: CaptureMetrics) -> Self {
        Self {
            journal,
            mask,
            accounts: Accounts::new(metrics),
            losses: Losses::default(),
        }
    }

    /// Takes one message of a NOTIFY.
    ///
    /// # Errors
    /// Only when the frame is malformed: then the connection is at fault.
    pub fn take(&self, message: &Message<'_>) -> Result<Taken, spop_codec::DecodeError> {
        let Some(kind) = Kind::of(message.name) else {
            let name = String::from_utf8_lossy(message.name).into_owned();
            self.accounts
                .unknown_message(&ContractError::UnknownMessage { name });
            return Ok(Taken::Lost);
        };
        self.inspect(kind, message);
        match self.half(kind, message) {
            Ok(half) => Ok(self.keep(&half)),
            Err(ContractError::Frame(error)) => Err(error),
            Err(error) => {
                self.accounts.received(kind.half());
                self.accounts.contract_broken(kind, &error);
                self.losses.note(kind.half(), HalfRefusal::Contract);
                Ok(Taken::Lost)
            }
        }
    }

    /// Appends a half to the journal, whoever captured it.
    pub fn keep<B: AsRef<[u8]>>(&self, half: &Half<B>) -> Taken {
        let (kind, held) = match half {
            Half::Request(request) => (HalfKind::Request, request.held),
            Half::Response(_) => (HalfKind::Response, false),
            Half::Gap(_) | Half::Pair(_) => return Taken::Lost,
        };
        self.accounts.received(kind);
        self.tell_losses();
        match self.append(half) {
            Ok(end) => {
                self.accounts.captured(half);
                if held {
                    self.accounts.hold_began();
                }
                Taken::Kept { end, held }
            }
            Err(error) => {
                let reason = reason(&error);
                self.accounts.refused(kind, reason, &error);
                self.losses.note(kind, reason);
                if held {
                    self.accounts.hold_began();
                    self.accounts
                        .hold_ended(HoldOutcome::Failed, Duration::ZERO);
                }
                Taken::Lost
            }
        }
    }

    /// A held write's ACK goes out.
    pub fn release(&self, outcome: HoldOutcome, after: Duration) {
        self.accounts.hold_ended(outcome, after);
    }

    /// Appends the mark of what was lost, if something was and the journal takes records again.
    pub fn tell_losses(&self) {
        if self.losses.none() {
            return;
        }
        for gap in self.losses.take() {
            if self.append(&Half::<&[u8]>::Gap(gap.clone())).is_err() {
                self.losses.put_back(gap);
            }
        }
    }

    fn half<'a>(&self, kind: Kind, message: &Message<'a>) -> Result<Half<&'a [u8]>, ContractError> {
        let mask = self.mask.as_ref();
        match kind {
            Kind::Request => contract::request(message, false, mask).map(Half::Request),
            Kind::HeldRequest => contract::request(message, true, mask).map(Half::Request),
            Kind::Response => contract::response(message, mask).map(Half::Response),
        }
    }

    fn inspect(&self, kind: Kind, message: &Message<'_>) {
        if !self.accounts.is_first(kind) {
            return;
        }
        if let Some(name) = contract::unknown_argument(kind, message.args.clone()) {
            self.accounts.unknown_argument(kind, name);
        }
    }

    fn append<B: AsRef<[u8]>>(&self, half: &Half<B>) -> Result<Position, AppendError> {
        self.journal
            .append(half.encoded_len(), |out| half.encode(out))
    }
}

const fn reason(error: &AppendError) -> HalfRefusal {
    match error {
        AppendError::Full { .. } => HalfRefusal::JournalFull,
        AppendError::Backlog { .. } => HalfRefusal::Backlog,
        AppendError::TooBig { .. } => HalfRefusal::TooBig,
        AppendError::Failed { .. } | AppendError::Empty | AppendError::Closed => {
            HalfRefusal::Failed
        }
    }
}
