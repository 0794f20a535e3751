//! State that only a checkpoint holds, back into the operator that reads it. No operator waits, so this is done before an epoch runs.

use std::sync::Arc;

use futures::future::try_join_all;

use crate::error::Result;
use crate::operator::contract::{Operator, RemoteSegment};
use crate::state::fetched_at_once;

/// Restores `segments` with the rows that their homes return, a few at a time.
///
/// # Errors
/// Those of the homes and of [`Operator::restore`]. What was restored until then stays, and may be asked for again.
pub async fn fetch(operator: &dyn Operator, mut segments: Vec<RemoteSegment>) -> Result<()> {
    while !segments.is_empty() {
        let few = fetched_at_once(segments.iter().map(|segment| segment.home.bytes()));
        let rest = segments.split_off(few);
        let fetched = try_join_all(segments.iter().map(|segment| Arc::clone(&segment.home).fetch())).await?;
        for (segment, batches) in segments.into_iter().zip(fetched) {
            operator.restore(segment.with(batches))?;
        }
        segments = rest;
    }
    Ok(())
}
