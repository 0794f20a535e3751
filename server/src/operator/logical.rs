//! The logical node of any stateful operator: what the plan derivation puts in, and the optimizer carries along.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::PhysicalPlanner;

use super::contract::Operator;
use super::epoch_cell::EpochCell;
use crate::catalog::EarlyWhen;
use crate::error::Error;

/// Name of the hidden column that says where a row was read: see [`super::epoch_cell::RowId`]. NULL for rows that were not read.
pub const ROW: &str = "__row";
/// Name of the hidden column that repeats the event time of rows that an operator made.
pub const EVENT_TIME: &str = "__event_time";

/// The field of [`ROW`].
pub fn row_field() -> Field {
    Field::new(ROW, DataType::Int64, true)
}

/// An operator that also emits results before they are final.
#[derive(Debug)]
pub struct EarlyDefinition {
    pub definition: Arc<dyn Definition>,
    /// What each column of its rows says of the row that it replaces.
    pub columns: Vec<Names>,
    /// Several windows begin at one time: their start does not tell them apart.
    pub begin_together: bool,
}

/// What a column names of a row that replaces the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// The start of its window.
    WindowStart,
    /// End or last tick of its window.
    Window,
    /// Its window, as a struct of start and end.
    WindowStruct,
    /// One of its keys, which are numbered from 0.
    Key(usize),
    /// Nothing: it is a result.
    Value,
}

/// What one kind of operator needs to become physical.
#[async_trait]
pub trait Definition: fmt::Debug + Send + Sync {
    /// One line for EXPLAIN: what it does, without its state.
    fn describe(&self, node: &OperatorNode) -> String;

    /// The same operator made to emit results before they are final, too; `None` for one that has none before.
    fn emitting_early(&self, _when: EarlyWhen) -> Option<EarlyDefinition> {
        None
    }

    /// The operator itself, with empty state: one of each, whichever plans are made over it.
    fn create(&self, id: &str, schema: SchemaRef) -> Arc<dyn Operator>;

    /// What has to stand below the physical node in one plan, one child for each input: the inputs themselves, or DataFusion's
    /// nodes over them that reduce what the operator takes. The index is the operator's place among those of its query.
    async fn lower(
        &self,
        _node: &OperatorNode,
        _operator: &Arc<dyn Operator>,
        _index: usize,
        context: Lowering<'_>,
    ) -> crate::error::Result<Vec<Arc<dyn ExecutionPlan>>> {
        Ok(context.inputs.to_vec())
    }
}

/// Where a logical node becomes physical.
pub struct Lowering<'a> {
    pub planner: &'a dyn PhysicalPlanner,
    /// Of the plan that is being made.
    pub session: &'a dyn Session,
    /// Of what is planned once for all plans, and runs once.
    pub static_session: &'a dyn Session,
    pub context: &'a PhysicalPlanningContext,
    pub logical: &'a [&'a LogicalPlan],
    pub inputs: &'a [Arc<dyn ExecutionPlan>],
    pub cell: &'a Arc<EpochCell>,
}

impl Lowering<'_> {
    /// An expression over the columns of an input.
    pub fn expr(&self, expr: &Expr, input: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        self.planner.create_physical_expr(expr, input, self.session, self.context)
    }
}

impl fmt::Debug for Lowering<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lowering({} inputs)", self.inputs.len())
    }
}

/// See the module's first line.
#[derive(Debug, Clone)]
pub struct OperatorNode {
    /// Names the operator's state in checkpoints.
    pub id: String,
    pub inputs: Vec<LogicalPlan>,
    /// Over the inputs; what each is for is the definition's.
    pub exprs: Vec<Expr>,
    pub schema: DFSchemaRef,
    pub definition: Arc<dyn Definition>,
}

/// The expressions of an operator over panes or windows.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByPanes<'a> {
    /// A column of the input.
    pub(super) pane: &'a Expr,
    pub(super) keys: &'a [Expr],
    /// What is computed of the rows of each key.
    pub(super) calls: &'a [Expr],
}

impl OperatorNode {
    /// Its expressions, so many of which are keys.
    pub(super) fn by_panes(&self, keys: usize) -> crate::error::Result<ByPanes<'_>> {
        let short = || Error::bug(format!("operator {} has lost some of its expressions", self.id));
        let (pane, rest) = self.exprs.split_first().ok_or_else(short)?;
        let (keys, calls) = rest.split_at_checked(keys).ok_or_else(short)?;
        Ok(ByPanes { pane, keys, calls })
    }

    /// What of that EXPLAIN shows. `what`: the calls are.
    pub(super) fn by_panes_described(&self, keys: usize, what: &str) -> String {
        let list = |exprs: &[Expr]| exprs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let (keys, calls) = self.by_panes(keys).map_or((&[][..], &[][..]), |parts| (parts.keys, parts.calls));
        format!("keys=[{}], {what}=[{}]", list(keys), list(calls))
    }
}

// The id stands for the definition: within one query no two operators share it.
impl PartialEq for OperatorNode {
    fn eq(&self, other: &Self) -> bool {
        (&self.id, &self.inputs, &self.exprs) == (&other.id, &other.inputs, &other.exprs)
    }
}

impl Eq for OperatorNode {}

impl Hash for OperatorNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.id, &self.inputs, &self.exprs).hash(state);
    }
}

impl PartialOrd for OperatorNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.id, &self.inputs, &self.exprs).partial_cmp(&(&other.id, &other.inputs, &other.exprs))
    }
}

impl UserDefinedLogicalNodeCore for OperatorNode {
    fn name(&self) -> &str {
        "StreamOperator"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.inputs.iter().collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.exprs.clone()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamOperator: {}, {}", self.id, self.definition.describe(self))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        Ok(OperatorNode { exprs, inputs, ..self.clone() })
    }
}
