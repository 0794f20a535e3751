//! The operator: which rows of the left wait for the right, and what of the right they still need.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Decimal128Array, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use parking_lot::Mutex;

use super::definition::Shape;
use super::right::{Right, with_place};
use super::store::Store;
use super::versions::Ticks;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::operator::contract::{Deadline, Emission, Operator, RestoredSegment, StateKind, StoredSegment, emission};
use crate::operator::epoch_cell::{Epoch, PLACE, RowId};
use crate::operator::keys::{columns, nulls};
use crate::operator::late::{FAR_MAX, note_too_far};
use crate::operator::rows::{restored, row_ids, types_sha256, without_places};
use crate::state::{Account, Reservation, Segment, batch_of};
use crate::watermark::{END, InputMarks};

const LEFT: usize = 0;
const RIGHT: usize = 1;

/// Rows that are looked for a partner, and handed on, at a time.
const PORTION: usize = 8192;

/// See the module's first line.
#[derive(Debug)]
pub(super) struct AsOfJoinOperator {
    id: String,
    schema: SchemaRef,
    shape: Shape,
    /// Of the rows that each side keeps.
    schemas: OnceLock<[SchemaRef; 2]>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    account: Arc<Account>,
    /// `None` before the schemas are known.
    sides: Option<Sides>,
    /// What the running epoch has brought.
    pending: [Vec<RecordBatch>; 2],
    running: Option<Running>,
    next_segment: u64,
    /// A checkpoint's rows have been put back, and no epoch has been committed since: rows that came out before it may be among them.
    is_restored: bool,
    /// The latest time of the left that is not too far ahead to be believed.
    newest: Ticks,
}

#[derive(Debug)]
struct Sides {
    waiting: Waiting,
    right: Right,
}

/// Rows of the left for which the nearest of the right is not certain.
#[derive(Debug)]
struct Waiting {
    store: Store,
    /// How far the right has to have got for each, by [`Shape::due`], the earliest first.
    due: BinaryHeap<Reverse<(Ticks, u32)>>,
    /// For `due`.
    index: Reservation,
}

/// What the running epoch will have done.
#[derive(Debug, Default)]
struct Running {
    /// Rows that do not wait any more.
    released: Vec<Reverse<(Ticks, u32)>>,
    /// Rows that begin to wait.
    waits: Vec<Reverse<(Ticks, u32)>>,
    /// The least time that the left still seeks.
    least: Ticks,
}

impl Waiting {
    fn new(schema: SchemaRef, account: &Arc<Account>) -> Self {
        Waiting { store: Store::new(schema, account), due: BinaryHeap::new(), index: Reservation::empty(account) }
    }

    fn count_index(&mut self) {
        self.index.release();
        self.index.count(self.due.capacity() * size_of::<Reverse<(Ticks, u32)>>());
    }

    fn bytes(&self) -> usize {
        self.store.bytes() + self.index.bytes()
    }

    /// How many rows are due after this.
    fn due_after(&self, due: Ticks) -> usize {
        self.due.iter().filter(|Reverse((of, _))| *of > due).count()
    }

    /// Ends the waiting of the rows that are certain now; returns those that come out. `stale`: those before it came out before the checkpoint
    /// that they have been restored from.
    fn release(&mut self, passed: Ticks, stale: Option<Ticks>, running: &mut Running) -> Vec<u32> {
        let mut released = Vec::new();
        while let Some(entry) = self.due.peek().copied().filter(|Reverse((due, _))| *due <= passed) {
            self.due.pop();
            running.released.push(entry);
            let Reverse((due, row)) = entry;
            if stale.is_none_or(|stale| due > stale) {
                released.push(row);
            }
        }
        released
    }

    fn commit(&mut self, running: Running, next_segment: &mut u64) -> Result<()> {
        let released: Vec<u32> = running.released.iter().map(|Reverse((_, row))| *row).collect();
        self.store.give_up(&released);
        self.due.extend(running.waits);
        if self.due.is_empty() {
            self.due = BinaryHeap::new();
        }
        self.count_index();
        self.store.commit(next_segment)
    }

    fn abort(&mut self, running: Running) {
        self.due.extend(running.released);
        self.store.abort();
    }
}

impl State {
    fn sides(&mut self) -> Result<&mut Sides> {
        self.sides.as_mut().ok_or_else(|| Error::bug("a join runs without having been planned"))
    }
}

impl AsOfJoinOperator {
    pub(super) fn new(id: String, schema: SchemaRef, shape: Shape) -> Self {
        let state = State {
            account: Account::unlimited(),
            sides: None,
            pending: [vec![], vec![]],
            running: None,
            next_segment: 1,
            is_restored: false,
            newest: Ticks::MIN,
        };
        AsOfJoinOperator { id, schema, shape, schemas: OnceLock::new(), state: Mutex::new(state) }
    }

    fn make_sides(&self, account: &Arc<Account>) {
        let mut state = self.state.lock();
        state.account = Arc::clone(account);
        state.sides = self.schemas.get().map(|[left, right]| Sides {
            waiting: Waiting::new(Arc::clone(left), account),
            right: Right::new(Arc::clone(right), &self.shape, account),
        });
    }

    /// The rows of a batch that are not late, as its side keeps them. Those that have no key or no time find no partner: where such rows come
    /// out, they are in `alone`. `waits`: of the left, where the rows would wait, and room for those too far ahead once it is known.
    fn admit(
        &self,
        side: usize,
        batch: &RecordBatch,
        watermark: Micros,
        epoch: &Epoch,
        alone: &mut Vec<RecordBatch>,
        waits: Option<(&Waiting, &mut Option<usize>)>,
    ) -> Result<Option<RecordBatch>> {
        let of = &self.shape.sides[side];
        let nulls = nulls(&columns(&of.keys, batch));
        let times = self.shape.times(side, batch)?;
        let rows = of.sorted_out(batch, &times, self.shape.passed(side, watermark), nulls.as_ref());
        of.note_late((self.id.as_str(), side), batch, &rows.late, watermark, epoch)?;
        if !rows.alone.is_empty() && side == LEFT && self.shape.is_outer {
            alone.push(self.beside_nulls(&take_record_batch(batch, &UInt32Array::from(rows.alone))?)?);
        } else {
            epoch.effects.count_without_time(rows.alone.len() as u64);
        }
        let kept = match waits {
            Some((waiting, room)) => self.without_far(rows.kept, &times, batch, epoch, waiting, room)?,
            None => rows.kept,
        };
        if kept.is_empty() {
            return Ok(None);
        }
        let stored = self.stored(side, batch, epoch)?;
        Ok(Some(match kept.len() == times.len() {
            true => stored,
            false => take_record_batch(&stored, &UInt32Array::from(kept))?,
        }))
    }

    /// Leaves out rows whose times are not to be believed, where many such wait already: none of them comes out before its time has come.
    fn without_far(
        &self,
        kept: Vec<u32>,
        times: &[Ticks],
        batch: &RecordBatch,
        epoch: &Epoch,
        waiting: &Waiting,
        room: &mut Option<usize>,
    ) -> Result<Vec<u32>> {
        let far = self.shape.believed(LEFT, epoch.far_after);
        if kept.iter().all(|row| times[*row as usize] <= far) {
            return Ok(kept);
        }
        let due = self.shape.due(self.shape.sought(far));
        let room = room.get_or_insert_with(|| FAR_MAX.saturating_sub(waiting.due_after(due)));
        let mut admitted = Vec::with_capacity(kept.len());
        for row in kept {
            if times[row as usize] > far {
                let Some(less) = room.checked_sub(1) else {
                    note_too_far(epoch, batch, row as usize, "rows that wait for a partner")?;
                    continue;
                };
                *room = less;
            }
            admitted.push(row);
        }
        Ok(admitted)
    }

    /// Rows as their side keeps them: without the numbers that mean something in this epoch alone, those of the right with their place.
    fn stored(&self, side: usize, batch: &RecordBatch, epoch: &Epoch) -> Result<RecordBatch> {
        let schema = &self.schemas()?[side];
        let width = schema.fields().len() - usize::from(side == RIGHT);
        let mut columns = batch.columns()[..width].to_vec();
        if side == RIGHT {
            columns.push(match row_ids(batch) {
                None => new_null_array(&PLACE, batch.num_rows()),
                Some(ids) => {
                    let places: Decimal128Array =
                        ids.iter().map(|id| id.and_then(|id| epoch.place_of(RowId::decoded(id)))).collect();
                    Arc::new(places.with_data_type(PLACE)) as ArrayRef
                }
            });
        }
        Ok(batch_of(Arc::clone(schema), columns, batch.num_rows())?)
    }

    /// Rows of the left by themselves.
    fn beside_nulls(&self, left: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = left.columns()[..self.shape.sides[LEFT].shown].to_vec();
        let others = &self.schema.fields()[columns.len()..];
        columns.extend(others.iter().map(|field| new_null_array(field.data_type(), left.num_rows())));
        Ok(batch_of(Arc::clone(&self.schema), columns, left.num_rows())?)
    }

    /// Takes the left's rows: those that are certain are to be joined now, the others wait.
    fn wait(
        &self,
        batch: RecordBatch,
        passed: Ticks,
        waiting: &mut Waiting,
        running: &mut Running,
    ) -> Result<Option<RecordBatch>> {
        let times = self.shape.times(LEFT, &batch)?;
        let due: Vec<Ticks> = times.into_iter().map(|time| self.shape.due(self.shape.sought(time))).collect();
        let (certain, open): (Vec<u32>, Vec<u32>) =
            (0..batch.num_rows() as u32).partition(|row| due[*row as usize] <= passed);
        if open.is_empty() {
            return Ok(Some(batch));
        }
        let waits = match certain.is_empty() {
            true => batch.clone(),
            false => take_record_batch(&batch, &UInt32Array::from(open.clone()))?,
        };
        let numbers = waiting.store.insert(waits)?;
        running.waits.extend(open.into_iter().zip(numbers).map(|(row, number)| Reverse((due[row as usize], number))));
        match certain.is_empty() {
            true => Ok(None),
            false => Ok(Some(take_record_batch(&batch, &UInt32Array::from(certain))?)),
        }
    }

    /// The least time that rows of the left seek: those that come, and those that wait.
    fn least_sought(&self, left: Micros, waiting: &Waiting, running: &Running) -> Ticks {
        let coming = self.shape.sought(self.shape.passed(LEFT, left));
        let due = waiting.due.peek().into_iter().chain(&running.waits).map(|Reverse((due, _))| *due).min();
        due.map_or(coming, |due| coming.min(self.shape.sought_by(due)))
    }

    fn schemas(&self) -> Result<&[SchemaRef; 2]> {
        self.schemas.get().ok_or_else(|| Error::bug("a join that has not been planned"))
    }
}

impl Operator for AsOfJoinOperator {
    fn id(&self) -> &str {
        &self.id
    }

    fn kind(&self) -> StateKind {
        StateKind { name: "asof-join", version: 1 }
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn charge_to(&self, account: &Arc<Account>) {
        self.make_sides(account);
    }

    fn bind(&self, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<()> {
        let [left, right] = inputs else { return Err(Error::bug("a join of two streams without two inputs")) };
        let (left, right) = (without_places(&left.schema()), without_places(&right.schema()));
        // Every plan says the same.
        if self.schemas.set([left, with_place(&right)]).is_ok() {
            let account = Arc::clone(&self.state.lock().account);
            self.make_sides(&account);
        }
        Ok(())
    }

    fn take(&self, input: usize, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        if batch.num_rows() > 0 {
            self.state.lock().pending[input].push(batch);
        }
        Ok(vec![])
    }

    fn close(self: Arc<Self>, marks: &[InputMarks], epoch: &Arc<Epoch>, _: &Arc<TaskContext>) -> Result<Emission> {
        let [left, right] = InputMarks::of_inputs(marks);
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let [of_left, of_right] = std::mem::take(&mut state.pending);
        let running = state.running.insert(Running::default());
        let sides = state.sides.as_mut().ok_or_else(|| Error::bug("a join runs without having been planned"))?;
        let (mut alone, mut certain) = (Vec::new(), VecDeque::new());
        for batch in of_right {
            if let Some(batch) = self.admit(RIGHT, &batch, right.late, epoch, &mut alone, None)? {
                sides.right.add(batch)?;
            }
        }
        sides.right.put_in_order();
        let passed = self.shape.passed(RIGHT, right.close);
        let far = self.shape.believed(LEFT, epoch.far_after);
        let mut room = None;
        for batch in of_left {
            let waits = Some((&sides.waiting, &mut room));
            let Some(batch) = self.admit(LEFT, &batch, left.late, epoch, &mut alone, waits)? else { continue };
            let believed = self.shape.times(LEFT, &batch)?.into_iter().filter(|time| *time <= far);
            state.newest = believed.fold(state.newest, Ticks::max);
            let now = self.wait(batch, passed, &mut sides.waiting, running)?;
            certain.extend(now.into_iter().flat_map(portions));
        }
        let stale = state.is_restored.then(|| self.shape.passed(RIGHT, right.late));
        let released = sides.waiting.release(passed, stale, running);
        running.least = self.least_sought(left.close, &sides.waiting, running);
        drop(guard);
        let released = released.chunks(PORTION).map(<[u32]>::to_vec).collect();
        Ok(emission(Joining { operator: self, alone: alone.into(), certain, released }))
    }

    fn commit(&self) -> Result<()> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let Some(running) = state.running.take() else { return Ok(()) };
        state.is_restored = false;
        let (mut next_segment, least) = (state.next_segment, running.least);
        let sides = state.sides()?;
        let committed = sides.waiting.commit(running, &mut next_segment);
        let committed = committed.and_then(|()| sides.right.commit(least, &mut next_segment));
        state.next_segment = next_segment;
        committed
    }

    fn abort(&self) {
        let mut state = self.state.lock();
        state.pending = [vec![], vec![]];
        let running = state.running.take().unwrap_or_default();
        if let Some(sides) = &mut state.sides {
            sides.waiting.abort(running);
            sides.right.abort();
        }
    }

    fn segments(&self) -> Vec<StoredSegment> {
        let state = self.state.lock();
        let Some(sides) = &state.sides else { return vec![] };
        let of =
            |input: usize| move |segment: Segment| StoredSegment { input: input as u32, shard: 0, pane: 0, segment };
        sides.waiting.store.segments().map(of(LEFT)).chain(sides.right.segments().map(of(RIGHT))).collect()
    }

    fn state_schema_sha256(&self) -> Result<String> {
        Ok(types_sha256(self.schemas()?.iter().flat_map(|schema| schema.fields())))
    }

    fn restore(&self, segment: RestoredSegment) -> Result<()> {
        let RestoredSegment { input, id, level, batches, .. } = segment;
        let schemas = self.schemas()?;
        let schema = schemas.get(input as usize).ok_or_else(|| Error::corrupt("a join of two streams has a third"))?;
        let batch = restored(&batches, schema, "a join")?;
        let batch = batch_of(Arc::clone(schema), batch.columns().to_vec(), batch.num_rows())?;
        let mut state = self.state.lock();
        state.next_segment = state.next_segment.max(id + 1);
        state.is_restored = true;
        let Sides { waiting, right } = state.sides()?;
        if input as usize == RIGHT {
            return right.restore(id, level, batch);
        }
        let times = self.shape.times(LEFT, &batch)?;
        let numbers = waiting.store.restore(id, level, batch)?;
        let due = times.into_iter().map(|time| self.shape.due(self.shape.sought(time)));
        waiting.due.extend(due.zip(numbers).map(Reverse));
        waiting.count_index();
        Ok(())
    }

    fn next_deadlines(&self, marks: &[InputMarks]) -> Vec<Deadline> {
        let [_, right] = InputMarks::of_inputs(marks);
        let state = self.state.lock();
        let Some(Sides { waiting, .. }) = &state.sides else { return vec![] };
        let due = match state.is_restored {
            false => waiting.due.peek().map(|Reverse((due, _))| *due),
            true => {
                let passed = self.shape.passed(RIGHT, right.close);
                waiting.due.iter().map(|Reverse((due, _))| *due).filter(|due| *due > passed).min()
            }
        };
        due.map(|due| Deadline::EventTime { input: RIGHT, at: self.shape.mark_for(due) }).into_iter().collect()
    }

    fn last_deadline(&self, input: usize, newest: Micros) -> Option<Micros> {
        let mut state = self.state.lock();
        if input != RIGHT {
            // After a restart nothing else says how far the left had got.
            if newest != END {
                state.newest = state.newest.max(self.shape.last_tick(newest));
            }
            return None;
        }
        // What comes from the right is waited for, but for times that nobody believes. Silence ends that for all that the left has brought.
        let believed = self.shape.passed(RIGHT, newest).max(self.shape.sought(state.newest));
        let due = state.sides.as_ref()?.waiting.due.iter().map(|Reverse((due, _))| *due);
        let last = due.filter(|due| self.shape.sought_by(*due) <= believed).max()?;
        Some(self.shape.mark_for(last))
    }

    fn bytes(&self) -> usize {
        self.state.lock().sides.as_ref().map_or(0, |sides| sides.waiting.bytes() + sides.right.bytes())
    }

    fn open(&self) -> usize {
        let state = self.state.lock();
        let Some(sides) = &state.sides else { return 0 };
        sides.waiting.store.segments().count() + sides.right.segments().count()
    }
}

fn portions(batch: RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let rows = batch.num_rows();
    (0..rows).step_by(PORTION).map(move |at| batch.slice(at, PORTION.min(rows - at)))
}

/// What an epoch emits, computed as it is asked for.
struct Joining {
    operator: Arc<AsOfJoinOperator>,
    alone: VecDeque<RecordBatch>,
    /// Rows of this epoch that have not waited.
    certain: VecDeque<RecordBatch>,
    /// Rows that do not wait any more.
    released: VecDeque<Vec<u32>>,
}

impl Iterator for Joining {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(rows) = self.alone.pop_front() {
            return Some(Ok(rows));
        }
        let mut state = self.operator.state.lock();
        let sides = match state.sides() {
            Ok(sides) => sides,
            Err(error) => return Some(Err(error)),
        };
        let left = match self.certain.pop_front() {
            Some(batch) => Ok(batch),
            None => sides.waiting.store.rows(&self.released.pop_front()?),
        };
        Some(left.and_then(|left| sides.right.joined(&left, &self.operator.schema)))
    }
}
