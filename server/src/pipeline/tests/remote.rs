//! State that only a checkpoint holds: an epoch fetches what its windows read, and nothing else.

use super::windows::values;
use super::*;
use crate::operator::contract::{RemoteSegment, StoredSegment};

/// What a checkpoint does: every segment that has none gets a home.
pub(super) fn checkpoint(pipeline: &Pipeline, elsewhere: &Arc<Elsewhere>) {
    for operator in pipeline.operators() {
        let new = operator.segments().into_iter().filter(|stored| stored.segment.home.is_none());
        new.for_each(|stored| operator.stored(remote(stored, elsewhere)));
    }
}

fn remote(stored: StoredSegment, elsewhere: &Arc<Elsewhere>) -> RemoteSegment {
    let StoredSegment { input, shard, pane, segment } = stored;
    let home = elsewhere.home(&segment.rows);
    RemoteSegment { input, shard, pane, id: segment.id, level: segment.level, home }
}

/// The query after a restart, with nothing read yet of the state that it had.
async fn restarted(query: &str, before: &Pipeline, elsewhere: &Arc<Elsewhere>) -> Pipeline {
    let pipeline = planned(query, 1).await;
    for (operator, before) in pipeline.operators().iter().zip(before.operators()) {
        assert!(before.segments().into_iter().all(|stored| operator.restore_remote(remote(stored, elsewhere))));
    }
    assert_eq!((pipeline.open_panes(), pipeline.state_bytes()), (before.open_panes(), 0));
    pipeline
}

const ROWS: [Row; 4] = [(1, "a", 5, 1), (2, "b", 6, 9), (3, "a", 7, 12), (4, "b", 8, 25)];

/// A query that has taken [`ROWS`], a row an epoch.
async fn filled(query: &str) -> Pipeline {
    let pipeline = planned(query, 1).await;
    for row in ROWS {
        epoch(&pipeline, vec![rows(&pipeline, 0, &[row])], NONE, NONE).await;
    }
    pipeline
}

#[tokio::test]
async fn an_epoch_fetches_what_closes_and_nothing_else() {
    let elsewhere = Arc::default();
    let pipeline = restarted(PER_PAGE, &filled(PER_PAGE).await, &elsewhere).await;
    let output = epoch(&pipeline, vec![rows(&pipeline, 0, &[(5, "a", 9, 2)])], NONE, 10 * SECOND - 1).await;
    assert_eq!((output.rows(), elsewhere.fetched()), (0, 0));
    // Two segments hold the rows of the first window, and one those of each of the others.
    let output = epoch(&pipeline, vec![vec![]], 10 * SECOND - 1, 10 * SECOND).await;
    assert_eq!(values(&output.batches), ["00:00,00:10,a,2,14", "00:00,00:10,b,1,6"]);
    assert_eq!(elsewhere.fetched(), 2);
    let output = epoch(&pipeline, vec![vec![]], 10 * SECOND, END).await;
    assert_eq!(values(&output.batches), ["00:10,00:20,a,1,7", "00:20,00:30,b,1,8"]);
    assert_eq!((elsewhere.fetched(), pipeline.open_panes(), pipeline.state_bytes()), (4, 0, 0));
}

// Each pane is in several windows, which share what was merged of it: it is fetched for the first of them alone.
#[tokio::test]
async fn windows_that_overlap_read_what_a_restart_has_left_elsewhere() {
    for windows in [
        "HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '20 seconds')",
        "CUMULATE(clicks, ts, INTERVAL '5 seconds', INTERVAL '30 seconds')",
    ] {
        let query = format!(
            "SELECT window_start, window_end, page, count(*), sum(n) FROM {windows} GROUP BY window_start, window_end, page"
        );
        let (before, elsewhere) = (filled(&query).await, Arc::default());
        let pipeline = restarted(&query, &before, &elsewhere).await;
        let mut emitted = 0;
        for second in (5..50).step_by(5) {
            let (from, to) = ((second - 5) * SECOND, second * SECOND);
            // In time for the window that closes.
            let input = |pipeline: &Pipeline| vec![rows(pipeline, 0, &[(9, "c", second, second - 1)])];
            let expected = epoch(&before, input(&before), from, to).await;
            let output = epoch(&pipeline, input(&pipeline), from, to).await;
            assert_eq!(values(&output.batches), values(&expected.batches), "{windows} at {second}");
            emitted += output.rows();
        }
        assert!(emitted >= 20 && elsewhere.fetched() == ROWS.len(), "{emitted} rows, {} fetched", elsewhere.fetched());
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_fails_the_epoch_and_the_next_try_finds_all_as_it_was() {
    let elsewhere: Arc<Elsewhere> = Arc::default();
    let pipeline = restarted(PER_PAGE, &filled(PER_PAGE).await, &elsewhere).await;
    let input = || StepInput {
        batches: vec![rows(&pipeline, 0, &[(5, "a", 9, 2)])],
        sources: vec![Mark::new(20 * SECOND)],
        ..StepInput::default()
    };
    elsewhere.answers(false);
    let error = pipeline.step(input()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    pipeline.abort();
    assert_eq!((pipeline.open_panes(), pipeline.state_bytes()), (3, 0));
    elsewhere.answers(true);
    // Undone, and run again: what is here by then is not fetched again.
    let undone = Emitted::of(pipeline.step(input()).await.unwrap());
    pipeline.abort();
    let output = Emitted::of(pipeline.step(input()).await.unwrap());
    pipeline.commit().unwrap();
    assert_eq!(values(&output.batches), ["00:00,00:10,a,2,14", "00:00,00:10,b,1,6", "00:10,00:20,a,1,7"]);
    assert_eq!((values(&undone.batches), elsewhere.fetched()), (values(&output.batches), 3));
}
