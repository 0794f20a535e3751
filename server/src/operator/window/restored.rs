//! A segment that an earlier version wrote, in the form of this one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, StructArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::ties::added_to;
use crate::error::{Error, Result};
use crate::state::batch_of;

/// `schema`: of a segment today, `keys` columns and then the state of each aggregate.
///
/// # Errors
/// `Invalid` where its columns are others.
pub(super) fn as_of_today(
    segment: &RecordBatch,
    schema: &SchemaRef,
    keys: usize,
    aggregates: &[Arc<AggregateFunctionExpr>],
) -> Result<RecordBatch> {
    let columns = with_places(segment, schema, keys, aggregates)?;
    if columns.len() != schema.fields().len() {
        let (found, wanted) = (columns.len(), schema.fields().len());
        return Err(Error::invalid(format!("the state has {found} columns, and should have {wanted}")));
    }
    let columns = columns.iter().zip(schema.fields()).map(|(column, field)| converted(column, field.data_type()));
    Ok(batch_of(Arc::clone(schema), columns.collect::<Result<_>>()?, segment.num_rows())?)
}

/// The order of an aggregate did not say once where a row was read: of the rows of then it is not known.
fn with_places(
    segment: &RecordBatch,
    schema: &SchemaRef,
    keys: usize,
    aggregates: &[Arc<AggregateFunctionExpr>],
) -> Result<Vec<ArrayRef>> {
    let mut columns = segment.columns().to_vec();
    let mut next = keys;
    for aggregate in aggregates.iter().take_while(|_| segment.num_columns() != schema.fields().len()) {
        let (width, order) = (aggregate.state_fields()?.len(), aggregate.order_bys());
        // A value, what it is ordered by, and whether there is one.
        if width == order.len() + 2 {
            let last = next + width - 1;
            for at in last - added_to(order)..last.min(columns.len()) {
                columns.insert(at, new_null_array(schema.field(at).data_type(), segment.num_rows()));
            }
        }
        next += width;
    }
    Ok(columns)
}

fn converted(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    match (column.data_type(), wanted) {
        (found, wanted) if found == wanted => Ok(Arc::clone(column)),
        // Sums of whole numbers were kept in 64 bits once.
        (DataType::Int64 | DataType::UInt64, DataType::Decimal128(38, 0)) => Ok(cast(column, wanted)?),
        // And those of decimals in 128.
        (DataType::Decimal128(_, found), DataType::Decimal256(_, scale)) if found == scale => Ok(cast(column, wanted)?),
        (DataType::List(found), DataType::List(item)) => match (found.data_type(), item.data_type()) {
            (DataType::Struct(fields), DataType::Struct(all)) if all.starts_with(fields) => {
                list_with_places(column, item)
            }
            _ => Err(other(column, wanted)),
        },
        _ => Err(other(column, wanted)),
    }
}

/// A list of what values are ordered by, with the fields of `item`.
fn list_with_places(column: &ArrayRef, item: &Arc<Field>) -> Result<ArrayRef> {
    let DataType::Struct(fields) = item.data_type() else { return Err(other(column, item.data_type())) };
    let list = column.as_list::<i32>();
    let structs = list.values().as_struct();
    let mut columns = structs.columns().to_vec();
    columns.extend(fields[columns.len()..].iter().map(|field| new_null_array(field.data_type(), structs.len())));
    let structs = StructArray::try_new(fields.clone(), columns, structs.nulls().cloned())?;
    let list = ListArray::try_new(Arc::clone(item), list.offsets().clone(), Arc::new(structs), list.nulls().cloned())?;
    Ok(Arc::new(list))
}

fn other(column: &ArrayRef, wanted: &DataType) -> Error {
    Error::invalid(format!("a column of the state is {}, and should be {wanted}", column.data_type()))
}
