//! `sum` of decimals over a state of 256 bits: DataFusion's wraps where 128 bits are not enough.
//!
//! The values become decimals of 256 bits with the same scale, DataFusion adds these, and only the result has to fit.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal256Array};
use arrow::compute::{CastOptions, cast, cast_with_options, sum};
use arrow::datatypes::{DECIMAL256_MAX_PRECISION, DataType, Decimal256Type, i256};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

use super::does_not_fit;
use crate::error::Error;

/// The type of a state, of sums of a type; `None` for other types than decimals of 128 bits.
pub(super) fn state_of(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Decimal128(_, scale) => Some(DataType::Decimal256(DECIMAL256_MAX_PRECISION, *scale)),
        _ => None,
    }
}

/// An accumulator of DataFusion's over decimals of 256 bits, in the place of one over decimals of 128.
#[derive(Debug)]
pub(super) struct Wide<A> {
    pub(super) name: String,
    pub(super) sums: A,
    pub(super) state: DataType,
    /// Of the result.
    pub(super) data_type: DataType,
}

impl<A> Wide<A> {
    fn widened(&self, values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        values.iter().map(|values| Ok(cast(values, &self.state)?)).collect()
    }

    fn fitting(&self, sums: &ArrayRef) -> Result<ArrayRef> {
        let fitting = cast_with_options(sums, &self.data_type, &CastOptions { safe: true, ..CastOptions::default() })?;
        match (0..sums.len()).find(|at| sums.is_valid(*at) && fitting.is_null(*at)) {
            None => Ok(fitting),
            Some(at) => {
                let sum = ScalarValue::try_from_array(sums, at)?;
                Err(does_not_fit(&self.name, &self.data_type, &sum.to_string()).into())
            }
        }
    }
}

impl Accumulator for Wide<Box<dyn Accumulator>> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = self.widened(values)?;
        self.sums.update_batch(&values)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = self.widened(values)?;
        self.sums.retract_batch(&values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.sums.supports_retract_batch()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let states = self.widened(states)?;
        self.sums.merge_batch(&states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.sums.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = self.sums.evaluate()?.to_array()?;
        ScalarValue::try_from_array(&self.fitting(&sum)?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.sums.size()
    }
}

impl GroupsAccumulator for Wide<Box<dyn GroupsAccumulator>> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        let values = self.widened(values)?;
        self.sums.update_batch(&values, groups, filter, total)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        let states = self.widened(states)?;
        self.sums.merge_batch(&states, groups, total)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let sums = self.sums.evaluate(emit)?;
        self.fitting(&sums)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.sums.state(emit)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.sums.convert_to_state(&self.widened(values)?, filter)
    }

    fn size(&self) -> usize {
        self.sums.size()
    }
}

/// `sum(DISTINCT …)`: DataFusion keeps the values as they are, they are added at the end.
#[derive(Debug)]
pub(super) struct DistinctDecimals(pub(super) Wide<Box<dyn Accumulator>>);

impl Accumulator for DistinctDecimals {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.sums.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.sums.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.sums.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut total = None;
        for list in self.0.sums.state()? {
            let ScalarValue::List(list) = list else { return Err(Error::bug("distinct values are no list").into()) };
            let values = cast(list.values(), &self.0.state)?;
            if let Some(part) = sum(values.as_primitive::<Decimal256Type>()) {
                total = Some(total.unwrap_or(i256::ZERO).wrapping_add(part));
            }
        }
        let total = Decimal256Array::from(vec![total]).with_data_type(self.0.state.clone());
        ScalarValue::try_from_array(&self.0.fitting(&(Arc::new(total) as ArrayRef))?, 0)
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}
