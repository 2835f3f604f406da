//! `spoa-agent journal ambiguous`.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Context as _;

use super::Which;
use crate::ambiguous::{FILE, Line, unsettled};
use crate::cli::exit::Exit;
use crate::cli::table;

/// List what may differ on the shadow because the captured answers do not tell what the primary did
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent journal ambiguous
  spoa-agent journal ambiguous --journal-dir /srv/journal --limit 1000

BY is the position in the journal of the exchange because of which something is ambiguous: `journal cat --from` shows it. A line without
ID stands for any document of the index, one without INDEX for what the exchange wrote, whatever that is. What
shadow.resolve = from-primary has settled is not listed.")]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// Most lines of the list; the counts are of all
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    limit: usize,
}

impl Args {
    pub(super) fn print(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        let path = self.which.dir()?.join(FILE);
        let lines = unsettled(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if lines.is_empty() {
            writeln!(out, "nothing is ambiguous")?;
            out.flush()?;
            return Ok(Exit::Ok);
        }
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for line in &lines {
            *reasons.entry(line.reason()).or_default() += 1;
        }
        let counts: Vec<[String; 2]> = reasons
            .iter()
            .map(|(reason, count)| [count.to_string(), (*reason).to_owned()])
            .collect();
        table::write(out, ["COUNT ", "REASON"], &counts)?;
        writeln!(out)?;
        let rows: Vec<[String; 5]> = lines.iter().take(self.limit).map(row).collect();
        let header = ["BY ", "REASON", "INDEX", "ID", "ROUTING"];
        table::write(out, header, &rows)?;
        let more = lines.len().saturating_sub(rows.len());
        if more > 0 {
            writeln!(out, "{more} more; see --limit")?;
        }
        out.flush()?;
        Ok(Exit::Ok)
    }
}

fn row(line: &Line) -> [String; 5] {
    let value = |key| line.value(key).unwrap_or_else(|| "-".to_owned());
    [
        value("by"),
        line.reason().to_owned(),
        value("index"),
        value("id"),
        value("routing"),
    ]
}
