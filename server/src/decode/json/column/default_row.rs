//! What a column has where a record lacks its field: one value, copied instead of read.

use super::super::fault::Fault;
use super::super::scan::Cursor;
use super::{Column, JsonColumn, Values};
use crate::catalog::TimestampFormat;
use crate::error::{Error, Result};

pub(super) struct DefaultRow {
    /// A column of the same type with one row.
    row: Column,
    /// Whether an explicit null stands for it, too.
    for_null: bool,
}

impl DefaultRow {
    /// # Errors
    /// `Invalid` for a default that is no value of the column.
    pub(super) fn of(column: &JsonColumn) -> Result<Option<Self>> {
        let Some(json) = &column.default else { return Ok(None) };
        // A time is text here, whatever it is in the records.
        let declared = JsonColumn { default: None, timestamps: TimestampFormat::default(), ..column.clone() };
        let mut row = Column::try_new(&declared)?;
        let mut cursor = Cursor::new(json.as_bytes());
        match row.append(&mut cursor) {
            Ok(()) if cursor.pos == json.len() => Ok(Some(DefaultRow { row, for_null: column.null_is_default })),
            _ => Err(Error::invalid(format!("the default of column \"{}\" is no value of it", column.field.name()))),
        }
    }
}

impl Column {
    /// What each row takes that lacks the field, in bytes; 0 without a default.
    pub(in super::super) fn default_bytes(&self) -> usize {
        self.default.as_ref().map_or(0, |default| default.row.bytes())
    }

    /// What a record has that lacks the field.
    ///
    /// # Errors
    /// Where there is no default and the schema says not null.
    #[inline]
    pub(in super::super) fn append_missing(&mut self) -> Result<(), Box<Fault>> {
        if self.default.is_none() {
            return self.append_null("is missing");
        }
        self.append_default()
    }

    #[inline]
    pub(super) fn append_explicit_null(&mut self) -> Result<(), Box<Fault>> {
        match &self.default {
            Some(default) if default.for_null => self.append_default(),
            _ => self.append_null("is null"),
        }
    }

    #[inline(never)]
    fn append_default(&mut self) -> Result<(), Box<Fault>> {
        let Some(default) = self.default.take() else { return Ok(()) };
        let copied = self.copy_row(&default.row, 0);
        self.default = Some(default);
        copied
    }

    /// Appends a row of another column of the same type.
    fn copy_row(&mut self, from: &Column, row: usize) -> Result<(), Box<Fault>> {
        if from.null_rows.binary_search(&row).is_ok() {
            self.append_gap();
            return Ok(());
        }
        match (&mut self.values, &from.values) {
            (Values::Boolean(to), Values::Boolean(from)) => to.append(from.get_bit(row)),
            (Values::Int8(to), Values::Int8(from)) => to.push(from[row]),
            (Values::Int16(to), Values::Int16(from)) => to.push(from[row]),
            (Values::Int32(to), Values::Int32(from))
            | (Values::Date(to), Values::Date(from))
            | (Values::Time32 { values: to, .. }, Values::Time32 { values: from, .. }) => to.push(from[row]),
            (Values::Int64(to), Values::Int64(from))
            | (Values::Time64 { values: to, .. }, Values::Time64 { values: from, .. })
            | (Values::Timestamp { values: to, .. }, Values::Timestamp { values: from, .. }) => to.push(from[row]),
            (Values::UInt8(to), Values::UInt8(from)) => to.push(from[row]),
            (Values::UInt16(to), Values::UInt16(from)) => to.push(from[row]),
            (Values::UInt32(to), Values::UInt32(from)) => to.push(from[row]),
            (Values::UInt64(to), Values::UInt64(from)) => to.push(from[row]),
            (Values::Float32(to), Values::Float32(from)) => to.push(from[row]),
            (Values::Float64(to), Values::Float64(from)) => to.push(from[row]),
            (Values::Decimal { values: to, .. }, Values::Decimal { values: from, .. }) => to.push(from[row]),
            (Values::Text(to), Values::Text(from))
            | (Values::Json(to), Values::Json(from))
            | (Values::Binary(to), Values::Binary(from)) => {
                to.data.extend_from_slice(&from.data[from.offsets[row] as usize..from.offsets[row + 1] as usize]);
                to.end_value()?;
            }
            (Values::Struct(to), Values::Struct(from)) => {
                for (to, from) in to.columns_mut().zip(from.columns()) {
                    to.copy_row(from, row)?;
                }
            }
            (Values::List(to), Values::List(from)) => {
                for item in from.offsets[row] as usize..from.offsets[row + 1] as usize {
                    to.items.copy_row(&from.items, item)?;
                }
                to.offsets.push(i32::try_from(to.items.len()).map_err(|_| too_many())?);
            }
            (Values::Map(to), Values::Map(from)) => {
                for entry in from.offsets[row] as usize..from.offsets[row + 1] as usize {
                    to.keys.copy_row(&from.keys, entry)?;
                    to.values.copy_row(&from.values, entry)?;
                }
                to.end_map()?;
            }
            _ => return Err(Fault::value("has a default of another type".into())),
        }
        self.rows += 1;
        Ok(())
    }
}

fn too_many() -> Box<Fault> {
    Fault::value("does not fit: the batch already holds 2^31 items of this column".into())
}
