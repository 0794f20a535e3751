//! What OVER within a window becomes: the columns that are kept of a row, and the nodes below the operator.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_planner::create_window_expr_with_name;
use parking_lot::Mutex;

use super::operator::OverOperator;
use super::plan::WindowPlan;
use crate::error::{Error, Result};
use crate::operator::contract::Operator;
use crate::operator::epoch_cell::EpochCell;
use crate::operator::logical::{ByPanes, Definition, EVENT_TIME, Lowering, OperatorNode, ROW};
use crate::operator::window::panes::Windows;
use crate::operator::window::ties::{one_row_a_place, place_of};
use crate::operator::window::{LateGateExec, PANE};

/// Calls of OVER within windows. Its expressions: the pane, a column of the input, which is the end of a row's window; the keys, by which
/// the partitions of all calls fall apart within a window; the calls.
///
/// Of the input it emits all columns but the hidden ones, and behind them one for each call.
#[derive(Debug)]
pub struct Over {
    windows: Windows,
    /// How many of the expressions are keys.
    keys: usize,
    /// The same as the node's, in its own type.
    operator: Mutex<Option<Arc<OverOperator>>>,
}

impl Over {
    pub fn new(windows: Windows, keys: usize) -> Self {
        Over { windows, keys, operator: Mutex::new(None) }
    }
}

#[async_trait]
impl Definition for Over {
    fn describe(&self, node: &OperatorNode) -> String {
        format!("windows={}, {}", self.windows.kind, node.by_panes_described(self.keys, "over"))
    }

    fn create(&self, id: &str, schema: SchemaRef) -> Arc<dyn Operator> {
        let operator = Arc::new(OverOperator::new(id.to_owned(), self.windows, schema));
        *self.operator.lock() = Some(Arc::clone(&operator));
        operator
    }

    async fn lower(
        &self,
        node: &OperatorNode,
        operator: &Arc<dyn Operator>,
        index: usize,
        context: Lowering<'_>,
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let ByPanes { pane, keys, calls } = node.by_panes(self.keys)?;
        let (input, logical) = (&context.inputs[0], context.logical[0]);
        let pane = context.expr(pane, logical.schema())?;
        let mut kept = Kept::default();
        keys.iter().for_each(|key| _ = kept.place_of(key));
        let keys = kept.0.len();
        let hidden = |column: &Column| [PANE, EVENT_TIME, ROW].contains(&column.name());
        let shown = logical.schema().columns().into_iter().filter(|column| !hidden(column));
        let shown: Vec<Expr> = shown.map(Expr::Column).collect();
        let places: Vec<usize> = shown.iter().map(|column| kept.place_of(column)).collect();
        let calls: Vec<Call> = calls.iter().map(|call| kept.over(call)).collect::<Result<_>>()?;
        let ties = ties(&shown, logical, context.cell)?;
        let ties: Vec<usize> = ties.iter().map(|term| kept.place_of(term)).collect();

        // What computes arguments stands above the gate: it is not asked of what is late.
        let (own, cell) = (Arc::clone(operator), Arc::clone(context.cell));
        let gate = LateGateExec::try_new(Arc::clone(input), &pane, own, self.windows, index, cell)?;
        let mut columns = vec![(pane, PANE.to_owned())];
        for expr in &kept.0 {
            columns.push((context.expr(expr, logical.schema())?, name_of(expr)));
        }
        let rows = ProjectionExec::try_new(columns, Arc::new(gate))?;
        let fields = rows.schema().fields().iter().skip(1).cloned().collect::<Vec<_>>();
        let operator = self.operator.lock().clone();
        let operator = operator.ok_or_else(|| Error::bug("OVER was planned before it was made"))?;
        // Every plan says the same.
        if !operator.is_planned() {
            let plan = planned(Arc::new(Schema::new(fields)), &calls, &ties, &context)?;
            operator.set_plan(plan, keys, places);
        }
        Ok(vec![Arc::new(rows)])
    }
}

fn planned(rows: SchemaRef, calls: &[Call], ties: &[usize], context: &Lowering<'_>) -> Result<WindowPlan> {
    let fields = rows.fields().iter().enumerate().map(|(at, field)| (Some(qualifier(at)), Arc::clone(field)));
    let schema = DFSchema::new_with_metadata(fields.collect(), Default::default())?;
    let properties = context.session.execution_props();
    let calls = calls.iter().map(|Call { name, expr }| {
        Ok(create_window_expr_with_name(expr, name.clone(), &schema, properties, context.context)?)
    });
    WindowPlan::try_new(rows, calls.collect::<Result<_>>()?, ties)
}

/// What tells the rows of a window apart: where they were read, and where that is not known, or one was read and several were made
/// of it, all that they say.
fn ties(shown: &[Expr], input: &LogicalPlan, cell: &Arc<EpochCell>) -> Result<Vec<Expr>> {
    let row = input.schema().columns().into_iter().find(|column| column.name() == ROW);
    // A union may read one table twice.
    let united = input.exists(|node| Ok(matches!(node, LogicalPlan::Union(_))))?;
    let one_a_place = row.is_some() && !united && one_row_a_place(input)?;
    let place = row.map(|row| place_of(row, cell));
    Ok(place.into_iter().chain(shown.iter().filter(|_| !one_a_place).cloned()).collect())
}

/// The columns that are kept of a row, each once, as expressions over the input.
#[derive(Default)]
struct Kept(Vec<Expr>);

/// A call over the columns that are kept.
struct Call {
    /// As it was written, for messages.
    name: String,
    expr: Expr,
}

impl Kept {
    fn place_of(&mut self, expr: &Expr) -> usize {
        let expr = expr.clone().unalias();
        self.0.iter().position(|kept| *kept == expr).unwrap_or_else(|| {
            self.0.push(expr);
            self.0.len() - 1
        })
    }

    fn column(&mut self, expr: &Expr) -> Expr {
        let at = self.place_of(expr);
        Expr::Column(Column::new(Some(qualifier(at)), name_of(&self.0[at])))
    }

    /// Whatever a call computes of a single row is computed when that comes, and is a column for the call: a row that an expression cannot
    /// take is found then, with its origin. Literals stay: some functions take nothing else.
    fn over(&mut self, call: &Expr) -> Result<Call> {
        let Expr::WindowFunction(mut call) = call.clone().unalias() else {
            return Err(Error::bug(format!("{call} is no call of OVER")));
        };
        let name = Expr::WindowFunction(call.clone()).schema_name().to_string();
        let params = &mut call.params;
        for arg in params.args.iter_mut().filter(|arg| !matches!(arg, Expr::Literal(..))) {
            *arg = self.column(arg);
        }
        let mut partition: Vec<Expr> = Vec::new();
        for expr in &params.partition_by {
            let column = self.column(expr);
            if !partition.contains(&column) {
                partition.push(column);
            }
        }
        params.partition_by = partition;
        params.order_by.iter_mut().for_each(|term| term.expr = self.column(&term.expr));
        params.filter = params.filter.take().map(|filter| Box::new(self.column(&filter)));
        Ok(Call { name, expr: Expr::WindowFunction(call) })
    }
}

/// Columns of one name may come from several tables.
fn qualifier(at: usize) -> TableReference {
    TableReference::bare(format!("c{at}"))
}

fn name_of(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => column.name.clone(),
        other => other.schema_name().to_string(),
    }
}
