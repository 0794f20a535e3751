//! `sum` over a state of twice as many bits: the type stays what it is, and a sum beyond it is an error.
//!
//! Of integers a group's state is its low 64 bits, as long as that is enough: carries are kept only from the first one on, so that the
//! sums of ordinary numbers cost what they always did. Between operators and in checkpoints a state is one Decimal128.
//! Of decimals it is one of 256 bits. Sums of all other types are DataFusion's.

mod decimals;
mod groups;
mod integers;
mod one;

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type};
use datafusion::error::Result;
use datafusion::functions_aggregate::sum::Sum as OtherSum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature,
};

use self::decimals::{DistinctDecimals, Wide, state_of};
use self::groups::Groups;
use self::integers::Integers;
use self::one::{OfDistinct, One, SlidingDistinct};
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
        let wide = Kind::of(args.return_type()).map(|_| STATE).or_else(|| state_of(args.return_type()));
        match wide {
            Some(state) if !args.is_distinct => {
                Ok(vec![Arc::new(Field::new(format_state_name(args.name, "sum"), state, true))])
            }
            _ => self.others.state_fields(args),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let Some(kind) = Kind::of(args.return_field.data_type()) else {
            return match state_of(args.return_field.data_type()) {
                None => self.others.accumulator(args),
                Some(state) if args.is_distinct => {
                    let (name, data_type) = (args.name.to_owned(), args.return_field.data_type().clone());
                    Ok(Box::new(DistinctDecimals(Wide {
                        name,
                        sums: self.others.accumulator(args)?,
                        state,
                        data_type,
                    })))
                }
                Some(_) => Ok(Box::new(wide(args, |args| self.others.accumulator(args))?)),
            };
        };
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
            None if state_of(args.return_field.data_type()).is_some() => {
                Ok(Box::new(wide(args, |args| self.others.create_groups_accumulator(args))?))
            }
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
            (None, false) if state_of(args.return_field.data_type()).is_some() => {
                Ok(Box::new(wide(args, |args| self.others.create_sliding_accumulator(args))?))
            }
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

/// What DataFusion makes for the state's type, in the place of what it makes for the result's.
fn wide<A>(args: AccumulatorArgs<'_>, make: impl FnOnce(AccumulatorArgs<'_>) -> Result<A>) -> Result<Wide<A>> {
    let data_type = args.return_field.data_type().clone();
    let state = state_of(&data_type).ok_or_else(|| Error::bug(format!("a wide sum of {data_type}")))?;
    let (name, field) = (args.name.to_owned(), Field::new(args.return_field.name(), state.clone(), true));
    let sums = make(AccumulatorArgs { return_field: Arc::new(field), ..args })?;
    Ok(Wide { name, sums, state, data_type })
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
    does_not_fit(name, &T::DATA_TYPE, &sum.to_string()).hint("sum a wider type, as in sum(CAST(… AS DECIMAL(38, 0)))")
}

fn does_not_fit(name: &str, data_type: &DataType, sum: &str) -> Error {
    Error::invalid(format!("\"{}\" does not fit into {}", written(name), in_sql(&data_type.to_string())))
        .detail(format!("the sum is {sum}"))
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
