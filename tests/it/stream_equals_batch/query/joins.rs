//! Random joins of two streams, bounded in time, and rows chosen by whether another stream has one near them.

use super::super::sql::{Column, Kind, Sql, Time, WindowOf};
use super::{Relation, Writer};

impl Writer {
    /// Two streams side by side, or one of them by what the other has.
    pub(super) fn joined(&mut self, depth: u32) -> Relation {
        self.once = false;
        let (left, right) = (self.timed_by_a_column(depth), self.timed_by_a_column(depth));
        let (a, b) = (self.name("s"), self.name("s"));
        let (of_left, of_right) = (Self::qualified(&left, &a), Self::qualified(&right, &b));
        let times = [self.time_of(&left, &a), self.time_of(&right, &b)];
        let mut on = self.bound(&times[0].0, &times[1].0);
        if let Some(equal) = self.equal(&of_left, &of_right) {
            on = Sql::of("{} AND {}", &[&on, &equal]);
        }
        if self.choices().sometimes(3) {
            let both = [of_left.clone(), of_right.clone()].concat();
            on = Sql::of("{} AND {}", &[&on, &self.expressions.condition(&both, 1)]);
        }
        let reads_part = left.reads_part || right.reads_part;
        let kind = self.choices().below(8);
        let (sides, rest) = match kind {
            0..=5 => {
                let join = ["JOIN", "JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"][kind as usize];
                let from = format!("{{}} AS {a} {join} {{}} AS {b} ON {{}}");
                (
                    vec![(of_left, &times[0]), (of_right, &times[1])],
                    Sql::of(&from, &[&left.source(), &right.source(), &on]),
                )
            }
            _ => {
                let not = if kind == 6 { "" } else { "NOT " };
                let from = format!("{{}} AS {a} WHERE {not}EXISTS (SELECT 1 FROM {{}} AS {b} WHERE {{}})");
                (vec![(of_left, &times[0])], Sql::of(&from, &[&left.source(), &right.source(), &on]))
            }
        };
        let mut items = Vec::new();
        for (columns, (time, facts)) in sides {
            let name = self.name("t");
            items.push((Sql::same(time), Column::new(name, Kind::Time(*facts))));
            for column in columns {
                if matches!(column.kind, Kind::Time(_) | Kind::Window(_)) || self.choices().sometimes(4) {
                    continue;
                }
                let name = self.name("c");
                items.push((column.sql(), Column::new(name, column.kind)));
            }
        }
        self.select(items, &rest, reads_part)
    }

    /// One with a time by which it can be joined: a part of a struct is no column.
    pub(super) fn timed_by_a_column(&mut self, depth: u32) -> Relation {
        let relation = self.relation(depth);
        if times(&relation).is_empty() { self.table() } else { relation }
    }

    pub(super) fn time_of(&mut self, relation: &Relation, alias: &str) -> (String, Time) {
        let times = times(relation);
        let (time, facts) = times[self.choices().below(times.len() as u32) as usize].clone();
        (format!("{alias}.{time}"), Time { window: WindowOf::No, ..facts })
    }

    fn bound(&mut self, left: &str, right: &str) -> Sql {
        let mut seconds = |of: &[i64]| self.choices().of(of);
        let (before, after) = (seconds(&[0, 1, 5, 30, -2]), seconds(&[0, 3, 10, 60]).max(3));
        Sql::same(match self.choices().below(5) {
            0 => format!("{left} = {right}"),
            1 => format!("{right} BETWEEN {left} AND {left} + INTERVAL '{after} seconds'"),
            2 => format!(
                "{right} >= {left} - INTERVAL '{before} seconds' AND {left} > {right} - INTERVAL '{after} seconds'"
            ),
            3 => {
                format!("{left} BETWEEN {right} - INTERVAL '{after} seconds' AND {right} + INTERVAL '{before} seconds'")
            }
            _ => format!(
                "{right} > {left} - INTERVAL '{after} seconds' AND {right} < {left} + INTERVAL '{after} seconds'"
            ),
        })
    }

    /// An equality that a hash can find.
    pub(super) fn equal(&mut self, left: &[Column], right: &[Column]) -> Option<Sql> {
        let kinds = [Kind::Text, Kind::Whole, Kind::Bool, Kind::Float];
        let kind = kinds[self.choices().below(5).min(3) as usize];
        let of = |columns: &[Column]| -> Vec<String> {
            columns.iter().filter(|column| column.kind == kind).map(|column| column.name.clone()).collect()
        };
        let (left, right) = (of(left), of(right));
        if left.is_empty() || right.is_empty() {
            return None;
        }
        let one = &left[self.choices().below(left.len() as u32) as usize];
        let other = &right[self.choices().below(right.len() as u32) as usize];
        Some(Sql::same(format!("{one} = {other}")))
    }

    pub(super) fn qualified(relation: &Relation, alias: &str) -> Vec<Column> {
        relation.columns.iter().map(|column| Column::new(format!("{alias}.{}", column.name), column.kind)).collect()
    }
}

fn times(relation: &Relation) -> Vec<(String, Time)> {
    relation.times().into_iter().filter(|(time, _)| !time.contains('[')).collect()
}
