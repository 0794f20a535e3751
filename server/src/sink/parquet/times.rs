//! The range of each column with a time, as the manifest says it of a public file, so that readers open what they need.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, max, min};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};

use crate::clock::Micros;
use crate::error::Result;
use crate::tables::TimeRange;

/// Columns of a file whose times are said: they stand in every manifest that names it, and few views have more.
const COLUMNS_MAX: usize = 8;

/// Widens the ranges by the rows of a batch, each of the first columns that have times.
pub(super) fn extend(ranges: &mut BTreeMap<String, TimeRange>, batch: &RecordBatch) -> Result<()> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    for (field, column) in columns.filter(|(field, _)| has_times(field.data_type())).take(COLUMNS_MAX) {
        let Some(TimeRange { from, to }) = range_of(column)? else { continue };
        let range = ranges.entry(field.name().clone()).or_insert(TimeRange { from, to });
        *range = TimeRange { from: range.from.min(from), to: range.to.max(to) };
    }
    Ok(())
}

fn has_times(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(..) | DataType::Date32)
}

/// In whole microseconds that lie around it. `None` where all are NULL.
fn range_of(column: &ArrayRef) -> Result<Option<TimeRange>> {
    let numbers = match column.data_type() {
        DataType::Date32 => cast(&cast(column, &DataType::Int32)?, &DataType::Int64)?,
        _ => cast(column, &DataType::Int64)?,
    };
    let numbers = numbers.as_primitive::<Int64Type>();
    let (Some(least), Some(greatest)) = (min(numbers), max(numbers)) else { return Ok(None) };
    // What is no number of microseconds could lie anywhere.
    let in_micros = |number: i64, factor: Micros, beyond: Micros| number.checked_mul(factor).unwrap_or(beyond);
    let times = |factor: Micros| TimeRange {
        from: in_micros(least, factor, Micros::MIN),
        to: in_micros(greatest, factor, Micros::MAX),
    };
    Ok(Some(match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => times(1_000_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => times(1_000),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            TimeRange { from: least.div_euclid(1_000), to: greatest.div_euclid(1_000) + 1 }
        }
        DataType::Date32 => times(86_400_000_000),
        _ => times(1),
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Date32Array, Int64Array, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    };

    use super::*;

    fn batch(times: [Option<i64>; 2]) -> RecordBatch {
        let nulls: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![None, None]));
        let columns: [(&str, ArrayRef); 6] = [
            ("ms", Arc::new(TimestampMillisecondArray::from(times.to_vec()).with_timezone("Europe/Berlin"))),
            ("us", Arc::new(TimestampMicrosecondArray::from(times.to_vec()))),
            ("ns", Arc::new(TimestampNanosecondArray::from(times.to_vec()))),
            ("day", Arc::new(Date32Array::from(times.map(|day| day.map(|day| day as i32)).to_vec()))),
            ("nulls", nulls),
            ("n", Arc::new(Int64Array::from(times.to_vec()))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    }

    #[test]
    fn ranges_lie_around_all_times_whatever_their_unit() {
        let mut ranges = BTreeMap::new();
        extend(&mut ranges, &batch([Some(-1), None])).unwrap();
        extend(&mut ranges, &batch([Some(5), Some(2)])).unwrap();
        let said: Vec<_> = ranges.iter().map(|(name, range)| (name.as_str(), range.from, range.to)).collect();
        let day = 86_400_000_000;
        assert_eq!(said, [("day", -day, 5 * day), ("ms", -1_000, 5_000), ("ns", -1, 1), ("us", -1, 5)]);
    }
}
