//! Which values of its type a column admits: `CHECK (…)`, and the form of a UUID or of JSON.
//!
//! `sql::check` reads them from statements. The JSON decoder asks value by value, files ask array by array. NULL is
//! never asked about: it passes.

use std::borrow::Borrow;
use std::fmt::Write;

use arrow::array::{Array, AsArray, downcast_integer_array, downcast_temporal_array};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type};

/// So many constants of a list are compared one by one; in longer lists the value is searched for.
const COMPARED_MAX: usize = 16;
/// Bytes of a list that a reason shows before it is cut.
const LIST_BYTES_MAX: usize = 120;

/// One condition that a column's values must meet.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    test: Test,
    says: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Uuid,
    Json,
    Value(Relation, Constants),
    /// Of the text, in characters.
    Length(Relation, Vec<i128>),
}

/// How a value stands to the constants of its check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    OneOf,
    Not,
    AtLeast,
    Above,
    AtMost,
    Below,
    /// From the first constant to the second, both included.
    Between,
}

/// The constants of a check, in the form in which the column's values are compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Constants {
    /// Integers; decimals without their point; dates and times in the column's unit.
    Whole(Vec<i128>),
    Real(Vec<f64>),
    /// Compared byte by byte, as DataFusion does.
    Text(Vec<Box<[u8]>>),
}

impl Check {
    /// `XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX` in hexadecimal digits of either case.
    pub fn uuid() -> Self {
        Check { test: Test::Uuid, says: "uuid".to_owned() }
    }

    /// A text that is one JSON value.
    pub fn json() -> Self {
        Check { test: Test::Json, says: "json".to_owned() }
    }

    /// A check of the value itself. `shown`: the constants as the statement spells them.
    ///
    /// `constants`: any number of them for [`Relation::OneOf`], two for [`Relation::Between`], else one; in the form of
    /// the column's type. A value of another form meets no check.
    pub fn of_value(relation: Relation, mut constants: Constants, shown: &[String]) -> Self {
        match &mut constants {
            _ if relation != Relation::OneOf => {}
            Constants::Whole(list) => list.sort_unstable(),
            Constants::Real(list) => list.sort_unstable_by(f64::total_cmp),
            Constants::Text(list) => list.sort_unstable(),
        }
        Check { test: Test::Value(relation, constants), says: relation.says(shown) }
    }

    /// A check of a text's length in characters; otherwise as [`Check::of_value`].
    pub fn of_length(relation: Relation, mut constants: Vec<i128>, shown: &[String]) -> Self {
        if relation == Relation::OneOf {
            constants.sort_unstable();
        }
        Check { test: Test::Length(relation, constants), says: format!("length {}", relation.says(shown)) }
    }

    /// The length of a type, as in `VARCHAR(5)`: at most so many characters. `type_name`: as the schema spells it.
    pub fn longest(characters: u64, type_name: String) -> Self {
        Check { test: Test::Length(Relation::AtMost, vec![characters.into()]), says: type_name }
    }

    /// What the schema says of a value, as in `between 0 and 120`.
    pub fn says(&self) -> &str {
        &self.says
    }

    /// What it admits, as a text that stays the same.
    pub fn version(&self) -> String {
        let relation = |relation: &Relation| match relation {
            Relation::OneOf => "one of",
            Relation::Not => "not",
            Relation::AtLeast => "at least",
            Relation::Above => "above",
            Relation::AtMost => "at most",
            Relation::Below => "below",
            Relation::Between => "between",
        };
        match &self.test {
            Test::Uuid => "uuid".to_owned(),
            Test::Json => "json".to_owned(),
            Test::Value(of, Constants::Whole(constants)) => format!("{} {constants:?}", relation(of)),
            Test::Value(of, Constants::Real(constants)) => format!("{} real {constants:?}", relation(of)),
            Test::Value(of, Constants::Text(constants)) => {
                let texts: Vec<_> = constants.iter().map(|text| String::from_utf8_lossy(text)).collect();
                format!("{} text {texts:?}", relation(of))
            }
            Test::Length(of, lengths) => format!("length {} {lengths:?}", relation(of)),
        }
    }

    pub fn is_uuid(&self) -> bool {
        self.test == Test::Uuid
    }

    pub fn is_json(&self) -> bool {
        self.test == Test::Json
    }

    pub fn whole_passes(&self, value: i128) -> bool {
        match &self.test {
            Test::Value(relation, Constants::Whole(constants)) => relation.holds(constants, &value),
            _ => false,
        }
    }

    pub fn real_passes(&self, value: f64) -> bool {
        match &self.test {
            Test::Value(relation, Constants::Real(constants)) => relation.holds(constants, &value),
            _ => false,
        }
    }

    /// `value`: UTF-8.
    pub fn text_passes(&self, value: &[u8]) -> bool {
        match &self.test {
            Test::Uuid => is_uuid(value),
            Test::Json => std::str::from_utf8(value).is_ok_and(touchline_udfs::json::is_json),
            Test::Value(relation, Constants::Text(constants)) => relation.holds(constants, value),
            Test::Length(relation, constants) => relation.holds(constants, &characters(value)),
            Test::Value(..) => false,
        }
    }

    /// The rows of an array that do not pass, ascending.
    pub fn refused(&self, array: &dyn Array) -> Vec<usize> {
        let mut refused = Vec::new();
        let mut note = |row: usize, passes: bool| {
            if !passes && array.is_valid(row) {
                refused.push(row);
            }
        };
        // Not as constants: those would copy every text.
        if array.data_type() == &DataType::Utf8View {
            for (row, text) in array.as_string_view().iter().enumerate() {
                note(row, text.is_none_or(|text| self.text_passes(text.as_bytes())));
            }
            return refused;
        }
        match Constants::of(array) {
            Some(Constants::Whole(values)) => {
                values.into_iter().enumerate().for_each(|(row, value)| note(row, self.whole_passes(value)));
            }
            Some(Constants::Real(values)) => {
                values.into_iter().enumerate().for_each(|(row, value)| note(row, self.real_passes(value)));
            }
            Some(Constants::Text(_)) | None => (0..array.len()).for_each(|row| note(row, false)),
        }
        refused
    }
}

impl Relation {
    #[inline]
    fn holds<T: PartialOrd + ?Sized, C: Borrow<T>>(self, constants: &[C], value: &T) -> bool {
        match (self, constants) {
            (Relation::OneOf, list) if list.len() <= COMPARED_MAX => list.iter().any(|one| one.borrow() == value),
            (Relation::OneOf, list) => {
                // Sorted, and without a NaN. Where the value is one, no order leads to it.
                let order = |one: &C| one.borrow().partial_cmp(value).unwrap_or(std::cmp::Ordering::Less);
                list.binary_search_by(order).is_ok()
            }
            (Relation::Not, [one]) => value != one.borrow(),
            (Relation::AtLeast, [low]) => value >= low.borrow(),
            (Relation::Above, [low]) => value > low.borrow(),
            (Relation::AtMost, [high]) => value <= high.borrow(),
            (Relation::Below, [high]) => value < high.borrow(),
            (Relation::Between, [low, high]) => value >= low.borrow() && value <= high.borrow(),
            _ => false,
        }
    }

    fn says(self, shown: &[String]) -> String {
        match (self, shown) {
            (Relation::OneOf, [one]) => one.clone(),
            (Relation::Not, [one]) => format!("not {one}"),
            (Relation::AtLeast, [low]) => format!("at least {low}"),
            (Relation::Above, [low]) => format!("above {low}"),
            (Relation::AtMost, [high]) => format!("at most {high}"),
            (Relation::Below, [high]) => format!("below {high}"),
            (Relation::Between, [low, high]) => format!("between {low} and {high}"),
            (_, list) => {
                let mut says = String::from("one of ");
                for (at, one) in list.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    if at > 0 && says.len() + one.len() > LIST_BYTES_MAX {
                        says.push_str(", …");
                        break;
                    }
                    let _ = write!(says, "{comma}{one}");
                }
                says
            }
        }
    }
}

impl Constants {
    /// The values of an array, whose NULLs become any value. `None` for a type whose values are not compared.
    pub fn of(array: &dyn Array) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Float32 => Constants::Real(
                array.as_primitive::<Float32Type>().values().iter().map(|one| f64::from(*one)).collect(),
            ),
            DataType::Float64 => Constants::Real(array.as_primitive::<Float64Type>().values().to_vec()),
            DataType::Decimal128(..) => Constants::Whole(array.as_primitive::<Decimal128Type>().values().to_vec()),
            DataType::Utf8View => Constants::Text(
                array.as_string_view().iter().map(|one| one.unwrap_or_default().as_bytes().into()).collect(),
            ),
            data_type if data_type.is_integer() => downcast_integer_array!(
                array => Constants::Whole(array.values().iter().map(|one| i128::from(*one)).collect()),
                _ => return None,
            ),
            _ => downcast_temporal_array!(
                array => Constants::Whole(array.values().iter().map(|one| i128::from(*one)).collect()),
                _ => return None,
            ),
        })
    }

    /// Whether values of this type can be compared with constants.
    pub fn can_be_of(data_type: &DataType) -> bool {
        data_type.is_integer()
            || data_type.is_temporal()
            || matches!(
                data_type,
                DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) | DataType::Utf8View
            )
    }

    /// Whether a constant is less than the one before it.
    pub fn is_descending(&self) -> bool {
        match self {
            Constants::Whole(list) => !list.is_sorted(),
            Constants::Real(list) => !list.is_sorted(),
            Constants::Text(list) => !list.is_sorted(),
        }
    }
}

/// Of UTF-8: every byte that does not continue a character begins one.
fn characters(text: &[u8]) -> i128 {
    text.iter().filter(|byte| (**byte as i8) >= -64).count() as i128
}

fn is_uuid(text: &[u8]) -> bool {
    let Ok(text) = <&[u8; 36]>::try_from(text) else { return false };
    // No early end: the compiler then looks at many bytes at once.
    let hex = |byte: u8| byte.wrapping_sub(b'0') < 10 || (byte | 0x20).wrapping_sub(b'a') < 6;
    let digits = text.iter().filter(|byte| hex(**byte)).count();
    digits == 32 && [8, 13, 18, 23].iter().all(|at| text[*at] == b'-')
}

#[cfg(test)]
mod tests;
