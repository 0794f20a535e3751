//! One operator over integers, as a function that fails instead of wrapping.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, Datum};
use arrow::compute::kernels::numeric::{add, div, mul, rem, sub};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

use super::cast::CheckedCast;
use super::nesting::Nesting;
use crate::error::Error;
use crate::sql::call::in_sql;

/// Whether a function is one of these, and so may fail for the values of a row.
pub fn is_checked(function: &ScalarUDF) -> bool {
    function.inner().is::<Checked>() || function.inner().is::<CheckedCast>()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Negate,
}

impl Operation {
    pub(super) fn of(operator: Operator) -> Option<Self> {
        Some(match operator {
            Operator::Plus => Operation::Add,
            Operator::Minus => Operation::Subtract,
            Operator::Multiply => Operation::Multiply,
            Operator::Divide => Operation::Divide,
            Operator::Modulo => Operation::Remainder,
            _ => return None,
        })
    }

    /// Whether values of these types could have a result that wraps, or none.
    pub(super) fn can_fail_on(self, types: &[DataType]) -> bool {
        match types {
            [inner] => inner.is_signed_integer(),
            [left, right] => left == right && left.is_integer(),
            _ => false,
        }
    }

    pub(super) fn operator(self) -> Operator {
        match self {
            Operation::Add => Operator::Plus,
            Operation::Subtract | Operation::Negate => Operator::Minus,
            Operation::Multiply => Operator::Multiply,
            Operation::Divide => Operator::Divide,
            Operation::Remainder => Operator::Modulo,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Operation::Add => "checked_add",
            Operation::Subtract => "checked_subtract",
            Operation::Multiply => "checked_multiply",
            Operation::Divide => "checked_divide",
            Operation::Remainder => "checked_remainder",
            Operation::Negate => "checked_negate",
        }
    }

    fn kernel(self) -> fn(&dyn Datum, &dyn Datum) -> Result<ArrayRef, ArrowError> {
        match self {
            Operation::Add => add,
            Operation::Subtract | Operation::Negate => sub,
            Operation::Multiply => mul,
            Operation::Divide => div,
            Operation::Remainder => rem,
        }
    }
}

/// See the file's first line. Internal: made by the analyzer's rule alone.
#[derive(Clone)]
pub(super) struct Checked {
    pub(super) operation: Operation,
    pub(super) data_type: DataType,
    pub(super) nesting: Nesting,
    /// The expression as messages show it.
    text: String,
    signature: Signature,
}

impl Checked {
    /// `text`: what it stands for, as messages show it. `data_type`: of its arguments and of its result.
    pub(super) fn new(operation: Operation, data_type: &DataType, text: String, arguments: &[&Expr]) -> Self {
        let signature = Signature::any(arguments.len(), Volatility::Immutable);
        let nesting = Nesting::of(operation, arguments);
        Checked { operation, data_type: data_type.clone(), nesting, text, signature }
    }

    pub(super) fn call(self, arguments: Vec<Expr>) -> Expr {
        ScalarUDF::new_from_impl(self).call(arguments)
    }

    /// The operator's own name, from those of its operands.
    fn named(&self, operands: impl Iterator<Item = String>) -> String {
        let operands: Vec<String> = operands.collect();
        match operands.as_slice() {
            [inner] => format!("(- {inner})"),
            [left, right] => format!("{left} {} {right}", self.operation.operator()),
            _ => self.text.clone(),
        }
    }

    /// The error of the first row that has one, with its values.
    fn explained(&self, error: ArrowError, left: &ColumnarValue, right: &ColumnarValue, rows: usize) -> Error {
        let known = matches!(error, ArrowError::DivideByZero | ArrowError::ArithmeticOverflow(_));
        let (true, Ok(left), Ok(right)) = (known, left.to_array(rows), right.to_array(rows)) else {
            return Error::from(error);
        };
        let kernel = self.operation.kernel();
        let failed = (0..rows).find(|row| kernel(&left.slice(*row, 1), &right.slice(*row, 1)).is_err());
        let values = failed.and_then(|row| {
            let value = |array: &ArrayRef| array_value_to_string(array, row).ok();
            Some((value(&left)?, value(&right)?))
        });
        let what = match &error {
            ArrowError::DivideByZero => format!("division by zero in \"{}\"", self.text),
            _ => format!("\"{}\" does not fit into {}", self.text, in_sql(&left.data_type().to_string())),
        };
        let described = Error::invalid(what).hint(match &error {
            ArrowError::DivideByZero => "write nullif(…, 0) for what it is divided by, to have NULL instead",
            _ => "compute with a wider type, as in CAST(… AS DECIMAL(38, 0))",
        });
        match values {
            None => described,
            Some((_, value)) if self.operation == Operation::Negate => described.detail(format!("-({value})")),
            Some((left, right)) => described.detail(format!("{left} {} {right}", self.operation.operator())),
        }
    }
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operation.name())
    }
}

// However it was written: the same operator over the same arguments is the same expression.
impl PartialEq for Checked {
    fn eq(&self, other: &Self) -> bool {
        self.operation == other.operation
    }
}

impl Eq for Checked {}

impl Hash for Checked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.operation.hash(state);
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        self.operation.name()
    }

    fn display_name(&self, arguments: &[Expr]) -> Result<String> {
        let spelled = || self.named(arguments.iter().map(Expr::to_string));
        Ok(self.nesting.name().unwrap_or_else(spelled))
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        let spelled = || self.named(arguments.iter().map(|argument| argument.schema_name().to_string()));
        Ok(self.nesting.name().unwrap_or_else(spelled))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        given.first().cloned().ok_or_else(|| Error::bug("an operator without operands").into())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let kernel = self.operation.kernel();
        let (left, right) = match args.args.as_slice() {
            [inner] => (&ColumnarValue::Scalar(ScalarValue::new_zero(&inner.data_type())?), inner),
            [left, right] => (left, right),
            _ => return Err(Error::bug("an operator takes one or two operands").into()),
        };
        apply(left, right, kernel).map_err(|error| match error {
            DataFusionError::ArrowError(error, _) => self.explained(*error, left, right, args.number_rows).into(),
            other => other,
        })
    }
}
