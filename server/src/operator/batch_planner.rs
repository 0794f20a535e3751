//! How plans over input that ends become physical: as DataFusion does it, and beside that the nodes of ours that are run once.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::error::Result;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use super::asof::batch;
use crate::sql::AsOfJoinNode;

/// See the module's first line. For every session in which a query may be run once.
pub fn batch_planner() -> Arc<dyn QueryPlanner + Send + Sync> {
    Arc::new(BatchPlanner)
}

#[derive(Debug)]
struct BatchPlanner;

#[async_trait]
impl QueryPlanner for BatchPlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(BatchPlanner)]);
        planner.create_physical_plan(plan, session).await
    }
}

#[async_trait]
impl ExtensionPlanner for BatchPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        Ok(over_what_ends(node, inputs)?)
    }
}

/// The physical node of one of ours over inputs that end; `None` for any other.
pub(super) fn over_what_ends(
    node: &dyn UserDefinedLogicalNode,
    inputs: &[Arc<dyn ExecutionPlan>],
) -> crate::error::Result<Option<Arc<dyn ExecutionPlan>>> {
    match node.as_any().downcast_ref::<AsOfJoinNode>() {
        Some(join) => batch::lower(join, inputs).map(Some),
        None => Ok(None),
    }
}
