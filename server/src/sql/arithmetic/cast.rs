//! A cast of a text, as a function that says which text it could not take.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::util::display::array_value_to_string;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::text::text_of;
use crate::error::Error;
use crate::sql::call::in_sql;

/// Characters of a text in a message.
const TEXT_CHARS_MAX: usize = 100;

/// Whether a text may turn out not to be of this type.
pub(super) fn can_fail(from: &DataType, to: &DataType) -> bool {
    from.is_string() && (to.is_numeric() || to.is_temporal() || to == &DataType::Boolean)
}

/// See the file's first line. Internal: made by the analyzer's rule alone.
#[derive(Clone)]
pub(super) struct CheckedCast {
    /// With the name and the metadata that the cast gives it.
    field: FieldRef,
    /// What is cast, as messages show it.
    text: String,
    signature: Signature,
}

impl CheckedCast {
    pub(super) fn call(field: &FieldRef, argument: Expr) -> Expr {
        let (field, text) = (Arc::clone(field), text_of(&argument));
        let signature = Signature::any(1, Volatility::Immutable);
        ScalarUDF::new_from_impl(CheckedCast { field, text, signature }).call(vec![argument])
    }

    fn explained(&self, error: DataFusionError, texts: &ColumnarValue, rows: usize) -> Error {
        let Ok(texts) = texts.to_array(rows) else { return Error::from(error) };
        let taken = |row: usize| ColumnarValue::Array(texts.slice(row, 1)).cast_to(self.field.data_type(), None);
        let Some(row) = (0..rows.min(texts.len())).find(|row| taken(*row).is_err()) else { return Error::from(error) };
        let to = in_sql(&self.field.data_type().to_string());
        Error::invalid(format!("\"CAST({} AS {to})\" cannot take '{}'", self.text, text_at(&texts, row)))
            .hint("write TRY_CAST to have NULL instead")
    }
}

fn text_at(texts: &ArrayRef, row: usize) -> String {
    let text = array_value_to_string(texts, row).unwrap_or_default();
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl fmt::Debug for CheckedCast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "checked_cast({})", self.field.data_type())
    }
}

// However it was written: the same cast of the same argument is the same expression.
impl PartialEq for CheckedCast {
    fn eq(&self, other: &Self) -> bool {
        self.field == other.field
    }
}

impl Eq for CheckedCast {}

impl Hash for CheckedCast {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.field.hash(state);
    }
}

impl ScalarUDFImpl for CheckedCast {
    fn name(&self) -> &str {
        "checked_cast"
    }

    fn display_name(&self, arguments: &[Expr]) -> Result<String> {
        let inner = arguments.first().map(Expr::to_string).unwrap_or_default();
        Ok(format!("CAST({inner} AS {})", self.field.data_type()))
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        // As of a cast: that of its argument.
        Ok(arguments.first().map(|inner| inner.schema_name().to_string()).unwrap_or_default())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        let field = Field::new(self.name(), self.field.data_type().clone(), nullable);
        Ok(Arc::new(field.with_metadata(self.field.metadata().clone())))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [texts] = args.args.as_slice() else { return Err(Error::bug("a cast takes one argument").into()) };
        let cast = texts.cast_to(self.field.data_type(), None);
        cast.map_err(|error| self.explained(error, texts, args.number_rows).into())
    }
}
