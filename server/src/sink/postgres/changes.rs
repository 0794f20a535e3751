//! Rows that replace one another: of a range of checkpoints for each key its newest row, or that there is none any more.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;

use super::HotTable;
use super::ddl::TableSql;
use super::refuse::altered_keys;
use super::write::Piece;
use crate::changelog::Changes;
use crate::changelog::early::EarlyForm;
use crate::error::Result;

/// Keys that one statement deletes.
const KEYS_AT_ONCE: usize = 10_000;

/// What a range of checkpoints does to the table.
pub(super) struct Netted<'a> {
    /// Rows that take the places of others, with the columns of the table.
    pub(super) rows: Cow<'a, [RecordBatch]>,
    /// The keys of rows that are no more, in the order of the primary key.
    pub(super) gone: Vec<RecordBatch>,
}

/// `batches`: of the range, from the oldest to the newest.
pub(super) fn netted<'a>(hot: &HotTable, sql: &TableSql, batches: &'a [RecordBatch]) -> Result<Netted<'a>> {
    let Changes::Upsert(key) = &hot.changes else {
        return Ok(Netted { rows: Cow::Borrowed(batches), gone: vec![] });
    };
    let form = EarlyForm::new(&hot.schema, key.clone());
    // Of the two nothing is both, so in which order they are written does not matter.
    let rows = form.newest(batches, |row| !row.gone)?.iter().map(|batch| form.in_view(batch)).collect::<Result<_>>()?;
    let gone = form.newest(batches, |row| row.gone)?;
    let gone = gone.iter().map(|batch| Ok(batch.project(&sql.key)?)).collect::<Result<_>>()?;
    Ok(Netted { rows: Cow::Owned(rows), gone })
}

/// Keys whose rows one statement deletes.
pub(super) struct Deletion {
    /// Which columns of the key are NULL in all of them.
    pub(super) nulls: Vec<bool>,
    pub(super) keys: Piece,
}

/// The statements that delete rows by their keys. Left out are keys that cannot be in the table, because Postgres would hold another one in
/// their place: that would be another row's.
pub(super) fn deletions(sql: &TableSql, gone: &[RecordBatch]) -> Result<Vec<Deletion>> {
    let mut deletions = Vec::new();
    for batch in gone {
        for first in (0..batch.num_rows()).step_by(KEYS_AT_ONCE) {
            let some = batch.slice(first, KEYS_AT_ONCE.min(batch.num_rows() - first));
            for (nulls, batch) in by_nulls(&some)? {
                let columns: Vec<usize> = (0..batch.num_columns()).collect();
                let altered: BTreeSet<usize> =
                    altered_keys(sql, &batch, &columns)?.into_iter().map(|(row, _)| row).collect();
                let rows = (0..batch.num_rows()).filter(|row| !altered.contains(row)).collect();
                deletions.push(Deletion { nulls, keys: Piece { batch, rows } });
            }
        }
    }
    Ok(deletions)
}

/// The keys by which of their columns are NULL, with that: what the same columns name is found by an index, or by a hash.
pub(super) fn by_nulls(keys: &RecordBatch) -> Result<Vec<(Vec<bool>, RecordBatch)>> {
    let mut kinds: BTreeMap<Vec<bool>, Vec<u64>> = BTreeMap::new();
    for row in 0..keys.num_rows() {
        let nulls = keys.columns().iter().map(|column| column.is_null(row)).collect();
        kinds.entry(nulls).or_default().push(row as u64);
    }
    kinds.into_iter().map(|(nulls, rows)| Ok((nulls, take_record_batch(keys, &UInt64Array::from(rows))?))).collect()
}
