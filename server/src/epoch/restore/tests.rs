//! A start reads what is small. What is large stays where it is until a window needs it.

use super::*;
use crate::checkpoint::OperatorState;
use crate::checkpoint::faulty::{Fault, FaultyStore};
use crate::clock::Micros;
use crate::operator::contract::StoredSegment;
use crate::pipeline::StepInput;
use crate::pipeline::tests::{planned, rows};
use crate::watermark::END;

const SECOND: Micros = 1_000_000;

const SUMS: &str =
    "SELECT window_end, id, sum(n) FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end, id";

/// One epoch of a query over one stream; how many rows it has emitted.
async fn epoch(pipeline: &Pipeline, input: &[(i64, &str, i64, i64)], to: Micros) -> Result<usize> {
    let batches = vec![if input.is_empty() { vec![] } else { rows(pipeline, 0, input) }];
    let input = StepInput { epoch: 1, batches, sources: vec![Mark::new(to)], ..StepInput::default() };
    match pipeline.step(input).await {
        Ok(output) => pipeline.commit().map(|()| output.rows.num_rows()),
        Err(error) => {
            pipeline.abort();
            Err(error)
        }
    }
}

#[tokio::test]
async fn a_large_segment_is_read_when_its_window_closes() -> Result<()> {
    let faulty = FaultyStore::new();
    let store = faulty.store();
    let generation = Generation::claim(&store).await?;
    let mut chain = Chain::open(&store, "v", generation, "f1", &Clock::manual(7)).await?.chain;
    let before = planned(SUMS, 1).await;
    // Ids that compression makes no smaller.
    let large: Vec<_> = (0..1_000_i64).map(|at| (at.wrapping_mul(0x1e37_79b9_7f4a_7c15), "a", 1, 5)).collect();
    epoch(&before, &large, NONE).await?;
    epoch(&before, &[(7, "a", 1, 15)], NONE).await?;

    let mut draft = chain.draft(7);
    let mut bundle = chain.bundle(&draft, None);
    let operator = &before.operators()[0];
    let mut segments = Vec::new();
    for StoredSegment { input, shard, pane, segment } in operator.segments() {
        let section = bundle.add_each(segment.rows.batches())?;
        segments.push(SegmentRef { id: segment.id, input, shard, pane, level: segment.level, section });
    }
    draft.operators.push(OperatorState {
        id: operator.id().to_owned(),
        kind: operator.kind().name.to_owned(),
        state_version: operator.kind().version,
        schema_sha256: operator.state_schema_sha256()?,
        watermark: None,
        marks: vec![],
        position: 0,
        segments,
    });
    chain.put_bundle(bundle).await?;
    chain.commit(draft).await?;

    let pipeline = planned(SUMS, 1).await;
    let written = restore_operators(&pipeline, &store, chain.head()).await?;
    let segments = pipeline.operators()[0].segments();
    let remote: Vec<bool> = segments.iter().map(|stored| stored.segment.rows.is_remote()).collect();
    assert_eq!((written.len(), remote), (2, vec![true, false]));
    // The bundle is read by two requests where the first fails, and by one where it does not.
    faulty.fail_gets("/bundle/", [Fault::Before, Fault::Before]);
    assert_eq!(epoch(&pipeline, &[(7, "a", 1, 6)], 10 * SECOND - 1).await?, 0);
    let error = epoch(&pipeline, &[], 10 * SECOND).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(epoch(&pipeline, &[], 10 * SECOND).await?, 1_001);
    assert_eq!(epoch(&pipeline, &[], END).await?, 1);
    Ok(())
}
