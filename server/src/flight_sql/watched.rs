//! A plan that looks up from its work: it ends at the next batch once its statement is stopped, and lets others run meanwhile.
//!
//! DataFusion's nodes give way where their leaves do, every 128 batches. A join makes any number of batches of one of its leaf's, and
//! a function any amount of work of one batch. So leaves, joins and sorts are watched, what stands below functions comes in
//! slices, and the conditions of joins look at the flag themselves, since one that is never true makes no batch at all.
//!
//! A slice is charged for the whole batch by whoever keeps it, as a sort does, and many small batches are many messages. So nothing that
//! keeps its input gets slices, and what a projection passes on is put together again.

use std::convert::Infallible;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arrow::compute::BatchCoalescer;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, RecordBatchStream,
    ReplaceChildrenOptions, SendableRecordBatchStream,
};
use futures::{Stream, StreamExt};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Rows that functions are given at once. Each has a limit for one value besides; see `sql::result_size`.
const FUNCTION_ROWS_MAX: usize = 1_024;
/// Rows of the side of a nested loop join that comes in batches: each meets every row of the other side before the join gives way.
const NESTED_LOOP_ROWS_MAX: usize = 64;
/// The same where only rows with equal keys meet, which could be all, and a condition rejects what then meets.
const HASH_JOIN_ROWS_MAX: usize = 256;
/// How long a statement may work before it lets others have its thread.
const YIELD_AFTER: Duration = Duration::from_millis(10);

/// Held by all that works for a statement; when the last one has let go of it, no thread works for it any more.
#[derive(Debug)]
pub(super) struct Watch {
    stopped: Arc<AtomicBool>,
    /// Never sent: that it is dropped is the message.
    _present: oneshot::Sender<Infallible>,
}

impl Watch {
    /// # Errors
    /// Once the statement is stopped. Nobody reads what it says: the client has its answer by then.
    fn check(&self) -> Result<()> {
        match self.stopped.load(Ordering::Relaxed) {
            true => Err(DataFusionError::Execution("the statement was stopped".to_owned())),
            false => Ok(()),
        }
    }
}

/// The other end of a [`Watch`]. Dropping it stops the statement.
#[derive(Debug)]
pub(super) struct Stopper {
    stopped: Arc<AtomicBool>,
    present: oneshot::Receiver<Infallible>,
}

impl Stopper {
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Until nothing works for the statement any more.
    pub(super) async fn gone(&mut self) {
        if !self.present.is_terminated() {
            let _ = (&mut self.present).await;
        }
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(super) fn watch() -> (Arc<Watch>, Stopper) {
    let stopped = Arc::new(AtomicBool::new(false));
    let (sender, present) = oneshot::channel();
    (Arc::new(Watch { stopped: Arc::clone(&stopped), _present: sender }), Stopper { stopped, present })
}

/// The same plan, watched.
///
/// # Errors
/// Those of DataFusion where a node does not take its children back, which is a defect.
pub(super) fn watched(plan: Arc<dyn ExecutionPlan>, watch: &Arc<Watch>) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = within(plan, watch)?;
    // What a root makes of one batch of its input can be any number of batches, too.
    Ok(over(plan, Batches::AsTheyCome, watch))
}

fn within(plan: Arc<dyn ExecutionPlan>, watch: &Arc<Watch>) -> Result<Arc<dyn ExecutionPlan>> {
    let probe_rows_max = match plan.downcast_ref::<HashJoinExec>() {
        Some(join) if join.filter().is_some() => HASH_JOIN_ROWS_MAX,
        None if plan.is::<NestedLoopJoinExec>() => NESTED_LOOP_ROWS_MAX,
        _ => usize::MAX,
    };
    let rows_max = if calls_functions(&plan)? { FUNCTION_ROWS_MAX } else { usize::MAX };
    let passes_slices_on = rows_max < usize::MAX && plan.is::<ProjectionExec>();
    let mut children = Vec::new();
    for (nth, child) in plan.children().into_iter().enumerate() {
        let rows_max = match nth {
            _ if keeps_what_it_gets(plan.as_ref(), nth) => usize::MAX,
            1 => rows_max.min(probe_rows_max),
            _ => rows_max,
        };
        let may_go_on_for_long = goes_on_for_long(child.as_ref());
        let child = within(Arc::clone(child), watch)?;
        children.push(match rows_max {
            usize::MAX if may_go_on_for_long => over(child, Batches::AsTheyCome, watch),
            usize::MAX => child,
            rows_max => over(child, Batches::InSlices(rows_max), watch),
        });
    }
    let plan = match children.is_empty() {
        true => plan,
        false => plan.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?,
    };
    let plan = with_watched_condition(plan, watch)?;
    Ok(if passes_slices_on { over(plan, Batches::PutTogether, watch) } else { plan })
}

/// What batches are made of those that come.
#[derive(Debug, Clone, Copy)]
enum Batches {
    AsTheyCome,
    /// Of so many rows at the most, which share the memory of the whole.
    InSlices(usize),
    /// Of as many rows as the session's, with memory of their own.
    PutTogether,
}

fn over(input: Arc<dyn ExecutionPlan>, batches: Batches, watch: &Arc<Watch>) -> Arc<dyn ExecutionPlan> {
    Arc::new(WatchedExec { input, batches, watch: Arc::clone(watch) })
}

/// Whether a node can make many batches without being given one.
fn goes_on_for_long(plan: &dyn ExecutionPlan) -> bool {
    let name = plan.name();
    plan.children().is_empty()
        || name.ends_with("JoinExec")
        || matches!(name, "UnnestExec" | "SortExec" | "SortPreservingMergeExec" | "RecursiveQueryExec")
}

/// Sorts, and joins of their first side, keep batches, and are charged for a slice what the whole batch takes.
fn keeps_what_it_gets(plan: &dyn ExecutionPlan, nth: usize) -> bool {
    nth == 0 && (plan.name() == "SortExec" || plan.name().ends_with("JoinExec"))
}

fn calls_functions(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut found = false;
    plan.apply_expressions(&mut |expr| {
        expr.apply(|part| {
            found |= part.is::<ScalarFunctionExpr>();
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found)
}

fn with_watched_condition(plan: Arc<dyn ExecutionPlan>, watch: &Arc<Watch>) -> Result<Arc<dyn ExecutionPlan>> {
    let watched = |filter: &JoinFilter| {
        let (inner, watch) = (Arc::clone(filter.expression()), Arc::clone(watch));
        JoinFilter::new(
            Arc::new(WatchedExpr { inner, watch }),
            filter.column_indices().to_vec(),
            Arc::clone(filter.schema()),
        )
    };
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>()
        && let Some(filter) = join.filter()
    {
        let filter = watched(filter);
        return Ok(Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(Some(filter)).build()?));
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>()
        && let Some(filter) = join.filter()
    {
        let filter = watched(filter);
        return join.builder().with_filter(Some(filter)).build_exec();
    }
    Ok(plan)
}

/// Passes rows on.
#[derive(Debug)]
struct WatchedExec {
    input: Arc<dyn ExecutionPlan>,
    batches: Batches,
    watch: Arc<Watch>,
}

impl DisplayAs for WatchedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.batches {
            Batches::AsTheyCome => f.write_str("WatchedExec"),
            Batches::InSlices(rows_max) => write!(f, "WatchedExec: rows={rows_max}"),
            Batches::PutTogether => f.write_str("WatchedExec: put together"),
        }
    }
}

impl ExecutionPlan for WatchedExec {
    fn name(&self) -> &str {
        "WatchedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = <[_; 1]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("a watched plan has one input".to_owned()))?;
        Ok(over(input, self.batches, &self.watch))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = context.session_config().batch_size();
        let input = self.input.execute(partition, context)?;
        let together = match self.batches {
            Batches::PutTogether => Some(BatchCoalescer::new(input.schema(), rows)),
            Batches::AsTheyCome | Batches::InSlices(_) => None,
        };
        let rows_max = match self.batches {
            Batches::InSlices(rows_max) => rows_max,
            Batches::AsTheyCome | Batches::PutTogether => usize::MAX,
        };
        let (watch, gave_way) = (Arc::clone(&self.watch), Instant::now());
        Ok(Box::pin(Watched { input, ended: false, rest: None, rows_max, together, watch, gave_way }))
    }
}

struct Watched {
    input: SendableRecordBatchStream,
    /// The input has.
    ended: bool,
    /// What is left of a batch of which slices are passed on.
    rest: Option<RecordBatch>,
    rows_max: usize,
    /// Where batches are put together.
    together: Option<BatchCoalescer>,
    watch: Arc<Watch>,
    gave_way: Instant,
}

impl Stream for Watched {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Err(stopped) = self.watch.check() {
            return Poll::Ready(Some(Err(stopped)));
        }
        if self.gave_way.elapsed() >= YIELD_AFTER {
            self.gave_way = Instant::now();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.together.is_some() {
            return self.poll_together(cx);
        }
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match ready!(self.input.poll_next_unpin(cx)) {
                Some(Ok(batch)) => batch,
                end => return Poll::Ready(end),
            },
        };
        let rows_max = self.rows_max;
        if batch.num_rows() <= rows_max {
            return Poll::Ready(Some(Ok(batch)));
        }
        self.rest = Some(batch.slice(rows_max, batch.num_rows() - rows_max));
        Poll::Ready(Some(Ok(batch.slice(0, rows_max))))
    }
}

impl Watched {
    /// The next batch of those that are put together.
    fn poll_together(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        let Watched { input, ended, together: Some(together), .. } = self else { return Poll::Ready(None) };
        loop {
            if let Some(batch) = together.next_completed_batch() {
                return Poll::Ready(Some(Ok(batch)));
            }
            if *ended {
                return Poll::Ready(None);
            }
            let put = match input.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(batch))) => together.push_batch(batch),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => {
                    *ended = true;
                    together.finish_buffered_batch()
                }
                Poll::Pending => return Poll::Pending,
            };
            if let Err(error) = put {
                return Poll::Ready(Some(Err(error.into())));
            }
        }
    }
}

impl RecordBatchStream for Watched {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

/// The condition of a join, which looks at the flag whenever it is asked.
#[derive(Debug)]
struct WatchedExpr {
    inner: Arc<dyn PhysicalExpr>,
    watch: Arc<Watch>,
}

impl PartialEq for WatchedExpr {
    fn eq(&self, other: &Self) -> bool {
        self.inner.as_ref() == other.inner.as_ref()
    }
}

impl Eq for WatchedExpr {}

impl Hash for WatchedExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.as_ref().hash(state);
    }
}

impl fmt::Display for WatchedExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

impl PhysicalExpr for WatchedExpr {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.watch.check()?;
        self.inner.evaluate(batch)
    }

    fn return_field(&self, input_schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(input_schema)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let [inner] = <[_; 1]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("a watched condition has one expression".to_owned()))?;
        Ok(Arc::new(WatchedExpr { inner, watch: Arc::clone(&self.watch) }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, StringArray, UInt32Array};
    use datafusion::datasource::MemTable;
    use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::physical_plan::{displayable, execute_stream};
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    async fn plan_of(sql: &str) -> (SessionContext, Arc<dyn ExecutionPlan>) {
        let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        let plan = session.sql(sql).await.expect("plans").create_physical_plan().await.expect("plans");
        (session, plan)
    }

    const LEFT: &str = "(SELECT value AS a FROM generate_series(1, 1000000))";
    const RIGHT: &str = "(SELECT value AS b FROM generate_series(1, 1000000))";

    #[tokio::test]
    async fn functions_are_given_slices_and_the_rows_are_the_same() {
        let (session, plan) = plan_of("SELECT chr(64 + value % 26) AS c FROM generate_series(1, 10000)").await;
        let (watch, stopper) = watch();
        let plan = watched(plan, &watch).expect("watched");
        let text = displayable(plan.as_ref()).indent(false).to_string();
        assert!(text.contains("WatchedExec: rows=1024"), "{text}");
        let batches: Vec<_> = execute_stream(plan, session.task_ctx()).expect("runs").collect().await;
        let rows: Vec<usize> = batches.into_iter().map(|batch| batch.expect("rows").num_rows()).collect();
        // The client gets as many at once as without.
        assert_eq!(rows, [8192, 10_000 - 8192]);
        drop(stopper);
    }

    /// Of 9 MB of texts. Where the sort gets slices, or what a projection makes of slices, 89 MB and more are charged.
    #[tokio::test]
    async fn a_sort_is_charged_for_its_rows_once_whatever_functions_stand_there() {
        const ROWS: usize = 10 * 8192;
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..ROWS).map(|row| format!("{row:0100}"))));
        let batch = RecordBatch::try_from_iter([("x", texts)]).unwrap();
        let batches = (0..10).map(|nth| batch.slice(nth * 8192, 8192)).collect::<Vec<_>>();
        // Each with memory of its own, as a scan has them.
        let all = UInt32Array::from_iter_values(0..8192);
        let owned = batches.iter().map(|batch| arrow::compute::take_record_batch(batch, &all));
        let owned = owned.collect::<Result<Vec<_>, _>>().unwrap();
        for sql in ["SELECT x FROM t ORDER BY reverse(x)", "SELECT reverse(x) AS y, x FROM t ORDER BY y"] {
            let env = RuntimeEnvBuilder::new()
                .with_memory_pool(Arc::new(GreedyMemoryPool::new(80 << 20)))
                .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
                .build_arc()
                .unwrap();
            let config = SessionConfig::new().with_target_partitions(1);
            let session = SessionContext::new_with_config_rt(config, env);
            let table = MemTable::try_new(batch.schema(), vec![owned.clone()]).unwrap();
            session.register_table("t", Arc::new(table)).unwrap();
            let plan = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
            let (watch, stopper) = watch();
            let plan = watched(plan, &watch).unwrap();
            let text = displayable(plan.as_ref()).indent(false).to_string();
            let sorted: Vec<_> = execute_stream(plan, session.task_ctx()).unwrap().collect().await;
            let sorted: Vec<RecordBatch> =
                sorted.into_iter().map(|batch| batch.unwrap_or_else(|error| panic!("{error}\n{text}"))).collect();
            assert_eq!(sorted.iter().map(RecordBatch::num_rows).sum::<usize>(), ROWS, "{text}");
            let first = sorted[0].column_by_name("x").unwrap();
            assert_eq!(first.as_string::<i32>().value(0), format!("{:0100}", 0), "{text}");
            drop(stopper);
        }
    }

    /// Neither a join that makes more and more rows nor one that makes none: both give way, and end when they are told to.
    #[tokio::test]
    async fn a_join_that_would_take_for_ever_gives_way_and_ends_when_it_is_stopped() {
        for join in [
            format!("SELECT count(*) FROM {LEFT} CROSS JOIN {RIGHT}"),
            format!("SELECT count(*) FROM {LEFT} JOIN {RIGHT} ON a + b < 0"),
            format!("SELECT count(*) FROM {LEFT} JOIN {RIGHT} ON a % 64 = b % 64 AND a + b < 0"),
        ] {
            let (session, plan) = plan_of(&join).await;
            let (watch, mut stopper) = watch();
            let plan = watched(plan, &watch).expect("watched");
            drop(watch);
            let mut rows = execute_stream(plan, session.task_ctx()).expect("runs");
            // On this one thread: were the join not to give way, the other branch would never be looked at again.
            let mut looked = 0;
            let stopped = loop {
                tokio::select! {
                    biased;
                    batch = rows.next() => break batch,
                    () = tokio::task::yield_now() => {
                        looked += 1;
                        if looked == 3 {
                            stopper.stop();
                        }
                    }
                }
            };
            let error = stopped.expect("an answer").expect_err("stopped");
            assert!(error.to_string().contains("the statement was stopped"), "{join}: {error}");
            drop(rows);
            stopper.gone().await;
        }
    }
}
