//! `spoa-agent journal ls`.

use std::io::Write;

use super::{Which, time};
use crate::cli::exit::Exit;
use crate::cli::table;

/// List the segments
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent journal ls
  spoa-agent journal ls --journal-dir /srv/journal

FIRST is the number of the segment's first record since the journal began, POSITION its place in bytes: what
`journal cat --from` takes.")]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
}

impl Args {
    pub(super) fn print(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        let segments = journal::list(&self.which.dir()?)?;
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
        out.flush()?;
        Ok(Exit::Ok)
    }
}
