//! How far the records of one batch bring each partition, in offsets and in event time.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow::record_batch::RecordBatch;

use crate::clock::{Micros, last_tick_at, micros_at, micros_of};
use crate::error::{Error, Result};
use crate::source::{Offset, Partition};

/// What the records since the last `finish` add up to for one partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartitionProgress {
    pub(super) from: Offset,
    pub(super) to: Offset,
    /// Dead letters included.
    pub(super) records: u64,
    pub(super) event_time_max: Option<Micros>,
    pub(super) far_future: u64,
}

impl PartitionProgress {
    pub(super) fn starting_at(from: Offset) -> Self {
        PartitionProgress { from, to: from, records: 0, event_time_max: None, far_future: 0 }
    }
}

/// Reads event times out of finished batches.
pub(super) struct EventTimes {
    column: usize,
    unit: TimeUnit,
    max_future: Micros,
}

impl EventTimes {
    /// `max_future`: how far ahead of processing time an event time may move the watermark; later ones are counted.
    ///
    /// # Errors
    /// `Invalid` for a column that is no timestamp.
    pub(super) fn try_new(column: usize, data_type: &DataType, max_future: Duration) -> Result<Self> {
        let DataType::Timestamp(unit, _) = data_type else {
            return Err(Error::invalid("a watermark column must be a TIMESTAMP").hint("declare it as TIMESTAMP(3)"));
        };
        Ok(EventTimes { column, unit: *unit, max_future: micros_of(max_future) })
    }

    /// Adds a batch's event times to its partitions. `runs`: how many rows in a row came from which partition.
    pub(super) fn observe(
        &self,
        batch: &RecordBatch,
        runs: &[(Partition, usize)],
        now: Micros,
        progress: &mut BTreeMap<Partition, PartitionProgress>,
    ) -> Result<()> {
        let column = batch.column(self.column);
        let values: &[i64] = match self.unit {
            TimeUnit::Second => column.as_primitive::<TimestampSecondType>().values(),
            TimeUnit::Millisecond => column.as_primitive::<TimestampMillisecondType>().values(),
            TimeUnit::Microsecond => column.as_primitive::<TimestampMicrosecondType>().values(),
            TimeUnit::Nanosecond => column.as_primitive::<TimestampNanosecondType>().values(),
        };
        let latest = last_tick_at(now.saturating_add(self.max_future), self.unit);
        let mut row = 0;
        for &(partition, rows) in runs {
            let range = row..row + rows;
            row += rows;
            let (max, far_future) = match column.nulls().filter(|nulls| nulls.null_count() > 0) {
                None => max_and_above(values[range].iter().copied(), latest),
                Some(nulls) => max_and_above(range.filter(|row| nulls.is_valid(*row)).map(|row| values[row]), latest),
            };
            let progress = progress
                .get_mut(&partition)
                .ok_or_else(|| Error::bug(format!("rows of partition {partition}, which contributed no records")))?;
            progress.far_future += far_future;
            progress.event_time_max = progress.event_time_max.max(max.map(|max| micros_at(max, self.unit)));
        }
        Ok(())
    }
}

/// The greatest value that is not above `latest`, and how many are above.
fn max_and_above(values: impl Iterator<Item = i64>, latest: i64) -> (Option<i64>, u64) {
    let (mut max, mut all, mut above) = (i64::MIN, 0, 0);
    for value in values {
        let counts = value <= latest;
        max = if counts { max.max(value) } else { max };
        above += u64::from(!counts);
        all += 1;
    }
    ((all > above).then_some(max), above)
}
