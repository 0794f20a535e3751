//! The grouping form: `SELECT tumble(ts, INTERVAL '5 minutes') AS w … GROUP BY w`, a struct of `start` and `end`.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, Int64Array, StructArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit};
use datafusion::common::{ScalarValue, plan_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::interval;
use super::window::{WindowKind, WindowUnits, floor};
use super::window_batch::{ticks, time_unit};
use crate::error::Error;

/// The scalar functions every session has: `tumble`, and those that only say which form to use instead.
pub fn window_functions() -> Vec<ScalarUDF> {
    let unavailable = [
        (
            "hop",
            "hop is a function of FROM only",
            "write FROM HOP(t, ts, slide, size) and group by window_start, window_end",
        ),
        ("cumulate", "CUMULATE windows are not available yet", "TUMBLE and HOP are"),
        ("session", "SESSION windows are not available yet", "TUMBLE and HOP are"),
    ];
    let unavailable = unavailable.into_iter().map(|(name, message, hint)| {
        let signature = Signature::variadic_any(Volatility::Immutable);
        ScalarUDF::new_from_impl(Unavailable { signature, name, message, hint })
    });
    unavailable.chain([ScalarUDF::new_from_impl(Tumble::new())]).collect()
}

/// `tumble(ts, size)`: the window of `ts` as `Struct{start, end}` of its type; NULL for NULL.
///
/// The size is an INTERVAL literal. A stream rewrite recognises the function by its name.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Tumble {
    signature: Signature,
}

impl Tumble {
    pub const NAME: &str = "tumble";

    fn new() -> Self {
        Tumble { signature: Signature::user_defined(Volatility::Immutable) }
    }

    /// The window of a call, from its second argument.
    ///
    /// # Errors
    /// `Invalid` where it is not a usable length.
    pub fn kind(size: &ScalarValue) -> Result<WindowKind, Error> {
        let size = interval::from_scalar(size).map_err(|why| Error::invalid(format!("the window's size {why}")))?;
        WindowKind::tumble(size)
    }

    fn units(size: Option<&ScalarValue>, time: &DataType) -> Result<WindowUnits> {
        let size = size.ok_or_else(|| {
            plan_datafusion_err!(
                "the window's size must be an INTERVAL literal, as in tumble(ts, INTERVAL '5 minutes')"
            )
        })?;
        Ok(Tumble::kind(size)?.in_unit(time_unit(time)?)?)
    }
}

/// What errors and `information_schema.routines` say of the function.
static TUMBLE_MANUAL: LazyLock<Documentation> = LazyLock::new(|| {
    let section = DocSection { include: true, label: "Window functions of time", description: None };
    let what = "The window of a time, with fields start and end; to group by.";
    Documentation::builder(section, what, "tumble(ts, INTERVAL '5 minutes'), with the time column for ts").build()
});

/// Type of the function's value for this type of time.
fn window_type(time: &DataType) -> Fields {
    Fields::from(vec![Field::new("start", time.clone(), true), Field::new("end", time.clone(), true)])
}

impl ScalarUDFImpl for Tumble {
    fn name(&self) -> &str {
        Tumble::NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [time @ DataType::Timestamp(..), DataType::Interval(_)] => {
                Ok(vec![time.clone(), DataType::Interval(IntervalUnit::MonthDayNano)])
            }
            [DataType::Interval(_)] => plan_err!("the time column is missing; it comes before the INTERVAL"),
            _ => plan_err!("it takes a time column and an INTERVAL"),
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&TUMBLE_MANUAL)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [time, _] => Ok(DataType::Struct(window_type(time))),
            _ => plan_err!("tumble takes a timestamp and an interval"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let [time, _] = args.arg_fields else { return plan_err!("tumble takes a timestamp and an interval") };
        Tumble::units(args.scalar_arguments.get(1).copied().flatten(), time.data_type())?;
        Ok(Arc::new(Field::new(self.name(), DataType::Struct(window_type(time.data_type())), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [times, ColumnarValue::Scalar(size)] = args.args.as_slice() else {
            return plan_err!("the window's size must be an INTERVAL literal");
        };
        let times = times.to_array(args.number_rows)?;
        let units = Tumble::units(Some(size), times.data_type())?;
        let ends: Int64Array =
            ticks(&times)?.iter().map(|tick| floor(tick?, units.size)?.checked_add(units.size)).collect();
        let starts: Int64Array = ends.iter().map(|end| end?.checked_sub(units.size)).collect();
        let nulls: Option<NullBuffer> = ends.nulls().cloned();
        let columns: Vec<ArrayRef> = vec![cast(&starts, times.data_type())?, cast(&ends, times.data_type())?];
        Ok(ColumnarValue::Array(Arc::new(StructArray::try_new(window_type(times.data_type()), columns, nulls)?)))
    }
}

/// A name people know from elsewhere: planning a call says what to write instead.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Unavailable {
    signature: Signature,
    name: &'static str,
    message: &'static str,
    hint: &'static str,
}

impl ScalarUDFImpl for Unavailable {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Err(Error::invalid(self.message).hint(self.hint).into())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(Error::invalid(self.message).hint(self.hint).into())
    }
}
