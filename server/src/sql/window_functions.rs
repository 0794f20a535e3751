//! The window functions, and their grouping form: `SELECT tumble(ts, INTERVAL '5 minutes') AS w … GROUP BY w`, a struct of `start`
//! and `end`.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, Int64Array, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

use super::interval;
use super::window::{Origin, WindowAssigner, WindowKind};
use super::window_batch::{ticks, time_unit};
use super::zone::Zone;
use crate::error::Error;

/// Puts rows into windows, in FROM or as an expression to group by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WindowFunction {
    Tumble,
    Hop,
    Cumulate,
    Session,
}

impl WindowFunction {
    pub const ALL: [Self; 4] =
        [WindowFunction::Tumble, WindowFunction::Hop, WindowFunction::Cumulate, WindowFunction::Session];

    /// By its name, in capitals or not.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.name().eq_ignore_ascii_case(name))
    }

    /// As a function of FROM is called.
    pub fn name(self) -> &'static str {
        match self {
            WindowFunction::Tumble => "TUMBLE",
            WindowFunction::Hop => "HOP",
            WindowFunction::Cumulate => "CUMULATE",
            WindowFunction::Session => "SESSION",
        }
    }

    /// As an expression is called.
    pub fn call_name(self) -> &'static str {
        match self {
            WindowFunction::Tumble => "tumble",
            WindowFunction::Hop => "hop",
            WindowFunction::Cumulate => "cumulate",
            WindowFunction::Session => "session",
        }
    }

    /// The length that stands before the size.
    pub fn before_size(self) -> Option<&'static str> {
        match self {
            WindowFunction::Tumble | WindowFunction::Session => None,
            WindowFunction::Hop => Some("slide"),
            WindowFunction::Cumulate => Some("step"),
        }
    }

    /// What stands for the size.
    pub fn size(self) -> &'static str {
        match self {
            WindowFunction::Session => "gap",
            _ => "size",
        }
    }

    /// Whether windows are counted from something, which an offset moves.
    pub fn has_origin(self) -> bool {
        self != WindowFunction::Session
    }

    /// What the intervals of a call are, in their order.
    pub fn intervals(self) -> impl Iterator<Item = &'static str> {
        let offset = self.has_origin().then_some("offset");
        self.before_size().into_iter().chain([self.size()]).chain(offset)
    }

    /// How to write it in FROM.
    pub fn usage(self) -> &'static str {
        match self {
            WindowFunction::Tumble => "write TUMBLE(table, time_column, INTERVAL '1 minute')",
            WindowFunction::Hop => {
                "write HOP(table, time_column, slide, size), as in HOP(t, ts, INTERVAL '1 minute', INTERVAL '10 minutes')"
            }
            WindowFunction::Cumulate => {
                "write CUMULATE(table, time_column, step, size), as in CUMULATE(t, ts, INTERVAL '1 hour', INTERVAL '1 day')"
            }
            WindowFunction::Session => {
                "write SESSION(table PARTITION BY keys, time_column, gap), as in SESSION(t PARTITION BY k, ts, INTERVAL '5 minutes')"
            }
        }
    }

    /// How to write it as an expression.
    pub fn call_usage(self) -> &'static str {
        match self {
            WindowFunction::Tumble => "tumble(ts, INTERVAL '5 minutes')",
            WindowFunction::Hop => "hop(ts, INTERVAL '1 minute', INTERVAL '5 minutes')",
            WindowFunction::Cumulate => "cumulate(ts, INTERVAL '1 hour', INTERVAL '1 day')",
            WindowFunction::Session => "session(ts, INTERVAL '5 minutes')",
        }
    }

    /// `before_size`: as [`WindowFunction::before_size`] names it; ignored where there is no such length.
    ///
    /// # Errors
    /// `Invalid` for lengths of which no windows can be made.
    pub fn kind(self, before_size: Duration, size: Duration, origin: Origin) -> Result<WindowKind, Error> {
        match self {
            WindowFunction::Tumble => WindowKind::tumble(size, origin),
            WindowFunction::Hop => WindowKind::hop(before_size, size, origin),
            WindowFunction::Cumulate => WindowKind::cumulate(before_size, size, origin),
            WindowFunction::Session => WindowKind::session(size),
        }
    }
}

/// The grouping forms, which are known wherever SQL is planned.
pub fn window_functions() -> Vec<ScalarUDF> {
    WindowFunction::ALL.map(|function| ScalarUDF::new_from_impl(GroupingForm::new(function))).into()
}

/// `tumble(ts, size)` and its like: the window of `ts` as `Struct{start, end}` of its type; NULL for NULL.
///
/// Lengths, offset and time zone are literals. Of the functions that give several windows of a time, or one that other rows have a part
/// in, there is only the call: plans that group by it are rewritten, for streams and for batch.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct GroupingForm {
    function: WindowFunction,
    signature: Signature,
    manual: Documentation,
}

impl GroupingForm {
    fn new(function: WindowFunction) -> Self {
        let signature = Signature::user_defined(Volatility::Immutable);
        GroupingForm { function, signature, manual: manual(function) }
    }

    fn assigner(&self, arguments: &[Option<&ScalarValue>], time: &DataType) -> Result<WindowAssigner> {
        Ok(kind_of(self.function, arguments)?.in_unit(time_unit(time)?)?)
    }
}

/// A window function as an expression.
#[derive(Debug, Clone)]
pub struct WindowCall {
    pub function: WindowFunction,
    pub time: Expr,
    pub kind: WindowKind,
}

impl WindowCall {
    /// `None` where the expression is something else. Aliases are looked through.
    ///
    /// # Errors
    /// `Invalid` where no windows can be made of the arguments.
    pub fn of(expr: &Expr) -> Result<Option<Self>, Error> {
        match expr {
            Expr::Alias(alias) => WindowCall::of(&alias.expr),
            Expr::ScalarFunction(call) => WindowCall::of_function(call),
            _ => Ok(None),
        }
    }

    /// As [`WindowCall::of`].
    pub fn of_function(call: &ScalarFunction) -> Result<Option<Self>, Error> {
        let Some(function) = function_of(call) else { return Ok(None) };
        let Some((time, rest)) = call.args.split_first() else {
            return Err(Error::bug(format!("{} without arguments", function.name())));
        };
        let literals: Vec<Option<&ScalarValue>> = rest
            .iter()
            .map(|argument| match argument {
                Expr::Literal(value, _) => Some(value),
                _ => None,
            })
            .collect();
        Ok(Some(WindowCall { function, time: time.clone(), kind: kind_of(function, &literals)? }))
    }
}

fn function_of(call: &ScalarFunction) -> Option<WindowFunction> {
    call.func.inner().downcast_ref::<GroupingForm>().map(|form| form.function)
}

/// The windows of a call, from the arguments behind the time; those that are no literals are `None`.
fn kind_of(function: WindowFunction, arguments: &[Option<&ScalarValue>]) -> Result<WindowKind, Error> {
    let literal = |what: &str, at: usize| {
        arguments.get(at).copied().flatten().ok_or_else(|| {
            Error::invalid(format!("the window's {what} must be an INTERVAL literal, as in {}", function.call_usage()))
        })
    };
    let length = |what: &str, at: usize| {
        interval::from_scalar(literal(what, at)?).map_err(|why| Error::invalid(format!("the window's {what} {why}")))
    };
    let (before_size, at) = match function.before_size() {
        Some(what) => (length(what, 0)?, 1),
        None => (Duration::ZERO, 0),
    };
    let size = length(function.size(), at)?;
    let origin = match arguments.len() > at + 1 {
        false => Origin::default(),
        true => match literal("offset", at + 1)? {
            ScalarValue::Utf8(Some(name)) | ScalarValue::Utf8View(Some(name)) | ScalarValue::LargeUtf8(Some(name)) => {
                Origin::Midnight(Zone::named(name)?)
            }
            offset => Origin::Offset(
                interval::signed_from_scalar(offset)
                    .map_err(|why| Error::invalid(format!("the window's offset {why}")))?,
            ),
        },
    };
    function.kind(before_size, size, origin)
}

/// What errors and `information_schema.routines` say of a function.
fn manual(function: WindowFunction) -> Documentation {
    let section = DocSection { include: true, label: "Window functions of time", description: None };
    let what = match function {
        WindowFunction::Tumble => "The window of a time, with fields start and end; to group by.",
        WindowFunction::Session => {
            "The session of a time among the rows with the same other keys, with fields start and end; only to group by."
        }
        _ => "The windows of a time, each with fields start and end; only to group by.",
    };
    let example = format!("{}, with the time column for ts", function.call_usage());
    Documentation::builder(section, what, example).build()
}

/// Type of the function's value for this type of time.
pub(super) fn window_type(time: &DataType) -> Fields {
    Fields::from(vec![Field::new("start", time.clone(), true), Field::new("end", time.clone(), true)])
}

/// Windows as values of that type; NULL where the end is.
pub(super) fn windows(starts: &Int64Array, ends: &Int64Array, time: &DataType) -> Result<ArrayRef> {
    let columns: Vec<ArrayRef> = vec![cast(starts, time)?, cast(ends, time)?];
    Ok(Arc::new(StructArray::try_new(window_type(time), columns, ends.nulls().cloned())?))
}

impl ScalarUDFImpl for GroupingForm {
    fn name(&self) -> &str {
        self.function.call_name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let lengths = 1 + usize::from(self.function.before_size().is_some());
        let interval = |data_type: &DataType| matches!(data_type, DataType::Interval(_));
        let (time, rest) = match arg_types {
            [time @ DataType::Timestamp(..), rest @ ..] => (time, rest),
            [first, ..] if interval(first) => {
                return plan_err!("the time column is missing; it comes before the INTERVAL");
            }
            _ => (&DataType::Null, arg_types),
        };
        let origin = &rest[lengths.min(rest.len())..];
        let is_origin = |data_type: &DataType| interval(data_type) || data_type.is_string();
        let fits = *time != DataType::Null
            && rest.len() >= lengths
            && rest[..lengths].iter().all(interval)
            && origin.len() <= usize::from(self.function.has_origin())
            && origin.iter().all(is_origin);
        if !fits {
            return match lengths {
                _ if !self.function.has_origin() => plan_err!("it takes a time column and an INTERVAL, the gap"),
                1 => plan_err!("it takes a time column and an INTERVAL, then an offset or a time zone"),
                _ => plan_err!("it takes a time column and two INTERVALs, then an offset"),
            };
        }
        let coerced = rest.iter().map(|data_type| match data_type {
            DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
            other => other.clone(),
        });
        Ok(std::iter::once(time.clone()).chain(coerced).collect())
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.manual)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [time, _, ..] => Ok(DataType::Struct(window_type(time))),
            _ => plan_err!("{} takes a timestamp and an interval", self.name()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let [time, ..] = args.arg_fields else { return plan_err!("{} takes a timestamp", self.name()) };
        self.assigner(&args.scalar_arguments[1..], time.data_type())?;
        Ok(Arc::new(Field::new(self.name(), DataType::Struct(window_type(time.data_type())), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if self.function != WindowFunction::Tumble {
            return Err(only_grouped_by(self.function).into());
        }
        let Some((times, rest)) = args.args.split_first() else {
            return plan_err!("{} takes a timestamp", self.name());
        };
        let literals: Vec<Option<&ScalarValue>> = rest
            .iter()
            .map(|argument| match argument {
                ColumnarValue::Scalar(value) => Some(value),
                ColumnarValue::Array(_) => None,
            })
            .collect();
        let times = times.to_array(args.number_rows)?;
        let mut panes = self.assigner(&literals, times.data_type())?.panes();
        let found = ticks(&times)?.iter().map(|tick| panes.of(tick?)).collect::<Vec<_>>();
        let starts: Int64Array = found.iter().map(|window| window.map(|(start, _)| start)).collect();
        let ends: Int64Array = found.iter().map(|window| window.map(|(_, end)| end)).collect();
        Ok(ColumnarValue::Array(windows(&starts, &ends, times.data_type())?))
    }
}

fn only_grouped_by(function: WindowFunction) -> Error {
    let why = match function {
        WindowFunction::Session => "depends on the rows around",
        _ => "gives several windows of a row",
    };
    Error::invalid(format!("{}(…) {why} and can only be grouped by, as it stands", function.call_name())).hint(format!(
        "write SELECT {} AS w, … GROUP BY w, or {}(…) in FROM, which adds window_start and window_end",
        function.call_usage(),
        function.name()
    ))
}

/// Refuses the grouping form of windows that overlap, and of sessions, wherever it is not grouped by.
#[derive(Debug, Default, Clone, Copy)]
pub struct OnlyGroupedBy;

impl AnalyzerRule for OnlyGroupedBy {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.apply_with_subqueries(|node| {
            let grouped: &[Expr] = match node {
                LogicalPlan::Aggregate(aggregate) => &aggregate.group_expr,
                _ => &[],
            };
            node.apply_expressions(|expr| {
                let stands_alone = grouped.contains(expr) && WindowCall::of(expr)?.is_some();
                expr.apply(|part| match part {
                    Expr::ScalarFunction(call) if !stands_alone => match function_of(call) {
                        Some(function) if function != WindowFunction::Tumble => Err(only_grouped_by(function).into()),
                        _ => Ok(TreeNodeRecursion::Continue),
                    },
                    _ => Ok(TreeNodeRecursion::Continue),
                })
            })
        })?;
        Ok(plan)
    }

    fn name(&self) -> &str {
        "only_grouped_by"
    }
}
