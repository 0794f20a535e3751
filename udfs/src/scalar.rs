//! Functions of one row at a time, run over whole columns. A constant argument stays one value; where all are constant, so is
//! the result.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayAccessor, ArrayRef, BooleanArray, Float64Array, Int64Array, StringViewArray, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use crate::Function;
use crate::describe::Description;

/// Rows that are computed together: their arguments stay in the first-level cache.
const CHUNK: usize = 512;

/// One argument over all rows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column<A: ArrayAccessor> {
    Rows(A),
    Constant(Option<A::Item>),
}

impl<A: ArrayAccessor> Column<A>
where
    A::Item: Copy,
{
    #[inline]
    pub(crate) fn get(&self, row: usize) -> Option<A::Item> {
        match self {
            Column::Rows(rows) => rows.is_valid(row).then(|| rows.value(row)),
            Column::Constant(value) => *value,
        }
    }

    pub(crate) fn is_constant(&self) -> bool {
        matches!(self, Column::Constant(_))
    }
}

/// What a call got.
#[derive(Debug)]
pub(crate) struct Arguments<'a> {
    description: &'static Description,
    values: &'a [ColumnarValue],
    /// 1 where all arguments are constant.
    pub(crate) rows: usize,
}

macro_rules! column_of {
    ($method:ident, $array:ty, $scalar:ident, $item:ty, $read:expr) => {
        /// The argument at this place; NULL where it was left out.
        pub(crate) fn $method(&self, at: usize) -> Result<Column<&$array>> {
            let read: fn(&Option<$item>) -> Option<<&'a $array as ArrayAccessor>::Item> = $read;
            match self.values.get(at) {
                None | Some(ColumnarValue::Scalar(ScalarValue::Null)) => Ok(Column::Constant(None)),
                Some(ColumnarValue::Scalar(ScalarValue::$scalar(value))) => Ok(Column::Constant(read(value))),
                Some(ColumnarValue::Array(array)) => match array.as_any().downcast_ref::<$array>() {
                    Some(array) if array.len() == self.rows => Ok(Column::Rows(array)),
                    _ => self.unexpected(at),
                },
                _ => self.unexpected(at),
            }
        }
    };
}

impl<'a> Arguments<'a> {
    column_of!(doubles, Float64Array, Float64, f64, |value| *value);
    column_of!(integers, Int64Array, Int64, i64, |value| *value);
    column_of!(flags, BooleanArray, Boolean, bool, |value| *value);

    /// The argument at this place; NULL where it was left out.
    pub(crate) fn words(&self, at: usize) -> Result<Column<&'a StringViewArray>> {
        match self.values.get(at) {
            None | Some(ColumnarValue::Scalar(ScalarValue::Null)) => Ok(Column::Constant(None)),
            Some(ColumnarValue::Scalar(ScalarValue::Utf8View(value))) => Ok(Column::Constant(value.as_deref())),
            Some(ColumnarValue::Array(array)) => match array.as_any().downcast_ref::<StringViewArray>() {
                Some(array) if array.len() == self.rows => Ok(Column::Rows(array)),
                _ => self.unexpected(at),
            },
            _ => self.unexpected(at),
        }
    }

    /// Planning has checked types; a caller that has not planned is told, too.
    fn unexpected<T>(&self, at: usize) -> Result<T> {
        let found = self.values.get(at).map(ColumnarValue::data_type);
        exec_err!("{}: argument {} came as {found:?}", self.description.name, at + 1)
    }
}

type Body = dyn Fn(&Arguments<'_>) -> Result<ArrayRef> + Send + Sync;

/// Looks at the arguments that are constants when a call is planned; `None` stands for the others.
type Check = fn(&Description, &[Option<&ScalarValue>]) -> Result<()>;

/// A described function with what it does to columns.
struct Described {
    description: &'static Description,
    signature: Signature,
    documentation: Documentation,
    returns: DataType,
    check: Check,
    body: Box<Body>,
}

/// A function whose `body` makes as many values of type `returns` as there are rows.
pub(crate) fn scalar(
    description: &'static Description,
    returns: DataType,
    body: impl Fn(&Arguments<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
) -> Function {
    scalar_with(description, returns, |_, _| Ok(()), body)
}

/// The same, with a call refused whose constants `check` refuses.
pub(crate) fn scalar_with(
    description: &'static Description,
    returns: DataType,
    check: Check,
    body: impl Fn(&Arguments<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
) -> Function {
    let signature = description.planning_signature();
    let documentation = description.documentation();
    let described = Described { description, signature, documentation, returns, check, body: Box::new(body) };
    Function::Scalar(description, ScalarUDF::from(described))
}

/// A function of `N` doubles: `value` where `allowed`, an error with `wrong` where not.
///
/// NULL and non-finite arguments give NULL, and so does a result that is not finite. Both closures are computed for every row,
/// also under NULL, and must be plain arithmetic, so that the compiler can do several rows at once.
pub(crate) fn numeric<const N: usize>(
    description: &'static Description,
    wrong: &'static str,
    allowed: impl Fn([f64; N]) -> bool + Send + Sync + 'static,
    value: impl Fn([f64; N]) -> f64 + Send + Sync + 'static,
) -> Function {
    debug_assert_eq!(description.arguments.len(), N);
    scalar(description, DataType::Float64, move |arguments| {
        let rows = arguments.rows;
        let mut columns = [Column::Constant(None); N];
        for (at, column) in columns.iter_mut().enumerate() {
            *column = arguments.doubles(at)?;
        }
        if columns.iter().any(|column| matches!(column, Column::Constant(None))) {
            return Ok(new_null_array(&DataType::Float64, rows));
        }
        let constants = columns.map(|column| match column {
            Column::Constant(value) => [value.unwrap_or_default(); CHUNK],
            Column::Rows(_) => [0.0; CHUNK],
        });
        let mut values: Vec<f64> = Vec::with_capacity(rows);
        for start in (0..rows).step_by(CHUNK) {
            let length = CHUNK.min(rows - start);
            let chunk: [&[f64]; N] = std::array::from_fn(|at| match columns[at] {
                Column::Rows(array) => &array.values()[start..start + length],
                Column::Constant(_) => &constants[at][..length],
            });
            values.extend((0..length).map(|row| {
                let arguments = chunk.map(|column| column[row]);
                // NaN where an argument is not finite, else 0: no branch.
                let poison: f64 = arguments.iter().map(|argument| argument * 0.0).sum();
                let value = if allowed(arguments) { value(arguments) } else { f64::NAN };
                value + poison
            }));
        }
        let nulls = NullBuffer::union_many(columns.iter().map(|column| match column {
            Column::Rows(array) => array.nulls(),
            Column::Constant(_) => None,
        }));
        if values.iter().fold(true, |all, value| all & value.is_finite()) {
            return Ok(Arc::new(Float64Array::new(values.into(), nulls)));
        }
        let is_valid = |row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        for row in (0..rows).filter(|row| !values[*row].is_finite() && is_valid(*row)) {
            let arguments = columns.map(|column| column.get(row).unwrap_or(f64::NAN));
            if arguments.iter().all(|argument| argument.is_finite()) && !allowed(arguments) {
                return exec_err!("{}: {wrong}", call(description.name, &arguments));
            }
        }
        let finite = NullBuffer::new(BooleanBuffer::collect_bool(rows, |row| values[row].is_finite()));
        Ok(Arc::new(Float64Array::new(values.into(), NullBuffer::union(nulls.as_ref(), Some(&finite)))))
    })
}

/// `field_tilt(-1, 3)`: which call went wrong.
pub(crate) fn call(name: &str, arguments: &[impl fmt::Display]) -> String {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    format!("{name}({})", arguments.join(", "))
}

/// One value per row, in two allocations whatever the number of rows.
pub(crate) fn by_row(rows: usize, mut row: impl FnMut(usize) -> Option<f64>) -> ArrayRef {
    let mut values = vec![0.0; rows];
    let valid = BooleanBuffer::collect_bool(rows, |at| {
        let value = row(at).filter(|value| value.is_finite());
        values[at] = value.unwrap_or_default();
        value.is_some()
    });
    Arc::new(Float64Array::new(values.into(), Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0)))
}

impl fmt::Debug for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description.name)
    }
}

// Two functions of one name are the same function.
impl PartialEq for Described {
    fn eq(&self, other: &Self) -> bool {
        self.description.name == other.description.name
    }
}

impl Eq for Described {}

impl Hash for Described {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.description.name.hash(state);
    }
}

impl ScalarUDFImpl for Described {
    fn name(&self) -> &str {
        self.description.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(self.description.coerced(given))
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.description.check(given)?;
        Ok(self.returns.clone())
    }

    fn return_field_from_args(&self, call: ReturnFieldArgs) -> Result<FieldRef> {
        let given: Vec<DataType> = call.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let returns = self.return_type(&given)?;
        (self.check)(self.description, call.scalar_arguments)?;
        Ok(Arc::new(Field::new(self.name(), returns, true)))
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = call.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { call.number_rows };
        let result = (self.body)(&Arguments { description: self.description, values: &call.args, rows })?;
        Ok(match constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?),
            false => ColumnarValue::Array(result),
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
