//! The progress of a replay: a line for each target on a terminal, a log line now and then elsewhere.

use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::control::Control;
use super::feed::Standing;
use super::report::{short, time};

/// How often the terminal is drawn.
pub(super) const REDRAW: Duration = Duration::from_millis(200);
/// How often a line is logged where there is no terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What is drawn, and what it was drawn from last.
pub(super) struct Screen {
    bars: Option<Bars>,
    seen: Vec<Seen>,
    logged_at: Instant,
}

struct Bars {
    all: MultiProgress,
    head: ProgressBar,
    targets: Vec<ProgressBar>,
    keys: bool,
}

/// For the rate since then.
#[derive(Clone, Copy)]
struct Seen {
    at: Instant,
    finished: u64,
    rate: f64,
}

impl Screen {
    /// `all` draws on the standard error; elsewhere nothing is drawn. `keys` says that the keyboard is listened to.
    pub(super) fn new(all: &MultiProgress, control: &Control, keys: bool) -> Self {
        let bars = io::stderr()
            .is_terminal()
            .then(|| Bars::new(all, control, keys));
        let begin = |watched: &super::Watched| Seen {
            at: Instant::now(),
            finished: watched.standing().tally.finished(),
            rate: 0.0,
        };
        Self {
            bars,
            seen: control.watched.iter().map(begin).collect(),
            logged_at: Instant::now(),
        }
    }

    /// Draws or logs, if it is time.
    pub(super) fn draw(&mut self, control: &Control) {
        let wants_log = self.bars.is_none() && self.logged_at.elapsed() >= LOG_INTERVAL;
        if wants_log {
            self.logged_at = Instant::now();
        }
        if let Some(bars) = &self.bars {
            bars.head.set_message(head(control, bars.keys));
        }
        for (number, watched) in control.watched.iter().enumerate() {
            let standing = watched.standing();
            let rate = self
                .seen
                .get_mut(number)
                .map_or(0.0, |seen| seen.rate(&standing));
            if let Some(bar) = self.bars.as_ref().and_then(|bars| bars.targets.get(number)) {
                bar.set_position(reached(&standing));
                bar.set_message(line(&standing, rate));
            }
            if wants_log {
                tracing::info!(
                    to = %watched.target,
                    capture_time = time(standing.capture_us),
                    per_second = rate.round(),
                    lag_ms = u64::try_from(standing.lag.as_millis()).unwrap_or(u64::MAX),
                    delivered = standing.tally.all_delivered(),
                    filtered = standing.tally.all_filtered(),
                    dropped = standing.tally.all_dropped(),
                    not_done = standing.not_done,
                    down = standing.is_down,
                    "replaying"
                );
            }
        }
    }

    /// Leaves the terminal to what comes after.
    pub(super) fn clear(self) {
        if let Some(bars) = self.bars {
            bars.head.finish_and_clear();
            for bar in &bars.targets {
                bar.finish_and_clear();
            }
            // A terminal that has gone shows nothing anyway.
            bars.all.clear().unwrap_or_default();
            bars.all.set_draw_target(ProgressDrawTarget::hidden());
        }
    }
}

impl Bars {
    fn new(all: &MultiProgress, control: &Control, keys: bool) -> Self {
        all.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let head = all.add(ProgressBar::no_length());
        head.set_style(style("{msg}"));
        let names: Vec<String> = control
            .watched
            .iter()
            .map(|it| it.target.to_string())
            .collect();
        let width = names
            .iter()
            .map(|name| name.chars().count())
            .max()
            .unwrap_or(0);
        let bar = |(watched, name): (&super::Watched, &String)| {
            let progress = watched.standing().progress;
            let (bar, template) = match progress.total {
                Some(total) => (
                    ProgressBar::new(total),
                    "{prefix} {bar:20} {percent:>3}%  {wide_msg}",
                ),
                None => (ProgressBar::no_length(), "{prefix} {bytes:>10}  {wide_msg}"),
            };
            // Before it has anything to show: alone, it would draw by itself.
            let bar = all.add(bar);
            bar.set_style(style(template));
            bar.set_prefix(format!("{name:<width$}"));
            bar
        };
        let targets = control.watched.iter().zip(&names).map(bar).collect();
        Self {
            all: all.clone(),
            head,
            targets,
            keys,
        }
    }
}

impl Seen {
    /// Finished exchanges per second, smoothed over a few seconds.
    fn rate(&mut self, standing: &Standing) -> f64 {
        let seconds = self.at.elapsed().as_secs_f64();
        if seconds < 0.1 {
            return self.rate;
        }
        let finished = standing.tally.finished();
        #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
        let now = finished.saturating_sub(self.finished) as f64 / seconds;
        let weight = (seconds / 2.0).min(1.0);
        self.rate += (now - self.rate) * weight;
        self.at = Instant::now();
        self.finished = finished;
        self.rate
    }
}

/// The template is a constant; one that cannot be read shows a bar of the default kind.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// About how many bytes of the source are done: what is read, less the share that still waits.
fn reached(standing: &Standing) -> u64 {
    let read = u128::from(standing.tally.read.max(1));
    let bytes = u128::from(standing.progress.done) * u128::from(standing.tally.finished()) / read;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn head(control: &Control, keys: bool) -> String {
    let clock = control.pace.clock();
    let state = match (control.stop.is_cancelled(), clock.is_paused()) {
        (true, _) => "stopping",
        (false, true) => "PAUSED",
        (false, false) => "replaying",
    };
    let help = if keys {
        "   [space] pause  [+] [-] speed  [1] original  [m] max  [q] stop"
    } else {
        ""
    };
    format!("{state} at {}{help}", clock.speed())
}

fn line(standing: &Standing, rate: f64) -> String {
    let tally = &standing.tally;
    let failed: u64 = tally.delivered.range(5..).map(|(_, count)| count).sum();
    let mut line = format!(
        "{rate:.0}/s  sent {}  5xx {failed}  dropped {}  in flight {}  lag {}  slip p99 {}",
        tally.all_delivered(),
        tally.all_dropped(),
        standing.in_flight,
        short(standing.lag),
        short(standing.timings.slip.p99),
    );
    if let Some(time) = time(standing.capture_us) {
        line.push_str(&format!("  at {time}"));
    }
    if standing.is_down {
        line.insert_str(0, "DOWN  ");
    } else if standing.is_over {
        line.insert_str(0, "over  ");
    }
    line
}

/// Log lines that make way for the bars.
#[derive(Clone, Debug)]
pub(super) struct LogLines {
    all: MultiProgress,
}

impl LogLines {
    pub(super) fn new(all: &MultiProgress) -> Self {
        Self { all: all.clone() }
    }
}

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.all.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
