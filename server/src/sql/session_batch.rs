//! Sessions over bounded input: a window function of DataFusion's that takes the rows of each key in the order of their times.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::utils::normalize_float_zero;
use datafusion::common::{Column, ScalarValue, exec_datafusion_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprFunctionExt, ExprSchemable, LogicalPlan, LogicalPlanBuilder, PartitionEvaluator,
    ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, WindowFrame,
    WindowFrameBound, WindowFrameUnits, WindowUDF, WindowUDFImpl,
};

use super::window_batch::{Part, ticks, time_unit};
use super::window_functions::{window_type, windows};
use super::window_session::SessionRule;
use super::window_tvf::WindowTvfNode;
use crate::error::Error;

/// The node's rows with their sessions, as ordinary nodes of the same schema.
pub(super) fn expand(window: &WindowTvfNode) -> Result<LogicalPlan> {
    let input = &window.input;
    let (qualifier, time) = input.schema().qualified_field_from_column(&window.time_column)?;
    let nullable = time.is_nullable();
    let rule = window.kind.sessions_in_unit(time_unit(time.data_type())?)?;
    let rule = rule.ok_or_else(|| Error::bug("a window of another kind was taken for a session"))?;
    let time = Expr::Column(window.time_column.clone());
    let of = |function: OfTimes, argument: Expr| {
        let signature = Signature::any(1, Volatility::Immutable);
        ScalarUDF::new_from_impl(SessionFunction { signature, rule, function }).call(vec![argument])
    };
    // Columns of the window are NOT NULL where the time is, so rows that are in no session go first.
    let rows = LogicalPlanBuilder::from(input.clone()).filter(of(OfTimes::Reach, time.clone()).is_not_null())?;
    let mut keys = Vec::new();
    for key in window.keys.iter().cloned().map(Expr::Column) {
        let is_float = key.get_type(input.schema())?.is_floating();
        keys.push(if is_float { of(OfTimes::OneZero, key) } else { key });
    }
    let no_bound = ScalarValue::UInt64(None);
    let whole = WindowFrame::new_bounds(
        WindowFrameUnits::Rows,
        WindowFrameBound::Preceding(no_bound.clone()),
        WindowFrameBound::Following(no_bound),
    );
    let session = WindowUDF::new_from_impl(SessionOf { signature: Signature::any(1, Volatility::Immutable), rule });
    let session = session
        .call(vec![time.clone()])
        .partition_by(keys)
        .order_by(vec![time.sort(true, false)])
        .window_frame(whole)
        .build()?;
    let made = Expr::Column(Column::new_unqualified(session.schema_name().to_string()));
    let bounds = [Part::Start, Part::End, Part::Time]
        .into_iter()
        .zip(window.names())
        .map(|(part, name)| of(OfTimes::Bound(part, nullable), made.clone()).alias_qualified(qualifier.cloned(), name));
    let columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).chain(bounds).collect();
    rows.window(vec![session])?.project(columns)?.build()
}

/// The session of each row among those of its partition, a struct of start and end. Internal: made by [`expand`] alone.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SessionOf {
    signature: Signature,
    rule: SessionRule,
}

impl WindowUDFImpl for SessionOf {
    fn name(&self) -> &str {
        "session_of"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(&self, _: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(OfPartition { rule: self.rule }))
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        let time = args.get_input_field(0).ok_or_else(|| exec_datafusion_err!("a session of no time"))?;
        Ok(Arc::new(Field::new(args.name(), DataType::Struct(window_type(time.data_type())), true)))
    }
}

#[derive(Debug)]
struct OfPartition {
    rule: SessionRule,
}

impl PartitionEvaluator for OfPartition {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let times = values.first().ok_or_else(|| exec_datafusion_err!("a session of no time"))?;
        let (mut starts, mut ends) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        for (count, start, end) in self.rule.sessions(ticks(times)?.values()) {
            starts.resize(starts.len() + count, start);
            ends.resize(ends.len() + count, end);
        }
        windows(&Int64Array::from(starts), &Int64Array::from(ends), times.data_type())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum OfTimes {
    /// The latest time that follows a time; NULL where that cannot be written.
    Reach,
    /// A part of a session, and whether it may be NULL.
    Bound(Part, bool),
    /// A number, without a sign where it is zero: keys are equal as in GROUP BY.
    OneZero,
}

/// Internal: made by [`expand`] alone.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SessionFunction {
    signature: Signature,
    rule: SessionRule,
    function: OfTimes,
}

impl ScalarUDFImpl for SessionFunction {
    fn name(&self) -> &str {
        "session_function"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(match &arg_types[0] {
            DataType::Struct(fields) => fields[0].data_type().clone(),
            other => other.clone(),
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = !matches!(self.function, OfTimes::Bound(_, false));
        let data_type = self.return_type(&[args.arg_fields[0].data_type().clone()])?;
        Ok(Arc::new(Field::new(self.name(), data_type, nullable)))
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        // Two bounds of one column are two expressions: their names must differ.
        let of = args.first().map(|arg| arg.schema_name().to_string()).unwrap_or_default();
        Ok(format!("session_function({of},{:?},{:?})", self.rule, self.function))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = ColumnarValue::values_to_arrays(&args.args)?;
        let argument = arguments.first().ok_or_else(|| exec_datafusion_err!("a session of nothing"))?;
        let made = match self.function {
            OfTimes::Reach => {
                let reaches: Int64Array = ticks(argument)?.iter().map(|time| self.rule.reach(time?)).collect();
                cast(&reaches, argument.data_type())?
            }
            OfTimes::OneZero => normalize_float_zero(argument),
            OfTimes::Bound(part, _) => bound(argument.as_struct(), part)?,
        };
        Ok(ColumnarValue::Array(made))
    }
}

fn bound(sessions: &StructArray, part: Part) -> Result<ArrayRef> {
    match part {
        Part::Start => Ok(Arc::clone(sessions.column(0))),
        Part::End => Ok(Arc::clone(sessions.column(1))),
        Part::Time => {
            let ends = sessions.column(1);
            let last: Int64Array = ticks(ends)?.iter().map(|end| Some(end?.saturating_sub(1))).collect();
            Ok(cast(&last, ends.data_type())?)
        }
    }
}

#[cfg(test)]
mod tests;
