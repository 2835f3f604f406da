//! `spoa-agent replay`: sends an old capture through the engine that mirrors the live one.
//!
//! Reading order: `source` (events in the order of a journal) with `journal`, `files`, `window` and [`crate::readback`]; `selection`
//! (which of them); `feed` (one target: reads ahead, hands what it reads to the engine, keeps account in `tally`, its
//! place in `state`, and `pairs`); `control`, `screen` and `report` (what the user does and sees). What a request becomes,
//! in which order and when it goes is the engine's business: [`shadow`], [`shadow::pace`].
//!
//! The schedule is open-loop: a target that is slow makes requests late, never rare, and the lateness is told.

mod control;
mod dry;
mod feed;
mod files;

mod journal;
mod pairs;
mod report;
mod screen;
mod selection;
mod source;
mod state;
mod tally;
mod window;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufWriter, Write};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use indicatif::{MultiProgress, ProgressDrawTarget};
use prometheus_client::registry::Registry;
use serde_json::json;
use shadow::{Bounds, Engine, Pace, Spacing, Speed, Target};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::control::Control;
pub use self::dry::DryRun;
pub use self::feed::{Standing, Watched};
pub use self::files::{FileSource, Input};
pub(crate) use self::files::{open as open_lines, read_until_line_feed};
pub use self::journal::JournalSource;
pub(crate) use self::report::short;
pub use self::selection::{Selection, Time, Window};
pub use self::source::{Event, Progress, Source};
pub use self::tally::Tally;
pub use self::window::WindowBounds;

use self::control::{Keyboard, Socket};
use self::dry::Dry;
use self::feed::{Feed, Keeper, Parts, Results};
use self::pairs::PairFile;
use self::screen::{LogLines, REDRAW, Screen};
use self::state::{Saved, StateDir};
use crate::ambiguous::AmbiguousList;
use crate::cli::exit::Exit;
use crate::config::Log;
use crate::readback::{self, ExportSource, KafkaSource, Offsets, Place};
use crate::telemetry::metrics::Metrics;

/// Events that are read to see whether the source is what the user means.
const PEEKED: usize = 256;
/// How long to wait, at a stop, for what is in flight.
const GRACE: Duration = Duration::from_secs(10);
/// What the engine of each target holds: most of it is read ahead.
const BOUNDS: Bounds = Bounds {
    exchanges: 1 << 17,
    bytes: 256 << 20,
};

/// Everything that the user says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to read.
    pub from: From,
    /// Where to send; none only for a dry run.
    pub targets: Vec<Target>,
    /// How far apart requests are at speed 1.
    pub spacing: Spacing,
    /// How fast the clock runs.
    pub speed: Speed,
    /// What is replayed.
    pub selection: Selection,
    /// How far to read ahead of the clock.
    pub ahead: Duration,
    /// Where to keep how far the replay is.
    pub state: Option<PathBuf>,
    /// Forget what was kept.
    pub restart: bool,
    /// Send even to what looks like the primary.
    pub force: bool,
    /// What is sent, and how. The target in it is replaced by each of `targets`.
    pub engine: shadow::Config,
    /// A file for the pairs.
    pub pairs: Option<PathBuf>,
    /// A socket that takes commands.
    pub control: Option<PathBuf>,
    /// A file for the figures at the end.
    pub report: Option<PathBuf>,
    /// Print, and send nothing.
    pub dry_run: Option<DryRun>,
    /// What is logged.
    pub log: Log,
}

/// Where a replay reads.
#[derive(Clone, Debug)]
pub enum From {
    /// The directory of a journal.
    Journal(PathBuf),
    /// Traffic logs.
    Files(Vec<Input>),
    /// Records of a capture proxy, exported from their topic.
    Exports(Vec<Input>),
    /// A topic.
    Kafka(Box<Topic>),
}

/// A topic, and what of it.
#[derive(Clone, Debug)]
pub struct Topic {
    /// How to reach the brokers.
    pub kafka: crate::config::Kafka,
    /// Which topic.
    pub place: Place,
    /// The consumer group. `None`: one of its own for each topic, target and selection.
    pub group: Option<String>,
    /// Which offsets. Empty: all.
    pub offsets: BTreeMap<i32, Offsets>,
    /// Go on at the end.
    pub follow: bool,
}

impl From {
    fn open(
        &self,
        options: &Options,
        target: Option<&Target>,
        resumed: Option<::journal::CursorState>,
    ) -> anyhow::Result<Box<dyn Source>> {
        Ok(match self {
            Self::Journal(dir) => Box::new(JournalSource::open(dir, resumed)?),
            Self::Files(inputs) => Box::new(FileSource::open(inputs, resumed)?),
            Self::Exports(inputs) => Box::new(ExportSource::open(inputs, resumed)?),
            Self::Kafka(topic) => {
                let group = topic.group(options, target);
                Box::new(KafkaSource::open(topic.options(options, group), resumed)?)
            }
        })
    }

    /// Which of it, in words, for what is kept of a replay.
    fn selected(&self, selection: &Selection) -> String {
        match self {
            Self::Kafka(topic) if !topic.offsets.is_empty() => {
                format!("{} {:?}", selection.told(), topic.offsets)
            }
            _ => selection.told(),
        }
    }

    fn is_standard_input(&self) -> bool {
        matches!(self, Self::Files(inputs) | Self::Exports(inputs) if inputs.contains(&Input::Standard))
    }
}

impl std::fmt::Display for From {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
        match self {
            Self::Journal(dir) => write!(f, "journal:{}", whole(dir).display()),
            Self::Files(inputs) | Self::Exports(inputs) => {
                f.write_str(match self {
                    Self::Exports(_) => "traffic-stream:",
                    _ => "file:",
                })?;
                for (number, input) in inputs.iter().enumerate() {
                    let space = if number > 0 { " " } else { "" };
                    match input {
                        Input::Standard => write!(f, "{space}-")?,
                        Input::File(path) => write!(f, "{space}{}", whole(path).display())?,
                    }
                }
                Ok(())
            }
            Self::Kafka(topic) => topic.place.fmt(f),
        }
    }
}

impl Topic {
    fn options(&self, options: &Options, group: String) -> readback::Options {
        readback::Options {
            kafka: self.kafka.clone(),
            place: self.place.clone(),
            group,
            offsets: self.offsets.clone(),
            since_us: match options.selection.from {
                Some(Time::AfterBegin(_)) | None => None,
                Some(_) => Some(options.selection.window(0, now_us()).from),
            },
            follow: self.follow && options.dry_run.is_none(),
            restart: options.restart || options.dry_run.is_some(),
            kept: BTreeMap::new(),
        }
    }

    /// Two targets, or two selections, are two replays, and do not share what is done. A dry run takes nothing
    /// away from any.
    fn group(&self, options: &Options, target: Option<&Target>) -> String {
        let target = target.map(Target::authority).unwrap_or_default();
        let mut group = match &self.group {
            Some(group) if options.targets.len() < 2 => group.clone(),
            Some(group) => format!("{group}-{target}"),
            None => {
                let selected = options.from.selected(&options.selection);
                let selected = crc32c::crc32c(selected.as_bytes());
                let topic = &self.place.topic;
                format!("spoa-agent-replay-{topic}-{target}-{selected:08x}")
            }
        };
        if options.dry_run.is_some() {
            group.push_str("-dry-run");
        }
        group
    }
}

/// Replays, and says how it ended.
///
/// # Errors
/// When it cannot begin, or cannot go on. What was begun is brought to an end first, and kept.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if options.dry_run.is_some() {
        return dry_run(options, &mut BufWriter::new(io::stdout().lock()));
    }
    check_targets(options)?;
    let all = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
    let lines = LogLines::new(&all);
    crate::telemetry::logging::init_with(&options.log, move || lines.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(replay(options, &all));
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended.map(Into::into)
}

fn check_targets(options: &Options) -> anyhow::Result<()> {
    let targets = &options.targets;
    for (number, target) in targets.iter().enumerate() {
        if targets.iter().skip(number + 1).any(|other| other == target) {
            bail!("{target} is named twice; each exchange would be sent to it twice");
        }
    }
    if options.from.is_standard_input() {
        if targets.len() > 1 {
            bail!(
                "the standard input can be read once, so it goes to one target; write it to a file first"
            );
        }
        if options.state.is_some() {
            bail!(
                "a replay of the standard input cannot go on later, so --state is of no use; write it to a file first"
            );
        }
    }
    Ok(())
}

/// What a feed begins with.
struct Opened {
    source: Box<dyn Source>,
    peeked: VecDeque<Event>,
    window: Window,
    tally: Tally,
}

fn open(
    options: &Options,
    target: Option<&Target>,
    saved: Option<Saved>,
) -> anyhow::Result<Opened> {
    let resumed = saved.as_ref().map(Saved::bookmark);
    let mut source = options.from.open(options, target, resumed)?;
    let mut peeked = VecDeque::new();
    while peeked.len() < PEEKED
        && let Some(event) = source.next()?
    {
        match event {
            Event::Waiting if peeked.is_empty() => {}
            Event::Waiting => break,
            event => peeked.push_back(event),
        }
    }
    if let Some(saved) = saved {
        return Ok(Opened {
            source,
            peeked,
            window: saved.window,
            tally: saved.tally,
        });
    }
    let begin = peeked.iter().find_map(|event| match event {
        Event::Begun { request, .. } => Some(request.time_us),
        Event::Complete(exchange) => Some(exchange.time_us()),
        _ => None,
    });
    let Some(begin) = begin else {
        if let From::Kafka(topic) = &options.from {
            bail!(
                "{} holds no exchange that the group {} has not done: there is nothing to replay; --restart begins anew",
                options.from,
                topic.group(options, target)
            );
        }
        bail!(
            "{} holds no exchange: there is nothing to replay",
            options.from
        );
    };
    let window = options.selection.window(begin, now_us());
    if window.from >= window.until {
        bail!("--from-time is not before --until-time: no exchange lies between them");
    }
    Ok(Opened {
        source,
        peeked,
        window,
        tally: Tally::default(),
    })
}

/// Refuses a target that the captured requests were sent to: it would get everything twice, and when its traffic is
/// captured into this journal, without end.
fn refuse_primary(target: &Target, peeked: &VecDeque<Event>) -> anyhow::Result<()> {
    let resolved: Vec<SocketAddr> = (target.host(), target.port())
        .to_socket_addrs()
        .map(Iterator::collect)
        .unwrap_or_default();
    let authority = target.authority();
    for event in peeked {
        let Event::Begun { request, .. } = event else {
            continue;
        };
        let is_host = request.headers.get("host") == Some(authority.as_bytes());
        let is_address = request
            .local
            .is_some_and(|local| resolved.contains(&SocketAddr::new(local.ip, local.port)));
        if is_host || is_address {
            bail!(
                "{target} looks like the primary: captured requests were sent there. It would get every write again. \
                 Name the shadow with --to, or say --force if you mean it"
            );
        }
    }
    Ok(())
}

/// What was kept for the target, if the replay is the same.
fn saved(
    options: &Options,
    dir: Option<&Arc<StateDir>>,
    target: &Target,
) -> anyhow::Result<Option<Saved>> {
    let Some(dir) = dir.filter(|_| !options.restart) else {
        return Ok(None);
    };
    let Some(saved) = dir.load(target)? else {
        return Ok(None);
    };
    let from = options.from.to_string();
    if saved.source != from {
        bail!(
            "the state for {target} is of a replay of {}, not of {from}; name another --state, or use --restart",
            saved.source
        );
    }
    if saved.selection != options.from.selected(&options.selection) {
        bail!(
            "the state for {target} is of a replay with other --from-time, --until-time, --limit or --offsets; name another \
             --state, or use --restart"
        );
    }
    tracing::info!(
        to = %target,
        done = saved.tally.finished(),
        "{}",
        if saved.finished {
            "this was replayed to its end; going on with what was captured since (--restart begins anew)"
        } else {
            "going on where the last run stopped (--restart begins anew)"
        }
    );
    Ok(Some(saved))
}

/// What the feeds of all targets share.
struct Shared<'a> {
    options: &'a Options,
    dir: Option<Arc<StateDir>>,
    pairs: Option<Arc<PairFile>>,
    stop: CancellationToken,
}

impl Shared<'_> {
    /// A target, ready to go.
    fn feed(&self, target: &Target, pace: Arc<Pace>) -> anyhow::Result<Feed> {
        let options = self.options;
        let dir = self.dir.as_ref();
        let saved = saved(options, dir, target)?;
        let resumed = saved.as_ref().is_some_and(|saved| !saved.at_rest);
        let is_new = saved.is_none();
        let opened = open(options, Some(target), saved)?;
        if !options.force {
            refuse_primary(target, &opened.peeked)?;
        }
        if let Some(dir) = dir.filter(|_| is_new) {
            dir.forget(target)?;
        }
        let results = Arc::new(Results::default());
        let mut config = options.engine.clone();
        config.target = target.clone();
        config.name = target.to_string();
        config.bounds = BOUNDS;
        config.pace = Some(Arc::clone(&pace));
        config.notes = dir.map(|dir| dir.notes(target));
        config.resumed = resumed;
        config.pairs = self.pairs.is_some();
        if config.pairs {
            config.limits.keep = pairs::BODY_LIMIT;
        }
        let engine = Engine::start(config, Arc::clone(&results) as Arc<_>)?;
        // Nobody scrapes a replay; its report has the figures.
        let metrics = Metrics::register(&mut Registry::default()).ambiguous;
        let ambiguous = match dir {
            Some(dir) => AmbiguousList::open_file(dir.ambiguous(target), metrics)?,
            None => AmbiguousList::temporary(metrics)?,
        };
        Ok(Feed::new(Parts {
            target: target.clone(),
            source: opened.source,
            peeked: opened.peeked,
            engine,
            results,
            pace,
            window: opened.window,
            limit: options.selection.limit,
            ahead: options.ahead,
            tally: opened.tally,
            keeper: dir.map(|dir| Keeper {
                dir: Arc::clone(dir),
                source: options.from.to_string(),
                selection: options.from.selected(&options.selection),
            }),
            pairs: self.pairs.clone(),
            ambiguous: Arc::new(ambiguous),
            stop: self.stop.clone(),
            grace: GRACE,
        }))
    }
}

async fn replay(options: &Options, all: &MultiProgress) -> anyhow::Result<Exit> {
    tracing::info!(from = %options.from, "reading ahead");
    let stop = CancellationToken::new();
    let pace = Arc::new(Pace::new(options.spacing, options.speed));
    let dir = options.state.as_deref().map(StateDir::open).transpose()?;
    let pairs = options.pairs.as_deref().map(PairFile::open).transpose()?;
    let shared = Shared {
        options,
        dir: dir.map(Arc::new),
        pairs: pairs.map(Arc::new),
        stop: stop.clone(),
    };
    let mut feeds = Vec::new();
    for (number, target) in options.targets.iter().enumerate() {
        let own = match number {
            0 => Arc::clone(&pace),
            _ => Arc::new(pace.alongside()),
        };
        feeds.push(shared.feed(target, own)?);
    }
    let control = Control {
        pace: Arc::clone(&pace),
        stop: stop.clone(),
        watched: feeds.iter().map(Feed::watched).collect(),
    };
    // Whoever finds the socket may send a signal.
    let signals = Signals::new().context("cannot handle signals")?;
    let socket = options.control.as_deref().map(Socket::bind).transpose()?;
    let socket = socket.map(|socket| tokio::spawn(socket.serve(control.clone())));
    let began = now_us();
    pace.start();
    let ended = run_feeds(feeds, &control, signals, all, options).await;
    if let Some(socket) = socket {
        socket.abort();
        // So that its file is gone when we are.
        drop(socket.await);
    }
    let complete = ended?;
    tell(options, &control, began, complete)?;
    Ok(exit(&control.watched, complete))
}

/// Runs all feeds on threads of their own. Returns whether all came to the end of their source.
async fn run_feeds(
    feeds: Vec<Feed>,
    control: &Control,
    mut signals: Signals,
    all: &MultiProgress,
    options: &Options,
) -> anyhow::Result<bool> {
    let wants_keys = !options.from.is_standard_input();
    let mut keyboard = wants_keys.then(Keyboard::take).flatten();
    let keys_off = CancellationToken::new();
    if keyboard.is_some() {
        let (control, off) = (control.clone(), keys_off.clone());
        thread("keyboard", move || Keyboard::read(&control, &off))?;
    }
    let mut screen = Screen::new(all, control, keyboard.is_some());
    let (over, mut overs) = mpsc::channel(feeds.len().max(1));
    let mut running = feeds.len();
    for feed in feeds {
        let (over, runtime, stop) = (over.clone(), Handle::current(), control.stop.clone());
        thread("replay", move || {
            let ended = feed.run(&runtime);
            if ended.is_err() {
                stop.cancel();
            }
            // Nobody listens any more when the process is about to end.
            over.blocking_send(ended).unwrap_or_default();
        })?;
    }
    // A feed that panics says nothing, and drops its end.
    drop(over);
    let mut redraw = tokio::time::interval(REDRAW);
    let mut complete = true;
    let mut failed = None;
    while running > 0 {
        tokio::select! {
            _ = redraw.tick() => screen.draw(control),
            ended = overs.recv() => {
                running -= 1;
                match ended {
                    Some(Ok(whole)) => complete &= whole,
                    Some(Err(error)) => {
                        failed.get_or_insert(error);
                    }
                    None => bail!("a part of the replay ended by a panic"),
                }
            }
            signal = signals.next() => match signal {
                Said::Toggle => control.toggle(),
                Said::Stop if control.stop.is_cancelled() => {
                    drop(keyboard.take());
                    // Nothing is kept of what happened since the state was saved last.
                    std::process::exit(Exit::Interrupted.code().into());
                }
                Said::Stop => {
                    tracing::info!("stopping when what is in flight is done; a second signal ends at once");
                    control.stop.cancel();
                }
            },
        }
    }
    keys_off.cancel();
    screen.draw(control);
    screen.clear();
    drop(keyboard);
    failed.map_or(Ok(complete), Err)
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .with_context(|| format!("cannot start the thread {name}"))?;
    Ok(())
}

/// The figures, on the standard output and in the report.
fn tell(options: &Options, control: &Control, began: u64, complete: bool) -> anyhow::Result<()> {
    let standings: Vec<Standing> = control.watched.iter().map(Watched::standing).collect();
    if let Some(path) = &options.report {
        let report = json!({
            "from": options.from.to_string(),
            "spacing": format!("{:?}", options.spacing),
            "speed": control.pace.clock().speed().to_string(),
            "began": report::time(began),
            "ended": report::time(now_us()),
            "complete": complete,
            "targets": control.watched.iter().map(report::whole).collect::<Vec<_>>(),
        });
        std::fs::write(path, format!("{report:#}\n"))
            .with_context(|| format!("cannot write the report {}", path.display()))?;
    }
    let mut out = BufWriter::new(io::stdout().lock());
    // Without limit, everything was due at once.
    let paced = control.pace.clock().speed() != Speed::Unlimited;
    report::table(&control.watched, paced, &mut out)?;
    for watched in &control.watched {
        report::ambiguous(watched, &mut out)?;
    }
    if !complete {
        let hint = match &options.state {
            Some(_) => "the same command goes on from here",
            None => "without --state, the next run begins anew",
        };
        writeln!(out, "Stopped before the end; {hint}.")?;
    }
    out.flush()?;
    let outside: u64 = standings.iter().map(|it| it.tally.outside).sum();
    if complete && outside > 0 && standings.iter().all(|it| it.tally.read == 0) {
        bail!(
            "no exchange of {} lies between --from-time and --until-time",
            options.from
        );
    }
    Ok(())
}

fn exit(watched: &[Watched], complete: bool) -> Exit {
    let dropped = watched
        .iter()
        .any(|it| it.standing().tally.all_dropped() > 0);
    match (complete, dropped) {
        (false, _) => Exit::Stopped,
        (true, true) => Exit::Dropped,
        (true, false) => Exit::Ok,
    }
}

fn dry_run(options: &Options, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut opened = open(options, options.targets.first(), None)?;
    let pace = Pace::new(options.spacing, options.speed);
    let dry = Dry {
        how: options.dry_run.unwrap_or(DryRun::Lines),
        pace: &pace,
        engine: &options.engine,
        target: options.targets.first(),
        window: opened.window,
        limit: options.selection.limit,
    };
    let printed = dry.run(opened.peeked, &mut *opened.source, out)?;
    writeln!(
        out,
        "\nDry run: {} would be sent, {} not, {} are outside the window or the limit; nothing was sent.",
        printed.sent, printed.not_sent, printed.outside
    )?;
    out.flush()?;
    Ok(Exit::Ok.into())
}

/// What a signal wants.
enum Said {
    Stop,
    Toggle,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    toggle: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            toggle: signal(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) -> Said {
        tokio::select! {
            _ = self.terminate.recv() => Said::Stop,
            _ = self.interrupt.recv() => Said::Stop,
            _ = self.toggle.recv() => Said::Toggle,
        }
    }
}

/// Unix time in microseconds.
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}
