//! Long constants of a plan, which DataFusion writes out for each row of a batch: 1 MB of text is 8 GB of 8,192 rows.
//!
//! Only what is written out is looked at. A constant that is compared with a column, or is a function's argument, is not.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::measure::{bytes_of_scalar, count};
use super::{BATCH_BYTES_MAX, Unit};
use crate::error::Error;
use crate::sql::BATCH_ROWS;

/// Functions that write out their arguments. Those with a bound count them by themselves.
const WRITING_OUT: [&str; 8] = ["coalesce", "greatest", "least", "named_struct", "nullif", "nvl", "nvl2", "struct"];

/// Puts a function around each such constant, which knows of how many rows it is. The last rule, since folding undoes it.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct LargeConstants;

impl OptimizerRule for LargeConstants {
    fn name(&self) -> &str {
        "large_constants"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match plan {
            plan @ (LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_)) => plan.map_expressions(measured),
            plan => Ok(Transformed::no(plan)),
        }
    }
}

fn measured(mut expr: Expr) -> Result<Transformed<Expr>> {
    if measure(&mut expr) {
        return Ok(Transformed::yes(expr));
    }
    expr.transform_down(|mut part| {
        let mut changed = false;
        match &mut part {
            Expr::Alias(alias) => changed |= measure(&mut alias.expr),
            Expr::Case(case) => {
                for (_, then) in &mut case.when_then_expr {
                    changed |= measure(then);
                }
                if let Some(otherwise) = &mut case.else_expr {
                    changed |= measure(otherwise);
                }
            }
            Expr::AggregateFunction(call) => {
                for argument in &mut call.params.args {
                    changed |= measure(argument);
                }
            }
            Expr::ScalarFunction(call) if WRITING_OUT.contains(&call.func.name()) => {
                for argument in &mut call.args {
                    changed |= measure(argument);
                }
            }
            _ => {}
        }
        Ok(if changed { Transformed::yes(part) } else { Transformed::no(part) })
    })
}

/// Whether the expression was a long constant, and is the function now.
fn measure(expr: &mut Expr) -> bool {
    let is_large = match expr {
        Expr::Literal(value, _) => {
            bytes_of_scalar(value).is_ok_and(|bytes| bytes > BATCH_BYTES_MAX / count(BATCH_ROWS))
        }
        _ => false,
    };
    if is_large {
        let literal = std::mem::replace(expr, Expr::Literal(ScalarValue::Null, None));
        let function = Constant { signature: Signature::any(1, Volatility::Immutable) };
        *expr = ScalarUDF::new_from_impl(function).call(vec![literal]);
    }
    is_large
}

/// Its argument, unless that is too long to be written out for all rows. Under the argument's name.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    signature: Signature,
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        "long_constant"
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.iter().map(Expr::to_string).collect())
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.iter().map(|argument| argument.schema_name().to_string()).collect())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        given.first().cloned().ok_or_else(|| Error::bug("a constant that is none").into())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields.first() {
            Some(field) => Ok(Arc::new(field.as_ref().clone().with_name(self.name()))),
            None => Err(Error::bug("a constant that is none").into()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let Some(constant) = args.args.into_iter().next() else {
            return Err(Error::bug("a constant that is none").into());
        };
        if let ColumnarValue::Scalar(value) = &constant {
            Unit::Bytes.check_batch("a constant", bytes_of_scalar(value)?.saturating_mul(count(rows)), rows)?;
        }
        Ok(constant)
    }
}
