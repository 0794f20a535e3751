//! Partial aggregates of the same keys into one: the only place that holds accumulators, and only for the length of a call.
//!
//! Accumulators are made fresh, fed with `merge_batch`, read out once with `EmitTo::All` and dropped. That is the subset of
//! DataFusion's accumulator contract on which every aggregate function agrees: reading one is destructive, and some are
//! slow or wrong when they live on.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::aggregates::group_values::new_group_values;
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::restored::as_of_today;
use crate::error::Error;
use crate::state::{Merge, batch_of};

/// See [`StateMerge::finish`].
pub(super) type BadGroup<'a> = &'a mut dyn FnMut(&[ArrayRef], Error) -> crate::error::Result<()>;

/// How the partial states of one windowed aggregate merge.
#[derive(Debug)]
pub(super) struct StateMerge {
    aggregates: Vec<Arc<AggregateFunctionExpr>>,
    /// Number of leading key columns of a segment.
    keys: usize,
    /// Keys, then the state columns of each aggregate in turn: the schema of every segment.
    schema: SchemaRef,
}

impl StateMerge {
    /// `partial`: the output schema of the partial aggregation, `(pane, key…, state…)`.
    ///
    /// # Errors
    /// What an aggregate has against the types of its arguments: some say it only when they begin.
    pub(super) fn try_new(
        aggregates: Vec<Arc<AggregateFunctionExpr>>,
        partial: &Schema,
        keys: usize,
    ) -> crate::error::Result<Self> {
        for aggregate in &aggregates {
            let begun = match aggregate.groups_accumulator_supported() {
                true => aggregate.create_groups_accumulator().map(|_| ()),
                false => aggregate.create_accumulator().map(|_| ()),
            };
            begun.map_err(|error| {
                Error::invalid(format!("{} cannot be computed", aggregate.name()))
                    .detail(Error::from(error).primary())
                    .hint("CAST its argument to a type that it takes, as VARCHAR or BIGINT")
            })?;
        }
        let schema = Arc::new(Schema::new(partial.fields().iter().skip(1).cloned().collect::<Vec<_>>()));
        Ok(StateMerge { aggregates, keys, schema })
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// A segment that an earlier version wrote, in the form of this one.
    ///
    /// # Errors
    /// `Invalid` where its columns are others.
    pub(super) fn as_of_today(&self, segment: &RecordBatch) -> crate::error::Result<RecordBatch> {
        as_of_today(segment, &self.schema, self.keys, &self.aggregates)
    }

    /// Final values of the keys of one part: one array for each key, then one for each aggregate, and the number of rows.
    ///
    /// `bad`: takes the keys of a row whose aggregates cannot be computed, one to an array, and why not. Without it that is an error.
    pub(super) fn finish(
        &self,
        part: &[RecordBatch],
        out: &mut impl FnMut(&[ArrayRef], usize) -> crate::error::Result<()>,
        bad: Option<BadGroup<'_>>,
    ) -> Result<()> {
        match (self.evaluate(part), bad) {
            (Ok((columns, rows)), _) => Ok(out(&columns, rows)?),
            (Err(error), None) => Err(error),
            (Err(_), Some(bad)) => self.isolate(self.merge_groups(part)?, out, bad),
        }
    }

    fn merge_groups(&self, segments: &[RecordBatch]) -> Result<RecordBatch> {
        let mut groups = self.group(segments)?;
        let mut columns = groups.keys;
        for accumulator in &mut groups.accumulators {
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        Ok(batch_of(Arc::clone(&self.schema), columns, groups.len)?)
    }

    fn evaluate(&self, segments: &[RecordBatch]) -> Result<(Vec<ArrayRef>, usize)> {
        let mut groups = self.group(segments)?;
        let mut columns = groups.keys;
        for accumulator in &mut groups.accumulators {
            columns.push(accumulator.evaluate(EmitTo::All)?);
        }
        Ok((columns, groups.len))
    }

    /// `merged`: a row for each key. It is halved until what fails is a single one.
    fn isolate(
        &self,
        merged: RecordBatch,
        out: &mut impl FnMut(&[ArrayRef], usize) -> crate::error::Result<()>,
        bad: BadGroup<'_>,
    ) -> Result<()> {
        let rows = merged.num_rows();
        match self.evaluate(std::slice::from_ref(&merged)) {
            Ok((columns, rows)) => Ok(out(&columns, rows)?),
            Err(error) if rows <= 1 => Ok(bad(&merged.columns()[..self.keys], error.into())?),
            Err(_) => {
                self.isolate(merged.slice(0, rows / 2), out, bad)?;
                self.isolate(merged.slice(rows / 2, rows - rows / 2), out, bad)
            }
        }
    }

    fn group(&self, segments: &[RecordBatch]) -> Result<Groups> {
        let mut accumulators =
            self.aggregates.iter().map(fresh_accumulator).collect::<Result<Vec<Box<dyn GroupsAccumulator>>>>()?;
        let mut indices = Vec::new();
        let mut len = 0;
        let mut values = if self.keys > 0 {
            let fields = self.schema.fields().iter().take(self.keys).cloned().collect::<Vec<_>>();
            Some(new_group_values(Arc::new(Schema::new(fields)), &GroupOrdering::None)?)
        } else {
            None
        };
        for segment in segments {
            match &mut values {
                Some(values) => {
                    values.intern(&segment.columns()[..self.keys], &mut indices)?;
                    len = values.len();
                }
                // Without keys all rows are one group.
                None => {
                    indices.clear();
                    indices.resize(segment.num_rows(), 0);
                    len = 1;
                }
            }
            let mut column = self.keys;
            for (accumulator, aggregate) in accumulators.iter_mut().zip(&self.aggregates) {
                let width = aggregate.state_fields()?.len();
                accumulator.merge_batch(&segment.columns()[column..column + width], &indices, len)?;
                column += width;
            }
        }
        let keys = match values {
            Some(mut values) => values.emit(EmitTo::All)?,
            None => vec![],
        };
        Ok(Groups { keys, accumulators, len })
    }
}

impl Merge for StateMerge {
    fn keys(&self) -> usize {
        self.keys
    }

    fn merge(&self, batches: &[RecordBatch]) -> crate::error::Result<RecordBatch> {
        Ok(self.merge_groups(batches)?)
    }
}

struct Groups {
    keys: Vec<ArrayRef>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    len: usize,
}

fn fresh_accumulator(aggregate: &Arc<AggregateFunctionExpr>) -> Result<Box<dyn GroupsAccumulator>> {
    if aggregate.groups_accumulator_supported() {
        aggregate.create_groups_accumulator()
    } else {
        let aggregate = Arc::clone(aggregate);
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || aggregate.create_accumulator())))
    }
}
