//! The operator: which rows it takes, what it emits of the sessions that close, and how its state is stored.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::{cast, interleave_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use hashbrown::HashTable;
use parking_lot::Mutex;

use super::change::{Change, Group, NewRow, Open};
use super::definition::Shape;
use super::rows::{Buffer, Stored};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::operator::contract::{Deadline, Emission, Operator, RestoredSegment, StateKind, StoredSegment, emission};
use crate::operator::epoch_cell::Epoch;
use crate::operator::keys::{columns, hash_of_bytes};
use crate::operator::late::{FAR_MAX, Late, Ledger, note_too_far, once_a_row};
use crate::operator::rows::{restored, types_sha256, without_places};
use crate::sql::ticks;
use crate::state::{Account, batch_of};
use crate::watermark::InputMarks;

/// Rows that are emitted at a time.
const ROWS: usize = 8192;

/// Segments that say which rows of another one have gone are named as of an input behind the real one; their pane is the other's id.
const GONE: u32 = 1;

/// See the module's first line.
#[derive(Debug)]
pub(super) struct SessionOperator {
    id: String,
    schema: SchemaRef,
    shape: Shape,
    /// How rows are kept, known when planning has ended.
    kept: OnceLock<Kept>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct Kept {
    schema: SchemaRef,
    /// `None` without keys.
    keys: Option<RowConverter>,
}

#[derive(Debug)]
struct State {
    account: Arc<Account>,
    /// `None` before the schema is known.
    open: Option<Open>,
    /// What the running epoch has brought.
    pending: Vec<RecordBatch>,
    /// What it makes of it.
    change: Option<Change>,
}

impl State {
    fn open(&mut self) -> Result<&mut Open> {
        self.open.as_mut().ok_or_else(|| Error::bug("sessions run without having been planned"))
    }
}

impl SessionOperator {
    pub(super) fn new(id: String, schema: SchemaRef, shape: Shape) -> Self {
        let state = State { account: Account::unlimited(), open: None, pending: vec![], change: None };
        SessionOperator { id, schema, shape, kept: OnceLock::new(), state: Mutex::new(state) }
    }

    fn make_open(&self, account: &Arc<Account>) {
        let Shape { time, rule, .. } = self.shape;
        let mut state = self.state.lock();
        state.account = Arc::clone(account);
        state.open = self.kept.get().map(|kept| {
            // Without cuts a row of a session that has gone is in none that is open, whatever is left of its own.
            let says_gone = rule.cuts(0, i64::MAX);
            Open::new(rule, Buffer::new(Arc::clone(&kept.schema), time, says_gone, account))
        });
    }

    fn kept(&self) -> Result<&Kept> {
        self.kept.get().ok_or_else(|| Error::bug("sessions that have not been planned"))
    }

    /// The epoch's rows by their keys, in the order of their times; without those that are late or have no time.
    fn admit(&self, pending: &[RecordBatch], watermark: Micros, open: &Open, epoch: &Epoch) -> Result<Vec<Group>> {
        let first_tick = self.shape.first_tick(watermark);
        let mut groups = Groups::new(self.kept()?, &self.shape.keys);
        for (batch, number) in pending.iter().zip(0_u64..) {
            let times = ticks(batch.column(self.shape.time))?;
            let keys = groups.keys_of(batch)?;
            let (mut keep, mut late, mut without_time) = (vec![true; batch.num_rows()], Vec::new(), 0);
            for (row, time) in times.iter().enumerate() {
                let Some(time) = time.filter(|time| self.shape.rule.reach(*time).is_some()) else {
                    keep[row] = false;
                    without_time += 1;
                    continue;
                };
                let group = groups.of(keys.as_ref(), row, open);
                if time >= first_tick || group.slot.is_some_and(|slot| open.index.reaches(slot, time)) {
                    group.rows.push(NewRow { time, number: (number << 32) | row as u64 });
                } else {
                    keep[row] = false;
                    late.push(Late { row, missed: None, wholly: true });
                }
            }
            epoch.effects.count_without_time(without_time);
            let ledger = Ledger { operator: &self.id, input: 0, time: Some(self.shape.time), ours: &[], watermark };
            ledger.note(epoch, batch, &once_a_row(batch, late, &keep))?;
        }
        let mut groups = groups.into_groups();
        groups.iter_mut().for_each(|group| group.merge(open));
        Ok(groups)
    }

    /// Leaves out rows whose times are not to be believed, where there are many sessions of such already.
    fn leave_out_far(
        &self,
        groups: &mut Vec<Group>,
        far_after: i64,
        pending: &[RecordBatch],
        open: &mut Open,
        epoch: &Epoch,
    ) -> Result<()> {
        let is_far = |group: &Group| group.rows.last().is_some_and(|row| row.time > far_after);
        if !groups.iter().any(is_far) {
            return Ok(());
        }
        let mut room = FAR_MAX.saturating_sub(open.begun_after(far_after));
        for group in groups.iter_mut().filter(|group| is_far(group)) {
            let mut out = BTreeSet::new();
            for run in &group.merged {
                // What has begun before goes on.
                if !run.old.is_empty() || run.first <= far_after {
                    continue;
                }
                match room.checked_sub(1) {
                    Some(less) => room = less,
                    None => out.extend(group.rows[run.new.clone()].iter().map(|row| row.number)),
                }
            }
            for number in &out {
                let (batch, row) = place(*number);
                note_too_far(epoch, &pending[batch], row, "sessions")?;
            }
            if !out.is_empty() {
                group.retain(open, |row| !out.contains(&row.number));
            }
        }
        groups.retain(|group| !group.rows.is_empty());
        Ok(())
    }

    /// The rows as they are kept, in the order of the groups; they have got their numbers.
    fn staged(&self, groups: &mut [Group], pending: &[RecordBatch], first: u64) -> Result<Option<RecordBatch>> {
        let width = self.kept()?.schema.fields().len();
        let kept: Vec<usize> = (0..width).collect();
        let mut rows = Vec::new();
        for (row, number) in groups.iter_mut().flat_map(|group| &mut group.rows).zip(first..) {
            rows.push(place(row.number));
            row.number = number;
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let batches = pending.iter().map(|batch| batch.project(&kept)).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &rows)?))
    }

    /// Rows with their sessions. `sessions`: start and end of each row's.
    fn output(&self, rows: &RecordBatch, sessions: &[(i64, i64)]) -> Result<RecordBatch> {
        let own = self.schema.fields().len() - 3;
        type Part = fn(&(i64, i64)) -> i64;
        let parts: [Part; 3] = [|session| session.0, |session| session.1, |session| session.1.saturating_sub(1)];
        let mut columns: Vec<ArrayRef> = rows.columns()[..own].to_vec();
        for (part, field) in parts.into_iter().zip(&self.schema.fields()[own..]) {
            let ticks = Int64Array::from_iter_values(sessions.iter().map(part));
            columns.push(cast(&ticks, field.data_type())?);
        }
        Ok(batch_of(Arc::clone(&self.schema), columns, rows.num_rows())?)
    }
}

/// Batch and row of a new row that has not been staged.
fn place(number: u64) -> (usize, usize) {
    ((number >> 32) as usize, (number & u64::from(u32::MAX)) as usize)
}

/// New rows by their keys, while they are found.
struct Groups<'a> {
    converter: Option<&'a RowConverter>,
    keys: &'a [usize],
    groups: Vec<Group>,
    slots: HashTable<usize>,
}

impl<'a> Groups<'a> {
    fn new(kept: &'a Kept, keys: &'a [usize]) -> Self {
        Groups { converter: kept.keys.as_ref(), keys, groups: Vec::new(), slots: HashTable::new() }
    }

    fn keys_of(&self, batch: &RecordBatch) -> Result<Option<Rows>> {
        let convert = |converter: &RowConverter| converter.convert_columns(&columns(self.keys, batch));
        Ok(self.converter.map(convert).transpose()?)
    }

    /// The group of a row's key.
    fn of(&mut self, keys: Option<&Rows>, row: usize, open: &Open) -> &mut Group {
        let key = keys.map_or(&[][..], |keys| keys.row(row).data());
        let hash = hash_of_bytes(key);
        let Groups { groups, slots, .. } = self;
        let found = slots.find(hash, |at| groups[*at].hash == hash && *groups[*at].key == *key).copied();
        let at = found.unwrap_or_else(|| {
            let at = groups.len();
            groups.push(Group::new(hash, key.into(), open.index.find(hash, key)));
            slots.insert_unique(hash, at, |at| groups[*at].hash);
            at
        });
        &mut groups[at]
    }

    /// Those that have rows.
    fn into_groups(self) -> Vec<Group> {
        self.groups.into_iter().filter(|group| !group.rows.is_empty()).collect()
    }
}

impl Operator for SessionOperator {
    fn id(&self) -> &str {
        &self.id
    }

    fn kind(&self) -> StateKind {
        StateKind { name: "session", version: 1 }
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn charge_to(&self, account: &Arc<Account>) {
        self.make_open(account);
    }

    fn bind(&self, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<()> {
        let [input] = inputs else { return Err(Error::bug("sessions of other than one input")) };
        let schema = without_places(&input.schema());
        let keys: Vec<SortField> =
            self.shape.keys.iter().map(|key| SortField::new(schema.field(*key).data_type().clone())).collect();
        let keys = if keys.is_empty() { None } else { Some(RowConverter::new(keys)?) };
        // Every plan says the same.
        if self.kept.set(Kept { schema, keys }).is_ok() {
            let account = Arc::clone(&self.state.lock().account);
            self.make_open(&account);
        }
        Ok(())
    }

    fn take(&self, _: usize, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        if batch.num_rows() > 0 {
            self.state.lock().pending.push(batch);
        }
        Ok(vec![])
    }

    fn close(self: Arc<Self>, marks: &[InputMarks], epoch: &Arc<Epoch>, _: &Arc<TaskContext>) -> Result<Emission> {
        let [InputMarks { late, close, .. }] = InputMarks::of_inputs(marks);
        let mut state = self.state.lock();
        let pending = std::mem::take(&mut state.pending);
        let open = state.open()?;
        open.forget(self.shape.first_tick(late))?;
        let far_after = self.shape.last_tick(epoch.far_after);
        let mut groups = self.admit(&pending, late, open, epoch)?;
        self.leave_out_far(&mut groups, far_after, &pending, open, epoch)?;
        if open.index.keys() + groups.len() >= u32::MAX as usize {
            return Err(Error::over_budget("over 2^32 keys have open sessions"));
        }
        if let Some(rows) = self.staged(&mut groups, &pending, open.rows.next_row())? {
            open.rows.stage(rows)?;
        }
        state.change = Some(state.open()?.change(groups, self.shape.first_tick(close), far_after)?);
        drop(state);
        Ok(emission(Emitting { operator: self, row: 0, session: 0, of_session: 0 }))
    }

    fn commit(&self) -> Result<()> {
        let mut state = self.state.lock();
        match state.change.take() {
            Some(change) => state.open()?.apply(change),
            None => Ok(()),
        }
    }

    fn abort(&self) {
        let mut state = self.state.lock();
        state.pending.clear();
        state.change = None;
        if let Some(open) = &mut state.open {
            open.rows.abort();
        }
    }

    fn segments(&self) -> Vec<StoredSegment> {
        let mut state = self.state.lock();
        let stored = state.open.iter_mut().flat_map(|open| open.rows.stored());
        let stored = stored.map(|Stored { segment, gone_of }| {
            let input = if gone_of.is_some() { GONE } else { 0 };
            StoredSegment { input, shard: 0, pane: gone_of.map_or(0, |id| id as Micros), segment }
        });
        stored.collect()
    }

    fn state_schema_sha256(&self) -> Result<String> {
        Ok(types_sha256(self.kept()?.schema.fields().iter()))
    }

    fn restore(&self, segment: RestoredSegment) -> Result<()> {
        let RestoredSegment { input, pane, id, level, batches, .. } = segment;
        let kept = self.kept()?;
        let mut state = self.state.lock();
        let open = state.open()?;
        if input == GONE {
            return open.rows.restore_gone(pane as u64, id, &batches);
        }
        let batch = restored(&batches, &kept.schema, "sessions")?;
        let (first, gone) = open.rows.restore(id, level, batch.clone())?;
        let mut groups = Groups::new(kept, &self.shape.keys);
        let keys = groups.keys_of(&batch)?;
        for (row, time) in ticks(batch.column(self.shape.time))?.values().iter().enumerate() {
            if !gone[row] {
                groups.of(keys.as_ref(), row, open).rows.push(NewRow { time: *time, number: first + row as u64 });
            }
        }
        open.restore(groups.into_groups())
    }

    fn next_deadlines(&self, marks: &[InputMarks]) -> Vec<Deadline> {
        let mut state = self.state.lock();
        let Ok(open) = state.open() else { return vec![] };
        // What has been emitted before a restart is not waited for.
        let [InputMarks { close, .. }] = InputMarks::of_inputs(marks);
        let before = self.shape.first_tick(close);
        let at = open.index.next_end(before).map(|end| self.shape.closes_at(end));
        at.map(|at| Deadline::EventTime { input: 0, at }).into_iter().collect()
    }

    fn last_deadline(&self, _: usize, newest: Micros) -> Option<Micros> {
        let state = self.state.lock();
        let end = state.open.as_ref()?.index.latest_end(self.shape.last_tick(newest))?;
        Some(self.shape.closes_at(end))
    }

    fn bytes(&self) -> usize {
        self.state.lock().open.as_ref().map_or(0, Open::bytes)
    }

    fn open(&self) -> usize {
        self.state.lock().open.as_ref().map_or(0, |open| open.index.open())
    }
}

/// What an epoch emits, gathered as it is asked for.
struct Emitting {
    operator: Arc<SessionOperator>,
    /// The next row to emit, …
    row: usize,
    /// … whose session it is, and how many of that have been emitted.
    session: usize,
    of_session: usize,
}

impl Emitting {
    fn portion(&mut self) -> Result<Option<RecordBatch>> {
        let operator = Arc::clone(&self.operator);
        let state = operator.state.lock();
        let (Some(change), Some(open)) = (&state.change, &state.open) else { return Ok(None) };
        let end = change.emitted.len().min(self.row + ROWS);
        let numbers = &change.emitted[self.row..end];
        if numbers.is_empty() {
            return Ok(None);
        }
        let mut sessions = Vec::with_capacity(numbers.len());
        while sessions.len() < numbers.len() {
            let Some(session) = change.sessions.get(self.session) else {
                return Err(Error::bug("rows are emitted without their session"));
            };
            let rows = (session.rows - self.of_session).min(numbers.len() - sessions.len());
            sessions.resize(sessions.len() + rows, (session.start, session.end));
            self.of_session += rows;
            if self.of_session == session.rows {
                (self.session, self.of_session) = (self.session + 1, 0);
            }
        }
        self.row = end;
        Ok(Some(operator.output(&open.rows.gather(numbers)?, &sessions)?))
    }
}

impl Iterator for Emitting {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.portion().transpose()
    }
}
