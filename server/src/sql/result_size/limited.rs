//! A function that computes how much it will make before it makes it, and is otherwise the one that it holds.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ExpressionPlacement, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

use super::bound::{Bound, FIXED_BYTES_MAX};
use super::measure::{bytes_of_all, width};
use super::{Unit, WOULD_MAKE};
use crate::error::Error;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Limited {
    inner: Arc<ScalarUDF>,
    bound: Bound,
}

/// The function with its bound. `None` where it has none, or is limited already.
pub(super) fn limited(function: &Arc<ScalarUDF>) -> Option<ScalarUDF> {
    let bound = Bound::of(function.name())?;
    if function.inner().is::<Limited>() {
        return None;
    }
    Some(ScalarUDF::new_from_impl(Limited { inner: Arc::clone(function), bound }))
}

/// An expression all of whose functions are limited.
pub(super) fn with_limits(expr: Expr) -> Result<Transformed<Expr>> {
    expr.transform_up(|part| match part {
        Expr::ScalarFunction(ScalarFunction { func, args }) => Ok(match limited(&func) {
            Some(func) => Transformed::yes(Expr::ScalarFunction(ScalarFunction { func: Arc::new(func), args })),
            None => Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })),
        }),
        other => Ok(Transformed::no(other)),
    })
}

impl Limited {
    fn shown(&self) -> String {
        format!("{}()", self.inner.name())
    }

    /// What a call of constants alone would make. Folding it fails in silence and leaves the call to be made.
    fn check_constants(&self, arguments: &[Expr]) -> Result<()> {
        let mut constants = Vec::with_capacity(arguments.len());
        for argument in arguments {
            match argument {
                Expr::Literal(value, _) => constants.push(ColumnarValue::Scalar(value.clone())),
                _ => return Ok(()),
            }
        }
        self.bound.check(&self.shown(), &constants, 1)
    }

    /// The rows in parts that are small enough by the bound, since they make less than that. What they have made is counted as it is.
    fn in_parts(&self, args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (mut made, mut bytes): (Vec<ArrayRef>, u64) = (Vec::new(), 0);
        // The next one is the last.
        let mut todo: Vec<Range<usize>> = std::iter::once(0..args.number_rows).collect();
        while let Some(part) = todo.pop() {
            let rows = part.len();
            let arguments: Vec<ColumnarValue> = args.args.iter().map(|argument| rows_of(argument, &part)).collect();
            match self.bound.too_much(&self.shown(), &arguments, rows)? {
                Some(refusal) if rows < 2 => return Err(refusal.into()),
                Some(_) => {
                    let middle = part.start + rows / 2;
                    todo.extend([middle..part.end, part.start..middle]);
                }
                None => {
                    let call = ScalarFunctionArgs { args: arguments, number_rows: rows, ..args.clone() };
                    let values = self.inner.invoke_with_args(call)?.into_array(rows)?;
                    let values_made = ColumnarValue::Array(Arc::clone(&values));
                    bytes = bytes.saturating_add(bytes_of_all(&[values_made], rows)?);
                    Unit::Bytes.check_batch(&self.shown(), bytes, args.number_rows)?;
                    made.push(values);
                }
            }
        }
        let made: Vec<&dyn Array> = made.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&made)?))
    }
}

fn rows_of(argument: &ColumnarValue, rows: &Range<usize>) -> ColumnarValue {
    match argument {
        ColumnarValue::Array(values) => ColumnarValue::Array(values.slice(rows.start, rows.len())),
        ColumnarValue::Scalar(value) => ColumnarValue::Scalar(value.clone()),
    }
}

impl ScalarUDFImpl for Limited {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.inner.return_type(given)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let inner = Arc::new(self.inner.inner().with_updated_config(config)?);
        Some(ScalarUDF::new_from_impl(Limited { inner, bound: self.bound }))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = self.inner.return_field_from_args(args)?;
        let bytes = width(field.data_type());
        if self.bound == Bound::Cast && bytes > FIXED_BYTES_MAX {
            return Err(Error::invalid(format!("{}{WOULD_MAKE}values of {bytes} bytes each", self.shown()))
                .detail(format!("a type of fixed length may have {FIXED_BYTES_MAX} bytes"))
                .hint("write a type whose values have their own length, as Binary or List")
                .into());
        }
        Ok(field)
    }

    fn is_strict(&self) -> bool {
        self.inner.is_strict()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match self.bound.too_much(&self.shown(), &args.args, args.number_rows)? {
            None => self.inner.invoke_with_args(args),
            Some(_) if self.bound.is_rough() => self.in_parts(&args),
            Some(refusal) => Err(refusal.into()),
        }
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.check_constants(&args)?;
        Ok(match self.inner.simplify(args, info)? {
            // Often a call of the same function, of fewer arguments.
            ExprSimplifyResult::Simplified(simpler) => ExprSimplifyResult::Simplified(with_limits(simpler)?.data),
            original => original,
        })
    }

    fn preimage(&self, args: &[Expr], value: &Expr, info: &SimplifyContext) -> Result<PreimageResult> {
        self.inner.preimage(args, value, info)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(args)
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> Result<Interval> {
        self.inner.evaluate_bounds(inputs)
    }

    fn propagate_constraints(&self, interval: &Interval, inputs: &[&Interval]) -> Result<Option<Vec<Interval>>> {
        self.inner.propagate_constraints(interval, inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner.preserves_lex_ordering(inputs)
    }

    fn strictly_order_preserving(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner.strictly_order_preserving(inputs)
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(given)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.inner.placement(args)
    }
}
