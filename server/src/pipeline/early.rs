//! From an operator's early results to rows of the view: what stands above the operator, evaluated so that a row that goes is seen to go.
//!
//! The plan itself drops what a condition does not let through. Of early results it has to be known, since an earlier one of the same key
//! may be shown. So their rows are taken through the same expressions here, and what falls out on the way becomes a row that is gone, be
//! it that a condition is not met or that an expression fails. Final rows take the plan's way, and say what an expression has against them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, filter, filter_record_batch, take};
use arrow::datatypes::{SchemaRef, UInt32Type};
use datafusion::common::cast::as_boolean_array;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;

use crate::changelog::early::EarlyForm;
use crate::error::{Error, ErrorKind, Result};
use crate::operator::contract::{EarlyRows, Operator};
use crate::operator::epoch_cell::Epoch;
use crate::operator::node::OperatorExec;
use crate::plan::{EarlyKey, EarlyPlan};
use crate::state::{Account, Rows, Spool, batch_of};

/// See the module's first lines.
#[derive(Debug)]
pub(super) struct EarlyStage {
    /// The operator's place among those of its query.
    pub(super) operator: usize,
    /// From the operator to the root.
    steps: Vec<Step>,
    key: Vec<EarlyKey>,
    pub(super) form: Arc<EarlyForm>,
}

#[derive(Debug)]
enum Step {
    Filter { predicate: Arc<dyn PhysicalExpr>, projection: Option<Vec<usize>> },
    Project { exprs: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef },
}

/// Rows, and the number that each had among those of the operator.
type Numbered = (RecordBatch, UInt32Array);

/// What becomes of the rows of one batch.
#[derive(Default)]
struct Judged {
    shown: Vec<RecordBatch>,
    gone: Vec<u32>,
}

impl EarlyStage {
    /// `root`: a plan of the query that runs in one partition, as DataFusion has made it.
    ///
    /// # Errors
    /// `Invalid` where something else stands above the operator than filters and projections.
    pub(super) fn try_new(
        plan: EarlyPlan,
        root: &Arc<dyn ExecutionPlan>,
        operators: &[Arc<dyn Operator>],
    ) -> Result<Self> {
        let operator = operators.iter().position(|operator| operator.id() == plan.operator);
        let operator = operator.ok_or_else(|| Error::bug(format!("operator {} has gone", plan.operator)))?;
        let form = EarlyForm::new(&root.schema(), plan.key.iter().map(|key| key.column).collect());
        let mut steps = Vec::new();
        let mut node = root;
        while !node.is::<OperatorExec>() {
            if let Some(filter) = node.downcast_ref::<FilterExec>().filter(|_| node.fetch().is_none()) {
                let projection = filter.projection().as_ref().map(|columns| columns.to_vec());
                steps.push(Step::Filter { predicate: Arc::clone(filter.predicate()), projection });
            } else if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
                let exprs = projection.expr().iter().map(|expr| Arc::clone(&expr.expr)).collect();
                steps.push(Step::Project { exprs, schema: node.schema() });
            } else if !only_moves_rows(node) {
                return Err(Error::invalid(format!("early results cannot go through {}", node.name()))
                    .hint("leave filters and expressions above the aggregate, and do the rest when reading the view"));
            }
            node = match node.children().as_slice() {
                [only] => *only,
                _ => return Err(Error::bug("early results go through a node of several inputs")),
            };
        }
        steps.reverse();
        Ok(EarlyStage { operator, steps, key: plan.key, form: Arc::new(form) })
    }

    /// The early rows of the epoch that has just been closed.
    pub(super) fn rows(&self, operator: &Arc<dyn Operator>, epoch: &Epoch, account: &Arc<Account>) -> Result<Rows> {
        let marks = epoch.marks_of(self.operator);
        let through = operator.final_through(&marks.iter().map(|mark| mark.close).collect::<Vec<_>>());
        let mut spool = Spool::new(account);
        for rows in Arc::clone(operator).early(marks, epoch)? {
            let EarlyRows { until, rows, computed } = rows?;
            let mut judged = Judged::default();
            let count = u32::try_from(rows.num_rows()).map_err(|_| Error::bug("batch of over 2^32 rows"))?;
            match computed {
                true => self.judge(0, (rows.clone(), UInt32Array::from_iter_values(0..count)), &mut judged)?,
                false => judged.gone.extend(0..count),
            }
            // What is final now replaces what is shown of it, but nothing replaces what has gone.
            if until > through {
                judged.shown.iter().try_for_each(|shown| spool.push(self.form.shown(shown, until)?))?;
            }
            if !judged.gone.is_empty() {
                judged.gone.sort_unstable();
                spool.push(self.form.gone(&self.keys(&rows, judged.gone.into())?, until)?)?;
            }
        }
        spool.finish()
    }

    /// Takes rows through the steps from `step` on.
    fn judge(&self, step: usize, (rows, numbers): Numbered, judged: &mut Judged) -> Result<()> {
        let count = rows.num_rows();
        let Some(next) = self.steps.get(step).filter(|_| count > 0) else {
            if count > 0 {
                judged.shown.push(rows);
            }
            return Ok(());
        };
        match next.apply(&rows) {
            Ok((rows, None)) => self.judge(step + 1, (rows, numbers), judged),
            Ok((rows, Some(passes))) => {
                let dropped = (0..count).filter(|row| !passes.value(*row)).map(|row| numbers.value(row));
                judged.gone.extend(dropped);
                let numbers = filter(&numbers, &passes)?.as_primitive::<UInt32Type>().clone();
                self.judge(step + 1, (rows, numbers), judged)
            }
            Err(error) if error.kind() != ErrorKind::Invalid => Err(error),
            Err(_) if count == 1 => {
                judged.gone.push(numbers.value(0));
                Ok(())
            }
            // As whole batches are evaluated, one row fails for all of them.
            Err(_) => {
                let half = count / 2;
                self.judge(step, (rows.slice(0, half), numbers.slice(0, half)), judged)?;
                self.judge(step, (rows.slice(half, count - half), numbers.slice(half, count - half)), judged)
            }
        }
    }

    /// The values of the key of some of the operator's rows.
    fn keys(&self, rows: &RecordBatch, numbers: UInt32Array) -> Result<Vec<ArrayRef>> {
        let value = |key: &EarlyKey| {
            let column = rows.column(key.from);
            let field = key.field.as_ref().map(|name| column.as_struct_opt()?.column_by_name(name));
            let column = match field {
                None => column,
                Some(Some(field)) => field,
                Some(None) => return Err(Error::bug(format!("column {} of early results is no window", key.name))),
            };
            let values = take(column, &numbers, None)?;
            let data_type = self.form.view().field(key.column).data_type();
            if values.data_type() == data_type { Ok(values) } else { Ok(cast(&values, data_type)?) }
        };
        self.key.iter().map(value).collect()
    }
}

fn only_moves_rows(node: &Arc<dyn ExecutionPlan>) -> bool {
    matches!(node.name(), "CoalesceBatchesExec" | "CoalescePartitionsExec" | "CooperativeExec" | "RepartitionExec")
}

impl Step {
    /// The rows that are left, and which these were; `None` where all are.
    fn apply(&self, rows: &RecordBatch) -> Result<(RecordBatch, Option<BooleanArray>)> {
        let count = rows.num_rows();
        match self {
            Step::Filter { predicate, projection } => {
                let passes = predicate.evaluate(rows)?.into_array(count)?;
                let passes = as_boolean_array(&passes)?;
                // What is not known does not pass.
                let passes: BooleanArray =
                    (0..count).map(|row| Some(passes.is_valid(row) && passes.value(row))).collect();
                let mut rows = filter_record_batch(rows, &passes)?;
                if let Some(columns) = projection {
                    rows = rows.project(columns)?;
                }
                Ok((rows, Some(passes)))
            }
            Step::Project { exprs, schema } => {
                let values = exprs.iter().map(|expr| Ok(expr.evaluate(rows)?.into_array(count)?));
                let columns = values.collect::<Result<Vec<_>>>()?;
                Ok((batch_of(Arc::clone(schema), columns, count)?, None))
            }
        }
    }
}
