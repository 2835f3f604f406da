//! `spoa-agent journal ls`.

use std::io::Write;

use journal::CursorState;

use super::{Which, time};
use crate::cli::exit::Exit;
use crate::cli::table;

/// List the segments, and how far each follower is
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent journal ls
  spoa-agent journal ls --journal-dir /srv/journal

LOW is the position before which a follower has done everything; OPEN counts the records after it that were
read and are not done. FIRST is the number of the segment's first record since the journal began, POSITION its place in bytes: what
`journal cat --from` takes.")]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
}

impl Args {
    pub(super) fn print(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        let dir = self.which.dir()?;
        let segments = journal::list(&dir)?;
        let nexts = segments
            .iter()
            .skip(1)
            .map(|next| Some(next.base.sequence))
            .chain([None]);
        let row = |(segment, next): (&journal::SegmentEntry, Option<u64>)| {
            let name = segment.path.file_name().unwrap_or_default();
            let records = next.map(|next| next.saturating_sub(segment.base.sequence));
            [
                time(segment.created),
                segment.bytes.to_string(),
                // The segment that is being written has no end yet.
                records.map_or_else(|| "-".to_owned(), |records| records.to_string()),
                segment.base.sequence.to_string(),
                segment.base.position.to_string(),
                name.to_string_lossy().into_owned(),
            ]
        };
        let rows: Vec<[String; 6]> = segments.iter().zip(nexts).map(row).collect();
        let header = [
            "CREATED",
            "BYTES ",
            "RECORDS ",
            "FIRST ",
            "POSITION ",
            "SEGMENT",
        ];
        table::write(out, header, &rows)?;
        write_cursors(out, journal::cursors(&dir)?)?;
        out.flush()?;
        Ok(Exit::Ok)
    }
}

fn write_cursors(out: &mut impl Write, cursors: Vec<(String, CursorState)>) -> std::io::Result<()> {
    if cursors.is_empty() {
        return Ok(());
    }
    let row = |(name, state): (String, CursorState)| {
        [
            name,
            state.low.position.to_string(),
            state.high.position.to_string(),
            state.open.len().to_string(),
        ]
    };
    let rows: Vec<[String; 4]> = cursors.into_iter().map(row).collect();
    writeln!(out)?;
    table::write(out, ["FOLLOWER", "LOW ", "READ TO ", "OPEN "], &rows)
}
