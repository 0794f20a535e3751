//! The state of one windowed aggregate and what closing its windows emits. Knows no plan and no stream.

use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, RecordBatch, StructArray, TimestampMicrosecondArray, UInt32Array};
use arrow::array::{TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit};
use parking_lot::Mutex;

use super::merge::{StateMerge, batch};
use super::node::OutputColumn;
use super::panes::Windows;
use super::spans::Spans;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::state::{PaneState, Segment};

/// See the module's first line. Shared by all instances of its query's plan.
#[derive(Debug)]
pub struct WindowOperator {
    pub id: String,
    pub windows: Windows,
    columns: Vec<OutputColumn>,
    schema: SchemaRef,
    /// Known when planning has ended: the optimizer may still turn an aggregate into its mirror image.
    merge: OnceLock<StateMerge>,
    state: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    panes: PaneState,
    /// Where windows overlap: what they share.
    spans: Option<Spans>,
    /// Set by a close in the running epoch: what commit forgets.
    done_through: Option<Micros>,
}

impl WindowOperator {
    pub fn new(id: String, windows: Windows, columns: Vec<OutputColumn>, schema: SchemaRef) -> Self {
        let spans = (windows.size > windows.pane_width()).then(|| Spans::new(windows));
        let state = Mutex::new(Inner { panes: PaneState::default(), spans, done_through: None });
        WindowOperator { id, windows, columns, schema, merge: OnceLock::new(), state }
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(super) fn set_merge(&self, merge: StateMerge) {
        // The narrow and the wide plan both say it, and they say the same.
        let _ = self.merge.set(merge);
    }

    fn merge(&self) -> Result<&StateMerge> {
        self.merge.get().ok_or_else(|| Error::bug("a windowed aggregate ran before its plan was finished"))
    }

    /// Takes one batch of the partial aggregation, `(pane, key…, state…)`, into the running epoch.
    pub fn ingest(&self, partial: &RecordBatch) -> Result<()> {
        let panes = pane_starts(partial.column(0))?;
        let columns = partial.columns()[1..].to_vec();
        let rest = batch(Arc::clone(self.merge()?.schema()), columns, partial.num_rows())?;
        let Some(first) = panes.first() else { return Ok(()) };
        let mut inner = self.state.lock();
        if panes.iter().all(|pane| pane == first) {
            inner.append(*first, rest);
            return Ok(());
        }
        let mut rows: Vec<u32> =
            (0..u32::try_from(panes.len()).map_err(|_| Error::bug("batch of over 2^32 rows"))?).collect();
        rows.sort_by_key(|row| panes[*row as usize]);
        for run in rows.chunk_by(|a, b| panes[*a as usize] == panes[*b as usize]) {
            let part = take_record_batch(&rest, &UInt32Array::from(run.to_vec()))?;
            inner.append(panes[run[0] as usize], part);
        }
        Ok(())
    }

    /// The results of every window that closes in this epoch, in order of window end.
    ///
    /// `late`, `close`: the input edge's watermark after the previous epoch and after this one.
    pub fn close(&self, late: Micros, close: Micros) -> Result<Vec<RecordBatch>> {
        let from = self.windows.closed_through(late);
        let to = self.windows.closed_through(close);
        let mut inner = self.state.lock();
        let starts = inner.panes.pane_starts();
        let mut out = Vec::new();
        let mut next = 0;
        // Ends of closing windows that hold at least one pane with rows, ascending and without gaps to step through.
        let mut end = from;
        while let Some(pane) = starts[next..].first() {
            let candidate = self.windows.first_end(*pane).max(self.end_after(end));
            if candidate > to {
                break;
            }
            let start = candidate.saturating_sub(self.windows.size);
            if *pane < start {
                next += 1;
                continue;
            }
            out.extend(self.emit(&mut inner, start, candidate)?);
            end = candidate;
        }
        inner.done_through = Some(self.windows.panes_done_through(to));
        Ok(out)
    }

    /// The first window end after `end`.
    fn end_after(&self, end: Micros) -> Micros {
        if end == Micros::MIN {
            return end;
        }
        let phase = self.windows.size.rem_euclid(self.windows.slide);
        super::panes::floor(end.saturating_sub(phase), self.windows.slide)
            .saturating_add(self.windows.slide)
            .saturating_add(phase)
    }

    /// The rows of one window, none of whose keys is in two batches.
    fn emit(&self, inner: &mut Inner, start: Micros, end: Micros) -> Result<Vec<RecordBatch>> {
        let merge = self.merge()?;
        let segments = match &mut inner.spans {
            None => inner.panes.batches(start, end),
            Some(spans) => spans.cover(&inner.panes, start, end, &|batches: &[RecordBatch]| {
                merge.merge(batches).map_err(Error::from)
            })?,
        };
        let mut out = Vec::new();
        merge.finish(&segments, |values, rows| {
            out.push(self.output(values, rows, start, end)?);
            Ok(())
        })?;
        Ok(out)
    }

    /// `values`: one array for each key, then one for each aggregate.
    fn output(&self, values: &[ArrayRef], rows: usize, start: Micros, end: Micros) -> Result<RecordBatch> {
        let keys =
            values.len() - self.columns.iter().filter(|column| matches!(column, OutputColumn::Aggregate(_))).count();
        let columns = self
            .columns
            .iter()
            .zip(self.schema.fields())
            .map(|(column, field)| {
                let array = match column {
                    OutputColumn::WindowStart => constant_time(start, field.data_type(), rows)?,
                    OutputColumn::WindowEnd => constant_time(end, field.data_type(), rows)?,
                    OutputColumn::WindowTime => last_tick(end, field.data_type(), rows)?,
                    OutputColumn::Window => window_struct(start, end, field.data_type(), rows)?,
                    OutputColumn::Key(index) => Arc::clone(&values[*index]),
                    OutputColumn::Aggregate(index) => Arc::clone(&values[keys + index]),
                };
                if array.data_type() == field.data_type() { Ok(array) } else { Ok(cast(&array, field.data_type())?) }
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(batch(Arc::clone(&self.schema), columns, rows)?)
    }

    /// Makes the running epoch part of the state and forgets what no open window needs.
    pub fn commit(&self) -> Result<()> {
        let merge = self.merge()?;
        let mut inner = self.state.lock();
        let Inner { panes, spans, done_through } = &mut *inner;
        let done_through = done_through.take().unwrap_or(Micros::MIN);
        if let Some(spans) = spans {
            spans.forget(done_through);
            for (pane, merged) in spans.take_merged_panes() {
                panes.replace(pane, merged);
            }
        }
        panes.commit(done_through, |batches| merge.merge(batches).map_err(Error::from))
    }

    /// Forgets the running epoch.
    pub fn abort(&self) {
        let mut inner = self.state.lock();
        inner.done_through = None;
        inner.panes.abort();
        // They may hold what the epoch appended.
        if let Some(spans) = &mut inner.spans {
            spans.clear();
        }
    }

    /// A hash of the columns of its segments: state in another form cannot be read back.
    pub fn state_schema_sha256(&self) -> Result<String> {
        use sha2::{Digest, Sha256};
        let fields = self.merge()?.schema().fields().iter().map(|field| format!("{}\n", field.data_type()));
        let digest = Sha256::digest(fields.collect::<String>());
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// All committed segments with the start of their pane.
    pub fn segments(&self) -> Vec<(Micros, Segment)> {
        self.state.lock().panes.segments().map(|(pane, segment)| (pane, segment.clone())).collect()
    }

    pub fn restore(&self, pane: Micros, id: u64, level: u8, batch: RecordBatch) {
        self.state.lock().panes.restore(pane, id, level, batch);
    }

    /// The end of the earliest window that is open and holds rows: the next watermark at which something is emitted.
    pub fn next_close(&self, closed_through: Micros) -> Option<Micros> {
        let inner = self.state.lock();
        let first = inner.panes.pane_starts().first().copied()?;
        let end = self.windows.first_end(first).max(self.end_after(closed_through));
        Some(end.saturating_add(self.windows.allowed_lateness))
    }

    /// The watermark that would close every open window that holds rows, but for rows later than `newest`.
    pub fn close_all_at(&self, newest: Micros) -> Option<Micros> {
        let inner = self.state.lock();
        let last = inner.panes.pane_starts().into_iter().rfind(|start| *start <= newest)?;
        Some(self.windows.last_end(last).saturating_add(self.windows.allowed_lateness))
    }

    /// Bytes of state, those that only serve to merge faster included.
    pub fn bytes(&self) -> usize {
        let inner = self.state.lock();
        inner.panes.bytes() + inner.spans.as_ref().map_or(0, Spans::bytes)
    }

    pub fn pane_count(&self) -> usize {
        self.state.lock().panes.pane_count()
    }
}

impl Inner {
    fn append(&mut self, pane: Micros, batch: RecordBatch) {
        if let Some(spans) = &mut self.spans {
            spans.invalidate(pane);
        }
        self.panes.append(pane, batch);
    }
}

/// The values of a pane column in microseconds. Panes are whole microseconds whatever the unit.
pub(super) fn pane_starts(column: &ArrayRef) -> Result<Vec<Micros>> {
    let DataType::Timestamp(unit, _) = column.data_type() else {
        return Err(Error::bug(format!("pane column of type {}", column.data_type())));
    };
    let unit = *unit;
    let ticks = column.to_data();
    let ticks = arrow::array::PrimitiveArray::<Int64Type>::from(
        ticks.into_builder().data_type(DataType::Int64).build().map_err(Error::from)?,
    );
    Ok(ticks.values().iter().map(|tick| to_micros(*tick, unit)).collect())
}

pub(super) fn to_micros(tick: i64, unit: TimeUnit) -> Micros {
    match unit {
        TimeUnit::Second => tick.saturating_mul(1_000_000),
        TimeUnit::Millisecond => tick.saturating_mul(1_000),
        TimeUnit::Microsecond => tick,
        TimeUnit::Nanosecond => tick.div_euclid(1_000),
    }
}

fn from_micros(at: Micros, unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => at.div_euclid(1_000_000),
        TimeUnit::Millisecond => at.div_euclid(1_000),
        TimeUnit::Microsecond => at,
        TimeUnit::Nanosecond => at.saturating_mul(1_000),
    }
}

fn constant_time(at: Micros, data_type: &DataType, rows: usize) -> Result<ArrayRef> {
    ticks(data_type, rows, |unit| from_micros(at, unit))
}

fn last_tick(end: Micros, data_type: &DataType, rows: usize) -> Result<ArrayRef> {
    ticks(data_type, rows, |unit| from_micros(end, unit).saturating_sub(1))
}

fn ticks(data_type: &DataType, rows: usize, tick: impl Fn(TimeUnit) -> i64) -> Result<ArrayRef> {
    let DataType::Timestamp(unit, zone) = data_type else {
        return Err(Error::bug(format!("window column of type {data_type}")));
    };
    let values = vec![tick(*unit); rows];
    let zone = zone.clone();
    Ok(match unit {
        TimeUnit::Second => Arc::new(TimestampSecondArray::from(values).with_timezone_opt(zone)),
        TimeUnit::Millisecond => Arc::new(TimestampMillisecondArray::from(values).with_timezone_opt(zone)),
        TimeUnit::Microsecond => Arc::new(TimestampMicrosecondArray::from(values).with_timezone_opt(zone)),
        TimeUnit::Nanosecond => Arc::new(TimestampNanosecondArray::from(values).with_timezone_opt(zone)),
    })
}

fn window_struct(start: Micros, end: Micros, data_type: &DataType, rows: usize) -> Result<ArrayRef> {
    let DataType::Struct(fields) = data_type else {
        return Err(Error::bug(format!("window struct of type {data_type}")));
    };
    let arrays = [start, end]
        .into_iter()
        .zip(fields)
        .map(|(at, field)| constant_time(at, field.data_type(), rows))
        .collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(StructArray::try_new(fields.clone(), arrays, None)?))
}
