//! The static side of a lookup join: read once, indexed once per set of keys, kept for every later epoch until it is read again.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, PhysicalExpr};
use futures::TryStreamExt;
use futures::future::try_join_all;
use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};
use tokio::sync::OnceCell;

use super::NullKeys;
use crate::error::Error;
use crate::operator::keys::{evaluate, hash, nulls};
use crate::operator::static_side::Replace;

/// Ends a chain of rows in [`Index`].
const NO_ROW: u32 = u32::MAX;

/// A static table as lookup joins see it: its plan, its rows once they are read, and an index per set of key expressions.
///
/// Share one by `Arc` among all plans over the same table (narrow and wide templates, all epochs): it is read by the
/// first that needs it. A read that fails is tried again by the next.
#[derive(Debug)]
pub struct Dimension {
    plan: Arc<dyn ExecutionPlan>,
    /// Of the version in use, as are the indexes.
    rows: RwLock<Cell<Rows>>,
    indexes: Mutex<Vec<Arc<KeyedIndex>>>,
}

/// Filled by whoever needs it first; another version has another one.
type Cell<T> = Arc<OnceCell<Arc<T>>>;

/// All rows as one batch, and the memory they are accounted for with.
#[derive(Debug)]
struct Rows {
    batch: RecordBatch,
    _reservation: MemoryReservation,
}

impl Dimension {
    /// `plan` must be bounded and independent of epochs; it runs with all its partitions.
    pub fn new(plan: Arc<dyn ExecutionPlan>) -> Self {
        Dimension { plan, rows: RwLock::default(), indexes: Mutex::default() }
    }

    pub fn schema(&self) -> SchemaRef {
        self.plan.schema()
    }

    /// The index over `keys`, the same one for equal keys. Nothing is read yet.
    pub(super) fn keyed_by(&self, keys: Vec<Arc<dyn PhysicalExpr>>, nulls: NullKeys) -> Arc<KeyedIndex> {
        let mut indexes = self.indexes.lock();
        if let Some(index) = indexes.iter().find(|index| index.keys == keys && index.nulls == nulls) {
            return Arc::clone(index);
        }
        let subqueries = keys.iter().flat_map(subqueries_in).collect();
        let index = Arc::new(KeyedIndex { keys, nulls, subqueries, made: RwLock::default() });
        indexes.push(Arc::clone(&index));
        index
    }

    async fn rows(&self, context: &Arc<TaskContext>) -> Result<Arc<Rows>> {
        let cell: Cell<Rows> = Arc::clone(&self.rows.read());
        let rows = cell.get_or_try_init(|| async { self.read(context).await.map(Arc::new) }).await?;
        Ok(Arc::clone(rows))
    }

    async fn read(&self, context: &Arc<TaskContext>) -> Result<Rows> {
        // A fresh instance: after a read the channels inside the old one are used up.
        let plan = reset_plan_states(Arc::clone(&self.plan))?;
        let schema = plan.schema();
        let reservation = MemoryConsumer::new("lookup join table").register(context.memory_pool());
        // What groups rows hands them on as slices of one batch: each of its buffers counts once.
        let counted = Mutex::new(RecordBatchMemoryCounter::new());
        let partitions = (0..plan.output_partitioning().partition_count()).map(|partition| {
            let (plan, reservation, counted) = (&plan, &reservation, &counted);
            async move {
                let mut rows = plan.execute(partition, Arc::clone(context))?;
                let mut batches = Vec::new();
                while let Some(batch) = rows.try_next().await? {
                    // As they come: what has no room is not read to its end.
                    let bytes = counted.lock().count_batch(&batch);
                    reservation.try_grow(bytes)?;
                    batches.push(batch);
                }
                Ok::<_, DataFusionError>(batches)
            }
        });
        let batches: Vec<RecordBatch> = try_join_all(partitions).await?.into_iter().flatten().collect();
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if rows >= NO_ROW as usize {
            return Err(Error::over_budget(format!("a lookup table has {rows} rows"))
                .detail(format!("a static table of a join may have at most {} rows", NO_ROW - 1))
                .into());
        }
        Ok(Rows { batch: concat_batches(&schema, &batches)?, _reservation: reservation })
    }

    /// Reads the rows anew and builds the indexes over them, but for those in whose keys subqueries stand. Epochs see none of it before it
    /// is put in place.
    ///
    /// To be called when everything is planned: an index that is asked for later would be one over the rows of before.
    pub(super) async fn read_again(self: &Arc<Self>, context: &Arc<TaskContext>) -> Result<Replace> {
        let rows = Arc::new(self.read(context).await?);
        let keyed = self.indexes.lock().clone();
        let mut built = Vec::with_capacity(keyed.len());
        for index in &keyed {
            built.push(match index.subqueries.is_empty() {
                true => filled(Arc::new(index.build(&rows, context)?)),
                // What these stand for is read by itself, and known when an epoch needs the index.
                false => Cell::default(),
            });
        }
        let this = Arc::clone(self);
        Ok(Box::new(move || {
            *this.rows.write() = filled(rows);
            for (keyed, cell) in keyed.iter().zip(built) {
                *keyed.made.write() = Made { values: vec![], cell };
            }
        }))
    }
}

fn filled<T>(value: Arc<T>) -> Cell<T> {
    Arc::new(OnceCell::new_with(Some(value)))
}

/// One index of a dimension, built on first use.
#[derive(Debug)]
pub(super) struct KeyedIndex {
    pub(super) keys: Vec<Arc<dyn PhysicalExpr>>,
    nulls: NullKeys,
    /// Those in its keys, which may be read again apart from the rows: another value makes other keys.
    subqueries: Vec<Arc<dyn PhysicalExpr>>,
    made: RwLock<Made>,
}

#[derive(Debug, Default)]
struct Made {
    /// What the subqueries in the keys stood for.
    values: Vec<ScalarValue>,
    cell: Cell<Index>,
}

fn subqueries_in(expr: &Arc<dyn PhysicalExpr>) -> Vec<Arc<dyn PhysicalExpr>> {
    match expr.is::<ScalarSubqueryExpr>() {
        true => vec![Arc::clone(expr)],
        false => expr.children().into_iter().flat_map(subqueries_in).collect(),
    }
}

impl KeyedIndex {
    /// Where the index is over the rows in use, by what its subqueries stand for in this epoch.
    fn cell(&self) -> Result<Cell<Index>> {
        let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let value = |subquery: &Arc<dyn PhysicalExpr>| {
            ScalarValue::try_from_array(&subquery.evaluate(&nothing)?.into_array(1)?, 0)
        };
        let values = self.subqueries.iter().map(value).collect::<Result<Vec<_>>>()?;
        let mut made = self.made.write();
        if made.values != values {
            *made = Made { values, cell: Cell::default() };
        }
        Ok(Arc::clone(&made.cell))
    }

    pub(super) async fn get(&self, dimension: &Dimension, context: &Arc<TaskContext>) -> Result<Arc<Index>> {
        let cell = self.cell()?;
        let index = cell
            .get_or_try_init(|| async {
                let rows = dimension.rows(context).await?;
                self.build(&rows, context).map(Arc::new)
            })
            .await?;
        Ok(Arc::clone(index))
    }

    fn build(&self, rows: &Rows, context: &Arc<TaskContext>) -> Result<Index> {
        let bytes = rows.batch.num_rows() * BYTES_PER_ROW;
        let reservation = MemoryConsumer::new("lookup join index").register(context.memory_pool());
        reservation.try_grow(bytes)?;
        Index::build(rows.batch.clone(), &self.keys, self.nulls, reservation)
    }

    /// What has been indexed.
    #[cfg(test)]
    pub(super) fn batch(&self) -> RecordBatch {
        self.made.read().cell.get().expect("the index has been used").batch.clone()
    }
}

/// A slot of the hash table (16 bytes at up to 7/8 load, doubled) and a link of the chain.
const BYTES_PER_ROW: usize = 2 * 16 + 4;

/// From the hash of a key to the rows that may have it, in row order.
///
/// Rows of one hash form a chain through `next`, so that a key with a million rows costs no allocation of its own.
/// A hash is not a key: who probes compares the values.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) batch: RecordBatch,
    pub(super) keys: Vec<ArrayRef>,
    /// (hash, first row)
    heads: HashTable<(u64, u32)>,
    next: Vec<u32>,
    /// Rows with a NULL in their key, where that is no key to look for.
    pub(super) null_rows: Vec<u32>,
    _reservation: MemoryReservation,
}

impl Index {
    fn build(
        batch: RecordBatch,
        keys: &[Arc<dyn PhysicalExpr>],
        nulls_match: NullKeys,
        reservation: MemoryReservation,
    ) -> Result<Self> {
        let keys = evaluate(keys, &batch)?;
        let hashes = hash(&keys, batch.num_rows())?;
        let nulls = nulls(&keys).filter(|_| nulls_match != NullKeys::MatchNull);
        let is_null = |row: &usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(*row));
        let null_rows = (0..batch.num_rows()).filter(is_null).map(|row| row as u32).collect();
        let mut heads: HashTable<(u64, u32)> = HashTable::with_capacity(batch.num_rows());
        let mut next = vec![NO_ROW; batch.num_rows()];
        // Backwards, because each row goes to the front of its chain.
        for row in (0..batch.num_rows()).rev().filter(|row| !is_null(row)) {
            let hash = hashes[row];
            match heads.find_mut(hash, |(other, _)| *other == hash) {
                Some((_, head)) => {
                    next[row] = *head;
                    *head = row as u32;
                }
                None => {
                    heads.insert_unique(hash, (hash, row as u32), |(hash, _)| *hash);
                }
            }
        }
        Ok(Index { batch, keys, heads, next, null_rows, _reservation: reservation })
    }

    /// The rows whose key has this hash, in row order.
    pub(super) fn candidates(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        let mut row = self.heads.find(hash, |(other, _)| *other == hash).map_or(NO_ROW, |(_, head)| *head);
        std::iter::from_fn(move || {
            if row == NO_ROW {
                return None;
            }
            let found = row;
            row = self.next[row as usize];
            Some(found)
        })
    }
}
