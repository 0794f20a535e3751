//! `min` and `max` of floating-point numbers by group: NaN is the greatest, and the answer is the same in whatever order they come.
//!
//! DataFusion's compare with NaN as with anything else, so that a number after a NaN takes its place and one before it does not.
//! Here a number becomes an integer of the same order, and DataFusion compares these. All other types are DataFusion's.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs,
};

/// `min(expression)` or `max(expression)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Extreme {
    others: Arc<AggregateUDF>,
}

impl Extreme {
    /// `others`: DataFusion's function of that name.
    pub(super) fn new(others: Arc<AggregateUDF>) -> Self {
        Extreme { others }
    }
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.others.name()
    }

    fn signature(&self) -> &Signature {
        self.others.signature()
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.others.inner().return_type(given)
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        self.others.inner().coerce_types(given)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.others.inner().accumulator(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.others.inner().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let data_type = args.return_type().clone();
        if !data_type.is_floating() {
            return self.others.inner().create_groups_accumulator(args);
        }
        let ranked = Arc::new(Field::new(args.return_field.name(), DataType::Int64, true));
        let args = AccumulatorArgs { return_field: ranked, ..args };
        Ok(Box::new(Floats { ranks: self.others.inner().create_groups_accumulator(args)?, data_type }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.others.inner().create_sliding_accumulator(args)
    }

    fn is_descending(&self) -> Option<bool> {
        self.others.inner().is_descending()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.others.inner().order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn value_from_stats(&self, statistics: &StatisticsArgs) -> Option<ScalarValue> {
        self.others.inner().value_from_stats(statistics)
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.others.inner().set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.others.documentation()
    }
}

/// The ranks of numbers in the place of the numbers. A state is the number itself.
struct Floats {
    ranks: Box<dyn GroupsAccumulator>,
    data_type: DataType,
}

impl Floats {
    fn ranked(&self, values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let ranked = |values: &ArrayRef| -> Result<ArrayRef> {
            let values = cast(values, &DataType::Float64)?;
            Ok(Arc::new(values.as_primitive::<Float64Type>().unary::<_, Int64Type>(rank)))
        };
        values.iter().map(ranked).collect()
    }

    fn numbers(&self, ranks: &ArrayRef) -> Result<ArrayRef> {
        let numbers: Float64Array = ranks.as_primitive::<Int64Type>().unary(number);
        Ok(cast(&numbers, &self.data_type)?)
    }

    fn all_numbers(&self, ranks: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        ranks.iter().map(|ranks| self.numbers(ranks)).collect()
    }
}

impl GroupsAccumulator for Floats {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        let ranks = self.ranked(values)?;
        self.ranks.update_batch(&ranks, groups, filter, total)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        let ranks = self.ranked(states)?;
        self.ranks.merge_batch(&ranks, groups, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let ranks = self.ranks.evaluate(emit_to)?;
        self.numbers(&ranks)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let ranks = self.ranks.state(emit_to)?;
        self.all_numbers(&ranks)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.all_numbers(&self.ranks.convert_to_state(&self.ranked(values)?, filter)?)
    }

    fn size(&self) -> usize {
        self.ranks.size()
    }
}

/// In the order of IEEE 754's totalOrder, but that all NaN are one, above infinity.
fn rank(number: f64) -> i64 {
    let number = if number.is_nan() { f64::NAN.abs() } else { number };
    flipped(number.to_bits().cast_signed())
}

fn number(rank: i64) -> f64 {
    f64::from_bits(flipped(rank).cast_unsigned())
}

/// Negative numbers have the order of their bits turned round; applied twice, it changes nothing.
fn flipped(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn ranks_have_the_order_of_numbers_and_turn_back_into_them() {
        let ascending = [f64::NEG_INFINITY, -1.5, -f64::MIN_POSITIVE, -0.0, 0.0, 5e-324, 1.5, f64::MAX, f64::INFINITY];
        assert!(ascending.windows(2).all(|pair| rank(pair[0]) < rank(pair[1])));
        for value in ascending {
            assert_eq!(number(rank(value)).to_bits(), value.to_bits());
            assert!(rank(value) < rank(f64::NAN));
        }
        assert_eq!(rank(-f64::NAN), rank(f64::NAN));
        assert!(number(rank(f64::NAN)).is_nan());
        let ranks = Int64Array::from(vec![rank(1.0)]);
        assert_eq!(ranks.unary::<_, Float64Type>(number), Float64Array::from(vec![1.0]));
    }
}
