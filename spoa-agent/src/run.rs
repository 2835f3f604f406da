//! `spoa-agent run`: puts the parts together, and takes them apart in order.
//!
//! The order of the shutdown (SIGTERM or SIGINT; a second one ends the process at once):
//!
//! 1. Health checks fail, frames are still served: HAProxy stops sending by itself (`shutdown.lame_duck`).
//! 2. No more connections; each open one sends the ACKs that are due and an AGENT-DISCONNECT.
//! 3. The journal writes and syncs everything.
//! 4. Followers go on until they have everything, at most until `shutdown.deadline`, and save their
//!    cursors. What they have not done stays in the journal.
//! 5. The journal closes, and the admin server last, so that the end can be watched.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use exchange::Credentials;
use journal::{Journal, Level, PairingOptions, Recovery, Start, Want};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use shadow::identity::Identity;
use shadow::plan::{NoEffect, Refused};
use shadow::{Engine, FieldName, Rewrite, Trust, rules};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ambiguous::AmbiguousList;
use crate::capture::Capture;
use crate::capture::holds::Holds;
use crate::config::{self, AckLevel, Begin, Config, Hold, Ids, PairsTo, ResolveBy, WhenFull};
use crate::dead_letter::DeadLetters;
use crate::follower::{Follower, Until, Watched};
use crate::line_log::Rotation;
use crate::mirror::{Keeping, Mirror, Results};
use crate::offload::client::Client;
use crate::offload::stream::Stream;
use crate::offload::topic::Topic;
use crate::offload::{self, Offload};
use crate::pair_log::{self, Keep, PairLog, Pairs};
use crate::reload::{self, Reload};
use crate::server::{Ability, Limits, Listener, Server, ability};
use crate::telemetry::admin::{Admin, Sources};
use crate::telemetry::logging;
use crate::telemetry::metrics::{
    CaptureMetrics, Counts, Follower as Name, HalfKind, HalfRefusal, Label, Metrics,
};
use crate::telemetry::sd_notify::Notifier;
use crate::traffic_log::{self, Exchanges, TrafficLog};

/// What the shadow's engine must not forget over a kill, in the journal's directory.
const NOTES: &str = "shadow-notes";
/// How long the primary may take to show a document.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// Exit code after a second signal: the shell's code for SIGINT.
const INTERRUPTED: u8 = 130;
/// Exit code when the deadline of the shutdown passed.
const LATE: u8 = 1;

/// Runs the agent until it is told to stop.
///
/// # Errors
/// When a part cannot be started, or the journal could not be closed without a loss.
pub fn run(config: Config) -> anyhow::Result<ExitCode> {
    logging::init(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.process.threads())
        .thread_name("spoa-agent")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(serve(config));
    // Followers' threads are joined by then; what is left is nothing to wait for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let notifier = Notifier::from_env().context("cannot use NOTIFY_SOCKET")?;
    let mut signals = Signals::new().context("cannot handle signals")?;
    // Before anything starts, so that an early SIGHUP does not end the process.
    let hangup = signal(SignalKind::hangup()).context("cannot handle signals")?;
    let agent = Agent::start(&config).await?;
    tokio::spawn(reload::on_hangup(hangup, Arc::clone(&agent.reload)));
    let notifier = Arc::new(notifier);
    let watchdog = tokio::spawn(watchdog(Arc::clone(&notifier)));
    notifier.ready("capturing");
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        journal = %config.journal.dir.display(),
        ack = ?config.journal.ack,
        shadow = config.shadow.url.as_ref().map(tracing::field::display),
        "spoa-agent is ready"
    );
    let name = signals.next().await;
    notifier.stopping("draining");
    tracing::info!(signal = name, "stopping; a second signal ends at once");
    let ended = tokio::select! {
        ended = agent.stop(&config) => ended,
        name = signals.next() => {
            tracing::warn!(signal = name, "ended at once; followers go on from their cursors at the next start");
            std::process::exit(INTERRUPTED.into());
        }
    };
    watchdog.abort();
    ended
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Tells systemd that the runtime turns.
async fn watchdog(notifier: Arc<Notifier>) {
    let Some(interval) = notifier.watchdog_interval() else {
        return;
    };
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        notifier.alive();
    }
}

/// The running parts.
struct Agent {
    server: Arc<Server>,
    capture: Arc<Capture>,
    journal: Journal,
    leaving: CancellationToken,
    until: watch::Sender<Until>,
    followers: Vec<JoinHandle<()>>,
    reload: Arc<Reload>,
    admin_off: CancellationToken,
}

impl Agent {
    async fn start(config: &Config) -> anyhow::Result<Self> {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let reload = Arc::new(Reload::open(&config.shadow, metrics.reloads.clone())?);
        let journal = open_journal(config)?;
        let mask = Credentials::with(&config.capture.mask_headers);
        let capture = Arc::new(Capture::new(
            journal.clone(),
            (!config.capture.forward_credentials).then(|| mask.clone()),
            metrics.capture.clone(),
        ));
        let (until_sender, until) = watch::channel(Until::Stopped);
        let mut followers = Vec::new();
        let mut watched = Vec::new();
        if let Some(log) = traffic_log(config, &journal, &metrics, &until, &mask, &mut watched)? {
            followers.push(thread("traffic-log", move |runtime| log.run(runtime))?);
        }
        if let Some(log) = pair_log(config, &journal, &metrics, &until, &mut watched)? {
            followers.push(thread("pair-log", move |runtime| log.run(runtime))?);
        }
        let holds = (config.capture.hold == Hold::Kafka).then(Arc::<Holds>::default);
        let mut offloads = Vec::new();
        for name in [Name::Kafka, Name::KafkaPairs] {
            let offload = offload(
                name,
                config,
                &journal,
                &metrics,
                &until,
                &mask,
                &mut watched,
            )?;
            if let Some(offload) = offload {
                offloads.push((name, offload.standing()));
                let holds = holds.clone().filter(|_| name == Name::Kafka);
                let offload = offload.with_holds(holds);
                followers.push(thread(name.as_str(), move |runtime| offload.run(runtime))?);
            }
        }
        let mut ambiguity = None;
        if let Some(mirror) = mirror(config, &reload, &journal, &metrics, &until, &mut watched)? {
            Metrics::observe_shadow(&mut registry, mirror.counters());
            ambiguity = Some(Ambiguity {
                list: mirror.ambiguous(),
                counters: mirror.counters(),
            });
            followers.push(thread("mirror", move |runtime| mirror.run(runtime))?);
        }
        let (ability_sender, ability) = watch::channel(Ability::Able);
        let leaving = CancellationToken::new();
        tokio::spawn(ability::watch(
            journal.clone(),
            limits(config).ack,
            ability_sender,
            leaving.clone(),
        ));
        let server = Server::new(
            limits(config),
            Arc::clone(&capture),
            journal.clone(),
            ability.clone(),
            holds,
            metrics.server.clone(),
        );
        let admin_off = CancellationToken::new();
        Metrics::observe_journal(&mut registry, journal.clone());
        let sources = Sources {
            registry: Arc::new(registry),
            readiness: Arc::new(move || obstacles(&ability.borrow())),
            notes: Arc::new(notes(&offloads)),
            ambiguous: Arc::new(ambiguous_lines(ambiguity.clone())),
            ledger: Arc::new(ledger(
                metrics.clone(),
                journal.clone(),
                watched,
                ambiguity,
                offloads,
            )),
        };
        // Whoever is told that the agent is ready can connect, and whoever connects is served.
        let bound = bind(config)?;
        start_admin(config, sources, &admin_off).await?;
        listen(bound, &server);
        Ok(Self {
            server,
            capture,
            journal,
            leaving,
            until: until_sender,
            followers,
            reload,
            admin_off,
        })
    }

    async fn stop(self, config: &Config) -> anyhow::Result<ExitCode> {
        let deadline = Instant::now() + config.shutdown.deadline;
        self.leaving.cancel();
        tokio::time::sleep(config.shutdown.lame_duck).await;
        let late = tokio::time::timeout_at(deadline.into(), self.server.close())
            .await
            .is_err();
        if late {
            tracing::warn!("connections are still open at shutdown.deadline; they are cut");
        }
        self.capture.tell_losses();
        let everything = self.journal.appended();
        let synced = self.journal.wait(everything, Level::Sync);
        match tokio::time::timeout_at(deadline.into(), synced).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the journal is not on disk"),
            Err(_) => tracing::error!("the journal is not on disk at shutdown.deadline"),
        }
        self.until.send_replace(Until::CaughtUp(deadline));
        for follower in self.followers {
            let joined = tokio::task::spawn_blocking(move || follower.join());
            if joined.await.is_ok_and(|ended| ended.is_err()) {
                tracing::error!(
                    "a follower ended by a panic; it goes on from its cursor at the next start"
                );
            }
        }
        let closed = self.journal.close();
        self.admin_off.cancel();
        closed.context("the journal could not be closed without a loss")?;
        tracing::info!("stopped");
        Ok(ExitCode::from(if late { LATE } else { 0 }))
    }
}

fn open_journal(config: &Config) -> anyhow::Result<Journal> {
    let written = &config.journal;
    let options = journal::Options {
        flush_interval: written.flush_interval,
        sync_interval: written.sync_interval,
        segment_bytes: written.segment_size,
        max_bytes: written.max_bytes,
        max_record: longest_record(config),
        when_full: match written.when_full {
            WhenFull::Stop => journal::WhenFull::Stop,
            WhenFull::DropUnread => journal::WhenFull::DropUnread,
        },
        buffer_bytes: written.buffer,
        tail_bytes: written.tail,
        stall_limit: written.stall_limit,
        ..journal::Options::new(&written.dir)
    };
    let (journal, recovery) = Journal::open(options)?;
    report(&recovery);
    Ok(journal)
}

/// A record has everything of its frame, and a few bytes more for each header.
const RECORD_OVERHEAD: usize = 256 << 10;

/// A half comes in one frame. A pair has the heads of both halves, of what was sent, and of the shadow's answer, and
/// up to four bodies.
fn longest_record(config: &Config) -> usize {
    let half = config.server.max_frame_size.saturating_add(RECORD_OVERHEAD);
    match config.shadow.pairs {
        PairsTo::Off => half,
        PairsTo::Journal => {
            let bodies = config.shadow.pair_body_limit.saturating_mul(4);
            let longest = half.saturating_add(bodies);
            // What is longer is lost, counted and logged: the journal's own bounds come first.
            longest.min(config.journal.buffer.max(half))
        }
    }
}

fn report(recovery: &Recovery) {
    let is_clean =
        recovery.cuts.is_empty() && recovery.damaged.is_empty() && recovery.hole.is_none();
    if is_clean {
        tracing::info!("journal opened: {recovery}");
    } else {
        tracing::warn!("journal opened: {recovery}");
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        connections: config.server.max_connections,
        max_frame_size: u32::try_from(config.server.max_frame_size).unwrap_or(u32::MAX),
        frame_memory: config.server.frame_memory,
        hello_timeout: config.server.hello_timeout,
        hold_deadline: match config.capture.hold {
            Hold::Journal => config.capture.hold_deadline,
            Hold::Kafka => config.kafka.hold_deadline,
        },
        ack: match config.journal.ack {
            AckLevel::Append => Level::Append,
            AckLevel::Write => Level::Write,
            AckLevel::Sync => Level::Sync,
        },
    }
}

fn bind(config: &Config) -> anyhow::Result<Vec<Listener>> {
    let mut bound = Vec::new();
    for address in &config.server.listen {
        bound.extend(Listener::bind(address, config.server.unix_mode)?);
    }
    Ok(bound)
}

fn listen(bound: Vec<Listener>, server: &Arc<Server>) {
    for listener in bound {
        tracing::info!(address = listener.address(), "listening for HAProxy");
        server.listen(listener);
    }
}

fn follower(
    name: Name,
    begin: Start,
    config: &Config,
    journal: &Journal,
    metrics: &Metrics,
    until: &watch::Receiver<Until>,
    watched: &mut Vec<Watched>,
) -> anyhow::Result<Follower> {
    let pairing = PairingOptions {
        deadline: config.pairing.deadline,
        max_open_bytes: config.pairing.max_bytes,
        announce: match name {
            Name::Shadow => true,
            Name::Kafka => config.capture.hold == Hold::Kafka,
            Name::TrafficLog | Name::PairLog | Name::KafkaPairs => false,
        },
        want: match name {
            Name::PairLog | Name::KafkaPairs => Want::Pairs,
            Name::Shadow | Name::TrafficLog | Name::Kafka => Want::Exchanges,
        },
        ..PairingOptions::default()
    };
    let follower = Follower::open(
        name,
        journal,
        begin,
        pairing,
        metrics.follower(name),
        until.clone(),
    )
    .with_context(|| format!("cannot start the follower {}", name.as_str()))?;
    watched.push(follower.watched());
    Ok(follower)
}

fn traffic_log(
    config: &Config,
    journal: &Journal,
    metrics: &Metrics,
    until: &watch::Receiver<Until>,
    mask: &Credentials,
    watched: &mut Vec<Watched>,
) -> anyhow::Result<Option<TrafficLog>> {
    let written = &config.traffic_log;
    let Some(output) = &written.path else {
        return Ok(None);
    };
    let follower = follower(
        Name::TrafficLog,
        Start::Oldest,
        config,
        journal,
        metrics,
        until,
        watched,
    )?;
    let rotation = Rotation {
        size: written.rotate_size,
        age: written.rotate_age,
        keep: written.keep,
    };
    let content = Exchanges {
        bodies: written.bodies,
        // What the journal masks already need not be looked at again.
        mask: config.capture.forward_credentials.then(|| mask.clone()),
    };
    let (title, metrics) = (traffic_log::TITLE, metrics.traffic_log.clone());
    Ok(Some(TrafficLog::open(
        title, follower, output, rotation, content, metrics,
    )?))
}

fn pair_log(
    config: &Config,
    journal: &Journal,
    metrics: &Metrics,
    until: &watch::Receiver<Until>,
    watched: &mut Vec<Watched>,
) -> anyhow::Result<Option<PairLog>> {
    let written = &config.pair_log;
    let Some(output) = &written.path else {
        return Ok(None);
    };
    let follower = follower(
        Name::PairLog,
        Start::Oldest,
        config,
        journal,
        metrics,
        until,
        watched,
    )?;
    let rotation = Rotation {
        size: written.rotate_size,
        age: written.rotate_age,
        keep: written.keep,
    };
    let content = Pairs {
        bodies: written.bodies,
    };
    let (title, metrics) = (pair_log::TITLE, metrics.pair_log.clone());
    Ok(Some(PairLog::open(
        title, follower, output, rotation, content, metrics,
    )?))
}

fn offload(
    name: Name,
    config: &Config,
    journal: &Journal,
    metrics: &Metrics,
    until: &watch::Receiver<Until>,
    mask: &Credentials,
    watched: &mut Vec<Watched>,
) -> anyhow::Result<Option<Offload>> {
    let written = &config.kafka;
    let (topic, counts) = match name {
        Name::KafkaPairs => (written.pairs_topic.clone(), &metrics.kafka_pairs),
        _ => (Some(written.topic.clone()), &metrics.kafka),
    };
    let Some(topic) = topic.filter(|_| !written.brokers.is_empty()) else {
        return Ok(None);
    };
    let client = Client::new(written)?;
    let begin = Start::Oldest;
    let follower = follower(name, begin, config, journal, metrics, until, watched)?;
    let number = |count: usize| i32::try_from(count).ok().filter(|count| *count > 0);
    let topic = Topic {
        name: topic,
        create: written.create_topics,
        partitions: number(written.partitions),
        replication: number(written.replication),
    };
    let bounds = offload::Bounds {
        in_flight_bytes: written.max_in_flight_bytes,
        message_bytes: written.message_max_bytes,
    };
    let stream = match name {
        Name::KafkaPairs => Stream::of_pairs(written, mask),
        _ => Stream::new(written, mask),
    };
    Ok(Some(Offload::new(
        follower,
        client,
        topic,
        stream,
        bounds,
        counts.clone(),
    )))
}

fn mirror(
    config: &Config,
    reload: &Reload,
    journal: &Journal,
    metrics: &Metrics,
    until: &watch::Receiver<Until>,
    watched: &mut Vec<Watched>,
) -> anyhow::Result<Option<Mirror>> {
    let written = &config.shadow;
    let Some(url) = &written.url else {
        return Ok(None);
    };
    let mut engine = engine_config(written, url.clone(), reload.identity(), reload.rules())?;
    let begin = match written.begin {
        Begin::Now => Start::Latest,
        Begin::Oldest => Start::Oldest,
    };
    let follower = follower(
        Name::Shadow,
        begin,
        config,
        journal,
        metrics,
        until,
        watched,
    )?;
    let results = Results::new(metrics.shadow.clone());
    engine.name = url.to_string();
    engine.pairs = written.pairs == PairsTo::Journal;
    engine.limits.keep = written.pair_body_limit;
    engine.notes = Some(config.journal.dir.join(NOTES));
    engine.resumed = follower.is_resumed();
    engine.resolve = resolve(written)?;
    let engine = Engine::start(engine, results.clone())?;
    let keeping = Keeping {
        pairs: Keep::configured(config, journal, metrics.pairs.clone()),
        letters: DeadLetters::configured(config, metrics.dead_letters.clone())?,
        ambiguous: Arc::new(AmbiguousList::open(
            &config.journal.dir,
            metrics.ambiguous.clone(),
        )?),
    };
    Ok(Some(Mirror::new(follower, engine, results, keeping)))
}

/// What an engine has to know that sends to `url` on its own, with the rules and credentials of the
/// configuration.
pub(crate) fn lone_engine_config(
    written: &config::Shadow,
    url: shadow::Target,
) -> anyhow::Result<shadow::Config> {
    let written = config::Shadow {
        url: Some(url.clone()),
        ..written.clone()
    };
    let reload = Reload::open(
        &written,
        Metrics::register(&mut Registry::default()).reloads,
    )?;
    engine_config(&written, url, reload.identity(), reload.rules())
}

/// Where what is ambiguous is read, when it is to be.
fn resolve(written: &config::Shadow) -> anyhow::Result<Option<shadow::Resolve>> {
    let (ResolveBy::Primary, Some(primary)) = (written.resolve, &written.primary_url) else {
        return Ok(None);
    };
    let identity = match &written.primary_authorization_file {
        None => Identity::default(),
        Some(path) => Identity::new(reload::read_authorization(
            "shadow.primary_authorization_file",
            path,
        )?),
    };
    Ok(Some(shadow::Resolve {
        primary: primary.clone(),
        trust: match &written.primary_ca_file {
            Some(path) => Trust::CaFile(path.clone()),
            None => Trust::System,
        },
        identity,
        timeouts: shadow::Timeouts {
            connect: written.connect_timeout,
            // While it lasts, the document's other writes wait.
            response: written.response_timeout.min(LONGEST_LOOK),
            ..shadow::Timeouts::default()
        },
        per_second: u32::try_from(written.resolve_rate).unwrap_or(u32::MAX),
    }))
}

/// What the engine has to know of the shadow at `url`.
fn engine_config(
    written: &config::Shadow,
    url: shadow::Target,
    identity: Identity,
    rules: Arc<rules::Cell>,
) -> anyhow::Result<shadow::Config> {
    let mut engine = shadow::Config::new(url);
    engine.trust = match (&written.ca_file, written.insecure) {
        (_, true) => Trust::Anyone,
        (Some(path), false) => Trust::CaFile(path.clone()),
        (None, false) => Trust::System,
    };
    engine.rewrite = Rewrite {
        host: written.host.clone(),
        id_header: FieldName::parse(&written.id_header).context("shadow.id_header")?,
        identity,
        ..Rewrite::default()
    };
    engine.rules = rules;
    engine.order = written.order;
    engine.policy.refused = written.refused;
    engine.policy.no_effect = match written.refused {
        Refused::Leave => NoEffect::Leave,
        Refused::Send => NoEffect::Send,
    };
    engine.policy.pin_ids = written.ids == Ids::Pin;
    engine.connections = written.connections;
    engine.adaptive = written.adaptive;
    engine.timeouts.connect = written.connect_timeout;
    engine.timeouts.response = written.response_timeout;
    engine.bounds.exchanges = written.max_in_flight;
    engine.bounds.bytes = written.max_in_flight_bytes;
    engine.retry.max_attempts = u32::try_from(written.max_attempts).unwrap_or(u32::MAX);
    Ok(engine)
}

fn thread(
    name: &str,
    work: impl FnOnce(&Handle) + Send + 'static,
) -> anyhow::Result<JoinHandle<()>> {
    let runtime = Handle::current();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || work(&runtime))
        .with_context(|| format!("cannot start the thread {name}"))
}

async fn start_admin(
    config: &Config,
    sources: Sources,
    off: &CancellationToken,
) -> anyhow::Result<()> {
    let Some(address) = &config.admin.listen else {
        return Ok(());
    };
    let admin = Admin::bind(address)
        .await
        .with_context(|| format!("cannot listen on admin.listen = {address}; choose another address, or \"\" to turn it off"))?;
    if let Ok(address) = admin.local_addr() {
        tracing::info!(%address, "serving /metrics, /healthz, /readyz, /ledger and /ambiguous");
    }
    admin
        .serve_apart(sources, off.clone())
        .context("cannot start the admin server")
}

fn obstacles(ability: &Ability) -> Vec<String> {
    match ability {
        Ability::Able => Vec::new(),
        Ability::Unable(reason) => vec![reason.to_string()],
        Ability::Leaving => vec!["the agent is stopping".to_owned()],
    }
}

/// What an operator should know of an agent that captures all the same.
fn notes(offloads: &[(Name, Arc<offload::Standing>)]) -> impl Fn() -> Vec<String> + use<> {
    let standings: Vec<_> = offloads
        .iter()
        .map(|(_, standing)| Arc::clone(standing))
        .collect();
    move || {
        let notes = standings.iter();
        notes.filter_map(|standing| standing.note()).collect()
    }
}

/// What may differ on the shadow, and what is done about it.
#[derive(Clone)]
struct Ambiguity {
    list: Arc<AmbiguousList>,
    counters: Arc<shadow::Counters>,
}

impl Ambiguity {
    fn to_json(&self, metrics: &Metrics) -> Value {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        json!({
            "since": "start",
            "found": by_reason(&metrics.ambiguous.found),
            "listed": self.list.len(),
            "unlisted": metrics.ambiguous.unlisted.get(),
            "resolved": read(&self.counters.resolved),
            "unresolved": read(&self.counters.unresolved),
            "pending": read(&self.counters.resolve_pending),
        })
    }
}

fn ambiguous_lines(ambiguity: Option<Ambiguity>) -> impl Fn(bool) -> std::io::Result<Vec<u8>> {
    move |all| match &ambiguity {
        Some(ambiguity) => ambiguity.list.read(all),
        None => Ok(Vec::new()),
    }
}

/// What `/ledger` shows: what reached the agent, what the journal has, what each follower did with it.
fn ledger(
    metrics: Metrics,
    journal: Journal,
    watched: Vec<Watched>,
    ambiguity: Option<Ambiguity>,
    offloads: Vec<(Name, Arc<offload::Standing>)>,
) -> impl Fn() -> Value {
    move || {
        let capture = &metrics.capture;
        let followers: serde_json::Map<String, Value> = watched
            .iter()
            .map(|follower| {
                (
                    follower.name().as_str().to_owned(),
                    follower.standing().to_json(),
                )
            })
            .collect();
        let end = journal.stats();
        json!({
            "capture": {
                "since": "start",
                "requests": halves(capture, HalfKind::Request),
                "responses": halves(capture, HalfKind::Response),
                "unknown_messages": capture.unknown_messages.get(),
            },
            "journal": {
                "records": end.written.sequence,
                "appended": journal.appended(),
                "written": journal.written(),
                "synced": journal.synced(),
            },
            "followers": followers,
            "pairs": {
                "since": "start",
                "kept": metrics.pairs.kept.get(),
                "lost": by_reason(&metrics.pairs.lost),
            },
            "dead_letters": {
                "since": "start",
                "written": metrics.dead_letters.written.get(),
                "lost": by_reason(&metrics.dead_letters.lost),
            },
            "kafka": offloads
                .iter()
                .map(|(name, standing)| (name.as_str().to_owned(), standing.to_json()))
                .collect::<serde_json::Map<_, _>>(),
            "ambiguous": ambiguity.as_ref().map(|ambiguity| ambiguity.to_json(&metrics)),
        })
    }
}

fn by_reason<L: Label>(counts: &Counts<L>) -> serde_json::Map<String, Value> {
    let count = |reason: &L| (reason.as_str().to_owned(), counts.get(*reason).into());
    L::ALL.iter().map(count).collect()
}

fn halves(capture: &CaptureMetrics, kind: HalfKind) -> Value {
    // Captured and refused first: a half that comes meanwhile is then received and neither, for a
    // moment in flight.
    let captured = capture.captured.get(kind);
    let refused: serde_json::Map<String, Value> = HalfRefusal::ALL
        .iter()
        .map(|reason| {
            (
                reason.as_str().to_owned(),
                capture.refused.get(kind, *reason).into(),
            )
        })
        .collect();
    json!({ "received": capture.received.get(kind), "captured": captured, "refused": refused })
}
