//! Rows that may change again, and the final ones, as rows that only come: what a place needs that can replace nothing, so that its readers
//! find the newest row of each key themselves.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::early::EarlyForm;
use crate::error::{Error, Result};

/// The checkpoint that a change came with: BIGINT NOT NULL, from 1, of one key each at most once.
pub const CHECKPOINT: &str = "tl_checkpoint";

/// Whether there is no row of this key any more: BOOLEAN NOT NULL.
pub const DELETED: &str = "tl_deleted";

/// See the module's first lines. The columns of the view, all but its key nullable, then [`CHECKPOINT`] and [`DELETED`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeForm {
    early: Arc<EarlyForm>,
    schema: SchemaRef,
}

impl ChangeForm {
    /// # Errors
    /// `Invalid` where the view has a column of one of the names.
    pub fn try_new(early: &Arc<EarlyForm>) -> Result<Self> {
        let of_view = early.view().fields();
        if let Some(field) = of_view.iter().find(|field| [CHECKPOINT, DELETED].contains(&field.name().as_str())) {
            return Err(Error::invalid(format!(
                "files of changes have a column {} of their own, and the query has one of this name",
                field.name()
            ))
            .hint("give it another name, with AS"));
        }
        let own = [(CHECKPOINT, DataType::Int64), (DELETED, DataType::Boolean)];
        let own = own.map(|(name, data_type)| Arc::new(Field::new(name, data_type, false)));
        let fields: Vec<_> = early.schema().fields().iter().take(of_view.len()).cloned().chain(own).collect();
        Ok(ChangeForm { early: Arc::clone(early), schema: Arc::new(Schema::new(fields)) })
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows of a batch that are among `chosen`, as changes of a checkpoint. `batch`: in the form of early rows.
    ///
    /// # Errors
    /// `Corrupt` where it is not in that form.
    pub fn changes(&self, batch: &RecordBatch, chosen: &BooleanArray, checkpoint: u64) -> Result<RecordBatch> {
        let batch = filter_record_batch(batch, chosen)?;
        let gone: BooleanArray = self.early.rows(&batch)?.into_iter().map(|row| Some(row.gone)).collect();
        let mut columns: Vec<ArrayRef> =
            batch.columns().iter().take(self.early.view().fields().len()).cloned().collect();
        if let Some(is_final) = columns.last_mut() {
            // Of a row that is gone it is unknown, and whoever looks for final rows looks for TRUE.
            let known = is_final.as_boolean();
            let known: BooleanArray =
                (0..known.len()).map(|row| Some(known.is_valid(row) && known.value(row))).collect();
            *is_final = Arc::new(known);
        }
        let checkpoint = i64::try_from(checkpoint).map_err(|_| Error::bug("a checkpoint's number is over 2^63"))?;
        columns.push(Arc::new(Int64Array::from(vec![checkpoint; batch.num_rows()])));
        columns.push(Arc::new(gone));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::changelog::early::IS_FINAL;

    fn form(second: &str) -> Arc<EarlyForm> {
        let fields = vec![
            Field::new("k", DataType::Int64, false),
            Field::new(second, DataType::Int64, false),
            Field::new(IS_FINAL, DataType::Boolean, false),
        ];
        Arc::new(EarlyForm::new(&Arc::new(Schema::new(fields)), vec![0]))
    }

    fn rows(form: &EarlyForm, rows: &[(i64, i64)]) -> RecordBatch {
        let column = |of: fn(&(i64, i64)) -> i64| Arc::new(rows.iter().map(of).collect::<Int64Array>()) as ArrayRef;
        let is_final: ArrayRef = Arc::new(BooleanArray::from(vec![true; rows.len()]));
        RecordBatch::try_new(Arc::clone(form.view()), vec![column(|row| row.0), column(|row| row.1), is_final]).unwrap()
    }

    #[test]
    fn a_change_says_its_checkpoint_whether_it_is_final_and_whether_there_is_a_row_at_all() {
        let early = form("n");
        let form = ChangeForm::try_new(&early).unwrap();
        let gone: ArrayRef = Arc::new(Int64Array::from(vec![3]));
        let all = BooleanArray::from(vec![true; 2]);
        let second = BooleanArray::from(vec![false, true]);
        let told = |batch: RecordBatch, chosen: &BooleanArray| {
            let batch = form.changes(&batch, chosen, 9).unwrap();
            assert_eq!(batch.schema_ref(), form.schema());
            let number = |at: usize, row: usize| {
                let column = batch.column(at).as_primitive::<Int64Type>();
                column.is_valid(row).then(|| column.value(row))
            };
            let is = |at: usize, row: usize| batch.column(at).as_boolean().value(row);
            (0..batch.num_rows())
                .map(|row| (number(0, row), number(1, row), is(2, row), number(3, row), is(4, row)))
                .collect::<Vec<_>>()
        };
        let shown = early.shown(&rows(&early, &[(1, 10), (2, 20)]), 7).unwrap();
        assert_eq!(told(shown, &second), [(Some(2), Some(20), false, Some(9), false)]);
        let settled = early.settled(&rows(&early, &[(1, 11), (2, 21)])).unwrap();
        assert_eq!(
            told(settled, &all),
            [(Some(1), Some(11), true, Some(9), false), (Some(2), Some(21), true, Some(9), false)]
        );
        let gone = early.gone(&[gone], 7).unwrap();
        assert_eq!(told(gone, &BooleanArray::from(vec![true])), [(Some(3), None, false, Some(9), true)]);
    }

    #[test]
    fn a_view_cannot_have_the_columns_that_are_added() {
        for name in [CHECKPOINT, DELETED] {
            let error = ChangeForm::try_new(&form(name)).unwrap_err();
            assert!(error.report().contains(name), "{}", error.report());
        }
    }
}
