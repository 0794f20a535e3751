//! Random comparisons of rows within their windows: OVER, the first of them by an order, DISTINCT, and the set operations.
//!
//! Where rows tie each engine has an order of its own. So what depends on it is ordered by all columns that are shown, and rows that tie
//! then are the same. Fractions are left out of that: their last digit depends on how they were added up.

use super::super::sql::{Column, Kind, Sql, Time, WindowOf};
use super::{Relation, WINDOWS_MAX, Writer};

impl Writer {
    /// Rows of some windows, compared with one another.
    pub(super) fn within_windows(&mut self, depth: u32) -> Relation {
        let input = match self.choices().below(2) {
            0 => self.windowed_relation(depth),
            _ => self.rows_of_windows(depth),
        };
        let windows: Vec<Column> = input.columns.iter().filter(|column| is_window(column)).cloned().collect();
        if windows.is_empty() || self.windows == WINDOWS_MAX {
            return input;
        }
        self.windows += 1;
        let window = windows[self.choices().below(windows.len() as u32) as usize].clone();
        match self.choices().below(8) {
            0..=4 => self.over(&input, &window),
            5 | 6 => self.distinct(&input, &window),
            _ => self.set_operation(&input, &window),
        }
    }

    fn over(&mut self, input: &Relation, window: &Column) -> Relation {
        let mut items = vec![(window.sql(), closed(window))];
        items.extend(input.columns.iter().filter(|column| is_plain(column) && column.name != window.name).map(shown));
        let mut all: Vec<Column> = items.iter().map(|(_, column)| column.clone()).filter(is_plain).collect();
        if all.is_empty() {
            all.push(Column::new(format!("{}['end']", window.name), Kind::Other));
        }
        let mut partition = vec![window.sql()];
        if self.choices().sometimes(6)
            && let Some((key, _)) = self.expressions.key(&plain(input))
        {
            partition.push(key);
        }
        let partition = Sql::list(&partition, ", ");
        let mut place = None;
        for _ in 0..=self.choices().below(3) {
            // Some calls of one SELECT have the same order, some have another. Places are unsigned in DataFusion, and not in DuckDB.
            let order = self.order(&all);
            let by = &plain(input);
            let (call, kind) = match self.choices().below(13) {
                0 => (
                    Sql::of(
                        "CAST(row_number() OVER (PARTITION BY {} ORDER BY {}) AS BIGINT)",
                        &[&partition, &order.all],
                    ),
                    Kind::Whole,
                ),
                1 => (
                    Sql::of("CAST(rank() OVER (PARTITION BY {} ORDER BY {}) AS BIGINT)", &[&partition, &order.first]),
                    Kind::Whole,
                ),
                2 => {
                    let of = self.expressions.whole(&input.columns, 1);
                    (Sql::of("sum({}) OVER (PARTITION BY {})", &[&of, &partition]), Kind::Whole)
                }
                3 => {
                    let (name, (of, kind)) = (self.choices().of(&["lag", "lead", "first_value"]), self.value(by));
                    let over = format!("{name}({{}}) OVER (PARTITION BY {{}} ORDER BY {{}})");
                    (Sql::of(&over, &[&of, &partition, &order.all]), kind)
                }
                4 => {
                    let of = self.expressions.whole(&input.columns, 1);
                    let over = "sum({}) OVER (PARTITION BY {} ORDER BY {} ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)";
                    (Sql::of(over, &[&of, &partition, &order.all]), Kind::Whole)
                }
                5 => (
                    Sql::of(
                        "CAST(dense_rank() OVER (PARTITION BY {} ORDER BY {}) AS BIGINT)",
                        &[&partition, &order.first],
                    ),
                    Kind::Whole,
                ),
                6 => (
                    Sql::of("CAST(ntile(3) OVER (PARTITION BY {} ORDER BY {}) AS BIGINT)", &[&partition, &order.all]),
                    Kind::Whole,
                ),
                7 => {
                    let name = self.choices().of(&["percent_rank", "cume_dist"]);
                    let over = format!("{name}() OVER (PARTITION BY {{}} ORDER BY {{}})");
                    (Sql::of(&over, &[&partition, &order.first]), Kind::Float)
                }
                8 => {
                    let (of, kind) = self.value(by);
                    let over = "last_value({}) OVER (PARTITION BY {} ORDER BY {} ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)";
                    (Sql::of(over, &[&of, &partition, &order.all]), kind)
                }
                // Peers by one column are in each other's frame.
                9 => {
                    let (name, of) = (self.choices().of(&["sum", "max"]), self.expressions.whole(&input.columns, 1));
                    let over = format!("{name}({{}}) OVER (PARTITION BY {{}} ORDER BY {{}})");
                    (Sql::of(&over, &[&of, &partition, &order.first]), Kind::Whole)
                }
                10 => {
                    let condition = self.expressions.condition(&input.columns, 1);
                    (
                        Sql::of("count(*) FILTER (WHERE {}) OVER (PARTITION BY {})", &[&condition, &partition]),
                        Kind::Whole,
                    )
                }
                11 => {
                    let of = self.expressions.float(&input.columns, 1);
                    (Sql::of("avg({}) OVER (PARTITION BY {})", &[&of, &partition]), Kind::Float)
                }
                _ => (Sql::of("count(*) OVER (PARTITION BY {})", &[&window.sql()]), Kind::Whole),
            };
            let name = self.name("c");
            if kind == Kind::Whole && place.is_none() {
                place = Some(name.clone());
            }
            items.push((call, Column::new(name, kind)));
        }
        let filter = self.filter(&plain(input));
        let rest = Sql::of("{} AS t{}", &[&input.source(), &filter]);
        let ranked = self.select(items, &rest, input.reads_part);
        match place {
            Some(place) if self.choices().sometimes(8) => {
                let most = self.choices().of(&[1, 2, 3]);
                let body = Sql::of(&format!("SELECT * FROM {{}} AS t WHERE {place} <= {most}"), &[&ranked.source()]);
                Relation { body, name: None, ..ranked }
            }
            _ => ranked,
        }
    }

    fn distinct(&mut self, input: &Relation, window: &Column) -> Relation {
        let items = self.keys(input, window);
        let filter = self.filter(&input.columns);
        let rest = Sql::of("{} AS t{}", &[&input.source(), &filter]);
        let rows = self.select(items, &rest, input.reads_part);
        Relation { body: Sql::of("SELECT DISTINCT * FROM {} AS t", &[&rows.source()]), ..rows }
    }

    /// Of the same relation, in part.
    fn set_operation(&mut self, input: &Relation, window: &Column) -> Relation {
        self.once = false;
        if matches!(window.kind, Kind::Window(_)) {
            return self.distinct(input, window);
        }
        let items = self.keys(input, window);
        let mut side = || {
            let condition = self.expressions.condition(&plain(input), 1);
            let rest = Sql::of("{} AS t WHERE {}", &[&input.source(), &condition]);
            self.select(items.clone(), &rest, input.reads_part)
        };
        let (left, right) = (side(), side());
        let operation = self.choices().of(&["UNION", "INTERSECT", "EXCEPT"]);
        let both = format!("{{}} {operation} {{}}");
        // What is known of their times above a join is not drawn on.
        let columns = left.columns.iter().map(|column| shown(column).1).collect();
        Relation { body: Sql::of(&both, &[&left.body, &right.body]), columns, ..left }
    }

    /// A window and some columns to be compared by.
    fn keys(&mut self, input: &Relation, window: &Column) -> Vec<(Sql, Column)> {
        let mut items = vec![(window.sql(), closed(window))];
        // Beside a window that is still open one that has closed is a key, and no time.
        let would_close =
            |column: &Column| of_window(column) == WindowOf::Open && of_window(window) == WindowOf::Closed;
        for column in input.columns.iter().filter(|column| is_plain(column) && column.name != window.name) {
            if self.choices().sometimes(6) && !would_close(column) {
                items.push(shown(column));
            }
        }
        items
    }

    fn value(&mut self, columns: &[Column]) -> (Sql, Kind) {
        match columns {
            [] => (Sql::same("1"), Kind::Whole),
            _ => {
                let (sql, column) = shown(&columns[self.choices().below(columns.len() as u32) as usize]);
                (sql, column.kind)
            }
        }
    }

    /// By all columns, in any order of them; and by the first of these alone.
    fn order(&mut self, columns: &[Column]) -> Order {
        let first = self.choices().below(columns.len() as u32) as usize;
        let turned = columns[first..].iter().chain(&columns[..first]);
        let terms: Vec<Sql> = turned
            .map(|column| {
                let direction =
                    self.choices().of(&["ASC NULLS LAST", "DESC NULLS FIRST", "ASC NULLS FIRST", "DESC NULLS LAST"]);
                Sql::same(format!("{} {direction}", column.name))
            })
            .collect();
        Order { first: terms[0].clone(), all: Sql::list(&terms, ", ") }
    }
}

struct Order {
    first: Sql,
    all: Sql,
}

fn is_window(column: &Column) -> bool {
    match column.kind {
        Kind::Time(time) => time.window != WindowOf::No,
        Kind::Window(_) => true,
        _ => false,
    }
}

fn of_window(column: &Column) -> WindowOf {
    match column.kind {
        Kind::Time(time) => time.window,
        _ => WindowOf::No,
    }
}

fn is_plain(column: &Column) -> bool {
    matches!(column.kind, Kind::Whole | Kind::Text | Kind::Bool | Kind::Time(_))
}

fn plain(input: &Relation) -> Vec<Column> {
    input.columns.iter().filter(|column| is_plain(column)).cloned().collect()
}

/// A column behind a comparison, of which nothing is known but its value.
fn shown(column: &Column) -> (Sql, Column) {
    let kind = match column.kind {
        Kind::Time(time) => Kind::Time(Time { watermark: false, window: WindowOf::No, ..time }),
        kind => kind,
    };
    (column.sql(), Column::new(&column.name, kind))
}

/// The window by which rows were compared: it has closed.
fn closed(window: &Column) -> Column {
    let kind = match window.kind {
        Kind::Time(time) => Kind::Time(Time { window: WindowOf::Closed, ..time }),
        kind => kind,
    };
    Column::new(&window.name, kind)
}
