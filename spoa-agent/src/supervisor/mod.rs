//! HAProxy and the agent as the children of one process, which may be the first of a container.
//!
//! The agent is started first, and HAProxy when the agent is ready, or when that takes too long: traffic matters
//! more than its capture. A program that ends is started again, later each time; one that ends again and
//! again ends the whole with its exit code, in order. When the agent is away, HAProxy passes the traffic by.
//!
//! | signal | effect |
//! |---|---|
//! | SIGTERM, SIGINT | HAProxy takes no more connections and ends what it has, at most until [`Plan::drain`]; then the agent ends in its own order; a second one ends both at once |
//! | SIGHUP, SIGUSR2 | HAProxy reads its configuration again when `haproxy -c` accepts it; the agent reads its rules and credentials again |
//!
//! With `capture-proxy` an agent that ends again and again does not end HAProxy ([`AgentFailure`]).
//!
//! Orphans are adopted and waited for, whether this is process 1 or not. Nothing is written to any file.

mod haproxy;
mod health;
mod process;
mod restarts;
mod word;

use std::ffi::OsString;
use std::future::pending;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, getpid, set_child_subreaper};
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::config::{Config, LogFormat};
use crate::telemetry::logging;
use crate::telemetry::sd_notify::Notifier;

pub use haproxy::Haproxy;
pub use health::faults;
use process::{Ended, Process, kill_group, reap};
use restarts::{MOST, Next, Restarts, WITHIN};
use word::{SILENCE, Word, Words, mute};

/// HAProxy does not wait longer for an agent that gets ready.
const AGENT_FIRST: Duration = Duration::from_secs(10);
/// How long a program may take to end once it was told to end at once.
const LAST_CHANCE: Duration = Duration::from_secs(2);
/// An agent that has been given up is tried again this often, where it may be away.
const NOW_AND_THEN: Duration = Duration::from_secs(30);
/// A wait that took this much longer than planned was not ours alone: all processes stood still.
const STOOD_STILL: Duration = Duration::from_secs(5);
/// How often to look whether HAProxy listens already.
const LOOK: Duration = Duration::from_millis(50);
/// How often to look whether a HAProxy that was told to stop listens still.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// The agent's exit code for a wrong configuration: no further start would help.
const WRONG_CONFIGURATION: Ended = Ended::Exited(2);
/// The exit code after a second signal, as for `run`.
const INTERRUPTED: u8 = 130;

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// HAProxy, with its configuration.
    pub haproxy: Haproxy,
    /// The arguments of `spoa-agent run`.
    pub agent: Vec<OsString>,
    /// What these arguments mean.
    pub config: Config,
    /// How long HAProxy's open connections may take to end.
    pub drain: Duration,
    /// What to do about an agent that ends again and again.
    pub agent_failure: AgentFailure,
}

/// What to do about an agent that ends again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum AgentFailure {
    /// End HAProxy too, and exit with the agent's code
    #[default]
    End,
    /// Let the traffic pass by uncaptured, and try the agent again every 30 s
    PassBy,
}

/// Runs both until told to stop, or until one of them cannot be kept running.
///
/// # Errors
///
/// When nothing could be started.
pub fn run(plan: Plan) -> anyhow::Result<ExitCode> {
    logging::init(&plan.config.log)?;
    if let Some(refusal) = plan.haproxy.refusal()? {
        for line in refusal.lines() {
            tracing::error!(target: "haproxy", "{line}");
        }
        tracing::error!("haproxy refuses its configuration; nothing was started");
        return Ok(ExitCode::from(2));
    }
    // One thread: the kernel ends the children with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async { Supervisor::start(plan)?.supervise().await })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Agent,
    Haproxy,
    /// `haproxy -c`, before a reload.
    Check,
}

impl Name {
    fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "the agent",
            Self::Haproxy => "haproxy",
            Self::Check => "the check of haproxy's configuration",
        }
    }
}

/// A program that is kept running.
#[derive(Debug, Default)]
struct Slot {
    process: Option<Process>,
    restarts: Restarts,
    /// When to start it again.
    again: Option<Instant>,
}

/// Where in the life of the whole.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The agent gets ready; HAProxy waits for it until then.
    Starting {
        until: Instant,
    },
    Serving,
    /// HAProxy ends its connections until then.
    Draining {
        until: Instant,
        hurried: bool,
    },
    /// HAProxy has gone; the agent ends.
    Ending {
        until: Instant,
    },
}

struct Supervisor {
    plan: Plan,
    signals: Signals,
    words: Words,
    notifier: Notifier,
    agent: Slot,
    haproxy: Slot,
    check: Option<Process>,
    phase: Phase,
    /// When the agent must have said that it is alive; none while it is not ready.
    alive_until: Option<Instant>,
    listening: Option<oneshot::Receiver<()>>,
    next_pat: Option<Instant>,
    /// When to see whether HAProxy has heard that it is to stop.
    insist: Option<Instant>,
    code: u8,
}

/// What wakes the supervisor.
enum Event {
    Stop(&'static str),
    Reload,
    Child,
    Word(Word),
    Listening,
    Time,
}

impl Supervisor {
    fn start(plan: Plan) -> anyhow::Result<Self> {
        set_child_subreaper(Some(getpid())).context("cannot adopt orphans")?;
        let now = Instant::now();
        let mut supervisor = Self {
            signals: Signals::new().context("cannot handle signals")?,
            words: Words::listen().context("cannot listen to the agent")?,
            notifier: Notifier::from_env().context("cannot use NOTIFY_SOCKET")?,
            agent: Slot::default(),
            haproxy: Slot::default(),
            check: None,
            phase: Phase::Starting {
                until: now + AGENT_FIRST,
            },
            alive_until: None,
            listening: None,
            next_pat: None,
            insist: None,
            code: 0,
            plan,
        };
        supervisor.next_pat = supervisor.notifier.watchdog_interval().map(|_| now);
        supervisor.start_agent(now);
        Ok(supervisor)
    }

    async fn supervise(mut self) -> anyhow::Result<ExitCode> {
        loop {
            let wake = self.wake();
            let event = self.next_event(wake).await;
            let now = Instant::now();
            self.excuse(wake, now);
            match event {
                Event::Stop(name) if self.is_stopping() => return Ok(self.end_at_once(name)),
                Event::Stop(name) => {
                    tracing::info!(signal = name, "stopping; a second signal ends at once");
                    self.stop(now);
                }
                Event::Reload => self.reload(),
                Event::Child => self.children(now),
                Event::Word(word) => self.hear(word, now),
                Event::Listening => {
                    self.listening = None;
                    self.notifier.ready("serving");
                    tracing::info!("haproxy listens");
                }
                Event::Time => {}
            }
            self.on_time(now);
            if self.is_over() {
                tracing::info!(code = self.code, "both have ended");
                return Ok(ExitCode::from(self.code));
            }
        }
    }

    async fn next_event(&mut self, wake: Option<Instant>) -> Event {
        let listening = async {
            match &mut self.listening {
                Some(listening) => listening.await.unwrap_or_default(),
                None => pending().await,
            }
        };
        let time = async {
            match wake {
                Some(wake) => sleep_until(wake).await,
                None => pending().await,
            }
        };
        tokio::select! {
            event = self.signals.next() => event,
            word = self.words.next() => Event::Word(word),
            () = listening => Event::Listening,
            () = time => Event::Time,
        }
    }

    /// The next moment at which something is due.
    fn wake(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Starting { until } | Phase::Draining { until, .. } | Phase::Ending { until } => {
                Some(until)
            }
            Phase::Serving => None,
        };
        [
            phase,
            self.agent.again,
            self.haproxy.again,
            self.alive_until,
            self.next_pat,
            self.insist,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// After a pause of the whole machine or container nobody is late.
    fn excuse(&mut self, wake: Option<Instant>, now: Instant) {
        if wake.is_some_and(|wake| now > wake + STOOD_STILL) {
            self.alive_until = self.alive_until.map(|_| now + SILENCE);
        }
    }

    fn on_time(&mut self, now: Instant) {
        self.pat(now);
        self.end_a_hung_agent(now);
        self.insist(now);
        match self.phase {
            Phase::Starting { until } if self.alive_until.is_some() || now >= until => {
                self.phase = Phase::Serving;
                self.start_haproxy(now);
                self.watch_for_listener();
            }
            Phase::Draining { until, hurried } if now >= until => self.hurry(hurried, now),
            Phase::Ending { until } if now >= until => {
                if let Some(agent) = &self.agent.process {
                    tracing::error!("the agent does not end in time and is killed");
                    agent.kill();
                }
                self.phase = Phase::Ending {
                    until: now + LAST_CHANCE,
                };
            }
            _early => {}
        }
        if is_due(&mut self.agent.again, now) {
            self.start_agent(now);
        }
        if is_due(&mut self.haproxy.again, now) {
            self.start_haproxy(now);
        }
    }

    /// Tells systemd that this loop turns.
    fn pat(&mut self, now: Instant) {
        if is_due(&mut self.next_pat, now) {
            self.notifier.alive();
            self.next_pat = self
                .notifier
                .watchdog_interval()
                .map(|interval| now + interval);
        }
    }

    fn end_a_hung_agent(&mut self, now: Instant) {
        if !is_due(&mut self.alive_until, now) {
            return;
        }
        if let Some(agent) = &self.agent.process {
            tracing::error!(after = ?SILENCE, "the agent has hung and is killed");
            agent.kill();
        }
    }

    fn hear(&mut self, word: Word, now: Instant) {
        let is_ready = self.alive_until.is_some();
        if word == Word::Ready || is_ready {
            self.alive_until = Some(now + SILENCE);
        }
    }

    // -----------------------------------------------------------------------------------------
    // Starting

    fn start_agent(&mut self, now: Instant) {
        self.alive_until = None;
        let mut command = process::command(process::own_program().as_os_str());
        command
            .arg("run")
            .args(&self.plan.agent)
            .env("SPOA_AGENT_LOG_FORMAT", self.log_format())
            // When the agent is told to stop, HAProxy has gone: there is nobody to warn.
            .env("SPOA_AGENT_SHUTDOWN_LAME_DUCK", "0s");
        self.words.tell(&mut command);
        match Process::start(&mut command) {
            Ok((process, _pipes)) => {
                tracing::info!(pid = process.pid().as_raw_pid(), "the agent is started");
                self.agent.process = Some(process);
            }
            Err(error) => self.not_started(Name::Agent, &error, now),
        }
    }

    /// As the agent would choose by itself if it wrote where this process writes.
    fn log_format(&self) -> &'static str {
        match self.plan.config.log.format {
            LogFormat::Text => "text",
            LogFormat::Auto if std::io::stderr().is_terminal() => "text",
            LogFormat::Auto | LogFormat::Json => "json",
        }
    }

    fn start_haproxy(&mut self, now: Instant) {
        match start_heard(self.plan.haproxy.serve()) {
            Ok(process) => {
                tracing::info!(pid = process.pid().as_raw_pid(), "haproxy is started");
                self.haproxy.process = Some(process);
            }
            Err(error) => self.not_started(Name::Haproxy, &error, now),
        }
    }

    fn not_started(&mut self, name: Name, error: &std::io::Error, now: Instant) {
        tracing::error!(%error, "{} cannot be started", name.as_str());
        self.start_again(name, Ended::Exited(1), now);
    }

    fn watch_for_listener(&mut self) {
        let (tell, listening) = oneshot::channel();
        self.listening = Some(listening);
        let address = self.plan.haproxy.addresses().first().copied();
        tokio::spawn(async move {
            if let Some(address) = address {
                until_listening(address).await;
            }
            // Nobody waits for it when all is over.
            tell.send(()).unwrap_or_default();
        });
    }

    // -----------------------------------------------------------------------------------------
    // Ends

    fn children(&mut self, now: Instant) {
        for (pid, ended) in reap() {
            let Some(name) = self.name_of(pid) else {
                continue;
            };
            match name {
                Name::Check => {
                    self.check = None;
                    self.checked(ended);
                }
                Name::Agent | Name::Haproxy => {
                    self.slot(name).process = None;
                    kill_group(pid);
                    self.ended(name, ended, now);
                }
            }
        }
    }

    fn name_of(&self, pid: Pid) -> Option<Name> {
        let is_it = |process: &Option<Process>| process.as_ref().is_some_and(|it| it.pid() == pid);
        [
            (Name::Agent, &self.agent.process),
            (Name::Haproxy, &self.haproxy.process),
            (Name::Check, &self.check),
        ]
        .into_iter()
        .find_map(|(name, process)| is_it(process).then_some(name))
    }

    fn slot(&mut self, name: Name) -> &mut Slot {
        match name {
            Name::Agent => &mut self.agent,
            Name::Haproxy | Name::Check => &mut self.haproxy,
        }
    }

    fn ended(&mut self, name: Name, ended: Ended, now: Instant) {
        if name == Name::Agent {
            self.alive_until = None;
        }
        match (self.phase, name) {
            (Phase::Starting { .. } | Phase::Serving, _) => self.start_again(name, ended, now),
            (Phase::Draining { .. }, Name::Haproxy | Name::Check) => {
                tracing::info!("haproxy has ended: {ended}");
                self.end_agent(now);
            }
            (Phase::Draining { .. } | Phase::Ending { .. }, _) => {
                tracing::info!("{} has ended: {ended}", name.as_str());
                if self.code == 0 && ended != Ended::Exited(0) {
                    self.code = ended.code();
                }
            }
        }
    }

    fn start_again(&mut self, name: Name, ended: Ended, now: Instant) {
        let next = if name == Name::Agent && ended == WRONG_CONFIGURATION {
            Next::GiveUp
        } else {
            self.slot(name).restarts.ended(now)
        };
        let passes_by = name == Name::Agent && self.plan.agent_failure == AgentFailure::PassBy;
        match next {
            Next::StartAfter(wait) => {
                tracing::warn!(after = ?wait, "{} has ended ({ended}) and is started again", name.as_str());
                self.slot(name).again = Some(now + wait);
            }
            Next::GiveUp if passes_by => {
                tracing::error!(
                    every = ?NOW_AND_THEN,
                    "the agent ends again and again ({ended}): the traffic passes by uncaptured; it is tried again"
                );
                self.agent.again = Some(now + NOW_AND_THEN);
            }
            Next::GiveUp => {
                self.code = ended.code();
                tracing::error!(
                    code = self.code,
                    "{} has ended for good ({ended}): {}; all of it ends",
                    name.as_str(),
                    why_for_good(ended, name)
                );
                self.stop(now);
            }
        }
    }

    // -----------------------------------------------------------------------------------------
    // Stopping

    fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. } | Phase::Ending { .. })
    }

    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ending { .. }) && self.agent.process.is_none()
    }

    fn stop(&mut self, now: Instant) {
        self.notifier.stopping("draining");
        self.listening = None;
        self.agent.again = None;
        self.haproxy.again = None;
        let Some(haproxy) = &self.haproxy.process else {
            self.end_agent(now);
            return;
        };
        haproxy.signal(Signal::USR1);
        self.insist = Some(now + LOOK_AGAIN);
        self.phase = Phase::Draining {
            until: now + self.plan.drain,
            hurried: false,
        };
    }

    /// A master that has just started starts itself anew, and forgets a signal that comes in that moment.
    fn insist(&mut self, now: Instant) {
        if !is_due(&mut self.insist, now) || !self.plan.haproxy.is_listening() {
            return;
        }
        if let (Phase::Draining { hurried: false, .. }, Some(haproxy)) =
            (self.phase, &self.haproxy.process)
        {
            haproxy.signal(Signal::USR1);
            self.insist = Some(now + LOOK_AGAIN);
        }
    }

    fn hurry(&mut self, hurried: bool, now: Instant) {
        let Some(haproxy) = &self.haproxy.process else {
            return;
        };
        if hurried {
            haproxy.kill();
        } else {
            tracing::warn!(after = ?self.plan.drain, "connections are still open; they are cut");
            haproxy.signal(Signal::TERM);
        }
        self.phase = Phase::Draining {
            until: now + LAST_CHANCE,
            hurried: true,
        };
    }

    fn end_agent(&mut self, now: Instant) {
        if let Some(agent) = &self.agent.process {
            agent.signal(Signal::TERM);
        }
        self.phase = Phase::Ending {
            until: now + self.plan.config.shutdown.deadline + LAST_CHANCE,
        };
    }

    /// What the agent has acknowledged is in its journal; that is as good as after any kill.
    fn end_at_once(&self, signal: &'static str) -> ExitCode {
        tracing::warn!(signal, "ended at once");
        for process in [&self.haproxy.process, &self.agent.process, &self.check]
            .into_iter()
            .flatten()
        {
            process.kill();
        }
        ExitCode::from(INTERRUPTED)
    }

    // -----------------------------------------------------------------------------------------
    // Reloading

    fn reload(&mut self) {
        if self.is_stopping() {
            return;
        }
        if let Some(agent) = &self.agent.process {
            agent.signal(Signal::HUP);
        }
        if self.check.is_some() {
            return;
        }
        match start_heard(self.plan.haproxy.check()) {
            Ok(process) => self.check = Some(process),
            Err(error) => tracing::error!(%error, "haproxy's configuration cannot be checked"),
        }
    }

    fn checked(&self, ended: Ended) {
        match &self.haproxy.process {
            _ if ended != Ended::Exited(0) => {
                tracing::error!("haproxy refuses its configuration; the one before stays");
            }
            Some(haproxy) if !self.is_stopping() => {
                tracing::info!("haproxy reads its configuration again");
                haproxy.signal(Signal::USR2);
            }
            _gone => {}
        }
    }
}

/// Starts a HAProxy whose words go to the log.
fn start_heard(mut command: Command) -> std::io::Result<Process> {
    mute(&mut command);
    let (heard, mouth) = std::io::pipe()?;
    command.stdout(mouth.try_clone()?).stderr(mouth);
    let (process, _child) = Process::start(&mut command)?;
    haproxy::relay(heard)?;
    Ok(process)
}

async fn until_listening(address: SocketAddr) {
    while tokio::net::TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Takes a moment that has come.
fn is_due(moment: &mut Option<Instant>, now: Instant) -> bool {
    moment.take_if(|moment| *moment <= now).is_some()
}

fn why_for_good(ended: Ended, name: Name) -> String {
    if name == Name::Agent && ended == WRONG_CONFIGURATION {
        return "its configuration is wrong".to_owned();
    }
    format!("{MOST} times within {} s", WITHIN.as_secs())
}

struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    user: unix::Signal,
    child: unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
            user: unix::signal(SignalKind::user_defined2())?,
            child: unix::signal(SignalKind::child())?,
        })
    }

    async fn next(&mut self) -> Event {
        tokio::select! {
            _ = self.terminate.recv() => Event::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Event::Stop("SIGINT"),
            _ = self.hangup.recv() => Event::Reload,
            _ = self.user.recv() => Event::Reload,
            _ = self.child.recv() => Event::Child,
        }
    }
}
