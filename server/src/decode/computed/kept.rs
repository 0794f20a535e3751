//! The records of rows that are not judged yet: what a dead letter holds of them, in one piece of memory.

use std::ops::Range;

use crate::source::{Offset, Partition, Record};

/// Rows in their order, and the records that they are of, each once.
#[derive(Debug, Default)]
pub(in crate::decode) struct Kept {
    bytes: Vec<u8>,
    records: Vec<StoredRecord>,
    rows: Vec<StoredRow>,
}

#[derive(Debug)]
struct StoredRecord {
    partition: Partition,
    offset: Offset,
    timestamp_ms: Option<i64>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
}

#[derive(Debug)]
struct StoredRow {
    /// Index into the records.
    record: usize,
    position: i32,
    bytes: Range<usize>,
}

/// A row, with its record.
pub(in crate::decode) struct KeptRow<'a> {
    /// Without its headers.
    pub(in crate::decode) record: Record<'a>,
    /// Its place within the record, and its own bytes in the record's value.
    pub(in crate::decode) position: i32,
    pub(in crate::decode) bytes: Range<usize>,
}

impl Kept {
    /// Adds a record that is one row.
    pub(in crate::decode) fn push(&mut self, record: &Record<'_>) {
        self.store(record);
        self.add_row(0, 0..record.value.map_or(0, <[u8]>::len));
    }

    /// Adds a row of a record that may have more: one behind the other, whose bytes are kept once.
    pub(in crate::decode) fn push_at(&mut self, record: &Record<'_>, position: i32, bytes: Range<usize>) {
        let last = self.records.last().map(|last| (last.partition, last.offset));
        if last != Some((record.partition, record.offset)) {
            self.store(record);
        }
        self.add_row(position, bytes);
    }

    fn store(&mut self, record: &Record<'_>) {
        let mut copied = |bytes: Option<&[u8]>| {
            let bytes = bytes?;
            let start = self.bytes.len();
            self.bytes.extend_from_slice(bytes);
            Some(start..self.bytes.len())
        };
        let (key, value) = (copied(record.key), copied(record.value));
        let Record { partition, offset, timestamp_ms, .. } = *record;
        self.records.push(StoredRecord { partition, offset, timestamp_ms, key, value });
    }

    /// Of the last record.
    fn add_row(&mut self, position: i32, bytes: Range<usize>) {
        self.rows.push(StoredRow { record: self.records.len().saturating_sub(1), position, bytes });
    }

    pub(in crate::decode) fn row(&self, row: usize) -> Option<KeptRow<'_>> {
        let StoredRow { record, position, bytes } = self.rows.get(row)?;
        let StoredRecord { partition, offset, timestamp_ms, key, value } = self.records.get(*record)?;
        let slice = |range: &Option<Range<usize>>| range.clone().and_then(|range| self.bytes.get(range));
        let record = Record {
            partition: *partition,
            offset: *offset,
            timestamp_ms: *timestamp_ms,
            key: slice(key),
            value: slice(value),
            headers: None,
        };
        Some(KeptRow { record, position: *position, bytes: bytes.clone() })
    }

    /// Partition, offset and place within its record of each row.
    pub(in crate::decode) fn origins(&self) -> impl Iterator<Item = (Partition, Offset, i32)> + '_ {
        self.rows.iter().filter_map(|row| {
            let record = self.records.get(row.record)?;
            Some((record.partition, record.offset, row.position))
        })
    }

    pub(in crate::decode) fn bytes(&self) -> usize {
        self.bytes.len() + self.records.len() * size_of::<StoredRecord>() + self.rows.len() * size_of::<StoredRow>()
    }

    /// Forgets all, and keeps its room.
    pub(in crate::decode) fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
        self.rows.clear();
    }
}
