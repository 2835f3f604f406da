//! Columns of text that line up.

use std::io::{self, Write};

/// Writes rows under a header; the last column is as wide as it needs to be. Columns whose header
/// ends in a space are aligned to the right.
pub(super) fn write<const N: usize>(
    out: &mut impl Write,
    header: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        let title = header
            .get(column)
            .map_or(0, |title| title.trim_end().chars().count());
        cells.chain([title]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let titles = header.map(|title| title.trim_end().to_owned());
    for row in [titles].iter().chain(rows) {
        let mut line = String::new();
        for ((cell, title), width) in row.iter().zip(header).zip(widths) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            match title.ends_with(' ') {
                true => line.extend([padding.as_str(), cell]),
                false => line.extend([cell, padding.as_str()]),
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
