//! Functions that give each word of a short list a number.

use std::hash::{Hash, Hasher};

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::numeric::{by_row, over_columns};

/// A function of one word. NULL gives NULL without a call.
#[derive(Debug)]
pub(crate) struct OfWord {
    name: &'static str,
    signature: Signature,
    row: fn(&str) -> Option<f64>,
}

impl OfWord {
    pub(crate) fn udf(name: &'static str, argument: &'static str, row: fn(&str) -> Option<f64>) -> ScalarUDF {
        let signature = Signature::exact(vec![DataType::Utf8View], Volatility::Immutable)
            .with_parameter_names(vec![argument])
            .expect("one name per argument");
        ScalarUDF::from(OfWord { name, signature, row })
    }
}

/// The number of `word` in `table`, whatever its case.
pub(crate) fn look_up(table: &[(&str, f64)], word: &str) -> Option<f64> {
    table.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, number)| *number)
}

// Two functions of one name are the same function.
impl PartialEq for OfWord {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for OfWord {}

impl Hash for OfWord {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for OfWord {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over_columns(self.name, &arguments.args, |columns| {
            let words = columns[0].as_string_view();
            by_row(words.len(), |row| Ok(words.is_valid(row).then(|| words.value(row)).and_then(self.row)))
        })
    }
}
