//! What a replay tells at its end: a table to read, and JSON.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};
use shadow::Spread;

use super::feed::{Standing, Watched};

/// Lines of what is ambiguous that stand below the table.
const SHOWN: usize = 20;

/// The figures of one target, and all that is ambiguous there, as `--report` has them.
pub(super) fn whole(watched: &Watched) -> Value {
    let mut figures = target(watched);
    if let Some(figures) = figures.as_object_mut() {
        figures.insert("ambiguous_list".to_owned(), ambiguities(watched).into());
    }
    figures
}

/// The lines of the list that can be read; one that a kill left unfinished cannot.
fn ambiguities(watched: &Watched) -> Vec<Value> {
    let lines = watched.ambiguous.read(false).unwrap_or_default();
    let lines = lines.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}

/// Writes what is ambiguous on a target, if anything is, up to some lines.
pub(super) fn ambiguous(watched: &Watched, out: &mut impl Write) -> io::Result<()> {
    let lines = ambiguities(watched);
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nAmbiguous on {}: the capture does not tell what the primary has, so these may differ.",
        watched.target
    )?;
    for line in lines.iter().take(SHOWN) {
        writeln!(out, "  {line}")?;
    }
    if let Some(more) = lines.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        writeln!(out, "  and {more} more; --report FILE lists them all")?;
    }
    Ok(())
}

/// The figures of one target, as `--report` and the control socket show them.
#[must_use]
pub(super) fn target(watched: &Watched) -> Value {
    let standing = watched.standing();
    let tally = &standing.tally;
    let classes: serde_json::Map<String, Value> = tally
        .delivered
        .iter()
        .map(|(class, count)| (format!("{class}xx"), (*count).into()))
        .collect();
    json!({
        "target": watched.target.to_string(),
        "read": tally.read,
        "delivered": classes,
        "filtered": tally.filtered,
        "dropped": tally.dropped,
        "not_done": standing.not_done,
        "balanced": standing.is_balanced(),
        "in_flight": standing.in_flight,
        "other_status_class_than_primary": tally.other_class,
        "retried": tally.retried,
        "changed": tally.changed,
        "ambiguous": standing.ambiguous,
        "outside_window_or_limit": tally.outside,
        "late_in_source": standing.progress.late,
        "came_again": standing.progress.again,
        "undecodable": tally.undecodable,
        "lost_records": tally.lost,
        "halves_never_recorded": tally.never_recorded,
        "bytes_read": standing.progress.done,
        "bytes": standing.progress.total,
        "capture_time": time(standing.capture_us),
        "lag_ms": millis(standing.lag),
        "down": standing.is_down,
        "over": standing.is_over,
        "this_run": {
            "slip": spread(&standing.timings.slip),
            "response": spread(&standing.timings.response),
            "service": spread(&standing.timings.service),
        },
    })
}

/// The capture time of something, in RFC 3339. `None` when nothing was sent yet.
pub(super) fn time(micros: u64) -> Option<String> {
    if micros == 0 {
        return None;
    }
    let micros = i64::try_from(micros).ok()?;
    let time = jiff::Timestamp::from_microsecond(micros).ok()?;
    Some(format!("{time:.3}"))
}

fn spread(spread: &Spread) -> Value {
    json!({
        "count": spread.count,
        "p50_ms": millis(spread.p50),
        "p99_ms": millis(spread.p99),
        "p99_9_ms": millis(spread.p999),
        "max_ms": millis(spread.max),
    })
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Writes the table: a row for each figure, a column for each target.
pub(super) fn table(watched: &[Watched], paced: bool, out: &mut impl Write) -> io::Result<()> {
    let standings: Vec<Standing> = watched.iter().map(Watched::standing).collect();
    let mut rows = vec![row("", watched.iter().map(|it| it.target.to_string()))];
    let mut count = |name: &str, figure: &dyn Fn(&Standing) -> u64| {
        rows.push(row(name, standings.iter().map(|it| figure(it).to_string())));
    };
    count("read", &|it| it.tally.read);
    count("delivered", &|it| it.tally.all_delivered());
    for class in words(&standings, |it| {
        it.tally.delivered.keys().copied().collect()
    }) {
        let figure = |it: &Standing| it.tally.delivered.get(&class).copied().unwrap_or(0);
        count(&format!("  {class}xx"), &figure);
    }
    count("filtered", &|it| it.tally.all_filtered());
    for reason in words(&standings, |it| it.tally.filtered.keys().cloned().collect()) {
        let figure = |it: &Standing| it.tally.filtered.get(&reason).copied().unwrap_or(0);
        count(&format!("  {reason}"), &figure);
    }
    count("dropped", &|it| it.tally.all_dropped());
    for reason in words(&standings, |it| it.tally.dropped.keys().cloned().collect()) {
        let figure = |it: &Standing| it.tally.dropped.get(&reason).copied().unwrap_or(0);
        count(&format!("  {reason}"), &figure);
    }
    count("not done", &|it| it.not_done);
    count("other status class than primary", &|it| {
        it.tally.other_class
    });
    count("retried", &|it| it.tally.retried);
    for kind in words(&standings, |it| it.tally.changed.keys().cloned().collect()) {
        let figure = |it: &Standing| it.tally.changed.get(&kind).copied().unwrap_or(0);
        count(&format!("changed: {kind}"), &figure);
    }
    count("ambiguous", &|it| it.ambiguous);
    for (name, figure) in SELDOM {
        if standings.iter().any(|it| figure(it) > 0) {
            count(name, figure);
        }
    }
    if paced {
        let slip = |it: &Standing| times(&it.timings.slip);
        rows.push(row("slip", standings.iter().map(slip)));
        let response = |it: &Standing| times(&it.timings.response);
        rows.push(row(
            "response time from due",
            standings.iter().map(response),
        ));
    }
    let service = |it: &Standing| times(&it.timings.service);
    rows.push(row("service time from send", standings.iter().map(service)));
    write_aligned(&rows, out)?;
    writeln!(out, "\nTimes are p50 / p99 / p99.9 / max, of this run.")?;
    if let Some(wrong) = standings.iter().position(|it| !it.is_balanced()) {
        let target = watched.get(wrong).map(|it| it.target.to_string());
        let target = target.unwrap_or_default();
        writeln!(
            out,
            "The account of {target} does not balance; this is a bug."
        )?;
    }
    Ok(())
}

type Figure = &'static (dyn Fn(&Standing) -> u64 + Sync);

/// What is only told when it happened.
const SELDOM: &[(&str, Figure)] = &[
    ("outside the window or the limit", &|it| it.tally.outside),
    ("late in the source", &|it| it.progress.late),
    ("came again, passed over", &|it| it.progress.again),
    ("not an exchange", &|it| it.tally.undecodable),
    ("records lost", &|it| it.tally.lost),
    ("halves never recorded", &|it| it.tally.never_recorded),
];

fn row(name: &str, cells: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(cells).collect()
}

/// All words of all targets, each once, in order.
fn words<T: Ord>(standings: &[Standing], of: impl Fn(&Standing) -> Vec<T>) -> Vec<T> {
    let mut words: Vec<T> = standings.iter().flat_map(of).collect();
    words.sort();
    words.dedup();
    words
}

fn times(spread: &Spread) -> String {
    if spread.count == 0 {
        return "-".to_owned();
    }
    [spread.p50, spread.p99, spread.p999, spread.max]
        .map(short)
        .join(" / ")
}

/// Three digits and a unit.
pub(crate) fn short(duration: Duration) -> String {
    let micros = duration.as_micros();
    let seconds = duration.as_secs_f64();
    match micros {
        0..1_000 => format!("{micros}us"),
        1_000..10_000 => format!("{:.2}ms", seconds * 1e3),
        10_000..100_000 => format!("{:.1}ms", seconds * 1e3),
        100_000..1_000_000 => format!("{:.0}ms", seconds * 1e3),
        1_000_000..10_000_000 => format!("{seconds:.2}s"),
        _ => format!("{seconds:.0}s"),
    }
}

fn write_aligned(rows: &[Vec<String>], out: &mut impl Write) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (number, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if number == 0 {
                line.push_str(&format!("{cell:<width$}"));
            } else {
                line.push_str(&format!("  {cell:>width$}"));
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
