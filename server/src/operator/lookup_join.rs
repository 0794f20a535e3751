//! A stream looked up in a static table: each row of the stream meets the rows of the table that have its key.
//!
//! The table is read once and kept for later epochs, until it is read again between two of them (see [`Dimension`]); DataFusion's
//! hash join would read it again in each, and stops polling the stream where the table is empty, which would lose rows of an epoch.
//! Rows come out in the stream's order, and the matches of one row in the table's. Nothing of it is state: the table is no
//! input, but a version that the epoch pins, the same when it is run again.

mod dimension;
pub mod logical;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, UInt32Array, UInt32Builder};
use arrow::buffer::NullBuffer;
use arrow::compute::{and, filter, is_null, or_kleene, take, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{JoinSide, cast::as_boolean_array, internal_err, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning};
use datafusion::physical_expr_common::datum::apply_cmp;
use datafusion::physical_plan::execution_plan::apply_expression_roots;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PhysicalExpr, PlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt, stream};

pub use dimension::Dimension;
use dimension::{Index, KeyedIndex};

use super::contract::BadRow;
use super::epoch_cell::{Epoch, EpochCell};
use super::keys::{evaluate, hash, nulls};
use crate::error::{Error, ErrorKind};
use crate::state::batch_of;

/// Candidates are compared, and rows handed on, in portions of about this many.
const ROWS_PER_BATCH: usize = 8192;

/// What becomes of a row of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LookupJoinType {
    /// Once per match.
    Inner,
    /// Once per match, or once with NULLs for the table where there is none.
    LeftOuter,
    /// Once if there is a match; only the stream's columns.
    LeftSemi,
    /// Once if there is no match; only the stream's columns.
    LeftAnti,
    /// Once; the stream's columns, and behind them whether there is a match.
    LeftMark,
}

impl LookupJoinType {
    /// Whether all it asks is if there is a match.
    pub fn is_about_existence(self) -> bool {
        !self.keeps_dimension_columns()
    }

    fn keeps_dimension_columns(self) -> bool {
        matches!(self, LookupJoinType::Inner | LookupJoinType::LeftOuter)
    }
}

/// What a NULL in a key matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NullKeys {
    /// `=`: nothing.
    MatchNothing,
    /// `IS NOT DISTINCT FROM`: NULL.
    MatchNull,
    /// `(s = t) IS NOT FALSE`: everything, as whatever a NOT IN may not hold.
    MatchEverything,
}

/// See the module's first lines.
#[derive(Debug, Clone)]
pub struct LookupJoinExec {
    stream: Arc<dyn ExecutionPlan>,
    dimension: Arc<Dimension>,
    stream_keys: Vec<Arc<dyn PhysicalExpr>>,
    index: Arc<KeyedIndex>,
    nulls: NullKeys,
    filter: Option<JoinFilter>,
    join_type: LookupJoinType,
    stream_first: bool,
    /// Of the epochs whose rows are left out where `filter` cannot take them, instead of failing.
    isolates: Option<Arc<EpochCell>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl LookupJoinExec {
    /// The same, leaving out rows of the stream that its further conditions cannot take; they are noted in the epoch.
    pub(super) fn isolating(&self, cell: &Arc<EpochCell>) -> Self {
        LookupJoinExec { isolates: Some(Arc::clone(cell)), ..self.clone() }
    }

    /// What it looks up, of each row of the stream.
    pub fn stream_keys(&self) -> impl Iterator<Item = &Arc<dyn PhysicalExpr>> {
        self.stream_keys.iter()
    }

    /// `on`: pairs of (expression over the stream, expression over the dimension) that must be equal; `nulls` says what NULL is
    /// equal to. Without pairs every row of the dimension is a candidate, and `filter` alone decides.
    ///
    /// `filter`: further conditions on a pair of rows; its [`JoinSide::Left`] is the stream and its
    /// [`JoinSide::Right`] the dimension, whatever `stream_first` says.
    ///
    /// `stream_first`: whether the stream's columns come first in the output, or the dimension's.
    ///
    /// # Errors
    /// Where the types of a pair differ: cast one side when planning. Where NULL would match everything in one of several keys, or
    /// where rows of the dimension come out by it: nothing plans that.
    pub fn try_new(
        stream: Arc<dyn ExecutionPlan>,
        dimension: Arc<Dimension>,
        on: Vec<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)>,
        nulls: NullKeys,
        filter: Option<JoinFilter>,
        join_type: LookupJoinType,
        stream_first: bool,
    ) -> Result<Self> {
        let dimension_schema = dimension.schema();
        for (stream_key, dimension_key) in &on {
            let left = stream_key.data_type(&stream.schema())?;
            let right = dimension_key.data_type(&dimension_schema)?;
            if left != right {
                return plan_err!(
                    "lookup join compares {stream_key} of type {left} with {dimension_key} of type {right}"
                );
            }
        }
        if nulls == NullKeys::MatchEverything && (on.len() != 1 || join_type.keeps_dimension_columns()) {
            return internal_err!("a {join_type:?} lookup by {} keys in which NULL matches everything", on.len());
        }
        let (stream_keys, dimension_keys): (Vec<_>, Vec<_>) = on.into_iter().unzip();
        let index = dimension.keyed_by(dimension_keys, nulls);
        let properties = properties(&stream, &dimension_schema, join_type, stream_first);
        Ok(LookupJoinExec {
            stream,
            dimension,
            stream_keys,
            index,
            nulls,
            filter,
            join_type,
            stream_first,
            isolates: None,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

fn output_schema(stream: &Schema, dimension: &Schema, join_type: LookupJoinType, stream_first: bool) -> SchemaRef {
    let stream_fields = stream.fields().iter().cloned();
    if !join_type.keeps_dimension_columns() {
        // Named as DataFusion names it.
        let mark =
            (join_type == LookupJoinType::LeftMark).then(|| Arc::new(Field::new("mark", DataType::Boolean, false)));
        let fields: Vec<_> = stream_fields.chain(mark).collect();
        return Arc::new(Schema::new_with_metadata(fields, stream.metadata().clone()));
    }
    let dimension_fields = dimension.fields().iter().map(|field| match join_type {
        LookupJoinType::LeftOuter => Arc::new(Field::clone(field).with_nullable(true)),
        _ => Arc::clone(field),
    });
    let fields: Vec<_> = match stream_first {
        true => stream_fields.chain(dimension_fields).collect(),
        false => dimension_fields.chain(stream_fields).collect(),
    };
    let metadata = dimension.metadata().iter().chain(stream.metadata());
    Arc::new(Schema::new_with_metadata(fields, metadata.map(|(k, v)| (k.clone(), v.clone())).collect()))
}

fn properties(
    stream: &Arc<dyn ExecutionPlan>,
    dimension: &Schema,
    join_type: LookupJoinType,
    stream_first: bool,
) -> PlanProperties {
    let schema = output_schema(&stream.schema(), dimension, join_type, stream_first);
    let partitioning = match stream.output_partitioning() {
        // The stream's columns keep their places, so what is said of them holds on.
        kept if stream_first || !join_type.keeps_dimension_columns() => kept.clone(),
        moved => Partitioning::UnknownPartitioning(moved.partition_count()),
    };
    PlanProperties::new(
        EquivalenceProperties::new(schema),
        partitioning,
        stream.pipeline_behavior(),
        stream.boundedness(),
    )
}

impl DisplayAs for LookupJoinExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on: Vec<String> =
            self.stream_keys.iter().zip(&self.index.keys).map(|(l, r)| format!("({l}, {r})")).collect();
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "LookupJoinExec: type={:?}, on=[{}]", self.join_type, on.join(", "))?;
                if self.nulls != NullKeys::MatchNothing {
                    write!(f, ", nulls={:?}", self.nulls)?;
                }
                match &self.filter {
                    Some(filter) => write!(f, ", filter={}", filter.expression()),
                    None => Ok(()),
                }
            }
            DisplayFormatType::TreeRender => writeln!(f, "on={}", on.join(", ")),
        }
    }
}

impl ExecutionPlan for LookupJoinExec {
    fn name(&self) -> &'static str {
        "LookupJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// The stream alone: the dimension is no input of an epoch.
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.stream]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::UnspecifiedDistribution])
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let filter = self.filter.as_ref().map(JoinFilter::expression);
        apply_expression_roots(self.stream_keys.iter().chain(filter), f)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.len() != 1 {
            return internal_err!("a lookup join has one child, not {}", children.len());
        }
        let stream = children.swap_remove(0);
        let properties = match options.children_properties {
            ChildrenPropertiesMode::Keep => Arc::clone(&self.properties),
            ChildrenPropertiesMode::Recompute => {
                Arc::new(properties(&stream, &self.dimension.schema(), self.join_type, self.stream_first))
            }
        };
        Ok(Arc::new(LookupJoinExec {
            stream,
            properties,
            metrics: ExecutionPlanMetricsSet::new(),
            ..Self::clone(&self)
        }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.stream.execute(partition, Arc::clone(&context))?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let this = self.clone();
        let epoch = self.isolates.as_ref().map(|cell| cell.current());
        let schema = self.schema();
        let joined = stream::once(async move {
            let index = this.index.get(&this.dimension, &context).await?;
            let probe = Probe { join: this, index, input, epoch, metrics, current: None };
            Ok::<_, DataFusionError>(stream::try_unfold(probe, Probe::step))
        })
        .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, joined)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// One partition of the stream on its way through the index.
struct Probe {
    join: LookupJoinExec,
    index: Arc<Index>,
    input: SendableRecordBatchStream,
    /// Where rows are noted that cannot be taken; `None`: they are errors.
    epoch: Option<Arc<Epoch>>,
    metrics: BaselineMetrics,
    current: Option<Current>,
}

/// The batch at hand, and how far it has been looked up.
struct Current {
    batch: RecordBatch,
    keys: Vec<ArrayRef>,
    hashes: Vec<u64>,
    /// Rows with a NULL in their key; `None`: there are none.
    nulls: Option<NullBuffer>,
    /// The first row that has not been looked up.
    row: usize,
    /// Joined and waiting to be handed on in portions, from `handed_on`.
    joined: Option<RecordBatch>,
    handed_on: usize,
}

impl Probe {
    /// The next output batch; ends only when the input has ended.
    async fn step(mut self) -> Result<Option<(RecordBatch, Self)>> {
        loop {
            let elapsed = self.metrics.elapsed_compute().clone();
            let timer = elapsed.timer();
            let portion = self.next_portion()?;
            timer.done();
            if let Some(batch) = portion {
                let batch = batch.record_output(&self.metrics);
                return Ok(Some((batch, self)));
            }
            match self.input.next().await.transpose()? {
                Some(batch) => self.current = Some(self.look_at(batch)?),
                None => {
                    self.metrics.done();
                    return Ok(None);
                }
            }
        }
    }

    fn look_at(&self, batch: RecordBatch) -> Result<Current> {
        let keys = evaluate(&self.join.stream_keys, &batch)?;
        let hashes = hash(&keys, batch.num_rows())?;
        let nulls = nulls(&keys);
        Ok(Current { batch, keys, hashes, nulls, row: 0, joined: None, handed_on: 0 })
    }

    /// The next rows from the batch at hand, `None` when it is used up.
    fn next_portion(&mut self) -> Result<Option<RecordBatch>> {
        let Some(current) = &mut self.current else { return Ok(None) };
        loop {
            if let Some(joined) = &current.joined {
                let rows = (joined.num_rows() - current.handed_on).min(ROWS_PER_BATCH);
                if rows > 0 {
                    let portion = joined.slice(current.handed_on, rows);
                    current.handed_on += rows;
                    return Ok(Some(portion));
                }
            }
            if current.row == current.batch.num_rows() {
                self.current = None;
                return Ok(None);
            }
            current.joined = match &self.epoch {
                None => Some(join_rows(&self.join, &self.index, current, ROWS_PER_BATCH)?),
                Some(epoch) => join_good_rows(&self.join, &self.index, current, epoch)?,
            };
            current.handed_on = 0;
        }
    }
}

/// As [`join_rows`], of fewer and fewer rows as long as one of them cannot be taken. One that cannot be by itself is noted and left out.
fn join_good_rows(
    join: &LookupJoinExec,
    index: &Index,
    current: &mut Current,
    epoch: &Epoch,
) -> Result<Option<RecordBatch>> {
    let (from, mut rows_max) = (current.row, ROWS_PER_BATCH);
    loop {
        let error = match join_rows(join, index, current, rows_max) {
            Ok(joined) => return Ok(Some(joined)),
            Err(error) => Error::from(error),
        };
        if error.kind() != ErrorKind::Invalid {
            return Err(error.into());
        }
        let tried = current.row - from;
        if tried <= 1 {
            epoch.effects.add_bad(BadRow::of(epoch, &current.batch.slice(from, 1), error)?);
            return Ok(None);
        }
        (current.row, rows_max) = (from, tried / 2);
    }
}

/// Looks up whole rows of the stream, at most `rows_max`, until there are enough candidates or the batch ends, and moves `current.row`
/// on.
///
/// A row's candidates are never split: whether an outer or anti join keeps the row depends on all of them.
fn join_rows(join: &LookupJoinExec, index: &Index, current: &mut Current, rows_max: usize) -> Result<RecordBatch> {
    let from = current.row;
    let mut stream_rows = UInt32Builder::new();
    let mut dimension_rows = UInt32Builder::new();
    while current.row < current.batch.num_rows()
        && dimension_rows.values_slice().len() < ROWS_PER_BATCH
        && current.row - from < rows_max
    {
        let row = current.row;
        current.row += 1;
        let mut candidate = |dimension_row| {
            stream_rows.append_value(row as u32);
            dimension_rows.append_value(dimension_row);
        };
        // Of rows that match whatever they hold one is enough where nothing but that is asked.
        let one_is_enough = join.filter.is_none() && join.join_type.is_about_existence();
        let enough = if one_is_enough { 1 } else { usize::MAX };
        let any = || (0..index.batch.num_rows() as u32).take(enough);
        let has_null = current.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        match join.nulls {
            NullKeys::MatchNothing if has_null => {}
            _ if join.stream_keys.is_empty() => any().for_each(&mut candidate),
            NullKeys::MatchNothing | NullKeys::MatchNull => {
                index.candidates(current.hashes[row]).for_each(&mut candidate);
            }
            NullKeys::MatchEverything if has_null => any().for_each(&mut candidate),
            NullKeys::MatchEverything => {
                index.candidates(current.hashes[row]).for_each(&mut candidate);
                index.null_rows.iter().copied().take(enough).for_each(&mut candidate);
            }
        }
    }
    let (stream_rows, dimension_rows) = (stream_rows.finish(), dimension_rows.finish());
    let (stream_rows, dimension_rows) = keep_equal(join.nulls, index, current, stream_rows, dimension_rows)?;
    let (stream_rows, dimension_rows) = match &join.filter {
        Some(filter) => keep_filtered(filter, index, current, stream_rows, dimension_rows)?,
        None => (stream_rows, dimension_rows),
    };
    let rows = from as u32..current.row as u32;
    match join.join_type {
        LookupJoinType::Inner => assemble(join, index, current, &stream_rows, &dimension_rows),
        LookupJoinType::LeftOuter => {
            let (stream_rows, dimension_rows) = with_unmatched(rows, &stream_rows, &dimension_rows);
            assemble(join, index, current, &stream_rows, &dimension_rows)
        }
        LookupJoinType::LeftSemi | LookupJoinType::LeftAnti => {
            let wanted = join.join_type == LookupJoinType::LeftSemi;
            let matched = matched(rows.clone(), &stream_rows);
            let kept = rows.zip(matched.values()).filter(|(_, matched)| *matched == wanted).map(|(row, _)| row);
            Ok(take_record_batch(&current.batch, &UInt32Array::from_iter_values(kept))?)
        }
        LookupJoinType::LeftMark => {
            let mut columns = current.batch.slice(from, current.row - from).columns().to_vec();
            columns.push(Arc::new(matched(rows, &stream_rows)));
            Ok(RecordBatch::try_new(join.schema(), columns)?)
        }
    }
}

/// Of each of `rows` whether it is among `pairs`, both in ascending order.
fn matched(rows: std::ops::Range<u32>, pairs: &UInt32Array) -> BooleanArray {
    let mut found = BooleanBufferBuilder::new(rows.len());
    found.append_n(rows.len(), false);
    pairs.values().iter().for_each(|row| found.set_bit((row - rows.start) as usize, true));
    BooleanArray::new(found.finish(), None)
}

/// Equal hashes are not equal keys.
fn keep_equal(
    nulls: NullKeys,
    index: &Index,
    current: &Current,
    stream_rows: UInt32Array,
    dimension_rows: UInt32Array,
) -> Result<(UInt32Array, UInt32Array)> {
    let mut equal: Option<BooleanArray> = None;
    for (stream_key, dimension_key) in current.keys.iter().zip(&index.keys) {
        let left = take(stream_key, &stream_rows, None)?;
        let right = take(dimension_key, &dimension_rows, None)?;
        let this = matches(nulls, left, right)?;
        equal = Some(match equal {
            Some(others) => and(&others, &this)?,
            None => this,
        });
    }
    match equal {
        Some(equal) if equal.true_count() < stream_rows.len() => keep(&equal, &stream_rows, &dimension_rows),
        _ => Ok((stream_rows, dimension_rows)),
    }
}

fn matches(nulls: NullKeys, left: ArrayRef, right: ArrayRef) -> Result<BooleanArray> {
    let (rows, left, right) = (left.len(), ColumnarValue::Array(left), ColumnarValue::Array(right));
    let compare = match nulls {
        NullKeys::MatchNothing | NullKeys::MatchEverything => Operator::Eq,
        NullKeys::MatchNull => Operator::IsNotDistinctFrom,
    };
    let equal = apply_cmp(compare, &left, &right)?.into_array(rows)?;
    let equal = as_boolean_array(&equal)?;
    match nulls {
        NullKeys::MatchNothing | NullKeys::MatchNull => Ok(equal.clone()),
        NullKeys::MatchEverything => Ok(or_kleene(equal, &is_null(equal)?)?),
    }
}

fn keep_filtered(
    condition: &JoinFilter,
    index: &Index,
    current: &Current,
    stream_rows: UInt32Array,
    dimension_rows: UInt32Array,
) -> Result<(UInt32Array, UInt32Array)> {
    let columns = condition.column_indices().iter().map(|column| match column.side {
        JoinSide::Left => Ok(take(current.batch.column(column.index), &stream_rows, None)?),
        JoinSide::Right => Ok(take(index.batch.column(column.index), &dimension_rows, None)?),
        JoinSide::None => internal_err!("a lookup join's filter reads a column of neither side"),
    });
    let pairs = batch_of(Arc::clone(condition.schema()), columns.collect::<Result<_>>()?, stream_rows.len())?;
    let holds = condition.expression().evaluate(&pairs)?.into_array(pairs.num_rows())?;
    keep(as_boolean_array(&holds)?, &stream_rows, &dimension_rows)
}

fn keep(
    which: &BooleanArray,
    stream_rows: &UInt32Array,
    dimension_rows: &UInt32Array,
) -> Result<(UInt32Array, UInt32Array)> {
    let keep =
        |rows: &UInt32Array| -> Result<UInt32Array> { Ok(filter(rows, which)?.as_primitive::<UInt32Type>().clone()) };
    Ok((keep(stream_rows)?, keep(dimension_rows)?))
}

/// The pairs, and between them at its place each of `rows` that has none, paired with NULL.
fn with_unmatched(
    rows: std::ops::Range<u32>,
    stream_rows: &UInt32Array,
    dimension_rows: &UInt32Array,
) -> (UInt32Array, UInt32Array) {
    let capacity = stream_rows.len().max(rows.len());
    let mut all_stream = UInt32Builder::with_capacity(capacity);
    let mut all_dimension = UInt32Builder::with_capacity(capacity);
    let mut pairs = stream_rows.values().iter().zip(dimension_rows.values()).peekable();
    for row in rows {
        let mut found = false;
        while let Some((_, &dimension_row)) = pairs.next_if(|(stream_row, _)| **stream_row == row) {
            found = true;
            all_stream.append_value(row);
            all_dimension.append_value(dimension_row);
        }
        if !found {
            all_stream.append_value(row);
            all_dimension.append_null();
        }
    }
    (all_stream.finish(), all_dimension.finish())
}

fn assemble(
    join: &LookupJoinExec,
    index: &Index,
    current: &Current,
    stream_rows: &UInt32Array,
    dimension_rows: &UInt32Array,
) -> Result<RecordBatch> {
    let take_all = |batch: &RecordBatch, rows: &UInt32Array| -> Result<Vec<ArrayRef>> {
        batch.columns().iter().map(|column| Ok(take(column, rows, None)?)).collect()
    };
    let mut columns = take_all(&current.batch, stream_rows)?;
    let mut others = take_all(&index.batch, dimension_rows)?;
    if !join.stream_first {
        std::mem::swap(&mut columns, &mut others);
    }
    columns.append(&mut others);
    // A projection may have left no column at all: count(*) still needs the rows.
    Ok(batch_of(join.schema(), columns, stream_rows.len())?)
}
