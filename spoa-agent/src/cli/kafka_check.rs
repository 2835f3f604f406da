//! `spoa-agent kafka-check`.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use anyhow::Context as _;
use clap::ArgAction;

use super::exit::Exit;
use super::flags::KafkaFlags;
use crate::broker_check::finding::{Finding, Hindrance, Verdict, hindrance};
use crate::broker_check::{Findings, Wishes, check};
use crate::config::{self, keys};
use crate::offload::client::Client;

/// Say whether the agent could deliver to Kafka, and if not, what to change
///
/// Walks the way that the agent would go: resolves and dials the addresses of kafka.brokers, looks at the certificate, logs in,
/// asks for the brokers, and dials each where it advertises itself (advertised.listeners), which need not be where it was
/// found. Then it looks at the topic. It writes nothing, unless --probe is given.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent kafka-check --bootstrap kafka.example:9092
  spoa-agent kafka-check --config /etc/spoa-agent/config.toml --probe
  spoa-agent kafka-check --bootstrap kafka.example:9094 --kafka-security sasl-tls --kafka-sasl scram-sha-512 \\
      --kafka-username capture --kafka-password-file /etc/spoa-agent/kafka-password
  spoa-agent kafka-check --bootstrap kafka.example:9092 --json | jq '.findings[] | select(.verdict == \"error\")'

--json prints one document: `verdict` (ok, note, warning, error: the worst), `hindrance` (null, unreachable, listener,
authentication, topic: what hinders the agent first), `client`, `cluster_id`, `bootstrap`, `advertised`, `topic`, `probe`
(what was seen), `complete` (false when the deadline came first), and `findings`, each with `verdict`, `step`, `about`, `code`
(stays the same from version to version), `says`, `advice` and `remedies` (lines of settings, with the case they are for).

Exit codes: 0 the agent could deliver, 1 no broker is reached or the check failed, 2 the arguments or the configuration are wrong,
10 a broker is not where it advertises itself, 11 TLS or the login is refused, 12 the topic or the rights in it do not let
the agent deliver. Where several are true, the first on the way counts: 1, 11, 10, 12.")]
pub(super) struct Args {
    /// Brokers to begin with, instead of kafka.brokers; HOST:PORT, with commas between several
    #[arg(long, value_name = "BROKERS", value_delimiter = ',', action = ArgAction::Append)]
    bootstrap: Vec<String>,
    /// Send messages to the topic and read them again: one to each partition, and so many more to measure the round trip.
    /// They are of the kind `probe`, which readers pass over, and stay in the topic as long as its retention says
    #[arg(long, value_name = "NUMBER", num_args = 0..=1, require_equals = true, default_missing_value = "50",
        value_parser = clap::value_parser!(u16).range(1..=10_000))]
    probe: Option<u16>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// How long each step may take
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    timeout: Duration,
    /// How long all of it may take
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    deadline: Duration,
    #[command(flatten)]
    flags: KafkaFlags,
}

impl Args {
    pub(super) fn print(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        let mut written = self.flags.written();
        if let Some(key) = keys().find(|key| key.path == "kafka.brokers")
            && !self.bootstrap.is_empty()
        {
            written = written.flag(key, self.bootstrap);
        }
        let kafka = written.build()?.kafka;
        if kafka.brokers.is_empty() {
            super::complain(
                "spoa-agent: there is nothing to check: name brokers with --bootstrap, or in kafka.brokers",
            );
            return Ok(Exit::Usage);
        }
        let client = Client::new(&kafka)?;
        let wishes = Wishes {
            probe: self.probe.map(usize::from),
            patience: self.timeout,
            deadline: self.deadline,
            ..Wishes::of(&kafka)
        };
        let findings = checked(&client, &wishes)?;
        if self.json {
            serde_json::to_writer_pretty(&mut *out, &findings.document())?;
            writeln!(out)?;
        } else {
            Page::new(out).print(&findings, wishes.probe.is_some())?;
        }
        out.flush()?;
        Ok(exit(&findings))
    }
}

fn checked(client: &Client, wishes: &Wishes) -> anyhow::Result<Findings> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let findings = runtime.block_on(check(client, wishes));
    // What still waits for a resolver or a broker is left behind.
    runtime.shutdown_background();
    Ok(findings)
}

fn exit(findings: &Findings) -> Exit {
    match hindrance(&findings.all) {
        None => Exit::Ok,
        Some(Hindrance::Unreachable) => Exit::Failure,
        Some(Hindrance::Listener) => Exit::Listener,
        Some(Hindrance::Authentication) => Exit::Authentication,
        Some(Hindrance::Topic) => Exit::Topic,
    }
}

/// A table, and below it what to do, for people.
struct Page<'a, W> {
    out: &'a mut W,
    is_coloured: bool,
}

impl<'a, W: Write> Page<'a, W> {
    fn new(out: &'a mut W) -> Self {
        let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            out,
            is_coloured: io::stdout().is_terminal() && !wants_none,
        }
    }

    fn print(&mut self, findings: &Findings, was_probed: bool) -> io::Result<()> {
        self.table(&findings.all)?;
        self.advices(&findings.all)?;
        let count = |verdict| {
            findings
                .all
                .iter()
                .filter(|one| one.verdict == verdict)
                .count()
        };
        let (errors, warnings) = (count(Verdict::Error), count(Verdict::Warning));
        writeln!(self.out, "\n{errors} errors, {warnings} warnings")?;
        if errors == 0 && !was_probed {
            writeln!(
                self.out,
                "Nothing was written; --probe also tries to write to the topic, and to read it."
            )?;
        }
        Ok(())
    }

    fn table(&mut self, all: &[Finding]) -> io::Result<()> {
        let width = |cells: &mut dyn Iterator<Item = usize>| cells.max().unwrap_or(0);
        let steps = width(&mut all.iter().map(|one| one.step.word().len()).chain([4]));
        let abouts = width(&mut all.iter().map(|one| one.about.chars().count()).chain([5]));
        writeln!(
            self.out,
            "{:<7}  {:<steps$}  {:<abouts$}  SAYS",
            "RESULT", "STEP", "ABOUT"
        )?;
        for one in all {
            let word = self.painted(one.verdict, &format!("{:<7}", one.verdict.word()));
            let (step, about, says) = (one.step.word(), shown(&one.about), shown(&one.says));
            writeln!(self.out, "{word}  {step:<steps$}  {about:<abouts$}  {says}")?;
        }
        Ok(())
    }

    fn advices(&mut self, all: &[Finding]) -> io::Result<()> {
        let mut remedied = BTreeSet::new();
        let has_advice = |one: &&Finding| !one.advice.is_empty() || !one.remedies.is_empty();
        for one in all.iter().filter(has_advice) {
            let head = format!("{} {}:", one.step.word(), shown(&one.about));
            let head = self.painted(one.verdict, &head);
            writeln!(self.out, "\n{head} {}", shown(&one.says))?;
            for advice in &one.advice {
                self.paragraph(advice)?;
            }
            if !one.remedies.is_empty() && !remedied.insert(one.code) {
                self.paragraph("the settings are as above, with the addresses of this broker")?;
                continue;
            }
            for remedy in &one.remedies {
                self.paragraph(&format!("{}:", remedy.case))?;
                for line in &remedy.lines {
                    writeln!(self.out, "      {}", shown(line))?;
                }
            }
        }
        Ok(())
    }

    /// Wrapped and indented.
    fn paragraph(&mut self, text: &str) -> io::Result<()> {
        let mut line = String::new();
        for word in shown(text).split_whitespace() {
            if !line.is_empty() && line.chars().count() + word.chars().count() >= WIDTH {
                writeln!(self.out, "  {line}")?;
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        writeln!(self.out, "  {line}")
    }

    fn painted(&self, verdict: Verdict, text: &str) -> String {
        let colour = match verdict {
            _any if !self.is_coloured => return text.to_owned(),
            Verdict::Ok => 32,
            Verdict::Note => 36,
            Verdict::Warning => 33,
            Verdict::Error => 31,
        };
        format!("\x1b[1;{colour}m{text}\x1b[0m")
    }
}

/// What brokers say must not steer a terminal.
fn shown(text: &str) -> String {
    text.replace(char::is_control, "?")
}

fn duration(text: &str) -> Result<Duration, String> {
    match config::duration(text) {
        Ok(Duration::ZERO) => Err("must be above zero".to_owned()),
        Ok(time) => Ok(time),
        Err(fault) => Err(format!("{}; {}", fault.why, fault.way_out)),
    }
}

/// Columns of the text below the table.
const WIDTH: usize = 100;
