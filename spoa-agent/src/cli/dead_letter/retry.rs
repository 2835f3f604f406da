//! `spoa-agent dead-letter retry`.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use exchange::Exchange;
use parking_lot::Mutex;
use shadow::{Engine, Outcome, Outcomes, Target};
use tokio::time::{Instant, timeout};

use super::{Which, request_line};
use crate::cli::exit::Exit;
use crate::config::{self, duration};
use crate::dead_letter::{self, Letter};

/// Removing costs a copy of the file, so delivered letters go together. After a kill as many are sent twice.
const TOGETHER: usize = 16;

/// Why an exchange was given up that would do harm, were it sent: it holds ids that mean nothing to the shadow, or
/// would get others there.
const NEVER_SENT_AGAIN: &[&str] = &["unmappable", "id unknown", "ambiguous"];

/// Send letters again, in their order, and remove those that the shadow took
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent dead-letter retry 3 5 --to http://shadow:9200
  spoa-agent dead-letter retry --all
  spoa-agent dead-letter retry --all --timeout 5m --stop

Each letter is sent as it was sent before, ids and items included, when the one before it has ended. It counts as
delivered when the answer's status is below 400, or the one that the primary gave; then it is removed from the file.
The others stay. Newer writes may have reached the same documents meanwhile: look at a letter before you send it.

The connection is configured by the section [shadow]: its certificates, its own credentials, its timeouts.

Exit codes: 0 all were delivered, 1 some were not.")]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// The letters' numbers, as `dead-letter ls` shows them
    #[arg(value_name = "NUMBER", required_unless_present = "all")]
    numbers: Vec<u64>,
    /// Send all of them
    #[arg(long, conflicts_with = "numbers")]
    all: bool,
    /// Where to send them; without it, to the shadow of the configuration
    #[arg(long, value_name = "URL", value_parser = target)]
    to: Option<Target>,
    /// How long one letter may take, with all its attempts
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = span)]
    timeout: Duration,
    /// Stop at the first one that is not delivered
    #[arg(long)]
    stop: bool,
}

fn target(text: &str) -> Result<Target, String> {
    Target::parse(text).map_err(|error| error.to_string())
}

fn span(text: &str) -> Result<Duration, String> {
    duration(text).map_err(|fault| format!("{}; {}", fault.why, fault.way_out))
}

impl Args {
    pub(super) fn print(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        let config = self.which.config()?;
        let Some(target) = self.to.clone().or_else(|| config.shadow.url.clone()) else {
            bail!("name the shadow with --to, or configure shadow.url");
        };
        let path = self.which.path()?;
        self.find_all_numbers()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let ended = runtime.block_on(self.send(&path, &config.shadow, target, out));
        // A request that is still under way is nothing to wait for.
        runtime.shutdown_background();
        ended
    }

    /// A number that is not there is a mistake that is found before anything is sent.
    fn find_all_numbers(&self) -> anyhow::Result<()> {
        let mut missing: BTreeSet<u64> = self.numbers.iter().copied().collect();
        for letter in self.which.letters()? {
            missing.remove(&letter.number);
        }
        match missing.first() {
            Some(number) => bail!("there is no dead letter {number}"),
            None => Ok(()),
        }
    }

    async fn send(
        &self,
        path: &Path,
        shadow: &config::Shadow,
        target: Target,
        out: &mut impl Write,
    ) -> anyhow::Result<Exit> {
        let mut post = Post::new(shadow, target, self.timeout)?;
        let mut delivered = BTreeSet::new();
        let (mut removed, mut failed) = (0, 0_u64);
        for letter in self.which.letters()? {
            if !self.all && !self.numbers.contains(&letter.number) {
                continue;
            }
            let (number, line) = (letter.number, request_line(&letter));
            match post.send(letter).await {
                Ok(status) => {
                    writeln!(out, "{number}  delivered: {status}  {line}")?;
                    delivered.insert(number);
                }
                Err(why) => {
                    failed += 1;
                    writeln!(out, "{number}  NOT delivered: {why}  {line}")?;
                }
            }
            if delivered.len() >= TOGETHER {
                removed += remove(path, &mut delivered)?;
            }
            if post.is_over || (self.stop && failed > 0) {
                writeln!(out, "stopped; later letters were not sent")?;
                break;
            }
        }
        removed += remove(path, &mut delivered)?;
        writeln!(
            out,
            "{removed} delivered and removed, {failed} not delivered"
        )?;
        out.flush()?;
        Ok(if failed == 0 { Exit::Ok } else { Exit::Failure })
    }
}

fn remove(path: &Path, numbers: &mut BTreeSet<u64>) -> anyhow::Result<u64> {
    if numbers.is_empty() {
        return Ok(0);
    }
    let numbers = std::mem::take(numbers);
    dead_letter::remove(path, &numbers).with_context(|| {
        format!(
            "cannot remove from {}; letters that were delivered are still there: {numbers:?}",
            path.display()
        )
    })
}

/// Sends one letter at a time.
struct Post {
    engine: Engine,
    outcomes: Arc<Last>,
    timeout: Duration,
    /// The shadow does not answer at all.
    is_over: bool,
}

impl Post {
    fn new(shadow: &config::Shadow, target: Target, timeout: Duration) -> anyhow::Result<Self> {
        let mut config = crate::run::lone_engine_config(shadow, target)?;
        config.connections = 1;
        // A letter has what was to be sent: ids pinned, tokens mapped, indices renamed.
        config.as_is = true;
        let outcomes = Arc::new(Last::default());
        Ok(Self {
            engine: Engine::start(config, outcomes.clone())?,
            outcomes,
            timeout,
            is_over: false,
        })
    }

    /// Returns the status, or why it was not delivered.
    async fn send(&mut self, letter: Letter) -> Result<u16, String> {
        let pair = letter.pair;
        let reason = pair.dropped.as_ref().map(|dropped| dropped.reason.as_ref());
        if let Some(reason) = reason.filter(|reason| NEVER_SENT_AGAIN.contains(reason)) {
            return Err(format!(
                "{reason}, so it would do something else on the shadow"
            ));
        }
        let Some(request) = pair.as_sent() else {
            return Err("its body is not whole".to_owned());
        };
        let exchange = Exchange {
            position: letter.number,
            request: Some(request),
            response: None,
        };
        let sent = timeout(self.timeout, self.deliver(exchange)).await;
        let Ok(outcome) = sent else {
            self.is_over = true;
            self.engine.drain(Instant::now()).await;
            return Err(format!("no answer within {:?}", self.timeout));
        };
        judge(outcome.as_ref(), pair.primary.map(|answer| answer.status))
    }

    async fn deliver(&self, exchange: Exchange) -> Option<Outcome> {
        self.engine.offer(Arc::new(exchange)).await.ok()?;
        self.engine.settled().await;
        self.outcomes.0.lock().take()
    }
}

/// The primary may have refused it too: then the same refusal is what was wanted.
fn judge(outcome: Option<&Outcome>, primary: Option<u16>) -> Result<u16, String> {
    match outcome {
        Some(Outcome::Delivered(answer))
            if answer.status < 400 || Some(answer.status) == primary =>
        {
            Ok(answer.status)
        }
        Some(Outcome::Delivered(answer)) => Err(format!("status {}", answer.status)),
        Some(outcome) => Err(outcome.reason().unwrap_or(outcome.as_str()).to_owned()),
        None => Err("the engine ended".to_owned()),
    }
}

/// What became of the last letter.
#[derive(Debug, Default)]
struct Last(Mutex<Option<Outcome>>);

impl Outcomes for Last {
    fn done(&self, _position: u64, outcome: &Outcome) {
        *self.0.lock() = Some(outcome.clone());
    }
}
