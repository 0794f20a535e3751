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
use crate::sql::window::{WindowAssigner, WindowKind, floor};
use crate::sql::{ticks, time_unit};

/// The start of the pane that a time falls into; NULL where there is none.
///
/// # Errors
/// Planning errors for a type that is not a timestamp, or lengths that its unit cannot say.
pub(super) fn pane_start(time: Expr, data_type: &DataType, kind: WindowKind) -> Result<Expr> {
    let assigner = kind.in_unit(time_unit(data_type)?)?;
    Ok(moved(time, assigner.plain().map_or(Move::ToPane(assigner), |step| Move::Floor { step })))
}

/// The end of a row's window, from the part of it that a column holds.
///
/// # Errors
/// As [`pane_start`].
pub(super) fn window_end(column: Expr, data_type: &DataType, part: WindowPart, kind: WindowKind) -> Result<Expr> {
    Ok(match part {
        WindowPart::End => column,
        WindowPart::Struct => get_field(column, "end"),
        WindowPart::Start => moved(column, Move::ToEnd(kind.by_start().in_unit(time_unit(data_type)?)?)),
        WindowPart::Time => moved(column, Move::By(1)),
    })
}

fn moved(time: Expr, how: Move) -> Expr {
    ScalarUDF::new_from_impl(MoveTime { signature: Signature::any(1, Volatility::Immutable), how }).call(vec![time])
}

/// In units of the time's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Move {
    Floor {
        step: i64,
    },
    /// To the start of its pane, where that is more than a multiple.
    ToPane(WindowAssigner),
    /// From the start of a window to its end.
    ToEnd(WindowAssigner),
    By(i64),
}

impl Move {
    fn all(self, ticks: &Int64Array) -> Int64Array {
        match self {
            Move::Floor { step } => ticks.iter().map(|tick| floor(tick?, step)).collect(),
            Move::By(by) => ticks.iter().map(|tick| tick?.checked_add(by)).collect(),
            Move::ToPane(assigner) => {
                let mut panes = assigner.panes();
                ticks.iter().map(|tick| panes.of(tick?).map(|(start, _)| start)).collect()
            }
            Move::ToEnd(assigner) => ticks.iter().map(|tick| Some(assigner.end_of(tick?))).collect(),
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
        Ok(ColumnarValue::Array(cast(&self.how.all(&ticks(times)?), times.data_type())?))
    }
}
