//! Tables of text: a header and rows, with `|` around every cell.

use super::script::{Cell, Column, Grid, GridRow};
use crate::error::{Error, Location, Result};

/// A line of a file, with its number.
pub(super) type Line<'a> = (u64, &'a str);

/// Whether a line is one of a table.
pub(super) fn is_of_grid(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('|') || is_rule(line)
}

/// A line that only looks well, as in `|---|---|` or `+---+---+`.
fn is_rule(line: &str) -> bool {
    line.starts_with(['|', '+']) && line.contains("---") && line.chars().all(|char| "|+-: ".contains(char))
}

/// # Errors
/// `Invalid` at the first cell that cannot be read.
pub(super) fn grid(file: &str, lines: &[Line<'_>]) -> Result<Grid> {
    let mut grid = Grid::default();
    for (number, line) in lines.iter().filter(|(_, line)| !is_rule(line.trim())) {
        let cells = cells(file, *number, line)?;
        if grid.columns.is_empty() {
            for (at, cell) in cells {
                let Cell::Bare(name) = cell else {
                    return Err(Error::invalid("a column's name stands in a header as it is").at(at));
                };
                if grid.columns.iter().any(|column| column.name == name) {
                    return Err(Error::invalid(format!("column \"{name}\" stands in the header twice")).at(at));
                }
                grid.columns.push(Column { name, at });
            }
            continue;
        }
        if cells.len() != grid.columns.len() {
            return Err(Error::invalid(format!(
                "the row has {} cells, and the header {}",
                cells.len(),
                grid.columns.len()
            ))
            .hint("a text with a | in it stands between quotes: 'a|b'")
            .at(Location { file: file.to_owned(), line: *number, column: 1 }));
        }
        grid.rows.push(GridRow { line: *number, cells: cells.into_iter().map(|(_, cell)| cell).collect() });
    }
    Ok(grid)
}

fn cells(file: &str, line: u64, text: &str) -> Result<Vec<(Location, Cell)>> {
    let place = |column: usize| Location { file: file.to_owned(), line, column: column as u64 + 1 };
    let chars: Vec<char> = text.trim_end().chars().collect();
    let mut at = chars.iter().position(|char| *char == '|').unwrap_or_default() + 1;
    let mut cells = Vec::new();
    while at < chars.len() {
        while chars.get(at) == Some(&' ') {
            at += 1;
        }
        let begin = at;
        let cell = match chars.get(at) {
            Some('\'') => {
                let text = quoted(&chars, &mut at).ok_or_else(|| {
                    Error::invalid("the quote is not closed")
                        .hint("a quote within quotes is written twice: 'it''s'")
                        .at(place(begin))
                })?;
                while chars.get(at) == Some(&' ') {
                    at += 1;
                }
                Cell::Quoted(text)
            }
            _ => {
                while chars.get(at).is_some_and(|char| *char != '|') {
                    at += 1;
                }
                match chars[begin..at].iter().collect::<String>().trim() {
                    "NULL" => Cell::Null,
                    "" => {
                        return Err(Error::invalid("the cell is empty")
                            .hint("write NULL, or '' for an empty text")
                            .at(place(begin)));
                    }
                    text => Cell::Bare(text.to_owned()),
                }
            }
        };
        if chars.get(at) != Some(&'|') {
            return Err(Error::invalid("expected a | behind the cell").hint("a row ends with a |").at(place(at)));
        }
        at += 1;
        cells.push((place(begin), cell));
    }
    Ok(cells)
}

/// What stands between quotes; `at` is then behind them.
fn quoted(chars: &[char], at: &mut usize) -> Option<String> {
    let mut text = String::new();
    *at += 1;
    loop {
        let char = *chars.get(*at)?;
        *at += 1;
        match (char, chars.get(*at)) {
            ('\'', Some('\'')) => *at += 1,
            ('\'', _) => return Some(text),
            _ => {}
        }
        text.push(char);
    }
}

/// The names and texts of a table, in columns that are as wide as they need.
pub(super) fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} |"));
        format!("|{}", cells.collect::<String>())
    };
    rows.iter().map(line).collect()
}
