//! The state of one windowed aggregate and what closing its windows emits. Knows no plan and no stream.

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::sync::{Arc, OnceLock};

use arrow::array::{
    ArrayRef, RecordBatch, StructArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use parking_lot::Mutex;

use super::definition::OutputColumn;
use super::early::{Early, Leaving, Progress};
use super::held::{self, WindowParts};
use super::merge::StateMerge;
use super::panes::{RowWindows, Windows};
use super::spans::Spans;
use crate::catalog::EarlyWhen;
use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::operator::contract::{
    BadRow, Deadline, EarlyEmission, EarlyRows, Emission, Operator, RemoteSegment, RestoredSegment, StateKind,
    StoredSegment, emission, one_by_one,
};
use crate::operator::epoch_cell::{Effects, Epoch};
use crate::operator::rows::{result_as_json, types_sha256};
use crate::state::{Account, Merge, PaneState, Rows, batch_of};
use crate::watermark::{InputMarks, NONE};

/// See the module's first line. Shared by all instances of its query's plan.
#[derive(Debug)]
pub(super) struct WindowOperator {
    id: String,
    pub(super) windows: Windows,
    columns: Vec<OutputColumn>,
    schema: SchemaRef,
    /// Key columns of the partial aggregation, the pane not counted.
    keys: usize,
    /// The keys say the window: what closes together is computed together.
    by_keys: bool,
    /// Known when planning has ended: the optimizer may still turn an aggregate into its mirror image.
    merge: OnceLock<StateMerge>,
    pub(super) state: Mutex<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) panes: PaneState,
    /// Taken in the running epoch, where the close says which rows belong together.
    taken: Vec<RecordBatch>,
    /// Where windows overlap: what they share.
    spans: Option<Spans>,
    /// Set by a close in the running epoch: what commit forgets.
    done_through: Option<Micros>,
    /// Where results also leave before they are final.
    pub(super) early: Option<Early>,
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
        let panes = PaneState::new(&Account::unlimited());
        let says_no_window =
            |column: &OutputColumn| matches!(column, OutputColumn::Key(_) | OutputColumn::Aggregate(_));
        let by_keys = windows.rows == RowWindows::ByEnd && keys > 0 && columns.iter().all(says_no_window);
        let state = Mutex::new(Inner { panes, taken: vec![], spans, done_through: None, early: None });
        WindowOperator { id, windows, columns, schema, keys, by_keys, merge: OnceLock::new(), state }
    }

    /// The same with results before they are final.
    pub(super) fn emitting_early(mut self, when: EarlyWhen) -> Self {
        self.state.get_mut().early = Some(Early::new(when, self.windows));
        self
    }

    pub(super) fn merge(&self) -> Result<&StateMerge> {
        self.merge.get().ok_or_else(|| Error::bug("a windowed aggregate ran before its plan was finished"))
    }

    /// Makes a batch of what is kept of a batch of the partial aggregation.
    fn states(&self) -> Result<impl Fn(&RecordBatch) -> Result<RecordBatch>> {
        let schema = self.merge()?.schema();
        Ok(move |partial: &RecordBatch| {
            let columns = partial.columns()[1..].to_vec();
            Ok(batch_of(Arc::clone(schema), columns, partial.num_rows())?)
        })
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

    /// The next of these parts, which are of windows of this aggregate.
    pub(super) fn next_part(&self, parts: &mut WindowParts) -> Result<Option<(Micros, Vec<RecordBatch>)>> {
        parts.next(self.merge()?.keys(), |end| self.rows_of(end))
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

    /// As [`WindowOperator::emit`], of results that may change again. One that cannot be computed is there with its keys alone.
    pub(super) fn emit_early(&self, rows: &[RecordBatch], until: Micros) -> Result<Vec<EarlyRows>> {
        let start = self.windows.start_of(until);
        let (mut results, mut failed) = (Vec::new(), Vec::new());
        let mut bad = |keys: &[ArrayRef], error: Error| match error.kind() {
            ErrorKind::Invalid => {
                failed.push(EarlyRows { until, rows: self.keys_alone(keys, start, until)?, computed: false });
                Ok(())
            }
            _ => Err(error),
        };
        let mut out = |values: &[ArrayRef], rows| {
            results.push(EarlyRows { until, rows: self.output(values, rows, start, until)?, computed: true });
            Ok(())
        };
        self.merge()?.finish(rows, &mut out, Some(&mut bad))?;
        results.append(&mut failed);
        Ok(results)
    }

    /// The output columns of one result without its aggregates, which are NULL. `keys`: one value each.
    fn keys_alone(&self, keys: &[ArrayRef], start: Micros, end: Micros) -> Result<RecordBatch> {
        let fields = self.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let columns = self.columns.iter().zip(self.schema.fields()).map(|(column, field)| match column {
            OutputColumn::Aggregate(_) => Ok(new_null_array(field.data_type(), 1)),
            other => self.column(*other, field.data_type(), (keys, &[]), 1, (start, end)),
        });
        Ok(batch_of(schema, columns.collect::<Result<_>>()?, 1)?)
    }

    /// A result as far as it is known without its aggregates.
    fn named(&self, keys: &[ArrayRef], start: Micros, end: Micros) -> Result<String> {
        let columns = self.columns.iter().zip(self.schema.fields());
        let keys = columns.filter_map(|(column, field)| match column {
            OutputColumn::Key(at) => Some((field.name().clone(), Arc::clone(&keys[*at]))),
            _ => None,
        });
        result_as_json(&self.id, (!self.by_keys).then_some((start, end)), keys)
    }

    /// `values`: one array for each key, then one for each aggregate.
    fn output(&self, values: &[ArrayRef], rows: usize, start: Micros, end: Micros) -> Result<RecordBatch> {
        let aggregates = self.columns.iter().filter(|column| matches!(column, OutputColumn::Aggregate(_))).count();
        let values = values.split_at(values.len() - aggregates);
        let columns = self.columns.iter().zip(self.schema.fields());
        let columns =
            columns.map(|(column, field)| self.column(*column, field.data_type(), values, rows, (start, end)));
        Ok(batch_of(Arc::clone(&self.schema), columns.collect::<Result<_>>()?, rows)?)
    }

    /// `values`: of the keys, and of the aggregates. `window`: its start and its end.
    fn column(
        &self,
        column: OutputColumn,
        data_type: &DataType,
        values: (&[ArrayRef], &[ArrayRef]),
        rows: usize,
        window: (Micros, Micros),
    ) -> Result<ArrayRef> {
        let (start, end) = window;
        let array = match column {
            OutputColumn::WindowStart => constant_time(start, data_type, rows)?,
            OutputColumn::WindowEnd => constant_time(end, data_type, rows)?,
            OutputColumn::WindowTime => last_tick(end, data_type, rows)?,
            OutputColumn::Window => window_struct(start, end, data_type, rows)?,
            OutputColumn::Key(index) => Arc::clone(&values.0[index]),
            OutputColumn::Aggregate(index) => Arc::clone(&values.1[index]),
        };
        if array.data_type() == data_type { Ok(array) } else { Ok(cast(&array, data_type)?) }
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
        match self.by_keys {
            true => self.state.lock().taken.push(partial),
            false => held::by_pane(&partial, self.states()?, |pane, rows| self.state.lock().append(pane, rows))?,
        }
        Ok(vec![])
    }

    /// The results of every window that closes in this epoch, in order of window end.
    fn close(self: Arc<Self>, marks: &[InputMarks], epoch: &Arc<Epoch>, _: &Arc<TaskContext>) -> Result<Emission> {
        let (closed, to) = held::closes(&self.windows, marks);
        let panes = {
            let mut inner = self.state.lock();
            let taken = mem::take(&mut inner.taken);
            let open = if taken.is_empty() { BTreeSet::new() } else { inner.panes.pane_starts().into_iter().collect() };
            held::by_close(&taken, to, &open, self.states()?, |pane, rows| inner.append(pane, rows))?;
            let panes = inner.panes.pane_starts();
            inner.done_through = held::done_through(&self.windows, &panes, to);
            panes
        };
        let parts = WindowParts::new(self.windows, panes, closed, to);
        Ok(emission(Closing { operator: self, epoch: Arc::clone(epoch), parts, results: VecDeque::new() }))
    }

    fn early(self: Arc<Self>, marks: &[InputMarks], epoch: &Epoch) -> Result<EarlyEmission> {
        let (closed, to) = held::closes(&self.windows, marks);
        let [InputMarks { late, close, .. }] = InputMarks::of_inputs(marks);
        let progress = Progress { closed, to, ended_before: late, ended: close, now: epoch.now };
        Ok(Box::new(Leaving::of(self, progress)?))
    }

    fn final_through(&self, marks: &[Micros]) -> Micros {
        self.windows.closed_through(marks.first().copied().unwrap_or(NONE))
    }

    fn commit(&self) -> Result<()> {
        let merge = self.merge()?;
        let mut inner = self.state.lock();
        let Inner { panes, spans, done_through, early, .. } = &mut *inner;
        let done_through = done_through.take().unwrap_or(NONE);
        if let Some(early) = early {
            early.commit(done_through)?;
        }
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
        inner.taken.clear();
        inner.panes.abort();
        if let Some(early) = &mut inner.early {
            early.abort();
        }
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
        let mut inner = self.state.lock();
        if let Some(early) = &mut inner.early {
            early.restored(pane);
        }
        inner.panes.restore(pane, id, level, batches, merge.keys())
    }

    // Early results are made of any pane at any time: all of it has to be here.
    fn restore_remote(&self, segment: RemoteSegment) -> bool {
        let RemoteSegment { pane, id, level, home, .. } = segment;
        let mut inner = self.state.lock();
        if inner.early.is_some() {
            return false;
        }
        inner.panes.restore_remote(pane, id, level, home);
        true
    }

    fn stored(&self, segment: RemoteSegment) {
        let mut inner = self.state.lock();
        if inner.early.is_none() {
            inner.panes.stored(segment.pane, segment.id, segment.home);
        }
    }

    fn needed(&self, marks: &[InputMarks]) -> Vec<RemoteSegment> {
        held::needed(&self.windows, &mut self.state.lock().panes, marks, self.keys)
    }

    fn next_deadlines(&self, marks: &[InputMarks]) -> Vec<Deadline> {
        let inner = self.state.lock();
        let mut deadlines = held::next_deadlines(&self.windows, &inner.panes, marks);
        if let Some(early) = &inner.early {
            let [InputMarks { close, .. }] = InputMarks::of_inputs(marks);
            deadlines.extend(early.next_deadline(|| held::next_end(&self.windows, &inner.panes, close)));
        }
        deadlines
    }

    fn last_deadline(&self, _: usize, newest: Micros) -> Option<Micros> {
        held::last_deadline(&self.windows, &self.state.lock().panes, newest)
    }

    fn panes_after(&self, at: Micros) -> BTreeSet<Micros> {
        held::panes_after(&self.state.lock().panes, at)
    }

    fn bytes(&self) -> usize {
        let inner = self.state.lock();
        let early = inner.early.as_ref().map_or(0, Early::bytes);
        inner.panes.bytes() + inner.spans.as_ref().map_or(0, Spans::bytes) + early
    }

    fn disk_bytes(&self) -> u64 {
        self.state.lock().panes.disk_bytes()
    }

    fn open(&self) -> usize {
        self.state.lock().panes.pane_count()
    }
}

/// The results of a close, one batch at a time.
struct Closing {
    operator: Arc<WindowOperator>,
    epoch: Arc<Epoch>,
    parts: WindowParts,
    results: VecDeque<RecordBatch>,
}

impl Closing {
    /// Emits one part more; false behind the last one.
    fn go_on(&mut self) -> Result<bool> {
        let Some((end, rows)) = self.operator.next_part(&mut self.parts)? else { return Ok(false) };
        self.results.extend(self.operator.emit(&rows, end, &self.epoch.effects)?);
        Ok(true)
    }
}

impl Iterator for Closing {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        one_by_one(self, |closing| &mut closing.results, Closing::go_on)
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
