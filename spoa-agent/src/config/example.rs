//! The commented example: every key with its manual and its default, as TOML.

use std::fmt::Write as _;

use super::keys::{Key, SECTIONS};
use super::kind::Shape;

const WIDTH: usize = 96;

const PREFACE: &str = "\
Configuration of spoa-agent: every key with its default. Lines that begin with \"# \" are explanations; to \
change a value, remove the \"#\" before its key.

Each key is also a flag and an environment variable: journal.dir is --journal-dir and \
SPOA_AGENT_JOURNAL_DIR. A flag wins over the environment, the environment over this file, this file over \
the default. Keys that do not exist are refused.

Sizes: 64MiB, 1GiB (powers of 1024), 64MB, 1GB (powers of 1000), or bytes. Durations: 1500ms, 5s, 10m, 1h, \
1d.

`spoa-agent check --config FILE` says everything that is wrong at once.";

/// The text of `config.example.toml`.
#[must_use]
pub fn example() -> String {
    let mut out = String::new();
    comment(&mut out, PREFACE);
    for section in SECTIONS {
        out.push('\n');
        comment(&mut out, section.doc());
        line(&mut out, &format!("[{}]", section.name));
        for key in section.keys {
            out.push('\n');
            comment(&mut out, key.doc());
            comment(&mut out, &format!("Takes {}.", key.accepts()));
            comment(
                &mut out,
                &format!("Example: {} = {}", key.name(), toml(key, key.example)),
            );
            line(
                &mut out,
                &format!("#{} = {}", key.name(), toml(key, key.default)),
            );
        }
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// Writes paragraphs as comment lines that fit the width.
fn comment(out: &mut String, text: &str) {
    for paragraph in text.split('\n') {
        let mut column = 0;
        for word in paragraph.split(' ').filter(|word| !word.is_empty()) {
            if column == 0 {
                out.push_str("# ");
                column = 2;
            } else if column + 1 + word.len() > WIDTH {
                out.push_str("\n# ");
                column = 2;
            } else {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column += word.len();
        }
        line(out, if column == 0 { "#" } else { "" });
    }
}

/// Writes a value, given as a person would write it in the environment, as TOML.
pub(super) fn toml(key: &Key, text: &str) -> String {
    match key.shape() {
        Shape::Bare => text.to_owned(),
        Shape::Text => quoted(text),
        Shape::List => {
            let items = text.split(',').filter(|item| !item.is_empty()).map(quoted);
            format!("[{}]", items.collect::<Vec<_>>().join(", "))
        }
        Shape::Table => {
            let entries = text.split(',').filter_map(|entry| entry.split_once('='));
            let entries: Vec<String> = entries
                .map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)))
                .collect();
            match entries.as_slice() {
                [] => "{}".to_owned(),
                entries => format!("{{ {} }}", entries.join(", ")),
            }
        }
    }
}

/// A basic TOML string; the table's texts are printable ASCII.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                // Writing to a `String` cannot fail.
                let _infallible = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
