//! Writing objects over a line of any speed: what is large goes in parts, and each request has a deadline of its own that grows with its
//! bytes. So one that is answered slowly ends well, and one that is never answered ends.

use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error as ObjectError, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::Store;
use super::spool::{Content, PART_BYTES};
use crate::error::Result;

/// A store that says nothing for so long, beyond the time that the bytes take, does not answer.
pub(super) const ANSWER: Duration = Duration::from_secs(30);

/// The slowest line that writes come through, bytes a second.
const SLOWEST: usize = 64 << 10;

/// Parts of one upload, at most: services take 10,000.
const PARTS_MAX: u64 = 9_000;

/// How long a request may take that carries so many bytes. `answer`: as [`ANSWER`].
pub(super) fn deadline(answer: Duration, bytes: usize) -> Duration {
    answer.saturating_add(Duration::from_secs((bytes / SLOWEST) as u64))
}

/// How long the longest request may take: that of a whole part.
pub(super) fn longest() -> Duration {
    deadline(ANSWER, PART_BYTES)
}

impl Store {
    /// Writes an object, whether it is there or not. Atomic: a reader sees the old bytes or the new ones.
    ///
    /// # Errors
    /// As [`Store::put_content`].
    pub async fn put(&self, key: &Path, bytes: Bytes) -> Result<()> {
        self.put_content(key, &Content::Memory(bytes)).await
    }

    /// As [`Store::put`], of bytes that may be too many for memory.
    ///
    /// # Errors
    /// `Unavailable`, also where one of its requests is not answered in time: that is after half a minute, and later for each 64 KiB
    /// that it carries by a second. Whether the object is there then is not known.
    pub async fn put_content(&self, key: &Path, content: &Content) -> Result<()> {
        let failed = |error| self.failed("write", key, error);
        if content.len() > PART_BYTES as u64 {
            return self.put_in_parts(key, content).await;
        }
        let bytes = part_of(content, 0, PART_BYTES).await?;
        self.in_time(bytes.len(), self.uploads.put(key, bytes.into())).await.map_err(failed)?;
        Ok(())
    }

    /// Creates an object that must not be there yet: one request, whatever its size, since nothing else is sure to happen once.
    ///
    /// # Errors
    /// The store's own. After any of them the object may be there, and be ours.
    pub(crate) async fn create(&self, key: &Path, bytes: Bytes) -> object_store::Result<()> {
        let create = PutOptions::from(PutMode::Create);
        self.in_time(bytes.len(), self.uploads.put_opts(key, bytes.into(), create)).await.map(|_| ())
    }

    async fn put_in_parts(&self, key: &Path, content: &Content) -> Result<()> {
        let part_bytes = usize::try_from(content.len() / PARTS_MAX).unwrap_or(usize::MAX).max(PART_BYTES);
        let failed = |error| self.failed("write", key, error);
        let mut upload = self.in_time(0, self.uploads.put_multipart(key)).await.map_err(failed)?;
        let sent = async {
            let mut at = 0;
            while at < content.len() {
                let part = part_of(content, at, part_bytes).await?;
                let len = part.len();
                self.in_time(len, upload.put_part(part.into())).await.map_err(failed)?;
                at += len as u64;
            }
            self.in_time(0, upload.complete()).await.map_err(failed)?;
            Ok(())
        };
        let sent = sent.await;
        if sent.is_err() {
            // What stays of it is the service's to sweep: it is visible to nobody.
            let _ = self.in_time(0, upload.abort()).await;
        }
        sent
    }

    /// The request, for which there is only so much time.
    async fn in_time<T>(
        &self,
        bytes: usize,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        let deadline = deadline(self.answer, bytes);
        tokio::time::timeout(deadline, request).await.unwrap_or_else(|_| {
            let source = format!("no answer within {} s", deadline.as_secs_f64()).into();
            Err(ObjectError::Generic { store: "object store", source })
        })
    }
}

/// At most `len` bytes from `at` on.
async fn part_of(content: &Content, at: u64, len: usize) -> Result<Bytes> {
    let len = len.min(usize::try_from(content.len() - at).unwrap_or(len));
    match content {
        Content::Memory(bytes) => {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            Ok(bytes.slice(at..at + len))
        }
        Content::File(file) => Ok(file.read(at, len).await?.into()),
    }
}

#[cfg(test)]
mod tests;
