//! One connection from HAProxy: HELLO, then NOTIFY in and ACK out, in any order of the ACKs.
//!
//! A single task reads, decodes, hands halves to `capture`, and writes. It works in rounds: every
//! whole frame that has arrived is taken, the journal is committed once for all of them, and every ACK
//! that is due goes out in one write of whole frames. (AGENT-HELLO cut into several writes kills the
//! connection on HAProxy 3.2 and later; measured.) An ACK that has to wait for the disk
//! does not keep the frames behind it waiting.
//!
//! Peers that hang up, say goodbye with status 0 or 1, or connect and say nothing are everyday life
//! with HAProxy (measured on 2.6.12), and logged at debug.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use journal::{Journal, Level, Position, WaitError};
use spop_codec::ack::{self, Action, Actions, Scope};
use spop_codec::handshake::{AgentHandshake, Limits as HelloLimits, Reply};
use spop_codec::{
    DecodeError, Disconnect, Frame, FrameId, FrameKind, Status, StreamId, Value, frame, notify,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::Server;
use super::budget::Share;
use crate::capture::Taken;
use crate::capture::holds::Holds;
use crate::telemetry::metrics::HoldOutcome;

/// The buffer that every connection has: some twenty frames of a kilobyte, as HAProxy pipelines them.
const INPUT: usize = 32 << 10;
/// HAProxy's HELLO has 123 to 129 bytes (measured on 2.6.12 to 3.5-dev).
const HELLO_LIMIT: u32 = 4096;
/// How long a peer may take to read what is written to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection ended.
#[derive(Debug)]
enum End {
    /// The peer hung up, or said goodbye without a complaint.
    Left,
    /// The peer said goodbye with a complaint.
    Complaint(Status, String),
    /// It was a health check, and it is answered.
    Checked,
    /// The agent closes.
    Closing,
    /// The peer broke the protocol.
    Fault(DecodeError),
    /// The peer said nothing for too long.
    Silent,
    /// The system.
    Io(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<DecodeError> for End {
    fn from(error: DecodeError) -> Self {
        Self::Fault(error)
    }
}

/// Serves one connection until it ends.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, server: &Server) {
    let mut connection = Connection {
        stream,
        server,
        input: BytesMut::new(),
        output: BytesMut::new(),
        share: None,
        due: Due::default(),
        max_frame_size: HELLO_LIMIT,
        greeted: false,
    };
    let end = connection.run().await;
    connection.due.forget(server);
    connection.say_goodbye(&end).await;
    report(server, end, connection.greeted);
}

struct Connection<'s, S> {
    stream: S,
    server: &'s Server,
    input: BytesMut,
    output: BytesMut,
    share: Option<Share>,
    due: Due,
    max_frame_size: u32,
    greeted: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    async fn run(&mut self) -> End {
        if let Err(end) = self.hello().await {
            return end;
        }
        loop {
            if let Err(end) = self.round().await {
                return end;
            }
        }
    }

    async fn hello(&mut self) -> Result<(), End> {
        let limit = self.server.limits.hello_timeout;
        match tokio::time::timeout(limit, self.read_frame()).await {
            Ok(read) => read?,
            Err(_) => return Err(End::Silent),
        }
        let Some(total) = frame::frame_length(&self.input, self.max_frame_size)? else {
            return Err(End::Left);
        };
        let hello = Frame::decode(self.input.get(frame::PREFIX_LEN..total).unwrap_or_default())?;
        let able = self.server.ability.borrow().passes_checks();
        let limits = HelloLimits {
            max_frame_size: self.server.limits.max_frame_size,
        };
        let reply = AgentHandshake::new(limits)
            .accepting(able)
            .on_frame(&hello)?;
        reply.encode(&mut self.output);
        let outcome = match reply {
            Reply::Established { hello, .. } => {
                self.max_frame_size = hello.max_frame_size;
                self.greeted = true;
                self.server
                    .accounts
                    .hello_agreed(hello.capabilities.pipelining);
                Ok(())
            }
            Reply::Able { .. } | Reply::Unable => {
                self.server.accounts.health_checked(able);
                Err(End::Checked)
            }
            Reply::Left(_) => Err(End::Left),
        };
        self.input.advance(total);
        self.flush().await?;
        outcome
    }

    /// Reads until there is one whole frame.
    async fn read_frame(&mut self) -> Result<(), End> {
        loop {
            match frame::frame_length(&self.input, self.max_frame_size)? {
                Some(total) if self.input.len() >= total => return Ok(()),
                _ => self.read().await?,
            }
        }
    }

    /// Takes what has arrived, sends what is due, waits for more of either.
    async fn round(&mut self) -> Result<(), End> {
        let needed = self.take_frames()?;
        self.settle();
        self.flush().await?;
        self.make_room(needed).await?;
        self.wait().await
    }

    /// Takes every whole frame. Returns how long the one that is not whole yet is.
    fn take_frames(&mut self) -> Result<usize, End> {
        let began = Instant::now();
        let mut taken = 0_u64;
        let mut bytes = 0_u64;
        let outcome = loop {
            let total = match frame::frame_length(&self.input, self.max_frame_size) {
                Ok(Some(total)) => total,
                Ok(None) => break Ok(0),
                Err(error) => break Err(error.into()),
            };
            let Some(whole) = self.input.get(frame::PREFIX_LEN..total) else {
                break Ok(total);
            };
            if let Err(end) = take_frame(self.server, whole, began, &mut self.due) {
                break Err(end);
            }
            self.input.advance(total);
            taken += 1;
            bytes += total as u64;
        };
        self.server.accounts.frames_received(taken, bytes);
        outcome
    }

    /// Moves the ACKs that wait for nothing any more to the output.
    fn settle(&mut self) {
        if self.due.is_empty() {
            return;
        }
        let journal = &self.server.journal;
        let may_wait = self.server.ability.borrow().may_wait();
        if !self.due.written.is_empty() {
            let written = if may_wait {
                journal.try_commit()
            } else {
                journal.written()
            };
            self.due
                .settle_written(written, may_wait, self.server, &mut self.output);
        }
        if let Some(holds) = &self.server.holds
            && !self.due.offloaded.is_empty()
        {
            self.due
                .settle_offloaded(holds, journal.synced(), self.server, &mut self.output);
        }
        if !self.due.durable.is_empty() {
            self.due
                .settle_durable(journal.synced(), may_wait, self.server, &mut self.output);
        }
        self.due.settle_now(self.server, &mut self.output);
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.output.is_empty() {
            return Ok(());
        }
        let write = self.stream.write_all(&self.output);
        match tokio::time::timeout(WRITE_TIMEOUT, write).await {
            Ok(written) => written?,
            Err(_) => return Err(End::Io(io::ErrorKind::TimedOut.into())),
        }
        self.output.clear();
        Ok(())
    }

    /// Makes the buffer large enough for a frame of `needed` bytes, and gives memory back that is not
    /// needed when others want it.
    async fn make_room(&mut self, needed: usize) -> Result<(), End> {
        if self.share.is_some() && self.input.is_empty() && self.server.budget.is_short() {
            self.input = BytesMut::new();
            self.share = None;
        }
        if needed > INPUT && self.share.is_none() {
            // The largest frame of this connection at once: see `budget`.
            let most = usize::try_from(self.max_frame_size).unwrap_or(usize::MAX);
            tokio::select! {
                () = self.server.closing.cancelled() => return Err(End::Closing),
                share = self.server.budget.take(most.saturating_add(frame::PREFIX_LEN)) => self.share = share,
            }
        }
        let room = needed.max(INPUT).saturating_sub(self.input.len());
        self.input.reserve(room);
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), End> {
        if self.due.is_empty() {
            tokio::select! {
                biased;
                read = read_some(&mut self.stream, &mut self.input) => return read,
                () = self.server.closing.cancelled() => {}
            }
        } else {
            let mut ability = self.server.ability.clone();
            let until = self.due.deadline();
            tokio::select! {
                biased;
                read = read_some(&mut self.stream, &mut self.input) => return read,
                () = self.due.progress(self.server) => return Ok(()),
                () = sleep_until(until) => return Ok(()),
                _ = ability.changed() => return Ok(()),
                () = self.server.closing.cancelled() => {}
            }
        }
        self.finish().await;
        Err(End::Closing)
    }

    /// The agent closes: sends the ACKs that are due, as soon as they are.
    async fn finish(&mut self) {
        while !self.due.is_empty() {
            let until = self.due.deadline();
            tokio::select! {
                () = self.due.progress(self.server) => {}
                () = sleep_until(until) => {}
            }
            self.settle();
            if self.flush().await.is_err() {
                return;
            }
        }
    }

    async fn read(&mut self) -> Result<(), End> {
        self.input
            .reserve(INPUT.saturating_sub(self.input.len()).max(1));
        read_some(&mut self.stream, &mut self.input).await
    }

    /// Sends an AGENT-DISCONNECT where the peer still listens for one.
    async fn say_goodbye(&mut self, end: &End) {
        let text;
        let (status, message) = match end {
            End::Fault(error) => {
                text = error.to_string();
                (error.status(), text.as_bytes())
            }
            End::Closing => (Status::Normal, &b"the agent is stopping"[..]),
            End::Silent => (Status::Timeout, &b"no HELLO in time"[..]),
            End::Complaint(..) => (Status::Normal, &b""[..]),
            End::Left | End::Checked | End::Io(_) => return,
        };
        self.output.clear();
        // HAProxy 2.6 refuses a message of more than 255 bytes (measured).
        let message = message.get(..message.len().min(255)).unwrap_or_default();
        Disconnect { status, message }.encode_agent(&mut self.output);
        let sent = self.flush().await;
        tracing::trace!(?sent, "said goodbye");
    }
}

async fn read_some<S: AsyncRead + Unpin>(stream: &mut S, input: &mut BytesMut) -> Result<(), End> {
    match stream.read_buf(input).await? {
        0 => Err(End::Left),
        _ => Ok(()),
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn take_frame(server: &Server, whole: &[u8], began: Instant, due: &mut Due) -> Result<(), End> {
    let frame = Frame::decode(whole)?;
    match frame.kind {
        FrameKind::Notify => take_notify(server, &frame, began, due),
        FrameKind::HaproxyDisconnect => {
            let Disconnect { status, message } = Disconnect::decode(frame.payload)?;
            Err(match status {
                Status::Normal | Status::Io => End::Left,
                status => End::Complaint(status, String::from_utf8_lossy(message).into_owned()),
            })
        }
        // "Unknown frames may be silently skipped" (SPOE.txt 3.2.2).
        FrameKind::Unknown(_) => Ok(()),
        got => Err(DecodeError::UnexpectedFrame {
            got,
            expected: FrameKind::Notify,
        }
        .into()),
    }
}

/// A NOTIFY may have no message at all, and has its ACK all the same (3.1.0 to 3.2.x; measured).
fn take_notify(
    server: &Server,
    frame: &Frame<'_>,
    began: Instant,
    due: &mut Due,
) -> Result<(), End> {
    let mut end = None;
    let mut is_held = false;
    for message in notify::messages(frame.payload) {
        match server.capture.take(&message?)? {
            Taken::Kept { end: kept, held } => {
                end = Some(kept);
                is_held |= held;
            }
            Taken::Lost => {}
        }
    }
    due.add(
        server,
        Answer {
            stream_id: frame.stream_id,
            frame_id: frame.frame_id,
            began,
        },
        end,
        is_held,
    );
    Ok(())
}

/// A NOTIFY to be answered.
#[derive(Clone, Copy, Debug)]
struct Answer {
    stream_id: StreamId,
    frame_id: FrameId,
    /// When its frame was taken.
    began: Instant,
}

/// The ACKs that are due, each list in the order of positions.
#[derive(Debug, Default)]
struct Due {
    /// Wait for nothing.
    now: Vec<Answer>,
    /// Wait until the journal is written so far.
    written: VecDeque<(Position, Answer)>,
    /// Wait until the journal is durable so far.
    durable: VecDeque<(Position, Answer, Held)>,
    /// Wait until the journal is durable so far and Kafka has the half that ends here, at most until then.
    offloaded: VecDeque<(Position, Answer, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    No,
    Until(Instant),
}

impl Due {
    fn is_empty(&self) -> bool {
        self.now.is_empty()
            && self.written.is_empty()
            && self.durable.is_empty()
            && self.offloaded.is_empty()
    }

    fn add(&mut self, server: &Server, answer: Answer, end: Option<Position>, held: bool) {
        match (end, held, server.limits.ack) {
            (None, ..) | (Some(_), false, Level::Append) => self.now.push(answer),
            (Some(end), true, _) => {
                let until = answer.began + server.limits.hold_deadline;
                if let Some(holds) = &server.holds {
                    holds.wait_for(end);
                    self.offloaded.push_back((end, answer, until));
                } else {
                    let until = Held::Until(until);
                    self.durable.push_back((end, answer, until));
                }
            }
            (Some(end), false, Level::Write) => self.written.push_back((end, answer)),
            (Some(end), false, Level::Sync) => self.durable.push_back((end, answer, Held::No)),
        }
    }

    fn settle_now(&mut self, server: &Server, out: &mut BytesMut) {
        for answer in self.now.drain(..) {
            send(server, answer, Word::Nothing, out);
        }
    }

    /// While the journal cannot write, ACKs do not wait for it: the halves stay in its memory, and
    /// it tries again.
    fn settle_written(
        &mut self,
        written: Position,
        may_wait: bool,
        server: &Server,
        out: &mut BytesMut,
    ) {
        while let Some((end, answer)) = self.written.front().copied() {
            let reached = end <= written;
            if !reached && may_wait {
                break;
            }
            if !reached {
                server.accounts.acked_early();
            }
            self.written.pop_front();
            send(server, answer, Word::Nothing, out);
        }
    }

    fn settle_durable(
        &mut self,
        synced: Position,
        may_wait: bool,
        server: &Server,
        out: &mut BytesMut,
    ) {
        while let Some((end, answer, held)) = self.durable.front().copied() {
            let word = match held {
                Held::Until(_) if end <= synced => Word::Durable,
                Held::No if end <= synced => Word::Nothing,
                Held::No if !may_wait => {
                    server.accounts.acked_early();
                    Word::Nothing
                }
                Held::Until(_) | Held::No => break,
            };
            self.durable.pop_front();
            send(server, answer, word, out);
        }
        self.settle_overdue(server, out);
    }

    /// Holds end at their deadline, whatever stands before them.
    fn settle_overdue(&mut self, server: &Server, out: &mut BytesMut) {
        let now = Instant::now();
        if self.deadline().is_none_or(|first| first > now) {
            return;
        }
        self.durable.retain(|(_, answer, held)| {
            let overdue = matches!(held, Held::Until(until) if *until <= now);
            if overdue {
                send(server, *answer, Word::DeadlinePassed, out);
            }
            !overdue
        });
    }

    /// Kafka acknowledges in any order. While it is away, a hold that has begun ends at once: the first one has waited
    /// for all.
    fn settle_offloaded(
        &mut self,
        holds: &Holds,
        synced: Position,
        server: &Server,
        out: &mut BytesMut,
    ) {
        let now = Instant::now();
        self.offloaded.retain(|(end, answer, until)| {
            let word = if *end <= synced && holds.is_delivered(*end) {
                Word::Durable
            } else if *until <= now {
                holds.overdue();
                Word::DeadlinePassed
            } else if holds.is_away() {
                Word::KafkaAway
            } else {
                return true;
            };
            holds.forget(*end);
            send(server, *answer, word, out);
            false
        });
    }

    /// The connection ends, and nobody waits any more.
    fn forget(&self, server: &Server) {
        if let Some(holds) = &server.holds {
            self.offloaded
                .iter()
                .for_each(|(end, _, _)| holds.forget(*end));
        }
    }

    /// When the first hold is over.
    fn deadline(&self) -> Option<Instant> {
        let durable = self.durable.iter().find_map(|(_, _, held)| match held {
            Held::Until(until) => Some(*until),
            Held::No => None,
        });
        let offloaded = self.offloaded.front().map(|(_, _, until)| *until);
        durable.into_iter().chain(offloaded).min()
    }

    /// Waits until the journal has come so far that an ACK may be due. A journal that cannot says so at
    /// once; then it is asked again after a moment.
    async fn progress(&self, server: &Server) {
        const MOMENT: Duration = Duration::from_millis(50);
        let journal = &server.journal;
        let written = async {
            match self.written.front() {
                Some((end, _)) => journal.wait(*end, Level::Write).await,
                None => std::future::pending().await,
            }
        };
        let durable = async {
            match self.durable.front() {
                Some((end, _, _)) => journal.wait(*end, Level::Sync).await,
                None => std::future::pending().await,
            }
        };
        let offloaded = async {
            match (&server.holds, self.offloaded.back()) {
                (Some(holds), Some((last, _, _))) => {
                    self.offload_progress(holds, *last, journal).await
                }
                _ => std::future::pending().await,
            }
        };
        let reached = tokio::select! {
            reached = written => reached,
            reached = durable => reached,
            reached = offloaded => reached,
        };
        if reached.is_err() {
            tokio::time::sleep(MOMENT).await;
        }
    }

    /// Waits until Kafka has one of the halves, and the journal is durable up to there.
    async fn offload_progress(
        &self,
        holds: &Holds,
        last: Position,
        journal: &Journal,
    ) -> Result<(), WaitError> {
        let mut news = holds.news();
        // It is on its way to the disk while Kafka takes it.
        let synced = journal.wait(last, Level::Sync).await;
        loop {
            let mut waiting = self.offloaded.iter();
            if holds.is_away() || waiting.any(|(end, _, _)| holds.is_delivered(*end)) {
                return synced;
            }
            // The sender lives as long as the holds do.
            if news.changed().await.is_err() {
                return synced;
            }
        }
    }
}

/// What an ACK says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Nothing,
    /// A held write is durable: HAProxy's rules let it go on.
    Durable,
    /// A held write is not durable in time: HAProxy's rules let it go on or deny it.
    DeadlinePassed,
    /// Another write has waited for Kafka in vain, and this one did not have to.
    KafkaAway,
}

fn send(server: &Server, answer: Answer, word: Word, out: &mut BytesMut) {
    let actions = match word {
        Word::Durable => &server.words.durable,
        Word::Nothing | Word::DeadlinePassed | Word::KafkaAway => &server.words.nothing,
    };
    ack::encode(out, answer.stream_id, answer.frame_id, actions);
    let after = answer.began.elapsed();
    match word {
        Word::Nothing => {}
        Word::Durable => server.capture.release(HoldOutcome::Durable, after),
        Word::DeadlinePassed => server.capture.release(HoldOutcome::Deadline, after),
        Word::KafkaAway => server.capture.release(HoldOutcome::KafkaAway, after),
    }
    server.accounts.acked(after);
}

/// The two answers that the agent has.
#[derive(Debug)]
pub(super) struct Words {
    /// Not empty: HAProxy 3.1.0 loses an empty ACK.
    nothing: Actions,
    /// Sets `txn.<var-prefix>.durable`.
    durable: Actions,
}

impl Default for Words {
    fn default() -> Self {
        let durable = Action::SetVar {
            scope: Scope::Transaction,
            name: b"durable",
            value: Value::Bool(true),
        };
        let nothing = Actions::harmless();
        Self {
            durable: Actions::new(&[durable]).unwrap_or_else(|_| nothing.clone()),
            nothing,
        }
    }
}

fn report(server: &Server, end: End, greeted: bool) {
    match end {
        End::Left | End::Checked | End::Closing => {
            tracing::debug!(?end, "connection ended");
        }
        End::Complaint(status, message) => server.accounts.peer_complained(status, &message),
        End::Fault(error) => server.accounts.protocol_broken(&error, !greeted),
        End::Silent => server.accounts.hello_missing(server.limits.hello_timeout),
        // RST and broken pipes: HAProxy was killed, or gave up a connection of its storm.
        End::Io(error) => tracing::debug!(%error, "connection ended"),
    }
}
