//! The sums of groups, which cost what they always did as long as 64 bits are enough.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, PrimitiveArray};
use arrow::buffer::NullBuffer;
use datafusion::error::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};

use super::integers::Integers;
use super::{STATE, states, too_large};

/// Which groups have had a value.
#[derive(Debug, Default)]
enum Seen {
    /// A group exists because it has one.
    #[default]
    All,
    Some(Vec<bool>),
}

/// All groups of an aggregation, by their index.
#[derive(Debug)]
pub(super) struct Groups<T: Integers> {
    name: String,
    low: Vec<T::Native>,
    /// The high halves; empty as long as all of them are zero.
    high: Vec<i64>,
    seen: Seen,
}

impl<T: Integers> Groups<T> {
    pub(super) fn new(name: String) -> Self {
        Groups { name, low: Vec::new(), high: Vec::new(), seen: Seen::All }
    }

    #[inline]
    fn add(low: &mut [T::Native], high: &mut Vec<i64>, group: usize, value: T::Native) {
        let slot = &mut low[group];
        let (sum, carries) = T::overflowing_add(*slot, value);
        *slot = sum;
        // A branch that is hardly ever taken costs less than the carry itself.
        if carries {
            Self::carry(low.len(), high, group, T::carry(value));
        }
    }

    #[cold]
    fn carry(groups: usize, high: &mut Vec<i64>, group: usize, carry: i64) {
        high.resize(groups, 0);
        high[group] += carry;
    }

    /// Makes room for `total` groups. `marks`: whether some of the rows to come have no value.
    fn grow(&mut self, total: usize, marks: bool) {
        let before = self.low.len();
        self.low.resize(total, T::Native::default());
        if !self.high.is_empty() {
            self.high.resize(total, 0);
        }
        match &mut self.seen {
            Seen::All if marks => {
                let mut seen = vec![true; before];
                seen.resize(total, false);
                self.seen = Seen::Some(seen);
            }
            Seen::All => {}
            Seen::Some(seen) => seen.resize(total, false),
        }
    }

    fn see(&mut self, group: usize) {
        if let Seen::Some(seen) = &mut self.seen {
            seen[group] = true;
        }
    }

    fn take(&mut self, emit: EmitTo) -> (Vec<T::Native>, Vec<i64>, Option<NullBuffer>) {
        let low = emit.take_needed(&mut self.low);
        let high = if self.high.is_empty() { Vec::new() } else { emit.take_needed(&mut self.high) };
        let nulls = match &mut self.seen {
            Seen::All => None,
            Seen::Some(seen) => Some(NullBuffer::from(emit.take_needed(seen))).filter(|nulls| nulls.null_count() > 0),
        };
        (low, high, nulls)
    }

    fn whole(low: T::Native, high: i64) -> i128 {
        low.into() + (i128::from(high) << 64)
    }
}

impl<T: Integers> GroupsAccumulator for Groups<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        let values = values[0].as_primitive::<T>();
        let all = values.null_count() == 0 && filter.is_none();
        self.grow(total, !all);
        if all {
            let (low, high) = (self.low.as_mut_slice(), &mut self.high);
            for (group, value) in groups.iter().zip(values.values()) {
                Self::add(low, high, *group, *value);
            }
            if let Seen::Some(seen) = &mut self.seen {
                groups.iter().for_each(|group| seen[*group] = true);
            }
            return Ok(());
        }
        for (row, (group, value)) in groups.iter().zip(values.values()).enumerate() {
            let counts = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if counts && values.is_valid(row) {
                Self::add(&mut self.low, &mut self.high, *group, *value);
                self.see(*group);
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, columns: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        let states = states(&columns[0])?;
        self.grow(total, states.null_count() > 0);
        for (row, group) in groups.iter().enumerate() {
            if states.is_null(row) {
                continue;
            }
            let (low, high) = T::halves(states.value(row));
            Self::add(&mut self.low, &mut self.high, *group, low);
            if high != 0 {
                Self::carry(total, &mut self.high, *group, high);
            }
            self.see(*group);
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let (low, high, nulls) = self.take(emit);
        if let Some(group) = high.iter().position(|high| *high != 0) {
            return Err(too_large::<T>(Self::whole(low[group], high[group]), &self.name).into());
        }
        Ok(Arc::new(PrimitiveArray::<T>::try_new(low.into(), nulls)?))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let (low, high, nulls) = self.take(emit);
        let sums: Vec<i128> = match high.is_empty() {
            true => low.into_iter().map(Into::into).collect(),
            false => low.into_iter().zip(high).map(|(low, high)| Self::whole(low, high)).collect(),
        };
        Ok(vec![Arc::new(Decimal128Array::try_new(sums.into(), nulls)?.with_data_type(STATE))])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<T>();
        let passing = filter.map(|filter| {
            let passing = filter.iter().map(|passes| passes == Some(true));
            NullBuffer::from_iter(passing)
        });
        let nulls = NullBuffer::union(values.nulls(), passing.as_ref());
        let sums: Vec<i128> = values.values().iter().map(|value| (*value).into()).collect();
        Ok(vec![Arc::new(Decimal128Array::try_new(sums.into(), nulls)?.with_data_type(STATE))])
    }

    fn size(&self) -> usize {
        let seen = match &self.seen {
            Seen::All => 0,
            Seen::Some(seen) => seen.capacity(),
        };
        self.low.capacity() * size_of::<T::Native>() + self.high.capacity() * size_of::<i64>() + seen
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::Int64Type;

    use super::*;

    fn groups(values: &[i64], of: &[usize], total: usize) -> Groups<Int64Type> {
        let mut groups = Groups::<Int64Type>::new("sum(v)".to_owned());
        groups.update_batch(&[Arc::new(Int64Array::from(values.to_vec()))], of, None, total).expect("added");
        groups
    }

    #[test]
    fn a_state_beyond_64_bits_is_passed_on_whole() {
        let state = groups(&[i64::MAX, i64::MAX, 7], &[0, 0, 1], 2).state(EmitTo::All).expect("a state");
        let mut merged = groups(&[-3, -i64::MAX], &[0, 0], 1);
        merged.merge_batch(&state, &[0, 1], 2).expect("merged");
        let sums = merged.evaluate(EmitTo::All).expect("both fit");
        assert_eq!(sums.as_primitive::<Int64Type>().values(), &[i64::MAX - 3, 7]);
        let error = groups(&[i64::MIN, -1], &[0, 0], 1).evaluate(EmitTo::First(1)).expect_err("too small");
        assert!(error.to_string().contains("\"sum(v)\" does not fit into BIGINT"), "{error}");
    }

    #[test]
    fn a_state_of_64_bits_as_older_checkpoints_hold_it_is_merged_as_it_is() {
        let older: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), None]));
        let mut merged = groups(&[1], &[0], 1);
        merged.merge_batch(&[older], &[0, 1], 2).expect("merged");
        let sums = merged.evaluate(EmitTo::All).expect("they fit");
        assert_eq!(sums.as_primitive::<Int64Type>(), &Int64Array::from(vec![Some(6), None]));
    }
}
