//! Random expressions and aggregates over the columns in sight.

use super::choices::Choices;
use super::sql::{Column, Kind, Sql, Time, WindowOf};

/// What writes expressions: the choices, and whether DuckDB still understands all that has been written.
#[derive(Debug)]
pub(super) struct Expressions {
    pub(super) choices: Choices,
    pub(super) duckdb: bool,
}

/// By what the aggregates of one query that need an order are ordered: what they are over comes last, so that no tie is left.
#[derive(Debug, Clone)]
pub(super) struct Ordering {
    value: Column,
    by: Sql,
}

impl Expressions {
    fn column(&mut self, scope: &[Column], kind: Kind) -> Option<Sql> {
        let nested = scope.iter().filter(|column| column.kind == Kind::Nested).filter_map(|column| match kind {
            Kind::Whole => Some(Sql::same(format!("{}['q']", column.name))),
            Kind::Text => Some(Sql::same(format!("{}['p']", column.name))),
            _ => None,
        });
        let mut found: Vec<Sql> =
            scope.iter().filter(|column| column.kind == kind).map(Column::sql).chain(nested).collect();
        if found.is_empty() {
            return None;
        }
        Some(found.swap_remove(self.choices.below(found.len() as u32) as usize))
    }

    pub(super) fn whole(&mut self, scope: &[Column], depth: u32) -> Sql {
        match self.choices.below(if depth == 0 { 4 } else { 13 }) {
            0..=2 => self.column(scope, Kind::Whole).unwrap_or_else(|| Sql::same("1")),
            3 => Sql::same(self.choices.of(&["1", "0", "2", "-3", "100"])),
            4 => {
                let operator = self.choices.of(&["+", "-"]);
                let (one, other) = (self.whole(scope, depth - 1), self.whole(scope, depth - 1));
                Sql::of(&format!("({{}} {operator} {{}})"), &[&one, &other])
            }
            5 => Sql::of("({} * 3)", &[&self.whole(scope, depth - 1)]),
            6 => Sql::of("({} % 3)", &[&self.whole(scope, depth - 1)]),
            7 => {
                let of = self.whole(scope, depth - 1);
                Sql::two(format!("({} / 2)", of.ours), format!("({} // 2)", of.duckdb))
            }
            8 => Sql::of("abs({})", &[&self.whole(scope, depth - 1)]),
            9 => Sql::of("coalesce({}, 0)", &[&self.whole(scope, depth - 1)]),
            10 => Sql::of("nullif({}, 1)", &[&self.whole(scope, depth - 1)]),
            11 => Sql::of("length({})", &[&self.text(scope, depth - 1)]),
            _ => {
                let condition = self.condition(scope, depth - 1);
                let (one, other) = (self.whole(scope, depth - 1), self.whole(scope, depth - 1));
                Sql::of("CASE WHEN {} THEN {} ELSE {} END", &[&condition, &one, &other])
            }
        }
    }

    pub(super) fn float(&mut self, scope: &[Column], depth: u32) -> Sql {
        match self.choices.below(if depth == 0 { 4 } else { 10 }) {
            0..=2 => self.column(scope, Kind::Float).unwrap_or_else(|| Sql::same("0.5e0")),
            3 => Sql::same(self.choices.of(&["0.5e0", "-1.25e0", "2e0"])),
            4 => {
                let operator = self.choices.of(&["+", "-"]);
                let (one, other) = (self.float(scope, depth - 1), self.float(scope, depth - 1));
                Sql::of(&format!("({{}} {operator} {{}})"), &[&one, &other])
            }
            5 => Sql::of("({} * 0.5e0)", &[&self.float(scope, depth - 1)]),
            6 => Sql::of("CAST({} AS DOUBLE)", &[&self.whole(scope, depth - 1)]),
            7 => Sql::of("coalesce({}, 0e0)", &[&self.float(scope, depth - 1)]),
            8 => Sql::of("abs({})", &[&self.float(scope, depth - 1)]),
            _ => {
                let condition = self.condition(scope, depth - 1);
                let (one, other) = (self.float(scope, depth - 1), self.float(scope, depth - 1));
                Sql::of("CASE WHEN {} THEN {} ELSE {} END", &[&condition, &one, &other])
            }
        }
    }

    pub(super) fn text(&mut self, scope: &[Column], depth: u32) -> Sql {
        match self.choices.below(if depth == 0 { 4 } else { 11 }) {
            0..=2 => self.column(scope, Kind::Text).unwrap_or_else(|| Sql::same("'a'")),
            3 => Sql::same(self.choices.of(&["'a'", "''", "'other'"])),
            4 => Sql::of("upper({})", &[&self.text(scope, depth - 1)]),
            5 => Sql::of("substr({}, 1, 2)", &[&self.text(scope, depth - 1)]),
            6 => {
                let (one, other) = (self.text(scope, depth - 1), self.text(scope, depth - 1));
                Sql::of("({} || {})", &[&one, &other])
            }
            7 => Sql::of("coalesce({}, 'none')", &[&self.text(scope, depth - 1)]),
            8 => Sql::of("CAST({} AS VARCHAR)", &[&self.whole(scope, depth - 1)]),
            9 => Sql::of("replace({}, 'a', 'xy')", &[&self.text(scope, depth - 1)]),
            _ => {
                let condition = self.condition(scope, depth - 1);
                let (one, other) = (self.text(scope, depth - 1), self.text(scope, depth - 1));
                Sql::of("CASE WHEN {} THEN {} ELSE {} END", &[&condition, &one, &other])
            }
        }
    }

    pub(super) fn condition(&mut self, scope: &[Column], depth: u32) -> Sql {
        let below = depth.saturating_sub(1);
        match self.choices.below(if depth == 0 { 8 } else { 12 }) {
            0 => {
                let relation = self.relation();
                let (one, other) = (self.whole(scope, below), self.whole(scope, 0));
                Sql::of(&format!("{{}} {relation} {{}}"), &[&one, &other])
            }
            1 => {
                let relation = self.relation();
                let one = self.text(scope, below);
                Sql::of(&format!("{{}} {relation} 'b'"), &[&one])
            }
            2 => {
                let relation = self.relation();
                let one = self.float(scope, below);
                Sql::of(&format!("{{}} {relation} 0.5e0"), &[&one])
            }
            3 => {
                let test = self.choices.of(&["IS NULL", "IS NOT NULL"]);
                let value = self.scalar(scope, below);
                Sql::of(&format!("{{}} {test}"), &[&value.0])
            }
            4 => self.column(scope, Kind::Bool).unwrap_or_else(|| Sql::same("1 = 1")),
            5 => Sql::of("{} IN (1, 2, 10)", &[&self.whole(scope, below)]),
            6 => Sql::of("{} LIKE '%b%'", &[&self.text(scope, below)]),
            7 => match self.any_time(scope) {
                Some((time, _)) => {
                    let relation = self.relation();
                    Sql::of(&format!("{{}} {relation} TIMESTAMP '1970-01-01 00:00:20'"), &[&time])
                }
                None => Sql::same("1 = 1"),
            },
            8 => Sql::of("NOT ({})", &[&self.condition(scope, below)]),
            9 => {
                let (one, other) = (self.whole(scope, below), self.whole(scope, below));
                Sql::of("({} IS DISTINCT FROM {})", &[&one, &other])
            }
            10 => Sql::of("{} BETWEEN 0 AND 5", &[&self.whole(scope, below)]),
            _ => {
                let operator = self.choices.of(&["AND", "OR"]);
                let (one, other) = (self.condition(scope, below), self.condition(scope, below));
                Sql::of(&format!("({{}} {operator} {{}})"), &[&one, &other])
            }
        }
    }

    fn relation(&mut self) -> &'static str {
        self.choices.of(&["=", ">", "<=", "<>"])
    }

    /// Any time in sight.
    pub(super) fn any_time(&mut self, scope: &[Column]) -> Option<(Sql, Time)> {
        let times: Vec<(Sql, Time)> =
            scope.iter().filter_map(|column| column.time().map(|time| (column.sql(), time))).collect();
        if times.is_empty() {
            return None;
        }
        Some(times[self.choices.below(times.len() as u32) as usize].clone())
    }

    pub(super) fn scalar(&mut self, scope: &[Column], depth: u32) -> (Sql, Kind) {
        match self.choices.below(5) {
            0 => (self.whole(scope, depth), Kind::Whole),
            1 => (self.text(scope, depth), Kind::Text),
            2 => (self.float(scope, depth), Kind::Float),
            3 => (Sql::of("({})", &[&self.condition(scope, depth)]), Kind::Bool),
            _ => match self.any_time(scope) {
                Some((sql, time)) => (sql, Kind::Time(Time { watermark: false, window: WindowOf::No, ..time })),
                None => (self.whole(scope, depth), Kind::Whole),
            },
        }
    }

    /// A column to group by, or something computed of one; never a constant, which GROUP BY takes for a place in the list.
    pub(super) fn key(&mut self, scope: &[Column]) -> Option<(Sql, Kind)> {
        let keys = |kind: Kind| match kind {
            Kind::Whole | Kind::Float | Kind::Text | Kind::Bool | Kind::Nested => true,
            Kind::Time(time) => time.window == WindowOf::No,
            Kind::Window(_) | Kind::Other => false,
        };
        let found: Vec<&Column> = scope.iter().filter(|column| keys(column.kind)).collect();
        if found.is_empty() {
            return None;
        }
        let Column { name, kind } = found[self.choices.below(found.len() as u32) as usize];
        let plain = !self.choices.sometimes(5);
        Some(match kind {
            Kind::Nested => (Sql::same(format!("{name}['p']")), Kind::Text),
            Kind::Time(time) => (Sql::same(name), Kind::Time(Time { watermark: false, window: WindowOf::No, ..*time })),
            kind if plain => (Sql::same(name), *kind),
            Kind::Whole => (Sql::same(format!("({name} % 2)")), Kind::Whole),
            Kind::Text => (Sql::same(format!("upper({name})")), Kind::Text),
            Kind::Float => (Sql::same(format!("({name} > 0.5e0)")), Kind::Bool),
            kind => (Sql::same(format!("coalesce({name}, false)")), *kind),
        })
    }

    pub(super) fn ordering(&mut self, scope: &[Column]) -> Option<Ordering> {
        let plain = |column: &&Column| matches!(column.kind, Kind::Whole | Kind::Float | Kind::Text | Kind::Time(_));
        let columns: Vec<&Column> = scope.iter().filter(plain).collect();
        if columns.is_empty() {
            return None;
        }
        let value = columns[self.choices.below(columns.len() as u32) as usize].clone();
        let mut by = Vec::new();
        for _ in 0..self.choices.below(3) {
            by.push(columns[self.choices.below(columns.len() as u32) as usize].clone());
        }
        by.retain(|column| column.name != value.name);
        by.dedup_by(|one, other| one.name == other.name);
        by.push(value.clone());
        let by: Vec<Sql> = by
            .iter()
            .map(|column| {
                let direction = self.choices.of(&["ASC NULLS LAST", "DESC NULLS FIRST", "ASC NULLS FIRST"]);
                Sql::same(format!("{} {direction}", column.name))
            })
            .collect();
        Some(Ordering { value, by: Sql::list(&by, ", ") })
    }

    /// An aggregate with the kind of its value.
    pub(super) fn aggregate(&mut self, scope: &[Column], ordering: Option<&Ordering>) -> (Sql, Kind) {
        let (call, kind) = self.aggregate_call(scope, ordering);
        if call.ours.starts_with("CAST") || !self.choices.sometimes(4) {
            return (call, kind);
        }
        let condition = self.condition(scope, 1);
        (Sql::of("{} FILTER (WHERE {})", &[&call, &condition]), kind)
    }

    fn aggregate_call(&mut self, scope: &[Column], ordering: Option<&Ordering>) -> (Sql, Kind) {
        match self.choices.below(17) {
            0 => (Sql::same("count(*)"), Kind::Whole),
            1 => (Sql::of("sum({})", &[&self.whole(scope, 1)]), Kind::Whole),
            2 => (Sql::of("count({})", &[&self.scalar(scope, 1).0]), Kind::Whole),
            3 => {
                let name = self.choices.of(&["min", "max"]);
                let (value, kind) = match self.choices.below(4) {
                    0 => (self.whole(scope, 1), Kind::Whole),
                    1 => (self.text(scope, 1), Kind::Text),
                    2 => (self.float(scope, 1), Kind::Float),
                    _ => self.scalar(scope, 0),
                };
                (Sql::of(&format!("{name}({{}})"), &[&value]), kind)
            }
            4 => (Sql::of("sum({})", &[&self.float(scope, 1)]), Kind::Float),
            5 => (Sql::of("avg({})", &[&self.whole(scope, 1)]), Kind::Float),
            6 => (Sql::of("avg({})", &[&self.float(scope, 1)]), Kind::Float),
            7 => (Sql::of("count(DISTINCT {})", &[&self.scalar(scope, 1).0]), Kind::Whole),
            8 => (Sql::of("sum(DISTINCT {})", &[&self.whole(scope, 1)]), Kind::Whole),
            9 => {
                let name = self.choices.of(&["bool_and", "bool_or"]);
                (Sql::of(&format!("{name}({{}})"), &[&self.condition(scope, 1)]), Kind::Bool)
            }
            10 => {
                let name = self.choices.of(&["bit_and", "bit_or", "bit_xor"]);
                (Sql::of(&format!("{name}({{}})"), &[&self.whole(scope, 1)]), Kind::Whole)
            }
            11 => {
                let name = self.choices.of(&["stddev", "var_pop", "var_samp", "stddev_pop"]);
                (Sql::of(&format!("{name}({{}})"), &[&self.whole(scope, 1)]), Kind::Float)
            }
            12 => {
                // An estimate: the same however the rows come, and another one in DuckDB.
                self.duckdb = false;
                let of = if self.choices.below(2) == 0 { self.whole(scope, 0) } else { self.text(scope, 0) };
                (Sql::of("CAST(approx_distinct({}) AS BIGINT)", &[&of]), Kind::Whole)
            }
            13 => (Sql::of("median({})", &[&self.float(scope, 1)]), Kind::Float),
            _ => match ordering {
                Some(ordering) => self.ordered(ordering),
                None => (Sql::same("count(*)"), Kind::Whole),
            },
        }
    }

    fn ordered(&mut self, Ordering { value, by }: &Ordering) -> (Sql, Kind) {
        let of = value.sql();
        let kind = match value.kind {
            Kind::Time(time) => Kind::Time(Time { watermark: false, window: WindowOf::No, ..time }),
            kind => kind,
        };
        match self.choices.below(4) {
            0 => (Sql::of("array_agg({} ORDER BY {})", &[&of, by]), Kind::Other),
            1 if kind == Kind::Text => (Sql::of("string_agg({}, '+' ORDER BY {})", &[&of, by]), kind),
            2 => {
                let last = Sql::two(
                    format!("last_value({} ORDER BY {})", of.ours, by.ours),
                    format!("last({} ORDER BY {})", of.duckdb, by.duckdb),
                );
                (last, kind)
            }
            _ => {
                let first = Sql::two(
                    format!("first_value({} ORDER BY {})", of.ours, by.ours),
                    format!("first({} ORDER BY {})", of.duckdb, by.duckdb),
                );
                (first, kind)
            }
        }
    }
}
