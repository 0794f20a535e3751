//! The operator: what waits on each side, which pairs a new row makes, and which rows will never have a partner.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{concat, filter_record_batch, prep_null_mask_filter, take, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::JoinType;
use datafusion::common::cast::as_boolean_array;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::Operator as Comparison;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use parking_lot::Mutex;

use super::buffer::{Buffer, Place, Stored};
use super::definition::Shape;
use super::probe::{PAIRS, Probe};
use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::operator::contract::{
    BadRow, Deadline, Emission, Operator, RestoredSegment, StateKind, StoredSegment, emission, one_by_one,
};
use crate::operator::epoch_cell::{Epoch, micros};
use crate::operator::keys::{columns, equal, hash, nulls};
use crate::operator::late::{FAR_MAX, note_too_far};
use crate::operator::rows::{json_rows, restored, types_sha256, without_places};
use crate::state::{Account, batch_of};
use crate::watermark::{END, InputMarks, NONE};

const SIDES: [usize; 2] = [0, 1];

/// Segments that say which rows of a side have a partner are named as of inputs behind the real ones.
const MATCHES: usize = 2;

/// See the module's first line.
#[derive(Debug)]
pub(super) struct IntervalJoinOperator {
    id: String,
    schema: SchemaRef,
    shape: Shape,
    condition: OnceLock<Arc<dyn PhysicalExpr>>,
    /// Of the rows that each side keeps.
    schemas: OnceLock<[SchemaRef; 2]>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    account: Arc<Account>,
    /// `None` before the schemas are known.
    buffers: Option<[Buffer; 2]>,
    /// What the running epoch has brought.
    pending: [Vec<RecordBatch>; 2],
    /// Of the running epoch: rows of each side before this will not find a partner any more.
    done: Option<[Micros; 2]>,
    next_segment: u64,
}

impl State {
    fn buffers(&mut self) -> Result<&mut [Buffer; 2]> {
        self.buffers.as_mut().ok_or_else(|| Error::bug("a join runs without having been planned"))
    }
}

impl IntervalJoinOperator {
    pub(super) fn new(id: String, schema: SchemaRef, shape: Shape) -> Self {
        let state = State {
            account: Account::unlimited(),
            buffers: None,
            pending: [vec![], vec![]],
            done: None,
            next_segment: 1,
        };
        IntervalJoinOperator {
            id,
            schema,
            shape,
            condition: OnceLock::new(),
            schemas: OnceLock::new(),
            state: Mutex::new(state),
        }
    }

    pub(super) fn set_condition(&self, condition: Arc<dyn PhysicalExpr>) {
        // Every plan says the same.
        let _ = self.condition.set(condition);
    }

    fn make_buffers(&self, account: &Arc<Account>) {
        let length = self.shape.to.saturating_sub(self.shape.from);
        let make = |schema: &SchemaRef| Buffer::new(Arc::clone(schema), length, account);
        let mut state = self.state.lock();
        state.account = Arc::clone(account);
        state.buffers = self.schemas.get().map(|[left, right]| [make(left), make(right)]);
    }

    /// The times that the partners of a row of `side` can have, for its own.
    fn partners(&self, side: usize) -> impl Fn(Micros) -> (Micros, Micros) + use<> {
        let Shape { from, to, .. } = self.shape;
        move |time| match side {
            0 => (time.saturating_add(from), time.saturating_add(to)),
            _ => (time.saturating_sub(to), time.saturating_sub(from)),
        }
    }

    /// How much later than a row of `side` its last partner can be.
    fn reach(&self, side: usize) -> Micros {
        if side == 0 { self.shape.to } else { self.shape.from.saturating_neg() }
    }

    /// Rows of `side` before this find no partner any more, once the other side's watermark is `mark`.
    fn done(&self, side: usize, mark: Micros) -> Micros {
        match mark {
            NONE | END => mark,
            mark => mark.saturating_sub(self.reach(side)).saturating_add(self.at_mark(side)),
        }
    }

    /// What an input's watermark promises where rows behind it still count.
    fn promised(&self, mark: Micros) -> Micros {
        if [NONE, END].contains(&mark) { mark } else { mark.saturating_sub(self.shape.allowed_lateness) }
    }

    /// The watermark of the other side at which a row of `side` finds no partner any more.
    fn needs(&self, side: usize, time: Micros) -> Micros {
        let passed = time.saturating_add(self.reach(side)).saturating_add(1 - self.at_mark(side));
        passed.saturating_add(self.shape.allowed_lateness)
    }

    /// One tick where rows of the other side at the watermark itself have all come.
    fn at_mark(&self, side: usize) -> Micros {
        Micros::from(self.shape.sides[1 - side].is_inclusive)
    }

    /// Whether rows of `side` without a partner come out.
    fn keeps_unmatched(&self, side: usize) -> bool {
        use JoinType::{Full, Left, LeftAnti, Right, RightAnti};
        match self.shape.join_type {
            Full => true,
            Left | LeftAnti => side == 0,
            Right | RightAnti => side == 1,
            _ => false,
        }
    }

    /// Whether rows of `side` come out once, when they find their first partner.
    fn emits_first_match(&self, side: usize) -> bool {
        match self.shape.join_type {
            JoinType::LeftSemi => side == 0,
            JoinType::RightSemi => side == 1,
            _ => false,
        }
    }

    fn emits_pairs(&self) -> bool {
        matches!(self.shape.join_type, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full)
    }

    /// Takes a batch into its side's buffer, without the rows that are late. Those that have no key or no time find no partner: where such
    /// rows come out, they are in `alone`.
    fn admit(
        &self,
        side: usize,
        batch: &RecordBatch,
        watermark: Micros,
        epoch: &Epoch,
        buffer: &mut Buffer,
        alone: &mut Vec<(usize, RecordBatch)>,
    ) -> Result<Option<Probe>> {
        let of = &self.shape.sides[side];
        let times = micros(batch.column(of.time))?;
        let keys = columns(&of.keys, batch);
        let nulls = nulls(&keys).filter(|_| !self.shape.nulls_match);
        // Of what has come as a whole at the watermark itself nothing more can come.
        let late = self.promised(watermark).saturating_add(self.at_mark(1 - side));
        let rows = of.sorted_out(batch, &times, late, nulls.as_ref());
        of.note_late((self.id.as_str(), side), batch, &rows.late, watermark, epoch)?;
        if !rows.alone.is_empty() && self.keeps_unmatched(side) {
            alone.push((side, take_record_batch(batch, &UInt32Array::from(rows.alone))?));
        } else {
            epoch.effects.count_without_time(rows.alone.len() as u64);
        }
        let believed = epoch.far_after.saturating_add(of.ahead);
        let kept = without_far(rows.kept, &times, batch, (believed, epoch), buffer)?;
        if kept.is_empty() {
            return Ok(None);
        }
        let stored = batch.project(&(0..buffer.width_of_rows()).collect::<Vec<_>>())?;
        let (batch, times, keys) = match kept.len() == times.len() {
            true => (stored, times, keys),
            false => {
                let times = kept.iter().map(|row| times[*row as usize]).collect();
                let batch = take_record_batch(&stored, &UInt32Array::from(kept))?;
                let keys = columns(&of.keys, &batch);
                (batch, times, keys)
            }
        };
        let hashes = hash(&keys, batch.num_rows())?;
        let places = buffer.insert(&batch, &times, &hashes)?;
        Ok(Some(Probe::new(side, batch, times, keys, hashes, places)))
    }

    /// Compares pairs that have equal hashes, and emits what the join emits of those that are partners.
    fn join(
        &self,
        probe: &Probe,
        rows: Vec<u32>,
        places: Vec<Place>,
        buffers: &mut [Buffer; 2],
        epoch: &Epoch,
        out: &mut VecDeque<RecordBatch>,
    ) -> Result<()> {
        let (side, other) = (probe.side, 1 - probe.side);
        let rows = UInt32Array::from(rows);
        let far = buffers[other].gather(&places)?;
        let far_keys = columns(&self.shape.sides[other].keys, &far);
        let near_keys = probe.keys.iter().map(|key| take(key, &rows, None)).collect::<Result<Vec<_>, _>>()?;
        let compare = if self.shape.nulls_match { Comparison::IsNotDistinctFrom } else { Comparison::Eq };
        let partners = match near_keys.is_empty() {
            true => None,
            false => Some(equal(&near_keys, &far_keys, compare)?),
        };
        let near = take_record_batch(&probe.batch, &rows)?;
        let pairs = Pairs { near, far, rows, places }.only(partners)?;
        let pairs = match self.condition.get() {
            None => pairs,
            Some(condition) => {
                let joined = self.columns_of_both(side, &pairs)?;
                let holds = self.holds(condition, &joined, epoch)?;
                pairs.only(Some(holds))?
            }
        };
        if pairs.rows.is_empty() {
            return Ok(());
        }
        for of in SIDES {
            if !self.keeps_unmatched(of) && !self.emits_first_match(of) {
                continue;
            }
            let place = |at: usize| match of == side {
                true => probe.places[pairs.rows.value(at) as usize],
                false => pairs.places[at],
            };
            let first: Vec<u32> =
                (0..pairs.places.len()).filter(|at| buffers[of].set_matched(place(*at))).map(|at| at as u32).collect();
            if self.emits_first_match(of) && !first.is_empty() {
                let all = if of == side { &pairs.near } else { &pairs.far };
                out.push_back(self.alone(of, &take_record_batch(all, &UInt32Array::from(first))?)?);
            }
        }
        if self.emits_pairs() {
            let joined = self.columns_of_both(side, &pairs)?;
            out.push_back(self.output(joined.columns().to_vec(), joined.num_rows())?);
        }
        Ok(())
    }

    /// The columns that the query names, those of the left side first.
    fn columns_of_both(&self, side: usize, pairs: &Pairs) -> Result<RecordBatch> {
        let (left, right) = if side == 0 { (&pairs.near, &pairs.far) } else { (&pairs.far, &pairs.near) };
        let [of_left, of_right] = &self.shape.sides;
        let left = left.schema().fields().iter().zip(left.columns()).take(of_left.shown).map(owned).collect::<Vec<_>>();
        let right = right.schema().fields().iter().zip(right.columns()).take(of_right.shown).map(owned).collect();
        let (fields, columns): (Vec<_>, Vec<_>) = [left, right].concat().into_iter().unzip();
        Ok(batch_of(Arc::new(Schema::new(fields)), columns, pairs.rows.len())?)
    }

    /// For which pairs the condition is true. One that it cannot be asked of is noted and is none, where the epoch isolates.
    fn holds(&self, condition: &Arc<dyn PhysicalExpr>, pairs: &RecordBatch, epoch: &Epoch) -> Result<BooleanArray> {
        let rows = pairs.num_rows();
        let asked = condition.evaluate(pairs).and_then(|holds| holds.into_array(rows));
        let error = match asked {
            Ok(holds) => return Ok(as_boolean_array(&holds)?.clone()),
            Err(error) => Error::from(error),
        };
        if error.kind() != ErrorKind::Invalid || !epoch.effects.isolates() {
            return Err(error);
        }
        if rows == 1 {
            let row = json_rows(pairs, &[])?.pop().unwrap_or_default();
            epoch.effects.add_bad(BadRow { id: None, row, error });
            return Ok(BooleanArray::from(vec![false]));
        }
        let first = self.holds(condition, &pairs.slice(0, rows / 2), epoch)?;
        let second = self.holds(condition, &pairs.slice(rows / 2, rows - rows / 2), epoch)?;
        Ok(as_boolean_array(&concat(&[&first, &second])?)?.clone())
    }

    /// Rows of one side by themselves: beside NULLs where the join has the other side's columns, too.
    fn alone(&self, side: usize, rows: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = rows.columns()[..self.shape.sides[side].shown].to_vec();
        if self.emits_pairs() {
            let others = match side {
                0 => &self.schema.fields()[columns.len()..],
                _ => &self.schema.fields()[..self.shape.sides[0].shown],
            };
            let nulls = others.iter().map(|field| new_null_array(field.data_type(), rows.num_rows())).collect();
            columns = if side == 0 { [columns, nulls].concat() } else { [nulls, columns].concat() };
        }
        self.output(columns, rows.num_rows())
    }

    fn output(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        Ok(batch_of(Arc::clone(&self.schema), columns, rows)?)
    }
}

/// Leaves out rows whose times are not to be believed, where many buckets are open for such already: none of them goes before its time
/// has come. `believed`: the last time that is.
fn without_far(
    kept: Vec<u32>,
    times: &[Micros],
    batch: &RecordBatch,
    (believed, epoch): (Micros, &Epoch),
    buffer: &Buffer,
) -> Result<Vec<u32>> {
    if kept.iter().all(|row| times[*row as usize] <= believed) {
        return Ok(kept);
    }
    let mut open = buffer.buckets_after(believed);
    let mut admitted = Vec::with_capacity(kept.len());
    for row in kept {
        let bucket = buffer.bucket_of(times[row as usize]);
        let is_near = bucket <= believed;
        if is_near || open.contains(&bucket) || (open.len() < FAR_MAX && open.insert(bucket)) {
            admitted.push(row);
        } else {
            note_too_far(epoch, batch, row as usize, "parts of one side of a join")?;
        }
    }
    Ok(admitted)
}

fn owned<T: Clone, U: Clone>((a, b): (&T, &U)) -> (T, U) {
    (a.clone(), b.clone())
}

/// Pairs side by side: rows of a probe's batch, and those at places of the other side's buffer.
struct Pairs {
    near: RecordBatch,
    far: RecordBatch,
    rows: UInt32Array,
    places: Vec<Place>,
}

impl Pairs {
    /// Those for which `which` is true; all of them without it.
    fn only(self, which: Option<BooleanArray>) -> Result<Self> {
        let Some(which) = which.map(|which| if which.null_count() > 0 { prep_null_mask_filter(&which) } else { which })
        else {
            return Ok(self);
        };
        if which.true_count() == which.len() {
            return Ok(self);
        }
        let rows = self.rows.values().iter().zip(which.values()).filter(|(_, keep)| *keep).map(|(row, _)| *row);
        let places = self.places.into_iter().zip(which.values()).filter(|(_, keep)| *keep).map(|(place, _)| place);
        Ok(Pairs {
            near: filter_record_batch(&self.near, &which)?,
            far: filter_record_batch(&self.far, &which)?,
            rows: rows.collect(),
            places: places.collect(),
        })
    }
}

impl Operator for IntervalJoinOperator {
    fn id(&self) -> &str {
        &self.id
    }

    fn kind(&self) -> StateKind {
        StateKind { name: "interval-join", version: 1 }
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn charge_to(&self, account: &Arc<Account>) {
        self.make_buffers(account);
    }

    fn bind(&self, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<()> {
        let [left, right] = inputs else { return Err(Error::bug("a join of two streams without two inputs")) };
        // Every plan says the same.
        if self.schemas.set([left, right].map(|input| without_places(&input.schema()))).is_ok() {
            let account = Arc::clone(&self.state.lock().account);
            self.make_buffers(&account);
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
        let marks: [InputMarks; 2] = InputMarks::of_inputs(marks);
        let limits =
            |mark: fn(&InputMarks) -> Micros| SIDES.map(|side| self.done(side, self.promised(mark(&marks[1 - side]))));
        let (before, done) = (limits(|marks| marks.late), limits(|marks| marks.close));
        let (mut probes, mut alone) = (VecDeque::new(), Vec::new());
        let mut state = self.state.lock();
        let pending = std::mem::take(&mut state.pending);
        state.done = Some(done);
        let buffers = state.buffers()?;
        for (side, batches) in pending.into_iter().enumerate() {
            for batch in batches {
                let watermark = marks[side].late;
                probes.extend(self.admit(side, &batch, watermark, epoch, &mut buffers[side], &mut alone)?);
            }
        }
        drop(state);
        let alone = alone.iter().map(|(side, rows)| self.alone(*side, rows)).collect::<Result<_>>()?;
        let epoch = Arc::clone(epoch);
        Ok(emission(Joining {
            operator: self,
            epoch,
            probes,
            results: alone,
            before,
            done,
            new: [vec![], vec![]],
            sides: SIDES.to_vec(),
            unmatched: Vec::new(),
        }))
    }

    fn commit(&self) -> Result<()> {
        let mut state = self.state.lock();
        let Some(done) = state.done.take() else { return Ok(()) };
        let mut next_segment = state.next_segment;
        let committed =
            state.buffers()?.iter_mut().zip(done).try_for_each(|(buffer, done)| buffer.commit(done, &mut next_segment));
        state.next_segment = next_segment;
        committed
    }

    fn abort(&self) {
        let mut state = self.state.lock();
        state.done = None;
        state.pending = [vec![], vec![]];
        state.buffers.iter_mut().flatten().for_each(Buffer::abort);
    }

    fn segments(&self) -> Vec<StoredSegment> {
        let mut state = self.state.lock();
        let State { buffers, next_segment, .. } = &mut *state;
        let mut segments = Vec::new();
        for (side, buffer) in buffers.iter_mut().flatten().enumerate() {
            let stored = buffer.stored(next_segment).into_iter().map(|Stored { bucket, segment, is_matches }| {
                let input = side + if is_matches { MATCHES } else { 0 };
                StoredSegment { input: input as u32, shard: 0, pane: bucket, segment }
            });
            segments.extend(stored);
        }
        segments
    }

    fn state_schema_sha256(&self) -> Result<String> {
        let schemas = self.schemas.get().ok_or_else(|| Error::bug("a join that has not been planned"))?;
        Ok(types_sha256(schemas.iter().flat_map(|schema| schema.fields())))
    }

    fn restore(&self, segment: RestoredSegment) -> Result<()> {
        let RestoredSegment { input, pane, id, level, batches, .. } = segment;
        let mut state = self.state.lock();
        state.next_segment = state.next_segment.max(id + 1);
        let (side, is_matches) = (input as usize % MATCHES, input as usize >= MATCHES);
        let buffer = &mut state.buffers()?[side];
        if is_matches {
            return buffer.restore_matches(pane, id, &batches);
        }
        let schemas = self.schemas.get().ok_or_else(|| Error::bug("a join that has not been planned"))?;
        let batch = restored(&batches, &schemas[side], "a join")?;
        let of = &self.shape.sides[side];
        let times = micros(batch.column(of.time))?;
        let hashes = hash(&columns(&of.keys, &batch), batch.num_rows())?;
        buffer.restore(pane, id, level, batch, &times, &hashes)
    }

    fn next_deadlines(&self, marks: &[InputMarks]) -> Vec<Deadline> {
        let marks: [InputMarks; 2] = InputMarks::of_inputs(marks);
        let mut state = self.state.lock();
        let Some(buffers) = &mut state.buffers else { return vec![] };
        let waiting = SIDES.into_iter().filter(|side| self.keeps_unmatched(*side));
        let deadline = |side: usize| {
            let first = buffers[side].first_time(self.done(side, self.promised(marks[1 - side].close)))?;
            Some(Deadline::EventTime { input: 1 - side, at: self.needs(side, first) })
        };
        waiting.filter_map(deadline).collect()
    }

    fn last_deadline(&self, input: usize, newest: Micros) -> Option<Micros> {
        let side = 1 - input;
        if !self.keeps_unmatched(side) {
            return None;
        }
        let state = self.state.lock();
        // One whose partners are all later than that is waited for with reason.
        let (_, latest) = self.partners(input)(newest);
        let last = state.buffers.as_ref()?[side].last_time(latest)?;
        Some(self.needs(side, last))
    }

    fn bytes(&self) -> usize {
        self.state.lock().buffers.iter().flatten().map(Buffer::bytes).sum()
    }

    fn open(&self) -> usize {
        self.state.lock().buffers.iter().flatten().map(Buffer::buckets).sum()
    }
}

/// What an epoch emits, computed as it is asked for.
struct Joining {
    operator: Arc<IntervalJoinOperator>,
    epoch: Arc<Epoch>,
    probes: VecDeque<Probe>,
    results: VecDeque<RecordBatch>,
    /// Of each side: rows before this had found no partner in an earlier epoch, and those before `done` find none after this one.
    before: [Micros; 2],
    done: [Micros; 2],
    /// Rows of this epoch whose last partner can have come with it.
    new: [Vec<Place>; 2],
    /// The sides whose rows without a partner are still to be emitted, once no pair can come any more.
    sides: Vec<usize>,
    unmatched: Vec<(usize, Vec<Place>)>,
}

impl Joining {
    /// Emits one portion more; false behind the last one.
    fn go_on(&mut self) -> Result<bool> {
        let operator = Arc::clone(&self.operator);
        let mut state = operator.state.lock();
        let buffers = state.buffers()?;
        if let Some(probe) = self.probes.front_mut() {
            let side = probe.side;
            // The right side's new rows have met the left side's by then.
            match probe.next_pairs(&buffers[1 - side], operator.partners(side), side == 1) {
                Some((rows, places)) => {
                    operator.join(probe, rows, places, buffers, &self.epoch, &mut self.results)?;
                }
                None => {
                    if operator.keeps_unmatched(side) {
                        let times = probe.times.iter().zip(&probe.places);
                        self.new[side]
                            .extend(times.filter(|(time, _)| **time < self.done[side]).map(|(_, place)| *place));
                    }
                    self.probes.pop_front();
                }
            }
            return Ok(true);
        }
        if let Some((side, places)) = self.unmatched.pop() {
            let rows = buffers[side].gather(&places)?;
            self.results.push_back(operator.alone(side, &rows)?);
            return Ok(true);
        }
        let Some(side) = self.sides.pop() else { return Ok(false) };
        if operator.keeps_unmatched(side) {
            let mut places = buffers[side].unmatched(self.before[side], self.done[side]);
            places.extend(self.new[side].drain(..).filter(|place| !buffers[side].is_matched(*place)));
            self.unmatched.extend(places.chunks(PAIRS).map(|places| (side, places.to_vec())));
        }
        Ok(true)
    }
}

impl Iterator for Joining {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        one_by_one(self, |joining| &mut joining.results, Joining::go_on)
    }
}
