//! A plan that looks up from its work: it ends at the next batch once its statement is stopped, and lets others run meanwhile.
//!
//! DataFusion's nodes give way where their leaves do, every 128 batches. A join makes any number of batches of one of its leaf's, and
//! a function any amount of work of one batch. So leaves, joins and sorts are watched, what stands below functions comes in
//! slices, and the conditions of joins look at the flag themselves, since one that is never true makes no batch at all.

use std::convert::Infallible;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};
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
    Ok(over(plan, usize::MAX, watch))
}

fn within(plan: Arc<dyn ExecutionPlan>, watch: &Arc<Watch>) -> Result<Arc<dyn ExecutionPlan>> {
    let probe_rows_max = match plan.downcast_ref::<HashJoinExec>() {
        Some(join) if join.filter().is_some() => HASH_JOIN_ROWS_MAX,
        None if plan.is::<NestedLoopJoinExec>() => NESTED_LOOP_ROWS_MAX,
        _ => usize::MAX,
    };
    let rows_max = if calls_functions(&plan)? { FUNCTION_ROWS_MAX } else { usize::MAX };
    let mut children = Vec::new();
    for (nth, child) in plan.children().into_iter().enumerate() {
        let rows_max = match nth {
            _ if keeps_what_it_gets(plan.as_ref(), nth) => usize::MAX,
            1 => rows_max.min(probe_rows_max),
            _ => rows_max,
        };
        let may_go_on_for_long = goes_on_for_long(child.as_ref());
        let child = within(Arc::clone(child), watch)?;
        children.push(match may_go_on_for_long || rows_max < usize::MAX {
            true => over(child, rows_max, watch),
            false => child,
        });
    }
    let plan = match children.is_empty() {
        true => plan,
        false => plan.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?,
    };
    with_watched_condition(plan, watch)
}

fn over(input: Arc<dyn ExecutionPlan>, rows_max: usize, watch: &Arc<Watch>) -> Arc<dyn ExecutionPlan> {
    Arc::new(WatchedExec { input, rows_max, watch: Arc::clone(watch) })
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

/// Passes batches on, in slices.
#[derive(Debug)]
struct WatchedExec {
    input: Arc<dyn ExecutionPlan>,
    rows_max: usize,
    watch: Arc<Watch>,
}

impl DisplayAs for WatchedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rows_max {
            usize::MAX => f.write_str("WatchedExec"),
            rows_max => write!(f, "WatchedExec: rows={rows_max}"),
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
        Ok(over(input, self.rows_max, &self.watch))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        Ok(Box::pin(Watched {
            input,
            rest: None,
            rows_max: self.rows_max,
            watch: Arc::clone(&self.watch),
            gave_way: Instant::now(),
        }))
    }
}

struct Watched {
    input: SendableRecordBatchStream,
    /// What is left of a batch of which slices are passed on.
    rest: Option<RecordBatch>,
    rows_max: usize,
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
        assert_eq!(rows.iter().sum::<usize>(), 10_000);
        assert!(rows.iter().all(|rows| *rows <= FUNCTION_ROWS_MAX), "{rows:?}");
        drop(stopper);
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
