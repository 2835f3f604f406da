//! `spoa-agent dead-letter show`.

use std::io::{self, Write};

use anyhow::bail;
use exchange::json::{self, PairName};
use exchange::{Body, Headers, Pair, Response};

use super::{Which, cause, time};
use crate::cli::exit::Exit;
use crate::dead_letter::Letter;

/// Print one letter: the request, both answers, and what went wrong
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent dead-letter show 3
  spoa-agent dead-letter show 3 --json | jq .request.body

Bytes that are not printable are escaped in the text; --json prints the line of the file, which holds them all.")]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// The letter's number, as `dead-letter ls` shows it
    #[arg(value_name = "NUMBER")]
    number: u64,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn print(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        let mut letters = self.which.letters()?;
        let Some(letter) = letters.find(|letter| letter.number == self.number) else {
            bail!("there is no dead letter {}", self.number);
        };
        if self.json {
            write_json(&letter, out)?;
        } else {
            write_text(&letter, out)?;
        }
        out.flush()?;
        Ok(Exit::Ok)
    }
}

fn write_json(letter: &Letter, out: &mut impl Write) -> io::Result<()> {
    let name = PairName::Letter {
        number: letter.number,
        time_us: letter.time_us,
    };
    let mut line = Vec::new();
    json::write_pair(&letter.pair, name, json::Options::default(), &mut line);
    out.write_all(&line)
}

fn write_text(letter: &Letter, out: &mut impl Write) -> io::Result<()> {
    let Letter { pair, .. } = letter;
    let sending = &pair.sending;
    writeln!(out, "dead letter   {}", letter.number)?;
    writeln!(out, "written       {}", time(letter.time_us))?;
    writeln!(out, "target        {}", pair.target)?;
    writeln!(out, "cause         {}", cause(letter))?;
    writeln!(
        out,
        "attempts      {}, from {} to {}",
        sending.attempts,
        time(sending.began_us),
        time(sending.ended_us)
    )?;
    writeln!(
        out,
        "exchange      {} at position {}",
        pair.id().escape_ascii(),
        pair.position
    )?;
    writeln!(out, "api           {}", pair.api)?;
    if !pair.items.is_empty() {
        let items: Vec<String> = pair.items.iter().map(items).collect();
        writeln!(out, "items         {}", items.join(", "))?;
    }
    if !pair.changes.is_empty() {
        writeln!(out, "changes       {}", pair.changes.join(", "))?;
    }
    write_requests(pair, out)?;
    write_answer("the primary's answer", pair.primary.as_ref(), out)?;
    write_answer("the shadow's last answer", pair.shadow.as_ref(), out)
}

/// Counted from 0; both ends are among them.
fn items(items: &std::ops::Range<u32>) -> String {
    match items.end.saturating_sub(1) {
        last if last <= items.start => items.start.to_string(),
        last => format!("{}-{last}", items.start),
    }
}

fn write_requests(pair: &Pair, out: &mut impl Write) -> io::Result<()> {
    let request = &pair.request;
    writeln!(out, "\n--- the request, as the primary got it")?;
    writeln!(
        out,
        "{} {}",
        request.method.escape_ascii(),
        request.target.escape_ascii()
    )?;
    write_headers("", &request.headers, out)?;
    write_body(&request.body, out)?;
    let Some(rewritten) = &pair.rewritten else {
        return Ok(());
    };
    writeln!(out, "\n--- what was sent in its place")?;
    if let Some(target) = &rewritten.target {
        writeln!(
            out,
            "{} {}",
            request.method.escape_ascii(),
            target.escape_ascii()
        )?;
    }
    write_headers("without ", &rewritten.removed, out)?;
    write_headers("with ", &rewritten.added, out)?;
    match &rewritten.body {
        Some(body) => write_body(body, out),
        None => Ok(()),
    }
}

fn write_answer(title: &str, answer: Option<&Response>, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\n--- {title}")?;
    let Some(answer) = answer else {
        return writeln!(out, "none");
    };
    writeln!(out, "{}", answer.status)?;
    write_headers("", &answer.headers, out)?;
    write_body(&answer.body, out)
}

fn write_headers(before: &str, headers: &Headers, out: &mut impl Write) -> io::Result<()> {
    for header in headers {
        let (name, value) = (header.name.escape_ascii(), header.value.escape_ascii());
        writeln!(out, "{before}{name}: {value}")?;
    }
    Ok(())
}

fn write_body(body: &Body, out: &mut impl Write) -> io::Result<()> {
    if !body.content.is_empty() {
        writeln!(out, "\n{}", printable(&body.content))?;
    }
    if !body.is_whole() {
        let missing = body.extent.missing();
        let missing = missing.map_or_else(|| "some".to_owned(), |missing| missing.to_string());
        writeln!(
            out,
            "(body {}: {missing} bytes are not here)",
            body.extent.as_str()
        )?;
    }
    Ok(())
}

/// A body as text: what would move the cursor of a terminal is escaped, and all of it when it is not UTF-8.
fn printable(content: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(content) else {
        return content.escape_ascii().to_string();
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.trim_end_matches('\n').chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}
