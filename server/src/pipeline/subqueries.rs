//! Subqueries over static tables that stand for one value: each is read once, before the first epoch, and its value stays.
//!
//! DataFusion puts one node over a whole plan that reads them all, in every run anew. Here that node is taken off, and its values are
//! put where the plan looks for them.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::physical_planning_context::ScalarSubqueryResults;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::scalar_subquery::{ScalarSubqueryExec, ScalarSubqueryLink};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::TryStreamExt;
use tokio::sync::OnceCell;

use crate::error::{Error, Result};

/// The subqueries of a query, which all of its plans have in common.
#[derive(Debug, Default)]
pub(super) struct Subqueries {
    values: OnceCell<Vec<ScalarValue>>,
}

/// Where one plan looks for the values.
#[derive(Debug)]
pub(super) struct Values {
    subqueries: Arc<Subqueries>,
    /// As this plan would read them.
    links: Vec<ScalarSubqueryLink>,
    results: ScalarSubqueryResults,
    filled: OnceCell<()>,
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
            filled: OnceCell::new(),
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
        let filled = self.filled.get_or_try_init(|| async {
            let values = self.subqueries.values.get_or_try_init(|| read(&self.links, context)).await?;
            for (link, value) in self.links.iter().zip(values) {
                self.results.set(link.index, value.clone())?;
            }
            Ok::<_, Error>(())
        });
        filled.await.copied()
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
