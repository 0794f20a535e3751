//! Where on the pitch things happen.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};

use crate::Function;
use crate::aggregate::{Fold, Shape, aggregate, typed};
use crate::describe::describe;

/// Bounds the memory of a result: 8 bytes a cell for every group.
const CELLS_MAX: i64 = 1_000;

describe! {
    /// Counts by zone of the pitch: a list of columns × rows numbers, at most 1,000 of them.
    ///
    /// Element column + columns × row, counted from 0, is the zone where column = ⌊x / 120 × columns⌋ and row = ⌊y / 80 × rows⌋.
    /// columns, rows: constants from 1. A place off the pitch counts for the nearest zone; a row with x or y NULL or not
    /// finite is passed over; without rows all counts are 0. Source: our definition.
    HEATMAP = heatmap(x: Double, y: Double, columns: BigInt, rows: BigInt) -> "BIGINT[]"
}

pub(crate) fn heatmap() -> Function {
    let shape = Shape {
        returns: list_type(),
        state: vec![("counts", list_type())],
        constants: &[2, 3],
        empty: ScalarValue::try_new_null(&list_type()).expect("lists can be NULL"),
    };
    aggregate(&HEATMAP, shape, |constants, _| match constants {
        [ScalarValue::Int64(Some(columns)), ScalarValue::Int64(Some(rows))]
            if *columns > 0 && *rows > 0 && columns.saturating_mul(*rows) <= CELLS_MAX =>
        {
            Ok(Heatmap { columns: *columns as usize, rows: *rows as usize })
        }
        [columns, rows] => {
            plan_err!("heatmap: {columns} columns and {rows} rows; there are 1 to {CELLS_MAX} zones, columns × rows")
        }
        _ => plan_err!("heatmap: columns and rows are missing"),
    })
}

fn list_type() -> DataType {
    DataType::List(item())
}

fn item() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Int64, true))
}

#[derive(Debug, Clone)]
struct Heatmap {
    columns: usize,
    rows: usize,
}

/// Zones with their counts, in the order of zones: most groups touch few of them.
type Zones = Vec<(u16, i64)>;

impl Heatmap {
    fn zone(&self, x: f64, y: f64) -> u16 {
        let column = ((x.clamp(0.0, 120.0) / 120.0 * self.columns as f64) as usize).min(self.columns - 1);
        let row = ((y.clamp(0.0, 80.0) / 80.0 * self.rows as f64) as usize).min(self.rows - 1);
        u16::try_from(column + self.columns * row).unwrap_or(u16::MAX)
    }

    fn count(zones: &mut Zones, zone: u16, count: i64) -> usize {
        let before = zones.capacity();
        match zones.binary_search_by_key(&zone, |(zone, _)| *zone) {
            Ok(at) => zones[at].1 = zones[at].1.saturating_add(count),
            Err(at) => zones.insert(at, (zone, count)),
        }
        (zones.capacity() - before) * size_of::<(u16, i64)>()
    }
}

impl Fold for Heatmap {
    type State = Zones;
    type Rows = (Float64Array, Float64Array);

    fn rows(&self, arguments: &[ArrayRef]) -> Result<Self::Rows> {
        Ok((typed("heatmap", arguments, 0)?, typed("heatmap", arguments, 1)?))
    }

    fn add(&self, state: &mut Zones, (x, y): &Self::Rows, row: usize) -> Result<usize> {
        if x.is_null(row) || y.is_null(row) || !x.value(row).is_finite() || !y.value(row).is_finite() {
            return Ok(0);
        }
        Ok(Heatmap::count(state, self.zone(x.value(row), y.value(row)), 1))
    }

    fn merge(&self, state: &mut Zones, columns: &[ArrayRef], row: usize) -> Result<usize> {
        let lists = columns[0].as_list::<i32>();
        let [start, end] = [row, row + 1].map(|at| lists.value_offsets()[at] as usize);
        let mut grown = 0;
        // Zone and count in turn, as `state` has written them.
        for pair in lists.values().as_primitive::<Int64Type>().values()[start..end].chunks_exact(2) {
            match u16::try_from(pair[0]) {
                Ok(zone) if usize::from(zone) < self.columns * self.rows => {
                    grown += Heatmap::count(state, zone, pair[1]);
                }
                _ => return exec_err!("heatmap: a stored state names zone {}, which there is not", pair[0]),
            }
        }
        Ok(grown)
    }

    fn state(&self, states: &[Zones]) -> Result<Vec<ArrayRef>> {
        let numbers = states.iter().flatten().flat_map(|(zone, count)| [i64::from(*zone), *count]).collect();
        Ok(vec![list(numbers, states.iter().map(|zones| 2 * zones.len()))?])
    }

    fn values(&self, states: &[Zones]) -> Result<ArrayRef> {
        let cells = self.columns * self.rows;
        let mut counts = vec![0; cells * states.len()];
        for (group, zones) in states.iter().enumerate() {
            for (zone, count) in zones {
                counts[group * cells + usize::from(*zone)] = *count;
            }
        }
        list(counts, states.iter().map(|_| cells))
    }
}

fn list(numbers: Vec<i64>, lengths: impl Iterator<Item = usize>) -> Result<ArrayRef> {
    if i32::try_from(numbers.len()).is_err() {
        return exec_err!("heatmap: the zones of all groups together are too many for one batch");
    }
    Ok(Arc::new(ListArray::try_new(
        item(),
        OffsetBuffer::from_lengths(lengths),
        Arc::new(Int64Array::from(numbers)),
        None,
    )?))
}
