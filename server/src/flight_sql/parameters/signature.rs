//! Which type an argument of a function takes, by the function's signature alone.

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::types::NativeType;
use datafusion::logical_expr::{TIMEZONE_WILDCARD, TypeSignature, TypeSignatureClass};

/// The type of the argument at `at` among `count`, by the first form of the function that has so many. `None` where the
/// function takes any, or says what it takes only when it sees all of them.
pub(super) fn argument_type(signature: &TypeSignature, at: usize, count: usize) -> Option<DataType> {
    let found = match signature {
        TypeSignature::Exact(types) if types.len() == count => types.get(at).cloned(),
        TypeSignature::Coercible(wanted) if wanted.len() == count => of_class(wanted.get(at)?.desired_type()),
        TypeSignature::Uniform(arguments, types) if *arguments == count => types.first().cloned(),
        TypeSignature::Variadic(types) => types.first().cloned(),
        TypeSignature::String(arguments) if *arguments == count => Some(DataType::Utf8),
        TypeSignature::Numeric(arguments) if *arguments == count => Some(DataType::Float64),
        TypeSignature::OneOf(forms) => forms.iter().find_map(|form| argument_type(form, at, count)),
        _ => None,
    };
    found.map(|data_type| match data_type {
        // Stands for any zone.
        DataType::Timestamp(unit, Some(zone)) if zone.as_ref() == TIMEZONE_WILDCARD => DataType::Timestamp(unit, None),
        other => other,
    })
}

/// The type of a class that takes the most values, where there is one.
fn of_class(class: &TypeSignatureClass) -> Option<DataType> {
    Some(match class {
        TypeSignatureClass::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        TypeSignatureClass::Time => DataType::Time64(TimeUnit::Microsecond),
        TypeSignatureClass::Interval | TypeSignatureClass::Duration => DataType::Interval(IntervalUnit::MonthDayNano),
        TypeSignatureClass::Integer => DataType::Int64,
        TypeSignatureClass::Float | TypeSignatureClass::Numeric => DataType::Float64,
        TypeSignatureClass::Binary => DataType::Binary,
        TypeSignatureClass::Native(logical) => match logical.native() {
            NativeType::Boolean => DataType::Boolean,
            NativeType::Int8 | NativeType::Int16 | NativeType::Int32 | NativeType::Int64 => DataType::Int64,
            NativeType::Float32 | NativeType::Float64 => DataType::Float64,
            NativeType::String => DataType::Utf8,
            NativeType::Binary => DataType::Binary,
            NativeType::Date => DataType::Date32,
            _ => return None,
        },
        TypeSignatureClass::Any | TypeSignatureClass::Decimal => return None,
    })
}
