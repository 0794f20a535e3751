//! What `SESSION` over a stream becomes: where its time and its keys are, and how times compare with watermarks.

use std::sync::Arc;

use arrow::datatypes::{SchemaRef, TimeUnit};

use super::operator::SessionOperator;
use crate::clock::{Micros, last_tick_at, micros_at};
use crate::operator::contract::Operator;
use crate::operator::logical::{Definition, OperatorNode};
use crate::sql::window_session::SessionRule;
use crate::watermark::{END, NONE};

/// How a session reads its input: the columns that a query can name, and behind them the hidden one of rows' places.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The column of the time.
    pub time: usize,
    /// Rows that differ in these columns are never in one session. NULL is a value like another.
    pub keys: Vec<usize>,
    /// Of the time. All that is compared with a row's time is in ticks of it.
    pub unit: TimeUnit,
    pub rule: SessionRule,
    /// So long after the watermark has passed its end a session stays open, microseconds.
    pub allowed_lateness: Micros,
}

impl Shape {
    /// The first tick that a row can still have, once the watermark is `mark`: one before it is late, and a session that ends before it
    /// gets no row any more. [`END`] where nothing comes.
    pub(super) fn first_tick(&self, mark: Micros) -> i64 {
        let at = match mark {
            NONE | END => return mark,
            mark => mark.saturating_sub(self.allowed_lateness),
        };
        match self.unit {
            TimeUnit::Second => div_up(at, 1_000_000),
            TimeUnit::Millisecond => div_up(at, 1_000),
            TimeUnit::Microsecond => at,
            TimeUnit::Nanosecond => at.saturating_mul(1_000),
        }
    }

    /// The last tick at or before a time. [`NONE`] and [`END`] stay what they are.
    pub(super) fn last_tick(&self, time: Micros) -> i64 {
        if [NONE, END].contains(&time) { time } else { last_tick_at(time, self.unit) }
    }

    /// The watermark at which a session with this end closes.
    pub(super) fn closes_at(&self, end: i64) -> Micros {
        micros_at(end, self.unit).saturating_add(1).saturating_add(self.allowed_lateness)
    }
}

fn div_up(at: Micros, by: i64) -> i64 {
    at.div_euclid(by) + i64::from(at.rem_euclid(by) > 0)
}

/// See the module's first line.
#[derive(Debug)]
pub struct Sessions {
    shape: Shape,
}

impl Sessions {
    pub fn new(shape: Shape) -> Self {
        Sessions { shape }
    }
}

impl Definition for Sessions {
    fn describe(&self, _: &OperatorNode) -> String {
        format!("sessions by {} keys, {:?}", self.shape.keys.len(), self.shape.rule)
    }

    fn create(&self, id: &str, schema: SchemaRef) -> Arc<dyn Operator> {
        Arc::new(SessionOperator::new(id.to_owned(), schema, self.shape.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(unit: TimeUnit) -> Shape {
        Shape { time: 0, keys: vec![], unit, rule: SessionRule::new(1, None), allowed_lateness: 0 }
    }

    // Whatever the unit, a session closes at the first watermark that is behind its last possible row.
    #[test]
    fn a_session_closes_exactly_when_no_row_at_its_end_can_come() {
        for (unit, end, at) in [
            (TimeUnit::Second, 7, 7_000_001),
            (TimeUnit::Millisecond, 7, 7_001),
            (TimeUnit::Millisecond, -7, -6_999),
            (TimeUnit::Microsecond, 7, 8),
            (TimeUnit::Nanosecond, 7_900, 8),
            (TimeUnit::Nanosecond, 8_000, 9),
        ] {
            let shape = shape(unit);
            assert_eq!(shape.closes_at(end), at, "{unit:?}");
            assert!(shape.first_tick(at) > end && shape.first_tick(at - 1) <= end, "{unit:?}");
        }
        let late = Shape { allowed_lateness: 100, ..shape(TimeUnit::Microsecond) };
        assert_eq!((late.closes_at(7), late.first_tick(107), late.first_tick(108)), (108, 7, 8));
    }

    #[test]
    fn none_and_end_stay_what_they_are() {
        for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
            let shape = Shape { allowed_lateness: 5, ..shape(unit) };
            assert_eq!((shape.first_tick(NONE), shape.first_tick(END)), (NONE, END));
            assert_eq!((shape.last_tick(NONE), shape.last_tick(END)), (NONE, END));
        }
        assert_eq!(shape(TimeUnit::Millisecond).last_tick(-1), -1);
        assert_eq!(shape(TimeUnit::Nanosecond).last_tick(2), 2_999);
    }
}
