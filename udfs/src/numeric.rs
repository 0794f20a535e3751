//! Functions of `N` doubles: one plain Rust function, applied to whole columns.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// What a row gives: a value, NULL, or what is wrong with an argument.
pub(crate) type RowResult = Result<Option<f64>, &'static str>;

/// A function of `N` doubles. NULL and non-finite arguments give NULL without a call.
#[derive(Debug)]
pub(crate) struct OfNumbers<const N: usize> {
    name: &'static str,
    signature: Signature,
    row: fn([f64; N]) -> RowResult,
}

impl<const N: usize> OfNumbers<N> {
    pub(crate) fn udf(name: &'static str, arguments: [&'static str; N], row: fn([f64; N]) -> RowResult) -> ScalarUDF {
        let names = arguments.to_vec();
        let signature = Signature::exact(vec![DataType::Float64; N], Volatility::Immutable)
            .with_parameter_names(names)
            .expect("one name per argument");
        ScalarUDF::from(OfNumbers { name, signature, row })
    }
}

// Two functions of one name are the same function.
impl<const N: usize> PartialEq for OfNumbers<N> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl<const N: usize> Eq for OfNumbers<N> {}

impl<const N: usize> Hash for OfNumbers<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl<const N: usize> ScalarUDFImpl for OfNumbers<N> {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over_columns(self.name, &arguments.args, |columns| {
            let columns: [&Float64Array; N] = std::array::from_fn(|at| columns[at].as_primitive::<Float64Type>());
            let nulls = columns.map(|column| column.nulls());
            let valid = NullBuffer::union_many(nulls);
            let values = columns.map(|column| &column.values()[..]);
            by_row(columns[0].len(), |row| {
                if valid.as_ref().is_some_and(|valid| valid.is_null(row)) {
                    return Ok(None);
                }
                let arguments = values.map(|column| column[row]);
                match arguments.iter().all(|value| value.is_finite()) {
                    true => (self.row)(arguments),
                    false => Ok(None),
                }
            })
        })
    }
}

/// One value per row, in two allocations whatever the number of rows.
pub(crate) fn by_row(rows: usize, mut row: impl FnMut(usize) -> RowResult) -> Result<Float64Array, &'static str> {
    let mut values = Vec::with_capacity(rows);
    let mut valid = Vec::with_capacity(rows);
    for at in 0..rows {
        let value = row(at)?;
        values.push(value.unwrap_or_default());
        valid.push(value.is_some());
    }
    Ok(Float64Array::new(values.into(), Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0)))
}

/// Runs `columns` over the arguments as arrays of one length; constant arguments alone give a constant.
pub(crate) fn over_columns(
    name: &str,
    arguments: &[ColumnarValue],
    columns: impl FnOnce(&[ArrayRef]) -> Result<Float64Array, &'static str>,
) -> Result<ColumnarValue> {
    let constant = arguments.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
    let arrays = ColumnarValue::values_to_arrays(arguments)?;
    match columns(&arrays) {
        Ok(result) if constant => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
        Ok(result) => Ok(ColumnarValue::Array(Arc::new(result))),
        Err(wrong) => exec_err!("{name}: {wrong}"),
    }
}
