//! `sum` of integers over a state of 128 bits: the type stays what it is, and a sum beyond it is an error.
//!
//! A group's state is its low 64 bits, as long as that is enough: carries are kept only from the first one on, so that the
//! sums of ordinary numbers cost what they always did. Between operators and in checkpoints a state is one Decimal128.
//! Sums of all other types are DataFusion's.

use std::collections::HashMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_aggregate::sum::Sum as OtherSum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature,
};

use crate::error::Error;
use crate::sql::call::in_sql;

/// A sum in full; 128 bits hold more rows than there can be.
const STATE: DataType = DataType::Decimal128(38, 0);

/// `sum(expression)`.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Sum {
    others: OtherSum,
}

/// The kinds of integers that are summed; narrower ones are cast to them.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Signed,
    Unsigned,
}

impl Kind {
    fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Int64 => Some(Kind::Signed),
            DataType::UInt64 => Some(Kind::Unsigned),
            _ => None,
        }
    }
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &str {
        self.others.name()
    }

    fn signature(&self) -> &Signature {
        self.others.signature()
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.others.return_type(given)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        match Kind::of(args.return_type()) {
            Some(_) if !args.is_distinct => {
                Ok(vec![Arc::new(Field::new(format_state_name(args.name, "sum"), STATE, true))])
            }
            _ => self.others.state_fields(args),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let Some(kind) = Kind::of(args.return_field.data_type()) else { return self.others.accumulator(args) };
        let name = args.name.to_owned();
        if args.is_distinct {
            let values = self.others.accumulator(args)?;
            return Ok(match kind {
                Kind::Signed => Box::new(OfDistinct::<Int64Type> { name, values, integers: PhantomData }),
                Kind::Unsigned => Box::new(OfDistinct::<UInt64Type> { name, values, integers: PhantomData }),
            });
        }
        Ok(match kind {
            Kind::Signed => Box::new(One::<Int64Type>::new(name)),
            Kind::Unsigned => Box::new(One::<UInt64Type>::new(name)),
        })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let name = args.name.to_owned();
        match Kind::of(args.return_field.data_type()) {
            Some(Kind::Signed) => Ok(Box::new(Groups::<Int64Type>::new(name))),
            Some(Kind::Unsigned) => Ok(Box::new(Groups::<UInt64Type>::new(name))),
            None => self.others.create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let name = args.name.to_owned();
        match (Kind::of(args.return_field.data_type()), args.is_distinct) {
            (Some(Kind::Signed), false) => Ok(Box::new(One::<Int64Type>::new(name))),
            (Some(Kind::Unsigned), false) => Ok(Box::new(One::<UInt64Type>::new(name))),
            (Some(Kind::Signed), true) => Ok(Box::new(SlidingDistinct::<Int64Type>::new(name))),
            (Some(Kind::Unsigned), true) => Ok(Box::new(SlidingDistinct::<UInt64Type>::new(name))),
            (None, _) => self.others.create_sliding_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.others.order_sensitivity()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.others.set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.others.documentation()
    }
}

/// The two halves of a sum, of 64 bits each, for one type of integers.
trait Integers: ArrowPrimitiveType<Native: Copy + Default + Into<i128>> + Debug + Send + Sync {
    /// The low half of the sum, and whether the high half changes.
    fn overflowing_add(low: Self::Native, value: Self::Native) -> (Self::Native, bool);

    /// What the high half changes by, where it does when `value` is added.
    fn carry(value: Self::Native) -> i64;

    /// A sum as its halves.
    fn halves(sum: i128) -> (Self::Native, i64);

    /// The sum of up to 2³¹ values, two halves of 32 bits at a time: no step of it overflows, and the processor adds many at once.
    fn sum_of(values: &[Self::Native]) -> i128;
}

impl Integers for Int64Type {
    #[inline]
    fn overflowing_add(low: i64, value: i64) -> (i64, bool) {
        low.overflowing_add(value)
    }

    fn carry(value: i64) -> i64 {
        value.signum()
    }

    fn halves(sum: i128) -> (i64, i64) {
        let low = sum as i64;
        (low, ((sum - i128::from(low)) >> 64) as i64)
    }

    fn sum_of(values: &[i64]) -> i128 {
        let (mut high, mut low) = (0_i64, 0_u64);
        for value in values {
            high += value >> 32;
            low += (*value as u64) & 0xffff_ffff;
        }
        (i128::from(high) << 32) + i128::from(low)
    }
}

impl Integers for UInt64Type {
    #[inline]
    fn overflowing_add(low: u64, value: u64) -> (u64, bool) {
        low.overflowing_add(value)
    }

    fn carry(_: u64) -> i64 {
        1
    }

    fn halves(sum: i128) -> (u64, i64) {
        (sum as u64, (sum >> 64) as i64)
    }

    fn sum_of(values: &[u64]) -> i128 {
        let (mut high, mut low) = (0_u64, 0_u64);
        for value in values {
            high += value >> 32;
            low += value & 0xffff_ffff;
        }
        (i128::from(high) << 32) + i128::from(low)
    }
}

/// Values that are added without a look at the sum: few enough for [`Integers::sum_of`].
const CHUNK: usize = 1 << 20;

fn sum_of<T: Integers>(array: &ArrayRef) -> i128 {
    let array = array.as_primitive::<T>();
    let of = |values: &[T::Native]| values.chunks(CHUNK).map(T::sum_of).sum::<i128>();
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => of(array.values()),
        Some(nulls) => nulls.valid_slices().map(|(from, to)| of(&array.values()[from..to])).sum(),
    }
}

/// The states of a column: those of before the state had 128 bits are integers.
fn states(column: &ArrayRef) -> Result<Decimal128Array> {
    match column.data_type() {
        &STATE => Ok(column.as_primitive::<Decimal128Type>().clone()),
        _ => Ok(cast(column, &STATE)?.as_primitive::<Decimal128Type>().clone()),
    }
}

/// `sum` as the value of an aggregate called `name`.
fn fitting<T: Integers>(sum: i128, name: &str) -> Result<T::Native> {
    match T::halves(sum) {
        (low, 0) => Ok(low),
        _ => Err(too_large::<T>(sum, name).into()),
    }
}

fn too_large<T: Integers>(sum: i128, name: &str) -> Error {
    Error::invalid(format!("\"{}\" does not fit into {}", written(name), in_sql(&T::DATA_TYPE.to_string())))
        .detail(format!("the sum is {sum}"))
        .hint("sum a wider type, as in sum(CAST(… AS DECIMAL(38, 0)))")
}

/// An aggregate's name as it was written: DataFusion's has the types of literals in it, and the frame behind it.
fn written(name: &str) -> String {
    let end = [" PARTITION BY [", " ORDER BY [", " ROWS BETWEEN ", " RANGE BETWEEN ", " GROUPS BETWEEN "]
        .into_iter()
        .filter_map(|clause| name.find(clause))
        .min();
    let mut rest = &name[..end.unwrap_or(name.len())];
    let mut out = String::with_capacity(rest.len());
    while let Some((at, literal)) = ["Int64(", "UInt64(", "Float64(", "Utf8(", "Utf8View(", "Boolean("]
        .into_iter()
        .filter_map(|literal| Some((rest.find(literal)?, literal)))
        .min()
    {
        out.push_str(&rest[..at]);
        rest = &rest[at + literal.len()..];
        // A text may hold a bracket; then its end is somewhere else, and only the message is the poorer for it.
        let (value, after) = rest.split_once(')').unwrap_or((rest, ""));
        out.push_str(&value.replace('"', "'"));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Without GROUP BY, and in window frames.
#[derive(Debug)]
struct One<T> {
    name: String,
    sum: i128,
    /// Values that are not NULL.
    count: u64,
    integers: PhantomData<T>,
}

impl<T> One<T> {
    fn new(name: String) -> Self {
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
struct OfDistinct<T> {
    name: String,
    values: Box<dyn Accumulator>,
    integers: PhantomData<T>,
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
struct SlidingDistinct<T> {
    name: String,
    /// How often each value is in the frame.
    counts: HashMap<i128, u64>,
    sum: i128,
    integers: PhantomData<T>,
}

impl<T> SlidingDistinct<T> {
    fn new(name: String) -> Self {
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
struct Groups<T: Integers> {
    name: String,
    low: Vec<T::Native>,
    /// The high halves; empty as long as all of them are zero.
    high: Vec<i64>,
    seen: Seen,
}

impl<T: Integers> Groups<T> {
    fn new(name: String) -> Self {
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
