//! `spoa-agent dead-letter ls`.

use std::io::Write;

use super::{Which, cause, request_line, table, time};
use crate::cli::exit::Exit;
use crate::dead_letter::Letter;

/// List the letters, oldest first
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent dead-letter ls
  spoa-agent dead-letter ls --file /srv/dead-letters.ndjson

TIME is when the letter was written. CAUSE is the ledger's word for why the exchange was given up, and what went
wrong last.")]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
}

impl Args {
    pub(super) fn print(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        let row = |letter: Letter| {
            [
                letter.number.to_string(),
                time(letter.time_us),
                letter.pair.sending.attempts.to_string(),
                cause(&letter),
                request_line(&letter),
            ]
        };
        let rows: Vec<[String; 5]> = self.which.letters()?.map(row).collect();
        let header = ["NUMBER ", "TIME", "ATTEMPTS ", "CAUSE", "REQUEST"];
        table::write(out, header, &rows)?;
        out.flush()?;
        Ok(Exit::Ok)
    }
}
