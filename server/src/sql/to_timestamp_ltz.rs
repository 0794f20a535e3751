//! `to_timestamp_ltz(number, precision)`: Flink's function that makes an instant of seconds or milliseconds since the Unix epoch.

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::types::UTC;
use crate::error::Error;

/// Makes the function known to a session.
pub fn add_to_timestamp_ltz(session: &SessionContext) {
    session.register_udf(ScalarUDF::new_from_impl(ToTimestampLtz::new()));
}

/// Its value is a `TIMESTAMP_LTZ(3)`, whatever the precision of the number is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ToTimestampLtz {
    signature: Signature,
    manual: Documentation,
}

impl ToTimestampLtz {
    fn new() -> Self {
        let section = DocSection { include: true, label: "Time and date functions", description: None };
        let what =
            "The instant of a number of seconds (precision 0) or milliseconds (precision 3) since 1970-01-01 UTC.";
        let manual = Documentation::builder(section, what, "to_timestamp_ltz(number, 3)").build();
        ToTimestampLtz { signature: Signature::user_defined(Volatility::Immutable), manual }
    }
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some(UTC.into()))
}

impl ScalarUDFImpl for ToTimestampLtz {
    fn name(&self) -> &str {
        "to_timestamp_ltz"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [number, precision]
                if (number.is_integer() || number.is_null())
                    && precision.is_integer()
                    && *number != DataType::UInt64 =>
            {
                Ok(vec![DataType::Int64, DataType::Int64])
            }
            _ => plan_err!("it takes a whole number, and 0 for seconds or 3 for milliseconds"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(instant())
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.manual)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let factor = match args.args.get(1) {
            Some(ColumnarValue::Scalar(ScalarValue::Int64(Some(0)))) => 1_000,
            Some(ColumnarValue::Scalar(ScalarValue::Int64(Some(3)))) => 1,
            _ => {
                return Err(Error::invalid("the precision of to_timestamp_ltz is 0 for seconds or 3 for milliseconds")
                    .hint("write to_timestamp_ltz(number, 3)")
                    .into());
            }
        };
        let Some(numbers) = args.args.first() else { return plan_err!("to_timestamp_ltz without a number") };
        let is_constant = matches!(numbers, ColumnarValue::Scalar(_));
        let numbers = numbers.to_array(if is_constant { 1 } else { args.number_rows })?;
        let millis = numbers.as_primitive::<Int64Type>().try_unary::<_, Int64Type, _>(|number| {
            number.checked_mul(factor).ok_or_else(|| ArrowError::ComputeError(format!("{number} seconds are no time")))
        })?;
        // The same bits under another type.
        let times = cast(&millis, &instant())?;
        Ok(match is_constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&times, 0)?),
            false => ColumnarValue::Array(times),
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;

    use super::*;

    async fn shown(query: &str) -> std::result::Result<String, String> {
        let context = SessionContext::new();
        add_to_timestamp_ltz(&context);
        let rows = async { context.sql(query).await?.collect().await };
        let rows = rows.await.map_err(|error| error.strip_backtrace())?;
        Ok(pretty_format_batches(&rows).expect("rows").to_string())
    }

    #[tokio::test]
    async fn seconds_and_milliseconds_are_instants() {
        let query = "SELECT to_timestamp_ltz(n, 3) AS ms, to_timestamp_ltz(n / 1000, 0) AS s FROM (VALUES (1700000000123), (-1), (NULL)) AS t(n)";
        assert_eq!(
            shown(query).await.expect("rows"),
            "\
+--------------------------+----------------------+
| ms                       | s                    |
+--------------------------+----------------------+
| 2023-11-14T22:13:20.123Z | 2023-11-14T22:13:20Z |
| 1969-12-31T23:59:59.999Z | 1970-01-01T00:00:00Z |
|                          |                      |
+--------------------------+----------------------+"
        );
        let error = shown("SELECT to_timestamp_ltz(9223372036854775807, 0)").await.expect_err("too late");
        assert!(error.contains("9223372036854775807 seconds are no time"), "{error}");
        let error = shown("SELECT to_timestamp_ltz(1, 6)").await.expect_err("no such precision");
        assert!(error.contains("0 for seconds or 3 for milliseconds"), "{error}");
        let error = shown("SELECT to_timestamp_ltz('x', 3)").await.expect_err("no number");
        assert!(error.contains("it takes a whole number"), "{error}");
    }
}
