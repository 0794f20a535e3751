//! JSON objects → a record batch, straight into typed columns.
//!
//! What a value may be is decided by the column's declared type, and nothing is converted that is not listed here:
//!
//! | column | JSON |
//! | --- | --- |
//! | boolean | `true`, `false` |
//! | integers | a number that is whole (`67`, `67.0`, `1e3`) and in range |
//! | real, double | a number; the nearest float, refused where that would be infinite |
//! | decimal(p,s) | a number, or a string written like one; exact, refused where digits would be lost |
//! | varchar | a string; an object or a list keeps its raw text; a number or boolean is refused |
//! | json | any value, whose raw text is kept |
//! | bytea | a string of base64 (standard alphabet, padded or not) |
//! | date | `"YYYY-MM-DD"` |
//! | time | `"HH:MM[:SS[.fraction]][Z]"` |
//! | timestamp | RFC 3339 (`T` or space; seconds, fraction and offset optional, no offset means UTC), or a whole number: **milliseconds** since the Unix epoch, whatever the column's unit; within the years 1 to 9999, 1678 to 2261 for TIMESTAMP(9) |
//! | timestamp with a declared format | only what [`TimestampFormat`] says; a number may then have a fraction |
//! | struct, list | an object, a list |
//! | map | an object, each field an entry; of a name that occurs twice the last one |
//!
//! A value must also meet the checks of its column, which `null` does.
//!
//! A field is the column of its exact name or alias, else the one whose name differs in case alone, where only one column's
//! does and only one spelling is in the record.
//!
//! `null` and an absent field are NULL, and for a column that is NOT NULL they make a bad row. A column's default stands for an absent
//! field, and for `null` where that is declared.
//! Of a field that occurs twice the last one counts. A bad row leaves no trace. Limits: see [`RECORD_BYTES_MAX`] and `scan`.

mod column;
mod fault;
mod number;
mod object;
mod rows;
mod scan;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use self::fault::Fault;
pub use self::fault::RowError;
pub(crate) use self::fault::{quote, refusal, sql_type, time_refusal};
pub(crate) use self::number::time_from_text;
use self::object::Object;
pub(crate) use self::rows::{Outline, RowAt};
use self::scan::Cursor;
use crate::catalog::{Check, JsonPlaces, TimestampFormat};
use crate::error::Result;

/// A larger record is a bad row. 16 MiB, far above what brokers accept by default (1 MiB).
pub const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A column to decode.
#[derive(Debug, Clone)]
pub struct JsonColumn {
    pub field: Field,
    /// Names that its field may have beside its own.
    pub aliases: Vec<String>,
    /// Whether a number is taken as text, as it is written; else it is a bad value of a text column.
    pub numbers_as_text: bool,
    /// How timestamps are written, also inside a list or struct.
    pub timestamps: TimestampFormat,
    /// What each value must meet.
    pub checks: Vec<Check>,
    /// What a record without the field has, as JSON; a time as text.
    pub default: Option<String>,
    /// Whether an explicit null stands for the default, too.
    pub null_is_default: bool,
    /// Where values are JSON of any kind, of which the text is kept.
    pub json: JsonPlaces,
}

impl From<Field> for JsonColumn {
    /// The column and nothing more.
    fn from(field: Field) -> Self {
        JsonColumn {
            field,
            aliases: Vec::new(),
            numbers_as_text: false,
            timestamps: TimestampFormat::default(),
            checks: Vec::new(),
            default: None,
            null_is_default: false,
            json: JsonPlaces::default(),
        }
    }
}

/// See the module's first lines.
pub struct JsonDecoder {
    schema: SchemaRef,
    root: Object,
    rows: usize,
}

impl fmt::Debug for JsonDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonDecoder").field("schema", &self.schema).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl JsonDecoder {
    /// A decoder for `columns`; with none of them it only checks that records are JSON objects.
    ///
    /// # Errors
    /// `Invalid` for a type that is not decoded and for a name that stands for two columns.
    pub fn try_new(columns: &[JsonColumn]) -> Result<Self> {
        let schema = Schema::new(columns.iter().map(|column| column.field.clone()).collect::<Vec<_>>());
        Ok(JsonDecoder { schema: Arc::new(schema), root: Object::try_new(columns)?, rows: 0 })
    }

    /// The same, but for the fields that these are the names of: they stand for columns that are not decoded here, and so for
    /// none that is, however they are spelled. What a column reads must not depend on which others are read.
    pub fn beside<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().for_each(|name| self.root.reserve(name));
        self
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Appends one row.
    ///
    /// # Errors
    /// The record is no row; the decoder is as it was before the call. Also where a column has grown to 2 GiB:
    /// flush before [`JsonDecoder::bytes`] comes near that.
    pub fn decode(&mut self, record: &[u8]) -> Result<(), RowError> {
        let appended = self.append(record);
        self.counted(appended)
    }

    /// Appends the object at the cursor as one row. On an error the decoder is as before, and the cursor anywhere.
    fn decode_at(&mut self, cursor: &mut Cursor<'_>) -> Result<(), RowError> {
        let appended = self.root.append(cursor, self.rows);
        self.counted(appended)
    }

    /// Counts a row that has been appended, or takes back what there was of it.
    fn counted(&mut self, appended: Result<(), Box<Fault>>) -> Result<(), RowError> {
        match appended {
            Ok(()) => self.rows += 1,
            Err(fault) => {
                self.root.truncate(self.rows);
                return Err(fault.into());
            }
        }
        Ok(())
    }

    fn append(&mut self, record: &[u8]) -> Result<(), Box<Fault>> {
        let mut cursor = Cursor::new(record);
        if record.len() > RECORD_BYTES_MAX {
            return Err(Fault::record("the record is larger than 16777216 bytes".into()));
        }
        cursor.skip_space();
        if cursor.peek() != b'{' {
            return Err(not_an_object(cursor));
        }
        self.root.append(&mut cursor, self.rows)?;
        cursor.skip_space();
        if cursor.pos < record.len() {
            return Err(cursor.syntax("something follows the object"));
        }
        Ok(())
    }

    /// Vectors that a row adds a value to.
    fn cells(&self) -> usize {
        self.root.columns().map(column::Column::cells).sum::<usize>().max(1)
    }

    /// What the defaults take in a row that lacks all fields, in bytes.
    pub(crate) fn default_bytes(&self) -> usize {
        self.root.columns().map(column::Column::default_bytes).sum()
    }

    /// Rows since the last flush.
    pub fn len(&self) -> usize {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Roughly what these rows occupy, in bytes. Takes a few nanoseconds a column.
    pub fn bytes(&self) -> usize {
        self.root.columns().map(column::Column::bytes).sum()
    }

    /// Takes the rows as one batch.
    pub fn flush(&mut self) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), self.root.finish()?, &options)?)
    }
}

#[cold]
fn not_an_object(mut cursor: Cursor<'_>) -> Box<Fault> {
    if cursor.bytes.is_empty() {
        return Fault::record("the record is empty, not a JSON object".into());
    }
    if let [0, rest @ ..] = cursor.bytes
        && let Some(id) = rest.first_chunk()
    {
        return Fault::record(format!(
            "the record begins with a schema registry's prefix (byte 0, then schema id {}), not with a JSON object; \
             have the producer write plain JSON, by a serializer without a registry",
            u32::from_be_bytes(*id)
        ));
    }
    let start = cursor.pos;
    match cursor.skip_value() {
        Ok(()) => {
            Fault::record(format!("the record is {}, not a JSON object", quote(&cursor.bytes[start..cursor.pos])))
        }
        Err(syntax) => syntax,
    }
}
