//! Decoded rows → the same rows with the computed columns that are read, a batch at a time.
//!
//! Only what is read is computed, and only what that needs is decoded. Where an expression fails, the batch is halved until the row that
//! it cannot take stands alone: that row is a bad record of the table, and the others go on. A row is judged by itself, so it does not
//! matter with which others it came.

mod kept;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, concat, filter};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef};
use datafusion::error::DataFusionError;

pub(super) use self::kept::{Kept, KeptRow};
use super::json::{RowError, refusal, sql_type};
use super::time;
use crate::catalog::{Column, ColumnKind, Computed, TableDef};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::{Code, Written, at_failed_value};

/// What makes the computed columns among those that are read.
pub(crate) struct Computing {
    /// Indices of the table's columns that have to be decoded, ascending.
    decoded: Vec<usize>,
    /// Each after those that it reads.
    steps: Vec<Step>,
    /// Where each column that is asked for stands among the decoded ones and, behind them, the computed ones.
    places: Vec<usize>,
    /// Of the columns that are asked for.
    schema: SchemaRef,
}

struct Step {
    column: Column,
    computed: Arc<Computed>,
    /// As [`Computing::places`], of the columns that the expression reads.
    reads: Vec<usize>,
}

/// Rows with all columns that are asked for.
pub(crate) struct Complete {
    pub(crate) batch: RecordBatch,
    /// The rows that are left out, by their place in what was decoded, ascending.
    pub(crate) refused: Vec<(usize, RowError)>,
}

/// Rows that have been computed together: the first of them in what was decoded, and the columns of [`Computing::places`].
struct Piece {
    first: usize,
    rows: usize,
    columns: Vec<ArrayRef>,
}

impl Computing {
    /// `columns`: indices into the table's columns. `None` where none of them is computed.
    ///
    /// # Errors
    /// `Bug` where a column reads what the table does not have.
    pub(crate) fn of(def: &TableDef, columns: &[usize]) -> Result<Option<Self>> {
        let is_computed = |index: &usize| {
            def.columns.get(*index).is_some_and(|column| matches!(column.kind, ColumnKind::Computed(_)))
        };
        if !columns.iter().any(is_computed) {
            return Ok(None);
        }
        let (mut decoded, mut computed) = (BTreeSet::new(), Vec::new());
        for index in columns {
            needed(def, *index, &mut decoded, &mut computed)?;
        }
        let decoded: Vec<usize> = decoded.into_iter().collect();
        let place = |index: &usize| {
            let behind = computed.iter().position(|computed| computed == index).map(|at| decoded.len() + at);
            decoded.binary_search(index).ok().or(behind)
        };
        let lost = || Error::bug("a computed column that is computed from nothing");
        let places = |indices: &[usize]| indices.iter().map(place).collect::<Option<Vec<usize>>>().ok_or_else(lost);
        let mut steps = Vec::new();
        for index in &computed {
            let column = &def.columns[*index];
            if let ColumnKind::Computed(computed) = &column.kind {
                let (column, reads) = (column.clone(), places(&computed.reads)?);
                steps.push(Step { column, computed: Arc::clone(computed), reads });
            }
        }
        let fields: Vec<_> = columns.iter().map(|index| def.columns[*index].field()).collect();
        Ok(Some(Computing { places: places(columns)?, decoded, steps, schema: Arc::new(Schema::new(fields)) }))
    }

    pub(crate) fn decoded(&self) -> &[usize] {
        &self.decoded
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// `decoded`: rows of the columns of [`Computing::decoded`].
    ///
    /// # Errors
    /// Those for which no row is to blame.
    pub(crate) fn complete(&self, decoded: &RecordBatch) -> Result<Complete> {
        if decoded.num_rows() == 0 {
            return Ok(Complete { batch: RecordBatch::new_empty(Arc::clone(&self.schema)), refused: vec![] });
        }
        let (mut pieces, mut refused) = (Vec::new(), BTreeMap::new());
        self.compute(decoded, 0, &mut pieces, &mut refused)?;
        for piece in &pieces {
            self.judge(piece, &mut refused)?;
        }
        let kept: Vec<bool> = pieces
            .iter()
            .flat_map(|piece| piece.first..piece.first + piece.rows)
            .map(|row| !refused.contains_key(&row))
            .collect();
        let rows = kept.iter().filter(|kept| **kept).count();
        let mask = (rows < kept.len()).then(|| BooleanArray::from(kept));
        let column = |place: &usize| -> Result<ArrayRef> {
            let parts: Vec<&dyn Array> = pieces.iter().map(|piece| piece.columns[*place].as_ref()).collect();
            let whole = match pieces.as_slice() {
                // Every row has been refused.
                [] => return Ok(arrow::array::new_empty_array(self.type_of(decoded, *place))),
                [piece] => Arc::clone(&piece.columns[*place]),
                _ => concat(&parts)?,
            };
            Ok(match &mask {
                None => whole,
                Some(mask) => filter(&whole, mask)?,
            })
        };
        let columns = self.places.iter().map(column).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        Ok(Complete { batch, refused: refused.into_iter().collect() })
    }

    fn type_of<'a>(&'a self, decoded: &'a RecordBatch, place: usize) -> &'a DataType {
        match place.checked_sub(self.decoded.len()) {
            None => decoded.column(place).data_type(),
            Some(step) => &self.steps[step].column.data_type,
        }
    }

    /// `first`: the place of the first of these rows. Rows that an expression cannot take go into `refused`.
    fn compute(
        &self,
        rows: &RecordBatch,
        first: usize,
        pieces: &mut Vec<Piece>,
        refused: &mut BTreeMap<usize, RowError>,
    ) -> Result<()> {
        let count = rows.num_rows();
        let (step, error) = match self.columns(rows) {
            Ok(columns) => {
                pieces.push(Piece { first, rows: count, columns });
                return Ok(());
            }
            Err((step, error)) => (step, Error::from(error)),
        };
        if error.kind() != ErrorKind::Invalid {
            return Err(error);
        }
        if count <= 1 {
            refused.insert(first, step.failed(error));
            return Ok(());
        }
        let half = count / 2;
        self.compute(&rows.slice(0, half), first, pieces, refused)?;
        self.compute(&rows.slice(half, count - half), first + half, pieces, refused)
    }

    /// The decoded columns and those that are computed from them; else the first that fails.
    fn columns(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>, (&Step, DataFusionError)> {
        let count = rows.num_rows();
        let mut columns = rows.columns().to_vec();
        for step in &self.steps {
            let read = step.reads.iter().map(|place| Arc::clone(&columns[*place])).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(count));
            let value = RecordBatch::try_new_with_options(Arc::clone(&step.computed.over), read, &options)
                .map_err(DataFusionError::from)
                .and_then(|read| step.computed.physical.evaluate(&read)?.into_array(count));
            columns.push(value.map_err(|error| (step, error))?);
        }
        Ok(columns)
    }

    /// Holds computed values to the rules of their columns, as decoded ones are.
    fn judge(&self, piece: &Piece, refused: &mut BTreeMap<usize, RowError>) -> Result<()> {
        for (step, values) in self.steps.iter().zip(&piece.columns[self.decoded.len()..]) {
            let mut refuse = |row: usize, reason: String| {
                let column = Some(step.column.name.clone());
                refused.entry(piece.first + row).or_insert(RowError { column, reason });
            };
            step.times_beyond(values)?.into_iter().for_each(|(row, reason)| refuse(row, reason));
            if !step.column.nullable && values.null_count() > 0 {
                let name = &step.column.name;
                (0..piece.rows).filter(|row| values.is_null(*row)).for_each(|row| {
                    refuse(row, format!("column \"{name}\" is computed as NULL; the schema says NOT NULL"))
                });
            }
            for check in &step.column.checks {
                let rows = check.refused(values);
                rows.into_iter().for_each(|row| refuse(row, refusal(&step.column.name, check, values, row)));
            }
        }
        Ok(())
    }
}

/// Notes the columns that `index` is made of: those to decode, and those to compute, each after what it reads.
fn needed(def: &TableDef, index: usize, decoded: &mut BTreeSet<usize>, computed: &mut Vec<usize>) -> Result<()> {
    let column = def.columns.get(index).ok_or_else(|| {
        Error::bug(format!("column {index} of table \"{}\" was asked for, but it has fewer", def.name))
    })?;
    let ColumnKind::Computed(by) = &column.kind else {
        decoded.insert(index);
        return Ok(());
    };
    if !computed.contains(&index) {
        // Circles have been refused with the statement.
        by.reads.iter().try_for_each(|read| needed(def, *read, decoded, computed))?;
        computed.push(index);
    }
    Ok(())
}

impl Step {
    /// What is said of a row that the expression cannot take.
    fn failed(&self, error: Error) -> RowError {
        let Computed { at, written, .. } = self.computed.as_ref();
        let error = at_failed_value(error, at, &[Written { file: &at.file, code: Code::Expr(written) }]);
        let place = error.location().unwrap_or(at);
        let detail = error.detail_text().map(|detail| format!(" ({detail})")).unwrap_or_default();
        let name = &self.column.name;
        let reason = format!("{place}: column \"{name}\" cannot be computed: {}{detail}", error.primary());
        RowError { column: Some(name.clone()), reason }
    }

    /// The rows of a time that no column holds.
    fn times_beyond(&self, values: &ArrayRef) -> Result<Vec<(usize, String)>> {
        let DataType::Timestamp(unit, _) = values.data_type() else { return Ok(vec![]) };
        let counts = cast(values, &DataType::Int64)?;
        let counts = counts.as_primitive::<Int64Type>();
        let (name, says) = (&self.column.name, sql_type(&self.column.data_type));
        let reason = |count: i64| {
            let range = time::range(*unit);
            format!("column \"{name}\" is computed as {count}, outside {range}; the schema says {says}")
        };
        let beyond = counts.iter().enumerate().filter_map(|(row, count)| {
            let count = count.filter(|count| !time::holds(*count, *unit))?;
            Some((row, reason(count)))
        });
        Ok(beyond.collect())
    }
}
