//! The state of one windowed aggregate and what closing its windows emits. Knows no plan and no stream.

use std::collections::{BTreeSet, VecDeque};
use std::iter::Peekable;
use std::sync::{Arc, OnceLock};
use std::vec::IntoIter;

use arrow::array::{
    ArrayRef, RecordBatch, StructArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use parking_lot::Mutex;

use super::definition::OutputColumn;
use super::held;
use super::merge::{StateMerge, batch};
use super::panes::Windows;
use super::spans::Spans;
use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::operator::contract::{
    BadRow, Deadline, Emission, Operator, RemoteSegment, RestoredSegment, StateKind, StoredSegment, emission,
};
use crate::operator::epoch_cell::{Effects, Epoch};
use crate::operator::rows::{result_as_json, types_sha256};
use crate::state::{Account, Merge, PaneState, PartReader, Rows, parts_for};
use crate::watermark::{InputMarks, NONE};

/// See the module's first line. Shared by all instances of its query's plan.
#[derive(Debug)]
pub(super) struct WindowOperator {
    id: String,
    windows: Windows,
    columns: Vec<OutputColumn>,
    schema: SchemaRef,
    /// Key columns of the partial aggregation, the pane not counted.
    keys: usize,
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
    pub(super) fn new(
        id: String,
        windows: Windows,
        columns: Vec<OutputColumn>,
        schema: SchemaRef,
        keys: usize,
    ) -> Self {
        let spans = windows.overlap().then(|| Spans::new(windows));
        let state = Mutex::new(Inner { panes: PaneState::new(&Account::unlimited()), spans, done_through: None });
        WindowOperator { id, windows, columns, schema, keys, merge: OnceLock::new(), state }
    }

    fn merge(&self) -> Result<&StateMerge> {
        self.merge.get().ok_or_else(|| Error::bug("a windowed aggregate ran before its plan was finished"))
    }

    /// The rows of the window that ends at `end`, as they are kept.
    fn rows_of(&self, end: Micros) -> Result<Vec<Rows>> {
        let (from, to) = self.windows.panes_of(end);
        let Inner { panes, spans, .. } = &mut *self.state.lock();
        match spans {
            None => Ok(panes.rows(from, to)),
            Some(spans) => spans.cover(panes, from, to, self.merge()?),
        }
    }

    /// The results of some keys of the window that ends at `end`. `rows`: all that the window holds of these keys.
    fn emit(&self, rows: &[RecordBatch], end: Micros, effects: &Effects) -> Result<Vec<RecordBatch>> {
        let start = self.windows.start_of(end);
        let mut results = Vec::new();
        let mut bad = |keys: &[ArrayRef], error: Error| match error.kind() {
            ErrorKind::Invalid => {
                let row = self.named(keys, start, end)?;
                effects.add_bad(BadRow { id: None, row, error });
                Ok(())
            }
            _ => Err(error),
        };
        let mut out = |values: &[ArrayRef], rows| {
            results.push(self.output(values, rows, start, end)?);
            Ok(())
        };
        self.merge()?.finish(rows, &mut out, effects.isolates().then_some(&mut bad))?;
        Ok(results)
    }

    /// A result as far as it is known without its aggregates.
    fn named(&self, keys: &[ArrayRef], start: Micros, end: Micros) -> Result<String> {
        let columns = self.columns.iter().zip(self.schema.fields());
        let keys = columns.filter_map(|(column, field)| match column {
            OutputColumn::Key(at) => Some((field.name().clone(), Arc::clone(&keys[*at]))),
            _ => None,
        });
        result_as_json(&self.id, (start, end), keys)
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
}

impl Operator for WindowOperator {
    fn id(&self) -> &str {
        &self.id
    }

    fn kind(&self) -> StateKind {
        StateKind { name: "window", version: 1 }
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn charge_to(&self, account: &Arc<Account>) {
        self.state.lock().panes = PaneState::new(account);
    }

    fn bind(&self, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<()> {
        let mut node = inputs.first().ok_or_else(|| Error::bug("a windowed aggregate without an input"))?;
        let partial = loop {
            if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
                break aggregate;
            }
            match node.children().as_slice() {
                [only] => node = only,
                _ => return Err(Error::bug("no partial aggregation below a windowed aggregate")),
            }
        };
        let merge = StateMerge::try_new(partial.aggr_expr().to_vec(), &partial.schema(), self.keys)?;
        // The narrow and the wide plan both say it, and they say the same.
        let _ = self.merge.set(merge);
        Ok(())
    }

    /// Takes one batch of the partial aggregation, `(pane, key…, state…)`.
    fn take(&self, _: usize, partial: RecordBatch) -> Result<Vec<RecordBatch>> {
        let schema = self.merge()?.schema();
        let states = |partial: &RecordBatch| -> Result<RecordBatch> {
            let columns = partial.columns()[1..].to_vec();
            Ok(batch(Arc::clone(schema), columns, partial.num_rows())?)
        };
        held::by_pane(&partial, states, |pane, rows| self.state.lock().append(pane, rows))?;
        Ok(vec![])
    }

    /// The results of every window that closes in this epoch, in order of window end.
    fn close(self: Arc<Self>, marks: &[InputMarks], epoch: &Arc<Epoch>, _: &Arc<TaskContext>) -> Result<Emission> {
        let (closed, to) = held::closes(&self.windows, marks);
        let panes = {
            let mut inner = self.state.lock();
            let panes = inner.panes.pane_starts();
            inner.done_through = held::done_through(&self.windows, &panes, to);
            panes
        };
        let epoch = Arc::clone(epoch);
        Ok(emission(Closing {
            operator: self,
            epoch,
            panes: panes.into_iter().peekable(),
            closed,
            to,
            window: None,
            results: VecDeque::new(),
        }))
    }

    fn commit(&self) -> Result<()> {
        let merge = self.merge()?;
        let mut inner = self.state.lock();
        let Inner { panes, spans, done_through } = &mut *inner;
        let done_through = done_through.take().unwrap_or(NONE);
        if let Some(spans) = spans {
            spans.forget(done_through);
            for (pane, merged) in spans.take_merged_panes() {
                panes.replace(pane, merged);
            }
            // What can be made again makes room for what cannot.
            if panes.account().is_short() {
                spans.clear();
            }
        }
        panes.commit(done_through, merge)
    }

    fn abort(&self) {
        let mut inner = self.state.lock();
        inner.done_through = None;
        inner.panes.abort();
        // They may hold what the epoch appended.
        if let Some(spans) = &mut inner.spans {
            spans.clear();
        }
    }

    fn segments(&self) -> Vec<StoredSegment> {
        held::segments(&self.state.lock().panes)
    }

    fn state_schema_sha256(&self) -> Result<String> {
        Ok(types_sha256(self.merge()?.schema().fields().iter()))
    }

    fn restore(&self, segment: RestoredSegment) -> Result<()> {
        let RestoredSegment { pane, id, level, batches, .. } = segment;
        let merge = self.merge()?;
        let batches = batches.iter().map(|batch| merge.as_of_today(batch)).collect::<Result<_>>()?;
        self.state.lock().panes.restore(pane, id, level, batches, merge.keys())
    }

    fn restore_remote(&self, segment: RemoteSegment) -> bool {
        let RemoteSegment { pane, id, level, home, .. } = segment;
        self.state.lock().panes.restore_remote(pane, id, level, home);
        true
    }

    fn stored(&self, segment: RemoteSegment) {
        self.state.lock().panes.stored(segment.pane, segment.id, segment.home);
    }

    fn needed(&self, marks: &[InputMarks]) -> Vec<RemoteSegment> {
        held::needed(&self.windows, &mut self.state.lock().panes, marks, self.keys)
    }

    fn next_deadlines(&self, marks: &[InputMarks]) -> Vec<Deadline> {
        held::next_deadlines(&self.windows, &self.state.lock().panes, marks)
    }

    fn last_deadline(&self, _: usize, newest: Micros) -> Option<Micros> {
        held::last_deadline(&self.windows, &self.state.lock().panes, newest)
    }

    fn panes_after(&self, at: Micros) -> BTreeSet<Micros> {
        held::panes_after(&self.state.lock().panes, at)
    }

    fn bytes(&self) -> usize {
        let inner = self.state.lock();
        inner.panes.bytes() + inner.spans.as_ref().map_or(0, Spans::bytes)
    }

    fn disk_bytes(&self) -> u64 {
        self.state.lock().panes.disk_bytes()
    }

    fn open(&self) -> usize {
        self.state.lock().panes.pane_count()
    }
}

/// The results of a close, one batch at a time: a window of millions of keys is never in memory as a whole.
struct Closing {
    operator: Arc<WindowOperator>,
    epoch: Arc<Epoch>,
    /// Those that hold rows, ascending, from the first that a closing window may hold.
    panes: Peekable<IntoIter<Micros>>,
    /// Windows that end at or before this are closed or emitted …
    closed: Micros,
    /// … and those up to this are to be.
    to: Micros,
    window: Option<ClosingWindow>,
    results: VecDeque<RecordBatch>,
}

/// A window whose keys are emitted part by part.
struct ClosingWindow {
    end: Micros,
    readers: Vec<PartReader>,
    part: usize,
    parts: usize,
}

impl Closing {
    /// Emits one part more; false behind the last one.
    fn go_on(&mut self) -> Result<bool> {
        if self.window.is_none() {
            let Some(end) = held::next_to_close(&self.operator.windows, &mut self.panes, self.closed, self.to) else {
                return Ok(false);
            };
            self.closed = end;
            let keys = self.operator.merge()?.keys();
            let segments = self.operator.rows_of(end)?;
            let rows = segments.iter().map(Rows::num_rows).sum();
            let parts = if keys == 0 { 1 } else { parts_for(rows) };
            let readers = segments.into_iter().map(|segment| PartReader::new(segment, keys, parts)).collect();
            self.window = Some(ClosingWindow { end, readers, part: 0, parts });
        }
        let Some(window) = &mut self.window else { return Ok(false) };
        let mut rows = Vec::new();
        window.readers.iter_mut().try_for_each(|reader| reader.read(window.part, &mut rows))?;
        if !rows.is_empty() {
            self.results.extend(self.operator.emit(&rows, window.end, &self.epoch.effects)?);
        }
        window.part += 1;
        if window.part == window.parts {
            self.window = None;
        }
        Ok(true)
    }
}

impl Iterator for Closing {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(result) = self.results.pop_front() {
                return Some(Ok(result));
            }
            match self.go_on() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
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
