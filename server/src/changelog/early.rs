//! Rows that may change again, on their way from the plan that makes them to whoever shows them: those of a view, and behind them two
//! columns that nobody sees.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, new_null_array};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::newest::Newest;
use crate::clock::Micros;
use crate::error::{Error, Result};

/// The last column of a view whose rows may change again: BOOLEAN NOT NULL.
pub const IS_FINAL: &str = "is_final";

/// Names that no column of a view is likely to have; these are found by their place anyway.
const UNTIL: &str = "touchline until";
const GONE: &str = "touchline gone";
const HIDDEN: usize = 2;

/// See the module's first lines. Of a row that is gone all but its key is NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlyForm {
    view: SchemaRef,
    key: Vec<usize>,
    schema: SchemaRef,
}

/// What a row says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EarlyRow {
    /// It is final when its query has got so far, microseconds of event time; `None` where it is final already.
    pub until: Option<Micros>,
    /// There is no row of this key any more.
    pub gone: bool,
}

impl EarlyRow {
    /// Whether it may change again, where all is final up to `through`.
    pub fn is_open(self, through: Micros) -> bool {
        self.until.is_some_and(|until| until > through)
    }
}

impl EarlyForm {
    /// `view`: the columns of the view, [`IS_FINAL`] the last. `key`: indexes of those that name a row.
    pub fn new(view: &SchemaRef, key: Vec<usize>) -> Self {
        let of_view = view.fields().iter().enumerate().map(|(at, field)| match key.contains(&at) {
            true => Arc::clone(field),
            false => Arc::new(field.as_ref().clone().with_nullable(true)),
        });
        let hidden = [Field::new(UNTIL, DataType::Int64, true), Field::new(GONE, DataType::Boolean, false)];
        let fields: Vec<_> = of_view.chain(hidden.map(Arc::new)).collect();
        EarlyForm { view: Arc::clone(view), key, schema: Arc::new(Schema::new(fields)) }
    }

    /// The columns of the view.
    pub fn view(&self) -> &SchemaRef {
        &self.view
    }

    /// Those of the rows in this form.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Indexes of the columns that name a row.
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    /// Rows of the view that may change until then.
    pub fn shown(&self, rows: &RecordBatch, until: Micros) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let mut columns = rows.columns().to_vec();
        if let Some(is_final) = columns.last_mut() {
            *is_final = Arc::new(BooleanArray::from(vec![false; count]));
        }
        self.with_hidden(columns, count, Some(until), false)
    }

    /// Rows that are no more. `keys`: the values of the key, in its order.
    pub fn gone(&self, keys: &[ArrayRef], until: Micros) -> Result<RecordBatch> {
        let count = keys.first().map_or(0, |column| column.len());
        let column = |(at, field): (usize, &Arc<Field>)| match self.key.iter().position(|key| *key == at) {
            Some(place) => Arc::clone(&keys[place]),
            None => new_null_array(field.data_type(), count),
        };
        let columns = self.view.fields().iter().enumerate().map(column).collect();
        self.with_hidden(columns, count, Some(until), true)
    }

    /// Rows of the view that are final.
    pub fn settled(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        self.with_hidden(rows.columns().to_vec(), rows.num_rows(), None, false)
    }

    fn with_hidden(
        &self,
        mut columns: Vec<ArrayRef>,
        rows: usize,
        until: Option<Micros>,
        gone: bool,
    ) -> Result<RecordBatch> {
        columns.push(Arc::new(Int64Array::from(vec![until; rows])));
        columns.push(Arc::new(BooleanArray::from(vec![gone; rows])));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// What the rows of a batch in this form say of themselves.
    ///
    /// # Errors
    /// `Corrupt` where it is not in this form.
    pub fn rows(&self, batch: &RecordBatch) -> Result<Vec<EarlyRow>> {
        let hidden = |at: usize| batch.columns().get(self.view.fields().len() + at);
        let until = hidden(0).and_then(|column| column.as_primitive_opt::<Int64Type>());
        let gone = hidden(1).and_then(|column| column.as_boolean_opt());
        let (Some(until), Some(gone)) = (until, gone) else { return Err(other_form()) };
        let row = |row| EarlyRow { until: until.is_valid(row).then(|| until.value(row)), gone: gone.value(row) };
        Ok((0..batch.num_rows()).map(row).collect())
    }

    /// Of each key the newest row, where `keep` wants it. `batches`: from the oldest to the newest.
    pub fn newest(&self, batches: &[RecordBatch], keep: impl Fn(EarlyRow) -> bool) -> Result<Vec<RecordBatch>> {
        let mut newest = Newest::new(&self.schema, &self.key)?;
        batches.iter().try_for_each(|batch| newest.add(batch))?;
        let kept = batches.iter().zip(newest.masks()).map(|(batch, mask)| self.pick(batch, &mask, &keep));
        Ok(kept.collect::<Result<Vec<_>>>()?.into_iter().filter(|batch| batch.num_rows() > 0).collect())
    }

    /// The rows of a batch that are among `chosen` and that `keep` wants.
    pub fn pick(
        &self,
        batch: &RecordBatch,
        chosen: &BooleanArray,
        keep: impl Fn(EarlyRow) -> bool,
    ) -> Result<RecordBatch> {
        let rows = self.rows(batch)?.into_iter().enumerate();
        let mask: Vec<bool> = rows.map(|(at, row)| chosen.value(at) && keep(row)).collect();
        Ok(filter_record_batch(batch, &BooleanArray::from(mask))?)
    }

    /// Rows of which none is gone, as the view has them.
    ///
    /// # Errors
    /// `Bug` where one is.
    pub fn in_view(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = batch.columns().iter().take(self.view.fields().len()).cloned().collect();
        let rows = RecordBatch::try_new(Arc::clone(&self.view), columns);
        rows.map_err(|error| Error::bug("a row that is gone is shown").caused_by(error))
    }

    /// A batch that a checkpoint held, in the types of today.
    ///
    /// # Errors
    /// `Corrupt` where it is not in this form.
    pub fn restored(&self, batch: RecordBatch) -> Result<RecordBatch> {
        if batch.schema_ref() == &self.schema {
            return Ok(batch);
        }
        if batch.num_columns() != self.view.fields().len() + HIDDEN {
            return Err(other_form());
        }
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<_, _>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

fn other_form() -> Error {
    Error::corrupt("rows of open windows were written in another form")
        .hint("rename the view, so that it starts anew beside the old one")
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;

    use super::*;

    fn form() -> EarlyForm {
        let fields = vec![
            Field::new("n", DataType::Int64, false),
            Field::new("k", DataType::Utf8, true),
            Field::new(IS_FINAL, DataType::Boolean, false),
        ];
        EarlyForm::new(&Arc::new(Schema::new(fields)), vec![1])
    }

    fn rows(form: &EarlyForm, rows: &[(&str, i64)]) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|(_, n)| Some(*n)).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|(key, _)| Some(*key)).collect::<StringArray>()),
            Arc::new(BooleanArray::from(vec![true; rows.len()])),
        ];
        RecordBatch::try_new(Arc::clone(form.view()), columns).unwrap()
    }

    fn keys(keys: &[&str]) -> [ArrayRef; 1] {
        [Arc::new(StringArray::from(keys.to_vec()))]
    }

    #[test]
    fn what_is_gone_hides_what_was_before_it_and_what_comes_after_shows_again() {
        let form = form();
        let batches = [
            form.shown(&rows(&form, &[("a", 1), ("b", 2), ("c", 3)]), 10).unwrap(),
            form.gone(&keys(&["b", "c"]), 10).unwrap(),
            form.shown(&rows(&form, &[("c", 4), ("d", 5)]), 20).unwrap(),
        ];
        let shown = |through: Micros| {
            let newest = form.newest(&batches, |row| !row.gone && row.is_open(through)).unwrap();
            let rows = newest.iter().map(|batch| form.in_view(batch).unwrap());
            rows.flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect::<Vec<_>>()
        };
        assert_eq!((shown(9), shown(10), shown(20)), (vec![1, 4, 5], vec![4, 5], vec![]));
        let gone = form.newest(&batches, |row| row.gone).unwrap();
        assert_eq!(gone.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
        assert!(form.in_view(&gone[0]).is_err());
    }

    #[test]
    fn rows_say_whether_they_are_final() {
        let form = form();
        let final_rows = form.settled(&rows(&form, &[("a", 1)])).unwrap();
        assert_eq!(form.rows(&final_rows).unwrap(), [EarlyRow { until: None, gone: false }]);
        assert!(form.in_view(&final_rows).unwrap().column(2).as_boolean().value(0));
        let early = form.shown(&rows(&form, &[("a", 1)]), 7).unwrap();
        assert_eq!(form.rows(&early).unwrap(), [EarlyRow { until: Some(7), gone: false }]);
        assert!(!form.in_view(&early).unwrap().column(2).as_boolean().value(0));
    }

    #[test]
    fn what_a_checkpoint_held_is_read_in_the_types_of_today() {
        let form = form();
        let batch = form.shown(&rows(&form, &[("a", 1)]), 7).unwrap();
        let mut fields: Vec<Field> = form.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
        fields[1] = fields[1].clone().with_data_type(DataType::Utf8View);
        let mut columns = batch.columns().to_vec();
        columns[1] = cast(&columns[1], &DataType::Utf8View).unwrap();
        let other = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        assert_eq!(form.restored(other).unwrap(), batch);
        let short = batch.project(&[0, 1]).unwrap();
        assert_eq!(form.restored(short).unwrap_err().kind(), crate::error::ErrorKind::Corrupt);
    }
}
