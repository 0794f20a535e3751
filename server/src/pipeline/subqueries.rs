//! Subqueries over static tables that stand for one value: each is read once, before the first epoch, and its value stays until the
//! tables are read again between two epochs.
//!
//! DataFusion puts one node over a whole plan that reads them all, in every run anew. Here that node is taken off, and its values are
//! put where the plan looks for them.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::physical_planning_context::ScalarSubqueryResults;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::scalar_subquery::{ScalarSubqueryExec, ScalarSubqueryLink};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::TryStreamExt;
use parking_lot::RwLock;
use tokio::sync::{Mutex, OnceCell};

use crate::error::{Error, Result};
use crate::operator::static_side::{Replace, StaticSide, tables_of_subqueries};

/// The subqueries of a query, which all of its plans have in common.
#[derive(Debug, Default)]
pub(super) struct Subqueries {
    values: RwLock<Version>,
}

/// The values of one reading, once they are read.
type Version = Arc<OnceCell<Vec<ScalarValue>>>;

/// Where one plan looks for the values.
#[derive(Debug)]
pub(super) struct Values {
    subqueries: Arc<Subqueries>,
    /// As this plan would read them.
    links: Vec<ScalarSubqueryLink>,
    results: ScalarSubqueryResults,
    /// The version that lies there.
    filled: Mutex<Option<Version>>,
}

impl Subqueries {
    /// A plan without its subqueries, and where it looks for their values. Every plan of the query has the same ones in the same order.
    pub(super) fn taken_off(
        self: &Arc<Self>,
        plan: Arc<dyn ExecutionPlan>,
    ) -> (Arc<dyn ExecutionPlan>, Option<Values>) {
        let Some(root) = plan.downcast_ref::<ScalarSubqueryExec>() else { return (plan, None) };
        let values = Values {
            subqueries: Arc::clone(self),
            links: root.subqueries().to_vec(),
            results: root.results().clone(),
            filled: Mutex::default(),
        };
        (Arc::clone(root.input()), Some(values))
    }
}

impl Values {
    /// Puts the values in their places, if they are not there yet.
    ///
    /// # Errors
    /// `Invalid` where a subquery has more than one row. A read that fails is tried again by the next epoch.
    pub(super) async fn fill(&self, context: &Arc<TaskContext>) -> Result<()> {
        let version: Version = Arc::clone(&self.subqueries.values.read());
        let mut filled = self.filled.lock().await;
        if filled.as_ref().is_some_and(|filled| Arc::ptr_eq(filled, &version)) {
            return Ok(());
        }
        let values = version.get_or_try_init(|| read(&self.links, context)).await?;
        self.results.clear();
        for (link, value) in self.links.iter().zip(values) {
            self.results.set(link.index, value.clone())?;
        }
        *filled = Some(Arc::clone(&version));
        Ok(())
    }

    /// The subqueries as something that can be read again. `plan`: the query's, in which they stand.
    pub(super) fn side(&self, plan: &LogicalPlan) -> Arc<dyn StaticSide> {
        let subqueries = Arc::clone(&self.subqueries);
        Arc::new(Side { subqueries, links: self.links.clone(), tables: tables_of_subqueries(plan, |_| false) })
    }
}

/// See [`Values::side`].
#[derive(Debug)]
struct Side {
    subqueries: Arc<Subqueries>,
    links: Vec<ScalarSubqueryLink>,
    tables: BTreeSet<String>,
}

#[async_trait]
impl StaticSide for Side {
    fn tables(&self) -> &BTreeSet<String> {
        &self.tables
    }

    async fn read(self: Arc<Self>, context: &Arc<TaskContext>) -> Result<Replace> {
        let values = read(&self.links, context).await?;
        Ok(Box::new(move || *self.subqueries.values.write() = Arc::new(OnceCell::new_with(Some(values)))))
    }
}

async fn read(links: &[ScalarSubqueryLink], context: &Arc<TaskContext>) -> Result<Vec<ScalarValue>> {
    let mut values = Vec::with_capacity(links.len());
    for link in links {
        // A fresh instance: a read that failed has used the last one up.
        values.push(value(reset_plan_states(Arc::clone(&link.plan))?, context).await?);
    }
    Ok(values)
}

/// NULL where there is no row.
async fn value(plan: Arc<dyn ExecutionPlan>, context: &Arc<TaskContext>) -> Result<ScalarValue> {
    let schema: SchemaRef = plan.schema();
    let mut rows = execute_stream(plan, Arc::clone(context))?;
    let mut value = None;
    while let Some(batch) = rows.try_next().await? {
        if batch.num_rows() + usize::from(value.is_some()) > 1 {
            return Err(Error::invalid(format!(
                "the subquery for \"{}\" has more than one row where it stands for one value",
                schema.field(0).name()
            ))
            .hint("aggregate in it, as (SELECT max(x) FROM t), or ask for its first row by ORDER BY and LIMIT 1"));
        }
        if batch.num_rows() == 1 {
            value = Some(ScalarValue::try_from_array(batch.column(0), 0)?);
        }
    }
    match value {
        Some(value) => Ok(value),
        None => Ok(ScalarValue::try_from(schema.field(0).data_type())?),
    }
}
