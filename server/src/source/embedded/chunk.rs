//! How the records of one chunk lie in a byte string: written once, walked forward.
//!
//! `version u8 · count u32 · appended_at i64 (ms) · CRC-32 u32 · records`, little endian; a record is `timestamp i64 · key length u32 ·
//! value length u32 · key · value`. A length of `u32::MAX` is a null field, `i64::MIN` a missing timestamp. The CRC is of the first record's
//! offset, which is the chunk's key, and of all bytes but the version and itself. It is checked when somebody begins to read the chunk: the
//! store has checksums of its pages, and checks them only where it was not closed in order. Version 2, which is read, leaves the offset
//! out, and version 1 has no CRC.

use flate2::Crc;

use super::NewRecord;
use crate::error::{Error, Result};
use crate::source::{Offset, Partition, Record};

/// No flipped bit makes one of these of another.
const VERSION: u8 = 4;
const WITHOUT_OFFSET: u8 = 2;
const WITHOUT_CRC: u8 = 1;
pub(super) const HEADER_BYTES: usize = 17;
/// Up to the CRC: all of it in version 1.
const COUNTED_BYTES: usize = 13;
const RECORD_HEADER_BYTES: usize = 16;
const NULL: u32 = u32::MAX;
const NO_TIMESTAMP: i64 = i64::MIN;

/// The length of a record in a chunk.
pub(super) fn encoded_bytes(record: &NewRecord<'_>) -> usize {
    RECORD_HEADER_BYTES + record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)
}

pub(super) fn encode(records: &[NewRecord<'_>], out: &mut Vec<u8>) {
    let length = |field: Option<&[u8]>| field.map_or(NULL, |field| field.len() as u32);
    for record in records {
        out.extend_from_slice(&record.timestamp_ms.unwrap_or(NO_TIMESTAMP).to_le_bytes());
        out.extend_from_slice(&length(record.key).to_le_bytes());
        out.extend_from_slice(&length(record.value).to_le_bytes());
        out.extend_from_slice(record.key.unwrap_or_default());
        out.extend_from_slice(record.value.unwrap_or_default());
    }
}

/// `base`: the offset of the first record. `records`: as [`encode`] has written them.
pub(super) fn header(base: u64, count: u32, appended_at_ms: i64, records: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[0] = VERSION;
    header[1..5].copy_from_slice(&count.to_le_bytes());
    header[5..COUNTED_BYTES].copy_from_slice(&appended_at_ms.to_le_bytes());
    let crc = crc_of(Some(base), &header[1..COUNTED_BYTES], records);
    header[COUNTED_BYTES..].copy_from_slice(&crc.to_le_bytes());
    header
}

pub(super) fn crc_of(base: Option<u64>, counted: &[u8], records: &[u8]) -> u32 {
    let mut crc = Crc::new();
    if let Some(base) = base {
        crc.update(&base.to_le_bytes());
    }
    crc.update(counted);
    crc.update(records);
    crc.sum()
}

/// A stored chunk, checked as it is walked.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a> {
    bytes: &'a [u8],
    /// Where its records begin.
    first: usize,
    pub(super) base: Offset,
    pub(super) count: u32,
    pub(super) appended_at_ms: i64,
}

/// A place between two records of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: Offset,
    byte: usize,
}

impl<'a> Chunk<'a> {
    pub(super) fn parse(bytes: &'a [u8], base: Offset) -> Result<Self> {
        let first = match bytes.first() {
            Some(&(VERSION | WITHOUT_OFFSET)) => HEADER_BYTES,
            Some(&WITHOUT_CRC) => COUNTED_BYTES,
            _ => return Err(damaged(base, "it is not a chunk of version 1, 2 or 4")),
        };
        if bytes.len() < first {
            return Err(damaged(base, "it ends within its header"));
        }
        let count = u32::from_le_bytes(array(&bytes[1..5]));
        let appended_at_ms = i64::from_le_bytes(array(&bytes[5..13]));
        Ok(Chunk { bytes, first, base, count, appended_at_ms })
    }

    /// # Errors
    /// `Corrupt` where it is not what was written, as far as its version can tell.
    pub(super) fn verify(&self) -> Result<()> {
        let Some(written) = self.bytes[..self.first].get(COUNTED_BYTES..HEADER_BYTES) else { return Ok(()) };
        let base = (self.bytes.first() == Some(&VERSION)).then_some(self.base as u64);
        let found = crc_of(base, &self.bytes[1..COUNTED_BYTES], &self.bytes[self.first..]);
        let written = u32::from_le_bytes(array(written));
        match written == found {
            true => Ok(()),
            false => {
                Err(damaged(self.base, &format!("its bytes have CRC {found:08x}, it was written with {written:08x}")))
            }
        }
    }

    pub(super) fn end(&self) -> Offset {
        self.base + Offset::from(self.count)
    }

    pub(super) fn begin(&self) -> Place {
        Place { offset: self.base, byte: self.first }
    }

    /// The record at `place`, and the place behind it; `None` at the end.
    pub(super) fn record(&self, partition: Partition, place: Place) -> Result<Option<(Record<'a>, Place)>> {
        if place.offset >= self.end() {
            return Ok(None);
        }
        let short = || damaged(self.base, "it ends within a record");
        let rest = self.bytes.get(place.byte..).ok_or_else(short)?;
        let (head, rest) = rest.split_at_checked(RECORD_HEADER_BYTES).ok_or_else(short)?;
        let timestamp = i64::from_le_bytes(array(&head[..8]));
        let key = field_length(u32::from_le_bytes(array(&head[8..12])));
        let value = field_length(u32::from_le_bytes(array(&head[12..16])));
        let (key_bytes, rest) = rest.split_at_checked(key.unwrap_or(0)).ok_or_else(short)?;
        let (value_bytes, _) = rest.split_at_checked(value.unwrap_or(0)).ok_or_else(short)?;
        let record = Record {
            partition,
            offset: place.offset,
            timestamp_ms: (timestamp != NO_TIMESTAMP).then_some(timestamp),
            key: key.map(|_| key_bytes),
            value: value.map(|_| value_bytes),
            headers: None,
        };
        let byte = place.byte + RECORD_HEADER_BYTES + key_bytes.len() + value_bytes.len();
        Ok(Some((record, Place { offset: place.offset + 1, byte })))
    }
}

fn field_length(length: u32) -> Option<usize> {
    (length != NULL).then_some(length as usize)
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("cut to length by the caller")
}

fn damaged(base: Offset, what: &str) -> Error {
    Error::corrupt(format!("the embedded log is damaged: chunk at offset {base}"))
        .detail(what.to_owned())
        .hint("restore the log's folder from a backup, or remove it to begin with an empty log")
}
