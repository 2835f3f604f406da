//! The table of keys.
//!
//! To add a key, add its lines below: the doc comment is the manual, the kind says what is accepted,
//! the default and the example are text as a person would write them. Everything else follows.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use shadow::order::Level;
use shadow::plan::Refused;
use shadow::{HostHeader, Target};

use super::cross;
use super::kafka::{
    Brokers, Compression, Hold, LibraryProperties, MessageFormat, MessageKey, OptionalText,
    OptionalTopic, Properties, Sasl, Security, Topic,
};
use super::kind::{
    AckLevel, Begin, Choice, Count, CredentialsKind, Describe, Directory, Disk, DiskOrNever,
    HeaderNames, HostChoice, IdHeader, Ids, LetterWhenFull, Listen, Listeners, LogDirectives,
    LogFormat, Memory, Mode, OptionalAddress, OptionalFile, OptionalOutput, OptionalUrl,
    OptionalWord, Output, PairsTo, ResolveBy, Shape, Span, SpanOrNever, Switch, WhenFull,
};
use super::written::{Examined, Reader, Written};

const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const HOUR: Duration = secs(3600);

/// Defines [`Config`], one struct per section, and [`SECTIONS`], from one table.
macro_rules! sections {
    ($(
        $(#[doc = $section_doc:literal])*
        [$section:ident] $Section:ident {
            $(
                $(#[doc = $doc:literal])*
                $key:ident: $type:ty = $kind:expr, default $default:literal, example $example:literal;
            )*
        }
    )*) => {
        /// The configuration as meant: every value is within its bounds, and they agree with each other.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Config {
            $( $(#[doc = $section_doc])* pub $section: $Section, )*
        }

        $(
            $(#[doc = $section_doc])*
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $Section {
                $( $(#[doc = $doc])* pub $key: $type, )*
            }
        )*

        /// Every section with its keys, in the order of the manual.
        pub static SECTIONS: &[Section] = &[$(
            Section {
                name: stringify!($section),
                doc: concat!($($section_doc),*),
                keys: &[$(
                    Key {
                        path: concat!(stringify!($section), ".", stringify!($key)),
                        default: $default,
                        example: $example,
                        doc: concat!($($doc),*),
                        kind: &$kind,
                    },
                )*],
            },
        )*];

        impl Written {
            /// Reads every value and notes what is wrong with them, each and together.
            pub(crate) fn examine(self) -> Examined {
                let mut reader = Reader::new(self);
                let config = Config {
                    $( $section: $Section {
                        $( $key: reader.read(
                            concat!(stringify!($section), ".", stringify!($key)),
                            $default,
                            &$kind,
                        ), )*
                    }, )*
                };
                cross::check(&config, &mut reader);
                reader.finish(config)
            }
        }
    };
}

sections! {
    /// Where HAProxy connects, and what its connections may cost.
    [server] Server {
        /// Addresses on which the agent listens for HAProxy. A Unix socket is cheaper than TCP
        /// when both are on one host; several addresses are served alike. Port 0
        /// lets the system choose a port, which the log then names.
        listen: Vec<Listen> = Listeners,
            default "127.0.0.1:12345", example "0.0.0.0:12345,unix:/run/spoa-agent/spop.sock";
        /// File mode of the Unix sockets. Whoever may write to a socket may hand the agent made-up
        /// traffic, so share it with HAProxy's group only.
        unix_mode: u32 = Mode, default "0660", example "0600";
        /// Most connections from HAProxy at a time. HAProxy opens one for each message in flight at its
        /// peak. At the limit, further connections are closed at once and counted, and HAProxy passes
        /// the traffic by.
        max_connections: usize = Count { min: 1, max: 1 << 20 }, default "1024", example "4096";
        /// Largest frame that the agent agrees to. HAProxy announces `tune.bufsize` less 4 bytes; a
        /// HAProxy that announces more is refused with a message that names both numbers.
        max_frame_size: usize = Memory { min: 256, max: 64 * MIB }, default "1MiB", example "256KiB";
        /// Memory for frames that are being read, over all connections. At the limit, connections wait
        /// for each other and HAProxy's `timeout processing` decides.
        frame_memory: usize = Memory { min: MIB, max: 64 * GIB }, default "64MiB", example "256MiB";
        /// How long a new connection may take to say hello. One that has not by then is closed and
        /// counted.
        hello_timeout: Duration = Span { min: ms(10), max: secs(600) }, default "5s", example "1s";
    }

    /// What is kept of a message before it reaches the journal.
    [capture] Capture {
        /// Headers to mask besides `authorization`, `proxy-authorization`, `cookie`, `set-cookie`,
        /// `x-amz-security-token` and `x-api-key`, which are always masked. The journal then holds their
        /// names and not their values.
        mask_headers: Vec<String> = HeaderNames, default "", example "x-tenant-token,x-session";
        /// Keeps credential headers in the journal, for a shadow that must see them. The journal is then as
        /// secret as the credentials; logs, metrics and the traffic log stay masked.
        forward_credentials: bool = Switch, default "false", example "true";
        /// What the ACK of a held write waits for. `journal`: the write is on disk here. `kafka`: the brokers have it too,
        /// for which the ACK waits up to `kafka.hold_deadline`. Which requests are held is HAProxy's configuration
        /// (`haproxy-config --hold`): writes, never reads, not even a `POST` `_search`.
        hold: Hold = Choice(&[
                ("journal", Hold::Journal),
                ("kafka", Hold::Kafka),
            ]), default "journal", example "kafka";
        /// How long the ACK of a held write may wait for the disk. At the limit the ACK goes out without
        /// the word that the write is durable, and HAProxy's rules let the request go on or deny it.
        /// Keep it below HAProxy's `timeout processing` for held writes.
        hold_deadline: Duration = Span { min: ms(1), max: secs(60) }, default "800ms", example "2s";
    }

    /// The log on disk in which every half is kept before anything else happens.
    [journal] Journal {
        /// Directory of the segments and cursors, made with mode 0700 when it is missing. One agent at a
        /// time may use it.
        dir: PathBuf = Directory,
            default "/var/lib/spoa-agent/journal", example "/srv/spoa-agent/journal";
        /// What an ACK to HAProxy waits for. With `append` the half is in the agent's memory: a crash of
        /// the agent loses up to `flush_interval` of acknowledged halves. With `write` the kernel has it:
        /// only a crash of the host loses some, up to `sync_interval`. With `sync` it is on disk, and every
        /// ACK waits for a sync that it shares with others.
        ack: AckLevel = Choice(&[
                ("append", AckLevel::Append),
                ("write", AckLevel::Write),
                ("sync", AckLevel::Sync),
            ]), default "write", example "sync";
        /// How often the journal is synced to disk when no ACK waits for it. Shorter loses less in a power
        /// cut and costs more writes to the disk.
        sync_interval: Duration = Span { min: ms(10), max: HOUR }, default "1s", example "200ms";
        /// How long halves may wait in memory to be written together at level `append`. Shorter loses less
        /// in a crash and costs more system calls.
        flush_interval: Duration = Span { min: ms(1), max: secs(60) }, default "5ms", example "50ms";
        /// Size at which a segment is closed and the next one begun. Disk space is given back by whole
        /// segments, so smaller ones give it back sooner.
        segment_size: u64 = Disk { min: 1 << 20 }, default "128MiB", example "64MiB";
        /// Disk budget of the journal. Segments that every follower has passed go first; when none is left to
        /// go, `when_full` decides.
        max_bytes: u64 = Disk { min: 2 << 20 }, default "10GiB", example "100GiB";
        /// What happens when the budget is used up and a follower still needs the oldest segment. `stop`
        /// stops capturing: HAProxy is told that the agent is down and passes the traffic by, counted.
        /// `drop-unread` drops the oldest segment: the followers that had not read it lose its halves,
        /// counted.
        when_full: WhenFull = Choice(&[
                ("stop", WhenFull::Stop),
                ("drop-unread", WhenFull::DropUnread),
            ]), default "stop", example "drop-unread";
        /// Memory for halves on their way to the disk. At the limit, halves are refused and counted, and the
        /// agent is shown to HAProxy as down until there is room.
        buffer: usize = Memory { min: MIB, max: 4 * GIB }, default "8MiB", example "64MiB";
        /// Memory that keeps the newest part of the journal, from which followers read without touching the
        /// disk. A follower that falls further behind reads from disk.
        tail: usize = Memory { min: 0, max: 16 * GIB }, default "16MiB", example "128MiB";
        /// How long a write to the disk may take before the agent is shown to HAProxy as down, so that clients
        /// stop waiting for it.
        stall_limit: Duration = Span { min: ms(10), max: secs(600) }, default "200ms", example "1s";
    }

    /// How requests and responses find each other.
    [pairing] Pairing {
        /// How long a half waits for its other half. After that the exchange goes on without it, marked.
        /// It must exceed the slowest response of the cluster.
        deadline: Duration = Span { min: ms(10), max: HOUR }, default "60s", example "5m";
        /// Memory for halves that wait, per follower. At the limit the oldest ones go on without their other
        /// half, marked and counted.
        max_bytes: usize = Memory { min: MIB, max: 64 * GIB }, default "64MiB", example "512MiB";
    }

    /// The follower that writes one JSON line per exchange.
    [traffic_log] TrafficLog {
        /// File of the lines, made with mode 0600, or `-` for the standard output. Empty turns the traffic log
        /// off.
        path: Option<Output> = OptionalOutput, default "", example "/var/log/haproxy-traffic.log";
        /// Size at which the file is renamed and a new one begun. 0 never rotates by size.
        rotate_size: Option<u64> = DiskOrNever { min: 1 << 16 }, default "1GiB", example "100MiB";
        /// Age at which the file is renamed and a new one begun. 0 never rotates by age.
        rotate_age: Option<Duration> = SpanOrNever { min: secs(1), max: secs(366 * 86_400) },
            default "1d", example "1h";
        /// How many renamed files are kept; the oldest is deleted. The disk needs room for `keep` + 1 files.
        keep: usize = Count { min: 0, max: 10_000 }, default "7", example "30";
        /// Writes the bodies too. Without them a line is small, and tells their sizes only.
        bodies: bool = Switch, default "true", example "false";
    }

    /// The follower that sends every request to another cluster.
    [shadow] Shadow {
        /// Where requests go. No path: the shadow gets each target as the primary got it. Empty turns the shadow
        /// off.
        url: Option<Target> = OptionalUrl, default "", example "https://shadow.example:9200";
        /// Most connections to the shadow at a time.
        connections: usize = Count { min: 1, max: 65_535 }, default "32", example "128";
        /// Sends fewer requests at a time, down to 2, while the latency of the shadow says that it has enough to do,
        /// and as many as `connections` while it does not.
        adaptive: bool = Switch, default "false", example "true";
        /// How long connecting may take, with TLS. After that the attempt has failed and is tried again.
        connect_timeout: Duration = Span { min: ms(10), max: secs(600) }, default "2s", example "500ms";
        /// How long the shadow may take to answer in full. After that the attempt has failed.
        response_timeout: Duration = Span { min: ms(10), max: HOUR }, default "30s", example "2m";
        /// Most requests on their way to the shadow, waiting ones included. At the limit the follower reads no
        /// further; the journal keeps the rest.
        max_in_flight: usize = Count { min: 1, max: 1 << 24 }, default "4096", example "512";
        /// Most bytes on their way to the shadow, waiting ones included. At the limit the follower reads no
        /// further; the journal keeps the rest.
        max_in_flight_bytes: usize = Memory { min: MIB, max: 64 * GIB }, default "32MiB", example "256MiB";
        /// Certificates, in PEM, of the authorities that are trusted for `https`. Empty trusts those of the
        /// system.
        ca_file: Option<PathBuf> = OptionalFile, default "", example "/etc/spoa-agent/shadow-ca.pem";
        /// Does not verify the shadow's certificate. Anyone on the way can then read the traffic.
        insecure: bool = Switch, default "false", example "true";
        /// The `Host` header that the shadow sees: `keep` sends the client's, `target` that of `shadow.url`,
        /// anything else is sent as it is.
        host: HostHeader = HostChoice, default "keep", example "target";
        /// What `credentials_file` holds, which then takes the place of the client's `Authorization`. `basic`: a line
        /// `user:password`. `api-key`: a line `id:key`, or the key as the cluster encoded it. `bearer`: a line with the
        /// token. `sigv4`: lines `aws_access_key_id = ...`, `aws_secret_access_key = ...` and, where there is one,
        /// `aws_session_token = ...`; each request is then signed for AWS.
        credentials: CredentialsKind = Choice(&[
                ("none", CredentialsKind::None),
                ("basic", CredentialsKind::Basic),
                ("api-key", CredentialsKind::ApiKey),
                ("bearer", CredentialsKind::Bearer),
                ("sigv4", CredentialsKind::SigV4),
            ]), default "none", example "basic";
        /// File of our own credentials, as `credentials` says. It is read at the start and on SIGHUP; its content is
        /// never logged. Its mode should be 0600.
        credentials_file: Option<PathBuf> = OptionalFile,
            default "", example "/etc/spoa-agent/shadow-credentials";
        /// AWS region that signatures are for. Needed for `credentials` `sigv4`.
        sigv4_region: Option<String> = OptionalWord, default "", example "eu-central-1";
        /// AWS service that signatures are for: `es` for a domain, `aoss` for OpenSearch Serverless.
        sigv4_service: &'static str = Choice(&[("es", "es"), ("aoss", "aoss")]), default "es", example "aoss";
        /// File whose first line is sent as the `Authorization` header, whatever it is, such as `Custom abc`. It is read
        /// at the start and on SIGHUP; its content is never logged. Empty sends none of our own, unless `credentials`
        /// says otherwise.
        authorization_file: Option<PathBuf> = OptionalFile,
            default "", example "/etc/spoa-agent/shadow-authorization";
        /// Our certificate, in PEM, for a shadow that asks for one, with those of the authorities in between. It is read
        /// at the start.
        client_cert_file: Option<PathBuf> = OptionalFile,
            default "", example "/etc/spoa-agent/shadow-client.pem";
        /// The private key of `client_cert_file`, in PEM, not encrypted. Its mode should be 0600.
        client_key_file: Option<PathBuf> = OptionalFile,
            default "", example "/etc/spoa-agent/shadow-client.key";
        /// File of rules, in TOML: which requests the shadow gets, which header fields are set and removed, which
        /// indices have another name there. It is read at the start and on SIGHUP; then a file with a mistake changes
        /// nothing. Empty sends everything as it is.
        rules_file: Option<PathBuf> = OptionalFile, default "", example "/etc/spoa-agent/shadow-rules.toml";
        /// How much of the primary's order the shadow gets. `causal`: what touches the same document, index or
        /// scroll reaches the shadow in the order in which the primary did it, and all else in parallel, so that the
        /// shadow's documents become the primary's. `connection`: what came over one client connection, one after
        /// the other. `none`: each request for itself; more load, and other documents.
        order: Level = Choice(&[
                ("causal", Level::Causal),
                ("connection", Level::Connection),
                ("none", Level::None),
            ]), default "causal", example "none";
        /// What becomes of a write that the primary refused (status 400 and more), an item of a `_bulk` for itself:
        /// `leave` does not send it, `send` sends it as it came, so that the shadow has the same load.
        refused: Refused = Choice(&[
                ("leave", Refused::Leave),
                ("send", Refused::Send),
            ]), default "leave", example "send";
        /// Which ids documents get that a client writes without one. `pin`: those that the primary chose, so that
        /// both sides have the same documents; a write whose id is not known is then dropped. `generate`: the
        /// shadow chooses its own; a little less work for it, and the two cannot be compared by id.
        ids: Ids = Choice(&[
                ("pin", Ids::Pin),
                ("generate", Ids::Generate),
            ]), default "pin", example "generate";
        /// Header that carries the exchange's id to the shadow, so that its own captures can be matched.
        id_header: String = IdHeader, default "x-capture-id", example "x-request-id";
        /// How often a request is tried that fails while the shadow answers others; after that it is dropped and
        /// counted, or counts as delivered with the status that it got. While the shadow is down nothing
        /// counts as a try: requests wait in the journal.
        max_attempts: usize = Count { min: 1, max: 1000 }, default "5", example "1";
        /// Where the shadow begins when it is turned on for the first time: `now`, or with the `oldest` record that
        /// the journal still has. Later starts go on where the last one ended.
        begin: Begin = Choice(&[
                ("now", Begin::Now),
                ("oldest", Begin::Oldest),
            ]), default "now", example "oldest";
        /// Whether what the captured answers cannot decide is read from the primary: a write whose answer was lost, or
        /// that overlapped an `_update_by_query`. `off` only lists it (`/ambiguous`, `journal ambiguous`); `from-primary` asks
        /// the primary for each such document and sends what it has. Needs `primary_url`, and `order` `causal`.
        resolve: ResolveBy = Choice(&[
                ("off", ResolveBy::Off),
                ("from-primary", ResolveBy::Primary),
            ]), default "off", example "from-primary";
        /// Where the primary is asked for documents: not through the HAProxy whose traffic is captured, or each question
        /// is captured too.
        primary_url: Option<Target> = OptionalUrl, default "", example "https://primary.example:9200";
        /// File whose first line is sent to the primary as the `Authorization` header. It needs the right to read
        /// documents, no more. It is read at the start; its content is never logged. Its mode should be 0600.
        primary_authorization_file: Option<PathBuf> = OptionalFile,
            default "", example "/etc/spoa-agent/primary-authorization";
        /// Certificates, in PEM, of the authorities that are trusted for an `https` primary. Empty trusts those of the
        /// system.
        primary_ca_file: Option<PathBuf> = OptionalFile, default "", example "/etc/spoa-agent/primary-ca.pem";
        /// Most documents that the primary is asked for in a second. More wait, and may differ until then. Where it is not
        /// known which documents differ, those of the whole index are compared, if they are 100,000 at most, twenty times as fast.
        resolve_rate: usize = Count { min: 1, max: 100_000 }, default "50", example "500";
        /// Whether the shadow's answers are kept, each in a pair with the primary's: `journal` appends a record
        /// for each request that is sent, `off` keeps none. A pair repeats the request and the primary's
        /// response, so the journal grows more than twice as fast.
        pairs: PairsTo = Choice(&[
                ("off", PairsTo::Off),
                ("journal", PairsTo::Journal),
            ]), default "off", example "journal";
        /// Bytes of each body in a pair: the request's, what was sent in its place, and both answers'. A longer
        /// one is marked as cut.
        pair_body_limit: usize = Memory { min: 0, max: 64 * MIB }, default "256KiB", example "16KiB";
    }

    /// The follower that writes a message per exchange to a Kafka topic. While Kafka is away, the journal keeps what it
    /// misses, for as long as `journal.max_bytes` lasts; the agent starts without Kafka too.
    [kafka] Kafka {
        /// Brokers to begin with; the others are learnt from them. Empty turns the offload off.
        brokers: Vec<String> = Brokers,
            default "", example "kafka-1.example:9092,kafka-2.example:9092";
        /// Topic of the exchanges.
        topic: String = Topic, default "captured-traffic", example "logging-traffic-topic";
        /// Topic of the pairs: how the primary and how the shadow answered. Empty turns it off. It needs `shadow.pairs`.
        pairs_topic: Option<String> = OptionalTopic, default "", example "captured-pairs";
        /// How a message is written. `json`: the document of the traffic log. `protobuf`: the same content, smaller, in
        /// the schema `record.proto`. `traffic-stream`: the byte streams of the OpenSearch capture proxy, which its
        /// replayer reads; it has no way to say pairs, so those of `pairs_topic` are `json` then.
        format: MessageFormat = Choice(&[
                ("json", MessageFormat::Json),
                ("protobuf", MessageFormat::Protobuf),
                ("traffic-stream", MessageFormat::TrafficStream),
            ]), default "json", example "protobuf";
        /// What keeps its order in the topic: messages with one key are in one partition, in order. `connection`: what came
        /// over one client connection. `document`: what names one document (`PUT /index/_doc/id` and the like), over
        /// all connections; everything else, such as a `_bulk` or a search, by its connection. `id`: nothing, so
        /// that load spreads evenly.
        key: MessageKey = Choice(&[
                ("connection", MessageKey::Connection),
                ("document", MessageKey::Document),
                ("id", MessageKey::Id),
            ]), default "connection", example "document";
        /// Name of this agent in its messages. Positions in the journal tell order among the messages of one name, so no
        /// two agents may share one. Empty takes the name of the host.
        agent: Option<String> = OptionalWord, default "", example "capture-1";
        /// Makes a topic that is missing. It needs the right to create topics; without it, the log says so, and the
        /// agent waits until somebody else makes it.
        create_topics: bool = Switch, default "true", example "false";
        /// Partitions of a topic that the agent makes. More let more readers share the work; order is kept per key in any
        /// case. 0 takes the brokers' default.
        partitions: usize = Count { min: 0, max: 10_000 }, default "6", example "24";
        /// Replicas of a topic that the agent makes. 0 takes the brokers' default.
        replication: usize = Count { min: 0, max: 100 }, default "0", example "3";
        /// How batches are compressed. Captured traffic is text that repeats itself: `zstd` makes it several times
        /// smaller, for some processor time.
        compression: Compression = Choice(&[
                ("none", Compression::None),
                ("gzip", Compression::Gzip),
                ("snappy", Compression::Snappy),
                ("lz4", Compression::Lz4),
                ("zstd", Compression::Zstd),
            ]), default "zstd", example "lz4";
        /// Largest message, uncompressed. It must not exceed `max.message.bytes` of the topic, which is 1048588 where nobody
        /// changed it. A larger exchange is split into parts.
        message_max_bytes: usize = Memory { min: 16 << 10, max: 1_000_000_000 },
            default "1000000", example "8MiB";
        /// How long a message may wait for others, to be sent in one batch per partition. Longer makes larger batches,
        /// which compress better and cost the brokers less; it is also the least delay of a message, and of a
        /// write that is held for Kafka. A batch goes earlier when it is full: 1,000,000 bytes or 10,000 messages
        /// (`batch.size` and `batch.num.messages` in `properties`).
        linger: Duration = Span { min: ms(0), max: secs(60) }, default "20ms", example "100ms";
        /// Memory for messages on their way to Kafka. At the limit the follower reads no further; the journal keeps the
        /// rest. It should hold what the brokers acknowledge in one round trip.
        max_in_flight_bytes: usize = Memory { min: MIB, max: 2 * GIB }, default "32MiB", example "256MiB";
        /// How long the ACK of a write that is held for Kafka may wait (`capture.hold`). At the limit the ACK goes out
        /// without the word that the write is durable, a line is logged, and HAProxy's rules let the request go on or
        /// deny it; Kafka gets the write from the journal later. Keep it below HAProxy's `timeout processing` for
        /// held writes.
        hold_deadline: Duration = Span { min: ms(10), max: secs(600) }, default "10s", example "3s";
        /// What protects the connections to the brokers: `tls` encrypts, `sasl-plaintext` logs in, `sasl-tls` does both.
        security: Security = Choice(&[
                ("plaintext", Security::Plaintext),
                ("tls", Security::Tls),
                ("sasl-plaintext", Security::SaslPlaintext),
                ("sasl-tls", Security::SaslTls),
            ]), default "plaintext", example "sasl-tls";
        /// How the agent logs in. `plain` and `scram-...`: with `username` and `password_file`. `oauthbearer`: with a token
        /// that the OpenID provider at `oauth_token_url` gives. `gssapi`: Kerberos, as `username` with
        /// `kerberos_keytab_file`. `aws-msk-iam`: with the AWS credentials of the environment, the shared files, the
        /// container or the instance.
        sasl: Sasl = Choice(&[
                ("none", Sasl::None),
                ("plain", Sasl::Plain),
                ("scram-sha-256", Sasl::ScramSha256),
                ("scram-sha-512", Sasl::ScramSha512),
                ("oauthbearer", Sasl::OauthBearer),
                ("gssapi", Sasl::Gssapi),
                ("aws-msk-iam", Sasl::AwsMskIam),
            ]), default "none", example "scram-sha-512";
        /// User of `plain` and `scram-...`, Kerberos principal of `gssapi`.
        username: Option<String> = OptionalText { what: "a name" }, default "", example "capture";
        /// File whose first line is the password. It is read at the start; its content is never logged. Its mode should
        /// be 0600.
        password_file: Option<PathBuf> = OptionalFile,
            default "", example "/etc/spoa-agent/kafka-password";
        /// Keytab of the principal `username`.
        kerberos_keytab_file: Option<PathBuf> = OptionalFile,
            default "", example "/etc/spoa-agent/kafka.keytab";
        /// Certificates, in PEM, of the authorities that are trusted for the brokers. Empty trusts those of the system.
        ca_file: Option<PathBuf> = OptionalFile, default "", example "/etc/spoa-agent/kafka-ca.pem";
        /// Our certificate, in PEM, for brokers that ask for one, with those of the authorities in between.
        client_cert_file: Option<PathBuf> = OptionalFile,
            default "", example "/etc/spoa-agent/kafka-client.pem";
        /// The private key of `client_cert_file`, in PEM. Its mode should be 0600.
        client_key_file: Option<PathBuf> = OptionalFile,
            default "", example "/etc/spoa-agent/kafka-client.key";
        /// File whose first line is the password of `client_key_file`, where that is encrypted. Its mode should be 0600.
        client_key_password_file: Option<PathBuf> = OptionalFile,
            default "", example "/etc/spoa-agent/kafka-client-key-password";
        /// Where the OpenID provider gives tokens, for `sasl` `oauthbearer`.
        oauth_token_url: Option<String> = OptionalText { what: "an http or https URL" },
            default "", example "https://login.example/oauth2/token";
        /// Name of the agent at the OpenID provider.
        oauth_client_id: Option<String> = OptionalText { what: "a name" }, default "", example "capture";
        /// File whose first line is the agent's secret at the OpenID provider. Its mode should be 0600.
        oauth_client_secret_file: Option<PathBuf> = OptionalFile,
            default "", example "/etc/spoa-agent/kafka-oauth-secret";
        /// Scope to ask for in the token.
        oauth_scope: Option<String> = OptionalText { what: "a scope" }, default "", example "kafka";
        /// Extensions to tell the brokers along with the token.
        oauth_extensions: Option<String> = OptionalText { what: "name=value with commas between them" },
            default "", example "logicalCluster=lkc-1,identityPoolId=pool-1";
        /// AWS region of the brokers, for `sasl` `aws-msk-iam`. Empty takes it from the name of the first broker, such as
        /// `b-1.traffic.kafka.eu-central-1.amazonaws.com`, or else from `AWS_REGION`.
        aws_region: Option<String> = OptionalWord, default "", example "eu-central-1";
        /// Any other property of librdkafka, such as `socket.keepalive.enable`. One that a key here says is refused, and so is
        /// one that holds a secret, or would lose messages.
        properties: Properties = LibraryProperties,
            default "", example "socket.keepalive.enable=true,metadata.max.age.ms=60000";
    }

    /// The follower that writes one JSON line per pair: how the primary and how the shadow answered.
    [pair_log] PairLog {
        /// File of the lines, made with mode 0600, or `-` for the standard output. Empty turns the pair log off.
        /// It needs `shadow.pairs`.
        path: Option<Output> = OptionalOutput, default "", example "/var/log/haproxy-pairs.log";
        /// Size at which the file is renamed and a new one begun. 0 never rotates by size.
        rotate_size: Option<u64> = DiskOrNever { min: 1 << 16 }, default "1GiB", example "100MiB";
        /// Age at which the file is renamed and a new one begun. 0 never rotates by age.
        rotate_age: Option<Duration> = SpanOrNever { min: secs(1), max: secs(366 * 86_400) },
            default "1d", example "1h";
        /// How many renamed files are kept; the oldest is deleted. The disk needs room for `keep` + 1 files.
        keep: usize = Count { min: 0, max: 10_000 }, default "7", example "30";
        /// Writes the bodies too. Without them a line is small, and tells their sizes only.
        bodies: bool = Switch, default "true", example "false";
    }

    /// What was meant for the shadow and given up. `spoa-agent dead-letter` lists it and sends it again.
    [dead_letter] DeadLetter {
        /// File of the letters, made with mode 0600. Empty keeps them in `dead-letters.ndjson` in `journal.dir`.
        path: Option<PathBuf> = OptionalFile, default "", example "/srv/spoa-agent/dead-letters.ndjson";
        /// Size that the file may have; then `when_full` decides.
        max_bytes: u64 = Disk { min: 1 << 16 }, default "256MiB", example "4GiB";
        /// What happens to a letter for which there is no room. `refuse` loses it; `drop-oldest` loses the oldest
        /// ones in its place. Either way they are counted and logged.
        when_full: LetterWhenFull = Choice(&[
                ("refuse", LetterWhenFull::Refuse),
                ("drop-oldest", LetterWhenFull::DropOldest),
            ]), default "refuse", example "drop-oldest";
        /// Syncs every letter to the disk before its exchange counts as done. Without it a power cut may lose
        /// the newest ones.
        sync: bool = Switch, default "true", example "false";
    }

    /// The HTTP server for operators: `/metrics`, `/healthz`, `/readyz`, `/ledger`.
    [admin] Admin {
        /// Address of the admin server. It has no passwords: whoever reaches it can read it. Empty turns it off.
        listen: Option<String> = OptionalAddress, default "127.0.0.1:12346", example "0.0.0.0:9100";
    }

    /// The agent's own log, on the standard error.
    [log] Log {
        /// What is logged: `off`, `error`, `warn`, `info`, `debug` or `trace`, or directives with commas between
        /// them. Nothing is logged per request above `trace`.
        level: String = LogDirectives, default "info", example "info,spoa_agent::server=debug";
        /// How lines look: `auto` writes text on a terminal and JSON otherwise.
        format: LogFormat = Choice(&[
                ("auto", LogFormat::Auto),
                ("text", LogFormat::Text),
                ("json", LogFormat::Json),
            ]), default "auto", example "json";
    }

    /// How the agent ends on SIGTERM or SIGINT. A second signal ends it at once.
    [shutdown] Shutdown {
        /// How long HAProxy's health checks are answered with "down" while messages are still served. It must
        /// exceed HAProxy's `inter` times `fall`, so that no request meets a closed door.
        lame_duck: Duration = Span { min: ms(0), max: secs(600) }, default "1500ms", example "0s";
        /// How long ending may take in all, `lame_duck` included. After that the agent ends as it is; what
        /// followers have not delivered stays in the journal for the next start.
        deadline: Duration = Span { min: ms(100), max: HOUR }, default "10s", example "30s";
    }

    /// The process.
    [process] Process {
        /// Threads that serve HAProxy and the followers. 0 takes one per core, and at least 2.
        worker_threads: usize = Count { min: 0, max: 1024 }, default "0", example "4";
    }
}

impl Process {
    /// The number of threads: as configured, or one per core and at least 2.
    #[must_use]
    pub fn threads(&self) -> usize {
        match self.worker_threads {
            0 => std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)),
            threads => threads,
        }
    }
}

/// A section of the configuration: a TOML table.
#[derive(Debug)]
pub struct Section {
    /// Its name in TOML, such as `journal`.
    pub name: &'static str,
    doc: &'static str,
    /// Its keys, in the order of the manual.
    pub keys: &'static [Key],
}

impl Section {
    /// What the section is about, in one sentence.
    #[must_use]
    pub fn doc(&self) -> &'static str {
        self.doc.trim()
    }
}

/// A key of the configuration.
pub struct Key {
    /// Section and name, such as `journal.segment_size`.
    pub path: &'static str,
    /// The default, as a person would write it in the environment; empty for none.
    pub default: &'static str,
    /// Another value, as a person would write it in the environment.
    pub example: &'static str,
    doc: &'static str,
    kind: &'static dyn Describe,
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Key").field(&self.path).finish()
    }
}

impl Key {
    /// The name within its section, such as `segment_size`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path
            .split_once('.')
            .map_or(self.path, |(_, name)| name)
    }

    /// The flag without its dashes, such as `journal-segment-size`.
    #[must_use]
    pub fn flag(&self) -> String {
        self.path.replace(['.', '_'], "-")
    }

    /// The environment variable, such as `SPOA_AGENT_JOURNAL_SEGMENT_SIZE`.
    #[must_use]
    pub fn env(&self) -> String {
        format!(
            "SPOA_AGENT_{}",
            self.path.replace('.', "_").to_ascii_uppercase()
        )
    }

    /// The manual: what it does, what it costs, what happens at the limit.
    #[must_use]
    pub fn doc(&self) -> &'static str {
        self.doc.trim()
    }

    /// What the value may be: its unit, its range, its words.
    #[must_use]
    pub fn accepts(&self) -> String {
        self.kind.accepts()
    }

    /// The placeholder of the flag's value, such as `SIZE`.
    #[must_use]
    pub fn placeholder(&self) -> &'static str {
        self.kind.placeholder()
    }

    /// The words to choose from, when there is a fixed set of them.
    #[must_use]
    pub fn words(&self) -> Vec<&'static str> {
        self.kind.words()
    }

    /// How the value looks in TOML.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.kind.shape()
    }
}

/// Every key, in the order of the manual.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}
