//! `a || b` as a function, which asks how much it will make; what it makes is what DataFusion's operator does.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::record_batch::RecordBatchOptions;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};

use super::bound::Bound;
use crate::error::Error;
use crate::sql::failed_value::JOINED;

/// Made by the analyzer's rule alone.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Joined {
    /// Of the result.
    data_type: DataType,
    signature: Signature,
}

impl Joined {
    pub(super) fn call(data_type: DataType, left: Expr, right: Expr) -> Expr {
        let signature = Signature::any(2, Volatility::Immutable);
        ScalarUDF::new_from_impl(Joined { data_type, signature }).call(vec![left, right])
    }
}

impl ScalarUDFImpl for Joined {
    fn name(&self) -> &str {
        "joined_text"
    }

    fn display_name(&self, operands: &[Expr]) -> Result<String> {
        Ok(operands.iter().map(Expr::to_string).collect::<Vec<_>>().join(" || "))
    }

    fn schema_name(&self, operands: &[Expr]) -> Result<String> {
        let names: Vec<String> = operands.iter().map(|operand| operand.schema_name().to_string()).collect();
        Ok(names.join(" || "))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.data_type.clone(), nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Bound::Inputs.check(JOINED, &args.args, args.number_rows)?;
        let is_constant = args.args.iter().all(|operand| matches!(operand, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let (mut fields, mut columns, mut operands) = (Vec::new(), Vec::new(), Vec::new());
        for operand in args.args {
            let operand: Arc<dyn PhysicalExpr> = match operand {
                ColumnarValue::Scalar(value) => Arc::new(Literal::new(value)),
                ColumnarValue::Array(values) => {
                    let at = columns.len();
                    fields.push(Field::new("text", values.data_type().clone(), true));
                    columns.push(values);
                    Arc::new(Column::new("text", at))
                }
            };
            operands.push(operand);
        }
        let (Some(right), Some(left), true) = (operands.pop(), operands.pop(), operands.is_empty()) else {
            return Err(Error::bug("|| of other than two texts").into());
        };
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?;
        let joined = BinaryExpr::new(left, Operator::StringConcat, right).evaluate(&batch)?;
        match joined {
            ColumnarValue::Array(values) if is_constant => {
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?))
            }
            joined => Ok(joined),
        }
    }
}
