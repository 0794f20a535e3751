//! Batches without what their rows do not use.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericByteViewArray, GenericListArray, MapArray, OffsetSizeTrait,
    RecordBatch, StructArray,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::compute::kernels::take::take;
use arrow::datatypes::{ByteViewType, DataType};

use super::batch_of;
use crate::error::{Error, Result};

/// The batch without the bytes that its rows do not use. The IPC writer cuts slices to size, but not the buffers that
/// views point into, nor the values of dictionaries: both are shared with batches that may be long gone.
pub fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(compact_array).collect::<Result<Vec<_>>>()?;
    Ok(batch_of(batch.schema(), columns, batch.num_rows())?)
}

/// The batch, and what it takes in memory by itself. Text that takes much more than it is long, because its buffers have room to grow or
/// are those of a larger batch, is copied.
pub fn tight(batch: RecordBatch) -> Result<(RecordBatch, usize)> {
    let wasteful = |array: &ArrayRef| {
        let (room, used) = match array.data_type() {
            DataType::Utf8View => room_and_use(array.as_string_view()),
            DataType::BinaryView => room_and_use(array.as_binary_view()),
            _ => (0, 0),
        };
        room > TIGHT_FROM && room > used + used / 4
    };
    if !batch.columns().iter().any(wasteful) {
        let bytes = batch.get_array_memory_size();
        return Ok((batch, bytes));
    }
    let columns = batch.columns().iter().map(|array| match array.data_type() {
        DataType::Utf8View if wasteful(array) => Arc::new(array.as_string_view().gc()) as ArrayRef,
        DataType::BinaryView if wasteful(array) => Arc::new(array.as_binary_view().gc()),
        _ => Arc::clone(array),
    });
    let batch = batch_of(batch.schema(), columns.collect(), batch.num_rows())?;
    let bytes = batch.get_array_memory_size();
    Ok((batch, bytes))
}

/// Bytes from which on it is worth a look.
const TIGHT_FROM: usize = 64 * 1024;

fn room_and_use<T: ByteViewType + ?Sized>(views: &GenericByteViewArray<T>) -> (usize, usize) {
    let room = views.data_buffers().iter().map(Buffer::capacity).sum();
    (room, if room > TIGHT_FROM { views.total_buffer_bytes_used() } else { room })
}

fn compact_array(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Utf8View => compact_views(array, array.as_string_view()),
        DataType::BinaryView => compact_views(array, array.as_binary_view()),
        DataType::Dictionary(_, _) => compact_dictionary(array)?,
        DataType::List(_) => compact_list::<i32>(array)?,
        DataType::LargeList(_) => compact_list::<i64>(array)?,
        DataType::Struct(fields) => {
            let parts = array.as_struct();
            let columns = parts.columns().iter().map(compact_array).collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, parts.nulls().cloned(), parts.len())?)
        }
        DataType::FixedSizeList(field, size) => {
            let lists = array.as_fixed_size_list();
            let values = compact_array(lists.values())?;
            let nulls = lists.nulls().cloned();
            Arc::new(FixedSizeListArray::try_new_with_length(field.clone(), *size, values, nulls, lists.len())?)
        }
        DataType::Map(field, ordered) => {
            let map = array.as_map();
            let (offsets, range) = rebase(map.offsets());
            let used: ArrayRef = Arc::new(map.entries().slice(range.0, range.1));
            let entries = compact_array(&used)?;
            let nulls = map.nulls().cloned();
            Arc::new(MapArray::try_new(field.clone(), offsets, entries.as_struct().clone(), nulls, *ordered)?)
        }
        _ => Arc::clone(array),
    })
}

fn compact_views<T: ByteViewType + ?Sized>(array: &ArrayRef, views: &GenericByteViewArray<T>) -> ArrayRef {
    let held: usize = views.data_buffers().iter().map(|buffer| buffer.len()).sum();
    // A copy pays off only where it drops a good part; views may share bytes, hence used > held is possible.
    if views.total_buffer_bytes_used() < held - held / 4 { Arc::new(views.gc()) } else { Arc::clone(array) }
}

fn compact_list<O: OffsetSizeTrait>(array: &ArrayRef) -> Result<ArrayRef> {
    let lists = array.as_list::<O>();
    let (offsets, range) = rebase(lists.offsets());
    let values = compact_array(&lists.values().slice(range.0, range.1))?;
    let (DataType::List(field) | DataType::LargeList(field)) = lists.data_type() else {
        return Err(Error::bug("a list array is not of a list type"));
    };
    Ok(Arc::new(GenericListArray::<O>::try_new(field.clone(), offsets, values, lists.nulls().cloned())?))
}

/// Offsets that begin at 0, and the start and length of the values they stood for.
fn rebase<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> (OffsetBuffer<O>, (usize, usize)) {
    let first = offsets.first().copied().unwrap_or_default();
    let last = offsets.last().copied().unwrap_or_default();
    let range = (first.as_usize(), last.as_usize() - first.as_usize());
    if first == O::zero() {
        return (offsets.clone(), range);
    }
    (OffsetBuffer::new(offsets.iter().map(|offset| *offset - first).collect()), range)
}

/// Keeps the values that occur, where that drops at least half of them.
fn compact_dictionary(array: &ArrayRef) -> Result<ArrayRef> {
    let dictionary = array.as_any_dictionary();
    let values = dictionary.values();
    if values.len() <= 2 * array.len() {
        return Ok(Arc::clone(array));
    }
    // Values first as a plain column, then a dictionary of what is left; not every value type can be packed again.
    let plain = take(values.as_ref(), dictionary.keys(), None)?;
    Ok(arrow::compute::cast(&plain, array.data_type()).unwrap_or_else(|_| Arc::clone(array)))
}
