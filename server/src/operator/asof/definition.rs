//! What an as-of join becomes: how its sides are read, which row is the nearest, and times in one unit.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};

use super::operator::AsOfJoinOperator;
use super::versions::Ticks;
use crate::clock::Micros;
use crate::error::Result;
use crate::operator::contract::Operator;
use crate::operator::interval_join::SideColumns;
use crate::operator::logical::{Definition, OperatorNode};
use crate::sql::{Direction, Matching, ticks, time_unit};
use crate::watermark::{END, NONE};

/// Which rows are partners, and what is emitted of them.
#[derive(Debug, Clone)]
pub struct Shape {
    pub matching: Matching,
    /// Rows of the left without a partner come out, too.
    pub is_outer: bool,
    /// The left one first.
    pub sides: [SideColumns; 2],
    /// Ticks of a microsecond: 1, or 1,000 where one of the times has nanoseconds.
    pub scale: i64,
    /// So far behind its side's watermark a row still counts, microseconds.
    pub allowed_lateness: Micros,
}

impl Shape {
    /// The scale for two times.
    pub fn scale_of(times: [&DataType; 2]) -> i64 {
        let is_fine = |time: &&DataType| matches!(time, DataType::Timestamp(TimeUnit::Nanosecond, _));
        if times.iter().any(is_fine) { 1_000 } else { 1 }
    }

    fn ticks(&self, us: Micros) -> Ticks {
        us.saturating_mul(self.scale)
    }

    /// The times of a side's rows; those of NULLs mean nothing.
    pub(super) fn times(&self, side: usize, batch: &RecordBatch) -> Result<Vec<Ticks>> {
        let column: &ArrayRef = batch.column(self.sides[side].time);
        let (of, by) = match time_unit(column.data_type())? {
            TimeUnit::Second => (1_000_000 * self.scale, 1),
            TimeUnit::Millisecond => (1_000 * self.scale, 1),
            TimeUnit::Microsecond => (self.scale, 1),
            TimeUnit::Nanosecond => (1, 1_000 / self.scale),
        };
        Ok(ticks(column)?.values().iter().map(|tick| tick.saturating_mul(of).div_euclid(by)).collect())
    }

    /// The last tick of a time. [`NONE`] and [`END`] stay what they are.
    pub(super) fn last_tick(&self, time: Micros) -> Ticks {
        match time {
            NONE | END => time,
            time => self.ticks(time).saturating_add(self.scale - 1),
        }
    }

    /// The last time of a side that is to be believed. `far_after`: the last of rows themselves.
    pub(super) fn believed(&self, side: usize, far_after: Micros) -> Ticks {
        self.last_tick(far_after.saturating_add(self.sides[side].ahead))
    }

    /// What the watermark of a side promises: all rows before this have come, those that count although they are behind it included.
    pub(super) fn passed(&self, side: usize, mark: Micros) -> Ticks {
        match mark {
            NONE | END => mark,
            mark => self.ticks(mark.saturating_sub(self.allowed_lateness)).saturating_add(self.at_mark(side)),
        }
    }

    /// The watermark of the right at which it has passed a time.
    pub(super) fn mark_for(&self, at: Ticks) -> Micros {
        let at = at.saturating_sub(self.at_mark(1));
        let mark = at.div_euclid(self.scale).saturating_add(i64::from(at.rem_euclid(self.scale) > 0));
        mark.saturating_add(self.allowed_lateness)
    }

    /// One tick where rows at the watermark itself have all come.
    fn at_mark(&self, side: usize) -> Ticks {
        i64::from(self.sides[side].is_inclusive)
    }

    /// The time that a row of the left looks for on the right.
    pub(super) fn sought(&self, time: Ticks) -> Ticks {
        match time {
            NONE | END => time,
            time => time.saturating_add(self.ticks(self.matching.offset)),
        }
    }

    /// How far away a partner may be.
    pub(super) fn tolerance(&self) -> Option<Ticks> {
        let tolerance = self.matching.reach()?;
        Some(self.ticks(tolerance.length).saturating_sub(i64::from(tolerance.is_strict)))
    }

    /// How far behind the time that is sought the right has to be known, so that the nearest row is certain.
    fn behind(&self) -> Ticks {
        // A row at the very time may still come where it counts.
        match self.matching.direction {
            Direction::Backward => i64::from(!self.matching.is_strict),
            Direction::Forward => self.tolerance().unwrap_or(Ticks::MAX).saturating_add(1),
        }
    }

    /// A row that seeks this time comes out when the right has passed that.
    pub(super) fn due(&self, sought: Ticks) -> Ticks {
        sought.saturating_add(self.behind())
    }

    /// The inverse of [`Shape::due`].
    pub(super) fn sought_by(&self, due: Ticks) -> Ticks {
        due.saturating_sub(self.behind())
    }
}

/// See the module's first line.
#[derive(Debug)]
pub struct AsOfJoin {
    shape: Shape,
}

impl AsOfJoin {
    pub fn new(shape: Shape) -> Self {
        AsOfJoin { shape }
    }
}

impl Definition for AsOfJoin {
    fn describe(&self, _: &OperatorNode) -> String {
        let kind = if self.shape.is_outer { "Left" } else { "Inner" };
        format!("as-of join, {kind}, {}", self.shape.matching.described("left", "right"))
    }

    fn create(&self, id: &str, schema: SchemaRef) -> Arc<dyn Operator> {
        Arc::new(AsOfJoinOperator::new(id.to_owned(), schema, self.shape.clone()))
    }
}
