//! A query over what ends, run once; and where an expression fails once more, without the rows that it cannot take.
//!
//! Rows carry no number here, so nobody can say of which records they were made: they are left out where they are found.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast;
use futures::TryStreamExt;

use super::failure::ExpressionPlaces;
use super::isolation::without_origin;
use super::plan::Tables;
use crate::catalog::{OnBadRow, ViewDef};
use crate::error::{ErrorKind, Result};
use crate::operator::epoch_cell::{Epoch, EpochCell};
use crate::operator::isolate::isolating;
use crate::source::DeadLetter;
use crate::sql::explained;
use crate::state::{Account, Rows, Spool};

/// What a query has given.
#[derive(Debug)]
pub struct BatchOutput {
    pub rows: Rows,
    /// Rows that an expression cannot take; of none is it known where it was read.
    pub bad: Vec<DeadLetter>,
}

/// Runs the plan of a query that [`super::Planned::Batch`] holds. `on_bad_row`: `Fail` where one of the tables that it reads says so.
///
/// # Errors
/// The first of the run as a whole, with the place of the expression: by `on_bad_row`, or where no single row is to blame.
pub async fn run_batch(
    view: &ViewDef,
    context: &SessionContext,
    plan: &LogicalPlan,
    tables: &dyn Tables,
    on_bad_row: OnBadRow,
    account: &Arc<Account>,
) -> Result<BatchOutput> {
    let state = context.state();
    let as_a_whole = async {
        let plan = state.create_physical_plan(plan).await?;
        collected(plan, context.task_ctx(), account).await
    };
    let error = match as_a_whole.await {
        Ok(rows) => return Ok(BatchOutput { rows, bad: vec![] }),
        Err(error) => error,
    };
    let statement = DfStatement::Statement(Box::new(ast::Statement::Query(view.query.clone())));
    let places = ExpressionPlaces::of(view, tables);
    let error = places.locate(explained(error, &statement, &state, &view.location).await);
    if error.kind() != ErrorKind::Invalid || on_bad_row == OnBadRow::Fail {
        return Err(error);
    }
    let cell = Arc::new(EpochCell::default());
    let epoch = cell.enter(Epoch::default().without(BTreeSet::new()));
    let isolated = async {
        // Planned anew: a plan runs once, its joins and limits keep what they have seen.
        let plan = state.create_physical_plan(plan).await?;
        collected(isolating(&plan, &cell)?, context.task_ctx(), account).await
    };
    match isolated.await {
        Ok(rows) => {
            let bad = epoch.effects.take_bad().into_iter().map(|row| without_origin(row, &places));
            Ok(BatchOutput { rows, bad: bad.collect() })
        }
        // What is not evaluated row by row, like a sum, fails again; its first words are as good as its last.
        Err(_) => Err(error),
    }
}

/// The rows of one run; none of them is seen before the last of them is there.
async fn collected(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    account: &Arc<Account>,
) -> datafusion::error::Result<Rows> {
    let mut spool = Spool::new(account);
    let mut batches = execute_stream(plan, context)?;
    while let Some(batch) = batches.try_next().await? {
        spool.push(batch)?;
    }
    Ok(spool.finish()?)
}
