//! Functions that give each word of a short list a number.

use arrow::datatypes::DataType;

use crate::Function;
use crate::describe::Description;
use crate::scalar::{by_row, scalar};

/// A function of one word. NULL gives NULL without a call.
pub(crate) fn of_word(
    description: &'static Description,
    row: impl Fn(&str) -> Option<f64> + Send + Sync + 'static,
) -> Function {
    scalar(description, DataType::Float64, move |arguments| {
        let words = arguments.words(0)?;
        Ok(by_row(arguments.rows, |at| words.get(at).and_then(&row)))
    })
}

/// The number of `word` in `table`, whatever its case.
pub(crate) fn look_up(table: &[(&str, f64)], word: &str) -> Option<f64> {
    table.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, number)| *number)
}
