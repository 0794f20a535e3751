//! Records that are no rows where several queries' columns are decoded together: each query judges them by the columns that it reads.
//!
//! A record that is a row of all columns is one of any of them, with the same values: what a column reads does not depend on the others.
//! A record that is none may still be one for a query that does not read the bad column. It is kept whole, and that query decodes it
//! as if it read the topic alone. So its rows, its dead letters and their reasons are those of a reader of its own.

use crate::source::{Offset, Partition, Record, RecordHeaders};

/// A record that some of its readers may have to refuse.
#[derive(Debug)]
pub(crate) struct Doubtful {
    pub(crate) partition: Partition,
    pub(crate) offset: Offset,
    timestamp_ms: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Option<Headers>,
}

#[derive(Debug, Default)]
struct Headers(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl RecordHeaders for Headers {
    fn visit(&self, each: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        self.0.iter().for_each(|(key, value)| each(key, value.as_deref()));
    }
}

impl Doubtful {
    pub(super) fn of(record: &Record<'_>) -> Self {
        let headers = record.headers.map(|headers| {
            let mut kept = Headers::default();
            headers.visit(&mut |key, value| kept.0.push((key.to_vec(), value.map(<[u8]>::to_vec))));
            kept
        });
        Doubtful {
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers,
        }
    }

    pub(crate) fn record(&self) -> Record<'_> {
        Record {
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: self.headers.as_ref().map(|headers| headers as &dyn RecordHeaders),
        }
    }

    /// What it takes, about.
    pub(super) fn bytes(&self) -> usize {
        let headers = self.headers.iter().flat_map(|headers| &headers.0);
        let headers: usize = headers.map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum();
        size_of::<Self>() + self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len) + headers
    }
}
