//! A physical plan that runs again and again: each epoch gets a fresh instance over the same operator state.
//!
//! Only nodes known to be right under that are let in. DataFusion would run any other just as well, once per epoch and
//! without a word: an aggregate without state, a sort of 5 ms of data, a join that forgets.

use std::fmt;
use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, SendableRecordBatchStream, displayable};
use futures::TryStreamExt;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::source_exec::EpochSourceExec;
use super::subqueries::Values;
use crate::error::{Error, Result};
use crate::operator::epoch_cell::EpochCell;
use crate::operator::instance::instance_of;
use crate::operator::isolate::isolating;
use crate::operator::node::OperatorExec;
use crate::operator::project::unrecorded;
use crate::state::{Account, Rows, Spool};

/// A checked plan. Never executed itself.
pub(super) struct Template {
    plan: Arc<dyn ExecutionPlan>,
    /// Of its subqueries, if it has any.
    values: Option<Values>,
    drains: usize,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", displayable(self.plan.as_ref()).indent(false))
    }
}

impl Template {
    /// # Errors
    /// `Invalid` where a node is not known to be right over a stream.
    pub(super) fn try_new(plan: Arc<dyn ExecutionPlan>, values: Option<Values>) -> Result<Self> {
        admit(&plan, false)?;
        let (plan, drains) = (unrecorded(&plan)?, drains(&plan));
        Ok(Template { plan, values, drains })
    }

    /// A template that leaves the rows out that an expression cannot take.
    ///
    /// # Errors
    /// As for [`Template::try_new`].
    pub(super) fn isolating(
        plan: Arc<dyn ExecutionPlan>,
        values: Option<Values>,
        cell: &Arc<EpochCell>,
    ) -> Result<Self> {
        admit(&plan, false)?;
        let (plan, drains) = (isolating(&plan, cell)?, drains(&plan));
        Ok(Template { plan, values, drains })
    }

    /// Inputs that every run reports as read to their end: partitions of leaves and of stateful operators.
    pub(super) fn drains(&self) -> usize {
        self.drains
    }

    /// Reads the subqueries that its expressions hold the values of, unless they have been read.
    pub(super) async fn fill(&self, context: &Arc<TaskContext>) -> Result<()> {
        match &self.values {
            Some(values) => values.fill(context).await,
            None => Ok(()),
        }
    }

    /// The rows of one run: in memory, or on local disk where `account` has no room for them.
    pub(super) async fn run(&self, context: &Arc<TaskContext>, account: &Arc<Account>) -> Result<Rows> {
        self.fill(context).await?;
        let plan = instance_of(&self.plan, None)?;
        let partitions = plan.output_partitioning().partition_count();
        if partitions == 1 {
            let mut spool = Spool::new(account);
            let mut rows = plan.execute(0, Arc::clone(context))?;
            while let Some(batch) = rows.try_next().await? {
                spool.push(batch)?;
            }
            return spool.finish();
        }
        let spool = Arc::new(Mutex::new(Spool::new(account)));
        let collect = |mut rows: SendableRecordBatchStream| {
            let spool = Arc::clone(&spool);
            async move {
                while let Some(batch) = rows.try_next().await? {
                    spool.lock().push(batch)?;
                }
                Ok::<_, Error>(())
            }
        };
        let mut tasks = JoinSet::new();
        for partition in 0..partitions {
            tasks.spawn(collect(plan.execute(partition, Arc::clone(context))?));
        }
        while let Some(done) = tasks.join_next().await {
            done.map_err(|error| Error::bug("an epoch's task ended early").caused_by(error))??;
        }
        let spool = std::mem::replace(&mut *spool.lock(), Spool::new(account));
        spool.finish()
    }
}

/// `fed`: the node feeds an operator directly, which knows what to make of it.
fn admit(node: &Arc<dyn ExecutionPlan>, fed: bool) -> Result<()> {
    let is_operator = node.is::<OperatorExec>();
    if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        if !fed || *aggregate.mode() != AggregateMode::Partial {
            return Err(refuse("an aggregate that would start anew with every epoch"));
        }
    } else if !(is_operator || node.is::<EpochSourceExec>() || stateless(node)) {
        return Err(refuse(&format!("{}, which would work on each epoch by itself", node.name())));
    }
    if node.fetch().is_some() {
        return Err(refuse("LIMIT, which would cut each epoch by itself"));
    }
    node.children().into_iter().try_for_each(|child| admit(child, is_operator))
}

fn stateless(node: &Arc<dyn ExecutionPlan>) -> bool {
    matches!(
        node.name(),
        "FilterExec"
            | "ProjectionExec"
            | "UnionExec"
            | "InterleaveExec"
            | "UnnestExec"
            | "CoalesceBatchesExec"
            | "CoalescePartitionsExec"
            | "CooperativeExec"
            | "RepartitionExec"
            // Without a limit a sort changes no row; it feeds aggregates that have an ORDER BY of their own.
            | "SortExec"
            | "EmptyExec"
            // Our own: one keeps nothing, the others belong to an operator above them.
            | "LookupJoinExec"
            | "LateGateExec"
            | "OnceExec"
            | "PlaceholderRowExec"
    )
}

fn refuse(what: &str) -> Error {
    Error::invalid(format!("the query needs {what}"))
        .hint("over a stream, group by a window of TUMBLE or HOP, or join a static table; ORDER BY and LIMIT belong into the query that reads the view")
}

fn drains(node: &Arc<dyn ExecutionPlan>) -> usize {
    let below: usize = node.children().into_iter().map(drains).sum();
    let own = if node.is::<EpochSourceExec>() {
        node.output_partitioning().partition_count()
    } else {
        node.downcast_ref::<OperatorExec>().map_or(0, OperatorExec::drains)
    };
    below + own
}

/// Every leaf and every windowed aggregate of a plan.
pub(super) fn visit(
    node: &Arc<dyn ExecutionPlan>,
    each: &mut dyn FnMut(&Arc<dyn ExecutionPlan>) -> Result<()>,
) -> Result<()> {
    each(node)?;
    node.children().into_iter().try_for_each(|child| visit(child, each))
}
