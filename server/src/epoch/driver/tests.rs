//! A driver over sources that the test plays: who is served, and what silence means.

use super::*;
use crate::pipeline::tests::{planned, rows};
use crate::source::reader::by_hand::{Hand, reader};
use crate::source::{Offset, Progress, ViewProgress};
use crate::watermark::SourceWatermark;

const SECOND: Micros = 1_000_000;

/// A query with one hand for each of its sources, at second 1,000 of processing time.
struct Played {
    driver: Driver,
    hands: Vec<Hand>,
    clock: Clock,
    at: Vec<Offset>,
}

const START: Micros = 1_000 * SECOND;

async fn played(query: &str, one_batch: bool, idle_timeout: Option<Duration>) -> Played {
    let pipeline = planned(query, 1).await;
    let clock = Clock::manual(START);
    let (readers, hands): (Vec<_>, Vec<_>) = pipeline.slots.iter().map(|slot| reader(&slot.table.name, 64)).unzip();
    let watermarks = pipeline.slots.iter().map(|slot| {
        let definition = slot.table.watermark.clone().map(|mut definition| {
            definition.idle_timeout = idle_timeout;
            definition
        });
        SlotWatermark::from(SourceWatermark::new(definition.as_ref()))
    });
    let (watermarks, offsets) = (watermarks.collect(), vec![Offsets::new(); hands.len()]);
    let limits = EpochLimits { rows_max: 2, bytes_max: usize::MAX, one_batch };
    let at = vec![0; hands.len()];
    let driver = Driver::new(Arc::new(pipeline), readers, watermarks, offsets, clock.clone(), limits);
    Played { driver, hands, clock, at }
}

impl Played {
    /// One row `(id, page, n, second)` for a source, in its partition 0, which has `behind` more records.
    fn put(&mut self, slot: usize, row: (i64, &str, i64, i64), behind: Offset) {
        let from = self.at[slot];
        self.at[slot] += 1;
        let end = self.at[slot] + behind;
        let progress = Progress {
            from,
            to: from + 1,
            records: 1,
            event_time_max: Some(row.3 * SECOND),
            far_future: 0,
            end: Some(end),
        };
        let batches = rows(&self.driver.pipeline, slot, &[row]);
        let batch = SourceBatch { batches, progress: [(0, progress)].into(), ..SourceBatch::default() };
        self.hands[slot].put(batch);
    }

    /// Every source answers that it ends where it has been read to.
    fn answer(&self) {
        let now = self.clock.steady();
        self.hands.iter().zip(&self.at).for_each(|(hand, at)| hand.answer(&[*at], now));
    }

    fn pass(&self, seconds: i64) {
        self.clock.set(self.clock.now() + seconds * SECOND);
    }

    /// Rows emitted and rows late by one turn.
    async fn turn(&mut self) -> (usize, usize) {
        match self.driver.turn(Duration::ZERO).await.unwrap() {
            Turn::Epoch(result) => (result.output.rows.num_rows(), result.output.late.len()),
            Turn::Quiet | Turn::Finished => (0, 0),
        }
    }

    /// As long as something comes of it.
    async fn turns(&mut self) -> (usize, usize) {
        let mut sum = (0, 0);
        for _ in 0..4 {
            let (rows, late) = self.turn().await;
            sum = (sum.0 + rows, sum.1 + late);
        }
        sum
    }
}

#[tokio::test]
async fn a_busy_source_starves_no_other() {
    let query = "SELECT id FROM clicks UNION ALL SELECT id FROM taps";
    for one_batch in [true, false] {
        for busy in [0, 1] {
            let mut played = played(query, one_batch, None).await;
            (0..40).for_each(|id| played.put(busy, (id, "a", 1, id), 0));
            played.put(1 - busy, (99, "b", 1, 1), 0);
            played.put(1 - busy, (98, "b", 1, 2), 0);
            for _ in 0..4 {
                played.turn().await;
            }
            assert_eq!(played.driver.offsets[1 - busy][&0], 2, "one batch: {one_batch}, busy: {busy}");
            assert!(played.driver.offsets[busy][&0] < 40);
        }
    }
}

// Each brings checkpoints of several batches, and they are not at the end of one at the same time.
#[tokio::test]
async fn where_a_checkpoint_is_due_what_is_taken_in_part_is_made_whole_and_nothing_else_is_begun() {
    for one_batch in [true, false] {
        let mut played = played("SELECT id FROM clicks UNION ALL SELECT id FROM taps", one_batch, None).await;
        for (slot, partial) in [(0, true), (0, false), (0, true), (1, true), (1, true), (1, false), (1, true)] {
            let batches = rows(&played.driver.pipeline, slot, &[(1, "a", 1, 1)]);
            let view = Some(ViewProgress { partial, ..ViewProgress::default() });
            played.hands[slot].put(SourceBatch { batches, view, ..SourceBatch::default() });
        }
        let mut turns = 0;
        while turns < 2 || !played.driver.is_whole() {
            played.driver.whole_first = turns >= 2;
            played.turn().await;
            turns += 1;
            assert!(turns < 9, "it is never whole");
        }
        for reader in played.driver.readers.iter_mut().flatten() {
            let left = reader.try_next().expect("the next checkpoint").unwrap();
            assert!(left.view.is_some_and(|view| view.partial) && reader.try_next().is_none());
        }
    }
}

// Without it the start of a table that begins at its latest record would be forgotten until there is one.
#[tokio::test]
async fn where_a_source_begins_is_news_and_where_it_stands_is_not() {
    let mut played = played("SELECT id FROM clicks", false, None).await;
    let standing = |at| Progress { from: at, to: at, records: 0, event_time_max: None, far_future: 0, end: Some(at) };
    for (partition, news) in [(0, true), (0, false), (1, true), (1, false)] {
        let progress = [(partition, standing(7))].into();
        played.hands[0].put(SourceBatch { progress, ..SourceBatch::default() });
        let turn = played.driver.turn(Duration::ZERO).await.unwrap();
        assert_eq!(matches!(turn, Turn::Epoch(_)), news, "partition {partition}");
    }
    assert_eq!(played.driver.offsets[0], Offsets::from([(0, 7), (1, 7)]));
}

#[tokio::test]
async fn silence_closes_what_is_open_and_only_where_it_is_proven() {
    let query = "SELECT window_end, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end
        EMIT TIMEOUT INTERVAL '30 seconds'";
    let mut played = played(query, false, None).await;
    played.put(0, (1, "a", 1, 5), 0);
    played.answer();
    assert_eq!(played.turns().await, (0, 0));
    // The broker is away for a minute: nothing is known of what it holds.
    played.hands[0].trouble(Some("the broker does not answer"));
    played.pass(60);
    assert_eq!(played.turns().await, (0, 0));
    // It comes back with a row of the same window: it is not late.
    played.hands[0].trouble(None);
    played.put(0, (2, "a", 1, 6), 0);
    played.answer();
    assert_eq!(played.turns().await, (0, 0));
    // Also a partition that is asked too seldom, or that has more records, has not been silent.
    played.pass(29);
    played.answer();
    assert_eq!(played.turns().await, (0, 0));
    played.hands[0].answer(&[3], played.clock.now());
    played.pass(2);
    played.hands[0].answer(&[3], played.clock.now());
    assert_eq!(played.turns().await, (0, 0));
    played.put(0, (3, "a", 1, 7), 0);
    played.answer();
    assert_eq!(played.turns().await, (0, 0));
    // Half a minute in which it says every second that there is nothing.
    for _ in 0..30 {
        played.pass(1);
        played.answer();
    }
    assert_eq!(played.turns().await, (1, 0));
    assert_eq!(played.driver.pipeline.open_panes(), 0);
}

// Ahead, then right; behind, then right.
#[tokio::test]
async fn a_clock_that_is_set_neither_makes_a_silence_nor_hides_one() {
    let query = "SELECT window_end, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end
        EMIT TIMEOUT INTERVAL '30 seconds'";
    for wrong_by in [500 * SECOND, -500 * SECOND] {
        let mut played = played(query, false, None).await;
        played.clock.set_wall(START + wrong_by);
        played.put(0, (1, "a", 1, 5), 0);
        played.answer();
        assert_eq!(played.turns().await, (0, 0));
        played.clock.set_wall(START);
        for _ in 0..29 {
            played.pass(1);
            played.answer();
        }
        assert_eq!(played.turns().await, (0, 0), "wrong by {wrong_by}");
        assert_eq!(played.driver.until_due(Duration::from_secs(60)), Duration::from_secs(1));
        played.pass(1);
        played.answer();
        assert_eq!(played.turns().await, (1, 0), "wrong by {wrong_by}");
    }
}

#[tokio::test]
async fn silence_closes_windows_over_windows_and_those_that_wait_for_late_rows() {
    let inner = "SELECT window_end, window_time AS t, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
        GROUP BY window_end, window_time";
    for (query, emitted) in [
        (format!("SELECT tumble(t, INTERVAL '1 minute') AS w, sum(c) AS c FROM ({inner}) GROUP BY 1"), 1),
        (format!("SELECT window_end, max(c) AS c FROM ({inner}) GROUP BY window_end"), 1),
    ] {
        let view = format!(
            "CREATE MATERIALIZED VIEW v WITH ('allowed-lateness' = '5 seconds') AS {query} EMIT TIMEOUT INTERVAL '30 seconds'"
        );
        let mut played = played(&view, false, None).await;
        played.put(0, (1, "a", 1, 5), 0);
        played.answer();
        assert_eq!(played.turns().await, (0, 0), "{query}");
        for _ in 0..31 {
            played.pass(1);
            played.answer();
        }
        assert_eq!(played.turns().await, (emitted, 0), "{query}");
        assert_eq!(played.driver.pipeline.open_panes(), 0, "{query}");
    }
}

#[tokio::test]
async fn a_source_that_does_not_answer_is_not_idle() {
    let query = "SELECT window_end, count(*) AS c FROM
        TUMBLE((SELECT id, ts FROM clicks UNION ALL SELECT id, ts FROM taps), ts, INTERVAL '10 seconds')
        GROUP BY window_end";
    let mut played = played(query, false, Some(Duration::from_secs(10))).await;
    played.put(0, (1, "a", 1, 5), 0);
    played.put(1, (2, "a", 1, 6), 0);
    played.answer();
    assert_eq!(played.turns().await, (0, 0));
    // The second source's broker goes away; the first goes on.
    played.hands[1].trouble(Some("the broker does not answer"));
    for second in 6..60 {
        played.pass(1);
        played.put(0, (3, "a", 1, second), 0);
        played.hands[0].answer(&[played.at[0]], played.clock.now());
        assert_eq!(played.turn().await, (0, 0), "second {second}");
    }
    // It is back with a row from when it went: nothing of it is late.
    played.hands[1].trouble(None);
    played.put(1, (4, "a", 1, 7), 0);
    played.answer();
    assert_eq!(played.turns().await, (0, 0));
    // Now it answers, and has nothing: that is idle.
    for second in 60..72 {
        played.pass(1);
        played.put(0, (5, "a", 1, second), 0);
        played.answer();
        played.turn().await;
    }
    assert!(played.driver.marks()[1].idle);
    let mark = played.driver.marks()[0].at;
    assert_eq!(mark, 71 * SECOND);
    assert!(played.driver.pipeline.open_panes() <= 1);
}

// No row comes, and nothing moves: it is the clock that wakes it.
#[tokio::test]
async fn what_leaves_in_intervals_leaves_without_a_row() {
    let query = "SELECT window_end, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end
        EMIT EVERY INTERVAL '5 seconds'";
    let mut played = played(query, false, None).await;
    let early = async |played: &mut Played| match played.driver.turn(Duration::ZERO).await.unwrap() {
        Turn::Epoch(result) => result.output.early.num_rows(),
        Turn::Quiet | Turn::Finished => 0,
    };
    played.put(0, (1, "a", 1, 5), 0);
    assert_eq!(early(&mut played).await, 1);
    played.pass(1);
    played.put(0, (2, "a", 1, 6), 0);
    assert_eq!(early(&mut played).await, 0);
    assert_eq!(played.driver.until_due(Duration::from_secs(60)), Duration::from_secs(4));
    played.pass(3);
    assert_eq!(early(&mut played).await, 0);
    played.pass(1);
    assert_eq!(played.driver.until_due(Duration::from_secs(60)), Duration::ZERO);
    assert_eq!(early(&mut played).await, 1);
    // Once they have left, nothing is due.
    played.pass(60);
    assert_eq!(early(&mut played).await, 0);
    assert_eq!(played.driver.until_due(Duration::from_secs(60)), Duration::from_secs(60));
}

#[tokio::test]
async fn what_leaves_in_intervals_does_not_wait_for_a_clock_that_was_ahead() {
    let query = "SELECT window_end, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end
        EMIT EVERY INTERVAL '5 seconds'";
    let mut played = played(query, false, None).await;
    let early = async |played: &mut Played| match played.driver.turn(Duration::ZERO).await.unwrap() {
        Turn::Epoch(result) => result.output.early.num_rows(),
        Turn::Quiet | Turn::Finished => 0,
    };
    played.clock.set_wall(START + 500 * SECOND);
    played.put(0, (1, "a", 1, 5), 0);
    assert_eq!(early(&mut played).await, 1);
    played.put(0, (2, "a", 1, 6), 0);
    assert_eq!(early(&mut played).await, 0);
    played.clock.set_wall(START);
    assert_eq!(early(&mut played).await, 1);
    assert_eq!(early(&mut played).await, 0);
}

// Its first records would never be read.
#[tokio::test]
async fn rows_of_another_topic_than_the_one_that_was_read_are_refused() {
    let mut played = played("SELECT id FROM clicks", false, None).await;
    let said = |id: &str| Some(Arc::new(Identity { topic: Some(id.to_owned()), ..Identity::default() }));
    let standing = |at| Progress { from: at, to: at, records: 0, event_time_max: None, far_future: 0, end: Some(at) };
    for (at, id) in [(0, said("a")), (0, said("b")), (5, said("b")), (6, None), (7, said("b"))] {
        let progress = [(0, standing(at))].into();
        played.hands[0].put(SourceBatch { progress, identity: id, ..SourceBatch::default() });
        played.turn().await;
    }
    assert_eq!((played.driver.identities[0].topic.as_deref(), played.driver.offsets[0][&0]), (Some("b"), 7));
    let progress = [(0, standing(9))].into();
    played.hands[0].put(SourceBatch { progress, identity: said("c"), ..SourceBatch::default() });
    let error = played.driver.turn(Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::Corrupt);
    assert!(error.report().contains("removed and made anew"), "{}", error.report());
    assert_eq!(played.driver.offsets[0], Offsets::from([(0, 7)]));
}

// It would be taken for 0, and the query for one that has read everything.
#[tokio::test]
async fn the_end_of_a_partition_that_does_not_answer_is_not_known() {
    let mut played = played("SELECT id FROM clicks", false, None).await;
    assert_eq!(played.driver.known_ends(0), Offsets::new(), "nobody has said it yet");
    played.put(0, (1, "a", 1, 5), 8);
    played.answer();
    played.turn().await;
    assert_eq!(played.driver.known_ends(0), Offsets::from([(0, 9)]), "the rows have said more than the answer");
    played.hands[0].trouble(Some("the broker does not answer"));
    assert_eq!(played.driver.known_ends(0), Offsets::new());
    played.hands[0].trouble(None);
    played.hands[0].answer(&[12], START);
    assert_eq!(played.driver.known_ends(0), Offsets::from([(0, 12)]));
}
