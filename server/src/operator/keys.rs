//! What rows are looked up by: the values of their keys, one hash for all of them, and whether they are equal.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::compute::and;
use arrow::record_batch::RecordBatch;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::common::utils::normalize_float_zero;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr_common::datum::apply_cmp;
use datafusion::physical_plan::PhysicalExpr;

/// All sides hash with this state; a value of its own keeps the buckets apart from DataFusion's shuffles.
const HASH_STATE: RandomState = RandomState::with_seed(0x6c6f_6f6b_7570);

/// The keys' values, with one zero for both of a floating point number: they are equal.
pub(super) fn evaluate(keys: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let value = |key: &Arc<dyn PhysicalExpr>| key.evaluate(batch)?.into_array(batch.num_rows());
    keys.iter().map(|key| Ok(normalize_float_zero(&value(key)?))).collect()
}

/// As [`evaluate`], of keys that are columns.
pub(super) fn columns(keys: &[usize], batch: &RecordBatch) -> Vec<ArrayRef> {
    keys.iter().map(|key| normalize_float_zero(batch.column(*key))).collect()
}

pub(super) fn hash(keys: &[ArrayRef], rows: usize) -> Result<Vec<u64>> {
    let mut hashes = vec![0; rows];
    create_hashes(keys, &HASH_STATE, &mut hashes)?;
    // Tests keep three bits, so that they meet unequal keys of one hash all the time.
    if cfg!(test) {
        hashes.iter_mut().for_each(|hash| *hash &= 7);
    }
    Ok(hashes)
}

/// Of a key in the form that Arrow gives rows, which are equal where their bytes are.
pub(super) fn hash_of_bytes(key: &[u8]) -> u64 {
    HASH_STATE.hash_one(key)
}

/// Rows whose key has a NULL in it are null. `None`: no row has.
pub(super) fn nulls(keys: &[ArrayRef]) -> Option<NullBuffer> {
    // Logical nulls: a dictionary may hide a NULL among its values.
    let nulls: Vec<_> = keys.iter().map(|key| key.logical_nulls()).collect();
    NullBuffer::union_many(nulls.iter().map(Option::as_ref)).filter(|nulls| nulls.null_count() > 0)
}

/// Which rows have the same key on both sides. There is at least one column. `compare`: `=`, or one by which NULL is a value like another.
pub(super) fn equal(near: &[ArrayRef], far: &[ArrayRef], compare: Operator) -> Result<BooleanArray> {
    let mut equal: Option<BooleanArray> = None;
    for (near, far) in near.iter().zip(far) {
        let (near, far) = (normalize_float_zero(near), normalize_float_zero(far));
        let rows = near.len();
        let these = apply_cmp(compare, &ColumnarValue::Array(near), &ColumnarValue::Array(far))?;
        let these = as_boolean_array(&these.into_array(rows)?)?.clone();
        equal = Some(match equal {
            Some(others) => and(&others, &these)?,
            None => these,
        });
    }
    Ok(equal.unwrap_or_else(|| BooleanArray::from(vec![true; near.first().map_or(0, |key| key.len())])))
}
