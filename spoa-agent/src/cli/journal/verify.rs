//! `spoa-agent journal verify`.

use std::io::Write;

use journal::{SegmentReport, Verdict};

use super::Which;
use crate::cli::exit::Exit;
use crate::cli::table;

/// Check the checksum of every record
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent journal verify --journal-dir /srv/journal

A last segment that ends in the middle of a record is not damaged: the record is being written, or a crash
left it, and the next start cuts it off.

Exit codes: 0 every record is as it was written, 1 the journal cannot be read, 4 records are damaged or
missing.")]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
}

impl Args {
    pub(super) fn print(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        let reports = journal::verify(&self.which.dir()?)?;
        let rows: Vec<[String; 4]> = reports.iter().map(row).collect();
        table::write(out, ["RECORDS ", "BYTES ", "SEGMENT", "RESULT"], &rows)?;
        let is_damaged = |report: &SegmentReport| matches!(report.verdict, Verdict::Damaged { .. });
        let damaged = reports.iter().filter(|report| is_damaged(report)).count();
        let records: u64 = reports.iter().map(|report| report.records).sum();
        writeln!(
            out,
            "{records} good records in {} segments, {damaged} damaged",
            reports.len()
        )?;
        out.flush()?;
        Ok(if damaged == 0 {
            Exit::Ok
        } else {
            Exit::Damaged
        })
    }
}

fn row(report: &SegmentReport) -> [String; 4] {
    let name = report.path.file_name().unwrap_or_default();
    [
        report.records.to_string(),
        report.bytes.to_string(),
        name.to_string_lossy().into_owned(),
        result(&report.verdict),
    ]
}

fn result(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Whole => "ok".to_owned(),
        Verdict::Torn { bytes } => format!("ok, and {bytes} bytes of an unfinished record"),
        Verdict::Damaged { offset, lost, why } => {
            let lost = lost.map_or_else(
                || "an unknown number of".to_owned(),
                |lost| lost.to_string(),
            );
            format!("DAMAGED at byte {offset}, {lost} records lost: {why}")
        }
    }
}
