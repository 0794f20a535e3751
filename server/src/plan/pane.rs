//! The expressions that put a row into its pane, or name its window: functions of a plan, which nobody can write.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::edge::WindowPart;
use crate::sql::window::{WindowKind, floor};
use crate::sql::{ticks, time_unit};

/// The start of the pane that a time falls into; NULL where there is none.
///
/// # Errors
/// Planning errors for a type that is not a timestamp, or lengths that its unit cannot say.
pub(super) fn pane_start(time: Expr, data_type: &DataType, kind: WindowKind) -> Result<Expr> {
    let units = kind.in_unit(time_unit(data_type)?)?;
    Ok(moved(time, Move::Floor { step: gcd(units.size, units.slide) }))
}

/// The end of a row's window, from the part of it that a column holds.
///
/// # Errors
/// As [`pane_start`].
pub(super) fn window_end(column: Expr, data_type: &DataType, part: WindowPart, kind: WindowKind) -> Result<Expr> {
    Ok(match part {
        WindowPart::End => column,
        WindowPart::Struct => get_field(column, "end"),
        WindowPart::Start => moved(column, Move::By(kind.in_unit(time_unit(data_type)?)?.size)),
        WindowPart::Time => moved(column, Move::By(1)),
    })
}

fn gcd(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn moved(time: Expr, how: Move) -> Expr {
    ScalarUDF::new_from_impl(MoveTime { signature: Signature::any(1, Volatility::Immutable), how }).call(vec![time])
}

/// In units of the time's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Move {
    Floor { step: i64 },
    By(i64),
}

impl Move {
    fn of(self, tick: i64) -> Option<i64> {
        match self {
            Move::Floor { step } => floor(tick, step),
            Move::By(by) => tick.checked_add(by),
        }
    }
}

/// A time moved within its type; NULL where the result cannot be written.
#[derive(Debug, PartialEq, Eq, Hash)]
struct MoveTime {
    signature: Signature,
    how: Move,
}

impl ScalarUDFImpl for MoveTime {
    fn name(&self) -> &str {
        "move_time"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), args.arg_fields[0].data_type().clone(), true)))
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let of = args.first().map(|arg| arg.schema_name().to_string()).unwrap_or_default();
        Ok(format!("move_time({of},{:?})", self.how))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let times = ColumnarValue::values_to_arrays(&args.args)?;
        let times: &ArrayRef = times.first().ok_or_else(|| exec_datafusion_err!("no time to move"))?;
        let moved: Int64Array = ticks(times)?.iter().map(|tick| self.how.of(tick?)).collect();
        Ok(ColumnarValue::Array(cast(&moved, times.data_type())?))
    }
}
