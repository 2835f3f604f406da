//! Every metric of the agent: its name, its help, its labels.
//!
//! [`Metrics::register`] makes them all in a registry that the caller owns. What is handed out are
//! handles: counting is an addition to an atomic, without a look-up or a lock. Labels are enums, so a
//! metric has as many series as its enum has words, all of them there, at 0, from the start. Where
//! something comes and goes there are two counters, one for each; their difference is the number
//! in between, at any moment and over any time.
//!
//! What the journal and the shadow count for themselves is read when somebody asks, through
//! [`Metrics::observe_journal`] and [`Metrics::observe_shadow`].

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use journal::{CursorLag, Health, Journal};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Registry, Unit};

pub use super::histogram::DurationHistogram;
use super::process;

/// Upper bounds from 50 microseconds to 10 seconds: from an ACK out of memory to a hung disk.
const BOUNDS: &[Duration] = &[
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(10),
];

/// The handles of everything that is counted while it happens.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// HAProxy's connections and frames.
    pub server: ServerMetrics,
    /// Halves on their way into the journal.
    pub capture: CaptureMetrics,
    /// What the shadow answers.
    pub shadow: ShadowMetrics,
    /// Lines of the traffic log.
    pub traffic_log: LineLogMetrics,
    /// Lines of the pair log.
    pub pair_log: LineLogMetrics,
    /// Messages of exchanges to Kafka.
    pub kafka: OffloadMetrics,
    /// Messages of pairs to Kafka.
    pub kafka_pairs: OffloadMetrics,
    /// Pairs on their way into the journal.
    pub pairs: PairMetrics,
    /// What was given up, on its way into the dead-letter file.
    pub dead_letters: DeadLetterMetrics,
    /// What may differ on the shadow.
    pub ambiguous: AmbiguousMetrics,
    /// Files that were read again.
    pub reloads: ReloadMetrics,
    followers: FollowerCounts,
}

impl Metrics {
    /// Makes every metric in `registry`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        registry.register_collector(Box::new(ProcessReading));
        let registry = named(registry);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running program", build);
        Self {
            server: ServerMetrics::register(registry),
            capture: CaptureMetrics::register(registry),
            shadow: ShadowMetrics::register(registry),
            traffic_log: LineLogMetrics::register("traffic_log", registry),
            pair_log: LineLogMetrics::register("pair_log", registry),
            kafka: OffloadMetrics::register("kafka", registry),
            kafka_pairs: OffloadMetrics::register("kafka_pairs", registry),
            pairs: PairMetrics::register(registry),
            dead_letters: DeadLetterMetrics::register(registry),
            ambiguous: AmbiguousMetrics::register(registry),
            reloads: ReloadMetrics::register(registry),
            followers: FollowerCounts::register(registry),
        }
    }

    /// The handles of one follower.
    #[must_use]
    pub fn follower(&self, follower: Follower) -> FollowerMetrics {
        FollowerMetrics {
            follower,
            counts: self.followers.clone(),
        }
    }

    /// Shows what the journal says of itself, and how far its cursors are.
    pub fn observe_journal(registry: &mut Registry, journal: Journal) {
        named(registry).register_collector(Box::new(JournalCollector(journal)));
    }

    /// Shows what the shadow's engine counts.
    pub fn observe_shadow(registry: &mut Registry, counters: Arc<shadow::Counters>) {
        named(registry).register_collector(Box::new(ShadowCollector(counters)));
    }
}

/// All our names begin alike.
fn named(registry: &mut Registry) -> &mut Registry {
    registry.sub_registry_with_prefix("spoa_agent")
}

// ---------------------------------------------------------------------------------------------
// Labels

/// The values of one label: an enum of words.
pub trait Label: Copy + fmt::Debug + Send + Sync + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// Every value, in the order of [`Label::index`].
    const ALL: &'static [Self];

    /// The place of the value in [`Label::ALL`].
    fn index(self) -> usize;

    /// The value as it is shown.
    fn as_str(self) -> &'static str;
}

/// Defines enums that are labels.
macro_rules! labels {
    ($(
        $(#[$meta:meta])*
        $Name:ident as $label:literal { $( $(#[$variant_meta:meta])* $Variant:ident = $text:literal, )* }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $Name { $( $(#[$variant_meta])* $Variant, )* }

        impl Label for $Name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$( Self::$Variant, )*];

            fn index(self) -> usize {
                self as usize
            }

            fn as_str(self) -> &'static str {
                match self { $( Self::$Variant => $text, )* }
            }
        }
    )*};
}

labels! {
    /// Why a connection was refused before it said anything.
    ConnectionRefusal as "reason" {
        /// `server.max_connections` was reached.
        Limit = "limit",
        /// The agent is ending.
        Shutdown = "shutdown",
        /// The system could not give us the connection.
        Accept = "accept",
    }

    /// How a hello ended.
    Hello as "outcome" {
        /// HAProxy may send messages.
        Ok = "ok",
        /// HAProxy asked whether we are well, and we are.
        HealthCheck = "health_check",
        /// HAProxy asked whether we are well, and was told that we are not.
        HealthCheckRefused = "health_check_refused",
        /// The hello was not acceptable, or no message may come now.
        Refused = "refused",
        /// None came within `server.hello_timeout`.
        Timeout = "timeout",
    }

    /// The status code of a DISCONNECT that we sent because of what came in (SPOE.txt, 3.2.5).
    ProtocolError as "status" {
        /// 1.
        Io = "io",
        /// 2.
        Timeout = "timeout",
        /// 3.
        TooBig = "too_big",
        /// 4.
        Invalid = "invalid",
        /// 5 to 9: a hello that lacks something or asks for something else.
        Hello = "hello",
        /// 10 to 12: fragments, which we do not announce.
        Fragment = "fragment",
        /// 13.
        Resources = "resources",
        /// Any other.
        Other = "other",
    }

    /// Which half.
    HalfKind as "half" {
        /// The request half.
        Request = "request",
        /// The response half.
        Response = "response",
    }

    /// Why a half is not in the journal.
    HalfRefusal as "reason" {
        /// The message is not as the contract says.
        Contract = "contract",
        /// The journal's disk budget is used up.
        JournalFull = "journal_full",
        /// The journal's buffer is full.
        Backlog = "backlog",
        /// The record is longer than the journal takes.
        TooBig = "too_big",
        /// The disk fails.
        Failed = "failed",
    }

    /// How much of a body was captured.
    BodyExtent as "extent" {
        /// Every byte.
        Whole = "whole",
        /// A prefix.
        Cut = "cut",
        /// Nothing.
        NotCaptured = "not_captured",
    }

    /// How a hold ended.
    HoldOutcome as "outcome" {
        /// The half was on disk in time.
        Durable = "durable",
        /// `capture.hold_deadline`, or `kafka.hold_deadline`, passed first.
        Deadline = "deadline",
        /// Kafka is away: another hold passed its deadline, and nothing was delivered since.
        KafkaAway = "kafka_away",
        /// The journal refused or could not write the half.
        Failed = "failed",
    }

    /// What became of a file that was read again.
    ReloadResult as "result" {
        /// What it says is in force.
        Replaced = "replaced",
        /// It cannot be used; what was in force stays.
        Refused = "refused",
    }

    /// Which follower.
    Follower as "follower" {
        /// The one that sends requests to the shadow.
        Shadow = "shadow",
        /// The one that writes the traffic log.
        TrafficLog = "traffic_log",
        /// The one that writes the pair log. What it counts as exchanges are pairs.
        PairLog = "pair_log",
        /// The one that writes exchanges to Kafka.
        Kafka = "kafka",
        /// The one that writes pairs to Kafka. What it counts as exchanges are pairs.
        KafkaPairs = "kafka_pairs",
    }

    /// Why a follower passed an exchange over.
    FilterReason as "reason" {
        /// Only its response was seen.
        NoRequest = "no_request",
        /// A `CONNECT` is not meant for a search cluster.
        Tunnel = "tunnel",
        /// The primary refused it.
        Refused = "refused",
        /// It changed nothing on the primary.
        NoEffect = "no_effect",
        /// A rule denies it.
        Denied = "denied",
        /// A rule takes a sample, and it is not in it.
        NotSampled = "not_sampled",
        /// What was read from the primary to settle something ambiguous shows it already.
        Superseded = "superseded",
        /// Any other.
        Other = "other",
    }

    /// Why a follower lost an exchange.
    DropReason as "reason" {
        /// The end of its body was not captured.
        BodyCut = "body_cut",
        /// Nothing of its body was captured.
        BodyNotCaptured = "body_not_captured",
        /// HTTP/1.1 has no way to say it.
        Unsendable = "unsendable",
        /// The primary chose the ids of its documents, and its answer does not tell them.
        IdUnknown = "id_unknown",
        /// It carries an id of a scroll or the like that the shadow does not know.
        Unmappable = "unmappable",
        /// A rule renames an index in it where it cannot be renamed.
        Unrenamable = "unrenamable",
        /// What the primary did of it cannot be said in a request.
        Uncomposable = "uncomposable",
        /// It failed again and again while others did not.
        Poison = "poison",
        /// The record is no half.
        Undecodable = "undecodable",
        /// A broker refuses its size, even in the smallest parts.
        TooLarge = "too_large",
        /// The brokers refuse its message again and again, while they are there.
        Invalid = "invalid",
        /// Any other.
        Other = "other",
    }

    /// Why something is ambiguous.
    Ambiguity as "reason" {
        /// Two writes of one document overlapped, and the sequence of one is not known.
        Unsequenced = "unsequenced",
        /// A later write of the document had gone already.
        Overtaken = "overtaken",
        /// Others were let go without this write's answer.
        Released = "released",
        /// A write and an operation on the whole index overlapped.
        Overlap = "overlap",
        /// No refresh is known between a write and an operation on what a search sees.
        Unrefreshed = "unrefreshed",
        /// No answer came.
        NoAnswer = "no_answer",
        /// The answer cannot be read.
        AnswerUnread = "answer_unread",
        /// A gateway answered for the primary.
        Gateway = "gateway",
        /// The primary refused it in a way in which it may have been done.
        MayBeDone = "may_be_done",
        /// The primary chose an id that nobody knows.
        IdUnknown = "id_unknown",
        /// The items of a `_bulk` cannot be read.
        ItemsUnread = "items_unread",
        /// A by-query operation was done in part.
        Partly = "partly",
        /// It goes on in the background.
        Background = "background",
        /// It was found to differ when a whole index was ambiguous.
        Different = "different",
        /// The shadow refused what the primary accepted.
        Refused = "refused_by_the_shadow",
        /// The write was not sent, or not to the end.
        Lost = "lost",
    }

    /// The class of a status code from the shadow.
    StatusClass as "class" {
        /// 100 to 199.
        Informational = "1xx",
        /// 200 to 299.
        Success = "2xx",
        /// 300 to 399.
        Redirection = "3xx",
        /// 400 to 499.
        ClientError = "4xx",
        /// 500 to 599.
        ServerError = "5xx",
        /// Any other number.
        Other = "other",
    }

    /// What came between a message and its delivery.
    KafkaFault as "fault" {
        /// No broker answers.
        Unreachable = "unreachable",
        /// The brokers do not let the agent in, or not do what it wants to do.
        Refused = "refused",
        /// The topic is not there.
        Topic = "topic",
        /// A message is larger than the topic takes.
        Size = "size",
        /// The brokers refuse what a message is: by its time, or by a rule of theirs.
        Invalid = "invalid",
        /// The producer lost its place in a partition and was replaced.
        Sequence = "sequence",
        /// The producer's queue was full for a moment.
        QueueFull = "queue_full",
        /// Any other.
        Other = "other",
    }

    /// Why a log began a new file.
    RotationReason as "reason" {
        /// Its `rotate_size`.
        Size = "size",
        /// Its `rotate_age`.
        Age = "age",
    }

    /// Why a pair is not in the journal.
    PairLoss as "reason" {
        /// The journal's disk budget is used up.
        JournalFull = "journal_full",
        /// The journal's buffer was full to the end.
        Backlog = "backlog",
        /// The record is longer than the journal takes.
        TooBig = "too_big",
        /// The disk fails.
        Failed = "failed",
    }

    /// Why a dead letter is not in the file, or no longer.
    LetterLoss as "reason" {
        /// `dead_letter.max_bytes` is reached, and new letters are refused.
        Full = "full",
        /// `dead_letter.max_bytes` was reached, and the oldest letters made way.
        Oldest = "oldest",
        /// It is longer than the whole file may be.
        TooBig = "too_big",
        /// The file cannot be written.
        Failed = "failed",
    }
}

impl Ambiguity {
    /// The label of a word of the shadow engine.
    #[must_use]
    pub fn of(word: &str) -> Self {
        let is_it = |label: &&Self| {
            let words = label.as_str().split('_');
            words.eq(word.split(' '))
        };
        // What is not known by another word was dropped.
        Self::ALL.iter().find(is_it).copied().unwrap_or(Self::Lost)
    }
}

impl ProtocolError {
    /// The label of a status code.
    #[must_use]
    pub fn of_status(status: u32) -> Self {
        match status {
            1 => Self::Io,
            2 => Self::Timeout,
            3 => Self::TooBig,
            4 => Self::Invalid,
            5..=9 => Self::Hello,
            10..=12 => Self::Fragment,
            13 => Self::Resources,
            _other => Self::Other,
        }
    }
}

impl StatusClass {
    /// The class of a status code.
    #[must_use]
    pub fn of(status: u16) -> Self {
        match status {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            500..=599 => Self::ServerError,
            _other => Self::Other,
        }
    }
}

impl From<shadow::Filtered> for FilterReason {
    fn from(reason: shadow::Filtered) -> Self {
        match reason {
            shadow::Filtered::NoRequest => Self::NoRequest,
            shadow::Filtered::Tunnel => Self::Tunnel,
            shadow::Filtered::Refused => Self::Refused,
            shadow::Filtered::NoEffect => Self::NoEffect,
            shadow::Filtered::Denied => Self::Denied,
            shadow::Filtered::NotSampled => Self::NotSampled,
            shadow::Filtered::Superseded => Self::Superseded,
            _newer => Self::Other,
        }
    }
}

impl From<shadow::Dropped> for DropReason {
    fn from(reason: shadow::Dropped) -> Self {
        match reason {
            shadow::Dropped::BodyCut => Self::BodyCut,
            shadow::Dropped::BodyNotCaptured => Self::BodyNotCaptured,
            shadow::Dropped::Unsendable(_) => Self::Unsendable,
            shadow::Dropped::IdUnknown => Self::IdUnknown,
            shadow::Dropped::Unmappable(_) => Self::Unmappable,
            shadow::Dropped::Unrenamable => Self::Unrenamable,
            shadow::Dropped::Uncomposable => Self::Uncomposable,
            shadow::Dropped::Poison { .. } => Self::Poison,
            _newer => Self::Other,
        }
    }
}

/// Counters, one per value of a label.
#[derive(Debug)]
pub struct Counts<L> {
    cells: Arc<[AtomicU64]>,
    label: PhantomData<fn() -> L>,
}

/// Counters, one per pair of values of two labels.
#[derive(Debug)]
pub struct Counts2<A, B> {
    cells: Arc<[AtomicU64]>,
    labels: PhantomData<fn() -> (A, B)>,
}

impl<L> Clone for Counts<L> {
    fn clone(&self) -> Self {
        Self {
            cells: Arc::clone(&self.cells),
            label: PhantomData,
        }
    }
}

impl<A, B> Clone for Counts2<A, B> {
    fn clone(&self) -> Self {
        Self {
            cells: Arc::clone(&self.cells),
            labels: PhantomData,
        }
    }
}

impl<L: Label> Default for Counts<L> {
    fn default() -> Self {
        let cells = L::ALL.iter().map(|_| AtomicU64::new(0)).collect();
        Self {
            cells,
            label: PhantomData,
        }
    }
}

impl<A: Label, B: Label> Default for Counts2<A, B> {
    fn default() -> Self {
        let cells = (0..A::ALL.len() * B::ALL.len())
            .map(|_| AtomicU64::new(0))
            .collect();
        Self {
            cells,
            labels: PhantomData,
        }
    }
}

impl<L: Label> Counts<L> {
    /// Adds one.
    pub fn inc(&self, label: L) {
        self.add(label, 1);
    }

    /// Adds `count`.
    pub fn add(&self, label: L, count: u64) {
        if let Some(cell) = self.cells.get(label.index()) {
            cell.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self, label: L) -> u64 {
        self.cells
            .get(label.index())
            .map_or(0, |cell| cell.load(Ordering::Relaxed))
    }
}

impl<A: Label, B: Label> Counts2<A, B> {
    /// Adds one.
    pub fn inc(&self, a: A, b: B) {
        self.add(a, b, 1);
    }

    /// Adds `count`.
    pub fn add(&self, a: A, b: B, count: u64) {
        if let Some(cell) = self.cell(a, b) {
            cell.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self, a: A, b: B) -> u64 {
        self.cell(a, b)
            .map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    fn cell(&self, a: A, b: B) -> Option<&AtomicU64> {
        self.cells.get(a.index() * B::ALL.len() + b.index())
    }
}

impl<L: Label> TypedMetric for Counts<L> {
    const TYPE: MetricType = MetricType::Counter;
}

impl<L: Label> EncodeMetric for Counts<L> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for label in L::ALL {
            let labels = [(L::NAME, label.as_str())];
            encoder
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, u64>(&self.get(*label), None)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl<A: Label, B: Label> TypedMetric for Counts2<A, B> {
    const TYPE: MetricType = MetricType::Counter;
}

impl<A: Label, B: Label> EncodeMetric for Counts2<A, B> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for a in A::ALL {
            for b in B::ALL {
                let labels = [(A::NAME, a.as_str()), (B::NAME, b.as_str())];
                encoder
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, u64>(&self.get(*a, *b), None)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

// ---------------------------------------------------------------------------------------------
// The server

/// HAProxy's connections and frames.
#[derive(Debug, Clone)]
pub struct ServerMetrics {
    /// Connections accepted.
    pub connections_opened: Counter,
    /// Accepted connections that have ended.
    pub connections_closed: Counter,
    /// Connections closed before a word was said.
    pub connections_refused: Counts<ConnectionRefusal>,
    /// Hellos by how they ended.
    pub hellos: Counts<Hello>,
    /// Connections ended because of what came in.
    pub protocol_errors: Counts<ProtocolError>,
    /// Frames received, of all types.
    pub frames_received: Counter,
    /// Bytes received, lengths included.
    pub received_bytes: Counter,
    /// ACKs written.
    pub acks_sent: Counter,
    /// ACKs of halves that had not come as far as `journal.ack` says, because the journal was failing.
    pub acks_early: Counter,
    /// From the last byte of a NOTIFY to its ACK in the queue to the socket.
    pub ack_latency: DurationHistogram,
}

impl ServerMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            connections_opened: Counter::default(),
            connections_closed: Counter::default(),
            connections_refused: Counts::default(),
            hellos: Counts::default(),
            protocol_errors: Counts::default(),
            frames_received: Counter::default(),
            received_bytes: Counter::default(),
            acks_sent: Counter::default(),
            acks_early: Counter::default(),
            ack_latency: DurationHistogram::new(BOUNDS),
        };
        registry.register(
            "connections_opened",
            "Connections from HAProxy accepted",
            metrics.connections_opened.clone(),
        );
        registry.register(
            "connections_closed",
            "Connections from HAProxy that have ended",
            metrics.connections_closed.clone(),
        );
        registry.register_collector(Box::new(OpenConnections(metrics.clone())));
        registry.register(
            "connections_refused",
            "Connections from HAProxy closed before a word was said",
            metrics.connections_refused.clone(),
        );
        registry.register(
            "hellos",
            "HAPROXY-HELLOs by how they ended",
            metrics.hellos.clone(),
        );
        registry.register(
            "protocol_errors",
            "Connections ended with an AGENT-DISCONNECT because of what came in",
            metrics.protocol_errors.clone(),
        );
        registry.register(
            "frames_received",
            "Frames received from HAProxy",
            metrics.frames_received.clone(),
        );
        registry.register_with_unit(
            "received",
            "Bytes received from HAProxy",
            Unit::Bytes,
            metrics.received_bytes.clone(),
        );
        registry.register(
            "acks_sent",
            "ACKs written to HAProxy",
            metrics.acks_sent.clone(),
        );
        registry.register(
            "acks_early",
            "ACKs that did not wait for a failing journal",
            metrics.acks_early.clone(),
        );
        registry.register_with_unit(
            "ack_latency",
            "From the last byte of a NOTIFY to its ACK in the queue to the socket",
            Unit::Seconds,
            metrics.ack_latency.clone(),
        );
        metrics
    }
}

/// The difference of two counters, so that it cannot drift from them.
#[derive(Debug)]
struct OpenConnections(ServerMetrics);

impl Collector for OpenConnections {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Closed first: a connection that opens and closes in between must not make it negative.
        let closed = self.0.connections_closed.get();
        let open = self.0.connections_opened.get().saturating_sub(closed);
        gauge(
            &mut encoder,
            "connections_open",
            "Connections from HAProxy that are open",
            None,
            open,
        )
    }
}

// ---------------------------------------------------------------------------------------------
// Capture

/// Halves on their way into the journal: received = captured + refused.
#[derive(Debug, Clone)]
pub struct CaptureMetrics {
    /// Halves that HAProxy told us.
    pub received: Counts<HalfKind>,
    /// Halves that the journal took.
    pub captured: Counts<HalfKind>,
    /// Halves that are not in the journal.
    pub refused: Counts2<HalfKind, HalfRefusal>,
    /// Messages that the contract does not have.
    pub unknown_messages: Counter,
    /// Bodies of captured halves.
    pub bodies: Counts2<HalfKind, BodyExtent>,
    /// Bytes of captured bodies.
    pub body_bytes: Counts<HalfKind>,
    /// Held writes whose hold has begun.
    pub held: Counter,
    /// Held writes by how the hold ended.
    pub released: Counts<HoldOutcome>,
    /// How long holds took.
    pub hold: DurationHistogram,
}

impl CaptureMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            received: Counts::default(),
            captured: Counts::default(),
            refused: Counts2::default(),
            unknown_messages: Counter::default(),
            bodies: Counts2::default(),
            body_bytes: Counts::default(),
            held: Counter::default(),
            released: Counts::default(),
            hold: DurationHistogram::new(BOUNDS),
        };
        registry.register(
            "halves_received",
            "Halves told by HAProxy",
            metrics.received.clone(),
        );
        registry.register(
            "halves_captured",
            "Halves the journal took",
            metrics.captured.clone(),
        );
        registry.register(
            "halves_refused",
            "Halves that are not in the journal, by reason",
            metrics.refused.clone(),
        );
        registry.register(
            "unknown_messages",
            "Messages that are not part of the contract",
            metrics.unknown_messages.clone(),
        );
        registry.register(
            "bodies",
            "Captured halves by the extent of their body",
            metrics.bodies.clone(),
        );
        registry.register_with_unit(
            "body",
            "Bytes of captured bodies",
            Unit::Bytes,
            metrics.body_bytes.clone(),
        );
        registry.register(
            "holds_begun",
            "Held writes whose hold has begun",
            metrics.held.clone(),
        );
        registry.register(
            "holds_ended",
            "Held writes by how their hold ended",
            metrics.released.clone(),
        );
        registry.register_with_unit(
            "hold",
            "How long held writes were held",
            Unit::Seconds,
            metrics.hold.clone(),
        );
        metrics
    }
}

// ---------------------------------------------------------------------------------------------
// The journal

#[derive(Debug)]
struct JournalCollector(Journal);

impl Collector for JournalCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = self.0.stats();
        let e = &mut encoder;
        let bytes = Some(&Unit::Bytes);
        // Places only grow, over restarts too, so they are counters since the journal began.
        let help = "Records appended since the journal began";
        counter(
            e,
            "journal_appended_records",
            help,
            None,
            now.appended.sequence,
        )?;
        let help = "Bytes appended since the journal began";
        counter(e, "journal_appended", help, bytes, now.appended.position)?;
        let help = "Records of these handed to the kernel";
        counter(
            e,
            "journal_written_records",
            help,
            None,
            now.written.sequence,
        )?;
        let help = "Bytes of these handed to the kernel";
        counter(e, "journal_written", help, bytes, now.written.position)?;
        counter(
            e,
            "journal_synced",
            "Bytes of these on disk",
            bytes,
            now.synced,
        )?;
        let help = "Bytes of these deleted to make room";
        counter(e, "journal_deleted", help, bytes, now.oldest.position)?;
        gauge(e, "journal_disk", "Bytes of all segments", bytes, now.bytes)?;
        gauge(e, "journal_segments", "Segments", None, now.segments as u64)?;
        let healthy = u64::from(self.0.health() == Health::Ok);
        gauge(
            e,
            "journal_healthy",
            "1 when the journal takes records",
            None,
            healthy,
        )?;
        let help = "Bytes of the journal that a follower is not done with";
        per_cursor(e, "cursor_lag", help, bytes, &now.cursors, |cursor| {
            cursor.bytes
        })?;
        let help = "Records of the journal that a follower is not done with";
        per_cursor(
            e,
            "cursor_lag_records",
            help,
            None,
            &now.cursors,
            |cursor| cursor.records,
        )
    }
}

/// One series per cursor: their names come from this program and from who ran it with others before.
fn per_cursor(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    cursors: &[CursorLag],
    value: impl Fn(&CursorLag) -> u64,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for cursor in cursors {
        let labels = [("cursor", cursor.name.as_str())];
        family
            .encode_family(&labels)?
            .encode_gauge(&value(cursor))?;
    }
    Ok(())
}

// ---------------------------------------------------------------------------------------------
// Followers

/// One follower's counts: read = delivered + filtered + dropped + in flight.
#[derive(Debug, Clone)]
pub struct FollowerMetrics {
    follower: Follower,
    counts: FollowerCounts,
}

#[derive(Debug, Clone)]
struct FollowerCounts {
    read: Counts<Follower>,
    delivered: Counts<Follower>,
    filtered: Counts2<Follower, FilterReason>,
    dropped: Counts2<Follower, DropReason>,
    lost_records: Counts<Follower>,
}

impl FollowerCounts {
    fn register(registry: &mut Registry) -> Self {
        let counts = Self {
            read: Counts::default(),
            delivered: Counts::default(),
            filtered: Counts2::default(),
            dropped: Counts2::default(),
            lost_records: Counts::default(),
        };
        registry.register(
            "follower_read",
            "Exchanges read from the journal",
            counts.read.clone(),
        );
        registry.register_collector(Box::new(InFlight(counts.clone())));
        registry.register(
            "follower_delivered",
            "Exchanges delivered",
            counts.delivered.clone(),
        );
        registry.register(
            "follower_filtered",
            "Exchanges passed over as configured, by reason",
            counts.filtered.clone(),
        );
        registry.register(
            "follower_dropped",
            "Exchanges lost, by reason",
            counts.dropped.clone(),
        );
        registry.register(
            "follower_lost_records",
            "Records of the journal that were deleted or damaged before they were read",
            counts.lost_records.clone(),
        );
        counts
    }

    fn in_flight(&self, follower: Follower) -> u64 {
        // What has ended first: an exchange that is read and ends in between must not make it negative.
        let filtered = FilterReason::ALL
            .iter()
            .map(|reason| self.filtered.get(follower, *reason));
        let dropped = DropReason::ALL
            .iter()
            .map(|reason| self.dropped.get(follower, *reason));
        let ended = self.delivered.get(follower) + filtered.chain(dropped).sum::<u64>();
        self.read.get(follower).saturating_sub(ended)
    }
}

impl FollowerMetrics {
    /// Counts an exchange that was read.
    pub fn read(&self) {
        self.counts.read.inc(self.follower);
    }

    /// Counts an exchange that was delivered.
    pub fn delivered(&self) {
        self.counts.delivered.inc(self.follower);
    }

    /// Counts an exchange that was passed over.
    pub fn filtered(&self, reason: FilterReason) {
        self.counts.filtered.inc(self.follower, reason);
    }

    /// Counts an exchange that was lost.
    pub fn dropped(&self, reason: DropReason) {
        self.counts.dropped.inc(self.follower, reason);
    }

    /// Exchanges read and not finished.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.counts.in_flight(self.follower)
    }

    /// Counts records that were gone before they were read.
    pub fn lost_records(&self, records: u64) {
        self.counts.lost_records.add(self.follower, records);
    }
}

/// The difference of the counters, so that it cannot drift from them.
#[derive(Debug)]
struct InFlight(FollowerCounts);

impl Collector for InFlight {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Exchanges read and not finished";
        let mut family =
            encoder.encode_descriptor("follower_in_flight", help, None, MetricType::Gauge)?;
        for follower in Follower::ALL {
            let labels = [(Follower::NAME, follower.as_str())];
            family
                .encode_family(&labels)?
                .encode_gauge(&self.0.in_flight(*follower))?;
        }
        Ok(())
    }
}

/// What the shadow answers.
#[derive(Debug, Clone)]
pub struct ShadowMetrics {
    /// Its answers by the class of their status.
    pub responses: Counts<StatusClass>,
    /// From the first byte sent to the last byte of the answer.
    pub latency: DurationHistogram,
}

impl ShadowMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            responses: Counts::default(),
            latency: DurationHistogram::new(BOUNDS),
        };
        registry.register(
            "shadow_responses",
            "Answers by class",
            metrics.responses.clone(),
        );
        registry.register_with_unit(
            "shadow_latency",
            "From the first byte sent to the shadow to the last byte of its answer",
            Unit::Seconds,
            metrics.latency.clone(),
        );
        metrics
    }
}

/// What may differ on the shadow.
#[derive(Debug, Clone)]
pub struct AmbiguousMetrics {
    /// Found, by reason; the same document as often as it is found.
    pub found: Counts<Ambiguity>,
    /// Found and not listed, for the list is full or cannot be written.
    pub unlisted: Counter,
}

impl AmbiguousMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            found: Counts::default(),
            unlisted: Counter::default(),
        };
        registry.register(
            "shadow_ambiguous",
            "Documents, indices and exchanges of which the captured halves do not tell what the primary did",
            metrics.found.clone(),
        );
        registry.register(
            "shadow_ambiguous_unlisted",
            "Of these, those that the list has no room for",
            metrics.unlisted.clone(),
        );
        metrics
    }
}

/// Files that were read again on SIGHUP.
#[derive(Debug, Clone)]
pub struct ReloadMetrics {
    /// The shadow's rules.
    pub rules: Counts<ReloadResult>,
    /// The shadow's credentials.
    pub credentials: Counts<ReloadResult>,
}

impl ReloadMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            rules: Counts::default(),
            credentials: Counts::default(),
        };
        registry.register(
            "rules_reloads",
            "Times that the shadow's rules were read again, by result",
            metrics.rules.clone(),
        );
        registry.register(
            "credentials_reloads",
            "Times that the shadow's credentials were read again, by result",
            metrics.credentials.clone(),
        );
        metrics
    }
}

#[derive(Debug)]
struct ShadowCollector(Arc<shadow::Counters>);

impl Collector for ShadowCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = &self.0;
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let e = &mut encoder;
        let bytes = Some(&Unit::Bytes);
        counter(
            e,
            "shadow_offered",
            "Exchanges taken",
            None,
            read(&counts.offered),
        )?;
        counter(
            e,
            "shadow_settled",
            "Exchanges with an outcome",
            None,
            read(&counts.settled),
        )?;
        gauge(
            e,
            "shadow_held",
            "Exchanges without one",
            None,
            read(&counts.held),
        )?;
        gauge(
            e,
            "shadow_held",
            "Memory that these hold",
            bytes,
            read(&counts.held_bytes),
        )?;
        gauge(
            e,
            "shadow_sending",
            "Exchanges being sent",
            None,
            read(&counts.in_flight),
        )?;
        gauge(
            e,
            "shadow_sending_limit",
            "Exchanges that may be sent at a time",
            None,
            read(&counts.allowed),
        )?;
        gauge(
            e,
            "shadow_retrying",
            "Exchanges to be sent again",
            None,
            read(&counts.retrying),
        )?;
        counter(
            e,
            "shadow_attempts",
            "Requests begun",
            None,
            read(&counts.attempts),
        )?;
        let help = "Exchanges put back because of trouble with the shadow";
        counter(e, "shadow_retries", help, None, read(&counts.retries))?;
        let help = "Requests repeated at once because a kept connection was closed";
        counter(
            e,
            "shadow_stale_retries",
            help,
            None,
            read(&counts.stale_retries),
        )?;
        counter(
            e,
            "shadow_connects",
            "Connections made",
            None,
            read(&counts.connects),
        )?;
        let help = "Connections that could not be made";
        counter(
            e,
            "shadow_connect_failures",
            help,
            None,
            read(&counts.connect_failures),
        )?;
        let help = "Requests that asked only whether the shadow lives";
        counter(e, "shadow_probes", help, None, read(&counts.probes))?;
        let help = "Times the shadow was found down";
        counter(e, "shadow_downs", help, None, read(&counts.target_downs))?;
        gauge(
            e,
            "shadow_down",
            "1 while the shadow is down",
            None,
            read(&counts.target_down),
        )?;
        let help = "Ambiguous documents that wait to be read from the primary";
        let pending = read(&counts.resolve_pending);
        gauge(e, "shadow_resolve_pending", help, None, pending)?;
        let help = "Ambiguous documents that were settled by reading them from the primary";
        counter(e, "shadow_resolved", help, None, read(&counts.resolved))?;
        let help = "Ambiguous documents that could not be settled so";
        counter(e, "shadow_unresolved", help, None, read(&counts.unresolved))?;
        let help = "Failed attempts to settle an ambiguous document";
        let failures = read(&counts.resolve_failures);
        counter(e, "shadow_resolve_failures", help, None, failures)?;
        let help = "Writes of documents left out, for what was read from the primary shows them";
        counter(e, "shadow_superseded", help, None, read(&counts.superseded))?;
        counter(
            e,
            "shadow_sent",
            "Bytes of requests",
            bytes,
            read(&counts.bytes_sent),
        )?;
        counter(
            e,
            "shadow_received",
            "Bytes of answers",
            bytes,
            read(&counts.bytes_received),
        )
    }
}

/// Lines of a log.
#[derive(Debug, Clone)]
pub struct LineLogMetrics {
    /// Lines written.
    pub lines: Counter,
    /// Their bytes.
    pub written_bytes: Counter,
    /// Writes that failed and were tried again.
    pub write_errors: Counter,
    /// New files begun.
    pub rotations: Counts<RotationReason>,
}

impl LineLogMetrics {
    /// `name` is the section of the log in the configuration.
    fn register(name: &str, registry: &mut Registry) -> Self {
        let metrics = Self {
            lines: Counter::default(),
            written_bytes: Counter::default(),
            write_errors: Counter::default(),
            rotations: Counts::default(),
        };
        let registry = registry.sub_registry_with_prefix(name);
        registry.register("lines", "Lines written", metrics.lines.clone());
        registry.register_with_unit(
            "written",
            "Bytes of lines written",
            Unit::Bytes,
            metrics.written_bytes.clone(),
        );
        registry.register(
            "write_errors",
            "Writes that failed and were tried again",
            metrics.write_errors.clone(),
        );
        registry.register("rotations", "New files begun", metrics.rotations.clone());
        metrics
    }
}

/// Messages to a topic of Kafka: sent = acknowledged + failed + in flight.
#[derive(Debug, Clone)]
pub struct OffloadMetrics {
    /// Messages handed to the producer.
    pub sent: Counter,
    /// Messages that the brokers acknowledged.
    pub acknowledged: Counter,
    /// Bytes of these: keys, headers and values, before they are compressed.
    pub acknowledged_bytes: Counter,
    /// Messages that came back; they are sent again.
    pub failed: Counter,
    /// Exchanges of which the format carries less than was captured: a traffic stream has no cut bodies.
    pub cut: Counter,
    /// What went wrong.
    pub faults: Counts<KafkaFault>,
    /// Producers made after the first one.
    pub renewals: Counter,
    /// Messages on their way.
    pub in_flight: Gauge,
    /// Bytes of these.
    pub in_flight_bytes: Gauge,
    /// 1 while messages are taken, 0 while Kafka is away or refuses them.
    pub up: Gauge,
    /// From handing a message to the producer to its acknowledgement.
    pub latency: DurationHistogram,
}

impl OffloadMetrics {
    /// `name` is the name of the follower.
    fn register(name: &str, registry: &mut Registry) -> Self {
        let metrics = Self {
            sent: Counter::default(),
            acknowledged: Counter::default(),
            acknowledged_bytes: Counter::default(),
            failed: Counter::default(),
            cut: Counter::default(),
            faults: Counts::default(),
            renewals: Counter::default(),
            in_flight: Gauge::default(),
            in_flight_bytes: Gauge::default(),
            up: Gauge::default(),
            latency: DurationHistogram::new(BOUNDS),
        };
        let registry = registry.sub_registry_with_prefix(name);
        registry.register(
            "sent",
            "Messages handed to the producer",
            metrics.sent.clone(),
        );
        registry.register(
            "acknowledged",
            "Messages that the brokers acknowledged",
            metrics.acknowledged.clone(),
        );
        registry.register_with_unit(
            "acknowledged",
            "Bytes of keys, headers and values that the brokers acknowledged, before compression",
            Unit::Bytes,
            metrics.acknowledged_bytes.clone(),
        );
        registry.register(
            "failed",
            "Messages that came back and are sent again",
            metrics.failed.clone(),
        );
        registry.register(
            "cut",
            "Exchanges of which a traffic stream carries the mark that they were dropped, for a body is not whole",
            metrics.cut.clone(),
        );
        registry.register(
            "faults",
            "What came between messages and their delivery",
            metrics.faults.clone(),
        );
        registry.register(
            "renewals",
            "Producers made after the first one",
            metrics.renewals.clone(),
        );
        registry.register(
            "messages_in_flight",
            "Messages on their way",
            metrics.in_flight.clone(),
        );
        registry.register_with_unit(
            "messages_in_flight",
            "Bytes of messages on their way",
            Unit::Bytes,
            metrics.in_flight_bytes.clone(),
        );
        registry.register(
            "up",
            "1 while messages are taken, 0 while Kafka is away or refuses them",
            metrics.up.clone(),
        );
        registry.register_with_unit(
            "latency",
            "From handing a message to the producer to its acknowledgement",
            Unit::Seconds,
            metrics.latency.clone(),
        );
        metrics
    }
}

/// Pairs on their way into the journal: made = kept + lost.
#[derive(Debug, Clone)]
pub struct PairMetrics {
    /// Pairs that the journal took.
    pub kept: Counter,
    /// Pairs that are not in the journal.
    pub lost: Counts<PairLoss>,
}

impl PairMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            kept: Counter::default(),
            lost: Counts::default(),
        };
        registry.register("pairs_kept", "Pairs the journal took", metrics.kept.clone());
        registry.register(
            "pairs_lost",
            "Pairs that are not in the journal, by reason",
            metrics.lost.clone(),
        );
        metrics
    }
}

/// What was given up, on its way into the dead-letter file.
#[derive(Debug, Clone)]
pub struct DeadLetterMetrics {
    /// Letters written.
    pub written: Counter,
    /// Letters that are not in the file, or no longer.
    pub lost: Counts<LetterLoss>,
}

impl DeadLetterMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            written: Counter::default(),
            lost: Counts::default(),
        };
        registry.register(
            "dead_letters_written",
            "Exchanges kept in the dead-letter file",
            metrics.written.clone(),
        );
        registry.register(
            "dead_letters_lost",
            "Dead letters that are not in the file, or made way, by reason",
            metrics.lost.clone(),
        );
        metrics
    }
}

// ---------------------------------------------------------------------------------------------
// The process: under the names that every Prometheus client library uses

#[derive(Debug)]
struct ProcessReading;

impl Collector for ProcessReading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(resident) = process::resident_bytes() {
            let help = "Resident memory of the process";
            gauge(
                &mut encoder,
                "process_resident_memory",
                help,
                Some(&Unit::Bytes),
                resident,
            )?;
        }
        if let Some(files) = process::open_files() {
            gauge(
                &mut encoder,
                "process_open_fds",
                "Open file descriptors",
                None,
                files,
            )?;
        }
        Ok(())
    }
}

// ---------------------------------------------------------------------------------------------
// Encoding what others count

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: u64,
) -> fmt::Result {
    encoder
        .encode_descriptor(name, help, unit, MetricType::Counter)?
        .encode_counter::<NoLabelSet, _, u64>(&value, None)
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: u64,
) -> fmt::Result {
    encoder
        .encode_descriptor(name, help, unit, MetricType::Gauge)?
        .encode_gauge(&value)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn every_series_is_there_at_zero_from_the_start() {
        let mut registry = Registry::default();
        let _metrics = Metrics::register(&mut registry);
        let text = text(&registry);
        for line in [
            "spoa_agent_connections_opened_total 0\n",
            "spoa_agent_connections_open 0\n",
            "spoa_agent_connections_refused_total{reason=\"limit\"} 0\n",
            "spoa_agent_hellos_total{outcome=\"health_check\"} 0\n",
            "spoa_agent_halves_refused_total{half=\"response\",reason=\"journal_full\"} 0\n",
            "spoa_agent_bodies_total{half=\"request\",extent=\"cut\"} 0\n",
            "spoa_agent_follower_in_flight{follower=\"traffic_log\"} 0\n",
            "spoa_agent_follower_dropped_total{follower=\"shadow\",reason=\"body_cut\"} 0\n",
            "spoa_agent_traffic_log_written_bytes_total 0\n",
            "spoa_agent_pair_log_rotations_total{reason=\"age\"} 0\n",
            "spoa_agent_pairs_lost_total{reason=\"too_big\"} 0\n",
            "spoa_agent_dead_letters_lost_total{reason=\"oldest\"} 0\n",
            "spoa_agent_ack_latency_seconds_bucket{le=\"+Inf\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(text.contains("spoa_agent_build_info{version=\""), "{text}");
    }

    #[test]
    fn what_is_counted_is_what_is_shown_under_its_own_labels() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.server.connections_opened.inc_by(3);
        metrics.server.connections_closed.inc();
        metrics
            .capture
            .refused
            .inc(HalfKind::Request, HalfRefusal::Failed);
        metrics
            .capture
            .refused
            .add(HalfKind::Response, HalfRefusal::Contract, 5);
        let shadow = metrics.follower(Follower::Shadow);
        (0..4).for_each(|_| shadow.read());
        shadow.delivered();
        shadow.dropped(DropReason::Poison);
        let text = text(&registry);
        for line in [
            "spoa_agent_connections_open 2\n",
            "spoa_agent_halves_refused_total{half=\"request\",reason=\"failed\"} 1\n",
            "spoa_agent_halves_refused_total{half=\"response\",reason=\"contract\"} 5\n",
            "spoa_agent_halves_refused_total{half=\"request\",reason=\"contract\"} 0\n",
            "spoa_agent_follower_in_flight{follower=\"shadow\"} 2\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert_eq!(shadow.in_flight(), 2);
    }

    #[test]
    fn the_journal_and_the_shadow_are_read_when_somebody_asks() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(journal::Options::new(dir.path())).unwrap();
        let counters = Arc::new(shadow::Counters::default());
        let mut registry = Registry::default();
        Metrics::observe_journal(&mut registry, journal.clone());
        Metrics::observe_shadow(&mut registry, Arc::clone(&counters));
        assert!(text(&registry).contains("spoa_agent_journal_appended_records_total 0\n"));
        journal
            .append(3, |out| out.extend_from_slice(b"abc"))
            .unwrap();
        counters.attempts.store(7, Ordering::Relaxed);
        let text = text(&registry);
        for line in [
            "spoa_agent_journal_appended_records_total 1\n",
            "spoa_agent_journal_healthy 1\n",
            "spoa_agent_shadow_attempts_total 7\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn no_name_is_used_twice() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(journal::Options::new(dir.path())).unwrap();
        let mut registry = Registry::default();
        let _metrics = Metrics::register(&mut registry);
        Metrics::observe_journal(&mut registry, journal);
        Metrics::observe_shadow(&mut registry, Arc::default());
        let text = text(&registry);
        let mut names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let count = names.len();
        assert!(count > 50, "{count}");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
