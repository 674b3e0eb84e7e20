//! Standard output and the last words on standard error.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// Prints one line on standard output. A closed pipe is the reader's wish, not an error.
pub(crate) fn line(text: impl Display) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// Prints `error` with its causes on standard error.
pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
    drop(writeln!(std::io::stderr().lock(), "error: {error:#}"));
    ExitCode::FAILURE
}

/// Lines up `rows` under `header`; the first column is text, the others are numbers.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) {
    let mut widths = header.map(|name| name.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let print = |cells: [&str; N]| {
        let mut text = String::new();
        for (column, (cell, width)) in cells.into_iter().zip(widths).enumerate() {
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            match column {
                0 => text.extend([cell, &padding]),
                _ => text.extend(["  ", &padding, cell]),
            }
        }
        line(text.trim_end());
    };
    print(header);
    for row in rows {
        print(row.each_ref().map(String::as_str));
    }
}
