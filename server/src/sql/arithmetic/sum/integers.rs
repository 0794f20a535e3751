//! The integers that are summed, and their sums in two halves of 64 bits.

use std::fmt::Debug;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{Int64Type, UInt64Type};

/// The two halves of a sum, of 64 bits each, for one type of integers.
pub(super) trait Integers:
    ArrowPrimitiveType<Native: Copy + Default + Into<i128>> + Debug + Send + Sync
{
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

pub(super) fn sum_of<T: Integers>(array: &ArrayRef) -> i128 {
    let array = array.as_primitive::<T>();
    let of = |values: &[T::Native]| values.chunks(CHUNK).map(T::sum_of).sum::<i128>();
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => of(array.values()),
        Some(nulls) => nulls.valid_slices().map(|(from, to)| of(&array.values()[from..to])).sum(),
    }
}
