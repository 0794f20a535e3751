//! The dead letters as they are read: text where they are text, and no record so long that the others cannot be read for it.
//!
//! A record of 5 MB fits into no message of Flight, and `SELECT *` would fail by it. So `touchline.dead_letters` has the
//! beginning of each key and value, and says how long the value is; `touchline.dead_letters_whole` has all of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array, StringArray};
use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, Expr, LogicalPlanBuilder, ScalarUDF, Volatility, create_udf};

/// Bytes of a key or a value in the table that is read by `SELECT *`.
const PREVIEW_BYTES: usize = 64 * 1024;

/// The ledger with the columns `text`, the value where it is UTF-8, and `value_bytes`, its length. `whole`: keys and values are not cut.
pub(super) fn readable(ledger: Arc<dyn TableProvider>, whole: bool) -> Result<Arc<dyn TableProvider>> {
    let most = if whole { usize::MAX } else { PREVIEW_BYTES };
    let column = |name: &str| Expr::Column(Column::new_unqualified(name));
    let schema = ledger.schema();
    let mut columns = Vec::with_capacity(schema.fields().len() + 2);
    for field in schema.fields() {
        let is_cut = *field.data_type() == DataType::Binary && ["key", "value"].contains(&field.name().as_str());
        columns.push(match is_cut && !whole {
            true => beginning(most).call(vec![column(field.name())]).alias(field.name()),
            false => column(field.name()),
        });
    }
    if schema.field_with_name("value").is_ok_and(|value| *value.data_type() == DataType::Binary) {
        columns.push(text(most).call(vec![column("value")]).alias("text"));
        columns.push(length().call(vec![column("value")]).alias("value_bytes"));
    }
    let plan = LogicalPlanBuilder::scan("dead_letters", provider_as_source(ledger), None)?.project(columns)?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

fn beginning(most: usize) -> ScalarUDF {
    of_bytes("beginning", DataType::Binary, move |values| {
        Arc::new(values.iter().map(|value| Some(cut(value?, most))).collect::<BinaryArray>())
    })
}

fn text(most: usize) -> ScalarUDF {
    of_bytes("text", DataType::Utf8, move |values| {
        Arc::new(values.iter().map(|value| as_text(value?, most)).collect::<StringArray>())
    })
}

fn length() -> ScalarUDF {
    of_bytes("length", DataType::Int64, |values| {
        Arc::new(values.iter().map(|value| i64::try_from(value?.len()).ok()).collect::<Int64Array>())
    })
}

fn of_bytes(
    name: &str,
    returns: DataType,
    compute: impl Fn(&BinaryArray) -> ArrayRef + Send + Sync + 'static,
) -> ScalarUDF {
    let run = move |arguments: &[ColumnarValue]| -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        Ok(ColumnarValue::Array(compute(arrays[0].as_binary::<i32>())))
    };
    create_udf(name, vec![DataType::Binary], returns, Volatility::Immutable, Arc::new(run))
}

fn cut(value: &[u8], most: usize) -> &[u8] {
    &value[..value.len().min(most)]
}

/// The beginning of a value as text; a character that was cut apart is left out. `None` for what is no text.
fn as_text(value: &[u8], most: usize) -> Option<&str> {
    let beginning = cut(value, most);
    match str::from_utf8(beginning) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() && beginning.len() < value.len() => {
            str::from_utf8(&beginning[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;
    use arrow::datatypes::Int64Type;
    use datafusion::datasource::MemTable;
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn read(whole: bool, sql: &str) -> RecordBatch {
        let long = "ä".repeat(3_000_000);
        let values: Vec<Option<&[u8]>> =
            vec![Some(b"{\"a\": 1}"), Some(b"\xff\x00"), None, Some(long.as_bytes()), Some(b"")];
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5));
        let values: ArrayRef = Arc::new(BinaryArray::from(values));
        let batch = RecordBatch::try_from_iter_with_nullable([("offset", numbers, false), ("value", values, true)]);
        let batch = batch.expect("a batch");
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).expect("a table");
        let session = SessionContext::new();
        session.register_table("d", readable(Arc::new(table), whole).expect("a view")).expect("its name is free");
        let batches = session.sql(sql).await.expect(sql).collect().await.expect(sql);
        arrow::compute::concat_batches(&batches[0].schema(), &batches).expect("one schema")
    }

    #[tokio::test]
    async fn a_value_is_text_where_it_is_and_a_long_one_does_not_hide_the_others() {
        let rows = read(false, "SELECT * FROM d ORDER BY \"offset\"").await;
        let names: Vec<_> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["offset", "value", "text", "value_bytes"]);
        let texts = rows.column(2).as_string::<i32>();
        let lengths: Vec<_> = texts.iter().map(|text| text.map(str::len)).collect();
        assert_eq!(lengths, [Some(8), None, None, Some(PREVIEW_BYTES), Some(0)]);
        assert_eq!(texts.value(0), "{\"a\": 1}");
        assert_eq!(rows.column(1).as_binary::<i32>().value(3).len(), PREVIEW_BYTES);
        let bytes: Vec<_> = rows.column(3).as_primitive::<Int64Type>().iter().collect();
        assert_eq!(bytes, [Some(8), Some(2), None, Some(6_000_000), Some(0)]);
    }

    #[tokio::test]
    async fn the_whole_is_there_for_who_asks_for_it() {
        let rows = read(true, "SELECT text, value FROM d WHERE \"offset\" = 3").await;
        assert_eq!(rows.column(0).as_string::<i32>().value(0).len(), 6_000_000);
        assert_eq!(rows.column(1).as_binary::<i32>().value(0).len(), 6_000_000);
    }

    #[test]
    fn a_character_that_was_cut_apart_is_left_out() {
        assert_eq!(as_text("aä".as_bytes(), 2), Some("a"));
        assert_eq!(as_text("aä".as_bytes(), 3), Some("aä"));
        assert_eq!(as_text(&"aä".as_bytes()[..2], 3), None, "it ends in half a character by itself");
        assert_eq!(as_text(b"a\xffb", 2), None);
    }
}
