//! The sum of all rows, of a frame, and of distinct values.

use std::collections::HashMap;
use std::marker::PhantomData;

use arrow::array::{Array, ArrayRef, AsArray};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::Accumulator;

use super::integers::{Integers, sum_of};
use super::{fitting, states};
use crate::error::Error;

/// Without GROUP BY, and in window frames.
#[derive(Debug)]
pub(super) struct One<T> {
    name: String,
    sum: i128,
    /// Values that are not NULL.
    count: u64,
    integers: PhantomData<T>,
}

impl<T> One<T> {
    pub(super) fn new(name: String) -> Self {
        One { name, sum: 0, count: 0, integers: PhantomData }
    }
}

fn counted(array: &ArrayRef) -> u64 {
    (array.len() - array.null_count()) as u64
}

impl<T: Integers> Accumulator for One<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count += counted(&values[0]);
        self.sum += sum_of::<T>(&values[0]);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count -= counted(&values[0]);
        self.sum -= sum_of::<T>(&values[0]);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let states = states(&columns[0])?;
        self.count += counted(&columns[0]);
        self.sum += states.iter().flatten().sum::<i128>();
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Decimal128((self.count > 0).then_some(self.sum), 38, 0)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = if self.count > 0 { Some(fitting::<T>(self.sum, &self.name)?) } else { None };
        ScalarValue::new_primitive::<T>(value, &T::DATA_TYPE)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.name.capacity()
    }
}

/// `sum(DISTINCT …)`: DataFusion keeps the values, they are added at the end.
#[derive(Debug)]
pub(super) struct OfDistinct<T> {
    pub(super) name: String,
    pub(super) values: Box<dyn Accumulator>,
    pub(super) integers: PhantomData<T>,
}

impl<T: Integers> Accumulator for OfDistinct<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.values.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.values.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut sum = None;
        for list in self.values.state()? {
            let ScalarValue::List(list) = list else { return Err(Error::bug("distinct values are no list").into()) };
            let values = list.values();
            if counted(values) > 0 {
                *sum.get_or_insert(0) += sum_of::<T>(values);
            }
        }
        let value = sum.map(|sum| fitting::<T>(sum, &self.name)).transpose()?;
        ScalarValue::new_primitive::<T>(value, &T::DATA_TYPE)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.size()
    }
}

/// `sum(DISTINCT …)` over a frame that moves.
#[derive(Debug)]
pub(super) struct SlidingDistinct<T> {
    name: String,
    /// How often each value is in the frame.
    counts: HashMap<i128, u64>,
    sum: i128,
    integers: PhantomData<T>,
}

impl<T> SlidingDistinct<T> {
    pub(super) fn new(name: String) -> Self {
        SlidingDistinct { name, counts: HashMap::new(), sum: 0, integers: PhantomData }
    }
}

impl<T: Integers> Accumulator for SlidingDistinct<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<T>().iter().flatten() {
            let value = value.into();
            let count = self.counts.entry(value).or_default();
            if *count == 0 {
                self.sum += value;
            }
            *count += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<T>().iter().flatten() {
            let value = value.into();
            match self.counts.get_mut(&value) {
                Some(count) if *count > 1 => *count -= 1,
                Some(_) => {
                    self.counts.remove(&value);
                    self.sum -= value;
                }
                None => {}
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        Err(Error::bug("a frame that moves is not put together from parts").into())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Err(Error::bug("a frame that moves has no state to pass on").into())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = if self.counts.is_empty() { None } else { Some(fitting::<T>(self.sum, &self.name)?) };
        ScalarValue::new_primitive::<T>(value, &T::DATA_TYPE)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.capacity() * size_of::<(i128, u64)>()
    }
}
