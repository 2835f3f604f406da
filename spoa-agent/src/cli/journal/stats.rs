//! `spoa-agent journal stats`.

use std::io::Write;

use exchange::{Body, Extent, Half};
use journal::{Item, Reader, Start};

use super::{Which, time};
use crate::cli::exit::Exit;

/// Read the whole journal and say what is in it
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent journal stats
  spoa-agent journal stats --journal-dir /srv/journal")]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
}

impl Args {
    pub(super) fn print(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        let dir = self.which.dir()?;
        let segments = journal::list(&dir)?;
        let disk: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let counts = count(Reader::open_dir(dir, Start::Oldest)?)?;
        writeln!(out, "segments           {}", segments.len())?;
        writeln!(out, "bytes on disk      {disk}")?;
        counts.write(out)?;
        out.flush()?;
        Ok(Exit::Ok)
    }
}

#[derive(Debug, Default)]
struct Counts {
    records: u64,
    payload_bytes: u64,
    requests: Halves,
    responses: Halves,
    pairs: u64,
    pair_bytes: u64,
    gaps: u64,
    gap_halves: u64,
    undecodable: u64,
    lost: u64,
    /// Unix time in microseconds of the earliest and the latest half.
    times: Option<(u64, u64)>,
}

#[derive(Debug, Default)]
struct Halves {
    count: u64,
    body_bytes: u64,
    cut: u64,
    not_captured: u64,
}

fn count(mut reader: Reader) -> anyhow::Result<Counts> {
    let mut counts = Counts::default();
    while let Some(item) = reader.next()? {
        match item {
            Item::Record(record) => counts.record(record.payload),
            Item::Lost(lost) => counts.lost += lost.records,
        }
    }
    Ok(counts)
}

impl Counts {
    fn record(&mut self, payload: bytes::Bytes) {
        self.records += 1;
        self.payload_bytes += payload.len() as u64;
        let Ok(half) = Half::decode(&payload) else {
            self.undecodable += 1;
            return;
        };
        match &half {
            Half::Request(request) => self.requests.half(&request.body),
            Half::Response(response) => self.responses.half(&response.body),
            Half::Pair(_) => {
                self.pairs += 1;
                self.pair_bytes += payload.len() as u64;
                return;
            }
            Half::Gap(gap) => {
                self.gaps += 1;
                self.gap_halves += gap.requests + gap.responses;
                return;
            }
        }
        let at = half.time_us();
        let (first, last) = self.times.unwrap_or((at, at));
        self.times = Some((first.min(at), last.max(at)));
    }

    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "records            {}", self.records)?;
        writeln!(out, "payload bytes      {}", self.payload_bytes)?;
        self.requests.write("request", out)?;
        self.responses.write("response", out)?;
        writeln!(
            out,
            "pairs              {} ({} bytes)",
            self.pairs, self.pair_bytes
        )?;
        writeln!(
            out,
            "gaps               {} ({} halves lost)",
            self.gaps, self.gap_halves
        )?;
        writeln!(out, "undecodable        {}", self.undecodable)?;
        writeln!(out, "lost or damaged    {}", self.lost)?;
        let Some((first, last)) = self.times else {
            return Ok(());
        };
        writeln!(out, "first half         {}", time(first))?;
        writeln!(out, "last half          {}", time(last))?;
        let seconds = std::time::Duration::from_micros(last.saturating_sub(first)).as_secs_f64();
        if seconds > 0.0 {
            let requests = self.requests.count as f64 / seconds;
            let bytes = self.payload_bytes as f64 / seconds;
            writeln!(out, "requests per s     {requests:.1}")?;
            writeln!(out, "payload bytes/s    {bytes:.0}")?;
        }
        Ok(())
    }
}

impl Halves {
    fn half(&mut self, body: &Body) {
        self.count += 1;
        self.body_bytes += body.content.len() as u64;
        match body.extent {
            Extent::Whole => {}
            Extent::Cut { .. } => self.cut += 1,
            Extent::NotCaptured { .. } => self.not_captured += 1,
        }
    }

    fn write(&self, name: &str, out: &mut impl Write) -> std::io::Result<()> {
        let halves = format!("{name} halves");
        let Self {
            count,
            body_bytes,
            cut,
            not_captured,
        } = self;
        writeln!(
            out,
            "{halves:<18} {count} ({body_bytes} bytes of body; {cut} cut, {not_captured} not captured)"
        )
    }
}
