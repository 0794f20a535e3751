//! Random queries: windows upon one another and what is compared within them, unions, joins, lookups, plain views, parts of WITH. Each is
//! one that a server takes.

mod asof;
mod joins;
mod lookup;
mod windows;
mod within;

use self::windows::Windows;
use super::choices::Choices;
use super::expression::Expressions;
use super::rows::Wanted;
use super::sql::{Column, Kind, Sql, Time, WindowOf};

/// A question in two dialects.
#[derive(Debug, Clone)]
pub(super) struct Query {
    /// Plain views, and one materialized view.
    pub(super) text: String,
    /// One SELECT; `None` where DuckDB has no such thing.
    pub(super) duckdb: Option<String>,
    pub(super) rows: Wanted,
}

impl Query {
    pub(super) fn draw(choices: Choices) -> (Self, Choices) {
        let expressions = Expressions { choices, duckdb: true };
        let mut writer = Writer {
            expressions,
            names: 0,
            windows: 0,
            days: false,
            once: true,
            truncates: false,
            views: Vec::new(),
            parts: Vec::new(),
        };
        writer.days = writer.choices().sometimes(1);
        let relation = match writer.choices().below(10) {
            7 | 8 => writer.within_windows(3),
            9 => writer.relation(3),
            _ => writer.windowed_relation(3),
        };
        let lateness_us = writer.choices().of(&[0, 0, 0, 4_000_000]);
        let rows = writer.wanted(lateness_us);
        let mut text: String = writer.views.iter().map(|view| format!("{view};\n")).collect();
        let with = match writer.parts.as_slice() {
            [] => String::new(),
            parts => format!("WITH {}\n", parts.join(",\n")),
        };
        let mut options = Vec::new();
        if lateness_us > 0 {
            options.push(format!("'allowed-lateness' = '{} seconds'", lateness_us / 1_000_000));
        }
        // One that was drawn can have been left out again.
        let has_session = relation.body.ours.to_lowercase().contains("session(");
        if has_session && writer.choices().sometimes(5) {
            let longest = writer.choices().of(&[10, 2, 4, 60]);
            options.push(format!("'session-max-length' = '{longest} seconds'"));
            writer.expressions.duckdb = false;
        }
        let options = match options.as_slice() {
            [] => String::new(),
            options => format!(" WITH ({})", options.join(", ")),
        };
        text += &format!("CREATE MATERIALIZED VIEW v{options} AS\n{with}{}", relation.body.ours);
        let duckdb = writer.expressions.duckdb.then_some(relation.body.duckdb);
        (Query { text, duckdb, rows }, writer.expressions.choices)
    }
}

/// Something to stand after FROM.
#[derive(Debug, Clone)]
struct Relation {
    /// As a SELECT.
    body: Sql,
    /// Where it has a name, by which only we know it.
    name: Option<String>,
    /// It reads a part of WITH, which no view can.
    reads_part: bool,
    columns: Vec<Column>,
}

impl Relation {
    fn source(&self) -> Sql {
        let body = Sql::of("({})", &[&self.body]);
        match &self.name {
            Some(name) => Sql::two(name, body.duckdb),
            None => body,
        }
    }

    /// Some time with a watermark.
    fn times(&self) -> Vec<(String, Time)> {
        let times = self.columns.iter().filter_map(|column| match column.kind {
            Kind::Time(time) if time.watermark => Some((column.name.clone(), time)),
            Kind::Window(time) => Some((format!("{}['end']", column.name), time)),
            _ => None,
        });
        times.collect()
    }
}

/// Operators of one query: each is planned four times for one case.
const WINDOWS_MAX: usize = 3;

struct Writer {
    expressions: Expressions,
    names: usize,
    windows: usize,
    /// Windows may be days.
    days: bool,
    /// Each row of a stream is read once, and is in one window of each window function.
    once: bool,
    /// `date_trunc` puts a time back, by more than any allowed lateness.
    truncates: bool,
    views: Vec<String>,
    parts: Vec<String>,
}

impl Writer {
    fn choices(&mut self) -> &mut Choices {
        &mut self.expressions.choices
    }

    fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }

    fn wanted(&mut self, lateness_us: i64) -> Wanted {
        let days = self.days;
        if self.truncates && lateness_us > 0 {
            return Wanted { days, ..Wanted::default() };
        }
        // A row that is late for some of its windows cannot be left out of just those in batch.
        let late_us = match self.once && self.choices().sometimes(4) {
            true => self.choices().of(&[10_000_000, 1_000_000, 3_600_000_000]),
            false => 0,
        };
        Wanted { lateness_us, late_us, days }
    }

    /// Whatever may be read by a continuous query.
    fn relation(&mut self, depth: u32) -> Relation {
        if depth == 0 {
            return self.table();
        }
        match self.choices().below(17) {
            0..=2 => self.table(),
            3 | 4 => self.projection(depth - 1),
            5 => self.union(depth - 1),
            6 | 7 => self.lookup(depth - 1),
            8 => self.named(depth - 1),
            9 => self.rows_of_windows(depth - 1),
            10 => self.unnested(depth - 1),
            11 | 12 => self.joined(depth - 1),
            13 => self.within_windows(depth - 1),
            14 => self.nearest(depth - 1),
            _ => self.windowed_relation(depth - 1),
        }
    }

    /// One with a time of windows.
    fn timed_relation(&mut self, depth: u32) -> Relation {
        let relation = self.relation(depth);
        if relation.times().is_empty() { self.table() } else { relation }
    }

    fn table(&mut self) -> Relation {
        let (name, tick_us) = self.choices().of(&[("a", 1_000), ("b", 1)]);
        let time = Kind::Time(Time { tick_us, watermark: true, window: WindowOf::No });
        let columns = [
            ("id", Kind::Whole),
            ("k", Kind::Text),
            ("g", Kind::Whole),
            ("n", Kind::Whole),
            ("x", Kind::Float),
            ("ok", Kind::Bool),
            ("o", Kind::Nested),
            ("ts", time),
        ];
        Relation {
            body: Sql::same(format!("SELECT * FROM {name}")),
            name: Some(name.to_owned()),
            reads_part: false,
            columns: columns.map(|(name, kind)| Column::new(name, kind)).to_vec(),
        }
    }

    /// A relation of chosen columns over `from`.
    fn select(&mut self, items: Vec<(Sql, Column)>, rest: &Sql, reads_part: bool) -> Relation {
        let list: Vec<Sql> = items
            .iter()
            .map(|(sql, column)| if sql.ours == column.name { sql.clone() } else { sql.named(&column.name) })
            .collect();
        Relation {
            body: Sql::of("SELECT {} FROM {}", &[&Sql::list(&list, ", "), rest]),
            name: None,
            reads_part,
            columns: items.into_iter().map(|(_, column)| column).collect(),
        }
    }

    /// ` WHERE …`, or nothing.
    fn filter(&mut self, scope: &[Column]) -> Sql {
        if !self.choices().sometimes(6) {
            return Sql::default();
        }
        Sql::of(" WHERE {}", &[&self.expressions.condition(scope, 2)])
    }

    /// Some columns as they are or renamed, some computed.
    fn projection(&mut self, depth: u32) -> Relation {
        let input = self.relation(depth);
        let times = input.times();
        let mut items = Vec::new();
        if !times.is_empty() {
            let (time, facts) = times[self.choices().below(times.len() as u32) as usize].clone();
            items.push(self.moved_time(&time, facts));
        }
        for column in &input.columns {
            if column.time().is_some_and(|time| time.watermark) || self.choices().sometimes(4) {
                continue;
            }
            let name = if self.choices().sometimes(4) { self.name("c") } else { column.name.clone() };
            items.push((column.sql(), Column::new(name, column.kind)));
        }
        for _ in 0..self.choices().below(3) {
            let (sql, kind) = self.expressions.scalar(&input.columns, 2);
            items.push((sql, Column::new(self.name("c"), kind)));
        }
        if items.is_empty() {
            items.push((Sql::same("1"), Column::new(self.name("c"), Kind::Whole)));
        }
        let filter = self.filter(&input.columns);
        let rest = Sql::of("{} AS t{}", &[&input.source(), &filter]);
        self.select(items, &rest, input.reads_part)
    }

    /// A time with a watermark as it is, or moved by what does not change the order.
    fn moved_time(&mut self, time: &str, facts: Time) -> (Sql, Column) {
        let moved = Time { window: WindowOf::No, ..facts };
        let (sql, facts) = match self.choices().below(10) {
            6 => (format!("{time} + INTERVAL '1500 milliseconds'"), moved),
            7 => (format!("{time} - INTERVAL '3 seconds'"), moved),
            8 => (format!("date_trunc('{}', {time})", self.choices().of(&["second", "minute"])), moved),
            9 => (format!("CAST({time} AS TIMESTAMP(6))"), Time { tick_us: 1, ..moved }),
            _ => (time.to_owned(), facts),
        };
        self.truncates |= sql.starts_with("date_trunc");
        let name = self.name("t");
        let duckdb = sql.replace("TIMESTAMP(6)", "TIMESTAMP");
        (Sql::two(sql, duckdb), Column::new(name, Kind::Time(facts)))
    }

    /// Two streams as one, of a time, a number and a text.
    fn union(&mut self, depth: u32) -> Relation {
        self.once = false;
        let branches = [self.timed_relation(depth), self.timed_relation(depth)];
        let (time, number, text, float) = (self.name("t"), self.name("c"), self.name("c"), self.name("c"));
        let mut bodies = Vec::new();
        let mut tick_us = i64::MAX;
        for branch in &branches {
            let times = branch.times();
            let (of, facts) = times[self.choices().below(times.len() as u32) as usize].clone();
            tick_us = tick_us.min(facts.tick_us);
            let whole = self.expressions.whole(&branch.columns, 1);
            let words = self.expressions.text(&branch.columns, 1);
            let fraction = self.expressions.float(&branch.columns, 1);
            let filter = self.filter(&branch.columns);
            let list = [
                Sql::same(of).named(&time),
                Sql::of("CAST({} AS BIGINT)", &[&whole]).named(&number),
                words.named(&text),
                fraction.named(&float),
            ];
            let parts = [&Sql::list(&list, ", "), &branch.source(), &filter];
            bodies.push(Sql::of("SELECT {} FROM {} AS t{}", &parts));
        }
        if self.choices().sometimes(2) {
            // A branch that is no stream: its row comes once.
            bodies.push(Sql::same("SELECT TIMESTAMP '1970-01-01 00:00:07', 7, 'once', 0.5e0"));
            tick_us = tick_us.min(1);
            self.expressions.duckdb = false;
        }
        let facts = Time { tick_us, watermark: true, window: WindowOf::No };
        Relation {
            body: Sql::list(&bodies, " UNION ALL "),
            name: None,
            reads_part: branches.iter().any(|branch| branch.reads_part),
            columns: vec![
                Column::new(time, Kind::Time(facts)),
                Column::new(number, Kind::Whole),
                Column::new(text, Kind::Text),
                Column::new(float, Kind::Float),
            ],
        }
    }

    /// A plain view or a part of WITH.
    fn named(&mut self, depth: u32) -> Relation {
        let relation = self.relation(depth);
        if relation.name.is_some() {
            return relation;
        }
        let name = self.name("w");
        let part = relation.reads_part || self.choices().sometimes(8);
        match part {
            true => self.parts.push(format!("{name} AS ({})", relation.body.ours)),
            false => self.views.push(format!("CREATE VIEW {name} AS {}", relation.body.ours)),
        }
        Relation {
            body: Sql::two(format!("SELECT * FROM {name}"), relation.body.duckdb),
            name: Some(name),
            reads_part: part,
            columns: relation.columns,
        }
    }

    /// A list a row, taken apart.
    fn unnested(&mut self, depth: u32) -> Relation {
        let input = self.relation(depth);
        let mut items: Vec<(Sql, Column)> = input.columns.iter().map(|column| (column.sql(), column.clone())).collect();
        let (one, other) = (self.expressions.whole(&input.columns, 1), self.expressions.whole(&input.columns, 0));
        let list = Sql::of("unnest([{}, {}])", &[&one, &other]);
        items.push((list, Column::new(self.name("c"), Kind::Whole)));
        let rest = Sql::of("{} AS t", &[&input.source()]);
        self.select(items, &rest, input.reads_part)
    }

    /// Rows with their windows, which nobody has aggregated by.
    fn rows_of_windows(&mut self, depth: u32) -> Relation {
        let input = self.timed_relation(depth);
        let (rows, columns, bounds) = self.window_in_from(&input);
        let mut items: Vec<(Sql, Column)> = columns.iter().map(|column| (column.sql(), column.clone())).collect();
        for bound in bounds {
            let name = self.name("t");
            items.push((bound.sql(), Column::new(name, bound.kind)));
        }
        let filter = self.filter(&input.columns);
        let rest = Sql::of("{} AS t{}", &[&rows, &filter]);
        self.select(items, &rest, input.reads_part)
    }

    /// A window function in FROM, the columns of its input as they are above it, and those that it adds.
    fn window_in_from(&mut self, input: &Relation) -> (Sql, Vec<Column>, Vec<Column>) {
        let times = input.times();
        // The function takes a column; a part of a struct is none.
        let columns: Vec<(String, Time)> = times.iter().filter(|(time, _)| !time.contains('[')).cloned().collect();
        let (source, columns) = match columns.as_slice() {
            [] => {
                let (of, facts) = times[0].clone();
                let name = self.name("t");
                let source = Sql::of(&format!("(SELECT *, {of} AS {name} FROM {{}} AS t)"), &[&input.source()]);
                (source, vec![(name, facts)])
            }
            _ => (input.source(), columns),
        };
        let (time, facts) = columns[self.choices().below(columns.len() as u32) as usize].clone();
        let windows = self.drawn_windows();
        let (function, lengths) = (windows.name(), windows.lengths());
        let is_name = !source.ours.starts_with('(');
        // A table has one watermark, which need not be named.
        let is_table = ["a", "b"].contains(&source.ours.as_str());
        let keys = if windows.are_sessions() { self.session_keys(&input.columns) } else { vec![] };
        // Without brackets the last name is the time.
        let (by, by_in_brackets) = match keys.join(", ") {
            keys if keys.is_empty() => (String::new(), String::new()),
            keys => (format!(" PARTITION BY {keys}"), format!(" PARTITION BY ({keys})")),
        };
        let ours = match self.choices().below(16) {
            12..=13 if is_table => format!("{function}({}{by_in_brackets}, {lengths})", source.ours),
            14.. if is_name => format!("TABLE({function}(TABLE {}{by}, DESCRIPTOR({time}), {lengths}))", source.ours),
            _ => format!("{function}({}{by}, {time}, {lengths})", source.ours),
        };
        let names = ["window_start", "window_end", "window_time"];
        let bound = Kind::Time(Time { watermark: true, window: WindowOf::Open, ..facts });
        let mut bounds = names.map(|name| Column::new(name, bound)).to_vec();
        if !windows.are_sessions() {
            let duckdb = windows.in_duckdb(&source.duckdb, &time, facts.tick_us, names);
            return (Sql::two(ours, duckdb), input.columns.clone(), bounds);
        }
        let duckdb = windows.sessions_in_duckdb(&source.duckdb, &time, facts.tick_us, names, &keys);
        // Of a session only the end says when it is complete, and a row waits for it however long.
        bounds[0] = without_watermark(&bounds[0]);
        (Sql::two(ours, duckdb), input.columns.iter().map(without_watermark).collect(), bounds)
    }

    /// Columns by which rows are in sessions of their own.
    fn session_keys(&mut self, columns: &[Column]) -> Vec<String> {
        let fit = |column: &&Column| matches!(column.kind, Kind::Text | Kind::Whole | Kind::Bool);
        let columns: Vec<&Column> = columns.iter().filter(fit).collect();
        let mut keys: Vec<String> = Vec::new();
        if columns.is_empty() {
            return keys;
        }
        for _ in 0..self.choices().below(3) {
            let key = columns[self.choices().below(columns.len() as u32) as usize];
            if !keys.contains(&key.name) {
                keys.push(key.name.clone());
            }
        }
        keys
    }

    fn drawn_windows(&mut self) -> Windows {
        let days = self.days;
        let windows = Windows::draw(self.choices(), days);
        self.once &= windows.are_apart();
        windows
    }

    /// An aggregate by a window.
    fn windowed_relation(&mut self, depth: u32) -> Relation {
        if self.windows == WINDOWS_MAX {
            return self.table();
        }
        self.windows += 1;
        let input = self.timed_relation(depth);
        let again: Vec<Column> = input
            .columns
            .iter()
            .filter(|column| column.time().is_some_and(|time| time.window != WindowOf::No))
            .cloned()
            .collect();
        let form = self.choices().below(if again.is_empty() { 4 } else { 5 });
        let mut items: Vec<(Sql, Column)> = Vec::new();
        let mut scope = input.columns.clone();
        let (rows, groups) = match form {
            0..=2 => {
                let (rows, _, bounds) = self.window_in_from(&input);
                let mut chosen: Vec<Column> = Vec::new();
                for bound in &bounds {
                    let closes = |column: &Column| column.time().is_some_and(|time| time.window == WindowOf::Open);
                    let is_last = bound.name == "window_time";
                    if self.choices().below(2) == 0 || (is_last && !chosen.iter().any(closes)) {
                        chosen.push(bound.clone());
                    }
                }
                scope.extend(bounds);
                (rows, chosen)
            }
            3 => (input.source(), vec![]),
            _ => (input.source(), vec![again[self.choices().below(again.len() as u32) as usize].clone()]),
        };
        let mut by: Vec<Sql> = Vec::new();
        for column in groups {
            let kind = match column.time() {
                Some(time) if time.window != WindowOf::No => Kind::Time(Time { window: WindowOf::Closed, ..time }),
                _ => column.kind,
            };
            by.push(column.sql());
            items.push((column.sql(), Column::new(self.name("t"), kind)));
        }
        let rows = if form == 3 {
            let times = input.times();
            let (time, facts) = times[self.choices().below(times.len() as u32) as usize].clone();
            let windows = self.drawn_windows();
            let (start, end, last) = (self.name("t"), self.name("t"), self.name("t"));
            let window = Sql::two(windows.call(&time), format!("{{'start': {start}, 'end': {end}}}"));
            by.push(window.clone());
            let closed = Time { window: WindowOf::Closed, watermark: true, ..facts };
            items.push((window, Column::new(self.name("c"), Kind::Window(closed))));
            // By the other keys, which are drawn later.
            self.expressions.duckdb &= !windows.are_sessions();
            Sql::two(rows.ours, windows.in_duckdb(&rows.duckdb, &time, facts.tick_us, [&start, &end, &last]))
        } else {
            rows
        };
        let rows = Sql::of("{} AS t", &[&rows]);
        let rows = if form < 3 && self.choices().sometimes(3) { self.looked_up(&rows, &mut scope) } else { rows };
        let filter = self.filter(&scope);
        for _ in 0..self.choices().below(3) {
            if let Some((sql, kind)) = self.expressions.key(&input.columns) {
                by.push(sql.clone());
                items.push((sql, Column::new(self.name("c"), kind)));
            }
        }
        let ordering = self.expressions.ordering(&input.columns);
        for _ in 0..=self.choices().below(3) {
            let (sql, kind) = self.expressions.aggregate(&scope, ordering.as_ref());
            items.push((sql, Column::new(self.name("c"), kind)));
        }
        let having = match self.choices().below(6) {
            5 => {
                let value = self.expressions.whole(&input.columns, 1);
                let conditions = ["count(*) > 1", "sum({}) > 3", "min({}) IS NOT NULL"];
                let condition = self.choices().of(&conditions);
                Sql::of(&format!(" HAVING {condition}"), &[&value])
            }
            _ => Sql::default(),
        };
        let rest = Sql::of("{}{} GROUP BY {}{}", &[&rows, &filter, &Sql::list(&by, ", "), &having]);
        self.select(items, &rest, input.reads_part)
    }
}

/// A column as it is above a session.
fn without_watermark(column: &Column) -> Column {
    let kind = match column.kind {
        Kind::Time(time) => Kind::Time(Time { watermark: false, window: WindowOf::No, ..time }),
        // A part of it would be a time with a watermark.
        Kind::Window(_) => Kind::Other,
        kind => kind,
    };
    Column::new(&column.name, kind)
}
