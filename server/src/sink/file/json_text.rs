//! Columns of type JSON in a JSON file: what they hold stands in it as it is, and not as a string.

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringViewArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, LineDelimited, NullableEncoder};
use arrow::json::{Writer, WriterBuilder};

use super::compressed::TextWriter;

/// Marks such a column's field.
const MARK: &str = "touchline.json";

pub(super) fn marked(field: Field) -> Field {
    field.with_metadata([(MARK.to_owned(), String::new())].into())
}

pub(super) fn is_marked(field: &Field) -> bool {
    field.metadata().contains_key(MARK)
}

pub(super) fn writer(file: TextWriter) -> Writer<TextWriter, LineDelimited> {
    WriterBuilder::new().with_encoder_factory(Arc::new(JsonText)).build(file)
}

#[derive(Debug)]
struct JsonText;

impl EncoderFactory for JsonText {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        if !is_marked(field) || array.data_type() != &DataType::Utf8View {
            return Ok(None);
        }
        let texts = array.as_string_view();
        Ok(Some(NullableEncoder::new(Box::new(AsItStands(texts)), texts.nulls().cloned())))
    }
}

struct AsItStands<'a>(&'a StringViewArray);

impl Encoder for AsItStands<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        // A record is a line; between the values of JSON a line end is a space like any other, and within them there is none.
        out.extend(self.0.value(row).bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    }
}
