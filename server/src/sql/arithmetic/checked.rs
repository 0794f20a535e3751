//! Operators over integers, as one function that fails instead of wrapping.
//!
//! `a + b - c` is one call and not two: a chain may have a thousand operators, and what is nested so deeply costs time and
//! stack wherever it is walked.

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

use super::text::operand;
use crate::error::Error;
use crate::sql::call::in_sql;

/// Operands of a chain that a message shows.
const SHOWN_MAX: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
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

    fn operator(self) -> Operator {
        match self {
            Operation::Add => Operator::Plus,
            Operation::Subtract => Operator::Minus,
            Operation::Multiply => Operator::Multiply,
            Operation::Divide => Operator::Divide,
            Operation::Remainder => Operator::Modulo,
        }
    }

    fn kernel(self) -> fn(&dyn Datum, &dyn Datum) -> Result<ArrayRef, ArrowError> {
        match self {
            Operation::Add => add,
            Operation::Subtract => sub,
            Operation::Multiply => mul,
            Operation::Divide => div,
            Operation::Remainder => rem,
        }
    }
}

/// The operand, then what is done with each further one, from left to right; or, with no operation, its negation.
/// Internal: made by the analyzer's rule alone.
#[derive(Clone)]
pub(super) struct Checked {
    operations: Vec<Operation>,
    /// The operands as messages show them.
    operands: Vec<String>,
    signature: Signature,
}

impl Checked {
    /// A call; all operands are of the same type of integers.
    pub(super) fn call(operations: Vec<Operation>, operands: Vec<Expr>) -> Expr {
        let texts = operands.iter().map(operand).collect();
        let signature = Signature::any(operands.len(), Volatility::Immutable);
        ScalarUDF::new_from_impl(Checked { operations, operands: texts, signature }).call(operands)
    }

    /// The whole as messages show it.
    pub(super) fn text(&self) -> String {
        self.joined(&self.operands)
    }

    fn joined(&self, operands: &[String]) -> String {
        let Some((first, rest)) = operands.split_first() else { return String::new() };
        if self.operations.is_empty() {
            return format!("-{first}");
        }
        let (mut out, mut sums) = (first.clone(), false);
        for (operation, operand) in self.operations.iter().zip(rest) {
            let sum = matches!(operation, Operation::Add | Operation::Subtract);
            if sums && !sum {
                out = format!("({out})");
            }
            sums = sum;
            out.push_str(&format!(" {} {operand}", operation.operator()));
        }
        out
    }

    /// What the operators would be called: DataFusion's names have no brackets.
    fn named(&self, operands: Vec<String>) -> String {
        let mut operands = operands.into_iter();
        let first = operands.next().unwrap_or_default();
        if self.operations.is_empty() {
            return format!("(- {first})");
        }
        self.operations.iter().zip(operands).fold(first, |mut out, (operation, operand)| {
            out.push_str(&format!(" {} {operand}", operation.operator()));
            out
        })
    }

    /// The operations up to the one at `step`, as messages show them.
    fn text_to(&self, step: usize) -> String {
        match step + 2 {
            operands if operands > SHOWN_MAX => {
                format!("… {} {}", self.operations[step].operator(), self.operands[step + 1])
            }
            operands => self.joined(&self.operands[..operands]),
        }
    }

    /// `left operator right`, which `text` stands for.
    fn apply(
        operation: Operation,
        (left, right): (&ColumnarValue, &ColumnarValue),
        rows: usize,
        text: impl FnOnce() -> String,
    ) -> Result<ColumnarValue> {
        apply(left, right, operation.kernel()).map_err(|error| match error {
            DataFusionError::ArrowError(error, _) => explained(*error, operation, (left, right), rows, text).into(),
            other => other,
        })
    }
}

/// The error of the first row that has one, with its values.
fn explained(
    error: ArrowError,
    operation: Operation,
    (left, right): (&ColumnarValue, &ColumnarValue),
    rows: usize,
    text: impl FnOnce() -> String,
) -> Error {
    let known = matches!(error, ArrowError::DivideByZero | ArrowError::ArithmeticOverflow(_));
    let (true, Ok(left), Ok(right)) = (known, left.to_array(rows), right.to_array(rows)) else {
        return Error::from(error);
    };
    let described = match error {
        ArrowError::DivideByZero => Error::invalid(format!("division by zero in \"{}\"", text()))
            .hint("write nullif(…, 0) for what it is divided by, to have NULL instead"),
        _ => {
            let to = in_sql(&left.data_type().to_string());
            Error::invalid(format!("\"{}\" does not fit into {to}", text()))
                .hint("compute with a wider type, as in CAST(… AS DECIMAL(38, 0))")
        }
    };
    let kernel = operation.kernel();
    let failed = (0..left.len()).find(|row| kernel(&left.slice(*row, 1), &right.slice(*row, 1)).is_err());
    let value = |array: &ArrayRef, row| array_value_to_string(array, row).ok();
    match failed.and_then(|row| Some((value(&left, row)?, value(&right, row)?))) {
        Some((left, right)) => described.detail(format!("{left} {} {right}", operation.operator())),
        None => described,
    }
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "checked{:?}", self.operations)
    }
}

// However they were written: the same operators over the same operands are the same expression.
impl PartialEq for Checked {
    fn eq(&self, other: &Self) -> bool {
        self.operations == other.operations
    }
}

impl Eq for Checked {}

impl Hash for Checked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.operations.hash(state);
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.operations.as_slice() {
            [] => "checked_negate",
            [Operation::Add] => "checked_add",
            [Operation::Subtract] => "checked_subtract",
            [Operation::Multiply] => "checked_multiply",
            [Operation::Divide] => "checked_divide",
            [Operation::Remainder] => "checked_remainder",
            _ => "checked_arithmetic",
        }
    }

    fn display_name(&self, operands: &[Expr]) -> Result<String> {
        Ok(self.named(operands.iter().map(Expr::to_string).collect()))
    }

    fn schema_name(&self, operands: &[Expr]) -> Result<String> {
        Ok(self.named(operands.iter().map(|operand| operand.schema_name().to_string()).collect()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        given.first().cloned().ok_or_else(|| Error::bug("operators without operands").into())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let Some(first) = args.arg_fields.first() else { return Err(Error::bug("operators without operands").into()) };
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), first.data_type().clone(), nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let Some((first, rest)) = args.args.split_first() else {
            return Err(Error::bug("operators without operands").into());
        };
        if self.operations.is_empty() {
            let zero = ColumnarValue::Scalar(ScalarValue::new_zero(&first.data_type())?);
            return Self::apply(Operation::Subtract, (&zero, first), rows, || self.text());
        }
        let mut value = first.clone();
        for (step, (operation, operand)) in self.operations.iter().zip(rest).enumerate() {
            value = Self::apply(*operation, (&value, operand), rows, || self.text_to(step))?;
        }
        Ok(value)
    }
}
