//! What a loop says of its sources: how far each partition has been read, where it ends, and so how far behind the query is.

use super::QueryLoop;
use crate::status::{PartitionStatus, SourceStatus};

impl QueryLoop {
    /// A partition that does not answer has no end here: what it holds is not known, and no lag of 0.
    pub(super) fn report_sources(&self) {
        let mut sources = self.status.sources.write();
        for (at, slot) in self.driver.pipeline.slots.iter().enumerate() {
            let (watermark, ends) = (&self.driver.watermarks[at], self.driver.known_ends(at));
            let partitions = watermark.partitions().into_iter().map(|(partition, event_time_max, idle)| {
                let position = self.driver.offsets[at].get(&partition).copied().unwrap_or(0);
                let end = ends.get(&partition).copied();
                (partition, PartitionStatus { position, end, event_time_max, idle })
            });
            let status = SourceStatus { watermark: watermark.least(), partitions: partitions.collect() };
            sources.insert(slot.table.name.clone(), status);
        }
        drop(sources);
        self.status.note_pace();
    }
}
