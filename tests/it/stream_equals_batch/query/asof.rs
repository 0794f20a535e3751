//! Random as-of joins: each row of a stream beside the one of another that is the nearest to it in time.
//!
//! DuckDB has the same spelling, but knows no distance, and takes any of the rows at one time. So it is asked for the times of the rows that
//! are found, and a distance is a condition above.

use super::super::sql::{Column, Kind, Sql};
use super::{Relation, Writer};

impl Writer {
    /// A stream, and beside it the time of the nearest row of another, or all of that row.
    pub(super) fn nearest(&mut self, depth: u32) -> Relation {
        self.once = false;
        let left = self.timed_by_a_column(depth);
        // Of a table it is known which of the rows at one time is the last.
        let whole = self.choices().sometimes(5);
        let right = if whole { self.table() } else { self.timed_by_a_column(depth) };
        self.expressions.duckdb &= !whole;
        let (a, b) = (self.name("s"), self.name("s"));
        let (of_left, of_right) = (Self::qualified(&left, &a), Self::qualified(&right, &b));
        let (at, facts) = self.time_of(&left, &a);
        let (time, _) = self.time_of(&right, &b);
        let op = self.choices().of(&[">=", ">", "<=", "<"]);
        let is_backward = op.starts_with('>');
        let matching = match self.choices().sometimes(4) {
            false => format!("{at} {op} {time}"),
            true => format!("{time} {} {at}", op.replace(['>', '<'], if is_backward { "<" } else { ">" })),
        };
        // The first row behind a time is not waited for without an end.
        let within = (!is_backward || self.choices().sometimes(6)).then(|| self.choices().of(&[10, 3, 60]));
        let bound = within.map(|by| match is_backward {
            true => format!("{at} <= {time} + INTERVAL '{by} seconds'"),
            false => format!("{time} - {at} <= INTERVAL '{by} seconds'"),
        });
        let equal = if self.choices().sometimes(13) { self.equal(&of_left, &of_right) } else { None };
        let is_left = self.choices().sometimes(7);
        let join = if is_left { "ASOF LEFT JOIN" } else { "ASOF JOIN" };
        let parts = |first: Option<&str>, more: &[Option<&str>]| {
            let all: Vec<&str> = first.into_iter().chain(more.iter().flatten().copied()).collect();
            all.join(" AND ")
        };
        let keys = equal.map(|equal| equal.ours);
        let on = parts(keys.as_deref(), &[Some(&matching), bound.as_deref()]);
        let ours = match self.choices().sometimes(6) {
            false => format!("{join} {{}} AS {b} ON {on}"),
            true => {
                let others = parts(keys.as_deref(), &[bound.as_deref()]);
                let others = if others.is_empty() { others } else { format!(" ON {others}") };
                format!("{join} {{}} AS {b} MATCH_CONDITION ({matching}){others}")
            }
        };
        let (left_source, right_source) = (left.source(), right.source());
        let filled = |text: &str, right: &str| text.replacen("{}", right, 1);
        let plain = format!("{join} {{}} AS {b} ON {}", parts(keys.as_deref(), &[Some(&matching)]));
        let condition = bound.as_ref().filter(|_| !is_left).map(|bound| format!(" WHERE {bound}")).unwrap_or_default();
        let rest = Sql::two(
            format!("{} AS {a} {}", left_source.ours, filled(&ours, &right_source.ours)),
            format!("{} AS {a} {}{condition}", left_source.duckdb, filled(&plain, &right_source.duckdb)),
        );
        let found = match &bound {
            Some(bound) if is_left => Sql::two(&time, format!("CASE WHEN {bound} THEN {time} END")),
            _ => Sql::same(&time),
        };
        let (name, of_found) = (self.name("t"), self.name("t"));
        let mut items =
            vec![(Sql::same(at), Column::new(name, Kind::Time(facts))), (found, Column::new(of_found, Kind::Other))];
        let others = if whole { [of_left, of_right].concat() } else { of_left };
        for column in others {
            if matches!(column.kind, Kind::Time(_) | Kind::Window(_)) || self.choices().sometimes(4) {
                continue;
            }
            let name = self.name("c");
            items.push((column.sql(), Column::new(name, column.kind)));
        }
        self.select(items, &rest, left.reads_part || right.reads_part)
    }
}
